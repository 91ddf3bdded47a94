//! What a directory's names and its file system say about it: caches, databases, things that
//! are not files at all.
//!
//! On purpose not here: excludes by pattern, which are asked before an item is even looked at.

use super::names::{Listing, Names};
use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, Mode, OFlags, RawMode, fstatfs, major, minor, openat, statat};
use std::ffi::CStr;

const CACHE_TAG: &CStr = c"CACHEDIR.TAG";
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

/// What mounts what is asked for.
pub(super) const AUTOFS: &str = "autofs";

/// Magic numbers of file systems that show the kernel's state, or mount what is asked for.
const VIRTUAL: &[(u32, &str)] = &[
    (0x0000_9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x0027_e0eb, "cgroup"),
    (0x6367_7270, "cgroup2"),
    (0x0000_1cd1, "devpts"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7363_6673, "securityfs"),
    (0xcafe_4a11, "bpf"),
    (0x6265_6570, "configfs"),
    (0x6165_676c, "pstore"),
    (0x1980_0202, "mqueue"),
    (0x9584_58f6, "hugetlbfs"),
    (0x6573_5543, "fusectl"),
    (0x4249_4e4d, "binfmt_misc"),
    (0x6759_6969, "rpc_pipefs"),
    (0xde5e_81e4, "efivarfs"),
    (0x0000_0187, AUTOFS),
    (0xf97c_ff8c, "selinuxfs"),
    (0x6e73_6673, "nsfs"),
];

/// A file whose presence leaves out the other contents of its folder.
#[derive(Debug, Clone)]
pub(super) struct Tag {
    name: Vec<u8>,
    prefix: Vec<u8>,
}

impl Tag {
    /// Takes `NAME` or `NAME:CONTENT-PREFIX`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (name, prefix) = text.split_once(':').unwrap_or((text, ""));
        let usable = !name.is_empty() && !name.contains(['/', '\0']);
        usable.then(|| Self { name: name.into(), prefix: prefix.into() })
    }

    /// The tag of cache directories.
    pub(super) fn of_caches() -> Self {
        Self { name: CACHE_TAG.to_bytes().to_vec(), prefix: CACHE_SIGNATURE.to_vec() }
    }

    /// The name of the tag.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether a directory is tagged.
    pub(super) fn is_in(&self, directory: BorrowedFd<'_>, names: &Names, listing: &Listing) -> bool {
        names.contains(listing, &self.name)
            && (self.prefix.is_empty() || begins_with(directory, &self.name, &self.prefix))
    }
}

/// The name of a virtual file system, if the handle lies on one.
pub(super) fn virtual_file_system(handle: BorrowedFd<'_>) -> Option<&'static str> {
    // The type of the number differs between architectures; 32 bits hold all of them.
    #[allow(clippy::unnecessary_cast, reason = "the type differs between architectures")]
    let magic = fstatfs(handle).ok()?.f_type as u32;
    VIRTUAL.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
}

/// Whether an autofs is a folder that holds mount points, which can be listed without asking for any of
/// them; opening another one asks for what it stands for.
pub(super) fn holds_mounts(device: u64) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo");
    mounts.is_ok_and(|mounts| is_indirect(&mounts, (major(device), minor(device))))
}

fn is_indirect(mounts: &str, (major, minor): (u32, u32)) -> bool {
    let number = format!("{major}:{minor}");
    mounts.lines().filter(|line| line.split(' ').nth(2) == Some(number.as_str())).any(|line| {
        let Some((_, told)) = line.split_once(" - ") else { return false };
        let mut words = told.split(' ');
        let options = words.next().filter(|kind| *kind == AUTOFS).and_then(|_| words.nth(1));
        options.is_some_and(|options| options.split(',').any(|option| option == "indirect"))
    })
}

/// The kind of database whose folder this is.
pub(super) fn database(directory: BorrowedFd<'_>, names: &Names, listing: &Listing) -> Option<&'static str> {
    let has = |name: &[u8]| names.contains(listing, name);
    let control = || statat(directory, c"global/pg_control", AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if has(b"PG_VERSION") && has(b"global") && control() {
        return Some("a live database copied as files does not start; back it up as postgres://");
    }
    if has(b"ibdata1") && has(b"mysql") {
        return Some("a live MySQL database copied as files does not start; back up a dump of it as well");
    }
    None
}

/// Whether a file is an SQLite database; asked only for those with a write-ahead log beside them.
pub(super) fn is_sqlite(directory: BorrowedFd<'_>, name: &[u8]) -> bool {
    begins_with(directory, name, SQLITE_MAGIC)
}

fn begins_with(directory: BorrowedFd<'_>, name: &[u8], prefix: &[u8]) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let is_file = |stat: rustix::fs::Stat| crate::stat::kind_of(RawMode::from(stat.st_mode));
    // A device with such a name must not even be opened.
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    if stat.ok().and_then(is_file) != Some(holdfast_core::entry::Kind::File) {
        return false;
    }
    let mut front = vec![0; prefix.len()];
    let read =
        openat(directory, name, flags, Mode::empty()).and_then(|file| rustix::io::pread(file, &mut front, 0));
    read.is_ok_and(|length| length == prefix.len()) && front == prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_indirect_autofs_is_listed() {
        let mounts = "\
26 31 0:5 / /dev rw,nosuid shared:2 - devtmpfs indirect rw,size=1
60 31 0:40 / /auto rw,relatime shared:30 - autofs /etc/auto.home rw,fd=6,pgrp=1,timeout=300,indirect,pipe_ino=9
61 31 0:41 / /efi rw,relatime shared:31 - autofs systemd-1 rw,fd=40,pgrp=1,timeout=120,direct,pipe_ino=7
62 61 254:1 / /efi rw - vfat /dev/vda1 rw
63 31 0:42 / /net/a\\040-\\040b rw - autofs /etc/auto.net rw,fd=6,offset
";
        assert!(is_indirect(mounts, (0, 40)));
        for number in [(0, 5), (0, 41), (0, 42), (254, 1), (0, 4), (0, 0)] {
            assert!(!is_indirect(mounts, number), "{number:?}");
        }
        assert!(!is_indirect("", (0, 40)) && !is_indirect("1 2 0:40", (0, 40)));
    }
}
