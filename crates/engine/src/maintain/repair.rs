//! Repairs the index: what is lost of roots, lists, segments and deltas is made anew from packs and
//! sessions, and published as one new root. Nothing is deleted.
//!
//! It is a change of the root like others: planned under one root, published only if no other came
//! first, planned anew if one did. So it runs beside backups and other maintainers, with one
//! exception: where a root or a list of dead packs is lost, nobody knows any more which packs a
//! prune that stopped in the middle goes on to delete when it wakes. **No prune that was begun
//! before may still be running anywhere when a lost root is rebuilt.** Writers that began before a
//! lost root was rebuilt start over by themselves in a new session.
//!
//! On purpose not here: snapshots whose own records or trees are damaged
//! ([`super::repair_snapshots`]).

use super::absorb::{Intake, absorb, row_of};
use super::base::{Base, LostRoot};
use super::follow::{Depth, LostFile, follow, name_files};
use super::mark::needed_snapshots;
use super::publish::{ATTEMPTS_MAX, Draft, Published, require_maintainer, too_busy};
use super::scan::{Scan, list_packs};
use super::segments::Effort;
use super::stock::{BadPack, Have, Stock, absorb_packs, is_indexed};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::reader::Reader;
use crate::repository::Repository;
use crate::session::AdoptedPack;
use crate::view::SeenSession;
use holdfast_core::id::{ChunkId, SessionId};
use holdfast_core::name::{self, PackId, Place};
use holdfast_core::root::{CataloguedSnapshot, ListKind};
use holdfast_core::session::End;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How the index is repaired.
#[derive(Debug, Clone, Copy, Default)]
pub struct RepairIndexOptions {
    /// Read every pack whole, so that damage inside of them is found, and packs that are whole
    /// again are relied on again.
    pub read_packs: bool,
    /// Tell what would be done, change nothing.
    pub dry_run: bool,
}

/// Something that the newest root needs, or that a session published, and that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostObject {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
}

/// What a repair of the index saw and did. With `dry_run` what it would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairIndexReport {
    /// The newest root that could be read; 0 if none could.
    pub base: u64,
    /// Newer ones, that are lost: what was forgotten and held with them is as root `base` says.
    pub lost_roots: Vec<LostRoot>,
    /// Lists, segments and deltas that are lost.
    pub lost_objects: Vec<LostObject>,
    /// Records of sessions that cannot be read: for `repair snapshots`.
    pub unreadable_ends: Vec<LostObject>,
    /// Packs that lie in the repository.
    pub packs: u64,
    /// Packs that were taken into the index by their own word.
    pub packs_indexed: u64,
    /// Packs that were read whole and are.
    pub packs_whole: u64,
    /// Packs that are quarantined now and were not before: nothing new relies on them.
    pub bad_packs: Vec<BadPack>,
    /// Packs that are not quarantined any more.
    pub released_packs: Vec<String>,
    /// Index deltas that were merged.
    pub merged_deltas: u64,
    /// Snapshots that were taken into the list of snapshots again, by their own records, with
    /// today as the day when they were first seen.
    pub snapshots_back: Vec<SessionId>,
    /// Snapshots that a lost list counted and of which nothing else tells.
    pub snapshots_missing: u64,
    /// Snapshots that were forgotten, and count again because nobody knows any more which they were.
    pub forgotten_back: u64,
    /// Chunks that snapshots need and no pack has.
    pub lost_chunks: u64,
    /// Chunks that were lost and are there again, or not needed any more.
    pub found_chunks: u64,
    /// Pages of trees that cannot be read: what they need is not known.
    pub unreadable_pages: u64,
    /// The first files that lost chunks cost.
    pub lost_files: Vec<LostFile>,
    /// How many they are, in pages that can be read.
    pub lost_file_count: u64,
    /// Whether there was anything to do.
    pub is_needed: bool,
    /// The root that was published.
    pub root: Option<u64>,
}

/// Makes anew what is lost of the index. Deletes nothing.
///
/// Packs that are damaged or missing are quarantined; chunks that only they had are lost. The next
/// backup of the same data stores them again, and the next repair or prune takes them off the list.
/// A lost root must not be rebuilt while a prune that was begun before still runs.
///
/// # Errors
/// The key does not allow it, a newer version wrote what would be replaced, other maintainers
/// changed the repository at every attempt, or it cannot be written. Then nothing was changed.
pub async fn repair_index(
    ctx: &Ctx,
    repository: &Repository,
    options: RepairIndexOptions,
) -> Result<RepairIndexReport> {
    require_maintainer(repository)?;
    for _ in 0..ATTEMPTS_MAX {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        let Some(mut repair) = Repair::begin(ctx, repository, options).await? else { continue };
        repair.find_out().await?;
        if options.dry_run || !repair.report.is_needed || repair.publish().await? == Published::Yes {
            return Ok(repair.report);
        }
    }
    Err(too_busy())
}

struct Repair<'a> {
    ctx: &'a Ctx,
    repository: &'a Repository,
    options: RepairIndexOptions,
    base: Base,
    scan: Scan,
    stock: Stock,
    /// Packs that the index did not know.
    found: Vec<AdoptedPack>,
    /// Rows of the list of snapshots that were made anew.
    back: Vec<CataloguedSnapshot>,
    /// Snapshots that are forgotten and in ruins, and do not come back to the list.
    gone: BTreeSet<SessionId>,
    quarantined: BTreeSet<PackId>,
    lost: BTreeSet<ChunkId>,
    report: RepairIndexReport,
}

impl<'a> Repair<'a> {
    /// Looks at what there is; `None` if it changed meanwhile.
    async fn begin(
        ctx: &'a Ctx,
        repository: &'a Repository,
        options: RepairIndexOptions,
    ) -> Result<Option<Self>> {
        repository.refresh_members().await?;
        let members = repository.members_head();
        let mut base = Base::find(repository).await?;
        let Some(view) = repository.view_under(base.seen.clone()).await? else { return Ok(None) };
        // After the view: a pack that it knows was there before it was named.
        let packs = list_packs(repository).await?;
        if !Base::find(repository).await?.is_as(&base) {
            return Ok(None);
        }
        base.note_vanished(&view);
        let (stock, scan) =
            (Stock { packs: packs.clone(), ..Stock::default() }, Scan::bare(view, packs, members));
        Ok(Some(Self {
            ctx,
            repository,
            options,
            base,
            scan,
            stock,
            found: Vec::new(),
            back: Vec::new(),
            gone: BTreeSet::new(),
            quarantined: BTreeSet::new(),
            lost: BTreeSet::new(),
            report: RepairIndexReport::default(),
        }))
    }

    /// Whether an object that the base names cannot be used.
    fn is_lost(&self, object: &str) -> bool {
        self.scan.view.damage.iter().any(|damage| damage.object == object)
    }

    fn lost_list(&self, kind: ListKind) -> bool {
        let lists = &self.scan.view.root.lists;
        lists.iter().any(|row| row.kind == kind as u8 && self.is_lost(&name::list(row.id)))
    }

    /// Finds out what is lost, and what is to be said instead.
    async fn find_out(&mut self) -> Result<()> {
        self.note_damage();
        self.find_dropped();
        self.find_snapshots().await?;
        self.find_ruins().await?;
        self.stock.note_missing(&self.scan.view.index)?;
        let mut thorough = self.is_index_lost();
        if thorough {
            self.index_packs().await?;
        }
        while !self.follow_snapshots().await? && !thorough {
            // Something is in no pack that the index knows: it may be in one that it does not.
            thorough = true;
            self.index_packs().await?;
        }
        self.judge();
        Ok(())
    }

    fn note_damage(&mut self) {
        let report = &mut self.report;
        report.base = self.base.seen.root.number;
        report.lost_roots.clone_from(&self.base.lost);
        report.packs = self.stock.packs.len() as u64;
        for damage in &self.scan.view.damage {
            let lost = LostObject { object: damage.object.clone(), what: damage.what.clone() };
            if matches!(name::parse(&lost.object), Some(Place::End(_))) {
                report.unreadable_ends.push(lost);
            } else {
                report.lost_objects.push(lost);
            }
        }
        for seen in lacking_deltas(&self.scan) {
            let object = seen.name.delta(0);
            let object = object.rsplit_once('-').map_or(&*object, |(session, _)| session).to_owned();
            if !report.lost_objects.iter().any(|lost| lost.object.starts_with(&object)) {
                report.lost_objects.push(LostObject { object, what: "is missing".into() });
            }
        }
    }

    /// Whether the index may lack packs.
    fn is_index_lost(&self) -> bool {
        let segments = &self.scan.view.root.segments;
        self.base.is_old()
            || segments.iter().any(|row| self.is_lost(&name::index_segment(row.id)))
            || self.lost_list(ListKind::Absorbed)
            || lacking_deltas(&self.scan).next().is_some()
    }

    /// Where nobody knows any more what is forgotten: what had left the list of snapshots already,
    /// though it is merged, was dropped, and stays so.
    fn find_dropped(&mut self) {
        if !self.lost_list(ListKind::Forgotten) {
            return;
        }
        let rows = self.scan.view.root.lists.iter();
        let lost = rows.filter(|row| row.kind == ListKind::Forgotten as u8).map(|row| row.items).sum::<u64>();
        let view = &self.scan.view;
        let whole = !view.root.snapshots.iter().any(|row| self.is_lost(&name::snapshot_segment(row.id)));
        let known: BTreeSet<_> = view.catalogued.iter().map(|row| row.session).collect();
        let dropped = |seen: &&SeenSession| {
            let merged = view.is_absorbed(&seen.name) && u64::from(seen.name.epoch) >= view.root.fence;
            whole && merged && !known.contains(&seen.name.session)
        };
        let dropped: BTreeSet<_> =
            view.sessions.values().filter(dropped).map(|seen| seen.name.session).collect();
        self.report.forgotten_back = lost.saturating_sub(dropped.len() as u64);
        self.scan.view.lists.forgotten = dropped;
    }

    /// Makes rows of lost segments of snapshots anew, from the ends of sessions. What is forgotten
    /// may have been dropped before, and then is a ruin: it comes back only if it is whole.
    async fn find_snapshots(&mut self) -> Result<()> {
        let view = &self.scan.view;
        let lost = view.root.snapshots.iter().filter(|row| self.is_lost(&name::snapshot_segment(row.id)));
        let items: u64 = lost.map(|row| row.items).sum();
        if items == 0 {
            return Ok(());
        }
        let known: BTreeSet<_> = view.catalogued.iter().map(|row| row.session).collect();
        let unmerged: BTreeSet<_> = self.scan.unmerged().map(|seen| seen.name.session).collect();
        let left = |id: &SessionId| !known.contains(id) && !unmerged.contains(id);
        let now = self.ctx.clock.now();
        let seen = view.sessions.values().filter(|seen| left(&seen.name.session));
        let mut rows: Vec<_> = seen.filter_map(|seen| row_of(seen, now)).collect();
        let forgotten = view.lists.forgotten.clone();
        let mut back = Vec::new();
        for row in rows.drain(..) {
            if !forgotten.contains(&row.session) || self.is_whole(row.summary.root).await? {
                back.push(row);
            }
        }
        back.sort_by_key(|row| row.session);
        self.report.snapshots_back = back.iter().map(|row| row.session).collect();
        self.report.snapshots_missing = items.saturating_sub(back.len() as u64);
        self.scan.view.catalogued.extend(back.iter().cloned());
        self.back = back;
        Ok(())
    }

    /// Where nobody knows any more which sessions are merged, those that were forgotten and dropped
    /// look as if they were to be taken in.
    async fn find_ruins(&mut self) -> Result<()> {
        if !self.lost_list(ListKind::Absorbed) {
            return Ok(());
        }
        let forgotten = &self.scan.view.lists.forgotten;
        let known: BTreeSet<_> = self.scan.view.catalogued.iter().map(|row| row.session).collect();
        let fresh = self
            .scan
            .unmerged()
            .filter(|seen| forgotten.contains(&seen.name.session) && !known.contains(&seen.name.session));
        let rows: Vec<_> = fresh.filter_map(|seen| row_of(seen, self.scan.view.root.time)).collect();
        for row in rows {
            if !self.is_whole(row.summary.root).await? {
                self.gone.insert(row.session);
            }
        }
        Ok(())
    }

    /// Whether all of a tree is there.
    async fn is_whole(&mut self, root: ChunkId) -> Result<bool> {
        let (reader, index) = self.reader()?;
        let (mut whole, none, stock) = (true, BTreeSet::new(), &self.stock);
        let mut visit = |id: &ChunkId| {
            whole &= stock.have(&index, &none, id)? != Have::No;
            Ok(())
        };
        let root = std::iter::once(root);
        let followed = follow(self.ctx, &reader, Depth::Refs, root, &mut visit).await?;
        self.give_back(reader, index);
        Ok(whole && followed.unreadable.is_empty())
    }

    /// A reader with the index, which the scan lacks meanwhile.
    fn reader(&mut self) -> Result<(Reader, Arc<crate::index::Index>)> {
        let index = Arc::new(std::mem::take(&mut self.scan.view.index));
        Ok((Reader::with_index(self.repository, Arc::clone(&index))?, index))
    }

    fn give_back(&mut self, reader: Reader, index: Arc<crate::index::Index>) {
        drop(reader);
        self.scan.view.index = Arc::into_inner(index).expect("nobody else reads any more");
    }

    /// Takes into the index what lies in packs that it does not know.
    async fn index_packs(&mut self) -> Result<()> {
        let left = self.stock.uncovered(&self.scan.view)?;
        self.found = self.stock.read_footers(self.ctx, self.repository, left).await?;
        absorb_packs(&mut self.scan.view.index, &self.found)?;
        self.report.packs_indexed = self.found.len() as u64;
        Ok(())
    }

    /// Finds packs that are damaged and chunks that are lost; false if something needed is in no
    /// pack that the index knows.
    async fn follow_snapshots(&mut self) -> Result<bool> {
        self.ctx.monitor.on(&Event::Phase("following snapshots"));
        let (reader, index) = self.reader()?;
        if self.options.read_packs && self.stock.whole.is_empty() {
            self.stock.read_whole(self.ctx, &reader).await?;
        }
        let needed = needed_snapshots(self.ctx, &self.scan);
        let lists = &self.scan.view.lists;
        let quarantined = self.stock.quarantined(&index, &lists.quarantined)?;
        let (mut lost, mut indexed, stock) = (BTreeSet::new(), true, &self.stock);
        let roots = needed.values().map(|snapshot| snapshot.summary.root);
        let mut visit = |id: &ChunkId| {
            let have = stock.have(&index, &quarantined, id)?;
            if have == Have::No || have == Have::Perhaps && lists.lost.contains(id) {
                indexed &= is_indexed(&index, id)?;
                lost.insert(*id);
            }
            Ok(())
        };
        let unreadable = follow(self.ctx, &reader, Depth::Refs, roots, &mut visit).await?.unreadable;
        // What was lost and may still be needed by what nobody follows.
        if !unreadable.is_empty() || !lists.forgotten.is_empty() {
            for id in &lists.lost {
                if stock.have(&index, &quarantined, id)? != Have::Yes {
                    lost.insert(*id);
                }
            }
        }
        for (page, what) in &unreadable {
            self.stock.note_unreadable(&index, page, what)?;
            lost.insert(*page);
        }
        self.quarantined = self.stock.quarantined(&index, &lists.quarantined)?;
        self.report.unreadable_pages = unreadable.len() as u64;
        self.name_files(&reader, &needed.values().collect::<Vec<_>>(), &lost).await?;
        self.lost = lost;
        self.give_back(reader, index);
        Ok(indexed)
    }

    async fn name_files(
        &mut self,
        reader: &Reader,
        needed: &[&crate::snapshots::Snapshot],
        lost: &BTreeSet<ChunkId>,
    ) -> Result<()> {
        if lost.is_empty() {
            return Ok(());
        }
        self.ctx.monitor.on(&Event::Phase("finding out what is lost"));
        let (files, count) = name_files(self.ctx, reader, needed, lost).await?;
        (self.report.lost_files, self.report.lost_file_count) = (files, count);
        Ok(())
    }

    /// Tells what changed, and whether anything did.
    fn judge(&mut self) {
        let (lists, report) = (&self.scan.view.lists, &mut self.report);
        let fresh = self.quarantined.difference(&lists.quarantined);
        let bad: BTreeMap<_, _> = fresh.filter_map(|id| Some((id.name(), self.stock.bad.get(id)?))).collect();
        report.bad_packs = bad.into_iter().map(|(pack, what)| BadPack { pack, what: what.clone() }).collect();
        let released = lists.quarantined.difference(&self.quarantined);
        report.released_packs = released.map(PackId::name).collect();
        report.packs_whole = self.stock.whole.len() as u64;
        report.lost_chunks = self.lost.len() as u64;
        report.found_chunks = lists.lost.difference(&self.lost).count() as u64;
        report.is_needed = self.base.is_old()
            || !report.lost_objects.is_empty()
            || !self.found.is_empty()
            || self.quarantined != lists.quarantined
            || self.lost != lists.lost;
    }

    /// Says it all in a new root.
    async fn publish(&mut self) -> Result<Published> {
        let (number, previous) = self.base.next(self.repository).await?;
        let view = &self.scan.view;
        let mut draft = Draft::after(self.ctx, self.repository, &view.root, view.root_hash);
        (draft.root.number, draft.root.previous) = (number, previous);
        draft.root.segments.retain(|row| !self.is_lost(&name::index_segment(row.id)));
        draft.root.snapshots.retain(|row| !self.is_lost(&name::snapshot_segment(row.id)));
        let forgotten_lost = self.lost_list(ListKind::Forgotten);
        draft.root.lists.retain(|row| !self.is_lost(&name::list(row.id)));
        draft.add_snapshots(&self.back).await?;
        if self.quarantined != view.lists.quarantined {
            draft.set_packs(ListKind::Quarantined, &self.quarantined, 0).await?;
        }
        if self.lost != view.lists.lost {
            draft.set(ListKind::Lost, self.lost.iter().map(|id| id.bytes().to_vec()).collect()).await?;
        }
        if forgotten_lost {
            draft.set_forgotten(&view.lists.forgotten).await?;
        }
        // The fence stays where it is: what nobody could read must not fall below it.
        let (fence, pending) = (draft.root.fence, draft.root.fence_pending);
        draft.root.fence_pending = fence;
        let gone = &self.gone;
        let tables = self.found.iter().map(|pack| pack.tables.clone()).collect();
        let intake = Intake { tables, ours: None, gone, drop: &|_| false, effort: Effort::New };
        let absorbed = absorb(self.ctx, self.repository, &mut draft, &self.scan, intake).await?;
        // Who began before a lost root was rebuilt may have been decided by it: it begins anew.
        draft.root.fence_pending = if self.base.is_old() { number } else { pending };
        draft.root.fence = fence;
        let published = draft.publish().await?;
        if published == Published::Yes {
            self.report.root = Some(number);
            self.report.merged_deltas = absorbed.deltas;
        }
        Ok(published)
    }
}

/// Committed sessions some of whose deltas are missing or damaged.
fn lacking_deltas(scan: &Scan) -> impl Iterator<Item = &SeenSession> {
    scan.unmerged().filter(|seen| match &seen.end {
        Some((_, End::Commit(commit))) => commit.objects.deltas > seen.deltas,
        _ => false,
    })
}
