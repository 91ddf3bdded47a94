//! Forgets snapshots: they are not shown any more, and the next prune frees what only they need.
//!
//! On purpose not here: the rules of retention ([`super::retention`]), and freeing anything.

use super::clock::{believed_now, is_due, require_clock};
use super::hold::{held, refuse_if_held};
use super::mark::names;
use super::publish::{ATTEMPTS_MAX, Draft, Published, require_maintainer, too_busy};
use super::retention::{Candidate, Retention, Verdict, decide, guarded_among};
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::Repository;
use crate::snapshots::Snapshot;
use crate::view::View;
use holdfast_core::entry::Time;
use holdfast_core::id::SessionId;
use holdfast_core::session::Summary;
use std::collections::{BTreeMap, BTreeSet};

/// What is to be forgotten.
#[derive(Debug, Clone)]
pub enum ForgetWhat {
    /// These snapshots.
    Snapshots(Vec<SessionId>),
    /// What a policy does not keep.
    Policy(Retention),
}

impl ForgetWhat {
    const fn has_deadline(&self) -> bool {
        matches!(self, Self::Policy(Retention { delete_after: Some(_), .. }))
    }
}

/// How snapshots are forgotten.
#[derive(Debug, Clone)]
pub struct ForgetOptions {
    /// Which ones.
    pub what: ForgetWhat,
    /// Forget the newest whole and the newest proven snapshot of a source too, if they are named.
    pub allow_last: bool,
    /// Tell what would be forgotten, change nothing.
    pub dry_run: bool,
    /// Snapshots that a drill proved: the newest of each source is guarded.
    pub proven: BTreeSet<SessionId>,
}

/// What was forgotten.
#[derive(Debug, Clone)]
pub struct ForgetReport {
    /// The snapshots that were forgotten now.
    pub forgotten: Vec<Snapshot>,
    /// What the policy says of each snapshot that it was asked about; empty without a policy.
    pub verdicts: Vec<Verdict>,
    /// The root that says so; `None` if nothing was changed.
    pub root: Option<u64>,
}

/// Forgets snapshots.
///
/// # Errors
/// The key does not allow it, a hold stands against it, a snapshot is guarded or not there, or the
/// repository cannot be written; then nothing was forgotten.
pub async fn forget(ctx: &Ctx, repository: &Repository, options: &ForgetOptions) -> Result<ForgetReport> {
    require_maintainer(repository)?;
    for _ in 0..ATTEMPTS_MAX {
        let view = repository.view().await?;
        refuse_if_held(ctx, &view.root)?;
        let has_deadline = options.what.has_deadline();
        if has_deadline {
            require_clock(ctx, &view.root)?;
        }
        let (chosen, verdicts) = choose(ctx, &view, options)?;
        let mut report = ForgetReport { forgotten: chosen, verdicts, root: None };
        let is_idle = report.forgotten.is_empty() && !(has_deadline && is_due(ctx, &view.root));
        if options.dry_run || is_idle {
            return Ok(report);
        }
        let mut draft = Draft::after(ctx, repository, &view.root, view.root_hash);
        let fresh = report.forgotten.iter().map(|snapshot| snapshot.id);
        let all = view.lists.forgotten.iter().copied().chain(fresh).collect();
        draft.set_forgotten(&all).await?;
        // Whose log it is has to be known when they are gone.
        for Summary { label, log, .. } in report.forgotten.iter().map(|snapshot| &snapshot.summary) {
            log.iter().for_each(|log| draft.root.dated.remember(log.system, label));
        }
        let number = draft.root.number;
        if draft.publish().await? == Published::Yes {
            report.root = Some(number);
            return Ok(report);
        }
    }
    Err(too_busy())
}

/// What the options mean in this view.
fn choose(ctx: &Ctx, view: &View, options: &ForgetOptions) -> Result<(Vec<Snapshot>, Vec<Verdict>)> {
    let (shown, now) = (view.snapshots(), ctx.clock.now());
    let received: BTreeMap<SessionId, Time> =
        view.catalogued.iter().map(|row| (row.session, row.received)).collect();
    let held_till = believed_now(ctx, &view.root);
    let holds: Vec<_> = view.root.holds.iter().filter(|hold| hold.stands(held_till)).collect();
    let candidates: Vec<_> = shown
        .iter()
        .map(|snapshot| Candidate {
            snapshot,
            received: received.get(&snapshot.id).copied(),
            signer_is_owner: view.owners.contains(&snapshot.member),
            held: holds.iter().find(|hold| names(&hold.scope, snapshot)).map(|hold| hold.reason.as_str()),
        })
        .collect();
    let proven = &options.proven;
    match &options.what {
        ForgetWhat::Policy(retention) => {
            let verdicts = decide(&candidates, retention, proven, now)?;
            let chosen = verdicts.iter().filter(|verdict| !verdict.keep);
            Ok((chosen.map(|verdict| verdict.snapshot.clone()).collect(), verdicts))
        }
        ForgetWhat::Snapshots(ids) => {
            let mut chosen = Vec::new();
            for id in ids {
                let found = candidates.iter().find(|candidate| candidate.snapshot.id == *id);
                let candidate = found
                    .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no snapshot {id}")))?;
                if let Some(hold) = holds.iter().find(|hold| names(&hold.scope, candidate.snapshot)) {
                    return Err(held(hold));
                }
                chosen.push(candidate.snapshot.clone());
            }
            if let Some((id, reason)) = guarded_among(&candidates, ids, proven, now).first()
                && !options.allow_last
            {
                let what = format!("{} is not forgotten: {reason}", &id.to_string()[..8]);
                return Err(Error::new(ErrorKind::Usage, what));
            }
            Ok((chosen, Vec::new()))
        }
    }
}

/// Lists snapshots that are forgotten and that no prune has passed yet, oldest first.
///
/// # Errors
/// The repository cannot be read.
pub async fn forgotten(_ctx: &Ctx, repository: &Repository) -> Result<Vec<Snapshot>> {
    Ok(may_come_back(&repository.view().await?))
}

fn may_come_back(view: &View) -> Vec<Snapshot> {
    let committed = view.committed();
    // Whose place another took comes back in that one only.
    let supersedes = |id: &SessionId| {
        let by = |other: &Snapshot| other.summary.supersedes.contains(id);
        committed.values().any(|other| by(other) && !view.lists.forgotten.contains(&other.id))
    };
    let all = view.lists.forgotten.iter().filter(|id| !supersedes(id));
    // What a prune has passed over is not among them any more.
    let mut all: Vec<Snapshot> = all.filter_map(|id| committed.get(id).cloned()).collect();
    all.sort_by_key(|snapshot| (snapshot.summary.end, snapshot.id));
    all
}

/// Takes back that snapshots were forgotten; returns those that count again.
///
/// # Errors
/// A prune has passed over one of them, then none comes back; or the repository cannot be written.
pub async fn unforget(ctx: &Ctx, repository: &Repository, ids: &[SessionId]) -> Result<Vec<Snapshot>> {
    require_maintainer(repository)?;
    for _ in 0..ATTEMPTS_MAX {
        let view = repository.view().await?;
        let there = may_come_back(&view);
        let mut back = Vec::new();
        for id in ids {
            let found = there.iter().find(|snapshot| snapshot.id == *id);
            back.push(found.cloned().ok_or_else(|| passed(id, &view))?);
        }
        let mut draft = Draft::after(ctx, repository, &view.root, view.root_hash);
        let chosen: BTreeSet<_> = ids.iter().collect();
        let left = view.lists.forgotten.iter().filter(|id| !chosen.contains(id)).copied().collect();
        draft.set_forgotten(&left).await?;
        if draft.publish().await? == Published::Yes {
            return Ok(back);
        }
    }
    Err(too_busy())
}

fn passed(id: &SessionId, view: &View) -> Error {
    let what = if view.lists.forgotten.contains(id) {
        format!("a prune has passed over snapshot {id}: it does not come back")
    } else {
        format!("snapshot {id} is not forgotten")
    };
    Error::new(ErrorKind::NotFound, what)
}
