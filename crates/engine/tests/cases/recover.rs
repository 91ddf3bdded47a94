//! Snapshots whose records or trees are damaged, and trees that no snapshot refers to.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{ModelSource, Node, START_SECONDS, Tree, World, noise, run};
use holdfast_engine::error::ErrorKind;
use holdfast_engine::maintain::{
    MaxUnused, PruneOptions, REPAIRED_TAG, RecoverOptions, RecoverReport, RepairIndexOptions,
    RepairSnapshotsOptions, RepairSnapshotsReport, forgotten, prune, recover, repair_index, repair_snapshots,
};
use holdfast_engine::workers::Workers;
use holdfast_engine::{Repository, RestoreOptions, details};
use holdfast_store::Key;

const PRUNE: PruneOptions = PruneOptions {
    max_unused: MaxUnused::Percent(0.0),
    max_repack_bytes: None,
    min_age_seconds: Some(0),
    abort_after_seconds: 72 * 3600,
    dry_run: false,
};

/// A tree of several pages.
fn tree(salt: u64) -> Tree {
    let mut tree = Tree::default();
    for number in 0..900u64 {
        let content = if number % 100 == 0 { noise(salt * 1000 + number, 400) } else { Vec::new() };
        tree.put(&format!("{}/a file with a long name {number:04}", number / 300), Node::file(content));
    }
    for node in tree.0.values_mut() {
        node.mtime.seconds = START_SECONDS - 10_000 + salt as i64;
        node.ctime = node.mtime;
    }
    tree
}

async fn found(world: &World, repository: &Repository, dry_run: bool) -> RecoverReport {
    recover(&world.ctx(), repository, RecoverOptions { dry_run }).await.unwrap()
}

async fn repaired(world: &World, repository: &Repository, forget: bool) -> RepairSnapshotsReport {
    let options = RepairSnapshotsOptions { forget, dry_run: false };
    repair_snapshots(&world.ctx(), repository, options).await.unwrap()
}

/// Takes away objects of sessions.
fn remove(world: &World, prefix: &str, ending: &str) {
    for key in world.names(prefix).into_iter().filter(|key| key.as_str().ends_with(ending)) {
        world.store.remove_raw(&key);
    }
}

#[test]
fn the_tree_of_a_run_that_was_killed_before_its_commit_is_recovered() {
    run(|| async {
        for without_delta in [false, true] {
            let (world, repository) = World::made(Workers::inline()).await;
            world.keep(&repository, &tree(1)).await;
            remove(&world, "sessions/", "/end");
            if without_delta {
                remove(&world, "index/delta/", "");
            }
            assert!(world.snapshots(&repository).await.is_empty());
            let before = world.store.objects();
            let planned = found(&world, &repository, true).await;
            assert_eq!(world.store.objects(), before);
            let report = found(&world, &repository, false).await;
            assert_eq!((planned.trees.len(), report.trees.len()), (1, 1), "{report:?}");
            let made = &report.trees[0];
            assert_eq!((made.counts.files, made.counts.bytes), (tree(1).files(), tree(1).bytes()));
            let snapshot = world.newest(&repository).await;
            assert_eq!(Some(snapshot.id), made.snapshot);
            assert_eq!(snapshot.summary.tags, ["recovered"]);
            assert!(snapshot.summary.incomplete);
            world.assert_restores(&repository, &snapshot, &tree(1)).await;
            world.assert_sound(&repository).await;
            // Nothing is found twice, and what was found stays.
            assert_eq!(found(&world, &repository, false).await.trees, []);
            for _ in 0..3 {
                prune(&world.ctx(), &repository, &PRUNE).await.unwrap();
            }
            world.assert_restores(&repository, &snapshot, &tree(1)).await;
            world.assert_sound(&repository).await;
        }
    });
}

#[test]
fn trees_that_share_pages_with_others_are_recovered_beside_them() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        world.keep(&repository, &tree(1)).await;
        let first: Vec<Key> = world.names("sessions/");
        let mut second = tree(1);
        second.rewrite("1/a file with a long name 0333", noise(9, 2_000), START_SECONDS - 5_000);
        world.keep(&repository, &second).await;
        for key in world.names("sessions/").into_iter().filter(|key| !first.contains(key)) {
            if key.as_str().ends_with("/end") {
                world.store.remove_raw(&key);
            }
        }
        let report = found(&world, &repository, false).await;
        assert_eq!(report.trees.len(), 1, "{report:?}");
        let snapshots = world.snapshots(&repository).await;
        assert_eq!(snapshots.len(), 2);
        world.assert_restores(&repository, &snapshots[0], &tree(1)).await;
        world.assert_restores(&repository, &snapshots[1], &second).await;
        world.assert_sound(&repository).await;
    });
}

#[test]
fn of_a_tree_that_was_not_finished_nothing_is_committed() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        // Without contents no entry waits for an open bundle, so pages are written as they fill.
        let mut empty = tree(1);
        empty.0.values_mut().for_each(|node| node.runs.clear());
        let source = ModelSource::new(&empty).failing_after(890).batches_of(10);
        world.backup_with(&repository, source, &World::bare()).await.unwrap_err();
        assert!(!world.names("packs/tree/").is_empty(), "it has left pages");
        let before = world.store.objects();
        let report = found(&world, &repository, false).await;
        assert!(report.trees.iter().all(|tree| tree.snapshot.is_none() && tree.trouble.is_some()));
        assert!(!report.trees.is_empty());
        assert_eq!(world.store.objects(), before);
        // And the next backup uses what is there.
        world.keep(&repository, &empty).await;
        world.assert_restores(&repository, &world.newest(&repository).await, &empty).await;
        assert_eq!(found(&world, &repository, false).await.trees, []);
    });
}

#[test]
fn a_record_that_cannot_be_read_stops_a_prune_until_it_is_repaired() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let first = world.keep(&repository, &tree(1)).await.snapshot.unwrap();
        let second = world.keep(&repository, &tree(2)).await.snapshot.unwrap();
        let ends = world.names("sessions/").into_iter().filter(|key| key.as_str().ends_with("/end"));
        let key = ends.into_iter().find(|key| key.as_str().contains(&second.to_string())).unwrap();
        let whole = world.store.objects()[&key].clone();
        world.store.insert_raw(key.clone(), whole.slice(..whole.len() - 1));
        let stopped = prune(&world.ctx(), &repository, &PRUNE).await.unwrap_err();
        assert_eq!(stopped.kind, ErrorKind::Damaged);
        assert!(stopped.to_string().contains("holdfast repair snapshots"), "{stopped}");
        let dry = RepairSnapshotsOptions { dry_run: true, ..RepairSnapshotsOptions::default() };
        let before = world.store.objects();
        let planned = repair_snapshots(&world.ctx(), &repository, dry).await.unwrap();
        assert_eq!((planned.unreadable_ends.len(), planned.root), (1, None));
        assert_eq!(world.store.objects(), before);
        let report = repaired(&world, &repository, false).await;
        assert_eq!((report.unreadable_ends.len(), report.damaged.len()), (1, 0));
        assert_eq!(report.unreadable_ends[0].object, key.as_str());
        // It may be put back.
        let undone = world.fork(2);
        undone.store.insert_raw(key, whole);
        let opened = undone.open().await;
        assert_eq!(forgotten(&undone.ctx(), &opened).await.unwrap()[0].id, second);
        // Or its tree is recovered.
        let report = found(&world, &repository, false).await;
        assert_eq!(report.trees.len(), 1, "{report:?}");
        for _ in 0..3 {
            prune(&world.ctx(), &repository, &PRUNE).await.unwrap();
        }
        let snapshots = world.snapshots(&repository).await;
        assert_eq!(
            snapshots.iter().map(|snapshot| snapshot.id).collect::<Vec<_>>(),
            [first, report.trees[0].snapshot.unwrap()]
        );
        world.assert_restores(&repository, &snapshots[0], &tree(1)).await;
        world.assert_restores(&repository, &snapshots[1], &tree(2)).await;
        world.assert_sound(&repository).await;
    });
}

#[test]
fn a_lost_record_of_what_others_were_compared_with_is_not_aborted() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let first = world.keep(&repository, &tree(1)).await.snapshot.unwrap();
        world.keep(&repository, &tree(1)).await;
        let is_end = |key: &Key| key.as_str().ends_with(&format!("{first}/end"));
        let key = world.names("sessions/").into_iter().find(is_end).unwrap();
        let whole = world.store.remove_raw(&key).unwrap();
        let stopped = prune(&world.ctx(), &repository, &PRUNE).await.unwrap_err();
        assert_eq!(stopped.kind, ErrorKind::Damaged, "{stopped}");
        let undone = world.fork(2);
        undone.store.insert_raw(key, whole);
        assert_eq!(undone.snapshots(&undone.open().await).await.len(), 2);
        // What others took from it is in no index any more: that comes first.
        let options = RepairSnapshotsOptions::default();
        let refused = repair_snapshots(&world.ctx(), &repository, options).await.unwrap_err();
        assert!(refused.to_string().contains("holdfast repair index"), "{refused}");
        let report = repair_index(&world.ctx(), &repository, RepairIndexOptions::default()).await.unwrap();
        assert_eq!((report.lost_chunks, report.packs_indexed > 0), (0, true), "{report:?}");
        let report = repaired(&world, &repository, false).await;
        assert_eq!((report.unreadable_ends.len(), report.damaged.len()), (1, 0));
        prune(&world.ctx(), &repository, &PRUNE).await.unwrap();
        world.assert_restores(&repository, &world.newest(&repository).await, &tree(1)).await;
        world.assert_sound(&repository).await;
    });
}

/// Loses the pages of the first of two snapshots, with most of the second one's.
async fn torn() -> (World, Repository, Tree) {
    let (world, repository) = World::made(Workers::inline()).await;
    world.keep(&repository, &tree(1)).await;
    let first = world.names("packs/tree/");
    let mut second = tree(1);
    second.rewrite("1/a file with a long name 0333", noise(9, 2_000), START_SECONDS - 5_000);
    world.keep(&repository, &second).await;
    first.iter().for_each(|key| drop(world.store.remove_raw(key)));
    (world, repository, second)
}

#[test]
fn what_is_left_of_a_torn_tree_becomes_a_snapshot() {
    run(|| async {
        for forget in [false, true] {
            let (world, repository, second) = torn().await;
            let old = world.newest(&repository).await;
            repair_index(&world.ctx(), &repository, RepairIndexOptions::default()).await.unwrap();
            assert_eq!(prune(&world.ctx(), &repository, &PRUNE).await.unwrap_err().kind, ErrorKind::Damaged);
            let before = world.store.objects();
            let dry = RepairSnapshotsOptions { dry_run: true, forget };
            let planned = repair_snapshots(&world.ctx(), &repository, dry).await.unwrap();
            assert_eq!(world.store.objects(), before);
            let report = repaired(&world, &repository, forget).await;
            assert_eq!((planned.damaged.len(), report.damaged.len()), (2, 2), "{report:?}");
            let damaged = report.damaged.iter().find(|damaged| damaged.snapshot.id == old.id).unwrap();
            assert!(damaged.lost_count > 0 && damaged.left.files > 10, "{damaged:?}");
            let shown = world.snapshots(&repository).await;
            let made = shown.iter().find(|snapshot| Some(snapshot.id) == damaged.repaired).unwrap();
            assert!(made.summary.incomplete && made.summary.tags.contains(&REPAIRED_TAG.to_owned()));
            assert_eq!(shown.iter().any(|snapshot| snapshot.id == old.id), !forget);
            let told = details(&world.ctx(), &repository, made).await.unwrap();
            assert!(!told.problems.is_empty());
            let (restored, outcome) =
                world.restore(&repository, made, &RestoreOptions::default()).await.unwrap();
            assert_eq!(outcome.problems.problems, []);
            let absent = restored.assert_no_wrong_bytes(&second);
            assert!(absent.len() < second.0.len() - 10, "{}", absent.len());
            // Of the first one nothing is left.
            let nothing = report.damaged.iter().find(|damaged| damaged.snapshot.id != old.id).unwrap();
            assert_eq!((nothing.repaired, nothing.left.files), (None, 0));
            if forget {
                for _ in 0..3 {
                    prune(&world.ctx(), &repository, &PRUNE).await.unwrap();
                }
                world.assert_sound(&repository).await;
                assert_eq!(repaired(&world, &repository, false).await.damaged.len(), 0);
            } else {
                let again = repaired(&world, &repository, false).await;
                assert!(again.damaged.iter().all(|damaged| !damaged.is_new));
                assert_eq!(world.snapshots(&repository).await.len(), shown.len());
            }
        }
    });
}

#[test]
fn a_torn_tree_is_healed_by_the_next_backup_of_the_same_data() {
    run(|| async {
        let (world, repository, second) = torn().await;
        let old = world.newest(&repository).await;
        repair_index(&world.ctx(), &repository, RepairIndexOptions::default()).await.unwrap();
        for tree in [&tree(1), &second] {
            world.keep(&repository, tree).await;
        }
        world.assert_restores(&repository, &old, &second).await;
        let report = repaired(&world, &repository, true).await;
        assert_eq!((report.damaged.len(), report.snapshots), (0, 4));
        prune(&world.ctx(), &repository, &PRUNE).await.unwrap();
        world.assert_sound(&repository).await;
    });
}

#[test]
fn files_whose_contents_are_lost_are_left_out_and_named() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = Tree::default();
        tree.put("whole", Node::file("inline"));
        tree.put("lost", Node::file(noise(1, 200_000)));
        world.keep(&repository, &tree).await;
        remove(&world, "packs/data/", "");
        let report = repair_index(&world.ctx(), &repository, RepairIndexOptions::default()).await.unwrap();
        assert_eq!(report.lost_files.iter().map(|file| file.path.clone()).collect::<Vec<_>>(), [b"/lost"]);
        let report = repaired(&world, &repository, true).await;
        assert_eq!(report.damaged[0].lost[0].path, b"/lost");
        let made = world.newest(&repository).await;
        world.assert_restores(&repository, &made, &tree.without("lost")).await;
        assert_eq!((made.summary.counts.files, made.summary.counts.bytes), (1, 6));
        for _ in 0..3 {
            prune(&world.ctx(), &repository, &PRUNE).await.unwrap();
        }
        world.assert_sound(&repository).await;
    });
}

/// Its end is damaged, and a root knows its summary.
#[test]
fn a_snapshot_without_its_record_is_made_anew() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let id = world.keep(&repository, &tree(1)).await.snapshot.unwrap();
        prune(&world.ctx(), &repository, &PRUNE).await.unwrap();
        prune(&world.ctx(), &repository, &PRUNE).await.unwrap();
        remove(&world, "sessions/", "/end");
        let report = repaired(&world, &repository, true).await;
        assert_eq!(report.damaged.len(), 1, "{report:?}");
        assert!(report.damaged[0].record.is_some() && report.damaged[0].lost_count == 0);
        assert_eq!(report.forgotten, [id]);
        let made = world.newest(&repository).await;
        assert!(!made.summary.incomplete);
        world.assert_restores(&repository, &made, &tree(1)).await;
        details(&world.ctx(), &repository, &made).await.unwrap();
        for _ in 0..3 {
            prune(&world.ctx(), &repository, &PRUNE).await.unwrap();
        }
        world.assert_restores(&repository, &made, &tree(1)).await;
        world.assert_sound(&repository).await;
    });
}
