//! Reads one large file: cuts it, hashes it, and hands on the chunks that are new.
//!
//! On purpose not here: which files are large ([`super::driver`]), and database files
//! ([`super::blocks`]).

use super::blocks::{BlockFile, read_blocks};
use crate::packer::{Claim, Packer, Scratch};
use crate::source::{ContentStream, Details, ItemError, ItemReader, Piece, ReadStatus, Stat};
use crate::workers::Workers;
use holdfast_core::chunker::{CHUNK_BYTES_MAX, Chunker};
use holdfast_core::entry::{Content, Digest, EXTENTS_INLINE_MAX, Extent};
use holdfast_core::id::ChunkId;
use holdfast_core::index::ChunkKey;
use holdfast_core::keys::ChunkKind;
use holdfast_core::page::ExtentTreeBuilder;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes asked of the source at a time.
const READ_BYTES: usize = 1 << 20;
/// A file that changes while it is read is read so often.
pub(super) const ATTEMPTS: u32 = 3;

/// What reading a large file gave.
pub(super) struct LargeFile {
    pub stat: Stat,
    pub details: Details,
    pub status: ReadStatus,
    pub size: u64,
    pub content: Content,
    pub digest: Digest,
    pub closure: Vec<(ChunkKind, ChunkKey)>,
    pub bytes_read: u64,
    /// Whether a part of what the last snapshot has of it could not be looked up.
    pub map_lost: bool,
}

/// Reads a file, again if it changed meanwhile; a database file block by block.
pub(super) fn read_large(
    reader: &dyn ItemReader,
    item: usize,
    packer: &Arc<Packer>,
    workers: &Workers,
    progress: &dyn Fn(u64),
    blocks: Option<&BlockFile>,
) -> Result<LargeFile, ItemError> {
    let mut scratch = packer.scratch();
    let mut bytes_read = 0;
    // What was read and is torn: better than nothing where it cannot be read again.
    let mut torn: Option<LargeFile> = None;
    for attempt in 1.. {
        let read = reader.open(item).and_then(|mut stream| match blocks {
            Some(file) => read_blocks(&mut *stream, packer, workers, &mut scratch, progress, file),
            None => read_once(&mut *stream, packer, workers, &mut scratch, progress),
        });
        let mut file = match read {
            Err(error) if error.is_stale() && attempt < ATTEMPTS => continue,
            Err(error) => match torn.take() {
                Some(file) => {
                    packer.give_back(scratch);
                    return Ok(LargeFile { bytes_read, ..file });
                }
                None => return Err(error),
            },
            Ok(file) => file,
        };
        bytes_read += file.bytes_read;
        let grew = file.status == ReadStatus::Grown && !packer.stopped();
        if grew && front(reader, item, &file, blocks, packer) == Front::Other {
            file.status = ReadStatus::Torn;
        }
        if file.status != ReadStatus::Torn || attempt == ATTEMPTS || packer.stopped() {
            file.bytes_read = bytes_read;
            packer.give_back(scratch);
            return Ok(file);
        }
        torn = Some(file);
    }
    unreachable!("the last attempt returns")
}

/// What the front of a file that is longer now is, beside what was read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Front {
    /// The same, or nobody can tell: something else has its name, or nothing.
    Same,
    /// Something else: it was written over as well.
    Other,
}

/// Compares the front of a file that grew with what was read.
fn front(
    reader: &dyn ItemReader,
    item: usize,
    file: &LargeFile,
    blocks: Option<&BlockFile>,
    packer: &Packer,
) -> Front {
    let Ok(mut stream) = reader.open(item) else { return Front::Same };
    let now = stream.opened().0;
    if (now.inode, now.device_of) != (file.stat.inode, file.stat.device_of) {
        return Front::Same;
    }
    let (mut hasher, mut left) = (ContentHasher::default(), file.size);
    let mut buffer = vec![0; READ_BYTES];
    while left > 0 && !packer.stopped() {
        match stream.read(&mut buffer) {
            Ok(Piece::Data(length)) => {
                let part = left.min(length as u64);
                hasher.data(&buffer[..part as usize]);
                left -= part;
            }
            // Of a database file holes are blocks of zeros.
            Ok(Piece::Hole(length)) if blocks.is_some() => {
                let mut zeros = length.min(left);
                left -= zeros;
                buffer.fill(0);
                while zeros > 0 {
                    let part = zeros.min(READ_BYTES as u64);
                    hasher.data(&buffer[..part as usize]);
                    zeros -= part;
                }
            }
            Ok(Piece::Hole(length)) => {
                hasher.hole(length.min(left));
                left -= length.min(left);
            }
            Ok(Piece::End) => return Front::Other,
            Err(_) => return Front::Same,
        }
    }
    if left > 0 || hasher.finish() == file.digest { Front::Same } else { Front::Other }
}

fn read_once(
    stream: &mut dyn ContentStream,
    packer: &Arc<Packer>,
    workers: &Workers,
    scratch: &mut Scratch,
    progress: &dyn Fn(u64),
) -> Result<LargeFile, ItemError> {
    let identifier = &packer.sealer().identifier;
    let mut cutter = Cutter::new(packer, workers);
    let mut chunker = Chunker::new(&identifier.gear);
    let mut hasher = ContentHasher::default();
    // The chunk that is growing, and then what was read beyond its cut.
    let (ask, most) = buffer_bytes(stream.opened().0.size);
    let mut buffer: Vec<u8> = Vec::with_capacity(most);
    let mut bytes_read = 0u64;
    while !packer.stopped() {
        let filled = buffer.len();
        buffer.resize(filled + ask, 0);
        match stream.read(&mut buffer[filled..])? {
            Piece::Data(length) => {
                buffer.truncate(filled + length);
                hasher.data(&buffer[filled..]);
                cutter.layout.push_back(Run { length: length as u64, hole: false });
                bytes_read += length as u64;
                progress(length as u64);
                let mut start = 0;
                let mut scanned = filled;
                while let Some(cut) = chunker.cut(&buffer[scanned..]) {
                    cutter.chunk(&buffer[start..scanned + cut], scratch);
                    start = scanned + cut;
                    scanned = start;
                }
                buffer.drain(..start);
            }
            Piece::Hole(length) => {
                buffer.truncate(filled);
                hasher.hole(length);
                cutter.layout.push_back(Run { length, hole: true });
            }
            Piece::End => {
                buffer.truncate(filled);
                break;
            }
        }
    }
    if !buffer.is_empty() {
        cutter.chunk(&buffer, scratch);
    }
    let status = stream.finish()?;
    let (stat, details) = stream.opened();
    let (stat, details) = (stat.clone(), details.clone());
    let (content, size, closure) = cutter.finish();
    let (digest, map_lost) = (hasher.finish(), false);
    Ok(LargeFile { stat, details, status, size, content, digest, closure, bytes_read, map_lost })
}

/// How much to read at a time, and how long the buffer may get, for a file of a size; a stream
/// does not know its own.
fn buffer_bytes(size: u64) -> (usize, usize) {
    let size = if size == 0 { u64::MAX } else { size };
    // One byte more than there is shows the end.
    let ask = (READ_BYTES as u64).min(size.saturating_add(1));
    (ask as usize, (CHUNK_BYTES_MAX as u64).min(size) as usize + ask as usize)
}

/// Stores a chunk unless it is known; returns its id. Another thread compresses if one is free; else
/// this one does.
pub(super) fn store_chunk(
    packer: &Arc<Packer>,
    workers: &Workers,
    plaintext: &[u8],
    scratch: &mut Scratch,
) -> ChunkId {
    let id = packer.sealer().identifier.chunk(ChunkKind::Data, plaintext);
    if packer.claim(ChunkKind::Data, &id) == Claim::Known {
        return id;
    }
    let Some(job) = workers.has_idle().then(|| packer.job_begins()).flatten() else {
        packer.store_data(&id, plaintext, scratch);
        return id;
    };
    let plaintext = plaintext.to_vec();
    workers.submit_urgent(move || {
        let packer = job.packer();
        let mut scratch = packer.scratch();
        packer.store_data(&id, &plaintext, &mut scratch);
        packer.give_back(scratch);
    });
    id
}

/// A stretch of the file: data or hole.
struct Run {
    length: u64,
    hole: bool,
}

/// Turns chunks of the data, holes left out, into extents of the file.
struct Cutter<'a> {
    packer: &'a Arc<Packer>,
    workers: &'a Workers,
    layout: VecDeque<Run>,
    extents: Vec<Extent>,
    tree: Option<ExtentTreeBuilder>,
    closure: Vec<(ChunkKind, ChunkKey)>,
    size: u64,
}

impl<'a> Cutter<'a> {
    fn new(packer: &'a Arc<Packer>, workers: &'a Workers) -> Self {
        let (layout, extents, closure) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { packer, workers, layout, extents, tree: None, closure, size: 0 }
    }

    fn chunk(&mut self, plaintext: &[u8], scratch: &mut Scratch) {
        let id = store_chunk(self.packer, self.workers, plaintext, scratch);
        self.closure.push((ChunkKind::Data, ChunkKey::from(&id)));
        self.place(id, plaintext.len() as u64);
    }

    /// Lays the data of one chunk over the runs of the file that it came from.
    fn place(&mut self, id: ChunkId, length: u64) {
        let mut offset = 0;
        while offset < length {
            let Some(run) = self.layout.front_mut() else { return };
            if run.hole {
                let length = run.length;
                self.layout.pop_front();
                self.extent(Extent::Hole { length });
                continue;
            }
            let part = run.length.min(length - offset);
            run.length -= part;
            if run.length == 0 {
                self.layout.pop_front();
            }
            self.extent(Extent::Chunk { id, offset: offset as u32, length: part as u32 });
            offset += part;
        }
    }

    fn extent(&mut self, extent: Extent) {
        self.size += extent.length();
        if let Some(last) = self.extents.last_mut()
            && let Some(joined) = join(last, &extent)
        {
            *last = joined;
            return;
        }
        self.extents.push(extent);
        // The last one may still grow.
        if self.tree.is_some() || self.extents.len() > EXTENTS_INLINE_MAX {
            let done = self.extents.len() - 1;
            self.grow_tree(done);
        }
    }

    fn grow_tree(&mut self, count: usize) {
        let (packer, closure) = (self.packer, &mut self.closure);
        let tree =
            self.tree.get_or_insert_with(|| ExtentTreeBuilder::new(packer.sealer().identifier.clone()));
        for extent in self.extents.drain(..count) {
            tree.push(extent, &mut |id, page| {
                closure.push((ChunkKind::Page, ChunkKey::from(&id)));
                packer.store_page(id, &page);
            });
        }
    }

    fn finish(mut self) -> (Content, u64, Vec<(ChunkKind, ChunkKey)>) {
        while let Some(run) = self.layout.pop_front() {
            // Only holes can be left: all data was cut.
            self.extent(Extent::Hole { length: run.length });
        }
        if self.tree.is_some() {
            let count = self.extents.len();
            self.grow_tree(count);
        }
        let Some(tree) = self.tree else {
            let content =
                if self.extents.is_empty() { Content::None } else { Content::Extents(self.extents) };
            return (content, self.size, Vec::new());
        };
        let (packer, mut closure) = (self.packer, self.closure);
        let root = tree.finish(&mut |id, page| {
            closure.push((ChunkKind::Page, ChunkKey::from(&id)));
            packer.store_page(id, &page);
        });
        (Content::Tree(root), self.size, closure)
    }
}

/// Joins an extent to the one before where they continue each other.
pub(super) fn join(last: &Extent, next: &Extent) -> Option<Extent> {
    match (*last, *next) {
        (
            Extent::Chunk { id, offset, length },
            Extent::Chunk { id: next_id, offset: next_offset, length: more },
        ) if id == next_id && offset + length == next_offset => {
            Some(Extent::Chunk { id, offset, length: length + more })
        }
        (Extent::Hole { length }, Extent::Hole { length: more }) => {
            Some(Extent::Hole { length: length + more })
        }
        _ => None,
    }
}

/// Hashes a content as FORMAT.md says: plainly, or with its runs where it has holes.
#[derive(Default)]
pub(crate) struct ContentHasher {
    data: blake3::Hasher,
    runs: Vec<(bool, u64)>,
    holes: bool,
}

impl ContentHasher {
    /// Takes the next data in.
    pub(crate) fn data(&mut self, bytes: &[u8]) {
        self.data.update(bytes);
        self.run(false, bytes.len() as u64);
    }

    /// Takes a hole in.
    pub(crate) fn hole(&mut self, length: u64) {
        self.holes = true;
        self.run(true, length);
    }

    fn run(&mut self, hole: bool, length: u64) {
        match self.runs.last_mut() {
            Some((last, total)) if *last == hole => *total += length,
            _ => self.runs.push((hole, length)),
        }
    }

    /// Returns the digest.
    pub(crate) fn finish(self) -> Digest {
        let data = *self.data.finalize().as_bytes();
        if !self.holes {
            return data;
        }
        let mut framed = blake3::Hasher::new();
        framed.update(b"holdfast 1 holes");
        framed.update(&data);
        for (hole, length) in self.runs {
            framed.update(&[u8::from(hole)]);
            framed.update(&length.to_le_bytes());
        }
        *framed.finalize().as_bytes()
    }
}
