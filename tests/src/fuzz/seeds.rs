//! What fuzzing begins with: the objects of the golden repository taken apart, the vectors of
//! entries and pages, and texts. Made anew each time, so nothing of it is kept anywhere.
//!
//! On purpose not here: inputs that once failed; each of those has a test of its own.

use super::objects::{key, plain_summary};
use crate::{files, root};
use holdfast_core::index::IndexTables;
use holdfast_core::keys::{KeyBundle, SessionRow};
use holdfast_core::name::{self, Place};
use holdfast_core::object::{CHECKSUM_BYTES, Object, ObjectType, open_section};
use holdfast_core::pack::{HEAD_BYTES, TRAILER_BYTES, decode_head, decode_trailer};
use holdfast_core::wire::{Reader, Writer};
use std::collections::BTreeMap;

/// Sections of the golden repository are far below this, in bytes.
const SECTION_BYTES_MAX: usize = 1 << 20;

type Seeds = BTreeMap<&'static str, Vec<Vec<u8>>>;

/// Inputs of every target that has any.
///
/// # Panics
/// The golden repository or the vectors are not what they should be.
#[must_use]
pub fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    let golden = "tests/golden/draft-1/";
    for path in files("tests/golden/draft-1") {
        let bytes = std::fs::read(root().join(&path)).expect("a file of the golden repository");
        let name = path.strip_prefix(golden).expect("below it");
        add(&mut seeds, "name", name.as_bytes());
        match name::parse(name) {
            Some(Place::Repository) => add(&mut seeds, "repository", &bytes),
            Some(Place::Pack(id)) => add_pack(&mut seeds, &bytes, &id),
            _ => {
                if let Ok(object) = Object::parse(&bytes) {
                    add(&mut seeds, "object", &bytes[..bytes.len() - CHECKSUM_BYTES]);
                    add_object(&mut seeds, &object);
                }
            }
        }
    }
    add_vectors(&mut seeds);
    add_texts(&mut seeds);
    add_records(&mut seeds);
    add_cluster(&mut seeds);
    seeds
}

fn add(seeds: &mut Seeds, target: &'static str, bytes: &[u8]) {
    assert!(super::target(target).is_some(), "{target}");
    seeds.entry(target).or_default().push(bytes.to_vec());
}

fn add_object(seeds: &mut Seeds, object: &Object<'_>) {
    let body = object.body;
    let (target, front, word, label) = match object.header.object_type {
        ObjectType::IndexDelta => ("delta", 4, "K_idx", "index delta"),
        ObjectType::IndexSegment => ("segment", 48, "K_idx", "index segment"),
        ObjectType::Root => ("root", 0, "K_ref", "root"),
        ObjectType::Begin => ("begin", 0, "K_ref", "begin"),
        ObjectType::Pins => ("pins", 0, "K_ref", "pins"),
        ObjectType::End if body[0] == 1 => ("summary", 41, "K_ref", "summary"),
        ObjectType::End => ("abort", 1, "K_ref", "abort"),
        ObjectType::SnapshotSegment => ("snapshots", 0, "K_ref", "snapshots"),
        ObjectType::List => ("list", 0, "K_idx", "list"),
        ObjectType::Evidence => ("evidence", 40, "K_ref", "evidence"),
        ObjectType::KeySlot => return add(seeds, "slot", body),
        ObjectType::Member => return add(seeds, "member", body),
        ObjectType::Wal => return add(seeds, "log", body),
        ObjectType::Pack => return,
    };
    let mut reader = Reader::new(&body[front..]);
    let payload = open_section(&mut reader, &key(word), &object.header, label, SECTION_BYTES_MAX);
    let payload = payload.expect("a section of the golden repository opens");
    let rest = &body[body.len() - reader.left()..];
    match target {
        "segment" => {
            add(seeds, target, &[&body[..4], &[40, 0], &payload[..]].concat());
            let signed = [&object.header.encode()[..], body, &[0; 64]].concat();
            add(seeds, "segment-object", &signed);
            add_index_copy(seeds, &payload);
            add(seeds, "tables", &payload);
        }
        "delta" => {
            add(seeds, "tables", &payload);
            let tables = IndexTables::decode(&payload).expect("tables of the golden repository");
            for row in &tables.sessions {
                let mut writer = Writer::new();
                row.encode(&mut writer);
                add(seeds, "session-row", writer.as_slice());
            }
            add(seeds, target, &payload);
        }
        "summary" => {
            add(seeds, "end", &[&(payload.len() as u16).to_le_bytes(), &payload[..], rest].concat());
            add(seeds, target, &payload);
        }
        _ => add(seeds, target, &payload),
    }
    add(seeds, "section", &[&[0], &payload[..]].concat());
    if let Ok(frame) = zstd_frame(&payload) {
        add(seeds, "section", &[&[1], &frame[..]].concat());
        add(seeds, "frame", &[&[20], &frame[..]].concat());
        add(seeds, "chunk", &[&[1], &frame[..]].concat());
        add(seeds, "log-content", &[&[1], &(payload.len() as u32).to_le_bytes()[..], &frame].concat());
    }
}

/// The local copy of a segment, as the fuzz target takes it.
fn add_index_copy(seeds: &mut Seeds, payload: &[u8]) {
    let tables = IndexTables::decode(payload).expect("tables of the golden repository");
    let (mut rows, mut footer) = (Writer::new(), Writer::new());
    rows.u8(tables.sessions.len() as u8);
    rows.u16(tables.packs.len() as u16);
    rows.u16(tables.chunks.len() as u16);
    for row in &tables.sessions {
        let end = rows.len() + SessionRow::SIZE_MAX;
        row.encode(&mut rows);
        rows.raw(&vec![0; end - rows.len()]);
        footer.raw(&[row.member.0, row.session.0].concat());
    }
    for row in &tables.packs {
        row.encode(tables.session_of(&row.id).expect("the session of every pack") as u32, &mut rows);
    }
    footer.raw(&rows.as_slice()[rows.len() - tables.packs.len() * 53..][..9]);
    tables.chunks.iter().for_each(|row| row.encode(&mut rows));
    footer.u64(u64::from_be_bytes(tables.chunks[0].key.0[..8].try_into().expect("8 bytes")));
    add(seeds, "index-copy", &[rows.as_slice(), footer.as_slice()].concat());
}

fn zstd_frame(plain: &[u8]) -> Result<Vec<u8>, ()> {
    holdfast_core::compress::Compressor::new(3).compress(plain).map(<[u8]>::to_vec).ok_or(())
}

fn add_pack(seeds: &mut Seeds, bytes: &[u8], id: &name::PackId) {
    let repository = Object::parse(bytes).expect("a pack has a frame").header.repository;
    let head = decode_head(&bytes[..HEAD_BYTES], repository, id).expect("a pack of the golden repository");
    let size = bytes.len() as u64;
    let trailer = decode_trailer(&bytes[bytes.len() - TRAILER_BYTES..], size).expect("its trailer");
    let at = trailer.footer_offset as usize;
    let footer = &bytes[at..at + trailer.footer_bytes as usize];
    let (mut reader, k_idx) = (Reader::new(footer), key("K_idx"));
    let payload = open_section(&mut reader, &k_idx, &head.header, "pack footer", SECTION_BYTES_MAX);
    let payload = payload.expect("its footer opens");
    let front = [trailer.chunks.to_le_bytes(), (at as u32).to_le_bytes()].concat();
    add(seeds, "footer", &[&front[..], &payload].concat());
    add(seeds, "pack", &[&bytes[..HEAD_BYTES], &bytes[at..]].concat());
    add(seeds, "page-sealed", &bytes[HEAD_BYTES..at.min(HEAD_BYTES + 2000)]);
}

fn vectors(file: &str) -> BTreeMap<String, String> {
    serde_json::from_str(&crate::read(&format!("crates/core/vectors/{file}.json"))).expect("vectors")
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks_exact(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn add_vectors(seeds: &mut Seeds) {
    for (name, text) in vectors("entries") {
        let bytes = from_hex(&text).expect("hexadecimal");
        if name == "extended attributes" {
            add(seeds, "xattrs", &bytes);
            continue;
        }
        add(seeds, "entry", &bytes);
        let mut record = Writer::new();
        record.bytes16(b"a");
        record.u8(1);
        record.raw(&[0; 8 + 12 + 12 + 8]);
        record.count(1);
        record.raw(&[1; 25]);
        record.raw(&bytes);
        add(seeds, "cache", record.as_slice());
    }
    let pages = vectors("pages");
    for (name, body) in &pages {
        let Some(kind) = name.strip_suffix(", body") else { continue };
        let refs = from_hex(&pages[&format!("{kind}, refs")]).expect("hexadecimal");
        let body = from_hex(body).expect("hexadecimal");
        add(seeds, "page", &[&(refs.len() as u16).to_le_bytes(), &refs[..], &body].concat());
    }
    let mut inner = Writer::from_vec(vec![1, 0]);
    inner.count(2);
    for (row, key) in [b"a", b"b"].into_iter().enumerate() {
        inner.u16(0);
        inner.bytes16(key);
        inner.u32(row as u32);
        inner.raw(&[0; 16]);
    }
    inner.tags(&[]);
    let refs = [&[2, 0, 0, 0][..], &[7; 32], &[8; 32], &[0, 0, 0, 0], &[0, 0]].concat();
    add(seeds, "page", &[&(refs.len() as u16).to_le_bytes(), &refs[..], inner.as_slice()].concat());
    let keys = vectors("keys");
    add(seeds, "bundle", &from_hex(&keys["key bundle, plain"]).expect("hexadecimal"));
}

fn add_texts(seeds: &mut Seeds) {
    for text in [
        "*.tmp\n!keep.tmp\n\nsrv/a.tmp",
        "/a/**/b\nc/\n[a-z]?\\*\n\na/x/y/b",
        "**/a/**/b/**\n\na/b/a/b/c",
        "/home/*/.cache\n\nhome/me/.cache/x",
        "\u{e9}*[!\u{e0}-\u{e8}]\n\n\u{e9}t\u{e9}",
    ] {
        add(seeds, "excludes", text.as_bytes());
    }
    add(seeds, "exclude-file", b"# comment\n\n*.tmp\n$HOME/x\n${A}b\n$$5\n");
    for path in files("policies").into_iter().filter(|path| path.ends_with(".yaml")) {
        add(seeds, "policy", &std::fs::read(root().join(path)).expect("a policy of the project"));
    }
    add(seeds, "policy", b"a: &a [x, x]\nb: [*a, *a]\n<<: {}\n? [k]\n: !t '\"'\n");
    for text in ["500M", "1.5GiB", "10k", "18446744073709551615", "0.1 kib", "7 B"] {
        add(seeds, "size", text.as_bytes());
    }
    for text in
        ["@1764000000", "@-5", "2026-01-31 02:15:00", "2026-01-31T02:15:00.5Z", "2026-01-31T02:15:00+02:00"]
    {
        add(seeds, "time", text.as_bytes());
    }
    add(
        seeds,
        "log-history",
        b"1\t0/3000148\tno recovery target specified\n\n2\t16/B374D848\tbefore 2026-01-31\n",
    );
    add(seeds, "log-records", &super::logs::seed());
    add(seeds, "escape", b"a\x1b[31m\n\xff\xc3\xa9\xe2\x80\xae");
}

/// Records that the golden repository holds only sealed.
fn add_records(seeds: &mut Seeds) {
    add(seeds, "summary", &plain_summary());
    let mut details = Writer::new();
    details.bytes32(b"0.1.0");
    details.bytes32(b"holdfast backup /srv");
    details.count(1);
    details.bytes32(b"/srv/a");
    details.bytes32(b"denied");
    details.bytes32(b"record");
    details.count(1);
    details.bytes32(b"rows");
    details.bytes32(b"7");
    details.tags(&[]);
    add(seeds, "details", details.as_slice());
    let mut keys = Writer::new();
    keys.raw(&[1; 16 + 32 + 32]);
    keys.bytes32(&vec![5; 2400 + 32 + 1216]);
    keys.tags(&[]);
    add(seeds, "slot-keys", keys.as_slice());
    let bundle = KeyBundle {
        key_epoch: 3,
        k_id: Some(key("K_id")),
        k_cdc: None,
        k_idx: Some(key("K_idx")),
        k_ref: None,
        pk_data: None,
        pk_meta: None,
        sk_data: None,
        sk_meta: None,
        pk_wal: None,
        sk_wal: None,
    };
    add(seeds, "bundle", &bundle.encode());
    let mut row = Writer::new();
    let (member, session) = (super::objects::MEMBER, super::objects::SESSION);
    SessionRow { member, session, key_epoch: 0, data: None, meta: None }.encode(&mut row);
    let rest = [row.as_slice(), &[3, 0, 0, 0, 1, 2, 3], &[0, 0]].concat();
    let summary = plain_summary();
    add(seeds, "end", &[&(summary.len() as u16).to_le_bytes(), &summary[..], &rest].concat());
    add(seeds, "session-row", row.as_slice());
}

/// Numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Changes bytes a little, the same way for the same number.
#[must_use]
pub fn mutated(bytes: &[u8], number: u64) -> Vec<u8> {
    let mut random = Random(number);
    let mut out = bytes.to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(out.len());
        if out.is_empty() {
            return vec![random.next() as u8];
        }
        match random.below(7) {
            0 => out[at] ^= 1 << random.below(8),
            1 => out[at] = random.next() as u8,
            2 => out[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
            3 => out.truncate(at),
            4 => out.insert(at, random.next() as u8),
            5 => out[at] = out[at].wrapping_add(1),
            _ => {
                let end = (at + 1 + random.below(40)).min(out.len());
                let part = out[at..end].to_vec();
                let to = random.below(out.len());
                out.splice(to..to, part);
            }
        }
    }
    out
}

/// What a server of PostgreSQL sends for a backup of two files, by both grammars.
fn add_cluster(seeds: &mut Seeds) {
    let archive = [tar_member(b"PG_VERSION", b"18\n"), tar_member(b"base/1/2", &[7; 600]), vec![0; 1024]];
    add(seeds, "pg-archive", &archive.concat());
    let manifest = "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n],\n\"WAL-Ranges\": [\n{ \"Timeline\": \
                    1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/2000100\" }\n],\n\"Manifest-Checksum\": \"00\"}\n";
    add(seeds, "pg-manifest", manifest.as_bytes());
    for modern in [false, true] {
        let table =
            |row: &[&str]| [message(b'T', &1u16.to_be_bytes()), message(b'D', &columns(row))].concat();
        let mut answer = vec![u8::from(modern)];
        answer.extend([table(&["0/2000028", "1"]), table(&[])].concat());
        let piece = |kind: &[u8], body: &[u8]| {
            message(b'd', &if modern { [kind, body].concat() } else { body.to_vec() })
        };
        answer.extend(message(b'H', &[0; 3]));
        if modern {
            answer.extend(message(b'd', b"nbase.tar\0\0"));
        }
        answer.extend(piece(b"d", &archive.concat()));
        if modern {
            answer.extend(message(b'd', b"m"));
        } else {
            answer.extend([message(b'c', b""), message(b'H', &[0; 3])].concat());
        }
        answer.extend([piece(b"d", manifest.as_bytes()), message(b'c', b"")].concat());
        answer.extend([table(&["0/2000100", "1"]), message(b'C', b"SELECT\0"), message(b'Z', b"I")].concat());
        add(seeds, "pg-answer", &answer);
    }
    let record = r#"{"record":1,"server_version":"18.6","server_version_number":180006,"system_identifier":"7",
        "timeline":1,"start_lsn":"0/2000028","stop_lsn":"0/2000100","segment_bytes":16777216,"data_checksums":true,
        "data_directory_mode":448,"standby":null,"tablespaces":[{"oid":16385,"path":"/srv/fast"}]}"#;
    add(seeds, "pg-record", record.as_bytes());
    for url in [
        "postgres://backup@db1:5433,db2/?sslmode=verify-full&sslrootcert=system&connect_timeout=3",
        "postgresql:///?host=/run/postgresql&port=5432&user=me&channel_binding=require",
        "postgres://u%40x@[::1]:1/",
    ] {
        add(seeds, "pg-url", url.as_bytes());
    }
}

/// A message of a server: its kind, its length, its body.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

/// A row of texts; an empty one has two columns that are null.
fn columns(row: &[&str]) -> Vec<u8> {
    let mut out = (row.len().max(2) as u16).to_be_bytes().to_vec();
    for text in row {
        out.extend((text.len() as u32).to_be_bytes());
        out.extend(text.as_bytes());
    }
    if row.is_empty() {
        out.extend([0xff; 8]);
    }
    out
}

/// A file in an archive: a header of 512 bytes, and the content filled up to as many.
fn tar_member(path: &[u8], content: &[u8]) -> Vec<u8> {
    let mut member = vec![0; 512];
    let mut field = |at: usize, text: &[u8]| member[at..at + text.len()].copy_from_slice(text);
    field(0, path);
    field(100, b"0000600\0");
    field(108, b"0000001\0");
    field(116, b"0000001\0");
    field(124, format!("{:011o}\0", content.len()).as_bytes());
    field(136, b"00000000000\0");
    field(148, b"        ");
    field(156, b"0");
    field(257, b"ustar\x0000");
    let sum: u32 = member.iter().map(|&byte| u32::from(byte)).sum();
    member[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    member.extend_from_slice(content);
    member.resize(member.len().next_multiple_of(512), 0);
    member
}
