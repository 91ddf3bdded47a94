//! Items whose content is not read: those of which only details are read again, and those that
//! are kept without their content.
//!
//! Details that changed take the place of the old ones in the entry of the last snapshot, whose
//! content stays what it is. On purpose not here: when details are read again; the source says that.

use super::super::emit::Draft;
use super::super::large::{ATTEMPTS, read_large};
use super::super::links::linked;
use super::{Answer, Driver, ExaminedItem, Group, Pending};
use crate::cache::{Record, Stamp};
use crate::event::Event;
use crate::outcome::{NoticeKind, ProblemKind};
use crate::source::{
    Account, Aside, Details, EntryBatch, Examined, ItemError, Lack, ReadStatus, SMALL_FILE_BYTES_MAX, Stat,
};
use holdfast_core::entry::{Kind, Time, Xattrs};
use std::collections::VecDeque;
use std::sync::Arc;

impl Pending {
    pub(super) fn aside(&self) -> Aside {
        self.batch.items[self.item].aside
    }
}

impl Driver {
    /// Second stage of an item of which the details were read again.
    pub(super) fn settle_details(&mut self, pending: &Pending, looked: Result<Option<Details>, ItemError>) {
        match (looked, pending.before.clone()) {
            (Ok(Some(details)), Some(record)) => self.settle_looked(pending, record, details),
            (Err(ItemError::Unreadable { operation, source }), Some(record)) => {
                let what = format!("cannot {operation}: {source}");
                let unreadable = vec![what];
                self.settle_looked(pending, record, Details { unreadable, ..Details::default() });
            }
            _ => {
                self.is_changed(pending);
                self.examine_here(pending);
            }
        }
    }

    fn settle_looked(&mut self, pending: &Pending, record: Record, details: Details) {
        let Record { stamp, mut entry, closure } = record;
        let mark = pending.aside().mark;
        // What could not be read is as it was, and is asked for again next time.
        let is_whole = details.unreadable.is_empty();
        let stamp = stamp.map(|stamp| Stamp { mark: if is_whole { mark } else { !mark }, ..stamp });
        for what in details.unreadable {
            self.problem(pending.key(), ProblemKind::Attribute, what);
        }
        if is_whole {
            let xattrs = self.xattrs(details.xattrs);
            if entry.attributes.xattrs != xattrs {
                entry.attributes.xattrs = xattrs;
                self.is_changed(pending);
            }
        }
        self.keep(linked(pending.stat()), Draft { entry, stamp, closure, bundled: None });
    }

    /// What was counted as unchanged is not.
    fn is_changed(&mut self, pending: &Pending) {
        if pending.stat().kind == Kind::File {
            self.counts.files_unmodified = self.counts.files_unmodified.saturating_sub(1);
            self.counts.files_changed += 1;
        }
    }

    /// Second stage of an item whose content cannot be had. If the last snapshot has it, nothing
    /// is lacking.
    pub(super) fn settle_lacking(
        &mut self,
        pending: &Pending,
        stat: &Stat,
        mut details: Details,
        lack: Lack,
    ) {
        self.ctx.monitor.on(&Event::Done { files: 1, bytes: 0 });
        if let Some((record, stamp)) = self.same_content(pending, stat) {
            let is_whole = details.unreadable.is_empty();
            let made = self.entry(pending, stat, details);
            let Record { mut entry, closure, .. } = record;
            entry.attributes.xattrs = made.attributes.xattrs;
            let mark = pending.aside().mark;
            let stamp = Some(Stamp { mark: if is_whole { mark } else { !mark }, ..stamp });
            return self.keep(linked(pending.stat()), Draft { entry, stamp, closure, bundled: None });
        }
        if lack.accepted {
            self.notice(pending.key(), NoticeKind::LeftOut, &lack.what);
        } else {
            self.problem(pending.key(), ProblemKind::Unreadable, lack.what);
        }
        details.xattrs.extend(lack.xattrs);
        details.xattrs.sort_unstable();
        let mut entry = self.entry(pending, stat, details);
        entry.digest = (stat.kind == Kind::File).then(|| *blake3::hash(&[]).as_bytes());
        self.account.lacking += 1;
        let draft = Draft { entry, stamp: None, closure: Vec::new(), bundled: None };
        self.keep(linked(pending.stat()), draft);
    }

    /// Keeps a folder of which only the listing told. What was listed in it may be stored, and has no
    /// place without it.
    pub(super) fn keep_as_listed(&mut self, pending: &Pending, error: &ItemError) {
        match error {
            ItemError::Vanished => {
                let what = "vanished while the source was read; kept as it was listed";
                self.notice(pending.key(), NoticeKind::Vanished, what);
            }
            ItemError::Unreadable { operation, source } => {
                let what = format!("cannot {operation}: {source}; kept as it was listed");
                self.problem(pending.key(), ProblemKind::Unreadable, what);
            }
        }
        let entry = self.entry(pending, pending.stat(), Details::default());
        self.keep(None, Draft { entry, stamp: None, closure: Vec::new(), bundled: None });
    }

    /// What the last snapshot has of an item, if its content is that of the item as it is now.
    fn same_content(&mut self, pending: &Pending, stat: &Stat) -> Option<(Record, Stamp)> {
        let record = pending.before.clone()?;
        let proven = || match &record.entry.attributes.xattrs {
            Xattrs::Inline(pairs) => self.source.prover()?(&record.entry, pairs),
            _ => None,
        };
        let stamp = record.stamp.or_else(proven)?;
        let same = stamp.is_of_content(&Stamp::from(stat)) && record.entry.kind == stat.kind;
        (same && self.resolves(&record)).then_some((record, stamp))
    }

    /// Examines an item on this thread: there are few of these.
    pub(super) fn examine_here(&mut self, pending: &Pending) {
        let (stat, began) = (pending.stat(), self.ctx.clock.now());
        if stat.kind == Kind::File && (stat.size > SMALL_FILE_BYTES_MAX || stat.sparse) {
            return self.read_large_here(pending, began);
        }
        let mut group = Group { items: VecDeque::new(), buffer: Vec::new() };
        group.take(&pending.batch, pending.item, false, began);
        let Some(examined) = group.items.pop_front() else { return };
        match examined.answer {
            Answer::Whole(Ok(found)) if found.stat.size > SMALL_FILE_BYTES_MAX && stat.kind == Kind::File => {
                self.read_large_here(pending, began);
            }
            Answer::Whole(Ok(found)) => {
                let content = &group.buffer[examined.content];
                self.settle_small(pending, began, found, content, examined.digest);
            }
            Answer::Whole(Err(error)) => self.unread(pending, &error),
            Answer::Details(_) => {}
        }
    }

    pub(super) fn read_large_here(&mut self, pending: &Pending, began: Time) {
        let (packer, workers) = (Arc::clone(&self.packer), self.ctx.workers.clone());
        let (reader, blocks) = (&*pending.batch.reader, self.block_file(pending));
        let file = read_large(reader, pending.item, &packer, &workers, &|_| {}, blocks.as_ref());
        self.settle_large(pending, began, file);
    }

    /// Tells the source what became of everything.
    pub(super) fn close_account(&mut self) {
        let counts = &self.counts;
        let account = Account {
            stored: (counts.files_new + counts.files_changed).saturating_sub(self.account.lacking),
            unchanged: counts.files_unmodified,
            ..self.account
        };
        let told = self.source.account(&account);
        self.note(told);
    }
}

impl Group {
    /// Examines an item, or reads only its details.
    pub(super) fn take(&mut self, batch: &EntryBatch, item: usize, look: bool, began: Time) {
        if !look {
            return self.examine(batch, item, began);
        }
        let content = self.buffer.len()..self.buffer.len();
        let answer = Answer::Details(batch.reader.details(item));
        self.items.push_back(ExaminedItem { answer, content, digest: [0; 32], began });
    }

    fn examine(&mut self, batch: &EntryBatch, item: usize, began: Time) {
        let start = self.buffer.len();
        let mut outcome = self.attempt(batch, item);
        for _ in 1..ATTEMPTS {
            let again = match &outcome {
                Ok(found) => found.status == ReadStatus::Torn,
                Err(error) => error.is_stale(),
            };
            if !again {
                break;
            }
            let before = self.buffer.split_off(start);
            match self.attempt(batch, item) {
                // It is gone, or cannot be read again: what was read of it is not thrown away.
                Err(_) if outcome.is_ok() => {
                    self.buffer.truncate(start);
                    self.buffer.extend(before);
                    break;
                }
                next => outcome = next,
            }
        }
        if outcome.is_err() {
            self.buffer.truncate(start);
        }
        let content = start..self.buffer.len();
        let digest = *blake3::hash(&self.buffer[content.clone()]).as_bytes();
        self.items.push_back(ExaminedItem { answer: Answer::Whole(outcome), content, digest, began });
    }

    /// Examines an item once. One that is longer now has grown only if its front is still what was read.
    fn attempt(&mut self, batch: &EntryBatch, item: usize) -> Result<Examined, ItemError> {
        let start = self.buffer.len();
        let mut found = batch.reader.examine(item, &mut self.buffer)?;
        if found.status == ReadStatus::Grown {
            let end = self.buffer.len();
            let again = batch.reader.examine(item, &mut self.buffer);
            let is_it = again.is_ok_and(|again| {
                (again.stat.inode, again.stat.device_of) == (found.stat.inode, found.stat.device_of)
            });
            // Where something else has its name now, or nothing, nobody can tell: it is kept as it was read.
            let (read, now) = (&self.buffer[start..end], &self.buffer[end..]);
            if is_it && !now.starts_with(read) {
                found.status = ReadStatus::Torn;
            }
            self.buffer.truncate(end);
        }
        Ok(found)
    }
}
