//! The next segments, fetched before the server asks for them.
//!
//! They lie in the cache folder, each with the hash of what it is; one that does not match is fetched
//! again. On purpose not here: segments that are not whole, for more of those may come.

use super::Run;
use super::local::make_private;
use super::notes::is_young;
use crate::engine::wal::{SegmentName, Timeline, WalArchive, WalName};
use crate::fault::Fault;
use crate::wire_up::PageHeader;
use holdfast_core::id::hex;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tokio::task::JoinSet;

/// So many are fetched ahead, at the same time.
const AHEAD: u32 = 3;
/// Longer segments are not: they are held in memory.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Length of the hash before a segment.
const HASH_BYTES: usize = 32;

/// Where they lie, for one repository and database; nowhere without a cache.
pub(super) struct Prefetch {
    dir: Option<PathBuf>,
    system: u64,
}

impl Prefetch {
    pub(super) fn of(run: &Run, system: u64) -> Result<Self, Fault> {
        let Some(cache) = &run.ctx.cache else { return Ok(Self { dir: None, system }) };
        let hash = blake3::hash(&[run.repository_place()?.bytes(), system.to_le_bytes().to_vec()].concat());
        let all = cache.join("wal-fetched");
        clean(&all);
        Ok(Self { dir: Some(all.join(hex(&hash.as_bytes()[..16]))), system })
    }

    fn path(&self, timeline: &Timeline, name: SegmentName) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| dir.join(format!("{timeline}.{name}")))
    }

    /// Takes a segment that was fetched ahead, if it is there and what it was.
    pub(super) fn take(&self, timeline: &Timeline, name: SegmentName) -> Option<Vec<u8>> {
        let path = self.path(timeline, name)?;
        let content = fs::read(&path).ok()?;
        let _ = fs::remove_file(&path);
        let (hash, content) = content.split_at_checked(HASH_BYTES)?;
        let header = PageHeader::of_segment(content, content.len() as u64, name).ok()?;
        let sound = blake3::hash(content).as_bytes() == hash && header.system == self.system;
        sound.then(|| content.to_vec())
    }

    /// Fetches the ones after a segment. What cannot be had now is fetched when it is its turn.
    pub(super) async fn fill(
        &self,
        archive: &WalArchive,
        timeline: &Timeline,
        name: SegmentName,
        length: u64,
    ) {
        let Some(dir) = self.dir.clone().filter(|_| length <= SEGMENT_BYTES_MAX) else { return };
        if make_private(&dir).is_err() {
            return;
        }
        let (mut tasks, mut next) = (JoinSet::new(), name);
        for _ in 0..AHEAD {
            next = next.next(length);
            let Some(path) = self.path(timeline, next).filter(|path| !path.exists()) else { continue };
            let (archive, object) = (archive.clone(), WalName::whole(*timeline, next.to_string()));
            tasks.spawn(async move {
                if let Ok(Some(content)) = archive.get(&object).await {
                    let _ = tokio::task::spawn_blocking(move || keep(&path, &content)).await;
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }
}

/// Keeps a segment; it appears whole.
fn keep(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(".").tempfile_in(folder)?;
    file.write_all(blake3::hash(content).as_bytes())?;
    file.write_all(content)?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// Removes what no server came for.
fn clean(all: &Path) {
    let files = |dir: &Path| -> Vec<PathBuf> {
        let Ok(entries) = dir.read_dir() else { return Vec::new() };
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    for dir in files(all) {
        for path in files(&dir).into_iter().filter(|path| !is_young(path)) {
            let _ = fs::remove_file(path);
        }
        // Only an empty one goes.
        let _ = fs::remove_dir(dir);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn what_is_not_what_it_was_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let prefetch = Prefetch { dir: Some(dir.path().to_owned()), system: 7 };
        let (timeline, name) = (Timeline::new(7, 1, b""), SegmentName { timeline: 1, place: 3 });
        let mut segment = vec![0; 1 << 20];
        let words = [0x0002_D110, 1, 3 << 20, 0, 0, 0, 7, 0, 1 << 20, 8192_u32];
        for (at, word) in words.into_iter().enumerate() {
            segment[4 * at..4 * at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let path = prefetch.path(&timeline, name).unwrap();
        keep(&path, &segment).unwrap();
        assert_eq!(prefetch.take(&timeline, name), Some(segment.clone()));
        assert_eq!(prefetch.take(&timeline, name), None);
        let other = Prefetch { system: 8, ..prefetch };
        keep(&path, &segment).unwrap();
        assert_eq!(other.take(&timeline, name), None);
        keep(&path, &segment).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[HASH_BYTES + 5000] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(Prefetch { system: 7, ..other }.take(&timeline, name), None);
    }
}
