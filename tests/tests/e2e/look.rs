//! Looking into snapshots: `find`, `diff`, `stats`, and what `latest` means.

use super::tree::{noise, ordinary, prose, put, put_sparse, set_time, set_xattr};
use super::world::{Ran, Word, World, count, is_root, within};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

fn id_of(summary: &Value) -> String {
    summary["snapshot_id"].as_str().unwrap().to_owned()
}

/// A tree in two states, and their snapshots.
fn two_states() -> (World, PathBuf, [String; 2]) {
    let world = World::new();
    let source = world.path("source");
    put(source.join("same"), b"same");
    put(source.join("changed"), b"before");
    put(source.join("gone/file"), b"gone");
    put(source.join("turned"), b"a file");
    put(source.join("mode"), b"mode");
    put(source.join("rotten"), b"0123456789");
    symlink("here", source.join("link")).unwrap();
    let first = id_of(&world.backup(&source));
    put(source.join("changed"), b"afterwards");
    fs::remove_dir_all(source.join("gone")).unwrap();
    fs::remove_file(source.join("turned")).unwrap();
    fs::create_dir(source.join("turned")).unwrap();
    fs::set_permissions(source.join("mode"), Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(source.join("link")).unwrap();
    symlink("there", source.join("link")).unwrap();
    put(source.join("new\nline"), b"new");
    put(source.join(OsStr::from_bytes(b"\xff")), b"bytes");
    let time = fs::metadata(source.join("rotten")).unwrap();
    let time =
        (std::os::unix::fs::MetadataExt::mtime(&time), std::os::unix::fs::MetadataExt::mtime_nsec(&time));
    put(source.join("rotten"), b"012345678X");
    set_time(&source.join("rotten"), time.0, time.1);
    let second = id_of(&world.backup(&source));
    (world, source, [first, second])
}

/// The marks and paths below a folder.
fn marks(ran: &Ran, base: &Path) -> Vec<String> {
    let base = format!("{}/", base.display());
    let lines = ran.out.lines().filter(|line| line.contains(&base));
    lines.map(|line| line.replace(&base, "").split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

const DIFFERENCES: [&str; 9] = [
    "M changed",
    "- gone/",
    "- gone/file",
    "M link",
    "+ new\\nline",
    "M? rotten",
    "T turned/",
    "+ \\xff",
    "",
];

#[test]
fn two_snapshots_are_compared() {
    let (world, source, [first, second]) = two_states();
    let ran = world.run(&[&"diff", &first, &second]).ends(0);
    assert_eq!(marks(&ran, &source), DIFFERENCES[..8]);
    assert!(ran.out.contains("bit rot"), "{}", ran.out);
    let ran = world.run(&[&"diff", &first, &second, &"--metadata"]).ends(0);
    assert!(marks(&ran, &source).contains(&"U mode".to_owned()), "{}", ran.out);
    // The same part by its path, and parts of different names.
    let ran = world.run(&[&"diff", &within(&first, &source), &within("latest", &source)]).ends(0);
    assert_eq!(marks(&ran, &source), DIFFERENCES[..8]);
    let (one, other) = (source.join("changed"), source.join("rotten"));
    let ran = world.run(&[&"diff", &within(&first, &one), &within(&second, &other)]).ends(0);
    assert!(
        ran.out.starts_with("M ") && ran.out.lines().next().unwrap().ends_with("/changed"),
        "{}",
        ran.out
    );
    let ran = world.run(&[&"diff", &first, &first]).ends(0);
    assert_eq!(ran.out.trim(), "no differences");
    // From the later to the earlier one everything is the other way round.
    let back = world.run(&[&"diff", &second, &first]).ends(0);
    assert!(marks(&back, &source).contains(&"+ gone/file".to_owned()), "{}", back.out);
    world.run(&[&"diff", &first, &within(&second, Path::new("/nowhere"))]).ends(1).says(&["nowhere"]);
    world.run(&[&"diff", &first]).ends(2);
    world.run(&[&"diff", &first, &second, &"--exclude", &"x"]).ends(2).says(&["--live"]);
    world.run(&[&"diff", &first, &second, &"--read-data"]).ends(2);
}

#[test]
fn differences_are_told_to_programs() {
    let (world, source, [first, second]) = two_states();
    let ran = world.run(&[&"--json", &"diff", &first, &second]).ends(0);
    let lines = ran.lines();
    let changes: Vec<_> = lines.iter().filter(|line| line["message_type"] == "change").collect();
    assert_eq!(changes.len(), 8);
    let bytes = changes.iter().find(|line| line["path_base64"].is_string()).unwrap();
    assert_eq!((&bytes["modifier"], &bytes["type"]), (&"+".into(), &"file".into()));
    let line = changes.iter().find(|line| line["path"] == format!("{}/new\nline", source.display()));
    assert!(line.is_some());
    let all = lines.last().unwrap();
    assert_eq!(all["message_type"], "statistics");
    assert_eq!((&all["source_snapshot"], &all["target_snapshot"]), (&first.into(), &second.into()));
    assert_eq!((count(&all["added"], "files"), count(&all["removed"], "files")), (2, 1));
    assert_eq!((count(all, "changed_files"), count(all, "changed_others")), (2, 2));
    assert_eq!((count(&all["added"], "bytes"), count(&all["removed"], "bytes")), (3 + 5, 4));
    let changed = (count(all, "changed_bytes_before"), count(all, "changed_bytes_after"));
    assert_eq!(changed, (6 + 6 + 10, 10 + 10));
    assert!(count(&all["added"], "pages") > 0 && count(&all["added"], "page_bytes") > 0, "{all}");
    assert_eq!(count(all, "suspicious_files"), 1);
}

#[test]
fn a_snapshot_is_compared_with_what_is_there() {
    let (world, source, [first, _]) = two_states();
    let ran = world.run(&[&"diff", &"latest", &"--live"]).ends(0);
    assert_eq!(ran.out.trim(), "no differences");
    let ran = world.run(&[&"diff", &"latest", &"--live", &"--metadata", &"--read-data"]).ends(0);
    assert_eq!(ran.out.trim(), "no differences");
    // Nobody sees what keeps its size and time, unless it is read.
    let ran = world.run(&[&"diff", &first, &"--live"]).ends(0);
    let unseen: Vec<_> = DIFFERENCES[..8].iter().filter(|line| !line.contains("rotten")).collect();
    assert_eq!(marks(&ran, &source).iter().collect::<Vec<_>>(), unseen);
    let ran = world.run(&[&"diff", &first, &"--live", &"--read-data"]).ends(0);
    assert_eq!(marks(&ran, &source), DIFFERENCES[..8]);
    // A part of it, one file, and another folder.
    let ran = world.run(&[&"diff", &within(&first, &source.join("gone")), &"--live"]).ends(0);
    assert_eq!(marks(&ran, &source), ["- gone/", "- gone/file"]);
    ran.says(&["is not there"]);
    let ran = world.run(&[&"diff", &within(&first, &source.join("changed")), &"--live"]).ends(0);
    assert_eq!(marks(&ran, &source), ["M changed"]);
    let restored = world.restore(&source, "restored");
    let part = within("latest", &source);
    let ran = world.run(&[&"diff", &part, &"--live", &restored, &"--metadata", &"--read-data"]).ends(0);
    assert_eq!(ran.out.trim(), "no differences");
    // The whole snapshot has other paths than a part that was restored.
    let ran = world.run(&[&"diff", &"latest", &"--live", &restored]).ends(0);
    ran.says(&["the snapshot begins at /", &within("", &source).to_string_lossy()]);
    put(restored.join("more"), b"more");
    let ran = world.run(&[&"--json", &"diff", &part, &"--live", &restored]).ends(0);
    assert_eq!(ran.lines()[0]["path"], restored.join("more").to_str().unwrap());
    assert!(ran.lines().last().unwrap()["target_snapshot"].is_null());
    let ran =
        world.run(&[&"diff", &part, &"--live", &restored, &"--exclude", &"more", &"-e", &"same"]).ends(0);
    assert_eq!(ran.out.trim(), "no differences");
}

#[test]
fn contents_are_compared_whatever_their_holes() {
    let world = World::new();
    let source = world.path("source");
    put_sparse(&source.parent().unwrap().join("sparse"), 3 << 20, &[(1 << 20, b"island")]);
    fs::create_dir(&source).unwrap();
    fs::rename(world.path("sparse"), source.join("sparse")).unwrap();
    put(source.join("large"), noise(1, 3 << 20));
    put(source.join("labelled"), b"labelled");
    world.backup(&source);
    // The same bytes without holes; other bytes in a hole; another label.
    let bytes = fs::read(source.join("sparse")).unwrap();
    fs::write(source.join("sparse"), &bytes).unwrap();
    let compare = || world.run(&[&"diff", &"latest", &"--live", &"--read-data", &"--metadata"]).ends(0);
    assert_eq!(marks(&compare(), &source), ["U sparse"]);
    let mut other = bytes;
    other[7] = 1;
    fs::write(source.join("sparse"), other).unwrap();
    set_xattr(&source.join("labelled"), "user.a", b"1");
    assert_eq!(marks(&compare(), &source), ["U labelled", "MU sparse"]);
    let ran = world.run(&[&"--json", &"diff", &"latest", &"--live", &"--read-data", &"--metadata"]).ends(0);
    let metadata: Vec<_> =
        ran.lines().iter().filter_map(|line| line["metadata"].as_array().cloned()).collect();
    assert_eq!(metadata, [["xattrs"], ["time"]]);
}

#[test]
fn what_cannot_be_read_is_not_called_removed() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("closed/file"), b"closed");
    put(source.join("secret"), b"secret");
    put(source.join("z"), b"z");
    world.backup(&source);
    world.give_to_nobody(&[&world.repo, &world.cache]);
    for name in ["closed", "secret"] {
        fs::set_permissions(source.join(name), Permissions::from_mode(0o000)).unwrap();
    }
    let ran = world.run_as(&mut world.as_nobody(), &[&"diff", &"latest", &"--live", &"--read-data"]).ends(3);
    assert_eq!(marks(&ran, &source), [] as [&str; 0], "{}", ran.out);
    ran.says(&["closed", "secret", "could not be read"]);
    fs::set_permissions(source.join("closed"), Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn something_is_found_in_all_snapshots() {
    let (world, source, [first, second]) = two_states();
    let found = |words: &[Word<'_>]| {
        let ran = world.run(&[&[&"find" as Word<'_>, &"-q"], words].concat()).ends(0);
        ran.out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let at = |id: &str, name: &str| format!("{}:{}/{name}", &id[..8], source.display());
    assert_eq!(found(&[&"same"]), [at(&second, "same"), at(&first, "same")]);
    assert_eq!(found(&[&"SAME"]), [] as [&str; 0]);
    assert_eq!(found(&[&"-i", &"SAME", &"--snapshot", &first]), [at(&first, "same")]);
    assert_eq!(found(&[&"gone/*"]), [at(&first, "gone/file")]);
    assert_eq!(found(&[&"turned", &"--type", &"d"]), [at(&second, "turned")]);
    assert_eq!(found(&[&"chang*", &"--larger-than", &"6"]), [at(&second, "changed")]);
    assert_eq!(found(&[&"new*"]), [at(&second, "new\\nline")]);
    assert_eq!(found(&[&"changed", &"-N", &"1971-01-01"]), [] as [&str; 0]);
    assert_eq!(found(&[&source.join("*d")]).len(), 4);
    assert_eq!(found(&[&"same", &"--host", &"nobody"]), [] as [&str; 0]);
    let ran = world.run(&[&"find", &"-l", &"link", &"mode"]).ends(0);
    assert!(ran.out.contains("-> there") && ran.out.contains("-> here") && ran.out.contains("snapshot "));
    assert!(ran.out.contains("-rw-------"), "{}", ran.out);
    let ran = world.run(&[&"--json", &"find", &"?", &"rotten"]).ends(0);
    let matches: Vec<_> = ran.lines().into_iter().filter(|line| line["message_type"] == "match").collect();
    assert_eq!(matches.len(), 3);
    assert!(matches.iter().any(|line| line["path_base64"].is_string() && line["snapshot_id"] == second[..]));
    assert_eq!((count(&ran.summary(), "matches"), count(&ran.summary(), "snapshots_searched")), (3, 2));
    // What is found can be had as it stands there.
    let place = found(&[&"gone/file"]).remove(0);
    assert_eq!(world.run(&[&"dump", &place]).ends(0).out, "gone");
    world.run(&[&"find", &"[z-"]).ends(2).says(&["pattern"]);
    world.run(&[&"find", &"x", &"--newest", &"yesterday-ish"]).ends(2).says(&["--newest"]);
    world.run(&[&"find"]).ends(2);
}

#[test]
fn damage_is_named_and_the_search_goes_on() {
    let world = World::new();
    let [one, other] = ["one", "other"].map(|name| world.path(name));
    let [first, second] = [&one, &other].map(|source| {
        ordinary(source, 300, 1);
        id_of(&world.backup(source))
    });
    let packs: Vec<_> = world.objects().into_iter().filter(|name| name.starts_with("packs/tree/")).collect();
    let path = world.repo.join(&packs[0]);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let ran = world.run(&[&"find", &"file 7*"]).ends(1);
    assert!(ran.out.contains("file 7"), "{ran:?}");
    ran.says(&["not searched", "could not be searched"]);
    let ran = world.run(&[&"--json", &"stats"]).ends(1);
    assert!(count(&ran.summary(), "error_count") > 0);
    // Equal trees need not be read.
    world.run(&[&"diff", &first, &first]).ends(0);
    world
        .run(&[&"diff", &within(&first, &one), &within(&second, &other)])
        .ends(1)
        .says(&["the comparison ends here"]);
    let whole = [&first, &second].map(|id| world.run(&[&"diff", id, &"--live"]));
    let ends: Vec<_> = whole.iter().map(|ran| ran.code).collect();
    assert!(ends == [0, 1] || ends == [1, 0], "{whole:?}");
}

#[test]
fn snapshots_are_measured() {
    let world = World::new();
    let ran = world.run(&[&"stats"]).ends(0);
    assert!(ran.out.contains("restore size 0 B"), "{}", ran.out);
    let source = world.path("source");
    put(source.join("kept"), noise(1, 1 << 20));
    put(source.join("early"), noise(2, 1 << 20));
    let first = id_of(&world.backup(&source));
    fs::remove_file(source.join("early")).unwrap();
    put(source.join("late"), noise(3, 3 << 20));
    let second = id_of(&world.backup(&source));
    let ran = world.run(&[&"--json", &"stats"]).ends(0);
    let lines = ran.lines();
    let unique = |id: &str| {
        let line = lines.iter().find(|line| line["id"] == id).unwrap();
        count(line, "unique_bytes")
    };
    let near = |bytes: u64, wanted: u64| (wanted..wanted + 20_000).contains(&bytes);
    assert!(near(unique(&first), 1 << 20) && near(unique(&second), 3 << 20), "{lines:?}");
    let all = ran.summary();
    assert_eq!(count(&all, "restore_bytes"), (2 << 20) + (4 << 20));
    assert_eq!(count(&all, "content_bytes"), 5 << 20);
    assert!(near(count(&all, "data_chunk_bytes"), 5 << 20) && count(&all, "slack_bytes") == 0, "{all}");
    assert_eq!(count(&all, "repository_bytes"), world.repository_bytes());
    // One of them: what is unique stays unique, whoever is asked for.
    let ran = world.run(&[&"--json", &"stats", &first]).ends(0);
    assert_eq!(count(&ran.lines()[0], "unique_bytes"), unique(&first));
    let one = ran.summary();
    assert_eq!((count(&one, "restore_bytes"), count(&one, "content_bytes")), (2 << 20, 2 << 20));
    assert_eq!((count(&one, "snapshots"), count(&one, "snapshots_all")), (1, 2));
    let ran = world.run(&[&"--json", &"stats", &"--mode", &"restore-size"]).ends(0);
    assert!(ran.summary()["content_bytes"].is_null() && ran.lines()[0]["unique_bytes"].is_null());
    let ran = world.run(&[&"stats", &"--host", &"nobody"]).ends(0);
    assert!(ran.out.contains("snapshots    0 of 2"), "{}", ran.out);
    world.run(&[&"stats"]).ends(0);
}

#[test]
fn slack_is_what_nobody_refers_to_in_a_bundle() {
    let world = World::new();
    let source = world.path("source");
    for number in 0..40 {
        put(source.join(format!("{number:02}")), prose(number, 20_000));
    }
    world.backup(&source);
    // Every other one: whatever the key closes bundles after, some neighbours shared one.
    for number in (1..40).step_by(2) {
        fs::remove_file(source.join(format!("{number:02}"))).unwrap();
    }
    let last = id_of(&world.backup(&source));
    let one = world.run(&[&"--json", &"stats", &last]).ends(0).summary();
    assert_eq!((count(&one, "content_bytes"), count(&one, "inline_bytes")), (400_000, 0));
    assert!(count(&one, "slack_bytes") > 0, "{one}");
    assert_eq!(count(&world.run(&[&"--json", &"stats"]).ends(0).summary(), "slack_bytes"), 0);
}

#[test]
fn latest_is_the_newest_that_holds_the_path() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("old"), b"old");
    put(source.join("file"), b"file");
    let first = id_of(&world.backup(&source));
    fs::remove_file(source.join("old")).unwrap();
    let second = id_of(&world.backup(&source));
    let ran = world.run(&[&"dump", &within("latest", &source.join("old"))]).ends(0);
    assert_eq!(ran.out, "old");
    ran.says(&[&first[..8], "do not hold this path", &second[..8]]);
    let target = world.path("target");
    let plan = |name: &str| {
        let part = within("latest", &source.join(name));
        let words: [Word<'_>; 6] = [&"--json", &"restore", &part, &"--target", &target, &"--dry-run"];
        world.run(&words).ends(0).lines().remove(0)
    };
    assert_eq!(
        (&plan("old")["snapshot_id"], &plan("old")["without_path"]),
        (&first[..].into(), &second[..].into())
    );
    assert!(plan("file")["snapshot_id"] == *second && plan("file")["without_path"].is_null());
    let ran = world.run(&[&"dump", &within("latest", &source.join("file"))]).ends(0);
    assert!(ran.err.contains(&second[..8]) && !ran.err.contains("do not hold"));
    world.run(&[&"ls", &within("latest", &source.join("never"))]).ends(1).says(&["never"]);
    // A damaged source does not hide another.
    let other = world.path("other");
    put(other.join("there"), b"there");
    world.backup(&other);
    let packs = world.objects().into_iter().filter(|name| name.starts_with("packs/tree/"));
    for pack in packs.filter(|name| name.contains(&first) || name.contains(&second)) {
        let path = world.repo.join(pack);
        let length = fs::metadata(&path).unwrap().len() as usize;
        fs::remove_file(&path).unwrap();
        fs::write(path, vec![0; length]).unwrap();
    }
    let ran = world.run(&[&"dump", &within("latest", &other.join("there"))]).ends(0);
    assert_eq!(ran.out, "there");
    ran.says(&["warning", "passed over"]);
    world.run(&[&"dump", &within("latest", &source.join("file"))]).ends(1).says(&["passed over"]);
}

#[test]
fn whoever_had_enough_is_no_failure() {
    let world = World::new();
    let source = world.path("source");
    for number in 0..20_000 {
        put(source.join(format!("{:03}/{number}", number / 100)), b"");
    }
    world.backup(&source);
    let nothing = world.path("nothing");
    fs::create_dir(&nothing).unwrap();
    world.backup(&nothing);
    let words: [Vec<OsString>; 3] = [
        vec!["find".into(), "*".into()],
        vec!["diff".into(), within("latest", &nothing), within("latest", &source)],
        vec!["diff".into(), within("latest", &source), "--live".into(), nothing.clone().into()],
    ];
    for words in words {
        let words: Vec<Word<'_>> = words.iter().map(|word| word as Word<'_>).collect();
        let mut child = world.start(&words);
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !said.contains("error"), "{said}");
    }
}

#[test]
fn odd_snapshots_are_looked_into() {
    let world = World::new();
    // An empty folder, one file, and standard input.
    let (empty, file) = (world.path("empty"), world.path("file"));
    fs::create_dir(&empty).unwrap();
    put(&file, b"alone");
    let first = id_of(&world.backup(&empty));
    let second = id_of(&world.backup(&file));
    let mut command = world.command();
    let null = fs::File::open("/dev/null").unwrap();
    let third = id_of(&world.run_as(command.stdin(null), &[&"backup", &"--json", &"-"]).ends(0).summary());
    let ran = world.run(&[&"diff", &within(&first, &empty), &within(&second, &file)]).ends(0);
    assert_eq!(ran.out.lines().next().unwrap().split_whitespace().next(), Some("T"), "{}", ran.out);
    world.run(&[&"diff", &third, &"--live"]).ends(2).says(&["stdin"]);
    world.run(&[&"diff", &second, &"--live"]).ends(0);
    assert_eq!(
        world.run(&[&"find", &"-q", &"*"]).ends(0).out.lines().filter(|line| line.contains("/stdin")).count(),
        1
    );
    assert_eq!(world.run(&[&"--json", &"stats"]).ends(0).summary()["files"], 2);
    for id in [&first, &second, &third] {
        world.run(&[&"dump", id, &"-t", &world.path(format!("{id}.tar"))]).ends(0);
        world
            .run(&[&"dump", &format!("{id}:/"), &"-t", &world.path(format!("{id}.zip")), &"-a", &"zip"])
            .ends(0);
    }
    if is_root() {
        assert_eq!(world.run(&[&"dump", &within(&second, &file)]).ends(0).out, "alone");
    }
}
