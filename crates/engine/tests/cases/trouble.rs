//! Items that vanish, change, fail or panic; sources and stores that give up; a stop in the middle.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{ModelSource, Node, Run, Tree, Trouble, World, chain, noise, run};
use holdfast_core::entry::path_to_key;
use holdfast_engine::error::ErrorKind;
use holdfast_engine::outcome::{NoticeKind, ProblemKind, Problems};
use holdfast_engine::source::Source;
use holdfast_engine::workers::Workers;
use holdfast_engine::{ReadData, backup, check, details};
use holdfast_store::fault::{Fault, Operation};
use holdfast_store::{ErrorKind as StoreErrorKind, FaultStore};
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn pools() -> [Workers; 3] {
    [Workers::inline(), Workers::pool(1), Workers::pool(2)]
}

fn problems(found: &Problems) -> Vec<(String, ProblemKind)> {
    let path = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    found.problems.iter().map(|problem| (path(&problem.path), problem.kind)).collect()
}

fn notices(found: &Problems) -> Vec<(String, NoticeKind)> {
    let path = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    found.notices.iter().map(|notice| (path(&notice.path), notice.kind)).collect()
}

const LARGE: usize = 400_000;

#[test]
fn each_item_that_cannot_be_read_as_it_is_is_told_and_the_others_are_kept() {
    for workers in pools() {
        run(move || async move {
            let (world, repository) = World::made(workers).await;
            let mut tree = Tree::default();
            for (size, length) in [("large", LARGE), ("small", 5_000)] {
                let mut put = |name: &str, trouble| {
                    tree.put(&format!("{size}/{name}"), Node::file(noise(1, length)).with(trouble));
                };
                put("a calm", Trouble::None);
                put("b vanishes", Trouble::Vanishes);
                put("c unreadable", Trouble::Unreadable);
                put("d torn once", Trouble::Torn(1));
                put("e torn twice", Trouble::Torn(2));
                put("f torn always", Trouble::Torn(9));
                put("g grows", Trouble::Grows);
                put("h calm", Trouble::None);
                put("m stale twice", Trouble::Stale(2));
                put("n stale always", Trouble::Stale(9));
                put("o grows and goes", Trouble::GrowsAndGoes);
                put("p grows and moves", Trouble::GrowsAndMoves);
                put("q torn and goes", Trouble::TornAndGoes);
            }
            tree.put("large/i breaks off", Node::file(noise(1, 3 << 20)).with(Trouble::BreaksOff));
            tree.put("large/j was small", Node::file(noise(4, LARGE)).with(Trouble::ListedAs(100)));
            tree.put("large/k was large", Node::file(noise(5, 100)).with(Trouble::ListedAs(1 << 20)));
            let outcome = world.backup(&repository, ModelSource::new(&tree)).await;
            let (unreadable, torn) = (ProblemKind::Unreadable, ProblemKind::Torn);
            let expected = [
                ("/large/c unreadable", unreadable),
                ("/large/f torn always", torn),
                ("/large/i breaks off", unreadable),
                ("/large/n stale always", unreadable),
                ("/large/q torn and goes", torn),
                ("/small/c unreadable", unreadable),
                ("/small/f torn always", torn),
                ("/small/n stale always", unreadable),
                ("/small/q torn and goes", torn),
            ];
            assert_eq!(problems(&outcome.problems), expected.map(|(path, kind)| (path.to_owned(), kind)));
            let expected = [
                ("/large/b vanishes", NoticeKind::Vanished),
                ("/large/g grows", NoticeKind::Grown),
                ("/large/o grows and goes", NoticeKind::Grown),
                ("/large/p grows and moves", NoticeKind::Grown),
                ("/small/b vanishes", NoticeKind::Vanished),
                ("/small/g grows", NoticeKind::Grown),
                ("/small/o grows and goes", NoticeKind::Grown),
                ("/small/p grows and moves", NoticeKind::Grown),
            ];
            assert_eq!(notices(&outcome.problems), expected.map(|(path, kind)| (path.to_owned(), kind)));

            for path in ["b vanishes", "c unreadable", "n stale always"] {
                tree.0.remove(&path_to_key(format!("large/{path}").as_bytes()));
                tree.0.remove(&path_to_key(format!("small/{path}").as_bytes()));
            }
            tree.0.remove(&path_to_key(b"large/i breaks off"));
            let snapshot = world.newest(&repository).await;
            assert!(snapshot.summary.incomplete);
            assert_eq!((snapshot.summary.problems, snapshot.summary.counts.files), (9, tree.files()));
            world.assert_restores(&repository, &snapshot, &tree).await;
            let details = details(&world.ctx(), &repository, &snapshot).await.unwrap();
            assert_eq!(details.problems.len(), 9);
            assert_eq!((details.source_record, details.facts.len()), (b"record".to_vec(), 1));
        });
    }
}

#[test]
fn what_was_torn_or_grew_is_read_again_next_time() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = Tree::default();
        tree.put("calm", Node::file(noise(1, 900)));
        tree.put("grows", Node::file(noise(2, 900)).with(Trouble::Grows));
        tree.put("torn", Node::file(noise(3, 900)).with(Trouble::Torn(3)));
        let _ = world.backup(&repository, ModelSource::new(&tree)).await;
        let source = ModelSource::new(&tree);
        let reads = source.reads.clone();
        let _ = world.backup(&repository, source).await;
        // What grew is compared with what is there by then.
        assert_eq!(reads.take(), ["grows", "grows", "torn", "torn", "torn"]);
    });
}

#[test]
fn what_is_longer_and_another_one_did_not_only_grow() {
    for workers in pools() {
        run(move || async move {
            let (world, repository) = World::made(workers).await;
            let mut tree = Tree::default();
            for (name, length) in [("inline", 100), ("large", LARGE), ("small", 9_000)] {
                tree.put(name, Node::file(noise(1, length)).with(Trouble::GrowsAnew));
            }
            let outcome = world.backup(&repository, ModelSource::new(&tree)).await;
            let torn = ["/inline", "/large", "/small"].map(|path| (path.to_owned(), ProblemKind::Torn));
            assert_eq!((problems(&outcome.problems), notices(&outcome.problems)), (torn.to_vec(), vec![]));
        });
    }
}

#[test]
fn a_folder_that_is_gone_when_it_is_examined_keeps_what_was_listed_in_it_in_place() {
    for workers in pools() {
        run(move || async move {
            let (world, repository) = World::made(workers).await;
            let mut tree = Tree::default();
            for folder in ["closed", "moved"] {
                tree.put(&format!("{folder}/inside/file"), Node::file(noise(1, 9_000)));
                tree.put(&format!("{folder}/small"), Node::file("text"));
            }
            tree.node("closed").trouble = Trouble::Unreadable;
            tree.node("moved").trouble = Trouble::Vanishes;
            let outcome = world.backup(&repository, ModelSource::new(&tree)).await;
            assert_eq!(problems(&outcome.problems), [("/closed".to_owned(), ProblemKind::Unreadable)]);
            assert_eq!(notices(&outcome.problems), [("/moved".to_owned(), NoticeKind::Vanished)]);
            world.assert_restores(&repository, &world.newest(&repository).await, &tree).await;
            world.assert_sound(&repository).await;
            tree.node("moved").trouble = Trouble::None;
            let source = ModelSource::new(&tree);
            let reads = source.reads.clone();
            let _ = world.backup(&repository, source).await;
            assert_eq!(reads.take(), ["closed", "moved"]);
        });
    }
}

#[test]
fn what_has_no_folder_in_the_snapshot_is_an_error_of_the_check() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = Tree::default();
        // Several pages.
        for number in 0..3_000 {
            tree.put(&format!("a/{number:04}"), Node::file(noise(number, 20)));
            tree.put(&format!("b/{number:04}/c"), Node::file("text"));
        }
        world.keep(&repository, &tree).await;
        world.assert_sound(&repository).await;
        for path in ["a", "b/0000", "b/1999", "b/2999"] {
            let orphaned = tree.without(path);
            let (world, repository) = World::made(Workers::inline()).await;
            world.keep(&repository, &orphaned).await;
            let report = world.check(&repository).await;
            let found: Vec<_> = report.findings.iter().collect();
            assert_eq!((found.len(), report.errors), (1, 0), "{found:?}");
            assert!(found[0].subject.contains(&format!(":/{path}/")), "{found:?}");
        }
    });
}

#[test]
fn details_that_could_not_be_read_are_asked_for_again() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = Tree::default();
        tree.put("folder/calm", Node::file("text"));
        tree.put("folder/large", Node::file(noise(1, LARGE)));
        tree.put("folder/small", Node::file(noise(2, 5_000)));
        for name in ["folder", "folder/large", "folder/small"] {
            tree.node(name).trouble = Trouble::LacksDetails;
        }
        for _ in 0..2 {
            let source = ModelSource::new(&tree);
            let reads = source.reads.clone();
            let outcome = world.backup(&repository, source).await;
            let told = ["/folder", "/folder/large", "/folder/small"];
            assert_eq!(
                problems(&outcome.problems),
                told.map(|path| (path.to_owned(), ProblemKind::Attribute))
            );
            let read = reads.take();
            assert!(
                ["folder", "folder/large", "folder/small"]
                    .iter()
                    .all(|name| read.contains(&(*name).to_owned())),
                "{read:?}"
            );
        }
    });
}

#[test]
fn a_part_of_the_packs_is_never_none_of_them() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        for number in 0..4 {
            let mut tree = Tree::default();
            tree.put("file", Node::file(noise(number, if number == 1 { 900_000 } else { 9_000 })));
            world.keep(&repository, &tree).await;
        }
        let part = async |bytes| check(&world.ctx(), &repository, ReadData::Bytes(bytes)).await.unwrap();
        assert_eq!(part(1).await.packs_read, 1);
        let all = part(u64::MAX).await;
        // Whichever comes first, the small ones fit.
        let small = part(all.bytes_read - 900_000).await;
        assert_eq!(small.packs_read, all.packs_read - 1, "{small:?} of {all:?}");
    });
}

#[test]
fn a_panic_of_the_source_ends_the_run_and_nothing_hangs() {
    for (name, length) in [("small", 1_000), ("large", LARGE)] {
        for threads in [1, 2] {
            run(move || async move {
                let (world, repository) = World::made(Workers::pool(threads)).await;
                let mut tree = Tree::mixed();
                tree.put(&format!("m {name}"), Node::file(noise(1, length)).with(Trouble::Panics));
                let source = ModelSource::new(&tree);
                let error = world.backup_with(&repository, source, &world.options()).await.unwrap_err();
                assert_eq!(error.kind, ErrorKind::Source, "{}", chain(&error));
                assert!(world.snapshots(&repository).await.is_empty());
            });
        }
    }
}

#[test]
fn a_panic_while_a_chunk_is_stored_ends_the_run_and_nothing_hangs() {
    for threads in [1, 2] {
        run(move || async move {
            let (world, repository) = World::made(Workers::pool(threads)).await;
            let mut tree = Tree::default();
            for number in 0..60 {
                tree.put(&format!("{number}"), Node::file(noise(number, 100_000)));
            }
            let ctx = world.ctx();
            // Randomness ends where the first pack is begun.
            let entropy = Arc::clone(&world.entropy);
            let source =
                ModelSource::new(&tree).hooked(move |_| entropy.calls_left.store(0, Ordering::Relaxed));
            let error = backup(&ctx, &repository, Box::new(source), &World::bare()).await.unwrap_err();
            assert_ne!(error.kind, ErrorKind::Interrupted);
            world.entropy.calls_left.store(u32::MAX, Ordering::Relaxed);
            assert!(world.snapshots(&repository).await.is_empty());
        });
    }
}

#[test]
fn a_source_that_fails_as_a_whole_leaves_no_snapshot_and_what_was_uploaded_is_adopted() {
    for workers in pools() {
        run(move || async move {
            let (world, repository) = World::made(workers).await;
            let tree = Tree::mixed();
            let source = ModelSource::new(&tree).failing_after(40).batches_of(20);
            let error = world.backup_with(&repository, source, &world.options()).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Source);
            assert!(world.snapshots(&repository).await.is_empty());
            // With threads nothing may have been sealed yet.
            let left = world.names("packs/").len();
            assert!(left > 0 || !world.workers.is_inline());
            assert_eq!(world.keep(&repository, &tree).await.adopted_packs, left as u64);
            world.assert_restores(&repository, &world.newest(&repository).await, &tree).await;
        });
    }
}

#[test]
fn a_stop_in_the_middle_is_an_interruption_and_the_next_run_adopts() {
    for workers in pools() {
        run(move || async move {
            let (world, repository) = World::made(workers).await;
            let tree = Tree::mixed();
            let ctx = world.ctx();
            let cancel = ctx.cancel.clone();
            let source = ModelSource::new(&tree).batches_of(5).hooked(move |key| {
                if key.starts_with(b"small\0bundled 30") {
                    cancel.raise();
                }
            });
            let source: Box<dyn Source> = Box::new(source);
            let error = backup(&ctx, &repository, source, &world.options()).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Interrupted);
            assert!(world.snapshots(&repository).await.is_empty());
            assert!(!world.names("sessions/").iter().any(|name| name.as_str().ends_with("/end")));
            let left = world.names("packs/").len();
            assert!(left > 0 || !world.workers.is_inline());
            let report = world.keep(&repository, &tree).await;
            assert_eq!(report.adopted_packs, left as u64, "{report:?}");
            world.assert_restores(&repository, &world.newest(&repository).await, &tree).await;
            world.assert_sound(&repository).await;
            let ends = world.names("sessions/");
            let ends = ends.iter().filter(|name| name.as_str().ends_with("/end")).count();
            assert_eq!(ends, 1 + usize::from(left > 0));
        });
    }
}

#[test]
fn a_run_that_is_dropped_leaves_no_thread_waiting() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let mut tree = Tree::default();
        for number in 0..40 {
            tree.put(&format!("{number:02}"), Node::file(noise(number, 1 << 20)));
        }
        let begun = Arc::new(tokio::sync::Notify::new());
        let tell = Arc::clone(&begun);
        let source = ModelSource::new(&tree).batches_of(1).hooked(move |_| tell.notify_one());
        let options = World::bare();
        let backup = world.backup_with(&repository, source, &options);
        tokio::select! {
            biased;
            () = begun.notified() => {}
            _ = backup => panic!("it ends before it begins"),
        }
        // The runtime now waits for its threads, and the watchdog for the runtime.
    });
}

#[test]
fn a_store_that_is_full_ends_the_run_before_everything_was_read() {
    run(|| async {
        let (world, _) = World::made(Workers::pool(2)).await;
        let full = FaultStore::new(Arc::new(world.store.clone()), |call| match call.operation {
            Operation::Write | Operation::Commit => Fault::FailBefore(StoreErrorKind::Full),
            _ => Fault::None,
        });
        let repository = world.open_on(Arc::new(full)).await.unwrap();
        let mut tree = Tree::default();
        for number in 0..400 {
            tree.put(&format!("{number:03}"), Node::file(noise(number % 7 + number, 300_000)));
        }
        let source = ModelSource::new(&tree);
        let reads = source.reads.clone();
        let error = world.backup_with(&repository, source, &World::bare()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Full, "{}", chain(&error));
        let read = reads.take().len();
        assert!(read < 350, "{read} of 400 files were read for nothing");
    });
}

#[test]
fn names_of_one_file_beyond_its_count_of_links_are_all_kept() {
    // Links are made while the source is listed, or one folder is mounted twice.
    for workers in pools() {
        run(move || async move {
            let (world, repository) = World::made(workers).await;
            let mut tree = Tree::default();
            for name in ["a", "b", "c", "d", "e"] {
                tree.put(name, Node { inode: 77, links: 2, ..Node::file(noise(1, 9_000)) });
            }
            world.keep(&repository, &tree).await;
            world.assert_restores(&repository, &world.newest(&repository).await, &tree).await;
        });
    }
}

#[test]
fn further_names_are_kept_when_the_first_was_kept_from_the_cache_or_failed() {
    for length in [300, 9_000, LARGE] {
        run(move || async move {
            let (world, repository) = World::made(Workers::inline()).await;
            let mut tree = Tree::default();
            let linked = Node { inode: 77, links: 2, ..Node::file(noise(1, length)) };
            tree.put("a", linked.clone());
            tree.put("b", linked.clone());
            world.keep(&repository, &tree).await;
            tree.put("c", Node { links: 3, ..linked });
            for name in ["a", "b"] {
                tree.node(name).links = 3;
            }
            world.keep(&repository, &tree).await;
            world.assert_restores(&repository, &world.newest(&repository).await, &tree).await;
            tree.node("a").trouble = Trouble::Unreadable;
            for name in ["a", "b", "c"] {
                tree.node(name).ctime.seconds += 1;
            }
            let _ = world.backup(&repository, ModelSource::new(&tree)).await;
            let snapshot = world.newest(&repository).await;
            world.assert_restores(&repository, &snapshot, &tree.without("a")).await;
        });
    }
}

#[test]
fn hard_links_of_every_size_name_one_group() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let mut tree = Tree::default();
        for (inode, length) in [(501, 0), (502, 100), (503, 9_000), (504, LARGE)] {
            for name in ["a", "b"] {
                let node = Node { inode, links: 2, ..Node::file(noise(inode, length)) };
                tree.put(&format!("{name}/{length}"), node);
            }
        }
        let runs = vec![Run::Data(noise(6, 5_000)), Run::Hole(9_000)];
        for name in ["a", "b"] {
            tree.put(&format!("{name}/sparse"), Node { inode: 505, links: 2, ..Node::sparse(runs.clone()) });
        }
        world.keep(&repository, &tree).await;
        let snapshot = world.newest(&repository).await;
        let (restored, _) = world.restore(&repository, &snapshot, &Default::default()).await.unwrap();
        restored.assert_is(&tree);
        for name in ["0", "100", "9000", "400000", "sparse"] {
            let group = |folder: &str| {
                let key = path_to_key(format!("{folder}/{name}").as_bytes());
                restored.items[&key].entry.attributes.link_group.unwrap()
            };
            assert_eq!(group("a"), group("b"), "{name}");
        }
    });
}

#[test]
fn a_source_that_breaks_its_order_is_refused_and_a_name_given_twice_is_kept_once() {
    for workers in pools() {
        run(move || async move {
            let (world, repository) = World::made(workers).await;
            let mut tree = Tree::default();
            for name in ["a", "b", "c"] {
                tree.put(name, Node::file(noise(1, 900)));
            }
            let keys = |names: [&str; 4]| names.map(|name| name.as_bytes().to_vec()).to_vec();
            let source = ModelSource::new(&tree).claiming(keys(["a", "c", "b", "b"]));
            let error = world.backup_with(&repository, source, &World::bare()).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Source, "{}", chain(&error));
            let source = ModelSource::new(&tree).claiming(keys(["a", "b", "b", "c"])).batches_of(2);
            let outcome = world.backup_with(&repository, source, &World::bare()).await.unwrap();
            assert_eq!(outcome.value.counts.files, 3);
            world.assert_restores(&repository, &world.newest(&repository).await, &tree).await;
        });
    }
}

#[test]
fn a_run_that_fails_leaves_nothing_in_the_cache_folder() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let source = ModelSource::new(&Tree::mixed()).failing_after(10).batches_of(5);
        world.backup_with(&repository, source, &world.options()).await.unwrap_err();
        assert_eq!(cache_files(&world), [] as [std::path::PathBuf; 0]);
        world.keep(&repository, &Tree::mixed()).await;
        assert_eq!(cache_files(&world).len(), 1);
    });
}

pub(super) fn cache_files(world: &World) -> Vec<std::path::PathBuf> {
    let (mut folders, mut files) = (vec![world.cache.path().to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // What was seen of a repository is remembered whatever becomes of a run.
            let is_memory = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seen-"));
            if path.is_dir() {
                folders.push(path);
            } else if !is_memory {
                files.push(path);
            }
        }
    }
    files
}
