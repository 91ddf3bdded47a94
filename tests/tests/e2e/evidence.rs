//! Evidence with the real program: shown, noted on, rendered; and found out wherever somebody tampered with it.
//!
//! On purpose not here: drills. Records are appended as a drill would append them.

use super::forget::back_up_at;
use super::tree::put;
use super::world::{Word, World, objects};
use holdfast_core::crypto::KemCalls;
use holdfast_core::entry::Time;
use holdfast_core::session::Process;
use holdfast_engine::ctx::{Cancel, Clock, Ctx, Entropy};
use holdfast_engine::event::Silent;
use holdfast_engine::workers::Workers;
use holdfast_engine::{Repository, Secret, evidence};
use holdfast_store::LocalStore;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A clock that goes on by a day whenever somebody looks.
struct Days(AtomicI64);

impl Clock for Days {
    fn now(&self) -> Time {
        Time { seconds: 1_790_000_000 + 86_400 * self.0.fetch_add(1, Ordering::Relaxed), nanos: 0 }
    }
}

struct FromSystem;

impl Entropy for FromSystem {
    fn fill(&self, bytes: &mut [u8]) {
        use std::io::Read;
        fs::File::open("/dev/urandom").unwrap().read_exact(bytes).unwrap();
    }
}

/// Appends records as drills do; their names.
pub(crate) fn append(world: &World, records: &[(&str, &str)]) -> Vec<String> {
    append_as(world, &Secret::Password(b"correct horse".to_vec()), records)
}

/// Appends records as whoever has this key.
fn append_as(world: &World, secret: &Secret, records: &[(&str, &str)]) -> Vec<String> {
    let ctx = Ctx {
        clock: Arc::new(Days(0.into())),
        entropy: Arc::new(FromSystem),
        kem: KemCalls::system(),
        workers: Workers::inline(),
        monitor: Arc::new(Silent),
        cancel: Cancel::default(),
        process: Process { machine: [1; 16], boot: [2; 16], number: 1, start: 0 },
        is_alive: |_| true,
        cache: None,
        clock_accepted: false,
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let store = Arc::new(LocalStore::open(&world.repo).await.unwrap());
        let repository = Repository::open(&ctx, store, secret).await.unwrap();
        let mut names = Vec::new();
        for (kind, text) in records {
            names.push(evidence::append(&ctx, &repository, kind, text.as_bytes()).await.unwrap());
        }
        names
    })
}

/// The record of a drill.
pub(crate) fn drill(id: &str, policy: &str, verdict: &str) -> String {
    let code = match verdict {
        "pass" => 0,
        "fail" => 20,
        _ => 23,
    };
    let finding = json!({ "cause": "backup", "what": "x<y>&]]>\u{1b}[2J", "next": "back up again" });
    let findings = if verdict == "fail" { json!([finding]) } else { json!([]) };
    let probe = json!({
        "name": "every byte", "level": "restore", "seconds": 1.5, "counts": { "files": 3 }, "findings": findings,
    });
    json!({
        "version": 1, "id": id, "policy": policy, "policy_hash": "b3", "host": "drill-1", "user": "root",
        "program": "holdfast 0.1.0", "started": "2026-11-26T04:00:00Z", "ended": "2026-11-26T04:12:04Z",
        "from": "offsite", "url": "/mnt/offsite", "key": "drills", "level": "restore",
        "sources": [{
            "source": "tree", "kind": "files", "snapshot": "ab".repeat(16), "snapshot_time": "2026-11-25T17:00:00Z",
            "point": "as the snapshot is", "reached": "restore", "share": 1.0, "bytes": 4096,
            "phases": [{ "name": "restore", "seconds": 8.0, "counts": true }],
            "probes": [probe], "verdict": verdict,
        }],
        "objectives": [{
            "name": "rto", "source": "tree", "limit": 60.0, "measured": 8.0, "met": true, "enforced": true,
            "estimated": false,
        }],
        "scratch": ["removed"], "verdict": verdict, "code": code,
    })
    .to_string()
}

const FIRST: &str = "aa000000000000000000000000000001";
const SECOND: &str = "bb000000000000000000000000000002";

/// A drill that failed, one that passed, and one that was due and did not run.
fn with_drills() -> (World, Vec<String>) {
    let world = World::new();
    let missed = json!({ "policy": "shop", "why": "the host was off" }).to_string();
    let names = append(
        &world,
        &[
            ("drill", &drill(FIRST, "shop", "fail")),
            ("drill", &drill(SECOND, "mail", "pass")),
            ("missed", &missed),
        ],
    );
    (world, names)
}

fn verify(world: &World, words: &[&str], code: i32) -> (Vec<Value>, Value) {
    let mut all: Vec<Word<'_>> = vec![&"evidence", &"verify", &"--json"];
    all.extend(words.iter().map(|word| word as Word<'_>));
    let mut lines = world.run(&all).ends(code).lines();
    let summary = lines.pop().unwrap();
    (lines, summary)
}

#[test]
fn who_cannot_open_a_snapshot_proves_nothing_of_it_and_takes_no_proof_back() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("file"), b"content");
    let ids =
        ["2026-11-24 10:00:00", "2026-11-25 10:00:00"].map(|time| back_up_at(&world, &source, time, &[]));
    let record = |id: &str, of_source: &str, verdict: Option<&str>| {
        let source = json!({ "source": "tree", "snapshot": id, "verdict": of_source, "reached": "full" });
        let mut text = json!({ "version": 1, "id": FIRST, "policy": "shop", "sources": [source] });
        if let Some(verdict) = verdict {
            text["verdict"] = verdict.into();
        }
        text.to_string()
    };
    append(&world, &[("drill", &record(&ids[0], "pass", Some("pass")))]);
    let proven = |world: &World| -> Vec<String> {
        let lines = world.run(&[&"snapshots", &"--json"]).ends(0).lines();
        let of = |line: &Value| {
            let proof = &line["proof"];
            let what = [proof["verdict"].as_str()?, proof["level"].as_str()?, line["id"].as_str()?];
            Some(what.join(" "))
        };
        lines.iter().filter_map(of).collect()
    };
    let expected = [format!("pass full {}", ids[0])];
    assert_eq!(proven(&world), expected);
    for role in ["writer", "maintainer"] {
        let key = world.path(role);
        put(&key, role.repeat(20).as_bytes());
        world.run(&[&"key", &"add", &"--role", &role, &"--new-key-file", &key]).ends(0);
        for verdict in [Some("pass"), Some("fail"), Some("inconclusive"), None] {
            let secret = Secret::KeyFile(role.repeat(20).into_bytes());
            let lies = [record(&ids[1], "pass", verdict), record(&ids[0], "fail", verdict)];
            append_as(&world, &secret, &lies.each_ref().map(|text| ("drill", text.as_str())));
            assert_eq!(proven(&world), expected, "{role}, {verdict:?}");
        }
    }
    // The guard of what is proven stands on the one that is.
    world.run(&[&"forget", &ids[0]]).ends(2).says(&["proven"]);
}

#[test]
fn records_are_listed_shown_and_noted_on() {
    let (world, names) = with_drills();
    let ran = world.run(&[&"evidence", &"show"]).ends(0);
    for word in ["shop", "fail", "mail", "pass", "12 min 4 s", "offsite", &FIRST[..8], &names[2], "missed"] {
        assert!(ran.out.contains(word), "{word}: {}", ran.out);
    }
    let ran = world.run(&[&"evidence", &"show", &"--policy", &"shop", &"latest"]).ends(0);
    for word in
        ["FAIL: drill of shop, exit code 20", "WRONG  backup: x<y>&]]>\\u{1b}[2J", "back up again", "held"]
    {
        assert!(ran.out.contains(word), "{word}: {}", ran.out);
    }
    let noted = world
        .run(&[
            &"--json",
            &"evidence",
            &"note",
            &&FIRST[..6],
            &"--action",
            &"new disk\nin db1",
            &"--by",
            &"kim",
        ])
        .ends(0)
        .lines()
        .remove(0);
    assert_eq!((noted["of"].as_str(), &noted["message_type"]), (Some(&*names[0]), &"evidence_noted".into()));
    world.run(&[&"evidence", &"note", &names[2], &"--action", &"switched it on"]).ends(0);
    let ran = world.run(&[&"evidence", &"show", &FIRST]).ends(0);
    assert!(ran.out.contains("by kim: new disk in db1"), "{}", ran.out);
    // For programs: the record as it was stored, and its note.
    let lines = world.run(&[&"evidence", &"show", &FIRST, &"--json"]).ends(0).lines();
    assert_eq!((lines.len(), &lines[1]["record"]["action"]), (2, &"new disk\nin db1".into()));
    assert_eq!(lines[0]["record"], serde_json::from_str::<Value>(&drill(FIRST, "shop", "fail")).unwrap());
    // All of a quarter; the notes were written just now.
    let number = |words: &[Word<'_>]| {
        let all = [&[&"evidence" as Word<'_>, &"show", &"--json"], words].concat();
        world.run(&all).ends(0).lines().len()
    };
    assert_eq!((number(&[]), number(&[&"--policy", &"mail"]), number(&[&"--policy", &"shop"])), (5, 1, 4));
    assert_eq!(number(&[&"--since", &"2026-09-22T20:00:00Z", &"--policy", &"mail"]), 0);
    assert_eq!(number(&[&"--since", &"2026-09-22", &"--policy", &"mail"]), 1);
    let (chains, summary) = verify(&world, &[], 0);
    assert_eq!((chains.len(), &summary["records"], &summary["problems"]), (1, &5.into(), &0.into()));
    world.check();
}

/// What a page must be for a parser that is not ours: each element is closed in its turn, and nothing comes from
/// elsewhere or runs.
const LOOK_AT_PAGE: &str = r#"
import sys
from html.parser import HTMLParser

VOID = {'meta', 'br', 'hr', 'img', 'input', 'col', 'wbr'}
LEADS = {'src', 'href', 'srcset', 'action', 'formaction', 'data', 'poster', 'background', 'xlink:href', 'cite', 'ping'}
NEVER = {'script', 'iframe', 'object', 'embed', 'base', 'link', 'form', 'img', 'audio', 'video'}

class Page(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.seen, self.wrong, self.declared = [], {}, [], []

    def look(self, tag, attributes):
        self.seen[tag] = self.seen.get(tag, 0) + 1
        names = [name for name, _ in attributes]
        if tag in NEVER or len(names) != len(set(names)):
            self.wrong.append((tag, names))
        for name, value in attributes:
            leads = name in LEADS and not (value or '').startswith('#')
            if leads or name.startswith('on') or 'url(' in (value or '') and name == 'style':
                self.wrong.append((tag, name, value))

    def handle_starttag(self, tag, attributes):
        self.look(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.look(tag, attributes)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(('closed out of turn', tag, self.getpos()))

    def handle_data(self, data):
        if self.open and self.open[-1] == 'style' and ('url(' in data or '@import' in data):
            self.wrong.append(('style', data))

    def handle_decl(self, decl):
        self.declared.append(decl.lower())

page = Page()
page.feed(open(sys.argv[1], encoding='utf-8').read())
page.close()
once = {tag: page.seen.get(tag) for tag in ('html', 'head', 'body', 'h1', 'main')}
assert page.declared == ['doctype html'], page.declared
assert not page.open and not page.wrong, (page.open, page.wrong)
assert all(count == 1 for count in once.values()), once
print(sum(page.seen.values()))
"#;

/// Holds a page of evidence against that.
#[track_caller]
pub(crate) fn assert_page(path: &std::path::Path) {
    let output = std::process::Command::new("python3").args(["-c", LOOK_AT_PAGE]).arg(path).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.parse::<usize>().unwrap() > 40, "{told}");
}

#[test]
fn reports_are_written_for_ci_and_for_people() {
    let (world, names) = with_drills();
    let (xml, html, markdown) = (world.path("d.xml"), world.path("d.html"), world.path("d.md"));
    let ran = world
        .run(&[
            &"evidence",
            &"show",
            &FIRST,
            &"--junit",
            &xml,
            &"--html",
            &html,
            &"--markdown",
            &markdown,
            &"--quiet",
        ])
        .ends(0);
    assert_eq!(ran.out, "");
    assert_page(&html);
    let read = |path| fs::read_to_string(path).unwrap();
    let (xml, html, markdown) = (read(&xml), read(&html), read(&markdown));
    assert!(
        xml.starts_with("<?xml") && xml.contains("<failure type=\"backup\"") && !xml.contains("x<y>"),
        "{xml}"
    );
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("Content-Security-Policy"));
    assert!(!html.contains("<script") && !html.contains("x<y>"));
    assert!(
        markdown.starts_with("## Drill of shop: FAIL") && markdown.contains("back up again"),
        "{markdown}"
    );
    let target = world.path("x.xml");
    world.run(&[&"evidence", &"show", &names[2], &"--junit", &target]).ends(2).says(&["missed"]);
    world.run(&[&"evidence", &"show", &"--junit", &target]).ends(2);
    let nowhere = world.path("no/where.xml");
    world.run(&[&"evidence", &"show", &FIRST, &"--junit", &nowhere]).ends(1).says(&["where.xml"]);
    assert!(!target.exists());
}

#[test]
fn what_is_not_meant_clearly_is_refused() {
    let (world, _) = with_drills();
    let empty = World::new();
    empty.run(&[&"evidence", &"show"]).ends(0).says(&["no evidence"]);
    empty.run(&[&"evidence", &"verify"]).ends(0);
    empty.run(&[&"evidence", &"show", &"latest"]).ends(1).says(&["no record of a drill"]);
    empty.run(&[&"evidence", &"note", &"latest", &"--action", &"x"]).ends(1);
    world.run(&[&"evidence", &"show", &"cc"]).ends(1).says(&["cc"]);
    world.run(&[&"evidence", &"note", &FIRST, &"--action", &" "]).ends(2).says(&["--action"]);
    world.run(&[&"evidence", &"show", &"--since", &"soon"]).ends(2).says(&["soon"]);
    for wrong in ["", "x", "a:b:c", "00:0:00"] {
        world.run(&[&"evidence", &"verify", &"--expect", &wrong]).ends(2).says(&["MEMBER:NUMBER:HASH"]);
    }
    // A record of a later version is in the list, and refused by its version when it is to be read.
    let later = drill("cc", "shop", "pass").replacen("\"version\":1", "\"version\":2", 1);
    assert!(later.contains("\"version\":2"), "{later}");
    append(&world, &[("drill", &later)]);
    assert!(world.run(&[&"evidence", &"show"]).ends(0).out.contains("cc"));
    world.run(&[&"evidence", &"show", &"cc"]).ends(1).says(&["version 2", "newer version of holdfast"]);
    let (_, summary) = verify(&world, &[], 0);
    assert_eq!(summary["records"], 4);
}

#[test]
fn whoever_tampers_with_evidence_is_found_out() {
    let (world, names) = with_drills();
    let file = |name: &str| world.repo.join(name);
    let bodies: Vec<_> = names.iter().map(|name| fs::read(file(name)).unwrap()).collect();
    let (lines, _) = verify(&world, &[], 0);
    let head = lines[0]["head"].as_str().unwrap().to_owned();
    assert_eq!(verify(&world, &["--expect", &head], 0).1["as_noted"], 1);
    let put = |name: &str, bytes: &[u8]| {
        let _ = fs::remove_file(file(name));
        fs::write(file(name), bytes).unwrap();
    };
    let heal = || names.iter().zip(&bodies).for_each(|(name, bytes)| put(name, bytes));
    let found = |problem: &str, name: &str, words: &[&str]| {
        let (lines, summary) = verify(&world, words, 1);
        assert_eq!((&lines[0]["name"], &lines[0]["problem"]), (&name.into(), &problem.into()), "{lines:?}");
        assert_eq!(summary["problems"], 1, "{lines:?}");
        let mut all: Vec<Word<'_>> = vec![&"evidence", &"verify"];
        all.extend(words.iter().map(|word| word as Word<'_>));
        let ran = world.run(&all).ends(1);
        assert!(ran.out.contains(name), "{}", ran.out);
        if words.is_empty() {
            let ran = world.run(&[&"check", &"--json"]).ends(1);
            assert!(ran.lines().iter().any(|finding| finding["subject"] == name), "{ran:?}");
            world.run(&[&"evidence", &"show"]).ends(0).says(&["evidence verify"]);
        }
        heal();
    };
    fs::remove_file(file(&names[1])).unwrap();
    found("missing", &names[1], &[]);
    let mut flipped = bodies[0].clone();
    flipped[150] ^= 1;
    put(&names[0], &flipped);
    found("changed", &names[0], &[]);
    put(&names[2], &bodies[2][..100]);
    found("changed", &names[2], &[]);
    put(&names[2], &bodies[0]);
    found("another", &names[2], &[]);
    // The end of the chain: nobody sees that but who noted the head.
    fs::remove_file(file(&names[2])).unwrap();
    verify(&world, &[], 0);
    found("not_as_noted", &names[2], &["--expect", &head]);
    verify(&world, &["--expect", &head], 0);
}

#[test]
fn evidence_stays_where_it_is_whatever_goes() {
    let (world, names) = with_drills();
    let source = world.path("source");
    put(source.join("file"), b"content");
    let first = world.backup(&source)["snapshot_id"].as_str().unwrap().to_owned();
    world.backup(&source);
    world.run(&[&"forget", &first]).ends(0);
    for _ in 0..3 {
        world.run(&[&"prune", &"--min-age", &"0", &"--abort-after", &"0"]).ends(0);
    }
    world.run(&[&"repair", &"index", &"--read-packs"]).ends(0);
    let kept: Vec<_> =
        objects(&world.repo).into_iter().filter(|name| name.starts_with("evidence/")).collect();
    assert_eq!(kept, names);
    verify(&world, &[], 0);
    // A copy has none of it: it says what was seen here, under a key of this repository.
    let copy = World::new();
    copy.run_as(
        copy.command().env("HOLDFAST_FROM_PASSWORD", "correct horse"),
        &[&"copy", &"--from", &world.repo],
    )
    .ends(0);
    assert!(objects(&copy.repo).iter().all(|name| !name.starts_with("evidence/")));
}
