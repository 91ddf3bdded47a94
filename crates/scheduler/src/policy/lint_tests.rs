//! What is unwise is told, and what is wise is not.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::policy::read::parse;

/// A policy that has nothing unwise in it.
const WISE: &str = r#"
name: shop
repository:
  url: /backups/shop
  keys: { backup: { file: /k/b }, maintain: { file: /k/m }, read: { file: /k/r } }
copies:
  - name: offsite
    url: "s3://offsite/shop"
    keys: { backup: { file: /k/ob }, read: { file: /k/or } }
    max_lag: 6h
sources:
  db: { postgres: { url: "postgres://backup@db/", wal: stream, slot: holdfast, slot_limit: 50GiB }, rpo: 5m }
  tree: { files: { paths: [/srv/shop] } }
  media: { s3: { url: "s3://media" } }
schedule: { cron: "15 2 * * *", timezone: Asia/Seoul, jitter: 20m }
retention: { keep_last: 3, keep_daily: 15, wal: 14d }
check: { read_data_subset: 5% }
objectives: { rpo: 26h, rto: 1h, verified_restore_max_age: 8d }
drill: { cron: "0 4 * * 0", scratch: { path: /scratch, max: 500GiB } }
notify: [ { command: [page] } ]
heartbeat: { url: { file: /etc/holdfast/heartbeat } }
"#;

fn lints(text: &str) -> Vec<Lint> {
    lint(&parse(text, "shop.yaml").unwrap())
}

/// With a part of the text replaced exactly one thing is unwise.
#[track_caller]
fn only(from: &str, to: &str) -> Lint {
    assert!(WISE.contains(from), "{from}");
    let lints = lints(&WISE.replace(from, to));
    assert_eq!(lints.len(), 1, "{from} -> {to}: {lints:#?}");
    lints.into_iter().next().unwrap()
}

#[test]
fn nothing_is_said_of_what_is_wise() {
    assert_eq!(lints(WISE), []);
}

#[test]
fn each_unwise_thing_is_told_once_where_it_is() {
    use Weight::{Error, Warning};
    let table = [
        ("rpo: 26h", "rpo: 24h", Error, "objectives.rpo"),
        ("schedule: { cron: \"15 2 * * *\"", "schedule: { cron: \"15 2 * * 1-5\"", Error, "objectives.rpo"),
        ("jitter: 20m", "jitter: 1d", Warning, "schedule.jitter"),
        ("keep_daily: 15", "keep_daily: 15, delete_after: 14d", Warning, "retention.delete_after"),
        ("max_age: 8d", "max_age: 7d", Error, "objectives.verified_restore_max_age"),
        ("drill: {", "drill: { from: [repository],", Warning, "drill.from"),
        ("heartbeat: { url: { file: /etc/holdfast/heartbeat } }", "", Warning, "heartbeat"),
        ("/k/m }, read: { file: /k/r }", "/k/b }, read: { file: /k/b }", Warning, "repository"),
        ("keep_daily: 15", "keep_daily: 13", Warning, "retention.wal"),
        ("retention: { keep_last: 3, keep_daily: 15, wal: 14d }", "", Warning, "retention"),
        ("scratch: { path: /scratch, max: 500GiB }", "level: full", Error, "drill.scratch"),
        ("/scratch, max", "/tmp/scratch, max", Warning, "drill.scratch.path"),
        ("max: 500GiB", "keep_on_failure: 4h", Warning, "drill.scratch"),
        ("    max_lag: 6h\n", "", Warning, "copies[0]"),
        ("notify: [ { command: [page] } ]", "", Warning, "notify"),
        ("command: [page] }", "command: [page], from: disaster }", Warning, "notify"),
        ("drill: {", "drill: { run_as: root,", Error, "drill.run_as"),
        ("drill: {", "drill: { network: host,", Warning, "drill.network"),
        ("drill: {", "drill: { sources: [db, tree],", Warning, "drill.sources"),
        (", slot: holdfast, slot_limit: 50GiB", "", Warning, "sources.db.postgres"),
        (", slot_limit: 50GiB", "", Warning, "sources.db.postgres"),
        ("check: { read_data_subset: 5% }", "", Warning, "check"),
        ("rto: 1h, ", "", Warning, "objectives"),
        ("rpo: 26h, ", "", Warning, "objectives"),
        (
            "  media: {",
            "  c: { command: { run: [dump], file_name: x.sql } }\n  media: {",
            Warning,
            "sources.c",
        ),
        ("  db: {", "  first: { s3: { url: \"s3://first\" } }\n  db: {", Warning, "sources.db"),
    ];
    for (from, to, severity, path) in table {
        let lint = only(from, to);
        assert_eq!((lint.severity, lint.path.as_str()), (severity, path), "{from} -> {to}: {lint:?}");
        assert!(!lint.what.is_empty() && !lint.next.is_empty());
    }
}

#[test]
fn a_promise_without_a_drill_is_an_error_and_errors_stand_first() {
    let drill = "drill: { cron: \"0 4 * * 0\", scratch: { path: /scratch, max: 500GiB } }";
    let lints = lints(&WISE.replace(drill, ""));
    let paths: Vec<_> = lints.iter().map(|lint| (lint.severity, lint.path.as_str())).collect();
    assert_eq!(paths, [(Weight::Error, "objectives.verified_restore_max_age"), (Weight::Warning, "drill")]);
}

#[test]
fn a_log_without_a_cluster_that_keeps_one() {
    let lints =
        lints(&WISE.replace(", wal: stream, slot: holdfast, slot_limit: 50GiB }, rpo: 5m", " }, rpo: 26h"));
    let paths: Vec<_> = lints.iter().map(|lint| lint.path.as_str()).collect();
    assert_eq!(paths, ["retention.wal"]);
}

#[test]
fn gaps_are_those_of_a_year() {
    let gaps = |cron: &str, zone: &str| {
        let schedule = crate::policy::Schedule {
            cron: cron.to_owned(),
            timezone: Some(zone.to_owned()),
            ..Default::default()
        };
        gaps_of(&Clockwork::of(&schedule, "x").unwrap()).unwrap()
    };
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    assert_eq!(gaps("15 2 * * *", "Asia/Seoul"), (hours(24), hours(24)));
    assert_eq!(gaps("0 12 * * *", "Europe/Berlin"), (hours(25), hours(23)));
    assert_eq!(gaps("0 0 * * 1-5", "UTC"), (hours(72), hours(24)));
    assert_eq!(gaps("0 0 29 2 *", "UTC").0, hours(24 * (365 * 4 + 1)));
    assert_eq!(extremes(std::iter::empty()), None);
}
