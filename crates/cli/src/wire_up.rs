//! The real world for the engine: clock, randomness, threads, signals, this process; and the one
//! place that knows which store, source and target there are.
//!
//! On purpose not here: what is done with them.

pub(crate) use holdfast_source_files::{
    Excludes, FileSourceOptions, FileTargetOptions, LeftOut, Overwrite, Whereabouts, open_beneath,
    parse_exclude_file,
};
pub(crate) use holdfast_store_s3::{Address, Keys};

use crate::args::Global;
use crate::engine::{Cancel, Clock, Ctx, Entropy, Error, Monitor, Source, SourceError, Workers};
use crate::fault::{Code, Fault};
use crate::guarded::{Guarded, Valve};
use crate::ink::Progress;
use crate::settings::RepositoryPlace;
use crate::stuck::{Watchdog, WatchedSource};
use holdfast_core::crypto::KemCalls;
use holdfast_core::entry::Time;
use holdfast_core::id::parse_hex;
use holdfast_core::name::REPOSITORY;
use holdfast_core::session::Process;
use holdfast_engine::target::Target;
use holdfast_source_files::{FileSource, FileTarget};
use holdfast_store::{ErrorKind as StoreErrorKind, Key, LocalStore, ObjectStore, StoreError};
use holdfast_store_s3::{S3Store, probe};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Opens the store of a repository; none if no repository is there.
pub(crate) async fn open_store(place: &RepositoryPlace) -> Result<Option<Arc<dyn ObjectStore>>, Fault> {
    open_store_with(place, None).await
}

/// Opens the store of a repository with keys of its own for a bucket; none if no repository is there.
pub(crate) async fn open_store_with(
    place: &RepositoryPlace,
    keys: Option<Keys>,
) -> Result<Option<Arc<dyn ObjectStore>>, Fault> {
    match place {
        RepositoryPlace::Folder(path) if !has_repository(path) => Ok(None),
        RepositoryPlace::Folder(path) => {
            Ok(Some(Arc::new(LocalStore::open(path).await.map_err(Error::from)?)))
        }
        RepositoryPlace::Bucket(address) => {
            let store = S3Store::new(address, keys).await;
            let described = Key::new(REPOSITORY).map_err(|error| Fault::failed(error.to_string(), ""))?;
            let found = store.head(&described).await.map_err(of_bucket)?;
            Ok(found.map(|_| Arc::new(store) as Arc<dyn ObjectStore>))
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
    let fault = Fault::from(Error::from(error));
    Fault { hint: hint.to_owned(), ..fault }
}

/// Opens the store of a repository to be, and makes its folder. The word names the kind of file
/// system if it is one that several hosts share.
pub(crate) async fn create_store(
    place: &RepositoryPlace,
) -> Result<(Arc<dyn ObjectStore>, Option<&'static str>), Fault> {
    let path = match place {
        RepositoryPlace::Folder(path) => path,
        RepositoryPlace::Bucket(address) => {
            let store = S3Store::new(address, None).await;
            let mut nonce = [0; 8];
            SystemEntropy.fill(&mut nonce);
            probe(&store, u64::from_le_bytes(nonce)).await.map_err(of_bucket)?;
            return Ok((Arc::new(store), None));
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
    Ok((Arc::new(store), shared))
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
        Ok::<_, SourceError>(Box::new(WatchedSource { source, here, watchdog }))
    };
    match tokio::task::spawn_blocking(open).await {
        Ok(opened) => Ok(opened.map_err(Error::from)?),
        Err(error) => Err(Fault::failed("cannot open the source", "").because(&error)),
    }
}

/// Opens a folder to restore into.
pub(crate) fn file_target(dir: &Path, options: &FileTargetOptions) -> Result<Box<dyn Target>, Fault> {
    Ok(Box::new(FileTarget::create(dir, options).map_err(Error::from)?))
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

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[expect(clippy::exit, reason = "somebody insists; a repository is whole at any moment")]
fn end_at_once() {
    std::process::exit(Code::Interrupted as i32);
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
