//! Writes the local copy of a segment: rows as they come, in memory while they are few, then in a
//! file.
//!
//! A file lies in the cache folder under a name of its own until it is whole; where no file can be
//! kept there, it has no name at all. Several processes share the folder and wait for nobody: who
//! finds an unfinished file in its way takes it away, and its writer goes on without a name. On
//! purpose not here: reading ([`super::segment`]).

use super::table::{
    BLOCK_BYTES, CHUNK_MARK_BYTES, Counts, HASH_BYTES, PACK_MARK_BYTES, PackMark, SESSION_MARK_BYTES, Table,
    front,
};
use crate::private_files::create_private_folder;
use bytes::Bytes;
use holdfast_core::FormatError;
use holdfast_core::crypto::{Secret, keyed_hash};
use holdfast_core::index::{ChunkRow, PackRow};
use holdfast_core::keys::SessionRow;
use holdfast_core::segment::TableRow;
use holdfast_core::wire::{Reader, Writer};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A copy that is not longer stays in memory, in bytes. It is also what is written at a time.
pub(super) const MEMORY_BYTES_MAX: usize = 1 << 20;
/// Names that are tried for a file before it does without.
const NAMES_TRIED: usize = 16;

/// What is known of a copy without reading its blocks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Footer {
    pub counts: Counts,
    /// Member and session of each session row.
    pub sessions: Vec<[u8; SESSION_MARK_BYTES]>,
    /// The first row of each block of packs.
    pub packs: Vec<PackMark>,
    /// The front of the first key of each block of chunks.
    pub chunks: Vec<u64>,
    /// The front of the hash of each block.
    pub hashes: Vec<u64>,
}

impl Footer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::from_vec(Vec::with_capacity(self.counts.footer_bytes() as usize));
        self.sessions.iter().for_each(|mark| writer.raw(mark));
        self.packs.iter().for_each(|mark| writer.raw(&mark.0));
        self.chunks.iter().chain(&self.hashes).for_each(|number| writer.u64(*number));
        writer.into_vec()
    }

    pub(super) fn decode(bytes: &[u8], counts: Counts) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let mut part = |items: u64, bytes: usize| reader.raw(items as usize * bytes);
        let sessions = part(counts.sessions, SESSION_MARK_BYTES)?.as_chunks().0.to_vec();
        let packs = part(counts.blocks(Table::Packs), PACK_MARK_BYTES)?.as_chunks().0;
        let packs = packs.iter().map(|mark| PackMark(*mark)).collect();
        let numbers =
            |bytes: &[u8]| bytes.as_chunks().0.iter().map(|part| u64::from_le_bytes(*part)).collect();
        let chunks = numbers(part(counts.blocks(Table::Chunks), CHUNK_MARK_BYTES)?);
        let hashes = numbers(part(counts.all_blocks(), HASH_BYTES)?);
        reader.end()?;
        Ok(Self { counts, sessions, packs, chunks, hashes })
    }
}

/// The front of a block's hash. The key is the repository's, so that no block of another
/// repository, and none that somebody made up, passes for ours.
pub(super) fn hash_front(key: &Secret, block: &[u8]) -> u64 {
    let mut front = [0; HASH_BYTES];
    front.copy_from_slice(&keyed_hash(key, block)[..HASH_BYTES]);
    u64::from_le_bytes(front)
}

/// The blocks of a copy.
#[derive(Debug)]
pub(super) enum Body {
    Memory(Bytes),
    File(File),
}

/// A file that goes away with its writer, unless it gets its lasting name.
#[derive(Debug)]
pub(super) struct Temporary(PathBuf);

impl Temporary {
    /// Makes a file beside those in a folder, which is made too.
    pub(super) fn create(folder: &Path, name: &str) -> io::Result<(File, Self)> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        create_private_folder(folder)?;
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for _ in 0..NAMES_TRIED {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{name}.{}-{number}.tmp", std::process::id()));
            match File::options().create_new(true).write(true).read(true).mode(0o600).open(&path) {
                Ok(file) => return Ok((file, Self(path))),
                // Left by a process that had our number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Gives the file its lasting name.
    pub(super) fn keep(self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.0, path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing under this name.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Blocks on their way into memory or a file.
#[derive(Debug)]
struct Scratch {
    /// Where a file is kept; without one it has no name.
    folder: Option<PathBuf>,
    /// What a file's name begins with.
    name: String,
    /// What is not in the file yet.
    buffer: Vec<u8>,
    file: Option<(File, Option<Temporary>)>,
    written: u64,
}

impl Scratch {
    fn push(&mut self, block: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(block);
        if self.buffer.len() > MEMORY_BYTES_MAX { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(self.create()?);
        }
        if let Some((file, name)) = &self.file {
            match file.write_all_at(&self.buffer, self.written) {
                Ok(()) => {}
                // The cache folder's disk may be full, and another one not.
                Err(_) if name.is_some() => self.move_away()?,
                Err(error) => return Err(error),
            }
        }
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn create(&self) -> io::Result<(File, Option<Temporary>)> {
        if let Some(folder) = &self.folder
            && let Ok((file, name)) = Temporary::create(folder, &self.name)
        {
            return Ok((file, Some(name)));
        }
        Ok((nameless(&self.name)?, None))
    }

    /// Goes on in a file without a name, elsewhere.
    fn move_away(&mut self) -> io::Result<()> {
        let away = nameless(&self.name)?;
        if let Some((file, _)) = &self.file {
            let mut part = vec![0; MEMORY_BYTES_MAX];
            let mut at = 0;
            while at < self.written {
                let length = (self.written - at).min(MEMORY_BYTES_MAX as u64) as usize;
                file.read_exact_at(&mut part[..length], at)?;
                away.write_all_at(&part[..length], at)?;
                at += length as u64;
            }
        }
        away.write_all_at(&self.buffer, self.written)?;
        self.file = Some((away, None));
        Ok(())
    }

    fn finish(mut self) -> io::Result<(Body, Option<Temporary>)> {
        if self.file.is_some() {
            self.flush()?;
        }
        Ok(match self.file {
            Some((file, name)) => (Body::File(file), name),
            None => (Body::Memory(self.buffer.into()), None),
        })
    }
}

/// A file for temporary data that has no name any more.
fn nameless(name: &str) -> io::Result<File> {
    // Its name goes at once.
    Ok(Temporary::create(&std::env::temp_dir(), &format!("holdfast-{name}"))?.0)
}

/// A copy whose rows are all there.
#[derive(Debug)]
pub(super) struct Copied {
    pub body: Body,
    /// The name of its file while it has no lasting one.
    pub temporary: Option<Temporary>,
    pub footer: Footer,
}

/// Takes the rows of a segment, in its order.
#[derive(Debug)]
pub(crate) struct CopyWriter {
    key: Secret,
    scratch: Scratch,
    footer: Footer,
    table: Table,
    block: Writer,
    trouble: Option<io::Error>,
}

impl CopyWriter {
    /// Begins a copy; `key` is the one that local copies of the repository's index are hashed under.
    pub(super) fn new(key: &Secret, folder: Option<&Path>, name: &str) -> Self {
        let scratch = Scratch {
            folder: folder.map(Path::to_owned),
            name: name.to_owned(),
            buffer: Vec::new(),
            file: None,
            written: 0,
        };
        let (footer, block) = (Footer::default(), Writer::new());
        Self { key: key.clone(), scratch, footer, table: Table::Sessions, block, trouble: None }
    }

    /// Takes a row. What goes wrong is told by [`CopyWriter::check`] and at the end.
    pub(super) fn push(&mut self, row: &TableRow) {
        match row {
            TableRow::Session(row) => self.session(row),
            TableRow::Pack(session, row) => self.pack(*session, row),
            TableRow::Chunk(row) => self.chunk(row),
        }
    }

    pub(super) fn session(&mut self, row: &SessionRow) {
        self.begin_row(Table::Sessions);
        let mut mark = [0; SESSION_MARK_BYTES];
        mark[..16].copy_from_slice(row.member.bytes());
        mark[16..].copy_from_slice(row.session.bytes());
        self.footer.sessions.push(mark);
        let end = self.block.len() + SessionRow::SIZE_MAX;
        row.encode(&mut self.block);
        let padding = [0; SessionRow::SIZE_MAX];
        self.block.raw(&padding[..end - self.block.len()]);
        self.footer.counts.sessions += 1;
    }

    pub(super) fn pack(&mut self, session: u32, row: &PackRow) {
        if self.begin_row(Table::Packs) {
            self.footer.packs.push(PackMark::new(session, &row.id));
        }
        row.encode(session, &mut self.block);
        self.footer.counts.packs += 1;
    }

    pub(super) fn chunk(&mut self, row: &ChunkRow) {
        if self.begin_row(Table::Chunks) {
            self.footer.chunks.push(front(&row.key.0));
        }
        row.encode(&mut self.block);
        self.footer.counts.chunks += 1;
    }

    /// Makes room for a row; tells whether it is the first of a block.
    fn begin_row(&mut self, table: Table) -> bool {
        if table != self.table || self.block.len() + table.width() > BLOCK_BYTES {
            self.end_block();
            self.table = table;
        }
        self.block.is_empty()
    }

    fn end_block(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let mut block = std::mem::take(&mut self.block).into_vec();
        block.resize(BLOCK_BYTES, 0);
        self.footer.hashes.push(hash_front(&self.key, &block));
        if self.trouble.is_none() {
            self.trouble = self.scratch.push(&block).err();
        }
        block.clear();
        self.block = Writer::from_vec(block);
    }

    /// Tells of what went wrong so far.
    pub(super) fn check(&mut self) -> io::Result<()> {
        self.trouble.take().map_or(Ok(()), Err)
    }

    pub(super) fn finish(mut self) -> io::Result<Copied> {
        self.end_block();
        self.check()?;
        let (body, temporary) = self.scratch.finish()?;
        Ok(Copied { body, temporary, footer: self.footer })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn scratch(folder: Option<PathBuf>) -> Scratch {
        Scratch { folder, name: "test".into(), buffer: Vec::new(), file: None, written: 0 }
    }

    fn block(number: usize) -> Vec<u8> {
        vec![number as u8; BLOCK_BYTES]
    }

    fn content(body: &Body, blocks: usize) -> Vec<u8> {
        match body {
            Body::Memory(bytes) => bytes.to_vec(),
            Body::File(file) => {
                let mut bytes = vec![0; blocks * BLOCK_BYTES];
                file.read_exact_at(&mut bytes, 0).unwrap();
                bytes
            }
        }
    }

    #[test]
    fn a_file_that_moves_away_in_the_middle_has_all_blocks() {
        let folder = tempfile::tempdir().unwrap();
        for moved_after in [0, 1, 70, 150, 299] {
            let mut scratch = scratch(Some(folder.path().to_owned()));
            for number in 0..300 {
                scratch.push(&block(number)).unwrap();
                if number == moved_after {
                    // As if its disk were full.
                    scratch.move_away().unwrap();
                    scratch.written += scratch.buffer.len() as u64;
                    scratch.buffer.clear();
                }
                assert!(scratch.buffer.len() <= MEMORY_BYTES_MAX + BLOCK_BYTES);
            }
            let (body, temporary) = scratch.finish().unwrap();
            assert!(temporary.is_none() && matches!(body, Body::File(_)));
            assert_eq!(content(&body, 300), (0..300).flat_map(block).collect::<Vec<_>>());
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn few_blocks_stay_in_memory_and_an_unfinished_file_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for blocks in [0, 1, 64] {
            let mut scratch = scratch(Some(folder.path().to_owned()));
            (0..blocks).for_each(|number| scratch.push(&block(number)).unwrap());
            let (body, _) = scratch.finish().unwrap();
            assert!(matches!(body, Body::Memory(_)));
            assert_eq!(content(&body, blocks), (0..blocks).flat_map(block).collect::<Vec<_>>());
        }
        let mut scratch = scratch(Some(folder.path().to_owned()));
        (0..65).for_each(|number| scratch.push(&block(number)).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(scratch);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_name_that_is_taken_is_left_to_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let (_one, first) = Temporary::create(folder.path(), "x").unwrap();
        let (_two, second) = Temporary::create(folder.path(), "x").unwrap();
        assert_ne!(first.0, second.0);
        first.keep(&folder.path().join("kept")).unwrap();
        drop(second);
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["kept"]);
    }
}
