//! The frame that every binary object of a repository shares: header, body, signature, checksum.
//!
//! On purpose not here: what the bodies hold.

use crate::crypto::{Aead, SIGNATURE_BYTES, Secret, SignPublic, Signer, TAG_BYTES, derive, hash, keyed_hash};
use crate::error::FormatError;
use crate::id::{MemberId, ObjectId, RepositoryId};
use crate::wire::{Reader, Writer};

/// First bytes of every binary object; damaged by transfers that take it for text.
pub const MAGIC: [u8; 8] = [0x89, b'H', b'F', b'D', 0x0d, 0x0a, 0x1a, 0x0a];
/// Major version: 0 is the draft, whose readers refuse every other draft.
pub const FORMAT_MAJOR: u8 = 0;
/// Number of the draft.
pub const FORMAT_DRAFT: u8 = 1;
/// Cipher suite 1: AES-256-GCM, BLAKE3, Ed25519, X25519 with ML-KEM-768.
pub const SUITE: u8 = 1;
/// Length of a header in bytes.
pub const HEADER_BYTES: usize = 100;
/// Length of the checksum at the very end of an object, in bytes.
pub const CHECKSUM_BYTES: usize = 32;
/// Longest object that is read whole, in bytes; packs are read in ranges.
pub const OBJECT_BYTES_MAX: u64 = 1 << 30;
/// Longest plaintext of a section in bytes: begins, pins and reasons of aborts.
pub const SMALL_SECTION_BYTES_MAX: usize = 16 << 20;
/// Longest plaintext of a section in bytes: summaries and details of snapshots.
pub const SNAPSHOT_SECTION_BYTES_MAX: usize = 64 << 20;
/// Longest plaintext of a section in bytes: footers of packs, and evidence.
pub const RECORD_SECTION_BYTES_MAX: usize = 256 << 20;
/// Longest plaintext of a section in bytes: roots, lists, segments of snapshots, index deltas.
pub const TABLE_SECTION_BYTES_MAX: usize = OBJECT_BYTES_MAX as usize;
/// Length of a section's nonce in bytes.
/// So many times as long as its body a section of tables may be, unpacked.
pub(crate) const UNPACKED_TIMES_MAX: usize = 16;
/// And so many bytes more.
const UNPACKED_BYTES_FREE: usize = 256 << 10;
const NONCE_BYTES: usize = 12;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ObjectType {
    /// Many sealed chunks.
    Pack = 1,
    /// Where the chunks of one session lie.
    IndexDelta = 2,
    /// Merged part of the index.
    IndexSegment = 3,
    /// One state of the repository, published by a maintainer.
    Root = 4,
    /// A session begins.
    Begin = 5,
    /// What a session relies on.
    Pins = 6,
    /// A session ends, as a snapshot or aborted.
    End = 7,
    /// A member's private keys, wrapped under a password or key file.
    KeySlot = 8,
    /// A member is admitted, changed or removed.
    Member = 9,
    /// Merged summaries of snapshots.
    SnapshotSegment = 10,
    /// A list that a root names.
    List = 11,
    /// One segment of a database's log.
    Wal = 12,
    /// What a drill saw.
    Evidence = 13,
}

impl ObjectType {
    const ALL: [Self; 13] = [
        Self::Pack,
        Self::IndexDelta,
        Self::IndexSegment,
        Self::Root,
        Self::Begin,
        Self::Pins,
        Self::End,
        Self::KeySlot,
        Self::Member,
        Self::SnapshotSegment,
        Self::List,
        Self::Wal,
        Self::Evidence,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Tells whether objects of this type carry their author's signature.
    #[must_use]
    pub const fn is_signed(self) -> bool {
        matches!(
            self,
            Self::IndexDelta
                | Self::IndexSegment
                | Self::Root
                | Self::Begin
                | Self::Pins
                | Self::End
                | Self::Member
                | Self::SnapshotSegment
                | Self::List
                | Self::Wal
                | Self::Evidence
        )
    }
}

/// First part of every binary object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What the object is.
    pub object_type: ObjectType,
    /// Features that a reader must know; none exist yet.
    pub incompat: u32,
    /// Features that a writer must know; none exist yet.
    pub ro_compat: u32,
    /// Which generation of the repository's keys its sealed parts use.
    pub key_epoch: u32,
    /// The repository that it belongs to.
    pub repository: RepositoryId,
    /// The object itself.
    pub object: ObjectId,
    /// Number of the newest root that the author had seen.
    pub epoch: u64,
    /// Who wrote it.
    pub member: MemberId,
    /// Random bytes by which an author knows its own object again.
    pub nonce: [u8; 16],
}

impl Header {
    /// Returns the header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut writer = Writer::new();
        writer.raw(&MAGIC);
        writer.raw(&[self.object_type as u8, FORMAT_MAJOR, FORMAT_DRAFT, SUITE]);
        writer.u32(self.incompat);
        writer.u32(self.ro_compat);
        writer.u32(HEADER_BYTES as u32);
        writer.u32(self.key_epoch);
        writer.raw(self.repository.bytes());
        writer.raw(self.object.bytes());
        writer.u64(self.epoch);
        writer.raw(self.member.bytes());
        writer.raw(&self.nonce);
        writer.into_vec().try_into().expect("the fields add up to the header's length")
    }

    /// Reads a header off the front of an object.
    ///
    /// # Errors
    /// It is no object, or one of another version.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        if reader.array::<8>()? != MAGIC {
            return Err(FormatError::Malformed("the first bytes of an object"));
        }
        let [object_type, major, draft, suite] = reader.array()?;
        if (major, draft) != (FORMAT_MAJOR, FORMAT_DRAFT) {
            return Err(FormatError::Newer(format!("format {major}, draft {draft}")));
        }
        if suite != SUITE {
            return Err(FormatError::Newer(format!("cipher suite {suite}")));
        }
        let object_type = ObjectType::from_byte(object_type)
            .ok_or_else(|| FormatError::Newer(format!("object type {object_type}")))?;
        let (incompat, ro_compat) = (reader.u32()?, reader.u32()?);
        if incompat != 0 {
            return Err(FormatError::Newer(format!("features {incompat:#x}")));
        }
        if reader.u32()? as usize != HEADER_BYTES {
            return Err(FormatError::Malformed("the header's length"));
        }
        Ok(Self {
            object_type,
            incompat,
            ro_compat,
            key_epoch: reader.u32()?,
            repository: RepositoryId(reader.array()?),
            object: ObjectId(reader.array()?),
            epoch: reader.u64()?,
            member: MemberId(reader.array()?),
            nonce: reader.array()?,
        })
    }
}

/// Checks that an object is the one its place says.
///
/// # Errors
/// Type, repository or identifier differ.
pub fn check_place(
    header: &Header,
    object_type: ObjectType,
    repository: RepositoryId,
    object: ObjectId,
) -> Result<(), FormatError> {
    if header.object_type != object_type {
        return Err(FormatError::Misplaced("its type"));
    }
    if header.repository != repository {
        return Err(FormatError::Misplaced("its repository"));
    }
    if header.object != object {
        return Err(FormatError::Misplaced("its name"));
    }
    Ok(())
}

/// An object read whole, its checksum verified.
#[derive(Debug)]
pub struct Object<'a> {
    /// Its header.
    pub header: Header,
    /// What lies between header and signature.
    pub body: &'a [u8],
    signature: &'a [u8],
    signed: &'a [u8],
}

impl<'a> Object<'a> {
    /// Takes an object apart and verifies its checksum.
    ///
    /// # Errors
    /// It is damaged, or no object of this version.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let content = verify_checksum(bytes)?;
        let header = Header::decode(&mut Reader::new(content))?;
        let signature_bytes = if header.object_type.is_signed() { SIGNATURE_BYTES } else { 0 };
        let body_end = content.len().checked_sub(signature_bytes).ok_or(FormatError::Truncated)?;
        let (signed, signature) = content.split_at(body_end);
        let body = signed.get(HEADER_BYTES..).ok_or(FormatError::Truncated)?;
        Ok(Self { header, body, signature, signed })
    }

    /// Verifies the author's signature.
    ///
    /// # Errors
    /// It was not made with this key, or objects of this type carry none.
    pub fn verify(&self, key: &SignPublic) -> Result<(), FormatError> {
        key.verify(&signed_message(&hash(self.signed)), self.signature)
    }
}

/// Returns an object's bytes without the checksum at their end, which is verified.
///
/// # Errors
/// They are too short or do not match.
pub fn verify_checksum(bytes: &[u8]) -> Result<&[u8], FormatError> {
    let (content, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(FormatError::Truncated)?;
    if hash(content) == *checksum { Ok(content) } else { Err(FormatError::Checksum) }
}

/// Puts an object together; `signer` is given exactly for the types that are signed.
///
/// # Panics
/// The type and the signer do not fit: a mistake of the caller.
#[must_use]
pub fn encode_object(header: &Header, body: &[u8], signer: Option<&Signer>) -> Vec<u8> {
    assert_eq!(header.object_type.is_signed(), signer.is_some(), "signed types have a signer");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len() + SIGNATURE_BYTES + CHECKSUM_BYTES);
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(body);
    if let Some(signer) = signer {
        let signature = signer.sign(&signed_message(&hash(&bytes)));
        bytes.extend_from_slice(&signature);
    }
    let checksum = hash(&bytes);
    bytes.extend_from_slice(&checksum);
    bytes
}

/// What is signed: `signed` is the hash of header and body.
pub(crate) fn signed_message(signed: &[u8; 32]) -> Vec<u8> {
    let mut message = b"holdfast 1 signature".to_vec();
    message.extend_from_slice(signed);
    message
}

/// Appends a section sealed under a key of the repository: length, then nonce, ciphertext and tag
/// over {compressed flag 1, payload}. The section's own key is derived from the header and the
/// label, and the nonce from what is sealed, so that two payloads never share both; the header is
/// bound to it.
pub fn seal_section(writer: &mut Writer, key: &Secret, header: &Header, label: &str, payload: &[u8]) {
    seal_section_paid(writer, key, header, label, payload, usize::MAX);
}

/// The same; what would unpack to more than a reader believes, so many times as much, stays as it is.
pub fn seal_section_paid(
    writer: &mut Writer,
    key: &Secret,
    header: &Header,
    label: &str,
    payload: &[u8],
    times: usize,
) {
    let header_bytes = header.encode();
    let mut compressor = crate::compress::Compressor::new(crate::compress::LEVEL_DEFAULT);
    let is_paid = |frame: &&[u8]| payload.len() <= unpacked_times(frame.len(), times, usize::MAX);
    let frame = compressor.compress(payload).filter(is_paid);
    let plaintext = frame.map_or_else(|| [&[0], payload].concat(), |frame| [&[1], frame].concat());
    let nonce = section_nonce(key, &header_bytes, label, &plaintext);
    let mut sealed = nonce.to_vec();
    section_cipher(key, &header_bytes, label).seal_append(nonce, &header_bytes, &plaintext, &mut sealed);
    writer.bytes32(&sealed);
}

/// The longest that a section may be unpacked which came in a body of so many bytes: what honest
/// authors write shrinks by less, and what is kept in memory must have cost its author something.
#[must_use]
pub const fn unpacked_max(body: usize, max: usize) -> usize {
    unpacked_times(body, UNPACKED_TIMES_MAX, max)
}

/// The same where earlier versions wrote what shrinks by more.
#[must_use]
pub const fn unpacked_times(body: usize, times: usize, max: usize) -> usize {
    let paid = UNPACKED_BYTES_FREE.saturating_add(body.saturating_mul(times));
    if paid < max { paid } else { max }
}

/// Takes a section off a body and opens it; its payload has at most `max` bytes.
///
/// # Errors
/// It is cut off, damaged, too long, or sealed under another key.
pub fn open_section(
    reader: &mut Reader<'_>,
    key: &Secret,
    header: &Header,
    label: &str,
    max: usize,
) -> Result<Vec<u8>, FormatError> {
    let sealed_max = max + NONCE_BYTES + 1 + TAG_BYTES;
    let mut sealed = reader.bytes32("a section", sealed_max as u32)?.to_vec();
    let header_bytes = header.encode();
    let (nonce, sealed) = sealed.split_first_chunk_mut::<NONCE_BYTES>().ok_or(FormatError::Truncated)?;
    let plaintext = section_cipher(key, &header_bytes, label).open_in_place(*nonce, &header_bytes, sealed)?;
    match plaintext.split_first() {
        Some((0, payload)) => Ok(payload.to_vec()),
        Some((1, frame)) => {
            let mut payload = Vec::new();
            crate::compress::Decompressor::new().decompress(frame, max, &mut payload)?;
            Ok(payload)
        }
        _ => Err(FormatError::Malformed("a section")),
    }
}

fn section_cipher(key: &Secret, header: &[u8; HEADER_BYTES], label: &str) -> Aead {
    Aead::new(&derive("holdfast 1 section", &[key.expose(), header, label.as_bytes()]))
}

fn section_nonce(
    key: &Secret,
    header: &[u8; HEADER_BYTES],
    label: &str,
    plaintext: &[u8],
) -> [u8; NONCE_BYTES] {
    let key = derive("holdfast 1 section nonce", &[key.expose(), header, label.as_bytes()]);
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(&keyed_hash(&key, plaintext)[..NONCE_BYTES]);
    nonce
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn header(object_type: ObjectType) -> Header {
        Header {
            object_type,
            incompat: 0,
            ro_compat: 0,
            key_epoch: 0,
            repository: RepositoryId([1; 16]),
            object: ObjectId([2; 16]),
            epoch: 3,
            member: MemberId([4; 16]),
            nonce: [5; 16],
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let signer = Signer::from_seed(Secret::new([6; 32]));
        let bytes = encode_object(&header(ObjectType::End), b"body", Some(&signer));
        let object = Object::parse(&bytes).unwrap();
        assert_eq!((object.body, object.header.epoch), (&b"body"[..], 3));
        object.verify(&signer.public()).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert_eq!(Object::parse(&flipped).unwrap_err(), FormatError::Checksum, "byte {at}");
        }
        for end in 0..bytes.len() {
            assert!(Object::parse(&bytes[..end]).is_err(), "cut to {end}");
        }
    }

    #[test]
    fn a_signature_holds_for_one_key_and_one_object() {
        let (alice, bob) = (Signer::from_seed(Secret::new([6; 32])), Signer::from_seed(Secret::new([7; 32])));
        let bytes = encode_object(&header(ObjectType::Root), b"body", Some(&alice));
        assert_eq!(Object::parse(&bytes).unwrap().verify(&bob.public()), Err(FormatError::Signature));
    }

    #[test]
    fn a_section_opens_only_under_its_own_header_key_and_label() {
        let (key, other) = (Secret::new([8; 32]), Secret::new([9; 32]));
        for payload in [vec![], vec![7; 5_000]] {
            let mut writer = Writer::new();
            seal_section(&mut writer, &key, &header(ObjectType::Begin), "begin", &payload);
            let bytes = writer.into_vec();
            let open = |key, header: &Header, label| {
                open_section(&mut Reader::new(&bytes), key, header, label, 5_000)
            };
            assert_eq!(open(&key, &header(ObjectType::Begin), "begin").unwrap(), payload);
            assert!(open(&other, &header(ObjectType::Begin), "begin").is_err());
            assert!(open(&key, &header(ObjectType::Pins), "begin").is_err());
            assert!(open(&key, &header(ObjectType::Begin), "pins").is_err());
        }
    }

    #[test]
    fn two_payloads_under_one_header_have_two_nonces() {
        let sealed = |payload: &[u8]| {
            let mut writer = Writer::new();
            seal_section(&mut writer, &Secret::new([8; 32]), &header(ObjectType::End), "summary", payload);
            writer.into_vec()
        };
        assert_eq!(sealed(b"one"), sealed(b"one"));
        assert_ne!(sealed(b"one")[4..16], sealed(b"two")[4..16]);
    }

    #[test]
    fn a_section_over_its_limit_is_refused_compressed_or_not() {
        let (key, head) = (Secret::new([8; 32]), header(ObjectType::Begin));
        for payload in [(0..200).collect::<Vec<u8>>(), vec![7; 5_000]] {
            let mut writer = Writer::new();
            seal_section(&mut writer, &key, &head, "begin", &payload);
            let open = |max| open_section(&mut Reader::new(writer.as_slice()), &key, &head, "begin", max);
            assert_eq!(open(payload.len()).unwrap(), payload);
            assert!(matches!(open(payload.len() - 1), Err(FormatError::TooLong(_))));
        }
    }

    #[test]
    fn only_packs_and_slots_carry_no_signature() {
        let unsigned: Vec<_> = ObjectType::ALL.into_iter().filter(|kind| !kind.is_signed()).collect();
        assert_eq!(unsigned, [ObjectType::Pack, ObjectType::KeySlot]);
    }

    #[test]
    fn other_versions_are_refused_by_name() {
        let mut bytes = header(ObjectType::Pins).encode().to_vec();
        bytes[10] = 9;
        let checksum = hash(&bytes);
        bytes.extend_from_slice(&checksum);
        let refused = Object::parse(&bytes).unwrap_err();
        assert_eq!(refused.to_string(), "it needs a newer version of holdfast (format 0, draft 9)");
    }
}
