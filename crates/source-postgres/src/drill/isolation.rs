//! The place that a drill runs programs in: tried once with a program that does nothing.
//!
//! On purpose not here: the words that build it.

use super::links::Ground;
use super::programs::Programs;
use super::run::run;
use super::user::{MARK, User};
use super::walls::{Builder, Cover, Walls, mounts, words};
use holdfast_engine::ctx::Cancel;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Who is who on a host.
const USERS: &str = "/etc/passwd";
/// So long building the walls may take; a mount whose server is gone never answers.
const PATIENCE: Duration = Duration::from_secs(60);
/// Proves that the cluster can be read, as far as there is one, and its folder written.
const TRIAL: &str = "test -r \"$1\" && { ! test -e \"$1\"/PG_VERSION || test -r \"$1\"/PG_VERSION; } && \
    : > \"$2\"/trial && rm \"$2\"/trial";

/// Where programs of a drill run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Isolation {
    pub user: User,
    pub walls: Walls,
    /// Why there are not all.
    pub lacks: String,
    builder: Builder,
    covers: Vec<Cover>,
    words: Vec<OsString>,
}

impl Isolation {
    /// Tries what is to be had here. Else why not even a program runs as the user.
    pub(super) fn find(
        user: &User,
        ground: &Ground,
        programs: &Programs,
        cancel: &Cancel,
    ) -> io::Result<Result<Self, String>> {
        let root = rustix::process::geteuid().is_root();
        let builder = if root { Builder::Root } else { Builder::Anybody };
        let mut lacks = String::new();
        for (files, network) in [(true, true), (false, true), (false, false)] {
            let walls = Walls { files, network };
            let words = built(builder, walls, user, ground, &[])?;
            let (user, lacked, covers) = (user.clone(), lacks.clone(), Vec::new());
            let found = Self { user, walls, lacks: lacked, builder, covers, words };
            match found.tried(ground, programs, cancel)? {
                None => return Ok(Ok(found)),
                Some(why) if lacks.is_empty() => lacks = why,
                Some(why) if !files && !network => return Ok(Err(why)),
                Some(_) => {}
            }
        }
        Ok(Err(lacks))
    }

    /// The same with more covered: folders of production's, or files of the host's.
    pub(super) fn covered(mut self, ground: &Ground, covers: &[Cover]) -> io::Result<Self> {
        self.covers.extend_from_slice(covers);
        let words = built(self.builder, self.walls, &self.user, ground, &self.covers)?;
        Ok(Self { words, ..self })
    }

    /// The same for programs that refuse to run as somebody whom nobody knows by name, as those do that
    /// make a cluster or look into one without a server.
    pub(super) fn known(self, ground: &Ground) -> io::Result<Self> {
        let mut users = fs::read_to_string(USERS).unwrap_or_default();
        let (uid, gid) = (self.user.uid, self.user.gid);
        let mut uids = users.lines().filter_map(|line| line.split(':').nth(2)?.parse::<u32>().ok());
        if !self.walls.files || uids.any(|known| known == uid) {
            return Ok(self);
        }
        if !users.is_empty() && !users.ends_with('\n') {
            users.push('\n');
        }
        users += &format!("{MARK}:x:{uid}:{gid}::/nonexistent:/bin/false\n");
        let by = ground.work.join("passwd");
        fs::write(&by, users)?;
        self.covered(ground, &[Cover { by, over: USERS.into() }])
    }

    /// A program behind the walls.
    pub(super) fn command(&self, programs: &Programs, program: &Path) -> Command {
        let mut command = match self.words.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        programs.furnish(&mut command);
        command
    }

    /// Why it does not work.
    pub(super) fn tried(
        &self,
        ground: &Ground,
        programs: &Programs,
        cancel: &Cancel,
    ) -> io::Result<Option<String>> {
        let mut command = self.command(programs, Path::new("/bin/sh"));
        command.args(["-c", TRIAL, "sh"]).args([&ground.folder, &ground.work]);
        let ran = match run(command, &ground.work, Some(PATIENCE), cancel) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some("unshare and setpriv are not there (package util-linux)".to_owned()));
            }
            ran => ran?,
        };
        Ok((!ran.is_ok()).then(|| match ran.code {
            // A test that fails says nothing.
            Some(1 | 2) if ran.err.trim().is_empty() => {
                format!("{} cannot read {}", self.user.name, ground.folder.display())
            }
            _ => ran.why(),
        }))
    }

    /// Whether a server could not write what is production's, whatever it replays.
    pub(super) fn is_safe(&self, is_other_user: bool) -> bool {
        self.walls.files || is_other_user
    }

    /// Notes of what there is, for the evidence.
    pub(super) fn notes(&self) -> Vec<String> {
        let name = &self.user.name;
        let mut notes = vec![format!("ran as {name} (user {}), who alone could connect", self.user.uid)];
        notes.push("no TCP port was open".to_owned());
        let why = if self.lacks.is_empty() { String::new() } else { format!(": {}", self.lacks) };
        notes.push(match self.walls.files {
            true => "nothing but scratch could be written".to_owned(),
            false => format!("files outside of scratch were not made unwritable{why}"),
        });
        notes.push(match self.walls.network {
            true => "network: none".to_owned(),
            false => format!("network: not isolated{why}"),
        });
        notes
    }
}

fn built(
    builder: Builder,
    walls: Walls,
    user: &User,
    ground: &Ground,
    covers: &[Cover],
) -> io::Result<Vec<OsString>> {
    let mounts = if walls.files { mounts(&fs::read("/proc/self/mountinfo")?) } else { Vec::new() };
    Ok(words(builder, walls, user, &ground.writable(), covers, &mounts))
}
