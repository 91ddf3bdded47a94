//! A cron expression in Vixie's meaning, and when it matches on a clock that never jumps.
//!
//! The crate that finds the matches has seconds first, counts weekdays from 1 for Sunday, and takes
//! both fields of days together. So we read the five fields ourselves, write values and names
//! instead of what was written, and make two schedules where either field of days is enough. On
//! purpose not here: zones.

use super::fields::{Field, KINDS, WEEKDAYS};
use chrono::{DateTime as Moment, Datelike, NaiveDate, Timelike, Utc};
use cron::Schedule;
use jiff::civil::DateTime;
use std::collections::BTreeSet;
use std::fmt;

/// The words that stand for five fields.
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// The first year that the crate knows.
const FIRST_YEAR: i16 = 1970;

/// A cron expression: minute, hour, day of month, month, day of week.
#[derive(Debug, Clone)]
pub struct Cron {
    text: String,
    /// Two where either field of days is enough.
    schedules: Vec<Schedule>,
    every_hour: bool,
}

impl Cron {
    /// Reads an expression of five fields, or a word as `@daily`.
    ///
    /// # Errors
    /// It is none, or there is no day on which it matches: with the field, and what is right there.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = |what: String| format!("cron `{text}`: {what}");
        let fields = read(text).map_err(wrong)?;
        let expressions = expressions(&fields);
        let schedules: Result<Vec<_>, _> =
            expressions.iter().map(|expression| expression.parse::<Schedule>()).collect();
        let schedules = schedules.map_err(|error| wrong(error.to_string()))?;
        let every_hour = fields[1].star || fields[1].is_all(&KINDS[1]);
        let cron = Self { text: text.to_owned(), schedules, every_hour };
        let begin = DateTime::constant(2000, 1, 1, 0, 0, 0, 0);
        match cron.next(begin) {
            Some(_) => Ok(cron),
            None => Err(wrong("it never matches: no such month has such a day".to_owned())),
        }
    }

    /// Whether it is meant for hours as they pass and not for hours of the day: its field of hours
    /// begins with `*`, or has all of them. Where a clock is set back such a schedule goes on in the
    /// hour that comes twice.
    #[must_use]
    pub fn follows_real_time(&self) -> bool {
        self.every_hour
    }

    /// The first match after a time on a clock that never jumps.
    #[must_use]
    pub fn next(&self, after: DateTime) -> Option<DateTime> {
        let earliest = DateTime::constant(FIRST_YEAR - 1, 12, 31, 23, 59, 59, 0);
        let after = moment(after.max(earliest))?;
        let found = self.schedules.iter().filter_map(|schedule| schedule.after(&after).next());
        found.min().and_then(local)
    }

    /// The last match before a time on a clock that never jumps.
    #[must_use]
    pub fn previous(&self, before: DateTime) -> Option<DateTime> {
        if before.year() < FIRST_YEAR {
            return None;
        }
        let before = moment(before)?;
        let found = self.schedules.iter().filter_map(|schedule| schedule.after(&before).next_back());
        found.max().and_then(local)
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Cron {}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Reads the five fields.
fn read(text: &str) -> Result<Vec<Field>, String> {
    let text = match text.strip_prefix('@') {
        Some(_) => word(text)?,
        None => text,
    };
    let parts: Vec<&str> = text.split_ascii_whitespace().collect();
    if parts.len() != KINDS.len() {
        let order = "minute, hour, day of month, month, day of week: `15 2 * * *`";
        return Err(format!("it has {} fields, and there are five: {order}", parts.len()));
    }
    KINDS.iter().zip(parts).map(|(kind, part)| kind.read(part)).collect()
}

fn word(text: &str) -> Result<&'static str, String> {
    let known = WORDS.iter().find(|(word, _)| text.eq_ignore_ascii_case(word));
    known.map(|(_, fields)| *fields).ok_or_else(|| {
        let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
        format!("there is no such word: write five fields, or {}", words.join(", "))
    })
}

/// Writes fields as the crate reads them: with seconds, and weekdays by their names.
fn expressions(fields: &[Field]) -> Vec<String> {
    let list = |field: &Field| join(field.values.iter().map(ToString::to_string));
    let names = |field: &Field| join(field.values.iter().map(|day| WEEKDAYS[*day as usize].to_owned()));
    let [minute, hour, day, month, weekday] = fields else { return Vec::new() };
    let with = |day: &str, weekday: &str| {
        format!("0 {} {} {day} {} {weekday}", list(minute), list(hour), list(month))
    };
    let days = if day.is_all(&KINDS[2]) { "*".to_owned() } else { list(day) };
    let weekdays = if weekday.is_all(&KINDS[4]) { "*".to_owned() } else { names(weekday) };
    if day.star || weekday.star {
        vec![with(&days, &weekdays)]
    } else {
        BTreeSet::from([with(&days, "*"), with("*", &weekdays)]).into_iter().collect()
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

/// UTC is the clock that never jumps: it stands for local time here.
fn moment(time: DateTime) -> Option<Moment<Utc>> {
    let part = |number: i8| u32::try_from(number).ok();
    let date = NaiveDate::from_ymd_opt(i32::from(time.year()), part(time.month())?, part(time.day())?)?;
    let whole = date.and_hms_opt(part(time.hour())?, part(time.minute())?, part(time.second())?)?;
    Some(whole.and_utc())
}

fn local(time: Moment<Utc>) -> Option<DateTime> {
    let part = |number: u32| i8::try_from(number).ok();
    let year = i16::try_from(time.year()).ok()?;
    let (hour, minute) = (part(time.hour())?, part(time.minute())?);
    DateTime::new(year, part(time.month())?, part(time.day())?, hour, minute, part(time.second())?, 0).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn at(text: &str) -> DateTime {
        text.parse().unwrap()
    }

    /// The next few matches, from the first minute of 2026 on, which is a Thursday.
    fn next(text: &str, count: usize) -> Vec<String> {
        let cron = Cron::parse(text).unwrap();
        let first = cron.next(at("2025-12-31T23:59:59"));
        let all = std::iter::successors(first, |last| cron.next(*last));
        all.take(count).map(|time| time.strftime("%m-%d %H:%M").to_string()).collect()
    }

    #[test]
    fn known_dates() {
        let table: &[(&str, &[&str])] = &[
            ("15 2 * * *", &["01-01 02:15", "01-02 02:15"]),
            ("0 4 * * 0", &["01-04 04:00", "01-11 04:00"]),
            ("0 4 * * 7", &["01-04 04:00", "01-11 04:00"]),
            ("0 4 * * sun", &["01-04 04:00", "01-11 04:00"]),
            ("0 4 * * Monday", &["01-05 04:00", "01-12 04:00"]),
            ("0 0 * * 1-5", &["01-01 00:00", "01-02 00:00", "01-05 00:00"]),
            ("0 0 * * fri-sun", &["01-02 00:00", "01-03 00:00", "01-04 00:00", "01-09 00:00"]),
            ("0 0 * * 5-7", &["01-02 00:00", "01-03 00:00", "01-04 00:00"]),
            // Either is enough: the 13th, or a Friday.
            ("0 0 13 * 5", &["01-02 00:00", "01-09 00:00", "01-13 00:00", "01-16 00:00"]),
            // One begins with a star: both have to fit.
            ("0 0 */2 * 5", &["01-09 00:00", "01-23 00:00", "02-13 00:00"]),
            ("0 0 1-7 * *", &["01-01 00:00", "01-02 00:00"]),
            ("*/20 3 * * *", &["01-01 03:00", "01-01 03:20", "01-01 03:40", "01-02 03:00"]),
            ("10-40/15 3 * * *", &["01-01 03:10", "01-01 03:25", "01-01 03:40", "01-02 03:10"]),
            ("5,50 23 31 dec,jan *", &["01-31 23:05", "01-31 23:50", "12-31 23:05"]),
            ("0 0 29 2 *", &["02-29 00:00"]),
            ("0 0 31 2 1", &["02-02 00:00", "02-09 00:00"]),
            ("  @weekly ", &["01-04 00:00"]),
            ("@daily", &["01-01 00:00"]),
            ("@Hourly", &["01-01 00:00", "01-01 01:00"]),
            ("@monthly", &["01-01 00:00", "02-01 00:00"]),
            ("@yearly", &["01-01 00:00"]),
        ];
        for (text, wanted) in table {
            assert_eq!(next(text, wanted.len()), *wanted, "{text}");
        }
        assert_eq!(
            Cron::parse("0 0 29 2 *").unwrap().next(at("2026-01-01T00:00")),
            Some(at("2028-02-29T00:00"))
        );
        assert_eq!(
            Cron::parse("0 0 29 2 *").unwrap().previous(at("2026-01-01T00:00")),
            Some(at("2024-02-29T00:00"))
        );
    }

    #[test]
    fn mistakes_name_the_field_and_what_is_right() {
        let table = [
            ("61 * * * *", "minute: `61` is not there: write 0 to 59"),
            ("* 24 * * *", "hour: `24` is not there: write 0 to 23"),
            ("0 0 0 * *", "day of month: `0` is not there: write 1 to 31"),
            ("0 0 * 13 *", "month: `13` is not there: write 1 to 12 or a name, jan to dec"),
            ("0 0 * * 8", "day of week: `8` is not there: write 0 to 7 or a name, sun to sat"),
            ("0 0 * * sumday", "day of week: `sumday` is none: did you mean sun?"),
            ("0 0 * auh *", "did you mean aug?"),
            ("0 0 * xyz *", "month: `xyz` is none: write 1 to 12"),
            ("0 2 * *", "it has 4 fields, and there are five: minute, hour"),
            ("0 0 2 * * *", "it has 6 fields"),
            ("", "it has 0 fields"),
            ("*/0 * * * *", "no step from 1 to 59"),
            ("*/90 * * * *", "no step from 1 to 59"),
            ("5/15 * * * *", "`5/15` has a step and no range: write 5-59/"),
            ("0 22-6 * * *", "`22-6` goes backwards"),
            ("0 0 * * 5-0", "`5-0` goes backwards"),
            ("0 , * * *", "hour: `` is none"),
            ("+1 * * * *", "minute: `+1` is none"),
            ("-1 * * * *", "minute: `` is none"),
            ("0 0 31 2 *", "it never matches"),
            ("0 0 31 4,6,9,11 *", "it never matches"),
            ("@reboot", "there is no such word: write five fields, or @yearly"),
            ("99999999999999999999 * * * *", "minute:"),
        ];
        for (text, told) in table {
            let error = Cron::parse(text).unwrap_err();
            assert!(error.starts_with(&format!("cron `{text}`: ")) && error.contains(told), "{error}");
        }
    }

    #[test]
    fn hours_as_they_pass() {
        for (text, follows) in [
            ("*/5 * * * *", true),
            ("0 */6 * * *", true),
            ("0 0-23 * * *", true),
            ("*/5 2 * * *", false),
            ("15 2 * * *", false),
        ] {
            assert_eq!(Cron::parse(text).unwrap().follows_real_time(), follows, "{text}");
        }
    }

    #[test]
    fn ends_of_time_are_no_mistake() {
        let cron = Cron::parse("0 0 * * *").unwrap();
        assert_eq!(cron.next(DateTime::MAX), None);
        assert_eq!(cron.previous(DateTime::MIN), None);
        assert_eq!(cron.next(DateTime::MIN), Some(at("1970-01-01T00:00")));
        assert!(cron.previous(DateTime::MAX).is_some());
    }
}
