//! Goes through a segment in order: a table from end to end, or sorted keys of chunks. Blocks are
//! read many at a time, past those that are kept for look-ups.
//!
//! On purpose not here: several segments at once ([`super::walk`]).

use super::segment::{ReadBlock, SegmentIndex};
use super::table::{BLOCK_BYTES, Table};
use crate::error::Result;
use holdfast_core::index::ChunkKey;
use std::sync::Arc;

/// Blocks that are read at a time: 512 KiB.
const BLOCKS_AT_ONCE: u64 = 32;
/// Blocks that may be passed over before what follows counts as another place.
const GAP_BLOCKS_MAX: u64 = 8;

/// Consecutive blocks of a segment, in a buffer that is used again.
#[derive(Debug)]
struct Window {
    segment: Arc<SegmentIndex>,
    first: u64,
    bytes: Vec<u8>,
    /// Blocks that are read at a time now.
    ahead: u64,
}

impl Window {
    fn new(segment: &Arc<SegmentIndex>) -> Self {
        Self { segment: Arc::clone(segment), first: 0, bytes: Vec::new(), ahead: 1 }
    }
}

impl ReadBlock for Window {
    /// Reads ahead the further, the longer blocks are asked for in order.
    fn block(&mut self, number: u64) -> Result<&[u8]> {
        let end = self.first + (self.bytes.len() / BLOCK_BYTES) as u64;
        if !(self.first..end).contains(&number) {
            let near = (end..=end + GAP_BLOCKS_MAX).contains(&number);
            self.ahead = if near { (self.ahead * 2).min(BLOCKS_AT_ONCE) } else { 1 };
            let blocks = self.ahead.min(self.segment.counts().all_blocks() - number);
            self.bytes.resize(blocks as usize * BLOCK_BYTES, 0);
            self.first = number;
            if let Err(error) = self.segment.read(number, &mut self.bytes) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let at = (number - self.first) as usize * BLOCK_BYTES;
        Ok(&self.bytes[at..at + BLOCK_BYTES])
    }
}

/// Gives the rows of a table, from one on.
#[derive(Debug)]
pub(super) struct Scan {
    window: Window,
    table: Table,
    next: u64,
}

impl Scan {
    pub(super) fn new(segment: &Arc<SegmentIndex>, table: Table) -> Self {
        Self { window: Window::new(segment), table, next: 0 }
    }

    /// The next row and its number; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<(u64, &[u8])>> {
        let counts = self.window.segment.counts();
        if self.next == counts.of(self.table) {
            return Ok(None);
        }
        let row = self.next;
        let (block, at) = counts.place(self.table, row);
        self.next += 1;
        Ok(Some((row, &self.window.block(block)?[at..at + self.table.width()])))
    }
}

/// Looks up keys that ascend.
#[derive(Debug)]
pub(super) struct Sweep(Window);

impl Sweep {
    pub(super) fn new(segment: &Arc<SegmentIndex>) -> Self {
        Self(Window::new(segment))
    }

    /// The number of the first row of a chunk.
    pub(super) fn first_row(&mut self, key: &ChunkKey) -> Result<Option<u64>> {
        let segment = Arc::clone(&self.0.segment);
        segment.find_in(key, &mut self.0, &mut |_| Ok(()))
    }
}
