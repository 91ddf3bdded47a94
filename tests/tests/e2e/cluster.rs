//! Clusters of PostgreSQL, on real servers: what `pg_basebackup` makes is the measure, byte for byte;
//! what comes back starts, is whole by the server's own tools, and its sums add up.
//!
//! On purpose not here: servers and networks that fail, which is in `cluster_bad.rs`.

use super::world::{World, count, objects};
use holdfast_tests::postgres::{Cluster, VERSIONS, Version, give_away};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Accounts of a pgbench scale.
const ACCOUNTS: u64 = 100_000;

/// A world whose files the server's user can reach.
pub(super) fn world() -> World {
    let world = World::new();
    let _ = world.as_nobody();
    world
}

/// Fills a cluster with tables of all kinds.
pub(super) fn fill(cluster: &Cluster) {
    cluster.sql(
        "create table plain (id int primary key, words text); \
         insert into plain select n, repeat(md5(n::text), 5) from generate_series(1, 20000) n; \
         create unlogged table passing (id int); insert into passing select generate_series(1, 1000); \
         select lo_from_bytea(4242, decode(repeat('c0ffee', 20000), 'hex'));",
    );
    cluster.sql("create database other");
    cluster.sql("create role backup login replication");
}

/// Restores the newest snapshot of a cluster; where it is.
pub(super) fn restore(world: &World, name: &str, words: &[&str]) -> PathBuf {
    let target = world.path(name);
    let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> =
        vec![&"restore", &"latest", &"--target", &target, &"--verify"];
    all.extend(words.iter().map(|word| word as &dyn AsRef<std::ffi::OsStr>));
    world.run(&all).ends(0).says(&["archiving is off"]);
    target
}

/// The same without what a recovery is told, for tests that tell it themselves.
pub(super) fn restore_alone(world: &World, name: &str) -> PathBuf {
    let target = restore(world, name, &["--to", "immediate"]);
    let settings = target.join("postgresql.auto.conf");
    let text = fs::read_to_string(&settings).unwrap();
    let told = |line: &&str| line.starts_with("recovery_target") || line.starts_with("restore_command");
    let kept: String = text.split_inclusive('\n').filter(|line| !told(line)).collect();
    fs::write(&settings, kept).unwrap();
    let _ = fs::remove_file(target.join("recovery.signal"));
    target
}

/// Starts a server on what was restored.
pub(super) fn start(version: Version, data: &Path) -> Cluster {
    let mut cluster = Cluster::place(version, Some(data.to_owned()));
    cluster.start();
    cluster
}

/// The server's own check of a backup against its manifest; the log is read too.
fn verify(cluster: &Cluster, data: &Path) {
    let written = ["postgresql.auto.conf", "tablespace_map"].map(|name| format!("--ignore={name}"));
    cluster.tool("pg_verifybackup", &[&written[0], &written[1], &data]);
}

/// Whether two backups may differ in a file: each has its own place in the log and its own times.
fn may_differ(path: &str) -> bool {
    path.starts_with("pg_wal/")
        || ["backup_label", "backup_manifest", "global/pg_control", "postgresql.auto.conf", "tablespace_map"]
            .contains(&path)
}

#[test]
fn a_cluster_comes_back_as_pg_basebackup_has_it() {
    for version in VERSIONS {
        let world = world();
        let cluster = Cluster::new(version, "wal_keep_size = 64MB");
        fill(&cluster);
        // Who reads over SQL, as a backup does, sets marks in pages, unless nothing is left to mark.
        cluster.sql("analyze");
        cluster.sql("vacuum freeze");
        cluster.sql("checkpoint");
        let summary = world.run(&[&"backup", &"--json", &cluster.url()]).ends(0).summary();
        assert!(count(&summary, "files_new") > 500, "{summary}");
        let theirs = cluster.folder("theirs");
        cluster.tool("pg_basebackup", &[&"-D", &theirs, &"-c", &"fast", &"--manifest-checksums=SHA256"]);
        let ours = restore(&world, "ours", &[]);
        let (left, right) = (objects(&ours), objects(&theirs));
        let named = |paths: &[String]| -> Vec<String> {
            paths.iter().filter(|path| !may_differ(path)).cloned().collect()
        };
        assert_eq!(named(&left), named(&right));
        for path in named(&left) {
            assert_eq!(fs::read(ours.join(&path)).unwrap(), fs::read(theirs.join(&path)).unwrap(), "{path}");
            let mode = |top: &Path| fs::metadata(top.join(&path)).unwrap().mode();
            assert_eq!(mode(&ours), mode(&theirs), "{path}");
        }
        for folder in ["pg_wal/archive_status", "pg_replslot", "pg_notify", "pg_tblspc", "pg_stat_tmp"] {
            assert!(ours.join(folder).is_dir(), "{folder}");
        }
        assert!(!left.iter().any(|path| path.contains("postmaster")), "{left:?}");
        verify(&cluster, &ours);
        assert_eq!(fs::metadata(&ours).unwrap().mode() & 0o777, 0o700);
        let restored = start(version, &ours);
        assert_eq!(restored.sql("select count(*), sum(length(words)) from plain"), "20000|3200000");
        assert_eq!(restored.sql("select count(*) from passing"), "0");
        assert_eq!(restored.sql("select length(lo_get(4242))"), "60000");
        assert_eq!(restored.sql("show archive_mode"), "off");
        assert!(restored.try_sql("other", "select 1").status.success());
    }
}

/// Starts pgbench; it runs until it is killed.
pub(super) fn load(cluster: &Cluster) -> std::process::Child {
    let mut command = cluster.program("pgbench");
    command.args(["-n", "-c", "4", "-j", "1", "-T", "600", "postgres"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Every transaction of pgbench changes four tables by the same amount: their sums say whether
/// some are there by half.
pub(super) fn assert_sums_agree(cluster: &Cluster) {
    let sums = cluster.sql(
        "select (select sum(abalance) from pgbench_accounts) = (select coalesce(sum(delta), 0) from pgbench_history), \
                (select sum(bbalance) from pgbench_branches) = (select sum(tbalance) from pgbench_tellers), \
                (select sum(bbalance) from pgbench_branches) = (select sum(abalance) from pgbench_accounts), \
                (select count(*) from pgbench_accounts)",
    );
    assert_eq!(sums, format!("t|t|t|{}", 3 * ACCOUNTS));
}

#[test]
fn a_cluster_under_load_comes_back_whole_and_each_backup_is_full() {
    for version in VERSIONS {
        let world = world();
        let cluster = Cluster::new(version, "checkpoint_timeout = 30s");
        cluster.tool("pgbench", &[&"-i", &"-s", &"3", &"-q", &"postgres"]);
        let mut load = load(&cluster);
        let history = || cluster.sql("select count(*) from pgbench_history").parse::<u64>().unwrap();
        let mut seen = 0;
        for round in 0..2 {
            while history() < seen + 200 {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            seen = history();
            world.run(&[&"backup", &cluster.url()]).ends(0);
            let ours = restore(&world, &format!("ours {round}"), &[]);
            verify(&cluster, &ours);
            let restored = start(version, &ours);
            assert_sums_agree(&restored);
            let known = restored.sql("select count(*) from pgbench_history").parse::<u64>().unwrap();
            assert!(known >= seen, "{known} of {seen} transactions that were there before the backup");
            restored.sql("create extension amcheck");
            restored.tool("pg_amcheck", &[&"--all", &"--heapallindexed"]);
        }
        load.kill().unwrap();
        load.wait().unwrap();
        world.check();
        let shown = world.run(&[&"snapshots", &"--json"]).ends(0).lines();
        assert_eq!(shown.len(), 2);
        let system = cluster.sql("select system_identifier from pg_control_system()");
        assert!(shown.iter().all(|line| line["hostname"] == format!("pg-{system}")), "{shown:?}");
        // The second was compared with the first: both are of one stream.
        assert_eq!(shown[1]["parent"], shown[0]["id"], "{shown:?}");
    }
}

#[test]
fn tablespaces_go_where_somebody_says() {
    for version in VERSIONS {
        let world = world();
        let mut cluster = Cluster::new(version, "");
        let space = cluster.folder("space");
        cluster.sql(&format!("create tablespace far location '{}'", space.display()));
        cluster.sql(
            "create table away (id int) tablespace far; insert into away select generate_series(1, 5000)",
        );
        world.run(&[&"backup", &cluster.url()]).ends(0);
        let (target, new) = (world.path("ours"), world.path("new space"));
        let words: [&dyn AsRef<std::ffi::OsStr>; 4] = [&"restore", &"latest", &"--target", &target];
        world.run(&words).ends(2).says(&[
            "1 tablespace outside",
            "--tablespace-map",
            space.to_str().unwrap(),
        ]);
        assert!(!target.exists());
        let map = format!("{}={}", space.display(), new.display());
        let onto_itself = format!("{0}={0}", space.display());
        world
            .run(&[words[0], words[1], words[2], words[3], &"--tablespace-map", &onto_itself])
            .ends(2)
            .says(&["not empty"]);
        let before = objects(&space);
        let ours = restore(&world, "ours", &["--tablespace-map", &map]);
        assert_eq!(objects(&space), before);
        // Nothing of the copy may need the place of the original.
        cluster.stop();
        fs::rename(&space, space.with_extension("gone")).unwrap();
        let restored = start(version, &ours);
        assert_eq!(restored.sql("select count(*), sum(id) from away"), "5000|12502500");
        let place =
            restored.sql("select pg_tablespace_location(oid) from pg_tablespace where spcname = 'far'");
        assert_eq!(place, new.display().to_string());
        restored.sql("insert into away values (1); checkpoint");
        assert!(!space.exists());
    }
}

#[test]
fn a_standby_is_a_source_too() {
    let world = world();
    let cluster = Cluster::new(Version::V15, "");
    fill(&cluster);
    let data = cluster.folder("standby");
    cluster.tool("pg_basebackup", &[&"-D", &data, &"-R", &"-c", &"fast"]);
    fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let standby = start(Version::V15, &data);
    cluster.sql("insert into plain values (-1, 'late')");
    while standby.sql("select count(*) from plain where id = -1") != "1" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    cluster.sql("checkpoint");
    let output = world.run(&[&"preflight", &standby.url()]).ends(0).out;
    assert!(output.contains("it is a standby"), "{output}");
    world.run(&[&"backup", &standby.url()]).ends(0);
    let ours = restore(&world, "ours", &[]);
    assert!(!ours.join("standby.signal").exists());
    let settings = fs::read_to_string(ours.join("postgresql.auto.conf")).unwrap();
    assert!(!settings.contains("primary_conninfo"), "{settings}");
    let restored = start(Version::V15, &ours);
    assert_eq!(restored.sql("select count(*) from plain"), "20001");
    // It is a cluster of its own: a write in it is no write in the one that it was made of.
    restored.sql("delete from plain");
    assert_eq!(cluster.sql("select count(*) from plain"), "20001");
}

#[test]
fn a_cluster_on_a_later_timeline_brings_its_history() {
    let world = world();
    let cluster = Cluster::new(Version::V18, "");
    fill(&cluster);
    let data = cluster.folder("promoted");
    cluster.tool("pg_basebackup", &[&"-D", &data, &"-R", &"-c", &"fast"]);
    fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let promoted = start(Version::V18, &data);
    assert_eq!(promoted.sql("select pg_promote()"), "t");
    promoted.sql("checkpoint");
    world.run(&[&"backup", &promoted.url()]).ends(0);
    let ours = restore(&world, "ours", &[]);
    assert!(ours.join("pg_wal/00000002.history").exists());
    verify(&promoted, &ours);
    assert_eq!(start(Version::V18, &ours).sql("select count(*) from plain"), "20000");
}

#[test]
fn a_part_of_a_cluster_is_plain_files() {
    let world = world();
    let cluster = Cluster::new(Version::V15, "");
    world.run(&[&"backup", &cluster.url(), &"--label", &"shop"]).ends(0);
    let target = world.path("part");
    world.run(&[&"restore", &"latest:/global", &"--target", &target]).ends(0).says(&["no server starts"]);
    assert!(target.join("pg_control").exists());
    let taken = world.path("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("postmaster.pid"), "1").unwrap();
    give_away(&taken);
    world.run(&[&"restore", &"latest", &"--target", &taken]).ends(2).says(&["not empty"]);
    world
        .run(&[&"restore", &"latest", &"--target", &taken, &"--overwrite", &"always"])
        .ends(2)
        .says(&["postmaster.pid"]);
    let dry = world.path("dry");
    world.run(&[&"restore", &"latest", &"--target", &dry, &"--dry-run"]).ends(0);
    assert!(!dry.exists());
    // Who restores learns before that no server here can start it.
    let mut elsewhere = world.command();
    elsewhere.env("HOLDFAST_PG_BIN", &dry);
    let told = world.run_as(&mut elsewhere, &[&"restore", &"latest", &"--target", &dry, &"--dry-run"]);
    told.ends(0).says(&["there is no server of PostgreSQL", "HOLDFAST_PG_BIN"]);
    // A dry run reads all of the cluster, and stores nothing.
    let before = world.objects();
    world.run(&[&"backup", &cluster.url(), &"--dry-run"]).ends(0);
    assert_eq!(world.objects(), before);
    let shown = world.run(&[&"snapshots"]).ends(0).out;
    assert!(shown.contains("shop"), "{shown}");
}
