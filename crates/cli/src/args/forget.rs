//! The options of `forget`.

use super::{Pick, PruneHow, group_by};
use crate::engine::maintain::{GroupBy, KeepCount, KeepLimit, KeepPolicy, KeepRule, KeepSpan, Period};
use crate::settings;
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// Forget snapshots: those that are named, or those that no rule keeps.
///
/// What is forgotten is not shown any more, and comes back with --undo until a prune has passed;
/// the next prune frees what only it needs. Other commands may run meanwhile.
///
/// With rules (--keep-...) all snapshots are put into groups, and of each group is kept what any
/// rule keeps. The rules are those of restic, in local time. A snapshot that is incomplete, or has half
/// the files or bytes of the last whole one of its source or less, does not count: a rule that keeps
/// it keeps another one besides. The newest whole one of a source is always kept, and so is what is
/// held. Whose time is doubtful is forgotten by its id only. --delete-after is stronger than all of that but
/// what is held.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast forget --keep-daily 14 --keep-weekly 8 --keep-monthly 12 --dry-run
  holdfast forget --keep-within 7d --keep-within-monthly 1y --keep-tag release --prune
  holdfast forget 3f2a91bc 77c01d2e
  holdfast forget --undo 3f2a91bc

If much was removed from a source on purpose, say so once, and its smaller snapshots count again:
  holdfast tag 3f2a91bc --add size-accepted")]
pub(crate) struct ForgetArgs {
    /// A snapshot's id or the beginning of one, or `latest`
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<OsString>,
    /// Tell what would be forgotten, change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Prune afterwards, with the options of `holdfast prune`
    #[arg(long, conflicts_with = "undo")]
    pub(crate) prune: bool,
    /// Bring back what was forgotten, as long as no prune has passed; alone, list what can come back
    #[arg(long, conflicts_with_all = ["host", "tag", "source", "path", "group_by"])]
    pub(crate) undo: bool,
    /// Forget the newest whole, or newest proven, snapshot of a source too, if it is named
    #[arg(long, requires = "snapshots", conflicts_with = "undo")]
    pub(crate) unsafe_allow_remove_newest: bool,
    /// Apply the rules to groups of the same host, paths, tags or source; several with commas,
    /// '' for no groups [default: host,paths]
    #[arg(short, long, value_name = "WHAT", value_parser = group_by, conflicts_with = "snapshots")]
    pub(crate) group_by: Option<GroupBy>,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// Only snapshots that hold this path; may be given several times
    #[arg(long, value_name = "PATH", conflicts_with = "snapshots")]
    pub(crate) path: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) keep: Keep,
    #[command(flatten)]
    pub(crate) how: PruneHow,
}

/// The rules that say what is kept. N may be `unlimited`.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What is kept")]
pub(crate) struct Keep {
    /// Keep the newest N
    #[arg(short = 'l', long, value_name = "N", value_parser = keep_count)]
    keep_last: Option<KeepCount>,
    /// Keep the newest of each of the last N hours that have one
    #[arg(long, value_name = "N", value_parser = keep_count)]
    keep_hourly: Option<KeepCount>,
    /// The same for days
    #[arg(short = 'd', long, value_name = "N", value_parser = keep_count)]
    keep_daily: Option<KeepCount>,
    /// The same for weeks, which begin with Monday
    #[arg(short = 'w', long, value_name = "N", value_parser = keep_count)]
    keep_weekly: Option<KeepCount>,
    /// The same for months
    #[arg(short = 'm', long, value_name = "N", value_parser = keep_count)]
    keep_monthly: Option<KeepCount>,
    /// The same for years
    #[arg(short = 'y', long, value_name = "N", value_parser = keep_count)]
    keep_yearly: Option<KeepCount>,
    /// Keep all that are not older than this before the newest: 1y5m7d2h, where m are months
    #[arg(long, value_name = "SPAN", value_parser = keep_span)]
    keep_within: Option<KeepSpan>,
    /// Keep the newest of each hour that is not older than this
    #[arg(long, value_name = "SPAN", value_parser = keep_span)]
    keep_within_hourly: Option<KeepSpan>,
    /// The same for days
    #[arg(long, value_name = "SPAN", value_parser = keep_span)]
    keep_within_daily: Option<KeepSpan>,
    /// The same for weeks
    #[arg(long, value_name = "SPAN", value_parser = keep_span)]
    keep_within_weekly: Option<KeepSpan>,
    /// The same for months
    #[arg(long, value_name = "SPAN", value_parser = keep_span)]
    keep_within_monthly: Option<KeepSpan>,
    /// The same for years
    #[arg(long, value_name = "SPAN", value_parser = keep_span)]
    keep_within_yearly: Option<KeepSpan>,
    /// Forget all that is older than this, whatever a rule keeps, the last one of a source too; only a hold is
    /// stronger. Told two weeks before. Alone it keeps all that is younger. With --prune databases' log that is
    /// older goes too: all of it, or with --source that of databases that were backed up as nothing else
    #[arg(long, value_name = "SPAN", value_parser = keep_span)]
    delete_after: Option<KeepSpan>,
    /// Keep all with this tag, or with all of several: a,b; may be given several times
    #[arg(long, value_name = "TAG[,TAG]", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    keep_tag: Vec<String>,
}

impl Keep {
    /// What is older goes, whatever is kept.
    pub(crate) const fn delete_after(&self) -> Option<KeepSpan> {
        self.delete_after
    }

    /// Whether anything is stated.
    pub(crate) fn is_empty(&self) -> bool {
        self.policy().is_empty() && self.delete_after.is_none()
    }

    /// The policy that the options state.
    pub(crate) fn policy(&self) -> KeepPolicy {
        use Period::{Day, Each, Hour, Month, Week, Year};
        let counts = [
            (Each, self.keep_last),
            (Hour, self.keep_hourly),
            (Day, self.keep_daily),
            (Week, self.keep_weekly),
            (Month, self.keep_monthly),
            (Year, self.keep_yearly),
        ];
        let spans = [
            (Each, self.keep_within),
            (Hour, self.keep_within_hourly),
            (Day, self.keep_within_daily),
            (Week, self.keep_within_weekly),
            (Month, self.keep_within_monthly),
            (Year, self.keep_within_yearly),
        ];
        let counts = counts.into_iter().filter_map(|(of, count)| Some((of, KeepLimit::Newest(count?))));
        let spans = spans.into_iter().filter_map(|(of, span)| Some((of, KeepLimit::Within(span?))));
        let tags = self.keep_tag.iter().map(|tags| settings::split_tags(std::slice::from_ref(tags)));
        KeepPolicy {
            rules: counts.chain(spans).map(|(of, limit)| KeepRule { of, limit }).collect(),
            tags: tags.filter(|tags| !tags.is_empty()).collect(),
        }
    }
}

fn keep_count(text: &str) -> Result<KeepCount, String> {
    text.parse()
}

pub(super) fn keep_span(text: &str) -> Result<KeepSpan, String> {
    text.parse()
}
