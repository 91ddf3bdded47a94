//! `stats`: what snapshots take.

use super::{Run, pick};
use crate::args::{StatsArgs, StatsDepth};
use crate::engine::{
    Outcome, Repository, SnapshotStats, StatsMode, StatsReport, StoredStats, snapshots, stats,
};
use crate::fault::Fault;
use crate::ink::{Align, SnapshotStatsLine, StatsSummary, Table, count, counted, escape, local, size};
use crate::settings;
use holdfast_core::id::SessionId;

/// Measures, and shows a table and a summary.
pub(crate) async fn run(run: &Run, args: &StatsArgs) -> Result<(), Fault> {
    let repository = run.open().await?;
    let (of, unlisted) = chosen(run, &repository, args).await?;
    let mode = match args.mode {
        StatsDepth::Full => StatsMode::Full,
        StatsDepth::RestoreSize => StatsMode::RestoreSize,
    };
    let work = stats(&run.ctx, &repository, of.as_deref(), mode);
    let outcome = run.follow("reading the trees of snapshots", work).await?;
    show(run, &outcome);
    finish(&outcome, unlisted)
}

/// The snapshots that are asked for, none for all, and how many cannot be listed.
async fn chosen(
    run: &Run,
    repository: &Repository,
    args: &StatsArgs,
) -> Result<(Option<Vec<SessionId>>, u64), Fault> {
    let mut ids = Vec::new();
    for text in &args.snapshots {
        ids.push(pick::one(run, repository, text, b"", &args.pick).await?.snapshot.id);
    }
    if !args.snapshots.is_empty() {
        return Ok((Some(ids), 0));
    }
    let listed = snapshots(&run.ctx, repository, &settings::filter_of(&args.pick)).await?;
    run.tell(&listed.problems);
    let ids = listed.value.iter().map(|snapshot| snapshot.id).collect();
    Ok((Some(ids), listed.problems.problem_count))
}

fn show(run: &Run, outcome: &Outcome<StatsReport>) {
    let (ink, report) = (&run.ink, &outcome.value);
    if ink.tone.json {
        report.snapshots.iter().for_each(|row| ink.json(&SnapshotStatsLine::from(row)));
        return ink.json(&StatsSummary::new(report, outcome.problems.problem_count));
    }
    if report.snapshots.is_empty() {
        ink.talk("no snapshots");
    } else {
        ink.table(&table(report));
    }
    summary(report).iter().for_each(|line| ink.data(line));
}

fn table(report: &StatsReport) -> Table {
    let mut columns = vec![
        ("ID", Align::Left),
        ("TIME", Align::Left),
        ("HOST", Align::Left),
        ("SOURCE", Align::Left),
        ("FILES", Align::Right),
        ("SIZE", Align::Right),
        ("ADDED", Align::Right),
    ];
    if report.stored.is_some() {
        columns.push(("UNIQUE", Align::Right));
    }
    let mut table = Table::new(&columns);
    report.snapshots.iter().for_each(|row| table.row(cells(row)));
    table
}

fn cells(row: &SnapshotStats) -> Vec<String> {
    let summary = &row.snapshot.summary;
    let mut cells = vec![
        pick::short_id(&row.snapshot),
        local(summary.end),
        escape(summary.host.as_bytes()),
        pick::source_name(&row.snapshot),
        count(summary.counts.files),
        size(summary.counts.bytes),
        size(summary.counts.bytes_stored),
    ];
    cells.extend(row.unique_bytes.map(size));
    cells
}

fn summary(report: &StatsReport) -> Vec<String> {
    let number = report.snapshots.len() as u64;
    let of = if number == report.snapshots_all {
        String::new()
    } else {
        format!(" of {}", count(report.snapshots_all))
    };
    let files = counted(report.files, "file", "files");
    let mut lines = vec![
        String::new(),
        format!("  snapshots    {}{of}", count(number)),
        format!("  restore size {}, {files}", size(report.bytes)),
    ];
    if let Some(stored) = &report.stored {
        lines.extend(stored_lines(report, stored));
    }
    if report.log_bytes > 0 {
        lines.push(format!("  log          {} of databases' log", size(report.log_bytes)));
    }
    lines.push(format!("  repository   {} in all", size(report.repository_bytes)));
    lines
}

fn stored_lines(report: &StatsReport, stored: &StoredStats) -> Vec<String> {
    let unreferenced = format!(
        "  unreferenced {} of the packs, which no snapshot refers to",
        size(stored.unreferenced_bytes)
    );
    let (chunks, pages) = (counted(stored.chunks, "chunk", "chunks"), counted(stored.pages, "page", "pages"));
    let taken = format!(
        "  stored       {} for contents in {chunks}, {} for trees in {pages}",
        size(stored.chunk_bytes),
        size(stored.page_bytes)
    );
    if !stored.opened {
        return vec![taken, unreferenced];
    }
    vec![
        taken,
        format!(
            "  ratio        {} deduplication, {} compression, {} together",
            times(report.bytes, stored.content_bytes),
            times(stored.content_bytes - stored.inline_bytes + stored.slack_bytes, stored.chunk_bytes),
            times(report.bytes, stored.chunk_bytes + stored.page_bytes)
        ),
        format!("  slack        {} in chunks that are used in part", size(stored.slack_bytes)),
        unreferenced,
    ]
}

/// How many times larger the one is.
fn times(one: u64, other: u64) -> String {
    if one == 0 || other == 0 { "-".into() } else { format!("{:.2}x", one as f64 / other as f64) }
}

fn finish(outcome: &Outcome<StatsReport>, unlisted: u64) -> Result<(), Fault> {
    let hint = "see how far the damage goes: holdfast check";
    if outcome.problems.problem_count > 0 {
        let parts = counted(outcome.problems.problem_count, "part", "parts");
        let what = format!("{parts} of the trees cannot be read: the figures are too small");
        return Err(Fault::failed(what, hint));
    }
    match unlisted {
        0 => Ok(()),
        number => {
            let what =
                format!("{} cannot be read and did not count", counted(number, "snapshot", "snapshots"));
            Err(Fault::incomplete(what, hint))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_need_two_numbers() {
        assert_eq!([times(10, 4), times(0, 4), times(4, 0)], ["2.50x", "-", "-"]);
    }

    #[test]
    fn an_empty_repository_has_a_summary() {
        let lines = summary(&StatsReport { stored: Some(StoredStats::default()), ..StatsReport::default() });
        assert!(lines.iter().any(|line| line.contains("restore size 0 B, 0 files")), "{lines:?}");
    }
}
