//! Prune: condemns, looks again, gives up, deletes, with a published root between the steps.
//!
//! On purpose not here: forgetting.

use super::absorb::{Intake, absorb};
use super::account::{Account, PackUse, choose};
use super::clock::{is_due, require_clock};
use super::foresee::foresee;
use super::heal::heal;
use super::hidden::refuse_hidden_sessions;
use super::hold::refuse_if_held;
use super::mark::{mark, needed_snapshots};
use super::plan::{Candidate, Plan, plan};
use super::publish::{ATTEMPTS_MAX, Draft, Published, require_maintainer, too_busy};
use super::repack::{Repacked, repack};
use super::scan::{Scan, abort_silent, refuse_what_cannot_be_judged, scan};
use super::segments::Effort;
use super::settle::{settle_forgotten, shorten_dead};
use super::sweep::Swept;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::reader::Reader;
use crate::repository::{Repository, get_optional};
use crate::snapshots::Snapshot;
use holdfast_core::entry::Time;
use holdfast_core::id::SessionId;
use holdfast_core::name::{self, PackId};
use holdfast_core::root::{List, ListKind, Root};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// How much that nothing needs may stay in packs that hold something needed too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// So many percent of all bytes in packs.
    Percent(f64),
    /// So many bytes.
    Bytes(u64),
    /// All of it: nothing is repacked.
    Unlimited,
}

/// How to prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// How much unused may stay.
    pub max_unused: MaxUnused,
    /// Repack at most so many bytes in this run.
    pub max_repack_bytes: Option<u64>,
    /// Pause between the steps, in seconds; `None`: none if no other session is open, else a day.
    pub min_age_seconds: Option<u64>,
    /// Abort open sessions that gave no sign of life for so many seconds; 0 aborts all.
    pub abort_after_seconds: u64,
    /// Tell what would be done, change nothing.
    pub dry_run: bool,
}

/// What a prune saw and did. With `dry_run` what it would do, but for the numbers of deltas and of
/// other objects, which are not foreseen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Packs that there were.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Bytes of them that snapshots need.
    pub used_bytes: u64,
    /// Bytes that nothing needs, in packs that stay.
    pub unused_bytes_left: u64,
    /// Packs that were repacked, their bytes, and the bytes that were written for them.
    pub repacked_packs: u64,
    /// Bytes read for it.
    pub repack_bytes_read: u64,
    /// Bytes written for it.
    pub repack_bytes_written: u64,
    /// Packs that were deleted.
    pub freed_packs: u64,
    /// Their bytes.
    pub freed_bytes: u64,
    /// Packs that are given up and still lie there.
    pub dead_packs: u64,
    /// Their bytes.
    pub dead_bytes: u64,
    /// Packs that are condemned: they go if nothing needs them until then.
    pub condemned_packs: u64,
    /// Their bytes.
    pub condemned_bytes: u64,
    /// When the next step may be made for what is condemned or given up; `None` if nothing waits.
    pub next_step: Option<Time>,
    /// Sessions that are open.
    pub open_sessions: u64,
    /// Sessions that were aborted.
    pub aborted_sessions: Vec<SessionId>,
    /// Index deltas that were merged.
    pub merged_deltas: u64,
    /// Snapshots that are gone for good.
    pub dropped_snapshots: Vec<SessionId>,
    /// Other objects that were deleted: what ended sessions left, merged deltas, old lists.
    pub deleted_objects: u64,
    /// What interrupted uploads had left in the store, and is freed.
    pub unfinished_uploads: u64,
    /// The newest root.
    pub root: u64,
}

/// Pause between the steps while other sessions are open, unless another one is asked for.
const MIN_AGE_SECONDS: u64 = 86_400;

/// The whole index is rewritten once its rows of packs that are gone are more than one in so many packs.
const WASTE_SHARE: usize = 8;

/// Frees what no snapshot needs.
///
/// # Errors
/// The key does not allow it, a hold stands against it, a page of a tree cannot be read (then
/// nothing was condemned), or the repository cannot be written. Whatever was done stays; the next
/// prune goes on.
pub async fn prune(ctx: &Ctx, repository: &Repository, options: &PruneOptions) -> Result<PruneReport> {
    require_maintainer(repository)?;
    if options.dry_run {
        return foresee(ctx, repository, options).await;
    }
    let mut run = Run { ctx, repository, options, report: PruneReport::default(), condemned: false };
    for _ in 0..ATTEMPTS_MAX {
        let before = repository.newest_root().await?.number;
        match run.step().await {
            Ok(true) => return Ok(run.report),
            Ok(false) => {}
            // What is gone may have been moved: only under one root it is damage.
            Err(error) if error.kind == ErrorKind::Damaged => {
                if repository.newest_root().await?.number == before {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
    }
    Err(too_busy())
}

struct Run<'a> {
    ctx: &'a Ctx,
    repository: &'a Repository,
    options: &'a PruneOptions,
    report: PruneReport,
    /// Whether this run has condemned what there was to condemn.
    condemned: bool,
}

impl Run<'_> {
    /// Makes the next step; true if it was the last.
    async fn step(&mut self) -> Result<bool> {
        let scan = scan(self.ctx, self.repository).await?;
        require_clock(self.ctx, &scan.view.root)?;
        refuse_if_held(self.ctx, &scan.view.root)?;
        let after = self.options.abort_after_seconds;
        let aborted = abort_silent(self.ctx, self.repository, &scan, after).await?;
        if !aborted.is_empty() {
            self.report.aborted_sessions.extend(aborted);
            // Some may have committed before.
            return Ok(false);
        }
        refuse_what_cannot_be_judged(self.repository, &scan)?;
        self.report.open_sessions = scan.open.len() as u64;
        let number = scan.view.root.number;
        match self.go_on(scan).await {
            // What is gone may have been moved: only what the newest root counts on is damage.
            Err(error)
                if error.kind == ErrorKind::Damaged
                    && self.repository.newest_root().await?.number != number =>
            {
                Ok(false)
            }
            other => other,
        }
    }

    async fn go_on(&mut self, scan: Scan) -> Result<bool> {
        match &scan.view.lists.condemned {
            Some((floor, _)) => {
                let ready = self.ready_at(&scan, *floor).await?;
                if ready.is_none() {
                    return self.give_up(scan).await;
                }
                self.report.next_step = ready;
                self.finish(scan).await
            }
            None if self.condemned => self.finish(scan).await,
            None => self.condemn(scan).await,
        }
    }

    /// When the next step after a root may be made; `None` for now.
    async fn ready_at(&self, scan: &Scan, number: u64) -> Result<Option<Time>> {
        Pauses::of(self.ctx, self.options, scan).ready_at(self.repository, scan, number).await
    }

    /// G2 and G3: marks, repacks, condemns.
    async fn condemn(&mut self, scan: Scan) -> Result<bool> {
        let needed = needed_snapshots(self.ctx, &scan);
        let (scan, account) = account(self.ctx, self.repository, scan, &needed).await?;
        let candidates = candidates(&scan, &account);
        let plan = plan(&candidates, &account, self.options);
        refuse_hidden_sessions(self.repository, &scan, &plan.unneeded).await?;
        self.count(&candidates, &account, &plan);
        let mut rows = Vec::new();
        for id in &plan.repack {
            rows.extend(scan.view.index.pack_of(id)?.map(|known| known.row));
        }
        let epoch = scan.view.root.number;
        let repacked = repack(self.ctx, self.repository, epoch, &rows, &scan.view.index, &account).await?;
        let condemned: BTreeSet<PackId> = plan.unneeded.union(&repacked.replaced).copied().collect();
        let published = match repacked.overtaken {
            true => Published::Overtaken,
            false => self.publish_condemned(&scan, &needed, &account, &condemned, &repacked).await?,
        };
        if let Some(session) = &repacked.session {
            // A root names its packs, or nothing ever will.
            self.repository.put_abort(self.ctx, session, epoch, "its packs are in the index").await?;
        }
        if published == Published::Yes {
            self.condemned = true;
            self.report.repacked_packs += repacked.replaced.len() as u64;
            self.report.repack_bytes_read += repacked.bytes_read;
            self.report.repack_bytes_written += repacked.bytes_written;
        }
        Ok(false)
    }

    async fn publish_condemned(
        &mut self,
        scan: &Scan,
        needed: &BTreeMap<SessionId, Snapshot>,
        account: &Account,
        condemned: &BTreeSet<PackId>,
        repacked: &Repacked,
    ) -> Result<Published> {
        let mut draft = Draft::after(self.ctx, self.repository, &scan.view.root, scan.view.root_hash);
        let number = draft.root.number;
        if cfg!(feature = "mutant-condemn-is-dead") {
            draft.add(&List::of_packs(ListKind::Dead, condemned), number).await?;
        } else {
            draft.set_packs(ListKind::Condemned, condemned, number).await?;
        }
        let gone = settle_forgotten(&mut draft, scan, needed, condemned.is_empty()).await?;
        let dead = shorten_dead(&mut draft, scan).await?;
        heal(&mut draft, scan, account).await?;
        let ours = repacked.session.map(|session| (session.member, session.session));
        let gone_packs = dead.gone.clone();
        let drop = move |pack: &PackId| gone_packs.contains(pack);
        let effort =
            if dead.gone.len() * WASTE_SHARE > scan.packs.len() { Effort::All } else { Effort::Tiers };
        let intake = Intake { tables: repacked.tables.clone(), ours, gone: &gone, drop: &drop, effort };
        let absorbed = absorb(self.ctx, self.repository, &mut draft, scan, intake).await?;
        let shuts_out = draft.root.members.0 > self.repository.members_to_name(&scan.view.root).0;
        let idle = condemned.is_empty()
            && !shuts_out
            && !is_due(self.ctx, &scan.view.root)
            && absorbed.deltas == 0
            && gone.is_empty()
            && !dead.changed
            && draft.root.lists == scan.view.root.lists
            && !(absorbed.fence_moved && has_leftovers(scan));
        if idle {
            self.condemned = true;
            return Ok(Published::Yes);
        }
        let published = draft.publish().await?;
        if published == Published::Yes {
            self.report.merged_deltas += absorbed.deltas;
            self.report.dropped_snapshots.extend(gone);
        }
        Ok(published)
    }

    /// G4 and G5: looks again, marks again, and gives up what still nothing needs.
    async fn give_up(&mut self, scan: Scan) -> Result<bool> {
        let needed = needed_snapshots(self.ctx, &scan);
        let (scan, account) = account(self.ctx, self.repository, scan, &needed).await?;
        let Some((_, condemned)) = scan.view.lists.condemned.clone() else { return Ok(false) };
        let unneeded = |pack: &&PackId| {
            let usage = account.of(pack);
            !scan.protects(pack) && usage.used_bytes == 0 && !may_heal(&scan, pack, &usage)
        };
        let dead: BTreeSet<PackId> = condemned.iter().filter(unneeded).copied().collect();
        let mut draft = Draft::after(self.ctx, self.repository, &scan.view.root, scan.view.root_hash);
        let number = draft.root.number;
        draft.set_packs(ListKind::Condemned, &BTreeSet::new(), 0).await?;
        draft.add(&List::of_packs(ListKind::Dead, &dead), number).await?;
        let gone = settle_forgotten(&mut draft, &scan, &needed, true).await?;
        let effort = Effort::Tiers;
        let intake = Intake { tables: Vec::new(), ours: None, gone: &gone, drop: &|_| false, effort };
        let absorbed = absorb(self.ctx, self.repository, &mut draft, &scan, intake).await?;
        if draft.publish().await? == Published::Yes {
            self.report.merged_deltas += absorbed.deltas;
            self.report.dropped_snapshots.extend(gone);
        }
        Ok(false)
    }

    /// G6, and the end of the run.
    async fn finish(&mut self, scan: Scan) -> Result<bool> {
        let report = &mut self.report;
        report.root = scan.view.root.number;
        if report.packs == 0 {
            report.packs = scan.packs.len() as u64;
            report.pack_bytes = scan.packs.values().sum();
        }
        if let Some((_, condemned)) = &scan.view.lists.condemned {
            report.condemned_packs = condemned.len() as u64;
            report.condemned_bytes = condemned.iter().filter_map(|id| scan.packs.get(id)).sum();
        }
        let mut swept = Swept::default();
        for (row, dead) in &scan.view.lists.dead {
            let ready = self.ready_at(&scan, row.floor).await?;
            let there = dead.iter().filter(|id| scan.packs.contains_key(id)).copied().collect::<Vec<_>>();
            let bytes: u64 = there.iter().map(|id| scan.packs[id]).sum();
            if ready.is_some() {
                self.report.dead_packs += there.len() as u64;
                self.report.dead_bytes += bytes;
                self.report.next_step = sooner(self.report.next_step, ready);
                continue;
            }
            swept.packs(self.ctx, self.repository, &there).await?;
            self.report.freed_packs += there.len() as u64;
            self.report.freed_bytes += bytes;
        }
        let age = Pauses::of(self.ctx, self.options, &scan).seconds;
        swept.leftovers(self.ctx, self.repository, &scan.view, age).await?;
        self.report.deleted_objects += swept.objects;
        let age = Duration::from_secs(self.options.abort_after_seconds);
        self.report.unfinished_uploads += self.repository.store().clear_unfinished(age).await?;
        Ok(true)
    }

    fn count(&mut self, candidates: &[Candidate], account: &Account, plan: &Plan) {
        let report = &mut self.report;
        report.packs = candidates.len() as u64;
        report.pack_bytes = candidates.iter().map(|candidate| candidate.size).sum();
        report.used_bytes = account.used_bytes();
        report.unused_bytes_left = plan.unused_bytes_left;
    }
}

/// How long the steps lie apart.
pub(super) struct Pauses {
    seconds: u64,
    now: Time,
}

impl Pauses {
    pub(super) fn of(ctx: &Ctx, options: &PruneOptions, scan: &Scan) -> Self {
        let idle = if scan.open.is_empty() { 0 } else { MIN_AGE_SECONDS };
        Self { seconds: options.min_age_seconds.unwrap_or(idle), now: ctx.clock.now() }
    }

    /// When the next step after a root may be made; `None` for now.
    pub(super) async fn ready_at(
        &self,
        repository: &Repository,
        scan: &Scan,
        number: u64,
    ) -> Result<Option<Time>> {
        Ok(self.after(root_time(repository, &scan.view.root, number).await?))
    }

    /// When the next step after a root of now may be made; `None` for now.
    pub(super) fn next(&self) -> Option<Time> {
        self.after(self.now)
    }

    fn after(&self, since: Time) -> Option<Time> {
        let at = Time { seconds: since.seconds.saturating_add_unsigned(self.seconds), ..since };
        (self.seconds > 0 && at > self.now).then_some(at)
    }
}

/// Marks what snapshots need and chooses the copies that stay.
pub(super) async fn account(
    ctx: &Ctx,
    repository: &Repository,
    mut scan: Scan,
    needed: &BTreeMap<SessionId, Snapshot>,
) -> Result<(Scan, Account)> {
    let index = Arc::new(std::mem::take(&mut scan.view.index));
    let reader = Reader::with_index(repository, Arc::clone(&index))?;
    let marks = mark(ctx, &index, &reader, needed).await;
    drop(reader);
    scan.view.index = Arc::into_inner(index).expect("nobody else reads any more");
    scan.look_for_young_packs(repository).await?;
    let account = choose(repository, &scan, marks?)?;
    Ok((scan, account))
}

/// Packs that may go, with what is needed of each.
pub(super) fn candidates(scan: &Scan, account: &Account) -> Vec<Candidate> {
    let dead: HashSet<_> = scan.view.lists.dead.iter().flat_map(|(_, packs)| packs).collect();
    let alive = scan.packs.iter().filter(|(id, _)| !dead.contains(id));
    let candidate = |(id, size): (&PackId, &u64)| {
        let usage = account.of(id);
        let stays = scan.protects(id) || may_heal(scan, id, &usage);
        Candidate { id: *id, size: *size, usage, stays }
    };
    alive.map(candidate).collect()
}

/// Whether a damaged pack stays as it is: something needed is in it, or may be, as far as nobody can
/// tell what is.
pub(super) fn may_heal(scan: &Scan, pack: &PackId, usage: &PackUse) -> bool {
    let lists = &scan.view.lists;
    lists.quarantined.contains(pack) && (usage.used_bytes > 0 || !lists.lost.is_empty())
}

/// Whether sessions below the announced fence wait to be swept up.
fn has_leftovers(scan: &Scan) -> bool {
    let pending = scan.view.root.fence_pending;
    scan.view.sessions.values().any(|seen| u64::from(seen.name.epoch) < pending)
}

/// When a root was published, as far as one can still tell; a root that is gone is old.
async fn root_time(repository: &Repository, newest: &Root, number: u64) -> Result<Time> {
    if number == newest.number {
        return Ok(newest.time);
    }
    let Some(bytes) = get_optional(&**repository.store(), &name::root(number)).await? else {
        return Ok(Time::default());
    };
    Ok(repository.decode_root(number, &bytes).map(|root| root.time).unwrap_or_default())
}

pub(super) fn sooner(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
