//! Which snapshots count: whose time is believed, which are whole, and which of each source are
//! never forgotten by a rule.
//!
//! Fourteen nights of a source that could be read in part only must not push out the last good
//! one. So a snapshot that is incomplete, or that has half the files or bytes of the last whole
//! one of its stream or less, does not count. On purpose not here: the rules.

use super::keep::{Flaw, Reason};
use super::retention::Candidate;
use crate::snapshots::Snapshot;
use holdfast_core::entry::Time;
use holdfast_core::id::{MemberId, SessionId, StreamId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A snapshot with this tag counts however small it is, and the next ones are compared with it:
/// somebody says that data was removed on purpose.
pub const SIZE_ACCEPTED_TAG: &str = "size-accepted";

/// So far from when it was first seen a time may lie that is not the owner's.
const BELIEVED_SECONDS: u64 = 24 * 3600;

/// Whose a snapshot is: an owner's, or this member's.
///
/// A writer can name any host and any source, so what it commits must not push out what others did:
/// its snapshots are measured by its own and by owners', and measure nobody else's.
pub(super) type Side = Option<MemberId>;

fn side_of(candidate: &Candidate<'_>) -> Side {
    candidate.snapshot.author(candidate.signer_is_owner)
}

/// A candidate that was looked at.
#[derive(Debug)]
pub(super) struct Judged<'a> {
    pub(super) candidate: &'a Candidate<'a>,
    pub(super) flaw: Option<Flaw>,
}

impl<'a> Judged<'a> {
    pub(super) const fn snapshot(&self) -> &'a Snapshot {
        self.candidate.snapshot
    }

    /// The time that rules go by.
    pub(super) const fn time(&self) -> Time {
        self.candidate.snapshot.summary.end
    }

    pub(super) fn is_believed(&self) -> bool {
        self.flaw != Some(Flaw::TimeDoubtful)
    }

    pub(super) const fn counts(&self) -> bool {
        self.flaw.is_none()
    }

    /// Whose snapshot it is; `None` if it is an owner's.
    pub(super) fn side(&self) -> Side {
        side_of(self.candidate)
    }
}

/// Looks at all snapshots of a repository; returns them oldest first.
pub(super) fn judge<'a>(candidates: &'a [Candidate<'a>], now: Time) -> Vec<Judged<'a>> {
    let mut sorted: Vec<&Candidate<'_>> = candidates.iter().collect();
    sorted.sort_by_key(|candidate| (candidate.snapshot.summary.end, candidate.snapshot.id));
    let mut whole: HashMap<(StreamId, Side), &Snapshot> = HashMap::new();
    let judged = sorted.into_iter().map(|candidate| {
        let (stream, side) = (candidate.snapshot.summary.stream, side_of(candidate));
        let before = [side, None].into_iter().filter_map(|side| whole.get(&(stream, side)).copied());
        let before = before.max_by_key(|before| (before.summary.end, before.id));
        let flaw = flaw_of(candidate, before, now);
        if flaw.is_none() {
            whole.insert((stream, side), candidate.snapshot);
        }
        Judged { candidate, flaw }
    });
    judged.collect()
}

fn flaw_of(candidate: &Candidate<'_>, whole: Option<&Snapshot>, now: Time) -> Option<Flaw> {
    let summary = &candidate.snapshot.summary;
    if !is_believed(candidate, now) {
        return Some(Flaw::TimeDoubtful);
    }
    if summary.incomplete {
        return Some(Flaw::Incomplete);
    }
    let accepted = summary.tags.iter().any(|tag| tag == SIZE_ACCEPTED_TAG);
    let whole = whole.filter(|whole| !accepted && has_shrunk(candidate.snapshot, whole))?;
    Some(Flaw::Shrunk { than: whole.id })
}

/// An owner's word is believed of what is past; anybody else's only near to when a maintainer first saw the
/// snapshot, which a copy of it says, so that copies keep their times. What lies in the future nobody is believed: it
/// would be the newest until then, and push out all that is made meanwhile.
fn is_believed(candidate: &Candidate<'_>, now: Time) -> bool {
    let summary = &candidate.snapshot.summary;
    let passed_on = summary.said_by.filter(|_| candidate.signer_is_owner).map(|said| said.received);
    let seen = passed_on.or(candidate.received).unwrap_or(now);
    let near = summary.end.seconds.abs_diff(seen.seconds) <= BELIEVED_SECONDS;
    !candidate.snapshot.is_ahead(now) && (side_of(candidate).is_none() || near)
}

fn has_shrunk(snapshot: &Snapshot, before: &Snapshot) -> bool {
    let halved = |now: u64, then: u64| then > 0 && u128::from(now) * 2 <= u128::from(then);
    let (now, then) = (&snapshot.summary.counts, &before.summary.counts);
    halved(now.files, then.files) || halved(now.bytes, then.bytes)
}

/// Finds what no rule forgets of each stream and of who wrote it, with the reason: the newest whole snapshot, the
/// newest complete one, the newest at all if none is complete, and the newest proven one.
pub(super) fn guarded(judged: &[Judged<'_>], proven: &BTreeSet<SessionId>) -> BTreeMap<SessionId, Reason> {
    let mut streams: BTreeMap<(StreamId, Side), Vec<&Judged<'_>>> = BTreeMap::new();
    for one in judged.iter().filter(|one| one.is_believed()) {
        streams.entry((one.snapshot().summary.stream, one.side())).or_default().push(one);
    }
    let mut guarded = BTreeMap::new();
    for of_stream in streams.values() {
        let newest = |fits: &dyn Fn(&Judged<'_>) -> bool| of_stream.iter().rfind(|one| fits(one));
        let complete = newest(&|one| !one.snapshot().summary.incomplete);
        let found = [
            (newest(&|one| one.counts()), Reason::NewestWhole),
            (complete, Reason::NewestComplete),
            (newest(&|_| complete.is_none()), Reason::NewestOfSource),
            (newest(&|one| proven.contains(&one.snapshot().id)), Reason::NewestProven),
        ];
        for (one, reason) in found {
            // The first reason is the strongest.
            one.map(|one| guarded.entry(one.snapshot().id).or_insert(reason));
        }
    }
    guarded
}
