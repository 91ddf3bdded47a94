//! Walks a snapshot's tree in key order, reading ahead, going on past damage.
//!
//! On purpose not here: what is done with the entries.

use crate::error::{Error, ErrorKind, Result};
use crate::paths::Scope;
use crate::reader::Reader;
use crate::workers::lock;
use holdfast_core::entry::{Content, Entry, Extent};
use holdfast_core::id::ChunkId;
use holdfast_core::index::ChunkKey;
use holdfast_core::keys::ChunkKind;
use holdfast_core::page::{Child, Page, PageBody};
use std::collections::{HashSet, VecDeque};

/// Leaves that are fetched together.
const LEAVES_AT_ONCE: usize = 32;
/// Most extents of one file that are held: a file of 16 TiB in chunks of 1 MiB.
const FILE_EXTENTS_MAX: usize = 1 << 24;

/// A page that is still to be visited.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub id: ChunkId,
    /// What level it must have; the root's is free.
    pub level: Option<u8>,
    /// Its first key; the root's is free.
    pub from: Vec<u8>,
    /// Its keys are smaller than this.
    pub to: Option<Vec<u8>>,
}

/// What a page of a tree turned out to hold.
#[derive(Debug)]
pub(crate) enum Held {
    /// Entries, ascending, all within the bounds.
    Entries(Vec<Entry>),
    /// The pages below, with their bounds.
    Pages(Vec<Pending>),
}

impl Pending {
    /// The top of a tree.
    pub(crate) const fn root(id: ChunkId) -> Self {
        Self { id, level: None, from: Vec::new(), to: None }
    }

    /// Checks a page against what its parent said of it.
    pub(crate) fn open(&self, page: Page) -> Result<Held> {
        if self.level.is_some_and(|level| level != page.level) {
            return Err(self.wrong());
        }
        let level = page.level;
        match page.body {
            PageBody::Entries(entries) if self.bounds(&entries) => Ok(Held::Entries(entries)),
            PageBody::Children(children) if level > 0 => self.children(level, children).map(Held::Pages),
            _ => Err(self.wrong()),
        }
    }

    /// Whether a key may be the page's first.
    fn begins_with(&self, key: &[u8]) -> bool {
        self.level.is_none() || *key == *self.from
    }

    fn bounds(&self, entries: &[Entry]) -> bool {
        match (entries.first(), entries.last()) {
            (Some(first), Some(last)) => {
                self.begins_with(&first.key) && self.to.as_ref().is_none_or(|to| last.key < *to)
            }
            // Only a tree without entries has a leaf without any: one page could be many otherwise.
            _ => self.level.is_none(),
        }
    }

    fn children(&self, level: u8, children: Vec<Child>) -> Result<Vec<Self>> {
        let inside = children.first().is_some_and(|first| self.begins_with(&first.first_key))
            && children.last().is_some_and(|last| self.to.as_ref().is_none_or(|to| last.first_key < *to));
        if !inside {
            return Err(self.wrong());
        }
        let ends = children[1..].iter().map(|child| Some(child.first_key.clone())).chain([self.to.clone()]);
        let ends: Vec<_> = ends.collect();
        let below = children.into_iter().zip(ends).map(|(child, to)| Self {
            id: child.id,
            level: Some(level - 1),
            from: child.first_key,
            to,
        });
        Ok(below.collect())
    }

    fn wrong(&self) -> Error {
        let id = &self.id.to_string()[..16];
        Error::new(ErrorKind::Damaged, format!("page {id} does not fit its tree"))
    }

    /// Whether keys of a range can lie in the page.
    pub(crate) fn overlaps(&self, from: &[u8], to: Option<&[u8]>) -> bool {
        to.is_none_or(|to| self.from.as_slice() < to)
            && self.to.as_ref().is_none_or(|end| end.as_slice() > from)
    }
}

/// What a step of the walk gave.
#[derive(Debug)]
pub(crate) enum Step {
    /// The next entries.
    Entries(Vec<Entry>),
    /// A part of the tree that cannot be read: keys from `from` on and below `to`.
    Damaged { from: Vec<u8>, to: Option<Vec<u8>>, error: Error },
}

/// Walks the entries of a tree whose keys are in a range.
pub(crate) struct TreeWalk<'a> {
    reader: &'a Reader,
    /// What is left, the next one last.
    stack: Vec<Pending>,
    ready: VecDeque<(Pending, Result<Page>)>,
    from: Vec<u8>,
    to: Option<Vec<u8>>,
    /// In the range there may be keys that are not meant.
    scope: Option<Scope>,
    last: Option<Vec<u8>>,
}

impl<'a> TreeWalk<'a> {
    /// Walks everything.
    pub(crate) fn whole(reader: &'a Reader, root: ChunkId) -> Self {
        let (stack, ready) = (vec![Pending::root(root)], VecDeque::new());
        Self { reader, stack, ready, from: Vec::new(), to: None, scope: None, last: None }
    }

    /// Walks what a path means.
    pub(crate) fn below(reader: &'a Reader, root: ChunkId, scope: &Scope) -> Self {
        let (from, to, scope) = (scope.from(), scope.to(), Some(scope.clone()));
        Self { from, to, scope, ..Self::whole(reader, root) }
    }

    /// Takes the next step; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Step> {
        loop {
            let (pending, page) = match self.ready.pop_front() {
                Some(ready) => ready,
                None => {
                    self.read_ahead().await;
                    self.ready.pop_front()?
                }
            };
            match page.and_then(|page| self.accept(&pending, page)) {
                Ok(Some(entries)) if entries.is_empty() => {}
                Ok(Some(entries)) => return Some(Step::Entries(entries)),
                Ok(None) => {}
                Err(error) => return Some(Step::Damaged { from: pending.from, to: pending.to, error }),
            }
        }
    }

    async fn read_ahead(&mut self) {
        let Some(first) = self.stack.pop() else { return };
        let mut batch = vec![first];
        while batch[0].level == Some(0)
            && batch.len() < LEAVES_AT_ONCE
            && self.stack.last().is_some_and(|next| next.level == Some(0))
        {
            batch.extend(self.stack.pop());
        }
        let ids: Vec<_> = batch.iter().map(|pending| pending.id).collect();
        let pages = self.reader.pages(&ids).await;
        // What did not fit into memory is asked for again.
        self.stack.extend(batch.drain(pages.len()..).rev());
        self.ready.extend(batch.into_iter().zip(pages));
    }

    /// Checks a page against what its parent said, and takes it in.
    fn accept(&mut self, pending: &Pending, page: Page) -> Result<Option<Vec<Entry>>> {
        match pending.open(page)? {
            Held::Entries(entries) => self.take_entries(entries).ok_or_else(|| pending.wrong()).map(Some),
            Held::Pages(mut below) => {
                below.retain(|child| child.overlaps(&self.from, self.to.as_deref()));
                self.stack.extend(below.into_iter().rev());
                Ok(None)
            }
        }
    }

    fn take_entries(&mut self, mut entries: Vec<Entry>) -> Option<Vec<Entry>> {
        let (first, last) = match (entries.first(), entries.last()) {
            (Some(first), Some(last)) => (first.key.clone(), last.key.clone()),
            _ => return Some(entries),
        };
        if self.last.as_ref().is_some_and(|before| *before >= first) {
            return None;
        }
        self.last = Some(last);
        entries.retain(|entry| self.scope.as_ref().is_none_or(|scope| scope.holds(&entry.key)));
        Some(entries)
    }
}

/// A page of a tree of extents that is still to be visited, and what it must cover.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    pub id: ChunkId,
    /// What level it must have; the root's is free.
    pub level: Option<u8>,
    /// Where in the file it begins.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
}

impl Stretch {
    /// Whether a leaf covers it. Without extents a leaf can only be that of an empty file.
    pub(crate) fn is_filled(&self, start: u64, extents: &[Extent]) -> bool {
        let end = extents.iter().try_fold(start, |at, extent| at.checked_add(extent.length()));
        let empty = extents.is_empty() && self.level.is_some();
        start == self.start && end == Some(self.end) && !empty
    }

    /// Splits it among the children of a page; `None` if they do not cover it without gaps. Each
    /// covers something and says where, so that no page can stand in a tree twice.
    pub(crate) fn split(&self, children: &[Child], level: u8) -> Option<Vec<Self>> {
        let (mut at, mut below) = (self.start, Vec::with_capacity(children.len()));
        for child in children {
            let end = at.checked_add(child.bytes)?;
            if child.first_key != at.to_be_bytes() || end == at {
                return None;
            }
            below.push(Self { id: child.id, level: Some(level), start: at, end });
            at = end;
        }
        (at == self.end).then_some(below)
    }
}

/// Roots of trees of extents that are fetched together.
const ROOTS_AT_ONCE: usize = 64;

impl Reader {
    /// Returns all extents of a file, in order. Where its tree is to be fetched, so are the topmost pages
    /// of the trees of some files to come: a cluster has thousands.
    pub(crate) async fn extents_ahead<'e>(
        &self,
        entry: &'e Entry,
        to_come: impl Iterator<Item = &'e Entry>,
    ) -> Result<Vec<Extent>> {
        let ids = self.not_at_hand(entry, to_come);
        self.fetch_ahead(ids).await;
        self.extents(entry).await
    }

    /// The topmost pages of the trees of files, if that of the first one is not at hand.
    pub(crate) fn not_at_hand<'e>(
        &self,
        entry: &'e Entry,
        to_come: impl Iterator<Item = &'e Entry>,
    ) -> Vec<ChunkId> {
        let Content::Tree(first) = entry.content else { return Vec::new() };
        if lock(&self.ahead).contains_key(&first) {
            return Vec::new();
        }
        let roots = std::iter::once(entry).chain(to_come).filter_map(|entry| match entry.content {
            Content::Tree(root) => Some(root),
            _ => None,
        });
        roots.take(ROOTS_AT_ONCE).collect()
    }

    /// Fetches pages that will be asked for soon, in place of those before. What fails is tried again
    /// alone when it is asked for.
    pub(crate) async fn fetch_ahead(&self, ids: Vec<ChunkId>) {
        if !ids.is_empty() {
            let pages = self.pages(&ids).await;
            let pages = ids.into_iter().zip(pages).filter_map(|(id, page)| Some((id, page.ok()?)));
            *lock(&self.ahead) = pages.collect();
        }
    }

    async fn page_at_hand(&self, id: &ChunkId) -> Result<Page> {
        let ahead = lock(&self.ahead).get(id).cloned();
        match ahead {
            Some(page) => Ok(page),
            None => self.page(id).await,
        }
    }

    /// Returns all extents of a file, in order.
    pub(crate) async fn extents(&self, entry: &Entry) -> Result<Vec<Extent>> {
        let root = match &entry.content {
            Content::None | Content::Inline(_) => return Ok(Vec::new()),
            Content::Extents(extents) => return Ok(extents.clone()),
            Content::Tree(root) => *root,
        };
        let wrong = || Error::new(ErrorKind::Damaged, "the extents of a file do not fit together");
        let mut extents = Vec::new();
        let mut stack = vec![Stretch { id: root, level: None, start: 0, end: entry.size }];
        while let Some(stretch) = stack.pop() {
            let page = self.page_at_hand(&stretch.id).await?;
            if stretch.level.is_some_and(|level| level != page.level) {
                return Err(wrong());
            }
            match page.body {
                PageBody::Extents { start, extents: part, .. } if stretch.is_filled(start, &part) => {
                    if extents.len() + part.len() > FILE_EXTENTS_MAX {
                        let what = format!("a file has more than {FILE_EXTENTS_MAX} extents");
                        return Err(Error::new(ErrorKind::Damaged, what));
                    }
                    extents.extend(part);
                }
                PageBody::Children(children) if page.level > 0 => {
                    let below = stretch.split(&children, page.level - 1).ok_or_else(wrong)?;
                    stack.extend(below.into_iter().rev());
                }
                _ => return Err(wrong()),
            }
        }
        Ok(extents)
    }

    /// Returns every page and chunk of a tree of extents, each once.
    pub(crate) async fn closure(&self, root: ChunkId) -> Result<Vec<(ChunkKind, ChunkKey)>> {
        let (mut pages, mut chunks, mut todo) = (HashSet::from([root]), HashSet::new(), vec![root]);
        while let Some(id) = todo.pop() {
            let refs = self.page_at_hand(&id).await?.refs;
            chunks.extend(refs.chunks.iter().map(ChunkKey::from));
            todo.extend(refs.children.into_iter().filter(|child| pages.insert(*child)));
        }
        let mut closure: Vec<_> = pages.iter().map(|id| (ChunkKind::Page, ChunkKey::from(id))).collect();
        closure.extend(chunks.into_iter().map(|key| (ChunkKind::Data, key)));
        closure.sort_unstable_by_key(|(kind, key)| (*kind, *key));
        Ok(closure)
    }

    /// Returns an entry's extended attributes, wherever they lie.
    pub(crate) async fn xattrs(&self, entry: &Entry) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        use holdfast_core::entry::Xattrs;
        match &entry.attributes.xattrs {
            Xattrs::None => Ok(Vec::new()),
            Xattrs::Inline(pairs) => Ok(pairs.clone()),
            Xattrs::Chunk(id) => {
                let bytes = self.data(id).await?;
                holdfast_core::entry_code::decode_xattrs(&bytes)
                    .map_err(|error| Error::format("extended attributes", error))
            }
        }
    }
}
