//! `evidence show`: the records as a list, or one of them, as a report too.
//!
//! On purpose not here: what a report looks like.

use super::super::Run;
use super::pick::{DRILL, Told, all, of_policy, one, without_ended};
use super::told;
use crate::args::EvidenceShowArgs;
use crate::engine::evidence::{EvidenceBook, records};
use crate::fault::Fault;
use crate::ink::{EvidenceLine, counted, escape, parse_duration, parse_time};
use holdfast_core::entry::Time;
use holdfast_scheduler::evidence::{Record, Unreadable, html, junit, markdown, read};
use std::path::Path;

/// Lists, or shows one.
pub(super) async fn run(run: &Run, args: &EvidenceShowArgs) -> Result<(), Fault> {
    let since = args.since.as_deref().map(|text| since(text, run.ctx.clock.now())).transpose()?;
    let repository = run.open().await?;
    let book = run.watch("reading evidence", records(&run.ctx, &repository)).await?;
    let mut chosen = all(&book, &repository);
    if let Some(policy) = &args.policy {
        chosen = of_policy(chosen, policy);
    }
    if let Some(kind) = &args.kind {
        chosen.retain(|one| one.record.kind == *kind);
    }
    if let Some(since) = since {
        chosen.retain(|one| one.record.time >= since);
    }
    match &args.record {
        // A person who asks for no kind is told of each drill once.
        None if args.kind.is_none() && !run.ink.tone.json => list(run, &without_ended(chosen)),
        None => list(run, &chosen),
        Some(word) => {
            let meant = one(&chosen, word)?;
            let is_beside =
                |other: &&Told<'_>| other.is_note_of(meant.record) || other.is_of_one_drill_with(meant);
            let beside: Vec<_> = chosen.iter().filter(is_beside).collect();
            show(run, args, meant, &beside)?;
        }
    }
    warn(run, &book);
    Ok(())
}

/// Reads since when: a moment, or how long ago.
fn since(text: &str, now: Time) -> Result<Time, Fault> {
    match (parse_time(text), parse_duration(text)) {
        (Ok(time), _) => Ok(time),
        (_, Ok(span)) => {
            let seconds = i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
            Ok(Time { seconds: now.seconds.saturating_sub(seconds), ..now })
        }
        (Err(_), Err(_)) => {
            let what = format!("--since: `{}` is neither a time nor how long ago", escape(text.as_bytes()));
            Err(Fault::usage(what, "write 2026-07-01, 12h or 30d"))
        }
    }
}

fn list(run: &Run, chosen: &[Told<'_>]) {
    if run.ink.tone.json {
        chosen.iter().for_each(|one| run.ink.json(&EvidenceLine::new(one.record, &one.value)));
    } else if chosen.is_empty() {
        run.ink.talk("there is no evidence here; a drill leaves some: holdfast drill POLICY");
    } else {
        run.ink.table(&told::table(chosen));
    }
}

/// Makes a report of a record.
type Render = fn(&Record) -> String;

/// Shows a record, and writes the reports that were asked for.
fn show(run: &Run, args: &EvidenceShowArgs, meant: &Told<'_>, beside: &[&Told<'_>]) -> Result<(), Fault> {
    let reports: [(_, Render); 3] =
        [(&args.junit, junit::render), (&args.html, html::render), (&args.markdown, markdown::render)];
    let wanted: Vec<_> =
        reports.into_iter().filter_map(|(file, render)| Some((file.as_deref()?, render))).collect();
    let record = if meant.record.kind == DRILL { Some(drill(meant)?) } else { None };
    if run.ink.tone.json {
        run.ink.json(&EvidenceLine::new(meant.record, &meant.value));
        beside.iter().for_each(|other| run.ink.json(&EvidenceLine::new(other.record, &other.value)));
    } else if !run.ink.tone.quiet {
        told::lines(meant, record.as_ref(), beside).iter().for_each(|line| run.ink.data(line));
    }
    for (file, render) in wanted {
        let Some(record) = &record else {
            let what = format!("{} is no record of a drill, but of kind {}", meant.record.name, kind(meant));
            return Err(Fault::usage(what, "reports are made of drills: holdfast evidence show latest"));
        };
        write(file, &render(record))?;
    }
    Ok(())
}

fn kind(told: &Told<'_>) -> String {
    escape(told.record.kind.as_bytes())
}

/// Reads the record of a drill.
fn drill(told: &Told<'_>) -> Result<Record, Fault> {
    read(&told.record.text).map_err(|error| {
        let hint = match error {
            Unreadable::Newer(_) => "use a newer version of holdfast",
            Unreadable::Malformed(_) => "see its text: holdfast evidence show --json",
        };
        Fault::failed(format!("{} cannot be shown", told.record.name), hint).because(&error)
    })
}

fn write(file: &Path, text: &str) -> Result<(), Fault> {
    std::fs::write(file, text).map_err(|error| {
        let what = format!("cannot write {}", escape(file.as_os_str().as_encoded_bytes()));
        Fault::failed(what, "check that its folder is there and may be written").because(&error)
    })
}

/// A list that leaves out what is wrong has to say so.
fn warn(run: &Run, book: &EvidenceBook) {
    let problems = book.problems().count() as u64;
    if problems > 0 {
        let number = counted(problems, "record is", "records are");
        run.ink.warn(&format!("{number} not as it should be; see which: holdfast evidence verify"));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::fault::Code;

    #[test]
    fn a_beginning_is_a_moment_or_a_while() {
        let now = Time { seconds: 1_764_000_000, nanos: 0 };
        assert_eq!(since("2d", now).unwrap().seconds, now.seconds - 172_800);
        assert_eq!(since("2001-09-09T01:46:40Z", now).unwrap().seconds, 1_000_000_000);
        assert_eq!(since("soon", now).unwrap_err().code, Code::Usage);
    }
}
