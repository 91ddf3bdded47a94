//! What a shell and a reader of manuals get, and options of habit.

use super::tree::put;
use super::world::{World, objects, within};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

/// Feeds a program that may not be there; `None` if it is not.
fn feed(program: &str, words: &[&str], input: &str) -> Option<(bool, String)> {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Some((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[test]
fn every_shell_completes_every_verb() {
    let world = World::bare();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = world.run(&[&"completions", &shell]).ends(0).out;
        for word in ["backup", "restore", "tag", "passwd", "group-by", "new-key-file"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        assert!(!script.contains("mount"), "{shell}: what there is not yet is not offered");
        if let Some((right, said)) = feed(shell, &["-n"], &script) {
            assert!(right && said.is_empty(), "{shell}: {said}");
        }
    }
    world.run(&[&"completions", &"tcsh"]).ends(2).says(&["bash"]);
}

#[test]
fn every_verb_has_a_page() {
    let world = World::bare();
    let main = world.run(&[&"man"]).ends(0).out;
    assert!(main.contains(".TH holdfast 1") && main.contains("HOLDFAST_REPOSITORY"), "{main}");
    let dir = world.path("man/man1");
    world.run(&[&"man", &"--dir", &dir]).ends(0).says(&["pages written"]);
    world.run(&[&"man", &"--dir", &dir]).ends(0);
    let pages = objects(&dir);
    assert!(pages.contains(&"holdfast-key-add.1".into()) && !pages.iter().any(|page| page.contains("mount")));
    assert!(pages.iter().all(|page| page.ends_with(".1")), "{pages:?}");
    for page in pages {
        let text = fs::read_to_string(dir.join(&page)).unwrap();
        if let Some((right, said)) = feed("groff", &["-man", "-ww", "-Tutf8"], &text) {
            assert!(right && said.is_empty(), "{page}: {said}");
        }
    }
    put(world.path("file"), b"x");
    world.run(&[&"man", &"--dir", &world.path("file")]).ends(1).says(&["file"]);
}

#[test]
fn what_there_is_not_yet_says_what_to_use() {
    let world = World::bare();
    world.run(&[&"mount", &"--allow-other", &"/mnt"]).ends(2).says(&["cannot mount", "holdfast restore"]);
}

#[test]
fn lists_of_paths_may_hold_any_name() {
    let world = World::new();
    let odd = world.path(std::ffi::OsStr::from_bytes(b"new\nline \xff"));
    put(odd.join("file"), b"odd");
    put(world.path("# no comment/file"), b"hash");
    let (raw, verbatim) = (world.path("raw"), world.path("verbatim"));
    fs::write(&raw, [odd.as_os_str().as_bytes(), b"\0"].concat()).unwrap();
    fs::write(&verbatim, "# no comment\n").unwrap();
    let words: [super::world::Word<'_>; 5] =
        [&"backup", &"--files-from-raw", &raw, &"--files-from-verbatim", &verbatim];
    world.run(&words).ends(0);
    let out = world.path("out");
    world.run(&[&"restore", &within("latest", &odd), &"--target", &out]).ends(0);
    assert_eq!(fs::read(out.join("file")).unwrap(), b"odd");
    let part = within("latest", &world.path("# no comment"));
    world.run(&[&"restore", &part, &"--target", &world.path("two")]).ends(0);
    fs::write(&raw, odd.as_os_str().as_bytes()).unwrap();
    world.run(&[&"backup", &"--files-from-raw", &raw]).ends(2).says(&["zero byte"]);
    fs::write(&raw, b"").unwrap();
    world.run(&[&"backup", &"--files-from-raw", &raw]).ends(2).says(&["no paths"]);
}

#[test]
fn a_backup_of_many_paths_is_found_again() {
    let world = World::new();
    let folder = world.path("customers/of/the/second/shop");
    let paths: Vec<_> =
        (0..6_000).map(|number| folder.join(format!("{number:08}/public/index.html"))).collect();
    paths.iter().for_each(|path| put(path.clone(), b"page"));
    let list = world.path("list");
    let names = paths.iter().map(|path| path.as_os_str().as_bytes());
    fs::write(&list, names.collect::<Vec<_>>().join(&b"\n"[..])).unwrap();
    world.run(&[&"backup", &"--files-from", &list]).ends(0);
    assert_eq!(super::forget::listed(&world).len(), 1);
    world.run(&[&"prune"]).ends(0);
    world.run(&[&"check"]).ends(0);
    let (last, out) = (paths.last().unwrap(), world.path("out"));
    world.run(&[&"restore", &within("latest", last), &"--target", &out]).ends(0);
}

#[test]
fn patterns_come_from_files() {
    let world = World::new();
    let source = world.path("source");
    for name in ["a.txt", "b.TXT", "c.log", "d.bin"] {
        put(source.join(name), name.as_bytes());
    }
    let (texts, logs, empty) = (world.path("texts"), world.path("logs"), world.path("empty"));
    fs::write(&texts, "# texts\n*.txt\n").unwrap();
    fs::write(&logs, "*.LOG\n").unwrap();
    fs::write(&empty, "# nothing\n").unwrap();
    world.run(&[&"backup", &source, &"--iexclude-file", &logs]).ends(0);
    let part = within("latest", &source);
    let restored = |name: &str, words: &[super::world::Word<'_>]| {
        let target = world.path(name);
        let words = [&[&"restore" as super::world::Word<'_>, &part, &"--target", &target], words].concat();
        world.run(&words).ends(0);
        objects(&target)
    };
    assert_eq!(restored("all", &[]), ["a.txt", "b.TXT", "d.bin"]);
    assert_eq!(restored("include", &[&"--include-file", &texts]), ["a.txt"]);
    assert_eq!(restored("iinclude", &[&"--iinclude-file", &texts]), ["a.txt", "b.TXT"]);
    assert_eq!(restored("exclude", &[&"--exclude-file", &texts]), ["b.TXT", "d.bin"]);
    assert_eq!(restored("iexclude", &[&"--iexclude-file", &texts]), ["d.bin"]);
    let target = world.path("none");
    let refused = world.run(&[&"restore", &part, &"--target", &target, &"--include-file", &empty]).ends(2);
    refused.says(&["nothing to restore"]);
}

#[test]
fn snapshots_are_listed_in_groups() {
    let world = World::new();
    let source = world.path("source");
    for (host, tag) in [("web1", "a"), ("web2", "b"), ("web1", "b")] {
        put(source.join("file"), tag.as_bytes());
        world.run(&[&"backup", &source, &"--host", &host, &"--tag", &tag]).ends(0);
    }
    let groups = |by: &str| {
        let lines = world.run(&[&"snapshots", &"--json", &"--group-by", &by]).ends(0).lines();
        let groups = lines.iter().filter(|line| line["message_type"] == "group");
        groups.map(|group| group["snapshots"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(
        (groups("host"), groups("tags"), groups("paths"), groups("host,tags")),
        (vec![2, 1], vec![1, 2], vec![3], vec![1, 1, 1])
    );
    let text = world.run(&[&"snapshots", &"-g", &"host", &"--latest", &"1"]).ends(0).out;
    assert!(text.starts_with("host web1\n") && text.contains("\nhost web2\n"), "{text}");
    assert_eq!(text.matches("ok").count(), 2, "{text}");
    let ids: Vec<String> = world
        .run(&[&"snapshots", &"--json"])
        .lines()
        .iter()
        .map(|line| line["id"].as_str().unwrap().to_owned())
        .collect();
    let named = world.run(&[&"snapshots", &"--json", &&ids[2][..9], &ids[0]]).ends(0).lines();
    assert_eq!(named.iter().map(|line| line["id"].as_str().unwrap()).collect::<Vec<_>>(), [&ids[0], &ids[2]]);
    world.run(&[&"snapshots", &"0123456789ab"]).ends(1).says(&["no snapshot"]);
    let compact = world.run(&[&"snapshots", &"--compact"]).ends(0).out;
    assert!(
        compact.starts_with("ID") && !compact.contains("SIZE") && !compact.contains("source"),
        "{compact}"
    );
    world.run(&[&"snapshots", &"--group-by", &"colour"]).ends(2).says(&["host, paths"]);
}

#[test]
fn a_file_may_name_the_repository() {
    let world = World::new();
    let file = world.path("where");
    fs::write(&file, [world.repo.as_os_str().as_bytes(), b"\n"].concat()).unwrap();
    let run = |variable: Option<&str>, words: &[super::world::Word<'_>]| {
        let mut command = world.command();
        command.env_remove("HOLDFAST_REPOSITORY");
        if let Some(name) = variable {
            command.env(name, &file);
        }
        world.run_as(&mut command, words)
    };
    run(None, &[&"--repository-file", &file, &"snapshots"]).ends(0);
    run(Some("HOLDFAST_REPOSITORY_FILE"), &[&"snapshots"]).ends(0);
    run(None, &[&"--repository-file", &file, &"-r", &world.repo, &"snapshots"]).ends(2);
    run(None, &[&"--repository-file", &world.path("nowhere"), &"snapshots"]).ends(2).says(&["nowhere"]);
    fs::write(&file, "\n").unwrap();
    run(None, &[&"--repository-file", &file, &"snapshots"]).ends(2).says(&["names no repository"]);
    let mut both = world.command();
    both.env("HOLDFAST_REPOSITORY_FILE", &file);
    world.run_as(&mut both, &[&"snapshots"]).ends(2).says(&["both set"]);
    put(world.path("source/file"), vec![b'x'; 5 << 20]);
    world.backup(&world.path("source"));
    let listed = world.run(&[&"ls", &"-l", &"--human-readable", &"latest"]).ends(0).out;
    assert!(listed.contains("5.00 MiB"), "{listed}");
}
