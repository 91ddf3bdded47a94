//! Looks at a copy of the store from outside, while nothing moves, and compares it with what must be
//! true.
//!
//! On purpose not here: what must be true, which [`super::oracle`] keeps account of.

use super::actions::{Attempt, Plan, back_up, key_secret, restore_one, word_of};
use super::model::{Restored, Tree};
use super::oracle::{Oracle, There, Verdict, chain};
use super::world::{founded, onlooker, secret};
use futures::FutureExt;
use holdfast_core::entry::{Kind, Xattrs};
use holdfast_engine::ctx::Ctx;
use holdfast_engine::error::Error;
use holdfast_engine::maintain::holds;
use holdfast_engine::{ReadData, Repository, Snapshot, SnapshotFilter, StatsMode, check, snapshots, stats};
use holdfast_store::MemoryStore;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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

impl Oracle {
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

    /// Compares what was restored with what was backed up.
    pub(super) fn compare(&self, attempt: Attempt, restored: &Restored, problems: &[String]) -> Verdict {
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
