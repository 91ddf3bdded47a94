//! Pruning: what nothing needs goes, and nothing else does.

use super::compare::same;
use super::forget::{back_up_at, listed};
use super::tree::{noise, ordinary, put};
use super::world::{Ran, Word, World, count};
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

fn prune(world: &World, words: &[Word<'_>]) -> Value {
    world.run(&[&[&"prune" as Word<'_>, &"--json"], words].concat()).ends(0).summary()
}

/// Expects that a prune did what the rehearsal said.
#[track_caller]
fn as_planned(plan: &Value, done: &Value) {
    let told = |name: &str| assert_eq!(plan[name], done[name], "{name}: {plan} {done}");
    ["packs", "pack_bytes", "used_bytes", "unused_bytes_left", "open_sessions"].into_iter().for_each(told);
    ["repacked_packs", "repack_bytes_read", "freed_packs", "freed_bytes"].into_iter().for_each(told);
    ["condemned_packs", "condemned_bytes", "dead_packs", "dead_bytes"].into_iter().for_each(told);
    ["aborted_sessions", "dropped_snapshots"].into_iter().for_each(told);
    assert_eq!(plan["next_step"].is_null(), done["next_step"].is_null(), "{plan} {done}");
    // What stands around the chunks of a pack is not foreseen.
    let [planned, written] = [plan, done].map(|summary| count(summary, "repack_bytes_written"));
    assert!(planned.abs_diff(written) <= written / 100, "{plan} {done}");
}

#[test]
fn a_prune_frees_what_only_forgotten_snapshots_need() {
    let world = World::new();
    let (one, two) = (world.path("one"), world.path("two"));
    ordinary(&one, 60, 1);
    ordinary(&two, 60, 2);
    let first = back_up_at(&world, &one, "2026-01-01T12:00:00Z", &[]);
    let alone = world.repository_bytes();
    back_up_at(&world, &two, "2026-01-02T12:00:00Z", &[]);
    world.run(&[&"forget", &first, &"--unsafe-allow-remove-newest"]).ends(0);
    let before = world.state();
    let plan = prune(&world, &[&"--dry-run"]);
    assert_eq!(world.state(), before);
    assert!(world.run(&[&"prune", &"--dry-run"]).ends(0).out.starts_with("would free "));
    assert_eq!(world.state(), before);
    let done = prune(&world, &[]);
    as_planned(&plan, &done);
    assert_eq!((&plan["dry_run"], &plan["next_step"]), (&true.into(), &Value::Null));
    assert_eq!(done["dropped_snapshots"], serde_json::json!([first]));
    assert!(done["next_step"].is_null() && count(&done, "open_sessions") == 0, "{done}");
    // Both sources are about as large.
    assert!(count(&done, "freed_bytes") > alone * 8 / 10, "{alone}: {done}");
    assert!(world.repository_bytes() < alone * 12 / 10, "{alone}: {}", world.repository_bytes());
    world.check();
    same(&two, &world.restore(&two, "out"));
    // Nothing is left to do.
    let again = prune(&world, &[]);
    let idle = ["freed_packs", "repacked_packs", "condemned_packs", "dead_packs"];
    assert!(idle.iter().all(|name| count(&again, name) == 0), "{again}");
    // What was freed is stored again when it comes back.
    world.backup(&one);
    same(&one, &world.restore(&one, "out again"));
    world.check();
}

#[test]
fn packs_that_are_needed_in_part_are_written_anew() {
    let world = World::new();
    let source = world.path("source");
    // What is gone is less than half of it, or the smaller one would not count.
    put(source.join("small"), b"content");
    put(source.join("stays"), noise(1, 4 << 20));
    put(source.join("goes"), noise(2, 3 << 20));
    let first = back_up_at(&world, &source, "2026-01-01T12:00:00Z", &[]);
    std::fs::remove_file(source.join("goes")).unwrap();
    back_up_at(&world, &source, "2026-01-02T12:00:00Z", &[]);
    world.run(&[&"forget", &first]).ends(0);
    for limit in ["unlimited", "1G", "90%"] {
        let done = prune(&world, &[&"--max-unused", &limit]);
        assert_eq!((count(&done, "repacked_packs"), count(&done, "repack_bytes_written")), (0, 0), "{done}");
        assert!(count(&done, "unused_bytes_left") >= 3 << 20, "{done}");
    }
    let small = prune(&world, &[&"--max-repack-size", &"1M"]);
    assert_eq!(count(&small, "repack_bytes_read"), 0, "{small}");
    let plan = prune(&world, &[&"--max-unused", &"0", &"--dry-run"]);
    let done = prune(&world, &[&"--max-unused", &"0"]);
    as_planned(&plan, &done);
    let (read, written) = (count(&done, "repack_bytes_read"), count(&done, "repack_bytes_written"));
    assert!(read >= written && (4 << 20..5 << 20).contains(&written), "{done}");
    assert!(count(&done, "freed_bytes") >= 7 << 20 && world.repository_bytes() < 5 << 20, "{done}");
    world.check();
    same(&source, &world.restore(&source, "out"));
}

/// Starts a backup that goes on until its input ends.
fn open_backup(world: &World) -> std::process::Child {
    let mut command = world.command();
    command.args(["backup", "-", "--stdin-filename", "input", "--json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"the beginning").unwrap();
    let begins = |world: &World| world.objects().iter().filter(|name| name.ends_with("/begin")).count();
    let (before, patience) = (begins(world), Instant::now() + Duration::from_secs(120));
    while !has_open_session(world) {
        assert!(Instant::now() < patience && child.try_wait().unwrap().is_none(), "{before}");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

/// Whether some session has a beginning and no end.
fn has_open_session(world: &World) -> bool {
    let objects = world.objects();
    let begun = objects.iter().filter_map(|name| name.strip_suffix("/begin"));
    begun.into_iter().any(|session| !objects.contains(&format!("{session}/end")))
}

#[test]
fn beside_an_open_backup_a_prune_goes_by_steps() {
    let world = World::new();
    let (one, two) = (world.path("one"), world.path("two"));
    put(one.join("file"), noise(1, 3 << 20));
    put(two.join("file"), noise(2, 1 << 20));
    let first = back_up_at(&world, &one, "2026-01-01T12:00:00Z", &[]);
    back_up_at(&world, &two, "2026-01-02T12:00:00Z", &[]);
    world.run(&[&"forget", &first, &"--unsafe-allow-remove-newest"]).ends(0);
    let mut backup = open_backup(&world);
    let plan = prune(&world, &[&"--dry-run"]);
    let done = prune(&world, &[]);
    as_planned(&plan, &done);
    assert_eq!((count(&done, "open_sessions"), count(&done, "freed_packs")), (1, 0), "{done}");
    assert!(count(&done, "condemned_bytes") >= 3 << 20 && done["next_step"].is_string(), "{done}");
    assert_eq!(done["aborted_sessions"], serde_json::json!([]));
    let told = world.run(&[&"prune"]).ends(0).out;
    assert!(told.contains("holdfast prune after ") && told.contains("1 session"), "{told}");
    backup.stdin.take().unwrap().write_all(b", and the end").unwrap();
    Ran::of(&[&"backup"], &backup.wait_with_output().unwrap()).ends(0);
    // The pause is over when somebody says so.
    let mut freed = 0;
    for _ in 0..2 {
        let plan = prune(&world, &[&"--min-age", &"0", &"--dry-run"]);
        let done = prune(&world, &[&"--min-age", &"0"]);
        as_planned(&plan, &done);
        freed += count(&done, "freed_bytes");
    }
    assert!(freed >= 3 << 20, "{freed}");
    assert!(world.repository_bytes() < 2 << 20, "{}", world.repository_bytes());
    assert_eq!(listed(&world).len(), 2);
    world.check();
    same(&two, &world.restore(&two, "out"));
    assert_eq!(world.run(&[&"dump", &"latest:/input"]).ends(0).out, "the beginning, and the end");
}

#[test]
fn forget_and_prune_in_one() {
    let world = World::new();
    let source = world.path("source");
    for day in 1..=3 {
        put(source.join("file"), noise(day, 2 << 20));
        back_up_at(&world, &source, &format!("2026-01-0{day}T12:00:00Z"), &[]);
    }
    let before = world.state();
    let words: [Word<'_>; 5] = [&"forget", &"--keep-last", &"1", &"--prune", &"--max-unused"];
    let ran = world.run(&[&words[..], &[&"0", &"--dry-run"]].concat()).ends(0);
    ran.says(&["as if they were not forgotten"]);
    assert_eq!(world.state(), before);
    let ran = world.run(&[&words[..], &[&"0", &"--json"]].concat()).ends(0);
    let summaries: Vec<_> =
        ran.lines().into_iter().filter(|line| line["message_type"] == "summary").collect();
    assert_eq!(summaries.len(), 2);
    assert_eq!(count(&summaries[0], "forgotten_snapshots"), 2);
    assert_eq!(summaries[1]["dropped_snapshots"].as_array().unwrap().len(), 2);
    assert!(count(&summaries[1], "freed_bytes") >= 4 << 20, "{}", summaries[1]);
    world.check();
    same(&source, &world.restore(&source, "out"));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let world = World::new();
    let refused: [(&[Word<'_>], &str); 7] = [
        (&[&"--max-unused", &"100%"], "less than 100%"),
        (&[&"--max-unused", &"much"], "much"),
        (&[&"--max-repack-size", &"-1"], "-1"),
        (&[&"--min-age", &"3"], "30s"),
        (&[&"--abort-after", &"never"], "never"),
        (&[&"--repack-uncompressed"], "--repack-uncompressed"),
        (&[&"everything"], "everything"),
    ];
    for (words, says) in refused {
        world.run(&[&[&"prune" as Word<'_>], words].concat()).ends(2).says(&[says]);
    }
    let told = world.run(&[&"prune"]).ends(0).out;
    assert!(told.starts_with("freed nothing now\n"), "{told}");
    World::bare().run(&[&"prune"]).ends(10);
}
