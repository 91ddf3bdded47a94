//! Merges segments and deltas into a new segment, and proves that no row was lost.
//!
//! The new segment states the sum that its rows must have: that of all inputs, as roots and deltas
//! state it, less that of the rows that were dropped. The object is then read back from the store
//! and its rows are summed anew; only if that agrees is it given to be published. On purpose not
//! here: choosing what to merge ([`super::tiers`]), and publishing.

use super::bits::Bits;
use super::join::{Input, Joined, join};
use super::local::{new_copy, no_room, path_of, terms, verify_segment};
use super::segment::SegmentIndex;
use super::table::{BLOCK_BYTES, Table};
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::{Repository, object_key};
use bytes::Bytes;
use holdfast_core::FormatError;
use holdfast_core::id::ObjectId;
use holdfast_core::index::{IndexTables, MultisetSum, PackRow, Partition};
use holdfast_core::name::{self, PackId};
use holdfast_core::object::{Header, ObjectType};
use holdfast_core::root::{Conservation, SegmentRow};
use holdfast_core::segment::{SegmentEncoder, SegmentHead, table_bytes};
use holdfast_core::wire::Writer;
use holdfast_store::{ErrorKind as StoreErrorKind, StoreError};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Blocks of the copy that are uploaded at a time: 1 MiB.
const BLOCKS_AT_ONCE: u64 = 64;

/// What a merge gave.
#[derive(Debug)]
pub(crate) struct Merged {
    /// The new segment, for the root; `None` if nothing is left.
    pub row: Option<SegmentRow>,
    /// What came in, went, and came out.
    pub conservation: Conservation,
}

/// Merges segments and the tables of deltas into one new segment. Rows of packs that `drop` names
/// go; packs and sessions that nothing refers to any more go with them.
///
/// # Errors
/// An input cannot be read, the store failed, or rows were lost: then nothing may be published.
pub(crate) async fn merge(
    ctx: &Ctx,
    repository: &Repository,
    epoch: u64,
    inputs: &[Arc<SegmentIndex>],
    tables: Vec<IndexTables>,
    drop: &(dyn Fn(&PackId) -> bool + Sync),
) -> Result<Merged> {
    let mut taken = MultisetSum::default();
    inputs.iter().for_each(|segment| taken += segment.row().sum);
    tables.iter().for_each(|tables| taken += MultisetSum::of(tables));
    let level = inputs.iter().map(|segment| segment.row().level).max().unwrap_or_default().saturating_add(1);
    let id = ObjectId(ctx.random());
    let terms = terms(repository)?;
    let mut copy = new_copy(repository, &terms, id);
    let all: Vec<Input> = inputs.iter().map(|segment| Input::Segment(Arc::clone(segment))).collect();
    let all = all.into_iter().chain([Input::Tables(Arc::new(gather(tables)))]);
    let all: Vec<_> = all.map(|input| with_dropped(input, drop)).collect::<Result<_>>()?;
    let cancel = ctx.cancel.clone();
    let (joined, copied) = ctx
        .workers
        .run_long(move || {
            let joined = join(all, &mut copy, &cancel)?;
            Ok::<_, Error>((joined, copy.finish().map_err(no_room)?))
        })
        .await?;
    let mut given = taken;
    given -= joined.dropped;
    let conservation = Conservation { taken, dropped: joined.dropped, given };
    if joined.chunks == 0 {
        let none = Conservation { given: MultisetSum::default(), ..conservation };
        return proved(none, None);
    }
    let (partition, rows) = (Partition::ALL, joined.chunks);
    let row = SegmentRow { partition, level, id, rows, hash: [0; 32], sum: given };
    let mut segment = SegmentIndex::new(&terms, copied, row.clone());
    let header = repository.header(ctx, ObjectType::IndexSegment, id, epoch);
    let hash = upload_twice(ctx, repository, &segment, &header, &joined).await?;
    let row = SegmentRow { hash, ..row };
    if let Err(error) = read_back(repository, &row).await {
        // Nobody knows of it yet. Where it cannot be deleted it lies there and counts for nothing.
        let _ = repository.store().delete(&object_key(name::index_segment(id))).await;
        return Err(error);
    }
    segment.identify(row.clone());
    if let Some(path) = path_of(repository, id) {
        // Without a file that lasts the next run reads the repository.
        let _ = segment.persist(&path);
    }
    proved(conservation, Some(row))
}

/// The result, if what came in is what went and what came out.
fn proved(conservation: Conservation, row: Option<SegmentRow>) -> Result<Merged> {
    if conservation.holds() { Ok(Merged { row, conservation }) } else { Err(lost_rows()) }
}

fn lost_rows() -> Error {
    let what = "merging the index lost or made up rows; nothing was published, and nothing was lost in the repository";
    Error::new(ErrorKind::Damaged, what)
}

/// Reads the new segment back from the store and sums its rows anew.
pub(super) async fn read_back(repository: &Repository, row: &SegmentRow) -> Result<()> {
    let name = name::index_segment(row.id);
    match verify_segment(repository, row.id).await? {
        None => Err(Error::new(ErrorKind::Damaged, format!("{name} is missing right after it was written"))),
        Some(Err(FormatError::Malformed("the rows of an index segment"))) => Err(lost_rows()),
        Some(Err(error)) => Err(Error::format(&name, error)),
        Some(Ok(read)) if (read.hash, read.head.rows, read.head.sum) == (row.hash, row.rows, row.sum) => {
            Ok(())
        }
        Some(Ok(_)) => Err(Error::new(ErrorKind::Conflict, format!("another object lies at {name}"))),
    }
}

/// Which packs of an input go.
fn with_dropped(input: Input, drop: &(dyn Fn(&PackId) -> bool + Sync)) -> Result<(Input, Bits)> {
    let mut dropped = Bits::new(input.count_packs().into());
    input.packs(|row, pack| {
        if drop(&pack.id) {
            dropped.set(row.into());
        }
        Ok(())
    })?;
    Ok((input, dropped))
}

/// Puts the tables of all deltas into one. Rows that are equal stay side by side.
fn gather(all: Vec<IndexTables>) -> IndexTables {
    let (mut one, mut sessions, mut packs) = (IndexTables::default(), HashMap::new(), HashMap::new());
    for tables in all {
        for row in tables.sessions {
            let known = *sessions.entry((row.member, row.session)).or_insert(one.sessions.len());
            match one.sessions.get_mut(known) {
                Some(session) => session.complete(&row),
                None => one.sessions.push(row),
            }
        }
        let mut rows = Vec::with_capacity(tables.packs.len());
        for pack in tables.packs {
            let known = *packs.entry(pack.id).or_insert(one.packs.len());
            rows.push(known as u32);
            match one.packs.get_mut(known) {
                Some(PackRow { size, .. }) if *size >= pack.size => {}
                Some(other) => *other = pack,
                None => one.packs.push(pack),
            }
        }
        one.chunks.extend(tables.chunks.into_iter().map(|mut row| {
            (row.pack, row.origin) = (rows[row.pack as usize], rows[row.origin as usize]);
            row
        }));
    }
    one.arrange();
    one
}

/// Uploads the segment. After an answer that was lost it is done once more: if the name is taken
/// then, what lies there is ours, which reading back shows.
async fn upload_twice(
    ctx: &Ctx,
    repository: &Repository,
    segment: &SegmentIndex,
    header: &Header,
    joined: &Joined,
) -> Result<[u8; 32]> {
    match upload(ctx, repository, segment, header, joined).await {
        Err(Failed::Store(StoreError { kind: StoreErrorKind::Retry, .. })) => {
            upload(ctx, repository, segment, header, joined).await.map_err(Error::from)
        }
        other => other.map_err(Error::from),
    }
}

/// What can go wrong with an upload.
enum Failed {
    Store(StoreError),
    Other(Error),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Store(error) => error.into(),
            Failed::Other(error) => error,
        }
    }
}

/// Streams the copy into the store as the object that it is the copy of; gives its hash.
async fn upload(
    ctx: &Ctx,
    repository: &Repository,
    segment: &SegmentIndex,
    header: &Header,
    joined: &Joined,
) -> std::result::Result<[u8; 32], Failed> {
    let row = segment.row();
    let bytes = table_bytes(joined.session_bytes, joined.packs, joined.chunks);
    let (partition, level, rows, sum) = (row.partition, row.level, row.rows, row.sum);
    let head = SegmentHead { partition, level, rows, sum, blocks: SegmentHead::blocks_of(bytes) };
    let key = repository.k_idx_for(header)?;
    let mut encoder = SegmentEncoder::new(header, &head, &key, repository.signer());
    let mut upload = repository.store().begin(&object_key(name::index_segment(row.id))).await?;
    for table in [Table::Sessions, Table::Packs, Table::Chunks] {
        let count = segment.counts().of(table);
        encoder.push(&(count as u32).to_le_bytes());
        let (mut block, all) = (0, segment.counts().blocks(table));
        while block < all {
            if ctx.cancel.is_raised() {
                return Err(Error::interrupted().into());
            }
            let end = (block + BLOCKS_AT_ONCE).min(all);
            push_blocks(&mut encoder, segment, table, block..end)?;
            block = end;
            upload.write(Bytes::from(encoder.take())).await?;
        }
    }
    // An empty tagged list ends the tables.
    let mut tags = Writer::new();
    tags.tags(&[]);
    encoder.push(tags.as_slice());
    let (last, hash) = encoder.finish();
    upload.write(Bytes::from(last)).await?;
    // Whether it was there already shows when it is read back.
    let _ = upload.commit().await?;
    Ok(hash)
}

/// Hands the rows of some blocks to the encoder, as a segment has them.
fn push_blocks(
    encoder: &mut SegmentEncoder<'_>,
    segment: &SegmentIndex,
    table: Table,
    blocks: Range<u64>,
) -> Result<()> {
    let counts = segment.counts();
    let mut bytes = vec![0; (blocks.end - blocks.start) as usize * BLOCK_BYTES];
    segment.read(counts.first_block(table) + blocks.start, &mut bytes)?;
    for (block, bytes) in blocks.zip(bytes.chunks_exact(BLOCK_BYTES)) {
        let rows = &bytes[..counts.rows_in(table, block) * table.width()];
        if table == Table::Sessions {
            // Only the copy pads them.
            for row in rows.chunks_exact(table.width()) {
                let mut writer = Writer::new();
                segment.decode_session(row)?.encode(&mut writer);
                encoder.push(writer.as_slice());
            }
        } else {
            encoder.push(rows);
        }
    }
    Ok(())
}
