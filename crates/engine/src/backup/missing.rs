//! Packs that the index names and the store does not have, or has with another length: what lay
//! in them is stored again.
//!
//! Names are listed, nothing is read. On purpose not here: damage inside of packs, which
//! `check --read-data` finds.

use crate::ctx::Ctx;
use crate::error::Result;
use crate::event::Event;
use crate::index::{Index, PackState};
use crate::repository::Repository;
use holdfast_core::name::PackId;
use holdfast_store::Key;

/// Names that are listed at once.
const NAMES_AT_ONCE: usize = 10_000;
/// Packs that are named; all are counted.
const NAMED_MAX: usize = 5;

/// Marks packs that cannot be relied on; returns how many. The view was read before: a pack that
/// it knows was durable when it was named, so whatever runs beside this, the listing has it.
pub(crate) async fn distrust_missing(ctx: &Ctx, repository: &Repository, index: &mut Index) -> Result<u64> {
    let mut there = vec![false; index.packs().len()];
    for prefix in ["packs/data/", "packs/tree/"] {
        let mut last: Option<Key> = None;
        loop {
            let page = repository.store().list(prefix, last.as_ref(), NAMES_AT_ONCE).await?;
            for meta in &page {
                let row = PackId::parse(meta.key.as_str()).and_then(|id| index.row_of(&id));
                if let Some(row) = row.filter(|row| index.pack(*row).row.size == meta.size) {
                    there[row as usize] = true;
                }
            }
            let done = page.len() < NAMES_AT_ONCE;
            last = page.into_iter().next_back().map(|meta| meta.key);
            if done {
                break;
            }
        }
    }
    let known = index.packs().iter().zip(there);
    let missing: Vec<_> = known
        .filter(|(pack, there)| !there && pack.row.size > 0 && pack.state == PackState::Live)
        .map(|(pack, _)| pack.row.id)
        .collect();
    for (number, id) in missing.iter().enumerate() {
        index.set_state(id, PackState::ReadOnly);
        if number < NAMED_MAX {
            let what = format!("{} is missing or cut off: what lay in it is stored again", id.name());
            ctx.monitor.on(&Event::Warning(&what));
        }
    }
    if missing.len() > NAMED_MAX {
        let what = format!("{} more packs are missing; run `holdfast check`", missing.len() - NAMED_MAX);
        ctx.monitor.on(&Event::Warning(&what));
    }
    Ok(missing.len() as u64)
}
