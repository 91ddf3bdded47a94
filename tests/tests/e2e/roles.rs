//! Hosts with keys of different roles: who writes cannot read, who maintains can neither, who reads
//! writes nothing but evidence; and a policy whose activities have a key each.
//!
//! Every member has a cache of its own, as on hosts of their own. On purpose not here: buckets and clusters
//! (`bucket_roles`, `cluster_roles`), and how members come and go.

use super::compare::same;
use super::tree::{noise, ordinary, put};
use super::world::{Ran, Word, World, count, objects, within};
use holdfast_core::keys::Role;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A member of a repository in a folder: the file that opens it.
pub(super) struct Member {
    pub(super) key: PathBuf,
    cache: PathBuf,
}

impl Member {
    /// Admits one.
    pub(super) fn admitted(world: &World, role: Role) -> Self {
        let key = world.path(format!("{}.key", role.word()));
        let cache = world.path(format!("cache of the {}", role.word()));
        put(&key, noise(role as u64, 64));
        let kit = world.path(format!("kit of the {}", role.word()));
        world
            .run(&[&"key", &"add", &"--role", &role.word(), &"--new-key-file", &key, &"--kit", &kit])
            .ends(0);
        Self { key, cache }
    }

    /// The program on this member's host.
    pub(super) fn command(&self, world: &World) -> Command {
        let mut command = world.command();
        command.env_remove("HOLDFAST_PASSWORD");
        command.env("HOLDFAST_KEY_FILE", &self.key).env("HOLDFAST_CACHE_DIR", &self.cache);
        command
    }

    pub(super) fn run(&self, world: &World, words: &[Word<'_>]) -> Ran {
        world.run_as(&mut self.command(world), words)
    }

    /// Its cache is lost.
    pub(super) fn forget_all(&self) {
        fs::remove_dir_all(&self.cache).unwrap();
    }
}

/// Expects each of some verbs to be refused for the key's sake, and nothing to be written.
#[track_caller]
fn assert_refused(world: &World, member: &Member, whose: &str, verbs: &[&[Word<'_>]]) {
    let before = world.objects();
    for words in verbs {
        member.run(world, words).ends(1).says(&[&format!("this key is a {whose}'s: it can"), "Use a"]);
    }
    assert_eq!(world.objects(), before, "something was written");
}

#[test]
fn three_hosts_with_keys_of_three_roles() {
    let world = World::new();
    let [writer, maintainer, reader] =
        [Role::Writer, Role::Maintainer, Role::Reader].map(|role| Member::admitted(&world, role));
    let tree = world.path("tree");
    ordinary(&tree, 60, 1);
    put(tree.join("large"), noise(2, 9 << 20));
    let back_up = || writer.run(&world, &[&"backup", &"--json", &tree]).ends(0).summary();
    let first = back_up();
    assert!(count(&first, "data_added") > 9 << 20, "{first}");
    let second = back_up();
    assert_eq!((count(&second, "data_added"), second["parent"].clone()), (0, first["snapshot_id"].clone()));
    // Lost, the cache costs time only, and that is said.
    writer.forget_all();
    let ran = writer.run(&world, &[&"backup", &"--json", &tree]).ends(0).says(&["this key cannot read it"]);
    assert_eq!(count(&ran.summary(), "data_added"), 0);
    put(tree.join("new"), noise(3, 700_000));
    let third = back_up();
    assert!((700_000..1_400_000).contains(&count(&third, "data_added")), "{third}");

    let (out, place) = (world.path("out"), within("latest", &tree.join("large")));
    let reads: [&[Word<'_>]; 7] = [
        &[&"ls", &"latest"],
        &[&"restore", &"latest", &"--target", &out],
        &[&"find", &"large"],
        &[&"dump", &place],
        &[&"diff", &"latest", &"latest"],
        &[&"snapshots", &"--facts"],
        &[&"wal", &"fetch", &"000000010000000000000001", &out, &"--system", &"1"],
    ];
    let maintains: [&[Word<'_>]; 5] = [
        &[&"forget", &"--keep-last", &"1"],
        &[&"forget", &"latest", &"--dry-run"],
        &[&"prune"],
        &[&"hold", &"--reason", &"a case", &"--source", &"x"],
        &[&"repair", &"index"],
    ];
    let rewrites: [&[Word<'_>]; 3] =
        [&[&"tag", &"latest", &"--add", &"x"], &[&"repair", &"snapshots"], &[&"recover"]];
    let writes: [&[Word<'_>]; 2] = [&[&"backup", &tree], &[&"backup", &"--dry-run", &tree]];
    for refused in [&reads[..6], &maintains[..], &rewrites[..], &[&[&"check" as Word<'_>, &"--read-data"]]] {
        assert_refused(&world, &writer, "writer", refused);
    }
    for refused in [&reads[..6], &rewrites[..], &writes[..]] {
        assert_refused(&world, &maintainer, "maintainer", refused);
    }
    for refused in [&maintains[..], &rewrites[..], &writes[..]] {
        assert_refused(&world, &reader, "reader", refused);
    }
    assert!(!out.exists(), "a restore that was refused made its target");
    // A server that asks for its log must not take a refusal for the end of it.
    writer.run(&world, reads[6]).ends(126);

    for member in [&writer, &maintainer, &reader] {
        let listed = member.run(&world, &[&"snapshots", &"--json"]).ends(0).lines();
        assert_eq!(listed.iter().filter(|line| line["message_type"] == "snapshot").count(), 4);
        member.run(&world, &[&"stats", &"--json"]).ends(0);
        member.run(&world, &[&"check"]).ends(0);
    }
    let checked = maintainer.run(&world, &[&"check", &"--json", &"--read-data"]).ends(0).summary();
    assert_eq!((checked["opened"].clone(), count(&checked, "num_errors")), (false.into(), 0));
    maintainer.run(&world, &[&"check", &"--read-data"]).ends(0).tells("this key opens neither");
    maintainer.run(&world, &[&"forget", &"--keep-last", &"1"]).ends(0);
    let pruned = maintainer.run(&world, &[&"prune", &"--json", &"--min-age", &"0", &"--max-unused", &"0"]);
    assert!(count(&pruned.ends(0).summary(), "packs") > 0);
    maintainer.run(&world, &[&"repair", &"index"]).ends(0);
    assert_eq!(count(&back_up(), "data_added"), 0);

    reader.run(&world, &[&"restore", &within("latest", &tree), &"--target", &out, &"--verify"]).ends(0);
    same(&tree, &out);
    reader.run(&world, &[&"check", &"--read-data"]).ends(0);
    world.check();
}

#[test]
fn what_a_killed_writer_left_is_taken_over_by_itself_alone() {
    let world = World::new();
    let writer = Member::admitted(&world, Role::Writer);
    let tree = world.path("tree");
    for number in 0..12 {
        put(tree.join(format!("{number:02}")), noise(number, 12 << 20));
    }
    let words: [Word<'_>; 3] = [&"backup", &"--json", &tree];
    let packs = || objects(&world.repo).iter().filter(|name| name.starts_with("packs/data/")).count();
    let mut running = world.leash_as(writer.command(&world), &words);
    assert!(running.wait_for(|| packs() >= 2), "it ended before it was killed: {:?}", running.output());
    running.send(rustix::process::Signal::KILL);
    running.wait_for(|| false);
    // An owner relies on nothing of it.
    let owner = world.backup(&tree);
    assert_eq!(count(&owner, "adopted_packs"), 0, "{owner}");
    assert!(count(&owner, "data_added") >= 144 << 20, "{owner}");
    // What an owner has the writer relies on too, so that it has nothing to add to what it had.
    let again = writer.run(&world, &words).ends(0).summary();
    assert!(count(&again, "adopted_packs") >= 2 && count(&again, "data_added") < 1 << 20, "{again}");
    same(&tree, &world.restore(&tree, "out"));
    world.check();
}

/// A policy with three keys; none of them may what the others are for.
#[test]
fn a_policy_gives_each_activity_the_key_that_it_needs() {
    let world = World::new();
    let [writer, maintainer, reader] =
        [Role::Writer, Role::Maintainer, Role::Reader].map(|role| Member::admitted(&world, role));
    let (tree, policy) = (world.path("tree"), world.path("shop.yaml"));
    ordinary(&tree, 40, 1);
    fs::create_dir(world.path("scratch")).unwrap();
    let file = |key: &Path| format!("{{ file: '{}' }}", key.display());
    let text = format!(
        "name: shop\nrepository:\n  url: repo\n  keys: {{ backup: {}, maintain: {}, read: {} }}\nsources:\n  tree: {{ files: {{ \
         paths: [ tree ] }} }}\nretention: {{ keep_last: 2 }}\ncheck: {{}}\nobjectives: {{ rpo: 1d, rto: 1h }}\ndrill: {{ scratch: \
         {{ path: '{}' }} }}\n",
        file(&writer.key),
        file(&maintainer.key),
        file(&reader.key),
        world.path("scratch").display()
    );
    put(&policy, text);
    let run = |verb: &str| {
        let mut command = world.command();
        command.env_remove("HOLDFAST_PASSWORD").args([verb, "--json"]).arg(&policy);
        world.run_as(&mut command, &[])
    };
    for round in 0..3 {
        put(tree.join("more"), noise(round, 300_000));
        let ran = run("run").ends(0);
        let steps = ran.summary()["steps"].as_array().unwrap().clone();
        assert!(steps.iter().all(|step| step["state"] == "done"), "{steps:?}");
    }
    let listed = world.run(&[&"snapshots", &"--json"]).ends(0).lines();
    assert_eq!(listed.iter().filter(|line| line["message_type"] == "snapshot").count(), 2);
    let drilled = run("drill").ends(0);
    let drill = drilled.lines().into_iter().find(|line| line["message_type"] == "drill").unwrap();
    assert_eq!(drill["record"]["verdict"], "pass", "{drill}");
    // The reader's evidence, and nobody else's.
    let chains = world.run(&[&"evidence", &"verify", &"--json"]).ends(0).lines();
    let chains: Vec<_> = chains.iter().filter(|line| line["message_type"] == "evidence_chain").collect();
    assert_eq!(chains.len(), 1, "{chains:?}");
    world.check();
}
