//! Finds trees that no snapshot refers to and makes snapshots of them: of runs that were killed
//! before they committed, and of snapshots whose records are lost.
//!
//! Pages state what they refer to, so that a page that nothing refers to is the top of a tree. If a
//! run has left several such pages its tree had not been finished, and nobody knows what joined
//! them. Nothing is deleted, no session is ended. On purpose not here: what nothing is left of.

use super::follow::{Depth, follow, is_damage, readable};
use super::repair_snapshots::count;
use super::scan::list_packs;
use super::stock::{Stock, absorb_packs};
use crate::adopt::read_contents;
use crate::backup::distrust_missing;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::index::Index;
use crate::reader::Reader;
use crate::repository::Repository;
use crate::restore::chain;
use crate::rights::Right;
use crate::session::{AdoptedPack, Session, SessionOptions};
use crate::tree::{Step, TreeWalk};
use crate::view::View;
use crate::workers::Workers;
use futures::stream::{self, StreamExt};
use holdfast_core::id::{ChunkId, MemberId, SessionId};
use holdfast_core::index::ChunkKey;
use holdfast_core::keys::ChunkKind;
use holdfast_core::name::{self, PackClass, PackId, Place};
use holdfast_core::page::{KeySpace, PageBody};
use holdfast_core::session::{Counts, Details, RecordedProblem, Summary};
use holdfast_core::version::{VERSIONS_KIND, split_version};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// Host, source and tag of snapshots that were recovered.
pub const RECOVERED: &str = "recovered";
/// Packs whose footers are read at the same time.
const READS_AT_ONCE: usize = 16;
/// Pages that are asked for at once.
const PAGES_AT_ONCE: usize = 512;

/// How trees are recovered.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecoverOptions {
    /// Tell what would be done, change nothing.
    pub dry_run: bool,
}

/// What a session has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTree {
    /// The session that wrote it.
    pub session: SessionId,
    /// What is in it; of a tree that is not whole what can be read.
    pub counts: Counts,
    /// The snapshot that was made of it.
    pub snapshot: Option<SessionId>,
    /// Why none can be.
    pub trouble: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoverReport {
    /// Packs of trees that were looked through.
    pub packs: u64,
    /// What sessions have left.
    pub trees: Vec<FoundTree>,
}

/// Makes snapshots of trees that no snapshot refers to.
///
/// # Errors
/// The key does not allow it, the index has to be repaired first, or the repository cannot be
/// written. Snapshots that were made stay.
pub async fn recover(ctx: &Ctx, repository: &Repository, options: RecoverOptions) -> Result<RecoverReport> {
    // What is found is read and committed.
    repository.require(Right::Rewrite)?;
    let search = Search::begin(ctx, repository).await?;
    let mut report = RecoverReport { packs: search.tree_packs.len() as u64, trees: Vec::new() };
    for ((_, session), tops) in search.tops().await? {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        let mut tree = FoundTree { session, counts: Counts::default(), snapshot: None, trouble: None };
        match &tops[..] {
            [top] => match search.look(*top, &mut tree.counts).await? {
                Err(trouble) => tree.trouble = Some(trouble),
                Ok(_) if options.dry_run => {}
                Ok(ids) => tree.snapshot = Some(search.commit(*top, &ids, tree.counts).await?),
            },
            _ => {
                let what = "its run had not finished the tree: {} parts that nothing joins";
                tree.trouble = Some(what.replace("{}", &tops.len().to_string()));
            }
        }
        report.trees.push(tree);
    }
    Ok(report)
}

/// What recovering goes by.
struct Search<'a> {
    ctx: &'a Ctx,
    repository: &'a Repository,
    view: View,
    index: Arc<Index>,
    reader: Reader,
    /// Packs that the index did not know.
    adopted: Vec<AdoptedPack>,
    /// Packs of trees, with their lengths.
    tree_packs: Vec<(PackId, u64)>,
}

impl<'a> Search<'a> {
    async fn begin(ctx: &'a Ctx, repository: &'a Repository) -> Result<Self> {
        let mut view = repository.view().await?;
        let index_is_damaged = |object: &str| !matches!(name::parse(object), Some(Place::End(_)));
        if let Some(damage) = view.damage.iter().find(|damage| index_is_damaged(&damage.object)) {
            let what = format!(
                "{} cannot be used: {}; run `holdfast repair index` first",
                damage.object, damage.what
            );
            return Err(Error::new(ErrorKind::Damaged, what));
        }
        let packs = list_packs(repository).await?;
        let leaving: HashSet<PackId> = view.lists.packs_on_their_way_out().copied().collect();
        let tree_packs = packs.iter().filter(|(id, _)| id.class == PackClass::Tree && !leaving.contains(id));
        let tree_packs = tree_packs.map(|(id, size)| (*id, *size)).collect();
        let mut stock = Stock { packs, ..Stock::default() };
        let unknown = stock.uncovered(&view)?.into_iter().filter(|id| !leaving.contains(id)).collect();
        let mut adopted = stock.read_footers(ctx, repository, unknown).await?;
        // Their sessions may still be under way.
        adopted.iter_mut().for_each(|pack| pack.from = None);
        absorb_packs(&mut view.index, &adopted)?;
        distrust_missing(ctx, repository, &mut view.index).await?;
        let index = Arc::new(std::mem::take(&mut view.index));
        let reader = Reader::with_index(repository, Arc::clone(&index))?;
        Ok(Self { ctx, repository, view, index, reader, adopted, tree_packs })
    }

    /// Pages that nothing refers to, by the session that wrote them.
    async fn tops(&self) -> Result<BTreeMap<(MemberId, SessionId), Vec<ChunkId>>> {
        self.ctx.monitor.on(&Event::Phase("following snapshots"));
        let committed = self.view.committed();
        let roots = committed.values().map(|snapshot| snapshot.summary.root);
        let known = follow(self.ctx, &self.reader, Depth::Refs, roots, &mut |_| Ok(())).await?.pages;
        self.ctx.monitor.on(&Event::Phase("looking for other trees"));
        let mut left: BTreeMap<ChunkId, PackId> = BTreeMap::new();
        let mut reads = stream::iter(self.tree_packs.clone())
            .map(|(id, size)| async move { (id, read_contents(self.repository, id, size).await) })
            .buffer_unordered(READS_AT_ONCE);
        while let Some((id, contents)) = reads.next().await {
            // What cannot be read is for `repair index` to name.
            let Some(contents) = readable(contents)? else { continue };
            let rows = contents.footer.rows.into_iter().map(|row| row.id);
            left.extend(rows.filter(|row| !known.contains(&ChunkKey::from(row))).map(|row| (row, id)));
        }
        let ids: Vec<ChunkId> = left.keys().copied().collect();
        let mut below: HashSet<ChunkId> = HashSet::new();
        for batch in ids.chunks(PAGES_AT_ONCE) {
            for refs in self.reader.refs(batch).await {
                below.extend(readable(refs)?.into_iter().flat_map(|refs| refs.children));
            }
        }
        let mut tops: BTreeMap<_, Vec<ChunkId>> = BTreeMap::new();
        for (id, pack) in left.into_iter().filter(|(id, _)| !below.contains(id)) {
            // Extents of files belong to no tree of entries.
            let page = readable(self.reader.page(&id).await)?;
            if page.is_some_and(|page| page.space != KeySpace::Offsets) {
                tops.entry((pack.member, pack.session)).or_default().push(id);
            }
        }
        Ok(tops)
    }

    /// Whether a tree is whole: its pages and chunks, or what is wrong.
    async fn look(
        &self,
        top: ChunkId,
        counts: &mut Counts,
    ) -> Result<std::result::Result<BTreeSet<ChunkId>, String>> {
        let mut folders: Vec<Vec<u8>> = Vec::new();
        let has_folders = self.space(top).await? == KeySpace::Paths;
        let mut walk = TreeWalk::whole(&self.reader, top);
        while let Some(step) = walk.next().await {
            let entries = match step {
                Step::Entries(entries) => entries,
                Step::Damaged { error, .. } if is_damage(&error) => return Ok(Err(chain(&error))),
                Step::Damaged { error, .. } => return Err(error),
            };
            for entry in entries {
                count(counts, &entry);
                if !has_folders {
                    continue;
                }
                let parent = entry.key.iter().rposition(|byte| *byte == 0).map(|at| &entry.key[..at]);
                while folders.last().is_some_and(|folder| parent != Some(folder) && !is_below(parent, folder))
                {
                    folders.pop();
                }
                if parent.is_some() && folders.last().map(Vec::as_slice) != parent {
                    return Ok(Err("it is a part of a tree whose run had not finished it".into()));
                }
                folders.push(entry.key);
            }
        }
        let mut ids = BTreeSet::new();
        let followed = follow(self.ctx, &self.reader, Depth::Refs, std::iter::once(top), &mut |id| {
            ids.insert(*id);
            Ok(())
        })
        .await?;
        if let Some(what) = followed.unreadable.into_values().next() {
            return Ok(Err(what));
        }
        let mut lost = 0;
        for id in &ids {
            lost += u32::from(self.index.live(&ChunkKey::from(id))?.is_none());
        }
        Ok(if lost == 0 { Ok(ids) } else { Err(format!("{lost} chunks of it are not there")) })
    }

    /// What a tree is of: its keys tell.
    async fn kind(&self, top: ChunkId, space: KeySpace) -> Result<&'static str> {
        if space != KeySpace::Opaque {
            return Ok("files");
        }
        let first = self.reader.page(&top).await?;
        let key = match &first.body {
            PageBody::Entries(entries) => entries.first().map(|entry| &entry.key),
            PageBody::Children(children) => children.first().map(|child| &child.first_key),
            PageBody::Extents { .. } => None,
        };
        Ok(key.filter(|key| split_version(key).is_some()).map_or("bucket", |_| VERSIONS_KIND))
    }

    /// What the keys of a tree are.
    async fn space(&self, top: ChunkId) -> Result<KeySpace> {
        Ok(self.reader.page(&top).await?.space)
    }

    /// Commits a tree: its packs are taken over or pinned.
    async fn commit(&self, top: ChunkId, ids: &BTreeSet<ChunkId>, counts: Counts) -> Result<SessionId> {
        let mut needed = BTreeSet::new();
        for id in ids {
            if let Some(place) = self.index.live(&ChunkKey::from(id))? {
                needed.insert(self.index.pack(place.pack)?.row.id);
            }
        }
        let adopted = self.adopted.iter().filter(|pack| needed.contains(&pack.row.id)).cloned().collect();
        let now = self.ctx.clock.now();
        let space = self.space(top).await?;
        let kind = self.kind(top, space).await?;
        let stream = self.repository.identifier()?.stream(RECOVERED, kind, RECOVERED);
        let options = SessionOptions {
            stream,
            parent: None,
            needs_parent: false,
            seal_check: true,
            data_pack_bytes: holdfast_core::pack::DATA_PACK_BYTES,
            dry_run: false,
            level: 0,
            started: now,
        };
        let ctx = Ctx { workers: Workers::inline(), ..self.ctx.clone() };
        let index = Arc::clone(&self.index);
        let mut session = Session::begin(&ctx, self.repository, &self.view, index, adopted, &options).await?;
        let packer = Arc::clone(session.packer());
        for id in ids {
            // Every one is live, so that its kind does not matter.
            packer.resolves(ChunkKind::Data, &ChunkKey::from(id), false);
        }
        packer.close();
        session.upload().await?;
        let summary = Summary {
            stream,
            host: RECOVERED.into(),
            kind: kind.into(),
            label: RECOVERED.into(),
            paths: Vec::new(),
            tags: vec![RECOVERED.into()],
            start: now,
            end: now,
            counts,
            // Whether the run that wrote it had ended is not known.
            incomplete: true,
            problems: 1,
            root: top,
            space,
            parent: None,
            supersedes: Vec::new(),
            origin: None,
            log: None,
            said_by: None,
            unknown: Vec::new(),
        };
        let what = "recovered from pages: what the run that wrote them had left out is not known";
        let problems = vec![RecordedProblem { path: b"/".to_vec(), what: what.into() }];
        let details = Details { command: "recover".into(), problems, ..Details::default() };
        session.commit(summary, &details).await
    }
}

/// Whether the folder of an entry lies below another one.
fn is_below(parent: Option<&[u8]>, folder: &[u8]) -> bool {
    parent.is_some_and(|parent| parent.strip_prefix(folder).is_some_and(|rest| rest.first() == Some(&0)))
}
