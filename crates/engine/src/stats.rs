//! Measures what snapshots take: their own size, what the repository stores for them, and what
//! only one of them holds.
//!
//! Every page is read once, and once more when a second snapshot turns out to share it. Memory:
//! about 40 bytes for each page and chunk, and 8 for each slice of a bundle that is referred to.
//! On purpose not here: what to forget, and percentages.

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::index::{IdMap, Index};
use crate::outcome::{Outcome, Problem, ProblemKind, Problems};
use crate::reader::Reader;
use crate::repository::{Repository, list_own};
use crate::restore::chain;
use crate::snapshots::Snapshot;
use holdfast_core::entry::{Content, Extent};
use holdfast_core::entry_code::Refs;
use holdfast_core::id::{ChunkId, SessionId};
use holdfast_core::index::ChunkKey;
use holdfast_core::page::{Page, PageBody};
use std::collections::HashSet;
use std::collections::hash_map::Entry;

/// Pages that are fetched together.
const PAGES_AT_ONCE: usize = 64;
/// Set in a mark when more than one snapshot refers to the thing.
const SHARED: u32 = 1 << 31;
/// Slices of one chunk that are kept before they are joined.
const SLICES_LOOSE_MAX: usize = 64;

/// How closely is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatsMode {
    /// Only what the snapshots' own records say: no tree is read.
    RestoreSize,
    /// All trees: what is stored for them, and what only one of them holds.
    Full,
}

/// What one snapshot takes.
#[derive(Debug, Clone)]
pub struct SnapshotStats {
    /// Which one.
    pub snapshot: Snapshot,
    /// What only it refers to, as stored, in bytes; what forgetting it alone would free.
    pub unique_bytes: Option<u64>,
}

/// What the snapshots that were asked for take together.
#[derive(Debug, Clone, Default)]
pub struct StatsReport {
    /// Each of them, oldest first.
    pub snapshots: Vec<SnapshotStats>,
    /// Files of all of them.
    pub files: u64,
    /// Their size, holes included, in bytes.
    pub bytes: u64,
    /// What reading the trees told.
    pub stored: Option<StoredStats>,
    /// Snapshots in the repository.
    pub snapshots_all: u64,
    /// All objects of the repository, in bytes.
    pub repository_bytes: u64,
    /// Packs among them, in bytes.
    pub pack_bytes: u64,
    /// The log of databases among them, in bytes.
    pub log_bytes: u64,
}

/// What is stored for the snapshots that were asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoredStats {
    /// Whether pages could be opened: with a key that does not, what files take of chunks is not known,
    /// and the three figures of contents are 0.
    pub opened: bool,
    /// Data chunks that they refer to.
    pub chunks: u64,
    /// What these take, in bytes.
    pub chunk_bytes: u64,
    /// Pages of their trees.
    pub pages: u64,
    /// What these take, in bytes.
    pub page_bytes: u64,
    /// Their different contents, in bytes, each once; those in pages once for each page.
    pub content_bytes: u64,
    /// The part of it that lies in pages: files of a few hundred bytes.
    pub inline_bytes: u64,
    /// Content of the chunks that no file of theirs refers to any more, in bytes; at least.
    pub slack_bytes: u64,
    /// What lies in packs and no snapshot at all refers to, in bytes, with what packs need themselves.
    pub unreferenced_bytes: u64,
}

/// Measures snapshots: those that are named, or all. A part of a tree that cannot be read is a
/// problem; then the figures are too small.
///
/// # Errors
/// The repository cannot be read, or the run was asked to stop.
pub async fn stats(
    ctx: &Ctx,
    repository: &Repository,
    of: Option<&[SessionId]>,
    mode: StatsMode,
) -> Result<Outcome<StatsReport>> {
    let view = repository.view().await?;
    let all = view.snapshots();
    let wanted: Option<HashSet<SessionId>> = of.map(|ids| ids.iter().copied().collect());
    let is_wanted = |snapshot: &Snapshot| wanted.as_ref().is_none_or(|ids| ids.contains(&snapshot.id));
    let (chosen, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_wanted);
    let mut report =
        StatsReport { snapshots_all: (chosen.len() + others.len()) as u64, ..StatsReport::default() };
    for meta in list_own(&**repository.store()).await? {
        report.repository_bytes += meta.size;
        match meta.key.as_str().split('/').next() {
            Some("packs") => report.pack_bytes += meta.size,
            Some("wal") => report.log_bytes += meta.size,
            _ => {}
        }
    }
    for snapshot in &chosen {
        report.files += snapshot.summary.counts.files;
        report.bytes = report.bytes.saturating_add(snapshot.summary.counts.bytes);
    }
    let mut problems = Problems::default();
    let mut unique = Vec::new();
    if mode == StatsMode::Full {
        let reader = Reader::of_refs(repository, view)?;
        let walked: Vec<&Snapshot> = chosen.iter().chain(&others).collect();
        if walked.len() >= SHARED as usize {
            return Err(Error::new(ErrorKind::Usage, "too many snapshots to be told apart"));
        }
        ctx.monitor.on(&Event::Expected { files: walked.len() as u64, bytes: 0 });
        let mut survey = Survey::new(ctx, &reader, chosen.len(), &mut problems);
        for (number, snapshot) in walked.iter().enumerate() {
            survey.walk(number as u32, snapshot).await?;
            ctx.monitor.on(&Event::Done { files: 1, bytes: 0 });
        }
        unique = survey.unique_bytes()?;
        report.stored = Some(survey.sum(report.pack_bytes)?);
    }
    let rows = chosen.into_iter().enumerate();
    let rows = rows.map(|(at, snapshot)| SnapshotStats { snapshot, unique_bytes: unique.get(at).copied() });
    report.snapshots = rows.collect();
    Ok(Outcome { value: report, problems })
}

/// Who refers to what.
struct Survey<'a> {
    ctx: &'a Ctx,
    reader: &'a Reader,
    /// Snapshots with smaller numbers were asked for.
    chosen: usize,
    pages: IdMap<u32>,
    chunks: IdMap<u32>,
    slices: IdMap<Slices>,
    inline_bytes: u64,
    problems: &'a mut Problems,
}

impl<'a> Survey<'a> {
    fn new(ctx: &'a Ctx, reader: &'a Reader, chosen: usize, problems: &'a mut Problems) -> Self {
        let (pages, chunks, slices) = (IdMap::default(), IdMap::default(), IdMap::default());
        Self { ctx, reader, chosen, pages, chunks, slices, inline_bytes: 0, problems }
    }

    /// Marks all that a snapshot refers to. What another has marked is entered once more, so that
    /// all below it is known to be shared, and then never again.
    async fn walk(&mut self, number: u32, snapshot: &Snapshot) -> Result<()> {
        let mut stack = vec![snapshot.summary.root];
        while !stack.is_empty() {
            if self.ctx.cancel.is_raised() {
                return Err(Error::interrupted());
            }
            let mut ids = stack.split_off(stack.len().saturating_sub(PAGES_AT_ONCE));
            let mut fresh = Vec::with_capacity(ids.len());
            ids.retain(|id| {
                let mark = mark(&mut self.pages, ChunkKey::from(id), number);
                fresh.extend((mark != Mark::Known).then_some(mark == Mark::New));
                mark != Mark::Known
            });
            if !self.reader.opens() {
                for (id, refs) in ids.iter().zip(self.reader.refs(&ids).await) {
                    match refs {
                        Ok(refs) => self.note_refs(number, &refs, &mut stack),
                        Err(error) => self.damaged(snapshot, id, &error),
                    }
                }
                continue;
            }
            // Fewer may come at a time than were asked for.
            while !ids.is_empty() {
                let pages = self.reader.pages(&ids).await;
                let come = pages.len();
                for ((id, fresh), page) in ids.drain(..come).zip(fresh.drain(..come)).zip(pages) {
                    match page {
                        Ok(page) => self.note(number, &page, fresh, &mut stack),
                        Err(error) => self.damaged(snapshot, &id, &error),
                    }
                }
            }
        }
        Ok(())
    }

    fn note_refs(&mut self, number: u32, refs: &Refs, stack: &mut Vec<ChunkId>) {
        for chunk in &refs.chunks {
            mark(&mut self.chunks, ChunkKey::from(chunk), number);
        }
        stack.extend(&refs.children);
    }

    fn note(&mut self, number: u32, page: &Page, fresh: bool, stack: &mut Vec<ChunkId>) {
        self.note_refs(number, &page.refs, stack);
        // Pages of chosen snapshots come first, so a page that is new later is not theirs.
        if !fresh || number as usize >= self.chosen {
            return;
        }
        match &page.body {
            PageBody::Entries(entries) => {
                for entry in entries {
                    match &entry.content {
                        Content::Extents(extents) => self.note_slices(extents),
                        Content::Inline(bytes) => self.inline_bytes += bytes.len() as u64,
                        Content::None | Content::Tree(_) => {}
                    }
                }
            }
            PageBody::Extents { extents, .. } => self.note_slices(extents),
            PageBody::Children(_) => {}
        }
    }

    fn note_slices(&mut self, extents: &[Extent]) {
        for extent in extents {
            if let Extent::Chunk { id, offset, length } = *extent {
                self.slices.entry(ChunkKey::from(&id)).or_default().add(offset, length);
            }
        }
    }

    fn damaged(&mut self, snapshot: &Snapshot, page: &ChunkId, error: &Error) {
        let path = format!("snapshot {}", &snapshot.id.to_string()[..8]).into_bytes();
        let what = format!("a part is not counted (page {}): {}", &page.to_string()[..16], chain(error));
        let problem = Problem { path, kind: ProblemKind::Damaged, what };
        self.ctx.monitor.on(&Event::Problem(&problem));
        self.problems.problem(problem);
    }

    /// For each chosen snapshot what only it refers to.
    fn unique_bytes(&self) -> Result<Vec<u64>> {
        let mut unique = vec![0; self.chosen];
        for (key, &mark) in self.pages.iter().chain(&self.chunks) {
            if let Some(bytes) = unique.get_mut(mark as usize) {
                *bytes += stored_bytes(&self.reader.index, key)?;
            }
        }
        Ok(unique)
    }

    fn sum(self, pack_bytes: u64) -> Result<StoredStats> {
        let opened = self.reader.opens();
        let (mut stats, mut referenced) = (StoredStats { opened, ..StoredStats::default() }, 0);
        for (key, mark) in &self.pages {
            let bytes = stored_bytes(&self.reader.index, key)?;
            referenced += bytes;
            if self.is_chosen(*mark) {
                stats.pages += 1;
                stats.page_bytes += bytes;
            }
        }
        for (key, mark) in &self.chunks {
            let bytes = stored_bytes(&self.reader.index, key)?;
            referenced += bytes;
            if self.is_chosen(*mark) {
                stats.chunks += 1;
                stats.chunk_bytes += bytes;
            }
        }
        (stats.inline_bytes, stats.content_bytes) = (self.inline_bytes, self.inline_bytes);
        for slices in self.slices.into_values() {
            let (used, end) = slices.sum();
            stats.content_bytes += used;
            stats.slack_bytes += end - used;
        }
        stats.unreferenced_bytes = pack_bytes.saturating_sub(referenced);
        Ok(stats)
    }

    /// The first snapshot to mark a thing is a chosen one if any of them refers to it.
    const fn is_chosen(&self, mark: u32) -> bool {
        ((mark & !SHARED) as usize) < self.chosen
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Nobody had it.
    New,
    /// Another had it alone.
    Second,
    /// It was marked so already.
    Known,
}

fn mark(marks: &mut IdMap<u32>, key: ChunkKey, number: u32) -> Mark {
    match marks.entry(key) {
        Entry::Vacant(free) => {
            free.insert(number);
            Mark::New
        }
        Entry::Occupied(taken) if *taken.get() == number || *taken.get() & SHARED != 0 => Mark::Known,
        Entry::Occupied(mut taken) => {
            *taken.get_mut() |= SHARED;
            Mark::Second
        }
    }
}

/// What a chunk takes where it is relied on; a second copy elsewhere counts as unreferenced.
fn stored_bytes(index: &Index, key: &ChunkKey) -> Result<u64> {
    Ok(index.live(key)?.map_or(0, |place| place.length.bytes().into()))
}

/// Stretches of a chunk that are referred to.
#[derive(Debug, Default)]
struct Slices {
    /// Begin and end; joined and ascending up to `joined`.
    parts: Vec<(u32, u32)>,
    joined: usize,
}

impl Slices {
    fn add(&mut self, offset: u32, length: u32) {
        self.parts.push((offset, offset.saturating_add(length)));
        if self.parts.len() > 2 * self.joined + SLICES_LOOSE_MAX {
            self.join();
        }
    }

    fn join(&mut self) {
        self.parts.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::new();
        for &(from, to) in &self.parts {
            match joined.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => joined.push((from, to)),
            }
        }
        self.joined = joined.len();
        self.parts = joined;
    }

    /// How many bytes are referred to, and where the last of them ends.
    fn sum(mut self) -> (u64, u64) {
        self.join();
        let used = self.parts.iter().map(|(from, to)| u64::from(to - from)).sum();
        (used, self.parts.last().map_or(0, |part| part.1.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_count_once() {
        let mut slices = Slices::default();
        for round in 0..1000u32 {
            slices.add(round % 10 * 100, 50);
            slices.add(20, 10);
        }
        assert!(slices.parts.len() <= 2 * 10 + SLICES_LOOSE_MAX);
        slices.add(950, 50);
        assert_eq!(slices.sum(), (550, 1000));
        assert_eq!(Slices::default().sum(), (0, 0));
    }

    #[test]
    fn a_second_owner_makes_it_shared() {
        let (mut marks, key) = (IdMap::default(), ChunkKey([7; 24]));
        let told: Vec<_> = [0, 0, 1, 1, 0, 2].map(|number| mark(&mut marks, key, number)).into();
        use Mark::{Known, New, Second};
        assert_eq!(told, [New, Known, Second, Known, Known, Known]);
        assert_eq!(marks[&key], SHARED);
    }
}
