//! The options of `status`.

use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// Say how things stand: what is backed up, how old that is, and whether it was seen to come back.
///
/// Asks the repositories and copies of the policies, and looks at what this host remembers of its runs.
/// Each thing that is wrong has four lines: why, what to do, what not to do, and how to have things
/// back all the same.
///
/// Exit code, for monitoring: 0 all is well; 1 warning: degraded, no promise broken; 2 high or disaster:
/// a promise is broken; 3 nobody can tell, also if it was asked for in a wrong way.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast status
  holdfast status /etc/holdfast/shop.yaml
  holdfast status --metrics /var/lib/node_exporter/holdfast.prom")]
pub(crate) struct StatusArgs {
    /// Policies: files, or names that this host remembers [default: all that it remembers]
    #[arg(value_name = "POLICY")]
    pub(crate) policies: Vec<OsString>,
    /// Write it for Prometheus too, to FILE, at once and whole; policies/alerts.rules.yml has alerts on it
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics: Option<PathBuf>,
    /// Forget that there is the policy with this name; asks nothing else
    #[arg(long, value_name = "NAME", conflicts_with_all = ["policies", "metrics"])]
    pub(crate) forget: Option<String>,
    /// What is remembered is in PLACE: a file, or postgres://USER@HOST/DATABASE [default: ~/.local/state/holdfast/catalog.sqlite, or HOLDFAST_CATALOG]
    #[arg(long, value_name = "PLACE")]
    pub(crate) catalog: Option<OsString>,
}
