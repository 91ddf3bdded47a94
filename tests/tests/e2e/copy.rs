//! Snapshots are copied from one repository on this disk into another: with shared keys and with
//! other keys, killed in the middle, from damaged ones, and with words that are not right.
//!
//! On purpose not here: buckets ([`super::bucket_copy`]).

use super::compare::same;
use super::tree::{noise, ordinary, put};
use super::world::{Ran, Word, World, count};
use std::fs;
use std::path::{Path, PathBuf};

/// Two repositories with passwords of their own; the world's own is the one to copy into.
struct Pair {
    world: World,
    from: PathBuf,
}

const FROM_PASSWORD: &str = "battery staple";

impl Pair {
    /// `alike`: the second one is made with the first one's keys for names.
    fn new(alike: bool) -> Self {
        let world = World::bare();
        let from = world.path("from");
        let pair = Self { world, from };
        pair.at_home(&[&"init", &"--kdf-memory", &"1"]).ends(0);
        let words: &[Word<'_>] = &[&"init", &"--kdf-memory", &"1"];
        let with: &[Word<'_>] = if alike { &[&"--from", &pair.from] } else { &[] };
        pair.run(&[words, with].concat()).ends(0);
        pair
    }

    /// Runs the program on the repository to copy from.
    fn at_home(&self, words: &[Word<'_>]) -> Ran {
        let mut command = self.world.command();
        command.env("HOLDFAST_REPOSITORY", &self.from).env("HOLDFAST_PASSWORD", FROM_PASSWORD);
        self.world.run_as(&mut command, words)
    }

    /// Runs the program on the repository to copy into; the other one's password is known too.
    fn run(&self, words: &[Word<'_>]) -> Ran {
        let ran = self.world.run_as(self.world.command().env("HOLDFAST_FROM_PASSWORD", FROM_PASSWORD), words);
        assert!(!ran.err.contains(FROM_PASSWORD) && !ran.out.contains(FROM_PASSWORD), "{ran:?}");
        ran
    }

    fn copy(&self, code: i32) -> Ran {
        self.run(&[&"copy", &"--from", &self.from, &"--json"]).ends(code)
    }

    fn backup(&self, tree: &Path) -> String {
        let summary = self.at_home(&[&"backup", &"--json", &tree]).ends(0).summary();
        summary["snapshot_id"].as_str().unwrap().to_owned()
    }

    fn restore(&self, snapshot: &str, tree: &Path, name: &str) {
        let (target, what) = (self.world.path(name), super::world::within(snapshot, tree));
        self.world.run(&[&"restore", &what, &"--target", &target]).ends(0);
        same(tree, &target);
    }
}

#[test]
fn copies_restore_as_what_they_were_copied_from() {
    for alike in [true, false] {
        let pair = Pair::new(alike);
        let tree = pair.world.path("tree");
        ordinary(&tree, 200, 1);
        put(tree.join("large"), noise(2, 9 << 20));
        let first = pair.backup(&tree);
        let dry = pair.run(&[&"copy", &"--from", &pair.from, &"--json", &"-n"]).ends(0);
        assert_eq!(dry.summary()["copied_snapshots"], 1);
        assert!(pair.world.objects().iter().all(|name| !name.starts_with("packs/")));
        let ran = pair.copy(0);
        let (line, summary) = (&ran.lines()[0], ran.summary());
        assert_eq!((&line["message_type"], &line["from_snapshot_id"]), (&"copied".into(), &first.into()));
        assert_eq!(summary["shared_keys"], alike);
        assert!(count(&summary, "data_added") > 9 << 20 && count(&summary, "bytes_read") > 9 << 20);
        let stored = pair.world.repository_bytes();
        if let Some(bytes) = dry.summary()["data_added_packed"].as_u64() {
            assert!(bytes > 9 << 20 && bytes <= stored, "{bytes} of {stored}");
        }
        pair.restore("latest", &tree, "out");
        put(tree.join("more"), noise(3, 1 << 20));
        let second = pair.backup(&tree);
        let ran = pair.copy(0);
        let summary = ran.summary();
        assert_eq!(count(&summary, "already_there_snapshots"), 1);
        assert_eq!((count(&summary, "copied_snapshots"), ran.lines().len()), (1, 3), "{ran:?}");
        assert!(count(&summary, "bytes_read") < 4 << 20, "{summary}");
        let copied = ran.lines()[1].clone();
        assert_eq!(copied["from_snapshot_id"], second);
        pair.restore(copied["snapshot_id"].as_str().unwrap(), &tree, "again");
        let before = pair.world.objects();
        pair.run(&[&"copy", &"latest", &"--from", &pair.from]).ends(0).says(&["there already"]);
        assert_eq!(pair.world.objects(), before);
        pair.world.check();
        let shown = |text: String| -> Vec<(String, String)> {
            let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            lines.map(|line| (line["time"].to_string(), line["hostname"].to_string())).collect()
        };
        let home = pair.at_home(&[&"snapshots", &"--json"]).ends(0).out;
        assert_eq!(shown(home), shown(pair.world.run(&[&"snapshots", &"--json"]).ends(0).out));
        pair.world.run(&[&"forget", &"--keep-last", &"1"]).ends(0);
        pair.world.run(&[&"prune", &"--min-age", &"0"]).ends(0);
        assert_eq!(pair.copy(0).summary()["copied_snapshots"], 1);
        pair.world.check();
    }
}

#[test]
fn snapshots_are_picked_where_they_are() {
    let pair = Pair::new(true);
    let (one, two) = (pair.world.path("one"), pair.world.path("two"));
    put(one.join("file"), b"1");
    put(two.join("file"), b"2");
    pair.at_home(&[&"backup", &one, &"--tag", &"a", &"--host", &"web1"]).ends(0);
    let wanted = pair.backup(&two);
    let copied = |words: &[Word<'_>]| {
        let ran =
            pair.run(&[&[&"copy" as Word<'_>, &"--json", &"-n", &"--from", &pair.from], words].concat());
        count(&ran.ends(0).summary(), "copied_snapshots")
    };
    let picks: [(&[Word<'_>], u64); 7] = [
        (&[], 2),
        (&[&"--tag", &"a"], 1),
        (&[&"--host", &"web1"], 1),
        (&[&"--path", &two], 1),
        (&[&"--tag", &"nothing"], 0),
        (&[&&wanted[..8]], 1),
        (&[&"latest", &"--host", &"web1"], 1),
    ];
    for (words, number) in picks {
        assert_eq!(copied(words), number);
    }
    let from: Word<'_> = &pair.from;
    pair.run(&[&"copy", &"--from", from, &"0000"]).ends(1).says(&["there is no snapshot 0000"]);
    pair.run(&[&"copy", &"--from", from, &"latest:/x", &"--host", &"web1"]).ends(2).says(&["whole"]);
    pair.at_home(&[&"forget", &"--unsafe-allow-remove-newest", &wanted]).ends(0);
    assert_eq!(copied(&[]), 1);
}

#[test]
fn wrong_words_and_keys_say_which_repository() {
    let pair = Pair::new(false);
    let (from, world) = (&pair.from, &pair.world);
    let run = |variable: &str, value: &str, words: &[Word<'_>]| {
        let mut command = world.command();
        command.env("HOLDFAST_FROM_PASSWORD", FROM_PASSWORD).env(variable, value);
        world.run_as(&mut command, words)
    };
    let copy: &[Word<'_>] = &[&"copy", &"--from", from];
    let from_name = from.to_str().unwrap();
    run("HOLDFAST_FROM_PASSWORD", "wrong", copy).ends(12).says(&[from_name, "HOLDFAST_FROM_PASSWORD_FILE"]);
    let own = run("HOLDFAST_PASSWORD", "wrong", copy).ends(12).says(&[world.repo.to_str().unwrap()]);
    assert!(!own.err.contains(from_name), "{own:?}");
    run("HOLDFAST_FROM_PASSWORD", "", copy).ends(2).says(&["no password given", "--from-password-file"]);
    run("HOLDFAST_FROM_KEY_FILE", "/nowhere", copy).ends(2).says(&["both set"]);
    run("HOLDFAST_FROM_AWS_ACCESS_KEY_ID", "x", copy).ends(2).says(&["only one is set"]);
    run("HOLDFAST_FROM_REPOSITORY", from_name, &[&"copy", &"-n"]).ends(0);
    pair.run(&[&"copy"]).ends(2).says(&["HOLDFAST_FROM_REPOSITORY"]);
    let named = world.path("from where");
    put(&named, format!("{from_name}\n"));
    run("HOLDFAST_FROM_REPOSITORY_FILE", named.to_str().unwrap(), &[&"copy", &"-n"]).ends(0);
    let by_file: &[Word<'_>] = &[&"copy", &"-n", &"--from-repository-file", &named];
    pair.run(by_file).ends(0);
    pair.run(&[by_file, &[&"--from", from]].concat()).ends(2);
    run("HOLDFAST_FROM_REPOSITORY", from_name, by_file).ends(0);
    let third = world.path("third");
    let init: &[Word<'_>] = &[&"-r", &third, &"init", &"--kdf-memory", &"1"];
    pair.run(&[init, &[&"--from-repository-file", &named]].concat()).ends(0);
    pair.run(&[&"copy", &"--from", &"/nowhere/at all"]).ends(10).says(&["/nowhere/at all", "--from"]);
    pair.run(&[&"copy", &"--from", &"s3://u:secret@host/b"]).ends(2).says(&["password in the URL"]);
    let file = world.path("password");
    put(&file, "correct horse\n");
    let same: &[Word<'_>] = &[&"copy", &"--from", &world.repo, &"--from-password-file", &file];
    world.run(same).ends(2).says(&["one repository"]);
    let other = world.path("other");
    let init: &[Word<'_>] = &[&"-r", &other, &"init", &"--from-password-file", &file];
    world.run(init).ends(2).says(&["--from"]);
    assert!(!other.exists());
    let init: &[Word<'_>] = &[&"-r", &other, &"init", &"--from", from, &"--from-password-file", &file];
    world.run(init).ends(12).says(&[from_name]);
    assert!(!other.exists());
}

#[test]
fn a_damaged_snapshot_is_named_and_ends_with_3() {
    let pair = Pair::new(true);
    let tree = pair.world.path("tree");
    put(tree.join("file"), noise(1, 1 << 20));
    pair.backup(&tree);
    let known = super::world::objects(&pair.from);
    put(tree.join("bad"), noise(2, 1 << 20));
    let bad = pair.backup(&tree);
    let is_new = |name: &&String| name.starts_with("packs/data/") && !known.contains(name);
    let pack =
        super::world::objects(&pair.from).iter().find(is_new).map(|name| pair.from.join(name)).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, bytes).unwrap();
    fs::remove_file(tree.join("bad")).unwrap();
    put(tree.join("good"), noise(3, 1 << 20));
    pair.backup(&tree);
    let ran = pair.copy(3);
    let summary = ran.summary();
    assert_eq!((count(&summary, "copied_snapshots"), count(&summary, "failed_snapshots")), (2, 1));
    assert_eq!(ran.of_type("error")[0]["item"], bad);
    pair.restore("latest", &tree, "out");
    pair.world.check();
    pair.run(&[&"copy", &"--from", &pair.from]).ends(3).says(&[&bad, "1 snapshot is", "check --read-data"]);
}

#[test]
fn a_copy_that_is_killed_goes_on_where_it_was() {
    for alike in [true, false] {
        let pair = Pair::new(alike);
        let tree = pair.world.path("tree");
        for number in 0..8 {
            put(tree.join(format!("file {number}")), noise(number, 10 << 20));
        }
        pair.backup(&tree);
        put(tree.join("file 8"), noise(8, 1 << 20));
        pair.backup(&tree);
        let words: &[Word<'_>] = &[&"copy", &"--from", &pair.from, &"--pack-size", &"4M", &"--json"];
        let mut command = pair.world.command();
        command.args(words.iter().map(|word| word.as_ref())).env("HOLDFAST_FROM_PASSWORD", FROM_PASSWORD);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        let packs = || pair.world.objects().iter().filter(|name| name.starts_with("packs/data/")).count();
        while packs() < 3 && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "it was over before it was killed");
        pair.world.check();
        assert_eq!(pair.world.run(&[&"snapshots", &"--json"]).ends(0).out, "");
        let summary = pair.run(words).ends(0).summary();
        assert!(count(&summary, "adopted_packs") >= 2, "{summary}");
        assert_eq!(count(&summary, "copied_snapshots"), 2);
        assert!(count(&summary, "data_added") < 75 << 20, "{summary}");
        pair.restore("latest", &tree, "out");
        pair.world.check();
    }
}
