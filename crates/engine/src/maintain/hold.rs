//! Holds: while one stands, what it names is neither forgotten nor freed.
//!
//! A hold is part of the root, so that it counts from the moment its root is published, and a
//! prune that runs meets it before its next step. On purpose not here: forgetting and freeing.

use super::clock::believed_now;
use super::publish::{ATTEMPTS_MAX, Draft, Published, require_maintainer, too_busy};
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::Repository;
use holdfast_core::entry::Time;
use holdfast_core::id::hex;
use holdfast_core::root::Root;

pub use holdfast_core::hold::{Hold, HoldScope};

/// Lists the holds that stand, oldest first.
///
/// # Errors
/// The repository cannot be read.
pub async fn holds(ctx: &Ctx, repository: &Repository) -> Result<Vec<Hold>> {
    let root = repository.newest_root().await?;
    let now = believed_now(ctx, &root);
    let mut holds = root.holds;
    holds.retain(|hold| hold.stands(now));
    holds.sort_by_key(|hold| (hold.since, hold.id));
    Ok(holds)
}

/// Holds what the scopes name, at once.
///
/// # Errors
/// The key does not allow it, or the repository cannot be written.
pub async fn hold(
    ctx: &Ctx,
    repository: &Repository,
    scopes: &[HoldScope],
    reason: &str,
    until: Option<Time>,
) -> Result<Vec<Hold>> {
    let since = ctx.clock.now();
    let fresh: Vec<Hold> = scopes
        .iter()
        .map(|scope| Hold { id: ctx.random(), scope: scope.clone(), reason: reason.into(), since, until })
        .collect();
    change(ctx, repository, |holds| {
        holds.extend(fresh.iter().cloned());
        Ok(())
    })
    .await?;
    Ok(fresh)
}

/// Releases holds; returns those that stood.
///
/// # Errors
/// The key does not allow it, there is no such hold, or the repository cannot be written.
pub async fn release(ctx: &Ctx, repository: &Repository, ids: &[[u8; 16]]) -> Result<Vec<Hold>> {
    let mut released = Vec::new();
    change(ctx, repository, |holds| {
        released.clear();
        for id in ids {
            let at = holds.iter().position(|hold| hold.id == *id);
            let at = at.ok_or_else(|| {
                Error::new(ErrorKind::NotFound, format!("there is no hold {}", &hex(id)[..8]))
            })?;
            released.push(holds.remove(at));
        }
        Ok(())
    })
    .await?;
    Ok(released)
}

/// Publishes a root with other holds. Only the newest root is read: a hold must not wait for an
/// index, and must be possible in a repository that is damaged.
async fn change(
    ctx: &Ctx,
    repository: &Repository,
    mut apply: impl FnMut(&mut Vec<Hold>) -> Result<()>,
) -> Result<()> {
    require_maintainer(repository)?;
    for _ in 0..ATTEMPTS_MAX {
        let newest = repository.newest().await?;
        let mut draft = Draft::after(ctx, repository, &newest.root, newest.hash);
        apply(&mut draft.root.holds)?;
        if draft.publish().await? == Published::Yes {
            return Ok(());
        }
    }
    Err(too_busy())
}

/// Refuses while everything is held.
pub(super) fn refuse_if_held(ctx: &Ctx, root: &Root) -> Result<()> {
    let now = believed_now(ctx, root);
    match root.holds.iter().find(|hold| hold.scope == HoldScope::All && hold.stands(now)) {
        Some(hold) => Err(held(hold)),
        None => Ok(()),
    }
}

/// A hold stands against what was asked for.
pub(super) fn held(hold: &Hold) -> Error {
    let what = match &hold.scope {
        HoldScope::All => "everything in this repository".to_owned(),
        HoldScope::Source(label) => format!("the source {label}"),
        HoldScope::Snapshot(id) => format!("snapshot {}", &id.to_string()[..8]),
    };
    let (id, since) = (&hex(&hold.id)[..8], crate::snapshots::utc(hold.since));
    let until =
        hold.until.map(|until| format!(" until {}", crate::snapshots::utc(until))).unwrap_or_default();
    let text = format!("{what} is held since {since}{until} (hold {id}): {}", hold.reason);
    Error::new(ErrorKind::Held, text)
}
