//! Keys: added, removed, changed; what opens, what does not, and who races whom.

use super::tree::{Dice, put};
use super::world::{Ran, Word, World};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A repository with one snapshot.
fn with_snapshot() -> World {
    let world = World::new();
    put(world.path("source/file"), b"content");
    world.backup(&world.path("source"));
    world
}

/// The program with a password, and a new one.
fn with(world: &World, password: &str, new: &str) -> Command {
    let mut command = world.command();
    command.env("HOLDFAST_PASSWORD", password).env("HOLDFAST_NEW_PASSWORD", new);
    command
}

fn run_with(world: &World, password: &str, new: &str, words: &[Word<'_>]) -> Ran {
    let ran = world.run_as(&mut with(world, password, new), words);
    for secret in [password, new].into_iter().filter(|secret| !secret.is_empty()) {
        assert!(!ran.out.contains(secret) && !ran.err.contains(secret), "{ran:?}");
    }
    ran
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::null()).stderr(Stdio::null())
}

/// Whether a password opens; whatever else is wrong fails the test.
fn opens(world: &World, password: &str) -> bool {
    match run_with(world, password, "", &[&"snapshots"]).code {
        0 => true,
        12 => false,
        code => panic!("snapshots ends with {code}"),
    }
}

fn keys(world: &World, password: &str) -> Vec<Value> {
    run_with(world, password, "", &[&"key", &"list", &"--json"]).ends(0).lines()
}

/// The id of the key with a label.
fn id_of(world: &World, password: &str, label: &str) -> String {
    let keys = keys(world, password);
    let key = keys.iter().find(|key| key["label"] == label).unwrap_or_else(|| panic!("{keys:?}"));
    key["id"].as_str().unwrap().to_owned()
}

fn add(world: &World, password: &str, new: &str, label: &str) {
    let words: [Word<'_>; 6] = [&"key", &"add", &"--kdf-memory", &"1", &"--label", &label];
    run_with(world, password, new, &words).ends(0).says(&["read back"]);
}

const FIRST: &str = "correct horse";
const SECOND: &str = "s3cond";
const NEW: &str = "n3w";
const NEWER: &str = "n3wer";

#[test]
fn a_second_key_opens_everything_and_can_be_taken_away() {
    let world = with_snapshot();
    add(&world, FIRST, "second s3cret", "se\u{1b}[2Jcond\n");
    assert!(opens(&world, "second s3cret") && !opens(&world, "third s3cret"));
    let listed = run_with(&world, "second s3cret", "", &[&"key", &"list"]).ends(0).out;
    assert!(listed.contains("se\\x1b[2Jcond\\n") && listed.contains("1.00 MiB"), "{listed}");
    let used: Vec<_> = listed.lines().filter(|line| line.ends_with("yes")).collect();
    assert!(used.len() == 1 && used[0].contains("second") || used[0].contains("cond"), "{listed}");
    let second = id_of(&world, FIRST, "se\u{1b}[2Jcond\n");
    run_with(&world, FIRST, "", &[&"key", &"remove", &&second[..10]])
        .ends(0)
        .says(&["removed key", "copied"]);
    assert!(!opens(&world, "second s3cret") && opens(&world, FIRST));
    world.check();
    let last = id_of(&world, FIRST, "owner");
    run_with(&world, FIRST, "", &[&"key", &"remove", &last]).ends(2).says(&["only one"]);
    run_with(&world, FIRST, "", &[&"key", &"remove", &"0123"]).ends(1).says(&["no key 0123", "key list"]);
    world.restore(&world.path("source"), "out");
}

#[test]
fn a_key_file_is_a_key() {
    let world = with_snapshot();
    let (file, kit, short) = (world.path("key"), world.path("kit.txt"), world.path("short"));
    fs::write(&file, [7; 64]).unwrap();
    fs::write(&short, [7; 31]).unwrap();
    world.run(&[&"key", &"add", &"--new-key-file", &short]).ends(2).says(&["31 bytes"]);
    world.run(&[&"key", &"add", &"--new-key-file", &world.path("nowhere")]).ends(2).says(&["nowhere"]);
    let words: [Word<'_>; 9] =
        [&"--json", &"key", &"add", &"--new-key-file", &file, &"--kit", &kit, &"--label", &"usb"];
    let line = world.run(&words).ends(0).lines().remove(0);
    assert_eq!((&line["kind"], &line["kdf_memory"]), (&"key_file".into(), &Value::Null));
    let text = fs::read_to_string(&kit).unwrap();
    assert!(text.contains("the key file of the key \"usb\"") && text.contains("HOLDFAST_KEY_FILE"), "{text}");
    // The kit's file is there: no second key comes of it.
    world.run(&[&"key", &"add", &"--new-key-file", &file, &"--kit", &kit]).ends(1).says(&["kit.txt"]);
    world.run(&[&"key", &"add", &"--new-key-file", &file]).ends(2).says(&["opens key"]);
    let opened = |words: &[Word<'_>]| {
        let mut command = world.command();
        command.env_remove("HOLDFAST_PASSWORD").env("HOLDFAST_KEY_FILE", &file);
        world.run_as(&mut command, words)
    };
    assert_eq!(opened(&[&"key", &"list", &"--json"]).ends(0).lines()[1]["in_use"], true);
    let first = id_of(&world, FIRST, "owner");
    opened(&[&"key", &"remove", &first]).ends(0);
    assert!(!opens(&world, FIRST));
    opened(&[&"check", &"--read-data"]).ends(0);
    // Back to a password.
    let mut command = world.command();
    command.env_remove("HOLDFAST_PASSWORD").env("HOLDFAST_KEY_FILE", &file);
    command.env("HOLDFAST_NEW_PASSWORD", FIRST);
    world.run_as(&mut command, &[&"key", &"passwd", &"--kdf-memory", &"1"]).ends(0);
    opened(&[&"snapshots"]).ends(12);
    world.check();
}

#[test]
fn an_old_password_opens_no_more() {
    let world = with_snapshot();
    let file = world.path("new password");
    fs::write(&file, "from a file\n").unwrap();
    world.run(&[&"key", &"passwd", &"--new-password-file", &file]).ends(0).says(&["removed", "copied"]);
    assert!(!opens(&world, FIRST));
    let command = "printf 'from a command\\n'";
    run_with(&world, "from a file", "", &[&"key", &"passwd", &"--new-password-command", &command]).ends(0);
    assert!(!opens(&world, "from a file") && opens(&world, "from a command"));
    let key = &keys(&world, "from a command")[0];
    assert_eq!((&key["label"], &key["kdf_memory"]), (&"owner".into(), &(1u64 << 20).into()));
    run_with(&world, "from a command", FIRST, &[&"key", &"passwd", &"--kdf-memory", &"2", &"--label", &"x"])
        .ends(0);
    let key = &keys(&world, FIRST)[0];
    assert_eq!((&key["label"], &key["kdf_memory"]), (&"x".into(), &(2u64 << 20).into()));
    world.check();
}

#[test]
fn what_is_no_new_password_is_refused() {
    let world = with_snapshot();
    let before = world.objects();
    let empty = world.path("empty");
    fs::write(&empty, "\n").unwrap();
    let refused = |new: &str, words: &[Word<'_>], says: &[&str]| {
        for verb in ["add", "passwd"] {
            let words = [&[&"key" as Word<'_>, &verb], words].concat();
            run_with(&world, FIRST, new, &words).ends(2).says(says);
        }
    };
    refused("", &[], &["nobody to ask", "HOLDFAST_NEW_PASSWORD"]);
    refused("", &[&"--new-password-file", &empty], &["empty"]);
    refused("", &[&"--new-password-file", &world.path("nowhere")], &["nowhere"]);
    refused("x", &[&"--kdf-memory", &"0"], &["--kdf-memory"]);
    refused("x", &[&"--kdf-memory", &"4097"], &["--kdf-memory"]);
    refused("x", &[&"--label", &"y".repeat(70_000)], &["70000 bytes"]);
    refused("x", &[&"--new-key-file", &empty, &"--new-password-file", &empty], &["cannot be used with"]);
    let same: [Word<'_>; 2] = [&"--new-password-file", &world.path("same")];
    fs::write(world.path("same"), FIRST).unwrap();
    run_with(&world, FIRST, "", &[&"key" as Word<'_>, &"passwd", same[0], same[1]])
        .ends(2)
        .says(&["old one"]);
    run_with(&world, FIRST, "", &[&"key" as Word<'_>, &"add", same[0], same[1]]).ends(2).says(&["already"]);
    run_with(&world, "wr0ng", NEW, &[&"key", &"add"]).ends(12);
    assert_eq!(world.objects(), before);
    let mut huge = world.command();
    world.run_as(&mut huge, &[&"-r", &world.path("other"), &"init", &"--label", &"y".repeat(70_000)]).ends(1);
}

#[test]
fn a_repository_that_cannot_be_written() {
    let world = with_snapshot();
    add(&world, FIRST, SECOND, "second");
    let second = id_of(&world, FIRST, "second");
    world.give_to_nobody(&[&world.repo]);
    let mode = |mode: u32| {
        let mut folders = vec![world.repo.clone()];
        while let Some(folder) = folders.pop() {
            let below = fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path());
            folders.extend(below.filter(|path| path.is_dir()));
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    mode(0o555);
    let before = world.objects();
    let verbs: [&[Word<'_>]; 4] = [
        &[&"key", &"add"],
        &[&"key", &"passwd"],
        &[&"key", &"remove", &second],
        &[&"tag", &"latest", &"--add", &"x"],
    ];
    for words in verbs {
        let mut command = world.as_nobody();
        command.env("HOLDFAST_NEW_PASSWORD", "third");
        world.run_as(&mut command, words).ends(1);
        let mut command = world.as_nobody();
        world.run_as(&mut command, &[&"key", &"list"]).ends(0);
    }
    assert_eq!(world.objects(), before);
    mode(0o755);
    assert!(opens(&world, FIRST) && opens(&world, SECOND) && !opens(&world, "third"));
}

#[test]
fn a_damaged_slot_is_told_of_and_can_be_removed() {
    let world = with_snapshot();
    add(&world, FIRST, SECOND, "second");
    let second = id_of(&world, FIRST, "second");
    let path = world.repo.join("keys").join(&second);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let listed = world.run(&[&"key", &"list", &"--json"]).ends(3);
    let keys = listed.lines().iter().filter(|line| line["message_type"] == "key").count();
    assert_eq!((keys, listed.of_type("error").len()), (1, 1));
    world.run(&[&"key", &"list"]).ends(3).says(&[&second, "damaged"]);
    world.run(&[&"check"]).ends(1);
    world.run(&[&"key", &"remove", &second]).ends(0);
    world.run(&[&"key", &"list"]).ends(0);
    world.check();
}

#[test]
fn two_that_remove_each_other_at_once_leave_a_key() {
    let mut dice = Dice::new(11);
    for round in 0..12 {
        let world = World::new();
        add(&world, FIRST, SECOND, "second");
        let (first, second) = (id_of(&world, FIRST, "owner"), id_of(&world, FIRST, "second"));
        let start = |password: &str, target: &str| {
            let mut command = with(&world, password, "");
            quiet(command.args(["key", "remove", target])).spawn().unwrap()
        };
        let mut runs = [start(FIRST, &second), start(SECOND, &first)];
        if round % 2 == 1 {
            std::thread::sleep(Duration::from_micros(dice.below(40_000)));
            for run in &mut runs {
                let _ = run.kill();
            }
        }
        for run in &mut runs {
            run.wait().unwrap();
        }
        let left: Vec<_> = [FIRST, SECOND].into_iter().filter(|password| opens(&world, password)).collect();
        assert!(!left.is_empty(), "no key is left");
        run_with(&world, left[0], "", &[&"check"]).ends(0);
    }
}

#[test]
fn a_killed_passwd_leaves_a_password_that_opens() {
    let mut dice = Dice::new(5);
    let mut both = 0;
    for _ in 0..16 {
        let world = World::new();
        let mut command = with(&world, FIRST, NEW);
        let mut run = quiet(command.args(["key", "passwd"])).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(dice.below(60_000)));
        let _ = run.kill();
        run.wait().unwrap();
        let (old, new) = (opens(&world, FIRST), opens(&world, NEW));
        assert!(old || new);
        both += u32::from(old && new);
        let password = if new { NEW } else { FIRST };
        run_with(&world, password, "", &[&"check"]).ends(0);
        run_with(&world, password, NEWER, &[&"key", &"passwd"]).ends(0);
        assert!(opens(&world, NEWER) && !opens(&world, password));
    }
    println!("both opened after {both} of 16 kills");
}
