//! What an archive has of one timeline, segment by segment, and where a stream goes on by it.
//!
//! On purpose not here: how long pieces are, which only they say themselves. A stream goes on with
//! the first segment that is not whole and meets its pieces on the way.

use super::chain::Leg;
use crate::lsn::Lsn;
use holdfast_engine::wal::{PIECE_BYTES_MAX, SegmentName, WalName};
use std::collections::BTreeMap;

/// What there is of a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// All of it in one object.
    pub whole: bool,
    /// So many pieces, from the first on without a hole.
    pub pieces: u32,
}

/// What there is of a timeline, by the first bytes of segments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shelf(BTreeMap<Lsn, Held>);

impl Shelf {
    /// Sorts the names of a timeline; what is no segment is passed over.
    pub(crate) fn new(timeline: u32, segment_bytes: u64, names: impl IntoIterator<Item = WalName>) -> Self {
        let mut shelf = Self::default();
        let mut pieces: Vec<(Lsn, u32)> = Vec::new();
        for name in names {
            let segment = SegmentName::parse(&name.file).filter(|segment| segment.timeline == timeline);
            let Some(start) = segment.and_then(|segment| segment.start(segment_bytes)).map(Lsn) else {
                continue;
            };
            match name.piece {
                None => shelf.0.entry(start).or_default().whole = true,
                Some(number) => pieces.push((start, number)),
            }
        }
        pieces.sort_unstable();
        for (start, number) in pieces {
            let held = shelf.0.entry(start).or_default();
            if held.pieces == number {
                held.pieces += 1;
            }
        }
        shelf
    }

    /// What there is of the segment that begins here.
    pub(crate) fn held(&self, start: Lsn) -> Held {
        self.0.get(&start).copied().unwrap_or_default()
    }

    /// Notes what was stored.
    pub(crate) fn note(&mut self, start: Lsn, note: impl FnOnce(&mut Held)) {
        note(self.0.entry(start).or_default());
    }

    /// Ranges without a gap between two places: where each begins, and where the first segment
    /// begins that is not whole.
    fn runs(&self, from: Lsn, to: Option<Lsn>, segment_bytes: u64) -> Vec<(Lsn, Lsn)> {
        let mut runs: Vec<(Lsn, Lsn)> = Vec::new();
        let counts = self.0.range(from..).take_while(|(start, _)| to.is_none_or(|to| **start < to));
        for (&start, held) in counts.filter(|(_, held)| held.whole || held.pieces > 0) {
            let next = Lsn(start.0.saturating_add(segment_bytes));
            let follows = self.held(next);
            let whole = held.whole || !fits(segment_bytes) && (follows.whole || follows.pieces > 0);
            let end = if whole { next } else { start };
            match runs.last_mut() {
                Some((_, last)) if *last == start => *last = end,
                _ => runs.push((start, end)),
            }
        }
        runs
    }
}

/// Whether a segment of this length fits into one object. One that does not comes in pieces alone,
/// and is whole where the next one was begun.
pub(crate) const fn fits(segment_bytes: u64) -> bool {
    segment_bytes <= PIECE_BYTES_MAX as u64
}

/// A place in the log, on one of the timelines that lead to a server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Which of them.
    pub leg: usize,
    pub at: Lsn,
}

/// Where a stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resume {
    /// At the beginning of a segment.
    pub from: Place,
    /// Up to here there is something without a gap.
    pub archived: Option<Place>,
    /// If the log from there on is gone, this is where it can go on, with a gap in between.
    pub otherwise: Option<Place>,
}

/// Finds out where a stream goes on, so that nothing is missing between what is there and what comes.
///
/// That is the end of what is there without a gap before the place that the slot keeps, but not
/// after that place: what is there from it on is compared with what the server sends. `now` is for
/// a slot that keeps nothing yet and an archive that has nothing.
pub(crate) fn resume(
    legs: &[Leg],
    shelves: &[Shelf],
    slot: Option<Lsn>,
    now: Lsn,
    segment_bytes: u64,
) -> Resume {
    let place = |at: Lsn| on(legs, at, segment_bytes);
    let runs = runs(legs, shelves, segment_bytes);
    let kept = slot.map(place);
    let before = |run: &&(Place, Place)| kept.is_none_or(|kept| run.0 <= kept);
    let Some(archived) = runs.iter().rfind(before).map(|(_, end)| *end) else {
        return Resume { from: kept.unwrap_or_else(|| place(now)), archived: None, otherwise: None };
    };
    let later = |place: Place| Some(place).filter(|place| *place > archived);
    match kept {
        // A slot keeps what it was told, also where that is gone: it may have heard of the archive's end from a
        // stream that found it removed.
        Some(kept) if kept == archived => {
            Resume { from: kept, archived: Some(archived), otherwise: later(place(now)) }
        }
        Some(kept) if kept < archived => Resume { from: kept, archived: Some(archived), otherwise: None },
        kept => {
            let otherwise = later(kept.unwrap_or_else(|| place(now)));
            Resume { from: archived, archived: Some(archived), otherwise }
        }
    }
}

/// The segment in which a place lies, on the timeline on which it counts.
fn on(legs: &[Leg], at: Lsn, segment_bytes: u64) -> Place {
    let leg = legs.iter().position(|leg| leg.has(at)).unwrap_or(legs.len().saturating_sub(1));
    Place { leg, at: at.segment_start(segment_bytes) }
}

/// What is there without a gap, on all timelines, in the order of the log.
fn runs(legs: &[Leg], shelves: &[Shelf], segment_bytes: u64) -> Vec<(Place, Place)> {
    let mut all: Vec<(Place, Place)> = Vec::new();
    for (leg, (own, shelf)) in legs.iter().zip(shelves).enumerate() {
        for (begin, end) in shelf.runs(own.first(segment_bytes), own.end, segment_bytes) {
            let begin = Place { leg, at: begin };
            let end = onward(legs, Place { leg, at: end }, segment_bytes);
            match all.last_mut() {
                Some((_, last)) if *last >= begin => *last = end.max(*last),
                _ => all.push((begin, end)),
            }
        }
    }
    all
}

/// A place behind the end of a timeline is one at the beginning of the next.
fn onward(legs: &[Leg], place: Place, segment_bytes: u64) -> Place {
    let mut place = place;
    while let Some(next) = legs.get(place.leg + 1)
        && !legs[place.leg].has(place.at)
    {
        place = Place { leg: place.leg + 1, at: next.first(segment_bytes) };
    }
    place
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::stream::chain::legs;
    use holdfast_engine::wal::Timeline;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn at(text: &str) -> Lsn {
        Lsn::parse(text).unwrap()
    }

    /// Two timelines; the first was left within the fifth segment.
    fn two() -> Vec<Leg> {
        legs(7, 2, b"1\t0/480000\tx\n", &[Vec::new()]).unwrap()
    }

    fn shelf(timeline: u32, whole: &[u64], pieces: &[(u64, u32)]) -> Shelf {
        let name = |number: u64, piece| WalName {
            timeline: Timeline::new(7, timeline, b""),
            file: SegmentName::at(timeline, number * MIB, MIB).to_string(),
            piece,
        };
        let whole = whole.iter().map(|&number| name(number, None));
        let pieces = pieces.iter().map(|&(number, piece)| name(number, Some(piece)));
        Shelf::new(timeline, MIB, whole.chain(pieces))
    }

    fn from(resume: Resume) -> (usize, u64) {
        (resume.from.leg, resume.from.at.0 / MIB)
    }

    #[test]
    fn names_are_sorted_onto_the_shelf() {
        let shelf = shelf(1, &[1], &[(2, 1), (2, 0), (2, 3), (3, 1)]);
        assert_eq!(shelf.held(Lsn(MIB)), Held { whole: true, pieces: 0 });
        assert_eq!(shelf.held(Lsn(2 * MIB)), Held { whole: false, pieces: 2 });
        assert_eq!(shelf.held(Lsn(3 * MIB)), Held::default());
        let foreign = WalName::whole(Timeline::new(7, 1, b""), "00000001.history");
        assert_eq!(Shelf::new(1, MIB, [foreign]), Shelf::default());
    }

    #[test]
    fn an_archive_that_has_nothing_begins_where_the_slot_does() {
        let legs = two();
        let none = [Shelf::default(), Shelf::default()];
        assert_eq!(from(resume(&legs, &none, Some(at("0/210000")), at("0/900000"), MIB)), (0, 2));
        assert_eq!(from(resume(&legs, &none, None, at("0/900010"), MIB)), (1, 9));
        // A slot that keeps the log from the end of a timeline on keeps the next one.
        assert_eq!(from(resume(&legs, &none, Some(at("0/480000")), at("0/900000"), MIB)), (1, 4));
    }

    #[test]
    fn what_the_slot_keeps_is_compared_and_what_is_missing_before_it_is_asked_for() {
        let legs = two();
        let shelves = [shelf(1, &[1, 2], &[(3, 0)]), Shelf::default()];
        let now = at("0/900000");
        let found = resume(&legs, &shelves, Some(at("0/2fffff")), now, MIB);
        assert_eq!((from(found), found.otherwise), ((0, 2), None));
        // A slot that was told of the archive's end keeps from there on, as it says, also where that is gone.
        let newest = Place { leg: 1, at: now };
        let found = resume(&legs, &shelves, Some(at("0/300010")), now, MIB);
        assert_eq!((from(found), found.otherwise), ((0, 3), Some(newest)));
        assert_eq!(from(resume(&legs, &shelves, None, now, MIB)), (0, 3));
        // The slot was used for something else: between the third segment and it something is missing.
        let found = resume(&legs, &shelves, Some(at("0/600010")), now, MIB);
        let other = Place { leg: 1, at: at("0/600000") };
        assert_eq!((from(found), found.otherwise), ((0, 3), Some(other)));
        // What came after a gap that is known does not hide it, nor is it gone back to.
        let shelves = [shelf(1, &[1], &[]), shelf(2, &[6, 7], &[(8, 0)])];
        let found = resume(&legs, &shelves, Some(at("0/800010")), now, MIB);
        assert_eq!((from(found), found.otherwise), ((1, 8), Some(newest)));
        assert_eq!(from(resume(&legs, &shelves, None, now, MIB)), (1, 8));
    }

    #[test]
    fn a_timeline_that_ended_is_taken_to_its_end_first() {
        let legs = two();
        let now = at("0/900000");
        let ends = |first: Shelf, second: Shelf| from(resume(&legs, &[first, second], None, now, MIB));
        assert_eq!(ends(shelf(1, &[1, 2, 3], &[]), Shelf::default()), (0, 4));
        assert_eq!(ends(shelf(1, &[1, 2, 3], &[(4, 0)]), Shelf::default()), (0, 4));
        // The old server went on: what it wrote after the end does not count.
        assert_eq!(ends(shelf(1, &[1, 2, 3, 4, 5], &[]), Shelf::default()), (1, 4));
        assert_eq!(ends(shelf(1, &[1, 2, 3], &[]), shelf(2, &[4], &[])), (1, 5));
        // What is on the next timeline before it begins is of no use.
        assert_eq!(ends(shelf(1, &[1], &[]), shelf(2, &[3], &[])), (0, 2));
    }

    #[test]
    fn segments_that_fit_no_object_are_whole_where_the_next_one_was_begun() {
        const LONG: u64 = 1 << 30;
        let timeline = Timeline::new(7, 1, b"");
        let name = |number: u64, piece| {
            WalName::piece(timeline, SegmentName::at(1, number * LONG, LONG).to_string(), piece)
        };
        let shelf = Shelf::new(1, LONG, [name(1, 0), name(1, 1), name(2, 0)]);
        assert_eq!(shelf.runs(Lsn(0), None, LONG), [(Lsn(LONG), Lsn(2 * LONG))]);
    }

    proptest! {
        /// Whatever is there: nothing between the end of a range before the slot and the place where a
        /// stream goes on is missing, and it never begins after what the slot keeps.
        #[test]
        fn nothing_is_left_out(
            first in prop::collection::btree_map(0_u64..7, 0_u32..4, 0..7),
            second in prop::collection::btree_map(4_u64..12, 0_u32..4, 0..8),
            slot in prop::option::of(0_u64..12 * MIB),
        ) {
            let legs = two();
            let make = |timeline, held: &BTreeMap<u64, u32>| {
                let whole: Vec<_> = held.iter().filter(|(_, kind)| **kind == 0).map(|(at, _)| *at).collect();
                let pieces: Vec<_> = held.iter().flat_map(|(at, kind)| (0..*kind).map(|n| (*at, n))).collect();
                shelf(timeline, &whole, &pieces)
            };
            let shelves = [make(1, &first), make(2, &second)];
            let now = Lsn(12 * MIB);
            let found = resume(&legs, &shelves, slot.map(Lsn), now, MIB);
            prop_assert_eq!(found.from.at.0 % MIB, 0);
            let has = |place: Place| {
                let held = if place.leg == 0 { &first } else { &second };
                held.get(&(place.at.0 / MIB)) == Some(&0)
            };
            let kept = slot.map(|slot| on(&legs, Lsn(slot), MIB));
            if let Some(kept) = kept {
                prop_assert!(found.from <= kept);
            }
            prop_assert!(found.from.leg > 0 || legs[0].has(found.from.at));
            // From the place where it goes on to the end of what is there all is there.
            let mut place = found.from;
            while found.archived.is_some_and(|end| place < end) {
                prop_assert!(has(place), "{:?} {:?}", found, place);
                place = onward(&legs, Place { at: Lsn(place.at.0 + MIB), ..place }, MIB);
            }
            // Without a slot it goes on at the first segment that is not whole.
            if slot.is_none() && (!first.is_empty() || !second.is_empty()) && found.archived.is_some() {
                prop_assert!(!has(found.from), "{:?}", found);
            }
        }
    }
}
