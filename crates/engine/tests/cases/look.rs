//! Looking into snapshots: searching, comparing, dumping and measuring them.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{ModelSource, Node, Tree, World, chain, noise, run};
use holdfast_core::entry::{Entry, key_to_path, path_to_key};
use holdfast_engine::error::ErrorKind;
use holdfast_engine::source::Source;
use holdfast_engine::workers::Workers;
use holdfast_engine::{
    ArchiveFormat, Change, DiffOptions, DiffReport, DumpOptions, FindReport, Live, LiveOptions, Repository,
    Snapshot, SnapshotFilter, StatsMode, diff, diff_live, dump, find, resolve, stats,
};
use holdfast_store::{MemoryStore, ObjectStore};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// A tree of many pages.
fn wide(files: u64) -> Tree {
    let mut tree = Tree::default();
    for number in 0..files {
        let key = format!("folder {:03}\0file {number:06}", number / 300).into_bytes();
        tree.0.insert(key, Node { inode: number + 1, ..Node::file(noise(number, 20)) });
        let folder = format!("folder {:03}", number / 300).into_bytes();
        tree.0.entry(folder).or_insert(Node { inode: 1_000_000 + number, ..Node::directory() });
    }
    tree
}

async fn found(
    world: &World,
    repository: &Repository,
    all: &[Snapshot],
    name: &str,
) -> (Vec<String>, FindReport) {
    let mut lines = Vec::new();
    let mut take = |snapshot: &Snapshot, entry: &Entry| {
        let path = String::from_utf8_lossy(&key_to_path(&entry.key)).into_owned();
        lines.push(format!("{} {path}", &snapshot.id.to_string()[..8]));
    };
    let matches = |entry: &Entry| key_to_path(&entry.key).ends_with(name.as_bytes());
    let outcome = find(&world.ctx(), repository, all, &matches, &mut take).await.unwrap();
    assert_eq!(outcome.problems.problems, []);
    (lines, outcome.value)
}

#[test]
fn a_page_is_searched_once_however_many_snapshots_have_it() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let mut tree = wide(6000);
        for round in 0..12 {
            tree.rewrite("folder 007/file 002222", noise(round, 30), round as i64);
            world.keep(&repository, &tree).await;
        }
        let all = world.snapshots(&repository).await;
        let (lines, one) = found(&world, &repository, &all[..1], "002222").await;
        assert_eq!((lines.len(), one.matches), (1, 1));
        let (lines, report) = found(&world, &repository, &all, "002222").await;
        assert_eq!((lines.len(), report.snapshots_matching), (12, 12));
        assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), 12);
        // A changed file costs the pages from the root to its leaf.
        assert!(report.pages_read <= one.pages_read + 11 * 3, "{report:?} after {one:?}");
        assert!(one.pages_read > 10, "{one:?}");
        let (lines, report) = found(&world, &repository, &all, "nowhere").await;
        assert_eq!((lines.len(), report.snapshots, report.matches), (0, 12, 0));
    });
}

/// The differences in words, with marks as `diff` prints them.
fn words(key: &[u8], change: &Change<'_>) -> String {
    let mark = match change {
        Change::Added(_) => "+",
        Change::Removed(_) => "-",
        Change::Modified { how, .. } if how.kind => "T",
        Change::Modified { how, .. } if how.suspicious => "?",
        Change::Modified { how, .. } if how.content => "M",
        Change::Modified { .. } => "U",
    };
    format!("{mark} {}", String::from_utf8_lossy(&key_to_path(key)))
}

async fn compared(
    world: &World,
    repository: &Repository,
    before: (&Snapshot, &str),
    after: (&Snapshot, &str),
) -> (Vec<String>, DiffReport) {
    let mut lines = Vec::new();
    let mut take = |key: &[u8], change: &Change<'_>| lines.push(words(key, change));
    let sides = ((before.0, before.1.as_bytes()), (after.0, after.1.as_bytes()));
    let options = DiffOptions { metadata: true };
    let report = diff(&world.ctx(), repository, sides.0, sides.1, options, &mut take).await.unwrap();
    (lines, report)
}

/// The differences of two trees, found the slow way.
fn expected(before: &Tree, after: &Tree) -> Vec<String> {
    let keys: BTreeSet<_> = before.0.keys().chain(after.0.keys()).collect();
    let line = |key: &Vec<u8>| {
        let mark = match (before.0.get(key), after.0.get(key)) {
            (Some(_), None) => "-",
            (None, Some(_)) => "+",
            (Some(one), Some(other)) if one.kind != other.kind => "T",
            (Some(one), Some(other)) if one.flat() != other.flat() => {
                if (one.size(), one.mtime) == (other.size(), other.mtime) { "?" } else { "M" }
            }
            (Some(one), Some(other)) if one.mtime != other.mtime || one.mode != other.mode => "U",
            _ => return None,
        };
        Some(format!("{mark} {}", String::from_utf8_lossy(&key_to_path(key))))
    };
    keys.into_iter().filter_map(line).collect()
}

#[test]
fn equal_pages_are_not_read() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let before = wide(12_000);
        world.keep(&repository, &before).await;
        let first = world.newest(&repository).await;
        let mut after = before.clone();
        after.rewrite("folder 020/file 006123", b"other".to_vec(), 77);
        after.put("folder 039/new", Node::file("new"));
        world.keep(&repository, &after).await;
        let second = world.newest(&repository).await;
        let (lines, report) = compared(&world, &repository, (&first, ""), (&second, "")).await;
        assert_eq!(lines, expected(&before, &after));
        assert!(report.pages_read <= 12, "{report:?}");
        let (lines, all) =
            compared(&world, &repository, (&first, "folder 000"), (&second, "folder 001")).await;
        assert_eq!(lines.len(), 600, "{all:?}");
        assert_eq!((all.added.files, all.removed.files), (300, 300));
        let (lines, same) = compared(&world, &repository, (&first, ""), (&first, "")).await;
        assert_eq!((lines.len(), same.pages_read), (0, 0));
        assert!(same.is_same());
        let (lines, _) = compared(&world, &repository, (&first, "folder 020"), (&second, "folder 020")).await;
        assert_eq!(lines, ["M file 006123"]);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn the_quick_comparison_finds_what_the_slow_one_does(
        files in 0u64..3000,
        changes in proptest::collection::vec((0u64..3000, 0u8..6), 0..40),
        holes in proptest::collection::vec((0u64..3000, 1u64..500), 0..3),
    ) {
        run(move || async move {
            let (world, repository) = World::made(Workers::inline()).await;
            let before = wide(files);
            let mut after = before.clone();
            for (number, what) in changes {
                let key = format!("folder {:03}\0file {number:06}", number / 300).into_bytes();
                let node = Node { inode: 10_000 + number, ..Node::file(noise(number + 1, 21)) };
                match (what, after.0.get_mut(&key)) {
                    (0, _) => drop(after.0.remove(&key)),
                    (1, Some(node)) => node.mode = 0o600,
                    (2, Some(node)) => node.mtime.nanos = 9,
                    (3, Some(node)) => node.runs = Node::file(noise(number + 7, 20)).runs,
                    (4, _) => drop(after.0.insert(key, Node::symlink(b"x"))),
                    _ => drop(after.0.insert(key, node)),
                }
            }
            for (from, length) in holes {
                after.0.retain(|key, _| {
                    let number = String::from_utf8_lossy(&key[key.len() - 6..]).parse::<u64>();
                    number.map_or(true, |number| !(from..from + length).contains(&number))
                });
            }
            world.backup_with(&repository, ModelSource::new(&before), &World::bare()).await.unwrap().value.snapshot.unwrap();
            let first = world.newest(&repository).await;
            world.backup_with(&repository, ModelSource::new(&after), &World::bare()).await.unwrap().value.snapshot.unwrap();
            let second = world.newest(&repository).await;
            let (lines, _) = compared(&world, &repository, (&first, ""), (&second, "")).await;
            assert_eq!(lines, expected(&before, &after));
            let (lines, _) = compared(&world, &repository, (&second, ""), (&first, "")).await;
            assert_eq!(lines, expected(&after, &before));
            for read_data in [true, false] {
                let source: Box<dyn Source> = Box::new(ModelSource::new(&after).batches_of(17));
                let mut lines = Vec::new();
                let mut take = |key: &[u8], change: &Change<'_>| lines.push(words(key, change));
                let options =
                    LiveOptions { diff: DiffOptions { metadata: true }, read_data, left_out: &|_, _| false };
                let live = Live { source: Some(source), path: Vec::new() };
                let outcome =
                    diff_live(&world.ctx(), &repository, (&first, b""), live, options, &mut take).await.unwrap();
                assert_eq!(outcome.problems.problems, []);
                let mut wanted = expected(&before, &after);
                if !read_data {
                    // Another time counts as another content then, and the same one as the same.
                    let touched = |line: &String| {
                        let key = path_to_key(&line.as_bytes()[2..]);
                        let of = |tree: &Tree| tree.0.get(&key).map(|node| node.mtime);
                        (line.starts_with("U ") && of(&before) != of(&after)).then(|| format!("M {}", &line[2..]))
                    };
                    // Of what changed unseen only other rights show.
                    let seen = |line: &String| {
                        let key = path_to_key(&line.as_bytes()[2..]);
                        match line.as_bytes()[0] {
                            b'?' if before.0[&key].mode == after.0[&key].mode => None,
                            b'?' => Some(format!("U {}", &line[2..])),
                            _ => Some(touched(line).unwrap_or_else(|| line.clone())),
                        }
                    };
                    wanted = wanted.iter().filter_map(seen).collect();
                }
                assert_eq!(lines, wanted, "read_data {read_data}");
            }
        });
    }
}

/// Keeps what is written.
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
fn every_file_comes_out_as_it_was() {
    for workers in [Workers::inline(), Workers::pool(2)] {
        run(move || async move {
            let (world, repository) = World::made(workers).await;
            let tree = Tree::mixed();
            world.keep(&repository, &tree).await;
            let snapshot = world.newest(&repository).await;
            let files = tree.0.iter().filter(|(_, node)| node.kind == holdfast_core::entry::Kind::File);
            for (key, node) in files {
                let kept = Kept::default();
                let options = DumpOptions { path: key_to_path(key), archive: None, ..DumpOptions::default() };
                let outcome =
                    dump(&world.ctx(), &repository, &snapshot, &options, Box::new(kept.clone())).await;
                assert_eq!(outcome.unwrap().value.bytes, node.size());
                assert!(*kept.0.lock().unwrap() == node.flat(), "{}", String::from_utf8_lossy(key));
            }
            for archive in [ArchiveFormat::Tar, ArchiveFormat::Zip] {
                let kept = Kept::default();
                let options =
                    DumpOptions { path: Vec::new(), archive: Some(archive), ..DumpOptions::default() };
                let outcome =
                    dump(&world.ctx(), &repository, &snapshot, &options, Box::new(kept.clone())).await;
                let report = outcome.unwrap().value;
                assert_eq!((report.files, report.archive), (tree.files(), Some(archive)));
                assert_eq!(report.bytes_written, kept.0.lock().unwrap().len() as u64);
            }
        });
    }
}

#[test]
fn a_dump_ends_at_the_first_damage() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let mut tree = Tree::default();
        tree.put("a", Node::file(noise(1, 3_000_000)));
        world.keep(&repository, &tree).await;
        let before = world.names("packs/data/");
        tree.put("b", Node::file(noise(2, 3_000_000)));
        world.keep(&repository, &tree).await;
        let snapshot = world.newest(&repository).await;
        let pack = world.names("packs/data/").into_iter().find(|name| !before.contains(name)).unwrap();
        let mut objects = world.store.objects();
        let mut bytes = objects[&pack].to_vec();
        let near_end = bytes.len() * 3 / 4;
        bytes[near_end] ^= 1;
        objects.insert(pack, bytes.into());
        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::with_objects(objects));
        let repository = world.open_on(store).await.unwrap();
        let options = |path: &str| DumpOptions { path: path.into(), archive: None, ..DumpOptions::default() };
        let dump_of = |path: &'static str, kept: Kept| {
            let (ctx, repository, snapshot) = (world.ctx(), repository.clone(), snapshot.clone());
            async move { dump(&ctx, &repository, &snapshot, &options(path), Box::new(kept)).await }
        };
        let kept = Kept::default();
        assert_eq!(dump_of("a", kept.clone()).await.unwrap().value.bytes, 3_000_000);
        assert!(*kept.0.lock().unwrap() == noise(1, 3_000_000));
        let kept = Kept::default();
        let error = dump_of("b", kept.clone()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Damaged, "{}", chain(&error));
        // What came out is the beginning of the file, and no byte else.
        assert!(noise(2, 3_000_000).starts_with(&kept.0.lock().unwrap()));
        let error = dump_of("", Kept::default()).await.unwrap_err();
        assert!(chain(&error).contains("/b is damaged"), "{}", chain(&error));
        assert_eq!(dump_of("c", Kept::default()).await.unwrap_err().kind, ErrorKind::NotFound);
    });
}

/// Takes so many bytes and fails then.
struct Narrow(usize);

impl Write for Narrow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_outlet_ends_a_dump() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        world.keep(&repository, &Tree::mixed()).await;
        let snapshot = world.newest(&repository).await;
        for room in [0, 1, 100_000, 3_000_000] {
            let options = DumpOptions::default();
            let result = dump(&world.ctx(), &repository, &snapshot, &options, Box::new(Narrow(room))).await;
            assert_eq!(result.unwrap_err().kind, ErrorKind::Target, "{room}");
        }
        let ctx = world.ctx();
        ctx.cancel.raise();
        let result = dump(&ctx, &repository, &snapshot, &DumpOptions::default(), Box::new(io::sink())).await;
        assert_eq!(result.unwrap_err().kind, ErrorKind::Interrupted);
    });
}

#[test]
fn latest_goes_back_to_where_the_path_was() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut with = wide(1000);
        let without = with.clone();
        with.put("folder 001/lost", Node::file("lost"));
        world.keep(&repository, &with).await;
        let first = world.newest(&repository).await;
        for _ in 0..20 {
            world.keep(&repository, &without).await;
        }
        let last = world.newest(&repository).await;
        let any = SnapshotFilter::default();
        let found = resolve(&world.ctx(), &repository, "latest", b"/folder 001/lost", &any).await.unwrap();
        assert_eq!((found.snapshot.id, found.passed_over.is_none()), (first.id, true));
        assert_eq!(found.without_path.map(|newer| newer.id), Some(last.id));
        let found = resolve(&world.ctx(), &repository, "latest", b"/folder 001", &any).await.unwrap();
        assert_eq!((found.snapshot.id, found.without_path.is_none()), (last.id, true));
        let missing = resolve(&world.ctx(), &repository, "latest", b"/folder 001/never", &any).await;
        assert_eq!(missing.unwrap_err().kind, ErrorKind::NotFound);
    });
}

#[test]
fn what_is_unique_is_what_only_one_snapshot_holds() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let mut tree = wide(2000);
        tree.put("large/one", Node::file(noise(1, 3_000_000)));
        world.keep(&repository, &tree).await;
        tree.put("large/two", Node::file(noise(2, 2_000_000)));
        world.keep(&repository, &tree).await;
        world.keep(&repository, &tree.without("large/two")).await;
        let outcome = stats(&world.ctx(), &repository, None, StatsMode::Full).await.unwrap();
        let report = outcome.value;
        let unique: Vec<_> = report.snapshots.iter().map(|row| row.unique_bytes.unwrap()).collect();
        assert!(unique[1] > 2_000_000 && unique[1] < 2_200_000, "{unique:?}");
        assert!(unique[0] < 200_000 && unique[2] < 200_000, "{unique:?}");
        assert_eq!(report.bytes, 3 * (3_000_000 + 40_000) + 2_000_000);
        let stored = report.stored.unwrap();
        assert_eq!((stored.content_bytes - stored.inline_bytes, stored.slack_bytes), (5_000_000, 0));
        assert!(stored.inline_bytes >= 40_000, "{stored:?}");
        assert!(stored.chunk_bytes + stored.page_bytes + stored.unreferenced_bytes <= report.pack_bytes);
        assert!(report.pack_bytes <= report.repository_bytes);
        let none = stats(&world.ctx(), &repository, Some(&[]), StatsMode::Full).await.unwrap().value;
        assert_eq!((none.snapshots.len(), none.snapshots_all, none.bytes), (0, 3, 0));
        assert_eq!(none.stored.unwrap().chunks, 0);
    });
}
