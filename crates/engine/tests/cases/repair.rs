//! What is lost of roots, lists, segments and deltas is made anew from packs and sessions; what
//! packs lost is named, and healed by the next backup. Nothing is deleted.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{
    ModelSource, Node, START_SECONDS, Stepped, SteppedStore, Tree, World, chain, noise, run, secret,
};
use bytes::Bytes;
use holdfast_core::id::SessionId;
use holdfast_core::name::{self, Place};
use holdfast_engine::error::{ErrorKind, Result};
use holdfast_engine::maintain::{
    ForgetOptions, ForgetWhat, MaxUnused, PruneOptions, PruneReport, RepairIndexOptions, RepairIndexReport,
    forget, prune, repair_index,
};
use holdfast_engine::workers::Workers;
use holdfast_engine::{BackupReport, Repository, backup};
use holdfast_store::fault::{Call, Fault};
use holdfast_store::{ErrorKind as StoreErrorKind, FaultStore, Key};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) fn tree(salt: u64) -> Tree {
    let mut tree = Tree::default();
    for number in 0..4 {
        tree.put(&format!("small/{number}"), Node::file(noise(salt * 100 + number, 3_000)));
    }
    tree.put("large", Node::file(noise(salt * 100 + 50, 140_000)));
    tree.put("same", Node::file(noise(7, 135_000)));
    for node in tree.0.values_mut() {
        node.mtime.seconds = START_SECONDS - 10_000 + salt as i64;
        node.ctime = node.mtime;
    }
    tree
}

fn options(min_age: u64) -> PruneOptions {
    PruneOptions {
        max_unused: MaxUnused::Percent(0.0),
        max_repack_bytes: None,
        min_age_seconds: Some(min_age),
        abort_after_seconds: 72 * 3600,
        dry_run: false,
    }
}

async fn forget_now(world: &World, repository: &Repository, ids: &[SessionId]) -> Result<()> {
    let what = ForgetWhat::Snapshots(ids.to_vec());
    let options = ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() };
    forget(&world.ctx(), repository, &options).await.map(drop)
}

async fn prune_now(world: &World, repository: &Repository) -> PruneReport {
    prune(&world.ctx(), repository, &options(0)).await.unwrap_or_else(|error| panic!("{}", chain(&error)))
}

const INDEX: RepairIndexOptions = RepairIndexOptions { read_packs: false, dry_run: false };

async fn repair(world: &World, repository: &Repository) -> RepairIndexReport {
    repair_index(&world.ctx(), repository, INDEX).await.unwrap_or_else(|error| panic!("{}", chain(&error)))
}

/// A repository with a past: snapshots that were freed, one that is forgotten, packs that are
/// condemned and dead, merged and fresh deltas, an aborted session.
pub(super) struct Kept {
    pub(super) world: World,
    pub(super) repository: Repository,
    /// Snapshots that count, by the trees that they have.
    pub(super) snapshots: BTreeMap<SessionId, u64>,
}

pub(super) async fn kept() -> Kept {
    let (world, repository) = World::made(Workers::inline()).await;
    let mut ids = Vec::new();
    for salt in 1..=3 {
        ids.push(world.keep(&repository, &tree(salt)).await.snapshot.unwrap());
    }
    forget_now(&world, &repository, &ids[..1]).await.unwrap();
    prune_now(&world, &repository).await;
    ids.push(world.keep(&repository, &tree(4)).await.snapshot.unwrap());
    let source = ModelSource::new(&tree(5)).failing_after(7).batches_of(1);
    world.backup_with(&repository, source, &World::bare()).await.unwrap_err();
    forget_now(&world, &repository, &ids[1..2]).await.unwrap();
    let paused = prune(&world.ctx(), &repository, &options(1000)).await.unwrap();
    assert!(paused.condemned_packs > 0, "{paused:?}");
    ids.push(world.keep(&repository, &tree(6)).await.snapshot.unwrap());
    let salts = [3, 4, 6];
    let snapshots = ids[2..].iter().copied().zip(salts).collect();
    Kept { world, repository, snapshots }
}

impl Kept {
    pub(super) fn fork(&self, seed: u64) -> World {
        self.world.fork(seed)
    }

    /// All that counted counts, and restores exactly.
    pub(super) async fn assert_whole(&self, world: &World, what: &str) {
        let repository = world.open().await;
        let shown = world.snapshots(&repository).await;
        for (id, salt) in &self.snapshots {
            let snapshot = shown.iter().find(|snapshot| snapshot.id == *id);
            let snapshot = snapshot.unwrap_or_else(|| panic!("{what}: {id} is not shown"));
            world.assert_restores(&repository, snapshot, &tree(*salt)).await;
        }
    }
}

fn newest_root(world: &World) -> Key {
    world.names("roots/").remove(0)
}

fn number_of(root: &Key) -> u64 {
    let Some(Place::Root(number)) = name::parse(root.as_str()) else { panic!("{root} is no root") };
    number
}

fn flip(world: &World, key: &Key) {
    let mut bytes = world.store.objects()[key].to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    world.store.insert_raw(key.clone(), bytes);
}

/// Everything goes on: backups, prunes, and what they leave is sound.
async fn assert_goes_on(world: &World, salt: u64) {
    let repository = world.open().await;
    world.keep(&repository, &tree(salt)).await;
    let newest = world.newest(&repository).await;
    world.assert_restores(&repository, &newest, &tree(salt)).await;
    for _ in 0..2 {
        prune_now(world, &repository).await;
    }
    world.assert_restores(&repository, &newest, &tree(salt)).await;
    world.assert_sound(&repository).await;
}

#[test]
fn nothing_is_changed_where_nothing_is_lost() {
    run(|| async {
        let kept = kept().await;
        let before = kept.world.store.objects();
        for read_packs in [false, true] {
            let options = RepairIndexOptions { read_packs, dry_run: false };
            let report = repair_index(&kept.world.ctx(), &kept.repository, options).await.unwrap();
            assert!(!report.is_needed && report.root.is_none(), "{report:?}");
            assert_eq!((report.lost_chunks, report.bad_packs.len()), (0, 0));
            assert_eq!(read_packs, report.packs_whole > 0);
        }
        assert_eq!(kept.world.store.objects(), before);
        let (world, repository) = World::made(Workers::inline()).await;
        assert!(!repair(&world, &repository).await.is_needed);
    });
}

#[test]
fn a_newest_root_that_is_damaged_stops_all_and_is_made_anew() {
    run(|| async {
        let kept = kept().await;
        let world = kept.fork(2);
        let newest = newest_root(&world);
        flip(&world, &newest);
        let repository = world.open().await;
        let stopped = world.backup_with(&repository, ModelSource::new(&tree(4)), &world.options()).await;
        let error = stopped.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Damaged);
        assert!(error.to_string().contains("holdfast repair index"), "{error}");
        let before = world.store.objects();
        let dry = RepairIndexOptions { dry_run: true, ..INDEX };
        let planned = repair_index(&world.ctx(), &repository, dry).await.unwrap();
        assert!(planned.is_needed && planned.root.is_none());
        assert_eq!(world.store.objects(), before);
        let report = repair(&world, &repository).await;
        assert_eq!(report.lost_roots[0].number, number_of(&newest));
        assert_eq!(report.root, Some(number_of(&newest) + 1));
        assert_eq!(
            RepairIndexReport { root: None, merged_deltas: 0, ..report.clone() },
            RepairIndexReport { merged_deltas: 0, ..planned }
        );
        // Nothing was deleted or changed.
        let after = world.store.objects();
        assert!(before.iter().all(|(key, body)| after.get(key) == Some(body)));
        assert!(!repair(&world, &repository).await.is_needed);
        kept.assert_whole(&world, "flipped").await;
        world.assert_sound(&repository).await;
        assert_goes_on(&world, 9).await;
        kept.assert_whole(&world, "later").await;
    });
}

#[test]
fn a_newest_root_that_is_gone_is_noticed_by_who_began_with_it() {
    run(|| async {
        let kept = kept().await;
        let world = kept.fork(2);
        let newest = newest_root(&world);
        world.store.remove_raw(&newest);
        let repository = world.open().await;
        let stopped = world.backup_with(&repository, ModelSource::new(&tree(4)), &world.options()).await;
        let error = stopped.unwrap_err();
        assert!(error.to_string().contains("is gone"), "{error}");
        let report = repair(&world, &repository).await;
        assert!(report.root > Some(number_of(&newest)), "{report:?}");
        kept.assert_whole(&world, "gone").await;
        assert_goes_on(&world, 9).await;
        kept.assert_whole(&world, "later").await;
    });
}

#[test]
fn without_any_root_all_is_made_anew() {
    run(|| async {
        for delete in [false, true] {
            let kept = kept().await;
            let world = kept.fork(2);
            let newest = newest_root(&world);
            for key in world.names("roots/") {
                if delete {
                    world.store.remove_raw(&key);
                } else {
                    flip(&world, &key);
                }
            }
            let repository = world.open().await;
            let report = repair(&world, &repository).await;
            assert_eq!(report.base, 0);
            assert!(report.root > Some(number_of(&newest)), "{report:?}");
            kept.assert_whole(&world, "no root").await;
            assert!(!repair(&world, &repository).await.is_needed);
            assert_goes_on(&world, 9).await;
            kept.assert_whole(&world, "later").await;
        }
    });
}

#[test]
fn what_roots_name_is_made_anew_each_by_itself_and_all_at_once() {
    run(|| async {
        let kept = kept().await;
        let named = |world: &World| -> Vec<Key> {
            ["lists/", "index/segment/", "snapshots/"].iter().flat_map(|prefix| world.names(prefix)).collect()
        };
        let all = named(&kept.world);
        assert!(all.len() >= 5, "{all:?}");
        let mut sets: Vec<Vec<Key>> = all.iter().map(|key| vec![key.clone()]).collect();
        sets.push(all);
        for (number, keys) in sets.into_iter().enumerate() {
            for delete in [false, true] {
                let world = kept.fork(2);
                for key in &keys {
                    if delete {
                        world.store.remove_raw(key);
                    } else {
                        flip(&world, key);
                    }
                }
                let what = format!("{keys:?} {delete}");
                let repository = world.open().await;
                let report = repair(&world, &repository).await;
                kept.assert_whole(&world, &what).await;
                assert!(!repair(&world, &repository).await.is_needed, "{what}");
                world.assert_sound(&repository).await;
                if number % 3 == 0 || keys.len() > 1 {
                    assert_goes_on(&world, 9).await;
                    kept.assert_whole(&world, &what).await;
                }
                if !report.is_needed {
                    // A list of an earlier root.
                    assert_eq!(keys.len(), 1, "{what}");
                }
            }
        }
    });
}

#[test]
fn lost_deltas_are_merged_from_packs() {
    run(|| async {
        let kept = kept().await;
        let world = kept.fork(2);
        for key in world.names("index/delta/") {
            world.store.remove_raw(&key);
        }
        let repository = world.open().await;
        let report = repair(&world, &repository).await;
        assert!(report.root.is_some() && !report.lost_objects.is_empty(), "{report:?}");
        kept.assert_whole(&world, "deltas").await;
        world.assert_sound(&repository).await;
        assert!(!repair(&world, &repository).await.is_needed);
        assert_goes_on(&world, 9).await;
    });
}

/// Every data pack that is needed, one after the other: lost or damaged.
#[test]
fn lost_chunks_are_named_and_healed_by_the_next_backup_of_the_same_data() {
    run(|| async {
        let kept = kept().await;
        let mut hurt = 0;
        for key in kept.world.names("packs/") {
            for delete in [false, true] {
                let world = kept.fork(2);
                let whole: Bytes = world.store.objects()[&key].clone();
                if delete {
                    world.store.remove_raw(&key);
                } else {
                    flip(&world, &key);
                }
                let what = format!("{key} {delete}");
                let repository = world.open().await;
                let options = RepairIndexOptions { read_packs: true, dry_run: false };
                let report = repair_index(&world.ctx(), &repository, options).await.unwrap();
                if report.lost_chunks == 0 {
                    continue;
                }
                hurt += 1;
                assert_eq!(report.bad_packs.len(), 1, "{what}: {report:?}");
                assert_eq!(report.bad_packs[0].pack, key.as_str());
                assert!(report.lost_file_count > 0 || key.as_str().contains("tree"), "{what}: {report:?}");
                // What is lost stays named, what is whole restores, and a prune deletes nothing needed.
                assert!(!repair_index(&world.ctx(), &repository, options).await.unwrap().is_needed, "{what}");
                if !key.as_str().contains("tree") {
                    prune_now(&world, &repository).await;
                    prune_now(&world, &repository).await;
                }
                let undone = world.fork(3);
                undone.store.insert_raw(key.clone(), whole);
                kept.assert_whole(&undone, &what).await;
                // Backups of the same data.
                for salt in [3, 4, 6] {
                    let force = holdfast_engine::BackupOptions { force: true, ..world.options() };
                    let source = ModelSource::new(&tree(salt));
                    let made = world.backup_with(&repository, source, &force).await.unwrap();
                    assert_eq!(made.problems.problems, [], "{what}");
                }
                kept.assert_whole(&world, &what).await;
                if delete {
                    let report = repair(&world, &repository).await;
                    assert!(report.found_chunks > 0 && report.lost_chunks == 0, "{what}: {report:?}");
                }
                for _ in 0..3 {
                    prune_now(&world, &repository).await;
                }
                kept.assert_whole(&world, &what).await;
                let last = repair_index(&world.ctx(), &repository, options).await.unwrap();
                assert_eq!((last.lost_chunks, last.is_needed), (0, false), "{what}: {last:?}");
                world.assert_sound(&repository).await;
            }
        }
        assert!(hurt >= 6, "{hurt}");
    });
}

/// The bytes are put back: the pack is relied on again.
#[test]
fn a_pack_that_is_whole_again_is_released() {
    run(|| async {
        let kept = kept().await;
        let world = kept.fork(2);
        let newest = *kept.snapshots.keys().find(|id| kept.snapshots[id] == 6).unwrap();
        let of_newest = |key: &Key| key.as_str().contains(&newest.to_string());
        let key = world.names("packs/data/").into_iter().find(of_newest).unwrap();
        let whole = world.store.remove_raw(&key).unwrap();
        let repository = world.open().await;
        assert_eq!(repair(&world, &repository).await.bad_packs.len(), 1);
        world.store.insert_raw(key.clone(), whole);
        let options = RepairIndexOptions { read_packs: true, dry_run: false };
        let report = repair_index(&world.ctx(), &repository, options).await.unwrap();
        assert_eq!(report.released_packs, [key.as_str()]);
        assert_eq!(report.lost_chunks, 0);
        kept.assert_whole(&world, "released").await;
        world.assert_sound(&repository).await;
    });
}

/// The process that repairs dies, or the store fails, at each call in turn: the next one ends it.
#[test]
fn a_repair_that_ends_anywhere_is_ended_by_the_next() {
    run(|| async {
        let kept = kept().await;
        let start = kept.fork(2);
        flip(&start, &newest_root(&start));
        start.names("index/segment/").iter().for_each(|key| drop(start.store.remove_raw(key)));
        let faulty = |world: &World, plan: Box<dyn Fn(&Call) -> Fault + Send + Sync>| {
            Arc::new(FaultStore::new(Arc::new(world.store.clone()), plan))
        };
        let attempt = async |world: &World, store: Arc<FaultStore>| {
            let repository = world.open_on(store).await?;
            repair_index(&world.ctx(), &repository, INDEX).await
        };
        let counting = start.fork(3);
        let store = faulty(&counting, Box::new(|_| Fault::None));
        attempt(&counting, store.clone()).await.unwrap();
        for at in 0..store.calls() {
            for fault in
                [Fault::Crash, Fault::FailBefore(StoreErrorKind::Io), Fault::FailAfter(StoreErrorKind::Retry)]
            {
                let world = start.fork(4);
                let plan = Box::new(move |call: &Call| if call.number == at { fault } else { Fault::None });
                let done = attempt(&world, faulty(&world, plan)).await;
                let what = format!("{fault:?} at {at}");
                let repository = world.open().await;
                // What was reported stands; what was not is done by the next.
                let again = repair(&world, &repository).await;
                assert!(done.is_err() || !again.is_needed, "{what}: {again:?}");
                if at % 5 == 0 || done.is_err() && !again.is_needed {
                    kept.assert_whole(&world, &what).await;
                    prune_now(&world, &repository).await;
                    kept.assert_whole(&world, &what).await;
                }
            }
        }
    });
}

/// A backup of another process that stands still before each of its calls.
fn backup_of(world: &World, tree: &Tree) -> Stepped<Result<BackupReport>> {
    let (ctx, store) = (world.ctx(), Arc::new(SteppedStore(world.store.clone())));
    let (source, options) = (ModelSource::new(tree).repeatable(), world.options());
    Stepped::new(async move {
        let repository = Repository::open(&ctx, store, &secret()).await?;
        backup(&ctx, &repository, Box::new(source), &options).await.map(|outcome| outcome.value)
    })
}

async fn a_repair_beside_a_backup(hurt: fn(&World)) {
    let kept = kept().await;
    let mut counting = backup_of(&kept.fork(2), &tree(8));
    let mut calls = 0;
    while counting.result.is_none() {
        counting.go(1);
        calls += 1;
    }
    let (mut done, mut refused) = (0, 0);
    for at in 0..calls {
        let world = kept.fork(2);
        let mut writer = backup_of(&world, &tree(8));
        writer.go(at);
        hurt(&world);
        let repository = world.open().await;
        repair(&world, &repository).await;
        writer.go(usize::MAX);
        let what = format!("call {at} of {calls}");
        match writer.result.unwrap() {
            Ok(report) => {
                done += 1;
                let shown = world.snapshots(&repository).await;
                let own = shown.iter().find(|snapshot| Some(snapshot.id) == report.snapshot);
                let own = own.unwrap_or_else(|| panic!("{what}: reported and not there"));
                world.assert_restores(&repository, own, &tree(8)).await;
            }
            Err(error) => {
                refused += 1;
                let clean = [ErrorKind::Conflict, ErrorKind::Damaged];
                assert!(clean.contains(&error.kind), "{what}: {}", chain(&error));
            }
        }
        kept.assert_whole(&world, &what).await;
        prune_now(&world, &repository).await;
        kept.assert_whole(&world, &what).await;
        world.assert_sound(&repository).await;
    }
    assert!(done > refused, "{done} {refused}");
}

#[test]
fn a_lost_root_is_made_anew_beside_a_backup_at_any_call() {
    run(|| a_repair_beside_a_backup(|world| flip(world, &newest_root(world))));
}

#[test]
fn a_lost_segment_is_made_anew_beside_a_backup_at_any_call() {
    run(|| {
        a_repair_beside_a_backup(|world| {
            world.names("index/segment/").iter().for_each(|key| drop(world.store.remove_raw(key)));
        })
    });
}
