//! What the files of a log are called, and how their names count up.
//!
//! A name of 24 hexadecimal digits is the timeline, and twice 8 digits of a place: how many of 4 GiB
//! go before, and how many segments of those 4 GiB. On purpose not here: what is in a file.

use std::fmt;

/// A name has room for 4 GiB of the log in its last 8 digits.
const PER_HIGH: u64 = 1 << 32;
/// Segments have a power of two between these.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 30;

/// Whether a segment can have this length.
#[must_use]
pub fn is_segment_length(bytes: u64) -> bool {
    SEGMENT_BYTES.contains(&bytes) && bytes.is_power_of_two()
}

/// The name of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// Number of the timeline.
    pub timeline: u32,
    /// The two numbers that follow, as one: it grows along the log.
    pub place: u64,
}

/// What a file of a log is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalFile {
    /// A segment.
    Segment(SegmentName),
    /// The last segment of a timeline that somebody left in the middle of it.
    Partial(SegmentName),
    /// A note of a backup that began in a segment.
    Backup(SegmentName),
    /// From which timelines one comes.
    History(u32),
}

/// Names have one spelling.
fn digits(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
}

impl SegmentName {
    /// Reads 24 digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if !digits(text, 24) {
            return None;
        }
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Self { timeline: number(&text[..8])? as u32, place: number(&text[8..])? })
    }

    /// The segment of a timeline in which a byte of the log lies.
    #[must_use]
    pub const fn at(timeline: u32, byte: u64, segment_bytes: u64) -> Self {
        let number = byte / segment_bytes;
        let per_high = PER_HIGH / segment_bytes;
        Self { timeline, place: (number / per_high) << 32 | (number % per_high) }
    }

    /// First byte of the log in it; `None` if segments of this length have no such name.
    #[must_use]
    pub fn start(self, segment_bytes: u64) -> Option<u64> {
        let (high, low) = (self.place >> 32, self.place & 0xFFFF_FFFF);
        (low < PER_HIGH / segment_bytes).then(|| (high << 32) | (low * segment_bytes))
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self, segment_bytes: u64) -> Self {
        let (high, low) = (self.place >> 32, self.place & 0xFFFF_FFFF);
        let last = low + 1 >= PER_HIGH / segment_bytes;
        let place = if last { (high.wrapping_add(1)) << 32 } else { self.place + 1 };
        Self { place, ..self }
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}{:016X}", self.timeline, self.place)
    }
}

impl WalFile {
    /// Reads the name of a file; `None` if it is not one of a log.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(number) = text.strip_suffix(".history") {
            return digits(number, 8).then(|| u32::from_str_radix(number, 16).ok().map(Self::History))?;
        }
        let (segment, rest) = text.split_at_checked(24)?;
        let segment = SegmentName::parse(segment)?;
        match rest {
            "" => Some(Self::Segment(segment)),
            ".partial" => Some(Self::Partial(segment)),
            _ => {
                let offset = rest.strip_prefix('.')?.strip_suffix(".backup")?;
                digits(offset, 8).then_some(Self::Backup(segment))
            }
        }
    }

    /// Number of the timeline that it belongs to.
    #[must_use]
    pub const fn timeline(&self) -> u32 {
        match self {
            Self::Segment(name) | Self::Partial(name) | Self::Backup(name) => name.timeline,
            Self::History(number) => *number,
        }
    }

    /// The segment that it is, or is about.
    #[must_use]
    pub const fn segment(&self) -> Option<SegmentName> {
        match self {
            Self::Segment(name) | Self::Partial(name) | Self::Backup(name) => Some(*name),
            Self::History(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn names_are_read_as_they_are_written() {
        for text in ["000000010000000000000001", "0000001F000000A1000000FF"] {
            assert_eq!(SegmentName::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "00000001000000000000000", "0000000100000000000000001", "00000001000000000000000a"] {
            assert_eq!(SegmentName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_count_up_as_the_length_says() {
        let name = |text| SegmentName::parse(text).unwrap();
        assert_eq!(name("0000000100000000000000FF").next(16 * MIB), name("000000010000000100000000"));
        assert_eq!(name("0000000100000000000000FF").next(MIB), name("000000010000000000000100"));
        assert_eq!(name("000000010000001600000003").next(1 << 30), name("000000010000001700000000"));
        assert_eq!(SegmentName::at(1, 0x16_B374_D848, 16 * MIB), name("0000000100000016000000B3"));
        assert_eq!(name("0000000100000016000000B3").start(16 * MIB), Some(0x16_B300_0000));
        assert_eq!(name("000000010000001600000004").start(1 << 30), None);
    }

    #[test]
    fn files_are_known_by_their_names() {
        let segment = SegmentName { timeline: 2, place: 7 };
        for (text, file) in [
            ("000000020000000000000007", WalFile::Segment(segment)),
            ("000000020000000000000007.partial", WalFile::Partial(segment)),
            ("000000020000000000000007.00000028.backup", WalFile::Backup(segment)),
            ("00000002.history", WalFile::History(2)),
        ] {
            assert_eq!(WalFile::parse(text), Some(file));
            assert_eq!(file.timeline(), 2);
        }
        for text in ["", "2.history", "000000020000000000000007.0", "000000020000000000000007.28.backup", "é"]
        {
            assert_eq!(WalFile::parse(text), None, "{text}");
        }
    }
}
