//! The header of a segment's first page: which cluster it is of, how long it is, where it lies.
//!
//! Numbers in a log stand in the order of the server's machine; all that are backed up have the low
//! byte first. On purpose not here: records.

use holdfast_engine::wal::{SegmentName, is_segment_length};

/// What the first page begins with, by major version from 13 on.
const MAGIC: [(u16, u32); 6] =
    [(0xD106, 13), (0xD10D, 14), (0xD110, 15), (0xD113, 16), (0xD116, 17), (0xD118, 18)];
/// A flag of the header: it is the long one, as the first page of a segment has it.
const LONG: u16 = 0x0002;
/// Length of the long header.
const BYTES: usize = 40;

/// What the first page of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHeader {
    /// Major version of the server that wrote it.
    pub major: u32,
    /// Timeline of the first record: an earlier one where the segment's own timeline begins within it.
    pub timeline: u32,
    /// First byte of the log in it.
    pub start: u64,
    /// Which cluster it is of.
    pub system: u64,
    /// Length of a segment in bytes.
    pub segment_bytes: u64,
}

/// Why something is no segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSegment {
    /// It is shorter than a header.
    #[error("it is shorter than the header of a page")]
    Short,
    /// It begins otherwise.
    #[error("it does not begin as a segment of PostgreSQL 13 to 18 does, but with {0:04X}")]
    Magic(u16),
    /// Its length is not what it says.
    #[error("it has {found} bytes, and its header says {stated}")]
    Length {
        /// What it has.
        found: u64,
        /// What it says.
        stated: u64,
    },
    /// It lies elsewhere in the log.
    #[error("its header says that it is {0}")]
    Place(String),
}

impl PageHeader {
    /// Reads the front of a segment.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadSegment> {
        let bytes: &[u8; BYTES] = bytes.first_chunk().ok_or(BadSegment::Short)?;
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let magic = u16_at(0);
        let known = MAGIC.iter().find(|(known, _)| *known == magic && u16_at(2) & LONG != 0);
        let (_, major) = known.ok_or(BadSegment::Magic(magic))?;
        let header = Self {
            major: *major,
            timeline: u32_at(4),
            start: u64_at(8),
            system: u64_at(24),
            segment_bytes: u64::from(u32_at(32)),
        };
        let sound =
            is_segment_length(header.segment_bytes) && header.start.is_multiple_of(header.segment_bytes);
        if sound { Ok(header) } else { Err(BadSegment::Magic(magic)) }
    }

    /// Reads the front of a segment with a name, of which there are so many bytes.
    ///
    /// # Errors
    /// It is none, or another one.
    pub fn of_segment(bytes: &[u8], length: u64, name: SegmentName) -> Result<Self, BadSegment> {
        let header = Self::parse(bytes)?;
        if length != header.segment_bytes {
            return Err(BadSegment::Length { found: length, stated: header.segment_bytes });
        }
        header.fits(name)?;
        Ok(header)
    }

    /// Whether it is that of a segment with this name.
    ///
    /// # Errors
    /// It is another's.
    pub fn fits(&self, name: SegmentName) -> Result<(), BadSegment> {
        let own = SegmentName::at(name.timeline, self.start, self.segment_bytes);
        if own == name && self.timeline <= name.timeline {
            return Ok(());
        }
        let own = SegmentName { timeline: self.timeline, ..own };
        Err(BadSegment::Place(own.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn page(magic: u16, timeline: u32, start: u64, bytes: u32) -> Vec<u8> {
        [
            &magic.to_le_bytes()[..],
            &LONG.to_le_bytes(),
            &timeline.to_le_bytes(),
            &start.to_le_bytes(),
            &[0; 8],
            &7_u64.to_le_bytes(),
            &bytes.to_le_bytes(),
            &8192_u32.to_le_bytes(),
        ]
        .concat()
    }

    #[test]
    fn a_segment_says_what_it_is() {
        let bytes = page(0xD110, 1, 0x300_0000, 16 << 20);
        let name = SegmentName { timeline: 1, place: 3 };
        let header = PageHeader::of_segment(&bytes, 16 << 20, name).unwrap();
        assert_eq!((header.major, header.system, header.segment_bytes), (15, 7, 16 << 20));
        // The first of a timeline begins with pages of the one before.
        assert!(PageHeader::of_segment(&bytes, 16 << 20, SegmentName { timeline: 2, ..name }).is_ok());
        let later = page(0xD110, 3, 0x300_0000, 16 << 20);
        assert!(PageHeader::of_segment(&later, 16 << 20, SegmentName { timeline: 2, ..name }).is_err());
        let other = SegmentName { place: 4, ..name };
        assert!(matches!(PageHeader::of_segment(&bytes, 16 << 20, other), Err(BadSegment::Place(_))));
        assert!(matches!(PageHeader::of_segment(&bytes, 8 << 20, name), Err(BadSegment::Length { .. })));
    }

    #[test]
    fn what_is_no_segment_is_refused() {
        assert_eq!(PageHeader::parse(&[0; 39]), Err(BadSegment::Short));
        for wrong in [
            page(0xD0FF, 1, 0, 16 << 20),
            page(0xD119, 1, 0, 16 << 20),
            page(0xD110, 1, 0, 3 << 20),
            page(0xD110, 1, 8192, 16 << 20),
            vec![0; 8192],
        ] {
            assert!(matches!(PageHeader::parse(&wrong), Err(BadSegment::Magic(_))));
        }
    }
}
