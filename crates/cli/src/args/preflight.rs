//! The options of `preflight`.

use clap::{Args, ValueEnum};
use std::ffi::OsString;

/// Find out whether a place can keep a repository, before a night depends on it.
///
/// In a bucket a handful of small objects below `probe/` are written, raced for, listed and deleted
/// again, and the bucket's rules are read: lifecycle, versions, locks, replication. Exit code 0:
/// nothing stands against it. The rights that a role needs there can be printed as a policy.
///
/// Of a cluster of PostgreSQL it finds out whether it can be backed up: version, role, pg_hba.conf,
/// wal_level, senders, checksums. Where something is missing it prints the SQL that puts it right.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast preflight s3://backups/web1
  holdfast preflight /mnt/backup
  holdfast preflight 'postgres://backup@db1?sslmode=verify-full'
  holdfast preflight s3://backups/web1 --print-policy writer > writer.json
  holdfast preflight s3://backups/web1 --print-policy reader --principal arn:aws:iam::123456789012:user/check")]
pub(crate) struct PreflightArgs {
    /// Where a repository is or could be, or a cluster; the stated repository if left out
    #[arg(value_name = "URL")]
    pub(crate) place: Option<OsString>,
    /// Print the bucket policy that a role needs, and ask the server nothing
    #[arg(long, value_name = "ROLE")]
    pub(crate) print_policy: Option<PrintedRole>,
    /// Let it add below this member's own names only: its id, 32 digits
    #[arg(long, value_name = "ID", requires = "print_policy", value_parser = member)]
    pub(crate) member: Option<String>,
    /// Whom the policy is for, an ARN; without it it is one to attach to a user or role
    #[arg(long, value_name = "ARN", requires = "print_policy")]
    pub(crate) principal: Option<String>,
}

/// Reads the id of a member.
fn member(text: &str) -> Result<String, String> {
    let is_id = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_id { Ok(text.to_owned()) } else { Err("it is 32 hexadecimal digits in lower case".to_owned()) }
}

/// A role that a policy can be printed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrintedRole {
    /// Backs up; can neither replace nor delete
    Writer,
    /// Forgets and prunes
    Maintainer,
    /// Restores and checks
    Reader,
    /// Fetches the log of databases
    #[value(name = "reader:wal")]
    LogReader,
}
