//! Finds the block map that goes with what is known of the last snapshot, or makes it anew from that
//! snapshot's pages; says so before the run begins if neither can be done.
//!
//! On purpose not here: what a map is ([`crate::block_map`]).

use super::{BackupOptions, Known, Past, rebuilt};
use crate::block_map::{BlockMap, BlockMapWriter, MapName, shelve};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::event::Event;
use crate::reader::Reader;
use crate::snapshots::Snapshot;
use crate::tree::{Step, TreeWalk};
use holdfast_core::entry::Content;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Adds the map, for a source that has use for one.
pub(super) async fn find(
    ctx: &Ctx,
    known: &Known<'_>,
    options: &BackupOptions,
    mut past: Past,
) -> Result<Past> {
    if !known.has_blocks {
        return Ok(past);
    }
    let name = |snapshot| MapName { repository: known.repository.id(), stream: known.stream, snapshot };
    if let (Some(folder), Some(cache)) = (&options.cache_dir, &past.cache) {
        past.map =
            BlockMap::open(folder, &name(cache.snapshot), known.repository.identifier()?).map(Arc::new);
    }
    let Some(parent) = past.parent.clone().filter(|_| past.map.is_none()) else { return Ok(past) };
    let reads = known.reads(&parent);
    if past.cache.is_some() && !past.covered && reads {
        // It knows another snapshot, whose pages may be gone.
        past = rebuilt(ctx, known, options, parent.clone()).await?;
    }
    let mut whole = false;
    if let (Some(folder), Some(_), true) = (&options.cache_dir, &past.cache, reads) {
        let reader = Reader::with_index(known.repository, Arc::clone(known.index))?;
        // Nobody needs it: more is stored without.
        if let Ok((map, all)) = rebuild(&reader, &parent, folder, &name(parent.id)).await {
            (past.map, whole) = (Some(Arc::new(map)), all);
        }
    }
    if !whole {
        past.map_lost = true;
        warn(ctx, &parent);
    }
    Ok(past)
}

/// Makes the map of a snapshot from its pages; tells whether all of them could be read.
async fn rebuild(
    reader: &Reader,
    parent: &Snapshot,
    folder: &Path,
    name: &MapName,
) -> io::Result<(BlockMap, bool)> {
    let map = BlockMapWriter::create(folder, name)?;
    let mut walk = TreeWalk::whole(reader, parent.summary.root);
    let mut whole = true;
    while let Some(step) = walk.next().await {
        let Step::Entries(entries) = step else {
            whole = false;
            continue;
        };
        let roots = entries.iter().filter_map(|entry| match entry.content {
            Content::Tree(root) => Some(root),
            _ => None,
        });
        whole &= shelve(reader, roots.collect(), &map).await;
    }
    let identifier = reader.identifier().map_err(io::Error::other)?;
    map.commit(name, identifier.cache_key())?;
    let map = BlockMap::open(folder, name, identifier).ok_or(io::ErrorKind::InvalidData)?;
    Ok((map, whole))
}

fn warn(ctx: &Ctx, parent: &Snapshot) {
    let (label, most) = (&parent.summary.label, size(parent.summary.counts.bytes));
    let what = format!(
        "the block map of {label} is lost, or parts of it: up to {most} that did not change will be stored again. \
         It lies in the cache folder; without it only a key that can read snapshots knows which blocks changed"
    );
    ctx.monitor.on(&Event::Warning(&what));
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    let (mut value, mut units) = (bytes as f64, ["bytes", "KiB", "MiB", "GiB", "TiB"].into_iter());
    let mut unit = units.next().unwrap_or_default();
    while value >= 1024.0
        && let Some(next) = units.next()
    {
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") }
}
