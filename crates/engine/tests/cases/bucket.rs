//! Trees whose keys are those of a bucket: bytes as they are, without folders.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{ModelSource, Node, Tree, World, noise, run};
use holdfast_core::entry::Entry;
use holdfast_core::keys::Role;
use holdfast_core::page::KeySpace;
use holdfast_engine::error::ErrorKind;
use holdfast_engine::maintain::{RecoverOptions, RepairSnapshotsOptions, recover, repair_snapshots};
use holdfast_engine::source::{
    Before, ConsistencyPoint, EntryBatch, Order, Source, SourceError, SourceIdentity,
};
use holdfast_engine::workers::Workers;
use holdfast_engine::{
    Change, DiffOptions, DumpOptions, Live, LiveOptions, Repository, RestoreOptions, Snapshot,
    SnapshotFilter, backup, details, diff, diff_live, dump, list, resolve,
};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

const ODD: [&[u8]; 16] = [
    b" ",
    b".",
    b"..",
    b"../x",
    b"/",
    b"//",
    b"/a",
    b"a",
    b"a/",
    b"a//b",
    b"a-b",
    b"a/b",
    b"a/./b",
    b"b/x",
    b"\xff",
    "한글/이름".as_bytes(),
];

/// Odd keys, and so many others that there are several pages.
fn bucket() -> Tree {
    let mut tree = Tree::default();
    let long = noise(1, 512).iter().map(|byte| b'a' + byte % 26).collect::<Vec<_>>().repeat(2);
    let many = (0..3_000).map(|number| format!("many/{number:05}").into_bytes());
    let keys = ODD.iter().map(|key| key.to_vec()).chain([long]).chain(many);
    for (number, key) in (1u64..).zip(keys) {
        tree.0.insert(key, Node { inode: number, ..Node::file(noise(number, number as usize % 400)) });
    }
    tree
}

async fn kept(world: &World, repository: &Repository, tree: &Tree, seed: u64) -> Snapshot {
    let outcome = world.backup(repository, ModelSource::new(tree).opaque().arrival(seed)).await;
    assert_eq!(outcome.problems.problems, []);
    world.newest(repository).await
}

async fn listed(world: &World, repository: &Repository, snapshot: &Snapshot, path: &[u8]) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let mut take = |entry: &Entry| keys.push(entry.key.clone());
    match list(&world.ctx(), repository, snapshot, path, false, &mut take).await {
        Err(error) => assert_eq!((error.kind, keys.len()), (ErrorKind::NotFound, 0)),
        Ok(()) => assert!(!keys.is_empty()),
    }
    keys
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn any_key_is_data() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let tree = bucket();
        let snapshot = kept(&world, &repository, &tree, 7).await;
        assert_eq!(snapshot.summary.space, KeySpace::Opaque);
        let all: Vec<_> = tree.0.keys().cloned().collect();
        assert_eq!(listed(&world, &repository, &snapshot, b"").await, all);
        world.assert_restores(&repository, &snapshot, &tree).await;
        // Below `a/` there is more than the object of that name.
        for key in ODD.iter().filter(|key| !matches!(**key, b"a/" | b"/")) {
            let path = [b"/", *key].concat();
            let latest =
                resolve(&world.ctx(), &repository, "latest", &path, &SnapshotFilter::default()).await;
            assert_eq!(latest.unwrap().snapshot.id, snapshot.id, "{key:?}");
            let (out, options) =
                (Kept::default(), DumpOptions { path, archive: None, ..DumpOptions::default() });
            let dumped = dump(&world.ctx(), &repository, &snapshot, &options, Box::new(out.clone())).await;
            assert_eq!(dumped.unwrap().problems.problems, []);
            assert!(*out.0.lock().unwrap() == tree.0[*key].flat(), "{}", String::from_utf8_lossy(key));
        }
        world.assert_sound(&repository).await;
    });
}

#[test]
fn a_path_is_an_object_or_what_lies_below_it() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let tree = bucket();
        let snapshot = kept(&world, &repository, &tree, 8).await;
        let keys = |all: &[&[u8]]| all.iter().map(|key| key.to_vec()).collect::<Vec<_>>();
        for (path, wanted) in [
            (&b"/a"[..], &[&b"a"[..], b"a/", b"a/./b", b"a//b", b"a/b"][..]),
            (b"a/", &[b"a/", b"a/./b", b"a//b", b"a/b"]),
            (b"a//", &[b"a//b"]),
            (b"//", &[b"/", b"//", b"/a"]),
            (b"/b", &[b"b/x"]),
            (b"..", &[b"..", b"../x"]),
            (b"x", &[]),
            (b"many/00", &[]),
            (b"many/02999", &[b"many/02999"]),
        ] {
            assert_eq!(listed(&world, &repository, &snapshot, path).await, keys(wanted), "{path:?}");
            let filter = SnapshotFilter::default();
            let found = resolve(&world.ctx(), &repository, "latest", path, &filter).await;
            assert_eq!(found.is_ok(), !wanted.is_empty(), "{path:?}");
        }
        assert_eq!(listed(&world, &repository, &snapshot, b"many").await.len(), 3_000);
        // What is named itself is restored alone; what lies below without what is above it.
        for (path, wanted) in
            [(&b"a"[..], &[&b"a"[..]][..]), (b"a/", &[b"", b"./b", b"/b", b"b"]), (b"b", &[b"x"])]
        {
            let options = RestoreOptions { path: path.to_vec(), ..RestoreOptions::default() };
            let (restored, _) = world.restore(&repository, &snapshot, &options).await.unwrap();
            assert_eq!(restored.items.keys().cloned().collect::<Vec<_>>(), keys(wanted), "{path:?}");
        }
        let options = RestoreOptions { path: b"x".to_vec(), ..RestoreOptions::default() };
        let error = world.restore(&repository, &snapshot, &options).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    });
}

async fn changes(
    world: &World,
    repository: &Repository,
    before: (&Snapshot, &[u8]),
    after: (&Snapshot, &[u8]),
) -> Vec<String> {
    let mut lines = Vec::new();
    let mut take = |key: &[u8], change: &Change<'_>| {
        let mark = match change {
            Change::Added(_) => '+',
            Change::Removed(_) => '-',
            Change::Modified { .. } => 'M',
        };
        lines.push(format!("{mark} {}", String::from_utf8_lossy(key)));
    };
    diff(&world.ctx(), repository, before, after, DiffOptions::default(), &mut take).await.unwrap();
    lines
}

#[test]
fn two_snapshots_are_compared() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let mut tree = bucket();
        let before = kept(&world, &repository, &tree, 9).await;
        tree.0.remove(&b"a/"[..]);
        tree.0.insert(b"a/b/c".to_vec(), Node { inode: 90_001, ..Node::file("new") });
        tree.0.insert(b"many/01500".to_vec(), Node { inode: 90_002, ..Node::file("other") });
        let after = kept(&world, &repository, &tree, 10).await;
        let of = |path| changes(&world, &repository, (&before, path), (&after, path));
        assert_eq!(of(b"").await, ["- a/", "+ a/b/c", "M many/01500"]);
        assert_eq!(of(b"a").await, ["- /", "+ /b/c"]);
        assert_eq!(of(b"/a/").await, ["- /", "+ /b/c"]);
        assert_eq!(of(b"many").await, ["M /01500"]);
        assert_eq!(of(b"b").await, [""; 0]);
        let live = Live { source: None, path: Vec::new() };
        let nothing = |_: &[u8], _: bool| false;
        let options = LiveOptions { diff: DiffOptions::default(), read_data: false, left_out: &nothing };
        let mut take = |_: &[u8], _: &Change<'_>| {};
        let error = diff_live(&world.ctx(), &repository, (&before, b""), live, options, &mut take).await;
        assert_eq!(error.unwrap_err().kind, ErrorKind::Usage);
        let files = Tree::mixed();
        let outcome = world.backup(&repository, ModelSource::new(&files).of("host", "/files")).await;
        assert_eq!(outcome.problems.problems, []);
        let files = world.newest(&repository).await;
        let sides = ((&before, &b""[..]), (&files, &b""[..]));
        let error =
            diff(&world.ctx(), &repository, sides.0, sides.1, DiffOptions::default(), &mut take).await;
        assert_eq!(error.unwrap_err().kind, ErrorKind::Usage);
    });
}

#[test]
fn unchanged_objects_are_found_in_whatever_order_they_come() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let tree = bucket();
        kept(&world, &repository, &tree, 1).await;
        for seed in 2..4 {
            let source = ModelSource::new(&tree).opaque().arrival(seed);
            let reads = source.reads.clone();
            let outcome = world.backup(&repository, source).await;
            assert!(outcome.value.unchanged);
            assert_eq!(reads.take(), [""; 0]);
        }
        let source = ModelSource::new(&tree).opaque();
        let reads = source.reads.clone();
        assert!(world.backup(&repository, source).await.value.unchanged);
        assert_eq!(reads.take(), [""; 0]);
    });
}

#[test]
fn a_tree_of_a_bucket_is_repaired_and_recovered_as_one() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let tree = bucket();
        let outcome = world.backup(&repository, ModelSource::new(&tree).opaque()).await;
        for key in world.names("sessions/").into_iter().filter(|key| key.as_str().ends_with("/end")) {
            world.store.remove_raw(&key);
        }
        let report = recover(&world.ctx(), &repository, RecoverOptions { dry_run: false }).await.unwrap();
        assert_eq!(report.trees.len(), 1, "{report:?}");
        let recovered = world.newest(&repository).await;
        assert_eq!((recovered.summary.space, recovered.summary.kind.as_str()), (KeySpace::Opaque, "bucket"));
        assert_eq!(recovered.summary.root, outcome.value.root);
        let options = RepairSnapshotsOptions { forget: false, dry_run: false };
        repair_snapshots(&world.ctx(), &repository, options).await.unwrap();
        assert!(details(&world.ctx(), &repository, &recovered).await.is_ok());
        world.assert_restores(&repository, &recovered, &tree).await;
        world.assert_sound(&repository).await;
    });
}

/// A source that wants to know what divides the snapshot before, and keeps what it is told.
struct Divided {
    source: ModelSource,
    apart: u64,
    told: Arc<Mutex<Vec<Before>>>,
}

impl Source for Divided {
    fn identity(&self) -> &SourceIdentity {
        self.source.identity()
    }

    fn order(&self) -> Order {
        self.source.order()
    }

    fn key_space(&self) -> KeySpace {
        self.source.key_space()
    }

    fn landmarks(&self) -> Option<u64> {
        Some(self.apart)
    }

    fn goes_on(&self) -> bool {
        true
    }

    fn go_on(&mut self, before: &Before) {
        self.told.lock().unwrap().push(before.clone());
    }

    fn next_batch(&mut self) -> Result<Option<EntryBatch>, SourceError> {
        self.source.next_batch()
    }

    fn finish(&mut self) -> Result<ConsistencyPoint, SourceError> {
        self.source.finish()
    }
}

#[test]
fn a_source_is_told_what_divides_the_snapshot_before() {
    told_what_divides(false);
}

#[test]
fn a_source_is_told_the_same_where_the_key_cannot_read_it() {
    told_what_divides(true);
}

fn told_what_divides(as_writer: bool) {
    run(move || async move {
        let (world, mut repository) = World::made(Workers::pool(2)).await;
        if as_writer {
            repository = world.admitted(Role::Writer, 11).await;
        }
        let mut tree = Tree::default();
        // Long keys, so that there are several inner pages.
        let end = "x".repeat(300);
        for number in 0..20_000u64 {
            let key = format!("many/{number:05}/{end}").into_bytes();
            tree.0.insert(key, Node { inode: number + 1, ..Node::file(Vec::new()) });
        }
        let told = Arc::new(Mutex::new(Vec::new()));
        for apart in [1_000, 1_000, 10_001] {
            let source = ModelSource::new(&tree).opaque().arrival(9);
            let source = Divided { source, apart, told: Arc::clone(&told) };
            let options = world.options();
            let outcome = backup(&world.ctx(), &repository, Box::new(source), &options).await.unwrap();
            assert_eq!(outcome.problems.problems, []);
        }
        let told = told.lock().unwrap();
        assert_eq!((&told[0].facts, told[0].landmarks.len()), (&Some(Vec::new()), 0), "the first run of all");
        let facts = Some(vec![("rows".to_owned(), "7".to_owned())]);
        assert_eq!((&told[1].facts, &told[2].facts), (&facts, &facts));
        let keys: Vec<_> = tree.0.keys().cloned().collect();
        let at = |key: &Vec<u8>| keys.binary_search(key).unwrap();
        let marks: Vec<_> = told[1].landmarks.iter().map(at).chain([keys.len()]).collect();
        assert!((10..=19).contains(&told[1].landmarks.len()), "{marks:?}");
        assert!(marks.windows(2).all(|pair| pair[1] - pair[0] >= 1_000), "{marks:?}");
        assert_eq!(told[2].landmarks.len(), 0, "it is too small for that");
    });
}
