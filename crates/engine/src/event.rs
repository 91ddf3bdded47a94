//! What a run tells while it goes on. Totals, bars and lines are made of it elsewhere.
//!
//! On purpose not here: anything that a result depends on; results are returned.

use crate::outcome::{Notice, Problem};

/// Something happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A part of the run begins, in words: "reading", "checking packs".
    Phase(&'a str),
    /// How much there will be to do, as far as one can tell (for a backup: what the parent had).
    Expected {
        /// Files or objects.
        files: u64,
        /// Bytes.
        bytes: u64,
    },
    /// This is being worked on; a path with slashes.
    Current(&'a [u8]),
    /// So much more is done.
    Done {
        /// Files or objects.
        files: u64,
        /// Bytes.
        bytes: u64,
    },
    /// So many bytes more lie in the repository, durably.
    Stored {
        /// Bytes.
        bytes: u64,
    },
    /// Something was skipped.
    Problem(&'a Problem),
    /// Something is worth knowing.
    Notice(&'a Notice),
    /// Something outside the source or target is not as it should be; the run goes on.
    Warning(&'a str),
}

/// Hears what happens. Must not block and cannot fail; called from many threads.
pub trait Monitor: Send + Sync {
    /// Takes an event.
    fn on(&self, event: &Event<'_>);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn on(&self, _event: &Event<'_>) {}
}
