//! A zip archive as a stream: lengths and checksums stand behind each content, zip64 where they
//! need it, and the directory at the end, without which no reader takes the archive for whole.
//!
//! The directory is kept in memory until then: about 120 bytes and the name of each entry. On
//! purpose not here: what zip does not know: devices, pipes, sockets, hard links (each name gets
//! a content of its own) and extended attributes.

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use holdfast_core::entry::{Entry, Kind, key_to_path};
use std::io::{self, Write};
use std::ops::ControlFlow;

const DEFLATED: u16 = 8;
const STORED: u16 = 0;
/// Lengths and checksum follow the content.
const FLAG_DESCRIPTOR: u16 = 1 << 3;
/// The name is UTF-8.
const FLAG_UTF8: u16 = 1 << 11;
const MADE_BY_UNIX: u16 = 3 << 8;
const VERSION: u16 = 20;
const VERSION_ZIP64: u16 = 45;
/// A content of this length may not fit 32 bits when it is deflated.
const LONG_BYTES: u64 = 0xf000_0000;
const U32_MAX: u64 = 0xffff_ffff;
const U16_MAX: u64 = 0xffff;

/// Writes entries one after the other.
#[derive(Default)]
pub(super) struct Zip {
    offset: u64,
    directory: Vec<u8>,
    entries: u64,
    current: Option<Current>,
}

struct Current {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    attributes: u32,
    extra: Vec<u8>,
    time: [u8; 4],
    start: u64,
    long: bool,
    deflate: DeflateEncoder<Vec<u8>>,
    crc: Crc,
    packed: u64,
    link_target: Option<Vec<u8>>,
}

impl Zip {
    /// Writes what stands before an entry's content; refuses what zip does not know.
    pub(super) fn begin(&mut self, entry: &Entry, out: &mut Vec<u8>) -> ControlFlow<&'static str> {
        let kind_bits: u32 = match entry.kind {
            Kind::File => 0o100_000,
            Kind::Directory => 0o040_000,
            Kind::Symlink => 0o120_000,
            Kind::Fifo | Kind::Socket | Kind::CharDevice | Kind::BlockDevice => {
                return ControlFlow::Break("zip cannot hold devices, pipes and sockets");
            }
        };
        let mut name = key_to_path(&entry.key);
        if name.is_empty() {
            // The folder that was asked for has no name, and so no place in a zip archive.
            return ControlFlow::Continue(());
        }
        if entry.kind == Kind::Directory {
            name.push(b'/');
        }
        if name.len() as u64 > U16_MAX {
            return ControlFlow::Break("its path is too long for a zip archive");
        }
        let is_dir = entry.kind == Kind::Directory;
        let utf8 = if std::str::from_utf8(&name).is_ok() { FLAG_UTF8 } else { 0 };
        let current = Current {
            flags: utf8 | if is_dir { 0 } else { FLAG_DESCRIPTOR },
            method: if is_dir { STORED } else { DEFLATED },
            attributes: (kind_bits | u32::from(entry.mode)) << 16 | if is_dir { 0x10 } else { 0 },
            extra: extra(entry),
            time: dos_time(entry.mtime.seconds),
            start: self.offset,
            long: entry.size >= LONG_BYTES,
            deflate: DeflateEncoder::new(Vec::new(), Compression::new(4)),
            crc: Crc::new(),
            packed: 0,
            link_target: entry.attributes.link_target.clone(),
            name,
        };
        let before = out.len();
        current.local_header(out);
        self.offset += (out.len() - before) as u64;
        self.current = Some(current);
        ControlFlow::Continue(())
    }

    /// Takes the next bytes of the content.
    pub(super) fn data(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        current.crc.update(bytes);
        current.deflate.write_all(bytes)?;
        current.drain(out, &mut self.offset);
        Ok(())
    }

    /// Writes what stands behind the content; `size` is its length.
    pub(super) fn end(&mut self, size: u64, out: &mut Vec<u8>) -> io::Result<()> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        let target = current.link_target.take();
        if let Some(target) = &target {
            current.crc.update(target);
            current.deflate.write_all(target)?;
        }
        let size = target.map_or(size, |target| target.len() as u64);
        if current.method == DEFLATED {
            current.deflate.try_finish()?;
            current.drain(out, &mut self.offset);
            let before = out.len();
            current.descriptor(size, out);
            self.offset += (out.len() - before) as u64;
        }
        current.directory_row(size, &mut self.directory);
        self.entries += 1;
        Ok(())
    }

    /// Writes the directory.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        let (start, length) = (self.offset, self.directory.len() as u64);
        out.append(&mut self.directory);
        if start > U32_MAX || length > U32_MAX || self.entries >= U16_MAX {
            put(out, &[0x50, 0x4b, 0x06, 0x06]);
            u64_of(out, 44);
            u16_of(out, MADE_BY_UNIX | VERSION_ZIP64);
            u16_of(out, VERSION_ZIP64);
            put(out, &[0; 8]);
            [self.entries, self.entries, length, start].into_iter().for_each(|number| u64_of(out, number));
            put(out, &[0x50, 0x4b, 0x06, 0x07, 0, 0, 0, 0]);
            u64_of(out, start + length);
            put(out, &[1, 0, 0, 0]);
        }
        put(out, &[0x50, 0x4b, 0x05, 0x06, 0, 0, 0, 0]);
        u16_of(out, self.entries.min(U16_MAX) as u16);
        u16_of(out, self.entries.min(U16_MAX) as u16);
        u32_of(out, length.min(U32_MAX) as u32);
        u32_of(out, start.min(U32_MAX) as u32);
        u16_of(out, 0);
    }
}

impl Current {
    fn drain(&mut self, out: &mut Vec<u8>, offset: &mut u64) {
        let ready = self.deflate.get_mut();
        self.packed += ready.len() as u64;
        *offset += ready.len() as u64;
        out.append(ready);
    }

    const fn version(&self) -> u16 {
        if self.long { VERSION_ZIP64 } else { VERSION }
    }

    fn local_header(&self, out: &mut Vec<u8>) {
        put(out, &[0x50, 0x4b, 0x03, 0x04]);
        u16_of(out, self.version());
        u16_of(out, self.flags);
        u16_of(out, self.method);
        put(out, &self.time);
        u32_of(out, 0);
        let length = if self.long { u32::MAX } else { 0 };
        u32_of(out, length);
        u32_of(out, length);
        u16_of(out, self.name.len() as u16);
        let zip64 = if self.long { 20 } else { 0 };
        u16_of(out, self.extra.len() as u16 + zip64);
        put(out, &self.name);
        if self.long {
            put(out, &[1, 0, 16, 0]);
            put(out, &[0; 16]);
        }
        put(out, &self.extra);
    }

    fn descriptor(&self, size: u64, out: &mut Vec<u8>) {
        put(out, &[0x50, 0x4b, 0x07, 0x08]);
        u32_of(out, self.crc.sum());
        if self.long {
            u64_of(out, self.packed);
            u64_of(out, size);
        } else {
            u32_of(out, self.packed as u32);
            u32_of(out, size as u32);
        }
    }

    fn directory_row(&self, size: u64, out: &mut Vec<u8>) {
        let packed = if self.method == DEFLATED { self.packed } else { 0 };
        let mut zip64 = Vec::new();
        for number in [size, packed, self.start].into_iter().filter(|number| *number >= U32_MAX) {
            u64_of(&mut zip64, number);
        }
        let version = if zip64.is_empty() { self.version() } else { VERSION_ZIP64 };
        put(out, &[0x50, 0x4b, 0x01, 0x02]);
        u16_of(out, MADE_BY_UNIX | version);
        u16_of(out, version);
        u16_of(out, self.flags);
        u16_of(out, self.method);
        put(out, &self.time);
        u32_of(out, self.crc.sum());
        u32_of(out, packed.min(U32_MAX) as u32);
        u32_of(out, size.min(U32_MAX) as u32);
        u16_of(out, self.name.len() as u16);
        let extra = self.extra.len() + if zip64.is_empty() { 0 } else { 4 + zip64.len() };
        u16_of(out, extra as u16);
        put(out, &[0; 6]);
        u32_of(out, self.attributes);
        u32_of(out, self.start.min(U32_MAX) as u32);
        put(out, &self.name);
        if !zip64.is_empty() {
            put(out, &[1, 0]);
            u16_of(out, zip64.len() as u16);
            put(out, &zip64);
        }
        put(out, &self.extra);
    }
}

/// Time and owner as Info-ZIP knows them.
fn extra(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::new();
    if let Ok(seconds) = i32::try_from(entry.mtime.seconds) {
        put(&mut out, b"UT\x05\x00\x01");
        put(&mut out, &seconds.to_le_bytes());
    }
    put(&mut out, b"ux\x0b\x00\x01\x04");
    u32_of(&mut out, entry.owner.uid);
    out.push(4);
    u32_of(&mut out, entry.owner.gid);
    out
}

/// The old field, in UTC, to two seconds, from 1980 to 2107. (Days to date: Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.)
fn dos_time(seconds: i64) -> [u8; 4] {
    const FIRST: i64 = 315_532_800;
    const LAST: i64 = 4_354_819_198;
    let seconds = seconds.clamp(FIRST, LAST);
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let time = (second / 3600) << 11 | (second / 60 % 60) << 5 | (second % 60 / 2);
    let date = (year - 1980) << 9 | month << 5 | day;
    let ([t0, t1], [d0, d1]) = ((time as u16).to_le_bytes(), (date as u16).to_le_bytes());
    [t0, t1, d0, d1]
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

fn u16_of(out: &mut Vec<u8>, number: u16) {
    put(out, &number.to_le_bytes());
}

fn u32_of(out: &mut Vec<u8>, number: u32) {
    put(out, &number.to_le_bytes());
}

fn u64_of(out: &mut Vec<u8>, number: u64) {
    put(out, &number.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_time_field_is_what_dos_wrote() {
        // 2026-11-23 18:20:04.
        let [t0, t1, d0, d1] = dos_time(1_795_458_004);
        let (time, date) = (u16::from_le_bytes([t0, t1]), u16::from_le_bytes([d0, d1]));
        assert_eq!((time >> 11, time >> 5 & 63, (time & 31) * 2), (18, 20, 4));
        assert_eq!(((date >> 9) + 1980, date >> 5 & 15, date & 31), (2026, 11, 23));
        assert_eq!(dos_time(0), dos_time(315_532_800));
        assert_eq!(dos_time(i64::MAX)[2..], [0x9f, 0xff]);
    }
}
