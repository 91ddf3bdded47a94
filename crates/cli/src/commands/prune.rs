//! `prune`: what was freed, what waits, and when it can go.

use super::wal::need::USERS;
use super::{Run, held};
use crate::args::{PruneArgs, PruneHow};
use crate::engine::maintain::{
    KeepSpan, LocalOffset, LogDeadline, LogOptions, LogReport, PruneReport, prune, prune_logs,
};
use crate::engine::{Error, Repository, Right};
use crate::fault::Fault;
use crate::ink::{PruneSummary, counted, escape, local, local_offset, size};
use holdfast_core::entry::Time;
use holdfast_core::id::SessionId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// So many ids are shown in a line.
const IDS_MAX: usize = 4;

/// Frees what no snapshot needs.
pub(crate) async fn run(run: &Run, args: &PruneArgs) -> Result<(), Fault> {
    let repository = run.open_for(Right::Maintain).await?;
    with(run, &repository, &args.how, args.dry_run, deadline(&args.how)).await
}

/// After which time log goes, as the options of prune say.
pub(crate) fn deadline(how: &PruneHow) -> Option<LogDeadline> {
    let (span, sources) = how.wal_delete_after()?;
    Some(deadline_of(span, sources.map(|sources| sources.iter().cloned().collect())))
}

/// After which time the log of these sources' databases goes, or of all.
pub(crate) fn deadline_of(span: KeepSpan, sources: Option<BTreeSet<String>>) -> LogDeadline {
    LogDeadline { span, sources, local_offset: LocalOffset(Arc::new(local_offset)) }
}

/// Prunes a repository that is open already.
pub(crate) async fn with(
    run: &Run,
    repository: &Repository,
    how: &PruneHow,
    dry_run: bool,
    deadline: Option<LogDeadline>,
) -> Result<(), Fault> {
    let watch = run.progress.watch(if dry_run { "looking for what can go" } else { "pruning" });
    let result = both(run, repository, how, dry_run, deadline).await;
    drop(watch);
    let (report, logs) = held::told(run, repository, result).await?;
    if run.ink.tone.json {
        run.ink.json(&PruneSummary::new(&report, &logs, dry_run));
    } else if !run.ink.tone.quiet {
        lines(&report, dry_run, run.ctx.clock.now()).iter().for_each(|line| run.ink.data(line));
        log_lines(&logs, dry_run).iter().for_each(|line| run.ink.data(line));
    }
    warnings(&logs).iter().for_each(|line| run.ink.warn(line));
    Ok(())
}

/// Packs first: what is forgotten needs no log any more once it is gone.
async fn both(
    run: &Run,
    repository: &Repository,
    how: &PruneHow,
    dry_run: bool,
    delete_after: Option<LogDeadline>,
) -> Result<(PruneReport, LogReport), Error> {
    let report = prune(&run.ctx, repository, &how.options(dry_run)).await?;
    let options = LogOptions {
        users: USERS,
        keep_seconds: how.wal_keep().map(|time| time.as_secs()),
        delete_after,
        gone: report.dropped_snapshots.iter().copied().collect(),
        dry_run,
    };
    let logs = prune_logs(&run.ctx, repository, &options).await?;
    Ok((report, logs))
}

fn log_lines(logs: &LogReport, dry_run: bool) -> Vec<String> {
    let files = |number| counted(number, "file", "files");
    let freed = format!("{} in {}", size(logs.freed_bytes), files(logs.freed_objects));
    let kept = format!("  log         {} in {} kept", size(logs.kept_bytes), files(logs.kept_objects));
    let mut lines: Vec<_> = (logs.kept_objects > 0).then_some(kept).into_iter().collect();
    if logs.freed_objects > 0 {
        lines.push(format!("  log         {freed} {}", if dry_run { "would go" } else { "deleted" }));
    }
    let stays =
        logs.untouched.iter().map(|(system, why)| format!("  log         all of {system} stays: {why}"));
    lines.extend(stays);
    lines
}

/// What a person has to know of log that goes for its age, or does not.
fn warnings(logs: &LogReport) -> Vec<String> {
    let soon = logs.expiring.iter().map(|soon| {
        let of = match soon.sources.as_slice() {
            [] => String::new(),
            sources => format!(" ({})", escape(sources.join(", ").as_bytes())),
        };
        format!(
            "log of {}{of}: {} until {}; no snapshot of it is left, and after that no log: back it up, or hold what has \
             to stay",
            soon.system,
            counted(soon.segments, "segment reaches its deadline", "segments reach their deadline"),
            local(soon.last)
        )
    });
    let overdue = logs.overdue.iter();
    let overdue = overdue.map(|(system, why)| format!("log of {system} that is over its time stays: {why}"));
    soon.chain(overdue).collect()
}

fn lines(report: &PruneReport, dry_run: bool, now: Time) -> Vec<String> {
    let packs = |number| counted(number, "pack", "packs");
    // What was written anew in the same run is not won.
    let anew = format!("; {} of it written anew", size(report.repack_bytes_written));
    let anew = if report.repack_bytes_written > 0 { &anew } else { "" };
    let freed = format!("{} in {}{anew}", size(report.freed_bytes), packs(report.freed_packs));
    let head = match (dry_run, report.freed_packs) {
        (true, 0) => "would free nothing now".to_owned(),
        (true, _) => format!("would free {freed}"),
        (false, 0) => "freed nothing now".to_owned(),
        (false, _) => format!("freed {freed}"),
    };
    // While what was condemned waits, nobody looks for what is needed.
    let used =
        if report.used_bytes > 0 { format!("; {} needed", size(report.used_bytes)) } else { String::new() };
    let mut lines =
        vec![head, format!("  packs       {}, {}{used}", packs(report.packs), size(report.pack_bytes))];
    let mut line = |told: bool, text: String| lines.extend(told.then_some(text));
    let (read, written) = (size(report.repack_bytes_read), size(report.repack_bytes_written));
    let repacked = packs(report.repacked_packs);
    line(report.repacked_packs > 0, format!("  repacked    {repacked}: {read} read, {written} written"));
    let unused = size(report.unused_bytes_left);
    line(report.unused_bytes_left > 0, format!("  unused      {unused} stay in packs that are needed"));
    let waiting = |number, bytes| format!("{} in {}", size(bytes), packs(number));
    let condemned = waiting(report.condemned_packs, report.condemned_bytes);
    line(report.condemned_packs > 0, format!("  condemned   {condemned}"));
    let dead = waiting(report.dead_packs, report.dead_bytes);
    line(report.dead_packs > 0, format!("  given up    {dead}"));
    let gone = ids(&report.dropped_snapshots);
    let number = counted(report.dropped_snapshots.len() as u64, "snapshot", "snapshots");
    line(!report.dropped_snapshots.is_empty(), format!("  gone        {number} for good: {gone}"));
    let open = counted(report.open_sessions, "session", "sessions");
    line(report.open_sessions > 0, format!("  open        {open} of other commands"));
    let aborted = counted(report.aborted_sessions.len() as u64, "session", "sessions");
    let which = ids(&report.aborted_sessions);
    line(!report.aborted_sessions.is_empty(), format!("  aborted     {aborted}: {which}"));
    let merged = counted(report.merged_deltas, "part", "parts");
    line(report.merged_deltas > 0, format!("  index       {merged} merged"));
    let cleaned = counted(report.deleted_objects, "object", "objects");
    line(report.deleted_objects > 0, format!("  cleaned     {cleaned} that nothing needs any more"));
    let left = counted(report.unfinished_uploads, "upload", "uploads");
    line(report.unfinished_uploads > 0, format!("  cleaned     {left} that had been broken off"));
    lines.extend(next(report, dry_run, now));
    lines
}

/// Says when another prune frees what waits.
fn next(report: &PruneReport, dry_run: bool, now: Time) -> Option<String> {
    let waits = report.condemned_bytes + report.dead_bytes;
    if waits == 0 {
        return dry_run.then(|| "nothing was changed".to_owned());
    }
    let when = match report.next_step.filter(|&time| time > now) {
        Some(time) => format!("after {}", local(time)),
        None => "again".to_owned(),
    };
    let (up, then) = if report.condemned_packs > 0 { ("up to ", "") } else { ("", "") };
    Some(format!("holdfast prune {when} frees {up}{} more{then}", size(waits)))
}

fn ids(ids: &[SessionId]) -> String {
    let shown = ids.iter().take(IDS_MAX).map(|id| id.to_string()[..8].to_owned());
    let shown = shown.collect::<Vec<_>>().join(", ");
    match ids.len().saturating_sub(IDS_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prune_of_nothing_is_two_lines() {
        let report =
            PruneReport { packs: 3, pack_bytes: 3 << 20, used_bytes: 3 << 20, ..PruneReport::default() };
        let now = Time::default();
        assert_eq!(
            lines(&report, false, now),
            ["freed nothing now", "  packs       3 packs, 3.00 MiB; 3.00 MiB needed"]
        );
        assert_eq!(lines(&report, true, now).last().map(String::as_str), Some("nothing was changed"));
    }

    #[test]
    fn what_waits_says_when_it_goes() {
        let now = Time { seconds: 1_764_000_000, nanos: 0 };
        let later = Time { seconds: now.seconds + 86_400, nanos: 0 };
        let report = PruneReport {
            condemned_packs: 2,
            condemned_bytes: 2 << 20,
            next_step: Some(later),
            open_sessions: 1,
            dropped_snapshots: (0..10).map(|byte| SessionId([byte; 16])).collect(),
            ..PruneReport::default()
        };
        let told = lines(&report, false, now);
        let last = format!("holdfast prune after {} frees up to 2.00 MiB more", local(later));
        assert_eq!(told.last(), Some(&last));
        assert!(told.contains(&"  open        1 session of other commands".to_owned()), "{told:?}");
        assert!(told.iter().any(|line| line.ends_with("02020202, 03030303 and 6 more")), "{told:?}");
        let due =
            PruneReport { condemned_packs: 0, condemned_bytes: 0, dead_packs: 1, dead_bytes: 5, ..report };
        assert_eq!(next(&due, false, later).as_deref(), Some("holdfast prune again frees 5 B more"));
    }
}
