//! Where a snapshot is restored to.
//!
//! Everything here is called from worker threads and may block. On purpose not here: how
//! contents are fetched. A target only ever sees verified bytes.

use crate::outcome::Problems;
use holdfast_core::entry::Entry;
use std::sync::Arc;

/// A target failed as a whole; what was restored so far stays.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct TargetError {
    /// What failed, on what, and what to do.
    pub what: String,
    /// What the system said.
    #[source]
    pub source: Option<std::io::Error>,
}

/// Takes the entries of a snapshot in key order, batch by batch.
///
/// Keys are relative to the target: the prefix that the restore strips is already gone, and an
/// empty key is the target itself (only its attributes are to be set). Extended attributes are
/// always given inline.
pub trait Target: Send {
    /// Makes folders, links and special files of the batch and prepares its files. What cannot
    /// be made is a problem of the batch; an entry whose parent is not a folder made by this
    /// restore is refused.
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

    /// Ends the restore: attributes of the remaining folders, one sync of the file system.
    /// Returns what could not be done in the whole restore, each path once per reason.
    ///
    /// # Errors
    /// The target failed as a whole.
    fn finish(&mut self) -> Result<Problems, TargetError>;
}

/// The files of one batch, written from several threads, each file's parts in any order.
pub trait TargetBatch: Send + Sync {
    /// The entries, as they were handed to [`Target::prepare`].
    fn entries(&self) -> &[Entry];

    /// Whether content is wanted for an entry: false for what is no file, was refused, could
    /// not be made, or will be a hard link to a file restored before.
    fn wants(&self, entry: usize) -> bool;

    /// Writes a whole file and sets its attributes.
    ///
    /// # Errors
    /// The target failed as a whole; a failure of this file alone is recorded as a problem.
    fn put(&self, entry: usize, content: &[u8]) -> Result<(), TargetError>;

    /// Writes a part of a file. Ranges that are never written are holes.
    ///
    /// # Errors
    /// As for `put`.
    fn write_at(&self, entry: usize, offset: u64, bytes: &[u8]) -> Result<(), TargetError>;

    /// Ends a file that was written in parts: length, attributes.
    ///
    /// # Errors
    /// As for `put`.
    fn close(&self, entry: usize) -> Result<(), TargetError>;

    /// Gives up a file: nothing of it stays at the target.
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
