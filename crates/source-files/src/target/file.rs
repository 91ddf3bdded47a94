//! Writing the bytes of a file.
//!
//! On purpose not here: which file, and what becomes of it when writing fails.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, Result, pwrite, write};
use std::ops::Range;

/// Holes begin and end where blocks of the file do.
const BLOCK_BYTES: usize = 4096;
static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// Makes a new file; it is an error if there is anything of that name.
pub(super) fn create(parent: BorrowedFd<'_>, name: &[u8], mode: u16) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::from_raw_mode(u32::from(mode)))
}

/// Writes to a new file from its start.
pub(super) fn write_whole(file: &OwnedFd, content: &[u8]) -> Result<()> {
    let mut rest = content;
    while !rest.is_empty() {
        match write(file, rest) {
            Ok(0) => return Err(Errno::IO),
            Ok(length) => rest = &rest[length..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes a part of a file.
pub(super) fn write_part(file: impl AsFd, offset: u64, bytes: &[u8]) -> Result<()> {
    let (mut offset, mut rest) = (offset, bytes);
    while !rest.is_empty() {
        match pwrite(&file, rest, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(length) => {
                offset += length as u64;
                rest = &rest[length..];
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes a part of a file and leaves holes for its blocks of zeros.
pub(super) fn write_sparse(file: impl AsFd, offset: u64, bytes: &[u8]) -> Result<()> {
    data_runs(offset, bytes).try_for_each(|run| {
        let at = offset + run.start as u64;
        write_part(&file, at, &bytes[run])
    })
}

/// The runs of bytes that are not blocks of zeros. What is never written of a new file reads as
/// zeros, so this holds for a part of a block as well.
fn data_runs(offset: u64, bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let misplaced = (offset % BLOCK_BYTES as u64) as usize;
    let mut at = 0;
    let mut blocks = std::iter::from_fn(move || {
        let length = if at == 0 { BLOCK_BYTES - misplaced } else { BLOCK_BYTES };
        let block = at..(at + length).min(bytes.len());
        at = block.end;
        (!block.is_empty()).then_some(block)
    })
    .filter(|block| bytes[block.clone()] != ZEROS[..block.len()])
    .peekable();
    std::iter::from_fn(move || {
        let mut run = blocks.next()?;
        while let Some(next) = blocks.next_if(|next| next.start == run.end) {
            run.end = next.end;
        }
        Some(run)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_blocks_are_left_out() {
        let mut bytes = vec![0; 5 * BLOCK_BYTES];
        bytes[BLOCK_BYTES..2 * BLOCK_BYTES].fill(1);
        bytes[4 * BLOCK_BYTES] = 1;
        let runs: Vec<_> = data_runs(0, &bytes).collect();
        assert_eq!(runs, [4096..8192, 16384..20480]);
        assert!(data_runs(4095, &[1; 5000]).eq(std::iter::once(0..5000)));
        assert_eq!(data_runs(0, &[]).count(), 0);
        assert_eq!(data_runs(0, &[0; 4096]).count(), 0);
        assert_eq!(data_runs(100, &[0; 5000]).count(), 0);
    }
}
