//! The part of the index that is in memory: what deltas say, and packs that were adopted.
//!
//! On purpose not here: segments.

use super::{KnownPack, PackState};
use holdfast_core::id::{MemberId, SessionId};
use holdfast_core::index::{ChunkKey, ChunkRow, PackRow};
use holdfast_core::keys::SessionRow;
use std::collections::HashMap;

/// Rows in memory. Chunks refer to packs by rows of the whole index.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Ascending by [`ChunkRow::order`] up to `settled`.
    pub chunks: Vec<ChunkRow>,
    settled: usize,
    /// Packs that no segment knows, each with the row of its session here.
    pub packs: Vec<(PackRow, u32)>,
    pub sessions: Vec<SessionRow>,
    session_rows: HashMap<(MemberId, SessionId), u32>,
}

impl Memory {
    /// The row of a session, which is new or takes in what this one has more.
    pub(super) fn session_row(&mut self, row: &SessionRow) -> u32 {
        let sessions = &mut self.sessions;
        let known = *self.session_rows.entry((row.member, row.session)).or_insert_with(|| {
            sessions.push(row.clone());
            (sessions.len() - 1) as u32
        });
        sessions[known as usize].complete(row);
        known
    }

    /// The row of a session that is here.
    pub(super) fn session_of(&self, member: MemberId, session: SessionId) -> Option<&SessionRow> {
        self.session_rows.get(&(member, session)).map(|&row| &self.sessions[row as usize])
    }

    pub(super) fn pack(&self, row: u32) -> Option<KnownPack> {
        let (row, session) = self.packs.get(row as usize)?;
        Some(KnownPack { row: row.clone(), session: *session, state: PackState::Live })
    }

    /// Puts rows in order, each once; what was in order already costs little.
    pub(super) fn settle(&mut self) {
        if self.settled < self.chunks.len() {
            // A stable sort finds the runs that deltas come in.
            self.chunks.sort_by_key(ChunkRow::order);
            self.chunks.dedup();
        }
        self.settled = self.chunks.len();
    }

    /// Where the rows of a chunk begin, if there are any.
    pub(super) fn first_row(&self, key: &ChunkKey) -> Option<usize> {
        debug_assert_eq!(self.settled, self.chunks.len(), "rows are settled before they are looked up");
        let first = guess_and_search(&self.chunks, key);
        self.chunks.get(first).is_some_and(|row| row.key == *key).then_some(first)
    }

    /// All rows of a chunk.
    pub(super) fn find(&self, key: &ChunkKey) -> &[ChunkRow] {
        let Some(first) = self.first_row(key) else { return &[] };
        let rows = &self.chunks[first..];
        &rows[..rows.iter().take_while(|row| row.key == *key).count()]
    }
}

/// The first row that is not below a key. Keys are hashes, so the place can be guessed; should it
/// be far off, the search takes a step more for each doubling of the distance.
fn guess_and_search(rows: &[ChunkRow], key: &ChunkKey) -> usize {
    let front = super::table::front(&key.0);
    let guess = ((u128::from(front) * rows.len() as u128) >> 64) as usize;
    let (mut low, mut high, mut step) = (guess, guess, 16);
    while low > 0 && rows[low - 1].key >= *key {
        (high, low) = (low - 1, (low - 1).saturating_sub(step));
        step *= 2;
    }
    if low == guess {
        while high < rows.len() && rows[high].key < *key {
            (low, high) = (high + 1, (high + 1 + step).min(rows.len()));
            step *= 2;
        }
    }
    low + rows[low..high].partition_point(|row| row.key < *key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::chunk::StoredLength;
    use proptest::prelude::*;

    fn row(key: [u8; 2], pack: u32) -> ChunkRow {
        let mut whole = [0; 24];
        whole[..2].copy_from_slice(&key);
        let length = StoredLength::new(1, false);
        ChunkRow { key: ChunkKey(whole), pack, offset: 0, length, origin: pack }
    }

    proptest! {
        #[test]
        fn rows_are_found_wherever_they_lie(
            rows in prop::collection::vec((any::<[u8; 2]>(), 0u32..3), 0..400),
            low in any::<bool>(),
            sought in prop::collection::vec(any::<[u8; 2]>(), 20),
        ) {
            let squeeze = |key: [u8; 2]| if low { [key[0] / 100, key[1]] } else { key };
            let mut memory = Memory { chunks: rows.iter().map(|(key, pack)| row(squeeze(*key), *pack)).collect(), ..Memory::default() };
            memory.settle();
            for key in sought.into_iter().chain(rows.iter().map(|(key, _)| *key)).map(squeeze) {
                let key = row(key, 0).key;
                let all: Vec<_> = memory.chunks.iter().filter(|row| row.key == key).copied().collect();
                prop_assert_eq!(memory.find(&key), &all[..]);
                let first = memory.chunks.iter().position(|row| row.key == key);
                prop_assert_eq!(memory.first_row(&key), first);
            }
        }
    }
}
