//! Drills that do not come to a restore, or find nothing to restore, with hands that only pretend.
//!
//! On purpose not here: proving what was restored, which each kind does by itself.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::drill::fake::{Fake, ok};
use serde_json::{Value, json};

const TEXT: &str = "
name: shop
repository: { url: /r, password: { env: X } }
copies: [ { name: offsite, url: /off, password: { env: Y } }, { name: blind, url: /b, keys: { backup: { file: /k } } } ]
sources:
  tree: { files: { paths: [ /srv ] } }
  db: { postgres: { url: 'postgres://b@db', wal: stream } }
objectives: { rpo: 1h }
drill: { sources: [ tree ] }
";

fn policy(more: &str) -> Policy {
    serde_saphyr::from_str(&TEXT.replace("sources: [ tree ]", &format!("sources: [ tree ]{more}"))).unwrap()
}

struct Done {
    result: Result<Conducted, Refused>,
    folder: tempfile::TempDir,
}

impl Done {
    fn record(&self) -> &Record {
        &self.result.as_ref().unwrap().record
    }

    fn finding(&self) -> &Finding {
        &self.record().sources[0].probes[0].findings[0]
    }

    fn refused(&self) -> &Refused {
        self.result.as_ref().unwrap_err()
    }
}

fn drill(hands: &Fake, policy: &Policy, order: &Order) -> Done {
    let folder = tempfile::tempdir().unwrap();
    let here = Surroundings {
        scratch_below: folder.path().join("scratch"),
        evidence: Some(folder.path().join("evidence")),
        policy_hash: "ab".into(),
        ..Surroundings::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    Done { result: runtime.block_on(conduct(hands, policy, None, order, &here)), folder }
}

fn answers(code: i32, lines: Vec<Value>) -> Result<Answer, String> {
    let error = json!({ "message_type": "exit_error", "code": code, "message": "why", "hint": "do" });
    Ok(Answer { code, lines, problems: vec![error], ..Answer::default() })
}

#[test]
fn a_key_that_does_not_open_it_is_a_failure() {
    for (code, ends, cause) in [
        (12, 20, Cause::Backup),
        (10, 20, Cause::Backup),
        (1, 20, Cause::Backup),
        (2, 23, Cause::Environment),
    ] {
        let done = drill(&Fake::new(move |_| answers(code, Vec::new())), &policy(""), &Order::default());
        // What was not seen breaks no promise about how old it is.
        assert!(done.record().objectives.is_empty());
        assert_eq!((done.record().code, done.finding().cause), (ends, cause), "{:?}", done.record());
        assert!(done.finding().what.contains("/r") && done.finding().next == "do");
    }
}

#[test]
fn a_secret_that_is_not_here_proves_nothing() {
    let done = drill(&Fake::new(|_| Err("X is not set".into())), &policy(""), &Order::default());
    assert_eq!((done.record().code, done.record().verdict), (23, Verdict::Inconclusive));
    // It is told, and the record is not lost where the repository does not take it.
    let conducted = done.result.as_ref().unwrap();
    assert!(conducted.stored.is_none() && conducted.not_stored.is_some());
    let text = std::fs::read_to_string(conducted.file.as_ref().unwrap()).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), conducted.record);
    let left = std::fs::read_dir(done.folder.path().join("scratch")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}

#[test]
fn nothing_to_restore_is_a_failure() {
    let key = || json!({ "message_type": "key", "in_use": true, "label": "reader" });
    let hands = Fake::new(move |call| if call.words[0] == "key" { ok(vec![key()]) } else { ok(Vec::new()) });
    let done = drill(&hands, &policy(""), &Order::default());
    assert_eq!((done.record().code, done.record().key.as_str()), (20, "reader"));
    assert!(done.finding().what.contains("no snapshot") && done.finding().cause == Cause::Backup);
    assert!(hands.calls().iter().all(|call| call.bare), "nothing but the repository and its key");
    assert!(done.record().objectives.iter().any(|one| one.name == "rpo" && !one.met));
}

#[test]
fn places_take_turns_and_one_that_cannot_be_read_has_none() {
    let policy = policy("");
    let drill = policy.drill.as_ref().unwrap();
    let at = |number: usize| Past { drills: vec![Timestamp::UNIX_EPOCH; number], missed: None };
    let turn = |number| place(&policy, drill, &Order::default(), &at(number)).unwrap().name;
    assert_eq!([0, 1, 2].map(turn), ["repository", "offsite", "repository"]);
    let from = |name: &str| Order { from: Some(name.into()), ..Order::default() };
    assert_eq!(place(&policy, drill, &from("offsite"), &at(0)).unwrap().name, "offsite");
    assert!(place(&policy, drill, &from("blind"), &at(0)).unwrap_err().what.contains("no key"));
    assert!(place(&policy, drill, &from("x"), &at(0)).unwrap_err().next.contains("offsite, blind"));
}

#[test]
fn what_cannot_be_is_refused() {
    let hands = Fake::default();
    let elsewhere = drill(&hands, &policy(", hosts: [ drill-1 ]"), &Order::default());
    assert!(elsewhere.refused().elsewhere && elsewhere.refused().next.contains("drill-1"));
    let order = |source: &str, to: Option<&str>| Order {
        sources: vec![source.into()],
        to: to.map(str::to_owned),
        ..Order::default()
    };
    assert!(drill(&hands, &policy(""), &order("x", None)).refused().what.contains("`x`"));
    assert!(drill(&hands, &policy(""), &order("tree", Some("latest"))).refused().what.contains("log"));
    let mut none = policy("");
    none.drill = None;
    assert!(drill(&hands, &none, &Order::default()).refused().next.contains("drill: {}"));
    assert!(hands.calls().is_empty());
}

/// A repository with a snapshot, of which nothing comes back.
fn with_snapshot() -> Fake {
    let key = || json!({ "message_type": "key", "in_use": true, "label": "reader" });
    let snapshot = || {
        json!({ "message_type": "snapshot", "id": "3f2a", "source": "shop/tree", "time": Timestamp::UNIX_EPOCH,
            "incomplete": false, "paths": ["/srv"] })
    };
    Fake::new(move |call| match call.words[0].to_str() {
        Some("key") => ok(vec![key()]),
        Some("snapshots") => ok(vec![snapshot()]),
        Some("evidence") => ok(Vec::new()),
        _ => answers(1, Vec::new()),
    })
}

/// The restores that a drill asked for.
fn restores(hands: &Fake) -> Vec<Call> {
    hands.calls().into_iter().filter(|call| call.words[0] == "restore").collect()
}

#[test]
fn a_drill_is_recorded_when_it_begins_and_its_restores_refer_to_that() {
    let hands = with_snapshot().with_records();
    let done = drill(&hands, &policy(""), &Order::default());
    let records = hands.records();
    let kinds: Vec<_> = records.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["access", "drill"]);
    let began = &records[0].1;
    assert_eq!(
        (&began["verb"], &began["step"], &began["host"]),
        (&"drill".into(), &"begin".into(), &"web1".into())
    );
    assert_eq!((&began["drill"], &began["snapshots"]), (&records[1].1["id"], &json!(["3f2a"])));
    let below = done.folder.path().join("scratch");
    assert!(began["target"].as_str().unwrap().starts_with(below.to_str().unwrap()), "{began}");
    let restores = restores(&hands);
    let within = restores[0].within.as_ref().unwrap();
    assert!(restores.iter().all(|call| call.within.as_ref() == Some(within)));
    // What the restore is handed is not in the record, nor in what prints.
    assert_eq!(within.record, "record 0");
    assert_eq!(began["token_hash"], blake3::hash(within.token.as_bytes()).to_hex().as_str());
    assert!(!began.to_string().contains(&within.token) && !format!("{restores:?}").contains(&within.token));
}

#[test]
fn where_no_beginning_can_be_recorded_restores_are_on_their_own() {
    let hands = with_snapshot();
    drill(&hands, &policy(""), &Order::default());
    let restores = restores(&hands);
    assert!(!restores.is_empty() && restores.iter().all(|call| call.within.is_none()));
    assert!(hands.said().iter().any(|said| said.contains("does not take the record that the drill begins")));
}
