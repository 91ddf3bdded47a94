//! Snapshots are copied into a bucket of a real server, and out of one, with keys of its own.
//!
//! On purpose not here: what is the same for folders ([`super::copy`]).

use super::compare::same;
use super::tree::{noise, ordinary, put};
use super::world::{World, count};
use holdfast_tests::weed::{ACCESS, SECRET, Weed};
use std::path::PathBuf;

#[test]
fn from_a_folder_into_a_bucket_and_back_into_another_folder() {
    let weed = Weed::start();
    let mut world = World::new();
    let (folder, url) = (world.repo.clone(), weed.url("offsite/web1"));
    let tree = world.path("tree");
    ordinary(&tree, 200, 1);
    put(tree.join("large"), noise(2, 20 << 20));
    world.backup(&tree);
    put(tree.join("more"), noise(3, 1 << 20));
    world.backup(&tree);
    world.repo = PathBuf::from(&url);
    let with_password = || {
        let mut command = world.command();
        command.env("HOLDFAST_FROM_PASSWORD", "correct horse");
        command
    };
    let init = world.run_as(&mut with_password(), &[&"init", &"--kdf-memory", &"1", &"--from", &folder]);
    init.ends(0);
    let copied =
        world.run_as(&mut with_password(), &[&"copy", &"--from", &folder, &"--json"]).ends(0).summary();
    assert_eq!((count(&copied, "copied_snapshots"), &copied["shared_keys"]), (2, &true.into()));
    world.check();
    same(&tree, &world.restore(&tree, "out"));
    let again =
        world.run_as(&mut with_password(), &[&"copy", &"--from", &folder, &"--json"]).ends(0).summary();
    assert_eq!((count(&again, "already_there_snapshots"), count(&again, "bytes_read")), (2, 0));
    // Out of the bucket, whose keys are not those that this machine uses elsewhere.
    let third = world.path("third");
    world.repo = third;
    world.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    let copy = |access: &str, secret: &str| {
        let mut command = world.command();
        command.env("AWS_ACCESS_KEY_ID", "other").env("AWS_SECRET_ACCESS_KEY", "other secret");
        command.env("HOLDFAST_FROM_AWS_ACCESS_KEY_ID", access);
        command.env("HOLDFAST_FROM_AWS_SECRET_ACCESS_KEY", secret);
        command.env("HOLDFAST_FROM_PASSWORD", "correct horse").env("HOLDFAST_FROM_REPOSITORY", &url);
        world.run_as(&mut command, &[&"copy", &"--json"])
    };
    let wrong = copy(ACCESS, "a wrong one").ends(1);
    assert!(wrong.err.contains("HOLDFAST_FROM_AWS_SECRET_ACCESS_KEY"), "{wrong:?}");
    assert!(!wrong.err.contains("a wrong one"), "{wrong:?}");
    let back = copy(ACCESS, SECRET).ends(0).summary();
    assert_eq!((count(&back, "copied_snapshots"), &back["shared_keys"]), (2, &false.into()));
    world.check();
    same(&tree, &world.restore(&tree, "back"));
}
