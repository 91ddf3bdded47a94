//! The files of a cluster against the manifest that its server wrote: for those that were not compared
//! with a snapshot when they were restored.
//!
//! On purpose not here: reading the manifest, which the server's own `pg_verifybackup` does.

use super::Drill;
use super::bench::Watch;
use super::course::blocking;
use super::isolation::Isolation;
use super::links::Ground;
use super::programs::Programs;
use super::run::run;
use holdfast_engine::proof::{Cause, Level, Probe};

/// What a restore writes itself.
const WRITTEN: [&str; 5] =
    ["postgresql.auto.conf", "recovery.signal", "standby.signal", "tablespace_map", "backup_label.old"];
/// Findings that are told.
const TOLD_MAX: usize = 20;

/// Compares them; none if there is nothing to compare with.
pub(super) async fn look(
    drill: &Drill,
    ground: &Ground,
    programs: &Programs,
    isolation: &Isolation,
) -> Option<Probe> {
    let program = programs.path("pg_verifybackup")?;
    if !ground.folder.join("backup_manifest").is_file() {
        return None;
    }
    let watch = Watch::begin(&*drill.clock);
    let mut probe = Probe::new("files against the manifest", Level::Restore);
    let mut command = isolation.command(programs, &program);
    command.arg("--no-parse-wal");
    command.args(WRITTEN.map(|name| format!("--ignore={name}"))).arg(&ground.folder);
    let (work, cancel) = (ground.work.clone(), drill.cancel.clone());
    match blocking(move || run(command, &work, None, &cancel)).await {
        Ok(ran) if ran.is_ok() => drop(probe.counts.insert("manifests".to_owned(), 1)),
        Ok(ran) => tell(&mut probe, &ran.err),
        Err(error) => probe.not_provable.push(format!("pg_verifybackup cannot be run: {error}")),
    }
    probe.seconds = watch.seconds();
    Some(probe)
}

fn tell(probe: &mut Probe, said: &str) {
    let errors = said.lines().filter_map(|line| line.split_once("error: ")).map(|(_, what)| what.trim());
    let (more, wrong): (Vec<&str>, Vec<&str>) =
        errors.partition(|what| what.ends_with("is present on disk but not in the manifest"));
    if !more.is_empty() {
        probe.notes.push(format!("{} files are there that the server did not list", more.len()));
    }
    probe.counts.insert("files that differ".to_owned(), wrong.len() as u64);
    for what in wrong.iter().take(TOLD_MAX) {
        let what = format!("a file is not as it was backed up: {what}");
        probe.finds(Cause::Backup, what, "restore it again, or from another snapshot or copy");
    }
    if wrong.is_empty() && more.is_empty() {
        probe.not_provable.push("pg_verifybackup failed and did not say which file differs".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_differ_are_named() {
        let mut probe = Probe::new("x", Level::Restore);
        let said = "pg_verifybackup: error: checksum mismatch for file \"base/5/16390\"\n\
                    pg_verifybackup: error: \"pg_hba.conf\" is present on disk but not in the manifest\n";
        tell(&mut probe, said);
        assert_eq!(probe.findings.len(), 1);
        assert!(probe.findings[0].what.contains("base/5/16390") && probe.findings[0].cause == Cause::Backup);
        assert_eq!(probe.notes, ["1 files are there that the server did not list"]);
        let mut probe = Probe::new("x", Level::Restore);
        tell(&mut probe, "");
        assert!(probe.findings.is_empty() && !probe.not_provable.is_empty());
    }
}
