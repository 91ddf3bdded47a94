//! The walk: depth first, siblings in the order of their bytes, one handle per directory.
//!
//! Names are listed first and looked at one by one later, so that a stat is as fresh as it can
//! be and memory does not grow with it. One thread is enough: an unchanged file costs one call.
//! On purpose not here: reading.

mod batch;
mod enter;
mod marks;
mod names;
mod roots;

pub(crate) use batch::name_of;
pub(crate) use roots::is_below;

use crate::directory::{Budget, DIRECTORY, Directory, Opened};
use crate::excludes::Excludes;
use crate::read::{Access, Shared};
use crate::source::{FileSourceOptions, Whereabouts};
use crate::stat::{from_stat, mtime_of};
use batch::{Filling, path_of};
use holdfast_core::entry::{Kind, key_to_path};
use holdfast_engine::outcome::NoticeKind;
use holdfast_engine::source::{EntryBatch, SourceError, Stat};
use marks::Tag;
use names::{Hint, Listing, Names};
use roots::{Roots, Skipped};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::sync::Arc;

/// The format does not take longer keys.
const KEY_BYTES_MAX: usize = 65_535;

/// What the walk leaves out.
#[derive(Debug)]
struct Rules {
    excludes: Excludes,
    one_file_system: bool,
    tags: Vec<Tag>,
    larger_than: u64,
    skipped: Skipped,
}

/// A directory that the walk is inside of.
#[derive(Debug)]
struct Frame {
    directory: Arc<Directory>,
    /// Its handle while it is the innermost one, if it does not keep one itself.
    spare: Option<OwnedFd>,
    device: u64,
    key_length: usize,
    listing: Listing,
    next: usize,
    end: usize,
    /// Only the way to stated paths is walked: the folder is left out, or on another file system.
    on_the_way: bool,
    /// It holds a tag: beside that only the way to stated paths is walked.
    is_tagged: bool,
    /// It belongs to a file system that mounts what is asked for.
    is_autofs: bool,
}

/// A folder that was just listed in the innermost one.
#[derive(Debug, Clone, Copy)]
struct Listed {
    device: u64,
    keep_atime: bool,
    /// A rule leaves it out, and only stated paths in it are walked.
    left_out: bool,
}

/// A folder above the paths that were stated.
#[derive(Debug)]
struct Above {
    key: Vec<u8>,
    directory: Arc<Directory>,
}

/// Walks the paths of a source.
#[derive(Debug)]
pub(crate) struct Walk {
    roots: Roots,
    rules: Rules,
    shared: Arc<Shared>,
    top: Arc<Directory>,
    above: Vec<Above>,
    frames: Vec<Frame>,
    names: Names,
    key: Vec<u8>,
    here: Option<Arc<Whereabouts>>,
}

impl Walk {
    pub(crate) fn new(options: FileSourceOptions, shared: Arc<Shared>) -> Result<Self, SourceError> {
        let top = openat(CWD, c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let top = top.map_err(|error| failed("open", b"", error))?;
        let walk = Self {
            here: options.here.clone(),
            roots: Roots::new(&options.paths),
            rules: Rules::new(options)?,
            shared,
            top: Directory::top(top, Budget::of_process()),
            above: Vec::new(),
            frames: Vec::new(),
            names: Names::new(),
            key: Vec::new(),
        };
        walk.roots.all().try_for_each(|root| check(root))?;
        Ok(walk)
    }

    pub(crate) fn next_batch(&mut self) -> Result<Option<EntryBatch>, SourceError> {
        let mut batch = Filling::new();
        while !batch.is_full() {
            if !self.frames.is_empty() {
                self.step(&mut batch);
            } else if let Some(root) = self.roots.next() {
                self.begin(&root, &mut batch)?;
            } else {
                break;
            }
        }
        Ok(batch.end(&self.shared))
    }

    /// Lists the folders above a stated path and then the path itself.
    fn begin(&mut self, root: &[u8], batch: &mut Filling) -> Result<(), SourceError> {
        while self.above.pop_if(|above| !is_below(root, &above.key)).is_some() {}
        let mut start = self.above.last().map_or(0, |above| above.key.len() + 1);
        while let Some(length) = root[start.min(root.len())..].iter().position(|&byte| byte == 0) {
            self.pass(root, start + length, batch)?;
            start += length + 1;
        }
        self.key.clear();
        self.key.extend_from_slice(root);
        if let Some(here) = &self.here {
            here.set(&self.key);
        }
        let parent = self.innermost_above();
        if root.is_empty() {
            return self.enter_top(batch);
        }
        self.visit_root(&parent, batch)
    }

    fn innermost_above(&self) -> Arc<Directory> {
        Arc::clone(self.above.last().map_or(&self.top, |above| &above.directory))
    }

    /// Lists one folder above a stated path. Links are followed: the path leads through them.
    fn pass(&mut self, root: &[u8], key_length: usize, batch: &mut Filling) -> Result<(), SourceError> {
        let key = &root[..key_length];
        let parent = self.innermost_above();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let name = name_of(key);
        let gone = |error| failed("open", key, error);
        let handle =
            parent.open().and_then(|handle| openat(handle, name, flags, Mode::empty())).map_err(gone)?;
        let raw = rustix::fs::fstat(&handle).map_err(gone)?;
        if let Some(mut stat) = from_stat(&raw, &self.shared.owners) {
            let below = key_to_path(&root[key_length + 1..]);
            let stated = statat(&handle, below, AtFlags::SYMLINK_NOFOLLOW);
            stat.mtime = stated.map_or(stat.mtime, |stated| mtime_of(&stated));
            let above = Some(stat.mtime);
            let access = Access { keep_atime: self.shared.may_keep_atime(stat.owner.uid), above };
            batch.add(key, &parent, stat, access);
        }
        let (directory, _) = parent.below(name, handle, flags);
        self.above.push(Above { key: key.to_vec(), directory });
        Ok(())
    }

    /// Lists a stated path. It was there when the run began, so it must be there now.
    fn visit_root(&mut self, parent: &Arc<Directory>, batch: &mut Filling) -> Result<(), SourceError> {
        let gone = |error| failed("read", &self.key, error);
        let handle = parent.open().map_err(gone)?;
        let raw = statat(&handle, name_of(&self.key), AtFlags::SYMLINK_NOFOLLOW).map_err(gone)?;
        let Some(stat) = from_stat(&raw, &self.shared.owners) else { return Ok(()) };
        if stat.kind == Kind::Symlink {
            let what = "stored as a link; end the path with a slash to back up what it points to";
            batch.notice(&self.key, NoticeKind::Other, what);
        }
        if self.is_skipped(&stat, batch) {
            return Ok(());
        }
        let (is_directory, uid) = (stat.kind == Kind::Directory, stat.owner.uid);
        let access = Access { keep_atime: self.shared.may_keep_atime(uid), above: None };
        batch.add(&self.key, parent, stat, access);
        if is_directory { self.enter_root(parent, handle.as_fd(), access.keep_atime, batch) } else { Ok(()) }
    }

    /// Looks at the next name of the innermost directory, or leaves it.
    fn step(&mut self, batch: &mut Filling) {
        let Some(frame) = self.frames.last_mut() else { return };
        self.key.truncate(frame.key_length);
        if frame.next == frame.end {
            return self.leave();
        }
        let at = frame.next;
        frame.next += 1;
        let (name, hint) = self.names.get(&frame.listing, at);
        if frame.key_length > 0 {
            self.key.push(0);
        }
        self.key.extend_from_slice(name.to_bytes());
        if hint != Hint::Unknown
            && self.rules.excludes.leaves_out(&self.key, hint == Hint::Directory)
            && !self.roots.leads_on(&self.key)
        {
            return;
        }
        if self.key.len() > KEY_BYTES_MAX {
            batch.problem(&self.key, format!("path is longer than {KEY_BYTES_MAX} bytes"));
            return;
        }
        if let Some(here) = &self.here {
            here.set(&self.key);
        }
        match look(frame, name) {
            Ok(raw) => self.take(&raw, hint, batch),
            Err(error) => self.missed("read attributes", error, batch),
        }
    }

    /// Takes an item in, unless a rule leaves it out.
    fn take(&mut self, raw: &rustix::fs::Stat, hint: Hint, batch: &mut Filling) {
        let Some(stat) = from_stat(raw, &self.shared.owners) else { return };
        let is_directory = stat.kind == Kind::Directory;
        let leads_on = self.roots.leads_on(&self.key);
        let asks = hint == Hint::Unknown || leads_on;
        let left_out = asks && self.rules.excludes.leaves_out(&self.key, is_directory)
            || stat.size > self.rules.larger_than
            || leads_on && self.frames.last().is_some_and(|frame| frame.is_tagged);
        // What was stated is never left out, nor the way to it.
        if left_out && !leads_on || self.is_skipped(&stat, batch) {
            return;
        }
        let Some(frame) = self.frames.last() else { return };
        let device = stat.device_of;
        let access = Access { keep_atime: self.shared.may_keep_atime(stat.owner.uid), above: None };
        batch.add(&self.key, &frame.directory, stat, access);
        if is_directory {
            let folder = Listed { device, keep_atime: access.keep_atime, left_out };
            self.enter(folder, batch);
        }
    }

    fn is_skipped(&self, stat: &Stat, batch: &mut Filling) -> bool {
        let skipped = self.rules.skipped.contains(&self.key, stat.device_of, stat.inode);
        if skipped {
            batch.notice(&self.key, NoticeKind::LeftOut, "left out: belongs to the backup itself");
        }
        skipped
    }

    /// Notes what could not be looked at. What is gone in the meantime is no problem.
    fn missed(&self, operation: &str, error: Errno, batch: &mut Filling) {
        match error {
            Errno::NOENT => {
                batch.notice(&self.key, NoticeKind::Vanished, "vanished while the source was read");
            }
            error => batch.problem(&self.key, format!("{operation}: {}", std::io::Error::from(error))),
        }
    }

    fn leave(&mut self) {
        if let Some(frame) = self.frames.pop() {
            self.names.drop_last(&frame.listing);
        }
    }
}

impl Rules {
    fn new(options: FileSourceOptions) -> Result<Self, SourceError> {
        let mut tags = Vec::new();
        for text in &options.exclude_if_present {
            let wrong =
                || SourceError { what: format!("'{text}' is no file name to look for"), source: None };
            tags.push(Tag::parse(text).ok_or_else(wrong)?);
        }
        if options.exclude_caches {
            tags.push(Tag::of_caches());
        }
        Ok(Self {
            excludes: options.excludes,
            one_file_system: options.one_file_system,
            tags,
            larger_than: options.exclude_larger_than.unwrap_or(u64::MAX),
            skipped: Skipped::new(&options.skip_paths),
        })
    }
}

impl Frame {
    /// The handle, opened again if the walk was further down and it was not kept.
    fn open(&mut self) -> Result<Opened<'_>, Errno> {
        if self.spare.is_none()
            && let Opened::Temporary(handle) = self.directory.open()?
        {
            self.spare = Some(handle);
        }
        match &self.spare {
            Some(handle) => Ok(Opened::Held(handle.as_fd())),
            None => self.directory.open(),
        }
    }
}

fn look(frame: &mut Frame, name: &CStr) -> Result<rustix::fs::Stat, Errno> {
    statat(frame.open()?, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Sees that a stated path is there before anything else is done.
fn check(root: &[u8]) -> Result<(), SourceError> {
    if root.len() > KEY_BYTES_MAX {
        return Err(failed("read", root, Errno::NAMETOOLONG));
    }
    match statat(CWD, path_of(root), AtFlags::SYMLINK_NOFOLLOW) {
        // Longer than one call takes; the walk goes there step by step.
        Ok(_) | Err(Errno::NAMETOOLONG) => Ok(()),
        Err(error) => Err(failed("read", root, error)),
    }
}

fn failed(operation: &str, key: &[u8], error: Errno) -> SourceError {
    let path = path_of(key);
    let path = String::from_utf8_lossy(&path);
    let next = match error {
        Errno::NOENT | Errno::NOTDIR => "check the path and that its file system is mounted, or take it out",
        Errno::ACCESS | Errno::PERM => "run as a user who may read it, or take it out",
        _ => "check the file system, then run again",
    };
    SourceError { what: format!("{operation} source {path}: {next}"), source: Some(error.into()) }
}
