//! Moments: as people read them (local time), as programs do (RFC 3339, UTC), and from people.
//!
//! On purpose not here: what time it is; the caller says.

use holdfast_core::entry::Time;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::time::Duration;

/// Writes a moment in local time, to the second.
pub(crate) fn local(time: Time) -> String {
    match timestamp(time) {
        Some(stamp) => stamp.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("@{}", time.seconds),
    }
}

/// Tells how many seconds local time is ahead of UTC at a moment.
pub(crate) fn local_offset(time: Time) -> i32 {
    timestamp(time).map_or(0, |stamp| TimeZone::system().to_offset(stamp).seconds())
}

/// Writes a moment for programs: RFC 3339 in UTC with as many digits as it has.
pub(crate) fn rfc3339(time: Time) -> String {
    timestamp(time).map_or_else(|| format!("@{}", time.seconds), |stamp| stamp.to_string())
}

/// Returns how long ago a moment was; nothing where it lies ahead.
pub(crate) fn since(time: Time, now: Time) -> Duration {
    let nanos = u64::try_from((nanoseconds(now) - nanoseconds(time)).max(0)).unwrap_or(u64::MAX);
    Duration::from_nanos(nanos)
}

/// Reads a moment: `2026-01-31`, `2026-01-31 02:15:00` in local time, or with an offset as
/// RFC 3339 has it, or `@` and seconds since 1970.
pub(crate) fn parse(text: &str) -> Result<Time, String> {
    let wrong = || format!("`{text}` is not a time; write \"2026-01-31 02:15:00\" or 2026-01-31T02:15:00Z");
    if let Some(seconds) = text.strip_prefix('@') {
        return Ok(Time { seconds: seconds.parse().map_err(|_| wrong())?, nanos: 0 });
    }
    let stamp = match text.parse::<Timestamp>() {
        Ok(stamp) => stamp,
        Err(_) => {
            let civil = text.parse::<DateTime>().map_err(|_| wrong())?;
            civil.to_zoned(TimeZone::system()).map_err(|_| wrong())?.timestamp()
        }
    };
    from_timestamp(stamp)
}

fn timestamp(time: Time) -> Option<Timestamp> {
    Timestamp::from_nanosecond(nanoseconds(time)).ok()
}

fn nanoseconds(time: Time) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

fn from_timestamp(stamp: Timestamp) -> Result<Time, String> {
    let nanos = stamp.as_nanosecond();
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).map_err(|_| "too far away".to_owned())?;
    let nanos = u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default();
    Ok(Time { seconds, nanos })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn programs_read_rfc3339() {
        assert_eq!(rfc3339(Time { seconds: 0, nanos: 0 }), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(Time { seconds: 1, nanos: 500_000_000 }), "1970-01-01T00:00:01.5Z");
        assert_eq!(rfc3339(Time { seconds: -1, nanos: 500_000_000 }), "1969-12-31T23:59:59.5Z");
        assert_eq!(rfc3339(Time { seconds: i64::MAX, nanos: 0 }), format!("@{}", i64::MAX));
    }

    #[test]
    fn what_is_written_is_read() {
        for time in [Time { seconds: 1_764_000_000, nanos: 12 }, Time { seconds: -7, nanos: 999_999_999 }] {
            assert_eq!(parse(&rfc3339(time)).unwrap(), time);
        }
        let time = Time { seconds: 1_764_000_000, nanos: 0 };
        assert_eq!(parse(&local(time)).unwrap(), time);
        assert_eq!(parse("@1764000000").unwrap(), time);
        assert!(parse("yesterday").is_err());
    }

    #[test]
    fn what_lies_ahead_is_no_time_ago() {
        let (early, late) = (Time { seconds: 1, nanos: 900 }, Time { seconds: 4, nanos: 0 });
        assert_eq!(since(early, late), Duration::new(2, 999_999_100));
        assert_eq!(since(late, early), Duration::ZERO);
    }
}
