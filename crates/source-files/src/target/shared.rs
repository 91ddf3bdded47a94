//! What the target and its batches know together: options, what new files are like, problems.
//!
//! On purpose not here: anything about a single entry.

use super::FileTargetOptions;
use super::attributes::Subject;
use super::existing::Overwrite;
use super::remove::Deletes;
use crate::owners::Numbers;
use crate::verify::open_below;
use holdfast_core::entry::{Owner, key_to_path};
use holdfast_engine::outcome::{Notice, NoticeKind, Problem, ProblemKind, Problems};
use holdfast_engine::target::{Finished, Tally, TargetError};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{IFlags, Mode, OFlags, fgetxattr_query, fstat, ioctl_getflags, ioctl_setflags, syncfs};
use rustix::io::Errno;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Known to the target and to all threads that write.
#[derive(Debug)]
pub(super) struct Shared {
    /// Runs of zeros become holes.
    pub(super) sparse: bool,
    /// Bits that the system takes from the mode of a new file; all of them if it does not tell.
    pub(super) umask: u16,
    /// New files get access lists that nobody recorded.
    pub(super) inherits_acl: bool,
    /// There was something in the target before.
    pub(super) in_place: bool,
    /// What is done with what is there.
    pub(super) overwrite: Overwrite,
    /// Nothing may be changed.
    pub(super) rehearse: bool,
    /// This process may do what the owner of anything may.
    pub(super) privileged: bool,
    /// What may be deleted because the snapshot does not have it.
    pub(super) deletes: Option<Deletes>,
    pub(super) count: Counts,
    numbers: Option<Numbers>,
    owner: Option<(u32, u32)>,
    fresh_owner: OnceLock<(u32, u32)>,
    top_owner: Option<(u32, u32)>,
    late_flags: Mutex<Vec<(Vec<u8>, IFlags)>>,
    problems: Mutex<Problems>,
    deleted: Mutex<Vec<Vec<u8>>>,
    /// Folders in which something could not be restored.
    broken: Mutex<HashSet<Vec<u8>>>,
    /// One handle on each file system that was entered, to sync it.
    devices: Mutex<HashMap<u64, OwnedFd>>,
    hasher: RandomState,
}

/// What becomes of things, counted by all threads.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) created: AtomicU64,
    pub(super) rewritten: AtomicU64,
    pub(super) attributes_only: AtomicU64,
    pub(super) unchanged: AtomicU64,
    pub(super) left: AtomicU64,
    pub(super) deleted: AtomicU64,
    pub(super) existing: AtomicU64,
    pub(super) bytes_written: AtomicU64,
}

/// Counts one more.
pub(super) fn one_more(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl Shared {
    /// Of a target whose top is open, or is not there yet in a rehearsal.
    pub(super) fn new(
        top: Option<BorrowedFd<'_>>,
        in_place: bool,
        options: &FileTargetOptions,
        deletes: Option<Deletes>,
    ) -> Self {
        let lists = |top| fgetxattr_query(top, c"system.posix_acl_default").is_ok();
        Self {
            sparse: options.sparse,
            // Folders that were there may have lists of their own that overrule the mask.
            umask: if in_place { 0o777 } else { umask() },
            inherits_acl: in_place || top.is_some_and(lists),
            in_place,
            overwrite: options.overwrite.unwrap_or(Overwrite::Always),
            rehearse: options.rehearse,
            privileged: rustix::process::geteuid().is_root(),
            deletes,
            count: Counts::default(),
            numbers: options.ownership_by_name.then(Numbers::of_host),
            owner: options.owner,
            fresh_owner: OnceLock::new(),
            top_owner: top.and_then(|top| fstat(top).ok()).map(|raw| (raw.st_uid, raw.st_gid)),
            late_flags: Mutex::default(),
            problems: Mutex::default(),
            deleted: Mutex::default(),
            broken: Mutex::default(),
            devices: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    /// The owner that everything made below the target has at first. It is asked of the first
    /// thing that was made, because mounts and set-group-id folders have their own ideas.
    pub(super) fn fresh_owner(&self, made: BorrowedFd<'_>) -> Option<(u32, u32)> {
        if let Some(owner) = self.fresh_owner.get().filter(|_| !self.in_place) {
            return Some(*owner);
        }
        let raw = fstat(made).ok()?;
        if self.in_place {
            // Each folder that was there before has an idea of its own.
            return Some((raw.st_uid, raw.st_gid));
        }
        Some(*self.fresh_owner.get_or_init(|| (raw.st_uid, raw.st_gid)))
    }

    /// The same, as far as it is known already.
    pub(super) fn known_owner(&self) -> Option<(u32, u32)> {
        self.fresh_owner.get().copied()
    }

    /// The owner of the target itself.
    pub(super) fn top_owner(&self) -> Option<(u32, u32)> {
        self.top_owner
    }

    /// The numbers that an entry's owner gets here.
    pub(super) fn numbers_of(&self, owner: &Owner) -> (u32, u32) {
        let recorded = || self.numbers.as_ref().map_or((owner.uid, owner.gid), |numbers| numbers.of(owner));
        self.owner.unwrap_or_else(recorded)
    }

    pub(super) fn problem(&self, key: &[u8], kind: ProblemKind, what: String) {
        lock(&self.problems).problem(Problem { path: key_to_path(key), kind, what });
    }

    pub(super) fn notice(&self, key: &[u8], kind: NoticeKind, what: String) {
        lock(&self.problems).notice(Notice { path: key_to_path(key), kind, what });
    }

    /// Counts what was deleted, and keeps the first of it.
    pub(super) fn deleted(&self, key: &[u8]) {
        one_more(&self.count.deleted);
        let mut deleted = lock(&self.deleted);
        if deleted.len() < Problems::KEPT_MAX {
            deleted.push(key_to_path(key));
        }
    }

    pub(super) fn finished(&self) -> Finished {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let count = &self.count;
        let deleted = get(&count.deleted);
        Finished {
            problems: std::mem::take(&mut *lock(&self.problems)),
            tally: Tally {
                created: get(&count.created),
                rewritten: get(&count.rewritten),
                attributes_only: get(&count.attributes_only),
                unchanged: get(&count.unchanged),
                left: get(&count.left),
                deleted,
                existing: get(&count.existing) + deleted,
                bytes_written: get(&count.bytes_written),
            },
            deleted: std::mem::take(&mut *lock(&self.deleted)),
        }
    }

    /// A name beside an entry's own that nobody can foresee.
    pub(super) fn name_beside(&self, key: &[u8]) -> Vec<u8> {
        format!(".holdfast-{:016x}", self.hasher.hash_one(key)).into_bytes()
    }

    /// Notes that something in a folder could not be restored: what else lies there may be all
    /// that is left of it.
    pub(super) fn note_broken(&self, folder: &[u8]) {
        if self.deletes.is_some() {
            lock(&self.broken).insert(folder.to_vec());
        }
    }

    pub(super) fn is_broken(&self, folder: &[u8]) -> bool {
        lock(&self.broken).contains(folder)
    }

    /// Whether a file that was only written in part before a kill is met as one that differs, and
    /// not taken for a file that somebody wants to keep.
    pub(super) fn notices_halves(&self) -> bool {
        matches!(self.overwrite, Overwrite::Always | Overwrite::IfChanged)
    }

    /// Keeps a handle on a file system that was entered, to sync it at the end.
    pub(super) fn note_device(&self, device: u64, handle: BorrowedFd<'_>) {
        if !self.rehearse
            && let Entry::Vacant(vacant) = lock(&self.devices).entry(device)
            && let Ok(handle) = handle.try_clone_to_owned()
        {
            vacant.insert(handle);
        }
    }

    /// Makes everything durable.
    pub(super) fn sync(&self, top: BorrowedFd<'_>) -> Result<(), Errno> {
        syncfs(top)?;
        lock(&self.devices).values().try_for_each(syncfs)
    }

    /// Gives this process the rights of an owner over a folder; returns the mode it had.
    pub(super) fn add_rights(&self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<Mode, Errno> {
        let subject = Subject::Name(parent, name);
        let mode = subject.stat()?.st_mode & 0o7777;
        subject.set_mode((mode | 0o700) as u16)?;
        Ok(Mode::from_raw_mode(mode))
    }

    /// Notes an entry that could not be made; some reasons end the whole restore.
    pub(super) fn unmade(&self, key: &[u8], operation: &str, error: Errno) -> Result<(), TargetError> {
        match error {
            error if ends_all(error) => return Err(fatal(key, operation, error)),
            Errno::EXIST => {
                let what = "the target holds this name already, or one it takes for the same".to_owned();
                self.problem(key, ProblemKind::Refused, what);
            }
            error => {
                let what = format!("{operation}: {}", std::io::Error::from(error));
                self.problem(key, ProblemKind::Unwritable, what);
            }
        }
        Ok(())
    }

    /// Keeps flags for the end: they would forbid links, names and times.
    pub(super) fn flag_late(&self, key: &[u8], flags: IFlags) {
        lock(&self.late_flags).push((key.to_vec(), flags));
    }

    pub(super) fn set_late_flags(&self, top: BorrowedFd<'_>) {
        for (key, flags) in std::mem::take(&mut *lock(&self.late_flags)) {
            let opened = open_below(top, &key, OFlags::RDONLY);
            if let Err(error) = opened.and_then(|handle| add_flags(&handle, flags)) {
                let what = format!("inode flags not set: {}", std::io::Error::from(error));
                self.problem(&key, ProblemKind::Attribute, what);
            }
        }
    }
}

/// Whether an error ends the whole restore: no other file would fare better.
pub(super) fn ends_all(error: Errno) -> bool {
    matches!(error, Errno::NOSPC | Errno::DQUOT | Errno::ROFS)
}

/// Adds inode flags to those that the file system set itself.
pub(super) fn add_flags(handle: impl rustix::fd::AsFd, flags: IFlags) -> Result<(), Errno> {
    let now = ioctl_getflags(&handle)?;
    if now.contains(flags) { Ok(()) } else { ioctl_setflags(&handle, now | flags) }
}

/// What ends the whole restore, with the next move.
pub(super) fn fatal(key: &[u8], operation: &str, error: Errno) -> TargetError {
    let path = key_to_path(key);
    let path = if path.is_empty() { "the target".into() } else { String::from_utf8_lossy(&path) };
    let next = match error {
        Errno::NOSPC | Errno::DQUOT => {
            "the target is full; free space and restore again with --overwrite always"
        }
        Errno::ROFS => "the target cannot be written to; state another one",
        _ => "see to the target's file system and restore again with --overwrite always",
    };
    TargetError { what: format!("{operation} {path}: {next}"), source: Some(error.into()) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the mask instead of setting it, which other threads would feel.
fn umask() -> u16 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u16::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o777)
}
