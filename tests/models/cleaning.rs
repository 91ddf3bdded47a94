//! What anyone may do at any time: aborting, removing what the newest root lets go, forgetting and
//! taking it back, and the store's own doing, a put that arrives a second time.
//!
//! On purpose not here: packs, which only the dead list lets go (`maintainer`).

use crate::mutants::Mutant;
use crate::protocol::{Config, Deed, Step, Steps};
use crate::state::{Delta, End, Session, Set, State};

impl Config {
    /// All of these steps.
    pub(crate) fn cleaning_steps(&self, state: &State, steps: &mut Steps) {
        for session in 0..=self.writers {
            self.clean(state, session, steps);
            if self.late {
                come_again(state, session, steps);
            }
        }
        for snapshot in self.forget.iter() {
            self.forget_or_take_back(state, snapshot, steps);
        }
    }

    fn clean(&self, state: &State, number: usize, steps: &mut Steps) {
        let root = &state.root;
        let Session { begun, epoch, delta, end, .. } = state.sessions[number];
        if !begun {
            return;
        }
        let mut push = |deed, change: &dyn Fn(&mut Session)| {
            let mut next = *state;
            change(&mut next.sessions[number]);
            steps.push(Step { deed, next });
        };
        let below = epoch < root.fence;
        let pruned = root.forgotten.has(number) && !root.catalogued.has(number);
        let merged = root.absorbed.has(number) || below;
        if matches!(end, End::Open | End::CommitRemoved) {
            push(Deed::Aborts(number), &|session| session.end = End::Abort);
        }
        if end == End::Abort && self.fence && (below || self.is(Mutant::AbortRemovedEarly)) {
            push(Deed::RemovesAbort(number), &|session| session.end = End::Open);
        }
        let prunes = self.forget.has(number);
        if end == End::Commit && prunes && pruned && (merged || self.is(Mutant::EndRemovedUnmerged)) {
            push(Deed::RemovesCommit(number), &|session| session.end = End::CommitRemoved);
        }
        let early = self.is(Mutant::DeltaRemovedUnmerged) && root.catalogued.has(number);
        let removable = merged || early || end == End::Abort;
        if delta == Delta::Stored && (self.absorb || self.fence) && removable {
            push(Deed::RemovesDelta(number), &|session| session.delta = Delta::Removed);
        }
    }

    /// Forgetting is a root; taking it back is one too, while the newest one still has the snapshot.
    fn forget_or_take_back(&self, state: &State, snapshot: usize, steps: &mut Steps) {
        let root = state.root;
        if root.number >= self.roots {
            return;
        }
        if state.recognised(snapshot) && !root.forgotten.has(snapshot) {
            let mut root = root;
            root.catalogued.add(snapshot);
            root.forgotten.add(snapshot);
            let mut next = self.with_root(state, root);
            next.let_go.add(snapshot);
            steps.push(Step { deed: Deed::Forgets(snapshot), next });
        }
        let known = root.catalogued.has(snapshot) || self.is(Mutant::UndoAfterPrune);
        if root.forgotten.has(snapshot) && known {
            let mut root = root;
            root.catalogued.add(snapshot);
            root.forgotten.remove(snapshot);
            let mut next = self.with_root(state, root);
            next.let_go.remove(snapshot);
            next.undone = true;
            steps.push(Step { deed: Deed::Unforgets(snapshot), next });
        }
    }
}

/// A put that was answered long ago arrives once more, and its name is free again.
fn come_again(state: &State, number: usize, steps: &mut Steps) {
    let mut push = |deed, change: &dyn Fn(&mut State)| {
        let mut next = *state;
        change(&mut next);
        steps.push(Step { deed, next });
    };
    if state.sessions[number].delta == Delta::Removed {
        push(Deed::DeltaAgain(number), &|next| next.sessions[number].delta = Delta::Stored);
    }
    if state.sessions[number].end == End::CommitRemoved {
        push(Deed::CommitAgain(number), &|next| next.sessions[number].end = End::Commit);
    }
    let uploaded = !state.contents.of(number).is_empty();
    if uploaded && !state.stored.has(number) {
        push(Deed::PackAgain(number), &|next| next.stored = next.stored.and(Set::one(number)));
    }
}
