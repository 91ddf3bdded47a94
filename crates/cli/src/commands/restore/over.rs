//! Restoring a cluster over itself: what has to be true of the place, and what goes first.
//!
//! `global/pg_control` goes before anything else does, so that what is restored by half does not start.
//! On purpose not here: comparing and deleting, which the target does.

use super::super::wal::system_in;
use super::Job;
use super::cluster::Moved;
use super::into::Limit;
use crate::args::RestoreArgs;
use crate::engine::{Carry, Selection, Selector};
use crate::fault::Fault;
use crate::ink::escape;
use crate::wire_up::{Overwrite, Record};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// Said before anything is changed.
const FIRST: &str = "keep the broken folder if you can: mv main main.broken; it is evidence and may hold newer log. Copy its \
                     pg_wal before anything else";
/// Files that would make a server follow another one or wait for an archive.
const SIGNALS: [&str; 2] = ["standby.signal", "recovery.signal"];

/// Whether a cluster is restored over what is there; refuses places that are none for it.
pub(super) fn wanted(args: &RestoreArgs, target: &Path, record: &Record) -> Result<bool, Fault> {
    refuse_running(target)?;
    let over = &args.over;
    if !over.delete && over.overwrite.is_none() {
        return Ok(false);
    }
    let always = over.overwrite.is_none_or(|when| when == crate::args::When::Always);
    if !over.delete || !always {
        let what = "a cluster is restored into a new folder, or over itself as a whole: it must not keep files of another state";
        return Err(Fault::usage(what, "give --target an empty folder; or say --overwrite always --delete"));
    }
    if is_empty(target)? {
        return Ok(false);
    }
    let shown = escape(target.as_os_str().as_bytes());
    let other =
        |what: String| Fault::usage(what, "give --target an empty folder, or that of the same cluster");
    if !target.join("PG_VERSION").exists() {
        return Err(other(format!("{shown} is not the folder of a cluster")));
    }
    // One that was restored by half has none.
    match system_in(target)? {
        Some(system) if system.to_string() != record.system_identifier => {
            Err(other(format!("{shown} is of another cluster, {system}")))
        }
        _ => Ok(true),
    }
}

/// A server may run there; the number of a process says nothing of other containers.
fn refuse_running(dir: &Path) -> Result<(), Fault> {
    let pid = dir.join("postmaster.pid");
    if std::fs::symlink_metadata(&pid).is_err() {
        return Ok(());
    }
    let shown = escape(pid.as_os_str().as_bytes());
    Err(Fault::usage(
        format!("a server may run there: {shown} is there"),
        "stop it: pg_ctl -D DIR stop; if no server runs on that folder, on no machine and in no container, remove the file",
    ))
}

fn is_empty(dir: &Path) -> Result<bool, Fault> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => {
            let what = format!("cannot look into {}", escape(dir.as_os_str().as_bytes()));
            Err(Fault::failed(what, "").because(&error))
        }
    }
}

/// Whether a folder is where the tablespace of this very cluster is now.
pub(super) fn is_its_own(target: &Path, oid: u32, place: &Path) -> bool {
    std::fs::read_link(target.join(format!("pg_tblspc/{oid}"))).is_ok_and(|link| link == place)
}

/// What of a folder may be deleted: all but links to tablespaces, which lead to what is restored next.
pub(super) fn deletable(spaces: &[Moved]) -> Selector {
    let kept: Vec<Vec<u8>> =
        spaces.iter().map(|space| format!("/pg_tblspc/{}", space.oid).into_bytes()).collect();
    Arc::new(
        move |path: &[u8], _| {
            if kept.iter().any(|kept| kept == path) { Selection::Skip } else { Selection::Take }
        },
    )
}

/// Looks what would be deleted, stops if that is too much, and takes away what lets a server start.
pub(super) async fn begin(job: &mut Job<'_>, target: &Path, spaces: &[Moved]) -> Result<(), Fault> {
    for space in spaces {
        refuse_running(&space.to)?;
    }
    job.run.ink.warn(FIRST);
    job.into.overwrite = Some(Overwrite::Always);
    job.into.delete = Some(deletable(spaces));
    if job.args.dry_run {
        return Ok(());
    }
    let limit = Limit::parse(&job.args.over.max_delete)?;
    let survey = job.carry(Carry::Survey, "looking what is to be deleted").await?.value;
    limit.guard(&job.place.name(), &survey)?;
    disarm(target).map_err(|error| {
        let what = format!("cannot take global/pg_control out of {}", escape(target.as_os_str().as_bytes()));
        Fault::failed(what, "run it as the owner of the cluster").because(&error)
    })
}

/// After this no server starts there.
fn disarm(target: &Path) -> io::Result<()> {
    for name in [target.join("global/pg_control")].into_iter().chain(SIGNALS.map(|name| target.join(name))) {
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    match File::open(target.join("global")) {
        Ok(folder) => folder.sync_all(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn a_place_is_empty_or_of_the_same_cluster() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_empty(dir.path()).unwrap() && is_empty(&dir.path().join("new")).unwrap());
        assert!(refuse_running(dir.path()).is_ok());
        std::fs::write(dir.path().join("postmaster.pid"), "1\n").unwrap();
        assert!(refuse_running(dir.path()).is_err() && !is_empty(dir.path()).unwrap());
        std::fs::create_dir(dir.path().join("pg_tblspc")).unwrap();
        std::os::unix::fs::symlink("/srv/a", dir.path().join("pg_tblspc/7")).unwrap();
        assert!(is_its_own(dir.path(), 7, Path::new("/srv/a")));
        assert!(
            !is_its_own(dir.path(), 7, Path::new("/srv/b"))
                && !is_its_own(dir.path(), 8, Path::new("/srv/a"))
        );
    }

    #[test]
    fn what_is_disarmed_does_not_start() {
        let dir = tempfile::tempdir().unwrap();
        assert!(disarm(dir.path()).is_ok());
        std::fs::create_dir(dir.path().join("global")).unwrap();
        for name in ["global/pg_control", "standby.signal", "global/1262"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        disarm(dir.path()).unwrap();
        let there = |name: &str| dir.path().join(name).exists();
        assert!(!there("global/pg_control") && !there("standby.signal") && there("global/1262"));
    }
}
