//! Thousands of seeds of the simulator, each a run of several machines over a store that fails.
//!
//! `HOLDFAST_SIM_SEED=N` runs one seed and prints its trace; `HOLDFAST_SIM_SEEDS=N` runs so many
//! instead of the usual number, from `HOLDFAST_SIM_FROM` on.

use holdfast_tests::sim::{Breach, Settings, Tally, run_seed};

/// Seeds that each part of the suite runs.
const SEEDS: u64 = 500;
/// So many seeds that fail are enough.
const FAILURES_MAX: usize = 10;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn one_seed() {
    let Some(seed) = number("HOLDFAST_SIM_SEED") else { return };
    let ending = run_seed(seed, &Settings { print: true, ..Settings::default() });
    println!("{:?}", ending.tally);
    assert!(ending.failure.is_none(), "{}", ending.failure.unwrap_or_default());
}

/// Runs seeds; what fails is told, the first one with its trace.
fn run(from: u64, count: u64) -> Tally {
    let mut tally = Tally::default();
    let mut failures: Vec<String> = Vec::new();
    for seed in from..from + count {
        let ending = run_seed(seed, &Settings::default());
        failures.extend(ending.failure);
        tally.add(&ending.tally);
        if failures.len() == FAILURES_MAX {
            break;
        }
    }
    let others: Vec<_> = failures.iter().skip(1).filter_map(|failure| failure.lines().next()).collect();
    assert!(failures.is_empty(), "{}\nOther seeds that fail:\n{}", failures[0], others.join("\n"));
    tally
}

#[test]
fn seeds() {
    let from = number("HOLDFAST_SIM_FROM").unwrap_or(0);
    let count = number("HOLDFAST_SIM_SEEDS").unwrap_or(SEEDS);
    let tally = run(from, count);
    println!("{count} seeds: {tally:?}");
    let _ = Breach::None;
}
