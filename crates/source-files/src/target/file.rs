//! Writing the bytes of a file.
//!
//! On purpose not here: which file, and what becomes of it when writing fails.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Mode, OFlags, SeekFrom, fallocate, fstat, linkat, openat, seek,
};
use rustix::io::{Errno, Result, pread, pwrite, write};
use std::ops::Range;

/// Holes begin and end where blocks of the file do.
const BLOCK_BYTES: usize = 4096;
static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// Makes a new file; it is an error if there is anything of that name.
pub(super) fn create(parent: BorrowedFd<'_>, name: &[u8], mode: u16) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::from_raw_mode(u32::from(mode)))
}

/// Makes a file without a name, of which a kill leaves nothing.
pub(super) fn create_unnamed(parent: BorrowedFd<'_>, mode: u16) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    openat(parent, c".", flags, Mode::from_raw_mode(u32::from(mode)))
}

/// Gives a file without a name one that nothing has.
pub(super) fn name(file: BorrowedFd<'_>, parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    // Without the rights for this, the same is asked by way of a path.
    linkat(file, c"", parent, name, AtFlags::EMPTY_PATH).or_else(|error| match error {
        Errno::EXIST => Err(error),
        _ => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, path, parent, name, AtFlags::SYMLINK_FOLLOW)
        }
    })
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

/// Writes those blocks of a part of a file that are not there already; tells how many bytes that was.
pub(super) fn write_differing(file: impl AsFd, offset: u64, bytes: &[u8]) -> Result<u64> {
    let mut there = vec![0; bytes.len()];
    let length = read_part(&file, offset, &mut there)?;
    let mut written = 0;
    let mut run = 0..0;
    for (block, start) in bytes.chunks(BLOCK_BYTES).zip((0..).step_by(BLOCK_BYTES)) {
        let end = start + block.len();
        if end <= length && *block == there[start..end] {
            continue;
        }
        if run.end != start {
            write_part(&file, offset + run.start as u64, &bytes[run.clone()])?;
            run.start = start;
        }
        run.end = end;
        written += block.len() as u64;
    }
    write_part(&file, offset + run.start as u64, &bytes[run])?;
    Ok(written)
}

/// Reads as much as there is of a part of a file.
pub(super) fn read_part(file: impl AsFd, offset: u64, buffer: &mut [u8]) -> Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match pread(&file, &mut buffer[length..], offset + length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Whether nothing is stored of a range. Where the system cannot tell, something is.
pub(super) fn is_hole(file: impl AsFd, offset: u64, length: u64) -> bool {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(data) => data >= offset.saturating_add(length),
        Err(error) => error == Errno::NXIO,
    }
}

/// Makes a range read as zeros, and a hole of it where the file system can.
pub(super) fn clear(file: impl AsFd, offset: u64, length: u64) -> Result<u64> {
    let size = u64::try_from(fstat(&file)?.st_size).unwrap_or(0);
    let length = length.min(size.saturating_sub(offset));
    if length == 0 || is_hole(&file, offset, length) {
        return Ok(0);
    }
    // Of its last block nothing is given back unless the range goes on behind the end.
    let beyond = if offset + length == size { 1 << 20 } else { 0 };
    match fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, length + beyond) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => zero(&file, offset, length),
        done => done.map(|()| 0),
    }
}

fn zero(file: impl AsFd, offset: u64, length: u64) -> Result<u64> {
    let zeros = vec![0; 1 << 20];
    let (mut at, end, mut written) = (offset, offset + length, 0);
    while at < end {
        let part = zeros.len().min((end - at) as usize);
        written += write_differing(&file, at, &zeros[..part])?;
        at += part as u64;
    }
    Ok(written)
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
    fn only_blocks_that_differ_are_written() {
        let file = tempfile::tempfile().unwrap();
        let mut bytes = vec![7; 5 * BLOCK_BYTES + 10];
        assert_eq!(write_differing(&file, 3, &bytes), Ok(bytes.len() as u64));
        assert_eq!(write_differing(&file, 3, &bytes), Ok(0));
        bytes[BLOCK_BYTES] = 8;
        bytes[2 * BLOCK_BYTES] = 8;
        bytes[5 * BLOCK_BYTES + 9] = 8;
        assert_eq!(write_differing(&file, 3, &bytes), Ok(2 * BLOCK_BYTES as u64 + 10));
        let mut there = vec![0; bytes.len() + 50];
        assert_eq!(read_part(&file, 3, &mut there), Ok(bytes.len()));
        assert_eq!(there[..bytes.len()], bytes);
        // Past its end everything is missing, even zeros.
        assert_eq!(write_differing(&file, 1 << 20, &[0; 10]), Ok(10));
    }

    #[test]
    fn a_range_is_cleared() {
        let file = tempfile::tempfile().unwrap();
        write_part(&file, 0, &[1; 10 * BLOCK_BYTES]).unwrap();
        assert!(!is_hole(&file, 0, BLOCK_BYTES as u64));
        clear(&file, BLOCK_BYTES as u64, 3 * BLOCK_BYTES as u64 + 5).unwrap();
        clear(&file, 9 * BLOCK_BYTES as u64, u64::MAX / 2).unwrap();
        let mut there = vec![9; 10 * BLOCK_BYTES];
        assert_eq!(read_part(&file, 0, &mut there), Ok(there.len()));
        let zeros: Vec<_> = (0..there.len()).filter(|&at| there[at] == 0).collect();
        assert_eq!(zeros, (4096..4096 + 3 * 4096 + 5).chain(9 * 4096..10 * 4096).collect::<Vec<_>>());
        zero(&file, 0, 100).unwrap();
        assert_eq!(clear(&file, 1 << 40, 5), Ok(0));
    }

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
