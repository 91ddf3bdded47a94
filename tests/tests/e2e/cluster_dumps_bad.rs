//! Dumps that fail, of servers that change meanwhile, by roles that may not see all: no snapshot is made
//! of half a dump, what is not covered is named, and nothing of a run stays behind.
//!
//! On purpose not here: what goes well, which is in `cluster_dumps.rs`.

use super::cluster::{fill, world};
use super::cluster_dumps::{run_with, sql};
use super::world::{World, run_tool};
use holdfast_tests::postgres::{Cluster, VERSIONS, Version, give_away};
use rustix::process::Signal;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

fn snapshots(world: &World) -> usize {
    world.run(&[&"snapshots", &"--json"]).ends(0).lines().len()
}

/// Programs of which `pg_dump` does something else than it should.
pub(super) fn broken(world: &World, name: &str, real: &Path, words: &str) -> PathBuf {
    let folder = world.path(name);
    fs::create_dir(&folder).unwrap();
    for name in ["pg_dumpall", "pg_restore", "psql"] {
        symlink(real.join(name), folder.join(name)).unwrap();
    }
    let text = format!(
        "#!/bin/sh\nREAL={}/pg_dump\n[ \"$1\" = --version ] && exec $REAL --version\n{words}\n",
        real.display()
    );
    let draft = folder.join("draft");
    fs::write(&draft, text).unwrap();
    // Written by another process: what was just open for writing cannot always be run.
    run_tool(Command::new("cp").arg(&draft).arg(folder.join("pg_dump")));
    fs::set_permissions(folder.join("pg_dump"), Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Bytes that cannot be made smaller, so that a slow repository holds a dump up.
fn noise(cluster: &Cluster, database: &str, rows: u32) {
    let text = format!(
        "create table noise as select n, string_agg(md5(random()::text), '') bytes from generate_series(1, {rows}) n, \
         generate_series(1, 100) m group by n"
    );
    sql(cluster, database, &text);
}

#[test]
fn half_a_dump_is_none() {
    for version in VERSIONS {
        let world = world();
        let mut cluster = Cluster::new(version, "password_encryption = 'scram-sha-256'");
        fill(&cluster);
        cluster.sql("create role reader login superuser password 'open: sesame\\'");
        cluster.stop();
        fs::write(
            cluster.data.join("pg_hba.conf"),
            "local all postgres trust\nlocal all all scram-sha-256\n",
        )
        .unwrap();
        give_away(&cluster.data);
        cluster.start();
        let url = cluster.url().replace("postgres@", "reader@");
        let run = |programs: &Path| {
            let mut command = world.command();
            command.env("HOLDFAST_PG_BIN", programs).env("PGPASSWORD", "open: sesame\\");
            let ran = world.run_as(&mut command, &[&"backup", &url, &"--logical"]);
            assert!(!ran.err.contains("sesame"), "{ran:?}");
            ran
        };
        let real = version.programs();
        let half = "$REAL \"$@\" | head -c 100000\necho 'pg_dump: error: the disk is on fire' >&2\n\
                    grep -q 'open.: sesame' \"$PGPASSFILE\" && printf '%s\\n' 'with open: sesame\\' >&2\nexit 1";
        run(&broken(&world, "half", real, half)).ends(1).says(&[
            "the disk is on fire; with …",
            "exit status: 1",
            "no snapshot",
        ]);
        run(&broken(&world, "none", real, "echo hello")).ends(1).says(&["is no dump"]);
        run(&broken(&world, "killed", real, "kill -9 $$")).ends(1).says(&["pg_dump failed (signal: 9"]);
        assert_eq!(snapshots(&world), 0);
        run(real).ends(0);
        assert_eq!(snapshots(&world), 1);
        // What is asked for and is not there.
        run_with(&world, real, &[&"backup", &cluster.url(), &"--logical", &"--database", &"gone"])
            .ends(1)
            .says(&["there is no database gone"]);
        run_with(&world, &world.path("nowhere"), &[&"backup", &cluster.url(), &"--logical"]).ends(1).says(&[
            "there is no pg_dump",
            "nowhere",
            "HOLDFAST_PG_BIN",
        ]);
        assert_eq!(snapshots(&world), 1);
    }
}

#[test]
fn programs_older_than_the_server_are_not_used() {
    let world = world();
    let cluster = Cluster::new(Version::V18, "");
    let old = Version::V15.programs();
    run_with(&world, old, &[&"backup", &cluster.url(), &"--logical"]).ends(1).says(&[
        "no pg_dump of PostgreSQL 18 or newer",
        "pg_dump is of 15",
        "HOLDFAST_PG_BIN",
    ]);
    assert_eq!(snapshots(&world), 0);
    let cluster = Cluster::new(Version::V15, "");
    let ran = run_with(&world, Version::V18.programs(), &[&"backup", &cluster.url(), &"--logical"]).ends(0);
    assert!(ran.err.contains("transaction_timeout"), "{ran:?}");
}

#[test]
fn a_run_that_is_stopped_or_killed_leaves_nothing_on_the_server() {
    let world = world();
    let version = Version::V18;
    let cluster = Cluster::new(version, "");
    noise(&cluster, "postgres", 3000);
    let url = cluster.url();
    let ours = || cluster.sql("select count(*) from pg_stat_activity where application_name = 'holdfast'");
    let copying =
        "select count(*) from pg_stat_activity where application_name = 'holdfast' and query like 'COPY%'";
    for signal in [Signal::TERM, Signal::KILL] {
        let words: [super::world::Word<'_>; 5] = [&"backup", &"--limit-upload", &"300k", &url, &"--logical"];
        let mut command = world.command();
        command.env("HOLDFAST_PG_BIN", version.programs());
        let mut run = world.leash_as(command, &words);
        assert!(run.wait_for(|| cluster.sql(copying) == "1"), "it was over before");
        run.send(signal);
        assert!(!run.wait_for(|| false), "it has ended");
        let ended = run.output();
        if signal == Signal::TERM {
            assert_eq!(ended.status.code(), Some(130), "{ended:?}");
        }
        // A server notices a client that is gone when it writes to it.
        let begun = std::time::Instant::now();
        while ours() != "0" {
            assert!(begun.elapsed().as_secs() < 30, "something of us is still there");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!(snapshots(&world), 0);
    }
    run_with(&world, version.programs(), &[&"backup", &url, &"--logical"]).ends(0);
    world.check();
}

#[test]
fn a_database_that_is_dropped_meanwhile_is_told_of() {
    let world = world();
    let version = Version::V15;
    let cluster = Cluster::new(version, "");
    for name in ["a", "zz"] {
        cluster.sql(&format!("create database {name}"));
    }
    noise(&cluster, "a", 2000);
    let words: [super::world::Word<'_>; 5] =
        [&"backup", &"--limit-upload", &"500k", &cluster.url(), &"--logical"];
    let mut command = world.command();
    command.env("HOLDFAST_PG_BIN", version.programs());
    let mut run = world.leash_as(command, &words);
    let copying =
        "select count(*) from pg_stat_activity where application_name = 'holdfast' and query like 'COPY%'";
    assert!(run.wait_for(|| cluster.sql(copying) == "1"), "it was over before");
    cluster.sql("drop database zz");
    cluster.sql("create database new");
    run.ends_alone(&words).ends(0).says(&["/databases/zz.dump", "dropped before it was dumped"]);
    let listed = world.run(&[&"ls", &"latest"]).ends(0).out;
    assert!(listed.contains("/databases/a.dump") && listed.contains("postgres.dump"), "{listed}");
    assert!(!listed.contains("zz.dump") && !listed.contains("new.dump"), "{listed}");
}

#[test]
fn what_a_role_may_not_see_is_named() {
    for version in VERSIONS {
        let world = world();
        let cluster = Cluster::new(version, "");
        fill(&cluster);
        for name in ["closed", "ruled", "rdsadmin"] {
            cluster.sql(&format!("create database {name}"));
        }
        cluster.sql(
            "create role reader login in role pg_read_all_data; create role rds_superuser; \
             revoke connect on database closed from public",
        );
        sql(&cluster, "ruled", "create table t (id int); alter table t enable row level security");
        let url = cluster.url().replace("postgres@", "reader@");
        let run = |words: &[super::world::Word<'_>]| run_with(&world, version.programs(), words);
        let ran = run(&[&"backup", &"--json", &url, &"--logical"]).ends(3);
        let facts = ran.summary()["source_facts"].clone();
        assert_eq!(facts["service"], "Amazon RDS", "{facts}");
        assert_eq!(facts["database ruled row level security"], "not covered 1", "{facts}");
        assert!(
            facts["database postgres large objects"].as_str().unwrap().starts_with("not covered: 1 of 1"),
            "{facts}"
        );
        let problems: Vec<_> = ran.of_type("error").iter().map(|line| line["item"].clone()).collect();
        for name in ["closed", "ruled", "postgres"] {
            assert!(problems.contains(&format!("/databases/{name}.dump").into()), "{name}: {problems:?}");
        }
        for said in ["Amazon RDS's own", "passwords of roles", "GRANT CONNECT", "BYPASSRLS", "large objects"]
        {
            assert!(ran.err.contains(said), "{said}: {}", ran.err);
        }
        let id = world.run(&[&"snapshots", &"--json"]).ends(0).lines()[0]["id"].as_str().unwrap().to_owned();
        let listed = world.run(&[&"ls", &id]).ends(0).out;
        assert!(
            listed.contains("/databases/other.dump") && listed.contains("/databases/postgres.dump"),
            "{listed}"
        );
        assert!(!listed.contains("ruled.dump") && !listed.contains("rdsadmin"), "{listed}");
        // Whoever names one wants it whole.
        run(&[&"backup", &url, &"--logical", &"--database", &"ruled"]).ends(1).says(&["BYPASSRLS"]);
        let found = world.run(&[&"preflight", &url]).ends(1);
        assert!(
            found.err.contains("this is Amazon RDS: physical backup and PITR are not possible"),
            "{found:?}"
        );
        cluster.sql("alter role reader bypassrls");
        run(&[&"backup", &url, &"--logical", &"--database", &"ruled"]).ends(0);
    }
}
