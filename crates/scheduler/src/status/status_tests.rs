//! How things stand, as a fake that answers for the verbs has it, at a fixed moment.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::{GoodBy, Known, METRICS, State, Status, Unreadable, look, metrics, screen};
use crate::catalog::{Catalog, Run, RunEnd};
use crate::hands::{Answer, Call, Cluster, ClusterProof, Ended, Hands, Place, Program, Said};
use crate::policy::Policy;
use async_trait::async_trait;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

const NOW: &str = "2026-11-22T03:14:20+09:00";

pub(super) const POLICY: &str = r#"
name: shop
repository: { url: /backups/shop, password: { env: X } }
copies: [ { name: offsite, url: "s3://offsite/shop", password: { env: Y }, max_lag: 6h } ]
sources:
  db: { postgres: { url: "postgres://backup@db1/", wal: stream }, rpo: 5m }
  tree: { files: { paths: [/srv/shop] } }
  media: { s3: { url: "s3://media/prefix" } }
schedule: { cron: "15 2 * * *", timezone: Asia/Seoul }
objectives: { rpo: 26h, rto: 1h, verified_restore_max_age: 8d }
drill: { cron: "0 4 * * 0" }
"#;

/// Answers by the place and the first words of a verb; whatever it does not know is empty and well.
#[derive(Default)]
pub(super) struct Fake {
    answers: BTreeMap<(String, String), Result<Answer, String>>,
    /// What it was asked, in order.
    asked: Mutex<Vec<String>>,
}

impl Fake {
    pub(super) fn says(mut self, place: &str, words: &str, lines: Vec<Value>) -> Self {
        let answer = Answer { lines, ..Answer::default() };
        self.answers.insert((place.into(), words.into()), Ok(answer));
        self
    }

    /// What it knows to answer, with a warning beside.
    fn warns(mut self, place: &str, words: &str, message: &str) -> Self {
        let answer =
            self.answers.entry((place.into(), words.into())).or_insert_with(|| Ok(Answer::default()));
        let line = json!({"message_type": "warning", "message": message});
        answer.as_mut().unwrap().problems.push(line);
        self
    }

    pub(super) fn fails(mut self, place: &str, words: &str, code: i32, message: &str, hint: &str) -> Self {
        let problems =
            vec![json!({"message_type": "exit_error", "code": code, "message": message, "hint": hint})];
        let answer = Answer { code, problems, ..Answer::default() };
        self.answers.insert((place.into(), words.into()), Ok(answer));
        self
    }
}

#[async_trait]
impl Hands for Fake {
    async fn verb(&self, call: Call) -> Result<Answer, String> {
        let words: Vec<_> = call.words.iter().map(|word| word.to_string_lossy()).collect();
        let place = call.repository.map(|place| place.name).unwrap_or_default();
        let patience = call.timeout.unwrap_or(Duration::MAX);
        assert!(patience <= Duration::from_secs(300), "{words:?} may hang");
        self.asked.lock().unwrap().push(format!("{place} {}", words.join(" ")));
        self.answers.get(&(place, words.join(" "))).cloned().unwrap_or_else(|| Ok(Answer::default()))
    }

    async fn program(&self, program: Program) -> Result<Ended, String> {
        panic!("status runs nothing: {program:?}")
    }

    async fn cluster(&self, cluster: Cluster) -> ClusterProof {
        panic!("status starts nothing: {cluster:?}")
    }

    async fn record(&self, _: &Place, kind: &str, _: &str) -> Result<String, String> {
        panic!("status records nothing: {kind}")
    }

    fn now(&self) -> Timestamp {
        at(NOW)
    }

    fn random(&self) -> u64 {
        4
    }

    fn host(&self) -> String {
        "web1".into()
    }

    fn stopped(&self) -> bool {
        false
    }

    fn say(&self, _: Said<'_>) {}
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn known(text: &str) -> Known {
    let policy: Policy = serde_saphyr::from_str(text).unwrap();
    Known { policy, file: "/etc/holdfast/shop.yaml".into(), since: Some(at("2026-11-01T00:00:00Z")) }
}

/// A snapshot of a minute, that ended at a time of this November in Seoul.
pub(super) fn snapshot(id: u8, source: &str, ended: &str) -> Value {
    let ended = at(&format!("2026-11-{ended}:00+09:00"));
    let time = ended - jiff::SignedDuration::from_mins(1);
    json!({
        "message_type": "snapshot", "id": hex(id), "short_id": &hex(id)[..8], "time": time, "source": source,
        "kind": "files", "incomplete": false, "error_count": 0, "summary": {"backup_start": time, "backup_end": ended},
    })
}

pub(super) fn hex(id: u8) -> String {
    format!("{id:02x}").repeat(16)
}

fn incomplete(mut line: Value) -> Value {
    line["incomplete"] = true.into();
    line["error_count"] = 214.into();
    line
}

/// Evidence of a drill: for each source a verdict, seconds, and what was found.
pub(super) fn drilled(id: &str, ended: &str, sources: &[(&str, &str, f64, &str)]) -> Value {
    let ended = at(&format!("2026-11-{ended}:00+09:00"));
    let sources: Vec<Value> = sources
        .iter()
        .map(|(source, verdict, seconds, found)| {
            let findings = match *found {
                "" => json!([]),
                found => json!([{"cause": "backup", "what": found, "next": "holdfast check --read-data"}]),
            };
            json!({
                "source": source, "kind": "files", "snapshot": hex(1), "snapshot_time": ended, "point": "snapshot",
                "reached": "full", "share": null, "bytes": 1, "verdict": verdict,
                "phases": [{"name": "restore", "seconds": seconds, "counts": true},
                           {"name": "checks", "seconds": 999.0, "counts": false}],
                "probes": [{"name": "files", "level": "restore", "seconds": 1.0, "findings": findings}],
            })
        })
        .collect();
    let record = json!({
        "version": 1, "id": id, "policy": "shop", "policy_hash": "aa", "host": "drill-1", "user": "root",
        "program": "0.1.0", "started": ended - jiff::SignedDuration::from_mins(50), "ended": ended,
        "from": "offsite", "url": "s3://offsite/shop", "key": "drill", "level": "full", "sources": sources,
        "objectives": [], "scratch": [], "verdict": "pass", "code": 0,
    });
    json!({"message_type": "evidence", "name": id, "member": "m", "number": 1, "time": ended, "kind": "drill", "record": record})
}

/// A window of log from a snapshot on.
pub(super) fn log(snapshot: u8, newest: &str, to_newest: bool) -> Vec<Value> {
    let newest = at(&format!("2026-11-{newest}+09:00"));
    vec![
        json!({"message_type": "wal_timeline", "system": "7", "timeline": "1", "newest": newest}),
        json!({"message_type": "wal_window", "system": "7", "timeline": "1", "snapshot_id": hex(snapshot), "to_newest": to_newest}),
    ]
}

/// All is well.
pub(super) fn well() -> Fake {
    let both = vec![
        snapshot(1, "shop/db", "21T02:16"),
        snapshot(2, "shop/tree", "21T02:20"),
        snapshot(3, "shop/media", "22T02:31"),
        snapshot(9, "other/tree", "01T00:00"),
    ];
    let passed = [("db", "pass", 2280.0, ""), ("tree", "pass", 360.0, ""), ("media", "pass", 60.0, "")];
    Fake::default()
        .says("repository", "snapshots", both.clone())
        .says("offsite", "snapshots", both)
        .says("repository", "wal status", log(1, "22T03:13:39", true))
        .says("offsite", "evidence show", vec![drilled("a", "16T04:52", &passed)])
}

pub(super) async fn stands(fake: &Fake, text: &str) -> Status {
    look(fake, &[known(text)], &[], None, &seoul()).await
}

fn seoul() -> TimeZone {
    TimeZone::get("Asia/Seoul").unwrap()
}

fn shown(status: &Status) -> String {
    screen(status, &seoul())
}

/// Which conditions there are, each with how bad it is.
pub(super) fn conditions(status: &Status) -> Vec<(&'static str, State)> {
    status.problems.iter().map(|problem| (problem.condition, problem.state)).collect()
}

pub(super) fn of<'a>(status: &'a Status, source: &str) -> &'a super::SourceState {
    status.sources.iter().find(|one| one.source == source).unwrap()
}

#[tokio::test]
async fn a_night_when_all_is_well() {
    let status = stands(&well(), POLICY).await;
    let wanted = "\
holdfast status                                                     Sun 2026-11-22 03:14 +09:00
SOURCE      LAST GOOD    AGE    LIMIT  PROVEN RESTORE  AGE  LIMIT  TOOK    STATE
shop/db     03:13 (WAL)  41 s   5 min  11-16 04:52     5 d  8 d    38 min  ok
shop/tree   11-21 02:20  24 h   26 h   11-16 04:52     5 d  8 d    6 min   ok
shop/media  02:31        43 min  26 h   11-16 04:52     5 d  8 d    1 min   ok
copy offsite: has everything                                               ok
next shop: run 11-23 02:15, drill 04:00";
    let squeezed = |text: &str| {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(squeezed(&shown(&status)), squeezed(wanted));
    assert_eq!((status.state(), status.problems.len()), (State::Ok, 0));
    assert_eq!(of(&status, "db").last_good.as_ref().unwrap().by, GoodBy::Log);
    assert_eq!(of(&status, "db").drill_due, Some(at("2026-11-22T04:00:00+09:00")));
}

#[tokio::test]
async fn the_screen_at_three_in_the_morning() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Catalog::open(&folder.path().join("c.db").into()).await.unwrap();
    let run = Run {
        policy: "shop".into(),
        source: Some("media".into()),
        activity: "backup".into(),
        started: at("2026-11-22T02:31:00+09:00"),
    };
    let id = memory.begin(&run).await.unwrap();
    let message = "GetObject denied for 214 keys\u{1b}[2J, request 7F3A";
    let ended = at("2026-11-22T02:35:00+09:00");
    memory.end(id, &RunEnd { ended, code: 3, message: message.into(), snapshot: None }).await.unwrap();
    let ours = vec![
        snapshot(1, "shop/db", "21T02:16"),
        snapshot(2, "shop/tree", "21T02:20"),
        snapshot(3, "shop/media", "19T02:31"),
        incomplete(snapshot(4, "shop/media", "22T02:35")),
        snapshot(5, "shop/tree", "20T02:20"),
    ];
    let hold = json!({
        "message_type": "hold", "id": hex(7), "short_id": &hex(7)[..8], "scope": "source", "source": "shop/tree",
        "snapshot_id": null, "reason": "audit", "since": at("2026-11-20T09:00:00+09:00"), "until": null,
    });
    let fake = well()
        .says("repository", "snapshots", ours)
        .says(
            "offsite",
            "snapshots",
            vec![
                snapshot(1, "shop/db", "21T02:16"),
                snapshot(6, "shop/tree", "19T02:20"),
                snapshot(3, "shop/media", "19T02:31"),
            ],
        )
        .says("repository", "hold", vec![hold])
        .says(
            "offsite",
            "evidence show",
            vec![drilled("a", "16T04:52", &[("db", "pass", 2280.0, ""), ("tree", "pass", 360.0, "")])],
        );
    let status = look(&fake, &[known(POLICY)], &[], Some(&memory), &seoul()).await;
    let wanted = "\
holdfast status                                             Sun 2026-11-22 03:14 +09:00
SOURCE      LAST GOOD    AGE   LIMIT  PROVEN RESTORE  AGE  LIMIT  TOOK    STATE
shop/db     03:13 (WAL)  41 s  5 min  11-16 04:52     5 d  8 d    38 min  ok
shop/tree   11-21 02:20  24 h  26 h   11-16 04:52     5 d  8 d    6 min   ok
shop/media  11-19 02:31  3 d   26 h   never           -    8 d    -       HIGH
copy offsite: 3 snapshots behind, oldest 2 d (limit 6 h)                  WARNING
hold 07070707 on shop/tree since 11-20 09:00, until it is released: audit
next shop: run 11-23 02:15, drill 04:00

HIGH shop/media is not backed up since 11-19 02:31. If the bucket is lost now, 3 days are lost.
  why      GetObject denied for 214 keys\\u{1b}[2J, request 7F3A (attempt of 02:31)
  do       holdfast preflight s3://media/prefix ; then: holdfast run /etc/holdfast/shop.yaml --source media
  do not   forget or prune shop until this is ok
  restore  holdfast -r /backups/shop restore latest --source shop/media --target DIR --dry-run

WARNING shop: the copy offsite is behind. If the repository is lost now, 2 days are lost.
  why      3 snapshots not copied, the oldest 2 d old (limit 6 h)
  do       holdfast run /etc/holdfast/shop.yaml
  do not   remove anything from the repository until the copy has it
  restore  from the repository, as ever";
    let (shown, wanted): (Vec<_>, Vec<_>) =
        (shown(&status).lines().map(str::to_owned).collect(), wanted.lines().collect());
    // The width of the first line follows from the others.
    assert_eq!(shown[1..], wanted[1..], "{}", shown.join("\n"));
    assert!(shown[0].starts_with("holdfast status  ") && shown[0].ends_with(" Sun 2026-11-22 03:14 +09:00"));
    assert_eq!((status.state(), status.state().code()), (State::High, 2));
}

#[tokio::test]
async fn a_repository_or_key_that_is_out_of_reach_is_a_disaster() {
    let fake =
        well().fails("repository", "snapshots", 12, "the password is wrong", "check HOLDFAST_PASSWORD_FILE");
    let status = stands(&fake, POLICY).await;
    assert_eq!(conditions(&status), [("repository-out-of-reach", State::Disaster)]);
    assert!(status.sources.iter().all(|source| source.state == State::Disaster));
    let shown = shown(&status);
    for text in [
        "DISASTER shop: the repository /backups/shop",
        "the password is wrong",
        "check HOLDFAST_PASSWORD_FILE",
        "from the copy offsite: holdfast -r s3://offsite/shop",
    ] {
        assert!(shown.contains(text), "{shown}");
    }
    // A secret that is not to be had says nothing of the repository.
    let mut fake = well();
    fake.answers.insert(("repository".into(), "snapshots".into()), Err("X is not set".into()));
    let status = stands(&fake, POLICY).await;
    assert_eq!(conditions(&status), [("cannot-tell", State::Unknown)]);
    assert_eq!((status.state().code(), of(&status, "tree").state), (3, State::Unknown));
    let written = metrics(&status);
    assert!(
        !written.contains("holdfast_last_good_timestamp_seconds{")
            && written.contains("holdfast_objective_rpo")
    );
}

#[tokio::test]
async fn what_this_host_may_not_read_is_judged_by_its_memory() {
    let text = POLICY
        .replace("password: { env: X }", "keys: { backup: { file: /k } }")
        .replace("password: { env: Y }", "keys: { backup: { file: /k } }");
    let folder = tempfile::tempdir().unwrap();
    let memory = Catalog::open(&folder.path().join("c.db").into()).await.unwrap();
    for (source, started) in [("db", "2026-11-22T03:12:00+09:00"), ("tree", "2026-11-20T02:15:00+09:00")] {
        let started = at(started);
        let run =
            Run { policy: "shop".into(), source: Some(source.into()), activity: "backup".into(), started };
        let id = memory.begin(&run).await.unwrap();
        let end = RunEnd { ended: started, code: 0, message: String::new(), snapshot: Some(hex(1)) };
        memory.end(id, &end).await.unwrap();
    }
    let fake = Fake::default();
    let status = look(&fake, &[known(&text)], &[], Some(&memory), &seoul()).await;
    assert_eq!(of(&status, "db").state, State::Ok);
    assert_eq!(of(&status, "db").last_good.as_ref().unwrap().by, GoodBy::Memory);
    assert_eq!(of(&status, "tree").state, State::High);
    assert_eq!(of(&status, "media").state, State::Unknown);
    let shown = shown(&status);
    assert!(shown.contains("03:12 (memory)") && shown.contains("copy offsite: not looked at"), "{shown}");
}

#[tokio::test]
async fn drills_that_failed_or_proved_nothing() {
    let with = |lines: Vec<Value>| well().says("repository", "evidence show", lines);
    let found = "file 12 of base/5 is older than the snapshot";
    let failed = with(vec![drilled("b", "21T04:00", &[("tree", "fail", 1.0, found)])]);
    let status = stands(&failed, POLICY).await;
    assert_eq!(conditions(&status), [("drill-failed", State::High)]);
    let problem = &status.problems[0];
    assert_eq!(problem.why, format!("{found} (cause: backup)"));
    assert!(
        problem.to_do.starts_with("holdfast check --read-data ;")
            && problem.do_not.contains("only one that comes back")
    );
    assert!(problem.restore.ends_with("about 6 min"), "{problem:?}");
    let nothing = with(vec![drilled("b", "21T04:00", &[("tree", "inconclusive", 1.0, "")])]);
    assert_eq!(conditions(&stands(&nothing, POLICY).await), [("drill-inconclusive", State::Warning)]);
    // A pass behind it heals it.
    let healed = with(vec![
        drilled("b", "21T04:00", &[("tree", "fail", 1.0, found)]),
        drilled("c", "21T05:00", &[("tree", "pass", 1.0, "")]),
    ]);
    assert_eq!(stands(&healed, POLICY).await.state(), State::Ok);
    let mut slow = drilled("b", "21T04:00", &[("tree", "pass", 4200.0, "")]);
    slow["record"]["objectives"] = json!([{"name": "rto", "source": "tree", "limit": 3600.0, "measured": 4200.0, "met": false, "enforced": true, "estimated": false}]);
    let status = stands(&with(vec![slow]), POLICY).await;
    assert_eq!(conditions(&status), [("rto", State::High)]);
    assert!(status.problems[0].why.contains("took 70 min (limit 1 h)"), "{:?}", status.problems[0]);
}

#[tokio::test]
async fn proofs_that_are_too_old_or_never_came() {
    let text = POLICY.replace("8d", "2d");
    let status = stands(&well(), &text).await;
    assert_eq!(conditions(&status), [("proof", State::High); 3]);
    let never = well().says("offsite", "evidence show", Vec::new());
    let status = stands(&never, &text).await;
    // Its first backup is younger than that, and no drill was due since.
    assert_eq!(status.state(), State::Ok, "{:?}", status.problems);
    let both = vec![
        snapshot(8, "shop/tree", "02T02:20"),
        snapshot(2, "shop/tree", "21T02:20"),
        snapshot(1, "shop/db", "21T02:16"),
        snapshot(3, "shop/media", "22T02:31"),
    ];
    let old = never.says("repository", "snapshots", both.clone()).says("offsite", "snapshots", both);
    let status = stands(&old, &text).await;
    assert_eq!(conditions(&status), [("proof", State::Disaster), ("drill-due", State::Warning)]);
    assert!(shown(&status).contains("DISASTER shop/tree was never seen to come back, in 20 days."));
    // Without a promise only the drill is due.
    let status = stands(&old, &text.replace(", verified_restore_max_age: 2d", "")).await;
    assert_eq!(conditions(&status), [("drill-due", State::Warning)]);
}

#[tokio::test]
async fn backups_that_are_missing_or_lack_something() {
    let fake = well().says("repository", "snapshots", vec![incomplete(snapshot(2, "shop/tree", "22T02:20"))]);
    let text = POLICY.replace("drill: { cron: \"0 4 * * 0\" }", "");
    let status = stands(&fake, &text).await;
    assert_eq!(conditions(&status)[..3], [("no-backup", State::Disaster); 3]);
    assert!(status.problems.iter().any(|problem| problem.why == "no snapshot of it is whole"));
    assert!(
        metrics(&status)
            .contains("holdfast_last_good_timestamp_seconds{policy=\"shop\",source=\"tree\"} 0\n")
    );
    let young = Known { since: Some(at("2026-11-22T00:00:00+09:00")), ..known(&text) };
    let status = look(&fake, &[young], &[], None, &seoul()).await;
    assert_eq!(of(&status, "tree").state, State::Warning);
    let lacks = vec![
        snapshot(1, "shop/db", "21T02:16"),
        snapshot(2, "shop/tree", "21T02:20"),
        snapshot(3, "shop/media", "22T02:31"),
        incomplete(snapshot(4, "shop/tree", "22T02:20")),
    ];
    let status = stands(&well().says("repository", "snapshots", lacks), &text).await;
    assert!(conditions(&status).contains(&("incomplete", State::Warning)), "{:?}", status.problems);
    // The log ended.
    let status = stands(&well().says("repository", "wal status", log(1, "22T02:00:00", true)), POLICY).await;
    assert_eq!(conditions(&status), [("rpo", State::High)]);
    assert_eq!(
        status.problems[0].why,
        "the newest that is stored of its log is of 02:00: see whether `holdfast wal stream` runs"
    );
    // The log ends, and goes on later.
    let status = stands(
        &well().says("repository", "wal status", log(1, "22T03:13:39", false)),
        &text.replace("rpo: 5m", "rpo: 2d"),
    )
    .await;
    assert_eq!(conditions(&status), [("log-gap", State::Warning)]);
}

#[tokio::test]
async fn that_nothing_will_be_left_is_told_two_weeks_before() {
    let text = |days: u32| format!("{POLICY}retention: {{ keep_last: 3, delete_after: {days}d }}\n");
    assert_eq!(conditions(&stands(&well(), &text(16)).await), []);
    // The last of db and tree was made a day ago.
    let status = stands(&well(), &text(14)).await;
    let soon: Vec<_> = status.problems.iter().filter(|one| one.condition == "last-one-expires").collect();
    let of: Vec<_> = soon.iter().map(|one| (one.source.as_deref().unwrap(), one.copy.as_deref())).collect();
    let (db, tree) = (("db", None), ("tree", None));
    assert_eq!(
        of,
        [
            db,
            tree,
            ("media", None),
            ("db", Some("offsite")),
            ("tree", Some("offsite")),
            ("media", Some("offsite"))
        ]
    );
    let what = &soon[0].what;
    assert!(what.contains("12-05 02:16; after that nothing of it is left"), "{what}");
    // Log goes at the same age, later: there is younger.
    assert!(what.contains("but its log, the last of it until 12-06 03:13"), "{what}");
    assert!(!soon[1].what.contains("its log") && !soon[3].what.contains("its log"), "{what}");
    let expiring = |status: &Status| {
        let soon = status.problems.iter().filter(|one| one.condition == "last-one-expires");
        let of = soon.map(|one| (one.source.clone().unwrap(), one.copy.clone(), one.what.clone()));
        of.collect::<Vec<_>>()
    };
    let hold = |until: Option<&str>| {
        vec![json!({"message_type": "hold", "id": "ab".repeat(16), "short_id": "abababab", "scope": "all",
            "source": null, "snapshot_id": null, "reason": "a court", "since": at(NOW),
            "until": until.map(at)})]
    };
    // A hold keeps what is where it stands, and nothing in a copy.
    let status = stands(&well().says("repository", "hold", hold(None)), &text(14)).await;
    let left = expiring(&status);
    assert!(left.len() == 3 && left.iter().all(|(_, copy, _)| copy.is_some()), "{left:?}");
    let both = well().says("repository", "hold", hold(None)).says("offsite", "hold", hold(None));
    assert_eq!(expiring(&stands(&both, &text(14)).await), []);
    // It stands no longer than it says.
    let held_until = |until| well().says("repository", "hold", hold(Some(until)));
    let early = expiring(&stands(&held_until("2026-11-25T00:00:00+09:00"), &text(14)).await);
    assert!(early.len() == 6 && early[0].2.contains("12-05 02:16"), "{early:?}");
    let late = expiring(&stands(&held_until("2026-12-06T01:00:00+09:00"), &text(14)).await);
    assert!(late.len() == 6 && late[0].2.contains("12-06 01:00"), "{late:?}");
    let later = expiring(&stands(&held_until("2026-12-30T00:00:00+09:00"), &text(14)).await);
    assert_eq!(later.len(), 3, "{later:?}");
}

#[tokio::test]
async fn what_a_policy_names_no_more_and_keeps_for_ever_is_told() {
    let mut snapshots = well().answers[&("repository".into(), "snapshots".into())].clone().unwrap().lines;
    let mut old = snapshot(8, "shop/old", "01T02:20");
    (old["hostname"], old["tags"]) = ("web1".into(), json!(["policy=shop"]));
    snapshots.push(old);
    let told = async |rules: &str| {
        let text = format!("{POLICY}retention: {{ {rules} }}\n");
        let kept = || snapshots.clone();
        let fake = well().says("repository", "snapshots", kept()).says("offsite", "snapshots", kept());
        stands(&fake, &text).await
    };
    let status = told("keep_last: 3, delete_after: 16d").await;
    assert_eq!(conditions(&status), [("former-source", State::Warning); 2], "in each place where it is");
    let problem = &status.problems[0];
    assert!(problem.what.contains("of shop/old 1 snapshot in repository is older"), "{problem:?}");
    let command =
        "holdfast -r /backups/shop forget --source=shop/old --group-by=source --delete-after=384h --prune";
    assert!(problem.to_do.starts_with(command), "{problem:?}");
    // It is young enough, nothing has to go, or it goes.
    for rules in ["delete_after: 30d", "keep_last: 3", "delete_after: 16d, delete_former: true"] {
        assert_eq!(conditions(&told(rules).await), [], "{rules}");
    }
}

#[tokio::test]
async fn what_lies_in_the_future_silences_no_deadline() {
    let text = format!("{POLICY}retention: {{ keep_last: 3, delete_after: 14d }}\n");
    let mut snapshots = well().answers[&("repository".into(), "snapshots".into())].clone().unwrap().lines;
    snapshots.push(snapshot(9, "shop/tree", "30T02:20"));
    let status = stands(&well().says("repository", "snapshots", snapshots), &text).await;
    let of_tree = |one: &&super::problem::Problem| {
        one.condition == "last-one-expires" && one.copy.is_none() && one.source.as_deref() == Some("tree")
    };
    assert_eq!(status.problems.iter().filter(of_tree).count(), 1, "{:?}", status.problems);
}

#[tokio::test]
async fn what_cannot_be_looked_at_is_never_well() {
    let gone =
        Unreadable { name: "old".into(), file: "/etc/old policy.yaml".into(), why: "no such file".into() };
    let status = look(&well(), &[known(POLICY)], &[gone], None, &seoul()).await;
    assert_eq!((status.state(), status.state().code()), (State::Unknown, 3));
    assert!(shown(&status).contains("holdfast policy check '/etc/old policy.yaml'"));
    let written = metrics(&status);
    for line in ["holdfast_policy_readable{policy=\"old\"} 0", "holdfast_policy_readable{policy=\"shop\"} 1"]
    {
        assert!(written.lines().any(|written| written == line), "{line}\n{written}");
    }
    let status = look(&Fake::default(), &[], &[], None, &seoul()).await;
    assert_eq!(status.state(), State::Unknown);
    let status = stands(&well().fails("repository", "evidence show", 1, "no", ""), POLICY).await;
    assert_eq!(conditions(&status), [("not-all-seen", State::Warning)]);
    let status = stands(&well().fails("offsite", "snapshots", 1, "no route", ""), POLICY).await;
    let found = conditions(&status);
    assert!(found.contains(&("copy-out-of-reach", State::Warning)), "{found:?}");
    assert!(shown(&status).contains("copy offsite: cannot be read"));
}

#[tokio::test]
async fn parts_that_cannot_be_read_are_no_good_news() {
    for (place, words) in [
        ("repository", "snapshots"),
        ("offsite", "snapshots"),
        ("repository", "evidence show"),
        ("offsite", "evidence show"),
        ("repository", "hold"),
        ("repository", "wal status"),
    ] {
        let status = stands(&well().warns(place, words, "1 record is not as it should be"), POLICY).await;
        assert_eq!(conditions(&status), [("partly-unreadable", State::Warning)], "{place} {words}");
        let why = &status.problems[0].why;
        assert!(why.starts_with(place) && why.contains("1 record is not"), "{why}");
    }
    // It lists what it can read, and ends with 3.
    let lacking = |words: &str| {
        let mut fake = well().fails("repository", "x", 3, "2 of them cannot be read", "");
        let said = fake.answers.remove(&("repository".into(), "x".into())).unwrap().unwrap();
        let answer = fake.answers.get_mut(&("repository".into(), words.into())).unwrap().as_mut().unwrap();
        (answer.code, answer.problems) = (said.code, said.problems);
        fake
    };
    let status = stands(&lacking("snapshots"), POLICY).await;
    assert_eq!(conditions(&status), [("partly-unreadable", State::Warning)]);
    assert!(status.problems[0].why.contains("2 of them cannot be read"), "{:?}", status.problems[0]);
    // A log with a gap ends so too, and is judged by what goes on from which snapshot.
    assert_eq!(conditions(&stands(&lacking("wal status"), POLICY).await), []);
}

#[tokio::test]
async fn a_repository_that_hangs_is_not_waited_for() {
    let mut fake = well().fails("repository", "snapshots", 130, "interrupted", "");
    let key = ("repository".to_owned(), "snapshots".to_owned());
    fake.answers.get_mut(&key).unwrap().as_mut().unwrap().seconds = 300.4;
    let status = stands(&fake, POLICY).await;
    assert_eq!(conditions(&status), [("cannot-tell", State::Unknown)]);
    assert_eq!(status.problems[0].why, "it did not answer `snapshots` in 5 min");
    assert!(!fake.asked.lock().unwrap().iter().any(|asked| asked == "repository hold"));
}

/// What is said of a clock, one for each source.
fn of_clocks(status: &Status) -> Vec<&super::Problem> {
    status.problems.iter().filter(|problem| problem.condition == "clock-ahead").collect()
}

#[tokio::test]
async fn a_backup_from_the_future_is_not_the_newest() {
    let with = |ended: &str| {
        let mut future = snapshot(4, "shop/tree", ended);
        future["hostname"] = "web7".into();
        let ours = vec![
            snapshot(1, "shop/db", "21T02:16"),
            snapshot(2, "shop/tree", "20T02:20"),
            snapshot(3, "shop/media", "22T02:31"),
            future,
        ];
        well().says("repository", "snapshots", ours.clone()).says("offsite", "snapshots", ours)
    };
    // Clocks are never quite alike.
    assert_eq!(conditions(&stands(&with("22T03:24"), POLICY).await), []);
    let status = stands(&with("30T02:20"), POLICY).await;
    assert_eq!(conditions(&status), [("rpo", State::High), ("clock-ahead", State::High)]);
    assert_eq!(of(&status, "tree").last_good.as_ref().unwrap().at, at("2026-11-20T02:20:00+09:00"));
    let problem = of_clocks(&status)[0];
    assert_eq!(
        problem.what,
        "shop/tree: snapshot 04040404 is of 11-30 02:20, 7 days ahead of the clock of this host. It does not count."
    );
    assert!(problem.why.starts_with("the clock of web7 was ahead"), "{problem:?}");
    for words in [
        "date, on web7 and here",
        "holdfast run /etc/holdfast/shop.yaml --source tree ;",
        "holdfast -r /backups/shop snapshots ;",
        "holdfast -r /backups/shop forget 04040404 ",
    ] {
        assert!(problem.to_do.contains(words), "{words}: {problem:?}");
    }
    assert!(problem.do_not.contains("before a newer whole backup"), "{problem:?}");
    // The latest by its time is not what is wanted back.
    assert!(
        problem.restore.starts_with("holdfast -r /backups/shop restore 02020202 --target"),
        "{problem:?}"
    );
    assert!(metrics(&status).contains(&format!(
        "holdfast_last_good_timestamp_seconds{{policy=\"shop\",source=\"tree\"}} {}\n",
        at("2026-11-20T02:20:00+09:00").as_second()
    )));
    // It is all that there is.
    let alone = vec![snapshot(4, "shop/tree", "30T02:20")];
    let status = stands(&well().says("repository", "snapshots", alone), POLICY).await;
    let none = status
        .problems
        .iter()
        .find(|one| one.condition == "no-backup" && one.source.as_deref() == Some("tree"));
    assert!(none.unwrap().why.contains("a time that is still to come"), "{none:?}");
}

#[tokio::test]
async fn a_copy_with_a_snapshot_from_the_future_can_be_behind() {
    let (old, future, new) = (
        snapshot(2, "shop/tree", "20T02:20"),
        snapshot(4, "shop/tree", "30T02:20"),
        snapshot(5, "shop/tree", "21T20:00"),
    );
    let fake = |theirs: Vec<Value>| {
        let ours = vec![old.clone(), future.clone(), new.clone()];
        Fake::default().says("repository", "snapshots", ours).says("offsite", "snapshots", theirs)
    };
    let behind = async |theirs: Vec<Value>| stands(&fake(theirs), POLICY).await.copies[0].behind;
    assert_eq!(behind(vec![old.clone(), future.clone(), new.clone()]).await, Some(0));
    assert_eq!(behind(vec![old.clone(), future.clone()]).await, Some(1));
    assert_eq!(behind(vec![old.clone(), new.clone()]).await, Some(1));
}

#[tokio::test]
async fn a_log_a_proof_and_a_run_from_the_future_do_not_count() {
    let status = stands(&well().says("repository", "wal status", log(1, "30T00:00:00", true)), POLICY).await;
    assert_eq!(conditions(&status), [("rpo", State::High), ("clock-ahead", State::High)]);
    assert!(of_clocks(&status)[0].what.contains("what was last stored of its log is of 11-30 00:00"));
    assert_eq!(of(&status, "db").log_flushed, None);

    let passed = [("tree", "pass", 360.0, "")];
    let text = POLICY.replace("8d", "20h");
    let future = well().says("offsite", "evidence show", vec![drilled("a", "30T04:52", &passed)]);
    let status = stands(&future, &text).await;
    assert_eq!(of(&status, "tree").proven, None);
    assert!(conditions(&status).contains(&("proof", State::Disaster)), "{:?}", conditions(&status));
    let clocks = of_clocks(&status);
    assert_eq!((clocks.len(), clocks[0].source.as_deref()), (1, Some("tree")));
    assert!(clocks[0].why.starts_with("the clock of drill-1 was ahead"), "{clocks:?}");

    let text = POLICY
        .replace("password: { env: X }", "keys: { backup: { file: /k } }")
        .replace("password: { env: Y }", "keys: { backup: { file: /k } }");
    let folder = tempfile::tempdir().unwrap();
    let memory = Catalog::open(&folder.path().join("c.db").into()).await.unwrap();
    let started = at("2026-11-30T02:15:00+09:00");
    let run = Run { policy: "shop".into(), source: Some("tree".into()), activity: "backup".into(), started };
    let id = memory.begin(&run).await.unwrap();
    let end = RunEnd { ended: started, code: 0, message: String::new(), snapshot: None };
    memory.end(id, &end).await.unwrap();
    let status = look(&well(), &[known(&text)], &[], Some(&memory), &seoul()).await;
    assert_eq!(of(&status, "tree").last_good, None);
    assert_eq!(of_clocks(&status).len(), 1, "{:?}", conditions(&status));
}

/// The same policy with a slot.
fn slotted() -> String {
    POLICY.replace("wal: stream", "wal: stream, slot: holdfast, slot_limit: 50GiB")
}

const SLOT: &str = "wal slot --slot=holdfast --timeout=5s -- postgres://backup@db1/";

/// A server that keeps so many GiB for the slot.
fn keeps(gib: f64) -> Fake {
    let bytes = (gib * f64::from(1 << 30)) as u64;
    let line = json!({"message_type": "slot", "slot": "holdfast", "host": "db1:5432", "state": "keeps",
                      "retained_bytes": bytes, "limit_bytes": 100_u64 << 30});
    well().says("", SLOT, vec![line])
}

#[tokio::test]
async fn a_slot_that_fills_is_told_before_it_is_full() {
    let status = stands(&keeps(1.2), &slotted()).await;
    assert!(shown(&status).contains("\nslot holdfast on db1: keeps 1.2 of 50 GiB\n"), "{}", shown(&status));
    assert_eq!((conditions(&status), status.state()), (Vec::new(), State::Ok));
    let text = metrics(&status);
    assert!(
        text.contains("holdfast_slot_retained_bytes{policy=\"shop\",source=\"db\"} 1288490188\n"),
        "{text}"
    );
    assert!(
        text.contains("holdfast_slot_limit_bytes{policy=\"shop\",source=\"db\"} 53687091200\n"),
        "{text}"
    );
    for (gib, state) in
        [(24.9, None), (25.0, Some(State::Warning)), (39.9, Some(State::Warning)), (40.0, Some(State::High))]
    {
        let status = stands(&keeps(gib), &slotted()).await;
        let found: Vec<_> = state.into_iter().map(|state| ("slot-fills", state)).collect();
        assert_eq!(conditions(&status), found, "{gib}");
        assert_eq!(of(&status, "db").state, state.unwrap_or(State::Ok));
    }
    let told = shown(&stands(&keeps(40.0), &slotted()).await);
    let line = told.lines().find(|line| line.starts_with("slot holdfast")).unwrap();
    assert!(
        line.starts_with("slot holdfast on db1: keeps 40 of 50 GiB  ") && line.ends_with("  HIGH"),
        "{told}"
    );
}

#[tokio::test]
async fn what_a_slot_keeps_may_be_nothing_and_nobody_may_know() {
    let line =
        |state: &str| json!({"message_type": "slot", "slot": "holdfast", "host": "db1:5432", "state": state});
    for (state, condition, says) in [
        ("missing", ("slot-missing", State::Warning), "slot holdfast on db1: is not there"),
        ("nothing", ("slot-lost", State::High), "slot holdfast on db1: keeps nothing"),
        ("untold", ("slot-unseen", State::Warning), "slot holdfast on db1: cannot tell: a server before 15"),
    ] {
        let status = stands(&well().says("", SLOT, vec![line(state)]), &slotted()).await;
        assert_eq!(conditions(&status), [condition]);
        assert!(shown(&status).contains(says), "{}", shown(&status));
        assert!(!metrics(&status).contains("holdfast_slot_retained_bytes{"));
    }
    // A server that is out of reach is no failure of the look, and no good news.
    let away = || well().fails("", SLOT, 1, "the server did not answer within 5 s", "");
    let status = stands(&away(), &slotted()).await;
    assert_eq!((conditions(&status), status.state().code()), (vec![("slot-unseen", State::Warning)], 1));
    assert!(shown(&status).contains("cannot tell: the server did not answer within 5 s"));
    // Of a host that only reads it is not asked that it reaches the server.
    let text = slotted().replacen("password: { env: X }", "keys: { read: { file: /k } }", 1);
    let status = stands(&away(), &text).await;
    assert_eq!(conditions(&status), []);
    assert!(shown(&status).contains("slot holdfast on db1: cannot tell"));
}

/// The rules that are shipped, as far as they are looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read so that nothing is misspelt")]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as above")]
struct Rule {
    alert: String,
    expr: String,
    #[serde(rename = "for", default)]
    pending: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[tokio::test]
async fn a_file_that_cannot_be_read_goes_by_the_name_that_it_had() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&dir.path().join("catalog").into()).await.unwrap();
    let wrong = |file: &str| Unreadable { name: "a".into(), file: file.into(), why: "x".into() };
    let called = async |file: &str| {
        let status =
            look(&Fake::default(), &[known(POLICY)], &[wrong(file)], Some(&catalog), &TimeZone::UTC).await;
        let is_it = |problem: &&crate::status::Problem| problem.condition == "policy-unreadable";
        status.problems.iter().find(is_it).unwrap().policy.clone()
    };
    assert_eq!(called("/etc/a.yaml").await, "a");
    for (name, second) in [("older", 1), ("later", 2), ("shop", 3)] {
        let seen = Timestamp::from_second(second).unwrap();
        catalog.remember_policy(name, "/etc/a.yaml", "aa", seen).await.unwrap();
    }
    // The last of that name is in another file now.
    assert_eq!(called("/etc/a.yaml").await, "later");
    assert_eq!(called("/etc/b.yaml").await, "a");
}

#[tokio::test]
async fn policies_of_one_repository_ask_it_once() {
    let text = POLICY.replace("name: shop", "name: other");
    let (shop, other) = (known(POLICY), known(&text));
    let fake = Fake::default().says("repository", "snapshots", vec![snapshot(1, "shop/tree", "24T02:20")]);
    let both = look(&fake, &[shop.clone(), other], &[], None, &TimeZone::UTC).await;
    let asked = fake.asked.lock().unwrap().clone();
    let once: BTreeSet<&String> = asked.iter().collect();
    assert!(asked.len() == once.len() && asked.len() > 2, "{asked:?}");
    let alone = look(&fake, &[shop], &[], None, &TimeZone::UTC).await;
    assert!(both.sources.starts_with(&alone.sources), "{both:?}");

    // What is long is not kept.
    let line = json!({"message_type": "x"});
    let fake = Fake::default().says("repository", "snapshots", vec![line; 50_001]);
    look(&fake, &[known(POLICY), known(&text)], &[], None, &TimeZone::UTC).await;
    let asked = fake.asked.lock().unwrap().clone();
    assert_eq!(asked.iter().filter(|asked| *asked == "repository snapshots").count(), 2, "{asked:?}");
    assert_eq!(asked.iter().filter(|asked| *asked == "repository hold").count(), 1, "{asked:?}");
}

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("holdfast_")).collect()
}

#[tokio::test]
async fn the_rules_that_are_shipped_know_what_is_written() {
    let rules: Rules = serde_saphyr::from_str(include_str!("../../../../policies/alerts.rules.yml")).unwrap();
    let all: Vec<&Rule> = rules.groups.iter().flat_map(|group| &group.rules).collect();
    let written: BTreeSet<&str> = METRICS.iter().map(|(name, _)| *name).collect();
    let served = crate::serve::metrics::SERVE_METRICS.iter().map(|(name, ..)| *name);
    let known: BTreeSet<&str> = written.iter().copied().chain(served).collect();
    let in_rules: BTreeSet<&str> = all.iter().flat_map(|rule| named(&rule.expr)).collect();
    assert_eq!(in_rules, known);
    let expressions: Vec<&str> = all.iter().map(|rule| &*rule.expr).collect();
    let all_expressions = expressions.join("\n");
    for name in &known {
        assert!(all_expressions.contains(&format!("absent({name})")), "{name}");
    }
    let names: BTreeSet<&str> = all.iter().map(|rule| &*rule.alert).collect();
    assert_eq!(names.len(), all.len());

    let text = metrics(&stands(&keeps(1.0), &slotted()).await);
    assert_eq!(named(&text), written);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let labels = name.split_once('{').map(|(_, labels)| labels.trim_end_matches('}'));
        let labels: Vec<&str> = labels.into_iter().flat_map(|labels| labels.split(',')).collect();
        let of_policy = usize::from(name.starts_with("holdfast_policy_readable{"));
        assert!(labels.is_empty() || labels.len() == 2 - of_policy, "{line}");
    }
    assert!(
        text.contains("holdfast_last_good_timestamp_seconds{policy=\"shop\",source=\"db\"} 1795284819\n"),
        "{text}"
    );
}
