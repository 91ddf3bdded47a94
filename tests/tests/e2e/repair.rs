//! Repairing: what is lost of the index is made anew, what is lost of contents is named, and the
//! next backup heals it.

use super::compare::same;
use super::forget::{back_up_at, listed};
use super::tree::{noise, put};
use super::world::{Ran, Word, World, count};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

fn repair(world: &World, words: &[Word<'_>], code: i32) -> Value {
    world.run(&[&[&"repair" as Word<'_>], words, &[&"--json"]].concat()).ends(code).summary()
}

/// Lines of one kind.
fn lines(ran: &Ran, kind: &str) -> Vec<Value> {
    ran.lines().into_iter().filter(|line| line["message_type"] == kind).collect()
}

/// What a run says on standard output.
#[track_caller]
fn shows(world: &World, words: &[Word<'_>], code: i32, text: &[&str]) {
    let ran = world.run(words).ends(code);
    assert!(text.iter().all(|text| ran.out.contains(text)), "{text:?} is not shown: {}", ran.out);
}

/// Objects whose names begin so.
fn named(world: &World, prefix: &str) -> Vec<PathBuf> {
    let names = world.objects().into_iter().filter(|name| name.starts_with(prefix));
    names.map(|name| world.path("repo").join(name)).collect()
}

#[test]
fn a_lost_index_is_made_anew() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("a"), noise(1, 300_000));
    let first = back_up_at(&world, &source, "2026-01-01T12:00:00Z", &[]);
    put(source.join("b"), noise(2, 300_000));
    back_up_at(&world, &source, "2026-01-02T12:00:00Z", &[]);
    world.run(&[&"forget", &first, &"--unsafe-allow-remove-newest"]).ends(0);
    world.run(&[&"prune", &"--min-age", &"0"]).ends(0);
    shows(&world, &[&"repair", &"index"], 0, &["nothing is lost of the index"]);
    let folders = ["roots/", "lists/", "index/", "snapshots/"];
    for path in folders.iter().flat_map(|folder| named(&world, folder)) {
        fs::remove_file(path).unwrap();
    }
    let before = world.state();
    let plan = repair(&world, &[&"index", &"--dry-run"], 0);
    assert_eq!(world.state(), before);
    let done = repair(&world, &[&"index"], 0);
    assert_eq!((&plan["needed"], &plan["root"]), (&true.into(), &Value::Null));
    assert!(count(&done, "root") > 0 && plan["packs_indexed"] == done["packs_indexed"], "{plan} {done}");
    // Nothing was deleted or changed.
    let after = world.state();
    assert!(before.iter().all(|object| after.contains(object)));
    same(&source, &world.restore(&source, "out"));
    world.run(&[&"prune", &"--min-age", &"0"]).ends(0);
    world.check();
    world.backup(&source);
    same(&source, &world.restore(&source, "again"));
}

#[test]
fn a_root_that_cannot_be_read_says_what_to_do() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("a"), noise(1, 300_000));
    world.backup(&source);
    world.run(&[&"hold", &"--all", &"--reason", &"why"]).ends(0);
    world.run(&[&"hold", &"--release", &"--all"]).ends(0);
    let newest = named(&world, "roots/").remove(0);
    let mut bytes = fs::read(&newest).unwrap();
    bytes[200] ^= 1;
    fs::remove_file(&newest).unwrap();
    fs::write(&newest, bytes).unwrap();
    for verb in [&["snapshots"][..], &["backup", "."], &["prune"], &["forget", "--keep-last", "1"]] {
        let words: Vec<Word<'_>> = verb.iter().map(|word| word as Word<'_>).collect();
        world.run(&words).ends(1).says(&["holdfast repair index"]);
    }
    shows(&world, &[&"repair", &"index"], 0, &["made anew", "root 1"]);
    same(&source, &world.restore(&source, "out"));
    world.run(&[&"check"]).ends(0);
}

#[test]
fn lost_files_are_named_and_healed_or_left_out() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("small"), b"small");
    world.backup(&source);
    let whole = named(&world, "packs/data/");
    put(source.join("lost"), noise(1, 300_000));
    world.backup(&source);
    for path in named(&world, "packs/data/").into_iter().filter(|path| !whole.contains(path)) {
        fs::remove_file(path).unwrap();
    }
    let ran = world.run(&[&"repair", &"index", &"--json"]).ends(3);
    assert_eq!(lines(&ran, "damage").len(), 1, "{}", ran.out);
    let lost = lines(&ran, "lost_file");
    assert_eq!(lost.len(), 1, "{}", ran.out);
    assert!(lost[0]["path"].as_str().unwrap().ends_with("/lost"));
    assert!(world.run(&[&"repair", &"index"]).ends(3).out.contains("/lost"));
    // Where the file is gone for ever.
    let kept = fs::read(source.join("lost")).unwrap();
    fs::remove_file(source.join("lost")).unwrap();
    let before = world.state();
    let dry = world.run(&[&"repair", &"snapshots", &"--dry-run", &"--json"]).ends(0);
    assert_eq!(world.state(), before);
    let ran = world.run(&[&"repair", &"snapshots", &"--json"]).ends(0);
    let damaged = lines(&ran, "damaged_snapshot");
    assert_eq!((lines(&dry, "damaged_snapshot").len(), damaged.len()), (1, 1), "{}", ran.out);
    let repaired = damaged[0]["repaired_id"].as_str().unwrap();
    let out = world.path("left");
    world.run(&[&"restore", &repaired, &"--target", &out]).ends(0);
    assert_eq!(listed(&world).len(), 3);
    shows(&world, &[&"snapshots", &"--tag", &"repaired"], 0, &["repaired"]);
    // Where it is still there.
    put(source.join("lost"), kept);
    world.backup(&source);
    let healed = repair(&world, &[&"index"], 0);
    assert_eq!((count(&healed, "lost_chunks"), count(&healed, "found_chunks") > 0), (0, true), "{healed}");
    world.run(&[&"restore", &damaged[0]["id"].as_str().unwrap(), &"--target", &world.path("all")]).ends(0);
    world.run(&[&"prune", &"--min-age", &"0"]).ends(0);
    world.check();
}

#[test]
fn a_tree_whose_record_is_lost_is_recovered() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("a/b"), noise(1, 300_000));
    put(source.join("a/c"), b"small");
    world.backup(&source);
    for path in named(&world, "sessions/").into_iter().filter(|path| path.ends_with("end")) {
        fs::remove_file(path).unwrap();
    }
    assert_eq!(listed(&world).len(), 0);
    let before = world.state();
    shows(&world, &[&"recover", &"--dry-run"], 0, &["found 1 tree"]);
    assert_eq!(world.state(), before);
    let ran = world.run(&[&"recover", &"--json"]).ends(0);
    let found = lines(&ran, "found_tree");
    assert_eq!((found.len(), &found[0]["trouble"]), (1, &Value::Null), "{}", ran.out);
    assert_eq!(listed(&world), [found[0]["snapshot_id"].as_str().unwrap()]);
    same(&source, &world.restore(&source, "out"));
    world.check();
    shows(&world, &[&"recover"], 0, &["found 0 trees"]);
}

#[test]
fn what_to_repair_is_said() {
    let world = World::new();
    world.run(&[&"repair"]).ends(2);
    world.run(&[&"repair", &"everything"]).ends(2);
    world.run(&[&"repair", &"snapshots", &"--read-packs"]).ends(2);
}
