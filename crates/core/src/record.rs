//! Objects that stand alone, without a session: log segments of databases, and evidence of drills.
//!
//! Evidence has its place in the format now; what writes it comes with drills. On purpose not here:
//! what a drill's record says. It is opaque text.

use crate::chunk::unpack;
use crate::compress::{Compressor, Decompressor};
use crate::crypto::{Aead, Secret, Signer, derive};
use crate::entry::Time;
use crate::error::FormatError;
use crate::keys::WrappedSecret;
use crate::object::{
    Header, RECORD_SECTION_BYTES_MAX, encode_object, open_section, seal_section_paid, unpacked_times,
};
use crate::session::{decode_time, encode_time};
use crate::wire::{Reader, Tag, Writer, take_tag};

/// One segment of a database's log, or a piece of one: a sealed object that opens by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalSegment {
    /// Keyed hash of the plaintext: a writer that cannot read tells same from different by it.
    pub content: [u8; 32],
    /// Length of the plaintext in bytes.
    pub plain_bytes: u64,
    /// The secret that it is sealed under, wrapped to the repository's key for contents.
    pub wrapped: WrappedSecret,
    /// When it was stored by its writer's clock, or before that, when the server last wrote to it; for people.
    pub written: Option<Time>,
    compressed: bool,
    sealed: Vec<u8>,
}

const TAG_WRITTEN: u16 = 0x0001;

impl WalSegment {
    /// Seals a segment under a fresh secret. The nonce is the front of `content`, so that two
    /// plaintexts never share it.
    #[must_use]
    pub fn seal(
        header: &Header,
        plaintext: &[u8],
        content: [u8; 32],
        secret: &Secret,
        wrapped: WrappedSecret,
        compressor: &mut Compressor,
    ) -> Self {
        let packed = crate::chunk::pack_payload(plaintext, compressor);
        let mut sealed = Vec::new();
        wal_cipher(secret, header).seal_append(wal_nonce(&content), &content, packed.payload, &mut sealed);
        let plain_bytes = plaintext.len() as u64;
        Self { content, plain_bytes, wrapped, written: None, compressed: packed.compressed, sealed }
    }

    /// Opens the segment; the caller compares the plaintext's keyed hash with `content`.
    ///
    /// # Errors
    /// It is damaged, or the secret is another.
    pub fn open(&self, header: &Header, secret: &Secret) -> Result<Vec<u8>, FormatError> {
        let mut sealed = self.sealed.clone();
        let payload =
            wal_cipher(secret, header).open_in_place(wal_nonce(&self.content), &self.content, &mut sealed)?;
        let mut plaintext = Vec::new();
        if self.compressed {
            // Segments are larger than chunks: up to 1 GiB. None is longer than it says.
            let most = self.plain_bytes.min(1 << 30) as usize;
            Decompressor::new().decompress(payload, most, &mut plaintext)?;
        } else if payload.len() <= crate::compress::PLAINTEXT_BYTES_MAX {
            unpack(payload, false, &mut Decompressor::new(), &mut plaintext)?;
        } else {
            plaintext.extend_from_slice(payload);
        }
        if plaintext.len() as u64 == self.plain_bytes { Ok(plaintext) } else { Err(FormatError::Identity) }
    }

    /// Encodes the object: keyed hash 32, plain length 8, wrapped secret, compressed 1, sealed,
    /// tagged list; signed.
    #[must_use]
    pub fn encode(&self, header: &Header, signer: &Signer) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(&self.content);
        writer.u64(self.plain_bytes);
        self.wrapped.encode(&mut writer);
        writer.u8(u8::from(self.compressed));
        writer.bytes32(&self.sealed);
        let written = self.written.map(|time| {
            let mut bytes = Writer::new();
            encode_time(&mut bytes, time);
            Tag { id: TAG_WRITTEN, bytes: bytes.into_vec() }
        });
        writer.tags(written.as_slice());
        encode_object(header, writer.as_slice(), Some(signer))
    }

    /// Reads the body of a log segment; the caller verifies the signature.
    ///
    /// # Errors
    /// It is malformed or of a later version.
    pub fn decode(body: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(body);
        let mut segment = Self {
            content: reader.array()?,
            plain_bytes: reader.u64()?,
            wrapped: WrappedSecret::decode(&mut reader)?,
            written: None,
            compressed: reader.flag("a log segment")?,
            sealed: reader.bytes32("a log segment", 1 << 30)?.to_vec(),
        };
        let mut tags = reader.tags("a log segment", &[])?;
        reader.end()?;
        segment.written = take_tag(&mut tags, TAG_WRITTEN)
            .map(|bytes| {
                let mut reader = Reader::new(&bytes);
                decode_time(&mut reader).and_then(|time| reader.end().map(|()| time))
            })
            .transpose()?;
        Ok(segment)
    }
}

fn wal_nonce(content: &[u8; 32]) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&content[..12]);
    nonce
}

fn wal_cipher(secret: &Secret, header: &Header) -> Aead {
    Aead::new(&derive("holdfast 1 wal", &[secret.expose(), &header.encode()]))
}

/// One record of evidence; the records of a member form a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Its number in the chain, from 0.
    pub number: u64,
    /// BLAKE3-256 of the whole record before, zeros for the first.
    pub previous: [u8; 32],
    /// When.
    pub time: Time,
    /// What the text is: "drill", "access".
    pub kind: String,
    /// The record itself.
    pub text: Vec<u8>,
}

/// Earlier versions wrote records that shrink by more than other sections.
const EVIDENCE_TIMES_MAX: usize = 64;

impl Evidence {
    /// Encodes the object: number 8, previous 32, one sealed section, tagged list; signed.
    #[must_use]
    pub fn encode(&self, header: &Header, k_ref: &Secret, signer: &Signer) -> Vec<u8> {
        let mut section = Writer::new();
        encode_time(&mut section, self.time);
        section.bytes16(self.kind.as_bytes());
        section.bytes32(&self.text);
        section.tags(&[]);
        let mut writer = Writer::new();
        writer.u64(self.number);
        writer.raw(&self.previous);
        seal_section_paid(&mut writer, k_ref, header, "evidence", section.as_slice(), EVIDENCE_TIMES_MAX);
        writer.tags(&[]);
        encode_object(header, writer.as_slice(), Some(signer))
    }

    /// Reads the body of an evidence record; the caller verifies signature and chain.
    ///
    /// # Errors
    /// It is damaged, malformed, or of a later version.
    pub fn decode(header: &Header, body: &[u8], k_ref: &Secret) -> Result<Self, FormatError> {
        let mut reader = Reader::new(body);
        let (number, previous) = (reader.u64()?, reader.array()?);
        let max = unpacked_times(body.len(), EVIDENCE_TIMES_MAX, RECORD_SECTION_BYTES_MAX);
        let section = open_section(&mut reader, k_ref, header, "evidence", max)?;
        reader.tags("an evidence record", &[])?;
        reader.end()?;
        let mut reader = Reader::new(&section);
        let evidence = Self {
            number,
            previous,
            time: decode_time(&mut reader)?,
            kind: reader.text16("the kind of evidence")?,
            text: reader.bytes32("an evidence record", 64 << 20)?.to_vec(),
        };
        reader.tags("an evidence record", &[])?;
        reader.end()?;
        Ok(evidence)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::crypto::KEM_CIPHERTEXT_BYTES;
    use crate::id::{MemberId, ObjectId, RepositoryId};
    use crate::keys::member_header;
    use crate::object::{Object, ObjectType};

    fn header(object_type: ObjectType) -> Header {
        member_header(object_type, RepositoryId([1; 16]), ObjectId([2; 16]), MemberId([3; 16]), [4; 16])
    }

    #[test]
    fn log_segments_come_back() {
        let wrapped = WrappedSecret {
            commitment: [1; 32],
            recipient: [2; 8],
            ciphertext: vec![3; KEM_CIPHERTEXT_BYTES],
            sealed: [4; 48],
        };
        let (head, secret) = (header(ObjectType::Wal), Secret::new([5; 32]));
        let plaintext = vec![6; 1 << 20];
        let mut segment =
            WalSegment::seal(&head, &plaintext, [7; 32], &secret, wrapped, &mut Compressor::new(3));
        segment.written = Some(Time { seconds: 1, nanos: 2 });
        let signer = Signer::from_seed(Secret::new([8; 32]));
        let bytes = segment.encode(&head, &signer);
        let object = Object::parse(&bytes).unwrap();
        object.verify(&signer.public()).unwrap();
        let again = WalSegment::decode(object.body).unwrap();
        assert_eq!(again, segment);
        assert_eq!(again.open(&object.header, &secret).unwrap(), plaintext);
        assert!(again.open(&object.header, &Secret::new([6; 32])).is_err());
    }

    #[test]
    fn evidence_comes_back() {
        let (key, signer) = (Secret::new([1; 32]), Signer::from_seed(Secret::new([2; 32])));
        let evidence = Evidence {
            number: 1,
            previous: [3; 32],
            time: Time { seconds: 4, nanos: 5 },
            kind: "drill".into(),
            text: b"{}".to_vec(),
        };
        let bytes = evidence.encode(&header(ObjectType::Evidence), &key, &signer);
        let object = Object::parse(&bytes).unwrap();
        object.verify(&signer.public()).unwrap();
        assert_eq!(Evidence::decode(&object.header, object.body, &key).unwrap(), evidence);
    }

    #[test]
    fn a_small_record_does_not_unpack_to_a_large_one() {
        let (key, signer) = (Secret::new([1; 32]), Signer::from_seed(Secret::new([2; 32])));
        let header = header(ObjectType::Evidence);
        let text = vec![b'x'; 30 << 20];
        let time = Time { seconds: 4, nanos: 5 };
        let record = Evidence { number: 1, previous: [3; 32], time, kind: "drill".into(), text };
        // It is written as long as it is.
        let bytes = record.encode(&header, &key, &signer);
        assert!(bytes.len() > 30 << 20);
        let object = Object::parse(&bytes).unwrap();
        assert_eq!(Evidence::decode(&object.header, object.body, &key).unwrap(), record);
        // Whoever packs it writes nothing that is read.
        let mut section = Writer::new();
        encode_time(&mut section, record.time);
        section.bytes16(record.kind.as_bytes());
        section.bytes32(&record.text);
        section.tags(&[]);
        let mut writer = Writer::new();
        writer.u64(record.number);
        writer.raw(&record.previous);
        crate::object::seal_section(&mut writer, &key, &header, "evidence", section.as_slice());
        writer.tags(&[]);
        let bytes = encode_object(&header, writer.as_slice(), Some(&signer));
        assert!(bytes.len() < 100_000);
        let object = Object::parse(&bytes).unwrap();
        assert!(Evidence::decode(&object.header, object.body, &key).is_err());
    }
}
