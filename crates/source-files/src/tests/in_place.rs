//! Restoring over what is there: only what differs changes, and nothing outside does.

use super::driver::{assert_same, capture, restore, restore_finished};
use super::restoring::{make_tree, set_flags, set_time};
use crate::{FileTarget, FileTargetOptions, Overwrite};
use holdfast_core::entry::{Entry, Kind};
use holdfast_engine::Selection;
use holdfast_engine::outcome::ProblemKind;
use holdfast_engine::target::{Finished, Tally, Target, Want};
use rustix::fs::{CWD, FileType, IFlags, Mode, OFlags, XattrFlags, mknodat, openat, setxattr};
use rustix::process::geteuid;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::{TempDir, tempdir};

fn over(overwrite: Overwrite) -> FileTargetOptions {
    FileTargetOptions { overwrite: Some(overwrite), ..FileTargetOptions::default() }
}

fn deleting(overwrite: Overwrite) -> FileTargetOptions {
    FileTargetOptions { delete: Some(Arc::new(|_: &[u8], _| Selection::Take)), ..over(overwrite) }
}

fn restore_over(source: &Path, target: &Path, options: &FileTargetOptions) -> Finished {
    let rehearse = options.rehearse;
    let mut restored = FileTarget::create(target, options).unwrap();
    restore_finished(&mut restored, &capture(source), 3, rehearse)
}

/// A tree and its restored copy.
fn pair() -> (TempDir, TempDir) {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    make_tree(source.path());
    let mut restored = FileTarget::create(target.path(), &FileTargetOptions::default()).unwrap();
    assert_eq!(restore(&mut restored, &capture(source.path()), 5).problems, []);
    (source, target)
}

/// Inode, mode, names, change time, length and content.
type Facts = (u64, u32, u64, i64, i64, u64, Vec<u8>);

/// Everything that a change would change, below a folder and itself.
fn listing(top: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut listed = BTreeMap::new();
    let mut todo = vec![top.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let change = (meta.ctime(), meta.ctime_nsec());
        listed.insert(path, (meta.ino(), meta.mode(), meta.nlink(), change.0, change.1, meta.len(), content));
    }
    listed
}

#[test]
fn over_itself_nothing_changes() {
    let (source, target) = pair();
    let before = listing(target.path());
    let things = capture(source.path()).iter().filter(|(entry, _)| entry.kind != Kind::Directory).count();
    for overwrite in [Overwrite::Always, Overwrite::IfChanged, Overwrite::IfNewer, Overwrite::Never] {
        let finished = restore_over(source.path(), target.path(), &deleting(overwrite));
        assert_eq!(finished.problems.problems, []);
        let Tally { unchanged, left, existing, .. } = finished.tally;
        let same = matches!(overwrite, Overwrite::Always | Overwrite::IfChanged);
        assert_eq!((unchanged, left), if same { (things as u64, 0) } else { (0, things as u64) });
        assert_eq!(finished.tally, Tally { unchanged, left, existing, ..Tally::default() }, "{overwrite:?}");
        assert!(listing(target.path()) == before, "{overwrite:?}");
    }
}

/// Does to a restored tree whatever people and programs do to trees.
fn disturb(target: &Path, outside: &Path) {
    let at = |name: &str| target.join(name);
    let large = File::options().write(true).open(at("folder/below/large")).unwrap();
    large.write_all_at(b"other", 700_000).unwrap();
    large.set_len(1_500_000).unwrap();
    let sparse = File::options().write(true).open(at("folder/sparse")).unwrap();
    sparse.write_all_at(b"no hole", 100_000).unwrap();
    sparse.set_len(4 << 20).unwrap();
    fs::remove_file(at("hole")).unwrap();
    fs::write(at("hole"), vec![0; 123_456]).unwrap();
    fs::remove_file(at("empty")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::remove_dir(at("empty folder")).unwrap();
    symlink(outside, at("empty folder")).unwrap();
    fs::remove_file(at("zz link")).unwrap();
    fs::hard_link(outside.join("file"), at("zz link")).unwrap();
    fs::remove_file(at("link")).unwrap();
    symlink("elsewhere", at("link")).unwrap();
    fs::remove_file(at("pipe")).unwrap();
    fs::hard_link(outside.join("file"), at("pipe")).unwrap();
    fs::remove_file(at("socket")).unwrap();
    fs::set_permissions(at("folder"), fs::Permissions::from_mode(0o700)).unwrap();
    let _ = setxattr(at("folder"), "user.note", b"another note", XattrFlags::empty());
    let _ = setxattr(at("folder/below"), "user.new", b"nobody recorded it", XattrFlags::empty());
    set_time(&at("folder/small"), 5, 5);
    fs::create_dir_all(at("folder/new/deep")).unwrap();
    fs::write(at("folder/new/deep/file"), b"new").unwrap();
    symlink(outside, at("folder/new/link")).unwrap();
    mknodat(CWD, at("new pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    if geteuid().is_root() {
        chown(at("folder/below"), Some(77), Some(88)).unwrap();
    }
}

#[test]
fn a_disturbed_tree_comes_back() {
    let (source, target) = pair();
    let outside = tempdir().unwrap();
    fs::write(outside.path().join("file"), b"outside").unwrap();
    fs::set_permissions(outside.path().join("file"), fs::Permissions::from_mode(0o604)).unwrap();
    disturb(target.path(), outside.path());
    let before = listing(outside.path());
    let large = fs::metadata(target.path().join("folder/below/large")).unwrap().ino();
    let rehearsed = {
        let there = listing(target.path());
        let options = FileTargetOptions { rehearse: true, ..deleting(Overwrite::Always) };
        let rehearsed = restore_over(source.path(), target.path(), &options);
        assert!(listing(target.path()) == there, "a rehearsal changed something");
        rehearsed
    };
    let finished = restore_over(source.path(), target.path(), &deleting(Overwrite::Always));
    assert_eq!(finished.problems.problems, []);
    assert_same(source.path(), target.path());
    // Patched, not written anew.
    assert_eq!(fs::metadata(target.path().join("folder/below/large")).unwrap().ino(), large);
    assert!(finished.tally.bytes_written < 200_000, "{:?}", finished.tally);
    assert!(fs::metadata(target.path().join("folder/sparse")).unwrap().blocks() * 512 < 1 << 20);
    // The inode and the change time of the outside file differ: names of it went.
    let now = listing(outside.path());
    assert_eq!(now.len(), before.len());
    let file = &now[&outside.path().join("file")];
    assert_eq!((&file.6[..], file.1 & 0o7777, file.2), (&b"outside"[..], 0o604, 1));
    let mut deleted = finished.deleted.clone();
    deleted.sort();
    let expected: [&[u8]; 5] =
        [b"folder/new", b"folder/new/deep", b"folder/new/deep/file", b"folder/new/link", b"new pipe"];
    assert_eq!(deleted, expected, "an empty folder in the place of a file is replaced, not deleted");
    let plan =
        |tally: &Tally| (tally.created, tally.rewritten, tally.unchanged, tally.deleted, tally.existing);
    assert_eq!(plan(&rehearsed.tally), plan(&finished.tally));
    // And again: nothing is left to do.
    let again = restore_over(source.path(), target.path(), &deleting(Overwrite::Always)).tally;
    assert_eq!(again, Tally { unchanged: again.unchanged, existing: again.existing, ..Tally::default() });
}

#[test]
fn links_in_the_target_are_not_followed() {
    let (source, target, outside) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    fs::create_dir_all(source.path().join("a/b")).unwrap();
    fs::write(source.path().join("a/b/file"), b"inside").unwrap();
    fs::write(source.path().join("plain"), b"inside").unwrap();
    fs::create_dir(outside.path().join("b")).unwrap();
    fs::write(outside.path().join("b/file"), b"outside").unwrap();
    symlink(outside.path(), target.path().join("a")).unwrap();
    symlink(outside.path().join("b/file"), target.path().join("plain")).unwrap();
    let before = listing(outside.path());
    let finished = restore_over(source.path(), target.path(), &deleting(Overwrite::Always));
    assert_eq!(finished.problems.problems, []);
    assert!(listing(outside.path()) == before);
    assert_same(source.path(), target.path());
}

#[test]
fn a_file_with_names_elsewhere_is_not_changed() {
    let (source, target, outside) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    for name in ["same", "other mode", "other content", "one", "two"] {
        fs::write(source.path().join(name), &content).unwrap();
        fs::write(outside.path().join(name), &content).unwrap();
        fs::hard_link(outside.path().join(name), target.path().join(name)).unwrap();
    }
    // Two files in the snapshot, one in the target.
    fs::hard_link(source.path().join("one"), source.path().join("one again")).unwrap();
    fs::hard_link(source.path().join("two"), source.path().join("two again")).unwrap();
    fs::remove_file(target.path().join("two")).unwrap();
    fs::hard_link(outside.path().join("one"), target.path().join("two")).unwrap();
    fs::set_permissions(outside.path().join("other mode"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(outside.path().join("other content"), b"outside").unwrap();
    let before: Vec<_> =
        listing(outside.path()).into_iter().map(|(path, all)| (path, all.1, all.6)).collect();
    let finished = restore_over(source.path(), target.path(), &over(Overwrite::Always));
    assert_eq!(finished.problems.problems, []);
    assert_same(source.path(), target.path());
    let now: Vec<_> = listing(outside.path()).into_iter().map(|(path, all)| (path, all.1, all.6)).collect();
    assert!(now == before);
    let ino = |name: &str| fs::metadata(target.path().join(name)).unwrap().ino();
    assert_eq!(ino("one"), ino("one again"));
    assert_eq!(ino("two"), ino("two again"));
    assert_ne!(ino("one"), ino("two"));
}

#[test]
fn the_rule_for_overwriting_decides() {
    for (overwrite, old, new, young) in [
        (Overwrite::Always, "snapshot", "snapshot", "snapshot"),
        (Overwrite::IfChanged, "sameness", "snapshot", "snapshot"),
        (Overwrite::IfNewer, "sameness", "snapshot", "elsewhere"),
        (Overwrite::Never, "sameness", "elsewhere", "elsewhere"),
    ] {
        let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
        for name in ["same time and size", "older here", "newer here"] {
            fs::write(source.path().join(name), b"snapshot").unwrap();
            set_time(&source.path().join(name), 1_000, 0);
        }
        fs::write(source.path().join("missing"), b"snapshot").unwrap();
        fs::create_dir(source.path().join("folder")).unwrap();
        fs::write(source.path().join("folder/inside"), b"snapshot").unwrap();
        let put = |name: &str, content: &[u8], time| {
            fs::write(target.path().join(name), content).unwrap();
            set_time(&target.path().join(name), time, 0);
        };
        put("same time and size", b"sameness", 1_000);
        put("older here", b"elsewhere", 999);
        put("newer here", b"elsewhere", 1_001);
        // A file in the place of a folder, from the future.
        put("folder", b"elsewhere", 4_000_000_000);
        let finished = restore_over(source.path(), target.path(), &over(overwrite));
        assert_eq!(finished.problems.problems, [], "{overwrite:?}");
        let read = |name: &str| fs::read_to_string(target.path().join(name)).unwrap();
        assert_eq!(read("same time and size"), old, "{overwrite:?}");
        assert_eq!(read("older here"), new, "{overwrite:?}");
        assert_eq!(read("newer here"), young, "{overwrite:?}");
        assert_eq!(read("missing"), "snapshot");
        let is_file = target.path().join("folder").is_file();
        assert_eq!(is_file, young == "elsewhere", "{overwrite:?}");
    }
}

#[test]
fn a_full_folder_is_replaced_only_where_things_may_be_deleted() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    fs::write(source.path().join("name"), b"file").unwrap();
    symlink("x", source.path().join("other")).unwrap();
    for name in ["name", "other"] {
        fs::create_dir(target.path().join(name)).unwrap();
        fs::write(target.path().join(name).join("precious"), b"x").unwrap();
    }
    let below = || {
        let mut below = listing(target.path());
        below.remove(target.path());
        below
    };
    let before = below();
    let finished = restore_over(source.path(), target.path(), &over(Overwrite::Always));
    let refused = finished.problems.problems.iter().filter(|problem| problem.kind == ProblemKind::Refused);
    assert_eq!(refused.count(), 2);
    assert!(below() == before);
    let finished = restore_over(source.path(), target.path(), &deleting(Overwrite::Always));
    assert_eq!((finished.problems.problem_count, finished.tally.deleted), (0, 4));
    assert_same(source.path(), target.path());
}

#[test]
fn what_may_stay_stays() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    fs::create_dir_all(source.path().join("known/below")).unwrap();
    for name in ["unknown/repository/packs", "unknown/cache", "known/extra", "known/below", "excluded/x"] {
        fs::create_dir_all(target.path().join(name)).unwrap();
        fs::write(target.path().join(name).join("file.tmp"), b"x").unwrap();
        fs::write(target.path().join(name).join("file"), b"x").unwrap();
    }
    let select = |path: &[u8], _| {
        if path.starts_with(b"/excluded") || path.ends_with(b".tmp") {
            Selection::Skip
        } else {
            Selection::Take
        }
    };
    let options = FileTargetOptions {
        delete: Some(Arc::new(select)),
        protect: vec![target.path().join("unknown/repository"), target.path().join("nowhere")],
        ..over(Overwrite::Always)
    };
    let finished = restore_over(source.path(), target.path(), &options);
    assert_eq!(finished.problems.problem_count, 0);
    assert_eq!(finished.problems.notice_count, 1);
    let left: Vec<_> = listing(target.path())
        .into_keys()
        .filter(|path| path.is_file())
        .map(|path| path.strip_prefix(target.path()).unwrap().display().to_string())
        .collect();
    assert_eq!(
        left,
        [
            "excluded/x/file",
            "excluded/x/file.tmp",
            "known/below/file.tmp",
            "known/extra/file.tmp",
            "unknown/cache/file.tmp",
            "unknown/repository/packs/file",
            "unknown/repository/packs/file.tmp",
        ]
    );
}

#[test]
fn a_folder_that_the_snapshot_does_not_have_is_not_emptied() {
    for rehearse in [true, false] {
        let (source, target) = pair();
        fs::write(target.path().join("folder/extra"), b"x").unwrap();
        fs::write(target.path().join("extra"), b"x").unwrap();
        fs::remove_file(target.path().join("folder/below/large")).unwrap();
        let mut captured = capture(source.path());
        captured.retain(|(entry, _)| entry.key != b"folder");
        let options = FileTargetOptions { rehearse, ..deleting(Overwrite::Always) };
        let mut restored = FileTarget::create(target.path(), &options).unwrap();
        let finished = restore_finished(&mut restored, &captured, 3, rehearse);
        let told: Vec<_> =
            finished.problems.problems.iter().map(|problem| (&problem.path[..], problem.kind)).collect();
        assert_eq!(told, [(&b"folder"[..], ProblemKind::Attribute)]);
        assert_eq!(finished.deleted, [b"extra".to_vec()]);
        assert_eq!(finished.tally.created, 1);
        if !rehearse {
            fs::remove_file(target.path().join("folder/extra")).unwrap();
            set_time(&target.path().join("folder"), -1, 4);
            assert_same(source.path(), target.path());
        }
    }
}

/// Of what was left out a snapshot may have a part, which was asked for by name.
#[test]
fn nothing_is_deleted_below_a_tag() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    fs::create_dir_all(source.path().join("tagged/a/stated")).unwrap();
    fs::write(source.path().join("tagged/.tag"), b"").unwrap();
    fs::write(source.path().join("tagged/a/stated/file"), b"x").unwrap();
    for name in ["tagged/a/live", "tagged/live", "live"] {
        fs::create_dir_all(target.path().join(name)).unwrap();
    }
    fs::write(target.path().join("tagged/.tag"), b"").unwrap();
    let options = FileTargetOptions { keep_tagged: vec![".tag".to_owned()], ..deleting(Overwrite::Always) };
    let finished = restore_over(source.path(), target.path(), &options);
    assert_eq!(finished.deleted, [b"live".to_vec()]);
    assert_eq!((finished.problems.notice_count, finished.problems.problem_count), (1, 0));
    assert!(
        target.path().join("tagged/a/live").is_dir() && target.path().join("tagged/a/stated/file").is_file()
    );
}

#[test]
fn nothing_is_deleted_where_the_listing_is_lost() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    fs::create_dir_all(source.path().join("a")).unwrap();
    fs::create_dir_all(source.path().join("b")).unwrap();
    for name in ["a/extra", "b/extra"] {
        fs::create_dir_all(target.path().join(name)).unwrap();
    }
    let entries: Vec<Entry> = capture(source.path()).into_iter().map(|(entry, _)| entry).collect();
    let mut restored = FileTarget::create(target.path(), &deleting(Overwrite::Always)).unwrap();
    let batch = restored.prepare(entries).unwrap();
    restored.spare();
    restored.complete(batch).unwrap();
    let finished = restored.finish().unwrap();
    assert_eq!(finished.deleted, [b"a/extra".to_vec()]);
    assert!(target.path().join("b/extra").is_dir());
}

#[test]
fn unchangeable_things_are_changed() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    for top in [source.path(), target.path()] {
        fs::create_dir(top.join("folder")).unwrap();
        for name in ["patched", "replaced", "same", "folder/inside"] {
            fs::write(top.join(name), b"content").unwrap();
            set_time(&top.join(name), 1_000, 0);
        }
        set_time(&top.join("folder"), 1_000, 0);
    }
    fs::write(target.path().join("patched"), b"CONTENT").unwrap();
    fs::remove_file(target.path().join("replaced")).unwrap();
    fs::create_dir(target.path().join("replaced")).unwrap();
    fs::write(target.path().join("folder/extra"), b"x").unwrap();
    let both = ["same", "folder"];
    let only_there = ["patched", "replaced", "folder/inside", "folder/extra"];
    let mut able = true;
    for name in only_there.iter().chain(&both) {
        able &= set_flags(&target.path().join(name), IFlags::IMMUTABLE);
    }
    for name in both {
        able &= set_flags(&source.path().join(name), IFlags::IMMUTABLE);
    }
    let finished = able.then(|| restore_over(source.path(), target.path(), &deleting(Overwrite::Always)));
    let outcome = std::panic::catch_unwind(|| able.then(|| assert_same(source.path(), target.path())));
    for top in [source.path(), target.path()] {
        for name in both.iter().chain(&only_there).rev() {
            if top.join(name).exists() {
                set_flags(&top.join(name), IFlags::empty());
            }
        }
    }
    assert!(outcome.is_ok(), "{finished:?}");
    assert!(finished.is_none_or(|finished| finished.problems.problems.is_empty()));
}

#[test]
fn a_file_that_is_given_up_is_no_mix() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    for name in ["untouched", "touched", "new", "replaced"] {
        fs::write(source.path().join(name), vec![1; 200_000]).unwrap();
    }
    for name in ["untouched", "touched"] {
        fs::write(target.path().join(name), vec![2; 300_000]).unwrap();
    }
    symlink("x", target.path().join("replaced")).unwrap();
    let entries: Vec<Entry> = capture(source.path()).into_iter().map(|(entry, _)| entry).collect();
    let number = |name: &str| entries.iter().position(|entry| entry.key == name.as_bytes()).unwrap();
    let numbers = ["untouched", "touched", "new", "replaced"].map(number);
    let mut restored = FileTarget::create(target.path(), &over(Overwrite::Always)).unwrap();
    let batch = restored.prepare(entries).unwrap();
    assert_eq!(numbers.map(|at| batch.wants(at)), [Want::Compare, Want::Compare, Want::Whole, Want::Whole]);
    for at in &numbers[1..] {
        batch.write_at(*at, 100_000, &[1; 50_000]).unwrap();
    }
    for at in numbers {
        batch.discard(at).unwrap();
    }
    restored.complete(batch).unwrap();
    let finished = restored.finish().unwrap();
    assert_eq!(finished.problems.notice_count, 1);
    let mut names: Vec<_> =
        fs::read_dir(target.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["replaced", "touched.holdfast-incomplete", "untouched"]);
    assert_eq!(fs::read(target.path().join("untouched")).unwrap(), vec![2; 300_000]);
    assert_eq!(fs::read_link(target.path().join("replaced")).unwrap(), Path::new("x"));
}

#[test]
fn an_interrupted_restore_leaves_no_half_file_of_its_own() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    for name in ["new", "replaced"] {
        fs::write(source.path().join(name), vec![1; 200_000]).unwrap();
    }
    symlink("x", target.path().join("replaced")).unwrap();
    let entries: Vec<Entry> = capture(source.path()).into_iter().map(|(entry, _)| entry).collect();
    let mut restored = FileTarget::create(target.path(), &over(Overwrite::Always)).unwrap();
    let batch = restored.prepare(entries).unwrap();
    for at in [1, 2] {
        batch.write_at(at, 0, &[1; 50_000]).unwrap();
    }
    // Even of a kill now nothing would be left but a file under its own name.
    let flags = OFlags::WRONLY | OFlags::TMPFILE;
    let has_unnamed = openat(CWD, target.path(), flags, Mode::RUSR).is_ok();
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), if has_unnamed { 2 } else { 3 });
    drop(batch);
    drop(restored);
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 1);
    assert_eq!(fs::read_link(target.path().join("replaced")).unwrap(), Path::new("x"));
}

#[test]
fn a_full_target_is_refused_until_somebody_says_how() {
    let target = tempdir().unwrap();
    fs::write(target.path().join("file"), b"x").unwrap();
    let error = FileTarget::create(target.path(), &FileTargetOptions::default()).unwrap_err();
    assert!(error.what.contains("not empty"), "{error}");
    assert!(FileTarget::create(target.path(), &over(Overwrite::Never)).is_ok());
    let missing = target.path().join("missing/deep");
    let options = FileTargetOptions { rehearse: true, ..over(Overwrite::Always) };
    let finished = restore_over(target.path(), &missing, &options);
    assert_eq!((finished.tally.created, finished.problems.problem_count), (1, 0));
    assert!(!missing.exists() && !target.path().join("missing").exists());
}

#[test]
fn what_was_put_aside_outlives_a_deletion() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    let long = "n".repeat(255);
    for name in ["touched", "other/file", &long] {
        for top in [source.path(), target.path()] {
            fs::create_dir_all(top.join("other")).unwrap();
            fs::write(top.join(name), vec![1; 200_000]).unwrap();
        }
    }
    for name in ["touched.holdfast-incomplete", "other/extra"] {
        fs::write(target.path().join(name), b"of somebody").unwrap();
    }
    let entries: Vec<Entry> = capture(source.path()).into_iter().map(|(entry, _)| entry).collect();
    let number = |name: &str| entries.iter().position(|entry| entry.key == name.as_bytes()).unwrap();
    let numbers = ["touched", &long].map(number);
    let mut restored = FileTarget::create(target.path(), &deleting(Overwrite::Always)).unwrap();
    let batch = restored.prepare(entries).unwrap();
    for at in numbers {
        batch.write_at(at, 100_000, &[2; 50_000]).unwrap();
        batch.discard(at).unwrap();
    }
    restored.complete(batch).unwrap();
    let finished = restored.finish().unwrap();
    assert_eq!(finished.problems.notice_count, 3, "two files and their folder");
    let mut names: Vec<_> =
        fs::read_dir(target.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let aside = format!("{}.holdfast-incomplete", &long[..235]);
    let marked = ["touched.holdfast-incomplete", "touched.holdfast-incomplete-1"];
    assert_eq!(names, [&aside, "other", marked[0], marked[1]]);
    assert_eq!(fs::read(target.path().join(marked[0])).unwrap(), b"of somebody");
    // Elsewhere nothing is broken.
    assert_eq!(finished.deleted, [b"other/extra".to_vec()]);
}

/// Under these rules a file that a kill left half written would count as one to keep.
#[test]
fn where_newer_files_are_kept_no_half_file_gets_its_name() {
    for overwrite in [Overwrite::IfNewer, Overwrite::Never] {
        let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
        fs::write(source.path().join("new"), vec![1; 200_000]).unwrap();
        fs::write(source.path().join("old"), vec![1; 200_000]).unwrap();
        fs::write(target.path().join("old"), vec![2; 200_000]).unwrap();
        set_time(&target.path().join("old"), 1_000, 0);
        let captured = capture(source.path());
        let entries: Vec<Entry> = captured.iter().map(|(entry, _)| entry.clone()).collect();
        let mut restored = FileTarget::create(target.path(), &over(overwrite)).unwrap();
        let batch = restored.prepare(entries).unwrap();
        for at in [1, 2] {
            batch.write_at(at, 0, &[1; 50_000]).unwrap();
        }
        assert!(!target.path().join("new").exists(), "{overwrite:?}");
        assert_eq!(fs::read(target.path().join("old")).unwrap(), vec![2; 200_000], "{overwrite:?}");
        drop(batch);
        drop(restored);
        assert_eq!(fs::read_dir(target.path()).unwrap().count(), 1);
        let finished = restore_over(source.path(), target.path(), &over(overwrite));
        let Tally { created, rewritten, left, .. } = finished.tally;
        let is_newer = overwrite == Overwrite::IfNewer;
        assert_eq!((created, rewritten, left), if is_newer { (1, 1, 0) } else { (1, 0, 1) });
        assert_eq!(fs::read(target.path().join("new")).unwrap(), vec![1; 200_000]);
    }
}

#[test]
fn two_restores_do_not_mix() {
    let target = tempdir().unwrap();
    let first = FileTarget::create(target.path(), &over(Overwrite::Always)).unwrap();
    let error = FileTarget::create(target.path(), &over(Overwrite::Always)).unwrap_err();
    assert!(error.what.contains("another restore"), "{error}");
    let rehearsal = FileTargetOptions { rehearse: true, ..over(Overwrite::Always) };
    assert!(FileTarget::create(target.path(), &rehearsal).is_ok());
    drop(first);
    assert!(FileTarget::create(target.path(), &over(Overwrite::Always)).is_ok());
}

#[test]
fn nothing_that_is_made_inherits_an_access_list() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    for top in [source.path(), target.path()] {
        fs::create_dir(top.join("folder")).unwrap();
    }
    fs::write(source.path().join("folder/file"), b"x").unwrap();
    symlink("x", source.path().join("folder/link")).unwrap();
    mknodat(CWD, source.path().join("folder/pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    // Version 2: owner, user 77, group, mask, others.
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in
        [(1_u16, 7_u16, u32::MAX), (2, 7, 77), (4, 5, u32::MAX), (16, 7, u32::MAX), (32, 5, u32::MAX)]
    {
        list.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let name = "system.posix_acl_default";
    if setxattr(target.path().join("folder"), name, &list, XattrFlags::empty()).is_err() {
        return;
    }
    let finished = restore_over(source.path(), target.path(), &over(Overwrite::Always));
    assert_eq!(finished.problems.problems, []);
    assert_same(source.path(), target.path());
}

#[test]
fn a_folder_that_is_left_alone_keeps_its_flags() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    for top in [source.path(), target.path()] {
        fs::create_dir(top.join("folder")).unwrap();
    }
    fs::write(source.path().join("folder/new"), b"x").unwrap();
    let folder = target.path().join("folder");
    if !set_flags(&folder, IFlags::IMMUTABLE) {
        return;
    }
    let finished = restore_over(source.path(), target.path(), &over(Overwrite::Never));
    let still = fs::write(folder.join("other"), b"x").is_err();
    set_flags(&folder, IFlags::empty());
    assert!(still && folder.join("new").exists());
    assert_eq!(finished.problems.problems, []);
}

/// Making and deleting things changes the time of their folder, but that was no difference.
#[test]
fn a_rehearsal_counts_the_same_folders() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    for top in [source.path(), target.path()] {
        fs::create_dir_all(top.join("folder/below")).unwrap();
        fs::set_permissions(top.join("folder/below"), fs::Permissions::from_mode(0o500)).unwrap();
    }
    fs::write(source.path().join("folder/new"), b"x").unwrap();
    fs::write(target.path().join("extra"), b"x").unwrap();
    for top in [source.path(), target.path()] {
        for name in ["folder/below", "folder", "."] {
            set_time(&top.join(name), 1_000, 0);
        }
    }
    let tallies = [true, false].map(|rehearse| {
        let options = FileTargetOptions { rehearse, ..deleting(Overwrite::Always) };
        let tally = restore_over(source.path(), target.path(), &options).tally;
        (tally.created, tally.deleted, tally.attributes_only)
    });
    assert_eq!(tallies, [(1, 1, 0); 2]);
    assert_same(source.path(), target.path());
    // The target itself counts by its time, too.
    set_time(target.path(), 2_000, 0);
    restore_over(source.path(), target.path(), &over(Overwrite::IfNewer));
    assert_eq!(fs::metadata(target.path()).unwrap().mtime(), 2_000);
}

#[test]
fn what_is_patched_is_not_for_those_who_could_read_it_before() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    for (top, mode) in [(source.path(), 0o4700), (target.path(), 0o4755)] {
        fs::write(top.join("file"), vec![mode as u8; 200_000]).unwrap();
        fs::set_permissions(top.join("file"), fs::Permissions::from_mode(mode)).unwrap();
    }
    let entries: Vec<Entry> = capture(source.path()).into_iter().map(|(entry, _)| entry).collect();
    let mut restored = FileTarget::create(target.path(), &over(Overwrite::Always)).unwrap();
    let batch = restored.prepare(entries).unwrap();
    let mode = || fs::metadata(target.path().join("file")).unwrap().mode() & 0o7777;
    batch.write_at(1, 0, &[1; 50_000]).unwrap();
    assert_eq!(mode(), 0o700);
    batch.close(1).unwrap();
    assert_eq!(mode(), 0o4700);
}
