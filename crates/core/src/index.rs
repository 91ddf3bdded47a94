//! Where chunks lie: the tables of the index, and the delta in which a session publishes them.
//!
//! There are three: sessions (what opens their packs), packs, and one row a chunk. On purpose not
//! here: the segment that deltas merge into ([`crate::segment`]), and looking chunks up, which is
//! the engine's.

use crate::chunk::{STORED_BYTES_MAX, StoredLength};
use crate::crypto::{Secret, Signer, hash};
use crate::error::FormatError;
use crate::id::{ChunkId, MemberId, SessionId};
use crate::keys::SessionRow;
use crate::name::{PackClass, PackId};
use crate::object::{
    Header, TABLE_SECTION_BYTES_MAX, UNPACKED_TIMES_MAX, encode_object, open_section, seal_section_paid,
    unpacked_max,
};
use crate::wire::{Reader, Writer};
use std::collections::{HashMap, HashSet};
use std::ops::{AddAssign, SubAssign};

/// The first 24 bytes of a chunk's identifier: enough to look it up by; whoever opens a chunk
/// verifies all 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkKey(pub [u8; 24]);

impl From<&ChunkId> for ChunkKey {
    fn from(id: &ChunkId) -> Self {
        let mut key = [0; 24];
        key.copy_from_slice(&id.bytes()[..24]);
        Self(key)
    }
}

/// A row of the pack table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackRow {
    /// Which pack.
    pub id: PackId,
    /// Its length in bytes; zero for a pack that is named only as the origin of chunks.
    pub size: u64,
    /// The checksum at its end.
    pub checksum: [u8; 32],
    /// How many chunks lie in it.
    pub chunks: u32,
}

impl PackRow {
    /// Length of the encoding in bytes.
    pub const SIZE: usize = 53;

    /// Encodes: row of the session 4, class 1, ordinal 4, size 8, checksum 32, chunks 4.
    pub fn encode(&self, session: u32, writer: &mut Writer) {
        writer.u32(session);
        writer.u8(self.id.class as u8);
        writer.u32(self.id.ordinal);
        writer.u64(self.size);
        writer.raw(&self.checksum);
        writer.u32(self.chunks);
    }

    /// Reads what [`PackRow::encode`] wrote; `session` tells who has a row of the session table.
    ///
    /// # Errors
    /// There is no such session, or the class is of a later version.
    pub fn decode(
        reader: &mut Reader<'_>,
        session: impl FnOnce(u32) -> Option<(MemberId, SessionId)>,
    ) -> Result<(u32, Self), FormatError> {
        let row = reader.u32()?;
        let (member, session) = session(row).ok_or(FormatError::Malformed("a pack's session"))?;
        let class = reader.u8()?;
        let class =
            PackClass::from_byte(class).ok_or_else(|| FormatError::Newer(format!("pack class {class}")))?;
        let id = PackId { member, session, class, ordinal: reader.u32()? };
        Ok((row, Self { id, size: reader.u64()?, checksum: reader.array()?, chunks: reader.u32()? }))
    }
}

/// A row of the chunk table: 40 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRow {
    /// Which chunk.
    pub key: ChunkKey,
    /// Row of the pack that holds it.
    pub pack: u32,
    /// Where in the pack it begins, in bytes.
    pub offset: u32,
    /// How long it is there.
    pub length: StoredLength,
    /// Row of the pack that it was sealed for.
    pub origin: u32,
}

impl ChunkRow {
    /// Length of the encoding in bytes.
    pub const SIZE: usize = 40;

    /// Encodes: key 24, pack 4, offset 4, length 4, origin 4.
    pub fn encode(&self, writer: &mut Writer) {
        writer.raw(&self.key.0);
        writer.u32(self.pack);
        writer.u32(self.offset);
        writer.u32(self.length.raw());
        writer.u32(self.origin);
    }

    /// Reads what [`ChunkRow::encode`] wrote.
    ///
    /// # Errors
    /// It is cut off.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            key: ChunkKey(reader.array()?),
            pack: reader.u32()?,
            offset: reader.u32()?,
            length: StoredLength::from_raw(reader.u32()?),
            origin: reader.u32()?,
        })
    }

    /// What rows are sorted by: all of it, so that two rows that differ anywhere are both kept.
    #[must_use]
    pub const fn order(&self) -> (ChunkKey, u32, u32, u32, u32) {
        (self.key, self.pack, self.offset, self.length.raw(), self.origin)
    }

    /// Whether it lies within its pack, which has so many bytes.
    #[must_use]
    pub fn fits(&self, pack_bytes: u64) -> bool {
        let end = u64::from(self.offset) + u64::from(self.length.bytes());
        end <= pack_bytes && self.length.bytes() <= STORED_BYTES_MAX
    }
}

/// The tables of a delta or segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexTables {
    /// Sessions whose packs are named.
    pub sessions: Vec<SessionRow>,
    /// Packs.
    pub packs: Vec<PackRow>,
    /// Chunks, ascending by [`ChunkRow::order`].
    pub chunks: Vec<ChunkRow>,
}

/// Most sessions, packs or chunks in one delta or segment.
pub const ROWS_MAX: usize = 1 << 26;

impl IndexTables {
    /// Encodes the three tables and an empty tagged list.
    ///
    /// # Panics
    /// A pack's session is not in the table: a mistake of the caller.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.count(self.sessions.len());
        self.sessions.iter().for_each(|row| row.encode(&mut writer));
        let rows: HashMap<(MemberId, SessionId), usize> =
            self.sessions.iter().map(|row| (row.member, row.session)).zip(0..).collect();
        writer.count(self.packs.len());
        for pack in &self.packs {
            let session = rows.get(&(pack.id.member, pack.id.session));
            pack.encode(*session.expect("the session of every pack is in the table") as u32, &mut writer);
        }
        writer.count(self.chunks.len());
        self.chunks.iter().for_each(|row| row.encode(&mut writer));
        writer.tags(&[]);
        writer.into_vec()
    }

    /// Reads what [`IndexTables::encode`] wrote.
    ///
    /// # Errors
    /// A row refers to none, the order is broken, or the version is later.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let mut tables = Self::default();
        for _ in 0..rows(&mut reader, SessionRow::SIZE_MIN)? {
            tables.sessions.push(SessionRow::decode(&mut reader)?);
        }
        let mut seen = HashSet::new();
        for _ in 0..rows(&mut reader, PackRow::SIZE)? {
            let sessions = &tables.sessions;
            let session = |row: u32| sessions.get(row as usize).map(|row| (row.member, row.session));
            let (_, pack) = PackRow::decode(&mut reader, session)?;
            if !seen.insert(pack.id) {
                return Err(FormatError::Malformed("the packs of an index"));
            }
            tables.packs.push(pack);
        }
        for _ in 0..rows(&mut reader, ChunkRow::SIZE)? {
            let row = tables.decode_chunk(&mut reader)?;
            if tables.chunks.last().is_some_and(|last| last.order() >= row.order()) {
                return Err(FormatError::Malformed("the order of an index"));
            }
            tables.chunks.push(row);
        }
        reader.tags("an index", &[])?;
        reader.end()?;
        Ok(tables)
    }

    fn decode_chunk(&self, reader: &mut Reader<'_>) -> Result<ChunkRow, FormatError> {
        let row = ChunkRow::decode(reader)?;
        let origin_known = (row.origin as usize) < self.packs.len();
        if origin_known && self.packs.get(row.pack as usize).is_some_and(|pack| row.fits(pack.size)) {
            Ok(row)
        } else {
            Err(FormatError::Malformed("a chunk's place"))
        }
    }

    /// Finds the row of a pack's session.
    #[must_use]
    pub fn session_of(&self, pack: &PackId) -> Option<usize> {
        self.sessions.iter().position(|row| (row.member, row.session) == (pack.member, pack.session))
    }

    /// Takes in the rows of other tables; sessions and packs that are known stay one row. Chunk
    /// rows come in any order: [`IndexTables::sort`] ends the work.
    pub fn append<'a>(&mut self, others: impl IntoIterator<Item = &'a Self>) {
        let mut sessions: HashMap<(MemberId, SessionId), usize> =
            self.sessions.iter().map(|row| (row.member, row.session)).zip(0..).collect();
        let mut packs: HashMap<PackId, u32> = self.packs.iter().map(|row| row.id).zip(0..).collect();
        for other in others {
            for row in &other.sessions {
                match sessions.get(&(row.member, row.session)) {
                    Some(&known) => self.sessions[known].complete(row),
                    None => {
                        sessions.insert((row.member, row.session), self.sessions.len());
                        self.sessions.push(row.clone());
                    }
                }
            }
            let rows: Vec<u32> = other.packs.iter().map(|row| self.append_pack(row, &mut packs)).collect();
            self.chunks.extend(other.chunks.iter().map(|chunk| ChunkRow {
                pack: rows[chunk.pack as usize],
                origin: rows[chunk.origin as usize],
                ..*chunk
            }));
        }
    }

    fn append_pack(&mut self, row: &PackRow, known: &mut HashMap<PackId, u32>) -> u32 {
        let at = *known.entry(row.id).or_insert_with(|| {
            self.packs.push(row.clone());
            self.packs.len() as u32 - 1
        });
        // A pack may first have been named as a mere origin, without its size.
        if self.packs[at as usize].size == 0 {
            self.packs[at as usize] = row.clone();
        }
        at
    }

    /// Puts chunk rows into the order that the format wants; what is there twice goes.
    pub fn sort(&mut self) {
        self.chunks.sort_unstable_by_key(ChunkRow::order);
        self.chunks.dedup_by_key(|row| row.order());
    }

    /// Puts all three tables into the order that a segment wants: sessions by member and session,
    /// packs by their encoded ids, chunks as ever. Chunks follow their packs to new rows.
    pub fn arrange(&mut self) {
        self.sessions.sort_by_key(|row| (row.member, row.session));
        let mut order: Vec<u32> = (0..self.packs.len() as u32).collect();
        order.sort_by_key(|&row| self.packs[row as usize].id.encode());
        let mut rows = vec![0; order.len()];
        for (new, &old) in (0u32..).zip(&order) {
            rows[old as usize] = new;
        }
        self.packs = order.iter().map(|&row| self.packs[row as usize].clone()).collect();
        for chunk in &mut self.chunks {
            (chunk.pack, chunk.origin) = (rows[chunk.pack as usize], rows[chunk.origin as usize]);
        }
        // Rows that are there twice stay: whoever counts them counts both.
        self.chunks.sort_unstable_by_key(ChunkRow::order);
    }
}

/// Takes a count of rows.
fn rows(reader: &mut Reader<'_>, bytes_min: usize) -> Result<usize, FormatError> {
    let count = reader.count(bytes_min)?;
    if count > ROWS_MAX { Err(FormatError::TooLong("an index")) } else { Ok(count) }
}

/// Encodes a delta: number 4, sealed tables, tagged list; signed.
#[must_use]
pub fn encode_delta(
    header: &Header,
    number: u32,
    tables: &IndexTables,
    k_idx: &Secret,
    signer: &Signer,
) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u32(number);
    seal_section_paid(&mut writer, k_idx, header, "index delta", &tables.encode(), UNPACKED_TIMES_MAX);
    writer.tags(&[]);
    encode_object(header, writer.as_slice(), Some(signer))
}

/// Reads the body of a delta.
///
/// # Errors
/// It is damaged, malformed, or of a later version.
pub fn decode_delta(header: &Header, body: &[u8], k_idx: &Secret) -> Result<(u32, IndexTables), FormatError> {
    let mut reader = Reader::new(body);
    let number = reader.u32()?;
    let tables = IndexTables::decode(&open_section(
        &mut reader,
        k_idx,
        header,
        "index delta",
        unpacked_max(body.len(), TABLE_SECTION_BYTES_MAX),
    )?)?;
    reader.tags("an index delta", &[])?;
    reader.end()?;
    Ok((number, tables))
}

/// Which part of all identifiers a segment holds: those whose first `bits` bits are `value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Partition {
    /// How many bits decide, 0 to 12.
    pub bits: u8,
    /// What they are.
    pub value: u16,
}

impl Partition {
    /// The partition of everything.
    pub const ALL: Self = Self { bits: 0, value: 0 };

    /// Reads bits 1, value 2.
    ///
    /// # Errors
    /// There is no such partition.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let partition = Self { bits: reader.u8()?, value: reader.u16()? };
        if partition.bits > 12 || u32::from(partition.value) >= 1 << partition.bits {
            return Err(FormatError::Malformed("an index partition"));
        }
        Ok(partition)
    }

    /// Tells whether a key belongs.
    #[must_use]
    pub const fn holds(&self, key: &ChunkKey) -> bool {
        let front = u16::from_be_bytes([key.0[0], key.0[1]]);
        self.bits == 0 || front >> (16 - self.bits) == self.value
    }
}

/// What stands for a pack in sums of rows: the first 8 bytes of the hash of its identifier. So a
/// row is hashed in one step, and who sums many rows keeps 8 bytes a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PackTag(pub [u8; 8]);

impl From<&PackId> for PackTag {
    fn from(id: &PackId) -> Self {
        let mut tag = [0; 8];
        tag.copy_from_slice(&hash(&id.encode())[..8]);
        Self(tag)
    }
}

/// Sum of the hashes of rows, modulo 2^256: equal for equal multisets of rows in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MultisetSum(pub [u8; 32]);

impl MultisetSum {
    /// Adds one location: the chunk, the pack that holds it and the one it was sealed for, and where.
    pub fn add(&mut self, row: &ChunkRow, pack: PackTag, origin: PackTag) {
        let mut bytes = [0; 48];
        bytes[..24].copy_from_slice(&row.key.0);
        bytes[24..32].copy_from_slice(&pack.0);
        bytes[32..40].copy_from_slice(&origin.0);
        bytes[40..44].copy_from_slice(&row.offset.to_le_bytes());
        bytes[44..].copy_from_slice(&row.length.raw().to_le_bytes());
        *self += Self(hash(&bytes));
    }

    /// Sums all rows of the tables.
    #[must_use]
    pub fn of(tables: &IndexTables) -> Self {
        let tags: Vec<PackTag> = tables.packs.iter().map(|pack| PackTag::from(&pack.id)).collect();
        let tag = |row: u32| tags.get(row as usize).copied().unwrap_or_default();
        let mut sum = Self::default();
        tables.chunks.iter().for_each(|row| sum.add(row, tag(row.pack), tag(row.origin)));
        sum
    }

    /// Goes through both numbers from the lowest 64 bits on, with what is carried over.
    fn step(&mut self, other: &Self, step: impl Fn(u64, u64, u64) -> (u64, u64)) {
        let mut carry = 0;
        for (bytes, other) in self.0.as_chunks_mut::<8>().0.iter_mut().zip(other.0.as_chunks::<8>().0) {
            let (result, over) = step(u64::from_le_bytes(*bytes), u64::from_le_bytes(*other), carry);
            (*bytes, carry) = (result.to_le_bytes(), over);
        }
    }
}

impl AddAssign for MultisetSum {
    fn add_assign(&mut self, other: Self) {
        self.step(&other, |a, b, carry| {
            let (sum, over) = a.overflowing_add(b);
            let (sum, again) = sum.overflowing_add(carry);
            (sum, u64::from(over | again))
        });
    }
}

impl SubAssign for MultisetSum {
    fn sub_assign(&mut self, other: Self) {
        self.step(&other, |a, b, borrow| {
            let (difference, under) = a.overflowing_sub(b);
            let (difference, again) = difference.overflowing_sub(borrow);
            (difference, u64::from(under | again))
        });
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::keys::WrappedSecret;
    use crate::{
        crypto::KEM_CIPHERTEXT_BYTES, id::MemberId, id::ObjectId, id::RepositoryId, id::SessionId,
        object::Object, object::ObjectType,
    };
    use proptest::prelude::*;

    fn tables(rows: Vec<(u8, u32)>) -> IndexTables {
        let wrap = WrappedSecret {
            commitment: [1; 32],
            recipient: [2; 8],
            ciphertext: vec![3; KEM_CIPHERTEXT_BYTES],
            sealed: [4; 48],
        };
        let (member, session) = (MemberId([5; 16]), SessionId([6; 16]));
        let pack = |ordinal| PackRow {
            id: PackId { member, session, class: PackClass::Data, ordinal },
            size: 1 << 20,
            checksum: [7; 32],
            chunks: 9,
        };
        let chunks = rows
            .into_iter()
            .map(|(byte, offset)| ChunkRow {
                key: ChunkKey([byte; 24]),
                pack: u32::from(byte) % 2,
                offset: offset % (1 << 19),
                length: StoredLength::new(100, true),
                origin: 0,
            })
            .collect();
        let sessions =
            vec![SessionRow { member, session, key_epoch: 0, data: Some(wrap.clone()), meta: Some(wrap) }];
        let mut tables = IndexTables { sessions, packs: vec![pack(0), pack(1)], chunks };
        tables.sort();
        tables.chunks.dedup();
        tables
    }

    fn header(object_type: ObjectType) -> Header {
        crate::keys::member_header(
            object_type,
            RepositoryId([1; 16]),
            ObjectId([2; 16]),
            MemberId([5; 16]),
            [3; 16],
        )
    }

    proptest! {
        #[test]
        fn tables_come_back(rows in prop::collection::vec((any::<u8>(), any::<u32>()), 0..50)) {
            let tables = tables(rows);
            let (key, signer) = (Secret::new([8; 32]), Signer::from_seed(Secret::new([9; 32])));
            let delta_header = header(ObjectType::IndexDelta);
            let bytes = encode_delta(&delta_header, 4, &tables, &key, &signer);
            let object = Object::parse(&bytes).unwrap();
            object.verify(&signer.public()).unwrap();
            prop_assert_eq!(decode_delta(&object.header, object.body, &key).unwrap(), (4, tables.clone()));
        }

        #[test]
        fn the_sum_does_not_depend_on_order_and_misses_no_row(rows in prop::collection::vec((any::<u8>(), any::<u32>()), 1..20)) {
            let tables = tables(rows);
            let mut reversed = tables.clone();
            reversed.chunks.reverse();
            prop_assert_eq!(MultisetSum::of(&tables), MultisetSum::of(&reversed));
            let mut fewer = tables.clone();
            fewer.chunks.pop();
            prop_assert_ne!(MultisetSum::of(&tables), MultisetSum::of(&fewer));
            let (mut sum, mut last) = (MultisetSum::of(&fewer), fewer.clone());
            last.chunks = tables.chunks[fewer.chunks.len()..].to_vec();
            sum += MultisetSum::of(&last);
            prop_assert_eq!(sum, MultisetSum::of(&tables));
            sum -= MultisetSum::of(&last);
            prop_assert_eq!(sum, MultisetSum::of(&fewer));
        }

        #[test]
        fn arranged_tables_hold_the_same_rows(rows in prop::collection::vec((any::<u8>(), any::<u32>()), 0..20)) {
            let tables = tables(rows);
            let mut arranged = tables.clone();
            arranged.packs.swap(0, 1);
            arranged.chunks.iter_mut().for_each(|row| (row.pack, row.origin) = (1 - row.pack, 1 - row.origin));
            prop_assert_eq!(MultisetSum::of(&arranged), MultisetSum::of(&tables));
            arranged.arrange();
            prop_assert_eq!(arranged, tables);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = IndexTables::decode(&bytes);
        }
    }

    #[test]
    fn rows_that_lie_outside_their_pack_are_refused() {
        let mut tables = tables(vec![(1, 5)]);
        tables.chunks[0].offset = 1 << 20;
        assert_eq!(IndexTables::decode(&tables.encode()), Err(FormatError::Malformed("a chunk's place")));
        tables.chunks[0].offset = 0;
        tables.packs.iter_mut().for_each(|pack| pack.size = u64::MAX);
        tables.chunks[0].length = StoredLength::new(STORED_BYTES_MAX as usize, true);
        assert!(IndexTables::decode(&tables.encode()).is_ok());
        tables.chunks[0].length = StoredLength::new(STORED_BYTES_MAX as usize + 1, true);
        assert_eq!(IndexTables::decode(&tables.encode()), Err(FormatError::Malformed("a chunk's place")));
        tables.chunks[0].pack = 2;
        assert_eq!(IndexTables::decode(&tables.encode()), Err(FormatError::Malformed("a chunk's place")));
    }

    #[test]
    fn rows_that_are_there_twice_are_refused() {
        let mut twice = tables(vec![(1, 5), (2, 6)]);
        twice.chunks.push(twice.chunks[1]);
        assert_eq!(
            IndexTables::decode(&twice.encode()),
            Err(FormatError::Malformed("the order of an index"))
        );
        let mut twice = tables(vec![(1, 5)]);
        twice.packs.push(twice.packs[0].clone());
        assert_eq!(
            IndexTables::decode(&twice.encode()),
            Err(FormatError::Malformed("the packs of an index"))
        );
    }

    #[test]
    fn more_rows_than_a_table_may_have_are_refused() {
        let bytes = vec![0; 16];
        assert_eq!(rows(&mut Reader::new(&bytes), 1), Ok(0));
        let mut bytes = (ROWS_MAX as u32 + 1).to_le_bytes().to_vec();
        bytes.resize(ROWS_MAX + 8, 0);
        assert_eq!(rows(&mut Reader::new(&bytes), 1), Err(FormatError::TooLong("an index")));
    }

    #[test]
    fn partitions_hold_their_prefix() {
        let key = ChunkKey([0xab; 24]);
        assert!(Partition::ALL.holds(&key));
        assert!(Partition { bits: 4, value: 0xa }.holds(&key));
        assert!(!Partition { bits: 4, value: 0xb }.holds(&key));
    }
}
