//! What a policy comes down to.

#![expect(clippy::unwrap_used, reason = "a test")]

use super::*;
use crate::policy::read::parse;

const SHOP: &str = r#"
name: shop
repository:
  url: /backups/shop
  keys: { backup: { file: /etc/holdfast/writer.key }, read: { credential: drill } }
copies: [ { name: offsite, url: "s3://offsite/shop", password: { env: OFFSITE }, max_lag: 6h } ]
sources:
  db:    { postgres: { url: "postgres://backup@db/", wal: archive } }
  tree:  { files: { paths: [/srv/shop] } }
  media: { s3: { url: "s3://media" }, schedule: { cron: "0 * * * *", timezone: UTC } }
  old:   { restored_by: { command: [restic, restore, --target, "{target}"] } }
schedule: { cron: "30 2 * * *", timezone: Europe/Berlin }
retention: { keep_last: 3, keep_daily: 14, wal: 14d }
check: { cron: "30 5 * * 6" }
drill: { level: full }
"#;

#[test]
fn runs_are_told_with_zone_and_offset_over_a_change_of_clocks() {
    let policy = parse(SHOP, "shop.yaml").unwrap();
    let from = "2026-03-27T12:00:00Z".parse().unwrap();
    let coming = coming(&policy, from, 3).unwrap();
    let of = |what: &str| {
        let all = coming.iter().filter(|coming| coming.what == what);
        all.map(|coming| coming.at.to_string()).collect::<Vec<_>>()
    };
    // On the 29th there is no half past two.
    assert_eq!(
        of("back up shop/db, shop/tree"),
        [
            "2026-03-28T02:30:00+01:00[Europe/Berlin]",
            "2026-03-29T03:00:00+02:00[Europe/Berlin]",
            "2026-03-30T02:30:00+02:00[Europe/Berlin]"
        ]
    );
    assert_eq!(of("back up shop/media").len(), 3);
    assert_eq!(of("check")[0], "2026-03-28T05:30:00+01:00[Europe/Berlin]");
    assert!(coming.is_sorted_by_key(|coming| coming.at.timestamp()));
    let follows = follows(&policy);
    let follows: Vec<_> = follows.iter().map(|line| (line.what.as_str(), line.after.as_str())).collect();
    assert_eq!(
        follows,
        [
            ("copy to offsite", "each backup"),
            ("forget", "each run"),
            ("prune", "each run that forgot something"),
            ("drill", "each run")
        ]
    );
}

#[test]
fn who_is_told_of_what() {
    let policy = parse(SHOP, "shop.yaml").unwrap();
    assert_eq!(told(&policy), []);
    let more = "notify:
  - { slack: { webhook: { file: /etc/holdfast/slack } }, from: high }
  - { mail: { server: 'smtps://me@mail.example', password: { env: M }, sender: b@shop.example, to: [ a@shop.example, n@shop.example ] } }
  - { command: [ /usr/local/bin/page, --team ], from: disaster }
heartbeat: { url: { credential: beat } }
digest: { cron: '0 9 * * 5' }
";
    let text = format!("{SHOP}{more}");
    let policy = parse(&text, "shop.yaml").unwrap();
    let lines: Vec<_> = told(&policy)
        .into_iter()
        .map(|line| format!("{}: {} ({})", line.who, line.what, line.address.unwrap_or_default()))
        .collect();
    assert_eq!(
        lines,
        [
            "slack: what is high, and disasters (/etc/holdfast/slack)",
            "mail to a@shop.example, n@shop.example: all that is wrong ()",
            "command /usr/local/bin/page: disasters ()",
            "those of them who hear most: how everything stands, at 0 9 * * 5 ()",
            "heartbeat: that every source is as young as was promised (the credential beat)",
        ]
    );
    let quiet = parse(&text.replace("cron: '0 9 * * 5'", "off: true"), "shop.yaml").unwrap();
    assert_eq!(told(&quiet).len(), 4);
}

#[test]
fn a_missing_key_is_not_for_this_host() {
    let policy = parse(SHOP, "shop.yaml").unwrap();
    let hands = hands(&policy);
    let told: Vec<_> = hands
        .iter()
        .map(|hand| (hand.place.as_str(), hand.activity, hand.opened_by.as_deref().unwrap_or("-")))
        .collect();
    assert_eq!(
        told,
        [
            ("repository", "back up", "key from /etc/holdfast/writer.key"),
            ("repository", "forget, prune, check", "-"),
            ("repository", "copy from it, restore, drill", "key from the credential drill"),
            ("offsite", "copy to it", "password from $OFFSITE"),
            ("offsite", "forget, prune, check", "password from $OFFSITE"),
            ("offsite", "restore, drill", "password from $OFFSITE"),
        ]
    );
}

#[test]
fn keep_rules_are_told_for_each_place() {
    let policy = parse(SHOP, "shop.yaml").unwrap();
    let kept = kept(&policy);
    let rules: Vec<_> = kept.iter().map(|kept| (kept.place.as_str(), kept.rule.as_str())).collect();
    let each = ["keep_last: 3", "keep_daily: 14", "wal: 14d", "always"];
    let all: Vec<_> =
        ["repository", "offsite"].iter().flat_map(|place| each.map(|rule| (*place, rule))).collect();
    assert_eq!(rules, all);
}

/// The policies that come with the program, with their names.
fn shipped() -> Vec<(String, Policy)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    let read = |path: std::path::PathBuf| {
        let (name, text) = (path.display().to_string(), std::fs::read_to_string(&path).unwrap());
        assert!(text.starts_with("# yaml-language-server: $schema=policy.schema.json\n"), "{name}");
        let policy = parse(&text, &name);
        (name, policy.unwrap_or_else(|wrong| panic!("{wrong:#?}")))
    };
    files.map(read).collect()
}

#[test]
fn shipped_policies_are_right_and_can_be_planned() {
    use crate::policy::lint::{Weight, lint};
    let shipped = shipped();
    assert_eq!(shipped.len(), 3);
    for (name, policy) in &shipped {
        let lints = lint(policy);
        assert!(lints.iter().all(|lint| lint.severity == Weight::Warning), "{name}: {lints:#?}");
        if name.ends_with("nightly.yaml") {
            assert_eq!(lints, []);
        }
        let from = "2026-11-22T00:00:00Z".parse().unwrap();
        let coming = coming(policy, from, 2).unwrap();
        assert_eq!(coming.is_empty(), name.ends_with("ci-drill.yaml"), "{name}");
        assert!(!hands(policy).is_empty() && !kept(policy).is_empty(), "{name}");
    }
}
