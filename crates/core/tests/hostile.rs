//! What a member with keys, or anyone without, might store: changed bytes inside the seal and
//! outside. Decoders refuse or read them; they neither panic nor take memory without bound.
//!
//! The objects are those of the golden repository; its keys are made from words.

#![expect(clippy::unwrap_used, reason = "a test")]

mod fixture;

use fixture::{noise, source_path};
use holdfast_core::crypto::{Secret, hash};
use holdfast_core::index::decode_delta;
use holdfast_core::keys::{Credential, KeyBundle, KeySlot, MemberEntry};
use holdfast_core::name::{self, Place};
use holdfast_core::object::{Header, Object, ObjectType, open_section, seal_section};
use holdfast_core::pack::{HEAD_BYTES, TRAILER_BYTES, decode_head, decode_trailer, open_footer};
use holdfast_core::record::{Evidence, WalSegment};
use holdfast_core::repository::Repository;
use holdfast_core::root::{List, Root, decode_snapshots};
use holdfast_core::segment::IndexSegment;
use holdfast_core::session::{Begin, End, Pins, Summary};
use holdfast_core::wire::{Reader, Writer};
use std::path::Path;

/// Longest section that is opened here, in bytes.
const MAX: usize = 1 << 20;

fn key(word: &str) -> Secret {
    Secret::new(hash(word.as_bytes()))
}

fn objects() -> Vec<(String, Vec<u8>)> {
    fn collect(root: &Path, folder: &Path, out: &mut Vec<(String, Vec<u8>)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, out);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                out.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    let root = source_path("tests/golden/draft-1");
    let mut out = Vec::new();
    collect(&root, &root, &mut out);
    out
}

/// Changes a few bytes, the same way for the same seed.
fn changed(bytes: &[u8], seed: u32) -> Vec<u8> {
    let random = noise(&seed.to_string(), 64);
    let mut out = bytes.to_vec();
    for change in random.chunks(8).take(1 + seed as usize % 3) {
        if out.is_empty() {
            return out;
        }
        let at = u32::from_le_bytes(change[..4].try_into().unwrap()) as usize % out.len();
        match change[4] % 5 {
            0 => out[at] ^= 1 << (change[5] & 7),
            1 => out[at] = change[5],
            2 => out[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
            3 => out.truncate(at),
            _ => out.insert(at, change[5]),
        }
    }
    out
}

fn decode(header: &Header, body: &[u8]) -> bool {
    let (k_idx, k_ref) = (key("K_idx"), key("K_ref"));
    match header.object_type {
        ObjectType::IndexDelta => decode_delta(header, body, &k_idx).is_ok(),
        ObjectType::IndexSegment => IndexSegment::decode(header, body, &k_idx).is_ok(),
        ObjectType::Root => Root::decode(header, body, &k_ref).is_ok_and(|root| {
            let key = holdfast_core::index::ChunkKey([7; 24]);
            root.admits(3) && root.segments.iter().all(|row| row.partition.holds(&key))
        }),
        ObjectType::Begin => Begin::decode(header, body, &k_ref).is_ok(),
        ObjectType::Pins => Pins::decode(header, body, &k_ref).is_ok(),
        ObjectType::End => End::decode(header, body, &k_ref).is_ok(),
        ObjectType::KeySlot => KeySlot::decode(body).is_ok_and(|slot| {
            slot.unwrap(header, Credential::KeyFile(&noise("golden key file", 64))).is_ok()
        }),
        ObjectType::Member => MemberEntry::decode(body).is_ok(),
        ObjectType::SnapshotSegment => decode_snapshots(header, body, &k_ref).is_ok(),
        ObjectType::List => List::decode(header, body, &k_idx).is_ok_and(|list| !list.packs().is_empty()),
        ObjectType::Wal => WalSegment::decode(body).is_ok_and(|wal| wal.open(header, &k_idx).is_ok()),
        ObjectType::Evidence => Evidence::decode(header, body, &k_ref).is_ok(),
        ObjectType::Pack => false,
    }
}

/// Bytes before the section of a body, its key and its label.
fn section_of(object_type: ObjectType, body: &[u8]) -> Option<(usize, &'static str, &'static str)> {
    Some(match object_type {
        ObjectType::IndexDelta => (4, "K_idx", "index delta"),
        ObjectType::IndexSegment => (48, "K_idx", "index segment"),
        ObjectType::Root => (0, "K_ref", "root"),
        ObjectType::Begin => (0, "K_ref", "begin"),
        ObjectType::Pins => (0, "K_ref", "pins"),
        ObjectType::End if body[0] == 1 => (41, "K_ref", "summary"),
        ObjectType::End => (1, "K_ref", "abort"),
        ObjectType::SnapshotSegment => (0, "K_ref", "snapshots"),
        ObjectType::List => (0, "K_idx", "list"),
        ObjectType::Evidence => (40, "K_ref", "evidence"),
        _ => return None,
    })
}

#[test]
fn bodies_that_were_changed_outside_the_seal() {
    for (_, bytes) in objects() {
        let Ok(object) = Object::parse(&bytes) else { continue };
        for seed in 0..300 {
            decode(&object.header, &changed(object.body, seed));
        }
    }
}

#[test]
fn sections_that_were_changed_inside_the_seal() {
    for (name, bytes) in objects() {
        let Ok(object) = Object::parse(&bytes) else { continue };
        let Some((front, word, label)) = section_of(object.header.object_type, object.body) else { continue };
        let mut reader = Reader::new(&object.body[front..]);
        let payload = open_section(&mut reader, &key(word), &object.header, label, MAX).unwrap();
        let rest = &object.body[object.body.len() - reader.left()..];
        for seed in 0..300 {
            let mut writer = Writer::from_vec(object.body[..front].to_vec());
            seal_section(&mut writer, &key(word), &object.header, label, &changed(&payload, seed));
            writer.raw(rest);
            decode(&object.header, writer.as_slice());
        }
        assert!(!payload.is_empty(), "{name}");
    }
}

#[test]
fn packs_and_their_footers() {
    for (name, bytes) in objects() {
        let Some(Place::Pack(id)) = name::parse(&name) else { continue };
        let repository = Object::parse(&bytes).unwrap().header.repository;
        for seed in 0..300 {
            let bytes = changed(&bytes, seed);
            let Ok(head) = decode_head(&bytes[..bytes.len().min(HEAD_BYTES)], repository, &id) else {
                continue;
            };
            let last = &bytes[bytes.len().saturating_sub(TRAILER_BYTES)..];
            let Ok(trailer) = decode_trailer(last, bytes.len() as u64) else { continue };
            let at = trailer.footer_offset as usize;
            let footer = &bytes[at..at + trailer.footer_bytes as usize];
            let _ = open_footer(footer, &trailer, &head.header, &key("K_idx"));
        }
        let object = Object::parse(&bytes).unwrap();
        let mut trailer = decode_trailer(&bytes[bytes.len() - TRAILER_BYTES..], bytes.len() as u64).unwrap();
        let footer = &bytes[trailer.footer_offset as usize..][..trailer.footer_bytes as usize];
        let payload =
            open_section(&mut Reader::new(footer), &key("K_idx"), &object.header, "pack footer", MAX)
                .unwrap();
        for seed in 0..300 {
            let mut writer = Writer::new();
            seal_section(&mut writer, &key("K_idx"), &object.header, "pack footer", &changed(&payload, seed));
            trailer.footer_bytes = writer.len() as u32;
            let _ = open_footer(writer.as_slice(), &trailer, &object.header, &key("K_idx"));
        }
    }
}

#[test]
fn small_records_and_clear_text() {
    let objects = objects();
    let json = &objects.iter().find(|(name, _)| name == name::REPOSITORY).unwrap().1;
    let end = objects.iter().find(|(name, _)| name.ends_with("/end")).unwrap();
    let object = Object::parse(&end.1).unwrap();
    let (front, word, label) = section_of(ObjectType::End, object.body).unwrap();
    let section =
        open_section(&mut Reader::new(&object.body[front..]), &key(word), &object.header, label, MAX);
    let section = section.unwrap();
    let bundle = KeyBundle {
        key_epoch: 0,
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
    for seed in 0..3_000 {
        let text = changed(json, seed);
        assert!(text == *json || Repository::decode(&text).is_err());
        let _ = Summary::decode(&changed(&section, seed));
        let _ = KeyBundle::decode(&changed(&bundle.encode(), seed));
        for (name, _) in &objects {
            let other = changed(name.as_bytes(), seed);
            let _ = std::str::from_utf8(&other).map(name::parse);
        }
    }
}
