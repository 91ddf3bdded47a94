//! Domains: the keys of the repository open them, nothing is shared with them, and whoever destroys
//! their keys has erased them and nothing else.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{
    ModelSource, Node, START_SECONDS, Stepped, SteppedStore, Tree, World, chain, key_file, noise, run, secret,
};
use holdfast_core::id::MemberId;
use holdfast_core::keys::Role;
use holdfast_engine::error::{Error, ErrorKind, Result};
use holdfast_engine::maintain::{HoldScope, hold, holds, release};
use holdfast_engine::outcome::Outcome;
use holdfast_engine::workers::Workers;
use holdfast_engine::{
    Granted, Inherited, NewKey, Repository, ShredReport, admit, evidence, grant, inherited, is_erased,
    members, remove_member, rotate, shred,
};
use holdfast_store::fault::{Call, Fault, Operation};
use holdfast_store::{ErrorKind as StoreErrorKind, FaultStore, Key, MemoryStore, ObjectStore};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

fn tree() -> Tree {
    let mut tree = Tree::default();
    tree.put("small", Node::file("the same words"));
    tree.put("large", Node::file(noise(7, 300_000)));
    for node in tree.0.values_mut() {
        node.mtime.seconds = START_SECONDS - 10_000;
        node.ctime = node.mtime;
    }
    tree
}

/// A repository with a snapshot, and a domain of it with a snapshot of the same tree.
struct Scene {
    world: World,
    above: Repository,
    store: MemoryStore,
}

impl Scene {
    async fn new() -> Self {
        Self::of(&tree()).await
    }

    async fn of(tree: &Tree) -> Self {
        let (world, above) = World::made(Workers::inline()).await;
        let scene = Self { world, above, store: MemoryStore::new() };
        let place: Arc<dyn ObjectStore> = Arc::new(scene.store.clone());
        let domain = Repository::create_domain(&scene.world.ctx(), place, &scene.above, Vec::new()).await;
        scene.world.keep(&scene.above, tree).await;
        scene.world.keep(&domain.unwrap(), tree).await;
        scene
    }

    /// The domain once more.
    fn fork(&self) -> MemoryStore {
        MemoryStore::with_objects(self.store.objects())
    }

    async fn open(&self, store: &MemoryStore) -> Result<Repository> {
        Repository::open_domain(&self.world.ctx(), Arc::new(store.clone()), &self.above).await
    }

    async fn shred_on(&self, store: Arc<dyn ObjectStore>) -> Result<Outcome<ShredReport>> {
        self.shred_with(store, Ok(0)).await.0
    }

    /// The same where the store keeps versions: with what it says of those of the keys; and how often it was asked.
    async fn shred_with(
        &self,
        store: Arc<dyn ObjectStore>,
        said: std::result::Result<u64, String>,
    ) -> (Result<Outcome<ShredReport>>, u32) {
        let (ctx, asked) = (self.world.ctx(), AtomicU32::new(0));
        let erase = || async {
            asked.fetch_add(1, Ordering::Relaxed);
            said
        };
        let result = shred(&ctx, &self.above, store, ("hr", "contract ended"), erase).await;
        (result, asked.into_inner())
    }

    /// What is outside is as it was.
    async fn assert_outside_is_whole(&self) {
        let newest = self.world.newest(&self.above).await;
        self.world.assert_restores(&self.above, &newest, &tree()).await;
        self.world.assert_sound(&self.above).await;
    }
}

fn refused<T>(result: Result<T>) -> Error {
    result.err().expect("it is refused")
}

#[test]
fn a_domain_shares_nothing_but_the_way_in() {
    run(|| async {
        let scene = Scene::new().await;
        let domain = scene.open(&scene.store).await.unwrap();
        assert!(domain.is_domain() && domain.id() != scene.above.id());
        let newest = scene.world.newest(&domain).await;
        scene.world.assert_restores(&domain, &newest, &tree()).await;
        scene.world.assert_sound(&domain).await;
        // All of it is stored twice, and no chunk has the same name in both.
        let bytes = |objects: std::collections::BTreeMap<Key, bytes::Bytes>| -> usize {
            objects
                .iter()
                .filter(|(key, _)| key.as_str().starts_with("packs/data"))
                .map(|(_, body)| body.len())
                .sum()
        };
        assert!(bytes(scene.store.objects()) > 300_000 && bytes(scene.world.store.objects()) > 300_000);
        assert!(scene.store.objects().keys().all(|key| !key.as_str().starts_with("keys/")));
        // Nobody takes it for a repository that a password opens.
        let alone = Repository::open(&scene.world.ctx(), Arc::new(scene.store.clone()), &secret()).await;
        assert_eq!(refused(alone).kind, ErrorKind::Usage);
    });
}

#[test]
fn members_open_it_with_their_roles() {
    run(|| async {
        let scene = Scene::new().await;
        let writer = scene.world.admitted(Role::Writer, 8).await;
        let place = || Arc::new(scene.store.clone());
        // Not before an owner says so, and only an owner can.
        let early = Repository::open_domain(&scene.world.ctx(), place(), &writer).await;
        assert_eq!(refused(early).kind, ErrorKind::NotAllowed);
        let above = scene.world.open().await;
        let domain = Repository::open_domain(&scene.world.ctx(), place(), &above).await.unwrap();
        assert_eq!(
            grant(&scene.world.ctx(), &above, &domain).await.unwrap(),
            Granted { admitted: 1, removed: 0 }
        );
        assert_eq!(grant(&scene.world.ctx(), &above, &domain).await.unwrap(), Granted::default());
        let opened = Repository::open_domain(&scene.world.ctx(), place(), &writer).await.unwrap();
        assert_eq!(opened.role(), Role::Writer);
        assert_eq!(refused(grant(&scene.world.ctx(), &writer, &opened).await).kind, ErrorKind::NotAllowed);
        let (ctx, empty) = (scene.world.ctx(), Arc::new(MemoryStore::new()));
        let made = Repository::create_domain(&ctx, empty, &writer, Vec::new()).await;
        assert_eq!(refused(made).kind, ErrorKind::NotAllowed);
        let none = || async { Ok(0) };
        let report = shred(&scene.world.ctx(), &writer, place(), ("hr", "revenge"), none).await;
        assert_eq!(refused(report).kind, ErrorKind::NotAllowed);
        scene.open(&scene.store).await.unwrap();
        // Who is removed is shut out of the domain too, and new keys are given to who belongs.
        let removed = members(&above).into_iter().find(|member| member.role == Role::Writer).unwrap();
        remove_member(&scene.world.ctx(), &above, removed.id).await.unwrap();
        let domain = Repository::open_domain(&scene.world.ctx(), place(), &above).await.unwrap();
        let granted = grant(&scene.world.ctx(), &above, &domain).await.unwrap();
        assert_eq!(granted, Granted { admitted: 0, removed: 1 });
        assert_eq!(rotate(&scene.world.ctx(), &domain).await.unwrap().members, 1);
        let late = Repository::open_domain(&scene.world.ctx(), place(), &writer).await;
        assert_eq!(refused(late).kind, ErrorKind::NotAllowed);
        let newest = scene.world.newest(&domain).await;
        scene.world.assert_restores(&domain, &newest, &tree()).await;
        scene.world.assert_sound(&domain).await;
        let writer = scene.world.admitted(Role::Writer, 9).await;
        let above = scene.world.open().await;
        // Those who belong when a domain is made open it at once.
        let store = Arc::new(MemoryStore::new());
        Repository::create_domain(&ctx, store.clone(), &above, Vec::new()).await.unwrap();
        let opened = Repository::open_domain(&scene.world.ctx(), store, &writer).await.unwrap();
        assert_eq!(opened.role(), Role::Writer);
    });
}

/// What changes above while another owner brings a domain in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Comes,
    Goes,
}

/// A repository above and its domain, opened so that each call takes a turn.
fn opened_stepped(world: &World, domain: &MemoryStore) -> (Repository, Repository) {
    let (ctx, above) = (world.ctx(), Arc::new(SteppedStore(world.store.clone())));
    let domain = Arc::new(SteppedStore(domain.clone()));
    let mut opening = Stepped::new(async move {
        let above = Repository::open(&ctx, above, &secret()).await.unwrap();
        let domain = Repository::open_domain(&ctx, domain, &above).await.unwrap();
        (above, domain)
    });
    opening.go(usize::MAX);
    opening.result.unwrap()
}

fn stepped_grant(world: &World, domain: &MemoryStore) -> Stepped<()> {
    let (ctx, (above, domain)) = (world.ctx(), opened_stepped(world, domain));
    Stepped::new(async move { grant(&ctx, &above, &domain).await.map(drop).unwrap() })
}

/// Changes who belongs above, and then the domain, as `key add` and `key remove` do.
fn stepped_change(world: &World, domain: &MemoryStore, change: Change) -> Stepped<()> {
    let (ctx, (above, domain)) = (world.ctx(), opened_stepped(world, domain));
    Stepped::new(async move {
        match change {
            Change::Comes => {
                let new = NewKey { secret: key_file(9), label: None, cost: None };
                admit(&ctx, &above, Role::Writer, &new).await.map(drop).unwrap();
            }
            Change::Goes => {
                let other = members(&above).into_iter().find(|member| member.role == Role::Reader).unwrap();
                remove_member(&ctx, &above, other.id).await.map(drop).unwrap();
            }
        }
        grant(&ctx, &above, &domain).await.map(drop).unwrap();
    })
}

fn who_belongs(repository: &Repository) -> BTreeSet<MemberId> {
    members(repository).into_iter().filter(|member| !member.is_removed).map(|member| member.id).collect()
}

#[test]
fn a_domain_follows_members_that_change_while_it_is_brought_in_line() {
    run(|| async {
        // Small: it is looked at hundreds of times.
        let scene = Scene::of(&tree().without("large")).await;
        // In the repository and not in the domain yet.
        scene.world.admitted(Role::Reader, 8).await;
        let calls = (0..16).flat_map(|one| (0..44).step_by(3).map(move |two| (one, two)));
        let mut seen = BTreeSet::new();
        for (change, (one, two)) in calls.flat_map(|calls| [(Change::Comes, calls), (Change::Goes, calls)]) {
            let (world, domain) = (scene.world.fork(2), scene.fork());
            let mut granting = stepped_grant(&world, &domain);
            let mut changing = stepped_change(&world, &domain, change);
            granting.go(one);
            changing.go(two);
            // Once one has ended, more calls make no difference.
            let one = if granting.result.is_some() { usize::MAX } else { one };
            let two = if changing.result.is_some() { usize::MAX } else { two };
            if !seen.insert((change, one, two)) {
                continue;
            }
            for run in
                if two % 2 == 0 { [&mut granting, &mut changing] } else { [&mut changing, &mut granting] }
            {
                run.go(usize::MAX);
            }
            let above = world.open().await;
            let domain = Repository::open_domain(&world.ctx(), Arc::new(domain), &above).await.unwrap();
            let what = format!("{change:?} {one} {two}");
            let expected = if change == Change::Comes { 3 } else { 1 };
            assert_eq!(who_belongs(&above).len(), expected, "{what}");
            assert_eq!(who_belongs(&domain), who_belongs(&above), "{what}");
            world.assert_sound(&domain).await;
        }
    });
}

#[test]
fn a_domain_of_a_stranger_is_refused() {
    run(|| async {
        let (scene, stranger) = (Scene::new().await, World::with_seed(Workers::inline(), 99));
        let theirs = stranger.create().await;
        let store = Arc::new(MemoryStore::new());
        Repository::create_domain(&stranger.ctx(), store.clone(), &theirs, Vec::new()).await.unwrap();
        let error = refused(Repository::open_domain(&scene.world.ctx(), store.clone(), &scene.above).await);
        assert!(error.to_string().contains("not made by an owner"), "{error}");
        // Nor does anything else that lies there make way.
        let again = Repository::create_domain(&scene.world.ctx(), store, &scene.above, Vec::new()).await;
        assert_eq!(refused(again).kind, ErrorKind::RepositoryExists);
        let taken = Arc::new(MemoryStore::new());
        let _ = taken.put_new(&Key::new("packs/x").unwrap(), "left".into()).await.unwrap();
        let again = Repository::create_domain(&scene.world.ctx(), taken, &scene.above, Vec::new()).await;
        assert_eq!(refused(again).kind, ErrorKind::RepositoryExists);
    });
}

#[test]
fn what_is_shredded_is_gone_and_nothing_else() {
    run(|| async {
        let scene = Scene::new().await;
        let outcome = scene.shred_on(Arc::new(scene.store.clone())).await.unwrap();
        let (report, problems) = (outcome.value, outcome.problems.problem_count);
        assert_eq!((report.snapshots, report.left, problems), (Some(1), 0, 0));
        assert!(report.deleted > 5 && scene.store.objects().is_empty(), "{report:?}");
        scene.assert_outside_is_whole().await;
        let book = evidence::records(&scene.world.ctx(), &scene.above).await.unwrap();
        let records = book.records();
        assert_eq!(records.len(), 2);
        for record in &records {
            let text = String::from_utf8(record.text.clone()).unwrap();
            assert!(
                record.kind == "shred" && text.contains("contract ended") && text.contains("hr"),
                "{text}"
            );
        }
        assert_eq!(records[1].name, report.evidence);
    });
}

#[test]
fn a_mark_that_nobody_recorded_is_passed_over_aloud() {
    run(|| async {
        let scene = Scene::new().await;
        let _ = scene.store.put_new(&Key::new("shredded").unwrap(), "x".into()).await.unwrap();
        scene.world.take_warnings();
        let domain = scene.open(&scene.store).await.unwrap();
        let told = scene.world.take_warnings();
        assert!(told.len() == 1 && told[0].contains("no owner recorded"), "{told:?}");
        scene.world.assert_restores(&domain, &scene.world.newest(&domain).await, &tree()).await;
        // A writer's word for it is none.
        let writer = scene.world.admitted(Role::Writer, 5).await;
        let text = format!("{{\"repository\":\"{}\"}}", domain.id());
        let above = scene.world.ctx();
        evidence::append(&above, &writer, "shred", text.as_bytes()).await.unwrap();
        scene.open(&scene.store).await.unwrap();
        assert!(!is_erased(&above, &scene.store, &scene.above).await.unwrap());
        evidence::append(&above, &scene.above, "shred", text.as_bytes()).await.unwrap();
        assert!(is_erased(&above, &scene.store, &scene.above).await.unwrap());
        let error = scene.open(&scene.store).await.unwrap_err();
        let text = error.to_string();
        assert!(
            error.kind == ErrorKind::NoRepository && text.contains("keys of it are still there"),
            "{text}"
        );
    });
}

#[test]
fn a_hold_stops_it() {
    run(|| async {
        let scene = Scene::new().await;
        let domain = scene.open(&scene.store).await.unwrap();
        for repository in [&domain, &scene.above] {
            hold(&scene.world.ctx(), repository, &[HoldScope::All], "a lawsuit", None).await.unwrap();
            let error = refused(scene.shred_on(Arc::new(scene.store.clone())).await);
            assert!(
                error.kind == ErrorKind::NotAllowed && error.to_string().contains("a lawsuit"),
                "{error}"
            );
            // Nor does a mark that somebody put there lift it.
            let marked = scene.fork();
            let _ = marked.put_new(&Key::new("shredded").unwrap(), "x".into()).await.unwrap();
            let error = refused(scene.shred_on(Arc::new(marked)).await);
            assert!(
                error.kind == ErrorKind::NotAllowed && error.to_string().contains("a lawsuit"),
                "{error}"
            );
            let ids: Vec<_> =
                holds(&scene.world.ctx(), repository).await.unwrap().iter().map(|hold| hold.id).collect();
            release(&scene.world.ctx(), repository, &ids).await.unwrap();
        }
        let newest = scene.world.newest(&domain).await;
        scene.world.assert_restores(&domain, &newest, &tree()).await;
        let outcome = scene.shred_on(Arc::new(scene.store.clone())).await.unwrap();
        assert_eq!(outcome.value.left, 0);
    });
}

#[test]
fn a_shred_that_dies_at_any_call_is_ended_by_the_next() {
    run(|| async {
        let scene = Scene::new().await;
        let measured = FaultStore::new(Arc::new(scene.fork()), |_| Fault::None);
        let _ = scene.shred_on(Arc::new(measured.clone())).await.unwrap();
        assert!(measured.calls() > 20, "{}", measured.calls());
        for at in 0..measured.calls() {
            let store = scene.fork();
            let plan = move |call: &Call| if call.number == at { Fault::Crash } else { Fault::None };
            let dying = FaultStore::new(Arc::new(store.clone()), plan);
            let _ = scene.shred_on(Arc::new(dying.clone())).await;
            assert!(dying.crashed(), "call {at} was not made");
            let names: Vec<_> = store.objects().into_keys().map(|key| key.as_str().to_owned()).collect();
            let begun = names.iter().any(|name| name == "shredded");
            let keys = names.iter().filter(|name| name.starts_with("members/")).count();
            match scene.open(&store).await {
                // Nothing was destroyed, or it would not open.
                Ok(domain) => {
                    assert!(!begun, "crash at call {at}");
                    let newest = scene.world.newest(&domain).await;
                    scene.world.assert_restores(&domain, &newest, &tree()).await;
                }
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::NoRepository, "crash at call {at}: {}", chain(&error));
                    let whole = names.iter().filter(|name| name.starts_with("packs/")).count() > 0;
                    assert!(whole || keys == 0, "crash at call {at}: packs went before keys");
                }
            }
            match scene.shred_on(Arc::new(store.clone())).await {
                Ok(outcome) => assert_eq!(outcome.value.left, 0, "crash at call {at}"),
                // The very last calls: nothing but the word that it was shredded is left.
                Err(error) => assert_eq!(error.kind, ErrorKind::NoRepository, "crash at call {at}"),
            }
            let left: Vec<_> = store.objects().into_keys().map(|key| key.as_str().to_owned()).collect();
            assert!(left.iter().all(|name| name == "shredded"), "crash at call {at}: {left:?}");
        }
        scene.assert_outside_is_whole().await;
    });
}

#[test]
fn a_store_that_deletes_nothing_is_told_of() {
    run(|| async {
        let scene = Scene::new().await;
        let store = scene.fork();
        // A lock on everything: the keys cannot be destroyed, so nothing is erased.
        let locked = |call: &Call| match call.operation {
            Operation::Delete => Fault::FailBefore(StoreErrorKind::Denied),
            _ => Fault::None,
        };
        let error = refused(scene.shred_on(Arc::new(FaultStore::new(Arc::new(store.clone()), locked))).await);
        assert!(error.to_string().contains("could not be destroyed"), "{error}");
        // Nor is it told as erased.
        let told = |error: &Error| {
            assert_eq!(error.kind, ErrorKind::NoRepository, "{error}");
            let text = error.to_string();
            assert!(
                text.contains("still there: run `holdfast shred`") && !text.contains("were destroyed"),
                "{text}"
            );
        };
        told(&refused(scene.open(&store).await));
        // The key of one member is enough for that one.
        let halfway = MemoryStore::with_objects(store.objects());
        let writer = scene.world.admitted(Role::Writer, 8).await;
        let first = halfway.objects().into_keys().find(|key| key.as_str().starts_with("members/")).unwrap();
        halfway.insert_raw(Key::new("members/0000000000000001-x").unwrap(), "another's");
        halfway.remove_raw(&first);
        let place: Arc<dyn ObjectStore> = Arc::new(halfway);
        told(&refused(Repository::open_domain(&scene.world.ctx(), place, &writer).await));
        // A lock on packs: they stay, unreadable, and are told of.
        let packs = |call: &Call| match call.operation {
            Operation::Delete if call.key.starts_with("packs/") => Fault::FailBefore(StoreErrorKind::Denied),
            _ => Fault::None,
        };
        let outcome =
            scene.shred_on(Arc::new(FaultStore::new(Arc::new(store.clone()), packs))).await.unwrap();
        assert!(outcome.value.left > 0 && outcome.problems.problem_count == outcome.value.left);
        // No key was gone before this run; before the next one all are.
        assert_eq!(outcome.value.snapshots, Some(1));
        let error = refused(scene.open(&store).await);
        assert!(error.to_string().contains("destroyed"), "{error}");
        let outcome = scene.shred_on(Arc::new(store.clone())).await.unwrap();
        assert!(outcome.value.snapshots.is_none() && outcome.value.left == 0 && store.objects().is_empty());
    });
}

#[test]
fn while_a_version_of_a_key_is_left_the_next_run_goes_on() {
    run(|| async {
        let scene = Scene::new().await;
        let names = |store: &MemoryStore| -> Vec<_> {
            store.objects().into_keys().map(|key| key.as_str().to_owned()).collect()
        };
        let record = async || {
            let book = evidence::records(&scene.world.ctx(), &scene.above).await.unwrap();
            String::from_utf8(book.records().pop().unwrap().text.clone()).unwrap()
        };
        let store = scene.fork();
        for said in [Err("no right to list them".to_owned()), Ok(2)] {
            let (outcome, asked) = scene.shred_with(Arc::new(store.clone()), said.clone()).await;
            let report = outcome.unwrap().value;
            assert_eq!((asked, report.left, &report.versions), (1, 0, &said));
            assert_eq!(names(&store), ["holdfast.json", "shredded"]);
            let text = record().await;
            let wanted = if said.is_ok() { "\"key_versions_left\":2" } else { "no right to list them" };
            assert!(text.contains("\"end\"") && text.contains(wanted), "{text}");
        }
        // Killed once they are erased, and before all is gone.
        let last = |call: &Call| match call.operation {
            Operation::Delete if call.key == "holdfast.json" => Fault::Crash,
            _ => Fault::None,
        };
        let dying = FaultStore::new(Arc::new(store.clone()), last);
        let (outcome, asked) = scene.shred_with(Arc::new(dying), Ok(0)).await;
        assert!(outcome.is_err() && asked == 1);
        let (outcome, asked) = scene.shred_with(Arc::new(store.clone()), Ok(0)).await;
        assert!(outcome.unwrap().value.versions == Ok(0) && asked == 1 && names(&store).is_empty());
    });
}

#[test]
fn keys_that_are_gone_lift_no_hold_on_everything() {
    run(|| async {
        let scene = Scene::new().await;
        let id = scene.open(&scene.store).await.unwrap().id();
        let _ = scene.store.put_new(&Key::new("shredded").unwrap(), "x".into()).await.unwrap();
        let first =
            scene.store.objects().into_keys().find(|key| key.as_str().starts_with("members/")).unwrap();
        scene.store.remove_raw(&first);
        // A mark alone says nothing: a hold in the domain could stand.
        let error = refused(scene.shred_on(Arc::new(scene.store.clone())).await);
        assert_eq!(error.kind, ErrorKind::Damaged, "{error}");
        let text = format!("{{\"repository\":\"{id}\"}}");
        evidence::append(&scene.world.ctx(), &scene.above, "shred", text.as_bytes()).await.unwrap();
        hold(&scene.world.ctx(), &scene.above, &[HoldScope::All], "a lawsuit", None).await.unwrap();
        let error = refused(scene.shred_on(Arc::new(scene.store.clone())).await);
        assert!(error.kind == ErrorKind::NotAllowed && error.to_string().contains("a lawsuit"), "{error}");
        let ids: Vec<_> =
            holds(&scene.world.ctx(), &scene.above).await.unwrap().iter().map(|hold| hold.id).collect();
        release(&scene.world.ctx(), &scene.above, &ids).await.unwrap();
        let _ = scene.shred_on(Arc::new(scene.store.clone())).await.unwrap();
        assert!(scene.store.objects().is_empty());
    });
}

#[test]
fn what_was_erased_and_is_put_back_without_its_mark_is_refused() {
    run(|| async {
        let scene = Scene::new().await;
        let other: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let ctx = scene.world.ctx();
        Repository::create_domain(&ctx, Arc::clone(&other), &scene.above, Vec::new()).await.unwrap();
        let copy = scene.fork();
        let _ = scene.shred_on(Arc::new(scene.store.clone())).await.unwrap();
        let error = refused(scene.open(&copy).await);
        assert!(
            error.kind == ErrorKind::NoRepository && error.to_string().contains("put it back"),
            "{error}"
        );
        // Whoever opens the repository anew knows it too; other domains open, and it can be erased again.
        let above = scene.world.open().await;
        let error = refused(Repository::open_domain(&ctx, Arc::new(copy.clone()), &above).await);
        assert!(error.to_string().contains("put it back"), "{error}");
        Repository::open_domain(&ctx, other, &above).await.unwrap();
        let _ = scene.shred_on(Arc::new(copy.clone())).await.unwrap();
        assert!(copy.objects().is_empty());
    });
}

#[test]
fn a_domain_that_lost_its_description_is_erased_all_the_same() {
    run(|| async {
        let scene = Scene::new().await;
        let description = Key::new("holdfast.json").unwrap();
        let lacking = || {
            let store = scene.fork();
            store.remove_raw(&description);
            store
        };
        // What is meant for everything above holds it too.
        let all = [HoldScope::All];
        let held = hold(&scene.world.ctx(), &scene.above, &all, "a lawsuit", None).await.unwrap();
        let error = refused(scene.shred_on(Arc::new(lacking())).await);
        assert!(error.to_string().contains("a lawsuit"), "{error}");
        release(&scene.world.ctx(), &scene.above, &[held[0].id]).await.unwrap();
        let store = lacking();
        let report = scene.shred_on(Arc::new(store.clone())).await.unwrap().value;
        assert_eq!((report.id, report.snapshots, report.left), (None, None, 0));
        assert!(store.objects().is_empty());
        // One that lies elsewhere still opens, for nobody knows that it is the same.
        scene.open(&scene.store).await.unwrap();
        let error = refused(scene.shred_on(Arc::new(MemoryStore::new())).await);
        assert_eq!(error.kind, ErrorKind::NoRepository, "{error}");
        // A repository of its own is none, also where it does not say so.
        let own = MemoryStore::with_objects(scene.world.store.objects());
        own.remove_raw(&description);
        let before = own.objects().len();
        assert_eq!(refused(scene.shred_on(Arc::new(own.clone())).await).kind, ErrorKind::Usage);
        assert_eq!(own.objects().len(), before);
    });
}

#[test]
fn nothing_is_saved_in_a_domain_that_is_erased_meanwhile() {
    run(|| async {
        let scene = Scene::new().await;
        // Erased before the commit, or while it is on its way.
        for at in ["packs/", "/end"] {
            let (store, done) = (scene.fork(), Arc::new(AtomicBool::new(false)));
            let (all, once) = (store.clone(), Arc::clone(&done));
            let erased = move |call: &Call| {
                let is_it = call.operation != Operation::Get && call.key.contains(at);
                if is_it && !once.swap(true, Ordering::Relaxed) {
                    all.objects().keys().for_each(|key| _ = all.remove_raw(key));
                }
                Fault::None
            };
            let place: Arc<dyn ObjectStore> = Arc::new(FaultStore::new(Arc::new(store), erased));
            let domain = Repository::open_domain(&scene.world.ctx(), place, &scene.above).await.unwrap();
            done.store(false, Ordering::Relaxed);
            let mut more = tree();
            more.put("new", Node::file(noise(9, 50_000)));
            let options = World::bare();
            let error =
                scene.world.backup_with(&domain, ModelSource::new(&more), &options).await.unwrap_err();
            assert!(error.to_string().contains("was erased meanwhile"), "{at}: {}", chain(&error));
            assert!(done.load(Ordering::Relaxed), "{at}");
        }
    });
}

const SNAPSHOT: &str = "0123456789abcdef0123456789abcdef";

/// Somebody takes contents out of a domain, for a reason.
async fn access(world: &World, domain: &Repository, reason: &str) {
    let text = format!(
        r#"{{"verb":"restore","host":"web1","user":"kim","key":"owner","snapshots":["{SNAPSHOT}","secret-name"],
        "source":"web1:/srv/secret-name","path":"/srv/secret-name","include":["secret-name"],"exclude":[],
        "databases":["secret-name"],"target":"/tmp/secret-name","reason":"{reason}"}}"#
    );
    evidence::append(&world.ctx(), domain, "access", text.as_bytes()).await.unwrap();
}

/// What is kept above of the evidence of domains; nothing of it is what was erased.
async fn kept(world: &World, above: &Repository) -> Vec<Inherited> {
    let book = evidence::records(&world.ctx(), above).await.unwrap();
    assert_eq!(book.problems().count(), 0);
    let told = |record: &evidence::EvidenceRecord| String::from_utf8(record.text.clone()).unwrap();
    assert!(book.records().iter().all(|record| !told(record).contains("secret-name")));
    inherited(&book, above).into_iter().map(|(_, told)| told).collect()
}

/// The reasons that are kept, sorted.
fn reasons(kept: &[Inherited]) -> Vec<String> {
    let accesses = kept.iter().flat_map(|told| &told.accesses);
    let mut all: Vec<_> = accesses.filter_map(|access| access.reason.clone()).collect();
    all.sort();
    all
}

#[test]
fn who_read_a_domain_is_told_after_it_is_erased() {
    run(|| async {
        let scene = Scene::new().await;
        let (world, ctx) = (&scene.world, scene.world.ctx());
        let reader = world.admitted(Role::Reader, 8).await;
        let above = world.open().await;
        let place: Arc<dyn ObjectStore> = Arc::new(scene.store.clone());
        let domain = Repository::open_domain(&ctx, Arc::clone(&place), &above).await.unwrap();
        grant(&ctx, &above, &domain).await.unwrap();
        let theirs = Repository::open_domain(&ctx, Arc::clone(&place), &reader).await.unwrap();
        access(world, &domain, "ticket 812").await;
        evidence::append(&ctx, &domain, "note", b"{\"action\":\"secret-name\"}").await.unwrap();
        access(world, &theirs, "an audit").await;
        let drill = format!(
            r#"{{"id":"ab","host":"d1","user":"root","sources":[{{"source":"secret-name","snapshot":"{SNAPSHOT}"}}]}}"#
        );
        evidence::append(&ctx, &theirs, "drill", drill.as_bytes()).await.unwrap();
        let noted = evidence::records(&ctx, &domain).await.unwrap();
        let none = || async { Ok(0) };
        let outcome = shred(&ctx, &above, place, ("hr", "contract ended"), none).await.unwrap();
        assert!(outcome.value.accesses == 3 && scene.store.objects().is_empty());
        let kept = kept(world, &above).await;
        assert_eq!(kept.len(), 2);
        for chain in &noted.chains {
            let own = kept.iter().find(|told| told.member.as_deref() == Some(&*chain.member.to_string()));
            let (own, head) = (own.unwrap(), chain.head().unwrap());
            assert_eq!((own.first, own.next, own.problems, &own.unread), (0, 2, 0, &None));
            let mark = format!("{}:{}:{}", chain.member, own.next - 1, own.head.as_ref().unwrap());
            assert!(mark == head.to_string() && own.domain == "hr" && !own.label.is_empty(), "{own:?}");
        }
        assert_eq!(reasons(&kept), ["an audit", "ticket 812"]);
        let all: Vec<_> = kept.iter().flat_map(|told| &told.accesses).collect();
        let drill = all.iter().find(|one| one.kind == "drill").unwrap();
        assert_eq!((&*drill.drill, &*drill.host, drill.paths), ("ab", "d1", 1));
        let access = all.iter().find(|one| one.reason.as_deref() == Some("ticket 812")).unwrap();
        assert_eq!((&*access.host, &*access.user, &*access.verb), ("web1", "kim", "restore"));
        assert_eq!((&access.snapshots[..], access.paths), (&[SNAPSHOT.to_owned()][..], 3));
        assert!(access.time.starts_with("20") && access.time.ends_with('Z'), "{}", access.time);
    });
}

#[test]
fn a_shred_that_is_repeated_tells_of_nobody_twice() {
    run(|| async {
        let scene = Scene::new().await;
        let domain = scene.open(&scene.store).await.unwrap();
        access(&scene.world, &domain, "one").await;
        access(&scene.world, &domain, "two").await;
        let none = || async { Ok(0) };
        let measured = FaultStore::new(Arc::new(scene.fork()), |_| Fault::None);
        let world = scene.world.fork(2);
        let above = world.open().await;
        let _ = shred(&world.ctx(), &above, Arc::new(measured.clone()), ("hr", "over"), none).await.unwrap();
        for at in 0..measured.calls() {
            let (world, store) = (scene.world.fork(2), scene.fork());
            let above = world.open().await;
            let plan = move |call: &Call| if call.number == at { Fault::Crash } else { Fault::None };
            let dying = FaultStore::new(Arc::new(store.clone()), plan);
            let _ = shred(&world.ctx(), &above, Arc::new(dying.clone()), ("hr", "over"), none).await;
            assert!(dying.crashed(), "call {at} was not made");
            // Somebody reads there, as long as that is possible.
            let place: Arc<dyn ObjectStore> = Arc::new(store.clone());
            let opened = Repository::open_domain(&world.ctx(), place, &above).await;
            let mut wanted = vec!["one".to_owned(), "two".to_owned()];
            if let Ok(domain) = opened {
                access(&world, &domain, "meanwhile").await;
                wanted.insert(0, "meanwhile".to_owned());
            }
            let again = shred(&world.ctx(), &above, Arc::new(store), ("hr", "over"), none).await;
            assert!(again.is_ok() || at + 2 >= measured.calls(), "crash at call {at}");
            let whole: Vec<_> =
                kept(&world, &above).await.into_iter().filter(|told| told.unread.is_none()).collect();
            assert_eq!(reasons(&whole), wanted, "crash at call {at}");
        }
    });
}

#[test]
fn evidence_that_cannot_be_read_stops_no_erasure() {
    run(|| async {
        let scene = Scene::new().await;
        let domain = scene.open(&scene.store).await.unwrap();
        access(&scene.world, &domain, "one").await;
        let id = domain.id();
        let none = || async { Ok(0) };
        for (operation, prefix) in [(Operation::Get, "evidence/"), (Operation::List, "evidence/")] {
            let (world, store) = (scene.world.fork(2), scene.fork());
            let above = world.open().await;
            let failing = move |call: &Call| match call.operation == operation && call.key.starts_with(prefix)
            {
                true => Fault::FailBefore(StoreErrorKind::Denied),
                false => Fault::None,
            };
            let place = Arc::new(FaultStore::new(Arc::new(store.clone()), failing));
            world.take_warnings();
            let outcome = shred(&world.ctx(), &above, place, ("hr", "over"), none).await.unwrap();
            assert!(outcome.value.accesses == 0 && store.objects().is_empty(), "{operation:?}");
            let told = world.take_warnings();
            assert!(told.iter().any(|text| text.contains("who read domain hr before")), "{told:?}");
            let kept = kept(&world, &above).await;
            assert!(kept.len() == 1 && kept[0].unread.is_some(), "{operation:?}: {kept:?}");
        }
        // Keys that an earlier version destroyed before anybody looked.
        let (world, store) = (scene.world.fork(2), scene.fork());
        let above = world.open().await;
        let text = format!("{{\"repository\":\"{id}\"}}");
        evidence::append(&world.ctx(), &above, "shred", text.as_bytes()).await.unwrap();
        let _ = store.put_new(&Key::new("shredded").unwrap(), "x".into()).await.unwrap();
        let members: Vec<_> =
            store.objects().into_keys().filter(|key| key.as_str().starts_with("members/")).collect();
        members.iter().for_each(|key| _ = store.remove_raw(key));
        let outcome = shred(&world.ctx(), &above, Arc::new(store), ("hr", "over"), none).await.unwrap();
        assert!(outcome.value.snapshots.is_none());
        let kept = kept(&world, &above).await;
        assert!(kept.len() == 1 && kept[0].next == 1 && kept[0].head.is_some(), "{kept:?}");
        assert!(kept[0].unread.as_ref().unwrap().contains("keys were destroyed"));
    });
}

#[test]
fn many_accesses_are_told_in_several_records() {
    run(|| async {
        let scene = Scene::new().await;
        let domain = scene.open(&scene.store).await.unwrap();
        for number in 0..1_100 {
            access(&scene.world, &domain, &format!("{number:04}")).await;
        }
        let outcome = scene.shred_on(Arc::new(scene.store.clone())).await.unwrap();
        let kept = kept(&scene.world, &scene.above).await;
        let stretches: Vec<_> =
            kept.iter().map(|told| (told.first, told.next, told.accesses.len())).collect();
        assert_eq!(stretches, [(0, 500, 500), (500, 1_000, 500), (1_000, 1_100, 100)]);
        assert!(outcome.value.accesses == 1_100 && reasons(&kept).len() == 1_100);
        assert!(kept.iter().all(|told| told.head.is_some() && told.omitted == 0));
    });
}
