//! Copies a tree between repositories whose keys name things alike: page by page, as they are.
//!
//! What the parent's tree has is not looked at again: the parent is pinned, and with it all below a
//! page. So both trees are gone down together, level by level, and only pages that the parent lacks
//! are read. Where the parent cannot be relied on, or is another tree, each page and chunk is looked
//! up by itself. On purpose not here: chunks ([`super::carrier`]).

use super::carrier::{Carrier, Tried};
use crate::error::{Error, ErrorKind, Result};
use crate::packer::Claim;
use crate::reader::Reader;
use crate::tree::{Held, Pending, Stretch};
use holdfast_core::chunk::PageText;
use holdfast_core::entry::Content;
use holdfast_core::id::ChunkId;
use holdfast_core::keys::ChunkKind;
use holdfast_core::page::{Page, PageBody};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Pages that are read together.
const PAGES_AT_ONCE: usize = 64;
/// Chunks that are carried together.
const CHUNKS_AT_ONCE: usize = 4096;
/// So many pages of the parent are read beyond a few for each page of the tree.
const PAST_PAGES_SPARE: usize = 64;

/// A page of the tree, and what it has to be.
enum Node {
    Entries(Pending),
    Extents(Stretch),
}

impl Node {
    const fn id(&self) -> ChunkId {
        match self {
            Self::Entries(pending) => pending.id,
            Self::Extents(stretch) => stretch.id,
        }
    }

    /// Checks a page against what is known of it; gives the pages below, and the trees of extents
    /// that its entries have.
    fn open(&self, page: Page) -> Result<(Vec<Self>, Vec<Self>)> {
        match self {
            Self::Entries(pending) => match pending.open(page)? {
                Held::Pages(below) => Ok((below.into_iter().map(Self::Entries).collect(), Vec::new())),
                Held::Entries(entries) => {
                    let tree = |entry: &holdfast_core::entry::Entry| match entry.content {
                        Content::Tree(id) => {
                            Some(Self::Extents(Stretch { id, level: None, start: 0, end: entry.size }))
                        }
                        _ => None,
                    };
                    Ok((Vec::new(), entries.iter().filter_map(tree).collect()))
                }
            },
            Self::Extents(stretch) => {
                let wrong = || Error::new(ErrorKind::Damaged, "the extents of a file do not fit together");
                if stretch.level.is_some_and(|level| level != page.level) {
                    return Err(wrong());
                }
                match page.body {
                    PageBody::Extents { start, extents, .. } if stretch.is_filled(start, &extents) => {
                        Ok((Vec::new(), Vec::new()))
                    }
                    PageBody::Children(children) if page.level > 0 => {
                        let below = stretch.split(&children, page.level - 1).ok_or_else(wrong)?;
                        Ok((below.into_iter().map(Self::Extents).collect(), Vec::new()))
                    }
                    _ => Err(wrong()),
                }
            }
        }
    }
}

/// Copies trees into one session.
pub(super) struct Pages<'a> {
    carrier: &'a Carrier<'a>,
    /// Reads the parent's pages.
    past: Option<&'a Reader>,
    seen: HashSet<ChunkId>,
    wanted: Vec<ChunkId>,
}

/// Copies the tree of a snapshot. The parent's tree, if there is one, has to be in the pinned
/// closure of the session.
pub(super) async fn copy_pages(
    carrier: &Carrier<'_>,
    root: ChunkId,
    parent: Option<(&Reader, ChunkId)>,
) -> Tried<()> {
    let (past, past_root) = parent.unzip();
    let mut pages = Pages { carrier, past, seen: HashSet::new(), wanted: Vec::new() };
    let past_roots = past_root.into_iter().collect();
    let (trees, past_trees) = pages.descend(vec![Node::Entries(Pending::root(root))], past_roots).await?;
    pages.descend(trees, past_trees).await?;
    pages.carry().await
}

impl Pages<'_> {
    /// Goes down from some roots, beside those of the parent; returns the roots of the trees that
    /// hang below, of both.
    async fn descend(
        &mut self,
        mut roots: Vec<Node>,
        mut past_roots: Vec<ChunkId>,
    ) -> Tried<(Vec<Node>, Vec<ChunkId>)> {
        let (mut here, mut past): (BTreeMap<u8, Vec<Node>>, BTreeMap<u8, Vec<ChunkId>>) = Default::default();
        let (mut trees, mut past_trees) = (Vec::new(), Vec::new());
        leave_common(&mut roots, &mut past_roots);
        if roots.is_empty() {
            return Ok((trees, past_trees));
        }
        if is_worth_it(past_roots.len(), roots.len()) {
            self.read_past_roots(&past_roots, &mut past, &mut past_trees).await;
        }
        self.read(roots, &mut here, &mut trees).await?;
        // A tree of the parent may be higher: its pages have to be gone through first.
        while let Some(level) = here.keys().chain(past.keys()).max().copied() {
            let mut nodes = here.remove(&level).unwrap_or_default();
            let mut olds = past.remove(&level).unwrap_or_default();
            leave_common(&mut nodes, &mut olds);
            let more = nodes.len() + here.values().map(Vec::len).sum::<usize>();
            if more == 0 && trees.is_empty() {
                break;
            }
            if is_worth_it(olds.len(), more + trees.len()) {
                self.read_past(&olds, level, &mut past, &mut past_trees).await;
            }
            self.read(nodes, &mut here, &mut trees).await?;
        }
        Ok((trees, past_trees))
    }

    /// Reads pages and stores them; what is below is noted by its level.
    async fn read(
        &mut self,
        mut nodes: Vec<Node>,
        below: &mut BTreeMap<u8, Vec<Node>>,
        trees: &mut Vec<Node>,
    ) -> Tried<()> {
        nodes.retain(|node| self.seen.insert(node.id()));
        let mut left = &nodes[..];
        while !left.is_empty() {
            self.carrier.check()?;
            let ids: Vec<_> = left.iter().take(PAGES_AT_ONCE).map(Node::id).collect();
            let texts = self.carrier.reader.texts(&ids).await;
            let (now, rest) = left.split_at(texts.len());
            left = rest;
            let mut stored = Vec::with_capacity(now.len());
            for (node, text) in now.iter().zip(texts) {
                let text = text.map_err(|error| self.carrier.unread(error))?;
                let page = Page::decode(&text)
                    .map_err(|error| Error::format(&format!("page {}", &node.id().to_string()[..16]), error))
                    .map_err(|error| self.carrier.unread(error))?;
                let (level, chunks) = (page.level, page.refs.chunks.clone());
                let (pages, files) = node.open(page).map_err(|error| self.carrier.unread(error))?;
                if !pages.is_empty() {
                    below.entry(level - 1).or_default().extend(pages);
                }
                trees.extend(files);
                self.carrier.count(text.plain_bytes() as u64);
                stored.push((node.id(), text));
                for id in chunks {
                    if self.carrier.packer.claim(ChunkKind::Data, &id) == Claim::New {
                        self.wanted.push(id);
                    }
                }
            }
            self.store(stored).await?;
            if self.wanted.len() >= CHUNKS_AT_ONCE {
                self.carry().await?;
            }
        }
        Ok(())
    }

    async fn store(&self, pages: Vec<(ChunkId, PageText)>) -> Tried<()> {
        let packer = Arc::clone(self.carrier.packer);
        if let Some(foreseen) = self.carrier.rehearsal {
            for (id, _) in &pages {
                if packer.claim(ChunkKind::Page, id) == Claim::New {
                    self.carrier.foresee(foreseen, ChunkKind::Page, id)?;
                }
            }
            return Ok(());
        }
        let store = move || {
            packer.show_life();
            pages.iter().for_each(|(id, page)| packer.store_page(*id, page));
        };
        self.carrier.ctx.workers.run(store).await;
        Ok(())
    }

    async fn carry(&mut self) -> Tried<()> {
        self.carrier.carry_claimed(std::mem::take(&mut self.wanted)).await
    }

    /// Notes what the parent has below some roots, whose levels nobody knows yet. What cannot be
    /// read is not known to be there.
    async fn read_past_roots(
        &self,
        roots: &[ChunkId],
        past: &mut BTreeMap<u8, Vec<ChunkId>>,
        trees: &mut Vec<ChunkId>,
    ) {
        let Some(reader) = self.past else { return };
        for ids in roots.chunks(PAGES_AT_ONCE) {
            for page in reader.pages(ids).await.into_iter().flatten() {
                match page.level.checked_sub(1) {
                    Some(level) => past.entry(level).or_default().extend(page.refs.children),
                    None => trees.extend(page.refs.children),
                }
            }
        }
    }

    /// Notes what the parent has below pages of a level.
    async fn read_past(
        &self,
        pages: &[ChunkId],
        level: u8,
        past: &mut BTreeMap<u8, Vec<ChunkId>>,
        trees: &mut Vec<ChunkId>,
    ) {
        let Some(reader) = self.past else { return };
        for ids in pages.chunks(PAGES_AT_ONCE) {
            // Of somebody else's copy of a page nobody knows what its references are worth.
            let believed = |author| reader.repository.trusts(author);
            for refs in reader.refs_by(ids, Some(&believed)).await.into_iter().flatten() {
                match level.checked_sub(1) {
                    Some(level) => past.entry(level).or_default().extend(refs.children),
                    None => trees.extend(refs.children),
                }
            }
        }
    }
}

/// Takes out of both what is in both.
fn leave_common(nodes: &mut Vec<Node>, olds: &mut Vec<ChunkId>) {
    let there: HashSet<_> = olds.iter().copied().collect();
    let common: HashSet<_> = nodes.iter().map(Node::id).filter(|id| there.contains(id)).collect();
    nodes.retain(|node| !common.contains(&node.id()));
    olds.retain(|id| !common.contains(id));
}

/// Whether it costs less to read pages of the parent than what may be saved by it.
const fn is_worth_it(past: usize, pages: usize) -> bool {
    past <= 8 * pages + PAST_PAGES_SPARE
}
