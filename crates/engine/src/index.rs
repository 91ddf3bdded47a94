//! The index in memory: where each chunk lies.
//!
//! On purpose not here: reading it from the repository ([`crate::view`]).

use holdfast_core::chunk::StoredLength;
use holdfast_core::id::ChunkId;
use holdfast_core::index::{ChunkKey, IndexTables, PackRow};
use holdfast_core::keys::SessionRow;
use holdfast_core::name::PackId;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

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
#[derive(Debug, Clone)]
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

/// Where each chunk lies, from deltas and segments.
#[derive(Debug, Default)]
pub(crate) struct Index {
    places: IdMap<Place>,
    /// Further places of chunks that lie in more than one pack.
    more: Vec<(ChunkKey, Place)>,
    packs: Vec<KnownPack>,
    pack_rows: HashMap<PackId, u32>,
    /// Packs that are not live, whether or not a row names them yet: adoption adds rows later.
    states: HashMap<PackId, PackState>,
    sessions: Vec<SessionRow>,
    session_rows: HashMap<[u8; 32], u32>,
}

impl Index {
    /// Takes in the tables of a delta or segment.
    pub(crate) fn absorb(&mut self, tables: &IndexTables) {
        let rows: Vec<u32> = tables
            .packs
            .iter()
            .map(|pack| {
                let session =
                    tables.session_of(&pack.id).map_or(0, |row| self.session_row(&tables.sessions[row]));
                self.pack_row(pack, session)
            })
            .collect();
        self.places.reserve(tables.chunks.len());
        for chunk in &tables.chunks {
            let place = Place {
                pack: rows[chunk.pack as usize],
                offset: chunk.offset,
                length: chunk.length,
                origin: rows[chunk.origin as usize],
            };
            match self.places.entry(chunk.key) {
                Entry::Vacant(free) => drop(free.insert(place)),
                Entry::Occupied(taken) if *taken.get() == place => {}
                Entry::Occupied(_) => self.more.push((chunk.key, place)),
            }
        }
    }

    /// Makes lookups of chunks with several places possible; called after the last `absorb`.
    pub(crate) fn settle(&mut self) {
        self.more.sort_unstable_by_key(|(key, place)| (*key, place.pack, place.offset));
        self.more.dedup();
    }

    fn session_row(&mut self, row: &SessionRow) -> u32 {
        let mut name = [0; 32];
        name[..16].copy_from_slice(row.member.bytes());
        name[16..].copy_from_slice(row.session.bytes());
        let sessions = &mut self.sessions;
        let known = *self.session_rows.entry(name).or_insert_with(|| {
            sessions.push(row.clone());
            (sessions.len() - 1) as u32
        });
        sessions[known as usize].complete(row);
        known
    }

    fn pack_row(&mut self, pack: &PackRow, session: u32) -> u32 {
        let (packs, states) = (&mut self.packs, &self.states);
        let row = *self.pack_rows.entry(pack.id).or_insert_with(|| {
            let state = states.get(&pack.id).copied().unwrap_or(PackState::Live);
            packs.push(KnownPack { row: pack.clone(), session, state });
            (packs.len() - 1) as u32
        });
        // A pack may first be met as a mere origin, without its size.
        if packs[row as usize].row.size == 0 && pack.size > 0 {
            packs[row as usize].row = pack.clone();
        }
        row
    }

    /// States what a pack is good for; the worst statement stands.
    pub(crate) fn set_state(&mut self, pack: &PackId, state: PackState) {
        let worst = self.states.entry(*pack).or_insert(state);
        *worst = state.max(*worst);
        if let Some(&row) = self.pack_rows.get(pack) {
            self.packs[row as usize].state = *worst;
        }
    }

    /// All places of a chunk, in the order in which they are to be tried.
    pub(crate) fn places(&self, id: &ChunkId) -> impl Iterator<Item = Place> + '_ {
        self.places_of(ChunkKey::from(id))
    }

    /// The same, by the front of the identifier.
    pub(crate) fn places_of(&self, key: ChunkKey) -> impl Iterator<Item = Place> + '_ {
        let first = self.places.get(&key).copied();
        let start = self.more.partition_point(|(other, _)| *other < key);
        let more =
            self.more[start..].iter().take_while(move |(other, _)| *other == key).map(|(_, place)| *place);
        first.into_iter().chain(more).filter(|place| self.pack(place.pack).state != PackState::Dead)
    }

    /// A place that new references may rely on. A chunk lies only in packs of its own kind, so
    /// the key alone decides.
    pub(crate) fn live(&self, key: &ChunkKey) -> Option<Place> {
        let place = *self.places.get(key)?;
        if self.pack(place.pack).state == PackState::Live {
            return Some(place);
        }
        let start = self.more.partition_point(|(other, _)| other < key);
        let mut more =
            self.more[start..].iter().take_while(|(other, _)| other == key).map(|(_, place)| *place);
        more.find(|place| self.pack(place.pack).state == PackState::Live)
    }

    pub(crate) fn pack(&self, row: u32) -> &KnownPack {
        &self.packs[row as usize]
    }

    pub(crate) fn packs(&self) -> &[KnownPack] {
        &self.packs
    }

    /// Whether a pack is known and may be relied on.
    pub(crate) fn is_live(&self, id: &PackId) -> bool {
        self.pack_of(id).is_some_and(|known| known.state == PackState::Live)
    }

    pub(crate) fn pack_of(&self, id: &PackId) -> Option<&KnownPack> {
        self.pack_rows.get(id).map(|&row| self.pack(row))
    }

    pub(crate) fn row_of(&self, id: &PackId) -> Option<u32> {
        self.pack_rows.get(id).copied()
    }

    /// The keys of all chunks, in no order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &ChunkKey> {
        self.places.keys()
    }

    pub(crate) fn session(&self, row: u32) -> &SessionRow {
        &self.sessions[row as usize]
    }

    /// How many chunks there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }
}
