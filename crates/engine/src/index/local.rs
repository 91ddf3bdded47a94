//! Gets segments: from their local copies, or from the repository, as a stream that leaves a copy.
//!
//! On purpose not here: which segments there are; the root says.

use super::copy::CopyWriter;
use super::segment::{CopyTerms, SegmentIndex};
use crate::error::{Error, ErrorKind, Result};
use crate::repository::{Repository, object_key};
use holdfast_core::FormatError;
use holdfast_core::id::ObjectId;
use holdfast_core::name;
use holdfast_core::root::SegmentRow;
use holdfast_core::segment::{ReadSegment, SegmentDecoder, TableRow};
use holdfast_store::{ByteRange, ErrorKind as StoreErrorKind, StoreError};
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of a segment that are fetched in one call.
const PART_BYTES: u64 = 4 << 20;

/// A segment, or what is wrong with it; and whether a copy had to be made.
pub(crate) type Got = (std::result::Result<Arc<SegmentIndex>, String>, bool);

/// Gets a segment that a root names.
pub(crate) async fn local_segment(repository: &Repository, row: &SegmentRow) -> Result<Got> {
    let terms = terms(repository)?;
    let path = path_of(repository, row.id);
    if let Some(path) = &path
        && let Ok(segment) = SegmentIndex::open(&terms, path, row)
    {
        return Ok((Ok(Arc::new(segment)), false));
    }
    let mut copy = new_copy(repository, &terms, row.id);
    let read = stream_segment(repository, row.id, &mut |table_row| copy.push(&table_row)).await?;
    let read = match read {
        None => return Ok((Err("it is missing".into()), true)),
        Some(Err(error)) => return Ok((Err(error.to_string()), true)),
        Some(Ok(read)) => read,
    };
    let said = SegmentRow {
        partition: read.head.partition,
        level: read.head.level,
        id: row.id,
        rows: read.head.rows,
        hash: read.hash,
        sum: read.head.sum,
    };
    if said != *row {
        return Ok((Err("it is not the object that the root names".into()), true));
    }
    let mut segment = SegmentIndex::new(&terms, copy.finish().map_err(no_room)?, said);
    if let Some(path) = path {
        // Without a file that lasts the next run reads the repository again.
        let _ = segment.persist(&path);
    }
    Ok((Ok(Arc::new(segment)), true))
}

/// Reads a segment from the repository and keeps nothing of it; `None` if it is missing.
pub(crate) async fn verify_segment(
    repository: &Repository,
    id: ObjectId,
) -> Result<Option<std::result::Result<ReadSegment, FormatError>>> {
    stream_segment(repository, id, &mut drop).await
}

/// Reads a segment from the repository and hands on its rows. They are good only if all is well at
/// the end.
async fn stream_segment(
    repository: &Repository,
    id: ObjectId,
    take: &mut (dyn FnMut(TableRow) + Send),
) -> Result<Option<std::result::Result<ReadSegment, FormatError>>> {
    let key = object_key(name::index_segment(id));
    let mut decoder = SegmentDecoder::with_keys(repository.id(), id, repository.index_keys());
    for part in 0.. {
        let range = ByteRange::From { offset: part * PART_BYTES, length: PART_BYTES };
        let bytes = match repository.store().get(&key, range).await {
            Ok(bytes) => bytes,
            Err(StoreError { kind: StoreErrorKind::NotFound, .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if let Err(error) = decoder.push(&bytes, &mut |row| take(row)) {
            return Ok(Some(Err(error)));
        }
        if (bytes.len() as u64) < PART_BYTES {
            break;
        }
    }
    Ok(Some(decoder.finish(|member| repository.maintainer_key_of(member))))
}

/// Removes copies of segments that no root names any more, and what killed runs left. A run that
/// is still writing such a file, or reading it, goes on without its name.
pub(crate) fn clean_copies(repository: &Repository, named: &[SegmentRow]) {
    let Some(folder) = folder_of(repository) else { return };
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let named: HashSet<String> = named.iter().map(|row| row.id.to_string()).collect();
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_none_or(|name| !named.contains(name)) {
            // It is tried again when the next copy is made.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

pub(super) fn terms(repository: &Repository) -> Result<CopyTerms> {
    Ok(CopyTerms::new(repository.id(), &repository.copy_key()?, repository.blocks()))
}

pub(super) fn new_copy(repository: &Repository, terms: &CopyTerms, id: ObjectId) -> CopyWriter {
    CopyWriter::new(&terms.key, folder_of(repository).as_deref(), &id.to_string())
}

fn folder_of(repository: &Repository) -> Option<PathBuf> {
    repository.cache().map(|folder| folder.join("index"))
}

/// Where the copy of a segment lies.
pub(super) fn path_of(repository: &Repository, id: ObjectId) -> Option<PathBuf> {
    folder_of(repository).map(|folder| folder.join(id.to_string()))
}

pub(super) fn no_room(error: io::Error) -> Error {
    Error {
        kind: ErrorKind::Store,
        what: "cannot keep a copy of the index, neither in the cache folder nor among temporary files".into(),
        source: Some(Box::new(error)),
    }
}
