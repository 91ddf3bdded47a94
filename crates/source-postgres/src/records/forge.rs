//! Writes logs as a server does, for tests: pages, records that cross them, sums.
//!
//! On purpose not here: anything that a record means beyond its header.

use super::crc::Crc;
use crate::lsn::Lsn;
use std::collections::BTreeMap;

pub(crate) const PAGE: usize = 8192;
pub(crate) const SEGMENT: u64 = 1 << 20;
pub(crate) const SYSTEM: u64 = 7;

/// A log that grows. A clone goes on along a timeline of its own.
#[derive(Debug, Clone)]
pub(crate) struct Forge {
    pub(crate) start: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) last: u64,
    pub(crate) magic: u16,
}

impl Forge {
    /// Begins where a segment begins.
    pub(crate) fn new(segment: u64) -> Self {
        Self { start: segment * SEGMENT, bytes: Vec::new(), last: segment * SEGMENT, magic: 0xD110 }
    }

    pub(crate) fn here(&self) -> Lsn {
        Lsn(self.start + self.bytes.len() as u64)
    }

    fn header(&mut self, rest: usize) {
        let here = self.here().0;
        let long = here.is_multiple_of(SEGMENT);
        let flags = u16::from(rest > 0) | u16::from(long) << 1;
        self.bytes.extend(self.magic.to_le_bytes());
        self.bytes.extend(flags.to_le_bytes());
        self.bytes.extend(1_u32.to_le_bytes());
        self.bytes.extend(here.to_le_bytes());
        self.bytes.extend((rest as u64).to_le_bytes());
        if long {
            self.bytes.extend(SYSTEM.to_le_bytes());
            self.bytes.extend((SEGMENT as u32).to_le_bytes());
            self.bytes.extend((PAGE as u32).to_le_bytes());
        }
    }

    /// Writes a record; where it begins.
    pub(crate) fn record(&mut self, manager: u8, info: u8, xid: u32, data: &[u8]) -> Lsn {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        if self.bytes.len().is_multiple_of(PAGE) {
            self.header(0);
        }
        let at = self.here();
        let mut record = ((24 + data.len()) as u32).to_le_bytes().to_vec();
        record.extend(xid.to_le_bytes());
        record.extend(self.last.saturating_sub(u64::from(self.last == at.0)).to_le_bytes());
        record.extend([info, manager, 0, 0]);
        let sum = Crc::new().add(data).add(&record).value();
        record.extend(sum.to_le_bytes());
        record.extend(data);
        let mut rest = &record[..];
        while !rest.is_empty() {
            if self.bytes.len().is_multiple_of(PAGE) {
                self.header(rest.len());
            }
            let room = PAGE - self.bytes.len() % PAGE;
            let (part, more) = rest.split_at(rest.len().min(room));
            self.bytes.extend(part);
            rest = more;
        }
        self.last = at.0;
        at
    }

    fn short(data: &[u8]) -> Vec<u8> {
        [&[255, data.len() as u8], data].concat()
    }

    pub(crate) fn commit(&mut self, xid: u32, time: i64) -> Lsn {
        self.record(1, 0, xid, &Self::short(&time.to_le_bytes()))
    }

    pub(crate) fn abort(&mut self, xid: u32, time: i64) -> Lsn {
        self.record(1, 0x20, xid, &Self::short(&time.to_le_bytes()))
    }

    pub(crate) fn point(&mut self, name: &str, time: i64) -> Lsn {
        let mut data = time.to_le_bytes().to_vec();
        data.extend(name.as_bytes());
        data.resize(72, 0);
        self.record(0, 0x70, 0, &Self::short(&data))
    }

    /// Something else, of so many bytes.
    pub(crate) fn other(&mut self, bytes: usize) -> Lsn {
        self.record(10, 0, 3, &vec![1; bytes])
    }

    /// Ends the segment.
    pub(crate) fn switch(&mut self) -> Lsn {
        let at = self.record(0, 0x40, 0, b"");
        let length = self.bytes.len().next_multiple_of(SEGMENT as usize);
        self.bytes.resize(length, 0);
        at
    }

    /// The segments by their numbers, the last one filled up.
    pub(crate) fn segments(&self) -> BTreeMap<u64, Vec<u8>> {
        let first = self.start / SEGMENT;
        let whole = |part: &[u8]| {
            let mut part = part.to_vec();
            part.resize(SEGMENT as usize, 0);
            part
        };
        let parts = self.bytes.chunks(SEGMENT as usize).enumerate();
        parts.map(|(number, part)| (first + number as u64, whole(part))).collect()
    }
}
