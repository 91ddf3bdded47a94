//! After which time a snapshot goes whatever else is said: a duty to delete, which beats every rule
//! that keeps and every guard. Only a hold is stronger.
//!
//! On purpose not here: the rules that keep ([`super::retention`]).

use super::keep::{GroupKey, KeepSpan};
use super::retention::{LocalOffset, Retention, Verdict};
use super::whole::Judged;
use crate::civil::{DAY, date_of, day_of};
use holdfast_core::entry::Time;

/// So long before it happens it is told.
pub const DEADLINE_WARNING_DAYS: i64 = 14;

/// The deadline of a retention, at a moment.
pub(super) struct Deadline<'a> {
    span: Option<KeepSpan>,
    local_offset: &'a LocalOffset,
    now: Time,
}

impl<'a> Deadline<'a> {
    pub(super) const fn new(retention: &'a Retention, now: Time) -> Self {
        Self { span: retention.delete_after, local_offset: &retention.local_offset, now }
    }

    /// Whether it has to go.
    pub(super) fn is_over(&self, one: &Judged<'_>) -> bool {
        self.of(one).is_some_and(|time| time <= self.now)
    }

    /// When it has to go.
    pub(super) fn of(&self, one: &Judged<'_>) -> Option<Time> {
        let span = self.span.filter(|_| one.candidate.held.is_none())?;
        Some(after(self.age_from(one), span, self.local_offset))
    }

    /// From when it counts: its own time, where that is believed, and not later than a maintainer first saw it.
    /// So no time that a writer invents makes anything go early, or stay for ever.
    fn age_from(&self, one: &Judged<'_>) -> Time {
        let seen = one.candidate.received.unwrap_or(self.now);
        if one.is_believed() { one.time().min(seen) } else { seen }
    }
}

/// The moment a stretch of time after another, with the same time of day in local time.
pub(super) fn after(time: Time, span: KeepSpan, local_offset: &LocalOffset) -> Time {
    let local = time.seconds.saturating_add(local_offset.at(time));
    let (year, month, day) = date_of(local.div_euclid(DAY));
    let (year, month) = (year + i64::from(span.years), month + i64::from(span.months));
    let day = day_of(year, month, 1) + day - 1 + i64::from(span.days);
    let wall = day.saturating_mul(DAY).saturating_add(local.rem_euclid(DAY));
    // Local time may be shifted by then; the offset of then is as good as that of the guess.
    let guess = Time { seconds: wall.saturating_sub(local_offset.at(time)), ..time };
    let seconds = wall.saturating_sub(local_offset.at(guess));
    Time { seconds: seconds.saturating_add(i64::from(span.hours) * 3600), ..time }
}

/// What of a group will have to go soon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiring {
    /// The group.
    pub group: GroupKey,
    /// How many of its snapshots.
    pub snapshots: u64,
    /// When the first of them goes.
    pub first: Time,
    /// When the last of them goes.
    pub last: Time,
    /// Whether nothing is left of the group then.
    pub leaves_nothing: bool,
}

/// Finds what is kept today and has to go within two weeks, group by group.
#[must_use]
pub fn expiring(verdicts: &[Verdict], now: Time) -> Vec<Expiring> {
    let soon = now.seconds.saturating_add(DEADLINE_WARNING_DAYS * DAY);
    let of_group = |group: &[Verdict]| {
        let kept: Vec<_> = group.iter().filter(|verdict| verdict.keep).collect();
        let times: Vec<_> = kept.iter().filter_map(|verdict| verdict.delete_at).collect();
        let going: Vec<_> = times.into_iter().filter(|time| time.seconds <= soon).collect();
        Some(Expiring {
            group: group.first()?.group.clone(),
            snapshots: going.len() as u64,
            first: *going.iter().min()?,
            last: *going.iter().max()?,
            leaves_nothing: going.len() == kept.len(),
        })
    };
    verdicts.chunk_by(|one, other| one.group == other.group).filter_map(of_group).collect()
}
