//! From a source to a target and back: nothing is lost on the way.

use super::driver::{assert_same, capture, restore};
use super::walking::{make_deep, remove_deep};
use crate::{FileTarget, FileTargetOptions, open_beneath};
use holdfast_core::entry::{Kind, Xattrs};
use holdfast_engine::outcome::ProblemKind;
use holdfast_engine::target::Want;
use rustix::fs::{
    CWD, FileType, IFlags, Mode, OFlags, Timespec, Timestamps, XattrFlags, ioctl_getflags, ioctl_setflags,
    mknodat, setxattr, utimensat,
};
use rustix::process::geteuid;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use tempfile::tempdir;

pub(super) fn set_time(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub(super) fn set_flags(path: &Path, flags: IFlags) -> bool {
    let handle = rustix::fs::open(path, OFlags::RDONLY, Mode::empty()).unwrap();
    let Ok(now) = ioctl_getflags(&handle) else { return false };
    let kept = now - IFlags::IMMUTABLE - IFlags::APPEND - IFlags::NODUMP;
    ioctl_setflags(&handle, kept | flags).is_ok()
}

/// A tree with everything that this user can make.
pub(super) fn make_tree(top: &Path) {
    let at = |name: &str| top.join(name);
    fs::create_dir_all(at("folder/below/deeper")).unwrap();
    fs::create_dir(at("empty folder")).unwrap();
    fs::write(at("empty"), b"").unwrap();
    fs::write(at("folder/small"), b"small").unwrap();
    fs::write(at("folder/below/large"), (0..400_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>())
        .unwrap();
    fs::write(top.join(OsStr::from_bytes(b"\xff\nname")), b"odd").unwrap();
    let sparse = File::create(at("folder/sparse")).unwrap();
    sparse.write_all_at(b"end", 1 << 20).unwrap();
    sparse.set_len(3 << 20).unwrap();
    File::create(at("hole")).unwrap().set_len(123_456).unwrap();
    fs::hard_link(at("folder/small"), at("zz link")).unwrap();
    fs::hard_link(at("folder/small"), at("folder/below/link")).unwrap();
    symlink("nowhere/\u{e9}", at("link")).unwrap();
    fs::hard_link(at("link"), at("link to link")).unwrap();
    for (name, kind) in [("pipe", FileType::Fifo), ("socket", FileType::Socket)] {
        mknodat(CWD, at(name), kind, Mode::RUSR, 0).unwrap();
    }
    // Access lists and plain attributes, where the file system has them.
    let _ = setxattr(at("folder"), "user.note", b"on a folder", XattrFlags::empty());
    let _ = setxattr(at("empty"), "user.note", &[9; 1500], XattrFlags::empty());
    let acl = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\x01\0\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x06\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
    let _ = setxattr(at("folder/below/large"), "system.posix_acl_access", acl, XattrFlags::empty());
    if geteuid().is_root() {
        make_for_root(top);
    }
    let modes =
        [("empty", 0o4711), ("folder/small", 0o440), ("folder/below", 0o2751), ("empty folder", 0o1777)];
    for (name, mode) in modes {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    set_time(&at("folder/small"), -1_000_000_000, 123_456_789);
    set_time(&at("empty"), 4_102_444_801, 999_999_999);
    set_time(&at("link"), 1_000_000_000, 1);
    set_time(&at("pipe"), 1_000_000_001, 2);
    set_time(&at("folder/below"), 1_000_000_002, 3);
    set_time(&at("folder"), -1, 4);
    set_time(top, 1_000_000_003, 5);
}

fn make_for_root(top: &Path) {
    let at = |name: &str| top.join(name);
    for name in ["folder", "folder/below/large", "socket", "empty"] {
        chown(at(name), Some(12_345), Some(54_321)).unwrap();
    }
    rustix::fs::chownat(
        CWD,
        at("link"),
        Some(rustix::fs::Uid::from_raw(7)),
        None,
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .unwrap();
    let device = rustix::fs::makedev(1, 3);
    // A sandbox may forbid devices and capabilities even to root.
    let _ = mknodat(CWD, at("device"), FileType::CharacterDevice, Mode::RUSR, device);
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let _ = setxattr(at("folder/sparse"), "security.capability", capability, XattrFlags::empty());
    let _ = setxattr(at("folder"), "trusted.note", b"for root", XattrFlags::empty());
}

#[test]
fn everything_comes_back() {
    for batch_items in [1, 3, 1000] {
        let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
        make_tree(source.path());
        let mut restored = FileTarget::create(target.path(), &FileTargetOptions::default()).unwrap();
        let captured = capture(source.path());
        let problems = restore(&mut restored, &captured, batch_items);
        assert_eq!(problems.problems, []);
        assert_same(source.path(), target.path());
        check_by_other_means(source.path(), target.path());
    }
}

/// The comparison reads with the code under test, so some of it is asked of the standard library.
fn check_by_other_means(source: &Path, target: &Path) {
    let both = |name: &str| [source, target].map(|top| fs::symlink_metadata(top.join(name)).unwrap());
    for name in ["folder/small", "empty", "folder", "folder/below", "link", "pipe", "socket", "folder/sparse"]
    {
        let [one, other] = both(name);
        let of = |meta: &fs::Metadata| {
            (meta.mode(), meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec(), meta.nlink(), meta.len())
        };
        assert_eq!(of(&one), of(&other), "{name}");
    }
    let [small, link] = ["folder/small", "zz link"].map(|name| fs::metadata(target.join(name)).unwrap());
    assert_eq!((small.ino(), small.nlink()), (link.ino(), 3));
    assert_eq!(small.mtime(), -1_000_000_000);
    assert_eq!(
        fs::read(target.join("folder/below/large")).unwrap(),
        fs::read(source.join("folder/below/large")).unwrap()
    );
    assert!(both("folder/sparse")[1].blocks() * 512 < 1 << 20);
    assert_eq!(fs::read_link(target.join("link to link")).unwrap(), Path::new("nowhere/\u{e9}"));
}

#[test]
fn unchangeable_files_come_back() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    let names = ["file", "folder", "folder/inside", "log"];
    fs::create_dir(source.path().join("folder")).unwrap();
    for name in ["file", "folder/inside", "log"] {
        fs::write(source.path().join(name), b"x").unwrap();
    }
    fs::hard_link(source.path().join("file"), source.path().join("other")).unwrap();
    let flags = [IFlags::IMMUTABLE, IFlags::IMMUTABLE, IFlags::NODUMP | IFlags::APPEND, IFlags::APPEND];
    let mut able = true;
    for (name, flags) in names.iter().zip(flags).rev() {
        able &= set_flags(&source.path().join(name), flags);
    }
    let captured = capture(source.path());
    let mut restored = FileTarget::create(target.path(), &FileTargetOptions::default()).unwrap();
    let problems = restore(&mut restored, &captured, 2);
    let outcome = std::panic::catch_unwind(|| assert_same(source.path(), target.path()));
    for top in [source.path(), target.path()] {
        for name in names {
            set_flags(&top.join(name), IFlags::empty());
        }
    }
    assert!(outcome.is_ok());
    assert_eq!(problems.problems, []);
    if able {
        assert!(
            captured.iter().any(|(entry, _)| entry.attributes.inode_flags & IFlags::IMMUTABLE.bits() != 0)
        );
    }
}

#[test]
fn deep_trees_come_back() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    make_deep(source.path(), "d", 2500);
    let captured = capture(source.path());
    let mut restored = FileTarget::create(target.path(), &FileTargetOptions::default()).unwrap();
    let problems = restore(&mut restored, &captured, 256);
    let again = capture(target.path());
    for top in [source.path(), target.path()] {
        remove_deep(top, "d", 2500);
    }
    assert_eq!(problems.problems, []);
    assert_eq!(again.len(), captured.len());
    assert!(again.iter().zip(&captured).all(|(one, other)| one.0.mtime == other.0.mtime && one.1 == other.1));
}

#[test]
fn zeros_become_holes_where_asked() {
    let source = tempdir().unwrap();
    let mut content = vec![0; 100_000];
    content[50_000] = 1;
    fs::write(source.path().join("small"), &content).unwrap();
    fs::write(source.path().join("large"), content.repeat(5)).unwrap();
    let captured = capture(source.path());
    let mut blocks = Vec::new();
    for sparse in [false, true] {
        let target = tempdir().unwrap();
        let options = FileTargetOptions { sparse, ..Default::default() };
        restore(&mut FileTarget::create(target.path(), &options).unwrap(), &captured, 10);
        assert_eq!(fs::read(target.path().join("small")).unwrap(), content);
        assert_eq!(fs::read(target.path().join("large")).unwrap(), content.repeat(5));
        blocks.push(["small", "large"].map(|name| fs::metadata(target.path().join(name)).unwrap().blocks()));
    }
    assert!(blocks[0][0] * 512 >= 100_000 && blocks[1][0] * 512 <= 8192, "{blocks:?}");
    assert!(blocks[0][1] * 512 >= 500_000 && blocks[1][1] * 512 <= 5 * 8192, "{blocks:?}");
}

#[test]
fn owners_by_name() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    fs::write(source.path().join("file"), b"x").unwrap();
    let mut captured = capture(source.path());
    let own = fs::metadata(source.path()).unwrap();
    let known = captured[1].0.owner.as_ref().clone();
    for (entry, _) in &mut captured {
        // The numbers of another host; the names are those of this one.
        let foreign = holdfast_core::entry::Owner { uid: 4_000_000, gid: 4_000_000, ..known.clone() };
        entry.owner = foreign.into();
    }
    let options = FileTargetOptions { ownership_by_name: true, ..Default::default() };
    let problems = restore(&mut FileTarget::create(target.path(), &options).unwrap(), &captured, 10);
    let restored = fs::metadata(target.path().join("file")).unwrap();
    if !known.user.is_empty() && !known.group.is_empty() {
        assert_eq!((restored.uid(), restored.gid()), (own.uid(), own.gid()));
        assert_eq!(problems.problem_count, 0);
    }
}

#[test]
fn what_this_user_may_not_set_is_named() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    fs::write(source.path().join("file"), b"x").unwrap();
    let mut captured = capture(source.path());
    let (entry, _) = &mut captured[1];
    entry.mode = 0o6755;
    entry.owner = holdfast_core::entry::Owner { uid: 4_000_000, gid: 4_000_001, ..Default::default() }.into();
    entry.attributes.xattrs = Xattrs::Inline(vec![(b"nonsense.x".to_vec(), b"1".to_vec())]);
    entry.mtime.nanos = 0x3fff_ffff;
    let mut restored = FileTarget::create(target.path(), &FileTargetOptions::default()).unwrap();
    let problems = restore(&mut restored, &captured, 10);
    let meta = fs::metadata(target.path().join("file")).unwrap();
    assert_eq!((problems.problem_count, problems.problems[0].kind), (1, ProblemKind::Attribute));
    let what = &problems.problems[0].what;
    assert!(what.contains("nonsense.x") && what.contains("time"), "{what}");
    if geteuid().is_root() {
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (4_000_000, 4_000_001, 0o6755));
    } else {
        assert_eq!(meta.mode() & 0o7777, 0o755);
        assert!(what.contains("owner 4000000:4000001") && what.contains("set-user-id"), "{what}");
    }
}

#[test]
fn targets_that_are_not_taken() {
    let top = tempdir().unwrap();
    fs::write(top.path().join("file"), b"x").unwrap();
    let create = |path: &Path| FileTarget::create(path, &FileTargetOptions::default());
    let error = create(top.path()).unwrap_err();
    assert!(error.what.ends_with("is not empty: state a new or an empty folder"), "{error}");
    assert!(create(&top.path().join("file")).unwrap_err().what.contains("is not a folder"));
    assert!(create(&top.path().join("file/below")).is_err());
    create(&top.path().join("new/and/deep")).unwrap();
    create(&top.path().join("new/and/deep")).unwrap();
}

#[test]
fn given_up_files_leave_nothing() {
    let (source, target) = (tempdir().unwrap(), tempdir().unwrap());
    for name in ["a", "b", "c"] {
        fs::write(source.path().join(name), b"content").unwrap();
    }
    fs::hard_link(source.path().join("a"), source.path().join("d")).unwrap();
    let entries: Vec<_> = capture(source.path()).into_iter().map(|(entry, _)| entry).collect();
    let mut restored = FileTarget::create(target.path(), &FileTargetOptions::default()).unwrap();
    use holdfast_engine::target::Target;
    let late = entries[4].clone();
    let batch = restored.prepare(entries).unwrap();
    assert_eq!(
        (0..5).map(|at| batch.wants(at) == Want::Whole).collect::<Vec<_>>(),
        [false, true, true, true, false]
    );
    batch.write_at(1, 3, b"tent").unwrap();
    batch.discard(1).unwrap();
    batch.write_at(1, 0, b"con").unwrap();
    batch.close(1).unwrap();
    batch.put(2, b"content").unwrap();
    batch.discard(2).unwrap();
    batch.discard(3).unwrap();
    restored.complete(batch).unwrap();
    // The first name is lost, so the next one wants its content again.
    let key = b"e".to_vec();
    let batch = restored.prepare(vec![holdfast_core::entry::Entry { key, ..late }]).unwrap();
    assert_eq!(batch.wants(0), Want::Whole);
    batch.put(0, b"content").unwrap();
    restored.complete(batch).unwrap();
    let problems = restored.finish().unwrap().problems;
    assert_eq!(problems.problems.len(), 1);
    assert_eq!(
        (&problems.problems[0].path[..], problems.problems[0].kind),
        (&b"d"[..], ProblemKind::Damaged)
    );
    let left: Vec<_> = fs::read_dir(target.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["e"]);
}

#[test]
fn restored_files_are_opened_again() {
    let top = tempdir().unwrap();
    fs::create_dir(top.path().join("folder")).unwrap();
    fs::write(top.path().join("folder/file"), b"x").unwrap();
    symlink("folder", top.path().join("way")).unwrap();
    symlink("file", top.path().join("folder/link")).unwrap();
    let mut content = String::new();
    open_beneath(top.path(), b"folder\0file").unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content, "x");
    let hostile: [&[u8]; 8] =
        [b"", b"folder", b"way\0file", b"folder\0link", b"..\0x", b"folder/file", b"folder\0\0file", b"none"];
    for key in hostile {
        assert!(open_beneath(top.path(), key).is_err(), "{key:?}");
    }
}

#[test]
fn special_kinds_are_captured() {
    let top = tempdir().unwrap();
    make_tree(top.path());
    let kinds: Vec<_> = capture(top.path()).iter().map(|(entry, _)| entry.kind).collect();
    for kind in [Kind::File, Kind::Directory, Kind::Symlink, Kind::Fifo, Kind::Socket] {
        assert!(kinds.contains(&kind), "{kind:?}");
    }
}
