//! G2: marks every chunk that a snapshot needs, through the references of pages.
//!
//! A page that cannot be read stops the mark, and with it everything: what cannot be followed
//! cannot be told from garbage. On purpose not here: contents, names, and the keys for them.

use super::scan::Scan;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::reader::Reader;
use crate::snapshots::Snapshot;
use holdfast_core::hold::HoldScope;
use holdfast_core::id::{ChunkId, SessionId};
use holdfast_core::index::ChunkKey;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Pages that are asked for at once.
const PAGES_AT_ONCE: usize = 512;

/// Chunks that something needs.
#[derive(Default)]
pub(super) struct Marks {
    marked: HashSet<ChunkKey>,
}

impl Marks {
    /// Marks a chunk; false if it is marked already.
    fn mark(&mut self, key: ChunkKey) -> bool {
        self.marked.insert(key)
    }

    /// Whether something needs a chunk.
    pub(super) fn has(&self, key: &ChunkKey) -> bool {
        self.marked.contains(key)
    }

    /// All that are marked.
    pub(super) fn keys(&self) -> impl Iterator<Item = &ChunkKey> {
        self.marked.iter()
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
    reader: &Reader,
    snapshots: &BTreeMap<SessionId, Snapshot>,
) -> Result<Marks> {
    ctx.monitor.on(&Event::Phase("marking what snapshots need"));
    let mut marks = Marks::default();
    let mut pages: Vec<ChunkId> = Vec::new();
    for snapshot in snapshots.values() {
        if marks.mark(ChunkKey::from(&snapshot.summary.root)) {
            pages.push(snapshot.summary.root);
        }
    }
    while !pages.is_empty() {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        let batch = pages.split_off(pages.len().saturating_sub(PAGES_AT_ONCE));
        for refs in reader.refs(&batch).await {
            let refs = refs.map_err(unreadable)?;
            for id in &refs.chunks {
                marks.mark(ChunkKey::from(id));
            }
            pages.extend(refs.children.into_iter().filter(|id| marks.mark(ChunkKey::from(id))));
        }
    }
    Ok(marks)
}

fn unreadable(error: Error) -> Error {
    if error.kind != ErrorKind::Damaged {
        return error;
    }
    let what = "a page of a snapshot cannot be read, so nobody knows what it needs; nothing was condemned. \
                Run `holdfast check` to see which snapshots it costs, then forget those or run \
                `holdfast repair snapshots`";
    Error { kind: ErrorKind::Damaged, what: what.into(), source: Some(Box::new(error)) }
}
