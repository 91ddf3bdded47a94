//! A world for tests of the engine: a source and a target in memory, a clock that is set, and
//! randomness from a seed.
//!
//! On purpose not here: file systems and real time. Nothing sleeps; a watchdog ends what hangs.

#![allow(dead_code, unused_imports, reason = "each user of the harness takes a part of it")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod source;
mod stepped;
mod target;
mod tree;

pub(crate) use source::{ModelSource, Reads};
pub(crate) use stepped::{Stepped, SteppedStore};
pub(crate) use target::{ModelTarget, Restored};
pub(crate) use tree::{Node, Rng, Run, Tree, Trouble, compressible, noise};

use holdfast_core::crypto::{KdfCost, KemCalls};
use holdfast_core::entry::Time;
use holdfast_core::keys::Role;
use holdfast_core::session::Process;
use holdfast_engine::ctx::{Cancel, Clock, Ctx, Entropy};
use holdfast_engine::error::{Error, Result};
use holdfast_engine::event::{Event, Monitor};
use holdfast_engine::maintain::{MaxUnused, PruneOptions};
use holdfast_engine::outcome::Outcome;
use holdfast_engine::source::Source;
use holdfast_engine::workers::Workers;
use holdfast_engine::{
    BackupOptions, BackupReport, Carry, CheckReport, InitOptions, NewKey, ReadData, Repository,
    RestoreOptions, RestoreReport, Secret, Snapshot, SnapshotFilter, admit, backup, check, restore,
    snapshots,
};
use holdfast_store::{Key, MemoryStore, ObjectStore};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A body that takes longer hangs.
const WATCHDOG_SECONDS: u64 = 100;
/// What the clock says at first.
pub(crate) const START_SECONDS: i64 = 1_800_000_000;

/// A prune that frees all that it may at once, and ends no session that may live.
pub(crate) const fn pruning() -> PruneOptions {
    PruneOptions {
        max_unused: MaxUnused::Percent(0.0),
        max_repack_bytes: None,
        min_age_seconds: Some(0),
        abort_after_seconds: 72 * 3600,
        dry_run: false,
    }
}

/// Runs the body of a test; one that hangs fails.
pub(crate) fn run<F: Future<Output = ()>>(body: impl FnOnce() -> F + Send + 'static) {
    let (sender, receiver) = channel::<()>();
    let thread = std::thread::spawn(move || {
        let _alive = sender;
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(body());
    });
    if receiver.recv_timeout(Duration::from_secs(WATCHDOG_SECONDS)) == Err(RecvTimeoutError::Timeout) {
        panic!("the test hangs: no end after {WATCHDOG_SECONDS} seconds");
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A clock that stands until it is set.
pub(crate) struct ModelClock(Mutex<Time>);

impl ModelClock {
    pub(crate) fn advance(&self, seconds: i64) {
        self.0.lock().unwrap().seconds += seconds;
    }
}

impl Clock for ModelClock {
    fn now(&self) -> Time {
        *self.0.lock().unwrap()
    }
}

/// Randomness from a seed; on request it panics after so many calls.
pub(crate) struct ModelEntropy {
    rng: Mutex<Rng>,
    pub(crate) calls_left: AtomicU32,
}

impl Entropy for ModelEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let left = self.calls_left.fetch_sub(1, Ordering::Relaxed);
        assert!(left > 0, "the source of randomness is broken, as planned");
        let mut rng = self.rng.lock().unwrap();
        bytes.iter_mut().for_each(|byte| *byte = rng.next() as u8);
    }
}

/// Notes warnings.
#[derive(Default)]
pub(crate) struct Warnings(pub(crate) Mutex<Vec<String>>);

impl Monitor for Warnings {
    fn on(&self, event: &Event<'_>) {
        if let Event::Warning(what) = event {
            self.0.lock().unwrap().push((*what).to_owned());
        }
    }
}

/// A repository in memory and all that runs are given.
pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) clock: Arc<ModelClock>,
    pub(crate) entropy: Arc<ModelEntropy>,
    pub(crate) warnings: Arc<Warnings>,
    pub(crate) workers: Workers,
    pub(crate) cache: tempfile::TempDir,
    process: AtomicU32,
}

/// What trying a password costs here: nothing to speak of.
pub(crate) const COST: KdfCost = KdfCost { memory_kib: 32, passes: 1, lanes: 1 };

/// A key file that is one byte again and again.
pub(crate) fn key_file(byte: u8) -> Secret {
    Secret::KeyFile(vec![byte; 32])
}

/// What opens every repository here; a key file, so that no password is hashed.
pub(crate) fn secret() -> Secret {
    key_file(7)
}

impl World {
    pub(crate) fn new(workers: Workers) -> Self {
        Self::with_seed(workers, 1)
    }

    pub(crate) fn with_seed(workers: Workers, seed: u64) -> Self {
        let now = Time { seconds: START_SECONDS, nanos: 0 };
        Self {
            store: MemoryStore::new(),
            clock: Arc::new(ModelClock(Mutex::new(now))),
            entropy: Arc::new(ModelEntropy { rng: Mutex::new(Rng(seed)), calls_left: u32::MAX.into() }),
            warnings: Arc::default(),
            workers,
            cache: tempfile::tempdir().unwrap(),
            process: 1.into(),
        }
    }

    /// A world with a repository in it.
    pub(crate) async fn made(workers: Workers) -> (Self, Repository) {
        let world = Self::new(workers);
        let repository = world.create().await;
        (world, repository)
    }

    /// Another world that begins with this one's content and cache.
    pub(crate) fn fork(&self, seed: u64) -> Self {
        let mut fork = Self::with_seed(self.workers.clone(), seed);
        fork.store = MemoryStore::with_objects(self.store.objects());
        fork.clock.advance(self.clock.now().seconds - START_SECONDS);
        fork.process = (1000 + seed as u32).into();
        copy_folder(self.cache.path(), fork.cache.path());
        fork
    }

    /// A run of a new process; those before it are dead.
    pub(crate) fn ctx(&self) -> Ctx {
        let number = self.process.fetch_add(1, Ordering::Relaxed);
        Ctx {
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            kem: KemCalls::system(),
            workers: self.workers.clone(),
            monitor: self.warnings.clone(),
            cancel: Cancel::default(),
            process: Process { machine: [1; 16], boot: [2; 16], number, start: 0 },
            is_alive: |_| false,
            cache: Some(self.cache.path().to_owned()),
            clock_accepted: false,
        }
    }

    pub(crate) fn init_options() -> InitOptions {
        let kdf = COST;
        InitOptions { label: "first".into(), kdf, proved: Vec::new(), identifying: None }
    }

    pub(crate) async fn create(&self) -> Repository {
        let store = Arc::new(self.store.clone());
        Repository::create(&self.ctx(), store, &secret(), &Self::init_options()).await.unwrap()
    }

    pub(crate) async fn open(&self) -> Repository {
        self.open_on(Arc::new(self.store.clone())).await.unwrap()
    }

    /// A member that is admitted with a role; who was open before does not know it.
    pub(crate) async fn admitted(&self, role: Role, key: u8) -> Repository {
        let new = NewKey { secret: key_file(key), label: Some(role.word().into()), cost: None };
        admit(&self.ctx(), &self.open().await, role, &new).await.unwrap();
        self.open_as(Arc::new(self.store.clone()), key).await
    }

    /// Opens a store with the key of such a member.
    pub(crate) async fn open_as(&self, store: Arc<dyn ObjectStore>, key: u8) -> Repository {
        Repository::open(&self.ctx(), store, &key_file(key)).await.unwrap()
    }

    pub(crate) async fn open_on(&self, store: Arc<dyn ObjectStore>) -> Result<Repository> {
        Repository::open(&self.ctx(), store, &secret()).await
    }

    /// Options without a cache.
    pub(crate) fn bare() -> BackupOptions {
        BackupOptions {
            label: String::new(),
            tags: Vec::new(),
            parent: None,
            force: false,
            ignore_ctime: false,
            ignore_inode: false,
            skip_if_unchanged: false,
            dry_run: false,
            time: None,
            compression_level: 1,
            data_pack_bytes: holdfast_core::pack::DATA_PACK_BYTES,
            seal_check: true,
            cache_dir: None,
            version: "test".into(),
            command: "backup".into(),
        }
    }

    /// Options with the world's cache.
    pub(crate) fn options(&self) -> BackupOptions {
        BackupOptions { cache_dir: Some(self.cache.path().to_owned()), ..Self::bare() }
    }

    /// Time passes, and a source is backed up with the cache.
    pub(crate) async fn backup(&self, repository: &Repository, source: ModelSource) -> Outcome<BackupReport> {
        self.backup_with(repository, source, &self.options()).await.unwrap()
    }

    /// Backs a tree up, all of it.
    pub(crate) async fn keep(&self, repository: &Repository, tree: &Tree) -> BackupReport {
        let outcome = self.backup(repository, ModelSource::new(tree)).await;
        assert_eq!(outcome.problems.problems, []);
        outcome.value
    }

    pub(crate) async fn backup_with(
        &self,
        repository: &Repository,
        source: ModelSource,
        options: &BackupOptions,
    ) -> Result<Outcome<BackupReport>> {
        self.clock.advance(100);
        let source: Box<dyn Source> = Box::new(source);
        backup(&self.ctx(), repository, source, options).await
    }

    pub(crate) async fn snapshots(&self, repository: &Repository) -> Vec<Snapshot> {
        snapshots(&self.ctx(), repository, &SnapshotFilter::default()).await.unwrap().value
    }

    pub(crate) async fn newest(&self, repository: &Repository) -> Snapshot {
        self.snapshots(repository).await.pop().unwrap()
    }

    pub(crate) async fn restore(
        &self,
        repository: &Repository,
        snapshot: &Snapshot,
        options: &RestoreOptions,
    ) -> Result<(Restored, Outcome<RestoreReport>)> {
        let target = ModelTarget::default();
        let restored = target.restored();
        let outcome = restore(&self.ctx(), repository, snapshot, Box::new(target), options).await?;
        let restored = restored.lock().unwrap().clone();
        Ok((restored, outcome))
    }

    /// Tells what a restore would do to an empty target.
    pub(crate) async fn rehearse(
        &self,
        repository: &Repository,
        snapshot: &Snapshot,
        options: &RestoreOptions,
    ) -> Result<RestoreReport> {
        let options = RestoreOptions { carry: Carry::Rehearse, ..options.clone() };
        let target = Box::new(ModelTarget::rehearsing(BTreeMap::new()));
        let outcome = restore(&self.ctx(), repository, snapshot, target, &options).await?;
        Ok(outcome.value)
    }

    /// Restores everything and compares it with the tree it came from.
    pub(crate) async fn assert_restores(&self, repository: &Repository, snapshot: &Snapshot, tree: &Tree) {
        let options = RestoreOptions::default();
        let (restored, outcome) = self.restore(repository, snapshot, &options).await.unwrap();
        assert_eq!(outcome.problems.problems, []);
        restored.assert_is(tree);
    }

    pub(crate) async fn check(&self, repository: &Repository) -> CheckReport {
        check(&self.ctx(), repository, ReadData::All).await.unwrap()
    }

    /// Reads everything, and finds nothing wrong.
    pub(crate) async fn assert_sound(&self, repository: &Repository) {
        let report = self.check(repository).await;
        let errors: Vec<_> = report.findings.iter().filter(|finding| finding.is_error).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }

    pub(crate) fn clock_seconds(&self) -> i64 {
        self.clock.now().seconds
    }

    /// Bytes in the store.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.store.objects().values().map(|body| body.len() as u64).sum()
    }

    /// Names in the store that begin so.
    pub(crate) fn names(&self, prefix: &str) -> Vec<Key> {
        self.store.objects().into_keys().filter(|key| key.as_str().starts_with(prefix)).collect()
    }

    pub(crate) fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.0.lock().unwrap())
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copy = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir(&copy).unwrap();
            copy_folder(&path, &copy);
        } else {
            std::fs::copy(&path, &copy).unwrap();
        }
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}
