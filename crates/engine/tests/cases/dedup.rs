//! What the repository has is not stored twice, and is relied on openly.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{ModelSource, Node, Tree, World, noise, run};
use holdfast_engine::workers::Workers;

#[test]
fn the_same_tree_of_two_hosts_is_stored_once_and_pinned() {
    for workers in [Workers::inline(), Workers::pool(2)] {
        run(move || async move {
            let (world, repository) = World::made(workers).await;
            let tree = Tree::mixed();
            let first = world.keep(&repository, &tree).await;
            let source = ModelSource::new(&tree).of("other host", "/other");
            let second = world.backup(&repository, source).await.value;
            assert_eq!((second.root, second.counts.chunks_added), (first.root, 0));
            assert_eq!(second.parent, None);
            // It has no parent, so its pins name each pack that it relies on.
            let folder = format!("-{}/pins-0", second.snapshot.unwrap());
            let pins = world.names("sessions/").into_iter().find(|key| key.as_str().ends_with(&folder));
            assert!(pins.is_some());
            for snapshot in world.snapshots(&repository).await {
                world.assert_restores(&repository, &snapshot, &tree).await;
            }
            world.assert_sound(&repository).await;
        });
    }
}

#[test]
fn a_large_content_that_moves_within_a_run_and_between_runs_is_stored_once() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let mut tree = Tree::default();
        let content = noise(1, 3 << 20);
        tree.put("a", Node::file(content.clone()));
        tree.put("b", Node::file(content.clone()));
        tree.put("c", Node::file([&b"in front"[..], &content].concat()));
        let report = world.keep(&repository, &tree).await;
        let limit = content.len() as u64 * 2;
        assert!(report.counts.bytes_added < limit, "{:?}", report.counts);
        let tree = {
            let mut moved = Tree::default();
            moved.put("z/d", tree.node("c").clone());
            moved
        };
        let report = world.keep(&repository, &tree).await;
        assert!(report.counts.bytes_added < 1_000, "{:?}", report.counts);
    });
}

#[test]
fn small_contents_that_are_equal_share_one_slice() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = Tree::default();
        for number in 0..100 {
            tree.put(&format!("{number}"), Node::file(noise(number % 5, 60_000)));
        }
        let report = world.keep(&repository, &tree).await;
        assert!(report.counts.bytes_added < 320_000, "{:?}", report.counts);
        world.assert_restores(&repository, &world.newest(&repository).await, &tree).await;
    });
}
