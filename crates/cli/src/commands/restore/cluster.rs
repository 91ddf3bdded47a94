//! A restored cluster: a folder that a server of the same major version starts from.
//!
//! It is a restore of files in parts: all but what would let a server start, each tablespace in its
//! own place, and last of all `global/pg_control`. So what is restored by half does not start. The
//! log that makes it consistent is among its files. On purpose not here: up to where it is recovered,
//! and what it takes to restore over a cluster that is there.

use super::recover::{Prepared, record_of};
use super::{Job, Ready, Run, kept_config, over, told, wiring};
use crate::args::RestoreArgs;
use crate::commands::logical::tool_places;
use crate::engine::{Carry, Problems, Repository, RestoreReport, Selection, Snapshot, Tally};
use crate::fault::Fault;
use crate::ink::{Verified, counted, escape};
use crate::settings;
use crate::wire_up::{Binaries, Record, Space, is_known_user, restored_cluster, server_binaries};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// What a server needs to start; restored last.
const CONTROL: &[u8] = b"/global/pg_control";
/// Said where something is missing, or is there that should be gone.
const WITHHELD: &str = "global/pg_control was not restored: no server can start from what is incomplete";
/// What would make a server follow another one, or wait for an archive.
const SIGNALS: [&[u8]; 2] = [b"/standby.signal", b"/recovery.signal"];

/// A tablespace and where it goes.
pub(super) struct Moved {
    pub(super) oid: u32,
    pub(super) to: PathBuf,
}

/// A cluster that is to be restored.
pub(super) struct Cluster {
    record: Record,
    spaces: Vec<Moved>,
    recovery: Prepared,
    /// It is restored over itself.
    in_place: bool,
}

impl Cluster {
    /// What is restored if it is a whole cluster, for which a recovery was prepared; refuses what
    /// cannot be.
    pub(super) async fn of(
        run: &Run,
        args: &RestoreArgs,
        repository: &Repository,
        snapshot: &Snapshot,
        place: &Ready,
        recovery: Option<Prepared>,
    ) -> Result<Option<Self>, Fault> {
        let (Ready::Folder(target), Some(recovery)) = (place, recovery) else { return refuse_map(args) };
        let record = record_of(run, repository, snapshot).await?;
        let in_place = over::wanted(args, target, &record)?;
        let spaces = moved(&args.tablespace_map, &record.tablespaces, target, in_place)?;
        Ok(Some(Self { record, spaces, recovery, in_place }))
    }

    /// Restores it, part by part.
    pub(super) async fn restore(&self, mut job: Job<'_>) -> Result<(), Fault> {
        let begun = Instant::now();
        let Ready::Folder(target) = &job.place else { return Ok(()) };
        let target = target.clone();
        self.tell_plan(&job);
        let mut sum = Sum { report: RestoreReport::default(), problems: Problems::default(), verified: None };
        job.options.select = Some(self.all_but_spaces_and_control());
        if self.in_place {
            over::begin(&mut job, &target, &self.spaces).await?;
        }
        sum.part(&job, &target).await?;
        for space in &self.spaces {
            job.place = Ready::Folder(space.to.clone());
            job.options.select = None;
            job.options.path = format!("/pg_tblspc/{}", space.oid).into_bytes();
            sum.part(&job, &space.to).await?;
        }
        job.place = Ready::Folder(target.clone());
        job.options.path = Vec::new();
        if sum.problems.lasting_count() == 0 {
            if !job.args.dry_run {
                self.finish(&job, &target).await?;
            }
            job.options.select = Some(Arc::new(|path: &[u8], _| match path {
                b"/global" => Selection::Descend,
                CONTROL => Selection::Take,
                _ => Selection::Skip,
            }));
            // The folder is not empty any more: it holds the rest of the cluster, which stays.
            job.into.delete = None;
            job.into.overwrite = Some(crate::wire_up::Overwrite::Always);
            sum.part(&job, &target).await?;
        } else {
            job.run.ink.warn(WITHHELD);
        }
        job.show(&sum.report, sum.verified, &sum.problems, begun.elapsed());
        match (sum.problems.damaged_count, sum.problems.lasting_count()) {
            (0, lasting @ 1..) if !job.args.dry_run => return Err(by_half(lasting)),
            _ => job.finish(&sum.problems, job.heard_damage())?,
        }
        if !job.args.dry_run {
            self.what_now(job.run, &target);
            if self.record.keeps_config {
                kept_config::restore(&mut job, &target).await;
            }
        }
        Ok(())
    }

    fn all_but_spaces_and_control(&self) -> crate::engine::Selector {
        let spaces =
            self.record.tablespaces.iter().map(|space| format!("/pg_tblspc/{}", space.oid).into_bytes());
        let left: Vec<Vec<u8>> = spaces
            .chain(SIGNALS.map(<[u8]>::to_vec))
            .chain([CONTROL.to_vec(), kept_config::path()])
            .collect();
        Arc::new(
            move |path: &[u8], _| {
                if left.iter().any(|left| left == path) { Selection::Skip } else { Selection::Take }
            },
        )
    }

    /// Says what will become of it, before anything is written.
    fn tell_plan(&self, job: &Job<'_>) {
        let ink = &job.run.ink;
        if ink.tone.json {
            told::line(&self.recovery).iter().for_each(|line| ink.json_now(line));
        } else if job.args.dry_run {
            told::plan(&self.recovery).iter().for_each(|line| ink.data(line));
        } else {
            told::plan(&self.recovery).iter().for_each(|line| ink.talk(line));
        }
        self.recovery.needed.iter().for_each(|text| ink.warn(text));
        if self.recovery.with_whole_key {
            ink.talk(wiring::WHOLE_KEY);
        }
        if let Some(text) = lacking_server(self.record.server_version_number) {
            ink.warn(&text);
        }
    }

    /// Writes what is not a file of the snapshot, and tries what the server will do.
    async fn finish(&self, job: &Job<'_>, target: &Path) -> Result<(), Fault> {
        let spaces: Vec<_> = self.spaces.iter().map(|space| (space.oid, space.to.clone())).collect();
        let recovering = &self.recovery.recovering;
        restored_cluster(target, self.record.data_directory_mode, &spaces, recovering).map_err(|error| {
            let what = format!("cannot finish the cluster in {}", target.display());
            Fault::failed(what, "empty the target, put that right and restore again").because(&error)
        })?;
        self.tell_owner(job.run, target);
        let (Some(recovery), Some(first)) = (&recovering.recovery, self.recovery.first) else {
            return Ok(());
        };
        let (line, dir) = (recovery.restore_command.clone(), target.to_owned());
        let needs_keys = wiring::needed(job.run)?.is_some();
        let trial = move || wiring::tried(&dir, &line, &first.to_string(), needs_keys);
        let tried = tokio::task::spawn_blocking(trial).await;
        tried.unwrap_or_else(|error| Err(Fault::failed("cannot try the archive", "").because(&error)))
    }

    fn tell_owner(&self, run: &Run, target: &Path) {
        let Ok(owner) = std::fs::metadata(target.join("PG_VERSION")).map(|file| file.uid()) else { return };
        if !rustix::process::geteuid().is_root() {
            run.ink.talk("the files belong to you: PostgreSQL has to run as you");
        } else if owner == 0 || !is_known_user(owner) {
            run.ink.warn(&format!(
                "the files belong to the user with the number {owner}, as which no server runs here: restore with --owner \
                 USER, or chown -R them"
            ));
        }
    }

    fn what_now(&self, run: &Run, target: &Path) {
        let major = self.record.server_version_number / 10_000;
        let goal = match &self.recovery.plan {
            None => format!("it replays the log up to {} and is open then", self.record.stop_lsn),
            Some(_) => format!("it recovers to {}", told::wished(&self.recovery.wish)),
        };
        run.ink.talk(&format!(
            "start it with PostgreSQL {major}, as the user who owns it: {}; {goal}",
            start_line(target, major)
        ));
        if self.recovery.recovering.archives {
            run.ink.warn("archiving is as the old server had it: on a timeline of its own, this copy writes into its archive");
        } else {
            let shown = escape(target.as_os_str().as_bytes());
            run.ink.talk(&format!(
                "archiving is off on this copy; if it becomes production: holdfast wal adopt --pgdata {shown}"
            ));
        }
    }
}

/// A cluster in which something is missing that is whole in the repository.
fn by_half(lasting: u64) -> Fault {
    let number = counted(lasting, "problem", "problems");
    Fault::failed(
        format!(
            "the cluster is there by half: {number}; no server starts from it, it has no global/pg_control"
        ),
        "put right what is named above and restore again: --overwrite always --delete goes on with what is there",
    )
}

/// What this machine lacks to start a cluster; it may be meant for another one.
fn lacking_server(number: u32) -> Option<String> {
    let (major, minor) = (number / 10_000, number % 10_000);
    match server_binaries(number, &tool_places()) {
        Binaries::Fit(_) => None,
        Binaries::Older { path, version } => Some(format!(
            "{} is of version {version}, older than {major}.{minor} that was backed up: update it before you start the \
             cluster here",
            path.display()
        )),
        Binaries::Missing => Some(format!(
            "there is no server of PostgreSQL {major} on this machine: it takes {major}.{minor} or newer \
             (postgresql-{major}) to start the cluster here; HOLDFAST_PG_BIN says where one is"
        )),
    }
}

/// How a server is started on a folder, by the layout that is seen.
fn start_line(target: &Path, major: u32) -> String {
    let shown = escape(target.as_os_str().as_bytes());
    let debian = target.strip_prefix(format!("/var/lib/postgresql/{major}")).ok().and_then(Path::to_str);
    match debian.filter(|name| Path::new(&format!("/etc/postgresql/{major}/{name}/postgresql.conf")).exists())
    {
        Some(name) => format!("pg_ctlcluster {major} {name} start"),
        None => format!("pg_ctl -D {shown} start"),
    }
}

/// What all parts gave.
struct Sum {
    report: RestoreReport,
    problems: Problems,
    verified: Option<Verified>,
}

impl Sum {
    async fn part(&mut self, job: &Job<'_>, target: &Path) -> Result<(), Fault> {
        let carry = if job.args.dry_run { Carry::Rehearse } else { Carry::Out };
        let phase = format!("restoring to {}", escape(target.as_os_str().as_bytes()));
        let outcome = job.carry(carry, &phase).await?;
        let mut problems = outcome.problems;
        if job.args.verify {
            let verified = job.verify(&mut problems).await?;
            let sum = self.verified.get_or_insert_default();
            (sum.files, sum.seconds) = (sum.files + verified.files, sum.seconds + verified.seconds);
        }
        self.problems.absorb(problems);
        add(&mut self.report, &outcome.value);
        Ok(())
    }
}

fn add(sum: &mut RestoreReport, part: &RestoreReport) {
    sum.files += part.files;
    sum.directories += part.directories;
    sum.others += part.others;
    sum.bytes += part.bytes;
    sum.bytes_fetched += part.bytes_fetched;
    sum.packs += part.packs;
    sum.verified_files += part.verified_files;
    let (tally, more) = (&mut sum.tally, part.tally);
    *tally = Tally {
        created: tally.created + more.created,
        rewritten: tally.rewritten + more.rewritten,
        attributes_only: tally.attributes_only + more.attributes_only,
        unchanged: tally.unchanged + more.unchanged,
        left: tally.left + more.left,
        deleted: tally.deleted + more.deleted,
        existing: tally.existing + more.existing,
        bytes_written: tally.bytes_written + more.bytes_written,
    };
}

fn refuse_map(args: &RestoreArgs) -> Result<Option<Cluster>, Fault> {
    if args.tablespace_map.is_empty() {
        return Ok(None);
    }
    let what = "--tablespace-map is about a whole cluster that is restored into a folder";
    Err(Fault::usage(what, "leave it out"))
}

/// Finds the place of each tablespace: nothing is written where nobody said so.
fn moved(map: &[OsString], spaces: &[Space], target: &Path, in_place: bool) -> Result<Vec<Moved>, Fault> {
    let mut found: Vec<Moved> = Vec::new();
    for text in map {
        let odd = || {
            let what = format!("--tablespace-map {} is not OLD=NEW", escape(text.as_bytes()));
            Fault::usage(what, "write the path on the server or its number, =, and an absolute path")
        };
        let at = text.as_bytes().iter().position(|&byte| byte == b'=').ok_or_else(odd)?;
        let (old, new) = (&text.as_bytes()[..at], Path::new(OsStr::from_bytes(&text.as_bytes()[at + 1..])));
        let space = spaces
            .iter()
            .find(|space| space.path.as_bytes() == old || space.oid.to_string().as_bytes() == old);
        let space = space.ok_or_else(|| {
            let what =
                format!("--tablespace-map {}: this cluster has no such tablespace", escape(text.as_bytes()));
            Fault::usage(what, listed(spaces))
        })?;
        if !new.is_absolute() {
            return Err(odd());
        }
        let to = settings::normalise(new, Path::new("/"));
        let nested = |one: &Path, other: &Path| one.starts_with(other) || other.starts_with(one);
        if nested(&to, target) || found.iter().any(|other| nested(&to, &other.to) || other.oid == space.oid) {
            let what =
                format!("--tablespace-map {}: places may not lie in each other", escape(text.as_bytes()));
            return Err(Fault::usage(what, "give the target and each tablespace a folder of its own"));
        }
        let own = in_place && over::is_its_own(target, space.oid, &to);
        if !own && std::fs::read_dir(&to).is_ok_and(|mut entries| entries.next().is_some()) {
            let what =
                format!("the place {} for a tablespace is not empty", escape(to.as_os_str().as_bytes()));
            return Err(Fault::usage(
                what,
                "give it a new or an empty folder; a running cluster may use this one",
            ));
        }
        found.push(Moved { oid: space.oid, to });
    }
    let missing: Vec<_> =
        spaces.iter().filter(|space| !found.iter().any(|moved| moved.oid == space.oid)).collect();
    if missing.is_empty() {
        return Ok(found);
    }
    let number = counted(missing.len() as u64, "tablespace", "tablespaces");
    let what = format!("this cluster has {number} outside of its folder, and nobody said where they go");
    Err(Fault::usage(
        what,
        missing
            .iter()
            .map(|space| format!("--tablespace-map {}=NEW", space.path))
            .collect::<Vec<_>>()
            .join(" "),
    ))
}

fn listed(spaces: &[Space]) -> String {
    let spaces: Vec<_> = spaces.iter().map(|space| format!("{} ({})", space.path, space.oid)).collect();
    if spaces.is_empty() {
        "it has none: leave the option out".to_owned()
    } else {
        format!("it has {}", spaces.join(", "))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use crate::fault::Code;

    fn places(map: &[&str]) -> Result<Vec<(u32, PathBuf)>, Fault> {
        let spaces = [(7, "/srv/a"), (8, "/srv/b=c")].map(|(oid, path)| Space { oid, path: path.to_owned() });
        let map: Vec<OsString> = map.iter().map(Into::into).collect();
        let found = moved(&map, &spaces, Path::new("/target/data"), false)?;
        Ok(found.into_iter().map(|moved| (moved.oid, moved.to)).collect())
    }

    #[test]
    fn each_tablespace_has_a_place_of_its_own() {
        let found = places(&["/srv/a=/new/a", "8=/new/b/."]).unwrap();
        assert_eq!(found, [(7, "/new/a".into()), (8, "/new/b".into())]);
        for wrong in [
            &["/srv/a=/new/a"][..],
            &["/srv/a=/new/a", "8=/new/a/b"],
            &["/srv/a=/target/data/x", "8=/new"],
            &["/srv/a=/target", "8=/new"],
            &["/srv/a=relative", "8=/new"],
            &["7=/x", "7=/y", "8=/z"],
            &["/other=/x"],
            &["nonsense"],
            &["7=/", "8=/x"],
        ] {
            assert_eq!(places(wrong).unwrap_err().code, Code::Usage, "{wrong:?}");
        }
    }
}
