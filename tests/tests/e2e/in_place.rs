//! Restoring over a tree: only what differs is written, a kill costs nothing, and what should
//! not be touched is not.

use super::compare::{same, same_for_rsync};
use super::tree::{Dice, noise, ordinary, put, put_sparse, set_time};
use super::world::{World, count, is_root, number, within};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Files below a folder, in order.
fn files(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Changes one file in a hundred, deletes one and adds one; tells how many of each.
fn disturb(root: &Path, dice: &mut Dice) -> u64 {
    let mut number = 0;
    for (at, path) in files(root).into_iter().enumerate() {
        match at % 100 {
            3 => {
                let file = File::options().write(true).open(&path).unwrap();
                let length = file.metadata().unwrap().len();
                let (seed, at) = (dice.below(1 << 30), dice.below(length.max(1)));
                file.write_all_at(&noise(seed, 100), at).unwrap();
                number += 1;
            }
            50 => fs::remove_file(&path).unwrap(),
            77 => put(path.with_extension("added"), b"added"),
            _ => {}
        }
    }
    number
}

fn over(world: &World, source: &Path, target: &Path, words: &[&str]) -> Value {
    let part = within("latest", source);
    let mut all: Vec<super::world::Word<'_>> = vec![&"restore", &"--json", &part, &"--target", &target];
    all.extend(words.iter().map(|word| word as super::world::Word<'_>));
    world.run(&all).ends(0).summary()
}

#[test]
fn only_differences_are_written() {
    let world = World::new();
    let source = world.path("source");
    let files = if number("HOLDFAST_TEST_FULL", 0) > 0 { 200_000 } else { 3_000 };
    ordinary(&source, files, 1);
    put(source.join("larger"), noise(9, 40 << 20));
    put_sparse(&source.join("sparse"), 1 << 30, &[(0, b"a"), (512 << 20, &noise(8, 300_000))]);
    fs::hard_link(source.join("large"), source.join("large again")).unwrap();
    symlink("nowhere", source.join("link")).unwrap();
    world.backup(&source);
    let target = world.restore(&source, "target");
    let changed = disturb(&target, &mut Dice::new(7));
    let file = File::options().write(true).open(target.join("larger")).unwrap();
    file.write_all_at(b"changed", 20 << 20).unwrap();
    fs::remove_file(target.join("large again")).unwrap();
    put(target.join("large again"), b"no link");
    let added = (files / 100) as u64;
    let inode = fs::metadata(target.join("larger")).unwrap().ino();

    let plan = over(&world, &source, &target, &["--delete", "--dry-run"]);
    let summary = over(&world, &source, &target, &["--delete"]);
    same(&source, &target);
    same_for_rsync(&source, &target);
    assert_eq!(fs::metadata(target.join("larger")).unwrap().ino(), inode);
    for summary in [&plan, &summary] {
        assert!(count(summary, "items_created").abs_diff(added) <= 2, "{summary}");
        assert!(count(summary, "items_deleted").abs_diff(added) <= 2, "{summary}");
        assert_eq!(count(summary, "items_rewritten"), changed + 2, "{summary}");
        // Two files in a hundred of about 6 KiB, and a block or a chunk of the larger one.
        let most = added * 2 * 13_000 + if summary == &plan { 4 << 20 } else { 4096 };
        assert!(count(summary, "bytes_written") <= most, "{summary}");
    }
    for field in [
        "items_created",
        "items_rewritten",
        "items_unchanged",
        "items_deleted",
        "bytes_fetched",
        "packs_read",
    ] {
        assert_eq!(plan[field], summary[field], "{field}");
    }
    let again = over(&world, &source, &target, &["--delete"]);
    for field in [
        "items_created",
        "items_rewritten",
        "items_attributes_only",
        "items_deleted",
        "bytes_written",
        "bytes_fetched",
    ] {
        assert_eq!(count(&again, field), 0, "{field}");
    }
}

/// Killed in the middle as often as it takes, and repeated.
#[test]
fn a_killed_restore_goes_on() {
    let world = World::new();
    let source = world.path("source");
    ordinary(&source, 2_000, 3);
    for number in 0..12 {
        put(source.join(format!("large {number}")), noise(number, 10 << 20));
    }
    world.backup(&source);
    let (target, part) = (world.path("target"), within("latest", &source));
    let mut dice = Dice::new(11);
    let (mut landed, mut rounds) = (0, 0);
    while landed < 5 {
        let mut child =
            world.start(&[&"restore", &part, &"--target", &target, &"--overwrite", &"always", &"--delete"]);
        // A kill at any moment counts; one that comes too late shows that the restore ended well.
        std::thread::sleep(Duration::from_micros(20_000 + dice.below(200_000)));
        let _ = child.kill();
        landed += usize::from(child.wait().unwrap().code().is_none());
        rounds += 1;
        if rounds % 3 == 0 && target.exists() {
            disturb(&target, &mut dice);
        }
        assert!(rounds < 200, "no kill landed");
    }
    over(&world, &source, &target, &["--delete", "--max-delete", "100%", "--verify"]);
    same(&source, &target);
    same_for_rsync(&source, &target);
}

#[test]
fn a_target_with_things_in_it_needs_a_word() {
    let world = World::new();
    let (source, target) = (world.path("source"), world.path("target"));
    put(source.join("file"), b"new");
    put(source.join("older"), b"snapshot");
    set_time(&source.join("older"), 1_000, 0);
    world.backup(&source);
    put(target.join("file"), b"old");
    put(target.join("older"), b"younger");
    put(target.join("extra"), b"extra");
    let part = within("latest", &source);
    let read = |name: &str| fs::read_to_string(target.join(name)).unwrap();
    let ran = world.run(&[&"restore", &part, &"--target", &target]).ends(2);
    ran.says(&["not empty", "--overwrite", "--dry-run"]);
    for when in ["never", "if-newer"] {
        let ran =
            world.run(&[&"restore", &part, &"--target", &target, &"--verify", &"--overwrite", &when]).ends(2);
        ran.says(&["--verify", "--overwrite"]);
    }
    world.run(&[&"restore", &part, &"--target", &target, &"--dry-run"]).ends(0);
    assert_eq!((read("file"), read("older")), ("old".into(), "younger".into()));
    over(&world, &source, &target, &["--overwrite", "never"]);
    assert_eq!((read("file"), read("older")), ("old".into(), "younger".into()));
    set_time(&target.join("file"), 1_000, 0);
    let summary = over(&world, &source, &target, &["--overwrite", "if-newer"]);
    assert_eq!((read("file"), read("older")), ("new".into(), "younger".into()));
    assert_eq!((count(&summary, "items_left"), count(&summary, "items_rewritten")), (1, 1));
    over(&world, &source, &target, &["--overwrite", "if-changed"]);
    assert_eq!((read("older"), read("extra")), ("snapshot".into(), "extra".into()));
    over(&world, &source, &target, &["--delete"]);
    same(&source, &target);
}

/// The wrong folder, the folders above a source, the repository itself.
#[test]
fn deleting_is_guarded() {
    let world = World::new();
    let source = world.path("source/tree");
    ordinary(&source, 20, 5);
    world.backup(&source);
    let home = world.path("home of somebody");
    for number in 0..30 {
        put(home.join(format!("precious {number}")), b"precious");
    }
    let part = within("latest", &source);
    let ran = world.run(&[&"restore", &part, &"--target", &home, &"--delete"]).ends(2);
    ran.says(&["would delete 30 of the 30 things", "nothing was changed", "--max-delete"]);
    assert_eq!(files(&home).len(), 30);
    let ran = world.run(&[&"restore", &part, &"--target", &home, &"--delete", &"--dry-run", &"-v"]).ends(0);
    assert_eq!(ran.out.matches("would delete precious").count(), 30);
    world.run(&[&"restore", &part, &"--target", &home, &"--delete", &"--max-delete", &"many"]).ends(2);
    world.run(&[&"restore", &part, &"--target", &home, &"--max-delete", &"5"]).ends(2);
    // The whole snapshot: the folders above the source are only the way to it.
    let above = world.path("above");
    put(above.join("neighbour"), b"x");
    world.run(&[&"restore", &"latest", &"--target", &above, &"--delete"]).ends(0);
    assert!(above.join("neighbour").exists());
    let inner = above.join(source.strip_prefix("/").unwrap());
    same(&source, &inner);
    put(inner.join("extra"), b"x");
    put(inner.parent().unwrap().join("beside"), b"x");
    world.run(&[&"restore", &"latest", &"--target", &above, &"--delete"]).ends(0);
    assert!(!inner.join("extra").exists() && inner.parent().unwrap().join("beside").exists());
    // A repository in the target stays, whatever the snapshot says.
    let mut own = World::bare();
    let (tree, repository) = (own.path("tree"), own.path("tree/repository"));
    put(tree.join("file"), b"x");
    own.repo.clone_from(&repository);
    own.run(&[&"init", &"--kdf-memory", &"1"]).ends(0);
    own.backup(&tree);
    let ran = own.run(&[
        &"restore",
        &within("latest", &tree),
        &"--target",
        &tree,
        &"--delete",
        &"--max-delete",
        &"100%",
    ]);
    ran.ends(0).says(&["repository"]);
    own.check();
}

/// What a snapshot lacks because it could not be read says nothing about what is at the target.
#[test]
fn what_was_not_read_is_not_deleted() {
    if !is_root() {
        return;
    }
    let world = World::bare();
    let (source, target, folder) = (world.path("source"), world.path("target"), world.path("source/closed"));
    for name in ["file", "open/file", "closed/file", "secret"] {
        put(source.join(name), b"source");
        put(target.join(name), b"source");
    }
    put(target.join("extra"), b"x");
    put(world.repo.join("x"), b"");
    fs::remove_file(world.repo.join("x")).unwrap();
    world.as_nobody();
    world.give_to_nobody(&[&source, &world.repo]);
    for closed in [&folder, &source.join("secret")] {
        std::os::unix::fs::chown(closed, Some(0), Some(0)).unwrap();
        fs::set_permissions(closed, fs::Permissions::from_mode(0o700)).unwrap();
    }
    world.run_as(&mut world.as_nobody(), &[&"init", &"--kdf-memory", &"1"]).ends(0);
    world.run_as(&mut world.as_nobody(), &[&"backup", &source]).ends(3);
    let part = within("latest", &source);
    let words: [super::world::Word<'_>; 4] = [&"restore", &part, &"--target", &target];
    world.run(&[&words[..], &[&"--delete"]].concat()).ends(0);
    let left: Vec<_> =
        files(&target).into_iter().map(|path| path.strip_prefix(&target).unwrap().to_owned()).collect();
    assert_eq!(left, ["closed/file", "file", "open/file", "secret"].map(PathBuf::from));
}

/// A file system that the snapshot has nothing of, and folders that are mounted a second time.
#[test]
fn what_is_mounted_in_the_target_is_not_deleted() {
    let world = World::new();
    let (source, target, precious) = (world.path("source"), world.path("target"), world.path("precious"));
    for name in ["one", "two", "bound", "folder"] {
        fs::create_dir_all(source.join(name)).unwrap();
        fs::create_dir_all(target.join(name)).unwrap();
    }
    put(source.join("two/file"), b"x");
    put(source.join("file"), b"x");
    put(precious.join("file"), b"precious");
    fs::create_dir_all(target.join("extra/bound")).unwrap();
    fs::create_dir(target.join("file")).unwrap();
    world.backup(&source);
    let script = "cd \"$2\" && for at in one two file; do mount -t tmpfs none $at && echo x > $at/precious || exit 99; done; \
        for at in bound extra/bound; do mount --bind \"$3\" $at || exit 99; done; \
        \"$0\" restore \"$1\" --target . --delete --max-delete 100%; code=$?; ls one file two; exit $code";
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(super::world::program()).arg(within("latest", &source));
    world.furnish(command.args([&target, &precious]));
    let output = command.output().unwrap();
    if !is_root() || output.status.code() == Some(99) {
        return;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("file:\nprecious\n\none:\nprecious\n\ntwo:\nfile\n"), "{output:?}");
    // Only the file that something is mounted on could not be made.
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("problem:").count(), 1, "{said}");
    assert_eq!(fs::read(precious.join("file")).unwrap(), b"precious");
}

/// A file that was rewritten in part when the space ran out keeps its name, and is gone on with.
#[test]
fn a_full_target_is_gone_on_with() {
    let world = World::new();
    let (source, target) = (world.path("source"), world.path("target"));
    put(source.join("file"), noise(1, 30 << 20));
    put(world.path("before"), noise(1, 7 << 20));
    let before = File::options().write(true).open(world.path("before")).unwrap();
    before.write_all_at(b"changed", 0).unwrap();
    fs::create_dir(&target).unwrap();
    world.backup(&source);
    let script = "mount -t tmpfs -o size=10M none \"$2\" && cp \"$3\" \"$2/file\" || exit 99; \
        \"$0\" restore \"$1\" --target \"$2\" --overwrite always; test $? = 1 || exit 98; ls \"$2\"; \
        mount -o remount,size=100M \"$2\"; \"$0\" restore \"$1\" --target \"$2\" --overwrite always || exit 97; \
        cmp \"$2/file\" \"$4\"";
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(super::world::program()).arg(within("latest", &source));
    world.furnish(command.args([&target, &world.path("before"), &source.join("file")]));
    let output = command.output().unwrap();
    if !is_root() || output.status.code() == Some(99) {
        return;
    }
    assert!(output.status.success() && output.stdout.starts_with(b"file\n"), "{output:?}");
}

/// Excluded things are neither restored nor deleted.
#[test]
fn what_is_not_selected_is_not_touched() {
    let world = World::new();
    let (source, target) = (world.path("source"), world.path("target"));
    for name in ["a/keep.tmp", "a/file", "b/file", "b/keep.tmp"] {
        put(source.join(name), b"snapshot");
    }
    world.backup(&source);
    for name in ["a/keep.tmp", "a/file", "a/extra", "a/extra.tmp", "b/file", "c/extra"] {
        put(target.join(name), b"target");
    }
    let words = ["--delete", "--max-delete", "3", "--exclude", "*.tmp", "--exclude", "b"];
    over(&world, &source, &target, &words);
    let found: Vec<_> = files(&target)
        .into_iter()
        .map(|path| {
            let content = fs::read_to_string(&path).unwrap();
            format!("{} {content}", path.strip_prefix(&target).unwrap().display())
        })
        .collect();
    assert_eq!(found, ["a/extra.tmp target", "a/file snapshot", "a/keep.tmp target", "b/file target"]);
}

/// Somebody without rights restores over a tree of their own, parts of which may not be written.
#[test]
fn without_rights_own_files_are_restored() {
    let world = World::new();
    let source = world.path("source");
    for name in ["read-only", "unreadable", "folder/inside", "same"] {
        put(source.join(name), noise(1, 200_000));
    }
    fs::set_permissions(source.join("read-only"), fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(source.join("folder"), fs::Permissions::from_mode(0o555)).unwrap();
    world.give_to_nobody(&[&source]);
    world.backup(&source);
    let target = world.path("home/target");
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::create_dir_all(&world.cache).unwrap();
    world.give_to_nobody(&[&world.path("home"), &world.cache, &world.repo]);
    let part = within("latest", &source);
    world.run_as(&mut world.as_nobody(), &[&"restore", &part, &"--target", &target]).ends(0);
    same(&source, &target);
    for name in ["read-only", "unreadable", "folder/inside"] {
        let path = target.join(name);
        let mode = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"changed", 100_000).unwrap();
        fs::set_permissions(&path, mode).unwrap();
    }
    fs::set_permissions(target.join("unreadable"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(target.join("folder"), fs::Permissions::from_mode(0o000)).unwrap();
    let words: [super::world::Word<'_>; 6] =
        [&"restore", &part, &"--target", &target, &"--overwrite", &"always"];
    let ran = world.run_as(&mut world.as_nobody(), &words);
    ran.ends(0);
    same(&source, &target);
    for top in [&source, &target] {
        fs::set_permissions(top.join("folder"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert!(!is_root() || fs::metadata(target.join("same")).unwrap().uid() == super::world::NOBODY);
}

/// A damaged pack costs no file that is whole at the target.
#[test]
fn damage_leaves_what_is_there() {
    let world = World::new();
    let (source, target) = (world.path("source"), world.path("target"));
    put(source.join("same"), noise(1, 3 << 20));
    put(source.join("differs"), noise(2, 3 << 20));
    put(source.join("small"), noise(3, 3_000));
    world.backup(&source);
    for name in ["same", "differs", "small"] {
        fs::create_dir_all(&target).unwrap();
        fs::copy(source.join(name), target.join(name)).unwrap();
    }
    let file = File::options().write(true).open(target.join("differs")).unwrap();
    file.write_all_at(b"changed", 0).unwrap();
    put(target.join("small"), b"other");
    put(target.join("extra"), b"extra");
    let before = fs::read(target.join("differs")).unwrap();
    for pack in world.objects().iter().filter(|name| name.starts_with("packs/data/")) {
        fs::rename(world.repo.join(pack), world.path("lost pack")).unwrap();
    }
    let part = within("latest", &source);
    let ran = world.run(&[&"restore", &part, &"--target", &target, &"--delete"]).ends(1);
    ran.says(&["differs", "small", "not everything could be restored", "nothing was deleted"]);
    assert_eq!(fs::read(target.join("same")).unwrap(), noise(1, 3 << 20));
    assert!(fs::read(target.join("differs")).unwrap() == before, "the old content was lost for nothing");
    assert_eq!(fs::read(target.join("small")).unwrap(), b"other");
    // It may be all that is left of something.
    assert!(target.join("extra").exists());
}

/// What the backup was told to leave out was never meant to be in the snapshot, and stays.
#[test]
fn what_the_backup_left_out_is_not_deleted() {
    let world = World::new();
    let (source, target) = (world.path("source"), world.path("target"));
    let left_out = ["a/x.tmp", "node/THUMBS.db", "cache/data", "private/secret", "huge"];
    let put_left_out = |top: &Path| {
        for name in left_out {
            put(top.join(name), if name == "huge" { noise(1, 200_000) } else { b"left out".to_vec() });
        }
    };
    put(source.join("a/kept"), b"kept");
    put(source.join("node/kept"), b"kept");
    put(source.join("cache/CACHEDIR.TAG"), b"Signature: 8a477f597d28d172789f06886806bc55");
    put(source.join("private/.nobackup"), b"");
    put_left_out(&source);
    let ran = world.run(&[
        &"backup",
        &source,
        &"--exclude",
        &"*.tmp",
        &"--iexclude",
        &"thumbs.db",
        &"--exclude-caches",
        &"--exclude-if-present",
        &".nobackup",
        &"--exclude-larger-than",
        &"100K",
    ]);
    ran.ends(0);
    let part = within("latest", &source);
    world.run(&[&"restore", &part, &"--target", &target]).ends(0);
    put_left_out(&target);
    put(target.join("a/extra"), b"extra");
    over(&world, &source, &target, &["--delete", "--max-delete", "100%"]);
    for name in left_out {
        assert!(target.join(name).exists(), "{name} was deleted");
    }
    assert!(!target.join("a/extra").exists());
}
