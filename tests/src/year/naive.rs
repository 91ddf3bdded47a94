//! When something is due, found out in the simplest way: day by day, each minute that an expression names.
//!
//! It shares nothing with the scheduler but the zones. On purpose not here: anything fast.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};
use std::collections::BTreeSet;

/// A field of an expression: `*`, `*/N`, numbers with commas.
fn fits(field: &str, value: i8) -> bool {
    field.split(',').any(|part| match part.strip_prefix('*') {
        Some("") => true,
        Some(step) => value % step.trim_start_matches('/').parse::<i8>().expect("a step") == 0,
        None => part.parse::<i8>().expect("a number") == value,
    })
}

/// The local minutes of a day that are of an expression of which one field of days at most says something.
fn minutes(cron: &str, day: Date) -> Vec<DateTime> {
    let fields: Vec<&str> = cron.split(' ').collect();
    let weekday = day.weekday().to_sunday_zero_offset();
    if !fits(fields[2], day.day()) || !fits(fields[3], day.month()) || !fits(fields[4], weekday) {
        return Vec::new();
    }
    let hours: Vec<i8> = (0..24).filter(|hour| fits(fields[1], *hour)).collect();
    let minutes: Vec<i8> = (0..60).filter(|minute| fits(fields[0], *minute)).collect();
    hours.iter().flat_map(|hour| minutes.iter().map(|minute| day.at(*hour, *minute, 0, 0))).collect()
}

/// All moments from one day to another, that one not taken in, at which an expression matches in a zone.
#[must_use]
pub fn times(cron: &str, zone: &TimeZone, from: Date, to: Date) -> BTreeSet<Timestamp> {
    let mut found = BTreeSet::new();
    let real = cron.split(' ').nth(1).is_some_and(|hours| hours.starts_with('*'));
    let mut day = from;
    while day < to {
        for time in minutes(cron, day) {
            moments(zone, time, real, &mut found);
        }
        day = day.tomorrow().expect("another day");
    }
    found
}

/// The moments that a local minute stands for: one; the change, where the minute is left out; where it comes twice
/// the first, and the second too for what follows real time.
fn moments(zone: &TimeZone, time: DateTime, real: bool, found: &mut BTreeSet<Timestamp>) {
    let at = |offset: jiff::tz::Offset| offset.to_timestamp(time).expect("a moment");
    match zone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Unambiguous { offset } => _ = found.insert(at(offset)),
        AmbiguousOffset::Gap { before, after } => {
            let mut moment = at(before);
            while zone.to_offset(moment - SignedDuration::from_secs(1)) == after {
                moment -= SignedDuration::from_mins(1);
            }
            found.insert(moment);
        }
        AmbiguousOffset::Fold { before, after } => {
            found.insert(at(before));
            if real {
                found.insert(at(after));
            }
        }
    }
}

/// The first moment from one on at which a clock shows a time of day, found minute by minute.
#[must_use]
pub fn shows(zone: &TimeZone, from: Timestamp, (hour, minute): (i8, i8)) -> Timestamp {
    let mut moment = from;
    loop {
        let local = zone.to_datetime(moment);
        if (local.hour(), local.minute()) == (hour, minute) {
            return moment;
        }
        moment = moment.checked_add(1.minute()).expect("a moment");
    }
}
