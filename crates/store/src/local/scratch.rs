//! A file without a place yet: made, filled, and then given its name in one atomic step that
//! refuses to replace another file.
//!
//! On purpose not here: where it goes and how that is made durable.

use super::failure::errno_of;
use super::medium;
use rustix::fs::{AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};

/// How files come to their names here, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// A file without any name, then a link to it: a killed process leaves nothing.
    Unnamed,
    /// A locked file among the temporary ones, then a second link to it.
    Link,
    /// A locked file among the temporary ones, then a rename that does not replace.
    Rename,
}

/// A file that is gone when it is dropped before it was given a name.
#[derive(Debug)]
pub(super) struct Scratch {
    file: File,
    way: Way,
    /// The directory of temporary files and the name in it.
    temporary: Option<(File, String)>,
}

impl Scratch {
    /// Makes a file without a name, which can later get one in `folder`.
    pub(super) fn unnamed(folder: &File, mode: Mode) -> io::Result<Self> {
        // In the directory it is meant for: that one may be a file system of its own.
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(folder, ".", flags, mode) {
            Ok(file) => Ok(Self { file: File::from(file), way: Way::Unnamed, temporary: None }),
            // What ext4 says of a directory that was removed meanwhile.
            Err(Errno::PERM) if folder.metadata()?.nlink() == 0 => Err(Errno::NOENT.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a locked file in the store's directory of temporary files.
    pub(super) fn temporary(way: Way, temporary: &File, mode: Mode) -> io::Result<Self> {
        loop {
            let name = fresh_name();
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
            let file = match rustix::fs::openat(temporary, &*name, flags, mode) {
                Ok(file) => File::from(file),
                // Left behind by a process that had our number.
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(error.into()),
            };
            if lock(&file)? && file.metadata()?.nlink() > 0 {
                return Ok(Self { file, way, temporary: Some((temporary.try_clone()?, name)) });
            }
            // Another process took it for a leftover before we locked it.
        }
    }

    /// Returns the file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name in `folder`; `EEXIST` if the name is taken.
    pub(super) fn name(&mut self, folder: &File, name: &str) -> Result<(), Errno> {
        match (&self.temporary, self.way) {
            (Some((temporary, from)), Way::Rename) => {
                rustix::fs::renameat_with(temporary, &**from, folder, name, RenameFlags::NOREPLACE)?;
                self.temporary = None;
                Ok(())
            }
            (Some((temporary, from)), _) => {
                rustix::fs::linkat(temporary, &**from, folder, name, AtFlags::empty())
            }
            (None, _) => {
                // By way of /proc: linking the descriptor itself takes a privilege.
                let from = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                rustix::fs::linkat(CWD, from, folder, name, AtFlags::SYMLINK_FOLLOW)
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some((temporary, name)) = &self.temporary {
            // Litter at worst: the next process sweeps it.
            let _ = rustix::fs::unlinkat(temporary, &**name, AtFlags::empty());
        }
    }
}

/// Finds the best way, not better than `best`, that works in the directory of temporary files.
pub(super) fn probe(best: Way, temporary: &File) -> io::Result<Way> {
    for way in [Way::Unnamed, Way::Link, Way::Rename] {
        if way >= best && works(way, temporary)? {
            return Ok(way);
        }
    }
    let file_system = medium::file_system(temporary);
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        format!(
            "{file_system} offers neither hard links nor a rename that never replaces, so \
             it cannot keep objects safely; put the repository on another file system"
        ),
    ))
}

/// Removes temporary files whose process is gone.
pub(super) fn sweep(temporary: &File) -> io::Result<()> {
    for entry in Dir::read_from(temporary)? {
        let entry = entry?;
        let name = entry.file_name();
        // What cannot be opened or locked stays: it is in use, or not for us to remove.
        let Some(file) = open_leftover(temporary, name) else { continue };
        if matches!(lock(&file), Ok(true)) && same_file(temporary, name, &file) {
            let _ = rustix::fs::unlinkat(temporary, name, AtFlags::empty());
        }
    }
    Ok(())
}

fn works(way: Way, temporary: &File) -> io::Result<bool> {
    let mode = Mode::from_bits_truncate(0o600);
    let mut scratch = match way {
        Way::Unnamed => match Scratch::unnamed(temporary, mode) {
            Err(error) if errno_of(&error).is_some_and(is_unsupported) => return Ok(false),
            scratch => scratch?,
        },
        Way::Link | Way::Rename => Scratch::temporary(way, temporary, mode)?,
    };
    let name = fresh_name();
    match scratch.name(temporary, &name) {
        Ok(()) => {
            // A sweep elsewhere may have been faster.
            let _ = rustix::fs::unlinkat(temporary, &*name, AtFlags::empty());
            Ok(true)
        }
        Err(errno) if is_unsupported(errno) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The many ways in which file systems say that they cannot do it. `ENOENT` is that of a system
/// without /proc.
fn is_unsupported(errno: Errno) -> bool {
    [
        Errno::OPNOTSUPP,
        Errno::NOSYS,
        Errno::INVAL,
        Errno::ISDIR,
        Errno::PERM,
        Errno::XDEV,
        Errno::MLINK,
        Errno::NOENT,
    ]
    .contains(&errno)
}

fn open_leftover(temporary: &File, name: &std::ffi::CStr) -> Option<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = |access| rustix::fs::openat(temporary, name, flags | access, Mode::empty());
    // Network file systems lock only what is open for writing.
    let file = File::from(open(OFlags::RDWR).or_else(|_| open(OFlags::RDONLY)).ok()?);
    file.metadata().ok()?.is_file().then_some(file)
}

/// Whether the name still means the file that was locked, and not one made since.
fn same_file(temporary: &File, name: &std::ffi::CStr, file: &File) -> bool {
    let named = rustix::fs::statat(temporary, name, AtFlags::SYMLINK_NOFOLLOW);
    matches!((named, file.metadata()), (Ok(named), Ok(held)) if named.st_ino == held.ino())
}

fn lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A name that this process gives once. Another process's names are told apart by its number,
/// and where that fails (other hosts) by exclusive creation.
fn fresh_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
