//! Right policies are read; of wrong ones each mistake is told with its line and the word that was meant.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::policy::secret::{Credentials, SecretRef};
use crate::policy::units::Span;
use crate::policy::{CatchUp, Kind, LogMode, Pick, Rto, Severity};
use std::time::Duration;

/// The least that is a policy of some size, in the way that policies are written.
const SHOP: &str = r#"name: shop
repository: { url: /backups/shop, password: { env: HOLDFAST_PASSWORD } }   # or keys: { backup, maintain, read }
copies: [ { name: offsite, url: "s3://offsite/shop?endpoint=https://s3.example", password: { file: /etc/holdfast/offsite }, credentials: { profile: offsite }, max_lag: 6h } ]
sources:                      # captured in this order
  tree:  { files: { paths: [/srv/shop], exclude: ["*.tmp"] } }
  db:    { postgres: { url: "postgres://backup@db/", wal: stream }, rpo: 5m }
  media: { s3: { url: "s3://media/prefix?endpoint=https://s3.example", credentials: { profile: media-read } } }
schedule: { cron: "15 2 * * *", timezone: Asia/Seoul, jitter: 20m, catch_up: once }
retention: { keep_last: 3, keep_daily: 14, keep_weekly: 8, keep_monthly: 12, wal: 14d }
objectives: { rpo: 26h, rto: 1h, verified_restore_max_age: 8d }
drill: { cron: "0 4 * * 0", level: full, pick: random, from: [offsite], scratch: { path: /scratch, max: 500GiB } }
notify: [ { slack: { webhook: { env: SLACK_WEBHOOK } }, from: high } ]
heartbeat: { url: { file: /etc/holdfast/heartbeat } }
"#;

fn hours(hours: u64) -> Span {
    Span(Duration::from_secs(hours * 3600))
}

/// What is told of a text: `line:column: what | next`.
fn told(text: &str) -> Vec<String> {
    let wrong = parse(text, "p").err().unwrap_or_default();
    wrong
        .iter()
        .map(|wrong| format!("{}:{}: {} | {}", wrong.line, wrong.column, wrong.what, wrong.next))
        .collect()
}

/// What is told where one part of the example is another.
#[track_caller]
fn told_with(from: &str, to: &str) -> Vec<String> {
    assert!(SHOP.contains(from), "{from}");
    told(&SHOP.replacen(from, to, 1))
}

#[test]
fn a_policy_is_read_word_for_word() {
    let policy = parse(SHOP, "shop.yaml").unwrap();
    assert_eq!(policy.name, "shop");
    assert_eq!(policy.repository.password, Some(SecretRef::Env("HOLDFAST_PASSWORD".into())));
    assert_eq!(policy.copies[0].credentials, Some(Credentials::Profile("offsite".into())));
    assert_eq!(policy.copies[0].max_lag, Some(hours(6)));
    let names: Vec<_> = policy.sources.0.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["tree", "db", "media"]);
    let Some(Kind::Postgres(db)) = policy.sources.get("db").unwrap().kind() else { panic!() };
    assert_eq!((db.url.as_str(), db.wal), ("postgres://backup@db/", LogMode::Stream));
    assert_eq!(policy.schedule.as_ref().unwrap().catch_up, CatchUp::Once);
    assert_eq!(policy.objectives.rto, Some(Rto::Anywhere(hours(1))));
    let drill = policy.drill.as_ref().unwrap();
    assert_eq!((drill.pick, drill.scratch.max.unwrap().0), (Pick::Random, 500 << 30));
    assert_eq!(policy.notify[0].from, Severity::High);
}

#[test]
fn json_is_read_too() {
    let policy = parse(SHOP, "shop.yaml").unwrap();
    let json = serde_json::to_string_pretty(&policy).unwrap();
    // What is not stated is written as nothing, which is not read.
    let json: Vec<_> = json.lines().filter(|line| !line.ends_with(": null,")).collect();
    assert_eq!(parse(&json.join("\n"), "shop.json"), Ok(policy));
}

#[test]
fn every_mistake_has_its_line_and_what_was_meant() {
    let cron = "five fields: minute, hour, day of month, month, day of week: \"15 2 * * *\"";
    let refer = "a secret never stands in a policy, only where it is: { env: NAME }, { file: /path }, \
                 { command: [program, argument] }, { credential: NAME } or \
                 { vault: { path: MOUNT/data/PATH, field: NAME } }";
    let table: &[(&str, &str, &[&str])] = &[
        // Words that are not known.
        (
            "keep_daily: 14",
            "keep_dayly: 14",
            &[
                "9:28: `retention.keep_dayly` is not known | did you mean `keep_daily`? Known here: keep_last, \
             keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly, keep_within, delete_after, delete_former, wal",
            ],
        ),
        (
            "heartbeat:",
            "hartbeat:",
            &[
                "13:1: `hartbeat` is not known | did you mean `heartbeat`? Known here: name, repository, copies, \
             sources, schedule, retention, prune, check, objectives, drill, notify, heartbeat, digest, hooks, \
             workers, ignore",
            ],
        ),
        (
            "level: full",
            "level: ful",
            &[
                "11:36: `drill.level`: `ful` is not known | did you mean `full`? Known here: read, restore, boot, \
             check, full",
            ],
        ),
        (
            "wal: stream",
            "wal: yes",
            &["6:59: `sources.db.postgres.wal`: `yes` is not known | known here: off, stream, archive"],
        ),
        (
            "{ env: HOLDFAST_PASSWORD }",
            "{ environment: HOLDFAST_PASSWORD }",
            &[
                "2:47: `repository.password`: `environment` is not known | known here: env, file, command, credential, vault",
            ],
        ),
        // Words that are there twice.
        (
            "  db: ",
            "  tree: ",
            &[
                "6:3: `sources.tree` is here twice; the first is in line 5 | take one of them out, or give it another name",
            ],
        ),
        (
            "keep_last: 3,",
            "keep_last: 3, keep_last: 4,",
            &[
                "9:28: `retention.keep_last` is here twice; the first is in line 9 | take one of them out, or give it \
             another name",
            ],
        ),
        // Wrong units and kinds.
        (
            "jitter: 20m",
            "jitter: 20min",
            &[
                "8:63: `schedule.jitter`: `20min` is no span of time: write a number with s, m, h, d, w or y: 90m, 26h, 8d | ",
            ],
        ),
        (
            "max: 500GiB",
            "max: 500",
            &[
                "11:105: `drill.scratch.max`: `500` is no size: write a number with B, KiB, MiB, GiB or TiB: 500GiB | ",
            ],
        ),
        (
            "keep_last: 3",
            "keep_last: three",
            &[
                "9:25: `retention.keep_last`: a whole number is wanted here, and this is text | write digits only, \
             without a sign and a unit",
            ],
        ),
        (
            "paths: [/srv/shop]",
            "paths: /srv/shop",
            &[
                "5:28: `sources.tree.files.paths`: a list is wanted here, and this is text | put it in brackets: [one, \
             another]",
            ],
        ),
        (
            "rto: 1h",
            "rto: 1",
            &[
                "10:30: `objectives.rto`: write a time, `1h`, or where it counts: { target: 1h, enforce_on: [drill-1] } | ",
            ],
        ),
        (
            "heartbeat: { url: { file: /etc/holdfast/heartbeat } }",
            "heartbeat:",
            &["13:10: `heartbeat`: it is empty | fill it, or leave the key out"],
        ),
        (
            "name: shop",
            "name: true",
            &[
                "1:7: `name`: text is wanted here, and this is true or false | put it in quotes if it is meant as text",
            ],
        ),
        // What is missing.
        ("url: /backups/shop, ", "", &["2:13: `repository.url` is missing | "]),
        ("name: shop\n", "", &["1:1: `name` is missing | "]),
        (
            ", password: { env: HOLDFAST_PASSWORD }",
            "",
            &[
                "2:1: `repository`: nothing says what opens it | write password: { file: /path }, or keys: { backup: \
             ..., maintain: ..., read: ... }",
            ],
        ),
        // Times.
        (
            "15 2 * * *",
            "15 25 * * *",
            &[
                "8:19: `schedule.cron`: `15 25 * * *`: hour: `25` is not there: write 0 to 23, or * for all | ",
            ],
        ),
        ("0 4 * * 0", "0 4 * *", &["11:16: `drill.cron`: "]),
        (
            "Asia/Seoul",
            "Asia/Soul",
            &[
                "8:43: `schedule.timezone`: there is no time zone `Asia/Soul`: did you mean Asia/Seoul? Write an IANA \
             name, as Asia/Seoul or UTC | ",
            ],
        ),
        (
            "catch_up: once",
            "not_after: 6am",
            &["8:79: `schedule.not_after`: `6am` is no time of day | write hours and minutes: \"06:00\""],
        ),
        (
            "catch_up: once",
            "catch_up: none, max_age: 1h",
            &[
                "8:93: `schedule.max_age`: nothing is caught up, of whatever age | leave it out, or write `catch_up: once`",
            ],
        ),
        (
            "rpo: 26h",
            "rpo: 0h",
            &["10:20: `objectives.rpo`: no time at all cannot be | write how long: 90m, 26h, 8d"],
        ),
        // Secrets.
        (
            "postgres://backup@db/",
            "postgres://backup:hunter2@db/",
            &[
                "6:29: `url`: there is a password in this address | take it out; say where the secret is: passfile, or \
             { file: /path }, { env: NAME }",
            ],
        ),
        (
            "s3://media/prefix",
            "s3://key:hunter2@media/prefix",
            &[
                "7:23: `url`: there is a password in this address | take it out; credentials: { profile: NAME } says \
             what opens a bucket",
                "7:23: `sources.media.s3.url`: it names no bucket | write \
             s3://bucket/prefix?endpoint=https://host&region=eu-west-1",
            ],
        ),
        (
            "password: { env: HOLDFAST_PASSWORD }",
            "password: hunter2",
            &["2:45: `repository.password`: a reference is wanted here, and this is text | REFER"],
        ),
        (
            "{ env: HOLDFAST_PASSWORD }",
            "{ env: \"hunter2!\" }",
            &[
                "2:52: `repository.password.env`: this is no name of a variable | write the name of the variable, not \
             what it holds",
            ],
        ),
        (
            "{ env: HOLDFAST_PASSWORD }",
            "{ env: A, file: /b }",
            &[
                "2:45: `repository.password`: exactly one of env, file, command, credential, vault is wanted here | REFER",
            ],
        ),
        // Names.
        (
            "name: shop",
            "name: Shop",
            &[
                "1:7: `name`: this is no name | up to 64 small letters, digits, `.`, `_` and `-`, with a letter or digit in front",
            ],
        ),
        (
            "from: [offsite]",
            "from: [ofsite]",
            &[
                "11:63: `drill.from[0]`: there is no repository or copy `ofsite` | did you mean `offsite`? Known here: \
             repository, offsite",
            ],
        ),
        (
            "name: offsite",
            "name: repository",
            &[
                "3:19: `copies[0].name`: it is taken by `repository` | give it another name",
                "11:63: `drill.from[0]`: there is no repository or copy `offsite` | known here: repository, repository",
            ],
        ),
        // One thing each.
        (
            "paths: [/srv/shop], exclude: [\"*.tmp\"] }",
            "paths: [/srv/shop] }, s3: { url: \"s3://x\" }",
            &[
                "5:3: `sources.tree`: exactly one of files, postgres, s3, command, restored_by | give each thing that is \
             backed up a name of its own below `sources`",
            ],
        ),
        (
            "{ slack: { webhook: { env: SLACK_WEBHOOK } }, from: high }",
            "{ from: high }",
            &[
                "12:11: `notify[0]`: exactly one of slack, webhook, mail and command says how | write one of them here, \
             and another entry for each other",
            ],
        ),
        (
            "{ slack: { webhook: { env: SLACK_WEBHOOK } }, from: high }",
            "{ mail: { server: 'smtps://me@m.example', sender: a@b.example, to: [c@b.example] } }",
            &[
                "12:13: `notify[0].mail`: the server has a user and no password | add password: { file: … }, or leave \
             the user out",
            ],
        ),
        (
            "{ slack: { webhook: { env: SLACK_WEBHOOK } }, from: high }",
            "{ mail: { server: 'smtps://me:word@m.example', password: { env: P }, sender: a@b.example, to: [c@b.example] } }",
            &[
                "12:29: `server`: there is a password in this address | take it out; say where the secret is: passfile, \
             or { file: /path }, { env: NAME }",
            ],
        ),
        (
            "heartbeat: { url: { file: /etc/holdfast/heartbeat } }",
            "digest: { cron: '0 8 * * 1', off: true }",
            &[
                "13:1: `digest`: there is a time for a digest, and there is to be none | leave one of them out",
            ],
        ),
        (
            "keep_last: 3, keep_daily: 14, keep_weekly: 8, keep_monthly: 12, ",
            "",
            &[
                "9:1: `retention`: it keeps no snapshot | write at least one keep rule: keep_daily: 14; to keep \
             everything leave retention out",
            ],
        ),
        (
            "/backups/shop",
            "sftp://host/shop",
            &[
                "2:20: `repository.url`: there are no repositories at `sftp://` | write /path or s3://bucket/prefix",
            ],
        ),
        (
            "wal: stream",
            "wal: archive, slot: x",
            &[
                "6:74: `sources.db.postgres.slot`: only `wal: stream` has a slot | leave it out, or write `wal: stream`",
            ],
        ),
        // YAML itself.
        (
            "name: shop",
            "name: &a shop",
            &["1:10: anchors are not used in policies | write out what is meant where it is meant"],
        ),
        (
            "name: shop",
            "name: !x shop",
            &["1:10: tags such as `!x` are not used in policies | leave the tag out"],
        ),
        (
            "retention: {",
            "retention: { <<: { keep_last: 1 },",
            &["9:14: merge keys are not used in policies | write out what is meant"],
        ),
        ("name: shop", "name: shop\n---\nname: shop", &[]),
    ];
    let mut wrong = Vec::new();
    for (from, to, all) in table {
        let told = told_with(from, to);
        if all.is_empty() {
            assert!(!told.is_empty(), "{to}");
            continue;
        }
        if told.len() != all.len() {
            wrong.push(format!("{to}: {told:#?}"));
        }
        for (told, wanted) in told.iter().zip(*all) {
            let wanted = wanted.replace("REFER", refer);
            // Where another part of the program has the words, only their beginning is held.
            let told = if wanted.ends_with(": ") || wanted.ends_with("| ") {
                &told[..wanted.len().min(told.len())]
            } else {
                told
            };
            if told != wanted {
                wrong.push(format!("{to}:\n{told}\n{wanted}"));
            }
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(told_with("0 4 * * 0", "0 4 * *")[0].ends_with(cron));
}

#[test]
fn several_mistakes_are_told_together_in_their_order() {
    let text = SHOP
        .replace("keep_daily", "keepdaily")
        .replace("jitter: 20m", "jitter: soon")
        .replace("from: [offsite]", "from: [nowhere]")
        .replace("url: \"postgres://backup@db/\"", "url: \"mysql://backup@db/\"")
        .replace("timezone: Asia/Seoul", "timezone: Mars/Olympus");
    let lines: Vec<_> = parse(&text, "p").unwrap_err().iter().map(|wrong| wrong.line).collect();
    assert_eq!(lines, [6, 8, 8, 9, 11]);
}

#[test]
fn what_was_told_once_is_not_missed_too() {
    // The kind of the source is wrong inside: that it has none is not said as well.
    let told = told_with("paths: [/srv/shop]", "path: [/srv/shop]");
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("did you mean `paths`?"), "{told:#?}");
    let told = told_with("url: /backups/shop", "url: [x]");
    assert_eq!(told.len(), 1, "{told:#?}");
}

#[test]
fn what_is_left_out_of_coverage_has_a_day_and_a_reason() {
    let with = |ignore: &str| told_with("heartbeat:", &format!("ignore: [ {ignore} ]\nheartbeat:"));
    assert_eq!(with("{ path: /mnt/cache, until: 2027-06-30, reason: made anew }"), [""; 0]);
    for (ignore, what) in [
        ("{ path: mnt, until: 2027-06-30, reason: x }", "`ignore[0].path`: `mnt` is nothing that is listed"),
        ("{ path: /mnt, until: 2027-02-30, reason: x }", "`ignore[0].until`: `2027-02-30` is no day"),
        ("{ path: /mnt, until: 2027-06-30, reason: ' ' }", "`ignore[0].reason`: no reason is given"),
        ("{ path: /mnt, until: 2027-06-30 }", "reason"),
    ] {
        let told = with(ignore);
        assert!(told.len() == 1 && told[0].contains(what), "{told:#?}");
    }
}

#[test]
fn what_is_no_policy_at_all_is_told() {
    assert_eq!(told(""), ["1:1: it is empty | a policy has at least name, repository and sources"]);
    assert_eq!(told("# nothing\n"), told(""));
    assert_eq!(
        told("just text"),
        ["1:1: a section of keys is wanted here, and this is text | its keys: name, \
         repository, copies, sources, schedule, retention, prune, check, objectives, drill, notify, heartbeat, digest, hooks, workers, ignore"]
    );
    assert_eq!(told("a: [1, 2")[0].split(':').next(), Some("1"));
    assert!(told("a: *b")[0].contains("anchor") || told("a: *b")[0].contains("alias"));
    let large = "#".repeat(1 << 21);
    assert_eq!(told(&large), ["1:1: it is larger than a policy can be | a policy has at most 256 KiB"]);
    let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n";
    assert!(told(bomb).iter().any(|told| told.contains("aliases are not used")));
    assert!(!told(&"[".repeat(100_000)).is_empty());
    assert!(told(&"a\n".repeat(100)).len() <= MISTAKES_MAX);
}

#[test]
fn places_of_keys_are_known() {
    let places = places(SHOP);
    assert_eq!(places["sources.db.postgres.wal"], (6, 54));
    assert_eq!(places["copies[0]"], (3, 11));
    assert_eq!(places["drill"], (11, 1));
}

#[test]
fn a_wrong_line_says_where_it_is() {
    let wrong = parse("name: [", "shop.yaml").unwrap_err();
    assert!(wrong[0].to_string().starts_with("shop.yaml:1:"), "{}", wrong[0]);
}
