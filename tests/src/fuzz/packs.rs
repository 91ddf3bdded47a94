//! Packs and chunks: their ends, footers, frames and seals.
//!
//! On purpose not here: reading a pack from a store.

use super::objects::{MEMBER, REPOSITORY, SESSION, key};
use super::tree::identifier;
use holdfast_core::FormatError;
use holdfast_core::chunk::{
    PackCipher, Packed, PageCiphers, PageText, StoredLength, open_data, open_page, open_page_refs, seal_data,
    seal_page, unpack,
};
use holdfast_core::compress::{Compressor, Decompressor, PLAINTEXT_BYTES_MAX};
use holdfast_core::id::ChunkId;
use holdfast_core::keys::ChunkKind;
use holdfast_core::name::{PackClass, PackId};
use holdfast_core::object::seal_section;
use holdfast_core::pack::{
    HEAD_BYTES, TRAILER_BYTES, Trailer, decode_head, decode_trailer, open_footer, pack_header,
};
use holdfast_core::wire::Writer;

const PACK: PackId = PackId { member: MEMBER, session: SESSION, class: PackClass::Data, ordinal: 3 };

/// The bytes as the front and as the end of a pack.
pub(super) fn ends_of_pack(bytes: &[u8]) {
    if let Ok(head) = decode_head(bytes, REPOSITORY, &PACK) {
        assert_eq!((head.id, head.header.object), (PACK, PACK.object()));
    }
    let size = bytes.len() as u64;
    if let Ok(trailer) = decode_trailer(bytes, size) {
        let end = trailer.footer_offset + u64::from(trailer.footer_bytes);
        assert!(trailer.footer_offset >= HEAD_BYTES as u64 && end + TRAILER_BYTES as u64 == size);
    }
}

/// A footer's text, after u32 chunks and u32 offset of the footer as the trailer states them.
pub(super) fn footer(bytes: &[u8]) {
    let Some((front, payload)) = bytes.split_first_chunk::<8>() else { return };
    let number = |at: usize| u32::from_le_bytes([front[at], front[at + 1], front[at + 2], front[at + 3]]);
    let head = pack_header(REPOSITORY, &PACK, 0, 0, [5; 16]);
    let mut writer = Writer::new();
    seal_section(&mut writer, &key("K_idx"), &head, "pack footer", payload);
    let trailer = Trailer {
        footer_offset: number(4).into(),
        footer_bytes: writer.len() as u32,
        chunks: number(0),
        checksum: [0; 32],
    };
    let Ok(footer) = open_footer(writer.as_slice(), &trailer, &head, &key("K_idx")) else { return };
    let mut end = HEAD_BYTES as u64;
    for row in &footer.rows {
        assert!(u64::from(row.offset) >= end && usize::from(row.origin) <= footer.origins.len());
        end = u64::from(row.offset) + u64::from(row.length.bytes());
    }
    assert!(end <= trailer.footer_offset.max(HEAD_BYTES as u64));
}

/// A compressed frame, after the logarithm of its limit.
pub(super) fn frame(bytes: &[u8]) {
    let Some((&power, frame)) = bytes.split_first() else { return };
    let (max, mut out) = (1 << (power % 24), Vec::new());
    match Decompressor::new().decompress(frame, max, &mut out) {
        Ok(()) => assert!(out.len() <= max),
        Err(error) => {
            assert!(matches!(error, FormatError::TooLong(_) | FormatError::Malformed(_)), "{error}");
        }
    }
    if let Some(packed) = Compressor::new(1).compress(frame) {
        let mut again = Vec::new();
        Decompressor::new().decompress(packed, frame.len(), &mut again).expect("what was packed unpacks");
        assert_eq!(again, frame);
    }
}

/// A payload of a data chunk, after the flag of compression: opened under its own identifier and
/// under another.
pub(super) fn chunk(bytes: &[u8]) {
    let Some((&flag, payload)) = bytes.split_first() else { return };
    let cipher = PackCipher::new(&key("data"), REPOSITORY, &PACK);
    let (mut plaintext, mut opened) = (Vec::new(), Vec::new());
    let compressed = flag & 1 == 1;
    let unpacked = unpack(payload, compressed, &mut Decompressor::new(), &mut plaintext);
    assert!(plaintext.len() <= PLAINTEXT_BYTES_MAX);
    let own = identifier().chunk(ChunkKind::Data, &plaintext);
    for id in [own, ChunkId([7; 32])] {
        let mut sealed = Vec::new();
        let length = seal_data(&cipher, &id, Packed { payload, compressed }, &mut sealed);
        let mut decompressor = Decompressor::new();
        let outcome =
            open_data(&cipher, &identifier(), &id, length, &mut sealed, &mut decompressor, &mut opened);
        assert_eq!(outcome.is_ok(), unpacked.is_ok() && id == own, "{outcome:?}");
        assert!(outcome.is_err() || opened == plaintext);
    }
}

/// A page as it is stored, whose seals do not hold; and the same bytes as the body of a page.
pub(super) fn sealed_page(bytes: &[u8]) {
    let pack = PackId { class: PackClass::Tree, ..PACK };
    let ciphers = PageCiphers {
        refs: PackCipher::for_refs(&key("K_ref"), REPOSITORY, &pack),
        body: Some(PackCipher::new(&key("meta"), REPOSITORY, &pack)),
    };
    let open = |id: &ChunkId, length, sealed: &mut [u8]| {
        open_page(&ciphers, &identifier(), id, length, sealed, &mut Decompressor::new())
    };
    for compressed in [false, true] {
        let length = StoredLength::new(bytes.len(), compressed);
        assert!(open(&ChunkId([7; 32]), length, &mut bytes.to_vec()).is_err());
        assert!(open_page_refs(&ciphers, &ChunkId([7; 32]), length, &mut bytes.to_vec()).is_err());
    }
    let text = PageText { refs: bytes.iter().take(64).copied().collect(), body: bytes.to_vec() };
    let (id, mut sealed) = (text.id(&identifier()), Vec::new());
    let length = seal_page(&ciphers, &id, &text, &mut Compressor::new(1), &mut sealed);
    let refs = open_page_refs(&ciphers, &id, length, &mut sealed.clone());
    assert_eq!(refs.expect("what was sealed opens"), text.refs);
    assert_eq!(open(&id, length, &mut sealed).expect("what was sealed opens"), text);
}
