//! Test vectors of the format: fixed keys and nonces, and the bytes that follow from them.
//!
//! `HOLDFAST_WRITE_VECTORS=1 cargo test -p holdfast-core --test vectors` writes the files in
//! `vectors/`; without it what is made is compared with them, and what they hold is read back.
//! Encapsulation is random, so its results are stored; decapsulation is checked for real.

#![expect(clippy::unwrap_used, reason = "a test")]

mod fixture;

use fixture::{array, bytes, is_writing, kem_calls, noise, source_path, stored};
use holdfast_core::FormatError;
use holdfast_core::chunk::{
    PackCipher, Packed, PageCiphers, PageText, StoredLength, open_data, open_page, open_page_refs,
    pack_payload, seal_data, seal_page,
};
use holdfast_core::chunker::{BundleRule, Chunker, GearTable};
use holdfast_core::compress::{Compressor, Decompressor};
use holdfast_core::crypto::{KdfCost, KemSecret, Secret, Signer, derive, encapsulate, hash, keyed_hash};
use holdfast_core::cutoff::{CutOff, CutOffs, KnownLog};
use holdfast_core::dated::{DatedLog, DatedLogs, DatedPart};
use holdfast_core::entry::{Attributes, Content, Entry, Extent, Kind, Owner, Time, Xattrs};
use holdfast_core::entry_code::{decode_alone, decode_xattrs, encode_alone, encode_xattrs};
use holdfast_core::hold::{Hold, HoldScope, WatchedSession};
use holdfast_core::id::{ChunkId, MemberId, ObjectId, RepositoryId, SessionId, StreamId, hex};
use holdfast_core::index::{
    ChunkKey, ChunkRow, IndexTables, MultisetSum, PackRow, Partition, decode_delta, encode_delta,
};
use holdfast_core::keys::{
    ChunkKind, Credential, Founding, FoundingRandom, Identifier, KeyBundle, KeySlot, Keyring, MemberAction,
    MemberEntry, Members, Opener, Role, Sealer, SessionRow, SessionSecrets, SlotKdf, SlotTerms, Transit,
    found, open_bundle, seal_bundle,
};
use holdfast_core::name::{PackClass, PackId};
use holdfast_core::object::{Header, Object, ObjectType, encode_object, open_section, seal_section};
use holdfast_core::pack::{
    FinishedPack, HEAD_BYTES, PackBuilder, TRAILER_BYTES, decode_head, decode_trailer, open_footer,
    pack_header,
};
use holdfast_core::page::{
    Blocks, ExtentTreeBuilder, KeySpace, Page, PageBody, TreeBuilder, encode_extent_leaf,
};
use holdfast_core::record::{Evidence, WalSegment};
use holdfast_core::repository::{Features, RECOVER_TEXT, Repository};
use holdfast_core::root::{
    CataloguedSnapshot, Conservation, List, ListKind, NamedRow, Root, SegmentRow, WalFloor, decode_snapshots,
    encode_snapshots,
};
use holdfast_core::segment::IndexSegment;
use holdfast_core::session::{
    Begin, Commit, Counts, Details, End, LogSpan, Pins, Process, Published, RecordedProblem, SaidBy, Summary,
};
use holdfast_core::wire::{Reader, Tag, Writer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const REPOSITORY: RepositoryId = RepositoryId([0x11; 16]);
const MEMBER: MemberId = MemberId([0x22; 16]);
const SESSION: SessionId = SessionId([0x33; 16]);
const DATA_PACK: PackId =
    PackId { member: MEMBER, session: SESSION, class: PackClass::Data, ordinal: 0x0102_0304 };
const TREE_PACK: PackId = PackId { member: MEMBER, session: SESSION, class: PackClass::Tree, ordinal: 1 };

/// One file of vectors: names and lower-case hexadecimal or decimal values.
struct Book {
    name: &'static str,
    stored: BTreeMap<String, String>,
    made: BTreeMap<String, String>,
}

impl Book {
    fn open(name: &'static str) -> Self {
        let text = std::fs::read(Self::path(name)).unwrap_or_else(|_| b"{}".to_vec());
        Self { name, stored: serde_json::from_slice(&text).unwrap(), made: BTreeMap::new() }
    }

    fn path(name: &str) -> std::path::PathBuf {
        source_path(&format!("crates/core/vectors/{name}.json"))
    }

    fn text(&mut self, key: &str, value: &str) {
        if !is_writing() {
            assert_eq!(self.stored.get(key).map(String::as_str), Some(value), "{}: {key}", self.name);
        }
        assert!(self.made.insert(key.to_owned(), value.to_owned()).is_none(), "{key} twice");
    }

    /// Compares made bytes with the stored ones; returns the stored ones, to be read back.
    fn hex(&mut self, key: &str, value: &[u8]) -> Vec<u8> {
        self.text(key, &hex(value));
        bytes(&self.made[key])
    }

    fn close(self) {
        if is_writing() {
            let text = serde_json::to_string_pretty(&self.made).unwrap() + "\n";
            std::fs::write(Self::path(self.name), text).unwrap();
        } else {
            assert_eq!(self.stored.len(), self.made.len(), "{} has vectors that nothing makes", self.name);
        }
    }
}

fn key(byte: u8) -> Secret {
    Secret::new([byte; 32])
}

fn identifier() -> Identifier {
    Identifier::new(&key(0xa1), &key(0xa2))
}

fn header(object_type: ObjectType) -> Header {
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

fn founding() -> Founding {
    let random = FoundingRandom {
        x25519: [0, 1, 2].map(|at: usize| array(&stored()[at].x25519_secret)),
        wal: None,
        sign: [0xb1; 32],
        keys: [[0xa1; 32], [0xa2; 32], [0xa3; 32], [0xa4; 32]],
        ephemeral: [0xb2; 32],
    };
    found(REPOSITORY, MEMBER, "owner", &random, &kem_calls()).unwrap()
}

fn signer() -> Signer {
    Signer::from_seed(key(0xb1))
}

fn secrets() -> SessionSecrets {
    SessionSecrets { data: key(0xc1), meta: key(0xc2) }
}

fn session_row() -> SessionRow {
    let sealer = Sealer::new(REPOSITORY, MEMBER, &founding().bundle).unwrap();
    sealer.begin_session(SESSION, &secrets(), &[[0xd1; 32], [0xd2; 32]], &kem_calls()).unwrap()
}

#[test]
fn the_hybrid_kem_agrees_with_the_draft_of_x_wing() {
    for kem in stored() {
        let secret = KemSecret::new(array(&kem.x25519_secret), &kem.pair()).unwrap();
        assert_eq!(hex(&secret.public().0), kem.public, "{}", kem.origin);
        let mut ciphertext = bytes(&kem.ciphertext);
        assert_eq!(hex(secret.decapsulate(&ciphertext).unwrap().expose()), kem.shared, "{}", kem.origin);
        let (again, shared) = encapsulate(secret.public(), &array(&kem.ephemeral), &kem_calls()).unwrap();
        assert_eq!((hex(&again), hex(shared.expose())), (kem.ciphertext, kem.shared), "{}", kem.origin);
        ciphertext[0] ^= 1;
        assert_ne!(secret.decapsulate(&ciphertext).unwrap(), shared);
    }
}

#[test]
fn keys_and_identifiers() {
    let mut book = Book::open("keys");
    book.hex("derive, no part", derive("holdfast 1 section", &[]).expose());
    book.hex("derive, parts ab and c", derive("holdfast 1 section", &[b"ab", b"c"]).expose());
    assert_ne!(derive("holdfast 1 section", &[b"a", b"bc"]), derive("holdfast 1 section", &[b"ab", b"c"]));
    book.hex("keyed hash of abc under a1", &keyed_hash(&key(0xa1), b"abc"));

    let identifier = identifier();
    let by_formula =
        |context: &str, text: &[u8]| keyed_hash(&derive(context, &[key(0xa1).expose()]), text).to_vec();
    for (kind, name) in [(ChunkKind::Data, "data"), (ChunkKind::Page, "page")] {
        let id = identifier.chunk(kind, b"abc");
        book.hex(&format!("chunk id of abc, {name}"), id.bytes());
        assert_eq!(id.bytes()[..], by_formula(&format!("holdfast 1 id {name}"), b"abc"));
    }
    book.hex("log content hash of abc", &identifier.wal(b"abc"));
    assert_eq!(identifier.wal(b"abc")[..], by_formula("holdfast 1 id wal", b"abc"));
    let stream = identifier.stream("host", "files", "/srv");
    book.hex("stream id of host, files, /srv", stream.bytes());
    let framed = b"\x04\0\0\0host\x05\0\0\0files\x04\0\0\0/srv";
    assert_eq!(stream.bytes()[..], by_formula("holdfast 1 id stream", framed)[..16]);
    book.hex("link group of a/b", &identifier.link_group(b"a\0b"));
    assert_eq!(identifier.link_group(b"a\0b")[..], by_formula("holdfast 1 id link group", b"a\0b")[..16]);
    book.hex("block hash of 8 KiB of zeros", &identifier.block(&[0; 8192]).to_le_bytes());
    assert_eq!(
        identifier.block(&[1; 8192]).to_le_bytes()[..],
        by_formula("holdfast 1 id block", &[1; 8192])[..8]
    );
    book.hex("page cut hash of a/b", &identifier.page_cut(b"a\0b"));
    book.hex("object id of the data pack", DATA_PACK.object().bytes());
    book.text("name of the data pack", &DATA_PACK.name());
    book.text("name of the tree pack", &TREE_PACK.name());
    let session = SessionId::of(MemberId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]), [0x66; 8]);
    book.hex("session id of member 0102..10, random 66", session.bytes());

    let founding = founding();
    let bundle = book.hex("key bundle, plain", &founding.bundle.encode());
    assert_eq!(*KeyBundle::decode(&bundle).unwrap().encode(), *bundle);
    let sealed = book.hex("key bundle, sealed to the owner", &founding.entry.bundles[0].1);
    assert_eq!(*open_bundle(&sealed, REPOSITORY, &founding.owner.kem).unwrap().encode(), *bundle);

    let mut writer = Writer::new();
    session_row().encode(&mut writer);
    let row = book.hex("session row", writer.as_slice());
    let row = SessionRow::decode(&mut Reader::new(&row)).unwrap();
    let opener = Opener::new(REPOSITORY, &founding.bundle);
    assert_eq!(opener.session_secret(&row, PackClass::Data).unwrap(), secrets().data);
    assert_eq!(opener.session_secret(&row, PackClass::Tree).unwrap(), secrets().meta);
    book.close();
}

#[test]
fn sections() {
    let mut book = Book::open("sections");
    for (name, payload) in [("empty", vec![]), ("raw", b"abc".to_vec()), ("compressed", vec![7; 5000])] {
        let mut writer = Writer::new();
        seal_section(&mut writer, &key(0xa4), &header(ObjectType::Begin), "begin", &payload);
        let sealed = book.hex(name, writer.as_slice());
        let mut reader = Reader::new(&sealed);
        let opened = open_section(&mut reader, &key(0xa4), &header(ObjectType::Begin), "begin", 5_000);
        assert_eq!(opened.unwrap(), payload);
    }
    book.hex("header", &header(ObjectType::Begin).encode());
    book.hex("signed object", &encode_object(&header(ObjectType::End), b"body", Some(&signer())));
    book.hex("public key of the signer", &signer().public().0);
    book.hex("unsigned object", &encode_object(&header(ObjectType::KeySlot), b"body", None));
    let mut writer = Writer::new();
    let tags = [Tag { id: 0x0102, bytes: b"ab".to_vec() }, Tag { id: 0x8003, bytes: vec![] }];
    writer.tags(&tags);
    let list = book.hex("tagged list", writer.as_slice());
    assert_eq!(Reader::new(&list).tags("a record", &[0x8003]).unwrap(), tags);
    assert!(Reader::new(&list).tags("a record", &[]).is_err());
    book.close();
}

#[test]
fn chunks() {
    let mut book = Book::open("chunks");
    let identifier = identifier();
    let cipher = PackCipher::new(&secrets().data, REPOSITORY, &DATA_PACK);
    for (name, plaintext) in [("raw", noise("raw", 100)), ("compressed", b"abcdefgh".repeat(200))] {
        let id = identifier.chunk(ChunkKind::Data, &plaintext);
        let mut compressor = Compressor::new(3);
        let mut sealed = Vec::new();
        let length = seal_data(&cipher, &id, pack_payload(&plaintext, &mut compressor), &mut sealed);
        book.hex(&format!("data, {name}, plaintext"), &plaintext);
        book.hex(&format!("data, {name}, id"), id.bytes());
        book.hex(&format!("data, {name}, stored length"), &length.raw().to_le_bytes());
        let mut stored = book.hex(&format!("data, {name}, sealed"), &sealed);
        let mut out = Vec::new();
        open_data(&cipher, &identifier, &id, length, &mut stored, &mut Decompressor::new(), &mut out)
            .unwrap();
        assert_eq!(out, plaintext);
    }
    let page = PageText { refs: noise("refs", 72), body: b"a body of a page ".repeat(30) };
    let id = page.id(&identifier);
    let ciphers = PageCiphers {
        refs: PackCipher::for_refs(&key(0xa4), REPOSITORY, &TREE_PACK),
        body: Some(PackCipher::new(&secrets().meta, REPOSITORY, &TREE_PACK)),
    };
    let mut sealed = Vec::new();
    let length = seal_page(&ciphers, &id, &page, &mut Compressor::new(3), &mut sealed);
    book.hex("page, refs", &page.refs);
    book.hex("page, body", &page.body);
    book.hex("page, id", id.bytes());
    book.hex("page, stored length", &length.raw().to_le_bytes());
    let mut stored = book.hex("page, sealed", &sealed);
    assert_eq!(open_page_refs(&ciphers, &id, length, &mut stored.clone()).unwrap(), page.refs);
    let opened = open_page(&ciphers, &identifier, &id, length, &mut stored, &mut Decompressor::new());
    assert_eq!(opened.unwrap(), page);
    book.close();
}

#[test]
fn cuts() {
    let mut book = Book::open("cuts");
    let seed = "holdfast vector stream";
    book.text("the stream: 8 MiB of the extended BLAKE3 output for", seed);
    let stream = noise(seed, 8 << 20);
    book.hex("digest of the stream", &hash(&stream));
    let table = GearTable::new(&key(0xa2));
    let gear = derive("holdfast 1 gear table", &[key(0xa2).expose()]);
    book.hex("gear entry 0, little-endian", &keyed_hash(&gear, &[0])[..8]);
    book.hex("gear entry 255, little-endian", &keyed_hash(&gear, &[255])[..8]);
    let mut chunker = Chunker::new(&table);
    let (mut lengths, mut at) = (Vec::new(), 0);
    while let Some(cut) = chunker.cut(&stream[at..]) {
        lengths.push(cut.to_string());
        at += cut;
    }
    lengths.push((stream.len() - at).to_string());
    book.text("chunk lengths of the stream", &lengths.join(" "));

    let rule = BundleRule::new(&key(0xa2));
    let (mut closed, mut bundle) = (Vec::new(), 0);
    for number in 0u32..2_000 {
        let bytes = 500 + (number as usize * 7_919) % 20_000;
        bundle += bytes;
        if rule.closes(bundle, &hash(&number.to_le_bytes()), bytes) {
            closed.push(number.to_string());
            bundle = 0;
        }
    }
    book.text(
        "files after which bundles close, of 2000; file n has 500 + 7919 n mod 20000 bytes and the digest of n (u32)",
        &closed.join(" "),
    );
    book.close();
}

fn owner() -> Arc<Owner> {
    Arc::new(Owner { uid: 1000, gid: 100, user: "ann".into(), group: "users".into() })
}

fn plain_file(key: &[u8], content: Content, size: u64) -> Entry {
    Entry {
        key: key.to_vec(),
        kind: Kind::File,
        mode: 0o640,
        owner: owner(),
        mtime: Time { seconds: 1_700_000_000, nanos: 123_456_789 },
        size,
        content,
        digest: Some(hash(key)),
        attributes: Attributes::default(),
    }
}

fn slice(byte: u8, offset: u32, length: u32) -> Extent {
    Extent::Chunk { id: ChunkId([byte; 32]), offset, length }
}

/// One entry for each shape that an entry can have.
fn shapes() -> Vec<(&'static str, Entry)> {
    let special =
        |kind, attributes| Entry { kind, digest: None, attributes, ..plain_file(b"a\0b", Content::None, 0) };
    let attributes = Attributes {
        birth: Some(Time { seconds: -1, nanos: 999_999_999 }),
        inode_flags: 0x10,
        link_group: Some([0x77; 16]),
        xattrs: Xattrs::Inline(vec![(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), vec![0, 255])]),
        grown: true,
        torn: true,
        unknown: vec![(0x0777, b"later".to_vec())],
        ..Attributes::default()
    };
    vec![
        ("empty file", plain_file(b"a\0b", Content::None, 0)),
        ("inline file", plain_file(b"a\0b\xff", Content::Inline(b"abc".to_vec()), 3)),
        ("bundle slice", plain_file(b"a\0b", Content::Extents(vec![slice(1, 5, 900)]), 900)),
        (
            "extents with a hole",
            plain_file(
                b"a\0b",
                Content::Extents(vec![
                    slice(1, 0, 4096),
                    Extent::Hole { length: 1 << 40 },
                    slice(1, 4096, 5),
                ]),
                (1 << 40) + 4101,
            ),
        ),
        ("extent tree", plain_file(b"a\0b", Content::Tree(ChunkId([9; 32])), 1 << 33)),
        ("every attribute", Entry { attributes, ..plain_file(b"a\0b", Content::Inline(b"abc".to_vec()), 3) }),
        (
            "extended attributes in a chunk",
            Entry {
                attributes: Attributes { xattrs: Xattrs::Chunk(ChunkId([8; 32])), ..Attributes::default() },
                ..plain_file(b"a\0b", Content::None, 0)
            },
        ),
        ("directory", Entry { mode: 0o1777, ..special(Kind::Directory, Attributes::default()) }),
        (
            "symbolic link",
            special(
                Kind::Symlink,
                Attributes { link_target: Some(b"../\xfe".to_vec()), ..Attributes::default() },
            ),
        ),
        ("fifo", special(Kind::Fifo, Attributes::default())),
        ("socket", special(Kind::Socket, Attributes::default())),
        (
            "character device",
            special(Kind::CharDevice, Attributes { device: Some((1, 3)), ..Attributes::default() }),
        ),
        (
            "block device",
            special(Kind::BlockDevice, Attributes { device: Some((259, 70_000)), ..Attributes::default() }),
        ),
    ]
}

#[test]
fn entries() {
    let mut book = Book::open("entries");
    for (name, entry) in shapes() {
        let stored = book.hex(name, &encode_alone(&entry));
        assert_eq!(decode_alone(&stored).unwrap(), entry, "{name}");
    }
    let pairs = vec![(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), vec![2; 5])];
    let stored = book.hex("extended attributes", &encode_xattrs(&pairs));
    assert_eq!(decode_xattrs(&stored).unwrap(), pairs);
    book.close();
}

/// Names each page by its place, and checks that it reads back.
fn page_lines(pages: &[(ChunkId, PageText)]) -> String {
    let line = |(id, text): &(ChunkId, PageText)| {
        assert_eq!(text.id(&identifier()), *id);
        let page = Page::decode(text).unwrap();
        let rows = match &page.body {
            PageBody::Entries(rows) => rows.len(),
            PageBody::Extents { extents, .. } => extents.len(),
            PageBody::Children(rows) => rows.len(),
        };
        format!("{}:{rows}:{}+{}:{}", page.level, text.refs.len(), text.body.len(), hex(&id.bytes()[..8]))
    };
    pages.iter().map(line).collect::<Vec<_>>().join(" ")
}

#[test]
fn pages() {
    let mut book = Book::open("pages");
    let mut pages = Vec::new();
    let mut builder = TreeBuilder::new(identifier(), KeySpace::Paths);
    for number in 0u32..5_000 {
        let key = format!("folder {:02}\0file {number:06}", number / 100).into_bytes();
        let length = 600 + number;
        let entry =
            plain_file(&key, Content::Extents(vec![slice(number as u8, number, length)]), length.into());
        builder.push(&entry, &mut |id, text| pages.push((id, text)));
    }
    let root = builder.finish(&mut |id, text| pages.push((id, text)));
    book.hex("5000 files, root", root.id.bytes());
    book.text("5000 files, pages as level:rows:refs+body bytes:front of id", &page_lines(&pages));

    let mut pages = Vec::new();
    let root =
        TreeBuilder::new(identifier(), KeySpace::Opaque).finish(&mut |id, text| pages.push((id, text)));
    book.hex("empty tree of opaque keys, root", root.id.bytes());
    book.hex("empty tree of opaque keys, body", &pages[0].1.body);
    book.hex("empty tree of opaque keys, refs", &pages[0].1.refs);

    let mut pages = Vec::new();
    let mut builder = ExtentTreeBuilder::new(identifier());
    for number in 0u32..3_000 {
        let extent = match number % 5 {
            4 => Extent::Hole { length: 200 << 20 },
            _ => slice(number as u8, 0, 1 << 20),
        };
        builder.push(extent, &mut |id, text| pages.push((id, text)));
    }
    let root = builder.finish(&mut |id, text| pages.push((id, text)));
    book.hex("3000 extents, root", root.bytes());
    book.text("3000 extents, last pages", &page_lines(&pages[pages.len() - 9..]));

    let mut pages = Vec::new();
    let mut builder = TreeBuilder::new(identifier(), KeySpace::Paths);
    for (number, (_, entry)) in shapes().into_iter().enumerate() {
        let key = format!("folder\0{number:02}").into_bytes();
        builder.push(&Entry { key, ..entry }, &mut |id, text| pages.push((id, text)));
    }
    builder.finish(&mut |id, text| pages.push((id, text)));
    let [(_, text)] = &pages[..] else { panic!("one page") };
    let refs = book.hex("leaf with every shape, refs", &text.refs);
    let body = book.hex("leaf with every shape, body", &text.body);
    let page = Page::decode(&PageText { refs, body }).unwrap();
    let PageBody::Entries(entries) = page.body else { panic!("a leaf of entries") };
    assert!(
        entries
            .iter()
            .zip(shapes())
            .all(|(found, (_, made))| *found == Entry { key: found.key.clone(), ..made })
    );

    let extents = [slice(1, 0, 16_384), Extent::Hole { length: 8_192 }];
    let blocks = Blocks { hashes: vec![1, 2, 3], chunk_bytes: Vec::new() };
    let text = encode_extent_leaf(64 << 20, &extents, &blocks);
    let refs = book.hex("leaf of extents with blocks, refs", &text.refs);
    let body = book.hex("leaf of extents with blocks, body", &text.body);
    let page = Page::decode(&PageText { refs, body }).unwrap();
    assert_eq!(page.body, PageBody::Extents { start: 64 << 20, extents: extents.to_vec(), blocks });

    // A file of 40,000 bytes whose third block was changed since it was written first.
    let content = noise("a database file", 40_000);
    let block = |number: usize| &content[number * 8192..content.len().min((number + 1) * 8192)];
    let (first, gathered) = (ChunkId([1; 32]), identifier().chunk(ChunkKind::Data, block(2)));
    let slice = |id, offset, length| Extent::Chunk { id, offset, length };
    let extents = [slice(first, 0, 16_384), slice(gathered, 0, 8192), slice(first, 24_576, 15_424)];
    let blocks = Blocks {
        hashes: (0..5).map(|number| identifier().block(block(number))).collect(),
        chunk_bytes: vec![40_000, 8192],
    };
    let mut pages = Vec::new();
    let mut builder = ExtentTreeBuilder::new(identifier());
    builder.push_leaf(&extents, &blocks, &mut |id, text| pages.push((id, text)));
    let root = builder.finish(&mut |id, text| pages.push((id, text)));
    let [(id, text)] = &pages[..] else { panic!("one page") };
    assert_eq!(*id, root);
    let refs = book.hex("leaf of a database file, refs", &text.refs);
    let body = book.hex("leaf of a database file, body", &text.body);
    let page = Page::decode(&PageText { refs, body }).unwrap();
    assert_eq!(page.body, PageBody::Extents { start: 0, extents: extents.to_vec(), blocks });
    book.close();
}

fn tables() -> IndexTables {
    let pack = |id, size| PackRow { id, size, checksum: [0x66; 32], chunks: 2 };
    let row = |byte, pack, offset| ChunkRow {
        key: ChunkKey([byte; 24]),
        pack,
        offset,
        length: StoredLength::new(100, byte & 1 == 1),
        origin: 0,
    };
    let mut tables = IndexTables {
        sessions: vec![session_row()],
        packs: vec![pack(DATA_PACK, 1 << 20), pack(TREE_PACK, 1 << 19)],
        chunks: vec![row(9, 1, 5_000), row(3, 0, 2_000), row(3, 1, 2_000)],
    };
    tables.sort();
    tables
}

fn summary() -> Summary {
    Summary {
        stream: StreamId([0x71; 16]),
        host: "host".into(),
        kind: "files".into(),
        label: "shop/tree".into(),
        paths: vec![b"/srv/\xff".to_vec(), b"/etc".to_vec()],
        tags: vec!["a".into(), "b".into()],
        start: Time { seconds: 1_700_000_000, nanos: 1 },
        end: Time { seconds: 1_700_000_060, nanos: 2 },
        counts: Counts {
            files: 1,
            directories: 2,
            others: 3,
            bytes: 4,
            files_new: 5,
            files_changed: 6,
            files_unmodified: 7,
            bytes_read: 8,
            chunks_added: 9,
            bytes_added: 10,
            bytes_stored: 11,
        },
        incomplete: true,
        problems: 1,
        root: ChunkId([0x72; 32]),
        space: KeySpace::Paths,
        parent: Some(SessionId([0x73; 16])),
        supersedes: vec![SessionId([0x74; 16])],
        origin: None,
        log: None,
        said_by: None,
        unknown: vec![Tag { id: 0x0777, bytes: b"later".to_vec() }],
    }
}

fn details() -> Details {
    Details {
        version: "0.1.0".into(),
        command: "backup /srv /etc".into(),
        problems: vec![RecordedProblem { path: b"/srv/\xff".to_vec(), what: "denied".into() }],
        source_record: vec![1, 2, 3],
        facts: vec![("rows".into(), "7".into())],
    }
}

/// Stores an object; returns what is stored, after checking frame and signature.
fn object(book: &mut Book, name: &str, made: &[u8]) -> (Header, Vec<u8>) {
    let stored = book.hex(name, made);
    let object = Object::parse(&stored).unwrap();
    assert_eq!(object.header.encode(), made[..100]);
    if object.header.object_type.is_signed() {
        object.verify(&signer().public()).unwrap();
    }
    (object.header, object.body.to_vec())
}

#[test]
fn objects_of_sessions() {
    let mut book = Book::open("objects-session");
    let k_ref = key(0xa4);
    let process = Process { machine: [0x81; 16], boot: [0x82; 16], number: 4711, start: 99 };
    let begin =
        Begin { stream: summary().stream, process, started: Time { seconds: 1_700_000_000, nanos: 5 } };
    let (head, body) =
        object(&mut book, "5 begin", &begin.encode(&header(ObjectType::Begin), &k_ref, &signer()));
    assert_eq!(Begin::decode(&head, &body, &k_ref).unwrap(), begin);

    let pins = Pins { snapshots: vec![SessionId([0x73; 16])], packs: vec![DATA_PACK, TREE_PACK] };
    let (head, body) =
        object(&mut book, "6 pins", &pins.encode(&header(ObjectType::Pins), &k_ref, &signer()));
    assert_eq!(Pins::decode(&head, &body, &k_ref).unwrap(), pins);

    let head = header(ObjectType::End);
    let objects = Published { deltas: 3, pins: 2 };
    let commit =
        Commit::new(summary(), session_row(), &details(), &head, &secrets().meta, [0x75; 32], objects);
    let log = LogSpan { system: 9, timeline: 1, first: 5, last: 6, segment_bytes: 16 << 20 };
    let of_cluster = Summary { kind: "postgres".into(), log: Some(log), ..summary() };
    let with_log =
        Commit::new(of_cluster, session_row(), &details(), &head, &secrets().meta, [0x75; 32], objects);
    let said = SaidBy { member: MemberId([0x66; 16]), received: Time { seconds: 1_700_000_100, nanos: 6 } };
    let passed_on = Summary { said_by: Some(said), ..summary() };
    let passed_on =
        Commit::new(passed_on, session_row(), &details(), &head, &secrets().meta, [0x75; 32], objects);
    for (name, end) in [
        ("7 end, commit", End::Commit(Box::new(commit))),
        ("7 end, commit that needs a log", End::Commit(Box::new(with_log))),
        ("7 end, commit of another's words", End::Commit(Box::new(passed_on))),
        ("7 end, abort", End::Abort { reason: "its process is gone".into() }),
    ] {
        let (head, body) = object(&mut book, name, &end.encode(&head, &k_ref, &signer()));
        let again = End::decode(&head, &body, &k_ref).unwrap();
        assert_eq!(again, end);
        if let End::Commit(commit) = again {
            assert_eq!(commit.open_details(&head, &secrets().meta).unwrap(), details());
        }
    }
    book.close();
}

#[test]
fn objects_of_packs_and_index() {
    let mut book = Book::open("objects-index");
    let identifier = identifier();
    let head = pack_header(REPOSITORY, &DATA_PACK, 0, 7, [0x55; 16]);
    let cipher = PackCipher::new(&secrets().data, REPOSITORY, &DATA_PACK);
    let mut builder = PackBuilder::new(head, &DATA_PACK, &session_row().data.unwrap());
    let mut pack = Vec::new();
    for plaintext in [b"one".as_slice(), b"", &[7; 3000]] {
        let id = identifier.chunk(ChunkKind::Data, plaintext);
        let mut compressor = Compressor::new(3);
        let payload = pack_payload(plaintext, &mut compressor);
        builder.push(id, plaintext.len(), |out| seal_data(&cipher, &id, payload, out));
        pack.extend(builder.take(Vec::new()));
    }
    let (last, FinishedPack { rows, .. }) = builder.finish(&key(0xa3));
    pack.extend(last);
    let pack = book.hex("1 pack", &pack);
    let head = decode_head(&pack[..HEAD_BYTES], REPOSITORY, &DATA_PACK).unwrap();
    let trailer = decode_trailer(&pack[pack.len() - TRAILER_BYTES..], pack.len() as u64).unwrap();
    let footer = &pack[trailer.footer_offset as usize..][..trailer.footer_bytes as usize];
    assert_eq!(open_footer(footer, &trailer, &head.header, &key(0xa3)).unwrap().rows, rows);

    let made = encode_delta(&header(ObjectType::IndexDelta), 3, &tables(), &key(0xa3), &signer());
    let (head, body) = object(&mut book, "2 index delta", &made);
    assert_eq!(decode_delta(&head, &body, &key(0xa3)).unwrap(), (3, tables()));

    let sum = MultisetSum::of(&tables());
    book.hex("sum of the tables", &sum.0);
    let segment =
        IndexSegment { partition: Partition { bits: 4, value: 0 }, level: 2, sum, tables: tables() };
    let made = segment.encode(&header(ObjectType::IndexSegment), &key(0xa3), &signer());
    let (head, body) = object(&mut book, "3 index segment", &made);
    assert_eq!(IndexSegment::decode(&head, &body, &key(0xa3)).unwrap(), segment);
    book.close();
}

fn root() -> Root {
    let named =
        |kind: u8| NamedRow { kind, id: ObjectId([kind; 16]), items: 3, hash: [4; 32], floor: kind.into() };
    Root {
        number: 12,
        previous: [1; 32],
        repository_hash: [2; 32],
        members: (4, [5; 32]),
        fence_pending: 9,
        fence: 8,
        time: Time { seconds: 1_700_000_000, nanos: 0 },
        segments: vec![SegmentRow {
            partition: Partition { bits: 1, value: 1 },
            level: 2,
            id: ObjectId([6; 16]),
            rows: 7,
            hash: [8; 32],
            sum: MultisetSum([9; 32]),
        }],
        snapshots: vec![named(0)],
        lists: (1..=6).map(named).collect(),
        conservation: vec![Conservation {
            taken: MultisetSum([1; 32]),
            dropped: MultisetSum([2; 32]),
            given: MultisetSum([3; 32]),
        }],
        wal: vec![WalFloor {
            timeline: "0000000000000009/00000001-0404040404040404".into(),
            floor: "000000010000000000000005".into(),
            ranges: vec![("000000010000000000000001".into(), "000000010000000000000002".into())],
        }],
        holds: holds(),
        watched: vec![WatchedSession { session: SESSION, objects: 3, since: Time::default() }],
        cutoffs: CutOffs::default(),
        dated: DatedLogs::default(),
        shredded: Vec::new(),
        unknown: vec![Tag { id: 0x0777, bytes: b"later".to_vec() }],
    }
}

fn cutoffs() -> CutOffs {
    let cut = |member, records, last| CutOff { member: MemberId([member; 16]), records, last: [last; 32] };
    let range = ("000000010000000000000001".into(), "000000010000000000000002".into());
    CutOffs {
        members: vec![cut(0x23, 0, 0), cut(0x24, 7, 0x91)],
        log: Some(vec![KnownLog {
            timeline: "0000000000000009/00000001-0404040404040404".into(),
            ranges: vec![range],
            others: vec![("00000002.history".into(), 0), ("000000010000000000000003".into(), 2)],
        }]),
    }
}

fn dated() -> DatedLogs {
    let seen = Time { seconds: 1_700_000_200, nanos: 7 };
    let part = |first, last, pieces, is_going| DatedPart { first, last, pieces, is_going, seen };
    let mut dated = DatedLogs::default();
    dated.remember(9, "shop/db");
    let timeline = "0000000000000009/00000001-0404040404040404".to_owned();
    let parts = vec![part(1, 4, 0, true), part(5, 5, 2, false)];
    dated.timelines.push(DatedLog { timeline, parts });
    dated
}

fn holds() -> Vec<Hold> {
    let time = |seconds| Time { seconds, nanos: 0 };
    let hold = |scope, until| Hold {
        id: [0xab; 16],
        scope,
        reason: "why".into(),
        since: time(1_700_000_000),
        until,
    };
    vec![
        hold(HoldScope::All, None),
        hold(HoldScope::Source("shop/db".into()), Some(time(1_700_000_500))),
        hold(HoldScope::Snapshot(SESSION), None),
    ]
}

#[test]
fn objects_of_maintenance() {
    let mut book = Book::open("objects-maintenance");
    let (k_idx, k_ref, signer) = (key(0xa3), key(0xa4), signer());
    let (head, body) =
        object(&mut book, "4 root", &root().encode(&header(ObjectType::Root), &k_ref, &signer));
    assert_eq!(Root::decode(&head, &body, &k_ref).unwrap(), root());
    for (name, cutoffs) in [
        ("4 root, evidence cut off", CutOffs { log: None, ..cutoffs() }),
        ("4 root, evidence and log cut off", cutoffs()),
    ] {
        let made = Root { cutoffs, ..root() };
        let (head, body) = object(&mut book, name, &made.encode(&header(ObjectType::Root), &k_ref, &signer));
        assert_eq!(Root::decode(&head, &body, &k_ref).unwrap(), made);
    }

    let made = Root { dated: dated(), shredded: vec![RepositoryId([0x31; 16])], ..root() };
    let (head, body) =
        object(&mut book, "4 root, logs dated", &made.encode(&header(ObjectType::Root), &k_ref, &signer));
    assert_eq!(Root::decode(&head, &body, &k_ref).unwrap(), made);

    let row = |id| CataloguedSnapshot {
        session: SessionId([id; 16]),
        member: MEMBER,
        epoch: 3,
        received: Time { seconds: 1_700_000_100, nanos: 5 },
        end_hash: [6; 32],
        summary: summary(),
    };
    let rows = vec![row(1), row(2)];
    let made = encode_snapshots(&rows, &header(ObjectType::SnapshotSegment), &k_ref, &signer);
    let (head, body) = object(&mut book, "10 snapshot segment", &made);
    assert_eq!(decode_snapshots(&head, &body, &k_ref).unwrap(), rows);

    let packs = BTreeSet::from([DATA_PACK, TREE_PACK]);
    let ids = |byte: u8, width: usize| [vec![byte; width], vec![byte + 1; width]].concat();
    for (name, list) in [
        ("condemned", List::of_packs(ListKind::Condemned, &packs)),
        ("dead", List::of_packs(ListKind::Dead, &packs)),
        ("lost", List { kind: ListKind::Lost, items: ids(1, 32) }),
        ("quarantined", List::of_packs(ListKind::Quarantined, &packs)),
        ("absorbed", List { kind: ListKind::Absorbed, items: ids(1, 32) }),
        ("forgotten", List { kind: ListKind::Forgotten, items: ids(1, 16) }),
    ] {
        let made = list.encode(&header(ObjectType::List), &k_idx, &signer);
        let (head, body) = object(&mut book, &format!("11 list, {name}"), &made);
        assert_eq!(List::decode(&head, &body, &k_idx).unwrap(), list);
    }
    book.close();
}

#[test]
fn objects_of_members_and_records() {
    let mut book = Book::open("objects-record");
    let founding = founding();
    let kdf = SlotKdf::Password(KdfCost { memory_kib: 256, passes: 1, lanes: 1 });
    let key_file = noise("key file", 64);
    for (name, kdf, credential) in [
        ("8 key slot, password `golden`", kdf, Credential::Password(b"golden")),
        ("8 key slot, key file", SlotKdf::KeyFile, Credential::KeyFile(&key_file)),
    ] {
        let head = header(ObjectType::KeySlot);
        let (role, label) = (Role::Owner, "laptop".to_owned());
        let terms = SlotTerms { role, label, kdf, salt: [0x91; 32], created: None, transit: None };
        let slot = KeySlot::wrap(&founding.owner, terms, credential, &head).unwrap();
        let (head, body) = object(&mut book, name, &slot.encode(&head));
        let keys = KeySlot::decode(&body).unwrap().unwrap(&head, credential).unwrap();
        assert_eq!((keys.member, keys.owner), (MEMBER, signer().public()));
        assert_eq!(keys.kem.expose(), founding.owner.kem.expose());
    }
    book.hex("key file", &key_file);

    let made = founding.entry.encode(&header(ObjectType::Member), &signer());
    object(&mut book, "9 member", &made);
    let mut members = Members::default();
    members.append(&made, REPOSITORY, &signer().public()).unwrap();
    assert_eq!(members.active(MEMBER), Some(&founding.entry));
    book.hex("object id of entry 1", members.next_object().unwrap().bytes());

    let plaintext = b"a segment of a log ".repeat(50);
    let content = identifier().wal(&plaintext);
    let head = header(ObjectType::Wal);
    let wrapped = session_row().data.unwrap();
    let segment =
        WalSegment::seal(&head, &plaintext, content, &secrets().data, wrapped, &mut Compressor::new(3));
    let (head, body) = object(&mut book, "12 wal", &segment.encode(&head, &signer()));
    assert_eq!(WalSegment::decode(&body).unwrap().open(&head, &secrets().data).unwrap(), plaintext);

    let evidence = Evidence {
        number: 1,
        previous: [3; 32],
        time: Time { seconds: 1_700_000_000, nanos: 5 },
        kind: "drill".into(),
        text: b"{\"verdict\":\"pass\"}".to_vec(),
    };
    let made = evidence.encode(&header(ObjectType::Evidence), &key(0xa4), &signer());
    let (head, body) = object(&mut book, "13 evidence", &made);
    assert_eq!(Evidence::decode(&head, &body, &key(0xa4)).unwrap(), evidence);

    let repository = Repository {
        id: REPOSITORY,
        features: Features::default(),
        key_slot: ObjectId([0x92; 16]),
        member: ObjectId([0x93; 16]),
        recover: hash(RECOVER_TEXT.as_bytes()),
    };
    let stored = book.hex("holdfast.json", repository.encode().as_bytes());
    assert_eq!(Repository::decode(&stored).unwrap(), repository);
    book.hex("digest of RECOVER.txt", &hash(RECOVER_TEXT.as_bytes()));
    book.close();
}

const WRITER: MemberId = MemberId([0x66; 16]);
const LOG_READER: MemberId = MemberId([0x77; 16]);

/// A chain of members that grows, and the books that it is written into.
struct Chain {
    book: Book,
    members: Members,
    agreed: Vec<String>,
}

impl Chain {
    /// The next entry as an object, signed by one of the members.
    fn made(&self, entry: &MemberEntry, author: MemberId, signer: &Signer) -> Vec<u8> {
        let object = self.members.next_object().unwrap_or(ObjectId([0x44; 16]));
        entry.encode(&Header { object, member: author, ..header(ObjectType::Member) }, signer)
    }

    fn follow(&self, entry: MemberEntry) -> MemberEntry {
        MemberEntry { number: self.members.len() as u64, previous: self.members.last_hash(), ..entry }
    }

    fn append(&mut self, name: &str, entry: MemberEntry) {
        let entry = self.follow(entry);
        let made = self.made(&entry, MEMBER, &signer());
        let stored = self.book.hex(&format!("9 member, entry {}: {name}", entry.number), &made);
        self.members.append(&stored, REPOSITORY, &signer().public()).unwrap();
        assert_eq!(self.members.last_of(entry.member), Some(&entry));
        self.agreed.push(self.members.agreed_epoch().unwrap().to_string());
    }

    /// What must not follow.
    fn refuse(&mut self, name: &str, made: &[u8], refused: FormatError) {
        let stored = self.book.hex(&format!("broken: {name}"), made);
        let (before, mut members) = (self.members.len(), self.members.clone());
        assert_eq!(members.append(&stored, REPOSITORY, &signer().public()), Err(refused), "{name}");
        assert_eq!(members.len(), before);
    }
}

fn kem(at: usize) -> KemSecret {
    let kem = &stored()[at];
    KemSecret::new(array(&kem.x25519_secret), &kem.pair()).unwrap()
}

/// Admits with the part of each generation of keys that a role holds.
fn admitted(member: MemberId, role: Role, sign: u8, at: usize, bundles: &[KeyBundle]) -> MemberEntry {
    let sealed = |bundle: &KeyBundle| {
        let part = bundle.of_role(role);
        (
            bundle.key_epoch,
            seal_bundle(
                &part,
                REPOSITORY,
                kem(at).public(),
                &[0xb2 + bundle.key_epoch as u8; 32],
                &kem_calls(),
            )
            .unwrap(),
        )
    };
    MemberEntry {
        number: 0,
        previous: [0; 32],
        action: MemberAction::Admit,
        member,
        role,
        label: role.word().to_owned(),
        sign: Signer::from_seed(key(sign)).public(),
        kem: kem(at).public().clone(),
        bundles: bundles.iter().map(sealed).collect(),
    }
}

#[test]
fn members_after_a_rotation_and_a_removal() {
    let first = founding().bundle;
    let next = first.renewed(1, [[0xa5; 32], [0xa6; 32]], [kem(3), kem(4), kem(1)]);
    let both = [first.clone(), next.clone()];
    let mut chain =
        Chain { book: Book::open("objects-member"), members: Members::default(), agreed: Vec::new() };
    chain.append("the owner", founding().entry);
    chain.append("a writer", admitted(WRITER, Role::Writer, 0xb3, 3, &both[..1]));
    chain.append("who fetches logs", admitted(LOG_READER, Role::LogReader, 0xb4, 4, &both[..1]));
    let mut owner = founding().entry;
    owner.bundles.extend(admitted(MEMBER, Role::Owner, 0xb1, 0, &both[1..]).bundles);
    chain.append("the owner, rotated", owner);
    let writer = admitted(WRITER, Role::Writer, 0xb3, 3, &both);
    chain.append("the writer, rotated", writer.clone());
    chain.append("who fetches logs, rotated", admitted(LOG_READER, Role::LogReader, 0xb4, 4, &both));

    // What an owner must not say of the writer now, and what it must not say of itself.
    let removal = MemberEntry { action: MemberAction::Remove, bundles: Vec::new(), ..writer.clone() };
    let (own, writers) = (signer(), Signer::from_seed(key(0xb3)));
    let next_entry = chain.follow(removal.clone());
    let by_itself = chain.made(&chain.follow(writer.clone()), WRITER, &writers);
    chain.refuse("the writer gives itself keys", &by_itself, FormatError::Signature);
    let stale = MemberEntry { previous: writer.previous, ..next_entry.clone() };
    let misplaced = FormatError::Misplaced("its place in the chain of members");
    chain.refuse("it follows another entry", &chain.made(&stale, MEMBER, &own), misplaced);
    let other = MemberEntry { sign: own.public(), ..chain.follow(writer) };
    let changed = FormatError::Malformed("the signing key of a member");
    chain.refuse("the writer has another signing key", &chain.made(&other, MEMBER, &own), changed);
    let last =
        MemberEntry { action: MemberAction::Remove, bundles: Vec::new(), ..chain.follow(founding().entry) };
    let last_owner = FormatError::Malformed("the removal of the last owner");
    chain.refuse("the last owner is removed", &chain.made(&last, MEMBER, &own), last_owner);

    chain.append("the writer is removed", removal);
    let Chain { mut book, members, agreed } = chain;
    book.text("agreed key epochs after each entry", &agreed.join(" "));
    assert_eq!((members.active(WRITER), members.removed(WRITER)), (None, Some(6)));
    assert!(members.known(WRITER).is_some(), "what it signed verifies for ever");
    for (name, member, role, at) in
        [("owner", MEMBER, Role::Owner, 0), ("who fetches logs", LOG_READER, Role::LogReader, 4)]
    {
        let ring = Keyring::open(members.active(member).unwrap(), REPOSITORY, &kem(at), Some(1)).unwrap();
        for bundle in &both {
            let plain = bundle.of_role(role).encode();
            book.hex(&format!("key bundle {}, plain, {name}", bundle.key_epoch), &plain);
            assert_eq!(ring.of(bundle.key_epoch).unwrap().encode(), plain);
        }
    }
    // A bundle under the number of another generation.
    let entry = members.active(LOG_READER).unwrap();
    let bundles = vec![(2, entry.bundles[1].1.clone())];
    let moved = MemberEntry { bundles, ..entry.clone() };
    book.hex("broken: bundle 1 of who fetches logs, as 2", &moved.bundles[0].1);
    let refused = Keyring::open(&moved, REPOSITORY, &kem(4), None).unwrap_err();
    assert_eq!(refused, FormatError::Malformed("the key epoch of a bundle"));
    log_of_a_generation(&mut book, &both);
    slot_with_a_sealed_key_file(&mut book);
    book.close();
}

/// A segment of a log is sealed to the key of logs, if its generation has one.
fn log_of_a_generation(book: &mut Book, both: &[KeyBundle; 2]) {
    let [first, next] = both;
    let head = Header { key_epoch: 1, ..header(ObjectType::Wal) };
    let plaintext = b"a segment of a log ".repeat(50);
    let sealer = Sealer::new(REPOSITORY, MEMBER, next).unwrap();
    let wrapped = sealer.wrap_alone(head.object, &secrets().data, &[0xd3; 32], &kem_calls()).unwrap();
    let segment = WalSegment::seal(
        &head,
        &plaintext,
        identifier().wal(&plaintext),
        &secrets().data,
        wrapped,
        &mut Compressor::new(3),
    );
    let (head, body) = object(book, "12 wal, for who fetches logs", &segment.encode(&head, &signer()));
    let segment = WalSegment::decode(&body).unwrap();
    let opened = |bundle: &KeyBundle| {
        let opener = Opener::new(REPOSITORY, bundle);
        opener.unwrap_alone(bundle.key_epoch, MEMBER, head.object, &segment.wrapped)
    };
    for role in [Role::Owner, Role::Reader, Role::LogReader] {
        let secret = opened(&next.of_role(role)).unwrap();
        assert_eq!(segment.open(&head, &secret).unwrap(), plaintext);
    }
    for (bundle, role) in [(next, Role::Writer), (next, Role::Maintainer), (first, Role::LogReader)] {
        assert!(opened(&bundle.of_role(role)).is_err());
    }
}

/// The key file lies in the slot, as a server sealed it: to who has the file it is a slot like any other.
fn slot_with_a_sealed_key_file(book: &mut Book) {
    let (file, head) = (noise("key file", 64), header(ObjectType::KeySlot));
    let transit = Transit { key: "transit/holdfast".into(), sealed: "vault:v1:c2VhbGVk".into() };
    let terms = SlotTerms {
        role: Role::Owner,
        label: "db2".to_owned(),
        kdf: SlotKdf::KeyFile,
        salt: [0x91; 32],
        created: None,
        transit: Some(transit.clone()),
    };
    let slot = KeySlot::wrap(&founding().owner, terms, Credential::KeyFile(&file), &head).unwrap();
    let (head, body) = object(book, "8 key slot, key file sealed by a server", &slot.encode(&head));
    let slot = KeySlot::decode(&body).unwrap();
    assert_eq!(slot.transit(), Some(transit));
    assert_eq!(slot.unwrap(&head, Credential::KeyFile(&file)).unwrap().member, MEMBER);
    // The text that a server is asked to open is bound to the slot.
    let at = body.windows(6).position(|part| part == b"c2VhbG").unwrap();
    let mut other = body;
    other[at] = b'd';
    let other = book.hex("broken: body of the key slot with another text of the server", &other);
    let refused = KeySlot::decode(&other).unwrap().unwrap(&head, Credential::KeyFile(&file)).unwrap_err();
    assert_eq!(refused, FormatError::Sealed);
}

#[test]
fn a_chunk_is_the_same_however_it_was_compressed() {
    let identifier = identifier();
    let plaintext = b"abcdefgh".repeat(200);
    let id = identifier.chunk(ChunkKind::Data, &plaintext);
    let cipher = PackCipher::new(&secrets().data, REPOSITORY, &DATA_PACK);
    for level in [1, 3, 19] {
        let (mut sealed, mut out) = (Vec::new(), Vec::new());
        let mut compressor = Compressor::new(level);
        let length = seal_data(&cipher, &id, pack_payload(&plaintext, &mut compressor), &mut sealed);
        open_data(&cipher, &identifier, &id, length, &mut sealed, &mut Decompressor::new(), &mut out)
            .unwrap();
        assert_eq!(out, plaintext);
    }
    let raw = Packed { payload: &plaintext, compressed: false };
    assert_eq!(seal_data(&cipher, &id, raw, &mut Vec::new()).bytes() as usize, plaintext.len() + 16);
}
