//! The options of `policy`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Read policies: what is wrong with them, what they come down to, and what has none.
///
/// A policy is a YAML file that says what is backed up, where to, when, how long it is kept, what is
/// promised, and how the promise is proved. Nothing here changes anything.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "\
Examples:
  holdfast policy check /etc/holdfast/*.yaml
  holdfast policy plan shop.yaml"
)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    pub(crate) verb: PolicyVerb,
}

/// What to do with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVerb {
    Check(PolicyCheckArgs),
    Plan(PolicyPlanArgs),
    /// Print the JSON Schema of a policy, for editors
    Schema,
    Coverage(PolicyCoverageArgs),
}

/// Say what is wrong with policies, and what is unwise.
///
/// Each mistake is told with its line and the word that was meant. What could be carried out and had
/// better not is told too: an error can never come out as it is written, a warning may be meant.
///
/// Exit code 2: a mistake. 1: an error, or with --strict a warning. 0: nothing, or warnings.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast policy check /etc/holdfast/*.yaml
  holdfast policy check --strict shop.yaml")]
pub(crate) struct PolicyCheckArgs {
    /// Policies
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Warnings count as errors
    #[arg(long)]
    pub(crate) strict: bool,
}

/// Say what a policy comes down to: when what runs, which key does it, what is kept and why.
///
/// A key that is missing means that its activity is not for this host. Where the repository can be
/// opened by the key that forgets, each snapshot is told with the rules that keep it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast policy plan shop.yaml
  holdfast policy plan shop.yaml -n 10 --json")]
pub(crate) struct PolicyPlanArgs {
    /// A policy
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Show the next N runs of each schedule
    #[arg(short = 'n', long = "next", value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) next: u16,
    /// Do not look into the repository
    #[arg(long)]
    pub(crate) offline: bool,
}

/// Say what on this machine no policy backs up.
///
/// Looked at are the file systems that are mounted, without those that hold no data of their own,
/// and the clusters of PostgreSQL that run. A file system is protected where a policy backs up its
/// top or a folder above it, and partly where it backs up folders in it. A cluster is protected where
/// the server of a policy's source is this machine, at its port. Buckets are not looked at: which
/// there are only their provider knows.
///
/// Exit code 1: something is not protected. What nobody wants back is left out with --ignore, and why.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast policy coverage /etc/holdfast/*.yaml
  holdfast policy coverage shop.yaml --ignore '/mnt/cache=can be made anew'")]
pub(crate) struct PolicyCoverageArgs {
    /// Policies
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Leave out a place of a file system or the folder of a cluster, and say why; may be given several times
    #[arg(long, value_name = "PATH=REASON", value_parser = ignored)]
    pub(crate) ignore: Vec<(PathBuf, String)>,
}

/// Reads what is left out; a reason has to be there.
fn ignored(text: &str) -> Result<(PathBuf, String), String> {
    match text.split_once('=').map(|(path, reason)| (path, reason.trim())) {
        Some((path, reason)) if path.starts_with('/') && !reason.is_empty() => {
            Ok((PathBuf::from(path), reason.to_owned()))
        }
        _ => Err("write an absolute path and a reason: '/mnt/cache=can be made anew'".to_owned()),
    }
}
