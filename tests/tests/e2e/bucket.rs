//! A repository in a bucket of a real server: all that a person does with one, kills in the middle,
//! a server that goes away, and servers and keys that are not what they should be.
//!
//! On purpose not here: each promise of a store by itself, which `tests/s3.rs` asks of the same server.

use super::compare::same;
use super::tree::{noise, ordinary, put};
use super::world::{Ran, World, count};
use holdfast_tests::weed::Weed;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// A server, and a place that uses it for its repository.
fn bucket(prefix: &str) -> (Weed, World) {
    let weed = Weed::start();
    let mut world = World::bare();
    world.repo = PathBuf::from(weed.url(prefix));
    (weed, world)
}

fn init(world: &World) {
    world.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
}

#[test]
fn a_repository_in_a_bucket_does_all_that_one_in_a_folder_does() {
    let (_weed, world) = bucket("hosts/web1");
    world.run(&[&"snapshots"]).ends(10).says(&["there is no repository at s3://backups/hosts/web1"]);
    init(&world);
    world.run(&[&"init"]).ends(1).says(&["there is a repository already at s3://backups/hosts/web1"]);
    let tree = world.path("tree");
    ordinary(&tree, 300, 1);
    // Longer than a part, so that packs are uploaded in several.
    put(tree.join("large"), noise(2, 30 << 20));
    world.backup(&tree);
    let again = world.backup(&tree);
    assert_eq!((count(&again, "files_new"), count(&again, "data_added")), (0, 0), "{again}");
    same(&tree, &world.restore(&tree, "out"));
    put(tree.join("large"), noise(3, 20 << 20));
    world.backup(&tree);
    world.run(&[&"forget", &"--keep-last", &"1"]).ends(0);
    let pruned =
        world.run(&[&"prune", &"--json", &"--min-age", &"0", &"--max-unused", &"0"]).ends(0).summary();
    assert!(count(&pruned, "freed_bytes") > 25 << 20, "{pruned}");
    world.check();
    same(&tree, &world.restore(&tree, "out again"));
    let mut command = world.command();
    command.env("HOLDFAST_PASSWORD", "wrong");
    world.run_as(&mut command, &[&"snapshots"]).ends(12);
    let mut command = world.command();
    command.env("AWS_SECRET_ACCESS_KEY", "wrong");
    let ran = world.run_as(&mut command, &[&"snapshots"]).ends(1);
    assert!(ran.err.contains("AWS_SECRET_ACCESS_KEY") && !ran.err.contains("correct horse"), "{ran:?}");
}

#[test]
fn a_backup_into_a_bucket_that_is_killed_leaves_it_whole() {
    let (_weed, world) = bucket("x");
    init(&world);
    let tree = world.path("tree");
    ordinary(&tree, 50, 1);
    let mut interrupted = 0;
    for round in 0..6 {
        put(tree.join("large"), noise(10 + round, 40 << 20));
        let mut child = world.start(&[&"backup", &"--json", &tree]);
        std::thread::sleep(Duration::from_millis(100 + 120 * round));
        let ended = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        interrupted += usize::from(!ended);
        world.run(&[&"check"]).ends(0);
        world.backup(&tree);
        same(&tree, &world.restore(&tree, &format!("out {round}")));
        fs::remove_dir_all(world.path(format!("out {round}"))).unwrap();
    }
    assert!(interrupted > 0, "every run was over before it was killed");
    world.run(&[&"forget", &"--keep-last", &"1"]).ends(0);
    world.run(&[&"prune", &"--min-age", &"0", &"--abort-after", &"0"]).ends(0);
    world.check();
}

#[test]
fn several_at_once_on_a_bucket() {
    let (_weed, world) = bucket("shared");
    init(&world);
    let trees = ["one", "two", "three"].map(|name| world.path(name));
    for (seed, tree) in [(1, &trees[0]), (2, &trees[1]), (1, &trees[2])] {
        ordinary(tree, 200, seed);
    }
    for _ in 0..2 {
        let mut started: Vec<_> =
            trees.iter().map(|tree| world.start(&[&"backup", &"--json", &tree])).collect();
        started.push(world.start(&[&"prune", &"--json", &"--min-age", &"0"]));
        for child in started {
            Ran::of(&[&"one of several"], &child.wait_with_output().unwrap()).ends(0);
        }
    }
    world.check();
    for (number, tree) in trees.iter().enumerate() {
        same(tree, &world.restore(tree, &format!("out {number}")));
    }
}

#[test]
fn a_server_that_goes_away_fails_the_run_and_harms_nothing() {
    let (mut weed, world) = bucket("x");
    init(&world);
    let tree = world.path("tree");
    ordinary(&tree, 50, 1);
    world.backup(&tree);
    put(tree.join("large"), noise(1, 80 << 20));
    let child = world.start(&[&"backup", &"--json", &tree]);
    std::thread::sleep(Duration::from_millis(300));
    weed.kill();
    let ran = Ran::of(&[&"backup"], &child.wait_with_output().unwrap());
    assert!([0, 1].contains(&ran.code), "{ran:?}");
    let ran = world.run(&[&"snapshots"]).ends(1);
    assert!(ran.err.contains("endpoint"), "{ran:?}");
    weed.start_again();
    world.check();
    world.backup(&tree);
    same(&tree, &world.restore(&tree, "out"));
}
