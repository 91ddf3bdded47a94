//! The options of `key`.

use clap::{Args, Subcommand, ValueEnum};
use holdfast_core::keys::Role;
use std::ffi::OsString;
use std::path::PathBuf;

/// List, add, remove and change the keys that open the repository, and who holds which.
///
/// A key is a password or a key file. It opens the keys of a member, and a member has a role, which
/// says what its keys can do at all:
///
/// `owner`: everything; admits and removes members.
///
/// `writer`: backs up, and cannot read any backup, not even its own.
///
/// `maintainer`: forgets, prunes, repairs and checks; sees neither names nor contents of files.
///
/// `reader`: restores and drills; writes nothing but evidence.
///
/// `reader:wal`: fetches the log of databases and nothing else, for the `restore_command` of a server that
/// recovers or stands by.
///
/// Give each host a writer's key of its own and keep the owner's key apart from all of them: who
/// steals the host then neither reads the backups nor, where the storage lets it only add objects,
/// destroys them. Keep a second owner's key, too.
///
/// Removing or changing a key keeps out who knows the password alone. It does not keep out who has
/// copied the repository before, or its folder `keys`, and knows the password too: the keys inside
/// stay the same. If that may have happened, remove the member and rotate the keys.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast key list
  holdfast key add --label 'sealed envelope'
  holdfast key add --role writer --label web1 --new-key-file web1.key
  holdfast key add --new-key-file /media/usb/holdfast.key --kit /media/usb/recovery-kit.txt
  holdfast key passwd
  holdfast key remove 3f2a91bc
  holdfast key remove --member 91d2c07e --rotate
  holdfast key rotate")]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    pub(crate) verb: KeyVerb,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// List the keys: id, label, role, member, kind, when it was made, what trying one password costs
    #[command(after_help = "Examples:\n  holdfast key list\n  holdfast key list --json")]
    List,
    Add(KeyAddArgs),
    Remove(KeyRemoveArgs),
    /// Seal everything from now on with new keys, for all members
    ///
    /// Nothing is uploaded again, and what was stored before stays readable for those who could read
    /// it. Who was removed before can open nothing that is sealed from now on. Runs that are under
    /// way finish with the old keys and count. Cut off, the same command ends it; until then the old
    /// keys go on. What is identified stays identified: contents that are the same are still stored once.
    #[command(after_help = "Examples:\n  holdfast key rotate\n  holdfast key rotate --json")]
    Rotate,
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
    /// The new key file is sealed by this key of the transit engine of Vault or OpenBao; without a file one
    /// is made, sealed by it, that lies in the repository alone
    #[arg(long, value_name = "MOUNT/KEY", conflicts_with_all = ["new_password_file", "new_password_command", "kdf_memory"])]
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

/// What a new member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MemberRole {
    /// Everything; admits and removes members
    Owner,
    /// Backs up and reads nothing
    Writer,
    /// Forgets, prunes, repairs and checks without seeing names or contents
    Maintainer,
    /// Restores and drills, writes nothing but evidence
    Reader,
    /// Fetches the log of databases and nothing else
    #[value(name = "reader:wal")]
    LogReader,
}

impl From<MemberRole> for Role {
    fn from(role: MemberRole) -> Self {
        match role {
            MemberRole::Owner => Self::Owner,
            MemberRole::Writer => Self::Writer,
            MemberRole::Maintainer => Self::Maintainer,
            MemberRole::Reader => Self::Reader,
            MemberRole::LogReader => Self::LogReader,
        }
    }
}

/// Add a key, and write a recovery kit for it.
///
/// Without --role it is another key of the member that is in use, and can do the same. With --role a
/// new member is admitted, with keys of its own, which only an owner can do. Give each host a member
/// of its own, so that each can be removed alone.
///
/// The new password comes from --new-password-file, --new-password-command or
/// HOLDFAST_NEW_PASSWORD, or is asked for twice. Trying one password costs 64 MiB of memory unless
/// --kdf-memory says otherwise. The key is read back and opened before this ends well.
///
/// With --new-key-transit alone nothing has to be kept but the leave to use that key of the transit engine
/// of Vault or OpenBao: a new key file goes into the repository as that key seals it, and --key-transit
/// opens it. Who may decrypt with it has this member's keys, so make one for each member. The server makes
/// a key that is not there where its policy lets the token create any.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast key add --role reader --label restores --new-key-transit transit/restores
  holdfast key add --label 'sealed envelope' --kit /media/usb/recovery-kit.txt
  holdfast key add --role writer --label web1 --new-password-file web1.password
  holdfast key add --role reader:wal --label db2 --new-key-file db2.key
  (umask 077; head -c 64 /dev/urandom > new.key) && holdfast key add --role reader --new-key-file new.key")]
pub(crate) struct KeyAddArgs {
    /// Admit a new member that may do this
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<MemberRole>,
    #[command(flatten)]
    pub(crate) new: NewSecret,
    /// Write the recovery kit to FILE, which must not exist, instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) kit: Option<PathBuf>,
}

/// Remove a key, or a member with all its keys.
///
/// The key in use cannot be removed: open the repository with another one. So that several removals
/// at once can never leave a repository without a key, the key in use is first written anew, under
/// another id; its password or file stays the same.
///
/// With the last key of another member the member itself is removed, as with --member: its open
/// sessions are ended, and nothing counts that it commits later. What it had committed stays, and so
/// do its log segments and its evidence. Cut off, the same command goes on, and so does the next prune.
///
/// A member that was removed keeps what it knew. Take its right to write to the repository's place
/// away, and rotate the keys (--rotate, or holdfast key rotate), so that it cannot open what is
/// stored from now on. Who copied the repository before and knows the removed password opens that copy.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast key list
  holdfast key remove 3f2a91bc
  holdfast key remove --member 91d2c07e --rotate
  holdfast --key-file /media/usb/holdfast.key key remove 3f2a91bc")]
pub(crate) struct KeyRemoveArgs {
    /// A key's id or the beginning of one
    #[arg(value_name = "ID", required_unless_present = "member", conflicts_with = "member")]
    pub(crate) id: Option<String>,
    /// Remove the member with this id or beginning of one, and all its keys
    #[arg(long, value_name = "MEMBER")]
    pub(crate) member: Option<String>,
    /// Rotate the keys once the member is removed
    #[arg(long)]
    pub(crate) rotate: bool,
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
