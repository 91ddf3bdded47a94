//! What is backed up comes back: every name, attribute and byte.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{ModelSource, Node, Run, Tree, World, noise, run};
use holdfast_engine::RestoreOptions;
use holdfast_engine::workers::Workers;
use proptest::prelude::*;

#[test]
fn a_tree_with_contents_of_every_kind_comes_back() {
    for workers in [Workers::inline(), Workers::pool(1), Workers::pool(2)] {
        run(move || async move {
            let (world, repository) = World::made(workers).await;
            let tree = Tree::mixed();
            let outcome = world.backup(&repository, ModelSource::new(&tree)).await;
            assert_eq!(outcome.problems.problems, []);
            let counts = outcome.value.counts;
            assert_eq!((counts.files, counts.bytes), (tree.files(), tree.bytes()));
            assert_eq!(
                (counts.files_new, counts.files_changed, counts.files_unmodified),
                (tree.files(), 0, 0)
            );
            let snapshot = world.newest(&repository).await;
            world.assert_restores(&repository, &snapshot, &tree).await;
            world.assert_sound(&repository).await;
        });
    }
}

#[test]
fn the_order_of_arrival_and_the_number_of_threads_do_not_change_the_tree() {
    let mut tree = Tree::mixed();
    // Bundles depend on the order in which files come.
    tree.0.retain(|_, node| node.size() <= 512 || node.size() > 128 * 1024 || node.is_sparse());
    run(move || async move {
        let (world, repository) = World::made(Workers::inline()).await;
        let sorted = world.backup(&repository, ModelSource::new(&tree)).await.value;
        for seed in 0..3 {
            let source = ModelSource::new(&tree).arrival(seed).of("host", &format!("/{seed}"));
            let outcome = world.backup_with(&repository, source, &World::bare()).await.unwrap();
            assert_eq!(outcome.value.root, sorted.root);
        }
        let mut fork = world.fork(9);
        fork.workers = Workers::pool(2);
        let repository = fork.open().await;
        let source = ModelSource::new(&tree).batches_of(1);
        let outcome = fork.backup_with(&repository, source, &World::bare()).await.unwrap();
        assert_eq!(outcome.value.root, sorted.root);
        assert_eq!(outcome.value.counts.chunks_added, 0);
    });
}

#[test]
fn what_arrives_in_any_order_restores_the_same() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let tree = Tree::mixed();
        let _ = world.backup(&repository, ModelSource::new(&tree).arrival(3)).await;
        let snapshot = world.newest(&repository).await;
        world.assert_restores(&repository, &snapshot, &tree).await;
        // The cache is looked up by key then.
        let again = ModelSource::new(&tree).arrival(4);
        let reads = again.reads.clone();
        let outcome = world.backup(&repository, again).await;
        assert_eq!(reads.take(), [] as [&str; 0]);
        assert!(outcome.value.unchanged);
    });
}

#[test]
fn a_tree_of_many_entries_comes_back() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let mut tree = Tree::default();
        for number in 0..9_000u64 {
            let length = if number % 50 == 0 { 3_000 } else { (number % 40) as usize };
            let key = format!("folder {}\0file {number:05}", number / 400).into_bytes();
            tree.0.insert(key, Node { inode: number, ..Node::file(noise(number, length)) });
        }
        world.keep(&repository, &tree).await;
        let snapshot = world.newest(&repository).await;
        world.assert_restores(&repository, &snapshot, &tree).await;
    });
}

#[test]
fn nothing_at_all_comes_back() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let tree = Tree::default();
        world.keep(&repository, &tree).await;
        let snapshot = world.newest(&repository).await;
        world.assert_restores(&repository, &snapshot, &tree).await;
        world.assert_sound(&repository).await;
    });
}

fn any_content() -> impl Strategy<Value = Node> {
    let length = prop_oneof![
        Just(0usize),
        1usize..=512,
        513usize..20_000,
        130_000usize..132_000,
        200_000usize..900_000
    ];
    let plain = (any::<u64>(), length).prop_map(|(seed, length)| Node::file(noise(seed, length)));
    let stretch = (any::<bool>(), any::<u64>(), 1usize..40_000);
    let sparse = prop::collection::vec(stretch, 1..40).prop_map(|stretches| {
        let mut runs = vec![Run::Hole(512)];
        for (hole, seed, length) in stretches {
            runs.push(if hole { Run::Hole(length as u64) } else { Run::Data(noise(seed, length)) });
        }
        Node::sparse(runs)
    });
    prop_oneof![4 => plain, 1 => sparse]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn generated_trees_come_back(contents in prop::collection::vec(("[a-c]{1,2}/[a-z]{1,3}", any_content()), 0..12), pool in any::<bool>()) {
        let mut tree = Tree::default();
        for (path, node) in &contents {
            tree.put(path, node.clone());
        }
        run(move || async move {
            let (world, repository) = World::made(if pool { Workers::pool(2) } else { Workers::inline() }).await;
            world.keep(&repository, &tree).await;
            let snapshot = world.newest(&repository).await;
            world.assert_restores(&repository, &snapshot, &tree).await;
            let planned = world.rehearse(&repository, &snapshot, &RestoreOptions::default()).await.unwrap();
            assert_eq!(planned.bytes, tree.bytes());
        });
    }
}
