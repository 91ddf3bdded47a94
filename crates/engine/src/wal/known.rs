//! What removed members wrote into logs: only what a root knows to have been there counts.
//!
//! A segment lies under a name that no session and no root names, so nothing tells when it was put there.
//! Whoever publishes the root that shuts a member out writes down what there is of logs; later prunes add what
//! came since and was written by others. On purpose not here: who was removed, and deleting what does not
//! count ([`crate::maintain`]).

use super::{SegmentName, Timeline, WalFile, WalListed, WalName};
use crate::repository::Repository;
use holdfast_core::cutoff::{CutOffs, KnownLog};
use holdfast_core::id::MemberId;
use holdfast_core::root::Root;
use std::collections::{BTreeMap, BTreeSet};

/// With more ranges and files than this what is known is not written down: somebody has strewn names.
const PARTS_MAX: usize = 100_000;
/// How many segments of the shortest and of the longest kind 4 GiB of log have.
const PER_HIGH: std::ops::RangeInclusive<u64> = 4..=4096;

/// What counts of logs, under one root.
#[derive(Debug, Default)]
pub(crate) struct LogCut {
    /// Members that the root shuts out, and says how far they count.
    shut_out: BTreeSet<MemberId>,
    /// What is known to count; `None` if everything does.
    known: Option<Known>,
}

impl LogCut {
    /// What a root says.
    pub(crate) fn of(repository: &Repository, root: &Root) -> Self {
        let members = root.cutoffs.members.iter().map(|cut| cut.member);
        let shut_out = members.filter(|member| repository.is_shut_out(*member, root)).collect();
        Self { shut_out, known: root.cutoffs.log.as_deref().map(Known::read) }
    }

    /// Whether everything counts.
    pub(crate) fn is_open(&self) -> bool {
        self.shut_out.is_empty() || self.known.is_none()
    }

    /// Whether an object counts whoever wrote it.
    pub(crate) fn knows(&self, name: &WalName) -> bool {
        self.is_open() || self.known.as_ref().is_some_and(|known| known.has(name))
    }

    /// Whether an object was put by a member after it had been shut out.
    pub(crate) fn is_late(&self, author: MemberId, name: &WalName) -> bool {
        self.shut_out.contains(&author) && !self.knows(name)
    }

    /// What the next root says is known: that, and what else was found to count.
    pub(crate) fn grown(cutoffs: &CutOffs, counting: &[WalListed]) -> Option<Vec<KnownLog>> {
        let mut known = cutoffs.log.as_deref().map(Known::read).unwrap_or_default();
        for timeline in counting.chunk_by(|a, b| a.name.timeline == b.name.timeline) {
            known.0.entry(timeline[0].name.timeline).or_default().add(timeline);
        }
        known.write()
    }
}

/// By timeline.
#[derive(Debug, Default)]
struct Known(BTreeMap<Timeline, KnownTimeline>);

#[derive(Debug, Default)]
struct KnownTimeline {
    /// Whole segments: by the first of a range, the last.
    ranges: BTreeMap<SegmentName, SegmentName>,
    /// Other whole files.
    files: BTreeSet<String>,
    /// Files in pieces: how many, from the first on.
    pieces: BTreeMap<String, u32>,
}

/// The segment that an object is all of.
fn segment_of(name: &WalName) -> Option<SegmentName> {
    match (name.kind(), name.piece) {
        (Some(WalFile::Segment(segment)), None) => Some(segment),
        _ => None,
    }
}

impl Known {
    /// What is not understood of a later version's words is not known.
    fn read(log: &[KnownLog]) -> Self {
        let one = |known: &KnownLog| {
            let (system, timeline) = known.timeline.split_once('/')?;
            let timeline = Timeline::parse(u64::from_str_radix(system, 16).ok()?, timeline)?;
            Some((timeline, KnownTimeline::read(known)))
        };
        Self(log.iter().filter_map(one).collect())
    }

    fn write(&self) -> Option<Vec<KnownLog>> {
        let log: Vec<_> = self.0.iter().map(|(timeline, known)| known.write(timeline)).collect();
        let parts: usize = log.iter().map(|known| 1 + known.ranges.len() + known.others.len()).sum();
        (parts <= PARTS_MAX).then_some(log)
    }

    fn has(&self, name: &WalName) -> bool {
        self.0.get(&name.timeline).is_some_and(|known| known.has(name))
    }
}

impl KnownTimeline {
    fn read(known: &KnownLog) -> Self {
        let range =
            |(first, last): &(String, String)| Some((SegmentName::parse(first)?, SegmentName::parse(last)?));
        let of_pieces = known.others.iter().filter(|(_, pieces)| *pieces > 0);
        Self {
            ranges: known.ranges.iter().filter_map(range).collect(),
            files: known
                .others
                .iter()
                .filter(|(_, pieces)| *pieces == 0)
                .map(|(file, _)| file.clone())
                .collect(),
            pieces: of_pieces.cloned().collect(),
        }
    }

    fn write(&self, timeline: &Timeline) -> KnownLog {
        let ranges = self.ranges.iter().map(|(first, last)| (first.to_string(), last.to_string()));
        let files = self.files.iter().map(|file| (file.clone(), 0));
        let pieces = self.pieces.iter().map(|(file, pieces)| (file.clone(), *pieces));
        KnownLog {
            timeline: format!("{:016x}/{timeline}", timeline.system),
            ranges: ranges.collect(),
            others: files.chain(pieces).collect(),
        }
    }

    fn has(&self, name: &WalName) -> bool {
        match (segment_of(name), name.piece) {
            (Some(segment), _) => {
                self.ranges.range(..=segment).next_back().is_some_and(|(_, last)| segment <= *last)
            }
            (None, None) => self.files.contains(&name.file),
            (None, Some(piece)) => self.pieces.get(&name.file).is_some_and(|count| piece < *count),
        }
    }

    /// Takes in what lies there of the timeline, in its order.
    fn add(&mut self, listed: &[WalListed]) {
        let names = || listed.iter().map(|listed| &listed.name);
        let segments: Vec<_> = names().filter_map(segment_of).collect();
        for name in names().filter(|name| segment_of(name).is_none()) {
            match name.piece {
                None => drop(self.files.insert(name.file.clone())),
                Some(piece) => {
                    let count = self.pieces.entry(name.file.clone()).or_default();
                    *count += u32::from(piece == *count);
                }
            }
        }
        self.pieces.retain(|_, count| *count > 0);
        self.add_segments(&segments);
    }

    fn add_segments(&mut self, segments: &[SegmentName]) {
        let mut all: Vec<_> = std::mem::take(&mut self.ranges).into_iter().collect();
        all.extend(segments.iter().map(|segment| (*segment, *segment)));
        all.sort_unstable();
        let low = |name: SegmentName| name.place & 0xFFFF_FFFF;
        let top = all.iter().map(|(first, last)| low(*first).max(low(*last))).max().unwrap_or_default();
        let mut current: Option<(SegmentName, SegmentName)> = None;
        for (first, last) in all {
            match &mut current {
                Some((_, end)) if first <= *end || follows(*end, first, top) => *end = last.max(*end),
                _ => self.ranges.extend(current.replace((first, last))),
            }
        }
        self.ranges.extend(current);
    }
}

/// Whether nothing lies between two segments, where none has a higher number within its 4 GiB than `top`.
pub(crate) fn follows(a: SegmentName, b: SegmentName, top: u64) -> bool {
    let (high, low) = (a.place >> 32, a.place & 0xFFFF_FFFF);
    let is_last = low == top && PER_HIGH.contains(&(low + 1)) && (low + 1).is_power_of_two();
    a.timeline == b.timeline && (b.place == a.place + 1 || (is_last && b.place == (high + 1) << 32))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn name(place: u64, piece: Option<u32>) -> WalName {
        let file = SegmentName { timeline: 1, place }.to_string();
        WalName { timeline: Timeline::new(7, 1, b""), file, piece }
    }

    fn listed(names: impl IntoIterator<Item = WalName>) -> Vec<WalListed> {
        let mut listed: Vec<_> = names.into_iter().map(|name| WalListed { name, stored_bytes: 1 }).collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        listed
    }

    #[test]
    fn what_was_there_is_known_and_nothing_beside_it() {
        let history = WalName::whole(Timeline::new(7, 1, b""), "00000001.history");
        let whole =
            (0xF0..0x100).chain([1 << 32, (1 << 32) + 1, (1 << 32) + 5]).map(|place| name(place, None));
        let pieces = [0, 1, 3].map(|piece| name((1 << 32) + 6, Some(piece)));
        let there = listed(whole.chain(pieces).chain([history.clone()]));
        let log = LogCut::grown(&CutOffs::default(), &there).unwrap();
        // Names follow each other over the end of 4 GiB, and one is missing.
        assert_eq!((log.len(), log[0].ranges.len(), log[0].others.len()), (1, 2, 2));
        let known = Known::read(&log);
        let lacks: Vec<_> = there.iter().filter(|listed| !known.has(&listed.name)).collect();
        assert_eq!(lacks.iter().map(|listed| listed.name.piece).collect::<Vec<_>>(), [Some(3)]);
        let note =
            WalName::whole(Timeline::new(7, 1, b""), format!("{}.00000028.backup", name(0xF1, None).file));
        let other = WalName { timeline: Timeline::new(8, 1, b""), ..name(0xF1, None) };
        for absent in [
            name(0xEF, None),
            name((1 << 32) + 2, None),
            name((1 << 32) + 6, None),
            name(0xF1, Some(0)),
            note,
            other,
        ] {
            assert!(!known.has(&absent), "{absent:?}");
        }
        // What comes later is added, and what is gone stays known.
        let cutoffs = CutOffs { members: Vec::new(), log: Some(log) };
        let later =
            listed([name((1 << 32) + 2, None), name((1 << 32) + 6, None), name((1 << 32) + 6, Some(2))]);
        let log = LogCut::grown(&cutoffs, &later).unwrap();
        assert_eq!(log[0].ranges.len(), 2);
        assert_eq!(log[0].others, [("00000001.history".to_owned(), 0), (name((1 << 32) + 6, None).file, 3)]);
        assert!(
            Known::read(&log).has(&name(0xF3, None)) && Known::read(&log).has(&name((1 << 32) + 2, None))
        );
    }

    #[test]
    fn names_that_were_strewn_are_not_written_down() {
        let strewn = listed((0..=PARTS_MAX as u64).map(|place| name(place * 2, None)));
        assert_eq!(LogCut::grown(&CutOffs::default(), &strewn), None);
    }
}
