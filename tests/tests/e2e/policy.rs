//! Policies from outside: mistakes by their lines, what a policy comes down to, what has none.

use super::schema::assert_conforms;
use super::tree::put;
use super::world::{Ran, Word, World};
use holdfast_tests::{read, root};
use serde_json::Value;

/// Each line of standard output, held against the schema.
fn lines(ran: &Ran) -> Vec<Value> {
    let lines: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.iter().for_each(assert_conforms);
    lines
}

/// Data and talk hold these words.
#[track_caller]
fn shows(ran: &Ran, words: &[&str]) {
    for word in words {
        assert!(
            ran.out.contains(word) || ran.err.contains(word),
            "{word:?} is not there: {}{}",
            ran.out,
            ran.err
        );
    }
}

fn json(world: &World, words: &[Word<'_>], code: i32) -> Vec<Value> {
    lines(&world.run(&[&[&"--json" as Word<'_>], words].concat()).ends(code))
}

/// The types of lines, each once, in their order.
fn types(lines: &[Value]) -> Vec<&str> {
    let mut types: Vec<_> = lines.iter().map(|line| line["message_type"].as_str().unwrap()).collect();
    types.dedup();
    types
}

#[test]
fn policies_are_checked() {
    let world = World::bare();
    let nightly = root().join("policies/nightly.yaml");
    shows(&world.run(&[&"policy", &"check", &"--strict", &nightly]).ends(0), &["nothing is wrong"]);
    let quickstart = root().join("policies/quickstart.yaml");
    shows(&world.run(&[&"policy", &"check", &quickstart]).ends(0), &["warning: `heartbeat`", "warnings"]);
    shows(&world.run(&[&"policy", &"check", &"--strict", &quickstart]).ends(1), &["--strict"]);

    let text = read("policies/nightly.yaml");
    let misspelt = world.path("misspelt.yaml");
    put(&misspelt, text.replace("keep_daily", "keep_dayly").replace("20m  ", "20min").as_bytes());
    let line = 1 + text.lines().position(|line| line.contains("keep_daily")).unwrap();
    let place = format!("misspelt.yaml:{line}:3: `retention.keep_dayly` is not known");
    shows(
        &world.run(&[&"policy", &"check", &misspelt, &nightly]).ends(2),
        &[
            &place,
            "did you mean `keep_daily`?",
            "`schedule.jitter`: `20min` is no span of time",
            "2 mistakes",
        ],
    );
    let told = json(&world, &[&"policy", &"check", &misspelt, &quickstart], 2);
    assert_eq!(types(&told), ["policy_mistake", "policy_lint", "summary"]);
    let summary = told.last().unwrap();
    assert_eq!((&summary["files"], &summary["mistakes"]), (&2.into(), &2.into()));
    let lint = told.iter().find(|line| line["path"] == "repository").unwrap();
    assert!(lint["line"].is_u64() && lint["severity"] == "warning");

    let never = world.path("never.yaml");
    put(&never, text.replace("rpo: 26h", "rpo: 2h").as_bytes());
    shows(&world.run(&[&"policy", &"check", &never]).ends(1), &["error: `objectives.rpo`"]);
    shows(
        &world.run(&[&"policy", &"check", &world.path("nothing.yaml")]).ends(2),
        &["cannot read the policy"],
    );

    let secret = world.path("secret.yaml");
    put(&secret, text.replace("backup@db1", "backup:hunter2@db1").as_bytes());
    let ran = world.run(&[&"policy", &"check", &secret]).ends(2);
    shows(&ran, &["there is a password in this address"]);
    assert!(!format!("{}{}", ran.out, ran.err).contains("hunter2"));
}

#[test]
fn policies_are_planned() {
    let world = World::bare();
    let nightly = root().join("policies/nightly.yaml");
    shows(
        &world.run(&[&"policy", &"plan", &nightly]).ends(0),
        &[
            "+09:00",
            "Asia/Seoul",
            "back up shop/db, shop/tree",
            "back up shop/media",
            "not on this host",
            "keep_daily: 14",
            "drills on drill-1 only",
            "WHO IS TOLD",
            "how everything stands, at 0 9 * * 1",
        ],
    );
    let told = json(&world, &[&"policy", &"plan", &nightly, &"-n", &"2", &"--offline"], 0);
    assert_eq!(types(&told), ["policy_run", "policy_follows", "policy_key", "policy_kept", "policy_told"]);
    let drills: Vec<_> = told.iter().filter(|line| line["what"] == "drill").collect();
    assert_eq!(drills.len(), 2);
    assert!(drills.iter().all(|line| line["local_time"].as_str().unwrap().ends_with("T04:00:00+09:00")));
    let quickstart = json(&world, &[&"policy", &"plan", &root().join("policies/quickstart.yaml")], 0);
    assert_eq!(types(&quickstart).last(), Some(&"policy_lint"));

    // Where it can be opened, each snapshot is told with what keeps it.
    let (world, source) = (World::new(), world.path("source"));
    put(source.join("file"), b"content");
    let old = world.run(&[&"--json", &"backup", &source, &"--label", &"shop/tree"]).ends(0);
    let new = world.run(&[&"--json", &"backup", &source, &"--label", &"shop/tree"]).ends(0);
    let id = |ran: &Ran| lines(ran).last().unwrap()["snapshot_id"].clone();
    let policy = world.path("shop.yaml");
    let text = "name: shop\nrepository: { url: repo, password: { env: HOLDFAST_PASSWORD } }\n\
                sources: { tree: { files: { paths: [source] } } }\nretention: { keep_last: 1 }\n";
    put(&policy, text.as_bytes());
    let told = json(&world, &[&"policy", &"plan", &policy], 0);
    let verdicts: Vec<_> = told.iter().filter(|line| line["message_type"] == "verdict").collect();
    let kept: Vec<_> = verdicts.iter().map(|line| (line["id"].clone(), line["keep"].clone())).collect();
    assert_eq!(kept.len(), 2, "{told:#?}");
    assert!(kept.contains(&(id(&new), true.into())) && kept.contains(&(id(&old), false.into())), "{kept:?}");
    shows(&world.run(&[&"policy", &"plan", &policy]).ends(0), &["forgotten", "SNAPSHOT"]);
    put(&policy, text.replace("url: repo", "url: nowhere").as_bytes());
    shows(&world.run(&[&"policy", &"plan", &policy]).ends(0), &["was not looked at"]);
}

#[test]
fn the_schema_is_printed_as_it_is_shipped() {
    let world = World::bare();
    let ran = world.run(&[&"policy", &"schema"]).ends(0);
    assert_eq!(ran.out, read("policies/policy.schema.json"));
    assert_eq!(types(&json(&world, &[&"policy", &"schema"], 0)), ["policy_schema"]);
}

#[test]
fn what_has_no_policy_is_told() {
    let world = World::bare();
    let policy = world.path("all.yaml");
    put(&policy, b"name: all\nrepository: { url: /r, password: { env: X } }\nsources: { all: { files: { paths: [/] } } }\n");
    // Other tests start clusters beside this one; what is mounted stays.
    for words in
        [&[&"--json" as Word<'_>, &"policy", &"coverage", &policy][..], &[&"--json", &"policy", &"coverage"]]
    {
        let ran = world.run(words);
        let told = lines(&ran);
        let state = |state: &str| told.iter().filter(|line| line["state"] == state).count();
        let summary = told.last().unwrap();
        assert_eq!(summary["not_protected"], state("not_protected"));
        assert_eq!(ran.code, i32::from(state("not_protected") > 0));
        let of_mounts = told.iter().filter(|line| line["kind"] == "mount");
        let wanted = if words.len() == 4 { "protected" } else { "not_protected" };
        assert!(of_mounts.clone().count() > 0);
        assert!(of_mounts.clone().all(|line| line["state"] == wanted), "{told:#?}");
    }
    let refused = world.run(&[&"policy", &"coverage", &"--ignore", &"/="]).ends(2);
    shows(&refused, &["reason"]);
    let ran =
        world.run(&[&"--json", &"policy", &"coverage", &"--ignore", &"/=2999-12-31: nothing here is wanted"]);
    let root = lines(&ran).into_iter().find(|line| line["path"] == "/").unwrap();
    assert_eq!(
        (&root["state"], &root["reason"]),
        (&"ignored".into(), &"until 2999-12-31: nothing here is wanted".into())
    );
    // A policy can say so too.
    let says = world.path("says.yaml");
    let text = "name: says\nrepository: { url: /r, password: { env: X } }\nsources: { t: { files: { paths: [/nowhere] } } }\n\
                ignore: [ { path: /, until: 2999-12-31, reason: nothing here is wanted } ]\n";
    put(&says, text);
    let ran = world.run(&[&"--json", &"policy", &"coverage", &"--offline", &says]);
    let said = lines(&ran).into_iter().find(|line| line["path"] == "/").unwrap();
    assert_eq!((&said["state"], &said["reason"]), (&root["state"], &root["reason"]));
    let over =
        world.run(&[&"--json", &"policy", &"coverage", &"--ignore", &"/=2001-01-01: for a while"]).ends(1);
    let root = lines(&over).into_iter().find(|line| line["path"] == "/").unwrap();
    assert_eq!(root["state"], "not_protected");
    assert!(root["reason"].as_str().unwrap().contains("is over: for a while"), "{root}");
}
