//! Every object flipped, cut, exchanged and lost in turn: it is noticed, and no wrong byte comes back.

use super::compare::{Depth, Listing, differences, foreign, list};
use super::tree::{noise, prose, put};
use super::world::{World, within};
use std::fs;
use std::path::{Path, PathBuf};

/// A repository with a snapshot of each of two states of a tree.
struct Patient {
    world: World,
    source: PathBuf,
    /// Each snapshot and what it holds.
    snapshots: Vec<(String, Listing)>,
}

impl Patient {
    fn new() -> Self {
        let world = World::new();
        let source = world.path("source");
        for number in 0..60 {
            put(source.join(format!("folder/file {number}")), prose(number, 3000 + number as usize * 50));
        }
        put(source.join("tiny"), b"inline");
        put(source.join("large"), noise(1, 3 << 20));
        let mut patient = Self { world, source, snapshots: Vec::new() };
        patient.back_up();
        put(patient.source.join("new"), noise(2, 1 << 20));
        put(patient.source.join("folder/file 7"), prose(1000, 5000));
        patient.back_up();
        patient.world.check();
        patient
    }

    fn back_up(&mut self) {
        let id = self.world.backup(&self.source)["snapshot_id"].as_str().unwrap().to_owned();
        self.snapshots.push((id, list(&self.source, Depth::Contents)));
    }

    /// Restores everything: what is said to be whole is whole, and nothing is ever wrong.
    /// Returns how many restores said that they are not whole.
    #[track_caller]
    fn restores_right(&self, what: &str) -> usize {
        let mut failed = 0;
        for (id, wanted) in &self.snapshots {
            let target = self.world.path("out");
            let ran = self.world.run(&[&"restore", &within(id, &self.source), &"--target", &target]);
            if ran.code == 0 {
                let differences = differences(wanted, &list(&target, Depth::Contents));
                assert!(differences.is_empty(), "{what}: ends with 0, but {differences:?}");
            } else {
                failed += 1;
                let found = if target.exists() { list(&target, Depth::Contents) } else { Listing::new() };
                let foreign = foreign(wanted, &found);
                assert!(foreign.is_empty(), "{what}: ends with {}, and with {foreign:?}", ran.code);
                assert!(!ran.err.trim().is_empty(), "{what}: says nothing");
            }
            let _ = fs::remove_dir_all(&target);
        }
        failed
    }

    /// What `check` finds: its exit code, and all that it says.
    fn check(&self) -> (i32, String) {
        let ran = self.world.run(&[&"check", &"--read-data", &"--verbose"]);
        (ran.code, ran.out + &ran.err)
    }
}

fn overwrite(path: &Path, bytes: &[u8]) {
    // Objects may not be written, so the old one goes.
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// What names an object in what is said: its file's name, or the session or pack that it is of.
fn is_named(object: &str, said: &str) -> bool {
    let parts: Vec<_> = object.split('/').collect();
    parts.iter().rev().take(2).any(|part| part.len() >= 8 && said.contains(part)) || said.contains(object)
}

#[test]
fn one_flipped_byte_anywhere() {
    let patient = Patient::new();
    let mut unnoticed = Vec::new();
    for object in patient.world.objects() {
        let path = patient.world.repo.join(&object);
        let whole = fs::read(&path).unwrap();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x20;
            overwrite(&path, &bytes);
            let (code, said) = patient.check();
            if code == 0 || !is_named(&object, &said) {
                unnoticed.push(format!("{object} at {at} of {}: ends with {code}: {said}", whole.len()));
            }
            patient.restores_right(&format!("{object} flipped at {at}"));
        }
        overwrite(&path, &whole);
    }
    assert!(unnoticed.is_empty(), "not noticed:\n{}", unnoticed.join("\n"));
    assert_eq!((patient.check().0, patient.restores_right("healed")), (0, 0));
}

#[test]
fn every_object_cut_short() {
    let patient = Patient::new();
    for object in patient.world.objects() {
        let path = patient.world.repo.join(&object);
        let whole = fs::read(&path).unwrap();
        for length in [0, whole.len() / 2, whole.len() - 1] {
            overwrite(&path, &whole[..length]);
            let (code, said) = patient.check();
            assert!(
                code != 0 && is_named(&object, &said),
                "{object} cut to {length}: ends with {code}: {said}"
            );
            patient.restores_right(&format!("{object} cut to {length}"));
        }
        overwrite(&path, &whole);
    }
}

#[test]
fn every_object_lost() {
    let patient = Patient::new();
    let newest = &patient.snapshots.last().unwrap().0;
    for object in patient.world.objects() {
        let path = patient.world.repo.join(&object);
        let whole = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let (code, said) = patient.check();
        let failed = patient.restores_right(&format!("{object} lost"));
        let end = object.starts_with("sessions/") && object.ends_with("/end");
        if end {
            // Without its end a session is one that still goes on: check says so.
            assert!(
                said.contains(object.split('/').nth_back(1).unwrap().rsplit('-').next().unwrap()),
                "{said}"
            );
            assert!(failed > 0 || !object.contains(newest.as_str()));
        } else {
            assert_ne!(code, 0, "{object} lost: {said}");
        }
        fs::write(&path, whole).unwrap();
    }
    assert_eq!((patient.check().0, patient.restores_right("healed")), (0, 0));
}

#[test]
fn objects_of_a_kind_exchanged() {
    let patient = Patient::new();
    let objects = patient.world.objects();
    let mut kinds = 0;
    for kind in ["packs/data/", "packs/tree/", "index/delta/", "begin", "end"] {
        let alike: Vec<_> = objects
            .iter()
            .filter(|name| name.starts_with(kind) || name.ends_with(&format!("/{kind}")))
            .collect();
        let [one, two] = alike[..] else { panic!("{kind}: {alike:?}") };
        let paths = [one, two].map(|name| patient.world.repo.join(name));
        let contents = [&paths[0], &paths[1]].map(|path| fs::read(path).unwrap());
        overwrite(&paths[0], &contents[1]);
        overwrite(&paths[1], &contents[0]);
        let (code, said) = patient.check();
        assert!(code != 0 && (is_named(one, &said) || is_named(two, &said)), "{kind}: {code}: {said}");
        patient.restores_right(&format!("{kind} exchanged"));
        overwrite(&paths[0], &contents[0]);
        overwrite(&paths[1], &contents[1]);
        kinds += 1;
    }
    assert_eq!((kinds, patient.check().0), (5, 0));
}

#[test]
fn what_is_whole_is_restored_from_a_damaged_pack() {
    let patient = Patient::new();
    let world = &patient.world;
    let largest = |name: &&String| fs::metadata(world.repo.join(name)).unwrap().len();
    let objects = world.objects();
    let pack = objects.iter().filter(|name| name.starts_with("packs/data/")).max_by_key(largest).unwrap();
    let path = world.repo.join(pack);
    let mut bytes = fs::read(&path).unwrap();
    // The noise is by far the longest chunk: the middle lies in it.
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    overwrite(&path, &bytes);
    let (id, wanted) = patient.snapshots.last().unwrap();
    let (part, target) = (within(id, &patient.source), world.path("out"));
    let ran = world.run(&[&"restore", &"--json", &part, &"--target", &target]).ends(1);
    let lost = differences(wanted, &list(&target, Depth::Contents));
    assert!(!target.join("large").exists() && lost.len() == 1, "{lost:?}");
    let named = ran.of_type("error");
    assert!(named.len() == 1 && named[0]["kind"] == "damaged", "{named:?}");
    assert!(named[0]["item"].as_str().unwrap().ends_with("large"), "{named:?}");
    // Verification has nothing to add, and everything to confirm.
    let verified = world.path("verified");
    let ran = world.run(&[&"restore", &"--json", &"--verify", &part, &"--target", &verified]).ends(1);
    assert_eq!(ran.summary()["error_count"], 1, "{ran:?}");
    let stopped = world.path("stopped");
    world.run(&[&"restore", &"--fail-fast", &part, &"--target", &stopped]).ends(1).says(&["large"]);
    assert!(!stopped.join("large").exists());
    assert!(foreign(wanted, &list(&stopped, Depth::Contents)).is_empty());
}
