//! The JSON lines of a log that streams.
//!
//! On purpose not here: what is in the archive.

use serde::Serialize;

/// The log streams, or goes on.
#[derive(Debug, Serialize)]
pub(crate) struct WalStreamingLine<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) host: &'a str,
    pub(crate) system: String,
    pub(crate) timeline: String,
    pub(crate) from_lsn: String,
    pub(crate) server_lsn: String,
}

/// Something of the log was stored.
#[derive(Debug, Serialize)]
pub(crate) struct WalStoredLine<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) timeline: String,
    pub(crate) file: &'a str,
    pub(crate) piece: Option<u32>,
    pub(crate) bytes: u64,
    pub(crate) flushed_lsn: String,
}

/// The end of a stream.
#[derive(Debug, Serialize)]
pub(crate) struct WalStreamSummary {
    pub(crate) message_type: &'static str,
    pub(crate) system: String,
    pub(crate) timeline: Option<String>,
    pub(crate) flushed_lsn: String,
    pub(crate) segments_stored: u64,
    pub(crate) pieces_stored: u64,
    pub(crate) histories_stored: u64,
    pub(crate) bytes_stored: u64,
    pub(crate) reconnects: u64,
}

/// What a server keeps for a slot.
#[derive(Debug, Serialize)]
pub(crate) struct SlotLine<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) slot: &'a str,
    pub(crate) host: &'a str,
    /// `keeps`, `nothing`, `missing`, `untold`.
    pub(crate) state: &'static str,
    pub(crate) retained_bytes: Option<u64>,
    pub(crate) limit_bytes: Option<u64>,
}

/// A slot is gone.
#[derive(Debug, Serialize)]
pub(crate) struct SlotDroppedLine<'a> {
    pub(crate) message_type: &'static str,
    pub(crate) slot: &'a str,
}
