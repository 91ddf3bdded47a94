//! Open directories that outlive the step of the walk that opened them.
//!
//! A directory keeps its handle as long as the process can afford it. Beyond that it is opened
//! again from the nearest ancestor that has one, so that a tree deeper than the limit of open
//! files is walked all the same. On purpose not here: what is in a directory.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, Result};
use rustix::process::{Resource, getrlimit};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Handles that are never used for directories: the rest of the program needs them.
const HANDLES_RESERVED: u64 = 256;
/// Bounds of the number of directories that are kept open.
const HANDLES_MIN: u64 = 64;
/// A larger number would only cost kernel memory.
const HANDLES_MAX: u64 = 4096;
/// When handles run short, one directory in so many levels still keeps its own.
const CHECKPOINT_LEVELS: usize = 64;

/// How a directory below the source's root or the target is opened.
pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// How many directories are kept open at once.
#[derive(Debug)]
pub(crate) struct Budget {
    held: AtomicUsize,
    held_max: usize,
}

impl Budget {
    /// Takes half of what the process may open.
    pub(crate) fn of_process() -> Arc<Self> {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let half = (limit.saturating_sub(HANDLES_RESERVED) / 2).clamp(HANDLES_MIN, HANDLES_MAX);
        Self::of(usize::try_from(half).unwrap_or(usize::MAX))
    }

    /// Allows so many handles.
    pub(crate) fn of(held_max: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), held_max })
    }

    /// The second half is for checkpoints only, so that reopening stays short at any depth.
    fn take(&self, depth: usize) -> bool {
        let limit = if depth.is_multiple_of(CHECKPOINT_LEVELS) { self.held_max } else { self.held_max / 2 };
        self.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| (held < limit).then_some(held + 1))
            .is_ok()
    }

    fn give_back(&self) {
        self.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A directory of a walk or of a restore.
#[derive(Debug)]
pub(crate) struct Directory {
    parent: Option<Arc<Directory>>,
    name: Box<[u8]>,
    flags: OFlags,
    depth: usize,
    handle: Option<OwnedFd>,
    budget: Arc<Budget>,
}

/// The handle of a directory, for the moment.
#[derive(Debug)]
pub(crate) enum Opened<'a> {
    /// The directory keeps it.
    Held(BorrowedFd<'a>),
    /// It was opened again and is closed after use.
    Temporary(OwnedFd),
}

impl AsFd for Opened<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Held(handle) => *handle,
            Self::Temporary(handle) => handle.as_fd(),
        }
    }
}

impl Directory {
    /// The top, whose handle is always kept.
    pub(crate) fn top(handle: OwnedFd, budget: Arc<Budget>) -> Arc<Self> {
        budget.held.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            parent: None,
            name: Box::default(),
            flags: DIRECTORY,
            depth: 0,
            handle: Some(handle),
            budget,
        })
    }

    /// A directory below this one that was just opened with `flags`. What it does not keep of
    /// the handle is given back, for use until the caller moves on.
    pub(crate) fn below(
        self: &Arc<Self>,
        name: &[u8],
        handle: OwnedFd,
        flags: OFlags,
    ) -> (Arc<Self>, Option<OwnedFd>) {
        let depth = self.depth + 1;
        let (kept, spare) = if self.budget.take(depth) { (Some(handle), None) } else { (None, Some(handle)) };
        let parent = Some(Arc::clone(self));
        let budget = Arc::clone(&self.budget);
        (Arc::new(Self { parent, name: name.into(), flags, depth, handle: kept, budget }), spare)
    }

    /// Gives the handle, opening it again if it is not kept.
    pub(crate) fn open(&self) -> Result<Opened<'_>> {
        match &self.handle {
            Some(handle) => Ok(Opened::Held(handle.as_fd())),
            None => self.reopen().map(Opened::Temporary),
        }
    }

    /// The handle if it is kept.
    pub(crate) fn handle(&self) -> Option<BorrowedFd<'_>> {
        self.handle.as_ref().map(AsFd::as_fd)
    }

    fn reopen(&self) -> Result<OwnedFd> {
        let mut steps = vec![self];
        let mut above = self.parent.as_deref();
        while let Some(directory) = above {
            match &directory.handle {
                Some(handle) => return open_steps(handle.as_fd(), &steps),
                None => steps.push(directory),
            }
            above = directory.parent.as_deref();
        }
        // Unreachable: the top always keeps its handle.
        Err(Errno::BADF)
    }
}

/// Opens one below the other, the last step first.
fn open_steps(from: BorrowedFd<'_>, steps: &[&Directory]) -> Result<OwnedFd> {
    let mut current: Option<OwnedFd> = None;
    for step in steps.iter().rev() {
        let parent = current.as_ref().map_or(from, AsFd::as_fd);
        current = Some(openat(parent, &*step.name, step.flags, Mode::empty())?);
    }
    current.ok_or(Errno::BADF)
}

impl Drop for Directory {
    /// Lets go of the ancestors one after the other: recursion would overflow in a deep tree.
    fn drop(&mut self) {
        if self.handle.is_some() {
            self.budget.give_back();
        }
        let mut above = self.parent.take();
        while let Some(directory) = above {
            above = Arc::into_inner(directory).and_then(|mut last| last.parent.take());
        }
    }
}
