//! The options of `wal stream`, `wal slot` and `wal drop-slot`.

use crate::ink::{parse_duration, parse_size};
use clap::Args;
use std::ffi::OsString;
use std::time::Duration;

/// Stream the log of a cluster into the repository, until it is stopped.
///
/// A replication slot keeps on the server what the repository does not have yet, so nothing is
/// missing after a restart of either. What comes is stored after 10 seconds at most, also if its
/// segment is not full, and the server is told of nothing that the repository does not have.
///
/// A slot that nobody streams by fills the server's disk. Set max_slot_wal_keep_size there: it also
/// holds while holdfast does not run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast wal stream 'postgres://backup@db1?sslmode=verify-full' --slot holdfast --create-slot
  holdfast wal stream postgres://backup@db1,db2 --slot holdfast --slot-limit 50G
  holdfast wal stream postgres://backup@db1 --slot holdfast --once

SIGTERM ends it with 0 once what came is stored.")]
pub(crate) struct WalStreamArgs {
    /// The cluster: postgres://USER@HOST:PORT
    #[arg(value_name = "URL")]
    pub(crate) server: OsString,
    /// The replication slot; each streamer needs one of its own
    #[arg(long, value_name = "NAME")]
    pub(crate) slot: String,
    /// Make the slot if the server does not have it
    #[arg(long)]
    pub(crate) create_slot: bool,
    /// Drop the slot when it keeps more than this on the server and ever more; that leaves a gap
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) slot_limit: Option<u64>,
    /// Go on where the server still has the log, though some before it is lost
    #[arg(long)]
    pub(crate) accept_gap: bool,
    /// Refuse any other cluster than that with this system identifier
    #[arg(long, value_name = "NUMBER")]
    pub(crate) system: Option<u64>,
    /// Store what came of a segment that is not full so often
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = interval)]
    pub(crate) commit_interval: Duration,
    /// End when all is stored that the server has now
    #[arg(long)]
    pub(crate) once: bool,
    /// End when all up to this place is stored: 0/3000060
    #[arg(long, value_name = "LSN", conflicts_with = "once")]
    pub(crate) until: Option<String>,
}

/// Say how much log a server keeps for a replication slot.
///
/// Asked is the server alone, by the protocol of replication; no repository is needed. `status` asks
/// this for each source of a policy that streams by a slot.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast wal slot 'postgres://backup@db1?sslmode=verify-full' --slot holdfast")]
pub(crate) struct WalSlotArgs {
    /// The cluster: postgres://USER@HOST:PORT
    #[arg(value_name = "URL")]
    pub(crate) server: OsString,
    /// The replication slot
    #[arg(long, value_name = "NAME")]
    pub(crate) slot: String,
    /// Give up after so long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

/// Drop a replication slot, so that the server keeps nothing for it any more.
///
/// What the repository does not have then and the server removes is lost: make a base backup before
/// the next stream.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast wal drop-slot 'postgres://backup@db1?sslmode=verify-full' --slot holdfast")]
pub(crate) struct WalDropSlotArgs {
    /// The cluster: postgres://USER@HOST:PORT
    #[arg(value_name = "URL")]
    pub(crate) server: OsString,
    /// The replication slot
    #[arg(long, value_name = "NAME")]
    pub(crate) slot: String,
}

/// Reads a time of which there is some.
fn interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        none if none.is_zero() => Err("it has to be some time: 1s at least".to_owned()),
        time => Ok(time),
    }
}
