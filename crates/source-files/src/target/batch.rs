//! The files of one batch, written from several threads.
//!
//! On purpose not here: folders and special files; they were made when the batch was prepared.

use super::attributes::{Applied, FLAGS_EARLY, Subject};
use super::existing::{self, Inode};
use super::links::{Fate, Link, Outcome};
use super::present::Content;
use super::shared::{Shared, add_flags, ends_all, one_more};
use super::{file, split_key};
use crate::directory::{Directory, Opened};
use crate::verify::{Parent, parent_below};
use holdfast_core::entry::{Entry, Kind};
use holdfast_engine::outcome::{NoticeKind, ProblemKind};
use holdfast_engine::target::{Present, TargetBatch, TargetError, Want};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, IFlags, OFlags, fstat, ftruncate, linkat, unlinkat};
use rustix::io::Errno;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A batch that was prepared.
#[derive(Debug)]
pub(super) struct FileBatch {
    entries: Vec<Entry>,
    slots: Vec<Slot>,
    shared: Arc<Shared>,
}

/// What is to be done for an entry, and how far it is.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) parent: Option<Arc<Directory>>,
    pub(super) plan: Plan,
    /// Where the entry goes.
    pub(super) goal: Goal,
    outcome: Option<Arc<Outcome>>,
    /// A file that is there is not patched: a new one takes its place.
    replaces: AtomicBool,
    writing: Mutex<Writing>,
}

/// What is to be done after the batch was prepared.
#[derive(Debug)]
pub(super) enum Plan {
    Nothing,
    /// A file whose content is taken to be right.
    Keep,
    Write,
    Link(Link),
}

/// What is there where an entry goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// Nothing.
    New,
    /// A file that may become the recorded one.
    File(There),
    /// Something that the entry takes the place of once it is whole.
    Replace,
}

/// A file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct There {
    pub(super) inode: Inode,
    /// It has other names, maybe outside the target: nothing of it may be changed.
    pub(super) shared: bool,
}

impl Plan {
    pub(super) fn of(kind: Kind) -> Self {
        if kind == Kind::File { Self::Write } else { Self::Nothing }
    }
}

#[derive(Debug)]
enum Writing {
    NotBegun,
    /// Parts come in.
    Parts(Arc<Made>),
    /// It was ended; what it was, and whether something of it was changed.
    Ended(MadeKind, bool),
    GivenUp,
}

/// A file that is written.
#[derive(Debug)]
struct Made {
    handle: OwnedFd,
    /// The mode that it was made with, where the system tells what it made of it.
    mode: Option<u16>,
    kind: MadeKind,
    /// Something was changed in it.
    touched: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MadeKind {
    /// It was made under its own name.
    New,
    /// It was made under another name, and will take its place.
    Beside,
    /// It has no name before it takes its place; not every file system can.
    Unnamed,
    /// It was there before.
    Patched,
}

impl Slot {
    pub(super) fn new(
        parent: Option<Arc<Directory>>,
        plan: Plan,
        goal: Goal,
        outcome: Option<Arc<Outcome>>,
    ) -> Self {
        let replaces = AtomicBool::new(matches!(goal, Goal::Replace));
        Self { parent, plan, goal, outcome, replaces, writing: Mutex::new(Writing::NotBegun) }
    }

    pub(super) fn nothing() -> Self {
        Self::new(None, Plan::Nothing, Goal::New, None)
    }

    /// Of an entry that was refused or could not be made.
    pub(super) fn refused() -> Self {
        Self { writing: Mutex::new(Writing::GivenUp), ..Self::nothing() }
    }

    fn replaces(&self) -> bool {
        self.replaces.load(Ordering::Relaxed)
    }

    fn replace(&self) {
        self.replaces.store(true, Ordering::Relaxed);
    }

    /// The file that may be patched.
    fn there(&self) -> Option<There> {
        match self.goal {
            Goal::File(there) if !self.replaces() => Some(there),
            _ => None,
        }
    }

    /// Tells those that want to link to the entry what became of it.
    pub(super) fn decide(&self, fate: Fate) {
        if let Some(outcome) = &self.outcome {
            outcome.set(fate);
        }
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open_parent(&self) -> Result<Opened<'_>, Errno> {
        self.parent.as_ref().ok_or(Errno::NOENT)?.open()
    }
}

impl FileBatch {
    pub(super) fn new(entries: Vec<Entry>, slots: Vec<Slot>, shared: Arc<Shared>) -> Self {
        Self { entries, slots, shared }
    }

    fn name(&self, entry: usize) -> &[u8] {
        name_of(&self.entries[entry])
    }

    /// Makes a file. Where its owner is right from the start, its mode can be, too.
    fn create(&self, entry: usize) -> Result<Made, Errno> {
        let Entry { mode, owner, attributes, key, .. } = &self.entries[entry];
        let own = self.shared.known_owner() == Some(self.shared.numbers_of(owner));
        let mode = if own { mode & 0o777 } else { 0o600 };
        let slot = &self.slots[entry];
        let parent = slot.open_parent()?;
        let (handle, kind) = if slot.goal == Goal::New && self.shared.notices_halves() {
            (file::create(parent.as_fd(), self.name(entry), mode)?, MadeKind::New)
        } else if let Ok(unnamed) = file::create_unnamed(parent.as_fd(), mode) {
            (unnamed, MadeKind::Unnamed)
        } else {
            (file::create(parent.as_fd(), &self.shared.name_beside(key), mode)?, MadeKind::Beside)
        };
        let early = IFlags::from_bits_retain(attributes.inode_flags) & FLAGS_EARLY;
        if !early.is_empty() {
            // Should it fail, it fails again when all flags are set, and is named then.
            let _ = add_flags(&handle, early);
        }
        let mode = (self.shared.umask != 0o777).then_some(mode & !self.shared.umask);
        Ok(Made { handle, mode, kind, touched: AtomicBool::new(true) })
    }

    /// Opens what is to be written to: the file that is there, or a new one.
    fn begin(&self, entry: usize) -> Result<Made, Errno> {
        match self.slots[entry].there() {
            Some(there) if !there.shared && self.shared.notices_halves() => {
                let handle = self.open_to_patch(entry, there)?;
                existing::narrow(handle.as_fd(), &self.entries[entry]);
                Ok(Made { handle, mode: None, kind: MadeKind::Patched, touched: AtomicBool::new(false) })
            }
            _ => self.create(entry),
        }
    }

    fn open_to_patch(&self, entry: usize, there: There) -> Result<OwnedFd, Errno> {
        let parent = self.slots[entry].open_parent()?;
        let open = || existing::open_file(parent.as_fd(), self.name(entry), there.inode, OFlags::RDWR);
        match open() {
            Err(Errno::PERM) => {
                self.shared.soften_name(parent.as_fd(), self.name(entry));
                open()
            }
            opened => opened,
        }
    }

    /// Sets the attributes of a file that is whole, and gives it its name.
    fn settle(&self, entry: usize, made: &Made) -> Result<(), TargetError> {
        let (there, count) = (&self.entries[entry], &self.shared.count);
        let subject = Subject::Open(made.handle.as_fd());
        if made.kind == MadeKind::Patched {
            self.shared.alter(subject, there);
        } else {
            let fresh = self.shared.fresh_owner(made.handle.as_fd());
            self.shared.apply(subject, Applied { entry: there, mode_now: made.mode, fresh });
        }
        if matches!(made.kind, MadeKind::Beside | MadeKind::Unnamed) {
            let slot = &self.slots[entry];
            let new = slot.goal == Goal::New;
            let moved = slot.open_parent().and_then(|parent| {
                if made.kind == MadeKind::Unnamed {
                    let beside = self.shared.name_beside(&there.key);
                    file::name(made.handle.as_fd(), parent.as_fd(), &beside)?;
                }
                self.shared.take_place(parent.as_fd(), there, new)
            });
            if let Err(error) = moved {
                // The name beside is cleaned up like that of a file that failed.
                *slot.writing() = Writing::Ended(MadeKind::Beside, true);
                return self.fail(entry, "take the place of what is there", error);
            }
        }
        one_more(if self.slots[entry].goal == Goal::New { &count.created } else { &count.rewritten });
        self.slots[entry].decide(Fate::Made);
        Ok(())
    }

    /// Gives a file up for an error of the system.
    fn fail(&self, entry: usize, operation: &str, error: Errno) -> Result<(), TargetError> {
        self.give_up(entry, Fate::Unwritable, ends_all(error));
        self.shared.unmade(&self.entries[entry].key, operation, error)
    }

    /// Leaves nothing of a file that was made, and no mix under the name of one that was there;
    /// unless the restore ends with it and finds the mix when it goes on.
    fn give_up(&self, entry: usize, fate: Fate, ends: bool) {
        let slot = &self.slots[entry];
        self.shared.note_broken(split_key(&self.entries[entry].key).0);
        let before = std::mem::replace(&mut *slot.writing(), Writing::GivenUp);
        let (kind, touched) = match before {
            Writing::Parts(made) => (made.kind, made.touched.load(Ordering::Relaxed)),
            Writing::Ended(kind, touched) => (kind, touched),
            Writing::NotBegun | Writing::GivenUp => (MadeKind::New, false),
        };
        let goes_on = ends && kind == MadeKind::Patched;
        if touched
            && !goes_on
            && let Ok(parent) = slot.open_parent()
        {
            self.clean_up(parent.as_fd(), entry, kind);
        }
        slot.decide(fate);
    }

    fn clean_up(&self, parent: BorrowedFd<'_>, entry: usize, kind: MadeKind) {
        let key = &self.entries[entry].key;
        // What cannot be removed now was removed by somebody else.
        match kind {
            MadeKind::New => drop(unlinkat(parent, self.name(entry), AtFlags::empty())),
            MadeKind::Beside => drop(unlinkat(parent, self.shared.name_beside(key), AtFlags::empty())),
            MadeKind::Unnamed => {}
            MadeKind::Patched => {
                let what = match existing::put_aside(parent, self.name(entry)) {
                    Ok(aside) => format!(
                        "it was rewritten in part; what is there is now {}",
                        String::from_utf8_lossy(&aside)
                    ),
                    Err(error) => {
                        format!("it was rewritten in part, and is a mix now: {}", io::Error::from(error))
                    }
                };
                self.shared.notice(key, NoticeKind::Other, what);
            }
        }
    }

    fn write_content(&self, made: &Made, content: &[u8]) -> Result<(), Errno> {
        if made.kind == MadeKind::Patched {
            self.write_patch(made, 0, content)?;
            return self.cut(made, content.len() as u64);
        }
        self.shared.count.bytes_written.fetch_add(content.len() as u64, Ordering::Relaxed);
        if !self.shared.sparse {
            return file::write_whole(&made.handle, content);
        }
        file::write_sparse(&made.handle, 0, content)?;
        ftruncate(&made.handle, content.len() as u64)
    }

    fn write_patch(&self, made: &Made, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        made.touched.store(true, Ordering::Relaxed);
        let written = file::write_differing(&made.handle, offset, bytes)?;
        self.shared.count.bytes_written.fetch_add(written, Ordering::Relaxed);
        Ok(())
    }

    /// Sets the length of a file, if it is another.
    fn cut(&self, made: &Made, size: u64) -> Result<(), Errno> {
        if made.kind == MadeKind::Patched && existing::size_of(&fstat(&made.handle)?) == size {
            return Ok(());
        }
        made.touched.store(true, Ordering::Relaxed);
        ftruncate(&made.handle, size)
    }

    /// The file that parts are written to, opened or made by whoever comes first.
    fn parts(&self, entry: usize) -> Result<Option<Arc<Made>>, Errno> {
        let mut writing = self.slots[entry].writing();
        match &*writing {
            Writing::Parts(made) => Ok(Some(Arc::clone(made))),
            Writing::Ended(..) | Writing::GivenUp => Ok(None),
            Writing::NotBegun => {
                let made = Arc::new(self.begin(entry)?);
                *writing = Writing::Parts(Arc::clone(&made));
                Ok(Some(made))
            }
        }
    }

    /// Makes the hard links of the batch; everything they link to is decided now.
    pub(super) fn link(&self, top: BorrowedFd<'_>) -> Result<(), TargetError> {
        for (entry, slot) in self.entries.iter().zip(&self.slots) {
            let Plan::Link(link) = &slot.plan else { continue };
            match link.outcome.get() {
                Fate::Made | Fate::Another => {
                    if let Err(error) = self.link_one(top, link, slot, entry) {
                        self.shared.unmade(&entry.key, "make hard link", error)?;
                    }
                }
                // Nothing was decided in a survey.
                Fate::Open if self.shared.rehearse => {}
                Fate::Damaged => self.unlinked(entry, ProblemKind::Damaged),
                Fate::Open | Fate::Unwritable => self.unlinked(entry, ProblemKind::Unwritable),
            }
        }
        Ok(())
    }

    fn link_one(&self, top: BorrowedFd<'_>, link: &Link, slot: &Slot, entry: &Entry) -> Result<(), Errno> {
        let (count, name) = (&self.shared.count, name_of(entry));
        let first = parent_below(top, &link.first);
        let first = first.and_then(|Parent { folder, name }| {
            let stat = existing::look(folder.as_ref().map_or(top, AsFd::as_fd), name)?;
            Ok((folder, name, stat))
        });
        if slot.goal == Goal::New {
            one_more(&count.created);
        } else if let (Ok((_, _, Some(first))), Goal::File(there)) = (&first, slot.goal)
            && Inode::of(first) == there.inode
            && link.outcome.get() == Fate::Made
        {
            one_more(&count.unchanged);
            return Ok(());
        } else {
            one_more(&count.rewritten);
        }
        if self.shared.rehearse {
            return Ok(());
        }
        let (folder, first, _) = first?;
        let (from, parent) = (folder.as_ref().map_or(top, AsFd::as_fd), slot.open_parent()?);
        if slot.goal == Goal::New {
            return linkat(from, first, &parent, name, AtFlags::empty());
        }
        linkat(from, first, &parent, self.shared.name_beside(&entry.key), AtFlags::empty())?;
        self.shared.take_place(parent.as_fd(), entry, false)
    }

    fn unlinked(&self, entry: &Entry, kind: ProblemKind) {
        let what = "is a hard link to a file that could not be restored".to_owned();
        self.shared.problem(&entry.key, kind, what);
    }
}

fn name_of(entry: &Entry) -> &[u8] {
    split_key(&entry.key).1
}

impl Drop for FileBatch {
    /// An interrupted restore leaves no file that it made and did not end.
    fn drop(&mut self) {
        for (entry, slot) in self.slots.iter().enumerate() {
            let made = match &*slot.writing() {
                Writing::Parts(made) if made.kind != MadeKind::Patched => made.kind,
                _ => continue,
            };
            if let Ok(parent) = slot.open_parent() {
                self.clean_up(parent.as_fd(), entry, made);
            }
        }
    }
}

impl TargetBatch for FileBatch {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn takes(&self, entry: usize) -> bool {
        !matches!(*self.slots[entry].writing(), Writing::GivenUp)
    }

    fn wants(&self, entry: usize) -> Want {
        let slot = &self.slots[entry];
        match slot.plan {
            Plan::Nothing | Plan::Link(_) => Want::Nothing,
            Plan::Keep => Want::Keep,
            Plan::Write if slot.there().is_some() => Want::Compare,
            Plan::Write => Want::Whole,
        }
    }

    fn present(&self, entry: usize) -> io::Result<Box<dyn Present>> {
        let slot = &self.slots[entry];
        let there = slot.there().ok_or(Errno::NOENT)?;
        let opened = slot.open_parent().and_then(|parent| {
            let handle = existing::open_file(parent.as_fd(), self.name(entry), there.inode, OFlags::RDONLY)?;
            let size = existing::size_of(&fstat(&handle)?);
            Ok(Content { handle, size })
        });
        match opened {
            Ok(content) => Ok(Box::new(content)),
            Err(error) => {
                slot.replace();
                Err(error.into())
            }
        }
    }

    fn can_patch(&self, entry: usize) -> bool {
        let slot = &self.slots[entry];
        let can = match slot.there() {
            Some(there) if !there.shared && self.shared.notices_halves() => {
                self.shared.rehearse || self.open_to_patch(entry, there).is_ok()
            }
            _ => false,
        };
        if !can {
            slot.replace();
        }
        can
    }

    fn keep(&self, entry: usize) -> Result<(), TargetError> {
        let slot = &self.slots[entry];
        let Goal::File(there) = slot.goal else { return Ok(()) };
        let parent = match slot.open_parent() {
            Ok(parent) => parent,
            Err(error) => return self.fail(entry, "open its folder", error),
        };
        let name = self.name(entry);
        let opened = existing::open_file(parent.as_fd(), name, there.inode, OFlags::RDONLY);
        let subject = match &opened {
            Ok(handle) => Subject::Open(handle.as_fd()),
            Err(_) => Subject::Name(parent.as_fd(), name),
        };
        let count = &self.shared.count;
        // What has other names was compared before, and is as recorded.
        let altered = !there.shared && self.shared.alter(subject, &self.entries[entry]);
        one_more(if altered { &count.attributes_only } else { &count.unchanged });
        slot.decide(Fate::Made);
        Ok(())
    }

    fn would_write(&self, entry: usize, bytes: u64) {
        let (slot, count) = (&self.slots[entry], &self.shared.count);
        one_more(if slot.goal == Goal::New { &count.created } else { &count.rewritten });
        count.bytes_written.fetch_add(bytes, Ordering::Relaxed);
        let patched = slot.there().is_some_and(|there| !there.shared) && self.shared.notices_halves();
        slot.decide(if patched { Fate::Made } else { Fate::Another });
    }

    fn put(&self, entry: usize, content: &[u8]) -> Result<(), TargetError> {
        let slot = &self.slots[entry];
        if !matches!(slot.plan, Plan::Write) {
            return Ok(());
        }
        let begun = match (self.begin(entry), slot.there()) {
            // All of the content is at hand: a new file can take the place of the old one.
            (Err(_), Some(_)) => {
                slot.replace();
                self.create(entry)
            }
            (begun, _) => begun,
        };
        let made = match begun {
            Ok(made) => made,
            Err(error) => return self.fail(entry, "make file", error),
        };
        *slot.writing() = Writing::Ended(made.kind, true);
        if let Err(error) = self.write_content(&made, content) {
            return self.fail(entry, "write", error);
        }
        self.settle(entry, &made)
    }

    fn write_at(&self, entry: usize, offset: u64, bytes: &[u8]) -> Result<(), TargetError> {
        if !matches!(self.slots[entry].plan, Plan::Write) {
            return Ok(());
        }
        let made = match self.parts(entry) {
            Ok(Some(made)) => made,
            Ok(None) => return Ok(()),
            Err(error) => return self.fail(entry, "open file", error),
        };
        if made.kind == MadeKind::Patched {
            let written = self.write_patch(&made, offset, bytes);
            return written.or_else(|error| self.fail(entry, "write", error));
        }
        self.shared.count.bytes_written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let written = if self.shared.sparse {
            file::write_sparse(&made.handle, offset, bytes)
        } else {
            file::write_part(&made.handle, offset, bytes)
        };
        written.or_else(|error| self.fail(entry, "write", error))
    }

    fn clear(&self, entry: usize, offset: u64, length: u64) -> Result<(), TargetError> {
        let made = match self.parts(entry) {
            Ok(Some(made)) if made.kind == MadeKind::Patched => made,
            // Of a new file nothing has to be cleared.
            Ok(_) => return Ok(()),
            Err(error) => return self.fail(entry, "open file", error),
        };
        made.touched.store(true, Ordering::Relaxed);
        match file::clear(&made.handle, offset, length) {
            Ok(written) => {
                self.shared.count.bytes_written.fetch_add(written, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => self.fail(entry, "make a hole", error),
        }
    }

    fn close(&self, entry: usize) -> Result<(), TargetError> {
        let slot = &self.slots[entry];
        if !matches!(slot.plan, Plan::Write) {
            return Ok(());
        }
        let made = match self.parts(entry) {
            Ok(Some(made)) => made,
            Ok(None) => return Ok(()),
            Err(error) => return self.fail(entry, "make file", error),
        };
        if let Err(error) = self.cut(&made, self.entries[entry].size) {
            return self.fail(entry, "write", error);
        }
        *slot.writing() = Writing::Ended(made.kind, made.touched.load(Ordering::Relaxed));
        self.settle(entry, &made)
    }

    fn discard(&self, entry: usize) -> Result<(), TargetError> {
        if matches!(self.slots[entry].plan, Plan::Write | Plan::Keep) {
            self.give_up(entry, Fate::Damaged, false);
        }
        Ok(())
    }
}
