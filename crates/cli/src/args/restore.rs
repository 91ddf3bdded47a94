//! The options of `restore`.

use super::Pick;
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// Restore a snapshot, or a part of it, into a new folder.
///
/// With a PATH the contents of that folder land directly in the target. What is damaged in the
/// repository is named and left out, everything else is restored; then the exit code is 1.
///
/// `latest` is the newest whole snapshot that holds the path. Where several sources could be
/// meant, say which with --host, --tag or --source.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast restore latest --target /tmp/all
  holdfast restore latest:/srv/www --target /tmp/www --verify
  holdfast restore 3f2a91bc --target /tmp/conf --include /etc --exclude '*.bak' --dry-run")]
pub(crate) struct RestoreArgs {
    /// A snapshot's id or the beginning of one, or `latest`; and a path in it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) snapshot: OsString,
    /// Folder to restore into; it is made if it is missing, and has to be empty
    #[arg(short, long, value_name = "DIR")]
    pub(crate) target: PathBuf,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// Read the restored files again and compare them with what was backed up
    #[arg(long)]
    pub(crate) verify: bool,
    /// Also make holes of long runs of zeros; recorded holes always come back
    #[arg(long)]
    pub(crate) sparse: bool,
    /// Give files to the user and group of the same name, not of the same number
    #[arg(long)]
    pub(crate) ownership_by_name: bool,
    /// Show what would be restored, write nothing
    #[arg(short = 'n', long, conflicts_with = "verify")]
    pub(crate) dry_run: bool,
    /// Stop at the first thing that cannot be restored
    #[arg(long)]
    pub(crate) fail_fast: bool,
    #[command(flatten)]
    pub(crate) select: Select,
}

/// What of a snapshot is restored.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What is restored")]
pub(crate) struct Select {
    /// Only what matches PATTERN; may be given several times
    #[arg(short = 'i', long, value_name = "PATTERN")]
    pub(crate) include: Vec<String>,
    /// The same, whatever the case of letters
    #[arg(long, value_name = "PATTERN")]
    pub(crate) iinclude: Vec<String>,
    /// Only what the patterns in FILE match, one a line; # begins a comment
    #[arg(long, value_name = "FILE")]
    pub(crate) include_file: Vec<PathBuf>,
    /// The same, whatever the case of letters
    #[arg(long, value_name = "FILE")]
    pub(crate) iinclude_file: Vec<PathBuf>,
    /// Not what matches PATTERN; may be given several times
    #[arg(short = 'e', long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// The same, whatever the case of letters
    #[arg(long, value_name = "PATTERN")]
    pub(crate) iexclude: Vec<String>,
    /// Not what the patterns in FILE match, one a line; # begins a comment
    #[arg(long, value_name = "FILE")]
    pub(crate) exclude_file: Vec<PathBuf>,
    /// The same, whatever the case of letters
    #[arg(long, value_name = "FILE")]
    pub(crate) iexclude_file: Vec<PathBuf>,
}
