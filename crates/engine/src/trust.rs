//! What a session may rely on: the index, without chunks that were sealed by members whom our role does
//! not trust.
//!
//! Who sealed a chunk is its origin, wherever the sealed bytes lie today: a maintainer who repacks
//! copies them, and vouches for nothing but that. An origin cannot be made up: what a writer's delta
//! says counts only if it is about that writer's own packs ([`crate::view`]). On purpose not here: why a
//! chunk is looked up.

use crate::error::Result;
use crate::index::{Bits, Index};
use crate::repository::Repository;
use holdfast_core::id::MemberId;
use holdfast_core::index::{ChunkKey, IndexTables};
use holdfast_core::name::PackId;
use std::collections::HashMap;
use std::sync::Arc;

/// The index, as far as a session relies on it.
pub(crate) struct Reliable {
    index: Arc<Index>,
    /// Rows of packs that were sealed by others; none where nobody else has written, so that it costs
    /// nothing there.
    distrusted: Option<Bits>,
}

impl Reliable {
    /// What our sessions rely on. Goes through all packs once.
    pub(crate) fn new(repository: &Repository, index: Arc<Index>) -> Result<Self> {
        let mut trusted: HashMap<MemberId, bool> = HashMap::new();
        let mut distrusted: Option<Bits> = None;
        let mut packs = index.packs();
        while let Some((row, known)) = packs.next()? {
            let member = known.row.id.member;
            if !*trusted.entry(member).or_insert_with(|| repository.trusts(member)) {
                distrusted.get_or_insert_with(|| Bits::new(index.pack_rows().into())).set(row.into());
            }
        }
        drop(packs);
        Ok(Self { index, distrusted })
    }

    /// Whether nobody has written whom our role does not trust.
    #[cfg(test)]
    pub(crate) const fn trusts_all(&self) -> bool {
        self.distrusted.is_none()
    }

    /// The pack of a chunk that new references may rely on.
    pub(crate) fn pack_of(&self, key: &ChunkKey) -> Result<Option<PackId>> {
        let place = match &self.distrusted {
            None => self.index.live(key)?,
            Some(bits) => self.index.live_where(key, |place| !bits.get(place.origin.into()))?,
        };
        place.map(|place| Ok(self.index.pack(place.pack)?.row.id)).transpose()
    }
}

/// Whether tables are about sessions and packs of one member alone.
pub(crate) fn are_of(tables: &IndexTables, member: MemberId) -> bool {
    tables.sessions.iter().all(|session| session.member == member)
        && tables.packs.iter().all(|pack| pack.id.member == member)
}
