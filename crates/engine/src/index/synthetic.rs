//! For benchmarks and fuzzing, which cannot see the index: one that is made up, of any size, and
//! local copies of any bytes.
//!
//! On purpose not here: a repository. Copies are written as if they had come from one.

use super::copy::{Body, Copied, CopyWriter, Footer};
use super::join::{Input, join};
use super::local::no_room;
use super::segment::CopyTerms;
use super::table::{BLOCK_BYTES, Counts, Table};
use super::{Bits, Index, SegmentIndex};
use crate::ctx::Cancel;
use crate::error::{Error, ErrorKind, Result};
use holdfast_core::chunk::StoredLength;
use holdfast_core::crypto::{KEM_CIPHERTEXT_BYTES, Secret};
use holdfast_core::id::{MemberId, ObjectId, RepositoryId, SessionId};
use holdfast_core::index::{ChunkKey, ChunkRow, MultisetSum, PackRow, Partition};
use holdfast_core::keys::{SessionRow, WrappedSecret};
use holdfast_core::name::{PackClass, PackId};
use holdfast_core::root::SegmentRow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Chunks in a pack.
const CHUNKS_A_PACK: u64 = 50;
/// Sessions in a segment.
const SESSIONS: u64 = 300;
const MEMBER: MemberId = MemberId([7; 16]);

/// An index of segments that are made up.
#[derive(Debug)]
pub struct SyntheticIndex {
    index: Index,
    shares: Vec<u64>,
    folder: PathBuf,
}

/// Mixes the bits of a number (splitmix64).
const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The key of a row of a segment: keys ascend with their numbers and are spread as hashes are.
fn key_of(segment: usize, number: u64, rows: u64) -> ChunkKey {
    let (step, salt) = (u64::MAX / rows, mix(segment as u64 + 1));
    let noise = mix(number ^ salt);
    let mut key = [0; 24];
    key[..8].copy_from_slice(&(number * step + noise % step).to_be_bytes());
    key[8..16].copy_from_slice(&mix(noise).to_be_bytes());
    key[16..].copy_from_slice(&salt.to_be_bytes());
    ChunkKey(key)
}

fn terms() -> CopyTerms {
    CopyTerms::new(RepositoryId([1; 16]), &Secret::new([2; 32]), &Arc::default())
}

fn session_row(segment: usize, number: u64) -> SessionRow {
    let mut id = [segment as u8; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    let wrapped = WrappedSecret {
        commitment: [3; 32],
        recipient: [4; 8],
        ciphertext: vec![5; KEM_CIPHERTEXT_BYTES],
        sealed: [6; 48],
    };
    let (data, meta) = (Some(wrapped.clone()), Some(wrapped));
    SessionRow { member: MEMBER, session: SessionId(id), key_epoch: 0, data, meta }
}

impl SyntheticIndex {
    /// Writes copies of segments with so many rows each into a folder, and opens them.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(folder: &Path, shares: &[u64]) -> Result<Self> {
        let terms = terms();
        for (number, rows) in shares.iter().enumerate() {
            let mut segment =
                SegmentIndex::new(&terms, write_rows(&terms, folder, number, *rows)?, row_of(number, *rows));
            segment.persist(&folder.join(number.to_string())).map_err(no_room)?;
        }
        Self::open(folder, shares)
    }

    /// Opens what [`SyntheticIndex::write`] wrote.
    ///
    /// # Errors
    /// It is not there, or damaged.
    pub fn open(folder: &Path, shares: &[u64]) -> Result<Self> {
        let terms = terms();
        let open = |(number, rows): (usize, &u64)| {
            let path = folder.join(number.to_string());
            SegmentIndex::open(&terms, &path, &row_of(number, *rows)).map(Arc::new).map_err(no_room)
        };
        let segments = shares.iter().enumerate().map(open).collect::<Result<_>>()?;
        let index = Index::with_segments(segments)?;
        Ok(Self { index, shares: shares.to_vec(), folder: folder.to_owned() })
    }

    /// Bytes that the index keeps in memory, but for the blocks that were read lately.
    #[must_use]
    pub fn pinned_bytes(&self) -> u64 {
        self.index.segments().iter().map(|segment| segment.pinned_bytes()).sum()
    }

    /// Looks a chunk up that is there, or one that is not.
    ///
    /// # Errors
    /// A copy is damaged.
    pub fn look_up(&self, random: u64, there: bool) -> Result<bool> {
        let number = (random % self.index.rows()) as usize as u64;
        let (mut segment, mut at) = (0, number);
        while at >= self.shares[segment] {
            at -= self.shares[segment];
            segment += 1;
        }
        let mut key = key_of(segment, at, self.shares[segment]);
        key.0[15] ^= u8::from(!there);
        Ok(self.index.live(&key)?.is_some())
    }

    /// Marks all chunks, in sorted batches that each are spread over all of the index, as those of
    /// a walk are; gives how many were marked.
    ///
    /// # Errors
    /// A copy is damaged.
    pub fn mark(&self, batch: u64) -> Result<u64> {
        let mut marks = Bits::new(self.index.ordinals_len());
        for (segment, &rows) in self.shares.iter().enumerate() {
            let batches = rows.div_ceil(batch);
            for first in 0..batches {
                let numbers = (first..rows).step_by(batches as usize);
                let keys: Vec<_> = numbers.map(|number| key_of(segment, number, rows)).collect();
                for ordinal in self.index.ordinals_sorted(&keys)?.into_iter().flatten() {
                    marks.set(ordinal);
                }
            }
        }
        Ok(marks.count())
    }

    /// Goes through all chunks; gives how many there are.
    ///
    /// # Errors
    /// A copy is damaged.
    pub fn walk(&self) -> Result<u64> {
        self.index.chunks()?.count()
    }

    /// Joins the last two segments into a copy; gives how many rows it has.
    ///
    /// # Errors
    /// A copy is damaged or cannot be written.
    pub fn join_last_two(&self) -> Result<u64> {
        let mut copy = CopyWriter::new(&terms().key, Some(&self.folder), "joined");
        let segments = self.index.segments();
        let inputs = segments.into_iter().rev().take(2).map(|segment| {
            let none = Bits::new(segment.counts().packs);
            (Input::Segment(segment), none)
        });
        let joined = join(inputs.collect(), &mut copy, &Cancel::default())?;
        copy.finish().map_err(no_room)?;
        Ok(joined.chunks)
    }
}

fn row_of(number: usize, rows: u64) -> SegmentRow {
    let (id, hash, sum) = (ObjectId([number as u8; 16]), [number as u8; 32], MultisetSum::default());
    SegmentRow { partition: Partition::ALL, level: 1, id, rows, hash, sum }
}

fn write_rows(terms: &CopyTerms, folder: &Path, segment: usize, rows: u64) -> Result<Copied> {
    let mut copy = CopyWriter::new(&terms.key, Some(folder), "synthetic");
    let packs = rows.div_ceil(CHUNKS_A_PACK);
    let packs_a_session = packs.div_ceil(SESSIONS);
    let sessions: Vec<_> = (0..packs.div_ceil(packs_a_session)).map(|n| session_row(segment, n)).collect();
    sessions.iter().for_each(|row| copy.session(row));
    for number in 0..packs {
        let session = number / packs_a_session;
        // Ordinals are sorted by their bytes as they are written.
        let ordinal = ((number % packs_a_session) as u32).swap_bytes();
        let id = PackId {
            member: MEMBER,
            session: sessions[session as usize].session,
            class: PackClass::Data,
            ordinal,
        };
        let row = PackRow { id, size: 64 << 20, checksum: [8; 32], chunks: CHUNKS_A_PACK as u32 };
        copy.pack(session as u32, &row);
    }
    for number in 0..rows {
        let (key, pack) = (key_of(segment, number, rows), (mix(number) % packs) as u32);
        copy.chunk(&ChunkRow {
            key,
            pack,
            offset: 4096,
            length: StoredLength::new(1 << 20, false),
            origin: pack,
        });
    }
    copy.finish().map_err(no_room)
}

/// For fuzzing, which cannot get past the hashes: looks up in a copy of any rows, with any footer.
/// The bytes are the counts (u8, u16, u16), the rows as they lie in blocks, without padding between
/// blocks, and the footer. Tells whether all could be read.
///
/// # Panics
/// A chunk that is gone through is not found, or found under another number than in a sweep,
/// although the rows are in order.
#[doc(hidden)]
#[must_use]
pub fn index_copy_is_read(bytes: &[u8]) -> bool {
    let Some((&[sessions, packs @ .., a, b], rest)) = bytes.split_first_chunk::<5>() else { return false };
    let number = |bytes| u64::from(u16::from_le_bytes(bytes)) % 1000;
    let counts = Counts { sessions: u64::from(sessions % 16), packs: number(packs), chunks: number([a, b]) };
    let mut rest = rest.iter().copied().chain(std::iter::repeat(0));
    let mut blocks = Vec::new();
    for table in [Table::Sessions, Table::Packs, Table::Chunks] {
        for block in 0..counts.blocks(table) {
            blocks.extend(rest.by_ref().take(counts.rows_in(table, block) * table.width()));
            blocks.resize(blocks.len().next_multiple_of(BLOCK_BYTES), 0);
        }
    }
    let footer: Vec<u8> = rest.take(counts.footer_bytes() as usize).collect();
    let Ok(footer) = Footer::decode(&footer, counts) else { return false };
    assert!(footer.encode().len() as u64 == counts.footer_bytes());
    let copied = |footer| Copied { body: Body::Memory(blocks.clone().into()), temporary: None, footer };
    let terms = terms();
    let segments =
        [footer.clone(), footer].map(|footer| SegmentIndex::new(&terms, copied(footer), row_of(1, 1)));
    read_all(segments.into_iter().map(Arc::new).collect()).is_ok()
}

fn read_all(segments: Vec<Arc<SegmentIndex>>) -> Result<()> {
    let index = Index::with_segments(segments)?;
    let mut packs = index.packs();
    while let Some((row, pack)) = packs.next()? {
        index.session(pack.session)?;
        index.row_of(&pack.row.id)?;
        index.pack(row)?;
    }
    let (mut chunks, mut keys) = (index.chunks()?, Vec::new());
    while let Some((key, places)) = chunks.next()? {
        keys.push(key);
        for place in places {
            index.state(place.pack);
        }
    }
    keys.sort_unstable();
    let (sorted, single) = (index.ordinals_sorted(&keys)?, keys.iter().map(|key| index.ordinal(key)));
    let single = single.collect::<Result<Vec<_>>>()?;
    assert!(sorted == single, "a sweep finds what a look-up finds");
    for key in &keys {
        index.places_of(key)?.iter().try_for_each(|place| index.pack(place.pack).map(drop))?;
        index.live(key)?;
    }
    if keys.is_empty() { Err(Error::new(ErrorKind::NotFound, "no chunks")) } else { Ok(()) }
}
