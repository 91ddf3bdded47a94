//! Members with roles, each with a key file of its own: admitted, removed, given new keys, while
//! others back up.

use super::tree::put;
use super::world::{Leashed, Ran, Word, World};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// The program with the key file of a member, on a host of its own.
pub(crate) fn by(world: &World, name: &str) -> Command {
    let mut command = world.command();
    command.env_remove("HOLDFAST_PASSWORD").env("HOLDFAST_KEY_FILE", world.path(format!("{name}.key")));
    command.env("HOLDFAST_CACHE_DIR", world.path(format!("cache of {name}")));
    command
}

pub(crate) fn run_by(world: &World, name: &str, words: &[Word<'_>]) -> Ran {
    world.run_as(&mut by(world, name), words)
}

/// Admits a member; returns what was said of it.
pub(crate) fn admit(world: &World, role: &str, name: &str) -> Value {
    let key = world.path(format!("{name}.key"));
    let byte = name.bytes().fold(1, u8::wrapping_add);
    fs::write(&key, [byte; 48]).unwrap();
    let words: [Word<'_>; 9] =
        [&"--json", &"key", &"add", &"--role", &role, &"--label", &name, &"--new-key-file", &key];
    let line = world.run(&words).ends(0).lines().remove(0);
    assert_eq!((&line["role"], &line["label"]), (&role.into(), &name.into()));
    line
}

pub(crate) fn member_of(line: &Value) -> String {
    line["member"].as_str().unwrap().to_owned()
}

/// A source with a file of its own.
fn source(world: &World, name: &str) -> std::path::PathBuf {
    let source = world.path(format!("source of {name}"));
    put(source.join("file"), format!("content of {name}").as_bytes());
    put(source.join("large"), vec![name.len() as u8; 300_000]);
    source
}

pub(crate) fn backup_by(world: &World, name: &str, source: &std::path::Path) -> String {
    let words: [Word<'_>; 5] = [&"--json", &"backup", &source, &"--host", &name];
    let ran = run_by(world, name, &words).ends(0);
    lines(&ran, "summary")[0]["snapshot_id"].as_str().unwrap().to_owned()
}

/// Lines of one kind that a run wrote.
fn lines(ran: &Ran, kind: &str) -> Vec<Value> {
    ran.lines().into_iter().filter(|line| line["message_type"] == kind).collect()
}

fn snapshots(world: &World, name: &str) -> BTreeSet<String> {
    let ran = run_by(world, name, &[&"--json", &"snapshots"]).ends(0);
    lines(&ran, "snapshot").iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect()
}

fn assert_restores(world: &World, by: &str, snapshot: &str, source: &std::path::Path, into: &str) {
    let target = world.path(into);
    run_by(world, by, &[&"restore", &snapshot, &"--target", &target, &"--verify"]).ends(0);
    let restored = target.join(source.strip_prefix("/").unwrap());
    for file in ["file", "large"] {
        assert_eq!(fs::read(restored.join(file)).unwrap(), fs::read(source.join(file)).unwrap());
    }
}

#[test]
fn a_host_that_writes_cannot_read_and_is_shut_out_for_good() {
    let world = World::new();
    let writer = admit(&world, "writer", "web1");
    assert!(writer["kit"].as_str().unwrap().contains("WRITER"), "{writer}");
    admit(&world, "reader", "drills");
    let web1 = source(&world, "web1");
    let first = backup_by(&world, "web1", &web1);
    assert_restores(&world, "drills", &first, &web1, "restored");
    let target = world.path("stolen");
    let stolen = run_by(&world, "web1", &[&"restore", &first, &"--target", &target]);
    assert!(
        stolen.code != 0 && !target.join(web1.strip_prefix("/").unwrap()).join("file").exists(),
        "{stolen:?}"
    );
    run_by(&world, "drills", &[&"backup", &web1]).ends(1).says(&["this key is a reader's"]);
    run_by(&world, "web1", &[&"key", &"rotate"]).ends(1).says(&["owner"]);
    let table = world.run(&[&"key", &"list"]).ends(0).out;
    assert!(["writer", "reader", "owner"].iter().all(|role| table.contains(role)), "{table}");
    assert_eq!(lines(&world.run(&[&"--json", &"key", &"list"]).ends(0), "member").len(), 3);

    let slot = world.repo.join("keys").join(writer["id"].as_str().unwrap());
    let copied = fs::read(&slot).unwrap();
    let words: [Word<'_>; 3] = [&"key", &"remove", &writer["short_id"].as_str().unwrap()];
    world.run(&words).ends(0).says(&["removed member", "holdfast key rotate", "right to write"]);
    assert!(!slot.exists());
    run_by(&world, "web1", &[&"snapshots"]).ends(12);
    // Who kept its slot is told why it opens nothing.
    put(&slot, &copied);
    run_by(&world, "web1", &[&"backup", &web1]).ends(1).says(&["this key was removed"]);
    world.run(&[&"key", &"list"]).ends(0);
    let listed = world.run(&[&"--json", &"key", &"list"]).ends(0);
    let left = lines(&listed, "key").into_iter().find(|key| key["id"] == writer["id"]).unwrap();
    assert_eq!(left["member_removed"], true);
    let again: [Word<'_>; 6] = [&"--json", &"key", &"remove", &"--member", &member_of(&writer), &"--rotate"];
    let ran = world.run(&again).ends(0);
    assert_eq!(lines(&ran, "member_removed")[0]["resumed"], true);
    assert_eq!(lines(&ran, "keys_rotated")[0]["key_epoch"], 1);
    assert!(!slot.exists());
    // What it had stored stays, and readers read it, under the new keys too.
    assert_eq!(snapshots(&world, "drills"), [first.clone()].into());
    let second = world.backup(&web1)["snapshot_id"].as_str().unwrap().to_owned();
    for (snapshot, into) in [(&first, "again"), (&second, "new")] {
        assert_restores(&world, "drills", snapshot, &web1, into);
    }
    world.check();
    world.run(&[&"key", &"remove", &"--member", &"ffff"]).ends(1).says(&["no member"]);
    world.run(&[&"key", &"remove"]).ends(2);
}

#[test]
fn a_host_that_was_wiped_and_rebuilt_goes_on_with_its_snapshots() {
    let world = World::new();
    let writer = admit(&world, "writer", "web1");
    admit(&world, "reader", "drills");
    let web1 = source(&world, "web1");
    let mut made = vec![backup_by(&world, "web1", &web1)];
    fs::remove_dir_all(world.path("cache of web1")).unwrap();
    fs::write(web1.join("file"), "content after the fire").unwrap();
    // The same key file from where it was kept.
    made.push(backup_by(&world, "web1", &web1));
    // The key was lost with the host: another member goes on all the same.
    world.run(&[&"key", &"remove", &"--member", &member_of(&writer), &"--rotate"]).ends(0);
    fs::remove_dir_all(world.path("cache of web1")).unwrap();
    admit(&world, "writer", "web1");
    made.push(backup_by(&world, "web1", &web1));
    assert_eq!(snapshots(&world, "drills"), made.iter().cloned().collect());
    // All three are one source. A member's snapshots push out only its own and owners': the newest of
    // the one that was removed stays beside that of the new one.
    let kept = world.run(&[&"--json", &"forget", &"--keep-last", &"1"]).ends(0);
    assert_eq!(snapshots(&world, "drills"), [made[1].clone(), made[2].clone()].into(), "{kept:?}");
    assert_restores(&world, "drills", &made[2], &web1, "restored");
    world.check();
}

#[test]
fn keys_are_rotated_while_four_hosts_back_up() {
    let world = World::new();
    let names = ["web1", "web2", "web3"];
    names.iter().for_each(|name| drop(admit(&world, "writer", name)));
    admit(&world, "reader", "drills");
    let mut sources: Vec<_> = names.iter().map(|name| source(&world, name)).collect();
    sources.push(source(&world, "the owner"));
    for round in 0..3_u8 {
        for source in &sources {
            put(source.join(format!("of round {round}")), vec![round; 700_000]);
        }
        let mut runs: Vec<(Vec<String>, Leashed)> = Vec::new();
        for (at, source) in sources.iter().enumerate() {
            let (command, host) = match names.get(at) {
                Some(name) => (by(&world, name), (*name).to_owned()),
                None => (world.command(), "the owner".to_owned()),
            };
            let words = ["backup", source.to_str().unwrap(), "--host", &host].map(str::to_owned);
            let given: Vec<Word<'_>> = words.iter().map(|word| word as Word<'_>).collect();
            let run = world.leash_as(command, &given);
            runs.push((words.to_vec(), run));
        }
        world.run(&[&"key", &"rotate"]).ends(0).says(&["key epoch"]);
        for (words, run) in runs {
            let given: Vec<Word<'_>> = words.iter().map(|word| word as Word<'_>).collect();
            run.ends_alone(&given).ends(0);
        }
        let all = snapshots(&world, "drills");
        assert_eq!(all.len(), 4 * (usize::from(round) + 1));
    }
    let listed = world.run(&[&"--json", &"key", &"list"]).ends(0);
    let whole = |member: &&Value| member["key_epochs"] == serde_json::json!([0, 1, 2, 3]);
    assert_eq!(lines(&listed, "member").iter().filter(whole).count(), 5);
    for (name, source) in names.iter().chain(&["the owner"]).zip(&sources) {
        let target = world.path(format!("restored of {name}"));
        let words: [Word<'_>; 6] = [&"restore", &"latest", &"--host", name, &"--target", &target];
        run_by(&world, "drills", &words).ends(0);
        let restored = target.join(source.strip_prefix("/").unwrap());
        assert_eq!(fs::read(restored.join("of round 2")).unwrap(), vec![2; 700_000]);
    }
    world.check();
}
