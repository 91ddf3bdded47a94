//! What people get wrong, and what they are told: an exit code, the thing by its name, a way on.

use super::tree::{noise, put};
use super::world::{Ran, Word, World, objects, within};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A repository with one snapshot of one file.
fn with_snapshot() -> (World, PathBuf, String) {
    let world = World::new();
    let source = world.path("source");
    put(source.join("file"), b"content");
    let id = world.backup(&source)["snapshot_id"].as_str().unwrap().to_owned();
    (world, source, id)
}

/// Runs in words and in JSON; both end alike.
#[track_caller]
fn fails(world: &World, words: &[Word<'_>], code: i32, says: &[&str]) -> Ran {
    let told = world.run(&[&[&"--json" as Word<'_>], words].concat()).ends(code).told();
    let last = told.last().expect("an exit_error");
    assert_eq!((&last["message_type"], &last["code"]), (&"exit_error".into(), &code.into()));
    world.run(words).ends(code).says(says)
}

#[test]
fn a_wrong_password() {
    let (world, source, _) = with_snapshot();
    let verbs: [&[Word<'_>]; 3] = [&[&"snapshots"], &[&"check"], &[&"backup", &source]];
    for verb in verbs {
        let ran = world.run_as(world.command().env("HOLDFAST_PASSWORD", "wrong"), verb).ends(12);
        ran.says(&["password"]);
    }
    let ran =
        world.run_as(world.command().env("HOLDFAST_PASSWORD", "wrong"), &[&"snapshots", &"--json"]).ends(12);
    assert_eq!(ran.told().last().unwrap()["code"], 12);
    world
        .run_as(world.command().env_remove("HOLDFAST_PASSWORD"), &[&"snapshots"])
        .ends(2)
        .says(&["no password given"]);
}

#[test]
fn no_repository() {
    let world = World::bare();
    put(world.path("source/file"), b"x");
    let source = world.path("source");
    let target = world.path("target");
    fails(&world, &[&"backup", &source], 10, &["no repository", "repo"]);
    fails(&world, &[&"snapshots"], 10, &["no repository"]);
    fails(&world, &[&"restore", &"latest", &"--target", &target], 10, &["no repository"]);
    fs::create_dir(&world.repo).unwrap();
    fails(&world, &[&"check"], 10, &["no repository"]);
    assert!(!target.exists() && objects(&world.repo).is_empty());
    world
        .run_as(world.command().env_remove("HOLDFAST_REPOSITORY"), &[&"snapshots"])
        .ends(2)
        .says(&["HOLDFAST_REPOSITORY"]);
}

#[test]
fn a_repository_that_is_there_already() {
    let (world, _, _) = with_snapshot();
    let before = world.objects();
    fails(&world, &[&"init", &"--kdf-memory", &"1"], 1, &["repository already"]);
    assert_eq!(world.objects(), before);
}

#[test]
fn a_repository_of_a_newer_format() {
    let (world, source, _) = with_snapshot();
    let file = world.repo.join("holdfast.json");
    let text = fs::read_to_string(&file).unwrap();
    let rewrite = |from: &str, to: &str| {
        assert!(text.contains(from));
        fs::remove_file(&file).unwrap();
        fs::write(&file, text.replace(from, to)).unwrap();
    };
    rewrite("\"format\": 0", "\"format\": 7");
    fails(&world, &[&"snapshots"], 1, &["7", "newer"]);
    fails(&world, &[&"backup", &source], 1, &["7", "newer"]);
    rewrite("\"draft\": 1", "\"draft\": 99");
    fails(&world, &[&"snapshots"], 1, &["99"]);
}

#[test]
fn a_source_that_is_missing() {
    let (world, source, _) = with_snapshot();
    let before = world.run(&[&"snapshots", &"--json"]).ends(0).out;
    let missing = world.path("missing");
    fails(&world, &[&"backup", &missing], 1, &["missing"]);
    fails(&world, &[&"backup", &""], 2, &["empty"]);
    assert_eq!(world.run(&[&"snapshots", &"--json"]).ends(0).out, before);
    world.backup(&source);
    world.check();
}

#[test]
fn a_target_that_is_taken() {
    let (world, source, _) = with_snapshot();
    let (file, full) = (world.path("a file"), world.path("full"));
    put(&file, b"mine");
    put(full.join("mine"), b"mine");
    let part = within("latest", &source);
    fails(&world, &[&"restore", &part, &"--target", &file], 2, &["a file", "not a folder"]);
    fails(&world, &[&"restore", &part, &"--target", &full], 2, &["full", "not empty"]);
    fails(&world, &[&"restore", &part, &"--target", &file.join("below")], 2, &["not a folder"]);
    assert_eq!((fs::read(&file).unwrap(), fs::read_dir(&full).unwrap().count()), (b"mine".to_vec(), 1));
}

#[test]
fn snapshots_that_are_not_meant_clearly() {
    let (world, source, first) = with_snapshot();
    let other = world.path("other");
    put(other.join("file"), b"of another source");
    let second = world.backup(&other)["snapshot_id"].as_str().unwrap().to_owned();
    let (short, target) = (|id: &str| id[..8].to_owned(), world.path("target"));
    let restore = |text: &str| -> Vec<std::ffi::OsString> {
        ["restore", text, "--target", target.to_str().unwrap()].map(Into::into).into()
    };
    let words = restore("latest");
    let words: Vec<Word<'_>> = words.iter().map(|word| word as Word<'_>).collect();
    fails(&world, &words, 2, &[&short(&first), &short(&second), "source", "other"]);
    fails(&world, &[&"ls", &"latest"], 2, &[&short(&first), &short(&second)]);
    // A path that only one of them holds says which.
    world.restore(&other, "out");
    assert_eq!(fs::read(world.path("out/file")).unwrap(), b"of another source");
    // Eighteen snapshots cannot differ in their first digit.
    for number in 0..16 {
        put(source.join("file"), format!("{number}"));
        world.backup(&source);
    }
    let listed = world.run(&[&"snapshots", &"--json"]).ends(0).lines();
    let ids: Vec<String> = listed.iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect();
    let shared = ids.iter().find(|id| ids.iter().filter(|other| other[..1] == id[..1]).count() > 1).unwrap();
    let likewise: Vec<_> = ids.iter().filter(|id| id[..1] == shared[..1]).map(|id| short(id)).collect();
    let likewise: Vec<_> = likewise.iter().map(String::as_str).collect();
    fails(&world, &[&"ls", &&shared[..1]], 2, &likewise);
    fails(&world, &[&"ls", &"zz"], 1, &["zz"]);
    fails(&world, &[&"restore", &"0123456789abcdef", &"--target", &target], 1, &["0123456789abcdef"]);
    fails(&world, &[&"restore", &"latest:/not/there", &"--target", &target], 1, &["/not/there"]);
    let missing = within(&first, &source.join("not there"));
    fails(&world, &[&"restore", &missing, &"--target", &target], 1, &["not there"]);
    fails(&world, &[&"ls", &missing], 1, &["not there"]);
    fails(&world, &[&"restore", &"", &"--target", &target], 2, &["snapshot"]);
    assert!(!target.exists() || objects(&target).is_empty());
}

#[test]
fn places_and_patterns_that_cannot_be() {
    let (world, source, _) = with_snapshot();
    let secret = "s3cr3t";
    for url in [&format!("s3://user:{secret}@host/bucket"), &format!("postgres://u:{secret}@h/db")] {
        for words in [&[&"-r" as Word<'_>, &url, &"snapshots"] as &[Word<'_>], &[&"backup", &url]] {
            let ran = fails(&world, words, 2, &["password in the URL"]);
            assert!(!ran.err.contains(secret) && !ran.out.contains(secret), "{ran:?}");
        }
    }
    fails(&world, &[&"-r", &"sftp://host/x", &"snapshots"], 2, &["sftp", "not in this version"]);
    fails(&world, &[&"-r", &"s3://bucket/x?colour=red", &"snapshots"], 2, &["colour", "endpoint"]);
    fails(&world, &[&"backup", &"gs://bucket/prefix"], 2, &["gs", "not in this version"]);
    fails(&world, &[&"backup", &source, &"--exclude", &"[z-"], 2, &["pattern"]);
    fails(
        &world,
        &[&"restore", &"latest", &"--target", &world.path("t"), &"--include", &"[z-"],
        2,
        &["pattern"],
    );
    fails(&world, &[&"backup", &source, &"--exclude-file", &"nowhere.txt"], 2, &["nowhere.txt"]);
    fails(&world, &[&"check", &"--read-data-subset", &"7/1"], 2, &["7/1"]);
    fails(&world, &[&"backup"], 2, &["PATH"]);
    fails(&world, &[&"drill"], 2, &["drill"]);
    fails(&world, &[&"backup", &source, &"--no-such-option"], 2, &["--no-such-option"]);
}

#[test]
fn an_incomplete_snapshot_is_never_latest_silently() {
    let (world, source, whole) = with_snapshot();
    put(source.join("closed"), b"closed");
    fs::set_permissions(source.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    let mut nobody = world.as_nobody();
    world.give_to_nobody(&[&world.repo, &world.cache]);
    let incomplete = world.run_as(&mut nobody, &[&"backup", &"--json", &source]).ends(3).summary();
    let part = within("latest", &source);
    let ran = world.run(&[&"restore", &"--json", &part, &"--target", &world.path("one")]).ends(0);
    let plan = &ran.lines()[0];
    assert_eq!(
        (plan["snapshot_id"].as_str(), &plan["passed_over"]),
        (Some(&whole[..]), &incomplete["snapshot_id"])
    );
    let ran = world.run(&[&"restore", &part, &"--target", &world.path("two")]).ends(0);
    ran.says(&[&incomplete["snapshot_id"].as_str().unwrap()[..8], "incomplete"]);
    // It can be had by its id, and says what it is.
    let id = incomplete["snapshot_id"].as_str().unwrap();
    world
        .run(&[&"restore", &within(id, &source), &"--target", &world.path("three")])
        .ends(0)
        .says(&["incomplete"]);
    assert!(world.run(&[&"snapshots"]).ends(0).out.contains("incomplete"));
}

#[test]
fn a_live_database_is_noticed() {
    let world = World::new();
    let source = world.path("srv");
    put(source.join("pg/PG_VERSION"), b"15\n");
    put(source.join("pg/global/pg_control"), b"control");
    let ran = world.run(&[&"backup", &"--json", &source]).ends(0);
    let notices = ran.of_type("notice");
    assert_eq!((notices.len(), &notices[0]["kind"]), (1, &"live_database".into()), "{notices:?}");
    assert!(notices[0]["item"].as_str().unwrap().ends_with("/srv/pg"));
    put(source.join("new"), b"new");
    world.run(&[&"backup", &source]).ends(0).says(&["live database", "postgres://"]);
    let alone = world.path("alone");
    put(alone.join("PG_VERSION"), b"15\n");
    assert!(world.run(&[&"backup", &"--json", &alone]).ends(0).of_type("notice").is_empty());
}

#[test]
fn every_verb_speaks_json() {
    let (world, source, id) = with_snapshot();
    let target = world.path("target");
    let runs: [(&str, &[Word<'_>]); 7] = [
        ("snapshot", &[&"snapshots"]),
        ("node", &[&"ls", &"latest"]),
        ("summary", &[&"check", &"--read-data"]),
        ("summary", &[&"restore", &id, &"--target", &target, &"--verify"]),
        ("summary", &[&"backup", &source]),
        ("version", &[&"version"]),
        ("unlock", &[&"unlock"]),
    ];
    for (last, words) in runs {
        let ran = world.run(&[&[&"--json" as Word<'_>], words].concat()).ends(0);
        assert_eq!(ran.lines().last().unwrap()["message_type"], last, "{words:?}", words = ran.words);
        assert!(ran.told().iter().all(|line| line["message_type"] != "exit_error"));
    }
}

#[test]
fn a_rehearsal_changes_nothing() {
    let (world, source, _) = with_snapshot();
    put(source.join("new"), b"new");
    let (before, target) = (world.state(), world.path("target"));
    let summary = world.run(&[&"backup", &"--json", &"--dry-run", &source]).ends(0).summary();
    assert!(
        summary["snapshot_id"].is_null() && summary["files_new"] == 1 && summary["dry_run"] == true,
        "{summary}"
    );
    let part = within("latest", &source);
    let summary =
        world.run(&[&"restore", &"--json", &"--dry-run", &part, &"--target", &target]).ends(0).summary();
    assert_eq!((&summary["files_restored"], &summary["dry_run"]), (&1.into(), &true.into()));
    assert!(!target.exists() && before == world.state());
    world.run(&[&"backup", &"--dry-run", &source]).ends(0);
    assert_eq!(before, world.state());
}

#[test]
fn an_unchanged_tree_makes_no_snapshot_if_that_is_wanted() {
    let (world, source, _) = with_snapshot();
    let summary = world.run(&[&"backup", &"--json", &"--skip-if-unchanged", &source]).ends(0).summary();
    assert!(summary["snapshot_id"].is_null() && summary["unchanged"] == true, "{summary}");
    let number = || world.run(&[&"snapshots", &"--json"]).ends(0).lines().len();
    assert_eq!(number(), 1);
    // What comes and goes beside the source is no change of it.
    put(world.path("beside"), b"beside");
    let summary = world.run(&[&"backup", &"--json", &"--skip-if-unchanged", &source]).ends(0).summary();
    assert!(summary["snapshot_id"].is_null() && summary["unchanged"] == true, "{summary}");
    put(source.join("file"), b"changed content");
    let summary = world.run(&[&"backup", &"--json", &"--skip-if-unchanged", &source]).ends(0).summary();
    assert!(summary["snapshot_id"].is_string() && number() == 2, "{summary}");
    world.check();
}

/// Packs of a stated size: restored all the same, and fewer or more of them.
#[test]
fn packs_have_the_stated_size() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("file"), noise(1, 20 << 20));
    world.run(&[&"backup", &source, &"--pack-size", &"3M"]).ends(2).says(&["from 4M to 1G"]);
    world.run(&[&"backup", &source, &"--pack-size", &"4"]).ends(0);
    let packs = world.objects().iter().filter(|name| name.starts_with("packs/data/")).count();
    assert!((4..=6).contains(&packs), "{packs}");
    world.check();
    super::compare::same(&source, &world.restore(&source, "out"));
}
