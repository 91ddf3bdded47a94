//! The options of `key`.

use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// List, add, remove and change the keys that open the repository.
///
/// Each key is a password or a key file of its own, and opens everything. Keep a second one apart
/// from this machine.
///
/// Removing or changing a key keeps out who knows the password alone. It does not keep out who has
/// copied the repository before, or its folder `keys`, and knows the password too: the keys inside
/// stay the same. If that may have happened, make a new repository and back up into that.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast key list
  holdfast key add --label 'sealed envelope'
  holdfast key add --new-key-file /media/usb/holdfast.key --kit /media/usb/recovery-kit.txt
  holdfast key passwd
  holdfast key remove 3f2a91bc")]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    pub(crate) verb: KeyVerb,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// List the keys: id, label, kind, when it was made, what trying one password costs
    #[command(after_help = "Examples:\n  holdfast key list\n  holdfast key list --json")]
    List,
    Add(KeyAddArgs),
    Remove(KeyRemoveArgs),
    Passwd(KeyPasswdArgs),
}

/// Where what opens the repository from now on comes from.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The new key")]
pub(crate) struct NewSecret {
    /// Read the new password from FILE; a newline at its end does not count
    #[arg(long, value_name = "FILE")]
    pub(crate) new_password_file: Option<PathBuf>,
    /// Run COMMAND with sh and take what it prints as the new password
    #[arg(long, value_name = "COMMAND", conflicts_with = "new_password_file")]
    pub(crate) new_password_command: Option<OsString>,
    /// Take the new password from a credential that systemd gave to this service
    #[arg(long, value_name = "NAME")]
    pub(crate) new_password_credential: Option<OsString>,
    /// Take the new password from Vault or OpenBao: secret/data/PATH#FIELD
    #[arg(long, value_name = "PATH#FIELD")]
    pub(crate) new_password_vault: Option<OsString>,
    /// A key file that is a credential of this service opens the repository
    #[arg(long, value_name = "NAME", conflicts_with = "kdf_memory")]
    pub(crate) new_key_credential: Option<OsString>,
    /// A key file whose text is in Vault or OpenBao opens the repository
    #[arg(long, value_name = "PATH#FIELD", conflicts_with = "kdf_memory")]
    pub(crate) new_key_vault: Option<OsString>,
    /// The new key file is sealed by a key of the transit engine of Vault or OpenBao, which opens it
    #[arg(long, value_name = "MOUNT/KEY")]
    pub(crate) new_key_transit: Option<OsString>,
    /// The bytes of FILE open the repository instead of a password
    #[arg(long, value_name = "FILE", conflicts_with_all = ["new_password_file", "new_password_command", "kdf_memory"])]
    pub(crate) new_key_file: Option<PathBuf>,
    /// Memory that trying one password shall cost, in MiB
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) kdf_memory: Option<u32>,
    /// Name of the key
    #[arg(long, value_name = "TEXT")]
    pub(crate) label: Option<String>,
}

/// Add a key, and write a recovery kit for it.
///
/// The new password comes from --new-password-file, --new-password-command or
/// HOLDFAST_NEW_PASSWORD, or is asked for twice. Trying one password costs 64 MiB of memory unless
/// --kdf-memory says otherwise. The key is read back and opened before this ends well.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast key add --label 'sealed envelope' --kit /media/usb/recovery-kit.txt
  head -c 64 /dev/urandom > new.key && holdfast key add --new-key-file new.key")]
pub(crate) struct KeyAddArgs {
    #[command(flatten)]
    pub(crate) new: NewSecret,
    /// Write the recovery kit to FILE, which must not exist, instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) kit: Option<PathBuf>,
}

/// Remove a key.
///
/// The key in use cannot be removed: open the repository with another one. So that several removals
/// at once can never leave a repository without a key, the key in use is first written anew, under
/// another id; its password or file stays the same.
///
/// Who copied the repository before, or its folder `keys`, and knows the removed password still
/// opens that copy, and with the keys inside all that is stored later.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast key list
  holdfast key remove 3f2a91bc
  holdfast --key-file /media/usb/holdfast.key key remove 3f2a91bc")]
pub(crate) struct KeyRemoveArgs {
    /// A key's id or the beginning of one
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// Change the password or key file that opened the repository now.
///
/// The new key is written and proved before the old one is removed; cut off in between, both open.
/// Label and memory cost stay unless they are stated. The old password opens nothing more, but for
/// copies that were made before: see `holdfast key --help`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast key passwd
  holdfast key passwd --new-password-file /root/new.password
  holdfast key passwd --kdf-memory 256 --new-password-file /root/holdfast.password")]
pub(crate) struct KeyPasswdArgs {
    #[command(flatten)]
    pub(crate) new: NewSecret,
}
