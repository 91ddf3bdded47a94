//! `dump`: what comes out is what was there, for the programs that read it; and what is not whole
//! is never taken for whole.

use super::compare::{Depth, differences, list, same};
use super::tree::{make_node, noise, prose, put, put_deep, put_sparse, set_time, set_xattr};
use super::world::{Word, World, is_root, run_tool, within};
use rustix::fs::FileType;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Runs a dump; its output may be anything but text.
fn dump(world: &World, words: &[Word<'_>]) -> Output {
    let mut command = world.command();
    command.arg("dump").args(words.iter().map(|word| word.as_ref())).output().unwrap()
}

#[track_caller]
fn dumped(world: &World, words: &[Word<'_>]) -> Vec<u8> {
    let output = dump(world, words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A tree of all that tar can hold.
fn everything(source: &Path) {
    put(source.join("plain"), prose(1, 5000));
    put(source.join("large"), noise(2, 9 << 20));
    put(source.join("empty"), b"");
    fs::create_dir_all(source.join("folder/empty")).unwrap();
    put(source.join("folder/same"), noise(3, 200_000));
    fs::hard_link(source.join("folder/same"), source.join("a link before it")).unwrap();
    fs::hard_link(source.join("folder/same"), source.join("z link behind it")).unwrap();
    symlink("plain", source.join("link")).unwrap();
    symlink("x".repeat(3000), source.join("long link")).unwrap();
    symlink(OsStr::from_bytes(b"\xff\xfe"), source.join("link to bytes")).unwrap();
    put_sparse(
        &source.join("sparse"),
        3 << 20,
        &[(0, b"first"), (1 << 20, b"island"), ((3 << 20) - 5, b"last.")],
    );
    put_sparse(&source.join("hole"), 1 << 20, &[]);
    let long = "n".repeat(255);
    let names: [&[u8]; 6] =
        [b"new\nline", b"\xff\xfe bytes", long.as_bytes(), b"-rf", b"a=b\\c", "\u{e4}\u{1f600}".as_bytes()];
    for name in names {
        put(source.join("names").join(OsStr::from_bytes(name)), name);
    }
    put_deep(&source.join("names"), "deep", 60, b"deep");
    for (number, mode) in [0o400, 0o4755, 0o2755, 0o1777].into_iter().enumerate() {
        let path = source.join(format!("mode {number}"));
        put(&path, b"mode");
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    make_node(&source.join("fifo"), FileType::Fifo, 0, 0);
    put(source.join("labelled"), b"labelled");
    set_xattr(&source.join("labelled"), "user.plain", b"value");
    set_xattr(&source.join("labelled"), "user.a=b%c", b"\0\n\xff");
    set_xattr(&source.join("labelled"), "user.long", &noise(4, 3000));
    set_xattr(&source.join("folder"), "user.of a folder", b"1");
    if is_root() {
        make_node(&source.join("null"), FileType::CharacterDevice, 1, 3);
        make_node(&source.join("disk"), FileType::BlockDevice, 259, 70_000);
        std::os::unix::fs::chown(source.join("plain"), Some(4_000_000_000), Some(3_000_000)).unwrap();
        // user::rw-, user:1000:r--, group::r--, mask::r--, other::---
        let entries: [(u16, u16, u32); 5] =
            [(1, 6, !0), (2, 4, 1000), (4, 4, !0), (0x10, 4, !0), (0x20, 0, !0)];
        let mut acl = vec![2, 0, 0, 0];
        for (tag, bits, id) in entries {
            acl.extend(tag.to_le_bytes());
            acl.extend(bits.to_le_bytes());
            acl.extend(id.to_le_bytes());
        }
        set_xattr(&source.join("large"), "system.posix_acl_access", &acl);
    }
    for (name, seconds, nanos) in [
        ("plain", 1_700_000_000, 123_456_789),
        ("empty", -1, 999_999_999),
        ("link", 4_102_444_800, 1),
        ("large", -7, 0),
    ] {
        set_time(&source.join(name), seconds, nanos);
    }
}

fn untar(archive: &Path, target: &Path) -> String {
    fs::create_dir(target).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--xattrs", "--xattrs-include=*", "--same-owner", "-xpf"]).arg(archive).arg("-C").arg(target);
    run_tool(&mut tar)
}

#[test]
fn gnu_tar_brings_everything_back() {
    let world = World::new();
    let source = world.path("source");
    everything(&source);
    world.backup(&source);
    let (archive, restored) = (world.path("out.tar"), world.path("restored"));
    fs::write(&archive, dumped(&world, &[&within("latest", &source)])).unwrap();
    untar(&archive, &restored);
    let (wanted, found) = (list(&source, Depth::Everything), list(&restored, Depth::Everything));
    let wrong = differences(&wanted, &found);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(fs::metadata(&archive).unwrap().len() % 10_240, 0);
    // The whole snapshot has the folders above.
    let all = world.path("all.tar");
    world.run(&[&"dump", &"latest", &"--target", &all]).ends(0);
    untar(&all, &world.path("all"));
    let found = list(&world.path("all").join(source.strip_prefix("/").unwrap()), Depth::Everything);
    assert!(differences(&wanted, &found).is_empty());
}

#[test]
fn python_reads_what_we_write() {
    let world = World::new();
    let source = world.path("source");
    everything(&source);
    world.backup(&source);
    let (tar, zip) = (world.path("out.tar"), world.path("out.zip"));
    let part = within("latest", &source);
    world.run(&[&"dump", &part, &"-t", &tar]).ends(0);
    // Pipes and devices have no place in a zip archive, and that is said.
    world
        .run(&[&"dump", &part, &"-t", &zip, &"--archive", &"zip", &"-v"])
        .ends(0)
        .says(&["fifo", "zip cannot hold"]);
    let program = r#"
import os, sys, stat, tarfile, zipfile
source, tar, zipped = map(os.fsencode, sys.argv[1:4])
seen = {}
for folder, folders, files in os.walk(source):
    for name in folders + files:
        path = os.path.join(folder, name)
        seen[os.path.relpath(path, source)] = os.lstat(path)
def content(path):
    with open(path, 'rb') as file: return file.read()
with tarfile.open(os.fsdecode(tar)) as archive:
    members = {os.fsencode(member.name): member for member in archive}
    assert set(members) - {b'.'} == set(seen), set(members) ^ set(seen)
    for name, st in seen.items():
        member = members[name]
        assert member.mode == stat.S_IMODE(st.st_mode), name
        assert (member.uid, member.gid) == (st.st_uid, st.st_gid), name
        if stat.S_ISREG(st.st_mode):
            assert archive.extractfile(member).read() == content(os.path.join(source, name)), name
        if stat.S_ISLNK(st.st_mode):
            assert os.fsencode(member.linkname) == os.readlink(os.path.join(source, name)), name
    assert members[b'plain'].pax_headers['mtime'] == '1700000000.123456789'
    assert members[b'labelled'].pax_headers['SCHILY.xattr.user.plain'] == 'value'
with zipfile.ZipFile(os.fsdecode(zipped)) as archive:
    assert archive.testzip() is None
    held = 0
    for info in archive.infolist():
        name = info.filename if info.flag_bits & 0x800 else info.orig_filename.encode('cp437')
        name = os.fsencode(name).rstrip(b'/')
        st = seen[name]
        held += 1
        assert info.external_attr >> 16 == st.st_mode, name
        if stat.S_ISREG(st.st_mode):
            assert archive.read(info) == content(os.path.join(source, name)), name
        if stat.S_ISLNK(st.st_mode):
            assert archive.read(info) == os.readlink(os.path.join(source, name)), name
    kinds = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK)
    assert held == sum(any(kind(st.st_mode) for kind in kinds) for st in seen.values())
"#;
    run_tool(Command::new("python3").arg("-c").arg(program).arg(&source).arg(&tar).arg(&zip));
}

#[test]
fn unzip_brings_files_and_links_back() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("folder/file"), prose(1, 300_000));
    put(source.join("folder/noise"), noise(2, 2 << 20));
    put(source.join("empty"), b"");
    put(source.join("\u{e4} blank"), b"name");
    symlink("folder/file", source.join("link")).unwrap();
    fs::set_permissions(source.join("folder/file"), Permissions::from_mode(0o640)).unwrap();
    set_time(&source.join("folder/file"), 1_700_000_001, 0);
    world.backup(&source);
    let (archive, restored) = (world.path("out.zip"), world.path("restored"));
    let part = within("latest", &source);
    let summary = world.run(&[&"--json", &"dump", &part, &"-t", &archive, &"-a", &"zip"]).ends(0).summary();
    assert_eq!((&summary["archive"], &summary["files"]), (&"zip".into(), &4.into()));
    assert_eq!(summary["bytes_written"], fs::metadata(&archive).unwrap().len());
    run_tool(Command::new("unzip").env("LC_ALL", "C.UTF-8").arg("-q").arg(&archive).arg("-d").arg(&restored));
    let differences = differences(&list(&source, Depth::Contents), &list(&restored, Depth::Contents));
    assert!(differences.is_empty(), "{differences:?}");
    let meta = fs::metadata(restored.join("folder/file")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o640);
    assert_eq!(std::os::unix::fs::MetadataExt::mtime(&meta), 1_700_000_001);
    // A small one has the same form.
    let empty = world.path("nothing");
    fs::create_dir(&empty).unwrap();
    world.backup(&empty);
    let archive = world.path("empty.zip");
    world.run(&[&"dump", &within("latest", &empty), &"-t", &archive, &"-a", &"zip"]).ends(0);
    let program = "import sys, zipfile; assert zipfile.ZipFile(sys.argv[1]).namelist() == []";
    run_tool(Command::new("python3").args(["-c", program]).arg(&archive));
}

#[test]
fn a_file_comes_out_as_it_is() {
    let world = World::new();
    let source = world.path("source");
    let noise = noise(1, (5 << 20) + 3);
    put(source.join("noise"), &noise);
    put(source.join("empty"), b"");
    put(source.join("inline"), b"inline");
    let odd = source.join(OsStr::from_bytes(b"\xffodd\n"));
    put(&odd, b"odd");
    put_sparse(&source.join("sparse"), 2 << 20, &[(1 << 20, b"island")]);
    symlink("noise", source.join("link")).unwrap();
    drop(UnixListener::bind(source.join("socket")).unwrap());
    world.backup(&source);
    let part = |name: &str| within("latest", &source.join(name));
    assert!(dumped(&world, &[&part("noise")]) == noise);
    assert_eq!(dumped(&world, &[&part("empty")]), b"");
    assert_eq!(dumped(&world, &[&part("inline")]), b"inline");
    assert_eq!(dumped(&world, &[&within("latest", &odd)]), b"odd");
    assert!(dumped(&world, &[&part("sparse")]) == fs::read(source.join("sparse")).unwrap());
    // With --json too there is nothing else on standard output.
    assert_eq!(dumped(&world, &[&"--json", &part("inline")]), b"inline");
    let target = world.path("file");
    let ran = world.run(&[&"--json", &"dump", &part("noise"), &"--target", &target]).ends(0);
    assert_eq!(ran.summary()["bytes"], noise.len());
    assert!(fs::read(&target).unwrap() == noise);
    // Nothing is overwritten, and what fails leaves nothing.
    world.run(&[&"dump", &part("inline"), &"--target", &target]).ends(2).says(&["exists already"]);
    assert!(fs::read(&target).unwrap() == noise);
    world.run(&[&"dump", &part("nowhere"), &"--target", &world.path("none")]).ends(1).says(&["nowhere"]);
    world.run(&[&"dump", &part("inline"), &"--target", &world.path("no/folder")]).ends(1).says(&["folder"]);
    assert!(!world.path("none").exists());
    let left = fs::read_dir(world.path(""))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().as_bytes().starts_with(b".holdfast"));
    assert_eq!(left.count(), 0);
    // A link has no content of its own, an archive can hold it; a socket neither.
    world.run(&[&"dump", &part("link")]).ends(2).says(&["neither a file nor a folder"]);
    let archive = world.path("link.tar");
    world.run(&[&"dump", &part("link"), &"--archive", &"tar", &"-t", &archive]).ends(0);
    assert!(run_tool(Command::new("tar").arg("-tvf").arg(&archive)).contains("link -> noise"));
    let all = world.path("all.tar");
    world.run(&[&"dump", &within("latest", &source), &"-v", &"-t", &all]).ends(0).says(&["socket"]);
}

/// Damages the middle of the largest data pack.
fn damage(world: &World) {
    let packs = world.objects().into_iter().filter(|name| name.starts_with("packs/data/"));
    let path = packs.map(|name| world.repo.join(name)).max_by_key(|path| fs::metadata(path).unwrap().len());
    flip(&path.unwrap());
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_is_not_whole_is_not_taken_for_whole() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("a"), prose(1, 5000));
    put(source.join("large"), noise(2, 8 << 20));
    put(source.join("z"), prose(3, 5000));
    world.backup(&source);
    damage(&world);
    let part = within("latest", &source);
    let output = dump(&world, &[&part]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("large") && said.contains("not whole"), "{said}");
    let archive = world.path("broken.tar");
    fs::write(&archive, &output.stdout).unwrap();
    refused(&archive);
    let output = dump(&world, &[&part, &"--archive", &"zip"]);
    assert_eq!(output.status.code(), Some(1));
    fs::write(world.path("broken.zip"), &output.stdout).unwrap();
    let unzip = Command::new("unzip").arg("-t").arg(world.path("broken.zip")).output().unwrap();
    assert!(!unzip.status.success());
    // A file that is whole can still be had; one that is not leaves nothing at the target.
    assert_eq!(dumped(&world, &[&within("latest", &source.join("z"))]), prose(3, 5000));
    let target = world.path("target");
    let large = within("latest", &source.join("large"));
    world.run(&[&"dump", &large, &"-t", &target]).ends(1).says(&["large", "nothing was left"]);
    let ran = world.run(&[&"--json", &"dump", &large, &"-t", &target]).ends(1);
    assert_eq!(ran.told().last().unwrap()["code"], 1);
    assert!(!target.exists());
}

/// Expects readers of tar to complain, wherever the archive ends.
#[track_caller]
fn refused(archive: &Path) {
    let tar = Command::new("tar").arg("-tf").arg(archive).output().unwrap();
    assert!(!tar.status.success(), "GNU tar takes it: {}", String::from_utf8_lossy(&tar.stdout));
    let program = "import sys, tarfile; [m for m in tarfile.open(sys.argv[1])]";
    let python = Command::new("python3").args(["-c", program]).arg(archive).output().unwrap();
    assert!(!python.status.success(), "python takes it");
}

#[test]
fn a_lost_part_of_the_tree_spoils_the_archive() {
    let world = World::new();
    let source = world.path("source");
    for number in 0..3000 {
        put(source.join(format!("{:02}/file with a long name {number}", number / 100)), b"");
    }
    world.backup(&source);
    let mut packs = world.objects().into_iter().filter(|name| name.starts_with("packs/tree/"));
    flip(&world.repo.join(packs.next_back().unwrap()));
    let output = dump(&world, &[&within("latest", &source)]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let archive = world.path("broken.tar");
    fs::write(&archive, &output.stdout).unwrap();
    refused(&archive);
}

#[test]
fn whoever_had_enough_is_no_failure() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("large"), noise(2, 8 << 20));
    world.backup(&source);
    let mut child = world.start(&[&"dump", &within("latest", &source)]);
    let mut few = [0; 1000];
    child.stdout.take().unwrap().read_exact(&mut few).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A full disk is one.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = world.command();
    command.arg("dump").arg(within("latest", &source)).stdout(full).stderr(Stdio::piped());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("output could not be written"));
}

#[test]
fn a_stopped_dump_ends_though_nobody_reads_it() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("large"), noise(2, 8 << 20));
    world.backup(&source);
    let mut child = world.start(&[&"dump", &within("latest", &source)]);
    let mut out = child.stdout.take().unwrap();
    let mut few = [0; 1000];
    out.read_exact(&mut few).unwrap();
    // It waits for room in the pipe now, or soon.
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    let mut rest = few.to_vec();
    out.read_to_end(&mut rest).unwrap();
    fs::write(world.path("cut.tar"), rest).unwrap();
    refused(&world.path("cut.tar"));
}

#[test]
fn a_terminal_gets_no_binary_data() {
    let world = World::new();
    let source = world.path("source");
    put(source.join("binary"), b"\0\x1b[31m\xff");
    put(source.join("text"), b"plain text\n");
    world.backup(&source);
    let on_terminal = |words: &[OsString]| {
        // `script` gives the program a terminal, and ends as it does.
        let quoted: Vec<_> = words.iter().map(|word| format!("'{}'", word.to_str().unwrap())).collect();
        let line = format!("{} dump {}", super::world::program().display(), quoted.join(" "));
        let mut command = Command::new("script");
        world.furnish(&mut command);
        command.args(["-qec", &line, "/dev/null"]).output().unwrap()
    };
    let output = on_terminal(&[within("latest", &source.join("text"))]);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("plain text"));
    for words in [vec![within("latest", &source.join("binary"))], vec![within("latest", &source)]] {
        let output = on_terminal(&words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("--target") && !said.contains("[31m\u{fffd}"), "{said}");
    }
}

#[test]
fn many_small_files_come_in_order() {
    let world = World::new();
    let source = world.path("source");
    super::tree::ordinary(&source, 700, 1);
    world.backup(&source);
    // Changed files lie in other bundles: the order of the archive is not that of the packs.
    for number in (0..700).step_by(13) {
        put(source.join(format!("folder {}/file {number}", number / 100)), prose(9000 + number as u64, 7000));
    }
    world.backup(&source);
    let (archive, restored): (PathBuf, PathBuf) = (world.path("out.tar"), world.path("restored"));
    world.run(&[&"dump", &within("latest", &source), &"-t", &archive]).ends(0);
    untar(&archive, &restored);
    same(&source, &restored);
}
