//! Clusters that cannot be backed up, or not well: whoever is not let in, servers that go away,
//! pages that are broken. No snapshot says that it is whole when it is not.
//!
//! On purpose not here: what goes well, which is in `cluster.rs`.

use super::cluster::{fill, restore, start, world};
use super::world::{Ran, World, run_tool};
use holdfast_tests::postgres::{Cluster, VERSIONS, Version, give_away};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::Command;

/// Runs with a password of the server.
fn run_with(world: &World, password: &str, words: &[&dyn AsRef<std::ffi::OsStr>]) -> Ran {
    let mut command = world.command();
    command.env("PGPASSWORD", password);
    let ran = world.run_as(&mut command, words);
    assert!(!ran.err.contains(password) && !ran.out.contains(password), "{ran:?}");
    ran
}

fn snapshots(world: &World) -> usize {
    world.run(&[&"snapshots", &"--json"]).ends(0).lines().len()
}

fn encrypts(version: Version) -> bool {
    version == Version::V15
}

/// A server that asks everybody for a password, and encrypts if it can: the wheel's cannot.
fn closed(version: Version) -> Cluster {
    let mut cluster = Cluster::new(version, "password_encryption = 'scram-sha-256'");
    fill(&cluster);
    cluster.sql("alter role backup password 'open sesame'");
    cluster.sql("create role nobody login password 'open sesame'");
    cluster.stop();
    let hba = "local all postgres trust\nlocal replication all scram-sha-256\n\
               host replication backup,nobody 127.0.0.1/32 scram-sha-256\n";
    fs::write(cluster.data.join("pg_hba.conf"), hba).unwrap();
    if encrypts(version) {
        let _ = cluster.encrypt();
    }
    give_away(&cluster.data);
    cluster.start();
    cluster
}

#[test]
fn who_is_not_let_in_is_told_why_and_nothing_is_stored() {
    for version in VERSIONS {
        let world = world();
        let cluster = closed(version);
        let by =
            |user: &str, host: &str, more: &str| format!("postgres://{user}@{host}:{}{more}", cluster.port);
        let right = by("backup", "127.0.0.1", "");
        run_with(&world, "wrong pass", &[&"backup", &right]).ends(1).says(&["28P01", "PGPASSWORD"]);
        world.run(&[&"backup", &right]).ends(1).says(&["asks for a password of backup", ".pgpass"]);
        let nobody = by("nobody", "127.0.0.1", "");
        run_with(&world, "open sesame", &[&"backup", &nobody]).ends(1).says(&["42501", "preflight"]);
        run_with(&world, "open sesame", &[&"backup", &by("stranger", "127.0.0.1", "")])
            .ends(1)
            .says(&["28000"]);
        let found = run_with(&world, "open sesame", &[&"preflight", &nobody]).ends(1);
        assert!(found.out.contains("ALTER ROLE nobody LOGIN REPLICATION;"), "{found:?}");
        let found =
            run_with(&world, "wrong pass", &[&"preflight", &"--json", &by("stranger", "127.0.0.1", "")])
                .ends(1);
        let line = &found.lines()[0];
        assert_eq!(line["remedy"][0], "CREATE ROLE stranger LOGIN REPLICATION PASSWORD '…';");
        run_with(&world, "open sesame", &[&"preflight", &right]).ends(0);
        let mut port = by("backup", "127.0.0.1", "");
        port = port.replace(&cluster.port.to_string(), "1");
        world.run(&[&"backup", &port]).ends(1).says(&["cannot connect to the server at 127.0.0.1:1"]);
        assert_eq!(snapshots(&world), 0);
        for (url, word) in [
            ("postgres://u:secret@h", "password in the URL"),
            ("postgres://u@h/shop", "whole cluster"),
            ("postgres://u@h?nonsense=1", "nonsense"),
        ] {
            world.run(&[&"backup", &url]).ends(2).says(&[word]);
        }
        world.run(&[&"backup", &right, &"--exclude", &"x"]).ends(2).says(&["--exclude has no meaning"]);
        world.run(&[&"backup", &right, &"/etc"]).ends(2).says(&["cannot stand beside"]);

        let way = if encrypts(version) {
            encrypted(&world, &cluster)
        } else {
            let ran = world.run(&[&"backup", &by("backup", "localhost", "?sslmode=require")]).ends(1);
            assert!(ran.err.contains("offers no encryption"), "{ran:?}");
            String::new()
        };

        // The password file, as libpq has it; by the role that may do nothing but this.
        let passfile = world.path("pgpass");
        fs::write(&passfile, format!("localhost:{}:replication:backup:open sesame\n", cluster.port)).unwrap();
        let with_file = |mode: u32| {
            fs::set_permissions(&passfile, Permissions::from_mode(mode)).unwrap();
            let mut command = world.command();
            command.env("PGPASSFILE", &passfile);
            world.run_as(&mut command, &[&"backup", &by("backup", "localhost", &way)])
        };
        with_file(0o644).ends(2).says(&["chmod 600"]);
        with_file(0o600).ends(0);
        assert_eq!(snapshots(&world), 1);
        let ours = restore(&world, "ours", &[]);
        assert_eq!(start(version, &ours).sql("select count(*) from plain"), "20000");
    }
}

/// The way is encrypted, and the password bound to it; the options of the URL that ask for that.
fn encrypted(world: &World, cluster: &Cluster) -> String {
    let by = |user: &str, host: &str, more: &str| format!("postgres://{user}@{host}:{}{more}", cluster.port);
    let ca = cluster.data.join("ca.crt");
    let ca = format!("?sslmode=verify-full&channel_binding=require&sslrootcert={}", ca.display());
    run_with(world, "open sesame", &[&"preflight", &by("backup", "localhost", &ca)]).ends(0);
    // Its certificate is for another name.
    let ran = run_with(world, "open sesame", &[&"backup", &by("backup", "127.0.0.1", &ca)]).ends(1);
    assert!(ran.err.contains("cannot encrypt the way"), "{ran:?}");
    let any_name = ca.replace("verify-full", "verify-ca");
    run_with(world, "open sesame", &[&"preflight", &by("backup", "127.0.0.1", &any_name)]).ends(0);
    let unknown = "?sslmode=verify-full&sslrootcert=system";
    run_with(world, "open sesame", &[&"backup", &by("backup", "localhost", unknown)]).ends(1);
    let unbound = "?sslmode=disable&channel_binding=require";
    run_with(world, "open sesame", &[&"backup", &by("backup", "localhost", unbound)])
        .ends(1)
        .says(&["channel_binding"]);
    ca
}

#[test]
fn a_server_that_is_killed_in_the_middle_leaves_no_snapshot() {
    for version in VERSIONS {
        let world = world();
        let mut cluster = Cluster::new(version, "");
        // Bytes that cannot be made smaller, so that a slow repository holds the backup up.
        cluster.sql(
            "create table noise as select n, decode(string_agg(md5(random()::text), ''), 'hex') bytes \
             from generate_series(1, 3000) n, generate_series(1, 100) m group by n",
        );
        let url = cluster.url();
        let sending = "select count(*) from pg_stat_progress_basebackup where backup_streamed > 1000000";
        let start = || {
            let mut run = world.leash(&[&"backup", &"--limit-upload", &"500k", &url]);
            assert!(run.wait_for(|| cluster.sql(sending) == "1"), "it was over before");
            run
        };
        // Without its log a backup is none, whatever becomes of the files.
        let run = start();
        let sender = cluster.sql("select pid from pg_stat_replication where state = 'streaming'");
        run_tool(Command::new("kill").arg(sender));
        run.ends_alone(&[&"backup"]).ends(1).says(&["no snapshot"]);
        assert_eq!(snapshots(&world), 0);
        let run = start();
        cluster.crash();
        let ran = run.ends_alone(&[&"backup"]).ends(1);
        assert!(ran.err.contains("the server") && ran.err.contains("no snapshot"), "{ran:?}");
        assert_eq!(snapshots(&world), 0);
        cluster.start();
        world.run(&[&"backup", &url]).ends(0);
        assert_eq!(snapshots(&world), 1);
        world.check();
        // Nothing of us is left on the server: its log need not be kept for anybody.
        assert_eq!(cluster.sql("select count(*) from pg_replication_slots"), "0");
    }
}

#[test]
fn a_broken_page_is_stored_and_named() {
    for version in VERSIONS {
        let world = world();
        let mut cluster = Cluster::new(version, "");
        fill(&cluster);
        let path = cluster.sql("select pg_relation_filepath('plain')");
        cluster.stop();
        let file = File::options().write(true).open(cluster.data.join(&path)).unwrap();
        file.write_all_at(&[0xAA; 64], 3 * 8192 + 4000).unwrap();
        cluster.start();
        let ran = world.run(&[&"backup", &cluster.url()]).ends(3);
        assert!(ran.err.contains(&path) && ran.err.contains("block 3"), "{ran:?}");
        let shown = world.run(&[&"snapshots", &"--json"]).ends(0).lines();
        assert_eq!((shown.len(), &shown[0]["incomplete"]), (1, &true.into()), "{shown:?}");
        // All the rest of it is there, and so are the bytes as they were.
        let id = shown[0]["id"].as_str().unwrap();
        let target = world.path("ours");
        world.run(&[&"restore", &id, &"--target", &target]).ends(0).says(&["incomplete"]);
        assert_eq!(fs::read(target.join(&path)).unwrap(), fs::read(cluster.data.join(&path)).unwrap());
    }
}

#[test]
fn a_server_without_slots_or_senders() {
    let world = world();
    let mut cluster = Cluster::new(Version::V15, "max_replication_slots = 0");
    let ran = world.run(&[&"backup", &cluster.url()]).ends(0);
    assert!(ran.err.contains("no slot keeps the log"), "{ran:?}");
    let data = restore(&world, "ours", &[]);
    assert_eq!(start(Version::V15, &data).sql("select 1"), "1");
    cluster.stop();
    cluster.set("max_wal_senders = 1");
    cluster.start();
    world.run(&[&"backup", &cluster.url()]).ends(1).says(&["53300", "max_wal_senders"]);
    let found = world.run(&[&"preflight", &cluster.url()]).ends(1);
    assert!(found.out.contains("ALTER SYSTEM SET max_wal_senders"), "{found:?}");
    cluster.stop();
    cluster.set("wal_level = minimal\nmax_wal_senders = 0");
    cluster.start();
    world.run(&[&"backup", &cluster.url()]).ends(1);
    assert_eq!(snapshots(&world), 1);
}
