//! The options of `run`.

use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// Run a policy: back up, copy, forget, prune, check, drill, in one go.
///
/// Each step is a verb of holdfast in a process of its own, with the key that the policy names for it and
/// nothing else. A source that fails does not keep the others from being backed up; nothing is
/// forgotten of it. What this host has no key for is told and left to another.
///
/// With `create: true` a repository that is not there is made, with a recovery kit beside it; a password
/// file that is missing then is made up. Paths count from the policy's file.
///
/// Exit code, the first that applies: 1 something failed; 20 the drill failed; 22 more would be lost than
/// promised; 21 it takes longer to have it back than promised; 23 the drill proved nothing; 3 something
/// could not be read; 0. And 10 or 12 if the repository is not there or does not open.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast run policies/quickstart.yaml
  holdfast run /etc/holdfast/shop.yaml --source db --no-drill
  holdfast run /etc/holdfast/shop.yaml --dry-run")]
pub(crate) struct RunArgs {
    /// A policy
    #[arg(value_name = "POLICY")]
    pub(crate) policy: PathBuf,
    /// Only the source with this name; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Vec<String>,
    /// Drill at the end, also if the policy drills at times of its own
    #[arg(long, conflicts_with = "no_drill")]
    pub(crate) drill: bool,
    /// Do not drill
    #[arg(long)]
    pub(crate) no_drill: bool,
    /// Say what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) remembering: Remembering,
}

/// Where is remembered what was done.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Remembering {
    /// Remember runs in PLACE: a file, or postgres://USER@HOST/DATABASE [default: ~/.local/state/holdfast/catalog.sqlite, or HOLDFAST_CATALOG]
    #[arg(long, value_name = "PLACE")]
    pub(crate) catalog: Option<OsString>,
    /// Where the record of a drill goes if the repository does not take it
    #[arg(long, value_name = "DIR")]
    pub(crate) evidence: Option<PathBuf>,
}
