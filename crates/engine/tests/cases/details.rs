//! Details that are read again without the content, and items that are kept without theirs.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::trouble::cache_files;
use crate::harness::{ModelSource, Node, Tree, Trouble, World, noise, run};
use holdfast_core::entry::{Content, Entry};
use holdfast_engine::outcome::{Outcome, ProblemKind};
use holdfast_engine::source::Account;
use holdfast_engine::workers::Workers;
use holdfast_engine::{BackupOptions, BackupReport, Repository, list};

/// Small ones, large ones, and one whose attributes need a chunk of their own.
fn tree() -> Tree {
    let mut tree = Tree::default();
    for number in 0..150 {
        let mut node = Node::file(noise(number, if number % 50 == 0 { 300_000 } else { 2_000 }));
        node.xattrs = vec![(b"tag".to_vec(), if number == 7 { vec![b'x'; 3_000] } else { b"old".to_vec() })];
        tree.put(&format!("{number:03}"), node);
    }
    tree
}

/// Backs up with this mark; returns what came out and what was read.
async fn marked(
    world: &World,
    repository: &Repository,
    tree: &Tree,
    mark: u64,
    look: bool,
) -> (Outcome<BackupReport>, Vec<String>) {
    let source = ModelSource::new(tree).with_aside(mark, look);
    let reads = source.reads.clone();
    (world.backup(repository, source).await, reads.take())
}

async fn entry(world: &World, repository: &Repository, name: &str) -> Entry {
    let (snapshot, mut found) = (world.newest(repository).await, None);
    let mut take = |entry: &Entry| {
        found = found.take().or_else(|| (entry.key == name.as_bytes()).then(|| entry.clone()));
    };
    list(&world.ctx(), repository, &snapshot, b"", true, &mut take).await.unwrap();
    found.unwrap()
}

#[test]
fn details_change_and_contents_are_not_read() {
    for workers in [Workers::inline(), Workers::pool(2)] {
        run(move || async move {
            let (world, repository) = World::made(workers).await;
            let mut tree = tree();
            let (first, _) = marked(&world, &repository, &tree, 0, false).await;
            let all: Vec<_> =
                tree.0.keys().map(|key| format!("details of {}", String::from_utf8_lossy(key))).collect();
            // All are looked at, and all is as it was.
            let (same, read) = marked(&world, &repository, &tree, 0, true).await;
            assert_eq!((read, same.value.root), (all.clone(), first.value.root));
            assert_eq!((same.value.counts.files_unmodified, same.value.counts.bytes_read), (150, 0));
            for name in ["003", "007", "050"] {
                tree.node(name).xattrs[0].1.extend_from_slice(b" new");
            }
            // The listing tells that something is different, once.
            let (other, read) = marked(&world, &repository, &tree, 9, false).await;
            let counts = other.value.counts;
            assert_eq!((read, counts.files_changed, counts.bytes_read), (all, 3, 0));
            assert_eq!(other.problems.problems, []);
            world.assert_restores(&repository, &world.newest(&repository).await, &tree).await;
            let (again, read) = marked(&world, &repository, &tree, 9, false).await;
            assert!(read.is_empty() && again.value.unchanged);
            world.assert_sound(&repository).await;
        });
    }
}

#[test]
fn what_cannot_be_looked_at_stays_and_is_asked_for_again() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let mut tree = tree();
        let _ = marked(&world, &repository, &tree, 0, false).await;
        tree.node("001").trouble = Trouble::Unreadable;
        tree.node("002").trouble = Trouble::Torn(0);
        tree.node("003").trouble = Trouble::Vanishes;
        tree.node("100").trouble = Trouble::Torn(0);
        let before = entry(&world, &repository, "001").await;
        for _ in 0..2 {
            let source = ModelSource::new(&tree).with_aside(5, false);
            let account = source.accounted();
            let outcome = world.backup(&repository, source).await;
            let problems = outcome.problems.problems;
            assert_eq!((problems.len(), problems[0].kind), (1, ProblemKind::Attribute), "{problems:?}");
            assert_eq!(entry(&world, &repository, "001").await, before);
            let Account { stored, unchanged, vanished, unreadable, lacking } = *account.lock().unwrap();
            assert_eq!((stored + unchanged, vanished, unreadable, lacking), (149, 1, 0, 0));
        }
        // The next run asks for that one alone; without its cache it knows nothing of it.
        tree.node("001").trouble = Trouble::None;
        tree.node("001").xattrs[0].1 = b"new".to_vec();
        let tree = tree.without("003");
        let (well, read) = marked(&world, &repository, &tree, 5, false).await;
        assert_eq!((read, well.value.counts.files_changed), (vec!["details of 001".to_owned()], 1));
        let (_, read) = marked(&world, &repository, &tree, 5, false).await;
        assert!(read.is_empty(), "{read:?}");
        cache_files(&world).iter().for_each(|path| std::fs::remove_file(path).unwrap());
        let (outcome, _) = marked(&world, &repository, &tree, 5, false).await;
        assert!(outcome.value.unchanged);
        world.assert_sound(&repository).await;
    });
}

#[test]
fn what_lacks_its_content_is_kept_and_read_once_it_can_be() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let mut tree = tree();
        for name in ["010", "050"] {
            tree.node(name).trouble = Trouble::Lacks;
        }
        for round in 0..2 {
            let source = ModelSource::new(&tree);
            let (reads, account) = (source.reads.clone(), source.accounted());
            let outcome = world.backup(&repository, source).await;
            assert_eq!((outcome.problems.problem_count, account.lock().unwrap().lacking), (2, 2));
            assert!(round == 0 || reads.take() == ["010", "050"]);
            let entry = entry(&world, &repository, "050").await;
            assert_eq!((entry.size, entry.content), (0, Content::None));
            world.assert_sound(&repository).await;
        }
        for name in ["010", "050"] {
            tree.node(name).trouble = Trouble::None;
        }
        let (whole, read) = marked(&world, &repository, &tree, 0, false).await;
        assert_eq!((read.len(), whole.problems.problem_count), (2, 0));
        world.assert_restores(&repository, &world.newest(&repository).await, &tree).await;
        // Its content is known: it is not given up because it cannot be read any more.
        let kept = tree.clone();
        for name in ["010", "050"] {
            tree.node(name).trouble = Trouble::Lacks;
        }
        let options = BackupOptions { force: true, ..world.options() };
        let source = ModelSource::new(&tree);
        let outcome = world.backup_with(&repository, source, &options).await.unwrap();
        assert_eq!(outcome.problems.problems, []);
        world.assert_restores(&repository, &world.newest(&repository).await, &kept).await;
    });
}
