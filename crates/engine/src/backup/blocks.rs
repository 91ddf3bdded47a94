//! Reads a database file block by block: what the last snapshot has of it stays where it is, what
//! changed is gathered into new chunks.
//!
//! A file is gone through in stretches of 64 MiB, each with a leaf of its tree of extents. A stretch
//! refers to chunks of its own only, so that what is held at a time, and what a stretch wastes, does
//! not depend on the length of the file. Blocks are compared with those at the same place, by their
//! keyed hashes. On purpose not here: which files those are (the source says), where the old hashes
//! lie ([`crate::block_map`]), and files that are cut by their content ([`super::large`]).

use super::large::{ContentHasher, LargeFile, join, store_chunk};
use crate::block_map::{BlockMap, BlockMapWriter, PastFile, PastLeaf};
use crate::packer::{Packer, Scratch};
use crate::source::{ContentStream, ItemError, Piece};
use crate::workers::Workers;
use holdfast_core::entry::{Content, Extent};
use holdfast_core::id::ChunkId;
use holdfast_core::index::ChunkKey;
use holdfast_core::keys::{ChunkKind, Identifier};
use holdfast_core::page::{BLOCK_BYTES, Blocks, EXTENT_LEAF_SPAN, ExtentTreeBuilder};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Changed blocks are gathered into chunks of this length, in bytes.
const GATHERED_BYTES: usize = 1 << 20;

/// A database file, as far as it is known before it is read.
#[derive(Clone)]
pub(super) struct BlockFile {
    /// Key of its entry.
    pub key: Vec<u8>,
    /// What the last snapshot has of it: the map, the root of its tree, and its length.
    pub past: Option<(Arc<BlockMap>, ChunkId, u64)>,
    /// Whether the pinned parent's closure has what lies there.
    pub covered: bool,
    /// Takes the pages of its new tree.
    pub map: Option<Arc<BlockMapWriter>>,
}

/// Reads a file once.
pub(super) fn read_blocks(
    stream: &mut dyn ContentStream,
    packer: &Arc<Packer>,
    workers: &Workers,
    scratch: &mut Scratch,
    progress: &dyn Fn(u64),
    file: &BlockFile,
) -> Result<LargeFile, ItemError> {
    let (mut weaver, mut hasher) = (Weaver::new(packer, workers, file), ContentHasher::default());
    let mut window = Window::new(stream.opened().0.size);
    let mut bytes_read = 0;
    while !packer.stopped() {
        let bytes = window.fill(stream)?;
        if bytes.is_empty() {
            break;
        }
        hasher.data(bytes);
        weaver.take(bytes, scratch);
        bytes_read += bytes.len() as u64;
        progress(bytes.len() as u64);
    }
    let status = stream.finish()?;
    let (stat, details) = stream.opened();
    let (stat, details) = (stat.clone(), details.clone());
    let (size, map_lost) = (weaver.at, weaver.past.as_ref().is_some_and(|past| past.lost));
    let (content, closure) = weaver.finish(scratch);
    let digest = hasher.finish();
    Ok(LargeFile { stat, details, status, size, content, digest, closure, bytes_read, map_lost })
}

/// A part of the content, whole blocks but for the last one of the file.
struct Window {
    buffer: Vec<u8>,
    /// Zeros of a hole that are still to come. A file with holes is the same file when they are filled.
    zeros: u64,
    ended: bool,
}

impl Window {
    fn new(size: u64) -> Self {
        let whole = size.clamp(1, GATHERED_BYTES as u64).next_multiple_of(BLOCK_BYTES as u64);
        Self { buffer: vec![0; whole as usize], zeros: 0, ended: false }
    }

    /// Fills it as far as the content goes; empty at the end.
    fn fill(&mut self, stream: &mut dyn ContentStream) -> Result<&[u8], ItemError> {
        let mut filled = 0;
        while filled < self.buffer.len() && !self.ended {
            let rest = &mut self.buffer[filled..];
            if self.zeros > 0 {
                let part = self.zeros.min(rest.len() as u64);
                rest[..part as usize].fill(0);
                self.zeros -= part;
                filled += part as usize;
                continue;
            }
            match stream.read(rest)? {
                Piece::Data(length) => filled += length,
                Piece::Hole(length) => self.zeros = length,
                Piece::End => self.ended = true,
            }
        }
        Ok(&self.buffer[..filled])
    }
}

/// A part of a stretch, in order.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// A slice of an old chunk, and how long that is.
    Old(Extent, u32),
    /// A slice of a new chunk, by its number in the stretch.
    New { chunk: u32, offset: u32, length: u32 },
}

/// Weaves old and new blocks into extents.
struct Weaver<'a> {
    packer: &'a Arc<Packer>,
    workers: &'a Workers,
    file: &'a BlockFile,
    identifier: Identifier,
    past: Option<PastFile>,
    /// The old leaf of the stretch, if it is of use.
    old: Option<OldStretch>,
    /// How much of the file was taken.
    at: u64,
    hashes: Vec<u64>,
    parts: Vec<Part>,
    /// New chunks of the stretch, and their lengths.
    chunks: Vec<(ChunkId, u32)>,
    /// The chunk that is filled.
    open: Vec<u8>,
    tree: ExtentTreeBuilder,
    closure: Vec<(ChunkKind, ChunkKey)>,
}

impl<'a> Weaver<'a> {
    fn new(packer: &'a Arc<Packer>, workers: &'a Workers, file: &'a BlockFile) -> Self {
        let identifier = packer.sealer().identifier.clone();
        let mut weaver = Self {
            packer,
            workers,
            file,
            past: file.past.as_ref().map(|(map, root, size)| PastFile::new(map, *root, *size)),
            old: None,
            at: 0,
            hashes: Vec::new(),
            parts: Vec::new(),
            chunks: Vec::new(),
            open: Vec::new(),
            tree: ExtentTreeBuilder::new(identifier.clone()),
            identifier,
            closure: Vec::new(),
        };
        weaver.begin_stretch();
        weaver
    }

    /// Takes the next whole blocks; only the last one of the file may be shorter.
    fn take(&mut self, mut bytes: &[u8], scratch: &mut Scratch) {
        while !bytes.is_empty() {
            let room = EXTENT_LEAF_SPAN - self.at % EXTENT_LEAF_SPAN;
            let (part, rest) = bytes.split_at(bytes.len().min(room as usize));
            self.take_part(part, scratch);
            self.at += part.len() as u64;
            bytes = rest;
            if self.at.is_multiple_of(EXTENT_LEAF_SPAN) {
                self.end_stretch(scratch);
                self.begin_stretch();
            }
        }
    }

    fn take_part(&mut self, bytes: &[u8], scratch: &mut Scratch) {
        let first = self.hashes.len();
        let blocks = bytes.chunks(BLOCK_BYTES);
        self.hashes.extend(blocks.map(|block| self.identifier.block(block)));
        // Changed blocks that touch go on together.
        let mut changed = 0;
        for number in first..self.hashes.len() {
            let start = (number - first) * BLOCK_BYTES;
            let end = bytes.len().min(start + BLOCK_BYTES);
            if self.keep_old(number, end - start) {
                self.gather(&bytes[changed..start], scratch);
                self.keep(number, end - start);
                changed = end;
            }
        }
        self.gather(&bytes[changed..], scratch);
    }

    /// Whether a block is as it was, and can be had where it lies.
    fn keep_old(&mut self, number: usize, length: usize) -> bool {
        let (packer, covered) = (self.packer, self.file.covered);
        let usable = |id: &ChunkId| packer.resolves(ChunkKind::Data, &ChunkKey::from(id), covered);
        let hash = self.hashes[number];
        self.old.as_mut().is_some_and(|old| old.is_same(number, length, hash) && old.is_usable(usable))
    }

    /// Refers to a block where it lies; it was looked at last.
    fn keep(&mut self, number: usize, length: usize) {
        let Some(old) = &self.old else { return };
        let parts = &mut self.parts;
        old.slices(number, length, |slice, chunk_bytes| push_old(parts, slice, chunk_bytes));
    }

    /// Puts changed blocks into new chunks.
    fn gather(&mut self, mut bytes: &[u8], scratch: &mut Scratch) {
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(bytes.len().min(GATHERED_BYTES - self.open.len()));
            let (chunk, offset) = (self.chunks.len() as u32, self.open.len() as u32);
            push_new(&mut self.parts, chunk, offset, part.len() as u32);
            bytes = rest;
            if part.len() == GATHERED_BYTES {
                self.store(part, scratch);
                continue;
            }
            self.open.extend_from_slice(part);
            if self.open.len() == GATHERED_BYTES {
                self.close_chunk(scratch);
            }
        }
    }

    fn close_chunk(&mut self, scratch: &mut Scratch) {
        if !self.open.is_empty() {
            let mut open = std::mem::take(&mut self.open);
            self.store(&open, scratch);
            open.clear();
            self.open = open;
        }
    }

    fn store(&mut self, plaintext: &[u8], scratch: &mut Scratch) {
        let id = store_chunk(self.packer, self.workers, plaintext, scratch);
        self.chunks.push((id, plaintext.len() as u32));
    }

    /// Finds what the last snapshot has of the stretch that begins, unless it is so scattered that
    /// the stretch is to be written anew.
    fn begin_stretch(&mut self) {
        let leaf = self.past.as_mut().and_then(|past| past.leaf_at(self.at));
        let (at, key) = (self.at, &self.file.key);
        self.old = leaf.and_then(|leaf| OldStretch::new(leaf, at)).filter(|old| {
            let most = held_bytes_max(&self.identifier, key, at, old.leaf.end - at);
            old.held_bytes() <= most
        });
    }

    /// Closes the open chunk and makes the leaf.
    fn end_stretch(&mut self, scratch: &mut Scratch) {
        if self.parts.is_empty() {
            return;
        }
        self.close_chunk(scratch);
        let mut seen = HashSet::new();
        let mut blocks = Blocks { hashes: std::mem::take(&mut self.hashes), chunk_bytes: Vec::new() };
        let mut extents: Vec<Extent> = Vec::with_capacity(self.parts.len());
        for part in self.parts.drain(..) {
            let (extent, chunk_bytes) = match part {
                Part::Old(extent, chunk_bytes) => (extent, chunk_bytes),
                Part::New { chunk, offset, length } => {
                    let (id, chunk_bytes) = self.chunks[chunk as usize];
                    (Extent::Chunk { id, offset, length }, chunk_bytes)
                }
            };
            if let Extent::Chunk { id, .. } = extent
                && seen.insert(id)
            {
                blocks.chunk_bytes.push(chunk_bytes);
                self.closure.push((ChunkKind::Data, ChunkKey::from(&id)));
            }
            // Two chunks of the stretch may turn out to be one.
            match extents.last_mut().and_then(|last| Some((join(last, &extent)?, last))) {
                Some((joined, last)) => *last = joined,
                None => extents.push(extent),
            }
        }
        self.chunks.clear();
        let (packer, closure, map) = (self.packer, &mut self.closure, &self.file.map);
        self.tree.push_leaf(&extents, &blocks, &mut |id, page| {
            closure.push((ChunkKind::Page, ChunkKey::from(&id)));
            map.iter().for_each(|map| map.page(&id, &page));
            packer.store_page(id, &page);
        });
        blocks.hashes.clear();
        self.hashes = blocks.hashes;
    }

    fn finish(mut self, scratch: &mut Scratch) -> (Content, Vec<(ChunkKind, ChunkKey)>) {
        self.end_stretch(scratch);
        if self.at == 0 {
            return (Content::None, Vec::new());
        }
        let (packer, mut closure, map) = (self.packer, self.closure, &self.file.map);
        let root = self.tree.finish(&mut |id, page| {
            closure.push((ChunkKind::Page, ChunkKey::from(&id)));
            map.iter().for_each(|map| map.page(&id, &page));
            packer.store_page(id, &page);
        });
        (Content::Tree(root), closure)
    }
}

/// Adds a slice of an old chunk, to the one before where it continues that.
fn push_old(parts: &mut Vec<Part>, slice: Extent, chunk_bytes: u32) {
    if let Some(Part::Old(last, _)) = parts.last_mut()
        && let Some(joined) = join(last, &slice)
    {
        *last = joined;
    } else {
        parts.push(Part::Old(slice, chunk_bytes));
    }
}

/// The same, of a chunk that is being made.
fn push_new(parts: &mut Vec<Part>, chunk: u32, offset: u32, more: u32) {
    match parts.last_mut() {
        Some(Part::New { chunk: last, offset: from, length })
            if *last == chunk && *from + *length == offset =>
        {
            *length += more;
        }
        _ => parts.push(Part::New { chunk, offset, length: more }),
    }
}

/// How many bytes the chunks of a stretch may hold before it is written anew: 1.5 to 2.5 times what
/// it has, by its place, so that a cluster is not written anew in one night.
fn held_bytes_max(identifier: &Identifier, key: &[u8], start: u64, bytes: u64) -> u64 {
    let hash = identifier.page_cut(&[key, &start.to_be_bytes()].concat());
    let chance = u64::from_le_bytes(hash[..8].try_into().unwrap_or_default());
    bytes + bytes / 2 + ((u128::from(bytes) * u128::from(chance)) >> 64) as u64
}

/// What the last snapshot has of a stretch. Blocks are asked for in order.
struct OldStretch {
    leaf: PastLeaf,
    /// Where the stretch begins.
    start: u64,
    /// Where in the stretch each extent begins.
    starts: Vec<u64>,
    /// The first extent of the block that was looked at last.
    first: usize,
    /// Length of each chunk, and whether it can be relied on, once that was asked.
    chunks: HashMap<ChunkId, (u32, Option<bool>)>,
    /// The block that was looked at last, in bytes of the stretch.
    block: std::ops::Range<u64>,
}

impl OldStretch {
    /// `None` if the leaf has no hashes.
    fn new(leaf: PastLeaf, start: u64) -> Option<Self> {
        if !leaf.blocks.cover(leaf.end - start) {
            return None;
        }
        let mut at = 0;
        let mut starts = Vec::with_capacity(leaf.extents.len());
        for extent in &leaf.extents {
            starts.push(at);
            at += extent.length();
        }
        let mut chunks: HashMap<ChunkId, (u32, Option<bool>)> = HashMap::new();
        for extent in &leaf.extents {
            if let Extent::Chunk { id, offset, length } = *extent {
                let (end, _) = chunks.entry(id).or_default();
                *end = (*end).max(offset.saturating_add(length));
            }
        }
        if leaf.blocks.chunk_bytes.len() == leaf.chunks.len() {
            for (id, stated) in leaf.chunks.iter().zip(&leaf.blocks.chunk_bytes) {
                if let Some((bytes, _)) = chunks.get_mut(id) {
                    *bytes = (*bytes).max(*stated);
                }
            }
        }
        Some(Self { leaf, start, starts, first: 0, chunks, block: 0..0 })
    }

    /// Bytes of all chunks that the stretch refers to.
    fn held_bytes(&self) -> u64 {
        self.chunks.values().map(|(bytes, _)| u64::from(*bytes)).sum()
    }

    /// Whether a block has the length and the hash that it had.
    fn is_same(&mut self, number: usize, length: usize, hash: u64) -> bool {
        let from = (number * BLOCK_BYTES) as u64;
        let old_length = (self.leaf.end - self.start).saturating_sub(from).min(BLOCK_BYTES as u64);
        self.block = from..from + length as u64;
        old_length == length as u64 && self.leaf.blocks.hashes.get(number) == Some(&hash)
    }

    /// Whether that block lies in chunks that can be relied on. One that has a hole is written anew:
    /// what is read now is no hole.
    fn is_usable(&mut self, usable: impl Fn(&ChunkId) -> bool) -> bool {
        while self.starts.get(self.first + 1).is_some_and(|start| *start <= self.block.start) {
            self.first += 1;
        }
        let extents = self.starts.iter().zip(&self.leaf.extents).skip(self.first);
        extents.take_while(|(start, _)| **start < self.block.end).all(|(_, extent)| match extent {
            Extent::Chunk { id, .. } => {
                let known = self.chunks.get_mut(id);
                known.is_some_and(|(_, known)| *known.get_or_insert_with(|| usable(id)))
            }
            Extent::Hole { .. } => false,
        })
    }

    /// The slices that a block lies in.
    fn slices(&self, number: usize, length: usize, mut take: impl FnMut(Extent, u32)) {
        let (from, to) = ((number * BLOCK_BYTES) as u64, (number * BLOCK_BYTES + length) as u64);
        for (&start, extent) in self.starts.iter().zip(&self.leaf.extents).skip(self.first) {
            if start >= to {
                break;
            }
            if let Extent::Chunk { id, offset, length } = *extent {
                let (begin, end) = (from.max(start), to.min(start + u64::from(length)));
                let slice = Extent::Chunk {
                    id,
                    offset: offset + (begin - start) as u32,
                    length: end.saturating_sub(begin) as u32,
                };
                take(slice, self.chunks.get(&id).map_or(0, |(bytes, _)| *bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::crypto::Secret;

    #[test]
    fn places_differ_in_how_much_their_chunks_may_hold() {
        let identifier = Identifier::new(&Secret::new([1; 32]), &Secret::new([2; 32]));
        let most =
            |number: u64| held_bytes_max(&identifier, b"base\x005\x001259", number * EXTENT_LEAF_SPAN, 1000);
        let all: Vec<_> = (0..400).map(most).collect();
        assert!(all.iter().all(|most| (1500..2500).contains(most)), "{all:?}");
        for from in (1500..2500).step_by(250) {
            let share = all.iter().filter(|most| (from..from + 250).contains(*most)).count();
            assert!((60..140).contains(&share), "{share} of 400 from {from} on");
        }
    }

    fn leaf(extents: Vec<Extent>, hashes: Vec<u64>, chunk_bytes: Vec<u32>) -> Option<OldStretch> {
        let end = extents.iter().map(Extent::length).sum();
        let chunks = vec![ChunkId([1; 32]), ChunkId([2; 32])];
        OldStretch::new(PastLeaf { end, extents, blocks: Blocks { hashes, chunk_bytes }, chunks }, 0)
    }

    fn slice(chunk: u8, offset: u32, length: u32) -> Extent {
        Extent::Chunk { id: ChunkId([chunk; 32]), offset, length }
    }

    #[test]
    fn a_block_may_lie_in_several_extents_and_not_in_a_hole() {
        let extents = vec![
            slice(1, 0, 4096),
            slice(2, 100, 4096),
            slice(1, 5000, 8192),
            Extent::Hole { length: 8000 },
            slice(2, 0, 392),
        ];
        let mut old = leaf(extents, vec![10, 11, 12, 13], vec![20_000, 9000]).expect("it has hashes");
        assert_eq!(old.held_bytes(), 29_000);
        let mut kept = Vec::new();
        for (number, hash) in [(0, 10), (1, 99), (1, 11), (2, 12), (3, 13)] {
            let length = if number == 3 { 200 } else { BLOCK_BYTES };
            let same = old.is_same(number, length, hash) && old.is_usable(|_| true);
            let mut slices = Vec::new();
            if same {
                old.slices(number, length, |slice, chunk_bytes| slices.push((slice, chunk_bytes)));
            }
            kept.push((number, slices));
        }
        let none = Vec::new();
        assert_eq!(
            kept,
            [
                (0, vec![(slice(1, 0, 4096), 20_000), (slice(2, 100, 4096), 9000)]),
                (1, none.clone()),
                (1, vec![(slice(1, 5000, 8192), 20_000)]),
                (2, none),
                (3, vec![(slice(2, 192, 200), 9000)]),
            ]
        );
        assert!(!old.is_same(3, 201, 13) && !old.is_same(3, BLOCK_BYTES, 13), "the last block is shorter");
    }

    #[test]
    fn columns_that_do_not_fit_are_not_used() {
        let extents = || vec![slice(1, 50, 8192), slice(2, 0, 100)];
        assert!(leaf(extents(), vec![1], vec![]).is_none());
        assert!(leaf(extents(), vec![1, 2, 3], vec![]).is_none());
        let known = |chunk_bytes| leaf(extents(), vec![1, 2], chunk_bytes).map(|old| old.held_bytes());
        assert_eq!(known(vec![9000, 100]), Some(9100));
        // As far as extents reach.
        for odd in [vec![], vec![9000], vec![1, 1, 1]] {
            assert_eq!(known(odd), Some(8342));
        }
    }
}
