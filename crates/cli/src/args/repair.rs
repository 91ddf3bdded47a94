//! The options of `repair` and `recover`.

use clap::{Args, Subcommand};

/// Repair a repository that is damaged; nothing that counts is deleted.
///
/// Find out first what is wrong: holdfast check. If the disk fails, copy the repository to another
/// one before anything else.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast repair index --dry-run
  holdfast repair index --read-packs
  holdfast repair snapshots --forget")]
pub(crate) struct RepairArgs {
    #[command(subcommand)]
    pub(crate) verb: RepairVerb,
}

/// What is repaired.
#[derive(Debug, Subcommand)]
pub(crate) enum RepairVerb {
    Index(RepairIndexArgs),
    Log(RepairLogArgs),
    Snapshots(RepairSnapshotsArgs),
}

/// Make anew what is lost of the index, from the packs and what sessions left.
///
/// Backups and other commands may run meanwhile. One exception: if a root is lost, no prune that was
/// begun before may still run anywhere, not even one that was stopped in the middle. Packs that are
/// damaged or missing are set apart, and what snapshots lose with them is named. The next backup of
/// the same data stores it again, and the snapshots are whole again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast repair index --dry-run
  holdfast repair index
  holdfast repair index --read-packs     also finds damage inside of packs; reads everything")]
pub(crate) struct RepairIndexArgs {
    /// Read every pack whole; those that are whole again count again
    #[arg(long)]
    pub(crate) read_packs: bool,
    /// Tell what would be done, change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Remove from logs of databases what does not count, and free the names that it took.
///
/// That is what a member put there after it had been removed, and what is of another repository or of
/// nobody who belongs here. Whatever else keeps a database's own segment out is named with --delete, by
/// the name that `holdfast check` or the failed command shows; look first whose it is, it is gone then.
/// Take the right to write away from who did it before, and let no second one of these run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast repair log --dry-run
  holdfast repair log
  holdfast repair log --delete wal/6512aa.../00000001-0000000000000000/00000001000000000000000A")]
pub(crate) struct RepairLogArgs {
    /// Delete this object of a log too, whatever it is
    #[arg(long, value_name = "OBJECT")]
    pub(crate) delete: Vec<String>,
    /// Tell what would be done, change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Make snapshots of what is left of damaged ones.
///
/// Run `holdfast repair index` first, and back up again if the data is still there: that may heal
/// them. A new snapshot has the tag `repaired` and all but the files that are lost; the damaged one
/// stays unless --forget is given. Records that cannot be read at all are forgotten in any case, so
/// that a prune goes on; run `holdfast recover` before the next prune to look for their trees.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast repair snapshots --dry-run
  holdfast repair snapshots
  holdfast repair snapshots --forget     then: holdfast prune")]
pub(crate) struct RepairSnapshotsArgs {
    /// Forget the damaged snapshots; they come back with `forget --undo` until the next prune
    #[arg(long)]
    pub(crate) forget: bool,
    /// Tell what would be done, change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Make snapshots of trees that no snapshot refers to.
///
/// That is what is left of backups that were killed just before their end, and of snapshots whose
/// records are lost. They get the host, the source and the tag `recovered`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast recover --dry-run
  holdfast recover
  holdfast snapshots --tag recovered")]
pub(crate) struct RecoverArgs {
    /// Tell what would be done, change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}
