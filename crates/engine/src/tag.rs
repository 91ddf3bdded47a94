//! Changes the tags of snapshots.
//!
//! A snapshot is immutable, so a change is a new commit of the same tree that supersedes the old
//! one; nothing else is written. It goes through the protocol of a backup (W1 to W7 of FORMAT.md),
//! with the old snapshot in the place of the parent: pinned, so that its tree stays, and looked for
//! again before the commit.
//!
//! Two that change one snapshot at once both commit: nothing is locked. Whoever then sees another
//! successor beside its own makes one more snapshot that supersedes both, with what both added and
//! without what either took away. If that one is cut off first, both are shown, until somebody tags
//! either of them. On purpose not here: any other change of a snapshot.

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::Repository;
use crate::rights::Right;
use crate::session::{Session, SessionOptions};
use crate::snapshots::{Snapshot, details};
use crate::view::View;
use holdfast_core::id::SessionId;
use holdfast_core::session::Summary;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// So often a successor is made to join two that were made at once.
const JOINS_MAX: usize = 8;

/// What becomes of a snapshot's tags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagChange {
    /// Exactly these instead, if there are any stated at all.
    pub set: Option<Vec<String>>,
    /// These are added.
    pub add: Vec<String>,
    /// These are taken away, last.
    pub remove: Vec<String>,
}

impl TagChange {
    /// The tags that become of some: ascending, each once.
    #[must_use]
    pub fn apply(&self, tags: &[String]) -> Vec<String> {
        let mut changed: BTreeSet<&String> = self.set.as_deref().unwrap_or(tags).iter().collect();
        changed.extend(&self.add);
        changed.retain(|tag| !self.remove.contains(tag));
        changed.into_iter().cloned().collect()
    }
}

/// A snapshot whose tags were to be changed.
#[derive(Debug, Clone)]
pub struct Tagged {
    /// The snapshot that was to be changed.
    pub old: SessionId,
    /// The one that took its place; `None` if it has the tags already.
    pub new: Option<SessionId>,
    /// The tags that it has now.
    pub tags: Vec<String>,
}

/// Changes the tags of snapshots, one after the other, and tells of each as it is done.
///
/// # Errors
/// The key does not allow it, the repository cannot be written, or it was maintained meanwhile.
/// What was told of is done; the others are as before.
pub async fn tag(
    ctx: &Ctx,
    repository: &Repository,
    snapshots: &[Snapshot],
    change: &TagChange,
    told: &mut (dyn FnMut(&Tagged) + Send),
) -> Result<Vec<Tagged>> {
    // What only readers see of a snapshot goes along, so that it takes both to read and to write.
    repository.require(Right::Rewrite)?;
    let mut done: Vec<Tagged> = Vec::new();
    let view = repository.view().await?;
    let mut seen = HashSet::new();
    for snapshot in snapshots.iter().filter(|snapshot| seen.insert(snapshot.id)) {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        let tagged = tag_one(ctx, repository, &view, snapshot, change).await?;
        told(&tagged);
        done.push(tagged);
    }
    if done.iter().any(|tagged| tagged.new.is_some()) {
        join_rivals(ctx, repository, &mut done, told).await?;
    }
    Ok(done)
}

/// Makes one successor of those that were made at once.
async fn join_rivals(
    ctx: &Ctx,
    repository: &Repository,
    done: &mut [Tagged],
    told: &mut (dyn FnMut(&Tagged) + Send),
) -> Result<()> {
    for round in 0..JOINS_MAX {
        let view = repository.view().await?;
        let shown = view.snapshots();
        let mut waits = false;
        for tagged in done.iter_mut() {
            let Some(own) = shown.iter().find(|snapshot| Some(snapshot.id) == tagged.new) else { continue };
            let others = rivals(repository, &shown, own);
            // The one with the lower id goes first; whoever does not come is not waited for twice.
            if others.iter().any(|other| other.id < own.id) && round % 2 == 0 {
                waits = true;
                continue;
            }
            if !others.is_empty() {
                let joined = succeed(ctx, repository, &view, own, &others, &TagChange::default()).await?;
                *tagged = Tagged { old: tagged.old, ..joined };
                told(tagged);
                waits = true;
            }
        }
        if !waits {
            return Ok(());
        }
    }
    Ok(())
}

async fn tag_one(
    ctx: &Ctx,
    repository: &Repository,
    view: &View,
    snapshot: &Snapshot,
    change: &TagChange,
) -> Result<Tagged> {
    let shown = view.snapshots();
    let current = view.current(&shown, snapshot.id);
    let Some(current) = current.first().map(|current| (*current).clone()) else {
        let what = format!("snapshot {} was removed meanwhile", snapshot.id);
        return Err(Error::new(ErrorKind::Conflict, what));
    };
    let others: Vec<Snapshot> = rivals(repository, &shown, &current);
    if others.is_empty() && change.apply(&current.summary.tags) == current.summary.tags {
        return Ok(Tagged { old: snapshot.id, new: None, tags: current.summary.tags });
    }
    let tagged = succeed(ctx, repository, view, &current, &others, change).await?;
    Ok(Tagged { old: snapshot.id, ..tagged })
}

/// Others of the same tree, by the word of the same, that take the place of what this one does.
fn rivals(repository: &Repository, shown: &[Snapshot], own: &Snapshot) -> Vec<Snapshot> {
    let author = repository.author_of(own);
    let mine: HashSet<_> = own.summary.supersedes.iter().collect();
    let is_rival = |other: &&Snapshot| {
        other.id != own.id
            && other.summary.root == own.summary.root
            && other.summary.stream == own.summary.stream
            && repository.author_of(other) == author
            && other.summary.supersedes.iter().any(|id| mine.contains(id))
    };
    shown.iter().filter(is_rival).cloned().collect()
}

/// Commits a successor of a snapshot and its rivals.
async fn succeed(
    ctx: &Ctx,
    repository: &Repository,
    view: &View,
    snapshot: &Snapshot,
    rivals: &[Snapshot],
    change: &TagChange,
) -> Result<Tagged> {
    let details = details(ctx, repository, snapshot).await?;
    let tags = change.apply(&joined_tags(view, snapshot, rivals));
    let is_owners = repository.is_owner(snapshot.member);
    let summary = Summary {
        tags: tags.clone(),
        supersedes: superseded(view, std::iter::once(snapshot).chain(rivals)),
        said_by: view.said_by(snapshot, is_owners, ctx.clock.now()),
        // What is open must not look lost because somebody named it.
        parent: snapshot.summary.parent.filter(|id| is_owners || view.committed().contains_key(id)),
        // That it is a copy of what was made here nobody says but an owner.
        origin: snapshot.summary.origin.filter(|origin| is_owners || origin.repository != repository.id()),
        ..snapshot.summary.clone()
    };
    let options = SessionOptions {
        stream: summary.stream,
        parent: Some(snapshot.id),
        needs_parent: true,
        seal_check: true,
        data_pack_bytes: holdfast_core::pack::DATA_PACK_BYTES,
        dry_run: false,
        level: 0,
        started: ctx.clock.now(),
    };
    // No chunk is looked up: the tree is the old one's as it is.
    let index = Arc::default();
    let session = Session::begin(ctx, repository, view, index, Vec::new(), &options).await?;
    let new = session.commit(summary, &details).await?;
    Ok(Tagged { old: snapshot.id, new: Some(new), tags })
}

/// The tags of one that takes the place of several: of what they come from, without what any of
/// them took away, with what any of them added.
fn joined_tags(view: &View, snapshot: &Snapshot, rivals: &[Snapshot]) -> Vec<String> {
    let all: Vec<_> = std::iter::once(snapshot).chain(rivals).map(|one| &one.summary).collect();
    let committed = view.committed();
    let common = |old: &&Snapshot| all.iter().all(|one| one.supersedes.contains(&old.id));
    // What they come from is the last one: it took the place of most.
    let base = committed.values().filter(common).max_by_key(|old| old.summary.supersedes.len());
    let base = base.map_or(&[][..], |base| &base.summary.tags);
    let tags: BTreeSet<&String> = all.iter().flat_map(|one| &one.tags).collect();
    let kept = |tag: &String| !base.contains(tag) || all.iter().all(|one| one.tags.contains(tag));
    tags.into_iter().filter(|tag| kept(tag)).cloned().collect()
}

/// All that a successor takes the place of: those it is made of, and what they took the place of and might.
fn superseded<'a>(view: &View, old: impl Iterator<Item = &'a Snapshot>) -> Vec<SessionId> {
    let committed = view.committed();
    let all = old.flat_map(|old| view.replaced_by(old, &committed).into_iter().chain([old.id]));
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_set_added_and_taken_away() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let change = |set: Option<&[&str]>, add: &[&str], remove: &[&str]| {
            let change = TagChange { set: set.map(words), add: words(add), remove: words(remove) };
            change.apply(&words(&["a", "b"])).join(",")
        };
        assert_eq!(change(None, &["c", "a"], &["b"]), "a,c");
        assert_eq!(change(Some(&["z", "y", "z"]), &[], &[]), "y,z");
        assert_eq!(change(Some(&[]), &[], &[]), "");
        assert_eq!(change(None, &[], &["nothing"]), "a,b");
    }
}
