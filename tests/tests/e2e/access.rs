//! Who takes contents out leaves a record, before anything leaves; and is not stopped where none can be left.

use super::run::Shop;
use super::tree::{noise, put};
use super::world::{Leashed, Ran, Word, World, within};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

/// The records of accesses, oldest first.
pub(super) fn records(world: &World) -> Vec<Value> {
    let lines = world.run(&[&"evidence", &"show", &"--kind", &"access", &"--json"]).ends(0).lines();
    lines.into_iter().map(|line| line["record"].clone()).collect()
}

/// Expects the last access to have gone to such a place.
#[track_caller]
pub(super) fn assert_recorded(world: &World, verb: &str, target: &str) {
    assert_last(&records(world), verb, target);
}

/// The same of records that are read already.
#[track_caller]
pub(super) fn assert_last(all: &[Value], verb: &str, target: &str) {
    let last = all.last().unwrap_or_else(|| panic!("no access was recorded"));
    assert_eq!(last["verb"], verb, "{last}");
    assert!(last["target"].as_str().is_some_and(|text| text.contains(target)), "{last}");
}

fn restored(world: &World, words: &[Word<'_>]) -> Ran {
    world.run(&[&[&"restore" as Word<'_>], words].concat()).ends(0)
}

#[test]
fn each_restore_and_dump_is_recorded() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("a/file"), b"a secret");
    let snapshot = world.backup(&source)["snapshot_id"].as_str().unwrap().to_owned();
    assert!(records(&world).is_empty());
    let (one, two) = (world.path("one"), world.path("two"));
    restored(
        &world,
        &[
            &within("latest", &source),
            &"--target",
            &one,
            &"--reason",
            &" ticket\n812 ",
            &"--include",
            &"file",
        ],
    );
    restored(&world, &[&"latest", &"--target", &two, &"--dry-run"]);
    assert_eq!(records(&world).len(), 1);
    let mut command = world.command();
    command.env("HOLDFAST_REASON", "an audit").env("SUDO_USER", "kim");
    let ran = world.run_as(&mut command, &[&"dump", &within("latest", &source.join("a/file"))]).ends(0);
    assert_eq!((&*ran.out, ran.err.contains("warning")), ("a secret", false));
    let all = records(&world);
    let text = |number: usize, field: &str| all[number][field].as_str().unwrap().to_owned();
    assert_eq!((text(0, "verb"), text(0, "reason")), ("restore".into(), "ticket\n812".into()));
    assert_eq!(
        (text(0, "target"), text(0, "path")),
        (one.display().to_string(), source.display().to_string())
    );
    assert_eq!((&all[0]["include"][0], &all[0]["snapshots"][0]), (&"file".into(), &snapshot.as_str().into()));
    assert_eq!(
        (text(1, "verb"), text(1, "reason"), text(1, "user")),
        ("dump".into(), "an audit".into(), "kim".into())
    );
    assert_eq!(text(1, "target"), "-");
    assert!(
        ["host", "source", "program", "key"].iter().all(|field| !text(0, field).is_empty()),
        "{}",
        all[0]
    );
    // No byte of the contents is in it, the chain is sound, and a person reads it.
    assert!(!all.iter().any(|record| record.to_string().contains("a secret")));
    world.run(&[&"evidence", &"verify"]).ends(0);
    world.check();
    let shown = world.run(&[&"evidence", &"show"]).ends(0);
    assert!(
        ["access", "restore", "dump", "kim"].iter().all(|word| shown.out.contains(word)),
        "{}",
        shown.out
    );
    world.run(&[&"restore", &"latest", &"--target", &two, &"--reason", &" "]).ends(2).says(&["--reason"]);
}

#[test]
fn what_is_killed_has_left_its_record_and_many_at_once_leave_theirs() {
    let world = World::new();
    let source = world.path("source");
    for number in 0..40 {
        put(source.join(format!("file {number}")), noise(number, 700_000));
    }
    world.backup(&source);
    let targets: Vec<_> = (0..4).map(|number| world.path(format!("out {number}"))).collect();
    let mut runs: Vec<_> =
        targets.iter().map(|target| world.leash(&[&"restore", &"latest", &"--target", target])).collect();
    let mut first = runs.remove(0);
    let below = targets[0].join(source.strip_prefix("/").unwrap());
    if first.wait_for(|| below.exists()) {
        first.send(Signal::KILL);
        first.wait_for(|| false);
    }
    for run in runs {
        run.ends_alone(&[]).ends(0);
    }
    let mut found: Vec<_> =
        records(&world).iter().map(|record| record["target"].as_str().unwrap().to_owned()).collect();
    found.sort();
    assert_eq!(found, targets.iter().map(|target| target.display().to_string()).collect::<Vec<_>>());
    world.run(&[&"evidence", &"verify"]).ends(0);
}

#[test]
fn where_no_record_can_be_left_it_is_restored_and_said() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("file"), b"content");
    world.backup(&source);
    // Where its folder would be lies a file: nothing can be put there, by root neither.
    fs::write(world.repo.join("evidence"), b"").unwrap();
    let target = world.path("out");
    let ran = restored(&world, &[&within("latest", &source), &"--target", &target]);
    assert!(ran.err.contains("warning: no record of this restore was left"), "{}", ran.err);
    assert_eq!(fs::read(target.join("file")).unwrap(), b"content");
}

#[test]
fn a_drill_leaves_its_own_record_and_one_more_for_scratch_that_it_keeps() {
    let shop = Shop::new("drill: { scratch: { keep_on_failure: 1h } }\n");
    put(shop.world.path("tree/large"), noise(1, 200_000));
    shop.json("run", &["--no-drill"]).ends(0);
    shop.json("drill", &[]).ends(0);
    let began = records(&shop.world);
    assert_eq!((began.len(), began[0]["step"].as_str()), (1, Some("begin")), "{began:?}");
    let mut packs = shop.world.objects().into_iter().filter(|name| name.starts_with("packs/data/"));
    let pack = shop.world.repo.join(packs.next_back().unwrap());
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&pack).unwrap();
    put(&pack, bytes);
    shop.json("drill", &[]).ends(20);
    let all = records(&shop.world);
    let fields: Vec<_> =
        ["verb", "policy", "step"].iter().map(|field| all[2][field].as_str().unwrap()).collect();
    assert_eq!((all.len(), fields), (3, vec!["drill", "shop", "kept"]));
    assert!(fs::exists(all[2]["target"].as_str().unwrap()).unwrap(), "{}", all[2]);
    assert!(all[2]["snapshots"].as_array().is_some_and(|all| !all.is_empty()), "{}", all[2]);
    // Each drill is one line for a person, and what is kept another.
    let shown = shop.world.run(&[&"evidence", &"show"]).ends(0);
    assert_eq!((shown.out.lines().count(), shown.out.contains("no end")), (4, false), "{}", shown.out);
}

/// A policy over what a program writes, which is verified until somebody says that it is enough.
fn waiting() -> Shop {
    let shop = Shop::new("");
    let (reached, enough) = (shop.world.path("reached"), shop.world.path("enough"));
    shop.write(&format!(
        "repository: {{ url: repo, password: {{ env: SHOP_PASSWORD }} }}\nsources:\n  list:\n    command:\n      run: [ echo, a secret \
         ]\n      file_name: list.txt\n      verify: [ sh, -c, 'test -s {{target}} && echo > {}; until test -e {}; do sleep 0.05; \
         done' ]\ndrill: {{}}\n",
        reached.display(),
        enough.display()
    ));
    shop.json("run", &["--no-drill"]).ends(0);
    shop
}

/// A drill that has restored, and still goes on.
fn going_on(shop: &Shop) -> Leashed {
    let mut drill = shop.world.leash_as(shop.command(), &[&"drill", &"--json", &shop.policy]);
    let reached = drill.wait_for(|| shop.world.path("reached").exists());
    assert!(reached, "{:?}", drill.output());
    drill
}

#[test]
fn a_drill_that_is_killed_is_told_with_its_scratch() {
    let shop = waiting();
    let mut drill = going_on(&shop);
    let told = |shop: &Shop| shop.world.run(&[&"evidence", &"show"]).ends(0).out;
    assert!(told(&shop).contains("drill, no end"), "{}", told(&shop));
    drill.send(Signal::KILL);
    drill.wait_for(|| false);
    put(shop.world.path("enough"), b"");
    let all = records(&shop.world);
    let text = |field: &str| all[0][field].as_str().unwrap_or_default().to_owned();
    assert_eq!((all.len(), text("verb"), text("step")), (1, "drill".into(), "begin".into()));
    assert!(["host", "user", "drill"].iter().all(|field| !text(field).is_empty()), "{}", all[0]);
    assert_eq!(all[0]["snapshots"].as_array().map(Vec::len), Some(1), "{}", all[0]);
    // What was restored is where it says.
    let is_there = |shop: &Shop| {
        let mut found = super::world::objects(text("target").as_ref()).into_iter();
        found.any(|name| name.ends_with("list.txt")) && shop.world.repo.exists()
    };
    assert!(is_there(&shop), "{}", text("target"));
    assert!(told(&shop).contains("drill, no end"), "{}", told(&shop));
    // The next one removes it and says whose it was; the one that was killed stays told.
    let next = shop.json("drill", &[]).ends(0);
    assert!(
        next.out.contains(&format!("left behind by drill {}", text("drill"))) && !is_there(&shop),
        "{next:?}"
    );
    assert_eq!(
        (told(&shop).matches("no end").count(), told(&shop).lines().count()),
        (1, 3),
        "{}",
        told(&shop)
    );
    shop.world.run(&[&"evidence", &"show", &"latest"]).ends(0).tells("  began ");
    shop.world.run(&[&"evidence", &"verify"]).ends(0);
}

/// Restores as if it had been started by a drill that handed this over.
fn restored_as_part(world: &World, handed: &str) {
    let target = world.path(format!("out {}", records(world).len()));
    let mut command: Command = world.command();
    command.args(["restore", "latest", "--target"]).arg(&target).args(["--reason", "by hand"]);
    command.env("HOLDFAST_WITHIN_DRILL", handed).env("HOLDFAST_LEASH", std::process::id().to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut leash = child.stdin.take().unwrap();
    let part = |text: &str| [&u32::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat();
    let frame = [part("HOLDFAST_WITHIN_DRILL"), part(handed)].concat();
    leash.write_all(&u32::try_from(frame.len()).unwrap().to_le_bytes()).unwrap();
    leash.write_all(&frame).unwrap();
    assert!(child.wait().unwrap().success());
    drop(leash);
}

#[test]
fn nobody_hides_a_restore_behind_a_drill() {
    let shop = waiting();
    let mut drill = going_on(&shop);
    let lines = shop.world.run(&[&"evidence", &"show", &"--kind", &"access", &"--json"]).ends(0).lines();
    let (name, hash) =
        (lines[0]["name"].as_str().unwrap(), lines[0]["record"]["token_hash"].as_str().unwrap());
    // The drill still goes on, and restores the same: its record is there for all to see.
    for handed in ["1".to_owned(), name.to_owned(), format!("{name} {hash}"), format!("{name} ")] {
        let before = records(&shop.world).len();
        restored_as_part(&shop.world, &handed);
        let after = records(&shop.world);
        assert_eq!(after.len(), before + 1, "{handed}");
        assert_eq!(after.last().unwrap()["reason"], "by hand");
    }
    put(shop.world.path("enough"), b"");
    assert!(!drill.wait_for(|| false));
    assert_eq!(records(&shop.world).len(), 5, "the drill's own restore refers to it");
}

#[test]
fn a_drill_that_can_leave_no_record_goes_on_and_says_so() {
    let shop = Shop::new("drill: {}\n");
    shop.json("run", &["--no-drill"]).ends(0);
    fs::write(shop.world.repo.join("evidence"), b"").unwrap();
    let ran = shop.plain("drill", &[]);
    assert!(ran.err.contains("does not take the record that the drill begins"), "{ran:?}");
    assert!(ran.err.contains("does not take the record of the drill"), "{ran:?}");
    assert!(ran.out.contains("pass") || ran.err.contains("came back"), "{ran:?}");
}
