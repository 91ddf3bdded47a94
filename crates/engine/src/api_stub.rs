//! Signatures that the command line is written against.
#![allow(unused_variables, missing_docs, clippy::todo, clippy::unused_async)]
use crate::ctx::Ctx; use crate::error::Result; use crate::outcome::Outcome; use crate::source::Source; use crate::target::Target;
use holdfast_core::crypto::KdfCost; use holdfast_core::entry::{Entry, Time}; use holdfast_core::id::{ChunkId, MemberId, RepositoryId, SessionId};
use holdfast_core::keys::Role; use holdfast_core::session::{Counts, Details, Summary}; use holdfast_store::ObjectStore;
use std::path::PathBuf; use std::sync::Arc;

/// What a person holds; owned. (module `repository`)
#[derive(Clone)] pub enum Secret { Password(Vec<u8>), KeyFile(Vec<u8>) }
pub struct InitOptions { pub label: String, pub kdf: KdfCost }
#[derive(Debug, Clone)] pub struct Repository { }
impl Repository {
    /// ErrorKind::RepositoryExists when there is one.
    pub async fn create(ctx: &Ctx, store: Arc<dyn ObjectStore>, secret: &Secret, options: &InitOptions) -> Result<Self> { todo!() }
    /// ErrorKind::NoRepository, WrongKey, Newer.
    pub async fn open(ctx: &Ctx, store: Arc<dyn ObjectStore>, secret: &Secret) -> Result<Self> { todo!() }
    pub fn id(&self) -> RepositoryId { todo!() }
    pub fn role(&self) -> Role { todo!() }
    pub fn location(&self) -> String { todo!() }
}

/// (module `backup`)
#[derive(Debug, Clone)] pub struct BackupOptions {
    pub label: String, pub tags: Vec<String>,
    /// Compare with this snapshot instead of the newest of the stream.
    pub parent: Option<SessionId>,
    /// Read every file whether or not it changed.
    pub force: bool,
    pub ignore_ctime: bool, pub ignore_inode: bool,
    pub skip_if_unchanged: bool,
    /// Reads and counts, stores nothing.
    pub dry_run: bool,
    /// Recorded instead of the clock's time.
    pub time: Option<Time>,
    pub compression_level: i32,
    /// Open each chunk again before it is uploaded (on by default).
    pub seal_check: bool,
    pub cache_dir: Option<PathBuf>,
    pub version: String, pub command: String,
}
#[derive(Debug, Clone)] pub struct BackupReport {
    /// None for a dry run, or when nothing changed and that was to be skipped.
    pub snapshot: Option<SessionId>,
    pub parent: Option<SessionId>, pub root: ChunkId, pub counts: Counts, pub unchanged: bool,
    /// Dead sessions whose packs were taken over.
    pub adopted_sessions: u64, pub adopted_packs: u64,
    pub start: Time, pub end: Time,
}
/// problems.problem_count > 0 = exit 3
pub async fn backup(ctx: &Ctx, repository: &Repository, source: Box<dyn Source>, options: &BackupOptions) -> Result<Outcome<BackupReport>> { todo!() }

/// (module `snapshots`)
#[derive(Debug, Clone)] pub struct Snapshot { pub id: SessionId, pub member: MemberId, pub summary: Summary }
#[derive(Debug, Clone, Default)] pub struct SnapshotFilter { pub hosts: Vec<String>, pub tags: Vec<Vec<String>> /* OR of ANDs, as restic */, pub paths: Vec<Vec<u8>>, pub source: Option<String> /* label */ }
/// All that match, ordered by end time, oldest first; damaged ones come as problems.
pub async fn snapshots(ctx: &Ctx, repository: &Repository, filter: &SnapshotFilter) -> Result<Outcome<Vec<Snapshot>>> { todo!() }
#[derive(Debug, Clone)] pub struct Candidate { pub id: SessionId, pub label: String, pub host: String, pub end: Time }
/// `text` = `latest`, an id, or a unique prefix of one (>= 4 hex digits? any unique); `path` (with slashes, may be empty) narrows `latest` to sources that contain it.
/// Errors: NotFound; Ambiguous (message lists the candidates with their times).
/// `latest` that is incomplete is Ambiguous-like refusal? -> it is chosen only if no whole one exists or caller says so; see Resolved.
pub async fn resolve(ctx: &Ctx, repository: &Repository, text: &str, path: &[u8], filter: &SnapshotFilter) -> Result<Resolved> { todo!() }
#[derive(Debug, Clone)] pub struct Resolved { pub snapshot: Snapshot, /// A newer but incomplete snapshot of the same stream was passed over.
    pub passed_over: Option<Snapshot> }
pub async fn details(ctx: &Ctx, repository: &Repository, snapshot: &Snapshot) -> Result<Details> { todo!() }
/// Calls `visit` for each entry at or below `path` in key order (path itself first, if it is an entry); ErrorKind::NotFound when the path does not exist. recursive=false: only the path's direct children (and itself).
pub async fn list(ctx: &Ctx, repository: &Repository, snapshot: &Snapshot, path: &[u8], recursive: bool, visit: &mut (dyn FnMut(&Entry) + Send)) -> Result<()> { todo!() }

/// (module `restore`) Which entries to restore; called with the entry's path in the snapshot (leading slash) and whether it is a folder.
pub type Selector = Arc<dyn Fn(&[u8], bool) -> Selection + Send + Sync>;
#[derive(Debug, Clone, Copy, PartialEq, Eq)] pub enum Selection { /// Restore it (and look below).
    Take, /// Not itself, but look below: made as a plain folder only if something below is taken.
    Descend, /// Leave it and everything below.
    Skip }
#[derive(Clone)] pub struct RestoreOptions { pub path: Vec<u8>, pub select: Option<Selector>, pub fail_fast: bool }
#[derive(Debug, Clone, Copy, Default)] pub struct RestoreReport { pub files: u64, pub directories: u64, pub others: u64, pub bytes: u64,
    pub bytes_fetched: u64, pub packs: u64, pub verified_files: u64 }
/// Any ProblemKind::Damaged in problems = exit 1; other problems = exit 3.
pub async fn restore(ctx: &Ctx, repository: &Repository, snapshot: &Snapshot, target: Box<dyn Target>, options: &RestoreOptions) -> Result<Outcome<RestoreReport>> { todo!() }
/// Dry run: what would be read and made.
pub async fn plan(ctx: &Ctx, repository: &Repository, snapshot: &Snapshot, options: &RestoreOptions) -> Result<RestoreReport> { todo!() }
/// Reads the restored files again and compares them with what was recorded at backup time. `open` opens a file beneath the target by its key relative to the target.
pub type OpenRestored = Arc<dyn Fn(&[u8]) -> std::io::Result<std::fs::File> + Send + Sync>;
pub async fn verify(ctx: &Ctx, repository: &Repository, snapshot: &Snapshot, options: &RestoreOptions, open: OpenRestored) -> Result<Outcome<RestoreReport>> { todo!() }

/// (module `check`)
#[derive(Debug, Clone, Copy, PartialEq)] pub enum ReadData { No, All, /// Share of all packs, in percent.
    Percent(f64), /// Part n of t.
    Part { part: u32, of: u32 }, /// At most so many bytes, packs picked at random.
    Bytes(u64) }
#[derive(Debug, Clone)] pub struct Finding { /// Object (or snapshot) it is about.
    pub subject: String, pub what: String, /// false = only worth knowing (leftover, unknown object)
    pub is_error: bool }
#[derive(Debug, Clone, Default)] pub struct CheckReport { pub objects: u64, pub bytes: u64, pub packs: u64, pub chunks: u64, pub snapshots: u64, pub packs_read: u64, pub bytes_read: u64,
    pub findings: Vec<Finding>, pub errors: u64, pub notices: u64 }
pub async fn check(ctx: &Ctx, repository: &Repository, read_data: ReadData) -> Result<CheckReport> { todo!() }
