//! Takes a tar archive apart while it streams in, as servers write it: ustar, no extensions.
//!
//! On purpose not here: formats that no server writes. They are refused, not guessed at: half of an
//! archive must not look like a whole one.

use bytes::{Buf, Bytes};

/// Everything in an archive comes in pieces of this length.
const BLOCK: usize = 512;
/// Longest path that a header can hold: a prefix, a slash and a name.
const PATH_BYTES_MAX: usize = 155 + 1 + 100;

/// Why an archive cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the archive of files cannot be understood: {0}")]
pub(crate) struct TarError(pub(crate) String);

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MemberKind {
    File,
    Directory,
    /// Where it points to.
    Link(Vec<u8>),
}

/// One member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Path with slashes; relative, clean, never empty.
    pub path: Vec<u8>,
    pub kind: MemberKind,
    /// Length of its content in bytes.
    pub size: u64,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
}

/// What was found in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Member(Member),
    /// The next bytes of the member's content.
    Content(Bytes),
    /// The member has ended.
    End,
}

#[derive(Debug)]
enum State {
    /// A header comes in.
    Header(Vec<u8>),
    /// So many bytes of content are to come, and so many of padding after them.
    Content(u64, usize),
    Padding(usize),
    /// The end was met; only zeros may follow.
    Ended,
}

/// Takes one archive apart.
#[derive(Debug)]
pub(crate) struct Tar {
    state: State,
}

impl Tar {
    pub(crate) fn new() -> Self {
        Self { state: State::Header(Vec::with_capacity(BLOCK)) }
    }

    /// Takes what comes next from the front of `input`; `None` when it is used up.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Found>, TarError> {
        loop {
            match &mut self.state {
                State::Header(block) => {
                    let part = input.split_to(input.len().min(BLOCK - block.len()));
                    block.extend_from_slice(&part);
                    if block.len() < BLOCK {
                        return Ok(None);
                    }
                    let Some(member) = header(block)? else {
                        self.state = State::Ended;
                        continue;
                    };
                    let padding = (BLOCK as u64 - member.size % BLOCK as u64) % BLOCK as u64;
                    self.state = State::Content(member.size, padding as usize);
                    return Ok(Some(Found::Member(member)));
                }
                State::Content(0, padding) => {
                    self.state = State::Padding(*padding);
                    return Ok(Some(Found::End));
                }
                State::Content(left, _) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *left -= length as u64;
                    return Ok(Some(Found::Content(input.split_to(length))));
                }
                State::Padding(0) => self.state = State::Header(Vec::with_capacity(BLOCK)),
                State::Padding(left) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let length = input.len().min(*left);
                    *left -= length;
                    input.advance(length);
                }
                State::Ended => {
                    let zeros = input.iter().all(|&byte| byte == 0);
                    input.clear();
                    return if zeros { Ok(None) } else { Err(odd("something follows its end")) };
                }
            }
        }
    }

    /// The stream has ended. Servers before 15 write no end of the archive.
    pub(crate) fn finish(&self) -> Result<(), TarError> {
        match &self.state {
            State::Header(block) if block.is_empty() => Ok(()),
            State::Padding(0) | State::Ended => Ok(()),
            _ => Err(odd("it is cut off")),
        }
    }
}

fn odd(what: impl Into<String>) -> TarError {
    TarError(what.into())
}

/// Reads a header; `None` for a block of zeros, which ends the archive.
fn header(block: &[u8]) -> Result<Option<Member>, TarError> {
    if block.iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    let field = |from: usize, length: usize| &block[from..from + length];
    let stated = number(field(148, 8)).ok_or_else(|| odd("a header without a checksum"))?;
    let sum = |blank: bool| -> u64 {
        let byte =
            |(at, byte): (usize, &u8)| if blank && (148..156).contains(&at) { 32 } else { u64::from(*byte) };
        block.iter().enumerate().map(byte).sum()
    };
    if stated != sum(true) {
        return Err(odd("the checksum of a header is wrong"));
    }
    if field(257, 5) != b"ustar" {
        return Err(odd("it is of another format"));
    }
    let (prefix, name) = (text(field(345, 155)), text(field(0, 100)));
    let joined = if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() };
    let shown = String::from_utf8_lossy(&joined).into_owned();
    let value = |from, length, what: &str| {
        number(field(from, length)).ok_or_else(|| odd(format!("{shown} has no {what}")))
    };
    let size = value(124, 12, "length")?;
    let kind = match block[156] {
        b'0' | 0 => MemberKind::File,
        b'5' => MemberKind::Directory,
        b'2' => MemberKind::Link(text(field(157, 100)).to_vec()),
        other => return Err(odd(format!("{shown} is of a kind that is not known ({other})"))),
    };
    if kind != MemberKind::File && size > 0 {
        return Err(odd(format!("{shown} is no file and has content")));
    }
    let small = |value: u64, what: &str| {
        u32::try_from(value).map_err(|_| odd(format!("the {what} of {shown} is too large")))
    };
    let mtime = i64::try_from(value(136, 12, "time")?)
        .map_err(|_| odd(format!("the time of {shown} is too large")))?;
    Ok(Some(Member {
        path: clean(&joined).ok_or_else(|| odd(format!("{shown} is no path in a cluster")))?,
        kind,
        size,
        mode: (value(100, 8, "mode")? & 0o7777) as u16,
        uid: small(value(108, 8, "owner")?, "owner")?,
        gid: small(value(116, 8, "group")?, "group")?,
        mtime,
    }))
}

/// A field's text, up to its first zero byte.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// Reads a number: octal digits, or, where the first bit is set, base 256.
fn number(field: &[u8]) -> Option<u64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // All ones would be a negative number.
        let start = u64::from(first & 0x7f);
        return rest
            .iter()
            .try_fold(start, |value, &byte| (value < 1 << 56).then(|| value << 8 | u64::from(byte)));
    }
    let digits = text(field).trim_ascii();
    let value = digits.iter().try_fold(0u64, |value, &byte| {
        (byte.is_ascii_digit() && byte < b'8').then(|| value << 3 | u64::from(byte - b'0'))
    });
    // Twelve octal digits always fit.
    value.filter(|_| !digits.is_empty())
}

/// A path without `./` in front and slash at its end; `None` if it leads out or is none.
fn clean(path: &[u8]) -> Option<Vec<u8>> {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let good = path.len() <= PATH_BYTES_MAX
        && path.split(|&byte| byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."));
    good.then(|| path.to_vec())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    /// A header as a server writes it.
    fn written(name: &str, kind: u8, size: &[u8; 12], link: &str) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, name.as_bytes());
        put(100, b"0000600\0");
        put(108, b"0000145 ");
        put(116, b"0000150 ");
        put(124, size);
        put(136, b"14567123456 ");
        put(148, b"        ");
        put(156, &[kind]);
        put(157, link.as_bytes());
        put(257, b"ustar\x0000postgres");
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o} \0").as_bytes());
        block
    }

    fn octal(size: u64) -> [u8; 12] {
        format!("{size:011o} ").into_bytes().try_into().unwrap()
    }

    fn member(name: &str, content: &[u8]) -> Vec<u8> {
        let mut bytes = written(name, b'0', &octal(content.len() as u64), "");
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().div_ceil(BLOCK) * BLOCK, 0);
        bytes
    }

    type Read = Vec<(Member, Vec<u8>)>;

    /// Reads an archive in pieces of a length.
    fn read(bytes: &[u8], piece: usize) -> Result<Read, TarError> {
        let (mut tar, mut read, mut open) = (Tar::new(), Read::new(), false);
        for piece in bytes.chunks(piece.max(1)) {
            let mut piece = Bytes::copy_from_slice(piece);
            while let Some(found) = tar.next(&mut piece)? {
                match found {
                    Found::Member(member) => {
                        assert!(!std::mem::replace(&mut open, true));
                        read.push((member, Vec::new()));
                    }
                    Found::Content(bytes) => read.last_mut().unwrap().1.extend_from_slice(&bytes),
                    Found::End => assert!(std::mem::replace(&mut open, false)),
                }
            }
            assert!(piece.is_empty());
        }
        tar.finish()?;
        assert!(!open);
        Ok(read)
    }

    #[test]
    fn an_archive_is_read_in_pieces_of_any_length() {
        let archive = [
            written("base/", b'5', &octal(0), ""),
            member("base/1", &[7; 1000]),
            member("empty", b""),
            member("block", &[8; 512]),
            written("pg_tblspc/16385", b'2', &octal(0), "/srv/space"),
        ]
        .concat();
        for piece in [1, 7, 511, 512, 513, 4096, 1 << 20] {
            let read = read(&archive, piece).unwrap();
            let paths: Vec<_> =
                read.iter().map(|(m, _)| String::from_utf8_lossy(&m.path).into_owned()).collect();
            assert_eq!(paths, ["base", "base/1", "empty", "block", "pg_tblspc/16385"]);
            assert_eq!(read[1].1, [7; 1000]);
            assert_eq!((read[1].0.mode, read[1].0.uid, read[1].0.gid), (0o600, 0o145, 0o150));
            assert_eq!(read[1].0.mtime, 0o14_567_123_456);
            assert_eq!(read[4].0.kind, MemberKind::Link(b"/srv/space".to_vec()));
        }
        // Since 15 servers write its end; whatever is after it is not passed over.
        assert_eq!(read(&[&archive[..], &[0; 1024]].concat(), 100).unwrap().len(), 5);
        assert!(read(&[&archive[..], &[0; 1024], b"x"].concat(), 100).is_err());
    }

    #[test]
    fn an_archive_that_is_cut_off_is_no_archive() {
        let archive = [member("a", &[1; 700]), member("b", b"")].concat();
        for end in (1..archive.len()).filter(|end| *end != 1536) {
            assert!(read(&archive[..end], 333).is_err(), "{end}");
        }
    }

    #[test]
    fn lengths_beyond_eight_gib_are_in_base_256() {
        let mut size = [0; 12];
        size[0] = 0x80;
        size[4..].copy_from_slice(&(9u64 << 30).to_be_bytes());
        let mut tar = Tar::new();
        let mut input = Bytes::from(written("large", b'0', &size, ""));
        let Some(Found::Member(member)) = tar.next(&mut input).unwrap() else { panic!("no member") };
        assert_eq!(member.size, 9 << 30);
        assert!(tar.finish().is_err());
        let mut input = Bytes::from(written("large", b'0', &[0xff; 12], ""));
        assert!(Tar::new().next(&mut input).is_err(), "a negative length");
    }

    #[test]
    fn a_prefix_goes_before_the_name() {
        let mut block = written("name", b'0', &octal(0), "");
        block[345..351].copy_from_slice(b"folder");
        block[148..156].copy_from_slice(b"        ");
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(read(&block, 512).unwrap()[0].0.path, b"folder/name");
    }

    #[test]
    fn what_leads_out_of_the_cluster_is_refused() {
        for name in ["/etc/passwd", "../x", "a/../b", "a//b", "", ".", "a/./b", "a/.."] {
            assert!(read(&member(name, b""), 512).is_err(), "{name}");
        }
        assert_eq!(read(&member("./a/b", b""), 512).unwrap()[0].0.path, b"a/b");
        for kind in [b'1', b'3', b'7', b'x', b'g', b'L'] {
            assert!(read(&written("a", kind, &octal(0), ""), 512).is_err());
        }
        assert!(read(&written("a", b'5', &octal(1), ""), 512).is_err());
        let mut wrong = member("a", b"");
        wrong[0] = b'b';
        assert!(read(&wrong, 512).is_err(), "the checksum");
    }

    #[test]
    fn what_tar_writes_is_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("base")).unwrap();
        std::fs::write(dir.path().join("base/1234"), vec![3; 70_000]).unwrap();
        std::fs::write(dir.path().join("PG_VERSION"), "15\n").unwrap();
        let output = Command::new("tar")
            .args(["--format=ustar", "-cf", "-", "-C"])
            .arg(dir.path())
            .args(["PG_VERSION", "base"])
            .output()
            .unwrap();
        let read = read(&output.stdout, 32 << 10).unwrap();
        assert_eq!(read[0].1, b"15\n");
        assert_eq!((&read[1].0.path[..], &read[1].0.kind), (&b"base"[..], &MemberKind::Directory));
        assert_eq!((&read[2].0.path[..], read[2].1.len()), (&b"base/1234"[..], 70_000));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
            piece in 1usize..600,
            at in 0usize..512,
            byte in any::<u8>(),
        ) {
            let _ = read(&bytes, piece);
            let mut archive = [member("a", &[1; 300]), member("b", b"")].concat();
            archive[at] = byte;
            let _ = read(&archive, piece);
        }
    }
}
