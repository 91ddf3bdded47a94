//! One policy over a cluster under load, a tree of files and a bucket: a run, then drills to random
//! moments, from a repository and from its copy.
//!
//! `HOLDFAST_TEST_FULL=1` makes twenty drills. On purpose not here: drills that have to fail
//! (`drill`, `cluster_drill`), and each verb by itself.

use super::bucket_source::Media;
use super::cluster::{load, world};
use super::evidence::assert_page;
use super::tree::ordinary;
use super::world::{Leashed, Ran, Word, World};
use holdfast_tests::postgres::{Cluster, VERSIONS};
use holdfast_tests::weed;
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything that one policy is about.
struct Shop {
    world: World,
    cluster: Cluster,
    media: Media,
    policy: PathBuf,
}

impl Shop {
    fn new() -> Self {
        let world = world();
        let media = Media::start();
        let cluster = Cluster::new(
            VERSIONS[0],
            "track_commit_timestamp = on\nmax_slot_wal_keep_size = 2GB\ncheckpoint_timeout = 30s",
        );
        cluster.tool("pgbench", &[&"-i", &"-s", &"2", &"-q", &"postgres"]);
        cluster.sql("create table uploads (key text primary key)");
        let tree = world.path("tree");
        ordinary(&tree, 200, 1);
        fs::create_dir(world.path("scratch")).unwrap();
        fs::set_permissions(world.path(""), Permissions::from_mode(0o777)).unwrap();
        for name in ["key", "offsite.key"] {
            fs::write(world.path(name), name.repeat(16)).unwrap();
        }
        let body = |number: usize| format!("object {number} ").repeat(1 + number * 50).into_bytes();
        media.fill((0..40).map(|number| (format!("media/{number}.bin"), body(number))));
        cluster.sql("insert into uploads select 'media/' || n || '.bin' from generate_series(0, 39) n");
        let policy = world.path("shop.yaml");
        let shop = Self { world, cluster, media, policy };
        fs::write(&shop.policy, shop.text()).unwrap();
        shop
    }

    fn text(&self) -> String {
        let path = |name: &str| self.world.path(name).display().to_string();
        let keys = |name: &str| {
            let file = format!("{{ file: {} }}", path(name));
            format!("{{ backup: {file}, maintain: {file}, read: {file} }}")
        };
        let credentials = format!(
            "{{ access_key: {{ id: {}, secret: {{ file: {} }} }} }}",
            weed::ACCESS,
            path("bucket.secret")
        );
        fs::write(self.world.path("bucket.secret"), weed::SECRET).unwrap();
        format!(
            "name: shop
repository: {{ url: {repo}, keys: {own}, create: true }}
copies:
  - {{ name: offsite, url: \"{offsite}\", keys: {other}, credentials: {credentials}, create: true, max_lag: 6h }}
sources:
  db:
    postgres: {{ url: \"{cluster}\", wal: stream, slot: shop, slot_limit: 1GiB, count_rows: [postgres.public.pgbench_branches] }}
    rpo: 1h
  tree: {{ files: {{ paths: [{tree}] }} }}
  media: {{ s3: {{ url: \"{media}\", credentials: {credentials} }} }}
retention: {{ keep_last: 3, keep_daily: 7, wal: 2d }}
objectives: {{ rpo: 26h, rto: 1h, verified_restore_max_age: 8d }}
drill:
  cron: \"0 4 * * 0\"
  level: full
  pick: random
  from: [repository]
  network: host
  scratch: {{ path: {scratch}, allow_same_filesystem: true }}
  assert:
    - {{ source: db, name: balances, sql: \"select (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches)\" }}
    - {{ source: db, name: uploads, keys_exist: {{ query: \"select key from uploads\", in: media }} }}
",
            repo = path("shop repository"),
            own = keys("key"),
            offsite = self.media.url("offsite"),
            other = keys("offsite.key"),
            cluster = self.cluster.url(),
            tree = path("tree"),
            media = self.media.url("media"),
            scratch = path("scratch"),
        )
    }

    fn command(&self) -> Command {
        let mut command = self.world.command();
        command.env_remove("HOLDFAST_REPOSITORY").env_remove("HOLDFAST_PASSWORD");
        command
    }

    fn run(&self, words: &[Word<'_>]) -> Ran {
        self.world.run_as(&mut self.command(), words)
    }

    /// Streams the log as a service would.
    fn stream(&self, once: bool) -> Leashed {
        let (repo, key) = (self.world.path("shop repository"), self.world.path("key"));
        let url = self.cluster.url();
        let mut words: Vec<Word<'_>> =
            vec![&"-r", &repo, &"--key-file", &key, &"wal", &"stream", &url, &"--slot", &"shop"];
        words.extend::<[Word<'_>; 3]>([&"--create-slot", &"--commit-interval", &"1s"]);
        if once {
            words.push(&"--once");
        }
        self.world.leash_as(self.command(), &words)
    }

    /// Transactions go on while the policy runs and the log streams.
    fn work(&self) {
        // There is no log of it yet.
        let first = self.run(&[&"run", &self.policy, &"--no-drill"]).ends(3);
        assert!(first.out.contains("there is no log of it"), "{}", first.out);
        let mut streamer = self.stream(false);
        let named = "select count(*) from pg_replication_slots where slot_name = 'shop' and active";
        assert!(streamer.wait_for(|| self.cluster.sql(named) == "1"), "{:?}", streamer.output());
        let mut load = load(&self.cluster);
        self.run(&[&"run", &self.policy, &"--no-drill"]).ends(0);
        load.kill().unwrap();
        load.wait().unwrap();
        streamer.send(Signal::TERM);
        streamer.ends_alone(&[&"wal", &"stream"]).ends(0);
        self.stream(true).ends_alone(&[&"wal", &"stream", &"--once"]).ends(0);
    }
}

/// A parser that is not ours has to take it.
fn assert_junit(path: &Path, cases: usize) {
    let program = "import sys, xml.etree.ElementTree as tree\n\
                   root = tree.parse(sys.argv[1]).getroot()\n\
                   assert root.tag in ('testsuite', 'testsuites'), root.tag\n\
                   print(len(list(root.iter('testcase'))), len(list(root.iter('failure'))))";
    let output = Command::new("python3").args(["-c", program]).arg(path).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (found, failed) = told.split_once(' ').unwrap();
    assert!(found.parse::<usize>().unwrap() >= cases && failed == "0", "{told}");
}

/// The objective of a source, measured in a drill.
fn measured(record: &Value, name: &str, source: &str) -> f64 {
    let all = record["objectives"].as_array().unwrap();
    let found = all.iter().find(|it| it["name"] == name && it["source"] == source);
    let found = found.unwrap_or_else(|| panic!("{name} of {source}: {record:#}"));
    assert_eq!(found["met"], true, "{found}");
    found["measured"].as_f64().unwrap()
}

#[test]
fn one_policy_is_run_and_drilled_to_random_moments() {
    let shop = Shop::new();
    shop.work();
    let drills = if std::env::var_os("HOLDFAST_TEST_FULL").is_some() { 20 } else { 2 };
    let (junit, html) = (shop.world.path("junit.xml"), shop.world.path("drill.html"));
    for _ in 0..drills {
        shop.run(&[&"drill", &shop.policy, &"--junit", &junit, &"--html", &html]).ends(0);
        assert_junit(&junit, 3);
        assert_page(&html);
        assert_eq!(fs::read_dir(shop.world.path("scratch")).unwrap().count(), 0, "scratch is removed");
    }
    // The copy has no log: a drill from there proves its snapshots.
    shop.run(&[&"drill", &shop.policy, &"--from", &"offsite"]).ends(0);
    let (repo, key) = (shop.world.path("shop repository"), shop.world.path("key"));
    let own: [Word<'_>; 4] = [&"-r", &repo, &"--key-file", &key];
    let with = |words: &[Word<'_>]| shop.run(&[&own[..], words].concat());
    with(&[&"evidence", &"verify"]).ends(0);
    let lines = with(&[&"evidence", &"show", &"--json"]).ends(0).lines();
    let records: Vec<_> = lines.iter().filter(|line| line["kind"] == "drill").collect();
    assert_eq!(records.len(), drills, "{lines:#?}");
    for record in records.iter().map(|line| &line["record"]) {
        assert_eq!((&record["verdict"], &record["level"]), (&"pass".into(), &"full".into()), "{record:#}");
        for source in ["db", "tree", "media"] {
            assert!(measured(record, "rto", source) < 3600.0);
            assert!(measured(record, "rpo", source) < 3600.0);
        }
        let db = record["sources"].as_array().unwrap().iter().find(|it| it["source"] == "db").unwrap();
        assert!(db["point"].as_str().unwrap().contains("time="), "{db:#}");
    }
    let status = shop.run(&[&"status", &shop.policy, &"--json"]);
    assert!(status.code == 0, "{}\n{}", status.out, status.err);
    let slot = &of(&status, "slot_status")[0];
    assert_eq!(
        (&slot["slot"], &slot["state"], &slot["limit_bytes"]),
        (&"shop".into(), &"ok".into(), &(1 << 30).into())
    );
    assert!(slot["retained_bytes"].as_u64().unwrap() < 512 << 20, "{slot}");
    foreseen(&shop);
    a_slot_that_fills_is_told(shop);
}

/// The lines of one type.
fn of(ran: &Ran, kind: &str) -> Vec<Value> {
    ran.lines().into_iter().filter(|line| line["message_type"] == kind).collect()
}

/// What the policy comes down to in numbers, now that there were backups and drills.
fn foreseen(shop: &Shop) {
    let planned = shop.run(&[&"--json", &"policy", &"plan", &shop.policy]).ends(0);
    assert_eq!(of(&planned, "policy_unseen"), [Value::Null; 0], "{}", planned.out);
    for line in of(&planned, "policy_traffic") {
        // The policy has no schedule of its own, and says when it is drilled.
        let known = line["what"] == "drill";
        assert_eq!((line["times"].is_number(), line["bytes"].is_number()), (known, known), "{line}");
    }
    let room = &of(&planned, "policy_room")[0];
    assert!(room["needed_bytes"].as_u64() > Some(10 << 20) && room["message"] == "", "{room}");
    let replay = &of(&planned, "policy_replay")[0];
    assert!(
        replay["bytes_per_second"].as_f64() > Some(0.0) && replay["replay_seconds"].is_number(),
        "{replay}"
    );
    // Less than the cluster takes is told today.
    let text = fs::read_to_string(&shop.policy).unwrap();
    let small = shop.world.path("small.yaml");
    fs::write(&small, text.replace("allow_same_filesystem: true", "allow_same_filesystem: true, max: 1MiB"))
        .unwrap();
    let planned = shop.run(&[&"policy", &"plan", &small]).ends(0);
    assert!(planned.out.contains("this drill would be inconclusive"), "{}", planned.out);
    let plan = shop.run(&[&"policy", &"plan", &shop.policy]).ends(0).out;
    assert!(
        plan.contains("IN 30 DAYS") && plan.contains("a drill needs ") && plan.contains(" of replay at "),
        "{plan}"
    );
}

/// Nobody streams, and the log goes on; then the server is gone.
fn a_slot_that_fills_is_told(mut shop: Shop) {
    let text = fs::read_to_string(&shop.policy).unwrap().replace("slot_limit: 1GiB", "slot_limit: 100MiB");
    fs::write(&shop.policy, text).unwrap();
    let slot = |shop: &Shop| {
        let status = shop.run(&[&"status", &shop.policy, &"--json"]);
        let problems = of(&status, "problem");
        let is_slot = |line: &&Value| line["condition"].as_str().is_some_and(|it| it.starts_with("slot-"));
        (of(&status, "slot_status").remove(0), problems.iter().find(is_slot).cloned(), status.code)
    };
    for (segments, state) in [(5, "warning"), (3, "high")] {
        for _ in 0..segments {
            shop.cluster.sql("select pg_logical_emit_message(false, 'x', 'x'); select pg_switch_wal()");
        }
        let (line, problem, code) = slot(&shop);
        assert_eq!(
            (&line["state"], &problem.unwrap()["condition"]),
            (&state.into(), &"slot-fills".into()),
            "{line}"
        );
        assert!(code >= 1, "{line}");
    }
    let shown = shop.run(&[&"status", &shop.policy]).ends(2).out;
    assert!(shown.contains("slot shop on ") && shown.contains(" of 100 MiB  "), "{shown}");
    let (url, missing) = (shop.cluster.url(), "nobody");
    let told = of(&shop.run(&[&"--json", &"wal", &"slot", &url, &"--slot", &missing]).ends(0), "slot");
    assert_eq!((&told[0]["state"], &told[0]["retained_bytes"]), (&"missing".into(), &Value::Null));
    shop.cluster.stop();
    let begun = std::time::Instant::now();
    let (line, problem, _) = slot(&shop);
    assert!(begun.elapsed().as_secs() < 60, "it waited for a server that is gone");
    assert!(line["message"].as_str().unwrap().starts_with("cannot tell: "), "{line}");
    assert_eq!(
        (&line["retained_bytes"], &problem.unwrap()["condition"]),
        (&Value::Null, &"slot-unseen".into())
    );
    shop.run(&[&"wal", &"slot", &url, &"--slot", &"shop"])
        .ends(1)
        .says(&["the slot shop cannot be asked for"]);
}
