//! G2: marks every chunk that a snapshot needs, through the references of pages.
//!
//! A page that cannot be read stops the mark, and with it everything: what cannot be followed
//! cannot be told from garbage. One bit a chunk is kept, two where members that are no owners have
//! backed up. On purpose not here: contents, names, and the keys for them.

use super::clock::believed_now;
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
use std::collections::{BTreeMap, BTreeSet, HashSet};

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
    let now = believed_now(ctx, &scan.view.root);
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
///
/// What a page refers to is believed of whoever made the snapshot, and of owners: every member has the
/// key for references, and a copy of another's page that refers to nothing must not free what that one
/// needs. What sessions rely on is by the same members, so that such a copy is always there.
pub(super) async fn mark(
    ctx: &Ctx,
    index: &Index,
    reader: &Reader,
    snapshots: &BTreeMap<SessionId, Snapshot>,
) -> Result<Marks> {
    ctx.monitor.on(&Event::Phase("marking what snapshots need"));
    let is_owner = |member: MemberId| reader.repository.is_owner(member);
    let (mut owners, mut others) = (Vec::new(), BTreeMap::<MemberId, Vec<ChunkId>>::new());
    for snapshot in snapshots.values() {
        match reader.repository.maker_of(snapshot) {
            None => owners.push(snapshot.summary.root),
            Some(maker) => others.entry(maker).or_default().push(snapshot.summary.root),
        }
    }
    let mut marks = Marks::of(index);
    let mut walk = Walk {
        ctx,
        index,
        reader,
        marks: &mut marks,
        sure: None,
        seen: HashSet::new(),
        author: "an owner".into(),
    };
    walk.follow(owners, &is_owner).await?;
    if !others.is_empty() {
        walk.sure = Some(walk.marks.bits.clone());
    }
    for (member, roots) in others {
        walk.seen.clear();
        walk.author = reader.repository.name_of(member);
        walk.follow(roots, &|author| author == member || is_owner(author)).await?;
    }
    Ok(marks)
}

/// A walk through the trees of some members.
struct Walk<'a> {
    ctx: &'a Ctx,
    index: &'a Index,
    reader: &'a Reader,
    marks: &'a mut Marks,
    /// What trees of owners need, once those were walked through: whoever comes to a page of them
    /// need not go on.
    sure: Option<Bits>,
    /// Pages of this member that were met beside those.
    seen: HashSet<ChunkKey>,
    /// Whose snapshots are walked through, for people.
    author: String,
}

impl Walk<'_> {
    async fn follow(
        &mut self,
        mut pages: Vec<ChunkId>,
        believed: &(dyn Fn(MemberId) -> bool + Sync),
    ) -> Result<()> {
        let mut chunks: Vec<ChunkKey> = Vec::new();
        self.only_fresh(&mut pages)?;
        while !pages.is_empty() {
            if self.ctx.cancel.is_raised() {
                return Err(Error::interrupted());
            }
            let batch = pages.split_off(pages.len().saturating_sub(PAGES_AT_ONCE));
            let mut children = Vec::new();
            for refs in self.reader.refs_by(&batch, Some(believed)).await {
                let refs = refs.map_err(|error| unreadable(error, &self.author))?;
                chunks.extend(refs.chunks.iter().map(ChunkKey::from));
                children.extend(refs.children);
            }
            self.only_fresh(&mut children)?;
            pages.extend(children);
            if chunks.len() >= CHUNKS_AT_ONCE {
                self.marks.mark(self.index, &mut chunks)?;
                chunks.clear();
            }
        }
        self.marks.mark(self.index, &mut chunks)
    }

    /// Marks pages and keeps those that are to be read.
    fn only_fresh(&mut self, pages: &mut Vec<ChunkId>) -> Result<()> {
        pages.sort_unstable();
        pages.dedup();
        let mut keys: Vec<_> = pages.iter().map(ChunkKey::from).collect();
        if let Some(sure) = &self.sure {
            let ordinals = self.index.ordinals_sorted(&keys)?;
            let fresh = keys.iter().zip(ordinals).filter(|(key, ordinal)| {
                !ordinal.is_some_and(|ordinal| sure.get(ordinal)) && self.seen.insert(**key)
            });
            let fresh: Vec<_> = fresh.map(|(key, _)| *key).collect();
            self.marks.mark(self.index, &mut keys)?;
            keys = fresh;
        } else {
            self.marks.mark(self.index, &mut keys)?;
        }
        pages.retain(|page| keys.binary_search(&ChunkKey::from(page)).is_ok());
        Ok(())
    }
}

fn unreadable(error: Error, author: &str) -> Error {
    if error.kind != ErrorKind::Damaged {
        return error;
    }
    let what = format!(
        "a page of a snapshot of {author} cannot be read, so nobody knows what it needs; nothing was condemned. \
         Run `holdfast repair index`, and if that does not help back up the same data again, forget \
         the snapshots that `holdfast check` names, or run `holdfast repair snapshots`"
    );
    Error { kind: ErrorKind::Damaged, what, source: Some(Box::new(error)) }
}
