//! Restores a snapshot, or a part of it, into a target; plans it; verifies it afterwards.
//!
//! Entries are taken in batches. While one batch's contents are fetched and written, the next
//! one is listed and its folders are made. In a batch each stretch of a pack is fetched once.
//! On purpose not here: how a target writes.

mod select;
mod verify;

pub(crate) use select::chain;
pub use verify::{OpenRestored, plan, verify};

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::outcome::{Outcome, Problem, ProblemKind, Problems};
use crate::reader::{Range, Reader, Wanted, coalesce, slice};
use crate::repository::Repository;
use crate::snapshots::{Snapshot, not_in_snapshot};
use crate::target::{Target, TargetBatch, TargetError};
use crate::workers::lock;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use holdfast_core::compress::Decompressor;
use holdfast_core::entry::{Content, Entry, Extent, Kind, Xattrs};
use holdfast_core::id::ChunkId;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use select::{Selected, path_text};

/// Entries of one batch.
const BATCH_ENTRIES_MAX: usize = 4096;
/// Content of one batch in bytes, unless one file has more.
const BATCH_BYTES_MAX: u64 = 256 << 20;
/// Extended attributes and extents of one batch in memory, in bytes, unless one entry has more:
/// many entries may name the same long ones.
const BATCH_HELD_BYTES_MAX: usize = 16 << 20;
/// Ranges that are fetched at the same time, beyond one for each worker.
const RANGES_AHEAD: usize = 2;

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

/// What is restored, and how.
#[derive(Clone, Default)]
pub struct RestoreOptions {
    /// Path in the snapshot; empty for everything. A folder's contents land in the target.
    pub path: Vec<u8>,
    /// Leaves entries out.
    pub select: Option<Selector>,
    /// Stop at the first damaged file instead of bringing back everything that is intact.
    pub fail_fast: bool,
}

impl std::fmt::Debug for RestoreOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = String::from_utf8_lossy(&self.path);
        f.debug_struct("RestoreOptions")
            .field("path", &path)
            .field("fail_fast", &self.fail_fast)
            .finish_non_exhaustive()
    }
}

/// What was restored, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
    /// Packs that they lie in.
    pub packs: u64,
    /// Files whose content was read again and is what was recorded.
    pub verified_files: u64,
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
    let mut selected = Selected::new(&reader, snapshot, options);
    let mut run = Run {
        ctx,
        reader: &reader,
        report: RestoreReport::default(),
        problems: Problems::default(),
        packs: HashSet::new(),
        fail_fast: options.fail_fast,
    };
    let mut target = Some(target);
    let mut current = build(ctx, &reader, &mut selected, &mut target).await?;
    if current.is_none() && !selected.found && selected.damage.problem_count == 0 {
        return Err(not_in_snapshot(snapshot, &options.path));
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
    }
    let damage = std::mem::take(&mut selected.damage);
    damage.problems.iter().try_for_each(|problem| run.tell(problem))?;
    run.problems.absorb(damage);
    let mut owned = target.take().ok_or_else(target_gone)?;
    let left = ctx.workers.run_long(move || owned.finish()).await?;
    left.problems.iter().for_each(|problem| ctx.monitor.on(&Event::Problem(problem)));
    run.problems.absorb(left);
    run.report.packs = run.packs.len() as u64;
    Ok(Outcome { value: run.report, problems: run.problems })
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
) -> Result<Option<Batch>> {
    let (mut entries, mut paths, mut extents) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bytes, mut held, mut lost) = (0, 0, Vec::new());
    while entries.len() < BATCH_ENTRIES_MAX && bytes < BATCH_BYTES_MAX && held < BATCH_HELD_BYTES_MAX {
        let Some(mut entry) = selected.next().await else { break };
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
                    selected.damage.problem(Problem { path: path.clone(), kind: ProblemKind::Damaged, what });
                }
            }
        }
        let found = reader.extents(&entry).await.unwrap_or_else(|error| {
            lost.push((entries.len(), chain(&error)));
            Vec::new()
        });
        held += weight(&entry) + found.len() * size_of::<Extent>();
        extents.push(found);
        paths.push(path);
        entries.push(entry);
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
    Ok(Some(Batch { files: files?, paths, extents, lost }))
}

/// What an entry holds that may be long, in bytes.
fn weight(entry: &Entry) -> usize {
    let attributes = &entry.attributes;
    let unknown: usize = attributes.unknown.iter().map(|(_, bytes)| bytes.len()).sum();
    entry.key.len() + attributes.link_target.as_ref().map_or(0, Vec::len) + unknown
}

/// A slice of a chunk that a file wants.
#[derive(Debug, Clone, Copy)]
struct Use {
    entry: u32,
    at: u64,
    offset: u32,
    length: u32,
}

/// Everything that the writers of a batch share.
struct Writing {
    files: Arc<dyn TargetBatch>,
    uses: HashMap<ChunkId, Vec<Use>>,
    /// Slices that each file still waits for.
    left: Vec<AtomicU32>,
    /// Whether a file is one slice and is put whole.
    whole: Vec<bool>,
    failure: Mutex<Option<TargetError>>,
    /// Files that will not be whole, and whether that was told; nothing more is written to them.
    lost: Mutex<HashMap<u32, bool>>,
    bytes: AtomicU64,
}

impl Writing {
    /// Writes one chunk wherever it is wanted.
    fn write(&self, id: &ChunkId, plaintext: &[u8]) {
        for wanted in self.uses.get(id).into_iter().flatten() {
            let entry = wanted.entry as usize;
            let end = wanted.offset as usize + wanted.length as usize;
            let Some(part) = plaintext.get(wanted.offset as usize..end) else {
                // The chunk is whole; what the file says of it is wrong.
                lock(&self.lost).entry(wanted.entry).or_insert(false);
                continue;
            };
            if lock(&self.lost).contains_key(&wanted.entry) {
                continue;
            }
            let result = if self.whole[entry] {
                self.files.put(entry, part)
            } else {
                self.files.write_at(entry, wanted.at, part)
            };
            self.note(result);
            if self.left[entry].fetch_sub(1, Ordering::AcqRel) == 1 && !self.whole[entry] {
                self.note(self.files.close(entry));
            }
        }
        self.bytes.fetch_add(plaintext.len() as u64, Ordering::Relaxed);
    }

    fn note(&self, result: std::result::Result<(), TargetError>) {
        if let Err(error) = result {
            lock(&self.failure).get_or_insert(error);
        }
    }

    fn check(&self) -> Result<()> {
        lock(&self.failure).take().map_or(Ok(()), |error| Err(error.into()))
    }
}

struct Run<'a> {
    ctx: &'a Ctx,
    reader: &'a Reader,
    report: RestoreReport,
    problems: Problems,
    packs: HashSet<u32>,
    fail_fast: bool,
}

impl Run<'_> {
    fn problem(&mut self, problem: Problem) -> Result<()> {
        self.tell(&problem)?;
        self.problems.problem(problem);
        Ok(())
    }

    fn tell(&self, problem: &Problem) -> Result<()> {
        self.ctx.monitor.on(&Event::Problem(problem));
        if self.fail_fast && problem.kind == ProblemKind::Damaged {
            let what = format!("{}: {}", String::from_utf8_lossy(&problem.path), problem.what);
            return Err(Error::new(ErrorKind::Damaged, what));
        }
        Ok(())
    }

    /// Fetches and writes the contents of a batch.
    async fn write(&mut self, batch: &Batch) -> Result<()> {
        let lost: HashMap<_, _> = batch.lost.iter().cloned().collect();
        let mut writing = Writing {
            files: Arc::clone(&batch.files),
            uses: HashMap::new(),
            left: Vec::new(),
            whole: Vec::new(),
            failure: Mutex::default(),
            lost: Mutex::default(),
            bytes: AtomicU64::new(0),
        };
        let mut simple = Vec::new();
        for (number, entry) in batch.files.entries().iter().enumerate() {
            let wanted = batch.files.wants(number) && !lost.contains_key(&number);
            let slices =
                if wanted { self.note_uses(&mut writing.uses, number, &batch.extents[number]) } else { 0 };
            writing.left.push(AtomicU32::new(slices));
            writing.whole.push(slices == 1 && batch.extents[number].len() == 1);
            if wanted && slices == 0 {
                simple.push(number);
            }
            if !lost.contains_key(&number) {
                self.report.count(entry);
            }
        }
        let wanted: Vec<_> = writing
            .uses
            .keys()
            .filter_map(|id| Some(Wanted { id: *id, place: self.reader.index.places(id).next()? }))
            .collect();
        let mut failed: Vec<ChunkId> =
            writing.uses.keys().filter(|id| self.reader.index.places(id).next().is_none()).copied().collect();
        let writing = Arc::new(writing);
        self.write_simple(&writing, simple).await?;
        failed.extend(self.write_ranges(&writing, coalesce(wanted)).await?);
        self.retry(batch, &writing, failed).await?;
        for (number, what) in &batch.lost {
            self.give_up(batch, *number, what)?;
        }
        writing.check()
    }

    fn note_uses(&self, uses: &mut HashMap<ChunkId, Vec<Use>>, number: usize, extents: &[Extent]) -> u32 {
        let (mut at, mut slices) = (0, 0);
        for extent in extents {
            if let Extent::Chunk { id, offset, length } = *extent {
                uses.entry(id).or_default().push(Use { entry: number as u32, at, offset, length });
                slices += 1;
            }
            at += extent.length();
        }
        slices
    }

    /// Writes what needs no chunk: inline and empty files, and files that are all hole.
    async fn write_simple(&self, writing: &Arc<Writing>, entries: Vec<usize>) -> Result<()> {
        let writing_there = Arc::clone(writing);
        let job = move || {
            for number in entries {
                let entry = &writing_there.files.entries()[number];
                let result = match &entry.content {
                    Content::Inline(bytes) => writing_there.files.put(number, bytes),
                    Content::None => writing_there.files.put(number, &[]),
                    Content::Extents(_) | Content::Tree(_) => writing_there.files.close(number),
                };
                writing_there.note(result);
            }
        };
        self.ctx.workers.run(job).await;
        writing.check()
    }

    /// Fetches ranges and writes their chunks; returns chunks that could not be used.
    async fn write_ranges(&mut self, writing: &Arc<Writing>, ranges: Vec<Range>) -> Result<Vec<ChunkId>> {
        for range in &ranges {
            self.packs.insert(range.pack);
            self.report.bytes_fetched += range.length;
        }
        let (ctx, reader) = (self.ctx, self.reader);
        let mut results = stream::iter(ranges)
            .map(|range| async move {
                let fetched = reader.fetch(range.pack, range.offset, range.length).await;
                let (reader, writing) = (reader.clone(), Arc::clone(writing));
                ctx.workers.run(move || write_range(&reader, &writing, &range, fetched.ok())).await
            })
            .buffer_unordered(self.ctx.workers.threads() + RANGES_AHEAD);
        let mut failed = Vec::new();
        while let Some(part) = results.next().await {
            failed.extend(part);
            writing.check()?;
            let bytes = writing.bytes.swap(0, Ordering::Relaxed);
            self.ctx.monitor.on(&Event::Done { files: 0, bytes });
            if self.ctx.cancel.is_raised() {
                return Err(Error::interrupted());
            }
        }
        Ok(failed)
    }

    /// Tries chunks that failed in every pack that has them; files that still lack one are given up.
    async fn retry(&mut self, batch: &Batch, writing: &Arc<Writing>, failed: Vec<ChunkId>) -> Result<()> {
        for id in failed {
            match self.reader.data(&id).await {
                Ok(plaintext) => writing.write(&id, &plaintext),
                Err(error) => {
                    for wanted in writing.uses.get(&id).into_iter().flatten() {
                        if lock(&writing.lost).insert(wanted.entry, true) != Some(true) {
                            self.give_up(batch, wanted.entry as usize, &chain(&error))?;
                        }
                    }
                }
            }
        }
        let untold: Vec<_> =
            lock(&writing.lost).iter().filter(|(_, told)| !**told).map(|(entry, _)| *entry).collect();
        for entry in untold {
            self.give_up(batch, entry as usize, "its extents do not fit the chunks that they name")?;
        }
        Ok(())
    }

    fn give_up(&mut self, batch: &Batch, number: usize, what: &str) -> Result<()> {
        batch.files.discard(number)?;
        let entry = &batch.files.entries()[number];
        if !batch.lost.iter().any(|(lost, _)| *lost == number) {
            self.report.files -= 1;
            self.report.bytes = self.report.bytes.saturating_sub(entry.size);
        }
        self.problem(Problem {
            path: batch.paths[number].clone(),
            kind: ProblemKind::Damaged,
            what: format!("not restored: {what}"),
        })
    }
}

/// Opens and writes the chunks of one range; returns those that could not be used.
fn write_range(reader: &Reader, writing: &Writing, range: &Range, fetched: Option<Bytes>) -> Vec<ChunkId> {
    let Some(bytes) = fetched else { return range.chunks.iter().map(|chunk| chunk.id).collect() };
    let (mut decompressor, mut plaintext, mut sealed) = (Decompressor::new(), Vec::new(), Vec::new());
    let mut failed = Vec::new();
    for chunk in &range.chunks {
        sealed.clear();
        sealed.extend_from_slice(slice(&bytes, range, chunk.place.offset, chunk.place.length));
        let opened = reader.open_data(chunk, &mut sealed, &mut decompressor, &mut plaintext);
        match opened {
            Ok(()) => writing.write(&chunk.id, &plaintext),
            Err(_) => failed.push(chunk.id),
        }
    }
    failed
}
