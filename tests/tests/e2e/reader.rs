//! A reader in Python that knows `FORMAT.md` and nothing else: it opens the golden repository and those that this
//! program makes, finds in them what the program finds, restores the same bytes, and refuses what was changed.

use super::compare::same;
use super::evidence::{append, drill};
use super::forget::{back_up_at, listed};
use super::log::{cluster, segment};
use super::members::{admit, backup_by, by, member_of, run_by};
use super::tree::{make_node, noise, ordinary, prose, put, put_sparse, set_time, set_xattr};
use super::world::{Word, World, run_tool};
use holdfast_tests::python::{printed, reader};
use holdfast_tests::root;
use rustix::fs::FileType;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const PASSWORD: &str = "correct horse";

fn run(verb: &str, words: &[&dyn AsRef<OsStr>], password: &str) -> Command {
    let mut command = reader("reader.py", password);
    command.arg(verb).args(words.iter().map(|word| word.as_ref()));
    command
}

#[test]
fn the_golden_repository_is_as_the_page_says() {
    let golden = root().join("tests/golden/draft-1");
    assert!(printed(&mut run("check", &[&golden], "golden")).ends_with("2 snapshots: as FORMAT.md says\n"));
    let all = printed(&mut run("list", &[&golden], "golden"));
    assert!(all == holdfast_tests::read("tests/golden/draft-1.txt"), "{all}");
    let said = run("check", &[&golden], "silver").output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("no key slot opens"));
}

#[test]
fn the_vectors_follow_from_the_page() {
    let said = printed(&mut run("vectors", &[&root().join("crates/core/vectors")], ""));
    assert!(said.ends_with(" vectors: as FORMAT.md says\n"), "{said}");
}

#[test]
fn whatever_was_changed_is_refused() {
    let said = printed(reader("flips.py", "golden").arg(root().join("tests/golden/draft-1")));
    assert!(said.ends_with(" kinds of objects: all refused\n"), "{said}");
}

/// Everything that an entry can be.
fn furnish(source: &Path) {
    ordinary(source, 40, 1);
    put(source.join("cut into chunks"), noise(5, 6 << 20));
    put(source.join("inline"), b"short");
    put(source.join("empty"), b"");
    fs::create_dir_all(source.join("no/thing")).unwrap();
    put(source.join(OsStr::from_bytes(b"not \xff utf-8")), prose(6, 3000));
    fs::hard_link(source.join("large"), source.join("no/second link")).unwrap();
    symlink("../nowhere", source.join("no/link")).unwrap();
    make_node(&source.join("fifo"), FileType::Fifo, 0, 0);
    set_xattr(&source.join("inline"), "user.short", b"\x00\xff");
    set_xattr(&source.join("empty"), "user.long", &noise(7, 2000));
    let island = noise(8, 70_000);
    put_sparse(
        &source.join("sparse"),
        1 << 30,
        &[(0, b"first"), (300 << 20, &island), ((1 << 30) - 5, b"last.")],
    );
    put_sparse(&source.join("only hole"), 50 << 20, &[]);
    set_time(&source.join("inline"), -5, 999_999_999);
}

/// Snapshot, size, digest and path of all files, as the program has them.
fn files_of(world: &World, snapshots: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for snapshot in snapshots {
        for node in world.run(&[&"ls", &"--json", &"--recursive", &snapshot]).ends(0).lines() {
            let Some(digest) = node["digest"].as_str() else { continue };
            let path = node["path"].as_str().filter(|_| node.get("path_base64").is_none());
            let path = path.map_or_else(|| "?".to_owned(), |path| path.trim_start_matches('/').to_owned());
            lines.push(format!("{snapshot} File {} {digest} {path}", node["size"]));
        }
    }
    lines.sort();
    lines
}

/// The files of a listing, likewise. Names that are not UTF-8 are not compared letter by letter.
fn files_listed(listed: &str, snapshots: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for line in listed.lines() {
        let fields: Vec<_> = line.splitn(5, ' ').collect();
        if fields[1] == "File" && snapshots.iter().any(|id| *id == fields[0]) {
            let path = if fields[4].contains("\\x") { "?" } else { fields[4] };
            lines.push([&fields[..4], &[path]].concat().join(" "));
        }
    }
    lines.sort();
    lines
}

#[test]
fn a_repository_of_this_program_is_as_the_page_says() {
    let world = World::new();
    let (source, other) = (world.path("source"), world.path("other"));
    furnish(&source);
    ordinary(&other, 20, 9);
    let first = back_up_at(&world, &source, "2026-01-01T12:00:00Z", &[]);
    back_up_at(&world, &other, "2026-01-01T13:00:00Z", &[]);
    put(source.join("folder 0/file 3"), prose(11, 9000));
    fs::remove_file(source.join("cut into chunks")).unwrap();
    let second = back_up_at(&world, &source, "2026-01-02T12:00:00Z", &[]);
    append(&world, &[("drill", &drill("aa000000000000000000000000000001", "shop", "pass"))]);
    // Roots, lists and segments; packs that were written anew; a snapshot that took another's place.
    world.run(&[&"tag", &"--add", &"kept", &second]).ends(0);
    world.run(&[&"forget", &first]).ends(0);
    world.run(&[&"prune", &"--max-unused", &"0"]).ends(0);
    put(source.join("later"), noise(12, 200_000));
    let latest = world.backup(&source)["snapshot_id"].as_str().unwrap().to_owned();
    let objects = world.objects();
    for kind in ["roots/", "index/segment/", "index/delta/", "snapshots/", "lists/", "evidence/"] {
        assert!(objects.iter().any(|name| name.starts_with(kind)), "no {kind}: {objects:?}");
    }

    let said = printed(&mut run("check", &[&world.repo], PASSWORD));
    assert!(said.ends_with(": as FORMAT.md says\n") && !said.contains("note:"), "{said}");
    let shown = assert_same_snapshots(&world);
    let all = printed(&mut run("list", &[&world.repo], PASSWORD));
    assert_eq!(files_listed(&all, &shown), files_of(&world, &shown));

    let target = world.path("restored");
    let _ = printed(&mut run("restore", &[&world.repo, &latest, &target], PASSWORD));
    let below = source.strip_prefix("/").unwrap();
    same(&source, &target.join(below));
    let evidence = printed(&mut run("evidence", &[&world.repo], PASSWORD));
    assert!(evidence.contains("drill"), "{evidence}");
    refuses_what_was_changed(&world);
}

/// That both show the same snapshots; their ids, ascending.
fn assert_same_snapshots(world: &World) -> Vec<String> {
    let mut shown = listed(world);
    shown.sort();
    let found = printed(&mut run("snapshots", &[&world.repo], PASSWORD));
    let mut ids: Vec<_> = found.lines().map(|line| line[..32].to_owned()).collect();
    ids.sort();
    assert_eq!(ids, shown);
    shown
}

/// One bit of a pack, then one object that is gone.
fn refuses_what_was_changed(world: &World) {
    let pack = world.objects().into_iter().find(|name| name.starts_with("packs/data/")).unwrap();
    let place = world.repo.join(&pack);
    let bytes = fs::read(&place).unwrap();
    let mut changed = bytes.clone();
    changed[5000.min(bytes.len() / 2)] ^= 4;
    for (state, words) in [(Some(changed), [&*pack, "checksum"]), (None, [&*pack, "missing"])] {
        fs::remove_file(&place).unwrap();
        state.iter().for_each(|bytes| fs::write(&place, bytes).unwrap());
        let said = run("check", &[&world.repo], PASSWORD).output().unwrap();
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.status.code() == Some(1) && text.starts_with("refused: "), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
        fs::write(&place, &bytes).unwrap();
    }
    let _ = printed(&mut run("check", &[&world.repo], PASSWORD));
}

/// The reader with the key file of a member.
fn run_with(world: &World, name: &str, verb: &str, words: &[&dyn AsRef<OsStr>]) -> Command {
    let mut command = run(verb, words, "");
    command.env("HOLDFAST_KEY_FILE", world.path(format!("{name}.key")));
    command
}

/// Stores a segment of a log with the key file of a member; where it lies.
fn push(world: &World, name: &str, place: u64) -> PathBuf {
    let data = cluster(world, "data", 7);
    let file = segment(&data, 1, place, 7);
    let words: [Word<'_>; 3] = [&"wal", &"push", &Path::new("pg_wal").join(file.file_name().unwrap())];
    world.run_as(by(world, name).current_dir(&data), &words).ends(0);
    file
}

fn remove(world: &World, member: &str, words: &[Word<'_>]) {
    let all = [&[&"key" as Word<'_>, &"remove", &"--member", &member], words].concat();
    world.run(&all).ends(0);
}

fn copy(from: &Path, to: &Path) {
    run_tool(Command::new("cp").arg("-a").arg(from).arg(to));
}

/// A repository whose members came and went: a writer and a maintainer that is removed after it pruned. Keys were
/// given anew, there are logs, a domain, and a record of a restore. Beside it lies a copy from before the removals.
fn of_members() -> (World, PathBuf) {
    let world = World::new();
    let (own, hosts) = (world.path("own"), world.path("hosts"));
    ordinary(&own, 12, 1);
    ordinary(&hosts, 12, 2);
    let [writer, maintainer] = ["writer", "maintainer"].map(|role| member_of(&admit(&world, role, role)));
    for (role, name) in [("reader", "reader"), ("writer", "stays"), ("reader:wal", "logs")] {
        admit(&world, role, name);
    }
    let first = back_up_at(&world, &own, "2026-01-01T12:00:00Z", &[]);
    backup_by(&world, "writer", &hosts);
    put(own.join("folder 0/file 3"), prose(11, 9000));
    let second = back_up_at(&world, &own, "2026-01-02T12:00:00Z", &[]);
    world.run(&[&"forget", &first]).ends(0);
    run_by(&world, "maintainer", &[&"prune", &"--max-unused", &"0"]).ends(0);
    push(&world, "writer", 3);
    let target = world.path("audited");
    run_by(&world, "reader", &[&"restore", &second, &"--target", &target, &"--reason", &"an audit"]).ends(0);
    world.run(&[&"init", &"--domain", &"tenant"]).ends(0);
    world.run(&[&"--domain", &"tenant", &"backup", &hosts]).ends(0);
    world.run(&[&"key", &"rotate"]).ends(0);
    put(hosts.join("later"), prose(12, 20_000));
    backup_by(&world, "writer", &hosts);
    let thief = world.path("thief");
    copy(&world.repo, &thief);
    remove(&world, &writer, &[&"--rotate"]);
    run_by(&world, "maintainer", &[&"prune", &"--max-unused", &"0"]).ends(0);
    remove(&world, &maintainer, &[]);
    backup_by(&world, "stays", &hosts);
    push(&world, "stays", 4);
    world.backup(&own);
    (world, thief)
}

/// One repository for all of it: it takes long to make.
#[test]
fn a_repository_whose_members_came_and_went_is_as_the_page_says() {
    let (world, thief) = of_members();
    each_role_checks_what_its_key_sees(&world);
    a_stolen_writer_changes_nothing_and_is_told_of(&world);
    what_removed_members_left_counts(&world);
    nobody_opens_a_domain_that_was_shredded(&world);
    nothing_late_counts(&world, &thief);
}

fn what_removed_members_left_counts(world: &World) {
    let own = world.path("own");
    let latest = world.backup(&own)["snapshot_id"].as_str().unwrap().to_owned();
    let said = printed(&mut run("check", &[&world.repo], PASSWORD));
    assert!(said.ends_with(": as FORMAT.md says\n") && !said.contains("note:"), "{said}");
    let shown = assert_same_snapshots(world);
    let all = printed(&mut run("list", &[&world.repo], PASSWORD));
    assert_eq!(files_listed(&all, &shown), files_of(world, &shown));
    let domain = world.repo.join("domains/tenant");
    let said = printed(&mut run("check", &[&domain], PASSWORD));
    assert!(said.ends_with(" 1 snapshots: as FORMAT.md says\n") && !said.contains("note:"), "{said}");
    let target = world.path("restored");
    let _ = printed(&mut run_with(world, "reader", "restore", &[&world.repo, &latest, &target]));
    same(&own, &target.join(own.strip_prefix("/").unwrap()));
    let evidence = printed(&mut run("evidence", &[&world.repo], PASSWORD));
    assert!(evidence.contains(" access ") && evidence.contains("an audit"), "{evidence}");
}

/// What the removed writer and maintainer sign later, where they can put it.
fn nothing_late_counts(world: &World, thief: &Path) {
    let hosts = world.path("hosts");
    put(hosts.join("too late"), prose(13, 30_000));
    let late = |name: &str, words: &[Word<'_>]| {
        let mut command = by(world, name);
        command.env("HOLDFAST_REPOSITORY", thief).env("HOLDFAST_CACHE_DIR", world.path("cache of a thief"));
        world.run_as(command.current_dir(world.path("data")), words).ends(0);
    };
    let segment = segment(&world.path("data"), 1, 5, 7);
    late("writer", &[&"backup", &hosts, &"--host", &"writer"]);
    late("writer", &[&"wal", &"push", &Path::new("pg_wal").join(segment.file_name().unwrap())]);
    for name in super::world::objects(thief) {
        let is_late =
            ["sessions/", "index/delta/", "packs/", "wal/"].iter().any(|place| name.starts_with(place));
        if is_late && !world.repo.join(&name).exists() {
            put(world.repo.join(&name), fs::read(thief.join(&name)).unwrap());
        }
    }
    let shown = assert_same_snapshots(world);
    let said = printed(&mut run("check", &[&world.repo], PASSWORD));
    assert!(said.contains(&format!(" {} snapshots: as FORMAT.md says", shown.len())), "{said}");
    for told in [
        "/end: its member was removed, and no root has taken it in",
        "5: its member was removed, and no root knows it",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
}

fn each_role_checks_what_its_key_sees(world: &World) {
    for name in ["stays", "logs"] {
        let said = printed(&mut run_with(world, name, "check", &[&world.repo]));
        assert!(said.contains("opens no contents") && said.ends_with(": as FORMAT.md says\n"), "{said}");
    }
    let said = printed(&mut run_with(world, "reader", "check", &[&world.repo]));
    assert!(!said.contains("opens no contents") && said.ends_with(": as FORMAT.md says\n"), "{said}");
    let logs = world.objects().into_iter().filter(|name| name.starts_with("wal/")).collect::<Vec<_>>();
    assert_eq!(logs.len(), 2, "{logs:?}");
    for (log, place) in logs.iter().zip([3, 4]) {
        let said = run_with(world, "logs", "log", &[&world.repo, log]).output().unwrap();
        assert_eq!(said.stdout, fs::read(segment(&world.path("data"), 1, place, 7)).unwrap(), "{log}");
    }
    let said = run_with(world, "logs", "snapshots", &[&world.repo]).output().unwrap();
    assert!(String::from_utf8_lossy(&said.stderr).contains("sees nothing else"), "{said:?}");
    let said = run_with(world, "writer", "check", &[&world.repo]).output().unwrap();
    assert!(String::from_utf8_lossy(&said.stderr).contains("no key slot opens"), "{said:?}");
}

fn a_stolen_writer_changes_nothing_and_is_told_of(world: &World) {
    let key = world.path("stays.key");
    let said = printed(reader("lies.py", PASSWORD).arg(&world.repo).arg(key));
    assert_eq!(said, "7 lies of a writer: all told\n");
}

fn nobody_opens_a_domain_that_was_shredded(world: &World) {
    let (domain, kept) = (world.repo.join("domains/tenant"), world.path("kept"));
    copy(&domain, &kept);
    let words: [Word<'_>; 6] = [&"shred", &"tenant", &"--confirm", &"tenant", &"--reason", &"over"];
    world.run(&words).ends(0);
    let _ = fs::remove_dir_all(&domain);
    copy(&kept, &domain);
    put(domain.join("shredded"), b"put back");
    let said = run("check", &[&domain], PASSWORD).output().unwrap();
    assert!(String::from_utf8_lossy(&said.stderr).contains("this domain was shredded"), "{said:?}");
    let said = printed(&mut run("check", &[&world.repo], PASSWORD));
    assert!(!said.contains("note:"), "{said}");
}
