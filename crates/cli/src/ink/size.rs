//! Numbers for people and from people: sizes, counts, rates, durations.
//!
//! On purpose not here: JSON, which has plain numbers in bytes and seconds.

use std::time::Duration;

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Writes a size in binary units with three digits: `1.43 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{} {}", three_digits(value), UNITS[unit]) }
}

fn three_digits(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// Writes a rate: `412 MiB/s`; nothing where no time passed.
pub(crate) fn rate(bytes: u64, time: Duration) -> Option<String> {
    let seconds = time.as_secs_f64();
    (seconds > 0.0).then(|| format!("{}/s", size((bytes as f64 / seconds) as u64)))
}

/// Writes a number with its thousands apart: `36,408`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Writes a number and the word for what it counts: `1 file`, `2 files`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// Writes a duration with its two largest units: `0.42 s`, `3 min 12 s`, `2 d 4 h`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{} s", three_digits(time.as_secs_f64())),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Writes an age in one or two units, without fractions: `41 s`, `2 h 10 min`.
pub(crate) fn age(time: Duration) -> String {
    if time.as_secs() < 60 { format!("{} s", time.as_secs()) } else { duration(time) }
}

/// Reads a size: a number with or without fraction, and K, M, G, T or P, each with or without
/// `iB`. All units are binary.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim());
    let factor = unit_factor(unit).ok_or_else(|| wrong_size(text))?;
    match number.parse::<u64>() {
        Ok(number) => number.checked_mul(factor).ok_or_else(|| format!("`{text}` is too large")),
        Err(_) => parse_fraction(number, factor).ok_or_else(|| wrong_size(text)),
    }
}

/// Reads a rate in bytes a second; a number alone is KiB a second, as in restic.
pub(crate) fn parse_rate(text: &str) -> Result<u64, String> {
    let plain = text.trim().bytes().all(|byte| byte.is_ascii_digit());
    let rate = if plain { parse_size(&format!("{}K", text.trim())) } else { parse_size(text) }?;
    if rate == 0 {
        Err("a rate of nothing would never end; leave the option out".to_owned())
    } else {
        Ok(rate)
    }
}

/// Reads a time as a number and s, m, h or d; 0 needs no unit.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let seconds = match &text[split..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "" if text.trim_start_matches('0').is_empty() => 0,
        _ => return Err(format!("`{text}` is no time: write 30s, 10m, 2h or 1d")),
    };
    let number: u64 =
        text[..split].parse().map_err(|_| format!("`{text}` is no time: write 30s, 10m, 2h or 1d"))?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| format!("`{text}` is too long"))
}

fn parse_fraction(number: &str, factor: u64) -> Option<u64> {
    let bytes = number.parse::<f64>().ok()? * factor as f64;
    // Above 2^63 a fraction says nothing any more, and below it the cast is exact enough.
    (bytes.is_finite() && bytes < 9.2e18).then_some(bytes as u64)
}

fn unit_factor(unit: &str) -> Option<u64> {
    let power = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 1,
        "m" | "mib" => 2,
        "g" | "gib" => 3,
        "t" | "tib" => 4,
        "p" | "pib" => 5,
        _ => return None,
    };
    Some(1 << (10 * power))
}

fn wrong_size(text: &str) -> String {
    format!("`{text}` is not a size; write 500M, 1.5GiB or 10k (units are binary)")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let shown = [0, 1, 1023, 1024, 1536, 12_897_484, 1 << 30, 1_535_000_000, u64::MAX].map(size);
        let wanted =
            ["0 B", "1 B", "1023 B", "1.00 KiB", "1.50 KiB", "12.3 MiB", "1.00 GiB", "1.43 GiB", "16.0 EiB"];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!(
            [0, 999, 1000, 36_408, 1_000_000].map(count),
            ["0", "999", "1,000", "36,408", "1,000,000"]
        );
        assert_eq!(
            (counted(1, "file", "files"), counted(0, "file", "files")),
            ("1 file".into(), "0 files".into())
        );
    }

    #[test]
    fn durations_have_two_units() {
        let shown = [0, 420, 12_340, 59_999, 192_000, 7_800_000, 187_200_000].map(Duration::from_millis);
        let wanted = ["0.00 s", "0.42 s", "12.3 s", "60.0 s", "3 min 12 s", "2 h 10 min", "2 d 4 h"];
        assert_eq!(shown.map(duration), wanted);
        assert_eq!(age(Duration::from_millis(41_900)), "41 s");
    }

    #[test]
    fn rates_need_time() {
        assert_eq!(rate(10 << 20, Duration::from_secs(2)).unwrap(), "5.00 MiB/s");
        assert_eq!(rate(1, Duration::ZERO), None);
    }

    #[test]
    fn sizes_are_read_in_binary_units() {
        let read = |text| parse_size(text).unwrap();
        assert_eq!((read("500M"), read("10k"), read("0")), (500 << 20, 10 << 10, 0));
        assert_eq!((read("1.5GiB"), read("7 kib"), read("12B")), (3 << 29, 7 << 10, 12));
        assert_eq!(read("18446744073709551615"), u64::MAX);
    }

    #[test]
    fn rates_and_times_are_read() {
        let rate = |text| parse_rate(text).unwrap();
        assert_eq!((rate("500"), rate("2M"), rate("1.5K")), (500 << 10, 2 << 20, 1536));
        assert!(parse_rate("0").is_err() && parse_rate("fast").is_err());
        let time = |text| parse_duration(text).unwrap().as_secs();
        assert_eq!(
            (time("30s"), time("10m"), time("2h"), time("1d"), time("0")),
            (30, 600, 7_200, 86_400, 0)
        );
        for text in ["", "10", "m", "1.5h", "-1s", "10x", "99999999999999999999s", "400000000000000000d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "M", "-1", "1.5.2G", "5KB", "1e3", "12X", "99999999P", ".", "20.0E"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
