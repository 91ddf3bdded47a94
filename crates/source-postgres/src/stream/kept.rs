//! How much log a server keeps for a slot, asked by who has nothing else to do with it.
//!
//! On purpose not here: whether that is too much.

use super::slot::{self, Slot};
use crate::error::PgError;
use crate::facts::{ServerFacts, identify};
use crate::lsn::parse_bytes;
use crate::passfile::Secrets;
use crate::url::Server;
use crate::wire::Connection;

/// What a server keeps for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// So many bytes of log.
    Bytes(u64),
    /// Nothing: it let go of what the slot kept, or nobody used it yet.
    Nothing,
    /// There is no such slot.
    Missing,
    /// Servers before 15 do not say it to who only replicates.
    Untold,
}

/// A slot, as its server tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotTold {
    /// The server that was asked.
    pub host: String,
    /// What it keeps.
    pub kept: Kept,
    /// So much may any slot keep; none for as much as there is room for.
    pub limit: Option<u64>,
}

/// Asks a server for one of its slots.
///
/// # Errors
/// It cannot be reached, or does not let us in.
pub async fn slot_told(server: &Server, secrets: &Secrets, name: &str) -> Result<SlotTold, PgError> {
    let mut connection = Connection::open(server, secrets).await?;
    let major = ServerFacts::ask(&mut connection).await?.major();
    // The slot first: what is written between the two only makes the figure larger, and it is never below zero.
    let slot = slot::read(&mut connection, major, name).await?;
    let (_, _, at) = identify(&mut connection).await?;
    let limit = connection.show("max_slot_wal_keep_size").await?;
    let host = connection.host.to_string();
    connection.close().await;
    let kept = match slot {
        Slot::Missing => Kept::Missing,
        Slot::Untold => Kept::Untold,
        Slot::Keeps(None) => Kept::Nothing,
        Slot::Keeps(Some(from)) => Kept::Bytes(at.0.saturating_sub(from.0)),
    };
    // An unlimited one is -1, which is no number of bytes.
    Ok(SlotTold { host, kept, limit: limit.as_deref().and_then(parse_bytes) })
}
