//! The options of `diff`.

use super::{LeaveOut, Pick};
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// Show what differs between two snapshots, or between a snapshot and what is there now.
///
/// Each line is a mark and a path: `+` added, `-` removed, `M` other content, `T` another type,
/// `U` other metadata (with --metadata), and `?` after `M` for a file whose content differs under
/// the same size and time: nobody wrote it in the usual way.
///
/// With --live, files of the same size and time count as unchanged unless --read-data is given.
/// Give the --exclude options of the backup again, or what it left out shows as added.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast diff 3f2a91bc latest
  holdfast diff 3f2a91bc:/etc latest:/etc --metadata
  holdfast diff latest:/etc --live
  holdfast diff latest:/srv/www --live /tmp/restored --read-data")]
pub(crate) struct DiffArgs {
    /// The earlier snapshot: an id, the beginning of one, or `latest`; and a path in it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) before: OsString,
    /// The later snapshot, and a path in it
    #[arg(value_name = "SNAPSHOT[:PATH]", required_unless_present = "live", conflicts_with = "live")]
    pub(crate) after: Option<OsString>,
    /// Compare with what is there now: in DIR, or in the paths that were backed up
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    pub(crate) live: Option<Option<PathBuf>>,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// Compare modes, owners, times and extended attributes too
    #[arg(long)]
    pub(crate) metadata: bool,
    /// Read the files of --live and compare their contents and extended attributes
    #[arg(long, alias = "check-content")]
    pub(crate) read_data: bool,
    #[command(flatten)]
    pub(crate) leave_out: LeaveOut,
}

impl DiffArgs {
    /// Whether there are options that say something of a live tree only.
    pub(crate) fn expects_live(&self) -> bool {
        let leave_out = &self.leave_out;
        let lists = [leave_out.exclude.len(), leave_out.iexclude.len(), leave_out.exclude_file.len()];
        self.read_data
            || lists.iter().any(|&length| length > 0)
            || leave_out.exclude_caches
            || !leave_out.exclude_if_present.is_empty()
            || leave_out.exclude_larger_than.is_some()
            || leave_out.one_file_system
    }
}
