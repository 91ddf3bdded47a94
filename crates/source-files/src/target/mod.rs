//! Restoring into a folder: everything is made beneath it and nothing in an entry is trusted.
//!
//! Folders are made readable for nobody else and get their attributes when their subtree is
//! complete; what makes files unchangeable comes last of all. What is there already is met by
//! the rule for overwriting, and no link that is there is ever followed. On purpose not here:
//! which part of a content differs; the engine compares.

mod alter;
mod attributes;
mod batch;
mod existing;
mod file;
mod folder;
mod links;
mod options;
mod present;
mod remove;
mod shared;
mod special;
mod way;

pub use existing::Overwrite;
pub use options::FileTargetOptions;
pub use present::restored_file;

use crate::directory::{Budget, Directory};
use crate::walk::is_below;
use attributes::{Applied, Subject};
use batch::{FileBatch, Goal, Plan, Slot, There};
use existing::{Inode, Inside};
use folder::Folder;
use holdfast_core::entry::{Entry, Kind};
use holdfast_engine::outcome::ProblemKind;
use holdfast_engine::target::{Finished, Target, TargetBatch, TargetError};
use links::{Links, Role};
use options::Opened;
use rustix::fd::AsFd;
use rustix::fs::Stat;
use rustix::io::Errno;
use shared::{Shared, one_more};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

/// Restores into a folder.
#[derive(Debug)]
pub struct FileTarget {
    shared: Arc<Shared>,
    /// None in a rehearsal, if it is not there yet.
    top: Option<Arc<Directory>>,
    /// What is known of the top if something lies in it.
    top_inside: Option<Inside>,
    /// The way from the top to where the last entry was made.
    folders: Vec<Folder>,
    top_entry: Option<Entry>,
    last_key: Option<Vec<u8>>,
    /// The last thing that nothing is made below.
    barred: Option<Vec<u8>>,
    /// A thing that was left as it is, though the snapshot has a folder in its place.
    left: Option<Vec<u8>>,
    /// A part of the listing is lost.
    spared: bool,
    links: Links,
    pending: VecDeque<Pending>,
}

/// A batch that was prepared, and the folders whose subtree ended in it, deepest first.
#[derive(Debug)]
struct Pending {
    batch: Arc<FileBatch>,
    ended: Vec<Folder>,
}

impl FileTarget {
    /// Opens the folder, or makes it with those above it. In a rehearsal nothing is made.
    ///
    /// # Errors
    /// There is something else, it cannot be made or read, or it is not empty and the options do
    /// not say what is done with what lies in it.
    pub fn create(dir: &Path, options: &FileTargetOptions) -> Result<Self, TargetError> {
        let Opened { top, in_place } = options::open_top(dir, options)?;
        let deletes = options::deletes(options);
        let shared = Shared::new(top.as_ref().map(AsFd::as_fd), in_place, options, deletes);
        let mut device = None;
        if let Some(top) = &top {
            let stat = rustix::fs::fstat(top).map_err(|error| shared::fatal(b"", "look at", error))?;
            shared.note_device(stat.st_dev, top.as_fd());
            device = Some(stat.st_dev);
        }
        // Whether the target itself may be changed is seen once its entry comes.
        let mut top_inside = in_place.then(|| Inside::new(shared.deletes.as_ref(), false));
        if let (Some(inside), Some(device)) = (&mut top_inside, device) {
            inside.lies_on(device);
        }
        Ok(Self {
            shared: Arc::new(shared),
            top: top.map(|top| Directory::top(top, Budget::of_process())),
            top_inside,
            folders: Vec::new(),
            top_entry: None,
            last_key: None,
            barred: None,
            left: None,
            spared: false,
            links: Links::default(),
            pending: VecDeque::new(),
        })
    }

    /// Makes an entry, or says what is still to be done for it.
    fn place(&mut self, entry: &Entry, ended: &mut Vec<Folder>) -> Result<Slot, TargetError> {
        if let Err(reason) = self.admit(entry) {
            self.shared.problem(&entry.key, ProblemKind::Refused, reason);
            return Ok(Slot::refused());
        }
        if entry.key.is_empty() {
            self.note_top(entry);
            return Ok(Slot::nothing());
        }
        if self.left.as_ref().is_some_and(|left| is_below(&entry.key, left)) {
            one_more(&self.shared.count.left);
            return Ok(Slot::nothing());
        }
        while let Some(mut folder) = self.folders.pop_if(|folder| !is_below(&entry.key, &folder.entry.key)) {
            folder.spared |= self.spared;
            ended.push(folder);
        }
        let (above, name) = split_key(&entry.key);
        if !self.is_in(above) && !self.make_way(above)? {
            let reason = "its folder was not restored".to_owned();
            self.shared.problem(&entry.key, ProblemKind::Refused, reason);
            return Ok(Slot::refused());
        }
        if entry.kind != Kind::Directory {
            self.bar(&entry.key);
        }
        let shared = Arc::clone(&self.shared);
        let (parent, inside) = self.innermost();
        let (Some(inside), Some(directory)) = (inside, &parent) else { return self.make(entry, parent) };
        if let (Some(names), Some(deletes)) = (&mut inside.names, &shared.deletes) {
            names.push(deletes.hash(name));
        }
        let there = directory.open().and_then(|opened| existing::look(opened.as_fd(), name));
        match there {
            Ok(None) => self.make(entry, parent),
            Ok(Some(there)) if inside.meet(&there) => self.meet(entry, directory, &there),
            Ok(Some(_)) => self.unmade(entry, "make", Errno::EXIST),
            Err(error) => self.unmade(entry, "look at what is there", error),
        }
    }

    fn unmade(&mut self, entry: &Entry, operation: &str, error: Errno) -> Result<Slot, TargetError> {
        self.bar(&entry.key);
        self.shared.unmade(&entry.key, operation, error)?;
        Ok(Slot::refused())
    }

    /// The folder that is worked in, and what is known of it if it was there before.
    fn innermost(&mut self) -> (Option<Arc<Directory>>, Option<&mut Inside>) {
        match self.folders.last_mut() {
            Some(folder) => (folder.directory.clone(), folder.inside.as_mut()),
            None => (self.top.clone(), self.top_inside.as_mut()),
        }
    }

    fn is_in(&self, key: &[u8]) -> bool {
        self.folders.last().map_or(&b""[..], |folder| &folder.entry.key[..]) == key
    }

    /// Notes what nothing is made below: it is no folder, or is not there.
    fn bar(&mut self, key: &[u8]) {
        if !self.barred.as_ref().is_some_and(|barred| is_below(key, barred)) {
            self.barred.get_or_insert_default().clear();
            self.barred.get_or_insert_default().extend_from_slice(key);
        }
    }

    /// Checks a key before anything is done with it.
    fn admit(&mut self, entry: &Entry) -> Result<(), String> {
        let last = self.last_key.as_deref();
        if last.is_some_and(|last| last >= &entry.key[..]) {
            return Err("comes twice or out of order".to_owned());
        }
        if entry.key.is_empty() {
            self.last_key = Some(Vec::new());
            let is_folder = entry.kind == Kind::Directory;
            return if is_folder { Ok(()) } else { Err("the target is a folder, this is not".to_owned()) };
        }
        if !entry.key.split(|&byte| byte == 0).all(is_name) {
            return Err("its name is not one that a folder can hold".to_owned());
        }
        let last = self.last_key.get_or_insert_default();
        last.clone_from(&entry.key);
        Ok(())
    }

    /// Makes an entry where there is nothing.
    fn make(&mut self, entry: &Entry, parent: Option<Arc<Directory>>) -> Result<Slot, TargetError> {
        if entry.kind == Kind::Directory {
            return self.make_folder(entry, parent);
        }
        let (plan, outcome) = match self.links.role(entry) {
            Role::Ordinary => (Plan::of(entry.kind), None),
            Role::First(outcome) => (Plan::of(entry.kind), Some(outcome)),
            Role::Link(link) => (Plan::Link(link), None),
        };
        self.slot(entry, Slot::new(parent, plan, Goal::New, outcome))
    }

    fn make_folder(&mut self, entry: &Entry, parent: Option<Arc<Directory>>) -> Result<Slot, TargetError> {
        let directory = match parent {
            Some(parent) if !self.shared.rehearse => match folder::make(&parent, split_key(&entry.key).1) {
                Ok(directory) => Some(directory),
                Err(error) => return self.unmade(entry, "make folder", error),
            },
            _ => None,
        };
        self.folders.push(Folder::new(directory, entry.clone(), None));
        Ok(Slot::nothing())
    }

    /// Makes what has no content at once.
    fn slot(&self, entry: &Entry, slot: Slot) -> Result<Slot, TargetError> {
        if matches!(slot.plan, Plan::Nothing) && !special::make(&self.shared, &slot, entry)? {
            return Ok(Slot::refused());
        }
        Ok(slot)
    }

    /// Meets what is there already.
    fn meet(&mut self, entry: &Entry, parent: &Arc<Directory>, there: &Stat) -> Result<Slot, TargetError> {
        one_more(&self.shared.count.existing);
        let may_change = self.shared.overwrite.may_change(entry, there);
        let (name, kind) = (split_key(&entry.key).1, existing::kind(there));
        if entry.kind == Kind::Directory && kind == Some(Kind::Directory) {
            let mut inside = Inside::new(self.shared.deletes.as_ref(), may_change);
            return match existing::enter(&self.shared, parent, name, entry, &mut inside) {
                Ok(directory) => {
                    let folder = Folder::new(Some(directory), entry.clone(), Some(inside));
                    self.folders.push(self.keep_what_was_left_out(folder));
                    Ok(Slot::nothing())
                }
                Err(error) => self.unmade(entry, "open folder", error),
            };
        }
        if !may_change {
            one_more(&self.shared.count.left);
            self.left = (entry.kind == Kind::Directory).then(|| entry.key.clone());
            return Ok(Slot::nothing());
        }
        if entry.kind == Kind::Directory {
            if !self.shared.rehearse
                && let Err(error) =
                    parent.open().and_then(|opened| self.shared.unlink(opened.as_fd(), name, false))
            {
                return self.unmade(entry, "remove what is there", error);
            }
            one_more(&self.shared.count.rewritten);
            return self.make_folder(entry, Some(Arc::clone(parent)));
        }
        if kind == Some(Kind::Directory) && !self.is_empty(parent, name) {
            if self.shared.deletes.is_none() {
                let what = "a folder with things in it is there; with --delete it is replaced".to_owned();
                self.shared.problem(&entry.key, ProblemKind::Refused, what);
                return Ok(Slot::refused());
            }
            if self.shared.rehearse
                && let Ok(opened) = parent.open()
            {
                self.shared.remove_tree(opened.as_fd(), name, &entry.key);
            }
        }
        let (goal, plan, outcome) = self.goal(entry, parent, there);
        self.slot(entry, Slot::new(Some(Arc::clone(parent)), plan, goal, outcome))
    }

    fn is_empty(&self, parent: &Arc<Directory>, name: &[u8]) -> bool {
        let listed = parent.open().and_then(|opened| {
            let flags = crate::directory::DIRECTORY;
            let folder = rustix::fs::openat(&opened, name, flags, rustix::fs::Mode::empty())?;
            remove::list(folder.as_fd())
        });
        listed.is_ok_and(|names| names.is_empty())
    }

    /// What becomes of something that is no folder, and of the entry in its place.
    fn goal(
        &mut self,
        entry: &Entry,
        parent: &Arc<Directory>,
        there: &Stat,
    ) -> (Goal, Plan, Option<Arc<links::Outcome>>) {
        let (role, inode) = (self.links.role(entry), Inode::of(there));
        let linked = there.st_nlink > 1;
        let file = |shared| Goal::File(There { inode, shared });
        let same_kind = existing::kind(there) == Some(entry.kind);
        let (keeps, outcome) = match role {
            Role::Link(link) => return (file(linked), Plan::Link(link), None),
            // Its other names belong to nothing that is restored: it must not be changed.
            Role::Ordinary => (same_kind && !linked, None),
            Role::First(outcome) => {
                let keeps =
                    same_kind && (!linked || self.is_as_recorded(entry, parent) && self.links.keep(inode));
                (keeps, Some(outcome))
            }
        };
        let plan = match Plan::of(entry.kind) {
            Plan::Write if keeps && self.shared.overwrite.trusts(entry, there) => Plan::Keep,
            plan => plan,
        };
        (if keeps { file(linked) } else { Goal::Replace }, plan, outcome)
    }

    /// Whether the attributes of what is there are those of an entry.
    fn is_as_recorded(&self, entry: &Entry, parent: &Arc<Directory>) -> bool {
        parent.open().is_ok_and(|opened| {
            self.shared.is_as_recorded(Subject::Name(opened.as_fd(), split_key(&entry.key).1), entry)
        })
    }

    /// Keeps the entry of the target itself for the end, and looks at it as it is now.
    fn note_top(&mut self, entry: &Entry) {
        self.top_entry = Some(entry.clone());
        if let (Some(inside), Some(top)) = (&mut self.top_inside, &self.top)
            && let Ok(opened) = top.open()
        {
            let subject = Subject::Open(opened.as_fd());
            inside.differs = !self.shared.is_as_recorded(subject, entry);
            let there = subject.stat();
            inside.may_change = there.is_ok_and(|there| self.shared.overwrite.may_change(entry, &there));
        }
    }

    fn finish_top(&mut self) -> Result<(), TargetError> {
        let Some(entry) = self.top_entry.take() else { return Ok(()) };
        let Some(top) = &self.top else { return Ok(()) };
        let top = top.open().map_err(|error| shared::fatal(&entry.key, "open", error))?;
        if let Some(inside) = &mut self.top_inside {
            inside.end();
            folder::finish_inside(&self.shared, top.as_fd(), &entry, inside, self.spared);
        } else if !self.shared.rehearse {
            let applied = Applied { entry: &entry, mode_now: None, fresh: self.shared.top_owner() };
            self.shared.apply(Subject::Open(top.as_fd()), applied);
        }
        Ok(())
    }
}

impl Target for FileTarget {
    fn prepare(&mut self, entries: Vec<Entry>) -> Result<Arc<dyn TargetBatch>, TargetError> {
        let mut ended = Vec::new();
        let slots = entries.iter().map(|entry| self.place(entry, &mut ended));
        let slots = slots.collect::<Result<Vec<_>, _>>()?;
        let batch = Arc::new(FileBatch::new(entries, slots, Arc::clone(&self.shared)));
        self.pending.push_back(Pending { batch: Arc::clone(&batch), ended });
        Ok(batch)
    }

    fn complete(&mut self, batch: Arc<dyn TargetBatch>) -> Result<(), TargetError> {
        let next = self.pending.pop_front();
        let next = next.filter(|next| std::ptr::addr_eq(Arc::as_ptr(&next.batch), Arc::as_ptr(&batch)));
        let Some(Pending { batch, ended }) = next else {
            let what = "a batch was completed out of order: a defect of this program".to_owned();
            return Err(TargetError { what, source: None });
        };
        if let Some(top) = &self.top {
            batch.link(top.open().map_err(|error| shared::fatal(b"", "open", error))?.as_fd())?;
        }
        ended.into_iter().for_each(|folder| folder.finish(&self.shared));
        Ok(())
    }

    fn spare(&mut self) {
        self.spared = true;
    }

    fn finish(&mut self) -> Result<Finished, TargetError> {
        while let Some(mut folder) = self.folders.pop() {
            folder.spared |= self.spared;
            folder.finish(&self.shared);
        }
        self.finish_top()?;
        if let (Some(top), false) = (&self.top, self.shared.rehearse) {
            let top = top.open().map_err(|error| shared::fatal(b"", "open", error))?;
            self.shared.set_late_flags(top.as_fd());
            self.shared.sync(top.as_fd()).map_err(|error| shared::fatal(b"", "sync", error))?;
        }
        Ok(self.shared.finished())
    }
}

/// The folder's key and the name in it.
fn split_key(key: &[u8]) -> (&[u8], &[u8]) {
    match key.iter().rposition(|&byte| byte == 0) {
        Some(at) => (&key[..at], &key[at + 1..]),
        None => (b"", key),
    }
}

fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/')
}
