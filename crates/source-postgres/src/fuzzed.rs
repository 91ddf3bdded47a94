//! The decoders of what a server sends, as functions of bytes that panic where a property does not
//! hold, for the fuzz targets of the project.
//!
//! On purpose not here: anything that the program itself calls.

use crate::backup::{Part, Parts};
use crate::facts::Record;
use crate::manifest::{Files, Manifest};
use crate::tar::{Found, Tar};
use crate::url;
use crate::wire::take;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

/// A base backup's answer as it comes over the wire; the first byte says by which grammar.
pub fn answer(bytes: &[u8]) {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let mut parts = Parts::new(if first & 1 == 0 { 14 } else { 15 });
    let mut input = BytesMut::from(bytes);
    let (mut begun, mut ready) = (false, false);
    while let Ok(Some(message)) = take(&mut input) {
        if parts.take(message).is_err() {
            return;
        }
        while let Some(part) = parts.next() {
            match part {
                Part::Begin { .. } => begun = true,
                Part::Ready => ready = true,
                _ => assert!(begun, "a part before the beginning"),
            }
        }
    }
    // Whoever says that all came has said where the log has to go to.
    assert!(!parts.is_whole() || begun);
    assert!(!ready || begun);
}

/// An archive of files, whose headers' checksums are put right. However it is cut while it comes in,
/// the same comes out.
pub fn archive(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(512).filter(|block| block[257..].starts_with(b"ustar")) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let bytes = &bytes;
    let whole = members(bytes, usize::MAX);
    assert_eq!(whole, members(bytes, 1000), "cut otherwise");
    if let Some(found) = whole {
        for (path, ..) in found {
            let clean = |part: &[u8]| !part.is_empty() && part != b"." && part != b"..";
            assert!(path.split(|&byte| byte == b'/').all(clean), "a path that leads elsewhere");
        }
    }
}

/// Path, stated length and content's length of each member; `None` if the archive is refused.
fn members(bytes: &[u8], piece: usize) -> Option<Vec<(Vec<u8>, u64, u64)>> {
    let (mut tar, mut members): (_, Vec<(Vec<u8>, u64, u64)>) = (Tar::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(found) = tar.next(&mut input).ok()? {
            match found {
                Found::Member(member) => members.push((member.path, member.size, 0)),
                Found::Content(content) => members.last_mut()?.2 += content.len() as u64,
                Found::End => assert!(members.last().is_some_and(|(_, size, came)| size == came)),
            }
        }
    }
    tar.finish().ok().map(|()| members)
}

/// A manifest whose checksum is put right, however it is cut, with no file that it could list.
pub fn manifest(bytes: &[u8]) {
    let mark: &[u8] = b"\"Manifest-Checksum\": \"";
    let at = bytes.windows(mark.len()).rposition(|part| part == mark).unwrap_or(bytes.len());
    let mut right = bytes[..at].to_vec();
    let sum: String = Sha256::digest(&right).iter().map(|byte| format!("{byte:02x}")).collect();
    right.extend([mark, sum.as_bytes(), b"\"}\n"].concat());
    let bytes = &right;
    let read = |piece: usize| {
        let mut manifest = Manifest::new(Files::default());
        bytes.chunks(piece).try_for_each(|piece| manifest.take(piece)).ok()?;
        manifest.finish().ok()
    };
    assert_eq!(read(usize::MAX), read(7), "cut otherwise");
}

/// What a snapshot keeps of a cluster.
pub fn record(bytes: &[u8]) {
    if let Some(record) = Record::decode(bytes) {
        assert_eq!(Record::decode(&record.encode()), Some(record));
    }
}

/// The URL of a cluster. What is shown of it can be typed, and means the same servers.
pub fn location(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(server) = url::parse(text, "someone") else { return };
    assert!(!server.hosts.is_empty());
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    let is_plain = plain(&server.user) && server.hosts.iter().all(|host| plain(&host.name));
    if is_plain && let Ok(again) = url::parse(&server.to_string(), "someone") {
        assert_eq!((again.hosts, again.user), (server.hosts, server.user));
    }
}
