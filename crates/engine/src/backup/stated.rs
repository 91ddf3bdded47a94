//! What a source stated at its last run, kept in the cache folder for a key that cannot read it in the
//! repository: a source goes on from it.
//!
//! The file names the snapshot that it is of and is authenticated by a keyed hash; anything wrong with it
//! counts as not there. On purpose not here: what a source states, and keys that can read.

use crate::block_map::MapName;
use crate::private_files::{Temporary, create_private_folder};
use holdfast_core::FormatError;
use holdfast_core::crypto::{Secret, keyed_hash};
use holdfast_core::wire::{Reader, Writer};
use std::io;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"HFDstat2";
/// Longest name or value that is read.
const TEXT_BYTES_MAX: u32 = 1 << 20;

type Facts = Vec<(String, String)>;

fn path(cache: &Path, name: &MapName) -> PathBuf {
    cache.join(name.repository.to_string()).join("stated").join(name.stream.to_string())
}

fn head(name: &MapName) -> Writer {
    let mut writer = Writer::new();
    writer.raw(&MAGIC);
    writer.raw(name.repository.bytes());
    writer.raw(name.stream.bytes());
    writer.raw(name.snapshot.bytes());
    writer
}

/// Puts what was stated in the place of what the run before had.
pub(super) fn write(cache: &Path, name: &MapName, key: &Secret, facts: &Facts) -> io::Result<()> {
    let path = path(cache, name);
    create_private_folder(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
    let mut writer = head(name);
    writer.count(facts.len());
    for (name, value) in facts {
        writer.bytes32(name.as_bytes());
        writer.bytes32(value.as_bytes());
    }
    let hash = keyed_hash(key, writer.as_slice());
    writer.raw(&hash);
    let mut temporary = Temporary::at(path.with_extension(format!("{}.tmp", std::process::id())));
    std::fs::write(temporary.path(), writer.as_slice())?;
    temporary.put_in_force(&path)
}

/// What was stated for a snapshot, if that is what is there.
pub(super) fn read(cache: &Path, name: &MapName, key: &Secret) -> Option<Facts> {
    let bytes = std::fs::read(path(cache, name)).ok()?;
    let (body, hash) = bytes.split_last_chunk::<32>()?;
    let rest = body.strip_prefix(head(name).as_slice()).filter(|_| keyed_hash(key, body) == *hash)?;
    decode(rest).ok()
}

fn decode(bytes: &[u8]) -> Result<Facts, FormatError> {
    let mut reader = Reader::new(bytes);
    let text = |reader: &mut Reader<'_>| {
        let text = reader.bytes32("a fact", TEXT_BYTES_MAX)?.to_vec();
        String::from_utf8(text).map_err(|_| FormatError::Malformed("a fact"))
    };
    let count = reader.count(8)?;
    let facts = (0..count).map(|_| Ok((text(&mut reader)?, text(&mut reader)?))).collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(facts)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use holdfast_core::id::{RepositoryId, SessionId, StreamId};

    #[test]
    fn what_was_stated_comes_back_for_its_snapshot_and_no_other() {
        let (folder, key) = (tempfile::tempdir().unwrap(), Secret::new([1; 32]));
        let name = MapName {
            repository: RepositoryId([2; 16]),
            stream: StreamId([3; 16]),
            snapshot: SessionId([4; 16]),
        };
        let facts =
            vec![("sweep part".to_owned(), "7".to_owned()), ("kept".to_owned(), "tags,acl".to_owned())];
        assert_eq!(read(folder.path(), &name, &key), None);
        write(folder.path(), &name, &key, &facts).unwrap();
        assert_eq!(read(folder.path(), &name, &key), Some(facts));
        let other = MapName { snapshot: SessionId([5; 16]), ..name };
        assert_eq!(read(folder.path(), &other, &key), None);
        assert_eq!(read(folder.path(), &name, &Secret::new([6; 32])), None);
        let file = path(folder.path(), &name);
        let whole = std::fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(read(folder.path(), &name, &key), None, "{at}");
        }
    }
}
