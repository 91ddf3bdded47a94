//! A segment as it is looked up in: from its local copy, block by block.
//!
//! A copy is never believed over the repository. It is opened only as the copy of exactly the
//! object that a root names; what the footer says is hashed, and so is each block, which is
//! verified when it is first read. A block that fails then is an error and never a wrong answer:
//! for a mark "there is no such chunk" would be the one mistake that cannot be taken back. The
//! file goes away with the error, so the next run makes it anew.
//!
//! On purpose not here: getting a segment from the repository ([`super::local`]).

use super::blocks::Blocks;
use super::copy::{Body, Copied, Footer, Temporary, hash_front};
use super::table::{BLOCK_BYTES, Counts, PackMark, Table, front};
use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use holdfast_core::FormatError;
use holdfast_core::crypto::{Secret, derive, keyed_hash};
use holdfast_core::id::{MemberId, ObjectId, RepositoryId, SessionId};
use holdfast_core::index::{ChunkKey, ChunkRow, PackRow, ROWS_MAX};
use holdfast_core::keys::SessionRow;
use holdfast_core::name::{PackId, index_segment};
use holdfast_core::root::SegmentRow;
use holdfast_core::wire::{Reader, Writer};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const MAGIC: [u8; 8] = *b"HFDindx1";
/// Magic 8, repository 16, object 16, its hash 32, level 1, sum 32, three counts of 8, hash 32.
const TRAILER_BYTES: usize = 8 + 16 + 16 + 32 + 1 + 32 + 3 * 8 + 32;

/// What local copies of a repository's index have in common.
#[derive(Debug, Clone)]
pub(crate) struct CopyTerms {
    pub(super) repository: RepositoryId,
    /// Blocks and footers are hashed under it.
    pub(super) key: Secret,
    pub(super) blocks: Arc<Blocks>,
}

impl CopyTerms {
    pub(crate) fn new(repository: RepositoryId, k_idx: &Secret, blocks: &Arc<Blocks>) -> Self {
        let key = derive("holdfast 1 index cache", &[k_idx.expose(), repository.bytes()]);
        Self { repository, key, blocks: Arc::clone(blocks) }
    }
}

/// A segment that can be looked up in.
#[derive(Debug)]
pub(crate) struct SegmentIndex {
    terms: CopyTerms,
    /// What the root says of it.
    row: SegmentRow,
    /// Its number among the blocks that are kept.
    number: u32,
    body: Body,
    temporary: Option<Temporary>,
    /// The file of the copy, if it has a lasting name.
    path: Option<PathBuf>,
    footer: Footer,
    /// A bit for each block: whether it was verified.
    verified: Box<[AtomicU64]>,
}

impl SegmentIndex {
    /// Takes a copy that was just written.
    pub(super) fn new(terms: &CopyTerms, copied: Copied, row: SegmentRow) -> Self {
        let Copied { body, temporary, footer } = copied;
        let words = footer.counts.all_blocks().div_ceil(64);
        let number = terms.blocks.new_segment();
        let verified = (0..words).map(|_| AtomicU64::new(0)).collect();
        Self { terms: terms.clone(), row, number, body, temporary, path: None, footer, verified }
    }

    /// Says which object it turned out to be the copy of.
    pub(super) fn identify(&mut self, row: SegmentRow) {
        self.row = row;
    }

    /// Opens the copy of a segment that a root names.
    ///
    /// # Errors
    /// There is none, or it is not what it should be: then its file is gone.
    pub(super) fn open(terms: &CopyTerms, path: &Path, row: &SegmentRow) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let footer = read_footer(terms, &file, length, row);
        match footer {
            Ok(footer) => {
                let copied = Copied { body: Body::File(file), temporary: None, footer };
                Ok(Self { path: Some(path.to_owned()), ..Self::new(terms, copied, row.clone()) })
            }
            Err(error) => {
                // What cannot be removed is looked at again next time.
                let _ = std::fs::remove_file(path);
                Err(error)
            }
        }
    }

    /// Keeps the copy for later runs.
    ///
    /// # Errors
    /// The file system does not let us; the copy is good without.
    pub(super) fn persist(&mut self, path: &Path) -> io::Result<()> {
        let (name, folder) = (self.row.id.to_string(), path.parent().ok_or(io::ErrorKind::InvalidInput)?);
        let end = self.end();
        let temporary = match (&self.body, self.temporary.take()) {
            (Body::Memory(blocks), _) => {
                let (file, temporary) = Temporary::create(folder, &name)?;
                file.write_all_at(blocks, 0)?;
                file.write_all_at(&end, blocks.len() as u64)?;
                temporary
            }
            (Body::File(file), Some(temporary)) => {
                file.write_all_at(&end, self.footer.counts.all_blocks() * BLOCK_BYTES as u64)?;
                temporary
            }
            // It was written where no file can be kept.
            (Body::File(_), None) => return Ok(()),
        };
        temporary.keep(path)?;
        self.path = Some(path.to_owned());
        Ok(())
    }

    /// Footer and trailer.
    fn end(&self) -> Vec<u8> {
        let counts = self.footer.counts;
        let mut writer = Writer::from_vec(self.footer.encode());
        writer.raw(&MAGIC);
        writer.raw(self.terms.repository.bytes());
        writer.raw(self.row.id.bytes());
        writer.raw(&self.row.hash);
        writer.u8(self.row.level);
        writer.raw(&self.row.sum.0);
        [counts.sessions, counts.packs, counts.chunks].into_iter().for_each(|count| writer.u64(count));
        writer.raw(&keyed_hash(&self.terms.key, writer.as_slice()));
        writer.into_vec()
    }

    /// Which object it is.
    pub(crate) fn id(&self) -> ObjectId {
        self.row.id
    }

    /// What the root says of it.
    pub(crate) fn row(&self) -> &SegmentRow {
        &self.row
    }

    /// Bytes that it keeps in memory as long as it is open, but for a short one that is all there.
    pub(crate) fn pinned_bytes(&self) -> u64 {
        self.footer.counts.footer_bytes() + self.verified.len() as u64 * 8
    }

    #[cfg(test)]
    pub(super) const fn body(&self) -> &Body {
        &self.body
    }

    pub(super) fn counts(&self) -> Counts {
        self.footer.counts
    }

    /// Member and session of each session row, ascending.
    pub(super) fn sessions(&self) -> &[[u8; 32]] {
        &self.footer.sessions
    }

    /// The row of a session.
    pub(super) fn session_of(&self, member: MemberId, session: SessionId) -> Option<u32> {
        let name = [member.0, session.0];
        self.footer
            .sessions
            .binary_search_by(|mark| mark[..].cmp(name.as_flattened()))
            .ok()
            .map(|row| row as u32)
    }

    fn session_name(&self, row: u32) -> Option<(MemberId, SessionId)> {
        let mark = self.footer.sessions.get(row as usize)?;
        let (member, session) = mark.split_at(16);
        Some((MemberId(member.try_into().ok()?), SessionId(session.try_into().ok()?)))
    }

    /// Reads a session row.
    pub(super) fn session(&self, row: u32) -> Result<SessionRow> {
        let (block, at) = self.place(Table::Sessions, row)?;
        self.decode_session(&self.block(block)?[at..])
    }

    pub(super) fn decode_session(&self, row: &[u8]) -> Result<SessionRow> {
        SessionRow::decode(&mut Reader::new(row)).map_err(|error| self.format(&error))
    }

    /// Reads a pack row and the number of its session row.
    pub(super) fn pack(&self, row: u32) -> Result<(u32, PackRow)> {
        let (block, at) = self.place(Table::Packs, row)?;
        self.decode_pack(&self.block(block)?[at..])
    }

    pub(super) fn decode_pack(&self, row: &[u8]) -> Result<(u32, PackRow)> {
        PackRow::decode(&mut Reader::new(row), |row| self.session_name(row))
            .map_err(|error| self.format(&error))
    }

    pub(super) fn decode_chunk(&self, row: &[u8]) -> Result<ChunkRow> {
        ChunkRow::decode(&mut Reader::new(row)).map_err(|error| self.format(&error))
    }

    fn place(&self, table: Table, row: u32) -> Result<(u64, usize)> {
        if u64::from(row) < self.footer.counts.of(table) {
            Ok(self.footer.counts.place(table, row.into()))
        } else {
            Err(self.format(&FormatError::Malformed("a row of an index")))
        }
    }

    /// The row of a pack.
    pub(super) fn pack_of(&self, id: &PackId) -> Result<Option<u32>> {
        let Some(session) = self.session_of(id.member, id.session) else { return Ok(None) };
        let mark = PackMark::new(session, id);
        let row = self.first_pack_from(mark)?;
        if row == self.footer.counts.packs {
            return Ok(None);
        }
        let (block, at) = self.footer.counts.place(Table::Packs, row);
        Ok((PackMark::of_row(&self.block(block)?[at..]) == mark).then_some(row as u32))
    }

    /// Rows of all packs of a session.
    pub(super) fn packs_of_session(&self, session: u32) -> Result<std::ops::Range<u32>> {
        let first = self.first_pack_from(PackMark::first_of(session))?;
        let end = match session.checked_add(1) {
            Some(next) => self.first_pack_from(PackMark::first_of(next))?,
            None => self.footer.counts.packs,
        };
        Ok(first as u32..end as u32)
    }

    /// The first pack row whose mark is not below; the number of rows if all are.
    fn first_pack_from(&self, mark: PackMark) -> Result<u64> {
        let (counts, marks) = (&self.footer.counts, &self.footer.packs);
        // The last block that begins below it may hold it.
        let Some(block) = marks.partition_point(|first| *first < mark).checked_sub(1) else { return Ok(0) };
        let bytes = self.block(counts.first_block(Table::Packs) + block as u64)?;
        let rows = bytes.chunks_exact(Table::Packs.width()).take(counts.rows_in(Table::Packs, block as u64));
        let rows: Vec<&[u8]> = rows.collect();
        let inside = rows.partition_point(|row| PackMark::of_row(row) < mark);
        Ok(block as u64 * Table::Packs.rows_a_block() + inside as u64)
    }

    /// Finds the rows of a chunk and appends them; gives the number of the first.
    pub(super) fn find(&self, key: &ChunkKey, found: &mut Vec<ChunkRow>) -> Result<Option<u64>> {
        let mut take = |row: &[u8]| {
            found.push(self.decode_chunk(row)?);
            Ok(())
        };
        self.find_in(key, &mut Kept { segment: self, block: Bytes::new() }, &mut take)
    }

    /// The number of the first row of a chunk.
    pub(super) fn first_row(&self, key: &ChunkKey) -> Result<Option<u64>> {
        self.find_in(key, &mut Kept { segment: self, block: Bytes::new() }, &mut |_| Ok(()))
    }

    /// Finds the rows of a chunk in the blocks that may hold them: nearly always one, since keys
    /// are hashes.
    pub(super) fn find_in(
        &self,
        key: &ChunkKey,
        blocks: &mut impl ReadBlock,
        take: &mut impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Option<u64>> {
        let (counts, fronts, front) = (&self.footer.counts, &self.footer.chunks, front(&key.0));
        let first = fronts.partition_point(|other| *other < front).saturating_sub(1);
        let mut found = None;
        for (block, begin) in fronts.iter().enumerate().skip(first) {
            if *begin > front {
                break;
            }
            let bytes = blocks.block(counts.first_block(Table::Chunks) + block as u64)?;
            let rows = counts.rows_in(Table::Chunks, block as u64);
            let row = |at: usize| &bytes[at * ChunkRow::SIZE..][..ChunkRow::SIZE];
            let from = first_from(rows, |at| row(at)[..24] < key.0[..]);
            let same = (from..rows).take_while(|at| row(*at)[..24] == key.0[..]);
            let mut end = from;
            for at in same {
                take(row(at))?;
                end = at + 1;
            }
            if end > from && found.is_none() {
                found = Some(block as u64 * Table::Chunks.rows_a_block() + from as u64);
            }
            if end < rows {
                break;
            }
        }
        Ok(found)
    }

    /// Reads a block through those that are kept.
    pub(super) fn block(&self, number: u64) -> Result<Bytes> {
        match &self.body {
            Body::Memory(blocks) => {
                let at = number as usize * BLOCK_BYTES;
                Ok(blocks.slice(at..at + BLOCK_BYTES))
            }
            Body::File(_) => {
                let name = (self.number, number as u32);
                if let Some(block) = self.terms.blocks.get(name) {
                    return Ok(block);
                }
                let mut bytes = vec![0; BLOCK_BYTES];
                self.read(number, &mut bytes)?;
                let block = Bytes::from(bytes);
                self.terms.blocks.put(name, &block);
                Ok(block)
            }
        }
    }

    /// Reads blocks that lie one after the other, past those that are kept.
    pub(super) fn read(&self, first: u64, bytes: &mut [u8]) -> Result<()> {
        let at = first * BLOCK_BYTES as u64;
        match &self.body {
            Body::Memory(blocks) => bytes.copy_from_slice(&blocks[at as usize..][..bytes.len()]),
            Body::File(file) => {
                file.read_exact_at(bytes, at).map_err(|error| self.damaged(error))?;
                for (number, block) in (first..).zip(bytes.chunks_exact(BLOCK_BYTES)) {
                    self.verify(number, block)?;
                }
            }
        }
        Ok(())
    }

    fn verify(&self, number: u64, block: &[u8]) -> Result<()> {
        let (word, bit) = (&self.verified[number as usize / 64], 1 << (number % 64));
        if word.load(Ordering::Relaxed) & bit != 0 {
            return Ok(());
        }
        if hash_front(&self.terms.key, block) != self.footer.hashes[number as usize] {
            return Err(self.format(&FormatError::Checksum));
        }
        word.fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }

    fn format(&self, error: &FormatError) -> Error {
        self.damaged(io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
    }

    /// The copy is not to be used any more.
    fn damaged(&self, error: io::Error) -> Error {
        if let Some(path) = &self.path {
            // A good file that another process has put there meanwhile is lost too, and made anew.
            let _ = std::fs::remove_file(path);
        }
        let name = index_segment(self.row.id);
        Error {
            kind: ErrorKind::Conflict,
            what: format!("the local copy of {name} is damaged; the next run makes it anew"),
            source: Some(Box::new(error)),
        }
    }
}

/// Gives blocks of a segment.
pub(super) trait ReadBlock {
    fn block(&mut self, number: u64) -> Result<&[u8]>;
}

/// Through the blocks that are kept.
struct Kept<'a> {
    segment: &'a SegmentIndex,
    block: Bytes,
}

impl ReadBlock for Kept<'_> {
    fn block(&mut self, number: u64) -> Result<&[u8]> {
        self.block = self.segment.block(number)?;
        Ok(&self.block)
    }
}

/// The first of `count` items that is not below.
fn first_from(count: usize, below: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if below(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// Reads the footer of a file that should be the copy of a segment.
fn read_footer(terms: &CopyTerms, file: &File, length: u64, row: &SegmentRow) -> io::Result<Footer> {
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let trailer_at = length.checked_sub(TRAILER_BYTES as u64).ok_or_else(|| broken("it is cut off"))?;
    let mut trailer = [0; TRAILER_BYTES];
    file.read_exact_at(&mut trailer, trailer_at)?;
    let counts = stated_counts(&trailer).filter(|counts| counts.chunks == row.rows);
    let counts = counts.ok_or_else(|| broken("what it says of its rows"))?;
    let blocks_bytes = counts.all_blocks() * BLOCK_BYTES as u64;
    if blocks_bytes + counts.footer_bytes() != trailer_at {
        return Err(broken("its length"));
    }
    let mut end = vec![0; (length - blocks_bytes) as usize];
    file.read_exact_at(&mut end, blocks_bytes)?;
    let footer = counts.footer_bytes() as usize;
    let decoded = Footer::decode(&end[..footer], counts).map_err(|error| broken(&error.to_string()))?;
    let (said, hash) = end.split_last_chunk::<32>().ok_or_else(|| broken("it is cut off"))?;
    let mut expected = Writer::new();
    expected.raw(&MAGIC);
    expected.raw(terms.repository.bytes());
    expected.raw(row.id.bytes());
    expected.raw(&row.hash);
    expected.u8(row.level);
    expected.raw(&row.sum.0);
    let right = said[footer..].starts_with(expected.as_slice()) && keyed_hash(&terms.key, said) == *hash;
    if right { Ok(decoded) } else { Err(broken("it is not the copy of this segment")) }
}

fn stated_counts(trailer: &[u8; TRAILER_BYTES]) -> Option<Counts> {
    let mut reader = Reader::new(trailer.get(TRAILER_BYTES - 32 - 3 * 8..)?);
    let mut count = || reader.u64().ok().filter(|count| *count <= ROWS_MAX as u64);
    Some(Counts { sessions: count()?, packs: count()?, chunks: count()? })
}
