//! Which states are the same but for the names of who does it.
//!
//! Two maintainers differ in nothing. Two writers neither, if they want the same, none adopts from
//! the other, and sessions are looked at all at once: looked at one by one, it is writer 1 first.

use crate::protocol::{Config, Scan};
use crate::state::{MAINTAINERS, Maintainer, MaintainerStep, Rows, SESSIONS, Set, Source, State, WRITERS};

/// Gives one state for all that differ in names alone.
pub(crate) type Representative = fn(&State) -> State;

impl Config {
    /// What makes states of this model the same.
    pub(crate) fn symmetry(&self) -> Representative {
        let same_writers = self.wants[1] == self.wants[2] && !self.forget.has(1) && !self.forget.has(2);
        let writers = self.writers == WRITERS && self.scan == Scan::AtOnce && same_writers && !self.adopt;
        match (writers, self.maintainers == MAINTAINERS) {
            (false, false) => |state| *state,
            (false, true) => least_of_maintainers,
            (true, false) => |state| (*state).min(swapped(state, 1, 2)),
            (true, true) => {
                |state| least_of_maintainers(state).min(least_of_maintainers(&swapped(state, 1, 2)))
            }
        }
    }
}

fn least_of_maintainers(state: &State) -> State {
    (*state).min(swapped(state, SESSIONS, SESSIONS + 1))
}

/// A state in which two processes have each other's names, and their sessions and packs too: a
/// session has the number of its pack.
fn swapped(state: &State, one: usize, other: usize) -> State {
    let set = |set: &mut Set| {
        if set.has(one) != set.has(other) {
            set.0 ^= Set::one(one).and(Set::one(other)).0;
        }
    };
    let rows = |rows: &mut Rows| rows.0.iter_mut().for_each(set);
    let pack = |pack: &mut u8| match usize::from(*pack) {
        number if number == one => *pack = other as u8,
        number if number == other => *pack = one as u8,
        _ => {}
    };
    let mut state = *state;
    let root = &mut state.root;
    root.dead_since.swap(one, other);
    rows(&mut root.index);
    for each in [&mut root.condemned, &mut root.catalogued, &mut root.forgotten, &mut root.absorbed] {
        set(each);
    }
    for each in [&mut state.stored, &mut state.dropped, &mut state.let_go] {
        set(each);
    }
    rows(&mut state.contents);
    for session in &mut state.sessions {
        set(&mut session.pinned);
        rows(&mut session.rows);
    }
    for writer in &mut state.writers {
        for source in &mut writer.sources {
            match source {
                Source::Known(of) | Source::Repeated(of) | Source::Adopted(of) | Source::Parent(of) => {
                    pack(of);
                }
                Source::None | Source::Own => {}
            }
        }
        let listing = &mut writer.listing;
        for each in [&mut listing.committed, &mut listing.aborted, &mut listing.deltas] {
            set(each);
        }
    }
    for maintainer in &mut state.maintainers {
        swap_in_maintainer(maintainer, set, pack);
    }
    let reader = &mut state.reader;
    rows(&mut reader.rows);
    let listing = &mut reader.listing;
    for each in [&mut listing.committed, &mut listing.aborted, &mut listing.deltas] {
        set(each);
    }
    for each in [&mut reader.dead, &mut reader.fetch] {
        set(each);
    }
    if one < SESSIONS {
        state.sessions.swap(one, other);
        state.writers.swap(one - 1, other - 1);
    } else {
        state.maintainers.swap(one - SESSIONS, other - SESSIONS);
    }
    state
}

fn swap_in_maintainer(maintainer: &mut Maintainer, set: impl Fn(&mut Set), pack: impl Fn(&mut u8)) {
    let Maintainer { listed, condemned, kept, open, committed, pins, .. } = maintainer;
    for each in [listed, condemned, kept, open, committed, pins] {
        set(each);
    }
    match &mut maintainer.step {
        MaintainerStep::Delete(of) => pack(of),
        MaintainerStep::DeleteAll(packs) => set(packs),
        _ => {}
    }
}
