//! Restores a snapshot, or a part of it, into a target; rehearses it; verifies it afterwards.
//!
//! Entries are taken in batches. While one batch's contents are compared, fetched and written,
//! the next one is listed and its folders are made. In a batch each stretch of a pack is
//! fetched once. On purpose not here: how a target writes.

mod archive;
mod compare;
mod select;
mod verify;
mod versions;
mod write;

pub use archive::archived_packs;
pub(crate) use select::{Selected, chain, is_below, lost_part, path_text};
pub use verify::{OpenRestored, verify};
pub use versions::VersionChoice;

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::outcome::{Outcome, Problem, ProblemKind};
use crate::reader::Reader;
use crate::repository::Repository;
use crate::snapshots::Snapshot;
use crate::target::{Tally, Target, TargetBatch};
use holdfast_core::entry::{Entry, Extent, Kind, Xattrs};
use holdfast_core::version::VERSIONS_KIND;
use std::collections::BTreeMap;
use std::sync::Arc;

use write::Writer;

/// Entries of one batch.
const BATCH_ENTRIES_MAX: usize = 4096;
/// Content of one batch in bytes, unless one file has more.
const BATCH_BYTES_MAX: u64 = 256 << 20;
/// What the entries of one batch hold in memory, in bytes, unless one has more: many entries may
/// name the same long extended attributes or extents.
const BATCH_HELD_BYTES_MAX: usize = 16 << 20;

/// Whether an entry is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// It is, and what lies below is looked at.
    Take,
    /// It is only if something below it is.
    Descend,
    /// Neither it nor anything below.
    Skip,
}

/// Decides by an entry's path in the snapshot (leading slash) and whether it is a folder.
pub type Selector = Arc<dyn Fn(&[u8], bool) -> Selection + Send + Sync>;

/// How much of a restore is carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Carry {
    /// All of it.
    #[default]
    Out,
    /// Nothing is fetched or written; what is at the target is compared, so that all is counted.
    Rehearse,
    /// Nothing is fetched, written or compared; what is missing and superfluous is counted.
    Survey,
}

/// What is restored, and how.
#[derive(Clone, Default)]
pub struct RestoreOptions {
    /// Path in the snapshot; empty for everything. A folder's contents land in the target.
    pub path: Vec<u8>,
    /// Which versions, where a snapshot has all of them.
    pub versions: VersionChoice,
    /// Leaves entries out.
    pub select: Option<Selector>,
    /// Without the configuration of a bucket, which is no object.
    pub objects_only: bool,
    /// Packs that lie in an archive, by what [`archived_packs`] tells. A rehearsal says which of them a
    /// restore would need.
    pub cold: Option<Arc<BTreeMap<String, String>>>,
    /// Stop at the first damaged file instead of bringing back everything that is intact.
    pub fail_fast: bool,
    /// How much is carried out. A target that is handed to a rehearsal or a survey must change
    /// nothing by itself.
    pub carry: Carry,
}

impl std::fmt::Debug for RestoreOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = String::from_utf8_lossy(&self.path);
        f.debug_struct("RestoreOptions")
            .field("path", &path)
            .field("fail_fast", &self.fail_fast)
            .field("carry", &self.carry)
            .finish_non_exhaustive()
    }
}

/// What was restored, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Files.
    pub files: u64,
    /// Folders.
    pub directories: u64,
    /// Links, devices, pipes, sockets.
    pub others: u64,
    /// Content in bytes, holes included.
    pub bytes: u64,
    /// Bytes read from packs.
    pub bytes_fetched: u64,
    /// In so many ranges, each a request of its own.
    pub ranges: u64,
    /// Packs that they lie in.
    pub packs: u64,
    /// Packs that were needed and lie in an archive, by name; of a rehearsal those of
    /// [`RestoreOptions::cold`].
    pub archived: Vec<String>,
    /// Files whose content was read again and is what was recorded.
    pub verified_files: u64,
    /// What became of the things at the target.
    pub tally: Tally,
    /// The first things that were deleted at the target: paths relative to it.
    pub deleted: Vec<Vec<u8>>,
}

impl RestoreReport {
    fn count(&mut self, entry: &Entry) {
        match entry.kind {
            Kind::File => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(entry.size);
            }
            Kind::Directory => self.directories += 1,
            _ => self.others += 1,
        }
    }
}

/// A batch whose folders are made.
struct Batch {
    files: Arc<dyn TargetBatch>,
    /// Paths in the snapshot.
    paths: Vec<Vec<u8>>,
    extents: Vec<Vec<Extent>>,
    /// Entries whose content cannot be told at all.
    lost: Vec<(usize, String)>,
}

impl Batch {
    fn is_lost(&self, number: usize) -> bool {
        self.lost.binary_search_by_key(&number, |(lost, _)| *lost).is_ok()
    }
}

/// Restores a snapshot into a target. What is damaged is left out and named.
///
/// # Errors
/// The path does not exist, the target or the store failed, or a file is damaged and `fail_fast` is set.
pub async fn restore(
    ctx: &Ctx,
    repository: &Repository,
    snapshot: &Snapshot,
    target: Box<dyn Target>,
    options: &RestoreOptions,
) -> Result<Outcome<RestoreReport>> {
    let view = repository.view().await?;
    let reader = Reader::new(repository, view)?;
    repository.require_signed(snapshot).await?;
    tell_expected(ctx, &reader, snapshot, options).await;
    let mut selected = Selected::new(&reader, snapshot, options);
    let mut run = Writer::new(ctx, &reader, options);
    let mut target = Some(target);
    let mut current = build(ctx, &reader, &mut selected, &mut target).await?;
    if current.is_none() && !selected.found && selected.damage.problem_count == 0 {
        return Err(selected.absent(snapshot));
    }
    while let Some(batch) = current {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        let (written, next) =
            futures::join!(run.write(&batch), build(ctx, &reader, &mut selected, &mut target));
        written?;
        current = next?;
        let mut owned = target.take().ok_or_else(target_gone)?;
        let files = Arc::clone(&batch.files);
        let (owned, completed) = ctx
            .workers
            .run_long(move || {
                let completed = owned.complete(files);
                (owned, completed)
            })
            .await;
        completed?;
        target = Some(owned);
        let files = batch.files.entries().iter().filter(|entry| entry.kind == Kind::File).count() as u64;
        ctx.monitor.on(&Event::Done { files, bytes: 0 });
    }
    run.absorb(std::mem::take(&mut selected.damage))?;
    let mut owned = target.take().ok_or_else(target_gone)?;
    let finished = ctx.workers.run_long(move || owned.finish()).await?;
    finished.problems.problems.iter().for_each(|problem| ctx.monitor.on(&Event::Problem(problem)));
    let needed = run.needed(options);
    let (mut report, mut problems) = run.finish();
    if options.carry == Carry::Rehearse {
        report.archived = archive::still_archived(repository, needed).await;
    }
    problems.absorb(finished.problems);
    (report.tally, report.deleted) = (finished.tally, finished.deleted);
    Ok(Outcome { value: report, problems })
}

/// Says how much there will be to do. Of a part this takes a walk over its pages, which is little
/// beside what they name.
async fn tell_expected(ctx: &Ctx, reader: &Reader, snapshot: &Snapshot, options: &RestoreOptions) {
    let counts = snapshot.summary.counts;
    let (mut files, mut bytes) = (counts.files, counts.bytes);
    let versions = snapshot.summary.kind == VERSIONS_KIND && options.versions != VersionChoice::All;
    if !options.path.is_empty() || options.select.is_some() || versions {
        let mut report = RestoreReport::default();
        let mut selected = Selected::new(reader, snapshot, options);
        while let (false, Some(entry)) = (ctx.cancel.is_raised(), selected.next().await) {
            report.count(&entry);
        }
        (files, bytes) = (report.files, report.bytes);
    }
    ctx.monitor.on(&Event::Expected { files, bytes });
}

fn target_gone() -> Error {
    Error::new(ErrorKind::Target, "the target failed before")
}

/// Lists the next batch and makes its folders.
async fn build(
    ctx: &Ctx,
    reader: &Reader,
    selected: &mut Selected<'_>,
    target: &mut Option<Box<dyn Target>>,
) -> Result<Option<Arc<Batch>>> {
    let (mut entries, mut paths, mut extents) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bytes, mut held, mut lost, mut before) = (0, 0, Vec::new(), None::<Vec<u8>>);
    while entries.len() < BATCH_ENTRIES_MAX && bytes < BATCH_BYTES_MAX && held < BATCH_HELD_BYTES_MAX {
        let Some(mut entry) = selected.next().await else { break };
        let replays = selected.options.versions == VersionChoice::All;
        if replays && before.as_ref().is_some_and(|before| *before >= entry.key) {
            // Another version of what is in the batch: that one has to be complete.
            selected.give_back(entry);
            break;
        }
        before = Some(entry.key.clone());
        bytes = entry.size.saturating_add(bytes);
        let path = path_text(&entry.key);
        entry.key = selected.relative(&entry);
        if let Xattrs::Chunk(_) = entry.attributes.xattrs {
            match reader.xattrs(&entry).await {
                Ok(pairs) => {
                    held += pairs.iter().map(|(name, value)| 64 + name.len() + value.len()).sum::<usize>();
                    entry.attributes.xattrs = Xattrs::Inline(pairs);
                }
                Err(error) if selected.options.fail_fast => return Err(error),
                Err(error) => {
                    entry.attributes.xattrs = Xattrs::None;
                    let what = format!("its extended attributes are lost: {}", chain(&error));
                    let kind = ProblemKind::Damaged;
                    selected.damage.problem(Problem { path: path.clone(), kind, what });
                }
            }
        }
        let found = reader.extents_ahead(&entry, selected.to_come()).await.unwrap_or_else(|error| {
            lost.push((entries.len(), chain(&error)));
            Vec::new()
        });
        held += weight(&entry) + found.len() * size_of::<Extent>();
        extents.push(found);
        paths.push(path);
        entries.push(entry);
    }
    if let (Some(target), true) = (target.as_mut(), selected.damage.problem_count > 0) {
        target.spare();
    }
    if entries.is_empty() {
        return Ok(None);
    }
    let mut owned = target.take().ok_or_else(target_gone)?;
    let (owned, files) = ctx
        .workers
        .run_long(move || {
            let files = owned.prepare(entries);
            (owned, files)
        })
        .await;
    *target = Some(owned);
    Ok(Some(Arc::new(Batch { files: files?, paths, extents, lost })))
}

/// What an entry holds that may be long, in bytes.
fn weight(entry: &Entry) -> usize {
    let attributes = &entry.attributes;
    let unknown: usize = attributes.unknown.iter().map(|(_, bytes)| bytes.len()).sum();
    entry.key.len() + attributes.link_target.as_ref().map_or(0, Vec::len) + unknown
}
