//! Rules left out or turned round, one at a time, each with a model in which it does harm.
//!
//! The models here are cut down to what a counterexample needs, in parts and in steps; what is
//! found in a part of a model is found in the whole. On purpose not here: the models that are safe.

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
    /// A delta that was merged counts again when it comes again.
    AbsorbedDeltaCounts,
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
