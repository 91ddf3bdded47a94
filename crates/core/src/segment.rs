//! Segments of the index: the tables that deltas merge into, in sealed blocks, so that they are
//! written and read as streams, whatever their length.
//!
//! On purpose not here: input and output, and merging. Who reads a segment may believe its rows
//! only once [`SegmentDecoder::finish`] has said that all of them came.

use crate::crypto::{RunningHash, SIGNATURE_BYTES, Secret, SignPublic, Signer};
use crate::error::FormatError;
use crate::id::{MemberId, ObjectId, RepositoryId, SessionId};
use crate::index::{ChunkRow, IndexTables, MultisetSum, PackRow, PackTag, Partition, ROWS_MAX};
use crate::keys::SessionRow;
use crate::name::PackId;
use crate::object::{
    CHECKSUM_BYTES, HEADER_BYTES, Header, ObjectType, check_place, open_section, seal_section, signed_message,
};
use crate::wire::{Reader, Writer};
use std::collections::BTreeMap;

/// Longest plaintext of a block in bytes.
pub const BLOCK_BYTES: usize = 1 << 20;
/// Longest sealed block in bytes: nonce, flag and tag come with it.
const SEALED_BYTES_MAX: usize = BLOCK_BYTES + 12 + 1 + 16;
/// Longest tagged list at the end of a segment or of its tables, in bytes. A session row is shorter.
const TAGS_BYTES_MAX: usize = 64 << 10;
const LABEL: &str = "index segment";

/// What a segment says of itself before its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHead {
    /// Which identifiers it holds.
    pub partition: Partition,
    /// How often its rows were merged.
    pub level: u8,
    /// How many chunk rows it has.
    pub rows: u64,
    /// Sum over them, for the conservation check.
    pub sum: MultisetSum,
    /// How many blocks follow.
    pub blocks: u32,
}

impl SegmentHead {
    /// Length of the encoding in bytes.
    pub const SIZE: usize = 1 + 2 + 1 + 8 + 32 + 4;

    /// How many blocks tables of so many bytes take.
    ///
    /// # Panics
    /// There are 4 PiB of them or more: the limits of tables are far below.
    #[must_use]
    pub fn blocks_of(table_bytes: u64) -> u32 {
        table_bytes.div_ceil(BLOCK_BYTES as u64).try_into().expect("tables below 4 PiB")
    }

    fn encode(&self, writer: &mut Writer) {
        writer.u8(self.partition.bits);
        writer.u16(self.partition.value);
        writer.u8(self.level);
        writer.u64(self.rows);
        writer.raw(&self.sum.0);
        writer.u32(self.blocks);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            partition: Partition::decode(reader)?,
            level: reader.u8()?,
            rows: reader.u64()?,
            sum: MultisetSum(reader.array()?),
            blocks: reader.u32()?,
        })
    }
}

/// Bytes that tables of a segment encode to.
#[must_use]
pub const fn table_bytes(session_bytes: u64, packs: u64, chunks: u64) -> u64 {
    // Three counts, and an empty tagged list.
    3 * 4 + session_bytes + packs * PackRow::SIZE as u64 + chunks * ChunkRow::SIZE as u64 + 2
}

/// Writes a segment: takes the tables as they are encoded, in pieces of any length, and gives the
/// object's bytes.
#[derive(Debug)]
pub struct SegmentEncoder<'a> {
    header: &'a Header,
    k_idx: &'a Secret,
    signer: &'a Signer,
    blocks_left: u32,
    /// What does not fill a block yet.
    plain: Vec<u8>,
    /// What the caller has not taken yet.
    out: Writer,
    hash: RunningHash,
}

impl<'a> SegmentEncoder<'a> {
    /// Begins a segment.
    #[must_use]
    pub fn new(header: &'a Header, head: &SegmentHead, k_idx: &'a Secret, signer: &'a Signer) -> Self {
        let mut out = Writer::new();
        out.raw(&header.encode());
        head.encode(&mut out);
        let (plain, hash) = (Vec::new(), RunningHash::default());
        Self { header, k_idx, signer, blocks_left: head.blocks, plain, out, hash }
    }

    /// Takes in more of the tables.
    pub fn push(&mut self, mut tables: &[u8]) {
        while !tables.is_empty() {
            let room = BLOCK_BYTES - self.plain.len();
            let (front, rest) = tables.split_at(room.min(tables.len()));
            self.plain.extend_from_slice(front);
            tables = rest;
            if self.plain.len() == BLOCK_BYTES {
                self.seal();
            }
        }
    }

    /// # Panics
    /// There are more blocks than the head says: a mistake of the caller.
    fn seal(&mut self) {
        self.blocks_left = self.blocks_left.checked_sub(1).expect("as many blocks as the head says");
        seal_section(&mut self.out, self.k_idx, self.header, LABEL, &self.plain);
        self.plain.clear();
    }

    /// Gives the bytes of the object that are there by now and were not given before.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        let bytes = std::mem::take(&mut self.out).into_vec();
        self.hash.update(&bytes);
        bytes
    }

    /// Gives the last bytes of the object, and the hash of all of them.
    ///
    /// # Panics
    /// There are fewer blocks than the head says: a mistake of the caller.
    #[must_use]
    pub fn finish(mut self) -> (Vec<u8>, [u8; 32]) {
        if !self.plain.is_empty() {
            self.seal();
        }
        assert_eq!(self.blocks_left, 0, "as many blocks as the head says");
        self.out.tags(&[]);
        let mut bytes = self.take();
        let signature = self.signer.sign(&signed_message(&self.hash.value()));
        self.hash.update(&signature);
        bytes.extend_from_slice(&signature);
        let checksum = self.hash.value();
        self.hash.update(&checksum);
        bytes.extend_from_slice(&checksum);
        (bytes, self.hash.value())
    }
}

/// A row of a segment's tables, in the order in which they come: sessions, packs, chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableRow {
    /// What opens the packs of a session.
    Session(SessionRow),
    /// A pack, and the row of its session.
    Pack(u32, PackRow),
    /// Where a chunk lies.
    Chunk(ChunkRow),
}

/// What a segment turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadSegment {
    /// Its header.
    pub header: Header,
    /// What it says of its rows, all of which came.
    pub head: SegmentHead,
    /// BLAKE3-256 of the whole object.
    pub hash: [u8; 32],
}

#[derive(Debug)]
enum Part {
    Header,
    Head(Header),
    Blocks(Header, SegmentHead, u32),
}

/// What opens a segment: one key, or those of several generations, of which its header names one.
#[derive(Debug)]
enum IndexKeys {
    One(Secret),
    ByEpoch(BTreeMap<u32, Secret>),
}

impl IndexKeys {
    fn of(&self, header: &Header) -> Result<&Secret, FormatError> {
        match self {
            Self::One(key) => Ok(key),
            Self::ByEpoch(keys) => keys.get(&header.key_epoch).ok_or(FormatError::KeyEpoch(header.key_epoch)),
        }
    }
}

/// Reads a segment whose bytes come in pieces of any length. It keeps a block, and 16 bytes for
/// each pack.
#[derive(Debug)]
pub struct SegmentDecoder {
    repository: RepositoryId,
    object: ObjectId,
    keys: IndexKeys,
    part: Part,
    buffer: Vec<u8>,
    hash: RunningHash,
    tables: TableDecoder,
}

impl SegmentDecoder {
    /// Begins to read the segment that its name says it is.
    #[must_use]
    pub fn new(repository: RepositoryId, object: ObjectId, k_idx: &Secret) -> Self {
        Self::with(repository, object, IndexKeys::One(k_idx.clone()))
    }

    /// The same with the keys of several generations.
    #[must_use]
    pub fn with_keys(repository: RepositoryId, object: ObjectId, keys: BTreeMap<u32, Secret>) -> Self {
        Self::with(repository, object, IndexKeys::ByEpoch(keys))
    }

    fn with(repository: RepositoryId, object: ObjectId, keys: IndexKeys) -> Self {
        Self {
            repository,
            object,
            keys,
            part: Part::Header,
            buffer: Vec::new(),
            hash: RunningHash::default(),
            tables: TableDecoder::default(),
        }
    }

    /// Takes in the object's next bytes and hands on the rows that are whole by now.
    ///
    /// # Errors
    /// It is damaged, malformed, another object, or of a later version.
    pub fn push(&mut self, bytes: &[u8], take: &mut dyn FnMut(TableRow)) -> Result<(), FormatError> {
        self.buffer.extend_from_slice(bytes);
        let mut done = 0;
        while let Some(step) = self.step(done, take)? {
            done += step;
        }
        self.hash.update(&self.buffer[..done]);
        self.buffer.drain(..done);
        let tail = matches!(self.part, Part::Blocks(_, _, 0));
        if tail && self.buffer.len() > TAGS_BYTES_MAX + SIGNATURE_BYTES + CHECKSUM_BYTES {
            return Err(FormatError::TooLong("the tags of an index segment"));
        }
        Ok(())
    }

    /// Reads one part from `at` on and tells its length; `None` if it is not whole yet.
    fn step(&mut self, at: usize, take: &mut dyn FnMut(TableRow)) -> Result<Option<usize>, FormatError> {
        let bytes = &self.buffer[at..];
        match &mut self.part {
            Part::Header if bytes.len() < HEADER_BYTES => Ok(None),
            Part::Header => {
                let header = Header::decode(&mut Reader::new(bytes))?;
                check_place(&header, ObjectType::IndexSegment, self.repository, self.object)?;
                self.part = Part::Head(header);
                Ok(Some(HEADER_BYTES))
            }
            Part::Head(_) if bytes.len() < SegmentHead::SIZE => Ok(None),
            Part::Head(header) => {
                let head = SegmentHead::decode(&mut Reader::new(bytes))?;
                self.tables.partition = head.partition;
                self.part = Part::Blocks(header.clone(), head, head.blocks);
                Ok(Some(SegmentHead::SIZE))
            }
            Part::Blocks(_, _, 0) => Ok(None),
            Part::Blocks(header, _, left) => {
                let Some(length) = bytes.first_chunk().map(|length| u32::from_le_bytes(*length) as usize)
                else {
                    return Ok(None);
                };
                if length > SEALED_BYTES_MAX {
                    return Err(FormatError::TooLong("a section"));
                }
                if bytes.len() < 4 + length {
                    return Ok(None);
                }
                let key = self.keys.of(header)?;
                let plain = open_section(&mut Reader::new(bytes), key, header, LABEL, BLOCK_BYTES)?;
                self.tables.push(&plain, take)?;
                *left -= 1;
                Ok(Some(4 + length))
            }
        }
    }

    /// Tells what came, once all bytes have; `key_of` knows the keys of members who may sign.
    ///
    /// # Errors
    /// It is damaged or cut off, nobody who may has signed it, or it holds other rows than it states.
    pub fn finish(
        mut self,
        key_of: impl FnOnce(MemberId) -> Option<SignPublic>,
    ) -> Result<ReadSegment, FormatError> {
        let Part::Blocks(header, head, 0) = self.part else { return Err(FormatError::Truncated) };
        let (content, checksum) =
            self.buffer.split_last_chunk::<CHECKSUM_BYTES>().ok_or(FormatError::Truncated)?;
        let (tags, signature) =
            content.split_last_chunk::<SIGNATURE_BYTES>().ok_or(FormatError::Truncated)?;
        self.hash.update(tags);
        let signed = self.hash.value();
        self.hash.update(signature);
        if self.hash.value() != *checksum {
            return Err(FormatError::Checksum);
        }
        self.hash.update(checksum);
        let key = key_of(header.member).ok_or(FormatError::Signature)?;
        key.verify(&signed_message(&signed), signature)?;
        let mut reader = Reader::new(tags);
        reader.tags("an index segment", &[])?;
        reader.end()?;
        self.tables.finish(&head)?;
        Ok(ReadSegment { header, head, hash: self.hash.value() })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Table {
    #[default]
    Sessions,
    Packs,
    Chunks,
    Tags,
    Ended,
}

/// Reads the tables of a segment, in pieces of any length, and sums their rows.
#[derive(Debug)]
struct TableDecoder {
    partition: Partition,
    table: Table,
    /// Rows of the table that are to come; `None` before its count.
    left: Option<u32>,
    buffer: Vec<u8>,
    sessions: Vec<(MemberId, SessionId)>,
    packs: Vec<(u64, PackTag)>,
    last_pack: Option<[u8; PackId::SIZE]>,
    last_chunk: Option<ChunkRow>,
    rows: u64,
    sum: MultisetSum,
}

impl Default for TableDecoder {
    fn default() -> Self {
        Self {
            partition: Partition::ALL,
            table: Table::Sessions,
            left: None,
            buffer: Vec::new(),
            sessions: Vec::new(),
            packs: Vec::new(),
            last_pack: None,
            last_chunk: None,
            rows: 0,
            sum: MultisetSum::default(),
        }
    }
}

impl TableDecoder {
    fn push(&mut self, bytes: &[u8], take: &mut dyn FnMut(TableRow)) -> Result<(), FormatError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.extend_from_slice(bytes);
        let mut reader = Reader::new(&buffer);
        loop {
            let mut ahead = reader.clone();
            match self.step(&mut ahead, take) {
                Ok(true) => reader = ahead,
                Ok(false) => break,
                // The rest of it comes with the next piece.
                Err(FormatError::Truncated) if reader.left() <= TAGS_BYTES_MAX => break,
                Err(FormatError::Truncated) => return Err(FormatError::TooLong("the tags of an index")),
                Err(error) => return Err(error),
            }
        }
        let left = reader.left();
        buffer.drain(..buffer.len() - left);
        self.buffer = buffer;
        Ok(())
    }

    /// Takes one row, count or list; false after the last.
    fn step(&mut self, reader: &mut Reader<'_>, take: &mut dyn FnMut(TableRow)) -> Result<bool, FormatError> {
        match (self.table, self.left) {
            (Table::Ended, _) if reader.left() > 0 => return Err(FormatError::Trailing),
            (Table::Ended, _) => return Ok(false),
            (Table::Tags, _) => {
                reader.tags("an index", &[])?;
                self.table = Table::Ended;
            }
            (_, None) => {
                let count = reader.u32()?;
                if count as usize > ROWS_MAX {
                    return Err(FormatError::TooLong("an index"));
                }
                self.left = Some(count);
            }
            (table, Some(0)) => {
                self.left = None;
                self.table = match table {
                    Table::Sessions => Table::Packs,
                    Table::Packs => Table::Chunks,
                    _ => Table::Tags,
                };
            }
            (table, Some(left)) => {
                let row = match table {
                    Table::Sessions => self.session(reader)?,
                    Table::Packs => self.pack(reader)?,
                    _ => self.chunk(reader)?,
                };
                self.left = Some(left - 1);
                take(row);
            }
        }
        Ok(true)
    }

    fn session(&mut self, reader: &mut Reader<'_>) -> Result<TableRow, FormatError> {
        let row = SessionRow::decode(reader)?;
        let name = (row.member, row.session);
        if self.sessions.last().is_some_and(|last| *last >= name) {
            return Err(FormatError::Malformed("the sessions of an index"));
        }
        self.sessions.push(name);
        Ok(TableRow::Session(row))
    }

    fn pack(&mut self, reader: &mut Reader<'_>) -> Result<TableRow, FormatError> {
        let (session, row) = PackRow::decode(reader, |row| self.sessions.get(row as usize).copied())?;
        let id = row.id.encode();
        if self.last_pack.is_some_and(|last| last >= id) {
            return Err(FormatError::Malformed("the packs of an index"));
        }
        self.last_pack = Some(id);
        self.packs.push((row.size, PackTag::from(&row.id)));
        Ok(TableRow::Pack(session, row))
    }

    fn chunk(&mut self, reader: &mut Reader<'_>) -> Result<TableRow, FormatError> {
        let row = ChunkRow::decode(reader)?;
        let pack = |row: u32| self.packs.get(row as usize).copied();
        let (Some((size, pack)), Some((_, origin))) = (pack(row.pack), pack(row.origin)) else {
            return Err(FormatError::Malformed("a chunk's place"));
        };
        if !row.fits(size) || !self.partition.holds(&row.key) {
            return Err(FormatError::Malformed("a chunk's place"));
        }
        if self.last_chunk.is_some_and(|last| last.order() >= row.order()) {
            return Err(FormatError::Malformed("the order of an index"));
        }
        self.last_chunk = Some(row);
        self.rows += 1;
        self.sum.add(&row, pack, origin);
        Ok(TableRow::Chunk(row))
    }

    fn finish(self, head: &SegmentHead) -> Result<(), FormatError> {
        if self.table != Table::Ended {
            return Err(FormatError::Truncated);
        }
        if (self.rows, self.sum) == (head.rows, head.sum) {
            Ok(())
        } else {
            Err(FormatError::Malformed("the rows of an index segment"))
        }
    }
}

/// A segment in memory, for tools and tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexSegment {
    /// Which identifiers it holds.
    pub partition: Partition,
    /// How often its rows were merged.
    pub level: u8,
    /// Sum over its rows, for the conservation check.
    pub sum: MultisetSum,
    /// Its tables, as [`IndexTables::arrange`] leaves them.
    pub tables: IndexTables,
}

impl IndexSegment {
    /// Encodes: partition bits 1, value 2, level 1, rows 8, sum 32, blocks 4, the blocks, tagged
    /// list; signed.
    #[must_use]
    pub fn encode(&self, header: &Header, k_idx: &Secret, signer: &Signer) -> Vec<u8> {
        let tables = self.tables.encode();
        let head = SegmentHead {
            partition: self.partition,
            level: self.level,
            rows: self.tables.chunks.len() as u64,
            sum: self.sum,
            blocks: SegmentHead::blocks_of(tables.len() as u64),
        };
        let mut encoder = SegmentEncoder::new(header, &head, k_idx, signer);
        encoder.push(&tables);
        let mut bytes = encoder.take();
        bytes.extend(encoder.finish().0);
        bytes
    }

    /// Reads the body of a segment and recomputes its sum.
    ///
    /// # Errors
    /// It is damaged, malformed, holds other rows than it states, or is of a later version.
    pub fn decode(header: &Header, body: &[u8], k_idx: &Secret) -> Result<Self, FormatError> {
        let mut reader = Reader::new(body);
        let head = SegmentHead::decode(&mut reader)?;
        let mut rows = TableDecoder { partition: head.partition, ..TableDecoder::default() };
        let mut tables = IndexTables::default();
        for _ in 0..head.blocks {
            let block = open_section(&mut reader, k_idx, header, LABEL, BLOCK_BYTES)?;
            rows.push(&block, &mut |row| match row {
                TableRow::Session(row) => tables.sessions.push(row),
                TableRow::Pack(_, row) => tables.packs.push(row),
                TableRow::Chunk(row) => tables.chunks.push(row),
            })?;
        }
        if reader.left() > TAGS_BYTES_MAX {
            return Err(FormatError::TooLong("the tags of an index segment"));
        }
        reader.tags("an index segment", &[])?;
        reader.end()?;
        rows.finish(&head)?;
        Ok(Self { partition: head.partition, level: head.level, sum: head.sum, tables })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::chunk::StoredLength;
    use crate::crypto::{KEM_CIPHERTEXT_BYTES, hash};
    use crate::index::ChunkKey;
    use crate::keys::WrappedSecret;
    use crate::name::PackClass;
    use crate::object::{Object, encode_object};
    use proptest::prelude::*;

    const REPOSITORY: RepositoryId = RepositoryId([1; 16]);
    const OBJECT: ObjectId = ObjectId([2; 16]);
    const MEMBER: MemberId = MemberId([5; 16]);

    fn header() -> Header {
        crate::keys::member_header(ObjectType::IndexSegment, REPOSITORY, OBJECT, MEMBER, [3; 16])
    }

    fn keys() -> (Secret, Signer) {
        (Secret::new([8; 32]), Signer::from_seed(Secret::new([9; 32])))
    }

    fn tables(rows: &[(u16, u8, u32)]) -> IndexTables {
        let wrap = WrappedSecret {
            commitment: [1; 32],
            recipient: [2; 8],
            ciphertext: vec![3; KEM_CIPHERTEXT_BYTES],
            sealed: [4; 48],
        };
        let session = |byte| SessionRow {
            member: MEMBER,
            session: SessionId([byte; 16]),
            key_epoch: 0,
            data: Some(wrap.clone()),
            meta: (byte > 0).then(|| wrap.clone()),
        };
        let pack = |byte, ordinal| PackRow {
            id: PackId { member: MEMBER, session: SessionId([byte; 16]), class: PackClass::Data, ordinal },
            size: 1 << 20,
            checksum: [7; 32],
            chunks: 9,
        };
        let chunk = |&(front, pack, offset): &(u16, u8, u32)| {
            let mut key = ChunkKey([9; 24]);
            key.0[..2].copy_from_slice(&front.to_be_bytes());
            let (pack, offset) = (u32::from(pack) % 3, offset % (1 << 19));
            ChunkRow { key, pack, offset, length: StoredLength::new(100, true), origin: 0 }
        };
        let mut tables = IndexTables {
            sessions: vec![session(0), session(1)],
            packs: vec![pack(0, 256), pack(0, 1), pack(1, 0)],
            chunks: rows.iter().map(chunk).collect(),
        };
        tables.arrange();
        tables.chunks.dedup();
        tables
    }

    fn segment(tables: IndexTables) -> IndexSegment {
        IndexSegment { partition: Partition::ALL, level: 1, sum: MultisetSum::of(&tables), tables }
    }

    fn encode(segment: &IndexSegment) -> Vec<u8> {
        let (k_idx, signer) = keys();
        segment.encode(&header(), &k_idx, &signer)
    }

    /// Reads an object in pieces of a length.
    fn stream(bytes: &[u8], piece: usize) -> Result<(IndexTables, ReadSegment), FormatError> {
        let (k_idx, signer) = keys();
        let mut decoder = SegmentDecoder::new(REPOSITORY, OBJECT, &k_idx);
        let mut tables = IndexTables::default();
        for piece in bytes.chunks(piece) {
            decoder.push(piece, &mut |row| match row {
                TableRow::Session(row) => tables.sessions.push(row),
                TableRow::Pack(session, row) => {
                    assert_eq!(tables.sessions[session as usize].session, row.id.session);
                    tables.packs.push(row);
                }
                TableRow::Chunk(row) => tables.chunks.push(row),
            })?;
        }
        let read = decoder.finish(|member| (member == MEMBER).then(|| signer.public()))?;
        Ok((tables, read))
    }

    proptest! {
        #[test]
        fn a_segment_comes_back_whole_and_in_pieces(
            rows in prop::collection::vec(any::<(u16, u8, u32)>(), 0..50),
            piece in 1usize..5000,
        ) {
            let segment = segment(tables(&rows));
            let bytes = encode(&segment);
            let object = Object::parse(&bytes).unwrap();
            let (k_idx, signer) = keys();
            object.verify(&signer.public()).unwrap();
            prop_assert_eq!(&IndexSegment::decode(&object.header, object.body, &k_idx).unwrap(), &segment);
            let (tables, read) = stream(&bytes, piece).unwrap();
            prop_assert_eq!(&tables, &segment.tables);
            prop_assert_eq!((read.header, read.hash), (header(), hash(&bytes)));
            prop_assert_eq!((read.head.rows, read.head.sum), (tables.chunks.len() as u64, segment.sum));
        }

        #[test]
        fn no_tables_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
            let (front, back) = bytes.split_at(cut.min(bytes.len()));
            let mut decoder = TableDecoder::default();
            let _ = decoder.push(front, &mut drop).and_then(|()| decoder.push(back, &mut drop));
        }
    }

    #[test]
    fn a_segment_of_many_blocks_is_read_in_the_memory_of_one() {
        let rows: Vec<_> = (0..60_000u32).map(|n| ((n / 4) as u16, n as u8 % 3, n * 7)).collect();
        let segment = segment(tables(&rows));
        let bytes = encode(&segment);
        let blocks = SegmentHead::blocks_of(segment.tables.encode().len() as u64);
        assert!(blocks > 2, "{blocks}");
        let (tables, read) = stream(&bytes, 10_000).unwrap();
        assert!(tables == segment.tables);
        assert_eq!(read.head.blocks, blocks);
        let (k_idx, _) = keys();
        let mut decoder = SegmentDecoder::new(REPOSITORY, OBJECT, &k_idx);
        for piece in bytes.chunks(10_000) {
            decoder.push(piece, &mut drop).unwrap();
            assert!(decoder.buffer.len() <= 4 + SEALED_BYTES_MAX + 10_000);
            assert!(decoder.tables.buffer.len() <= BLOCK_BYTES + ChunkRow::SIZE);
        }
    }

    #[test]
    fn blocks_may_be_cut_anywhere() {
        let segment = segment(tables(&[(1, 0, 5), (2, 1, 6), (9, 2, 7)]));
        let (plain, (k_idx, signer)) = (segment.tables.encode(), keys());
        let mut writer = Writer::new();
        let (pieces, rows) = (plain.len().div_ceil(700) as u32, 3);
        let (partition, sum) = (Partition::ALL, segment.sum);
        SegmentHead { partition, level: 1, rows, sum, blocks: pieces + 1 }.encode(&mut writer);
        seal_section(&mut writer, &k_idx, &header(), LABEL, b"");
        plain.chunks(700).for_each(|part| seal_section(&mut writer, &k_idx, &header(), LABEL, part));
        writer.tags(&[]);
        let bytes = encode_object(&header(), writer.as_slice(), Some(&signer));
        assert_eq!(stream(&bytes, 64).unwrap().0, segment.tables);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = encode(&segment(tables(&[(1, 0, 5), (2, 1, 6)])));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(stream(&flipped, 4096).is_err(), "byte {at}");
            assert!(stream(&bytes[..at], 4096).is_err(), "cut to {at}");
        }
        assert!(stream(&[&bytes[..], b"x"].concat(), 4096).is_err());
    }

    #[test]
    fn only_the_right_object_by_an_active_member_is_taken() {
        let bytes = encode(&segment(tables(&[(1, 0, 5)])));
        let (k_idx, signer) = keys();
        let read = |repository, object, key: Option<SignPublic>| {
            let mut decoder = SegmentDecoder::new(repository, object, &k_idx);
            decoder.push(&bytes, &mut drop).and_then(|()| decoder.finish(|_| key))
        };
        let key = Some(signer.public());
        assert!(read(REPOSITORY, OBJECT, key).is_ok());
        assert_eq!(read(REPOSITORY, OBJECT, None), Err(FormatError::Signature));
        let other = Signer::from_seed(Secret::new([1; 32])).public();
        assert_eq!(read(REPOSITORY, OBJECT, Some(other)), Err(FormatError::Signature));
        assert!(matches!(read(RepositoryId([9; 16]), OBJECT, key), Err(FormatError::Misplaced(_))));
        assert!(matches!(read(REPOSITORY, ObjectId([9; 16]), key), Err(FormatError::Misplaced(_))));
    }

    #[test]
    fn rows_other_than_stated_are_refused() {
        let right = segment(tables(&[(1, 0, 5), (2, 1, 6)]));
        let refused = |change: &dyn Fn(&mut IndexSegment)| {
            let mut wrong = right.clone();
            change(&mut wrong);
            stream(&encode(&wrong), 4096).unwrap_err()
        };
        let rows = FormatError::Malformed("the rows of an index segment");
        assert_eq!(refused(&|segment| segment.tables.chunks.truncate(1)), rows);
        assert_eq!(refused(&|segment| segment.sum.0[31] ^= 1), rows);
        assert_eq!(refused(&|segment| segment.tables.chunks[0].offset += 1), rows);
        let order = FormatError::Malformed("the order of an index");
        assert_eq!(refused(&|segment| segment.tables.chunks.swap(0, 1)), order);
        assert_eq!(refused(&|segment| segment.tables.chunks[1] = segment.tables.chunks[0]), order);
        let packs = FormatError::Malformed("the packs of an index");
        assert_eq!(refused(&|segment| segment.tables.packs.swap(0, 1)), packs);
        let sessions = FormatError::Malformed("the sessions of an index");
        assert_eq!(refused(&|segment| segment.tables.sessions.swap(0, 1)), sessions);
        let place = FormatError::Malformed("a chunk's place");
        assert_eq!(refused(&|segment| segment.tables.chunks[0].pack = 3), place);
        assert_eq!(refused(&|segment| segment.tables.chunks[0].origin = 3), place);
        assert_eq!(refused(&|segment| segment.tables.chunks[0].offset = 1 << 20), place);
        assert_eq!(refused(&|segment| segment.partition = Partition { bits: 4, value: 7 }), place);
    }
}
