//! The options of `evidence`.

use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Show and check the records of drills, and of who took contents out.
///
/// Each drill leaves a record in the repository: signed by the key that it ran with, and chained to
/// the record before, so that none can be changed, or taken out of the middle, unseen. That the last
/// ones were taken away is seen only by who noted the head of the chain: `evidence verify` prints it,
/// and proves with --expect that it is still there. `copy` does not copy evidence, and neither
/// `forget` nor `prune` takes any away.
///
/// Each `restore` and `dump`, each drill that begins, and each scratch that one keeps, leaves one of kind
/// `access`: who, where, which snapshot, what of it, where to, and --reason. It is written before anything is
/// restored, so it says what was begun. `wal fetch` and `copy` leave none. What the evidence of a domain said of
/// who read there stays, of kind `inherited`, when the domain is erased: without paths and names.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast evidence show
  holdfast evidence show latest --policy shop --html drill.html
  holdfast evidence note latest --action 'replaced the disk of db1' --by kim
  holdfast evidence verify")]
pub(crate) struct EvidenceArgs {
    #[command(subcommand)]
    pub(crate) verb: EvidenceVerb,
}

/// What to do with evidence.
#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceVerb {
    Verify(EvidenceVerifyArgs),
    Show(EvidenceShowArgs),
    Note(EvidenceNoteArgs),
}

/// Check that no record was changed, replaced or taken away.
///
/// Prints the head of each chain, MEMBER:NUMBER:HASH. Note it outside of the repository: without, a
/// chain whose last records were taken away looks whole. Ends with 1 if anything is wrong.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast evidence verify
  holdfast evidence verify --json | tail -n 1
  holdfast evidence verify --expect \"$(cat /mnt/elsewhere/head)\"")]
pub(crate) struct EvidenceVerifyArgs {
    /// The chain has to have this record yet, the same to the last byte; may be given several times
    #[arg(long, value_name = "MEMBER:NUMBER:HASH")]
    pub(crate) expect: Vec<String>,
}

/// List the records, oldest first, or show one.
///
/// That a drill began is listed until its own record is there, which says it; with --kind access or --json
/// always.
///
/// The reports are made of the record of a drill: JUnit XML for CI, Markdown for the summary of a
/// step, a page for people and auditors. A file that is there is replaced; /dev/stdout is a file too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast evidence show --policy shop --since 2026-07-01
  holdfast evidence show latest
  holdfast evidence show --kind access --since 30d
  holdfast evidence show 3f2a91bc --junit drill.xml --html drill.html
  holdfast evidence show latest --policy shop --quiet --markdown \"$GITHUB_STEP_SUMMARY\"")]
pub(crate) struct EvidenceShowArgs {
    /// A record: its name, the beginning of a drill's id, or `latest` for the latest drill
    #[arg(value_name = "RECORD")]
    pub(crate) record: Option<OsString>,
    /// Only records of this policy
    #[arg(long, value_name = "NAME")]
    pub(crate) policy: Option<String>,
    /// Only records of this kind: drill, missed, note, access, shred, inherited
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// Only records from this time on: 2026-07-01, or 30d for the last 30 days
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Write it to FILE as JUnit XML
    #[arg(long, value_name = "FILE", requires = "record")]
    pub(crate) junit: Option<PathBuf>,
    /// Write it to FILE as a page of HTML
    #[arg(long, value_name = "FILE", requires = "record")]
    pub(crate) html: Option<PathBuf>,
    /// Write it to FILE as Markdown
    #[arg(long, value_name = "FILE", requires = "record")]
    pub(crate) markdown: Option<PathBuf>,
}

/// Note what was done about a record.
///
/// The note is a record of its own, at the end of the chain of the key that opens the repository.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast evidence note latest --action 'replaced the disk of db1; drilled again'
  holdfast evidence note 3f2a91bc --action 'raised the objective, ticket 812' --by kim")]
pub(crate) struct EvidenceNoteArgs {
    /// A record: its name, the beginning of a drill's id, or `latest` for the latest drill
    #[arg(value_name = "RECORD")]
    pub(crate) record: OsString,
    /// What was done
    #[arg(long, value_name = "TEXT")]
    pub(crate) action: String,
    /// Who did it [default: USER@HOST]
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,
}
