//! Compares the catalogue of snapshots with what their authors signed.
//!
//! On purpose not here: ends that cannot be read, which are named with all objects.

use super::{CheckReport, READS_AT_ONCE, interrupted};
use crate::ctx::Ctx;
use crate::error::Result;
use crate::repository::Repository;
use crate::signed::{Signed, differs};
use crate::snapshots::Snapshot;
use crate::view::View;
use futures::stream::{self, StreamExt};

/// Names each entry that nobody forgot and whose author signed something else, or nothing that is there.
pub(super) async fn check_catalogue(
    ctx: &Ctx,
    repository: &Repository,
    view: &View,
    report: &mut CheckReport,
) -> Result<()> {
    let rows = view.catalogued.iter().filter(|row| !view.lists.forgotten.contains(&row.session));
    let mut reads = stream::iter(rows)
        .map(|row| async move { (row, repository.signed_row(row).await) })
        .buffer_unordered(READS_AT_ONCE);
    while let Some((row, signed)) = reads.next().await {
        interrupted(ctx)?;
        // Not under the name of its author: that one did not write it.
        let subject = format!("the catalogue of snapshots, {}", row.session);
        match signed? {
            Signed::Same => {}
            Signed::Unknown(error) => report.error(subject, error.what),
            Signed::Other(_) => {
                let (id, member, epoch) = (row.session, row.member, row.epoch);
                report.error(subject, differs(&Snapshot { id, member, epoch, summary: row.summary.clone() }));
            }
        }
    }
    Ok(())
}
