//! Goes through all of an index in order, without holding it.
//!
//! On purpose not here: merging segments into one ([`super::merge`]).

use super::parts::Part;
use super::scan::Scan;
use super::table::Table;
use super::{Index, KnownPack, Place};
use crate::error::Result;
use holdfast_core::index::{ChunkKey, ChunkRow};
use holdfast_core::wire::Reader;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Gives each pack once, with its row.
#[derive(Debug)]
pub(crate) struct Packs<'a> {
    index: &'a Index,
    part: usize,
    scan: Option<Scan>,
    memory: u32,
}

impl<'a> Packs<'a> {
    pub(super) const fn new(index: &'a Index) -> Self {
        Self { index, part: 0, scan: None, memory: 0 }
    }

    /// The next pack and its row; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, KnownPack)>> {
        while let Some(part) = self.index.parts.parts().get(self.part) {
            let scan = self.scan.get_or_insert_with(|| Scan::new(&part.segment, Table::Packs));
            let Some((number, bytes)) = scan.next()? else {
                (self.part, self.scan) = (self.part + 1, None);
                continue;
            };
            let number = number as u32;
            if part.owns(number) {
                let row = part.pack_row(number);
                let (session, pack) = part.segment.decode_pack(bytes)?;
                let pack = self.index.sized.get(&row).cloned().unwrap_or(pack);
                let session = part.session_row(session);
                return Ok(Some((row, KnownPack { row: pack, session, state: self.index.state(row) })));
            }
        }
        let row = self.index.parts.packs() + self.memory;
        if row == self.index.pack_rows() {
            return Ok(None);
        }
        self.memory += 1;
        Ok(Some((row, self.index.pack(row)?)))
    }
}

/// A source of chunk rows and its next one.
#[derive(Debug)]
struct Head<'a> {
    part: &'a Part,
    scan: Scan,
    row: ChunkRow,
}

/// Gives each chunk once, ascending by key, with all its places.
#[derive(Debug)]
pub(crate) struct Chunks<'a> {
    heads: Vec<Head<'a>>,
    /// The next keys of the heads that have one.
    order: BinaryHeap<Reverse<(ChunkKey, usize)>>,
    memory: &'a [ChunkRow],
    places: Vec<Place>,
}

impl<'a> Chunks<'a> {
    pub(super) fn new(index: &'a Index) -> Result<Self> {
        let (mut heads, mut order) = (Vec::new(), BinaryHeap::new());
        for part in index.parts.parts() {
            let mut scan = Scan::new(&part.segment, Table::Chunks);
            if let Some(row) = next_row(&mut scan)? {
                order.push(Reverse((row.key, heads.len())));
                heads.push(Head { part, scan, row });
            }
        }
        Ok(Self { heads, order, memory: &index.memory.chunks, places: Vec::new() })
    }

    /// The next chunk, with the places in dead packs too; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<(ChunkKey, &[Place])>> {
        let in_segments = self.order.peek().map(|Reverse((key, _))| *key);
        let in_memory = self.memory.first().map(|row| row.key);
        let Some(key) = in_segments.into_iter().chain(in_memory).min() else { return Ok(None) };
        self.places.clear();
        while let Some((row, rest)) = self.memory.split_first().filter(|(row, _)| row.key == key) {
            self.places.push(Place::from(row));
            self.memory = rest;
        }
        while let Some(Reverse((_, number))) = self.order.peek().filter(|Reverse((next, _))| *next == key) {
            let number = *number;
            self.order.pop();
            let head = &mut self.heads[number];
            self.places.push(head.part.place(&head.row));
            if let Some(row) = next_row(&mut head.scan)? {
                head.row = row;
                self.order.push(Reverse((row.key, number)));
            }
        }
        if self.places.len() > 1 {
            super::dedup(&mut self.places);
        }
        Ok(Some((key, &self.places)))
    }

    /// How many chunks are left.
    pub(crate) fn count(mut self) -> Result<u64> {
        let mut count = 0;
        while self.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}

pub(super) fn next_row(scan: &mut Scan) -> Result<Option<ChunkRow>> {
    let Some((_, bytes)) = scan.next()? else { return Ok(None) };
    Ok(Some(ChunkRow::decode(&mut Reader::new(bytes)).expect("rows of chunks have their width")))
}
