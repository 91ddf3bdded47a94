//! When something is due: cron expressions, zones, jitter, runs that were missed.
//!
//! All of it is computed from what is handed in. On purpose not here: what time it is; doing
//! what is due.

mod expression;
mod fields;
mod timeline;
pub mod which;
mod zone;

#[cfg(test)]
mod timeline_tests;

pub use expression::Cron;
pub use zone::zone;

use crate::policy::{CatchUp, Schedule};
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// What begins within so many seconds of its time was not missed.
const ON_TIME_SECS: i64 = 60;

/// So many missed runs are counted; more are as bad.
const MISSED_MAX: u32 = 10_000;

/// When something runs, again and again.
#[derive(Debug, Clone)]
pub struct Clockwork {
    cron: Cron,
    zone: TimeZone,
    /// So much later than the expression says, always the same for one key.
    jitter: SignedDuration,
    catch_up: CatchUp,
    max_age: Option<SignedDuration>,
    not_after: Option<Time>,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing {
        /// When there will be; none where there never is.
        next: Option<Timestamp>,
    },
    /// Run.
    Run {
        /// The time that this run is for.
        scheduled_for: Timestamp,
        /// How many earlier ones it makes up for.
        missed: u32,
    },
    /// A run was missed, and is not caught up.
    TooLate {
        /// The time that it was for: the latest one.
        scheduled_for: Timestamp,
        /// How many earlier ones were missed too.
        missed: u32,
        /// Why not, in words.
        why: String,
        /// When the next one is.
        next: Option<Timestamp>,
    },
}

impl Clockwork {
    /// Reads a schedule. The key decides about the jitter: a policy's name, and for what has a
    /// schedule of its own the name and what it is ([`which`] knows them).
    ///
    /// # Errors
    /// The expression, the zone or the time of day is none; in words for people.
    pub fn of(schedule: &Schedule, key: &str) -> Result<Self, String> {
        let span = |span: crate::policy::units::Span| {
            SignedDuration::from_secs(i64::try_from(span.0.as_secs()).unwrap_or(i64::MAX))
        };
        Ok(Self {
            cron: Cron::parse(&schedule.cron)?,
            zone: zone(schedule.timezone.as_deref())?,
            jitter: jitter(key, schedule.jitter.map_or(0, |jitter| jitter.0.as_secs())),
            catch_up: schedule.catch_up,
            max_age: schedule.max_age.map(span),
            not_after: schedule.not_after.as_deref().map(time_of_day).transpose()?,
        })
    }

    /// The zone that it goes by.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// How much later than the expression says it runs.
    #[must_use]
    pub fn jitter(&self) -> SignedDuration {
        self.jitter
    }

    /// The first time after a moment; none where there is none any more.
    #[must_use]
    pub fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        let plain = timeline::next(&self.cron, &self.zone, moment.checked_sub(self.jitter).ok()?)?;
        plain.checked_add(self.jitter).ok()
    }

    /// The last time before a moment.
    #[must_use]
    pub fn before(&self, moment: Timestamp) -> Option<Timestamp> {
        let plain = timeline::previous(&self.cron, &self.zone, moment.checked_sub(self.jitter).ok()?)?;
        plain.checked_add(self.jitter).ok()
    }

    /// What is to be done now, if the last run began at a moment. What never ran has missed its last
    /// time.
    #[must_use]
    pub fn due(&self, last_started: Option<Timestamp>, now: Timestamp) -> Due {
        let nothing = || Due::Nothing { next: self.after(now) };
        let just_behind = now.checked_add(SignedDuration::from_nanos(1)).unwrap_or(now);
        let Some(scheduled_for) = self.before(just_behind) else { return nothing() };
        if last_started.is_some_and(|last| scheduled_for <= last) {
            return nothing();
        }
        let missed = last_started.map_or(0, |last| self.missed(last, scheduled_for));
        match self.too_late(scheduled_for, now) {
            None => Due::Run { scheduled_for, missed },
            // Nothing is known of what never ran, so nothing was missed.
            Some(_) if last_started.is_none() => nothing(),
            Some(why) => Due::TooLate { scheduled_for, missed, why, next: self.after(now) },
        }
    }

    /// How many times lie between two moments.
    fn missed(&self, after: Timestamp, before: Timestamp) -> u32 {
        let mut at = before;
        for count in 0..MISSED_MAX {
            match self.before(at) {
                Some(earlier) if earlier > after => at = earlier,
                _ => return count,
            }
        }
        MISSED_MAX
    }

    /// Why a run does not begin any more.
    fn too_late(&self, scheduled_for: Timestamp, now: Timestamp) -> Option<String> {
        let late = now.duration_since(scheduled_for);
        let on_time = SignedDuration::from_secs(ON_TIME_SECS);
        if self.catch_up == CatchUp::None && late > on_time {
            return Some("the policy says `catch_up: none`".to_owned());
        }
        self.waited_too_long(scheduled_for, now)
    }

    /// Why a run that came in time and had to wait does not begin any more. It was not missed, so `catch_up`
    /// says nothing of it.
    #[must_use]
    pub fn waited_too_long(&self, scheduled_for: Timestamp, now: Timestamp) -> Option<String> {
        let late = now.duration_since(scheduled_for);
        let on_time = SignedDuration::from_secs(ON_TIME_SECS);
        if self.max_age.is_some_and(|max| late > max) {
            return Some("it was missed by more than `max_age`".to_owned());
        }
        let closes = self.closes(scheduled_for)?;
        (now.duration_since(closes) > on_time)
            .then(|| format!("no run begins after {} ({})", closes.to_zoned(self.zone.clone()), "not_after"))
    }

    /// When a run may not begin any more: at the first such time of day behind its own, moved by the
    /// jitter as that is.
    fn closes(&self, scheduled_for: Timestamp) -> Option<Timestamp> {
        let plain = scheduled_for.checked_sub(self.jitter).ok()?;
        let local = self.zone.to_datetime(plain);
        let today = local.date().to_datetime(self.not_after?);
        let day = if today < local { local.date().tomorrow().ok()? } else { local.date() };
        let closes = day.to_datetime(self.not_after?).to_zoned(self.zone.clone()).ok()?.timestamp();
        closes.checked_add(self.jitter).ok()
    }
}

/// Always the same for a key: spread, not random.
fn jitter(key: &str, seconds: u64) -> SignedDuration {
    let hash = blake3::hash(key.as_bytes());
    let number = hash.as_bytes()[..8].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let chosen = number.checked_rem(seconds).unwrap_or(0);
    SignedDuration::from_secs(i64::try_from(chosen).unwrap_or(0))
}

/// Reads `06:00`.
fn time_of_day(text: &str) -> Result<Time, String> {
    let wrong = || format!("`{text}` is no time of day: write hours and minutes, as 06:00");
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let digits = |text: &str| match text {
        text if text.len() == 2 => text.parse().map_err(|_| wrong()),
        _ => Err(wrong()),
    };
    Time::new(digits(hours)?, digits(minutes)?, 0, 0).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::policy::units::Span;
    use std::time::Duration;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn nightly() -> Schedule {
        Schedule { cron: "15 2 * * *".into(), timezone: Some("Asia/Seoul".into()), ..Schedule::default() }
    }

    fn clock(schedule: &Schedule) -> Clockwork {
        Clockwork::of(schedule, "shop").unwrap()
    }

    fn span(seconds: u64) -> Option<Span> {
        Some(Span(Duration::from_secs(seconds)))
    }

    #[test]
    fn the_next_and_the_last_time() {
        let clock = clock(&nightly());
        let (day, next) = (at("2026-11-22T02:15:00+09:00"), at("2026-11-23T02:15:00+09:00"));
        assert_eq!(clock.after(at("2026-11-22T02:14:59.9+09:00")), Some(day));
        assert_eq!(clock.after(day), Some(next));
        assert_eq!(clock.before(next), Some(day));
        assert_eq!(clock.before(at("2026-11-23T02:15:00.1+09:00")), Some(next));
    }

    #[test]
    fn what_ran_is_not_due_and_what_was_missed_is_caught_up_once() {
        let clock = clock(&nightly());
        let (day, next) = (at("2026-11-22T02:15:00+09:00"), at("2026-11-23T02:15:00+09:00"));
        let due = |last: &str, now: &str| clock.due(Some(at(last)), at(now));
        assert_eq!(
            due("2026-11-22T02:15:00.2+09:00", "2026-11-22T12:00:00+09:00"),
            Due::Nothing { next: Some(next) }
        );
        assert_eq!(
            due("2026-11-21T02:15:00+09:00", "2026-11-22T02:15:00+09:00"),
            Due::Run { scheduled_for: day, missed: 0 }
        );
        assert_eq!(
            due("2026-11-18T02:15:00+09:00", "2026-11-22T20:00:00+09:00"),
            Due::Run { scheduled_for: day, missed: 3 }
        );
        assert_eq!(
            clock.due(None, at("2026-11-22T20:00:00+09:00")),
            Due::Run { scheduled_for: day, missed: 0 }
        );
    }

    #[test]
    fn what_is_not_to_be_caught_up_says_why() {
        let day = at("2026-11-22T02:15:00+09:00");
        let why = |schedule: Schedule, now: &str| match clock(&schedule)
            .due(Some(at("2026-11-20T03:00:00+09:00")), at(now))
        {
            Due::TooLate { scheduled_for, missed, why, next } => {
                assert_eq!((scheduled_for, missed), (day, 1));
                assert_eq!(next, Some(at("2026-11-23T02:15:00+09:00")));
                Some(why)
            }
            Due::Run { .. } => None,
            due @ Due::Nothing { .. } => panic!("{due:?}"),
        };
        let none = Schedule { catch_up: CatchUp::None, ..nightly() };
        assert_eq!(why(none.clone(), "2026-11-22T02:15:59+09:00"), None);
        assert!(why(none, "2026-11-22T02:17:00+09:00").unwrap().contains("catch_up"));
        let aged = Schedule { max_age: span(3600), ..nightly() };
        assert_eq!(why(aged.clone(), "2026-11-22T03:15:00+09:00"), None);
        assert!(why(aged, "2026-11-22T03:15:01+09:00").unwrap().contains("max_age"));
        let closed = Schedule { not_after: Some("06:00".into()), ..nightly() };
        assert_eq!(why(closed.clone(), "2026-11-22T06:00:30+09:00"), None);
        assert!(why(closed, "2026-11-22T06:02:00+09:00").unwrap().contains("2026-11-22T06:00:00+09:00"));
        // Behind midnight it is the next day's.
        let evening = Schedule { not_after: Some("01:00".into()), ..nightly() };
        assert_eq!(why(evening.clone(), "2026-11-23T00:59:00+09:00"), None);
        assert!(why(evening, "2026-11-23T01:02:00+09:00").is_some());
    }

    #[test]
    fn what_never_ran_waits_if_its_time_is_over() {
        let clock = clock(&Schedule { catch_up: CatchUp::None, ..nightly() });
        let due = clock.due(None, at("2026-11-22T12:00:00+09:00"));
        assert_eq!(due, Due::Nothing { next: Some(at("2026-11-23T02:15:00+09:00")) });
    }

    #[test]
    fn jitter_is_the_same_every_night_and_moves_the_deadline() {
        let schedule = Schedule { jitter: span(1200), not_after: Some("02:20".into()), ..nightly() };
        let keys: Vec<String> = (0..50).map(|number| format!("policy {number}")).collect();
        let shifts: Vec<_> =
            keys.iter().map(|key| Clockwork::of(&schedule, key).unwrap().jitter().as_secs()).collect();
        assert!(shifts.iter().all(|shift| (0..1200).contains(shift)));
        assert!(shifts.iter().any(|shift| *shift > 600) && shifts.iter().any(|shift| *shift < 600));
        for key in &keys {
            let clock = Clockwork::of(&schedule, key).unwrap();
            let first = clock.after(at("2026-11-22T00:00:00+09:00")).unwrap();
            let day = at("2026-11-22T02:15:00+09:00");
            assert_eq!(first.duration_since(day), clock.jitter());
            assert_eq!(clock.after(first).unwrap().duration_since(first).as_secs(), 86_400);
            assert_eq!(clock.before(clock.after(first).unwrap()), Some(first));
            let due = clock.due(Some(at("2026-11-21T12:00:00+09:00")), first);
            assert_eq!(due, Due::Run { scheduled_for: first, missed: 0 }, "{key}");
        }
    }

    #[test]
    fn mistakes_are_told_with_what_is_right() {
        let wrong = |schedule: Schedule| Clockwork::of(&schedule, "shop").unwrap_err();
        let text = wrong(Schedule { not_after: Some("6am".into()), ..nightly() });
        assert!(text.contains("06:00"), "{text}");
        let text = wrong(Schedule { timezone: Some("Asia/Soul".into()), ..nightly() });
        assert!(text.contains("Asia/Seoul"), "{text}");
        let text = wrong(Schedule { cron: "0 0 31 2 *".into(), ..nightly() });
        assert!(text.contains("never"), "{text}");
    }

    #[test]
    fn many_missed_runs_are_counted_up_to_a_bound() {
        let clock = clock(&Schedule { cron: "* * * * *".into(), ..Schedule::default() });
        let due = clock.due(Some(at("2026-01-01T00:00:00Z")), at("2026-03-01T00:00:00Z"));
        assert_eq!(due, Due::Run { scheduled_for: at("2026-03-01T00:00:00Z"), missed: MISSED_MAX });
    }
}
