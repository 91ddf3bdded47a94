//! A catalog that was lost: what repositories tell is known again, what they do not is told.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::{Catalog, Due, JobEnd, JobState, Place, rebuild};
use crate::drill::fake::{Fake, ok};
use crate::hands::{Answer, Call};
use crate::policy::Policy;
use crate::schedule::{self, which};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

const TEXT: &str = "
name: shop
repository: { url: /r, password: { file: /p } }
copies: [ { name: offsite, url: /o, password: { file: /p } }, { name: tape, url: /t } ]
sources:
  db: { files: { paths: [/db] } }
  tree: { files: { paths: [/tree] } }
  media: { files: { paths: [/media] }, schedule: { cron: '0 * * * *' } }
schedule: { cron: '15 2 * * *' }
drill: { cron: '0 4 * * 0' }
";

fn policy() -> Policy {
    serde_saphyr::from_str(TEXT).unwrap()
}

fn at(text: &str) -> Timestamp {
    format!("2026-11-{text}Z").parse().unwrap()
}

fn snapshot(id: &str, source: &str, time: &str) -> Value {
    json!({ "message_type": "snapshot", "id": id.repeat(32), "time": at(time), "source": source,
            "incomplete": id == "c", "summary": { "backup_end": at(time) } })
}

fn drilled(id: &str, policy: &str, started: &str) -> Value {
    let record = json!({
        "version": 1, "id": id, "policy": policy, "policy_hash": "aa", "host": "h", "user": "u",
        "program": "0.1.0", "started": at(started), "ended": at(started), "from": "offsite", "url": "/o",
        "key": "k", "level": "full", "sources": [], "objectives": [], "scratch": [], "verdict": "pass", "code": 0,
    });
    json!({ "message_type": "evidence", "kind": "drill", "record": record })
}

/// What the places of [`TEXT`] say.
fn repositories(call: &Call) -> Result<Answer, String> {
    let place = call.repository.as_ref().unwrap().name.clone();
    match (&*place, call.words[0].to_str().unwrap()) {
        ("repository", "snapshots") => ok(vec![
            snapshot("a", "shop/db", "20T02:15:07"),
            snapshot("b", "shop/db", "21T02:15:07"),
            snapshot("c", "shop/tree", "21T02:19:00"),
            snapshot("d", "shop/media", "21T09:00:02"),
            snapshot("e", "other/db", "22T00:00:00"),
        ]),
        ("offsite", "snapshots") => ok(vec![snapshot("a", "shop/db", "20T02:15:07")]),
        ("offsite", _) => ok(vec![
            drilled("x", "shop", "08T04:00:03"),
            drilled("y", "shop", "15T04:00:03"),
            drilled("z", "other", "20T00:00:00"),
            json!({ "message_type": "evidence", "kind": "drill", "record": { "policy": "shop", "started": at("01T00:00:00") } }),
            json!({ "message_type": "evidence", "kind": "missed", "record": { "policy": "shop" } }),
        ]),
        _ => ok(vec![]),
    }
}

async fn catalog() -> (TempDir, Catalog) {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&Place::File(folder.path().join("c.db"))).await.unwrap();
    (folder, catalog)
}

#[tokio::test]
async fn what_repositories_say_is_known_again() {
    let ((_folder, catalog), policy) = (catalog().await, policy());
    let hands = Fake::new(repositories);
    let rebuilt = rebuild(&catalog, &hands, &[&policy]).await.unwrap();
    assert_eq!(
        (&rebuilt.policies[..], rebuilt.drills, &rebuilt.gaps[..]),
        (&["shop".to_owned()][..], 2, &[][..])
    );
    let drills = catalog.drills("shop").await.unwrap();
    assert_eq!(drills.iter().map(|record| &*record.id).collect::<Vec<_>>(), ["y", "x"]);
    assert!(catalog.drills("other").await.unwrap().is_empty());

    let entered = async |activity, source| catalog.last_entered("shop", activity, source).await.unwrap();
    assert_eq!(entered("run", None).await, Some(at("21T02:19:00")));
    assert_eq!(entered("run", Some("media")).await, Some(at("21T09:00:02")));
    assert_eq!(entered("run", Some("db")).await, None);
    assert_eq!(entered("drill", None).await, Some(at("15T04:00:03")));
    assert_eq!(entered("prune", None).await, None);

    let last = catalog.last("shop", Some("tree"), "backup").await.unwrap();
    assert_eq!(last.failed.unwrap().end.unwrap().code, 3);
    let last = catalog.last("shop", Some("db"), "backup").await.unwrap();
    assert_eq!(last.good.unwrap().end.unwrap().snapshot, Some("b".repeat(32)));
    // That there is a copy is known where its disk is missing.
    assert!(catalog.last("shop", Some("offsite"), "copy").await.unwrap().good.is_some());
    assert!(catalog.last("shop", Some("tape"), "copy").await.unwrap().good.is_none());
    // It asks each place that has a key, and none without.
    assert!(hands.calls().iter().all(|call| call.repository.as_ref().unwrap().name != "tape"));
}

#[tokio::test]
async fn what_ran_is_not_due_again_and_what_did_not_is() {
    let ((_folder, catalog), policy) = (catalog().await, policy());
    rebuild(&catalog, &Fake::new(repositories), &[&policy]).await.unwrap();
    let last = catalog.last_entered("shop", "run", None).await.unwrap();
    let clockwork = which::of_policy(&policy).unwrap().unwrap();
    let nothing = |due: schedule::Due| matches!(due, schedule::Due::Nothing { .. });
    assert!(nothing(clockwork.due(last, at("21T23:00:00"))));
    let run = schedule::Due::Run { scheduled_for: at("22T02:15:00"), missed: 0 };
    assert_eq!(clockwork.due(last, at("22T02:15:30")), run);
    let run = schedule::Due::Run { scheduled_for: at("24T02:15:00"), missed: 2 };
    assert_eq!(clockwork.due(last, at("24T02:15:30")), run);
    let drill = which::of_drill(&policy).unwrap().unwrap();
    let last = catalog.last_entered("shop", "drill", None).await.unwrap();
    assert!(nothing(drill.due(last, at("22T03:59:00"))) && !nothing(drill.due(last, at("22T04:00:00"))));
}

#[tokio::test]
async fn it_is_done_as_often_as_one_likes_and_leaves_alone_what_is_known() {
    let ((_folder, catalog), policy) = (catalog().await, policy());
    let hands = Fake::new(repositories);
    let policies = [&policy];
    let (one, other) =
        tokio::join!(rebuild(&catalog, &hands, &policies), rebuild(&catalog, &hands, &policies));
    let (jobs, runs) = (catalog.jobs("shop", 99).await.unwrap(), catalog.runs("shop", 99).await.unwrap());
    assert!(one.unwrap().policies == ["shop"] || other.unwrap().policies == ["shop"]);
    assert_eq!(jobs.len(), 3);
    let well =
        |end: &JobEnd| matches!(end, JobEnd::Done { code: 0, message } if message.contains("made anew"));
    assert!(jobs.iter().all(|job| matches!(&job.state, JobState::Ended { end, .. } if well(end))));
    let again = rebuild(&catalog, &hands, &[&policy]).await.unwrap();
    assert_eq!((again.policies.len(), again.drills), (0, 0));
    assert_eq!(catalog.runs("shop", 99).await.unwrap(), runs);

    let (_folder, known) = self::catalog().await;
    let due = Due {
        policy: "shop".into(),
        activity: "run".into(),
        source: None,
        scheduled_for: at("20T02:15:00"),
        labels: vec![],
        groups: vec![],
        missed: 0,
    };
    known.enter(&due, at("20T02:15:00")).await.unwrap();
    rebuild(&known, &hands, &[&policy]).await.unwrap();
    assert_eq!(known.last_entered("shop", "run", None).await.unwrap(), Some(at("20T02:15:00")));
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_stops_nothing() {
    let ((_folder, catalog), policy) = (catalog().await, policy());
    let hands = Fake::new(|call| match &*call.repository.as_ref().unwrap().name {
        "offsite" => repositories(call),
        _ => Err("no such disk".into()),
    });
    let rebuilt = rebuild(&catalog, &hands, &[&policy]).await.unwrap();
    assert_eq!(rebuilt.gaps.len(), 2);
    assert!(
        rebuilt.gaps[0].contains("shop: snapshots of repository") && rebuilt.gaps[0].contains("no such disk")
    );
    assert_eq!(catalog.last_entered("shop", "run", None).await.unwrap(), Some(at("20T02:15:07")));

    let (_folder, catalog) = self::catalog().await;
    let rebuilt = rebuild(&catalog, &Fake::default(), &[&policy]).await.unwrap();
    assert_eq!((rebuilt.policies.len(), rebuilt.gaps.len()), (0, 4));
    assert_eq!(catalog.last_entered("shop", "run", None).await.unwrap(), None);
}
