//! Merges what is new into the index segments of the next root.
//!
//! The merge itself, and the proof that it loses nothing, are [`crate::index`]'s. On purpose not
//! here: where the new rows come from.

use super::publish::Draft;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::index::{Index, SegmentIndex, groups, merge, tiers, tiers_within};
use crate::repository::Repository;
use holdfast_core::id::ObjectId;
use holdfast_core::index::IndexTables;
use holdfast_core::name::PackId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is to be merged.
pub(super) struct Merge<'a> {
    /// New rows.
    pub tables: Vec<IndexTables>,
    /// Packs whose rows go.
    pub drop: &'a (dyn Fn(&PackId) -> bool + Sync),
    /// How much is rewritten.
    pub effort: Effort,
}

/// How much of the index a merge may rewrite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// Nothing: the new rows become a segment of their own.
    New,
    /// At most so many rows: somebody waits.
    Bounded(u64),
    /// What keeps the number of segments small.
    Tiers,
    /// All, so that rows of packs that are gone leave it.
    All,
}

/// Merges new rows into the segments of a draft.
pub(super) async fn merge_into(
    ctx: &Ctx,
    repository: &Repository,
    draft: &mut Draft<'_>,
    index: &Index,
    merge_: Merge<'_>,
) -> Result<()> {
    let Merge { tables, drop, effort } = merge_;
    let fresh: u64 = tables.iter().map(|tables| tables.chunks.len() as u64).sum();
    // Those that were written for this very root stay as they are.
    let old: BTreeSet<ObjectId> = index.segments().iter().map(|segment| segment.id()).collect();
    let old: Vec<_> = draft.root.segments.iter().filter(|row| old.contains(&row.id)).collect();
    let sizes: Vec<u64> = old.iter().map(|row| row.rows).collect();
    let groups = match effort {
        Effort::New => vec![Vec::new()],
        Effort::All => groups(&sizes, fresh),
        Effort::Tiers => vec![tiers(&sizes, fresh)],
        Effort::Bounded(rows) => vec![tiers_within(&sizes, fresh, rows)],
    };
    let ids = |group: &Vec<usize>| group.iter().map(|&at| old[at].id).collect();
    let groups: Vec<BTreeSet<ObjectId>> = groups.iter().map(ids).collect();
    // The first group takes the new rows in.
    let mut tables = Some(tables).filter(|_| fresh > 0);
    for ids in groups {
        let tables = tables.take().unwrap_or_default();
        if tables.is_empty() && ids.is_empty() {
            continue;
        }
        let inputs: Vec<Arc<SegmentIndex>> =
            index.segments().into_iter().filter(|segment| ids.contains(&segment.id())).collect();
        let merged = merge(ctx, repository, draft.epoch(), &inputs, tables, drop).await?;
        draft.root.segments.retain(|row| !ids.contains(&row.id));
        draft.root.segments.extend(merged.row);
        draft.root.conservation.push(merged.conservation);
    }
    Ok(())
}
