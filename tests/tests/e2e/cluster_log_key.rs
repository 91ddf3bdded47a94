//! A key for the log alone: a standby follows with it, and who takes the standby's machine has nothing else.
//!
//! On purpose not here: what other roles may (`roles`, `cluster_roles`).

use super::cluster::start;
use super::cluster_point::{Archived, PATIENCE, archive, ids, up_to};
use super::world::{Ran, Word, World, objects};
use holdfast_tests::postgres::{Cluster, VERSIONS};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A key file that the server's user may read.
fn key_file(world: &World, name: &str, byte: u8) -> PathBuf {
    let path = world.path(name);
    fs::write(&path, [byte; 64]).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    path
}

/// The program with one key file alone, as the user of the server.
fn run_with(world: &World, key: &Path, words: &[Word<'_>]) -> Ran {
    let mut command = world.as_nobody();
    command.env_remove("HOLDFAST_PASSWORD").env("HOLDFAST_CACHE_DIR", world.path("cache of the standby"));
    let all: Vec<Word<'_>> =
        [&"--key-file" as Word<'_>, &key].into_iter().chain(words.iter().copied()).collect();
    world.run_as(&mut command, &all)
}

fn follows(standby: &Cluster, last: &str) {
    let begun = Instant::now();
    while !ids(standby).ends_with(last) {
        assert!(begun.elapsed() < PATIENCE, "it does not follow: {}", standby.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_standby_follows_with_a_key_for_the_log_alone() {
    for version in VERSIONS {
        let mut all = Archived::new(version);
        let (key, whole) = (key_file(&all.world, "standby.key", 9), all.world.path("key"));
        all.run(&[&"key", &"add", &"--role", &"reader:wal", &"--new-key-file", &key, &"--label", &"db2"])
            .ends(0);
        all.commit(1..=2);
        all.backup();
        all.commit(3..=4);
        archive(&all.cluster);
        // With the key of the restore the server could read everything, and that is said.
        let target = all.world.path("plain");
        let plan: [Word<'_>; 6] = [&"restore", &"latest", &"--target", &target, &"--standby", &"--dry-run"];
        all.run(&plan).ends(0).says(&["key add --role reader:wal", "--server-key-file"]);
        let target = all.world.path("standby");
        let words: [Word<'_>; 7] =
            [&"restore", &"latest", &"--target", &target, &"--standby", &"--server-key-file", &key];
        let restored = all.run(&words).ends(0);
        assert!(!restored.err.contains("key add --role"), "{restored:?}");
        let settings = fs::read_to_string(target.join("postgresql.auto.conf")).unwrap();
        assert!(settings.contains("standby.key") && settings.contains("--standby"), "{settings}");
        assert!(!settings.contains(whole.to_str().unwrap()), "{settings}");
        // From here on the machine has no other key.
        fs::rename(&whole, all.world.path("taken away")).unwrap();
        let standby = start(version, &target);
        follows(&standby, "4");
        fs::rename(all.world.path("taken away"), &whole).unwrap();
        all.commit(5..=9);
        archive(&all.cluster);
        follows(&standby, "9");
        assert_eq!(ids(&standby), up_to(9));
        assert_eq!(standby.sql("select pg_is_in_recovery()"), "t");
        refuses_the_rest(&all, &key);
    }
}

/// What is there of the log can be seen and fetched; everything else is refused by name.
fn refuses_the_rest(all: &Archived, key: &Path) {
    let world = &all.world;
    let run = |words: &[Word<'_>]| run_with(world, key, words);
    let listed = run(&[&"wal", &"ls", &"--json"]).ends(0).lines();
    assert!(listed.iter().any(|line| line["message_type"] == "wal_file"), "{listed:?}");
    let shown = run(&[&"wal", &"status"]).ends(0);
    assert!(shown.out.contains("not for this key to see"), "{shown:?}");
    assert!(
        run(&[&"wal", &"status", &"--json"])
            .ends(0)
            .lines()
            .iter()
            .all(|line| line["message_type"] != "wal_window")
    );
    run(&[&"key", &"list"]).ends(0);
    let before = objects(&world.repo);
    let is_segment = |line: &&Value| line["piece"].is_null() && line["file"].as_str().unwrap().len() == 24;
    let first = listed.iter().filter(|line| line["message_type"] == "wal_file").find(is_segment).unwrap();
    let [file, system] = ["file", "system"].map(|field| first[field].as_str().unwrap().to_owned());
    let (out, segment) = (world.path("out"), world.path(&file));
    run(&[&"wal", &"fetch", &file, &segment, &"--system", &system]).ends(0);
    assert_eq!(fs::metadata(&segment).unwrap().len(), 16 << 20);
    let key_of_another = key_file(world, "another.key", 10);
    let url = all.cluster.url();
    let refused: [&[Word<'_>]; 16] = [
        &[&"restore", &"latest", &"--target", &out],
        &[&"dump", &"latest:/PG_VERSION"],
        &[&"ls", &"latest"],
        &[&"snapshots"],
        &[&"find", &"PG_VERSION"],
        &[&"stats"],
        &[&"check"],
        &[&"diff", &"latest", &"latest"],
        &[&"backup", &url],
        &[&"backup", &segment],
        &[&"wal", &"push", &segment],
        &[&"wal", &"stream", &url, &"--slot", &"x", &"--once"],
        &[&"forget", &"latest"],
        &[&"prune"],
        &[&"evidence", &"verify"],
        &[&"repair", &"index"],
    ];
    for words in refused {
        run(words).ends(1).says(&["this key is a reader:wal's: it can fetch and list the log", "Use a"]);
    }
    let add: [Word<'_>; 6] = [&"key", &"add", &"--role", &"reader", &"--new-key-file", &key_of_another];
    for words in [&[&"key" as Word<'_>, &"rotate"][..], &add] {
        run(words).ends(1);
    }
    assert_eq!(objects(&world.repo), before, "something was written");
    assert!(!out.exists());
}
