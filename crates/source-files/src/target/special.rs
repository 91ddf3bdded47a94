//! Links, pipes, sockets and devices: made at once, for they have no content.
//!
//! On purpose not here: hard links.

use super::attributes::{Applied, Subject};
use super::batch::{Goal, Slot};
use super::existing::{kind, look};
use super::links::Fate;
use super::shared::{Shared, one_more};
use super::split_key;
use holdfast_core::entry::{Entry, Kind};
use holdfast_engine::outcome::ProblemKind;
use holdfast_engine::target::TargetError;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{FileType, Mode, major, makedev, minor, mknodat, readlinkat, symlinkat};
use rustix::io::Errno;

/// Makes an entry that is neither file nor folder; tells whether it is there.
pub(super) fn make(shared: &Shared, slot: &Slot, entry: &Entry) -> Result<bool, TargetError> {
    let Some(parent) = &slot.parent else { return Ok(true) };
    let made = parent.open().and_then(|parent| make_in(shared, slot, entry, parent.as_fd()));
    let Err(error) = made else {
        slot.decide(Fate::Made);
        return Ok(true);
    };
    slot.decide(Fate::Unwritable);
    if error == Errno::BADMSG {
        let what = "says too little of itself to be made".to_owned();
        shared.problem(&entry.key, ProblemKind::Refused, what);
        return Ok(false);
    }
    shared.unmade(&entry.key, operation(entry.kind), error)?;
    Ok(false)
}

fn make_in(shared: &Shared, slot: &Slot, entry: &Entry, parent: BorrowedFd<'_>) -> Result<(), Errno> {
    let (name, count) = (split_key(&entry.key).1, &shared.count);
    if slot.goal == Goal::New {
        if !shared.rehearse {
            make_at(parent, name, entry)?;
            let applied = Applied { entry, mode_now: None, fresh: shared.known_owner() };
            shared.apply(Subject::Name(parent, name), applied);
        }
        one_more(&count.created);
    } else if let Goal::File(there) = slot.goal
        && is_same(parent, name, entry)?
    {
        // What has other names was looked at before, and is as recorded.
        let altered = !there.shared && shared.alter(Subject::Name(parent, name), entry);
        one_more(if altered { &count.attributes_only } else { &count.unchanged });
    } else {
        if !shared.rehearse {
            let beside = shared.name_beside(&entry.key);
            make_at(parent, &beside, entry)?;
            let applied = Applied { entry, mode_now: None, fresh: None };
            shared.apply(Subject::Name(parent, &beside), applied);
            shared.take_place(parent, entry, false)?;
        }
        one_more(&count.rewritten);
    }
    Ok(())
}

/// Whether what is there is the same but for its attributes.
fn is_same(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<bool, Errno> {
    let Some(there) = look(parent, name)? else { return Ok(false) };
    if kind(&there) != Some(entry.kind) {
        return Ok(false);
    }
    Ok(match entry.kind {
        Kind::Symlink => {
            let target = readlinkat(parent, name, Vec::new())?;
            Some(target.as_bytes()) == entry.attributes.link_target.as_deref()
        }
        Kind::CharDevice | Kind::BlockDevice => {
            entry.attributes.device == Some((major(there.st_rdev), minor(there.st_rdev)))
        }
        _ => true,
    })
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
