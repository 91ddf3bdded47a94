//! The process that maintains dies, or the store fails, at each call in turn; and somebody else
//! maintains to the end while a run stands still before each of its calls. Nothing that was
//! reported is lost or undone, and the next prune ends the work.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{
    ModelSource, Node, START_SECONDS, Stepped, SteppedStore, Tree, World, chain, noise, pruning, run, secret,
};
use holdfast_core::id::SessionId;
use holdfast_engine::error::{ErrorKind, Result};
use holdfast_engine::maintain::{
    ForgetOptions, ForgetWhat, PruneOptions, PruneReport, forget, forgotten, prune, unforget,
};
use holdfast_engine::workers::Workers;
use holdfast_engine::{BackupReport, ReadData, Repository, backup, check};
use holdfast_store::fault::{Call, Fault};
use holdfast_store::{ErrorKind as StoreErrorKind, FaultStore};
use std::sync::Arc;

fn tree(salt: u64) -> Tree {
    let mut tree = Tree::default();
    for number in 0..6 {
        tree.put(&format!("small/{number}"), Node::file(noise(salt * 100 + number, 9_000)));
    }
    tree.put("large", Node::file(noise(salt * 100 + 50, 300_000)));
    tree.put("same", Node::file(noise(7, 200_000)));
    for node in tree.0.values_mut() {
        node.mtime.seconds = START_SECONDS - 10_000 + salt as i64;
        node.ctime = node.mtime;
    }
    tree
}

/// Three snapshots, the first two of them forgotten.
async fn started() -> (World, Vec<SessionId>) {
    let (world, repository) = World::made(Workers::inline()).await;
    let mut ids = Vec::new();
    for salt in 1..=3 {
        ids.push(world.keep(&repository, &tree(salt)).await.snapshot.unwrap());
    }
    let what = ForgetWhat::Snapshots(ids[..2].to_vec());
    let options = ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() };
    forget(&world.ctx(), &repository, &options).await.unwrap();
    (world, ids)
}

fn faulty(world: &World, plan: impl Fn(&Call) -> Fault + Send + Sync + 'static) -> FaultStore {
    FaultStore::new(Arc::new(world.store.clone()), plan)
}

async fn prune_on(world: &World, store: &FaultStore) -> Result<PruneReport> {
    let repository = world.open_on(Arc::new(store.clone())).await?;
    prune(&world.ctx(), &repository, &pruning()).await
}

fn pack_bytes(world: &World) -> u64 {
    let objects = world.store.objects();
    let packs = objects.iter().filter(|(key, _)| key.as_str().starts_with("packs/"));
    packs.map(|(_, body)| body.len() as u64).sum()
}

/// The one that is left is whole, and the next prunes end what was begun.
async fn assert_ends_well(world: &World, ids: &[SessionId], least: u64, what: &str) {
    let repository = world.open().await;
    world.assert_sound(&repository).await;
    let shown = world.snapshots(&repository).await;
    assert_eq!(shown.iter().map(|snapshot| snapshot.id).collect::<Vec<_>>(), ids[2..], "{what}");
    world.assert_restores(&repository, &shown[0], &tree(3)).await;
    for _ in 0..2 {
        prune(&world.ctx(), &repository, &pruning()).await.unwrap();
    }
    assert!(pack_bytes(world) <= least + 5_000, "{what}: {} of {least}", pack_bytes(world));
    world.assert_sound(&repository).await;
    world.assert_restores(&repository, &shown[0], &tree(3)).await;
}

/// What a prune without faults leaves, and how many calls it makes.
async fn measure(start: &World) -> (u64, u64) {
    let world = start.fork(2);
    let store = faulty(&world, |_| Fault::None);
    prune_on(&world, &store).await.unwrap();
    (pack_bytes(&world), store.calls())
}

#[test]
fn a_prune_that_dies_at_any_call_harms_nothing_and_the_next_one_ends_it() {
    run(|| async {
        let (start, ids) = started().await;
        let (least, calls) = measure(&start).await;
        assert!(calls > 40, "{calls}");
        for at in 0..calls {
            let world = start.fork(2);
            let store =
                faulty(&world, move |call| if call.number == at { Fault::Crash } else { Fault::None });
            let _ = prune_on(&world, &store).await;
            assert!(store.crashed(), "call {at} was not made");
            assert_ends_well(&world, &ids, least, &format!("crash at call {at}")).await;
        }
    });
}

#[test]
fn an_error_at_any_call_of_a_prune_is_told_or_overcome() {
    for kind in [StoreErrorKind::Retry, StoreErrorKind::Io, StoreErrorKind::Full] {
        run(move || async move {
            let (start, ids) = started().await;
            let (least, calls) = measure(&start).await;
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
                let what = format!("{kind:?} at call {at}, before: {before}");
                if let Err(error) = prune_on(&world, &store).await {
                    let expected =
                        if kind == StoreErrorKind::Full { ErrorKind::Full } else { ErrorKind::Store };
                    assert_eq!(error.kind, expected, "{what}: {}", chain(&error));
                }
                assert_ends_well(&world, &ids, least, &what).await;
            }
        });
    }
}

#[test]
fn a_forget_that_dies_at_any_call_happened_or_not() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let first = world.keep(&repository, &tree(1)).await.snapshot.unwrap();
        world.keep(&repository, &tree(2)).await;
        let attempt = async |world: &World, store: FaultStore, undo: bool| {
            let repository = world.open_on(Arc::new(store)).await?;
            if undo {
                return unforget(&world.ctx(), &repository, &[first]).await.map(drop);
            }
            let what = ForgetWhat::Snapshots(vec![first]);
            let options =
                ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() };
            forget(&world.ctx(), &repository, &options).await.map(drop)
        };
        for undo in [false, true] {
            let start = world.fork(3);
            if undo {
                attempt(&start, faulty(&start, |_| Fault::None), false).await.unwrap();
            }
            let counting = start.fork(4);
            let store = faulty(&counting, |_| Fault::None);
            attempt(&counting, store.clone(), undo).await.unwrap();
            for at in 0..store.calls() {
                for fault in [
                    Fault::Crash,
                    Fault::FailBefore(StoreErrorKind::Io),
                    Fault::FailAfter(StoreErrorKind::Io),
                    Fault::FailAfter(StoreErrorKind::Retry),
                ] {
                    let world = start.fork(5);
                    let store =
                        faulty(&world, move |call| if call.number == at { fault } else { Fault::None });
                    let done = attempt(&world, store, undo).await.is_ok();
                    let repository = world.open().await;
                    let gone = forgotten(&world.ctx(), &repository).await.unwrap().len();
                    let shown = world.snapshots(&repository).await.len();
                    assert_eq!(gone + shown, 2, "{fault:?} at {at}");
                    assert!(!done || (gone == 1) != undo, "{fault:?} at {at}: reported and undone");
                    world.assert_sound(&repository).await;
                }
            }
        }
    });
}

/// A run of another process that stands still before each of its calls.
fn backup_of(world: &World, tree: &Tree) -> Stepped<Result<BackupReport>> {
    let (ctx, store) = (world.ctx(), Arc::new(SteppedStore(world.store.clone())));
    let (source, options) = (ModelSource::new(tree).repeatable(), world.options());
    Stepped::new(async move {
        let repository = Repository::open(&ctx, store, &secret()).await?;
        backup(&ctx, &repository, Box::new(source), &options).await.map(|outcome| outcome.value)
    })
}

/// `abort_after_seconds` of zero takes the session away from under the writer.
async fn a_writer_sleeps_before_each_call(abort_after_seconds: u64) {
    let (start, ids) = started().await;
    let mut counting = backup_of(&start.fork(2), &tree(1));
    let mut calls = 0;
    while counting.result.is_none() {
        counting.go(1);
        calls += 1;
    }
    assert!(calls > 20);
    let (mut again, mut refused) = (0, 0);
    for at in 0..calls {
        let world = start.fork(2);
        // It backs up what was forgotten: chunks that are on their way out.
        let mut writer = backup_of(&world, &tree(1));
        writer.go(at);
        let repository = world.open().await;
        let living = holdfast_engine::ctx::Ctx { is_alive: |_| true, ..world.ctx() };
        let options = PruneOptions { abort_after_seconds, ..pruning() };
        // A week passes: two prunes, from end to end, and a forget of what the writer compares with.
        prune(&living, &repository, &options).await.unwrap();
        let what = ForgetWhat::Snapshots(ids[2..].to_vec());
        let forgets = ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() };
        let done = writer.result.is_some();
        if !done {
            forget(&living, &repository, &forgets).await.unwrap();
        }
        prune(&living, &repository, &options).await.unwrap();
        writer.go(usize::MAX);
        let what = format!("call {at} of {calls}");
        match writer.result.unwrap() {
            Ok(report) => {
                let shown = world.snapshots(&repository).await;
                let own = shown.iter().find(|snapshot| Some(snapshot.id) == report.snapshot);
                let own = own.unwrap_or_else(|| panic!("{what}: reported and not there"));
                again += u32::from(!done);
                world.assert_restores(&repository, own, &tree(1)).await;
            }
            Err(error) => {
                refused += 1;
                assert_eq!(error.kind, ErrorKind::Conflict, "{what}: {}", chain(&error));
            }
        }
        world.assert_sound(&repository).await;
        for _ in 0..3 {
            prune(&world.ctx(), &repository, &options).await.unwrap();
        }
        world.assert_sound(&repository).await;
        for snapshot in world.snapshots(&repository).await {
            let salt = if snapshot.id == ids[2] { 3 } else { 1 };
            world.assert_restores(&repository, &snapshot, &tree(salt)).await;
        }
    }
    assert!(again > calls as u32 / 2, "{again} of {calls}, {refused} refused");
}

#[test]
fn a_writer_that_sleeps_before_any_call_while_prunes_run_commits_right_or_fails_cleanly() {
    run(|| a_writer_sleeps_before_each_call(72 * 3600));
}

#[test]
fn a_writer_whose_session_is_aborted_under_it_commits_right_or_fails_cleanly() {
    run(|| a_writer_sleeps_before_each_call(0));
}

#[test]
fn two_maintainers_at_once_at_any_call_only_waste_work() {
    run(|| async {
        let (start, ids) = started().await;
        let (least, _) = measure(&start).await;
        let stepped = |world: &World| {
            let (ctx, store) = (world.ctx(), Arc::new(SteppedStore(world.store.clone())));
            Stepped::new(async move {
                let repository = Repository::open(&ctx, store, &secret()).await?;
                prune(&ctx, &repository, &pruning()).await
            })
        };
        let mut counting = stepped(&start.fork(2));
        let mut calls = 0;
        while counting.result.is_none() {
            counting.go(1);
            calls += 1;
        }
        for at in 0..calls {
            let world = start.fork(2);
            let mut sleeper = stepped(&world);
            sleeper.go(at);
            let repository = world.open().await;
            let living = holdfast_engine::ctx::Ctx { is_alive: |_| true, ..world.ctx() };
            prune(&living, &repository, &pruning()).await.unwrap();
            // In between somebody needs again what was on its way out.
            let report = world.keep(&repository, &tree(2)).await;
            sleeper.go(usize::MAX);
            if let Err(error) = sleeper.result.unwrap() {
                assert_eq!(error.kind, ErrorKind::Conflict, "{at}: {}", chain(&error));
            }
            assert_eq!(world.take_warnings(), [""; 0], "{at}: what moved is no damage");
            let shown = world.snapshots(&repository).await;
            assert_eq!(shown.len(), 2, "{at}");
            world.assert_sound(&repository).await;
            let back = shown.iter().find(|snapshot| Some(snapshot.id) == report.snapshot).unwrap();
            world.assert_restores(&repository, back, &tree(2)).await;
            let what = ForgetWhat::Snapshots(vec![back.id]);
            let options =
                ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() };
            forget(&world.ctx(), &repository, &options).await.unwrap();
            assert_ends_well(&world, &ids, least, &format!("call {at} of {calls}")).await;
        }
    });
}

#[test]
fn a_check_beside_prunes_that_never_pause_sounds_no_false_alarm() {
    run(|| async {
        let (start, _) = started().await;
        for calls in [40, 90, 170] {
            let world = start.fork(2);
            let (ctx, store) = (world.ctx(), Arc::new(SteppedStore(world.store.clone())));
            let mut checker = Stepped::new(async move {
                let repository = Repository::open(&ctx, store, &secret()).await?;
                check(&ctx, &repository, ReadData::All).await
            });
            let repository = world.open().await;
            let living = holdfast_engine::ctx::Ctx { is_alive: |_| true, ..world.ctx() };
            for salt in 10.. {
                checker.go(calls);
                if checker.result.is_some() {
                    break;
                }
                let last = world.snapshots(&repository).await.pop().unwrap();
                world.keep(&repository, &tree(salt)).await;
                let what = ForgetWhat::Snapshots(vec![last.id]);
                let options =
                    ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() };
                forget(&living, &repository, &options).await.unwrap();
                prune(&living, &repository, &pruning()).await.unwrap();
            }
            match checker.result.unwrap() {
                Ok(report) => assert_eq!(report.errors, 0, "{calls}: {:?}", report.findings),
                Err(error) => assert_eq!(error.kind, ErrorKind::Conflict, "{calls}: {}", chain(&error)),
            }
        }
    });
}
