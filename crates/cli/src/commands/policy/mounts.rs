//! The file systems of this machine that hold data.
//!
//! On purpose not here: who backs them up.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Kinds that hold nothing of their own: what the kernel shows, memory, images that are only read.
const VIRTUAL: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tmpfs",
    "tracefs",
];

/// A file system that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where.
    pub(super) point: PathBuf,
    /// Its kind: `ext4`.
    pub(super) kind: String,
    /// What is mounted: `/dev/sda1`.
    pub(super) from: String,
}

/// Reads `/proc/self/mountinfo`. What is seen at several places is told once.
pub(super) fn parse(text: &[u8]) -> Vec<Mount> {
    // By device and by the folder of it that is seen.
    let mut seen: BTreeMap<(Vec<u8>, PathBuf), Mount> = BTreeMap::new();
    for (device, root, mount) in text.split(|byte| *byte == b'\n').filter_map(line) {
        if holds_data(&mount) {
            let known = seen.entry((device, root)).or_insert_with(|| mount.clone());
            if mount.point.as_os_str().len() < known.point.as_os_str().len() {
                *known = mount;
            }
        }
    }
    let whole = |device: &[u8], root: &Path| {
        let above = |(other, of): &(Vec<u8>, PathBuf)| other == device && of != root && root.starts_with(of);
        !seen.keys().any(above)
    };
    let mut mounts: Vec<_> = seen
        .iter()
        .filter(|((device, root), _)| whole(device, root))
        .map(|(_, mount)| mount.clone())
        .collect();
    mounts.sort_by(|a, b| a.point.cmp(&b.point));
    mounts
}

/// A container's layers are its root, or somebody else's.
fn holds_data(mount: &Mount) -> bool {
    let layers = matches!(mount.kind.as_str(), "overlay" | "aufs") && mount.point != Path::new("/");
    !layers && !VIRTUAL.contains(&mount.kind.as_str())
}

fn line(line: &[u8]) -> Option<(Vec<u8>, PathBuf, Mount)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = fields.nth(2)?.to_vec();
    let root = path(fields.next()?);
    let point = path(fields.next()?);
    // After a single dash come the kind and what is mounted.
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = String::from_utf8_lossy(rest.next()?).into_owned();
    let from = path(rest.next()?).to_string_lossy().into_owned();
    Some((device, root, Mount { point, kind, from }))
}

/// Blanks and the like are written as three octal digits.
fn path(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let code = text.get(at + 1..at + 4).filter(|_| *byte == b'\\');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                bytes.push(code);
                at += 4;
            }
            None => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

/// The file system that a path lies on.
pub(super) fn of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let holding = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    holding.max_by_key(|mount| mount.point.as_os_str().len())
}

/// A path without `.` and `..`, by its words alone.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

/// Whether a pattern leaves out a path by its name.
pub(super) fn leaves_out(pattern: &str, path: &Path) -> bool {
    !pattern.contains(['*', '?', '[', '{'])
        && pattern.starts_with('/')
        && path.starts_with(OsStr::from_bytes(pattern.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "\
22 1 8:1 / / rw,noatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw shared:2 - proc proc rw
24 22 0:22 / /run rw - tmpfs tmpfs rw
25 22 8:2 / /srv/my\\040files rw shared:3 master:1 - xfs /dev/sdb1 rw
26 22 8:1 /var/lib/x /etc/x rw - ext4 /dev/sda1 rw
27 22 0:40 /@ /pool rw - btrfs /dev/sdc rw
28 22 0:40 /@home /home rw - btrfs /dev/sdc rw
29 22 0:50 / /var/lib/docker/overlay2/abc/merged rw - overlay overlay rw
30 22 8:2 / /mnt/again/my-files rw - xfs /dev/sdb1 rw
31 22 0:60 / /mnt/nfs rw - nfs4 server:/export rw
nonsense";

    #[test]
    fn file_systems_with_data_are_told_once() {
        let mounts = parse(INFO.as_bytes());
        let told: Vec<_> = mounts.iter().map(|m| (m.point.to_str(), m.kind.as_str())).collect();
        assert_eq!(
            told,
            [
                (Some("/"), "ext4"),
                (Some("/home"), "btrfs"),
                (Some("/mnt/nfs"), "nfs4"),
                (Some("/pool"), "btrfs"),
                (Some("/srv/my files"), "xfs"),
            ]
        );
        let on = |path: &str| of(&mounts, Path::new(path)).map(|mount| mount.kind.as_str());
        assert_eq!(
            (on("/etc"), on("/srv/my files/a"), on("/srv")),
            (Some("ext4"), Some("xfs"), Some("ext4"))
        );
    }

    #[test]
    fn paths_are_made_plain_and_patterns_are_compared_by_name() {
        assert_eq!(plain(Path::new("/etc/holdfast/../../srv/./shop")), Path::new("/srv/shop"));
        assert!(leaves_out("/srv", Path::new("/srv/shop")) && !leaves_out("/srv/*", Path::new("/srv/shop")));
        assert!(!leaves_out("srv", Path::new("/srv")));
    }
}
