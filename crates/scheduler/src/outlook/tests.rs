//! What is foreseen from what repositories say, as a fake says it.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::drill::fake::{Fake, ok};
use crate::hands::{Answer, Call};
use crate::policy::lint::Weight;
use serde_json::{Value, json};
use std::time::Duration;

const MIB: u64 = 1 << 20;

fn policy(scratch: &str, more: &str) -> Policy {
    let text = format!(
        "name: shop
repository: {{ url: /backups/shop, password: {{ env: X }} }}
copies: [ {{ name: offsite, url: 's3://offsite/shop', password: {{ env: X }} }} ]
sources:
  db: {{ postgres: {{ url: 'postgres://b@db/', wal: stream }} }}
  tree: {{ files: {{ paths: [/srv] }} }}
schedule: {{ cron: '15 2 * * *' }}
objectives: {{ rto: 1h }}
drill: {{ cron: '0 4 * * 0', scratch: {{ {scratch} }} {more} }}
"
    );
    serde_saphyr::from_str(&text).unwrap()
}

fn snapshot(id: &str, source: &str, day: u32, bytes: u64, stored: u64, parent: bool) -> Value {
    json!({
        "message_type": "snapshot", "id": id, "source": source, "incomplete": false,
        "parent": parent.then_some("x"), "time": format!("2026-11-{day}T02:15:00Z"),
        "summary": { "backup_end": format!("2026-11-{day}T02:20:00Z"), "total_bytes_processed": bytes,
                     "total_files_processed": 3, "data_added_packed": stored },
    })
}

/// A cluster that wrote 640 MiB in 10,000 s since its base backup, and a tree.
fn answer(call: &Call) -> Result<Answer, String> {
    let words: Vec<_> = call.words.iter().map(|word| word.to_string_lossy()).collect();
    ok(match (&*words[0], words.get(1).map(|word| &**word)) {
        ("snapshots", None) => vec![
            snapshot("d1", "shop/db", 20, 900 * MIB, 300 * MIB, false),
            snapshot("d2", "shop/db", 21, 1000 * MIB, 40 * MIB, true),
            snapshot("d3", "shop/db", 22, 1024 * MIB, 60 * MIB, true),
            snapshot("t1", "shop/tree", 22, 512 * MIB, 100 * MIB, false),
        ],
        ("snapshots", _) => vec![json!({ "message_type": "snapshot", "facts": {
            "tablespace 7": "/x", "system identifier": "7", "stop LSN": "0/30000000" } })],
        ("wal", _) => vec![
            json!({ "message_type": "wal_timeline", "system": "7", "timeline": "1", "segments": 80,
                    "stored_bytes": 80 * MIB, "newest": "2026-11-22T05:06:40Z" }),
            json!({ "message_type": "wal_window", "system": "7", "timeline": "1", "snapshot_id": "d1",
                    "from_lsn": "0/10000000", "to_lsn": "0/58000000", "to_newest": true }),
        ],
        ("restore", Some(id)) => {
            let fetched = if id == "d3" { 400 * MIB } else { 200 * MIB };
            let has_map = words.iter().any(|word| word.starts_with("7="));
            assert!(words.contains(&"--dry-run".into()) && has_map == (id == "d3"), "{words:?}");
            vec![json!({ "message_type": "summary", "bytes_fetched": fetched, "ranges_fetched": 50 })]
        }
        _ => Vec::new(),
    })
}

/// The same with a drill that replayed so many MiB in a second.
fn drilled(call: &Call, rate: u64) -> Result<Answer, String> {
    let is_evidence = call.words[0] == "evidence" && call.repository.as_ref().unwrap().name == "repository";
    if !is_evidence {
        return answer(call);
    }
    let source = json!({
        "source": "db", "kind": "postgres", "snapshot": null, "snapshot_time": null, "point": "x", "reached": "full",
        "share": 1.0, "bytes": 1, "verdict": "pass",
        "phases": [{ "name": "restore", "seconds": 60.0, "counts": true },
                   { "name": "replay", "seconds": 10.0, "counts": true },
                   { "name": "checks", "seconds": 999.0, "counts": false }],
        "probes": [{ "name": "point", "level": "boot", "seconds": 1.0,
                     "counts": { "log bytes replayed": 10 * rate * MIB } }],
    });
    ok(vec![json!({ "message_type": "evidence", "record": {
        "version": 1, "id": "a", "policy": "shop", "policy_hash": "", "host": "h", "user": "u", "program": "p",
        "started": "2026-11-22T04:00:00Z", "ended": "2026-11-22T04:30:00Z", "from": "repository", "url": "/r",
        "key": "k", "level": "full", "sources": [source], "objectives": [], "scratch": [], "verdict": "pass",
        "code": 0,
    } })])
}

fn here() -> Surroundings {
    Surroundings { data_directories: Vec::new(), nowhere: "/nowhere".into(), pack_bytes: 32 * MIB }
}

#[tokio::test]
async fn what_nothing_is_known_of_is_said_to_be_unknown() {
    let empty = Fake::new(|_| ok(Vec::new()));
    let outlook = look(&empty, &policy("path: /", ""), &here()).await;
    assert!(
        outlook.traffic.iter().all(|line| line.bytes.is_none() && line.requests.is_none()),
        "{outlook:?}"
    );
    assert!(outlook.traffic[0].says.contains("of shop/db, shop/tree nothing is known yet"), "{outlook:?}");
    assert_eq!(outlook.replays[0].says, "there is no base backup of it yet");
    assert!(outlook.unseen.iter().any(|what| what.contains("no whole snapshot")), "{outlook:?}");
    // A key that is not here, and a repository that does not open.
    let mut hidden = policy("path: /", "");
    hidden.repository.password = None;
    hidden.copies[0].password = None;
    let outlook = look(&empty, &hidden, &here()).await;
    assert!(
        outlook.room.is_none() && outlook.unseen[0].contains("no key on this host reads it"),
        "{outlook:?}"
    );
    let broken = Fake::new(|_| Ok(Answer { code: 12, ..Answer::default() }));
    let outlook = look(&broken, &policy("path: /", ""), &here()).await;
    assert!(outlook.room.is_none() && outlook.unseen.len() >= 2, "{outlook:?}");
}

#[tokio::test]
async fn bytes_and_requests_of_a_month_follow_from_the_last_ones() {
    let outlook = look(&Fake::new(answer), &policy("path: /", ""), &here()).await;
    let lines: Vec<_> = outlook.traffic.iter().map(|line| (line.place.as_str(), line.what)).collect();
    let wanted =
        [("repository", "back up"), ("offsite", "copy to it"), ("repository", "drill"), ("offsite", "drill")];
    assert_eq!(lines, wanted);
    let backup = &outlook.traffic[0];
    let times = backup.times.unwrap();
    // The first backup of the cluster stored all of it, and says nothing of the next.
    assert_eq!((times, backup.bytes), (30, Some(times * (50 + 100) * MIB)), "{backup:?}");
    assert!(
        backup.says.ends_with("of shop/tree there is only the first one, which stores all"),
        "{backup:?}"
    );
    assert_eq!(backup.requests, Some(times * (2 + 6 + 4 + 6)));
    let drill = &outlook.traffic[2];
    let turns = drill.times.unwrap();
    assert!(turns == 2 || turns == 3, "{drill:?}");
    // 40 segments of 1 MiB as they are stored.
    assert_eq!(
        (drill.bytes, drill.requests),
        (Some(turns * (400 + 200 + 40) * MIB), Some(turns * (50 + 50 + 40)))
    );
}

#[tokio::test]
async fn a_drill_without_room_is_an_error_today() {
    let outlook = look(&Fake::new(answer), &policy("path: /no/such/folder", ""), &here()).await;
    let room = outlook.room.unwrap();
    assert_eq!((room.snapshots, room.log, room.free), ((1024 + 512) * MIB, 640 * MIB, None));
    let error = &outlook.lints[0];
    assert_eq!((error.severity, error.path.as_str()), (Weight::Error, "drill.scratch"));
    assert!(error.what.ends_with("this drill would be inconclusive"), "{error:?}");
    let folder = tempfile::tempdir().unwrap();
    let scratch = format!("path: {}, max: 2GiB", folder.path().display());
    let outlook = look(&Fake::new(answer), &policy(&scratch, ""), &here()).await;
    assert!(outlook.lints[0].what.starts_with("the drill needs 2.1 GiB, scratch.max is 2GiB"), "{outlook:?}");
    let outlook = look(&Fake::new(answer), &policy(&scratch, ", pick: oldest"), &here()).await;
    assert_eq!((outlook.lints, outlook.room.unwrap().lacks), (Vec::new(), String::new()));
    // Elsewhere nobody can tell from here.
    let outlook = look(&Fake::new(answer), &policy(&scratch, ", hosts: [drill-1]"), &here()).await;
    assert!(
        outlook.room.is_none() && outlook.unseen.iter().any(|what| what.contains("drill-1")),
        "{outlook:?}"
    );
}

#[tokio::test]
async fn a_log_that_takes_longer_than_promised_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let policy = policy(&format!("path: {}", folder.path().display()), "");
    let slow = look(&Fake::new(|call| drilled(call, 1)), &policy, &here()).await;
    let replay = &slow.replays[0];
    assert_eq!((replay.log, replay.now), (Some(640 * MIB), Some(Duration::from_secs(640))));
    let (between, takes) = replay.worst.unwrap();
    // 640 MiB in 10,000 s, a MiB of it a second.
    assert_eq!((between.as_secs(), takes.as_secs()), (86_400, 5_529));
    let warning = slow.lints.iter().find(|lint| lint.path == "objectives.rto").unwrap();
    assert!(
        warning.what.contains("1d of log of db") && warning.what.contains("1h32m of replay"),
        "{warning:?}"
    );
    assert!(warning.next.contains("back db up every 15h"), "{warning:?}");
    let fast = look(&Fake::new(|call| drilled(call, 100)), &policy, &here()).await;
    assert_eq!(fast.lints, []);
    let unknown = look(&Fake::new(answer), &policy, &here()).await;
    assert_eq!((unknown.replays[0].now, unknown.replays[0].worst), (None, None));
    assert!(unknown.replays[0].says.contains("no drill told yet"));
}
