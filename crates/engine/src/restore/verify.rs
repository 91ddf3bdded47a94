//! Verifies a restore: reads everything again and compares it with what was recorded.
//!
//! On purpose not here: writing anything.

use crate::backup::ContentHasher;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::event::Event;
use crate::outcome::{Outcome, Problem, ProblemKind, Problems};
use crate::reader::Reader;
use crate::repository::Repository;
use crate::snapshots::Snapshot;
use crate::target::Present;
use futures::stream::{self, StreamExt};
use holdfast_core::entry::{Entry, Extent, Kind};
use std::io;
use std::sync::Arc;

use super::select::{Selected, path_text};
use super::{
    BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, BATCH_HELD_BYTES_MAX, RestoreOptions, RestoreReport, weight,
};

/// How much is read at once, in bytes.
const READ_BYTES: usize = 256 << 10;

/// Opens restored content by its key relative to the target.
pub type OpenRestored = Arc<dyn Fn(&[u8]) -> io::Result<Box<dyn Present>> + Send + Sync>;

/// Reads restored files again and compares them with what was recorded when they were backed up.
///
/// # Errors
/// The path does not exist, or the repository cannot be read. Files that differ are problems, and
/// so are parts of the tree that are damaged: what they recorded cannot be compared.
pub async fn verify(
    ctx: &Ctx,
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
    open: OpenRestored,
) -> Result<Outcome<RestoreReport>> {
    let reader = Reader::new(repository, repository.view().await?)?;
    repository.require_signed(snapshot).await?;
    let mut selected = Selected::new(&reader, snapshot, options);
    let (mut report, mut problems) = (RestoreReport::default(), Problems::default());
    loop {
        let (mut jobs, mut bytes, mut held) = (Vec::new(), 0, 0);
        while jobs.len() < BATCH_ENTRIES_MAX && bytes < BATCH_BYTES_MAX && held < BATCH_HELD_BYTES_MAX {
            let Some(entry) = selected.next().await else { break };
            if entry.kind == Kind::File {
                let extents = reader.extents_ahead(&entry, selected.to_come()).await.unwrap_or_default();
                bytes = entry.size.saturating_add(bytes);
                held += weight(&entry) + extents.len() * size_of::<Extent>();
                jobs.push((selected.relative(&entry), entry, extents));
            }
        }
        if jobs.is_empty() {
            break;
        }
        let share = jobs.len().div_ceil(4 * ctx.workers.threads().max(1));
        let mut parts = stream::iter(split(jobs, share))
            .map(|part| {
                let open = Arc::clone(&open);
                ctx.workers
                    .run(move || part.into_iter().map(|job| verify_file(&open, job)).collect::<Vec<_>>())
            })
            .buffer_unordered(ctx.workers.threads().max(1));
        while let Some(part) = parts.next().await {
            for (entry, difference) in part {
                report.count(&entry);
                ctx.monitor.on(&Event::Done { files: 1, bytes: entry.size });
                match difference {
                    None => report.verified_files += 1,
                    Some(what) => {
                        let problem =
                            Problem { path: path_text(&entry.key), kind: ProblemKind::Damaged, what };
                        ctx.monitor.on(&Event::Problem(&problem));
                        problems.problem(problem);
                    }
                }
            }
        }
    }
    if !selected.found && selected.damage.problem_count == 0 {
        return Err(selected.absent(snapshot));
    }
    selected.damage.problems.iter().for_each(|problem| ctx.monitor.on(&Event::Problem(problem)));
    problems.absorb(selected.damage);
    Ok(Outcome { value: report, problems })
}

/// Divides work into parts of at most so many items.
pub(super) fn split<T>(items: Vec<T>, size: usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    for item in items {
        match parts.last_mut() {
            Some(part) if part.len() < size => part.push(item),
            _ => parts.push(vec![item]),
        }
    }
    parts
}

fn verify_file(
    open: &OpenRestored,
    (key, entry, extents): (Vec<u8>, Entry, Vec<Extent>),
) -> (Entry, Option<String>) {
    let difference = match hash_file(open, &key, &entry, &extents) {
        Ok(digest) if Some(digest) == entry.digest => None,
        Ok(_) => Some("what was restored differs from what was backed up".to_owned()),
        Err(error) => Some(format!("cannot be read again: {error}")),
    };
    (entry, difference)
}

fn hash_file(open: &OpenRestored, key: &[u8], entry: &Entry, extents: &[Extent]) -> io::Result<[u8; 32]> {
    let present = open(key)?;
    if present.size() != entry.size {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its length differs"));
    }
    let digest = digest_of(&*present, entry, extents, &mut Vec::new())?;
    if !holes_are_empty(&*present, extents)? {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "there is something where nothing was"));
    }
    Ok(digest)
}

/// Whether nothing but zeros is there where holes were recorded. Not every file system keeps holes: where
/// there is something, it is read.
fn holes_are_empty(present: &dyn Present, extents: &[Extent]) -> io::Result<bool> {
    let (mut at, mut buffer) = (0, Vec::new());
    for extent in extents {
        let end = at + extent.length();
        if let Extent::Hole { length } = extent
            && !present.is_hole(at, *length)
        {
            let mut from = at;
            while from < end {
                let part = READ_BYTES.min((end - from) as usize);
                // Where a file is one hole its zeros are not even read.
                if !present.is_hole(from, part as u64) {
                    buffer.resize(part, 0);
                    present.read_at(from, &mut buffer)?;
                    if buffer.iter().any(|&byte| byte != 0) {
                        return Ok(false);
                    }
                }
                from += part as u64;
            }
        }
        at = end;
    }
    Ok(true)
}

/// Hashes content that is there, taking for holes what was recorded as holes.
pub(super) fn digest_of(
    present: &dyn Present,
    entry: &Entry,
    extents: &[Extent],
    buffer: &mut Vec<u8>,
) -> io::Result<[u8; 32]> {
    let mut hasher = ContentHasher::default();
    let whole = [Extent::Hole { length: entry.size }];
    let plain = extents.is_empty();
    let mut at = 0;
    for extent in if plain { &whole[..] } else { extents } {
        if let (Extent::Hole { length }, false) = (extent, plain) {
            hasher.hole(*length);
            at += length;
            continue;
        }
        let mut left = extent.length();
        while left > 0 {
            let part = READ_BYTES.min(left as usize);
            buffer.resize(part, 0);
            present.read_at(at, buffer)?;
            hasher.data(buffer);
            at += part as u64;
            left -= part as u64;
        }
    }
    Ok(hasher.finish())
}
