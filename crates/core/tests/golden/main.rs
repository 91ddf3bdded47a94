//! The golden repository: a whole repository on disk, made of every kind of object.
//!
//! `HOLDFAST_WRITE_VECTORS=1 cargo test -p holdfast-core --test golden` writes it; without it
//! the committed one is read back by the decoders alone, from the password to every byte, and
//! writing it again gives the same bytes. A later version of holdfast keeps reading it.

#![expect(clippy::unwrap_used, reason = "a test")]

#[path = "../fixture/mod.rs"]
mod fixture;
mod model;
mod read;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Objects by name.
type Objects = BTreeMap<String, Vec<u8>>;

fn folder() -> PathBuf {
    fixture::source_path("tests/golden/draft-1")
}

fn manifest_path() -> PathBuf {
    fixture::source_path("tests/golden/draft-1.txt")
}

fn read_folder(root: &Path, folder: &Path, objects: &mut Objects) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_folder(root, &path, objects);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            objects.insert(name, std::fs::read(&path).unwrap());
        }
    }
}

fn committed() -> Objects {
    if fixture::is_writing() {
        write_folder();
    }
    let mut objects = Objects::new();
    read_folder(&folder(), &folder(), &mut objects);
    objects
}

/// Writes the repository once, whichever test comes first.
fn write_folder() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let _ = std::fs::remove_dir_all(folder());
        for (name, bytes) in write::repository() {
            let path = folder().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        std::fs::write(manifest_path(), read::manifest(&write::repository())).unwrap();
    });
}

#[test]
fn writing_it_again_gives_the_same_bytes() {
    let (stored, made) = (committed(), write::repository());
    let names = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&stored), names(&made));
    for (name, bytes) in made {
        assert!(stored[&name] == bytes, "{name} is written differently now");
    }
    assert!(stored.values().map(Vec::len).sum::<usize>() < 300_000, "it is meant to be small");
}

#[test]
fn every_byte_is_found_from_the_password() {
    let mut snapshots = read::snapshots(&committed());
    snapshots.sort_by_key(|snapshot| snapshot.summary.start);
    let expected = model::snapshots();
    assert_eq!(snapshots.len(), expected.len());
    for (found, made) in snapshots.iter().zip(expected) {
        assert_eq!(found.session, made.session);
        assert_eq!(found.items.len(), made.items.len());
        for (found, made) in found.items.iter().zip(made.items) {
            assert!(*found == made, "{} differs: {found:?}", String::from_utf8_lossy(&made.entry.key));
        }
    }
}

#[test]
fn the_listing_beside_it_is_right() {
    let objects = committed();
    assert_eq!(read::manifest(&objects), std::fs::read_to_string(manifest_path()).unwrap());
}

#[test]
fn no_object_is_read_under_another_name_or_with_a_flipped_bit() {
    let objects = committed();
    for (name, bytes) in &objects {
        for at in [0, 9, 60, bytes.len() / 2, bytes.len() - 1] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert!(read::check_frame(name, &flipped).is_err(), "{name}, byte {at}");
        }
        read::check_frame(name, bytes).unwrap();
    }
    let names: Vec<_> = objects.keys().filter(|name| name.contains('/')).collect();
    for pair in names.windows(2) {
        assert!(read::check_frame(pair[0], &objects[pair[1]]).is_err(), "{} as {}", pair[1], pair[0]);
    }
}
