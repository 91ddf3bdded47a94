//! Reading what was listed: contents up to a bundle's size at once, the rest as streams.
//!
//! A small file costs open, statx, read, fstat, one call for attributes, one for flags, close.
//! On purpose not here: trying again. The engine decides how often a file may change.

mod details;
mod shared;
mod stream;

pub(crate) use details::{FLAGS_KEPT, path_to, xattrs_now, xattrs_of_name};
pub(crate) use shared::Shared;

use crate::directory::{Directory, Opened};
use crate::stat::{from_stat, from_statx, kind_of, time_of};
use details::Subject;
use holdfast_core::entry::{Kind, Time};
use holdfast_engine::source::{
    ContentStream, Details, Examined, ItemError, ItemReader, ReadStatus, SMALL_FILE_BYTES_MAX, Stat,
};
use rustix::buffer::spare_capacity;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, openat, readlinkat, statat, statx};
use rustix::io::{Errno, read};
use std::sync::Arc;
use stream::{Before, FileStream};

/// Where the items of a batch are.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    names: Vec<u8>,
    places: Vec<Place>,
    directories: Vec<Arc<Directory>>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    directory: u32,
    name: u32,
    name_length: u16,
    kind: Kind,
    access: Access,
}

/// How an item may be opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    /// The system lets this process read it without touching its access time.
    pub(crate) keep_atime: bool,
    /// The time of a folder above a stated path, which leads through links. Its own time would
    /// say what else came and went in it, and make each snapshot another.
    pub(crate) above: Option<Time>,
}

impl Reading {
    pub(crate) fn with_capacity(items: usize) -> Self {
        Self {
            names: Vec::with_capacity(8 * 1024),
            places: Vec::with_capacity(items),
            directories: Vec::new(),
        }
    }

    /// How many directories are referred to; some may be counted twice.
    pub(crate) fn directories(&self) -> usize {
        self.directories.len()
    }

    /// Adds the next item.
    pub(crate) fn add(&mut self, directory: &Arc<Directory>, name: &[u8], kind: Kind, access: Access) {
        // A walk comes back to the directory it left, so the last few are worth a look.
        let recent = self.directories.len().saturating_sub(8);
        let known = self.directories[recent..].iter().position(|other| Arc::ptr_eq(other, directory));
        let at = known.map_or(self.directories.len(), |at| recent + at);
        if at == self.directories.len() {
            self.directories.push(Arc::clone(directory));
        }
        let start = self.names.len();
        self.names.extend_from_slice(name);
        self.places.push(Place {
            directory: at as u32,
            name: start as u32,
            // The system's limit for a name is far below.
            name_length: name.len() as u16,
            kind,
            access,
        });
    }
}

/// Reads the items of one batch.
#[derive(Debug)]
pub(crate) struct BatchReader {
    reading: Reading,
    shared: Arc<Shared>,
}

/// A file that was opened, and what it was then.
struct OpenFile {
    handle: OwnedFd,
    stat: Stat,
    details: Details,
}

impl BatchReader {
    pub(crate) fn new(reading: Reading, shared: Arc<Shared>) -> Self {
        Self { reading, shared }
    }

    fn place(&self, item: usize) -> (Place, &[u8]) {
        let place = self.reading.places[item];
        let start = place.name as usize;
        (place, &self.reading.names[start..start + usize::from(place.name_length)])
    }

    fn parent(&self, place: Place) -> Result<Opened<'_>, ItemError> {
        let opened = self.reading.directories[place.directory as usize].open();
        opened.map_err(|error| match error {
            Errno::NOENT => ItemError::Vanished,
            error => unreadable("open its folder", error),
        })
    }

    fn examine_file(&self, item: usize, content: &mut Vec<u8>) -> Result<Examined, ItemError> {
        let OpenFile { handle, stat, mut details } = self.open_file(item)?;
        let status = if stat.size > SMALL_FILE_BYTES_MAX {
            ReadStatus::Torn
        } else {
            read_whole(&handle, &stat, content)?
        };
        self.complete(Subject::Open(handle.as_fd()), &stat, &mut details);
        Ok(Examined { stat, details, status })
    }

    fn open_file(&self, item: usize) -> Result<OpenFile, ItemError> {
        let (place, name) = self.place(item);
        let parent = self.parent(place)?;
        let handle = open_to_read(parent.as_fd(), name, place.access.keep_atime)
            .map_err(|error| by_name(parent.as_fd(), name, Kind::File, "open", error))?;
        let looked = self.look(handle.as_fd(), c"".to_bytes(), AtFlags::EMPTY_PATH);
        let (stat, details) = looked.map_err(|error| unreadable("read attributes", error))?;
        let stat = stat.filter(|stat| stat.kind == Kind::File).ok_or_else(changed)?;
        Ok(OpenFile { handle, stat, details })
    }

    /// What is there now, with its creation time.
    fn look(
        &self,
        handle: BorrowedFd<'_>,
        name: &[u8],
        flags: AtFlags,
    ) -> Result<(Option<Stat>, Details), Errno> {
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let (stat, birth) = match statx(handle, name, flags, mask) {
            Ok(raw) => {
                let known = raw.stx_mask & StatxFlags::BTIME.bits() != 0;
                (from_statx(&raw, &self.shared.owners), known.then(|| time_of(raw.stx_btime)))
            }
            // Old sandboxes forbid the newer call.
            Err(Errno::NOSYS | Errno::PERM) => {
                let raw = statat(handle, name, flags)?;
                (from_stat(&raw, &self.shared.owners), None)
            }
            Err(error) => return Err(error),
        };
        Ok((stat, Details { birth, ..Details::default() }))
    }

    /// Everything that is no file has no content, only details.
    fn examine_other(&self, item: usize) -> Result<Examined, ItemError> {
        let (place, name) = self.place(item);
        let parent = self.parent(place)?;
        let flags = if place.access.above.is_some() { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        let handle = parent.as_fd();
        let failed = |operation, error| by_name(handle, name, place.kind, operation, error);
        let looked = self.look(handle, name, flags);
        let (stat, mut details) = looked.map_err(|error| failed("read attributes", error))?;
        let mut stat = stat.filter(|stat| stat.kind == place.kind).ok_or_else(changed)?;
        stat.mtime = place.access.above.unwrap_or(stat.mtime);
        if stat.kind == Kind::Symlink {
            let target = readlinkat(handle, name, Vec::new()).map_err(|error| failed("read link", error))?;
            details.link_target = Some(target.into_bytes());
        }
        match open_directory(place, parent.as_fd(), name) {
            Some(handle) => self.complete(Subject::Open(handle.as_fd()), &stat, &mut details),
            None => {
                let path = path_to(parent.as_fd(), name);
                let subject =
                    if place.access.above.is_some() { Subject::Path(&path) } else { Subject::Link(&path) };
                self.complete(subject, &stat, &mut details);
            }
        }
        Ok(Examined { stat, details, status: ReadStatus::Stable })
    }

    fn complete(&self, subject: Subject<'_>, stat: &Stat, details: &mut Details) {
        details::read_xattrs(subject, &self.shared, stat.device_of, details);
        if let Subject::Open(handle) = subject {
            details::read_flags(handle, &self.shared, stat.device_of, details);
        }
    }
}

impl ItemReader for BatchReader {
    fn examine(&self, item: usize, content: &mut Vec<u8>) -> Result<Examined, ItemError> {
        match self.reading.places[item].kind {
            Kind::File => self.examine_file(item, content),
            _ => self.examine_other(item),
        }
    }

    fn open(&self, item: usize) -> Result<Box<dyn ContentStream>, ItemError> {
        if self.reading.places[item].kind != Kind::File {
            return Err(unreadable("open", Errno::INVAL));
        }
        let OpenFile { handle, stat, mut details } = self.open_file(item)?;
        self.complete(Subject::Open(handle.as_fd()), &stat, &mut details);
        Ok(Box::new(FileStream::new(handle, stat, details)))
    }
}

/// Opens a file without ever waiting for what it may have become.
fn open_to_read(parent: BorrowedFd<'_>, name: &[u8], keep_atime: bool) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let noatime = if keep_atime { OFlags::NOATIME } else { OFlags::empty() };
    match openat(parent, name, flags | noatime, Mode::empty()) {
        Err(Errno::PERM) if keep_atime => openat(parent, name, flags, Mode::empty()),
        // Another process holds a lease: wait until it is given back, if it is still a file.
        Err(Errno::AGAIN) => open_leased(parent, name),
        other => other,
    }
}

fn open_leased(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let raw = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if kind_of(raw.st_mode) != Some(Kind::File) {
        return Err(Errno::NOENT);
    }
    openat(parent, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// A directory that may be read is opened; all else is asked by its path.
fn open_directory(place: Place, parent: BorrowedFd<'_>, name: &[u8]) -> Option<OwnedFd> {
    let noatime = if place.access.keep_atime { OFlags::NOATIME } else { OFlags::empty() };
    let nofollow = if place.access.above.is_some() { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | noatime | nofollow;
    (place.kind == Kind::Directory).then(|| openat(parent, name, flags, Mode::empty()).ok())?
}

/// Reads a file up to its length at open, and one byte more to see whether it grew.
fn read_whole(handle: &OwnedFd, stat: &Stat, content: &mut Vec<u8>) -> Result<ReadStatus, ItemError> {
    let start = content.len();
    let wanted = usize::try_from(stat.size).unwrap_or(usize::MAX);
    content.reserve(wanted + 1);
    loop {
        let before = content.len() - start;
        let length = match read(handle, spare_capacity(content)) {
            Ok(length) => length,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(unreadable("read", error)),
        };
        // More room than bytes left was offered, so a short answer is the end of the file.
        if length == 0 || before + length >= wanted {
            break;
        }
    }
    let got = content.len() - start;
    content.truncate(start + wanted);
    if got < wanted {
        return Ok(ReadStatus::Torn);
    }
    Before::of(stat).compare(handle)
}

/// An error of what is there. Of what is open every error is.
fn unreadable(operation: &'static str, error: Errno) -> ItemError {
    ItemError::Unreadable { operation, source: error.into() }
}

/// What was listed is something else now. What it was is gone, and what it is was not looked for.
fn changed() -> ItemError {
    let source = std::io::Error::other("it is something else now than when it was listed; back up again");
    ItemError::Unreadable { operation: "read", source }
}

/// An error of a call by name. Whether the item is gone only its name can tell: others give such errors,
/// too.
fn by_name(
    parent: BorrowedFd<'_>,
    name: &[u8],
    kind: Kind,
    operation: &'static str,
    error: Errno,
) -> ItemError {
    if !matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::STALE) {
        return unreadable(operation, error);
    }
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => ItemError::Vanished,
        Ok(raw) if kind_of(raw.st_mode) != Some(kind) => changed(),
        // Another one took its name: worth another attempt.
        Ok(_) if error == Errno::NOENT => unreadable(operation, Errno::STALE),
        _ => unreadable(operation, error),
    }
}
