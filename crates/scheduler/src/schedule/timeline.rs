//! Matches of an expression as moments, in a zone whose clock is set forward and back.
//!
//! The time line of a zone is cut into stretches of one offset each. Within one, local time runs as
//! on a clock that never jumps. Where a clock is set forward, what would have matched in the hour
//! that is left out runs once, at the moment of the change. Where it is set back, the hour that
//! comes twice counts the first time; only schedules that follow real time ("every ten minutes")
//! go on through the second. On purpose not here: jitter.

use super::Cron;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// No schedule waits longer: the years of the crate that finds matches end, each with two changes.
const STRETCHES_MAX: usize = 1000;

const NANOSECOND: SignedDuration = SignedDuration::from_nanos(1);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// A part of a zone's time line with one offset.
struct Stretch {
    offset: Offset,
    /// When it begins, and the offset before that.
    begins: Option<(Timestamp, Offset)>,
    /// When it ends, and the offset behind that.
    ends: Option<(Timestamp, Offset)>,
}

impl Stretch {
    /// The one that a moment lies in.
    fn of(zone: &TimeZone, moment: Timestamp) -> Self {
        let offset = zone.to_offset(moment);
        let behind = moment.checked_add(NANOSECOND).unwrap_or(moment);
        let before = |change: Timestamp| Some(zone.to_offset(change.checked_sub(NANOSECOND).ok()?));
        let mut earlier =
            zone.preceding(behind).map(|change| (change.timestamp(), before(change.timestamp())));
        let begins = earlier.find_map(|(at, old)| old.filter(|old| *old != offset).map(|old| (at, old)));
        let later = zone.following(moment).map(|change| (change.timestamp(), change.offset()));
        Self { offset, begins, ends: later.into_iter().find(|(_, new)| *new != offset) }
    }

    /// The first local time in it that counts.
    fn first(&self, follows: bool) -> Option<DateTime> {
        let (begin, old) = self.begins?;
        let again = !follows && old > self.offset;
        Some(if again { old.to_datetime(begin) } else { self.offset.to_datetime(begin) })
    }

    fn moment(&self, local: DateTime) -> Option<Timestamp> {
        self.offset.to_timestamp(local).ok()
    }
}

/// The first match after a moment.
pub(super) fn next(cron: &Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let mut stretch = Stretch::of(zone, after);
    let mut floor = whole_second(stretch.offset.to_datetime(after))?;
    for _ in 0..STRETCHES_MAX {
        if let Some(first) = stretch.first(cron.follows_real_time()) {
            floor = floor.max(first.checked_sub(SECOND).ok()?);
        }
        let found = cron.next(floor)?;
        let Some((end, new)) = stretch.ends else { return stretch.moment(found) };
        if found < stretch.offset.to_datetime(end) {
            return stretch.moment(found);
        }
        if found < new.to_datetime(end) {
            return Some(end);
        }
        stretch = Stretch::of(zone, end);
        floor = new.to_datetime(end).checked_sub(SECOND).ok()?;
    }
    None
}

/// The last match before a moment.
pub(super) fn previous(cron: &Cron, zone: &TimeZone, before: Timestamp) -> Option<Timestamp> {
    let mut stretch = Stretch::of(zone, before.checked_sub(NANOSECOND).ok()?);
    let mut ceiling = next_second(stretch.offset.to_datetime(before))?;
    for _ in 0..STRETCHES_MAX {
        let found = cron.previous(ceiling)?;
        let Some((begin, old)) = stretch.begins else { return stretch.moment(found) };
        if stretch.first(cron.follows_real_time()).is_some_and(|first| found >= first) {
            return stretch.moment(found);
        }
        let (end_before, first) = (old.to_datetime(begin), stretch.offset.to_datetime(begin));
        if (end_before..first).contains(&found) {
            return Some(begin);
        }
        stretch = Stretch::of(zone, begin.checked_sub(NANOSECOND).ok()?);
        ceiling = end_before;
    }
    None
}

/// Without what is less than a second.
fn whole_second(time: DateTime) -> Option<DateTime> {
    time.with().subsec_nanosecond(0).build().ok()
}

/// The next whole second, or this if it is one.
fn next_second(time: DateTime) -> Option<DateTime> {
    let whole = whole_second(time)?;
    if whole == time { Some(time) } else { whole.checked_add(SECOND).ok() }
}
