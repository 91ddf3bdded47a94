//! The directories of a local store: opened without following links, made durably, removed when
//! empty.
//!
//! On purpose not here: objects, and what their names mean.

use super::failure::{errno_of, is_absent};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// How often a step is tried while other processes keep removing the directory it needs.
const ATTEMPTS_MAX: usize = 64;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The root directory of a store and what is known of those below it.
#[derive(Debug)]
pub(super) struct Folders {
    path: PathBuf,
    root: File,
    modes: Modes,
    durable: Mutex<HashMap<String, Identity>>,
}

/// Who may do what with the files and directories that the store makes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Modes {
    /// The group that shares the store, if the root directory is open to its group.
    pub(super) group: Option<Gid>,
    /// For directories.
    pub(super) folder: Mode,
    /// For files that are still written.
    pub(super) draft: Mode,
    /// For objects: nobody is to write them, not even their owner.
    pub(super) object: Mode,
}

/// Which directory it is, not just what it is called: one that was removed and made again has
/// another birth, even if the file system gave it the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    number: u64,
    birth: Option<SystemTime>,
}

impl Modes {
    fn of(root: &File) -> io::Result<Self> {
        let root = root.metadata()?;
        let bits = Mode::from_bits_truncate;
        let shared = root.mode() & 0o070 == 0o070;
        Ok(if shared {
            // Set-group-id on directories hands the group down to all that is made below.
            let group = Some(Gid::from_raw(root.gid()));
            Self { group, folder: bits(0o2770), draft: bits(0o660), object: bits(0o440) }
        } else {
            Self { group: None, folder: bits(0o700), draft: bits(0o600), object: bits(0o400) }
        })
    }

    /// Gives a new file or directory its mode, and hands it to the group that shares the store.
    pub(super) fn hand_over(&self, made: &File, mode: Mode) -> io::Result<()> {
        if let Some(group) = self.group
            && made.metadata()?.gid() != group.as_raw()
        {
            // Only members of a group may give files to it. For others the file stays usable by
            // its owner, which is better than no backup.
            match rustix::fs::fchown(made, None, Some(group)) {
                Ok(()) | Err(Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // The process's mask may have cut bits when it was made.
        Ok(rustix::fs::fchmod(made, mode)?)
    }
}

impl Folders {
    /// Opens the root directory.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let root = File::from(rustix::fs::openat(CWD, path, FOLDER, Mode::empty())?);
        let modes = Modes::of(&root)?;
        Ok(Self { path: path.to_owned(), root, modes, durable: Mutex::default() })
    }

    /// Returns the root directory.
    pub(super) fn root(&self) -> &File {
        &self.root
    }

    /// Returns the modes of what the store makes.
    pub(super) fn modes(&self) -> Modes {
        self.modes
    }

    /// Returns where `name` lies on the disk.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        // Not `join`: that lets a name that starts with a slash lead elsewhere.
        let mut path = self.path.clone().into_os_string();
        if !name.is_empty() {
            path.push("/");
            path.push(name);
        }
        path.into()
    }

    /// Opens what lies at a relative path; no symbolic link on the way is followed.
    pub(super) fn open_at(&self, path: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::CLOEXEC;
        match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
            Ok(file) => Ok(File::from(file)),
            // Old kernels do not know the call and containers may forbid it.
            Err(Errno::NOSYS | Errno::PERM) => self.open_by_steps(path, flags),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens a directory that is there; the empty path is the root.
    pub(super) fn open_folder(&self, folder: &str) -> io::Result<File> {
        self.open_at(if folder.is_empty() { "." } else { folder }, FOLDER)
    }

    /// Opens a directory, and makes it and those above it, durably, where they are missing.
    pub(super) fn enter(&self, folder: &str) -> io::Result<File> {
        if folder.is_empty() {
            return self.root.try_clone();
        }
        let known = self.durable().get(folder).copied();
        if let Some(known) = known
            && let Ok(found) = self.open_folder(folder)
            && Identity::of(&found)? == known
        {
            return Ok(found);
        }
        self.while_vanished(folder, || self.make(folder))
    }

    /// Repeats a step that found its directory removed: another process deleted the last object
    /// in it, and the step makes it again.
    pub(super) fn while_vanished<T>(
        &self,
        folder: &str,
        mut step: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        for _ in 1..ATTEMPTS_MAX {
            match step() {
                Err(error) if errno_of(&error) == Some(Errno::NOENT) => {
                    self.durable().remove(folder);
                }
                result => return result,
            }
        }
        step()
    }

    /// Removes a directory and those above it as far as they are empty. Failing is no error: an
    /// empty directory is no more than litter.
    pub(super) fn remove_if_empty(&self, folder: &str) {
        let mut rest = folder;
        while !rest.is_empty() {
            if rustix::fs::unlinkat(&self.root, rest, AtFlags::REMOVEDIR).is_err() {
                return;
            }
            self.durable().remove(rest);
            rest = split(rest).0;
        }
    }

    /// Makes durable which names the directories above `folder` hold. What is missing on the way
    /// ends it: there is nothing below.
    pub(super) fn sync_above(&self, folder: &str) -> io::Result<()> {
        if folder.is_empty() {
            return Ok(());
        }
        sync_folder(&self.root)?;
        for (at, _) in folder.match_indices('/') {
            match self.open_folder(&folder[..at]) {
                Ok(found) => sync_folder(&found)?,
                Err(error) if is_absent(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn make(&self, folder: &str) -> io::Result<File> {
        let mut parent = self.root.try_clone()?;
        let ends = folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]);
        for end in ends {
            parent = self.make_one(&parent, &folder[..end])?;
        }
        Ok(parent)
    }

    fn make_one(&self, parent: &File, folder: &str) -> io::Result<File> {
        let word = split(folder).1;
        let open = || open_step(parent, word, FOLDER);
        // Making comes before opening because it waits until a removal that is under way has
        // ended. A directory that is being removed can still be opened, over and over.
        let (child, made) = match rustix::fs::mkdirat(parent, word, self.modes.folder) {
            Ok(()) => (open()?, true),
            Err(Errno::EXIST) => (open()?, false),
            // Not every system says first that it is there.
            Err(error) => (open().map_err(|_| error)?, false),
        };
        if made {
            self.modes.hand_over(&child, self.modes.folder)?;
        }
        let identity = Identity::of(&child)?;
        let known = self.durable().get(folder).copied();
        if known != Some(identity) {
            // Also when another process made it: that one may not have come to this line yet.
            sync_folder(parent)?;
            self.durable().insert(folder.to_owned(), identity);
        }
        Ok(child)
    }

    pub(super) fn open_by_steps(&self, path: &str, flags: OFlags) -> io::Result<File> {
        let (folder, word) = split(path);
        let mut parent = self.root.try_clone()?;
        for step in folder.split('/').filter(|step| !step.is_empty()) {
            parent = open_step(&parent, step, FOLDER)?;
        }
        Ok(open_step(&parent, word, flags)?)
    }

    fn durable(&self) -> MutexGuard<'_, HashMap<String, Identity>> {
        // Each change is a single step, so a panic elsewhere cannot have left it half done.
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Identity {
    fn of(folder: &File) -> io::Result<Self> {
        let found = folder.metadata()?;
        Ok(Self { device: found.dev(), number: found.ino(), birth: found.created().ok() })
    }
}

/// Opens an entry of a directory; a symbolic link is `ELOOP`.
fn open_step(parent: &File, word: &str, flags: OFlags) -> Result<File, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, word, flags, Mode::empty()) {
        Ok(file) => Ok(File::from(file)),
        // That is said of links too when a directory is asked for. But a file on the way means
        // that nothing lies below, and a link does not.
        Err(Errno::NOTDIR) => {
            let found = rustix::fs::statat(parent, word, AtFlags::SYMLINK_NOFOLLOW)?;
            let is_link = FileType::from_raw_mode(found.st_mode) == FileType::Symlink;
            Err(if is_link { Errno::LOOP } else { Errno::NOTDIR })
        }
        Err(error) => Err(error),
    }
}

/// Splits a relative path into its directory (empty for the root) and its last word.
pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Makes durable which names a directory holds.
pub(super) fn sync_folder(folder: &File) -> io::Result<()> {
    match folder.sync_all() {
        // Some file systems keep directories durable by themselves and refuse the call; on a
        // read-only one there is nothing to write.
        Err(error) if matches!(errno_of(&error), Some(Errno::INVAL | Errno::ROFS)) => Ok(()),
        result => result,
    }
}
