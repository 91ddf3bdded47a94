//! Snapshots are copied from one repository into another: the same trees where keys are shared,
//! the same contents where they are not, and nothing twice.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{Node, START_SECONDS, Stepped, SteppedStore, Tree, World, chain, noise, run, secret};
use holdfast_core::session::Origin;
use holdfast_engine::error::{Error, ErrorKind};
use holdfast_engine::maintain::{ForgetOptions, ForgetWhat, MaxUnused, PruneOptions, forget, prune};
use holdfast_engine::outcome::Outcome;
use holdfast_engine::workers::Workers;
use holdfast_engine::{
    Copied, CopyOptions, CopyReport, Fate, InitOptions, Repository, Snapshot, TagChange, copy, details, tag,
};
use holdfast_store::fault::{Call, Fault};
use holdfast_store::{ErrorKind as StoreErrorKind, FaultStore, Key, ObjectStore};
use std::sync::Arc;

const OPTIONS: CopyOptions = CopyOptions {
    dry_run: false,
    compression_level: 1,
    data_pack_bytes: holdfast_core::pack::DATA_PACK_BYTES,
};

/// Two repositories: one with snapshots, and one to copy them into.
struct Pair {
    from: World,
    source: Repository,
    to: World,
    dest: Repository,
}

impl Pair {
    /// `alike`: the second repository has the first one's keys for names.
    async fn new(workers: Workers, alike: bool) -> Self {
        let (from, source) = World::made(workers.clone()).await;
        let to = World::with_seed(workers, 4_711);
        let identifying = alike.then(|| source.identifying().unwrap());
        let options = InitOptions { identifying, ..World::init_options() };
        let store = Arc::new(to.store.clone());
        let dest = Repository::create(&to.ctx(), store, &secret(), &options).await.unwrap();
        Self { from, source, to, dest }
    }

    async fn copy_to(
        &self,
        dest: &Repository,
        snapshots: &[Snapshot],
        options: &CopyOptions,
    ) -> Result<(Vec<Copied>, Outcome<CopyReport>), Error> {
        let mut told = Vec::new();
        let ctx = self.to.ctx();
        let mut tell = |copied: &Copied| told.push(copied.clone());
        let outcome = copy(&ctx, &self.source, dest, snapshots, options, &mut tell).await?;
        Ok((told, outcome))
    }

    /// Copies all that there is.
    async fn copy(&self) -> CopyReport {
        let snapshots = self.from.snapshots(&self.source).await;
        let (told, outcome) = self.copy_to(&self.dest, &snapshots, &OPTIONS).await.unwrap();
        assert_eq!((outcome.problems.problems.len(), told.len()), (0, snapshots.len()));
        outcome.value
    }

    async fn snapshots(&self) -> (Vec<Snapshot>, Vec<Snapshot>) {
        (self.from.snapshots(&self.source).await, self.to.snapshots(&self.dest).await)
    }

    async fn forget_there(&self, snapshots: &[Snapshot]) {
        let what = ForgetWhat::Snapshots(snapshots.iter().map(|snapshot| snapshot.id).collect());
        let options = ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() };
        forget(&self.to.ctx(), &self.dest, &options).await.unwrap();
    }

    async fn prune_there(&self) {
        prune(&self.to.ctx(), &self.dest, &prune_options()).await.unwrap();
    }
}

fn prune_options() -> PruneOptions {
    PruneOptions {
        max_unused: MaxUnused::Percent(0.0),
        max_repack_bytes: None,
        min_age_seconds: Some(0),
        abort_after_seconds: 72 * 3600,
        dry_run: false,
    }
}

fn changed(tree: &Tree) -> Tree {
    let mut changed = tree.clone();
    changed.rewrite("small/bundled 3", noise(900, 20_000), START_SECONDS - 50);
    changed.put("later/new", Node::file(noise(901, 300_000)));
    changed
}

/// A tree of many pages.
fn wide() -> Tree {
    let mut tree = Tree::mixed();
    for number in 0..3_000 {
        tree.put(&format!("wide/{number:04}"), Node::file(format!("content {number}")));
    }
    tree
}

fn small() -> Tree {
    let mut tree = Tree::default();
    for number in 0..8 {
        tree.put(&format!("small/{number}"), Node::file(noise(number, 12_000)));
    }
    tree.put("large", Node::file(noise(77, 300_000)));
    tree
}

#[test]
fn with_shared_keys_the_trees_are_the_same_and_only_differences_are_read() {
    for workers in [Workers::inline(), Workers::pool(3)] {
        run(|| async {
            let pair = Pair::new(workers, true).await;
            let trees = [wide(), changed(&wide())];
            pair.from.keep(&pair.source, &trees[0]).await;
            let first = pair.copy().await;
            assert_eq!((first.copied, first.there, first.failed, first.alike), (1, 0, 0, true));
            assert!(first.bytes_read > 5_000_000 && first.bytes_added > 5_000_000, "{first:?}");
            pair.from.keep(&pair.source, &trees[1]).await;
            let second = pair.copy().await;
            assert_eq!((second.copied, second.there), (1, 1));
            assert!(second.bytes_read < 1_500_000, "{second:?}");
            let (old, new) = pair.snapshots().await;
            assert_eq!((old.len(), new.len()), (2, 2));
            for ((old, new), tree) in old.iter().zip(&new).zip(&trees) {
                assert_ne!(old.id, new.id);
                let origin = Origin { repository: pair.source.id(), snapshot: old.id };
                let mut wanted = old.summary.clone();
                (wanted.origin, wanted.parent) = (Some(origin), new.summary.parent);
                let counts = new.summary.counts;
                wanted.counts.chunks_added = counts.chunks_added;
                (wanted.counts.bytes_added, wanted.counts.bytes_stored) =
                    (counts.bytes_added, counts.bytes_stored);
                assert_eq!(new.summary, wanted);
                let ctx = pair.to.ctx();
                let (said, copied) = (details(&ctx, &pair.source, old), details(&ctx, &pair.dest, new));
                assert_eq!(said.await.unwrap(), copied.await.unwrap());
                pair.to.assert_restores(&pair.dest, new, tree).await;
            }
            assert_eq!(new[1].summary.parent, Some(new[0].id));
            pair.to.assert_sound(&pair.dest).await;
            // Nothing is left to do.
            let before = pair.to.store.objects();
            let third = pair.copy().await;
            assert_eq!((third.copied, third.there, third.bytes_read), (0, 2, 0));
            assert_eq!(pair.to.store.objects(), before);
            // A machine that backs up there itself finds everything.
            let report = pair.to.keep(&pair.dest, &trees[1]).await;
            assert_eq!((report.parent, report.unchanged), (Some(new[1].id), true));
            assert_eq!(report.counts.chunks_added, 0);
        });
    }
}

#[test]
fn with_other_keys_the_contents_are_the_same_and_what_is_known_is_not_read() {
    for workers in [Workers::inline(), Workers::pool(3)] {
        run(|| async {
            let pair = Pair::new(workers, false).await;
            let trees = [wide(), changed(&wide())];
            pair.from.keep(&pair.source, &trees[0]).await;
            let first = pair.copy().await;
            assert!(!first.alike && first.bytes_added > 1 << 20);
            pair.from.keep(&pair.source, &trees[1]).await;
            // Another process: nothing is remembered, the copy before tells.
            let second = pair.copy().await;
            assert_eq!((second.copied, second.there), (1, 1));
            assert!(second.bytes_read < 1_500_000, "{second:?}");
            assert!(second.bytes_added < 1_500_000, "{second:?}");
            let (old, new) = pair.snapshots().await;
            for ((old, new), tree) in old.iter().zip(&new).zip(&trees) {
                assert_ne!(old.summary.root, new.summary.root);
                pair.to.assert_restores(&pair.dest, new, tree).await;
            }
            assert_eq!(new[0].summary.stream, new[1].summary.stream);
            pair.to.assert_sound(&pair.dest).await;
            let before = pair.to.store.objects();
            let third = pair.copy().await;
            assert_eq!((third.copied, third.there, third.bytes_read), (0, 2, 0));
            assert_eq!(pair.to.store.objects(), before);
        });
    }
}

#[test]
fn a_damaged_snapshot_is_named_and_the_others_are_copied() {
    for alike in [true, false] {
        run(move || async move {
            let pair = Pair::new(Workers::inline(), alike).await;
            pair.from.keep(&pair.source, &small()).await;
            let packs = pair.from.names("packs/data/");
            let mut other = small();
            other.put("more", Node::file(noise(501, 270_000)));
            let damaged = pair.from.keep(&pair.source, &other).await.snapshot.unwrap();
            let new: Vec<Key> =
                pair.from.names("packs/data/").into_iter().filter(|key| !packs.contains(key)).collect();
            let mut bytes = pair.from.store.objects()[&new[0]].to_vec();
            bytes[100_000] ^= 1;
            pair.from.store.insert_raw(new[0].clone(), bytes);
            let mut third = small();
            third.put("third", Node::file("third"));
            pair.from.keep(&pair.source, &third).await;
            let snapshots = pair.from.snapshots(&pair.source).await;
            for there in [0, 2] {
                let (told, outcome) = pair.copy_to(&pair.dest, &snapshots, &OPTIONS).await.unwrap();
                let CopyReport { copied, there: found, failed, .. } = outcome.value;
                assert_eq!((copied, found, failed), (2 - there, there, 1));
                let problem = &outcome.problems.problems[0];
                assert_eq!(problem.path, damaged.to_string().into_bytes());
                assert!(matches!(&told[1].fate, Fate::Unread(what) if what.contains("packs/data/")));
                let new = pair.to.snapshots(&pair.dest).await;
                assert_eq!(new.len(), 2);
                assert!(new.iter().all(|new| new.summary.origin.unwrap().snapshot != damaged));
                pair.to.assert_restores(&pair.dest, &new[0], &small()).await;
                pair.to.assert_restores(&pair.dest, &new[1], &third).await;
                pair.to.assert_sound(&pair.dest).await;
            }
        });
    }
}

#[test]
fn what_was_forgotten_and_pruned_there_is_copied_again() {
    for alike in [true, false] {
        run(move || async move {
            let pair = Pair::new(Workers::inline(), alike).await;
            let trees = [small(), changed(&Tree::mixed())];
            pair.from.keep(&pair.source, &trees[0]).await;
            pair.copy().await;
            pair.from.keep(&pair.source, &trees[1]).await;
            let (_, new) = pair.snapshots().await;
            pair.forget_there(&new).await;
            pair.prune_there().await;
            assert!(pair.to.names("packs/").is_empty());
            assert_eq!(pair.copy().await.copied, 2);
            let (_, new) = pair.snapshots().await;
            // The parent goes; what is left stays whole.
            pair.forget_there(&new[..1]).await;
            pair.prune_there().await;
            let report = pair.copy().await;
            assert_eq!((report.copied, report.there), (1, 1));
            let (_, new) = pair.snapshots().await;
            for (new, tree) in new.iter().zip(&trees) {
                pair.to.assert_restores(&pair.dest, new, tree).await;
            }
            pair.to.assert_sound(&pair.dest).await;
        });
    }
}

#[test]
fn lost_packs_there_are_stored_again() {
    for alike in [true, false] {
        run(move || async move {
            let pair = Pair::new(Workers::inline(), alike).await;
            pair.from.keep(&pair.source, &small()).await;
            pair.copy().await;
            for key in pair.to.names("packs/") {
                pair.to.store.remove_raw(&key);
            }
            let mut next = small();
            next.put("next", Node::file("next"));
            pair.from.keep(&pair.source, &next).await;
            pair.copy().await;
            // The new one needs nothing of what is gone; the old one is healed by it where it is the same.
            let new = pair.to.newest(&pair.dest).await;
            pair.to.assert_restores(&pair.dest, &new, &next).await;
        });
    }
}

#[test]
fn a_copy_is_known_by_where_it_comes_from() {
    run(|| async {
        let pair = Pair::new(Workers::inline(), true).await;
        pair.from.keep(&pair.source, &small()).await;
        pair.copy().await;
        let (old, new) = pair.snapshots().await;
        // Back home it is there already, and a copy of a copy is that of the first.
        let ctx = pair.to.ctx();
        let back = copy(&ctx, &pair.dest, &pair.source, &new, &OPTIONS, &mut |_| {}).await.unwrap().value;
        assert_eq!((back.copied, back.there), (0, 1));
        let third = World::with_seed(Workers::inline(), 99);
        let repository = third.create().await;
        for from in [&pair.dest, &pair.source] {
            let snapshots = if from.id() == pair.dest.id() { &new } else { &old };
            let done = copy(&third.ctx(), from, &repository, snapshots, &OPTIONS, &mut |_| {}).await.unwrap();
            assert_eq!(done.value.failed, 0);
            let there = third.snapshots(&repository).await;
            assert_eq!(there.len(), 1);
            assert_eq!(there[0].summary.origin.unwrap().snapshot, old[0].id);
            third.assert_restores(&repository, &there[0], &small()).await;
        }
        // Other tags there are kept; other tags here take the place of the copy.
        let add = |tags: &str| TagChange { add: vec![tags.to_owned()], ..TagChange::default() };
        tag(&ctx, &pair.dest, &new, &add("there"), &mut |_| {}).await.unwrap();
        assert_eq!(pair.copy().await.there, 1);
        tag(&ctx, &pair.source, &old, &add("here"), &mut |_| {}).await.unwrap();
        assert_eq!(pair.copy().await.copied, 1);
        let (_, new) = pair.snapshots().await;
        assert_eq!(new.len(), 1);
        assert_eq!(new[0].summary.tags, ["here"]);
        pair.to.assert_sound(&pair.dest).await;
        // One repository by two ways.
        let again = copy(&ctx, &pair.source, &pair.source, &old, &OPTIONS, &mut |_| {}).await;
        assert_eq!(again.unwrap_err().kind, ErrorKind::Usage);
    });
}

#[test]
fn a_dry_run_says_what_would_be_stored_and_stores_nothing() {
    for alike in [true, false] {
        run(move || async move {
            let pair = Pair::new(Workers::inline(), alike).await;
            pair.from.keep(&pair.source, &small()).await;
            pair.from.keep(&pair.source, &changed(&Tree::mixed())).await;
            let (snapshots, before) = (pair.from.snapshots(&pair.source).await, pair.to.store.objects());
            let options = CopyOptions { dry_run: true, ..OPTIONS };
            let (told, outcome) = pair.copy_to(&pair.dest, &snapshots, &options).await.unwrap();
            assert_eq!(pair.to.store.objects(), before);
            assert!(told.iter().all(|copied| copied.fate == Fate::Foreseen));
            let foreseen = outcome.value;
            assert_eq!((foreseen.copied, foreseen.bytes_stored.is_some()), (2, alike));
            let done = pair.copy().await;
            if let Some(bytes) = foreseen.bytes_stored {
                assert_eq!((foreseen.chunks_added, Some(bytes)), (done.chunks_added, done.bytes_stored));
            }
        });
    }
}

fn faulty(world: &World, plan: impl Fn(&Call) -> Fault + Send + Sync + 'static) -> FaultStore {
    FaultStore::new(Arc::new(world.store.clone()), plan)
}

/// Copies into a fork of the destination through a store with faults.
async fn attempt(
    pair: &Pair,
    to: &World,
    store: &FaultStore,
) -> Result<(Vec<Copied>, Outcome<CopyReport>), Error> {
    let snapshots = pair.from.snapshots(&pair.source).await;
    let mut told = Vec::new();
    let dest = to.open_on(Arc::new(store.clone())).await?;
    let mut tell = |copied: &Copied| told.push(copied.clone());
    let outcome = copy(&to.ctx(), &pair.source, &dest, &snapshots, &OPTIONS, &mut tell).await?;
    Ok((told, outcome))
}

#[test]
fn a_copy_that_dies_at_any_call_goes_on_and_nothing_is_lost() {
    for alike in [true, false] {
        run(move || async move {
            let pair = Pair::new(Workers::inline(), alike).await;
            let mut trees = vec![small()];
            pair.from.keep(&pair.source, &trees[0]).await;
            pair.copy().await;
            for number in 0..2 {
                let mut next = trees[trees.len() - 1].clone();
                next.rewrite("large", noise(600 + number, 280_000), START_SECONDS - 50 + number as i64);
                pair.from.keep(&pair.source, &next).await;
                trees.push(next);
            }
            let world = pair.to.fork(2);
            let store = faulty(&world, |_| Fault::None);
            let (_, done) = attempt(&pair, &world, &store).await.unwrap();
            assert_eq!(done.value.copied, 2);
            let (calls, whole) = (store.calls(), world.stored_bytes());
            let (mut adopted, retry) = (0, StoreErrorKind::Retry);
            for (at, fault) in (0..calls).flat_map(|at| {
                [Fault::Crash, Fault::FailBefore(StoreErrorKind::Io), Fault::FailAfter(retry)]
                    .map(|fault| (at, fault))
            }) {
                let what = format!("{fault:?} at {at}, alike: {alike}");
                let world = pair.to.fork(2);
                let store = faulty(&world, move |call| if call.number == at { fault } else { Fault::None });
                let result = attempt(&pair, &world, &store).await;
                let repository = world.open().await;
                let there = world.snapshots(&repository).await;
                for (there, tree) in there.iter().zip(&trees) {
                    world.assert_restores(&repository, there, tree).await;
                }
                if let Ok((_, outcome)) = &result {
                    assert_eq!((outcome.value.failed, there.len()), (0, 3), "{what}");
                }
                world.assert_sound(&repository).await;
                let plain = faulty(&world, |_| Fault::None);
                let (_, outcome) =
                    attempt(&pair, &world, &plain).await.unwrap_or_else(|e| panic!("{what}: {}", chain(&e)));
                assert_eq!(outcome.value.there, there.len() as u64, "{what}");
                adopted += u32::from(outcome.value.adopted_packs > 0);
                let repository = world.open().await;
                let all = world.snapshots(&repository).await;
                assert_eq!(all.len(), 3, "{what}");
                for (there, tree) in all.iter().zip(&trees) {
                    world.assert_restores(&repository, there, tree).await;
                }
                world.assert_sound(&repository).await;
                let size = world.stored_bytes();
                assert!(size * 10 <= whole * 13, "{what}: {size} bytes instead of {whole}");
            }
            assert!(adopted > 2, "uploads were left only {adopted} times");
        });
    }
}

#[test]
fn a_source_that_fails_at_any_call_gives_whole_copies_or_none() {
    for alike in [true, false] {
        run(move || async move {
            let pair = Pair::new(Workers::inline(), alike).await;
            pair.from.keep(&pair.source, &small()).await;
            let snapshots = pair.from.snapshots(&pair.source).await;
            let through = |plan: Box<dyn Fn(&Call) -> Fault + Send + Sync>| faulty(&pair.from, plan);
            let store = through(Box::new(|_| Fault::None));
            let source = pair.from.open_on(Arc::new(store.clone())).await.unwrap();
            let opened = store.calls();
            let world = pair.to.fork(2);
            let dest = world.open().await;
            let done = copy(&world.ctx(), &source, &dest, &snapshots, &OPTIONS, &mut |_| {}).await.unwrap();
            assert_eq!(done.value.copied, 1);
            let (mut failed, mut made) = (0, 0);
            for at in opened..store.calls() {
                let fault = Fault::FailBefore(StoreErrorKind::Io);
                let broken =
                    through(Box::new(move |call| if call.number == at { fault } else { Fault::None }));
                let source = pair.from.open_on(Arc::new(broken)).await.unwrap();
                let world = pair.to.fork(2);
                let dest = world.open().await;
                let result = copy(&world.ctx(), &source, &dest, &snapshots, &OPTIONS, &mut |_| {}).await;
                let there = world.snapshots(&dest).await;
                let ok = result.is_ok_and(|outcome| outcome.value.failed == 0);
                assert_eq!(there.len(), usize::from(ok), "call {at}");
                if ok {
                    world.assert_restores(&dest, &there[0], &small()).await;
                }
                (failed, made) = (failed + u32::from(!ok), made + u32::from(ok));
                world.assert_sound(&dest).await;
            }
            assert!(failed > 0 && made > 0, "{failed} {made}");
        });
    }
}

#[test]
fn the_parent_of_a_copy_may_go_at_any_moment() {
    for alike in [true, false] {
        run(move || async move {
            let pair = Pair::new(Workers::inline(), alike).await;
            pair.from.keep(&pair.source, &small()).await;
            pair.copy().await;
            let mut next = small();
            next.put("next", Node::file(noise(3, 200_000)));
            pair.from.keep(&pair.source, &next).await;
            let snapshots = pair.from.snapshots(&pair.source).await[1..].to_vec();
            let (mut calls, mut again) = (0, 0);
            loop {
                let world = pair.to.fork(2);
                let store: Arc<dyn ObjectStore> = Arc::new(SteppedStore(world.store.clone()));
                let (ctx, source, wanted) = (world.ctx(), pair.source.clone(), snapshots.clone());
                let mut copying = Stepped::new(async move {
                    let dest = Repository::open(&ctx, store, &secret()).await?;
                    copy(&ctx, &source, &dest, &wanted, &OPTIONS, &mut |_| {}).await
                });
                copying.go(calls);
                let ended = copying.result.is_some();
                let dest = world.open().await;
                let parent = world.snapshots(&dest).await.remove(0);
                let what = ForgetWhat::Snapshots(vec![parent.id]);
                let options =
                    ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() };
                forget(&world.ctx(), &dest, &options).await.unwrap();
                prune(&world.ctx(), &dest, &prune_options()).await.unwrap();
                copying.go(usize::MAX);
                let result = copying.result.unwrap().unwrap_or_else(|e| panic!("{calls}: {}", chain(&e)));
                assert_eq!(result.value.copied, 1, "{calls}");
                again += u32::from(!world.take_warnings().is_empty());
                prune(&world.ctx(), &dest, &prune_options()).await.unwrap();
                let there = world.snapshots(&dest).await;
                assert_eq!(there.len(), 1, "{calls}");
                world.assert_restores(&dest, &there[0], &next).await;
                world.assert_sound(&dest).await;
                if ended {
                    break;
                }
                calls += 1;
            }
            assert!(calls > 20 && (again > 0 || !alike), "{calls} {again}");
        });
    }
}
