//! Thousands of seeds of the simulator, each a run of several machines over a store that fails.
//!
//! `HOLDFAST_SIM_SEED=N` runs one seed and prints its trace; `HOLDFAST_SIM_SEEDS=N` runs so many in
//! each part instead of the usual number, and `HOLDFAST_SIM_FROM=N` others than usually. On purpose
//! not here: the simulator itself, which is in `tests/src/sim`.

#![expect(clippy::print_stdout, reason = "how many seeds ran is worth knowing")]

use holdfast_tests::sim::{Breach, PARTS, Settings, Tally, part, run_seed};
use std::process::Command;

/// So many seeds that fail are enough.
const FAILURES_MAX: usize = 10;
/// So many seeds may pass before a store that breaks its contract is noticed.
const BREACH_SEEDS_MAX: u64 = 300;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn one_seed() {
    let seed = number("HOLDFAST_SIM_SEED").unwrap_or(0);
    let ending = run_seed(seed, &Settings { print: true, ..Settings::default() });
    println!("{:?}\ntrace {}", ending.tally, ending.trace);
    assert!(ending.failure.is_none(), "{}", ending.failure.unwrap_or_default());
}

/// Runs a part of the seeds; what fails is told, the first one with its trace.
fn run(number_of_part: u64) {
    let (usual, seeds) = part(number_of_part);
    let from = number("HOLDFAST_SIM_FROM").map_or(usual, |from| from + usual);
    let count = number("HOLDFAST_SIM_SEEDS").unwrap_or(seeds);
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
    println!("{count} seeds from {from}: {tally:?}");
}

#[test]
fn seeds_part_1_of_4() {
    run(0);
}

#[test]
fn seeds_part_2_of_4() {
    run(1);
}

#[test]
fn seeds_part_3_of_4() {
    run(2);
}

#[test]
fn seeds_part_4_of_4() {
    run(3);
}

const _: () = assert!(PARTS == 4);

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..40 {
        let [one, other] = [(); 2].map(|()| run_seed(seed, &Settings::default()));
        assert_eq!((one.trace, one.tally), (other.trace, other.tally), "seed {seed}");
    }
}

#[test]
fn another_process_gives_the_same_trace() {
    for seed in [1, 2, 3] {
        let program = std::env::current_exe().expect("this program");
        let words = ["--exact", "one_seed", "--nocapture"];
        let output = Command::new(program).args(words).env("HOLDFAST_SIM_SEED", seed.to_string()).output();
        let text = String::from_utf8(output.expect("a run").stdout).expect("text");
        let trace = run_seed(seed, &Settings::default()).trace;
        assert!(text.contains(&format!("trace {trace}\n")), "seed {seed}: {trace} is not in {text}");
    }
}

/// The oracle notices a store that does not keep its contract.
fn is_noticed(breach: Breach) {
    let settings = Settings { breach, ..Settings::default() };
    let failure = (0..BREACH_SEEDS_MAX).find_map(|seed| run_seed(seed, &settings).failure);
    let failure = failure.expect("a seed that fails");
    assert!(failure.contains("HOLDFAST_SIM_SEED="), "how to run it again: {failure}");
    println!("{}", failure.lines().next().unwrap_or_default());
}

#[test]
fn a_store_that_overwrites_is_noticed() {
    is_noticed(Breach::Overwrites);
}

#[test]
fn a_store_that_leaves_names_out_is_noticed() {
    is_noticed(Breach::ForgetsNames);
}
