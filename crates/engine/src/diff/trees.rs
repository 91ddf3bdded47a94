//! Compares two snapshots' trees.
//!
//! Both are walked side by side in key order. Where both come to the same page, neither reads
//! it; a page is opened only when the other side has something else at its first key. On purpose
//! not here: what makes two entries differ ([`super`]).

use super::{Change, DiffOptions, DiffReport, DiffStored, Modified, TakeChange, compare};
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::index::IdHasher;
use crate::paths::Scope;
use crate::reader::Reader;
use crate::repository::Repository;
use crate::restore::{chain, path_text};
use crate::snapshots::{Lookup, Snapshot, not_in_snapshot};
use crate::tree::{Held, Pending};
use holdfast_core::entry::{Entry, Extent};
use holdfast_core::id::ChunkId;
use holdfast_core::index::ChunkKey;
use holdfast_core::page::Page;
use holdfast_core::version::VERSIONS_KIND;
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasherDefault;

/// Leaves that are fetched together.
const PAGES_AT_ONCE: usize = 32;

type ChunkSet = HashSet<ChunkKey, BuildHasherDefault<IdHasher>>;

/// Compares what lies at a path of one snapshot with what lies at a path of another.
///
/// # Errors
/// A path does not exist, a part of a tree is damaged, or the run was asked to stop. What was
/// taken until then is right, but not all.
pub async fn diff(
    ctx: &Ctx,
    repository: &Repository,
    (before, before_path): (&Snapshot, &[u8]),
    (after, after_path): (&Snapshot, &[u8]),
    options: DiffOptions,
    take: TakeChange<'_>,
) -> Result<DiffReport> {
    let reader = Reader::new(repository, repository.view().await?)?;
    for (snapshot, path) in [(before, before_path), (after, after_path)] {
        repository.require_signed(snapshot).await?;
        find_path(&reader, snapshot, path).await?;
    }
    if before.summary.space != after.summary.space {
        let what = "a snapshot of a bucket cannot be compared with one of files";
        return Err(Error::new(ErrorKind::Usage, what));
    }
    if (before.summary.kind == VERSIONS_KIND) != (after.summary.kind == VERSIONS_KIND) {
        let what = "a snapshot of all versions of objects cannot be compared with one that has one of each";
        return Err(Error::new(ErrorKind::Usage, what));
    }
    let scopes = [Scope::new(before.summary.space, before_path), Scope::new(after.summary.space, after_path)];
    let shared = scopes[0] == scopes[1];
    let mut sides =
        [Side::new(&reader, before, scopes[0].clone()), Side::new(&reader, after, scopes[1].clone())];
    let (mut report, mut chunks) = (DiffReport::default(), Chunks::default());
    loop {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        let [one, other] = &mut sides;
        match step(one, other, shared) {
            Step::End => break,
            Step::Same => {
                one.pass();
                other.pass();
            }
            Step::Open(first, second) => {
                if first {
                    one.open(other).await?;
                }
                if second {
                    other.open(one).await?;
                }
            }
            Step::Entry(order) => {
                let before = if order == Ordering::Greater { None } else { one.take() };
                let after = if order == Ordering::Less { None } else { other.take() };
                let key = before.as_ref().map(|entry| (entry, &scopes[0]));
                let key = key.or_else(|| after.as_ref().map(|entry| (entry, &scopes[1])));
                let Some((entry, scope)) = key else { break };
                let key = scope.relative(&entry.key);
                let Some(change) = change_of(before.as_ref(), after.as_ref(), options) else { continue };
                report.note(&change);
                chunks.note(&reader, &change).await?;
                take(key, &change);
            }
        }
    }
    let [one, other] = &sides;
    report.stored_added = stored(&reader, (&chunks.after, &chunks.before), (&other.opened, &one.opened))?;
    report.stored_removed = stored(&reader, (&chunks.before, &chunks.after), (&one.opened, &other.opened))?;
    report.pages_read = one.pages_read + other.pages_read;
    Ok(report)
}

fn change_of<'a>(
    before: Option<&'a Entry>,
    after: Option<&'a Entry>,
    options: DiffOptions,
) -> Option<Change<'a>> {
    match (before, after) {
        (Some(before), Some(after)) => {
            let how: Modified = compare(before, after, before.digest != after.digest, options);
            how.is_any().then_some(Change::Modified { before, after, how })
        }
        (Some(entry), None) => Some(Change::Removed(entry)),
        (None, Some(entry)) => Some(Change::Added(entry)),
        (None, None) => None,
    }
}

/// What is done next.
enum Step {
    End,
    /// Both come to the same page.
    Same,
    /// Open the next page of the one, the other, or both.
    Open(bool, bool),
    /// Compare entries: the one is alone, both are there, or the other is alone.
    Entry(Ordering),
}

fn step(one: &Side<'_>, other: &Side<'_>, shared: bool) -> Step {
    match (one.head(), other.head()) {
        (None, None) => Step::End,
        (Some(Head::Page(..)), None) => Step::Open(true, false),
        (None, Some(Head::Page(..))) => Step::Open(false, true),
        (Some(Head::Entry(_)), None) => Step::Entry(Ordering::Less),
        (None, Some(Head::Entry(_))) => Step::Entry(Ordering::Greater),
        (Some(Head::Entry(first)), Some(Head::Entry(second))) => Step::Entry(first.cmp(second)),
        // A page holds its first key or greater ones.
        (Some(Head::Entry(first)), Some(Head::Page(second, _))) => {
            if first < second {
                Step::Entry(Ordering::Less)
            } else {
                Step::Open(false, true)
            }
        }
        (Some(Head::Page(first, _)), Some(Head::Entry(second))) => {
            if second < first {
                Step::Entry(Ordering::Greater)
            } else {
                Step::Open(true, false)
            }
        }
        (Some(Head::Page(first, one)), Some(Head::Page(second, other))) => {
            if shared && one.id == other.id {
                return Step::Same;
            }
            // The same page has the same first key on both sides, so what begins earlier has no
            // twin ahead; of two that begin alike the higher one may hold the other.
            match first.cmp(second).then(height(other).cmp(&height(one))) {
                Ordering::Less => Step::Open(true, false),
                Ordering::Equal => Step::Open(true, true),
                Ordering::Greater => Step::Open(false, true),
            }
        }
    }
}

/// A root, whose level nobody stated, is above all.
fn height(page: &Pending) -> u8 {
    page.level.unwrap_or(u8::MAX)
}

enum Head<'a> {
    Page(&'a [u8], &'a Pending),
    Entry(&'a [u8]),
}

/// One tree, walked from left to right.
struct Side<'a> {
    reader: &'a Reader,
    name: String,
    scope: Scope,
    from: Vec<u8>,
    end: Option<Vec<u8>>,
    /// Pages to come, the next one last.
    stack: Vec<Pending>,
    /// Entries of the leaf that is open.
    entries: VecDeque<Entry>,
    ready: HashMap<ChunkId, Result<Page>>,
    last: Option<Vec<u8>>,
    /// Pages that were opened; the others are the other side's too.
    opened: ChunkSet,
    pages_read: u64,
}

impl<'a> Side<'a> {
    fn new(reader: &'a Reader, snapshot: &Snapshot, scope: Scope) -> Self {
        Self {
            reader,
            name: name_of(snapshot),
            from: scope.from(),
            end: scope.to(),
            scope,
            stack: vec![Pending::root(snapshot.summary.root)],
            entries: VecDeque::new(),
            ready: HashMap::new(),
            last: None,
            opened: ChunkSet::default(),
            pages_read: 0,
        }
    }

    fn head(&self) -> Option<Head<'_>> {
        if let Some(entry) = self.entries.front() {
            return Some(Head::Entry(self.scope.relative(&entry.key)));
        }
        let page = self.stack.last()?;
        // A page that begins before the prefix counts from there.
        Some(Head::Page(self.scope.floor(&page.from), page))
    }

    /// Leaves the next page out: the other side has the same one.
    fn pass(&mut self) {
        if let Some(page) = self.stack.pop() {
            self.ready.remove(&page.id);
            self.last = Some(page.from);
        }
    }

    fn take(&mut self) -> Option<Entry> {
        self.entries.pop_front()
    }

    /// Opens the next page; its neighbours are fetched with it unless the other side has them too.
    async fn open(&mut self, other: &Side<'_>) -> Result<()> {
        let Some(pending) = self.stack.pop() else { return Ok(()) };
        if !self.ready.contains_key(&pending.id) {
            self.fetch(&pending, other).await;
        }
        let page = match self.ready.remove(&pending.id) {
            Some(page) => page,
            None => self.reader.page(&pending.id).await,
        };
        let held = page.and_then(|page| pending.open(page)).map_err(|error| self.lost(&pending, &error))?;
        self.opened.insert(ChunkKey::from(&pending.id));
        match held {
            Held::Pages(mut pages) => {
                pages.retain(|page| page.overlaps(&self.from, self.end.as_deref()));
                self.stack.extend(pages.into_iter().rev());
            }
            Held::Entries(entries) => self.take_in(&pending, entries)?,
        }
        Ok(())
    }

    fn take_in(&mut self, pending: &Pending, entries: Vec<Entry>) -> Result<()> {
        let Some(last) = entries.last() else { return Ok(()) };
        if self.last.as_ref().is_some_and(|before| entries[0].key <= *before) {
            let error = Error::new(ErrorKind::Damaged, "its keys are out of order");
            return Err(self.lost(pending, &error));
        }
        self.last = Some(last.key.clone());
        self.entries = entries.into_iter().filter(|entry| self.scope.holds(&entry.key)).collect();
        Ok(())
    }

    async fn fetch(&mut self, pending: &Pending, other: &Side<'_>) {
        let mut ids = vec![pending.id];
        if pending.level == Some(0) {
            let theirs: HashSet<ChunkId> =
                other.stack.iter().rev().take(4 * PAGES_AT_ONCE).map(|page| page.id).collect();
            let next = self.stack.iter().rev().take_while(|page| page.level == Some(0));
            let next = next.map(|page| page.id).filter(|id| !theirs.contains(id));
            ids.extend(next.take(PAGES_AT_ONCE - 1));
        }
        self.pages_read += ids.len() as u64;
        let pages = self.reader.pages(&ids).await;
        self.ready.extend(ids.into_iter().zip(pages));
    }

    fn lost(&self, pending: &Pending, error: &Error) -> Error {
        lost(&self.name, &pending.from, error)
    }
}

/// Makes sure that a path is there.
pub(super) async fn find_path(reader: &Reader, snapshot: &Snapshot, path: &[u8]) -> Result<()> {
    match Lookup::new(reader, path).look(&snapshot.summary).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(not_in_snapshot(snapshot, path)),
        Err(error) => {
            let scope = Scope::new(snapshot.summary.space, path);
            Err(lost(&name_of(snapshot), scope.key(), &error))
        }
    }
}

pub(super) fn name_of(snapshot: &Snapshot) -> String {
    format!("snapshot {}", &snapshot.id.to_string()[..8])
}

pub(super) fn lost(snapshot: &str, key: &[u8], error: &Error) -> Error {
    let from = String::from_utf8_lossy(&path_text(key)).into_owned();
    let why = chain(error);
    let what = format!("{snapshot} cannot be read from {from} on, so the comparison ends here: {why}");
    Error::new(ErrorKind::Damaged, what)
}

/// The chunks that differing files refer to.
#[derive(Default)]
struct Chunks {
    before: ChunkSet,
    after: ChunkSet,
}

impl Chunks {
    async fn note(&mut self, reader: &Reader, change: &Change<'_>) -> Result<()> {
        let (before, after) = match change {
            Change::Added(entry) => (None, Some(entry)),
            Change::Removed(entry) => (Some(entry), None),
            Change::Modified { before, after, .. } => (Some(before), Some(after)),
        };
        for (entry, chunks) in [(before, &mut self.before), (after, &mut self.after)] {
            let Some(entry) = entry else { continue };
            for extent in reader.extents(entry).await? {
                if let Extent::Chunk { id, .. } = extent {
                    chunks.insert(ChunkKey::from(&id));
                }
            }
        }
        Ok(())
    }
}

/// Sums up what one side refers to and the other does not.
fn stored(
    reader: &Reader,
    (chunks, other_chunks): (&ChunkSet, &ChunkSet),
    (pages, other_pages): (&ChunkSet, &ChunkSet),
) -> Result<DiffStored> {
    let bytes = |key: &ChunkKey| -> Result<u64> {
        Ok(reader.index.live(key)?.map_or(0, |place| place.length.bytes().into()))
    };
    let mut stored = DiffStored::default();
    for key in chunks.difference(other_chunks) {
        stored.chunks += 1;
        stored.chunk_bytes += bytes(key)?;
    }
    for key in pages.difference(other_pages) {
        stored.pages += 1;
        stored.page_bytes += bytes(key)?;
    }
    Ok(stored)
}
