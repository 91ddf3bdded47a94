//! Links, pipes, sockets and devices: made at once, for they have no content.
//!
//! On purpose not here: hard links.

use super::attributes::{Applied, Subject};
use super::batch::Slot;
use super::links::Fate;
use super::shared::Shared;
use super::split_key;
use holdfast_core::entry::{Entry, Kind};
use holdfast_engine::outcome::ProblemKind;
use holdfast_engine::target::TargetError;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{FileType, Mode, makedev, mknodat, symlinkat};
use rustix::io::Errno;

/// Makes an entry that is neither file nor folder.
pub(super) fn make(shared: &Shared, slot: &Slot, entry: &Entry) -> Result<(), TargetError> {
    let Some(parent) = &slot.parent else { return Ok(()) };
    let name = split_key(&entry.key).1;
    let opened = parent.open();
    let made = opened.and_then(|parent| make_at(parent.as_fd(), name, entry).map(|()| parent));
    let parent = match made {
        Ok(parent) => parent,
        Err(error) => {
            slot.decide(Fate::Unwritable);
            return if error == Errno::BADMSG {
                let what = "says too little of itself to be made".to_owned();
                shared.problem(&entry.key, ProblemKind::Refused, what);
                Ok(())
            } else {
                shared.unmade(&entry.key, operation(entry.kind), error)
            };
        }
    };
    slot.decide(Fate::Made);
    let applied = Applied { entry, mode_now: None, fresh: shared.known_owner() };
    shared.apply(Subject::Name(parent.as_fd(), name), applied);
    Ok(())
}

fn make_at(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), Errno> {
    let node = |kind, device| mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, device);
    let device = || entry.attributes.device.map(|(major, minor)| makedev(major, minor)).ok_or(Errno::BADMSG);
    match entry.kind {
        Kind::Symlink => {
            let target = entry.attributes.link_target.as_deref();
            let usable = |target: &&[u8]| !target.is_empty() && !target.contains(&0);
            symlinkat(target.filter(usable).ok_or(Errno::BADMSG)?, parent, name)
        }
        Kind::Fifo => node(FileType::Fifo, 0),
        Kind::Socket => node(FileType::Socket, 0),
        Kind::CharDevice => node(FileType::CharacterDevice, device()?),
        Kind::BlockDevice => node(FileType::BlockDevice, device()?),
        Kind::File | Kind::Directory => Err(Errno::BADMSG),
    }
}

fn operation(kind: Kind) -> &'static str {
    match kind {
        Kind::Symlink => "make link",
        Kind::Fifo => "make pipe",
        Kind::Socket => "make socket",
        _ => "make device",
    }
}
