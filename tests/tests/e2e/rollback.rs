//! A repository that was copied aside and put back later: an older state, as a snapshot of the disk
//! below it makes one, or somebody who wants backups to be forgotten.

use crate::world::{World, run_tool, within};
use std::fs;
use std::process::Command;

#[test]
fn a_repository_that_was_put_back_is_refused() {
    let world = World::new();
    let (source, aside) = (world.path("tree"), world.path("aside"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "one").unwrap();
    world.backup(&source);
    world.run(&[&"prune"]).ends(0);
    run_tool(Command::new("cp").arg("-a").args([&world.repo, &aside]));
    fs::write(source.join("file"), "two").unwrap();
    world.backup(&source);
    world.run(&[&"prune"]).ends(0);
    fs::remove_dir_all(&world.repo).unwrap();
    fs::rename(&aside, &world.repo).unwrap();

    let (before, target) = (world.state(), world.path("restored"));
    let latest = within("latest", &source);
    let refused = ["which this host has seen, is gone", "--accept-rollback", "it was left as it is"];
    let refused = |ran: crate::world::Ran| {
        let said = ran.err.to_lowercase();
        assert!(refused.iter().all(|word| said.contains(&word.to_lowercase())), "{said}");
        ran.ends(1);
    };
    refused(world.run(&[&"backup", &source]));
    refused(world.run(&[&"prune"]));
    refused(world.run(&[&"snapshots"]));
    refused(world.run(&[&"restore", &latest, &"--target", &target]));
    refused(world.run(&[&"--json", &"check"]));
    assert!(world.state() == before && !target.exists());
    // Without a cache nobody knows of it; and what starts other verbs does not accept it for them.
    world.run(&[&"snapshots", &"--no-cache"]).ends(0);
    world.run(&[&"run", &"policy.yaml", &"--accept-rollback"]).ends(2).says(&["not for this verb"]);

    // The state stands for the newest from now on.
    world.run(&[&"--accept-rollback", &"restore", &latest, &"--target", &target]).ends(0);
    world.run(&[&"snapshots"]).ends(0);
    world.backup(&source);
    world.run(&[&"prune"]).ends(0);
    world.check();
    let again = world.restore(&source, "again");
    assert_eq!(fs::read(again.join("file")).unwrap(), b"two");
}
