//! Restoring into a folder: everything is made beneath it and nothing in an entry is trusted.
//!
//! Folders are made readable for nobody else and get their attributes when their subtree is
//! complete; what makes files unchangeable comes last of all. On purpose not here: restoring
//! over what is there already; the folder must be empty.

mod attributes;
mod batch;
mod file;
mod folder;
mod links;
mod shared;
mod special;

use crate::directory::{Budget, Directory};
use crate::owners::Numbers;
use crate::walk::is_below;
use attributes::{Applied, Subject};
use batch::{FileBatch, Plan, Slot};
use folder::Folder;
use holdfast_core::entry::{Entry, Kind};
use holdfast_engine::outcome::{ProblemKind, Problems};
use holdfast_engine::target::{Target, TargetBatch, TargetError};
use links::{Links, Role};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, syncfs};
use rustix::io::Errno;
use shared::Shared;
use std::collections::VecDeque;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

/// How to restore.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileTargetOptions {
    /// Runs of zeros become holes where a block of the file system fits in; recorded holes
    /// always do.
    pub sparse: bool,
    /// Owners are those of the same name on this host, of the same number where there is none.
    pub ownership_by_name: bool,
}

/// Restores into a folder.
#[derive(Debug)]
pub struct FileTarget {
    shared: Arc<Shared>,
    top: Arc<Directory>,
    /// The way from the top to where the last entry was made.
    folders: Vec<Folder>,
    top_entry: Option<Entry>,
    last_key: Option<Vec<u8>>,
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
    /// Makes the folder, with those above it, or takes an empty one.
    ///
    /// # Errors
    /// There is something else, the folder is not empty, or it cannot be made.
    pub fn create(dir: &Path, options: FileTargetOptions) -> Result<Self, TargetError> {
        let FileTargetOptions { sparse, ownership_by_name } = options;
        let top = make_top(dir)?;
        let numbers = ownership_by_name.then(Numbers::of_host);
        let shared = Shared::new(top.as_fd(), sparse, numbers);
        Ok(Self {
            shared: Arc::new(shared),
            top: Directory::top(top, Budget::of_process()),
            folders: Vec::new(),
            top_entry: None,
            last_key: None,
            links: Links::default(),
            pending: VecDeque::new(),
        })
    }

    /// Makes an entry, or says what is still to be done for it.
    fn place(&mut self, entry: &Entry, ended: &mut Vec<Folder>) -> Result<Slot, TargetError> {
        if let Err(reason) = self.admit(entry) {
            self.shared.problem(&entry.key, ProblemKind::Refused, reason);
            return Ok(Slot::nothing());
        }
        if entry.key.is_empty() {
            self.top_entry = Some(entry.clone());
            return Ok(Slot::nothing());
        }
        while let Some(folder) = self.folders.pop_if(|folder| !is_below(&entry.key, &folder.entry.key)) {
            ended.push(folder);
        }
        let (above, _) = split_key(&entry.key);
        let (made, parent) = match self.folders.last() {
            Some(folder) => (&folder.entry.key[..], Arc::clone(&folder.directory)),
            None => (&b""[..], Arc::clone(&self.top)),
        };
        if made != above {
            let reason = "its folder was not restored".to_owned();
            self.shared.problem(&entry.key, ProblemKind::Refused, reason);
            return Ok(Slot::nothing());
        }
        self.make(entry, parent)
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

    fn make(&mut self, entry: &Entry, parent: Arc<Directory>) -> Result<Slot, TargetError> {
        if entry.kind == Kind::Directory {
            match folder::make(&parent, split_key(&entry.key).1) {
                Ok(directory) => self.folders.push(Folder { directory, entry: entry.clone() }),
                Err(error) => self.shared.unmade(&entry.key, "make folder", error)?,
            }
            return Ok(Slot::nothing());
        }
        let (plan, outcome) = match self.links.role(entry) {
            Role::Ordinary => (Plan::of(entry.kind), None),
            Role::First(outcome) => (Plan::of(entry.kind), Some(outcome)),
            Role::Link(link) => (Plan::Link(link), None),
        };
        let slot = Slot::new(parent, plan, outcome);
        if matches!(slot.plan, Plan::Nothing) {
            special::make(&self.shared, &slot, entry)?;
        }
        Ok(slot)
    }

    fn finish_top(&mut self) -> Result<(), TargetError> {
        let Some(entry) = self.top_entry.take() else { return Ok(()) };
        let top = self.top.open().map_err(|error| shared::fatal(&entry.key, "open", error))?;
        let applied = Applied { entry: &entry, mode_now: None, fresh: self.shared.top_owner() };
        self.shared.apply(Subject::Open(top.as_fd()), applied);
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
        batch.link(self.top.open().map_err(|error| shared::fatal(b"", "open", error))?.as_fd())?;
        ended.into_iter().for_each(|folder| folder.finish(&self.shared));
        Ok(())
    }

    fn finish(&mut self) -> Result<Problems, TargetError> {
        while let Some(folder) = self.folders.pop() {
            folder.finish(&self.shared);
        }
        self.finish_top()?;
        let top = self.top.open().map_err(|error| shared::fatal(b"", "open", error))?;
        self.shared.set_late_flags(top.as_fd());
        syncfs(top.as_fd()).map_err(|error| shared::fatal(b"", "sync", error))?;
        Ok(self.shared.take_problems())
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

fn make_top(dir: &Path) -> Result<OwnedFd, TargetError> {
    let refused = |what: String, source| TargetError { what, source };
    let shown = dir.display();
    // For nobody else to look into while the restore goes on.
    match DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(refused(format!("target {shown} is not a folder: state another one"), None));
        }
        Err(error) => {
            let what = format!("make target {shown}: see that the folder above may be written to");
            return Err(refused(what, Some(error)));
        }
        Ok(()) => {}
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(CWD, dir, flags, Mode::empty());
    let opened = opened.and_then(|top| is_empty(&top).map(|empty| (top, empty)));
    match opened {
        Ok((top, true)) => Ok(top),
        Ok((_, false)) => {
            Err(refused(format!("target {shown} is not empty: state a new or an empty folder"), None))
        }
        Err(error) => {
            Err(refused(format!("open target {shown}: see that it may be read"), Some(error.into())))
        }
    }
}

fn is_empty(directory: &OwnedFd) -> Result<bool, Errno> {
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}
