//! Opening a restored file again, however its folders were changed in the meantime.
//!
//! On purpose not here: hashing. The engine knows what a digest is taken over.

use crate::directory::DIRECTORY;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::Path;

/// The folder that holds a name; none if it is the one the search began in.
pub(crate) struct Parent<'a> {
    pub(crate) folder: Option<OwnedFd>,
    pub(crate) name: &'a [u8],
}

/// Opens a regular file beneath a folder to read it. No link is followed on the way, and
/// nothing outside the folder can be reached.
///
/// # Errors
/// The key is none, or what it names cannot be opened or is no regular file.
pub fn open_beneath(dir: &Path, key: &[u8]) -> io::Result<File> {
    let top = openat(CWD, dir, DIRECTORY - OFlags::NOFOLLOW, Mode::empty())?;
    // A pipe must not make the caller wait.
    let file = open_below(top.as_fd(), key, OFlags::RDONLY | OFlags::NONBLOCK)?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(File::from(file))
}

/// Opens what a key names; the empty key names the top.
pub(crate) fn open_below(top: BorrowedFd<'_>, key: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if key.is_empty() {
        return openat(top, c".", flags, Mode::empty());
    }
    let Parent { folder, name } = parent_below(top, key)?;
    openat(folder.as_ref().map_or(top, AsFd::as_fd), name, flags, Mode::empty())
}

/// Opens the folder of a key, one component after the other.
pub(crate) fn parent_below<'a>(top: BorrowedFd<'_>, key: &'a [u8]) -> Result<Parent<'a>, Errno> {
    let mut parent = Parent { folder: None, name: b"" };
    for (at, name) in key.split(|&byte| byte == 0).enumerate() {
        if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') {
            return Err(Errno::INVAL);
        }
        if at > 0 {
            let above = parent.folder.as_ref().map_or(top, AsFd::as_fd);
            parent.folder = Some(openat(above, parent.name, DIRECTORY, Mode::empty())?);
        }
        parent.name = name;
    }
    Ok(parent)
}
