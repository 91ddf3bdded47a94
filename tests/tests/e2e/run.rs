//! Policies that are run: what is done, what fails, what is left alone, and what becomes of a run that
//! is killed.
//!
//! On purpose not here: drills, which have a file of their own.

use super::tree::put;
use super::world::{Ran, World, run_tool};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A world with a policy. What opens the repository is in a variable of another name than any verb reads.
pub(super) struct Shop {
    pub(super) world: World,
    pub(super) policy: PathBuf,
}

impl Shop {
    /// A policy over a tree in a repository that is there; `more` is what it says beside.
    pub(super) fn new(more: &str) -> Self {
        let shop = Self::bare(&format!(
            "repository: {{ url: repo, password: {{ env: SHOP_PASSWORD }} }}\nsources:\n  tree: {{ files: {{ paths: [ tree ] }} }}\n{more}"
        ));
        shop.world.run(&[&"init", &"--kdf-memory", &"1", &"--quiet"]).ends(0);
        shop
    }

    /// A policy and a tree, and no repository.
    pub(super) fn bare(text: &str) -> Self {
        let world = World::bare();
        let policy = world.path("shop.yaml");
        put(&policy, format!("name: shop\n{text}"));
        put(world.path("tree/file"), b"content");
        put(world.path("tree/folder/other"), b"more content");
        Self { world, policy }
    }

    pub(super) fn write(&self, text: &str) {
        put(&self.policy, format!("name: shop\n{text}"));
    }

    pub(super) fn command(&self) -> Command {
        let mut command = self.world.command();
        command.env("SHOP_PASSWORD", "correct horse").env("HOLDFAST_PASSWORD", "of something else");
        command
    }

    /// Runs a verb on the policy, with `--json`.
    pub(super) fn json(&self, verb: &str, more: &[&str]) -> Ran {
        let mut command = self.command();
        command.args([verb, "--json"]).arg(&self.policy).args(more);
        self.world.run_as(&mut command, &[])
    }

    /// Runs it for a person.
    pub(super) fn plain(&self, verb: &str, more: &[&str]) -> Ran {
        let mut command = self.command();
        command.arg(verb).arg(&self.policy).args(more);
        self.world.run_as(&mut command, &[])
    }

    pub(super) fn snapshots(&self, repository: &str) -> Vec<Value> {
        let mut command = self.world.command();
        command.args(["-r", repository, "snapshots", "--json"]);
        self.world.run_as(&mut command, &[]).ends(0).lines()
    }
}

/// The states of the steps of a run, by activity and source or place.
fn states(ran: &Ran) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let step = |step: &Value| {
        let what = if step["source"].is_string() { text(&step["source"]) } else { text(&step["place"]) };
        (format!("{} {what}", text(&step["activity"])), text(&step["state"]))
    };
    ran.summary()["steps"].as_array().unwrap().iter().map(step).collect()
}

fn state(ran: &Ran, step: &str) -> String {
    let states = states(ran);
    let found = states.iter().find(|(known, _)| known == step);
    found.unwrap_or_else(|| panic!("{step} is not in {states:?}")).1.clone()
}

/// From nothing: the repository, a copy and its password are made; the second run finds nothing new.
#[test]
fn from_nothing_to_a_proof() {
    let shop = Shop::bare(
        "
repository: { url: ~/backups/shop, password: { file: ~/secret/shop.password }, create: true }
copies: [ { name: offsite, url: off site, password: { env: OFFSITE }, create: true, retention: { keep_last: 1 } } ]
sources:
  tree: { files: { paths: [ tree ], exclude: [ '*.tmp' ] } }
  list: { command: { run: [ sh, -c, 'echo list; ls tree' ], file_name: list.txt, verify: [ test, -s, '{target}' ] } }
retention: { keep_last: 2 }
check: {}
objectives: { rpo: 1d, rto: 1h }
drill: { from: [ repository ] }
",
    );
    put(shop.world.path("tree/left.tmp"), b"left out");
    let run = || {
        let mut command = shop.command();
        command.env("OFFSITE", "correct horse").args(["run", "--json"]).arg(&shop.policy);
        shop.world.run_as(&mut command, &[])
    };
    let first = run().ends(0);
    assert!(states(&first).iter().all(|(_, state)| state == "done"), "{:?}", states(&first));
    for step in
        ["init repository", "init offsite", "backup tree", "backup list", "copy offsite", "check repository"]
    {
        assert_eq!(state(&first, step), "done");
    }
    let home = shop.world.path("home");
    let password = home.join("secret/shop.password");
    assert_eq!(fs::metadata(&password).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = fs::read_to_string(&password).unwrap();
    assert!(!first.out.contains(secret.trim()) && !first.err.contains(secret.trim()));
    assert!(first.out.contains("KEEP IT"), "{}", first.out);
    assert!(home.join("backups/shop.recovery-kit.txt").exists());
    let drill = first.lines().into_iter().find(|line| line["message_type"] == "drill").expect("a drill");
    assert_eq!((&drill["verdict"], &drill["code"]), (&"pass".into(), &0.into()), "{drill}");
    assert!(drill["stored"].is_string());
    let second = run().ends(0);
    let message = |ran: &Ran, activity: &str| {
        let summary = ran.summary();
        let steps = summary["steps"].as_array().unwrap().iter();
        let found = steps.filter(|step| step["activity"] == activity).map(|step| step["message"].to_string());
        found.collect::<Vec<_>>().join("\n")
    };
    // Files that were written just before they were read are looked at again; nothing of them is stored.
    let told = message(&second, "backup");
    assert!(told.contains("0 new") && told.contains("0 B added"), "{told}");
    let third = run().ends(0);
    assert!(message(&third, "copy").contains("2 copied"), "{}", message(&third, "copy"));
    let repository = home.join("backups/shop");
    let mut command = shop.world.command();
    command.env_remove("HOLDFAST_PASSWORD").env("HOLDFAST_PASSWORD_FILE", &password);
    command.arg("-r").arg(&repository).args(["snapshots", "--json"]);
    let listed = shop.world.run_as(&mut command, &[]).ends(0).lines();
    assert_eq!(listed.len(), 4, "two of each source");
    assert!(listed.iter().all(|line| line["tags"][0] == "policy=shop"));
    assert_eq!(shop.snapshots("off site").len(), 2, "one of each source");
}

/// A repository that was there and is not any more is not made anew: its disk may be missing.
#[test]
fn a_disk_that_is_missing_is_not_taken_for_a_beginning() {
    let shop = Shop::bare(
        "
repository: { url: repo, password: { env: SHOP_PASSWORD }, create: true }
sources: { tree: { files: { paths: [ tree ] } } }
",
    );
    shop.json("run", &[]).ends(0);
    fs::rename(&shop.world.repo, shop.world.path("elsewhere")).unwrap();
    shop.plain("run", &[]).ends(1).says(&["mount its disk"]);
    assert!(!shop.world.repo.exists());
}

/// Hooks hear what became of the backup; one that fails before it means that there is none.
#[test]
fn hooks_hear_what_became_of_it() {
    let hook = |name: &str, code: u8| {
        format!(
            "{{ run: [ sh, -c, 'echo \"{name} $HOLDFAST_POLICY/$HOLDFAST_SOURCE $HOLDFAST_STATUS $HOLDFAST_PASSWORD\" >> heard; exit {code}' ], timeout: 1m }}"
        )
    };
    let text = |before: u8| {
        format!(
            "
repository: {{ url: repo, password: {{ env: SHOP_PASSWORD }} }}
sources:
  tree:
    files: {{ paths: [ tree ] }}
    hooks: {{ before: [ {} ], after: [ {} ], failed: [ {} ], finally: [ {} ] }}
",
            hook("before", before),
            hook("after", 0),
            hook("failed", 0),
            hook("finally", 0)
        )
    };
    let shop = Shop::new("");
    shop.write(&text(0));
    shop.json("run", &[]).ends(0);
    let heard = || {
        let heard = fs::read_to_string(shop.world.path("heard")).unwrap();
        fs::remove_file(shop.world.path("heard")).unwrap();
        heard.lines().map(str::trim_end).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(heard(), ["before shop/tree begin", "after shop/tree ok", "finally shop/tree ok"]);
    shop.write(&text(7));
    let ran = shop.json("run", &[]).ends(1);
    assert_eq!((state(&ran, "hook tree"), state(&ran, "backup tree")), ("failed".into(), "skipped".into()));
    assert_eq!(heard(), ["before shop/tree begin", "failed shop/tree failed", "finally shop/tree failed"]);
    assert_eq!(shop.snapshots("repo").len(), 1);
}

/// One source fails, the other is backed up; nothing is forgotten of the one that failed.
#[test]
fn a_source_that_fails_beside_a_good_one() {
    let shop = Shop::new("  other: { files: { paths: [ other ] } }\nretention: { keep_last: 1 }\n");
    put(shop.world.path("other/file"), b"other");
    shop.json("run", &[]).ends(0);
    fs::remove_dir_all(shop.world.path("tree")).unwrap();
    let ran = shop.json("run", &[]).ends(1);
    assert_eq!((state(&ran, "backup tree"), state(&ran, "backup other")), ("failed".into(), "done".into()));
    assert_eq!((state(&ran, "forget tree"), state(&ran, "forget other")), ("skipped".into(), "done".into()));
    let sources: Vec<_> =
        shop.snapshots("repo").iter().map(|line| line["source"].as_str().unwrap().to_owned()).collect();
    assert_eq!(sources, ["shop/tree", "shop/other"]);
    // By itself the good one is all well.
    shop.json("run", &["--source", "other"]).ends(0);
    shop.plain("run", &["--source", "nothing"]).ends(2).says(&["nothing", "tree, other"]);
    shop.plain("run", &[]).ends(1).says(&["backup of tree"]);
}

/// What may not be read, as the policy says, is told and is no trouble; anything else is.
#[test]
fn what_cannot_be_read() {
    let shop = Shop::new("");
    let closed = shop.world.path("tree/closed");
    put(&closed, b"closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let run = || {
        let mut nobody = shop.world.as_nobody();
        nobody.env("SHOP_PASSWORD", "correct horse").args(["run", "--json"]).arg(&shop.policy);
        shop.world.give_to_nobody(&[&shop.world.repo, &shop.world.cache]);
        nobody.env("HOLDFAST_CATALOG", shop.world.cache.join("catalog"));
        shop.world.run_as(&mut nobody, &[])
    };
    fs::create_dir_all(&shop.world.cache).unwrap();
    let ran = run().ends(3);
    assert_eq!(state(&ran, "backup tree"), "incomplete");
    shop.write(
        "
repository: { url: repo, password: { env: SHOP_PASSWORD } }
sources: { tree: { files: { paths: [ tree ] }, accept: { unreadable: [ tree/closed ] } } }
",
    );
    let ran = run().ends(0);
    let summary = ran.summary();
    let backup = summary["steps"].as_array().unwrap().iter().find(|step| step["activity"] == "backup");
    let accepted = &backup.unwrap()["accepted"];
    assert!(accepted[0].as_str().is_some_and(|path| path.ends_with("tree/closed")), "{accepted}");
}

/// What opens the repository is wrong, or is not there: nothing else is tried.
#[test]
fn what_does_not_open_it() {
    let shop = Shop::new("hooks: { before: [ { run: [ touch, hook-ran ] } ] }\n");
    let run = |name: &str, value: Option<&str>| {
        let mut command = shop.command();
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
        command.arg("run").arg(&shop.policy);
        shop.world.run_as(&mut command, &[])
    };
    run("SHOP_PASSWORD", Some("wrong")).ends(12);
    run("SHOP_PASSWORD", None).ends(2).says(&["SHOP_PASSWORD"]);
    assert!(!shop.world.path("hook-ran").exists());
    run("UNUSED", Some("x")).ends(0);
    assert!(shop.world.path("hook-ran").exists());
    fs::rename(&shop.world.repo, shop.world.path("gone")).unwrap();
    run("UNUSED", None).ends(10);
    // A repository that is named beside the policy would be passed over.
    shop.plain("run", &["-r", "elsewhere"]).ends(2).says(&["--repo"]);
}

#[test]
fn a_rehearsal_shows_what_would_be_run() {
    let shop = Shop::new("retention: { keep_daily: 7 }\n");
    let before = shop.world.state();
    let ran = shop.plain("run", &["--dry-run"]).ends(0);
    for words in
        ["backup --label=shop/tree", "forget --source=shop/tree --group-by=source --keep-daily=7", "prune"]
    {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    assert_eq!(before, shop.world.state());
}

/// Processes that work on a repository.
fn at_work(repository: &Path) -> Vec<String> {
    let wanted = format!("HOLDFAST_REPOSITORY={}", repository.display());
    let processes = fs::read_dir("/proc").unwrap().flatten().filter(|process| {
        let variables = fs::read(process.path().join("environ")).unwrap_or_default();
        variables.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    });
    processes.map(|process| process.file_name().to_string_lossy().into_owned()).collect()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < patience, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A policy whose source is a command that begins and does not end.
fn endless() -> Shop {
    let shop = Shop::new("");
    shop.write(
        "
repository: { url: other-repo, password: { env: SHOP_PASSWORD }, create: true }
sources:
  tree: { files: { paths: [ tree ] } }
  slow: { command: { run: [ sh, -c, 'echo begun; touch begun; sleep 600' ], file_name: slow.txt } }
",
    );
    shop
}

/// A run that is killed leaves nobody behind and the repository whole; the next one goes on.
#[test]
fn a_run_that_is_killed_leaves_nobody_behind() {
    let shop = endless();
    let repository = shop.world.path("other-repo");
    let mut command = shop.command();
    command.env_remove("HOLDFAST_REPOSITORY").arg("run").arg(&shop.policy);
    let mut run = shop.world.leash_as(command, &[]);
    assert!(run.wait_for(|| shop.world.path("begun").exists()), "{:?}", run.output());
    assert!(!at_work(&repository).is_empty());
    run.send(Signal::KILL);
    until("somebody is left", || at_work(&repository).is_empty());
    let text = fs::read_to_string(&shop.policy).unwrap();
    put(&shop.policy, text.replace("; sleep 600", ""));
    shop.json("run", &[]).ends(0);
    let mut check = shop.world.command();
    check.args(["-r", "other-repo", "check", "--read-data"]);
    shop.world.run_as(&mut check, &[]).ends(0);
    let sources: Vec<_> =
        shop.snapshots("other-repo").iter().map(|line| line["source"].as_str().unwrap().to_owned()).collect();
    assert_eq!(sources, ["shop/tree", "shop/tree", "shop/slow"]);
}

/// A run that is asked to stop asks what it started, waits for it, and ends.
#[test]
fn a_run_that_is_asked_to_stop() {
    let shop = endless();
    let mut command = shop.command();
    command.env_remove("HOLDFAST_REPOSITORY").arg("run").arg(&shop.policy);
    let mut run = shop.world.leash_as(command, &[]);
    assert!(run.wait_for(|| shop.world.path("begun").exists()), "{:?}", run.output());
    run.send(Signal::TERM);
    run.ends_alone(&[]).ends(130).says(&["interrupted"]);
    // What was waited for may still be going away.
    until("somebody is at work", || at_work(&shop.world.path("other-repo")).is_empty());
    assert_eq!(shop.snapshots("other-repo").len(), 1);
}

/// README's first command, for a user who has nothing but a home.
#[test]
fn the_first_command_works() {
    let root = holdfast_tests::root();
    let world = World::bare();
    let mut command = world.command();
    command.env_remove("HOLDFAST_CACHE_DIR").arg("run").arg(root.join("policies/quickstart.yaml"));
    let ran = world.run_as(&mut command, &[]).ends(0);
    assert!(ran.out.contains("drill") && ran.out.contains("pass"), "{}", ran.out);
    let home = world.path("home");
    assert!(
        run_tool(Command::new("find").arg(&home).args(["-name", "holdfast.json"])).contains("quickstart")
    );
}
