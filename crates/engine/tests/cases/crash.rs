//! The process dies, or the store fails, at each call in turn; what was there stays, what comes
//! next goes on.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{ModelSource, Node, Tree, World, chain, noise, run, secret};
use holdfast_engine::error::ErrorKind;
use holdfast_engine::workers::Workers;
use holdfast_engine::{BackupReport, Repository, RestoreOptions};
use holdfast_store::fault::{Call, Fault, Operation};
use holdfast_store::{ErrorKind as StoreErrorKind, FaultStore};
use std::sync::Arc;

/// A tree with a large file and some small ones.
fn tree() -> Tree {
    let mut tree = Tree::default();
    for number in 0..12 {
        tree.put(&format!("small/{number:02}"), Node::file(noise(number, 12_000)));
    }
    tree.put("large", Node::file(noise(77, 300_000)));
    tree
}

fn changed() -> Tree {
    let mut changed = tree();
    changed.rewrite("small/03", noise(500, 12_000), crate::harness::START_SECONDS - 50);
    changed.put("more", Node::file(noise(501, 270_000)));
    changed.put("new", Node::file("new"));
    changed
}

/// A world with one snapshot of the tree.
async fn started() -> World {
    let (world, repository) = World::made(Workers::inline()).await;
    world.keep(&repository, &tree()).await;
    world
}

fn faulty(world: &World, plan: impl Fn(&Call) -> Fault + Send + Sync + 'static) -> FaultStore {
    FaultStore::new(Arc::new(world.store.clone()), plan)
}

/// Backs up the changed tree through a store with faults.
async fn attempt(world: &World, store: &FaultStore) -> holdfast_engine::error::Result<BackupReport> {
    let repository = world.open_on(Arc::new(store.clone())).await?;
    let source = ModelSource::new(&changed());
    let options = world.options();
    world.backup_with(&repository, source, &options).await.map(|outcome| outcome.value)
}

/// A world to begin with, the calls of an attempt without faults, and how large the repository
/// then is.
async fn measure() -> (World, u64, u64) {
    let start = started().await;
    let world = start.fork(2);
    let store = faulty(&world, |_| Fault::None);
    attempt(&world, &store).await.unwrap();
    (start, store.calls(), world.stored_bytes())
}

/// What is there is whole, and the next backup uses what was left.
async fn assert_goes_on(world: &World, attempt: Option<&BackupReport>, unkilled: u64, what: &str) {
    let repository = world.open().await;
    world.assert_sound(&repository).await;
    let before = world.snapshots(&repository).await;
    assert!(attempt.is_none_or(|report| before.last().map(|last| last.id) == report.snapshot), "{what}");
    world.assert_restores(&repository, &before[0], &tree()).await;
    assert!(before.len() <= 2, "{what}: {} snapshots", before.len());
    if let Some(second) = before.get(1) {
        world.assert_restores(&repository, second, &changed()).await;
    }
    let uploaded = world.names("packs/").len();
    let report = world.keep(&repository, &changed()).await;
    let left = before.len() == 1 && uploaded > 2;
    assert_eq!(report.adopted_packs > 0, left, "{what}: {uploaded} packs, {report:?}");
    world.assert_restores(&repository, &world.newest(&repository).await, &changed()).await;
    world.assert_sound(&repository).await;
    let size = world.stored_bytes();
    assert!(size * 10 <= unkilled * 13, "{what}: {size} bytes instead of {unkilled}");
    let third = world.keep(&repository, &changed()).await;
    assert_eq!((third.adopted_packs, third.unchanged), (0, true), "{what}");
    assert_eq!(third.counts.files_unmodified, changed().files(), "{what}");
}

#[test]
fn a_crash_at_any_call_loses_nothing_and_the_next_run_goes_on() {
    run(|| async {
        let (start, calls, unkilled) = measure().await;
        assert!(calls > 20);
        let mut adopted = 0;
        for at in 0..calls {
            let world = start.fork(2);
            let store =
                faulty(&world, move |call| if call.number == at { Fault::Crash } else { Fault::None });
            let result = attempt(&world, &store).await;
            assert!(store.crashed(), "call {at} was not made");
            adopted += u32::from(world.names("packs/").len() > 2);
            // What follows the commit may fail without harm.
            assert_goes_on(&world, result.as_ref().ok(), unkilled, &format!("crash at call {at}")).await;
        }
        assert!(adopted > 2, "uploads were left only {adopted} times");
    });
}

#[test]
fn an_error_at_any_call_is_told_or_overcome() {
    for kind in [StoreErrorKind::Retry, StoreErrorKind::Io, StoreErrorKind::Full] {
        run(move || async move {
            let (start, calls, unkilled) = measure().await;
            for (at, before) in (0..calls).flat_map(|at| [(at, true), (at, false)]) {
                if kind == StoreErrorKind::Full && !before {
                    continue;
                }
                let world = start.fork(2);
                let store = faulty(&world, move |call| match call.number == at {
                    true if before => Fault::FailBefore(kind),
                    true => Fault::FailAfter(kind),
                    false => Fault::None,
                });
                let result = attempt(&world, &store).await;
                let what = format!("{kind:?} at call {at}, before: {before}");
                if let Err(error) = &result {
                    let expected =
                        if kind == StoreErrorKind::Full { ErrorKind::Full } else { ErrorKind::Store };
                    assert_eq!(error.kind, expected, "{what}: {}", chain(error));
                }
                assert_goes_on(&world, result.as_ref().ok(), unkilled, &what).await;
            }
        });
    }
}

#[test]
fn a_lost_acknowledgement_of_an_object_of_our_own_is_success() {
    run(|| async {
        let (start, _, unkilled) = measure().await;
        for ending in ["/begin", "/pins-0", "/end", "-0"] {
            let world = start.fork(2);
            let first = std::sync::atomic::AtomicBool::new(true);
            let inner = Arc::new(world.store.clone());
            let once = FaultStore::new(inner, move |call| {
                let hit = call.operation == Operation::PutNew && call.key.ends_with(ending);
                if hit && first.swap(false, std::sync::atomic::Ordering::Relaxed) {
                    Fault::FailAfter(StoreErrorKind::Retry)
                } else {
                    Fault::None
                }
            });
            let report = attempt(&world, &once).await.unwrap();
            assert_goes_on(&world, Some(&report), unkilled, ending).await;
        }
    });
}

#[test]
fn an_init_that_dies_at_any_call_can_be_made_again() {
    run(|| async {
        let made = World::new(Workers::inline());
        let store = faulty(&made, |_| Fault::None);
        let options = World::init_options();
        Repository::create(&made.ctx(), Arc::new(store.clone()), &secret(), &options).await.unwrap();
        for at in 0..store.calls() {
            for fault in [
                Fault::Crash,
                Fault::FailBefore(StoreErrorKind::Io),
                Fault::FailAfter(StoreErrorKind::Io),
                Fault::FailBefore(StoreErrorKind::Retry),
                Fault::FailAfter(StoreErrorKind::Retry),
            ] {
                let world = World::new(Workers::inline());
                let store = faulty(&world, move |call| if call.number == at { fault } else { Fault::None });
                let first = Repository::create(&world.ctx(), Arc::new(store), &secret(), &options).await;
                let plain = Arc::new(world.store.clone());
                let again = Repository::create(&world.ctx(), plain, &secret(), &options).await;
                let there = world.names("holdfast.json").len() == 1;
                assert!(there, "{fault:?} at {at}");
                match (&first, &again) {
                    (Ok(_), Err(error)) => assert_eq!(error.kind, ErrorKind::RepositoryExists),
                    (Err(_), Ok(_)) => {}
                    // It had been made, and could not be told.
                    (Err(_), Err(error)) => assert_eq!(error.kind, ErrorKind::RepositoryExists),
                    (Ok(_), Ok(_)) => panic!("{fault:?} at {at}: made twice"),
                }
                let repository = world.open().await;
                world.keep(&repository, &tree()).await;
                world.assert_sound(&repository).await;
            }
        }
    });
}

#[test]
fn a_lost_acknowledgement_while_a_repository_is_made_is_success() {
    run(|| async {
        for prefix in ["keys/", "members/", "RECOVER", "holdfast"] {
            let world = World::new(Workers::inline());
            let first = std::sync::atomic::AtomicBool::new(true);
            let store = faulty(&world, move |call| {
                let hit = call.operation == Operation::PutNew && call.key.starts_with(prefix);
                if hit && first.swap(false, std::sync::atomic::Ordering::Relaxed) {
                    Fault::FailAfter(StoreErrorKind::Retry)
                } else {
                    Fault::None
                }
            });
            let options = World::init_options();
            Repository::create(&world.ctx(), Arc::new(store), &secret(), &options).await.unwrap();
        }
    });
}

#[test]
fn a_restore_from_a_store_that_fails_once_is_whole_or_says_what_is_missing() {
    run(|| async {
        let world = started().await;
        let plain = world.open().await;
        let snapshot = world.newest(&plain).await;
        let store = faulty(&world, |_| Fault::None);
        let repository = world.open_on(Arc::new(store.clone())).await.unwrap();
        let opened = store.calls();
        world.assert_restores(&repository, &snapshot, &tree()).await;
        for at in opened..store.calls() {
            let store = faulty(&world, move |call| match call.number {
                number if number == at => Fault::FailBefore(StoreErrorKind::Io),
                _ => Fault::None,
            });
            let repository = world.open_on(Arc::new(store)).await.unwrap();
            let restored = world.restore(&repository, &snapshot, &RestoreOptions::default()).await;
            if let Ok((restored, outcome)) = restored {
                let absent = restored.assert_no_wrong_bytes(&tree());
                assert!(absent.is_empty() || outcome.problems.problem_count > 0, "call {at}");
            }
        }
    });
}
