//! The recovery kit: what somebody needs who has nothing but the repository.
//!
//! It is meant to be printed and kept elsewhere. On purpose not in it: secrets.

use super::spelling::quoted;
use super::version::{VERSION, format_name};
use crate::engine::Secret;
use crate::fault::Fault;
use crate::ink::escape;
use aws_lc_rs::digest::{SHA256, digest};
use holdfast_core::id::hex;
use holdfast_core::keys::Role;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What a kit tells.
#[derive(Debug, Clone)]
pub(crate) struct Kit<'a> {
    pub(crate) location: &'a str,
    pub(crate) id: &'a str,
    pub(crate) host: &'a str,
    pub(crate) opens: Opens<'a>,
    /// What people call the key; empty where it does not matter.
    pub(crate) key: &'a str,
    /// What its member may do.
    pub(crate) role: Role,
    /// SHA-256 of this program, where it could be read.
    pub(crate) program: Option<String>,
}

/// What opens the repository.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Opens<'a> {
    Password,
    KeyFile,
    /// A key of the transit engine of Vault, which opens the key file in the slot.
    Transit(&'a str),
}

impl<'a> Opens<'a> {
    pub(crate) fn of(secret: &'a Secret) -> Self {
        match secret {
            Secret::Password(_) => Self::Password,
            Secret::KeyFile(_) => Self::KeyFile,
            Secret::Sealed(_, transit) => Self::Transit(&transit.key),
        }
    }

    /// What is needed, what says so, and where it is.
    fn told(self) -> (String, String, &'static str) {
        let told = |secret: &str, variable: &str| {
            (secret.to_owned(), variable.to_owned(), "kept where? ______________________________________")
        };
        match self {
            Self::Password => {
                told("the password", "HOLDFAST_PASSWORD_FILE=/path/to/a/file/with/the/password")
            }
            Self::KeyFile => told("the key file", "HOLDFAST_KEY_FILE=/path/to/the/key-file"),
            Self::Transit(key) => (
                format!("leave to decrypt with {key} in the server of Vault or OpenBao"),
                format!(
                    "VAULT_ADDR=https://vault.example:8200 VAULT_TOKEN_FILE=/path/to/a/token HOLDFAST_KEY_TRANSIT={}",
                    quoted(OsStr::new(key))
                ),
                "its address? ______________________________",
            ),
        }
    }
}

impl Kit<'_> {
    /// Writes the text.
    pub(crate) fn text(&self) -> String {
        let Self { location, id, host, opens, key, role, program } = self;
        let repository = quoted(OsStr::new(location));
        let (secret, variable, kept) = opens.told();
        let program = program.as_deref().unwrap_or("not known");
        let key = if key.is_empty() {
            String::new()
        } else {
            format!(" of the key \"{}\"", escape(key.as_bytes()))
        };
        format!(
            "\
HOLDFAST RECOVERY KIT

Keep this apart from the machine and from the repository. It holds no secrets.

Repository     {location}
Its id         {id}
Made on host   {host}
Program        holdfast {VERSION}, repository format {}
  SHA-256      {program}

{}
Needed to {}:
  1. the files of the repository, all of them;
  2. {secret}{key}: {kept}
  3. the program holdfast, this version or a later one.
{}

The commands:
  export HOLDFAST_REPOSITORY={repository}
  export {variable}
  holdfast snapshots
{}",
            format_name(),
            can(*role),
            purpose(*role),
            without(*role),
            commands(*role)
        )
    }
}

/// What a key can do and what it cannot; nothing where it can do all.
const fn can(role: Role) -> &'static str {
    match role {
        Role::Owner => "",
        Role::Writer => {
            "
This key is a WRITER's. It backs up. It cannot read any backup, not even those
that it made itself: nothing can be restored with it. For that an owner's or a
reader's key is needed.
"
        }
        Role::Maintainer => {
            "
This key is a MAINTAINER's. It forgets, prunes, repairs and checks. It sees
neither names nor contents of files: nothing can be restored with it, and it
backs up nothing. To restore, an owner's or a reader's key is needed.
"
        }
        Role::LogReader => {
            "
This key is a READER:WAL's, for a server that recovers or stands by. It fetches
the log of databases. It sees and opens no backup: nothing can be restored with
it. For that an owner's or a reader's key is needed.
"
        }
        Role::Reader => {
            "
This key is a READER's. It restores, dumps, checks and drills. It backs up
nothing, and forgets and frees nothing.
"
        }
    }
}

const fn purpose(role: Role) -> &'static str {
    match role {
        Role::Owner | Role::Reader => "restore",
        Role::Writer => "back up",
        Role::Maintainer => "maintain",
        Role::LogReader => "fetch the log",
    }
}

const fn without(role: Role) -> &'static str {
    match role {
        Role::Owner => "Without the second nobody can read the backups: there is no other way in.",
        Role::Reader => {
            "Without the second, or another reader's or owner's key, nobody can read the backups."
        }
        Role::Writer | Role::Maintainer | Role::LogReader => {
            "If the second is lost, an owner makes another key and removes this one."
        }
    }
}

const fn commands(role: Role) -> &'static str {
    match role {
        Role::Owner | Role::Reader => {
            "  holdfast ls latest
  holdfast restore latest --target /an/empty/folder --verify
  holdfast check --read-data
"
        }
        Role::Writer => "  holdfast backup /path/to/what/is/backed/up\n",
        Role::Maintainer => "  holdfast forget --help\n  holdfast prune\n  holdfast check\n",
        Role::LogReader => "  holdfast wal status\n  holdfast wal fetch --help\n",
    }
}

/// Hashes this program, so that the same one can be found again.
pub(crate) fn program_hash() -> Option<String> {
    let bytes = std::fs::read("/proc/self/exe").ok()?;
    Some(hex(digest(&SHA256, &bytes).as_ref()))
}

/// A file that the kit will go to: made before the repository is, so that the name is known to
/// be good, and taken away again if no kit comes.
#[derive(Debug)]
pub(crate) struct KitFile {
    path: PathBuf,
    file: Option<File>,
}

impl KitFile {
    /// Makes the file; what is there already stays.
    pub(crate) fn reserve(path: &Path) -> Result<Self, Fault> {
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
                let what = format!("cannot make the file {} for the recovery kit", path.display());
                Fault::failed(what, "give --kit a new file in a folder that exists; nothing was changed")
                    .because(&error)
            })?;
        Ok(Self { path: path.to_owned(), file: Some(file) })
    }

    /// Writes the kit, durably; `made` is what is there already if that fails.
    pub(crate) fn write(mut self, text: &str, made: &str) -> Result<(), Fault> {
        let written = self
            .file
            .as_mut()
            .map_or(Ok(()), |file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
        written.map_err(|error| {
            let what = format!("{made}, but the recovery kit {} was not", self.path.display());
            Fault::failed(what, "the same text lies in RECOVER.txt of the repository").because(&error)
        })?;
        self.file = None;
        Ok(())
    }
}

impl Drop for KitFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            // An empty file that stays behind does no harm.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_kit_says_where_what_and_how() {
        let kit = Kit {
            location: "/mnt/my backup",
            id: "abcd",
            host: "web1",
            opens: Opens::KeyFile,
            key: "a\nb",
            role: Role::Owner,
            program: None,
        };
        let text = kit.text();
        for part in [
            "Repository     /mnt/my backup",
            "abcd",
            "REPOSITORY='/mnt/my backup'",
            "HOLDFAST_KEY_FILE",
            "the key file of the key \"a\\nb\": kept where?",
            "restore latest",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains("PASSWORD"));
        let sealed = Kit { opens: Opens::Transit("transit/db2"), ..kit.clone() }.text();
        assert!(sealed.contains("HOLDFAST_KEY_TRANSIT=transit/db2") && !sealed.contains("HOLDFAST_KEY_FILE"));
        let of = |role| Kit { role, ..kit.clone() }.text();
        for role in [Role::Writer, Role::Maintainer] {
            let text = of(role);
            assert!(text.contains("nothing can be restored with it") && !text.contains("restore latest"));
        }
        assert!(of(Role::Reader).contains("restore latest") && of(Role::Writer).contains("holdfast backup"));
    }

    #[test]
    fn a_kit_is_for_its_owner_and_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kit.txt");
        KitFile::reserve(&path).unwrap().write("text", "it was made").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(KitFile::reserve(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "text");
    }

    #[test]
    fn a_kit_that_is_not_written_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kit.txt");
        drop(KitFile::reserve(&path).unwrap());
        assert!(!path.exists());
    }
}
