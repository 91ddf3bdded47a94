//! What a prune would do now, told without doing it.
//!
//! The steps are those of [`super::prune`]. Not foreseen is how many deltas would be merged and how
//! many other objects would be deleted: that depends on what the steps write. On purpose not here:
//! writing anything.

use super::clock::require_clock;
use super::hold::refuse_if_held;
use super::mark::needed_snapshots;
use super::plan::{Candidate, plan};
use super::prune::{Pauses, PruneOptions, PruneReport, account, candidates, may_heal, sooner};
use super::scan::{Scan, refuse_what_cannot_be_judged, scan, silent};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::repository::Repository;
use crate::snapshots::Snapshot;
use holdfast_core::entry::Time;
use holdfast_core::id::SessionId;
use holdfast_core::name::PackId;
use std::collections::{BTreeMap, BTreeSet};

/// Tells what a prune would do.
pub(super) async fn foresee(
    ctx: &Ctx,
    repository: &Repository,
    options: &PruneOptions,
) -> Result<PruneReport> {
    let mut scan = scan(ctx, repository).await?;
    require_clock(ctx, &scan.view.root)?;
    refuse_if_held(ctx, &scan.view.root)?;
    let mut report = PruneReport { root: scan.view.root.number, ..PruneReport::default() };
    let after = options.abort_after_seconds;
    report.aborted_sessions = silent(ctx, &scan, after).map(|(open, _)| open.name.session).collect();
    scan.open.retain(|open| !report.aborted_sessions.contains(&open.name.session));
    refuse_what_cannot_be_judged(repository, &scan)?;
    report.open_sessions = scan.open.len() as u64;
    let needed = needed_snapshots(ctx, &scan);
    let (scan, account) = account(ctx, repository, scan, &needed).await?;
    let pauses = Pauses::of(ctx, options, &scan);
    let mut foreseen = Foreseen { scan: &scan, report, pause: pauses.next() };
    for (row, dead) in &scan.view.lists.dead {
        let ready = pauses.ready_at(repository, &scan, row.floor).await?;
        foreseen.given_up(dead.iter().copied(), ready);
    }
    let mut candidates = candidates(&scan, &account);
    let mut gives_up = false;
    if let Some((floor, condemned)) = &scan.view.lists.condemned {
        let ready = pauses.ready_at(repository, &scan, *floor).await?;
        if ready.is_some() {
            foreseen.condemned(condemned, ready);
            foreseen.count(&candidates, account.used_bytes());
            return Ok(foreseen.report);
        }
        let goes = |pack: &&PackId| {
            let usage = account.of(pack);
            !scan.protects(pack) && usage.used_bytes == 0 && !may_heal(&scan, pack, &usage)
        };
        let dead: BTreeSet<PackId> = condemned.iter().filter(goes).copied().collect();
        candidates.retain(|candidate| !dead.contains(&candidate.id));
        foreseen.given_up(dead.into_iter(), pauses.next());
        gives_up = true;
    }
    let plan = plan(&candidates, &account, options);
    foreseen.count(&candidates, account.used_bytes());
    foreseen.report.unused_bytes_left = plan.unused_bytes_left;
    foreseen.report.repacked_packs = plan.repack.len() as u64;
    foreseen.report.repack_bytes_read = foreseen.sum(plan.repack.iter().copied()).1;
    // Without what is around the chunks in a pack.
    foreseen.report.repack_bytes_written = plan.repack.iter().map(|id| account.of(id).used_bytes).sum();
    let planned: BTreeSet<PackId> = plan.unneeded.union(&plan.repack).copied().collect();
    foreseen.drop_forgotten(&needed, planned.is_empty(), gives_up);
    match pauses.next() {
        None => foreseen.given_up(planned.into_iter(), None),
        pause => foreseen.condemned(&planned, pause),
    }
    Ok(foreseen.report)
}

/// A report that comes about.
struct Foreseen<'a> {
    scan: &'a Scan,
    report: PruneReport,
    /// When the step after the next one may be made; `None` for in the same run.
    pause: Option<Time>,
}

impl Foreseen<'_> {
    fn sum(&self, packs: impl Iterator<Item = PackId>) -> (u64, u64) {
        let there = packs.filter_map(|pack| self.scan.packs.get(&pack));
        there.fold((0, 0), |(number, bytes), size| (number + 1, bytes + size))
    }

    /// Packs that are given up: gone now, or waiting.
    fn given_up(&mut self, packs: impl Iterator<Item = PackId>, ready: Option<Time>) {
        let (number, bytes) = self.sum(packs);
        if ready.is_none() {
            self.report.freed_packs += number;
            self.report.freed_bytes += bytes;
        } else if number > 0 {
            self.report.dead_packs += number;
            self.report.dead_bytes += bytes;
            self.report.next_step = sooner(self.report.next_step, ready);
        }
    }

    fn condemned(&mut self, packs: &BTreeSet<PackId>, ready: Option<Time>) {
        (self.report.condemned_packs, self.report.condemned_bytes) = self.sum(packs.iter().copied());
        if !packs.is_empty() {
            self.report.next_step = sooner(self.report.next_step, ready);
        }
    }

    fn count(&mut self, candidates: &[Candidate], used_bytes: u64) {
        self.report.packs = candidates.len() as u64;
        self.report.pack_bytes = candidates.iter().map(|candidate| candidate.size).sum();
        self.report.used_bytes = used_bytes;
    }

    /// Snapshots leave with a root that gives up all there is to give up, once they are catalogued.
    fn drop_forgotten(&mut self, needed: &BTreeMap<SessionId, Snapshot>, nothing: bool, gives_up: bool) {
        let view = &self.scan.view;
        let catalogued: BTreeSet<_> = view.catalogued.iter().map(|row| row.session).collect();
        let at_once = !nothing && self.pause.is_none();
        let committed = view.committed();
        let leaves = |id: &&SessionId| {
            let there = if at_once { committed.contains_key(id) } else { catalogued.contains(id) };
            there && (at_once || nothing || gives_up) && !needed.contains_key(id)
        };
        self.report.dropped_snapshots = view.lists.forgotten.iter().filter(leaves).copied().collect();
    }
}
