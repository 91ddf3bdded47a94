//! `wal status`: what there is of the log, what is missing, and what can be recovered with it.
//!
//! On purpose not here: judging how old it may be.

use super::Run;
use super::lineage::history_of;
use super::need::{Base, bases};
use super::window::{Line, Window, windows};
use crate::args::WalStatusArgs;
use crate::engine::wal::{Coverage, Gap, SegmentName, WalArchive, WalName, is_segment_length};
use crate::engine::{Right, Snapshot};
use crate::fault::Fault;
use crate::ink::{
    Align, Table, WalStatusSummary, WalTimelineLine, WalWindowLine, age, counted, local, since, size,
};
use holdfast_core::entry::Time;

/// So many segments that are not whole are named.
const NAMED_MAX: usize = 4;

/// One timeline, as it is shown.
struct Shown<'a> {
    line: Line<'a>,
    gaps: Vec<Gap>,
    /// Segments of which something is there, and not all.
    torn: Vec<SegmentName>,
    newest: Option<Time>,
}

/// Shows it.
pub(super) async fn run(run: &Run, args: &WalStatusArgs) -> Result<(), Fault> {
    let repository = run.open_for_any().await?;
    let archive = WalArchive::new(&run.ctx, &repository);
    let found = Coverage::of(&archive.list(args.system).await?);
    let bases = match repository.may(Right::See) {
        true if found.is_empty() => Some(Vec::new()),
        true => Some(bases(run, &repository).await?),
        false => None,
    };
    let mut summary = WalStatusSummary {
        message_type: "summary",
        databases: 0,
        timelines: found.len() as u64,
        gap_count: 0,
        wal_bytes: found.iter().map(|coverage| coverage.stored_bytes).sum(),
    };
    for database in found.chunk_by(|a, b| a.timeline.system == b.timeline.system) {
        summary.databases += 1;
        summary.gap_count += one(run, &archive, database, bases.as_deref()).await?;
    }
    if run.ink.tone.json {
        run.ink.json(&summary);
    } else if found.is_empty() {
        run.ink.talk("no log");
    }
    match summary.gap_count {
        0 => Ok(()),
        number => {
            let what = format!("{} in the log", counted(number, "gap", "gaps"));
            let hint = "archive what a server still has; back the cluster up now: from that snapshot on nothing is \
                        missing";
            Err(Fault::incomplete(what, hint))
        }
    }
}

/// Shows one database; how many gaps there are. Without `bases` the key cannot tell which snapshots the
/// log leads on from.
async fn one(
    run: &Run,
    archive: &WalArchive,
    database: &[Coverage],
    bases: Option<&[(Snapshot, Base)]>,
) -> Result<u64, Fault> {
    let system = database[0].timeline.system;
    let can_tell = bases.is_some();
    let bases: Vec<_> = bases.unwrap_or_default().iter().filter(|(_, base)| base.system == system).collect();
    let stated = bases.last().map(|(_, base)| base.segment_bytes);
    let mut shown = Vec::new();
    for coverage in database {
        let (length, newest) = newest(archive, coverage).await?;
        let (gaps, torn) = match length.or(stated) {
            Some(length) => (coverage.gaps(0, length), coverage.in_part(0, length)),
            None => (Vec::new(), coverage.torn.clone()),
        };
        let history = match history_of(archive, &coverage.timeline).await {
            Ok(history) => Some(history),
            Err(fault) => {
                run.ink.warn(&fault.to_string());
                None
            }
        };
        shown.push(Shown { line: Line { coverage, history }, gaps, torn, newest });
    }
    let lines: Vec<_> = shown.iter().map(|shown| shown.line.clone()).collect();
    let plain: Vec<_> = bases.iter().map(|(_, base)| *base).collect();
    let windows = windows(&lines, &plain);
    if run.ink.tone.json {
        for one in &shown {
            run.ink.json(&WalTimelineLine::new(one.line.coverage, &one.gaps, &one.torn, one.newest));
        }
        windows.iter().for_each(|window| run.ink.json(&window_line(window, &bases)));
    } else {
        run.ink.data(&format!("database {system}"));
        run.ink.table(&table(&shown, run.ctx.clock.now()));
        notes(&shown, &windows, &bases, can_tell).iter().for_each(|line| run.ink.data(line));
        run.ink.data("");
    }
    Ok(shown.iter().map(|shown| (shown.gaps.len() + shown.torn.len()) as u64).sum())
}

/// Length of a segment and when the last one came, as the newest object says.
async fn newest(archive: &WalArchive, coverage: &Coverage) -> Result<(Option<u64>, Option<Time>), Fault> {
    let Some((name, whole)) = coverage.segments.last_key_value() else { return Ok((None, None)) };
    let (timeline, file) = (coverage.timeline, name.to_string());
    let last = match whole {
        true => WalName::whole(timeline, &file),
        false => {
            let listed = archive.list_file(&timeline, &file).await?;
            listed.last().map_or_else(|| WalName::whole(timeline, &file), |last| last.name.clone())
        }
    };
    let Some(found) = archive.glance(&last).await? else { return Ok((None, None)) };
    let mut length = Some(found.plain_bytes).filter(|bytes| *whole && is_segment_length(*bytes));
    if length.is_none()
        && let Some((name, _)) = coverage.segments.iter().rfind(|(_, whole)| **whole)
    {
        let other = archive.glance(&WalName::whole(timeline, name.to_string())).await?;
        length = other.map(|other| other.plain_bytes).filter(|bytes| is_segment_length(*bytes));
    }
    Ok((length, found.written))
}

fn window_line(window: &Window, bases: &[&(Snapshot, Base)]) -> WalWindowLine {
    let (snapshot, base) = bases[window.base];
    let within = window.within.iter().map(|at| bases[*at].0.id.to_string()).collect();
    let from = (snapshot.id.to_string(), snapshot.summary.end);
    let lsn = (base.stop.to_string(), window.to.to_string());
    WalWindowLine::new(&window.timeline, from, within, lsn, window.to_newest)
}

fn table(shown: &[Shown<'_>], now: Time) -> Table {
    let columns = [
        ("TIMELINE", Align::Left),
        ("FIRST", Align::Left),
        ("LAST", Align::Left),
        ("SEGMENTS", Align::Right),
        ("STORED", Align::Right),
        ("NEWEST", Align::Left),
        ("GAPS", Align::Right),
    ];
    let mut table = Table::new(&columns);
    for one in shown {
        let coverage = one.line.coverage;
        let ends = coverage.ends().map(|(first, last)| (first.to_string(), last.to_string()));
        let (first, last) = ends.unwrap_or_default();
        table.row(vec![
            coverage.timeline.to_string(),
            first,
            last,
            coverage.segments.len().to_string(),
            size(coverage.stored_bytes),
            one.newest.map(|newest| format!("{} ago", age(since(newest, now)))).unwrap_or_default(),
            (one.gaps.len() + one.torn.len()).to_string(),
        ]);
    }
    table
}

fn notes(
    shown: &[Shown<'_>],
    windows: &[Window],
    bases: &[&(Snapshot, Base)],
    can_tell: bool,
) -> Vec<String> {
    let mut lines = Vec::new();
    for one in shown {
        for gap in &one.gaps {
            let missing = counted(gap.missing, "segment", "segments");
            lines.push(format!("  gap        {missing} between {} and {}", gap.after, gap.before));
        }
        let torn = &one.torn;
        if !torn.is_empty() {
            let named: Vec<_> = torn.iter().take(NAMED_MAX).map(ToString::to_string).collect();
            lines.push(format!("  gap        pieces are missing of {}", named.join(", ")));
        }
        let timeline = one.line.coverage.timeline;
        let alike = shown.iter().filter(|other| other.line.coverage.timeline.number == timeline.number);
        if alike.count() > 1 {
            lines.push(format!("  several    timelines have the number of {timeline}: copies were promoted"));
        }
    }
    for window in windows {
        let (snapshot, _) = bases[window.base];
        let (id, from) = (&snapshot.id.to_string()[..8], local(snapshot.summary.end));
        let to = if window.to_newest { "the newest log" } else { "the gap" };
        let (timeline, at) = (window.timeline, window.to);
        lines.push(format!("  recovers   from {from} (snapshot {id}) to {to} at {at}, along {timeline}"));
    }
    if !can_tell {
        lines.push("  recovers   from what is not for this key to see: it opens no snapshot".to_owned());
    } else if windows.is_empty() {
        lines.push("  recovers   nothing: no snapshot of it is here; back it up".to_owned());
    }
    lines
}
