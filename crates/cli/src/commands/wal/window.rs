//! What can be recovered: from which snapshot on, and how far the log goes on without a gap.
//!
//! A recovery along a timeline takes each segment from the latest timeline on its way that has begun
//! by then. On purpose not here: moments of transactions.

use super::need::Base;
use crate::engine::wal::{Coverage, SegmentName, Timeline};
use crate::wire_up::{History, Lsn};

/// A timeline of the archive, and the way to it.
#[derive(Debug, Clone)]
pub(super) struct Line<'a> {
    pub(super) coverage: &'a Coverage,
    /// None if the archive lacks it: then nothing is known of the way.
    pub(super) history: Option<History>,
}

/// Moments that can be recovered along a timeline: from the end of a snapshot to a place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) timeline: Timeline,
    /// Which of the snapshots.
    pub(super) base: usize,
    /// All snapshots that it leads on from, that one first.
    pub(super) within: Vec<usize>,
    pub(super) to: Lsn,
    /// It is the end of what there is.
    pub(super) to_newest: bool,
}

/// The windows of each timeline, oldest first. `lines` and `bases` are all of one database.
pub(super) fn windows(lines: &[Line<'_>], bases: &[Base]) -> Vec<Window> {
    lines.iter().flat_map(|line| windows_of(line, lines, bases)).collect()
}

fn windows_of(line: &Line<'_>, lines: &[Line<'_>], bases: &[Base]) -> Vec<Window> {
    let way = way(line, lines);
    let mut windows: Vec<Window> = Vec::new();
    for (at, base) in bases.iter().enumerate() {
        if !leads(base, line) {
            continue;
        }
        // Whatever an earlier one leads to, a later one within it leads to too.
        if let Some(window) = windows.last_mut().filter(|window| base.stop <= window.to) {
            window.within.push(at);
            continue;
        }
        let length = base.segment_bytes;
        let first = SegmentName::at(0, base.stop.0 - 1, length);
        // The snapshot has the log up to its stop itself.
        let mut next = if base.stop.0 % length == 0 { first.next(length) } else { first };
        let (mut to, mut last) = (base.stop, None);
        while let Some(found) = has(&way, next, length) {
            to = Lsn(next.start(length).unwrap_or_default() + length);
            (last, next) = (Some(found), next.next(length));
        }
        let timeline = line.coverage.timeline;
        let newest = line.coverage.ends().map(|(_, last)| last);
        let to_newest = newest.is_none_or(|newest| last.is_some_and(|last| last == newest));
        windows.push(Window { timeline, base: at, within: vec![at], to, to_newest });
    }
    windows
}

/// Whether a recovery along a timeline can begin with a snapshot.
fn leads(base: &Base, line: &Line<'_>) -> bool {
    let number = line.coverage.timeline.number;
    let left = line.history.as_ref().and_then(|history| history.left(base.timeline));
    base.timeline == number || left.is_some_and(|left| base.stop <= left)
}

/// The timelines on the way to one, the latest first, with where each begins.
fn way<'a>(line: &'a Line<'_>, lines: &'a [Line<'_>]) -> Vec<(&'a Coverage, Lsn)> {
    let begin = |line: &Line<'_>| line.history.as_ref().map_or(Lsn(0), History::begin);
    let mut way = vec![(line.coverage, begin(line))];
    let Some(history) = &line.history else { return way };
    let before = lines.iter().rev().filter(|other| {
        let number = other.coverage.timeline.number;
        other.history.as_ref().is_some_and(|other| history.comes_from(number, other))
    });
    way.extend(before.map(|other| (other.coverage, begin(other))));
    way
}

/// The segment by which a recovery goes on at a place, if there is one. Where a timeline begins within
/// a segment, what the one before has of it ends there.
fn has(way: &[(&Coverage, Lsn)], place: SegmentName, length: u64) -> Option<SegmentName> {
    let begun = |begin: &Lsn| SegmentName::at(0, begin.0, length).place <= place.place;
    let (coverage, _) = way.iter().find(|(_, begin)| begun(begin))?;
    let name = SegmentName { timeline: coverage.timeline.number, ..place };
    coverage.leads_on(&name, length).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::wal::{WalListed, WalName};

    const LENGTH: u64 = 1 << 24;

    fn listed(timeline: Timeline, places: &[u64]) -> Vec<WalListed> {
        let name = |place: &u64| {
            let segment = SegmentName { timeline: timeline.number, place: *place };
            WalName::whole(timeline, segment.to_string())
        };
        places.iter().map(|place| WalListed { name: name(place), stored_bytes: 1 }).collect()
    }

    fn base(timeline: u32, stop: u64) -> Base {
        Base { system: 7, timeline, stop: Lsn(stop), segment_bytes: LENGTH }
    }

    #[test]
    fn a_gap_ends_a_window_and_a_later_snapshot_begins_another() {
        let first = Timeline::new(7, 1, b"");
        let text = b"1\t0/6000100\tx\n";
        let second = Timeline::new(7, 2, text);
        let all = [listed(first, &[2, 3, 5, 6]), listed(second, &[6, 7])].concat();
        let found = Coverage::of(&all);
        let lines = [
            Line { coverage: &found[0], history: Some(History::default()) },
            Line { coverage: &found[1], history: History::parse(text) },
        ];
        let bases = [base(1, 0x200_0200), base(1, 0x300_0200), base(1, 0x500_0200), base(2, 0x700_0100)];
        let to = |windows: &[Window]| -> Vec<(u32, usize, u64, bool)> {
            windows.iter().map(|w| (w.timeline.number, w.base, w.to.0, w.to_newest)).collect()
        };
        assert_eq!(
            to(&windows(&lines, &bases)),
            [
                (1, 0, 0x400_0000, false),
                (1, 2, 0x700_0000, true),
                (2, 0, 0x400_0000, false),
                (2, 2, 0x800_0000, true),
            ]
        );
    }
}
