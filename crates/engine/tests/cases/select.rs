//! Restoring a part, planning it, and verifying what was restored.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use crate::harness::{ModelSource, Node, Run, Tree, World, noise, run};
use holdfast_core::entry::key_to_path;
use holdfast_engine::error::ErrorKind;
use holdfast_engine::target::Present;
use holdfast_engine::workers::Workers;
use holdfast_engine::{OpenRestored, RestoreOptions, Selection, Selector, verify};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

fn below(path: &str) -> RestoreOptions {
    RestoreOptions { path: path.into(), ..RestoreOptions::default() }
}

fn selecting(select: impl Fn(&[u8], bool) -> Selection + Send + Sync + 'static) -> RestoreOptions {
    let select: Selector = Arc::new(select);
    RestoreOptions { select: Some(select), ..RestoreOptions::default() }
}

fn part(tree: &Tree, prefix: &str) -> Tree {
    let mut part = Tree::default();
    for (key, node) in &tree.0 {
        if let Some(rest) = key.strip_prefix(prefix.as_bytes()) {
            part.0.insert(rest.strip_prefix(b"\0").unwrap_or(rest).to_vec(), node.clone());
        }
    }
    part
}

#[test]
fn a_folder_lands_in_the_target_and_a_file_keeps_its_name() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = Tree::mixed();
        // Neighbours whose names begin alike.
        tree.put("small.txt", Node::file("no"));
        tree.put("small!", Node::file("no"));
        tree.put("small\u{1}", Node::file("no"));
        world.keep(&repository, &tree).await;
        let snapshot = world.newest(&repository).await;
        for path in ["small", "/small/", "//small"] {
            let (restored, _) = world.restore(&repository, &snapshot, &below(path)).await.unwrap();
            let mut expected = part(&tree, "small\0");
            expected.0.insert(Vec::new(), Node::directory());
            restored.assert_is(&expected);
        }
        let (restored, _) = world.restore(&repository, &snapshot, &below("/large/noise")).await.unwrap();
        let mut expected = Tree::default();
        expected.0.insert(b"noise".to_vec(), tree.node("large/noise").clone());
        restored.assert_is(&expected);
        for path in ["/nothing", "/small/bundled", "/large/noise/below"] {
            let restored = world.restore(&repository, &snapshot, &below(path)).await;
            assert_eq!(restored.unwrap_err().kind, ErrorKind::NotFound, "{path}");
            let planned = world.rehearse(&repository, &snapshot, &below(path)).await;
            assert_eq!(planned.unwrap_err().kind, ErrorKind::NotFound, "{path}");
        }
    });
}

#[test]
fn a_selector_takes_descends_and_skips() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = Tree::default();
        for path in ["a/b/keep", "a/b/leave", "a/x/leave", "c/keep", "c/d/keep", "e/keep", "keep"] {
            tree.put(path, Node::file(noise(1, 900)));
        }
        world.keep(&repository, &tree).await;
        let snapshot = world.newest(&repository).await;
        let options = selecting(|path, directory| match path {
            _ if path.starts_with(b"/e") => Selection::Skip,
            _ if path.ends_with(b"keep") => Selection::Take,
            _ if directory => Selection::Descend,
            _ => Selection::Skip,
        });
        let (restored, outcome) = world.restore(&repository, &snapshot, &options).await.unwrap();
        let expected = ["a/b/keep", "c/keep", "c/d/keep", "keep", "a", "a/b", "c", "c/d"]
            .map(|path| path.replace('/', "\0"));
        let mut wanted = tree.clone();
        wanted.0.retain(|key, _| expected.iter().any(|path| path.as_bytes() == key));
        restored.assert_is(&wanted);
        assert_eq!((outcome.value.files, outcome.value.directories), (4, 4));
        let planned = world.rehearse(&repository, &snapshot, &options).await.unwrap();
        assert_eq!((planned.files, planned.directories, planned.bytes), (4, 4, 3_600));
        // A selection that takes nothing is no error.
        let none = selecting(|_, _| Selection::Skip);
        let (restored, _) = world.restore(&repository, &snapshot, &none).await.unwrap();
        assert!(restored.items.is_empty());
    });
}

/// Writes a tree to a folder.
fn write_out(tree: &Tree, folder: &Path) {
    for (key, node) in &tree.0 {
        let path = folder.join(std::ffi::OsStr::from_bytes(&key_to_path(key)));
        match node.kind {
            holdfast_core::entry::Kind::Directory => std::fs::create_dir_all(path).unwrap(),
            holdfast_core::entry::Kind::File => {
                let file = File::create(path).unwrap();
                file.set_len(node.size()).unwrap();
                file.write_all_at(&node.flat(), 0).unwrap();
            }
            _ => {}
        }
    }
}

/// A file on a file system that does not tell where its holes are.
struct Filled(File);

impl Present for Filled {
    fn size(&self) -> u64 {
        self.0.metadata().unwrap().len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn is_hole(&self, _offset: u64, _length: u64) -> bool {
        false
    }
}

fn opens(folder: &Path) -> OpenRestored {
    let folder = folder.to_owned();
    Arc::new(move |key| {
        let file = File::open(folder.join(std::ffi::OsStr::from_bytes(&key_to_path(key))))?;
        Ok(Box::new(Filled(file)))
    })
}

#[test]
fn verifying_finds_each_restored_file_that_differs() {
    run(|| async {
        let (world, repository) = World::made(Workers::pool(2)).await;
        let tree = Tree::mixed();
        world.keep(&repository, &tree).await;
        let snapshot = world.newest(&repository).await;
        let folder = tempfile::tempdir().unwrap();
        write_out(&tree, folder.path());
        let ctx = world.ctx();
        let options = RestoreOptions::default();
        let same = verify(&ctx, &repository, &snapshot, &options, opens(folder.path())).await.unwrap();
        assert_eq!(same.problems.problems, []);
        assert_eq!(same.value.verified_files, tree.files());

        // Where nothing was there is something, be it at the end of a long hole.
        let hole = File::options().write(true).open(folder.path().join("large/hole")).unwrap();
        hole.write_all_at(b"x", (1 << 20) - 1).unwrap();
        std::fs::write(folder.path().join("small/inline"), noise(99, 512)).unwrap();
        std::fs::write(folder.path().join("empty"), "x").unwrap();
        std::fs::remove_file(folder.path().join("large/sparse")).unwrap();
        let differs = verify(&ctx, &repository, &snapshot, &options, opens(folder.path())).await.unwrap();
        let paths: Vec<_> =
            differs.problems.problems.iter().map(|p| String::from_utf8_lossy(&p.path).into_owned()).collect();
        assert_eq!(paths.len(), 4, "{paths:?}");
        assert!(
            ["/empty", "/large/hole", "/large/sparse", "/small/inline"]
                .iter()
                .all(|path| paths.iter().any(|p| p == path))
        );

        let missing = verify(&ctx, &repository, &snapshot, &below("/nothing"), opens(folder.path())).await;
        assert_eq!(missing.unwrap_err().kind, ErrorKind::NotFound);
    });
}

#[test]
fn verifying_against_a_damaged_tree_is_no_success() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let tree = Tree::mixed();
        world.keep(&repository, &tree).await;
        let snapshot = world.newest(&repository).await;
        for key in world.names("packs/tree/") {
            world.store.remove_raw(&key);
        }
        let folder = tempfile::tempdir().unwrap();
        let options = RestoreOptions::default();
        let outcome = verify(&world.ctx(), &repository, &snapshot, &options, opens(folder.path())).await;
        assert!(outcome.is_err() || outcome.unwrap().problems.problem_count > 0);
    });
}

#[test]
fn the_first_damage_ends_a_restore_that_is_to_fail_fast() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = Tree::mixed();
        tree.put("zero", Node::sparse(vec![Run::Hole(5_000)]));
        world.keep(&repository, &tree).await;
        let snapshot = world.newest(&repository).await;
        for key in world.names("packs/data/") {
            world.store.remove_raw(&key);
        }
        let options = RestoreOptions { fail_fast: true, ..RestoreOptions::default() };
        let failed = world.restore(&repository, &snapshot, &options).await.unwrap_err();
        assert_eq!(failed.kind, ErrorKind::Damaged);
        let (restored, outcome) =
            world.restore(&repository, &snapshot, &RestoreOptions::default()).await.unwrap();
        let absent = restored.assert_no_wrong_bytes(&tree);
        let data = tree.0.values().filter(|node| node.size() > 512 && node.flat().iter().any(|b| *b != 0));
        assert_eq!(absent.len(), data.count());
        assert_eq!(outcome.value.files, tree.files() - absent.len() as u64);
        // Attributes that lie in a chunk of their own are lost with it, and named.
        assert_eq!(outcome.problems.problem_count, absent.len() as u64 + 1);
    });
}

#[test]
fn a_source_may_hold_the_target_itself() {
    run(|| async {
        let (world, repository) = World::made(Workers::inline()).await;
        let mut tree = Tree::default();
        tree.0.insert(Vec::new(), Node { inode: 9, ..Node::directory() });
        tree.put("a/b", Node::file("text"));
        let _ = world.backup(&repository, ModelSource::new(&tree)).await;
        let snapshot = world.newest(&repository).await;
        world.assert_restores(&repository, &snapshot, &tree).await;
        let options = selecting(|path, directory| match path {
            b"/a/b" => Selection::Take,
            _ if directory => Selection::Descend,
            _ => Selection::Skip,
        });
        let (restored, _) = world.restore(&repository, &snapshot, &options).await.unwrap();
        restored.assert_is(&tree);
    });
}
