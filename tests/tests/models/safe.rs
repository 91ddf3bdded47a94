//! Models that are safe.

use crate::protocol::{Config, First, GARBAGE_GOES, NAME_LEAVES_DEAD, Scan};
use crate::run::assert_safe;
use crate::state::Set;

#[test]
fn core_1w_1m() {
    assert_safe(Config::new(1, 1, 4), 10_000_000, &[GARBAGE_GOES]);
}

#[test]
fn core_2w_1m() {
    assert_safe(Config::new(2, 1, 4), 10_000_000, &[GARBAGE_GOES]);
}

#[test]
fn core_1w_2m() {
    assert_safe(Config::new(1, 2, 4), 10_000_000, &[GARBAGE_GOES]);
}

#[test]
fn fence_1w_1m() {
    let config = Config { fence: true, absorb: true, ..Config::new(1, 1, 5) };
    assert_safe(config, 10_000_000, &[GARBAGE_GOES, NAME_LEAVES_DEAD]);
}

#[test]
fn parent_1w_1m() {
    let config = Config {
        first: First::Merged,
        parent: true,
        forget: Set::one(0),
        fence: true,
        absorb: true,
        scan: Scan::EndFirst,
        ..Config::new(1, 1, 5)
    };
    assert_safe(config, 10_000_000, &[]);
}
