//! Going into a directory: whether, and what it holds.
//!
//! Its own entry was listed before; nothing here can take that back. On purpose not here: what
//! happens to the names.

use super::batch::Filling;
use super::marks;
use super::names::Listing;
use super::{DIRECTORY, Frame, Listed, Walk, failed};
use crate::directory::Directory;
use crate::walk::name_of;
use holdfast_engine::outcome::NoticeKind;
use holdfast_engine::source::SourceError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;
use std::ops::Range;
use std::sync::Arc;

/// A directory that was opened to be listed.
struct Inside {
    handle: OwnedFd,
    device: u64,
}

/// What the caller and the rules say of a directory.
#[derive(Clone, Copy)]
struct Standing {
    stated: bool,
    left_out: bool,
}

/// Where a directory that is listed lies.
#[derive(Clone, Copy)]
struct Place {
    device: u64,
    on_the_way: bool,
    is_autofs: bool,
}

/// What opening a directory told.
enum Found {
    Inside(Inside),
    Virtual(&'static str),
    /// Something is mounted there as soon as it is asked for.
    Waiting,
}

impl Walk {
    /// Goes into "/", which has no entry of its own.
    pub(super) fn enter_top(&mut self, batch: &mut Filling) -> Result<(), SourceError> {
        let top = Arc::clone(&self.top);
        let handle = top.open().map_err(|error| failed("open", b"", error))?;
        let inside = open(handle.as_fd(), b".", true).map_err(|error| failed("open", b"", error))?;
        let place = Place { device: inside.device, on_the_way: false, is_autofs: false };
        self.list(Arc::clone(&top), inside.handle.as_fd(), place, batch);
        if let Some(frame) = self.frames.last_mut() {
            // The top is open for its path only, which lists nothing but serves for all else.
            frame.spare = Some(inside.handle);
        }
        Ok(())
    }

    /// Goes into a directory that was stated.
    pub(super) fn enter_root(
        &mut self,
        parent: &Arc<Directory>,
        handle: BorrowedFd<'_>,
        keep_atime: bool,
        batch: &mut Filling,
    ) -> Result<(), SourceError> {
        match open(handle, name_of(&self.key), keep_atime) {
            Ok(inside) => self.go_in(parent, inside, Standing { stated: true, left_out: false }, batch),
            Err(Errno::NOENT) => return Err(failed("open", &self.key, Errno::NOENT)),
            Err(error) => self.missed("list", error, batch),
        }
        Ok(())
    }

    /// Goes into the directory that was just listed in the innermost one.
    pub(super) fn enter(&mut self, folder: Listed, batch: &mut Filling) {
        let stated = self.roots.is_nested(&self.key);
        let Some(frame) = self.frames.last_mut() else { return };
        let parent = Arc::clone(&frame.directory);
        match look_inside(frame, name_of(&self.key), folder, stated) {
            Ok(Found::Inside(inside)) => {
                self.go_in(&parent, inside, Standing { stated, left_out: folder.left_out }, batch);
            }
            Ok(Found::Virtual(kind)) => self.leave_out(kind, batch),
            Ok(Found::Waiting) => self.tell_waiting(folder, batch),
            Err(error @ (Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
                if !is_gone(frame, name_of(&self.key)) =>
            {
                // It was there when it was listed, and is something else now.
                batch.problem(&self.key, format!("list: {}", std::io::Error::from(error)));
            }
            Err(Errno::NOTDIR | Errno::LOOP) => self.missed("list", Errno::NOENT, batch),
            Err(error) => self.missed("list", error, batch),
        }
    }

    /// What would be mounted if it were asked for is not read, and told: each system has idle ones, as that of its
    /// firmware's files, and each host that it could mount from would be asked.
    fn tell_waiting(&self, folder: Listed, batch: &mut Filling) {
        if !folder.left_out && !self.rules.one_file_system {
            let what = "contents left out: it is mounted when it is asked for, and is not now; to have it in the \
                        backup state it as a path of its own";
            batch.notice(&self.key, NoticeKind::LeftOut, what);
        }
    }

    fn leave_out(&self, kind: &str, batch: &mut Filling) {
        let what = format!("contents left out: a {kind} file system holds no files to keep");
        batch.notice(&self.key, NoticeKind::LeftOut, &what);
    }

    /// Lists the opened directory, as far as it is to be walked.
    fn go_in(&mut self, parent: &Arc<Directory>, inside: Inside, standing: Standing, batch: &mut Filling) {
        let Inside { handle, device } = inside;
        let outer = self.frames.last();
        let same = outer.is_some_and(|outer| outer.device == device);
        let mut is_autofs = same && outer.is_some_and(|outer| outer.is_autofs);
        if !same && let Some(kind) = marks::virtual_file_system(handle.as_fd()) {
            is_autofs = kind == marks::AUTOFS;
            if !is_autofs {
                return self.leave_out(kind, batch);
            }
        }
        let passing = outer.is_some_and(|outer| outer.on_the_way) || standing.left_out;
        let on_the_way = !standing.stated && (passing || self.rules.one_file_system && !same);
        // Only the innermost directory holds a spare handle.
        if let Some(outer) = self.frames.last_mut() {
            outer.spare = None;
        }
        let (directory, spare) = parent.below(name_of(&self.key), handle, DIRECTORY);
        let opened = Arc::clone(&directory);
        let Some(handle) = spare.as_ref().map(AsFd::as_fd).or_else(|| opened.handle()) else { return };
        self.list(directory, handle, Place { device, on_the_way, is_autofs }, batch);
        if let Some(frame) = self.frames.last_mut() {
            frame.spare = spare;
        }
    }

    fn list(&mut self, directory: Arc<Directory>, handle: BorrowedFd<'_>, place: Place, batch: &mut Filling) {
        let Place { device, on_the_way, is_autofs } = place;
        let mut names = self.roots.on_the_way(&self.key);
        let mut listing = if on_the_way {
            self.names.pretend(names.iter().map(|name| &**name))
        } else {
            let (listing, outcome) = self.names.list(handle);
            if let Err(error) = outcome {
                self.missed("list", error, batch);
            }
            self.tell_databases(handle, &listing, batch);
            listing
        };
        let tag = self.rules.tags.iter().find(|tag| tag.is_in(handle, &self.names, &listing));
        let tag = tag.and_then(|tag| self.names.find(&listing, tag.name()));
        if let Some(at) = tag {
            // The tag, and the way to what was stated all the same.
            names.push(self.names.get(&listing, at).0.to_owned());
            names.sort_unstable();
            names.dedup();
            self.names.drop_last(&listing);
            listing = self.names.pretend(names.iter().map(|name| &**name));
        }
        let Range { start: next, end } = listing.names.clone();
        let key_length = self.key.len();
        self.frames.push(Frame {
            directory,
            spare: None,
            device,
            key_length,
            listing,
            next,
            end,
            on_the_way,
            is_tagged: tag.is_some(),
            is_autofs,
        });
    }

    fn tell_databases(&self, handle: BorrowedFd<'_>, listing: &Listing, batch: &mut Filling) {
        if let Some(what) = marks::database(handle, &self.names, listing) {
            batch.notice(&self.key, NoticeKind::LiveDatabase, what);
        }
        for name in self.names.with_write_ahead_log(listing) {
            if marks::is_sqlite(handle, name) {
                let mut key = self.key.clone();
                if !key.is_empty() {
                    key.push(0);
                }
                key.extend_from_slice(name);
                let what =
                    "a live SQLite database copied as files may not open; back up what .backup makes of it";
                batch.notice(&key, NoticeKind::LiveDatabase, what);
            }
        }
    }
}

/// Whether nothing has a name any more.
fn is_gone(frame: &mut Frame, name: &[u8]) -> bool {
    let looked = frame.open().and_then(|handle| statat(&handle, name, AtFlags::SYMLINK_NOFOLLOW));
    matches!(looked, Err(Errno::NOENT))
}

/// Opens a directory below the innermost one, unless it is the mount of a virtual file system, or nothing
/// is mounted there before somebody asks. What was stated is asked for.
fn look_inside(frame: &mut Frame, name: &[u8], folder: Listed, stated: bool) -> Result<Found, Errno> {
    let (crossing, is_autofs) = (folder.device != frame.device, frame.is_autofs);
    let handle = frame.open()?;
    if is_autofs && !crossing && !stated {
        return Ok(Found::Waiting);
    }
    if crossing {
        // Opened for its path only, a mount on demand is not triggered.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path_only = openat(&handle, name, flags, Mode::empty())?;
        match marks::virtual_file_system(path_only.as_fd()) {
            Some(marks::AUTOFS) if stated || marks::holds_mounts(folder.device) => {}
            Some(marks::AUTOFS) => return Ok(Found::Waiting),
            Some(kind) => return Ok(Found::Virtual(kind)),
            None => {}
        }
    }
    open(handle.as_fd(), name, folder.keep_atime).map(Found::Inside)
}

/// Opens a directory to list it. Access times stay as they are where the system allows that.
fn open(parent: BorrowedFd<'_>, name: &[u8], keep_atime: bool) -> Result<Inside, Errno> {
    let noatime = if keep_atime { OFlags::NOATIME } else { OFlags::empty() };
    let handle = match openat(parent, name, DIRECTORY | noatime, Mode::empty()) {
        Err(Errno::PERM) if keep_atime => openat(parent, name, DIRECTORY, Mode::empty())?,
        other => other?,
    };
    let device = fstat(&handle)?.st_dev;
    Ok(Inside { handle, device })
}
