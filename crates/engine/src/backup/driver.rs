//! Decides for each item what becomes of it, keeps order, and fills bundles.
//!
//! Items go through three stages, always in the source's order: *listed* (unchanged ones take
//! their entry from the cache; others are examined by workers), *examined* (small contents join
//! bundles), *placed* (once the bundle is closed the entry is complete and goes on to the tree).
//! One thread drives; workers read, cut, compress and seal.
//!
//! On purpose not here: the session and the store.

mod entry;
mod look;
mod streams;

pub(super) use streams::Maps;

use super::BackupOptions;
use super::emit::{Draft, Emit};
use super::large::LargeFile;
use super::links::{Inode, LinkGroup, linked};
use super::promise::{Promise, promise};
use crate::cache::{Cache, Record, Scan, Stamp, slice_of};
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::outcome::{Notice, NoticeKind, Problem, ProblemKind, Problems};
use crate::packer::{Claim, Packer};
use crate::restore::path_text as path_of;
use crate::source::{
    Account, ConsistencyPoint, Details, EntryBatch, Examined, Item, ItemError, Order, SMALL_FILE_BYTES_MAX,
    Source, Stat,
};
use holdfast_core::chunker::BUNDLE_BYTES_MAX;
use holdfast_core::entry::{Content, Entry, Extent, INLINE_BYTES_MAX, Kind, Time, Xattrs};
use holdfast_core::id::ChunkId;
use holdfast_core::index::ChunkKey;
use holdfast_core::keys::ChunkKind;
use holdfast_core::session::Counts;
use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Items of one examining job.
const GROUP_ITEMS_MAX: usize = 64;
/// Listed bytes of one examining job.
const GROUP_BYTES_MAX: u64 = 1 << 20;
/// Listed bytes that may be on their way through workers.
const UNDERWAY_BYTES_MAX: u64 = 6 << 20;
/// Items that may be on their way through workers.
const UNDERWAY_ITEMS_MAX: usize = 4096;
/// Complete entries that may wait for an earlier one whose bundle is open; then it is closed.
const DRAFTS_MAX: usize = 16_384;
/// Small contents of this run that are remembered.
const REMEMBERED_MAX: usize = 1 << 18;
/// What became of one item of an examining job.
struct ExaminedItem {
    answer: Answer,
    /// Where its content lies in the job's buffer.
    content: std::ops::Range<usize>,
    digest: [u8; 32],
    began: Time,
}

/// What a reader told of an item.
enum Answer {
    Whole(std::result::Result<Examined, ItemError>),
    Details(std::result::Result<Option<Details>, ItemError>),
}

/// What an examining job gives.
struct Group {
    items: VecDeque<ExaminedItem>,
    buffer: Vec<u8>,
}

/// An item between the first two stages.
enum Unit {
    /// Unchanged: complete.
    Kept(Box<Draft>, Option<Inode>),
    /// The next item of the group at the front of `groups`.
    Examined(Pending),
    /// Being read as a stream.
    Large(Pending, Time, Promise<std::result::Result<LargeFile, ItemError>>),
    /// A further name of a file that came before.
    Link(Pending),
}

/// An item, and what the last snapshot had in its place.
struct Pending {
    batch: Arc<EntryBatch>,
    item: usize,
    before: Option<Record>,
    /// Its content is that of the last snapshot, only its details are read again.
    look: bool,
}

impl Pending {
    fn key(&self) -> &[u8] {
        self.batch.key(self.item)
    }

    fn stat(&self) -> &Stat {
        &self.batch.items[self.item].stat
    }

    /// What it adds to the bytes underway: a large file is never held whole.
    fn held_bytes(&self) -> u64 {
        if self.look { 0 } else { self.stat().size.min(GROUP_BYTES_MAX) }
    }
}

/// What the driver hands back.
pub(super) struct Driven {
    pub emit: Emit,
    pub counts: Counts,
    pub problems: Problems,
    pub point: ConsistencyPoint,
}

/// Drives a source through the pipeline.
pub(super) struct Driver {
    ctx: Ctx,
    packer: Arc<Packer>,
    source: Box<dyn Source>,
    options: BackupOptions,
    cache: Option<Arc<Cache>>,
    scan: Option<Scan>,
    /// Whether the cache describes the pinned parent.
    covered: bool,
    units: VecDeque<Unit>,
    groups: VecDeque<Promise<Group>>,
    front: Option<Group>,
    draft_group: Vec<(Arc<EntryBatch>, usize, bool)>,
    draft_bytes: u64,
    underway_bytes: u64,
    bundle: Vec<u8>,
    bundle_ids: Vec<ChunkId>,
    remembered: HashMap<[u8; 16], (u32, u32, u32)>,
    drafts: VecDeque<Draft>,
    links: HashMap<Inode, LinkGroup>,
    emit: Emit,
    counts: Counts,
    account: Account,
    problems: Problems,
    last_resolved: Option<ChunkKey>,
    buffers: Vec<Vec<u8>>,
    maps: Maps,
}

impl Driver {
    pub(super) fn new(
        ctx: &Ctx,
        packer: &Arc<Packer>,
        source: Box<dyn Source>,
        options: &BackupOptions,
        cache: Option<Arc<Cache>>,
        covered: bool,
        emit: Emit,
    ) -> Self {
        let scan = cache.as_ref().and_then(|cache| cache.scan().ok());
        Self {
            ctx: ctx.clone(),
            packer: Arc::clone(packer),
            source,
            options: options.clone(),
            cache,
            scan,
            covered,
            units: VecDeque::new(),
            groups: VecDeque::new(),
            front: None,
            draft_group: Vec::new(),
            draft_bytes: 0,
            underway_bytes: 0,
            bundle: Vec::new(),
            bundle_ids: Vec::new(),
            remembered: HashMap::new(),
            drafts: VecDeque::new(),
            links: HashMap::new(),
            emit,
            counts: Counts::default(),
            account: Account::default(),
            problems: Problems::default(),
            last_resolved: None,
            buffers: Vec::new(),
            maps: Maps::default(),
        }
    }

    /// Runs the source to its end; the caller closes the packer, whatever happens.
    pub(super) fn drive(mut self) -> Result<Driven> {
        let packer = Arc::clone(&self.packer);
        let result = self.drive_all().map(|point| Driven {
            emit: self.emit,
            counts: self.counts,
            problems: self.problems,
            point,
        });
        packer.wait_for_jobs();
        result
    }

    fn drive_all(&mut self) -> Result<ConsistencyPoint> {
        let (sorted, mut last) = (self.source.order() == Order::Sorted, None);
        while let Some(mut batch) = self.source.next_batch()? {
            self.check_stop()?;
            self.packer.show_life();
            self.note(std::mem::take(&mut batch.problems));
            let batch = Arc::new(batch);
            for item in 0..batch.items.len() {
                if !sorted || self.is_next(&batch, item, &last)? {
                    self.list(&batch, item);
                    self.settle(UNDERWAY_ITEMS_MAX, UNDERWAY_BYTES_MAX)?;
                }
            }
            last = batch.items.len().checked_sub(1).map(|item| batch.key(item).to_vec()).or(last);
        }
        self.submit_group();
        self.settle(0, 0)?;
        self.close_bundle();
        self.place_drafts()?;
        self.check_stop()?;
        self.close_account();
        Ok(self.source.finish()?)
    }

    /// Whether a key is greater than the one before it. A listing of a folder that changes may
    /// give a name twice: the first one stands.
    fn is_next(&self, batch: &EntryBatch, item: usize, last: &Option<Vec<u8>>) -> Result<bool> {
        let before = item.checked_sub(1).map(|before| batch.key(before)).or(last.as_deref());
        match before.map_or(Ordering::Less, |before| before.cmp(batch.key(item))) {
            Ordering::Less => Ok(true),
            Ordering::Equal => Ok(false),
            Ordering::Greater => {
                let path = String::from_utf8_lossy(&path_of(batch.key(item))).into_owned();
                Err(Error::new(ErrorKind::Source, format!("the source gave {path} out of order")))
            }
        }
    }

    fn check_stop(&self) -> Result<()> {
        if self.ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        if self.packer.stopped() {
            Err(Error::new(ErrorKind::Store, "the repository could not be written"))
        } else {
            Ok(())
        }
    }

    fn note(&mut self, found: Problems) {
        found.problems.iter().for_each(|problem| self.ctx.monitor.on(&Event::Problem(problem)));
        found.notices.iter().for_each(|notice| self.ctx.monitor.on(&Event::Notice(notice)));
        self.problems.absorb(found);
    }

    fn problem(&mut self, key: &[u8], kind: ProblemKind, what: String) {
        let mut found = Problems::default();
        found.problem(Problem { path: path_of(key), kind, what });
        self.note(found);
    }

    fn notice(&mut self, key: &[u8], kind: NoticeKind, what: &str) {
        let mut found = Problems::default();
        found.notice(Notice { path: path_of(key), kind, what: what.to_owned() });
        self.note(found);
    }

    /// First stage: unchanged, or to be examined.
    fn list(&mut self, batch: &Arc<EntryBatch>, item: usize) {
        let mut before = self.cached(batch.key(item));
        let Item { stat, aside, .. } = &batch.items[item];
        let unchanged = before.as_ref().is_some_and(|record| self.is_unchanged(record, stat));
        if let Some(Record { stamp, entry, closure }) = before.take_if(|_| unchanged) {
            self.count_listed(stat, Some(true));
            self.remember_link(stat);
            if aside.look || stamp.is_some_and(|stamp| stamp.mark != aside.mark) {
                let before = Some(Record { stamp, entry, closure });
                return self.add_to_group(Pending { batch: Arc::clone(batch), item, before, look: true });
            }
            let inode = linked(stat);
            self.units.push_back(Unit::Kept(Box::new(Draft { entry, stamp, closure, bundled: None }), inode));
            return;
        }
        self.count_listed(stat, before.as_ref().map(|_| false));
        let pending = Pending { batch: Arc::clone(batch), item, before, look: false };
        if !self.remember_link(stat) {
            self.units.push_back(Unit::Link(pending));
        } else if stat.kind == Kind::File && (stat.size > SMALL_FILE_BYTES_MAX || stat.sparse) {
            self.start_large(pending);
        } else {
            self.add_to_group(pending);
        }
    }

    fn cached(&mut self, key: &[u8]) -> Option<Record> {
        let (cache, scan) = (self.cache.as_ref()?, self.scan.as_mut()?);
        scan.find(cache, key).unwrap_or_else(|error| {
            self.ctx.monitor.on(&Event::Warning(&format!("the stat cache cannot be used any more: {error}")));
            (self.cache, self.scan) = (None, None);
            None
        })
    }

    fn is_unchanged(&mut self, record: &Record, stat: &Stat) -> bool {
        let Some(stamp) = record.stamp.filter(|_| !self.options.force) else { return false };
        let now = Stamp::from(stat);
        let same = (stamp.size, stamp.mtime) == (now.size, now.mtime)
            && (self.options.ignore_ctime || stamp.ctime == now.ctime)
            && (self.options.ignore_inode || stamp.inode == now.inode);
        let entry = &record.entry;
        same && (entry.kind, entry.mode) == (stat.kind, stat.mode)
            && *entry.owner == *stat.owner
            && self.resolves(record)
    }

    /// Whether everything that a record names is in the repository.
    fn resolves(&mut self, record: &Record) -> bool {
        let mut all = true;
        if let Content::Extents(extents) = &record.entry.content {
            let ids = extents.iter().filter_map(|extent| match extent {
                Extent::Chunk { id, .. } => Some(id),
                Extent::Hole { .. } => None,
            });
            for id in ids {
                let key = ChunkKey::from(id);
                // Neighbours mostly lie in the same bundle.
                if self.last_resolved == Some(key) {
                    continue;
                }
                all &= self.packer.resolves(ChunkKind::Data, &key, self.covered)
                    && !self.cache.as_ref().is_some_and(|cache| cache.is_wasteful(id));
                self.last_resolved = all.then_some(key);
            }
        }
        if let Xattrs::Chunk(id) = &record.entry.attributes.xattrs {
            all &= self.packer.resolves(ChunkKind::Data, &ChunkKey::from(id), self.covered);
        }
        all && record.closure.iter().all(|(kind, key)| self.packer.resolves(*kind, key, self.covered))
    }

    fn count_listed(&mut self, stat: &Stat, unchanged: Option<bool>) {
        match stat.kind {
            Kind::File => {
                match unchanged {
                    None => self.counts.files_new += 1,
                    Some(false) => self.counts.files_changed += 1,
                    Some(true) => self.counts.files_unmodified += 1,
                }
                if unchanged == Some(true) {
                    self.ctx.monitor.on(&Event::Done { files: 1, bytes: stat.size });
                }
            }
            Kind::Directory => self.counts.directories += 1,
            _ => self.counts.others += 1,
        }
    }

    /// Notes a name of a file with several; false if its content comes from an earlier name.
    fn remember_link(&mut self, stat: &Stat) -> bool {
        let Some(inode) = linked(stat) else { return true };
        match self.links.entry(inode) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(LinkGroup { left: stat.links, first: None });
                true
            }
        }
    }

    fn add_to_group(&mut self, pending: Pending) {
        let (reader, item) = (&pending.batch.reader, pending.item);
        if pending.look {
            reader.expect_details(item);
        } else {
            reader.expect(item);
        }
        let bytes = pending.held_bytes();
        self.draft_group.push((Arc::clone(&pending.batch), item, pending.look));
        self.draft_bytes += bytes;
        self.underway_bytes += bytes;
        self.units.push_back(Unit::Examined(pending));
        if self.draft_group.len() >= GROUP_ITEMS_MAX || self.draft_bytes >= GROUP_BYTES_MAX {
            self.submit_group();
        }
    }

    fn submit_group(&mut self) {
        if self.draft_group.is_empty() {
            return;
        }
        let (items, clock) = (std::mem::take(&mut self.draft_group), Arc::clone(&self.ctx.clock));
        let (giver, promise) = promise();
        let packer = Arc::clone(&self.packer);
        let buffer = self.buffers.pop().unwrap_or_default();
        self.draft_bytes = 0;
        self.ctx.workers.submit(move || {
            let mut group = Group { items: VecDeque::with_capacity(items.len()), buffer };
            for (batch, item, look) in &items {
                if packer.stopped() {
                    return;
                }
                group.take(batch, *item, *look, clock.now());
            }
            giver.give(group);
        });
        self.groups.push_back(promise);
    }

    /// Second stage: takes what is examined, in order; waits only while more than so much is underway.
    fn settle(&mut self, items_max: usize, bytes_max: u64) -> Result<()> {
        loop {
            let over =
                self.units.len() > items_max || self.underway_bytes > bytes_max && !self.units.is_empty();
            if !over && !self.front_is_ready() {
                return Ok(());
            }
            let Some(unit) = self.units.pop_front() else { return Ok(()) };
            self.check_stop()?;
            self.settle_unit(unit)?;
            self.place_drafts()?;
        }
    }

    fn front_is_ready(&self) -> bool {
        match self.units.front() {
            None => false,
            Some(Unit::Kept(..) | Unit::Link(_)) => true,
            Some(Unit::Examined(_)) => {
                self.front.is_some() || self.groups.front().is_some_and(Promise::is_ready)
            }
            Some(Unit::Large(_, _, promise)) => promise.is_ready(),
        }
    }

    fn settle_unit(&mut self, unit: Unit) -> Result<()> {
        match unit {
            Unit::Kept(draft, inode) => self.keep(inode, *draft),
            Unit::Link(pending) => self.settle_link(&pending),
            Unit::Large(pending, began, promise) => {
                self.underway_bytes -= pending.held_bytes();
                let file = promise.wait().ok_or_else(|| self.lost_job())?;
                self.settle_large(&pending, began, file);
            }
            Unit::Examined(pending) => self.settle_examined(&pending)?,
        }
        Ok(())
    }

    fn lost_job(&self) -> Error {
        self.check_stop().err().unwrap_or_else(mistake)
    }

    fn settle_examined(&mut self, pending: &Pending) -> Result<()> {
        if self.front.is_none() {
            if self.groups.is_empty() {
                self.submit_group();
            }
            let promise = self.groups.pop_front().ok_or_else(|| self.lost_job())?;
            self.front = Some(promise.wait().ok_or_else(|| self.lost_job())?);
        }
        let mut group = self.front.take().ok_or_else(|| self.lost_job())?;
        let examined = group.items.pop_front().ok_or_else(|| self.lost_job())?;
        self.underway_bytes -= pending.held_bytes();
        let content = &group.buffer[examined.content.clone()];
        match examined.answer {
            // It outgrew the limit while it was listed and read.
            Answer::Whole(Ok(ref found))
                if found.stat.size > SMALL_FILE_BYTES_MAX && found.stat.kind == Kind::File =>
            {
                self.read_large_here(pending, examined.began);
            }
            Answer::Whole(Ok(found)) => {
                self.settle_small(pending, examined.began, found, content, examined.digest);
            }
            Answer::Whole(Err(error)) => self.unread(pending, &error),
            Answer::Details(looked) => self.settle_details(pending, looked),
        }
        if group.items.is_empty() {
            group.buffer.clear();
            self.buffers.push(group.buffer);
        } else {
            self.front = Some(group);
        }
        Ok(())
    }

    fn unread(&mut self, pending: &Pending, error: &ItemError) {
        if pending.stat().kind == Kind::Directory {
            return self.keep_as_listed(pending, error);
        }
        let key = pending.key().to_vec();
        if pending.stat().kind == Kind::File {
            match error {
                ItemError::Vanished => self.account.vanished += 1,
                ItemError::Unreadable { .. } => self.account.unreadable += 1,
            }
        }
        match error {
            ItemError::Vanished => {
                self.notice(&key, NoticeKind::Vanished, "vanished while the source was read");
            }
            ItemError::Unreadable { operation, source } => {
                self.problem(&key, ProblemKind::Unreadable, format!("cannot {operation}: {source}"));
            }
        }
        let stat = pending.stat();
        match stat.kind {
            Kind::File => {
                let counter = if pending.before.is_some() {
                    &mut self.counts.files_changed
                } else {
                    &mut self.counts.files_new
                };
                *counter = counter.saturating_sub(1);
            }
            _ => self.counts.others = self.counts.others.saturating_sub(1),
        }
    }

    fn settle_small(
        &mut self,
        pending: &Pending,
        began: Time,
        mut found: Examined,
        content: &[u8],
        digest: [u8; 32],
    ) {
        if let Some(lack) = found.details.lack.take() {
            return self.settle_lacking(pending, &found.stat, found.details, lack);
        }
        let (file, is_whole) = (found.stat.kind == Kind::File, found.details.unreadable.is_empty());
        self.counts.bytes_read += content.len() as u64;
        let mut entry = self.entry(pending, &found.stat, found.details);
        entry.size = content.len() as u64;
        entry.digest = file.then_some(digest);
        let mut bundled = None;
        if file {
            self.ctx.monitor.on(&Event::Done { files: 1, bytes: entry.size });
            match content.len() {
                0 => {}
                1..=INLINE_BYTES_MAX => entry.content = Content::Inline(content.to_vec()),
                _ => match self.known_slice(pending.before.as_ref(), &digest, content.len()) {
                    Some(Slice::Stored(id, offset)) => {
                        let length = content.len() as u32;
                        entry.content = Content::Extents(vec![Extent::Chunk { id, offset, length }]);
                    }
                    Some(Slice::Bundled(slice)) => bundled = Some(slice),
                    None => bundled = Some(self.add_to_bundle(content, &digest)),
                },
            }
        }
        let stamp = self.status(pending, &mut entry, &found.stat, found.status, began);
        // What could not be read of its details is asked for again next time.
        let stamp = stamp.filter(|_| is_whole);
        self.keep(linked(pending.stat()), Draft { entry, stamp, closure: Vec::new(), bundled });
    }

    /// Takes a draft to the last stage; the first name of a file with several is remembered.
    fn keep(&mut self, inode: Option<Inode>, mut draft: Draft) {
        if let Some(inode) = inode
            && let Some(group) = self.links.get_mut(&inode)
        {
            if group.first.is_none() {
                let identifier = &self.packer.sealer().identifier;
                let key = &draft.entry.key;
                draft.entry.attributes.link_group.get_or_insert_with(|| identifier.link_group(key));
                group.first = Some(draft.clone());
            }
            self.count_link(inode);
        }
        self.drafts.push_back(draft);
    }

    /// Counts a name off; after the last one nothing is remembered.
    fn count_link(&mut self, inode: Inode) {
        if let Some(group) = self.links.get_mut(&inode) {
            group.left = group.left.saturating_sub(1);
            if group.left == 0 {
                self.links.remove(&inode);
            }
        }
    }

    /// A further name: everything but the key is that of the first.
    fn settle_link(&mut self, pending: &Pending) {
        let stat = pending.stat();
        let Some(inode) = linked(stat) else { return };
        if self.links.get(&inode).is_none_or(|group| group.first.is_none()) {
            // The first name failed: this one is read by itself.
            return self.examine_here(pending);
        }
        let Some(mut draft) = self.links.get(&inode).and_then(|group| group.first.clone()) else { return };
        draft.entry.key = pending.key().to_vec();
        self.ctx.monitor.on(&Event::Done { files: 1, bytes: draft.entry.size });
        self.count_link(inode);
        self.drafts.push_back(draft);
    }

    /// Finds a small content that the repository or this run has already.
    fn known_slice(&mut self, before: Option<&Record>, digest: &[u8; 32], length: usize) -> Option<Slice> {
        if let Some(record) = before.filter(|record| record.entry.digest.as_ref() == Some(digest))
            && let Some(slice) = self.usable_slice(&record.entry.clone(), length)
        {
            return Some(slice);
        }
        if let Some(slice) = self.remembered.get(&front(digest)).filter(|slice| slice.2 as usize == length) {
            return Some(Slice::Bundled(*slice));
        }
        let found = self.cache.as_ref()?.by_digest(digest).ok()??;
        self.usable_slice(&found, length)
    }

    fn usable_slice(&mut self, entry: &Entry, length: usize) -> Option<Slice> {
        let (id, offset, stored) = slice_of(entry).filter(|slice| slice.2 as usize == length)?;
        let wasteful = self.cache.as_ref().is_some_and(|cache| cache.is_wasteful(&id));
        let usable = stored as usize == length
            && !wasteful
            && self.packer.resolves(ChunkKind::Data, &ChunkKey::from(&id), self.covered);
        usable.then_some(Slice::Stored(id, offset))
    }

    fn add_to_bundle(&mut self, content: &[u8], digest: &[u8; 32]) -> (u32, u32, u32) {
        if self.bundle.capacity() == 0 {
            self.bundle = self.buffers.pop().unwrap_or_default();
            self.bundle.clear();
            self.bundle.reserve(BUNDLE_BYTES_MAX / 2);
        }
        let slice = (self.bundle_ids.len() as u32, self.bundle.len() as u32, content.len() as u32);
        self.bundle.extend_from_slice(content);
        if self.remembered.len() < REMEMBERED_MAX {
            self.remembered.insert(front(digest), slice);
        }
        if self.packer.sealer().identifier.bundle_rule.closes(self.bundle.len(), digest, content.len()) {
            self.close_bundle();
        }
        slice
    }

    fn close_bundle(&mut self) {
        if self.bundle.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.bundle);
        let id = self.packer.sealer().identifier.chunk(ChunkKind::Data, &bytes);
        self.bundle_ids.push(id);
        self.emit.ascending().bundle(&id, bytes.len());
        if self.packer.claim(ChunkKind::Data, &id) == Claim::Known {
            return self.buffers.push(bytes);
        }
        let seal = move |packer: &Packer, bytes: &[u8]| {
            let mut scratch = packer.scratch();
            packer.store_data(&id, bytes, &mut scratch);
            packer.give_back(scratch);
        };
        match self.packer.job_begins() {
            Some(job) => self.ctx.workers.submit_urgent(move || seal(job.packer(), &bytes)),
            None => seal(&self.packer, &bytes),
        }
    }

    /// Third stage: entries whose bundle is closed go on, in order.
    fn place_drafts(&mut self) -> Result<()> {
        if self.drafts.len() > DRAFTS_MAX {
            self.close_bundle();
        }
        while let Some(draft) = self.drafts.front_mut() {
            if let Some((number, offset, length)) = draft.bundled {
                let Some(&id) = self.bundle_ids.get(number as usize) else { return Ok(()) };
                draft.entry.content = Content::Extents(vec![Extent::Chunk { id, offset, length }]);
            }
            let Some(Draft { entry, stamp, closure, .. }) = self.drafts.pop_front() else { return Ok(()) };
            self.maps.carry(&entry);
            if entry.kind == Kind::File {
                self.counts.files += 1;
                self.counts.bytes = self.counts.bytes.saturating_add(entry.size);
            }
            let pushed = self.emit.push(&Record { stamp, entry, closure });
            pushed.map_err(|error| Error {
                kind: ErrorKind::Store,
                what: "cannot sort the entries in the cache folder".into(),
                source: Some(Box::new(error)),
            })?;
        }
        Ok(())
    }
}

/// The error of a run in which a thread panicked.
pub(super) fn mistake() -> Error {
    Error::new(ErrorKind::Source, "a worker failed while it read the source; this is a mistake in holdfast")
}

enum Slice {
    /// In a chunk that the repository has, at this offset.
    Stored(ChunkId, u32),
    /// In a bundle of this run: number, offset, length.
    Bundled((u32, u32, u32)),
}

fn front(digest: &[u8; 32]) -> [u8; 16] {
    let mut front = [0; 16];
    front.copy_from_slice(&digest[..16]);
    front
}
