//! Removes a tree that may resist: folders that nobody may enter, files that may not be changed,
//! links that lead out, mounted file systems, folders in folders without end.
//!
//! Nothing here follows a link or leaves the file system. Folders that lie too deep are moved up
//! instead of being entered, so that no tree takes more handles than there are. On purpose not here:
//! which trees may be removed; the marker says so.

use super::environment;
use holdfast_engine::proof::Finding;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, IFlags, Mode, OFlags, chmodat, fstat, ioctl_getflags, ioctl_setflags,
    openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::CString;
use std::path::Path;

/// So deep is gone; what lies deeper is moved up first.
const LEVELS_MAX: usize = 64;
/// So many things that stay are named.
const NAMED_MAX: usize = 5;
/// So many names are tried for what is moved up.
const NAMES_TRIED: usize = 1000;
/// Folders have to be entered and changed.
const ENTER: Mode = Mode::RWXU;
/// What keeps even root from removing something.
const FIXED: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);

/// What was removed, and what was not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    /// Things that are gone.
    pub(super) things: u64,
    /// Things that had to be made removable first: flags, folders without rights.
    pub(super) resisted: u64,
    /// Things that stay, the first ones with the reason.
    pub(super) left: Vec<String>,
    /// How many stay.
    pub(super) left_count: u64,
    /// Nothing of it is there any more.
    pub(super) gone: bool,
}

impl Removed {
    /// What became of it, for the record.
    pub(super) fn in_words(&self, shown: &str) -> String {
        let resisted = match self.resisted {
            0 => String::new(),
            number => format!(", {number} of them after their flags or permissions were changed"),
        };
        if self.gone {
            return format!("{shown}: removed, {} things{resisted}; it is gone", self.things);
        }
        format!("{shown}: NOT removed: {} stay: {}", self.left_count.max(1), self.left.join("; "))
    }

    /// What is wrong if something stays: it is production's data.
    pub(super) fn finding(&self, shown: &str) -> Option<Finding> {
        let what = || format!("scratch {shown} could not be removed: {}", self.left.join("; "));
        (!self.gone).then(|| environment(what(), "it holds production's data: remove it by hand"))
    }

    fn leave(&mut self, name: &[u8], why: &str) {
        self.left_count += 1;
        if self.left.len() < NAMED_MAX {
            self.left.push(format!("{}: {why}", String::from_utf8_lossy(name).escape_debug()));
        }
    }
}

/// Removes a folder with all that is in it.
pub(super) fn tree(path: &Path) -> Removed {
    let mut removed = Removed::default();
    match start(path) {
        Ok(Some((parent, top, name))) => {
            Remover { top: top.as_fd(), removed: &mut removed, moved: 0 }.all(parent.as_fd(), &name);
        }
        Ok(None) => {}
        Err(error) => removed.leave(path.as_os_str().as_encoded_bytes(), &words(error)),
    }
    removed.gone = matches!(statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT));
    if !removed.gone && removed.left.is_empty() {
        removed.leave(path.as_os_str().as_encoded_bytes(), "something appeared in it meanwhile");
    }
    removed
}

/// The folder above, the folder itself, and its name; none if it is not there.
fn start(path: &Path) -> Result<Option<(OwnedFd, OwnedFd, CString)>, Errno> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = openat(CWD, above, flags, Mode::empty())?;
    let name = CString::new(name.as_encoded_bytes()).map_err(|_| Errno::INVAL)?;
    if matches!(statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT)) {
        return Ok(None);
    }
    let (top, _) = enter(parent.as_fd(), &name)?;
    Ok(Some((parent, top, name)))
}

struct Remover<'a> {
    top: BorrowedFd<'a>,
    removed: &'a mut Removed,
    moved: u64,
}

impl Remover<'_> {
    fn all(&mut self, parent: BorrowedFd<'_>, name: &CString) {
        // What was moved up lies in the top folder, and is there to be met again.
        loop {
            let before = self.removed.things;
            let moved = self.moved;
            self.empty(self.top, 0);
            if self.moved == moved || self.removed.things == before {
                break;
            }
        }
        self.unlink(parent, name, true);
    }

    fn empty(&mut self, folder: BorrowedFd<'_>, level: usize) {
        match names(folder) {
            Ok(names) => names.iter().for_each(|name| self.remove(folder, name, level)),
            Err(error) => self.removed.leave(b"a folder", &words(error)),
        }
    }

    fn remove(&mut self, parent: BorrowedFd<'_>, name: &CString, level: usize) {
        let there = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => there,
            Err(Errno::NOENT) => return,
            Err(error) => return self.removed.leave(name.to_bytes(), &words(error)),
        };
        if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
            return self.unlink(parent, name, false);
        }
        if fstat(parent).is_ok_and(|above| above.st_dev != there.st_dev) {
            return self.removed.leave(name.to_bytes(), "another file system is mounted there");
        }
        match enter(parent, name) {
            Ok((_, resisted)) if level >= LEVELS_MAX => {
                self.removed.resisted += u64::from(resisted);
                self.move_up(parent, name);
            }
            Ok((folder, resisted)) => {
                self.removed.resisted += u64::from(resisted);
                self.empty(folder.as_fd(), level + 1);
                drop(folder);
                self.unlink(parent, name, true);
            }
            Err(error) => self.removed.leave(name.to_bytes(), &words(error)),
        }
    }

    /// Its parent can be removed then, and it is a folder of the top one.
    fn move_up(&mut self, parent: BorrowedFd<'_>, name: &CString) {
        let mut outcome = Ok(());
        for _ in 0..NAMES_TRIED {
            self.moved += 1;
            outcome = renameat(parent, name, self.top, format!("deep-{}", self.moved));
            // The tree may have that name itself.
            if !matches!(outcome, Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR)) {
                break;
            }
        }
        if let Err(error) = outcome {
            self.removed.leave(name.to_bytes(), &words(error));
        }
    }

    fn unlink(&mut self, parent: BorrowedFd<'_>, name: &CString, folder: bool) {
        let flags = if folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let mut outcome = unlinkat(parent, name, flags);
        if matches!(outcome, Err(Errno::PERM | Errno::ACCESS)) && loosen(parent, name) {
            self.removed.resisted += 1;
            outcome = unlinkat(parent, name, flags);
        }
        match outcome {
            Ok(()) => self.removed.things += 1,
            Err(Errno::NOENT) => {}
            // Something in it stays, and was named.
            Err(Errno::NOTEMPTY) if folder => {}
            Err(error) => self.removed.leave(name.to_bytes(), &words(error)),
        }
    }
}

/// Opens a folder; gives its owner all rights and takes away flags if that is needed. Tells whether
/// it was.
fn enter(parent: BorrowedFd<'_>, name: &CString) -> Result<(OwnedFd, bool), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || openat(parent, name, flags, Mode::empty());
    let mode = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode;
    let mut resisted = false;
    let lacks = !Mode::from_raw_mode(mode).contains(ENTER);
    if lacks {
        // Where it cannot be changed, opening says why; flags come first then.
        resisted |= give_rights(parent, name).is_ok();
    }
    let folder = open()?;
    if unfix(folder.as_fd()) {
        resisted = true;
        if lacks {
            give_rights(parent, name)?;
        }
    }
    Ok((folder, resisted))
}

/// There is no call that changes a mode and surely follows no link; a handle that only stands for the
/// path does the same.
fn give_rights(parent: BorrowedFd<'_>, name: &CString) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let stands = openat(parent, name, flags, Mode::empty())?;
    chmodat(CWD, format!("/proc/self/fd/{}", stands.as_raw_fd()), ENTER, AtFlags::empty())
}

/// Takes away flags of a file; of what is no file there are none. A device is never opened.
fn loosen(parent: BorrowedFd<'_>, name: &CString) -> bool {
    let here = unfix(parent);
    let Ok(there) = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else { return here };
    if FileType::from_raw_mode(there.st_mode) != FileType::RegularFile {
        return here;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = openat(parent, name, flags, Mode::empty());
    opened.is_ok_and(|file| unfix(file.as_fd())) || here
}

/// Whether there were flags, and they are gone.
fn unfix(handle: BorrowedFd<'_>) -> bool {
    let Ok(flags) = ioctl_getflags(handle) else { return false };
    flags.intersects(FIXED) && ioctl_setflags(handle, flags - FIXED).is_ok()
}

fn names(folder: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

fn words(error: Errno) -> String {
    std::io::Error::from(error).to_string()
}
