//! The names of all directories that the walk is inside of, in one arena.
//!
//! A name costs its bytes and nine more, because a directory may hold millions. On purpose not
//! here: stats; they would cost ten times as much and be old when they are used.

use rustix::fd::BorrowedFd;
use rustix::fs::{FileType, RawDir};
use rustix::io::{Errno, Result};
use std::ffi::CStr;
use std::ops::Range;

/// Bytes that one call lists at most.
const LIST_BUFFER_BYTES: usize = 64 * 1024;
/// Capacity above which the arena gives memory back.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What the listing tells of an item's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    /// A folder.
    Directory,
    /// Something else.
    Other,
    /// The file system does not tell.
    Unknown,
}

#[derive(Debug, Clone, Copy)]
struct Name {
    /// Where the name begins, counted from where its directory's names begin.
    offset: u32,
    length: u16,
    hint: Hint,
}

/// Names of one directory within the arena.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    /// Which names.
    pub(super) names: Range<usize>,
    /// Where their bytes begin.
    base: usize,
}

/// The arena: the innermost directory's names come last.
#[derive(Debug)]
pub(super) struct Names {
    bytes: Vec<u8>,
    index: Vec<Name>,
    /// Room that the system lists into; nothing of it is ever kept.
    buffer: Vec<u8>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), index: Vec::new(), buffer: Vec::with_capacity(LIST_BUFFER_BYTES) }
    }

    /// Lists a directory, sorted by name. With an error comes what was listed before it.
    pub(super) fn list(&mut self, directory: BorrowedFd<'_>) -> (Listing, Result<()>) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
        let listing = self.begin();
        let mut outcome = Ok(());
        while let Some(entry) = entries.next() {
            let added =
                entry.and_then(|entry| self.add(&listing, entry.file_name(), hint(entry.file_type())));
            match added {
                Ok(()) | Err(Errno::INTR) => {}
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        self.buffer = buffer;
        (self.sort(listing), outcome)
    }

    /// Takes names as if they had been listed; they need not be sorted.
    pub(super) fn pretend<'a>(&mut self, names: impl Iterator<Item = &'a CStr>) -> Listing {
        let listing = self.begin();
        for name in names {
            // Names of paths that the caller stated cannot reach the limits.
            let _ = self.add(&listing, name, Hint::Unknown);
        }
        self.sort(listing)
    }

    fn begin(&self) -> Listing {
        Listing { names: self.index.len()..self.index.len(), base: self.bytes.len() }
    }

    fn add(&mut self, listing: &Listing, name: &CStr, hint: Hint) -> Result<()> {
        if matches!(name.to_bytes(), b"." | b"..") {
            return Ok(());
        }
        let offset = u32::try_from(self.bytes.len() - listing.base).map_err(|_| Errno::OVERFLOW)?;
        let length = u16::try_from(name.count_bytes()).map_err(|_| Errno::NAMETOOLONG)?;
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
        self.index.push(Name { offset, length, hint });
        Ok(())
    }

    fn sort(&mut self, mut listing: Listing) -> Listing {
        listing.names.end = self.index.len();
        let bytes = &self.bytes[listing.base..];
        let text =
            |name: &Name| &bytes[name.offset as usize..name.offset as usize + usize::from(name.length)];
        self.index[listing.names.clone()].sort_unstable_by(|a, b| text(a).cmp(text(b)));
        listing
    }

    /// A name and what the listing told of it.
    pub(super) fn get(&self, listing: &Listing, at: usize) -> (&CStr, Hint) {
        let name = &self.index[at];
        let start = listing.base + name.offset as usize;
        let bytes = &self.bytes[start..=start + usize::from(name.length)];
        (CStr::from_bytes_with_nul(bytes).unwrap_or_default(), name.hint)
    }

    /// Where a directory's listing holds a name.
    pub(super) fn find(&self, listing: &Listing, name: &[u8]) -> Option<usize> {
        let index = &self.index[listing.names.clone()];
        let at = index.binary_search_by(|other| self.text(listing, other).cmp(name)).ok()?;
        Some(listing.names.start + at)
    }

    /// Whether a directory holds a name.
    pub(super) fn contains(&self, listing: &Listing, name: &[u8]) -> bool {
        self.find(listing, name).is_some()
    }

    /// Names that have a companion of the same name and `-wal`.
    pub(super) fn with_write_ahead_log<'a>(&'a self, listing: &'a Listing) -> impl Iterator<Item = &'a [u8]> {
        let texts = self.index[listing.names.clone()].iter().map(|name| self.text(listing, name));
        texts.filter_map(|text| text.strip_suffix(b"-wal")).filter(|name| self.contains(listing, name))
    }

    fn text(&self, listing: &Listing, name: &Name) -> &[u8] {
        let start = listing.base + name.offset as usize;
        &self.bytes[start..start + usize::from(name.length)]
    }

    /// Forgets the names of the innermost directory.
    pub(super) fn drop_last(&mut self, listing: &Listing) {
        self.bytes.truncate(listing.base);
        self.index.truncate(listing.names.start);
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes.shrink_to(KEPT_BYTES_MAX);
            self.index.shrink_to(KEPT_BYTES_MAX / size_of::<Name>());
        }
    }
}

fn hint(kind: FileType) -> Hint {
    match kind {
        FileType::Directory => Hint::Directory,
        FileType::Unknown => Hint::Unknown,
        _ => Hint::Other,
    }
}
