//! The newest root, when old ones are deleted and maintainers stall.
//!
//! The other model takes it for granted that who asks for the newest root gets it. This one shows
//! how: list, get, and list again; and that who publishes a root acts on it only if a listing shows
//! it as the newest. On purpose not here: what roots say.

use crate::mutants::Mutant;
use stateright::{Model, Property};

/// The number of the last root.
const LAST: usize = 4;
const MAINTAINERS: usize = 2;

/// A root in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Stored {
    #[default]
    Absent,
    /// Published when the one before it was the newest.
    True,
    /// Published under a number that was free again.
    False,
}

/// Who looks for the newest root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Looking {
    #[default]
    Idle,
    /// The newest number of a listing.
    Listed(u8),
    /// This number was read, and it was this kind of root.
    Got(u8, Stored),
    /// This one is the newest, as far as it can tell.
    Found(u8, Stored),
    /// A maintainer published this number and has not looked since.
    Published(u8, Stored),
    /// It acts on this root.
    Acts(Stored),
}

/// A state: which roots are stored, the number of the newest, who looks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Roots {
    stored: [Stored; LAST + 1],
    newest: u8,
    maintainers: [Looking; MAINTAINERS],
    reader: Looking,
}

/// A model of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RootsModel {
    pub(crate) mutant: Option<Mutant>,
    /// Whether old roots are deleted.
    pub(crate) deletes: bool,
}

/// Who acts on a root, and who trusts one, has a true one.
pub(crate) const ROOTS_ARE_TRUE: &str = "roots are true";
/// A reader found the last root although old ones were deleted.
pub(crate) const LAST_FOUND: &str = "the last root is found";

impl RootsModel {
    /// The steps of finding the newest root, the same for everybody.
    fn look(&self, state: &Roots, at: Looking) -> Option<Looking> {
        Some(match at {
            Looking::Idle => Looking::Listed(state.newest),
            Looking::Listed(number) => match state.stored[usize::from(number)] {
                Stored::Absent => Looking::Idle,
                stored => Looking::Got(number, stored),
            },
            Looking::Got(number, stored) if self.mutant != Some(Mutant::NewestByOneListing) => {
                if state.newest == number { Looking::Found(number, stored) } else { Looking::Idle }
            }
            Looking::Got(number, stored) => {
                let next = usize::from(number) + 1;
                match state.stored.get(next) {
                    None | Some(Stored::Absent) => Looking::Found(number, stored),
                    Some(stored) => Looking::Got(number + 1, *stored),
                }
            }
            Looking::Found(..) | Looking::Published(..) | Looking::Acts(_) => return None,
        })
    }

    fn maintain(&self, state: &Roots, number: usize) -> Option<Roots> {
        let mut next = state.clone();
        next.maintainers[number] = match state.maintainers[number] {
            Looking::Found(newest, _) => {
                let wanted = usize::from(newest) + 1;
                if wanted > LAST {
                    return None;
                }
                if state.stored[wanted] != Stored::Absent {
                    Looking::Idle
                } else if newest == state.newest {
                    next.newest = newest + 1;
                    next.stored[wanted] = Stored::True;
                    Looking::Published(newest + 1, Stored::True)
                } else {
                    next.stored[wanted] = Stored::False;
                    Looking::Published(newest + 1, Stored::False)
                }
            }
            Looking::Published(published, stored) => {
                let believed = self.mutant == Some(Mutant::WonNumberBelieved);
                if believed || state.newest == published { Looking::Acts(stored) } else { Looking::Idle }
            }
            Looking::Acts(_) => Looking::Idle,
            other => self.look(state, other)?,
        };
        Some(next)
    }
}

impl Model for RootsModel {
    type State = Roots;
    type Action = Roots;

    fn init_states(&self) -> Vec<Roots> {
        let mut stored = [Stored::Absent; LAST + 1];
        stored[0] = Stored::True;
        vec![Roots { stored, newest: 0, maintainers: Default::default(), reader: Looking::Idle }]
    }

    fn actions(&self, state: &Roots, next: &mut Vec<Roots>) {
        next.extend((0..MAINTAINERS).filter_map(|number| self.maintain(state, number)));
        let reader = match state.reader {
            Looking::Found(..) => Some(Looking::Idle),
            other => self.look(state, other),
        };
        next.extend(reader.map(|reader| Roots { reader, ..state.clone() }));
        if self.deletes {
            for old in 0..usize::from(state.newest) {
                let mut without = state.clone();
                without.stored[old] = Stored::Absent;
                next.push(without);
            }
        }
    }

    fn next_state(&self, _: &Roots, next: Roots) -> Option<Roots> {
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ROOTS_ARE_TRUE, |_, state: &Roots| {
                let everybody = state.maintainers.iter().chain([&state.reader]);
                !everybody.copied().any(|looking| {
                    matches!(looking, Looking::Acts(Stored::False) | Looking::Found(_, Stored::False))
                })
            }),
            Property::sometimes(LAST_FOUND, |_, state: &Roots| {
                state.reader == Looking::Found(LAST as u8, Stored::True) && state.stored[1] == Stored::Absent
            }),
        ]
    }
}
