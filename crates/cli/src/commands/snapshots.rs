//! `snapshots`: which ones there are.

use super::{Run, pick};
use crate::args::{GroupBy, SnapshotsArgs};
use crate::engine::{Repository, Snapshot, SnapshotFilter, snapshots};
use crate::fault::Fault;
use crate::ink::{Align, GroupLine, SnapshotLine, Table, counted, escape, local, size};
use crate::settings;
use std::collections::{BTreeMap, HashMap, HashSet};
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

/// The columns that are left where room is scarce.
const COMPACT: [&str; 4] = ["ID", "TIME", "HOST", "TAGS"];

/// Lists the snapshots that are asked for, oldest first.
pub(crate) async fn run(run: &Run, args: &SnapshotsArgs) -> Result<(), Fault> {
    let filter = filter(args)?;
    let repository = run.open().await?;
    let outcome = snapshots(&run.ctx, &repository, &filter).await?;
    run.tell(&outcome.problems);
    let chosen = chosen(run, args, &repository, outcome.value).await?;
    let listed = newest(chosen, args.latest, &args.group_by);
    if args.group_by.is_empty() || listed.is_empty() {
        show(run, args, &listed);
    } else {
        show_groups(run, args, &listed);
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

/// Keeps those that are named, if any are.
async fn chosen(
    run: &Run,
    args: &SnapshotsArgs,
    repository: &Repository,
    mut listed: Vec<Snapshot>,
) -> Result<Vec<Snapshot>, Fault> {
    if args.snapshots.is_empty() {
        return Ok(listed);
    }
    let mut named = HashSet::new();
    for text in &args.snapshots {
        let (text, _) = settings::snapshot_and_path(text)?;
        named.insert(pick::one(run, repository, &text, b"", &args.pick).await?.snapshot.id);
    }
    listed.retain(|snapshot| named.contains(&snapshot.id));
    Ok(listed)
}

/// Keeps the newest few of each stream, or of each group.
fn newest(mut listed: Vec<Snapshot>, latest: Option<u64>, by: &[GroupBy]) -> Vec<Snapshot> {
    let Some(latest) = latest else { return listed };
    let mut seen = HashMap::new();
    listed.reverse();
    listed.retain(|snapshot| {
        let stream = by.is_empty().then_some(snapshot.summary.stream);
        let number = seen.entry((stream, Group::of(snapshot, by))).or_insert(0);
        *number += 1;
        *number <= latest
    });
    listed.reverse();
    listed
}

/// What the snapshots of a group have in common; what is not grouped by is absent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Group {
    host: Option<String>,
    source: Option<String>,
    paths: Option<Vec<Vec<u8>>>,
    tags: Option<Vec<String>>,
}

impl Group {
    fn of(snapshot: &Snapshot, by: &[GroupBy]) -> Self {
        let (summary, has) = (&snapshot.summary, |what| by.contains(&what));
        Self {
            host: has(GroupBy::Host).then(|| summary.host.clone()),
            source: has(GroupBy::Source).then(|| summary.label.clone()),
            paths: has(GroupBy::Paths).then(|| summary.paths.clone()),
            tags: has(GroupBy::Tags).then(|| summary.tags.clone()),
        }
    }

    /// The group in words, as a heading.
    fn heading(&self) -> String {
        let shown = |texts: Vec<String>| if texts.is_empty() { "none".to_owned() } else { texts.join(", ") };
        let text = |text: &String| escape(text.as_bytes());
        let parts = [
            self.host.as_ref().map(|host| format!("host {}", text(host))),
            self.source.as_ref().map(|source| format!("source {}", text(source))),
            self.paths
                .as_ref()
                .map(|paths| format!("paths {}", shown(paths.iter().map(|path| escape(path)).collect()))),
            self.tags.as_ref().map(|tags| format!("tags {}", shown(tags.iter().map(text).collect()))),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    fn line(&self, snapshots: usize) -> GroupLine {
        GroupLine::new([&self.host, &self.source], self.paths.as_deref(), self.tags.as_deref(), snapshots)
    }
}

fn show_groups(run: &Run, args: &SnapshotsArgs, listed: &[Snapshot]) {
    let mut groups: BTreeMap<Group, Vec<Snapshot>> = BTreeMap::new();
    for snapshot in listed {
        groups.entry(Group::of(snapshot, &args.group_by)).or_default().push(snapshot.clone());
    }
    for (at, (group, snapshots)) in groups.iter().enumerate() {
        if run.ink.tone.json {
            run.ink.json(&group.line(snapshots.len()));
        } else {
            let space = if at == 0 { "" } else { "\n" };
            run.ink.data(&format!("{space}{}", group.heading()));
        }
        show(run, args, snapshots);
    }
}

fn show(run: &Run, args: &SnapshotsArgs, listed: &[Snapshot]) {
    if run.ink.tone.json {
        return listed.iter().for_each(|snapshot| run.ink.json(&SnapshotLine::from(snapshot)));
    }
    if listed.is_empty() {
        return run.ink.talk("no snapshots");
    }
    let keep = |at: usize| !args.compact || COMPACT.contains(&COLUMNS[at].0);
    let columns: Vec<_> = (0..COLUMNS.len()).filter(|at| keep(*at)).map(|at| COLUMNS[at]).collect();
    let mut table = Table::new(&columns);
    for snapshot in listed {
        let cells = cells(snapshot).into_iter().enumerate();
        table.row(cells.filter(|(at, _)| keep(*at)).map(|(_, cell)| cell).collect());
    }
    run.ink.table(&table);
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
