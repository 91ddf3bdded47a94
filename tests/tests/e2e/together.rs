//! Several at once on one repository: nobody waits, nobody loses.

use super::compare::same;
use super::tree::ordinary;
use super::world::{Ran, World};

#[test]
fn two_backups_at_once() {
    let world = World::new();
    let trees = ["one", "two", "three"].map(|name| world.path(name));
    // Two of them hold the same, so that they race for the same chunks.
    for (seed, tree) in [(1, &trees[0]), (2, &trees[1]), (1, &trees[2])] {
        ordinary(tree, 400, seed);
    }
    for _ in 0..2 {
        let started: Vec<_> = trees.iter().map(|tree| world.start(&[&"backup", &"--json", &tree])).collect();
        for child in started {
            Ran::of(&[&"backup"], &child.wait_with_output().unwrap()).ends(0);
        }
    }
    world.check();
    for (number, tree) in trees.iter().enumerate() {
        same(tree, &world.restore(tree, &format!("out {number}")));
    }
    assert_eq!(world.run(&[&"snapshots", &"--json"]).ends(0).lines().len(), 6);
}

#[test]
fn a_check_beside_a_backup_finds_nothing() {
    let world = World::new();
    let (old, new) = (world.path("old"), world.path("new"));
    ordinary(&old, 100, 3);
    ordinary(&new, 1500, 4);
    std::fs::write(new.join("noise"), super::tree::noise(5, 60 << 20)).unwrap();
    world.backup(&old);
    let mut backup = world.start(&[&"backup", &"--json", &new]);
    let mut checks = 0;
    while backup.try_wait().unwrap().is_none() {
        world.check();
        world.run(&[&"snapshots"]).ends(0);
        checks += 1;
    }
    assert!(checks > 0);
    Ran::of(&[&"backup"], &backup.wait_with_output().unwrap()).ends(0);
    world.check();
    same(&new, &world.restore(&new, "out"));
}
