//! The options of `restore`.

use super::{Because, LoadDumps, Pick, Recover, VersionPick};
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Restore a snapshot, or a part of it, into a new folder or over what is there.
///
/// With a PATH the contents of that folder land directly in the target. What is damaged in the
/// repository is named and left out, everything else is restored; then the exit code is 1.
///
/// Over what is there only the parts that differ are fetched and written. An interrupted restore
/// goes on where it was when it is run again with --overwrite always. Links that are in the
/// target are replaced, never followed.
///
/// In a bucket files become objects; folders, links, owners and modes have no place there. Keys
/// for the target alone: HOLDFAST_TARGET_AWS_ACCESS_KEY_ID and HOLDFAST_TARGET_AWS_SECRET_ACCESS_KEY,
/// or profile= in its URL.
///
/// Of a snapshot with all versions of a bucket (`backup --versions all`) the newest version of each
/// object is restored, and nothing where that is a delete marker; --at, --version-id and --all-versions
/// choose otherwise.
///
/// A cluster of PostgreSQL becomes a folder that a server of the same major version starts from, with
/// archiving off; what is restored by half does not start. Each of its tablespaces needs a place. With
/// an archive of its log (`holdfast wal`) it is recovered to any moment: --to says up to where, and the
/// plan is shown first. What cannot be reached is refused before anything is written. The newest
/// snapshot before the target is taken.
///
/// Dumps of databases (`backup --logical`) become files, or with a server as the target databases again, each
/// under its own name, by the server's own pg_restore.
///
/// Before anything is restored a record of it is left in the repository's evidence, with --reason; where that
/// cannot be, a warning says so.
///
/// `latest` is the newest whole snapshot that holds the path. Where several sources could be
/// meant, say which with --host, --tag or --source.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast restore latest --target /tmp/all
  holdfast restore latest:/srv/www --target /tmp/www --verify
  holdfast restore latest:/srv/www --target 's3://bucket/www?region=eu-central-1'
  holdfast restore latest --target postgres://admin@db2 --database shop --globals
  holdfast restore latest --target s3://new-bucket --at '2026-01-31 02:15:00'
  holdfast restore latest --target /srv/pg --to time=2026-01-31T02:15:00+09:00 --dry-run
  holdfast restore 3f2a91bc --target /tmp/conf --include /etc --exclude '*.bak' --dry-run
  holdfast restore latest:/srv/www --target /srv/www --overwrite always --delete --dry-run")]
pub(crate) struct RestoreArgs {
    /// A snapshot's id or the beginning of one, or `latest`; and a path in it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) snapshot: OsString,
    /// Folder to restore into, made if it is missing, or a bucket: s3://bucket/prefix, or of dumps a server:
    /// postgres://user@host. If something lies there, say --overwrite
    #[arg(short, long, value_name = "DIR|URL")]
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
    /// Restore into a bucket that tells others of each new object
    #[arg(long)]
    pub(crate) with_events: bool,
    /// Give objects the access rights that were kept of them (backup --metadata acl); locks are never set
    #[arg(long)]
    pub(crate) with_acl: bool,
    /// Set the configuration of the bucket as it was kept, where it differs (CORS, policy, lifecycle and so
    /// on); without this the differences are only shown. What only the bucket has stays
    #[arg(long)]
    pub(crate) bucket_config: bool,
    /// Where a tablespace of a cluster goes: OLD is its path on the server or its number; may be
    /// given several times
    #[arg(long, value_name = "OLD=NEW")]
    pub(crate) tablespace_map: Vec<OsString>,
    /// Show what would be restored, fetched, rewritten and deleted; change nothing
    #[arg(short = 'n', long, conflicts_with = "verify")]
    pub(crate) dry_run: bool,
    /// Stop at the first thing that cannot be restored
    #[arg(long)]
    pub(crate) fail_fast: bool,
    #[command(flatten)]
    pub(crate) because: Because,
    #[command(flatten)]
    pub(crate) versions: VersionPick,
    /// Restore all versions and delete markers, oldest first, into an empty prefix of a bucket that
    /// keeps versions
    #[arg(long, help_heading = "Of a bucket with all its versions", conflicts_with_all = ["at", "version_id", "verify", "overwrite", "delete"])]
    pub(crate) all_versions: bool,
    #[command(flatten)]
    pub(crate) recover: Recover,
    #[command(flatten)]
    pub(crate) dumps: LoadDumps,
    #[command(flatten)]
    pub(crate) over: Over,
    #[command(flatten)]
    pub(crate) select: Select,
}

/// What is done with what is at the target.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What is at the target already")]
pub(crate) struct Over {
    /// What is done with things that are there: `always` makes them what was backed up and compares
    /// contents; `if-changed` takes files of the same size and time for the same; `if-newer` only
    /// touches what was older; `never` touches nothing. Missing things are restored in any case
    #[arg(long, value_name = "WHEN", value_enum)]
    pub(crate) overwrite: Option<When>,
    /// Delete what the snapshot does not have in its folders; implies --overwrite always
    #[arg(long)]
    pub(crate) delete: bool,
    /// Do nothing at all if --delete would delete more: a number, or a share of what is there
    #[arg(long, value_name = "N|P%", default_value = "50%", requires = "delete")]
    pub(crate) max_delete: String,
}

/// When a thing that is there is overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Always,
    IfChanged,
    IfNewer,
    Never,
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
