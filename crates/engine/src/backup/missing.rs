//! Packs that the index names and the store does not have, or has with another length: what lay
//! in them is stored again.
//!
//! Names are listed, nothing is read. On purpose not here: damage inside of packs, which
//! `check --read-data` finds.

use crate::ctx::Ctx;
use crate::error::Result;
use crate::event::Event;
use crate::index::{Bits, Index, PackState};
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
    let mut there = Bits::new(index.pack_rows().into());
    for prefix in ["packs/data/", "packs/tree/"] {
        let mut last: Option<Key> = None;
        loop {
            let page = repository.store().list(prefix, last.as_ref(), NAMES_AT_ONCE).await?;
            let ids = page.iter().filter_map(|meta| Some((PackId::parse(meta.key.as_str())?, meta.size)));
            let mut ids: Vec<_> = ids.collect();
            // In their order they are looked up in few blocks of the index.
            ids.sort_unstable();
            for (id, size) in ids {
                if let Some(row) = index.row_of(&id)?
                    && index.pack(row)?.row.size == size
                {
                    there.set(row.into());
                }
            }
            let done = page.len() < NAMES_AT_ONCE;
            last = page.into_iter().next_back().map(|meta| meta.key);
            if done {
                break;
            }
        }
    }
    let (mut missing, mut packs) = (Vec::new(), index.packs());
    while let Some((row, pack)) = packs.next()? {
        if !there.get(row.into()) && pack.row.size > 0 && pack.state == PackState::Live {
            missing.push(pack.row.id);
        }
    }
    for (number, id) in missing.iter().enumerate() {
        index.set_state(id, PackState::ReadOnly)?;
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
