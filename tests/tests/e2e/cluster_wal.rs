//! The log's archive with real servers: they archive into it under load and recover from it, and they
//! open themselves only where the log ends.
//!
//! On purpose not here: what a server hears in each single case, which is in `log.rs`.

use super::cluster::{restore_alone, start, world};
use super::world::{Word, World, is_root, program};
use holdfast_tests::postgres::{Cluster, VERSIONS, Version, give_away};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// So long an archive may lag behind.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the user of a server calls, with a key file of its own.
struct Caller {
    program: PathBuf,
    repository: PathBuf,
    key: PathBuf,
    cache: PathBuf,
}

impl Caller {
    fn new(world: &World) -> Self {
        Self::with(world, &[])
    }

    /// One that stores and cannot read.
    fn writer(world: &World) -> Self {
        let kit = world.path("kit of the writer");
        Self::with(world, &[&"--role", &"writer", &"--kit", &kit])
    }

    fn with(world: &World, more: &[Word<'_>]) -> Self {
        let of = if more.is_empty() { "server" } else { "writer" };
        let (key, cache) = (world.path(format!("key of the {of}")), world.path(format!("cache of the {of}")));
        fs::write(&key, [of.len() as u8 + of.as_bytes()[0]; 64]).unwrap();
        fs::create_dir(&cache).unwrap();
        world.run(&[&[&"key" as Word<'_>, &"add", &"--new-key-file", &key], more].concat()).ends(0);
        [&key, &cache, &world.repo].into_iter().for_each(|path| give_away(path));
        let program = if is_root() { world.path("holdfast") } else { program().to_owned() };
        Self { program, repository: world.repo.clone(), key, cache }
    }

    fn command(&self, words: &str) -> String {
        let [program, repository, key, cache] =
            [&self.program, &self.repository, &self.key, &self.cache].map(|path| path.display());
        // A path here may have blanks.
        format!("\"{program}\" -r \"{repository}\" --key-file \"{key}\" --cache-dir \"{cache}\" {words}")
    }
}

/// A cluster that archives.
fn archiving(version: Version, caller: &Caller) -> Cluster {
    let command = caller.command("wal push %p");
    let cluster = Cluster::new(version, &format!("archive_mode = on\narchive_command = '{command}'"));
    cluster.tool("pgbench", &[&"-i", &"-s", &"1", &"-q", &"postgres"]);
    cluster
}

/// Runs so many transactions; how many there were in all.
fn load(cluster: &Cluster, transactions: u32) -> u64 {
    let number = transactions.to_string();
    cluster.tool("pgbench", &[&"-n", &"-c", &"2", &"-t", &number, &"postgres"]);
    history(cluster)
}

fn history(cluster: &Cluster) -> u64 {
    cluster.sql("select count(*) from pgbench_history").parse().unwrap()
}

/// Ends the segment, and waits until the archive has it.
fn archived(cluster: &Cluster) {
    let last = cluster.sql("select pg_walfile_name(pg_switch_wal())");
    let begun = Instant::now();
    while cluster.sql(&format!("select last_archived_wal >= '{last}' from pg_stat_archiver")) != "t" {
        assert!(begun.elapsed() < PATIENCE, "{last} is not archived: {}", cluster.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Makes a restored folder recover from the archive.
fn recovers(data: &Path, command: &str) {
    let path = data.join("postgresql.auto.conf");
    let mut settings = File::options().append(true).open(path).unwrap();
    writeln!(settings, "restore_command = '{command}'\nrecovery_target_timeline = 'latest'").unwrap();
    fs::write(data.join("recovery.signal"), "").unwrap();
    give_away(data);
}

fn sums_agree(cluster: &Cluster) {
    let sums = cluster.sql(
        "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history), \
                (select sum(bbalance) from pgbench_branches) = (select sum(tbalance) from pgbench_tellers)",
    );
    assert_eq!(sums, "t|t");
}

#[test]
fn a_server_archives_under_load_and_recovers_from_it() {
    for version in VERSIONS {
        let world = world();
        let caller = Caller::new(&world);
        // Whoever archives need not read: on one of them it cannot.
        let writer = Caller::writer(&world);
        let mut cluster = archiving(version, if version == VERSIONS[0] { &caller } else { &writer });
        load(&cluster, 100);
        world.run(&[&"backup", &cluster.url()]).ends(0);
        load(&cluster, 300);
        cluster.sql("select pg_switch_wal()");
        let known = load(&cluster, 300);
        archived(&cluster);
        let failed = cluster.sql("select failed_count from pg_stat_archiver");
        assert_eq!(failed, "0", "{}", cluster.log());
        let lines = world.run(&[&"wal", &"status", &"--json"]).ends(0).lines();
        let windows: Vec<_> = lines.iter().filter(|line| line["message_type"] == "wal_window").collect();
        assert_eq!((windows.len(), &windows[0]["to_newest"]), (1, &true.into()), "{lines:?}");
        world.run(&[&"check", &"--read-data"]).ends(0);
        // What comes before the backup no snapshot can use.
        let before = world.run(&[&"wal", &"ls", &"--json"]).ends(0).lines().len();
        world.run(&[&"prune"]).ends(0);
        let after = world.run(&[&"wal", &"ls", &"--json"]).ends(0).lines();
        assert!(after.len() < before, "{after:?}");
        world.run(&[&"wal", &"status"]).ends(0);
        cluster.stop();
        let ours = restore_alone(&world, "ours");
        recovers(&ours, &caller.command("wal fetch %f %p"));
        let mut restored = start(version, &ours);
        assert_eq!(history(&restored), known);
        sums_agree(&restored);
        assert_eq!(restored.sql("show archive_mode"), "off");
        // It becomes production.
        let ran = world.run(&[&"wal", &"adopt", &"--pgdata", &ours]).ends(0);
        assert!(ran.out.contains("archives again"), "{ran:?}");
        restored.stop();
        restored.start();
        load(&restored, 10);
        archived(&restored);
        let lines = world.run(&[&"wal", &"status", &"--json"]).ends(0).lines();
        let lines: Vec<_> = lines.iter().filter(|line| line["message_type"] == "wal_timeline").collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1]["timeline"].as_str().unwrap().starts_with("00000002-"), "{lines:?}");
        let listed = world.run(&[&"wal", &"ls"]).ends(0).out;
        assert!(listed.contains("00000002.history"), "{listed}");
        // Only what comes from now on is whole: a new snapshot goes on from here.
        world.run(&[&"backup", &restored.url()]).ends(0);
        let known = load(&restored, 10);
        archived(&restored);
        restored.stop();
        let next = restore_alone(&world, "next");
        recovers(&next, &caller.command("wal fetch %f %p"));
        assert_eq!(history(&start(version, &next)), known);
    }
}

/// Starts a server that has to give up, and says why.
fn refuses(version: Version, data: &Path) -> String {
    let mut cluster = Cluster::place(version, Some(data.to_owned()));
    cluster.spawn();
    let begun = Instant::now();
    while !cluster.has_ended() {
        assert!(begun.elapsed() < PATIENCE, "it does not give up: {}", cluster.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(data.join("recovery.signal").exists(), "it was promoted: {}", cluster.log());
    cluster.log()
}

#[test]
fn a_server_that_hears_no_end_does_not_open_itself() {
    for version in VERSIONS {
        let world = world();
        let caller = Caller::new(&world);
        let mut cluster = archiving(version, &caller);
        world.run(&[&"backup", &cluster.url()]).ends(0);
        for _ in 0..3 {
            load(&cluster, 50);
            cluster.sql("select pg_switch_wal()");
        }
        let known = load(&cluster, 50);
        archived(&cluster);
        cluster.stop();
        let ours = restore_alone(&world, "ours");
        let wrong = world.path("wrong key");
        fs::write(&wrong, [8; 64]).unwrap();
        give_away(&wrong);
        let right = caller.command("wal fetch --timeout 4s %f %p");
        let settings = fs::read_to_string(ours.join("postgresql.auto.conf")).unwrap();
        let again = |command: &str| {
            fs::write(ours.join("postgresql.auto.conf"), &settings).unwrap();
            recovers(&ours, command);
        };
        // A wrong key, a mistyped option, a repository that is not there.
        again(&right.replace(caller.key.to_str().unwrap(), wrong.to_str().unwrap()));
        refuses(version, &ours);
        again(&right.replace("--timeout 4s", "--timeuot 4s"));
        refuses(version, &ours);
        again(&right);
        let hidden = world.path("hidden");
        fs::rename(&world.repo, &hidden).unwrap();
        refuses(version, &ours);
        fs::rename(&hidden, &world.repo).unwrap();
        // A segment between others is missing.
        let _ = fs::remove_dir_all(caller.cache.join("wal-fetched"));
        let segments: Vec<_> = world.objects().into_iter().filter(|name| name.starts_with("wal/")).collect();
        let gap = world.repo.join(&segments[segments.len() - 2]);
        let kept = fs::read(&gap).unwrap();
        fs::remove_file(&gap).unwrap();
        world.run(&[&"wal", &"status"]).ends(3).says(&["gap"]);
        let log = refuses(version, &ours);
        assert!(log.contains("a gap"), "{log}");
        fs::write(&gap, kept).unwrap();
        give_away(&gap);
        let restored = start(version, &ours);
        assert_eq!(history(&restored), known);
        sums_agree(&restored);
    }
}
