//! Finding the snapshot that is meant, and saying which one it is.

use super::Run;
use crate::args::Pick;
use crate::engine::{Repository, Resolved, Snapshot, SnapshotFilter, resolve};
use crate::fault::Fault;
use crate::ink::{age, escape, local, since};
use crate::settings;
use holdfast_core::entry::Time;
use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

/// Finds the one snapshot that a text and a filter mean.
pub(crate) async fn one(
    run: &Run,
    repository: &Repository,
    text: &str,
    path: &[u8],
    pick: &Pick,
) -> Result<Resolved, Fault> {
    let resolved = resolve(&run.ctx, repository, text, path, &settings::filter_of(pick)).await;
    run.progress.tell_heard();
    let resolved = resolved?;
    if let Some(old) = resolved.instead_of {
        let old = &old.to_string()[..8];
        run.ink.talk(&format!("snapshot {old} was replaced by {}", short_id(&resolved.snapshot)));
    }
    Ok(resolved)
}

/// The filter of what a person picks, and of snapshots that hold one of some paths.
pub(crate) fn filter(pick: &Pick, paths: &[PathBuf]) -> Result<SnapshotFilter, Fault> {
    let current = settings::current_dir()?;
    let path = |path: &PathBuf| settings::normalise(path, &current).into_os_string().into_vec();
    Ok(SnapshotFilter { paths: paths.iter().map(path).collect(), ..settings::filter_of(pick) })
}

/// Keeps those that are named, if any are. What a name says of a path in one is for `judge` to say.
pub(crate) async fn chosen(
    run: &Run,
    repository: &Repository,
    mut listed: Vec<Snapshot>,
    (names, pick): (&[OsString], &Pick),
    judge: impl Fn(&[u8]) -> Result<(), Fault>,
) -> Result<Vec<Snapshot>, Fault> {
    if names.is_empty() {
        return Ok(listed);
    }
    let mut named = HashSet::new();
    for text in names {
        let (text, path) = settings::snapshot_and_path(text)?;
        judge(&path)?;
        named.insert(one(run, repository, &text, b"", pick).await?.snapshot.id);
    }
    listed.retain(|snapshot| named.contains(&snapshot.id));
    Ok(listed)
}

/// The beginning of an id that people are shown.
pub(crate) fn short_id(snapshot: &Snapshot) -> String {
    snapshot.id.to_string()[..8].to_owned()
}

/// The source by its name, and by its paths where the name does not say them.
pub(crate) fn source_name(snapshot: &Snapshot) -> String {
    let summary = &snapshot.summary;
    let paths = summary.paths.iter().map(|path| escape(path)).collect::<Vec<_>>().join(", ");
    let label = &summary.label;
    if label.is_empty() || *label == default_label(&summary.host, &summary.paths) {
        paths
    } else {
        format!("{} ({paths})", escape(label.as_bytes()))
    }
}

/// The name that a source has when nobody gave it one.
pub(crate) fn default_label(host: &str, paths: &[Vec<u8>]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| String::from_utf8_lossy(path)).collect();
    format!("{host}:{}", paths.join(","))
}

/// Says which snapshot it is: id, host, source, age.
pub(crate) fn described(snapshot: &Snapshot, now: Time) -> String {
    let summary = &snapshot.summary;
    let old = since(summary.end, now);
    let old = if old == Duration::ZERO { "just now".into() } else { format!("{} ago", age(old)) };
    let whole = if summary.incomplete { ", INCOMPLETE" } else { "" };
    let (id, host, source) = (short_id(snapshot), escape(summary.host.as_bytes()), source_name(snapshot));
    format!("snapshot {id} of host {host}, {source}, taken {old} ({}){whole}", local(summary.end))
}

/// Says which newer snapshots were not taken, and why.
pub(crate) fn passed_over(resolved: &Resolved) -> Vec<String> {
    let words = |newer: &Snapshot| format!("{} of {}", short_id(newer), local(newer.summary.end));
    let incomplete = resolved.passed_over.as_ref().map(|newer| {
        format!("a newer snapshot was passed over, it is incomplete: {}; name it to use it", words(newer))
    });
    let without = resolved.without_path.as_ref().map(|newer| {
        format!("newer snapshots do not hold this path, the newest of them is {}", words(newer))
    });
    let ahead = resolved.ahead.as_ref().map(|ahead| in_future(ahead, &resolved.snapshot));
    ahead.into_iter().chain(incomplete).chain(without).collect()
}

/// Says that some clock was wrong, and what was taken in spite of it.
fn in_future(ahead: &Snapshot, taken: &Snapshot) -> String {
    let (id, time) = (short_id(ahead), local(ahead.summary.end));
    let wrong = "a clock was ahead when it was made, or this one is behind";
    if ahead.id == taken.id {
        return format!("the snapshot says that it is of {time}, which is in the future: {wrong}");
    }
    format!(
        "snapshot {id} says that it is of {time}, which is in the future: {wrong}. It does not count as the latest; name it to use it"
    )
}
