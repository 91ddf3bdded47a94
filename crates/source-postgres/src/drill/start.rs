//! Bringing a restored cluster up: its settings, its server, and the moment when it is open.
//!
//! On purpose not here: what is asked of it then.

use super::Drill;
use super::bench::{Sockets, told};
use super::course::{Prepared, blocking};
use super::run::run_with;
use super::said::{cause, lines, stopped_at};
use super::server::Running;
use super::settings::{self, SESSION};
use super::way::{AUTO, SIGNALS, recovers, shelf};
use crate::error::PgError;
use crate::look::KEPT_CONFIG;
use crate::lsn::Lsn;
use crate::recovering::shell_line;
use crate::sql::{Session, USUAL};
use holdfast_engine::proof::{Cause, Probe};
use rustix::fs::{CWD, Gid, Uid};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// So often it is looked whether it is open.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// So long it may take to say who its superuser is.
const PATIENCE: Duration = Duration::from_secs(120);
/// The superuser that most clusters have.
pub(super) const USUAL_ROLE: &str = "postgres";
const HBA: &str = "local all all trust\n";

/// A server that is open.
pub(super) struct Opened {
    pub sockets: Sockets,
    pub role: String,
    pub replayed: Option<Lsn>,
}

/// Starts it, and waits until it is open; what hinders it is a finding.
pub(super) async fn open(
    drill: &Drill<'_>,
    prepared: &Prepared,
    probe: &mut Probe,
    slot: &mut Option<Running>,
) -> Option<Opened> {
    let (sockets, words) = match told_to(prepared, probe).await {
        Ok(found) => found,
        Err(error) => {
            probe.finds(Cause::Environment, format!("the server cannot be prepared: {error}"), "");
            return None;
        }
    };
    let begin = |number: u32| {
        let mut command = server(prepared)?;
        command.args(&words);
        Running::start(command, prepared.ground.work.join(format!("log.{number}")))
    };
    let (mut role, mut why) = (prepared.role.clone(), "its server did not stop in order".to_owned());
    for number in 0..2 {
        match begin(number) {
            Ok(running) => *slot = Some(running),
            Err(error) => {
                probe.finds(Cause::Environment, format!("the server cannot be started: {error}"), "");
                return None;
            }
        }
        let waited = wait(slot.as_ref()?, &sockets, &role).await;
        if number == 0 {
            probe.notes.extend(stopped_at(&lines(&slot.as_ref()?.said())));
        }
        match waited {
            Waited::Open(replayed) => {
                probe.counts.insert("servers".to_owned(), 1);
                return Some(Opened { sockets, role, replayed });
            }
            Waited::Ended => {
                ended(slot.as_ref()?, probe);
                return None;
            }
            Waited::OtherRole if number == 0 => {
                // What its files say counts only if it stopped in order.
                let stopped = slot.as_mut()?.stop().await;
                role = match (stopped, superuser(drill, prepared, &words).await) {
                    (Ok(true), Ok(Ok(role))) => role,
                    (Ok(true), Ok(Err(said))) => {
                        why = said;
                        break;
                    }
                    _ => break,
                };
            }
            Waited::OtherRole => break,
            Waited::Refused(why) => {
                probe.finds(Cause::Environment, format!("the server does not let us in: {why}"), "");
                return None;
            }
        }
    }
    let what = format!("the superuser of the cluster could not be told: {why}");
    probe.finds(Cause::Environment, what, "make a user holdfast-drill on this host");
    None
}

/// Why a server ended that should not have.
pub(super) fn ended(running: &Running, probe: &mut Probe) {
    let said = running.said();
    let (cause, why) = cause(&lines(&said)).unwrap_or_else(|| {
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        (Cause::Environment, format!("the server ended: {}", last.trim()))
    });
    let next = match cause {
        Cause::Backup => {
            "see `holdfast wal status`, and restore to an earlier point or from another snapshot"
        }
        _ => "put that right on this host, or drill on another",
    };
    probe.finds(cause, why, next);
}

/// How waiting ended.
enum Waited {
    Open(Option<Lsn>),
    Ended,
    /// There is no such superuser.
    OtherRole,
    Refused(String),
}

async fn wait(running: &Running, sockets: &Sockets, role: &str) -> Waited {
    let server = sockets.server(role);
    let mut at = 0;
    loop {
        if running.has_ended() {
            return Waited::Ended;
        }
        match Session::open_copy(&server, USUAL[at], SESSION).await {
            Ok(mut session) => match state(&mut session).await {
                Ok(State::Open(lsn)) => return Waited::Open(lsn),
                Ok(State::Recovering) => {}
                Ok(State::NotSuper) => return Waited::OtherRole,
                Err(error) => return Waited::Refused(told(&error)),
            },
            Err(error) => match error.code() {
                // It starts, or it is not there yet.
                Some("57P03") | None => {}
                Some("3D000") if at + 1 < USUAL.len() => at += 1,
                Some("28000" | "28P01") => return Waited::OtherRole,
                Some(_) => return Waited::Refused(told(&error)),
            },
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

enum State {
    Open(Option<Lsn>),
    Recovering,
    NotSuper,
}

async fn state(session: &mut Session) -> Result<State, PgError> {
    let recovers = session.one("say whether it recovers", "SELECT pg_catalog.pg_is_in_recovery()").await?;
    if recovers.as_deref() != Some("f") {
        return Ok(State::Recovering);
    }
    const SUPER: &str = "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER";
    if session.one("say who we are", SUPER).await?.as_deref() != Some("t") {
        return Ok(State::NotSuper);
    }
    let replayed = session.known("SELECT pg_catalog.pg_last_wal_replay_lsn()").await?;
    Ok(State::Open(replayed.and_then(|text| Lsn::parse(&text))))
}

/// The command of a server, without what it is told.
fn server(prepared: &Prepared) -> io::Result<Command> {
    Ok(prepared.isolation.command(&prepared.programs, &program(prepared)?))
}

fn program(prepared: &Prepared) -> io::Result<PathBuf> {
    let program = prepared.programs.path("postgres");
    program.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "postgres is gone"))
}

/// Writes its settings, and sets those of production aside; the words of its command line.
async fn told_to(prepared: &Prepared, probe: &mut Probe) -> io::Result<(Sockets, Vec<String>)> {
    let (ground, programs) = (prepared.ground.clone(), prepared.programs.clone());
    let (user, control) = (prepared.isolation.user.clone(), prepared.control.clone());
    let work = move || {
        let sockets = Sockets::below(&ground)?;
        let auto = fs::read_to_string(ground.folder.join(AUTO)).unwrap_or_default();
        let (preload, missing) = preload(&ground.folder, &auto, programs.libraries(&ground.work).as_deref());
        let mut conf = String::new();
        if recovers(&ground) {
            let shelf = shelf(&ground).display().to_string();
            conf = settings::recovery(&auto, &format!("cp -- {}/\"%f\" \"%p\"", shell_line(&[shelf])));
            // One that stays a standby would never open.
            let _ = fs::remove_file(ground.folder.join(SIGNALS[1]));
            fs::write(ground.folder.join(SIGNALS[0]), b"")?;
        }
        let aside = ground.work.join("aside");
        fs::create_dir_all(&aside)?;
        match fs::rename(ground.folder.join(AUTO), aside.join(AUTO)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut words = vec!["-D".to_owned(), ground.folder.display().to_string()];
        for (name, file, text) in
            [("config_file", "conf", conf.as_str()), ("hba_file", "hba", HBA), ("ident_file", "ident", "")]
        {
            let path = ground.work.join(file);
            fs::write(&path, text)?;
            words.extend(["-c".to_owned(), format!("{name}={}", path.display())]);
        }
        let safe = settings::safe(programs.major, &control, &sockets.told, &preload);
        words.extend(safe.into_iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]));
        for path in ["conf", "hba", "ident", "aside", "wal"].map(|name| ground.work.join(name)) {
            own(&path, user.uid, user.gid)?;
        }
        own(&ground.folder.join(SIGNALS[0]), user.uid, user.gid)?;
        Ok((sockets, words, missing))
    };
    let (sockets, words, missing) = blocking(work).await?;
    if !missing.is_empty() {
        probe
            .notes
            .push(format!("it was started without libraries that are not installed: {}", missing.join(", ")));
    }
    Ok((sockets, words))
}

/// Gives a file, or a folder with the files in it, to the server's user, where it is there.
pub(super) fn own(path: &PathBuf, uid: u32, gid: u32) -> io::Result<()> {
    let give = |path: &PathBuf| {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(CWD, path, uid, gid, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if found.is_dir() => {
            for entry in fs::read_dir(path)? {
                give(&entry?.path())?;
            }
        }
        Ok(_) => {}
    }
    Ok(give(path)?)
}

/// Libraries that the old server had loaded: those that are here, and those that are not.
fn preload(folder: &Path, auto: &str, libraries: Option<&Path>) -> (Vec<String>, Vec<String>) {
    let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let mut beside = folder.as_os_str().to_owned();
    beside.push(format!(".{KEPT_CONFIG}/settings.tsv"));
    let files = [read(folder.join("postgresql.conf")), auto.to_owned()];
    let recorded = settings::preloaded(&files, &read(PathBuf::from(beside)));
    let is_there = |name: &String| libraries.is_some_and(|at| settings::library(name, at).is_file());
    recorded.into_iter().partition(is_there)
}

/// Asks the cluster, without a server, what its first superuser is called; else why it does not say.
async fn superuser(
    drill: &Drill<'_>,
    prepared: &Prepared,
    words: &[String],
) -> io::Result<Result<String, String>> {
    let isolation = prepared.isolation.clone().known(&prepared.ground)?;
    let mut command = isolation.command(&prepared.programs, &program(prepared)?);
    command.arg("--single").args(words).arg("template1");
    let (work, cancel) = (prepared.ground.work.clone(), drill.cancel.clone());
    let ask = "SELECT rolname FROM pg_catalog.pg_authid WHERE oid = 10\n";
    let ran = blocking(move || run_with(command, ask, &work, Some(PATIENCE), &cancel)).await?;
    Ok(role_of(&ran.out).ok_or_else(|| ran.why()))
}

/// Out of what a server says that runs alone: its name, between quotes.
fn role_of(said: &str) -> Option<String> {
    let (_, rest) = said.split_once("rolname = \"")?;
    let (name, _) = rest.split_once("\"\t(typeid")?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_superuser_is_told_by_a_server_that_runs_alone() {
        let said = "PostgreSQL 15.18\n> \t 1: rolname\t(typeid = 19, len = 64)\n\t----\n\
                    \t 1: rolname = \"Shop Owner\"\t(typeid = 19, len = 64, typmod = -1, byval = f)\n\t----\n";
        assert_eq!(role_of(said).as_deref(), Some("Shop Owner"));
        assert_eq!(role_of("FATAL"), None);
    }
}
