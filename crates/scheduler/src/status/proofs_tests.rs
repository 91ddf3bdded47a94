//! What takes back that a drill failed, and what does not.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::State;
use super::status_tests::{Fake, POLICY, at, conditions, drilled, hex, of, snapshot, stands, well};
use serde_json::{Value, json};

const FOUND: &str = "3 chunks cannot be opened";

/// A drill of the tree's snapshot, from a place.
fn of_tree(id: &str, ended: &str, verdict: &str, from: &str) -> Value {
    let found = if verdict == "fail" { FOUND } else { "" };
    let line = drilled(id, ended, &[("tree", verdict, 60.0, found)]);
    let line = set(line, "snapshot", hex(2).into());
    let mut line = set(line, "snapshot_time", json!(at("2026-11-21T02:19:00+09:00")));
    line["record"]["from"] = from.into();
    line
}

/// The same with something else found of the source.
fn set(mut line: Value, field: &str, value: Value) -> Value {
    line["record"]["sources"][0][field] = value;
    line
}

fn at_level(mut line: Value, level: &str) -> Value {
    line["record"]["level"] = level.into();
    set(line, "reached", level.into())
}

fn with(lines: Vec<Value>) -> Fake {
    let passed = [("db", "pass", 60.0, ""), ("tree", "pass", 60.0, ""), ("media", "pass", 60.0, "")];
    let others = vec![drilled("0", "16T04:52", &passed)];
    well().says("offsite", "evidence show", others).says("repository", "evidence show", lines)
}

async fn found(lines: Vec<Value>) -> Vec<(&'static str, State)> {
    conditions(&stands(&with(lines), POLICY).await)
}

const FAILED: [(&str, State); 1] = [("drill-failed", State::High)];

#[tokio::test]
async fn a_pass_of_another_place_takes_nothing_back() {
    let failed = || of_tree("b", "20T04:00", "fail", "offsite");
    let lines = vec![failed(), of_tree("c", "21T04:00", "pass", "repository")];
    let status = stands(&with(lines.clone()), POLICY).await;
    assert_eq!(conditions(&status), FAILED);
    let problem = &status.problems[0];
    assert_eq!(problem.what, "shop/tree failed its drill of 11-20 04:00 from offsite.");
    assert_eq!(problem.copy.as_deref(), Some("offsite"));
    let again = "holdfast drill /etc/holdfast/shop.yaml --now --source tree --from offsite --level full";
    assert!(problem.to_do.ends_with(&format!("{again} --snapshot 02020202")), "{problem:?}");
    // That nothing was proved there since is no pass either.
    let nothing = of_tree("d", "22T01:00", "inconclusive", "offsite");
    assert_eq!(found([lines, vec![nothing]].concat()).await, FAILED);
    assert_eq!(found(vec![failed(), of_tree("c", "21T04:00", "pass", "offsite")]).await, []);
    // One that comes late comes all the same.
    let late = json!([{"name": "rto", "source": "tree", "limit": 1.0, "measured": 60.0, "met": false,
                       "enforced": true, "estimated": false}]);
    let mut slow = of_tree("c", "21T04:00", "pass", "offsite");
    slow["record"]["objectives"] = late;
    let again = of_tree("d", "22T01:00", "pass", "repository");
    assert_eq!(found(vec![failed(), slow, again]).await, [("rto", State::High)]);
}

#[tokio::test]
async fn places_that_failed_are_told_one_by_one() {
    let lines =
        vec![of_tree("b", "20T04:00", "fail", "offsite"), of_tree("c", "21T04:00", "fail", "repository")];
    let status = stands(&with(lines), POLICY).await;
    let told: Vec<_> = status.problems.iter().map(|one| (one.condition, one.copy.as_deref())).collect();
    assert_eq!(told, [("drill-failed", None), ("drill-failed", Some("offsite"))]);
    assert!(status.problems[0].what.ends_with("from the repository."), "{:?}", status.problems[0]);
}

#[tokio::test]
async fn a_drill_that_proves_less_takes_nothing_back() {
    let failed = || of_tree("b", "20T04:00", "fail", "offsite");
    let passed = || of_tree("c", "21T04:00", "pass", "offsite");
    for level in ["read", "check"] {
        assert_eq!(found(vec![failed(), at_level(passed(), level)]).await, FAILED, "{level}");
    }
    let part = set(passed(), "share", json!(0.01));
    assert_eq!(found(vec![failed(), part]).await, FAILED);
    // What failed at a lower level is mended by more than that.
    assert_eq!(found(vec![at_level(failed(), "read"), passed()]).await, []);
}

#[tokio::test]
async fn a_drill_that_proves_less_is_no_proof() {
    let text = POLICY.replace("8d", "6d");
    let with = |line: Value| with(vec![line]);
    let passed = || of_tree("c", "21T04:00", "pass", "repository");
    let proven = |day: &str| Some(at(&format!("2026-11-{day}:00+09:00")));
    let text_of = async |line: Value, text: &str| {
        let status = stands(&with(line), text).await;
        (
            of(&status, "tree").proven,
            of(&status, "tree").proven_share,
            super::screen(&status, &jiff::tz::TimeZone::UTC),
        )
    };
    assert_eq!(text_of(passed(), &text).await.0, proven("21T04:00"));
    assert_eq!(text_of(at_level(passed(), "read"), &text).await.0, proven("16T04:52"));
    assert_eq!(text_of(set(passed(), "share", json!(0.01)), &text).await.0, proven("16T04:52"));
    // A policy that asks for less gets less, and is told how much that was.
    let part = text.replace("\"0 4 * * 0\" }", "\"0 4 * * 0\", level: restore, max_download: 1GiB }");
    let (at, share, screen) = text_of(set(at_level(passed(), "restore"), "share", json!(0.013)), &part).await;
    assert_eq!((at, share), (proven("21T04:00"), Some(0.013)));
    assert!(screen.contains(" (1 %)  "), "{screen}");
}

#[tokio::test]
async fn a_file_that_nobody_can_judge_is_proven_as_far_as_it_can_be() {
    let text = POLICY.replace("files: { paths: [/srv/shop] }", "command: { run: [dump], file_name: a.txt }");
    let line = set(of_tree("c", "21T04:00", "pass", "repository"), "reached", json!("restore"));
    let proven = async |text: &str| of(&stands(&with(vec![line.clone()]), text).await, "tree").proven;
    assert_eq!(proven(&text).await, Some(at("2026-11-21T04:00:00+09:00")));
    let verified = text.replace("a.txt", "a.txt, verify: [look, \"{target}\"]");
    assert_eq!(proven(&verified).await, Some(at("2026-11-16T04:52:00+09:00")));
}

#[tokio::test]
async fn a_sound_snapshot_mends_no_damaged_one() {
    let failed = || of_tree("b", "20T04:00", "fail", "offsite");
    let other = set(of_tree("c", "21T04:00", "pass", "offsite"), "snapshot", hex(5).into());
    let other = set(other, "snapshot_time", json!(at("2026-11-19T02:19:00+09:00")));
    assert_eq!(found(vec![failed(), other.clone()]).await, FAILED);
    // It is not there any more, and what is there was seen to come back.
    let there = |lines: Vec<Value>, tree: Value| {
        let all = vec![snapshot(1, "shop/db", "21T02:16"), tree, snapshot(3, "shop/media", "22T02:31")];
        with(lines).says("repository", "snapshots", all.clone()).says("offsite", "snapshots", all)
    };
    let newer = || snapshot(5, "shop/tree", "21T02:21");
    let both = || vec![failed(), other.clone()];
    assert_eq!(conditions(&stands(&there(both(), newer()), POLICY).await), []);
    assert_eq!(conditions(&stands(&there(vec![failed()], newer()), POLICY).await), FAILED);
    // With other tags it is another snapshot of the same time.
    let tagged = there(both(), snapshot(6, "shop/tree", "21T02:20"));
    assert_eq!(conditions(&stands(&tagged, POLICY).await), FAILED);
    // Where nobody can tell, it may be there.
    let away = with(vec![failed(), other.clone()]).fails("offsite", "snapshots", 1, "no route", "");
    assert!(conditions(&stands(&away, POLICY).await).contains(&FAILED[0]));
    // A statement that did not hold is about what is in it, and no damage.
    let mut asserted = failed();
    asserted["record"]["sources"][0]["probes"][0]["findings"][0]["cause"] = "assertion".into();
    assert_eq!(found(vec![asserted, other]).await, []);
}

#[tokio::test]
async fn that_nothing_was_proved_is_told_where_drills_come_again() {
    let nothing = of_tree("b", "20T04:00", "inconclusive", "offsite");
    let lines = vec![nothing, of_tree("c", "21T04:00", "pass", "repository")];
    assert_eq!(found(lines.clone()).await, [("drill-inconclusive", State::Warning)]);
    // Nobody drills there by himself.
    let text = POLICY.replace("\"0 4 * * 0\" }", "\"0 4 * * 0\", from: [repository] }");
    assert_eq!(conditions(&stands(&with(lines), &text).await), []);
}
