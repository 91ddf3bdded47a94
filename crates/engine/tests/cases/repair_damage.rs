//! Everything that maintenance writes, and all that it reads, damaged in every way, shown to every
//! verb: nothing panics, nobody reports what is not so, and once the bytes are put back all is
//! there.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::repair::{Kept, kept, tree};
use crate::harness::{ModelSource, World, chain, run};
use bytes::Bytes;
use holdfast_core::entry::key_to_path;
use holdfast_core::id::SessionId;
use holdfast_core::name::{self, Place};
use holdfast_engine::error::{Error, ErrorKind};
use holdfast_engine::maintain::{
    ForgetOptions, ForgetWhat, MaxUnused, PruneOptions, RecoverOptions, RepairIndexOptions,
    RepairSnapshotsOptions, forget, prune, recover, repair_index, repair_snapshots,
};
use holdfast_engine::{ReadData, Repository, RestoreOptions, check};
use holdfast_store::Key;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Delete,
    Truncate,
    Flip,
    SwapWithKin,
}

/// What kind of object a name stands for.
fn kind(world: &World, key: &Key) -> String {
    let text = match name::parse(key.as_str()) {
        Some(Place::Root(_)) if world.names("roots/")[0] == *key => "newest root",
        Some(Place::Root(_)) => "older root",
        Some(Place::Begin(_)) => "begin",
        Some(Place::Pins(..)) => "pins",
        // An abort has no details, a commit does.
        Some(Place::End(_)) if world.store.objects()[key].len() < 1000 => "end that aborts",
        Some(Place::End(_)) => "end that commits",
        Some(Place::Delta(..)) => "delta",
        Some(Place::Pack(_)) if key.as_str().starts_with("packs/tree") => "tree pack",
        Some(Place::Pack(_)) => "data pack",
        Some(Place::IndexSegment(_)) => "index segment",
        Some(Place::SnapshotSegment(_)) => "snapshot segment",
        Some(Place::List(_)) => "list",
        Some(Place::Member(..)) => "member",
        _ => "other",
    };
    text.to_owned()
}

/// What is damaged: all lists, and some of every other kind.
fn victims(world: &World) -> Vec<(Key, String)> {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut all = Vec::new();
    for key in world.store.objects().into_keys() {
        let kind = kind(world, &key);
        let seen = taken.entry(kind.clone()).or_default();
        *seen += 1;
        // Packs may be needed or not.
        let most = if kind.ends_with("pack") { 3 } else { 1 };
        if kind == "list" || kind != "other" && *seen <= most {
            all.push((key, kind));
        }
    }
    all
}

type Before = Vec<(Key, Bytes)>;

/// Damages an object; what there was before, or nothing if the damage does not exist for it.
fn apply(world: &World, key: &Key, of_kind: &str, damage: Damage) -> Option<Before> {
    let objects = world.store.objects();
    let mut before = vec![(key.clone(), objects[key].clone())];
    let mut bytes = objects[key].to_vec();
    let middle = bytes.len() / 2;
    match damage {
        Damage::Delete => drop(world.store.remove_raw(key)),
        Damage::Truncate => world.store.insert_raw(key.clone(), bytes[..middle].to_vec()),
        Damage::Flip => {
            bytes[middle] ^= 1;
            world.store.insert_raw(key.clone(), bytes);
        }
        Damage::SwapWithKin => {
            let (other, body) = objects
                .iter()
                .find(|(other, _)| *other != key && kind(world, other).ends_with(last_word(of_kind)))?;
            before.push((other.clone(), body.clone()));
            world.store.insert_raw(other.clone(), bytes);
            world.store.insert_raw(key.clone(), body.clone());
        }
    }
    Some(before)
}

fn last_word(text: &str) -> &str {
    text.rsplit(' ').next().unwrap_or(text)
}

fn undo(world: &World, before: &Before) -> World {
    let undone = world.fork(99);
    before.iter().for_each(|(key, body)| undone.store.insert_raw(key.clone(), body.clone()));
    undone
}

/// How a verb may fail: it says that something is damaged.
fn assert_clean(error: &Error, what: &str) {
    let damage = matches!(error.kind, ErrorKind::Damaged | ErrorKind::Conflict | ErrorKind::NotFound);
    // A newest root that is gone is an older state.
    let clean = damage || error.kind == ErrorKind::RolledBack;
    assert!(clean, "{what}: {:?}: {}", error.kind, chain(error));
}

/// One damaged repository.
struct Case<'a> {
    kept: &'a Kept,
    start: World,
    before: Before,
    of_kind: String,
    what: String,
}

impl Case<'_> {
    fn world(&self, seed: u64) -> World {
        self.start.fork(seed)
    }

    /// Whether what a snapshot needs cannot be got from elsewhere.
    fn costs_contents(&self) -> bool {
        self.of_kind.ends_with("pack")
    }

    /// Without its end the newest snapshot looks like a session that is open: nothing tells more.
    fn looks_open(&self) -> bool {
        self.of_kind == "end that commits" && self.what.starts_with("Delete")
    }

    async fn open(&self, world: &World) -> Option<Repository> {
        match world.open_on(Arc::new(world.store.clone())).await {
            Ok(repository) => Some(repository),
            Err(error) => {
                assert_eq!(self.of_kind, "member", "{}: {}", self.what, chain(&error));
                None
            }
        }
    }

    /// Every snapshot that is listed restores exactly, or what is missing is named; tells whether
    /// all were listed and whole.
    async fn restore_all(&self, world: &World, repository: &Repository) -> bool {
        let listed = holdfast_engine::snapshots(&world.ctx(), repository, &Default::default()).await;
        let listed = match listed {
            Ok(listed) => listed.value,
            Err(error) => {
                assert_clean(&error, &self.what);
                return false;
            }
        };
        let mut whole = true;
        for (id, salt) in &self.kept.snapshots {
            let Some(snapshot) = listed.iter().find(|snapshot| snapshot.id == *id) else {
                whole = false;
                continue;
            };
            let restored = world.restore(repository, snapshot, &RestoreOptions::default()).await;
            let (restored, outcome) = match restored {
                Ok(restored) => restored,
                Err(error) => {
                    assert_clean(&error, &self.what);
                    whole = false;
                    continue;
                }
            };
            let problems = &outcome.problems.problems;
            let parts = problems.iter().any(|problem| problem.what.starts_with("everything from here"));
            for key in restored.assert_no_wrong_bytes(&tree(*salt)) {
                whole = false;
                let path = [b"/", &key_to_path(&key)[..]].concat();
                let named = parts || problems.iter().any(|problem| problem.path == path);
                assert!(named, "{}: {} is missing without a word", self.what, String::from_utf8_lossy(&path));
            }
        }
        whole
    }

    async fn readers(&self) {
        let world = self.world(1);
        let Some(repository) = self.open(&world).await else { return };
        let whole = self.restore_all(&world, &repository).await;
        match check(&world.ctx(), &repository, ReadData::All).await {
            Ok(report) => {
                let told = report.errors > 0 || whole || self.looks_open();
                assert!(told, "{}: check says nothing: {:#?}", self.what, report.findings);
            }
            Err(error) => assert_clean(&error, &self.what),
        }
    }

    async fn backup(&self) {
        let world = self.world(2);
        let Some(repository) = self.open(&world).await else { return };
        let made = world.backup_with(&repository, ModelSource::new(&tree(6)), &world.options()).await;
        match made {
            Ok(made) => {
                assert_eq!(made.problems.problems, [], "{}", self.what);
                let shown = world.snapshots(&repository).await;
                let own = shown.iter().find(|snapshot| Some(snapshot.id) == made.value.snapshot).unwrap();
                let restored = world.restore(&repository, own, &RestoreOptions::default()).await;
                let (restored, outcome) = restored.unwrap();
                let absent = restored.assert_no_wrong_bytes(&tree(6));
                let whole = absent.is_empty() && outcome.problems.problem_count == 0;
                // Damage inside a pack is for a check to find.
                let inside = self.costs_contents() && !self.what.starts_with("Delete");
                assert!(whole || inside, "{}: {absent:?}", self.what);
            }
            Err(error) => assert_clean(&error, &self.what),
        }
        self.assert_undone_is_whole(&world, &[]).await;
    }

    /// The bytes are put back: all is there, whatever was done meanwhile.
    async fn assert_undone_is_whole(&self, world: &World, but: &[SessionId]) {
        let undone = undo(world, &self.before);
        let repository = undone.open().await;
        let shown = undone.snapshots(&repository).await;
        for (id, salt) in self.kept.snapshots.iter().filter(|(id, _)| !but.contains(id)) {
            let snapshot = shown.iter().find(|snapshot| snapshot.id == *id);
            let snapshot = snapshot.unwrap_or_else(|| panic!("{}: {id} is gone", self.what));
            let (restored, outcome) =
                undone.restore(&repository, snapshot, &RestoreOptions::default()).await.unwrap();
            let lost = restored.assert_no_wrong_bytes(&tree(*salt));
            assert!(
                lost.is_empty() && outcome.problems.problem_count == 0,
                "{}: {:?}",
                self.what,
                outcome.problems.problems
            );
        }
    }

    async fn maintainers(&self) {
        let world = self.world(3);
        let Some(repository) = self.open(&world).await else { return };
        let first = *self.kept.snapshots.keys().next().unwrap();
        let what = ForgetWhat::Snapshots(vec![first]);
        let options = ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() };
        let mut gone = Vec::new();
        match forget(&world.ctx(), &repository, &options).await {
            Ok(_) => gone.push(first),
            Err(error) => assert_clean(&error, &self.what),
        }
        if self.looks_open() {
            return;
        }
        for _ in 0..3 {
            if let Err(error) = prune(&world.ctx(), &repository, &PRUNE).await {
                assert_clean(&error, &self.what);
            }
        }
        self.assert_undone_is_whole(&world, &gone).await;
    }

    async fn repairs(&self) {
        let world = self.world(4);
        let Some(repository) = self.open(&world).await else { return };
        let options = RepairIndexOptions { read_packs: true, dry_run: false };
        let done = repair_index(&world.ctx(), &repository, options).await;
        let report = done.unwrap_or_else(|error| panic!("{}: {}", self.what, chain(&error)));
        let whole = self.restore_all(&world, &repository).await;
        let record = self.of_kind.starts_with("end");
        assert!(whole || record || self.costs_contents(), "{}: {report:?}", self.what);
        let again = repair_index(&world.ctx(), &repository, options).await.unwrap();
        assert!(!again.is_needed, "{}: {again:?}", self.what);
        let snapshots = RepairSnapshotsOptions::default();
        if let Err(error) = repair_snapshots(&world.ctx(), &repository, snapshots).await {
            assert_clean(&error, &self.what);
        }
        if self.looks_open() {
            return;
        }
        for _ in 0..2 {
            match prune(&world.ctx(), &repository, &PRUNE).await {
                Ok(_) => {}
                // A page is lost, and the snapshot that needs it was not forgotten.
                Err(error) => assert!(self.costs_contents(), "{}: {}", self.what, chain(&error)),
            }
        }
        if !record {
            self.assert_undone_is_whole(&world, &[]).await;
        }
        if whole {
            assert!(self.restore_all(&world, &repository).await || record, "{}", self.what);
        }
    }

    async fn recovers(&self) {
        let world = self.world(5);
        let Some(repository) = self.open(&world).await else { return };
        match recover(&world.ctx(), &repository, RecoverOptions::default()).await {
            Ok(report) => {
                for made in report.trees.iter().filter_map(|tree| tree.snapshot) {
                    let shown = world.snapshots(&repository).await;
                    let made = shown.iter().find(|snapshot| snapshot.id == made).unwrap();
                    let counts = made.summary.counts;
                    let restored = world.restore(&repository, made, &RestoreOptions::default()).await;
                    let (restored, outcome) = restored.unwrap();
                    let whole =
                        restored.items.len() as u64 == counts.files + counts.directories + counts.others;
                    assert!(whole && outcome.problems.problem_count == 0, "{}", self.what);
                }
            }
            Err(error) => assert_clean(&error, &self.what),
        }
        self.assert_undone_is_whole(&world, &[]).await;
    }
}

const PRUNE: PruneOptions = PruneOptions {
    max_unused: MaxUnused::Percent(0.0),
    max_repack_bytes: None,
    min_age_seconds: Some(0),
    abort_after_seconds: 72 * 3600,
    dry_run: false,
};

/// A repository with every kind of list: a pack was lost, and came back.
async fn with_every_list() -> Kept {
    let kept = kept().await;
    let newest = *kept.snapshots.keys().find(|id| kept.snapshots[id] == 6).unwrap();
    let of_newest = |key: &Key| key.as_str().contains(&newest.to_string());
    let key = kept.world.names("packs/data/").into_iter().find(of_newest).unwrap();
    let whole = kept.world.store.remove_raw(&key).unwrap();
    let options = RepairIndexOptions::default();
    repair_index(&kept.world.ctx(), &kept.repository, options).await.unwrap();
    kept.world.store.insert_raw(key, whole);
    // Somebody has seen the newest root.
    let report = kept.world.keep(&kept.repository, &tree(8)).await;
    let snapshots =
        kept.snapshots.iter().map(|(id, salt)| (*id, *salt)).chain([(report.snapshot.unwrap(), 8)]);
    Kept { snapshots: snapshots.collect(), ..kept }
}

/// Each part has the time that a test has.
const PARTS: usize = 5;

async fn every_victim(damage: Damage, part: usize) {
    let kept = with_every_list().await;
    kept.assert_whole(&kept.world, "before").await;
    for (key, of_kind) in victims(&kept.world).into_iter().skip(part).step_by(PARTS) {
        let start = kept.fork(7);
        let Some(before) = apply(&start, &key, &of_kind, damage) else { continue };
        let what = format!("{damage:?} {of_kind} {key}");
        let case = Case { kept: &kept, start, before, of_kind, what };
        case.readers().await;
        case.backup().await;
        case.maintainers().await;
        case.repairs().await;
        case.recovers().await;
    }
}

#[test]
fn deleted_objects_cost_nothing_that_is_not_told() {
    (0..PARTS).for_each(|part| run(move || every_victim(Damage::Delete, part)));
}

#[test]
fn truncated_objects_cost_nothing_that_is_not_told() {
    (0..PARTS).for_each(|part| run(move || every_victim(Damage::Truncate, part)));
}

#[test]
fn flipped_bits_cost_nothing_that_is_not_told() {
    (0..PARTS).for_each(|part| run(move || every_victim(Damage::Flip, part)));
}

#[test]
fn swapped_objects_cost_nothing_that_is_not_told() {
    (0..PARTS).for_each(|part| run(move || every_victim(Damage::SwapWithKin, part)));
}

#[test]
fn every_kind_that_maintenance_writes_is_in_the_matrix() {
    run(|| async {
        let kept = with_every_list().await;
        let mut kinds: Vec<_> = victims(&kept.world).into_iter().map(|(_, kind)| kind).collect();
        assert!(kinds.iter().filter(|kind| *kind == "list").count() >= 6, "{kinds:?}");
        kinds.sort();
        kinds.dedup();
        let expected = [
            "begin",
            "data pack",
            "delta",
            "end that aborts",
            "end that commits",
            "index segment",
            "list",
            "member",
            "newest root",
            "older root",
            "pins",
            "snapshot segment",
            "tree pack",
        ];
        assert_eq!(kinds, expected);
    });
}
