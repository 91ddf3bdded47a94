//! The options of `dump`.

use super::{Because, Pick, VersionPick};
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Write a file of a snapshot, or a folder as an archive, to standard output.
///
/// A file comes out as it is, a folder as tar. The tar archive holds all that the snapshot holds
/// but sockets: nanosecond times, owners, hard links, devices, extended attributes and ACLs
/// (`tar --xattrs --xattrs-include='*' -xpf`). A zip archive holds files, folders and links.
///
/// Before anything is written a record of it is left in the repository's evidence, with --reason; where that
/// cannot be, a warning says so.
///
/// Every byte is verified. If one is damaged the output ends there and the exit code is 1: what
/// was written is then not whole, and an archive ends so that no program takes it for whole.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast dump latest:/srv/db.sql | mysql shop
  holdfast dump latest:/etc | tar -tvf -
  holdfast dump 3f2a91bc:/srv/www --archive zip --target www.zip
  holdfast dump latest:/home | ssh new-host 'tar -xpf - -C /home'")]
pub(crate) struct DumpArgs {
    /// A snapshot's id or the beginning of one, or `latest`; and a path in it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) snapshot: OsString,
    #[command(flatten)]
    pub(crate) pick: Pick,
    #[command(flatten)]
    pub(crate) versions: VersionPick,
    /// Write to FILE, which must not exist; it appears when it is whole
    #[arg(short, long, value_name = "FILE")]
    pub(crate) target: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) because: Because,
    /// Form of the archive, also for a single file [default for folders: tar]
    #[arg(short, long, value_name = "FORM")]
    pub(crate) archive: Option<Archive>,
}

/// Form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Archive {
    /// POSIX tar with extended headers
    Tar,
    /// Zip
    Zip,
}
