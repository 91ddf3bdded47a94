//! What must be true: a map from snapshots to bytes, and what was reported done.
//!
//! Each attempt at a snapshot has a tag of its own, by which it is known whatever its id, also after
//! its tags were changed. What a run reported while no other run touched the same thing is certain;
//! what failed, or ran beside another, may have happened or not, until it is seen. On purpose not
//! here: looking ([`super::look`]).

use super::actions::{Action, Attempt, Held, Report, word_of};
use super::model::{Restored, Tree};
use holdfast_core::id::ObjectId;
use holdfast_engine::error::Error;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    /// Reported done, and nothing since then.
    Yes,
    /// Reported undone, or never begun.
    No,
    /// It may be or not.
    Perhaps,
}

/// An attempt at a snapshot.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// What may have been backed up: one tree, or two if the machine was cloned meanwhile.
    pub(super) trees: Vec<Arc<Tree>>,
    pub(super) there: There,
    /// Whether anybody ever saw it, or heard that it is there.
    pub(super) seen: bool,
    /// Words that were added to its tags.
    pub(super) words: BTreeSet<String>,
    /// Runs that may be changing it.
    pub(super) active: u32,
    /// Counts runs that began to change it.
    pub(super) begun: u64,
    /// A change of its tags failed, and may still come through.
    pub(super) may_return: bool,
    /// It may be there several times, with tags of their own.
    pub(super) is_cloned: bool,
    /// A prune ran since it was forgotten.
    passed: bool,
    /// Its machine.
    pub(super) host: usize,
}

/// A hold that was reported.
#[derive(Debug, Clone)]
pub(super) struct KnownHold {
    pub(super) held: Held,
    pub(super) there: There,
}

/// What a run may change, and how that was when it began.
#[derive(Debug, Default)]
pub(super) struct Stake {
    touched: Vec<(Attempt, u64, bool)>,
    /// Snapshots that were there when it began, with how often they had been touched.
    there: BTreeMap<Attempt, u64>,
    /// Holds that stood when it began.
    holds: Vec<[u8; 16]>,
    hold_changes: u64,
}

/// What must be true.
#[derive(Default)]
pub(super) struct Oracle {
    pub(super) known: Vec<Known>,
    pub(super) holds: BTreeMap<[u8; 16], KnownHold>,
    /// Counts runs that began to change a hold.
    hold_changes: u64,
    pub(super) active_holds: u32,
    pub(super) keys: BTreeMap<u8, (ObjectId, There)>,
    active_prunes: u32,
    pub(super) truth: Arc<AtomicI64>,
}

/// What is wrong, in words.
pub(super) type Verdict = Result<(), String>;

/// An error with its causes.
pub(super) fn chain(error: &Error) -> String {
    let mut text = format!("{:?}: {error}", error.kind);
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}

impl Oracle {
    pub(super) fn new(truth: &Arc<AtomicI64>) -> Self {
        Self { truth: Arc::clone(truth), ..Self::default() }
    }

    /// Notes that a tree is going to be backed up.
    pub(super) fn attempt(&mut self, tree: &Arc<Tree>, host: usize) -> Attempt {
        self.known.push(Known {
            trees: vec![Arc::clone(tree)],
            there: There::No,
            seen: false,
            words: BTreeSet::new(),
            active: 0,
            begun: 0,
            may_return: false,
            is_cloned: false,
            passed: false,
            host,
        });
        self.known.len() - 1
    }

    /// The machine was cloned while it backed up: the other one may see another tree. One of them
    /// takes the session; the other fails, or starts over and makes a snapshot of its own.
    pub(super) fn cloned(&mut self, attempt: Attempt, tree: &Arc<Tree>) {
        let known = &mut self.known[attempt];
        known.trees.push(Arc::clone(tree));
        (known.may_return, known.is_cloned) = (true, true);
    }

    /// Attempts that were there once, and are now, or are not.
    pub(super) fn attempts(&self, there: There) -> Vec<Attempt> {
        let known = self.known.iter().enumerate().filter(|(_, known)| known.seen && known.there == there);
        known.map(|(attempt, _)| attempt).collect()
    }

    pub(super) fn standing_holds(&self) -> Vec<[u8; 16]> {
        self.holds.iter().filter(|(_, hold)| hold.there == There::Yes).map(|(id, _)| *id).collect()
    }

    pub(super) fn keys_there(&self) -> Vec<(u8, ObjectId)> {
        let there = self.keys.iter().filter(|(_, (_, there))| *there == There::Yes);
        there.map(|(number, (id, _))| (*number, *id)).collect()
    }

    /// A number that no key has.
    pub(super) fn next_key(&self) -> u8 {
        self.keys.keys().next_back().map_or(0, |last| last + 1)
    }

    fn touches(action: &Action) -> Vec<Attempt> {
        match action {
            Action::Backup(plan) => vec![plan.attempt],
            Action::Tag(attempt, _) => vec![*attempt],
            Action::Forget(attempts) | Action::Undo(attempts) => attempts.clone(),
            _ => Vec::new(),
        }
    }

    /// A run begins.
    pub(super) fn begin(&mut self, action: &Action) -> Stake {
        let mut stake = Stake::default();
        for attempt in Self::touches(action) {
            let known = &mut self.known[attempt];
            known.begun += 1;
            stake.touched.push((attempt, known.begun, known.active > 0));
            known.active += 1;
        }
        let there = self.known.iter().enumerate().filter(|(_, known)| known.there == There::Yes);
        stake.there =
            there.filter(|(_, known)| known.active == 0).map(|(at, known)| (at, known.begun)).collect();
        match action {
            Action::Prune(_) => {
                self.active_prunes += 1;
                let gone =
                    self.known.iter_mut().filter(|known| known.there != There::Yes || known.active > 0);
                gone.for_each(|known| known.passed = true);
            }
            Action::Hold(_) | Action::Release(_) => {
                self.hold_changes += 1;
                self.active_holds += 1;
            }
            Action::RemoveKey(number, _) => {
                self.keys.get_mut(number).expect("a known key").1 = There::Perhaps;
            }
            Action::AddKey(number) => {
                self.keys.insert(*number, (ObjectId([0; 16]), There::Perhaps));
            }
            _ => {}
        }
        stake.hold_changes = self.hold_changes;
        if self.active_holds == 0 {
            stake.holds = self.standing_holds();
        }
        stake
    }

    /// A run ended, or died: `None`. `faulty` if the store gave it reason to fail.
    pub(super) fn end(
        &mut self,
        action: &Action,
        stake: &Stake,
        result: Option<&Result<Report, Error>>,
        faulty: bool,
    ) -> Verdict {
        let alone: Vec<bool> = stake
            .touched
            .iter()
            .map(|(attempt, begun, beside)| !beside && self.known[*attempt].begun == *begun)
            .collect();
        for (attempt, _, _) in &stake.touched {
            self.known[*attempt].active -= 1;
        }
        match action {
            Action::Prune(_) => self.active_prunes -= 1,
            Action::Hold(_) | Action::Release(_) => self.active_holds -= 1,
            _ => {}
        }
        match result {
            Some(Ok(report)) => self.succeeded(action, stake, &alone, report, faulty),
            failed => {
                self.failed(action, stake);
                match failed {
                    Some(Err(error)) => self.may_fail(action, stake, &alone, error, faulty),
                    _ => Ok(()),
                }
            }
        }
    }

    fn failed(&mut self, action: &Action, stake: &Stake) {
        for (attempt, _, _) in &stake.touched {
            let known = &mut self.known[*attempt];
            match action {
                Action::Backup(_) if known.there == There::No => known.there = There::Perhaps,
                Action::Forget(_) | Action::Undo(_) => {
                    known.words.clear();
                    known.there = There::Perhaps;
                    known.passed |= self.active_prunes > 0;
                }
                Action::Tag(..) => known.may_return = true,
                _ => {}
            }
        }
        if let Action::Release(id) = action {
            self.holds.entry(*id).and_modify(|hold| hold.there = There::Perhaps);
        }
    }

    /// Whether a failure is one that may be.
    fn may_fail(
        &self,
        action: &Action,
        stake: &Stake,
        alone: &[bool],
        error: &Error,
        faulty: bool,
    ) -> Verdict {
        use holdfast_engine::error::ErrorKind as E;
        let text = || format!("{} failed: {}", action.word(), chain(error));
        match (error.kind, action) {
            (E::Conflict | E::Interrupted, _) => Ok(()),
            (E::Store | E::Full, _) if faulty => Ok(()),
            (E::Held, Action::Forget(_) | Action::Prune(_)) if !self.holds.is_empty() => Ok(()),
            // A hold may have come through although its run failed.
            (E::Held, Action::Forget(_) | Action::Prune(_)) if self.hold_changes > 0 => Ok(()),
            (E::NotFound, Action::Undo(_)) => {
                let known = |(attempt, _, _): &(Attempt, u64, bool)| self.known[*attempt].passed;
                let excused = stake.touched.iter().any(known) || alone.contains(&false);
                if excused { Ok(()) } else { Err(text()) }
            }
            (E::NotFound, Action::Restore(_) | Action::Tag(..) | Action::Forget(_)) => Ok(()),
            (E::NotFound, Action::Release(_)) => Ok(()),
            (E::NotFound, Action::RemoveKey(..)) => Ok(()),
            _ => Err(text()),
        }
    }

    fn succeeded(
        &mut self,
        action: &Action,
        stake: &Stake,
        alone: &[bool],
        report: &Report,
        faulty: bool,
    ) -> Verdict {
        match (action, report) {
            (Action::Backup(plan), Report::Backup) => {
                let known = &mut self.known[plan.attempt];
                // The last of two machines that are one may find its very own snapshot committed, and
                // forgotten since.
                let forgotten = known.is_cloned && known.seen && known.there != There::Yes;
                known.there = if forgotten { There::Perhaps } else { There::Yes };
                known.seen = true;
                Ok(())
            }
            (Action::Restore(attempt), Report::Restore(restored)) => {
                self.restored(*attempt, stake, restored.as_ref(), faulty)
            }
            (Action::Check(_), Report::Check(report)) if !faulty && report.errors > 0 => {
                let errors: Vec<_> = report.findings.iter().filter(|finding| finding.is_error).collect();
                Err(format!("a check beside other runs found errors: {errors:?}"))
            }
            (Action::Tag(attempt, word), Report::Tag(true)) => {
                self.known[*attempt].words.insert(word.clone());
                Ok(())
            }
            (Action::Forget(attempts), Report::Forget(done)) => {
                self.moved(attempts, alone, done, There::No);
                self.held_is_kept(stake, "forgot", done)
            }
            (Action::Undo(attempts), Report::Undo(done)) => {
                self.moved(attempts, alone, done, There::Yes);
                self.undone(attempts, alone, done, faulty)
            }
            (Action::Hold(held), Report::Hold(ids)) => {
                for id in ids {
                    self.holds.insert(*id, KnownHold { held: *held, there: There::Yes });
                }
                Ok(())
            }
            (Action::Release(id), Report::Release) => {
                self.holds.entry(*id).and_modify(|hold| hold.there = There::No);
                Ok(())
            }
            (Action::Prune(_), Report::Prune(report)) => self.pruned(stake, report),
            (Action::AddKey(number), Report::AddKey(id)) => {
                self.keys.insert(*number, (*id, There::Yes));
                Ok(())
            }
            (Action::RemoveKey(number, _), Report::RemoveKey) => {
                self.keys.get_mut(number).expect("a known key").1 = There::Perhaps;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Snapshots were forgotten or came back.
    fn moved(&mut self, attempts: &[Attempt], alone: &[bool], done: &[Vec<String>], to: There) {
        for (attempt, alone) in attempts.iter().zip(alone) {
            let hit = done.iter().any(|tags| tags.contains(&word_of(*attempt)));
            let pruning = self.active_prunes > 0;
            let known = &mut self.known[*attempt];
            if !hit {
                continue;
            }
            // Of two that took its place at once, each with words of its own, one may stay.
            known.words.clear();
            known.there = if *alone { to } else { There::Perhaps };
            known.passed = pruning;
        }
    }

    /// An undo brings back what no prune has passed.
    fn undone(&self, attempts: &[Attempt], alone: &[bool], done: &[Vec<String>], faulty: bool) -> Verdict {
        for (attempt, alone) in attempts.iter().zip(alone) {
            let known = &self.known[*attempt];
            let hit = done.iter().any(|tags| tags.contains(&word_of(*attempt)));
            if !hit && *alone && !faulty && known.there == There::No && !known.passed {
                return Err(format!(
                    "undo did not bring back {}, which no prune has passed",
                    word_of(*attempt)
                ));
            }
        }
        Ok(())
    }

    /// Holds that stood all the time, from before a run until now.
    fn held_throughout(&self, stake: &Stake) -> Vec<Held> {
        if self.hold_changes != stake.hold_changes {
            return Vec::new();
        }
        stake.holds.iter().filter_map(|id| self.holds.get(id)).map(|hold| hold.held).collect()
    }

    fn held_is_kept(&self, stake: &Stake, did: &str, done: &[Vec<String>]) -> Verdict {
        for held in self.held_throughout(stake) {
            let hit = done.iter().find(|tags| match held {
                Held::All => true,
                Held::Snapshot(attempt) => tags.contains(&word_of(attempt)),
                Held::Source(host) => {
                    (0..self.known.len()).any(|at| self.known[at].host == host && tags.contains(&word_of(at)))
                }
            });
            if let Some(tags) = hit {
                return Err(format!("{did} {tags:?} although {held:?} is held"));
            }
        }
        Ok(())
    }

    fn pruned(&self, stake: &Stake, report: &holdfast_engine::maintain::PruneReport) -> Verdict {
        let all = self.held_throughout(stake).iter().any(|held| matches!(held, Held::All));
        if all && report.freed_packs + report.condemned_packs > 0 {
            return Err(format!("a prune worked although everything is held: {report:?}"));
        }
        Ok(())
    }

    fn restored(
        &self,
        attempt: Attempt,
        stake: &Stake,
        restored: Option<&(Box<Restored>, Vec<String>)>,
        faulty: bool,
    ) -> Verdict {
        let known = &self.known[attempt];
        let there = known.there == There::Yes && stake.there.get(&attempt) == Some(&known.begun);
        match restored {
            None if there => Err(format!("{} was not there to be restored", word_of(attempt))),
            None => Ok(()),
            // What was forgotten meanwhile may go while it is restored.
            Some((_, problems)) if !problems.is_empty() && (faulty || !there) => Ok(()),
            Some((restored, problems)) => self.compare(attempt, restored, problems),
        }
    }
}
