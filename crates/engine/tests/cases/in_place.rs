//! Restoring over what is there: only what differs is fetched, and a lost listing spares the rest.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{ModelTarget, Node, Restored, Run, Tree, World, noise, run};
use holdfast_core::entry::{Kind, path_to_key};
use holdfast_engine::workers::Workers;
use holdfast_engine::{Carry, Repository, RestoreOptions, RestoreReport, Snapshot, restore};
use std::collections::BTreeMap;

const MIB: usize = 1 << 20;

fn tree() -> Tree {
    let mut tree = Tree::default();
    tree.put("large", Node::file(noise(1, 9 * MIB)));
    tree.put("middle", Node::file(noise(2, 400_000)));
    tree.put("small/a", Node::file(noise(3, 20_000)));
    tree.put("small/b", Node::file(noise(4, 20_000)));
    tree.put("small/tiny", Node::file(b"tiny".to_vec()));
    tree.put("small/empty", Node::file(Vec::new()));
    tree.put(
        "sparse",
        Node::sparse(vec![Run::Data(noise(5, 70_000)), Run::Hole(5 << 20), Run::Data(noise(6, 9))]),
    );
    tree
}

/// What the target holds of a tree: contents by key.
fn held(tree: &Tree) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let files = tree.0.iter().filter(|(_, node)| node.kind == Kind::File);
    files.map(|(key, node)| (key.clone(), node.flat())).collect()
}

async fn over(
    world: &World,
    repository: &Repository,
    snapshot: &Snapshot,
    target: ModelTarget,
    options: &RestoreOptions,
) -> (Restored, RestoreReport) {
    let restored = target.restored();
    let outcome = restore(&world.ctx(), repository, snapshot, Box::new(target), options).await.unwrap();
    let restored = restored.lock().unwrap().clone();
    (restored, outcome.value)
}

#[test]
fn only_what_differs_is_fetched_and_written() {
    for workers in [Workers::inline(), Workers::pool(2)] {
        run(|| async {
            let (world, repository) = World::made(workers).await;
            let tree = tree();
            world.keep(&repository, &tree).await;
            let snapshot = world.newest(&repository).await;
            let options = RestoreOptions::default();

            let same = ModelTarget::over(held(&tree));
            let (restored, report) = over(&world, &repository, &snapshot, same, &options).await;
            let written: u64 = restored.items.values().map(|item| item.written).sum();
            assert_eq!((report.bytes_fetched, report.packs, written), (0, 0, 0));

            let mut there = held(&tree);
            there.get_mut(&path_to_key(b"large")).unwrap()[5 * MIB] ^= 1;
            there.get_mut(&path_to_key(b"small/b")).unwrap()[7] ^= 1;
            there.get_mut(&path_to_key(b"small/tiny")).unwrap().push(b'!');
            there.get_mut(&path_to_key(b"small/empty")).unwrap().push(b'!');
            there.get_mut(&path_to_key(b"middle")).unwrap().truncate(1_000);
            there.get_mut(&path_to_key(b"sparse")).unwrap().push(1);
            let rehearsal = RestoreOptions { carry: Carry::Rehearse, ..options.clone() };
            let target = ModelTarget::rehearsing(there.clone());
            let (rehearsed, planned) = over(&world, &repository, &snapshot, target, &rehearsal).await;
            assert!(rehearsed.items.values().all(|item| item.written == 0));

            let target = ModelTarget::over(there);
            let (restored, report) = over(&world, &repository, &snapshot, target, &options).await;
            for (key, node) in &tree.0 {
                let item = &restored.items[key];
                let name = String::from_utf8_lossy(key);
                assert!(node.kind != Kind::File || item.content.as_deref() == Some(&node.flat()), "{name}");
            }
            assert_eq!(restored.offences, [] as [String; 0]);
            let written = |path: &[u8]| restored.items[&path_to_key(path)].written;
            assert!((1..=4 * MIB as u64).contains(&written(b"large")), "{}", written(b"large"));
            assert_eq!((written(b"small/a"), written(b"small/b"), written(b"sparse")), (0, 20_000, 0));
            assert!(report.bytes_fetched < 6 * MIB as u64, "{report:?}");
            assert_eq!((planned.bytes_fetched, planned.packs), (report.bytes_fetched, report.packs));
            let all: u64 = restored.items.values().map(|item| item.written).sum();
            assert_eq!(planned.tally.bytes_written, all);
        });
    }
}

#[test]
fn a_survey_reads_nothing() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let tree = tree();
        world.keep(&repository, &tree).await;
        let snapshot = world.newest(&repository).await;
        let survey = RestoreOptions { carry: Carry::Survey, ..RestoreOptions::default() };
        let target = ModelTarget::rehearsing(held(&tree));
        let (restored, report) = over(&world, &repository, &snapshot, target, &survey).await;
        assert!(restored.finished && restored.offences.is_empty());
        assert_eq!((report.files, report.bytes_fetched), (7, 0));
    });
}

#[test]
fn a_lost_part_of_the_listing_spares_what_is_there() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = Tree::default();
        for number in 0..4_000 {
            tree.put(&format!("folder/{number:05}"), Node::file(noise(number, 600)));
        }
        world.keep(&repository, &tree).await;
        let snapshot = world.newest(&repository).await;
        let options = RestoreOptions::default();
        let whole = over(&world, &repository, &snapshot, ModelTarget::default(), &options).await;
        assert!(!whole.0.spared);
        let mut lost = 0;
        for (name, bytes) in
            world.store.objects().into_iter().filter(|(name, _)| name.as_str().starts_with("packs/tree/"))
        {
            for at in (0..bytes.len()).step_by(bytes.len() / 12) {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1;
                world.store.insert_raw(name.clone(), flipped);
                let target = ModelTarget::default();
                let restored = target.restored();
                let outcome = restore(&world.ctx(), &repository, &snapshot, Box::new(target), &options).await;
                let restored = restored.lock().unwrap();
                let all = restored.items.len() == tree.0.len();
                assert!(outcome.is_err() || restored.spared != all, "byte {at}");
                lost += usize::from(restored.spared);
            }
            world.store.insert_raw(name, bytes);
        }
        assert!(lost > 0, "no page was hit");
    });
}
