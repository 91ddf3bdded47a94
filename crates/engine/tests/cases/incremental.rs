//! The second run does nothing twice, and believes nothing that it should not.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::trouble::cache_files;
use crate::harness::{ModelSource, Node, Reads, Tree, World, noise, run};
use holdfast_engine::error::ErrorKind;
use holdfast_engine::workers::Workers;
use holdfast_engine::{BackupOptions, BackupReport, Repository};

/// A tree that is large enough for shares of it to mean something: 4 MB.
fn some_tree() -> Tree {
    let mut tree = Tree::mixed();
    for number in 0..60 {
        tree.put(&format!("more/{number:02}"), Node::file(noise(1_000 + number, 40_000)));
    }
    tree
}

async fn reads(world: &World, repository: &Repository, tree: &Tree, options: &BackupOptions) -> Vec<String> {
    let source = ModelSource::new(tree);
    let reads: Reads = source.reads.clone();
    let outcome = world.backup_with(repository, source, options).await.unwrap();
    assert_eq!(outcome.problems.problems, []);
    world.assert_restores(repository, &world.newest(repository).await, tree).await;
    reads.take()
}

#[test]
fn nothing_that_is_unchanged_is_read_and_what_was_touched_is() {
    for workers in [Workers::inline(), Workers::pool(2)] {
        run(move || async move {
            let (world, repository) = World::made(workers).await;
            let mut tree = some_tree();
            let first = world.keep(&repository, &tree).await;
            assert_eq!(reads(&world, &repository, &tree, &world.options()).await, [] as [&str; 0]);
            let second = world.keep(&repository, &tree).await;
            assert!(second.unchanged);
            assert_eq!((second.root, second.counts.chunks_added), (first.root, 0));
            assert_eq!(second.counts.files_unmodified, tree.files());

            let now = tree.node("empty").mtime.seconds + 50;
            tree.rewrite("small/bundled 7", noise(7_000, 20_000), now);
            tree.rewrite("large/noise", noise(7_001, 900_000), now);
            tree.put("new", Node::file("new"));
            let tree = tree.without("edge/at");
            let read = reads(&world, &repository, &tree, &world.options()).await;
            assert_eq!(read, ["large/noise", "new", "small/bundled 7"]);
            let counts = world.newest(&repository).await.summary.counts;
            assert_eq!((counts.files_new, counts.files_changed), (1, 2));
            assert_eq!(counts.files, tree.files());
        });
    }
}

#[test]
fn attributes_alone_make_an_item_be_read_again() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = some_tree();
        world.keep(&repository, &tree).await;
        tree.node("small/inline").mode = 0o600;
        tree.node("link").owner = std::sync::Arc::default();
        tree.node("small").mtime.nanos += 1;
        let read = reads(&world, &repository, &tree, &world.options()).await;
        assert_eq!(read, ["link", "small", "small/inline"]);
    });
}

#[test]
fn a_file_that_changed_just_before_its_reading_is_read_again() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = Tree::default();
        for age in [1, 59, 60, 61] {
            let reading = world.clock_seconds() + 100;
            for folder in ["large", "small"] {
                let length = if folder == "large" { 300_000 } else { 900 };
                tree.put(&format!("{folder}/{age}"), Node::file(""));
                tree.rewrite(&format!("{folder}/{age}"), noise(1, length), reading - age);
            }
            // What is no file has no content that could change.
            tree.put(&format!("link {age}"), Node::symlink(b"x"));
            tree.node(&format!("link {age}")).ctime.seconds = reading - age;
        }
        let _ = world.backup(&repository, ModelSource::new(&tree).settling_in(60)).await;
        let source = ModelSource::new(&tree).settling_in(60);
        let read = source.reads.clone();
        let _ = world.backup(&repository, source).await;
        let files = ["large/1", "large/59", "large/60"];
        assert_eq!(read.take(), [&files[..], &["link 1", "small/1", "small/59", "small/60"]].concat());
    });
}

#[test]
fn a_file_that_changed_within_two_seconds_of_its_reading_is_read_again() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = Tree::default();
        for (name, age) in [("a 3 s old", 3), ("b 2 s old", 2), ("c 1 s old", 1), ("d now", 0)] {
            for (size, length) in [("small", 900), ("large", 300_000)] {
                tree.put(&format!("{size} {name}"), Node::file(""));
                let reading = world.clock_seconds() + 100;
                tree.rewrite(&format!("{size} {name}"), noise(1, length), reading - age);
            }
        }
        world.keep(&repository, &tree).await;
        // The same length, the same tick: nothing that the listing tells has changed.
        for name in ["small d now", "large d now"] {
            let (length, seconds) = (tree.node(name).size() as usize, tree.node(name).mtime.seconds);
            tree.rewrite(name, noise(2, length), seconds);
        }
        let read = reads(&world, &repository, &tree, &world.options()).await;
        let fresh = ["large b 2 s old", "large c 1 s old", "large d now"];
        let small = ["small b 2 s old", "small c 1 s old", "small d now"];
        assert_eq!(read, [fresh, small].concat());
        assert_eq!(reads(&world, &repository, &tree, &world.options()).await, [] as [&str; 0]);
    });
}

#[test]
fn change_times_and_inodes_count_unless_they_are_ignored() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = some_tree();
        world.keep(&repository, &tree).await;
        tree.node("small/inline").ctime.seconds += 1;
        tree.node("small/bundled 3").inode += 1_000_000;
        let (ctime, inode) = ("small/inline", "small/bundled 3");
        let options = BackupOptions { ignore_ctime: true, ignore_inode: true, ..world.options() };
        assert_eq!(reads(&world, &repository, &tree, &options).await, [] as [&str; 0]);
        let options = BackupOptions { ignore_ctime: true, ..world.options() };
        assert_eq!(reads(&world, &repository, &tree, &options).await, [inode]);
        assert_eq!(reads(&world, &repository, &tree, &world.options()).await, [ctime]);
        let everything = tree.0.len();
        let options = BackupOptions { force: true, ..world.options() };
        let links = 1;
        assert_eq!(reads(&world, &repository, &tree, &options).await.len(), everything - links);
    });
}

async fn added_share(report: &BackupReport, tree: &Tree) -> f64 {
    report.counts.bytes_added as f64 / tree.bytes() as f64
}

#[test]
fn without_its_cache_a_run_reads_everything_and_adds_next_to_nothing() {
    for workers in [Workers::inline(), Workers::pool(2)] {
        run(move || async move {
            let (world, repository) = World::made(workers).await;
            let tree = some_tree();
            let first = world.keep(&repository, &tree).await;
            cache_files(&world).iter().for_each(|path| std::fs::remove_file(path).unwrap());
            let source = ModelSource::new(&tree);
            let reads = source.reads.clone();
            let second = world.backup(&repository, source).await.value;
            assert!(reads.take().len() >= tree.files() as usize - 1);
            assert_eq!(second.root, first.root);
            assert!(added_share(&second, &tree).await < 0.03, "{:?}", second.counts);
            assert!(second.unchanged);
            // Without any cache at all bundles are the same, since contents decide.
            let third =
                world.backup_with(&repository, ModelSource::new(&tree), &World::bare()).await.unwrap();
            assert_eq!(third.value.root, first.root);
        });
    }
}

#[test]
fn a_cache_that_is_damaged_anywhere_is_a_warning_and_never_a_wrong_snapshot() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = Tree::default();
        for number in 0..70 {
            tree.put(&format!("{number}"), Node::file(noise(number, 700)));
        }
        tree.put("large", Node::file(noise(2, 300_000)));
        world.keep(&repository, &tree).await;
        let path = cache_files(&world).pop().unwrap();
        let whole = std::fs::read(&path).unwrap();
        world.take_warnings();
        let dry = BackupOptions { dry_run: true, ..world.options() };
        let mut damaged = Vec::new();
        let step = whole.len() / 23;
        damaged.extend((0..whole.len()).step_by(step).chain(whole.len() - 90..whole.len()).map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            bytes
        }));
        damaged.extend([0, 1, 100, 200, whole.len() / 2, whole.len() - 1].map(|end| whole[..end].to_vec()));
        damaged.push([&whole[..], b"more"].concat());
        for bytes in damaged {
            std::fs::write(&path, &bytes).unwrap();
            let source = ModelSource::new(&tree);
            let reads = source.reads.clone();
            let outcome = world.backup_with(&repository, source, &dry).await.unwrap();
            assert_eq!(reads.take().len(), tree.0.len());
            assert_eq!(world.take_warnings().len(), 1);
            assert!(outcome.value.unchanged);
        }
        std::fs::write(&path, &whole[..100]).unwrap();
        world.keep(&repository, &tree).await;
        world.assert_restores(&repository, &world.newest(&repository).await, &tree).await;
        assert_eq!(reads(&world, &repository, &tree, &world.options()).await, [] as [&str; 0]);
    });
}

#[test]
fn a_cache_of_another_source_or_repository_is_not_believed() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let tree = some_tree();
        world.keep(&repository, &tree).await;
        let own = cache_files(&world).pop().unwrap();
        let other = ModelSource::new(&tree).of("host", "/other");
        let _ = world.backup(&repository, other).await;
        let others = cache_files(&world).into_iter().find(|path| *path != own).unwrap();
        std::fs::copy(&own, &others).unwrap();
        world.take_warnings();
        let source = ModelSource::new(&tree).of("host", "/other");
        let reads = source.reads.clone();
        let _ = world.backup(&repository, source).await;
        assert!(reads.take().len() > 100);
        assert_eq!(world.take_warnings().len(), 1);

        let elsewhere = World::with_seed(Workers::inline(), 5);
        let second = elsewhere.create().await;
        elsewhere.keep(&second, &Tree::default()).await;
        std::fs::copy(&own, cache_files(&elsewhere).pop().unwrap()).unwrap();
        elsewhere.keep(&second, &tree).await;
        assert_eq!(elsewhere.take_warnings().len(), 1);
        elsewhere.assert_restores(&second, &elsewhere.newest(&second).await, &tree).await;
        elsewhere.assert_sound(&second).await;
    });
}

#[test]
fn a_cache_that_cannot_be_written_is_a_warning() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let tree = some_tree();
        let file = world.cache.path().join("file");
        std::fs::write(&file, "no folder").unwrap();
        for order in 0..3 {
            let options = BackupOptions { cache_dir: Some(file.join("below")), ..World::bare() };
            let source = ModelSource::new(&tree);
            let source = if order == 1 { source.arrival(1) } else { source };
            let outcome = world.backup_with(&repository, source, &options).await.unwrap();
            assert_eq!(outcome.problems.problems, []);
            assert!(!world.take_warnings().is_empty());
            world.assert_restores(&repository, &world.newest(&repository).await, &tree).await;
        }
    });
}

#[test]
fn renamed_files_are_known_by_their_contents() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let tree = some_tree();
        world.keep(&repository, &tree).await;
        let mut renamed = Tree::default();
        for (number, (key, node)) in tree.0.iter().rev().enumerate() {
            let mut node = node.clone();
            node.ctime.seconds += 60;
            renamed.0.insert([format!("moved {number:03} ").as_bytes(), key].concat(), node);
        }
        let report = world.keep(&repository, &renamed).await;
        assert!(added_share(&report, &tree).await < 0.03, "{:?}", report.counts);
        world.assert_restores(&repository, &world.newest(&repository).await, &renamed).await;
    });
}

#[test]
fn files_of_a_bundle_that_is_mostly_unused_are_bundled_anew() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = Tree::default();
        for number in 0..100 {
            tree.put(&format!("{number:02}"), Node::file(noise(number, 10_000)));
        }
        world.keep(&repository, &tree).await;
        for number in 0..100 {
            if number % 5 != 0 {
                tree = tree.without(&format!("{number:02}"));
            }
        }
        // One run late, as the review says.
        assert_eq!(reads(&world, &repository, &tree, &world.options()).await, [] as [&str; 0]);
        let read = reads(&world, &repository, &tree, &world.options()).await;
        assert_eq!(read.len() as u64, tree.files());
        assert_eq!(reads(&world, &repository, &tree, &world.options()).await, [] as [&str; 0]);
        let report = world.keep(&repository, &tree).await;
        assert!(report.unchanged);
    });
}

#[test]
fn chunks_that_the_repository_lost_are_stored_again() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let tree = some_tree();
        world.keep(&repository, &tree).await;
        for key in [world.names("index/delta/"), world.names("packs/data/")].concat() {
            world.store.remove_raw(&key);
        }
        let report = world.keep(&repository, &tree).await;
        assert!(report.counts.bytes_added >= tree.bytes() / 2);
        world.assert_restores(&repository, &world.newest(&repository).await, &tree).await;
    });
}

#[test]
fn a_run_that_changes_nothing_is_skipped_on_request() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = some_tree();
        let options = BackupOptions { skip_if_unchanged: true, ..world.options() };
        let first = world.backup_with(&repository, ModelSource::new(&tree), &options).await.unwrap();
        assert!(first.value.snapshot.is_some());
        let second = world.backup_with(&repository, ModelSource::new(&tree), &options).await.unwrap();
        assert_eq!((second.value.snapshot, second.value.unchanged), (None, true));
        assert_eq!(world.snapshots(&repository).await.len(), 1);
        let open = world.names("sessions/").iter().filter(|name| name.as_str().ends_with("/begin")).count();
        let ended = world.names("sessions/").iter().filter(|name| name.as_str().ends_with("/end")).count();
        assert_eq!((open, ended), (2, 2));
        tree.put("new", Node::file("new"));
        let third = world.backup_with(&repository, ModelSource::new(&tree), &options).await.unwrap();
        assert!(third.value.snapshot.is_some());
        world.assert_sound(&repository).await;
    });
}

#[test]
fn a_dry_run_counts_and_stores_nothing() {
    for workers in [Workers::inline(), Workers::pool(2)] {
        run(move || async move {
            let (world, repository) = World::made(workers).await;
            let tree = some_tree();
            let before = world.store.objects().len();
            let options = BackupOptions { dry_run: true, ..world.options() };
            let dry = world.backup_with(&repository, ModelSource::new(&tree), &options).await.unwrap().value;
            assert_eq!(world.store.objects().len(), before);
            assert_eq!(dry.snapshot, None);
            assert_eq!(cache_files(&world), [] as [std::path::PathBuf; 0]);
            let real = world.keep(&repository, &tree).await;
            assert_eq!(dry.root, real.root);
            assert_eq!(dry.counts.bytes_added, real.counts.bytes_added);
            assert_eq!(dry.counts.chunks_added, real.counts.chunks_added);
        });
    }
}

#[test]
fn a_stated_parent_is_compared_with() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = some_tree();
        let first = world.keep(&repository, &tree).await.snapshot.unwrap();
        tree.put("new", Node::file("new"));
        let second = world.keep(&repository, &tree).await;
        assert_eq!(second.parent, Some(first));
        let options = BackupOptions { parent: Some(first), ..world.options() };
        let third = world.backup_with(&repository, ModelSource::new(&tree), &options).await.unwrap().value;
        assert_eq!((third.parent, third.root), (Some(first), second.root));
        let unknown = holdfast_core::id::SessionId([9; 16]);
        let options = BackupOptions { parent: Some(unknown), ..world.options() };
        let failed = world.backup_with(&repository, ModelSource::new(&tree), &options).await.unwrap_err();
        assert_eq!(failed.kind, ErrorKind::NotFound);
    });
}
