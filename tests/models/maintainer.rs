//! What maintainers do: G1 to G6, repacking, merging, forgetting in the root that condemns, and
//! raising the fence in two roots.
//!
//! A round of a maintainer is void as soon as another root is the newest, as its own could not be
//! published any more; it is dropped then, at once. Names leave the dead list, and entries the lists
//! of forgotten and absorbed sessions, with the first root that may drop them: no later one could
//! do more harm. On purpose not here: what needs no look at sessions (`cleaning`).

use crate::mutants::Mutant;
use crate::protocol::{Config, Deed, Scan, Step, Steps};
use crate::state::{CHUNKS, Delta, End, Maintainer, MaintainerStep, PACKS, Root, Rows, SESSIONS, Set, State};

impl Maintainer {
    fn is_in_round(&self) -> bool {
        match self.step {
            MaintainerStep::Scan(_)
            | MaintainerStep::ScanOther(_)
            | MaintainerStep::Decide
            | MaintainerStep::Repacked => true,
            MaintainerStep::Idle | MaintainerStep::Delete(_) | MaintainerStep::DeleteAll(_) => false,
        }
    }
}

impl Config {
    /// All that a maintainer can do next.
    pub(crate) fn maintainer_steps(&self, state: &State, number: usize, steps: &mut Steps) {
        let mut turn = Turn { config: self, state, number, steps };
        match state.maintainers[number].step {
            MaintainerStep::Idle => turn.begin(),
            MaintainerStep::Scan(session) => turn.scan(usize::from(session)),
            MaintainerStep::ScanOther(session) => turn.scan_other(usize::from(session)),
            MaintainerStep::Decide => {
                turn.publish();
                turn.repack();
            }
            MaintainerStep::Repacked => turn.publish(),
            MaintainerStep::Delete(pack) => turn.delete(Set::one(usize::from(pack))),
            MaintainerStep::DeleteAll(packs) => turn.delete(packs),
        }
    }

    /// A state with another newest root.
    pub(crate) fn with_root(&self, state: &State, mut root: Root) -> State {
        root.number = state.root.number + 1;
        let mut next = State { root, ..*state };
        for maintainer in &mut next.maintainers {
            let void = maintainer.is_in_round() && !self.is(Mutant::DeletesWithoutRoot);
            if void {
                *maintainer = Maintainer::default();
            }
        }
        next
    }

    /// Removes from a root's lists what the fence has passed.
    pub(crate) fn tidy(&self, state: &State, root: &mut Root) {
        for session in 0..SESSIONS {
            let passed = state.sessions[session].epoch < root.fence;
            if passed {
                root.absorbed.remove(session);
            }
            let early = self.is(Mutant::ForgottenEntryGoesEarly);
            if (passed || early) && !root.catalogued.has(session) {
                root.forgotten.remove(session);
            }
        }
    }
}

struct Turn<'a> {
    config: &'a Config,
    state: &'a State,
    number: usize,
    steps: &'a mut Steps,
}

impl Turn<'_> {
    fn me(&self) -> &Maintainer {
        &self.state.maintainers[self.number]
    }

    fn push(&mut self, deed: Deed, me: Maintainer, change: impl FnOnce(&mut State)) {
        let mut next = *self.state;
        next.maintainers[self.number] = me;
        change(&mut next);
        self.steps.push(Step { deed, next });
    }

    fn begin(&mut self) {
        let root = self.state.root;
        for pack in root.dead().both(self.state.stored).iter() {
            let me = Maintainer { step: MaintainerStep::Delete(pack as u8), ..Maintainer::default() };
            self.push(Deed::Chooses(self.number, pack), me, |_| {});
        }
        if root.number >= self.config.roots {
            return;
        }
        // G1: the newest root and the packs.
        let mut me = Maintainer { root: root.number, listed: self.state.stored, ..Maintainer::default() };
        if self.config.is(Mutant::DeletesWithoutRoot) {
            me.condemned = root.condemned;
        }
        self.look_at_end(&mut me, 0);
        if self.config.scan == Scan::AtOnce {
            for session in 1..=self.config.writers {
                self.look_at_pins(&mut me, session);
                self.look_at_end(&mut me, session);
            }
            me.step = MaintainerStep::Decide;
        } else {
            me.step = self.next_session(1);
        }
        self.push(Deed::ListsPacks(self.number), me, |_| {});
    }

    /// The first session from this one on that has begun. One that begins later has no pack that was
    /// listed, and an epoch that a fence in the making has passed.
    fn next_session(&self, from: usize) -> MaintainerStep {
        let mut rest = from..=self.config.writers;
        let next = rest.find(|session| self.state.sessions[*session].begun);
        next.map_or(MaintainerStep::Decide, |session| MaintainerStep::Scan(session as u8))
    }

    fn scan(&mut self, session: usize) {
        let mut me = *self.me();
        me.step = MaintainerStep::ScanOther(session as u8);
        if self.config.scan == Scan::PinsFirst {
            self.look_at_pins(&mut me, session);
        } else if self.look_at_end(&mut me, session) {
            me.step = self.next_session(session + 1);
        }
        self.push(Deed::Scans(self.number, session), me, |_| {});
    }

    fn scan_other(&mut self, session: usize) {
        let mut me = *self.me();
        me.step = self.next_session(session + 1);
        if self.config.scan == Scan::EndFirst {
            self.look_at_pins(&mut me, session);
            Self::keep(&mut me, session);
        } else {
            let open = !self.look_at_end(&mut me, session);
            if open && self.config.is(Mutant::AbortIsNotSealed) {
                // It is taken for over, and nothing in the store says so.
                let mut careless = me;
                Self::forget_pins(&mut careless);
                careless.open.remove(session);
                careless.kept = self.me().kept;
                careless.keeps_parent = self.me().keeps_parent;
                self.push(Deed::Scans(self.number, session), careless, |_| {});
            }
        }
        Self::forget_pins(&mut me);
        self.push(Deed::Scans(self.number, session), me, |_| {});
    }

    fn look_at_pins(&self, me: &mut Maintainer, session: usize) {
        me.pins = self.state.sessions[session].pinned;
        me.pins_parent = self.state.sessions[session].pins_parent;
    }

    fn forget_pins(me: &mut Maintainer) {
        (me.pins, me.pins_parent) = (Set::EMPTY, false);
    }

    /// Notes how a session ended; returns whether it did.
    fn look_at_end(&self, me: &mut Maintainer, session: usize) -> bool {
        let looked_at = &self.state.sessions[session];
        if !looked_at.begun {
            return true;
        }
        let fenced = looked_at.epoch < self.state.root.fence;
        match looked_at.end {
            End::Commit => {
                if !fenced || self.state.root.catalogued.has(session) {
                    me.committed.add(session);
                }
            }
            // A commit that was removed leaves no trace: it looks undecided.
            End::Open | End::CommitRemoved if !fenced => {
                me.open.add(session);
                if self.config.scan != Scan::EndFirst {
                    Self::keep(me, session);
                }
                return false;
            }
            // Undecided below the fence: it cannot count any more.
            End::Open | End::Abort | End::CommitRemoved => {}
        }
        true
    }

    /// An undecided session keeps its own pack, what it pinned, and its parent.
    fn keep(me: &mut Maintainer, session: usize) {
        me.kept = me.kept.and(me.pins);
        me.kept.add(session);
        me.keeps_parent |= me.pins_parent;
    }

    fn delete(&mut self, packs: Set) {
        self.push(Deed::Deletes(self.number), Maintainer::default(), |next| {
            next.stored = next.stored.without(packs);
        });
    }

    /// Sessions that committed, count, and whose deltas are not merged.
    fn unmerged(&self) -> Set {
        let rows = |session: &usize| self.state.sessions[*session].delta == Delta::Stored;
        let counts = |session: &usize| self.config.counts(self.state, *session, false);
        self.me().committed.iter().filter(rows).filter(counts).collect()
    }

    /// Where this maintainer finds chunks that it must keep: segments, and deltas of sessions that
    /// committed.
    fn places(&self) -> Rows {
        let mut rows = self.state.root.index;
        let mut sessions = self.unmerged();
        if self.config.is(Mutant::UndecidedCopyChosen) {
            sessions = sessions.and(self.me().open);
        }
        for session in sessions.iter() {
            rows.add_all(self.state.sessions[session].rows);
        }
        let absent = Set::below(PACKS).without(self.me().listed);
        rows.without(self.state.root.dead()).without(absent)
    }

    /// G2: the chunks that must stay, if these snapshots are forgotten.
    fn mark(&self, forgotten: Set) -> Set {
        let mut snapshots = self.state.root.catalogued.and(self.me().committed).without(forgotten);
        if self.me().keeps_parent && !self.config.is(Mutant::ParentPinIgnored) {
            snapshots.add(0);
        }
        self.config.wanted(snapshots)
    }

    /// Stores a pack of its own with all marked chunks, to condemn the others.
    fn repack(&mut self) {
        let root = self.state.root;
        let pack = SESSIONS + self.number;
        let marked = self.mark(root.forgotten);
        let places = self.places();
        let all_there = marked.iter().all(|chunk| !places.0[chunk].is_empty());
        let unused = self.state.contents.of(pack).is_empty();
        let current = self.me().root == root.number;
        if !(self.config.repack && current && unused && all_there && root.condemned.is_empty())
            || marked.is_empty()
        {
            return;
        }
        let me = Maintainer { step: MaintainerStep::Repacked, ..*self.me() };
        self.push(Deed::Repacks(self.number), me, |next| {
            next.stored.add(pack);
            for chunk in marked.iter() {
                next.contents.0[chunk].add(pack);
            }
        });
    }

    /// G3 or G5, with everything else that a root may say.
    fn publish(&mut self) {
        let root = self.state.root;
        if self.me().root != root.number {
            // Someone else published this number. Only a mutant gets here.
            return self.delete_without_root();
        }
        let mut forgets = vec![Set::EMPTY];
        if root.condemned.is_empty() {
            let known = root.catalogued.and(self.me().committed).without(root.forgotten);
            forgets.extend(known.both(self.config.forget).iter().map(Set::one));
        }
        let mut absorbs = vec![Set::EMPTY];
        if self.config.absorb && !self.unmerged().is_empty() {
            absorbs.push(self.unmerged());
        }
        for forget in forgets {
            for absorb in &absorbs {
                self.publish_with_fences(forget, *absorb);
            }
        }
    }

    /// For each way to treat the fence.
    fn publish_with_fences(&mut self, forget: Set, absorb: Set) {
        let Root { number, pending, fence, .. } = self.state.root;
        self.publish_with_copies(forget, absorb, pending, fence);
        if !self.config.fence {
            return;
        }
        let open_below =
            |end: u8| self.me().open.iter().any(|session| self.state.sessions[session].epoch < end);
        let next = number + 1;
        if self.config.is(Mutant::FenceInOneRoot) {
            if !open_below(next) {
                self.publish_with_copies(forget, self.unmerged(), next, next);
            }
        } else if pending <= fence {
            self.publish_with_copies(forget, absorb, next, fence);
        } else if !open_below(pending) || self.config.is(Mutant::FencePassesOpenSession) {
            // What is below it counts from now on by what the segments say.
            let merged =
                if self.config.is(Mutant::FenceWithoutMerge) { absorb } else { self.to_merge(pending) };
            self.publish_with_copies(forget, absorb.and(merged), pending, pending);
        }
    }

    /// What a root must merge that raises the fence.
    fn to_merge(&self, fence: u8) -> Set {
        let below = |session: &usize| self.state.sessions[*session].epoch < fence;
        let mut sessions: Set = self.unmerged().iter().filter(below).collect();
        if self.config.is(Mutant::FenceMergesOnlyCatalogued) {
            sessions = sessions.without(self.state.root.forgotten.without(self.state.root.catalogued));
        }
        sessions
    }

    /// For each choice of the copies that stay.
    fn publish_with_copies(&mut self, forget: Set, absorb: Set, pending: u8, fence: u8) {
        let old = self.state.root;
        let mut root = Root { pending, fence, ..old };
        root.catalogued = old.catalogued.and(self.me().committed.without(old.forgotten));
        root.forgotten = old.forgotten.and(forget);
        root.absorbed = old.absorbed.and(absorb);
        for session in absorb.iter() {
            root.index.add_all(self.state.sessions[session].rows);
        }
        let marked = self.mark(root.forgotten);
        let condemns = old.condemned.is_empty();
        let mut choices =
            if condemns { self.copies_against_all(marked) } else { self.copies_against_condemned(marked) };
        if self.config.spare {
            let spared = self.me().listed.iter().map(Set::one);
            let more = choices.iter().flat_map(|copies| spared.clone().map(|pack| copies.and(pack)));
            choices = more.chain(choices.iter().copied()).collect();
        }
        for copies in choices {
            let mut root = root;
            let dies = if condemns {
                root.condemned = self.me().listed.without(old.dead()).without(self.me().kept).without(copies);
                if self.me().step == MaintainerStep::Repacked {
                    self.index_own_pack(&mut root);
                }
                if self.config.is(Mutant::CondemnedIsDead) {
                    std::mem::take(&mut root.condemned)
                } else {
                    Set::EMPTY
                }
            } else {
                root.condemned = Set::EMPTY;
                // What was forgotten when the mark was made is pruned with what only it needed.
                if !self.config.is(Mutant::PrunedStaysCatalogued) {
                    root.catalogued = root.catalogued.without(old.forgotten);
                }
                old.condemned.without(self.me().kept).without(copies)
            };
            self.publish_root(root, dies);
        }
    }

    /// Ways to keep one listed copy of each marked chunk. None if one has no copy: then the mark
    /// could not finish.
    fn copies_against_all(&self, marked: Set) -> Vec<Set> {
        if self.me().step == MaintainerStep::Repacked {
            return vec![Set::EMPTY];
        }
        let places = self.places();
        choices(marked.iter().map(|chunk| places.0[chunk].iter().map(Set::one).collect()))
    }

    /// Ways to keep a condemned copy of each marked chunk that has no other.
    fn copies_against_condemned(&self, marked: Set) -> Vec<Set> {
        let places = self.places();
        let going = self.state.root.condemned.without(self.me().kept);
        choices(marked.iter().map(|chunk| {
            let here = places.0[chunk];
            let others = |pack: usize| here.without(Set::one(pack));
            if self.config.is(Mutant::CopiesVouchForEachOther) {
                let alone = here.iter().filter(|pack| others(*pack).is_empty());
                return vec![alone.collect()];
            }
            if here.within(going) { here.iter().map(Set::one).collect() } else { vec![Set::EMPTY] }
        }))
    }

    fn index_own_pack(&self, root: &mut Root) {
        let pack = SESSIONS + self.number;
        for chunk in 0..CHUNKS {
            if self.state.contents.0[chunk].has(pack) {
                root.index.0[chunk].add(pack);
            }
        }
    }

    /// Publishes, unless nothing would change.
    fn publish_root(&mut self, mut root: Root, dies: Set) {
        let number = self.state.root.number + 1;
        for pack in dies.iter() {
            root.dead_since[pack] = number;
        }
        root.index = root.index.without(root.dead());
        self.config.tidy(self.state, &mut root);
        let mut dropped = Set::EMPTY;
        for pack in root.dead().without(self.me().listed).iter() {
            let passed = root.fence > root.dead_since[pack];
            if (self.config.fence && passed) || self.config.is(Mutant::DeadDroppedWhenGone) {
                root.dead_since[pack] = 0;
                dropped.add(pack);
            }
        }
        if root == self.state.root {
            return;
        }
        let forgotten = root.forgotten.without(self.state.root.forgotten);
        let mut next = self.config.with_root(self.state, root);
        next.maintainers[self.number] = Maintainer::default();
        next.dropped = next.dropped.and(dropped);
        next.let_go = next.let_go.and(forgotten);
        self.steps.push(Step { deed: Deed::Publishes(self.number), next });
    }

    /// Deletes what a root would have declared dead that was never published.
    fn delete_without_root(&mut self) {
        let marked = self.mark(self.state.root.forgotten);
        let places = self.places();
        let going = self.me().condemned.without(self.me().kept);
        let copies = choices(marked.iter().map(|chunk| {
            let here = places.0[chunk];
            if here.within(going) { here.iter().map(Set::one).collect() } else { vec![Set::EMPTY] }
        }));
        for copies in copies {
            let step = MaintainerStep::DeleteAll(going.without(copies));
            self.push(Deed::Publishes(self.number), Maintainer { step, ..Maintainer::default() }, |_| {});
        }
    }
}

/// All unions of one set of each list.
fn choices(lists: impl Iterator<Item = Vec<Set>>) -> Vec<Set> {
    lists.fold(vec![Set::EMPTY], |unions, list| {
        let mut longer: Vec<_> =
            unions.iter().flat_map(|union| list.iter().map(|set| union.and(*set))).collect();
        longer.sort_unstable();
        longer.dedup();
        longer
    })
}
