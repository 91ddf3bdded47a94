//! Records as people read them on a terminal.
//!
//! On purpose not here: reports.

use super::super::access::ACCESS;
use super::pick::{NOTE, Told};
use crate::ink::{Align, Table, duration, escape, local};
use holdfast_scheduler::evidence::{Record, SourceRecord, words};
use std::time::Duration;

/// Longest text of a cell, in characters.
const CELL_CHARS_MAX: usize = 60;

/// The list.
pub(super) fn table(told: &[Told<'_>]) -> Table {
    let mut table = Table::new(&[
        ("TIME", Align::Left),
        ("KIND", Align::Left),
        ("POLICY", Align::Left),
        ("VERDICT", Align::Left),
        ("LEVEL", Align::Left),
        ("FROM", Align::Left),
        ("TOOK", Align::Right),
        ("RECORD", Align::Left),
    ]);
    for one in told {
        let cell = |field: &str| shown(one.text(field));
        table.row(vec![
            local(one.record.time),
            shown(&one.record.kind),
            cell("policy"),
            cell(fields(one)[0]),
            cell(fields(one)[1]),
            cell(fields(one)[2]),
            took(one),
            id(one),
        ]);
    }
    table
}

/// What of a record stands where a drill has its verdict, its level, and what it restored from.
fn fields(told: &Told<'_>) -> [&'static str; 3] {
    match &*told.record.kind {
        NOTE => ["action", "level", "by"],
        ACCESS => ["verb", "source", "user"],
        _ => ["verdict", "level", "from"],
    }
}

/// What names a record best: the beginning of a drill's id, else its name.
fn id(told: &Told<'_>) -> String {
    match told.text("id") {
        "" => told.record.name.clone(),
        id => shown(&id.chars().take(8).collect::<String>()),
    }
}

/// How long it took, where it says when it began and ended.
fn took(told: &Told<'_>) -> String {
    let moment = |field: &str| told.text(field).parse::<jiff::Timestamp>().ok();
    let Some((began, ended)) = moment("started").zip(moment("ended")) else { return String::new() };
    duration(Duration::try_from(ended.duration_since(began)).unwrap_or_default())
}

fn shown(text: &str) -> String {
    let text = escape(text.as_bytes());
    if text.chars().count() <= CELL_CHARS_MAX {
        return text;
    }
    text.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
}

/// One record, and the notes about it.
pub(super) fn lines(told: &Told<'_>, drill: Option<&Record>, notes: &[&Told<'_>]) -> Vec<String> {
    let mut lines = match drill {
        Some(record) => of_drill(record),
        None => of_other(told),
    };
    let (name, number) = (&told.record.name, told.record.number);
    lines.push(format!("  record     {name}, number {number}, written {}", local(told.record.time)));
    for note in notes {
        let (by, action) = (line(note.text("by")), line(note.text("action")));
        lines.push(format!("  noted      {} by {by}: {action}", local(note.record.time)));
    }
    lines
}

fn line(text: &str) -> String {
    escape(words::line(text).as_bytes())
}

/// A record of another kind: its fields, one a line, as they are.
fn of_other(told: &Told<'_>) -> Vec<String> {
    let mut lines = vec![format!("{} of {}", line(&told.record.kind), local(told.record.time))];
    match told.value.as_object() {
        Some(fields) => lines.extend(fields.iter().map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("  {:<10} {}", line(name), line(&value))
        })),
        None => lines.push(format!("  {}", line(&String::from_utf8_lossy(&told.record.text)))),
    }
    lines
}

fn of_drill(record: &Record) -> Vec<String> {
    let verdict = words::verdict(record.verdict).to_uppercase();
    let took = words::seconds(record.took());
    let mut lines = vec![
        format!("{verdict}: drill of {}, exit code {}", line(&record.policy), record.code),
        format!("  when       {}, took {took}", words::moment(record.started)),
        format!("  from       {} ({}), key {}", line(&record.from), line(&record.url), line(&record.key)),
        format!("  on         {} as {}, {}", line(&record.host), line(&record.user), line(&record.program)),
        format!("  level      {}", words::level(record.level)),
    ];
    record.sources.iter().for_each(|source| lines.extend(of_source(source)));
    for one in &record.objectives {
        let (limit, measured) = (words::seconds(one.limit), words::measured(one));
        let (name, source, kept) = (line(&one.name), line(&one.source), words::kept(one));
        lines.push(format!("  {name:<10} of {source}: promised {limit}, measured {measured}: {kept}"));
    }
    lines.extend(record.scratch.iter().map(|said| format!("  scratch    {}", line(said))));
    lines.push(format!("  drill      {}", line(&record.id)));
    lines
}

fn of_source(source: &SourceRecord) -> Vec<String> {
    let (name, verdict) = (line(&source.source), words::verdict(source.verdict));
    let reached = words::reached(source.reached);
    let amount = words::amount(source.bytes, source.share);
    let mut lines = vec![format!(
        "  source     {name} ({}): {verdict}, level reached {reached}, {amount}",
        line(&source.kind)
    )];
    if let Some(snapshot) = &source.snapshot {
        let of = source.snapshot_time.map(|time| format!(" of {}", words::moment(time))).unwrap_or_default();
        lines.push(format!("    snapshot {}{of}, {}", line(snapshot), line(&source.point)));
    }
    let phases = source.phases.iter();
    let phases = phases.map(|phase| format!("{} {}", line(&phase.name), words::seconds(phase.seconds)));
    let phases = phases.collect::<Vec<_>>().join(", ");
    if !phases.is_empty() {
        lines.push(format!("    took     {phases}"));
    }
    for probe in &source.probes {
        let counted = words::counts(probe);
        let counted = if counted.is_empty() { counted } else { format!(": {}", line(&counted)) };
        lines.push(format!("    looked   {}{counted}", line(&probe.name)));
        for finding in &probe.findings {
            lines.push(format!("      WRONG  {}: {}", words::cause(finding.cause), line(&finding.what)));
            if !finding.next.is_empty() {
                lines.push(format!("      do     {}", line(&finding.next)));
            }
        }
        lines.extend(probe.not_provable.iter().map(|what| format!("      not provable: {}", line(what))));
        lines.extend(probe.notes.iter().map(|what| format!("      {}", line(what))));
    }
    lines
}
