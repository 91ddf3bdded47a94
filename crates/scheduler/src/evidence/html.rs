//! A record as one page of HTML that needs nothing else: no script, no font, no picture from elsewhere.
//!
//! It is XML too, so that a parser of XML sees a mistake. Its rule of content lets nothing run and loads nothing;
//! the one style sheet is named by its hash. On purpose not here: anything that is not in the record.

use super::markup::Markup;
use super::words;
use super::{Record, SourceRecord};
use crate::drill::Phase;
use crate::drill::verdict::Verdict;
use holdfast_engine::proof::Probe;

/// The style sheet; its hash stands in [`HEAD`].
const STYLE: &str = include_str!("style.css");

/// How wide a timeline is, in units of its own.
const TIMELINE_WIDTH: f64 = 1000.0;
/// No phase is drawn narrower.
const PHASE_WIDTH_MIN: f64 = 2.0;
/// So many phases have a colour of their own.
const COLOURS: [&str; 6] = ["p0", "p1", "p2", "p3", "p4", "p5"];

const HEAD: &str = "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n\
    <meta charset=\"utf-8\"/>\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
    style-src 'sha256-GrWPFirIjXaEv7g01YEGUs/9CmuctzhQtULc96JXUdo='; base-uri 'none'; form-action 'none'\"/>\n\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
    <meta name=\"robots\" content=\"noindex\"/>\n<meta name=\"referrer\" content=\"no-referrer\"/>\n";

/// Renders a record.
#[must_use]
pub fn render(record: &Record) -> String {
    let mut page = Markup::default();
    page.raw(HEAD)
        .element("title", &format!("Drill of {}: {}", record.policy, words::verdict(record.verdict)));
    page.raw("\n<style>").raw(STYLE).raw("</style>\n</head>\n<body>\n<header>\n");
    heading(&mut page, record);
    page.raw("</header>\n<main>\n");
    findings(&mut page, record);
    sources(&mut page, record);
    objectives(&mut page, record);
    timelines(&mut page, record);
    probes(&mut page, record);
    list(&mut page, "Scratch", &record.scratch);
    page.raw("</main>\n</body>\n</html>\n");
    page.into_string()
}

fn heading(page: &mut Markup, record: &Record) {
    page.raw("<h1>Drill of ").text(&record.policy).raw(": ");
    verdict(page, record.verdict);
    page.raw("</h1>\n").element("p", words::meaning(record.verdict)).raw("\n<dl>\n");
    let took = format!(
        "{} to {}, {}",
        words::moment(record.started),
        words::moment(record.ended),
        words::seconds(record.took())
    );
    let code = record.code.to_string();
    for (name, value) in [
        ("When", took.as_str()),
        ("Restored from", &record.from),
        ("Repository", &record.url),
        ("Key", &record.key),
        ("Level", words::level(record.level)),
        ("Host", &record.host),
        ("User", &record.user),
        ("Program", &record.program),
        ("Exit code", &code),
        ("Policy file (BLAKE3)", &record.policy_hash),
        ("Record", &record.id),
    ] {
        page.element("dt", name).element("dd", value).raw("\n");
    }
    page.raw("</dl>\n");
}

fn verdict(page: &mut Markup, verdict: Verdict) {
    let word = words::verdict(verdict);
    page.raw("<span class=\"verdict ").raw(word).raw("\">").raw(word).raw("</span>");
}

/// A cell of a table.
enum Cell {
    Text(String),
    Number(String),
    Verdict(Verdict),
}

fn cell(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}

/// A heading, and a table that can be scrolled where it is too wide.
fn table(page: &mut Markup, caption: &str, columns: &[&'static str], rows: Vec<Vec<Cell>>) {
    page.raw("<div class=\"wide\" role=\"region\" tabindex=\"0\"").attribute("aria-label", caption).raw(">");
    page.raw("<table>\n").element("caption", caption).raw("\n<thead><tr>");
    for (at, &column) in columns.iter().enumerate() {
        let is_number = rows.first().is_some_and(|row| matches!(row.get(at), Some(Cell::Number(_))));
        page.raw(if is_number { "<th scope=\"col\" class=\"number\">" } else { "<th scope=\"col\">" });
        page.raw(column).raw("</th>");
    }
    page.raw("</tr></thead>\n<tbody>\n");
    for row in rows {
        page.raw("<tr>");
        for (at, value) in row.into_iter().enumerate() {
            match value {
                Cell::Text(text) if at == 0 => {
                    page.raw("<th scope=\"row\">").text(&text).raw("</th>");
                }
                Cell::Text(text) => {
                    page.element("td", &text);
                }
                Cell::Number(text) => {
                    page.raw("<td class=\"number\">").text(&text).raw("</td>");
                }
                Cell::Verdict(value) => {
                    page.raw("<td>");
                    verdict(page, value);
                    page.raw("</td>");
                }
            }
        }
        page.raw("</tr>\n");
    }
    page.raw("</tbody></table></div>\n");
}

fn findings(page: &mut Markup, record: &Record) {
    page.raw("<h2>Findings</h2>\n");
    let rows: Vec<_> = record
        .findings()
        .map(|(source, probe, finding)| {
            let texts = [source, &probe.name, words::cause(finding.cause), &finding.what, &finding.next];
            texts.map(cell).into()
        })
        .collect();
    if rows.is_empty() {
        page.raw("<p>Nothing was found to be wrong.</p>\n");
    } else {
        let columns = ["Source", "Looked at", "Cause", "What is wrong", "What to do"];
        table(page, "What is wrong, whose fault it is, and what to do now", &columns, rows);
    }
    let rest: Vec<_> = record
        .not_provable()
        .map(|(source, probe, what)| vec![cell(source), cell(&probe.name), cell(what)])
        .collect();
    if !rest.is_empty() {
        let caption = "What could not be proved here; no failure, and no proof either";
        table(page, caption, &["Source", "Looked at", "Not provable"], rest);
    }
}

fn sources(page: &mut Markup, record: &Record) {
    page.raw("<h2>Sources</h2>\n");
    let rows = record.sources.iter().map(|source| {
        let snapshot = source.snapshot.clone().unwrap_or_else(|| "none".into());
        vec![
            cell(&source.source),
            cell(&source.kind),
            Cell::Verdict(source.verdict),
            cell(words::reached(source.reached)),
            cell(snapshot),
            cell(source.snapshot_time.map(words::moment).unwrap_or_default()),
            cell(&source.point),
            Cell::Number(words::amount(source.bytes, source.share)),
        ]
    });
    let columns =
        ["Source", "Kind", "Verdict", "Level reached", "Snapshot", "Made", "Restored to", "Restored"];
    table(page, "What was restored, and what follows", &columns, rows.collect());
}

fn objectives(page: &mut Markup, record: &Record) {
    if record.objectives.is_empty() {
        return;
    }
    page.raw("<h2>Objectives</h2>\n");
    let rows = record.objectives.iter().map(|objective| {
        vec![
            cell(&objective.source),
            cell(&objective.name),
            Cell::Number(words::seconds(objective.limit)),
            Cell::Number(words::measured(objective)),
            cell(words::kept(objective)),
        ]
    });
    let columns = ["Source", "Objective", "Promised", "Measured", "Result"];
    table(page, "What was promised, and what was measured", &columns, rows.collect());
}

fn length(phases: &[Phase]) -> f64 {
    phases.iter().map(|phase| words::sane(phase.seconds)).sum()
}

fn timelines(page: &mut Markup, record: &Record) {
    let longest = record.sources.iter().map(|source| length(&source.phases)).fold(0.0, f64::max);
    if longest <= 0.0 {
        return;
    }
    page.raw(
        "<h2>Timeline</h2>\n<p class=\"soft\">All on one scale: the longest takes the whole width. Paler: ",
    );
    page.raw("not a part of the time to have it back.</p>\n");
    for source in record.sources.iter().filter(|source| length(&source.phases) > 0.0) {
        page.element("h3", &source.source).raw("\n");
        timeline(page, source, longest);
        phases(page, source);
    }
}

fn timeline(page: &mut Markup, source: &SourceRecord, longest: f64) {
    let total = words::seconds(length(&source.phases));
    let label = format!("Phases of {}, {total} in all; the table below has the figures", source.source);
    page.raw("<svg role=\"img\" viewBox=\"0 0 1000 28\" preserveAspectRatio=\"none\"");
    page.attribute("aria-label", &label).raw(">");
    let mut at = 0.0;
    for (number, phase) in source.phases.iter().enumerate() {
        let seconds = words::sane(phase.seconds);
        let share = seconds / longest * TIMELINE_WIDTH;
        let width = if seconds > 0.0 { share.max(PHASE_WIDTH_MIN).min(TIMELINE_WIDTH - at) } else { 0.0 };
        if width <= 0.0 {
            continue;
        }
        page.raw("<rect y=\"0\" height=\"28\"");
        page.attribute("x", &words::plain(at)).attribute("width", &words::plain(width));
        page.attribute("class", &class(number, phase)).raw("><title>");
        page.text(&format!("{}: {}", phase.name, words::seconds(seconds))).raw("</title></rect>");
        at += width;
    }
    page.raw("</svg>\n");
}

fn class(number: usize, phase: &Phase) -> String {
    let colour = COLOURS[number % COLOURS.len()];
    if phase.counts { colour.to_owned() } else { format!("{colour} aside") }
}

fn phases(page: &mut Markup, source: &SourceRecord) {
    page.raw("<table>\n<caption>What took how long</caption>\n<thead><tr><th scope=\"col\">Phase</th>");
    page.raw(
        "<th scope=\"col\" class=\"number\">Took</th><th scope=\"col\">Part of the time to have it back",
    );
    page.raw("</th></tr></thead>\n<tbody>\n");
    for (number, phase) in source.phases.iter().enumerate() {
        page.raw("<tr><th scope=\"row\"><svg class=\"key\" viewBox=\"0 0 10 10\" aria-hidden=\"true\"><rect width=\"10\"");
        page.raw(" height=\"10\"").attribute("class", &class(number, phase)).raw("/></svg> ");
        page.text(&phase.name).raw("</th><td class=\"number\">").text(&words::seconds(phase.seconds));
        page.raw("</td>").element("td", if phase.counts { "yes" } else { "no" }).raw("</tr>\n");
    }
    page.raw("</tbody></table>\n");
}

fn probes(page: &mut Markup, record: &Record) {
    page.raw("<h2>What was looked at</h2>\n");
    for source in &record.sources {
        page.element("h3", &source.source).raw("\n");
        if source.probes.is_empty() {
            page.raw("<p>Nothing.</p>\n");
            continue;
        }
        let rows = source.probes.iter().map(|probe| {
            vec![
                cell(&probe.name),
                cell(words::level(probe.level)),
                cell(result(probe)),
                Cell::Number(words::seconds(probe.seconds)),
                cell(words::counts(probe)),
                cell(probe.notes.join("\n")),
            ]
        });
        let caption = format!("Everything that was looked at of {}", source.source);
        let columns = ["Looked at", "Level", "Result", "Took", "Counted", "Notes"];
        table(page, &caption, &columns, rows.collect());
    }
}

fn result(probe: &Probe) -> String {
    match (probe.findings.len(), probe.not_provable.len()) {
        (0, 0) => "nothing wrong".to_owned(),
        (0, _) => "not all provable".to_owned(),
        (1, _) => "1 finding".to_owned(),
        (number, _) => format!("{number} findings"),
    }
}

fn list(page: &mut Markup, heading: &'static str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    page.raw("<h2>").raw(heading).raw("</h2>\n<ul>\n");
    items.iter().for_each(|item| {
        page.element("li", item).raw("\n");
    });
    page.raw("</ul>\n");
}
