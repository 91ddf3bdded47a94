//! Takes off the lists of damage what is healed: chunks that were lost and that a backup stored
//! again, packs that were quarantined and are gone or given up.
//!
//! Part of the first step of a prune, under its mark. On purpose not here: finding damage, which
//! repairs do.

use super::account::Account;
use super::publish::Draft;
use super::scan::Scan;
use crate::error::Result;
use holdfast_core::id::ChunkId;
use holdfast_core::index::ChunkKey;
use holdfast_core::name::PackId;
use holdfast_core::root::{List, ListKind};
use std::collections::{BTreeSet, HashSet};

/// Writes both lists anew where that changes them.
pub(super) async fn heal(draft: &mut Draft<'_>, scan: &Scan, account: &Account) -> Result<()> {
    let lists = &scan.view.lists;
    if lists.lost.is_empty() && lists.quarantined.is_empty() {
        return Ok(());
    }
    // Who is forgotten may come back, and then needs what it needed.
    let may_come_back = !lists.forgotten.is_empty();
    let mut lost = BTreeSet::new();
    for id in &lists.lost {
        let needed = may_come_back || account.needs(&scan.view.index, &ChunkKey::from(id))?;
        if needed && !is_there_again(scan, id)? {
            lost.insert(*id);
        }
    }
    if lost != lists.lost {
        draft.set(ListKind::Lost, lost.iter().map(|id| id.bytes().to_vec()).collect()).await?;
    }
    let should_have = packs_of(scan, &lost)?;
    let dead: HashSet<&PackId> = lists.dead.iter().flat_map(|(_, packs)| packs).collect();
    let (mut kept, mut given_up) = (BTreeSet::new(), BTreeSet::new());
    for pack in lists.quarantined.iter().filter(|pack| !dead.contains(pack)) {
        if scan.packs.contains_key(pack) || should_have.contains(pack) || may_come_back {
            kept.insert(*pack);
        } else if scan.view.index.row_of(pack)?.is_some() {
            // It is missing, and nothing that it had is: its rows may leave the index.
            given_up.insert(*pack);
        }
    }
    if kept != lists.quarantined {
        draft.set_packs(ListKind::Quarantined, &kept, 0).await?;
        let number = draft.root.number;
        draft.add(&List::of_packs(ListKind::Dead, &given_up), number).await?;
    }
    Ok(())
}

/// Whether a pack has a chunk that nothing is known against.
fn is_there_again(scan: &Scan, id: &ChunkId) -> Result<bool> {
    let view = &scan.view;
    for place in view.index.places(id)? {
        let row = view.index.pack(place.pack)?.row;
        if scan.has(&row.id, row.size) && !view.lists.quarantined.contains(&row.id) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Packs that should have some of these chunks.
fn packs_of(scan: &Scan, chunks: &BTreeSet<ChunkId>) -> Result<HashSet<PackId>> {
    let index = &scan.view.index;
    let mut packs = HashSet::new();
    for id in chunks {
        for place in index.places(id)? {
            packs.insert(index.pack(place.pack)?.row.id);
        }
    }
    Ok(packs)
}
