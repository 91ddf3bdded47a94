//! Repairs snapshots whose records or trees are damaged: what is left of a tree becomes a snapshot
//! of its own, and a record that cannot be read stops nobody any more.
//!
//! The damaged snapshot stays as it is, unless it is to be forgotten: bytes may come back, and what
//! was left out of the new one is then whole again in the old one. On purpose not here: the index
//! ([`super::repair`]), which has to be whole before.

use super::follow::{Depth, LostFile, follow, is_damage, lacks};
use super::forget::{ForgetOptions, ForgetWhat, forget};
use super::publish::{ATTEMPTS_MAX, Draft, Published, too_busy};
use super::repair::LostObject;
use super::scan::{list_packs, lost_ends};
use super::stock::{Have, Stock};
use crate::backup::distrust_missing;
use crate::check::has_folder;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::index::Index;
use crate::packer::Packer;
use crate::reader::Reader;
use crate::repository::{Repository, get_optional};
use crate::restore::{chain, path_text};
use crate::rights::Right;
use crate::session::{Session, SessionOptions};
use crate::signed::{Signed, differs};
use crate::snapshots::{Snapshot, details};
use crate::tree::{Step, TreeWalk};
use crate::view::View;
use crate::workers::Workers;
use holdfast_core::entry::{Attributes, Content, Entry, Kind};
use holdfast_core::id::{ChunkId, MemberId, SessionId};
use holdfast_core::index::ChunkKey;
use holdfast_core::name::{self, Place};
use holdfast_core::page::{KeySpace, TreeBuilder};
use holdfast_core::session::{Counts, Details, RecordedProblem, Summary};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// What a repaired snapshot is tagged with.
pub const REPAIRED_TAG: &str = "repaired";
/// Files and parts that are named of each snapshot; all are counted.
const NAMED_MAX: usize = 1000;

/// How snapshots are repaired.
#[derive(Debug, Clone, Copy, Default)]
pub struct RepairSnapshotsOptions {
    /// Forget the damaged ones.
    pub forget: bool,
    /// Tell what would be done, change nothing.
    pub dry_run: bool,
}

/// A snapshot that is damaged.
#[derive(Debug, Clone)]
pub struct DamagedSnapshot {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// What is wrong with its own record, if anything is: what was left out of it is not known.
    pub record: Option<String>,
    /// The first files that cannot be had, and parts of the tree of which nothing is known.
    pub lost: Vec<LostFile>,
    /// How many they are.
    pub lost_count: u64,
    /// What is left.
    pub left: Counts,
    /// The snapshot that has what is left; `None` if that is nothing, or in a dry run.
    pub repaired: Option<SessionId>,
    /// Whether that one was made now.
    pub is_new: bool,
}

/// What a repair of snapshots saw and did.
#[derive(Debug, Clone, Default)]
pub struct RepairSnapshotsReport {
    /// Snapshots that were followed.
    pub snapshots: u64,
    /// Records that cannot be read, and that are forgotten now, so that a prune goes on. If one is
    /// put back before a prune has passed, its snapshot may be taken back as any that is forgotten.
    pub unreadable_ends: Vec<LostObject>,
    /// Damaged snapshots.
    pub damaged: Vec<DamagedSnapshot>,
    /// Snapshots that were forgotten.
    pub forgotten: Vec<SessionId>,
    /// The last root that was published.
    pub root: Option<u64>,
}

/// Makes snapshots of what is left of damaged ones, and forgets records that cannot be read.
///
/// # Errors
/// The key does not allow it, the index has to be repaired first, a hold stands against forgetting,
/// or the repository cannot be written. What was told as done stays.
pub async fn repair_snapshots(
    ctx: &Ctx,
    repository: &Repository,
    options: RepairSnapshotsOptions,
) -> Result<RepairSnapshotsReport> {
    // What is left is read and committed anew.
    repository.require(Right::Rewrite)?;
    let mut report = RepairSnapshotsReport::default();
    let mut salvage = Salvage::new(ctx, repository, repository.view().await?).await?;
    let shown = salvage.view.snapshots();
    let (shown, mut untrue) = salvage.signed(shown).await?;
    report.snapshots = shown.len() as u64;
    let torn = salvage.any_torn(&shown).await?;
    forget_unreadable(ctx, repository, options, &mut report).await?;
    if report.root.is_some() {
        salvage = Salvage::new(ctx, repository, repository.view().await?).await?;
    }
    let mut trees = HashMap::new();
    for snapshot in &shown {
        let record = match untrue.remove(&snapshot.id) {
            Some(what) => Some(what),
            None => salvage.record_trouble(snapshot).await?,
        };
        if record.is_none() && (!torn || salvage.is_whole(snapshot.summary.root, &mut trees).await?) {
            continue;
        }
        let damaged = salvage.repair(snapshot, record, &shown, options).await?;
        report.damaged.push(damaged);
    }
    if options.forget && !report.damaged.is_empty() {
        let ids: Vec<_> = report.damaged.iter().map(|damaged| damaged.snapshot.id).collect();
        let what = ForgetWhat::Snapshots(ids.clone());
        let forgets =
            ForgetOptions { what, allow_last: true, dry_run: options.dry_run, proven: BTreeSet::new() };
        report.root = forget(ctx, repository, &forgets).await?.root.or(report.root);
        report.forgotten = ids;
    }
    Ok(report)
}

/// Puts sessions whose ends cannot be read on the list of what is forgotten.
async fn forget_unreadable(
    ctx: &Ctx,
    repository: &Repository,
    options: RepairSnapshotsOptions,
    report: &mut RepairSnapshotsReport,
) -> Result<()> {
    for _ in 0..ATTEMPTS_MAX {
        let view = repository.view().await?;
        let mut sessions = BTreeSet::new();
        report.unreadable_ends.clear();
        for damage in &view.damage {
            let Some(Place::End(session)) = name::parse(&damage.object) else {
                return Err(index_first(&format!("{} cannot be used: {}", damage.object, damage.what)));
            };
            sessions.insert(session.session);
            let (object, what) = (damage.object.clone(), damage.what.clone());
            report.unreadable_ends.push(LostObject { object, what });
        }
        for name in lost_ends(&view) {
            sessions.insert(name.session);
            report.unreadable_ends.push(LostObject { object: name.end(), what: "it is missing".into() });
        }
        if sessions.is_empty() || options.dry_run {
            return Ok(());
        }
        let mut draft = Draft::after(ctx, repository, &view.root, view.root_hash);
        sessions.extend(&view.lists.forgotten);
        draft.set_forgotten(&sessions).await?;
        let number = draft.root.number;
        if draft.publish().await? == Published::Yes {
            report.root = Some(number);
            return Ok(());
        }
    }
    Err(too_busy())
}

fn index_first(what: &str) -> Error {
    Error::new(ErrorKind::Damaged, format!("{what}; run `holdfast repair index` first"))
}

/// What repairs of snapshots go by.
struct Salvage<'a> {
    ctx: &'a Ctx,
    repository: &'a Repository,
    view: View,
    index: Arc<Index>,
    reader: Reader,
    stock: Stock,
}

impl<'a> Salvage<'a> {
    async fn new(ctx: &'a Ctx, repository: &'a Repository, mut view: View) -> Result<Self> {
        let mut index = std::mem::take(&mut view.index);
        // Nothing new may rely on packs that are not there.
        distrust_missing(ctx, repository, &mut index).await?;
        let index = Arc::new(index);
        let reader = Reader::with_index(repository, Arc::clone(&index))?;
        let stock = Stock { packs: list_packs(repository).await?, ..Stock::default() };
        Ok(Self { ctx, repository, view, index, reader, stock })
    }

    /// Whether a chunk cannot be had, as far as is known without reading it.
    fn is_lost(&self, id: &ChunkId) -> Result<bool> {
        let lists = &self.view.lists;
        Ok(match self.stock.have(&self.index, &lists.quarantined, id)? {
            Have::Yes => false,
            Have::Perhaps => lists.lost.contains(id),
            Have::No => true,
        })
    }

    /// Whether any tree lacks anything.
    async fn any_torn(&self, shown: &[Snapshot]) -> Result<bool> {
        self.ctx.monitor.on(&Event::Phase("following snapshots"));
        let (mut lost, mut stated) = (0, 0);
        let roots = shown.iter().map(|snapshot| snapshot.summary.root);
        let mut visit = |id: &ChunkId| {
            if self.is_lost(id)? {
                lost += 1;
                stated += u64::from(self.view.lists.lost.contains(id));
            }
            Ok(())
        };
        let followed = follow(self.ctx, &self.reader, Depth::Bodies, roots, &mut visit).await?;
        if stated < lost {
            // They may lie in a pack that the index does not know.
            return Err(index_first("snapshots need chunks that the index does not find"));
        }
        Ok(lost > 0 || !followed.unreadable.is_empty())
    }

    /// Whether all of a tree is there. What was found out of pages is kept.
    async fn is_whole(&self, root: ChunkId, known: &mut HashMap<ChunkKey, bool>) -> Result<bool> {
        // Pages, with those below that are still to be looked at.
        let mut stack: Vec<(ChunkId, Option<Vec<ChunkId>>)> = vec![(root, None)];
        while let Some((id, below)) = stack.pop() {
            let key = ChunkKey::from(&id);
            if let Some(below) = below {
                let whole = below.iter().all(|id| known.get(&ChunkKey::from(id)) == Some(&true));
                known.insert(key, whole);
                continue;
            }
            if known.contains_key(&key) {
                continue;
            }
            match self.reader.page(&id).await {
                Ok(page) => {
                    let mut lost = false;
                    for id in &page.refs.chunks {
                        lost |= self.is_lost(id)?;
                    }
                    if lost {
                        known.insert(key, false);
                        continue;
                    }
                    stack.push((id, Some(page.refs.children.clone())));
                    stack.extend(page.refs.children.into_iter().map(|id| (id, None)));
                }
                Err(error) if is_damage(&error) => drop(known.insert(key, false)),
                Err(error) => return Err(error),
            }
        }
        Ok(known.get(&ChunkKey::from(&root)) == Some(&true))
    }

    /// Snapshots as their authors signed them, and of which the catalogue says something else. Where nobody
    /// can tell, the catalogue is all that there is.
    async fn signed(&self, shown: Vec<Snapshot>) -> Result<(Vec<Snapshot>, HashMap<SessionId, String>)> {
        let (mut all, mut untrue) = (Vec::with_capacity(shown.len()), HashMap::new());
        for said in shown {
            match self.repository.signed(&said).await? {
                Signed::Other(signed) => {
                    untrue.insert(said.id, differs(&said));
                    all.push(*signed);
                }
                Signed::Same | Signed::Unknown(_) => all.push(said),
            }
        }
        Ok((all, untrue))
    }

    /// What is wrong with a snapshot's own record.
    async fn record_trouble(&self, snapshot: &Snapshot) -> Result<Option<String>> {
        let name = snapshot.name();
        let Some(bytes) = get_optional(&**self.repository.store(), &name.end()).await? else {
            return Ok(Some(format!("{} is missing", name.end())));
        };
        let decoded = self.repository.decode_end(&name, &bytes);
        Ok(decoded.err().map(|error| chain(&Error::format(&name.end(), error))))
    }

    /// Makes a snapshot of what is left of one.
    async fn repair(
        &self,
        snapshot: &Snapshot,
        record: Option<String>,
        shown: &[Snapshot],
        options: RepairSnapshotsOptions,
    ) -> Result<DamagedSnapshot> {
        // Who salvaged before is an owner, or the one whose words it is: anybody can name any parent.
        let author = self.repository.author_of(snapshot);
        let may = |by: Option<MemberId>| by.is_none() || by == author;
        let is_copy = |other: &&Snapshot| {
            other.summary.parent == Some(snapshot.id)
                && other.summary.stream == snapshot.summary.stream
                && may(self.repository.author_of(other))
                && other.summary.tags.iter().any(|tag| tag == REPAIRED_TAG)
        };
        let existing = shown.iter().find(is_copy).map(|copy| copy.id);
        let mut damaged = DamagedSnapshot {
            snapshot: snapshot.clone(),
            record,
            lost: Vec::new(),
            lost_count: 0,
            left: Counts::default(),
            repaired: existing,
            is_new: false,
        };
        if options.dry_run || existing.is_some() {
            self.walk(&mut damaged, None).await?;
            return Ok(damaged);
        }
        let summary = &snapshot.summary;
        let session_options = SessionOptions {
            stream: summary.stream,
            parent: Some(snapshot.id),
            needs_parent: true,
            seal_check: true,
            data_pack_bytes: holdfast_core::pack::DATA_PACK_BYTES,
            dry_run: false,
            level: 3,
            started: self.ctx.clock.now(),
        };
        // Without threads nobody waits for room: only pages around the damage are new.
        let ctx = Ctx { workers: Workers::inline(), ..self.ctx.clone() };
        let index = Arc::clone(&self.index);
        let mut session =
            Session::begin(&ctx, self.repository, &self.view, index, Vec::new(), &session_options).await?;
        let packer = Arc::clone(session.packer());
        let root = self.walk(&mut damaged, Some(&packer)).await?;
        let left = damaged.left;
        if left.files + left.directories + left.others == 0 {
            session.abandon("nothing is left of the tree").await?;
            return Ok(damaged);
        }
        packer.close();
        session.upload().await?;
        let summary = Summary {
            tags: tagged(&summary.tags),
            counts: damaged.left,
            incomplete: summary.incomplete || damaged.lost_count > 0,
            problems: summary.problems + damaged.lost_count,
            root: root.expect("a tree was built"),
            parent: Some(snapshot.id),
            supersedes: Vec::new(),
            // It lacks what the origin has: a copy of that is not the same.
            origin: None,
            said_by: self.view.said_by(
                snapshot,
                self.repository.is_owner(snapshot.member),
                self.ctx.clock.now(),
            ),
            ..summary.clone()
        };
        let details = self.details_of(&damaged).await?;
        damaged.repaired = Some(session.commit(summary, &details).await?);
        damaged.is_new = true;
        Ok(damaged)
    }

    /// Walks what can be read of a tree, leaves out files that cannot be had, and builds a tree of
    /// the rest.
    async fn walk(&self, damaged: &mut DamagedSnapshot, packer: Option<&Packer>) -> Result<Option<ChunkId>> {
        let space = damaged.snapshot.summary.space;
        let mut builder = packer.map(|packer| TreeBuilder::new(packer.sealer().identifier.clone(), space));
        let mut walk = TreeWalk::whole(&self.reader, damaged.snapshot.summary.root);
        let mut last = (Vec::new(), true);
        while let Some(step) = walk.next().await {
            if self.ctx.cancel.is_raised() {
                return Err(Error::interrupted());
            }
            let entries = match step {
                Step::Entries(entries) => entries,
                Step::Damaged { error, .. } if !is_damage(&error) => return Err(error),
                Step::Damaged { from, .. } => {
                    damaged
                        .lose([b"everything from here on may be missing: ", &path_text(&from)[..]].concat());
                    continue;
                }
            };
            for entry in entries {
                if lacks(&self.reader, &entry, &|id| self.is_lost(id)).await? {
                    damaged.lose(path_text(&entry.key));
                    continue;
                }
                let missing =
                    if space == KeySpace::Paths { missing_folders(&last, &entry) } else { Vec::new() };
                last = (entry.key.clone(), entry.kind == Kind::Directory);
                for entry in missing.iter().chain([&entry]) {
                    count(&mut damaged.left, entry);
                    if let (Some(builder), Some(packer)) = (&mut builder, packer) {
                        builder.push(entry, &mut |id, page| packer.store_page(id, &page));
                    }
                }
            }
        }
        let (Some(builder), Some(packer)) = (builder, packer) else { return Ok(None) };
        Ok(Some(builder.finish(&mut |id, page| packer.store_page(id, &page)).id))
    }

    /// The details of the old one, as far as they can be read, and what the new one lacks.
    async fn details_of(&self, damaged: &DamagedSnapshot) -> Result<Details> {
        let mut made = match details(self.ctx, self.repository, &damaged.snapshot).await {
            Ok(details) => details,
            Err(error) if is_damage(&error) => {
                Details { command: "repair snapshots".into(), ..Details::default() }
            }
            Err(error) => return Err(error),
        };
        let what = format!("left out by a repair of snapshot {}", damaged.snapshot.id);
        let lost = damaged.lost.iter();
        made.problems
            .extend(lost.map(|lost| RecordedProblem { path: lost.path.clone(), what: what.clone() }));
        Ok(made)
    }
}

impl DamagedSnapshot {
    fn lose(&mut self, path: Vec<u8>) {
        self.lost_count += 1;
        if self.lost.len() < NAMED_MAX {
            self.lost.push(LostFile { snapshot: self.snapshot.id, path });
        }
    }
}

/// Folders that are lost while something in them is left, the outermost first: nobody but the owner of
/// that may enter them.
fn missing_folders(last: &(Vec<u8>, bool), entry: &Entry) -> Vec<Entry> {
    let ends = entry.key.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at);
    let (mut missing, mut before) = (Vec::new(), (last.0.clone(), last.1));
    for end in ends {
        let key = entry.key[..end].to_vec();
        let inside = [&key[..], b"\0"].concat();
        if !has_folder((&before.0, before.1), &inside) {
            before = (key.clone(), true);
            missing.push(Entry {
                key,
                kind: Kind::Directory,
                mode: 0o700,
                size: 0,
                content: Content::None,
                digest: None,
                attributes: Attributes::default(),
                ..entry.clone()
            });
        }
    }
    missing
}

fn tagged(tags: &[String]) -> Vec<String> {
    let tags: BTreeSet<String> = tags.iter().cloned().chain([REPAIRED_TAG.to_owned()]).collect();
    tags.into_iter().collect()
}

/// Counts an entry of a tree.
pub(super) fn count(counts: &mut Counts, entry: &Entry) {
    match entry.kind {
        Kind::File => counts.files += 1,
        Kind::Directory => counts.directories += 1,
        _ => counts.others += 1,
    }
    counts.bytes = counts.bytes.saturating_add(entry.size);
}
