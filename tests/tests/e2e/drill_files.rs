//! Drills of files and of what programs write: what they are to find they find, with its cause and the
//! exit code that follows; and of a healthy backup nothing stays behind.
//!
//! On purpose not here: clusters and buckets.

use super::tree::{noise, ordinary, put};
use super::world::{Ran, World, is_root};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A policy with one source, its repository, and a place for scratch.
struct Case {
    world: World,
    tree: PathBuf,
    scratch: PathBuf,
}

impl Case {
    fn new() -> Self {
        let world = World::new();
        let (tree, scratch) = (world.path("tree"), world.path("scratch"));
        ordinary(&tree, 30, 1);
        put(tree.join("large"), noise(2, 3 << 20));
        fs::hard_link(tree.join("large"), tree.join("large too")).unwrap();
        fs::create_dir(&scratch).unwrap();
        Self { world, tree, scratch }
    }

    fn back_up(&self) {
        self.world.run(&[&"backup", &"--label", &"shop/tree", &self.tree]).ends(0);
    }

    /// Drills with more lines below `drill:`.
    fn drill(&self, more: &str) -> Ran {
        self.drill_of("files: { paths: [tree] }", more)
    }

    fn drill_of(&self, source: &str, more: &str) -> Ran {
        self.world.run(&[&"--json", &"drill", &self.policy(source, more)])
    }

    fn policy(&self, source: &str, more: &str) -> PathBuf {
        let policy = self.world.path("shop.yaml");
        let text = format!(
            "name: shop\nrepository: {{ url: {}, password: {{ env: HOLDFAST_PASSWORD }} }}\nsources:\n  tree: {{ {source} \
             }}\ndrill:\n  scratch: {{ path: {} }}\n{more}",
            self.world.repo.display(),
            self.scratch.display()
        );
        fs::write(&policy, text).unwrap();
        policy
    }

    fn left(&self) -> usize {
        fs::read_dir(&self.scratch).unwrap().count()
    }
}

/// What a drill says at its end.
fn line(ran: &Ran) -> Value {
    ran.lines().into_iter().find(|line| line["message_type"] == "drill").expect("the drill said so")
}

/// What was found, as cause and words.
fn findings(ran: &Ran) -> Vec<(String, String)> {
    let drill = line(ran);
    let sources = drill["record"]["sources"].as_array().unwrap().clone();
    let probes = sources.iter().flat_map(|source| source["probes"].as_array().unwrap().clone());
    let found = probes.flat_map(|probe| probe["findings"].as_array().cloned().unwrap_or_default());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    found.map(|finding| (text(&finding["cause"]), text(&finding["what"]))).collect()
}

#[track_caller]
fn has(ran: &Ran, cause: &str, words: &[&str]) {
    let found = findings(ran);
    let is =
        |(whose, what): &(String, String)| whose == cause && words.iter().all(|word| what.contains(word));
    assert!(found.iter().any(is), "{cause} {words:?}: {found:?}");
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    let _ = Command::new("chmod").arg("u+w").arg(path).status();
    fs::write(path, bytes).unwrap();
}

/// The largest pack of data: it has the noise of a large file.
fn pack(repo: &Path) -> PathBuf {
    let folders = fs::read_dir(repo.join("packs/data")).unwrap().flatten();
    let packs = folders.flat_map(|folder| fs::read_dir(folder.path()).unwrap().flatten());
    packs.map(|pack| pack.path()).max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

#[test]
fn a_drill_needs_no_source_and_says_what_it_could_not_look_at() {
    let case = Case::new();
    case.back_up();
    let probe = |ran: &Ran| {
        let drill = line(ran);
        let probes = drill["record"]["sources"][0]["probes"].as_array().unwrap().clone();
        probes.into_iter().find(|probe| probe["name"] == "sample of the source").unwrap()
    };
    // While the source is there it is looked at, and nothing is left open.
    let looked = probe(&case.drill("").ends(0));
    assert!(looked["not_provable"].is_null() && looked["counts"].is_object(), "{looked}");
    // The disk of the source is gone: what was backed up comes back, and of the source nothing is proved.
    let away = case.world.path("away");
    fs::rename(&case.tree, &away).unwrap();
    let junit = case.world.path("junit.xml");
    let policy = case.policy("files: { paths: [tree] }", "");
    let ran = case.world.run(&[&"--json", &"drill", &policy, &"--junit", &junit]).ends(0);
    let source = &line(&ran)["record"]["sources"][0];
    assert_eq!((&source["verdict"], &source["reached"]), (&"pass".into(), &"full".into()), "{source:#}");
    let blind = probe(&ran);
    assert!(blind["counts"].is_null() && blind["findings"].is_null(), "{blind}");
    assert!(!blind["not_provable"].as_array().unwrap().is_empty(), "{blind}");
    let text = fs::read_to_string(&junit).unwrap();
    let case_of_it =
        text.split("<testcase").skip(1).find(|part| part.contains("sample of the source")).unwrap();
    assert!(case_of_it.contains("<skipped"), "{text}");
    assert_eq!(case.left(), 0);
    // It was not touched, neither is anything made where it was.
    assert!(!case.tree.exists() && away.join("large").exists());
}

#[test]
fn a_healthy_tree_is_proved_and_nothing_stays() {
    let case = Case::new();
    case.back_up();
    let ran = case.drill("").ends(0);
    let drill = line(&ran);
    let source = &drill["record"]["sources"][0];
    assert_eq!((&source["reached"], &source["share"]), (&"full".into(), &1.0.into()), "{source}");
    assert_eq!(findings(&ran), []);
    assert_eq!(case.left(), 0);
    let scratch = drill["record"]["scratch"].to_string();
    assert!(scratch.contains("0700") && scratch.contains("it is gone"), "{scratch}");
    // A part of it, and a program that looks.
    let program = "  max_download: 1MiB\n  assert: [ { source: tree, command: [test, -d, \"{target}\"] } ]\n";
    let ran = case.drill(program).ends(0);
    let share = line(&ran)["record"]["sources"][0]["share"].as_f64().unwrap();
    assert!(share > 0.0 && share < 1.0, "{share}");
    let ran =
        case.drill("  assert: [ { source: tree, name: rows, command: [test, -f, \"{target}/no\"] } ]\n");
    has(&ran.ends(20), "assertion", &["test ended with 1"]);
}

#[test]
fn damage_of_the_repository_is_named() {
    let case = Case::new();
    case.back_up();
    let pack = pack(&case.world.repo);
    let middle = fs::metadata(&pack).unwrap().len() as usize / 2;
    flip(&pack, middle);
    has(&case.drill("").ends(20), "backup", &["large"]);
    flip(&pack, middle);
    case.drill("").ends(0);
    fs::rename(&pack, case.world.path("gone")).unwrap();
    has(&case.drill("").ends(20), "backup", &["large"]);
    assert_eq!(case.left(), 0);
}

#[test]
fn rot_in_the_source_is_the_sources() {
    let case = Case::new();
    case.back_up();
    let large = case.tree.join("large");
    let time = fs::metadata(&large).unwrap().modified().unwrap();
    flip(&large, 1 << 20);
    fs::File::options().write(true).open(&large).unwrap().set_modified(time).unwrap();
    has(&case.drill("").ends(20), "source", &["large"]);
    // What somebody wrote is nobody's fault.
    put(&large, noise(9, 1000));
    fs::remove_file(case.tree.join("large too")).unwrap();
    case.drill("").ends(0);
}

#[test]
fn a_key_that_does_not_open_and_a_repository_that_is_gone() {
    let case = Case::new();
    case.back_up();
    let policy = case.policy("files: { paths: [tree] }", "");
    let mut command = case.world.command();
    command.env("HOLDFAST_PASSWORD", "wrong");
    let ran = case.world.run_as(&mut command, &[&"--json", &"drill", &policy]).ends(20);
    has(&ran, "backup", &["opens no key slot"]);
    fs::rename(&case.world.repo, case.world.path("away")).unwrap();
    has(&case.drill("").ends(20), "backup", &["no repository"]);
}

#[test]
fn without_room_nothing_is_proved() {
    let case = Case::new();
    case.back_up();
    let small = "files: { paths: [tree] }";
    let policy = case.policy(small, "").with_extension("small.yaml");
    let text = fs::read_to_string(case.world.path("shop.yaml")).unwrap();
    fs::write(&policy, text.replace("scratch }", "scratch, max: 1MiB }")).unwrap();
    let ran = case.world.run(&[&"--json", &"drill", &policy]).ends(23);
    has(&ran, "environment", &["scratch.max is 1MiB"]);
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=2m,mode=700", "none"]).arg(&case.scratch);
    if is_root() && mount.output().is_ok_and(|output| output.status.success()) {
        let ran = case.drill("");
        let _ = Command::new("umount").arg("-l").arg(&case.scratch).status();
        has(&ran.ends(23), "environment", &["needs", "free"]);
    }
}

#[test]
fn who_owns_nothing_proves_what_he_can() {
    if !is_root() {
        return;
    }
    let case = Case::new();
    std::os::unix::fs::chown(case.tree.join("large"), Some(1), Some(1)).unwrap();
    fs::hard_link(case.tree.join("large"), case.tree.join("large three")).unwrap();
    fs::create_dir(case.tree.join("closed")).unwrap();
    fs::set_permissions(case.tree.join("closed"), std::os::unix::fs::PermissionsExt::from_mode(0o000))
        .unwrap();
    case.back_up();
    let policy = case.policy("files: { paths: [tree] }", "");
    case.world.give_to_nobody(&[&case.world.repo, &case.world.cache, &case.scratch]);
    let ran = case.world.run_as(&mut case.world.as_nobody(), &[&"--json", &"drill", &policy]).ends(0);
    let told = line(&ran)["record"]["sources"][0]["probes"].to_string();
    assert!(told.contains("not_provable") && told.contains("the owner could not be set here"), "{told}");
    assert_eq!(case.left(), 0);
}

#[test]
fn what_a_program_wrote_is_judged_by_the_users() {
    let case = Case::new();
    let words = [
        "backup",
        "--label",
        "shop/tree",
        "--stdin-filename",
        "db.sql",
        "--stdin-from-command",
        "--",
        "echo",
        "rows",
    ];
    let words: Vec<&dyn AsRef<std::ffi::OsStr>> =
        words.iter().map(|word| word as &dyn AsRef<std::ffi::OsStr>).collect();
    case.world.run(&words).ends(0);
    let source = |verify: &str| format!("command: {{ run: [echo, rows], file_name: db.sql{verify} }}");
    let ran = case.drill_of(&source(", verify: [grep, rows, \"{target}\"]"), "").ends(0);
    assert_eq!(line(&ran)["record"]["sources"][0]["reached"], "full");
    let ran = case.drill_of(&source(", verify: [grep, money, \"{target}\"]"), "").ends(20);
    has(&ran, "assertion", &["grep ended with 1"]);
    let ran = case.drill_of(&source(""), "");
    let source = line(&ran)["record"]["sources"][0].clone();
    assert!(source["reached"] == "restore" && source.to_string().contains("no `verify`"), "{source}");
}

#[test]
fn what_another_program_restores_is_drilled_too() {
    let case = Case::new();
    let by = |copy: &str| {
        format!(
            "restored_by: {{ command: [cp, -a, {copy}, \"{{target}}\"], verify: [test, -f, \"{{target}}/large\"] }}"
        )
    };
    let ran = case.drill_of(&by(&format!("{}/.", case.tree.display())), "").ends(0);
    assert!(line(&ran)["record"]["sources"][0].to_string().contains("restore by cp"));
    has(&case.drill_of(&by("/nowhere/at/all"), "").ends(20), "backup", &["cp ended with 1"]);
    assert_eq!(case.left(), 0);
}
