//! Clusters that are restored over themselves: only what differs is written, nothing of the later state
//! stays, and what is restored by half does not start.
//!
//! On purpose not here: restoring files over files, which is in `in_place.rs`.

use super::cluster::{fill, start, world};
use super::world::{NOBODY, Ran, Word, World, count, is_root, objects};
use holdfast_tests::postgres::{Cluster, VERSIONS, Version};
use std::fs;
use std::path::Path;

fn over(world: &World, target: &Path, map: &str, more: &[&str]) -> Ran {
    let mut words: Vec<Word<'_>> =
        vec![&"restore", &"latest", &"--target", &target, &"--overwrite", &"always", &"--delete"];
    words.extend([&"--tablespace-map" as Word<'_>, &map]);
    words.extend(more.iter().map(|word| word as Word<'_>));
    world.run(&words)
}

#[test]
fn a_cluster_is_restored_over_itself() {
    for version in VERSIONS {
        let world = world();
        let mut cluster = Cluster::new(version, "");
        fill(&cluster);
        let space = cluster.folder("space");
        cluster.sql(&format!("create tablespace far location '{}'", space.display()));
        cluster.sql(
            "create table away (id int) tablespace far; insert into away select generate_series(1, 5000)",
        );
        cluster
            .sql("create table large as select n, md5(n::text) as words from generate_series(1, 100000) n");
        cluster.sql("checkpoint");
        world.run(&[&"backup", &cluster.url()]).ends(0);
        cluster.sql("delete from plain; create table later as select generate_series(1, 1000); insert into away values (-1)");
        cluster.sql(
            "create table later_away (id int) tablespace far; insert into later_away values (1); checkpoint",
        );
        let (data, map) = (cluster.data.clone(), format!("{0}={0}", space.display()));
        // A server runs there.
        over(&world, &data, &map, &[]).ends(2).says(&["postmaster.pid", "stop it"]);
        over(&world, &data, &map, &["--dry-run"]).ends(2).says(&["postmaster.pid"]);
        cluster.stop();
        let before = objects(&data);
        let words: [Word<'_>; 6] = [&"restore", &"latest", &"--target", &data, &"--overwrite", &"always"];
        world.run(&words).ends(2).says(&["--overwrite always --delete"]);
        over(&world, &data, &map, &["--dry-run"]).ends(0).says(&["mv main main.broken"]);
        over(&world, &data, &map, &["--max-delete", "0"]).ends(2).says(&["nothing was changed"]);
        assert_eq!(objects(&data), before);
        let summary = over(&world, &data, &map, &["--json"]).ends(0).summary();
        let (written, all) = (count(&summary, "bytes_written"), count(&summary, "bytes_restored"));
        // The log, which is written anew, is most of it. A server changes times of what it reads.
        let kept = count(&summary, "items_unchanged") + count(&summary, "items_attributes_only");
        assert!(written < all * 3 / 4 && kept > 500, "{summary}");
        let restored = start(version, &data);
        assert_eq!(restored.sql("select count(*), sum(length(words)) from plain"), "20000|3200000");
        assert_eq!(restored.sql("select count(*), sum(id) from away"), "5000|12502500");
        assert_eq!(restored.sql("select count(*) from pg_class where relname like 'later%'"), "0");
        restored.sql("create extension amcheck");
        restored.tool("pg_amcheck", &[&"--all", &"--heapallindexed"]);
    }
}

#[test]
fn what_is_no_place_for_a_cluster_is_left_alone_and_a_half_one_goes_on() {
    let world = world();
    let mut cluster = Cluster::new(Version::V15, "");
    world.run(&[&"backup", &cluster.url()]).ends(0);
    cluster.stop();
    let mut other = Cluster::new(Version::V15, "");
    other.stop();
    let words = |target: &Path| -> Ran {
        world.run(&[&"restore", &"latest", &"--target", &target, &"--overwrite", &"always", &"--delete"])
    };
    let before = objects(&other.data);
    words(&other.data).ends(2).says(&["another cluster"]);
    assert_eq!(objects(&other.data), before);
    let plain = world.path("plain");
    fs::create_dir(&plain).unwrap();
    fs::write(plain.join("file"), "x").unwrap();
    words(&plain).ends(2).says(&["not the folder of a cluster"]);
    assert_eq!(objects(&plain), ["file"]);
    // As if it had been interrupted: without pg_control no server starts, and it can be gone on with.
    fs::remove_file(cluster.data.join("global/pg_control")).unwrap();
    fs::remove_dir_all(cluster.data.join("base/1")).unwrap();
    words(&cluster.data).ends(0);
    assert_eq!(start(Version::V15, &cluster.data.clone()).sql("select 1"), "1");
}

/// A file that one error keeps from being written is enough: a server would start with a shorter table.
#[test]
fn a_cluster_that_lacks_one_file_does_not_start() {
    if !is_root() {
        return;
    }
    let world = world();
    let mut cluster = Cluster::new(Version::V18, "");
    world.run(&[&"backup", &cluster.url()]).ends(0);
    cluster.stop();
    world.give_to_nobody(&[&world.repo, &world.cache]);
    let (folder, control) = (cluster.data.join("base/1"), cluster.data.join("global/pg_control"));
    fs::remove_file(folder.join("1247")).unwrap();
    let own = |user| std::os::unix::fs::chown(&folder, Some(user), Some(user)).unwrap();
    let words: [Word<'_>; 7] =
        [&"restore", &"latest", &"--target", &cluster.data, &"--overwrite", &"always", &"--delete"];
    own(0);
    let ran = world.run_as(&mut world.as_nobody(), &words).ends(1);
    ran.says(&["base/1/1247", "by half", "global/pg_control"]);
    assert!(!control.exists() && !folder.join("1247").exists());
    own(NOBODY);
    world.run_as(&mut world.as_nobody(), &words).ends(0);
    assert!(control.exists());
    assert_eq!(start(Version::V18, &cluster.data.clone()).sql("select 1"), "1");
}
