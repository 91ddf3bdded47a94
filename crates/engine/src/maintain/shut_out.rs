//! Ends a removal: takes in what removed members had committed, ends what they had begun, and
//! publishes the root that shuts them out.
//!
//! The order makes it safe. A writer looks at the chain of members after its session has begun and
//! before it commits. So of a session that began before the entry either we see that it is there,
//! and it is decided before the root; or it began later and does not commit. On purpose not here:
//! the entry itself ([`crate::members`]).

use super::absorb::{Intake, absorb};
use super::publish::{ATTEMPTS_MAX, Draft, Published, require_maintainer, too_busy};
use super::scan::{Scan, scan};
use super::segments::Effort;
use crate::ctx::Ctx;
use crate::cutoffs::next_cutoffs;
use crate::error::Result;
use crate::index::BOUNDED_ROWS;
use crate::repository::Repository;
use crate::wal::{LogCut, WalArchive};
use holdfast_core::cutoff::CutOffs;
use holdfast_core::id::SessionId;
use holdfast_core::root::Root;
use std::collections::BTreeSet;

/// So often sessions of removed members are aborted before the root comes anyway: one that begins
/// new ones all the time must not keep itself in.
const ABORTS_MAX: u32 = 8;

/// Shuts out all members that were removed; returns their sessions that it aborted. Nothing is done
/// where roots have it all.
///
/// # Errors
/// The key does not allow it, something in the repository cannot be read, or other maintainers
/// changed it at every attempt. Then the next call goes on.
pub(crate) async fn shut_out_removed(ctx: &Ctx, repository: &Repository) -> Result<Vec<SessionId>> {
    require_maintainer(repository)?;
    let (mut aborted, mut rounds) = (Vec::new(), 0);
    for _ in 0..ATTEMPTS_MAX {
        let scan = scan(ctx, repository).await?;
        if !is_pending(repository, &scan) {
            return Ok(aborted);
        }
        let open: Vec<_> = scan.open.iter().filter(|open| open.is_removed).map(|open| open.name).collect();
        if !open.is_empty() && rounds < ABORTS_MAX {
            for name in open {
                let epoch = scan.view.root.number;
                repository.put_abort(ctx, &name, epoch, "its member was removed").await?;
                aborted.push(name.session);
            }
            rounds += 1;
            // Some may have committed before.
            continue;
        }
        let mut draft = Draft::after(ctx, repository, &scan.view.root, scan.view.root_hash);
        let (gone, effort) = (&BTreeSet::new(), Effort::Bounded(BOUNDED_ROWS));
        let intake = Intake { tables: Vec::new(), ours: None, gone, drop: &|_| false, effort };
        absorb(ctx, repository, &mut draft, &scan, intake).await?;
        draft.root.members = scan.members;
        draft.root.cutoffs = cutoffs_with(ctx, repository, &scan.view.root, scan.members.0).await?;
        if draft.publish().await? == Published::Yes {
            return Ok(aborted);
        }
    }
    Err(too_busy())
}

/// What of evidence and logs counts from the next root on, which names so many entries of members.
async fn cutoffs_with(ctx: &Ctx, repository: &Repository, root: &Root, named: u64) -> Result<CutOffs> {
    let archive = WalArchive::new(ctx, repository);
    let listed = archive.all("wal/").await?;
    let (counting, _) = archive.sort_out(&LogCut::of(repository, root), listed).await?;
    next_cutoffs(repository, root, named, &counting).await
}

/// Whether members were removed, as far as a scan knows, that its root does not shut out.
fn is_pending(repository: &Repository, scan: &Scan) -> bool {
    let named = scan.view.root.members.0;
    repository.standing().members.all_removed().iter().any(|(_, number)| *number >= named)
}
