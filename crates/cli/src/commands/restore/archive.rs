//! Packs of a restore that lie in an archive: they are named before anything is written.
//!
//! A listing tells which packs lie in one; only where some do, a rehearsal finds out which of them are
//! needed. On purpose not here: packs of which nothing told before they were read; those are named at
//! the end.

use super::{Job, Run};
use crate::engine::{Carry, Repository, archived_packs};
use crate::fault::Fault;
use crate::ink::{ArchivedPackLine, Ink, counted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// So many packs that lie in an archive are named.
const ARCHIVED_SHOWN: usize = 20;

/// Packs that lie in an archive, by what a listing says: names, and classes of storage.
pub(super) async fn known(
    run: &Run,
    repository: &Repository,
) -> Result<Option<Arc<BTreeMap<String, String>>>, Fault> {
    let known = run.watch("looking for packs in an archive", archived_packs(repository)).await?;
    Ok((!known.is_empty()).then(|| Arc::new(known)))
}

/// Refuses a restore that needs packs which lie in an archive.
pub(super) async fn refuse(job: &Job<'_>) -> Result<(), Fault> {
    if job.options.cold.is_none() {
        return Ok(());
    }
    let rehearsal = job.carry_with(&job.silent(), Carry::Rehearse, "looking which packs are needed").await?;
    refuse_needed(job, &rehearsal.value.archived)
}

/// Names packs that are needed and lie in an archive, if there are any, and what to do.
pub(super) fn refuse_needed(job: &Job<'_>, needed: &[String]) -> Result<(), Fault> {
    if needed.is_empty() {
        return Ok(());
    }
    let ink = &job.run.ink;
    let class =
        |pack: &String| job.options.cold.as_ref().and_then(|cold| cold.get(pack)).map_or("", String::as_str);
    if ink.tone.json {
        needed.iter().for_each(|pack| ink.json(&ArchivedPackLine::new(pack, class(pack))));
    } else {
        name(ink, needed);
    }
    let classes: BTreeSet<&str> = needed.iter().map(class).collect();
    let number = counted(needed.len() as u64, "pack that is needed lies", "packs that are needed lie");
    let what =
        format!("{number} in an archive ({}): nothing was changed", Vec::from_iter(classes).join(", "));
    Err(Fault::failed(what, HOW))
}

/// What to do with them. Hours are those that Amazon states.
const HOW: &str = "bring them back for as long as the restore takes: aws s3api restore-object --restore-request \
                   Days=7,GlacierJobParameters={Tier=Standard} for each, or one job of S3 Batch Operations for \
                   all; GLACIER takes 3 to 5 hours, DEEP_ARCHIVE 12 (Tier=Bulk, which is cheaper: 12 and 48); \
                   then run the same command again";

fn name(ink: &Ink, archived: &[String]) {
    let more = archived.len().saturating_sub(ARCHIVED_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let names = archived[..archived.len().min(ARCHIVED_SHOWN)].join(", ");
    let number = counted(archived.len() as u64, "pack lies", "packs lie");
    ink.warn(&format!("{number} in an archive: {names}{more}"));
}

/// Names the packs that turned out to lie in an archive, all that the restore needed, and what to do.
pub(super) fn how_to_bring_back(ink: &Ink, archived: &[String], fault: Fault) -> Fault {
    if archived.is_empty() {
        return fault;
    }
    name(ink, archived);
    let hint = "bring the packs back (aws s3api restore-object --restore-request Days=7 for each, which takes \
                hours), then run the same command with --overwrite always";
    Fault { hint: hint.to_owned(), ..fault }
}
