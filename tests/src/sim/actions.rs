//! What processes do: each action is one run of a command, from opening the repository to its end.
//!
//! On purpose not here: when they do it ([`super::schedule`]), and whether it came out right
//! ([`super::oracle`]).

use super::model::{ModelSource, ModelTarget, Restored, Tree};
use super::world::secret;
use holdfast_core::id::{ObjectId, SessionId};
use holdfast_engine::ctx::Ctx;
use holdfast_engine::error::{Error, ErrorKind, Result};
use holdfast_engine::maintain::{
    ForgetOptions, ForgetWhat, HoldScope, PruneOptions, PruneReport, forget, forgotten, hold, prune, release,
    unforget,
};
use holdfast_engine::{
    BackupOptions, CheckReport, NewKey, ReadData, Repository, RestoreOptions, Secret, Snapshot,
    SnapshotFilter, TagChange, add_key, backup, check, remove_key, restore, snapshots, tag,
};
use holdfast_store::ObjectStore;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Which of the oracle's attempts at a snapshot.
pub(super) type Attempt = usize;

/// Something that is to be held.
#[derive(Debug, Clone, Copy)]
pub(super) enum Held {
    All,
    Source(usize),
    Snapshot(Attempt),
}

/// One run of a command.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Backup(Box<Plan>),
    Restore(Attempt),
    Check(bool),
    Tag(Attempt, String),
    Forget(Vec<Attempt>),
    Undo(Vec<Attempt>),
    Hold(Held),
    Release([u8; 16]),
    Prune(PruneOptions),
    AddKey(u8),
    RemoveKey(u8, ObjectId),
}

/// How a backup is made.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub attempt: Attempt,
    pub tree: Arc<Tree>,
    pub host: String,
    pub cache: Option<PathBuf>,
    pub pack_bytes: u64,
    pub batch_items: usize,
    /// Entries come in an order of chance.
    pub arrival: Option<u64>,
    pub force: bool,
}

impl Plan {
    /// A backup without anything special.
    pub(super) fn plain(attempt: Attempt, tree: &Arc<Tree>, source: usize) -> Self {
        Self {
            attempt,
            tree: Arc::clone(tree),
            host: format!("host{source}"),
            cache: None,
            pack_bytes: 1 << 20,
            batch_items: 100,
            arrival: None,
            force: false,
        }
    }
}

/// What came of an action that ended well.
#[derive(Debug)]
pub(super) enum Report {
    Backup,
    /// What was restored, and what was missing; `None` if the snapshot was not there.
    Restore(Option<(Box<Restored>, Vec<String>)>),
    Check(Box<CheckReport>),
    /// Whether the snapshot was there.
    Tag(bool),
    /// The tags of the snapshots that are forgotten now.
    Forget(Vec<Vec<String>>),
    /// The tags of the snapshots that count again.
    Undo(Vec<Vec<String>>),
    Hold(Vec<[u8; 16]>),
    Release,
    Prune(Box<PruneReport>),
    AddKey(ObjectId),
    RemoveKey,
}

impl Action {
    /// One word for the trace.
    pub(super) fn word(&self) -> String {
        match self {
            Self::Backup(plan) => format!("backup {}", word_of(plan.attempt)),
            Self::Restore(attempt) => format!("restore {}", word_of(*attempt)),
            Self::Check(_) => "check".into(),
            Self::Tag(attempt, word) => format!("tag {} {word}", word_of(*attempt)),
            Self::Forget(attempts) => format!("forget {attempts:?}"),
            Self::Undo(attempts) => format!("undo {attempts:?}"),
            Self::Hold(held) => format!("hold {held:?}"),
            Self::Release(_) => "release".into(),
            Self::Prune(options) => format!(
                "prune unused={:?} min-age={:?} abort-after={}",
                options.max_unused, options.min_age_seconds, options.abort_after_seconds
            ),
            Self::AddKey(number) => format!("key add {number}"),
            Self::RemoveKey(number, _) => format!("key remove {number}"),
        }
    }
}

/// The tag by which a snapshot is known, whatever its id.
pub(super) fn word_of(attempt: Attempt) -> String {
    format!("a{attempt}")
}

/// What opens a further key slot.
pub(super) fn key_secret(number: u8) -> Secret {
    Secret::KeyFile(vec![100 + number; 32])
}

/// Runs a command.
pub(super) async fn run(action: Action, ctx: Ctx, store: Arc<dyn ObjectStore>) -> Result<Report> {
    let repository = Repository::open(&ctx, store, &secret()).await?;
    match action {
        Action::Backup(plan) => back_up(&ctx, &repository, *plan).await,
        Action::Restore(attempt) => {
            let Some(snapshot) = find(&ctx, &repository, attempt).await?.pop() else {
                return Ok(Report::Restore(None));
            };
            let restored = restore_one(&ctx, &repository, &snapshot).await?;
            Ok(Report::Restore(Some(restored)))
        }
        Action::Check(all) => {
            let read = if all { ReadData::All } else { ReadData::No };
            Ok(Report::Check(Box::new(check(&ctx, &repository, read).await?)))
        }
        Action::Tag(attempt, word) => {
            let found = find(&ctx, &repository, attempt).await?;
            let change = TagChange { add: vec![word], ..TagChange::default() };
            tag(&ctx, &repository, &found, &change, &mut |_| {}).await?;
            Ok(Report::Tag(!found.is_empty()))
        }
        Action::Forget(attempts) => {
            let ids =
                ids_of(snapshots(&ctx, &repository, &SnapshotFilter::default()).await?.value, &attempts);
            let options = ForgetOptions {
                what: ForgetWhat::Snapshots(ids),
                allow_last: true,
                dry_run: false,
                proven: Default::default(),
            };
            let report = forget(&ctx, &repository, &options).await?;
            Ok(Report::Forget(tags(report.forgotten)))
        }
        Action::Undo(attempts) => {
            let ids = ids_of(forgotten(&ctx, &repository).await?, &attempts);
            if ids.is_empty() {
                return Ok(Report::Undo(Vec::new()));
            }
            Ok(Report::Undo(tags(unforget(&ctx, &repository, &ids).await?)))
        }
        Action::Hold(held) => {
            let scope = match held {
                Held::All => HoldScope::All,
                Held::Source(host) => HoldScope::Source(canonical(&format!("host{host}"))),
                Held::Snapshot(attempt) => match find(&ctx, &repository, attempt).await?.pop() {
                    Some(snapshot) => HoldScope::Snapshot(snapshot.id),
                    None => return Ok(Report::Hold(Vec::new())),
                },
            };
            let holds = hold(&ctx, &repository, &[scope], "as planned", None).await?;
            Ok(Report::Hold(holds.into_iter().map(|hold| hold.id).collect()))
        }
        Action::Release(id) => {
            release(&ctx, &repository, &[id]).await?;
            Ok(Report::Release)
        }
        Action::Prune(options) => Ok(Report::Prune(Box::new(prune(&ctx, &repository, &options).await?))),
        Action::AddKey(number) => {
            let new = NewKey { secret: key_secret(number), label: Some(format!("k{number}")), cost: None };
            Ok(Report::AddKey(add_key(&ctx, &repository, &new).await?.id))
        }
        Action::RemoveKey(_, id) => {
            remove_key(&ctx, &repository, &secret(), &id.to_string()).await?;
            Ok(Report::RemoveKey)
        }
    }
}

/// The canonical name of a machine's source.
fn canonical(host: &str) -> String {
    format!("/of/{host}")
}

/// Backs up; what could not be read is an error, as there is no reason for it.
pub(super) async fn back_up(ctx: &Ctx, repository: &Repository, plan: Plan) -> Result<Report> {
    let mut source = ModelSource::new(&plan.tree).of(&plan.host, &canonical(&plan.host));
    source = source.batches_of(plan.batch_items);
    if let Some(seed) = plan.arrival {
        source = source.arrival(seed);
    }
    let options = BackupOptions {
        label: String::new(),
        tags: vec![word_of(plan.attempt)],
        parent: None,
        force: plan.force,
        ignore_ctime: false,
        ignore_inode: false,
        skip_if_unchanged: false,
        dry_run: false,
        time: None,
        compression_level: 1,
        data_pack_bytes: plan.pack_bytes,
        seal_check: false,
        cache_dir: plan.cache,
        version: "simulated".into(),
        command: "backup".into(),
    };
    let outcome = backup(ctx, repository, Box::new(source), &options).await?;
    if let Some(problem) = outcome.problems.problems.first() {
        let path = String::from_utf8_lossy(&problem.path);
        return Err(Error::new(ErrorKind::Damaged, format!("a problem with {path}: {}", problem.what)));
    }
    match outcome.value.snapshot {
        Some(_) => Ok(Report::Backup),
        None => Err(Error::new(ErrorKind::Damaged, "a success without a snapshot")),
    }
}

/// The snapshots that an attempt is shown as; several only while tags are being joined.
async fn find(ctx: &Ctx, repository: &Repository, attempt: Attempt) -> Result<Vec<Snapshot>> {
    let filter = SnapshotFilter { tags: vec![vec![word_of(attempt)]], ..SnapshotFilter::default() };
    Ok(snapshots(ctx, repository, &filter).await?.value)
}

fn ids_of(from: Vec<Snapshot>, attempts: &[Attempt]) -> Vec<SessionId> {
    let words: Vec<_> = attempts.iter().map(|attempt| word_of(*attempt)).collect();
    let wanted = |snapshot: &Snapshot| snapshot.summary.tags.iter().any(|tag| words.contains(tag));
    from.into_iter().filter(wanted).map(|snapshot| snapshot.id).collect()
}

fn tags(of: Vec<Snapshot>) -> Vec<Vec<String>> {
    of.into_iter().map(|snapshot| snapshot.summary.tags).collect()
}

/// Restores a snapshot; returns what came and what did not.
pub(super) async fn restore_one(
    ctx: &Ctx,
    repository: &Repository,
    snapshot: &Snapshot,
) -> Result<(Box<Restored>, Vec<String>)> {
    let target = ModelTarget::default();
    let restored = target.restored();
    let outcome = restore(ctx, repository, snapshot, Box::new(target), &RestoreOptions::default()).await?;
    let words = |path: &[u8], what: &str| format!("{}: {what}", String::from_utf8_lossy(path));
    let problems = outcome.problems.problems.iter().map(|one| words(&one.path, &one.what)).collect();
    Ok((Box::new(taken(&restored)), problems))
}

fn taken(restored: &Mutex<Restored>) -> Restored {
    std::mem::take(&mut *restored.lock().expect("nothing panics in here"))
}
