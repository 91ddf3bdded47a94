//! Groups of snapshots, as headings for people and as lines for programs.
//!
//! On purpose not here: which snapshots are in one.

use crate::engine::maintain::GroupKey;
use crate::ink::{GroupLine, escape};

/// The group in words; all snapshots, if nothing sets them apart.
pub(crate) fn heading(group: &GroupKey) -> String {
    let shown = |texts: Vec<String>| if texts.is_empty() { "none".to_owned() } else { texts.join(", ") };
    let text = |text: &String| escape(text.as_bytes());
    let paths = |paths: &Vec<Vec<u8>>| shown(paths.iter().map(|path| escape(path)).collect());
    let parts = [
        group.host.as_ref().map(|host| format!("host {}", text(host))),
        group.source.as_ref().map(|source| format!("source {}", text(source))),
        group.paths.as_ref().map(|all| format!("paths {}", paths(all))),
        group.tags.as_ref().map(|tags| format!("tags {}", shown(tags.iter().map(text).collect()))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "all snapshots".to_owned() } else { parts.join("; ") }
}

/// The group's line, before those of its snapshots.
pub(crate) fn line(group: &GroupKey, snapshots: usize) -> GroupLine {
    let names = [&group.host, &group.source];
    GroupLine::new(names, group.paths.as_deref(), group.tags.as_deref(), snapshots)
}
