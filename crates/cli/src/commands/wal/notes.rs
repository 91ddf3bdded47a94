//! What was stored ahead of its turn, so that a later run need not store it again.
//!
//! A note says which content the repository took under which name. It is believed for an hour, for
//! the same bytes, and only while the object is there. On purpose not here: storing anything.

use super::local::make_private;
use crate::engine::wal::WalName;
use holdfast_core::id::hex;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So long a note is believed.
const BELIEVED: Duration = Duration::from_secs(3600);

/// The notes of one repository.
#[derive(Debug, Clone)]
pub(super) struct Notes {
    dir: PathBuf,
    repository: Vec<u8>,
}

impl Notes {
    /// Those below a cache folder, of a repository by its place.
    pub(super) fn new(cache: &Path, repository: Vec<u8>) -> Self {
        Self { dir: cache.join("wal-pushed"), repository }
    }

    fn path(&self, name: &WalName) -> PathBuf {
        let timeline = name.timeline;
        let text = format!("\0{:016x}\0{timeline}\0{}", timeline.system, name.file);
        let hash = blake3::hash(&[&self.repository, text.as_bytes()].concat());
        self.dir.join(hex(&hash.as_bytes()[..16]))
    }

    /// Notes that a content was stored. One that cannot be written only costs time.
    pub(super) fn write(&self, name: &WalName, content: &[u8]) {
        if make_private(&self.dir).is_ok() {
            let _ = fs::write(self.path(name), blake3::hash(content).as_bytes());
        }
    }

    /// Whether a young note says that this very content was stored. The note is gone then.
    pub(super) fn take(&self, name: &WalName, content: &[u8]) -> bool {
        let path = self.path(name);
        let noted =
            is_young(&path) && fs::read(&path).is_ok_and(|noted| noted == blake3::hash(content).as_bytes());
        let _ = fs::remove_file(&path);
        noted
    }

    /// Removes notes that nobody believes any more.
    pub(super) fn clean(&self) {
        let Ok(entries) = self.dir.read_dir() else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| !is_young(path)) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether a file was written a short while ago. A clock that was set back makes it old.
pub(super) fn is_young(path: &Path) -> bool {
    let written = fs::symlink_metadata(path).and_then(|meta| meta.modified());
    written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age < BELIEVED))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::engine::wal::Timeline;

    #[test]
    fn a_note_is_believed_once_and_for_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let notes = Notes::new(dir.path(), b"/repo".to_vec());
        let other = Notes::new(dir.path(), b"/other".to_vec());
        let name = WalName::whole(Timeline::new(7, 1, b""), "000000010000000000000001");
        notes.write(&name, b"content");
        assert!(!other.take(&name, b"content"));
        assert!(notes.take(&name, b"content") && !notes.take(&name, b"content"));
        notes.write(&name, b"content");
        assert!(!notes.take(&name, b"contents") && !notes.take(&name, b"content"));
        notes.write(&name, b"content");
        let path = notes.path(&name);
        let old = std::time::SystemTime::now() - 2 * BELIEVED;
        fs::File::options().append(true).open(&path).unwrap().set_modified(old).unwrap();
        notes.clean();
        assert!(!path.exists());
    }
}
