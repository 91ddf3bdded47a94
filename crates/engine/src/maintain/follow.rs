//! Follows snapshots to every chunk past what cannot be read, for repairs: the mark of a prune
//! stops there, a repair goes on.
//!
//! On purpose not here: what becomes of what is lost.

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::reader::Reader;
use crate::restore::chain;
use crate::snapshots::Snapshot;
use holdfast_core::entry::{Entry, Extent, Xattrs};
use holdfast_core::entry_code::Refs;
use holdfast_core::id::{ChunkId, SessionId};
use holdfast_core::index::ChunkKey;
use holdfast_core::page::PageBody;
use holdfast_core::version::shown_key;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Pages that are asked for at once.
const PAGES_AT_ONCE: usize = 512;
/// Files that are named; all are counted.
const FILES_NAMED_MAX: usize = 1000;

/// How pages are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Only their references: the key for bodies is not needed.
    Refs,
    /// Wholly.
    Bodies,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// All pages.
    pub pages: HashSet<ChunkKey>,
    /// Those that cannot be read, and why.
    pub unreadable: BTreeMap<ChunkId, String>,
}

/// Calls `visit` for each page and chunk that trees refer to, chunks as often as pages do.
///
/// # Errors
/// The store failed otherwise, or the run was stopped.
pub(super) async fn follow(
    ctx: &Ctx,
    reader: &Reader,
    depth: Depth,
    roots: impl Iterator<Item = ChunkId>,
    visit: &mut (dyn FnMut(&ChunkId) -> Result<()> + Send),
) -> Result<Followed> {
    let mut followed = Followed::default();
    let mut stack: Vec<ChunkId> = roots.filter(|root| followed.pages.insert(ChunkKey::from(root))).collect();
    stack.iter().try_for_each(&mut *visit)?;
    while !stack.is_empty() {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        let mut batch = stack.split_off(stack.len().saturating_sub(PAGES_AT_ONCE));
        let read = read_refs(reader, depth, &batch).await;
        // What did not fit into memory is asked for again.
        stack.extend(batch.drain(read.len()..));
        for (id, refs) in batch.iter().zip(read) {
            let refs = match refs {
                Ok(refs) => refs,
                Err(error) if is_damage(&error) => {
                    followed.unreadable.insert(*id, chain(&error));
                    continue;
                }
                Err(error) => return Err(error),
            };
            refs.chunks.iter().try_for_each(&mut *visit)?;
            refs.children.iter().try_for_each(&mut *visit)?;
            let fresh = refs.children.into_iter().filter(|id| followed.pages.insert(ChunkKey::from(id)));
            stack.extend(fresh);
        }
    }
    Ok(followed)
}

async fn read_refs(reader: &Reader, depth: Depth, ids: &[ChunkId]) -> Vec<Result<Refs>> {
    match depth {
        Depth::Refs => reader.refs(ids).await,
        Depth::Bodies => {
            let pages = reader.pages(ids).await.into_iter();
            pages.map(|page| page.map(|page| page.refs)).collect()
        }
    }
}

/// What was read; nothing if it is damaged.
pub(super) fn readable<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if is_damage(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error says that bytes are damaged or missing, and not that they cannot be had now.
pub(super) fn is_damage(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Damaged)
}

/// A file that lacks something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostFile {
    /// The newest snapshot that has it so; others may too.
    pub snapshot: SessionId,
    /// Its path, with slashes.
    pub path: Vec<u8>,
}

/// Names the files that need lost chunks; what snapshots share is named once. Returns how many
/// there are in all; none where the key does not allow reading.
pub(super) async fn name_files(
    ctx: &Ctx,
    reader: &Reader,
    snapshots: &[&Snapshot],
    lost: &BTreeSet<ChunkId>,
) -> Result<(Vec<LostFile>, u64)> {
    let (mut seen, mut named, mut count) = (HashSet::new(), Vec::new(), 0);
    for snapshot in snapshots.iter().rev() {
        let mut stack = vec![snapshot.summary.root];
        while let Some(id) = stack.pop() {
            if ctx.cancel.is_raised() {
                return Err(Error::interrupted());
            }
            if !seen.insert(ChunkKey::from(&id)) {
                continue;
            }
            // A page that cannot be read is told of elsewhere.
            let page = match reader.page(&id).await {
                Err(error) if error.kind == ErrorKind::NotAllowed => return Ok((named, count)),
                page => page,
            };
            let Some(page) = readable(page)? else { continue };
            match page.body {
                PageBody::Entries(entries) => {
                    for entry in entries {
                        if !lacks(reader, &entry, &|id| Ok(lost.contains(id))).await? {
                            continue;
                        }
                        count += 1;
                        if named.len() < FILES_NAMED_MAX {
                            let path = shown_key(&entry.key);
                            named.push(LostFile { snapshot: snapshot.id, path });
                        }
                    }
                }
                PageBody::Children(_) => stack.extend(page.refs.children.into_iter().rev()),
                PageBody::Extents { .. } => {}
            }
        }
    }
    Ok((named, count))
}

/// Whether an entry needs a chunk that is lost, or nobody can tell what it needs.
pub(super) async fn lacks(
    reader: &Reader,
    entry: &Entry,
    is_lost: &(dyn Fn(&ChunkId) -> Result<bool> + Sync),
) -> Result<bool> {
    if let Xattrs::Chunk(id) = &entry.attributes.xattrs
        && is_lost(id)?
    {
        return Ok(true);
    }
    let extents = match reader.extents(entry).await {
        Ok(extents) => extents,
        Err(error) if is_damage(&error) => return Ok(true),
        Err(error) => return Err(error),
    };
    for extent in &extents {
        if let Extent::Chunk { id, .. } = extent
            && is_lost(id)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}
