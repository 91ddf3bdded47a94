//! Whether the clock was set: who is silent by a clock that leapt need not be dead.
//!
//! Compared are two clocks, one that tells the time and one that only counts on. On purpose not here: schedules,
//! which go by what stands in the catalog and so run nothing twice, wherever the clock goes.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Clocks that are corrected bit by bit differ by less.
const LEAP_SECS: i64 = 20;

/// Two clocks, as they were when somebody last looked.
#[derive(Debug, Clone, Default)]
pub struct Leaps {
    last: Option<(Timestamp, Duration)>,
    /// Until then nobody is taken for dead.
    patient_until: Duration,
}

impl Leaps {
    /// Looks at both. By how much the clock leapt since, if it did; then everybody who lives has as long as
    /// stated to be heard of again.
    pub fn look(&mut self, now: Timestamp, counted: Duration, patience: Duration) -> Option<SignedDuration> {
        let (before, counted_before) = self.last.replace((now, counted))?;
        let passed = SignedDuration::try_from(counted.saturating_sub(counted_before)).ok()?;
        let leap = now.duration_since(before).checked_sub(passed)?;
        if leap.abs().as_secs() < LEAP_SECS {
            return None;
        }
        self.patient_until = counted.saturating_add(patience);
        Some(leap)
    }

    /// Whether who is silent may be taken for dead.
    #[must_use]
    pub fn trusts(&self, counted: Duration) -> bool {
        counted >= self.patient_until
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn a_leap_is_seen_and_makes_patient() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let mut leaps = Leaps::default();
        let mut look = |now: &str, counted: u64| {
            let counted = Duration::from_secs(counted);
            let leap = leaps.look(at(now), counted, PATIENCE).map(|leap| leap.as_secs());
            (leap, leaps.trusts(counted))
        };
        assert_eq!(look("2026-11-22T00:00:00Z", 100), (None, true));
        assert_eq!(look("2026-11-22T00:00:31Z", 130), (None, true));
        assert_eq!(look("2026-11-22T01:00:41Z", 140), (Some(3600), false));
        assert_eq!(look("2026-11-22T01:00:51Z", 150), (None, false));
        assert_eq!(look("2026-11-22T01:01:41Z", 200), (None, true));
        assert!(!look("2016-11-22T01:01:51Z", 210).1);
    }
}
