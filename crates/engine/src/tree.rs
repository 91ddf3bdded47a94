//! Walks a snapshot's tree in key order, reading ahead, going on past damage.
//!
//! On purpose not here: what is done with the entries.

use crate::error::{Error, ErrorKind, Result};
use crate::reader::Reader;
use holdfast_core::entry::{Content, Entry, Extent};
use holdfast_core::id::ChunkId;
use holdfast_core::index::ChunkKey;
use holdfast_core::keys::ChunkKind;
use holdfast_core::page::{Child, Page, PageBody};
use std::collections::VecDeque;

/// Leaves that are fetched together.
const LEAVES_AT_ONCE: usize = 32;

/// A page that is still to be visited.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub id: ChunkId,
    /// What level it must have; the root's is free.
    pub level: Option<u8>,
    /// Smallest key that it may hold.
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
            PageBody::Entries(entries) if self.bounds(entries.first().zip(entries.last())) => {
                Ok(Held::Entries(entries))
            }
            PageBody::Children(children) if level > 0 => self.children(level, children).map(Held::Pages),
            _ => Err(self.wrong()),
        }
    }

    fn bounds(&self, ends: Option<(&Entry, &Entry)>) -> bool {
        ends.is_none_or(|(first, last)| {
            first.key >= self.from && self.to.as_ref().is_none_or(|to| last.key < *to)
        })
    }

    fn children(&self, level: u8, children: Vec<Child>) -> Result<Vec<Self>> {
        let inside = children.first().is_some_and(|first| first.first_key >= self.from)
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
    last: Option<Vec<u8>>,
}

impl<'a> TreeWalk<'a> {
    /// Walks everything.
    pub(crate) fn whole(reader: &'a Reader, root: ChunkId) -> Self {
        Self::between(reader, root, Vec::new(), None)
    }

    /// Walks a key and everything below it; the empty key is everything.
    pub(crate) fn below(reader: &'a Reader, root: ChunkId, key: &[u8]) -> Self {
        let to = (!key.is_empty()).then(|| [key, &[1]].concat());
        Self::between(reader, root, key.to_vec(), to)
    }

    fn between(reader: &'a Reader, root: ChunkId, from: Vec<u8>, to: Option<Vec<u8>>) -> Self {
        Self { reader, stack: vec![Pending::root(root)], ready: VecDeque::new(), from, to, last: None }
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
        self.ready.extend(batch.into_iter().zip(self.reader.pages(&ids).await));
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
        entries.retain(|entry| entry.key >= self.from && self.to.as_ref().is_none_or(|to| entry.key < *to));
        Some(entries)
    }
}

impl Reader {
    /// Returns all extents of a file, in order.
    pub(crate) async fn extents(&self, entry: &Entry) -> Result<Vec<Extent>> {
        let root = match &entry.content {
            Content::None | Content::Inline(_) => return Ok(Vec::new()),
            Content::Extents(extents) => return Ok(extents.clone()),
            Content::Tree(root) => *root,
        };
        let wrong = || Error::new(ErrorKind::Damaged, "the extents of a file do not fit together");
        let mut extents = Vec::new();
        let (mut offset, mut stack) = (0u64, vec![(root, None::<u8>)]);
        while let Some((id, level)) = stack.pop() {
            let page = self.page(&id).await?;
            if level.is_some_and(|level| level != page.level) {
                return Err(wrong());
            }
            match page.body {
                PageBody::Extents { start, extents: part, .. } if start == offset => {
                    offset = part
                        .iter()
                        .try_fold(offset, |sum, extent| sum.checked_add(extent.length()))
                        .ok_or_else(wrong)?;
                    extents.extend(part);
                }
                PageBody::Children(children) if page.level > 0 => {
                    stack.extend(children.iter().rev().map(|child| (child.id, Some(page.level - 1))));
                }
                _ => return Err(wrong()),
            }
        }
        if offset == entry.size { Ok(extents) } else { Err(wrong()) }
    }

    /// Returns every page and chunk of a tree of extents.
    pub(crate) async fn closure(&self, root: ChunkId) -> Result<Vec<(ChunkKind, ChunkKey)>> {
        let (mut closure, mut todo) = (Vec::new(), vec![root]);
        while let Some(id) = todo.pop() {
            closure.push((ChunkKind::Page, ChunkKey::from(&id)));
            let refs = self.page(&id).await?.refs;
            closure.extend(refs.chunks.iter().map(|id| (ChunkKind::Data, ChunkKey::from(id))));
            todo.extend(refs.children);
        }
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
