//! The files of one batch, written from several threads.
//!
//! On purpose not here: folders and special files; they were made when the batch was prepared.

use super::attributes::{Applied, FLAGS_EARLY, Subject};
use super::links::{Fate, Link, Outcome};
use super::shared::{Shared, add_flags};
use super::{file, split_key};
use crate::directory::{Directory, Opened};
use crate::verify::{Parent, parent_below};
use holdfast_core::entry::{Entry, Kind};
use holdfast_engine::outcome::ProblemKind;
use holdfast_engine::target::{TargetBatch, TargetError};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, IFlags, ftruncate, linkat, unlinkat};
use rustix::io::Errno;
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
    outcome: Option<Arc<Outcome>>,
    writing: Mutex<Writing>,
}

/// What is to be done after the batch was prepared.
#[derive(Debug)]
pub(super) enum Plan {
    Nothing,
    Write,
    Link(Link),
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
    Ended,
    GivenUp,
}

/// A file that was made.
#[derive(Debug)]
struct Made {
    handle: OwnedFd,
    /// The mode that it was made with, where the system tells what it made of it.
    mode: Option<u16>,
}

impl Slot {
    pub(super) fn new(parent: Arc<Directory>, plan: Plan, outcome: Option<Arc<Outcome>>) -> Self {
        Self { parent: Some(parent), plan, outcome, writing: Mutex::new(Writing::NotBegun) }
    }

    pub(super) fn nothing() -> Self {
        let writing = Mutex::new(Writing::NotBegun);
        Self { parent: None, plan: Plan::Nothing, outcome: None, writing }
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

    fn open_parent(&self) -> Result<Opened<'_>, Errno> {
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
        let Entry { mode, owner, attributes, .. } = &self.entries[entry];
        let own = self.shared.known_owner() == Some(self.shared.numbers_of(owner));
        let mode = if own { mode & 0o777 } else { 0o600 };
        let parent = self.slots[entry].open_parent()?;
        let handle = file::create(parent.as_fd(), self.name(entry), mode)?;
        let early = IFlags::from_bits_retain(attributes.inode_flags) & FLAGS_EARLY;
        if !early.is_empty() {
            // Should it fail, it fails again when all flags are set, and is named then.
            let _ = add_flags(&handle, early);
        }
        let mode = (self.shared.umask != 0o777).then_some(mode & !self.shared.umask);
        Ok(Made { handle, mode })
    }

    fn settle(&self, entry: usize, made: &Made) {
        let fresh = self.shared.fresh_owner(made.handle.as_fd());
        let applied = Applied { entry: &self.entries[entry], mode_now: made.mode, fresh };
        self.shared.apply(Subject::Open(made.handle.as_fd()), applied);
        self.slots[entry].decide(Fate::Made);
    }

    /// Gives a file up for an error of the system.
    fn fail(&self, entry: usize, operation: &str, error: Errno) -> Result<(), TargetError> {
        self.give_up(entry, Fate::Unwritable);
        self.shared.unmade(&self.entries[entry].key, operation, error)
    }

    /// Leaves nothing of a file.
    fn give_up(&self, entry: usize, fate: Fate) {
        let slot = &self.slots[entry];
        let before = std::mem::replace(&mut *slot.writing(), Writing::GivenUp);
        if matches!(before, Writing::Parts(..) | Writing::Ended)
            && let Ok(parent) = slot.open_parent()
        {
            // A file that cannot be removed now was removed by somebody else.
            let _ = unlinkat(parent, self.name(entry), AtFlags::empty());
        }
        slot.decide(fate);
    }

    fn write_content(&self, made: &OwnedFd, content: &[u8]) -> Result<(), Errno> {
        if !self.shared.sparse {
            return file::write_whole(made, content);
        }
        file::write_sparse(made, 0, content)?;
        ftruncate(made, content.len() as u64)
    }

    /// The file that parts are written to, made by whoever comes first.
    fn parts(&self, entry: usize) -> Result<Option<Arc<Made>>, Errno> {
        let mut writing = self.slots[entry].writing();
        match &*writing {
            Writing::Parts(made) => Ok(Some(Arc::clone(made))),
            Writing::Ended | Writing::GivenUp => Ok(None),
            Writing::NotBegun => {
                let made = Arc::new(self.create(entry)?);
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
                Fate::Made => {
                    if let Err(error) = link_one(top, link, slot, name_of(entry)) {
                        self.shared.unmade(&entry.key, "make hard link", error)?;
                    }
                }
                Fate::Damaged => self.unlinked(entry, ProblemKind::Damaged),
                Fate::Open | Fate::Unwritable => self.unlinked(entry, ProblemKind::Unwritable),
            }
        }
        Ok(())
    }

    fn unlinked(&self, entry: &Entry, kind: ProblemKind) {
        let what = "is a hard link to a file that could not be restored".to_owned();
        self.shared.problem(&entry.key, kind, what);
    }
}

fn name_of(entry: &Entry) -> &[u8] {
    split_key(&entry.key).1
}

fn link_one(top: BorrowedFd<'_>, link: &Link, slot: &Slot, name: &[u8]) -> Result<(), Errno> {
    let Parent { folder, name: first } = parent_below(top, &link.first)?;
    let from = folder.as_ref().map_or(top, AsFd::as_fd);
    linkat(from, first, slot.open_parent()?, name, AtFlags::empty())
}

impl TargetBatch for FileBatch {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn wants(&self, entry: usize) -> bool {
        matches!(self.slots[entry].plan, Plan::Write)
    }

    fn put(&self, entry: usize, content: &[u8]) -> Result<(), TargetError> {
        if !self.wants(entry) {
            return Ok(());
        }
        let made = match self.create(entry) {
            Ok(made) => made,
            Err(error) => return self.fail(entry, "make file", error),
        };
        *self.slots[entry].writing() = Writing::Ended;
        if let Err(error) = self.write_content(&made.handle, content) {
            return self.fail(entry, "write", error);
        }
        self.settle(entry, &made);
        Ok(())
    }

    fn write_at(&self, entry: usize, offset: u64, bytes: &[u8]) -> Result<(), TargetError> {
        if !self.wants(entry) {
            return Ok(());
        }
        let made = match self.parts(entry) {
            Ok(Some(made)) => made,
            Ok(None) => return Ok(()),
            Err(error) => return self.fail(entry, "make file", error),
        };
        let written = if self.shared.sparse {
            file::write_sparse(&made.handle, offset, bytes)
        } else {
            file::write_part(&made.handle, offset, bytes)
        };
        written.or_else(|error| self.fail(entry, "write", error))
    }

    fn close(&self, entry: usize) -> Result<(), TargetError> {
        if !self.wants(entry) {
            return Ok(());
        }
        let made = match self.parts(entry) {
            Ok(Some(made)) => made,
            Ok(None) => return Ok(()),
            Err(error) => return self.fail(entry, "make file", error),
        };
        if let Err(error) = ftruncate(&made.handle, self.entries[entry].size) {
            return self.fail(entry, "write", error);
        }
        *self.slots[entry].writing() = Writing::Ended;
        self.settle(entry, &made);
        Ok(())
    }

    fn discard(&self, entry: usize) -> Result<(), TargetError> {
        if self.wants(entry) {
            self.give_up(entry, Fate::Damaged);
        }
        Ok(())
    }
}
