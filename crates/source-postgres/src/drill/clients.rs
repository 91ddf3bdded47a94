//! Which server takes dumps, and the programs that bring them into it: each behind the walls of the
//! drill, by a small script of its name.
//!
//! The scripts lie where nothing behind the walls can write. On purpose not here: running them.

use super::bench::{PORT, Sockets};
use super::isolation::Isolation;
use super::links::Ground;
use super::programs::{Programs, first_number};
use super::start::USUAL_ROLE;
use crate::facts::KNOWN;
use crate::logical::NEW_SETTING;
use crate::tools::{ToolPlaces, folders, full_version_of};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Programs that take dumps.
const CLIENTS: [&str; 2] = ["pg_restore", "psql"];
/// Variables that programs need to be found and to run.
const NEEDED: [&str; 2] = ["PATH", "LD_LIBRARY_PATH"];

/// Where dumps come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// First number of the server's version.
    pub server: u32,
    /// First number of the programs that made them.
    pub tool: u32,
    /// What the first superuser of the cluster is called: grants name it.
    pub superuser: String,
}

impl Origin {
    /// Out of what was recorded.
    pub(super) fn of(facts: &BTreeMap<String, String>) -> Option<Self> {
        let superuser = facts.get("bootstrap superuser").map_or(USUAL_ROLE, String::as_str);
        Some(Self {
            server: first_number(facts.get("server version")?)?,
            tool: first_number(facts.get("pg_dump version")?)?,
            superuser: superuser.to_owned(),
        })
    }

    /// Versions of servers that take the dumps, the best first.
    fn majors(&self) -> std::ops::RangeInclusive<u32> {
        let first = if self.tool >= NEW_SETTING { self.server.max(NEW_SETTING) } else { self.server };
        first..=*KNOWN.end()
    }
}

/// Finds a server that takes dumps; else what was looked for, in words.
pub(super) fn find(
    origin: &Origin,
    bin_dirs: &[PathBuf],
    places: &ToolPlaces,
    work: &Path,
) -> Result<Programs, String> {
    let mut first = None;
    for major in origin.majors() {
        let why = match Programs::find(major, bin_dirs, places, work) {
            Ok(programs) if programs.path("initdb").is_some() => return Ok(programs),
            Ok(programs) => format!("{} has no initdb", programs.folder.display()),
            Err(why) => why,
        };
        first.get_or_insert(why);
    }
    let first = first.unwrap_or_else(|| format!("no server is known that takes dumps of {}", origin.server));
    Err(format!("{first}, and none of a newer version that takes these dumps"))
}

/// Makes the scripts; the folder that they are in.
pub(super) fn behind(
    isolation: &Isolation,
    ground: &Ground,
    programs: &Programs,
    origin: &Origin,
    bin_dirs: &[PathBuf],
    places: &ToolPlaces,
) -> io::Result<PathBuf> {
    let beside = ground.folder.parent().ok_or(io::ErrorKind::NotFound)?;
    let folder = beside.join("programs");
    fs::create_dir_all(&folder)?;
    let sockets = Sockets::below(ground)?.folder;
    for name in CLIENTS {
        let program = client(name, origin, programs, bin_dirs, places);
        let program = program.ok_or_else(|| {
            let what = format!("there is no {name} of PostgreSQL {} or newer", origin.tool);
            io::Error::new(io::ErrorKind::NotFound, what)
        })?;
        let script = script(isolation, &sockets, programs, &program);
        fs::write(folder.join(name), script)?;
        fs::set_permissions(folder.join(name), Permissions::from_mode(0o755))?;
    }
    Ok(folder)
}

/// A program that reads what those wrote that made the dumps.
fn client(
    name: &str,
    origin: &Origin,
    programs: &Programs,
    bin_dirs: &[PathBuf],
    places: &ToolPlaces,
) -> Option<PathBuf> {
    if let Some(path) = programs.path(name).filter(|_| programs.major >= origin.tool) {
        return Some(path);
    }
    let all = bin_dirs.iter().cloned().chain(folders(origin.tool, places));
    let fits = |path: &PathBuf| full_version_of(path, places).is_some_and(|(major, _)| major >= origin.tool);
    all.map(|folder| folder.join(name)).find(fits)
}

/// Runs a program behind the walls; it reaches the socket by the folder that it is in, whose path may be
/// too long for it.
fn script(isolation: &Isolation, sockets: &Path, programs: &Programs, program: &Path) -> Vec<u8> {
    let command = isolation.command(programs, program);
    let mut script = b"#!/bin/sh\n".to_vec();
    for (name, value) in command.get_envs() {
        if let Some(value) = value.filter(|_| NEEDED.iter().any(|needed| name == *needed)) {
            script.extend_from_slice(b"export ");
            script.extend_from_slice(name.as_bytes());
            script.push(b'=');
            quote(value, &mut script);
            script.push(b'\n');
        }
    }
    script.extend_from_slice(format!("export PGHOST=/proc/self/cwd PGPORT={PORT}\ncd ").as_bytes());
    quote(sockets.as_os_str(), &mut script);
    script.extend_from_slice(b" || exit 1\nexec");
    for word in std::iter::once(command.get_program()).chain(command.get_args()) {
        script.push(b' ');
        quote(word, &mut script);
    }
    script.extend_from_slice(b" \"$@\"\n");
    script
}

/// A word as a shell takes it.
fn quote(word: &OsStr, to: &mut Vec<u8>) {
    to.push(b'\'');
    for &byte in word.as_bytes() {
        match byte {
            b'\'' => to.extend_from_slice(b"'\\''"),
            byte => to.push(byte),
        }
    }
    to.push(b'\'');
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    fn origin(server: &str, tool: &str) -> Origin {
        let facts = [("server version", server), ("pg_dump version", tool)];
        Origin::of(&facts.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).unwrap()
    }

    #[test]
    fn a_server_takes_dumps_of_its_own_version_or_older_ones() {
        assert_eq!(origin("15.18 (Debian 15.18-0+deb12u1)", "15").majors(), 15..=18);
        assert_eq!(origin("15.18", "16").majors(), 15..=18);
        assert_eq!(origin("15.18", "18").majors(), 17..=18);
        assert_eq!(origin("18.1", "18").majors(), 18..=18);
        assert_eq!(origin("15.18", "15").superuser, "postgres");
        assert_eq!(Origin::of(&BTreeMap::new()), None);
    }

    #[test]
    fn a_shell_takes_words_as_they_are() {
        let mut quoted = Vec::new();
        quote(OsStr::new("a 'b' $c"), &mut quoted);
        assert_eq!(quoted, b"'a '\\''b'\\'' $c'");
    }
}
