//! The rules of the house that a compiler does not know.
//!
//! Where code of today breaks one, a list here says by how much: it may shrink, not grow. On
//! purpose not here: what clippy checks (`Cargo.toml`), and what only a reader can judge.

#![expect(clippy::unwrap_used, reason = "a test")]

use holdfast_tests::{files, read, root};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// Which crates of ours each may depend on, in any way. `None`: on all that are below `cli`.
/// A crate that is not here needs its place in `crates/README.md` first.
const ARROWS: &[(&str, Option<&[&str]>)] = &[
    ("core", Some(&[])),
    ("store", Some(&[])),
    ("store-s3", Some(&["store"])),
    ("vault", Some(&["store-s3"])),
    ("notify", Some(&["store-s3"])),
    ("server", Some(&[])),
    ("engine", Some(&["core", "store"])),
    ("source-files", Some(&["core", "engine"])),
    ("source-s3", Some(&["core", "engine", "store", "store-s3"])),
    ("source-postgres", Some(&["core", "engine"])),
    ("scheduler", Some(&["engine"])),
    ("cli", None),
    ("tests", None),
    ("models", Some(&[])),
    ("benches", None),
];

/// All that `core` may use: nothing here reads a file, a clock or a socket.
const CORE_USES: &[&str] =
    &["aws-lc-rs", "blake3", "rust-argon2", "serde", "serde_json", "thiserror", "zeroize", "zstd"];

/// Most lines of a file without its tests.
const LINES_MAX: usize = 600;

/// Files that are longer, with the length that they may not exceed.
const LONG_FILES: &[(&str, usize)] =
    &[("crates/core/src/session.rs", 654), ("crates/engine/src/backup/driver.rs", 738)];

/// Words that have another word in this house, and that word.
const BANNED_WORDS: &[(&str, &str)] = &[
    ("blob", "chunk"),
    ("blobs", "chunks"),
    ("backend", "store"),
    ("lease", "nothing: holdfast has no locks"),
    ("utils", "the name of what it does"),
];

/// What brings the outside world in behind the context's back.
const AMBIENT: &[&str] =
    &["SystemTime::now", "Instant::now", "thread::spawn", "thread::Builder", "env::", "process::exit"];

/// Where that is the point, and how often.
const AMBIENT_ALLOWED: &[(&str, usize)] = &[
    // Where to sort what comes unsorted, if there is no cache.
    ("crates/engine/src/backup/mod.rs", 1),
    // Where to keep a copy of the index, if there is no cache or no room in it.
    ("crates/engine/src/index/copy.rs", 1),
    // The pool of threads itself.
    ("crates/engine/src/workers.rs", 1),
    // How far this clock is from a server's that refuses.
    ("crates/store-s3/src/error.rs", 1),
    // How long a server takes to answer; the simulator has no server.
    ("crates/store-s3/src/gate.rs", 2),
    // Whether whoever is watched still moves: those who ask are people and machines of today.
    ("crates/server/src/board.rs", 2),
];

/// What makes one process or task wait for another, or for time to pass: the protocol has no use
/// for it. A mutex in one process is not meant.
const WAITS: &[&str] = &[
    // Locks of files, by whatever name.
    "flock(",
    "Flock",
    "LOCK_EX",
    "LOCK_SH",
    "F_SETLK",
    "F_OFD_SETLK",
    "fcntl_lock",
    "fcntl::",
    "lockf",
    "File::lock",
    "File::try_lock",
    "file.lock",
    "file.try_lock",
    "lock_shared",
    "lock_exclusive",
    "fs2",
    "fs4",
    "fd_lock",
    // Time that passes.
    "sleep",
    "time::interval",
    "time::timeout",
    "park_timeout",
    "wait_timeout",
    "recv_timeout",
    "recv_deadline",
];

/// Where that is harmless, and how often.
const WAITS_ALLOWED: &[(&str, usize)] = &[
    // Where a file system has no files without names: keeps the sweep of what killed processes left
    // among the temporary files away from those that are being written. Never waited for, as
    // `no_lock_is_waited_for` sees.
    ("crates/store/src/local/scratch.rs", 2),
];

/// Tests that do not run by themselves, and how many.
const IGNORED_TESTS: &[(&str, usize)] = &[];

/// Files outside `core/src/crypto.rs` that name a cipher crate, and how often.
const CIPHERS_ELSEWHERE: &[(&str, usize)] = &[
    // The recovery kit names the program by the hash that `sha256sum` prints.
    ("crates/cli/src/commands/kit.rs", 1),
    // The encryption of the way to a server, which is not of the repository, names whose ciphers it uses.
    ("crates/source-postgres/src/wire/tls.rs", 2),
    // A webhook's receiver has to know who sent it.
    ("crates/notify/src/webhook.rs", 1),
];

/// All Rust sources of ours but this one.
fn sources() -> Vec<String> {
    let all = ["crates", "tests", "benches"].into_iter().flat_map(files);
    all.filter(|path| path.ends_with(".rs") && path != "tests/tests/tidy.rs").collect()
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/")
        || path.starts_with("tests/models/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
}

/// The lines before a file's tests, which come last.
fn without_tests(text: &str) -> Vec<&str> {
    let lines: Vec<_> = text.lines().collect();
    let begins_tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests {");
    let end = lines.windows(2).position(begins_tests).unwrap_or(lines.len());
    lines[..end].to_vec()
}

/// Fails on every file with more than the list allows, and on entries of the list that are void.
fn ratchet(what: &str, found: &BTreeMap<String, usize>, allowed: &[(&str, usize)]) {
    let allowed: BTreeMap<_, _> = allowed.iter().copied().collect();
    let allows = |path: &str| allowed.get(path).copied().unwrap_or(0);
    let mut wrong: Vec<_> = found
        .iter()
        .filter(|(path, count)| **count > allows(path))
        .map(|(path, count)| format!("(\"{path}\", {count}), {} allowed", allows(path)))
        .collect();
    wrong.extend(
        allowed
            .keys()
            .filter(|path| !found.contains_key(**path))
            .map(|path| format!("{path}: no longer needed")),
    );
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

/// Counts lines that match, in each file of a list.
fn count(paths: impl IntoIterator<Item = String>, matches: impl Fn(&str) -> bool) -> BTreeMap<String, usize> {
    paths
        .into_iter()
        .map(|path| (without_tests(&read(&path)).into_iter().filter(|line| matches(line)).count(), path))
        .filter(|(count, _)| *count > 0)
        .map(|(count, path)| (path, count))
        .collect()
}

/// A line without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// The words of a line, identifiers cut at their underscores and capitals.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in line.chars() {
        if !letter.is_alphabetic() || letter.is_uppercase() {
            words.push(String::new());
        }
        if letter.is_alphabetic() {
            words.last_mut().unwrap().extend(letter.to_lowercase());
        }
    }
    words
}

fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = ["metadata", "--no-deps", "--format-version", "1", "--offline"];
    let output = Command::new(cargo).args(words).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// The names of what a package depends on; those of ours without the brand, and others.
fn uses(package: &Value, kind: Option<&str>) -> (Vec<String>, Vec<String>) {
    let all = package["dependencies"].as_array().unwrap().iter();
    let chosen = all.filter(|dependency| kind.is_none() || dependency["kind"].as_str() == kind);
    let names = chosen.map(|dependency| dependency["name"].as_str().unwrap());
    let (ours, others): (Vec<_>, Vec<_>) = names.partition(|name| name.starts_with("holdfast-"));
    let short = |name: &str| name.trim_start_matches("holdfast-").to_owned();
    (ours.into_iter().map(short).collect(), others.into_iter().map(str::to_owned).collect())
}

#[test]
fn arrows_point_down() {
    for package in packages() {
        let name = package["name"].as_str().unwrap().trim_start_matches("holdfast-").to_owned();
        let arrows = ARROWS.iter().find(|(from, _)| *from == name);
        let (_, allowed) = arrows.unwrap_or_else(|| panic!("{name} has no floor yet: see ARROWS"));
        for used in uses(&package, None).0 {
            let top = ["cli", "tests", "benches"].contains(&used.as_str());
            let right = allowed.map_or(!top, |allowed| allowed.contains(&used.as_str()));
            assert!(right, "{name} may not depend on {used}: arrows point down, see crates/README.md");
        }
    }
}

#[test]
fn packages_are_named_like_their_folders_and_licensed_alike() {
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let manifest = package["manifest_path"].as_str().unwrap();
        let folder = manifest.trim_end_matches("/Cargo.toml").rsplit('/').next().unwrap();
        assert_eq!(name, format!("holdfast-{folder}"));
        assert_eq!(package["license"], "MIT OR Apache-2.0", "{name}");
        assert_eq!(package["publish"], Value::Array(Vec::new()), "{name} is not for crates.io yet");
        assert!(package["description"].is_string(), "{name} says what it is for");
        assert!(
            read(&format!("{}/Cargo.toml", manifest_folder(manifest))).contains("[lints]\nworkspace = true")
        );
    }
    assert!(["LICENSE-MIT", "LICENSE-APACHE"].iter().all(|path| !read(path).is_empty()));
}

fn manifest_folder(manifest: &str) -> &str {
    let from_top = manifest.strip_prefix(root().to_str().unwrap()).unwrap();
    from_top.trim_start_matches('/').trim_end_matches("/Cargo.toml")
}

#[test]
fn core_is_pure() {
    let packages = packages();
    let core = packages.iter().find(|package| package["name"] == "holdfast-core").unwrap();
    let all = core["dependencies"].as_array().unwrap().iter();
    let normal = all.filter(|dependency| dependency["kind"] != "dev").map(|dependency| &dependency["name"]);
    for name in normal.map(|name| name.as_str().unwrap()) {
        assert!(CORE_USES.contains(&name), "core may not use {name}: see CORE_USES");
    }
    for path in files("crates/core/src") {
        for line in read(&path).lines().map(code) {
            let impure = ["async", "await"].iter().any(|word| words(line).iter().any(|w| w == word))
                || ["std::fs", "std::net", "std::process", "std::thread", "std::env"]
                    .iter()
                    .any(|m| line.contains(m));
            assert!(!impure || is_test(&path), "{path}: core is sync and pure: {line}");
        }
    }
}

#[test]
fn the_world_comes_in_through_the_context() {
    let below_cli = sources().into_iter().filter(|path| {
        path.starts_with("crates/")
            && path.contains("/src/")
            && !path.starts_with("crates/cli/")
            && !is_test(path)
    });
    let found = count(below_cli, |line| AMBIENT.iter().any(|word| code(line).contains(word)));
    ratchet("time, threads and environment outside the context", &found, AMBIENT_ALLOWED);
}

/// The code of the engine and of what it stands on.
fn below_sources() -> impl Iterator<Item = String> {
    let folders = ["crates/core/src", "crates/engine/src", "crates/store/src"];
    folders.into_iter().flat_map(files).filter(|path| path.ends_with(".rs") && !is_test(path))
}

fn waits(line: &str) -> bool {
    WAITS.iter().any(|word| code(line).contains(word))
}

#[test]
fn nothing_locks_files_or_sleeps() {
    ratchet("locks and sleeps", &count(below_sources(), waits), WAITS_ALLOWED);
}

#[test]
fn no_lock_is_waited_for() {
    let is_lock = |line: &str| ["flock(", "FlockOperation::"].iter().any(|word| code(line).contains(word));
    let blocks = |line: &str| is_lock(line) && !line.contains("FlockOperation::NonBlocking");
    assert_eq!(count(below_sources(), blocks), BTreeMap::new());
    assert!(count(below_sources(), is_lock).len() <= WAITS_ALLOWED.len());
}

#[test]
fn locks_and_sleeps_are_recognized() {
    let refused = [
        "rustix::fs::flock(&file, FlockOperation::LockExclusive)?;",
        "let locked = fcntl_lock(&file, operation);",
        "libc::fcntl(fd, libc::F_OFD_SETLKW, &lock)",
        "let file = File::options().open(path)?; file.lock()?;",
        "tokio::time::sleep(PAUSE).await;",
        "std::thread::sleep(PAUSE);",
        "let mut ticks = tokio::time::interval(PAUSE);",
        "let (guard, _) = changed.wait_timeout(guard, PAUSE)?;",
    ];
    assert!(refused.into_iter().all(waits));
    let taken = ["// A writer that sleeps is not waited for.", "let rows = self.rows.lock();"];
    assert!(!taken.into_iter().any(waits));
}

#[test]
fn ciphers_are_named_in_one_file() {
    let elsewhere = sources().into_iter().filter(|path| path != "crates/core/src/crypto.rs");
    let found =
        count(elsewhere, |line| ["aws_lc_rs", "argon2::"].iter().any(|name| code(line).contains(name)));
    ratchet("cipher crates outside core/src/crypto.rs", &found, CIPHERS_ELSEWHERE);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> = sources().into_iter().filter(|path| !read(path).starts_with("//! ")).collect();
    assert!(silent.is_empty(), "files that do not open with //!: {silent:#?}");
}

#[test]
fn nothing_is_left_for_later() {
    let marks = ["TODO", "FIXME", "XXX", "todo!", "unimplemented!", "dbg!", "HACK"];
    for path in sources() {
        for (number, line) in read(&path).lines().enumerate() {
            let mark = marks.iter().find(|mark| line.contains(*mark));
            assert!(mark.is_none(), "{path}:{}: {line}", number + 1);
        }
    }
}

#[test]
fn every_test_runs() {
    let ignored =
        |path: &String| read(path).lines().filter(|line| line.trim_start().starts_with("#[ignore")).count();
    let found = sources().into_iter().map(|path| (ignored(&path), path)).filter(|(count, _)| *count > 0);
    ratchet("ignored tests", &found.map(|(count, path)| (path, count)).collect(), IGNORED_TESTS);
}

#[test]
fn files_stay_short() {
    let long = sources()
        .into_iter()
        .filter(|path| !is_test(path))
        .map(|path| (without_tests(&read(&path)).len(), path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, path)| (path, lines));
    ratchet("lines without tests", &long.collect(), LONG_FILES);
}

#[test]
fn one_thing_has_one_word() {
    for path in sources().into_iter().filter(|path| !path.starts_with("benches/")) {
        for (number, line) in read(&path).lines().enumerate() {
            let found = words(code(line));
            let banned = BANNED_WORDS.iter().find(|(word, _)| found.iter().any(|w| w == word));
            assert!(banned.is_none(), "{path}:{}: {banned:?} in: {line}", number + 1);
        }
    }
}

#[test]
fn the_changelog_knows_the_version() {
    let version = packages()[0]["version"].as_str().unwrap().to_owned();
    assert!(
        read("CHANGELOG.md").contains(&format!("\n## {version}")),
        "CHANGELOG.md has no section {version}"
    );
}

#[test]
fn the_top_folder_stays_small() {
    let known = "Cargo.toml Cargo.lock README.md CHANGELOG.md SECURITY.md LICENSE-MIT LICENSE-APACHE clippy.toml deny.toml \
                 rustfmt.toml crates policies tests benches";
    let listed = Command::new("git").args(["ls-files", "--cached"]).current_dir(root()).output();
    // Outside a checkout there is no telling what belongs to the project.
    let Some(listed) = listed.ok().filter(|output| output.status.success()) else { return };
    for path in String::from_utf8(listed.stdout).unwrap().lines() {
        let top = path.split('/').next().unwrap();
        assert!(
            top.starts_with('.') || known.split_whitespace().any(|name| name == top),
            "{top}: not at the top"
        );
    }
}

/// The tests of a file that run always: functions right below an attribute that makes them tests, and none that
/// leaves them out.
fn tests_of(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut tests = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let line = line.trim_start_matches("pub(crate) ").trim_start_matches("async ");
        let Some((name, _)) = line.strip_prefix("fn ").and_then(|rest| rest.split_once("()")) else {
            continue;
        };
        let above = lines[..at].iter().rev();
        let above: Vec<_> =
            above.take_while(|line| line.starts_with("#[") || line.starts_with("///")).collect();
        let is = |marks: &[&str]| above.iter().any(|line| marks.iter().any(|mark| line.starts_with(mark)));
        if is(&["#[test]", "#[tokio::test]", "#[tokio::test("]) && !is(&["#[ignore", "#[cfg"]) {
            tests.push(name.to_owned());
        }
    }
    tests
}

/// Each promise of the security page is held by a test that it names, and each name below it is that of a test.
#[test]
fn the_security_page_names_tests_that_are_there() {
    let page = read("SECURITY.md");
    let held = page.split("## Held by tests").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    for row in page.lines().filter(|line| line.starts_with("| **")) {
        let who = row.split("**").nth(1).unwrap();
        assert!(held.to_lowercase().contains(&who.to_lowercase()), "nothing is held of: {who}");
    }
    let tests: std::collections::BTreeSet<String> =
        sources().iter().flat_map(|path| tests_of(&read(path))).collect();
    let promises = held.lines().filter(|line| line.starts_with("- ") || line.starts_with("  "));
    for promise in promises.collect::<Vec<_>>().join("\n").split("\n- ") {
        let named: Vec<&str> =
            promise.split('`').skip(1).step_by(2).filter(|word| word.contains('_')).collect();
        assert!(!named.is_empty(), "no test holds this: {promise}");
        for name in named {
            assert!(tests.contains(name), "SECURITY.md names {name}, which is no test");
        }
    }
}

#[test]
fn a_test_is_a_function_that_is_marked_as_one_and_runs() {
    let text = "#[test]\nfn one() {\n}\n\n/// It.\n#[tokio::test(flavor = \"x\")]\nasync fn two() {\n}\n\
        #[test]\n\nfn apart() {}\n#[ignore = \"slow\"]\n#[test]\nfn ignored() {}\n#[test]\n#[cfg(unix)]\nfn cut() {}\n\
        // #[test]\nfn remark() {}\nfn none() {}\n#[test]\nfn with(words: u8) {}\nlet x = \"fn text()\";\n";
    assert_eq!(tests_of(text), ["one", "two"]);
}

#[test]
fn words_are_cut_out_of_identifiers() {
    assert_eq!(
        words("a_blob, BlobStore").join(" ").split_whitespace().collect::<Vec<_>>(),
        ["a", "blob", "blob", "store"]
    );
    assert_eq!(without_tests("//! x\n#[cfg(test)]\nmod tests {\n}"), ["//! x"]);
}
