//! Which line of history of a database: its number alone does not tell, for two copies of one
//! database that were both promoted have both become the same number.
//!
//! On purpose not here: what a history file says.

use holdfast_core::crypto::hash;
use std::fmt;

/// A line of history of a database. Written `<number, 8 hex>-<history, 16 hex>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeline {
    /// Number that the database system gave itself when it was made.
    pub system: u64,
    /// Number of the timeline, from 1.
    pub number: u32,
    /// First 8 bytes of BLAKE3-256 of the timeline's history file; zeros for one that has none, which
    /// is the first.
    pub history: [u8; 8],
}

impl Timeline {
    /// The timeline of a system with this history file, which is empty for the first.
    #[must_use]
    pub fn new(system: u64, number: u32, history: &[u8]) -> Self {
        let mut short = [0; 8];
        if !history.is_empty() {
            short.copy_from_slice(&hash(history)[..8]);
        }
        Self { system, number, history: short }
    }

    /// Reads what [`Timeline`] writes.
    #[must_use]
    pub fn parse(system: u64, text: &str) -> Option<Self> {
        let (number, history) = text.split_once('-')?;
        let digits = |text: &str, length| text.len() == length && text.bytes().all(is_digit);
        if !digits(number, 8) || !digits(history, 16) {
            return None;
        }
        let number = u32::from_str_radix(number, 16).ok()?;
        let history = u64::from_str_radix(history, 16).ok()?.to_be_bytes();
        Some(Self { system, number, history })
    }
}

/// Names have one spelling.
const fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:016x}", self.number, u64::from_be_bytes(self.history))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timelines_are_read_as_they_are_written() {
        let first = Timeline::new(7, 1, b"");
        assert_eq!(first.to_string(), "00000001-0000000000000000");
        let second = Timeline::new(7, 2, b"1\t0/3000000\tno recovery target specified\n");
        assert_ne!(second.history, [0; 8]);
        for timeline in [first, second] {
            assert_eq!(Timeline::parse(7, &timeline.to_string()), Some(timeline));
        }
        for text in ["", "1-0", "00000001", "00000001-000000000000000G", "0000000A-0000000000000000"] {
            assert_eq!(Timeline::parse(7, text), None, "{text}");
        }
    }
}
