//! Moments, spans and names as the screen has them.
//!
//! On purpose not here: what is said.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// What passed between two moments; nothing where the later comes first.
pub(super) fn passed(from: Timestamp, to: Timestamp) -> Duration {
    let passed = to.duration_since(from).max(SignedDuration::ZERO);
    passed.unsigned_abs()
}

/// A span in one unit, so that two are compared at a glance: `41 s`, `5 min`, `26 h`, `3 d`.
pub(crate) fn span(time: Duration) -> String {
    let (number, unit, _) = parts(time);
    format!("{number} {unit}")
}

/// The same in words: `1 hour`, `3 days`.
pub(super) fn span_in_words(time: Duration) -> String {
    let (number, _, word) = parts(time);
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

fn parts(time: Duration) -> (u64, &'static str, &'static str) {
    let seconds = time.as_secs();
    match seconds {
        0..120 if seconds != 60 => (seconds, "s", "second"),
        60..7200 if seconds != 3600 => (seconds / 60, "min", "minute"),
        3600..172_800 if seconds != 86_400 => (seconds / 3600, "h", "hour"),
        _ => (seconds / 86_400, "d", "day"),
    }
}

/// How long it is from one moment to another.
pub(crate) fn span_between(from: Timestamp, to: Timestamp) -> String {
    span(passed(from, to))
}

/// A size in the unit that suits it.
pub(crate) fn size(bytes: u64) -> String {
    let unit = unit_of(bytes);
    format!("{} {}", in_unit(bytes, unit), UNITS[unit])
}

/// Units of sizes, each 1024 of the one before.
const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// Which unit suits a size, by its place among them.
fn unit_of(bytes: u64) -> usize {
    (0..UNITS.len()).rev().find(|unit| bytes >> (10 * unit) > 0).unwrap_or(0)
}

fn in_unit(bytes: u64, unit: usize) -> String {
    let number = bytes as f64 / (1_u64 << (10 * unit)) as f64;
    let number = format!("{number:.1}");
    number.strip_suffix(".0").unwrap_or(&number).to_owned()
}

/// A size beside what it may be at most, in one unit where that can be: `1.2 of 50 GiB`.
pub(super) fn kept_of(bytes: u64, most: Option<u64>) -> String {
    let own = unit_of(bytes);
    let alone = format!("{} {}", in_unit(bytes, own), UNITS[own]);
    let Some(most) = most else { return format!("{alone}, and nothing limits it") };
    let unit = unit_of(most);
    let shown = match in_unit(bytes, unit) {
        // So little of that unit that it would look like nothing.
        little if little == "0" && bytes > 0 => alone,
        number => number,
    };
    format!("{shown} of {} {}", in_unit(most, unit), UNITS[unit])
}

/// A moment as it is told on a day: its time on the same day, with its date else.
pub(super) fn moment(moment: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (then, today) = (zone.to_datetime(moment), zone.to_datetime(now));
    let form = match () {
        () if then.date() == today.date() => "%H:%M",
        () if then.year() == today.year() => "%m-%d %H:%M",
        () => "%Y-%m-%d",
    };
    then.strftime(form).to_string()
}

/// A text of somebody else's in one line, with nothing in it that moves a cursor, and not too long.
pub(super) fn plain(text: &str) -> String {
    const LENGTH_MAX: usize = 300;
    let mut out = String::new();
    for letter in text.trim().chars() {
        match letter {
            '\n' => out.push(' '),
            _ if letter.is_control() => out.extend(letter.escape_default()),
            _ => out.push(letter),
        }
    }
    match out.char_indices().nth(LENGTH_MAX) {
        Some((at, _)) => format!("{}…", &out[..at]),
        None => out,
    }
}

/// A word as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/._-:@=+,%~".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        word.to_owned()
    } else {
        format!("'{}'", plain(word).replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn spans_have_one_unit() {
        let wanted = [
            (0, "0 s"),
            (41, "41 s"),
            (60, "1 min"),
            (119, "119 s"),
            (300, "5 min"),
            (3600, "1 h"),
            (5400, "90 min"),
            (86_400, "1 d"),
            (26 * 3600, "26 h"),
            (47 * 3600, "47 h"),
            (3 * 86_400 + 9, "3 d"),
        ];
        for (seconds, text) in wanted {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        assert_eq!(span_in_words(Duration::from_secs(3600)), "1 hour");
        assert_eq!(span_in_words(Duration::from_secs(3 * 86_400)), "3 days");
    }

    #[test]
    fn what_is_kept_stands_beside_what_may_be() {
        let gib = |tenths: u64| (tenths << 30) / 10;
        assert_eq!(kept_of(gib(12), Some(50 << 30)), "1.2 of 50 GiB");
        assert_eq!(kept_of(0, Some(50 << 30)), "0 of 50 GiB");
        assert_eq!(kept_of(16 << 20, Some(50 << 30)), "16 MiB of 50 GiB");
        assert_eq!(kept_of(3 << 40, Some(1 << 30)), "3072 of 1 GiB");
        assert_eq!(kept_of(gib(12), None), "1.2 GiB, and nothing limits it");
    }

    #[test]
    fn texts_of_others_stay_in_their_line() {
        assert_eq!(plain(" a\nb\u{1b}[2J "), "a b\\u{1b}[2J");
        assert_eq!(plain(&"x".repeat(400)).chars().count(), 301);
        assert_eq!(quoted("s3://b/p?x=1&y"), "'s3://b/p?x=1&y'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("/etc/holdfast/shop.yaml"), "/etc/holdfast/shop.yaml");
    }

    #[test]
    fn moments_are_as_short_as_the_day_allows() {
        let zone = TimeZone::get("Asia/Seoul").unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-22T03:14:00+09:00");
        let told = |text: &str| moment(at(text), now, &zone);
        assert_eq!(told("2026-11-22T00:00:00+09:00"), "00:00");
        assert_eq!(told("2026-11-21T23:59:59+09:00"), "11-21 23:59");
        assert_eq!(told("2025-12-31T00:00:00+09:00"), "2025-12-31");
        assert_eq!(passed(now, at("2026-11-22T03:00:00+09:00")), Duration::ZERO);
    }
}
