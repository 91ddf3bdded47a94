//! The content of a file that is at the target, to be compared with what was recorded.
//!
//! On purpose not here: comparing.

use super::file;
use holdfast_engine::target::Present;
use rustix::fd::OwnedFd;
use std::fs::File;
use std::io;

/// A file that was restored, ready to be read again.
///
/// # Errors
/// Its length cannot be told.
pub fn restored_file(file: File) -> io::Result<Box<dyn Present>> {
    let size = file.metadata()?.len();
    Ok(Box::new(Content { handle: file.into(), size }))
}

/// The content of a file that is there.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) handle: OwnedFd,
    pub(super) size: u64,
}

impl Present for Content {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match file::read_part(&self.handle, offset, buffer)? {
            length if length == buffer.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn is_hole(&self, offset: u64, length: u64) -> bool {
        file::is_hole(&self.handle, offset, length)
    }
}
