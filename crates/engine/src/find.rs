//! Searches many snapshots for entries, reading each page that they share once.
//!
//! What a page holds of interest is remembered by its id, so a thousand snapshots of a tree that
//! hardly changes cost little more than one. On purpose not here: what matches; the caller says.

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::outcome::{Outcome, Problems};
use crate::reader::Reader;
use crate::repository::Repository;
use crate::restore::lost_part;
use crate::snapshots::Snapshot;
use crate::tree::{Held, Pending};
use futures::future::BoxFuture;
use holdfast_core::entry::{Content, Entry, Xattrs};
use holdfast_core::id::ChunkId;
use holdfast_core::page::Page;
use std::collections::HashMap;
use std::sync::Arc;

/// Pages that are fetched together.
const PAGES_AT_ONCE: usize = 32;
/// What is remembered of searched pages, in bytes, about; twice as much while it is renewed.
const MEMORY_BYTES_MAX: usize = 32 << 20;

/// Decides whether an entry is searched for.
pub type Matches<'a> = &'a (dyn Fn(&Entry) -> bool + Send + Sync);

/// Takes what was found, snapshot by snapshot, in order of the keys; without places of contents
/// and without extended attributes, which would take memory for nothing.
pub type TakeFound<'a> = &'a mut (dyn FnMut(&Snapshot, &Entry) + Send);

/// How a search went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FindReport {
    /// Snapshots that were searched.
    pub snapshots: u64,
    /// Snapshots in which something was found.
    pub snapshots_matching: u64,
    /// Entries that were found, once for each snapshot that holds them.
    pub matches: u64,
    /// Pages that were read.
    pub pages_read: u64,
}

/// Searches snapshots in the order given. A part that cannot be read is a problem; the search
/// goes on behind it.
///
/// # Errors
/// The repository cannot be read, or the run was asked to stop.
pub async fn find(
    ctx: &Ctx,
    repository: &Repository,
    snapshots: &[Snapshot],
    matches: Matches<'_>,
    take: TakeFound<'_>,
) -> Result<Outcome<FindReport>> {
    let reader = Reader::new(repository, repository.view().await?)?;
    let mut search = Search {
        ctx,
        reader: &reader,
        matches,
        take,
        memory: Memory::default(),
        report: FindReport::default(),
        problems: Problems::default(),
    };
    ctx.monitor.on(&Event::Expected { files: snapshots.len() as u64, bytes: 0 });
    for snapshot in snapshots {
        let before = search.report.matches;
        if let Some(problem) = repository.problem_of(snapshot).await? {
            ctx.monitor.on(&Event::Problem(&problem));
            search.problems.problem(problem);
            continue;
        }
        search.visit(snapshot, Pending::root(snapshot.summary.root), None).await?;
        search.report.snapshots += 1;
        search.report.snapshots_matching += u64::from(search.report.matches > before);
        ctx.monitor.on(&Event::Done { files: 1, bytes: 0 });
    }
    Ok(Outcome { value: search.report, problems: search.problems })
}

/// What a page is remembered for.
#[derive(Debug, Clone)]
enum Known {
    /// Nothing below it matches.
    Barren,
    /// These entries in it match.
    Entries(Arc<[Entry]>),
    /// Something below these pages matches, or could not be read.
    Pages(Arc<[Pending]>),
    /// It cannot be read; that was told.
    Damaged,
}

impl Known {
    /// What it takes in memory, about.
    fn bytes(&self) -> usize {
        const ROW_BYTES: usize = 96;
        let held: usize = match self {
            Self::Barren | Self::Damaged => 0,
            Self::Entries(entries) => {
                let target = |entry: &Entry| entry.attributes.link_target.as_ref().map_or(0, Vec::len);
                entries.iter().map(|entry| size_of::<Entry>() + entry.key.len() + target(entry)).sum()
            }
            Self::Pages(pages) => pages.iter().map(|page| size_of::<Pending>() + 2 * page.from.len()).sum(),
        };
        ROW_BYTES + held
    }
}

fn strip(entry: &mut Entry) {
    entry.content = Content::None;
    entry.attributes.xattrs = Xattrs::None;
}

/// Remembers pages; when it is full, those that were not asked for lately are forgotten.
#[derive(Default)]
struct Memory {
    young: HashMap<ChunkId, Known>,
    young_bytes: usize,
    old: HashMap<ChunkId, Known>,
}

impl Memory {
    fn recall(&mut self, id: &ChunkId) -> Option<Known> {
        if let Some(known) = self.young.get(id) {
            return Some(known.clone());
        }
        let known = self.old.remove(id)?;
        self.keep(*id, known.clone());
        Some(known)
    }

    fn has(&self, id: &ChunkId) -> bool {
        self.young.contains_key(id) || self.old.contains_key(id)
    }

    fn keep(&mut self, id: ChunkId, known: Known) {
        let bytes = known.bytes();
        if self.young_bytes + bytes > MEMORY_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if bytes <= MEMORY_BYTES_MAX {
            self.young_bytes += bytes;
            self.young.insert(id, known);
        }
    }
}

struct Search<'a> {
    ctx: &'a Ctx,
    reader: &'a Reader,
    matches: Matches<'a>,
    take: TakeFound<'a>,
    memory: Memory,
    report: FindReport,
    problems: Problems,
}

impl Search<'_> {
    /// Searches a page and all below it; tells whether it has to be entered again for another snapshot.
    fn visit<'s>(
        &'s mut self,
        snapshot: &'s Snapshot,
        pending: Pending,
        page: Option<Result<Page>>,
    ) -> BoxFuture<'s, Result<bool>> {
        Box::pin(async move {
            match self.memory.recall(&pending.id) {
                Some(Known::Barren) => return Ok(false),
                Some(Known::Damaged) => return Ok(true),
                Some(Known::Entries(entries)) => {
                    entries.iter().for_each(|entry| self.found(snapshot, entry));
                    return Ok(true);
                }
                Some(Known::Pages(pages)) => {
                    self.visit_all(snapshot, pages.to_vec()).await?;
                    return Ok(true);
                }
                None => {}
            }
            let page = match page {
                Some(page) => page,
                None => {
                    self.report.pages_read += 1;
                    self.reader.page(&pending.id).await
                }
            };
            let known = match page.and_then(|page| pending.open(page)) {
                Ok(Held::Entries(mut entries)) => {
                    entries.retain(|entry| (self.matches)(entry));
                    entries.iter_mut().for_each(strip);
                    entries.iter().for_each(|entry| self.found(snapshot, entry));
                    if entries.is_empty() { Known::Barren } else { Known::Entries(entries.into()) }
                }
                Ok(Held::Pages(pages)) => match self.visit_all(snapshot, pages).await? {
                    fruitful if fruitful.is_empty() => Known::Barren,
                    fruitful => Known::Pages(fruitful.into()),
                },
                Err(error) => {
                    self.damaged(snapshot, &pending, &error);
                    Known::Damaged
                }
            };
            let enter = !matches!(known, Known::Barren);
            self.memory.keep(pending.id, known);
            Ok(enter)
        })
    }

    /// Searches pages in their order; those that nobody knows are fetched some at a time.
    async fn visit_all(&mut self, snapshot: &Snapshot, pages: Vec<Pending>) -> Result<Vec<Pending>> {
        let mut fruitful = Vec::new();
        for part in pages.chunks(PAGES_AT_ONCE) {
            if self.ctx.cancel.is_raised() {
                return Err(Error::interrupted());
            }
            let unknown: Vec<_> = part.iter().map(|page| page.id).filter(|id| !self.memory.has(id)).collect();
            self.report.pages_read += unknown.len() as u64;
            let read = self.reader.pages(&unknown).await;
            let mut read: HashMap<ChunkId, Result<Page>> = unknown.into_iter().zip(read).collect();
            for pending in part {
                let page = read.remove(&pending.id);
                if self.visit(snapshot, pending.clone(), page).await? {
                    fruitful.push(pending.clone());
                }
            }
        }
        Ok(fruitful)
    }

    fn found(&mut self, snapshot: &Snapshot, entry: &Entry) {
        self.report.matches += 1;
        (self.take)(snapshot, entry);
    }

    fn damaged(&mut self, snapshot: &Snapshot, pending: &Pending, error: &Error) {
        let mut problem = lost_part(&pending.from, pending.to.as_deref(), error);
        problem.what =
            format!("not searched in snapshot {}: {}", &snapshot.id.to_string()[..8], problem.what);
        self.ctx.monitor.on(&Event::Problem(&problem));
        self.problems.problem(problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_keeps_what_is_asked_for() {
        let mut memory = Memory::default();
        let id = |number: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            ChunkId(bytes)
        };
        memory.keep(id(0), Known::Damaged);
        for number in 1..2_000_000 {
            memory.keep(id(number), Known::Barren);
            if number % 1000 == 0 {
                assert!(matches!(memory.recall(&id(0)), Some(Known::Damaged)));
            }
        }
        assert!(memory.young_bytes <= MEMORY_BYTES_MAX);
        assert!((memory.young.len() + memory.old.len()) * 96 <= 2 * MEMORY_BYTES_MAX + 96);
        assert!(!memory.has(&id(1)));
    }
}
