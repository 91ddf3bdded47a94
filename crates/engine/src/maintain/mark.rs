//! G2: marks every chunk that a snapshot needs, through the references of pages.
//!
//! A page that cannot be read stops the mark, and with it everything: what cannot be followed
//! cannot be told from garbage. One bit a chunk is kept. On purpose not here: contents, names, and
//! the keys for them.

use super::scan::Scan;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::index::{Bits, Index};
use crate::reader::Reader;
use crate::snapshots::Snapshot;
use holdfast_core::hold::HoldScope;
use holdfast_core::id::{ChunkId, MemberId, SessionId};
use holdfast_core::index::ChunkKey;
use std::collections::{BTreeMap, BTreeSet};

/// Pages that are asked for at once.
const PAGES_AT_ONCE: usize = 512;
/// Chunks that are looked up at once: in order, so that the index is read from end to end.
const CHUNKS_AT_ONCE: usize = 1 << 18;

/// Chunks that something needs, one bit for each that the index knows.
pub(super) struct Marks {
    bits: Bits,
    /// Chunks that something needs and the index does not know.
    pub unknown: BTreeSet<ChunkKey>,
}

impl Default for Marks {
    fn default() -> Self {
        Self { bits: Bits::new(0), unknown: BTreeSet::new() }
    }
}

impl Marks {
    fn of(index: &Index) -> Self {
        Self { bits: Bits::new(index.ordinals_len()), unknown: BTreeSet::new() }
    }

    /// Marks chunks; keeps of `keys` only what was not marked before, ascending.
    fn mark(&mut self, index: &Index, keys: &mut Vec<ChunkKey>) -> Result<()> {
        keys.sort_unstable();
        keys.dedup();
        let ordinals = index.ordinals_sorted(keys)?;
        let mut ordinals = ordinals.into_iter();
        keys.retain(|key| match ordinals.next().flatten() {
            Some(ordinal) => self.bits.set(ordinal),
            None => self.unknown.insert(*key),
        });
        Ok(())
    }

    /// Whether something needs the chunk with this number.
    pub(super) fn has(&self, ordinal: u64) -> bool {
        self.bits.get(ordinal)
    }
}

/// The snapshots whose chunks are needed: those that count, those that are held though they were
/// forgotten, and parents of sessions that are under way.
pub(super) fn needed_snapshots(ctx: &Ctx, scan: &Scan) -> BTreeMap<SessionId, Snapshot> {
    let committed = scan.view.committed();
    let shown: BTreeSet<_> = scan.view.snapshots().into_iter().map(|snapshot| snapshot.id).collect();
    let now = ctx.clock.now();
    let needed = |id: &SessionId, snapshot: &Snapshot| {
        let held = scan.view.root.holds.iter().any(|hold| hold.stands(now) && names(&hold.scope, snapshot));
        shown.contains(id) || held || scan.pinned_snapshots.contains(id)
    };
    committed.into_iter().filter(|(id, snapshot)| needed(id, snapshot)).collect()
}

/// Whether a hold names a snapshot.
pub(super) fn names(scope: &HoldScope, snapshot: &Snapshot) -> bool {
    match scope {
        HoldScope::All => true,
        HoldScope::Source(label) => snapshot.summary.label == *label,
        HoldScope::Snapshot(id) => snapshot.id == *id || snapshot.summary.supersedes.contains(id),
    }
}

/// Marks all that the trees of snapshots refer to.
pub(super) async fn mark(
    ctx: &Ctx,
    index: &Index,
    reader: &Reader,
    snapshots: &BTreeMap<SessionId, Snapshot>,
) -> Result<Marks> {
    ctx.monitor.on(&Event::Phase("marking what snapshots need"));
    let mut marks = Marks::of(index);
    let mut of_members: BTreeMap<MemberId, Vec<ChunkId>> = BTreeMap::new();
    for snapshot in snapshots.values() {
        of_members.entry(snapshot.member).or_default().push(snapshot.summary.root);
    }
    for (member, roots) in of_members {
        mark_of_member(ctx, index, reader, (member, roots), &mut marks).await?;
    }
    Ok(marks)
}

/// Marks all that one member's snapshots refer to, in its own words or an owner's: what others sealed
/// under the id of a page, to say that it refers to nothing, is not read where there is better. So
/// pages are gone through once for each member.
async fn mark_of_member(
    ctx: &Ctx,
    index: &Index,
    reader: &Reader,
    (member, mut pages): (MemberId, Vec<ChunkId>),
    marks: &mut Marks,
) -> Result<()> {
    let repository = &reader.repository;
    let believed = |author: MemberId| author == member || repository.was_owner(author);
    let mut seen = Marks::of(index);
    let mut chunks: Vec<ChunkKey> = Vec::new();
    only_fresh(&mut seen, index, &mut pages)?;
    while !pages.is_empty() {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        let batch = pages.split_off(pages.len().saturating_sub(PAGES_AT_ONCE));
        chunks.extend(batch.iter().map(ChunkKey::from));
        let mut children = Vec::new();
        for refs in reader.refs_by(&batch, &believed).await {
            let refs = refs.map_err(unreadable)?;
            chunks.extend(refs.chunks.iter().map(ChunkKey::from));
            children.extend(refs.children);
        }
        only_fresh(&mut seen, index, &mut children)?;
        pages.extend(children);
        if chunks.len() >= CHUNKS_AT_ONCE {
            marks.mark(index, &mut chunks)?;
            chunks.clear();
        }
    }
    marks.mark(index, &mut chunks)
}

/// Marks pages and keeps those that were not marked before.
fn only_fresh(marks: &mut Marks, index: &Index, pages: &mut Vec<ChunkId>) -> Result<()> {
    pages.sort_unstable();
    pages.dedup();
    let mut keys: Vec<_> = pages.iter().map(ChunkKey::from).collect();
    marks.mark(index, &mut keys)?;
    pages.retain(|page| keys.binary_search(&ChunkKey::from(page)).is_ok());
    Ok(())
}

fn unreadable(error: Error) -> Error {
    if error.kind != ErrorKind::Damaged {
        return error;
    }
    let what = "a page of a snapshot cannot be read, so nobody knows what it needs; nothing was condemned. \
                Run `holdfast repair index`, and if that does not help back up the same data again, forget \
                the snapshots that `holdfast check` names, or run `holdfast repair snapshots`";
    Error { kind: ErrorKind::Damaged, what: what.into(), source: Some(Box::new(error)) }
}
