//! Snapshots made to do harm.

use crate::{FileTarget, FileTargetOptions};
use holdfast_core::entry::{Attributes, Entry, Kind, Time, Xattrs};
use holdfast_engine::outcome::{ProblemKind, Problems};
use holdfast_engine::target::{Target, Want};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use tempfile::tempdir;

fn entry(key: &[u8], kind: Kind) -> Entry {
    let link_target = (kind == Kind::Symlink).then(|| b"/etc".to_vec());
    let own = fs::metadata("/proc/self").unwrap();
    Entry {
        key: key.to_vec(),
        kind,
        mode: 0o755,
        owner: Arc::new(holdfast_core::entry::Owner { uid: own.uid(), gid: own.gid(), ..Default::default() }),
        mtime: Time { seconds: 1, nanos: 0 },
        size: 1,
        content: holdfast_core::entry::Content::None,
        digest: None,
        attributes: Attributes { link_target, ..Attributes::default() },
    }
}

/// Restores entries in one batch; files that are wanted get one byte.
fn restore(top: &Path, entries: Vec<Entry>) -> Problems {
    let mut target = FileTarget::create(top, &FileTargetOptions::default()).unwrap();
    let batch = target.prepare(entries).unwrap();
    for at in 0..batch.entries().len() {
        if batch.wants(at) == Want::Whole {
            batch.put(at, b"x").unwrap();
        }
    }
    target.complete(batch).unwrap();
    target.finish().unwrap().problems
}

fn refused(problems: &Problems) -> Vec<&[u8]> {
    let refused = problems.problems.iter().filter(|problem| problem.kind == ProblemKind::Refused);
    refused.map(|problem| &problem.path[..]).collect()
}

#[test]
fn names_that_lead_elsewhere() {
    let top = tempdir().unwrap();
    let target = top.path().join("target");
    let keys: [&[u8]; 8] =
        [b"", b"\0absolute", b".", b"..", b"..\0escaped", b"/etc/escaped", b"a/../../escaped", b"b\0\0c"];
    let mut entries: Vec<_> = keys.iter().map(|key| entry(key, Kind::File)).collect();
    entries[0].kind = Kind::Directory;
    entries.push(entry(b"z", Kind::File));
    let problems = restore(&target, entries);
    assert_eq!(refused(&problems).len(), 7);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1);
    assert_eq!(fs::read_dir(top.path()).unwrap().count(), 1);
}

#[test]
fn nothing_is_made_below_a_link() {
    let top = tempdir().unwrap();
    let entries = vec![
        entry(b"file", Kind::File),
        entry(b"file\0below", Kind::File),
        entry(b"file\0below\0more", Kind::File),
        entry(b"way", Kind::Symlink),
        entry(b"way\0file", Kind::File),
        entry(b"way\0folder", Kind::Directory),
        entry(b"way\0folder\0file", Kind::File),
    ];
    let problems = restore(&top.path().join("t"), entries);
    let all: [&[u8]; 5] = [b"file/below", b"file/below/more", b"way/file", b"way/folder", b"way/folder/file"];
    assert_eq!((refused(&problems), problems.problem_count), (all.to_vec(), 5));
    assert!(!Path::new("/etc/file").exists() && !Path::new("/etc/folder").exists());
    assert!(top.path().join("t/file").is_file());
}

#[test]
fn a_folder_that_the_snapshot_does_not_have_is_made_for_what_lies_in_it() {
    let top = tempdir().unwrap();
    let target = top.path().join("t");
    let keys: [&[u8]; 4] = [b"a\0b\0c\0file", b"a\0b\0file", b"a\0x", b"z\0file"];
    let mut entries: Vec<_> = keys.iter().map(|key| entry(key, Kind::File)).collect();
    entries.push(entry(b"z\0folder", Kind::Directory));
    let problems = restore(&target, entries);
    let told: Vec<_> = problems.problems.iter().map(|problem| (&problem.path[..], problem.kind)).collect();
    let made: [&[u8]; 4] = [b"a", b"a/b", b"a/b/c", b"z"];
    assert_eq!(told, made.map(|path| (path, ProblemKind::Attribute)));
    for file in ["a/b/c/file", "a/b/file", "a/x", "z/file"] {
        assert!(target.join(file).is_file(), "{file}");
    }
    assert_eq!(fs::metadata(target.join("a/b")).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(target.join("z/folder")).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn what_was_refused_is_not_taken() {
    let top = tempdir().unwrap();
    let mut target = FileTarget::create(&top.path().join("t"), &FileTargetOptions::default()).unwrap();
    let entries = vec![
        entry(b"a", Kind::Symlink),
        entry(b"a\0file", Kind::File),
        entry(b"b", Kind::File),
        entry(b"b", Kind::File),
        entry(b"c", Kind::CharDevice),
    ];
    let batch = target.prepare(entries).unwrap();
    batch.put(2, b"x").unwrap();
    assert_eq!([0, 1, 2, 3, 4].map(|at| batch.takes(at)), [true, false, true, false, false]);
}

#[test]
fn duplicates_and_disorder() {
    let top = tempdir().unwrap();
    let target = top.path().join("t");
    let entries = vec![
        entry(b"folder", Kind::Directory),
        entry(b"folder", Kind::Symlink),
        entry(b"folder\0file", Kind::File),
        entry(b"folder\0file", Kind::File),
        entry(b"before", Kind::File),
        entry(b"folder\0more", Kind::File),
    ];
    let problems = restore(&target, entries);
    assert_eq!(refused(&problems), [&b"folder"[..], b"folder/file", b"before"]);
    assert!(target.join("folder/more").is_file());
}

#[test]
fn what_was_put_there_meanwhile_is_not_overwritten() {
    let top = tempdir().unwrap();
    let victim = top.path().join("victim");
    fs::write(&victim, b"precious").unwrap();
    let target_path = top.path().join("t");
    let mut target = FileTarget::create(&target_path, &FileTargetOptions::default()).unwrap();
    std::os::unix::fs::symlink(&victim, target_path.join("file")).unwrap();
    std::os::unix::fs::symlink(top.path(), target_path.join("folder")).unwrap();
    let entries = vec![
        entry(b"file", Kind::File),
        entry(b"folder", Kind::Directory),
        entry(b"folder\0victim", Kind::File),
    ];
    let batch = target.prepare(entries).unwrap();
    batch.put(0, b"x").unwrap();
    assert_eq!(batch.wants(2), Want::Nothing);
    batch.discard(0).unwrap();
    target.complete(batch).unwrap();
    assert_eq!(refused(&target.finish().unwrap().problems).len(), 3);
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert!(target_path.join("file").is_symlink());
}

#[test]
fn forged_groups_stay_apart() {
    let top = tempdir().unwrap();
    let target = top.path().join("t");
    let linked = |key: &[u8], mode: u16| {
        let mut entry = entry(key, Kind::File);
        entry.attributes.link_group = Some([1; 16]);
        entry.mode = mode;
        entry
    };
    let mut with_attribute = linked(b"d", 0o600);
    with_attribute.attributes.xattrs = Xattrs::Inline(vec![(b"user.x".to_vec(), b"1".to_vec())]);
    let entries = vec![linked(b"a", 0o600), linked(b"b", 0o644), linked(b"c", 0o600), with_attribute];
    let problems = restore(&target, entries);
    assert_eq!(refused(&problems).len(), 0);
    let inode = |name: &str| fs::metadata(target.join(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("c"));
    assert_ne!(inode("a"), inode("b"));
    assert_ne!(inode("a"), inode("d"));
}

#[test]
fn links_and_devices_without_what_they_need() {
    let top = tempdir().unwrap();
    let mut empty = entry(b"a", Kind::Symlink);
    empty.attributes.link_target = Some(Vec::new());
    let mut cut = entry(b"b", Kind::Symlink);
    cut.attributes.link_target = Some(b"x\0y".to_vec());
    let problems = restore(&top.path().join("t"), vec![empty, cut, entry(b"c", Kind::CharDevice)]);
    assert_eq!(refused(&problems).len(), 3);
}

#[test]
fn devices_without_rights_are_named() {
    let top = tempdir().unwrap();
    let mut device = entry(b"null", Kind::CharDevice);
    device.attributes.device = Some((1, 3));
    let problems = restore(&top.path().join("t"), vec![device]);
    if rustix::process::geteuid().is_root() && problems.problem_count == 0 {
        assert_eq!(fs::metadata(top.path().join("t/null")).unwrap().rdev(), rustix::fs::makedev(1, 3));
    } else {
        assert_eq!(problems.problems[0].kind, ProblemKind::Unwritable);
        assert!(problems.problems[0].what.starts_with("make device: "));
    }
}

#[test]
fn batches_out_of_order_are_a_defect() {
    let top = tempdir().unwrap();
    let mut target = FileTarget::create(&top.path().join("t"), &FileTargetOptions::default()).unwrap();
    let _first = target.prepare(vec![entry(b"a", Kind::Directory)]).unwrap();
    let second = target.prepare(vec![entry(b"b", Kind::Directory)]).unwrap();
    assert!(target.complete(second).is_err());
}
