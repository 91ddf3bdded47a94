//! Order and completeness of the walk, in trees that other programs fail in.

use super::driver::{batches, capture, options, read_item, walk, walk_whole};
use holdfast_engine::outcome::NoticeKind;
use holdfast_engine::source::{ItemError, Order, Source};
use proptest::prelude::*;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::tempdir;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, FOLDER, Mode::empty()).unwrap()
}

/// Makes folders one below the other, each of the same name, with a file in the last.
pub(super) fn make_deep(top: &Path, name: &str, depth: usize) {
    let mut folder = open(top);
    for _ in 0..depth {
        mkdirat(&folder, name, Mode::RWXU).unwrap();
        folder = openat(&folder, name, FOLDER, Mode::empty()).unwrap();
    }
    let file = openat(&folder, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR | Mode::WUSR).unwrap();
    rustix::io::write(file, b"deep").unwrap();
}

/// Removes them again; the standard library needs a handle for each level.
pub(super) fn remove_deep(top: &Path, name: &str, depth: usize) {
    let mut folder = open(top);
    for _ in 0..depth {
        folder = openat(&folder, name, FOLDER, Mode::empty()).unwrap();
    }
    unlinkat(&folder, "file", AtFlags::empty()).unwrap();
    for _ in 0..depth {
        folder = openat(&folder, "..", FOLDER, Mode::empty()).unwrap();
        unlinkat(&folder, name, AtFlags::REMOVEDIR).unwrap();
    }
}

#[test]
fn odd_names_come_in_the_order_of_their_bytes() {
    let top = tempdir().unwrap();
    let long = "n".repeat(255);
    let names: [&[u8]; 9] =
        [b"a", b"a!", b"a\x01", b"new\nline", b"\xff\xfe", b"-rf", b" ", b"\xc3\xa9", long.as_bytes()];
    for name in names {
        fs::write(top.path().join(OsStr::from_bytes(name)), b"x").unwrap();
    }
    fs::remove_file(top.path().join("a")).unwrap();
    fs::create_dir(top.path().join("a")).unwrap();
    fs::write(top.path().join("a/inside"), b"x").unwrap();
    let (keys, problems) = walk(options(&[top.path()]));
    let mut expected: Vec<Vec<u8>> = names.iter().map(|name| name.to_vec()).collect();
    expected.push(b"a\0inside".to_vec());
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(problems.problem_count + problems.notice_count, 0);
}

#[test]
fn folders_above_are_listed() {
    let top = tempdir().unwrap();
    fs::create_dir_all(top.path().join("p/q/r")).unwrap();
    fs::create_dir_all(top.path().join("p/q!")).unwrap();
    fs::write(top.path().join("p/q/r/file"), b"x").unwrap();
    fs::write(top.path().join("p/not asked for"), b"x").unwrap();
    symlink(top.path().join("p"), top.path().join("way")).unwrap();
    let paths = [top.path().join("way/q!"), top.path().join("way/q/r"), top.path().join("way/q/r/file")];
    let (keys, _) = walk_whole(options(&paths.each_ref().map(|path| path.as_path())));
    let prefix = holdfast_core::entry::path_to_key(top.path().as_os_str().as_bytes());
    let below: Vec<_> = keys.iter().filter_map(|key| key.strip_prefix(&prefix[..])).collect();
    let expected: [&[u8]; 6] =
        [b"", b"\0way", b"\0way\0q", b"\0way\0q\0r", b"\0way\0q\0r\0file", b"\0way\0q!"];
    assert_eq!(below, expected);
    let depth = top.path().components().count() - 1;
    assert_eq!(keys.len(), depth - 1 + expected.len());
    // The link on the way is kept as the folder it leads to.
    let captured = capture(&paths[0]);
    assert_eq!(captured.len(), 1);
}

#[test]
fn folders_above_have_the_time_of_what_was_stated() {
    let top = tempdir().unwrap();
    fs::create_dir_all(top.path().join("above/stated")).unwrap();
    let stated = top.path().join("above/stated");
    fs::File::open(top.path().join("above")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let mut times = Vec::new();
    for batch in batches(options(&[&stated])) {
        times.extend((0..batch.items.len()).map(|item| read_item(&batch, item).unwrap().0.mtime));
    }
    assert!(times.len() > 2 && times.iter().all(|time| *time == times[0]), "{times:?}");
    assert_ne!(times[0].seconds, 0);
}

#[test]
fn everything_begins_at_the_root() {
    let mut options = options(&[Path::new("/")]);
    options.excludes = crate::Excludes::new(&["/*/*".to_owned()], &[]).unwrap();
    let (keys, _) = walk_whole(options);
    assert!(keys.iter().any(|key| key == b"etc"));
    assert!(keys.iter().all(|key| !key.is_empty() && !key.contains(&0)));
}

#[test]
fn root_that_is_a_link_or_a_file() {
    let top = tempdir().unwrap();
    fs::write(top.path().join("file"), b"x").unwrap();
    symlink("file", top.path().join("link")).unwrap();
    let (keys, problems) = walk_whole(options(&[&top.path().join("link"), &top.path().join("file")]));
    assert!(keys[keys.len() - 2].ends_with(b"\0file") && keys[keys.len() - 1].ends_with(b"\0link"));
    assert_eq!(problems.notices[0].kind, NoticeKind::Other);
    assert!(problems.notices[0].what.contains("slash"));
}

#[test]
fn paths_longer_than_the_system_takes() {
    let top = tempdir().unwrap();
    make_deep(top.path(), "twenty characters ok", 300);
    let captured = capture(top.path());
    assert_eq!(captured.len(), 302);
    assert!(captured[301].0.key.len() > 4096);
    assert_eq!(captured[301].1, [(0, Ok(b"deep".to_vec()))]);
}

/// More levels than handles: folders are opened again from the nearest one that is still open.
#[test]
fn deeper_than_the_limit_of_open_files() {
    let top = tempdir().unwrap();
    make_deep(top.path(), "d", 3000);
    let captured = capture(top.path());
    remove_deep(top.path(), "d", 3000);
    assert_eq!(captured.len(), 3002);
    assert_eq!(captured[3001].1, [(0, Ok(b"deep".to_vec()))]);
}

#[test]
fn many_files_in_one_folder() {
    let top = tempdir().unwrap();
    for at in (0..20_000).rev() {
        fs::write(top.path().join(format!("{at}")), b"").unwrap();
    }
    let batches = batches(options(&[top.path()]));
    assert!(batches.iter().all(|batch| batch.items.len() <= 256));
    let mut expected: Vec<_> = (0..20_000).map(|at| format!("{at}").into_bytes()).collect();
    expected.sort_unstable();
    assert_eq!(walk(options(&[top.path()])).0, expected);
}

#[test]
fn gone_after_it_was_listed() {
    let top = tempdir().unwrap();
    for name in ["file", "folder", "other"] {
        fs::write(top.path().join(name), b"x").unwrap();
    }
    let batches = batches(options(&[top.path()]));
    fs::remove_file(top.path().join("file")).unwrap();
    fs::remove_file(top.path().join("folder")).unwrap();
    fs::create_dir(top.path().join("folder")).unwrap();
    fs::remove_file(top.path().join("other")).unwrap();
    symlink("/etc/passwd", top.path().join("other")).unwrap();
    let batch = batches.last().unwrap();
    let (all, changed) =
        (batch.items.len(), "it is something else now than when it was listed; back up again");
    for item in all - 3..all {
        let errors = [batch.reader.examine(item, &mut Vec::new()).err(), batch.reader.open(item).err()];
        for error in errors {
            // What has another thing in its place is not in the snapshot either way: that is no notice.
            match error.unwrap() {
                ItemError::Vanished => assert_eq!(item, all - 3),
                ItemError::Unreadable { source, .. } => {
                    assert_eq!((source.to_string().as_str(), item > all - 3), (changed, true));
                }
            }
        }
    }
}

#[test]
fn what_took_the_place_of_something_else_is_told() {
    let top = tempdir().unwrap();
    fs::create_dir(top.path().join("folder")).unwrap();
    symlink("nowhere", top.path().join("link")).unwrap();
    fs::write(top.path().join("plain"), b"x").unwrap();
    let batches = batches(options(&[top.path()]));
    fs::rename(top.path().join("folder"), top.path().join("elsewhere")).unwrap();
    symlink("elsewhere", top.path().join("folder")).unwrap();
    fs::remove_file(top.path().join("link")).unwrap();
    fs::write(top.path().join("link"), b"a file now").unwrap();
    // A file for a file is what is read, as it is now.
    fs::rename(top.path().join("plain"), top.path().join("before")).unwrap();
    fs::write(top.path().join("plain"), b"another").unwrap();
    let batch = batches.last().unwrap();
    let all = batch.items.len();
    for item in all - 3..all - 1 {
        let error = batch.reader.examine(item, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, ItemError::Unreadable { .. }), "{error:?}");
    }
    let mut content = Vec::new();
    assert!(batch.reader.examine(all - 1, &mut content).is_ok());
    assert_eq!(content, b"another");
}

#[test]
fn folder_that_cannot_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let top = tempdir().unwrap();
    let closed = top.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::write(closed.join("file"), b"x").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o0)).unwrap();
    let (keys, problems) = walk(options(&[top.path()]));
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(keys.contains(&b"closed".to_vec()));
    if rustix::process::geteuid().is_root() {
        assert_eq!(keys.len(), 2);
        assert_eq!(problems.problem_count, 0);
    } else {
        assert_eq!(keys.len(), 1);
        assert!(problems.problems[0].path.ends_with(b"/closed"));
        assert!(problems.problems[0].what.starts_with("list: "));
    }
}

#[test]
fn source_says_that_it_is_sorted() {
    let source = crate::FileSource::new(options(&[Path::new("/")])).unwrap();
    assert_eq!(source.order(), Order::Sorted);
    assert_eq!(source.identity().kind, "files");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the names are, the walk gives each path once and in order.
    #[test]
    fn keys_ascend(paths in prop::collection::vec(prop::collection::vec("[a!\u{1}.-]{1,3}", 1..4), 0..20)) {
        let top = tempdir().unwrap();
        let mut expected = BTreeSet::new();
        for parts in paths.iter().filter(|parts| parts.iter().all(|part| part != "." && part != "..")) {
            fs::create_dir_all(top.path().join(parts.join("/"))).unwrap();
            for end in 1..=parts.len() {
                expected.insert(parts[..end].join("\0").into_bytes());
            }
        }
        prop_assert_eq!(walk(options(&[top.path()])).0, expected.into_iter().collect::<Vec<_>>());
    }
}
