//! The segments of an index: what each numbers on its own gets numbers for all.
//!
//! Most packs are named by one segment. Those that several name, as a repack leaves them, are
//! found when the index is opened, and get one row: that of the first segment which knows their
//! size, or else of the first. To find them only packs of sessions that several segments name are
//! compared. On purpose not here: what is in memory.

use super::scan::Sweep;
use super::segment::SegmentIndex;
use super::{Place, no_such_row, too_many};
use crate::error::Result;
use holdfast_core::index::{ChunkKey, ChunkRow, PackRow};
use holdfast_core::keys::SessionRow;
use holdfast_core::name::PackId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Packs, each with the numbers of segments that name it, its row there and the size stated there.
type Named = BTreeMap<PackId, Vec<(usize, u32, u64)>>;

/// A segment among others.
#[derive(Debug)]
pub(super) struct Part {
    pub segment: Arc<SegmentIndex>,
    /// What is added to its rows of packs, sessions and chunks.
    pub first_pack: u32,
    first_session: u32,
    first_chunk: u64,
    /// Its rows of packs that have another row in the index, ascending, and that row.
    aliases: Vec<(u32, u32)>,
}

impl Part {
    /// The index's row for one of its own.
    pub(super) fn pack_row(&self, row: u32) -> u32 {
        match self.aliases.binary_search_by_key(&row, |(alias, _)| *alias) {
            Ok(at) => self.aliases[at].1,
            Err(_) => self.first_pack.saturating_add(row),
        }
    }

    /// Whether a row stands for its pack.
    pub(super) fn owns(&self, row: u32) -> bool {
        self.aliases.binary_search_by_key(&row, |(alias, _)| *alias).is_err()
    }

    /// The index's row for one of its session rows.
    pub(super) const fn session_row(&self, row: u32) -> u32 {
        self.first_session.saturating_add(row)
    }

    /// A row of a chunk as a place in the index.
    pub(super) fn place(&self, row: &ChunkRow) -> Place {
        Place { pack: self.pack_row(row.pack), origin: self.pack_row(row.origin), ..Place::from(row) }
    }
}

/// All segments, in the order in which they are asked.
#[derive(Debug, Default)]
pub(super) struct Parts {
    parts: Vec<Part>,
    packs: u32,
    sessions: u32,
    chunks: u64,
}

impl Parts {
    pub(super) fn new(segments: Vec<Arc<SegmentIndex>>) -> Result<Self> {
        let mut all = Self::default();
        for segment in segments {
            let counts = segment.counts();
            let add = |sum: u32, rows: u64| u32::try_from(rows).ok().and_then(|rows| sum.checked_add(rows));
            let part = Part {
                segment,
                first_pack: all.packs,
                first_session: all.sessions,
                first_chunk: all.chunks,
                aliases: Vec::new(),
            };
            all.packs = add(all.packs, counts.packs).ok_or_else(too_many)?;
            all.sessions = add(all.sessions, counts.sessions).ok_or_else(too_many)?;
            all.chunks += counts.chunks;
            all.parts.push(part);
        }
        all.find_aliases()?;
        Ok(all)
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Rows of packs, those that stand for none included.
    pub(super) const fn packs(&self) -> u32 {
        self.packs
    }

    pub(super) const fn sessions(&self) -> u32 {
        self.sessions
    }

    pub(super) const fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Gives one row to each pack that several segments name.
    fn find_aliases(&mut self) -> Result<()> {
        for (_, rows) in self.packs_of_many()? {
            let sized = rows.iter().find(|(_, _, size)| *size > 0).or(rows.first());
            let Some(&(owner, row, _)) = sized else { continue };
            let owned = self.parts[owner].first_pack + row;
            for (part, row, _) in rows.into_iter().filter(|(part, _, _)| *part != owner) {
                self.parts[part].aliases.push((row, owned));
            }
        }
        self.parts.iter_mut().for_each(|part| part.aliases.sort_unstable());
        Ok(())
    }

    /// Packs that several segments name.
    fn packs_of_many(&self) -> Result<Named> {
        let mut found = Named::new();
        for holders in self.sessions_of_many().into_values() {
            for (at, &(one, one_session)) in holders.iter().enumerate() {
                for &(two, two_session) in &holders[at + 1..] {
                    self.common_packs((one, one_session), (two, two_session), &mut found)?;
                }
            }
        }
        for rows in found.values_mut() {
            rows.sort_unstable();
            rows.dedup();
        }
        Ok(found)
    }

    /// Sessions that several segments name, with the numbers of the segments and their rows there.
    fn sessions_of_many(&self) -> BTreeMap<[u8; 32], Vec<(usize, u32)>> {
        let mut many: BTreeMap<[u8; 32], Vec<(usize, u32)>> = BTreeMap::new();
        for (number, part) in self.parts.iter().enumerate() {
            for (row, name) in (0u32..).zip(part.segment.sessions()) {
                let elsewhere = |other: &Part| other.segment.sessions().binary_search(name).is_ok();
                let others = self.parts.iter().enumerate().filter(|(other, _)| *other != number);
                if others.map(|(_, other)| other).any(elsewhere) {
                    many.entry(*name).or_default().push((number, row));
                }
            }
        }
        many
    }

    /// Notes the packs of a session that two segments name: those of the one that has fewer are
    /// looked up in the other.
    fn common_packs(
        &self,
        (one, one_session): (usize, u32),
        (two, two_session): (usize, u32),
        found: &mut Named,
    ) -> Result<()> {
        let (first, second) = (&self.parts[one].segment, &self.parts[two].segment);
        let (rows, others) = (first.packs_of_session(one_session)?, second.packs_of_session(two_session)?);
        let (few, many, rows, few_part, many_part) = if rows.len() <= others.len() {
            (first, second, rows, one, two)
        } else {
            (second, first, others, two, one)
        };
        for row in rows {
            let (_, pack) = few.pack(row)?;
            if let Some(other) = many.pack_of(&pack.id)? {
                let (_, same) = many.pack(other)?;
                let known = found.entry(pack.id).or_default();
                known.extend([(few_part, row, pack.size), (many_part, other, same.size)]);
            }
        }
        Ok(())
    }

    /// Appends the places of a chunk, until `enough`.
    pub(super) fn find(
        &self,
        key: &ChunkKey,
        places: &mut Vec<Place>,
        enough: impl Fn(&[Place]) -> bool,
    ) -> Result<()> {
        let mut rows = Vec::new();
        for part in &self.parts {
            part.segment.find(key, &mut rows)?;
            places.extend(rows.drain(..).map(|row| part.place(&row)));
            if enough(places) {
                break;
            }
        }
        Ok(())
    }

    fn part_of(&self, row: u32, first: impl Fn(&Part) -> u32) -> Result<&Part> {
        let at = self.parts.partition_point(|part| first(part) <= row);
        at.checked_sub(1).and_then(|at| self.parts.get(at)).ok_or_else(no_such_row)
    }

    /// What is known of a pack, and the row of its session.
    pub(super) fn pack(&self, row: u32) -> Result<(u32, PackRow)> {
        let part = self.part_of(row, |part| part.first_pack)?;
        let (session, pack) = part.segment.pack(row - part.first_pack)?;
        Ok((part.session_row(session), pack))
    }

    /// The row of a pack.
    pub(super) fn row_of(&self, id: &PackId) -> Result<Option<u32>> {
        for part in &self.parts {
            if let Some(row) = part.segment.pack_of(id)? {
                return Ok(Some(part.pack_row(row)));
            }
        }
        Ok(None)
    }

    /// What a segment says of a session.
    pub(super) fn session(&self, row: u32) -> Result<SessionRow> {
        let part = self.part_of(row, |part| part.first_session)?;
        part.segment.session(row - part.first_session)
    }

    /// Takes in what any segment has of a session and the row lacks.
    pub(super) fn complete(&self, session: &mut SessionRow) -> Result<()> {
        for part in &self.parts {
            if session.data.is_some() && session.meta.is_some() {
                break;
            }
            if let Some(row) = part.segment.session_of(session.member, session.session) {
                session.complete(&part.segment.session(row)?);
            }
        }
        Ok(())
    }

    /// The number of a chunk among all rows: that of its first one.
    pub(super) fn ordinal(&self, key: &ChunkKey) -> Result<Option<u64>> {
        for part in &self.parts {
            if let Some(row) = part.segment.first_row(key)? {
                return Ok(Some(part.first_chunk + row));
            }
        }
        Ok(None)
    }

    /// The same for keys that ascend, where there is no number yet.
    pub(super) fn ordinals_sorted(&self, keys: &[ChunkKey], ordinals: &mut [Option<u64>]) -> Result<()> {
        for part in &self.parts {
            let mut sweep = Sweep::new(&part.segment);
            for (key, ordinal) in keys.iter().zip(ordinals.iter_mut()).filter(|(_, number)| number.is_none())
            {
                *ordinal = sweep.first_row(key)?.map(|row| part.first_chunk + row);
            }
        }
        Ok(())
    }
}
