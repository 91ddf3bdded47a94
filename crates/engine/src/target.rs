//! Where a snapshot is restored to.
//!
//! Everything here is called from worker threads and may block. On purpose not here: how
//! contents are fetched and compared. A target only ever sees verified bytes.

use crate::outcome::Problems;
use holdfast_core::entry::Entry;
use std::io;
use std::sync::Arc;

/// A target failed as a whole; what was restored so far stays.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct TargetError {
    /// What failed, on what, and what to do.
    pub what: String,
    /// What the system said.
    #[source]
    pub source: Option<io::Error>,
}

/// What is to be done about the content of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Nothing: it is no file, was refused, could not be made, is left as it is, or will be a
    /// hard link to a file restored before.
    Nothing,
    /// All of it is to be written, to a new file.
    Whole,
    /// There is a file already: only what differs is to be written.
    Compare,
    /// There is a file already whose content is taken to be right.
    Keep,
}

/// Content that a target holds already.
pub trait Present: Send {
    /// Its length in bytes.
    fn size(&self) -> u64;

    /// Fills a buffer from an offset on.
    ///
    /// # Errors
    /// It cannot be read, or ends before the buffer is full.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Whether nothing is stored of a range.
    fn is_hole(&self, offset: u64, length: u64) -> bool;
}

/// What became of what was restored, and of what was there before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Things that were not there; no folders.
    pub created: u64,
    /// Things that were there and got other content, or became things of another kind.
    pub rewritten: u64,
    /// Things whose attributes alone were set; folders too.
    pub attributes_only: u64,
    /// Things that were as recorded already; no folders.
    pub unchanged: u64,
    /// Things that are there and were left as they are, because it was asked for.
    pub left: u64,
    /// Things that were deleted because the snapshot does not have them; folders too.
    pub deleted: u64,
    /// Things that were there before, in folders in which things may be deleted.
    pub existing: u64,
    /// Bytes of content written.
    pub bytes_written: u64,
}

/// The end of a restore.
#[derive(Debug, Clone, Default)]
pub struct Finished {
    /// What could not be done in the whole restore, each path once per reason.
    pub problems: Problems,
    /// What became of the things.
    pub tally: Tally,
    /// The first things that were deleted: paths relative to the target.
    pub deleted: Vec<Vec<u8>>,
}

/// Takes the entries of a snapshot in key order, batch by batch.
///
/// Keys are relative to the target: the prefix that the restore strips is already gone, and an
/// empty key is the target itself (only its attributes are to be set). Extended attributes are
/// always given inline.
pub trait Target: Send {
    /// Makes folders, links and special files of the batch and prepares its files. What cannot
    /// be made is a problem of the batch. A folder that the snapshot has no entry of, though it has
    /// something in it, is made and told; an entry below what is no folder is refused.
    ///
    /// # Errors
    /// The target failed as a whole (for instance, no space left).
    fn prepare(&mut self, entries: Vec<Entry>) -> Result<Arc<dyn TargetBatch>, TargetError>;

    /// Completes a batch after the last byte of its files was written: hard links, attributes
    /// of folders whose subtree is complete. Batches are completed in the order they were made.
    ///
    /// # Errors
    /// The target failed as a whole.
    fn complete(&mut self, batch: Arc<dyn TargetBatch>) -> Result<(), TargetError>;

    /// A part of the snapshot's listing is lost: from here on nothing may be deleted because
    /// the snapshot does not have it.
    fn spare(&mut self);

    /// Ends the restore: attributes of the remaining folders, one sync of each file system.
    ///
    /// # Errors
    /// The target failed as a whole.
    fn finish(&mut self) -> Result<Finished, TargetError>;
}

/// The files of one batch, written from several threads, each file's parts in any order.
pub trait TargetBatch: Send + Sync {
    /// The entries, as they were handed to [`Target::prepare`].
    fn entries(&self) -> &[Entry];

    /// Whether an entry is there once all of the batch was written; false for what was refused, could
    /// not be made or was given up. Of hard links it is not known before the batch is completed.
    fn takes(&self, _entry: usize) -> bool {
        true
    }

    /// What is to be done about an entry's content.
    fn wants(&self, entry: usize) -> Want;

    /// Opens the content that is there, of an entry that wants to be compared.
    ///
    /// # Errors
    /// It cannot be read; the file is then written as a whole.
    fn present(&self, entry: usize) -> io::Result<Box<dyn Present>>;

    /// Asks whether parts of the file that is there can be rewritten. If not, a new file takes
    /// its place once it is whole, and all of the content is to be written.
    fn can_patch(&self, entry: usize) -> bool;

    /// Ends a file whose content is right already: only its attributes are set.
    ///
    /// # Errors
    /// As for `put`.
    fn keep(&self, entry: usize) -> Result<(), TargetError>;

    /// Counts a file of which so many bytes would be written; for a rehearsal.
    fn would_write(&self, entry: usize, bytes: u64);

    /// Writes a whole file and sets its attributes.
    ///
    /// # Errors
    /// The target failed as a whole; a failure of this file alone is recorded as a problem.
    fn put(&self, entry: usize, content: &[u8]) -> Result<(), TargetError>;

    /// Writes a part of a file. Ranges of a new file that are never written are holes; those of
    /// a file that is patched stay as they are.
    ///
    /// # Errors
    /// As for `put`.
    fn write_at(&self, entry: usize, offset: u64, bytes: &[u8]) -> Result<(), TargetError>;

    /// Makes a hole in a file that is patched.
    ///
    /// # Errors
    /// As for `put`.
    fn clear(&self, entry: usize, offset: u64, length: u64) -> Result<(), TargetError>;

    /// Ends a file that was written in parts: length, attributes.
    ///
    /// # Errors
    /// As for `put`.
    fn close(&self, entry: usize) -> Result<(), TargetError>;

    /// Gives up a file: no mix of old, new and missing bytes stays under its name.
    ///
    /// # Errors
    /// As for `put`.
    fn discard(&self, entry: usize) -> Result<(), TargetError>;
}

impl std::fmt::Debug for dyn TargetBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TargetBatch({} entries)", self.entries().len())
    }
}
