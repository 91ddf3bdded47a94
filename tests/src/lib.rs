//! What tests of the whole share: where the project is, its files, and the real program.
//!
//! On purpose not here: any crate of ours. These tests see what a user sees, and the sources.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The project's top folder.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the project")
}

/// Lists the project's own files below a folder of it, in order, as paths from the top.
///
/// # Panics
/// A folder cannot be listed.
#[must_use]
pub fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}")) {
            let entry = entry.expect("an entry of a folder");
            if entry.file_type().expect("a kind").is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path();
                let path = path.strip_prefix(root()).expect("below the top");
                found.push(path.to_str().expect("a name in UTF-8").to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Reads one of the project's files.
///
/// # Panics
/// It is missing or not text.
#[must_use]
pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the program's path: `HOLDFAST_BIN` if it is set, as `tests/run.sh` does; else it is
/// built first, so that a test never meets a stale one.
///
/// # Panics
/// It does not build.
#[must_use]
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| std::env::var_os("HOLDFAST_BIN").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--locked", "--bin", "holdfast", "--message-format", "json-render-diagnostics"])
        .current_dir(root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "holdfast does not build");
    let said = String::from_utf8(output.stdout).expect("cargo speaks UTF-8");
    said.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "holdfast")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the program")
}

/// Prepares a call of the program that knows nothing of the user: no password, no repository, and
/// a home of its own.
#[must_use]
pub fn holdfast<W: AsRef<OsStr>>(home: &Path, words: impl IntoIterator<Item = W>) -> Command {
    let mut command = Command::new(program());
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("HOLDFAST_")) {
        command.env_remove(name);
    }
    command.args(words).env("HOME", home).env("XDG_CACHE_HOME", home.join(".cache")).stdin(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn the_program_starts_and_is_this_version() {
        let home = tempfile::tempdir().unwrap();
        let output = holdfast(home.path(), ["--version"]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.trim(), concat!("holdfast ", env!("CARGO_PKG_VERSION")));
    }
}
