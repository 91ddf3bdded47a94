//! Clusters that are recovered to a point in time, on real servers that archive their log: the last
//! transaction before the target is there, and the first one behind it is not. What cannot be reached
//! is refused before anything is written.
//!
//! On purpose not here: plans over forged logs, which are tests of the source.

use super::access::assert_last;
use super::cluster::{fill, start, world};
use super::world::{Ran, Word, World, count, objects};
use holdfast_source_postgres::Lsn;
use holdfast_source_postgres::records::{End, EventKind, LogReader, Verdict};
use holdfast_tests::postgres::{Cluster, VERSIONS, Version};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// So long something may take that a server does by itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A transaction that was committed, and where the log was right behind it.
#[derive(Debug, Clone)]
struct Done {
    xid: String,
    time: String,
    lsn: String,
}

/// A repository that a key file opens, and a cluster that archives into it.
pub(super) struct Archived {
    pub(super) world: World,
    pub(super) cluster: Cluster,
    done: BTreeMap<u32, Done>,
}

impl Archived {
    pub(super) fn new(version: Version) -> Self {
        let mut world = world();
        world.repo = world.path("archive");
        world.cache = world.path("own cache");
        let key = world.path("key");
        fs::write(&key, [7; 64]).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
        fs::set_permissions(world.path(""), Permissions::from_mode(0o777)).unwrap();
        run(&world, &[&"init"]).ends(0);
        let holdfast = program(&world);
        let push = format!(
            "archive_command = '{} -r {} --key-file {} --no-cache wal push %p'",
            holdfast.display(),
            world.repo.display(),
            key.display()
        );
        let cluster = Cluster::new(version, &format!("archive_mode = on\nwal_keep_size = 64MB\n{push}"));
        fill(&cluster);
        cluster.sql("create table numbered (id int)");
        Self { world, cluster, done: BTreeMap::new() }
    }

    /// Commits transactions one by one.
    pub(super) fn commit(&mut self, ids: std::ops::RangeInclusive<u32>) {
        for id in ids {
            self.done.insert(id, commit(&self.cluster, id));
        }
    }

    pub(super) fn run(&self, words: &[Word<'_>]) -> Ran {
        run(&self.world, words)
    }

    pub(super) fn backup(&self) {
        self.run(&[&"backup", &self.cluster.url()]).ends(0);
    }

    /// Restores to a target, and starts a server that opens; the ids that it has.
    fn ids_at(&self, name: &str, words: &[&str]) -> String {
        let target = self.world.path(name);
        let mut all: Vec<Word<'_>> = vec![&"restore", &"latest", &"--target", &target, &"--then", &"promote"];
        all.extend(words.iter().map(|word| word as Word<'_>));
        self.run(&all).ends(0).says(&["archiving is off", "recovers to"]);
        let restored = start(self.cluster.version, &target);
        let ids = ids(&restored);
        drop(restored);
        fs::remove_dir_all(&target).unwrap();
        ids
    }
}

fn commit(cluster: &Cluster, id: u32) -> Done {
    let xid = cluster.sql(&format!("insert into numbered values ({id}) returning txid_current()"));
    let now = "to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    let seen = cluster.sql(&format!("select {now}, pg_current_wal_lsn()"));
    let (time, lsn) = seen.split_once('|').unwrap();
    Done { xid, time: time.to_owned(), lsn: lsn.to_owned() }
}

/// Ends the segment, and waits until it is archived.
pub(super) fn archive(cluster: &Cluster) {
    let last = cluster.sql("select pg_walfile_name(pg_switch_wal())");
    let begun = Instant::now();
    while cluster.sql("select coalesce(last_archived_wal, '') from pg_stat_archiver") < last {
        let failed = cluster.sql("select failed_count, last_failed_wal from pg_stat_archiver");
        assert!(begun.elapsed() < PATIENCE, "it is not archived: {failed}\n{}", cluster.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(super) fn ids(cluster: &Cluster) -> String {
    cluster.sql("select string_agg(id::text, ' ' order by id) from numbered")
}

/// All that is up to a number.
pub(super) fn up_to(last: u32) -> String {
    (1..=last).map(|id| id.to_string()).collect::<Vec<_>>().join(" ")
}

/// The program, where the server's user can reach it.
pub(super) fn program(world: &World) -> PathBuf {
    let own = world.path("holdfast");
    if own.exists() { own } else { super::world::program().to_owned() }
}

/// Runs the program as the server's user, who owns all of it.
fn run(world: &World, words: &[Word<'_>]) -> Ran {
    let key = world.path("key");
    let mut all: Vec<Word<'_>> = vec![&"--key-file", &key];
    all.extend(words);
    world.run_as(&mut world.as_nobody(), &all)
}

/// The object of a segment.
fn object_of(world: &World, segment: &str) -> PathBuf {
    let found = objects(&world.repo).into_iter().find(|name| name.ends_with(segment));
    world.repo.join(found.unwrap_or_else(|| panic!("{segment} is not archived")))
}

#[test]
fn a_cluster_is_recovered_to_any_point() {
    for version in VERSIONS {
        let mut all = Archived::new(version);
        all.commit(1..=2);
        all.backup();
        all.commit(3..=4);
        archive(&all.cluster);
        all.backup();
        all.commit(5..=6);
        all.cluster.sql("select pg_create_restore_point('the middle')");
        all.commit(7..=8);
        archive(&all.cluster);
        all.commit(9..=10);
        archive(&all.cluster);
        let done = |id: u32| all.done[&id].clone();
        for (name, words, last) in [
            ("latest", vec!["--to", "latest"], 10),
            ("nothing said", vec![], 10),
            ("time", vec!["--to", &format!("time={}", done(5).time)], 5),
            ("lsn", vec!["--to", &format!("lsn={}", done(8).lsn)], 8),
            ("xid", vec!["--to", &format!("xid={}", done(9).xid)], 9),
            ("before xid", vec!["--exclusive", "--to", &format!("xid={}", done(9).xid)], 8),
            ("name", vec!["--to", "name=the middle"], 6),
            // Before the newest snapshot: an older one is taken.
            ("early", vec!["--to", &format!("time={}", done(3).time)], 3),
            // Nobody committed anything behind it.
            ("tomorrow", vec!["--to", "time=2100-01-01T00:00:00Z"], 10),
        ] {
            assert_eq!(all.ids_at(name, &words), up_to(last), "{version:?} {name}");
        }
        let accesses = all.run(&[&"evidence", &"show", &"--kind", &"access", &"--json"]).ends(0).lines();
        let accesses: Vec<_> = accesses.into_iter().map(|line| line["record"].clone()).collect();
        assert_last(&accesses, "restore", "tomorrow");
        waits_where_it_was_told(&all);
        tells_before_it_writes(&all);
        refuses_what_is_behind_a_gap(&all);
    }
}

/// Without a word it can be read, and waits.
fn waits_where_it_was_told(all: &Archived) {
    let (world, target) = (&all.world, all.world.path("waits"));
    let time = format!("time={}", all.done[&7].time);
    all.run(&[&"restore", &"latest", &"--target", &target, &"--to", &time])
        .ends(0)
        .says(&["pg_wal_replay_resume"]);
    let mut waiting = Cluster::place(all.cluster.version, Some(target.clone()));
    waiting.spawn();
    let begun = Instant::now();
    let paused = "select pg_is_wal_replay_paused()";
    while String::from_utf8_lossy(&waiting.try_sql("postgres", paused).stdout).trim() != "t" {
        assert!(begun.elapsed() < PATIENCE, "{}", waiting.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(ids(&waiting), up_to(7));
    waiting.sql("select pg_wal_replay_resume()");
    while waiting.sql("select pg_is_in_recovery()") == "t" {
        assert!(begun.elapsed() < PATIENCE, "{}", waiting.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    waiting.sql("insert into numbered values (1000)");
    let settings = fs::read_to_string(target.join("postgresql.auto.conf")).unwrap();
    let key = world.path("key");
    assert!(
        settings.contains(&format!("--key-file {}", key.display())) && settings.contains("\"%f\" \"%p\""),
        "{settings}"
    );
}

/// The plan is told, and what cannot be is refused; nothing is written.
fn tells_before_it_writes(all: &Archived) {
    let target = all.world.path("never");
    let restore = |words: &[&str]| {
        let mut all_words: Vec<Word<'_>> = vec![&"restore", &"latest", &"--target", &target];
        all_words.extend(words.iter().map(|word| word as Word<'_>));
        let ran = all.run(&all_words);
        assert!(!target.exists());
        ran
    };
    let time = format!("time={}", all.done[&5].time);
    let told = restore(&["--to", &time, "--dry-run"]).ends(0).out;
    for words in [
        "last commit",
        "not any more",
        &format!("transaction {}", all.done[&5].xid),
        &format!("transaction {}", all.done[&6].xid),
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let lines = restore(&["--to", &time, "--dry-run", "--json"]).ends(0).lines();
    let plan = lines.iter().find(|line| line["message_type"] == "recovery").unwrap();
    assert_eq!(
        (plan["last_commit"]["xid"].to_string(), plan["next_commit"]["xid"].to_string()),
        (all.done[&5].xid.clone(), all.done[&6].xid.clone())
    );
    assert!(count(plan, "segment_count") >= 1 && plan["then"] == "pause");
    restore(&["--to", "time=2026-11-22T03:00"]).ends(2).says(&["did you mean", "2026-11-22T03:00Z"]);
    restore(&["--to", "time=2001-01-01T00:00:00Z"])
        .ends(1)
        .says(&["all snapshots of this cluster ended after that"]);
    restore(&["--to", "name=nowhere"]).ends(1).says(&["cannot recover to the restore point nowhere"]);
    restore(&["--to", "lsn=FF/0"]).ends(1).says(&["cannot recover"]);
    restore(&["--timeline", "9"]).ends(2).says(&["no such timeline", "00000001-0000000000000000"]);
    restore(&["--owner", "nobody at all"]).ends(2).says(&["no such user"]);
    // The server would have to ask somebody for the password.
    let latest: &[Word<'_>] = &[&"restore", &"latest", &"--target", &target];
    let mut command = all.world.as_nobody();
    let new_key: &[Word<'_>] = &[&"key", &"add", &"--label", &"password"];
    command.env("HOLDFAST_NEW_PASSWORD", "correct horse");
    let key = all.world.path("key");
    all.world.run_as(command.arg("--key-file").arg(&key), new_key).ends(0);
    all.world.run_as(&mut all.world.as_nobody(), latest).ends(2).says(&[
        "HOLDFAST_PASSWORD",
        "--key-file",
        "--to immediate",
    ]);
    assert!(!target.exists());
    // Whoever starts the server can fetch it instead.
    let mut alone = latest.to_vec();
    alone.push(&"--without-restore-command");
    all.world.run_as(&mut all.world.as_nobody(), &alone).ends(0);
    let told = fs::read_to_string(target.join("postgresql.auto.conf")).unwrap();
    assert!(told.contains("restore_command = 'false'") && target.join("recovery.signal").exists(), "{told}");
    fs::remove_dir_all(&target).unwrap();
    // Commits between two moments, and around a restore point.
    let span = format!("{}..{}", all.done[&5].time, all.done[&7].time);
    let listed = all.run(&[&"wal", &"ls", &"--commits", &span, &"--json"]).ends(0).lines();
    let xids: Vec<_> =
        listed.iter().filter(|line| line.get("xid").is_some()).map(|line| line["xid"].to_string()).collect();
    assert_eq!(xids, [all.done[&6].xid.clone(), all.done[&7].xid.clone()]);
    assert!(listed.iter().any(|line| line["name"] == "the middle"), "{listed:?}");
    let text = all.run(&[&"wal", &"ls", &"--commits", &span]).ends(0).out;
    assert!(text.contains("restore point the middle"), "{text}");
}

fn refuses_what_is_behind_a_gap(all: &Archived) {
    let middle = all.cluster.sql(&format!("select pg_walfile_name('{}')", all.done[&8].lsn));
    let object = object_of(&all.world, &middle);
    let aside = all.world.path("aside");
    fs::rename(&object, &aside).unwrap();
    let target = all.world.path("never");
    for to in
        ["latest".to_owned(), format!("time={}", all.done[&9].time), format!("xid={}", all.done[&10].xid)]
    {
        all.run(&[&"restore", &"latest", &"--target", &target, &"--to", &to])
            .ends(1)
            .says(&["a gap", &middle]);
        assert!(!target.exists());
    }
    let early = format!("time={}", all.done[&3].time);
    all.run(&[&"restore", &"latest", &"--target", &target, &"--to", &early, &"--dry-run"]).ends(0);
    all.run(&[&"restore", &"latest", &"--target", &target, &"--to", &"immediate", &"--dry-run"]).ends(0);
    fs::rename(&aside, &object).unwrap();
}

/// A server takes a damaged record for the end of the log. One that was to wait at the end of it must not
/// open there.
#[test]
fn a_server_does_not_open_where_the_log_is_damaged() {
    let mut all = Archived::new(Version::V18);
    all.commit(1..=2);
    all.backup();
    archive(&all.cluster);
    let push = all.cluster.sql("show archive_command");
    let pushes = |command: &str| {
        all.cluster.sql(&format!("alter system set archive_command = '{command}'"));
        all.cluster.sql("select pg_reload_conf()");
    };
    pushes("/bin/false");
    all.cluster.sql("insert into numbered select generate_series(1000, 20000)");
    let middle = all.cluster.sql("select pg_walfile_name(pg_switch_wal())");
    all.cluster.sql("insert into numbered values (3)");
    let path = all.cluster.data.join("pg_wal").join(&middle);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8192 + 200] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(all.cluster.sql("select last_archived_wal from pg_stat_archiver") < middle);
    pushes(&push);
    archive(&all.cluster);
    let target = all.world.path("short");
    let words: [Word<'_>; 8] =
        [&"restore", &"latest", &"--target", &target, &"--to", &"latest", &"--then", &"pause"];
    all.run(&words).ends(0).says(&["is not replayed"]);
    let mut short = Cluster::place(Version::V18, Some(target));
    short.spawn();
    let begun = Instant::now();
    while !short.log().contains("recovery ended before configured recovery target was reached") {
        let open = short.try_sql("postgres", "select pg_is_in_recovery()");
        assert!(!open.stdout.starts_with(b"f"), "it opened: {}", short.log());
        assert!(begun.elapsed() < PATIENCE, "{}", short.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_promoted_copy_goes_on_beside_the_old_timeline() {
    let mut all = Archived::new(Version::V15);
    all.commit(1..=2);
    all.backup();
    all.commit(3..=3);
    archive(&all.cluster);
    // A copy that may archive: it becomes the second timeline.
    let copy = all.world.path("copy");
    all.run(&[&"restore", &"latest", &"--target", &copy, &"--archiving", &"keep"]).ends(0);
    let promoted = start(Version::V15, &copy);
    for id in 101..=102 {
        commit(&promoted, id);
    }
    archive(&promoted);
    all.commit(4..=5);
    archive(&all.cluster);
    let never = all.world.path("never");
    all.run(&[&"restore", &"latest", &"--target", &never]).ends(1).says(&[
        "2 timelines",
        "00000001-",
        "00000002-",
        "--timeline",
    ]);
    assert!(!never.exists());
    assert_eq!(all.ids_at("old", &["--timeline", "1"]), up_to(5));
    assert_eq!(all.ids_at("new", &["--timeline", "2"]), format!("{} 101 102", up_to(3)));
    // Only the old one has it; and before the fork there is one only.
    let xid = format!("xid={}", all.done[&4].xid);
    let early = format!("time={}", all.done[&2].time);
    let fits = all.ids_at("early", &["--to", &format!("lsn={}", all.done[&3].lsn), "--timeline", "1"]);
    assert_eq!(fits, up_to(3));
    let told = all.run(&[&"restore", &"latest", &"--target", &never, &"--to", &early, &"--dry-run"]);
    assert!([0, 1].contains(&told.code), "{told:?}");
    let told = all.run(&[&"restore", &"latest", &"--target", &never, &"--to", &xid, &"--dry-run"]);
    // Both copies gave their next transaction the same number.
    assert!(told.code == 1 && told.err.contains("2 timelines") || told.code == 0, "{told:?}");
    // A snapshot of the second timeline leads along it.
    all.run(&[&"backup", &promoted.url()]).ends(0);
    commit(&promoted, 103);
    archive(&promoted);
    assert_eq!(all.ids_at("newer", &["--timeline", "2"]), format!("{} 101 102 103", up_to(3)));
    let standby = all.world.path("standby");
    all.run(&[&"restore", &"latest", &"--target", &standby, &"--standby", &"--timeline", &"2"])
        .ends(0)
        .says(&["stays a standby"]);
    let follows = start(Version::V15, &standby);
    let begun = Instant::now();
    while !ids(&follows).ends_with("103") {
        assert!(begun.elapsed() < PATIENCE, "{}", follows.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(follows.sql("select pg_is_in_recovery()"), "t");
}

#[test]
fn a_machine_with_url_and_key_file_is_enough_and_a_wrong_key_is_no_end_of_the_log() {
    let mut all = Archived::new(Version::V18);
    all.commit(1..=1);
    all.backup();
    all.commit(2..=3);
    archive(&all.cluster);
    all.cluster.stop();
    let (world, target) = (&all.world, all.world.path("elsewhere"));
    let mut command = if super::world::is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program(world));
        command
    } else {
        Command::new(program(world))
    };
    command.env_clear().current_dir("/");
    let key = world.path("key");
    let words: [Word<'_>; 9] =
        [&"-r", &world.repo, &"--key-file", &key, &"restore", &"latest", &"--target", &target, &"--quiet"];
    world.run_as(&mut command, &words).ends(0);
    let right = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    fs::write(&key, [8; 64]).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let mut server = Cluster::place(Version::V18, Some(target.clone()));
    server.spawn();
    let begun = Instant::now();
    while !server.log().contains("FATAL") {
        assert!(begun.elapsed() < PATIENCE, "{}", server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    server.stop();
    assert!(!server.log().contains("archive recovery complete"), "{}", server.log());
    assert!(target.join("recovery.signal").exists());
    fs::write(&key, right).unwrap();
    server.start();
    assert_eq!(ids(&server), up_to(3));
}

/// What the server's own program says of each record, against what ours reads.
#[test]
fn records_are_those_that_pg_waldump_shows() {
    for version in VERSIONS {
        let cluster = Cluster::new(
            version,
            "wal_keep_size = 512MB\nmax_prepared_transactions = 5\nwal_level = logical",
        );
        fill(&cluster);
        let begin = cluster.sql("select pg_walfile_name(pg_current_wal_lsn())");
        cluster.sql("begin; create table gone (id int); insert into gone values (1); rollback");
        cluster.sql("begin; create table two (id int); prepare transaction 'two'");
        cluster.sql("commit prepared 'two'");
        cluster.sql("begin; drop table two; prepare transaction 'drop'");
        cluster.sql("rollback prepared 'drop'");
        cluster.sql("select pg_create_restore_point('here')");
        cluster.sql(
            "create table big as select repeat('x', 5000) || n as words from generate_series(1, 9000) n",
        );
        cluster.sql("checkpoint; select pg_switch_wal()");
        cluster.sql("delete from plain where id < 100");
        let last = cluster.sql("select pg_walfile_name(pg_current_wal_lsn())");
        cluster.sql("select pg_switch_wal()");
        let folder = cluster.data.join("pg_wal");
        let shown = cluster.tool("pg_waldump", &[&"-p", &folder, &begin, &last]);
        let ours = read(&folder, &begin, &last);
        let theirs: Vec<String> = shown.lines().filter_map(shown_record).collect();
        assert!(
            theirs.len() > 5000 && theirs.iter().any(|line| line.ends_with(" abort")),
            "{}",
            theirs.len()
        );
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{version:?}");
        }
        assert_eq!(ours.len(), theirs.len());
    }
}

/// Place and kind of a record, from a line of the server's program.
fn shown_record(line: &str) -> Option<String> {
    let lsn = Lsn::parse(line.split("lsn: ").nth(1)?.split(',').next()?)?;
    let (_, what) = line.split_once("desc: ")?;
    let manager = line.split("rmgr: ").nth(1)?.split_whitespace().next()?;
    let own = line.split("tx:").nth(1)?.trim_start().split(',').next()?;
    // COMMIT_PREPARED 735: 2026-…
    let prepared = what.split_whitespace().nth(1).unwrap_or_default().trim_end_matches(':');
    let kind = match (manager, what.split_whitespace().next()?) {
        ("Transaction", "COMMIT") => format!("{own} commit"),
        ("Transaction", "ABORT") => format!("{own} abort"),
        ("Transaction", "COMMIT_PREPARED") => format!("{prepared} commit"),
        ("Transaction", "ABORT_PREPARED") => format!("{prepared} abort"),
        ("XLOG", "RESTORE_POINT") => "restore point".to_owned(),
        ("XLOG", "SWITCH") => "switch".to_owned(),
        _ => "other".to_owned(),
    };
    Some(format!("{lsn} {kind}"))
}

fn read(folder: &Path, first: &str, last: &str) -> Vec<String> {
    const SEGMENT: u64 = 16 << 20;
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| name.len() == 24 && (first..=last).contains(&&**name));
    names.sort();
    let (mut reader, mut records) = (LogReader::new(None, SEGMENT), Vec::new());
    for name in names {
        let number = u64::from_str_radix(&name[8..16], 16).unwrap() * 256
            + u64::from_str_radix(&name[16..], 16).unwrap();
        let end = reader.read(Lsn(number * SEGMENT), &fs::read(folder.join(&name)).unwrap(), |event| {
            let kind = match &event.kind {
                EventKind::Commit { xid, .. } => format!("{xid} commit"),
                EventKind::Abort { xid, .. } => format!("{xid} abort"),
                EventKind::RestorePoint { name, .. } => {
                    assert_eq!(name, "here");
                    "restore point".to_owned()
                }
                EventKind::Switch => "switch".to_owned(),
                EventKind::Tablespace { .. } | EventKind::Other => "other".to_owned(),
            };
            records.push(format!("{} {kind}", event.at));
            Verdict::Go
        });
        assert_eq!(end, End::Next, "{name}");
    }
    records
}
