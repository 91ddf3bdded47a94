//! What the lists of a root say.
//!
//! On purpose not here: reading them ([`crate::view`]) and writing them ([`crate::maintain`]).

use holdfast_core::id::{ChunkId, MemberId, SessionId};
use holdfast_core::name::PackId;
use holdfast_core::root::{List, ListKind, NamedRow};
use std::collections::BTreeSet;

/// What the root's lists say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lists {
    /// Packs that may become dead, and the root that condemned them.
    pub condemned: Option<(u64, BTreeSet<PackId>)>,
    /// Packs that are given up for ever, by the root that said so.
    pub dead: Vec<(NamedRow, BTreeSet<PackId>)>,
    /// Chunks that no pack has any more.
    pub lost: BTreeSet<ChunkId>,
    /// Packs that are damaged.
    pub quarantined: BTreeSet<PackId>,
    /// Sessions whose deltas are merged.
    pub absorbed: BTreeSet<(MemberId, SessionId)>,
    /// Snapshots that are forgotten.
    pub forgotten: BTreeSet<SessionId>,
}

impl Lists {
    /// Packs that nothing new may rely on.
    pub(crate) fn packs_on_their_way_out(&self) -> impl Iterator<Item = &PackId> {
        let condemned = self.condemned.iter().flat_map(|(_, packs)| packs);
        condemned.chain(&self.quarantined).chain(self.dead.iter().flat_map(|(_, packs)| packs))
    }

    /// Takes in what a list says that a row of the root names.
    pub(crate) fn take(&mut self, row: NamedRow, list: &List) {
        let packs = || list.packs().into_iter().collect::<BTreeSet<_>>();
        let sessions = || list.items.chunks_exact(16).map(|item| SessionId(sixteen(item)));
        match list.kind {
            ListKind::Condemned => {
                let (_, condemned) = self.condemned.get_or_insert_with(|| (row.floor, BTreeSet::new()));
                condemned.extend(packs());
            }
            ListKind::Dead => self.dead.push((row, packs())),
            ListKind::Lost => {
                let ids = list.items.chunks_exact(ChunkId::SIZE).map(|item| ChunkId(thirty_two(item)));
                self.lost.extend(ids);
            }
            ListKind::Quarantined => self.quarantined.extend(packs()),
            ListKind::Absorbed => {
                let pairs = list.items.chunks_exact(32);
                self.absorbed.extend(
                    pairs.map(|pair| (MemberId(sixteen(&pair[..16])), SessionId(sixteen(&pair[16..])))),
                );
            }
            ListKind::Forgotten => self.forgotten.extend(sessions()),
        }
    }
}

fn sixteen(bytes: &[u8]) -> [u8; 16] {
    bytes.try_into().expect("sixteen bytes")
}

fn thirty_two(bytes: &[u8]) -> [u8; 32] {
    bytes.try_into().expect("thirty-two bytes")
}
