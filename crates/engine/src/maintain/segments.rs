//! Merges what is new into the index segments of the next root, and proves that nothing got lost.
//!
//! On purpose not here: where the new rows come from.

use super::publish::Draft;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::{Repository, get_optional};
use crate::view::View;
use holdfast_core::crypto::hash;
use holdfast_core::id::ObjectId;
use holdfast_core::index::{IndexSegment, IndexTables, MultisetSum, Partition};
use holdfast_core::name::{self, PackId};
use holdfast_core::object::ObjectType;
use holdfast_core::root::{Conservation, SegmentRow};

/// Segments are joined when there are more.
const SEGMENTS_MAX: usize = 8;

/// What is to be merged.
pub(super) struct Merge<'a> {
    /// New rows, sorted.
    pub tables: IndexTables,
    /// Packs whose rows go.
    pub drop: &'a (dyn Fn(&PackId) -> bool + Sync),
}

/// Merges new rows into the segments of a draft.
pub(super) async fn merge_into(
    ctx: &Ctx,
    repository: &Repository,
    draft: &mut Draft<'_>,
    view: &View,
    merge: Merge<'_>,
) -> Result<()> {
    let mut inputs = vec![merge.tables];
    if draft.root.segments.len() >= SEGMENTS_MAX {
        for row in std::mem::take(&mut draft.root.segments) {
            inputs.push(read_segment(repository, &row).await?);
        }
    }
    let _ = view;
    let (mut taken, mut dropped, mut all) =
        (MultisetSum::default(), MultisetSum::default(), IndexTables::default());
    for tables in &inputs {
        let mut kept = tables.clone();
        for row in &tables.chunks {
            taken.add(tables, row);
            if (merge.drop)(&tables.packs[row.pack as usize].id) {
                dropped.add(tables, row);
            }
        }
        kept.chunks.retain(|row| !(merge.drop)(&tables.packs[row.pack as usize].id));
        all.append(&kept);
    }
    all.chunks.sort_unstable_by_key(|row| (row.key, row.pack, row.offset));
    let mut last = None;
    let rows = std::mem::take(&mut all.chunks);
    for row in rows {
        if last == Some((row.key, row.pack, row.offset)) {
            dropped.add(&all, &row);
        } else {
            last = Some((row.key, row.pack, row.offset));
            all.chunks.push(row);
        }
    }
    if all.chunks.is_empty() {
        return Ok(());
    }
    if cfg!(feature = "mutant-merge-drops") {
        all.chunks.pop();
    }
    let (rows, sum) = (all.chunks.len() as u64, MultisetSum::of(&all));
    let id = ObjectId(ctx.random());
    let header = repository.header(ctx, ObjectType::IndexSegment, id, draft.epoch());
    let segment = IndexSegment { partition: Partition::ALL, level: 0, sum, tables: all };
    let bytes = segment.encode(&header, repository.k_idx()?, repository.signer());
    let row = SegmentRow { partition: Partition::ALL, level: 0, id, rows, hash: hash(&bytes), sum };
    repository.put_own(&name::index_segment(id), bytes).await?;
    let given = MultisetSum::of(&read_segment(repository, &row).await?);
    let conservation = Conservation { taken, dropped, given };
    if !conservation.holds() && !cfg!(feature = "mutant-merge-drops") {
        let what =
            "a merge of the index would have lost rows; nothing was published. This is a mistake in holdfast";
        return Err(Error::new(ErrorKind::Damaged, what));
    }
    draft.root.segments.push(row);
    draft.root.conservation.push(conservation);
    Ok(())
}

async fn read_segment(repository: &Repository, row: &SegmentRow) -> Result<IndexTables> {
    let object = name::index_segment(row.id);
    let gone = || Error::new(ErrorKind::Conflict, format!("{object} is gone"));
    let bytes = get_optional(&**repository.store(), &object).await?.ok_or_else(gone)?;
    let key = repository.k_idx()?;
    let segment = repository
        .parse_maintained(&bytes, ObjectType::IndexSegment, row.id)
        .and_then(|parsed| IndexSegment::decode(&parsed.header, parsed.body, key));
    Ok(segment.map_err(|error| Error::format(&object, error))?.tables)
}
