//! All of it at once: transactions throughout, backups among them, the log streamed beside both. What
//! comes back at each target is whole by the server's own tools, its sums add up, the last
//! transaction before the target is there and the first one after it is not.
//!
//! `HOLDFAST_TEST_FULL=1` makes ten backups and restores to more targets. On purpose not here: parts
//! that fail.

use super::cluster::{assert_sums_agree, load, start, world};
use super::world::{Leashed, Ran, Word, World};
use holdfast_tests::postgres::{Cluster, VERSIONS, Version};
use rustix::process::Signal;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// How much is done.
struct Size {
    backups: usize,
    /// Transactions of our own between two backups.
    marks: usize,
    /// Moments that are restored.
    times: usize,
}

fn size() -> Size {
    match std::env::var_os("HOLDFAST_TEST_FULL") {
        Some(_) => Size { backups: 10, marks: 150, times: 3 },
        None => Size { backups: 2, marks: 20, times: 1 },
    }
}

/// A cluster under load, whose log streams into a repository that a key file opens.
struct Proof {
    world: World,
    cluster: Cluster,
    /// Where the log was right after each mark was committed.
    lsns: Vec<String>,
}

impl Proof {
    fn new(version: Version) -> Self {
        let mut world = world();
        world.repo = world.path("archive");
        world.cache = world.path("own cache");
        let key = world.path("key");
        fs::write(&key, [7; 64]).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(world.path(""), Permissions::from_mode(0o777)).unwrap();
        let cluster = Cluster::new(
            version,
            "track_commit_timestamp = on\nmax_slot_wal_keep_size = 2GB\ncheckpoint_timeout = 30s",
        );
        cluster.tool("pgbench", &[&"-i", &"-s", &"3", &"-q", &"postgres"]);
        cluster.sql("create extension amcheck; create table marks (id int primary key)");
        let proof = Self { world, cluster, lsns: Vec::new() };
        proof.run(&[&"init"]).ends(0);
        proof
    }

    /// Runs the program as the server's user, who owns all of it.
    fn run(&self, words: &[Word<'_>]) -> Ran {
        let key = self.world.path("key");
        let mut all: Vec<Word<'_>> = vec![&"--key-file", &key];
        all.extend(words);
        self.world.run_as(&mut self.world.as_nobody(), &all)
    }

    /// Commits the next mark.
    fn mark(&mut self) {
        let id = self.lsns.len() + 1;
        self.cluster.sql(&format!("insert into marks values ({id})"));
        self.lsns.push(self.cluster.sql("select pg_current_wal_insert_lsn()"));
    }

    /// The middle between two marks, as a person would write it.
    fn moment_after(&self, mark: usize) -> String {
        let committed =
            |id: usize| format!("(select pg_xact_commit_timestamp(xmin) from marks where id = {id})");
        let (before, after) = (committed(mark), committed(mark + 1));
        self.cluster.sql(&format!(
            "select to_char(({before} + ({after} - {before}) / 2) at time zone 'utc', \
             'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        ))
    }

    /// Restores to a target, starts a server on it, and looks at all that it has: marks up to one, and
    /// no more.
    fn comes_back(&self, to: &str, marks: usize) {
        let target = self.world.path("target");
        self.run(&[&"restore", &"latest", &"--target", &target, &"--to", &to, &"--then", &"promote"]).ends(0);
        let restored = start(self.cluster.version, &target);
        let seen = restored.sql("select count(*), max(id) from marks");
        assert_eq!(seen, format!("{marks}|{marks}"), "{to}: {}", restored.log());
        assert_sums_agree(&restored);
        restored.tool("pg_amcheck", &[&"--heapallindexed", &"postgres"]);
        drop(restored);
        fs::remove_dir_all(&target).unwrap();
    }

    /// Streams the log as a service would.
    fn stream(&self) -> Leashed {
        let (url, key): (String, PathBuf) = (self.cluster.url(), self.world.path("key"));
        self.world.leash(&[
            &"--key-file",
            &key,
            &"wal",
            &"stream",
            &url,
            &"--slot",
            &"proof",
            &"--create-slot",
            &"--commit-interval",
            &"1s",
        ])
    }
}

/// Marks to look at, not the same in each run.
fn chosen(count: usize, marks: usize) -> Vec<usize> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = since.subsec_nanos() as usize;
    (0..count).map(|number| 1 + (seed / 7 + number * 7919 * (1 + seed % 13)) % (marks - 2)).collect()
}

#[test]
fn what_was_committed_comes_back_at_every_target() {
    let size = size();
    for version in VERSIONS {
        let mut proof = Proof::new(version);
        proof.run(&[&"backup", &proof.cluster.url()]).ends(0);
        let mut streamer = proof.stream();
        let named = "select count(*) from pg_replication_slots where slot_name = 'proof' and active";
        assert!(streamer.wait_for(|| proof.cluster.sql(named) == "1"), "{:?}", streamer.output());
        let mut load = load(&proof.cluster);
        let mut middle = 0;
        for round in 0..size.backups {
            for _ in 0..size.marks {
                proof.mark();
            }
            if round == size.backups / 2 {
                proof.cluster.sql("select pg_create_restore_point('the middle')");
                middle = proof.lsns.len();
            }
            proof.run(&[&"backup", &proof.cluster.url()]).ends(0);
        }
        proof.mark();
        load.kill().unwrap();
        load.wait().unwrap();
        streamer.send(Signal::TERM);
        streamer.ends_alone(&[&"wal", &"stream"]).ends(0);
        let url = proof.cluster.url();
        proof.world.give_to_nobody(&[&proof.world.repo]);
        proof.run(&[&"wal", &"stream", &url, &"--slot", &"proof", &"--once"]).ends(0);
        let marks = proof.lsns.len();
        proof.comes_back("latest", marks);
        proof.comes_back("name=the middle", middle);
        for mark in chosen(size.times, marks) {
            proof.comes_back(&format!("time={}", proof.moment_after(mark)), mark);
        }
        let mark = marks / 2;
        proof.comes_back(&format!("lsn={}", proof.lsns[mark - 1]), mark);
        proof.run(&[&"wal", &"status"]).ends(0);
        proof.run(&[&"check", &"--read-data"]).ends(0);
    }
}
