//! What the store holds, and what each process knows, in a few dozen bytes.
//!
//! Sessions are numbered: 0 made the first snapshot, i is writer i's. Session i's own pack is pack
//! i; the packs after these are what maintainers repack into, one each. On purpose not here: who
//! may do what next (`writer`, `maintainer`, `reader`, `cleaning`).

use std::fmt;

/// Session 0 and one for each writer.
pub(crate) const SESSIONS: usize = 1 + WRITERS;
/// Most writers of a configuration.
pub(crate) const WRITERS: usize = 2;
/// Most maintainers of a configuration.
pub(crate) const MAINTAINERS: usize = 2;
/// One of each session, one of each maintainer.
pub(crate) const PACKS: usize = SESSIONS + MAINTAINERS;
/// Most chunks of a configuration.
pub(crate) const CHUNKS: usize = 2;

/// A set of small numbers: of packs, sessions or chunks.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Set(pub(crate) u8);

impl Set {
    pub(crate) const EMPTY: Self = Self(0);

    pub(crate) const fn one(item: usize) -> Self {
        Self(1 << item)
    }

    /// The numbers below this one.
    pub(crate) const fn below(end: usize) -> Self {
        Self((1 << end) - 1)
    }

    pub(crate) const fn has(self, item: usize) -> bool {
        self.0 & (1 << item) != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn within(self, other: Self) -> bool {
        self.without(other).is_empty()
    }

    pub(crate) fn add(&mut self, item: usize) {
        *self = self.and(Self::one(item));
    }

    pub(crate) fn remove(&mut self, item: usize) {
        *self = self.without(Self::one(item));
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = usize> + Clone {
        (0..8).filter(move |item| self.has(*item))
    }
}

impl FromIterator<usize> for Set {
    fn from_iter<I: IntoIterator<Item = usize>>(items: I) -> Self {
        items.into_iter().fold(Self::EMPTY, |set, item| set.and(Self::one(item)))
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Rows of an index: for each chunk the packs that are said to hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Rows(pub(crate) [Set; CHUNKS]);

impl Rows {
    pub(crate) fn add_all(&mut self, other: Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.and(theirs);
        }
    }

    pub(crate) fn without(mut self, packs: Set) -> Self {
        self.0 = self.0.map(|mine| mine.without(packs));
        self
    }

    pub(crate) fn within(self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(mine, theirs)| mine.within(theirs))
    }

    /// All packs that are named.
    pub(crate) fn packs(self) -> Set {
        self.0.into_iter().fold(Set::EMPTY, Set::and)
    }

    /// The chunks that a pack is said to hold.
    pub(crate) fn of(self, pack: usize) -> Set {
        (0..CHUNKS).filter(|chunk| self.0[*chunk].has(pack)).collect()
    }
}

/// The newest root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Root {
    pub(crate) number: u8,
    pub(crate) condemned: Set,
    /// For each pack the root that declared it dead; 0 if none did.
    pub(crate) dead_since: [u8; PACKS],
    /// The merged index.
    pub(crate) index: Rows,
    pub(crate) pending: u8,
    pub(crate) fence: u8,
    pub(crate) catalogued: Set,
    pub(crate) forgotten: Set,
    /// Sessions whose deltas are merged; entries below the fence are dropped.
    pub(crate) absorbed: Set,
}

impl Root {
    pub(crate) fn dead(&self) -> Set {
        (0..PACKS).filter(|pack| self.dead_since[*pack] > 0).collect()
    }

    /// What nothing new may rely on.
    pub(crate) fn doomed(&self) -> Set {
        self.condemned.and(self.dead())
    }
}

/// How a session ended, by the one object that commit and abort compete for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum End {
    #[default]
    Open,
    Commit,
    Abort,
    /// There was a commit, it was removed: the name is free.
    CommitRemoved,
}

/// A session's index delta.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Delta {
    #[default]
    None,
    Stored,
    Removed,
}

/// The objects of a session. All deltas of one count as one that grows, its pins too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Session {
    pub(crate) begun: bool,
    pub(crate) epoch: u8,
    pub(crate) pinned: Set,
    pub(crate) pins_parent: bool,
    pub(crate) delta: Delta,
    /// What the delta says.
    pub(crate) rows: Rows,
    pub(crate) end: End,
}

/// Where a writer takes a chunk from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Not wanted, or not known yet.
    #[default]
    None,
    /// It goes into the own pack.
    Own,
    /// A row of a segment or of a committed session's delta.
    Known(u8),
    /// A row of an undecided session's delta, said again in the own one.
    Repeated(u8),
    /// A pack of a session that is taken for dead, found by its name.
    Adopted(u8),
    /// Part of the pinned parent; the pack is where it was when it was looked up.
    Parent(u8),
}

impl Source {
    /// The pack of another session, unless the parent's pin covers it.
    pub(crate) fn foreign(self) -> Option<usize> {
        match self {
            Self::Known(pack) | Self::Repeated(pack) | Self::Adopted(pack) => Some(usize::from(pack)),
            Self::None | Self::Own | Self::Parent(_) => None,
        }
    }
}

/// Where a writer is. Each but the last two is one operation of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum WriterStep {
    /// Reads the view in one go, or its hint.
    #[default]
    Look,
    ListSessions,
    ListDeltas,
    ReadRoot,
    Begin,
    Probe,
    PutPack,
    PutDelta,
    PutPins,
    Check,
    Presence,
    Commit,
    Confirm,
    AbortAdopted,
    /// Reported success.
    Done,
    /// Gave up; a restart is another writer.
    Failed,
}

/// What a writer knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Writer {
    pub(crate) step: WriterStep,
    pub(crate) epoch: u8,
    pub(crate) sources: [Source; CHUNKS],
    /// Of the root that said from where on to list.
    pub(crate) hint: u8,
    pub(crate) listing: Listing,
}

/// What a listing of sessions and deltas showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Listing {
    pub(crate) committed: Set,
    pub(crate) aborted: Set,
    pub(crate) deltas: Set,
}

/// Where a maintainer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum MaintainerStep {
    #[default]
    Idle,
    /// Next is the first object of this session.
    Scan(u8),
    /// Next is the second object of this session.
    ScanOther(u8),
    /// All is read: what to publish is decided.
    Decide,
    /// The pack that is to take the place of others is stored.
    Repacked,
    /// This pack is about to be deleted.
    Delete(u8),
    /// These packs are about to be deleted without a root that says so: a mutant's way.
    DeleteAll(Set),
}

/// What a maintainer knows. With another root as the newest, all of it is void.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Maintainer {
    pub(crate) step: MaintainerStep,
    /// The number of the root that the round began with.
    pub(crate) root: u8,
    /// The packs that were listed.
    pub(crate) listed: Set,
    /// Condemned packs of that root, for the mutant that needs no root to delete.
    pub(crate) condemned: Set,
    /// Pinned by or belonging to undecided sessions.
    pub(crate) kept: Set,
    pub(crate) keeps_parent: bool,
    /// Undecided sessions.
    pub(crate) open: Set,
    /// Sessions seen committed that counted in that root.
    pub(crate) committed: Set,
    /// Pins of the session that is being looked at.
    pub(crate) pins: Set,
    pub(crate) pins_parent: bool,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ReaderStep {
    #[default]
    Idle,
    ListSessions,
    ListDeltas,
    ReadRoot,
    GetDeltas,
    /// A chunk of a snapshot has no place in the view.
    Damage,
}

/// What a reader knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Reader {
    pub(crate) step: ReaderStep,
    pub(crate) hint: u8,
    pub(crate) listing: Listing,
    /// The segments, and the rows of deltas that were read.
    pub(crate) rows: Rows,
    pub(crate) dead: Set,
    /// Chunks of the snapshots that are shown.
    pub(crate) wanted: Set,
    /// Deltas that count and are to be read.
    pub(crate) fetch: Set,
}

/// All there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct State {
    pub(crate) root: Root,
    /// Packs in the store.
    pub(crate) stored: Set,
    /// What each pack holds or held: the truth.
    pub(crate) contents: Rows,
    pub(crate) sessions: [Session; SESSIONS],
    pub(crate) writers: [Writer; WRITERS],
    pub(crate) maintainers: [Maintainer; MAINTAINERS],
    pub(crate) reader: Reader,
    /// Names that left the dead list. No process knows it; the properties need it.
    pub(crate) dropped: Set,
    /// Snapshots that a user forgot and did not get back. No process knows it.
    pub(crate) let_go: Set,
    /// What happened on the way, for the properties that say something can happen.
    pub(crate) undone: bool,
}

impl State {
    /// Whether a session committed and counts, forgotten or not.
    pub(crate) fn recognised(&self, session: usize) -> bool {
        let Session { epoch, end, .. } = self.sessions[session];
        self.root.catalogued.has(session) || (end == End::Commit && epoch >= self.root.fence)
    }

    /// The snapshots that there are.
    pub(crate) fn snapshots(&self) -> Set {
        let counting = (0..SESSIONS).filter(|session| self.recognised(*session));
        counting.collect::<Set>().without(self.root.forgotten)
    }

    /// What one complete listing shows, of sessions and deltas that began at an epoch or later.
    pub(crate) fn listing(&self, from: u8) -> Listing {
        let mut listing = Listing::default();
        for (number, session) in self.sessions.iter().enumerate().filter(|(_, s)| s.epoch >= from) {
            match session.end {
                End::Commit => listing.committed.add(number),
                End::Abort => listing.aborted.add(number),
                End::Open | End::CommitRemoved => {}
            }
            if session.delta == Delta::Stored {
                listing.deltas.add(number);
            }
        }
        listing
    }
}
