//! The options of `copy`, and those that say how the repository is opened that is copied from.

use super::Pick;
use super::backup::{compression_level, pack_size};
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// Another repository, and what opens it. Its keys for S3 are HOLDFAST_FROM_AWS_ACCESS_KEY_ID and
/// HOLDFAST_FROM_AWS_SECRET_ACCESS_KEY, or those of profile= in its URL.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The other repository")]
pub(crate) struct FromArgs {
    /// The repository that is copied from: /path or s3://bucket/prefix
    #[arg(long, value_name = "URL", alias = "from-repo")]
    pub(crate) from: Option<OsString>,
    /// Read its URL from FILE [HOLDFAST_FROM_REPOSITORY_FILE]
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub(crate) from_repository_file: Option<PathBuf>,
    /// Read its password from FILE [HOLDFAST_FROM_PASSWORD_FILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) from_password_file: Option<PathBuf>,
    /// Run COMMAND with sh and take what it prints as its password
    #[arg(long, value_name = "COMMAND", conflicts_with = "from_password_file")]
    pub(crate) from_password_command: Option<OsString>,
    /// Take its password from a credential of this service [HOLDFAST_FROM_PASSWORD_CREDENTIAL]
    #[arg(long, value_name = "NAME")]
    pub(crate) from_password_credential: Option<OsString>,
    /// Take its password from Vault or OpenBao [HOLDFAST_FROM_PASSWORD_VAULT]
    #[arg(long, value_name = "PATH#FIELD")]
    pub(crate) from_password_vault: Option<OsString>,
    /// Open it with a key file that is a credential of this service [HOLDFAST_FROM_KEY_CREDENTIAL]
    #[arg(long, value_name = "NAME")]
    pub(crate) from_key_credential: Option<OsString>,
    /// Open it with a key file whose text is in Vault or OpenBao [HOLDFAST_FROM_KEY_VAULT]
    #[arg(long, value_name = "PATH#FIELD")]
    pub(crate) from_key_vault: Option<OsString>,
    /// Have Vault or OpenBao open its key file first [HOLDFAST_FROM_KEY_TRANSIT]
    #[arg(long, value_name = "MOUNT/KEY")]
    pub(crate) from_key_transit: Option<OsString>,
    /// Open it with the bytes of FILE [HOLDFAST_FROM_KEY_FILE]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from_password_file", "from_password_command"])]
    pub(crate) from_key_file: Option<PathBuf>,
}

impl FromArgs {
    /// Whether an option says what opens it.
    pub(crate) const fn says_what_opens_it(&self) -> bool {
        self.from_password_file.is_some()
            || self.from_password_command.is_some()
            || self.from_password_credential.is_some()
            || self.from_password_vault.is_some()
            || self.from_key_file.is_some()
            || self.from_key_credential.is_some()
            || self.from_key_vault.is_some()
            || self.from_key_transit.is_some()
    }
}

/// Copy snapshots from another repository into this one.
///
/// Every byte is opened and verified on the way and sealed anew for this repository, which has keys of
/// its own. A copy keeps host, paths, tags, times and counts; its id is another. It says where it comes
/// from, so that the next run copies only what is new; what was forgotten here is copied again. What
/// this repository has already is not stored again, and not even read if it was made with
/// `init --from`. An interrupted copy goes on when the same command is run again.
///
/// Without SNAPSHOT all that --host, --tag, --source and --path pick are copied, oldest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Environment:
  HOLDFAST_FROM_REPOSITORY             instead of --from
  HOLDFAST_FROM_REPOSITORY_FILE        instead of --from-repository-file
  HOLDFAST_FROM_PASSWORD               its password; better one of the next three
  HOLDFAST_FROM_PASSWORD_FILE          instead of --from-password-file
  HOLDFAST_FROM_PASSWORD_COMMAND       instead of --from-password-command
  HOLDFAST_FROM_KEY_FILE               instead of --from-key-file
  HOLDFAST_FROM_AWS_ACCESS_KEY_ID      for a bucket, instead of AWS_ACCESS_KEY_ID
  HOLDFAST_FROM_AWS_SECRET_ACCESS_KEY  instead of AWS_SECRET_ACCESS_KEY

Examples:
  holdfast -r s3://offsite/web1 init --from /mnt/backup --from-password-file /root/holdfast.password
  holdfast -r s3://offsite/web1 copy --from /mnt/backup --from-password-file /root/holdfast.password
  holdfast -r /mnt/usb copy latest --host web1 --from /mnt/backup --dry-run")]
pub(crate) struct CopyArgs {
    /// Only these: ids there, beginnings of ids, or `latest`
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<OsString>,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// Only snapshots that hold this path; may be given several times
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Vec<PathBuf>,
    /// Say what would be copied, and store nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// How hard to compress: fastest, auto, better, max or a zstd level from 1 to 22
    #[arg(long, value_name = "MODE", default_value = "auto", value_parser = compression_level)]
    pub(crate) compression: i32,
    /// Store contents in packs of about this size: from 4M to 1G
    #[arg(long, value_name = "SIZE", default_value = "32M", value_parser = pack_size)]
    pub(crate) pack_size: u64,
    #[command(flatten)]
    pub(crate) from: FromArgs,
}
