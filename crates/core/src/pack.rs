//! The layout of a pack: header, the session's wrapped secret, sealed chunks, footer, trailer.
//!
//! A pack is written front to back and never held whole: [`PackBuilder`] gives out what is ready
//! and keeps only the footer's rows. On purpose not here: where packs go, and how large they get.

use crate::chunk::{STORED_BYTES_MAX, StoredLength};
use crate::crypto::Secret;
use crate::error::FormatError;
use crate::id::{ChunkId, RepositoryId, SessionId};
use crate::keys::WrappedSecret;
use crate::name::{PackClass, PackId};
use crate::object::{
    CHECKSUM_BYTES, HEADER_BYTES, Header, ObjectType, RECORD_SECTION_BYTES_MAX, UNPACKED_TIMES_MAX,
    check_place, open_section, seal_section_paid, unpacked_max,
};
use crate::wire::{Reader, Writer};

/// Length of the trailer with the checksum, in bytes.
pub const TRAILER_BYTES: usize = 8 + 4 + 4 + 8 + CHECKSUM_BYTES;
/// Bytes before the first chunk: header, key epoch's wrapped secret, empty tagged list.
pub const HEAD_BYTES: usize = HEADER_BYTES + 16 + 1 + 4 + WrappedSecret::SIZE + 2;
/// Last bytes before the checksum.
const END_MAGIC: [u8; 8] = *b"HFDpack\n";
/// A data pack is closed once it is this long, in bytes, unless its writer chose otherwise.
pub const DATA_PACK_BYTES: u64 = 32 << 20;
/// What a writer may choose for it.
pub const DATA_PACK_BYTES_CHOICE: std::ops::RangeInclusive<u64> = 4 << 20..=1 << 30;
/// A tree pack is closed once it is this long, in bytes.
pub const TREE_PACK_BYTES: u64 = 8 << 20;
/// Most chunks in a pack.
pub const CHUNKS_MAX: usize = 1 << 20;
/// A pack of a repack is closed once its chunks come from so many others: each costs a row.
pub const ORIGINS_MAX: usize = 1 << 10;

/// A row of a pack's footer: enough to rebuild the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FooterRow {
    /// Which chunk.
    pub id: ChunkId,
    /// Where it begins, in bytes from the pack's front.
    pub offset: u32,
    /// How long it is.
    pub length: StoredLength,
    /// Length of its plaintext in bytes.
    pub plain_bytes: u32,
    /// The pack it was sealed for: 0 is this one, others count the origin table from 1.
    pub origin: u16,
}

/// Another pack that chunks were sealed for, with what opens them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The pack.
    pub pack: PackId,
    /// Generation of the repository's keys that its secret is wrapped to.
    pub key_epoch: u32,
    /// Its session's secret for its class.
    pub wrapped: WrappedSecret,
}

/// A pack's footer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Footer {
    /// Other packs that chunks were sealed for, with what opens them.
    pub origins: Vec<Origin>,
    /// The chunks, in order of their offset.
    pub rows: Vec<FooterRow>,
}

impl Footer {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.count(self.origins.len());
        for origin in &self.origins {
            writer.raw(&origin.pack.encode());
            writer.u32(origin.key_epoch);
            origin.wrapped.encode(&mut writer);
        }
        writer.count(self.rows.len());
        for row in &self.rows {
            writer.raw(row.id.bytes());
            writer.u32(row.offset);
            writer.u32(row.length.raw());
            writer.u32(row.plain_bytes);
            writer.u16(row.origin);
        }
        writer.tags(&[]);
        writer.into_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let mut footer = Self::default();
        let origins = reader.count(PackId::SIZE + 4 + WrappedSecret::SIZE)?;
        if origins > ORIGINS_MAX {
            return Err(FormatError::TooLong("a pack's footer"));
        }
        for _ in 0..origins {
            let pack = PackId::decode(&reader.array()?).ok_or(FormatError::Malformed("a pack's origin"))?;
            let key_epoch = reader.u32()?;
            footer.origins.push(Origin { pack, key_epoch, wrapped: WrappedSecret::decode(&mut reader)? });
        }
        let rows = reader.count(46)?;
        if rows > CHUNKS_MAX {
            return Err(FormatError::TooLong("a pack's footer"));
        }
        for _ in 0..rows {
            let row = FooterRow {
                id: ChunkId(reader.array()?),
                offset: reader.u32()?,
                length: StoredLength::from_raw(reader.u32()?),
                plain_bytes: reader.u32()?,
                origin: reader.u16()?,
            };
            let after = footer
                .rows
                .last()
                .map_or(HEAD_BYTES as u64, |last| last.offset as u64 + u64::from(last.length.bytes()));
            let apart = u64::from(row.offset) >= after && row.length.bytes() <= STORED_BYTES_MAX;
            if !apart || usize::from(row.origin) > footer.origins.len() {
                return Err(FormatError::Malformed("a pack's footer"));
            }
            footer.rows.push(row);
        }
        reader.tags("a pack's footer", &[])?;
        reader.end()?;
        Ok(footer)
    }
}

/// A pack that was written to its end.
#[derive(Debug, Clone)]
pub struct FinishedPack {
    /// Its length in bytes.
    pub size: u64,
    /// The checksum at its end.
    pub checksum: [u8; 32],
    /// Other packs that its chunks were sealed for.
    pub origins: Vec<Origin>,
    /// Its chunks.
    pub rows: Vec<FooterRow>,
}

/// Writes one pack.
#[derive(Debug)]
pub struct PackBuilder {
    header: Header,
    class: PackClass,
    hasher: blake3::Hasher,
    /// Sealed bytes that were not taken yet.
    pending: Vec<u8>,
    taken: u64,
    rows: Vec<FooterRow>,
    origins: Vec<Origin>,
}

impl PackBuilder {
    /// Begins a pack; `wrapped` is the session's secret for its class.
    #[must_use]
    pub fn new(header: Header, pack: &PackId, wrapped: &WrappedSecret) -> Self {
        let mut writer = Writer::new();
        writer.raw(&header.encode());
        writer.raw(pack.session.bytes());
        writer.u8(pack.class as u8);
        writer.u32(pack.ordinal);
        wrapped.encode(&mut writer);
        writer.tags(&[]);
        debug_assert_eq!(writer.len(), HEAD_BYTES);
        Self {
            header,
            class: pack.class,
            hasher: blake3::Hasher::new(),
            pending: writer.into_vec(),
            taken: 0,
            rows: Vec::new(),
            origins: Vec::new(),
        }
    }

    /// Appends a chunk that was sealed for another pack, byte by byte as it lies there.
    ///
    /// # Panics
    /// More origins than [`ORIGINS_MAX`]: a mistake of the caller, who closes a full pack.
    pub fn push_sealed(&mut self, row: &FooterRow, origin: &Origin, sealed: &[u8]) {
        let known = self.origins.iter().rposition(|known| known.pack == origin.pack);
        let at = known.unwrap_or_else(|| {
            assert!(self.origins.len() < ORIGINS_MAX, "a full pack is closed");
            self.origins.push(origin.clone());
            self.origins.len() - 1
        });
        let offset = self.len() as u32;
        self.pending.extend_from_slice(sealed);
        self.rows.push(FooterRow { offset, origin: at as u16 + 1, ..*row });
    }

    /// Appends a chunk that `seal` writes to the end of the buffer it is given.
    pub fn push(
        &mut self,
        id: ChunkId,
        plain_bytes: usize,
        seal: impl FnOnce(&mut Vec<u8>) -> StoredLength,
    ) -> StoredLength {
        let offset = self.len() as u32;
        let length = seal(&mut self.pending);
        self.rows.push(FooterRow { id, offset, length, plain_bytes: plain_bytes as u32, origin: 0 });
        length
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.taken + self.pending.len() as u64
    }

    /// Tells whether it holds no chunk.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Tells whether it should be closed before another chunk; data packs at a length of the
    /// writer's choice.
    #[must_use]
    pub const fn is_full(&self, data_pack_bytes: u64) -> bool {
        let limit = match self.class {
            PackClass::Data => data_pack_bytes,
            PackClass::Tree => TREE_PACK_BYTES,
        };
        self.len() >= limit || self.rows.len() >= CHUNKS_MAX || self.origins.len() >= ORIGINS_MAX
    }

    /// Bytes that wait to be taken.
    #[must_use]
    pub const fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Takes what is ready; it is the next part of the object.
    pub fn take(&mut self, next: Vec<u8>) -> Vec<u8> {
        let part = std::mem::replace(&mut self.pending, next);
        self.hasher.update(&part);
        self.taken += part.len() as u64;
        part
    }

    /// Ends the pack; returns its last part.
    #[must_use]
    pub fn finish(mut self, k_idx: &Secret) -> (Vec<u8>, FinishedPack) {
        let origins = std::mem::take(&mut self.origins);
        let footer = Footer { origins, rows: std::mem::take(&mut self.rows) };
        let footer_offset = self.len();
        let mut writer = Writer::from_vec(std::mem::take(&mut self.pending));
        let before = writer.len();
        let payload = footer.encode();
        seal_section_paid(&mut writer, k_idx, &self.header, "pack footer", &payload, UNPACKED_TIMES_MAX);
        let footer_bytes = (writer.len() - before) as u32;
        writer.u64(footer_offset);
        writer.u32(footer_bytes);
        writer.count(footer.rows.len());
        writer.raw(&END_MAGIC);
        self.hasher.update(writer.as_slice());
        let checksum = *self.hasher.finalize().as_bytes();
        writer.raw(&checksum);
        let size = self.taken + writer.len() as u64;
        let Footer { origins, rows } = footer;
        (writer.into_vec(), FinishedPack { size, checksum, origins, rows })
    }
}

/// The first bytes of a pack.
#[derive(Debug, Clone)]
pub struct PackHead {
    /// Its header.
    pub header: Header,
    /// Which pack it says it is.
    pub id: PackId,
    /// The session's secret for its class.
    pub wrapped: WrappedSecret,
}

/// Reads the first [`HEAD_BYTES`] of a pack and checks that it lies in its place.
///
/// # Errors
/// It is damaged, another object, or of a later version.
pub fn decode_head(
    bytes: &[u8],
    repository: RepositoryId,
    expected: &PackId,
) -> Result<PackHead, FormatError> {
    let mut reader = Reader::new(bytes);
    let header = Header::decode(&mut reader)?;
    check_place(&header, ObjectType::Pack, repository, expected.object())?;
    let session = SessionId(reader.array()?);
    let class = PackClass::from_byte(reader.u8()?).ok_or(FormatError::Malformed("a pack's class"))?;
    let id = PackId { member: header.member, session, class, ordinal: reader.u32()? };
    if id != *expected {
        return Err(FormatError::Misplaced("its name"));
    }
    let wrapped = WrappedSecret::decode(&mut reader)?;
    reader.tags("a pack", &[])?;
    Ok(PackHead { header, id, wrapped })
}

/// Where the footer lies, read from a pack's last [`TRAILER_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// First byte of the footer.
    pub footer_offset: u64,
    /// Its length in bytes.
    pub footer_bytes: u32,
    /// How many chunks there are.
    pub chunks: u32,
    /// The checksum over everything before it.
    pub checksum: [u8; 32],
}

/// Reads the trailer of a pack of `size` bytes.
///
/// # Errors
/// It is damaged or does not fit the size.
pub fn decode_trailer(bytes: &[u8], size: u64) -> Result<Trailer, FormatError> {
    let start = bytes.len().checked_sub(TRAILER_BYTES).ok_or(FormatError::Truncated)?;
    let mut reader = Reader::new(&bytes[start..]);
    let (footer_offset, footer_bytes, chunks) = (reader.u64()?, reader.u32()?, reader.u32()?);
    if reader.array()? != END_MAGIC {
        return Err(FormatError::Malformed("the end of a pack"));
    }
    let fits = footer_offset.checked_add(u64::from(footer_bytes) + TRAILER_BYTES as u64) == Some(size);
    if !fits || footer_offset < HEAD_BYTES as u64 {
        return Err(FormatError::Malformed("the end of a pack"));
    }
    Ok(Trailer { footer_offset, footer_bytes, chunks, checksum: reader.array()? })
}

/// Opens a footer.
///
/// # Errors
/// It is damaged or malformed, or holds another number of chunks than the trailer says.
pub fn open_footer(
    bytes: &[u8],
    trailer: &Trailer,
    header: &Header,
    k_idx: &Secret,
) -> Result<Footer, FormatError> {
    let mut reader = Reader::new(bytes);
    let max = unpacked_max(bytes.len(), RECORD_SECTION_BYTES_MAX);
    let footer = Footer::decode(&open_section(&mut reader, k_idx, header, "pack footer", max)?)?;
    reader.end()?;
    let last = footer.rows.last().map_or(0, |row| u64::from(row.offset) + u64::from(row.length.bytes()));
    if footer.rows.len() != trailer.chunks as usize || last > trailer.footer_offset {
        return Err(FormatError::Malformed("a pack's footer"));
    }
    Ok(footer)
}

/// Header of a pack.
#[must_use]
pub fn pack_header(
    repository: RepositoryId,
    pack: &PackId,
    key_epoch: u32,
    epoch: u64,
    nonce: [u8; 16],
) -> Header {
    Header {
        object_type: ObjectType::Pack,
        incompat: 0,
        ro_compat: 0,
        key_epoch,
        repository,
        object: pack.object(),
        epoch,
        member: pack.member,
        nonce,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::chunk::{PackCipher, Packed, seal_data};
    use crate::crypto::KEM_CIPHERTEXT_BYTES;
    use crate::id::MemberId;
    use crate::object::verify_checksum;

    const REPOSITORY: RepositoryId = RepositoryId([1; 16]);

    fn pack() -> PackId {
        PackId { member: MemberId([2; 16]), session: SessionId([3; 16]), class: PackClass::Data, ordinal: 0 }
    }

    fn written(chunks: &[&[u8]]) -> (Vec<u8>, FinishedPack) {
        let wrapped = WrappedSecret {
            commitment: [1; 32],
            recipient: [2; 8],
            ciphertext: vec![3; KEM_CIPHERTEXT_BYTES],
            sealed: [4; 48],
        };
        let header = pack_header(REPOSITORY, &pack(), 0, 7, [6; 16]);
        let cipher = PackCipher::new(&Secret::new([5; 32]), REPOSITORY, &pack());
        let mut builder = PackBuilder::new(header, &pack(), &wrapped);
        let mut bytes = Vec::new();
        for (number, chunk) in chunks.iter().enumerate() {
            let id = ChunkId([number as u8; 32]);
            builder.push(id, chunk.len(), |out| {
                seal_data(&cipher, &id, Packed { payload: chunk, compressed: false }, out)
            });
            bytes.extend(builder.take(Vec::new()));
        }
        let (last, finished) = builder.finish(&Secret::new([8; 32]));
        bytes.extend(last);
        (bytes, finished)
    }

    fn read(bytes: &[u8]) -> Result<Footer, FormatError> {
        verify_checksum(bytes)?;
        let head = decode_head(&bytes[..HEAD_BYTES.min(bytes.len())], REPOSITORY, &pack())?;
        let trailer = decode_trailer(bytes, bytes.len() as u64)?;
        let end = trailer.footer_offset as usize + trailer.footer_bytes as usize;
        open_footer(
            &bytes[trailer.footer_offset as usize..end],
            &trailer,
            &head.header,
            &Secret::new([8; 32]),
        )
    }

    #[test]
    fn a_pack_written_in_parts_reads_back() {
        let (bytes, finished) = written(&[b"one", b"", b"three"]);
        assert_eq!(bytes.len() as u64, finished.size);
        assert_eq!(bytes[bytes.len() - 32..], finished.checksum);
        let footer = read(&bytes).unwrap();
        assert_eq!(footer.rows, finished.rows);
        assert_eq!(footer.rows[2].plain_bytes, 5);
    }

    #[test]
    fn a_footer_with_origins_comes_back_and_one_with_too_many_of_either_is_refused() {
        let wrapped = WrappedSecret {
            commitment: [1; 32],
            recipient: [2; 8],
            ciphertext: vec![3; KEM_CIPHERTEXT_BYTES],
            sealed: [4; 48],
        };
        let row = |number: u32| FooterRow {
            id: ChunkId([7; 32]),
            offset: HEAD_BYTES as u32 + number,
            length: StoredLength::from_raw(1),
            plain_bytes: 1,
            origin: 1,
        };
        let origins = vec![Origin { pack: pack(), key_epoch: 5, wrapped }];
        let many = vec![origins[0].clone(); ORIGINS_MAX + 1];
        let mut footer = Footer { origins, rows: vec![row(0)] };
        assert_eq!(Footer::decode(&footer.encode()), Ok(footer.clone()));
        let refused = Footer::decode(&Footer { origins: many, rows: vec![row(0)] }.encode());
        assert_eq!(refused, Err(FormatError::TooLong("a pack's footer")));
        footer.rows = (0..=CHUNKS_MAX as u32).map(row).collect();
        assert_eq!(Footer::decode(&footer.encode()), Err(FormatError::TooLong("a pack's footer")));
    }

    #[test]
    fn no_flip_and_no_cut_passes() {
        let (bytes, _) = written(&[b"one"]);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(read(&flipped).is_err(), "byte {at}");
            assert!(read(&bytes[..at]).is_err(), "cut to {at}");
        }
    }

    #[test]
    fn a_pack_under_another_name_is_refused() {
        let (bytes, _) = written(&[b"one"]);
        let class = if pack().class == PackClass::Data { PackClass::Tree } else { PackClass::Data };
        let others = [
            PackId { ordinal: pack().ordinal + 1, ..pack() },
            PackId { class, ..pack() },
            PackId { member: MemberId([0xEE; 16]), ..pack() },
            PackId { session: SessionId([0xEE; 16]), ..pack() },
        ];
        for other in others {
            assert_eq!(
                decode_head(&bytes, REPOSITORY, &other).unwrap_err(),
                FormatError::Misplaced("its name")
            );
        }
        assert!(decode_head(&bytes, REPOSITORY, &pack()).is_ok());
        assert_eq!(
            decode_head(&bytes, RepositoryId([9; 16]), &pack()).unwrap_err(),
            FormatError::Misplaced("its repository")
        );
    }
}
