//! What a stream is asked for, what it tells while it goes on, and how it ends.
//!
//! On purpose not here: how a person is told.

use crate::error::PgError;
use crate::lsn::Lsn;
use crate::passfile::Secrets;
use crate::url::Server;
use holdfast_engine::ctx::{Cancel, Clock};
use holdfast_engine::error::Error;
use holdfast_engine::wal::Timeline;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What happens while the log streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent<'a> {
    /// It begins, or goes on.
    Streaming {
        /// Which server.
        host: String,
        /// Which cluster.
        system: u64,
        /// Which timeline.
        timeline: Timeline,
        /// From where on; what is stored of it already is compared.
        from: Lsn,
        /// How far the server has it.
        server: Lsn,
    },
    /// Something was stored.
    Stored {
        /// Which timeline.
        timeline: Timeline,
        /// Which file.
        file: &'a str,
        /// Which piece of it; none if it is all of it.
        piece: Option<u32>,
        /// How long it is.
        bytes: u64,
        /// Up to here everything is durable.
        flushed: Lsn,
    },
    /// Something is not as it should be; it is tried again.
    Trouble(String),
    /// It is well again, or something is worth knowing.
    Better(String),
}

/// Hears what happens.
pub type Tell = Arc<dyn Fn(&StreamEvent<'_>) + Send + Sync>;

/// When to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// When the run is to stop.
    Stopped,
    /// When everything is stored that the server had at the beginning.
    Now,
    /// When everything up to a place is stored.
    Place(Lsn),
}

/// What to stream, and how.
#[derive(Clone)]
pub struct StreamOptions {
    /// Where the cluster is.
    pub server: Server,
    /// What lets us in.
    pub secrets: Secrets,
    /// The slot that keeps the log until it is stored.
    pub slot: String,
    /// Make it if it is not there.
    pub create_slot: bool,
    /// Drop it once it keeps more bytes than this, and ever more.
    pub slot_limit: Option<u64>,
    /// Go on where the log before it is lost.
    pub accept_gap: bool,
    /// The cluster that it has to be.
    pub system: Option<u64>,
    /// What comes of a segment that is not full is stored so often.
    pub commit_every: Duration,
    /// When to end.
    pub until: Until,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Stops the run.
    pub cancel: Cancel,
    /// Hears what happens.
    pub tell: Tell,
}

impl fmt::Debug for StreamOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamOptions").field("server", &self.server).finish_non_exhaustive()
    }
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Streamed {
    /// Which cluster.
    pub system: u64,
    /// The timeline on which it ended, if anything streamed.
    pub timeline: Option<Timeline>,
    /// Up to here everything is durable.
    pub flushed: Lsn,
    /// Segments, pieces of segments and histories that were stored.
    pub segments: u64,
    /// See above.
    pub pieces: u64,
    /// See above.
    pub histories: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// How often the server was lost and found again.
    pub reconnects: u64,
}

/// Why it ended otherwise.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Of the server.
    #[error(transparent)]
    Server(#[from] PgError),
    /// Of the repository.
    #[error(transparent)]
    Repository(#[from] Error),
    /// We do not go on.
    #[error("{what}")]
    Refused {
        /// What it is.
        what: String,
        /// What can be done.
        hint: String,
    },
}

pub(super) fn refused(what: impl Into<String>, hint: impl Into<String>) -> StreamError {
    StreamError::Refused { what: what.into(), hint: hint.into() }
}
