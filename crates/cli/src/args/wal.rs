//! The options of `wal`.

use super::wal_stream::{WalDropSlotArgs, WalSlotArgs, WalStreamArgs};
use crate::ink::parse_duration;
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Keep the log of databases: what PostgreSQL calls WAL.
///
/// A snapshot of a cluster stands alone; the log between snapshots lets it be recovered to any
/// moment. Each segment is one object of the repository, compressed and sealed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast wal push pg_wal/000000010000000000000003
  holdfast wal fetch 000000010000000000000003 pg_wal/RECOVERYXLOG
  holdfast wal status")]
pub(crate) struct WalArgs {
    #[command(subcommand)]
    pub(crate) verb: WalVerb,
}

/// What to do with the log.
#[derive(Debug, Subcommand)]
pub(crate) enum WalVerb {
    Push(WalPushArgs),
    Fetch(WalFetchArgs),
    Status(WalStatusArgs),
    Ls(WalLsArgs),
    Adopt(WalAdoptArgs),
    Stream(Box<WalStreamArgs>),
    Slot(WalSlotArgs),
    DropSlot(WalDropSlotArgs),
}

/// Store a file of the log: the `archive_command` of PostgreSQL.
///
/// It ends with 0 only once the repository has the bytes. The same file again is no error; another
/// content under the same name is, and nothing is overwritten. Other files that wait to be archived
/// are stored in the same run.
///
/// It runs for each segment: use a key file (--key-file). A password that costs much to try is
/// refused.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples, in postgresql.conf:
  archive_command = '/usr/bin/holdfast -r s3://backups/db1 --key-file /etc/holdfast/key wal push %p'

Call it directly, by its absolute path.")]
pub(crate) struct WalPushArgs {
    /// The file, as the server names it with %p
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Give up after so long; the server tries again
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

/// Fetch a file of the log: the `restore_command` of PostgreSQL.
///
/// It ends with 0 if the file is in its place, with 1 only if it is proved that the archive has no
/// such file, and with 126 or more for everything else: a server takes every code below that for
/// the end of the log, and would open itself without the rest of it. So call it directly, by its
/// absolute path: sudo, env, timeout and docker exec have codes of their own.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples, in postgresql.conf:
  restore_command = '/usr/bin/holdfast -r s3://backups/db1 --key-file /etc/holdfast/key wal fetch %f %p'
  restore_command = '/usr/bin/holdfast -r s3://backups/db1 --key-file /etc/holdfast/key wal fetch --standby %f %p'")]
pub(crate) struct WalFetchArgs {
    /// Name of the file, as the server gives it with %f
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Where to put it, as the server gives it with %p
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// For a server that stays a standby: while the repository cannot be reached it is told to wait
    #[arg(long)]
    pub(crate) standby: bool,
    /// The database's system identifier [default: that in global/pg_control, here]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) system: Option<u64>,
    /// Where there are several timelines of one number: the one to recover along, as `holdfast wal
    /// status` names it
    #[arg(long, value_name = "NUMBER-HISTORY")]
    pub(crate) timeline: Option<OsString>,
    /// Give up after so long
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

/// Show what there is of the log: from where to where, gaps, and what can be recovered.
///
/// Exit code 3: something is missing between the first and the last segment of a timeline.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast wal status
  holdfast wal status --json")]
pub(crate) struct WalStatusArgs {
    /// Only the database with this system identifier
    #[arg(value_name = "SYSTEM")]
    pub(crate) system: Option<u64>,
}

/// List the files of the log, or the commits in a part of it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast wal ls
  holdfast wal ls --commits 2026-01-31T02:50+09:00..2026-01-31T03:10+09:00
  holdfast wal ls 7383249871234567890 --json")]
pub(crate) struct WalLsArgs {
    /// Only those of the database with this system identifier
    #[arg(value_name = "SYSTEM")]
    pub(crate) system: Option<u64>,
    /// Show commits and restore points between two moments or places: times with their offset, or
    /// places like 16/B374D848
    #[arg(long, value_name = "FROM..TO")]
    pub(crate) commits: Option<String>,
}

/// Let a restored cluster archive its log again: it is production from now on.
///
/// A restore turns archiving off, so that a copy does not write into the archive of the cluster that
/// it was made of. This takes those lines out of its postgresql.auto.conf. Promote the copy first, so
/// that it has a timeline of its own, and see that the old cluster is gone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast wal adopt --pgdata /var/lib/postgresql/18/main")]
pub(crate) struct WalAdoptArgs {
    /// The folder of the cluster
    #[arg(long, value_name = "DIR")]
    pub(crate) pgdata: PathBuf,
}
