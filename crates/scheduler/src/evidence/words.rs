//! Words and figures of a record, for people.
//!
//! On purpose not here: markup.

use super::Objective;
use crate::drill::verdict::Verdict;
use holdfast_engine::proof::{Cause, Level, Probe};
use jiff::Timestamp;

/// The word for a level.
#[must_use]
pub const fn level(level: Level) -> &'static str {
    match level {
        Level::Read => "read",
        Level::Restore => "restore",
        Level::Boot => "boot",
        Level::Check => "check",
        Level::Full => "full",
    }
}

/// The word for a cause.
#[must_use]
pub const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Backup => "backup",
        Cause::Source => "source",
        Cause::Environment => "environment",
        Cause::Assertion => "assertion",
    }
}

/// The word for a verdict.
#[must_use]
pub const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Inconclusive => "inconclusive",
    }
}

/// What a verdict means, in a sentence.
#[must_use]
pub const fn meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "Everything that was looked at came back as it was recorded.",
        Verdict::Fail => "It did not come back, or not as promised.",
        Verdict::Inconclusive => "Nothing was proved: this is not a pass.",
    }
}

/// A level that was reached, if any was.
#[must_use]
pub fn reached(reached: Option<Level>) -> &'static str {
    reached.map_or("none", level)
}

/// A duration in its two largest units: `0.42 s`, `3 min 12 s`, `2 d 4 h`.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    let seconds = sane(seconds);
    let whole = seconds as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86_400);
    match whole {
        0..10 => format!("{seconds:.2} s"),
        10..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{minutes} min {} s", whole % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A number with three digits, for programs. What is no number counts as none.
#[must_use]
pub fn plain(seconds: f64) -> String {
    format!("{:.3}", sane(seconds))
}

/// A number that can be drawn and written: neither negative nor endless.
#[must_use]
pub fn sane(number: f64) -> f64 {
    if number.is_finite() { number.clamp(0.0, 1e12) } else { 0.0 }
}

/// A size in binary units: `1.43 GiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// How much of a source was restored.
#[must_use]
pub fn amount(restored: u64, share: Option<f64>) -> String {
    match share {
        Some(share) if sane(share) < 1.0 => {
            format!("{}, {:.1} % of all", bytes(restored), sane(share) * 100.0)
        }
        _ => bytes(restored),
    }
}

/// A moment: `2026-11-26 04:00:12 UTC`.
#[must_use]
pub fn moment(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Whether a promise was held: `held`, `broken`, `broken, not enforced`.
#[must_use]
pub const fn kept(objective: &Objective) -> &'static str {
    match (objective.met, objective.enforced) {
        (true, _) => "held",
        (false, true) => "broken",
        (false, false) => "broken, not enforced here",
    }
}

/// What was measured: `12 min 4 s`, `about 3 h 2 min, estimated from a part`.
#[must_use]
pub fn measured(objective: &Objective) -> String {
    let measured = seconds(objective.measured);
    if objective.estimated { format!("about {measured}, estimated from a part") } else { measured }
}

/// What was counted: `bytes 120, files 3`.
#[must_use]
pub fn counts(probe: &Probe) -> String {
    let counts = probe.counts.iter().map(|(name, number)| format!("{name} {number}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// A text in which nothing steers what shows it: characters that XML cannot hold, or that reorder what stands
/// around them, are written out. Line breaks stay.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").chars() {
        match c {
            '\n' => out.push(c),
            '\t' => out.push(' '),
            c if c.is_control() || steers(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// The same on one line.
#[must_use]
pub fn line(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    shown(&lines.join(" "))
}

/// Marks that reorder or break the text around them, and what no XML may hold.
const fn steers(c: char) -> bool {
    matches!(c,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_for_people() {
        let shown =
            [0.0, 0.424, 12.34, 192.0, 7_260.0, 188_000.0, -1.0, f64::NAN, f64::INFINITY].map(seconds);
        let wanted = [
            "0.00 s",
            "0.42 s",
            "12.3 s",
            "3 min 12 s",
            "2 h 1 min",
            "2 d 4 h",
            "0.00 s",
            "0.00 s",
            "0.00 s",
        ];
        assert_eq!(shown, wanted);
        assert_eq!([7, 1 << 30, u64::MAX].map(bytes), ["7 B", "1.00 GiB", "16.0 EiB"]);
        assert_eq!(amount(1024, Some(0.125)), "1.00 KiB, 12.5 % of all");
        assert_eq!(amount(1024, Some(1.0)), "1.00 KiB");
        assert_eq!((plain(1.5), plain(f64::NAN)), ("1.500".into(), "0.000".into()));
    }

    #[test]
    fn texts_steer_nothing() {
        assert_eq!(shown("a\r\nb\u{1b}[2J\u{202e}\u{ffff}\tc"), "a\nb\\u{1b}[2J\\u{202e}\\u{ffff} c");
        assert_eq!(line(" a\n\n b\u{7}"), "a b\\u{7}");
    }
}
