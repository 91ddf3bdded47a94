//! A deterministic simulator: several machines run the real engine over a store in memory, one call
//! at a time, and whatever may go wrong does. What happens follows from the seed alone, so that a
//! run that fails can be run again.
//!
//! On purpose not here: threads, time, and the real program, which `tests/e2e` runs.

mod actions;
mod calm;
mod choose;
mod faults;
mod kem;
mod look;
mod model;
mod oracle;
mod schedule;
mod store;
mod trees;
mod world;

pub use faults::Breach;

use actions::{Action, Report};
use holdfast_engine::error::{Error, ErrorKind};
use std::collections::VecDeque;

/// Lines of the trace that are kept for whoever reads of a failure.
const LINES_KEPT: usize = 40;

/// How a seed is run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// Print every line of the trace.
    pub print: bool,
    /// How the store breaks its contract.
    pub breach: Breach,
}

/// What happened in a run, in numbers: they show that something did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls of the store.
    pub calls: u64,
    /// Commands that ended well.
    pub successes: u64,
    /// Commands that failed.
    pub failures: u64,
    /// Backups that were overtaken by a maintainer or a clone.
    pub conflicts: u64,
    /// Processes that died.
    pub crashes: u64,
    /// Files of caches that were torn.
    pub torn: u64,
    /// Processes that slept.
    pub sleeps: u64,
    /// Requests that arrived late, or once more.
    pub late: u64,
    /// Storms of errors.
    pub storms: u64,
    /// Machines that were cloned while they backed up.
    pub clones: u64,
    /// Looks at what is there, from outside.
    pub looks: u64,
    /// Packs that prunes freed.
    pub freed: u64,
    /// Bytes that were repacked.
    pub repacked: u64,
    /// Snapshots that were forgotten.
    pub forgotten: u64,
    /// Snapshots that came back.
    pub undone: u64,
}

impl Tally {
    fn count(&mut self, _action: &Action, result: &Result<Report, Error>) {
        match result {
            Ok(report) => {
                self.successes += 1;
                match report {
                    Report::Prune(report) => {
                        self.freed += report.freed_packs;
                        self.repacked += report.repack_bytes_written;
                    }
                    Report::Forget(done) => self.forgotten += done.len() as u64,
                    Report::Undo(done) => self.undone += done.len() as u64,
                    _ => {}
                }
            }
            Err(error) => {
                self.failures += 1;
                self.conflicts += u64::from(error.kind == ErrorKind::Conflict);
            }
        }
    }

    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.successes += other.successes;
        self.failures += other.failures;
        self.conflicts += other.conflicts;
        self.crashes += other.crashes;
        self.torn += other.torn;
        self.sleeps += other.sleeps;
        self.late += other.late;
        self.storms += other.storms;
        self.clones += other.clones;
        self.looks += other.looks;
        self.freed += other.freed;
        self.repacked += other.repacked;
        self.forgotten += other.forgotten;
        self.undone += other.undone;
    }
}

/// What happened, line by line: all of it hashed, the last of it kept.
struct Trace {
    hasher: blake3::Hasher,
    last: VecDeque<String>,
    print: bool,
}

impl Trace {
    fn new(print: bool) -> Self {
        Self { hasher: blake3::Hasher::new(), last: VecDeque::new(), print }
    }

    #[expect(clippy::print_stdout, reason = "that is what was asked for")]
    fn line(&mut self, step: u64, what: &str) {
        let line = format!("{step:6} {what}");
        self.hasher.update(line.as_bytes());
        self.hasher.update(b"\n");
        if self.print {
            println!("{line}");
        }
        if self.last.len() == LINES_KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

/// How a seed came out.
#[derive(Debug)]
pub struct Ending {
    /// Hash of the whole trace.
    pub trace: String,
    /// What happened.
    pub tally: Tally,
    /// What is wrong, with the end of the trace and how to run it again.
    pub failure: Option<String>,
}

/// Parts that the suite runs beside each other.
pub const PARTS: u64 = 4;
/// Seeds of the suite.
pub const SUITE_SEEDS: u64 = 2000;
/// So far apart the parts begin.
const PART_DISTANCE: u64 = 1 << 32;

/// First seed of a part of the suite, and how many there are.
#[must_use]
pub const fn part(number: u64) -> (u64, u64) {
    (number * PART_DISTANCE, SUITE_SEEDS / PARTS)
}

/// All seeds of the suite.
pub fn suite() -> impl Iterator<Item = u64> {
    (0..PARTS).map(part).flat_map(|(from, count)| from..from + count)
}

/// Runs one seed.
#[must_use]
pub fn run_seed(seed: u64, settings: &Settings) -> Ending {
    let mut run = schedule::Run::new(seed, settings);
    let result = run.go();
    if let Err(what) = &result {
        run.trace.line(u64::MAX, what);
    }
    let failure = result.err().map(|what| {
        let lines: Vec<_> = run.trace.last.iter().cloned().collect();
        format!(
            "seed {seed}: {what}\nThe end of its trace:\n{}\nRun it again, with all of its trace:\n  \
             HOLDFAST_SIM_SEED={seed} cargo test -p holdfast-tests --test sim one_seed -- --nocapture\n",
            lines.join("\n")
        )
    });
    Ending { trace: run.trace.hasher.finalize().to_hex().to_string(), tally: run.tally, failure }
}
