//! The protocol as it is, in models of several parts: each is gone through to its end, and none of
//! its states breaks a property.
//!
//! How many states each has is in `main.rs`. On purpose not here: what is broken on purpose.

use crate::protocol::{
    ABSORBED_DELTA_GOES, ADOPTED_AND_DONE, Config, First, GARBAGE_GOES, NAME_LEAVES_DEAD, PRUNED_AND_DONE,
    REPACKED_SERVES, Scan, UNDONE_AND_DONE, Undecided,
};
use crate::roots::{LAST_FOUND, ROOTS_ARE_TRUE, RootsModel};
use crate::run::{assert_safe, assert_unbroken};
use crate::state::Set;
use stateright::{Checker, Model};

/// More than any model that is to be exhausted generates, counting states that were known.
const ENOUGH: usize = 100_000_000;
/// Of a model that is not exhausted by every run.
const SOME: usize = 2_000_000;

#[test]
fn core_1w_1m() {
    assert_safe(Config::new(1, 1, 6), ENOUGH, &[GARBAGE_GOES]);
}

#[test]
fn core_1w_2m() {
    assert_safe(Config::new(1, 2, 6), ENOUGH, &[GARBAGE_GOES]);
}

#[test]
fn core_2w_1m_pins_first() {
    assert_safe(Config::new(2, 1, 4), ENOUGH, &[GARBAGE_GOES]);
}

#[test]
fn core_2w_1m_end_first() {
    let config = Config { scan: Scan::EndFirst, undecided: Undecided::Repeated, ..Config::new(2, 1, 4) };
    assert_safe(config, ENOUGH, &[GARBAGE_GOES]);
}

#[test]
fn core_2w_2m() {
    assert_safe(Config { scan: Scan::AtOnce, ..Config::new(2, 2, 4) }, ENOUGH, &[GARBAGE_GOES]);
}

#[test]
fn repack_1w_2m() {
    let config = Config { repack: true, absorb: true, ..Config::new(1, 2, 4) };
    assert_safe(config, ENOUGH, &[GARBAGE_GOES, REPACKED_SERVES, ABSORBED_DELTA_GOES]);
}

#[test]
fn repack_2w_1m() {
    let config = Config {
        repack: true,
        absorb: true,
        undecided: Undecided::Repeated,
        scan: Scan::AtOnce,
        ..Config::new(2, 1, 3)
    };
    assert_safe(config, ENOUGH, &[GARBAGE_GOES, REPACKED_SERVES, ABSORBED_DELTA_GOES]);
}

#[test]
fn fence_1w_1m() {
    let config = Config {
        first: First::Fresh,
        fence: true,
        absorb: true,
        slow_views: true,
        late: true,
        forget: Set::below(2),
        ..Config::new(1, 1, 4)
    };
    let reached = [GARBAGE_GOES, NAME_LEAVES_DEAD, ABSORBED_DELTA_GOES, UNDONE_AND_DONE, PRUNED_AND_DONE];
    assert_safe(config, ENOUGH, &reached);
}

#[test]
fn fence_1w_2m() {
    let config = Config { fence: true, absorb: true, ..Config::new(1, 2, 5) };
    assert_safe(config, ENOUGH, &[GARBAGE_GOES, NAME_LEAVES_DEAD, ABSORBED_DELTA_GOES]);
}

#[test]
fn fence_2w_1m() {
    let config = Config { fence: true, scan: Scan::AtOnce, ..Config::new(2, 1, 4) };
    assert_safe(config, ENOUGH, &[GARBAGE_GOES, NAME_LEAVES_DEAD, ABSORBED_DELTA_GOES]);
}

#[test]
fn parent_1w_1m() {
    let config = Config {
        first: First::Merged,
        parent: true,
        fence: true,
        absorb: true,
        forget: Set::one(0),
        scan: Scan::EndFirst,
        ..Config::new(1, 1, 5)
    };
    assert_safe(config, ENOUGH, &[NAME_LEAVES_DEAD, ABSORBED_DELTA_GOES, UNDONE_AND_DONE, PRUNED_AND_DONE]);
}

#[test]
fn parent_1w_2m() {
    let config = Config { first: First::Merged, parent: true, forget: Set::one(0), ..Config::new(1, 2, 5) };
    assert_safe(config, ENOUGH, &[UNDONE_AND_DONE, PRUNED_AND_DONE]);
}

#[test]
fn parent_2w_1m() {
    let config = Config {
        first: First::Merged,
        parent: true,
        forget: Set::one(0),
        scan: Scan::AtOnce,
        ..Config::new(2, 1, 3)
    };
    assert_safe(config, ENOUGH, &[UNDONE_AND_DONE, PRUNED_AND_DONE]);
}

#[test]
fn reader_1w_1m() {
    let config = Config {
        first: First::Fresh,
        reader: true,
        fence: true,
        absorb: true,
        forget: Set::one(0),
        scan: Scan::AtOnce,
        ..Config::new(1, 1, 3)
    };
    assert_safe(config, ENOUGH, &[ABSORBED_DELTA_GOES, UNDONE_AND_DONE, PRUNED_AND_DONE]);
}

#[test]
fn adoption_2w_1m() {
    let config = Config { adopt: true, fence: true, scan: Scan::AtOnce, ..Config::new(2, 1, 3) };
    assert_safe(config, ENOUGH, &[ADOPTED_AND_DONE]);
}

/// Two chunks, in one pack or in several.
#[test]
fn two_chunks_1w_1m() {
    let config = Config {
        first: First::Merged,
        wants: [Set::below(2), Set::below(2), Set::one(1)],
        absorb: true,
        repack: true,
        forget: Set::below(2),
        ..Config::new(1, 1, 4)
    };
    assert_safe(config, ENOUGH, &[REPACKED_SERVES, PRUNED_AND_DONE]);
}

#[test]
fn two_chunks_2w_1m() {
    let wants = [Set::below(2), Set::below(2), Set::one(1)];
    assert_safe(Config { wants, scan: Scan::AtOnce, ..Config::new(2, 1, 3) }, ENOUGH, &[GARBAGE_GOES]);
}

/// Maintainers that do less than they could.
#[test]
fn sparing_1w_1m() {
    let config = Config {
        first: First::Fresh,
        spare: true,
        parent: true,
        fence: true,
        absorb: true,
        forget: Set::below(2),
        ..Config::new(1, 1, 4)
    };
    assert_safe(config, ENOUGH, &[NAME_LEAVES_DEAD, UNDONE_AND_DONE, PRUNED_AND_DONE]);
}

#[test]
fn sparing_2w_1m() {
    let config = Config {
        first: First::Fresh,
        spare: true,
        forget: Set::one(0),
        scan: Scan::AtOnce,
        ..Config::new(2, 1, 3)
    };
    assert_safe(config, ENOUGH, &[UNDONE_AND_DONE, PRUNED_AND_DONE]);
}

#[test]
fn fence_2w_1m_more_roots() {
    let config = Config { fence: true, scan: Scan::AtOnce, ..Config::new(2, 1, 5) };
    assert_unbroken(config, SOME, &[GARBAGE_GOES]);
}

/// Nearly all parts at once: more states than every run can visit.
fn everything(writers: usize, maintainers: usize, roots: u8) -> Config {
    Config {
        first: First::Fresh,
        undecided: Undecided::Repeated,
        parent: true,
        fence: true,
        absorb: true,
        repack: true,
        late: true,
        forget: Set::one(0),
        scan: Scan::AtOnce,
        ..Config::new(writers, maintainers, roots)
    }
}

#[test]
fn everything_1w_2m() {
    let config = Config { slow_views: true, ..everything(1, 2, 4) };
    assert_unbroken(config, SOME, &[REPACKED_SERVES, ABSORBED_DELTA_GOES]);
}

#[test]
fn everything_2w_1m() {
    assert_unbroken(everything(2, 1, 4), SOME, &[REPACKED_SERVES, ABSORBED_DELTA_GOES]);
}

#[test]
fn everything_2w_2m() {
    assert_unbroken(everything(2, 2, 4), SOME, &[REPACKED_SERVES, ABSORBED_DELTA_GOES]);
}

#[test]
fn the_newest_root_is_found() {
    let checker = RootsModel { mutant: None, deletes: true }.checker().spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    checker.assert_no_discovery(ROOTS_ARE_TRUE);
    checker.assert_any_discovery(LAST_FOUND);
}
