//! Standard input, and commands that print what is to be stored.

use super::tree::noise;
use super::world::{Ran, World, count};
use std::fs::{self, File};

#[test]
fn standard_input() {
    let world = World::new();
    let content = noise(9, 3_000_000);
    fs::write(world.path("input"), &content).unwrap();
    let mut command = world.command();
    command.stdin(File::open(world.path("input")).unwrap());
    let summary = world.run_as(&mut command, &[&"backup", &"--json", &"-", &"--stdin-filename", &"dump.sql"]);
    assert_eq!(count(&summary.ends(0).summary(), "total_bytes_processed"), 3_000_000);
    let target = world.path("target");
    world.run(&[&"restore", &"latest", &"--target", &target, &"--verify"]).ends(0);
    assert_eq!(fs::read(target.join("dump.sql")).unwrap(), content);
}

#[test]
fn a_command_that_succeeds() {
    let world = World::new();
    let words: [super::world::Word<'_>; 8] = [
        &"backup",
        &"--stdin-from-command",
        &"--stdin-filename",
        &"a/b",
        &"--",
        &"printf",
        &"%s",
        &"-x --json",
    ];
    world.run(&words).ends(0);
    let target = world.path("target");
    world.run(&[&"restore", &"latest", &"--target", &target]).ends(0);
    assert_eq!(fs::read(target.join("a/b")).unwrap(), b"-x --json");
}

#[test]
fn a_command_that_fails_makes_no_snapshot() {
    let world = World::new();
    let run = |script: &str| -> Ran {
        world.run(&[&"backup", &"--stdin-from-command", &"--", &"sh", &"-c", &script])
    };
    run("head -c 5000000 /dev/urandom; exit 7").ends(1).says(&["7"]);
    run("echo half; kill -9 $$").ends(1);
    world
        .run(&[&"backup", &"--stdin-from-command", &"--", &"no-such-program"])
        .ends(1)
        .says(&["no-such-program"]);
    assert_eq!(world.run(&[&"snapshots", &"--json"]).ends(0).out, "");
    world.check();
    // The password is nothing that the command has to know.
    run("test -z \"$HOLDFAST_PASSWORD\"").ends(0);
}
