//! What a reader does: it reads the view step by step and then looks for every chunk of every
//! snapshot.
//!
//! A reader that starts over is one that begins again. On purpose not here: reading packs, of which
//! the properties say that they are there.

use crate::mutants::Mutant;
use crate::protocol::{Config, Deed, Step, Steps};
use crate::state::{Delta, Listing, Reader, ReaderStep, Rows, SESSIONS, Set, State};

impl Config {
    /// What the reader does next, which is always one thing.
    pub(crate) fn reader_steps(&self, state: &State, steps: &mut Steps) {
        let reader = state.reader;
        let next = match reader.step {
            ReaderStep::Idle => {
                Reader { step: ReaderStep::ListSessions, hint: state.root.fence, ..Reader::default() }
            }
            ReaderStep::ListSessions => {
                let Listing { committed, aborted, .. } = state.listing(reader.hint);
                let listing = Listing { committed, aborted, deltas: Set::EMPTY };
                if self.is(Mutant::RootReadBeforeDeltas) {
                    self.with_root_read(state, Reader { listing, ..reader })
                } else {
                    Reader { step: ReaderStep::ListDeltas, listing, ..reader }
                }
            }
            ReaderStep::ListDeltas => {
                let deltas = state.listing(reader.hint).deltas;
                if self.is(Mutant::RootReadBeforeDeltas) {
                    let fetch = reader.fetch.both(deltas);
                    Reader { step: ReaderStep::GetDeltas, fetch, ..reader }
                } else {
                    let listing = Listing { deltas, ..reader.listing };
                    Reader { step: ReaderStep::ReadRoot, listing, ..reader }
                }
            }
            ReaderStep::ReadRoot => self.with_root_read(state, reader),
            ReaderStep::GetDeltas => self.with_deltas_read(state, reader),
            ReaderStep::Damage => return,
        };
        let mut after = *state;
        after.reader = next;
        steps.push(Step { deed: Deed::Reads(reader.step), next: after });
    }

    /// With the newest root: which snapshots there are, and which of the listed deltas count.
    fn with_root_read(&self, state: &State, reader: Reader) -> Reader {
        let root = &state.root;
        let Listing { committed, aborted, deltas } = reader.listing;
        let recent = |session: &usize| state.sessions[*session].epoch >= root.fence;
        let late = self.is(Mutant::RootReadBeforeDeltas);
        let counting = if late { Set::below(SESSIONS) } else { deltas };
        let fetch = counting
            .both(committed)
            .iter()
            .filter(|session| self.counts(state, *session, aborted.has(*session)));
        let fetch: Set = fetch.collect();
        // The root has a session that committed after the listing: its deltas may be missing.
        let unseen = root.catalogued.without(root.absorbed).without(committed).iter().any(|s| recent(&s));
        if unseen && !self.is(Mutant::UnseenSessionIgnored) {
            return Reader::default();
        }
        let snapshots = root.catalogued.and(committed.iter().filter(recent).collect());
        Reader {
            step: if late { ReaderStep::ListDeltas } else { ReaderStep::GetDeltas },
            hint: reader.hint,
            listing: Listing::default(),
            rows: root.index.without(root.dead()),
            dead: root.dead(),
            wanted: self.wanted(snapshots.without(root.forgotten)),
            fetch,
        }
    }

    /// Reads the deltas, and looks every chunk up. If a delta is gone it was merged: start over.
    fn with_deltas_read(&self, state: &State, mut reader: Reader) -> Reader {
        for session in reader.fetch.iter() {
            if state.sessions[session].delta == Delta::Stored {
                reader.rows.add_all(state.sessions[session].rows);
            } else if !self.is(Mutant::VanishedDeltaIgnored) {
                return Reader::default();
            }
        }
        let Rows(places) = reader.rows.without(reader.dead);
        let whole = reader.wanted.iter().all(|chunk| !places[chunk].is_empty());
        Reader { step: if whole { ReaderStep::Idle } else { ReaderStep::Damage }, ..Reader::default() }
    }
}
