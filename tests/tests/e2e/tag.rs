//! Tags of snapshots, changed by people and by two at once.

use super::tree::put;
use super::world::{Ran, World, count, within};
use serde_json::Value;
use std::process::Stdio;

fn snapshots(world: &World) -> Vec<Value> {
    world.run(&[&"snapshots", &"--json"]).ends(0).lines()
}

fn tags(snapshot: &Value) -> String {
    let tags = snapshot["tags"].as_array().unwrap();
    tags.iter().map(|tag| tag.as_str().unwrap()).collect::<Vec<_>>().join(",")
}

#[test]
fn tags_change_and_nothing_else_does() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("file"), b"content");
    world.run(&[&"backup", &source, &"--tag", &"b,a"]).ends(0);
    let (old, packs) = (snapshots(&world).remove(0), world.objects());
    let old_id = old["id"].as_str().unwrap().to_owned();
    let ran = world.run(&[&"tag", &"latest", &"--add", &"c,a", &"--remove", &"b", &"--json"]).ends(0);
    let new_id = ran.lines()[0]["new_snapshot_id"].as_str().unwrap().to_owned();
    assert_eq!(
        (&ran.lines()[0]["old_snapshot_id"], count(&ran.summary(), "changed_snapshots")),
        (&old["id"], 1)
    );
    let all = snapshots(&world);
    assert_eq!((all.len(), tags(&all[0])), (1, "a,c".into()));
    let mut wanted = old.clone();
    (wanted["id"], wanted["short_id"], wanted["tags"]) =
        (new_id.clone().into(), new_id[..8].into(), serde_json::json!(["a", "c"]));
    assert_eq!(all[0], wanted);
    assert_eq!(
        world.objects().iter().filter(|name| name.starts_with("packs/")).count(),
        packs.iter().filter(|name| name.starts_with("packs/")).count()
    );
    // The old id still leads somewhere, and says where.
    world.run(&[&"ls", &old_id]).ends(0).says(&["was replaced by", &new_id[..8]]);
    let target = world.path("out");
    world.run(&[&"restore", &within(&old_id[..8], &source), &"--target", &target]).ends(0);
    assert_eq!(std::fs::read(target.join("file")).unwrap(), b"content");
    world.check();
    // The next backup compares with the new one, and adds nothing.
    world.backup(&source);
    world.run(&[&"tag", &"latest", &"--set", &"x"]).ends(0);
    let newest = snapshots(&world).pop().unwrap();
    let summary = world.backup(&source);
    assert_eq!((&summary["parent"], count(&summary, "data_added")), (&newest["id"], 0));
    world.check();
}

#[test]
fn snapshots_are_named_or_picked() {
    let world = World::new();
    for (name, tag) in [("one", "x"), ("two", "x"), ("three", "y")] {
        put(world.path(name).join("file"), name.as_bytes());
        world.run(&[&"backup", &world.path(name), &"--tag", &tag, &"--host", &name]).ends(0);
    }
    let changed = |ran: Ran| count(&ran.ends(0).summary(), "changed_snapshots");
    assert_eq!(changed(world.run(&[&"tag", &"--json", &"--tag", &"x", &"--add", &"z"])), 2);
    assert_eq!(changed(world.run(&[&"tag", &"--json", &"--tag", &"x", &"--add", &"z"])), 0);
    assert_eq!(changed(world.run(&[&"tag", &"--json", &"latest", &"--host", &"three", &"--set", &""])), 1);
    assert_eq!(changed(world.run(&[&"tag", &"--json", &"--tag", &"nothing", &"--add", &"z"])), 0);
    world.run(&[&"tag", &"--tag", &"nothing", &"--add", &"z"]).ends(0).says(&["no snapshots fit"]);
    world.run(&[&"snapshots", &"--tag", &"nothing", &"--group-by", &"host"]).ends(0).says(&["no snapshots"]);
    assert_eq!(snapshots(&world).iter().map(tags).collect::<Vec<_>>(), ["x,z", "x,z", ""]);
    let id = snapshots(&world)[0]["id"].as_str().unwrap().to_owned();
    // Named twice is once.
    assert_eq!(changed(world.run(&[&"tag", &"--json", &id, &&id[..8], &"--add", &"twice"])), 1);
    world.run(&[&"tag", &"--add", &"z"]).ends(2).says(&["no snapshots given"]);
    world.run(&[&"tag", &"latest", &"--add", &"z"]).ends(2).says(&["several snapshots"]);
    world.run(&[&"tag", &id]).ends(2).says(&["--add"]);
    world.run(&[&"tag", &id, &"--add", &","]).ends(2).says(&["no tags"]);
    world.run(&[&"tag", &format!("{id}:/etc"), &"--add", &"z"]).ends(2).says(&["not of a path"]);
    world.run(&[&"tag", &"0123456789abcdef", &"--add", &"z"]).ends(1).says(&["no snapshot"]);
    let odd = "\u{1b}[2Jred\nline";
    world.run(&[&"tag", &id, &"--add", &odd]).ends(0);
    assert!(!world.run(&[&"snapshots"]).ends(0).out.contains('\u{1b}'));
    assert_eq!(changed(world.run(&[&"tag", &"--json", &"--tag", &odd, &"--remove", &odd])), 1);
    world.check();
}

#[test]
fn many_at_once_lose_no_tag_and_no_snapshot() {
    let world = World::new();
    put(world.path("source/file"), b"content");
    world.backup(&world.path("source"));
    let id = snapshots(&world)[0]["id"].as_str().unwrap().to_owned();
    let runs: Vec<_> = (0..4)
        .map(|number| {
            let mut command = world.command();
            command
                .args(["tag", &id, "--add", &format!("t{number}")])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for (number, run) in runs.into_iter().enumerate() {
        let ran = Ran::of(&[&"tag"], &run.wait_with_output().unwrap());
        // Two that came before may have taken the snapshot's place at once: then it has to be said
        // which is meant, and nothing was changed.
        if ran.code != 0 {
            ran.ends(2).says(&["could mean several snapshots"]);
            let either = snapshots(&world)[0]["id"].as_str().unwrap().to_owned();
            world.run(&[&"tag", &either, &"--add", &format!("t{number}")]).ends(0);
        }
    }
    // Whoever came last has seen all others, or somebody puts it right.
    if snapshots(&world).len() > 1 {
        world.run(&[&"tag", &snapshots(&world)[0]["id"].as_str().unwrap(), &"--add", &"t0"]).ends(0);
    }
    let all = snapshots(&world);
    assert_eq!((all.len(), tags(&all[0])), (1, "t0,t1,t2,t3".into()));
    world.check();
}
