//! Every line that any run of these tests writes with `--json` is held against
//! `crates/cli/schema/lines.json`, closed: a field or a type that is not in it fails the test.
//!
//! A new verb needs its lines in that file, in `JSON.md`, and a run in [`RUNS`]. The checker knows
//! the few keywords that the schema uses and refuses every other, so that nothing in it is taken for
//! checked that is not; a library for all of JSON Schema would bring more crates than the program
//! has. On purpose not here: what the values should be.

use super::tree::put;
use super::world::{NOBODY, Word, World, is_root};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;

fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA
        .get_or_init(|| serde_json::from_str(include_str!("../../../crates/cli/schema/lines.json")).unwrap())
}

/// The kinds of lines: each with the name of its definition.
fn kinds() -> impl Iterator<Item = (&'static str, &'static Value)> {
    schema()["oneOf"].as_array().unwrap().iter().map(|one| {
        let name = one["$ref"].as_str().unwrap().strip_prefix("#/$defs/").unwrap();
        (name, &schema()["$defs"][name])
    })
}

fn type_of(kind: &Value) -> &str {
    kind["properties"]["message_type"]["const"].as_str().unwrap()
}

/// Holds a line against the schema: it has to be exactly one of the kinds.
#[track_caller]
pub(crate) fn assert_conforms(line: &Value) {
    let kind = line["message_type"].as_str().unwrap_or_else(|| panic!("no message_type: {line}"));
    let tried: Vec<_> = kinds()
        .filter(|(_, schema)| type_of(schema) == kind)
        .map(|(name, schema)| (name, mistakes(line, schema)))
        .collect();
    assert!(!tried.is_empty(), "schema/lines.json has no message_type {kind}: {line}");
    let fitting = tried.iter().filter(|(_, mistakes)| mistakes.is_empty()).count();
    assert_eq!(fitting, 1, "a line is not what schema/lines.json says: {line}\n{tried:#?}");
}

/// Holds all lines of a text that are ours against the schema.
#[track_caller]
pub(crate) fn assert_all_conform(text: &str) {
    for line in text.lines().filter(|line| line.starts_with("{\"message_type\"")) {
        assert_conforms(&serde_json::from_str(line).unwrap());
    }
}

/// What is wrong with a value, each with its place.
fn mistakes(value: &Value, schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    hold(value, schema, "", &mut found);
    found
}

fn hold(value: &Value, schema: &Value, place: &str, found: &mut Vec<String>) {
    for (keyword, wanted) in schema.as_object().unwrap() {
        let right = match keyword.as_str() {
            "description" => true,
            "$ref" => {
                let name = wanted.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                hold(value, &self::schema()["$defs"][name], place, found);
                true
            }
            "type" => is_of_type(value, wanted),
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().unwrap()),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= wanted.as_u64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= wanted.as_u64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| matches(text, wanted.as_str().unwrap())),
            "format" => value.as_str().is_none_or(is_time) && wanted == "date-time",
            "contentEncoding" => value.as_str().is_none_or(is_base64) && wanted == "base64",
            "items" => {
                for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                    hold(item, wanted, &format!("{place}/{at}"), found);
                }
                true
            }
            "required" => wanted.as_array().unwrap().iter().all(|name| {
                value.as_object().is_none_or(|object| object.contains_key(name.as_str().unwrap()))
            }),
            "properties" => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    match wanted.get(name) {
                        Some(schema) => hold(field, schema, &format!("{place}/{name}"), found),
                        None => found.push(format!("{place}/{name} is not in the schema")),
                    }
                }
                true
            }
            _ => panic!("the test does not know the keyword {keyword}"),
        };
        if !right {
            found.push(format!("{place}: {keyword} {wanted}"));
        }
    }
}

fn is_of_type(value: &Value, wanted: &Value) -> bool {
    if let Some(several) = wanted.as_array() {
        return several.iter().any(|wanted| is_of_type(value, wanted));
    }
    match wanted.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        other => panic!("no type {other}"),
    }
}

/// Patterns are a set of digits and how many of them.
fn matches(text: &str, pattern: &str) -> bool {
    let parts = pattern.strip_prefix("^[").and_then(|rest| rest.strip_suffix("}$")).unwrap();
    let (set, length) = parts.split_once("]{").unwrap();
    let digits = match set {
        "0-9a-f" => "0123456789abcdef",
        "0-9A-F" => "0123456789ABCDEF",
        "0-7" => "01234567",
        other => panic!("no set {other}"),
    };
    text.len() == length.parse::<usize>().unwrap() && text.chars().all(|digit| digits.contains(digit))
}

fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let rest = shape.strip_prefix("0000-00-00T00:00:00");
    rest.and_then(|rest| rest.strip_suffix('Z')).is_some_and(|fraction| {
        fraction.is_empty()
            || fraction.strip_prefix('.').is_some_and(|digits| digits.chars().all(|c| c == '0'))
    })
}

fn is_base64(text: &str) -> bool {
    text.len().is_multiple_of(4)
        && text.trim_end_matches('=').chars().all(|c| c.is_ascii_alphanumeric() || "+/".contains(c))
}

/// Runs of every verb, in this order, in one world: words and exit code. `SOURCE` and `TARGET`
/// stand for paths, `OTHER` for another repository, `POLICY`, `SHOP` and `NIGHT` for policies, `KEY` for the key that is not in use, `GONE` for the snapshot that was forgotten.
const RUNS: &[(&[&str], i32)] = &[
    (&["version"], 0),
    (&["unlock"], 0),
    (&["mount", "/mnt"], 2),
    (&["completions", "fish"], 0),
    (&["status"], 3),
    (&["status", "--no-such-option"], 3),
    (&["silence", "--list"], 0),
    (&["silence", "nothing", "--for", "1h", "--reason", "x"], 2),
    (&["notify", "test", "POLICY"], 2),
    (&["preflight"], 0),
    (&["preflight", "s3://bucket/x", "--print-policy", "writer"], 0),
    (&["preflight", "/", "--print-policy", "writer"], 2),
    (&["man"], 0),
    (&["policy", "check", "POLICY"], 0),
    (&["policy", "check", "SOURCE/pg/PG_VERSION"], 2),
    (&["policy", "plan", "POLICY"], 0),
    (&["policy", "schema"], 0),
    (&["policy", "coverage", "--ignore", "without a reason"], 2),
    (&["backup", "SOURCE"], 3),
    (&["backup", "SOURCE", "--dry-run"], 3),
    (&["snapshots"], 0),
    (&["snapshots", "--group-by", "host"], 0),
    (&["ls", "latest", "--long"], 0),
    (&["ls", "nothing"], 1),
    (&["find", "caf*", "link", "pg"], 0),
    (&["find", "no such name"], 0),
    (&["find", "[z-"], 2),
    (&["diff", "latest:SOURCE/CACHE", "latest:SOURCE/pg", "--metadata"], 0),
    (&["diff", "latest:SOURCE", "--live", "--read-data"], 0),
    (&["diff", "latest:SOURCE", "--live", "TARGET"], 0),
    (&["diff", "latest", "latest:SOURCE/nothing"], 1),
    (&["dump", "latest:SOURCE", "--target", "TARGET"], 0),
    (&["dump", "latest:SOURCE", "--target", "TARGET", "--archive", "zip"], 0),
    (&["dump", "latest:SOURCE/pg/PG_VERSION", "--target", "TARGET"], 0),
    (&["dump", "latest:SOURCE/nothing"], 1),
    (&["stats"], 0),
    (&["stats", "latest", "--mode", "restore-size"], 0),
    (&["stats", "nothing"], 1),
    (&["restore", "latest:SOURCE", "--target", "TARGET", "--verify"], 3),
    (&["restore", "latest:SOURCE", "--target", "TARGET", "--dry-run"], 0),
    (&["restore", "latest:SOURCE", "--target", "TARGET", "--dry-run", "--delete", "--max-delete", "9"], 0),
    (&["check", "--read-data"], 0),
    (&["tag", "latest", "--add", "a,b"], 0),
    (&["tag", "latest", "--add", "a,b"], 0),
    (&["forget", "--keep-last", "1"], 0),
    (&["hold", "--all", "--reason", "why\u{1b}"], 0),
    (&["hold"], 0),
    (&["snapshots"], 0),
    (&["prune"], 1),
    (&["hold", "--release", "--all"], 0),
    (&["forget", "latest"], 0),
    (&["forget", "--undo"], 0),
    (&["forget", "--undo", "GONE"], 0),
    (&["prune", "--dry-run"], 0),
    (&["prune"], 0),
    (&["repair", "index", "--read-packs"], 0),
    (&["repair", "log"], 0),
    (&["repair", "snapshots"], 0),
    (&["recover"], 0),
    (&["copy", "--from", "OTHER", "--dry-run"], 0),
    (&["copy", "--from", "OTHER"], 0),
    (&["copy", "--from", "OTHER"], 0),
    (&["copy", "--from", "TARGET"], 10),
    (&["wal", "push", "LOG/pg_wal/000000010000000000000003"], 0),
    (&["wal", "fetch", "--system", "7", "000000010000000000000003", "TARGET"], 0),
    (&["wal", "fetch", "--system", "7", "000000010000000000000004", "TARGET"], 1),
    (&["wal", "fetch", "--system", "7", "nonsense", "TARGET"], 126),
    (&["wal", "status"], 0),
    (&["wal", "ls"], 0),
    (&["wal", "adopt", "--pgdata", "LOG"], 0),
    (&["wal", "stream", "postgres://me@localhost/shop", "--slot", "kept"], 2),
    (&["wal", "slot", "postgres://me@localhost", "--slot", "Kept"], 2),
    (&["wal", "drop-slot", "postgres://me@localhost", "--slot", "Kept"], 2),
    (&["evidence", "show"], 0),
    (&["evidence", "show", "latest"], 0),
    (&["evidence", "note", "latest", "--action", "looked\u{1b}[2J"], 0),
    (&["evidence", "note", "nothing", "--action", "x"], 1),
    (&["evidence", "verify"], 0),
    (&["evidence", "verify", "--expect", "x"], 2),
    (&["init", "--domain", "hr"], 0),
    (&["domain", "list"], 0),
    (&["domain", "grant"], 0),
    (&["shred", "hr", "--confirm", "hr", "--reason", "over"], 0),
    (&["key", "list"], 0),
    (&["key", "add", "--label", "second\u{1b}[2J"], 0),
    (&["key", "list"], 0),
    (&["key", "remove", "KEY"], 0),
    (&["key", "add", "--role", "writer", "--label", "web1"], 0),
    (&["key", "list"], 0),
    (&["key", "remove", "KEY", "--rotate"], 0),
    (&["key", "rotate"], 0),
    (&["key", "list"], 0),
    (&["key", "passwd", "--kdf-memory", "2", "--label", "changed"], 0),
    (&["run", "SHOP"], 0),
    (&["serve", "NIGHT", "--once"], 0),
    (&["drill", "SHOP"], 0),
    (&["drill", "SHOP", "--due"], 0),
    (&["policy", "plan", "SHOP"], 0),
    (&["no-such-verb"], 2),
];

/// Kinds of lines that no run can be sure to bring about.
const RARE: &[&str] = &[
    "warning",
    "status",
    "finding",
    "damage",
    "lost_file",
    "damaged_snapshot",
    "found_tree",
    "requests",
    "wal_window",
    "wal_streaming",
    "wal_stored",
    "summary_wal_stream",
    "slot",
    "slot_dropped",
    "recovery",
    "wal_commit",
    "source_status",
    "copy_status",
    "slot_status",
    "policy_replay",
    "problem",
    "summary_status",
    "policy_told",
    "policy_unseen",
    "coverage",
    "summary_coverage",
    "evidence_problem",
    "channel_status",
    "silence",
    "silence_ended",
    "notify_tested",
];

/// And those that only runs with buckets write, which have tests of their own.
const OF_BUCKETS: &[&str] = &["bucket_configuration", "archived_pack"];

#[test]
fn every_verb_writes_what_the_schema_says() {
    let world = World::bare();
    let init = world.run(&[&"--json", &"init", &"--kdf-memory", &"1", &"--label", &"first"]).ends(0);
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let source = odd_source(&world);
    let other = other_repository(&world);
    let policy = holdfast_tests::root().join("policies/quickstart.yaml");
    let log = super::log::cluster(&world, "log", 7);
    super::log::segment(&log, 1, 3, 7);
    let of_a_domain = serde_json::json!({
        "version": 1, "domain": "gone", "repository": "7".repeat(32), "member": "8".repeat(32), "label": "kim", "first": 0,
        "next": 1, "head": "9".repeat(64), "problems": 0, "omitted": 0, "unread": null, "accesses": [],
    });
    let drill = super::evidence::drill("a", "shop", "fail");
    let records = [("drill", &*drill), ("x", "y"), ("inherited", &*of_a_domain.to_string())];
    super::evidence::append(&world, &records);
    let (shop, night) = (shop(&world), night(&world));
    let mut note = |text: &str| {
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_conforms(&line);
            let kind = kinds().find(|(_, kind)| {
                type_of(kind) == line["message_type"].as_str().unwrap() && mistakes(&line, kind).is_empty()
            });
            seen.insert(kind.unwrap().0.to_owned());
        }
    };
    note(&init.out);
    let mut password = "correct horse".to_owned();
    for (number, (words, code)) in RUNS.iter().enumerate() {
        let target = world.path(format!("target {number}"));
        if words.contains(&"--dry-run") && words[0] == "restore" {
            put(target.join("taken"), b"x");
        }
        let key = if words.contains(&"KEY") { other_key(&world) } else { String::new() };
        let gone = if words.contains(&"GONE") { gone_snapshot(&world) } else { String::new() };
        let words: Vec<String> = words
            .iter()
            .map(|word| {
                word.replace("SOURCE", source.to_str().unwrap())
                    .replace("POLICY", policy.to_str().unwrap())
                    .replace("TARGET", target.to_str().unwrap())
                    .replace("OTHER", other.to_str().unwrap())
                    .replace("LOG", log.to_str().unwrap())
                    .replace("SHOP", shop.to_str().unwrap())
                    .replace("NIGHT", night.to_str().unwrap())
                    .replace("KEY", &key)
                    .replace("GONE", &gone)
            })
            .collect();
        let mut all: Vec<Word<'_>> = vec![&"--json"];
        all.extend(words.iter().map(|word| word as Word<'_>));
        let new = format!("new {number}");
        let may_not_read_all = ["backup", "restore", "diff"].contains(&&*words[0]);
        let mut command = if may_not_read_all { world.as_nobody() } else { world.command() };
        command.env("HOLDFAST_PASSWORD", &password).env("HOLDFAST_NEW_PASSWORD", &new);
        command.env("HOLDFAST_FROM_PASSWORD", "correct horse");
        let ran = world.run_as(&mut command, &all).ends(*code);
        if words.starts_with(&["key".into(), "passwd".into()]) {
            password = new;
        }
        note(&ran.out);
        note(&ran.err);
    }
    let missing: Vec<_> = kinds()
        .map(|(name, _)| name)
        .filter(|name| !seen.contains(*name) && !RARE.contains(name) && !OF_BUCKETS.contains(name))
        .collect();
    assert!(missing.is_empty(), "no run writes {missing:?}");
}

/// A folder with names that are not UTF-8, something of every kind, and a file that nobody can read.
fn odd_source(world: &World) -> std::path::PathBuf {
    let source = world.path("source");
    put(source.join(OsStr::from_bytes(b"caf\xe9")), b"content");
    put(source.join("CACHE/CACHEDIR.TAG"), b"x");
    put(source.join("pg/PG_VERSION"), b"15\n");
    put(source.join("pg/global/pg_control"), b"control");
    std::os::unix::fs::symlink(OsStr::from_bytes(b"to \xff"), source.join("link")).unwrap();
    put(source.join(OsStr::from_bytes(b"closed \xff")), b"secret");
    let closed = source.join(OsStr::from_bytes(b"closed \xff"));
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let _ = world.as_nobody();
    world.give_to_nobody(&[&world.repo, &world.cache]);
    if is_root() {
        assert_ne!(NOBODY, 0);
        fs::set_permissions(world.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    }
    source
}

/// A policy that needs nothing.
fn shop(world: &World) -> std::path::PathBuf {
    let policy = world.path("shop.yaml");
    put(
        &policy,
        "name: shop\nrepository: { url: shop, password: { file: shop.password }, create: true }\nsources: { tree: { \
         files: { paths: [ 'other tree' ] } } }\ndrill: { cron: '0 4 1 1 *' }\n",
    );
    policy
}

/// One that has a time.
fn night(world: &World) -> std::path::PathBuf {
    let policy = world.path("night.yaml");
    put(
        &policy,
        "name: night\nrepository: { url: night, password: { file: shop.password }, create: true }\nsources: { tree: { \
         files: { paths: [ 'other tree' ] } } }\nschedule: { cron: '@yearly' }\n",
    );
    policy
}

/// A second repository with a snapshot.
fn other_repository(world: &World) -> std::path::PathBuf {
    let (other, tree) = (world.path("other"), world.path("other tree"));
    put(tree.join("file"), b"content");
    world.run(&[&"-r", &other, &"init", &"--kdf-memory", &"1", &"--quiet"]).ends(0);
    world.run(&[&"-r", &other, &"backup", &tree]).ends(0);
    other
}

fn other_key(world: &World) -> String {
    let keys = world.run(&[&"--json", &"key", &"list"]).ends(0).lines();
    let other = keys.iter().find(|key| key["in_use"] == false).unwrap();
    other["id"].as_str().unwrap().to_owned()
}

fn gone_snapshot(world: &World) -> String {
    let gone = world.run(&[&"--json", &"forget", &"--undo"]).ends(0).lines();
    gone[0]["id"].as_str().unwrap().to_owned()
}

const PAGE: &str = include_str!("../../../crates/cli/JSON.md");

/// The first heading below the table of verbs.
const AFTER_THE_VERBS: &str = "## Standard error";

/// What stands in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// What the first columns of tables name, headings aside.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.split('|').next());
    cells.filter(|cell| [" have", " has"].iter().all(|end| !cell.trim_end().ends_with(end))).flat_map(quoted)
}

#[test]
fn the_page_and_the_schema_know_the_same() {
    let words: BTreeSet<&str> = quoted(PAGE).collect();
    for (name, kind) in kinds() {
        assert!(words.contains(type_of(kind)), "JSON.md does not know {name}");
    }
    let mut fields = BTreeSet::new();
    for (name, kind) in schema()["$defs"].as_object().unwrap() {
        for (field, schema) in kind["properties"].as_object().unwrap() {
            fields.insert(&**field);
            assert!(words.contains(&**field), "JSON.md does not know {field} of {name}");
            assert!(schema["description"].is_string(), "{field} of {name} has no description");
            for word in schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                assert!(words.contains(word), "JSON.md does not know {word} of {field}");
            }
        }
    }
    for word in named(PAGE.split_once(AFTER_THE_VERBS).unwrap().1) {
        assert!(fields.contains(word), "the schema does not know {word} of JSON.md");
    }
}

#[test]
fn the_page_knows_every_verb_and_exit_code() {
    let help = World::bare().run(&[&"--help"]).ends(0).out;
    let (_, verbs) = help.split_once("Commands:\n").unwrap();
    let verbs = verbs.lines().take_while(|line| !line.is_empty());
    let verbs = verbs.map(|line| line.strip_prefix("  ").unwrap().split(' ').next().unwrap());
    let mut verbs: BTreeSet<_> = verbs.filter(|verb| !verb.is_empty()).map(str::to_owned).collect();
    assert!(
        ["domain", "evidence", "help", "key", "notify", "policy", "repair", "wal"]
            .iter()
            .all(|verb| verbs.remove(*verb))
    );
    verbs.extend(["list", "add", "remove", "rotate", "passwd"].map(|verb| format!("key {verb}")));
    verbs.extend(["list", "grant"].map(|verb| format!("domain {verb}")));
    verbs.extend(["verify", "show", "note"].map(|verb| format!("evidence {verb}")));
    verbs.extend(["check", "plan", "schema", "coverage"].map(|verb| format!("policy {verb}")));
    verbs.insert("notify test".to_owned());
    verbs.extend(["index", "log", "snapshots"].map(|what| format!("repair {what}")));
    verbs.extend(
        ["push", "fetch", "status", "ls", "adopt", "stream", "slot", "drop-slot"]
            .map(|verb| format!("wal {verb}")),
    );
    let told = named(PAGE.split_once(AFTER_THE_VERBS).unwrap().0);
    assert_eq!(verbs, told.map(str::to_owned).collect());
    let is_run = |verb: &String| RUNS.iter().any(|(words, _)| words.join(" ").starts_with(verb));
    assert_eq!(verbs.iter().find(|verb| !is_run(verb)), None);
    let codes = schema()["$defs"]["exit_error"]["properties"]["code"]["enum"].as_array().unwrap();
    let (_, told) = help.split_once("Exit codes:\n").unwrap();
    let told = told.split("\n\n").next().unwrap().split(';');
    let told: Vec<Value> = told.filter_map(|code| code.trim().split(' ').next()?.parse().ok()).collect();
    assert_eq!(told[0], 0);
    assert_eq!(&told[1..], codes);
}

#[test]
fn what_the_schema_does_not_say_is_noticed() {
    let kind = &schema()["$defs"]["key_removed"];
    let id = "0123456789abcdef0123456789abcdef";
    let line = serde_json::json!({
        "message_type": "key_removed", "id": id, "key_in_use": id, "key_in_use_was": id,
    });
    assert_eq!(mistakes(&line, kind), Vec::<String>::new());
    let with = |change: fn(&mut Value)| {
        let mut line = line.clone();
        change(&mut line);
        mistakes(&line, kind).len()
    };
    assert_eq!(with(|line| line["new"] = 1.into()), 1);
    assert_eq!(with(|line| line["id"] = 1.into()), 1);
    assert_eq!(with(|line| line["id"] = "0123".into()), 1);
    assert_eq!(with(|line| drop(line.as_object_mut().unwrap().remove("id"))), 1);
    assert!(is_time("2026-01-31T02:15:00Z") && is_time("2026-01-31T02:15:00.5Z"));
    assert!(!is_time("2026-01-31") && !is_time("@5") && !is_base64("a") && is_base64("YQ=="));
}
