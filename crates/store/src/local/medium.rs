//! What kind of file system a folder lies on, and how much room it has.
//!
//! On purpose not here: any decision taken from it.

use rustix::fs::{fstatfs, fstatvfs};
use std::fs::File;

/// File systems that other hosts may have mounted as well, by the kernel's magic number.
const SHARED: [(u32, &str); 8] = [
    (0x0000_6969, "NFS"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB"),
    (0x0000_517B, "SMB"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9P"),
    (0x5346_414F, "AFS"),
    (0x00C3_6400, "Ceph"),
];

/// File systems that people meet and that lack hard links.
const WITHOUT_LINKS: [(u32, &str); 2] = [(0x0000_4D44, "FAT"), (0x2011_BAB0, "exFAT")];

/// Names the file system if it may be mounted on several hosts at once.
pub(super) fn shared_file_system(folder: &File) -> Option<&'static str> {
    name_in(&SHARED, magic(folder)?)
}

/// Names the file system for people.
pub(super) fn file_system(folder: &File) -> String {
    let Some(magic) = magic(folder) else { return "this file system".to_owned() };
    let known = name_in(&SHARED, magic).or_else(|| name_in(&WITHOUT_LINKS, magic));
    known.map_or_else(|| format!("the file system of type {magic:#x}"), str::to_owned)
}

/// Returns how many bytes may still be written by a user without privileges.
pub(super) fn free_space(folder: &File) -> Option<u64> {
    let room = fstatvfs(folder).ok()?;
    room.f_bavail.checked_mul(room.f_frsize)
}

fn magic(folder: &File) -> Option<u32> {
    // The width and sign of `f_type` differ between machines; the low 32 bits are the number.
    fstatfs(folder).ok().map(|found| found.f_type as u32)
}

fn name_in(table: &[(u32, &'static str)], magic: u32) -> Option<&'static str> {
    table.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_file_systems_are_named() {
        assert_eq!(name_in(&SHARED, 0x6969), Some("NFS"));
        assert_eq!(name_in(&SHARED, 0xFF53_4D42), Some("CIFS"));
        assert_eq!(name_in(&SHARED, 0x6573_5546), Some("FUSE"));
        assert_eq!(name_in(&SHARED, 0xEF53), None, "ext4 is one host's");
    }
}
