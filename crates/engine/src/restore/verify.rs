//! Plans a restore, and verifies it afterwards.
//!
//! On purpose not here: writing anything.

use crate::backup::ContentHasher;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::outcome::{Outcome, Problem, ProblemKind, Problems};
use crate::reader::Reader;
use crate::repository::Repository;
use crate::snapshots::{Snapshot, not_in_snapshot};
use futures::stream::{self, StreamExt};
use holdfast_core::entry::{Entry, Extent, Kind};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use super::select::{Selected, path_text};
use super::*;
/// Tells what a restore would make and read.
///
/// # Errors
/// The path does not exist, or a part of the tree is damaged.
pub async fn plan(
    _ctx: &Ctx,
    repository: &Repository,
    snapshot: &Snapshot,
    options: &RestoreOptions,
) -> Result<RestoreReport> {
    let reader = Reader::new(repository, repository.view().await?)?;
    let mut selected = Selected::new(&reader, snapshot, options);
    let (mut report, mut chunks, mut packs) = (RestoreReport::default(), HashSet::new(), HashSet::new());
    while let Some(entry) = selected.next().await {
        report.count(&entry);
        for extent in reader.extents(&entry).await? {
            if let Extent::Chunk { id, .. } = extent
                && chunks.insert(id)
                && let Some(place) = reader.index.places(&id).next()
            {
                packs.insert(place.pack);
                report.bytes_fetched += u64::from(place.length.bytes());
            }
        }
    }
    if let Some(problem) = selected.damage.problems.first() {
        let what = format!("{}: {}", String::from_utf8_lossy(&problem.path), problem.what);
        return Err(Error::new(ErrorKind::Damaged, what));
    }
    if !selected.found {
        return Err(not_in_snapshot(snapshot, &options.path));
    }
    report.packs = packs.len() as u64;
    Ok(report)
}

/// Opens a restored file by its key relative to the target.
pub type OpenRestored = Arc<dyn Fn(&[u8]) -> io::Result<File> + Send + Sync>;

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
    let mut selected = Selected::new(&reader, snapshot, options);
    let (mut report, mut problems) = (RestoreReport::default(), Problems::default());
    loop {
        let (mut jobs, mut bytes, mut held) = (Vec::new(), 0, 0);
        while jobs.len() < BATCH_ENTRIES_MAX && bytes < BATCH_BYTES_MAX && held < BATCH_HELD_BYTES_MAX {
            let Some(entry) = selected.next().await else { break };
            if entry.kind == Kind::File {
                let extents = reader.extents(&entry).await.unwrap_or_default();
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
        return Err(not_in_snapshot(snapshot, &options.path));
    }
    selected.damage.problems.iter().for_each(|problem| ctx.monitor.on(&Event::Problem(problem)));
    problems.absorb(selected.damage);
    Ok(Outcome { value: report, problems })
}

fn split<T>(items: Vec<T>, size: usize) -> Vec<Vec<T>> {
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
    let mut file = open(key)?;
    let (mut hasher, mut buffer) = (ContentHasher::default(), vec![0; 256 << 10]);
    if file.metadata()?.len() != entry.size {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its length differs"));
    }
    let whole = [Extent::Hole { length: entry.size }];
    let plain = extents.is_empty();
    for extent in if plain { &whole[..] } else { extents } {
        if let (Extent::Hole { length }, false) = (extent, plain) {
            hasher.hole(*length);
            file.seek(SeekFrom::Current(*length as i64))?;
            continue;
        }
        let mut left = extent.length();
        while left > 0 {
            let part = buffer.len().min(left as usize);
            file.read_exact(&mut buffer[..part])?;
            hasher.data(&buffer[..part]);
            left -= part as u64;
        }
    }
    Ok(hasher.finish())
}
