//! What is not of this repository and lies in it: junk, and objects of another repository, beside its own and in their
//! places. Nothing of it counts, it is told, and nothing is lost by it.
//!
//! On purpose not here: objects of its own that are damaged or swapped (`damage`, `repair_damage`).

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{Node, Tree, World, chain, noise, pruning, run};
use bytes::Bytes;
use holdfast_core::keys::Role;
use holdfast_core::name::{self, Place};
use holdfast_engine::evidence::{append, records};
use holdfast_engine::maintain::{ForgetOptions, ForgetWhat, forget, prune};
use holdfast_engine::wal::{SegmentName, Timeline, WalArchive, WalName};
use holdfast_engine::workers::Workers;
use holdfast_engine::{ReadData, Repository, RestoreOptions, check};
use holdfast_store::Key;
use std::collections::BTreeMap;
use std::sync::Arc;

fn tree(salt: u64) -> Tree {
    let mut tree = Tree::default();
    // Sizes tell that they changed.
    tree.put("small", Node::file(noise(salt, 9_000 + salt as usize)));
    tree.put("large", Node::file(noise(salt + 50, 300_000 + salt as usize)));
    tree
}

fn segment(place: u64) -> WalName {
    WalName::whole(Timeline::new(7, 1, b""), SegmentName { timeline: 1, place }.to_string())
}

/// A repository with an object of every kind: two snapshots of three, a prune, a writer, a log, a record.
async fn lived_in(seed: u64) -> (World, Repository) {
    let world = World::with_seed(Workers::inline(), seed);
    let owner = world.create().await;
    world.admitted(Role::Writer, 8).await;
    let first = world.keep(&owner, &tree(seed)).await.snapshot.unwrap();
    world.keep(&owner, &tree(seed + 1)).await;
    let what = ForgetWhat::Snapshots(vec![first]);
    let options = ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() };
    forget(&world.ctx(), &owner, &options).await.unwrap();
    for _ in 0..2 {
        prune(&world.ctx(), &owner, &pruning()).await.unwrap();
    }
    world.keep(&owner, &tree(seed + 2)).await;
    append(&world.ctx(), &owner, "drill", b"{}").await.unwrap();
    WalArchive::new(&world.ctx(), &owner).put(&segment(seed), noise(seed, 5_000)).await.unwrap();
    (world, owner)
}

fn kind(key: &Key) -> String {
    let text = match name::parse(key.as_str()) {
        Some(Place::Begin(_)) => "begin",
        Some(Place::End(_)) => "end",
        Some(Place::Pins(..)) => "pins",
        Some(Place::Delta(..)) => "delta",
        Some(Place::IndexSegment(_)) => "index segment",
        _ if key.as_str().starts_with("packs/tree") => "tree pack",
        _ => key.as_str().split('/').next().unwrap(),
    };
    text.to_owned()
}

/// Its two snapshots are there and whole, and no others.
async fn assert_whole(world: &World, repository: &Repository, seed: u64) {
    let all = world.snapshots(repository).await;
    assert_eq!(all.len(), 2);
    for (snapshot, salt) in all.iter().zip(seed + 1..) {
        world.assert_restores(repository, snapshot, &tree(salt)).await;
    }
}

#[test]
fn foreign_objects_are_notices() {
    run(|| async {
        let (world, repository) = lived_in(1).await;
        let before = world.check(&repository).await;
        assert_eq!(before.errors, 0, "{:#?}", before.findings);
        let junk = [
            "junk",
            "keys/junk",
            "packs/data/aa/junk",
            "sessions/junk",
            "index/junk",
            "roots/junk",
            "members/junk",
            "lists/junk",
            "evidence/junk",
            "wal/x/y/z/w",
        ];
        for name in junk {
            world.store.insert_raw(Key::new(name).unwrap(), "junk");
        }
        let repository = world.open().await;
        let report = world.check(&repository).await;
        assert_eq!(report.errors, 0, "{:#?}", report.findings);
        for name in junk {
            let told = report.findings.iter().any(|finding| finding.subject.contains(name));
            assert!(told, "nothing is said of {name}: {:#?}", report.findings);
        }
        assert_whole(&world, &repository, 1).await;
        prune(&world.ctx(), &repository, &pruning()).await.unwrap();
        let names = world.names("");
        assert!(junk.iter().all(|name| names.iter().any(|key| key.as_str() == *name)), "it was deleted");
        world.keep(&repository, &tree(9)).await;
        world.assert_restores(&repository, &world.newest(&repository).await, &tree(9)).await;
    });
}

#[test]
fn objects_of_another_repository_count_for_nothing_beside_its_own() {
    run(|| async {
        let ((start, _), (other, _)) = (lived_in(1).await, lived_in(4).await);
        let own = start.store.objects();
        let all: Vec<_> =
            other.store.objects().into_iter().filter(|(key, _)| !own.contains_key(key)).collect();
        let mut kinds: Vec<_> = all.iter().map(|(key, _)| kind(key)).collect();
        kinds.sort();
        kinds.dedup();
        assert!(kinds.len() >= 10, "{kinds:?}");
        // Each alone, and all at once.
        let each = all.iter().map(std::slice::from_ref).chain([&all[..]]);
        for added in each {
            let world = start.fork(9);
            added.iter().for_each(|(key, body)| world.store.insert_raw(key.clone(), body.clone()));
            let what = if added.len() == 1 { added[0].0.to_string() } else { "all".to_owned() };
            let repository = world.open().await;
            assert_whole(&world, &repository, 1).await;
            assert_told(&world, &repository, &what, added).await;
            world.keep(&repository, &tree(9)).await;
            world.assert_restores(&repository, &world.newest(&repository).await, &tree(9)).await;
            let book = records(&world.ctx(), &repository).await.unwrap();
            assert_eq!(book.records().iter().filter(|record| record.kind == "drill").count(), 1, "{what}");
            let log = WalArchive::new(&world.ctx(), &repository);
            assert_eq!(log.get(&segment(1)).await.unwrap().unwrap(), noise(1, 5_000));
            // It may stop a prune, aloud; nothing of its own goes by one.
            if let Err(error) = prune(&world.ctx(), &repository, &pruning()).await {
                assert!(chain(&error).contains("holdfast "), "{what}: {}", chain(&error));
            }
            let repository = world.open().await;
            for (snapshot, salt) in world.snapshots(&repository).await.iter().zip([2, 3, 9]) {
                world.assert_restores(&repository, snapshot, &tree(salt)).await;
            }
            assert_eq!(world.snapshots(&repository).await.len(), 3, "{what}");
        }
    });
}

async fn assert_told(world: &World, repository: &Repository, what: &str, added: &[(Key, Bytes)]) {
    let report = check(&world.ctx(), repository, ReadData::All).await.unwrap();
    let about = |key: &Key| {
        let last = key.as_str().rsplit('/').next().unwrap();
        report.findings.iter().any(|finding| {
            let text = format!("{} {}", finding.subject, finding.what);
            text.contains(key.as_str()) || text.contains(last) || text.contains(&last[..last.len().min(8)])
        })
    };
    if added.len() == 1 {
        assert!(about(&added[0].0), "nothing is said of {what}: {:#?}", report.findings);
    }
    assert!(!report.findings.is_empty(), "{what}");
}

#[test]
fn objects_of_another_repository_are_refused_in_the_places_of_its_own() {
    run(|| async {
        let ((start, owner), (other, _)) = (lived_in(1).await, lived_in(4).await);
        let ids = start.snapshots(&owner).await.into_iter().map(|snapshot| snapshot.id);
        let salts: BTreeMap<_, u64> = ids.zip(2..).collect();
        let mut kin: BTreeMap<String, Bytes> = BTreeMap::new();
        kin.extend(other.store.objects().into_iter().map(|(key, body)| (kind(&key), body)));
        let mut refused = 0;
        for (key, body) in start.store.objects() {
            let foreign = kin.get(&kind(&key)).unwrap_or_else(|| panic!("none like {key}"));
            if *foreign == body {
                continue;
            }
            let world = start.fork(9);
            world.store.insert_raw(key.clone(), foreign.clone());
            let Ok(repository) = world.open_on(Arc::new(world.store.clone())).await else {
                refused += 1;
                continue;
            };
            match check(&world.ctx(), &repository, ReadData::All).await {
                Err(_) => refused += 1,
                // Another member's slot that opens nothing, or a root before the newest, is told of, and no error of
                // the repository.
                Ok(report) => {
                    let may_be_noted =
                        ["keys/", "roots/"].iter().any(|folder| key.as_str().starts_with(folder));
                    let named = report.findings.iter().any(|finding| finding.subject == key.as_str());
                    assert!(report.errors > 0 || may_be_noted && named, "{key}: {:#?}", report.findings);
                }
            }
            let Ok(all) = holdfast_engine::snapshots(&world.ctx(), &repository, &Default::default()).await
            else {
                continue;
            };
            for snapshot in all.value {
                let restored = world.restore(&repository, &snapshot, &RestoreOptions::default()).await;
                let Ok((restored, outcome)) = restored else { continue };
                let salt = *salts.get(&snapshot.id).unwrap_or_else(|| panic!("{key} makes a snapshot"));
                let absent = restored.assert_no_wrong_bytes(&tree(salt));
                assert!(absent.is_empty() || outcome.problems.problem_count > 0, "{key}: lost in silence");
            }
        }
        assert!(refused > 0);
    });
}
