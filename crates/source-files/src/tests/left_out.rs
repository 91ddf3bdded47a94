//! What is left out, why, and what is said about it.

use super::driver::{notices, options, walk};
use crate::{Excludes, FileSourceOptions};
use holdfast_engine::outcome::NoticeKind;
use std::fs;
use std::path::Path;
use tempfile::{TempDir, tempdir};

fn tree(paths: &[(&str, &[u8])]) -> TempDir {
    let top = tempdir().unwrap();
    for (path, content) in paths {
        let path = top.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    top
}

fn paths(options: FileSourceOptions) -> Vec<String> {
    let keys = walk(options).0;
    keys.into_iter().map(|key| String::from_utf8(key).unwrap().replace('\0', "/")).collect()
}

#[test]
fn excluded_folders_are_not_entered() {
    let top = tree(&[("a/x.o", b""), ("a/keep.o", b""), ("b/c/x", b""), ("b/cc", b"")]);
    let patterns = ["*.o".to_owned(), "!keep.o".to_owned(), "b/c".to_owned()];
    let mut options = options(&[top.path()]);
    options.excludes = Excludes::new(&patterns, &["B/CC".to_owned()]).unwrap();
    assert_eq!(paths(options), ["a", "a/keep.o", "b"]);
}

#[test]
fn large_files_are_left_out() {
    let top = tree(&[("large", &[1; 11]), ("small", &[1; 10])]);
    let options = FileSourceOptions { exclude_larger_than: Some(10), ..options(&[top.path()]) };
    assert_eq!(paths(options), ["small"]);
}

#[test]
fn caches_keep_only_their_tag() {
    let signature = b"Signature: 8a477f597d28d172789f06886806bc55\n# comment";
    let top = tree(&[
        ("cache/CACHEDIR.TAG", signature),
        ("cache/a", b""),
        ("cache/z/z", b""),
        ("fake/CACHEDIR.TAG", b"Signature: no"),
        ("fake/a", b""),
    ]);
    assert_eq!(paths(options(&[top.path()])).len(), 8);
    let options = FileSourceOptions { exclude_caches: true, ..options(&[top.path()]) };
    assert_eq!(paths(options), ["cache", "cache/CACHEDIR.TAG", "fake", "fake/CACHEDIR.TAG", "fake/a"]);
}

#[test]
fn tagged_folders_keep_only_their_tag() {
    let top =
        tree(&[("a/.nobackup", b""), ("a/x", b""), ("b/.tag", b"yes: x"), ("b/x", b""), ("c/.tag", b"no")]);
    let exclude_if_present = vec![".nobackup".to_owned(), ".tag:yes".to_owned()];
    let tagged = FileSourceOptions { exclude_if_present, ..options(&[top.path()]) };
    assert_eq!(paths(tagged), ["a", "a/.nobackup", "b", "b/.tag", "c", "c/.tag"]);
    let wrong = FileSourceOptions { exclude_if_present: vec!["a/b".to_owned()], ..options(&[top.path()]) };
    assert!(crate::FileSource::new(wrong).is_err());
}

#[test]
fn stated_paths_are_reached_through_what_is_left_out() {
    let signature = b"Signature: 8a477f597d28d172789f06886806bc55";
    let top = tree(&[
        ("big", &[1; 100]),
        ("other big", &[1; 100]),
        ("tagged/CACHEDIR.TAG", signature),
        ("tagged/a/keep/y", b""),
        ("tagged/a/z", b""),
        ("tagged/other", b""),
        ("www/cache/x", b""),
        ("www/index", b""),
        ("zone/cache/x", b""),
    ]);
    let stated: Vec<_> = ["", "big", "tagged/a/keep", "www/cache"].map(|path| top.path().join(path)).into();
    let stated: Vec<_> =
        stated.iter().map(|path| path.components().collect::<std::path::PathBuf>()).collect();
    let all: Vec<&Path> = stated.iter().map(std::path::PathBuf::as_path).collect();
    let excluding = |pattern: &str| FileSourceOptions {
        excludes: Excludes::new(&[pattern.to_owned()], &[]).unwrap(),
        exclude_caches: true,
        exclude_larger_than: Some(99),
        ..options(&all)
    };
    let tagged = ["tagged", "tagged/CACHEDIR.TAG", "tagged/a", "tagged/a/keep", "tagged/a/keep/y"];
    let www = ["www", "www/cache", "www/cache/x"];
    let expected = [&["big"][..], &tagged, &www, &["www/index", "zone"]].concat();
    assert_eq!(paths(excluding("cache")), expected);
    let expected = [&["big"][..], &tagged, &www, &["zone", "zone/cache", "zone/cache/x"]].concat();
    assert_eq!(paths(excluding("www")), expected);
}

#[test]
fn a_folder_may_be_a_tag() {
    let top = tree(&[("a/.git/config", b""), ("a/x", b"")]);
    let tagged = FileSourceOptions { exclude_if_present: vec![".git".to_owned()], ..options(&[top.path()]) };
    assert_eq!(paths(tagged), ["a", "a/.git", "a/.git/config"]);
}

#[test]
fn the_backup_itself_is_left_out() {
    let top = tree(&[("repository/packs/1", b""), ("x", b"")]);
    let repository = top.path().join("repository");
    let elsewhere = top.path().join("way");
    std::os::unix::fs::symlink(&repository, &elsewhere).unwrap();
    for skipped in [repository.clone(), elsewhere.clone()] {
        let options = FileSourceOptions { skip_paths: vec![skipped], ..options(&[top.path()]) };
        let (_, problems) = walk(options.clone());
        let left_out = notices(&problems, NoticeKind::LeftOut);
        assert!(left_out.contains(&repository.to_str().unwrap().to_owned()));
        assert!(!paths(options).iter().any(|path| path.contains("packs")));
    }
}

#[test]
fn virtual_file_systems_keep_their_mount_point() {
    let mut options = options(&[Path::new("/")]);
    let everything_else = ["/*".to_owned(), "!/proc".to_owned()];
    options.excludes = Excludes::new(&everything_else, &[]).unwrap();
    let (keys, problems) = super::driver::walk_whole(options);
    assert_eq!(keys, [b"proc"]);
    assert_eq!(notices(&problems, NoticeKind::LeftOut), ["/proc"]);
}

#[test]
fn other_file_systems_are_left_out_where_asked() {
    let mut options = options(&[Path::new("/"), Path::new("/proc/sys/kernel/ostype")]);
    let everything_else = ["/*".to_owned(), "!/proc".to_owned()];
    options.excludes = Excludes::new(&everything_else, &[]).unwrap();
    options.one_file_system = true;
    let (keys, problems) = super::driver::walk_whole(options);
    assert_eq!(keys, [b"proc"]);
    // It is a virtual file system first.
    assert_eq!(problems.notice_count, 1);
}

/// Needs a second file system that this user may write to; most machines have this one.
#[test]
fn stated_paths_are_reached_across_a_file_system_that_is_left_out() {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &str| fs::metadata(path).map(|meta| meta.dev()).ok();
    let Ok(top) = tempfile::tempdir_in("/dev/shm") else { return };
    if device("/dev") == device("/dev/shm") {
        return;
    }
    fs::create_dir_all(top.path().join("stated/below")).unwrap();
    fs::write(top.path().join("not stated"), b"").unwrap();
    let whole = FileSourceOptions { one_file_system: true, ..options(&[Path::new("/dev")]) };
    let (keys, _) = super::driver::walk_whole(whole);
    assert!(keys.contains(&b"dev\0shm".to_vec()));
    assert!(!keys.iter().any(|key| key.starts_with(b"dev\0shm\0")));
    let stated = options(&[Path::new("/dev"), &top.path().join("stated")]);
    let (keys, _) = super::driver::walk_whole(FileSourceOptions { one_file_system: true, ..stated });
    let below: Vec<_> = keys.iter().filter(|key| key.starts_with(b"dev\0shm\0")).collect();
    assert_eq!(below.len(), 3);
    assert!(below[0].len() < below[1].len() && below[2].ends_with(b"\0stated\0below"));
}

#[test]
fn live_databases_are_named() {
    let sqlite = b"SQLite format 3\0 and more";
    let top = tree(&[
        ("pg/PG_VERSION", b"18"),
        ("pg/global/pg_control", b""),
        ("not/PG_VERSION", b"18"),
        ("my/ibdata1", b""),
        ("my/mysql/x", b""),
        ("app/live.db", sqlite),
        ("app/live.db-wal", b""),
        ("app/closed.db", sqlite),
        ("app/other", b"no"),
        ("app/other-wal", b""),
    ]);
    let (keys, problems) = walk(options(&[top.path()]));
    assert_eq!(keys.len(), 10 + 6);
    let named = notices(&problems, NoticeKind::LiveDatabase);
    let expected = ["app/live.db", "my", "pg"].map(|name| top.path().join(name).to_str().unwrap().to_owned());
    assert_eq!(named, expected);
    assert!(problems.notices.iter().any(|notice| {
        notice.what == "a live database copied as files does not start; back it up as postgres://"
    }));
}
