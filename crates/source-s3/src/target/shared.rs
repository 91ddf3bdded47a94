//! What the target, its batches and everything on its way know together: the bucket, how much may be
//! on its way at once, counts, problems.
//!
//! On purpose not here: anything about a single object.

use super::options::{BucketTargetOptions, Overwrite};
use super::place::BucketPlace;
use super::replay::Last;
use holdfast_engine::outcome::{Notice, NoticeKind, Problem, ProblemKind, Problems};
use holdfast_engine::target::{Finished, Tally, TargetError};
use holdfast_store::ErrorKind;
use holdfast_store_s3::{About, Answer, chain};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What may be on its way at once, in units of [`UNIT_BYTES`].
const UNITS: u32 = 1024;
const UNIT_BYTES: usize = 64 << 10;
/// What the smallest object takes of it: 64 requests at once at most.
const UNITS_MIN: u32 = UNITS / 64;

/// What ends a whole restore, for whoever comes next.
const GO_ON: &str = "what was restored stays; see to it and restore again with --overwrite always";
/// The same where all versions are restored: what is there of some cannot be told from others.
const BEGIN_ANEW: &str = "what was restored stays, and cannot be gone on with; see to it and restore to a \
                          prefix that is empty";

/// Known to the target and to all that it sets going.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) place: BucketPlace,
    pub(super) options: BucketTargetOptions,
    pub(super) overwrite: Overwrite,
    /// Nothing lies there: nothing needs to be looked at.
    pub(super) empty: bool,
    pub(super) count: Counts,
    /// Uploads in parts that the server knows of: their ids, and the names of the objects.
    pub(super) uploads: Mutex<HashMap<String, String>>,
    /// Nothing more is to be begun.
    stopped: AtomicBool,
    /// Of a replay: what was written last.
    pub(super) last: Mutex<Last>,
    /// The bucket knows no access rights of single objects.
    pub(super) no_rights: AtomicBool,
    handle: Handle,
    gate: Arc<Semaphore>,
    problems: Mutex<Problems>,
    deleted: Mutex<Vec<Vec<u8>>>,
    failure: Mutex<Option<TargetError>>,
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
    /// Objects that were there and are newer than the snapshot.
    pub(super) newer: AtomicU64,
    /// Things that were files, whose owner, mode and time a bucket cannot keep.
    pub(super) files: AtomicU64,
    /// Objects with rights or locks, which are not set.
    pub(super) with_rights: AtomicU64,
}

/// Counts one more.
pub(super) fn one_more(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl Shared {
    pub(super) fn new(place: BucketPlace, options: BucketTargetOptions, empty: bool, handle: Handle) -> Self {
        Self {
            place,
            overwrite: options.overwrite.unwrap_or(Overwrite::Always),
            options,
            empty,
            count: Counts::default(),
            uploads: Mutex::default(),
            stopped: AtomicBool::new(false),
            last: Mutex::default(),
            no_rights: AtomicBool::new(false),
            handle,
            gate: Arc::new(Semaphore::new(UNITS as usize)),
            problems: Mutex::default(),
            deleted: Mutex::default(),
            failure: Mutex::default(),
        }
    }

    /// Waits for something, on whatever thread this is: a worker, one that may block, or one that
    /// drives other futures.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        tokio::task::block_in_place(|| self.handle.block_on(future))
    }

    pub(super) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until so many bytes may be on their way. What is larger than all goes alone.
    pub(super) async fn admit(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(UNITS).clamp(UNITS_MIN, UNITS);
        let permit = Arc::clone(&self.gate).acquire_many_owned(units).await.ok()?;
        (!self.is_stopped()).then_some(permit)
    }

    /// Lets nothing more begin, and waits for the end of what has begun.
    pub(super) async fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        drop(self.gate.acquire_many(UNITS).await);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Fails if something failed that ends all.
    pub(super) fn check(&self) -> Result<(), TargetError> {
        match lock(&self.failure).take() {
            Some(error) => Err(error),
            None if self.is_stopped() => Err(self.fatal("the restore was stopped")),
            None => Ok(()),
        }
    }

    pub(super) fn problem(&self, path: &[u8], kind: ProblemKind, what: impl Into<String>) {
        lock(&self.problems).problem(Problem { path: path.to_vec(), kind, what: what.into() });
    }

    pub(super) fn notice(&self, path: &[u8], what: impl Into<String>) {
        lock(&self.problems).notice(Notice {
            path: path.to_vec(),
            kind: NoticeKind::Other,
            what: what.into(),
        });
    }

    /// Notes what a server would not do: a problem of one object, or the end of all.
    pub(super) fn refused(
        &self,
        path: &[u8],
        kind: ProblemKind,
        operation: &'static str,
        name: &str,
        answer: Answer,
    ) {
        match self.judged(operation, name, answer) {
            Ok(what) => self.problem(path, kind, what),
            Err(error) => self.end(error),
        }
    }

    /// What a server would not do, in words; the error ends all.
    pub(super) fn judged(
        &self,
        operation: &'static str,
        name: &str,
        answer: Answer,
    ) -> Result<String, TargetError> {
        let silence = answer.is_silence();
        let subject = self.place.subject(name);
        let error = answer.into_error(&About { operation, subject: &subject });
        if silence || matches!(error.kind, ErrorKind::Full | ErrorKind::Unusable) {
            return Err(self.fatal(&chain(&error)));
        }
        Ok(chain(&error))
    }

    fn fatal(&self, what: &str) -> TargetError {
        let then = if self.options.replay { BEGIN_ANEW } else { GO_ON };
        TargetError { what: format!("{what}; {then}"), source: None }
    }

    /// Ends the whole restore; the first reason counts.
    pub(super) fn end(&self, error: TargetError) {
        if !self.stopped.swap(true, Ordering::AcqRel) {
            lock(&self.failure).get_or_insert(error);
        }
    }

    /// The folder for parts of large objects cannot be used.
    pub(super) fn spool_failed(&self, error: io::Error) -> TargetError {
        let dir = self.options.spool.display();
        let what = format!("gather parts of a large object in {dir}: state a folder with room, --cache-dir");
        TargetError { what, source: Some(error) }
    }

    /// Counts what was deleted, and keeps the first of it.
    pub(super) fn deleted(&self, path: &[u8]) {
        one_more(&self.count.deleted);
        let mut deleted = lock(&self.deleted);
        if deleted.len() < Problems::KEPT_MAX {
            deleted.push(path.to_vec());
        }
    }

    pub(super) fn finished(&self) -> Finished {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let count = &self.count;
        if get(&count.files) > 0 && !self.options.rehearse {
            self.notice(
                b"",
                "objects of a bucket have no owner, mode or time of their own: those of files are not set",
            );
        }
        if get(&count.with_rights) > 0 && !self.options.rehearse {
            let what = if self.options.with_acl {
                "locks of objects are recorded, and not set: set them where they are meant"
            } else {
                "access rights and locks of objects are recorded, and not set: --with-acl sets the rights"
            };
            self.notice(b"", format!("{} objects: {what}", get(&count.with_rights)));
        }
        Finished {
            problems: std::mem::take(&mut *lock(&self.problems)),
            tally: Tally {
                created: get(&count.created),
                rewritten: get(&count.rewritten),
                attributes_only: get(&count.attributes_only),
                unchanged: get(&count.unchanged),
                left: get(&count.left),
                deleted: get(&count.deleted),
                existing: get(&count.existing),
                bytes_written: get(&count.bytes_written),
            },
            deleted: std::mem::take(&mut *lock(&self.deleted)),
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
