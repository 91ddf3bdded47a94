//! A large or sparse file, piece by piece.
//!
//! On purpose not here: mapping files into memory; a file that shrinks would end the process.

use super::unreadable;
use crate::stat::{ctime_of, mtime_of};
use holdfast_core::entry::Time;
use holdfast_engine::source::{ContentStream, Details, ItemError, Piece, ReadStatus, Stat};
use rustix::fd::OwnedFd;
use rustix::fs::{Advice, SeekFrom, fadvise, fstat, seek};
use rustix::io::{Errno, pread};

/// What a file was when it was opened, as far as a change shows in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    size: u64,
    mtime: Time,
    ctime: Time,
}

impl Before {
    pub(super) fn of(stat: &Stat) -> Self {
        Self { size: stat.size, mtime: stat.mtime, ctime: stat.ctime }
    }

    /// Compares with what the file is now. Only a longer file passes as grown: a shorter or an
    /// equally long one was written over.
    pub(super) fn compare(self, handle: &OwnedFd) -> Result<ReadStatus, ItemError> {
        let raw = fstat(handle).map_err(|error| unreadable("read attributes", error))?;
        let size = u64::try_from(raw.st_size).unwrap_or(0);
        Ok(if size > self.size {
            ReadStatus::Grown
        } else if size == self.size && mtime_of(&raw) == self.mtime && ctime_of(&raw) == self.ctime {
            ReadStatus::Stable
        } else {
            ReadStatus::Torn
        })
    }
}

/// A file that is read from its start to its length at open.
#[derive(Debug)]
pub(super) struct FileStream {
    handle: OwnedFd,
    stat: Stat,
    details: Details,
    position: u64,
    /// Up to here there is data; beyond, the file system is asked again.
    data_end: u64,
    shrank: bool,
}

impl FileStream {
    pub(super) fn new(handle: OwnedFd, stat: Stat, details: Details) -> Self {
        // A hint; a file system that does not take it is read all the same.
        let _ = fadvise(&handle, 0, None, Advice::Sequential);
        let data_end = if stat.sparse { 0 } else { stat.size };
        Self { handle, stat, details, position: 0, data_end, shrank: false }
    }

    /// Finds the hole or the data that begins at the position.
    fn find(&mut self) -> Result<Option<u64>, ItemError> {
        let size = self.stat.size;
        let data = match seek(&self.handle, SeekFrom::Data(self.position)) {
            Ok(data) => data.min(size),
            Err(Errno::NXIO) => size,
            Err(Errno::INVAL | Errno::NOTSUP) => {
                self.data_end = size;
                return Ok(None);
            }
            Err(error) => return Err(unreadable("read", error)),
        };
        if data > self.position {
            let hole = data - self.position;
            self.position = data;
            return Ok(Some(hole));
        }
        let end = seek(&self.handle, SeekFrom::Hole(self.position)).unwrap_or(size);
        self.data_end = end.clamp(self.position + 1, size);
        Ok(None)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ItemError> {
        let left = usize::try_from(self.data_end - self.position).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let mut filled = 0;
        while filled < wanted && !self.shrank {
            match pread(&self.handle, &mut buffer[filled..wanted], self.position) {
                Ok(0) => self.shrank = true,
                Ok(length) => {
                    filled += length;
                    self.position += length as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(unreadable("read", error)),
            }
        }
        Ok(filled)
    }
}

impl ContentStream for FileStream {
    fn opened(&self) -> (&Stat, &Details) {
        (&self.stat, &self.details)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Piece, ItemError> {
        if self.shrank || self.position >= self.stat.size {
            return Ok(Piece::End);
        }
        if self.position >= self.data_end
            && let Some(hole) = self.find()?
        {
            return Ok(Piece::Hole(hole));
        }
        let filled = self.fill(buffer)?;
        Ok(if filled == 0 { Piece::End } else { Piece::Data(filled) })
    }

    fn finish(&mut self) -> Result<ReadStatus, ItemError> {
        if self.shrank { Ok(ReadStatus::Torn) } else { Before::of(&self.stat).compare(&self.handle) }
    }
}
