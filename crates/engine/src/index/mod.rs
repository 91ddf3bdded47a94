//! The index: where each chunk lies. What deltas say is in memory; merged segments are looked up
//! in their local copies, so that memory does not grow with the repository.
//!
//! Every look-up may fail, since it may read a file. That is never told as "there is no such
//! chunk": a writer may take it so and store the chunk again, but whoever marks what is needed, or
//! says what is lost, must stop.
//!
//! On purpose not here: reading sessions and roots ([`crate::view`]).

mod bits;
mod blocks;
mod copy;
mod join;
mod local;
mod memory;
mod merge;
#[cfg(test)]
mod merge_tests;
mod parts;
mod scan;
mod segment;
mod synthetic;
mod table;
#[cfg(test)]
mod tests;
mod tiers;
mod walk;

pub(crate) use bits::Bits;
pub(crate) use blocks::Blocks;
pub(crate) use local::{clean_copies, local_segment, verify_segment};
pub(crate) use merge::merge;
pub(crate) use segment::SegmentIndex;
pub use synthetic::{SyntheticIndex, index_copy_is_read};
pub(crate) use tiers::{BOUNDED_ROWS, groups, tiers, tiers_within};
pub(crate) use walk::{Chunks, Packs};

use crate::error::{Error, ErrorKind, Result};
use holdfast_core::chunk::StoredLength;
use holdfast_core::id::ChunkId;
use holdfast_core::index::{ChunkKey, ChunkRow, IndexTables, PackRow};
use holdfast_core::keys::SessionRow;
use holdfast_core::name::PackId;
use memory::Memory;
use parts::Parts;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// Places of one chunk that are compared with each other; more are sorted.
const PLACES_FEW: usize = 16;

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Row of the pack.
    pub pack: u32,
    /// First byte in it.
    pub offset: u32,
    /// Its length there.
    pub length: StoredLength,
    /// Row of the pack that it was sealed for.
    pub origin: u32,
}

impl From<&ChunkRow> for Place {
    fn from(row: &ChunkRow) -> Self {
        Self { pack: row.pack, offset: row.offset, length: row.length, origin: row.origin }
    }
}

/// What a pack is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PackState {
    /// Reading and relying on.
    Live,
    /// Reading only: condemned or quarantined.
    ReadOnly,
    /// Nothing: given up for ever.
    Dead,
}

/// A pack that the index knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownPack {
    /// What the index says of it.
    pub row: PackRow,
    /// Row of its session.
    pub session: u32,
    /// What it is good for.
    pub state: PackState,
}

/// Identifiers are uniform already: their first bytes are the hash.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut first = [0; 8];
        let length = bytes.len().min(8);
        first[..length].copy_from_slice(&bytes[..length]);
        self.0 ^= u64::from_le_bytes(first);
    }

    // Array lengths are hashed too, and say nothing.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

pub(crate) type IdMap<V> = HashMap<ChunkKey, V, BuildHasherDefault<IdHasher>>;

/// Where each chunk lies, from segments and deltas.
///
/// Packs have numbers ("rows"), one each, however many segments and deltas name it: first those of
/// segments, then those that only memory knows. They hold for this index alone.
#[derive(Debug, Default)]
pub(crate) struct Index {
    parts: Parts,
    memory: Memory,
    pack_rows: HashMap<PackId, u32>,
    /// Rows of packs that segments know as mere origins, and deltas with their size.
    sized: HashMap<u32, PackRow>,
    /// Packs that are not live, whether or not a row names them yet: adoption adds rows later.
    states: HashMap<PackId, PackState>,
    /// The same, by row.
    row_states: HashMap<u32, PackState>,
}

impl Index {
    /// An index of segments; look-ups ask them in this order.
    pub(crate) fn with_segments(segments: Vec<Arc<SegmentIndex>>) -> Result<Self> {
        Ok(Self { parts: Parts::new(segments)?, ..Self::default() })
    }

    /// The segments, in the order in which they are asked.
    pub(crate) fn segments(&self) -> Vec<Arc<SegmentIndex>> {
        self.parts.parts().iter().map(|part| Arc::clone(&part.segment)).collect()
    }

    /// Takes in the tables of a delta.
    pub(crate) fn absorb(&mut self, tables: &IndexTables) -> Result<()> {
        let sessions: HashMap<_, _> = tables
            .sessions
            .iter()
            .map(|row| ((row.member, row.session), self.memory.session_row(row)))
            .collect();
        let mut rows = Vec::with_capacity(tables.packs.len());
        for pack in &tables.packs {
            let session = sessions.get(&(pack.id.member, pack.id.session)).copied().unwrap_or_default();
            rows.push(self.absorb_pack(pack, session)?);
        }
        let placed = |row: &ChunkRow| ChunkRow {
            pack: rows[row.pack as usize],
            origin: rows[row.origin as usize],
            ..*row
        };
        self.memory.chunks.extend(tables.chunks.iter().map(placed));
        Ok(())
    }

    fn absorb_pack(&mut self, pack: &PackRow, session: u32) -> Result<u32> {
        if let Some(row) = self.row_of(&pack.id)? {
            // A pack may first be met as a mere origin, without its size.
            if pack.size > 0 && self.pack(row)?.row.size == 0 {
                match row.checked_sub(self.parts.packs()) {
                    Some(row) => self.memory.packs[row as usize].0 = pack.clone(),
                    None => drop(self.sized.insert(row, pack.clone())),
                }
            }
            return Ok(row);
        }
        let number = u32::try_from(self.memory.packs.len()).ok();
        let row = number.and_then(|number| self.parts.packs().checked_add(number)).ok_or_else(too_many)?;
        self.memory.packs.push((pack.clone(), session));
        self.pack_rows.insert(pack.id, row);
        if let Some(state) = self.states.get(&pack.id) {
            self.row_states.insert(row, *state);
        }
        Ok(row)
    }

    /// Makes look-ups of chunks possible; called after the last `absorb`.
    pub(crate) fn settle(&mut self) {
        self.memory.settle();
    }

    /// States what a pack is good for; the worst statement stands.
    pub(crate) fn set_state(&mut self, pack: &PackId, state: PackState) -> Result<()> {
        let row = self.row_of(pack)?;
        let worst = self.states.entry(*pack).or_insert(state);
        *worst = state.max(*worst);
        if let Some(row) = row {
            self.row_states.insert(row, *worst);
        }
        Ok(())
    }

    /// What a pack is good for, by its row.
    pub(crate) fn state(&self, row: u32) -> PackState {
        self.row_states.get(&row).copied().unwrap_or(PackState::Live)
    }

    /// All places of a chunk, in the order in which they are to be tried.
    pub(crate) fn places(&self, id: &ChunkId) -> Result<Vec<Place>> {
        self.places_of(&ChunkKey::from(id))
    }

    /// The place of a chunk that is to be tried first.
    pub(crate) fn place(&self, id: &ChunkId) -> Result<Option<Place>> {
        self.first_place(&ChunkKey::from(id), |place| self.state(place.pack) != PackState::Dead)
    }

    /// All places of a chunk, by the front of its identifier.
    pub(crate) fn places_of(&self, key: &ChunkKey) -> Result<Vec<Place>> {
        let mut places: Vec<Place> = self.memory.find(key).iter().map(Place::from).collect();
        let memory = places.len();
        self.parts.find(key, &mut places, |_| false)?;
        if places.len() > memory {
            dedup(&mut places);
        }
        places.retain(|place| self.state(place.pack) != PackState::Dead);
        Ok(places)
    }

    /// A place that new references may rely on. A chunk lies only in packs of its own kind, so
    /// the key alone decides.
    pub(crate) fn live(&self, key: &ChunkKey) -> Result<Option<Place>> {
        self.first_place(key, |place| self.state(place.pack) == PackState::Live)
    }

    /// The same, of places that are trusted.
    pub(crate) fn live_where(
        &self,
        key: &ChunkKey,
        trusts: impl Fn(&Place) -> bool,
    ) -> Result<Option<Place>> {
        self.first_place(key, |place| self.state(place.pack) == PackState::Live && trusts(place))
    }

    fn first_place(&self, key: &ChunkKey, right: impl Fn(&Place) -> bool) -> Result<Option<Place>> {
        if let Some(place) = self.memory.find(key).iter().map(Place::from).find(&right) {
            return Ok(Some(place));
        }
        let mut places = Vec::new();
        self.parts.find(key, &mut places, |places| places.iter().any(&right))?;
        Ok(places.into_iter().find(right))
    }

    /// What is known of a pack.
    pub(crate) fn pack(&self, row: u32) -> Result<KnownPack> {
        let state = self.state(row);
        if let Some(number) = row.checked_sub(self.parts.packs()) {
            let known = self.memory.pack(number).ok_or_else(no_such_row)?;
            let session = self.parts.sessions() + known.session;
            return Ok(KnownPack { state, session, ..known });
        }
        let (session, known) = self.parts.pack(row)?;
        let row = self.sized.get(&row).cloned().unwrap_or(known);
        Ok(KnownPack { row, session, state })
    }

    /// So many rows of packs there are; every one of them is below.
    pub(crate) fn pack_rows(&self) -> u32 {
        self.parts.packs() + self.memory.packs.len() as u32
    }

    /// Goes through all packs, each once.
    pub(crate) fn packs(&self) -> Packs<'_> {
        Packs::new(self)
    }

    /// Goes through all chunks with all their places, ascending by key.
    pub(crate) fn chunks(&self) -> Result<Chunks<'_>> {
        Chunks::new(self)
    }

    /// Whether a pack is known and may be relied on.
    pub(crate) fn is_live(&self, id: &PackId) -> Result<bool> {
        Ok(self.row_of(id)?.is_some_and(|row| self.state(row) == PackState::Live))
    }

    /// What is known of a pack, by its identifier.
    pub(crate) fn pack_of(&self, id: &PackId) -> Result<Option<KnownPack>> {
        self.row_of(id)?.map(|row| self.pack(row)).transpose()
    }

    /// The row of a pack. Who asks for many does so in the order of their identifiers.
    pub(crate) fn row_of(&self, id: &PackId) -> Result<Option<u32>> {
        match self.pack_rows.get(id) {
            Some(row) => Ok(Some(*row)),
            None => self.parts.row_of(id),
        }
    }

    /// What opens the packs of a session.
    pub(crate) fn session(&self, row: u32) -> Result<SessionRow> {
        let mut session = match row.checked_sub(self.parts.sessions()) {
            Some(row) => self.memory.sessions.get(row as usize).cloned().ok_or_else(no_such_row)?,
            None => self.parts.session(row)?,
        };
        let (member, id) = (session.member, session.session);
        if let Some(other) = self.memory.session_of(member, id) {
            session.complete(other);
        }
        self.parts.complete(&mut session)?;
        Ok(session)
    }

    /// How many rows of chunks there are; a chunk in several packs has several.
    pub(crate) fn rows(&self) -> u64 {
        self.parts.chunks() + self.memory.chunks.len() as u64
    }

    /// A number for a chunk, the same whenever it is asked for, and another for every other
    /// chunk: for a set of one bit a chunk. `None` if there is no such chunk.
    pub(crate) fn ordinal(&self, key: &ChunkKey) -> Result<Option<u64>> {
        match self.memory.first_row(key) {
            Some(row) => Ok(Some(self.parts.chunks() + row as u64)),
            None => self.parts.ordinal(key),
        }
    }

    /// Ordinals are below it.
    pub(crate) fn ordinals_len(&self) -> u64 {
        self.rows()
    }

    /// The same for many keys that ascend; much faster than one by one.
    pub(crate) fn ordinals_sorted(&self, keys: &[ChunkKey]) -> Result<Vec<Option<u64>>> {
        debug_assert!(keys.is_sorted(), "keys ascend");
        let of_memory = |key| Some(self.parts.chunks() + self.memory.first_row(key)? as u64);
        let mut ordinals: Vec<_> = keys.iter().map(of_memory).collect();
        self.parts.ordinals_sorted(keys, &mut ordinals)?;
        Ok(ordinals)
    }
}

/// Leaves one of equal places, the first.
fn dedup(places: &mut Vec<Place>) {
    // Nobody honest has so many.
    if places.len() > PLACES_FEW {
        places.sort_unstable_by_key(|place| (place.pack, place.offset, place.length.raw(), place.origin));
        return places.dedup();
    }
    let mut kept = 0;
    for at in 0..places.len() {
        if !places[..kept].contains(&places[at]) {
            places.swap(kept, at);
            kept += 1;
        }
    }
    places.truncate(kept);
}

fn too_many() -> Error {
    Error::new(ErrorKind::Damaged, "the index names more packs than there can be")
}

fn no_such_row() -> Error {
    Error::new(ErrorKind::Damaged, "the index refers to a pack that it does not name")
}
