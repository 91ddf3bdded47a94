//! Rules left out or turned round, one at a time, each with a model in which it does harm.
//!
//! The models here are cut down to what a counterexample needs, in parts and in steps; what is
//! found in a part of a model is found in the whole. On purpose not here: the models that are safe.

use crate::protocol::{Config, First, NO_FALSE_DAMAGE, SNAPSHOTS_ARE_WHOLE, SUCCESS_STAYS, Scan};
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
    /// Who won a root's number acts on it without another look, while old roots are deleted.
    WonNumberBelieved,
    /// The newest root is what one listing shows, and the numbers after it until one is absent, while
    /// old roots are deleted.
    NewestByOneListing,
}

/// A mutant, a model in which it does harm, how many states that takes at most, and what breaks.
struct Case(Mutant, Config, usize, &'static str);

/// Fails unless each mutant breaks what it is said to break, within its states.
fn all_caught(cases: &[Case]) {
    for Case(mutant, config, budget, broken) in cases {
        let outcome = search(Config { mutant: Some(*mutant), ..*config }, broken, *budget);
        println!("{mutant:?}: {} states", outcome.states);
        assert!(outcome.found.contains(broken), "{mutant:?}: not caught in {} states", outcome.states);
        println!("{}\n", outcome.trace.unwrap_or_default());
    }
}

#[test]
fn writers_that_leave_steps_out_are_caught() {
    let config = Config::new(1, 1, 2);
    let fenced = Config { fence: true, ..Config::new(1, 1, 4) };
    let with_parent =
        Config { first: First::Merged, parent: true, forget: Set::one(0), ..Config::new(1, 1, 3) };
    all_caught(&[
        Case(Mutant::NoPins, config, 20_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::CheckBeforePins, config, 20_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::NoSecondCheck, config, 20_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::NoConfirmation, fenced, 100_000, SUCCESS_STAYS),
        Case(Mutant::NoEpochCheck, fenced, 100_000, SUCCESS_STAYS),
        Case(Mutant::ParentNotChecked, with_parent, 100_000, SNAPSHOTS_ARE_WHOLE),
    ]);
}

#[test]
fn maintainers_that_leave_steps_out_are_caught() {
    let config = Config::new(1, 1, 2);
    let with_parent =
        Config { first: First::Merged, parent: true, forget: Set::one(0), ..Config::new(1, 1, 3) };
    all_caught(&[
        Case(Mutant::CondemnedIsDead, config, 20_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::AbortIsNotSealed, config, 20_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::DeletesWithoutRoot, Config::new(1, 2, 3), 300_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::DeadDroppedWhenGone, Config::new(1, 1, 4), 20_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::ParentPinIgnored, with_parent, 100_000, SNAPSHOTS_ARE_WHOLE),
    ]);
}

#[test]
fn wrong_fences_are_caught() {
    let config = Config { fence: true, ..Config::new(1, 1, 4) };
    all_caught(&[
        Case(Mutant::FenceInOneRoot, config, 100_000, SUCCESS_STAYS),
        Case(Mutant::FencePassesOpenSession, config, 100_000, SUCCESS_STAYS),
        Case(Mutant::AbortRemovedEarly, config, 100_000, SNAPSHOTS_ARE_WHOLE),
    ]);
}

#[test]
fn wrong_merges_are_caught() {
    let config = Config { first: First::Fresh, fence: true, absorb: true, ..Config::new(1, 1, 4) };
    let pruning = Config { absorb: false, forget: Set::one(0), scan: Scan::AtOnce, ..config };
    all_caught(&[
        Case(Mutant::DeltaRemovedUnmerged, config, 100_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::FenceWithoutMerge, config, 100_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::FenceMergesOnlyCatalogued, pruning, 1_000_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::EndRemovedUnmerged, pruning, 1_000_000, SNAPSHOTS_ARE_WHOLE),
    ]);
}

/// The delta of a session that was aborted is stored when nobody remembers its pack.
#[test]
fn a_late_delta_is_caught() {
    let config = Config { fence: true, scan: Scan::AtOnce, ..Config::new(2, 1, 5) };
    all_caught(&[Case(Mutant::LateDeltaCounts, config, 2_000_000, SNAPSHOTS_ARE_WHOLE)]);
}

/// The first snapshot's pack was repacked and nobody remembers it, but its delta does.
#[test]
fn a_catalogued_delta_below_the_fence_is_caught() {
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
            let looks_late = state.writers[0].step <= WriterStep::ListSessions || root.number >= 4;
            let dies_first = root.number < 2 || root.dead_since[0] == 2 || state.dropped.has(0);
            let is_dropped = root.number < 4 || state.dropped.has(0);
            let stays = state.sessions[0].delta == Delta::Stored && state.sessions[1].end != End::Abort;
            looks_late && dies_first && is_dropped && stays
        },
        ..Config::new(1, 1, 6)
    };
    all_caught(&[Case(Mutant::CataloguedDeltaCountsBelowFence, config, 100_000, SNAPSHOTS_ARE_WHOLE)]);
}

#[test]
fn relying_on_undecided_sessions_is_caught() {
    let config = Config::new(2, 1, 2);
    all_caught(&[
        Case(Mutant::UndecidedRowsReliedOn, config, 1_000_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::UndecidedCopyChosen, config, 1_000_000, SNAPSHOTS_ARE_WHOLE),
    ]);
}

#[test]
fn careless_adoption_is_caught() {
    let config = Config { adopt: true, scan: Scan::AtOnce, ..Config::new(2, 1, 3) };
    all_caught(&[
        Case(Mutant::AdoptedNotPinned, config, 1_000_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::AdoptedRowsNotRepeated, config, 1_000_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::AdoptedNotCheckedInRoot, config, 1_000_000, SNAPSHOTS_ARE_WHOLE),
    ]);
}

#[test]
fn careless_forgetting_is_caught() {
    let config = Config { first: First::Merged, forget: Set::one(0), ..Config::new(0, 1, 5) };
    let two_copies =
        Config { first: First::Merged, forget: Set::below(2), scan: Scan::AtOnce, ..Config::new(1, 1, 4) };
    all_caught(&[
        Case(Mutant::UndoAfterPrune, config, 10_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::PrunedStaysCatalogued, config, 10_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::ForgottenEntryGoesEarly, config, 10_000, SNAPSHOTS_ARE_WHOLE),
        Case(Mutant::CopiesVouchForEachOther, two_copies, 100_000, SNAPSHOTS_ARE_WHOLE),
    ]);
}

#[test]
fn careless_readers_are_caught() {
    let config =
        Config { first: First::Fresh, reader: true, absorb: true, fence: true, ..Config::new(1, 1, 2) };
    all_caught(&[
        Case(Mutant::RootReadBeforeDeltas, config, 1_000_000, NO_FALSE_DAMAGE),
        Case(Mutant::VanishedDeltaIgnored, config, 1_000_000, NO_FALSE_DAMAGE),
        Case(Mutant::UnseenSessionIgnored, config, 1_000_000, NO_FALSE_DAMAGE),
    ]);
}

#[test]
fn false_roots_are_caught() {
    for mutant in [Mutant::WonNumberBelieved, Mutant::NewestByOneListing] {
        let model = RootsModel { mutant: Some(mutant), deletes: true };
        let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        checker.assert_any_discovery(ROOTS_ARE_TRUE);
    }
}
