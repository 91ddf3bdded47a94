//! Retention: which snapshots a policy keeps, and why. Pure: the same input gives the same
//! verdicts, in whatever order it comes.
//!
//! The rules are restic's. Snapshots are taken newest first, group by group. A rule keeps the
//! newest snapshot of each period until its number is used up or its stretch of time ends; while
//! there is room left it keeps the oldest snapshot of the group too. Four things are our own:
//!
//! - A snapshot with a [`Flaw`] is kept where a rule would keep it, but the rule goes on as if it
//!   were not there: it takes the next one as well, until one counts.
//! - Stretches of time end at the newest snapshot of the group that counts and does not lie in the
//!   future, so that bad ones do not move them; where there is none, everything is within.
//! - Neither a group nor a source is emptied: see [`Reason`].
//! - Snapshots of a member that is no owner push out nobody else's: whoever can write can name any
//!   host ([`Side`]).
//!
//! A snapshot whose time is doubtful takes no part, and stays. What is older than `delete_after` goes
//! whatever rules and guards say, unless it is held: see [`super::deadline`]. On purpose not here:
//! forgetting, and any clock or time zone; the caller says what time it is and how far local time is
//! from UTC.

use super::deadline::Deadline;
use super::keep::{
    Flaw, GroupBy, GroupKey, KeepCount, KeepLimit, KeepPolicy, KeepRule, KeepSpan, Period, Reason,
};
use super::whole::{Judged, Side, guarded, judge};
use crate::civil::{DAY, date_of, day_of, week_of};
use crate::error::{Error, ErrorKind, Result};
use crate::snapshots::{Snapshot, SnapshotFilter};
use holdfast_core::entry::Time;
use holdfast_core::id::SessionId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// Tells how many seconds local time is ahead of UTC at a moment.
#[derive(Clone)]
pub struct LocalOffset(pub Arc<dyn Fn(Time) -> i32 + Send + Sync>);

impl LocalOffset {
    /// Local time is UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self(Arc::new(|_| 0))
    }

    pub(super) fn at(&self, time: Time) -> i64 {
        i64::from((self.0)(time))
    }
}

impl fmt::Debug for LocalOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalOffset")
    }
}

/// A policy, and what it is applied to.
#[derive(Debug, Clone)]
pub struct Retention {
    /// What is to be kept.
    pub keep: KeepPolicy,
    /// What is older goes, whatever is to be kept; only a hold is stronger.
    pub delete_after: Option<KeepSpan>,
    /// It is kept of each of these groups.
    pub group_by: GroupBy,
    /// Only these snapshots are judged by it; the others stay.
    pub filter: SnapshotFilter,
    /// Where hours and days begin.
    pub local_offset: LocalOffset,
}

/// A snapshot that could be forgotten, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// When a maintainer first saw it; `None` if none did before now.
    pub received: Option<Time>,
    /// Whether an owner signed it, whose word on its time is believed, and on whose words it is.
    pub signer_is_owner: bool,
    /// Why it is held, if it is.
    pub held: Option<&'a str>,
}

/// What becomes of a snapshot.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Its group.
    pub group: GroupKey,
    /// Whether it is kept.
    pub keep: bool,
    /// Why; empty exactly if it is not.
    pub reasons: Vec<Reason>,
    /// Why it does not count, if it does not.
    pub flaw: Option<Flaw>,
    /// When it goes whatever the rules say; none where nothing says so, or a hold stands on it.
    pub delete_at: Option<Time>,
}

/// Decides which snapshots a policy keeps. All snapshots of the repository have to be given, since
/// what a filter leaves out still tells which ones are whole. The verdicts are those that the filter
/// fits, group by group, oldest first.
///
/// # Errors
/// The policy keeps nothing at all.
pub fn decide(
    candidates: &[Candidate<'_>],
    retention: &Retention,
    proven: &BTreeSet<SessionId>,
    now: Time,
) -> Result<Vec<Verdict>> {
    if retention.keep.is_empty() && retention.delete_after.is_none() {
        let what = "no rule says what is to be kept: no snapshot is forgotten";
        return Err(Error::new(ErrorKind::Usage, what));
    }
    let deadline = Deadline::new(retention, now);
    let (over, live): (Vec<_>, Vec<_>) =
        judge(candidates, now).into_iter().partition(|one| deadline.is_over(one));
    // What has to go guards nothing: the newest whole one is to be found among those that stay.
    let guarded = guarded(&live, proven);
    let mut groups: BTreeMap<GroupKey, (Vec<&Judged<'_>>, Vec<&Judged<'_>>)> = BTreeMap::new();
    let group_of = |one: &Judged<'_>| GroupKey::of(&one.snapshot().summary, retention.group_by);
    let fits = |one: &&Judged<'_>| retention.filter.matches(&one.snapshot().summary);
    over.iter().filter(fits).for_each(|one| groups.entry(group_of(one)).or_default().0.push(one));
    live.iter().filter(fits).for_each(|one| groups.entry(group_of(one)).or_default().1.push(one));
    let mut verdicts = Vec::new();
    for (group, (over, live)) in groups {
        let reasons = reasons_of_sides(&live, retention, &guarded, now);
        let judged = over.into_iter().map(|one| (one, Vec::new())).chain(live.into_iter().zip(reasons));
        let first = verdicts.len();
        verdicts.extend(judged.map(|(one, reasons)| Verdict {
            snapshot: one.snapshot().clone(),
            group: group.clone(),
            keep: !reasons.is_empty(),
            reasons,
            flaw: one.flaw,
            delete_at: deadline.of(one),
        }));
        verdicts[first..].sort_by_key(|verdict| (verdict.snapshot.summary.end, verdict.snapshot.id));
    }
    Ok(verdicts)
}

/// Finds which of the named snapshots nobody forgets without saying that he means it: the newest
/// whole one of a stream, and the newest proven one.
#[must_use]
pub fn guarded_among(
    candidates: &[Candidate<'_>],
    named: &[SessionId],
    proven: &BTreeSet<SessionId>,
    now: Time,
) -> Vec<(SessionId, Reason)> {
    let guarded = guarded(&judge(candidates, now), proven).into_iter();
    let guards = |reason: &Reason| matches!(reason, Reason::NewestWhole | Reason::NewestProven);
    guarded.filter(|(id, reason)| named.contains(id) && guards(reason)).collect()
}

/// Finds why each snapshot of a group is kept: those of each member beside owners', owners' alone.
fn reasons_of_sides(
    all: &[&Judged<'_>],
    retention: &Retention,
    guarded: &BTreeMap<SessionId, Reason>,
    now: Time,
) -> Vec<Vec<Reason>> {
    let sides: BTreeSet<Side> = all.iter().map(|one| one.side()).collect();
    let mut reasons = vec![Vec::new(); all.len()];
    for side in sides {
        let beside = |at: &usize| all[*at].side() == side || all[*at].side().is_none();
        let places: Vec<usize> = (0..all.len()).filter(beside).collect();
        let of_side: Vec<_> = places.iter().map(|at| all[*at]).collect();
        for (at, found) in places.into_iter().zip(reasons_of_group(&of_side, retention, guarded, now)) {
            if all[at].side() == side {
                reasons[at] = found;
            }
        }
    }
    reasons
}

/// Finds why each member of a group is kept. Members come oldest first.
fn reasons_of_group(
    members: &[&Judged<'_>],
    retention: &Retention,
    guarded: &BTreeMap<SessionId, Reason>,
    now: Time,
) -> Vec<Vec<Reason>> {
    let mut slots = slots(members, retention, now);
    let oldest =
        [members.iter().position(|one| one.is_believed()), members.iter().position(|one| one.counts())];
    let newest_first = members.iter().enumerate().rev().map(|(at, one)| {
        let mut reasons = by_tags(one, &retention.keep);
        // Nothing but a deadline is stated: until then everything stays.
        reasons.extend(retention.delete_after.filter(|_| retention.keep.is_empty()).map(Reason::Younger));
        if one.is_believed() {
            let moment = Moment::new(at, one.time(), &retention.local_offset);
            let is_oldest = oldest.contains(&Some(at));
            reasons.extend(slots.iter_mut().filter_map(|slot| slot.take(&moment, one.counts(), is_oldest)));
        } else {
            reasons.push(Reason::TimeDoubtful);
        }
        if reasons.is_empty() {
            reasons.extend(guarded.get(&one.snapshot().id).cloned());
        }
        reasons.extend(one.candidate.held.map(|held| Reason::Held(held.to_owned())));
        reasons
    });
    let mut reasons: Vec<Vec<Reason>> = newest_first.collect();
    reasons.reverse();
    if reasons.iter().all(Vec::is_empty) {
        let best = members.iter().rposition(|one| one.counts()).or(members.len().checked_sub(1));
        if let Some(at) = best {
            reasons[at].push(Reason::LastOfGroup);
        }
    }
    reasons
}

fn by_tags(one: &Judged<'_>, keep: &KeepPolicy) -> Vec<Reason> {
    let tags = &one.snapshot().summary.tags;
    let fits = |all: &&Vec<String>| all.iter().all(|tag| tags.contains(tag));
    keep.tags.iter().filter(fits).cloned().map(Reason::Tags).collect()
}

/// A moment, ready to be put into periods.
struct Moment {
    time: Time,
    number: i64,
    local_seconds: i64,
}

impl Moment {
    fn new(number: usize, time: Time, local_offset: &LocalOffset) -> Self {
        let local_seconds = time.seconds.saturating_add(local_offset.at(time));
        Self { time, number: number as i64, local_seconds }
    }

    /// Names the period that the moment is in.
    fn period(&self, of: Period) -> i64 {
        let day = self.local_seconds.div_euclid(DAY);
        let (year, month, _) = date_of(day);
        match of {
            Period::Each => self.number,
            Period::Hour => self.local_seconds.div_euclid(3600),
            Period::Day => day,
            Period::Week => week_of(day),
            Period::Month => year * 12 + month,
            Period::Year => year,
        }
    }
}

/// A rule while it is applied to a group.
struct Slot {
    rule: KeepRule,
    /// How many it keeps yet; `None` for any number.
    left: Option<u64>,
    /// Only what is later than this; `None` for all.
    after: Option<Time>,
    /// The period of the last one that it kept and that counts.
    last: Option<i64>,
}

fn slots(members: &[&Judged<'_>], retention: &Retention, now: Time) -> Vec<Slot> {
    let newest = members.iter().rfind(|one| one.counts() && one.time() <= now).map(|one| one.time());
    let rules = retention.keep.rules.iter().filter(|rule| !rule.is_empty());
    let slot = |rule: &KeepRule| {
        let (left, after) = match rule.limit {
            KeepLimit::Newest(KeepCount::Number(number)) => (Some(number), None),
            KeepLimit::Newest(KeepCount::Unlimited) => (None, None),
            KeepLimit::Within(span) => {
                (None, newest.map(|newest| before(newest, span, &retention.local_offset)))
            }
        };
        Slot { rule: *rule, left, after, last: None }
    };
    rules.map(slot).collect()
}

impl Slot {
    /// Keeps a snapshot, if the rule does. Only one that counts uses the rule up.
    fn take(&mut self, moment: &Moment, counts: bool, is_oldest: bool) -> Option<Reason> {
        let reaches = self.left != Some(0) && self.after.is_none_or(|after| moment.time > after);
        let period = moment.period(self.rule.of);
        let is_first = self.last != Some(period);
        if !reaches || !(is_first || is_oldest) {
            return None;
        }
        if counts {
            self.last = Some(period);
            self.left = self.left.map(|left| left - 1);
        }
        Some(Reason::Rule { rule: self.rule, oldest: !is_first })
    }
}

/// The moment a stretch of time before another, with the same time of day in local time.
fn before(time: Time, span: KeepSpan, local_offset: &LocalOffset) -> Time {
    let local = time.seconds.saturating_add(local_offset.at(time));
    let (year, month, day) = date_of(local.div_euclid(DAY));
    let (year, month) = (year - i64::from(span.years), month - i64::from(span.months));
    let first = day_of(year, month, 1) + day - 1 - i64::from(span.days);
    let wall = first.saturating_mul(DAY).saturating_add(local.rem_euclid(DAY));
    // Local time may have been shifted since; the offset of then is as good as that of the guess.
    let guess = Time { seconds: wall.saturating_sub(local_offset.at(time)), ..time };
    let seconds = wall.saturating_sub(local_offset.at(guess));
    Time { seconds: seconds.saturating_sub(i64::from(span.hours) * 3600), ..time }
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
