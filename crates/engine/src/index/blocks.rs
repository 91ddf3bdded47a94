//! Blocks of local copies that were read lately, of all segments together: a bound on memory that
//! does not grow with the index.
//!
//! Files are read, not mapped. A map needs `unsafe`; its pages count as the process's memory
//! without a bound that we set; and a file that somebody cuts off under it kills the process
//! instead of giving an error. On purpose not here: what is in a block, and whether it is right.

use crate::workers::lock;
use bytes::Bytes;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// Blocks that are kept: 8 MiB.
const BLOCKS_KEPT: usize = 512;

type Slot = Mutex<Option<((u32, u32), Bytes)>>;

/// Keeps blocks by segment and number. Each has one slot where it may be, shared by many.
#[derive(Debug)]
pub(crate) struct Blocks {
    slots: Box<[Slot]>,
    segments: AtomicU32,
}

impl Default for Blocks {
    fn default() -> Self {
        let slots = (0..BLOCKS_KEPT).map(|_| Slot::default()).collect();
        Self { slots, segments: AtomicU32::new(0) }
    }
}

impl Blocks {
    /// A number that no other segment has here.
    pub(super) fn new_segment(&self) -> u32 {
        self.segments.fetch_add(1, Ordering::Relaxed)
    }

    fn slot(&self, (segment, block): (u32, u32)) -> &Slot {
        // Neighbours get neighbouring slots; segments are spread by a number without small factors.
        let number = u64::from(segment) * 0x9e37_79b1 + u64::from(block);
        &self.slots[(number % BLOCKS_KEPT as u64) as usize]
    }

    pub(super) fn get(&self, name: (u32, u32)) -> Option<Bytes> {
        let slot = lock(self.slot(name));
        slot.as_ref().filter(|(other, _)| *other == name).map(|(_, block)| block.clone())
    }

    pub(super) fn put(&self, name: (u32, u32), block: &Bytes) {
        *lock(self.slot(name)) = Some((name, block.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_given_back_until_another_takes_its_slot() {
        let blocks = Blocks::default();
        let (a, b) = (blocks.new_segment(), blocks.new_segment());
        blocks.put((a, 3), &Bytes::from_static(b"a3"));
        assert_eq!(blocks.get((a, 3)).as_deref(), Some(&b"a3"[..]));
        assert_eq!(blocks.get((b, 3)), None);
        assert_eq!(blocks.get((a, 3 + BLOCKS_KEPT as u32)), None);
        blocks.put((a, 3 + BLOCKS_KEPT as u32), &Bytes::from_static(b"other"));
        assert_eq!(blocks.get((a, 3)), None);
    }
}
