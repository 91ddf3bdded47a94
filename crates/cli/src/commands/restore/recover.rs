//! The recovery of a cluster to a point: which snapshot it begins with, and what the server is told.
//! All of it is decided before anything is written.
//!
//! On purpose not here: the plan itself, which the source makes, and its words.

use super::Run;
use super::point;
use super::told;
use super::wiring::{self, Fetching};
use crate::args::{Archiving, Recover, RestoreArgs};
use crate::engine::wal::{SegmentName, WalArchive, WalListed, WalName};
use crate::engine::{
    DumpOptions, Error, Repository, Resolved, RestoreOptions, Snapshot, SnapshotFilter, details, dump,
    snapshots,
};
use crate::fault::Fault;
use crate::ink::escape;
use crate::wire_up::{
    Archived, Base, Goal, LogTree, Lsn, PgTime, Record, Recovering, Recovery, RecoveryPlan, Shelf, Then,
    Timeline, Wish, WishedTarget, owner_numbers, plan_recovery,
};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// What a snapshot's summary says that it is of.
pub(super) const KIND: &str = "postgres";
/// Fetches nothing: all that is needed came along.
const NOTHING: &str = "false";

/// What was decided.
pub(super) struct Prepared {
    /// The way; none if only the log that came along is replayed.
    pub(super) plan: Option<RecoveryPlan>,
    pub(super) wish: Wish,
    pub(super) recovering: Recovering,
    /// What the server may lack.
    pub(super) needed: Option<String>,
    /// Whether the server fetches its log with the key of the restore.
    pub(super) with_whole_key: bool,
    /// A segment that the server will ask for.
    pub(super) first: Option<SegmentName>,
}

/// Decides how a cluster is recovered, and takes the snapshot that fits; none if what is restored is
/// no whole cluster.
pub(super) async fn prepare(
    run: &Run,
    args: &RestoreArgs,
    repository: &Repository,
    resolved: &mut Resolved,
    options: &RestoreOptions,
    is_folder: bool,
) -> Result<Option<Prepared>, Fault> {
    let is_cluster = resolved.snapshot.summary.kind == KIND;
    let whole = is_cluster && options.path.is_empty() && options.select.is_none();
    if !whole || !is_folder {
        if is_cluster && is_folder {
            run.ink.talk("this is a part of a cluster: plain files, from which no server starts");
        }
        return match args.recover.stated() {
            Some(option) => {
                let what = format!("{option} is about a whole cluster that is restored into a folder");
                Err(Fault::usage(what, "leave it out"))
            }
            None => Ok(None),
        };
    }
    let wish = point::wish(&args.recover)?;
    let record = record_of(run, repository, &resolved.snapshot).await?;
    let system = system_of(&record)?;
    let archive = WalArchive::new(&run.ctx, repository);
    // Who needs no archive does not ask for one.
    let listed = match wish.target {
        WishedTarget::Immediate => Vec::new(),
        _ => run.watch("looking at the log", archive.list(Some(system))).await?,
    };
    if listed.is_empty() && needs_none(&args.recover) {
        return Ok(Some(Prepared::as_it_came(wish)));
    }
    let named = args.snapshot.to_str().is_none_or(|text| !text.starts_with("latest"));
    let chosen =
        planned(run, repository, &archive, resolved, (system, &record), &listed, &wish, named).await?;
    Prepared::new(run, args, wish, chosen, system).map(Some)
}

/// Whose the files shall be.
pub(super) fn owner(recover: &Recover) -> Result<Option<(u32, u32)>, Fault> {
    let Some(text) = recover.owner.as_deref() else { return Ok(None) };
    let refused =
        |what: String, hint: &str| Fault::usage(format!("--owner {}{what}", escape(text.as_bytes())), hint);
    let owner = owner_numbers(text).ok_or_else(|| {
        refused(
            ": this host has no such user or group".to_owned(),
            "write USER or USER:GROUP, by names or numbers",
        )
    })?;
    if owner.0 == 0 {
        return Err(refused(
            ": a server does not run as root".to_owned(),
            "name the user that it runs as: postgres",
        ));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(refused(
            ": only root can give files away".to_owned(),
            "run it as root, or as that user without --owner",
        ));
    }
    Ok(Some(owner))
}

/// Whether the log that came along is enough for what was stated. A copy that archives must not go on
/// along the timeline of the old server.
fn needs_none(recover: &Recover) -> bool {
    let plain = recover.to.is_none() && recover.timeline.is_none() && recover.then.is_none();
    plain && !recover.standby && !recover.exclusive && recover.archiving != Some(Archiving::Keep)
}

impl Prepared {
    /// The log that came along is replayed, and nothing else.
    fn as_it_came(wish: Wish) -> Self {
        let recovering = Recovering::default();
        Self { plan: None, wish, recovering, needed: None, with_whole_key: false, first: None }
    }

    fn new(
        run: &Run,
        args: &RestoreArgs,
        wish: Wish,
        plan: RecoveryPlan,
        system: u64,
    ) -> Result<Self, Fault> {
        let then = point::then(&args.recover, &wish);
        let standby = args.recover.standby;
        let chosen = plan.timeline.filter(|_| !standby || wish.choice.is_some());
        let (restore_command, needed) = match plan.timeline {
            None => (NOTHING.to_owned(), None),
            Some(_) if args.recover.without_restore_command => (NOTHING.to_owned(), None),
            Some(_) => {
                let key_file = args.recover.server_key_file.as_deref();
                let fetching = Fetching { system, key_file, timeline: chosen, standby };
                (wiring::restore_command(run, &fetching)?, wiring::needed(run)?)
            }
        };
        let fetches = restore_command != NOTHING;
        let goal = match (&plan.goal, plan.last) {
            // Who waits at the end of the log has to know where that is. Who opens there takes along what the
            // archive has got meanwhile.
            (Goal::Latest, Some(last)) if !standby && then != Then::Promote => Goal::Lsn(last),
            (goal, _) => goal.clone(),
        };
        let timeline = plan.timeline.filter(|_| !standby).map(|timeline| timeline.number);
        let exclusive = plan.exclusive;
        let recovery = Recovery { goal, exclusive, timeline, then, standby, restore_command };
        let archives = args.recover.archiving == Some(Archiving::Keep);
        let recovering = Recovering { recovery: Some(recovery), archives };
        let first = plan.segments.map(|(first, _)| first).filter(|_| fetches);
        let with_whole_key = fetches && args.recover.server_key_file.is_none();
        Ok(Self { plan: Some(plan), wish, recovering, needed, with_whole_key, first })
    }
}

/// Makes the plan, and takes the snapshot that it begins with.
#[expect(clippy::too_many_arguments, reason = "each is needed once")]
async fn planned(
    run: &Run,
    repository: &Repository,
    archive: &WalArchive,
    resolved: &mut Resolved,
    (system, record): (u64, &Record),
    listed: &[WalListed],
    wish: &Wish,
    named: bool,
) -> Result<RecoveryPlan, Fault> {
    let found = if named {
        vec![resolved.snapshot.clone()]
    } else {
        of_the_same(run, repository, &resolved.snapshot).await?
    };
    let mut bases = Bases::default();
    for snapshot in found {
        // One that is not understood is none to begin with; of the one that was named it is known.
        let Ok(record) = record_of(run, repository, &snapshot).await else { continue };
        if system_of(&record)? == system {
            bases.add(snapshot, &record)?;
        }
    }
    let histories = run.watch("looking at the log", histories(archive, listed)).await?;
    let tree = LogTree::new(record.segment_bytes, listed, &histories);
    let shelf = Shelves { run, repository, archived: Archived(archive.clone()), bases: &bases };
    let plan = plan_recovery(&shelf, system, &tree, &bases.bases, wish).await;
    let plan = plan.map_err(|error| told::refused(error, wish, &bases.snapshots, named))?;
    let chosen = &bases.snapshots[plan.base];
    if chosen.id != resolved.snapshot.id {
        *resolved = Resolved {
            snapshot: chosen.clone(),
            passed_over: None,
            ahead: None,
            without_path: None,
            instead_of: None,
        };
    }
    Ok(plan)
}

/// Whole snapshots of the same cluster.
async fn of_the_same(run: &Run, repository: &Repository, like: &Snapshot) -> Result<Vec<Snapshot>, Fault> {
    let mut found = snapshots(&run.ctx, repository, &SnapshotFilter::default()).await?.value;
    found.retain(|snapshot| {
        let summary = &snapshot.summary;
        summary.stream == like.summary.stream
            && summary.kind == KIND
            && (!summary.incomplete || snapshot.id == like.id)
    });
    Ok(found)
}

/// The history files of all timelines in a listing.
pub(in super::super) async fn histories(
    archive: &WalArchive,
    listed: &[WalListed],
) -> Result<BTreeMap<Timeline, Vec<u8>>, Error> {
    let mut histories = BTreeMap::new();
    let mut timelines: Vec<Timeline> = listed.iter().map(|listed| listed.name.timeline).collect();
    timelines.dedup();
    for timeline in timelines.into_iter().filter(|timeline| timeline.number > 1) {
        let name = WalName::whole(timeline, format!("{:08X}.history", timeline.number));
        if let Some(text) = archive.get(&name).await? {
            histories.insert(timeline, text);
        }
    }
    Ok(histories)
}

/// What a snapshot keeps of its cluster.
pub(super) async fn record_of(
    run: &Run,
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<Record, Fault> {
    let recorded = details(&run.ctx, repository, snapshot).await?;
    Record::decode(&recorded.source_record).ok_or_else(|| {
        let hint = "use a newer holdfast; to restore its files as they are, name a folder: latest:/base";
        Fault::failed("what this snapshot says of its cluster cannot be understood", hint)
    })
}

fn system_of(record: &Record) -> Result<u64, Fault> {
    record.system_identifier.parse().map_err(|_| odd_record())
}

fn odd_record() -> Fault {
    Fault::failed("what this snapshot says of its log cannot be understood", "use a newer holdfast")
}

/// Snapshots that a recovery may begin with.
#[derive(Default)]
struct Bases {
    snapshots: Vec<Snapshot>,
    bases: Vec<Base>,
}

impl Bases {
    fn add(&mut self, snapshot: Snapshot, record: &Record) -> Result<(), Fault> {
        let place = |text: &str| Lsn::parse(text).ok_or_else(odd_record);
        let (start, stop) = (place(&record.start_lsn)?, place(&record.stop_lsn)?);
        let ended = PgTime::from(snapshot.summary.end);
        self.bases.push(Base { timeline: record.timeline, start, stop, ended });
        self.snapshots.push(snapshot);
        Ok(())
    }
}

/// The archive, and the snapshots beside it.
struct Shelves<'a> {
    run: &'a Run,
    repository: &'a Repository,
    archived: Archived,
    bases: &'a Bases,
}

impl Shelf for Shelves<'_> {
    async fn segment(&self, timeline: &Timeline, name: SegmentName) -> Result<Option<Vec<u8>>, Error> {
        self.archived.read(timeline, name).await
    }

    async fn history_of(&self, base: usize) -> Result<Option<Vec<u8>>, Error> {
        let (snapshot, number) = (&self.bases.snapshots[base], self.bases.bases[base].timeline);
        let path = format!("/pg_wal/{number:08X}.history").into_bytes();
        let options = DumpOptions { path, ..DumpOptions::default() };
        let kept = Kept::default();
        let dumped = dump(&self.run.ctx, self.repository, snapshot, &options, Box::new(kept.clone())).await?;
        let bytes = kept.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok((dumped.value.bytes == bytes.len() as u64).then_some(bytes))
    }
}

/// Keeps what is written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
