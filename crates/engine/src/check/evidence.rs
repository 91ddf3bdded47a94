//! Evidence: each record is what it says it is, and follows the one before.
//!
//! On purpose not here: what a record says, and whether the end of a chain was cut off, which only who noted it
//! can tell.

use super::CheckReport;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::evidence::book;
use crate::repository::Repository;
use holdfast_store::ObjectMeta;

/// Checks all of it.
pub(super) async fn check_evidence(
    ctx: &Ctx,
    repository: &Repository,
    objects: &[ObjectMeta],
    report: &mut CheckReport,
) -> Result<()> {
    let book = book(ctx, repository, objects.iter().map(|meta| meta.key.as_str())).await?;
    book.problems().for_each(|problem| report.error(&problem.name, problem.amiss.to_string()));
    Ok(())
}
