//! Reads records out of segments, one after the other, from any segment on.
//!
//! A record may lie across pages and segments. Each is believed only if its sum is right and it says
//! which record is before it; with the first that is not, the log ends. On purpose not here: where
//! the segments come from.

use super::crc::Crc;
use super::event::{Event, EventKind, kind_of};
use crate::lsn::Lsn;

/// What the first bytes of a page say: of the versions 13 to 18.
const MAGICS: [u16; 6] = [0xD106, 0xD10D, 0xD110, 0xD113, 0xD116, 0xD118];
/// A record goes on here that began on the page before.
const CONTINUES: u16 = 1;
const LONG_HEADER: u16 = 1 << 1;
/// A record that began before will never be whole: the server died, and began another one.
const OVERWRITES: u16 = 1 << 3;
const SHORT_BYTES: usize = 24;
const LONG_BYTES: usize = 40;
/// Pages that a server can be built with, in bytes.
const PAGE_BYTES: std::ops::RangeInclusive<u32> = 1 << 10..=1 << 16;
const RECORD_HEADER_BYTES: usize = 24;
/// The sum stands last in the header, and is not in the sum.
const SUM_AT: usize = 20;
/// No server writes longer records.
const RECORD_BYTES_MAX: u32 = 1 << 30;
const ALIGNMENT: usize = 8;

/// What whoever hears of records wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The next one.
    Go,
    /// No more.
    Enough,
}

/// How far a segment was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// To its end; the log goes on in the next one.
    Next,
    /// To here: nothing was written behind it.
    Empty(Lsn),
    /// To here: what stands behind it is no log.
    Broken(Lsn, String),
    /// As far as was wanted.
    Enough,
}

/// Reads the log of one database, segment by segment.
#[derive(Debug)]
pub struct LogReader {
    system: Option<u64>,
    segment_bytes: u64,
    /// The record that was read last.
    last: Option<Lsn>,
    /// A record that goes on in the next page.
    open: Option<Open>,
    /// So much of a record is to come whose beginning was not seen.
    skip: u32,
    /// Whether nothing was read yet.
    fresh: bool,
}

/// A record of which a part is read.
#[derive(Debug)]
struct Open {
    at: Lsn,
    length: u32,
    bytes: Vec<u8>,
}

/// A page of a segment.
struct Page<'a> {
    at: Lsn,
    /// Headers included.
    bytes: &'a [u8],
    flags: u16,
    /// So much of a record is to come.
    rest: u32,
    header: usize,
}

/// Why a page or a record is not read.
enum Stop {
    Empty(Lsn),
    Broken(Lsn, String),
    Enough,
}

impl LogReader {
    /// Begins; `system` says whose log it has to be.
    #[must_use]
    pub const fn new(system: Option<u64>, segment_bytes: u64) -> Self {
        Self { system, segment_bytes, last: None, open: None, skip: 0, fresh: true }
    }

    /// The record that was read last.
    #[must_use]
    pub const fn last(&self) -> Option<Lsn> {
        self.last
    }

    /// Reads the segment that begins at a place, which has to follow the one that was read before.
    /// One that is shorter than it should be ends where it ends.
    pub fn read(&mut self, start: Lsn, segment: &[u8], mut each: impl FnMut(&Event) -> Verdict) -> End {
        match self.pages(start, segment, &mut each) {
            Ok(end) => end,
            Err(Stop::Empty(at)) => End::Empty(at),
            Err(Stop::Broken(at, what)) => End::Broken(at, what),
            Err(Stop::Enough) => End::Enough,
        }
    }

    fn pages(
        &mut self,
        start: Lsn,
        segment: &[u8],
        each: &mut impl FnMut(&Event) -> Verdict,
    ) -> Result<End, Stop> {
        let page_bytes = self.first_page(start, segment)?;
        for (number, bytes) in segment.chunks(page_bytes).enumerate() {
            let at = Lsn(start.0.saturating_add((number * page_bytes) as u64));
            let page = page(at, bytes, number == 0)?;
            if self.page(&page, each)? == EventKind::Switch {
                return Ok(End::Next);
            }
        }
        if (segment.len() as u64) < self.segment_bytes {
            return Ok(End::Empty(Lsn(start.0.saturating_add(segment.len() as u64))));
        }
        Ok(End::Next)
    }

    /// Looks at what the first page says of all; how long pages are.
    fn first_page(&self, start: Lsn, segment: &[u8]) -> Result<usize, Stop> {
        let broken = |what: String| Stop::Broken(start, what);
        if segment.iter().take(LONG_BYTES).all(|&byte| byte == 0) {
            return Err(Stop::Empty(start));
        }
        let header = segment.first_chunk::<LONG_BYTES>();
        let header = header.ok_or_else(|| broken("the segment is cut off".to_owned()))?;
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let system = u64::from(word(24)) | u64::from(word(28)) << 32;
        if u16::from_le_bytes([header[2], header[3]]) & LONG_HEADER == 0 {
            return Err(broken("the segment does not begin as one".to_owned()));
        }
        if self.system.is_some_and(|wanted| wanted != system) {
            return Err(broken(format!("the segment is of another cluster, {system}")));
        }
        if u64::from(word(32)) != self.segment_bytes {
            return Err(broken(format!("segments have {} bytes here", word(32))));
        }
        let page_bytes = word(36);
        if !PAGE_BYTES.contains(&page_bytes) || !page_bytes.is_power_of_two() {
            return Err(broken(format!("pages have {page_bytes} bytes here")));
        }
        Ok(page_bytes as usize)
    }

    /// Reads the records that begin or end on a page; the kind of the last one.
    fn page(&mut self, page: &Page<'_>, each: &mut impl FnMut(&Event) -> Verdict) -> Result<EventKind, Stop> {
        let mut at = page.header;
        if page.flags & OVERWRITES != 0 {
            // The record that is given up stands before the one that says so.
            self.open = None;
            self.last = None;
        }
        if std::mem::take(&mut self.fresh) && page.flags & CONTINUES != 0 {
            self.skip = page.rest;
        }
        if self.skip > 0 {
            at += self.pass_over(page)?;
        } else if let Some(mut open) = self.open.take() {
            let left = open.length - open.bytes.len() as u32;
            if page.flags & CONTINUES == 0 || page.rest != left {
                // It was never written to its end: a server that died left it.
                return Err(Stop::Empty(open.at));
            }
            let there = &page.bytes[at..];
            let part = &there[..there.len().min(left as usize)];
            open.bytes.extend_from_slice(part);
            at += part.len();
            if part.len() < left as usize {
                self.open = Some(open);
                return Ok(EventKind::Other);
            }
            if self.record(open.at, &open.bytes, each)? == EventKind::Switch {
                return Ok(EventKind::Switch);
            }
        } else if page.flags & CONTINUES != 0 {
            return Err(Stop::Broken(page.at, "a record goes on that never began".to_owned()));
        }
        self.records(page, at, each)
    }

    /// The end of a record whose beginning was not seen.
    fn pass_over(&mut self, page: &Page<'_>) -> Result<usize, Stop> {
        if page.flags & CONTINUES == 0 || page.rest != self.skip {
            return Err(Stop::Empty(page.at));
        }
        let there = page.bytes.len() - page.header;
        let part = there.min(self.skip as usize);
        self.skip -= part as u32;
        Ok(part)
    }

    /// The records that begin on a page.
    fn records(
        &mut self,
        page: &Page<'_>,
        at: usize,
        each: &mut impl FnMut(&Event) -> Verdict,
    ) -> Result<EventKind, Stop> {
        let mut at = at.next_multiple_of(ALIGNMENT);
        while let Some(length) = page.bytes.get(at..).and_then(|bytes| bytes.first_chunk()) {
            let place = Lsn(page.at.0.saturating_add(at as u64));
            let length = u32::from_le_bytes(*length);
            if length == 0 {
                return Err(Stop::Empty(place));
            }
            if (length as usize) < RECORD_HEADER_BYTES || length > RECORD_BYTES_MAX {
                return Err(Stop::Broken(place, format!("a record of {length} bytes")));
            }
            let Some(bytes) = page.bytes[at..].get(..length as usize) else {
                self.open = Some(Open { at: place, length, bytes: page.bytes[at..].to_vec() });
                break;
            };
            if self.record(place, bytes, each)? == EventKind::Switch {
                return Ok(EventKind::Switch);
            }
            at = (at + length as usize).next_multiple_of(ALIGNMENT);
        }
        Ok(EventKind::Other)
    }

    /// A whole record, of which it is told if it is one.
    fn record(
        &mut self,
        at: Lsn,
        bytes: &[u8],
        each: &mut impl FnMut(&Event) -> Verdict,
    ) -> Result<EventKind, Stop> {
        let broken = |what: &str| Stop::Broken(at, what.to_owned());
        let (header, data) =
            bytes.split_first_chunk::<RECORD_HEADER_BYTES>().ok_or_else(|| broken("a record is cut off"))?;
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if Crc::new().add(data).add(&header[..SUM_AT]).value() != word(SUM_AT) {
            return Err(broken("the sum of a record is wrong"));
        }
        let before = u64::from(word(8)) | u64::from(word(12)) << 32;
        if self.last.is_some_and(|last| last.0 != before) || before >= at.0 {
            return Err(broken("a record follows another one than the log has"));
        }
        self.last = Some(at);
        let event = Event { at, kind: kind_of(header[17], header[16], word(4), data) };
        match each(&event) {
            Verdict::Enough => Err(Stop::Enough),
            Verdict::Go if event.kind == EventKind::Switch => Ok(EventKind::Switch),
            Verdict::Go => Ok(EventKind::Other),
        }
    }
}

fn page(at: Lsn, bytes: &[u8], is_first: bool) -> Result<Page<'_>, Stop> {
    let broken = |what: String| Stop::Broken(at, what);
    let Some(header) = bytes.first_chunk::<SHORT_BYTES>() else {
        return Err(broken("a page is cut off".to_owned()));
    };
    let flags = u16::from_le_bytes([header[2], header[3]]);
    let magic = u16::from_le_bytes([header[0], header[1]]);
    if magic == 0 {
        return Err(Stop::Empty(at));
    }
    if !MAGICS.contains(&magic) {
        return Err(broken(format!("a page begins with {magic:04X}, as no known server writes")));
    }
    let [mut place, mut rest] = [[0; 8]; 2];
    place.copy_from_slice(&header[8..16]);
    rest[..4].copy_from_slice(&header[16..20]);
    let there = Lsn(u64::from_le_bytes(place));
    if there != at {
        // What a segment held before it got its name.
        return Err(Stop::Empty(at));
    }
    if is_first != (flags & LONG_HEADER != 0) {
        return Err(broken("a page has the header of another".to_owned()));
    }
    let header = if is_first { LONG_BYTES } else { SHORT_BYTES };
    if bytes.len() < header {
        return Err(broken("a page is cut off".to_owned()));
    }
    Ok(Page { at, bytes, flags, rest: u64::from_le_bytes(rest) as u32, header })
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
