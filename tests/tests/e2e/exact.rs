//! What comes back is what was there: names, links, holes, attributes, times, kinds.

use super::compare::{same, same_for_rsync};
use super::tree::{make_node, noise, put, put_deep, put_sparse, set_time, set_xattr};
use super::world::{World, count, is_root, number, run_tool};
use rustix::fs::{FileType, IFlags};
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

/// Backs up, restores, compares with our eyes and with those of rsync.
fn there_and_back(world: &World, source: &Path) {
    world.backup(source);
    let restored = world.restore(source, "restored");
    same(source, &restored);
    same_for_rsync(source, &restored);
}

#[test]
fn kinds_links_and_holes() {
    let (world, source) = (World::new(), "source");
    let source = world.path(source);
    put(source.join("one"), noise(1, 300_000));
    fs::create_dir_all(source.join("far/away")).unwrap();
    fs::create_dir_all(source.join("empty/empty")).unwrap();
    fs::hard_link(source.join("one"), source.join("a link before it")).unwrap();
    fs::hard_link(source.join("one"), source.join("far/away/link")).unwrap();
    put(source.join("far/small"), b"small");
    fs::hard_link(source.join("far/small"), source.join("small too")).unwrap();
    put(source.join("nothing in it"), b"");
    for (name, target) in [("dangling", "nowhere"), ("absolute", "/etc/hostname"), ("loop", "loop")] {
        symlink(target, source.join(name)).unwrap();
    }
    symlink("x".repeat(4000), source.join("long")).unwrap();
    fs::hard_link(source.join("dangling"), source.join("far/dangling too")).unwrap();
    make_node(&source.join("fifo"), FileType::Fifo, 0, 0);
    drop(UnixListener::bind(source.join("socket")).unwrap());
    if is_root() {
        make_node(&source.join("null"), FileType::CharacterDevice, 1, 3);
        make_node(&source.join("disk"), FileType::BlockDevice, 259, 70_000);
    }
    let island = noise(2, 70_000);
    let islands: &[(u64, &[u8])] = &[(0, b"first"), (300 << 20, &island), ((1 << 30) - 5, b"last.")];
    put_sparse(&source.join("sparse"), 1 << 30, islands);
    put_sparse(&source.join("only hole"), 50 << 20, &[]);
    put_sparse(&source.join("hole at the end"), 20 << 20, &[(4096, &island)]);
    there_and_back(&world, &source);
}

#[test]
fn a_second_link_is_restored_alone() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("a/first"), noise(3, 200_000));
    fs::create_dir(source.join("b")).unwrap();
    fs::hard_link(source.join("a/first"), source.join("b/second")).unwrap();
    world.backup(&source);
    let restored = world.path("restored");
    let part = super::world::within("latest", &source.join("b"));
    world.run(&[&"restore", &part, &"--target", &restored, &"--verify"]).ends(0);
    assert_eq!(fs::read(restored.join("second")).unwrap(), noise(3, 200_000));
}

#[test]
fn names_of_all_sorts() {
    let world = World::new();
    let source = world.path("source");
    let long = "n".repeat(255);
    let names: [&[u8]; 12] = [
        b"new\nline",
        b"\xff\xfe\x80 not UTF-8",
        long.as_bytes(),
        b"-rf",
        b"   ",
        b"\x01\x02\x1b[31m\x7f",
        b"tab\there",
        b"back\\slash",
        "\u{e4}\u{301}\u{202e}".as_bytes(),
        b"*?[a]",
        b"...",
        b"'\"$(id)`id`",
    ];
    for name in names {
        let name = OsStr::from_bytes(name);
        put(source.join("files").join(name), name.as_bytes());
        put(source.join("folders").join(name).join(name), b"below");
    }
    // The order of a tree is not that of names with the slash in between.
    for name in ["a", "a.b", "a b", "a-b"] {
        put(source.join("order").join(name).join("x"), b"x");
    }
    there_and_back(&world, &source);
    let listed = world.run(&[&"ls", &"latest"]).ends(0);
    assert!(!listed.out.contains('\u{1b}'), "a control character reached the terminal");
}

#[test]
fn deep_trees_and_paths_longer_than_the_system_takes() {
    let world = World::new();
    let source = world.path("source");
    fs::create_dir(&source).unwrap();
    put_deep(&source, "d", 150, b"150 deep");
    world.backup(&source);
    let restored = world.restore(&source, "first");
    same(&source, &restored);
    same_for_rsync(&source, &restored);
    put_deep(&source, &"long".repeat(15), 150, b"9,000 bytes long");
    put_deep(&source, &"w".repeat(255), 20, b"wide");
    world.backup(&source);
    let restored = world.restore(&source, "second");
    same(&source, &restored);
    // Again, from the cache.
    let summary = world.backup(&source);
    assert_eq!((count(&summary, "error_count"), count(&summary, "total_files_processed")), (0, 3));
}

#[test]
fn times_modes_and_owners() {
    let world = World::new();
    let source = world.path("source");
    let times = [(0, 0), (-1, 999_999_999), (-2_000_000_000, 1), (4_102_444_800, 123_456_789), (1, 1)];
    for (number, (seconds, nanos)) in times.into_iter().enumerate() {
        let (file, folder) = (source.join(format!("file {number}")), source.join(format!("folder {number}")));
        put(&file, b"time");
        put(folder.join("inside"), b"time");
        symlink("file", source.join(format!("link {number}"))).unwrap();
        for path in [&file, &folder.join("inside"), &source.join(format!("link {number}"))] {
            set_time(path, seconds, nanos);
        }
        set_time(&folder, seconds, nanos);
    }
    for mode in [0o000, 0o200, 0o400, 0o777, 0o4755, 0o2755, 0o6711, 0o1644] {
        let file = source.join(format!("mode {mode:o}"));
        put(&file, b"mode");
        fs::set_permissions(file, Permissions::from_mode(mode)).unwrap();
    }
    for mode in [0o1777, 0o2770, 0o500, 0o000] {
        let folder = source.join(format!("folder mode {mode:o}"));
        put(folder.join("inside"), b"mode");
        if mode != 0 || is_root() {
            fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
        }
    }
    if is_root() {
        for (number, owner) in [(1, 1), (12345, 54321), (65534, 4_000_000_000)].into_iter().enumerate() {
            let file = source.join(format!("owned {number}"));
            put(&file, b"owned");
            symlink("owned", source.join(format!("owned link {number}"))).unwrap();
            std::os::unix::fs::chown(&file, Some(owner.0), Some(owner.1)).unwrap();
            std::os::unix::fs::lchown(source.join(format!("owned link {number}")), Some(7), Some(8)).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o6755)).unwrap();
        }
    }
    set_time(&source, 1_000_000_000, 5);
    if !is_root() {
        fs::remove_file(source.join("mode 0")).unwrap();
        fs::remove_file(source.join("mode 200")).unwrap();
    }
    there_and_back(&world, &source);
}

#[test]
fn extended_attributes_lists_and_capabilities() {
    let world = World::new();
    let source = world.path("source");
    for name in ["file", "folder/inside", "acl", "folder acl/inside", "capable"] {
        put(source.join(name), noise(4, 2000));
    }
    set_xattr(&source.join("file"), "user.empty", b"");
    set_xattr(&source.join("file"), "user.binary", &noise(5, 1500));
    set_xattr(&source.join("folder"), "user.of a folder", b"\0\x01");
    set_xattr(&source, "user.of the top", b"top");
    fs::hard_link(source.join("file"), source.join("folder/link")).unwrap();
    let setfacl = |words: &[&str], path: &str| {
        run_tool(Command::new("setfacl").args(words).arg(source.join(path)));
    };
    setfacl(&["-m", "u:1234:rwx,g:99:r,m::rx"], "acl");
    setfacl(&["-m", "u:1234:rwx"], "folder acl");
    setfacl(&["-d", "-m", "u:77:rwx,g:88:r"], "folder acl");
    if is_root() {
        symlink("nowhere", source.join("link")).unwrap();
        for name in ["file", "folder", "link"] {
            set_xattr(&source.join(name), "trusted.secret", b"for root");
        }
        std::os::unix::fs::chown(source.join("capable"), Some(5), Some(5)).unwrap();
        run_tool(Command::new("setcap").arg("cap_net_raw,cap_chown+ep").arg(source.join("capable")));
    }
    there_and_back(&world, &source);
    let restored = world.path("restored");
    if is_root() {
        assert!(run_tool(Command::new("getcap").arg(restored.join("capable"))).contains("cap_net_raw"));
    }
}

/// Lists of the target's own folder must not seep into what is restored.
#[test]
fn lists_of_the_target_are_not_inherited() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("folder/file"), b"private");
    fs::set_permissions(source.join("folder/file"), Permissions::from_mode(0o600)).unwrap();
    world.backup(&source);
    let shared = world.path("shared");
    fs::create_dir(&shared).unwrap();
    run_tool(Command::new("setfacl").args(["-d", "-m", "u:1234:rwx"]).arg(&shared));
    let restored = world.restore(&source, "shared/out");
    same(&source, &restored);
}

#[test]
fn inode_flags() {
    let world = World::new();
    let source = world.path("source");
    put(world.path("flagged"), b"");
    let wanted =
        [("immutable", IFlags::IMMUTABLE), ("append only", IFlags::APPEND), ("no dump", IFlags::NODUMP)];
    for (name, flags) in wanted {
        put(source.join(name).join("inside"), name);
        put(source.join(format!("{name} file")), name);
        for path in [source.join(format!("{name} file")), source.join(name)] {
            let file = File::open(path).unwrap();
            let set = rustix::fs::ioctl_getflags(&file)
                .and_then(|now| rustix::fs::ioctl_setflags(&file, now | flags));
            match set {
                Ok(()) => {}
                // The file system has none, or this container may not.
                Err(rustix::io::Errno::NOTTY | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::PERM) => {
                    return;
                }
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
    world.backup(&source);
    let restored = world.restore(&source, "restored");
    same(&source, &restored);
}

#[test]
fn a_folder_with_very_many_files() {
    let world = World::new();
    let source = world.path("source");
    let files = if number("HOLDFAST_TEST_FULL", 0) > 0 { 100_000 } else { 20_000 };
    fs::create_dir(&source).unwrap();
    for number in 0..files {
        fs::write(source.join(format!("file {number}")), number.to_string()).unwrap();
    }
    let summary = world.backup(&source);
    assert_eq!(count(&summary, "files_new"), files as u64);
    let restored = world.restore(&source, "restored");
    same(&source, &restored);
    same_for_rsync(&source, &restored);
}
