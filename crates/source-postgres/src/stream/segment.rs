//! The segment that comes in: what of it is stored, what is to be stored next, and under which name.
//!
//! A full segment becomes one object. What comes of it before goes into pieces that follow each
//! other. Whoever stored a piece first decided where it was cut: what is there is compared and the
//! next one goes on after it, so that a stream that begins anew, and two streams at once, end up with
//! the same objects. On purpose not here: storing.

use super::shelf::{Held, fits};
use crate::lsn::Lsn;
use bytes::{Bytes, BytesMut};
use holdfast_engine::wal::PIECE_BYTES_MAX;
use std::collections::VecDeque;

/// A segment that fits no object is put into pieces of at least this length, if it comes that fast.
const PIECE_BYTES: u64 = 64 << 20;
/// So many pieces are looked at together.
const LOOKS: u32 = 16;

/// What is known of something that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub content: [u8; 32],
    pub bytes: u64,
}

/// What is to be done next about a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing, until more of it has come.
    Wait,
    /// Look at pieces that are there: from the first number up to the second.
    Look(u32, u32),
    /// Compare this with the next piece, which is there.
    Compare(Bytes, Seen),
    /// Store this as the next piece.
    Piece(Bytes),
    /// Store this as the whole segment, or compare it if that is there.
    Whole(Bytes, bool),
    /// All of it is stored.
    Done,
}

/// What is there differs from what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong {
    /// The piece that ends behind what came.
    pub piece: u32,
}

/// The segment that comes in.
#[derive(Debug)]
pub(crate) struct Segment {
    /// First byte of it.
    pub start: Lsn,
    length: u64,
    /// Pieces that were there when it began, or were met since; and all of it.
    held: Held,
    /// What came, from an offset on.
    buffer: BytesMut,
    base: u64,
    /// So much of it is stored, in so many pieces.
    stored: u64,
    pieces: u32,
    /// What is known of the pieces after these.
    seen: VecDeque<Seen>,
}

impl Segment {
    pub(crate) fn new(start: Lsn, length: u64, held: Held) -> Self {
        let (buffer, seen) = (BytesMut::new(), VecDeque::new());
        Self { start, length, held, buffer, base: 0, stored: 0, pieces: 0, seen }
    }

    /// Up to here it came.
    pub(crate) fn at(&self) -> Lsn {
        Lsn(self.start.0 + self.base + self.buffer.len() as u64)
    }

    /// Up to here it is stored.
    pub(crate) const fn stored(&self) -> Lsn {
        Lsn(self.start.0 + self.stored)
    }

    /// The first byte after it.
    pub(crate) const fn end(&self) -> Lsn {
        Lsn(self.start.0 + self.length)
    }

    /// Number of the next piece.
    pub(crate) const fn next_piece(&self) -> u32 {
        self.pieces
    }

    pub(crate) fn is_full(&self) -> bool {
        self.at() == self.end()
    }

    /// Whether more of it can be taken in.
    pub(crate) fn has_room(&self) -> bool {
        !self.is_full() && (fits(self.length) || self.buffer.len() < PIECE_BYTES_MAX)
    }

    /// Takes what belongs to it from the front of what came.
    pub(crate) fn take(&mut self, bytes: &mut Bytes) {
        let left = usize::try_from(self.end().0 - self.at().0).unwrap_or(usize::MAX);
        let part = bytes.split_to(bytes.len().min(left));
        if self.buffer.is_empty() && fits(self.length) {
            self.buffer.reserve(usize::try_from(self.length).unwrap_or_default());
        }
        self.buffer.extend_from_slice(&part);
    }

    /// What is to be done next. `due`: what came is to be stored though the segment is not full.
    ///
    /// # Errors
    /// A piece that is there ends behind the segment.
    pub(crate) fn next(&mut self, due: bool) -> Result<Step, TooLong> {
        let (full, came) = (self.is_full(), self.at().0 - self.start.0);
        if self.held.whole {
            return Ok(if full { Step::Whole(self.all(), true) } else { Step::Wait });
        }
        if let Some(seen) = self.seen.front().copied() {
            let end = self.stored.checked_add(seen.bytes);
            return match end.filter(|end| *end <= self.length) {
                None => Err(TooLong { piece: self.pieces }),
                Some(end) if end <= came => Ok(Step::Compare(self.part(end), seen)),
                Some(_) => Ok(Step::Wait),
            };
        }
        if self.pieces < self.held.pieces {
            return Ok(Step::Look(self.pieces, self.held.pieces.min(self.pieces + LOOKS)));
        }
        if full && fits(self.length) {
            return Ok(Step::Whole(self.all(), false));
        }
        if self.stored == self.length {
            return Ok(Step::Done);
        }
        let long = !fits(self.length) && came - self.stored >= PIECE_BYTES;
        let wanted = came > self.stored && (due || full || long);
        Ok(if wanted { Step::Piece(self.part(came)) } else { Step::Wait })
    }

    /// What came since the last piece, up to an offset.
    fn part(&self, end: u64) -> Bytes {
        let range = (self.stored - self.base) as usize..(end - self.base) as usize;
        Bytes::copy_from_slice(&self.buffer[range])
    }

    /// All of it. It is full, and nothing more comes of it.
    fn all(&mut self) -> Bytes {
        let all = std::mem::take(&mut self.buffer).freeze();
        self.base = self.length;
        all
    }

    /// The next piece of so many bytes is there now, or was.
    pub(crate) fn has_piece(&mut self, bytes: u64) {
        self.seen.pop_front();
        self.stored += bytes;
        self.pieces += 1;
        self.held.pieces = self.held.pieces.max(self.pieces);
        if !fits(self.length) {
            let gone = (self.stored - self.base) as usize;
            // A buffer of its own for the rest: the front is not kept.
            self.buffer = BytesMut::from(&self.buffer[gone..]);
            self.base = self.stored;
        }
    }

    /// These pieces are there from the next one on; fewer than were thought if one is gone.
    pub(crate) fn has_seen(&mut self, seen: Vec<Seen>, asked: u32) {
        if (seen.len() as u64) < u64::from(asked) {
            self.held.pieces = self.pieces + u32::try_from(seen.len()).unwrap_or(u32::MAX);
        }
        self.seen.extend(seen);
    }

    /// Somebody else was faster with the next piece.
    pub(crate) fn has_met(&mut self, seen: Seen) {
        self.held.pieces = self.held.pieces.max(self.pieces + 1);
        self.seen.push_front(seen);
    }

    /// The timeline ends within it: what is there after that does not count.
    pub(crate) fn ends(&mut self) {
        let came = self.at().0 - self.start.0;
        if self.seen.front().is_some_and(|seen| self.stored.saturating_add(seen.bytes) > came) {
            self.seen.clear();
            (self.held.pieces, self.stored) = (self.pieces, came);
        }
        if self.held.whole {
            self.stored = came;
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use proptest::prelude::*;

    const LENGTH: u64 = 1 << 20;

    fn content(bytes: u64) -> Bytes {
        (0..bytes).map(|at| (at * 7 % 251) as u8).collect::<Vec<_>>().into()
    }

    fn segment(pieces: u32, whole: bool) -> Segment {
        Segment::new(Lsn(3 * LENGTH), LENGTH, Held { whole, pieces })
    }

    fn seen(bytes: u64) -> Seen {
        Seen { content: [0; 32], bytes }
    }

    #[test]
    fn what_comes_is_stored_in_pieces_and_then_whole() {
        let mut segment = segment(0, false);
        assert_eq!(segment.next(true).unwrap(), Step::Wait);
        segment.take(&mut content(100));
        assert_eq!(segment.next(false).unwrap(), Step::Wait);
        assert_eq!(segment.next(true).unwrap(), Step::Piece(content(100)));
        segment.has_piece(100);
        assert_eq!((segment.stored(), segment.at()), (Lsn(3 * LENGTH + 100), Lsn(3 * LENGTH + 100)));
        assert_eq!(segment.next(true).unwrap(), Step::Wait);
        let mut rest = content(LENGTH + 5).slice(100..);
        segment.take(&mut rest);
        assert_eq!((rest.len(), segment.has_room()), (5, false));
        assert_eq!(segment.next(false).unwrap(), Step::Whole(content(LENGTH), false));
    }

    #[test]
    fn pieces_that_are_there_are_looked_at_and_compared() {
        let mut segment = segment(20, false);
        assert_eq!(segment.next(false).unwrap(), Step::Look(0, 16));
        segment.has_seen(vec![seen(10); 16], 16);
        segment.take(&mut content(15));
        assert_eq!(segment.next(true).unwrap(), Step::Compare(content(10), seen(10)));
        segment.has_piece(10);
        // The next is longer than what came.
        assert_eq!(segment.next(true).unwrap(), Step::Wait);
        segment.take(&mut content(LENGTH).slice(15..200));
        for number in 1..16 {
            assert_eq!(segment.next_piece(), number);
            assert!(matches!(segment.next(true).unwrap(), Step::Compare(..)));
            segment.has_piece(10);
        }
        assert_eq!(segment.next(true).unwrap(), Step::Look(16, 20));
        // Two of the last four are gone.
        segment.has_seen(vec![seen(1), seen(1)], 4);
        segment.has_piece(1);
        segment.has_piece(1);
        assert_eq!(segment.next(true).unwrap(), Step::Piece(content(200).slice(162..)));
        assert_eq!(segment.next_piece(), 18);
    }

    #[test]
    fn another_stream_is_met() {
        let mut segment = segment(0, false);
        segment.take(&mut content(100));
        segment.has_met(seen(150));
        assert_eq!(segment.next(true).unwrap(), Step::Wait);
        assert_eq!(segment.stored(), Lsn(3 * LENGTH));
        segment.take(&mut content(200).slice(100..));
        assert_eq!(segment.next(false).unwrap(), Step::Compare(content(150), seen(150)));
        segment.has_piece(150);
        segment.has_met(seen(LENGTH));
        assert_eq!(segment.next(false), Err(TooLong { piece: 1 }));
    }

    #[test]
    fn a_whole_one_is_compared_once_it_came() {
        let mut segment = segment(3, true);
        segment.take(&mut content(100));
        assert_eq!(segment.next(true).unwrap(), Step::Wait);
        segment.take(&mut content(LENGTH).slice(100..));
        assert_eq!(segment.next(true).unwrap(), Step::Whole(content(LENGTH), true));
    }

    #[test]
    fn after_the_end_of_a_timeline_nothing_counts() {
        let mut segment = segment(1, false);
        segment.has_seen(vec![seen(150)], 1);
        segment.take(&mut content(100));
        segment.ends();
        assert_eq!(segment.next(true).unwrap(), Step::Wait);
        assert_eq!(segment.stored(), segment.at());
    }

    #[test]
    fn a_segment_that_fits_no_object_is_done_when_its_pieces_add_up() {
        let length = 1 << 30;
        let mut segment = Segment::new(Lsn(length), length, Held { whole: false, pieces: 1 });
        segment.has_seen(vec![seen(100)], 1);
        segment.take(&mut content(110));
        assert!(matches!(segment.next(false).unwrap(), Step::Compare(..)));
        segment.has_piece(100);
        assert_eq!(segment.next(true).unwrap(), Step::Piece(content(110).slice(100..)));
        segment.has_piece(10);
        assert_eq!((segment.buffer.len(), segment.at()), (0, Lsn(length + 110)));
        (segment.base, segment.stored) = (length, length);
        assert_eq!(segment.next(false).unwrap(), Step::Done);
    }

    proptest! {
        /// However the log comes and whatever another stream stores in between: the pieces are what
        /// came, in order, and nothing is said to be stored that is not.
        #[test]
        fn pieces_add_up(
            parts in prop::collection::vec((1_u64..3_000, any::<bool>(), prop::option::of(1_u64..4_000)), 1..60),
            there in prop::collection::vec(1_u64..2_000, 0..8),
        ) {
            let whole = content(200_000);
            let mut archive: Vec<(u64, u64)> = Vec::new();
            for length in there {
                let begin = archive.last().map_or(0, |(_, end)| *end);
                archive.push((begin, begin + length));
            }
            let mut segment = segment(archive.len() as u32, false);
            let mut came = 0;
            for (length, due, other) in parts {
                let mut part = whole.slice(came as usize..(came + length) as usize);
                came += length;
                segment.take(&mut part);
                let end = archive.last().map_or(0, |(_, end)| *end);
                if let Some(more) = other {
                    archive.push((end, end + more));
                }
                loop {
                    let number = segment.next_piece() as usize;
                    match segment.next(due).unwrap() {
                        Step::Wait => break,
                        Step::Look(from, to) => {
                            let looked = &archive[from as usize..to as usize];
                            let looked = looked.iter().map(|(begin, end)| seen(end - begin)).collect();
                            segment.has_seen(looked, to - from);
                        }
                        Step::Compare(bytes, seen) => {
                            let (begin, end) = archive[number];
                            prop_assert_eq!(seen.bytes, end - begin);
                            prop_assert_eq!(&bytes, &whole.slice(begin as usize..end as usize));
                            segment.has_piece(seen.bytes);
                        }
                        Step::Piece(bytes) => match archive.get(number) {
                            Some((begin, end)) => segment.has_met(seen(end - begin)),
                            None => {
                                let begin = archive.last().map_or(0, |(_, end)| *end);
                                let end = begin + bytes.len() as u64;
                                prop_assert_eq!(&bytes, &whole.slice(begin as usize..end as usize));
                                archive.push((begin, end));
                                segment.has_piece(bytes.len() as u64);
                            }
                        },
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
                let stored = segment.stored().0 - segment.start.0;
                let number = segment.next_piece() as usize;
                prop_assert_eq!(stored, archive[..number].last().map_or(0, |(_, end)| *end));
                prop_assert!(stored <= came);
            }
        }
    }
}
