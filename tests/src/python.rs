//! The reader in Python, written from `FORMAT.md` alone: `tests/reader`.
//!
//! `tests/run.sh` installs what it needs; `HOLDFAST_READER` says where that is. One that cannot run is a failure,
//! not a skip.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// A program of `tests/reader`, ready to be run on repositories with this password.
#[must_use]
pub fn reader(program: &str, password: &str) -> Command {
    let mut command = Command::new("python3");
    // No `__pycache__` beside the sources.
    command.arg("-B").arg(crate::root().join("tests/reader").join(program));
    command.env("PYTHONPATH", packages()).env("HOLDFAST_PASSWORD", password).env_remove("HOLDFAST_KEY_FILE");
    command
}

/// What a run printed, which has to succeed.
///
/// # Panics
/// It fails.
#[must_use]
pub fn printed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("python3");
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("UTF-8")
}

/// The folder of what the reader needs.
fn packages() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let found = std::env::var_os("HOLDFAST_READER").map_or_else(usual, PathBuf::from);
        let there = std::fs::read(found.join("requirements.txt")).unwrap_or_default();
        let wanted = crate::read("tests/reader/requirements.txt").into_bytes();
        assert!(
            there == wanted,
            "{} is not what the reader needs: tests/run.sh installs it",
            found.display()
        );
        found
    })
}

fn usual() -> PathBuf {
    let version = "import sys; print('%d.%d' % sys.version_info[:2])";
    let version = printed(Command::new("python3").args(["-c", version]));
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    cache.join("holdfast/tools").join(format!("reader-{}", version.trim()))
}
