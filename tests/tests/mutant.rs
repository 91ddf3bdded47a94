//! An engine that makes a mistake on purpose is caught by the simulator, with no more seeds than the
//! suite runs.
//!
//! On purpose not here: the suite itself, which must pass without a mistake (`sim.rs`).

use holdfast_tests::sim::{SUITE_SEEDS, Settings, run_seed, suite};

#[test]
fn the_simulator_catches_it() {
    let mistake = holdfast_engine::MUTANT.expect("a mistake");
    let caught = suite().zip(1..).find_map(|(seed, number)| {
        let failure = run_seed(seed, &Settings::default()).failure?;
        Some((number, failure))
    });
    let (seeds, failure) = caught.unwrap_or_else(|| panic!("{SUITE_SEEDS} seeds do not show that {mistake}"));
    println!("caught after {seeds} seeds: {mistake}\n  {}", failure.lines().next().unwrap_or_default());
}
