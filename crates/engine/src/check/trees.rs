//! Follows every snapshot to every chunk, and compares each page with what its parent says of it.
//!
//! A page that several snapshots share is read once, unless something else is said of it: then
//! it is read again, and below it only what that concerns. On purpose not here: contents.

use super::*;
use crate::reader::Wanted;
use crate::tree::Stretch;
use holdfast_core::compress::PLAINTEXT_BYTES_MAX;
use holdfast_core::crypto::TAG_BYTES;
use holdfast_core::entry::{Content, Entry, Extent, Kind, Xattrs};
use holdfast_core::page::{Child, KeySpace};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Pages that are fetched together.
const PAGES_AT_ONCE: usize = 64;

/// How many bytes of each chunk are needed: the end of the last extent that names it.
pub(super) type Needs = HashMap<ChunkKey, u32>;

/// A page to visit: its id, the level it must have, and where in which snapshot it was met.
struct Visit {
    id: ChunkId,
    level: Option<u8>,
    expected: Expected,
    place: Arc<str>,
}

/// What is said of a page.
#[derive(Hash)]
enum Expected {
    /// It belongs to a tree of entries.
    Entries(Bounds),
    /// It belongs to the extents of a file: start, end, and how many they are, where that is said.
    Extents(u64, u64, Option<u64>),
}

/// What is said of a page of entries.
#[derive(Debug, Clone, Hash)]
struct Bounds {
    space: KeySpace,
    /// Its first key; the root's is free.
    from: Option<Vec<u8>>,
    /// Its keys are smaller than this.
    to: Option<Vec<u8>>,
    entries: u64,
    bytes: u64,
}

/// What the check of trees goes by.
struct Trees<'a> {
    reader: &'a Reader,
    /// Pages that were visited, each with what was said of it.
    visited: HashMap<ChunkKey, u64>,
    needs: Needs,
    stack: Vec<Visit>,
    /// What each page of entries ends with.
    ends: HashMap<ChunkKey, Ending>,
    /// Pages that follow each other.
    seams: Vec<Seam>,
    report: &'a mut CheckReport,
}

/// What a page of entries ends with.
enum Ending {
    /// This key, and whether it is that of a folder.
    Entry(Vec<u8>, bool),
    /// What this page ends with.
    Page(ChunkKey),
}

/// A page, and the first key of the one that follows it.
struct Seam {
    before: ChunkKey,
    first: Vec<u8>,
    place: Arc<str>,
}

/// Follows the snapshots; returns which chunks they need, and how much of each.
pub(super) async fn check_trees(
    ctx: &Ctx,
    reader: &Reader,
    snapshots: &[Snapshot],
    report: &mut CheckReport,
) -> Result<Needs> {
    let (visited, needs, stack) = (HashMap::new(), Needs::new(), Vec::new());
    let (ends, seams) = (HashMap::new(), Vec::new());
    let mut trees = Trees { reader, visited, needs, stack, ends, seams, report };
    for snapshot in snapshots.iter().rev() {
        trees.stack.push(Visit::of(snapshot));
        while !trees.stack.is_empty() {
            interrupted(ctx)?;
            trees.step().await?;
        }
    }
    trees.check_seams();
    Ok(trees.needs)
}

impl Visit {
    fn of(snapshot: &Snapshot) -> Self {
        let summary = &snapshot.summary;
        let counts = summary.counts;
        let entries = counts.files.saturating_add(counts.directories).saturating_add(counts.others);
        let bounds = Bounds { space: summary.space, from: None, to: None, entries, bytes: counts.bytes };
        Self {
            id: summary.root,
            level: None,
            expected: Expected::Entries(bounds),
            place: format!("snapshot {}", &snapshot.id.to_string()[..8]).into(),
        }
    }

    fn said(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.level, &self.expected).hash(&mut hasher);
        hasher.finish()
    }
}

impl Trees<'_> {
    /// Visits the pages on top of the stack.
    async fn step(&mut self) -> Result<()> {
        let mut visits = self.stack.split_off(self.stack.len().saturating_sub(PAGES_AT_ONCE));
        visits.retain(|visit| {
            let said = visit.said();
            self.visited.insert(ChunkKey::from(&visit.id), said) != Some(said)
        });
        let ids: Vec<_> = visits.iter().map(|visit| visit.id).collect();
        let pages = self.reader.pages(&ids).await;
        for visit in visits.drain(pages.len()..) {
            self.visited.remove(&ChunkKey::from(&visit.id));
            self.stack.push(visit);
        }
        for (visit, page) in visits.into_iter().zip(pages) {
            match page {
                Ok(page) => self.check_page(&visit, &page)?,
                // Nothing is wrong with the tree: where its pages lie cannot be looked up.
                Err(error) if error.kind == ErrorKind::Conflict => return Err(error),
                Err(error) => {
                    self.report.error(&*visit.place, format!("a part cannot be read: {}", chain(&error)));
                }
            }
        }
        Ok(())
    }

    fn check_page(&mut self, visit: &Visit, page: &Page) -> Result<()> {
        let level_ok = visit.level.is_none_or(|level| level == page.level);
        let fits = level_ok
            && match (&visit.expected, &page.body) {
                (Expected::Entries(bounds), PageBody::Entries(entries)) => {
                    let keys = entries.first().zip(entries.last()).map(|(a, b)| (&*a.key, &*b.key));
                    let bytes = entries.iter().fold(0u64, |sum, entry| sum.saturating_add(entry.size));
                    bounds.fit(page.space, keys, (entries.len() as u64, bytes))
                }
                (Expected::Entries(bounds), PageBody::Children(children)) => {
                    let ends = children.first().zip(children.last());
                    bounds.fit(page.space, ends.map(|(a, b)| (&*a.first_key, &*b.first_key)), sums(children))
                }
                (Expected::Extents(start, end, count), PageBody::Extents { start: at, extents, blocks }) => {
                    let stretch = Stretch { id: visit.id, level: visit.level, start: *start, end: *end };
                    stretch.is_filled(*at, extents)
                        && count.is_none_or(|count| count == extents.len() as u64)
                        && (blocks.hashes.is_empty() || blocks.cover(end - start))
                        && [0, page.refs.chunks.len()].contains(&blocks.chunk_bytes.len())
                }
                (Expected::Extents(_, _, count), PageBody::Children(children)) => {
                    page.space == KeySpace::Offsets && count.is_none_or(|count| count == sums(children).0)
                }
                _ => false,
            };
        if !fits {
            let what = format!("page {} does not fit what its tree says of it", &visit.id.to_string()[..16]);
            self.report.error(&*visit.place, what);
        }
        if let Expected::Entries(bounds) = &visit.expected
            && page.space == KeySpace::Paths
        {
            self.check_folders(visit, bounds, page);
        }
        // What is below is checked all the same, as far as it can be made out.
        match (&visit.expected, &page.body) {
            (Expected::Entries(_), PageBody::Entries(entries)) => {
                entries.iter().try_for_each(|entry| self.check_entry(&visit.place, entry))?;
            }
            (Expected::Entries(bounds), PageBody::Children(children)) if level_ok && page.level > 0 => {
                self.push_children(visit, bounds, page.level - 1, children);
            }
            (Expected::Extents(..), PageBody::Extents { extents, .. }) => {
                extents.iter().try_for_each(|extent| self.check_extent(&visit.place, extent))?;
            }
            (Expected::Extents(start, end, _), PageBody::Children(children))
                if level_ok && page.level > 0 =>
            {
                let stretch = Stretch { id: visit.id, level: visit.level, start: *start, end: *end };
                match stretch.split(children, page.level - 1) {
                    Some(below) => self.push_stretches(visit, children, below),
                    None => self.report.error(&*visit.place, "the extents of a file do not fit together"),
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Sees that what lies in a folder comes after that folder. What comes between two pages is seen
    /// once both were read.
    fn check_folders(&mut self, visit: &Visit, bounds: &Bounds, page: &Page) {
        let (first, ending) = match &page.body {
            PageBody::Entries(entries) => {
                for (before, next) in entries.iter().zip(entries.iter().skip(1)) {
                    let before = (&*before.key, before.kind == Kind::Directory);
                    self.check_folder(&visit.place, before, &next.key);
                }
                let last = entries.last();
                let ending = last.map(|last| Ending::Entry(last.key.clone(), last.kind == Kind::Directory));
                (entries.first().map(|first| &first.key), ending)
            }
            PageBody::Children(children) => {
                for (before, next) in children.iter().zip(children.iter().skip(1)) {
                    let (before, first) = (ChunkKey::from(&before.id), next.first_key.clone());
                    self.seams.push(Seam { before, first, place: Arc::clone(&visit.place) });
                }
                let last = children.last().map(|last| Ending::Page(ChunkKey::from(&last.id)));
                (children.first().map(|first| &first.first_key), last)
            }
            PageBody::Extents { .. } => (None, None),
        };
        // Before the first page of a tree there is nothing.
        if let (Some(first), None) = (first, &bounds.from) {
            self.check_folder(&visit.place, (b"", true), first);
        }
        self.ends.extend(ending.map(|ending| (ChunkKey::from(&visit.id), ending)));
    }

    fn check_folder(&mut self, place: &Arc<str>, before: (&[u8], bool), key: &[u8]) {
        if !has_folder(before, key) {
            let path = String::from_utf8_lossy(&shown_key(key)).into_owned();
            // Earlier versions made such ones; nothing is lost, and a restore makes the folder.
            let what =
                "the folder that it lies in is not in the snapshot; a restore makes one for its owner alone";
            self.report.notice(format!("{place}:{path}"), what);
        }
    }

    fn check_seams(&mut self) {
        let ends = std::mem::take(&mut self.ends);
        for Seam { before, first, place } in std::mem::take(&mut self.seams) {
            let mut at = before;
            while let Some(Ending::Page(last)) = ends.get(&at) {
                at = *last;
            }
            // A page that could not be read was told.
            if let Some(Ending::Entry(key, is_folder)) = ends.get(&at) {
                self.check_folder(&place, (key, *is_folder), &first);
            }
        }
    }

    fn push_children(&mut self, visit: &Visit, bounds: &Bounds, level: u8, children: &[Child]) {
        let ends = children[1..].iter().map(|child| Some(child.first_key.clone()));
        for (child, to) in children.iter().zip(ends.chain([bounds.to.clone()])) {
            let expected = Expected::Entries(Bounds {
                space: bounds.space,
                from: Some(child.first_key.clone()),
                to,
                entries: child.entries,
                bytes: child.bytes,
            });
            self.stack.push(Visit {
                id: child.id,
                level: Some(level),
                expected,
                place: Arc::clone(&visit.place),
            });
        }
    }

    fn push_stretches(&mut self, visit: &Visit, children: &[Child], below: Vec<Stretch>) {
        self.stack.extend(below.into_iter().zip(children).map(|(stretch, child)| Visit {
            id: stretch.id,
            level: stretch.level,
            expected: Expected::Extents(stretch.start, stretch.end, Some(child.entries)),
            place: Arc::clone(&visit.place),
        }));
    }

    fn check_entry(&mut self, place: &Arc<str>, entry: &Entry) -> Result<()> {
        let path = || format!("{place}:{}", String::from_utf8_lossy(&shown_key(&entry.key)));
        if let Xattrs::Chunk(id) = &entry.attributes.xattrs {
            self.need(&path, id, 0)?;
        }
        match &entry.content {
            Content::None | Content::Inline(_) => {}
            Content::Extents(extents) => {
                for extent in extents {
                    if let Extent::Chunk { id, offset, length } = extent {
                        self.need(&path, id, offset.saturating_add(*length))?;
                    }
                }
            }
            Content::Tree(root) => self.stack.push(Visit {
                id: *root,
                level: None,
                expected: Expected::Extents(0, entry.size, None),
                place: path().into(),
            }),
        }
        Ok(())
    }

    fn check_extent(&mut self, place: &Arc<str>, extent: &Extent) -> Result<()> {
        match extent {
            Extent::Chunk { id, offset, length } => {
                self.need(&|| place.to_string(), id, offset.saturating_add(*length))
            }
            Extent::Hole { .. } => Ok(()),
        }
    }

    /// Notes that so many bytes of a chunk are needed, and finds out whether they can be there.
    fn need(&mut self, path: &dyn Fn() -> String, id: &ChunkId, end: u32) -> Result<()> {
        let key = ChunkKey::from(id);
        let before = self.needs.get(&key).copied();
        if before.is_some_and(|before| before >= end) {
            return Ok(());
        }
        self.needs.insert(key, end);
        match self.reader.index.place(id)? {
            None if before.is_none() => self.report.error(path(), format!("chunk {id} is missing")),
            Some(place) if plain_bytes_most(&Wanted { id: *id, place }) < u64::from(end) => {
                self.report.error(path(), format!("takes more from chunk {id} than it holds"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// How long a chunk can be at most, by what the index says. One that is stored raw is exactly that.
fn plain_bytes_most(wanted: &Wanted) -> u64 {
    let length = wanted.place.length;
    let raw = u64::from(length.bytes()).saturating_sub(TAG_BYTES as u64);
    if length.is_compressed() { PLAINTEXT_BYTES_MAX as u64 } else { raw }
}

/// Whether the folder of a key was there before it. Keys ascend, and what lies in a folder follows it at
/// once: so it is the entry before, or that lies in it, too.
pub(crate) fn has_folder((before, is_folder): (&[u8], bool), key: &[u8]) -> bool {
    let Some(end) = key.iter().rposition(|&byte| byte == 0) else { return true };
    let above = &key[..end];
    before == above && is_folder || before.strip_prefix(above).is_some_and(|rest| rest.first() == Some(&0))
}

fn sums(children: &[Child]) -> (u64, u64) {
    children.iter().fold((0, 0), |(entries, bytes): (u64, u64), child| {
        (entries.saturating_add(child.entries), bytes.saturating_add(child.bytes))
    })
}

impl Bounds {
    /// Whether a page has these keys and counts.
    fn fit(&self, space: KeySpace, keys: Option<(&[u8], &[u8])>, counts: (u64, u64)) -> bool {
        let keys_ok = match keys {
            Some((first, last)) => {
                self.from.as_deref().is_none_or(|from| from == first)
                    && self.to.as_deref().is_none_or(|to| last < to)
            }
            // Only the tree of nothing is empty.
            None => self.from.is_none(),
        };
        keys_ok && space == self.space && counts == (self.entries, self.bytes)
    }
}
