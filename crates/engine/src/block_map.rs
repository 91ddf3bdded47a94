//! The block map: pages of the trees of extents of database files, in a file of the local cache folder.
//!
//! Whoever compares blocks with those of the last snapshot reads their hashes here: a writer cannot
//! read them in the repository, and asking for each page would take a call each. The file is only a
//! shelf of pages. Each is verified by its id when it is read, so a page that is wrong, or of another
//! snapshot, counts as not there. On purpose not here: comparing ([`crate::backup`]).

use crate::private_files::{Temporary, create_private_folder};
use crate::reader::Reader;
use crate::tree::Stretch;
use crate::workers::lock;
use holdfast_core::chunk::PageText;
use holdfast_core::crypto::Secret;
use holdfast_core::entry::Extent;
use holdfast_core::id::{ChunkId, RepositoryId, SessionId, StreamId};
use holdfast_core::index::ChunkKey;
use holdfast_core::keys::Identifier;
use holdfast_core::page::{Blocks, Page, PageBody};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const MAGIC: [u8; 8] = *b"HFDblks1";
/// Key, offset, lengths of references and body.
const ROW_BYTES: usize = 24 + 8 + 4 + 4;
/// Rows, where they begin, magic, repository, stream, snapshot, hash.
const FOOT_BYTES: usize = 8 + 8 + 8 + 16 + 16 + 16 + 32;
/// Pages that are read from the repository together.
const PAGES_AT_ONCE: usize = 64;
/// Rows are read and hashed so many at a time.
const ROWS_AT_ONCE: usize = 4096;

/// Which map it is: nothing else of a map is believed without a look at its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MapName {
    pub repository: RepositoryId,
    pub stream: StreamId,
    pub snapshot: SessionId,
}

impl MapName {
    fn folder(&self, cache: &Path) -> PathBuf {
        cache.join(self.repository.to_string()).join("blocks")
    }

    fn path(&self, cache: &Path) -> PathBuf {
        self.folder(cache).join(format!("{}-{}", self.stream, self.snapshot))
    }

    fn encode(&self) -> [u8; 56] {
        let mut bytes = [0; 56];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..24].copy_from_slice(self.repository.bytes());
        bytes[24..40].copy_from_slice(self.stream.bytes());
        bytes[40..].copy_from_slice(self.snapshot.bytes());
        bytes
    }
}

/// Where a page lies in a map.
#[derive(Debug, Clone, Copy)]
struct Row {
    key: ChunkKey,
    offset: u64,
    refs: u32,
    body: u32,
}

impl Row {
    fn encode(&self) -> [u8; ROW_BYTES] {
        let mut bytes = [0; ROW_BYTES];
        bytes[..24].copy_from_slice(&self.key.0);
        bytes[24..32].copy_from_slice(&self.offset.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.refs.to_le_bytes());
        bytes[36..].copy_from_slice(&self.body.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; ROW_BYTES]) -> Self {
        let mut key = ChunkKey([0; 24]);
        key.0.copy_from_slice(&bytes[..24]);
        let number = |from: usize| {
            let mut number = [0; 8];
            number[..(ROW_BYTES - from).min(8)].copy_from_slice(&bytes[from..ROW_BYTES.min(from + 8)]);
            u64::from_le_bytes(number)
        };
        Self { key, offset: number(24), refs: number(32) as u32, body: number(36) as u32 }
    }
}

/// Writes the next map: pages in any order, from any thread.
pub(crate) struct BlockMapWriter {
    folder: PathBuf,
    state: Mutex<Writing>,
}

struct Writing {
    temporary: Temporary,
    /// None once writing failed.
    file: Option<BufWriter<File>>,
    trouble: Option<io::Error>,
    offset: u64,
    rows: HashMap<ChunkKey, Row>,
}

impl BlockMapWriter {
    /// Starts a map; one that was left unfinished by a run that died gives way.
    pub(crate) fn create(cache: &Path, name: &MapName) -> io::Result<Self> {
        let folder = name.folder(cache);
        create_private_folder(&folder)?;
        let temporary = Temporary::at(folder.join(format!("{}.tmp", name.stream)));
        let file = File::options().create(true).truncate(true).write(true).open(temporary.path())?;
        let file = Some(BufWriter::with_capacity(256 << 10, file));
        let state = Writing { temporary, file, trouble: None, offset: 0, rows: HashMap::new() };
        Ok(Self { folder: cache.to_owned(), state: Mutex::new(state) })
    }

    /// Puts a page on the shelf. A failure shows at the end: the run does not need the map.
    pub(crate) fn page(&self, id: &ChunkId, page: &PageText) {
        let mut state = lock(&self.state);
        let (key, offset) = (ChunkKey::from(id), state.offset);
        if state.rows.contains_key(&key) {
            return;
        }
        let Some(file) = &mut state.file else { return };
        if let Err(error) = file.write_all(&page.refs).and_then(|()| file.write_all(&page.body)) {
            state.trouble = Some(error);
            state.file = None;
            return;
        }
        let (refs, body) = (page.refs.len() as u32, page.body.len() as u32);
        state.offset += u64::from(refs) + u64::from(body);
        state.rows.insert(key, Row { key, offset, refs, body });
    }

    /// Whether a page is on the shelf.
    fn has(&self, id: &ChunkId) -> bool {
        lock(&self.state).rows.contains_key(&ChunkKey::from(id))
    }

    /// Ends the map as that of a snapshot and puts it beside those that are there.
    pub(crate) fn commit(&self, name: &MapName, key: &Secret) -> io::Result<()> {
        let state = &mut *lock(&self.state);
        if let Some(error) = state.trouble.take() {
            return Err(error);
        }
        let mut file = state.file.take().ok_or(io::ErrorKind::Other)?;
        let mut rows: Vec<Row> = state.rows.drain().map(|(_, row)| row).collect();
        rows.sort_unstable_by_key(|row| row.key);
        let mut hasher = blake3::Hasher::new_keyed(key.expose());
        let mut write = |bytes: &[u8]| {
            hasher.update(bytes);
            file.write_all(bytes)
        };
        rows.iter().try_for_each(|row| write(&row.encode()))?;
        write(&(rows.len() as u64).to_le_bytes())?;
        write(&state.offset.to_le_bytes())?;
        write(&name.encode())?;
        file.write_all(hasher.finalize().as_bytes())?;
        file.flush()?;
        state.temporary.put_in_force(&name.path(&self.folder))
    }
}

/// Deletes the maps of a stream but one. Whatever cannot be deleted takes room and does no harm.
pub(crate) fn keep_only(cache: &Path, name: &MapName) {
    let (path, stream) = (name.path(cache), format!("{}-", name.stream));
    let Ok(found) = std::fs::read_dir(name.folder(cache)) else { return };
    let others = found.filter_map(|entry| Some(entry.ok()?.path())).filter(|other| {
        let named = other.file_name().and_then(|name| name.to_str());
        *other != path && named.is_some_and(|name| name.starts_with(&stream))
    });
    others.for_each(|other| drop(std::fs::remove_file(other)));
}

/// A map in force.
pub(crate) struct BlockMap {
    file: File,
    rows: Vec<Row>,
    identifier: Identifier,
}

impl BlockMap {
    /// Opens the map of a snapshot; `None` if there is none, or it is broken.
    pub(crate) fn open(cache: &Path, name: &MapName, identifier: &Identifier) -> Option<Self> {
        let file = File::open(name.path(cache)).ok()?;
        let rows = read_rows(&file, name, identifier.cache_key()).ok()?;
        Some(Self { file, rows, identifier: identifier.clone() })
    }

    /// Takes the tree of a file that was not read over to the next map, unless that has it.
    pub(crate) fn carry(&self, root: ChunkId, next: &BlockMapWriter) {
        let mut todo = vec![root];
        while let Some(id) = todo.pop() {
            if next.has(&id) {
                continue;
            }
            let Some((text, page)) = self.text(&id) else { continue };
            next.page(&id, &text);
            todo.extend(page.refs.children);
        }
    }

    /// A page, if it is there and whole.
    fn text(&self, id: &ChunkId) -> Option<(PageText, Page)> {
        let key = ChunkKey::from(id);
        let row = self.rows[self.rows.binary_search_by_key(&key, |row| row.key).ok()?];
        let mut refs = vec![0; row.refs as usize];
        self.file.read_exact_at(&mut refs, row.offset).ok()?;
        let mut body = vec![0; row.body as usize];
        self.file.read_exact_at(&mut body, row.offset + u64::from(row.refs)).ok()?;
        let text = PageText { refs, body };
        let page = (text.id(&self.identifier) == *id).then(|| Page::decode(&text).ok()).flatten()?;
        Some((text, page))
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the block map is damaged")
}

fn read_rows(file: &File, name: &MapName, key: &Secret) -> io::Result<Vec<Row>> {
    let size = file.metadata()?.len();
    let mut foot = [0; FOOT_BYTES];
    let foot_at = size.checked_sub(FOOT_BYTES as u64).ok_or_else(broken)?;
    file.read_exact_at(&mut foot, foot_at)?;
    let number = |from: usize| u64::from_le_bytes(foot[from..from + 8].try_into().unwrap_or_default());
    let (count, rows_at) = (number(0), number(8));
    let end = count.checked_mul(ROW_BYTES as u64).and_then(|bytes| bytes.checked_add(rows_at));
    if end != Some(foot_at) || foot[16..FOOT_BYTES - 32] != name.encode() {
        return Err(broken());
    }
    let mut hasher = blake3::Hasher::new_keyed(key.expose());
    let (mut rows, mut at) = (Vec::with_capacity(count as usize), rows_at);
    let mut buffer = vec![0; ROW_BYTES * ROWS_AT_ONCE.min(count as usize)];
    while at < foot_at {
        let part = buffer.len().min((foot_at - at) as usize);
        file.read_exact_at(&mut buffer[..part], at)?;
        hasher.update(&buffer[..part]);
        rows.extend(buffer[..part].as_chunks::<ROW_BYTES>().0.iter().map(Row::decode));
        at += part as u64;
    }
    hasher.update(&foot[..FOOT_BYTES - 32]);
    // Only rows that end before the table are taken: nobody reads beyond the pages.
    let inside = |row: &Row| row.offset.saturating_add(u64::from(row.refs) + u64::from(row.body)) <= rows_at;
    if hasher.finalize().as_bytes()[..] == foot[FOOT_BYTES - 32..] && rows.iter().all(inside) {
        Ok(rows)
    } else {
        Err(broken())
    }
}

/// A leaf of the last snapshot.
pub(crate) struct PastLeaf {
    /// Where in the file it ends.
    pub end: u64,
    pub extents: Vec<Extent>,
    pub blocks: Blocks,
    /// The chunks that it names, in the order of [`Blocks::chunk_bytes`].
    pub chunks: Vec<ChunkId>,
}

/// The leaves of one file as the last snapshot has it, one after the other: never all at once.
pub(crate) struct PastFile {
    map: Arc<BlockMap>,
    /// What is left, the next one last.
    stack: Vec<Stretch>,
    /// Whether pages were not to be had.
    pub lost: bool,
}

impl PastFile {
    pub(crate) fn new(map: &Arc<BlockMap>, root: ChunkId, size: u64) -> Self {
        let stack = vec![Stretch { id: root, level: None, start: 0, end: size }];
        Self { map: Arc::clone(map), stack, lost: false }
    }

    /// The leaf that begins at an offset; offsets are asked for in order.
    pub(crate) fn leaf_at(&mut self, start: u64) -> Option<PastLeaf> {
        while let Some(stretch) = self.stack.pop_if(|stretch| stretch.start <= start) {
            if stretch.end <= start {
                continue;
            }
            let Some((_, page)) = self.map.text(&stretch.id) else {
                self.lost = true;
                continue;
            };
            if stretch.level.is_some_and(|level| level != page.level) {
                continue;
            }
            match page.body {
                PageBody::Children(children) if page.level > 0 => {
                    let below = stretch.split(&children, page.level - 1).unwrap_or_default();
                    self.stack.extend(below.into_iter().rev());
                }
                PageBody::Extents { start: at, extents, blocks }
                    if at == start && stretch.is_filled(at, &extents) =>
                {
                    return Some(PastLeaf { end: stretch.end, extents, blocks, chunks: page.refs.chunks });
                }
                _ => {}
            }
        }
        None
    }
}

/// Copies trees of files from the repository onto a map; tells whether all of them could be read.
pub(crate) async fn shelve(reader: &Reader, roots: Vec<ChunkId>, map: &BlockMapWriter) -> bool {
    let (mut todo, mut seen, mut whole) = (roots, HashSet::new(), true);
    todo.retain(|root| seen.insert(*root));
    while !todo.is_empty() {
        let batch = todo.split_off(todo.len().saturating_sub(PAGES_AT_ONCE));
        let texts = reader.texts(&batch).await;
        // What did not fit into memory is asked for again.
        todo.extend(&batch[texts.len()..]);
        for (id, text) in batch.iter().zip(texts) {
            let page = text.ok().and_then(|text| Some((Page::decode(&text).ok()?, text)));
            whole &= page.is_some();
            let Some((page, text)) = page else { continue };
            map.page(id, &text);
            todo.extend(page.refs.children.into_iter().filter(|child| seen.insert(*child)));
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn a_map_that_was_put_in_force_takes_nothing_of_the_next_with_it() {
        let (cache, key) = (tempfile::tempdir().unwrap(), Secret::new([1; 32]));
        let of = |snapshot| MapName {
            repository: RepositoryId([2; 16]),
            stream: StreamId([3; 16]),
            snapshot: SessionId([snapshot; 16]),
        };
        let (first, second) = (of(4), of(5));
        let ended = BlockMapWriter::create(cache.path(), &first).unwrap();
        ended.commit(&first, &key).unwrap();
        // A worker may still hold the one that ended when the next run begins.
        let next = BlockMapWriter::create(cache.path(), &second).unwrap();
        drop(ended);
        next.commit(&second, &key).unwrap();
        assert!(second.path(cache.path()).exists());
        drop(BlockMapWriter::create(cache.path(), &first).unwrap());
        let left = std::fs::read_dir(first.folder(cache.path())).unwrap().count();
        assert_eq!(left, 2, "what was never put in force goes away with its writer");
    }
}
