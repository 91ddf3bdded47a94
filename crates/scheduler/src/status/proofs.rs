//! What the drills of a source prove, and what one of them found that no later one has taken back.
//!
//! A pass takes back only what it looked at: the same place, as much, and the very snapshot that was damaged, as long as
//! it is there. On purpose not here: how old a proof may be, and the words for what is wrong.

use super::Known;
use super::ahead::is_ahead;
use super::ask::{Seen, Trouble};
use crate::drill::verdict::Verdict;
use crate::evidence::{Objective, Record, SourceRecord};
use crate::policy::{RestoredKind, Source};
use holdfast_engine::proof::{Cause, Level};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// What a drill did of one source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drilled<'a> {
    pub(super) record: &'a Record,
    pub(super) source: &'a SourceRecord,
}

impl Drilled<'_> {
    /// Whether all bytes were restored, and not only a part of the files.
    pub(super) fn is_whole(&self) -> bool {
        self.source.share.is_none_or(|share| share >= 1.0)
    }

    fn passed(&self) -> bool {
        self.source.verdict == Verdict::Pass
    }

    /// Whether it came back later than was promised, where that counts.
    pub(super) fn slow(&self) -> Option<&Objective> {
        let mut own = self.record.objectives.iter().filter(|one| one.source == self.source.source);
        own.find(|one| one.name == "rto" && one.enforced && !one.met).filter(|_| self.passed())
    }

    /// Whether nothing is wrong with it.
    fn is_well(&self) -> bool {
        self.passed() && self.slow().is_none()
    }

    /// Whether the backup itself was found damaged.
    pub(super) fn finds_damage(&self) -> bool {
        let mut findings = self.source.probes.iter().flat_map(|probe| &probe.findings);
        findings.any(|finding| finding.cause == Cause::Backup)
    }

    /// How bad it is: a failure says more than that nothing was proved.
    fn rank(&self) -> u8 {
        match self.source.verdict {
            Verdict::Fail => 2,
            Verdict::Inconclusive => 1,
            Verdict::Pass => 0,
        }
    }
}

/// The drills of one source.
#[derive(Debug, Clone)]
pub(super) struct Proofs<'a> {
    known: &'a Known,
    source: &'a Source,
    /// As its snapshots are called.
    full: String,
    seen: &'a Seen,
    /// Newest first, without those of a time that is still to come.
    drills: Vec<Drilled<'a>>,
}

impl<'a> Proofs<'a> {
    pub(super) fn of(
        known: &'a Known,
        (name, source): (&str, &'a Source),
        seen: &'a Seen,
        now: Timestamp,
    ) -> Self {
        let past = seen.drills.iter().filter(|record| !is_ahead(record.ended, now));
        let own = past.filter_map(|record| {
            let source = record.sources.iter().find(|source| source.source == name)?;
            Some(Drilled { record, source })
        });
        Self { known, source, full: known.policy.label(name), seen, drills: own.collect() }
    }

    /// The newest drill, whatever came of it.
    pub(super) fn newest(&self) -> Option<Drilled<'a>> {
        self.drills.first().copied()
    }

    /// The newest that proved as much as the policy asks for.
    pub(super) fn proven(&self) -> Option<Drilled<'a>> {
        let level = self.known.policy.drill.as_ref().map_or(Level::Restore, |drill| drill.level);
        self.drills.iter().find(|one| one.passed() && self.is_enough(one, level)).copied()
    }

    /// What was found and not taken back, the worst and newest of each place.
    pub(super) fn open(&self) -> Vec<Drilled<'a>> {
        let mut open: Vec<_> =
            self.drills.iter().enumerate().filter(|(at, one)| self.stands(*at, one)).collect();
        open.sort_by_key(|(at, one)| (std::cmp::Reverse(one.rank()), *at));
        let mut places = BTreeSet::new();
        open.retain(|(_, one)| places.insert(self.place(one)));
        open.into_iter().map(|(_, one)| *one).collect()
    }

    /// Whether something is wrong with it that no later one takes back.
    fn stands(&self, at: usize, one: &Drilled<'a>) -> bool {
        if one.is_well() || !self.counts(at, one) {
            return false;
        }
        let damaged = self.is_of_snapshot(one);
        !self.drills[..at].iter().any(|later| self.heals(later, one, damaged))
    }

    /// That nothing was proved is worth a word as long as it is the last word on a place; of one that drills do
    /// not come to by themselves, only where nothing came behind it.
    fn counts(&self, at: usize, one: &Drilled<'_>) -> bool {
        let stated = self.known.policy.drill.as_ref().map(|drill| drill.from.as_slice()).unwrap_or_default();
        let comes = stated.is_empty() || stated.contains(&one.record.from);
        one.source.verdict != Verdict::Inconclusive || at == 0 || (self.place(one).is_some() && comes)
    }

    fn heals(&self, later: &Drilled<'_>, one: &Drilled<'_>, damaged: bool) -> bool {
        let place = self.place(one);
        let looked = place.is_none() || self.place(later) == place;
        let same = !damaged || (later.is_whole() && is_same(later.source, one.source));
        // What comes back late comes back; only what is in time takes back that it was late.
        let came = later.is_well() || (later.passed() && !one.passed());
        // What was damaged has to be looked at as closely again; else what the policy wants is enough.
        let wanted = self.known.policy.drill.as_ref().map_or(one.record.level, |drill| drill.level);
        let level = if damaged { one.record.level } else { one.record.level.min(wanted) };
        looked && same && came && self.is_enough(later, level)
    }

    /// Whether it proved as much as a level, or as can be proved of this source, of all or of what the policy
    /// lets be fetched.
    fn is_enough(&self, one: &Drilled<'_>, level: Level) -> bool {
        let drill = self.known.policy.drill.as_ref();
        let part = drill.is_some_and(|drill| drill.max_download.is_some());
        one.source.reached >= Some(level.min(self.most())) && (part || one.is_whole())
    }

    /// How much can be proved of this source: without a `verify` nobody can say whether a file can be used.
    fn most(&self) -> Level {
        let command = self.source.command.as_ref().is_some_and(|command| command.verify.is_empty());
        let tool = self.source.restored_by.as_ref();
        let tool = tool.is_some_and(|tool| tool.kind == RestoredKind::Files && tool.verify.is_empty());
        if command || tool { Level::Restore } else { Level::Full }
    }

    /// Where it was restored from; none for what comes from elsewhere, and of a place that the policy has no more.
    fn place<'b>(&self, one: &Drilled<'b>) -> Option<&'b str> {
        let is_known = self.known.policy.places().any(|place| place == one.record.from);
        (is_known && self.source.restored_by.is_none()).then_some(one.record.from.as_str())
    }

    /// Whether a snapshot was found damaged that is still there: another one that is sound does not mend it.
    fn is_of_snapshot(&self, one: &Drilled<'_>) -> bool {
        let Some(name) =
            self.place(one).filter(|_| one.source.verdict == Verdict::Fail && one.finds_damage())
        else {
            return false;
        };
        let Some(id) = &one.source.snapshot else { return false };
        let place = self.seen.places.iter().find(|place| place.name == name);
        match place.map(|place| &place.snapshots) {
            Some(Ok(snapshots)) => snapshots.iter().any(|snapshot| {
                let alike = snapshot.id == *id || Some(snapshot.time) == one.source.snapshot_time;
                snapshot.source == self.full && alike
            }),
            // Whether it is still there is for others to say.
            Some(Err(Trouble::NotForThisHost)) | None => false,
            Some(Err(_)) => true,
        }
    }
}

/// Whether both are of one snapshot. With other tags it has another id.
fn is_same(a: &SourceRecord, b: &SourceRecord) -> bool {
    a.snapshot == b.snapshot || (a.snapshot_time.is_some() && a.snapshot_time == b.snapshot_time)
}
