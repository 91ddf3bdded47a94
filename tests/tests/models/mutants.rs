//! Rules left out or turned round, one at a time, each with a model in which it does harm.
//!
//! The models here are cut down to what a counterexample needs, in parts and in steps; what is
//! found in a part of a model is found in the whole. On purpose not here: the models that are safe.

use crate::protocol::{
    Config, First, NO_FALSE_DAMAGE, SNAPSHOTS_ARE_WHOLE, SUCCESS_STAYS, Scan,
};
use crate::roots::{ROOTS_ARE_TRUE, RootsModel};
use crate::run::search;
use crate::state::{Delta, End, Set, WriterStep};
use stateright::{Checker, HasDiscoveries, Model};

/// A rule of the protocol that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// W4 is left out.
    NoPins,
    /// W5 comes before W4.
    CheckBeforePins,
    /// W5 compares nothing with the lists.
    NoSecondCheck,
    /// Packs die in the root that should condemn them.
    CondemnedIsDead,
    /// A session is taken for aborted, and nothing keeps it from committing.
    AbortIsNotSealed,
    /// Who lost the race for a root deletes what it would have declared dead.
    DeletesWithoutRoot,
    /// The fence is raised without a root that announces it.
    FenceInOneRoot,
    /// The fence is raised over a session that is undecided.
    FencePassesOpenSession,
    /// An abort is removed before the fence has passed it.
    AbortRemovedEarly,
    /// W7 is left out.
    NoConfirmation,
    /// W5 does not compare the epoch with the fence.
    NoEpochCheck,
    /// The mark leaves pinned parents out.
    ParentPinIgnored,
    /// W5 does not look whether the parent is still there.
    ParentNotChecked,
    /// A name leaves the dead list as soon as the pack is gone.
    DeadDroppedWhenGone,
    /// A delta counts whatever became of its session.
    LateDeltaCounts,

    /// A delta is removed once its session is catalogued, merged or not.
    DeltaRemovedUnmerged,
    /// The fence is raised without merging what is below it.
    FenceWithoutMerge,
    /// The fence is raised with the deltas of catalogued snapshots merged, not with those of pruned ones.
    FenceMergesOnlyCatalogued,
    /// A delta below the fence counts as long as its session is catalogued.
    CataloguedDeltaCountsBelowFence,
    /// A delta counts before its session has ended, for everybody.
    UndecidedRowsReliedOn,
    /// A maintainer keeps a copy that only an undecided session's delta names.
    UndecidedCopyChosen,
    /// The commit of a pruned snapshot is removed before its deltas are merged.
    EndRemovedUnmerged,
    /// Packs that are adopted are not pinned.
    AdoptedNotPinned,
    /// Rows of adopted packs are not said again.
    AdoptedRowsNotRepeated,
    /// Adopted packs are only looked for in the store, not in the root's lists.
    AdoptedNotCheckedInRoot,
    /// A snapshot comes back after a prune.
    UndoAfterPrune,
    /// The root that declares packs dead leaves forgotten snapshots catalogued.
    PrunedStaysCatalogued,
    /// A pruned snapshot leaves the forgotten list at once.
    ForgottenEntryGoesEarly,
    /// Each of two condemned copies dies in favour of the other.
    CopiesVouchForEachOther,
    /// A reader reads the root before it lists deltas.
    RootReadBeforeDeltas,
    /// A reader takes a delta that is gone for an empty one.
    VanishedDeltaIgnored,
    /// A reader shows a snapshot that the root has and its listing had not.
    UnseenSessionIgnored,
    /// Who won a root's number acts on it without another look.
    WonNumberBelieved,
}

/// A mutant, a model in which it does harm, how many states that takes at most, and what breaks.
struct Case(Mutant, Config, usize, &'static str);

/// Fails unless each mutant breaks what it is said to break, within its states.
fn all_caught(cases: &[Case]) {
    for Case(mutant, config, budget, broken) in cases {
        let outcome = search(Config { mutant: Some(*mutant), ..*config }, broken, *budget);
        println!("{mutant:?}: {} states, {:?}", outcome.states, outcome.found);
        assert!(outcome.found.contains(broken), "{mutant:?}: not caught in {} states", outcome.states);
        println!("{}", outcome.trace.unwrap_or_default());
    }
}

#[test]
fn writers_leave_steps_out() {
    let small = Config::new(1, 1, 2);
    all_caught(&[
        Case(Mutant::NoPins, small, 100_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::CheckBeforePins, small, 100_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::NoSecondCheck, small, 100_000, SNAPSHOTS_ARE_WHOLE),
    ]);
}

#[test]
fn maintainers_leave_steps_out() {
    all_caught(&[
        Case(Mutant::CondemnedIsDead, Config::new(1, 1, 2), 100_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::AbortIsNotSealed, Config::new(1, 1, 2), 100_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::DeletesWithoutRoot, Config::new(1, 2, 3), 2_000_000, SNAPSHOTS_ARE_WHOLE),
    ]);
}

#[test]
fn fences() {
    let fenced = Config { fence: true, ..Config::new(1, 1, 4) };
    all_caught(&[
        Case(Mutant::FenceInOneRoot, fenced, 1_000_000, SUCCESS_STAYS),
        Case(Mutant::FencePassesOpenSession, fenced, 1_000_000, SUCCESS_STAYS),
        Case(Mutant::AbortRemovedEarly, fenced, 1_000_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::NoConfirmation, fenced, 1_000_000, SUCCESS_STAYS),
        Case(Mutant::NoEpochCheck, fenced, 1_000_000, SUCCESS_STAYS),
    ]);
}

#[test]
fn parents() {
    let config = Config { first: First::Merged, parent: true, forget: Set::one(0), ..Config::new(1, 1, 3) };
    all_caught(&[
        Case(Mutant::ParentPinIgnored, config, 1_000_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::ParentNotChecked, config, 1_000_000, SNAPSHOTS_ARE_WHOLE),
    ]);
}

#[test]
fn dead_list() {
    all_caught(&[Case(Mutant::DeadDroppedWhenGone, Config::new(1, 1, 4), 1_000_000, SNAPSHOTS_ARE_WHOLE)]);
}

#[test]
fn late_delta() {
    let config = Config { fence: true, scan: Scan::AtOnce, ..Config::new(2, 1, 5) };
    all_caught(&[Case(Mutant::LateDeltaCounts, config, 10_000_000, SNAPSHOTS_ARE_WHOLE)]);
}

#[test]
fn undecided() {
    let config = Config { ..Config::new(2, 1, 2) };
    all_caught(&[
        Case(Mutant::UndecidedRowsReliedOn, config, 1_000_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::UndecidedCopyChosen, config, 1_000_000, SNAPSHOTS_ARE_WHOLE),
    ]);
}

#[test]
fn merging() {
    let config = Config { first: First::Fresh, absorb: true, fence: true, ..Config::new(1, 1, 5) };
    all_caught(&[
        Case(Mutant::DeltaRemovedUnmerged, config, 1_000_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::FenceWithoutMerge, config, 1_000_000, SNAPSHOTS_ARE_WHOLE),
    ]);
}

#[test]
fn merging_pruned() {
    let config = Config {
        first: First::Fresh,
        absorb: false,
        fence: true,
        forget: Set::one(0),
        scan: Scan::AtOnce,
        ..Config::new(1, 1, 5)
    };
    all_caught(&[
        Case(Mutant::FenceMergesOnlyCatalogued, config, 3_000_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::EndRemovedUnmerged, config, 3_000_000, SNAPSHOTS_ARE_WHOLE),
    ]);
}

#[test]
fn merging_below() {
    let config = Config {
        first: First::Fresh,
        absorb: true,
        fence: true,
        repack: true,
        forget: Set::one(0),
        scan: Scan::AtOnce,
        slow_views: true,
        within: |state| {
            let root = &state.root;
            let waits = state.writers[0].step == WriterStep::ListSessions;
            let dies = root.number < 2 || root.dead_since[0] == 2 || state.dropped.has(0);
            let goes = root.number < 4 || state.dropped.has(0);
            let stays = state.sessions[0].delta == Delta::Stored && state.sessions[1].end != End::Abort;
            (waits || state.writers[0].step < WriterStep::ListSessions || root.number >= 4) && dies && goes && stays
        },
        ..Config::new(1, 1, 6)
    };
    all_caught(&[Case(Mutant::CataloguedDeltaCountsBelowFence, config, 3_000_000, SNAPSHOTS_ARE_WHOLE)]);
}

#[test]
fn adoption() {
    let config = Config { adopt: true, scan: Scan::AtOnce, ..Config::new(2, 1, 3) };
    all_caught(&[
        Case(Mutant::AdoptedNotPinned, config, 1_000_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::AdoptedRowsNotRepeated, config, 1_000_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::AdoptedNotCheckedInRoot, config, 1_000_000, SNAPSHOTS_ARE_WHOLE),
    ]);
}

#[test]
fn forgetting() {
    let config = Config { first: First::Merged, forget: Set::one(0), scan: Scan::AtOnce, ..Config::new(0, 1, 5) };
    all_caught(&[
        Case(Mutant::UndoAfterPrune, config, 1_000_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::PrunedStaysCatalogued, config, 1_000_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::ForgottenEntryGoesEarly, config, 1_000_000, SNAPSHOTS_ARE_WHOLE),
    ]);
}

#[test]
fn copies() {
    let config = Config {
        first: First::Merged,
        forget: Set::below(2),
        scan: Scan::AtOnce,
        ..Config::new(1, 1, 4)
    };
    all_caught(&[Case(Mutant::CopiesVouchForEachOther, config, 1_000_000, SNAPSHOTS_ARE_WHOLE)]);
}

#[test]
fn readers() {
    let config = Config { first: First::Fresh, reader: true, absorb: true, fence: true, ..Config::new(1, 1, 2) };
    all_caught(&[
        Case(Mutant::RootReadBeforeDeltas, config, 1_000_000, NO_FALSE_DAMAGE),
        Case(Mutant::VanishedDeltaIgnored, config, 1_000_000, NO_FALSE_DAMAGE),
        Case(Mutant::UnseenSessionIgnored, config, 1_000_000, NO_FALSE_DAMAGE),
    ]);
}

#[test]
fn newest_root() {
    let caught = |model: RootsModel| {
        let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        checker.discoveries().contains_key(ROOTS_ARE_TRUE)
    };
    let safe = RootsModel { mutant: None, deletes: true, lists_again: true };
    assert!(caught(RootsModel { mutant: Some(Mutant::WonNumberBelieved), ..safe }));
    assert!(caught(RootsModel { lists_again: false, ..safe }));
}
