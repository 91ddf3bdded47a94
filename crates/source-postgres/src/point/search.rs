//! Where in the log a recovery would stop, and which commits stand around that place.
//!
//! A moment is looked for as in a book, by opening it in the middle: times in a log go up but for the
//! time of a commit, or where a clock was set back. The server, which replays it all, decides in any
//! case. On purpose not here: which timeline and which snapshot.

use super::shelf::Shelf;
use super::tree::{Leg, Tree};
use super::wish::{PlanError, Target};
use crate::lsn::Lsn;
use crate::records::{End, Event, EventKind, LogReader, PgTime, Verdict};

/// So many segments are opened to find a commit near to a place; a database that is idle has none.
const NEAR_SEGMENTS: u64 = 32;

/// A commit, or another end of a transaction, where it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Where its record begins.
    pub at: Lsn,
    /// When it was.
    pub time: PgTime,
    /// The transaction.
    pub xid: u32,
}

impl Seen {
    const fn of(event: &Event) -> Option<Self> {
        match event.kind {
            EventKind::Commit { xid, time } | EventKind::Abort { xid, time } => {
                Some(Self { at: event.at, time, xid })
            }
            _ => None,
        }
    }

    const fn commit(event: &Event) -> Option<Self> {
        if event.is_commit() { Self::of(event) } else { None }
    }
}

/// What makes a recovery stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark<'a> {
    pub target: &'a Target,
    pub exclusive: bool,
}

impl Mark<'_> {
    /// Whether the recovery stops at a record.
    fn hits(self, event: &Event) -> bool {
        match self.target {
            Target::Latest | Target::Immediate => false,
            Target::Time(_) => event.ended().is_some_and(|time| self.is_past(time)),
            Target::Lsn(lsn) => event.at >= *lsn,
            Target::Xid(xid) => event.xid() == Some(*xid),
            Target::Name(name) => {
                matches!(&event.kind, EventKind::RestorePoint { name: found, .. } if found == name)
            }
        }
    }

    /// Whether a moment lies behind the target.
    pub(super) fn is_past(self, time: PgTime) -> bool {
        match self.target {
            Target::Time(target) if self.exclusive => time >= *target,
            Target::Time(target) => time > *target,
            _ => false,
        }
    }

    /// Whether the record at which it stops is replayed.
    const fn includes(self) -> bool {
        !matches!(self.target, Target::Time(_)) && !self.exclusive
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The record at which the recovery stops; none if there is none.
    pub stop: Option<Lsn>,
    /// The last commit that is replayed, as far as it was looked for.
    pub before: Option<Seen>,
    /// The first that is not.
    pub after: Option<Seen>,
    /// The last record that was read.
    pub last: Option<Lsn>,
    /// Where reading ended before the last segment, and why.
    pub broken: Option<(Lsn, String)>,
}

/// A way along a timeline, whose segments can be read.
pub(super) struct Walk<'a, S> {
    pub shelf: &'a S,
    pub tree: &'a Tree,
    pub path: &'a [Leg],
    pub system: u64,
}

/// How reading ended.
struct Read {
    end: End,
    last: Option<Lsn>,
}

impl<S: Shelf> Walk<'_, S> {
    /// Reads records, from those that begin in a segment on, up to the segment `end`, or until it is
    /// enough.
    async fn read(
        &self,
        begin: u64,
        end: u64,
        mut each: impl FnMut(&Event) -> Verdict,
    ) -> Result<Read, PlanError> {
        let mut reader = LogReader::new(Some(self.system), self.tree.segment_bytes);
        let (mut how, mut last) = (End::Next, None);
        for segment in begin..end {
            let start = self.tree.start(segment);
            let Some(leg) = self.tree.holder(self.path, segment) else {
                how = End::Broken(start, "the segment is missing".to_owned());
                break;
            };
            let Some(bytes) = self.segment(leg, segment).await? else {
                how = End::Broken(start, "the segment was deleted meanwhile".to_owned());
                break;
            };
            // What stands behind a fork on the timeline that was left does not count.
            let mut left = None;
            how = reader.read(start, &bytes, |event| match leg.to {
                Some(to) if event.at >= to => {
                    left = Some(to);
                    Verdict::Enough
                }
                _ => {
                    last = Some(event.at);
                    each(event)
                }
            });
            if let Some(to) = left {
                how = End::Empty(to);
            }
            if how != End::Next {
                break;
            }
        }
        if let End::Empty(at) = how
            && self.tree.number(at) + 1 < end
        {
            how = End::Broken(at, "nothing follows in this segment, and later ones are there".to_owned());
        }
        Ok(Read { end: how, last })
    }

    async fn segment(&self, leg: &Leg, segment: u64) -> Result<Option<Vec<u8>>, PlanError> {
        let Some(line) = leg.line.and_then(|line| self.tree.lines.get(line)) else { return Ok(None) };
        let name = self.tree.name(leg.number, segment);
        Ok(self.shelf.segment(&line.timeline, name).await?)
    }

    /// The last end of a transaction before a place, as far as it lies near.
    pub(super) async fn ended_before(&self, at: Lsn, commits: bool) -> Result<Option<Seen>, PlanError> {
        let first = self.tree.number(at);
        for segment in (first.saturating_sub(NEAR_SEGMENTS)..=first).rev() {
            if self.tree.holder(self.path, segment).is_none() {
                return Ok(None);
            }
            let mut found = None;
            self.read(segment, segment + 1, |event| {
                if event.at >= at {
                    return Verdict::Enough;
                }
                let seen = if commits { Seen::commit(event) } else { Seen::of(event) };
                found = seen.or(found);
                Verdict::Go
            })
            .await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first end of a transaction in a segment or the next few.
    async fn first_ended(&self, begin: u64, end: u64) -> Result<Option<PgTime>, PlanError> {
        let mut found = None;
        self.read(begin, end.min(begin + NEAR_SEGMENTS), |event| {
            found = event.ended();
            if found.is_some() { Verdict::Enough } else { Verdict::Go }
        })
        .await?;
        Ok(found)
    }

    /// The segment from which on a moment has to be looked for.
    pub(super) async fn open_at(&self, mark: Mark<'_>, first: u64, end: u64) -> Result<u64, PlanError> {
        let (mut low, mut high) = (first, end);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first_ended(middle, end).await? {
                Some(time) if !mark.is_past(time) => low = middle + 1,
                // If none is near, the one before it has to tell.
                _ => high = middle,
            }
        }
        Ok(low.saturating_sub(1).max(first))
    }

    /// Reads records until one is enough; whether one was.
    pub(super) async fn each(
        &self,
        begin: u64,
        end: u64,
        mut enough: impl FnMut(&Event) -> bool,
    ) -> Result<bool, PlanError> {
        let take = |event: &Event| if enough(event) { Verdict::Enough } else { Verdict::Go };
        Ok(self.read(begin, end, take).await?.end == End::Enough)
    }

    /// The last segments of the log that have a commit and a record.
    async fn near_the_end(&self, first: u64, end: u64) -> Result<u64, PlanError> {
        let nearest = end.saturating_sub(NEAR_SEGMENTS).max(first);
        for segment in (nearest..end).rev() {
            let mut found = false;
            self.read(segment, segment + 1, |event| {
                found = event.is_commit();
                if found { Verdict::Enough } else { Verdict::Go }
            })
            .await?;
            if found {
                return Ok(segment);
            }
        }
        Ok(nearest)
    }

    /// Looks for the place at which a recovery stops that begins at a place, in the log up to the
    /// segment `end`.
    pub(super) async fn find(&self, mark: Mark<'_>, from: Lsn, end: u64) -> Result<Answer, PlanError> {
        let first = self.tree.number(from);
        let begin = match mark.target {
            Target::Latest | Target::Immediate => self.near_the_end(first, end).await?,
            Target::Time(_) => self.open_at(mark, first, end).await?,
            Target::Lsn(lsn) => self.tree.number(*lsn).clamp(first, end.saturating_sub(1).max(first)),
            Target::Xid(_) | Target::Name(_) => first,
        };
        let mut answer = Answer::default();
        let mut stopped_in = None;
        let read = self
            .read(begin, end, |event| {
                let segment = self.tree.number(event.at);
                if stopped_in.is_some_and(|stopped| segment > stopped + NEAR_SEGMENTS) {
                    return Verdict::Enough;
                }
                if answer.take(mark, from, event) {
                    stopped_in = Some(segment);
                }
                if answer.after.is_some() { Verdict::Enough } else { Verdict::Go }
            })
            .await?;
        answer.last = read.last;
        // Behind the place where it stops nothing is needed.
        if let (End::Broken(at, why), None) = (read.end, answer.stop) {
            answer.broken = Some((at, why));
        }
        if answer.before.is_none() {
            let place = answer.stop.unwrap_or_else(|| self.tree.start(begin));
            answer.before = self.ended_before(place, true).await?;
        }
        Ok(answer)
    }
}

impl Answer {
    /// Takes a record; whether it is the one at which the recovery stops.
    fn take(&mut self, mark: Mark<'_>, from: Lsn, event: &Event) -> bool {
        let commit = Seen::commit(event);
        if self.stop.is_some() {
            self.after = self.after.or(commit);
            return false;
        }
        let hits = event.at >= from && mark.hits(event);
        if hits {
            self.stop = Some(event.at);
        }
        if hits && !mark.includes() {
            self.after = commit;
        } else {
            self.before = commit.or(self.before);
        }
        hits
    }
}
