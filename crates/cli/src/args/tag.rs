//! The options of `tag`.

use super::Pick;
use clap::{ArgGroup, Args};
use std::ffi::OsString;

/// Change the tags of snapshots.
///
/// Snapshots never change: each one is replaced by a new one with the same content, times and
/// host. Its id is another; the old id leads to it. No data is read or stored. If two commands change
/// one snapshot at the same time, both changes are kept.
///
/// Without SNAPSHOT all that --host, --tag and --source pick are changed.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true).args(["add", "remove", "set"])))]
#[command(after_help = "\
Examples:
  holdfast tag latest --add before-upgrade,keep
  holdfast tag 3f2a91bc 77c01d2e --remove nightly
  holdfast tag --host web1 --tag nightly --set nightly,web
  holdfast tag 3f2a91bc --set ''")]
pub(crate) struct TagArgs {
    /// A snapshot's id or the beginning of one, or `latest`
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<OsString>,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// Add tags; several with commas or by repeating
    #[arg(long, value_name = "TAG[,TAG]")]
    pub(crate) add: Vec<String>,
    /// Take tags away
    #[arg(long, value_name = "TAG[,TAG]")]
    pub(crate) remove: Vec<String>,
    /// Have these tags and no others; '' for none
    #[arg(long, value_name = "TAG[,TAG]", conflicts_with_all = ["add", "remove"])]
    pub(crate) set: Vec<String>,
}
