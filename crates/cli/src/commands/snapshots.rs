//! `snapshots`: which ones there are.

use super::{Run, pick};
use crate::args::SnapshotsArgs;
use crate::engine::{Snapshot, SnapshotFilter, snapshots};
use crate::fault::Fault;
use crate::ink::{Align, SnapshotLine, Table, counted, escape, local, size};
use crate::settings;
use std::collections::HashMap;
use std::os::unix::ffi::OsStringExt;

const COLUMNS: [(&str, Align); 7] = [
    ("ID", Align::Left),
    ("TIME", Align::Left),
    ("HOST", Align::Left),
    ("SOURCE", Align::Left),
    ("TAGS", Align::Left),
    ("SIZE", Align::Right),
    ("STATUS", Align::Left),
];

/// Lists the snapshots that are asked for, oldest first.
pub(crate) async fn run(run: &Run, args: &SnapshotsArgs) -> Result<(), Fault> {
    let filter = filter(args)?;
    let repository = run.open().await?;
    let outcome = snapshots(&run.ctx, &repository, &filter).await?;
    run.tell(&outcome.problems);
    let listed = newest(outcome.value, args.latest);
    if run.ink.tone.json {
        listed.iter().for_each(|snapshot| run.ink.json(&SnapshotLine::from(snapshot)));
    } else {
        show(run, &listed);
    }
    match outcome.problems.problem_count {
        0 => Ok(()),
        number => {
            let what = format!("{} cannot be read", counted(number, "snapshot", "snapshots"));
            Err(Fault::incomplete(what, "see how far it goes: holdfast check"))
        }
    }
}

fn filter(args: &SnapshotsArgs) -> Result<SnapshotFilter, Fault> {
    let current = settings::current_dir()?;
    let path = |path: &std::path::PathBuf| settings::normalise(path, &current).into_os_string().into_vec();
    Ok(SnapshotFilter { paths: args.path.iter().map(path).collect(), ..settings::filter_of(&args.pick) })
}

/// Keeps the newest few of each stream.
fn newest(mut listed: Vec<Snapshot>, latest: Option<u64>) -> Vec<Snapshot> {
    let Some(latest) = latest else { return listed };
    let mut seen = HashMap::new();
    listed.reverse();
    listed.retain(|snapshot| {
        let number = seen.entry(snapshot.summary.stream).or_insert(0);
        *number += 1;
        *number <= latest
    });
    listed.reverse();
    listed
}

fn show(run: &Run, listed: &[Snapshot]) {
    if listed.is_empty() {
        return run.ink.talk("no snapshots");
    }
    let mut table = Table::new(&COLUMNS);
    listed.iter().for_each(|snapshot| table.row(cells(snapshot)));
    table.lines().iter().for_each(|line| run.ink.data(line));
    run.ink.talk(&counted(listed.len() as u64, "snapshot", "snapshots"));
}

fn cells(snapshot: &Snapshot) -> Vec<String> {
    let summary = &snapshot.summary;
    let status = match (summary.incomplete, summary.problems) {
        (false, _) => "ok".to_owned(),
        (true, number) => format!("incomplete ({})", counted(number, "problem", "problems")),
    };
    vec![
        pick::short_id(snapshot),
        local(summary.end),
        escape(summary.host.as_bytes()),
        pick::source_name(snapshot),
        escape(summary.tags.join(",").as_bytes()),
        size(summary.counts.bytes),
        status,
    ]
}
