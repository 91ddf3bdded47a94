//! Runs of policies with hands that only pretend.
//!
//! On purpose not here: that verbs do what they say.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::drill::fake::{Fake, ok};
use crate::hands::{Answer, Call, Ended};
use serde_json::{Value, json};

const TEXT: &str = "
name: shop
repository: { url: /r, password: { env: X } }
copies:
  - { name: offsite, url: /off, password: { env: Y } }
  - { name: third, url: /third, keys: { read: { file: /key } } }
sources:
  tree: { files: { paths: [ /srv ] }, accept: { unreadable: [ /srv/lost+found ] } }
  list: { command: { run: [ list ], file_name: list.txt }, hooks: { before: [ { run: [ stop ] } ] } }
  old: { restored_by: { command: [ x ] } }
retention: { keep_last: 3, wal: 14d }
check: { read_data_subset: 5% }
hooks: { before: [ { run: [ begin ] } ], after: [ { run: [ after ] } ], failed: [ { run: [ failed ] } ], finally: [ { run: [ end ] } ] }
";

fn policy() -> Policy {
    serde_saphyr::from_str(TEXT).unwrap()
}

fn options() -> Options {
    Options {
        only: None,
        sources: Vec::new(),
        drill: Drilling::Never,
        dry_run: false,
        here: Surroundings::default(),
    }
}

fn backed_up() -> Value {
    json!({ "message_type": "summary", "snapshot_id": "0123456789abcdef0123456789abcdef", "error_count": 0,
            "total_files_processed": 1, "total_bytes_processed": 2048, "copied_snapshots": 1,
            "forgotten_snapshots": 2, "kept_snapshots": 3 })
}

fn fails(code: i32, message: &str) -> Result<Answer, String> {
    let line = json!({ "message_type": "exit_error", "code": code, "message": message, "hint": "do this" });
    Ok(Answer { code, problems: vec![line], ..Answer::default() })
}

fn verb(call: &Call) -> String {
    call.words[0].to_str().unwrap().to_owned()
}

fn is_of(call: &Call, source: &str) -> bool {
    call.words.iter().any(|word| word.to_str().is_some_and(|word| word.ends_with(&format!("shop/{source}"))))
}

/// Programs that end well.
fn well(hands: Fake) -> Fake {
    hands.with_program(|_| Ok(Ended { code: Some(0), ..Ended::default() }))
}

fn carried_out(hands: &Fake, options: &Options) -> RunReport {
    carried_out_of(hands, &policy(), options)
}

fn carried_out_of(hands: &Fake, policy: &Policy, options: &Options) -> RunReport {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(run(hands, policy, None, options)).unwrap()
}

/// What was run, and in which repository.
fn said(hands: &Fake) -> Vec<String> {
    let one = |call: &Call| format!("{} {}", verb(call), call.repository.as_ref().unwrap().name);
    hands.calls().iter().map(one).collect()
}

fn states(report: &RunReport) -> Vec<(String, State)> {
    report.steps.iter().map(|step| (step.title(), step.state)).collect()
}

#[test]
fn everything_is_done_in_its_order() {
    let hands = well(Fake::new(|_| ok(vec![backed_up()])));
    let report = carried_out(&hands, &options());
    let wanted = [
        "key repository",
        "backup repository",
        "backup repository",
        "copy offsite",
        "forget repository",
        "forget repository",
        "prune repository",
        "forget offsite",
        "forget offsite",
        "prune offsite",
        "check repository",
    ];
    assert_eq!(said(&hands), wanted);
    assert_eq!(report.code(), 0, "{report:?}");
    let programs: Vec<_> = hands.programs().iter().map(|program| program.words[0].clone()).collect();
    assert_eq!(programs, ["begin", "stop", "after", "end"]);
    // A place for which there is no key is told and is no failure.
    assert!(states(&report).contains(&("copy to third".into(), State::NotHere)));
    let copy = hands.calls().into_iter().find(|call| verb(call) == "copy").unwrap();
    assert_eq!(copy.from.unwrap().name, REPOSITORY);
}

#[test]
fn what_fails_keeps_only_what_builds_on_it() {
    let hands = well(Fake::new(|call| match verb(call).as_str() {
        "backup" if is_of(call, "tree") => fails(1, "the disk is gone"),
        _ => ok(vec![backed_up()]),
    }));
    let report = carried_out(&hands, &options());
    assert_eq!(report.code(), 1);
    let states = states(&report);
    let state = |title: &str| states.iter().find(|(step, _)| step == title).unwrap().1;
    assert_eq!((state("backup of tree"), state("backup of list")), (State::Failed, State::Done));
    assert_eq!(
        (state("forget of tree in repository"), state("forget of list in repository")),
        (State::Skipped, State::Done)
    );
    let failed = report.steps.iter().find(|step| step.state == State::Failed).unwrap();
    assert_eq!((failed.message.as_str(), failed.next.as_str()), ("the disk is gone", "do this"));
    let around = hands.programs().into_iter().find(|program| program.words[0] == "failed").unwrap();
    assert!(around.env.contains(&("HOLDFAST_STATUS".into(), "failed".into())), "{around:?}");
}

#[test]
fn what_has_to_be_deleted_waits_for_no_backup_and_no_copy() {
    let hands = well(Fake::new(|call| match verb(call).as_str() {
        "backup" if is_of(call, "tree") => fails(1, "the disk is gone"),
        "copy" => fails(1, "no route"),
        _ => ok(vec![backed_up()]),
    }));
    let text = TEXT.replace("keep_last: 3", "keep_last: 3, delete_after: 400d");
    let policy = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(carried_out_of(&hands, &policy, &options()).code(), 1);
    let calls = hands.calls().into_iter().filter(|call| verb(call) == "forget");
    let rules = |call: &Call| call.words[3..].iter().map(|word| word.to_str().unwrap().to_owned()).collect();
    let found: Vec<(String, Vec<String>)> =
        calls.map(|call| (call.repository.as_ref().unwrap().name.clone(), rules(&call))).collect();
    let alone = || vec!["--delete-after=9600h".to_owned()];
    let all = vec!["--keep-last=3".to_owned(), "--delete-after=9600h".to_owned()];
    let wanted = [(REPOSITORY, alone()), (REPOSITORY, all), ("offsite", alone()), ("offsite", alone())];
    assert_eq!(found, wanted.map(|(place, rules)| (place.to_owned(), rules)));
}

#[test]
fn what_a_policy_names_no_more_is_told_or_goes_where_it_says_so() {
    let ran = |rules: &str| {
        let text = TEXT.replace("keep_last: 3", rules);
        let policy: Policy = serde_saphyr::from_str(&text).unwrap();
        let hands = well(Fake::new(|call| match verb(call).as_str() {
            "snapshots" => ok(vec![json!({
                "message_type": "snapshot", "source": "shop/gone", "hostname": "web1", "id": "a1",
                "tags": ["policy=shop"], "time": "1960-01-01T00:00:00Z",
            })]),
            _ => ok(vec![backed_up()]),
        }));
        assert_eq!(carried_out_of(&hands, &policy, &options()).code(), 0);
        let of_it = |call: &&Call| is_of(call, "gone") && verb(call) == "forget";
        let calls: Vec<_> = hands.calls().iter().filter(of_it).map(words::shown).collect();
        (calls, hands.said().join("\n"))
    };
    let (calls, said) = ran("keep_last: 3, delete_after: 400d");
    assert!(calls.is_empty() && said.contains("shop/gone: 1 snapshot in repository"), "{calls:?}: {said}");
    assert!(
        said.contains("forget --source=shop/gone --group-by=source --delete-after=9600h --prune"),
        "{said}"
    );
    let (calls, said) = ran("delete_after: 400d, delete_former: true");
    assert!(!said.contains("they stay for ever"), "{said}");
    let wanted = "holdfast -r /r forget --source=shop/gone --group-by=source --delete-after=9600h";
    assert_eq!(calls[0], wanted);
    let (calls, said) = ran("keep_last: 3");
    assert!(calls.is_empty() && !said.contains("shop/gone"), "{calls:?}: {said}");
}

#[test]
fn what_a_copy_has_of_the_future_keeps_nothing_from_being_copied() {
    let text = TEXT.replace("password: { env: Y } }", "password: { env: Y }, retention: { keep_last: 1 } }");
    let policy: Policy = serde_saphyr::from_str(&text).unwrap();
    let one = |id: &str, time: &str| json!({ "message_type": "snapshot", "source": "shop/tree", "id": id, "time": time, "incomplete": false });
    let ahead = "1980-01-01T00:00:00Z";
    let hands =
        well(Fake::new(move |call| match (verb(call).as_str(), &*call.repository.as_ref().unwrap().name) {
            ("snapshots", "offsite") => ok(vec![one("c2", "1969-12-30T00:00:00Z"), one("c3", ahead)]),
            ("snapshots", _) => ok(vec![
                one("a1", "1969-12-29T00:00:00Z"),
                one("a2", "1969-12-30T00:00:00Z"),
                one("a3", ahead),
                one("a4", "1969-12-31T00:00:00Z"),
            ]),
            _ => ok(vec![backed_up()]),
        }));
    carried_out_of(&hands, &policy, &options());
    let copy = hands.calls().into_iter().find(|call| verb(call) == "copy").unwrap();
    let words: Vec<_> = copy.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    // What it has, and what it has forgotten, is not copied again.
    let ids = words.iter().filter(|word| ["a1", "a2", "a3", "a4"].contains(&word.as_str()));
    assert_eq!(ids.collect::<Vec<_>>(), ["a4"], "{words:?}");
}

#[test]
fn what_a_copy_was_left_without_is_asked_for_again() {
    let keeps = "password: { env: Y }, retention: { keep_daily: 30 } }";
    let policy: Policy = serde_saphyr::from_str(&TEXT.replace("password: { env: Y } }", keeps)).unwrap();
    let one = |id: &str, time: &str| json!({ "message_type": "snapshot", "source": "shop/tree", "id": id, "time": time, "incomplete": false });
    let (a, b) = (one("a1", "1969-12-29T12:00:00Z"), one("b1", "1969-12-30T12:00:00Z"));
    let hands =
        well(Fake::new(move |call| match (verb(call).as_str(), &*call.repository.as_ref().unwrap().name) {
            // The night before it timed out, and the next one was copied.
            ("snapshots", "offsite") => ok(vec![b.clone()]),
            ("snapshots", _) => ok(vec![a.clone(), b.clone()]),
            ("copy", _) => fails(3, "1 of 1 snapshots could not be copied"),
            _ => ok(vec![backed_up()]),
        }));
    let report = carried_out_of(&hands, &policy, &options());
    let copy = hands.calls().into_iter().find(|call| verb(call) == "copy").unwrap();
    assert!(copy.words.contains(&"a1".into()) && !copy.words.contains(&"b1".into()), "{copy:?}");
    assert_eq!(report.code(), 3, "it is told each night");
}

/// What comes of the log of a cluster of which a backup ends so, and `wal status` so.
fn of_log(backup: i32, status: i32, newest: Option<&str>) -> (Option<(State, String)>, u8) {
    let text = TEXT.replace(
        "  tree: {",
        "  db: { postgres: { url: 'postgres://b@db', wal: archive }, rpo: 5m }\n  tree: {",
    );
    let policy: Policy = serde_saphyr::from_str(&text).unwrap();
    let newest = newest.map(|newest| json!({ "message_type": "wal_timeline", "newest": newest }));
    let hands = well(Fake::new(move |call| match verb(call).as_str() {
        "backup" if is_of(call, "db") && backup != 0 => fails(backup, "no server"),
        "backup" => {
            let mut summary = backed_up();
            summary["source_facts"] = json!({ "system identifier": "77" });
            ok(vec![summary])
        }
        "wal" => {
            let mut answer =
                if status == 0 { Answer::default() } else { fails(status, "2 gaps in the log")? };
            answer.lines.extend(newest.clone());
            Ok(answer)
        }
        _ => ok(vec![backed_up()]),
    }));
    let report = carried_out_of(&hands, &policy, &options());
    let step = report.steps.iter().find(|step| step.activity == "log");
    (step.map(|step| (step.state, step.message.clone())), report.code())
}

#[test]
fn a_log_that_is_old_is_not_done_and_gaps_are_told() {
    let young = Some("1969-12-31T23:59:00Z");
    let (step, code) = of_log(0, 0, young);
    assert_eq!((step.unwrap().0, code), (State::Done, 0));
    let (step, code) = of_log(0, 3, young);
    let (state, message) = step.unwrap();
    // What no snapshot needs any more goes, and what is left on both sides of it looks like a gap.
    assert_eq!((state, code), (State::Done, 0));
    assert!(message.contains("it has gaps"), "{message}");
    // It told of something, and could not go on.
    assert_eq!(of_log(0, 1, young).0.unwrap().0, State::Failed);
    let (step, code) = of_log(0, 0, Some("1969-12-10T00:00:00Z"));
    let (state, message) = step.unwrap();
    assert_eq!((state, code), (State::Incomplete, 3));
    assert!(message.contains("5m may be lost at most"), "{message}");
    assert_eq!(of_log(0, 0, None).0.unwrap().0, State::Incomplete);
    // Which cluster it is nobody knows then: another one's log says nothing of it.
    let (step, code) = of_log(1, 0, young);
    assert_eq!((step.unwrap().0, code), (State::Skipped, 1));
}

#[test]
fn a_hook_that_fails_before_it_means_no_backup() {
    let ends = |code: i32| Ended { code: Some(code), said: "no room".into(), ..Ended::default() };
    let hands = Fake::new(|_| ok(vec![backed_up()]));
    let hands = hands.with_program(move |program| Ok(ends(i32::from(program.words[0] == "stop"))));
    let report = carried_out(&hands, &options());
    assert_eq!(report.code(), 1);
    let backups = hands.calls().iter().filter(|call| verb(call) == "backup").count();
    assert_eq!(backups, 1, "tree has no such hook");
    assert!(report.steps.iter().any(|step| step.message.contains("no room")), "{report:?}");
    let hands = Fake::new(|_| ok(vec![backed_up()]));
    let hands = hands.with_program(move |program| Ok(ends(i32::from(program.words[0] == "begin"))));
    carried_out(&hands, &options());
    assert!(
        hands.calls().iter().all(|call| verb(call) != "backup" && verb(call) != "forget"),
        "{:?}",
        said(&hands)
    );
}

#[test]
fn what_is_accepted_is_not_missing() {
    let unreadable = |items: &'static [&'static str]| {
        well(Fake::new(move |call| {
            let mut answer = ok(vec![backed_up()])?;
            if is_of(call, "tree") && verb(call) == "backup" {
                answer.code = 3;
                answer.lines[0]["error_count"] = items.len().into();
                answer.problems = items
                    .iter()
                    .map(|item| json!({ "message_type": "error", "kind": "unreadable", "item": item, "message": "denied" }))
                    .collect();
            }
            Ok(answer)
        }))
    };
    let hands = unreadable(&["srv/lost+found", "/srv/lost+found/a"]);
    let report = carried_out(&hands, &options());
    assert_eq!(report.code(), 0, "{report:?}");
    assert_eq!(report.steps.iter().find(|step| !step.accepted.is_empty()).unwrap().accepted.len(), 2);
    // Anything else that cannot be read is missing, and what is not told may be anything.
    let report = carried_out(&unreadable(&["/srv/lost+found", "/srv/lost+found-2"]), &options());
    assert_eq!(report.code(), 3);
    assert!(report.troubles().any(|step| step.message.contains("/srv/lost+found")));
}

#[test]
fn a_repository_that_does_not_open_ends_it() {
    for (code, ends) in [(12, 12), (10, 10), (1, 1)] {
        let hands = well(Fake::new(move |_| fails(code, "no")));
        let report = carried_out(&hands, &options());
        assert_eq!((report.code(), hands.calls().len(), hands.programs().len()), (ends, 1, 0));
    }
    let report = carried_out(&well(Fake::new(|_| Err("the variable X is not set".into()))), &options());
    assert_eq!(report.code(), 2);
}

#[test]
fn a_rehearsal_runs_nothing() {
    let hands = Fake::default();
    let report = carried_out(&hands, &Options { dry_run: true, ..options() });
    assert!(hands.calls().is_empty() && hands.programs().is_empty());
    assert_eq!(report.code(), 0, "{report:?}");
    let planned: Vec<_> = report.steps.iter().filter(|step| step.state == State::Planned).collect();
    assert!(planned[0].message.starts_with("holdfast -r /r backup --label=shop/tree"), "{planned:?}");
}

#[test]
fn one_source_alone() {
    let hands = well(Fake::new(|_| ok(vec![backed_up()])));
    let only = Options { sources: vec!["list".into()], ..options() };
    carried_out(&hands, &only);
    assert!(hands.calls().iter().filter(|call| verb(call) == "backup").all(|call| is_of(call, "list")));
    let unknown = Options { sources: vec!["lisst".into()], ..options() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (what, next) = runtime.block_on(run(&hands, &policy(), None, &unknown)).unwrap_err();
    assert!(what.contains("lisst") && next.contains("tree, list, old"), "{what}: {next}");
}

#[test]
fn one_run_is_one_code() {
    let report = |states: &[State]| RunReport {
        policy: "p".into(),
        started: jiff::Timestamp::UNIX_EPOCH,
        ended: jiff::Timestamp::UNIX_EPOCH,
        steps: states
            .iter()
            .map(|state| Step::new("backup", None, REPOSITORY).ends(*state, "", ""))
            .collect(),
        drill: None,
        dry_run: false,
        stopped: false,
    };
    assert_eq!(report(&[State::Done, State::NotHere]).code(), 0);
    assert_eq!(report(&[State::Done, State::Incomplete]).code(), 3);
    assert_eq!(report(&[State::Incomplete, State::Failed]).code(), 1);
    assert_eq!(RunReport { stopped: true, ..report(&[State::Failed]) }.code(), 130);
}
