//! Three records and what each is rendered to, held against files; and texts that try to be more than text.
//!
//! `HOLDFAST_WRITE_GOLDEN=1` with these tests writes the files anew.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::{Objective, RECORD_VERSION, Record, SourceRecord, Unreadable, html, junit, markdown, read};
use crate::drill::Phase;
use crate::drill::verdict::Verdict;
use holdfast_engine::proof::{Cause, Level, Probe};
use proptest::prelude::*;
use roxmltree::{Document, ParsingOptions};
use std::path::Path;

fn phase(name: &str, seconds: f64, counts: bool) -> Phase {
    Phase { name: name.into(), seconds, counts }
}

fn probe(name: &str, level: Level, seconds: f64, counts: &[(&str, u64)]) -> Probe {
    let counts = counts.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect();
    Probe { seconds, counts, ..Probe::new(name, level) }
}

fn objective(name: &str, source: &str, limit: f64, measured: f64) -> Objective {
    let (name, source) = (name.to_owned(), source.to_owned());
    Objective { name, source, limit, measured, met: measured <= limit, enforced: true, estimated: false }
}

fn tree() -> SourceRecord {
    SourceRecord {
        source: "tree".into(),
        kind: "files".into(),
        snapshot: Some("3f2a91bc000000000000000000000001".into()),
        snapshot_time: Some("2026-11-25T17:15:04Z".parse().unwrap()),
        point: "as the snapshot is".into(),
        reached: Some(Level::Restore),
        share: Some(1.0),
        bytes: 12_897_484,
        phases: vec![phase("restore", 8.25, true), phase("checks", 2.5, false)],
        probes: vec![probe(
            "every byte and attribute",
            Level::Restore,
            2.5,
            &[("files", 1204), ("bytes", 12_897_484)],
        )],
        verdict: Verdict::Pass,
    }
}

fn db() -> SourceRecord {
    let mut checks = probe("checksums", Level::Check, 14.2, &[("relations", 311)]);
    checks.notes.push("run as postgres, no network".into());
    SourceRecord {
        source: "db".into(),
        kind: "postgres".into(),
        snapshot: Some("77c01d2e000000000000000000000002".into()),
        snapshot_time: Some("2026-11-25T17:15:20Z".parse().unwrap()),
        point: "along the log to 2026-11-25 21:04:09 UTC".into(),
        reached: Some(Level::Check),
        share: Some(1.0),
        bytes: 48 << 30,
        phases: vec![
            phase("restore", 1204.0, true),
            phase("fetch log", 61.5, true),
            phase("replay", 240.0, true),
            phase("checks", 905.0, false),
        ],
        probes: vec![probe("start and replay", Level::Boot, 301.5, &[("segments", 212)]), checks],
        verdict: Verdict::Pass,
    }
}

pub(super) fn passed() -> Record {
    Record {
        version: RECORD_VERSION,
        id: "00112233445566778899aabbccddeeff".into(),
        policy: "shop".into(),
        policy_hash: "b3".repeat(32),
        host: "drill-1".into(),
        user: "holdfast".into(),
        program: "holdfast 0.1.0".into(),
        started: "2026-11-26T04:00:12Z".parse().unwrap(),
        ended: "2026-11-26T04:41:02.5Z".parse().unwrap(),
        from: "offsite".into(),
        url: "s3://offsite/shop?endpoint=https://s3.example.org".into(),
        key: "drills".into(),
        level: Level::Check,
        sources: vec![tree(), db()],
        objectives: vec![objective("rto", "db", 3600.0, 1505.5), objective("rpo", "db", 300.0, 11.0)],
        scratch: vec!["/scratch/shop-0011 was readable by holdfast alone, and was removed".into()],
        verdict: Verdict::Pass,
        code: 0,
    }
}

/// Everything that can be wrong, and texts that are to be escaped.
pub(super) fn failed() -> Record {
    let mut record = passed();
    (record.verdict, record.code, record.level) = (Verdict::Fail, 20, Level::Full);
    let tree = &mut record.sources[0];
    tree.verdict = Verdict::Fail;
    tree.share = Some(0.125);
    tree.probes[0].finds(
        Cause::Backup,
        "/srv/shop/<b>\"a\" & 'b'</b>]]>|x: its content is not what was recorded",
        "back up again, then: holdfast check --read-data",
    );
    tree.probes[0].finds(Cause::Environment, "owners could not be set\nrun as root", "");
    let mut sample = Probe::new("sample against the source", Level::Full);
    sample.not_provable.push("no file is unchanged since the backup".into());
    tree.probes.push(sample);
    let db = &mut record.sources[1];
    db.verdict = Verdict::Fail;
    db.probes[1].finds(Cause::Source, "index shop.orders_pkey misses rows", "reindex it in production");
    let mut rows = probe("orders of today", Level::Full, 0.03, &[]);
    rows.finds(Cause::Assertion, "returned 3 rows, not shown; expected 0", "");
    let mut libraries = probe("libraries", Level::Boot, 0.0, &[]);
    libraries.finds(Cause::Environment, "no pg_cron on this host", "install it, or drill elsewhere");
    db.probes.extend([rows, libraries]);
    record.sources.push(SourceRecord {
        source: "media".into(),
        kind: "s3".into(),
        snapshot: None,
        snapshot_time: None,
        point: String::new(),
        reached: None,
        share: None,
        bytes: 0,
        phases: Vec::new(),
        probes: Vec::new(),
        verdict: Verdict::Inconclusive,
    });
    let estimated = Objective { estimated: true, ..objective("rto", "tree", 60.0, 86.0) };
    let lenient = Objective { enforced: false, ..objective("rpo", "tree", 60.0, 86_000.0) };
    record.objectives.extend([estimated, lenient]);
    record
}

pub(super) fn inconclusive() -> Record {
    let mut record = passed();
    (record.verdict, record.code) = (Verdict::Inconclusive, 23);
    record.sources.truncate(1);
    record.objectives.clear();
    let source = &mut record.sources[0];
    (source.verdict, source.reached, source.bytes) = (Verdict::Inconclusive, None, 0);
    source.phases.clear();
    source.probes = vec![Probe::new("restore", Level::Restore)];
    source.probes[0].finds(
        Cause::Environment,
        "no room: 3.00 GiB free, 48.0 GiB needed",
        "make room in /scratch",
    );
    record
}

fn holds(name: &str, rendered: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var_os("HOLDFAST_WRITE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, rendered).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(wanted == rendered, "{name} is rendered otherwise:\n{rendered}");
}

fn parse(text: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).unwrap()
}

#[test]
fn each_record_is_rendered_as_it_was() {
    for (name, record) in [("pass", passed()), ("fail", failed()), ("inconclusive", inconclusive())] {
        holds(&format!("{name}.xml"), &junit::render(&record));
        holds(&format!("{name}.md"), &markdown::render(&record));
        holds(&format!("{name}.html"), &html::render(&record));
    }
}

#[test]
fn a_report_for_ci_is_never_greener_than_the_drill() {
    let counts = |record: &Record| {
        let xml = junit::render(record);
        let document = parse(&xml);
        let suite = document.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
        let stated = |name| suite.attribute(name).unwrap().parse::<usize>().unwrap();
        let tags = |tag| document.descendants().filter(|node| node.has_tag_name(tag)).count();
        for (attribute, tag) in
            [("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")]
        {
            assert_eq!(stated(attribute), tags(tag), "{attribute}");
        }
        (stated("tests"), stated("failures"), stated("errors"), stated("skipped"))
    };
    assert_eq!(counts(&passed()), (6, 0, 0, 0));
    // tree 1, checksums, rows, rto of tree, verdict; libraries, media; sample.
    assert_eq!(counts(&failed()), (12, 5, 2, 1));
    assert_eq!(counts(&inconclusive()), (2, 0, 2, 0));
    // A verdict that the probes do not show, and a code that the verdict does not show.
    let silent = Record { verdict: Verdict::Fail, ..passed() };
    let missed = Record { code: 21, ..passed() };
    assert_eq!((counts(&silent).1, counts(&missed).1), (1, 1));
    let empty =
        Record { sources: Vec::new(), objectives: Vec::new(), verdict: Verdict::Inconclusive, ..passed() };
    assert_eq!(counts(&empty), (1, 0, 1, 0));
}

#[test]
fn the_page_runs_nothing_loads_nothing_and_names_its_style_by_hash() {
    let page = html::render(&failed());
    let document = parse(&page);
    let tags: Vec<_> = document.descendants().map(|node| node.tag_name().name().to_owned()).collect();
    for tag in ["script", "img", "link", "iframe", "object", "form", "a", "b"] {
        assert!(!tags.contains(&tag.to_owned()), "{tag}");
    }
    let attributes = document.descendants().flat_map(|node| node.attributes());
    let mut names = attributes.map(|attribute| attribute.name());
    assert!(names.all(|name| !name.starts_with("on") && !["style", "href", "src"].contains(&name)));
    for tag in ["main", "h1", "title", "caption", "svg"] {
        assert!(tags.contains(&tag.to_owned()), "{tag}");
    }
    // Each table has a caption and headings; each picture a name, or is hidden.
    for node in
        document.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/1999/xhtml", "table")))
    {
        assert!(node.children().any(|child| child.tag_name().name() == "caption"));
        assert!(node.descendants().any(|cell| cell.attribute("scope") == Some("col")));
    }
    for node in document.descendants().filter(|node| node.tag_name().name() == "svg") {
        assert!(node.attribute("aria-label").is_some() || node.attribute("aria-hidden") == Some("true"));
    }
    let style = document.descendants().find(|node| node.tag_name().name() == "style").unwrap();
    let hash = base64(&sha2_of(style.text().unwrap()));
    assert!(page.contains(&format!("style-src 'sha256-{hash}'")), "the style sheet has another hash: {hash}");
}

fn sha2_of(text: &str) -> Vec<u8> {
    use sha2::Digest;
    sha2::Sha256::digest(text.as_bytes()).to_vec()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        let digit = |shift: u32| char::from(DIGITS[(bits >> shift & 63) as usize]);
        let mut four: String = [18, 12, 6, 0].map(digit).iter().collect();
        four.truncate(three.len() + 1);
        format!("{four:=<4}")
    };
    bytes.chunks(3).map(group).collect()
}

#[test]
fn a_record_comes_back_and_a_later_one_is_refused_by_its_version() {
    let text = serde_json::to_string(&failed()).unwrap();
    assert_eq!(read(text.as_bytes()).unwrap(), failed());
    let later = text.replacen("\"version\":1", "\"version\":2,\"new\":[]", 1);
    let refused = read(later.as_bytes()).unwrap_err();
    assert_eq!(refused, Unreadable::Newer(2));
    assert!(refused.to_string().contains("version 2"), "{refused}");
    // Another shape of a later version is refused for its version too, not for its shape.
    assert_eq!(read(b"{\"version\":9,\"id\":7}").unwrap_err(), Unreadable::Newer(9));
    // A field more in a record of this version is passed over.
    let more = text.replacen("\"version\":1", "\"version\":1,\"new\":[]", 1);
    assert_eq!(read(more.as_bytes()).unwrap(), failed());
    for text in ["", "null", "[]", "{}", "{\"version\":-1}", "{\"version\":1}", "{\"version\":1e400}"] {
        assert!(matches!(read(text.as_bytes()), Err(Unreadable::Malformed(_))), "{text}");
    }
    assert!(read("[".repeat(100_000).as_bytes()).is_err());
}

/// Texts with everything that ends, opens or steers something.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        any::<char>().prop_map(String::from),
        prop::sample::select(vec![
            "]]>",
            "</",
            "<script>",
            "<!--",
            "-->",
            "&",
            "&#0;",
            "\"",
            "'",
            "\n",
            "|",
            "`",
            "\u{0}",
            "\u{b}",
            "\u{fffe}",
            "\u{202e}",
            "<?xml",
            "<![CDATA[",
            "</style>",
            "\r",
        ])
        .prop_map(String::from),
    ];
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

/// The failed record with other texts and figures.
fn with(texts: &[String], figures: &[f64]) -> Record {
    let mut record = failed();
    let mut text = texts.iter().cycle().cloned();
    let mut next = || text.next().unwrap();
    for field in [
        &mut record.id,
        &mut record.policy,
        &mut record.policy_hash,
        &mut record.host,
        &mut record.user,
        &mut record.program,
        &mut record.from,
        &mut record.url,
        &mut record.key,
    ] {
        *field = next();
    }
    let mut number = figures.iter().cycle().copied();
    for source in &mut record.sources {
        (source.source, source.kind, source.point) = (next(), next(), next());
        source.snapshot = Some(next());
        source.share = number.next();
        for phase in &mut source.phases {
            (phase.name, phase.seconds) = (next(), number.next().unwrap());
        }
        for probe in &mut source.probes {
            (probe.name, probe.seconds) = (next(), number.next().unwrap());
            probe.notes.push(next());
            probe.not_provable.push(next());
            probe.counts.insert(next(), 1);
            for finding in &mut probe.findings {
                (finding.what, finding.next) = (next(), next());
            }
        }
    }
    for objective in &mut record.objectives {
        (objective.name, objective.source) = (next(), next());
        (objective.limit, objective.measured) = (number.next().unwrap(), number.next().unwrap());
    }
    record.scratch.push(next());
    record
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_in_a_record_the_documents_hold(
        texts in prop::collection::vec(hostile(), 1..9),
        figures in prop::collection::vec(any::<f64>(), 1..9),
    ) {
        let record = with(&texts, &figures);
        let shape = |text: &str| {
            let document = parse(text);
            let tags = document.descendants().filter(|node| node.is_element());
            tags.map(|node| node.tag_name().name().to_owned()).collect::<Vec<_>>()
        };
        let calm = with(&["x".to_owned()], &figures);
        prop_assert_eq!(shape(&html::render(&record)), shape(&html::render(&calm)));
        prop_assert!(shape(&junit::render(&record)).contains(&"testcase".to_owned()));
        let lines = markdown::render(&record);
        prop_assert_eq!(lines.lines().count(), markdown::render(&calm).lines().count());
        prop_assert!(lines.chars().all(|c| c == '\n' || !c.is_control()));
    }

    #[test]
    fn no_text_is_a_record_by_accident(text in hostile(), version in any::<u64>()) {
        prop_assert!(read(text.as_bytes()).is_err());
        let text = format!("{{\"version\":{version},\"id\":{}}}", serde_json::to_string(&text).unwrap());
        let refused = read(text.as_bytes()).unwrap_err();
        prop_assert_eq!(version > 1, matches!(refused, Unreadable::Newer(_)));
    }
}
