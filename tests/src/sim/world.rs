//! Machines with clocks of their own, their processes, and the repository that every run begins
//! with.
//!
//! On purpose not here: what the processes do ([`super::actions`]).

use super::kem;
use super::model::{Rng, START_SECONDS};
use super::trees::Files;
use bytes::Bytes;
use futures::FutureExt;
use holdfast_core::crypto::KdfCost;
use holdfast_core::entry::Time;
use holdfast_core::session::Process;
use holdfast_engine::ctx::{Cancel, Clock, Ctx, Entropy};
use holdfast_engine::event::{Event, Monitor, Silent};
use holdfast_engine::workers::Workers;
use holdfast_engine::{InitOptions, Repository, Secret};
use holdfast_store::{Key, MemoryStore};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// What opens the repository; a key file, so that no password is hashed.
pub(super) fn secret() -> Secret {
    Secret::KeyFile(vec![7; 32])
}

/// The true time, in seconds, and how far one machine's clock is off.
#[derive(Debug, Clone)]
pub(super) struct HostClock {
    /// Shared by all machines.
    pub truth: Arc<AtomicI64>,
    /// This machine's error.
    pub offset: Arc<AtomicI64>,
}

impl HostClock {
    fn seconds(&self) -> i64 {
        self.truth.load(Ordering::Relaxed) + self.offset.load(Ordering::Relaxed)
    }
}

impl Clock for HostClock {
    fn now(&self) -> Time {
        Time { seconds: self.seconds(), nanos: 0 }
    }
}

/// Randomness of one process.
#[derive(Debug)]
pub(super) struct ProcessEntropy(Mutex<Rng>);

impl Entropy for ProcessEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut rng = self.0.lock().expect("nothing panics in here");
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&rng.next().to_le_bytes()[..part.len()]);
        }
    }
}

thread_local! {
    /// Processes that run, by machine and number; and the machine whose turn it is. A run of the
    /// simulator is one thread, and the engine asks through a plain function.
    static ALIVE: RefCell<(BTreeSet<(usize, u32)>, usize)> = const { RefCell::new((BTreeSet::new(), 0)) };
}

/// Everything that runs is over.
pub(super) fn all_dead() {
    ALIVE.with_borrow_mut(|(alive, _)| alive.clear());
}

/// A process begins or ends.
pub(super) fn set_alive(host: usize, number: u32, lives: bool) {
    ALIVE.with_borrow_mut(|(alive, _)| match lives {
        true => drop(alive.insert((host, number))),
        false => drop(alive.remove(&(host, number))),
    });
}

/// The machine whose process runs now: it sees its own processes and no others.
pub(super) fn set_here(host: usize) {
    ALIVE.with_borrow_mut(|(_, here)| *here = host);
}

fn is_alive(process: &Process) -> bool {
    ALIVE.with_borrow(|(alive, here)| alive.contains(&(*here, process.number)))
}

/// Hears of damage in the repository: there never is any, so whoever tells of some is wrong.
#[derive(Debug, Default)]
pub(super) struct FalseAlarms(Mutex<Vec<String>>);

impl FalseAlarms {
    /// The first one.
    pub(super) fn first(&self) -> Option<String> {
        self.0.lock().expect("nothing panics in here").first().cloned()
    }
}

impl Monitor for FalseAlarms {
    fn on(&self, event: &Event<'_>) {
        if let Event::Warning(what) = event {
            // Files of caches are torn, and that may be told.
            let of_a_cache = what.contains("local copy") || what.contains("cache");
            if what.contains("damaged") && !of_a_cache {
                self.0.lock().expect("nothing panics in here").push((*what).to_owned());
            }
        }
    }
}

/// A machine.
pub(super) struct Host {
    /// Tells whose its snapshots are; a clone's are those of the machine that was cloned.
    pub source: usize,
    machine: [u8; 16],
    boot: u8,
    /// Its clock.
    pub clock: HostClock,
    next_process: u32,
    cache: PathBuf,
    /// Its files.
    pub files: Files,
    /// What its processes say.
    pub alarms: Arc<FalseAlarms>,
}

impl Host {
    /// A machine with an empty cache below a folder.
    pub(super) fn new(at: usize, truth: &Arc<AtomicI64>, folder: &Path, rng: &mut Rng) -> Self {
        Self {
            source: at,
            machine: [at as u8 + 1; 16],
            boot: 1,
            clock: HostClock { truth: Arc::clone(truth), offset: Arc::default() },
            next_process: 1,
            cache: folder.join(format!("host{at}")),
            files: Files::new(rng),
            alarms: Arc::default(),
        }
    }

    /// The same machine once more, from its memory to its disk.
    pub(super) fn cloned(&self, at: usize, folder: &Path) -> Self {
        let cache = folder.join(format!("host{at}"));
        copy_folder(&self.cache, &cache);
        let offset = Arc::new(AtomicI64::new(self.clock.offset.load(Ordering::Relaxed)));
        Self {
            source: self.source,
            machine: self.machine,
            boot: self.boot,
            clock: HostClock { truth: Arc::clone(&self.clock.truth), offset },
            next_process: self.next_process,
            cache,
            files: self.files.clone(),
            alarms: Arc::default(),
        }
    }

    /// What its clock says.
    pub(super) fn now(&self) -> i64 {
        self.clock.seconds()
    }

    /// Its cache folder, made when it is first asked for.
    pub(super) fn cache(&self) -> PathBuf {
        std::fs::create_dir_all(&self.cache).expect("a folder for the cache");
        self.cache.clone()
    }

    /// A new process; returns its number too.
    pub(super) fn process(&mut self, entropy: u64) -> (Ctx, u32) {
        let number = self.next_process;
        self.next_process += 1;
        (self.ctx(number, entropy), number)
    }

    /// What a process is given.
    pub(super) fn ctx(&self, number: u32, entropy: u64) -> Ctx {
        Ctx {
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::new(ProcessEntropy(Mutex::new(Rng(entropy)))),
            kem: kem::calls(),
            workers: Workers::inline(),
            monitor: Arc::<FalseAlarms>::clone(&self.alarms),
            cancel: Cancel::default(),
            process: Process { machine: self.machine, boot: [self.boot; 16], number, start: 0 },
            is_alive,
            cache: Some(self.cache()),
            // Nothing that is safe hangs on clocks, and here they are years apart.
            clock_accepted: true,
        }
    }

    /// It starts anew; whatever ran is dead.
    pub(super) fn reboot(&mut self) {
        self.boot = self.boot.wrapping_add(1);
    }

    /// The power fails: what was written last may be there in part, as zeros, or as anything.
    pub(super) fn tear_cache(&self, rng: &mut Rng) -> usize {
        let mut files = Vec::new();
        list_files(&self.cache, &mut files);
        files.sort();
        let mut torn = 0;
        for path in files {
            if !rng.one_in(2) {
                continue;
            }
            let Ok(mut bytes) = std::fs::read(&path) else { continue };
            let cut = rng.below(bytes.len() as u64 + 1) as usize;
            match rng.below(3) {
                0 => bytes.truncate(cut),
                1 => bytes[cut..].fill(0),
                _ => bytes[cut..].iter_mut().for_each(|byte| *byte ^= rng.next() as u8),
            }
            std::fs::write(&path, bytes).expect("a file of the cache");
            torn += 1;
        }
        torn
    }
}

fn list_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("an entry of a folder").path();
        if path.is_dir() { list_files(&path, files) } else { files.push(path) }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    let mut files = Vec::new();
    list_files(from, &mut files);
    for path in files {
        let copy = to.join(path.strip_prefix(from).expect("a file in the folder"));
        std::fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder of the copy");
        std::fs::copy(&path, &copy).expect("a copy of a file");
    }
}

/// A context for whoever looks on from outside.
pub(super) fn onlooker(truth: &Arc<AtomicI64>) -> Ctx {
    let clock = HostClock { truth: Arc::clone(truth), offset: Arc::default() };
    Ctx {
        clock: Arc::new(clock),
        entropy: Arc::new(ProcessEntropy(Mutex::new(Rng(99)))),
        kem: kem::calls(),
        workers: Workers::inline(),
        monitor: Arc::new(Silent),
        cancel: Cancel::default(),
        process: Process { machine: [250; 16], boot: [250; 16], number: 1, start: 0 },
        is_alive: |_| true,
        cache: None,
        clock_accepted: true,
    }
}

/// What every repository begins with; made once in a process, always with the same bytes.
pub(super) fn founded() -> BTreeMap<Key, Bytes> {
    static FOUNDED: OnceLock<BTreeMap<Key, Bytes>> = OnceLock::new();
    let made = || {
        let store = MemoryStore::new();
        let ctx = onlooker(&Arc::new(AtomicI64::new(START_SECONDS)));
        let options = InitOptions {
            label: "first".into(),
            kdf: KdfCost { memory_kib: 32, passes: 1, lanes: 1 },
            proved: Vec::new(),
            identifying: None,
        };
        let secret = secret();
        let made = Repository::create(&ctx, Arc::new(store.clone()), &secret, &options);
        made.now_or_never().expect("memory never waits").expect("a new repository");
        store.objects()
    };
    FOUNDED.get_or_init(made).clone()
}
