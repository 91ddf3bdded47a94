//! The real world for the engine: clock, randomness, threads, signals, this process; and the one
//! place that knows which store, source and target there are.
//!
//! On purpose not here: what is done with them.

pub(crate) use holdfast_engine::wal::Timeline;
pub(crate) use holdfast_notify::{
    Letter, Line as PageLine, Outcome as SentOutcome, Page, Sender, Server as MailServer, Signed,
    Tone as PageTone, beat, send_mail, send_slack, send_webhook,
};
pub(crate) use holdfast_server::{Board, Listening, Manager, listen as answer_at};
pub(crate) use holdfast_source_files::owners::{is_known as is_known_user, numbers_of as owner_numbers};
pub(crate) use holdfast_source_files::{
    Excludes, FileSourceOptions, FileTargetOptions, LeftOut, Overwrite, Whereabouts, parse_exclude_file,
};
pub(crate) use holdfast_source_postgres::adopted::adopt as adopt_cluster;
pub(crate) use holdfast_source_postgres::drill;
pub(crate) use holdfast_source_postgres::log::{BadSegment, History, PageHeader, system_of};
pub(crate) use holdfast_source_postgres::point::{
    Archived, Base, Choice, Edge, Goal, Plan as RecoveryPlan, PlanError, Seen, Shelf, Target as WishedTarget,
    Tree as LogTree, Wish, commits as log_commits, plan as plan_recovery,
};
pub(crate) use holdfast_source_postgres::records::{Event as LogEvent, EventKind as LogEventKind, PgTime};
pub(crate) use holdfast_source_postgres::recovering::{Recovering, Recovery, Then, shell_line};
pub(crate) use holdfast_source_postgres::restored::finish as restored_cluster;
pub(crate) use holdfast_source_postgres::stream::{
    Kept as SlotKept, SlotTold, StreamError, StreamEvent, StreamOptions, Streamed, Until, drop_slot,
    is_slot_name, slot_told, stream as stream_log,
};
pub(crate) use holdfast_source_postgres::{
    Binaries, Dumped, Feeding, GLOBALS, KEPT_CONFIG, LOGICAL_KIND, LoadOptions, Loader, LogicalOptions,
    LogicalRecord, LogicalSource, RestoreTool, RowsOf, There, ToolPlaces, binaries as server_binaries,
    without_creation,
};
pub(crate) use holdfast_source_postgres::{
    Host, Lsn, PgError, PostgresOptions, PostgresSource, Preflight as ClusterPreflight, Record,
    Secrets as ServerSecrets, Server, Space, UrlError, parse_with_database as parse_server,
    preflight as preflight_cluster,
};
pub(crate) use holdfast_source_s3::attributes::lacking;
pub(crate) use holdfast_source_s3::configuration::{Configuration, Difference};
pub(crate) use holdfast_source_s3::target::{
    BucketPlace, BucketTargetOptions, Events, Overwrite as BucketOverwrite, Remains, Waiting, Watch,
    configure,
};
pub(crate) use holdfast_source_s3::{
    BucketOptions, COUNTED, Keep, KeepConfiguration, Overlap, Sweep, Versions, at_one_server, overlap,
    parse_metadata, parse_source,
};
pub(crate) use holdfast_store_s3::{
    Address, BadNetwork, Finding, Keys, Meter, NO_PROXY, Network, PROXIES, Plain, PolicyRole, Told,
    are_secret_proxies, buckets as list_buckets, is_here, policy,
};
pub(crate) use holdfast_vault::{
    Login, Reference, Server as VaultServer, TransitKey, VaultError, open_sealed, read as read_from_vault,
    seal as seal_in_vault,
};

use crate::args::Global;
use crate::engine::{
    Cancel, Clock, Ctx, Entropy, Error, Monitor, OpenRestored, Source, SourceError, Workers,
};
use crate::fault::{Code, Fault};
use crate::guarded::{Guarded, Valve};
use crate::ink::Progress;
use crate::secrets;
use crate::settings::RepositoryPlace;
use crate::stuck::{Here, Watchdog, WatchedSource};
use holdfast_core::crypto::KemCalls;
use holdfast_core::entry::{Owner, Time, key_to_path};
use holdfast_core::id::parse_hex;
use holdfast_core::name::REPOSITORY;
use holdfast_core::session::Process;
use holdfast_engine::target::Target;
use holdfast_source_files::{FileSource, FileTarget, open_beneath, restored_file};
use holdfast_source_s3::target::{BucketTarget, open_object};
use holdfast_source_s3::unfold::{Folder, Unfolded};
use holdfast_source_s3::{BucketSource, encoding};
use holdfast_store::{ErrorKind as StoreErrorKind, Key, LocalStore, ObjectStore, StoreError};
use holdfast_store_s3::{PROVED, PROVED_PUT, S3Store, erase_versions, inspect, probe, probe_puts};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};

/// How servers are reached, or why they cannot be: that matters to who needs one.
pub(crate) type Reach = Result<Network, Fault>;

/// Opens the store of a repository; none if no repository is there.
pub(crate) async fn open_store(
    place: &RepositoryPlace,
    reach: &Reach,
) -> Result<Option<Arc<dyn ObjectStore>>, Fault> {
    open_store_with(place, secrets::bucket_keys("")?, reach).await
}

/// Opens the store of a repository with keys of its own for a bucket; none if no repository is there.
pub(crate) async fn open_store_with(
    place: &RepositoryPlace,
    keys: Option<Keys>,
    reach: &Reach,
) -> Result<Option<Arc<dyn ObjectStore>>, Fault> {
    match place {
        RepositoryPlace::Folder(path) if !has_repository(path) => Ok(None),
        RepositoryPlace::Folder(path) => {
            Ok(Some(Arc::new(LocalStore::open(path).await.map_err(Error::from)?)))
        }
        RepositoryPlace::Bucket(address) => {
            let store = S3Store::new(address, keys, reach.as_ref().map_err(Fault::clone)?).await;
            let described = Key::new(REPOSITORY).map_err(|error| Fault::failed(error.to_string(), ""))?;
            let found = store.head(&described).await.map_err(of_bucket)?;
            Ok(found.map(|_| Arc::new(store) as Arc<dyn ObjectStore>))
        }
    }
}

/// Opens what lies at a place, also where nothing says that it is a repository; none if there is no such folder.
pub(crate) async fn open_rest(
    place: &RepositoryPlace,
    reach: &Reach,
) -> Result<Option<Arc<dyn ObjectStore>>, Fault> {
    match place {
        RepositoryPlace::Folder(path) if !path.is_dir() => Ok(None),
        RepositoryPlace::Folder(path) => {
            Ok(Some(Arc::new(LocalStore::open(path).await.map_err(Error::from)?)))
        }
        RepositoryPlace::Bucket(address) => {
            let keys = secrets::bucket_keys("")?;
            Ok(Some(Arc::new(S3Store::new(address, keys, reach.as_ref().map_err(Fault::clone)?).await)))
        }
    }
}

/// What a person can do about a bucket that cannot be used.
fn of_bucket(error: StoreError) -> Fault {
    let hint = match error.kind {
        StoreErrorKind::Denied => {
            "check the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or profile= in the URL) and \
             what the bucket's policy lets them do"
        }
        StoreErrorKind::Unusable => "check the bucket, the region and the endpoint; nothing was changed",
        _ => "check that the server can be reached, and the endpoint and region in the URL",
    };
    let remedy = Told::remedy(&error.source).map(str::to_owned);
    let fault = Fault::from(Error::from(error));
    Fault { hint: remedy.unwrap_or_else(|| hint.to_owned()), ..fault }
}

/// A store that can keep a repository.
pub(crate) struct Founded {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Names the kind of file system if it is one that several hosts share.
    pub(crate) shared: Option<&'static str>,
    /// What was proved of the server.
    pub(crate) proved: Vec<String>,
}

/// What was found out of a place.
pub(crate) struct Preflight {
    /// Promises that the server was seen to keep.
    pub(crate) proved: Vec<&'static str>,
    pub(crate) findings: Vec<Finding>,
}

/// Finds out whether a place can keep a repository.
pub(crate) async fn preflight(place: &RepositoryPlace, reach: &Reach) -> Result<Preflight, Fault> {
    match place {
        RepositoryPlace::Bucket(address) => {
            let store = probed(address, reach).await?;
            Ok(Preflight {
                proved: PROVED.to_vec(),
                findings: inspect(&store, SystemClock.now().seconds).await,
            })
        }
        RepositoryPlace::Folder(path) => {
            let store = LocalStore::open(path).await.map_err(Error::from)?;
            probe_puts(Arc::new(store.clone()), nonce()).await.map_err(Error::from)?;
            let shared = store.shared_file_system().await.map(|kind| Finding {
                harmful: false,
                what: format!("it lies on {kind}: only one host at a time may write to a repository there"),
            });
            Ok(Preflight { proved: vec![PROVED_PUT], findings: shared.into_iter().collect() })
        }
    }
}

/// A bucket whose server was seen to keep its word.
async fn probed(address: &Address, reach: &Reach) -> Result<S3Store, Fault> {
    let keys = secrets::bucket_keys("")?;
    let store = S3Store::new(address, keys, reach.as_ref().map_err(Fault::clone)?).await;
    probe(&store, nonce()).await.map_err(of_bucket)?;
    Ok(store)
}

fn nonce() -> u64 {
    let mut nonce = [0; 8];
    SystemEntropy.fill(&mut nonce);
    u64::from_le_bytes(nonce)
}

/// Opens the store of a repository to be, and makes its folder.
pub(crate) async fn create_store(place: &RepositoryPlace, reach: &Reach) -> Result<Founded, Fault> {
    let path = match place {
        RepositoryPlace::Folder(path) => path,
        RepositoryPlace::Bucket(address) => {
            let store = Arc::new(probed(address, reach).await?);
            let proved = PROVED.map(str::to_owned).to_vec();
            return Ok(Founded { store, shared: None, proved });
        }
    };
    let store = LocalStore::create(path).await.map_err(|error| match error.kind {
        StoreErrorKind::NotFound => {
            let what = format!("cannot make a repository at {}", path.display());
            Fault::failed(what, "the folder above it has to be there: make it, or mount its disk")
                .because(&error)
        }
        _ => Fault::from(Error::from(error)),
    })?;
    let shared = store.shared_file_system().await;
    Ok(Founded { store: Arc::new(store), shared, proved: Vec::new() })
}

/// Makes the folder in which a domain's folder is to be made, as private as that.
pub(crate) fn make_folder_above(path: &Path) -> Result<(), Fault> {
    let Some(above) = path.parent() else { return Ok(()) };
    match std::fs::DirBuilder::new().mode(0o700).create(above) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            let what = format!("cannot make the folder {}", above.display());
            Err(Fault::failed(what, "check who may write in the repository").because(&error))
        }
        _ => Ok(()),
    }
}

/// Deletes old versions of a domain's keys, where the bucket keeps them; returns how many are left.
pub(crate) async fn erase_key_versions(address: &Address, reach: &Reach) -> Result<u64, String> {
    let keys = secrets::bucket_keys("").map_err(|fault| fault.to_string())?;
    let network = reach.as_ref().map_err(ToString::to_string)?;
    let store = S3Store::new(address, keys, network).await;
    erase_versions(&store, "members/").await
}

/// Removes a local copy of what is not there any more.
pub(crate) fn remove_cache(folder: &Path) -> Result<(), Fault> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            let what = format!("the local cache {} could not be removed", folder.display());
            Err(Fault::failed(what, "remove it by hand: it holds names of files").because(&error))
        }
        _ => Ok(()),
    }
}

/// Opens a source of files; a path that does not answer makes only this thread's work wait.
pub(crate) async fn file_source(
    options: FileSourceOptions,
    watchdog: &Arc<Watchdog>,
) -> Result<Box<dyn Source>, Fault> {
    let here = Arc::new(Whereabouts::default());
    let options = FileSourceOptions { here: Some(Arc::clone(&here)), ..options };
    let watchdog = Arc::clone(watchdog);
    let open = move || {
        let first = options.paths.first().map_or(&b""[..], |path| path.as_os_str().as_bytes()).to_vec();
        let going = watchdog.key(first.strip_prefix(b"/").unwrap_or(&first));
        let source = Box::new(FileSource::new(options)?);
        drop(going);
        Ok::<_, SourceError>(Box::new(WatchedSource { source, here: Here::Walk(here), watchdog }))
    };
    match tokio::task::spawn_blocking(open).await {
        Ok(opened) => Ok(opened.map_err(Error::from)?),
        Err(error) => Err(Fault::failed("cannot open the source", "").because(&error)),
    }
}

/// Opens a bucket as a source; what it asks of the server is counted. The keys are for the
/// source alone.
pub(crate) async fn bucket_source(
    options: BucketOptions,
    keys: Option<Keys>,
    network: &Network,
    watchdog: &Arc<Watchdog>,
) -> (Box<dyn Source>, Meter) {
    let (bucket, prefix) = (&options.address.bucket, &options.address.prefix);
    let name = Arc::new(format!("s3://{bucket}/{prefix}").into_bytes());
    let top = Arc::new(format!("s3://{bucket}/").into_bytes());
    let source = BucketSource::new(options, keys, network).await;
    let meter = source.meter();
    let here = Here::Bucket { name, top };
    (Box::new(WatchedSource { source: Box::new(source), here, watchdog: Arc::clone(watchdog) }), meter)
}

/// Opens a folder to restore into.
pub(crate) fn file_target(dir: &Path, options: &FileTargetOptions) -> Result<Box<dyn Target>, Fault> {
    Ok(Box::new(FileTarget::create(dir, options).map_err(Error::from)?))
}

/// Opens a bucket to restore into. What the second value stands for is to be cleaned up if the
/// restore fails.
pub(crate) fn bucket_target(
    place: &BucketPlace,
    options: BucketTargetOptions,
    empty: bool,
) -> Result<(Box<dyn Target>, Remains), Fault> {
    let (target, remains) =
        BucketTarget::new(place, options, empty, Handle::current()).map_err(Error::from)?;
    Ok((Box::new(target), remains))
}

/// Opens a folder to restore objects of a bucket into.
pub(crate) fn unfolded_target(
    dir: &Path,
    options: &FileTargetOptions,
    made: Time,
) -> Result<Box<dyn Target>, Fault> {
    // It holds the folder, while each batch opens it once more.
    let holder = FileTarget::create(dir, options).map_err(Error::from)?;
    let each = FileTargetOptions {
        overwrite: options.overwrite.or(Some(Overwrite::Always)),
        is_held: true,
        ..options.clone()
    };
    let (top, place) = (dir.to_owned(), dir.to_owned());
    let open = move || {
        let _ = &holder;
        Ok(Box::new(FileTarget::create(&top, &each)?) as Box<dyn Target>)
    };
    let look = move |components: &[Vec<u8>]| {
        let there =
            std::fs::symlink_metadata(beneath(&place, components)).ok().filter(|there| there.is_dir())?;
        let owner = Owner { uid: there.uid(), gid: there.gid(), ..Owner::default() };
        let nanos = u32::try_from(there.mtime_nsec()).unwrap_or_default();
        let mtime = Time { seconds: there.mtime(), nanos };
        Some(Folder { mode: (there.mode() & 0o7777) as u16, owner, mtime })
    };
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let owner = Owner { uid, gid, ..Owner::default() };
    Ok(Box::new(Unfolded::new(Box::new(open), Box::new(look), owner, made)))
}

fn beneath(dir: &Path, components: &[Vec<u8>]) -> PathBuf {
    components.iter().fold(dir.to_owned(), |path, name| path.join(std::ffi::OsStr::from_bytes(name)))
}

/// Opens restored files again: by their paths, or by the keys of objects that they were.
pub(crate) fn open_restored(dir: PathBuf, opaque: bool) -> OpenRestored {
    Arc::new(move |key: &[u8]| {
        if !opaque {
            return open_beneath(&dir, key).and_then(restored_file);
        }
        let is_folder = |components: &[Vec<u8>]| {
            std::fs::symlink_metadata(beneath(&dir, components)).is_ok_and(|there| there.is_dir())
        };
        open_beneath(&dir, &encoding::find(key, is_folder).join(&0)).and_then(restored_file)
    })
}

/// Opens restored objects again.
pub(crate) fn open_restored_object(place: BucketPlace, opaque: bool) -> OpenRestored {
    let runtime = Handle::current();
    Arc::new(move |key: &[u8]| {
        let name = if opaque { key.to_vec() } else { key_to_path(key) };
        open_object(&place, &runtime, &name)
    })
}

/// Whether a repository lies in a folder.
fn has_repository(path: &Path) -> bool {
    match std::fs::symlink_metadata(path.join(REPOSITORY)) {
        Ok(_) => true,
        // Anything else is for the store to tell of.
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    }
}

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => Time { seconds: seconds(after), nanos: after.subsec_nanos() },
            // A clock before 1970 is wrong anyway; whole seconds will do.
            Err(before) => Time { seconds: -seconds(before.duration()), nanos: 0 },
        }
    }
}

struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// The system has no randomness; nothing may be sealed then.
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("randomness of the system");
    }
}

/// Puts the watch and the stated rates before a store.
pub(crate) fn guard(
    store: Arc<dyn ObjectStore>,
    global: &Global,
    watchdog: &Arc<Watchdog>,
) -> Arc<dyn ObjectStore> {
    let valve = |rate: Option<u64>| rate.map(|rate| Arc::new(Valve::new(rate)));
    let (up, down) = (valve(global.limit_upload), valve(global.limit_download));
    Arc::new(Guarded { store, watchdog: Arc::clone(watchdog), name: None, up, down })
}

/// The same for a repository that is not the one that the run is about.
pub(crate) fn guard_other(
    store: Arc<dyn ObjectStore>,
    global: &Global,
    watchdog: &Arc<Watchdog>,
    place: &RepositoryPlace,
) -> Arc<dyn ObjectStore> {
    let down = global.limit_download.map(|rate| Arc::new(Valve::new(rate)));
    let name = Some(Arc::new(place.bytes()));
    Arc::new(Guarded { store, watchdog: Arc::clone(watchdog), name, up: None, down })
}

/// Makes what the engine is given.
pub(crate) fn ctx(progress: Arc<Progress>, threads: Option<u16>, cache: Option<PathBuf>) -> Ctx {
    let processors = || std::thread::available_parallelism().map_or(2, usize::from);
    let threads = threads.map_or_else(processors, usize::from);
    let monitor: Arc<dyn Monitor> = progress;
    Ctx {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        kem: KemCalls::system(),
        workers: Workers::pool(threads),
        monitor,
        cancel: Cancel::default(),
        process: this_process(),
        is_alive,
        cache,
        clock_accepted: false,
    }
}

/// Makes the threads for waiting; computing has threads of its own.
pub(crate) fn runtime() -> Result<Runtime, Fault> {
    Builder::new_multi_thread().worker_threads(2).thread_name("waiter").enable_all().build().map_err(
        |error| {
            Fault::failed("cannot start threads", "see the limits of this user: ulimit -u").because(&error)
        },
    )
}

/// Lets as many files be open as the system allows this user; fewer will do too.
pub(crate) fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // A container may forbid it; then the soft limit stays.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Raises the stop signal at the first SIGINT or SIGTERM, and ends the program at the second.
pub(crate) fn listen(cancel: Cancel, progress: Arc<Progress>) -> Result<(), Fault> {
    let fault = |error: std::io::Error| Fault::failed("cannot listen for signals", "").because(&error);
    let interrupt = signal(SignalKind::interrupt()).map_err(fault)?;
    let terminate = signal(SignalKind::terminate()).map_err(fault)?;
    tokio::spawn(stop_on(interrupt, terminate, cancel, progress));
    Ok(())
}

async fn stop_on(mut interrupt: Signal, mut terminate: Signal, cancel: Cancel, progress: Arc<Progress>) {
    either(&mut interrupt, &mut terminate).await;
    progress.warn("stopping at the next safe place; the same signal again stops at once");
    cancel.raise();
    either(&mut interrupt, &mut terminate).await;
    end_at_once();
}

/// Says that it is to stop at the first SIGINT or SIGTERM, ends the program at the second, and says at SIGHUP that
/// there is something to look at.
pub(crate) fn listen_for(
    progress: &Arc<Progress>,
    stop: watch::Sender<bool>,
    look: Arc<Notify>,
) -> Result<(), Fault> {
    let on = |kind: SignalKind| {
        signal(kind).map_err(|error| Fault::failed("cannot listen for signals", "").because(&error))
    };
    let (mut interrupt, mut terminate, mut reload) =
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?, on(SignalKind::hangup())?);
    let progress = Arc::clone(progress);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = either(&mut interrupt, &mut terminate) => {}
                _ = reload.recv() => {
                    look.notify_one();
                    continue;
                }
            }
            if stop.send_replace(true) {
                end_at_once();
            }
            progress.warn("stopping; the same signal again ends it at once");
        }
    });
    Ok(())
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[expect(clippy::exit, reason = "somebody insists; a repository is whole at any moment")]
fn end_at_once() {
    std::process::exit(i32::from(Code::Interrupted.number()));
}

/// The name of this host.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Who this process is, so that a later one on the same host can tell whether it is gone.
fn this_process() -> Process {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine =
        read("/etc/machine-id").or_else(|| read("/var/lib/dbus/machine-id")).unwrap_or_else(host_name);
    let boot = read("/proc/sys/kernel/random/boot_id").and_then(|text| boot_of(&text));
    let start = read("/proc/self/stat").and_then(|text| start_of(&text));
    // Process numbers of another container say nothing here: it counts as another machine.
    let numbers = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    Process {
        machine: machine_of(&machine, numbers.as_os_str().as_encoded_bytes()),
        boot: boot.unwrap_or_default(),
        number: std::process::id(),
        start: start.unwrap_or_default(),
    }
}

/// Whether a process of this machine and boot still runs. The number alone does not tell: it is
/// given again; number and start are not. What cannot be told counts as alive.
fn is_alive(process: &Process) -> bool {
    match std::fs::read_to_string(format!("/proc/{}/stat", process.number)) {
        Ok(stat) => start_of(&stat).is_none_or(|start| start == process.start),
        Err(error) => error.kind() != ErrorKind::NotFound || !Path::new("/proc/self").exists(),
    }
}

/// Hashes a machine's identity, which its manual asks not to show around.
fn machine_of(text: &str, numbers: &[u8]) -> [u8; 16] {
    let material = [text.trim().as_bytes(), b"\0", numbers].concat();
    let hash = blake3::derive_key("holdfast 1 machine", &material);
    let mut machine = [0; 16];
    machine.copy_from_slice(&hash[..16]);
    machine
}

fn boot_of(text: &str) -> Option<[u8; 16]> {
    parse_hex(&text.trim().replace('-', "")).ok()
}

/// Field 22; the second is a name in parentheses that may hold blanks and parentheses itself.
fn start_of(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_told_from_others() {
        let process = this_process();
        assert_eq!(process, this_process());
        assert_eq!(process.number, std::process::id());
        assert!(process.start > 0 && process.boot != [0; 16]);
        assert!(is_alive(&process));
        assert!(!is_alive(&Process { start: process.start + 1, ..process }));
        assert!(!is_alive(&Process { number: u32::MAX, ..process }));
    }

    #[test]
    fn a_name_with_parentheses_does_not_hide_the_start() {
        let stat = "42 (a) b) (c) S 1 42 42 0 -1 4194304 90 0 0 0 0 0 0 0 20 0 1 0 777 4096 0";
        assert_eq!(start_of(stat), Some(777));
        assert_eq!(boot_of("c0ffee00-0000-4000-8000-0000000000ff\n").map(|boot| boot[15]), Some(0xff));
    }

    #[test]
    fn a_folder_without_the_file_is_no_repository() {
        let dir = std::env::temp_dir();
        assert!(!has_repository(&dir.join("nowhere at all")));
        assert!(!has_repository(Path::new("/dev/null")));
    }
}
