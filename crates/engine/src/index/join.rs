//! Joins the rows of several segments and deltas into one new copy, in the order of a segment.
//!
//! Rows stream from the inputs through a queue of their next ones. For each pack of an input 12
//! bytes and 3 bits are kept; nothing grows with the number of chunks. On purpose not here: the
//! store, and the proof that no row was lost ([`super::merge`]).

use super::bits::Bits;
use super::copy::CopyWriter;
use super::scan::Scan;
use super::segment::SegmentIndex;
use super::table::Table;
use super::walk::next_row;
use crate::ctx::Cancel;
use crate::error::{Error, ErrorKind, Result};
use holdfast_core::id::{MemberId, SessionId};
use holdfast_core::index::{ChunkRow, IndexTables, MultisetSum, PackRow, PackTag, ROWS_MAX};
use holdfast_core::keys::SessionRow;
use holdfast_core::name::PackId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

/// So many rows are joined between two looks at the stop signal.
const ROWS_A_LOOK: u64 = 1 << 16;
/// A pack that has no row in the output.
const GONE: u32 = u32::MAX;

/// Where rows come from.
#[derive(Debug, Clone)]
pub(super) enum Input {
    Segment(Arc<SegmentIndex>),
    /// As [`IndexTables::arrange`] leaves them; equal rows may stand side by side.
    Tables(Arc<IndexTables>),
}

impl Input {
    /// Goes through the packs.
    pub(super) fn packs(&self, mut take: impl FnMut(u32, PackRow) -> Result<()>) -> Result<()> {
        match self {
            Self::Segment(segment) => {
                let mut scan = Scan::new(segment, Table::Packs);
                while let Some((row, bytes)) = scan.next()? {
                    take(row as u32, segment.decode_pack(bytes)?.1)?;
                }
                Ok(())
            }
            Self::Tables(tables) => {
                (0u32..).zip(&tables.packs).try_for_each(|(row, pack)| take(row, pack.clone()))
            }
        }
    }

    fn pack(&self, row: u32) -> Result<PackRow> {
        match self {
            Self::Segment(segment) => Ok(segment.pack(row)?.1),
            Self::Tables(tables) => Ok(tables.packs[row as usize].clone()),
        }
    }

    pub(super) fn count_packs(&self) -> u32 {
        match self {
            Self::Segment(segment) => segment.counts().packs as u32,
            Self::Tables(tables) => tables.packs.len() as u32,
        }
    }

    /// What it says of a session.
    fn session(&self, name: &(MemberId, SessionId)) -> Result<Option<SessionRow>> {
        match self {
            Self::Segment(segment) => {
                segment.session_of(name.0, name.1).map(|row| segment.session(row)).transpose()
            }
            Self::Tables(tables) => {
                let found = tables.sessions.binary_search_by_key(name, |row| (row.member, row.session));
                Ok(found.ok().map(|row| tables.sessions[row].clone()))
            }
        }
    }

    fn chunks(&self) -> Run {
        match self {
            Self::Segment(segment) => Run::Scan(Scan::new(segment, Table::Chunks)),
            Self::Tables(tables) => Run::Tables(Arc::clone(tables), 0),
        }
    }
}

/// The rows of chunks of one input that are left.
enum Run {
    Scan(Scan),
    Tables(Arc<IndexTables>, usize),
}

impl Run {
    fn next(&mut self) -> Result<Option<ChunkRow>> {
        match self {
            Self::Scan(scan) => next_row(scan),
            Self::Tables(tables, at) => {
                *at += 1;
                Ok(tables.chunks.get(*at - 1).copied())
            }
        }
    }
}

/// An input with what is found out of its packs.
struct Side {
    input: Input,
    tags: Vec<PackTag>,
    /// Packs whose rows go.
    dropped: Bits,
    /// Packs that hold a chunk that stays, and packs that such a one was sealed for.
    holders: Bits,
    origins: Bits,
    /// Rows of the output.
    rows: Vec<u32>,
}

impl Side {
    fn new(input: Input, dropped: Bits) -> Result<Self> {
        let count = input.count_packs();
        let mut tags = Vec::with_capacity(count as usize);
        input.packs(|_, pack| {
            tags.push(PackTag::from(&pack.id));
            Ok(())
        })?;
        let (holders, origins) = (Bits::new(count.into()), Bits::new(count.into()));
        Ok(Self { input, tags, dropped, holders, origins, rows: vec![GONE; count as usize] })
    }

    fn add_to(&self, sum: &mut MultisetSum, row: &ChunkRow) {
        sum.add(row, self.tags[row.pack as usize], self.tags[row.origin as usize]);
    }

    /// Finds out which packs are still referred to.
    fn mark(&mut self, cancel: &Cancel) -> Result<()> {
        let (mut run, mut number) = (self.input.chunks(), 0);
        while let Some(row) = run.next()? {
            look(cancel, &mut number)?;
            if !self.dropped.get(row.pack.into()) {
                self.holders.set(row.pack.into());
                self.origins.set(row.origin.into());
            }
        }
        Ok(())
    }
}

fn look(cancel: &Cancel, number: &mut u64) -> Result<()> {
    *number += 1;
    if number.is_multiple_of(ROWS_A_LOOK) && cancel.is_raised() { Err(Error::interrupted()) } else { Ok(()) }
}

/// What joining gave.
pub(super) struct Joined {
    /// Bytes that the session rows of the output encode to.
    pub session_bytes: u64,
    pub packs: u64,
    pub chunks: u64,
    /// Sum over the rows that went: those of dropped packs, and all but one of equal ones.
    pub dropped: MultisetSum,
}

/// Joins inputs, each with the packs whose rows go.
pub(super) fn join(inputs: Vec<(Input, Bits)>, copy: &mut CopyWriter, cancel: &Cancel) -> Result<Joined> {
    let mut sides = Vec::with_capacity(inputs.len());
    for (input, dropped) in inputs {
        let mut side = Side::new(input, dropped)?;
        side.mark(cancel)?;
        sides.push(side);
    }
    let mut joined = Joined { session_bytes: 0, packs: 0, chunks: 0, dropped: MultisetSum::default() };
    let sessions = join_sessions(&mut sides, copy, &mut joined)?;
    join_packs(&mut sides, |id, row, _| {
        let session = sessions.get(&(id.member, id.session)).copied().ok_or_else(inconsistent)?;
        copy.pack(session, &row);
        Ok(())
    })?;
    join_chunks(&sides, copy, cancel, &mut joined)?;
    Ok(joined)
}

fn inconsistent() -> Error {
    Error::new(ErrorKind::Damaged, "a pack of the index has no session")
}

/// Goes through the packs that stay, in order, each once, and numbers them.
fn join_packs(sides: &mut [Side], mut take: impl FnMut(PackId, PackRow, u32) -> Result<()>) -> Result<u32> {
    let mut next = vec![0u32; sides.len()];
    let mut queue = BinaryHeap::new();
    for (number, side) in sides.iter().enumerate() {
        push_pack(side, number, &mut next, &mut queue)?;
    }
    let mut count = 0;
    while let Some(Reverse((first, _, _))) = queue.peek() {
        let id = *first;
        let mut row: Option<PackRow> = None;
        while let Some(&Reverse((_, number, local))) =
            queue.peek().filter(|Reverse((other, _, _))| *other == id)
        {
            queue.pop();
            let side = &mut sides[number];
            let mut pack = side.input.pack(local)?;
            if !side.holders.get(local.into()) {
                // Nothing that stays lies in it: it is named for what was sealed for it.
                pack = PackRow { size: 0, checksum: [0; 32], chunks: 0, ..pack };
            }
            side.rows[local as usize] = count;
            // Of two statements that differ the longer one has room for all rows.
            if row.as_ref().is_none_or(|known| known.size < pack.size) {
                row = Some(pack);
            }
            push_pack(side, number, &mut next, &mut queue)?;
        }
        if let Some(row) = row {
            take(row.id, row, count)?;
            count += 1;
        }
    }
    Ok(count)
}

type PackQueue = BinaryHeap<Reverse<([u8; PackId::SIZE], usize, u32)>>;

/// Queues the next pack of a side that is referred to.
fn push_pack(side: &Side, number: usize, next: &mut [u32], queue: &mut PackQueue) -> Result<()> {
    let count = side.input.count_packs();
    let referred = |row: &u32| side.holders.get((*row).into()) || side.origins.get((*row).into());
    if let Some(row) = (next[number]..count).find(referred) {
        queue.push(Reverse((side.input.pack(row)?.id.encode(), number, row)));
        next[number] = row + 1;
    } else {
        next[number] = count;
    }
    Ok(())
}

/// Writes the sessions of packs that stay; gives the row of each.
fn join_sessions(
    sides: &mut [Side],
    copy: &mut CopyWriter,
    joined: &mut Joined,
) -> Result<BTreeMap<(MemberId, SessionId), u32>> {
    let mut sessions = BTreeMap::new();
    joined.packs = join_packs(sides, |id, _, _| {
        sessions.insert((id.member, id.session), 0);
        Ok(())
    })?
    .into();
    for (number, (name, row)) in (0u32..).zip(&mut sessions) {
        let mut whole: Option<SessionRow> = None;
        for side in sides.iter() {
            if let Some(session) = side.input.session(name)? {
                whole.get_or_insert_with(|| session.clone()).complete(&session);
            }
        }
        let whole = whole.ok_or_else(inconsistent)?;
        joined.session_bytes += whole.size() as u64;
        copy.session(&whole);
        *row = number;
    }
    Ok(sessions)
}

/// The order in which rows are joined: as in a segment, then by the side they come from.
type Order = ((holdfast_core::index::ChunkKey, u32, u32, u32, u32), usize);

fn join_chunks(sides: &[Side], copy: &mut CopyWriter, cancel: &Cancel, joined: &mut Joined) -> Result<()> {
    let mut runs: Vec<Run> = sides.iter().map(|side| side.input.chunks()).collect();
    // The row as its side has it, beside the one to be written.
    let mut heads = vec![None; sides.len()];
    let mut queue: BinaryHeap<Reverse<Order>> = BinaryHeap::new();
    for number in 0..sides.len() {
        heads[number] = next_kept(&sides[number], &mut runs[number], joined)?;
        queue.extend(heads[number].map(|(row, _): (ChunkRow, ChunkRow)| Reverse((row.order(), number))));
    }
    let (mut last, mut looked) = (None, 0);
    while let Some(Reverse((order, number))) = queue.pop() {
        look(cancel, &mut looked)?;
        if let Some((row, original)) = heads[number] {
            let nothing_yet = joined.chunks == 1 && joined.dropped == MultisetSum::default();
            let mistaken = cfg!(feature = "mutant-merge-drops") && nothing_yet;
            if last == Some(order) || mistaken {
                sides[number].add_to(&mut joined.dropped, &original);
            } else {
                copy.chunk(&row);
                joined.chunks += 1;
                last = Some(order);
            }
        }
        heads[number] = next_kept(&sides[number], &mut runs[number], joined)?;
        queue.extend(heads[number].map(|(row, _)| Reverse((row.order(), number))));
    }
    if joined.chunks > ROWS_MAX as u64 {
        return Err(Error::new(ErrorKind::Usage, "more rows than a segment of the index may have"));
    }
    Ok(())
}

/// The next row of a side that stays, as it is to be written and as it was; those that go are
/// counted.
fn next_kept(side: &Side, run: &mut Run, joined: &mut Joined) -> Result<Option<(ChunkRow, ChunkRow)>> {
    while let Some(row) = run.next()? {
        if side.dropped.get(row.pack.into()) {
            side.add_to(&mut joined.dropped, &row);
            continue;
        }
        let (pack, origin) = (side.rows[row.pack as usize], side.rows[row.origin as usize]);
        return Ok(Some((ChunkRow { pack, origin, ..row }, row)));
    }
    Ok(None)
}
