//! Extended attributes and inode flags of one item.
//!
//! What cannot be read is named and left out; an entry without its label is better than no
//! entry. On purpose not here: which of them a restore may set.

use super::shared::{DeviceSet, Shared};
use holdfast_engine::source::Details;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::fs::{IFlags, fgetxattr, flistxattr, getxattr, ioctl_getflags, lgetxattr, listxattr, llistxattr};
use rustix::io::{Errno, Result};
use std::mem::MaybeUninit;

/// No file system keeps longer lists or values.
const XATTR_BYTES_MAX: usize = 64 * 1024;
/// Nearly all lists and values fit in so many bytes.
const XATTR_BYTES_USUAL: usize = 512;

/// Flags that a restore can set again; the others state how the file system stores the file.
pub(crate) const FLAGS_KEPT: IFlags = IFlags::APPEND
    .union(IFlags::COMPRESSED)
    .union(IFlags::DIRSYNC)
    .union(IFlags::IMMUTABLE)
    .union(IFlags::JOURNALING)
    .union(IFlags::NOATIME)
    .union(IFlags::NOCOW)
    .union(IFlags::NODUMP)
    .union(IFlags::NOTAIL)
    .union(IFlags::PROJECT_INHERIT)
    .union(IFlags::SYNC)
    .union(IFlags::TOPDIR);

/// What attributes are asked of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A path whose last component is not followed.
    Link(&'a [u8]),
    /// A path.
    Path(&'a [u8]),
}

impl Subject<'_> {
    fn list(self, buffer: &mut [MaybeUninit<u8>]) -> Result<&mut [u8]> {
        let (list, _) = match self {
            Self::Open(handle) => flistxattr(handle, buffer)?,
            Self::Link(path) => llistxattr(path, buffer)?,
            Self::Path(path) => listxattr(path, buffer)?,
        };
        Ok(list)
    }

    fn get<'b>(self, name: &[u8], buffer: &'b mut [MaybeUninit<u8>]) -> Result<&'b mut [u8]> {
        let (value, _) = match self {
            Self::Open(handle) => fgetxattr(handle, name, buffer)?,
            Self::Link(path) => lgetxattr(path, name, buffer)?,
            Self::Path(path) => getxattr(path, name, buffer)?,
        };
        Ok(value)
    }
}

/// A path that leads to a name below an open directory, however deep that is.
pub(crate) fn path_to(directory: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// Reads all extended attributes, sorted by name.
pub(super) fn read_xattrs(subject: Subject<'_>, shared: &Shared, device: u64, details: &mut Details) {
    if shared.without_xattrs.contains(device) {
        return;
    }
    let mut usual = [MaybeUninit::uninit(); XATTR_BYTES_USUAL];
    let names: &[u8] = match subject.list(&mut usual) {
        Ok(names) => names,
        Err(Errno::RANGE) => return read_many_xattrs(subject, details),
        Err(error) => return note_list(error, &shared.without_xattrs, device, details),
    };
    read_values(subject, names, details);
}

/// The extended attributes of what is open, sorted by name; those that cannot be read are absent.
pub(crate) fn xattrs_now(handle: BorrowedFd<'_>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    all_xattrs(Subject::Open(handle))
}

/// The same of a name in a folder, whose link is not followed.
pub(crate) fn xattrs_of_name(directory: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    all_xattrs(Subject::Link(&path_to(directory, name)))
}

fn all_xattrs(subject: Subject<'_>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut details = Details::default();
    let mut usual = [MaybeUninit::uninit(); XATTR_BYTES_USUAL];
    match subject.list(&mut usual) {
        Ok(names) => read_values(subject, names, &mut details),
        Err(Errno::RANGE) => read_many_xattrs(subject, &mut details),
        Err(error) => return Err(error),
    }
    Ok(details.xattrs)
}

fn read_many_xattrs(subject: Subject<'_>, details: &mut Details) {
    let mut large = vec![MaybeUninit::uninit(); XATTR_BYTES_MAX];
    match subject.list(&mut large) {
        Ok(names) => read_values(subject, names, details),
        Err(error) => details.unreadable.push(format!("extended attributes: {}", in_words(error))),
    }
}

fn note_list(error: Errno, without: &DeviceSet, device: u64, details: &mut Details) {
    match error {
        // No call of a kind that the file system does not know.
        Errno::NOSYS => without.insert(device),
        // That one thing of a file system has none says nothing about the others.
        Errno::NOTSUP => {}
        // Without /proc there is no way to a link's attributes; it hardly ever has any.
        Errno::NOENT | Errno::NOTDIR | Errno::NODATA => {}
        error => details.unreadable.push(format!("extended attributes: {}", in_words(error))),
    }
}

fn read_values(subject: Subject<'_>, names: &[u8], details: &mut Details) {
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        match read_value(subject, name) {
            Ok(value) => details.xattrs.push((name.to_vec(), value)),
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(error) => {
                let name = String::from_utf8_lossy(name);
                details.unreadable.push(format!("extended attribute {name}: {}", in_words(error)));
            }
        }
    }
    details.xattrs.sort_unstable();
}

fn read_value(subject: Subject<'_>, name: &[u8]) -> Result<Vec<u8>> {
    let mut usual = [MaybeUninit::uninit(); XATTR_BYTES_USUAL];
    match subject.get(name, &mut usual) {
        Err(Errno::RANGE) => {
            let mut large = vec![MaybeUninit::uninit(); XATTR_BYTES_MAX];
            subject.get(name, &mut large).map(|value| value.to_vec())
        }
        usual => usual.map(|value| value.to_vec()),
    }
}

/// Reads the flags that `lsattr` shows, as far as a restore can set them.
pub(super) fn read_flags(handle: BorrowedFd<'_>, shared: &Shared, device: u64, details: &mut Details) {
    if !shared.without_flags.contains(device) {
        note_flags(ioctl_getflags(handle), &shared.without_flags, device, details);
    }
}

fn note_flags(answer: Result<IFlags>, without: &DeviceSet, device: u64, details: &mut Details) {
    match answer {
        Ok(flags) => details.inode_flags = (flags & FLAGS_KEPT).bits(),
        // A file system that lies behind a program says so of all, and each question is dear there.
        Err(Errno::NOSYS | Errno::NOTTY) => without.insert(device),
        Err(Errno::IO) => details.unreadable.push(format!("inode flags: {}", in_words(Errno::IO))),
        // It has none that could be missed, or none that are for us.
        Err(_) => {}
    }
}

fn in_words(error: Errno) -> std::io::Error {
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_file_says_is_not_taken_for_all_of_its_file_system() {
        let (without, mut details) = (DeviceSet::default(), Details::default());
        note_list(Errno::NOTSUP, &without, 1, &mut details);
        note_flags(Err(Errno::NOTSUP), &without, 1, &mut details);
        assert!(!without.contains(1) && details.unreadable.is_empty());
        note_list(Errno::NOSYS, &without, 1, &mut details);
        note_flags(Err(Errno::NOTTY), &without, 2, &mut details);
        assert!(without.contains(1) && without.contains(2) && details.unreadable.is_empty());
    }

    #[test]
    fn what_could_not_be_read_is_named() {
        let (without, mut details) = (DeviceSet::default(), Details::default());
        note_list(Errno::IO, &without, 1, &mut details);
        note_flags(Err(Errno::IO), &without, 1, &mut details);
        let named: Vec<_> = details.unreadable.iter().filter_map(|what| what.split(':').next()).collect();
        assert_eq!(named, ["extended attributes", "inode flags"]);
        note_flags(Ok(IFlags::IMMUTABLE | IFlags::from_bits_retain(0x8_0000)), &without, 1, &mut details);
        assert_eq!(details.inode_flags, IFlags::IMMUTABLE.bits());
    }
}
