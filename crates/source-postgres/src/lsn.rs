//! Places in the log, and the names of the files that hold it.
//!
//! On purpose not here: reading the log.

use std::fmt;

/// A place in the log: so many bytes from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Reads it as the server writes it: two hexadecimal numbers with a slash between.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.split_once('/')?;
        let half = |digits: &str| {
            let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        Some(Self(half(high)? << 32 | half(low)?))
    }

    /// The beginning of the segment that it lies in.
    pub(crate) const fn segment_start(self, segment_bytes: u64) -> Self {
        Self(self.0 - self.0 % segment_bytes)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// Segments have a power of two between these.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 30;

/// Whether a server can have segments of this length.
pub(crate) fn is_segment_length(bytes: u64) -> bool {
    SEGMENT_BYTES.contains(&bytes) && bytes.is_power_of_two()
}

/// The file that holds the log from the beginning of a segment on.
pub(crate) fn segment_name(timeline: u32, start: Lsn, segment_bytes: u64) -> String {
    let number = start.0 / segment_bytes;
    let per_name = (1 << 32) / segment_bytes;
    format!("{timeline:08X}{:08X}{:08X}", number / per_name, number % per_name)
}

/// Reads a length as the server shows it: `16MB`.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor = match unit {
        "" | "B" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        "TB" => 1 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn places_are_read_and_written() {
        for text in ["0/0", "0/2000028", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(Lsn::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "/", "0", "0/", "/0", "0/123456789", "+1/0", "g/0", "0/0/0", "-1/0"] {
            assert_eq!(Lsn::parse(text), None, "{text}");
        }
    }

    #[test]
    fn segments_are_named_as_the_server_names_them() {
        const MIB: u64 = 1 << 20;
        let name = |text: &str, bytes| {
            let at = Lsn::parse(text).unwrap();
            segment_name(1, at.segment_start(bytes), bytes)
        };
        assert_eq!(name("0/2000028", 16 * MIB), "000000010000000000000002");
        assert_eq!(name("16/B374D848", 16 * MIB), "0000000100000016000000B3");
        assert_eq!(name("16/B374D848", MIB), "000000010000001600000B37");
        assert_eq!(name("16/B374D848", 1 << 30), "000000010000001600000002");
        assert_eq!(segment_name(0x1F, Lsn(0), 16 * MIB), "0000001F0000000000000000");
    }

    #[test]
    fn lengths_have_units() {
        assert_eq!(parse_bytes("16MB"), Some(16 << 20));
        assert_eq!(parse_bytes("1GB"), Some(1 << 30));
        assert_eq!((parse_bytes("x"), parse_bytes("16 MB"), parse_bytes("")), (None, None, None));
        assert!(is_segment_length(16 << 20) && !is_segment_length(3 << 20) && !is_segment_length(0));
    }
}
