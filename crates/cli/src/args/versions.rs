//! The options that choose among the versions of objects, of verbs that read snapshots.
//!
//! On purpose not here: what a backup takes (`--versions`).

use clap::Args;

/// Which version of an object is meant.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Of a bucket with all its versions")]
pub(crate) struct VersionPick {
    /// As it was at TIME [default: when the snapshot was made]
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// The version of the one object that PATH names, as `ls` shows it
    #[arg(long, value_name = "ID", conflicts_with = "at")]
    pub(crate) version_id: Option<String>,
}
