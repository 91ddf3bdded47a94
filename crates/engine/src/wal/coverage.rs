//! What there is of a timeline's log: from where to where, and what is missing in between.
//!
//! It goes by names alone. On purpose not here: whether what lies there can be read.

use super::{PIECE_BYTES_MAX, SegmentName, Timeline, WalFile, WalListed};
use std::collections::BTreeMap;

/// Segments that are missing between two that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The last one before them.
    pub after: SegmentName,
    /// The first one behind them.
    pub before: SegmentName,
    /// How many there are.
    pub missing: u64,
}

/// What there is of one timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// Which timeline.
    pub timeline: Timeline,
    /// Segments of which something is there; whether each is whole.
    pub segments: BTreeMap<SegmentName, bool>,
    /// Segments whose first pieces are missing, or some between others.
    pub torn: Vec<SegmentName>,
    /// Other files: histories, notes of backups.
    pub others: u64,
    /// What all of it takes, in bytes.
    pub stored_bytes: u64,
}

impl Coverage {
    /// Sorts what a listing shows by timelines, in its order.
    #[must_use]
    pub fn of(listed: &[WalListed]) -> Vec<Self> {
        listed.chunk_by(|a, b| a.name.timeline == b.name.timeline).map(Self::of_one).collect()
    }

    fn of_one(listed: &[WalListed]) -> Self {
        let mut coverage = Self {
            timeline: listed[0].name.timeline,
            segments: BTreeMap::new(),
            torn: Vec::new(),
            others: 0,
            stored_bytes: listed.iter().map(|listed| listed.stored_bytes).sum(),
        };
        let mut pieces: BTreeMap<SegmentName, Vec<u32>> = BTreeMap::new();
        for listed in listed {
            match (listed.name.kind(), listed.name.piece) {
                (Some(WalFile::Segment(name)), None) => {
                    coverage.segments.insert(name, true);
                }
                (Some(WalFile::Segment(name)), Some(piece)) => pieces.entry(name).or_default().push(piece),
                _ => coverage.others += 1,
            }
        }
        for (name, numbers) in pieces {
            let is_whole = *coverage.segments.entry(name).or_insert(false);
            if !is_whole && !numbers.iter().copied().eq(0..numbers.len() as u32) {
                coverage.torn.push(name);
            }
        }
        coverage
    }

    /// The first and the last segment.
    #[must_use]
    pub fn ends(&self) -> Option<(SegmentName, SegmentName)> {
        Some((*self.segments.first_key_value()?.0, *self.segments.last_key_value()?.0))
    }

    /// How many segments lie there in pieces only.
    #[must_use]
    pub fn in_pieces(&self) -> u64 {
        self.segments.values().filter(|whole| !**whole).count() as u64
    }

    /// Whether a recovery goes on by a segment, if segments have this length. One that fits an object is
    /// whole at last: only the newest may still lie there in pieces.
    #[must_use]
    pub fn leads_on(&self, name: &SegmentName, segment_bytes: u64) -> bool {
        let Some(whole) = self.segments.get(name) else { return false };
        let may_be_in_pieces = segment_bytes > PIECE_BYTES_MAX as u64
            || self.segments.last_key_value().is_some_and(|(last, _)| last == name);
        *whole || (may_be_in_pieces && !self.torn.contains(name))
    }

    /// Segments of which something is there and not all, from a place on, if segments have this length.
    #[must_use]
    pub fn in_part(&self, from: u64, segment_bytes: u64) -> Vec<SegmentName> {
        let names = self.segments.keys().filter(|name| name.place >= from);
        names.filter(|name| !self.leads_on(name, segment_bytes)).copied().collect()
    }

    /// What is missing from a place on, if segments have this length.
    #[must_use]
    pub fn gaps(&self, from: u64, segment_bytes: u64) -> Vec<Gap> {
        let names: Vec<_> = self.segments.keys().copied().filter(|name| name.place >= from).collect();
        let pairs = names.windows(2).filter(|pair| pair[0].next(segment_bytes) != pair[1]);
        pairs
            .map(|pair| {
                let start = |name: SegmentName| name.start(segment_bytes).unwrap_or_default() / segment_bytes;
                let missing = start(pair[1]).saturating_sub(start(pair[0])).saturating_sub(1);
                Gap { after: pair[0], before: pair[1], missing }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::WalName;

    #[test]
    fn a_gap_is_what_no_name_stands_for() {
        let timeline = Timeline::new(7, 1, b"");
        let file = |place| SegmentName { timeline: 1, place }.to_string();
        let name = |place, piece| match piece {
            None => WalName::whole(timeline, file(place)),
            Some(piece) => WalName::piece(timeline, file(place), piece),
        };
        let names = [
            name(0xFE, None),
            name(0xFF, None),
            name(1 << 32, None),
            name((1 << 32) + 3, None),
            name((1 << 32) + 3, Some(0)),
            name((1 << 32) + 4, Some(0)),
            name((1 << 32) + 4, Some(1)),
            name((1 << 32) + 5, Some(1)),
            WalName::whole(timeline, format!("{}.00000028.backup", file(1 << 32))),
        ];
        let listed: Vec<_> = names.into_iter().map(|name| WalListed { name, stored_bytes: 10 }).collect();
        let all = Coverage::of(&listed);
        assert_eq!(all.len(), 1);
        let coverage = &all[0];
        let gaps = coverage.gaps(0, 16 << 20);
        assert_eq!(gaps.len(), 1);
        assert_eq!((gaps[0].missing, gaps[0].after.place, gaps[0].before.place), (2, 1 << 32, (1 << 32) + 3));
        assert!(coverage.gaps((1 << 32) + 1, 16 << 20).is_empty());
        assert_eq!((coverage.in_pieces(), coverage.others, coverage.stored_bytes), (2, 1, 90));
        assert_eq!(coverage.torn.iter().map(|name| name.place).collect::<Vec<_>>(), [(1 << 32) + 5]);
        // The fourth is never whole any more: later log is there.
        let in_part = |length| coverage.in_part(0, length).iter().map(|name| name.place).collect::<Vec<_>>();
        assert_eq!(in_part(16 << 20), [(1 << 32) + 4, (1 << 32) + 5]);
        assert!(coverage.in_part((1 << 32) + 6, 16 << 20).is_empty());
        // Longer ones are never in one object.
        assert_eq!(in_part(1 << 30), [(1 << 32) + 5]);
        // The newest one comes in.
        let newest = Coverage::of(&listed[..7]);
        assert!(newest[0].in_part(0, 16 << 20).is_empty() && newest[0].in_pieces() == 1);
        assert!(Coverage::of(&[]).is_empty());
    }
}
