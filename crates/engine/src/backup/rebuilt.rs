//! Makes the stat cache anew from the parent's pages, where it is lost and the key may read them.
//!
//! On purpose not here: when a parent may be believed.

use super::{BackupOptions, Known, Past};
use crate::cache::{Cache, CacheWriter, Record, path_of};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::event::Event;
use crate::reader::Reader;
use crate::rights::Right;
use crate::snapshots::Snapshot;
use crate::source::UNSETTLED_SECONDS;
use crate::tree::{Step, TreeWalk};
use holdfast_core::entry::{Content, Entry};
use std::sync::Arc;

/// Rebuilds the cache from the parent's pages, where the key allows reading them. Without stamps,
/// unless entries prove them, everything is read, but contents are known and where they lie.
pub(super) async fn rebuilt(
    ctx: &Ctx,
    known: &Known<'_>,
    options: &BackupOptions,
    parent: Snapshot,
) -> Result<Past> {
    let Known { repository, index, stream, .. } = *known;
    let without = |parent| Past::new(Some(parent), None, false);
    let Some(folder) = &options.cache_dir else { return Ok(without(parent)) };
    if !known.reads(&parent) {
        let why = if repository.may(Right::Read) {
            "it is another member's, whom this key does not trust"
        } else {
            "this key cannot read it"
        };
        let what = format!(
            "the local cache does not know the last snapshot, and {why}: everything is read again. What the \
             repository has of members that this key trusts is not stored again"
        );
        ctx.monitor.on(&Event::Warning(&what));
        return Ok(without(parent));
    }
    let reader = Reader::with_index(repository, Arc::clone(index))?;
    let path = path_of(folder, repository.id(), stream).with_extension("rebuilt");
    let key = repository.identifier()?.cache_key().clone();
    let outcome = rebuild(&reader, &parent, &path, &key, known).await;
    let cache = outcome.and_then(|()| Ok(Cache::open(&path, &key, repository.id(), stream)?));
    let _ = std::fs::remove_file(&path);
    match cache {
        Ok(Some(cache)) => Ok(Past::new(Some(parent), Some(cache), true)),
        Ok(None) => Ok(without(parent)),
        // Nobody needs it: more is read, and a folder that cannot be used is told of later.
        Err(_) => Ok(without(parent)),
    }
}

type Trouble = Box<dyn std::error::Error + Send + Sync>;

async fn rebuild(
    reader: &Reader,
    parent: &Snapshot,
    path: &std::path::Path,
    key: &holdfast_core::crypto::Secret,
    known: &Known<'_>,
) -> std::result::Result<(), Trouble> {
    let mut writer = CacheWriter::create(path, key)?;
    let mut walk = TreeWalk::whole(reader, parent.summary.root);
    while let Some(step) = walk.next().await {
        // What is damaged is simply not known, and stored again.
        let Step::Entries(entries) = step else { continue };
        let mut to_come = entries.into_iter();
        while let Some(entry) = to_come.next() {
            reader.fetch_ahead(reader.not_at_hand(&entry, to_come.as_slice().iter())).await;
            let closure = match &entry.content {
                Content::Tree(root) => match reader.closure(*root).await {
                    Ok(closure) => closure,
                    Err(_) => continue,
                },
                _ => Vec::new(),
            };
            let stamp = match known.prover.filter(|_| is_settled(&entry, parent)) {
                Some(prove) => {
                    reader.xattrs(&entry).await.ok().and_then(|attributes| prove(&entry, &attributes))
                }
                None => None,
            };
            writer.push(&Record { stamp, entry, closure })?;
        }
    }
    writer.commit(known.repository.id(), known.stream, parent.id, None)?;
    Ok(())
}

/// Whether an entry was whole and no longer fresh when the run that recorded it began.
fn is_settled(entry: &Entry, parent: &Snapshot) -> bool {
    let attributes = &entry.attributes;
    let fresh = entry.mtime.seconds >= parent.summary.start.seconds.saturating_sub(UNSETTLED_SECONDS);
    !fresh && !attributes.torn && !attributes.grown
}
