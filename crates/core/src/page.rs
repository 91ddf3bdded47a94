//! Pages: the nodes of the trees that snapshots are (prolly trees: cut by content, so that equal
//! parts of two trees are equal pages, whatever order they were built in).
//!
//! Leaves hold entries or extents, inner pages hold the first key and the id of each child. A
//! page is cut after an entry when a keyed hash of the entry's key says so, with a chance in
//! proportion to the entry's length, between 8 and 128 KiB. On purpose not here: storing pages.

use crate::chunk::PageText;
use crate::chunker::chance;
use crate::entry::{Entry, Extent};
use crate::entry_code::{
    OwnerTable, RefTable, RefUse, Refs, decode_entry, decode_extent, decode_key, encode_entry, encode_extent,
    encode_key,
};
use crate::error::FormatError;
use crate::id::ChunkId;
use crate::keys::Identifier;
use crate::wire::{Reader, Tag, Writer};

/// No page but the last of a level is shorter, in bytes of its entries.
pub const PAGE_BYTES_MIN: usize = 8 << 10;
/// A page of this length is cut.
pub const PAGE_BYTES_MAX: usize = 128 << 10;
/// Bytes between the minimum and the cut on average.
const PAGE_BYTES_SPREAD: u64 = 24 << 10;
/// No inner page but the last of a level has fewer children, however long their keys are: without
/// it every page of a tree of very long keys would have one child, and the tree no end.
pub const CHILDREN_MIN: u32 = 16;
/// Each leaf of extents covers the extents that begin in one such stretch of the file.
pub const EXTENT_LEAF_SPAN: u64 = 64 << 20;
/// Length of the blocks whose hashes a leaf of a database file has; the last one of a file may be shorter.
pub const BLOCK_BYTES: usize = 8 << 10;
/// No tree is higher; pages above it are refused.
pub const LEVEL_MAX: u8 = 12;
/// A page is cut once its keys, written out, have so many bytes: rows hold only what differs from
/// the key before, so that few bytes could stand for many.
pub const KEYS_BYTES_CUT: usize = 4 << 20;
/// Most bytes that the keys of a page may have, written out.
pub const KEYS_BYTES_MAX: usize = 8 << 20;

/// What the keys of a tree are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum KeySpace {
    /// Path components with 0x00 between them.
    Paths = 0,
    /// Opaque bytes, as a bucket's keys.
    Opaque = 1,
    /// Offsets in a file, 8 bytes, big-endian.
    Offsets = 2,
}

impl KeySpace {
    /// Reads the byte that stands for a key space.
    ///
    /// # Errors
    /// It stands for none of this version.
    pub fn from_byte(byte: u8) -> Result<Self, FormatError> {
        [Self::Paths, Self::Opaque, Self::Offsets]
            .into_iter()
            .find(|space| *space as u8 == byte)
            .ok_or_else(|| FormatError::Newer(format!("key space {byte}")))
    }
}

/// A child as an inner page names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Smallest key below it.
    pub first_key: Vec<u8>,
    /// The page.
    pub id: ChunkId,
    /// Entries or extents below it.
    pub entries: u64,
    /// Bytes of content below it.
    pub bytes: u64,
}

/// What a leaf of extents says of a database file beside its extents; empty for all other files.
/// Who reads it compares counts first: a column that does not fit costs nothing but what it would save.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blocks {
    /// The keyed hash of each block that the leaf covers.
    pub hashes: Vec<u64>,
    /// Length in bytes of each chunk that the leaf names, in the order of its references.
    pub chunk_bytes: Vec<u32>,
}

impl Blocks {
    /// Whether there is a hash for each block of so many bytes.
    #[must_use]
    pub const fn cover(&self, bytes: u64) -> bool {
        self.hashes.len() as u64 == bytes.div_ceil(BLOCK_BYTES as u64)
    }
}

/// What a page holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageBody {
    /// Entries, ascending by key.
    Entries(Vec<Entry>),
    /// Extents without gaps, the first beginning at the offset stated.
    Extents {
        /// Offset in the file of the first extent.
        start: u64,
        /// The extents.
        extents: Vec<Extent>,
        /// What a database file has beside them.
        blocks: Blocks,
    },
    /// Children, ascending by first key.
    Children(Vec<Child>),
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// 0 for leaves, else one more than its children.
    pub level: u8,
    /// What its keys are.
    pub space: KeySpace,
    /// What it holds.
    pub body: PageBody,
    /// What it names; equal to what the body implies.
    pub refs: Refs,
}

const TAG_BLOCKS: u16 = 0x0001;
const TAG_CHUNK_BYTES: u16 = 0x0002;

impl Page {
    /// Reads a page and checks that its references are those that its body names.
    ///
    /// # Errors
    /// It is malformed or of a later version.
    pub fn decode(text: &PageText) -> Result<Self, FormatError> {
        let refs = Refs::decode(&text.refs)?;
        let mut reader = Reader::new(&text.body);
        let level = reader.u8()?;
        let space = KeySpace::from_byte(reader.u8()?)?;
        if level > LEVEL_MAX {
            return Err(FormatError::Malformed("the height of a tree"));
        }
        let mut used = RefUse::new(&refs);
        let body = match (level, space) {
            (0, KeySpace::Offsets) => decode_extents(&mut reader, &mut used)?,
            (0, _) => decode_entries(&mut reader, space, &mut used)?,
            _ => decode_children(&mut reader, space, &mut used)?,
        };
        reader.end()?;
        used.end()?;
        Ok(Self { level, space, body, refs })
    }
}

/// Refuses keys that are no paths. The empty key, the source's own root, can only come first.
fn check_key(space: KeySpace, key: &[u8]) -> Result<(), FormatError> {
    let plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&b'/');
    if space != KeySpace::Paths || key.is_empty() || key.split(|&byte| byte == 0).all(plain) {
        Ok(())
    } else {
        Err(FormatError::Malformed("a path"))
    }
}

/// Bytes of the keys of a page so far.
#[derive(Default)]
struct KeyBytes(usize);

impl KeyBytes {
    fn add(&mut self, key: &[u8]) -> Result<(), FormatError> {
        self.0 += key.len();
        if self.0 > KEYS_BYTES_MAX { Err(FormatError::TooLong("the keys of a page")) } else { Ok(()) }
    }
}

fn decode_entries(
    reader: &mut Reader<'_>,
    space: KeySpace,
    refs: &mut RefUse<'_>,
) -> Result<PageBody, FormatError> {
    let owners = OwnerTable::decode(reader)?;
    let mut entries: Vec<Entry> = Vec::new();
    let mut keys = KeyBytes::default();
    for _ in 0..reader.count(30)? {
        let key = decode_key(reader, entries.last().map(|entry| entry.key.as_slice()))?;
        keys.add(&key)?;
        check_key(space, &key)?;
        entries.push(decode_entry(reader, key, &owners, refs)?);
    }
    reader.tags("a page", &[])?;
    Ok(PageBody::Entries(entries))
}

fn decode_extents(reader: &mut Reader<'_>, refs: &mut RefUse<'_>) -> Result<PageBody, FormatError> {
    let start = reader.u64()?;
    let mut extents = Vec::new();
    let mut end = start;
    for _ in 0..reader.count(9)? {
        let extent = decode_extent(reader, refs)?;
        if end / EXTENT_LEAF_SPAN != start / EXTENT_LEAF_SPAN {
            return Err(FormatError::Malformed("the stretch of a leaf of extents"));
        }
        end = end.checked_add(extent.length()).ok_or(FormatError::Malformed("an extent"))?;
        extents.push(extent);
    }
    let mut blocks = Blocks::default();
    for tag in reader.tags("a page", &[])? {
        match tag.id {
            TAG_BLOCKS => blocks.hashes = column(&tag.bytes, u64::from_le_bytes, "the hashes of blocks")?,
            TAG_CHUNK_BYTES => {
                blocks.chunk_bytes = column(&tag.bytes, u32::from_le_bytes, "the lengths of chunks")?;
            }
            _ => {}
        }
    }
    Ok(PageBody::Extents { start, extents, blocks })
}

/// Reads numbers of one width.
fn column<const N: usize, T>(
    bytes: &[u8],
    number: fn([u8; N]) -> T,
    what: &'static str,
) -> Result<Vec<T>, FormatError> {
    let (numbers, rest) = bytes.as_chunks::<N>();
    if rest.is_empty() {
        Ok(numbers.iter().map(|bytes| number(*bytes)).collect())
    } else {
        Err(FormatError::Malformed(what))
    }
}

fn decode_children(
    reader: &mut Reader<'_>,
    space: KeySpace,
    refs: &mut RefUse<'_>,
) -> Result<PageBody, FormatError> {
    let mut children: Vec<Child> = Vec::new();
    let mut keys = KeyBytes::default();
    for _ in 0..reader.count(24)? {
        let first_key = decode_key(reader, children.last().map(|child| child.first_key.as_slice()))?;
        keys.add(&first_key)?;
        check_key(space, &first_key)?;
        let row = reader.u32()?;
        // No page can be in a tree twice: its keys would be.
        if row as usize != children.len() {
            return Err(FormatError::Malformed("the references of a page"));
        }
        let id = refs.child(row)?;
        children.push(Child { first_key, id, entries: reader.u64()?, bytes: reader.u64()? });
    }
    reader.tags("a page", &[])?;
    if children.is_empty() {
        return Err(FormatError::Malformed("an inner page"));
    }
    Ok(PageBody::Children(children))
}

/// Takes the pages that a builder completes.
pub type PageSink<'a> = dyn FnMut(ChunkId, PageText) + 'a;

/// One level under construction.
#[derive(Debug, Default)]
struct Level {
    rows: Writer,
    count: u32,
    refs: RefTable,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
    entries: u64,
    bytes: u64,
    pages: u64,
    /// Bytes of the keys of the open page, written out.
    key_bytes: usize,
}

impl Level {
    fn begin_row(&mut self, key: &[u8]) {
        if self.count == 0 {
            self.first_key = key.to_vec();
            encode_key(&mut self.rows, &[], key);
        } else {
            encode_key(&mut self.rows, &self.last_key, key);
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.count += 1;
        self.key_bytes += key.len();
    }

    /// Decides whether the page ends after the row just written.
    fn is_cut(&self, row_bytes: usize, key: &[u8], identifier: &Identifier) -> bool {
        let bytes = self.rows.len();
        bytes >= PAGE_BYTES_MAX
            || self.key_bytes >= KEYS_BYTES_CUT
            || bytes >= PAGE_BYTES_MIN
                && chance(&identifier.page_cut(key), row_bytes as u64, PAGE_BYTES_SPREAD)
    }
}

/// Builds the levels above the leaves; shared by trees of entries and of extents.
#[derive(Debug)]
struct Upper {
    space: KeySpace,
    levels: Vec<Level>,
}

impl Upper {
    fn push(&mut self, at: usize, child: &Child, identifier: &Identifier, sink: &mut PageSink<'_>) {
        if self.levels.len() == at {
            self.levels.push(Level::default());
        }
        let level = &mut self.levels[at];
        let before = level.rows.len();
        level.begin_row(&child.first_key);
        let row = level.refs.child(child.id);
        level.rows.u32(row);
        level.rows.u64(child.entries);
        level.rows.u64(child.bytes);
        level.entries = level.entries.saturating_add(child.entries);
        level.bytes = level.bytes.saturating_add(child.bytes);
        if level.count >= CHILDREN_MIN
            && level.is_cut(level.rows.len() - before, &child.first_key, identifier)
        {
            self.flush(at, identifier, sink);
        }
    }

    fn flush(&mut self, at: usize, identifier: &Identifier, sink: &mut PageSink<'_>) {
        let level = &mut self.levels[at];
        let mut body = Writer::new();
        body.u8(at as u8 + 1);
        body.u8(self.space as u8);
        body.u32(level.count);
        body.raw(std::mem::take(&mut level.rows).as_slice());
        body.tags(&[]);
        let text = PageText { refs: level.refs.take().encode(), body: body.into_vec() };
        let child = Child {
            first_key: std::mem::take(&mut level.first_key),
            id: text.id(identifier),
            entries: std::mem::take(&mut level.entries),
            bytes: std::mem::take(&mut level.bytes),
        };
        (level.count, level.key_bytes) = (0, 0);
        level.pages += 1;
        sink(child.id, text);
        self.push(at + 1, &child, identifier, sink);
    }

    /// Ends all levels; `leaves` is how many leaves there were, `last` the last one's id.
    fn finish(
        mut self,
        leaves: u64,
        last: ChunkId,
        identifier: &Identifier,
        sink: &mut PageSink<'_>,
    ) -> ChunkId {
        if leaves == 1 {
            return last;
        }
        let mut at = 0;
        loop {
            let mut root = None;
            let level = &mut self.levels[at];
            if level.count > 0 {
                // A level that holds one page in all is the root; nothing is built above it.
                let only = level.pages == 0;
                let mut keep = |id, text| {
                    root = Some(id);
                    sink(id, text);
                };
                self.flush(at, identifier, &mut keep);
                if only {
                    return root.expect("a flushed level gives a page");
                }
            } else if level.pages == 1 {
                let above = &mut self.levels[at + 1];
                return *above.refs.take().children.last().expect("the page that was flushed");
            }
            at += 1;
        }
    }
}

/// Builds a tree of entries, which come in ascending order of their keys.
#[derive(Debug)]
pub struct TreeBuilder {
    identifier: Identifier,
    leaf: Level,
    owners: OwnerTable,
    upper: Upper,
    last_leaf: ChunkId,
}

/// What a finished tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeRoot {
    /// Its topmost page.
    pub id: ChunkId,
    /// How many leaves it has.
    pub leaves: u64,
}

impl TreeBuilder {
    /// Starts an empty tree.
    #[must_use]
    pub fn new(identifier: Identifier, space: KeySpace) -> Self {
        let upper = Upper { space, levels: Vec::new() };
        Self {
            identifier,
            leaf: Level::default(),
            owners: OwnerTable::default(),
            upper,
            last_leaf: ChunkId([0; 32]),
        }
    }

    /// Appends an entry.
    ///
    /// # Panics
    /// Its key is not greater than the last: a mistake of the caller.
    pub fn push(&mut self, entry: &Entry, sink: &mut PageSink<'_>) {
        let leaf = &mut self.leaf;
        let first = leaf.entries == 0 && leaf.pages == 0;
        assert!(first || leaf.last_key < entry.key, "entries come in order of their keys");
        let before = leaf.rows.len();
        leaf.begin_row(&entry.key);
        encode_entry(&mut leaf.rows, entry, &mut self.owners, &mut leaf.refs);
        leaf.entries += 1;
        // Files that are mostly hole can add up to more than there are numbers.
        leaf.bytes = leaf.bytes.saturating_add(entry.size);
        if leaf.is_cut(leaf.rows.len() - before, &entry.key, &self.identifier) {
            self.flush(sink);
        }
    }

    fn flush(&mut self, sink: &mut PageSink<'_>) {
        let leaf = &mut self.leaf;
        let mut body = Writer::new();
        body.u8(0);
        body.u8(self.upper.space as u8);
        self.owners.encode(&mut body);
        body.u32(leaf.count);
        body.raw(std::mem::take(&mut leaf.rows).as_slice());
        body.tags(&[]);
        let text = PageText { refs: leaf.refs.take().encode(), body: body.into_vec() };
        let child = Child {
            first_key: std::mem::take(&mut leaf.first_key),
            id: text.id(&self.identifier),
            entries: std::mem::take(&mut leaf.entries),
            bytes: std::mem::take(&mut leaf.bytes),
        };
        (leaf.count, leaf.key_bytes) = (0, 0);
        leaf.pages += 1;
        self.last_leaf = child.id;
        sink(child.id, text);
        self.upper.push(0, &child, &self.identifier, sink);
    }

    /// Ends the tree; an empty one is one empty page.
    pub fn finish(mut self, sink: &mut PageSink<'_>) -> TreeRoot {
        if self.leaf.count > 0 || self.leaf.pages == 0 {
            self.flush(sink);
        }
        let leaves = self.leaf.pages;
        TreeRoot { id: self.upper.finish(leaves, self.last_leaf, &self.identifier, sink), leaves }
    }
}

/// Builds the tree of extents of one large file, which come in order of their offsets.
#[derive(Debug)]
pub struct ExtentTreeBuilder {
    identifier: Identifier,
    start: u64,
    end: u64,
    extents: Vec<Extent>,
    upper: Upper,
    leaves: u64,
    last_leaf: ChunkId,
}

impl ExtentTreeBuilder {
    /// Starts at offset 0.
    #[must_use]
    pub fn new(identifier: Identifier) -> Self {
        Self {
            identifier,
            start: 0,
            end: 0,
            extents: Vec::new(),
            upper: Upper { space: KeySpace::Offsets, levels: Vec::new() },
            leaves: 0,
            last_leaf: ChunkId([0; 32]),
        }
    }

    /// Appends an extent.
    pub fn push(&mut self, extent: Extent, sink: &mut PageSink<'_>) {
        if !self.extents.is_empty() && self.end / EXTENT_LEAF_SPAN != self.start / EXTENT_LEAF_SPAN {
            self.flush(sink);
        }
        self.extents.push(extent);
        self.end += extent.length();
    }

    /// Appends a whole leaf of a database file: the extents of one stretch, and what goes with them.
    ///
    /// # Panics
    /// Extents that were appended one by one wait for their leaf: a mistake of the caller.
    pub fn push_leaf(&mut self, extents: &[Extent], blocks: &Blocks, sink: &mut PageSink<'_>) {
        assert!(self.extents.is_empty(), "leaves come whole or not at all");
        self.end += extents.iter().map(Extent::length).sum::<u64>();
        self.leaf(extents, blocks, sink);
    }

    fn flush(&mut self, sink: &mut PageSink<'_>) {
        let extents = std::mem::take(&mut self.extents);
        self.leaf(&extents, &Blocks::default(), sink);
    }

    fn leaf(&mut self, extents: &[Extent], blocks: &Blocks, sink: &mut PageSink<'_>) {
        let text = encode_extent_leaf(self.start, extents, blocks);
        let child = Child {
            first_key: self.start.to_be_bytes().to_vec(),
            id: text.id(&self.identifier),
            entries: extents.len() as u64,
            bytes: self.end - self.start,
        };
        self.start = self.end;
        self.leaves += 1;
        self.last_leaf = child.id;
        sink(child.id, text);
        self.upper.push(0, &child, &self.identifier, sink);
    }

    /// Ends the tree.
    pub fn finish(mut self, sink: &mut PageSink<'_>) -> ChunkId {
        if !self.extents.is_empty() || self.leaves == 0 {
            self.flush(sink);
        }
        self.upper.finish(self.leaves, self.last_leaf, &self.identifier, sink)
    }
}

/// Encodes a leaf of extents, with what a database file has beside them.
#[must_use]
pub fn encode_extent_leaf(start: u64, extents: &[Extent], blocks: &Blocks) -> PageText {
    let mut refs = RefTable::default();
    let mut body = Writer::new();
    body.u8(0);
    body.u8(KeySpace::Offsets as u8);
    body.u64(start);
    body.count(extents.len());
    extents.iter().for_each(|extent| encode_extent(&mut body, extent, &mut refs));
    let hashes: Vec<u8> = blocks.hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
    let lengths: Vec<u8> = blocks.chunk_bytes.iter().flat_map(|length| length.to_le_bytes()).collect();
    let mut tags = vec![Tag { id: TAG_BLOCKS, bytes: hashes }, Tag { id: TAG_CHUNK_BYTES, bytes: lengths }];
    tags.retain(|tag| !tag.bytes.is_empty());
    body.tags(&tags);
    PageText { refs: refs.take().encode(), body: body.into_vec() }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::crypto::Secret;
    use crate::entry::{Attributes, Content, Kind, Owner, Time, Xattrs};
    use crate::entry_code::{decode_alone, encode_alone};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, HashMap};
    use std::sync::Arc;

    fn identifier() -> Identifier {
        Identifier::new(&Secret::new([1; 32]), &Secret::new([2; 32]))
    }

    pub(crate) fn file(key: &[u8], seed: u8) -> Entry {
        Entry {
            key: key.to_vec(),
            kind: Kind::File,
            mode: 0o644,
            owner: Arc::new(Owner { uid: 1, gid: 2, user: "u".into(), group: "g".into() }),
            mtime: Time { seconds: -5, nanos: 7 },
            size: 900,
            content: Content::Extents(vec![Extent::Chunk {
                id: ChunkId([seed; 32]),
                offset: 3,
                length: 900,
            }]),
            digest: Some([seed; 32]),
            attributes: Attributes::default(),
        }
    }

    type Pages = HashMap<ChunkId, PageText>;

    fn build(entries: &BTreeMap<Vec<u8>, Entry>) -> (TreeRoot, Pages) {
        let mut pages = Pages::new();
        let mut builder = TreeBuilder::new(identifier(), KeySpace::Paths);
        let mut sink = |id, text| drop(pages.insert(id, text));
        entries.values().for_each(|entry| builder.push(entry, &mut sink));
        let root = builder.finish(&mut sink);
        (root, pages)
    }

    fn read(id: ChunkId, pages: &Pages, level: Option<u8>, out: &mut Vec<Entry>) {
        let page = Page::decode(&pages[&id]).unwrap();
        assert!(level.is_none_or(|level| level == page.level));
        match page.body {
            PageBody::Entries(entries) => out.extend(entries),
            PageBody::Children(children) => {
                assert!(children.len() > 1 || level.is_some(), "a root has at least two children");
                for child in children {
                    let before = out.len();
                    read(child.id, pages, Some(page.level - 1), out);
                    assert_eq!(
                        (out[before].key.as_slice(), out.len() - before),
                        (&*child.first_key, child.entries as usize)
                    );
                }
            }
            PageBody::Extents { .. } => panic!("extents in a tree of entries"),
        }
    }

    fn numbered(count: u32) -> BTreeMap<Vec<u8>, Entry> {
        (0..count)
            .map(|n| format!("folder\0file {n:06}").into_bytes())
            .map(|key| (key.clone(), file(&key, 3)))
            .collect()
    }

    #[test]
    fn trees_of_every_height_read_back() {
        for count in [0, 1, 2, 100, 3_000, 40_000] {
            let entries = numbered(count);
            let (root, pages) = build(&entries);
            let mut out = Vec::new();
            read(root.id, &pages, None, &mut out);
            assert_eq!(out, entries.into_values().collect::<Vec<_>>(), "{count} entries");
        }
    }

    #[test]
    fn a_changed_value_changes_one_path_of_pages() {
        let mut entries = numbered(20_000);
        let (_, before) = build(&entries);
        let key = entries.keys().nth(10_000).unwrap().clone();
        entries.insert(key.clone(), file(&key, 9));
        let (root, after) = build(&entries);
        let added = after.keys().filter(|id| !before.contains_key(id)).count();
        assert!(added <= 3, "{added} of {} pages are new below {root:?}", after.len());
    }

    #[test]
    fn an_inserted_entry_moves_only_nearby_cuts() {
        let mut entries = numbered(20_000);
        let (_, before) = build(&entries);
        entries.insert(b"folder\0file 009999 b".to_vec(), file(b"folder\0file 009999 b", 1));
        let (_, after) = build(&entries);
        assert!(after.keys().filter(|id| !before.contains_key(id)).count() <= 6);
    }

    #[test]
    fn very_long_keys_still_make_a_tree_that_ends() {
        for length in [9_000usize, 30_000, 65_000] {
            let mut pages = Pages::new();
            let mut builder = TreeBuilder::new(identifier(), KeySpace::Opaque);
            let mut sink = |id, text| drop(pages.insert(id, text));
            for n in 0..300u32 {
                let key = [n.to_be_bytes().to_vec(), vec![b'k'; length]].concat();
                builder.push(&file(&key, 1), &mut sink);
            }
            let root = builder.finish(&mut sink);
            assert!(Page::decode(&pages[&root.id]).unwrap().level < 4, "{length}");
        }
    }

    #[test]
    fn keys_that_share_nearly_all_do_not_make_a_page_that_fills_memory() {
        let key_of = |length: usize, n: u32| [&vec![b'k'; length][..], &n.to_be_bytes()].concat();
        let mut pages = Pages::new();
        let mut builder = TreeBuilder::new(identifier(), KeySpace::Opaque);
        let mut sink = |id, text| drop(pages.insert(id, text));
        (0..3_000).for_each(|n| builder.push(&file(&key_of(7_000, n), 1), &mut sink));
        let root = builder.finish(&mut sink);
        let mut out = Vec::new();
        read(root.id, &pages, None, &mut out);
        assert_eq!(out.len(), 3_000);
        // A page that somebody else cut.
        let key = |n| key_of(65_000, n);
        let (mut owners, mut refs) = (OwnerTable::default(), RefTable::default());
        let mut rows = Writer::new();
        let mut before = Vec::new();
        for n in 0..200 {
            encode_key(&mut rows, &before, &key(n));
            encode_entry(&mut rows, &file(&key(n), 1), &mut owners, &mut refs);
            before = key(n);
        }
        let mut body = Writer::from_vec(vec![0, KeySpace::Opaque as u8]);
        owners.encode(&mut body);
        body.u32(200);
        body.raw(rows.as_slice());
        body.tags(&[]);
        let text = PageText { refs: refs.take().encode(), body: body.into_vec() };
        assert!(text.body.len() < 100_000);
        assert_eq!(Page::decode(&text), Err(FormatError::TooLong("the keys of a page")));
    }

    #[test]
    fn a_leaf_of_extents_stays_in_its_stretch() {
        let hole = |length| Extent::Hole { length };
        let decode =
            |start, extents: &[Extent]| Page::decode(&encode_extent_leaf(start, extents, &Blocks::default()));
        assert!(decode(7, &[hole(EXTENT_LEAF_SPAN - 8), hole(u64::from(u32::MAX))]).is_ok());
        let refused = Err(FormatError::Malformed("the stretch of a leaf of extents"));
        assert_eq!(decode(7, &[hole(EXTENT_LEAF_SPAN - 7), hole(1)]), refused);
        assert!(decode(u64::MAX - 4, &[hole(4)]).is_ok());
        assert_eq!(decode(u64::MAX - 4, &[hole(5)]), Err(FormatError::Malformed("an extent")));
    }

    #[test]
    fn extent_trees_read_back() {
        for count in [1u64, 70, 5_000] {
            let mut pages = Pages::new();
            let mut sink = |id, text| drop(pages.insert(id, text));
            let mut builder = ExtentTreeBuilder::new(identifier());
            let extents: Vec<_> = (0..count)
                .map(|n| match n % 5 {
                    4 => Extent::Hole { length: 200 << 20 },
                    _ => Extent::Chunk { id: ChunkId([n as u8; 32]), offset: 0, length: 1 << 20 },
                })
                .collect();
            extents.iter().for_each(|extent| builder.push(*extent, &mut sink));
            let root = builder.finish(&mut sink);
            let mut out = Vec::new();
            let mut todo = vec![root];
            while let Some(id) = todo.pop() {
                match Page::decode(&pages[&id]).unwrap().body {
                    PageBody::Extents { start, extents, blocks } => {
                        assert_eq!(start, out.iter().map(Extent::length).sum::<u64>());
                        assert_eq!(blocks, Blocks::default());
                        out.extend(extents);
                    }
                    PageBody::Children(children) => {
                        todo.extend(children.into_iter().rev().map(|child| child.id));
                    }
                    PageBody::Entries(_) => panic!("entries in a tree of extents"),
                }
            }
            assert_eq!(out, extents);
        }
    }

    #[test]
    fn blocks_of_a_database_file_are_a_column_of_the_leaf() {
        let extents = [Extent::Chunk { id: ChunkId([1; 32]), offset: 0, length: 16_384 }];
        let blocks = Blocks { hashes: vec![7, 8], chunk_bytes: vec![20_000] };
        let page = Page::decode(&encode_extent_leaf(0, &extents, &blocks)).unwrap();
        assert_eq!(page.body, PageBody::Extents { start: 0, extents: extents.to_vec(), blocks });
    }

    #[test]
    fn a_tree_of_whole_leaves_has_their_columns() {
        let span = EXTENT_LEAF_SPAN as u32;
        let leaf = |seed: u8, length: u32| {
            let extents = vec![Extent::Chunk { id: ChunkId([seed; 32]), offset: 5, length }];
            let hashes = (0..length.div_ceil(BLOCK_BYTES as u32)).map(u64::from).collect();
            (extents, Blocks { hashes, chunk_bytes: vec![length + 5] })
        };
        let leaves = [leaf(1, span), leaf(2, span), leaf(3, 10_000)];
        let (mut pages, mut builder) = (Pages::new(), ExtentTreeBuilder::new(identifier()));
        let mut sink = |id, text| drop(pages.insert(id, text));
        leaves.iter().for_each(|(extents, blocks)| builder.push_leaf(extents, blocks, &mut sink));
        let root = builder.finish(&mut sink);
        let PageBody::Children(children) = Page::decode(&pages[&root]).unwrap().body else {
            panic!("leaves")
        };
        let mut at = 0;
        for (child, (made, columns)) in children.iter().zip(leaves) {
            let body = Page::decode(&pages[&child.id]).unwrap().body;
            assert!(columns.cover(child.bytes));
            assert_eq!((child.first_key.as_slice(), child.entries), (&u64::to_be_bytes(at)[..], 1));
            assert_eq!(body, PageBody::Extents { start: at, extents: made, blocks: columns });
            at += child.bytes;
        }
        assert_eq!(at, 2 * EXTENT_LEAF_SPAN + 10_000);
    }

    #[test]
    fn references_that_the_body_does_not_name_are_refused() {
        let (root, pages) = build(&numbered(3));
        let mut text = pages[&root.id].clone();
        let mut refs = Refs::decode(&text.refs).unwrap();
        refs.chunks.push(ChunkId([9; 32]));
        text.refs = refs.encode();
        assert_eq!(Page::decode(&text), Err(FormatError::Malformed("the references of a page")));
    }

    fn leaf(space: KeySpace, key: &[u8]) -> PageText {
        let mut pages = Pages::new();
        let mut builder = TreeBuilder::new(identifier(), space);
        builder.push(&file(key, 1), &mut |_, _| ());
        let root = builder.finish(&mut |id, text| drop(pages.insert(id, text)));
        pages[&root.id].clone()
    }

    #[test]
    fn keys_that_are_no_paths_are_refused_in_trees_of_paths() {
        for key in [&b""[..], b"a", b"a\0b", b"...", b".a\0b."] {
            assert!(Page::decode(&leaf(KeySpace::Paths, key)).is_ok(), "{key:?}");
        }
        for key in [&b"\0"[..], b"a\0", b"\0a", b"a\0\0b", b".", b"..", b"a\0..", b"..\0a", b"a/b", b"/"] {
            let refused = Page::decode(&leaf(KeySpace::Paths, key));
            assert_eq!(refused, Err(FormatError::Malformed("a path")), "{key:?}");
            assert!(Page::decode(&leaf(KeySpace::Opaque, key)).is_ok(), "{key:?}");
        }
        let (root, mut pages) = build(&numbered(3_000));
        let text = pages.get_mut(&root.id).unwrap();
        let at = text.body.windows(4).position(|part| part == b"fold").unwrap();
        text.body[at] = b'/';
        assert_eq!(Page::decode(text), Err(FormatError::Malformed("a path")));
    }

    #[test]
    fn an_inner_page_has_children_and_a_column_has_whole_hashes() {
        let mut body = Writer::new();
        body.raw(&[1, 1]);
        body.count(0);
        body.tags(&[]);
        let text = PageText { refs: Refs::default().encode(), body: body.into_vec() };
        assert_eq!(Page::decode(&text), Err(FormatError::Malformed("an inner page")));
        let row = |writer: &mut Writer, key: &[u8], row: u32| {
            encode_key(writer, &[], key);
            writer.u32(row);
            writer.raw(&[0; 16]);
        };
        let mut body = Writer::from_vec(vec![1, 1]);
        body.count(2);
        row(&mut body, b"a", 0);
        row(&mut body, b"b", 0);
        body.tags(&[]);
        let refs = Refs { children: vec![ChunkId([1; 32])], chunks: vec![] };
        let text = PageText { refs: refs.encode(), body: body.into_vec() };
        let twice = Err(FormatError::Malformed("the references of a page"));
        assert_eq!(Page::decode(&text), twice);
        let extents = [Extent::Chunk { id: ChunkId([1; 32]), offset: 0, length: 16_384 }];
        let blocks = Blocks { hashes: vec![7, 8], chunk_bytes: Vec::new() };
        let mut text = encode_extent_leaf(0, &extents, &blocks);
        let at = text.body.len() - 20;
        text.body[at..at + 4].copy_from_slice(&15u32.to_le_bytes());
        text.body.pop();
        assert_eq!(Page::decode(&text), Err(FormatError::Malformed("the hashes of blocks")));
        let blocks = Blocks { hashes: Vec::new(), chunk_bytes: vec![16_384] };
        let mut text = encode_extent_leaf(0, &extents, &blocks);
        let at = text.body.len() - 8;
        text.body[at..at + 4].copy_from_slice(&3u32.to_le_bytes());
        text.body.pop();
        assert_eq!(Page::decode(&text), Err(FormatError::Malformed("the lengths of chunks")));
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        let time = (any::<i64>(), 0u32..1_000_000_000).prop_map(|(seconds, nanos)| Time { seconds, nanos });
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        let xattrs = prop::collection::btree_map(prop::collection::vec(1u8.., 1..8), bytes(), 0..4);
        let attributes = (
            prop::option::of(xattrs),
            prop::option::of(time.clone()),
            any::<u32>(),
            prop::option::of(any::<[u8; 16]>()),
            any::<(bool, bool)>(),
            prop::option::of(bytes()),
        )
            .prop_map(|(xattrs, birth, inode_flags, link_group, (grown, torn), unknown)| Attributes {
                xattrs: xattrs
                    .map_or(Xattrs::Chunk(ChunkId([7; 32])), |map| Xattrs::Inline(map.into_iter().collect())),
                birth,
                inode_flags,
                link_group,
                grown,
                torn,
                unknown: unknown.into_iter().map(|bytes| (0x0777, bytes)).collect(),
                ..Attributes::default()
            });
        let extent =
            (any::<u8>(), any::<u32>(), 1u32..1000, any::<bool>()).prop_map(|(id, offset, length, hole)| {
                if hole {
                    Extent::Hole { length: u64::from(length) }
                } else {
                    Extent::Chunk { id: ChunkId([id; 32]), offset, length }
                }
            });
        let content = prop_oneof![
            Just(Content::None),
            prop::collection::vec(any::<u8>(), 1..512).prop_map(Content::Inline),
            prop::collection::vec(extent, 1..16).prop_map(Content::Extents),
            any::<[u8; 32]>().prop_map(|id| Content::Tree(ChunkId(id))),
        ];
        // Components without `.` and `/`.
        let component = prop::collection::vec(prop_oneof![1u8..b'.', b'0'..], 1..10);
        (
            prop::collection::vec(component, 0..6).prop_map(|parts| parts.join(&0)),
            content,
            0u16..0o10000,
            time,
            attributes,
            any::<[u8; 32]>(),
        )
            .prop_map(|(key, content, mode, mtime, attributes, digest)| Entry {
                key,
                kind: Kind::File,
                mode,
                owner: Arc::new(Owner { uid: 3, gid: 4, user: String::new(), group: "wheel".into() }),
                mtime,
                size: match &content {
                    Content::None => 0,
                    Content::Inline(bytes) => bytes.len() as u64,
                    Content::Extents(extents) => extents.iter().map(Extent::length).sum(),
                    Content::Tree(_) => 77,
                },
                content,
                digest: Some(digest),
                attributes,
            })
    }

    proptest! {
        #[test]
        fn every_entry_comes_back(entries in prop::collection::vec(any_entry(), 1..20)) {
            for entry in &entries {
                prop_assert_eq!(&decode_alone(&encode_alone(entry)).unwrap(), entry);
            }
            let map: BTreeMap<_, _> = entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
            let (root, pages) = build(&map);
            let mut out = Vec::new();
            read(root.id, &pages, None, &mut out);
            prop_assert_eq!(out, map.into_values().collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(refs in prop::collection::vec(any::<u8>(), 0..80), body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Page::decode(&PageText { refs, body });
        }
    }
}
