//! What writers do: W1 to W7, adoption, and starting over with what no longer resolves.
//!
//! A writer that gives up would start anew as another session; that is another writer of the
//! model, which may begin at any time. On purpose not here: maintainers.

use crate::mutants::Mutant;
use crate::protocol::{Config, Deed, Step, Steps, Undecided};
use crate::state::{CHUNKS, Delta, End, Listing, Root, Rows, Set, Source, State, Writer, WriterStep};

impl Config {
    /// All that a writer can do next.
    pub(crate) fn writer_steps(&self, state: &State, number: usize, steps: &mut Steps) {
        let session = number + 1;
        let mut step = Turn { config: self, state: *state, number, session, steps };
        match state.writers[number].step {
            WriterStep::Look => step.look(),
            WriterStep::ListSessions => step.list_sessions(),
            WriterStep::ListDeltas => step.list_deltas(),
            WriterStep::ReadRoot => step.choose(),
            WriterStep::Begin => step.begin(),
            WriterStep::Probe => step.probe(),
            WriterStep::PutPack => step.put_pack(),
            WriterStep::PutDelta => step.put_delta(),
            WriterStep::PutPins => step.put_pins(),
            WriterStep::Check => step.check(),
            WriterStep::Presence => step.presence(),
            WriterStep::Commit => step.commit(),
            WriterStep::Confirm => step.confirm(),
            WriterStep::AbortAdopted => step.abort_adopted(),
            WriterStep::Done | WriterStep::Failed => {}
        }
    }
}

/// A writer's turn. `state` is changed in place and then handed in as what follows.
struct Turn<'a> {
    config: &'a Config,
    state: State,
    number: usize,
    session: usize,
    steps: &'a mut Steps,
}

impl Turn<'_> {
    fn me(&mut self) -> &mut Writer {
        &mut self.state.writers[self.number]
    }

    /// The turn ends here, and the writer's next step is this one.
    fn then(&mut self, next: WriterStep) {
        let deed = Deed::Writer(self.session, self.me().step);
        let mut state = self.state;
        let writer = &mut state.writers[self.number];
        writer.step = next;
        if matches!(next, WriterStep::Done | WriterStep::Failed) {
            // What it knew matters no more.
            *writer = Writer { step: next, ..Writer::default() };
        }
        self.steps.push(Step { deed, next: state });
    }

    /// W1: reads the view, or from where on to list.
    fn look(&mut self) {
        if self.config.slow_views {
            self.me().hint = self.state.root.fence;
            self.then(WriterStep::ListSessions);
        } else {
            self.me().listing = self.state.listing(0);
            self.choose();
        }
    }

    fn list_sessions(&mut self) {
        let Listing { committed, aborted, .. } = self.state.listing(self.state.writers[self.number].hint);
        self.me().listing = Listing { committed, aborted, deltas: Set::EMPTY };
        self.then(WriterStep::ListDeltas);
    }

    fn list_deltas(&mut self) {
        self.me().listing.deltas = self.state.listing(self.state.writers[self.number].hint).deltas;
        self.then(WriterStep::ReadRoot);
    }

    /// W1 and W3: with the newest root, chooses where each chunk comes from that has no source.
    fn choose(&mut self) {
        let (known, undecided) = self.view();
        (self.me().listing, self.me().hint) = (Listing::default(), 0);
        let root = self.state.root;
        if !self.state.sessions[self.session].begun {
            self.me().epoch = root.number;
        }
        let mut choices = vec![self.me().sources];
        for chunk in self.config.wants[self.session].iter() {
            choices = choices
                .into_iter()
                .flat_map(|sources| {
                    let found = if sources[chunk] == Source::None {
                        self.sources_of(chunk, known, undecided)
                    } else {
                        vec![sources[chunk]]
                    };
                    found.into_iter().map(move |source| {
                        let mut sources = sources;
                        sources[chunk] = source;
                        sources
                    })
                })
                .collect();
        }
        for sources in choices {
            self.me().sources = sources;
            if self.state.sessions[self.session].begun {
                let next = self.after(WriterStep::Begin);
                self.then(next);
            } else {
                self.then(WriterStep::Begin);
            }
        }
    }

    /// The rows that count, of segments and committed sessions, and those of undecided ones.
    fn view(&mut self) -> (Rows, Rows) {
        let Listing { committed, aborted, deltas } = self.me().listing;
        let (mut known, mut undecided) = (self.state.root.index, Rows::default());
        for session in deltas.iter().filter(|session| *session != self.session) {
            if !self.config.counts(&self.state, session, aborted.has(session)) {
                continue;
            }
            // A late delta of a session that is over is taken for what it says by a mutant only.
            let rows = self.state.sessions[session].rows;
            let trusted = committed.has(session)
                || self.config.is(Mutant::LateDeltaCounts)
                || self.config.is(Mutant::UndecidedRowsReliedOn);
            if trusted {
                known.add_all(rows);
            } else {
                undecided.add_all(rows);
            }
        }
        (known, undecided)
    }

    /// Where a chunk may come from.
    fn sources_of(&mut self, chunk: usize, known: Rows, undecided: Rows) -> Vec<Source> {
        let root = self.state.root;
        let usable = |packs: Set| packs.without(root.doomed()).without(Set::one(self.session)).iter();
        let mut found: Vec<_> = usable(known.0[chunk]).map(|pack| Source::Known(pack as u8)).collect();
        if self.config.undecided == Undecided::Repeated {
            found.extend(usable(undecided.0[chunk]).map(|pack| Source::Repeated(pack as u8)));
        }
        if self.config.parent && self.parent_counts(&root) && self.config.wants[0].has(chunk) {
            found.extend(usable(known.0[chunk]).map(|pack| Source::Parent(pack as u8)));
        }
        if self.config.adopt && self.session == 2 && self.may_adopt() {
            found.push(Source::Adopted(1));
        }
        found.push(Source::Own);
        found
    }

    /// Whether writer 1 is taken for dead, as everybody may be: it began, and it did not end.
    fn may_adopt(&self) -> bool {
        let other = &self.state.sessions[1];
        other.begun && other.end == End::Open && !self.state.root.doomed().has(1)
    }

    /// Whether the first snapshot may be a parent.
    fn parent_counts(&self, root: &Root) -> bool {
        self.state.recognised(0) && !root.forgotten.has(0)
    }

    /// W2.
    fn begin(&mut self) {
        let epoch = self.me().epoch;
        let session = &mut self.state.sessions[self.session];
        (session.begun, session.epoch) = (true, epoch);
        let next = self.after(WriterStep::Begin);
        self.then(next);
    }

    /// Adoption: looks for the packs by their names and reads what they say they hold.
    fn probe(&mut self) {
        let mut found = true;
        for chunk in 0..CHUNKS {
            if self.me().sources[chunk] == Source::Adopted(1) {
                found &= self.state.stored.has(1) && self.state.contents.0[chunk].has(1);
            }
        }
        if found {
            let next = self.after(WriterStep::Probe);
            self.then(next);
        } else {
            self.then(WriterStep::Failed);
        }
    }

    fn put_pack(&mut self) {
        for chunk in 0..CHUNKS {
            if self.me().sources[chunk] == Source::Own {
                self.state.contents.0[chunk].add(self.session);
            }
        }
        self.state.stored.add(self.session);
        let next = self.after(WriterStep::PutPack);
        self.then(next);
    }

    fn put_delta(&mut self) {
        let rows = self.rows_to_say();
        let session = &mut self.state.sessions[self.session];
        session.rows.add_all(rows);
        session.delta = Delta::Stored;
        let next = self.after(WriterStep::PutDelta);
        self.then(next);
    }

    /// W4.
    fn put_pins(&mut self) {
        let (packs, parent) = self.pins_to_put();
        let session = &mut self.state.sessions[self.session];
        session.pinned = session.pinned.and(packs);
        session.pins_parent |= parent;
        let next = self.after(WriterStep::PutPins);
        self.then(next);
    }

    /// W5: reads the newest root and compares.
    fn check(&mut self) {
        let root = self.state.root;
        if self.me().epoch < root.fence.max(root.pending) && !self.config.is(Mutant::NoEpochCheck) {
            return self.then(WriterStep::Failed);
        }
        let parent_counts = self.parent_counts(&root) || self.config.is(Mutant::ParentNotChecked);
        let mut unresolved = false;
        let mut pins_missing = false;
        for chunk in 0..CHUNKS {
            let source = self.me().sources[chunk];
            let doomed = self.is_doomed(&root, source);
            self.me().sources[chunk] = match source {
                // The own pack's name is spent: a restart makes another.
                Source::Own if doomed => return self.then(WriterStep::Failed),
                Source::Parent(pack) if !parent_counts => {
                    pins_missing = true;
                    Source::Known(pack)
                }
                _ if doomed => {
                    unresolved = true;
                    Source::None
                }
                good => good,
            };
        }
        if unresolved {
            self.then(WriterStep::Look);
        } else if pins_missing {
            self.then(WriterStep::PutPins);
        } else {
            let next = self.after(WriterStep::Check);
            self.then(next);
        }
    }

    fn is_doomed(&self, root: &Root, source: Source) -> bool {
        let unchecked = match source {
            Source::Adopted(_) => self.config.is(Mutant::AdoptedNotCheckedInRoot),
            _ => false,
        };
        let pack = match source {
            Source::Own => self.session,
            other => match other.foreign() {
                Some(pack) => pack,
                None => return false,
            },
        };
        root.doomed().has(pack) && !unchecked && !self.config.is(Mutant::NoSecondCheck)
    }

    /// Adopted packs must still be there.
    fn presence(&mut self) {
        let next = if self.state.stored.has(1) { WriterStep::Commit } else { WriterStep::Failed };
        self.then(next);
    }

    /// W6.
    fn commit(&mut self) {
        let free = match self.state.sessions[self.session].end {
            End::Open => true,
            End::Abort => self.config.is(Mutant::AbortIsNotSealed),
            End::Commit | End::CommitRemoved => false,
        };
        if free {
            self.state.sessions[self.session].end = End::Commit;
            self.then(WriterStep::Confirm);
        } else {
            self.then(WriterStep::Failed);
        }
    }

    /// W7.
    fn confirm(&mut self) {
        if !self.state.recognised(self.session) && !self.config.is(Mutant::NoConfirmation) {
            return self.then(WriterStep::Failed);
        }
        let adopted = self.me().sources.contains(&Source::Adopted(1));
        self.then(if adopted { WriterStep::AbortAdopted } else { WriterStep::Done });
    }

    fn abort_adopted(&mut self) {
        if self.state.sessions[1].end == End::Open {
            self.state.sessions[1].end = End::Abort;
        }
        self.then(WriterStep::Done);
    }

    /// Which operation comes after one; those that have nothing to say are left out.
    fn after(&mut self, step: WriterStep) -> WriterStep {
        let order: &[WriterStep] = if self.config.is(Mutant::CheckBeforePins) {
            &[
                WriterStep::Probe,
                WriterStep::PutPack,
                WriterStep::PutDelta,
                WriterStep::Check,
                WriterStep::PutPins,
            ]
        } else {
            &[
                WriterStep::Probe,
                WriterStep::PutPack,
                WriterStep::PutDelta,
                WriterStep::PutPins,
                WriterStep::Check,
            ]
        };
        let done = order.iter().position(|other| *other == step).map_or(0, |at| at + 1);
        for next in &order[done..] {
            let needed = match next {
                WriterStep::Probe => self.adopts(),
                WriterStep::PutPack => match self.pack_to_put() {
                    // A second pack would need a second name: start anew.
                    Some(false) => return WriterStep::Failed,
                    other => other.is_some(),
                },
                WriterStep::PutDelta => {
                    let said = self.state.sessions[self.session].rows;
                    !self.rows_to_say().within(said)
                }
                WriterStep::PutPins => self.pins_missing(),
                _ => true,
            };
            if needed {
                return *next;
            }
        }
        if self.adopts() { WriterStep::Presence } else { WriterStep::Commit }
    }

    fn adopts(&mut self) -> bool {
        self.me().sources.contains(&Source::Adopted(1))
    }

    /// Whether chunks are to be written, and if so whether the one pack is still to be had.
    fn pack_to_put(&mut self) -> Option<bool> {
        let held = self.state.contents.of(self.session);
        let own: Set = (0..CHUNKS).filter(|chunk| self.me().sources[*chunk] == Source::Own).collect();
        (!own.within(held)).then_some(held.is_empty())
    }

    /// What the own delta must name: the own pack's chunks, and what undecided sessions had.
    fn rows_to_say(&mut self) -> Rows {
        let mut rows = Rows::default();
        for chunk in 0..CHUNKS {
            let source = self.me().sources[chunk];
            match source {
                Source::Own => rows.0[chunk].add(self.session),
                Source::Repeated(pack) => rows.0[chunk].add(usize::from(pack)),
                Source::Adopted(pack) if !self.config.is(Mutant::AdoptedRowsNotRepeated) => {
                    rows.0[chunk].add(usize::from(pack));
                }
                _ => {}
            }
        }
        rows
    }

    fn pins_to_put(&mut self) -> (Set, bool) {
        if self.config.is(Mutant::NoPins) {
            return (Set::EMPTY, self.pins_parent());
        }
        let skip_adopted = self.config.is(Mutant::AdoptedNotPinned);
        let sources = self.me().sources;
        let pinned = sources.iter().filter(|source| !(skip_adopted && matches!(source, Source::Adopted(_))));
        (pinned.filter_map(|source| source.foreign()).collect(), self.pins_parent())
    }

    fn pins_parent(&mut self) -> bool {
        self.me().sources.iter().any(|source| matches!(source, Source::Parent(_)))
    }

    fn pins_missing(&mut self) -> bool {
        let (packs, parent) = self.pins_to_put();
        let session = &self.state.sessions[self.session];
        !packs.within(session.pinned) || (parent && !session.pins_parent)
    }
}
