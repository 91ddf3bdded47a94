//! From what the system tells of a file to what the engine compares.
//!
//! On purpose not here: which call told it.

use crate::owners::Owners;
use holdfast_core::entry::{Kind, Time};
use holdfast_engine::source::Stat;
use rustix::fs::{FileType, Statx, StatxTimestamp, major, makedev, minor};

/// Turns the listing's answer into a stat; `None` for kinds that this version does not know.
pub(crate) fn from_stat(raw: &rustix::fs::Stat, owners: &Owners) -> Option<Stat> {
    let kind = kind_of(raw.st_mode)?;
    let size = if kind == Kind::File { u64::try_from(raw.st_size).unwrap_or(0) } else { 0 };
    Some(Stat {
        kind,
        mode: permissions(raw.st_mode),
        owner: owners.get(raw.st_uid, raw.st_gid),
        size,
        mtime: mtime_of(raw),
        ctime: ctime_of(raw),
        inode: raw.st_ino,
        device_of: raw.st_dev,
        links: u32::try_from(raw.st_nlink).unwrap_or(u32::MAX),
        device: is_device(kind).then(|| (major(raw.st_rdev), minor(raw.st_rdev))),
        sparse: kind == Kind::File && is_sparse(u64::try_from(raw.st_blocks).unwrap_or(0), size),
    })
}

/// Turns the answer for an open file into a stat.
pub(crate) fn from_statx(raw: &Statx, owners: &Owners) -> Option<Stat> {
    let kind = kind_of(u32::from(raw.stx_mode))?;
    let size = if kind == Kind::File { raw.stx_size } else { 0 };
    Some(Stat {
        kind,
        mode: permissions(u32::from(raw.stx_mode)),
        owner: owners.get(raw.stx_uid, raw.stx_gid),
        size,
        mtime: time_of(raw.stx_mtime),
        ctime: time_of(raw.stx_ctime),
        inode: raw.stx_ino,
        device_of: makedev(raw.stx_dev_major, raw.stx_dev_minor),
        links: raw.stx_nlink,
        device: is_device(kind).then_some((raw.stx_rdev_major, raw.stx_rdev_minor)),
        sparse: kind == Kind::File && is_sparse(raw.stx_blocks, size),
    })
}

/// An instant of statx.
pub(crate) fn time_of(raw: StatxTimestamp) -> Time {
    Time { seconds: raw.tv_sec, nanos: raw.tv_nsec }
}

/// When the content was modified.
#[allow(clippy::unnecessary_cast, reason = "the type differs between architectures")]
pub(crate) fn mtime_of(raw: &rustix::fs::Stat) -> Time {
    Time { seconds: raw.st_mtime as i64, nanos: raw.st_mtime_nsec as u32 }
}

/// When anything was changed.
#[allow(clippy::unnecessary_cast, reason = "the type differs between architectures")]
pub(crate) fn ctime_of(raw: &rustix::fs::Stat) -> Time {
    Time { seconds: raw.st_ctime as i64, nanos: raw.st_ctime_nsec as u32 }
}

/// The kind that a mode states.
pub(crate) fn kind_of(mode: u32) -> Option<Kind> {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => Some(Kind::File),
        FileType::Directory => Some(Kind::Directory),
        FileType::Symlink => Some(Kind::Symlink),
        FileType::Fifo => Some(Kind::Fifo),
        FileType::Socket => Some(Kind::Socket),
        FileType::CharacterDevice => Some(Kind::CharDevice),
        FileType::BlockDevice => Some(Kind::BlockDevice),
        FileType::Unknown => None,
    }
}

fn permissions(mode: u32) -> u16 {
    (mode & 0o7777) as u16
}

fn is_device(kind: Kind) -> bool {
    matches!(kind, Kind::CharDevice | Kind::BlockDevice)
}

fn is_sparse(blocks: u64, size: u64) -> bool {
    blocks.saturating_mul(512) < size
}
