//! Keys of the snapshot before that divide it evenly, for a source that lists several stretches at
//! once.
//!
//! Inner pages say how many entries lie below each child, so few are read. They decide only what is
//! fast: what cannot be read, or is wrong, makes stretches of other lengths. On purpose not here: what
//! a source makes of them.

use crate::ctx::Ctx;
use crate::index::Index;
use crate::reader::Reader;
use crate::repository::Repository;
use crate::snapshots::{Snapshot, details};
use crate::source::Before;
use holdfast_core::id::ChunkId;
use holdfast_core::page::{Child, PageBody};
use std::sync::Arc;

/// So many keys at most.
const LANDMARKS_MAX: u64 = 4096;
/// So many pages are read at most.
const PAGES_MAX: usize = 2048;

/// What a snapshot says to the source of the next: nothing where it is too small to be divided, or
/// where the key does not allow reading.
pub(super) async fn of(
    ctx: &Ctx,
    repository: &Repository,
    index: &Arc<Index>,
    parent: &Snapshot,
    apart: u64,
) -> Before {
    if parent.summary.counts.files < apart.saturating_mul(2) {
        return Before::default();
    }
    let Ok(reader) = Reader::with_index(repository, Arc::clone(index)) else { return Before::default() };
    let Ok(details) = details(ctx, repository, parent).await else { return Before::default() };
    let landmarks = divided(&reader, parent.summary.root, apart).await;
    Before { landmarks, facts: details.facts }
}

/// Goes down a tree, in order, where a child holds more than is to lie between two keys.
async fn divided(reader: &Reader, root: ChunkId, apart: u64) -> Vec<Vec<u8>> {
    let Some((mut stack, total)) = below(reader, &root).await else { return Vec::new() };
    let mut ruler = Ruler::new(total, apart);
    let mut pages_left = PAGES_MAX;
    while let Some((level, child)) = stack.pop() {
        let is_large = level > 0 && child.entries > ruler.apart && pages_left > 0;
        if is_large {
            pages_left -= 1;
            if let Some((children, _)) = below(reader, &child.id).await {
                stack.extend(children);
                continue;
            }
        }
        ruler.take(child.first_key, child.entries);
    }
    ruler.marks
}

/// The children of a page, the first one last, with their level; and how many entries they hold.
async fn below(reader: &Reader, id: &ChunkId) -> Option<(Vec<(u8, Child)>, u64)> {
    let page = reader.page(id).await.ok()?;
    let PageBody::Children(children) = page.body else { return None };
    let level = page.level.checked_sub(1)?;
    let total = children.iter().fold(0_u64, |sum, child| sum.saturating_add(child.entries));
    Some((children.into_iter().rev().map(|child| (level, child)).collect(), total))
}

/// Sets a mark wherever enough was passed since the one before, and enough is left.
#[derive(Debug)]
struct Ruler {
    apart: u64,
    since: u64,
    left: u64,
    marks: Vec<Vec<u8>>,
}

impl Ruler {
    fn new(total: u64, apart: u64) -> Self {
        Self {
            apart: apart.max(total.div_ceil(LANDMARKS_MAX)).max(1),
            since: 0,
            left: total,
            marks: Vec::new(),
        }
    }

    fn take(&mut self, first_key: Vec<u8>, entries: u64) {
        if self.since >= self.apart && self.left >= self.apart {
            self.marks.push(first_key);
            self.since = 0;
        }
        self.since = self.since.saturating_add(entries);
        self.left = self.left.saturating_sub(entries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(total: u64, apart: u64, child: u64) -> Vec<u64> {
        let mut ruler = Ruler::new(total, apart);
        let firsts = (0..total).step_by(child as usize);
        firsts.for_each(|first| ruler.take(first.to_be_bytes().to_vec(), child.min(total - first)));
        let number = |key: Vec<u8>| u64::from_be_bytes(key.try_into().expect("eight bytes"));
        ruler.marks.into_iter().map(number).collect()
    }

    #[test]
    fn marks_are_far_enough_apart() {
        assert_eq!(marks(15_999, 8_000, 250), [0_u64; 0]);
        assert_eq!(marks(16_000, 8_000, 250), [8_000]);
        assert_eq!(marks(30_000, 8_000, 300), [8_100, 16_200]);
        for (total, apart, child) in [(100_000, 8_000, 333), (1 << 20, 10, 7), (1 << 20, 1, 1)] {
            let marks = marks(total, apart, child);
            let ends = marks.iter().skip(1).chain([&total]);
            assert!(marks.iter().zip(ends).all(|(mark, end)| end - mark >= apart), "{total} {apart} {child}");
            assert!(marks.len() as u64 <= LANDMARKS_MAX);
        }
    }
}
