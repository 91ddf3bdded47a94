//! Records as people read them on a terminal.
//!
//! On purpose not here: reports.

use super::super::access::ACCESS;
use super::pick::{INHERITED, NOTE, Told};
use crate::engine::{Inherited, PastAccess};
use crate::ink::{Align, Table, counted, duration, escape, local};
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
            verdict(one),
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
        INHERITED => ["domain", "label", "unread"],
        _ => ["verdict", "level", "from"],
    }
}

/// What stands where a drill has its verdict. That one began is told alone only where its end is not there.
fn verdict(told: &Told<'_>) -> String {
    match told.is_beginning() {
        true => "drill, no end".to_owned(),
        false => shown(told.text(fields(told)[0])),
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

/// One record, the notes about it, and where the other end of a drill is told.
pub(super) fn lines(told: &Told<'_>, drill: Option<&Record>, beside: &[&Told<'_>]) -> Vec<String> {
    let inherited = || serde_json::from_value::<Inherited>(told.value.clone()).ok();
    let mut lines = match drill {
        Some(record) => of_drill(record),
        None => match inherited().filter(|_| told.record.kind == INHERITED) {
            Some(inherited) => of_inherited(&inherited),
            None => of_other(told),
        },
    };
    let (name, number) = (&told.record.name, told.record.number);
    lines.push(format!("  record     {name}, number {number}, written {}", local(told.record.time)));
    let ends = beside.iter().filter(|other| other.is_of_one_drill_with(told));
    lines.extend(ends.map(|end| {
        let word = if end.is_beginning() { "began" } else { "ended" };
        format!("  {word:<10} {}, as {}", local(end.record.time), end.record.name)
    }));
    for note in beside.iter().filter(|note| note.is_note_of(told.record)) {
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

/// What is kept of a chain of a domain that was erased.
fn of_inherited(told: &Inherited) -> Vec<String> {
    let member = told.member.as_deref().unwrap_or("unknown");
    let mut lines = vec![
        format!("who read the erased domain {}", line(&told.domain)),
        format!("  chain      of member {} ({})", line(member), line(&told.label)),
        format!("  numbers    {} to {}", told.first, told.next.saturating_sub(1)),
        format!("  head       {}", line(told.head.as_deref().unwrap_or("unknown"))),
    ];
    lines.extend(told.unread.iter().map(|why| format!("  NOT READ   {}", line(why))));
    if told.problems > 0 {
        lines.push(format!("  problems   {}", counted(told.problems, "record was", "records were")));
    }
    if told.omitted > 0 {
        lines.push(format!("  left out   {}", counted(told.omitted, "earlier access", "earlier accesses")));
    }
    lines.extend(told.accesses.iter().map(past_access));
    lines
}

fn past_access(one: &PastAccess) -> String {
    let (verb, user, host) = (line(&one.verb), line(&one.user), line(&one.host));
    let (time, snapshots) = (line(&one.time), line(&one.snapshots.join(" ")));
    let what = counted(
        one.paths,
        if one.kind == "drill" { "source" } else { "path" },
        match &*one.kind {
            "drill" => "sources",
            _ => "paths",
        },
    );
    let reason = one.reason.as_deref().map(|why| format!(": {}", line(why))).unwrap_or_default();
    format!("  {time} {verb} by {user} on {host} of {snapshots} ({what}){reason}")
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
