//! Follows every snapshot by what its pages refer to, with a key that opens no pages.
//!
//! What is proved is that all that snapshots need is in the index, and that references are as they were
//! sealed. On purpose not here, since it takes a key that reads: whether pages are what their ids say, and
//! whether entries fit.

use super::{CheckReport, interrupted};
use crate::ctx::Ctx;
use crate::error::{ErrorKind, Result};
use crate::reader::Reader;
use crate::restore::chain;
use crate::snapshots::Snapshot;
use holdfast_core::id::{ChunkId, MemberId};
use holdfast_core::index::ChunkKey;
use std::collections::{HashMap, HashSet};

/// Pages that are asked for together.
const PAGES_AT_ONCE: usize = 512;

/// Follows the snapshots. A page is read once for each member whose word counts for it.
pub(super) async fn check_refs(
    ctx: &Ctx,
    reader: &Reader,
    snapshots: &[Snapshot],
    report: &mut CheckReport,
) -> Result<()> {
    let is_owner = |member: MemberId| reader.repository.is_owner(member);
    let mut seen: HashMap<Option<MemberId>, HashSet<ChunkKey>> = HashMap::new();
    for snapshot in snapshots.iter().rev() {
        let place = format!("snapshot {}", &snapshot.id.to_string()[..8]);
        let made_by = reader.repository.maker_of(snapshot);
        let seen = seen.entry(made_by).or_default();
        let believed = |author: MemberId| made_by == Some(author) || is_owner(author);
        let mut pages = vec![snapshot.summary.root];
        pages.retain(|page| seen.insert(ChunkKey::from(page)));
        while !pages.is_empty() {
            interrupted(ctx)?;
            let batch = pages.split_off(pages.len().saturating_sub(PAGES_AT_ONCE));
            for refs in reader.refs_by(&batch, Some(&believed)).await {
                match refs {
                    Ok(refs) => {
                        for id in refs.chunks.iter().filter(|id| seen.insert(ChunkKey::from(*id))) {
                            need(reader, &place, id, report)?;
                        }
                        pages.extend(refs.children.into_iter().filter(|id| seen.insert(ChunkKey::from(id))));
                    }
                    // Nothing is wrong with the tree: where its pages lie cannot be looked up.
                    Err(error) if error.kind == ErrorKind::Conflict => return Err(error),
                    Err(error) => report.error(&place, format!("a part cannot be read: {}", chain(&error))),
                }
            }
        }
    }
    Ok(())
}

fn need(reader: &Reader, place: &str, id: &ChunkId, report: &mut CheckReport) -> Result<()> {
    if reader.index.place(id)?.is_none() {
        report.error(place, format!("chunk {id} is missing"));
    }
    Ok(())
}
