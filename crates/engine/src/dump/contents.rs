//! The side that lists entries and fetches their chunks, in the order in which they are written.
//!
//! Which chunks are at hand when is decided beforehand: a list of the last few, kept once for
//! planning and once for real, so that what is planned to be there is there. On purpose not
//! here: encoding.

use super::Lacking;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::reader::{Range as PackRange, Reader, Wanted, coalesce, slice};
use crate::restore::{Selected, chain, path_text};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use holdfast_core::compress::Decompressor;
use holdfast_core::entry::{Content, Digest, Entry, Extent, Kind, Xattrs};
use holdfast_core::id::ChunkId;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::mpsc::Sender;

/// Entries of one batch.
const BATCH_ENTRIES_MAX: usize = 1024;
/// Content of one batch in bytes, unless one file has more.
const BATCH_BYTES_MAX: u64 = 64 << 20;
/// Opened chunks that are kept for what is to come, and how many bytes of them. A database file goes
/// to and fro between as many chunks as it had backups.
const CHUNKS_KEPT: usize = 256;
const KEPT_BYTES_MAX: u64 = 48 << 20;
/// Chunks that are fetched together.
const CHUNKS_AT_ONCE: usize = 4;
/// Content that is handed on at once, in bytes.
const MESSAGE_BYTES: u64 = 1 << 20;
/// Zeros that are handed on at once, in bytes.
const HOLE_BYTES_MAX: u64 = 64 << 20;
/// Entries without content that are handed on at once.
const MESSAGE_OPS: usize = 512;

/// What the writing side is to do.
pub(super) enum Op {
    /// Begin an entry; its key is its name in the archive, its attributes are inline. The path is
    /// that in the snapshot.
    Begin(Box<Entry>, Vec<u8>),
    /// Write another name of a file.
    Link(Box<Entry>, Vec<u8>),
    /// Write a part of a chunk.
    Data(Arc<Vec<u8>>, Range<usize>),
    /// Write so many zeros.
    Hole(u64),
    /// End the entry.
    End,
    /// Do without a file whose content was not kept: its path, and why.
    Lacking(Vec<u8>, String),
}

/// How entries are given.
pub(super) struct Manner {
    /// Further names of a file are links to the first.
    pub as_links: bool,
    pub lacking: Option<Lacking>,
}

/// An entry and what its content is made of.
struct Part {
    entry: Box<Entry>,
    path: Vec<u8>,
    extents: Vec<Extent>,
    link: Option<Vec<u8>>,
    lacking: Option<String>,
}

/// Gives operations until all entries are through, or nobody takes them any more.
pub(super) async fn produce(
    ctx: &Ctx,
    reader: &Reader,
    selected: &mut Selected<'_>,
    first: Option<Entry>,
    manner: &Manner,
    sender: Sender<Vec<Op>>,
) -> Result<()> {
    let mut links = manner.as_links.then(Links::default);
    let (mut planned, mut kept) = (Recent::default(), Recent::default());
    let mut next = first;
    let mut out = Out { sender, ops: Vec::new(), bytes: 0 };
    while next.is_some() {
        let batch = build(reader, selected, &mut next, &mut links, manner).await?;
        let (misses, ends) = plan(&batch, &mut planned);
        let windows: Vec<Vec<ChunkId>> = misses.chunks(CHUNKS_AT_ONCE).map(<[_]>::to_vec).collect();
        let fetched = stream::iter(windows)
            .map(|ids| fetch(ctx, reader, ids))
            .buffered(ctx.workers.threads() + 1)
            .flat_map(stream::iter);
        let mut fetched = std::pin::pin!(fetched);
        for part in batch {
            if ctx.cancel.is_raised() {
                return Err(Error::interrupted());
            }
            if let Some(target) = part.link {
                out.push(Op::Link(part.entry, target), 0).await;
                continue;
            }
            let path = part.path;
            if let Some(what) = part.lacking {
                out.push(Op::Lacking(path, what), 0).await;
                continue;
            }
            let inline = match &part.entry.content {
                Content::Inline(bytes) => Some(Arc::new(bytes.clone())),
                _ => None,
            };
            out.push(Op::Begin(part.entry, path.clone()), 0).await;
            if let Some(bytes) = inline {
                let length = bytes.len();
                out.push(Op::Data(bytes, 0..length), length as u64).await;
            }
            for extent in part.extents {
                match extent {
                    Extent::Hole { length } => out.push_hole(length).await,
                    Extent::Chunk { id, offset, length } => {
                        let end = ends.get(&id).copied().unwrap_or(u32::MAX);
                        let chunk = match kept.find(&id, end) {
                            Some(chunk) => chunk,
                            None => {
                                let next = fetched.next().await;
                                let chunk = next.unwrap_or_else(|| Err(unplanned()));
                                let mut chunk = chunk.map_err(|error| lost(&path, &error))?;
                                chunk.truncate(end as usize);
                                // What is kept takes no more room than is counted for it.
                                chunk.shrink_to(end as usize);
                                let chunk = Arc::new(chunk);
                                kept.keep(id, end, Arc::clone(&chunk));
                                chunk
                            }
                        };
                        let range = offset as usize..offset as usize + length as usize;
                        if range.end > chunk.len() {
                            let what = "its extents do not fit the chunks that they name";
                            return Err(lost(&path, &Error::new(ErrorKind::Damaged, what)));
                        }
                        out.push(Op::Data(chunk, range), length.into()).await;
                    }
                }
            }
            out.push(Op::End, 0).await;
            if out.sender.is_closed() {
                return Ok(());
            }
        }
    }
    out.send().await;
    Ok(())
}

/// A mistake of the plan; never a wrong byte.
fn unplanned() -> Error {
    Error::new(ErrorKind::Damaged, "a chunk that was planned for did not come")
}

fn lost(path: &[u8], error: &Error) -> Error {
    Error::new(ErrorKind::Damaged, format!("{} is damaged: {}", String::from_utf8_lossy(path), chain(error)))
}

/// Fails if a part of the tree could not be read.
pub(super) fn refuse_damage(selected: &Selected<'_>) -> Result<()> {
    match selected.damage.problems.first() {
        Some(problem) => {
            let what = format!("{}: {}", String::from_utf8_lossy(&problem.path), problem.what);
            Err(Error::new(ErrorKind::Damaged, what))
        }
        None => Ok(()),
    }
}

/// Gathers operations into messages.
struct Out {
    sender: Sender<Vec<Op>>,
    ops: Vec<Op>,
    bytes: u64,
}

impl Out {
    async fn push(&mut self, op: Op, bytes: u64) {
        self.ops.push(op);
        self.bytes += bytes;
        if self.bytes >= MESSAGE_BYTES || self.ops.len() >= MESSAGE_OPS {
            self.send().await;
        }
    }

    /// Hands on a hole piece by piece, so that a stopped run does not write zeros for hours.
    async fn push_hole(&mut self, mut length: u64) {
        while length > 0 && !self.sender.is_closed() {
            let part = length.min(HOLE_BYTES_MAX);
            self.push(Op::Hole(part), part).await;
            length -= part;
        }
    }

    async fn send(&mut self) {
        self.bytes = 0;
        let ops = std::mem::take(&mut self.ops);
        // Nobody takes it: the writing side failed, and says why.
        let _ = self.sender.send(ops).await;
    }
}

/// First names of files that have several.
#[derive(Default)]
struct Links(HashMap<[u8; 16], (Vec<u8>, Option<Digest>)>);

impl Links {
    /// The earlier name of the same file.
    fn earlier(&mut self, entry: &Entry) -> Option<Vec<u8>> {
        let group = entry.attributes.link_group.filter(|_| entry.kind != Kind::Directory)?;
        match self.0.get(&group) {
            Some((name, digest)) if *digest == entry.digest => Some(name.clone()),
            Some(_) => None,
            None => {
                self.0.insert(group, (entry.key.clone(), entry.digest));
                None
            }
        }
    }
}

async fn build(
    reader: &Reader,
    selected: &mut Selected<'_>,
    next: &mut Option<Entry>,
    links: &mut Option<Links>,
    manner: &Manner,
) -> Result<Vec<Part>> {
    let (mut batch, mut bytes) = (Vec::new(), 0u64);
    while let Some(mut entry) = next.take() {
        let path = path_text(&entry.key);
        entry.key = selected.relative(&entry);
        if let Xattrs::Chunk(_) = entry.attributes.xattrs {
            let pairs = reader.xattrs(&entry).await.map_err(|error| lost(&path, &error))?;
            entry.attributes.xattrs = Xattrs::Inline(pairs);
        }
        let lacking = match (&entry.attributes.xattrs, manner.lacking) {
            (Xattrs::Inline(pairs), Some(lacking)) => lacking(pairs),
            _ => None,
        };
        let link = links.as_mut().and_then(|links| links.earlier(&entry));
        let extents = match &link {
            Some(_) => Vec::new(),
            None => {
                let extents = reader.extents_ahead(&entry, selected.to_come()).await;
                extents.map_err(|error| lost(&path, &error))?
            }
        };
        check_length(&entry, &extents).map_err(|error| lost(&path, &error))?;
        if link.is_none() {
            bytes = bytes.saturating_add(entry.size);
        }
        batch.push(Part { entry: Box::new(entry), path, extents, link, lacking });
        *next = selected.next().await;
        refuse_damage(selected)?;
        if batch.len() >= BATCH_ENTRIES_MAX || bytes >= BATCH_BYTES_MAX {
            break;
        }
    }
    Ok(batch)
}

/// The length goes into the stream before the content does, so it has to be right.
fn check_length(entry: &Entry, extents: &[Extent]) -> Result<()> {
    let length = match &entry.content {
        Content::Inline(bytes) => bytes.len() as u64,
        Content::None => 0,
        Content::Extents(_) | Content::Tree(_) if extents.is_empty() => return Ok(()),
        Content::Extents(_) | Content::Tree(_) => {
            extents.iter().fold(0u64, |sum, extent| sum.saturating_add(extent.length()))
        }
    };
    if entry.kind != Kind::File || length == entry.size {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Damaged, "its extents do not add up to its length"))
}

/// Tells which chunks have to be fetched, in order, and of each one how much is wanted.
fn plan(batch: &[Part], planned: &mut Recent<()>) -> (Vec<ChunkId>, HashMap<ChunkId, u32>) {
    let (mut misses, mut ends) = (Vec::new(), HashMap::<ChunkId, u32>::new());
    let extents = || batch.iter().flat_map(|part| &part.extents);
    for extent in extents() {
        if let Extent::Chunk { id, offset, length } = *extent {
            let end = ends.entry(id).or_default();
            *end = (*end).max(offset.saturating_add(length));
        }
    }
    for extent in extents() {
        if let Extent::Chunk { id, .. } = extent
            && planned.find(id, ends[id]).is_none()
        {
            planned.keep(*id, ends[id], ());
            misses.push(*id);
        }
    }
    (misses, ends)
}

/// The last few chunks that were asked for, the latest last, each from its start to some end.
struct Recent<T> {
    kept: VecDeque<(ChunkId, u32, T)>,
    bytes: u64,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { kept: VecDeque::new(), bytes: 0 }
    }
}

impl<T: Clone> Recent<T> {
    /// A chunk, if it is kept up to an end at least; it is the latest then.
    fn find(&mut self, id: &ChunkId, end: u32) -> Option<T> {
        let at = self.kept.iter().rposition(|(other, ..)| other == id)?;
        let found = self.kept.remove(at)?;
        if found.1 < end {
            self.bytes -= u64::from(found.1);
            return None;
        }
        let value = found.2.clone();
        self.kept.push_back(found);
        Some(value)
    }

    fn keep(&mut self, id: ChunkId, end: u32, value: T) {
        self.bytes += u64::from(end);
        self.kept.push_back((id, end, value));
        while self.kept.len() > CHUNKS_KEPT || self.bytes > KEPT_BYTES_MAX && self.kept.len() > 1 {
            let gone = self.kept.pop_front();
            self.bytes -= gone.map_or(0, |gone| u64::from(gone.1));
        }
    }
}

/// Fetches chunks, those close together in one call; in the order asked for.
async fn fetch(ctx: &Ctx, reader: &Reader, ids: Vec<ChunkId>) -> Vec<Result<Vec<u8>>> {
    let places = ids.iter().filter_map(|id| Some(Wanted { id: *id, place: reader.index.place(id).ok()?? }));
    let mut opened: HashMap<ChunkId, Vec<u8>> = HashMap::new();
    for range in coalesce(places.collect()) {
        // What fails here is tried again alone below.
        let Ok(bytes) = reader.fetch(range.pack, range.offset, range.length).await else { continue };
        let reader = reader.clone();
        opened.extend(ctx.workers.run(move || open(&reader, &range, &bytes)).await);
    }
    let mut chunks = Vec::with_capacity(ids.len());
    for id in ids {
        chunks.push(match opened.remove(&id) {
            Some(chunk) => Ok(chunk),
            None => reader.data(&id).await,
        });
    }
    chunks
}

fn open(reader: &Reader, range: &PackRange, bytes: &Bytes) -> Vec<(ChunkId, Vec<u8>)> {
    let mut decompressor = Decompressor::new();
    let mut opened = Vec::with_capacity(range.chunks.len());
    for chunk in &range.chunks {
        let mut sealed = slice(bytes, range, chunk.place.offset, chunk.place.length).to_vec();
        let mut plaintext = Vec::new();
        if reader.open_data(chunk, &mut sealed, &mut decompressor, &mut plaintext).is_ok() {
            opened.push((chunk.id, plaintext));
        }
    }
    opened
}
