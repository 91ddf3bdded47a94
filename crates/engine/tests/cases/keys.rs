//! Keys: what opens a repository is added, changed and removed, and there is always one that does.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{COST, Node, Stepped, SteppedStore, Tree, World, key_file, run, secret};
use holdfast_core::crypto::KdfCost;
use holdfast_engine::error::{Error, ErrorKind, Result};
use holdfast_engine::workers::Workers;
use holdfast_engine::{
    ChangedKey, KeyInfo, NewKey, RemovedKey, Repository, Secret, add_key, change_key, keys, remove_key,
};
use holdfast_store::fault::{Call, Fault, Operation};
use holdfast_store::{ErrorKind as StoreErrorKind, FaultStore, MemoryStore, ObjectStore};
use std::sync::Arc;

fn password(text: &str) -> Secret {
    Secret::Password(text.as_bytes().to_vec())
}

fn new(secret: &Secret, label: &str) -> NewKey {
    NewKey { secret: secret.clone(), label: Some(label.into()), cost: Some(COST) }
}

async fn listed(world: &World, repository: &Repository) -> Vec<KeyInfo> {
    let outcome = keys(&world.ctx(), repository).await.unwrap();
    assert_eq!(outcome.problems.problems, []);
    outcome.value
}

async fn open_with(store: &MemoryStore, world: &World, secret: &Secret) -> Result<Repository> {
    Repository::open(&world.ctx(), Arc::new(store.clone()), secret).await
}

/// Whether a secret opens; any failure but a wrong key is one.
async fn opens(world: &World, secret: &Secret) -> bool {
    match open_with(&world.store, world, secret).await {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind, ErrorKind::WrongKey, "{error}");
            false
        }
    }
}

/// A world with two keys: the founder's key file, and another of the byte 8.
async fn two_keys() -> World {
    let (world, repository) = World::made(Workers::inline()).await;
    let mut tree = Tree::default();
    tree.put("file", Node::file("content"));
    world.keep(&repository, &tree).await;
    add_key(&world.ctx(), &repository, &new(&key_file(8), "second")).await.unwrap();
    world
}

#[test]
fn a_key_that_was_added_opens_and_is_listed() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        world.clock.advance(60);
        for (secret, label, cost) in [
            (password("pass word"), "laptop\u{1b}[2J\n", Some(COST)),
            (key_file(9), "", None),
            (password("other"), &*"x".repeat(65_535), Some(COST)),
        ] {
            assert!(!opens(&world, &secret).await);
            let added = add_key(&world.ctx(), &repository, &new(&secret, label)).await.unwrap();
            assert_eq!((&*added.label, added.password_cost, added.in_use), (label, cost, false));
            assert_eq!(added.created.unwrap().seconds, world.clock_seconds());
            assert!(opens(&world, &secret).await && opens(&world, &crate::harness::secret()).await);
            let through = open_with(&world.store, &world, &secret).await.unwrap();
            let used: Vec<_> = listed(&world, &through).await.into_iter().filter(|key| key.in_use).collect();
            assert_eq!((used.len(), used[0].id), (1, added.id));
            world.assert_sound(&through).await;
        }
        let all = listed(&world, &repository).await;
        assert_eq!((all.len(), &*all[0].label, all[0].in_use), (4, "first", true));
        assert!(all[0].created < all[1].created);
    });
}

#[test]
fn what_cannot_be_a_key_is_refused_and_nothing_is_left() {
    run(|| async {
        let world = two_keys().await;
        let repository = world.open().await;
        let before = world.store.objects();
        let usage = |result: Result<KeyInfo>| assert_eq!(result.unwrap_err().kind, ErrorKind::Usage);
        usage(add_key(&world.ctx(), &repository, &new(&key_file(8), "again")).await);
        usage(add_key(&world.ctx(), &repository, &new(&secret(), "again")).await);
        usage(add_key(&world.ctx(), &repository, &new(&key_file(9), &"x".repeat(65_536))).await);
        let same = NewKey { label: Some("new name".into()), ..new(&secret(), "") };
        let changed = change_key(&world.ctx(), &repository, &secret(), &same).await;
        assert_eq!(changed.unwrap_err().kind, ErrorKind::Usage);
        assert_eq!(world.store.objects(), before);
    });
}

#[test]
fn a_removed_key_opens_no_more_and_the_one_in_use_stays() {
    run(|| async {
        let world = two_keys().await;
        let repository = world.open().await;
        let all = listed(&world, &repository).await;
        let (own, other) = (&all[0], &all[1]);
        let remove = |text: String| {
            let (ctx, repository) = (world.ctx(), repository.clone());
            async move { remove_key(&ctx, &repository, &secret(), &text).await }
        };
        let refused = async |text: String| -> Error { remove(text).await.unwrap_err() };
        assert_eq!(refused(own.id.to_string()).await.kind, ErrorKind::Usage);
        assert_eq!(refused(String::new()).await.kind, ErrorKind::Ambiguous);
        assert_eq!(refused("zz".into()).await.kind, ErrorKind::NotFound);
        let removed = remove(other.id.to_string()[..12].to_owned()).await.unwrap();
        let RemovedKey { removed, in_use, replaced, was_removed, stays } = removed;
        assert_eq!((removed, replaced, was_removed, stays), (other.id, own.id, false, false));
        assert!(!opens(&world, &key_file(8)).await && opens(&world, &secret()).await);
        let again = world.open().await;
        let left = listed(&world, &again).await;
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].id, &left[0].label, left[0].created), (in_use.id, &own.label, own.created));
        // The slot that `holdfast.json` names is gone, and nothing is wrong with that.
        world.assert_sound(&again).await;
        let last = remove_key(&world.ctx(), &again, &secret(), &in_use.id.to_string()).await.unwrap_err();
        assert!(last.kind == ErrorKind::Usage && last.to_string().contains("only one"), "{last}");
        // What was opened with a slot that is gone by now does not come back by removing others.
        assert_eq!(refused(in_use.id.to_string()).await.kind, ErrorKind::Conflict);
    });
}

#[test]
fn a_changed_key_takes_the_place_of_every_slot_that_the_old_one_opens() {
    run(|| async {
        let world = two_keys().await;
        let repository = world.open().await;
        // As a `remove` that was cut off leaves it: the key in use lies there twice.
        let store = faulty(&world, |call| {
            if call.operation == Operation::Delete {
                Fault::FailBefore(StoreErrorKind::Io)
            } else {
                Fault::None
            }
        });
        let through = world.open_on(Arc::new(store)).await.unwrap();
        let other = listed(&world, &repository).await[1].id.to_string();
        let error = remove_key(&world.ctx(), &through, &secret(), &other).await.unwrap_err();
        assert!(error.to_string().contains("twice"), "{error}");
        assert_eq!(listed(&world, &repository).await.len(), 3);
        let change = NewKey { secret: password("new"), label: None, cost: Some(COST) };
        let changed = change_key(&world.ctx(), &repository, &secret(), &change).await.unwrap();
        let ChangedKey { key, removed, unreadable } = changed;
        assert_eq!((removed.len(), unreadable.len(), &*key.label), (2, 0, "first"));
        assert!(!opens(&world, &secret()).await);
        assert!(opens(&world, &password("new")).await && opens(&world, &key_file(8)).await);
        // The same password at another cost is a change too, and keeps what is not stated.
        let repository = open_with(&world.store, &world, &password("new")).await.unwrap();
        let cost = KdfCost { memory_kib: 64, ..COST };
        let dearer = NewKey { cost: Some(cost), ..change };
        let changed = change_key(&world.ctx(), &repository, &password("new"), &dearer).await.unwrap();
        assert_eq!((changed.key.password_cost, changed.removed), (Some(cost), vec![key.id]));
        let repository = open_with(&world.store, &world, &password("new")).await.unwrap();
        let newer = NewKey { secret: password("newer"), label: None, cost: None };
        let changed = change_key(&world.ctx(), &repository, &password("new"), &newer).await.unwrap();
        assert_eq!(changed.key.password_cost, Some(cost));
        let repository = open_with(&world.store, &world, &password("newer")).await.unwrap();
        world.assert_sound(&repository).await;
    });
}

#[test]
fn a_damaged_slot_is_named_hinders_nobody_and_can_be_removed() {
    run(|| async {
        let start = two_keys().await;
        let repository = start.open().await;
        let id = listed(&start, &repository).await[1].id.to_string();
        let other = start.names("keys/").into_iter().find(|key| key.as_str().ends_with(&id)).unwrap();
        let bytes = start.store.objects()[&other].to_vec();
        for at in (0..bytes.len()).step_by(7) {
            let world = start.fork(at as u64 + 3);
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            world.store.remove_raw(&other);
            world.store.insert_raw(other.clone(), flipped);
            let repository = world.open().await;
            let outcome = keys(&world.ctx(), &repository).await.unwrap();
            assert_eq!((outcome.value.len(), outcome.problems.problem_count), (1, 1), "byte {at}");
            assert!(world.check(&repository).await.errors > 0, "byte {at}");
            let change = new(&key_file(10), "new");
            let changed = change_key(&world.ctx(), &repository, &secret(), &change).await.unwrap();
            assert_eq!(changed.unreadable.len(), 1);
            let repository = open_with(&world.store, &world, &key_file(10)).await.unwrap();
            remove_key(&world.ctx(), &repository, &key_file(10), &id).await.unwrap();
            let repository = open_with(&world.store, &world, &key_file(10)).await.unwrap();
            world.assert_sound(&repository).await;
        }
    });
}

fn faulty(world: &World, plan: impl Fn(&Call) -> Fault + Send + Sync + 'static) -> FaultStore {
    FaultStore::new(Arc::new(world.store.clone()), plan)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Add,
    Change,
    Remove,
}

/// Carries a verb out as a process of its own would.
async fn carry_out(world: &World, store: Arc<dyn ObjectStore>, verb: Verb, other: &str) -> Result<()> {
    let (ctx, repository) = (world.ctx(), world.open_on(store).await?);
    let new = new(&key_file(9), "new");
    match verb {
        Verb::Add => add_key(&ctx, &repository, &new).await.map(drop),
        Verb::Change => change_key(&ctx, &repository, &secret(), &new).await.map(drop),
        Verb::Remove => remove_key(&ctx, &repository, &secret(), other).await.map(drop),
    }
}

#[test]
fn cut_off_or_failing_at_any_call_leaves_what_was_or_what_was_asked_for() {
    run(|| async {
        let start = two_keys().await;
        let other = listed(&start, &start.open().await).await[1].id.to_string();
        let retry = StoreErrorKind::Retry;
        for verb in [Verb::Add, Verb::Change, Verb::Remove] {
            let world = start.fork(2);
            let store = faulty(&world, |_| Fault::None);
            carry_out(&world, Arc::new(store.clone()), verb, &other).await.unwrap();
            for (at, fault) in (0..store.calls()).flat_map(|at| {
                [Fault::Crash, Fault::FailBefore(retry), Fault::FailAfter(retry)].map(|fault| (at, fault))
            }) {
                let world = start.fork(2);
                let store = faulty(&world, move |call| if call.number == at { fault } else { Fault::None });
                let result = carry_out(&world, Arc::new(store), verb, &other).await;
                let what = format!("{verb:?}, {fault:?} at {at}: {result:?}");
                let [first, second, third] = [
                    opens(&world, &secret()).await,
                    opens(&world, &key_file(8)).await,
                    opens(&world, &key_file(9)).await,
                ];
                match verb {
                    Verb::Add => assert!(first && second && (third || result.is_err()), "{what}"),
                    Verb::Change => {
                        assert!(second && (first || third), "{what}");
                        assert!(result.is_err() || third && !first, "{what}");
                    }
                    Verb::Remove => assert!(first && !third && (!second || result.is_err()), "{what}"),
                }
                let usable = if first { secret() } else { key_file(9) };
                let repository = open_with(&world.store, &world, &usable).await.unwrap();
                world.assert_sound(&repository).await;
            }
        }
    });
}

/// One of two that each remove the other's key.
fn remover(world: &World, opened: &Repository, secret: &Secret, target: &str) -> Stepped<Result<RemovedKey>> {
    let (ctx, opened, secret, target) = (world.ctx(), opened.clone(), secret.clone(), target.to_owned());
    Stepped::new(async move { remove_key(&ctx, &opened, &secret, &target).await })
}

#[test]
fn two_that_remove_each_other_s_key_leave_one_wherever_they_stop() {
    run(|| async {
        let start = two_keys().await;
        let secrets = [secret(), key_file(8)];
        let ids: Vec<_> =
            listed(&start, &start.open().await).await.iter().map(|key| key.id.to_string()).collect();
        let (mut both_died, mut kept) = (0, 0);
        const CALLS: usize = 14;
        // One goes so far, then the other, then the first again, then the second; then both stop
        // for ever, or one goes on to its end, or both.
        for (one, two, three, end) in (0..CALLS).flat_map(|one| {
            (0..CALLS).flat_map(move |two| {
                [0, 1, 3, CALLS]
                    .into_iter()
                    .flat_map(move |three| (0..4).map(move |end| (one, two, three, end)))
            })
        }) {
            let world = start.fork(2);
            let store = Arc::new(SteppedStore(world.store.clone()));
            let mut runs = Vec::new();
            for (at, secret) in secrets.iter().enumerate() {
                let (ctx, store, secret) = (world.ctx(), Arc::clone(&store), secret.clone());
                let mut opening = Stepped::new(async move { Repository::open(&ctx, store, &secret).await });
                opening.go(usize::MAX);
                let opened = opening.result.unwrap().unwrap();
                runs.push(remover(&world, &opened, &secrets[at], &ids[1 - at]));
            }
            for (run, calls) in [(0, one), (1, two), (0, three)] {
                runs[run].go(calls);
            }
            for run in [0, 1].into_iter().filter(|run| end & (1 << run) != 0) {
                runs[run].go(usize::MAX);
            }
            let (first, second) = (opens(&world, &secrets[0]).await, opens(&world, &secrets[1]).await);
            assert!(first || second, "{one} {two} {three} {end}: no key is left");
            both_died += u32::from(end == 0 && runs.iter().all(|run| run.result.is_none()));
            let told =
                runs.iter().filter(|run| matches!(&run.result, Some(Ok(removed)) if removed.was_removed));
            kept += u32::from(told.count() > 0);
            let usable = if first { &secrets[0] } else { &secrets[1] };
            let repository = open_with(&world.store, &world, usable).await.unwrap();
            if (one + two) % 4 == 0 {
                world.assert_sound(&repository).await;
            }
        }
        assert!(both_died > 100 && kept > 10, "{both_died} {kept}");
    });
}

#[test]
fn a_key_that_is_replaced_while_it_opens_is_not_called_wrong() {
    run(|| async {
        for calls in 0..8 {
            let world = two_keys().await;
            let store = Arc::new(SteppedStore(world.store.clone()));
            let ctx = world.ctx();
            let mut opening = Stepped::new(async move { Repository::open(&ctx, store, &secret()).await });
            opening.go(calls);
            let repository = world.open().await;
            let other = listed(&world, &repository).await[1].id.to_string();
            remove_key(&world.ctx(), &repository, &secret(), &other).await.unwrap();
            opening.go(usize::MAX);
            opening.result.unwrap().unwrap();
        }
    });
}
