//! What is at the target already, and what the rule for overwriting says of it.
//!
//! Nothing here follows a link. On purpose not here: changing anything but the rights that this
//! process needs in a folder of its own.

use super::attributes::Subject;
use super::remove::{self, Deletes};
use super::shared::Shared;
use super::split_key;
use crate::directory::{DIRECTORY, Directory};
use crate::stat::{kind_of, mtime_of};
use holdfast_core::entry::{Entry, Kind, Time};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, IFlags, Mode, OFlags, RenameFlags, Stat, fchmod, fstat, openat, renameat, renameat_with, statat,
    unlinkat,
};
use rustix::io::{Errno, Result};
use std::collections::HashSet;
use std::sync::Arc;

/// No file system has longer names.
const NAME_BYTES_MAX: usize = 255;
/// So many names are tried to put a file aside.
const ASIDE_MAX: u32 = 1000;

/// What is done with a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// It becomes what was recorded; contents are compared, and what differs is rewritten.
    Always,
    /// The same, but a file of the recorded size and time is taken to hold what was recorded.
    IfChanged,
    /// It becomes what was recorded if that is newer.
    IfNewer,
    /// It stays as it is.
    Never,
}

impl Overwrite {
    /// Whether a thing that is there may be changed into what was recorded.
    pub(super) fn may_change(self, entry: &Entry, there: &Stat) -> bool {
        match self {
            Self::Always | Self::IfChanged => true,
            Self::IfNewer => entry.mtime > time_of(there),
            Self::Never => false,
        }
    }

    /// Whether a file counts as the same without a look at its content.
    pub(super) fn trusts(self, entry: &Entry, there: &Stat) -> bool {
        self == Self::IfChanged && size_of(there) == entry.size && time_of(there) == entry.mtime
    }
}

/// A file, link or node by its number: a name may be given to another one at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    pub(super) fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev, number: stat.st_ino }
    }
}

/// Looks at a name in a folder.
pub(super) fn look(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Stat>> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The kind of what is there; none for what no entry can be.
pub(super) fn kind(stat: &Stat) -> Option<Kind> {
    kind_of(stat.st_mode)
}

pub(super) fn time_of(stat: &Stat) -> Time {
    mtime_of(stat)
}

pub(super) fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Opens a file that is there, if it is still the same one.
pub(super) fn open_file(
    parent: BorrowedFd<'_>,
    name: &[u8],
    inode: Inode,
    access: OFlags,
) -> Result<OwnedFd> {
    // A pipe that took the name must not make us wait.
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let quiet = openat(parent, name, flags | OFlags::NOATIME, Mode::empty());
    let handle = match quiet {
        // Only its owner may look without leaving a trace.
        Err(Errno::PERM) => openat(parent, name, flags, Mode::empty()),
        opened => opened,
    }?;
    let now = fstat(&handle)?;
    // What got another name in the meantime must not be changed any more.
    let shared = access == OFlags::RDWR && now.st_nlink > 1;
    let same = Inode::of(&now) == inode && kind(&now) == Some(Kind::File) && !shared;
    if same { Ok(handle) } else { Err(Errno::STALE) }
}

/// Takes rights from a file before it is patched: nobody reads or runs, by rights that it had
/// before, what is not meant for them.
pub(super) fn narrow(file: BorrowedFd<'_>, entry: &Entry) {
    let Ok(now) = fstat(file) else { return };
    let kept = now.st_mode & u32::from(entry.mode & 0o777);
    if kept != now.st_mode & 0o7777 {
        // Whoever is not its owner could not set the mode in the end either, and that is named.
        let _ = fchmod(file, Mode::from_raw_mode(kept));
    }
}

/// What is known of a folder that was there before.
#[derive(Debug)]
pub(super) struct Inside {
    /// The file system that it lies on.
    device: u64,
    /// Numbers of what was met in it, to notice two names that the file system takes for one.
    met: HashSet<u64>,
    /// Hashes of the names that the snapshot has in it, sorted once all were met; none if
    /// nothing may be deleted.
    pub(super) names: Option<Vec<u64>>,
    /// Whether its attributes may be set.
    pub(super) may_change: bool,
    /// The mode that it had, if rights were added to it.
    pub(super) mode: Option<Mode>,
    /// The flags that it had, if they were taken away for the time being.
    pub(super) flags: IFlags,
    /// Something is mounted on it, or it is the top of a file system.
    mounted: bool,
    /// Its attributes were not those that were recorded, before anything was done in it.
    pub(super) differs: bool,
}

impl Inside {
    pub(super) fn new(deletes: Option<&Deletes>, may_change: bool) -> Self {
        let names = deletes.map(|_| Vec::new());
        let (met, mode, flags) = (HashSet::new(), None, IFlags::empty());
        Self { device: 0, met, names, may_change, mode, flags, mounted: false, differs: false }
    }

    /// What is mounted here may not have been there, or was left out, when the snapshot was
    /// made: of such a file system the snapshot has nothing at all.
    pub(super) fn is_foreign(&self) -> bool {
        self.mounted && self.names.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether it lies on another file system than the folder above it.
    pub(super) fn is_mounted(&self) -> bool {
        self.mounted
    }

    /// Notes what was met; tells whether it was not met under another name.
    pub(super) fn meet(&mut self, there: &Stat) -> bool {
        let linked = there.st_nlink > 1 && kind(there) != Some(Kind::Directory);
        // What is mounted in it has numbers of its own, and one name.
        linked || there.st_dev != self.device || self.met.insert(there.st_ino)
    }

    /// States the file system that it lies on, before anything is met.
    pub(super) fn lies_on(&mut self, device: u64) {
        self.device = device;
    }

    /// Nothing more will be met: what is to be deleted needs the memory.
    pub(super) fn end(&mut self) {
        self.met = HashSet::new();
        self.names.iter_mut().for_each(|names| names.sort_unstable());
    }
}

/// Opens a folder that was there before, and sees to it that it can be worked in.
pub(super) fn enter(
    shared: &Shared,
    parent: &Arc<Directory>,
    name: &[u8],
    entry: &Entry,
    inside: &mut Inside,
) -> Result<Arc<Directory>> {
    let above = parent.open()?;
    let handle = match openat(&above, name, DIRECTORY, Mode::empty()) {
        Ok(handle) => {
            inside.differs = !shared.is_as_recorded(Subject::Open(handle.as_fd()), entry);
            Ok(handle)
        }
        Err(Errno::ACCESS) if !shared.rehearse => {
            inside.differs = !shared.is_as_recorded(Subject::Name(above.as_fd(), name), entry);
            inside.mode = Some(shared.add_rights(above.as_fd(), name)?);
            openat(&above, name, DIRECTORY, Mode::empty())
        }
        failed => failed,
    }?;
    let stat = fstat(&handle)?;
    inside.lies_on(stat.st_dev);
    if !shared.rehearse {
        let mode = Mode::from_raw_mode(stat.st_mode);
        if !shared.privileged && !mode.contains(Mode::RWXU) && fchmod(&handle, mode | Mode::RWXU).is_ok() {
            inside.mode.get_or_insert(mode);
        }
        inside.flags = shared.soften(handle.as_fd());
    }
    // A subvolume is a file system of its own without being mounted.
    let is_other = || fstat(&above).map_or(true, |above| above.st_dev != stat.st_dev);
    inside.mounted = shared.deletes.is_some() && (is_other() || remove::is_mount(above.as_fd(), name));
    shared.note_device(stat.st_dev, handle.as_fd());
    Ok(parent.below(name, handle, DIRECTORY).0)
}

/// Renames a thing in its folder where nothing has the new name.
pub(super) fn rename_new(parent: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> Result<()> {
    match renameat_with(parent, from, parent, to, RenameFlags::NOREPLACE) {
        // Not every file system can; then nobody must come between.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match look(parent, to)? {
            Some(_) => Err(Errno::EXIST),
            None => renameat(parent, from, parent, to),
        },
        renamed => renamed,
    }
}

/// Gives a file that is neither old nor new another name, which nothing has; returns it.
pub(super) fn put_aside(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>> {
    let mut number = 0;
    loop {
        let aside = aside(name, number);
        match rename_new(parent, name, &aside) {
            Err(Errno::EXIST) if number < ASIDE_MAX => number += 1,
            renamed => return renamed.map(|()| aside),
        }
    }
}

/// The name that a file gets when it is neither old nor new.
fn aside(name: &[u8], number: u32) -> Vec<u8> {
    let mark = match number {
        0 => ".holdfast-incomplete".to_owned(),
        number => format!(".holdfast-incomplete-{number}"),
    };
    let room = NAME_BYTES_MAX - mark.len();
    [&name[..name.len().min(room)], mark.as_bytes()].concat()
}

impl Shared {
    /// Gives what was made beside an entry's place that place. If it cannot be, nothing stays
    /// beside it.
    pub(super) fn take_place(&self, parent: BorrowedFd<'_>, entry: &Entry, new: bool) -> Result<()> {
        let (beside, name) = (self.name_beside(&entry.key), split_key(&entry.key).1);
        let rename = || match new {
            true => rename_new(parent, &beside, name),
            false => renameat(parent, &beside, parent, name),
        };
        let softened = match rename() {
            Err(Errno::PERM) => {
                self.soften_name(parent, name);
                rename()
            }
            moved => moved,
        };
        let moved = match softened {
            Err(Errno::ISDIR) => self.remove_folder(parent, name, &entry.key).and_then(|()| rename()),
            moved => moved,
        };
        if moved.is_err() {
            // It was just made, and nobody else knows its name.
            let _ = unlinkat(parent, &beside, AtFlags::empty());
        }
        moved
    }

    /// Removes a folder that something else takes the place of; a full one only where things
    /// may be deleted.
    fn remove_folder(&self, parent: BorrowedFd<'_>, name: &[u8], key: &[u8]) -> Result<()> {
        match self.unlink(parent, name, true) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                if self.remove_tree(parent, name, key) {
                    Ok(())
                } else {
                    Err(Errno::NOTEMPTY)
                }
            }
            removed => removed,
        }
    }
}
