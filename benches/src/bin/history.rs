//! Measures what a long history costs: many snapshots of a tree that changes a little each time,
//! in a repository in memory: opening a backup, listing, forgetting, pruning.
//!
//! `cargo run --release -p holdfast-benches --bin history` makes 10,000 snapshots. On purpose not
//! here: the time of a store; its calls are counted instead.

#![expect(clippy::print_stdout, reason = "the figures are what the program is for")]

use clap::Parser;
use holdfast_benches::Noise;
use holdfast_core::crypto::{KdfCost, KemCalls};
use holdfast_core::entry::{Kind, Owner, Time};
use holdfast_core::session::Process;
use holdfast_engine::ctx::{Cancel, Clock, Ctx, Entropy};
use holdfast_engine::event::Silent;
use holdfast_engine::maintain::{
    ForgetOptions, ForgetWhat, GroupBy, KeepCount, KeepLimit, KeepPolicy, KeepRule, LocalOffset, MaxUnused,
    Period, PruneOptions, Retention, forget, prune,
};
use holdfast_engine::outcome::Problems;
use holdfast_engine::source::{
    Aside, ConsistencyPoint, ContentStream, Details, EntryBatch, Examined, Item, ItemError, ItemReader,
    Order, ReadStatus, Source, SourceError, SourceIdentity, Stat,
};
use holdfast_engine::workers::Workers;
use holdfast_engine::{BackupOptions, InitOptions, Repository, Secret, SnapshotFilter, backup, snapshots};
use holdfast_store::fault::{Call, Fault};
use holdfast_store::{FaultStore, MemoryStore};
use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Files of the tree, and the length of each in bytes.
const FILES: u64 = 200;
const FILE_BYTES: usize = 3_000;
/// Seconds between two snapshots: a quarter of an hour.
const STEP_SECONDS: i64 = 900;
const START_SECONDS: i64 = 1_800_000_000;

/// Measures what a long history costs.
#[derive(Debug, Parser)]
struct Options {
    /// Snapshots in the end
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..))]
    snapshots: u64,
    /// 200 snapshots: shows that the benchmark works
    #[arg(long, conflicts_with = "snapshots")]
    smoke: bool,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let options = Options::parse();
    let wanted = if options.smoke { 200 } else { options.snapshots };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let done = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(wanted)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("history: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(wanted: u64) -> Result<()> {
    let world = World::new()?;
    let repository = world.create().await?;
    println!(
        "{:>9}  {:>10} {:>7}  {:>10} {:>7}  {:>10}  {:>10} {:>9} {:>10}",
        "snapshots", "backup", "opening", "snapshots", "calls", "forget", "prune", "packs", "objects"
    );
    for number in 1..=wanted {
        world.keep(&repository, number).await?;
        if number == wanted || number == wanted / 10 || number == wanted / 100 {
            report(&world, number).await?;
        }
    }
    Ok(())
}

/// Measures on a copy of the repository, so that the history goes on as it was.
async fn report(world: &World, number: u64) -> Result<()> {
    let world = world.fork();
    let counted = world.open_counted().await?;
    let (_, backed_up) = timed(world.keep(&counted.repository, number + 1)).await?;
    let opening = counted.begun.load(Ordering::Relaxed) - counted.opened;
    let counted = world.open_counted().await?;
    let filter = SnapshotFilter::default();
    let (listed, listing) =
        timed(async { Ok(snapshots(&world.ctx(), &counted.repository, &filter).await?) }).await?;
    let calls = counted.store.calls() - counted.opened;
    if listed.value.len() as u64 != number + 1 {
        return Err(format!("{} snapshots instead of {}", listed.value.len(), number + 1).into());
    }
    let rule = KeepRule { of: Period::Day, limit: KeepLimit::Newest(KeepCount::Number(30)) };
    let keep = KeepPolicy { rules: vec![rule], tags: Vec::new() };
    let retention = Retention {
        keep,
        delete_after: None,
        group_by: GroupBy::default(),
        filter,
        local_offset: LocalOffset::utc(),
    };
    let options = ForgetOptions {
        what: ForgetWhat::Policy(retention),
        allow_last: false,
        dry_run: false,
        proven: Default::default(),
    };
    let (forgot, forgetting) =
        timed(async { Ok(forget(&world.ctx(), &counted.repository, &options).await?) }).await?;
    let options = PruneOptions {
        max_unused: MaxUnused::Percent(5.0),
        max_repack_bytes: None,
        min_age_seconds: Some(0),
        abort_after_seconds: 72 * 3600,
        dry_run: false,
    };
    let packs = world.packs();
    let (_, pruning) = timed(async { Ok(prune(&world.ctx(), &counted.repository, &options).await?) }).await?;
    println!(
        "{:>9}  {:>10} {opening:>7}  {:>10} {calls:>7}  {:>10}  {:>10} {:>9} {:>10}",
        number,
        shown(backed_up),
        shown(listing),
        shown(forgetting),
        shown(pruning),
        format!("{packs}>{}", world.packs()),
        world.store.objects().len(),
    );
    if forgot.forgotten.is_empty() {
        return Err("nothing was forgotten".into());
    }
    Ok(())
}

fn shown(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1e3)
}

async fn timed<T>(work: impl Future<Output = Result<T>>) -> Result<(T, Duration)> {
    let began = Instant::now();
    let value = work.await?;
    Ok((value, began.elapsed()))
}

struct StandingClock(AtomicI64);

impl Clock for StandingClock {
    fn now(&self) -> Time {
        Time { seconds: self.0.load(Ordering::Relaxed), nanos: 0 }
    }
}

struct SeededEntropy(Mutex<Noise>);

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let noise = self.0.lock().expect("nothing panics in here").bytes(bytes.len());
        bytes.copy_from_slice(&noise);
    }
}

struct World {
    store: MemoryStore,
    clock: Arc<StandingClock>,
    entropy: Arc<SeededEntropy>,
    cache: tempfile::TempDir,
}

/// A repository whose calls are counted.
struct Counted {
    repository: Repository,
    store: FaultStore,
    /// Calls until it was open.
    opened: u64,
    /// Calls until a session had begun.
    begun: Arc<AtomicU64>,
}

impl World {
    fn new() -> Result<Self> {
        Ok(Self {
            store: MemoryStore::new(),
            clock: Arc::new(StandingClock(START_SECONDS.into())),
            entropy: Arc::new(SeededEntropy(Mutex::new(Noise::new(1)))),
            cache: tempfile::Builder::new().prefix("holdfast-history-").tempdir()?,
        })
    }

    /// The same content under other hands. The cache is shared: it is a hint anyway.
    fn fork(&self) -> Self {
        let now = self.clock.0.load(Ordering::Relaxed);
        Self {
            store: MemoryStore::with_objects(self.store.objects()),
            clock: Arc::new(StandingClock(now.into())),
            entropy: Arc::new(SeededEntropy(Mutex::new(Noise::new(now.unsigned_abs())))),
            cache: tempfile::Builder::new().prefix("holdfast-history-").tempdir().expect("a folder"),
        }
    }

    fn ctx(&self) -> Ctx {
        Ctx {
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            kem: KemCalls::system(),
            workers: Workers::inline(),
            monitor: Arc::new(Silent),
            cancel: Cancel::default(),
            process: Process { machine: [1; 16], boot: [2; 16], number: 3, start: 4 },
            is_alive: |_| true,
            cache: Some(self.cache.path().to_owned()),
            clock_accepted: false,
        }
    }

    async fn create(&self) -> Result<Repository> {
        let kdf = KdfCost { memory_kib: 32, passes: 1, lanes: 1 };
        let options = InitOptions { label: "owner".into(), kdf, proved: Vec::new(), identifying: None };
        Ok(Repository::create(&self.ctx(), Arc::new(self.store.clone()), &secret(), &options).await?)
    }

    async fn open_counted(&self) -> Result<Counted> {
        let begun = Arc::new(AtomicU64::new(0));
        let noted = Arc::clone(&begun);
        let store = FaultStore::new(Arc::new(self.store.clone()), move |call: &Call| {
            if call.key.ends_with("/begin") {
                noted.store(call.number, Ordering::Relaxed);
            }
            Fault::None
        });
        let repository = Repository::open(&self.ctx(), Arc::new(store.clone()), &secret()).await?;
        Ok(Counted { repository, opened: store.calls(), store, begun })
    }

    /// Backs up the tree after so many changes.
    async fn keep(&self, repository: &Repository, number: u64) -> Result<()> {
        self.clock.0.fetch_add(STEP_SECONDS, Ordering::Relaxed);
        let options = BackupOptions {
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
            cache_dir: Some(self.cache.path().to_owned()),
            version: "bench".into(),
            command: "history".into(),
        };
        let source = Box::new(ChangingTree::after(number));
        let outcome = backup(&self.ctx(), repository, source, &options).await?;
        if outcome.problems.problem_count > 0 {
            return Err("a file could not be read".into());
        }
        Ok(())
    }

    fn packs(&self) -> usize {
        self.store.objects().keys().filter(|key| key.as_str().starts_with("packs/")).count()
    }
}

fn secret() -> Secret {
    Secret::KeyFile(vec![7; 32])
}

/// Files of noise; with each change another one is written anew.
struct ChangingTree {
    identity: SourceIdentity,
    changes: u64,
    given: bool,
}

impl ChangingTree {
    fn after(changes: u64) -> Self {
        let identity = SourceIdentity {
            kind: "files".into(),
            host: "host".into(),
            canonical: "/tree".into(),
            paths: vec![b"/tree".to_vec()],
        };
        Self { identity, changes, given: false }
    }
}

/// How often a file was written after so many changes.
fn version(file: u64, changes: u64) -> u64 {
    (changes + FILES - 1 - file) / FILES
}

fn stat(file: u64, changes: u64) -> Stat {
    let time = Time { seconds: START_SECONDS - 1_000_000 + version(file, changes).cast_signed(), nanos: 0 };
    Stat {
        kind: Kind::File,
        mode: 0o644,
        owner: Arc::new(Owner::default()),
        size: FILE_BYTES as u64,
        mtime: time,
        ctime: time,
        inode: file + 1,
        device_of: 1,
        links: 1,
        device: None,
        sparse: false,
    }
}

impl Source for ChangingTree {
    fn identity(&self) -> &SourceIdentity {
        &self.identity
    }

    fn order(&self) -> Order {
        Order::Sorted
    }

    fn next_batch(&mut self) -> std::result::Result<Option<EntryBatch>, SourceError> {
        if std::mem::replace(&mut self.given, true) {
            return Ok(None);
        }
        let (mut keys, mut items) = (Vec::new(), Vec::new());
        for file in 0..FILES {
            let start = keys.len();
            keys.extend_from_slice(format!("file-{file:04}").as_bytes());
            items.push(Item {
                key: start..keys.len(),
                stat: stat(file, self.changes),
                aside: Aside::default(),
            });
        }
        let reader = Arc::new(NoiseReader(self.changes));
        Ok(Some(EntryBatch { keys, items, reader, problems: Problems::default() }))
    }

    fn finish(&mut self) -> std::result::Result<ConsistencyPoint, SourceError> {
        Ok(ConsistencyPoint::default())
    }
}

struct NoiseReader(u64);

impl ItemReader for NoiseReader {
    fn examine(&self, item: usize, content: &mut Vec<u8>) -> std::result::Result<Examined, ItemError> {
        let file = item as u64;
        let mut noise = Noise::new(file * 1_000_003 + version(file, self.0));
        content.extend(noise.bytes(FILE_BYTES));
        let status = ReadStatus::Stable;
        Ok(Examined { stat: stat(file, self.0), details: Details::default(), status })
    }

    fn open(&self, _item: usize) -> std::result::Result<Box<dyn ContentStream>, ItemError> {
        unreachable!("all files are small")
    }
}
