//! Deleting what the snapshot does not have.
//!
//! Nothing here follows a link or leaves the file system. What is protected (a repository, a
//! cache) stays, and so do the folders that it lies in. On purpose not here: which folders may
//! be cleaned up; see `Inside`.

use super::FileTargetOptions;
use super::shared::Shared;
use crate::directory::DIRECTORY;
use holdfast_core::entry::{Kind, key_to_path};
use holdfast_engine::outcome::{NoticeKind, ProblemKind};
use holdfast_engine::{Selection, Selector};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, IFlags, Mode, OFlags, RawDir, Stat, StatxAttributes, StatxFlags, fchmod, openat, statx, unlinkat,
};
use rustix::io::{Errno, Result};
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::mem::MaybeUninit;

use super::existing::{Inode, kind, look, size_of};

/// What is told of a folder that the backup left out but for what says so.
pub(super) const LEFT_OUT: &str = "nothing was deleted in it: the backup left its contents out";
/// Deeper trees are left alone: each level holds a handle.
const LEVELS_MAX: usize = 256;

/// What may be deleted.
pub(super) struct Deletes {
    /// Decides by the path relative to the target, with a leading slash.
    pub(super) select: Selector,
    /// Never deleted.
    pub(super) protected: HashSet<Inode>,
    keep_larger_than: Option<u64>,
    keep_tagged: Vec<String>,
    /// What is mounted was left out, but for what was asked for by name.
    pub(super) keep_mounted: bool,
    hasher: RandomState,
}

impl fmt::Debug for Deletes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deletes").field("protected", &self.protected).finish_non_exhaustive()
    }
}

impl Deletes {
    pub(super) fn new(select: Selector, protected: HashSet<Inode>, options: &FileTargetOptions) -> Self {
        Self {
            select,
            protected,
            keep_larger_than: options.keep_larger_than,
            keep_tagged: options.keep_tagged.clone(),
            keep_mounted: options.keep_mounted,
            hasher: RandomState::new(),
        }
    }

    /// Whether the backup left everything in a folder out, but for what tells it so.
    pub(super) fn keeps_all_in(&self, folder: BorrowedFd<'_>) -> bool {
        self.keep_tagged.iter().any(|name| matches!(look(folder, name.as_bytes()), Ok(Some(_))))
    }

    pub(super) fn hash(&self, name: &[u8]) -> u64 {
        self.hasher.hash_one(name)
    }

    fn selection(&self, key: &[u8], is_folder: bool) -> Selection {
        (self.select)(&[b"/", key_to_path(key).as_slice()].concat(), is_folder)
    }
}

impl Shared {
    /// Deletes what lies in a folder and not in the snapshot, whose names come as sorted hashes.
    pub(super) fn sweep(&self, folder: BorrowedFd<'_>, key: &[u8], names: &[u64]) {
        let Some(deletes) = &self.deletes else { return };
        if deletes.keeps_all_in(folder) {
            return self.notice(key, NoticeKind::LeftOut, LEFT_OUT.to_owned());
        }
        let swept = list(folder).and_then(|listed| {
            let device = rustix::fs::fstat(folder)?.st_dev;
            let mut remover = Remover { shared: self, deletes, device };
            for name in listed.iter().filter(|name| names.binary_search(&deletes.hash(name)).is_err()) {
                remover.remove(folder, name, &below(key, name), 0);
            }
            Ok(())
        });
        if let Err(error) = swept {
            self.left_there(key, "list", error);
        }
    }

    /// Deletes one thing with all below it; tells whether nothing of it is left.
    pub(super) fn remove_tree(&self, parent: BorrowedFd<'_>, name: &[u8], key: &[u8]) -> bool {
        let (Some(deletes), Ok(above)) = (&self.deletes, rustix::fs::fstat(parent)) else { return false };
        Remover { shared: self, deletes, device: above.st_dev }.remove(parent, name, key, 0)
    }

    fn left_there(&self, key: &[u8], operation: &str, error: Errno) {
        let what = format!("not deleted: {operation}: {}", std::io::Error::from(error));
        self.problem(key, ProblemKind::Unwritable, what);
    }
}

/// A folder that is deleted in, and what was taken from it for that.
struct Entered {
    handle: OwnedFd,
    mode: Option<Mode>,
    flags: IFlags,
}

struct Remover<'a> {
    shared: &'a Shared,
    deletes: &'a Deletes,
    device: u64,
}

impl Remover<'_> {
    /// Tells whether the thing is gone, or would be.
    fn remove(&mut self, parent: BorrowedFd<'_>, name: &[u8], key: &[u8], level: usize) -> bool {
        let there = match look(parent, name) {
            Ok(Some(there)) => there,
            Ok(None) => return true,
            Err(error) => {
                self.shared.left_there(key, "look", error);
                return false;
            }
        };
        let is_folder = kind(&there) == Some(Kind::Directory);
        let selection = self.deletes.selection(key, is_folder);
        let mounted = is_folder && is_mount(parent, name);
        if selection == Selection::Skip || self.stays(&there, mounted, key, level) {
            return false;
        }
        if is_folder && !self.empty(parent, name, key, level) || selection != Selection::Take {
            return false;
        }
        if !self.shared.rehearse
            && let Err(error) = self.shared.unlink(parent, name, is_folder)
        {
            self.shared.left_there(key, "delete", error);
            return false;
        }
        self.shared.deleted(key);
        true
    }

    /// What is left as it is whatever the snapshot says, and is worth a word.
    fn stays(&self, there: &Stat, mounted: bool, key: &[u8], level: usize) -> bool {
        let why = if self.deletes.protected.contains(&Inode::of(there)) {
            "not deleted: the repository or the cache lies here"
        } else if mounted || there.st_dev != self.device {
            "not deleted: it is on another file system"
        } else if kind(there) == Some(Kind::File)
            && self.deletes.keep_larger_than.is_some_and(|bytes| size_of(there) > bytes)
        {
            "not deleted: the backup left files of this size out"
        } else if level >= LEVELS_MAX {
            "not deleted: it lies too deep"
        } else {
            return false;
        };
        self.shared.notice(key, NoticeKind::LeftOut, why.to_owned());
        true
    }

    fn empty(&mut self, parent: BorrowedFd<'_>, name: &[u8], key: &[u8], level: usize) -> bool {
        let opened = self
            .shared
            .open_folder(parent, name)
            .and_then(|folder| Ok((list(folder.handle.as_fd())?, folder)));
        match opened {
            Ok((names, folder)) => {
                // Each is tried, whatever becomes of the others.
                let left = names
                    .iter()
                    .filter(|name| !self.remove(folder.handle.as_fd(), name, &below(key, name), level + 1));
                let empty = left.count() == 0;
                if !empty {
                    self.shared.set_back(key, &folder);
                }
                empty
            }
            Err(error) => {
                self.shared.left_there(key, "open", error);
                false
            }
        }
    }
}

impl Shared {
    /// Opens a folder to delete in it.
    fn open_folder(&self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<Entered> {
        let mut mode = None;
        let handle = match openat(parent, name, DIRECTORY, Mode::empty()) {
            Err(Errno::ACCESS) if !self.rehearse => {
                mode = Some(self.add_rights(parent, name)?);
                openat(parent, name, DIRECTORY, Mode::empty())
            }
            opened => opened,
        }?;
        let flags = self.soften(handle.as_fd());
        Ok(Entered { handle, mode, flags })
    }

    /// Gives a folder that was not deleted the rights and flags that it had.
    fn set_back(&self, key: &[u8], folder: &Entered) {
        if !folder.flags.is_empty() {
            self.flag_late(key, folder.flags);
        }
        if let Some(mode) = folder.mode
            && let Err(error) = fchmod(&folder.handle, mode)
        {
            let what = format!("its mode could not be set back: {}", std::io::Error::from(error));
            self.problem(key, ProblemKind::Attribute, what);
        }
    }

    /// Removes one name, and what forbids it.
    pub(super) fn unlink(&self, parent: BorrowedFd<'_>, name: &[u8], is_folder: bool) -> Result<()> {
        let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match unlinkat(parent, name, flags) {
            Err(Errno::PERM) => {
                self.soften_name(parent, name);
                unlinkat(parent, name, flags)
            }
            Err(Errno::NOENT) => Ok(()),
            done => done,
        }
    }
}

/// The names in a folder, in one allocation and a few.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Names {
    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.ends.iter().map(|&end| end as usize);
        let starts = std::iter::once(0).chain(ends.clone());
        starts.zip(ends).map(|(start, end)| &self.bytes[start..end])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// Lists a folder, without itself and the one above.
pub(super) fn list(folder: BorrowedFd<'_>) -> Result<Names> {
    // A handle of its own: the position in a listing belongs to the handle.
    let handle = openat(folder, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut names = Names::default();
    let mut buffer = vec![MaybeUninit::uninit(); 32 << 10];
    let mut entries = RawDir::new(&handle, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.bytes.extend_from_slice(name);
            // Four gigabytes of names are more than any folder holds.
            names.ends.push(u32::try_from(names.bytes.len()).map_err(|_| Errno::OVERFLOW)?);
        }
    }
    Ok(names)
}

/// Whether something is mounted on a folder in another one, be it a part of the same file system. Where
/// the system does not tell, something is.
pub(super) fn is_mount(parent: BorrowedFd<'_>, name: &[u8]) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    match statx(parent, name, flags, StatxFlags::empty()) {
        Ok(raw) if raw.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            raw.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
        }
        // Old systems, and sandboxes that forbid the call.
        _ => is_another_mount(parent, name),
    }
}

fn is_another_mount(parent: BorrowedFd<'_>, name: &[u8]) -> bool {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(folder) = openat(parent, name, flags, Mode::empty()) else { return true };
    mount_of(folder.as_fd()).is_none_or(|mount| mount_of(parent) != Some(mount))
}

/// The number of the mount that a handle lies on.
fn mount_of(handle: BorrowedFd<'_>) -> Option<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", handle.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

fn below(key: &[u8], name: &[u8]) -> Vec<u8> {
    if key.is_empty() { name.to_vec() } else { [key, b"\0", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::open;

    #[test]
    fn what_is_mounted_is_known_both_ways() {
        let folder = |path: &str| open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let (top, status) = (folder("/"), folder("/proc"));
        for told in [is_mount, is_another_mount] {
            assert!(told(top.as_fd(), b"proc"));
            assert!(!told(top.as_fd(), b"etc") && !told(status.as_fd(), b"self"));
            // What cannot be told is left alone.
            assert!(told(top.as_fd(), b"no such name"));
        }
    }
}
