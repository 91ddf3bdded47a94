//! The source: its options and the contract of the engine.
//!
//! On purpose not here: how the walk goes.

use crate::excludes::Excludes;
use crate::read::Shared;
use crate::record::LeftOut;
use crate::walk::Walk;
use holdfast_core::entry::key_to_path;
use holdfast_engine::source::{ConsistencyPoint, EntryBatch, Order, Source, SourceError, SourceIdentity};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// The system notes when a page of a file that is mapped into memory is written to first, and no later
/// write before the page was written back: that takes half a minute, and a little more where much is to be
/// written.
const UNSETTLED_SECONDS: i64 = 60;

/// What to capture and what to leave out.
#[derive(Debug, Clone, Default)]
pub struct FileSourceOptions {
    /// Absolute paths without `.`, `..` and repeated slashes.
    pub paths: Vec<PathBuf>,
    /// Host that the files belong to.
    pub host: String,
    /// Patterns of what is left out. The stated paths themselves are never left out.
    pub excludes: Excludes,
    /// Keep mount points as empty folders, unless they are stated.
    pub one_file_system: bool,
    /// Leave out the contents of folders that hold a valid `CACHEDIR.TAG`.
    pub exclude_caches: bool,
    /// Leave out the contents of folders that hold `NAME`, or `NAME:CONTENT-PREFIX`.
    pub exclude_if_present: Vec<String>,
    /// Leave out files larger than so many bytes.
    pub exclude_larger_than: Option<u64>,
    /// The local repository and the cache: left out wherever they are met.
    pub skip_paths: Vec<PathBuf>,
    /// Is told where the walk is.
    pub here: Option<Arc<Whereabouts>>,
}

/// Where a walk is right now: what it looks at, or lists. For when a file system hangs.
#[derive(Debug, Default)]
pub struct Whereabouts(Mutex<Vec<u8>>);

impl Whereabouts {
    pub(crate) fn set(&self, key: &[u8]) {
        let mut here = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        here.clear();
        here.extend_from_slice(key);
    }

    /// The path, with a leading slash.
    #[must_use]
    pub fn get(&self) -> Vec<u8> {
        let here = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        [b"/", key_to_path(&here).as_slice()].concat()
    }
}

/// Captures file trees.
#[derive(Debug)]
pub struct FileSource {
    options: FileSourceOptions,
    identity: SourceIdentity,
    record: Vec<u8>,
    walk: Walk,
}

impl FileSource {
    /// Sees that all paths are there and gets ready to walk them.
    ///
    /// # Errors
    /// There are no paths, one of them is not there, or an option cannot be understood.
    pub fn new(options: FileSourceOptions) -> Result<Self, SourceError> {
        if options.paths.is_empty() {
            return Err(refused("no paths to back up: state at least one".to_owned()));
        }
        if let Some(path) = options.paths.iter().find(|path| !path.is_absolute()) {
            return Err(refused(format!("source {} is not absolute: state the whole path", path.display())));
        }
        let identity = identity(&options);
        let record = LeftOut::of(&options).encode();
        let walk = Walk::new(options.clone(), Arc::new(Shared::of_host()))?;
        Ok(Self { options, identity, record, walk })
    }
}

impl Source for FileSource {
    fn identity(&self) -> &SourceIdentity {
        &self.identity
    }

    fn order(&self) -> Order {
        Order::Sorted
    }

    fn unsettled_seconds(&self) -> i64 {
        UNSETTLED_SECONDS
    }

    fn next_batch(&mut self) -> Result<Option<EntryBatch>, SourceError> {
        self.walk.next_batch()
    }

    fn finish(&mut self) -> Result<ConsistencyPoint, SourceError> {
        // Files have no common instant; each entry stands for itself.
        Ok(ConsistencyPoint { record: self.record.clone(), facts: Vec::new(), log: None })
    }

    fn again(&self) -> Option<Box<dyn Source>> {
        Some(Box::new(Self::new(self.options.clone()).ok()?))
    }
}

fn refused(what: String) -> SourceError {
    SourceError { what, source: None }
}

fn identity(options: &FileSourceOptions) -> SourceIdentity {
    let mut paths: Vec<_> = options.paths.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
    paths.sort_unstable();
    paths.dedup();
    let canonical = paths.iter().map(|path| escape(path)).collect::<Vec<_>>().join(":");
    SourceIdentity { kind: "files".to_owned(), host: options.host.clone(), canonical, paths }
}

/// A path as text from which its bytes can be told: colons separate paths, backslashes escape.
fn escape(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for sign in chunk.valid().chars() {
            match sign {
                ':' | '\\' => text.extend(['\\', sign]),
                sign if sign.is_control() => text.extend(sign.escape_default()),
                sign => text.push(sign),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(paths: &[&str]) -> Result<FileSource, SourceError> {
        let paths = paths.iter().map(PathBuf::from).collect();
        FileSource::new(FileSourceOptions { paths, host: "h".to_owned(), ..Default::default() })
    }

    #[test]
    fn missing_root_fails_and_says_what_to_do() {
        let error = source(&["/", "/no/such/place"]).unwrap_err();
        assert_eq!(
            error.what,
            "read source /no/such/place: check the path and that its file system is mounted, or take it out"
        );
        assert!(source(&[]).is_err());
        assert!(source(&["relative"]).is_err());
    }

    #[test]
    fn identity_does_not_depend_on_the_order_of_paths() {
        let one = source(&["/etc", "/", "/etc"]).unwrap();
        let other = source(&["/", "/etc"]).unwrap();
        assert_eq!(one.identity(), other.identity());
        assert_eq!(one.identity().canonical, "/:/etc");
    }

    #[test]
    fn escaping_keeps_paths_apart() {
        assert_eq!(escape(b"/a:b\\c\n\xff"), "/a\\:b\\\\c\\n\\xff");
    }
}
