//! Going into a directory: whether, and what it holds.
//!
//! Its own entry was listed before; nothing here can take that back. On purpose not here: what
//! happens to the names.

use super::batch::Filling;
use super::marks;
use super::names::Listing;
use super::{DIRECTORY, Frame, Walk, failed};
use crate::directory::Directory;
use crate::walk::name_of;
use holdfast_engine::outcome::NoticeKind;
use holdfast_engine::source::SourceError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use std::ops::Range;
use std::sync::Arc;

/// A directory that was opened to be listed.
struct Inside {
    handle: OwnedFd,
    device: u64,
}

/// What opening a directory told.
enum Found {
    Inside(Inside),
    Virtual(&'static str),
}

impl Walk {
    /// Goes into "/", which has no entry of its own.
    pub(super) fn enter_top(&mut self, batch: &mut Filling) -> Result<(), SourceError> {
        let top = Arc::clone(&self.top);
        let handle = top.open().map_err(|error| failed("open", b"", error))?;
        let inside = open(handle.as_fd(), b".", true).map_err(|error| failed("open", b"", error))?;
        self.list(Arc::clone(&top), inside.handle.as_fd(), inside.device, false, batch);
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
            Ok(inside) => self.go_in(parent, inside, true, batch),
            Err(Errno::NOENT) => return Err(failed("open", &self.key, Errno::NOENT)),
            Err(error) => self.missed("list", error, batch),
        }
        Ok(())
    }

    /// Goes into the directory that was just listed in the innermost one.
    pub(super) fn enter(&mut self, device: u64, keep_atime: bool, batch: &mut Filling) {
        let Some(frame) = self.frames.last_mut() else { return };
        let crossing = device != frame.device;
        let parent = Arc::clone(&frame.directory);
        match look_inside(frame, name_of(&self.key), crossing, keep_atime) {
            Ok(Found::Inside(inside)) => self.go_in(&parent, inside, false, batch),
            Ok(Found::Virtual(kind)) => self.leave_out(kind, batch),
            Err(error) => self.missed("list", error, batch),
        }
    }

    fn leave_out(&self, kind: &str, batch: &mut Filling) {
        let what = format!("contents left out: a {kind} file system holds no files to keep");
        batch.notice(&self.key, NoticeKind::LeftOut, &what);
    }

    /// Lists the opened directory, as far as it is to be walked.
    fn go_in(&mut self, parent: &Arc<Directory>, inside: Inside, stated: bool, batch: &mut Filling) {
        let Inside { handle, device } = inside;
        let stated = stated || self.roots.is_nested(&self.key);
        let outer = self.frames.last();
        let same = outer.is_some_and(|outer| outer.device == device);
        if !same && let Some(kind) = marks::virtual_file_system(handle.as_fd()) {
            return self.leave_out(kind, batch);
        }
        let passing = outer.is_some_and(|outer| outer.on_the_way);
        let on_the_way = !stated && self.rules.one_file_system && (!same || passing);
        // Only the innermost directory holds a spare handle.
        if let Some(outer) = self.frames.last_mut() {
            outer.spare = None;
        }
        let (directory, spare) = parent.below(name_of(&self.key), handle, DIRECTORY);
        let opened = Arc::clone(&directory);
        let Some(handle) = spare.as_ref().map(AsFd::as_fd).or_else(|| opened.handle()) else { return };
        self.list(directory, handle, device, on_the_way, batch);
        if let Some(frame) = self.frames.last_mut() {
            frame.spare = spare;
        }
    }

    fn list(
        &mut self,
        directory: Arc<Directory>,
        handle: BorrowedFd<'_>,
        device: u64,
        on_the_way: bool,
        batch: &mut Filling,
    ) {
        let listing = if on_the_way {
            let names = self.roots.on_the_way(&self.key);
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
        let Range { start: next, end } = tag.map_or(listing.names.clone(), |at| at..at + 1);
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

/// Opens a directory below the innermost one, unless it is the mount of a virtual file system.
fn look_inside(frame: &mut Frame, name: &[u8], crossing: bool, keep_atime: bool) -> Result<Found, Errno> {
    let handle = frame.open()?;
    if crossing {
        // Opened for its path only, a mount on demand is not triggered.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path_only = openat(&handle, name, flags, Mode::empty())?;
        if let Some(kind) = marks::virtual_file_system(path_only.as_fd()) {
            return Ok(Found::Virtual(kind));
        }
    }
    open(handle.as_fd(), name, keep_atime).map(Found::Inside)
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
