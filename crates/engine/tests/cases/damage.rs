//! Every kind of object, damaged in every way: it is noticed, restores give no wrong byte, and
//! backups go on.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{ModelSource, Node, Run, Tree, World, noise, run};
use holdfast_core::entry::key_to_path;
use holdfast_engine::workers::Workers;
use holdfast_engine::{BackupOptions, ReadData, Repository, RestoreOptions, check};
use holdfast_store::Key;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Delete,
    Empty,
    CutInHalf,
    CutLastByte,
    FlipFirst,
    FlipMiddle,
    FlipLast,
    Lengthen,
    SwapWithKin,
}

const DAMAGES: [Damage; 9] = [
    Damage::Delete,
    Damage::Empty,
    Damage::CutInHalf,
    Damage::CutLastByte,
    Damage::FlipFirst,
    Damage::FlipMiddle,
    Damage::FlipLast,
    Damage::Lengthen,
    Damage::SwapWithKin,
];

/// What kind of object a name stands for.
fn kind(key: &Key) -> &str {
    let name = key.as_str();
    let last = name.rsplit('/').next().unwrap_or(name);
    match name.split('/').next().unwrap_or(name) {
        "sessions" => last.trim_end_matches(|c: char| c.is_ascii_digit()),
        "packs" if name.starts_with("packs/data") => "data pack",
        "packs" => "tree pack",
        first => first,
    }
}

/// Damages an object; false if the damage does not exist for it.
fn apply(world: &World, key: &Key, damage: Damage) -> bool {
    let objects = world.store.objects();
    let mut bytes = objects[key].to_vec();
    let middle = bytes.len() / 2;
    match damage {
        Damage::Delete => return world.store.remove_raw(key).is_some(),
        Damage::Empty => bytes.clear(),
        Damage::CutInHalf => bytes.truncate(middle),
        Damage::CutLastByte => bytes.truncate(bytes.len() - 1),
        Damage::FlipFirst => bytes[0] ^= 1,
        Damage::FlipMiddle => bytes[middle] ^= 1,
        Damage::FlipLast => *bytes.last_mut().unwrap() ^= 1,
        Damage::Lengthen => bytes.push(0),
        Damage::SwapWithKin => {
            let kin = objects.iter().find(|(other, _)| *other != key && kind(other) == kind(key));
            let Some((other, body)) = kin else { return false };
            world.store.insert_raw(other.clone(), bytes);
            bytes = body.to_vec();
        }
    }
    world.store.insert_raw(key.clone(), bytes);
    true
}

/// The trees of three snapshots, one after the other.
fn trees() -> [Tree; 3] {
    let mut first = Tree::default();
    for number in 0..8 {
        first.put(&format!("small/{number}"), Node::file(noise(number, 9_000)));
    }
    first.put("inline", Node::file("inline"));
    first.put("large", Node::file(noise(50, 300_000)));
    let runs = (0..20).flat_map(|n| [Run::Data(noise(60 + n, 9_000)), Run::Hole(8_192)]);
    first.put("sparse", Node::sparse(runs.collect()));
    let mut second = first.clone();
    second.rewrite("small/3", noise(70, 9_000), crate::harness::START_SECONDS - 5_000);
    second.put("larger", Node::file(noise(71, 200_000)));
    let mut third = second.clone();
    third.rewrite("large", noise(72, 250_000), crate::harness::START_SECONDS - 5_000);
    third.put("new", Node::file(noise(73, 2_000)));
    [first, second, third]
}

/// A change that costs a check what it looks at, and is told as a notice or not at all.
fn is_documented(key: &Key, damage: Damage, newest: &str) -> bool {
    // Without its end the newest snapshot is an open session: a notice.
    kind(key) == "end" && damage == Damage::Delete && key.as_str().contains(newest)
}

async fn assert_noticed(world: &World, what: &str, documented: bool) {
    let Ok(repository) = world.open_on(std::sync::Arc::new(world.store.clone())).await else { return };
    if let Ok(report) = check(&world.ctx(), &repository, ReadData::All).await {
        assert_eq!(report.errors > 0, !documented, "{what}: {:#?}", report.findings);
        assert!(!documented || report.notices > 0, "{what}");
    }
}

/// Restores every snapshot that is listed; no file has a wrong byte, and each that is missing is named.
async fn assert_restores_without_lies(world: &World, repository: &Repository, what: &str) {
    let trees = trees();
    for snapshot in world.snapshots(repository).await {
        let counts = snapshot.summary.counts;
        let tree = trees.iter().find(|tree| (tree.files(), tree.bytes()) == (counts.files, counts.bytes));
        let restored = world.restore(repository, &snapshot, &RestoreOptions::default()).await;
        let Ok((restored, outcome)) = restored else { continue };
        let absent = restored.assert_no_wrong_bytes(tree.unwrap());
        let problems = &outcome.problems.problems;
        let lost_parts = problems.iter().any(|problem| problem.what.starts_with("everything from here"));
        for key in absent {
            let path = [b"/", &key_to_path(&key)[..]].concat();
            let named = lost_parts || problems.iter().any(|problem| problem.path == path);
            assert!(named, "{what}: {} is missing without a word", String::from_utf8_lossy(&path));
        }
    }
}

/// A backup does not panic; its snapshot is whole unless it relies on a pack that is damaged.
async fn assert_goes_on(world: &World, key: &Key, options: &BackupOptions, what: &str) {
    let Ok(repository) = world.open_on(std::sync::Arc::new(world.store.clone())).await else { return };
    let [_, _, tree] = trees();
    let source = ModelSource::new(&tree);
    let made = world.backup_with(&repository, source, options).await.unwrap();
    assert_eq!(made.problems.problems, [], "{what}");
    let snapshots = world.snapshots(&repository).await;
    let snapshot = snapshots.iter().find(|snapshot| Some(snapshot.id) == made.value.snapshot).unwrap();
    let (restored, outcome) = world.restore(&repository, snapshot, &RestoreOptions::default()).await.unwrap();
    let absent = restored.assert_no_wrong_bytes(&tree);
    let relied_on = kind(key).ends_with("pack");
    assert!(relied_on || absent.is_empty() && outcome.problems.problem_count == 0, "{what}");
}

#[test]
fn no_damage_passes_unnoticed_or_makes_wrong_bytes() {
    for damages in DAMAGES.chunks(3) {
        run(move || async move {
            let (start, repository) = World::made(Workers::inline()).await;
            for tree in trees() {
                start.keep(&repository, &tree).await;
            }
            let newest = start.newest(&repository).await.id.to_string();
            for (number, key) in start.store.objects().into_keys().enumerate() {
                for &damage in damages {
                    let world = start.fork(7);
                    if !apply(&world, &key, damage) {
                        continue;
                    }
                    let what = format!("{damage:?} {key}");
                    assert_noticed(&world, &what, is_documented(&key, damage, &newest)).await;
                    let store = std::sync::Arc::new(world.store.clone());
                    if let Ok(repository) = world.open_on(store).await {
                        assert_restores_without_lies(&world, &repository, &what).await;
                    }
                    let options = if number % 2 == 0 { world.options() } else { World::bare() };
                    assert_goes_on(&world, &key, &options, &what).await;
                }
            }
        });
    }
}

#[test]
fn every_kind_of_object_is_in_the_matrix() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        for tree in trees() {
            world.keep(&repository, &tree).await;
        }
        let mut kinds: Vec<_> = world.store.objects().keys().map(|key| kind(key).to_owned()).collect();
        kinds.sort();
        kinds.dedup();
        let expected = [
            "RECOVER.txt",
            "begin",
            "data pack",
            "end",
            "holdfast.json",
            "index",
            "keys",
            "members",
            "pins-",
            "tree pack",
        ];
        assert_eq!(kinds, expected);
    });
}

#[test]
fn a_pack_that_is_damaged_in_its_middle_costs_only_what_lies_there() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let tree = Tree::mixed();
        world.keep(&repository, &tree).await;
        let snapshot = world.newest(&repository).await;
        let key = world.names("packs/data/").remove(0);
        let whole = world.store.objects()[&key].clone();
        for at in (200..whole.len()).step_by(whole.len() / 15) {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 1;
            world.store.insert_raw(key.clone(), bytes);
            let (restored, outcome) =
                world.restore(&repository, &snapshot, &RestoreOptions::default()).await.unwrap();
            let absent = restored.assert_no_wrong_bytes(&tree);
            assert!(absent.len() <= 45, "{} files are lost to one byte", absent.len());
            assert_eq!(outcome.problems.problem_count > 0, !absent.is_empty());
            // Cut off there: what lies before is restored.
            world.store.insert_raw(key.clone(), whole.slice(..at));
            let (restored, outcome) =
                world.restore(&repository, &snapshot, &RestoreOptions::default()).await.unwrap();
            let absent = restored.assert_no_wrong_bytes(&tree);
            assert!(!absent.is_empty() && outcome.problems.problem_count >= absent.len() as u64);
        }
    });
}

/// A pack that somebody deleted or cut off is not relied on: an unchanged backup with a warm cache
/// stores again what lay in it.
#[test]
fn what_lay_in_a_missing_pack_is_stored_again() {
    run(|| async {
        for class in ["packs/data/", "packs/tree/"] {
            for cut in [false, true] {
                let (world, repository) = World::made(Workers::inline()).await;
                let tree = Tree::mixed();
                world.keep(&repository, &tree).await;
                for key in world.names(class) {
                    let whole = world.store.remove_raw(&key).unwrap();
                    if cut {
                        world.store.insert_raw(key, whole.slice(..whole.len() - 1));
                    }
                }
                let options = BackupOptions { skip_if_unchanged: true, ..world.options() };
                let made = world.backup_with(&repository, ModelSource::new(&tree), &options).await.unwrap();
                assert!(made.value.snapshot.is_some(), "healing is a change: {class} {cut}");
                let told = world.take_warnings();
                assert!(told.iter().any(|what| what.contains("is stored again")), "{told:?}");
                let newest = world.newest(&repository).await;
                world.assert_restores(&repository, &newest, &tree).await;
                // Nothing is lost any more, in older snapshots neither.
                let report = world.check(&repository).await;
                assert!(cut || report.errors == 0, "{:#?}", report.findings);
                for snapshot in world.snapshots(&repository).await {
                    world.assert_restores(&repository, &snapshot, &tree).await;
                }
                // And the next run relies on what is there, without reading anything.
                let again = world.backup(&repository, ModelSource::new(&tree)).await;
                assert_eq!(again.value.counts.bytes_added, 0);
            }
        }
    });
}

/// The operator is told which files a damaged or missing chunk costs, and in which snapshot.
#[test]
fn lost_files_are_named_with_their_snapshot() {
    run(|| async {
        for delete in [false, true] {
            let (world, repository) = World::made(Workers::inline()).await;
            let mut tree = Tree::default();
            tree.put("a/whole", Node::file(noise(1, 200_000)));
            world.keep(&repository, &tree).await;
            let first: Vec<_> = world.names("packs/data/");
            tree.put("b/lost", Node::file(noise(2, 200_000)));
            world.keep(&repository, &tree).await;
            let newest = world.newest(&repository).await.id.to_string();
            let key = world.names("packs/data/").into_iter().find(|key| !first.contains(key)).unwrap();
            let mut bytes = world.store.remove_raw(&key).unwrap().to_vec();
            if !delete {
                bytes[100_000] ^= 1;
                world.store.insert_raw(key, bytes);
            }
            let report = world.check(&repository).await;
            let named: Vec<_> =
                report.findings.iter().filter(|finding| finding.subject.starts_with("snapshot")).collect();
            assert_eq!(named.len(), 1, "{:#?}", report.findings);
            assert_eq!(named[0].subject, format!("snapshot {}:/b/lost", &newest[..8]));
            assert!(named[0].is_error && named[0].what.contains("is lost"));
        }
    });
}
