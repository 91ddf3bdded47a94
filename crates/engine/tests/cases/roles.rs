//! What each role can do with the keys that it has, and what is refused before anything is written.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{ModelSource, Node, START_SECONDS, Tree, World, noise, run};
use holdfast_core::keys::Role;
use holdfast_engine::error::{Error, ErrorKind};
use holdfast_engine::maintain::{
    ForgetOptions, ForgetWhat, HoldScope, MaxUnused, PruneOptions, RecoverOptions, RepairIndexOptions,
    RepairSnapshotsOptions, forget, forgotten, hold, prune, recover, release, repair_index, repair_snapshots,
    unforget,
};
use holdfast_engine::wal::{Stored, Timeline, WalArchive, WalName};
use holdfast_engine::workers::Workers;
use holdfast_engine::{
    CopyOptions, ReadData, Repository, RestoreOptions, Right, Snapshot, SnapshotFilter, StatsMode, TagChange,
    check, copy, details, evidence, list, resolve, snapshots, stats, tag,
};
use holdfast_store::fault::{Call, Fault, Operation};
use holdfast_store::{ErrorKind as StoreErrorKind, FaultStore};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const WRITER: u8 = 11;
const MAINTAINER: u8 = 12;
const READER: u8 = 13;

/// A repository with one member of each role; the owner knows them.
async fn made(workers: Workers) -> (World, [Repository; 4]) {
    let (world, _) = World::made(workers).await;
    let mut members = Vec::new();
    for (role, key) in [(Role::Writer, WRITER), (Role::Maintainer, MAINTAINER), (Role::Reader, READER)] {
        world.admitted(role, key).await;
        members.push(key);
    }
    let mut opened = vec![world.open().await];
    for key in members {
        opened.push(world.open_as(Arc::new(world.store.clone()), key).await);
    }
    (world, opened.try_into().unwrap())
}

/// The writer, over a store that gives nothing out of packs; how often it was asked to.
async fn sealed_off(world: &World) -> (Repository, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    let store = FaultStore::new(Arc::new(world.store.clone()), move |call: &Call| {
        if call.operation == Operation::Get && call.key.starts_with("packs/") {
            counter.fetch_add(1, Ordering::Relaxed);
            return Fault::FailBefore(StoreErrorKind::Denied);
        }
        Fault::None
    });
    (world.open_as(Arc::new(store), WRITER).await, asked)
}

#[test]
fn a_writer_backs_up_again_and_opens_nothing() {
    for workers in [Workers::inline(), Workers::pool(2)] {
        run(move || async move {
            let (world, [owner, _, _, reader]) = made(workers).await;
            let (writer, asked) = sealed_off(&world).await;
            let mut tree = Tree::mixed();
            tree.put("larger", Node::file(noise(3, 3 << 20)));
            let first = world.keep(&writer, &tree).await;
            assert!(first.counts.bytes_added > 3 << 20);
            // Nothing changed: nothing is read, and the same tree comes of it.
            let source = ModelSource::new(&tree);
            let reads = source.reads.clone();
            let second = world.backup(&writer, source).await.value;
            assert_eq!((reads.take(), second.root), (Vec::new(), first.root));
            assert_eq!((second.unchanged, second.counts.chunks_added), (true, 0));
            // One file is new: that one is read, and pages around it are stored.
            tree.put("new", Node::file(noise(4, 200_000)));
            let source = ModelSource::new(&tree);
            let reads = source.reads.clone();
            let third = world.backup(&writer, source).await.value;
            assert_eq!(reads.take(), ["new"]);
            assert!(third.counts.bytes_added < 260_000, "{:?}", third.counts);
            assert_eq!(third.parent, second.snapshot);
            assert_eq!(asked.load(Ordering::Relaxed), 0, "it read in packs");
            assert_eq!(world.take_warnings(), [] as [&str; 0]);
            for repository in [&owner, &reader] {
                world.assert_restores(repository, &world.newest(repository).await, &tree).await;
                world.assert_sound(repository).await;
            }
        });
    }
}

#[test]
fn without_its_cache_a_writer_reads_everything_and_says_so_and_stores_nothing_twice() {
    run(|| async {
        let (world, [owner, ..]) = made(Workers::inline()).await;
        let (writer, asked) = sealed_off(&world).await;
        let mut tree = Tree::mixed();
        tree.put("larger", Node::file(noise(3, 3 << 20)));
        let first = world.keep(&writer, &tree).await;
        let stat = world.cache.path().join(owner.id().to_string()).join("stat");
        std::fs::remove_dir_all(stat).unwrap();
        let second = world.keep(&writer, &tree).await;
        let warnings = world.take_warnings();
        assert!(warnings.iter().any(|warning| warning.contains("this key cannot read it")), "{warnings:?}");
        assert_eq!((second.root, second.counts.chunks_added), (first.root, 0));
        assert_eq!(second.parent, first.snapshot);
        assert_eq!(second.counts.bytes_read, first.counts.bytes_read);
        // Compared with one that the cache does not know.
        world.keep(&writer, &tree).await;
        let options = holdfast_engine::BackupOptions { parent: first.snapshot, ..world.options() };
        let third = world.backup_with(&writer, ModelSource::new(&tree), &options).await.unwrap().value;
        assert_eq!((third.parent, third.counts.chunks_added), (first.snapshot, 0));
        assert_eq!(asked.load(Ordering::Relaxed), 0, "it read in packs");
        world.assert_sound(&owner).await;
    });
}

/// A cluster's file: nothing proves that it is unchanged.
fn database_file(seed: u64, changed: Option<usize>) -> Node {
    let mut content = noise(seed, 5_000_000);
    if let Some(block) = changed {
        content[block * 8192..][..8192].copy_from_slice(&noise(seed + 1000, 8192));
    }
    let mut node = Node::file(content);
    node.ctime.seconds = i64::MAX;
    node
}

#[test]
fn a_writer_stores_of_a_database_only_blocks_that_changed() {
    run(|| async {
        let (world, [owner, ..]) = made(Workers::pool(2)).await;
        let (writer, asked) = sealed_off(&world).await;
        let keep = async |changed| {
            let mut tree = Tree::default();
            tree.put("base/1", database_file(1, changed));
            tree.put("base/2", database_file(2, None));
            let source = ModelSource::new(&tree).of_blocks().arrival(7);
            (world.backup(&writer, source).await.value, tree)
        };
        keep(None).await;
        assert_eq!(keep(None).await.0.counts.chunks_added, 0);
        let (third, tree) = keep(Some(300)).await;
        assert!(third.counts.bytes_added < 40_000, "{:?}", third.counts);
        assert_eq!(world.take_warnings(), [] as [&str; 0]);
        world.assert_restores(&owner, &world.newest(&owner).await, &tree).await;
        // The map of blocks is lost: one full, and that is told.
        let cache = world.cache.path().join(owner.id().to_string());
        std::fs::remove_dir_all(cache.join("blocks")).unwrap();
        keep(Some(301)).await;
        let warnings = world.take_warnings();
        assert!(warnings.iter().any(|warning| warning.contains("the block map of")), "{warnings:?}");
        assert_eq!(asked.load(Ordering::Relaxed), 0, "it read in packs");
        let (fifth, tree) = keep(Some(302)).await;
        assert!(fifth.counts.bytes_added < 100_000, "{:?}", fifth.counts);
        world.assert_restores(&owner, &world.newest(&owner).await, &tree).await;
        world.assert_sound(&owner).await;
    });
}

/// Whether something was refused for the key's sake.
#[track_caller]
fn assert_refused<T>(result: Result<T, Error>, whose: &str) {
    let Err(error) = result else { panic!("a {whose} was not refused") };
    assert_eq!(error.kind, ErrorKind::NotAllowed, "{error}");
    assert!(error.what.contains(&format!("this key is a {whose}'s: it can")), "{error}");
}

async fn read_all(world: &World, repository: &Repository, snapshot: &Snapshot) -> Result<(), Error> {
    world.restore(repository, snapshot, &RestoreOptions::default()).await.map(drop)
}

fn forgetting(snapshot: &Snapshot) -> ForgetOptions {
    let what = ForgetWhat::Snapshots(vec![snapshot.id]);
    ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() }
}

const PRUNING: PruneOptions = PruneOptions {
    max_unused: MaxUnused::Percent(0.0),
    max_repack_bytes: None,
    min_age_seconds: Some(0),
    abort_after_seconds: 72 * 3600,
    dry_run: false,
};

fn copying() -> CopyOptions {
    let data_pack_bytes = holdfast_core::pack::DATA_PACK_BYTES;
    CopyOptions { dry_run: false, compression_level: 1, data_pack_bytes }
}

/// Everything that only a reader may.
async fn assert_reads_nothing(world: &World, repository: &Repository, snapshot: &Snapshot, whose: &str) {
    let ctx = world.ctx();
    assert_refused(read_all(world, repository, snapshot).await, whose);
    assert_refused(details(&ctx, repository, snapshot).await, whose);
    assert_refused(list(&ctx, repository, snapshot, b"", true, &mut |_| {}).await, whose);
    let filter = SnapshotFilter { hosts: vec![snapshot.summary.host.clone()], ..SnapshotFilter::default() };
    assert_refused(resolve(&ctx, repository, "latest", b"small", &filter).await, whose);
    // Which snapshots there are every member sees.
    let latest = resolve(&ctx, repository, "latest", b"", &filter).await.unwrap();
    assert_eq!(latest.snapshot.id, world.newest(repository).await.id);
    let other = World::with_seed(Workers::inline(), 2);
    let to = other.create().await;
    let all = world.snapshots(repository).await;
    assert_refused(copy(&ctx, repository, &to, &all, &copying(), &mut |_| {}).await, whose);
    assert_eq!(other.snapshots(&to).await.len(), 0);
}

/// Everything that only a maintainer may.
async fn assert_maintains_nothing(world: &World, repository: &Repository, snapshot: &Snapshot, whose: &str) {
    let ctx = world.ctx();
    assert_refused(forget(&ctx, repository, &forgetting(snapshot)).await, whose);
    assert_refused(unforget(&ctx, repository, &[snapshot.id]).await, whose);
    assert_refused(prune(&ctx, repository, &PRUNING).await, whose);
    assert_refused(prune(&ctx, repository, &PruneOptions { dry_run: true, ..PRUNING }).await, whose);
    assert_refused(hold(&ctx, repository, &[HoldScope::All], "why", None).await, whose);
    assert_refused(repair_index(&ctx, repository, RepairIndexOptions::default()).await, whose);
}

/// Everything that takes a key which reads and writes.
async fn assert_rewrites_nothing(world: &World, repository: &Repository, whose: &str) {
    let ctx = world.ctx();
    let (all, change) =
        (world.snapshots(repository).await, TagChange { add: vec!["x".into()], ..TagChange::default() });
    assert_refused(tag(&ctx, repository, &all, &change, &mut |_| {}).await, whose);
    assert_refused(repair_snapshots(&ctx, repository, RepairSnapshotsOptions::default()).await, whose);
    assert_refused(recover(&ctx, repository, RecoverOptions::default()).await, whose);
}

fn tree(salt: u64) -> Tree {
    let mut tree = Tree::default();
    for number in 0..10 {
        tree.put(&format!("small/{number}"), Node::file(noise(salt * 100 + number, 9_000)));
    }
    tree.put("large", Node::file(noise(salt * 100 + 50, 600_000)));
    tree.put("same", Node::file(noise(7, 300_000)));
    for node in tree.0.values_mut() {
        node.mtime.seconds = START_SECONDS - 10_000 + salt as i64;
        node.ctime = node.mtime;
    }
    tree
}

#[test]
fn what_a_writer_may_not_is_refused_and_nothing_is_written() {
    run(|| async {
        let (world, [_, writer, ..]) = made(Workers::inline()).await;
        world.keep(&writer, &tree(1)).await;
        let own = world.newest(&writer).await;
        let before = world.store.objects();
        assert_reads_nothing(&world, &writer, &own, "writer").await;
        assert_maintains_nothing(&world, &writer, &own, "writer").await;
        assert_rewrites_nothing(&world, &writer, "writer").await;
        assert_refused(check(&world.ctx(), &writer, ReadData::All).await, "writer");
        let report = check(&world.ctx(), &writer, ReadData::No).await.unwrap();
        assert_eq!((report.errors, report.opened, report.snapshots), (0, false, 1));
        assert!(report.findings.iter().any(|finding| finding.what.contains("opens neither pages")));
        assert!(world.store.objects() == before, "something was written");
        assert!(writer.may(Right::BackUp) && !writer.may(Right::Read));
    });
}

#[test]
fn a_maintainer_forgets_prunes_repairs_and_checks_without_the_keys_to_data() {
    run(|| async {
        let (world, [owner, writer, maintainer, reader]) = made(Workers::pool(2)).await;
        let ctx = world.ctx();
        let mut kept = Vec::new();
        for salt in 1..=4 {
            let repository = if salt % 2 == 0 { &owner } else { &writer };
            // Each has its own source: they do not rely on each other.
            let source = ModelSource::new(&tree(salt)).of(["writer", "owner"][(salt % 2 == 0) as usize], "/");
            kept.push(world.backup(repository, source).await.value.snapshot.unwrap());
        }
        let newest = world.newest(&maintainer).await;
        let before = world.store.objects();
        assert_reads_nothing(&world, &maintainer, &newest, "maintainer").await;
        assert_rewrites_nothing(&world, &maintainer, "maintainer").await;
        assert_refused(
            world.backup_with(&maintainer, ModelSource::new(&tree(9)), &world.options()).await,
            "maintainer",
        );
        let name = WalName::whole(Timeline::new(1, 1, b""), "000000010000000000000001");
        let archive = WalArchive::new(&ctx, &maintainer);
        assert_refused(archive.put(&name, vec![1; 1000]).await, "maintainer");
        assert!(world.store.objects() == before, "something was written");

        let held =
            hold(&ctx, &maintainer, &[HoldScope::Source("no such".into())], "a case", None).await.unwrap();
        release(&ctx, &maintainer, &[held[0].id]).await.unwrap();
        let listed = snapshots(&ctx, &maintainer, &SnapshotFilter::default()).await.unwrap().value;
        for old in listed.iter().filter(|snapshot| kept[..2].contains(&snapshot.id)) {
            forget(&ctx, &maintainer, &forgetting(old)).await.unwrap();
        }
        assert_eq!(forgotten(&ctx, &maintainer).await.unwrap().len(), 2);
        let measured = stats(&ctx, &maintainer, None, StatsMode::Full).await.unwrap();
        assert_eq!(measured.problems.problems, []);
        let (blind, seeing) =
            (measured.value, stats(&ctx, &reader, None, StatsMode::Full).await.unwrap().value);
        let (blind_stored, stored) = (blind.stored.unwrap(), seeing.stored.unwrap());
        assert_eq!((blind_stored.opened, stored.opened), (false, true));
        assert_eq!(
            (blind_stored.chunk_bytes, blind_stored.page_bytes, blind_stored.unreferenced_bytes),
            (stored.chunk_bytes, stored.page_bytes, stored.unreferenced_bytes)
        );
        assert_eq!(blind.snapshots[0].unique_bytes, seeing.snapshots[0].unique_bytes);
        let report = prune(&ctx, &maintainer, &PRUNING).await.unwrap();
        assert!(report.freed_bytes > 1_000_000 && report.repacked_packs > 0, "{report:?}");
        assert_eq!(report.dropped_snapshots.len(), 2);
        for read_data in [ReadData::No, ReadData::All] {
            let report = check(&ctx, &maintainer, read_data).await.unwrap();
            assert_eq!((report.errors, report.opened), (0, false), "{:?}", report.findings);
        }
        let repaired =
            repair_index(&ctx, &maintainer, RepairIndexOptions { read_packs: true, dry_run: false });
        assert!(!repaired.await.unwrap().is_needed);
        for repository in [&owner, &reader] {
            let left = world.snapshots(repository).await;
            assert_eq!(left.len(), 2);
            for snapshot in &left {
                let salt = if snapshot.summary.host == "owner" { 4 } else { 3 };
                world.assert_restores(repository, snapshot, &tree(salt)).await;
            }
            world.assert_sound(repository).await;
        }
        // Backups go on over what was repacked: each relies on what it had, whoever moved it.
        for (repository, salt, host) in [(&owner, 4, "owner"), (&writer, 3, "writer")] {
            let again = world.backup(repository, ModelSource::new(&tree(salt)).of(host, "/")).await.value;
            assert_eq!(again.counts.chunks_added, 0, "{host}: {:?}", again.counts);
        }
    });
}

#[test]
fn a_maintainer_finds_damage_by_checksums_and_by_what_is_missing() {
    run(|| async {
        let (world, [owner, _, maintainer, _]) = made(Workers::inline()).await;
        world.keep(&owner, &tree(1)).await;
        let packs = world.names("packs/data/");
        let whole = world.store.objects()[&packs[0]].clone();
        let mut bytes = whole.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        world.store.insert_raw(packs[0].clone(), bytes);
        let report = check(&world.ctx(), &maintainer, ReadData::No).await.unwrap();
        assert_eq!(report.errors, 0, "{:?}", report.findings);
        let report = check(&world.ctx(), &maintainer, ReadData::All).await.unwrap();
        assert!(report.errors > 0);
        world.store.remove_raw(&packs[0]);
        let report = check(&world.ctx(), &maintainer, ReadData::No).await.unwrap();
        let missing = |what: &str| what.contains("is missing, with");
        assert!(report.findings.iter().any(|finding| missing(&finding.what)), "{:?}", report.findings);
        let report = repair_index(&world.ctx(), &maintainer, RepairIndexOptions::default()).await.unwrap();
        assert!(report.lost_chunks > 0 && report.root.is_some(), "{report:?}");
    });
}

#[test]
fn a_reader_reads_everything_and_writes_nothing_but_evidence() {
    run(|| async {
        let (world, [owner, writer, _, reader]) = made(Workers::inline()).await;
        let ctx = world.ctx();
        world.keep(&writer, &tree(1)).await;
        let name = WalName::whole(Timeline::new(1, 1, b""), "000000010000000000000001");
        let archive = |repository: &Repository| WalArchive::new(&ctx, repository);
        assert_eq!(archive(&writer).put(&name, vec![7; 5000]).await.unwrap(), Stored::New);
        assert_eq!(archive(&writer).put(&name, vec![7; 5000]).await.unwrap(), Stored::Same);
        assert_eq!(archive(&writer).put(&name, vec![8; 5000]).await.unwrap(), Stored::Other);
        assert_refused(archive(&writer).get(&name).await, "writer");
        assert_eq!(archive(&reader).get(&name).await.unwrap(), Some(vec![7; 5000]));
        let newest = world.newest(&reader).await;
        world.assert_restores(&reader, &newest, &tree(1)).await;
        assert!(!details(&ctx, &reader, &newest).await.unwrap().facts.is_empty());
        world.assert_sound(&reader).await;
        let before = world.store.objects();
        assert_maintains_nothing(&world, &reader, &newest, "reader").await;
        assert_rewrites_nothing(&world, &reader, "reader").await;
        assert_refused(archive(&reader).put(&name, vec![7; 5000]).await, "reader");
        let source = || ModelSource::new(&tree(2));
        assert_refused(world.backup_with(&reader, source(), &world.options()).await, "reader");
        let dry = holdfast_engine::BackupOptions { dry_run: true, ..world.options() };
        assert_refused(world.backup_with(&reader, source(), &dry).await, "reader");
        let from = World::with_seed(Workers::inline(), 2).create().await;
        assert_refused(copy(&ctx, &from, &reader, &[], &copying(), &mut |_| {}).await, "reader");
        assert!(world.store.objects() == before, "something was written");
        evidence::append(&ctx, &reader, "drill", b"it came back").await.unwrap();
        let book = evidence::records(&ctx, &owner).await.unwrap();
        assert_eq!(book.problems().count(), 0);
        world.assert_sound(&owner).await;
    });
}

#[test]
fn a_writer_that_was_killed_is_taken_over_by_its_own_next_run_alone() {
    run(|| async {
        let (world, [owner, ..]) = made(Workers::inline()).await;
        let other = world.admitted(Role::Writer, 21).await;
        let mut tree = tree(1);
        tree.put("much", Node::file(noise(5, 40 << 20)));
        // It dies once a pack is there.
        let puts = AtomicU32::new(0);
        let store = FaultStore::new(Arc::new(world.store.clone()), move |call: &Call| {
            let pack = call.operation == Operation::Commit && call.key.starts_with("packs/");
            match pack && puts.fetch_add(1, Ordering::Relaxed) == 1 {
                true => Fault::Crash,
                false => Fault::None,
            }
        });
        let dying = world.open_as(Arc::new(store), WRITER).await;
        world.backup_with(&dying, ModelSource::new(&tree), &World::bare()).await.unwrap_err();
        assert!(!world.names("packs/data/").is_empty());
        let of_other =
            world.backup_with(&other, ModelSource::new(&tree), &World::bare()).await.unwrap().value;
        assert_eq!(of_other.adopted_packs, 0);
        let writer = world.open_as(Arc::new(world.store.clone()), WRITER).await;
        let again = world.backup_with(&writer, ModelSource::new(&tree), &World::bare()).await.unwrap().value;
        assert!(again.adopted_packs > 0 && again.counts.bytes_added < 20 << 20, "{:?}", again.counts);
        // Who was open before does not know the other writer.
        drop(owner);
        let owner = world.open().await;
        world.assert_restores(&owner, &world.newest(&owner).await, &tree).await;
        world.assert_sound(&owner).await;
    });
}
