//! What leaves the lists of a root: snapshots that are gone for good, and names of packs that are
//! gone.
//!
//! On purpose not here: deleting objects.

use super::publish::Draft;
use super::scan::Scan;
use crate::error::Result;
use crate::snapshots::Snapshot;
use holdfast_core::id::SessionId;
use holdfast_core::name::PackId;
use holdfast_core::root::{List, ListKind, NamedRow};
use std::collections::{BTreeMap, BTreeSet};

/// Lists of dead packs are joined when there are more.
const DEAD_LISTS_MAX: usize = 16;

/// Writes the list of what is forgotten; returns what leaves the catalogue with this root.
///
/// A snapshot goes through three states. *Forgotten*: it may be brought back. Then it leaves the
/// catalogue, with the very root that gives up packs which only it may need: what can be brought
/// back must be whole. Then it stays on the list until the fence is above it, so that its end,
/// should it still be there or be delivered late, does not count again.
///
/// `last` says that this root gives up all that there is to give up. Only what was on the list when
/// the scan began goes, and not what the scan found needed: whoever took it for a parent has pinned
/// it before, or will see at W5 that it is forgotten.
pub(super) async fn settle_forgotten(
    draft: &mut Draft<'_>,
    scan: &Scan,
    needed: &BTreeMap<SessionId, Snapshot>,
    last: bool,
) -> Result<BTreeSet<SessionId>> {
    let view = &scan.view;
    let mut listed = view.lists.forgotten.clone();
    // Whose place another took is not shown any more, and goes the same way.
    let shown: BTreeSet<_> = view.snapshots().into_iter().map(|snapshot| snapshot.id).collect();
    listed.extend(view.committed().into_keys().filter(|id| !shown.contains(id)));
    let catalogued: BTreeSet<_> = view.catalogued.iter().map(|row| row.session).collect();
    let may_go = |id: &&SessionId| last && view.lists.forgotten.contains(id) && !needed.contains_key(id);
    let gone: BTreeSet<_> = catalogued.iter().filter(may_go).copied().collect();
    let fence = draft.root.fence;
    let names = view.sessions.keys().filter(|name| u64::from(name.epoch) >= fence);
    let above_fence: BTreeSet<SessionId> = names.map(|name| name.session).collect();
    let stays = |id: &SessionId| above_fence.contains(id) || catalogued.contains(id) && !gone.contains(id);
    listed.retain(stays);
    if listed != view.lists.forgotten {
        draft.set_forgotten(&listed).await?;
    }
    Ok(gone)
}

/// What became of the dead lists.
pub(super) struct Shortened {
    /// Packs whose names may leave the index: they are gone, and nobody can bring them up again.
    pub gone: BTreeSet<PackId>,
    /// Whether lists were written anew.
    pub changed: bool,
}

/// Takes names off the dead lists: those of packs that the listing shows gone, that were declared
/// dead below the fence, and that no segment of the index names. Joins lists where there are many.
pub(super) async fn shorten_dead(draft: &mut Draft<'_>, scan: &Scan) -> Result<Shortened> {
    let fence = draft.root.fence;
    let mut gone = BTreeSet::new();
    let (mut kept, mut changed): (Vec<(u64, BTreeSet<PackId>)>, _) = (Vec::new(), false);
    let mistaken = cfg!(feature = "mutant-dead-list-early");
    for (row, packs) in &scan.view.lists.dead {
        let passed = row.floor < fence || mistaken;
        let is_gone = |pack: &&PackId| passed && !scan.packs.contains_key(pack);
        gone.extend(packs.iter().filter(is_gone));
        let mut stays = BTreeSet::new();
        for pack in packs {
            let is_named = scan.view.index.pack_of(pack)?.is_some_and(|known| known.row.size > 0);
            if !is_gone(&pack) || is_named && !mistaken {
                stays.insert(*pack);
            }
        }
        changed |= stays.len() != packs.len();
        if !stays.is_empty() {
            kept.push((row.floor, stays));
        }
    }
    if kept.len() > DEAD_LISTS_MAX {
        // The newest floor holds for all: it only keeps names for longer.
        let floor = kept.iter().map(|(floor, _)| *floor).max().unwrap_or_default();
        kept = vec![(floor, kept.into_iter().flat_map(|(_, packs)| packs).collect())];
        changed = true;
    }
    if changed {
        draft.root.lists.retain(|row: &NamedRow| row.kind != ListKind::Dead as u8);
        for (floor, packs) in &kept {
            draft.add(&List::of_packs(ListKind::Dead, packs), *floor).await?;
        }
    }
    Ok(Shortened { gone, changed })
}
