//! Files of databases: of what changed in place only that is stored, and what comes back is what was
//! there, whatever became of the last snapshot, its chunks and the map of its blocks.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::trouble::cache_files;
use crate::harness::{
    ModelSource, Node, Rng, Run, Stepped, SteppedStore, Tree, Trouble, World, chain, noise, run, secret,
};
use holdfast_engine::ctx::Ctx;
use holdfast_engine::error::ErrorKind;
use holdfast_engine::maintain::{
    ForgetOptions, ForgetWhat, MaxUnused, PruneOptions, RepairIndexOptions, forget, prune, repair_index,
};
use holdfast_engine::workers::Workers;
use holdfast_engine::{
    BackupReport, CopyOptions, InitOptions, Repository, RestoreOptions, StatsMode, backup, copy, stats,
};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::path::PathBuf;
use std::sync::Arc;

const BLOCK: usize = 8192;

/// A cluster's file: nothing proves that it is unchanged.
fn file(content: Vec<u8>) -> Node {
    let mut node = Node::file(content);
    node.ctime.seconds = i64::MAX;
    node
}

fn content(tree: &mut Tree, path: &str) -> Vec<u8> {
    tree.node(path).flat()
}

/// Writes blocks anew in place.
fn change(content: &mut [u8], blocks: impl IntoIterator<Item = usize>, salt: u64) {
    for block in blocks {
        let end = content.len().min((block + 1) * BLOCK);
        let part = &mut content[block * BLOCK..end];
        let length = part.len();
        part.copy_from_slice(&noise(salt * 100_000 + block as u64, length));
    }
}

async fn keep(world: &World, repository: &Repository, tree: &Tree) -> BackupReport {
    let source = ModelSource::new(tree).of_blocks().arrival(world.clock_seconds() as u64);
    let outcome = world.backup(repository, source).await;
    assert_eq!(outcome.problems.problems, []);
    outcome.value
}

async fn assert_newest_is(world: &World, repository: &Repository, tree: &Tree) {
    world.assert_restores(repository, &world.newest(repository).await, tree).await;
}

/// What pages may add: hashes, extents, the names of chunks, entries.
fn pages_most(blocks: usize, changed: usize) -> u64 {
    (8 * blocks + 100 * (2 * changed + 2) + 4_000) as u64
}

#[test]
fn only_blocks_that_changed_are_stored() {
    for workers in [Workers::inline(), Workers::pool(2)] {
        run(move || async move {
            let (world, repository) = World::made(workers).await;
            let mut tree = Tree::default();
            tree.put("base/1/16384", file(noise(1, 5_000_000)));
            tree.put("base/1/16385", file(noise(2, 40 * BLOCK)));
            tree.put("PG_VERSION", file(b"18\n".to_vec()));
            let first = keep(&world, &repository, &tree).await;
            assert!(first.counts.bytes_added >= tree.bytes());
            assert_newest_is(&world, &repository, &tree).await;
            // Nothing changed: the same tree, to the byte.
            let second = keep(&world, &repository, &tree).await;
            assert_eq!((second.root, second.counts.chunks_added), (first.root, 0));
            assert!(second.unchanged && second.counts.bytes_read == tree.bytes());
            // One block here, two that touch there, the short one at the end, and one of the other file.
            let mut bytes = content(&mut tree, "base/1/16384");
            change(&mut bytes, [3, 200, 201, 610], 1);
            tree.put("base/1/16384", file(bytes));
            let mut bytes = content(&mut tree, "base/1/16385");
            change(&mut bytes, [7], 2);
            tree.put("base/1/16385", file(bytes));
            let third = keep(&world, &repository, &tree).await;
            let blocks = 4 * BLOCK as u64 + (5_000_000 % BLOCK as u64);
            let added = third.counts.bytes_added - blocks;
            assert!(added < pages_most(611 + 40, 5), "{added} beside the blocks: {:?}", third.counts);
            assert_newest_is(&world, &repository, &tree).await;
            for snapshot in world.snapshots(&repository).await {
                let restored = world.restore(&repository, &snapshot, &RestoreOptions::default()).await;
                assert_eq!(restored.unwrap().1.problems.problems, []);
            }
            world.assert_sound(&repository).await;
            assert_eq!(world.take_warnings(), [] as [&str; 0]);
        });
    }
}

/// What becomes of a file between two backups.
#[derive(Debug, Clone)]
enum Edit {
    Blocks(Vec<usize>),
    Bytes(usize, usize),
    Cut(usize),
    Grow(usize),
    /// Cut off, and grown again with other bytes.
    Regrow(usize, usize),
    Anew(usize),
    Drop,
}

fn edits() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => prop::collection::vec(0usize..80, 0..20).prop_map(Edit::Blocks),
        2 => (0usize..600_000, 1usize..40_000).prop_map(|(at, length)| Edit::Bytes(at, length)),
        1 => (0usize..600_000).prop_map(Edit::Cut),
        2 => (1usize..200_000).prop_map(Edit::Grow),
        1 => (0usize..300_000, 1usize..300_000).prop_map(|(cut, more)| Edit::Regrow(cut, more)),
        1 => (0usize..400_000).prop_map(Edit::Anew),
        1 => Just(Edit::Drop),
    ]
}

fn edit(content: &mut Vec<u8>, edit: &Edit, salt: u64) {
    match edit {
        Edit::Blocks(blocks) => {
            let count = content.len().div_ceil(BLOCK);
            change(content, blocks.iter().copied().filter(|block| *block < count), salt);
        }
        Edit::Bytes(at, length) => {
            let from = (*at).min(content.len());
            let to = (at + length).min(content.len()).max(from);
            content[from..to].copy_from_slice(&noise(salt, to - from));
        }
        Edit::Cut(length) => content.truncate(*length),
        Edit::Grow(more) => content.extend(noise(salt, *more)),
        Edit::Regrow(cut, more) => {
            content.truncate(*cut);
            content.extend(noise(salt, *more));
        }
        Edit::Anew(length) => *content = noise(salt, *length),
        Edit::Drop => content.clear(),
    }
}

/// Bytes of blocks that are not where they were, as they were.
fn differing(old: &[u8], new: &[u8]) -> u64 {
    let mut olds = old.chunks(BLOCK);
    new.chunks(BLOCK).filter(|block| olds.next() != Some(block)).map(|block| block.len() as u64).sum()
}

#[test]
fn whatever_becomes_of_a_file_it_comes_back_and_what_is_as_it_was_is_not_stored() {
    let strategy = (100_000usize..500_000, prop::collection::vec(edits(), 1..6));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) };
    TestRunner::new(config)
        .run(&strategy, |(length, edits)| {
            run(move || async move {
                let (world, repository) = World::made(Workers::inline()).await;
                let mut bytes = noise(1, length);
                let mut tree = Tree::default();
                tree.put("file", file(bytes.clone()));
                keep(&world, &repository, &tree).await;
                for (number, step) in edits.iter().enumerate() {
                    let old = bytes.clone();
                    edit(&mut bytes, step, 10 + number as u64);
                    tree.put("file", file(bytes.clone()));
                    let added = keep(&world, &repository, &tree).await.counts.bytes_added;
                    let small = old.len().min(bytes.len()) <= 128 * 1024;
                    // Before the first edit nothing is scattered, so nothing is written anew.
                    if number == 0 && !small {
                        let blocks = bytes.len() / BLOCK + 1;
                        let most = differing(&old, &bytes) + pages_most(blocks, blocks);
                        assert!(added <= most, "{added} > {most} for {step:?} of {length}");
                    }
                    assert_newest_is(&world, &repository, &tree).await;
                }
                world.assert_sound(&repository).await;
                assert_eq!(world.take_warnings(), [] as [&str; 0]);
            });
            Ok(())
        })
        .unwrap();
}

/// The chunks of a file never hold more than 2.5 times what it has, and not all files are written anew
/// at once.
#[test]
fn scattered_files_are_written_anew_each_at_its_own_time() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let (files, blocks) = (12, 20);
        let mut tree = Tree::default();
        for number in 0..files {
            tree.put(&format!("{number:02}"), file(noise(number, blocks * BLOCK)));
        }
        keep(&world, &repository, &tree).await;
        // Of six blocks that go into one chunk, five change again: what holds 1 keeps 0.3 more.
        let mut anew = Vec::new();
        for round in 0..6 {
            for number in 0..files {
                let path = format!("{number:02}");
                let mut bytes = content(&mut tree, &path);
                change(&mut bytes, (0..5).chain([5 + round]), 1_000 + 100 * number + round as u64);
                tree.put(&path, file(bytes));
            }
            let added = keep(&world, &repository, &tree).await.counts.bytes_added;
            let rest = added - files * (6 * BLOCK) as u64;
            anew.push(rest / ((blocks - 6) * BLOCK) as u64);
        }
        assert_eq!(anew[..2], [0, 0], "{anew:?}");
        let total = anew.iter().sum::<u64>();
        assert!(
            (files..=files + anew[2]).contains(&total),
            "each of them, and the first ones twice: {anew:?}"
        );
        assert!(anew.iter().filter(|count| **count > 0).count() > 1, "{anew:?}");
        assert_newest_is(&world, &repository, &tree).await;
        world.assert_sound(&repository).await;
    });
}

/// A file that is longer than a leaf reaches, and of which one part changes.
#[test]
fn a_long_file_is_gone_through_in_stretches() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let stretch = 64 << 20;
        let mut bytes = vec![7; 2 * stretch + 3 * BLOCK + 5];
        change(&mut bytes, [8191, 8192], 1);
        let mut tree = Tree::default();
        tree.put("long", file(bytes.clone()));
        let first = keep(&world, &repository, &tree).await;
        assert!(first.counts.bytes_added < 5 << 20, "{:?}", first.counts);
        assert_newest_is(&world, &repository, &tree).await;
        change(&mut bytes, [8192 + 5_000, 8192 + 5_002], 2);
        tree.put("long", file(bytes.clone()));
        let second = keep(&world, &repository, &tree).await;
        let added = second.counts.bytes_added - 2 * BLOCK as u64;
        assert!(added < pages_most(8192, 40), "the leaf of one stretch: {added}");
        assert_newest_is(&world, &repository, &tree).await;
        // It shrinks to the end of a stretch, and grows again.
        bytes.truncate(stretch);
        tree.put("long", file(bytes.clone()));
        let third = keep(&world, &repository, &tree).await;
        assert!(third.counts.bytes_added < pages_most(0, 0), "{:?}", third.counts);
        assert_newest_is(&world, &repository, &tree).await;
        bytes.extend(noise(9, 2 * BLOCK));
        tree.put("long", file(bytes));
        let added = keep(&world, &repository, &tree).await.counts.bytes_added;
        assert!(added < 2 * BLOCK as u64 + pages_most(2, 2), "{added}");
        assert_newest_is(&world, &repository, &tree).await;
        world.assert_sound(&repository).await;
    });
}

fn some_files() -> Tree {
    let mut tree = Tree::default();
    for number in 0..3 {
        tree.put(&format!("base/{number}"), file(noise(number, 60 * BLOCK)));
    }
    tree
}

fn touch(tree: &mut Tree, salt: u64) {
    for number in 0..3 {
        let path = format!("base/{number}");
        let mut bytes = content(tree, &path);
        change(&mut bytes, [salt as usize % 60], salt);
        tree.put(&path, file(bytes));
    }
}

/// What three changed blocks may add.
fn little() -> u64 {
    3 * BLOCK as u64 + pages_most(3 * 60, 3)
}

fn map_of(world: &World) -> PathBuf {
    let maps = cache_files(world).into_iter().filter(|path| path.parent().unwrap().ends_with("blocks"));
    let maps: Vec<_> = maps.collect();
    assert_eq!(maps.len(), 1, "{maps:?}");
    maps[0].clone()
}

#[test]
fn a_map_that_is_lost_is_made_anew_from_the_last_snapshot() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = some_files();
        keep(&world, &repository, &tree).await;
        for round in 0..4 {
            match round {
                0 => {}
                1 => std::fs::remove_file(map_of(&world)).unwrap(),
                2 => cache_files(&world).iter().for_each(|path| std::fs::remove_file(path).unwrap()),
                _ => {
                    let stat =
                        cache_files(&world).into_iter().find(|path| path.parent().unwrap().ends_with("stat"));
                    std::fs::remove_file(stat.unwrap()).unwrap();
                }
            }
            touch(&mut tree, 1 + round);
            let report = keep(&world, &repository, &tree).await;
            assert!(report.counts.bytes_added < little(), "{round}: {:?}", report.counts);
            assert_eq!(world.take_warnings(), [] as [&str; 0], "{round}");
            assert_newest_is(&world, &repository, &tree).await;
            map_of(&world);
        }
        world.assert_sound(&repository).await;
    });
}

#[test]
fn a_map_that_is_damaged_anywhere_costs_bytes_and_never_a_wrong_snapshot() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = some_files();
        keep(&world, &repository, &tree).await;
        let whole = std::fs::read(map_of(&world)).unwrap();
        let before = world.fork(2);
        touch(&mut tree, 1);
        let mut damaged: Vec<Vec<u8>> = (0..whole.len())
            .step_by(whole.len() / 40)
            .map(|at| {
                let mut bytes = whole.clone();
                bytes[at] ^= 4;
                bytes
            })
            .collect();
        damaged.extend([0, 1, 100, whole.len() / 2, whole.len() - 1].map(|end| whole[..end].to_vec()));
        damaged.push([&whole[..], b"more"].concat());
        let mut told = 0;
        for (number, bytes) in damaged.into_iter().enumerate() {
            let world = before.fork(100 + number as u64);
            let repository = world.open().await;
            std::fs::write(map_of(&world), bytes).unwrap();
            let report = keep(&world, &repository, &tree).await;
            let warnings = world.take_warnings();
            if warnings.is_empty() {
                assert!(report.counts.bytes_added < little(), "{:?}", report.counts);
            } else {
                assert!(warnings[0].contains("parts of the block map"), "{warnings:?}");
                told += 1;
            }
            assert_newest_is(&world, &repository, &tree).await;
        }
        assert!(told > 10, "{told}");
    });
}

#[test]
fn a_last_snapshot_that_cannot_be_read_is_told_of_before_all_is_stored_again() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = some_files();
        keep(&world, &repository, &tree).await;
        cache_files(&world).iter().for_each(|path| std::fs::remove_file(path).unwrap());
        for key in world.names("packs/tree/") {
            let mut bytes = world.store.remove_raw(&key).unwrap().to_vec();
            bytes[1400..].iter_mut().take(60_000).for_each(|byte| *byte ^= 1);
            world.store.insert_raw(key, bytes);
        }
        touch(&mut tree, 1);
        let source = ModelSource::new(&tree).of_blocks();
        let outcome = world.backup(&repository, source).await;
        assert_eq!(outcome.problems.problems, []);
        let warnings = world.take_warnings();
        let lost: Vec<_> = warnings.iter().filter(|what| what.contains("block map")).collect();
        assert_eq!(lost.len(), 1, "{warnings:?}");
        assert!(lost[0].contains("/model") && lost[0].contains("1.4 MiB"), "{warnings:?}");
        assert_newest_is(&world, &repository, &tree).await;
        // The next one has a map again.
        touch(&mut tree, 2);
        let report = keep(&world, &repository, &tree).await;
        assert!(report.counts.bytes_added < little(), "{:?}", report.counts);
        assert_eq!(world.take_warnings(), [] as [&str; 0]);
        assert_newest_is(&world, &repository, &tree).await;
    });
}

#[test]
fn blocks_whose_chunks_are_gone_are_stored_again() {
    run(|| async {
        for index_too in [false, true] {
            let (world, repository) = World::made(Workers::inline()).await;
            let mut tree = some_files();
            keep(&world, &repository, &tree).await;
            let first: Vec<_> = world.names("packs/data/");
            touch(&mut tree, 1);
            keep(&world, &repository, &tree).await;
            if index_too {
                world.names("index/delta/").iter().for_each(|key| drop(world.store.remove_raw(key)));
            }
            first.iter().for_each(|key| drop(world.store.remove_raw(key)));
            touch(&mut tree, 2);
            let report = keep(&world, &repository, &tree).await;
            assert!(report.counts.bytes_added > tree.bytes() - little(), "{:?}", report.counts);
            assert_newest_is(&world, &repository, &tree).await;
            touch(&mut tree, 3);
            let report = keep(&world, &repository, &tree).await;
            assert!(report.counts.bytes_added < little(), "{:?}", report.counts);
            assert_newest_is(&world, &repository, &tree).await;
        }
    });
}

/// A pack that a check found damaged is quarantined: nothing relies on what lies in it.
#[test]
fn blocks_in_a_quarantined_pack_are_stored_again() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = some_files();
        keep(&world, &repository, &tree).await;
        let key = world.names("packs/data/").pop().unwrap();
        let mut bytes = world.store.remove_raw(&key).unwrap().to_vec();
        bytes[100_000] ^= 1;
        world.store.insert_raw(key, bytes);
        let options = RepairIndexOptions { read_packs: true, dry_run: false };
        repair_index(&world.ctx(), &repository, options).await.unwrap();
        touch(&mut tree, 1);
        let report = keep(&world, &repository, &tree).await;
        assert!(report.counts.bytes_added > tree.bytes() - little(), "{:?}", report.counts);
        assert_newest_is(&world, &repository, &tree).await;
    });
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

/// Maintenance knows old chunks by the leaves that refer to them.
#[test]
fn what_old_chunks_hold_for_new_snapshots_survives_forget_and_prune() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = some_files();
        let mut ids = Vec::new();
        for salt in 0..6 {
            touch(&mut tree, salt);
            ids.push(keep(&world, &repository, &tree).await.snapshot.unwrap());
        }
        let what = ForgetWhat::Snapshots(ids[..5].to_vec());
        let options = ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() };
        forget(&world.ctx(), &repository, &options).await.unwrap();
        prune(&world.ctx(), &repository, &prune_options()).await.unwrap();
        assert_newest_is(&world, &repository, &tree).await;
        world.assert_sound(&repository).await;
        touch(&mut tree, 9);
        let report = keep(&world, &repository, &tree).await;
        assert!(report.counts.bytes_added < little(), "{:?}", report.counts);
        assert_newest_is(&world, &repository, &tree).await;
        world.assert_sound(&repository).await;
        // Of the chunks of six backups less is referred to than they hold.
        let report = stats(&world.ctx(), &repository, None, StatsMode::Full).await.unwrap();
        assert_eq!(report.problems.problems, []);
        assert!(report.value.stored.unwrap().slack_bytes > 0);
    });
}

/// The last snapshot is forgotten and pruned under a run that refers to its chunks, at any call.
#[test]
fn old_chunks_that_go_away_meanwhile_are_stored_again_or_the_run_fails_cleanly() {
    run(|| async {
        let (start, repository) = World::made(Workers::inline()).await;
        let mut tree = some_files();
        for salt in 0..3 {
            touch(&mut tree, salt);
            keep(&start, &repository, &tree).await;
        }
        touch(&mut tree, 3);
        start.clock.advance(100);
        let stepped = |world: &World| {
            let (ctx, store) = (world.ctx(), Arc::new(SteppedStore(world.store.clone())));
            let (source, options) = (ModelSource::new(&tree).of_blocks().repeatable(), world.options());
            Stepped::new(async move {
                let repository = Repository::open(&ctx, store, &secret()).await?;
                backup(&ctx, &repository, Box::new(source), &options).await.map(|outcome| outcome.value)
            })
        };
        let (mut counting, mut calls) = (stepped(&start.fork(2)), 0);
        while counting.result.is_none() {
            counting.go(1);
            calls += 1;
        }
        let mut done = 0;
        for at in 0..calls {
            let world = start.fork(2);
            let mut writer = stepped(&world);
            writer.go(at);
            let repository = world.open().await;
            let living = Ctx { is_alive: |_| true, ..world.ctx() };
            let ids = world.snapshots(&repository).await.iter().map(|snapshot| snapshot.id).take(3).collect();
            let forgets = ForgetOptions {
                what: ForgetWhat::Snapshots(ids),
                allow_last: true,
                dry_run: false,
                proven: Default::default(),
            };
            let is_done = writer.result.is_some();
            if !is_done {
                forget(&living, &repository, &forgets).await.unwrap();
            }
            prune(&living, &repository, &prune_options()).await.unwrap();
            writer.go(usize::MAX);
            match writer.result.unwrap() {
                Ok(report) => {
                    done += 1;
                    let own = world.newest(&repository).await;
                    assert_eq!(Some(own.id), report.snapshot, "call {at} of {calls}");
                    world.assert_restores(&repository, &own, &tree).await;
                }
                Err(error) => assert_eq!(error.kind, ErrorKind::Conflict, "call {at}: {}", chain(&error)),
            }
            prune(&world.ctx(), &repository, &prune_options()).await.unwrap();
            world.assert_sound(&repository).await;
            for snapshot in world.snapshots(&repository).await {
                let restored = world.restore(&repository, &snapshot, &RestoreOptions::default()).await;
                assert_eq!(restored.unwrap().1.problems.problems, [], "call {at} of {calls}");
            }
        }
        assert!(done > calls / 2, "{done} of {calls}");
    });
}

/// A copy has the contents; block hashes go along where both repositories name blocks alike.
#[test]
fn copies_come_back_and_go_on() {
    for alike in [false, true] {
        run(move || async move {
            let (world, repository) = World::made(Workers::inline()).await;
            let mut tree = some_files();
            for salt in 0..3 {
                touch(&mut tree, salt);
                keep(&world, &repository, &tree).await;
            }
            let there = World::with_seed(Workers::inline(), 4_711);
            there.clock.advance(10_000);
            let identifying = alike.then(|| repository.identifying().unwrap());
            let options = InitOptions { identifying, ..World::init_options() };
            let store = Arc::new(there.store.clone());
            let dest = Repository::create(&there.ctx(), store, &secret(), &options).await.unwrap();
            let options = CopyOptions {
                dry_run: false,
                compression_level: 1,
                data_pack_bytes: holdfast_core::pack::DATA_PACK_BYTES,
            };
            let all = world.snapshots(&repository).await;
            let outcome = copy(&there.ctx(), &repository, &dest, &all, &options, &mut |_| ()).await.unwrap();
            assert_eq!(outcome.problems.problems, []);
            there.assert_sound(&dest).await;
            assert_newest_is(&there, &dest, &tree).await;
            // A backup into the copy goes on from it where it is of the same stream.
            touch(&mut tree, 7);
            let report = keep(&there, &dest, &tree).await;
            assert_eq!(report.counts.bytes_added < little(), alike, "{:?}", report.counts);
            assert_newest_is(&there, &dest, &tree).await;
            there.assert_sound(&dest).await;
        });
    }
}

/// Files change their kind: small, large, with holes, cut by content, by blocks.
#[test]
fn files_that_change_their_ways_come_back() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let large = noise(1, 60 * BLOCK);
        let sparse = || {
            let mut node = Node::sparse(vec![
                Run::Data(noise(1, 20 * BLOCK)),
                Run::Hole(1 << 20),
                Run::Data(noise(2, 77)),
            ]);
            node.ctime.seconds = i64::MAX;
            node
        };
        let ways = [
            file(large.clone()),
            file(large[..100_000].to_vec()),
            file(large.clone()),
            sparse(),
            file(large.clone()),
            sparse(),
            file(Vec::new()),
            file(large.clone()).with(Trouble::Torn(1)),
            file(large).with(Trouble::Grows),
            Node::directory(),
            sparse(),
        ];
        let mut tree = Tree::default();
        for (number, node) in ways.into_iter().enumerate() {
            tree.put("file", node);
            // Ordinary backups in between: their trees have no hashes.
            let source = ModelSource::new(&tree);
            let source = if number % 3 == 2 { source } else { source.of_blocks() };
            assert_eq!(world.backup(&repository, source).await.problems.problems, []);
            assert_newest_is(&world, &repository, &tree).await;
        }
        world.assert_sound(&repository).await;
    });
}

/// Files that are not read because nothing changed stay known block by block.
#[test]
fn a_file_that_was_passed_over_is_compared_the_next_time() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = Tree::default();
        let mut bytes = noise(1, 60 * BLOCK);
        tree.put("file", Node::file(bytes.clone()));
        for _ in 0..3 {
            keep(&world, &repository, &tree).await;
        }
        assert!(world.newest(&repository).await.summary.counts.files_unmodified == 1);
        change(&mut bytes, [5], 1);
        tree.rewrite("file", bytes, 5);
        let report = keep(&world, &repository, &tree).await;
        assert!(report.counts.bytes_added < little(), "{:?}", report.counts);
        assert_newest_is(&world, &repository, &tree).await;
        assert_eq!(world.take_warnings(), [] as [&str; 0]);
    });
}

/// Under random small updates a changed block costs little beside itself.
#[test]
fn bytes_added_for_a_changed_block() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let (mut tree, mut bytes) = (Tree::default(), noise(1, 16 << 20));
        tree.put("heap", file(bytes.clone()));
        keep(&world, &repository, &tree).await;
        let mut rng = Rng(5);
        for (share, most) in [(100, 10_300), (20, 8_800), (5, 8_400)] {
            let blocks = bytes.len() / BLOCK;
            let mut changed: Vec<_> =
                (0..blocks / share).map(|_| rng.below(blocks as u64) as usize).collect();
            changed.sort_unstable();
            changed.dedup();
            let count = changed.len() as u64;
            change(&mut bytes, changed, share as u64);
            tree.put("heap", file(bytes.clone()));
            let added = keep(&world, &repository, &tree).await.counts.bytes_added;
            assert!(added / count < most, "1 in {share}: {} bytes for each of {count} blocks", added / count);
        }
        assert_newest_is(&world, &repository, &tree).await;
    });
}
