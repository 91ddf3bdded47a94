//! What the target and its batches know together: options, what new files are like, problems.
//!
//! On purpose not here: anything about a single entry.

use crate::owners::Numbers;
use crate::verify::open_below;
use holdfast_core::entry::{Owner, key_to_path};
use holdfast_engine::outcome::{Problem, ProblemKind, Problems};
use holdfast_engine::target::TargetError;
use rustix::fd::BorrowedFd;
use rustix::fs::{IFlags, OFlags, fgetxattr_query, fstat, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;
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
    numbers: Option<Numbers>,
    fresh_owner: OnceLock<(u32, u32)>,
    top_owner: Option<(u32, u32)>,
    late_flags: Mutex<Vec<(Vec<u8>, IFlags)>>,
    problems: Mutex<Problems>,
}

impl Shared {
    pub(super) fn new(top: BorrowedFd<'_>, sparse: bool, numbers: Option<Numbers>) -> Self {
        Self {
            sparse,
            umask: umask(),
            inherits_acl: fgetxattr_query(top, c"system.posix_acl_default").is_ok(),
            numbers,
            fresh_owner: OnceLock::new(),
            top_owner: fstat(top).ok().map(|raw| (raw.st_uid, raw.st_gid)),
            late_flags: Mutex::default(),
            problems: Mutex::default(),
        }
    }

    /// The owner that everything made below the target has at first. It is asked of the first
    /// thing that was made, because mounts and set-group-id folders have their own ideas.
    pub(super) fn fresh_owner(&self, made: BorrowedFd<'_>) -> Option<(u32, u32)> {
        if let Some(owner) = self.fresh_owner.get() {
            return Some(*owner);
        }
        let raw = fstat(made).ok()?;
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
        self.numbers.as_ref().map_or((owner.uid, owner.gid), |numbers| numbers.of(owner))
    }

    pub(super) fn problem(&self, key: &[u8], kind: ProblemKind, what: String) {
        lock(&self.problems).problem(Problem { path: key_to_path(key), kind, what });
    }

    pub(super) fn take_problems(&self) -> Problems {
        std::mem::take(&mut *lock(&self.problems))
    }

    /// Notes an entry that could not be made; some reasons end the whole restore.
    pub(super) fn unmade(&self, key: &[u8], operation: &str, error: Errno) -> Result<(), TargetError> {
        match error {
            Errno::NOSPC | Errno::DQUOT | Errno::ROFS => return Err(fatal(key, operation, error)),
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
        Errno::NOSPC | Errno::DQUOT => "the target is full; free space and restore into an empty folder",
        Errno::ROFS => "the target cannot be written to; state another one",
        _ => "see to the target's file system and restore into an empty folder",
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
