//! Takes into the next root what writers published since the last: snapshots, and where their
//! chunks lie. And moves the fence, in two roots, below which nothing else is looked for.
//!
//! A session is catalogued and absorbed in one root, so that whoever sees its snapshot there finds
//! its chunks there too. On purpose not here: deleting anything.

use super::clock::is_believed;
use super::publish::{ATTEMPTS_MAX, Draft, Published, require_maintainer};
use super::scan::{Scan, oldest_open, scan, watch};
use super::segments::{Effort, Merge, merge_into};
use crate::claims::keep_own;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::index::{BOUNDED_ROWS, Index};
use crate::repository::{Repository, get_optional};
use crate::view::SeenSession;
use holdfast_core::id::{MemberId, SessionId};
use holdfast_core::index::IndexTables;
use holdfast_core::name::PackId;
use holdfast_core::root::{CataloguedSnapshot, ListKind};
use holdfast_core::session::End;
use std::collections::BTreeSet;

/// A backup that met more deltas than this merges them.
const DELTAS_MAX: u64 = 16;
/// Deltas that are merged beside an ordinary backup, at most.
const DELTAS_BESIDE_MAX: usize = 1024;
/// Rows that are held at once; more become a segment of their own.
const ROWS_AT_ONCE: usize = 1 << 20;
/// Segments of snapshots are joined when there are more.
const SNAPSHOT_SEGMENTS_MAX: usize = 8;

/// What was taken in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Absorbed {
    /// Index deltas.
    pub deltas: u64,
    /// Whether the fence was moved or announced.
    pub fence_moved: bool,
}

/// Merges deltas after a backup that met many, if the key allows it. Failing to is harmless: what
/// was backed up is committed, and somebody else may have been faster.
pub(crate) async fn absorb_many(ctx: &Ctx, repository: &Repository, deltas: u64) {
    if deltas > DELTAS_MAX && require_maintainer(repository).is_ok() {
        let _ = absorb_now(ctx, repository).await;
    }
}

async fn absorb_now(ctx: &Ctx, repository: &Repository) -> Result<()> {
    for _ in 0..ATTEMPTS_MAX {
        let scan = scan(ctx, repository).await?;
        // More than should keep a backup waiting is left for `prune`; so is what only a person can know.
        if scan.unmerged().count() > DELTAS_BESIDE_MAX || !is_believed(ctx, &scan.view.root) {
            return Ok(());
        }
        let mut draft = Draft::after(ctx, repository, &scan.view.root, scan.view.root_hash);
        let (gone, effort) = (&BTreeSet::new(), Effort::Bounded(BOUNDED_ROWS));
        let intake = Intake { tables: Vec::new(), ours: None, gone, drop: &|_| false, effort };
        absorb(ctx, repository, &mut draft, &scan, intake).await?;
        match draft.publish().await? {
            Published::Yes => return Ok(()),
            Published::Overtaken if scan.view.deltas == 0 => return Ok(()),
            Published::Overtaken => {}
        }
    }
    Ok(())
}

/// What a draft takes in beside what was committed.
pub(super) struct Intake<'a> {
    /// Where the chunks of packs lie that no session committed.
    pub tables: Vec<IndexTables>,
    /// The session that repacked: it does not hold the fence back.
    pub ours: Option<(MemberId, SessionId)>,
    /// Snapshots that leave the catalogue.
    pub gone: &'a BTreeSet<SessionId>,
    /// Packs whose rows leave the index where segments are rewritten.
    pub drop: &'a (dyn Fn(&PackId) -> bool + Sync),
    /// How much of the index may be rewritten.
    pub effort: Effort,
}

/// Takes everything committed into a draft.
pub(super) async fn absorb(
    ctx: &Ctx,
    repository: &Repository,
    draft: &mut Draft<'_>,
    scan: &Scan,
    intake: Intake<'_>,
) -> Result<Absorbed> {
    let Intake { tables, ours, gone, drop, effort } = intake;
    let mut tables: Vec<_> = tables.into_iter().filter(|tables| !tables.chunks.is_empty()).collect();
    let mut absorbed = Absorbed::default();
    for seen in scan.unmerged() {
        for part in tables_of_session(repository, seen).await? {
            tables.push(part);
            absorbed.deltas += 1;
        }
        if tables.iter().map(|tables| tables.chunks.len()).sum::<usize>() > ROWS_AT_ONCE {
            let merge = Merge { tables: std::mem::take(&mut tables), drop, effort: Effort::New };
            merge_into(ctx, repository, draft, &scan.view.index, merge).await?;
        }
    }
    let merge = Merge { tables, drop, effort };
    merge_into(ctx, repository, draft, &scan.view.index, merge).await?;
    catalogue(draft, scan, gone).await?;
    absorbed.fence_moved = move_fence(draft, scan, ours);
    let merged: BTreeSet<_> = scan.unmerged().map(|seen| (seen.name.member, seen.name.session)).collect();
    let fence = draft.root.fence;
    let names = scan.view.sessions.keys().filter(|name| u64::from(name.epoch) >= fence);
    let above_fence: BTreeSet<_> = names.map(|name| (name.member, name.session)).collect();
    let all: BTreeSet<_> = scan.view.lists.absorbed.union(&merged).copied().collect();
    let all: BTreeSet<_> = all.intersection(&above_fence).copied().collect();
    if all != scan.view.lists.absorbed {
        let items = all.iter().map(|(member, session)| [member.0, session.0].concat()).collect();
        draft.set(ListKind::Absorbed, items).await?;
    }
    keep_aborted(repository, draft, scan, gone).await?;
    draft.root.watched = watch(ctx, scan);
    // All that removed members committed is taken in by now: they may be shut out.
    if scan.has_decided_removed(repository) && scan.members.0 > draft.root.members.0 {
        draft.root.members = scan.members;
    }
    Ok(absorbed)
}

/// What members aborted who are about to be shut out stays aborted: it is on the list of what is forgotten.
async fn keep_aborted(
    repository: &Repository,
    draft: &mut Draft<'_>,
    scan: &Scan,
    gone: &BTreeSet<SessionId>,
) -> Result<()> {
    let mut forgotten: BTreeSet<_> = scan.view.lists.forgotten.difference(gone).copied().collect();
    let before = forgotten.len();
    forgotten.extend(repository.aborted_by_removed(&scan.view));
    if forgotten.len() > before { draft.set_forgotten(&forgotten).await } else { Ok(()) }
}

/// All that a committed session adds to the index: from its deltas; from its packs where one is lost.
async fn tables_of_session(repository: &Repository, seen: &SeenSession) -> Result<Vec<IndexTables>> {
    let Some((_, End::Commit(commit))) = &seen.end else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for number in 0..commit.objects.deltas {
        let bytes = get_optional(&**repository.store(), &seen.name.delta(number)).await?;
        let decoded = bytes.and_then(|bytes| repository.decode_delta(&seen.name, number, &bytes).ok());
        let Some(mut tables) = decoded else {
            // Against an empty index: the view's knows what its pins name from these very packs.
            let packs = repository.packs_of_session(&seen.name, seen.pins, &Index::default()).await?;
            let own = packs.into_iter().map(|mut pack| {
                keep_own(&mut pack.tables, seen.name.member);
                pack.tables
            });
            return Ok(own.collect());
        };
        keep_own(&mut tables, seen.name.member);
        all.push(tables);
    }
    Ok(all)
}

/// Adds what was committed to the merged copy of summaries, and takes out what is gone for good.
async fn catalogue(draft: &mut Draft<'_>, scan: &Scan, gone: &BTreeSet<SessionId>) -> Result<()> {
    let known: BTreeSet<_> = scan.view.catalogued.iter().map(|row| row.session).collect();
    let received = draft.root.time;
    let fresh = scan.unmerged().filter(|seen| !known.contains(&seen.name.session));
    let mut fresh: Vec<_> = fresh.filter_map(|seen| row_of(seen, received)).collect();
    fresh.retain(|row| !gone.contains(&row.session));
    let rewrite = !gone.is_empty() && known.intersection(gone).next().is_some()
        || draft.root.snapshots.len() >= SNAPSHOT_SEGMENTS_MAX;
    if rewrite {
        draft.root.snapshots.clear();
        fresh.extend(scan.view.catalogued.iter().filter(|row| !gone.contains(&row.session)).cloned());
    }
    fresh.sort_by_key(|row| row.session);
    fresh.dedup_by_key(|row| row.session);
    draft.add_snapshots(&fresh).await
}

/// What the catalogue says of a committed session.
pub(super) fn row_of(seen: &SeenSession, received: holdfast_core::entry::Time) -> Option<CataloguedSnapshot> {
    let Some((header, End::Commit(commit))) = &seen.end else { return None };
    Some(CataloguedSnapshot {
        session: seen.name.session,
        member: seen.name.member,
        epoch: header.epoch,
        received,
        end_hash: seen.end_hash,
        summary: commit.summary.clone(),
    })
}

/// The fence in two steps: what was announced by an earlier root takes effect once every session
/// below it is decided and taken in; then the next one is announced, below no open session.
fn move_fence(draft: &mut Draft<'_>, scan: &Scan, ours: Option<(MemberId, SessionId)>) -> bool {
    let (before, oldest) = ((draft.root.fence_pending, draft.root.fence), oldest_open(scan, ours));
    let root = &mut draft.root;
    if root.fence_pending > root.fence && oldest.is_none_or(|oldest| oldest >= root.fence_pending) {
        root.fence = root.fence_pending;
    }
    let next = oldest.map_or(root.number, |oldest| oldest.min(root.number));
    root.fence_pending = root.fence_pending.max(next);
    before != (root.fence_pending, root.fence)
}
