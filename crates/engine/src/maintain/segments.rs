//! Merges what is new into the index segments of the next root.
//!
//! The merge itself, and the proof that it loses nothing, are [`crate::index`]'s. On purpose not
//! here: where the new rows come from.

use super::publish::Draft;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Index, SegmentIndex, merge, tiers, tiers_within};
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
    let sizes: Vec<u64> = draft.root.segments.iter().map(|row| row.rows).collect();
    let chosen = match effort {
        Effort::All => (0..sizes.len()).collect(),
        Effort::Tiers => tiers(&sizes, fresh),
        Effort::Bounded(rows) => tiers_within(&sizes, fresh, rows),
    };
    if fresh == 0 && chosen.is_empty() {
        return Ok(());
    }
    let ids: BTreeSet<ObjectId> = chosen.iter().map(|&at| draft.root.segments[at].id).collect();
    let inputs: Vec<Arc<SegmentIndex>> =
        index.segments().iter().filter(|segment| ids.contains(&segment.id())).cloned().collect();
    if inputs.len() != ids.len() {
        let what = "a segment of the index cannot be read; nothing was merged. Run `holdfast repair index`";
        return Err(Error::new(ErrorKind::Damaged, what));
    }
    let merged = merge(ctx, repository, draft.epoch(), &inputs, tables, drop).await?;
    draft.root.segments.retain(|row| !ids.contains(&row.id));
    draft.root.segments.extend(merged.row);
    draft.root.conservation.push(merged.conservation);
    Ok(())
}
