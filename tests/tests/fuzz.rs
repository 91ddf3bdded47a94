//! Every decoder with its seeds and a fixed random sequence, so that what `tests/fuzz.sh` drives
//! runs wherever the tests run, whatever can be installed there.
//!
//! `HOLDFAST_FUZZ_SEEDS=FOLDER` writes the seeds instead, a folder for each target, and
//! `HOLDFAST_FUZZ_ROUNDS` changes how many inputs each seed becomes.

#![expect(clippy::unwrap_used, reason = "a test")]

use holdfast_tests::fuzz::{TARGETS, Target, mutated, run, seeds, target};
use peak_alloc::PeakAlloc;
use std::path::Path;

#[global_allocator]
static COUNTER: PeakAlloc = PeakAlloc;

/// Inputs that each target is given at least.
const INPUTS: usize = 1500;

/// Runs a target on changed seeds; what was changed once is changed further now and then.
fn rounds(target: &Target, seeds: &[Vec<u8>], inputs: usize) {
    let each = inputs.div_ceil(seeds.len());
    for (at, seed) in seeds.iter().enumerate() {
        run(target, seed, &COUNTER);
        let mut last = seed.clone();
        for number in 0..each as u64 {
            let base = if number % 3 == 0 { seed } else { &last };
            last = mutated(base, number << 16 | at as u64);
            run(target, &last, &COUNTER);
        }
    }
}

fn write(folder: &Path) {
    for (name, inputs) in seeds() {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, input) in inputs.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), input).unwrap();
        }
    }
}

#[test]
fn no_decoder_breaks_on_changed_seeds() {
    if let Some(folder) = std::env::var_os("HOLDFAST_FUZZ_SEEDS") {
        return write(Path::new(&folder));
    }
    let seeds = seeds();
    let inputs = std::env::var("HOLDFAST_FUZZ_ROUNDS").map_or(INPUTS, |text| text.parse().unwrap());
    for target in TARGETS {
        rounds(target, seeds.get(target.name).map_or(&[vec![0; 64]][..], |seeds| seeds), inputs);
    }
}

#[test]
fn every_target_has_seeds_that_decode() {
    let seeds = seeds();
    for target in TARGETS {
        assert!(seeds.contains_key(target.name), "{} has no seed", target.name);
    }
}

#[test]
fn targets_have_one_name_each_in_order() {
    assert!(TARGETS.is_sorted_by(|a, b| a.name < b.name));
    assert!(target("page").is_some() && target("").is_none());
}
