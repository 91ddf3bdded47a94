//! What must be true: a map from snapshots to bytes, and what was reported done.
//!
//! Each attempt at a snapshot has a tag of its own, by which it is known whatever its id, also after
//! its tags were changed. What a run reported while no other run touched the same thing is certain;
//! what failed, or ran beside another, may have happened or not, until it is seen. On purpose not
//! here: the engine's opinion. Snapshots are compared with the trees that they were made of.

use super::actions::{Action, Attempt, Held, Plan, Report, back_up, key_secret, restore_one, word_of};
use super::model::{Restored, Tree};
use super::world::{founded, onlooker, secret};
use futures::FutureExt;
use holdfast_core::entry::{Kind, Xattrs};
use holdfast_core::id::ObjectId;
use holdfast_engine::ctx::Ctx;
use holdfast_engine::error::Error;
use holdfast_engine::maintain::holds;
use holdfast_engine::{ReadData, Repository, Snapshot, SnapshotFilter, StatsMode, check, snapshots, stats};
use holdfast_store::MemoryStore;
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
struct Known {
    /// What may have been backed up: one tree, or two if the machine was cloned meanwhile.
    trees: Vec<Arc<Tree>>,
    there: There,
    /// Whether anybody ever saw it, or heard that it is there.
    seen: bool,
    /// Words that were added to its tags.
    words: BTreeSet<String>,
    /// Runs that may be changing it.
    active: u32,
    /// Counts runs that began to change it.
    begun: u64,
    /// A change of its tags failed, and may still come through.
    may_return: bool,
    /// It may be there several times, with tags of their own.
    is_cloned: bool,
    /// A prune ran since it was forgotten.
    passed: bool,
    /// Its machine.
    host: usize,
}

/// A hold that was reported.
#[derive(Debug, Clone)]
struct KnownHold {
    held: Held,
    there: There,
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
    known: Vec<Known>,
    holds: BTreeMap<[u8; 16], KnownHold>,
    /// Counts runs that began to change a hold.
    hold_changes: u64,
    active_holds: u32,
    keys: BTreeMap<u8, (ObjectId, There)>,
    active_prunes: u32,
    truth: Arc<AtomicI64>,
}

/// What is wrong, in words.
pub(super) type Verdict = Result<(), String>;

fn now<T>(future: impl Future<Output = T>) -> T {
    // A store in memory never waits; streams give way now and then all the same.
    let mut future = Box::pin(future);
    for _ in 0..100_000 {
        if let Some(value) = future.as_mut().now_or_never() {
            return value;
        }
    }
    panic!("the engine waits for nothing");
}

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
                self.keys.get_mut(number).expect("a known key").1 = There::Perhaps
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
                (known.there, known.seen) = (There::Yes, true);
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

    fn compare(&self, attempt: Attempt, restored: &Restored, problems: &[String]) -> Verdict {
        let word = word_of(attempt);
        if !problems.is_empty() {
            return Err(format!("{word} does not come back whole: {problems:#?}"));
        }
        let mut reason = String::new();
        for tree in &self.known[attempt].trees {
            match differs(restored, tree) {
                None => return Ok(()),
                Some(what) => reason = what,
            }
        }
        Err(format!("{word} comes back with other bytes: {reason}"))
    }

    /// Looks at what is there now: `deep` restores one snapshot, or all of them, `check`s too.
    /// `calm`: nothing that was sent can still change which snapshots there are.
    pub(super) fn inspect(&mut self, store: &MemoryStore, depth: Depth, calm: bool) -> Verdict {
        let (ctx, repository) = self.open(store)?;
        let listed = now(snapshots(&ctx, &repository, &SnapshotFilter::default()))
            .map_err(|error| wrong("listing", &error))?;
        if let Some(problem) = listed.problems.problems.first() {
            return Err(format!("a listing has problems: {problem:?}"));
        }
        let shown = self.sort(listed.value)?;
        self.compare_listing(&shown, calm)?;
        self.look_at_keys(&ctx, store)?;
        if !self.holds.is_empty() {
            let standing = now(holds(&ctx, &repository)).map_err(|error| wrong("listing holds", &error))?;
            self.compare_holds(&standing.iter().map(|hold| hold.id).collect())?;
        }
        let chosen: Vec<_> = match depth {
            Depth::List => Vec::new(),
            Depth::One(at) => shown.iter().nth(at as usize % shown.len().max(1)).into_iter().collect(),
            Depth::All => shown.iter().collect(),
        };
        for (attempt, snapshots) in chosen {
            for snapshot in snapshots {
                let (restored, problems) = now(restore_one(&ctx, &repository, snapshot))
                    .map_err(|error| wrong(&format!("restoring {}", word_of(*attempt)), &error))?;
                self.compare(*attempt, &restored, &problems)?;
            }
        }
        if depth == Depth::All {
            let report =
                now(check(&ctx, &repository, ReadData::All)).map_err(|error| wrong("check", &error))?;
            let errors: Vec<_> = report.findings.iter().filter(|finding| finding.is_error).collect();
            if !errors.is_empty() {
                return Err(format!("check found errors: {errors:#?}"));
            }
        }
        Ok(())
    }

    /// Snapshots by the attempt that they are of.
    fn sort(&self, listed: Vec<Snapshot>) -> Result<BTreeMap<Attempt, Vec<Snapshot>>, String> {
        let mut shown: BTreeMap<Attempt, Vec<Snapshot>> = BTreeMap::new();
        for snapshot in listed {
            let number = |tag: &String| tag.strip_prefix('a')?.parse::<Attempt>().ok();
            let attempt = snapshot.summary.tags.iter().find_map(number);
            let attempt = attempt.filter(|&attempt| attempt < self.known.len());
            let tags = &snapshot.summary.tags;
            let attempt = attempt.ok_or_else(|| format!("a snapshot that nobody made, with {tags:?}"))?;
            shown.entry(attempt).or_default().push(snapshot);
        }
        Ok(shown)
    }

    fn compare_listing(&mut self, shown: &BTreeMap<Attempt, Vec<Snapshot>>, calm: bool) -> Verdict {
        for (attempt, known) in self.known.iter_mut().enumerate() {
            let word = word_of(attempt);
            let snapshots = shown.get(&attempt);
            if known.active > 0 {
                continue;
            }
            match (known.there, snapshots) {
                (There::Yes, None) => return Err(format!("{word} is not listed any more")),
                (There::No, Some(_)) if !known.may_return => {
                    return Err(format!("{word} is listed although it was forgotten"));
                }
                // A commit that somebody sees stays.
                (There::Perhaps, Some(_)) if calm || known.begun == 1 => known.there = There::Yes,
                (There::Perhaps, None) if calm && !known.may_return => known.there = There::No,
                _ => {}
            }
            let Some(snapshots) = snapshots else { continue };
            known.seen = true;
            for added in &known.words {
                if !known.is_cloned && !snapshots.iter().any(|snapshot| snapshot.summary.tags.contains(added))
                {
                    return Err(format!("{word} has lost its tag {added}"));
                }
            }
        }
        Ok(())
    }

    fn compare_holds(&self, standing: &BTreeSet<[u8; 16]>) -> Verdict {
        if self.active_holds > 0 {
            return Ok(());
        }
        for (id, hold) in &self.holds {
            match (hold.there, standing.contains(id)) {
                (There::Yes, false) => {
                    return Err(format!("the hold of {:?} does not stand any more", hold.held));
                }
                (There::No, true) => return Err(format!("the hold of {:?} stands again", hold.held)),
                _ => {}
            }
        }
        Ok(())
    }

    fn look_at_keys(&self, ctx: &Ctx, store: &MemoryStore) -> Verdict {
        for (number, (_, there)) in &self.keys {
            if *there == There::Yes
                && let Err(error) = now(Repository::open(ctx, Arc::new(store.clone()), &key_secret(*number)))
            {
                return Err(format!("key {number} does not open any more: {}", chain(&error)));
            }
        }
        Ok(())
    }

    /// All holds that stand, whoever knows of them.
    pub(super) fn all_holds(&self, store: &MemoryStore) -> Result<Vec<[u8; 16]>, String> {
        let (ctx, repository) = self.open(store)?;
        let all = now(holds(&ctx, &repository)).map_err(|error| wrong("listing holds", &error))?;
        Ok(all.into_iter().map(|hold| hold.id).collect())
    }

    fn open(&self, store: &MemoryStore) -> Result<(Ctx, Repository), String> {
        let ctx = onlooker(&self.truth);
        let repository = now(Repository::open(&ctx, Arc::new(store.clone()), &secret()));
        repository.map(|repository| (ctx, repository)).map_err(|error| wrong("opening", &error))
    }

    /// Refuses packs with more in them than the snapshots need; `thorough` compares with a
    /// repository that has held nothing else. Returns what was measured.
    pub(super) fn waste(&self, store: &MemoryStore, thorough: bool) -> Result<String, String> {
        let (ctx, repository) = self.open(store)?;
        let report = now(stats(&ctx, &repository, None, StatsMode::Full));
        let report = report.map_err(|error| wrong("stats", &error))?.value;
        let packs = packs_in(store);
        let unreferenced = report.stored.unwrap_or_default().unreferenced_bytes;
        let mut measured =
            format!("{} packs, {} bytes, {unreferenced} unreferenced", packs.len(), report.pack_bytes);
        if unreferenced > PACK_NEEDS * packs.len() as u64 {
            return Err(format!("after the last prune too much is left: {measured}"));
        }
        if thorough {
            let fresh = MemoryStore::with_objects(founded());
            let (ctx, empty) = self.open(&fresh)?;
            let listed = now(snapshots(&ctx, &repository, &SnapshotFilter::default()));
            let listed = listed.map_err(|error| wrong("listing", &error))?.value;
            for attempt in self.sort(listed)?.into_keys() {
                let known = &self.known[attempt];
                let plan = Plan::plain(attempt, &known.trees[0], known.host);
                now(back_up(&ctx, &empty, plan)).map_err(|error| wrong("a backup", &error))?;
            }
            let needed: u64 = packs_in(&fresh).iter().sum();
            measured += &format!("; {needed} in a repository that held nothing else");
            if report.pack_bytes > needed * 2 + PACK_NEEDS * packs.len() as u64 {
                return Err(format!("after the last prune too much is left: {measured}"));
            }
        }
        Ok(measured)
    }
}

/// Bytes that a pack may have beside what snapshots need: its head, its end, and the sessions that
/// its chunks come from.
const PACK_NEEDS: u64 = 8000;

/// Lengths of all packs.
fn packs_in(store: &MemoryStore) -> Vec<u64> {
    let objects = store.objects();
    let packs = objects.iter().filter(|(key, _)| key.as_str().starts_with("packs/"));
    packs.map(|(_, body)| body.len() as u64).collect()
}

fn wrong(what: &str, error: &Error) -> String {
    format!("{what} fails in a calm store: {}", chain(error))
}

/// How closely is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// What is listed.
    List,
    /// One snapshot is restored; which one, by this number.
    One(u64),
    /// All are restored, and everything is checked.
    All,
}

/// Tells how what was restored differs from a tree.
fn differs(restored: &Restored, tree: &Tree) -> Option<String> {
    if let Some(offence) = restored.offences.first() {
        return Some(offence.clone());
    }
    if !restored.finished {
        return Some("it was not finished".into());
    }
    if !restored.items.keys().eq(tree.0.keys()) {
        return Some("other names".into());
    }
    for (key, node) in &tree.0 {
        let (item, name) = (&restored.items[key], String::from_utf8_lossy(key));
        let entry = &item.entry;
        let xattrs = match &entry.attributes.xattrs {
            Xattrs::None => &[][..],
            Xattrs::Inline(pairs) => &pairs[..],
            Xattrs::Chunk(_) => return Some(format!("{name}: attributes that were not fetched")),
        };
        let kept = (entry.kind, entry.mode, &entry.owner, entry.mtime, &entry.attributes.link_target);
        if kept != (node.kind, node.mode, &node.owner, node.mtime, &node.link_target) || xattrs != node.xattrs
        {
            return Some(format!("{name}: attributes"));
        }
        let whole = item.closed && !item.discarded;
        let content = item.content.as_deref().unwrap_or_default();
        if node.kind == Kind::File && !(whole && content == node.flat()) {
            return Some(format!("{name}: content"));
        }
    }
    None
}
