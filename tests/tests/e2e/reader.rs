//! A reader in Python that knows `FORMAT.md` and nothing else: it opens the golden repository and those that this
//! program makes, finds in them what the program finds, restores the same bytes, and refuses what was changed.

use super::compare::same;
use super::evidence::{append, drill};
use super::forget::{back_up_at, listed};
use super::tree::{make_node, noise, ordinary, prose, put, put_sparse, set_time, set_xattr};
use super::world::World;
use holdfast_tests::python::{printed, reader};
use holdfast_tests::root;
use rustix::fs::FileType;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

const PASSWORD: &str = "correct horse";

fn run(verb: &str, words: &[&dyn AsRef<OsStr>], password: &str) -> Command {
    let mut command = reader("reader.py", password);
    command.arg(verb).args(words.iter().map(|word| word.as_ref()));
    command
}

#[test]
fn the_golden_repository_is_as_the_page_says() {
    let golden = root().join("tests/golden/draft-1");
    assert!(printed(&mut run("check", &[&golden], "golden")).ends_with("2 snapshots: as FORMAT.md says\n"));
    let all = printed(&mut run("list", &[&golden], "golden"));
    assert!(all == holdfast_tests::read("tests/golden/draft-1.txt"), "{all}");
    let said = run("check", &[&golden], "silver").output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("no key slot opens"));
}

#[test]
fn the_vectors_follow_from_the_page() {
    let said = printed(&mut run("vectors", &[&root().join("crates/core/vectors")], ""));
    assert!(said.ends_with(" vectors: as FORMAT.md says\n"), "{said}");
}

#[test]
fn whatever_was_changed_is_refused() {
    let said = printed(reader("flips.py", "golden").arg(root().join("tests/golden/draft-1")));
    assert!(said.ends_with(" kinds of objects: all refused\n"), "{said}");
}

/// Everything that an entry can be.
fn furnish(source: &Path) {
    ordinary(source, 40, 1);
    put(source.join("cut into chunks"), noise(5, 6 << 20));
    put(source.join("inline"), b"short");
    put(source.join("empty"), b"");
    fs::create_dir_all(source.join("no/thing")).unwrap();
    put(source.join(OsStr::from_bytes(b"not \xff utf-8")), prose(6, 3000));
    fs::hard_link(source.join("large"), source.join("no/second link")).unwrap();
    symlink("../nowhere", source.join("no/link")).unwrap();
    make_node(&source.join("fifo"), FileType::Fifo, 0, 0);
    set_xattr(&source.join("inline"), "user.short", b"\x00\xff");
    set_xattr(&source.join("empty"), "user.long", &noise(7, 2000));
    let island = noise(8, 70_000);
    put_sparse(
        &source.join("sparse"),
        1 << 30,
        &[(0, b"first"), (300 << 20, &island), ((1 << 30) - 5, b"last.")],
    );
    put_sparse(&source.join("only hole"), 50 << 20, &[]);
    set_time(&source.join("inline"), -5, 999_999_999);
}

/// Snapshot, size, digest and path of all files, as the program has them.
fn files_of(world: &World, snapshots: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for snapshot in snapshots {
        for node in world.run(&[&"ls", &"--json", &"--recursive", &snapshot]).ends(0).lines() {
            let Some(digest) = node["digest"].as_str() else { continue };
            let path = node["path"].as_str().filter(|_| node.get("path_base64").is_none());
            let path = path.map_or_else(|| "?".to_owned(), |path| path.trim_start_matches('/').to_owned());
            lines.push(format!("{snapshot} File {} {digest} {path}", node["size"]));
        }
    }
    lines.sort();
    lines
}

/// The files of a listing, likewise. Names that are not UTF-8 are not compared letter by letter.
fn files_listed(listed: &str, snapshots: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for line in listed.lines() {
        let fields: Vec<_> = line.splitn(5, ' ').collect();
        if fields[1] == "File" && snapshots.iter().any(|id| *id == fields[0]) {
            let path = if fields[4].contains("\\x") { "?" } else { fields[4] };
            lines.push([&fields[..4], &[path]].concat().join(" "));
        }
    }
    lines.sort();
    lines
}

#[test]
fn a_repository_of_this_program_is_as_the_page_says() {
    let world = World::new();
    let (source, other) = (world.path("source"), world.path("other"));
    furnish(&source);
    ordinary(&other, 20, 9);
    let first = back_up_at(&world, &source, "2026-01-01T12:00:00Z", &[]);
    back_up_at(&world, &other, "2026-01-01T13:00:00Z", &[]);
    put(source.join("folder 0/file 3"), prose(11, 9000));
    fs::remove_file(source.join("cut into chunks")).unwrap();
    let second = back_up_at(&world, &source, "2026-01-02T12:00:00Z", &[]);
    append(&world, &[("drill", &drill("aa000000000000000000000000000001", "shop", "pass"))]);
    // Roots, lists and segments; packs that were written anew; a snapshot that took another's place.
    world.run(&[&"tag", &"--add", &"kept", &second]).ends(0);
    world.run(&[&"forget", &first]).ends(0);
    world.run(&[&"prune", &"--max-unused", &"0"]).ends(0);
    put(source.join("later"), noise(12, 200_000));
    let latest = world.backup(&source)["snapshot_id"].as_str().unwrap().to_owned();
    let objects = world.objects();
    for kind in ["roots/", "index/segment/", "index/delta/", "snapshots/", "lists/", "evidence/"] {
        assert!(objects.iter().any(|name| name.starts_with(kind)), "no {kind}: {objects:?}");
    }

    let said = printed(&mut run("check", &[&world.repo], PASSWORD));
    assert!(said.ends_with(": as FORMAT.md says\n") && !said.contains("note:"), "{said}");
    let mut shown = listed(&world);
    shown.sort();
    let found = printed(&mut run("snapshots", &[&world.repo], PASSWORD));
    let mut ids: Vec<_> = found.lines().map(|line| line[..32].to_owned()).collect();
    ids.sort();
    assert_eq!(ids, shown);
    let all = printed(&mut run("list", &[&world.repo], PASSWORD));
    assert_eq!(files_listed(&all, &shown), files_of(&world, &shown));

    let target = world.path("restored");
    let _ = printed(&mut run("restore", &[&world.repo, &latest, &target], PASSWORD));
    let below = source.strip_prefix("/").unwrap();
    same(&source, &target.join(below));
    let evidence = printed(&mut run("evidence", &[&world.repo], PASSWORD));
    assert!(evidence.contains("drill"), "{evidence}");
    refuses_what_was_changed(&world);
}

/// One bit of a pack, then one object that is gone.
fn refuses_what_was_changed(world: &World) {
    let pack = world.objects().into_iter().find(|name| name.starts_with("packs/data/")).unwrap();
    let place = world.repo.join(&pack);
    let bytes = fs::read(&place).unwrap();
    let mut changed = bytes.clone();
    changed[5000.min(bytes.len() / 2)] ^= 4;
    for (state, words) in [(Some(changed), [&*pack, "checksum"]), (None, [&*pack, "missing"])] {
        fs::remove_file(&place).unwrap();
        state.iter().for_each(|bytes| fs::write(&place, bytes).unwrap());
        let said = run("check", &[&world.repo], PASSWORD).output().unwrap();
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.code() == Some(1) && text.starts_with("refused: "), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
        fs::write(&place, &bytes).unwrap();
    }
    let _ = printed(&mut run("check", &[&world.repo], PASSWORD));
}
