//! The options of `policy`.

use clap::{Args, Subcommand};
use jiff::civil::Date;
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
/// opened by the key that forgets, each snapshot is told with the rules that keep it. Where it can be
/// read, bytes and requests of a month are foreseen for each repository, the room that a drill takes
/// is compared with what scratch has, and the log of clusters with how fast the last drill replayed
/// it. What could not be looked at is said.
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

/// Say what on this machine and in its accounts of buckets no policy backs up.
///
/// Looked at are the file systems that are mounted, without those that hold no data of their own,
/// and the clusters of PostgreSQL that run. A file system is protected where a policy backs up its
/// top or a folder above it, and partly where it backs up folders in it. A cluster is protected where
/// the server of a policy's source is this machine, at its port. Where a policy backs up a bucket, the
/// account is asked for the names of all that it has; a bucket that holds backups needs none.
///
/// Exit code 1: something is not protected. 3: an account does not say what it has. What nobody wants
/// back is left out with --ignore, for a time and with a reason; after that day it counts again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast policy coverage /etc/holdfast/*.yaml
  holdfast policy coverage shop.yaml --ignore '/mnt/cache=2027-06-30: can be made anew'
  holdfast policy coverage shop.yaml --ignore 's3://tmp=2027-06-30: emptied each night'")]
pub(crate) struct PolicyCoverageArgs {
    /// Policies
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Leave out a file system, a cluster or a bucket, as they are listed, up to a day, and say why; may be
    /// given several times
    #[arg(long, value_name = "PATH=DATE:REASON", value_parser = ignored)]
    pub(crate) ignore: Vec<Ignored>,
    /// Do not ask accounts which buckets they have
    #[arg(long)]
    pub(crate) offline: bool,
}

/// Something that nobody wants back, for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ignored {
    /// As it is listed.
    pub(crate) path: String,
    /// The last day on which it is left out.
    pub(crate) until: Date,
    /// Why.
    pub(crate) reason: String,
}

/// Reads what is left out; a day and a reason have to be there. A path may hold the sign that ends it.
fn ignored(text: &str) -> Result<Ignored, String> {
    const WRONG: &str =
        "write what is left out, until when, and the reason: '/mnt/cache=2027-06-30: can be made anew'";
    let at = |(at, _): (usize, &str)| {
        let (until, reason) = text[at + 1..].split_once(':')?;
        Some((&text[..at], until.trim().parse::<Date>().ok()?, reason.trim()))
    };
    match text.match_indices('=').find_map(at) {
        Some((path, until, reason))
            if (path.starts_with('/') || path.starts_with("s3://")) && !reason.is_empty() =>
        {
            Ok(Ignored { path: path.to_owned(), until, reason: reason.to_owned() })
        }
        _ => Err(WRONG.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_names_a_day_and_a_reason() {
        let read = |text: &str| ignored(text).map(|it| format!("{} {} {}", it.path, it.until, it.reason));
        assert_eq!(read("/a=2027-06-30: can go"), Ok("/a 2027-06-30 can go".to_owned()));
        assert_eq!(read("/a=b=2027-06-30:x: y"), Ok("/a=b 2027-06-30 x: y".to_owned()));
        let bucket = "s3://tmp?endpoint=http://h:1=2027-01-01: x";
        assert_eq!(read(bucket), Ok("s3://tmp?endpoint=http://h:1 2027-01-01 x".to_owned()));
        for wrong in ["/a", "/a=x", "/a=2027-06-30", "/a=2027-06-30: ", "a=2027-06-30: x", "/a=2027-13-01: x"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
