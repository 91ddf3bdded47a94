//! Merges against a model, what they leave in the store, and what becomes of local copies from one
//! run to the next.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::local::path_of;
use super::merge::{Merged, read_back};
use super::tests::{Seed, pack_id, tables};
use super::*;
use crate::ctx::Ctx;
use crate::protocol_tests::harness::{self, Node, Tree, World, noise, run};
use crate::repository::Repository;
use crate::view::View;
use crate::workers::Workers;
use crate::{ReadData, check};
use holdfast_core::crypto::hash;
use holdfast_core::id::ObjectId;
use holdfast_core::index::{MultisetSum, Partition, decode_delta};
use holdfast_core::name;
use holdfast_core::object::{Object, ObjectType};
use holdfast_core::root::{Root, SegmentRow};
use holdfast_core::segment::IndexSegment;
use holdfast_store::fault::{Call, Fault, FaultStore, Operation};
use holdfast_store::{Key, ObjectStore};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// A row without numbers.
type Named = (ChunkKey, PackId, u32, u32, PackId);

fn named(tables: &IndexTables) -> Vec<Named> {
    let id = |row: u32| tables.packs[row as usize].id;
    tables
        .chunks
        .iter()
        .map(|row| (row.key, id(row.pack), row.offset, row.length.raw(), id(row.origin)))
        .collect()
}

/// Reads a segment back as the object in the store says it.
fn stored(world: &World, repository: &Repository, row: &SegmentRow) -> IndexTables {
    let bytes = world.store.objects()[&Key::new(name::index_segment(row.id)).unwrap()].clone();
    assert_eq!(hash(&bytes), row.hash);
    let object = repository.parse(&bytes, ObjectType::IndexSegment, row.id).unwrap();
    let segment = IndexSegment::decode(&object.header, object.body, &repository.k_idx().unwrap()).unwrap();
    assert_eq!(
        (segment.sum, segment.level, segment.tables.chunks.len() as u64),
        (row.sum, row.level, row.rows)
    );
    segment.tables
}

/// What a merge of all these must leave: its packs with what they are there for.
fn compare(
    groups: &[IndexTables],
    dropped: &BTreeSet<PackId>,
    merged: &Merged,
    tables: Option<&IndexTables>,
) {
    let rows = groups.iter().flat_map(named);
    let kept: BTreeSet<Named> = rows.filter(|row| !dropped.contains(&row.1)).collect();
    assert!(merged.conservation.holds());
    let mut taken = MultisetSum::default();
    groups.iter().for_each(|tables| taken += MultisetSum::of(tables));
    assert_eq!(merged.conservation.taken, taken);
    let Some(tables) = tables else { return assert_eq!(kept, BTreeSet::new()) };
    assert_eq!(merged.conservation.given, MultisetSum::of(tables));
    let given = named(tables);
    assert_eq!((given.len(), given.into_iter().collect::<BTreeSet<_>>()), (kept.len(), kept.clone()));
    let holders: BTreeSet<PackId> = kept.iter().map(|row| row.1).collect();
    let packs: BTreeSet<PackId> = kept.iter().flat_map(|row| [row.1, row.4]).collect();
    assert_eq!(tables.packs.iter().map(|row| row.id).collect::<BTreeSet<_>>(), packs);
    for pack in &tables.packs {
        assert_eq!(
            (pack.size > 0, pack.chunks > 0),
            (holders.contains(&pack.id), holders.contains(&pack.id))
        );
    }
    let sessions: BTreeSet<_> = packs.iter().map(|pack| pack.session).collect();
    assert_eq!(tables.sessions.iter().map(|row| row.session).collect::<BTreeSet<_>>(), sessions);
    for session in &tables.sessions {
        let of = |row: &&SessionRow| row.session == session.session;
        let all = groups.iter().flat_map(|tables| tables.sessions.iter().filter(of));
        let (data, meta) = all.fold((false, false), |(data, meta), row| {
            (data || row.data.is_some(), meta || row.meta.is_some())
        });
        assert_eq!((session.data.is_some(), session.meta.is_some()), (data, meta));
    }
}

/// The copy that a merge left.
async fn copies(repository: &Repository, merged: &Merged) -> Vec<Arc<SegmentIndex>> {
    let Some(row) = &merged.row else { return Vec::new() };
    assert!(path_of(repository, row.id).unwrap().exists());
    let (segment, made) = local_segment(repository, row).await.unwrap();
    assert!(!made);
    vec![segment.unwrap()]
}

async fn merge_all(
    world: &World,
    repository: &Repository,
    inputs: &[Arc<SegmentIndex>],
    deltas: &[IndexTables],
    dropped: &BTreeSet<PackId>,
) -> Merged {
    let drop = |id: &PackId| dropped.contains(id);
    merge(&world.ctx(), repository, 3, inputs, deltas.to_vec(), &drop).await.unwrap()
}

#[test]
fn a_merge_keeps_what_it_must_and_nothing_else() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let seeds = || prop::collection::vec(any::<Seed>(), 0..40);
        let strategy = (
            prop::collection::vec(seeds(), 1..5),
            prop::collection::vec(seeds(), 0..4),
            prop::collection::btree_set(0u8..12, 0..4),
        );
        let mut runner = TestRunner::new(Config { cases: 60, ..Config::default() });
        for _ in 0..60 {
            let (merged, deltas, dropped) = strategy.new_tree(&mut runner).unwrap().current();
            let tables_of = |groups: &[Vec<Seed>]| {
                groups.iter().zip(0..).map(|(seeds, at)| tables(seeds, at % 2 == 0)).collect::<Vec<_>>()
            };
            let (merged, deltas) = (tables_of(&merged), tables_of(&deltas));
            let (none, mut inputs) = (BTreeSet::new(), Vec::new());
            let mut contents = deltas.clone();
            for tables in &merged {
                let one = merge_all(&world, &repository, &[], std::slice::from_ref(tables), &none).await;
                let back = one.row.as_ref().map(|row| stored(&world, &repository, row));
                compare(std::slice::from_ref(tables), &none, &one, back.as_ref());
                assert!(one.row.as_ref().is_none_or(|row| row.level == 1));
                contents.extend(back);
                inputs.extend(copies(&repository, &one).await);
            }
            let dropped: BTreeSet<PackId> = dropped.into_iter().map(pack_id).collect();
            let all = merge_all(&world, &repository, &inputs, &deltas, &dropped).await;
            let back = all.row.as_ref().map(|row| stored(&world, &repository, row));
            compare(&contents, &dropped, &all, back.as_ref());
            if let Some(row) = &all.row {
                // What is looked up in and what is stored are the same.
                let segments = copies(&repository, &all).await;
                assert_eq!(segments[0].row(), row);
                let index = Index::with_segments(segments).unwrap();
                let one = Index::with_segments(Vec::new()).unwrap();
                assert_eq!(text(&index), text_of(one, &back.unwrap()));
            }
        }
    });
}

/// All that an index says, by names.
fn text(index: &Index) -> BTreeMap<ChunkKey, BTreeSet<(PackId, u32, u32, PackId)>> {
    let (mut all, mut chunks) = (BTreeMap::new(), index.chunks().unwrap());
    let id = |row| index.pack(row).unwrap().row.id;
    while let Some((key, places)) = chunks.next().unwrap() {
        let places =
            places.iter().map(|place| (id(place.pack), place.offset, place.length.raw(), id(place.origin)));
        all.insert(key, places.collect());
    }
    all
}

fn text_of(
    mut index: Index,
    tables: &IndexTables,
) -> BTreeMap<ChunkKey, BTreeSet<(PackId, u32, u32, PackId)>> {
    index.absorb(tables).unwrap();
    index.settle();
    text(&index)
}

fn tree() -> Tree {
    let mut tree = Tree::default();
    for number in 0..6u64 {
        tree.put(&format!("file {number}"), Node::file(noise(number, 300_000)));
    }
    tree
}

/// Merges all deltas into a segment, removes them, and publishes the root that says so.
async fn maintain(world: &World, repository: &Repository) -> SegmentRow {
    let (ctx, k_idx) = (world.ctx(), &repository.k_idx().unwrap());
    let mut deltas = Vec::new();
    for delta in world.names("index/delta/") {
        let bytes = world.store.remove_raw(&delta).unwrap();
        let object = Object::parse(&bytes).unwrap();
        deltas.push(decode_delta(&object.header, object.body, k_idx).unwrap().1);
    }
    let view = repository.view().await.unwrap();
    let inputs = view.index.segments();
    let merged = merge(&ctx, repository, 1, &inputs, deltas, &|_| false).await.unwrap();
    let row = merged.row.unwrap();
    let number = view.root.number + 1;
    publish(world, &ctx, repository, Root { number, segments: vec![row.clone()], ..Root::default() });
    row
}

fn publish(world: &World, ctx: &Ctx, repository: &Repository, root: Root) {
    let root = Root {
        repository_hash: repository.description_hash(),
        previous: [u8::from(root.number > 1); 32],
        ..root
    };
    let header = repository.header(ctx, ObjectType::Root, name::root_object(root.number), root.number);
    let bytes = root.encode(&header, &repository.k_ref().unwrap(), repository.signer());
    world.store.insert_raw(Key::new(name::root(root.number)).unwrap(), bytes);
}

#[test]
fn a_segment_is_read_from_the_repository_once() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        world.keep(&repository, &tree()).await;
        let row = maintain(&world, &repository).await;
        let (path, object) =
            (path_of(&repository, row.id).unwrap(), Key::new(name::index_segment(row.id)).unwrap());
        let bytes = world.store.objects()[&object].to_vec();
        assert!(path.exists());
        let report = world.keep(&repository, &tree()).await;
        assert_eq!(report.counts.chunks_added, 0);
        // Without the file it is made anew, once.
        std::fs::remove_file(&path).unwrap();
        let view = repository.view().await.unwrap();
        assert!(view.damage.is_empty() && path.exists());
        // And then nothing is asked of the store.
        world.store.remove_raw(&object).unwrap();
        let view = repository.view().await.unwrap();
        assert!(view.damage.is_empty());
        assert_eq!(view.index.segments().len(), 1);
        // But a check says that it is gone, whatever there is here.
        let found = check(&world.ctx(), &repository, ReadData::No).await.unwrap().findings;
        assert!(
            found.iter().any(|finding| finding.subject == object.as_str() && finding.what == "is missing")
        );
        // So it says that it is damaged.
        let mut damaged = bytes.clone();
        damaged[300] ^= 1;
        world.store.insert_raw(object.clone(), damaged);
        let found = check(&world.ctx(), &repository, ReadData::No).await.unwrap().findings;
        assert!(found.iter().any(|finding| finding.subject == object.as_str() && finding.is_error));
        world.store.insert_raw(object.clone(), bytes);
        let found = check(&world.ctx(), &repository, ReadData::No).await.unwrap().findings;
        assert!(found.iter().all(|finding| finding.subject != object.as_str()), "{found:?}");
    });
}

#[test]
fn a_damaged_copy_is_made_anew_and_what_nobody_names_goes() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        world.keep(&repository, &tree()).await;
        let first = maintain(&world, &repository).await;
        let path = path_of(&repository, first.id).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let count_of = |view: &View| view.index.chunks().and_then(Chunks::count);
        let all = count_of(&repository.view().await.unwrap()).unwrap();
        assert!(all > 6);
        for at in (0..whole.len()).step_by(499) {
            let mut flipped = whole.clone();
            flipped[at] ^= 4;
            std::fs::write(&path, &flipped).unwrap();
            let view = repository.view().await.unwrap();
            // What a view does not look at may fail later, and is an error then.
            match count_of(&view) {
                Ok(count) => assert_eq!(count, all),
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Conflict);
                    assert_eq!(count_of(&repository.view().await.unwrap()).unwrap(), all);
                }
            }
            std::fs::remove_file(&path).ok();
        }
        let stale = [path.with_extension("1-1.tmp"), path.with_file_name("00".repeat(16))];
        repository.view().await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        stale.iter().for_each(|path| std::fs::write(path, b"left").unwrap());
        let mut more = tree();
        more.put("new", Node::file(noise(99, 300_000)));
        world.keep(&repository, &more).await;
        let second = maintain(&world, &repository).await;
        assert_eq!(second.level, 2);
        let copy = path_of(&repository, second.id).unwrap();
        std::fs::remove_file(&copy).unwrap();
        repository.view().await.unwrap();
        let left: Vec<_> =
            std::fs::read_dir(copy.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [copy]);
    });
}

#[test]
fn a_folder_that_cannot_be_written_costs_only_time() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        world.keep(&repository, &tree()).await;
        maintain(&world, &repository).await;
        let file = world.cache.path().join("a file");
        std::fs::write(&file, b"").unwrap();
        for cache in [None, Some(file.join("below")), Some(PathBuf::from("/proc/none"))] {
            let ctx = Ctx { cache, ..world.ctx() };
            let store: Arc<dyn ObjectStore> = Arc::new(world.store.clone());
            let blind = Repository::open(&ctx, store, &harness::secret()).await.unwrap();
            let view = blind.view().await.unwrap();
            assert!(view.damage.is_empty());
            assert!(view.index.chunks().and_then(Chunks::count).unwrap() > 6);
            let report = world.keep(&blind, &tree()).await;
            assert_eq!(report.counts.chunks_added, 0);
            let merged =
                merge(&ctx, &blind, 9, &view.index.segments(), Vec::new(), &|_| false).await.unwrap();
            assert!(merged.conservation.holds());
        }
    });
}

#[test]
fn a_segment_that_is_not_what_the_root_names_is_told_and_not_used() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        world.keep(&repository, &tree()).await;
        let row = maintain(&world, &repository).await;
        let (path, object) =
            (path_of(&repository, row.id).unwrap(), Key::new(name::index_segment(row.id)).unwrap());
        let whole = world.store.objects()[&object].to_vec();
        let (ctx, inputs) = (world.ctx(), repository.view().await.unwrap().index.segments());
        let other = merge(&ctx, &repository, 1, &inputs, Vec::new(), &|_| false);
        let other = other.await.unwrap().row.unwrap();
        let other = world.store.objects()[&Key::new(name::index_segment(other.id)).unwrap()].to_vec();
        let mut cases = vec![other, Vec::new(), b"junk".to_vec(), [&whole[..], b"x"].concat()];
        cases.extend((0..whole.len()).step_by(331).map(|at| {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            flipped
        }));
        cases.extend((0..whole.len()).step_by(977).map(|at| whole[..at].to_vec()));
        for bytes in cases {
            let _ = std::fs::remove_file(&path);
            world.store.insert_raw(object.clone(), bytes);
            let view = repository.view().await.unwrap();
            assert_eq!(view.damage.len(), 1);
            assert_eq!(view.damage[0].object, object.as_str());
            assert!(view.index.segments().is_empty() && !path.exists());
        }
    });
}

/// The row and the bytes of a segment whose head promises the rows of `promised`.
fn segment_of(
    ctx: &Ctx,
    repository: &Repository,
    promised: &IndexTables,
    held: &IndexTables,
) -> (SegmentRow, Vec<u8>) {
    let (mut tables, id, sum) = (held.clone(), ObjectId(ctx.random()), MultisetSum::of(promised));
    tables.arrange();
    let (partition, rows) = (Partition::ALL, tables.chunks.len() as u64);
    let header = repository.header(ctx, ObjectType::IndexSegment, id, 1);
    let segment = IndexSegment { partition, level: 1, sum, tables };
    let bytes = segment.encode(&header, &repository.k_idx().unwrap(), repository.signer());
    (SegmentRow { partition, level: 1, id, rows, hash: hash(&bytes), sum }, bytes)
}

#[test]
fn a_segment_that_lacks_a_row_or_has_one_more_is_not_published() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let ctx = world.ctx();
        let whole = tables(&[(1, 0, 1, 0), (2, 3, 1, 0), (3, 3, 1, 1)], true);
        let fewer = tables(&[(1, 0, 1, 0), (2, 3, 1, 0)], true);
        let put = |(row, bytes): (SegmentRow, Vec<u8>)| {
            world.store.insert_raw(Key::new(name::index_segment(row.id)).unwrap(), bytes);
            row
        };
        let right = put(segment_of(&ctx, &repository, &whole, &whole));
        assert!(read_back(&repository, &right).await.is_ok());
        for (promised, held) in [(&whole, &fewer), (&fewer, &whole)] {
            let wrong = put(segment_of(&ctx, &repository, promised, held));
            let error = read_back(&repository, &wrong).await.unwrap_err();
            assert!(error.what.contains("lost or made up rows"), "{}", error.what);
        }
        let other = SegmentRow { hash: [0; 32], ..right.clone() };
        assert_eq!(read_back(&repository, &other).await.unwrap_err().kind, ErrorKind::Conflict);
        world.store.remove_raw(&Key::new(name::index_segment(right.id)).unwrap()).unwrap();
        assert_eq!(read_back(&repository, &right).await.unwrap_err().kind, ErrorKind::Damaged);
    });
}

/// Whatever a call of the store reports, done or not, a merge gives a right segment or an error.
#[test]
fn a_store_that_fails_at_any_call_gives_no_wrong_segment() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let deltas = [tables(&[(1, 0, 1, 0), (2, 3, 1, 0), (3, 3, 1, 1)], true)];
        let mut merged_all_the_same = 0;
        for kind in [holdfast_store::ErrorKind::Retry, holdfast_store::ErrorKind::Io] {
            for (number, before) in (0..12).flat_map(|number| [(number, true), (number, false)]) {
                let begun = Arc::new(AtomicU64::new(u64::MAX));
                let first = Arc::clone(&begun);
                let plan = move |call: &Call| {
                    if call.operation == Operation::Begin {
                        first.fetch_min(call.number, Ordering::SeqCst);
                    }
                    let begin = first.load(Ordering::SeqCst);
                    match call.number.checked_sub(begin) {
                        Some(at) if at == number && before => Fault::FailBefore(kind),
                        Some(at) if at == number => Fault::FailAfter(kind),
                        _ => Fault::None,
                    }
                };
                let store: Arc<dyn ObjectStore> =
                    Arc::new(FaultStore::new(Arc::new(world.store.clone()), plan));
                let failing = Repository::open(&world.ctx(), store, &harness::secret()).await.unwrap();
                match merge(&world.ctx(), &failing, 1, &[], deltas.to_vec(), &|_| false).await {
                    Ok(merged) => {
                        let back = stored(&world, &repository, merged.row.as_ref().unwrap());
                        compare(&deltas, &BTreeSet::new(), &merged, Some(&back));
                        merged_all_the_same += 1;
                    }
                    Err(error) => assert!(matches!(error.kind, ErrorKind::Store), "{error:?}"),
                }
            }
        }
        assert!(merged_all_the_same > 24, "{merged_all_the_same} of 48");
    });
}

#[test]
fn a_merge_can_be_stopped() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let ctx = world.ctx();
        ctx.cancel.raise();
        let deltas = vec![tables(&[(1, 0, 1, 0)], true)];
        let error = merge(&ctx, &repository, 1, &[], deltas, &|_| false).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Interrupted);
        assert!(world.names("index/segment/").is_empty());
    });
}
