//! `copy`: copies snapshots from another repository.

use super::Run;
use super::pick;
use crate::args::CopyArgs;
use crate::engine::{Copied, CopyOptions, CopyReport, Fate, Right, copy, snapshots};
use crate::fault::Fault;
use crate::ink::{CopiedLine, CopySummary, counted, escape, local, size};

/// Copies what is named or picked, oldest first, and tells which id became which.
pub(crate) async fn run(run: &Run, args: &CopyArgs) -> Result<(), Fault> {
    let filter = pick::filter(&args.pick, &args.path)?;
    // Before anybody is asked for a password.
    run.repository_place()?;
    let from = run.open_from(&args.from).await?;
    from.require(Right::Read)?;
    let to = run.open_for(Right::BackUp).await?;
    let outcome = snapshots(&run.ctx, &from, &filter).await?;
    run.tell(&outcome.problems);
    let unlisted = outcome.problems.problem_count;
    let names = (&args.snapshots[..], &args.pick);
    let chosen = pick::chosen(run, &from, outcome.value, names, refuse_path).await?;
    let options = CopyOptions {
        dry_run: args.dry_run,
        compression_level: args.compression,
        data_pack_bytes: args.pack_size,
    };
    let mut told = |copied: &Copied| tell(run, copied);
    let phase = if args.dry_run { "looking" } else { "copying" };
    let done = run.follow(phase, copy(&run.ctx, &from, &to, &chosen, &options, &mut told)).await?;
    show(run, args, &done.value);
    let left = done.value.failed + unlisted;
    if left == 0 {
        return Ok(());
    }
    let what = format!("{} of {} not copied", counted(left, "snapshot is", "snapshots are"), from.location());
    Err(Fault::incomplete(what, "see what is wrong there: holdfast check --read-data; the others are whole"))
}

fn refuse_path(path: &[u8]) -> Result<(), Fault> {
    if path.is_empty() {
        return Ok(());
    }
    let hint = "leave out the colon and what follows";
    Err(Fault::usage("snapshots are copied whole, not a path in one", hint))
}

fn tell(run: &Run, copied: &Copied) {
    if run.ink.tone.json {
        if let Some(line) = CopiedLine::of(copied) {
            run.ink.json_now(&line);
        }
        return;
    }
    let old = pick::short_id(&copied.from);
    let new = match &copied.fate {
        Fate::Made(id) => format!("-> {}", &id.to_string()[..8]),
        Fate::Foreseen => "would be copied".to_owned(),
        Fate::There(id) if run.ink.tone.verbose => format!("is there: {}", &id.to_string()[..8]),
        // What could not be read is told as a problem.
        Fate::There(_) | Fate::Unread(_) => return,
    };
    let (summary, source) = (&copied.from.summary, pick::source_name(&copied.from));
    let (time, host) = (local(summary.end), escape(summary.host.as_bytes()));
    let added = copied.bytes_stored.map(|bytes| format!("  {} added", size(bytes))).unwrap_or_default();
    let added = if matches!(copied.fate, Fate::There(_)) { String::new() } else { added };
    run.ink.data(&format!("{old} {new}  {time}  {host}  {source}{added}"));
}

fn show(run: &Run, args: &CopyArgs, report: &CopyReport) {
    if run.ink.tone.json {
        return run.ink.json(&CopySummary::new(report, args.dry_run));
    }
    let CopyReport { copied, there, .. } = *report;
    if copied + there + report.failed == 0 {
        return run.ink.talk("no snapshots fit; see which there are: holdfast snapshots");
    }
    let stored = report.bytes_stored.map_or_else(|| "an unknown amount".to_owned(), size);
    let (copied, there) = (counted(copied, "snapshot", "snapshots"), counted(there, "is", "are"));
    run.ink.talk(&if args.dry_run {
        format!("{copied} would be copied, about {stored}; {there} there already")
    } else {
        format!(
            "{copied} copied, {there} there already; {} read and verified, {stored} added",
            size(report.bytes_read)
        )
    });
    if !report.alike {
        run.ink.talk(
            "note: the two repositories have different keys, so that each new or changed file is read to \
             learn whether it is there; see holdfast init --from",
        );
    }
}
