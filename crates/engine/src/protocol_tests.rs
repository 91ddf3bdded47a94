//! Maintainers and other writers at work while a backup runs: what they publish between its
//! beginning and its commit decides whether it counts. And pages that say what is not so.
//!
//! On purpose not here: a maintainer. Roots and lists are written by hand, with the real keys.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../tests/harness/mod.rs"]
pub(crate) mod harness;

use crate::adopt::adoptable;
use crate::backup::ContentHasher;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::packer::Claim;
use crate::repository::Repository;
use crate::restore::{RestoreOptions, restore};
use crate::session::{Session, SessionOptions};
use crate::snapshots::Snapshot;
use crate::workers::Workers;
use crate::{BackupReport, ReadData, check};
use harness::{ModelSource, ModelTarget, Node, Restored, Stepped, SteppedStore, Tree, World, noise, run};
use holdfast_core::crypto::hash;
use holdfast_core::entry::{Attributes, Content, Entry, Extent, Kind, Owner, Time};
use holdfast_core::id::{ChunkId, ObjectId, SessionId, StreamId};
use holdfast_core::index::{MultisetSum, Partition};
use holdfast_core::keys::ChunkKind;
use holdfast_core::name::{self, PackId, Place, SessionName};
use holdfast_core::object::ObjectType;
use holdfast_core::page::{ExtentTreeBuilder, KeySpace, TreeBuilder};
use holdfast_core::root::{CataloguedSnapshot, List, ListKind, NamedRow, Root, SegmentRow, encode_snapshots};
use holdfast_core::segment::IndexSegment;
use holdfast_core::session::{Counts, Details, Summary};
use holdfast_store::{Key, MemoryStore};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Writes what a maintainer would.
#[derive(Clone)]
struct Maintainer {
    ctx: Ctx,
    repository: Repository,
    store: MemoryStore,
}

impl Maintainer {
    fn of(world: &World, repository: &Repository) -> Self {
        Self { ctx: world.ctx(), repository: repository.clone(), store: world.store.clone() }
    }

    fn insert(&self, name: String, bytes: Vec<u8>) {
        self.store.insert_raw(Key::new(name).unwrap(), bytes);
    }

    /// Publishes a root.
    fn publish(&self, root: Root) {
        let root = Root { repository_hash: self.repository.description_hash(), ..root };
        let object = name::root_object(root.number);
        let header = self.repository.header(&self.ctx, ObjectType::Root, object, root.number);
        let bytes = root.encode(&header, &self.repository.k_ref().unwrap(), self.repository.signer());
        self.insert(name::root(root.number), bytes);
    }

    /// Stores a list; returns the row that names it.
    fn list(&self, kind: ListKind, packs: &[PackId]) -> NamedRow {
        let id = ObjectId(self.ctx.random());
        let header = self.repository.header(&self.ctx, ObjectType::List, id, 0);
        let list = List::of_packs(kind, &packs.iter().copied().collect::<BTreeSet<_>>());
        let bytes = list.encode(&header, &self.repository.k_idx().unwrap(), self.repository.signer());
        let row = NamedRow { kind: kind as u8, id, items: packs.len() as u64, hash: hash(&bytes), floor: 0 };
        self.insert(name::list(id), bytes);
        row
    }

    /// Stores the list that forgets a snapshot; returns the row that names it.
    fn forget(&self, snapshot: &Snapshot) -> NamedRow {
        let id = ObjectId(self.ctx.random());
        let header = self.repository.header(&self.ctx, ObjectType::List, id, 0);
        let list = List { kind: ListKind::Forgotten, items: snapshot.id.0.to_vec() };
        let bytes = list.encode(&header, &self.repository.k_idx().unwrap(), self.repository.signer());
        let row = NamedRow { kind: ListKind::Forgotten as u8, id, items: 1, hash: hash(&bytes), floor: 0 };
        self.insert(name::list(id), bytes);
        row
    }

    /// Packs that lie in the store.
    fn packs(&self) -> Vec<PackId> {
        let packs = self.store.objects().into_keys().filter_map(|key| match name::parse(key.as_str()) {
            Some(Place::Pack(id)) => Some(id),
            _ => None,
        });
        packs.collect()
    }

    /// Sessions that have begun and not ended.
    fn open_sessions(&self) -> Vec<SessionName> {
        let objects = self.store.objects();
        let begun = objects.keys().filter_map(|key| match name::parse(key.as_str()) {
            Some(Place::Begin(session)) => Some(session),
            _ => None,
        });
        begun.filter(|session| !objects.contains_key(&Key::new(session.end()).unwrap())).collect()
    }

    fn abort(&self, session: &SessionName) {
        let object = name::named_object(&session.end());
        let header = self.repository.header(&self.ctx, ObjectType::End, object, 0);
        let end = holdfast_core::session::End::Abort { reason: "as planned".into() };
        let bytes = end.encode(&header, &self.repository.k_ref().unwrap(), self.repository.signer());
        self.insert(session.end(), bytes);
    }
}

fn tree() -> Tree {
    let mut tree = Tree::default();
    for number in 0..10 {
        tree.put(&format!("small/{number}"), Node::file(noise(number, 9_000)));
    }
    tree.put("large", Node::file(noise(50, 300_000)));
    tree
}

/// Backs up a source of another host, while somebody does something.
async fn meanwhile(
    world: &World,
    repository: &Repository,
    tree: &Tree,
    act: impl Fn() + Send + Sync + 'static,
) -> Result<BackupReport> {
    let done = std::sync::Once::new();
    let source = ModelSource::new(tree).of("other", "/other").hooked(move |_| done.call_once(&act));
    let options = World::bare();
    world.backup_with(repository, source, &options).await.map(|outcome| outcome.value)
}

fn maintainer_packs(world: &World) -> Vec<PackId> {
    world.names("packs/").iter().filter_map(|key| PackId::parse(key.as_str())).collect()
}

fn assert_conflict(result: Result<BackupReport>) {
    let error: Error = result.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
}

#[test]
fn a_fence_above_the_beginning_is_passed_by_a_new_session_with_the_same_packs() {
    run(|| async {
        for (fence_pending, fence) in [(1, 0), (1, 1), (0, 1)] {
            let (world, repository) = World::made(Workers::inline()).await;
            let maintainer = Maintainer::of(&world, &repository);
            let act = move || {
                maintainer.publish(Root { number: 1, fence_pending, fence, ..Root::default() });
            };
            let report = meanwhile(&world, &repository, &tree(), act).await.unwrap();
            let snapshot = world.newest(&repository).await;
            assert_eq!((Some(snapshot.id), snapshot.epoch), (report.snapshot, 1));
            world.assert_restores(&repository, &snapshot, &tree()).await;
            // Nothing was uploaded twice, and the session that was too old has its end.
            let sessions: BTreeSet<_> =
                maintainer_packs(&world).into_iter().map(|pack| pack.session).collect();
            assert_eq!(sessions.len(), 1);
            assert!(Maintainer::of(&world, &repository).open_sessions().is_empty());
            world.assert_sound(&repository).await;
        }
    });
}

#[test]
fn a_root_that_changes_nothing_of_ours_does_not_hinder_a_commit() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        world.keep(&repository, &tree()).await;
        let maintainer = Maintainer::of(&world, &repository);
        let unrelated = PackId { ordinal: 900, ..maintainer.packs()[0] };
        let act = move || {
            let lists = vec![maintainer.list(ListKind::Condemned, &[unrelated])];
            maintainer.publish(Root { number: 1, lists, ..Root::default() });
            maintainer.publish(Root { number: 2, ..Root::default() });
        };
        meanwhile(&world, &repository, &tree(), act).await.unwrap();
        world.assert_restores(&repository, &world.newest(&repository).await, &tree()).await;
    });
}

#[test]
fn a_pack_that_was_relied_on_and_is_given_up_refuses_the_commit() {
    run(|| async {
        for kind in [ListKind::Condemned, ListKind::Dead, ListKind::Quarantined] {
            let (world, repository) = World::made(Workers::inline()).await;
            world.keep(&repository, &tree()).await;
            let maintainer = Maintainer::of(&world, &repository);
            let packs = maintainer.packs();
            let act = move || {
                let lists = vec![maintainer.list(kind, &packs)];
                maintainer.publish(Root { number: 1, lists, ..Root::default() });
            };
            assert_conflict(meanwhile(&world, &repository, &tree(), act).await);
            assert_eq!(world.snapshots(&repository).await.len(), 1);
        }
    });
}

#[test]
fn a_parent_that_is_gone_refuses_the_commit() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        world.keep(&repository, &tree()).await;
        let maintainer = Maintainer::of(&world, &repository);
        let end = world.names("sessions/").into_iter().find(|key| key.as_str().ends_with("/end")).unwrap();
        let mut changed = tree();
        changed.put("new", Node::file("new"));
        let act = move |_: &[u8]| {
            maintainer.store.remove_raw(&end);
            maintainer.publish(Root { number: 1, ..Root::default() });
        };
        let source = ModelSource::new(&changed).hooked(act);
        let result = world.backup_with(&repository, source, &world.options()).await;
        assert_conflict(result.map(|outcome| outcome.value));
    });
}

#[test]
fn what_is_condemned_already_is_stored_again() {
    run(|| async {
        for kind in [ListKind::Condemned, ListKind::Quarantined, ListKind::Dead] {
            let (world, repository) = World::made(Workers::inline()).await;
            let first = world.keep(&repository, &tree()).await;
            let maintainer = Maintainer::of(&world, &repository);
            let lists = vec![maintainer.list(kind, &maintainer.packs())];
            maintainer.publish(Root { number: 1, lists, ..Root::default() });
            let again = meanwhile(&world, &repository, &tree(), || {}).await.unwrap();
            assert_eq!(again.counts.bytes_added, first.counts.bytes_added, "{kind:?}");
            // With the cache too: nothing is taken from it that may go away.
            let cached = world.keep(&repository, &tree()).await;
            assert_eq!(cached.counts.chunks_added, 0);
            let packs = maintainer.packs();
            let old: Vec<_> = packs.iter().filter(|pack| Some(pack.session) == first.snapshot).collect();
            old.iter().for_each(|pack| drop(world.store.remove_raw(&Key::new(pack.name()).unwrap())));
            world.assert_restores(&repository, &world.newest(&repository).await, &tree()).await;
        }
    });
}

#[test]
fn an_abort_before_the_commit_wins_and_a_new_session_takes_over() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let maintainer = Maintainer::of(&world, &repository);
        let aborted = Arc::new(std::sync::Mutex::new(Vec::new()));
        let noted = Arc::clone(&aborted);
        let act = move || {
            for session in maintainer.open_sessions() {
                maintainer.abort(&session);
                noted.lock().unwrap().push(session.session);
            }
        };
        let report = meanwhile(&world, &repository, &tree(), act).await.unwrap();
        let snapshot = world.newest(&repository).await;
        assert_eq!(Some(snapshot.id), report.snapshot);
        assert!(!aborted.lock().unwrap().contains(&snapshot.id));
        world.assert_restores(&repository, &snapshot, &tree()).await;
        let again = world.keep(&repository, &tree()).await;
        assert_eq!((again.adopted_packs, again.counts.bytes_added), (0, 0));
        world.assert_sound(&repository).await;
    });
}

/// Leaves an interrupted session with packs.
async fn interrupted(world: &World, repository: &Repository) {
    let source = ModelSource::new(&tree()).failing_after(12).batches_of(1);
    world.backup_with(repository, source, &World::bare()).await.unwrap_err();
    assert!(!world.names("packs/").is_empty());
}

#[test]
fn an_adopted_pack_that_is_condemned_meanwhile_refuses_the_commit() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        interrupted(&world, &repository).await;
        let maintainer = Maintainer::of(&world, &repository);
        let packs = maintainer.packs();
        let act = move || {
            let lists = vec![maintainer.list(ListKind::Condemned, &packs)];
            maintainer.publish(Root { number: 1, lists, ..Root::default() });
        };
        assert_conflict(meanwhile(&world, &repository, &tree(), act).await);
        assert!(world.snapshots(&repository).await.is_empty());
    });
}

#[test]
fn packs_that_are_given_up_are_not_adopted() {
    run(|| async {
        for kind in [ListKind::Condemned, ListKind::Dead, ListKind::Quarantined] {
            let (world, repository) = World::made(Workers::inline()).await;
            interrupted(&world, &repository).await;
            let maintainer = Maintainer::of(&world, &repository);
            let lists = vec![maintainer.list(kind, &maintainer.packs())];
            maintainer.publish(Root { number: 1, lists, ..Root::default() });
            let report = world.keep(&repository, &tree()).await;
            assert!(report.counts.bytes_added >= tree().bytes(), "{kind:?}: {report:?}");
        }
    });
}

#[test]
fn an_adopted_pack_that_is_gone_refuses_the_commit() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        interrupted(&world, &repository).await;
        let maintainer = Maintainer::of(&world, &repository);
        let packs = maintainer.packs();
        let act = move || {
            for pack in &packs {
                maintainer.store.remove_raw(&Key::new(pack.name()).unwrap());
            }
        };
        assert_conflict(meanwhile(&world, &repository, &tree(), act).await);
    });
}

#[test]
fn packs_of_a_process_that_lives_are_left_alone() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        interrupted(&world, &repository).await;
        let view = repository.view().await.unwrap();
        let living = Ctx { is_alive: |_| true, ..world.ctx() };
        assert!(adoptable(&living, &repository, &view, &[]).await.unwrap().is_empty());
        let mut elsewhere = world.ctx();
        elsewhere.process.machine = [9; 16];
        assert!(adoptable(&elsewhere, &repository, &view, &[]).await.unwrap().is_empty());
        assert!(!adoptable(&world.ctx(), &repository, &view, &[]).await.unwrap().is_empty());
    });
}

#[test]
fn below_the_fence_only_what_is_catalogued_counts() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let maintainer = Maintainer::of(&world, &repository);
        world.keep(&repository, &tree()).await;
        let snapshot = world.newest(&repository).await;
        maintainer.publish(Root { number: 1, fence_pending: 1, fence: 1, ..Root::default() });
        assert!(world.snapshots(&repository).await.is_empty());

        let id = ObjectId(maintainer.ctx.random());
        let row = CataloguedSnapshot {
            session: snapshot.id,
            member: snapshot.member,
            epoch: snapshot.epoch,
            received: Time::default(),
            end_hash: [0; 32],
            summary: snapshot.summary.clone(),
        };
        let header = repository.header(&maintainer.ctx, ObjectType::SnapshotSegment, id, 1);
        let bytes = encode_snapshots(&[row], &header, &repository.k_ref().unwrap(), repository.signer());
        let snapshots = vec![NamedRow { kind: 0, id, items: 1, hash: hash(&bytes), floor: 0 }];
        maintainer.insert(name::snapshot_segment(id), bytes);
        let segments = vec![segment_of_the_delta(&world, &maintainer)];
        let root = Root { number: 2, fence_pending: 1, fence: 1, snapshots, segments, ..Root::default() };
        maintainer.publish(root);
        let found = world.newest(&repository).await;
        assert_eq!(found.id, snapshot.id);
        world.assert_restores(&repository, &found, &tree()).await;
        // And it is a parent like any other.
        let report = world.keep(&repository, &tree()).await;
        assert_eq!((report.parent, report.counts.chunks_added), (Some(snapshot.id), 0));
        assert_eq!(world.snapshots(&repository).await.len(), 2);
    });
}

/// Merges the only delta into a segment.
fn segment_of_the_delta(world: &World, maintainer: &Maintainer) -> SegmentRow {
    let repository = &maintainer.repository;
    let delta = world.names("index/delta/").remove(0);
    let Some(Place::Delta(session, number)) = name::parse(delta.as_str()) else { panic!("a delta") };
    let bytes = world.store.remove_raw(&delta).unwrap();
    let object_id = name::named_object(&session.delta(number));
    let object = repository.parse(&bytes, ObjectType::IndexDelta, object_id).unwrap();
    let k_idx = &repository.k_idx().unwrap();
    let (_, tables) = holdfast_core::index::decode_delta(&object.header, object.body, k_idx).unwrap();
    let id = ObjectId(maintainer.ctx.random());
    let (rows, sum) = (tables.chunks.len() as u64, MultisetSum::of(&tables));
    let segment = IndexSegment { partition: Partition::ALL, level: 0, sum, tables };
    let header = repository.header(&maintainer.ctx, ObjectType::IndexSegment, id, 1);
    let bytes = segment.encode(&header, k_idx, repository.signer());
    let row = SegmentRow { partition: Partition::ALL, level: 0, id, rows, hash: hash(&bytes), sum };
    maintainer.insert(name::index_segment(id), bytes);
    row
}

#[test]
fn a_merged_segment_stands_in_for_its_deltas() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let maintainer = Maintainer::of(&world, &repository);
        world.keep(&repository, &tree()).await;
        let row = segment_of_the_delta(&world, &maintainer);
        maintainer.publish(Root { number: 1, segments: vec![row], ..Root::default() });
        world.assert_restores(&repository, &world.newest(&repository).await, &tree()).await;
        let report = world.keep(&repository, &tree()).await;
        assert_eq!(report.counts.chunks_added, 0);
    });
}

#[test]
fn roots_that_are_damaged_foreign_or_gone_again_stop_a_run() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let maintainer = Maintainer::of(&world, &repository);
        let options = world.options();
        let backups = || world.backup_with(&repository, ModelSource::new(&tree()), &options);
        maintainer.publish(Root { number: 1, ..Root::default() });
        maintainer.publish(Root { number: 2, ..Root::default() });
        let newest = Key::new(name::root(2)).unwrap();
        let whole = world.store.objects()[&newest].clone();
        let mut flipped = whole.to_vec();
        flipped[150] ^= 1;
        let misplaced = world.store.objects()[&Key::new(name::root(1)).unwrap()].to_vec();
        for bytes in [flipped, misplaced, b"junk".to_vec()] {
            world.store.insert_raw(newest.clone(), bytes);
            assert_eq!(backups().await.unwrap_err().kind, ErrorKind::Damaged);
        }
        world.store.insert_raw(newest.clone(), whole);
        // The repository goes back while a backup runs.
        let store = world.store.clone();
        let source = ModelSource::new(&tree()).hooked(move |_| drop(store.remove_raw(&newest)));
        let error = world.backup_with(&repository, source, &world.options()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::RolledBack);
        // The session that had begun with it tells that it is gone.
        let filter = crate::SnapshotFilter::default();
        let fresh = Ctx { cache: None, ..world.ctx() };
        let stranger =
            Repository::open(&fresh, Arc::new(world.store.clone()), &harness::secret()).await.unwrap();
        let error = crate::snapshots(&fresh, &stranger, &filter).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Damaged);
        let ends = world.names("sessions/").into_iter().filter(|key| key.as_str().ends_with("/end"));
        assert_eq!(ends.count(), 0);
    });
}

#[test]
fn a_list_that_is_missing_or_damaged_stops_a_run() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let maintainer = Maintainer::of(&world, &repository);
        let lists = vec![maintainer.list(ListKind::Condemned, &[])];
        let key = Key::new(name::list(lists[0].id)).unwrap();
        maintainer.publish(Root { number: 1, lists, ..Root::default() });
        world.keep(&repository, &tree()).await;
        for bytes in [Some(&b"junk"[..]), None] {
            match bytes {
                Some(bytes) => world.store.insert_raw(key.clone(), bytes),
                None => drop(world.store.remove_raw(&key)),
            }
            let failed = world.backup_with(&repository, ModelSource::new(&tree()), &world.options()).await;
            assert_eq!(failed.unwrap_err().kind, ErrorKind::Damaged);
        }
    });
}

/// A snapshot made by hand.
struct Crafted {
    session: Session,
}

impl Crafted {
    async fn begin(world: &World, repository: &Repository) -> Self {
        let view = repository.view().await.unwrap();
        let options = SessionOptions {
            stream: StreamId([5; 16]),
            parent: None,
            needs_parent: false,
            seal_check: true,
            data_pack_bytes: holdfast_core::pack::DATA_PACK_BYTES,
            dry_run: false,
            level: 1,
            started: Time::default(),
        };
        let ctx = world.ctx();
        let index = Arc::default();
        let session = Session::begin(&ctx, repository, &view, index, Vec::new(), &options).await.unwrap();
        Self { session }
    }

    fn chunk(&self, bytes: &[u8]) -> ChunkId {
        let packer = self.session.packer();
        let id = packer.sealer().identifier.chunk(ChunkKind::Data, bytes);
        assert_eq!(packer.claim(ChunkKind::Data, &id), Claim::New);
        packer.store_data(&id, bytes, &mut packer.scratch());
        id
    }

    fn extent_tree(&self, extents: &[Extent]) -> ChunkId {
        let packer = self.session.packer();
        let mut builder = ExtentTreeBuilder::new(packer.sealer().identifier.clone());
        let mut sink = |id, page| packer.store_page(id, &page);
        extents.iter().for_each(|extent| builder.push(*extent, &mut sink));
        builder.finish(&mut sink)
    }

    fn tree(&self, entries: &[Entry]) -> ChunkId {
        let packer = self.session.packer();
        let mut builder = TreeBuilder::new(packer.sealer().identifier.clone(), KeySpace::Paths);
        let mut sink = |id, page| packer.store_page(id, &page);
        entries.iter().for_each(|entry| builder.push(entry, &mut sink));
        builder.finish(&mut sink).id
    }

    async fn commit(self, root: ChunkId) -> SessionId {
        self.commit_over(root, Vec::new()).await
    }

    /// Commits with a claim to take the place of others.
    async fn commit_over(mut self, root: ChunkId, supersedes: Vec<SessionId>) -> SessionId {
        self.session.packer().close();
        self.session.upload().await.unwrap();
        let summary = Summary {
            stream: StreamId([5; 16]),
            host: "crafted".into(),
            kind: "files".into(),
            label: "crafted".into(),
            paths: Vec::new(),
            tags: Vec::new(),
            start: Time::default(),
            end: Time::default(),
            counts: Counts::default(),
            incomplete: false,
            problems: 0,
            root,
            space: KeySpace::Paths,
            parent: None,
            supersedes,
            origin: None,
            log: None,
            said_by: None,
            unknown: Vec::new(),
        };
        self.session.commit(summary, &Details::default()).await.unwrap()
    }
}

#[test]
fn a_snapshot_takes_the_place_of_those_of_its_own_stream_only() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        world.keep(&repository, &tree()).await;
        let kept = world.newest(&repository).await;
        let crafted = async |supersedes: Vec<SessionId>| {
            let crafted = Crafted::begin(&world, &repository).await;
            let root = crafted.tree(&[]);
            crafted.commit_over(root, supersedes).await
        };
        let first = crafted(vec![kept.id]).await;
        let shown = async || -> BTreeSet<SessionId> {
            world.snapshots(&repository).await.into_iter().map(|snapshot| snapshot.id).collect()
        };
        assert_eq!(shown().await, BTreeSet::from([kept.id, first]));
        let second = crafted(vec![first, kept.id, SessionId([9; 16])]).await;
        assert_eq!(shown().await, BTreeSet::from([kept.id, second]));
        let resolved = async |id: SessionId| {
            let filter = crate::SnapshotFilter::default();
            let found = crate::resolve(&world.ctx(), &repository, &id.to_string(), b"", &filter).await;
            found.unwrap().snapshot.id
        };
        assert_eq!((resolved(kept.id).await, resolved(first).await), (kept.id, second));
        world.assert_sound(&repository).await;
    });
}

#[test]
fn tags_are_not_changed_once_the_repository_was_maintained() {
    run(|| async {
        let (start, repository) = World::made(Workers::inline()).await;
        start.keep(&repository, &tree()).await;
        let (mut refused, mut done) = (0, 0);
        for (calls, fence) in (0..40).flat_map(|calls| [(calls, 1), (calls, 0)]) {
            let world = start.fork(9);
            let ctx = world.ctx();
            let old = world.newest(&world.open().await).await;
            let store = Arc::new(SteppedStore(world.store.clone()));
            let opened = async move { Repository::open(&ctx, store, &harness::secret()).await };
            let mut opening = Stepped::new(opened);
            opening.go(usize::MAX);
            let (ctx, opened, snapshots) = (world.ctx(), opening.result.unwrap().unwrap(), [old.clone()]);
            let mut tagging = Stepped::new(async move {
                let change = crate::TagChange { add: vec!["x".into()], ..crate::TagChange::default() };
                crate::tag(&ctx, &opened, &snapshots, &change, &mut |_| {}).await
            });
            tagging.go(calls);
            let maintainer = Maintainer::of(&world, &repository);
            // Either a fence that is to come, or somebody forgets the snapshot.
            let lists = if fence == 0 { vec![maintainer.forget(&old)] } else { Vec::new() };
            maintainer.publish(Root { number: 1, fence_pending: fence, lists, ..Root::default() });
            tagging.go(usize::MAX);
            let shown = world.snapshots(&world.open().await).await;
            match tagging.result.unwrap() {
                // It had been committed before, or began after.
                Ok(_) => {
                    done += 1;
                    assert!(shown.iter().all(|snapshot| snapshot.summary.tags == ["x"]), "{calls} {fence}");
                }
                Err(error) => {
                    refused += 1;
                    assert_eq!(error.kind, ErrorKind::Conflict, "{calls} {fence}: {error}");
                    let left = if fence == 0 { vec![] } else { vec![old.id] };
                    assert_eq!(shown.iter().map(|snapshot| snapshot.id).collect::<Vec<_>>(), left);
                }
            }
        }
        assert!(refused > 10 && done > 10, "{refused} {done}");
    });
}

fn entry(key: &str, content: &[u8], size: u64, place: Content) -> Entry {
    let mut hasher = ContentHasher::default();
    hasher.data(content);
    Entry {
        key: key.as_bytes().to_vec(),
        kind: Kind::File,
        mode: 0o644,
        owner: Arc::new(Owner::default()),
        mtime: Time::default(),
        size,
        content: place,
        digest: Some(hasher.finish()),
        attributes: Attributes::default(),
    }
}

async fn restored(world: &World, repository: &Repository, snapshot: &Snapshot) -> (Restored, Vec<String>) {
    let target = ModelTarget::default();
    let map = target.restored();
    let options = RestoreOptions::default();
    let outcome = restore(&world.ctx(), repository, snapshot, Box::new(target), &options).await.unwrap();
    let named = outcome.problems.problems.iter().map(|p| String::from_utf8_lossy(&p.path).into_owned());
    let map = map.lock().unwrap().clone();
    assert_eq!(map.offences, [] as [String; 0]);
    (map, named.collect())
}

#[test]
fn extents_that_do_not_fit_cost_only_the_files_that_state_them() {
    for workers in [Workers::inline(), Workers::pool(2)] {
        run(move || async move {
            let (world, repository) = World::made(workers).await;
            let crafted = Crafted::begin(&world, &repository).await;
            let (first, second) = (noise(1, 5_000), noise(2, 5_000));
            let (a, b) = (crafted.chunk(&first), crafted.chunk(&second));
            let slice = |id, offset, length| Extent::Chunk { id, offset, length };
            let good = vec![slice(a, 0, 5_000), slice(b, 100, 50)];
            let beyond = vec![slice(a, 4_990, 11)];
            let far = vec![slice(b, 10, 40), slice(a, u32::MAX - 1, u32::MAX)];
            let lost = vec![slice(b, 0, 5_000), slice(ChunkId([8; 32]), 0, 10), slice(a, 0, 1)];
            let huge = crafted.extent_tree(&[slice(a, 0, 5_000)]);
            let page = crafted.tree(&[entry("x", b"", 0, Content::None)]);
            let content = [&first[..], &second[100..150]].concat();
            let entries = [
                entry("a good", &content, 5_050, Content::Extents(good)),
                entry("b beyond", b"", 11, Content::Extents(beyond)),
                entry("c far", b"", 40 + u64::from(u32::MAX), Content::Extents(far)),
                entry("d lost", b"", 5_011, Content::Extents(lost)),
                entry("e tree of another length", b"", u64::MAX, Content::Tree(huge)),
                entry("f no tree of extents", b"", 7, Content::Tree(page)),
                entry("g tree that is nowhere", b"", 7, Content::Tree(ChunkId([9; 32]))),
                entry("h good", &first, 5_000, Content::Tree(huge)),
                entry("i bytes", b"12", 2, Content::Inline(b"12".to_vec())),
            ];
            let root = crafted.tree(&entries);
            let id = crafted.commit(root).await;
            let snapshot = world.newest(&repository).await;
            assert_eq!(snapshot.id, id);
            let (map, mut named) = restored(&world, &repository, &snapshot).await;
            assert_eq!(map.content("a good").unwrap(), content);
            assert_eq!(map.content("h good").unwrap(), first);
            assert_eq!(map.content("i bytes").unwrap(), b"12");
            named.sort();
            assert_eq!(
                named,
                [
                    "/b beyond",
                    "/c far",
                    "/d lost",
                    "/e tree of another length",
                    "/f no tree of extents",
                    "/g tree that is nowhere"
                ]
            );
            let report = check(&world.ctx(), &repository, ReadData::All).await.unwrap();
            assert!(report.errors > 0);
        });
    }
}

#[test]
fn a_tree_that_is_none_is_damage() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let crafted = Crafted::begin(&world, &repository).await;
        let root = crafted.extent_tree(&[Extent::Hole { length: 5 }]);
        crafted.commit(root).await;
        let snapshot = world.newest(&repository).await;
        let (map, named) = restored(&world, &repository, &snapshot).await;
        assert!(map.items.is_empty());
        assert_eq!(named, ["/"]);
    });
}
