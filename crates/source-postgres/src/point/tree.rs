//! The timelines of a database as an archive has them: which comes from which, and which segments
//! there are on the way along one.
//!
//! On purpose not here: what is in the segments.

use crate::log::History;
use crate::lsn::Lsn;
use holdfast_engine::wal::{PIECE_BYTES_MAX, SegmentName, Timeline, WalFile, WalListed};
use std::collections::{BTreeMap, BTreeSet};

/// A timeline with what there is of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Which.
    pub timeline: Timeline,
    /// From where it comes; none if that cannot be told.
    pub history: Option<History>,
    /// Numbers of its segments, counted from the beginning of the log.
    pub segments: BTreeSet<u64>,
}

/// A part of the way along a timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// Number of the timeline.
    pub number: u32,
    /// Which of the tree it is; none if the archive has nothing of it.
    pub line: Option<usize>,
    /// From here on it counts.
    pub from: Lsn,
    /// Up to here; none for the last.
    pub to: Option<Lsn>,
}

/// How far the log goes without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Coverage {
    /// The first segment that is missing.
    pub end: u64,
    /// The first after it that is there.
    pub beyond: Option<u64>,
}

/// What a listing has of a timeline, by the numbers of segments.
#[derive(Default)]
struct There {
    whole: BTreeSet<u64>,
    /// Those of which the first piece is there.
    begun: BTreeSet<u64>,
    last: u64,
}

impl There {
    fn add(&mut self, segment: u64, piece: Option<u32>) {
        self.last = self.last.max(segment);
        match piece {
            None => drop(self.whole.insert(segment)),
            Some(0) => drop(self.begun.insert(segment)),
            Some(_) => {}
        }
    }

    /// Those by which the log goes on. One that fits an object is whole at last: only the newest may still
    /// lie there in pieces.
    fn segments(self, segment_bytes: u64) -> BTreeSet<u64> {
        let Self { mut whole, begun, last } = self;
        let fits = segment_bytes <= PIECE_BYTES_MAX as u64;
        whole.extend(begun.into_iter().filter(|segment| !fits || *segment == last));
        whole
    }
}

/// All timelines of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Length of a segment in bytes.
    pub segment_bytes: u64,
    /// By number and history.
    pub lines: Vec<Line>,
}

impl Tree {
    /// Sorts a listing. `histories` has the history files of all timelines but the first.
    #[must_use]
    pub fn new(segment_bytes: u64, listed: &[WalListed], histories: &BTreeMap<Timeline, Vec<u8>>) -> Self {
        let mut lines: BTreeMap<Timeline, There> = BTreeMap::new();
        for listed in listed {
            let name = &listed.name;
            let there = lines.entry(name.timeline).or_default();
            let Some(WalFile::Segment(segment)) = name.kind() else { continue };
            let start = segment.start(segment_bytes).filter(|_| segment.timeline == name.timeline.number);
            if let Some(start) = start {
                there.add(start / segment_bytes, name.piece);
            }
        }
        let lines = lines.into_iter().map(|(timeline, there)| {
            let segments = there.segments(segment_bytes);
            let history = match timeline.number {
                1 => Some(History::default()),
                number => histories
                    .get(&timeline)
                    .and_then(|text| History::parse(text))
                    .filter(|history| history.switches.last().is_some_and(|switch| switch.timeline < number)),
            };
            Line { timeline, history, segments }
        });
        Self { segment_bytes, lines: lines.collect() }
    }

    /// The number of the segment in which a place lies.
    pub(super) const fn number(&self, at: Lsn) -> u64 {
        at.0 / self.segment_bytes
    }

    /// Where a segment begins.
    pub(super) const fn start(&self, segment: u64) -> Lsn {
        Lsn(segment.saturating_mul(self.segment_bytes))
    }

    /// The name of a segment of a timeline.
    pub(super) const fn name(&self, timeline: u32, segment: u64) -> SegmentName {
        SegmentName::at(timeline, self.start(segment).0, self.segment_bytes)
    }

    /// The way along a timeline from the beginning of the log; none if its history is not known.
    #[must_use]
    pub fn path(&self, line: usize) -> Option<Vec<Leg>> {
        let Line { timeline, history, .. } = self.lines.get(line)?;
        let history = history.as_ref()?;
        let (mut legs, mut from) = (Vec::new(), Lsn(0));
        for switch in &history.switches {
            let line = self.before(history, switch.timeline);
            legs.push(Leg { number: switch.timeline, line, from, to: Some(switch.at) });
            from = switch.at;
        }
        legs.push(Leg { number: timeline.number, line: Some(line), from, to: None });
        Some(legs)
    }

    /// The line with this number on the way to one with a history.
    fn before(&self, history: &History, number: u32) -> Option<usize> {
        let comes_from = |line: &Line| {
            line.timeline.number == number
                && line.history.as_ref().is_some_and(|before| history.comes_from(number, before))
        };
        self.lines.iter().position(comes_from)
    }

    /// Where other timelines leave one.
    pub(super) fn forks_of(&self, line: usize) -> impl Iterator<Item = Lsn> {
        let number = self.lines[line].timeline.number;
        let others = self.lines.iter().filter_map(|other| other.history.as_ref());
        others.filter_map(move |history| match history.switches.last() {
            Some(last) if last.timeline == number && self.before(history, number) == Some(line) => {
                Some(last.at)
            }
            _ => None,
        })
    }

    /// The leg from which a server takes a segment: the newest timeline that has it.
    pub(super) fn holder<'a>(&self, path: &'a [Leg], segment: u64) -> Option<&'a Leg> {
        path.iter().rev().find(|leg| self.reaches(leg, segment) && self.has(leg, segment))
    }

    fn has(&self, leg: &Leg, segment: u64) -> bool {
        leg.line.and_then(|line| self.lines.get(line)).is_some_and(|line| line.segments.contains(&segment))
    }

    /// Whether a segment has a part of the log that counts on this leg.
    fn reaches(&self, leg: &Leg, segment: u64) -> bool {
        let last = leg.to.map(|to| self.number(Lsn(to.0.saturating_sub(1))));
        segment >= self.number(leg.from) && last.is_none_or(|last| segment <= last)
    }

    /// How far the log goes from a segment on.
    pub(super) fn coverage(&self, path: &[Leg], from: u64) -> Coverage {
        let mut end = from;
        while self.holder(path, end).is_some() {
            end += 1;
        }
        let later = path.iter().filter_map(|leg| {
            let line = self.lines.get(leg.line?)?;
            line.segments.range(end..).copied().find(|&segment| self.reaches(leg, segment))
        });
        Coverage { end, beyond: later.min() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use holdfast_engine::wal::WalName;

    pub(crate) const MIB: u64 = 1 << 20;

    /// Timelines with their histories and segments, in segments of one MiB.
    pub(crate) fn tree(lines: &[(u32, &str, &[u64])]) -> Tree {
        let (mut listed, mut histories) = (Vec::new(), BTreeMap::new());
        for (number, history, segments) in lines {
            let timeline = Timeline::new(7, *number, history.as_bytes());
            let mut add = |name| listed.push(WalListed { name, stored_bytes: 1 });
            if *number > 1 {
                add(WalName::whole(timeline, format!("{number:08X}.history")));
                histories.insert(timeline, history.as_bytes().to_vec());
            }
            for segment in *segments {
                add(WalName::whole(timeline, SegmentName::at(*number, segment * MIB, MIB).to_string()));
            }
        }
        Tree::new(MIB, &listed, &histories)
    }

    fn numbers(tree: &Tree, path: &[Leg], segments: std::ops::Range<u64>) -> Vec<u32> {
        segments.map(|segment| tree.holder(path, segment).map_or(0, |leg| leg.number)).collect()
    }

    #[test]
    fn a_way_goes_over_forks_and_the_newest_timeline_gives_the_segment() {
        // The second leaves the first within segment 4, the third leaves the second where segment 6 begins.
        let tree = tree(&[
            (1, "", &[1, 2, 3, 4, 5, 6, 7]),
            (2, "1\t0/400100\tx\n", &[4, 5, 6, 7]),
            (3, "1\t0/400100\tx\n\n2\t0/600000\ty\n", &[6, 7, 8]),
        ]);
        let path = tree.path(2).unwrap();
        assert_eq!(
            path.iter().map(|leg| (leg.number, leg.line)).collect::<Vec<_>>(),
            [(1, Some(0)), (2, Some(1)), (3, Some(2))]
        );
        assert_eq!(numbers(&tree, &path, 1..10), [1, 1, 1, 2, 2, 3, 3, 3, 0]);
        assert_eq!(tree.coverage(&path, 1), Coverage { end: 9, beyond: None });
        let first = tree.path(0).unwrap();
        assert_eq!(numbers(&tree, &first, 3..9), [1, 1, 1, 1, 1, 0]);
        assert_eq!(tree.forks_of(0).collect::<Vec<_>>(), [Lsn(0x40_0100)]);
        assert_eq!(tree.forks_of(1).collect::<Vec<_>>(), [Lsn(0x60_0000)]);
    }

    #[test]
    fn the_old_timeline_gives_the_segment_of_a_fork_if_the_new_one_has_it_not() {
        let tree = tree(&[(1, "", &[1, 2, 3, 4]), (2, "1\t0/400100\tx\n", &[5])]);
        let path = tree.path(1).unwrap();
        assert_eq!(numbers(&tree, &path, 3..7), [1, 1, 2, 0]);
        assert_eq!(tree.coverage(&path, 2), Coverage { end: 6, beyond: None });
    }

    #[test]
    fn gaps_are_seen_where_they_are_on_the_way() {
        let tree = tree(&[(1, "", &[1, 2, 4, 5]), (2, "1\t0/500100\tx\n", &[5, 6, 8])]);
        let path = tree.path(1).unwrap();
        assert_eq!(tree.coverage(&path, 1), Coverage { end: 3, beyond: Some(4) });
        assert_eq!(tree.coverage(&path, 4), Coverage { end: 7, beyond: Some(8) });
        assert_eq!(tree.coverage(&path, 8), Coverage { end: 9, beyond: None });
        assert_eq!(tree.coverage(&tree.path(0).unwrap(), 4), Coverage { end: 6, beyond: None });
    }

    #[test]
    fn two_timelines_of_one_number_do_not_mix() {
        let tree = tree(&[
            (1, "", &[1, 2, 3]),
            (2, "1\t0/200100\tclone\n", &[2, 3]),
            (2, "1\t0/300100\tfailover\n", &[3, 4]),
            (3, "1\t0/300100\tfailover\n\n2\t0/400100\tagain\n", &[4]),
        ]);
        let third = tree.lines.iter().position(|line| line.timeline.number == 3).unwrap();
        let path = tree.path(third).unwrap();
        let second = &tree.lines[path[1].line.unwrap()];
        assert_eq!(second.history.as_ref().unwrap().begin(), Lsn(0x30_0100));
        assert_eq!(numbers(&tree, &path, 1..6), [1, 1, 2, 3, 0]);
    }

    #[test]
    fn only_the_newest_segment_goes_on_in_pieces() {
        let timeline = Timeline::new(7, 1, b"");
        let listed = |length: u64, names: &[(u64, Option<u32>)]| -> Vec<u64> {
            let name = |&(segment, piece): &(u64, Option<u32>)| {
                let file = SegmentName::at(1, segment * length, length).to_string();
                match piece {
                    None => WalName::whole(timeline, file),
                    Some(piece) => WalName::piece(timeline, file, piece),
                }
            };
            let listed: Vec<_> =
                names.iter().map(|one| WalListed { name: name(one), stored_bytes: 1 }).collect();
            Tree::new(length, &listed, &BTreeMap::new()).lines[0].segments.iter().copied().collect()
        };
        let names = [(1, None), (2, Some(0)), (2, Some(1)), (3, None), (3, Some(0)), (4, Some(0))];
        assert_eq!(listed(MIB, &names), [1, 3, 4]);
        assert_eq!(listed(MIB, &[&names[..], &[(5, Some(1))]].concat()), [1, 3]);
        assert_eq!(listed(1 << 30, &names[1..4]), [2, 3]);
    }

    #[test]
    fn what_has_no_history_has_no_way() {
        let timeline = Timeline::new(7, 2, b"1\t0/1\tx\n");
        let name = WalName::whole(timeline, SegmentName::at(2, MIB, MIB).to_string());
        let tree = Tree::new(MIB, &[WalListed { name, stored_bytes: 1 }], &BTreeMap::new());
        assert_eq!((tree.lines.len(), tree.path(0), tree.path(9)), (1, None, None));
    }
}
