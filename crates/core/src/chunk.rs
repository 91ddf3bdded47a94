//! Sealing and opening chunks: compress, encrypt under the key of the pack, and back, verified.
//!
//! A chunk's cryptographic identity is the pack that it was first sealed for and its own
//! identifier, not where it lies today: a later repack copies bytes.
//!
//! On purpose not here: how packs are laid out ([`crate::pack`]).

use crate::compress::{Compressor, Decompressor, PLAINTEXT_BYTES_MAX};
use crate::crypto::{Aead, Secret, TAG_BYTES, derive, keyed_hash};
use crate::error::FormatError;
use crate::id::{ChunkId, RepositoryId};
use crate::keys::{ChunkKind, Identifier};
use crate::name::PackId;

/// The high bit of a stored length: the chunk is compressed.
pub const COMPRESSED_BIT: u32 = 1 << 31;
/// Longest chunk as it is stored, in bytes: a body of 8 MiB, the references that it can name, seals.
pub const STORED_BYTES_MAX: u32 = 32 << 20;

/// How long a chunk is in its pack, and whether it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredLength(u32);

impl StoredLength {
    /// Joins a length and the flag.
    ///
    /// # Panics
    /// The length is 2 GiB or more: limits are far below.
    #[must_use]
    pub fn new(bytes: usize, compressed: bool) -> Self {
        let bytes = u32::try_from(bytes).expect("a stored length below 2 GiB");
        assert!(bytes & COMPRESSED_BIT == 0, "a stored length below 2 GiB");
        Self(if compressed { bytes | COMPRESSED_BIT } else { bytes })
    }

    /// Reads the 4 bytes.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// Returns the 4 bytes.
    #[must_use]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// Length in bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.0 & !COMPRESSED_BIT
    }

    /// Whether it is compressed.
    #[must_use]
    pub const fn is_compressed(self) -> bool {
        self.0 & COMPRESSED_BIT != 0
    }
}

/// Key of one pack, for chunks of its kind.
pub struct PackCipher {
    aead: Aead,
    nonce_key: Secret,
    context: [u8; 16 + PackId::SIZE],
}

impl std::fmt::Debug for PackCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PackCipher([redacted])")
    }
}

impl PackCipher {
    /// Derives the key for contents or page bodies from the session's secret of that class.
    #[must_use]
    pub fn new(session_secret: &Secret, repository: RepositoryId, pack: &PackId) -> Self {
        Self::derive_from(session_secret, repository, pack, "holdfast 1 pack", "holdfast 1 pack nonce")
    }

    /// Derives the key for the references of pages from `K_ref`.
    #[must_use]
    pub fn for_refs(k_ref: &Secret, repository: RepositoryId, pack: &PackId) -> Self {
        Self::derive_from(k_ref, repository, pack, "holdfast 1 pack refs", "holdfast 1 pack refs nonce")
    }

    fn derive_from(secret: &Secret, repository: RepositoryId, pack: &PackId, key: &str, nonce: &str) -> Self {
        let pack_bytes = pack.encode();
        let parts: [&[u8]; 3] = [secret.expose(), repository.bytes(), &pack_bytes];
        let mut context = [0; 16 + PackId::SIZE];
        context[..16].copy_from_slice(repository.bytes());
        context[16..].copy_from_slice(&pack_bytes);
        Self { aead: Aead::new(&derive(key, &parts)), nonce_key: derive(nonce, &parts), context }
    }

    fn nonce(&self, id: &ChunkId, length: StoredLength) -> [u8; 12] {
        let mut message = [0; 36];
        message[..32].copy_from_slice(id.bytes());
        message[32..].copy_from_slice(&length.raw().to_le_bytes());
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&keyed_hash(&self.nonce_key, &message)[..12]);
        nonce
    }

    fn aad(&self, kind: ChunkKind, id: &ChunkId) -> [u8; 16 + PackId::SIZE + 1 + 32] {
        let mut aad = [0; 16 + PackId::SIZE + 1 + 32];
        aad[..53].copy_from_slice(&self.context);
        aad[53] = kind as u8;
        aad[54..].copy_from_slice(id.bytes());
        aad
    }

    fn seal(&self, kind: ChunkKind, id: &ChunkId, length: StoredLength, payload: &[u8], out: &mut Vec<u8>) {
        self.aead.seal_append(self.nonce(id, length), &self.aad(kind, id), payload, out);
    }

    fn open<'a>(
        &self,
        kind: ChunkKind,
        id: &ChunkId,
        length: StoredLength,
        sealed: &'a mut [u8],
    ) -> Result<&'a [u8], FormatError> {
        Ok(self.aead.open_in_place(self.nonce(id, length), &self.aad(kind, id), sealed)?)
    }
}

/// What a plaintext becomes before it is encrypted.
#[derive(Debug, Clone, Copy)]
pub struct Packed<'a> {
    /// The frame, or the plaintext itself.
    pub payload: &'a [u8],
    /// Whether `payload` is a frame.
    pub compressed: bool,
}

/// Compresses a plaintext if that pays.
pub fn pack_payload<'a>(plaintext: &'a [u8], compressor: &'a mut Compressor) -> Packed<'a> {
    compressor.compress(plaintext).map_or(Packed { payload: plaintext, compressed: false }, |payload| {
        Packed { payload, compressed: true }
    })
}

/// Seals a data chunk at the end of `out`; returns its stored length.
pub fn seal_data(cipher: &PackCipher, id: &ChunkId, packed: Packed<'_>, out: &mut Vec<u8>) -> StoredLength {
    let length = StoredLength::new(packed.payload.len() + TAG_BYTES, packed.compressed);
    cipher.seal(ChunkKind::Data, id, length, packed.payload, out);
    length
}

/// Opens a data chunk in place and verifies its identifier; the plaintext is in `plaintext`.
///
/// # Errors
/// It was damaged, or is not the chunk asked for.
pub fn open_data(
    cipher: &PackCipher,
    identifier: &Identifier,
    id: &ChunkId,
    length: StoredLength,
    sealed: &mut [u8],
    decompressor: &mut Decompressor,
    plaintext: &mut Vec<u8>,
) -> Result<(), FormatError> {
    let payload = cipher.open(ChunkKind::Data, id, length, sealed)?;
    unpack(payload, length.is_compressed(), decompressor, plaintext)?;
    if identifier.chunk(ChunkKind::Data, plaintext) == *id { Ok(()) } else { Err(FormatError::Identity) }
}

/// Opens a data chunk in place up to its payload, for a check right after sealing.
///
/// # Errors
/// It was damaged.
pub fn open_payload<'a>(
    cipher: &PackCipher,
    id: &ChunkId,
    length: StoredLength,
    sealed: &'a mut [u8],
) -> Result<&'a [u8], FormatError> {
    cipher.open(ChunkKind::Data, id, length, sealed)
}

/// Undoes [`pack_payload`].
///
/// # Errors
/// It does not decompress or is too long.
pub fn unpack(
    payload: &[u8],
    compressed: bool,
    decompressor: &mut Decompressor,
    plaintext: &mut Vec<u8>,
) -> Result<(), FormatError> {
    if compressed {
        return decompressor.decompress(payload, PLAINTEXT_BYTES_MAX, plaintext);
    }
    if payload.len() > PLAINTEXT_BYTES_MAX {
        return Err(FormatError::TooLong("a chunk"));
    }
    plaintext.clear();
    plaintext.extend_from_slice(payload);
    Ok(())
}

/// The two ciphers of a tree pack.
#[derive(Debug)]
pub struct PageCiphers {
    /// For references, from `K_ref`.
    pub refs: PackCipher,
    /// For bodies, from the session's secret; absent where the key does not allow reading them.
    pub body: Option<PackCipher>,
}

/// Plaintext of a page: references for the collector, body for readers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageText {
    /// Encoded references.
    pub refs: Vec<u8>,
    /// Encoded entries.
    pub body: Vec<u8>,
}

impl PageText {
    /// The plain length that a pack's footer states.
    #[must_use]
    pub const fn plain_bytes(&self) -> usize {
        4 + self.refs.len() + self.body.len()
    }

    /// Identifies the page: hash over references, their length, and body.
    #[must_use]
    pub fn id(&self, identifier: &Identifier) -> ChunkId {
        let mut text = Vec::with_capacity(4 + self.refs.len() + self.body.len());
        text.extend_from_slice(&(self.refs.len() as u32).to_le_bytes());
        text.extend_from_slice(&self.refs);
        text.extend_from_slice(&self.body);
        identifier.chunk(ChunkKind::Page, &text)
    }
}

/// Seals a page at the end of `out`: length of the sealed references (4 bytes), references, body.
///
/// # Panics
/// The ciphers lack the one for bodies: a mistake of the caller.
pub fn seal_page(
    ciphers: &PageCiphers,
    id: &ChunkId,
    page: &PageText,
    compressor: &mut Compressor,
    out: &mut Vec<u8>,
) -> StoredLength {
    let packed = pack_payload(&page.body, compressor);
    let refs_bytes = page.refs.len() + TAG_BYTES;
    let length = StoredLength::new(4 + refs_bytes + packed.payload.len() + TAG_BYTES, packed.compressed);
    out.extend_from_slice(&(refs_bytes as u32).to_le_bytes());
    ciphers.refs.seal(ChunkKind::Page, id, length, &page.refs, out);
    let body = ciphers.body.as_ref().expect("a cipher for bodies");
    body.seal(ChunkKind::Page, id, length, packed.payload, out);
    length
}

/// Opens the references of a page: all that the collector needs.
///
/// # Errors
/// They were damaged.
pub fn open_page_refs(
    ciphers: &PageCiphers,
    id: &ChunkId,
    length: StoredLength,
    sealed: &mut [u8],
) -> Result<Vec<u8>, FormatError> {
    let (refs, _) = split_page(sealed)?;
    Ok(ciphers.refs.open(ChunkKind::Page, id, length, refs)?.to_vec())
}

/// Opens a page in place and verifies its identifier.
///
/// # Errors
/// It was damaged, is not the page asked for, or the key does not allow reading bodies.
pub fn open_page(
    ciphers: &PageCiphers,
    identifier: &Identifier,
    id: &ChunkId,
    length: StoredLength,
    sealed: &mut [u8],
    decompressor: &mut Decompressor,
) -> Result<PageText, FormatError> {
    let body_cipher = ciphers.body.as_ref().ok_or(FormatError::NotAllowed("it cannot read"))?;
    let (refs, body) = split_page(sealed)?;
    let refs = ciphers.refs.open(ChunkKind::Page, id, length, refs)?.to_vec();
    let payload = body_cipher.open(ChunkKind::Page, id, length, body)?;
    let mut page = PageText { refs, body: Vec::new() };
    unpack(payload, length.is_compressed(), decompressor, &mut page.body)?;
    if page.id(identifier) == *id { Ok(page) } else { Err(FormatError::Identity) }
}

fn split_page(sealed: &mut [u8]) -> Result<(&mut [u8], &mut [u8]), FormatError> {
    let (length, rest) = sealed.split_first_chunk_mut::<4>().ok_or(FormatError::Truncated)?;
    rest.split_at_mut_checked(u32::from_le_bytes(*length) as usize).ok_or(FormatError::Truncated)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::id::{MemberId, SessionId};
    use crate::name::PackClass;

    fn pack(class: PackClass) -> PackId {
        PackId { member: MemberId([1; 16]), session: SessionId([2; 16]), class, ordinal: 3 }
    }

    fn identifier() -> Identifier {
        Identifier::new(&Secret::new([4; 32]), &Secret::new([5; 32]))
    }

    #[test]
    fn a_data_chunk_comes_back_and_no_flip_passes() {
        let cipher = PackCipher::new(&Secret::new([6; 32]), RepositoryId([7; 16]), &pack(PackClass::Data));
        let identifier = identifier();
        for plaintext in [vec![], vec![8; 3_000], (0..=255).collect::<Vec<u8>>()] {
            let id = identifier.chunk(ChunkKind::Data, &plaintext);
            let mut compressor = Compressor::new(3);
            let mut sealed = Vec::new();
            let length = seal_data(&cipher, &id, pack_payload(&plaintext, &mut compressor), &mut sealed);
            assert_eq!(
                (length.bytes() as usize, length.is_compressed()),
                (sealed.len(), plaintext.len() == 3_000)
            );
            let open = |length, mut sealed: Vec<u8>| {
                let mut out = Vec::new();
                open_data(&cipher, &identifier, &id, length, &mut sealed, &mut Decompressor::new(), &mut out)
                    .map(|()| out)
            };
            assert_eq!(open(length, sealed.clone()).unwrap(), plaintext);
            for at in 0..sealed.len() {
                let mut flipped = sealed.clone();
                flipped[at] ^= 1;
                assert_eq!(open(length, flipped), Err(FormatError::Sealed));
            }
            assert!(open(StoredLength::from_raw(length.raw() ^ COMPRESSED_BIT), sealed).is_err());
        }
    }

    #[test]
    fn a_chunk_does_not_open_as_that_of_another_pack_or_kind() {
        let secret = Secret::new([6; 32]);
        let cipher = PackCipher::new(&secret, RepositoryId([7; 16]), &pack(PackClass::Data));
        let id = identifier().chunk(ChunkKind::Data, b"text");
        let mut sealed = Vec::new();
        let length = seal_data(&cipher, &id, Packed { payload: b"text", compressed: false }, &mut sealed);
        let other = PackId { ordinal: 4, ..pack(PackClass::Data) };
        for (repository, pack) in
            [(RepositoryId([7; 16]), other), (RepositoryId([8; 16]), pack(PackClass::Data))]
        {
            let cipher = PackCipher::new(&secret, repository, &pack);
            assert!(cipher.open(ChunkKind::Data, &id, length, &mut sealed.clone()).is_err());
        }
        assert!(cipher.open(ChunkKind::Page, &id, length, &mut sealed).is_err());
        assert_ne!(identifier().chunk(ChunkKind::Page, b"text"), id);
    }

    #[test]
    fn a_page_gives_its_refs_without_the_key_of_its_body() {
        let (k_ref, secret) = (Secret::new([8; 32]), Secret::new([6; 32]));
        let (repository, pack) = (RepositoryId([7; 16]), pack(PackClass::Tree));
        let refs_only = PageCiphers { refs: PackCipher::for_refs(&k_ref, repository, &pack), body: None };
        let both = PageCiphers {
            refs: PackCipher::for_refs(&k_ref, repository, &pack),
            body: Some(PackCipher::new(&secret, repository, &pack)),
        };
        let identifier = identifier();
        let page = PageText { refs: vec![1; 64], body: vec![2; 5_000] };
        let id = page.id(&identifier);
        let mut sealed = Vec::new();
        let length = seal_page(&both, &id, &page, &mut Compressor::new(3), &mut sealed);
        assert_eq!(length.bytes() as usize, sealed.len());
        assert_eq!(open_page_refs(&refs_only, &id, length, &mut sealed.clone()).unwrap(), page.refs);
        let open = |ciphers, mut sealed: Vec<u8>| {
            open_page(ciphers, &identifier, &id, length, &mut sealed, &mut Decompressor::new())
        };
        assert_eq!(open(&both, sealed.clone()).unwrap(), page);
        assert!(open(&refs_only, sealed.clone()).is_err());
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert!(open(&both, flipped).is_err(), "byte {at}");
        }
    }
}
