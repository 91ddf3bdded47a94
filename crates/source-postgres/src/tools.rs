//! The server's own programs, found by what they say of themselves.
//!
//! A program of the server's major version is taken, else the nearest newer one: an older one does
//! not know what the server has. On purpose not here: the environment, which is handed in.

use crate::error::PgError;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Newest version that is looked for.
const NEWEST: u32 = 25;
/// Where systems put the programs of one version; `N` stands for it.
const PLACES: [&str; 5] = [
    "/usr/lib/postgresql/N/bin",
    "/usr/pgsql-N/bin",
    "/opt/homebrew/opt/postgresql@N/bin",
    "/usr/local/opt/postgresql@N/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@N/bin",
];

/// Where programs may lie, and what they find around them.
#[derive(Debug, Clone, Default)]
pub struct ToolPlaces {
    /// The one folder to look in, if somebody stated one.
    pub stated: Option<PathBuf>,
    /// `PATH`.
    pub path: Option<OsString>,
    /// The environment of the programs; what opens the repository is not in it.
    pub environment: Vec<(OsString, OsString)>,
}

/// A program.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    /// Its name: `pg_dump`.
    pub name: &'static str,
    pub path: PathBuf,
    /// Its first number.
    pub major: u32,
    /// What it finds around it.
    environment: Vec<(OsString, OsString)>,
}

impl Tool {
    /// The program, ready to be given words.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        // What it says is searched for words.
        command.env("LC_ALL", "C");
        command
    }
}

/// Finds a program of a major version, or of the nearest newer one.
pub(crate) fn find(name: &'static str, major: u32, places: &ToolPlaces) -> Result<Tool, PgError> {
    let looked = folders(major, places);
    let mut seen = Vec::new();
    let mut best: Option<Tool> = None;
    for folder in &looked {
        let path = folder.join(name);
        let Some(found) = version_of(&path, places) else { continue };
        if found == major {
            return Ok(tool(name, path, found, places));
        }
        if found > major && best.as_ref().is_none_or(|best| found < best.major) {
            best = Some(tool(name, path.clone(), found, places));
        }
        seen.push(format!("{} is of {found}", path.display()));
    }
    best.ok_or_else(|| PgError::Refused(missing(name, major, &looked, &seen, places)))
}

fn tool(name: &'static str, path: PathBuf, major: u32, places: &ToolPlaces) -> Tool {
    Tool { name, path, major, environment: places.environment.clone() }
}

fn missing(name: &str, major: u32, looked: &[PathBuf], seen: &[String], places: &ToolPlaces) -> String {
    let found = if seen.is_empty() { String::new() } else { format!("; {}", seen.join(", ")) };
    let where_to = if places.stated.is_some() {
        looked.first().map(|folder| folder.display().to_string()).unwrap_or_default()
    } else {
        let usual = PLACES.map(|place| place.replace('N', &major.to_string()));
        format!("{}, those of newer versions, and PATH", usual.join(", "))
    };
    format!(
        "there is no {name} of PostgreSQL {major} or newer (looked in {where_to}{found}): install the client \
         programs of that version (postgresql-client-{major}), or say in HOLDFAST_PG_BIN which folder they lie in"
    )
}

/// The folders in which programs of one version may lie, the likeliest first.
pub(crate) fn folders_of(major: u32, places: &ToolPlaces) -> Vec<PathBuf> {
    let newer = |folder: &PathBuf| (major + 1..=NEWEST).any(|other| usual(other).contains(folder));
    folders(major, places).into_iter().filter(|folder| !newer(folder)).collect()
}

fn usual(version: u32) -> [PathBuf; PLACES.len()] {
    PLACES.map(|place| PathBuf::from(place.replace('N', &version.to_string())))
}

/// The folders to look in, the likeliest first.
fn folders(major: u32, places: &ToolPlaces) -> Vec<PathBuf> {
    if let Some(stated) = &places.stated {
        return vec![stated.clone()];
    }
    let path = places.path.iter().flat_map(|path| path.as_bytes().split(|&byte| byte == b':'));
    let path = path.filter(|folder| folder.starts_with(b"/"));
    let path = path.map(|folder| PathBuf::from(OsString::from_vec(folder.to_vec())));
    usual(major).into_iter().chain(path).chain((major + 1..=NEWEST).flat_map(usual)).collect()
}

/// What a program says of itself; none if it is not there, or is something else.
fn version_of(path: &Path, places: &ToolPlaces) -> Option<u32> {
    if !path.is_file() {
        return None;
    }
    let mut command = Command::new(path);
    command.env_clear().envs(places.environment.iter().map(|(name, value)| (name, value)));
    let output = command.env("LC_ALL", "C").arg("--version").stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| parse_version(&String::from_utf8_lossy(&output.stdout))).flatten()
}

/// The first number of `pg_dump (PostgreSQL) 15.18 (Debian …)`.
fn parse_version(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("(PostgreSQL) ")?;
    let end = rest.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    /// Written by another process: what is open for writing in this one cannot be run.
    fn put(folder: &Path, version: &str) {
        let words = "mkdir -p \"$1\" && printf '#!/bin/sh\\necho \"pg_dump (PostgreSQL) %s\"\\n' \"$2\" > \
                     \"$1/pg_dump\" && chmod 755 \"$1/pg_dump\"";
        let status = Command::new("sh").args(["-c", words, "sh"]).arg(folder).arg(version).status().unwrap();
        assert!(status.success());
    }

    #[test]
    fn versions_are_read_from_what_programs_say() {
        assert_eq!(parse_version("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_version("pg_dump (PostgreSQL) 19beta2"), Some(19));
        assert_eq!(parse_version("pg_dump (EnterpriseDB) 15"), None);
    }

    #[test]
    fn the_nearest_version_that_is_not_older_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let folders = ["a", "b", "c"].map(|name| dir.path().join(name));
        for (folder, version) in folders.iter().zip(["71.2", "73.1", "72.4"]) {
            put(folder, version);
        }
        let path = std::env::join_paths(&folders).unwrap();
        let environment = vec![("PATH".into(), std::env::var_os("PATH").unwrap_or_default())];
        let mut places = ToolPlaces { stated: None, path: Some(path), environment };
        let majors = [71, 72, 73].map(|major| find("pg_dump", major, &places).unwrap().path);
        assert_eq!(majors, [0, 2, 1].map(|at: usize| folders[at].join("pg_dump")));
        put(&folders[2], "70.1");
        assert_eq!(find("pg_dump", 72, &places).unwrap().major, 73);
        let error = find("pg_dump", 74, &places).unwrap_err().to_string();
        assert!(error.contains("/usr/lib/postgresql/74/bin") && error.contains("is of 73"), "{error}");
        places.stated = Some(folders[0].clone());
        let error = find("pg_dump", 72, &places).unwrap_err().to_string();
        assert!(error.contains("is of 71") && error.contains("HOLDFAST_PG_BIN"), "{error}");
    }
}
