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

/// Writes the lists of what is forgotten; returns what leaves the catalogue with this root.
///
/// A snapshot goes through three states. *Forgotten*: it may be brought back. *Passed* (its list
/// states the root `passing` that condemned what only it needs): it leaves the catalogue once that
/// root is `passed` and a scan after it found that nothing needs the snapshot. *Gone*: it stays on
/// the list until the fence is above it, so that its end, should it still be there or be delivered
/// late, does not count again.
pub(super) async fn settle_forgotten(
    draft: &mut Draft<'_>,
    scan: &Scan,
    needed: &BTreeMap<SessionId, Snapshot>,
    passed: u64,
    passing: u64,
) -> Result<BTreeSet<SessionId>> {
    let view = &scan.view;
    let catalogued: BTreeSet<_> = view.catalogued.iter().map(|row| row.session).collect();
    let mut listed = view.lists.forgotten.clone();
    if passing > 0 {
        // Whose place another took is not shown any more, and goes the same way.
        let shown: BTreeSet<_> = view.snapshots().into_iter().map(|snapshot| snapshot.id).collect();
        let hidden = view.committed().into_keys().filter(|id| !shown.contains(id));
        for id in hidden {
            listed.entry(id).or_insert(0);
        }
        listed.values_mut().filter(|floor| **floor == 0).for_each(|floor| *floor = passing);
    }
    let was_passed =
        |id: &SessionId| view.lists.forgotten.get(id).is_some_and(|floor| (1..=passed).contains(floor));
    let gone: BTreeSet<_> =
        catalogued.iter().filter(|id| was_passed(id) && !needed.contains_key(id)).copied().collect();
    let fence = draft.root.fence;
    let stays = |id: &SessionId| {
        let listed_still = view.sessions.get(id).is_some_and(|seen| u64::from(seen.name.epoch) >= fence);
        listed_still || catalogued.contains(id) && !gone.contains(id)
    };
    listed.retain(|id, _| stays(id));
    if listed != view.lists.forgotten {
        draft.rewrite_forgotten(&listed).await?;
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
    for (row, packs) in &scan.view.lists.dead {
        let passed = row.floor < fence;
        let is_gone = |pack: &&PackId| passed && !scan.packs.contains_key(pack);
        gone.extend(packs.iter().filter(is_gone));
        let indexed = |pack: &PackId| scan.view.index.pack_of(pack).is_some();
        let stays: BTreeSet<_> =
            packs.iter().filter(|pack| !is_gone(pack) || indexed(pack)).copied().collect();
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
