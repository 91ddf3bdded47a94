//! Ends of transactions and restore points in a part of a log: the way to find the moment before a
//! mistake.
//!
//! On purpose not here: which of them is the mistake.

use super::search::{Mark, Walk};
use super::shelf::Shelf;
use super::tree::Tree;
use super::wish::{PlanError, Target};
use crate::lsn::Lsn;
use crate::records::{Event, EventKind, PgTime};

/// An end of the part that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// A moment.
    Time(PgTime),
    /// A place.
    Lsn(Lsn),
}

/// So much later than the last moment a record may still be of before: clocks are read before a
/// record is written.
const LATE_MICROS: i64 = 60_000_000;

/// Tells of all commits and restore points of one timeline from one end to the other, both included.
/// Where segments are missing, those before and behind the gap are read.
///
/// # Errors
/// Something cannot be read, or the history of the timeline is missing.
pub async fn commits<S: Shelf>(
    shelf: &S,
    system: u64,
    tree: &Tree,
    line: usize,
    (from, to): (Edge, Edge),
    mut each: impl FnMut(&Event),
) -> Result<(), PlanError> {
    let path = tree.path(line).ok_or_else(|| PlanError::NoHistory(tree.lines[line].timeline))?;
    let begins = path.last().map_or(Lsn(0), |leg| leg.from);
    let walk = Walk { shelf, tree, path: &path, system };
    let mut next = match from {
        Edge::Lsn(lsn) => tree.number(lsn.max(begins)),
        Edge::Time(_) => tree.number(begins),
    };
    while let Some(first) = tree.lines[line].segments.range(next..).next().copied() {
        let end = tree.coverage(&path, first).end;
        next = end;
        let begin = match from {
            Edge::Time(time) => {
                let mark = Mark { target: &Target::Time(time), exclusive: true };
                walk.open_at(mark, first, end).await?
            }
            Edge::Lsn(_) => first,
        };
        let ended = walk
            .each(begin, end, |event| {
                if event.at >= begins && is_told(event) && !is_before(event, from) && !is_behind(event, to, 0)
                {
                    each(event);
                }
                is_behind(event, to, LATE_MICROS)
            })
            .await?;
        if ended {
            break;
        }
    }
    Ok(())
}

const fn is_told(event: &Event) -> bool {
    matches!(event.kind, EventKind::Commit { .. } | EventKind::RestorePoint { .. })
}

const fn time_of(event: &Event) -> Option<PgTime> {
    match event.kind {
        EventKind::Commit { time, .. }
        | EventKind::Abort { time, .. }
        | EventKind::RestorePoint { time, .. } => Some(time),
        _ => None,
    }
}

fn is_before(event: &Event, from: Edge) -> bool {
    match from {
        Edge::Lsn(lsn) => event.at < lsn,
        Edge::Time(moment) => time_of(event).is_some_and(|time| time < moment),
    }
}

fn is_behind(event: &Event, to: Edge, late: i64) -> bool {
    match to {
        Edge::Lsn(lsn) => event.at > lsn,
        Edge::Time(moment) => time_of(event).is_some_and(|time| time.0.saturating_sub(late) > moment.0),
    }
}
