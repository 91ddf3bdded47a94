//! Holds: while one stands nothing of what it names goes, and everybody is told why.

use super::forget::{back_up_at, listed};
use super::tree::put;
use super::world::{Word, World, count};
use std::path::PathBuf;
use std::time::Duration;

/// Two sources, the first with two snapshots.
fn with_snapshots() -> (World, [PathBuf; 2], [String; 3]) {
    let world = World::new();
    let (one, two) = (world.path("one"), world.path("two"));
    put(one.join("file"), b"one");
    put(two.join("file"), b"two");
    let ids = [
        back_up_at(&world, &one, "2026-01-01T12:00:00Z", &[&"--label", &"shop/one"]),
        back_up_at(&world, &one, "2026-01-02T12:00:00Z", &[&"--label", &"shop/one"]),
        back_up_at(&world, &two, "2026-01-03T12:00:00Z", &[]),
    ];
    (world, [one, two], ids)
}

fn hold(world: &World, words: &[Word<'_>]) -> String {
    let all = [&[&"hold" as Word<'_>, &"--json", &"--reason", &"looking into it"], words].concat();
    let lines = world.run(&all).ends(0).lines();
    assert!(lines.iter().all(|line| line["message_type"] == "hold_put"), "{lines:?}");
    lines[0]["short_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_hold_on_everything_stops_forget_and_prune() {
    let (world, [one, _], ids) = with_snapshots();
    world.run(&[&"forget", &ids[0]]).ends(0);
    let id = hold(&world, &[&"--all"]);
    let before = world.state();
    let stopped: [&[Word<'_>]; 5] = [
        &[&"prune"],
        &[&"prune", &"--min-age", &"0", &"--abort-after", &"0"],
        &[&"forget", &"--keep-last", &"1"],
        &[&"forget", &ids[1], &"--unsafe-allow-remove-newest"],
        &[&"forget", &"--keep-last", &"1", &"--prune"],
    ];
    for words in stopped {
        let release = format!("holdfast hold --release {id}");
        world.run(words).ends(1).says(&["hold", "everything", "looking into it", "since", &id, &release]);
        let ran = world.run(&[&[&"--json" as Word<'_>], words].concat()).ends(1);
        assert!(ran.out.is_empty() && ran.told().last().unwrap()["hint"].as_str().unwrap().contains(&id));
    }
    assert_eq!(world.state(), before);
    // Everything else goes on.
    world.backup(&one);
    assert!(world.run(&[&"snapshots"]).ends(0).out.contains("ok, held"));
    let lines = world.run(&[&"hold", &"--json"]).ends(0).lines();
    assert_eq!(
        (lines.len(), &lines[0]["scope"], &lines[0]["until"]),
        (1, &"all".into(), &serde_json::Value::Null)
    );
    assert!(world.run(&[&"hold"]).ends(0).out.contains("looking into it"));
    world.check();
    world.run(&[&"hold", &"--release", &id]).ends(0);
    world.run(&[&"hold"]).ends(0).says(&["nothing is held"]);
    world.run(&[&"forget", &"--keep-last", &"1", &"--prune"]).ends(0);
    assert_eq!(listed(&world).len(), 2);
    world.check();
}

#[test]
fn snapshots_and_sources_are_held_one_by_one() {
    let (world, [one, _], ids) = with_snapshots();
    back_up_at(&world, &one, "2026-01-04T12:00:00Z", &[&"--label", &"shop/one"]);
    let of_snapshot = hold(&world, &[&&ids[0][..10], &"--until", &"2099-01-01"]);
    world.run(&[&"forget", &ids[0]]).ends(1).says(&["hold", &of_snapshot, "looking into it"]);
    let ran = world.run(&[&"forget", &"--json", &"--keep-last", &"1"]).ends(0);
    assert_eq!((count(&ran.summary(), "forgotten_snapshots"), listed(&world).len()), (1, 3));
    let reasons = ran.lines().iter().find(|line| line["id"] == ids[0][..]).unwrap()["reasons"].clone();
    assert_eq!(reasons, serde_json::json!(["held: looking into it"]));
    // What is held stays through a prune, and the rest goes.
    world.run(&[&"prune", &"--min-age", &"0"]).ends(0);
    world.check();
    world.run(&[&"hold", &"--release", &&ids[0][..10]]).ends(0);
    // A source is held with all that comes.
    hold(&world, &[&"shop/one"]);
    back_up_at(&world, &one, "2026-01-05T12:00:00Z", &[&"--label", &"shop/one"]);
    let summary = world.run(&[&"forget", &"--json", &"--keep-last", &"1"]).ends(0).summary();
    assert_eq!(count(&summary, "forgotten_snapshots"), 0);
    let held = world.run(&[&"snapshots", &"--json"]).ends(0).lines();
    let held: Vec<_> = held.iter().map(|line| line["held"] == true).collect();
    assert_eq!(held, [true, false, true, true]);
    world.run(&[&"hold", &"--release", &"--source", &"shop/one"]).ends(0);
    let summary = world.run(&[&"forget", &"--json", &"--keep-last", &"1"]).ends(0).summary();
    assert_eq!(count(&summary, "forgotten_snapshots"), 2);
    world.check();
}

#[test]
fn a_hold_may_end_by_itself() {
    let (world, _, ids) = with_snapshots();
    // While it stands is tested elsewhere: here a slow machine would be too late for it.
    hold(&world, &[&"--all", &"--until", &"2s"]);
    std::thread::sleep(Duration::from_millis(2_500));
    world.run(&[&"forget", &ids[0]]).ends(0);
    world.run(&[&"hold"]).ends(0).says(&["nothing is held"]);
}

#[test]
fn what_is_held_has_to_be_clear() {
    let (world, [_, two], ids) = with_snapshots();
    // A source that is called as a snapshot's id begins.
    let name = &ids[0][..6];
    back_up_at(&world, &two, "2026-01-05T12:00:00Z", &[&"--label", &name]);
    let because: [Word<'_>; 3] = [&"hold", &"--reason", &"x"];
    let run = |words: &[Word<'_>]| world.run(&[&because[..], words].concat());
    run(&[&name]).ends(2).says(&["several things", &ids[0], "the source", "--source"]);
    run(&[&"nothing"]).ends(1).says(&["nothing", "shop/one"]);
    run(&[&"--source", &"nothing"]).ends(1).says(&["shop/one"]);
    run(&[]).ends(2).says(&["nothing says what"]);
    run(&[&"--all", &"--until", &"2001-01-01"]).ends(2).says(&["past"]);
    run(&[&"--all", &"--until", &"soon"]).ends(2).says(&["soon"]);
    world.run(&[&"hold", &"--all"]).ends(2).says(&["reason"]);
    world.run(&[&"hold", &"--all", &"--reason", &" "]).ends(2).says(&["reason"]);
    world.run(&[&"hold", &"--release"]).ends(2).says(&["which hold"]);
    world.run(&[&"hold", &"--release", &"--all"]).ends(1).says(&["no hold"]);
    world.run(&[&"hold"]).ends(0).says(&["nothing is held"]);
    run(&[&"--source", &name]).ends(0);
    world.run(&[&"hold", &"--release", &name]).ends(0);
    let odd = "\u{1b}[2Jred\nline";
    world.run(&[&"hold", &"--all", &"--reason", &odd]).ends(0);
    assert!(!world.run(&[&"hold"]).ends(0).out.contains('\u{1b}'));
    assert!(!world.run(&[&"prune"]).ends(1).err.contains('\u{1b}'));
    world.run(&[&"hold", &"--release", &"--all"]).ends(0);
}
