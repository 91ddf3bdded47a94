//! The options of `drill`.

use super::run::Remembering;
use clap::{Args, ValueEnum};
use holdfast_engine::proof::Level;
use std::path::PathBuf;

/// Prove that backups restore: restore them, look whether all of it came back, measure, and leave a record.
///
/// What is restored and from where, how much is looked at and where it is restored to, the policy says.
/// The restore is the ordinary one, with nothing but the repository's URL and the key that reads it. Several
/// repositories take turns. What was restored is removed again, whatever happens; it holds what production
/// holds, so a drill runs on hosts that may hold that (`drill.hosts`).
///
/// Exit code, the first that applies: 20 it does not come back; 22 more would be lost than promised; 21 it
/// takes longer than promised; 23 nothing was proved, because something was missing here; 0 it comes back.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast drill /etc/holdfast/shop.yaml
  holdfast drill shop.yaml --due                       for a timer that runs more often than drills are due
  holdfast drill shop.yaml --source db --to time=2026-01-31T02:58:30+09:00
  holdfast drill shop.yaml --from offsite --junit drill.xml --markdown \"$GITHUB_STEP_SUMMARY\"")]
pub(crate) struct DrillArgs {
    /// A policy
    #[arg(value_name = "POLICY")]
    pub(crate) policy: PathBuf,
    /// Drill now, whether it is due or not: the default, and takes back an earlier --due
    #[arg(long, overrides_with = "due")]
    pub(crate) now: bool,
    /// Drill only if it is due by the policy's own time for it; else say when it is
    #[arg(long, overrides_with = "now")]
    pub(crate) due: bool,
    /// Only the source with this name; may be given several times [default: those of the policy]
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Vec<String>,
    /// From this copy, or from `repository` [default: those of the policy in turn]
    #[arg(long, value_name = "NAME")]
    pub(crate) from: Option<String>,
    /// This snapshot: an id or the beginning of one [default: as the policy picks]
    #[arg(long, value_name = "SNAPSHOT")]
    pub(crate) snapshot: Option<String>,
    /// To this moment along the log of a cluster, as `restore --to`
    #[arg(long, value_name = "TARGET")]
    pub(crate) to: Option<String>,
    /// How much is proved [default: as the policy says]
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub(crate) level: Option<LevelWord>,
    /// Write the result to FILE as JUnit XML, for a CI server
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Write it to FILE as Markdown; what is there stays before it
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Write it to FILE as one HTML page
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) remembering: Remembering,
}

/// How much a drill proves; each takes in those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LevelWord {
    /// Every piece can be read
    Read,
    /// Every byte and attribute is as it was recorded
    Restore,
    /// What was restored starts
    Boot,
    /// It is sound inside
    Check,
    /// It is what its users expect
    Full,
}

impl From<LevelWord> for Level {
    fn from(word: LevelWord) -> Self {
        match word {
            LevelWord::Read => Self::Read,
            LevelWord::Restore => Self::Restore,
            LevelWord::Boot => Self::Boot,
            LevelWord::Check => Self::Check,
            LevelWord::Full => Self::Full,
        }
    }
}
