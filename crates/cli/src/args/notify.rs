//! The options of `notify` and `silence`.

use super::Remembering;
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Try whether people hear of it when something is wrong.
///
/// A policy says who is told: `notify: [ { slack: ... }, { webhook: ... }, { mail: ... }, { command: ... } ]`, each with
/// `from: warning`, `high` or `disaster`. `holdfast run` and `holdfast drill` tell at their ends.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast notify test /etc/holdfast/shop.yaml")]
pub(crate) struct NotifyArgs {
    #[command(subcommand)]
    pub(crate) verb: NotifyVerb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum NotifyVerb {
    Test(NotifyTestArgs),
}

/// Send a message that is marked as a test by every channel of a policy, now.
///
/// What came of it is remembered, and shown by `holdfast status`. Once a month a test goes by itself.
///
/// Exit code: 1 if a channel did not take it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast notify test /etc/holdfast/shop.yaml")]
pub(crate) struct NotifyTestArgs {
    /// A policy
    #[arg(value_name = "POLICY")]
    pub(crate) policy: PathBuf,
    #[command(flatten)]
    pub(crate) remembering: Remembering,
}

/// Keep alerts of a policy, or of one source or copy of it, from being told for a while.
///
/// Use it before work on a system of which you know that backups will fail. A disaster is told all the
/// same: no proven restore point, or a repository that is out of reach. What is still wrong when the
/// silence ends is told then; `holdfast status` and its exit code do not change.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast silence shop/db --for 2h --reason 'upgrade of the server'
  holdfast silence shop --for 30m --reason 'the network is down for work'
  holdfast silence --list
  holdfast silence --end 3")]
pub(crate) struct SilenceArgs {
    /// POLICY, or POLICY/SOURCE or POLICY/COPY
    #[arg(value_name = "POLICY[/SOURCE]", required_unless_present_any = ["list", "end"], requires = "time", requires = "reason")]
    pub(crate) subject: Option<String>,
    /// For how long: 30m, 2h, 1d; 14 days at most
    #[arg(long = "for", value_name = "TIME", value_parser = crate::ink::parse_duration)]
    pub(crate) time: Option<Duration>,
    /// Why, for whoever wonders
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// List the silences that stand
    #[arg(long, conflicts_with_all = ["subject", "time", "reason", "end"])]
    pub(crate) list: bool,
    /// End the silence with this number before its time
    #[arg(long, value_name = "ID", conflicts_with_all = ["subject", "time", "reason"])]
    pub(crate) end: Option<i64>,
    /// What is remembered is in PLACE: a file, or postgres://USER@HOST/DATABASE [default: ~/.local/state/holdfast/catalog.sqlite, or HOLDFAST_CATALOG]
    #[arg(long, value_name = "PLACE")]
    pub(crate) catalog: Option<OsString>,
}
