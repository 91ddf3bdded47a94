//! A writer that lies: chunks and pages under names of others, index deltas about packs of others, objects
//! that its role may not sign. Nobody relies on them, and nothing goes for them.
//!
//! On purpose not here: what a lying store can do.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::claims::keep_own;
use crate::index::Index;
use crate::maintain::{ForgetOptions, ForgetWhat, forget, prune};
use crate::packer::Claim;
use crate::protocol_tests::harness::{ModelSource, Node, Tree, World, noise, pruning, run};
use crate::repository::Repository;
use crate::session::{Session, SessionOptions};
use crate::trust::Reliable;
use crate::workers::Workers;
use holdfast_core::FormatError;
use holdfast_core::chunk::PageText;
use holdfast_core::entry::Time;
use holdfast_core::id::{ChunkId, ObjectId, SessionId, StreamId};
use holdfast_core::index::{ChunkKey, IndexTables, encode_delta};
use holdfast_core::keys::{ChunkKind, Role};
use holdfast_core::name::{self, SessionName};
use holdfast_core::object::ObjectType;
use holdfast_core::page::{KeySpace, TreeBuilder};
use holdfast_core::root::{List, ListKind, Root};
use holdfast_core::session::{Begin, Counts, Details, End, Pins, Summary};
use holdfast_store::ObjectStore;
use std::sync::Arc;

/// A session that looks nothing up and checks nothing.
async fn lying(world: &World, writer: &Repository) -> Session {
    let view = writer.view().await.unwrap();
    let options = SessionOptions {
        stream: StreamId([5; 16]),
        parent: None,
        needs_parent: false,
        seal_check: false,
        data_pack_bytes: holdfast_core::pack::DATA_PACK_BYTES,
        dry_run: false,
        level: 1,
        started: Time::default(),
    };
    Session::begin(&world.ctx(), writer, &view, Arc::default(), Vec::new(), &options).await.unwrap()
}

async fn committed(mut session: Session) -> SessionId {
    let packer = session.packer();
    let tree = TreeBuilder::new(packer.sealer().identifier.clone(), KeySpace::Paths);
    let root = tree.finish(&mut |id, page| packer.store_page(id, &page)).id;
    packer.close();
    session.upload().await.unwrap();
    let summary = Summary {
        stream: StreamId([5; 16]),
        host: "liar".into(),
        kind: "files".into(),
        label: "lies".into(),
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
        supersedes: Vec::new(),
        origin: None,
        log: None,
        said_by: None,
        unknown: Vec::new(),
    };
    session.commit(summary, &Details::default()).await.unwrap()
}

/// Says that it has these chunks, and has something else.
async fn poison(world: &World, writer: &Repository, ids: &[ChunkId]) -> SessionId {
    let session = lying(world, writer).await;
    let packer = session.packer();
    for id in ids {
        assert_eq!(packer.claim(ChunkKind::Data, id), Claim::New);
        packer.store_data(id, b"not at all what it should be", &mut packer.scratch());
    }
    committed(session).await
}

/// Says that these pages refer to nothing.
async fn hollow(world: &World, writer: &Repository, ids: &[ChunkId]) -> SessionId {
    let session = lying(world, writer).await;
    let nothing = PageText { refs: holdfast_core::entry_code::Refs::default().encode(), body: vec![0; 40] };
    ids.iter().for_each(|id| session.packer().store_page(*id, &nothing));
    committed(session).await
}

fn tree() -> Tree {
    let mut tree = Tree::default();
    tree.put("one", Node::file(noise(1, 200_000)));
    tree.put("two", Node::file(noise(2, 300_000)));
    tree
}

/// The chunks of that tree.
fn chunks(repository: &Repository) -> Vec<ChunkId> {
    let id = |seed, length| repository.identifier().unwrap().chunk(ChunkKind::Data, &noise(seed, length));
    vec![id(1, 200_000), id(2, 300_000)]
}

/// A repository with writers of these keys, and its owner, who knows them.
async fn made(keys: &[u8]) -> (World, Repository, Vec<Repository>) {
    let (world, _) = World::made(Workers::inline()).await;
    for key in keys {
        world.admitted(Role::Writer, *key).await;
    }
    let mut writers = Vec::new();
    for key in keys {
        let store: Arc<dyn ObjectStore> = Arc::new(world.store.clone());
        writers.push(world.open_as(store, *key).await);
    }
    let owner = world.open().await;
    (world, owner, writers)
}

async fn prune_all(world: &World, repository: &Repository) {
    let options = pruning();
    prune(&world.ctx(), repository, &options).await.unwrap();
}

#[test]
fn a_chunk_that_a_writer_poisoned_is_relied_on_by_nobody_else() {
    run(|| async {
        let (world, owner, writers) = made(&[11, 12]).await;
        let (liar, other) = (&writers[0], &writers[1]);
        poison(&world, liar, &chunks(&owner)).await;
        for repository in [&owner, other] {
            let view = repository.view().await.unwrap();
            let reliable = Reliable::new(repository, Arc::new(view.index)).unwrap();
            for id in chunks(&owner) {
                assert_eq!(reliable.pack_of(&ChunkKey::from(&id)).unwrap(), None);
            }
        }
        // Another writer first, then an owner: each stores all of it, since none is trusted.
        for (repository, host) in [(other, "other"), (&owner, "owner")] {
            let report = world.backup(repository, ModelSource::new(&tree()).of(host, "/")).await.value;
            assert!(report.counts.bytes_added >= 500_000, "{host}: {:?}", report.counts);
            world.assert_restores(&owner, &world.newest(&owner).await, &tree()).await;
        }
        // What an owner has everybody relies on, and each on its own.
        for (repository, host) in [(liar, "liar"), (other, "other")] {
            let report = world.backup(repository, ModelSource::new(&tree()).of(host, "/again")).await.value;
            assert_eq!(report.counts.chunks_added, 0, "{host}: {:?}", report.counts);
        }
    });
}

#[test]
fn a_poisoned_copy_never_stays_for_a_good_one_however_often_it_is_repacked() {
    run(|| async {
        let (world, ..) = made(&[11, 12]).await;
        world.admitted(Role::Maintainer, 13).await;
        let open = async |key| world.open_as(Arc::new(world.store.clone()), key).await;
        let (owner, liar, other, maintainer) =
            (world.open().await, &open(11).await, &open(12).await, open(13).await);
        // Before and after the good copies, so that either may come first.
        poison(&world, liar, &chunks(&owner)).await;
        let _ = world.backup(other, ModelSource::new(&tree()).of("other", "/")).await;
        poison(&world, liar, &chunks(&owner)).await;
        let good = world.newest(&owner).await;
        let honest = async || {
            let all = world.snapshots(&owner).await;
            all.into_iter().filter(|snapshot| snapshot.summary.host != "liar").collect::<Vec<_>>()
        };
        assert_ne!(honest().await.len(), 0, "{good:?}");
        for (round, repository) in [&owner, &maintainer, &owner].into_iter().enumerate() {
            // Something else goes each time, so that packs are written anew.
            let extra = world.backup(other, {
                let mut more = tree();
                more.put("more", Node::file(noise(50 + round as u64, 900_000)));
                ModelSource::new(&more).of("extra", "/")
            });
            let id = extra.await.value.snapshot.unwrap();
            let what = ForgetWhat::Snapshots(vec![id]);
            let options =
                ForgetOptions { what, allow_last: true, dry_run: false, proven: Default::default() };
            forget(&world.ctx(), repository, &options).await.unwrap();
            prune_all(&world, repository).await;
            for snapshot in honest().await {
                world.assert_restores(&owner, &snapshot, &tree()).await;
            }
        }
        // An owner stores it now: every other copy may go, and its own stays.
        let _ = world.backup(&owner, ModelSource::new(&tree()).of("owner", "/")).await;
        prune_all(&world, &maintainer).await;
        assert_eq!(honest().await.len(), 2);
        for snapshot in honest().await {
            world.assert_restores(&owner, &snapshot, &tree()).await;
        }
        prune_all(&world, &owner).await;
        world.assert_sound(&owner).await;
    });
}

#[test]
fn a_page_that_a_writer_hollowed_out_frees_nothing_of_others() {
    for pages_of in [Role::Owner, Role::Writer] {
        run(move || async move {
            let (world, owner, writers) = made(&[11, 12]).await;
            let honest = if pages_of == Role::Owner { &owner } else { &writers[1] };
            let roots = async || {
                let all = world.snapshots(&owner).await;
                let honest = all.iter().filter(|snapshot| snapshot.summary.host == "honest");
                honest.map(|snapshot| snapshot.summary.root).collect::<Vec<_>>()
            };
            let _ = world.backup(honest, ModelSource::new(&tree()).of("honest", "/")).await;
            for _ in 0..3 {
                hollow(&world, &writers[0], &roots().await).await;
            }
            prune_all(&world, &owner).await;
            let all = world.snapshots(&owner).await;
            let snapshot = all.iter().find(|snapshot| snapshot.summary.host == "honest").unwrap();
            world.assert_restores(&owner, snapshot, &tree()).await;
        });
    }
}

#[test]
fn what_a_writer_says_of_packs_of_others_does_not_count() {
    run(|| async {
        let (world, owner, writers) = made(&[11]).await;
        world.keep(&owner, &tree()).await;
        let view = owner.view().await.unwrap();
        let (row, session) = {
            let mut packs = view.index.packs();
            let (_, known) = packs.next().unwrap().unwrap();
            (known.row, view.index.session(known.session).unwrap())
        };
        let told = |author: &Repository, tables: &IndexTables| {
            let session = SessionName { epoch: 0, member: author.member(), session: SessionId([7; 16]) };
            let id = name::named_object(&session.delta(0));
            let header = author.header(&world.ctx(), ObjectType::IndexDelta, id, 0);
            let bytes = encode_delta(&header, 0, tables, &author.k_idx().unwrap(), author.signer());
            let mut counted = owner.decode_delta(&session, 0, &bytes).unwrap();
            let aloud = keep_own(&mut counted, author.member());
            (aloud, counted.sessions.len() + counted.packs.len())
        };
        let of_owner =
            IndexTables { sessions: vec![session.clone()], packs: vec![row], ..IndexTables::default() };
        let keys_alone = IndexTables { sessions: vec![session], ..IndexTables::default() };
        assert_eq!(told(&owner, &of_owner), (false, 2));
        for tables in [&of_owner, &keys_alone] {
            assert_eq!(told(&writers[0], tables), (true, 0));
        }
        assert_eq!(told(&writers[0], &IndexTables::default()), (false, 0));
    });
}

/// An object of a type, signed by a member.
fn signed(world: &World, author: &Repository, object_type: ObjectType) -> (Vec<u8>, ObjectId) {
    let session = SessionName { epoch: 0, member: author.member(), session: SessionId([7; 16]) };
    let (k_ref, k_idx) = (&author.k_ref().unwrap(), &author.k_idx().unwrap());
    let id = match object_type {
        ObjectType::Root => name::root_object(1),
        ObjectType::Begin => name::named_object(&session.begin()),
        ObjectType::Pins => name::named_object(&session.pins(0)),
        ObjectType::IndexDelta => name::named_object(&session.delta(0)),
        _ => ObjectId([8; 16]),
    };
    let header = author.header(&world.ctx(), object_type, id, 0);
    let signer = author.signer();
    let bytes = match object_type {
        ObjectType::Root => {
            let root = Root { number: 1, repository_hash: author.description_hash(), ..Root::default() };
            root.encode(&header, k_ref, signer)
        }
        ObjectType::Begin => {
            let begin =
                Begin { stream: StreamId([5; 16]), process: world.ctx().process, started: Time::default() };
            begin.encode(&header, k_ref, signer)
        }
        ObjectType::Pins => Pins::default().encode(&header, k_ref, signer),
        ObjectType::IndexDelta => encode_delta(&header, 0, &IndexTables::default(), k_idx, signer),
        _ => List { kind: ListKind::Forgotten, items: vec![1; 16] }.encode(&header, k_idx, signer),
    };
    (bytes, id)
}

#[test]
fn what_a_role_may_not_sign_does_not_count_and_is_found() {
    run(|| async {
        let (world, _) = World::made(Workers::inline()).await;
        for (role, key) in [(Role::Writer, 11), (Role::Maintainer, 12), (Role::Reader, 13)] {
            world.admitted(role, key).await;
        }
        let owner = world.open().await;
        let mut members = vec![owner.clone()];
        for key in [11, 12, 13] {
            members.push(world.open_as(Arc::new(world.store.clone()), key).await);
        }
        for (object_type, may) in [
            (ObjectType::Root, [true, false, true, false]),
            (ObjectType::List, [true, false, true, false]),
            (ObjectType::IndexDelta, [true, true, false, false]),
            (ObjectType::Pins, [true, true, false, false]),
            (ObjectType::Begin, [true, true, true, false]),
        ] {
            for (author, may) in members.iter().zip(may) {
                let (bytes, id) = signed(&world, author, object_type);
                let parsed = owner.parse(&bytes, object_type, id).map(drop);
                let expected = if may { Ok(()) } else { Err(FormatError::Misplaced("its author")) };
                assert_eq!(parsed, expected, "{object_type:?} by a {}", author.role().word());
            }
        }
        // A reader aborts nobody, another writer neither; whoever maintains may.
        world.admitted(Role::Writer, 14).await;
        let owner = world.open().await;
        members.push(world.open_as(Arc::new(world.store.clone()), 14).await);
        let session = SessionName { epoch: 0, member: members[1].member(), session: SessionId([7; 16]) };
        for (author, may) in members.iter().zip([true, true, true, false, false]) {
            let object = session.end();
            let header = author.header(&world.ctx(), ObjectType::End, name::named_object(&object), 0);
            let end = End::Abort { reason: "because".into() };
            let bytes = end.encode(&header, &author.k_ref().unwrap(), author.signer());
            let decoded = owner.decode_end(&session, &bytes).map(drop);
            let expected = if may { Ok(()) } else { Err(FormatError::Misplaced("its author")) };
            assert_eq!(decoded, expected, "by a {}", author.role().word());
        }
        // A root that a writer puts is no root, and a check says so.
        let (bytes, _) = signed(&world, &members[1], ObjectType::Root);
        world.store.insert_raw(holdfast_store::Key::new(name::root(1)).unwrap(), bytes);
        let refused = owner.newest_root().await.unwrap_err();
        assert!(refused.what.contains("the newest root"), "{refused}");
    });
}

#[test]
fn an_index_of_one_owner_is_relied_on_without_a_set() {
    run(|| async {
        let (world, owner, _) = made(&[]).await;
        world.keep(&owner, &tree()).await;
        let index: Index = owner.view().await.unwrap().index;
        assert!(Reliable::new(&owner, Arc::new(index)).unwrap().trusts_all());
    });
}
