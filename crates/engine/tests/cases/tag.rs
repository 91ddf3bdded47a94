//! Tags are changed by a snapshot that takes the place of the old one; nothing else is written.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{ModelSource, Node, Stepped, SteppedStore, Tree, World, noise, run, secret};
use holdfast_core::id::SessionId;
use holdfast_engine::error::{ErrorKind, Result};
use holdfast_engine::workers::Workers;
use holdfast_engine::{
    BackupOptions, Repository, Snapshot, SnapshotFilter, TagChange, Tagged, details, resolve, tag,
};
use holdfast_store::fault::{Call, Fault};
use holdfast_store::{ErrorKind as StoreErrorKind, FaultStore, ObjectStore};
use std::sync::Arc;

fn tree() -> Tree {
    let mut tree = Tree::default();
    for number in 0..6 {
        tree.put(&format!("small/{number}"), Node::file(noise(number, 9_000)));
    }
    tree
}

fn words(text: &str) -> Vec<String> {
    text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn add(tags: &str) -> TagChange {
    TagChange { add: words(tags), ..TagChange::default() }
}

fn remove(tags: &str) -> TagChange {
    TagChange { remove: words(tags), ..TagChange::default() }
}

/// A world with a snapshot that has the tags `a` and `b`.
async fn started() -> (World, Repository, Snapshot) {
    let (world, repository) = World::made(Workers::inline()).await;
    let options = BackupOptions { tags: words("a,b"), ..world.options() };
    let outcome = world.backup_with(&repository, ModelSource::new(&tree()), &options).await.unwrap();
    assert_eq!(outcome.problems.problems, []);
    let snapshot = world.newest(&repository).await;
    (world, repository, snapshot)
}

async fn change(world: &World, repository: &Repository, snapshot: &Snapshot, change: &TagChange) -> Tagged {
    let snapshots = [snapshot.clone()];
    tag(&world.ctx(), repository, &snapshots, change, &mut |_| {}).await.unwrap().remove(0)
}

async fn resolved(world: &World, repository: &Repository, id: SessionId) -> (Snapshot, Option<SessionId>) {
    let filter = SnapshotFilter::default();
    let found = resolve(&world.ctx(), repository, &id.to_string(), b"", &filter).await.unwrap();
    (found.snapshot, found.instead_of)
}

#[test]
fn the_new_one_is_the_old_one_but_for_its_tags() {
    run(|| async {
        let (world, repository, old) = started().await;
        world.clock.advance(1_000);
        let bytes = world.names("packs/").len();
        let tagged = change(&world, &repository, &old, &add("c,a")).await;
        assert_eq!((tagged.old, &tagged.tags), (old.id, &words("a,b,c")));
        assert_eq!(world.names("packs/").len(), bytes);
        let shown = world.snapshots(&repository).await;
        assert_eq!(shown.len(), 1);
        let new = &shown[0];
        assert_eq!(Some(new.id), tagged.new);
        let mut wanted = old.summary.clone();
        (wanted.tags, wanted.supersedes) = (words("a,b,c"), vec![old.id]);
        assert_eq!(new.summary, wanted);
        let ctx = world.ctx();
        assert_eq!(
            details(&ctx, &repository, new).await.unwrap(),
            details(&ctx, &repository, &old).await.unwrap()
        );
        // Nothing to do makes no snapshot.
        let before = world.store.objects();
        assert_eq!(change(&world, &repository, new, &add("b")).await.new, None);
        assert_eq!(world.store.objects(), before);
        let again = change(&world, &repository, new, &remove("a,b")).await;
        // Every id that it ever had leads to it.
        for id in [old.id, new.id] {
            let (snapshot, instead_of) = resolved(&world, &repository, id).await;
            assert_eq!((Some(snapshot.id), instead_of), (again.new, Some(id)));
        }
        assert_eq!(resolved(&world, &repository, again.new.unwrap()).await.1, None);
        // One that is no longer shown can be changed by those who still know it.
        let last = change(&world, &repository, &old, &TagChange { set: Some(vec![]), ..add("") }).await;
        assert_eq!((last.tags, world.snapshots(&repository).await.len()), (vec![], 1));
        world.assert_restores(&repository, &world.newest(&repository).await, &tree()).await;
        world.assert_sound(&repository).await;
    });
}

#[test]
fn the_next_backup_goes_on_from_it_and_reads_nothing_again() {
    run(|| async {
        let (world, repository, first) = started().await;
        let tagged = change(&world, &repository, &first, &add("c")).await;
        let report = world.keep(&repository, &tree()).await;
        assert_eq!((report.parent, report.unchanged), (tagged.new, true));
        assert_eq!((report.counts.bytes_read, report.counts.files_unmodified), (0, tree().files()));
        // The parent of the second is replaced in its turn: nothing is missing.
        let second = world.newest(&repository).await;
        let (parent, _) = resolved(&world, &repository, first.id).await;
        change(&world, &repository, &parent, &add("d")).await;
        world.assert_sound(&repository).await;
        change(&world, &repository, &second, &add("d")).await;
        world.assert_sound(&repository).await;
        let options = BackupOptions { parent: Some(second.id), ..world.options() };
        let third = world.backup_with(&repository, ModelSource::new(&tree()), &options).await.unwrap();
        assert_eq!(third.value.counts.bytes_read, 0);
        assert_eq!(world.snapshots(&repository).await.len(), 3);
    });
}

fn faulty(world: &World, plan: impl Fn(&Call) -> Fault + Send + Sync + 'static) -> FaultStore {
    FaultStore::new(Arc::new(world.store.clone()), plan)
}

async fn attempt(world: &World, store: Arc<dyn ObjectStore>, snapshot: &Snapshot) -> Result<Vec<Tagged>> {
    let repository = world.open_on(store).await?;
    tag(&world.ctx(), &repository, std::slice::from_ref(snapshot), &add("c"), &mut |_| {}).await
}

#[test]
fn cut_off_or_failing_at_any_call_leaves_the_old_or_the_new() {
    run(|| async {
        let (start, _, old) = started().await;
        let world = start.fork(2);
        let store = faulty(&world, |_| Fault::None);
        attempt(&world, Arc::new(store.clone()), &old).await.unwrap();
        let retry = StoreErrorKind::Retry;
        let mut seen = [0, 0];
        for (at, fault) in (0..store.calls()).flat_map(|at| {
            [Fault::Crash, Fault::FailBefore(retry), Fault::FailAfter(retry)].map(|fault| (at, fault))
        }) {
            let world = start.fork(2);
            let store = faulty(&world, move |call| if call.number == at { fault } else { Fault::None });
            let result = attempt(&world, Arc::new(store), &old).await;
            let repository = world.open().await;
            let shown = world.snapshots(&repository).await;
            assert_eq!(shown.len(), 1, "{fault:?} at {at}");
            let is_new = shown[0].id != old.id;
            assert_eq!(shown[0].summary.tags, words(if is_new { "a,b,c" } else { "a,b" }));
            assert!(is_new || result.is_err(), "{fault:?} at {at}");
            seen[usize::from(is_new)] += 1;
            world.assert_sound(&repository).await;
            world.assert_restores(&repository, &shown[0], &tree()).await;
            let report = world.keep(&repository, &tree()).await;
            assert_eq!((report.parent, report.counts.bytes_read), (Some(shown[0].id), 0));
            world.assert_sound(&repository).await;
        }
        assert!(seen.iter().all(|count| *count > 3), "{seen:?}");
    });
}

#[test]
fn two_at_once_lose_no_change_and_no_snapshot() {
    run(|| async {
        let (start, _, old) = started().await;
        const CALLS: usize = 48;
        let (mut joined, mut both) = (0, 0);
        for (one, two, dies) in (0..CALLS)
            .step_by(5)
            .flat_map(|one| (0..CALLS).step_by(2).map(move |two| (one, two)))
            .flat_map(|(one, two)| [(one, two, false), (one, two, true)])
        {
            let world = start.fork(2);
            let mut runs: Vec<Stepped<Result<Vec<Tagged>>>> = Vec::new();
            for change in [add("c"), remove("a")] {
                let (ctx, snapshots) = (world.ctx(), [old.clone()]);
                let store = Arc::new(SteppedStore(world.store.clone()));
                let mut opening = Stepped::new(async move { Repository::open(&ctx, store, &secret()).await });
                opening.go(usize::MAX);
                let (ctx, repository) = (world.ctx(), opening.result.unwrap().unwrap());
                runs.push(Stepped::new(async move {
                    tag(&ctx, &repository, &snapshots, &change, &mut |_| {}).await
                }));
            }
            if dies {
                // It has read what there is when the other begins, and is cut off somewhere.
                runs[1].go(one);
                runs[0].go(usize::MAX);
                runs[1].go(two);
            } else {
                runs[0].go(one);
                runs[1].go(two);
                runs[0].go(3);
                runs[1].go(usize::MAX);
                runs[0].go(usize::MAX);
            }
            let what = format!("{one} {two} {dies}");
            let repository = world.open().await;
            let shown = world.snapshots(&repository).await;
            if dies {
                // The first one ended; the other was cut off anywhere.
                assert!(matches!(&runs[0].result, Some(Ok(_))), "{what}");
                assert!((1..=2).contains(&shown.len()), "{what}: {}", shown.len());
                assert!(shown.iter().any(|snapshot| snapshot.summary.tags.contains(&"c".into())), "{what}");
                both += u32::from(shown.len() == 2);
            } else {
                assert!(runs.iter().all(|run| matches!(&run.result, Some(Ok(_)))), "{what}");
                assert_eq!(shown.len(), 1, "{what}");
                assert_eq!(shown[0].summary.tags, words("b,c"), "{what}");
                joined += u32::from(shown[0].summary.supersedes.len() > 2);
            }
            if shown.len() == 2 {
                let filter = SnapshotFilter::default();
                let named = resolve(&world.ctx(), &repository, &old.id.to_string(), b"", &filter).await;
                assert_eq!(named.unwrap_err().kind, ErrorKind::Ambiguous, "{what}");
                let healed = change(&world, &repository, &shown[0], &add("d")).await;
                assert_eq!(healed.tags, words("b,c,d"), "{what}");
                assert_eq!(world.snapshots(&repository).await.len(), 1, "{what}");
            }
            if (one + two) % 20 == 0 {
                world.assert_sound(&repository).await;
                world.assert_restores(&repository, &world.newest(&repository).await, &tree()).await;
            }
        }
        assert!(joined > 10 && both > 0, "{joined} {both}");
    });
}
