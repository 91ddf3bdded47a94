//! Models that are safe.

use crate::protocol::*;
use crate::roots::*;
use crate::run::assert_safe;
use stateright::{Checker, Model};
use crate::state::Set;

#[test]
fn core_1w_1m() {
    assert_safe(Config::new(1, 1, 6), 10_000_000, &[GARBAGE_GOES]);
}
#[test]
fn core_1w_2m() {
    assert_safe(Config::new(1, 2, 5), 10_000_000, &[GARBAGE_GOES]);
}
#[test]
fn core_2w_1m() {
    assert_safe(Config { scan: Scan::EndFirst, undecided: Undecided::Repeated, ..Config::new(2, 1, 3) }, 10_000_000, &[GARBAGE_GOES]);
}
#[test]
fn core_2w_2m() {
    assert_safe(Config { scan: Scan::AtOnce, ..Config::new(2, 2, 3) }, 30_000_000, &[GARBAGE_GOES]);
}
#[test]
fn repack_2w_1m() {
    assert_safe(Config { repack: true, absorb: true, scan: Scan::AtOnce, ..Config::new(2, 1, 3) }, 30_000_000, &[GARBAGE_GOES, REPACKED_SERVES]);
}
#[test]
fn repack_1w_2m() {
    assert_safe(Config { repack: true, absorb: true,  ..Config::new(1, 2, 4) }, 30_000_000, &[GARBAGE_GOES, REPACKED_SERVES]);
}
#[test]
fn fence_1w_1m() {
    let config = Config { fence: true, absorb: true, slow_views: true, late: true, first: First::Fresh, forget: Set::below(2), ..Config::new(1, 1, 5) };
    assert_safe(config, 30_000_000, &[GARBAGE_GOES, NAME_LEAVES_DEAD]);
}
#[test]
fn fence_2w_1m() {
    let config = Config { fence: true, scan: Scan::AtOnce, ..Config::new(2, 1, 4) };
    assert_safe(config, 30_000_000, &[GARBAGE_GOES]);
}
#[test]
fn fence_1w_2m() {
    let config = Config { fence: true, absorb: true, ..Config::new(1, 2, 4) };
    assert_safe(config, 30_000_000, &[GARBAGE_GOES]);
}
#[test]
fn parent_1w_1m() {
    let config = Config { first: First::Merged, parent: true, forget: Set::one(0), fence: true, absorb: true, scan: Scan::EndFirst, ..Config::new(1, 1, 5) };
    assert_safe(config, 10_000_000, &[NAME_LEAVES_DEAD, UNDONE_AND_DONE, PRUNED_AND_DONE, ABSORBED_DELTA_GOES]);
}
#[test]
fn parent_1w_2m() {
    let config = Config { first: First::Merged, parent: true, forget: Set::one(0), ..Config::new(1, 2, 4) };
    assert_safe(config, 10_000_000, &[UNDONE_AND_DONE, PRUNED_AND_DONE]);
}
#[test]
fn parent_2w_1m() {
    let config = Config { first: First::Merged, parent: true, forget: Set::one(0), scan: Scan::AtOnce, ..Config::new(2, 1, 3) };
    assert_safe(config, 10_000_000, &[UNDONE_AND_DONE, PRUNED_AND_DONE]);
}
#[test]
fn reader_1w_1m() {
    let config = Config { first: First::Fresh, reader: true, absorb: true, fence: true, scan: Scan::AtOnce, forget: Set::one(0), late: true, ..Config::new(1, 1, 3) };
    assert_safe(config, 30_000_000, &[]);
}
#[test]
fn adopt_2w_1m() {
    let config = Config { adopt: true, scan: Scan::AtOnce, ..Config::new(2, 1, 3) };
    assert_safe(config, 30_000_000, &[ADOPTED_AND_DONE]);
}
#[test]
fn chunks_1w_1m() {
    let wants = [Set::below(2), Set::below(2), Set::one(1)];
    let config = Config { wants, first: First::Merged, forget: Set::below(2), absorb: true, repack: true, ..Config::new(1, 1, 4) };
    assert_safe(config, 30_000_000, &[PRUNED_AND_DONE]);
}
#[test]
fn chunks_2w_1m() {
    let wants = [Set::below(2), Set::below(2), Set::one(1)];
    let config = Config { wants, scan: Scan::AtOnce, ..Config::new(2, 1, 3) };
    assert_safe(config, 30_000_000, &[GARBAGE_GOES]);
}

#[test]
fn spare_2w_1m() {
    let config = Config { scan: Scan::AtOnce, spare: true, first: First::Fresh, forget: Set::one(0), ..Config::new(2, 1, 3) };
    assert_safe(config, 30_000_000, &[]);
}
#[test]
fn spare_1w_1m() {
    let config = Config { spare: true, first: First::Fresh, absorb: true, fence: true, parent: true, forget: Set::below(2), ..Config::new(1, 1, 4) };
    assert_safe(config, 30_000_000, &[]);
}
#[test]
fn all_2w_2m() {
    let config = Config { scan: Scan::AtOnce, fence: true, repack: true, ..Config::new(2, 2, 2) };
    assert_safe(config, 30_000_000, &[]);
}
#[test]
fn core_2w_2m_4() {
    assert_safe(Config { scan: Scan::AtOnce, ..Config::new(2, 2, 4) }, 30_000_000, &[GARBAGE_GOES]);
}

#[test]
fn newest_root() {
    for (deletes, lists_again) in [(true, true), (false, false), (false, true)] {
        let model = RootsModel { mutant: None, deletes, lists_again };
        let checker = model.checker().spawn_bfs().join();
        println!("{} states", checker.unique_state_count());
        checker.assert_no_discovery(ROOTS_ARE_TRUE);
        if deletes {
            checker.assert_any_discovery(LAST_FOUND);
        }
    }
}
#[test]
fn fence5_2w_1m() {
    let config = Config { fence: true, scan: Scan::AtOnce, ..Config::new(2, 1, 5) };
    assert_safe(config, 30_000_000, &[GARBAGE_GOES]);
}
#[test]
fn fencelate_2w_1m() {
    let config = Config { fence: true, late: true, scan: Scan::AtOnce, ..Config::new(2, 1, 4) };
    assert_safe(config, 30_000_000, &[GARBAGE_GOES]);
}
#[test]
fn all_2w_1m() {
    let config = Config { fence: true, repack: true, absorb: true, undecided: Undecided::Repeated, parent: true, forget: Set::one(0), first: First::Fresh, scan: Scan::AtOnce, ..Config::new(2, 1, 3) };
    assert_safe(config, 60_000_000, &[GARBAGE_GOES]);
}
#[test]
fn all_1w_2m() {
    let config = Config { fence: true, repack: true, absorb: true, undecided: Undecided::Repeated, parent: true, forget: Set::one(0), first: First::Fresh, scan: Scan::AtOnce, late: true, slow_views: true, ..Config::new(1, 2, 3) };
    assert_safe(config, 60_000_000, &[GARBAGE_GOES]);
}
