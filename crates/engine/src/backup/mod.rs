//! Backs up a source: one snapshot, committed when everything that it names is durable.
//!
//! On purpose not here: reading the source, and the command line.

mod blocks;
mod driver;
mod emit;
mod landmarks;
mod large;
mod links;
mod maps;
mod missing;
mod promise;
mod rebuilt;
mod stated;

pub(crate) use large::ContentHasher;
pub(crate) use missing::distrust_missing;

use crate::adopt::adoptable;
use crate::block_map::{BlockMap, BlockMapWriter, MapName, keep_only};
use crate::cache::{Cache, CacheWriter, path_of};
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::index::Index;
use crate::maintain;
use crate::outcome::Outcome;
use crate::packer::Packer;
use crate::repository::Repository;
use crate::rights::Right;
use crate::session::{Session, SessionOptions};
use crate::snapshots::{Snapshot, details, is_ahead, utc};
use crate::source::{Before, Order, Prover, Source};
use crate::view::View;
use driver::{Driven, Driver, Maps};
use emit::{Ascending, Emit, Sorter};
use holdfast_core::entry::Time;
use holdfast_core::id::{ChunkId, SessionId, StreamId};
use holdfast_core::name::SessionName;
use holdfast_core::session::{Counts, Details, RecordedProblem, Summary};
use rebuilt::rebuilt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// So often a run begins again when maintenance overtakes it.
const ATTEMPTS_MAX: usize = 4;

/// How a backup is made.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// Name of the source; empty for its canonical name.
    pub label: String,
    /// Tags of the snapshot.
    pub tags: Vec<String>,
    /// Compare with this snapshot instead of the newest of the stream.
    pub parent: Option<SessionId>,
    /// Read everything, changed or not.
    pub force: bool,
    /// Do not take a new change time for a change.
    pub ignore_ctime: bool,
    /// Do not take a new inode number for a change.
    pub ignore_inode: bool,
    /// Make no snapshot that equals its parent.
    pub skip_if_unchanged: bool,
    /// Read and count, store nothing.
    pub dry_run: bool,
    /// Recorded instead of the clock's time.
    pub time: Option<Time>,
    /// Level of zstd.
    pub compression_level: i32,
    /// Length from which a data pack is closed, in bytes; see [`holdfast_core::pack::DATA_PACK_BYTES`].
    pub data_pack_bytes: u64,
    /// Open each chunk again before it is uploaded.
    pub seal_check: bool,
    /// Where the stat cache lies; none is used without.
    pub cache_dir: Option<PathBuf>,
    /// Version of the program, recorded.
    pub version: String,
    /// The command without secrets, recorded.
    pub command: String,
}

/// What a backup did.
#[derive(Debug, Clone)]
pub struct BackupReport {
    /// The snapshot; none for a dry run, or when nothing changed and that was to be skipped.
    pub snapshot: Option<SessionId>,
    /// What it was compared with.
    pub parent: Option<SessionId>,
    /// Topmost page of its tree.
    pub root: ChunkId,
    /// What it counted.
    pub counts: Counts,
    /// Whether its tree is that of the parent.
    pub unchanged: bool,
    /// Interrupted runs whose packs were taken over.
    pub adopted_sessions: u64,
    /// Packs taken over.
    pub adopted_packs: u64,
    /// When it began.
    pub start: Time,
    /// When it ended.
    pub end: Time,
    /// Facts that the source stated, (name, value).
    pub facts: Vec<(String, String)>,
}

/// Where the entries of the parent come from.
struct Past {
    parent: Option<Snapshot>,
    cache: Option<Arc<Cache>>,
    /// Whether the cache describes the parent.
    covered: bool,
    /// The blocks of the files that the cache knows, for a source that has any.
    map: Option<Arc<BlockMap>>,
    /// Whether some of them should be known and cannot be.
    map_lost: bool,
}

impl Past {
    fn new(parent: Option<Snapshot>, cache: Option<Cache>, covered: bool) -> Self {
        Self { parent, cache: cache.map(Arc::new), covered, map: None, map_lost: false }
    }
}

/// Backs up a source. If maintenance overtakes the run so far that something it relies on is going
/// away, and the source can be read once more, it begins again: unchanged files are not read
/// again, and what was uploaded is taken over.
///
/// # Errors
/// The source failed as a whole, the repository cannot be written, or the run was interrupted;
/// then there is no snapshot, and the next run uses what was uploaded.
pub async fn backup(
    ctx: &Ctx,
    repository: &Repository,
    mut source: Box<dyn Source>,
    options: &BackupOptions,
) -> Result<Outcome<BackupReport>> {
    let mut overtaken = Vec::new();
    repository.require(Right::BackUp)?;
    loop {
        let (again, attempts) = (source.again(), overtaken.len());
        match (attempt(ctx, repository, source, options, &mut overtaken).await, again) {
            (Err(error), Some(next))
                if error.kind == ErrorKind::Conflict
                    && (attempts + 1..=ATTEMPTS_MAX).contains(&overtaken.len()) =>
            {
                ctx.monitor.on(&Event::Warning(
                    "the repository was maintained meanwhile; what it does not keep is looked for again",
                ));
                source = next;
            }
            (result, _) => return result,
        }
    }
}

/// Says that this clock or an earlier one is wrong: what is stored by one that is behind is not the latest,
/// and is the first to go.
fn warn_of_clock(ctx: &Ctx, view: &View, parent: Option<&Snapshot>) {
    let now = ctx.clock.now();
    let dated = parent.map(|parent| ("the last snapshot of this source", parent.summary.end));
    let dated = dated.into_iter().chain([("the newest date of the repository", view.root.time)]);
    for (what, date) in dated.filter(|(_, date)| is_ahead(*date, now)) {
        let what = format!(
            "this host's clock says {}, and {what} is {}: one of the two clocks was wrong. If it is this one, what is \
             stored now is not the `latest`, and retention takes it first: set it right and back up again",
            utc(now),
            utc(date)
        );
        ctx.monitor.on(&Event::Warning(&what));
    }
}

/// One attempt. The name of a session that was overtaken at its commit is noted.
async fn attempt(
    ctx: &Ctx,
    repository: &Repository,
    mut source: Box<dyn Source>,
    options: &BackupOptions,
    overtaken: &mut Vec<SessionName>,
) -> Result<Outcome<BackupReport>> {
    let start = options.time.unwrap_or_else(|| ctx.clock.now());
    let (identity, space) = (source.identity().clone(), source.key_space());
    let stream = repository.identifier()?.stream(&identity.host, &identity.kind, &identity.canonical);
    let mut view = repository.view().await?;
    for damage in &view.damage {
        let what = format!("{} cannot be used: {}; run `holdfast check`", damage.object, damage.what);
        ctx.monitor.on(&Event::Warning(&what));
    }
    view.warn(ctx);
    let adopted =
        if options.dry_run { Vec::new() } else { adoptable(ctx, repository, &view, overtaken).await? };
    for pack in &adopted {
        view.index.absorb(&pack.tables)?;
    }
    view.index.settle();
    let missing_packs = distrust_missing(ctx, repository, &mut view.index).await?;
    let mut live = Vec::with_capacity(adopted.len());
    for pack in adopted {
        if view.index.is_live(&pack.row.id)? {
            live.push(pack);
        }
    }
    let adopted = live;
    let index = Arc::new(std::mem::take(&mut view.index));
    let (prover, has_blocks) = (source.prover(), source.has_blocks());
    let known = Known { repository, index: &index, stream, prover, has_blocks };
    let past = maps::find(ctx, &known, options, find_past(ctx, &view, &known, options).await?).await?;
    if source.goes_on() {
        let landmarks = match (source.landmarks(), &past.parent) {
            (Some(apart), Some(parent)) if known.reads(parent) => {
                landmarks::of(repository, &index, parent, apart).await
            }
            (Some(apart), _) => past.cache.as_ref().map(|cache| cache.landmarks(apart)).unwrap_or_default(),
            _ => Vec::new(),
        };
        let before = before(ctx, &known, &past, options, start).await;
        source.go_on(&Before { landmarks, ..before });
    }
    if options.time.is_none() {
        warn_of_clock(ctx, &view, past.parent.as_ref());
    }
    if let Some(parent) = &past.parent {
        let Counts { files, bytes, .. } = parent.summary.counts;
        ctx.monitor.on(&Event::Expected { files, bytes });
    }
    let mut adopted_sessions: Vec<_> = adopted.iter().map(|pack| pack.from).collect();
    adopted_sessions.dedup();
    let (adopted_sessions, adopted_packs) = (adopted_sessions.len() as u64, adopted.len() as u64);
    let session_options = SessionOptions {
        stream,
        parent: past.parent.as_ref().map(|parent| parent.id),
        needs_parent: false,
        seal_check: options.seal_check,
        dry_run: options.dry_run,
        level: options.compression_level,
        data_pack_bytes: options.data_pack_bytes,
        started: start,
    };
    let mut session =
        Session::begin(ctx, repository, &view, Arc::clone(&index), adopted, &session_options).await?;
    let driven = drive(ctx, repository, &mut session, source, options, &past, stream).await?;
    let unchanged = past.parent.as_ref().is_some_and(|parent| parent.summary.root == driven.root);
    let mut report = BackupReport {
        snapshot: None,
        parent: past.parent.as_ref().map(|parent| parent.id),
        root: driven.root,
        counts: driven.counts,
        unchanged,
        adopted_sessions,
        adopted_packs,
        start,
        end: options.time.unwrap_or_else(|| ctx.clock.now()),
        facts: driven.point.facts.clone(),
    };
    let problems = driven.problems;
    // What another member says that it has is no reason to keep nothing.
    let by_trusted = past.parent.as_ref().is_some_and(|parent| repository.believes(parent));
    let skips = unchanged && by_trusted && options.skip_if_unchanged;
    if options.dry_run || skips && adopted_packs + missing_packs == 0 {
        session.abandon("nothing changed").await?;
        return Ok(Outcome { value: report, problems });
    }
    let summary = Summary {
        stream,
        host: identity.host.clone(),
        kind: identity.kind.clone(),
        label: if options.label.is_empty() { identity.canonical.clone() } else { options.label.clone() },
        paths: identity.paths.clone(),
        tags: sorted(&options.tags),
        start,
        end: report.end,
        counts: report.counts,
        incomplete: problems.problem_count > 0,
        problems: problems.problem_count,
        root: driven.root,
        space,
        parent: report.parent,
        supersedes: Vec::new(),
        origin: None,
        log: driven.point.log,
        said_by: None,
        unknown: Vec::new(),
    };
    let recorded = problems
        .problems
        .iter()
        .map(|problem| RecordedProblem { path: problem.path.clone(), what: problem.what.clone() });
    let details = Details {
        version: options.version.clone(),
        command: options.command.clone(),
        problems: recorded.collect(),
        source_record: driven.point.record,
        facts: driven.point.facts,
    };
    let name = session.name();
    let committed = session.commit(summary, &details).await;
    if committed.as_ref().is_err_and(|error| error.kind == ErrorKind::Conflict) {
        overtaken.push(name);
    }
    // Of a run that was overtaken too: the next attempt finds there what was read.
    let id = *committed.as_ref().unwrap_or(&name.session);
    let name = MapName { repository: repository.id(), stream, snapshot: id };
    let put = put_in_force(repository, options, &name, driven.cache, driven.map, &past)
        .and_then(|()| keep_stated(repository, options, &name, &report.facts));
    if let Err(error) = put {
        warn_cache(ctx, &error);
    }
    report.snapshot = Some(committed?);
    maintain::absorb_many(ctx, repository, view.deltas).await;
    Ok(Outcome { value: report, problems })
}

/// Puts what the next run goes by in force: first the block map, which lies beside that of the run
/// before, then the stat cache, by which the next run finds it.
fn put_in_force(
    repository: &Repository,
    options: &BackupOptions,
    name: &MapName,
    cache: Option<CacheWriter>,
    map: Option<Arc<BlockMapWriter>>,
    past: &Past,
) -> io::Result<()> {
    let Some(cache) = cache else { return Ok(()) };
    if let (Some(map), Ok(identifier)) = (&map, repository.identifier()) {
        map.commit(name, identifier.cache_key())?;
    }
    cache.commit(name.repository, name.stream, name.snapshot, past.cache.as_deref())?;
    if let (Some(_), Some(folder)) = (map, &options.cache_dir) {
        keep_only(folder, name);
    }
    Ok(())
}

/// Keeps what the source stated, where the next run cannot read it.
fn keep_stated(
    repository: &Repository,
    options: &BackupOptions,
    name: &MapName,
    facts: &Vec<(String, String)>,
) -> io::Result<()> {
    match (&options.cache_dir, repository.identifier()) {
        (Some(folder), Ok(identifier)) if !repository.may(Right::Read) && !facts.is_empty() => {
            stated::write(folder, name, identifier.cache_key(), facts)
        }
        _ => Ok(()),
    }
}

/// What the parent left for the source.
async fn before(ctx: &Ctx, known: &Known<'_>, past: &Past, options: &BackupOptions, start: Time) -> Before {
    let facts = match &past.parent {
        Some(parent) if known.reads(parent) => {
            details(ctx, known.repository, parent).await.ok().map(|details| details.facts)
        }
        // Whoever may only write cannot read them, and has what it noted.
        Some(parent) => known.stated(options, past.cache.as_ref().map_or(parent.id, |cache| cache.snapshot)),
        None => Some(Vec::new()),
    };
    Before { facts, start, may_leave_none: options.skip_if_unchanged, landmarks: Vec::new() }
}

fn sorted(tags: &[String]) -> Vec<String> {
    let mut tags = tags.to_vec();
    tags.sort();
    tags.dedup();
    tags
}

fn warn_cache(ctx: &Ctx, error: &io::Error) {
    let what = format!(
        "the local cache cannot be used ({error}); the next run will read more. The snapshot is whole"
    );
    ctx.monitor.on(&Event::Warning(&what));
}

/// What the pipeline gave.
struct Done {
    root: ChunkId,
    counts: Counts,
    problems: crate::outcome::Problems,
    point: crate::source::ConsistencyPoint,
    cache: Option<CacheWriter>,
    map: Option<Arc<BlockMapWriter>>,
}

/// Stops the threads of a run whose future is dropped: nobody would empty what they fill.
pub(crate) struct Unattended(pub(crate) Arc<Packer>);

impl Drop for Unattended {
    fn drop(&mut self) {
        self.0.fail(Error::interrupted());
    }
}

async fn drive(
    ctx: &Ctx,
    repository: &Repository,
    session: &mut Session,
    source: Box<dyn Source>,
    options: &BackupOptions,
    past: &Past,
    stream: StreamId,
) -> Result<Done> {
    let packer = Arc::clone(session.packer());
    let folder = options.cache_dir.as_ref().filter(|_| !options.dry_run);
    let writer = folder.and_then(|folder| {
        let path = path_of(folder, repository.id(), stream);
        CacheWriter::create(&path, packer.sealer().identifier.cache_key())
            .map_err(|error| warn_cache(ctx, &error))
            .ok()
    });
    let ascending = Box::new(Ascending::new(Arc::clone(&packer), source.key_space(), writer));
    let emit = match source.order() {
        Order::Sorted => Emit::Sorted(ascending),
        Order::Arrival => {
            let folder = options.cache_dir.clone().unwrap_or_else(std::env::temp_dir);
            Emit::Arrival(ascending, Sorter::new(folder.join("sort")))
        }
    };
    let name = MapName { repository: repository.id(), stream, snapshot: session.name().session };
    let map = folder.filter(|_| source.has_blocks()).and_then(|folder| {
        let map = BlockMapWriter::create(folder, &name).map_err(|error| warn_cache(ctx, &error)).ok()?;
        Some(Arc::new(map))
    });
    let maps = Maps { past: past.map.clone(), next: map.clone(), is_loss_told: past.map_lost };
    let driver = Driver::new(ctx, &packer, source, options, past.cache.clone(), past.covered, emit);
    let driver = driver.with_maps(maps);
    let finisher = Arc::clone(&packer);
    let work = move || {
        let Driven { emit, counts, problems, point } = driver.drive()?;
        let finished = emit.finish();
        let (root, cache, trouble) = finished.map_err(|error| Error {
            kind: ErrorKind::Store,
            what: "cannot sort the entries in the cache folder".into(),
            source: Some(Box::new(error)),
        })?;
        Ok((root, cache, trouble, counts, problems, point))
    };
    let work = ctx.workers.run_long(move || {
        let worked = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(driver::mistake()));
        if let Err(error) = &worked {
            finisher.stop(Error::new(error.kind, "the run ended early"));
        }
        finisher.close();
        worked
    });
    let unattended = Unattended(Arc::clone(&packer));
    let (worked, uploaded) = futures::join!(work, session.upload());
    drop(unattended);
    let outcome = match (worked, uploaded) {
        // What stopped the driver is told by the upload when that failed first.
        (Err(driver), Err(upload)) if driver.kind == ErrorKind::Store => Err(upload),
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        (Ok(done), Ok(())) => Ok(done),
    };
    let (root, cache, trouble, mut counts, problems, point) = outcome?;
    if let Some(error) = trouble {
        warn_cache(ctx, &error);
    }
    counts.chunks_added = packer.added.chunks.load(Ordering::Relaxed);
    counts.bytes_added = packer.added.plain_bytes.load(Ordering::Relaxed);
    counts.bytes_stored = packer.added.stored_bytes.load(Ordering::Relaxed);
    Ok(Done { root: root.id, counts, problems, point, cache, map })
}

/// Finds the parent and what stands in for its pages.
async fn find_past(ctx: &Ctx, view: &View, known: &Known<'_>, options: &BackupOptions) -> Result<Past> {
    let (repository, stream) = (known.repository, known.stream);
    let snapshots = view.snapshots();
    let cache = open_cache(ctx, repository, stream, options);
    let described = cache.as_ref().and_then(|cache| same_tree(view, &snapshots, cache.snapshot));
    let described = described.filter(|described| repository.believes(described));
    if let Some(wanted) = options.parent {
        let parent = view.current(&snapshots, wanted).last().copied().cloned().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no snapshot {wanted} to compare with"))
        })?;
        if !repository.believes(&parent) {
            let by = repository.name_of(repository.author_of(&parent).unwrap_or(parent.member));
            let what = format!(
                "snapshot {wanted} is of {by}: what it names would be taken as known, and this key takes only \
                 its own word and an owner's"
            );
            return Err(Error::new(ErrorKind::NotAllowed, what));
        }
        let covered = described.is_some_and(|described| described.id == parent.id);
        if let Some(cache) = cache.filter(|_| covered) {
            return Ok(Past::new(Some(parent), Some(cache), true));
        }
        return rebuilt(ctx, known, options, parent).await;
    }
    if let Some(cache) = cache {
        let covered = described.is_some();
        let parent = described.or_else(|| view.parent_of(stream, repository));
        return Ok(Past::new(parent, Some(cache), covered));
    }
    match view.parent_of(stream, repository) {
        Some(parent) => rebuilt(ctx, known, options, parent).await,
        None => Ok(Past::new(None, None, false)),
    }
}

/// The snapshot that counts and has the tree of this one: itself, or one with other tags.
fn same_tree(view: &View, shown: &[Snapshot], id: SessionId) -> Option<Snapshot> {
    let root = view.committed().get(&id)?.summary.root;
    let current = view.current(shown, id);
    current.into_iter().rfind(|snapshot| snapshot.summary.root == root).cloned()
}

fn open_cache(
    ctx: &Ctx,
    repository: &Repository,
    stream: StreamId,
    options: &BackupOptions,
) -> Option<Cache> {
    let path = path_of(options.cache_dir.as_ref()?, repository.id(), stream);
    let key = repository.identifier().ok()?.cache_key();
    Cache::open(&path, key, repository.id(), stream).unwrap_or_else(|error| {
        // A folder that cannot be used is told of when the next cache is to be written.
        if error.kind() == io::ErrorKind::InvalidData {
            ctx.monitor.on(&Event::Warning(&format!("{error}; everything is read again")));
        }
        None
    })
}

/// What the parent's pages are read with.
struct Known<'a> {
    repository: &'a Repository,
    index: &'a Arc<Index>,
    stream: StreamId,
    prover: Option<Prover>,
    has_blocks: bool,
}

impl Known<'_> {
    /// Whether a snapshot can be read, and what it says is believed: who may lie about what a file's
    /// content is must not decide what is taken over from it.
    fn reads(&self, snapshot: &Snapshot) -> bool {
        self.repository.may(Right::Read) && self.repository.believes(snapshot)
    }

    /// What the source stated when a snapshot was made, as this machine noted it.
    fn stated(&self, options: &BackupOptions, snapshot: SessionId) -> Option<Vec<(String, String)>> {
        let name = MapName { repository: self.repository.id(), stream: self.stream, snapshot };
        stated::read(options.cache_dir.as_ref()?, &name, self.repository.identifier().ok()?.cache_key())
    }
}
