//! The options of `stats`.

use super::Pick;
use clap::{Args, ValueEnum};

/// Show the size of snapshots, what is stored for them, and what only one holds.
///
/// ADDED is what a snapshot's run stored, UNIQUE what only this snapshot refers to today: what
/// would be free if it alone were forgotten. Deduplication compares the size of all files with
/// their different contents, compression these with what is stored.
///
/// All trees are read, also those of snapshots that were not asked for: without them nobody knows
/// what is unique. This takes about 40 bytes of memory for each chunk of the repository.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast stats
  holdfast stats --host web1 --json
  holdfast stats 3f2a91bc latest
  holdfast stats --mode restore-size      without reading trees")]
pub(crate) struct StatsArgs {
    /// Only these: ids, beginnings of ids, or `latest`
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// How closely to look
    #[arg(long, value_name = "MODE", default_value = "full")]
    pub(crate) mode: StatsDepth,
}

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatsDepth {
    /// Read all trees
    Full,
    /// Only the size of the files, from the snapshots' own records
    RestoreSize,
}
