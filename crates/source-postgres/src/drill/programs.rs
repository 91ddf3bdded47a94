//! The programs of a server of one major version, all from one folder.
//!
//! A server reads only clusters of its own major version: the nearest other one will not do. On
//! purpose not here: running them.

use super::run::run;
use crate::tools::{ToolPlaces, folders_of};
use holdfast_engine::ctx::Cancel;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// So long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(30);

/// Programs of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    /// Where they lie.
    pub folder: PathBuf,
    /// Their version as they say it: `15.18`.
    pub version: String,
    pub major: u32,
    /// What they find around them.
    environment: Vec<(OsString, OsString)>,
}

/// Variables that programs are given: what they need to be found and to run.
const KEPT: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "TMPDIR"];

impl Programs {
    /// Finds them; else which folders were looked into, in words.
    pub(super) fn find(
        major: u32,
        bin_dirs: &[PathBuf],
        places: &ToolPlaces,
        work: &Path,
    ) -> Result<Self, String> {
        let kept = places.environment.iter().filter(|(name, _)| KEPT.iter().any(|kept| name == kept));
        let environment: Vec<_> = kept.cloned().collect();
        let mut others = Vec::new();
        let folders = bin_dirs.iter().cloned().chain(folders_of(major, places));
        for folder in folders {
            let Some(version) = version_of(&folder.join("postgres"), &environment, work) else { continue };
            if first_number(&version) == Some(major) && folder.join("pg_controldata").is_file() {
                return Ok(Self { folder, version, major, environment });
            }
            others.push(format!("{} has {version}", folder.display()));
        }
        others.dedup();
        let others =
            if others.is_empty() { String::new() } else { format!(" (found: {})", others.join(", ")) };
        Err(format!("there are no server programs of PostgreSQL {major} here{others}"))
    }

    /// What to install.
    pub(super) fn advice(major: u32) -> String {
        format!(
            "install postgresql-{major} (Debian, Ubuntu) or postgresql{major}-server and postgresql{major}-contrib \
             (RHEL), or say in bin_dirs or HOLDFAST_PG_BIN which folder they lie in"
        )
    }

    /// The path of one; none if it is not installed.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        let path = self.folder.join(name);
        path.is_file().then_some(path)
    }

    /// Gives a command what the programs find around them, and nothing else.
    pub(super) fn furnish(&self, command: &mut Command) {
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // What they say is searched for words.
        command.env("LC_ALL", "C").env("PGPASSFILE", "/nonexistent/pgpass").current_dir("/");
    }

    /// Where libraries lie that a server loads.
    pub(super) fn libraries(&self, work: &Path) -> Option<PathBuf> {
        let mut command = Command::new(self.path("pg_config")?);
        self.furnish(&mut command);
        command.arg("--pkglibdir");
        let ran = run(command, work, Some(PATIENCE), &Cancel::default()).ok()?;
        Some(PathBuf::from(ran.out.trim())).filter(|path| path.is_dir())
    }

    /// Whether they are of an older minor version than a server was.
    pub(super) fn is_older_than(&self, recorded: &str) -> bool {
        let minor = |text: &str| Some((first_number(text)?, first_number(text.split_once('.')?.1)?));
        match (minor(&self.version), minor(recorded)) {
            (Some(ours), Some(theirs)) => ours.0 == theirs.0 && ours.1 < theirs.1,
            _ => false,
        }
    }
}

fn version_of(path: &Path, environment: &[(OsString, OsString)], work: &Path) -> Option<String> {
    if !path.is_file() {
        return None;
    }
    let mut command = Command::new(path);
    command.env_clear().envs(environment.iter().map(|(name, value)| (name, value))).env("LC_ALL", "C");
    command.arg("--version");
    let ran = run(command, work, Some(PATIENCE), &Cancel::default()).ok()?;
    let version = ran.out.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?;
    Some(version.to_owned())
}

/// The first number of a version: of `15.18 (Debian …)` 15.
pub(super) fn first_number(text: &str) -> Option<u32> {
    let end = text.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn programs(version: &str) -> Programs {
        let folder = PathBuf::from("/x");
        Programs { folder, version: version.into(), major: 15, environment: Vec::new() }
    }

    #[test]
    fn an_older_minor_version_is_seen() {
        assert!(programs("15.2").is_older_than("15.18 (Debian 15.18-0+deb12u1)"));
        assert!(!programs("15.18").is_older_than("15.18"));
        assert!(!programs("15.18").is_older_than("15.9"));
        assert!(!programs("18beta1").is_older_than("18.3"));
    }

    #[test]
    fn another_major_version_will_not_do() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        // Written by another process: what is open for writing in this one cannot be run.
        let words = "mkdir -p \"$1\" && printf '#!/bin/sh\\necho \"postgres (PostgreSQL) 71.2\"\\n' > \
                     \"$1/postgres\" && chmod 755 \"$1/postgres\" && touch \"$1/pg_controldata\"";
        assert!(Command::new("sh").args(["-c", words, "sh"]).arg(&bin).status().unwrap().success());
        let places = ToolPlaces::default();
        let found = Programs::find(71, std::slice::from_ref(&bin), &places, dir.path()).unwrap();
        assert_eq!((found.version.as_str(), found.major), ("71.2", 71));
        let missing = Programs::find(70, &[bin], &places, dir.path()).unwrap_err();
        assert!(missing.contains("PostgreSQL 70") && missing.contains("has 71.2"), "{missing}");
        assert!(Programs::advice(70).contains("postgresql-70"));
    }
}
