//! The configuration of a cluster that lay outside of its folder, put beside what was restored.
//!
//! A server starts without it, so that nothing here fails a restore. On purpose not here: using it.

use super::{Job, Ready};
use crate::engine::Carry;
use crate::fault::Fault;
use crate::ink::{counted, escape};
use crate::wire_up::KEPT_CONFIG;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where it lies in a snapshot.
pub(super) fn path() -> Vec<u8> {
    format!("/{KEPT_CONFIG}").into_bytes()
}

/// The folder beside that of a cluster: `main.restored-config`.
fn beside(target: &Path) -> PathBuf {
    let mut name = OsString::from(target);
    name.push(".");
    name.push(KEPT_CONFIG);
    PathBuf::from(name)
}

/// Restores it.
pub(super) async fn restore(job: &mut Job<'_>, target: &Path) {
    let place = beside(target);
    let shown = escape(place.as_os_str().as_bytes());
    let how =
        format!("restore it elsewhere: holdfast restore {}:/{KEPT_CONFIG} --target DIR", job.snapshot.id);
    if std::fs::read_dir(&place).is_ok_and(|mut entries| entries.next().is_some()) {
        let what =
            format!("the configuration of the old server was not restored, {shown} is not empty; {how}");
        return job.run.ink.warn(&what);
    }
    match part(job, &place).await {
        Ok(()) => job.run.ink.talk(&format!(
            "the configuration of the old server lies in {shown}: settings, rules of pg_hba.conf, and files that were \
             outside of its folder"
        )),
        Err(fault) => {
            let what = format!("the configuration of the old server was not restored to {shown}: {fault}; {how}");
            job.run.ink.warn(&what);
        }
    }
}

async fn part(job: &mut Job<'_>, place: &Path) -> Result<(), Fault> {
    job.place = Ready::Folder(place.to_owned());
    job.options.path = path();
    job.options.select = None;
    job.into.overwrite = None;
    let outcome = job.carry(Carry::Out, "restoring configuration").await?;
    match outcome.problems.problem_count {
        0 => Ok(()),
        number => Err(Fault::incomplete(counted(number, "problem", "problems"), "")),
    }
}
