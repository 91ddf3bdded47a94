//! Tar headers as POSIX.1-2001 has them: a ustar header, and before it an extended one where
//! something does not fit or has more digits.
//!
//! Extended attributes are `SCHILY.xattr.*` records, as GNU tar, bsdtar and star write them; ACLs
//! and file capabilities are among them. On purpose not here: sparse files, which are written
//! whole, and compression, which is another program's.

use holdfast_core::entry::{Entry, Kind, Time, Xattrs, key_to_path};
use std::ops::ControlFlow;

const BLOCK_BYTES: usize = 512;
/// Readers expect whole records; tar has always made them so long.
const RECORD_BYTES: u64 = 10_240;
/// Longest name and link in a header, in bytes.
const NAME_BYTES_MAX: usize = 100;
/// Longest user or group name in a header, with its end, in bytes.
const OWNER_BYTES_MAX: usize = 31;
/// Largest numbers that the octal fields hold.
const SIZE_MAX: u64 = 0o777_7777_7777;
const ID_MAX: u64 = 0o777_7777;
/// The last file of an archive that is not whole; its content is missing.
const SPOILT: &[u8] = b"THIS ARCHIVE IS NOT WHOLE";

/// Writes the headers of an entry, or of another name of an earlier one; refuses what tar
/// does not know.
pub(super) fn begin(entry: &Entry, link: Option<&[u8]>, out: &mut Vec<u8>) -> ControlFlow<&'static str> {
    let kind = match (entry.kind, link) {
        (Kind::Socket, _) => return ControlFlow::Break("tar cannot hold sockets"),
        (_, Some(_)) => b'1',
        (Kind::File, _) => b'0',
        (Kind::Symlink, _) => b'2',
        (Kind::CharDevice, _) => b'3',
        (Kind::BlockDevice, _) => b'4',
        (Kind::Directory, _) => b'5',
        (Kind::Fifo, _) => b'6',
    };
    let name = name_of(entry);
    let link = link.map(key_to_path);
    let target = link.as_deref().or(entry.attributes.link_target.as_deref()).unwrap_or_default();
    let records = records(entry, &name, target, kind);
    if !records.is_empty() {
        extended(&records, out);
    }
    let mut header = Header::new(kind);
    header.text(0, NAME_BYTES_MAX, &name);
    header.octal(100, 8, entry.mode.into());
    header.octal(108, 8, u64::from(entry.owner.uid).min(ID_MAX));
    header.octal(116, 8, u64::from(entry.owner.gid).min(ID_MAX));
    header.octal(124, 12, if kind == b'0' { entry.size.min(SIZE_MAX) } else { 0 });
    header.octal(136, 12, u64::try_from(entry.mtime.seconds).unwrap_or(0).min(SIZE_MAX));
    header.text(157, NAME_BYTES_MAX, target);
    header.text(265, OWNER_BYTES_MAX, entry.owner.user.as_bytes());
    header.text(297, OWNER_BYTES_MAX, entry.owner.group.as_bytes());
    let (major, minor) = entry.attributes.device.unwrap_or_default();
    header.octal(329, 8, u64::from(major).min(ID_MAX));
    header.octal(337, 8, u64::from(minor).min(ID_MAX));
    header.finish(out);
    ControlFlow::Continue(())
}

/// Fills the last block of a content of so many bytes.
pub(super) fn pad(bytes: u64, out: &mut Vec<u8>) {
    let over = (bytes % BLOCK_BYTES as u64) as usize;
    if over > 0 {
        out.resize(out.len() + BLOCK_BYTES - over, 0);
    }
}

/// Ends the archive: two blocks of zeros, and zeros to the end of the record.
pub(super) fn finish(written: u64, out: &mut Vec<u8>) {
    out.resize(out.len() + 2 * BLOCK_BYTES, 0);
    let over = (written + out.len() as u64) % RECORD_BYTES;
    if over > 0 {
        out.resize(out.len() + (RECORD_BYTES - over) as usize, 0);
    }
}

/// Ends an archive that is not whole with the header of a file that has no content: an end
/// between two entries, or within a block, passes for a whole archive with GNU tar. `missing` is
/// what the file lacks that was being written; where it lacks anything, that is enough.
pub(super) fn spoil(written: u64, missing: u64, out: &mut Vec<u8>) {
    if missing > 0 {
        return;
    }
    pad(written + out.len() as u64, out);
    let mut header = Header::new(b'0');
    header.text(0, NAME_BYTES_MAX, SPOILT);
    for at in [100, 108, 116, 329, 337] {
        header.octal(at, 8, 0);
    }
    header.octal(124, 12, RECORD_BYTES);
    header.octal(136, 12, 0);
    header.finish(out);
}

/// The name in the archive; the folder that was asked for is `./`.
fn name_of(entry: &Entry) -> Vec<u8> {
    let mut name = key_to_path(&entry.key);
    if name.is_empty() {
        name.push(b'.');
    }
    if entry.kind == Kind::Directory {
        name.push(b'/');
    }
    name
}

/// What the plain header cannot say, or not exactly.
fn records(entry: &Entry, name: &[u8], target: &[u8], kind: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let plain = |text: &[u8], most: usize| text.len() <= most && text.is_ascii();
    let is_binary = |text: &[u8]| std::str::from_utf8(text).is_err();
    // A record is text unless it is said that it is not, which GNU tar warns of. The plain
    // header holds any bytes, as far as they fit.
    let long = [(b"path".as_slice(), name), (b"linkpath", target)];
    let long = long.map(|(key, text)| {
        let fits = plain(text, NAME_BYTES_MAX) || text.len() <= NAME_BYTES_MAX && is_binary(text);
        (key, text, fits)
    });
    if long.iter().any(|(_, text, fits)| !fits && is_binary(text)) {
        record(&mut out, b"hdrcharset", b"BINARY");
    }
    for (key, text, _) in long.iter().filter(|(_, _, fits)| !fits) {
        record(&mut out, key, text);
    }
    if kind == b'0' && entry.size > SIZE_MAX {
        record(&mut out, b"size", entry.size.to_string().as_bytes());
    }
    let owner = &entry.owner;
    for (key, id) in [(b"uid", owner.uid), (b"gid", owner.gid)] {
        if u64::from(id) > ID_MAX {
            record(&mut out, key, id.to_string().as_bytes());
        }
    }
    for (key, name) in [(b"uname", &owner.user), (b"gname", &owner.group)] {
        if !plain(name.as_bytes(), OWNER_BYTES_MAX) {
            record(&mut out, key, name.as_bytes());
        }
    }
    if entry.mtime.nanos != 0 || !(0..=SIZE_MAX as i64).contains(&entry.mtime.seconds) {
        record(&mut out, b"mtime", seconds(entry.mtime).as_bytes());
    }
    if let Some((major, minor)) = entry.attributes.device
        && u64::from(major.max(minor)) > ID_MAX
    {
        record(&mut out, b"SCHILY.devmajor", major.to_string().as_bytes());
        record(&mut out, b"SCHILY.devminor", minor.to_string().as_bytes());
    }
    if let (Xattrs::Inline(pairs), true) = (&entry.attributes.xattrs, kind != b'1') {
        for (name, value) in pairs {
            record(&mut out, &xattr_key(name), value);
        }
    }
    out
}

/// A key must not hold the sign that ends it; GNU tar escapes it so.
fn xattr_key(name: &[u8]) -> Vec<u8> {
    let mut key = b"SCHILY.xattr.".to_vec();
    for &byte in name {
        match byte {
            b'=' => key.extend_from_slice(b"%3D"),
            b'%' => key.extend_from_slice(b"%25"),
            byte => key.push(byte),
        }
    }
    key
}

/// A time as decimal seconds. A time before 1970 counts down: -0.25 is a quarter before.
fn seconds(time: Time) -> String {
    let (sign, seconds, nanos) = match (time.seconds < 0, time.nanos) {
        (false, nanos) => ("", time.seconds.unsigned_abs(), nanos),
        (true, 0) => ("-", time.seconds.unsigned_abs(), 0),
        (true, nanos) => ("-", time.seconds.unsigned_abs() - 1, 1_000_000_000 - nanos),
    };
    if nanos == 0 { format!("{sign}{seconds}") } else { format!("{sign}{seconds}.{nanos:09}") }
}

/// Writes `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn extended(records: &[u8], out: &mut Vec<u8>) {
    let mut header = Header::new(b'x');
    header.text(0, NAME_BYTES_MAX, b"././@PaxHeader");
    header.octal(100, 8, 0o644);
    header.octal(108, 8, 0);
    header.octal(116, 8, 0);
    header.octal(124, 12, records.len() as u64);
    header.octal(136, 12, 0);
    header.octal(329, 8, 0);
    header.octal(337, 8, 0);
    header.finish(out);
    out.extend_from_slice(records);
    pad(records.len() as u64, out);
}

struct Header([u8; BLOCK_BYTES]);

impl Header {
    fn new(kind: u8) -> Self {
        let mut block = [0; BLOCK_BYTES];
        block[148..156].fill(b' ');
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        Self(block)
    }

    /// Writes a text as far as it fits.
    fn text(&mut self, at: usize, most: usize, text: &[u8]) {
        let length = text.len().min(most);
        self.0[at..at + length].copy_from_slice(&text[..length]);
    }

    /// Writes a number and the zero that ends it.
    fn octal(&mut self, at: usize, width: usize, number: u64) {
        let digits = format!("{number:0width$o}", width = width - 1);
        self.text(at, width - 1, digits.as_bytes());
    }

    fn finish(mut self, out: &mut Vec<u8>) {
        let sum: u64 = self.0.iter().map(|&byte| u64::from(byte)).sum();
        self.octal(148, 7, sum);
        self.0[155] = b' ';
        out.extend_from_slice(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_record_counts_itself() {
        for length in (0..120).chain(900..1100).chain(9_980..10_020) {
            let mut out = Vec::new();
            record(&mut out, b"path", &vec![b'x'; length]);
            let stated = out.split(|&byte| byte == b' ').next().map(String::from_utf8_lossy);
            assert_eq!(stated, Some(out.len().to_string().into()));
        }
    }

    #[test]
    fn times_are_decimal() {
        let time = |seconds, nanos| super::seconds(Time { seconds, nanos });
        assert_eq!((time(0, 0), time(7, 5)), ("0".into(), "7.000000005".into()));
        assert_eq!((time(-1, 750_000_000), time(-1, 0)), ("-0.250000000".into(), "-1".into()));
        assert_eq!(time(-3, 1), "-2.999999999");
        assert_eq!(time(i64::MIN, 0), "-9223372036854775808");
    }

    #[test]
    fn attributes_names_cannot_end_a_key() {
        assert_eq!(xattr_key(b"user.a=b%c"), b"SCHILY.xattr.user.a%3Db%25c");
    }
}
