//! The options of `serve`.

use super::run::Remembering;
use crate::ink::parse_duration;
use clap::Args;
use holdfast_scheduler::catalog::CLAIM_MAX;
use std::path::PathBuf;
use std::time::Duration;

/// Serve policies: run, drill, prune and check them at their times, and stream the logs of their databases.
///
/// A folder stands for the policies in it: files that end with .yaml or .yml. They are read again when they
/// change, and at SIGHUP. A file that cannot be read any more is told, and its policy is served as it was; one that
/// is gone is served no longer.
///
/// What is due is entered into the catalog, once, and done by whichever worker claims it first; never are two
/// runs of one policy done at the same time, nor of one `schedule.group`. Workers on several hosts share a catalog
/// that lies on a server of PostgreSQL. Without the catalog nothing is begun. What becomes due while the one
/// before goes on is skipped. Each job is a process of its own. While a hold stands on something of a policy,
/// nothing of it is pruned or checked.
///
/// SIGTERM or SIGINT: no new jobs; what runs stops at a safe place and is done anew by whoever serves next. A
/// second one ends it at once.
///
/// Exit code: 0 it was asked to stop; 2 no policy could be read at the start. With --once 0 if all that was due is
/// done, else the first that applies of 1, 20, 22, 21, 23, 3.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast serve /etc/holdfast/policies --metrics 127.0.0.1:9187
  holdfast serve shop.yaml --catalog postgres://holdfast@db/holdfast --labels dc1,tape
  holdfast serve /etc/holdfast/policies --once           for a timer of the system, or a CronJob")]
pub(crate) struct ServeArgs {
    /// Policies, or folders of them
    #[arg(value_name = "POLICY", required = true)]
    pub(crate) policies: Vec<PathBuf>,
    /// Do so many jobs at the same time; streams do not count
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: u16,
    /// What this worker is called [default: the host]
    #[arg(long, value_name = "NAME")]
    pub(crate) worker: Option<String>,
    /// What this worker has, for policies that ask for it with `workers`; several with commas
    #[arg(long, value_name = "LABEL", value_delimiter = ',')]
    pub(crate) labels: Vec<String>,
    /// A worker of which nothing is heard for so long is taken for dead, and another does its jobs anew; one that hears
    /// nothing of the catalog stops its own in half of it, so a job that is asked to stop has that long, 55s at most
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = patience)]
    pub(crate) patience: Duration,
    /// Do what is due now, and end; no log is streamed
    #[arg(long)]
    pub(crate) once: bool,
    /// Answer at ADDRESS: /metrics for Prometheus, /healthz while this moves, /readyz while jobs can be done; without
    /// encryption or password, so on loopback or a network of its own
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<String>,
    /// Call the address in FILE each minute while jobs can be done, as a sign of life for a watch outside; how backups
    /// stand says the `heartbeat` of each policy
    #[arg(long, value_name = "FILE")]
    pub(crate) heartbeat_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) remembering: Remembering,
}

/// Reads a time in which a claim can be renewed.
fn patience(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        short if short < Duration::from_secs(2) => Err("it has to be some time: 2s at least".to_owned()),
        long if long > CLAIM_MAX / 2 => Err("nobody is waited for so long: 12h at most".to_owned()),
        time => Ok(time),
    }
}
