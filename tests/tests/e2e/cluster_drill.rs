//! Drills of restored clusters, on real servers: a healthy one passes, and what drills exist for is
//! found, with its cause. Whatever stands in a copy, nothing outside of its scratch changes and nobody
//! is called.
//!
//! On purpose not here: which snapshot is drilled and what follows, which is the scheduler's.

use super::cluster::{fill, restore, restore_alone, world};
use super::world::{World, is_root, objects};
use holdfast_core::entry::Time;
use holdfast_engine::ctx::{Cancel, Clock};
use holdfast_engine::proof::{Cause, Level};
use holdfast_source_postgres::ToolPlaces;
use holdfast_source_postgres::drill::{Assertion, Drill, Expect, FetchLog, Fetched, Proved, User, prove};
use holdfast_tests::postgres::{Cluster, VERSIONS, Version};
use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Runs the servers of drills here: servers of tests are nobody's.
const DRILLER: u32 = 64_123;
/// So long something may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(60);
/// Says where the cluster lies that is drilled until somebody kills this.
const CHILD: &str = "HOLDFAST_TEST_DRILLED";

struct Now;

impl Clock for Now {
    fn now(&self) -> Time {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Time { seconds: now.as_secs() as i64, nanos: now.subsec_nanos() }
    }
}

/// Fetches from a folder. What is missing while later log is there is told as a gap, or as the end.
struct Folder {
    path: PathBuf,
    tells_gaps: bool,
}

impl FetchLog for Folder {
    fn fetch<'a>(
        &'a self,
        name: &'a str,
        to: &'a Path,
    ) -> Pin<Box<dyn Future<Output = Fetched> + Send + 'a>> {
        let later =
            || objects(&self.path).into_iter().any(|found| found.len() == name.len() && *found > *name);
        let fetched = match fs::copy(self.path.join(name), to) {
            Ok(_) => Fetched::There,
            Err(_) if self.tells_gaps && later() => Fetched::Gap("later log is there".into()),
            Err(_) => Fetched::Absent,
        };
        Box::pin(async move { fetched })
    }
}

fn drill<'a>(version: Version, folder: &Path) -> Drill<'a> {
    let work = folder.with_extension("w");
    fs::create_dir_all(&work).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let user = |uid: u32| User { name: uid.to_string(), uid, gid: uid };
    let users = if is_root() { vec![user(DRILLER)] } else { vec![user(1), user(2)] };
    Drill {
        folder: folder.to_owned(),
        work,
        level: Level::Full,
        users,
        no_network: true,
        bin_dirs: vec![version.programs().to_owned()],
        tools: ToolPlaces {
            stated: None,
            path: Some(path.clone()),
            environment: vec![("PATH".into(), path)],
        },
        facts: BTreeMap::new(),
        verified: true,
        along: false,
        fetch: None,
        dumps: None,
        assertions: Vec::new(),
        budget: None,
        turn: 7,
        clock: Arc::new(Now),
        cancel: Cancel::default(),
    }
}

fn run(drill: &Drill<'_>) -> Proved {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let proved = runtime.block_on(prove(drill));
    assert!(!servers(&drill.folder), "a server is still there");
    proved
}

/// Whoever runs a server may not drill: who is not root has only one user.
fn rest(cluster: &mut Cluster) {
    if !is_root() {
        cluster.stop();
    }
}

/// Whether a server runs on a folder.
fn servers(folder: &Path) -> bool {
    let words = folder.to_string_lossy().into_owned();
    let ids =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    ids.filter(|id| id.bytes().all(|byte| byte.is_ascii_digit())).any(|id| {
        let of = |name: &str| fs::read(format!("/proc/{id}/{name}")).unwrap_or_default();
        String::from_utf8_lossy(&of("cmdline")).contains(&words) && of("comm").starts_with(b"postgres")
    })
}

fn findings(proved: &Proved) -> Vec<(Cause, String)> {
    let all = proved.probes.iter().flat_map(|probe| &probe.findings);
    all.map(|finding| (finding.cause, finding.what.clone())).collect()
}

fn finds(proved: &Proved, cause: Cause, words: &[&str]) {
    let all = findings(proved);
    let fits =
        |(found, what): &&(Cause, String)| *found == cause && words.iter().all(|word| what.contains(word));
    assert!(
        all.iter().any(|found| fits(&found)),
        "{cause:?} {words:?} is not in {all:#?}\n{:#?}",
        proved.probes
    );
}

fn passes(proved: &Proved, level: Level) {
    assert_eq!(findings(proved), [], "{:#?}", proved.probes);
    assert_eq!(proved.reached, Some(level));
}

fn counted(proved: &Proved, probe: &str, name: &str) -> u64 {
    let found = proved.probes.iter().find(|found| found.name == probe);
    let probe = found.unwrap_or_else(|| panic!("no {probe} in {:#?}", proved.probes));
    probe.counts.get(name).copied().unwrap_or_else(|| panic!("no {name} in {probe:?}"))
}

/// Copies a restored cluster, to be spoilt.
fn copy(folder: &Path, name: &str) -> PathBuf {
    let to = folder.with_file_name(name);
    assert!(Command::new("cp").arg("-a").arg(folder).arg(&to).status().unwrap().success());
    to
}

fn facts(cluster: &Cluster) -> BTreeMap<String, String> {
    let system = cluster.sql("select system_identifier from pg_control_system()");
    let mut facts = BTreeMap::new();
    facts.insert("system identifier".into(), system);
    facts.insert("server version".into(), cluster.sql("show server_version"));
    for name in ["postgres", "other"] {
        facts.insert(format!("database {name}"), "7000000".into());
    }
    facts
}

fn assertion(name: &str, sql: &str, expect: Expect) -> Assertion {
    let (name, sql) = (name.to_owned(), sql.to_owned());
    Assertion { name, database: "postgres".into(), sql, expect, timeout: Duration::from_secs(20) }
}

#[test]
fn a_healthy_cluster_passes_and_a_damaged_one_does_not() {
    for version in VERSIONS {
        let world = world();
        let mut cluster = Cluster::new(version, "wal_keep_size = 64MB\nmax_prepared_transactions = 3");
        fill(&cluster);
        cluster.sql(
            "create table orders (id int primary key, email text); create index by_email on orders (email)",
        );
        cluster.sql("create table emptied (id int); insert into orders select n, n || '@x' from generate_series(1, 5000) n");
        cluster.sql("checkpoint");
        let index = cluster.sql("select pg_relation_filepath('by_email')");
        let old = fs::read(cluster.data.join(&index)).unwrap();
        cluster.sql("insert into orders select n, n || '@x' from generate_series(5001, 9000) n; checkpoint");
        cluster.sql("begin; lock table orders in access exclusive mode; prepare transaction 'held'");
        world.run(&[&"backup", &cluster.url()]).ends(0);
        let base = facts(&cluster);
        let recorded = |rows: &[(&str, &str)]| {
            let rows = rows.iter().map(|(name, rows)| (format!("rows {name}"), (*rows).to_owned()));
            base.clone().into_iter().chain(rows).collect::<BTreeMap<_, _>>()
        };
        rest(&mut cluster);
        let healthy = restore(&world, "data", &[]);
        let names = ["stale", "lost", "control", "older"];
        let copies = names.map(|name| copy(&healthy, name));

        let rows = [("postgres.public.orders", "9000"), ("postgres.public.plain", "20000")];
        let mut passing = drill(version, &healthy);
        passing.facts = recorded(&rows);
        let keys = world.path("keys");
        fs::create_dir_all(keys.join("9000@x")).unwrap();
        passing.assertions = vec![
            assertion("orders", "select count(*) from orders", Expect::Between(Some(9000.0), Some(9000.0))),
            assertion("truth", "select max(id) = 9000 from orders", Expect::Truth(true)),
            assertion("keys", "select email from orders where id = 9000", Expect::Keys(keys.clone())),
        ];
        let proved = run(&passing);
        passes(&proved, Level::Full);
        let name = "tables and indexes of postgres";
        assert_eq!(counted(&proved, name, "relations"), counted(&proved, name, "relations checked"));
        assert!(counted(&proved, "checksums", "blocks") > 100);
        assert_eq!(counted(&proved, "rows of postgres", "tables counted"), 2);
        assert_eq!(counted(&proved, "dump of other", "databases"), 1);
        assert_eq!(counted(&proved, "assertion keys", "keys"), 1);
        let phases: Vec<_> = proved.phases.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(phases, ["fetch log", "replay", "checks"]);

        // An index of yesterday: no checksum and no dump sees it.
        fs::write(copies[0].join(&index), &old).unwrap();
        let proved = run(&drill(version, &copies[0]));
        finds(&proved, Cause::Source, &["by_email of postgres is damaged", "lacks matching"]);
        assert!(!format!("{proved:?}").contains("@x"), "{proved:?}");

        // The same where nobody compared the bytes, rows that are not there, and statements that fail.
        let mut lost = drill(version, &copies[1]);
        fs::write(copies[1].join(&index), &old).unwrap();
        lost.verified = false;
        lost.facts = recorded(&[("postgres.public.emptied", "1200000"), ("postgres.public.gone", "7")]);
        lost.facts.insert("database shop".into(), "9000000".into());
        lost.assertions = vec![
            assertion("many", "select count(*) from orders", Expect::Between(Some(1e6), None)),
            assertion("rows", "select email from orders limit 3", Expect::Truth(true)),
            assertion("fails", "select 'secret'::int", Expect::Truth(true)),
            assertion("writes", "delete from orders", Expect::Truth(true)),
            assertion("keys", "select email from orders", Expect::Keys(keys)),
        ];
        let proved = run(&lost);
        finds(&proved, Cause::Backup, &[&index, "not as it was backed up"]);
        finds(&proved, Cause::Backup, &["emptied: recorded 1200000, restored 0"]);
        finds(&proved, Cause::Backup, &["gone: recorded 7 rows, and there is no such table"]);
        finds(&proved, Cause::Backup, &["the database shop was recorded and is missing"]);
        finds(&proved, Cause::Assertion, &["many: expected at least 1000000, got 9000"]);
        finds(&proved, Cause::Assertion, &["rows: expected true, it returned 3 rows, not shown"]);
        finds(&proved, Cause::Assertion, &["fails: the query failed (SQLSTATE 22P02)"]);
        finds(&proved, Cause::Assertion, &["writes: the query failed (SQLSTATE 25006)"]);
        finds(&proved, Cause::Assertion, &["keys: 8999 of 9000 keys are not there"]);
        assert!(
            !format!("{proved:?}").contains("@x") && !format!("{proved:?}").contains("secret"),
            "{proved:?}"
        );

        // Half a restore, and programs that are not there.
        fs::remove_file(copies[2].join("global/pg_control")).unwrap();
        finds(&run(&drill(version, &copies[2])), Cause::Backup, &["pg_control is missing"]);
        let mut none = drill(version, &copies[3]);
        fs::write(copies[3].join("PG_VERSION"), "9\n").unwrap();
        none.bin_dirs = Vec::new();
        let proved = run(&none);
        finds(&proved, Cause::Environment, &["no server programs of PostgreSQL 9"]);
        assert_eq!(proved.reached, None);
    }
}

/// All that lies below a folder, as the system sees it.
fn inodes(path: &Path) -> Vec<(PathBuf, u64, u32, i64, i64, u64)> {
    let mut all = Vec::new();
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        if found.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let (mode, size) = (found.mode(), found.size());
        all.push((path, found.ino(), mode, found.ctime(), found.ctime_nsec(), size));
    }
    all.sort();
    all
}

#[test]
fn a_copy_calls_nobody_and_starts_without_what_is_not_there() {
    for version in VERSIONS {
        let world = world();
        let settings = "wal_keep_size = 64MB\nwal_level = logical\nmax_logical_replication_workers = 0";
        let mut cluster = Cluster::new(version, settings);
        fill(&cluster);
        let publisher = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        publisher.set_nonblocking(true).unwrap();
        let port = publisher.local_addr().unwrap().port();
        cluster.sql(&format!(
            "create subscription calls connection 'host=127.0.0.1 port={port} user=x dbname=x' publication p with \
             (connect = false, slot_name = 'live')"
        ));
        cluster.sql("update pg_subscription set subenabled = true");
        cluster.sql("alter database other set session_preload_libraries = 'not_there'");
        let touched = cluster.folder("touched");
        cluster.sql(&format!(
            "create function stop() returns event_trigger language plpgsql as $$ begin copy (select 1) to program 'touch {}/x'; \
             raise 'no' ; end $$; create event trigger never on ddl_command_start execute function stop()",
            touched.display()
        ));
        world.run(&[&"backup", &cluster.url()]).ends(0);
        rest(&mut cluster);
        let folder = restore(&world, "data", &[]);
        let mut auto = fs::File::options().append(true).open(folder.join("postgresql.auto.conf")).unwrap();
        write!(
            auto,
            "shared_preload_libraries = 'not_there_cron'\narchive_mode = 'on'\narchive_command = 'touch {0}/a'\n\
             recovery_end_command = 'touch {0}/b'\narchive_cleanup_command = 'touch {0}/c'\nlisten_addresses = '*'\n\
             synchronous_standby_names = '*'\nprimary_conninfo = 'host=127.0.0.1 port={port}'\nshared_buffers = '900GB'\n\
             external_pid_file = '{0}/d'\nlogging_collector = on\nlog_directory = '{0}'\nport = 1\n",
            touched.display()
        )
        .unwrap();
        let proved = run(&drill(version, &folder));
        passes(&proved, Level::Full);
        let notes =
            proved.probes.iter().flat_map(|probe| &probe.notes).cloned().collect::<Vec<_>>().join("\n");
        for words in
            ["not_there_cron", "network: none", "nothing but scratch could be written", "no TCP port"]
        {
            assert!(notes.contains(words), "{words} is not in {notes}");
        }
        assert_eq!(objects(&touched), Vec::<String>::new());
        assert!(publisher.accept().is_err(), "somebody was called");
        // Whoever runs a server here runs no copy of it.
        if is_root() {
            let mut owner = drill(version, &copy(&folder, "again"));
            owner.users = vec![User { name: "nobody".into(), uid: 65_534, gid: 65_534 }];
            finds(&run(&owner), Cause::Environment, &["nobody runs a server of PostgreSQL here"]);
        }
    }
}

/// Waits until a segment and all before it are archived.
fn archived(cluster: &Cluster, archive: &Path) {
    let last = cluster.sql("select pg_walfile_name(pg_switch_wal())");
    let begun = Instant::now();
    while !archive.join(&last).exists() {
        assert!(begun.elapsed() < PATIENCE, "it is not archived: {}", cluster.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Tells a restored cluster to recover along a log.
fn recover(folder: &Path, target: &str) {
    let mut auto = fs::File::options().append(true).open(folder.join("postgresql.auto.conf")).unwrap();
    writeln!(auto, "restore_command = 'exit 126'\n{target}\nrecovery_target_action = 'pause'").unwrap();
    fs::write(folder.join("recovery.signal"), b"").unwrap();
}

#[test]
fn a_log_is_followed_to_its_point_and_writes_nothing_of_productions() {
    for version in VERSIONS {
        let world = world();
        let archive = world.path("wal");
        fs::create_dir(&archive).unwrap();
        world.give_to_nobody(&[&archive]);
        let command = format!("archive_mode = on\narchive_command = 'cp %p {}/%f'", archive.display());
        let mut cluster = Cluster::new(version, &format!("wal_keep_size = 64MB\n{command}"));
        fill(&cluster);
        cluster.sql("create table numbered (id int)");
        world.run(&[&"backup", &cluster.url()]).ends(0);
        let live = cluster.folder("live");
        cluster.sql(&format!("create tablespace live location '{}'", live.display()));
        cluster.sql("create table moved (id int primary key) tablespace live; insert into moved select generate_series(1, 1000)");
        cluster.sql("insert into numbered values (1)");
        archived(&cluster, &archive);
        cluster.sql("insert into numbered values (2)");
        archived(&cluster, &archive);
        cluster.sql("select pg_create_restore_point('here')");
        cluster.sql("insert into numbered values (3)");
        archived(&cluster, &archive);
        cluster.sql("checkpoint");
        let folder = restore_alone(&world, "data");
        recover(&folder, "recovery_target_name = 'here'");
        let copies = ["gap", "end"].map(|name| copy(&folder, name));
        rest(&mut cluster);
        let before = inodes(&live);

        let [by_gaps, by_ends] = [true, false].map(|tells_gaps| Folder { path: archive.clone(), tells_gaps });
        let mut whole = drill(version, &folder);
        whole.fetch = Some(&by_gaps);
        whole.along = true;
        let numbers =
            "select count(*) = 2 and max(id) = 2 and (select count(*) = 1000 from moved) from numbered";
        whole.assertions = vec![assertion("numbers", numbers, Expect::Truth(true))];
        let proved = run(&whole);
        passes(&proved, Level::Full);
        let log = proved.probes.iter().find(|probe| probe.name == "log").unwrap();
        assert!(log.notes.iter().any(|note| note.contains(live.to_str().unwrap())), "{log:?}");
        assert!(counted(&proved, "log", "segments") >= 3);
        let boot = proved.probes.iter().find(|probe| probe.name == "boot").unwrap();
        assert!(
            boot.notes.iter().any(|note| note.contains("recovery stopping at restore point")),
            "{boot:?}"
        );
        assert_eq!(inodes(&live), before, "the live tablespace was touched");
        if is_root() {
            assert_eq!(cluster.sql("select count(*) from moved"), "1000");
        }

        // A segment in the middle is gone.
        let mut segments = objects(&archive);
        segments.retain(|name| name.len() == 24);
        let lost = &segments[segments.len() - 2];
        fs::remove_file(archive.join(lost)).unwrap();
        let mut gap = drill(version, &copies[0]);
        gap.fetch = Some(&by_gaps);
        finds(&run(&gap), Cause::Backup, &[lost, "is missing"]);
        // It was the last one that there is: the log ends before the point.
        let mut end = drill(version, &copies[1]);
        end.fetch = Some(&by_ends);
        let proved = run(&end);
        finds(&proved, Cause::Backup, &["the log ends before the point that was meant"]);
        assert_eq!(proved.reached, None);
    }
}

/// A server takes a damaged record for the end of the log, and opens there: no error says so.
#[test]
fn a_replay_that_ends_in_the_middle_of_the_log_is_found() {
    let (world, version) = (world(), Version::V18);
    let archive = world.path("wal");
    fs::create_dir(&archive).unwrap();
    world.give_to_nobody(&[&archive]);
    let command = format!("archive_mode = on\narchive_command = 'cp %p {}/%f'", archive.display());
    let mut cluster = Cluster::new(version, &format!("wal_keep_size = 64MB\n{command}"));
    cluster.sql("create table numbered (id int)");
    world.run(&[&"backup", &cluster.url()]).ends(0);
    archived(&cluster, &archive);
    cluster.sql("insert into numbered select generate_series(1, 20000)");
    let middle = archive.join(cluster.sql("select pg_walfile_name(pg_current_wal_lsn())"));
    archived(&cluster, &archive);
    cluster.sql("insert into numbered values (0)");
    archived(&cluster, &archive);
    let folder = restore_alone(&world, "data");
    recover(&folder, "");
    let short = copy(&folder, "short");
    rest(&mut cluster);
    let fetch = Folder { path: archive, tells_gaps: true };
    let mut whole = drill(version, &folder);
    whole.fetch = Some(&fetch);
    passes(&run(&whole), Level::Full);
    let mut bytes = fs::read(&middle).unwrap();
    bytes[8192 + 200] ^= 1;
    fs::write(&middle, bytes).unwrap();
    let mut spoilt = drill(version, &short);
    spoilt.fetch = Some(&fetch);
    finds(&run(&spoilt), Cause::Backup, &["the log goes on to", "opens as if it were the end"]);
}

/// Drills until it is killed, if somebody says where; else there is nothing to do.
#[test]
fn a_drill_that_somebody_kills() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let mut slow = drill(Version::V15, Path::new(&folder));
    slow.assertions = vec![assertion("waits", "select true from pg_sleep(100)", Expect::Truth(true))];
    slow.assertions[0].timeout = Duration::from_secs(200);
    run(&slow);
}

#[test]
fn a_drill_that_is_killed_or_stopped_leaves_no_server() {
    let world: World = world();
    let mut cluster = Cluster::new(Version::V15, "wal_keep_size = 64MB");
    world.run(&[&"backup", &cluster.url()]).ends(0);
    rest(&mut cluster);
    let folder = restore(&world, "data", &[]);
    let stopped = copy(&folder, "stopped");
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "cluster_drill::a_drill_that_somebody_kills"]).env(CHILD, &folder);
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let wait = |until: bool| {
        while servers(&folder) != until {
            assert!(begun.elapsed() < PATIENCE, "servers: {}", !until);
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait(true);
    child.kill().unwrap();
    child.wait().unwrap();
    wait(false);

    let slow = drill(Version::V15, &stopped);
    let cancel = slow.cancel.clone();
    let watched = stopped.clone();
    let stop = std::thread::spawn(move || {
        let begun = Instant::now();
        while !servers(&watched) && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        cancel.raise();
    });
    let proved = run(&slow);
    stop.join().unwrap();
    finds(&proved, Cause::Environment, &["the drill was stopped before its end"]);
}
