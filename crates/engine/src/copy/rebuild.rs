//! Copies a tree between repositories whose keys name things differently: the same entries, with
//! contents under their new ids, in pages that are cut anew.
//!
//! A file that the copy before has with the same digest and length takes its content from there;
//! what else is new is read, whatever it may turn out to be. Which chunk became which is remembered
//! for those met lately. On purpose not here: chunks ([`super::carrier`]).

use super::carrier::{Carrier, Tried};
use crate::packer::Packer;
use crate::reader::Reader;
use crate::tree::{Step, TreeWalk};
use holdfast_core::entry::{Content, Entry, Extent, Kind, Xattrs};
use holdfast_core::id::ChunkId;
use holdfast_core::index::ChunkKey;
use holdfast_core::keys::ChunkKind;
use holdfast_core::page::{ExtentTreeBuilder, KeySpace, TreeBuilder};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Names of chunks that are remembered, twice; the entries of one page name far fewer.
const NAMES_MAX: usize = 1 << 18;
/// Extents of a large file that are carried together.
const EXTENTS_AT_ONCE: usize = 1024;

/// Which chunk became which, as far as it is remembered. What is there now has to be asked.
#[derive(Default)]
pub(super) struct Names {
    young: HashMap<ChunkId, ChunkId>,
    old: HashMap<ChunkId, ChunkId>,
}

impl Names {
    fn get(&self, id: &ChunkId) -> Option<ChunkId> {
        self.young.get(id).or_else(|| self.old.get(id)).copied()
    }

    fn add(&mut self, names: Vec<(ChunkId, ChunkId)>) {
        if self.young.len() >= NAMES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.extend(names);
    }
}

/// The entries of the copy before, in order.
struct Before<'a> {
    reader: &'a Reader,
    walk: TreeWalk<'a>,
    ready: VecDeque<Entry>,
}

impl Before<'_> {
    /// The entry with a key; keys are asked for in order. What cannot be read is not there.
    async fn at(&mut self, key: &[u8]) -> Option<Entry> {
        loop {
            while let Some(next) = self.ready.front() {
                if next.key.as_slice() > key {
                    return None;
                }
                let next = self.ready.pop_front()?;
                if next.key == key {
                    return Some(next);
                }
            }
            match self.walk.next().await? {
                Step::Entries(entries) => self.ready.extend(entries),
                Step::Damaged { .. } => {}
            }
        }
    }
}

/// Copies a tree into a session; returns its root there. The parent's tree, if there is one, has to
/// be in the pinned closure of the session.
pub(super) async fn rebuild(
    carrier: &Carrier<'_>,
    root: ChunkId,
    space: KeySpace,
    parent: Option<(&Reader, ChunkId)>,
    names: &mut Names,
) -> Tried<ChunkId> {
    let before = parent.map(|(reader, root)| Before {
        reader,
        walk: TreeWalk::whole(reader, root),
        ready: VecDeque::new(),
    });
    let mut work = Rebuild { carrier, names, before };
    let packer = Arc::clone(carrier.packer);
    let mut tree = TreeBuilder::new(packer.sealer().identifier.clone(), space);
    let mut walk = TreeWalk::whole(carrier.reader, root);
    while let Some(step) = walk.next().await {
        let mut entries = match step {
            Step::Entries(entries) => entries,
            Step::Damaged { error, .. } => return Err(carrier.unread(error)),
        };
        work.translate(&mut entries).await?;
        let packer = Arc::clone(carrier.packer);
        let push = move || {
            packer.show_life();
            let mut sink = |id, page| packer.store_page(id, &page);
            entries.iter().for_each(|entry| tree.push(entry, &mut sink));
            tree
        };
        tree = carrier.ctx.workers.run(push).await;
        carrier.check()?;
    }
    let finish = move || tree.finish(&mut |id, page| packer.store_page(id, &page));
    Ok(carrier.ctx.workers.run(finish).await.id)
}

struct Rebuild<'a> {
    carrier: &'a Carrier<'a>,
    names: &'a mut Names,
    before: Option<Before<'a>>,
}

impl Rebuild<'_> {
    /// Puts the new ids into the entries of one page, and carries the chunks behind them.
    async fn translate(&mut self, entries: &mut [Entry]) -> Tried<()> {
        let mut done = vec![false; entries.len()];
        for (entry, done) in entries.iter_mut().zip(&mut done) {
            if let Some(content) = self.known_content(entry).await {
                (entry.content, *done) = (content, true);
            }
        }
        let mut wanted = Vec::new();
        for (entry, done) in entries.iter().zip(&done) {
            if let Xattrs::Chunk(id) = &entry.attributes.xattrs {
                wanted.push(*id);
            }
            if let (Content::Extents(extents), false) = (&entry.content, done) {
                wanted.extend(chunks_of(extents));
            }
        }
        let names = self.carry(wanted).await?;
        for (entry, done) in entries.iter_mut().zip(done) {
            if let Xattrs::Chunk(id) = &mut entry.attributes.xattrs {
                *id = names[id];
            }
            match &mut entry.content {
                Content::Extents(extents) if !done => rename(extents, &names),
                Content::Tree(_) if !done => {
                    let extents = self.carrier.reader.extents(entry).await;
                    let extents = extents.map_err(|error| self.carrier.unread(error))?;
                    entry.content = Content::Tree(self.large(extents).await?);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The content of a file as the copy before has it, if it is the same, and all of it is there.
    async fn known_content(&mut self, entry: &Entry) -> Option<Content> {
        let before = self.before.as_mut()?;
        let old = before.at(&entry.key).await?;
        let is_file = (entry.kind, old.kind) == (Kind::File, Kind::File);
        let same = is_file && entry.digest.is_some() && (entry.digest, entry.size) == (old.digest, old.size);
        if !same || matches!(entry.content, Content::None | Content::Inline(_)) {
            return None;
        }
        let extents = before.reader.extents(&old).await.ok()?;
        if extents.is_empty() {
            return None;
        }
        let packer = self.carrier.packer;
        // The parent's closure covers them.
        let there = |id: &ChunkId| packer.resolves(ChunkKind::Data, &ChunkKey::from(id), true);
        if !chunks_of(&extents).all(|id| there(&id)) {
            return None;
        }
        match old.content {
            Content::Extents(extents) => Some(Content::Extents(extents)),
            // Its pages are looked up one by one, and stored where they are not.
            Content::Tree(_) => Some(Content::Tree(self.build(extents).await)),
            Content::None | Content::Inline(_) => None,
        }
    }

    /// Carries chunks whose new names are not known, and returns the names of all.
    async fn carry(&mut self, mut ids: Vec<ChunkId>) -> Tried<HashMap<ChunkId, ChunkId>> {
        ids.sort_unstable();
        ids.dedup();
        let packer = self.carrier.packer;
        let there = |new: &ChunkId| packer.resolves(ChunkKind::Data, &ChunkKey::from(new), false);
        let known = |id: &ChunkId| Some((*id, self.names.get(id).filter(there)?));
        let mut names: HashMap<_, _> = ids.iter().filter_map(known).collect();
        ids.retain(|id| !names.contains_key(id));
        let carried = self.carrier.carry_renamed(ids).await?;
        names.extend(carried.iter().copied());
        self.names.add(carried);
        Ok(names)
    }

    /// Carries a large file; returns the root of its extents.
    async fn large(&mut self, mut extents: Vec<Extent>) -> Tried<ChunkId> {
        for part in extents.chunks_mut(EXTENTS_AT_ONCE) {
            let names = self.carry(chunks_of(part).collect()).await?;
            rename(part, &names);
        }
        Ok(self.build(extents).await)
    }

    async fn build(&self, extents: Vec<Extent>) -> ChunkId {
        let packer = Arc::clone(self.carrier.packer);
        self.carrier.ctx.workers.run(move || build(&packer, extents)).await
    }
}

fn build(packer: &Packer, extents: Vec<Extent>) -> ChunkId {
    let mut tree = ExtentTreeBuilder::new(packer.sealer().identifier.clone());
    let mut sink = |id, page| packer.store_page(id, &page);
    extents.into_iter().for_each(|extent| tree.push(extent, &mut sink));
    tree.finish(&mut sink)
}

fn chunks_of(extents: &[Extent]) -> impl Iterator<Item = ChunkId> {
    extents.iter().filter_map(|extent| match extent {
        Extent::Chunk { id, .. } => Some(*id),
        Extent::Hole { .. } => None,
    })
}

fn rename(extents: &mut [Extent], names: &HashMap<ChunkId, ChunkId>) {
    for extent in extents {
        if let Extent::Chunk { id, .. } = extent {
            *id = names[id];
        }
    }
}
