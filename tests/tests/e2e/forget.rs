//! Forgetting: what the rules keep, what comes back, and what is not forgotten by mistake.

use super::compare::same;
use super::tree::{noise, put};
use super::world::{Ran, Word, World, count};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Backs a tree up as if at another time; returns the snapshot's id.
pub(crate) fn back_up_at(world: &World, source: &Path, time: &str, words: &[Word<'_>]) -> String {
    let all = [&[&"backup" as Word<'_>, &"--json", &source, &"--time", &time], words].concat();
    world.run(&all).ends(0).summary()["snapshot_id"].as_str().unwrap().to_owned()
}

pub(crate) fn listed(world: &World) -> Vec<String> {
    let lines = world.run(&[&"snapshots", &"--json"]).ends(0).lines();
    lines.iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect()
}

/// The verdicts of a run: begin of the time, whether it is kept, reasons.
fn verdicts(ran: &Ran) -> Vec<(String, bool, String)> {
    let lines = ran.lines().into_iter().filter(|line| line["message_type"] == "verdict");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    lines
        .map(|line| {
            let reasons: Vec<String> = line["reasons"].as_array().unwrap().iter().map(text).collect();
            (text(&line["time"])[..10].to_owned(), line["keep"] == true, reasons.join(", "))
        })
        .collect()
}

#[test]
fn a_policy_keeps_what_it_says() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("file"), b"content");
    let days = ["2025-11-20", "2025-12-30", "2025-12-31", "2026-01-01", "2026-01-02", "2026-01-03"];
    let ids: Vec<_> =
        days.iter().map(|day| back_up_at(&world, &source, &format!("{day}T12:00:00Z"), &[])).collect();
    let early = back_up_at(&world, &source, "2026-01-03T03:00:00Z", &[&"--tag", &"early"]);
    let other = back_up_at(&world, &source, "2025-06-01T12:00:00Z", &[&"--host", &"other"]);
    let words: [Word<'_>; 6] = [&"forget", &"--json", &"--keep-daily", &"2", &"--keep-monthly", &"9"];
    let before = world.state();
    let rehearsed = world.run(&[&words[..], &[&"--dry-run" as Word<'_>]].concat()).ends(0);
    assert_eq!((world.state(), listed(&world).len()), (before, 8));
    let ran = world.run(&words).ends(0);
    assert_eq!(verdicts(&rehearsed), verdicts(&ran));
    let kept = |day: &str, reasons: &str| (day.to_owned(), true, reasons.to_owned());
    let gone = |day: &str| (day.to_owned(), false, String::new());
    let mut found = verdicts(&ran);
    let of_other = found.iter().position(|(day, ..)| day == "2025-06-01").unwrap();
    assert_eq!(found.remove(of_other), kept("2025-06-01", "daily snapshot, monthly snapshot"));
    let wanted = [
        kept("2025-11-20", "monthly snapshot"),
        gone("2025-12-30"),
        kept("2025-12-31", "monthly snapshot"),
        gone("2026-01-01"),
        kept("2026-01-02", "daily snapshot"),
        gone("2026-01-03"),
        kept("2026-01-03", "daily snapshot, monthly snapshot"),
    ];
    assert_eq!(found, wanted);
    let summary = ran.summary();
    assert_eq!((count(&summary, "kept_snapshots"), count(&summary, "forgotten_snapshots")), (5, 3));
    assert!(!listed(&world).contains(&early));
    let left: Vec<_> = [&other, &ids[0], &ids[2], &ids[4], &ids[5]].map(String::clone).into();
    assert_eq!(listed(&world), left);
    // Applied again it finds nothing more, and says so.
    world
        .run(&words[..1].iter().chain(&words[2..]).copied().collect::<Vec<_>>())
        .ends(0)
        .says(&["nothing to forget"]);
    // A filter looks at what it picks only.
    let ran = world.run(&[&"forget", &"--json", &"--host", &"other", &"--keep-last", &"1"]).ends(0);
    assert_eq!(verdicts(&ran), [kept("2025-06-01", "last snapshot")]);
    world.check();
}

#[test]
fn days_are_those_of_local_time() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("file"), b"content");
    // In Seoul the first two are of January 1 and 2, and the last of the 2nd too.
    for time in ["2026-01-01T14:59:00Z", "2026-01-01T15:01:00Z", "2026-01-01T23:59:00Z"] {
        back_up_at(&world, &source, time, &[]);
    }
    let kept = |zone: &str| {
        let mut command = world.command();
        command.env("TZ", zone);
        let words: [Word<'_>; 5] = [&"forget", &"--json", &"--keep-daily", &"2", &"--dry-run"];
        let ran = world.run_as(&mut command, &words).ends(0);
        verdicts(&ran)
            .into_iter()
            .map(|(_, kept, reasons)| if kept { reasons } else { "gone".into() })
            .collect::<Vec<_>>()
    };
    assert_eq!(kept("UTC"), ["oldest daily snapshot", "gone", "daily snapshot"]);
    assert_eq!(kept("KST-9"), ["daily snapshot", "gone", "daily snapshot"]);
}

#[test]
fn tables_show_what_stays_and_why() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("file"), b"content");
    for day in 1..=4 {
        back_up_at(&world, &source, &format!("2026-01-0{day}T12:00:00Z"), &[&"--tag", &"a\u{1b}b"]);
    }
    let ran = world.run(&[&"forget", &"--keep-last", &"1", &"--keep-yearly", &"3", &"-n"]).ends(0);
    let ran = ran.says(&["would forget 2 snapshots", "nothing was changed"]);
    for text in ["2 snapshots kept", "oldest yearly snapshot", "last snapshot, yearly snapshot", "WHY"] {
        assert!(ran.out.contains(text), "{text}: {}", ran.out);
    }
    assert!(!ran.out.contains('\u{1b}'));
    let ran = world.run(&[&"forget", &"--keep-last", &"1", &"-q"]).ends(0);
    assert_eq!((ran.out, ran.err), (String::new(), String::new()));
    assert_eq!(listed(&world).len(), 1);
}

#[test]
fn what_was_forgotten_comes_back_until_a_prune() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("file"), noise(1, 1 << 20));
    let first = back_up_at(&world, &source, "2026-01-01T12:00:00Z", &[]);
    put(source.join("new"), noise(2, 1 << 20));
    let second = back_up_at(&world, &source, "2026-01-02T12:00:00Z", &[]);
    world.run(&[&"forget", &"--undo"]).ends(0).says(&["nothing can be brought back"]);
    let ran = world.run(&[&"forget", &&first[..8]]).ends(0).says(&["--undo"]);
    assert!(ran.out.contains(&first[..8]), "{}", ran.out);
    assert_eq!(listed(&world), std::slice::from_ref(&second));
    world.run(&[&"ls", &first]).ends(1);
    let there = world.run(&[&"forget", &"--undo", &"--json"]).ends(0).lines();
    assert_eq!((there.len(), &there[0]["id"]), (1, &first.clone().into()));
    // A rehearsal brings nothing back.
    let before = world.state();
    world.run(&[&"forget", &"--undo", &&first[..6], &"--dry-run"]).ends(0);
    assert_eq!(world.state(), before);
    let ran = world.run(&[&"forget", &"--undo", &&first[..6], &"--json"]).ends(0);
    assert_eq!(ran.lines()[0]["message_type"], "brought_back");
    assert_eq!(count(&ran.summary(), "brought_back_snapshots"), 1);
    assert_eq!(listed(&world), [first.clone(), second.clone()]);
    world.run(&[&"forget", &"--undo", &first]).ends(1).says(&["brought back", &first]);
    world.check();
    world.run(&[&"forget", &first, &"--prune"]).ends(0);
    world.run(&[&"forget", &"--undo", &first]).ends(1).says(&["prune", &first]);
    assert_eq!(listed(&world), [second]);
    world.check();
    same(&source, &world.restore(&source, "out"));
}

#[test]
fn the_newest_whole_one_needs_a_word_more() {
    let world = World::new();
    let (source, other) = (world.path("source"), world.path("other"));
    put(source.join("file"), b"content");
    put(other.join("file"), b"content");
    let first = back_up_at(&world, &source, "2026-01-01T12:00:00Z", &[]);
    let second = back_up_at(&world, &source, "2026-01-02T12:00:00Z", &[]);
    let third = back_up_at(&world, &other, "2026-01-03T12:00:00Z", &[]);
    let before = world.state();
    for words in [&[&second as Word<'_>][..], &[&first, &third]] {
        let all = [&[&"forget" as Word<'_>], words].concat();
        let ran = world.run(&all).ends(2).says(&["newest whole", "--unsafe-allow-remove-newest"]);
        assert!(ran.out.is_empty());
    }
    assert_eq!(world.state(), before);
    // No rule forgets it.
    world.run(&[&"forget", &"--keep-tag", &"nothing"]).ends(0);
    assert_eq!(listed(&world), [second.clone(), third.clone()]);
    world.run(&[&"forget", &second, &third, &"--unsafe-allow-remove-newest"]).ends(0);
    assert!(listed(&world).is_empty());
    world.run(&[&"forget", &"--undo", &second, &third]).ends(0);
    assert_eq!(listed(&world), [second, third]);
    world.check();
}

/// A snapshot that is incomplete or much smaller does not push out the whole one before it.
#[test]
fn what_is_not_whole_pushes_nothing_out() {
    let world = World::new();
    let source = world.path("source");
    for number in 0..10 {
        put(source.join(format!("{number}")), noise(number, 1000));
    }
    let whole = back_up_at(&world, &source, "2026-01-01T12:00:00Z", &[]);
    put(source.join("closed"), b"closed");
    fs::set_permissions(source.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let mut nobody = world.as_nobody();
    world.give_to_nobody(&[&world.repo, &world.cache]);
    let words: [Word<'_>; 5] = [&"backup", &"--json", &source, &"--time", &"2026-01-02T12:00:00Z"];
    let incomplete =
        world.run_as(&mut nobody, &words).ends(3).summary()["snapshot_id"].as_str().unwrap().to_owned();
    fs::remove_file(source.join("closed")).unwrap();
    (0..6).for_each(|number| fs::remove_file(source.join(format!("{number}"))).unwrap());
    let small = back_up_at(&world, &source, "2026-01-03T12:00:00Z", &[]);
    let small_too = back_up_at(&world, &source, "2026-01-04T12:00:00Z", &[]);
    let ran = world.run(&[&"forget", &"--json", &"--keep-last", &"1"]).ends(0);
    let flaws: Vec<_> = ran
        .lines()
        .iter()
        .filter(|line| line["message_type"] == "verdict")
        .map(|line| line["flaw"].clone())
        .collect();
    assert_eq!(flaws, [Value::Null, "incomplete".into(), "shrunk".into(), "shrunk".into()]);
    assert_eq!(listed(&world), [whole, incomplete, small.clone(), small_too]);
    world.run(&[&"forget", &"--keep-last", &"1"]).ends(0).says(&["size-accepted", &small[..8]]);
    world.run(&[&"tag", &small, &"--add", &"size-accepted"]).ends(0);
    world.run(&[&"forget", &"--keep-last", &"1"]).ends(0);
    assert_eq!(listed(&world).len(), 1);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let world = World::new();
    put(world.path("source/file"), b"content");
    let id = back_up_at(&world, &world.path("source"), "2026-01-01T12:00:00Z", &[]);
    let before = world.state();
    let refused: [(&[Word<'_>], &str); 12] = [
        (&[&"forget"], "nothing says what to forget"),
        (&[&"forget", &"--host", &"web1"], "nothing says what to forget"),
        (&[&"forget", &"--keep-last", &"0"], "nothing says what to forget"),
        (&[&"forget", &id, &"--keep-last", &"1"], "rules are not for"),
        (&[&"forget", &"--undo", &id, &"--keep-last", &"1"], "--undo"),
        (&[&"forget", &format!("{id}:/etc")], "not a path"),
        (&[&"forget", &""], "no snapshot given"),
        (&[&"forget", &"--keep-last", &"many"], "unlimited"),
        (&[&"forget", &"--keep-within", &"7"], "7d"),
        (&[&"forget", &"--keep-last", &"1", &"--group-by", &"size"], "host, paths"),
        (&[&"forget", &"--keep-last", &"1", &"--max-unused", &"1%"], "--prune"),
        (&[&"forget", &"--keep-last", &"1", &"--repack-small"], "--repack-small"),
    ];
    for (words, says) in refused {
        world.run(words).ends(2).says(&[says]);
    }
    world.run(&[&"forget", &"0123456789abcdef"]).ends(1).says(&["no snapshot"]);
    assert_eq!(world.state(), before);
}

/// What a run warns of.
fn warned(ran: &Ran) -> String {
    ran.err.lines().filter(|line| line.starts_with("warning:")).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_has_to_go_goes_and_only_a_hold_is_stronger() {
    let world = World::new();
    let (source, other) = (world.path("source"), world.path("other"));
    put(source.join("file"), b"one");
    put(other.join("file"), b"two");
    let old = back_up_at(&world, &source, "2024-01-01T12:00:00Z", &[]);
    let held = back_up_at(&world, &source, "2024-02-01T12:00:00Z", &[]);
    let only = back_up_at(&world, &other, "2024-03-01T12:00:00Z", &[]);
    let fresh = world.backup(&source)["snapshot_id"].as_str().unwrap().to_owned();
    world.run(&[&"hold", &held, &"--reason", &"a court asked"]).ends(0);
    let rules: [Word<'_>; 4] = [&"forget", &"--keep-last", &"9", &"--json"];
    assert!(verdicts(&world.run(&rules).ends(0)).iter().all(|(_, keep, _)| *keep));
    let ran = world.run(&[&rules[..], &[&"--delete-after", &"400d"]].concat()).ends(0);
    let lines = ran.lines();
    let verdict =
        |id: &str| lines.iter().find(|line| line["message_type"] == "verdict" && line["id"] == id).unwrap();
    assert_eq!(
        [&old, &held, &only, &fresh].map(|id| verdict(id)["keep"] == true),
        [false, true, false, true]
    );
    assert_eq!(verdict(&old)["delete_at"], "2025-02-04T12:00:00Z");
    assert!(verdict(&held)["delete_at"].is_null(), "{}", verdict(&held));
    let mut left = [held, fresh.clone()];
    left.sort();
    let mut found = listed(&world);
    found.sort();
    assert_eq!(found, left);
    // The last one of a source is told of two weeks before, and goes.
    world.run(&[&"forget", &"--undo", &only]).ends(0);
    let days = (jiff::Timestamp::now().as_second() - 1_709_294_400) / 86_400;
    let soon = format!("{}d", days + 5);
    let ran = world.run(&[&"forget", &"--delete-after", &soon, &"--path", &other, &"--dry-run"]).ends(0);
    assert!(warned(&ran).contains("after that nothing of it is left"), "{ran:?}");
    let late = format!("{}d", days + 50);
    let ran = world.run(&[&"forget", &"--delete-after", &late, &"--path", &other]).ends(0);
    assert!(warned(&ran).is_empty() && ran.out.contains("younger than"), "{ran:?}");
}
