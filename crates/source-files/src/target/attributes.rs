//! Owner, extended attributes, mode, times and inode flags, in the one order that works.
//!
//! Changing the owner clears set-user-id bits and capabilities, an access list changes the mode,
//! and nearly everything changes a time. What cannot be set is named and is no reason to stop.
//! On purpose not here: contents.

use super::shared::{Shared, add_flags};
pub(super) use crate::read::xattrs_of_name;
use crate::read::{FLAGS_KEPT, path_to};
use holdfast_core::entry::{Entry, Kind, Time, Xattrs};
use holdfast_engine::outcome::ProblemKind;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Gid, IFlags, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
    chmodat, chownat, fchmod, fchown, fremovexattr, fsetxattr, fstat, futimens, ioctl_getflags, lremovexattr,
    lsetxattr, openat, statat, utimensat,
};
use rustix::io::{Errno, Result};

/// Flags that forbid what is still to come.
pub(super) const FLAGS_LATE: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);
/// Flags that only an empty file takes.
pub(super) const FLAGS_EARLY: IFlags = IFlags::NOCOW.union(IFlags::COMPRESSED);
const SET_ID_BITS: u16 = 0o6000;
const ACCESS_LISTS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// What attributes are set on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    /// An open file or folder.
    Open(BorrowedFd<'a>),
    /// A name in a folder, for what cannot be opened.
    Name(BorrowedFd<'a>, &'a [u8]),
}

/// An entry whose attributes are to be set, and what it has of them already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Applied<'a> {
    pub(super) entry: &'a Entry,
    /// Its mode now, where that is known.
    pub(super) mode_now: Option<u16>,
    /// Its owner now, where that is known.
    pub(super) fresh: Option<(u32, u32)>,
}

impl Shared {
    /// Sets everything that was recorded of an entry.
    pub(super) fn apply(&self, subject: Subject<'_>, applied: Applied<'_>) {
        let Applied { entry, mut mode_now, fresh } = applied;
        let mut failures = Vec::new();
        let wanted = self.numbers_of(&entry.owner);
        let mut owned = true;
        if fresh != Some(wanted) {
            owned = set_owner(subject, wanted, &mut failures);
            mode_now = None;
        }
        if self.inherits_acl {
            subject.clear_acls(entry);
            mode_now = None;
        }
        match &entry.attributes.xattrs {
            Xattrs::None => {}
            Xattrs::Inline(xattrs) => {
                set_xattrs(subject, xattrs, &mut failures);
                mode_now = None;
            }
            Xattrs::Chunk(_) => failures.push("extended attributes: their chunk was not read".to_owned()),
        }
        set_mode(subject, entry, owned, mode_now, &mut failures);
        if let Err(error) = subject.set_time(entry.mtime) {
            failures.push(format!("time: {}", in_words(error)));
        }
        self.set_flags(subject, entry, &mut failures);
        if !failures.is_empty() {
            let what = format!("not set: {}", failures.join("; "));
            self.problem(&entry.key, ProblemKind::Attribute, what);
        }
    }

    fn set_flags(&self, subject: Subject<'_>, entry: &Entry, failures: &mut Vec<String>) {
        let flags = IFlags::from_bits_retain(entry.attributes.inode_flags) & FLAGS_KEPT;
        let Subject::Open(handle) = subject else { return };
        if flags.is_empty() {
            return;
        }
        if flags.intersects(FLAGS_LATE) {
            self.flag_late(&entry.key, flags & FLAGS_LATE);
        }
        let now = flags - FLAGS_LATE;
        if !now.is_empty()
            && let Err(error) = add_flags(handle, now)
        {
            failures.push(format!("inode flags: {}", in_words(error)));
        }
    }
}

/// Sets the owner; tells whether it is right now.
pub(super) fn set_owner(subject: Subject<'_>, (uid, gid): (u32, u32), failures: &mut Vec<String>) -> bool {
    // All ones would mean "leave as it is".
    let valid = uid != u32::MAX && gid != u32::MAX;
    let outcome = if valid { subject.set_owner(Some(uid), Some(gid)) } else { Err(Errno::INVAL) };
    let Err(error) = outcome else { return true };
    // Without rights over users, a group of one's own can still be given.
    if valid && error == Errno::PERM {
        let _ = subject.set_owner(None, Some(gid));
    }
    failures.push(format!("owner {uid}:{gid}: {}", in_words(error)));
    false
}

pub(super) fn set_xattrs(subject: Subject<'_>, xattrs: &[(Vec<u8>, Vec<u8>)], failures: &mut Vec<String>) {
    for (name, value) in xattrs {
        if let Err(error) = subject.set_xattr(name, value) {
            let name = String::from_utf8_lossy(name);
            failures.push(format!("extended attribute {name}: {}", in_words(error)));
        }
    }
}

/// Sets the mode, without its set-id bits where they would give the rights of somebody else.
pub(super) fn set_mode(
    subject: Subject<'_>,
    entry: &Entry,
    owned: bool,
    mode_now: Option<u16>,
    failures: &mut Vec<String>,
) {
    if entry.kind == Kind::Symlink {
        return;
    }
    let mut mode = entry.mode & 0o7777;
    if !owned && mode & SET_ID_BITS != 0 {
        mode &= !SET_ID_BITS;
        failures.push("set-user-id and set-group-id bits: the owner is another".to_owned());
    }
    if mode_now != Some(mode)
        && let Err(error) = subject.set_mode(mode)
    {
        failures.push(format!("mode {mode:o}: {}", in_words(error)));
    }
}

impl Subject<'_> {
    fn set_owner(self, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self {
            Self::Open(handle) => fchown(handle, uid, gid),
            Self::Name(folder, name) => chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    fn set_xattr(self, name: &[u8], value: &[u8]) -> Result<()> {
        match self {
            Self::Open(handle) => fsetxattr(handle, name, value, XattrFlags::empty()),
            Self::Name(folder, of) => lsetxattr(path_to(folder, of), name, value, XattrFlags::empty()),
        }
    }

    pub(super) fn set_mode(self, mode: u16) -> Result<()> {
        let mode = Mode::from_raw_mode(u32::from(mode));
        match self {
            Self::Open(handle) => fchmod(handle, mode),
            // There is no call that changes a mode and surely follows no link; a handle that
            // only stands for the path does the same.
            Self::Name(folder, name) => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let path_only: OwnedFd = openat(folder, name, flags, Mode::empty())?;
                let path = format!("/proc/self/fd/{}", path_only.as_raw_fd());
                chmodat(CWD, path, mode, AtFlags::empty())
            }
        }
    }

    pub(super) fn set_time(self, mtime: Time) -> Result<()> {
        // Larger numbers have other meanings to the system.
        if mtime.nanos >= 1_000_000_000 {
            return Err(Errno::INVAL);
        }
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanos) },
        };
        match self {
            Self::Open(handle) => futimens(handle, &times),
            Self::Name(folder, name) => utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    /// What the system says of it now.
    pub(super) fn stat(self) -> Result<Stat> {
        match self {
            Self::Open(handle) => fstat(handle),
            Self::Name(folder, name) => statat(folder, name, AtFlags::SYMLINK_NOFOLLOW),
        }
    }

    /// Its inode flags, where it has some that can be read.
    pub(super) fn flags(self) -> Option<IFlags> {
        match self {
            Self::Open(handle) => ioctl_getflags(handle).ok(),
            Self::Name(..) => None,
        }
    }

    pub(super) fn remove_xattr(self, name: &[u8]) -> Result<()> {
        match self {
            Self::Open(handle) => fremovexattr(handle, name),
            Self::Name(folder, of) => lremovexattr(path_to(folder, of), name),
        }
    }

    /// Takes away access lists that came from the target's own folder.
    fn clear_acls(self, entry: &Entry) {
        if entry.kind == Kind::Symlink {
            return;
        }
        for list in ACCESS_LISTS {
            let recorded = matches!(&entry.attributes.xattrs, Xattrs::Inline(xattrs)
                if xattrs.iter().any(|(name, _)| name == list));
            if !recorded {
                // It fails where there is none, which is as good.
                let _ = self.remove_xattr(list);
            }
        }
    }
}

pub(super) fn in_words(error: Errno) -> std::io::Error {
    error.into()
}
