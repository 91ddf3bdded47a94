//! Without rights: what cannot be read or set is counted and named, and the rest is there.

use super::compare::{Depth, differences, list};
use super::tree::{make_node, put, set_xattr};
use super::world::{NOBODY, World, count, is_root, within};
use rustix::fs::FileType;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_stored() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("open"), b"open");
    put(source.join("closed"), b"closed");
    put(source.join("closed folder/inside"), b"inside");
    fs::set_permissions(source.join("closed"), Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(source.join("closed folder"), Permissions::from_mode(0o000)).unwrap();
    let mut nobody = world.as_nobody();
    fs::create_dir_all(&world.cache).unwrap();
    world.give_to_nobody(&[&world.repo, &world.cache]);
    let ran = world.run_as(&mut nobody, &[&"backup", &"--json", &source]).ends(3);
    let summary = ran.summary();
    assert!(summary["snapshot_id"].is_string() && summary["incomplete"] == true, "{summary}");
    let named: Vec<_> =
        ran.of_type("error").into_iter().map(|line| (line["kind"].clone(), line["item"].clone())).collect();
    for name in ["closed", "closed folder"] {
        let item = source.join(name).to_str().unwrap().to_owned();
        assert!(named.contains(&("unreadable".into(), item.into())), "{name} is not named: {named:?}");
    }
    assert_eq!((named.len() as u64, count(&summary, "error_count")), (2, 2));
    let end = ran.told().pop().unwrap();
    assert_eq!((&end["message_type"], &end["code"]), (&"exit_error".into(), &3.into()));
    // People are told in words.
    let ran = world.run_as(&mut world.as_nobody(), &[&"backup", &source]).ends(3);
    ran.says(&["closed", "could not be read", "the snapshot exists"]);
    let restored = world.path("restored");
    let ran = world.run(&[&"restore", &within("latest", &source), &"--target", &restored]).ends(0);
    ran.says(&["incomplete"]);
    assert_eq!(fs::read(restored.join("open")).unwrap(), b"open");
    assert!(!restored.join("closed").exists());
    fs::set_permissions(source.join("closed folder"), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn what_cannot_be_set_is_named_and_the_rest_is_restored() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let source = world.path("source");
    for name in ["plain", "foreign", "set-id", "attribute", "folder/inside"] {
        put(source.join(name), name);
    }
    make_node(&source.join("device"), FileType::CharacterDevice, 1, 3);
    make_node(&source.join("fifo"), FileType::Fifo, 0, 0);
    set_xattr(&source.join("attribute"), "trusted.secret", b"for root");
    world.give_to_nobody(&[&source]);
    std::os::unix::fs::chown(source.join("foreign"), Some(1), Some(1)).unwrap();
    std::os::unix::fs::chown(source.join("set-id"), Some(0), Some(0)).unwrap();
    fs::set_permissions(source.join("set-id"), Permissions::from_mode(0o4755)).unwrap();
    world.backup(&source);
    let mut nobody = world.as_nobody();
    let place = world.path("place");
    fs::create_dir(&place).unwrap();
    world.give_to_nobody(&[&world.repo, &world.cache, &place]);
    let restored = place.join("out");
    let words: [super::world::Word<'_>; 5] =
        [&"restore", &within("latest", &source), &"--target", &restored, &"--json"];
    let ran = world.run_as(&mut nobody, &words).ends(3);
    let named: Vec<_> =
        ran.of_type("error").iter().map(|line| line["item"].as_str().unwrap().to_owned()).collect();
    for name in ["foreign", "set-id", "attribute", "device"] {
        assert!(named.iter().any(|item| item.ends_with(name)), "{name} is not named: {named:?}");
    }
    assert_eq!((named.len() as u64, 4), (count(&ran.summary(), "error_count"), named.len()));
    let (wanted, found) = (list(&source, Depth::Contents), list(&restored, Depth::Contents));
    let lost = differences(&wanted, &found);
    assert!(lost.len() == 1 && lost[0].contains("device"), "{lost:?}");
    let set_id = fs::metadata(restored.join("set-id")).unwrap();
    assert_eq!(set_id.permissions().mode() & 0o7777, 0o755, "the rights of root were given to {NOBODY}");
}

/// As the unit of systemd has it: a user of no rights but the one to read everything.
#[test]
fn a_service_with_one_right_reads_everything_and_does_its_work() {
    let world = World::bare();
    put(world.path("tree/closed"), b"closed");
    put(world.path("tree/folder/inside"), b"inside");
    if is_root() {
        // Elsewhere the user's own files stand in for those of others.
        fs::set_permissions(world.path("tree/closed"), Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(world.path("tree/folder"), Permissions::from_mode(0o700)).unwrap();
    }
    let policy = world.path("policies/shop.yaml");
    let (repo, home) = (world.repo.display(), world.path("home"));
    put(
        &policy,
        format!(
            "name: shop\nrepository: {{ url: {repo}, password: {{ env: SHOP_PASSWORD }} }}\nsources:\n  tree: {{ files: {{ paths: [ {} \
             ] }} }}\nschedule: {{ cron: '@yearly' }}\ndrill: {{ level: restore, scratch: {{ path: {} }} }}\n",
            world.path("tree").display(),
            home.join("scratch").display()
        ),
    );
    world.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    fs::create_dir_all(home.join("scratch")).unwrap();
    fs::create_dir_all(&world.cache).unwrap();
    // This also puts the program where that user finds it.
    let mut command = world.as_nobody();
    world.give_to_nobody(&[&world.repo, &world.cache, &home, &world.path("policies")]);
    if is_root() {
        command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
        let one = ["--inh-caps", "--ambient-caps", "--bounding-set"];
        command.args(one.map(|set| format!("{set}=-all,+dac_read_search"))).arg(world.path("holdfast"));
        world.furnish(&mut command);
    }
    command
        .env_remove("HOLDFAST_PASSWORD")
        .env_remove("HOLDFAST_REPOSITORY")
        .env("SHOP_PASSWORD", "correct horse");
    world.run_as(&mut command, &[&"serve", &"--json", &"--once", &policy]).ends(0);
    let restored = world.path("restored");
    world.run(&[&"restore", &"latest", &"--source", &"shop/tree", &"--target", &restored]).ends(0);
    let found = restored.join(world.path("tree").strip_prefix("/").unwrap());
    assert_eq!(fs::read(found.join("closed")).unwrap(), b"closed");
    assert_eq!(fs::read(found.join("folder/inside")).unwrap(), b"inside");
}
