//! Prune: condemns, looks again, gives up, deletes, with a published root between the steps.
//!
//! On purpose not here: forgetting.

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::Repository;
use holdfast_core::entry::Time;
use holdfast_core::id::SessionId;

/// How much that nothing needs may stay in packs that hold something needed too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// So many percent of all bytes in packs.
    Percent(f64),
    /// So many bytes.
    Bytes(u64),
    /// All of it: nothing is repacked.
    Unlimited,
}

/// How to prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// How much unused may stay.
    pub max_unused: MaxUnused,
    /// Repack at most so many bytes in this run.
    pub max_repack_bytes: Option<u64>,
    /// Pause between the steps, in seconds; `None`: none if no other session is open, else a day.
    pub min_age_seconds: Option<u64>,
    /// Abort open sessions that gave no sign of life for so many seconds; 0 aborts all.
    pub abort_after_seconds: u64,
    /// Tell what would be done, change nothing.
    pub dry_run: bool,
}

/// What a prune saw and did. With `dry_run` what it would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Packs that there were.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Bytes of them that snapshots need.
    pub used_bytes: u64,
    /// Bytes that nothing needs, in packs that stay.
    pub unused_bytes_left: u64,
    /// Packs that were repacked, their bytes, and the bytes that were written for them.
    pub repacked_packs: u64,
    /// Bytes read for it.
    pub repack_bytes_read: u64,
    /// Bytes written for it.
    pub repack_bytes_written: u64,
    /// Packs that were deleted.
    pub freed_packs: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Packs that are given up and still lie there.
    pub dead_packs: u64,
    /// Their bytes.
    pub dead_bytes: u64,
    /// Packs that are condemned: they go if nothing needs them until then.
    pub condemned_packs: u64,
    /// Their bytes.
    pub condemned_bytes: u64,
    /// When the next step may be made for what is condemned or given up; `None` if nothing waits.
    pub next_step: Option<Time>,
    /// Sessions that are open.
    pub open_sessions: u64,
    /// Sessions that were aborted.
    pub aborted_sessions: Vec<SessionId>,
    /// Index deltas that were merged.
    pub merged_deltas: u64,
    /// Snapshots that are gone for good.
    pub dropped_snapshots: Vec<SessionId>,
    /// Other objects that were deleted: what ended sessions left, merged deltas, old lists.
    pub deleted_objects: u64,
    /// The newest root.
    pub root: u64,
}

/// Frees what no snapshot needs.
///
/// # Errors
/// The key does not allow it, a hold stands against it, a page of a tree cannot be read (then
/// nothing was condemned), or the repository cannot be written. Whatever was done stays; the next
/// prune goes on.
pub async fn prune(_ctx: &Ctx, _repository: &Repository, _options: &PruneOptions) -> Result<PruneReport> {
    Err(Error::new(ErrorKind::NotAllowed, "prune"))
}
