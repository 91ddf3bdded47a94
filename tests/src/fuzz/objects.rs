//! Objects and their sections: each is sealed under real keys and decoded as a reader does it.
//!
//! On purpose not here: pages, packs and chunks.

use super::assert_same;
use holdfast_core::FormatError;
use holdfast_core::compress::Compressor;
use holdfast_core::crypto::{Aead, Secret, Signer, derive, hash};
use holdfast_core::id::{MemberId, ObjectId, RepositoryId, SessionId};
use holdfast_core::index::{IndexTables, MultisetSum, Partition, decode_delta, encode_delta};
use holdfast_core::keys::{Credential, KeyBundle, KeySlot, MemberEntry, Members, SessionRow};
use holdfast_core::object::{
    HEADER_BYTES, Header, Object, ObjectType, encode_object, open_section, seal_section,
};
use holdfast_core::record::{Evidence, WalSegment};
use holdfast_core::root::{List, Root, decode_snapshots, encode_snapshots};
use holdfast_core::segment::{IndexSegment, SegmentDecoder, TableRow};
use holdfast_core::session::{Begin, End, Pins, Summary};
use holdfast_core::wire::{Reader, Writer};

/// Longest payload of the section target, in bytes.
const SECTION_BYTES_MAX: usize = 1 << 20;

pub(super) const REPOSITORY: RepositoryId = RepositoryId([0x11; 16]);
pub(super) const MEMBER: MemberId = MemberId([0x22; 16]);
pub(super) const SESSION: SessionId = SessionId([0x33; 16]);

/// A key made from a word, as those of the golden repository are.
pub(super) fn key(word: &str) -> Secret {
    Secret::new(hash(word.as_bytes()))
}

fn signer() -> Signer {
    Signer::from_seed(key("signer"))
}

pub(super) fn header(object_type: ObjectType) -> Header {
    Header {
        object_type,
        incompat: 0,
        ro_compat: 0,
        key_epoch: 0,
        repository: REPOSITORY,
        object: ObjectId([0x44; 16]),
        epoch: 7,
        member: MEMBER,
        nonce: [0x55; 16],
    }
}

/// A body of one section and no tags.
fn body(front: &[u8], word: &str, head: &Header, label: &str, payload: &[u8]) -> Vec<u8> {
    let mut writer = Writer::from_vec(front.to_vec());
    seal_section(&mut writer, &key(word), head, label, payload);
    writer.tags(&[]);
    writer.into_vec()
}

/// Decodes; what was decoded is encoded, taken apart and decoded again.
fn round<T: PartialEq + std::fmt::Debug>(
    head: &Header,
    bytes: &[u8],
    decode: impl Fn(&Header, &[u8]) -> Result<T, FormatError>,
    encode: impl Fn(&T, &Header) -> Vec<u8>,
) {
    let Ok(before) = decode(head, bytes) else { return };
    let encoded = encode(&before, head);
    let object = Object::parse(&encoded).expect("what was encoded is an object");
    assert_same(head, &object.header);
    assert_same(&before, &decode(&object.header, object.body).expect("what was encoded decodes"));
}

/// Header and frame; the checksum is put right.
pub(super) fn object(bytes: &[u8]) {
    let mut whole = bytes.to_vec();
    whole.extend_from_slice(&hash(bytes));
    let Ok(object) = Object::parse(&whole) else { return };
    assert_eq!(object.header.encode(), bytes[..HEADER_BYTES], "a header has one spelling");
    assert!(object.verify(&signer().public()).is_err() || !object.header.object_type.is_signed());
}

/// A section's plaintext, the flag of compression included.
pub(super) fn section(bytes: &[u8]) {
    let (head, label, word) = (header(ObjectType::Begin), "begin", key("K_ref"));
    let head_bytes = head.encode();
    let aead = Aead::new(&derive("holdfast 1 section", &[word.expose(), &head_bytes, label.as_bytes()]));
    let mut sealed = vec![9; 12];
    aead.seal_append([9; 12], &head_bytes, bytes, &mut sealed);
    let mut writer = Writer::new();
    writer.bytes32(&sealed);
    let mut reader = Reader::new(writer.as_slice());
    let Ok(payload) = open_section(&mut reader, &word, &head, label, SECTION_BYTES_MAX) else { return };
    assert!(payload.len() <= SECTION_BYTES_MAX && reader.left() == 0);
    assert!(bytes[0] == 1 || payload == bytes[1..]);
}

/// A slot's body.
pub(super) fn slot(bytes: &[u8]) {
    let Ok(slot) = KeySlot::decode(bytes) else { return };
    let head = header(ObjectType::KeySlot);
    let encoded = slot.encode(&head);
    assert_eq!(Object::parse(&encoded).expect("an object").body, bytes, "a slot has one spelling");
    if let holdfast_core::keys::SlotKdf::KeyFile = slot.kdf {
        assert!(slot.unwrap(&head, Credential::KeyFile(&[7; 32])).is_err());
    }
}

/// What a slot's seal hides.
pub(super) fn slot_keys(bytes: &[u8]) {
    let (head, salt, file) = (header(ObjectType::KeySlot), [3; 32], [7; 32]);
    let slot_key = derive("holdfast 1 key file", &[&file, &salt]);
    let mut front = Writer::new();
    front.u8(2);
    front.raw(&[0; 12]);
    front.raw(&salt);
    front.u8(1);
    front.bytes16(b"label");
    let mut aad = head.encode().to_vec();
    aad.extend_from_slice(front.as_slice());
    aad.extend_from_slice(&[0, 0]);
    let mut sealed = Vec::new();
    Aead::new(&derive("holdfast 1 slot seal", &[slot_key.expose()])).seal_append(
        [0; 12],
        &aad,
        bytes,
        &mut sealed,
    );
    if sealed.len() > 65_536 {
        return;
    }
    front.bytes32(&sealed);
    front.raw(derive("holdfast 1 slot commitment", &[slot_key.expose()]).expose());
    front.tags(&[]);
    let slot = KeySlot::decode(front.as_slice()).expect("a slot that is well formed");
    match slot.unwrap(&head, Credential::KeyFile(&file)) {
        Ok(keys) => {
            let exposed = keys.kem.expose();
            assert!(bytes.windows(exposed.len()).any(|part| part == exposed.as_slice()));
        }
        Err(error) => assert!(!matches!(error, FormatError::WrongKey | FormatError::Sealed), "{error}"),
    }
}

/// A member entry's body, and a chain that begins with it.
pub(super) fn member(bytes: &[u8]) {
    let head = header(ObjectType::Member);
    round(&head, bytes, |_, body| MemberEntry::decode(body), |entry, head| entry.encode(head, &signer()));
    let mut members = Members::default();
    for _ in 0..2 {
        let object = members.next_object().unwrap_or(head.object);
        let whole = encode_object(&Header { object, ..head.clone() }, bytes, Some(&signer()));
        let before = members.len();
        let appended = members.append(&whole, REPOSITORY, &signer().public());
        assert_eq!(members.len(), before + usize::from(appended.is_ok()));
    }
}

pub(super) fn bundle(bytes: &[u8]) {
    let Ok(bundle) = KeyBundle::decode(bytes) else { return };
    let encoded = bundle.encode();
    let again = KeyBundle::decode(&encoded).expect("what was encoded decodes");
    assert_eq!(encoded, again.encode());
}

pub(super) fn session_row(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let Ok(row) = SessionRow::decode(&mut reader) else { return };
    let mut writer = Writer::new();
    row.encode(&mut writer);
    assert_eq!(writer.as_slice(), &bytes[..bytes.len() - reader.left()], "a row has one spelling");
}

pub(super) fn begin(bytes: &[u8]) {
    let head = header(ObjectType::Begin);
    round(
        &head,
        &body(&[], "K_ref", &head, "begin", bytes),
        |head, body| Begin::decode(head, body, &key("K_ref")),
        |begin, head| begin.encode(head, &key("K_ref"), &signer()),
    );
}

pub(super) fn pins(bytes: &[u8]) {
    let head = header(ObjectType::Pins);
    round(
        &head,
        &body(&[], "K_ref", &head, "pins", bytes),
        |head, body| Pins::decode(head, body, &key("K_ref")),
        |pins, head| pins.encode(head, &key("K_ref"), &signer()),
    );
}

fn round_end(head: &Header, bytes: &[u8]) {
    round(
        head,
        bytes,
        |head, body| End::decode(head, body, &key("K_ref")),
        |end, head| end.encode(head, &key("K_ref"), &signer()),
    );
}

pub(super) fn abort(bytes: &[u8]) {
    let head = header(ObjectType::End);
    round_end(&head, &body(&[2], "K_ref", &head, "abort", bytes));
}

pub(super) fn summary(bytes: &[u8]) {
    let Ok(summary) = Summary::decode(bytes) else { return };
    assert_same(&summary, &Summary::decode(&summary.encode()).expect("what was encoded decodes"));
}

/// An end: u16 length of the summary, the summary, and all that follows the summary's section.
pub(super) fn end(bytes: &[u8]) {
    let Some((summary, rest)) = split(bytes) else { return };
    let head = header(ObjectType::End);
    let mut writer = Writer::from_vec([&[1][..], &[5; 32], &[1, 0, 0, 0, 1, 0, 0, 0]].concat());
    seal_section(&mut writer, &key("K_ref"), &head, "summary", summary);
    writer.raw(rest);
    round_end(&head, writer.as_slice());
}

/// The details of a commit.
pub(super) fn details(bytes: &[u8]) {
    let head = header(ObjectType::End);
    let mut writer = Writer::from_vec([&[1][..], &[5; 32], &[0; 8]].concat());
    seal_section(&mut writer, &key("K_ref"), &head, "summary", &plain_summary());
    SessionRow { member: MEMBER, session: SESSION, key_epoch: 0, data: None, meta: None }.encode(&mut writer);
    seal_section(&mut writer, &key("meta"), &head, "details", bytes);
    writer.tags(&[]);
    let Ok(End::Commit(commit)) = End::decode(&head, writer.as_slice(), &key("K_ref")) else {
        panic!("an end that is well formed")
    };
    let Ok(before) = commit.open_details(&head, &key("meta")) else { return };
    let row = commit.session.clone();
    let again = holdfast_core::session::Commit::new(
        commit.summary.clone(),
        row,
        &before,
        &head,
        &key("meta"),
        [5; 32],
        commit.objects,
    );
    assert_same(&before, &again.open_details(&head, &key("meta")).expect("what was encoded decodes"));
}

/// A summary with nothing in it.
pub(super) fn plain_summary() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.raw(&[1; 16]);
    (0..5).for_each(|_| writer.u32(0));
    writer.raw(&[0; 24 + 88 + 1 + 8]);
    writer.raw(&[9; 32]);
    writer.u8(0);
    writer.u32(0);
    writer.u16(0);
    writer.into_vec()
}

pub(super) fn tables(bytes: &[u8]) {
    let Ok(tables) = IndexTables::decode(bytes) else { return };
    assert_same(&tables, &IndexTables::decode(&tables.encode()).expect("what was encoded decodes"));
}

pub(super) fn delta(bytes: &[u8]) {
    let head = header(ObjectType::IndexDelta);
    round(
        &head,
        &body(&[4, 0, 0, 0], "K_idx", &head, "index delta", bytes),
        |head, body| decode_delta(head, body, &key("K_idx")),
        |(number, tables), head| encode_delta(head, *number, tables, &key("K_idx"), &signer()),
    );
}

/// An index segment: partition and level as they are stored, where the tables are cut (u16), then
/// the tables. What it states of its rows is put right.
pub(super) fn segment(bytes: &[u8]) {
    let Some((&[bits, low, high, level, cut @ ..], rest)) = bytes.split_first_chunk::<6>() else { return };
    let tables = IndexTables::decode(rest);
    let (rows, sum) = tables
        .as_ref()
        .map_or((0, MultisetSum::default()), |tables| (tables.chunks.len() as u64, MultisetSum::of(tables)));
    let head = header(ObjectType::IndexSegment);
    let front = [&[bits, low, high, level], &rows.to_le_bytes()[..], &sum.0, &2u32.to_le_bytes()].concat();
    let (first, second) = rest.split_at(usize::from(u16::from_le_bytes(cut)).min(rest.len()));
    let mut writer = Writer::from_vec(front);
    [first, second]
        .iter()
        .for_each(|part| seal_section(&mut writer, &key("K_idx"), &head, "index segment", part));
    writer.tags(&[]);
    round(
        &head,
        writer.as_slice(),
        |head, body| {
            let segment = IndexSegment::decode(head, body, &key("K_idx"));
            assert_same(&segment, &streamed_segment(&encode_object(head, body, Some(&signer()))));
            let segment = segment?;
            let Partition { bits, value } = segment.partition;
            assert!(bits <= 12 && u32::from(value) < 1 << bits);
            assert!(segment.tables.chunks.iter().all(|row| segment.partition.holds(&row.key)));
            Ok(segment)
        },
        |segment, head| segment.encode(head, &key("K_idx"), &signer()),
    );
}

/// Reads a segment as it comes from a store, in pieces.
fn streamed_segment(object: &[u8]) -> Result<IndexSegment, FormatError> {
    let mut decoder = SegmentDecoder::new(REPOSITORY, ObjectId([0x44; 16]), &key("K_idx"));
    let mut tables = IndexTables::default();
    for piece in object.chunks(1000) {
        decoder.push(piece, &mut |row| match row {
            TableRow::Session(row) => tables.sessions.push(row),
            TableRow::Pack(_, row) => tables.packs.push(row),
            TableRow::Chunk(row) => tables.chunks.push(row),
        })?;
    }
    let head = decoder.finish(|_| Some(signer().public()))?.head;
    Ok(IndexSegment { partition: head.partition, level: head.level, sum: head.sum, tables })
}

/// The object of a segment as it lies in a store, whose checksum is put right.
pub(super) fn segment_object(bytes: &[u8]) {
    let checksum = hash(bytes);
    let _ = streamed_segment(&[bytes, &checksum].concat());
}

pub(super) fn root(bytes: &[u8]) {
    let head = header(ObjectType::Root);
    round(
        &head,
        &body(&[], "K_ref", &head, "root", bytes),
        |head, body| Root::decode(head, body, &key("K_ref")),
        |root, head| root.encode(head, &key("K_ref"), &signer()),
    );
}

pub(super) fn snapshots(bytes: &[u8]) {
    let head = header(ObjectType::SnapshotSegment);
    round(
        &head,
        &body(&[], "K_ref", &head, "snapshots", bytes),
        |head, body| decode_snapshots(head, body, &key("K_ref")),
        |rows, head| encode_snapshots(rows, head, &key("K_ref"), &signer()),
    );
}

pub(super) fn list(bytes: &[u8]) {
    let head = header(ObjectType::List);
    round(
        &head,
        &body(&[], "K_idx", &head, "list", bytes),
        |head, body| {
            let list = List::decode(head, body, &key("K_idx"))?;
            assert!(list.packs().len() <= list.items.len() / 37);
            Ok(list)
        },
        |list, head| list.encode(head, &key("K_idx"), &signer()),
    );
}

pub(super) fn evidence(bytes: &[u8]) {
    let head = header(ObjectType::Evidence);
    round(
        &head,
        &body(&[6; 40], "K_ref", &head, "evidence", bytes),
        |head, body| Evidence::decode(head, body, &key("K_ref")),
        |evidence, head| evidence.encode(head, &key("K_ref"), &signer()),
    );
}

pub(super) fn log(bytes: &[u8]) {
    let head = header(ObjectType::Wal);
    round(&head, bytes, |_, body| WalSegment::decode(body), |segment, head| segment.encode(head, &signer()));
}

/// A log segment's content: flag of compression, stated length u32, frame or plaintext.
pub(super) fn log_content(bytes: &[u8]) {
    let Some((front, payload)) = bytes.split_at_checked(5) else { return };
    // What a segment says of its length bounds the memory that opening it takes.
    let stated = u32::from_le_bytes([front[1], front[2], front[3], front[4]]);
    if stated > 8 << 20 {
        return;
    }
    let (head, secret, content) = (header(ObjectType::Wal), key("log"), [7; 32]);
    let row = holdfast_core::keys::WrappedSecret {
        commitment: [1; 32],
        recipient: [2; 8],
        ciphertext: vec![3; holdfast_core::crypto::KEM_CIPHERTEXT_BYTES],
        sealed: [4; 48],
    };
    let mut writer = Writer::new();
    writer.raw(&content);
    writer.raw(&front[1..]);
    writer.raw(&[0; 4]);
    row.encode(&mut writer);
    writer.u8(front[0] & 1);
    let mut sealed = Vec::new();
    Aead::new(&derive("holdfast 1 wal", &[secret.expose(), &head.encode()])).seal_append(
        [7; 12],
        &content,
        payload,
        &mut sealed,
    );
    writer.bytes32(&sealed);
    writer.tags(&[]);
    let segment = WalSegment::decode(writer.as_slice()).expect("a segment that is well formed");
    if let Ok(plaintext) = segment.open(&head, &secret) {
        assert_eq!(plaintext.len() as u64, segment.plain_bytes);
    }
    let mut compressor = Compressor::new(1);
    let sealed = WalSegment::seal(&head, payload, content, &secret, row, &mut compressor);
    assert_eq!(sealed.open(&head, &secret).expect("what was sealed opens"), payload);
}

/// A u16 length, so many bytes, and the rest.
pub(super) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))
}
