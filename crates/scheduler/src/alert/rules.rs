//! How patient alerts are: all of it in numbers.
//!
//! On purpose not here: what they are used for.

use crate::status::State;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// A warning that nobody saw to for so long is told as high.
pub const WARNING_IS_HIGH_AFTER: SignedDuration = SignedDuration::from_hours(72);
/// So is what nobody can tell: it may hide anything.
pub const UNKNOWN_IS_HIGH_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// What is high is told again after so long, and then after so long each time.
pub const HIGH_AGAIN: [SignedDuration; 3] =
    [SignedDuration::from_hours(1), SignedDuration::from_hours(4), SignedDuration::from_hours(24)];
/// A disaster is told again each time after so long.
pub const DISASTER_AGAIN: SignedDuration = SignedDuration::from_hours(1);
/// A warning is told again each time after so long.
pub const WARNING_AGAIN: SignedDuration = SignedDuration::from_hours(24);

/// A thing that is gone has to stay gone for so long before it is told as resolved: at once the first time
/// in a day, and longer each time that it came back. Until then it is the same alert.
pub const GONE_FOR: [SignedDuration; 5] = [
    SignedDuration::ZERO,
    SignedDuration::from_mins(30),
    SignedDuration::from_hours(2),
    SignedDuration::from_hours(6),
    SignedDuration::from_hours(12),
];
/// Openings that are younger count for that.
pub const OPENINGS_COUNT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// Alerts that were closed longer ago are forgotten.
pub const CLOSED_ARE_KEPT_FOR: SignedDuration = SignedDuration::from_hours(24 * 30);
/// Messages that somebody has are forgotten after so long.
pub const SENT_ARE_KEPT_FOR: SignedDuration = SignedDuration::from_hours(24 * 90);

/// A clock is taken for right where a message was put so long ago by it, and not longer ago than that: only
/// then is anything forgotten.
pub const CLOCK_IS_SEEN: (SignedDuration, SignedDuration) =
    (SignedDuration::from_hours(1), SignedDuration::from_hours(24 * 45));

/// A message that nobody takes is tried again after so long, twice as long each time, up to so long.
pub const TRY_AGAIN: (SignedDuration, SignedDuration) =
    (SignedDuration::from_secs(30), SignedDuration::from_mins(15));
/// Whoever asks for a longer pause does not get it.
pub const PAUSE_MAX: SignedDuration = SignedDuration::from_hours(1);
/// What nobody took for so long is given up, and that is shown.
pub const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_hours(24 * 7);
/// What is refused, and might not be when somebody has mended why, is given up after so long.
pub const REFUSED_FOR: SignedDuration = SignedDuration::from_hours(12);
/// Nothing is given up that was tried less often: a clock that leapt makes nothing old.
pub const TRIES_MIN: i64 = 20;
/// What was tried so often is given up, whatever the clock says.
pub const TRIES_MAX: i64 = 1000;
/// Whoever tries has so long until somebody else may.
pub const HELD_FOR: SignedDuration = SignedDuration::from_mins(5);
/// A message that waits longer is worth a word in `status`.
pub const WAITS_TOO_LONG: SignedDuration = SignedDuration::from_mins(15);

/// What lies further ahead was written by a clock that had leapt: the longest pause, and what the clocks of
/// workers differ by.
pub const AHEAD_MAX: SignedDuration = SignedDuration::from_mins(70);

/// So long may a look take beside which others look, with what the clocks of workers differ by.
pub const NEWER_MAX: SignedDuration = SignedDuration::from_mins(15);

/// Whether a moment lies so far ahead that it is not believed.
#[must_use]
pub fn is_beyond(moment: Timestamp, now: Timestamp) -> bool {
    moment.duration_since(now) > AHEAD_MAX
}

/// How bad a thing is told to be that is there since a moment.
#[must_use]
pub fn escalated(condition: &str, state: State, since: Timestamp, now: Timestamp) -> State {
    let age = now.duration_since(since);
    match state {
        // It says what will happen on a day that it names: age makes it no worse.
        State::Warning if condition == "last-one-expires" => state,
        State::Warning if age >= WARNING_IS_HIGH_AFTER => State::High,
        State::Unknown if age >= UNKNOWN_IS_HIGH_AFTER => State::High,
        _ => state,
    }
}

/// After how long something is told again that was told again so often.
#[must_use]
pub fn again_after(severity: State, reminders: u32) -> SignedDuration {
    let step = usize::try_from(reminders).unwrap_or(usize::MAX).min(HIGH_AGAIN.len() - 1);
    match severity {
        State::Disaster => DISASTER_AGAIN,
        State::High | State::Unknown => HIGH_AGAIN[step],
        State::Warning | State::Ok => WARNING_AGAIN,
    }
}

/// For how long a thing has to be gone that was opened so often in a day.
#[must_use]
pub fn gone_for(openings: usize) -> SignedDuration {
    GONE_FOR[openings.saturating_sub(1).min(GONE_FOR.len() - 1)]
}

/// After how long a message is tried again that was tried so often.
#[must_use]
pub fn try_again_after(tries: i64, asked_for: Option<Duration>) -> SignedDuration {
    let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or(0).min(10);
    let own = (TRY_AGAIN.0 * (1 << doublings)).min(TRY_AGAIN.1);
    let asked_for = asked_for.and_then(|time| SignedDuration::try_from(time).ok());
    own.max(asked_for.unwrap_or_default()).min(PAUSE_MAX)
}
