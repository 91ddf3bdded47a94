//! Compares a snapshot with a live source.
//!
//! The source lists, as for a backup; contents are read only where that is asked for. What the
//! source cannot list counts as unknown, never as removed. On purpose not here: which source.

use super::trees::{find_path, lost, name_of};
use super::{Change, DiffOptions, DiffReport, TakeChange, compare, relative};
use crate::backup::ContentHasher;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::outcome::{Notice, NoticeKind, Outcome, Problem, ProblemKind, Problems};
use crate::paths::Scope;
use crate::reader::Reader;
use crate::repository::Repository;
use crate::restore::{chain, is_below, path_text};
use crate::snapshots::Snapshot;
use crate::source::{
    ContentStream, EntryBatch, ItemError, ItemReader, Order, Piece, ReadStatus, SMALL_FILE_BYTES_MAX, Source,
    Stat,
};
use crate::tree::{Step, TreeWalk};
use futures::stream::{self, StreamExt};
use holdfast_core::entry::{Attributes, Content, Digest, Entry, Extent, Kind, Xattrs, path_to_key};
use holdfast_core::page::KeySpace;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes asked of the source at a time.
const READ_BYTES: usize = 256 << 10;

/// So many folders of which nothing is known are kept before those that lie behind are forgotten.
const UNKNOWN_LOOSE_MAX: usize = 64;

/// The live side.
pub struct Live {
    /// Lists what is there; nothing where nothing is there at all.
    pub source: Option<Box<dyn Source>>,
    /// Which part of what it lists is compared: a path; empty for all.
    pub path: Vec<u8>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("path", &String::from_utf8_lossy(&self.path)).finish_non_exhaustive()
    }
}

/// Decides whether a path of the snapshot is passed over, as the source passes over its own.
pub type LeftOut<'a> = &'a (dyn Fn(&[u8], bool) -> bool + Send + Sync);

/// How a snapshot is compared with what is live.
#[derive(Clone, Copy)]
pub struct LiveOptions<'a> {
    /// What else is compared.
    pub diff: DiffOptions,
    /// Read every file and compare its content, not only its size and time.
    pub read_data: bool,
    /// What of the snapshot is passed over.
    pub left_out: LeftOut<'a>,
}

impl std::fmt::Debug for LiveOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveOptions")
            .field("diff", &self.diff)
            .field("read_data", &self.read_data)
            .finish_non_exhaustive()
    }
}

/// Compares what lies at a path of a snapshot with a live source; the source is the later side.
/// What cannot be listed or read is a problem.
///
/// # Errors
/// The path does not exist in the snapshot, its tree is damaged, the source fails as a whole, or
/// the run was asked to stop.
pub async fn diff_live(
    ctx: &Ctx,
    repository: &Repository,
    (snapshot, path): (&Snapshot, &[u8]),
    live: Live,
    options: LiveOptions<'_>,
    take: TakeChange<'_>,
) -> Result<Outcome<DiffReport>> {
    let reader = Reader::new(repository, repository.view().await?)?;
    if snapshot.summary.space != KeySpace::Paths {
        let what = "a snapshot of a bucket cannot be compared with files";
        return Err(Error::new(ErrorKind::Usage, what));
    }
    repository.require_signed(snapshot).await?;
    find_path(&reader, snapshot, path).await?;
    if live.source.as_ref().is_some_and(|source| source.order() != Order::Sorted) {
        let what = "only a source that lists its keys in order can be compared with a snapshot";
        return Err(Error::new(ErrorKind::Usage, what));
    }
    let scope = Scope::new(KeySpace::Paths, path);
    let prefix = scope.key().to_vec();
    let mut run = Run {
        ctx,
        reader: &reader,
        recorded: Recorded {
            name: name_of(snapshot),
            walk: TreeWalk::below(&reader, snapshot.summary.root, &scope),
            ready: VecDeque::new(),
            left_out: options.left_out,
            skipped: None,
            pages: 0,
        },
        prefix,
        live_prefix: path_to_key(&live.path),
        options,
        unknown: Vec::new(),
        report: DiffReport::default(),
        problems: Problems::default(),
        take,
    };
    let mut source = live.source;
    while let Some(mut listing) = source.take() {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        let listed = ctx.workers.run_long(move || (listing.next_batch(), listing)).await;
        let (batch, mut listing) = (listed.0?, listed.1);
        match batch {
            Some(batch) => {
                run.batch(batch).await?;
                source = Some(listing);
            }
            None => drop(ctx.workers.run_long(move || listing.finish()).await?),
        }
    }
    run.rest().await?;
    Ok(Outcome { value: run.report, problems: run.problems })
}

/// The snapshot's entries, in order.
struct Recorded<'a> {
    name: String,
    walk: TreeWalk<'a>,
    ready: VecDeque<Entry>,
    left_out: LeftOut<'a>,
    skipped: Option<Vec<u8>>,
    pages: u64,
}

impl Recorded<'_> {
    /// Fetches until there is an entry, or none is left.
    async fn fill(&mut self) -> Result<()> {
        while self.ready.is_empty() {
            match self.walk.next().await {
                None => return Ok(()),
                Some(Step::Damaged { error, from, .. }) => return Err(lost(&self.name, &from, &error)),
                Some(Step::Entries(entries)) => {
                    self.pages += 1;
                    entries.into_iter().for_each(|entry| self.consider(entry));
                }
            }
        }
        Ok(())
    }

    fn consider(&mut self, entry: Entry) {
        if self.skipped.as_ref().is_some_and(|skipped| is_below(&entry.key, skipped)) {
            return;
        }
        if (self.left_out)(&path_text(&entry.key), entry.kind == Kind::Directory) {
            self.skipped = Some(entry.key);
        } else {
            self.ready.push_back(entry);
        }
    }
}

/// An item of the source and what the snapshot has at its place.
struct Pair {
    key: Vec<u8>,
    before: Option<Entry>,
    /// Number of the item in its batch; none if only the snapshot has it.
    item: Option<usize>,
}

/// What looking at an item told.
enum Looked {
    /// It is there, and its content differs or not.
    There(Box<Entry>, bool),
    /// It vanished meanwhile.
    Gone,
    /// It cannot be read.
    Unreadable(String),
    /// It changed while it was read.
    Moving(Box<Entry>),
}

struct Run<'a> {
    ctx: &'a Ctx,
    reader: &'a Reader,
    recorded: Recorded<'a>,
    prefix: Vec<u8>,
    live_prefix: Vec<u8>,
    options: LiveOptions<'a>,
    /// Keys, relative, below which nobody knows what is there.
    unknown: Vec<Vec<u8>>,
    report: DiffReport,
    problems: Problems,
    take: TakeChange<'a>,
}

impl Run<'_> {
    async fn batch(&mut self, batch: EntryBatch) -> Result<()> {
        self.note_listing(&batch.problems);
        let mut pairs = Vec::with_capacity(batch.items.len());
        for item in 0..batch.items.len() {
            let key = batch.key(item);
            // Folders on the way to what is compared are listed too.
            if key != self.live_prefix && !is_below(key, &self.live_prefix) {
                continue;
            }
            let key = relative(key, &self.live_prefix).to_vec();
            self.pair(key, item, &mut pairs).await?;
        }
        self.show(pairs, Some(&batch)).await
    }

    /// What is left of the snapshot when the source has ended.
    async fn rest(&mut self) -> Result<()> {
        loop {
            self.recorded.fill().await?;
            if self.recorded.ready.is_empty() {
                return Ok(());
            }
            let mut pairs = Vec::new();
            while let Some(entry) = self.recorded.ready.pop_front() {
                pairs.push(self.alone(entry));
            }
            self.show(pairs, None).await?;
        }
    }

    fn alone(&self, entry: Entry) -> Pair {
        Pair { key: relative(&entry.key, &self.prefix).to_vec(), before: Some(entry), item: None }
    }

    /// Finds what the snapshot has for an item; what comes before it only the snapshot has.
    async fn pair(&mut self, key: Vec<u8>, item: usize, pairs: &mut Vec<Pair>) -> Result<()> {
        loop {
            self.recorded.fill().await?;
            let before =
                self.recorded.ready.front().map(|entry| relative(&entry.key, &self.prefix).cmp(&key));
            match before {
                Some(std::cmp::Ordering::Less) => {
                    let entry = self.recorded.ready.pop_front();
                    pairs.extend(entry.map(|entry| self.alone(entry)));
                }
                Some(std::cmp::Ordering::Equal) => {
                    let before = self.recorded.ready.pop_front();
                    pairs.push(Pair { key, before, item: Some(item) });
                    return Ok(());
                }
                Some(std::cmp::Ordering::Greater) | None => {
                    pairs.push(Pair { key, before: None, item: Some(item) });
                    return Ok(());
                }
            }
        }
    }

    /// Looks at items, some at a time, and tells the differences in order.
    async fn show(&mut self, pairs: Vec<Pair>, batch: Option<&EntryBatch>) -> Result<()> {
        let (ctx, reader, options) = (self.ctx, self.reader, self.options);
        let mut looks = stream::iter(pairs)
            .map(|pair| async move {
                let looked = match (batch, pair.item) {
                    (Some(batch), Some(item)) => look(ctx, reader, batch, item, &pair, options).await,
                    _ => Ok(Looked::Gone),
                };
                (pair, looked)
            })
            .buffered(ctx.workers.threads() + 1);
        while let Some((pair, looked)) = looks.next().await {
            if ctx.cancel.is_raised() {
                return Err(Error::interrupted());
            }
            ctx.monitor.on(&Event::Done { files: 1, bytes: 0 });
            self.tell(&pair, looked?);
        }
        Ok(())
    }

    fn tell(&mut self, pair: &Pair, looked: Looked) {
        let (after, differs) = match looked {
            Looked::There(after, differs) => (Some(after), differs),
            Looked::Gone => (None, false),
            Looked::Moving(after) => {
                self.notice(&pair.key, NoticeKind::Other, "changed while it was read");
                (Some(after), true)
            }
            Looked::Unreadable(what) => {
                return self.problem(&pair.key, what);
            }
        };
        let change = match (&pair.before, &after) {
            (Some(before), Some(after)) => {
                let how = compare(before, after, differs, self.options.diff);
                if !how.is_any() {
                    return;
                }
                Change::Modified { before, after, how }
            }
            (Some(before), None) => {
                if self.is_unknown(&pair.key) {
                    return;
                }
                Change::Removed(before)
            }
            (None, Some(after)) => Change::Added(after),
            (None, None) => return,
        };
        self.report.note(&change);
        (self.take)(&pair.key, &change);
    }

    /// Keys ascend, so what lies behind is not asked for again.
    fn is_unknown(&mut self, key: &[u8]) -> bool {
        if self.unknown.len() > UNKNOWN_LOOSE_MAX {
            self.unknown.retain(|above| above.as_slice() >= key || is_below(key, above));
        }
        self.unknown.iter().any(|above| above == key || is_below(key, above))
    }

    /// What the listing could not do. Below such a folder nothing is known.
    fn note_listing(&mut self, listing: &Problems) {
        for problem in &listing.problems {
            let key = path_to_key(&problem.path);
            if key == self.live_prefix || is_below(&key, &self.live_prefix) {
                self.unknown.push(relative(&key, &self.live_prefix).to_vec());
            }
            self.ctx.monitor.on(&Event::Problem(problem));
        }
        for notice in &listing.notices {
            if notice.kind == NoticeKind::LeftOut {
                let key = path_to_key(&notice.path);
                self.unknown.push(relative(&key, &self.live_prefix).to_vec());
            }
            self.ctx.monitor.on(&Event::Notice(notice));
        }
        self.problems.absorb(listing.clone());
    }

    fn path_of(&self, key: &[u8]) -> Vec<u8> {
        let between = if self.live_prefix.is_empty() || key.is_empty() { &[][..] } else { &[0] };
        path_text(&[self.live_prefix.as_slice(), between, key].concat())
    }

    fn problem(&mut self, key: &[u8], what: String) {
        let problem = Problem { path: self.path_of(key), kind: ProblemKind::Unreadable, what };
        self.ctx.monitor.on(&Event::Problem(&problem));
        self.problems.problem(problem);
    }

    fn notice(&mut self, key: &[u8], kind: NoticeKind, what: &str) {
        let notice = Notice { path: self.path_of(key), kind, what: what.into() };
        self.ctx.monitor.on(&Event::Notice(&notice));
        self.problems.notice(notice);
    }
}

/// Makes an entry of what the listing told.
fn listed(key: &[u8], stat: &Stat) -> Entry {
    Entry {
        key: key.to_vec(),
        kind: stat.kind,
        mode: stat.mode,
        owner: Arc::clone(&stat.owner),
        mtime: stat.mtime,
        size: if stat.kind == Kind::File { stat.size } else { 0 },
        content: Content::None,
        digest: None,
        attributes: Attributes { device: stat.device, ..Attributes::default() },
    }
}

/// Looks at an item as closely as it takes to compare it.
async fn look(
    ctx: &Ctx,
    reader: &Reader,
    batch: &EntryBatch,
    item: usize,
    pair: &Pair,
    options: LiveOptions<'_>,
) -> Result<Looked> {
    let after = listed(&pair.key, &batch.items[item].stat);
    let Some(before) = pair.before.as_ref().filter(|before| before.kind == after.kind) else {
        return Ok(Looked::There(Box::new(after), false));
    };
    let is_file = after.kind == Kind::File;
    if is_file && !options.read_data {
        let differs = (before.size, before.mtime) != (after.size, after.mtime);
        // What was not read counts as having the recorded attributes.
        let after = unread(after, before);
        return Ok(Looked::There(Box::new(after), differs));
    }
    if !is_file && !options.diff.metadata && after.kind != Kind::Symlink {
        return Ok(Looked::There(Box::new(after), false));
    }
    let recorded_xattrs = reader.xattrs(before).await?;
    let job = Job {
        reader: Arc::clone(&batch.reader),
        item,
        extents: if is_file { reader.extents(before).await? } else { Vec::new() },
        size: before.size,
        digest: before.digest,
        recorded_xattrs,
        before_xattrs: before.attributes.xattrs.clone(),
        after,
    };
    let sparse = batch.items[item].stat.sparse;
    let bytes = job.after.size;
    let looked = ctx.workers.run(move || job.run(sparse)).await;
    ctx.monitor.on(&Event::Done { files: 0, bytes: if is_file { bytes } else { 0 } });
    Ok(looked)
}

fn unread(mut after: Entry, before: &Entry) -> Entry {
    after.attributes.xattrs = before.attributes.xattrs.clone();
    after.attributes.inode_flags = before.attributes.inode_flags;
    after
}

/// One item to be read.
struct Job {
    reader: Arc<dyn ItemReader>,
    item: usize,
    extents: Vec<Extent>,
    size: u64,
    digest: Option<Digest>,
    recorded_xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    before_xattrs: Xattrs,
    after: Entry,
}

impl Job {
    fn run(self, sparse: bool) -> Looked {
        let read = if self.after.kind == Kind::File && (sparse || self.after.size > SMALL_FILE_BYTES_MAX) {
            self.read_stream()
        } else {
            self.read_whole()
        };
        match read {
            Ok(looked) => looked,
            Err(ItemError::Vanished) => Looked::Gone,
            Err(error) => Looked::Unreadable(chain(&error)),
        }
    }

    fn read_whole(&self) -> std::result::Result<Looked, ItemError> {
        let mut content = Vec::new();
        let examined = self.reader.examine(self.item, &mut content)?;
        let mut layout = Layout::new(&self.extents, self.size);
        layout.data(&content);
        Ok(self.looked(&examined.stat, examined.details, examined.status, layout))
    }

    fn read_stream(&self) -> std::result::Result<Looked, ItemError> {
        let mut stream = self.reader.open(self.item)?;
        let (stat, details) = { (stream.opened().0.clone(), stream.opened().1.clone()) };
        let mut layout = Layout::new(&self.extents, self.size);
        read_all(&mut *stream, &mut layout)?;
        let status = stream.finish()?;
        Ok(self.looked(&stat, details, status, layout))
    }

    fn looked(
        &self,
        stat: &Stat,
        details: crate::source::Details,
        status: ReadStatus,
        layout: Layout<'_>,
    ) -> Looked {
        let mut after = listed(&self.after.key, stat);
        after.attributes.link_target = details.link_target;
        after.attributes.inode_flags = details.inode_flags;
        // Compared by what they say, not by where they lie.
        after.attributes.xattrs = if details.xattrs == self.recorded_xattrs {
            self.before_xattrs.clone()
        } else {
            Xattrs::Inline(details.xattrs)
        };
        if status == ReadStatus::Torn {
            return Looked::Moving(Box::new(after));
        }
        let differs = after.kind == Kind::File && layout.finish() != self.digest;
        Looked::There(Box::new(after), differs)
    }
}

fn read_all(stream: &mut dyn ContentStream, layout: &mut Layout<'_>) -> std::result::Result<(), ItemError> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match stream.read(&mut buffer)? {
            Piece::Data(length) => layout.data(&buffer[..length]),
            Piece::Hole(length) => layout.hole(length),
            Piece::End => return Ok(()),
        }
    }
}

/// Hashes a content as if it had the holes that were recorded: where they lie is the file
/// system's affair, what is read there is not.
struct Layout<'a> {
    extents: std::slice::Iter<'a, Extent>,
    /// What is left of the current extent, and whether it is a hole.
    left: u64,
    hole: bool,
    hasher: ContentHasher,
    /// Something else stands where a hole was, or the length differs.
    differs: bool,
}

impl<'a> Layout<'a> {
    fn new(extents: &'a [Extent], size: u64) -> Self {
        let plain = extents.is_empty();
        Self {
            extents: extents.iter(),
            left: if plain { size } else { 0 },
            hole: false,
            hasher: ContentHasher::default(),
            differs: false,
        }
    }

    /// How many of the next bytes belong together; none at the end.
    fn next(&mut self, wanted: u64) -> u64 {
        while self.left == 0 {
            let Some(extent) = self.extents.next() else { return 0 };
            self.left = extent.length();
            self.hole = matches!(extent, Extent::Hole { .. });
            if self.hole {
                self.hasher.hole(self.left);
            }
        }
        let part = wanted.min(self.left);
        self.left -= part;
        part
    }

    fn data(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.differs {
            let part = self.next(bytes.len() as u64) as usize;
            let (now, rest) = bytes.split_at(part);
            self.differs = part == 0 || (self.hole && now.iter().any(|&byte| byte != 0));
            if !self.hole {
                self.hasher.data(now);
            }
            bytes = rest;
        }
    }

    fn hole(&mut self, mut length: u64) {
        const ZEROS: [u8; 4096] = [0; 4096];
        while length > 0 && !self.differs {
            let part = self.next(length);
            self.differs = part == 0;
            let mut data = if self.hole { 0 } else { part };
            while data > 0 {
                let now = data.min(ZEROS.len() as u64);
                self.hasher.data(&ZEROS[..now as usize]);
                data -= now;
            }
            length -= part;
        }
    }

    /// The digest, if the length was that of the record.
    fn finish(mut self) -> Option<Digest> {
        let ended = self.left == 0 && self.next(1) == 0;
        (ended && !self.differs).then(|| self.hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;
    use holdfast_core::id::ChunkId;

    #[test]
    fn holes_are_where_they_were_recorded() {
        let data = |length| Extent::Chunk { id: ChunkId([0; 32]), offset: 0, length };
        let extents = [data(3), Extent::Hole { length: 5 }, data(2)];
        let mut recorded = ContentHasher::default();
        recorded.data(b"abc");
        recorded.hole(5);
        recorded.data(b"\0x");
        let recorded = Some(recorded.finish());
        let mut flat = Layout::new(&extents, 10);
        flat.data(b"abc\0\0");
        flat.data(b"\0\0\0\0x");
        assert_eq!(flat.finish(), recorded);
        let mut other_holes = Layout::new(&extents, 10);
        other_holes.data(b"abc\0");
        other_holes.hole(5);
        other_holes.data(b"x");
        assert_eq!(other_holes.finish(), recorded);
        for wrong in [&b"abc\0\0\0\0\0\0"[..], b"abc\0\0\0\0\0\0xy", b"abc\0y\0\0\0\0x", b""] {
            let mut layout = Layout::new(&extents, 10);
            layout.data(wrong);
            assert_eq!(layout.finish(), None, "{wrong:?}");
        }
        let mut empty = Layout::new(&[], 0);
        empty.data(b"");
        assert_eq!(empty.finish().unwrap(), ContentHasher::default().finish());
    }
}
