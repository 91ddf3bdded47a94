//! The options of `hold`.

use clap::Args;
use std::ffi::OsString;

/// Hold snapshots: while a hold stands, what it names is neither forgotten nor freed.
///
/// The first thing to type when something is wrong: `holdfast hold --all --reason ...` stops forget
/// and prune at once, on every host, also those that run. Backups and restores go on. Without an
/// argument the holds that stand are listed.
///
/// A word is the beginning of a snapshot's id, or `latest`, or the name of a source as `holdfast
/// snapshots --json` shows it. A hold on a source holds its later snapshots too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast hold --all --reason 'files are being encrypted, looking into it'
  holdfast hold web1:/srv/www --reason 'audit of 2026' --until 2027-04-01
  holdfast hold 3f2a91bc --reason 'before the upgrade' --until 14d
  holdfast hold
  holdfast hold --release 9c1d02aa")]
pub(crate) struct HoldArgs {
    /// Snapshots or sources; with --release also the beginnings of ids of holds
    #[arg(value_name = "SNAPSHOT|SOURCE")]
    pub(crate) words: Vec<OsString>,
    /// A source, by its name; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Vec<String>,
    /// Everything: forget and prune do nothing at all
    #[arg(long)]
    pub(crate) all: bool,
    /// Why, for whoever meets the hold later
    #[arg(long, value_name = "TEXT", conflicts_with = "release")]
    pub(crate) reason: Option<String>,
    /// Until when, or for how long: 2027-04-01, 12h, 14d [default: until it is released]
    #[arg(long, value_name = "TIME", requires = "reason")]
    pub(crate) until: Option<String>,
    /// Release holds: those with these ids, or on these snapshots or sources; with --all those on
    /// everything
    #[arg(long)]
    pub(crate) release: bool,
}
