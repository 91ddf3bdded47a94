//! Domains through the program: what is in one is apart, every verb works in it, and `shred` makes it
//! unreadable and nothing else.

use super::tree::put;
use super::world::{World, within};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A repository with a snapshot, and a domain with another.
fn with_domain() -> World {
    let world = World::new();
    put(world.path("source/file"), b"what is outside");
    put(world.path("tenant/letter"), b"what is inside");
    world.backup(&world.path("source"));
    world.run(&[&"init", &"--domain", &"tenant-7"]).ends(0).says(&["--domain tenant-7 backup"]);
    let tenant = world.path("tenant");
    world.run(&[&"--domain", &"tenant-7", &"backup", &tenant]).ends(0);
    world
}

fn shown(world: &World, options: &[&str]) -> Vec<Value> {
    let mut words: Vec<super::world::Word<'_>> = vec![&"snapshots", &"--json"];
    words.extend(options.iter().map(|word| word as super::world::Word<'_>));
    world.run(&words).ends(0).lines()
}

fn restored(world: &World, options: &[&str], source: &Path, target: &str) -> String {
    let (from, target) = (within("latest", source), world.path(target));
    let mut words: Vec<super::world::Word<'_>> = vec![&"restore", &from, &"--target", &target];
    words.extend(options.iter().map(|word| word as super::world::Word<'_>));
    world.run(&words).ends(0);
    let file = fs::read_dir(&target).unwrap().next().unwrap().unwrap().path();
    fs::read_to_string(file).unwrap()
}

#[test]
fn a_domain_is_apart_and_every_verb_works_in_it() {
    let world = with_domain();
    assert_eq!((shown(&world, &[]).len(), shown(&world, &["--domain", "tenant-7"]).len()), (1, 1));
    let tenant = world.path("tenant");
    assert_eq!(restored(&world, &["--domain", "tenant-7"], &tenant, "out"), "what is inside");
    assert_eq!(world.run(&[&"domain", &"list"]).ends(0).out.trim(), "tenant-7");
    world.run(&[&"check", &"--read-data"]).ends(0).says(&["tenant-7"]);
    let inside = |words: &[super::world::Word<'_>]| {
        let mut all: Vec<super::world::Word<'_>> = vec![&"--domain", &"tenant-7"];
        all.extend(words);
        world.run(&all)
    };
    inside(&[&"check", &"--read-data"]).ends(0);
    let summary = inside(&[&"backup", &"--json", &tenant]).ends(0).summary();
    assert_eq!((&summary["chunks_added"], &summary["unchanged"]), (&0.into(), &true.into()), "{summary}");
    inside(&[&"forget", &"--keep-last", &"1", &"--prune"]).ends(0);
    inside(&[&"repair", &"index"]).ends(0);
    inside(&[&"evidence", &"verify"]).ends(0);
    // The place of a domain is as good as its name.
    let place = world.repo.join("domains/tenant-7");
    let through = world.run(&[&"-r", &place, &"snapshots", &"--json"]).ends(0).lines();
    assert_eq!(through, shown(&world, &["--domain", "tenant-7"]));
    // And it may be copied from, by whoever may read it.
    let mut copy = world.command();
    copy.env("HOLDFAST_FROM_PASSWORD", "correct horse");
    world.run_as(&mut copy, &[&"copy", &"--from", &place]).ends(0);
    assert_eq!(shown(&world, &[]).len(), 2);
    for (words, said) in [
        (&[&"key" as super::world::Word<'_>, &"list"][..], "keys of the repository"),
        (&[&"domain", &"list"], "--domain is of no use"),
        (&[&"init", &"--label", &"x"], "--label is of no use"),
    ] {
        inside(words).ends(2).says(&[said]);
    }
    inside(&[&"init"]).ends(1).says(&["there is a domain already"]);
    world.run(&[&"--domain", &"no/name", &"snapshots"]).ends(2);
    world.run(&[&"--domain", &"nobody", &"snapshots"]).ends(10);
}

#[test]
fn a_wrong_password_opens_no_domain() {
    let world = with_domain();
    let mut command = world.command();
    command.env("HOLDFAST_PASSWORD", "wrong");
    world.run_as(&mut command, &[&"--domain", &"tenant-7", &"snapshots"]).ends(12);
}

#[test]
fn keys_of_the_repository_are_those_of_its_domains() {
    let world = with_domain();
    let with = |password: &str, new: &str| {
        let mut command = world.command();
        command.env("HOLDFAST_PASSWORD", password).env("HOLDFAST_NEW_PASSWORD", new);
        command
    };
    let inside = |password: &str| {
        world
            .run_as(&mut with(password, ""), &[&"--domain", &"tenant-7", &"restore", &"latest", &"--dry-run"])
    };
    world.run_as(&mut with("correct horse", "second"), &[&"key", &"add", &"--kdf-memory", &"1"]).ends(0);
    let words: [super::world::Word<'_>; 6] = [&"key", &"add", &"--role", &"reader", &"--kdf-memory", &"1"];
    world.run_as(&mut with("correct horse", "reading"), &words).ends(0);
    for password in ["second", "reading"] {
        world.run_as(&mut with(password, ""), &[&"--domain", &"tenant-7", &"ls", &"latest"]).ends(0);
    }
    world.run(&[&"key", &"rotate"]).ends(0);
    let listed = world.run(&[&"key", &"list", &"--json"]).ends(0).lines();
    let reader =
        listed.iter().find(|line| line["message_type"] == "member" && line["role"] == "reader").unwrap();
    let reader = reader["member"].as_str().unwrap();
    world.run(&[&"key", &"remove", &"--member", &reader, &"--rotate"]).ends(0);
    assert_ne!(inside("reading").code, 0);
    world.run(&[&"--domain", &"tenant-7", &"key", &"rotate"]).ends(0);
    let tenant = world.path("tenant");
    assert_eq!(restored(&world, &["--domain", "tenant-7"], &tenant, "again"), "what is inside");
    world.run(&[&"--domain", &"tenant-7", &"check", &"--read-data"]).ends(0);
}

#[test]
fn what_somebody_puts_below_domains_stops_no_removal_and_no_rotation() {
    let world = with_domain();
    let with = |password: &str| {
        let mut command = world.command();
        command.env("HOLDFAST_PASSWORD", password).env("HOLDFAST_NEW_PASSWORD", password);
        command
    };
    let readers = ["one", "two"].map(|reader| {
        let mut command = with("correct horse");
        command.env("HOLDFAST_NEW_PASSWORD", reader);
        let words: [super::world::Word<'_>; 7] =
            [&"key", &"add", &"--role", &"reader", &"--kdf-memory", &"1", &"--json"];
        let lines = world.run_as(&mut command, &words).ends(0).lines();
        lines.iter().find_map(|line| line["member"].as_str().map(str::to_owned)).unwrap()
    });
    let inside = |password: &str| {
        world.run_as(&mut with(password), &[&"--domain", &"tenant-7", &"ls", &"latest"]).code
    };
    assert_eq!((inside("one"), inside("two")), (0, 0));
    // What is no domain, then what says that it is one.
    for (file, text, reader, code, said) in [
        ("domains/000/packs/00/x", &b"x"[..], 0, 0, "000 is passed over"),
        ("domains/001/holdfast.json", b"{", 1, 3, "domain 001"),
    ] {
        put(world.repo.join(file), text);
        let remove: [super::world::Word<'_>; 6] =
            [&"key", &"remove", &"--member", &readers[reader], &"--rotate", &"--json"];
        let ran = world.run_as(&mut with("correct horse"), &remove).ends(code).says(&[said]);
        let epochs: Vec<_> = ran.lines().iter().filter_map(|line| line["key_epoch"].as_u64()).collect();
        assert_eq!(epochs, [reader as u64 + 1], "{ran:?}");
        // It is told once, though there is something to be done for both.
        assert_eq!(ran.err.matches("domains/000 is passed over").count(), 1, "{ran:?}");
        assert_eq!((inside("one") == 0, inside("two") == 0), (false, reader == 0));
        // The domain that is one followed: there is nobody left to shut out of it.
        let granted = world.run(&[&"domain", &"grant", &"tenant-7", &"--json"]).ends(0).lines();
        assert_eq!((&granted[0]["admitted"], &granted[0]["removed"]), (&0.into(), &0.into()), "{granted:?}");
    }
    let rotated = world.run(&[&"--domain", &"tenant-7", &"key", &"rotate", &"--json"]).ends(0).lines();
    assert!(rotated.iter().any(|line| line["key_epoch"] == 3), "{rotated:?}");
    world.run(&[&"domain", &"grant"]).ends(3).says(&["domain 001"]).tells("tenant-7: 0 admitted");
}

#[test]
fn what_is_shredded_cannot_be_read_and_the_rest_can() {
    let world = with_domain();
    let kept = world.path("kept");
    super::world::run_tool(std::process::Command::new("cp").arg("-a").arg(&world.repo).arg(&kept));
    let before: Vec<_> = world.objects().into_iter().filter(|name| !name.starts_with("domains/")).collect();
    world.run(&[&"shred", &"tenant-7", &"--confirm", &"tenant-8", &"--reason", &"over"]).ends(2);
    world.run(&[&"shred", &"tenant-8", &"--confirm", &"tenant-8", &"--reason", &"over"]).ends(1);
    let inside = world.path("inside");
    let restore: [super::world::Word<'_>; 8] =
        [&"--domain", &"tenant-7", &"restore", &"latest", &"--target", &inside, &"--reason", &"ticket 812"];
    world.run(&restore).ends(0);
    let chains = world.run(&[&"--domain", &"tenant-7", &"evidence", &"verify", &"--json"]).ends(0).lines();
    let head = chains[0]["head"].as_str().unwrap().to_owned();
    let words: [super::world::Word<'_>; 7] =
        [&"shred", &"tenant-7", &"--confirm", &"tenant-7", &"--reason", &"contract ended", &"--json"];
    let summary = world.run(&words).ends(0).lines().pop().unwrap();
    assert_eq!(summary["accesses_kept"], 1, "{summary}");
    assert_eq!((&summary["snapshots"], &summary["objects_left"]), (&1.into(), &0.into()), "{summary}");
    world.run(&[&"--domain", &"tenant-7", &"snapshots"]).ends(10);
    assert!(world.run(&[&"domain", &"list"]).ends(0).out.is_empty());
    assert!(
        !world.repo.join("domains/tenant-7/members").exists() || {
            fs::read_dir(world.repo.join("domains/tenant-7/members")).unwrap().next().is_none()
        }
    );
    // No local copy remembers what was in it.
    assert!(!world.cache.join(summary["id"].as_str().unwrap()).exists());
    let evidence = world.run(&[&"evidence", &"show", &"--json"]).ends(0).out;
    assert!(evidence.contains("contract ended") && evidence.contains("\"shred\""), "{evidence}");
    // Who read it stays told, where it ended too, and nothing of what it was.
    let lines = world.run(&[&"evidence", &"show", &"--kind", &"inherited", &"--json"]).ends(0).lines();
    let access = &lines[0]["record"]["accesses"][0];
    assert_eq!((&access["reason"], &access["verb"]), (&"ticket 812".into(), &"restore".into()), "{lines:?}");
    assert!(!lines[0]["record"].to_string().contains("inside"), "{lines:?}");
    let shown = world.run(&[&"evidence", &"show", &lines[0]["name"].as_str().unwrap()]).ends(0);
    assert!(shown.out.contains("who read the erased domain tenant-7") && shown.out.contains(": ticket 812"));
    world.run(&[&"evidence", &"verify", &"--expect", &head]).ends(0).tells("erased domain tenant-7: member");
    let told = world.run(&[&"evidence", &"verify", &"--json"]).ends(0).lines();
    let told: Vec<_> = told.iter().filter(|line| line["message_type"] == "evidence_inherited").collect();
    assert_eq!((told.len(), &told[0]["head"]), (1, &head.as_str().into()), "{told:?}");
    world.check();
    assert_eq!(restored(&world, &[], &world.path("source"), "out"), "what is outside");
    let after = world.objects();
    assert!(before.iter().all(|name| after.contains(name)));
    // What somebody puts back without its mark opens no more, and goes again; also without what says what it is.
    super::world::run_tool(
        std::process::Command::new("cp")
            .arg("-aT")
            .arg(kept.join("domains/tenant-7"))
            .arg(world.repo.join("domains/tenant-7")),
    );
    world.run(&[&"--domain", &"tenant-7", &"snapshots"]).ends(10).says(&["somebody has put it back"]);
    fs::remove_file(world.repo.join("domains/tenant-7/holdfast.json")).unwrap();
    let summary =
        world.run(&words).ends(0).says(&["was lost", "whether a hold stood"]).lines().pop().unwrap();
    assert_eq!((&summary["id"], &summary["objects_left"]), (&Value::Null, &0.into()), "{summary}");
    assert!(world.run(&[&"domain", &"list"]).ends(0).out.is_empty());
    // All that a thief of the packs can bring back without the members is bytes.
    let thief = World::bare();
    super::world::run_tool(std::process::Command::new("cp").arg("-a").arg(&kept).arg(&thief.repo));
    fs::remove_dir_all(thief.repo.join("domains/tenant-7/members")).unwrap();
    thief.run(&[&"--domain", &"tenant-7", &"snapshots"]).ends(1).says(&["nobody's rights"]);
}
