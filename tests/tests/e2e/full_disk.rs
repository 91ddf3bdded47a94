//! No room where the repository lies: a clear end, a whole repository, and a way on.

use super::compare::same;
use super::tree::{noise, put};
use super::world::{Ran, World, is_root, program};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small disk, gone with this value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where mounting is not allowed.
    fn new(place: &Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(place).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(place).output();
        (is_root() && mounted.is_ok_and(|output| output.status.success())).then(|| Self(place.to_owned()))
    }

    fn enlarge(&self, options: &str) {
        super::world::run_tool(
            Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0),
        );
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[track_caller]
fn is_clear(ran: Ran, repository: &Path) {
    ran.ends(1).says(&[repository.to_str().unwrap(), "make room"]);
}

/// A tree of which the first backup fits and the second does not.
fn grow(source: &Path) {
    for number in 0..12 {
        put(source.join(format!("large {number}")), noise(100 + number, 6 << 20));
    }
}

#[test]
fn a_full_disk() {
    let mut world = World::bare();
    let Some(disk) = SmallDisk::new(&world.path("disk"), "size=40m") else { return };
    let (source, place) = (world.path("source"), world.path("disk"));
    world.repo = place.join("repo");
    world.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    put(source.join("first"), noise(1, 2 << 20));
    world.backup(&source);
    grow(&source);
    for _ in 0..2 {
        is_clear(world.run(&[&"backup", &source]), &world.repo);
        world.check();
        world.run(&[&"snapshots"]).ends(0);
    }
    world.run(&[&"restore", &"latest", &"--target", &world.path("old")]).ends(0);
    disk.enlarge("size=400m");
    world.backup(&source);
    world.check();
    same(&source, &world.restore(&source, "out"));
}

#[test]
fn a_disk_without_room_for_more_files() {
    let mut world = World::bare();
    let Some(disk) = SmallDisk::new(&world.path("disk"), "size=100m,nr_inodes=26") else { return };
    let (source, place) = (world.path("source"), world.path("disk"));
    world.repo = place.join("repo");
    world.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    put(source.join("file"), noise(1, 2 << 20));
    let mut rounds = 0;
    let ran = loop {
        put(source.join("file"), noise(rounds, 100_000));
        let ran = world.run(&[&"backup", &source]);
        if ran.code != 0 {
            break ran;
        }
        rounds += 1;
        assert!(rounds < 30, "the disk never filled");
    };
    is_clear(ran, &world.repo);
    world.check();
    disk.enlarge("nr_inodes=1000");
    world.backup(&source);
    world.check();
    same(&source, &world.restore(&source, "out"));
}

#[test]
fn a_limit_on_the_size_of_files() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("first"), noise(1, 1 << 20));
    world.backup(&source);
    grow(&source);
    let mut command = Command::new("sh");
    world.furnish(&mut command);
    command.args(["-c", "trap '' XFSZ; ulimit -f 16384; exec \"$@\"", "sh"]).arg(program());
    is_clear(world.run_as(&mut command, &[&"backup", &source]), &world.repo);
    world.check();
    world.backup(&source);
    world.check();
    same(&source, &world.restore(&source, "out"));
}

/// A target without room is named as such, and a new restore elsewhere works.
#[test]
fn a_full_target() {
    let world = World::new();
    let Some(_disk) = SmallDisk::new(&world.path("disk"), "size=8m") else { return };
    let source = world.path("source");
    grow(&source);
    world.backup(&source);
    let target = world.path("disk/out");
    let part = super::world::within("latest", &source);
    let ran = world.run(&[&"restore", &part, &"--target", &target]);
    assert!([1, 3].contains(&ran.code), "{ran:?}");
    ran.says(&["space"]);
    same(&source, &world.restore(&source, "elsewhere"));
}
