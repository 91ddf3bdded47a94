//! Fetches the contents of a batch and hands them to the target.
//!
//! On purpose not here: which entries, and how a target writes.

use super::compare::{Difference, compare};
use super::verify::split;
use super::{Batch, Carry, RestoreOptions, RestoreReport, chain};
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::outcome::{Problem, ProblemKind, Problems};
use crate::reader::{Range, Reader, Wanted, coalesce, slice};
use crate::target::{TargetError, Want};
use crate::workers::lock;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use holdfast_core::compress::Decompressor;
use holdfast_core::entry::{Content, Entry, Extent};
use holdfast_core::id::ChunkId;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Ranges that are fetched at the same time, beyond one for each worker.
const RANGES_AHEAD: usize = 2;
/// Files that one worker compares before it looks up, and their bytes.
const COMPARE_FILES: usize = 64;
const COMPARE_BYTES: u64 = 16 << 20;
/// Files that need no chunk, and that one worker ends before it looks up, at least.
const SIMPLE_FILES_MIN: usize = 64;

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
    batch: Arc<Batch>,
    carry: Carry,
    uses: HashMap<ChunkId, Vec<Use>>,
    /// Slices that each file still waits for.
    left: Vec<AtomicU32>,
    /// Files that are one slice and are put whole.
    whole: HashSet<u32>,
    /// Holes that are to be made in files, should they be patched: the file, where, how long.
    holes: HashMap<usize, Vec<(u64, u64)>>,
    failure: Mutex<Option<TargetError>>,
    /// Files that will not be whole, and whether that was told; nothing more is written to them.
    lost: Mutex<HashMap<u32, bool>>,
    /// Bytes that are to be taken from chunks.
    to_write: u64,
    bytes: AtomicU64,
    /// The file that was written to last.
    last: AtomicU32,
}

impl Writing {
    fn new(batch: Arc<Batch>, carry: Carry) -> Self {
        Self {
            batch,
            carry,
            uses: HashMap::new(),
            left: Vec::new(),
            whole: HashSet::new(),
            holes: HashMap::new(),
            failure: Mutex::default(),
            lost: Mutex::default(),
            to_write: 0,
            bytes: AtomicU64::new(0),
            last: AtomicU32::new(0),
        }
    }

    /// Notes what is to be written of a file; tells how many slices that is.
    fn note_uses(&mut self, number: usize, difference: &Difference) -> u32 {
        let extents = &self.batch.extents[number];
        let parts = match difference {
            Difference::None => return 0,
            Difference::Whole => None,
            Difference::Parts(parts) => Some(parts),
        };
        let entry = number as u32;
        let (mut at, mut slices) = (0, 0);
        for (part, extent) in extents.iter().enumerate() {
            let wanted = parts.is_none_or(|parts| parts.binary_search(&(part as u32)).is_ok());
            match *extent {
                Extent::Chunk { id, offset, length } if wanted => {
                    self.to_write += u64::from(length);
                    self.uses.entry(id).or_default().push(Use { entry, at, offset, length });
                    slices += 1;
                }
                // A new file has holes wherever nothing is written, and ignores this.
                Extent::Hole { length } if wanted => {
                    self.holes.entry(number).or_default().push((at, length));
                }
                _ => {}
            }
            at += extent.length();
        }
        if slices == 1 && extents.len() == 1 && parts.is_none() {
            self.whole.insert(entry);
        }
        slices
    }

    /// Counts what would be written.
    fn count(&self) {
        let mut bytes = HashMap::<u32, u64>::new();
        for wanted in self.uses.values().flatten() {
            *bytes.entry(wanted.entry).or_default() += u64::from(wanted.length);
        }
        let lost = lock(&self.lost);
        for (entry, bytes) in bytes.iter().filter(|(entry, _)| !lost.contains_key(entry)) {
            self.batch.files.would_write(*entry as usize, *bytes);
        }
    }

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
            let whole = self.whole.contains(&wanted.entry);
            let files = &self.batch.files;
            let result = if whole { files.put(entry, part) } else { files.write_at(entry, wanted.at, part) };
            self.note(result);
            if self.left[entry].fetch_sub(1, Ordering::AcqRel) == 1 && !whole {
                self.note(self.close(entry));
            }
            self.bytes.fetch_add(u64::from(wanted.length), Ordering::Relaxed);
            self.last.store(wanted.entry, Ordering::Relaxed);
        }
    }

    /// Makes the holes of a file that was patched, and ends it.
    fn close(&self, entry: usize) -> std::result::Result<(), TargetError> {
        for (at, length) in self.holes.get(&entry).into_iter().flatten() {
            self.batch.files.clear(entry, *at, *length)?;
        }
        self.batch.files.close(entry)
    }

    /// Ends a file that needs no chunk.
    fn simple(&self, number: usize, difference: Option<&Difference>) {
        let files = &self.batch.files;
        let entry = &files.entries()[number];
        self.note(match (difference, &entry.content) {
            (Some(Difference::None), _) => files.keep(number),
            _ if self.carry != Carry::Out => {
                files.would_write(number, inline_bytes(entry));
                Ok(())
            }
            (_, Content::Inline(bytes)) => files.put(number, bytes),
            (_, Content::None) => files.put(number, &[]),
            _ => self.close(number),
        });
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

/// Compares, fetches and writes batch after batch.
pub(super) struct Writer<'a> {
    ctx: &'a Ctx,
    reader: &'a Reader,
    report: RestoreReport,
    problems: Problems,
    packs: HashSet<u32>,
    /// Packs that lie in an archive: all of them are met before the run ends, so all are told.
    archived: HashSet<u32>,
    fail_fast: bool,
    carry: Carry,
}

impl<'a> Writer<'a> {
    pub(super) fn new(ctx: &'a Ctx, reader: &'a Reader, options: &RestoreOptions) -> Self {
        Self {
            ctx,
            reader,
            report: RestoreReport::default(),
            problems: Problems::default(),
            packs: HashSet::new(),
            archived: HashSet::new(),
            fail_fast: options.fail_fast,
            carry: options.carry,
        }
    }

    pub(super) fn finish(self) -> (RestoreReport, Problems) {
        let packs = self.packs.len() as u64;
        let name = |pack: u32| Some(self.reader.index.pack(pack).ok()?.row.id.name().clone());
        let mut archived: Vec<_> = self.archived.into_iter().filter_map(name).collect();
        archived.sort_unstable();
        (RestoreReport { packs, archived, ..self.report }, self.problems)
    }

    /// Packs that were needed of those that lie in an archive, by name.
    pub(super) fn needed(&self, options: &RestoreOptions) -> Vec<String> {
        let Some(cold) = &options.cold else { return Vec::new() };
        let name = |pack: &u32| Some(self.reader.index.pack(*pack).ok()?.row.id.name().clone());
        let mut needed: Vec<_> = self.packs.iter().filter_map(name).collect();
        needed.retain(|name| cold.contains_key(name));
        needed.sort_unstable();
        needed
    }

    pub(super) fn problem(&mut self, problem: Problem) -> Result<()> {
        self.tell(&problem)?;
        self.problems.problem(problem);
        Ok(())
    }

    /// Takes in what was found elsewhere.
    pub(super) fn absorb(&mut self, found: Problems) -> Result<()> {
        found.problems.iter().try_for_each(|problem| self.tell(problem))?;
        self.problems.absorb(found);
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

    /// Compares, fetches and writes the contents of a batch.
    pub(super) async fn write(&mut self, batch: &Arc<Batch>) -> Result<()> {
        let wants = self.wants(batch).await?;
        let mut writing = Writing::new(Arc::clone(batch), self.carry);
        let (mut simple, mut bytes) = (Vec::new(), 0u64);
        for (number, want) in wants.into_iter().enumerate() {
            let lost = batch.is_lost(number);
            if !lost {
                bytes = bytes.saturating_add(batch.files.entries()[number].size);
            }
            let slices = match &want {
                Some(difference) if !lost => writing.note_uses(number, difference),
                _ => 0,
            };
            writing.left.push(AtomicU32::new(slices));
            if slices == 0 && !lost && want.is_some() {
                simple.push((number, want));
            }
        }
        // What is there already, holes and what lies in entries count as done.
        let bytes = bytes.saturating_sub(writing.to_write);
        self.ctx.monitor.on(&Event::Done { files: 0, bytes });
        let index = &self.reader.index;
        let (mut wanted, mut failed) = (Vec::new(), Vec::new());
        for id in writing.uses.keys() {
            match index.place(id)? {
                Some(place) => wanted.push(Wanted { id: *id, place }),
                None => failed.push(*id),
            }
        }
        let ranges = coalesce(wanted);
        self.report.ranges += ranges.len() as u64;
        for range in &ranges {
            self.packs.insert(range.pack);
            self.report.bytes_fetched += range.length;
        }
        // What can never be whole is not begun: what is at the target stays as it is.
        let hopeless = failed.iter().filter_map(|id| writing.uses.get(id)).flatten();
        lock(&writing.lost).extend(hopeless.map(|wanted| (wanted.entry, false)));
        let writing = Arc::new(writing);
        self.write_simple(&writing, simple).await?;
        if self.carry == Carry::Out {
            failed.extend(self.write_ranges(&writing, ranges).await?);
            self.retry(batch, &writing, failed).await?;
        } else {
            self.give_up_all(batch, &writing, &failed)?;
        }
        for (number, what) in &batch.lost {
            self.give_up(batch, *number, what)?;
        }
        self.count(batch, &writing);
        writing.check()
    }

    /// What is to be written of each file; nothing of those that are not wanted.
    async fn wants(&self, batch: &Arc<Batch>) -> Result<Vec<Option<Difference>>> {
        let (mut wants, mut jobs, mut bytes) = (Vec::new(), vec![Vec::new()], 0);
        for (number, entry) in batch.files.entries().iter().enumerate() {
            wants.push(match batch.files.wants(number) {
                Want::Nothing => None,
                _ if self.carry == Carry::Survey => None,
                Want::Whole => Some(Difference::Whole),
                Want::Keep => Some(Difference::None),
                Want::Compare if batch.is_lost(number) => None,
                Want::Compare => {
                    if bytes > COMPARE_BYTES || jobs.last().is_some_and(|job| job.len() >= COMPARE_FILES) {
                        jobs.push(Vec::new());
                        bytes = 0;
                    }
                    bytes = entry.size.saturating_add(bytes);
                    jobs.last_mut().into_iter().for_each(|job| job.push(number));
                    Some(Difference::Whole)
                }
            });
        }
        let identifier = self.reader.identifier()?;
        let mut results = stream::iter(jobs)
            .map(|job| {
                let (batch, identifier) = (Arc::clone(batch), identifier.clone());
                let cancel = self.ctx.cancel.clone();
                self.ctx.workers.run(move || {
                    let mut buffer = Vec::new();
                    let alive = job.into_iter().take_while(|_| !cancel.is_raised());
                    let compared = alive.map(|number| {
                        let extents = &batch.extents[number];
                        (number, compare(&*batch.files, number, extents, &identifier, &mut buffer))
                    });
                    compared.collect::<Vec<_>>()
                })
            })
            .buffer_unordered(self.ctx.workers.threads().max(1));
        while let Some(compared) = results.next().await {
            for (number, difference) in compared {
                self.ctx.monitor.on(&Event::Current(&batch.paths[number]));
                wants[number] = Some(difference);
            }
            if self.ctx.cancel.is_raised() {
                return Err(Error::interrupted());
            }
        }
        Ok(wants)
    }

    /// Ends what needs no chunk: files that are the same, inline and empty ones, and those of
    /// which only holes or the length differ.
    async fn write_simple(
        &self,
        writing: &Arc<Writing>,
        entries: Vec<(usize, Option<Difference>)>,
    ) -> Result<()> {
        let share = entries.len().div_ceil(4 * self.ctx.workers.threads().max(1)).max(SIMPLE_FILES_MIN);
        let jobs = split(entries, share).into_iter().map(|part| {
            let writing = Arc::clone(writing);
            self.ctx.workers.run(move || {
                part.into_iter().for_each(|(number, difference)| writing.simple(number, difference.as_ref()));
            })
        });
        stream::iter(jobs).buffer_unordered(self.ctx.workers.threads().max(1)).collect::<()>().await;
        writing.check()
    }

    /// Fetches ranges and writes their chunks; returns chunks that could not be used.
    async fn write_ranges(&mut self, writing: &Arc<Writing>, ranges: Vec<Range>) -> Result<Vec<ChunkId>> {
        let (ctx, reader) = (self.ctx, self.reader);
        let mut results = stream::iter(ranges)
            .map(|range| async move {
                let fetched = reader.fetch(range.pack, range.offset, range.length).await;
                let (reader, writing) = (reader.clone(), Arc::clone(writing));
                let archived = fetched.as_ref().is_err_and(Error::is_archived).then_some(range.pack);
                let write = move || write_range(&reader, &writing, &range, fetched.ok());
                (archived, ctx.workers.run(write).await)
            })
            .buffer_unordered(self.ctx.workers.threads() + RANGES_AHEAD);
        let mut failed = Vec::new();
        while let Some((archived, part)) = results.next().await {
            self.archived.extend(archived);
            failed.extend(part);
            writing.check()?;
            let (bytes, last) =
                (writing.bytes.swap(0, Ordering::Relaxed), writing.last.load(Ordering::Relaxed));
            self.ctx.monitor.on(&Event::Current(&writing.batch.paths[last as usize]));
            self.ctx.monitor.on(&Event::Done { files: 0, bytes });
            if self.ctx.cancel.is_raised() {
                return Err(Error::interrupted());
            }
        }
        Ok(failed)
    }

    /// Tries chunks that failed in every pack that has them; files that still lack one are given up.
    async fn retry(&mut self, batch: &Batch, writing: &Writing, failed: Vec<ChunkId>) -> Result<()> {
        for id in failed {
            match self.reader.data(&id).await {
                Ok(plaintext) => writing.write(&id, &plaintext),
                Err(error) => self.give_up_users(batch, writing, &id, &chain(&error))?,
            }
        }
        let untold: Vec<_> =
            lock(&writing.lost).iter().filter(|(_, told)| !**told).map(|(entry, _)| *entry).collect();
        for entry in untold {
            self.give_up(batch, entry as usize, "its extents do not fit the chunks that they name")?;
        }
        Ok(())
    }

    /// In a rehearsal nothing is tried.
    fn give_up_all(&mut self, batch: &Batch, writing: &Writing, failed: &[ChunkId]) -> Result<()> {
        failed.iter().try_for_each(|id| {
            let what = chain(&crate::reader::missing(id));
            self.give_up_users(batch, writing, id, &what)
        })?;
        writing.count();
        Ok(())
    }

    fn give_up_users(&mut self, batch: &Batch, writing: &Writing, id: &ChunkId, what: &str) -> Result<()> {
        for wanted in writing.uses.get(id).into_iter().flatten() {
            if lock(&writing.lost).insert(wanted.entry, true) != Some(true) {
                self.give_up(batch, wanted.entry as usize, what)?;
            }
        }
        Ok(())
    }

    /// Counts what is restored: its content could be had, and the target took it.
    fn count(&mut self, batch: &Batch, writing: &Writing) {
        let lost = lock(&writing.lost);
        for (number, entry) in batch.files.entries().iter().enumerate() {
            let given_up = batch.is_lost(number) || lost.contains_key(&(number as u32));
            if !given_up && batch.files.takes(number) {
                self.report.count(entry);
            }
        }
    }

    fn give_up(&mut self, batch: &Batch, number: usize, what: &str) -> Result<()> {
        if self.carry == Carry::Out {
            batch.files.discard(number)?;
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

/// Bytes of content that lie in the entry itself.
fn inline_bytes(entry: &Entry) -> u64 {
    match &entry.content {
        Content::Inline(bytes) => bytes.len() as u64,
        _ => 0,
    }
}
