//! A repository in a bucket behind a proxy that does what bad networks and busy servers do; servers
//! that hang.
//!
//! On purpose not here: a healthy server, which `bucket` has, and rights (`bucket_rights`).

use super::compare::same;
use super::tree::{Dice, noise, ordinary, put};
use super::world::{Word, World, count, within};
use holdfast_tests::proxy::{Fate, Proxy};
use holdfast_tests::weed::{BUCKET, Weed};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

/// A repository in a bucket, made directly.
fn repository(weed: &Weed) -> World {
    let mut world = World::bare();
    world.repo = PathBuf::from(weed.url("x"));
    world.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    world
}

/// The same, seen through a proxy.
fn through(proxy: &Proxy) -> PathBuf {
    PathBuf::from(format!("s3://{BUCKET}/x?endpoint={}", proxy.endpoint()))
}

/// One request in ten meets with something.
fn dice(seed: u64) -> impl Fn(&str) -> Fate + Send + Sync {
    let dice = Mutex::new(Dice::new(seed));
    move |_| {
        let mut dice = dice.lock().unwrap();
        match dice.below(60) {
            0 => Fate::Reset,
            1 => Fate::LoseReply,
            2 => Fate::Refuse(503, "SlowDown"),
            3 => Fate::Refuse(500, "InternalError"),
            4 => Fate::Cut(dice.below(3000)),
            5 => Fate::Slow(Duration::from_millis(dice.below(20))),
            _ => Fate::Pass,
        }
    }
}

#[test]
fn one_request_in_ten_disturbed_harms_nothing() {
    let weed = Weed::start();
    let mut world = repository(&weed);
    let direct = world.repo.clone();
    let tree = world.path("tree");
    ordinary(&tree, 200, 1);
    put(tree.join("large"), noise(2, 30 << 20));
    let (mut well, mut disturbed) = (0, 0);
    for round in 0..4 {
        let proxy = Proxy::start(&weed.endpoint(), dice(round));
        world.repo = through(&proxy);
        put(tree.join(format!("large {}", round % 2)), noise(10 + round, 12 << 20));
        let ran = world.run(&[&"backup", &"--json", &tree]);
        assert!([0, 1].contains(&ran.code), "{ran:?}");
        let is_there = ran.code == 0;
        well += usize::from(is_there);
        let forget: [Word<'_>; 3] = [&"forget", &"--keep-last", &"1"];
        let prune: [Word<'_>; 3] = [&"prune", &"--min-age", &"0"];
        for words in [&forget[..], &prune[..]] {
            let ran = world.run(words);
            assert!([0, 1].contains(&ran.code), "{ran:?}");
            well += usize::from(ran.code == 0);
        }
        let target = format!("out {round}");
        if is_there {
            let part = within("latest", &tree);
            let ran = world.run(&[&"restore", &part, &"--target", &world.path(&target)]);
            assert!([0, 1].contains(&ran.code), "{ran:?}");
            if ran.code == 0 {
                well += 1;
                same(&tree, &world.path(&target));
            }
        }
        disturbed += proxy.disturbed();
        drop(proxy);
        world.repo = direct.clone();
        world.check();
        world.backup(&tree);
        same(&tree, &world.restore(&tree, &format!("direct {round}")));
    }
    assert!(disturbed > 20 && well >= 6, "{disturbed} requests disturbed, {well} of 16 runs went well");
}

#[test]
fn a_server_that_hangs_is_given_up() {
    let weed = Weed::start();
    let mut world = repository(&weed);
    let proxy = Proxy::start(&weed.endpoint(), |_| Fate::Hang);
    let direct = std::mem::replace(&mut world.repo, through(&proxy));
    let ran = world.run(&[&"snapshots", &"--stuck-timeout", &"2s"]).ends(1);
    assert!(ran.err.contains("did not answer"), "{ran:?}");
    world.repo = direct;
    world.run(&[&"snapshots"]).ends(0);
}

#[test]
fn what_a_broken_off_upload_left_is_freed() {
    let weed = Weed::start();
    let world = repository(&weed);
    let begin = |name: &str| weed.begin_upload(name);
    begin("x/packs/data/00/broken");
    begin("of somebody else");
    let pruned = world.run(&[&"prune", &"--json"]).ends(0).summary();
    assert_eq!(count(&pruned, "unfinished_uploads"), 0, "it is young: {pruned}");
    let pruned = world.run(&[&"prune", &"--json", &"--abort-after", &"0"]).ends(0).summary();
    assert_eq!(count(&pruned, "unfinished_uploads"), 1, "{pruned}");
    let pruned = world.run(&[&"prune", &"--json", &"--abort-after", &"0"]).ends(0).summary();
    assert_eq!(count(&pruned, "unfinished_uploads"), 0, "{pruned}");
    assert_eq!(weed.uploads(), ["of somebody else"]);
}

#[test]
fn preflight_tells_a_good_server_from_one_that_lies() {
    let weed = Weed::start();
    let mut world = World::bare();
    world.repo = PathBuf::from(weed.url("x"));
    let ran = world.run(&[&"preflight"]).ends(0);
    assert!(ran.out.contains("one wins"), "{ran:?}");
    let listed: Vec<_> = weed.names().into_iter().filter(|name| name.starts_with("x/")).collect();
    assert!(listed.is_empty(), "the probe leaves nothing: {listed:?}");
    world.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    assert!(weed.read("x/holdfast.json").contains("probed-atomic-put"), "what was proved is recorded");
    // This one takes every write of a taken name for done.
    let liar = Proxy::start(&weed.endpoint(), |request| {
        if request.starts_with("PUT") { Fate::Refuse(200, "") } else { Fate::Pass }
    });
    world.repo = PathBuf::from(format!("s3://{BUCKET}/y?endpoint={}", liar.endpoint()));
    for verb in ["preflight", "init"] {
        let ran = world.run(&[&verb, &"--json"]).ends(1);
        assert!(ran.err.contains("exit_error"), "{ran:?}");
    }
}

#[test]
fn requests_are_told() {
    let weed = Weed::start();
    let world = repository(&weed);
    let tree = world.path("tree");
    ordinary(&tree, 30, 1);
    let ran = world.run(&[&"backup", &"--json", &tree]).ends(0);
    let line = ran.err.lines().find(|line| line.contains("\"message_type\":\"requests\"")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert!(line["requests"]["put"].as_u64().unwrap() >= 3, "{line}");
    assert!(line["sent_bytes"].as_u64().unwrap() > 1000, "{line}");
    let opened = world.run(&[&"backup", &"--json", &tree]).ends(0);
    let line = opened.err.lines().find(|line| line.contains("\"message_type\":\"requests\"")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let all: u64 = line["requests"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert!(all <= 50, "an unchanged tree costs few requests: {line}");
}
