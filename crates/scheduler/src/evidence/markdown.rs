//! A record as Markdown, for the summary of a step in CI: what was drilled, what was found and what to do now.
//!
//! Never longer than such a summary may be. On purpose not here: each probe that found nothing; the page has them.

use super::words;
use super::{Record, SourceRecord};
use std::fmt::Write;

/// Longest summary that is taken, in bytes.
pub const MARKDOWN_BYTES_MAX: usize = 1 << 20;
/// Longest text in a cell or line, in characters.
const TEXT_CHARS_MAX: usize = 2_000;

/// Renders a record.
#[must_use]
pub fn render(record: &Record) -> String {
    let mut lines = head(record);
    lines.extend(findings(record));
    lines.extend(sources(record));
    lines.extend(objectives(record));
    lines.extend(list(
        "Not provable",
        record
            .not_provable()
            .map(|(source, probe, what)| format!("{}: {}: {}", text(source), text(&probe.name), text(what))),
    ));
    lines.extend(list("Scratch", record.scratch.iter().map(|said| text(said))));
    bounded(&lines, record)
}

fn head(record: &Record) -> Vec<String> {
    let verdict = words::verdict(record.verdict);
    vec![
        format!("## Drill of {}: {}", text(&record.policy), verdict.to_uppercase()),
        String::new(),
        format!("{} Exit code {}.", words::meaning(record.verdict), record.code),
        String::new(),
        format!(
            "Restored from **{}** ({}) with the key {} on host {}, level {}; {} to {}, {}.",
            text(&record.from),
            text(&record.url),
            text(&record.key),
            text(&record.host),
            words::level(record.level),
            words::moment(record.started),
            words::moment(record.ended),
            words::seconds(record.took()),
        ),
        String::new(),
        format!("Record {}, {}.", text(&record.id), text(&record.program)),
    ]
}

fn findings(record: &Record) -> Vec<String> {
    let rows = record.findings().map(|(source, probe, finding)| {
        let next = if finding.next.is_empty() { String::new() } else { text(&finding.next) };
        [text(source), text(&probe.name), words::cause(finding.cause).to_owned(), text(&finding.what), next]
    });
    table("Findings", ["Source", "Looked at", "Cause", "What is wrong", "What to do"], rows.collect())
}

fn sources(record: &Record) -> Vec<String> {
    let rows = record.sources.iter().map(source_row).collect();
    let columns =
        ["Source", "Kind", "Verdict", "Level reached", "Snapshot", "Restored to", "Restored", "Phases"];
    table("Sources", columns, rows)
}

fn source_row(source: &SourceRecord) -> [String; 8] {
    let short = |id: &String| id.chars().take(8).collect::<String>();
    let snapshot = match (&source.snapshot, source.snapshot_time) {
        (Some(id), Some(time)) => format!("{} of {}", text(&short(id)), words::moment(time)),
        (Some(id), None) => text(&short(id)),
        (None, _) => "none".to_owned(),
    };
    let phases = source.phases.iter();
    let phases = phases.map(|phase| format!("{} {}", text(&phase.name), words::seconds(phase.seconds)));
    [
        text(&source.source),
        text(&source.kind),
        words::verdict(source.verdict).to_owned(),
        words::reached(source.reached).to_owned(),
        snapshot,
        text(&source.point),
        words::amount(source.bytes, source.share),
        phases.collect::<Vec<_>>().join(", "),
    ]
}

fn objectives(record: &Record) -> Vec<String> {
    let rows = record.objectives.iter().map(|objective| {
        [
            text(&objective.source),
            text(&objective.name),
            words::seconds(objective.limit),
            words::measured(objective),
            words::kept(objective).to_owned(),
        ]
    });
    table("Objectives", ["Source", "Objective", "Promised", "Measured", "Result"], rows.collect())
}

/// A heading and a table; nothing where there are no rows.
fn table<const N: usize>(heading: &str, columns: [&str; N], rows: Vec<[String; N]>) -> Vec<String> {
    if rows.is_empty() {
        return Vec::new();
    }
    let row = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let mut lines = vec![String::new(), format!("### {heading}"), String::new()];
    lines.push(row(&columns.map(str::to_owned)));
    lines.push(row(&columns.map(|_| "---".to_owned())));
    lines.extend(rows.iter().map(|cells| row(cells)));
    lines
}

/// A heading and a list; nothing where there are no items.
fn list(heading: &str, items: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines = vec![String::new(), format!("### {heading}"), String::new()];
    lines.extend(items.map(|item| format!("- {item}")));
    if lines.len() == 3 { Vec::new() } else { lines }
}

/// A text that stays one, in a cell too: marks of Markdown are escaped, line breaks become blanks.
fn text(text: &str) -> String {
    let shown = words::line(text);
    let mut out = String::with_capacity(shown.len());
    for c in shown.chars().take(TEXT_CHARS_MAX) {
        if "\\`*_{}[]()<>#!|~&@$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    let more = shown.chars().count().saturating_sub(TEXT_CHARS_MAX);
    if more > 0 {
        // Writing to a string cannot fail.
        let _ = write!(out, " … and {more} characters more");
    }
    out
}

/// Leaves out the last lines of what would be too long, and says so.
fn bounded(lines: &[String], record: &Record) -> String {
    let whole = lines.join("\n") + "\n";
    if whole.len() <= MARKDOWN_BYTES_MAX {
        return whole;
    }
    const ROOM_BYTES: usize = 16 << 10;
    let (mut out, mut taken) = (String::new(), 0);
    for line in lines {
        if out.len() + line.len() + 1 > MARKDOWN_BYTES_MAX - ROOM_BYTES {
            break;
        }
        out.push_str(line);
        out.push('\n');
        taken += 1;
    }
    let left = lines.len() - taken;
    let id = text(&record.id);
    let _ = writeln!(out, "\n{left} more lines were left out; all of it: holdfast evidence show {id}");
    out
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markdown() {
        assert_eq!(
            text("a|b\n<img src=x> `c` [d](e) *f*"),
            "a\\|b \\<img src=x\\> \\`c\\` \\[d\\]\\(e\\) \\*f\\*"
        );
        assert!(text(&"x".repeat(3_000)).ends_with(" … and 1000 characters more"));
    }

    #[test]
    fn a_summary_is_never_too_long() {
        let mut record = samples::failed();
        let source = record.sources[0].clone();
        record.sources = (0..40_000).map(|_| source.clone()).collect();
        let rendered = render(&record);
        assert!(rendered.len() <= MARKDOWN_BYTES_MAX && rendered.len() > MARKDOWN_BYTES_MAX / 2);
        assert!(rendered.contains("lines were left out") && rendered.starts_with("## Drill of shop: FAIL"));
    }
}
