//! What a run is given from outside: time, randomness, threads, an ear, a stop signal.
//!
//! On purpose not here: their production versions, but for the workers; the command line makes them.

use crate::event::Monitor;
use crate::workers::Workers;
use holdfast_core::crypto::KemCalls;
use holdfast_core::entry::Time;
use holdfast_core::session::Process;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Time;
}

/// Gives random bytes.
pub trait Entropy: Send + Sync {
    /// Fills a buffer with bytes that nobody can guess.
    fn fill(&self, bytes: &mut [u8]);
}

/// A stop signal: raised once, seen by all who look.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the run to stop at the next safe place.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Tells whether the run is to stop.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a run is given from outside.
#[derive(Clone)]
pub struct Ctx {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Gives randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The calls of ML-KEM that draw their own randomness.
    pub kem: KemCalls,
    /// Threads for what computes or blocks.
    pub workers: Workers,
    /// Hears what happens.
    pub monitor: Arc<dyn Monitor>,
    /// Stops the run.
    pub cancel: Cancel,
    /// Which process this is.
    pub process: Process,
    /// Tells whether a process of this machine and boot still runs.
    pub is_alive: fn(&Process) -> bool,
    /// Folder of local copies, which save reading and are never believed over the repository;
    /// nothing is kept without.
    pub cache: Option<PathBuf>,
    /// Somebody said that the clock is right, though the repository was dated last long ago.
    pub clock_accepted: bool,
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx").field("process", &self.process).finish_non_exhaustive()
    }
}

impl Ctx {
    /// Returns `N` random bytes.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }
}
