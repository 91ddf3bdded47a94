//! The protocol as a model: what a configuration has, the steps there are, the properties.
//!
//! One step is one operation of the store, with whatever its process concludes from the answer. A
//! process that stalls for ever takes no more steps, and one that crashes does the same, so both
//! are in every model. On purpose not here: the steps themselves.

use crate::mutants::Mutant;
use crate::state::{CHUNKS, Delta, End, PACKS, ReaderStep, Rows, SESSIONS, Set, State, WriterStep};
use stateright::{Model, Property};

/// What the first snapshot is in the beginning. It holds all chunks that are wanted by anyone, in pack 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// Forgotten and pruned long ago, but for its pack and the rows of it.
    Garbage,
    /// Catalogued and merged.
    Merged,
    /// Committed and not more: its delta is not merged.
    Fresh,
}

/// How a maintainer looks at sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// All at once.
    AtOnce,
    /// One after the other, each one's pins before its end.
    PinsFirst,
    /// One after the other, each one's end before its pins.
    EndFirst,
}

/// What a delta of a session that has not ended is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undecided {
    /// For nothing.
    Ignored,
    /// A writer may rely on its rows if it says them again in its own delta.
    Repeated,
}

/// What there is in a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) mutant: Option<Mutant>,
    pub(crate) first: First,
    pub(crate) writers: usize,
    /// The chunks that each writer wants.
    pub(crate) wants: [Set; SESSIONS],
    pub(crate) maintainers: usize,
    /// The number of the last root.
    pub(crate) roots: u8,
    pub(crate) scan: Scan,
    pub(crate) undecided: Undecided,
    /// Writers read the view in one operation each: hint, sessions, deltas, root.
    pub(crate) slow_views: bool,
    /// Writers may pin the first snapshot as their parent.
    pub(crate) parent: bool,
    /// Writer 2 may adopt the pack of writer 1.
    pub(crate) adopt: bool,
    /// Maintainers raise the fence, and what is below it is removed.
    pub(crate) fence: bool,
    /// Maintainers may merge deltas when no fence asks for it, and merged ones are removed.
    pub(crate) absorb: bool,
    /// Maintainers may copy chunks into a pack of their own.
    pub(crate) repack: bool,
    /// Snapshots that may be forgotten, and taken back.
    pub(crate) forget: Set,
    /// Maintainers may spare any one pack that they could condemn or declare dead.
    pub(crate) spare: bool,
    /// What was removed may come back: the put was sent twice, and the second one was slow.
    pub(crate) late: bool,
    /// Someone reads everything, now and then.
    pub(crate) reader: bool,
    /// States that cannot lead where a mutant is to be shown are left out.
    pub(crate) within: fn(&State) -> bool,
}

impl Config {
    /// So many writers and maintainers, and nothing else.
    pub(crate) fn new(writers: usize, maintainers: usize, roots: u8) -> Self {
        Self {
            mutant: None,
            first: First::Garbage,
            writers,
            wants: [Set::one(0); SESSIONS],
            maintainers,
            roots,
            scan: Scan::PinsFirst,
            undecided: Undecided::Ignored,
            slow_views: false,
            parent: false,
            adopt: false,
            fence: false,
            absorb: false,
            repack: false,
            forget: Set::EMPTY,
            spare: false,
            late: false,
            reader: false,
            within: |_| true,
        }
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether the delta of a session counts, by what is known of it. Everything else that is good
    /// is in a segment.
    pub(crate) fn counts(&self, state: &State, session: usize, aborted: bool) -> bool {
        let root = &state.root;
        let epoch = state.sessions[session].epoch;
        if self.is(Mutant::LateDeltaCounts) {
            return true;
        }
        let recent = epoch >= root.fence
            || (self.is(Mutant::CataloguedDeltaCountsBelowFence) && root.catalogued.has(session));
        !aborted && !root.absorbed.has(session) && recent
    }

    /// The view of the index that everybody who looks now would have. Rows of undecided sessions
    /// are part of it only by a mutant's rule.
    pub(crate) fn view(&self, state: &State) -> Rows {
        let listing = state.listing(0);
        let mut rows = state.root.index;
        for session in listing.deltas.iter() {
            let decided = listing.committed.has(session) || self.is(Mutant::UndecidedRowsReliedOn);
            if decided && self.counts(state, session, listing.aborted.has(session)) {
                rows.add_all(state.sessions[session].rows);
            }
        }
        rows
    }

    /// All chunks that a set of snapshots wants.
    pub(crate) fn wanted(&self, snapshots: Set) -> Set {
        snapshots.iter().fold(Set::EMPTY, |all, snapshot| all.and(self.wants[snapshot]))
    }

    fn initial(&self) -> State {
        let mut state = State { stored: Set::one(0), ..State::default() };
        let everything = Rows([0, 1].map(|chunk| {
            let wanted = self.wanted(Set::below(SESSIONS)).has(chunk);
            if wanted { Set::one(0) } else { Set::EMPTY }
        }));
        state.contents = everything;
        let first = &mut state.sessions[0];
        match self.first {
            First::Garbage => state.root.index = everything,
            First::Merged => {
                state.root.index = everything;
                state.root.catalogued = Set::one(0);
                state.root.absorbed = Set::one(0);
                (first.begun, first.end) = (true, End::Commit);
            }
            First::Fresh => {
                (first.begun, first.end) = (true, End::Commit);
                (first.delta, first.rows) = (Delta::Stored, everything);
            }
        }
        state
    }
}

/// What was done, for people who read a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Writer(usize, WriterStep),
    Reads(ReaderStep),
    /// Maintainer: a round begins, with a listing of packs.
    ListsPacks(usize),
    /// Maintainer: looks at an object of a session.
    Scans(usize, usize),
    /// Maintainer: stores a pack with chunks of others.
    Repacks(usize),
    /// Maintainer: publishes the next root, or finds that another was faster.
    Publishes(usize),
    /// Maintainer: is about to delete a pack.
    Chooses(usize, usize),
    /// Maintainer: deletes.
    Deletes(usize),
    /// Anyone: aborts a session.
    Aborts(usize),
    RemovesAbort(usize),
    RemovesCommit(usize),
    RemovesDelta(usize),
    /// Anyone: publishes a root that forgets, and one that takes it back.
    Forgets(usize),
    Unforgets(usize),
    /// A put of something that was removed since arrives once more.
    DeltaAgain(usize),
    CommitAgain(usize),
    PackAgain(usize),
}

/// A step: what was done, and what is then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) deed: Deed,
    pub(crate) next: State,
}

/// Where steps are gathered.
pub(crate) type Steps = Vec<Step>;

impl Model for Config {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![self.initial()]
    }

    fn actions(&self, state: &State, steps: &mut Steps) {
        for writer in 0..self.writers {
            self.writer_steps(state, writer, steps);
        }
        for maintainer in 0..self.maintainers {
            self.maintainer_steps(state, maintainer, steps);
        }
        if self.reader {
            self.reader_steps(state, steps);
        }
        self.cleaning_steps(state, steps);
    }

    fn next_state(&self, _state: &State, step: Step) -> Option<State> {
        Some(step.next)
    }

    fn within_boundary(&self, state: &State) -> bool {
        (self.within)(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SNAPSHOTS_ARE_WHOLE, |config: &Self, state: &State| {
                let view = config.view(state);
                config.wanted(state.snapshots()).iter().all(|chunk| {
                    let places = view.0[chunk].both(state.contents.0[chunk]);
                    !places.both(state.stored).without(state.root.dead()).is_empty()
                })
            }),
            Property::always(SUCCESS_STAYS, |config: &Self, state: &State| {
                let reported = (1..=config.writers).filter(|session| {
                    matches!(state.writers[session - 1].step, WriterStep::AbortAdopted | WriterStep::Done)
                });
                reported.collect::<Set>().without(state.let_go).within(state.snapshots())
            }),
            Property::always(ONLY_DEAD_GOES, |_, state: &State| {
                let gone = state.contents.packs().without(state.stored);
                gone.within(state.root.dead().and(state.dropped))
            }),
            Property::always(VIEW_IS_STORED, |config: &Self, state: &State| {
                config.view(state).packs().without(state.root.dead()).within(state.stored)
            }),
            Property::always(DEAD_IS_NOT_CONDEMNED, |_, state: &State| {
                state.root.dead().both(state.root.condemned).is_empty()
            }),
            Property::always(NO_FALSE_DAMAGE, |_, state: &State| state.reader.step != ReaderStep::Damage),
            Property::sometimes(GARBAGE_GOES, |config: &Self, state: &State| {
                !state.stored.has(0) && config.all_done(state)
            }),
            Property::sometimes(REPACKED_SERVES, |config: &Self, state: &State| {
                let repacked = Set::below(PACKS).without(Set::below(SESSIONS));
                let living = config.view(state).without(state.root.dead());
                let all = config.wanted(state.snapshots());
                let serves = |chunk: usize| !living.0[chunk].is_empty() && living.0[chunk].within(repacked);
                !all.is_empty() && all.iter().all(serves)
            }),
            Property::sometimes(NAME_LEAVES_DEAD, |_, state: &State| !state.dropped.is_empty()),
            Property::sometimes(ABSORBED_DELTA_GOES, |config: &Self, state: &State| {
                let gone = (0..SESSIONS).filter(|session| {
                    let delta = state.sessions[*session].delta;
                    delta == Delta::Removed && state.snapshots().has(*session)
                });
                gone.count() > 0 && config.all_done(state)
            }),
            Property::sometimes(ADOPTED_AND_DONE, |_, state: &State| {
                state.writers[1].step == WriterStep::Done
                    && state.sessions[1].end == End::Abort
                    && state.sessions[2].rows.packs().has(1)
            }),
            Property::sometimes(UNDONE_AND_DONE, |config: &Self, state: &State| {
                state.undone && state.snapshots().has(0) && config.all_done(state)
            }),
            Property::sometimes(PRUNED_AND_DONE, |config: &Self, state: &State| {
                state.let_go.has(0) && !state.root.catalogued.has(0) && config.all_done(state)
            }),
        ]
    }
}

impl Config {
    fn all_done(&self, state: &State) -> bool {
        state.writers[..self.writers].iter().all(|writer| writer.step == WriterStep::Done)
    }
}

/// Each chunk of each snapshot has a row that counts, of a pack that is stored, has it, and is not dead.
pub(crate) const SNAPSHOTS_ARE_WHOLE: &str = "snapshots are whole";
/// What was reported counts until it is forgotten.
pub(crate) const SUCCESS_STAYS: &str = "a reported success stays";
/// Nothing is deleted that no root declared dead.
pub(crate) const ONLY_DEAD_GOES: &str = "only dead packs go";
/// What the view names and is not dead is stored.
pub(crate) const VIEW_IS_STORED: &str = "the view is stored";
/// A pack is never both.
pub(crate) const DEAD_IS_NOT_CONDEMNED: &str = "dead is not condemned";
/// Who reads as the rules say finds every chunk of every snapshot.
pub(crate) const NO_FALSE_DAMAGE: &str = "no false damage";

/// The first pack is gone and all writers succeeded.
pub(crate) const GARBAGE_GOES: &str = "garbage goes";
/// All there is lies in packs that a maintainer made.
pub(crate) const REPACKED_SERVES: &str = "a repacked pack serves";
/// A name left the dead list.
pub(crate) const NAME_LEAVES_DEAD: &str = "a name leaves the dead list";
/// The delta of a snapshot is removed, and all writers succeeded.
pub(crate) const ABSORBED_DELTA_GOES: &str = "an absorbed delta goes";
/// Writer 2 has its snapshot, with a pack of writer 1, whom it aborted.
pub(crate) const ADOPTED_AND_DONE: &str = "adopted and done";
/// The first snapshot was forgotten and taken back, and all writers succeeded.
pub(crate) const UNDONE_AND_DONE: &str = "undone and done";
/// The first snapshot is pruned, and all writers succeeded.
pub(crate) const PRUNED_AND_DONE: &str = "pruned and done";

/// What must never be false.
pub(crate) const SAFE: &[&str] = &[
    SNAPSHOTS_ARE_WHOLE,
    SUCCESS_STAYS,
    ONLY_DEAD_GOES,
    VIEW_IS_STORED,
    DEAD_IS_NOT_CONDEMNED,
    NO_FALSE_DAMAGE,
];

const _: () = assert!(CHUNKS == 2 && PACKS <= 8);
