//! What lies in packs, by their own word: for repairs, where the index does not tell.
//!
//! All that repairs ask of the index is asked here. On purpose not here: following snapshots.

use crate::adopt::read_pack;
use crate::check::read_through;
use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::index::{Index, PackState};
use crate::reader::Reader;
use crate::repository::Repository;
use crate::restore::chain;
use crate::session::AdoptedPack;
use crate::trust::are_of;
use crate::view::View;
use futures::stream::{self, StreamExt};
use holdfast_core::id::ChunkId;
use holdfast_core::index::ChunkKey;
use holdfast_core::name::{PackId, SessionName};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Packs that are read at the same time.
const READS_AT_ONCE: usize = 16;

/// A pack that cannot be relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPack {
    /// Its name.
    pub pack: String,
    /// What is wrong with it.
    pub what: String,
}

/// Whether a chunk can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Have {
    /// From no pack.
    No,
    /// From a pack that is quarantined, perhaps.
    Perhaps,
    /// From a pack that nothing is known against.
    Yes,
}

/// What is known of the packs in a repository.
#[derive(Debug, Default)]
pub(super) struct Stock {
    /// Packs that lie in the store, with their lengths.
    pub packs: BTreeMap<PackId, u64>,
    /// Those that cannot be relied on, and why.
    pub bad: BTreeMap<PackId, String>,
    /// Those that were read whole and are as they were written.
    pub whole: BTreeSet<PackId>,
    /// Chunks that a pack does not give though it is there.
    pub broken: HashSet<(ChunkKey, PackId)>,
}

impl Stock {
    /// Notes packs that the index names and that are not there, or not as long.
    pub(super) fn note_missing(&mut self, index: &Index) -> Result<()> {
        let mut packs = index.packs();
        while let Some((_, known)) = packs.next()? {
            let row = &known.row;
            if row.size == 0 || known.state == PackState::Dead {
                continue;
            }
            match self.packs.get(&row.id) {
                Some(size) if *size == row.size => {}
                Some(size) => {
                    self.bad.insert(row.id, format!("has {size} bytes instead of {}", row.size));
                }
                None => drop(self.bad.insert(row.id, "is missing".into())),
            }
        }
        Ok(())
    }

    /// Packs that lie there, are not given up, and some of whose chunks the index does not know.
    pub(super) fn uncovered(&self, view: &View) -> Result<Vec<PackId>> {
        let index = &view.index;
        let mut rows = vec![0u32; index.pack_rows() as usize];
        let mut chunks = index.chunks()?;
        while let Some((_, places)) = chunks.next()? {
            places.iter().for_each(|place| rows[place.pack as usize] += 1);
        }
        let dead: HashSet<&PackId> = view.lists.dead.iter().flat_map(|(_, packs)| packs).collect();
        let mut left = Vec::new();
        for id in self.packs.keys().filter(|id| !dead.contains(id)) {
            let covered = match index.row_of(id)? {
                Some(row) => {
                    let known = index.pack(row)?.row;
                    known.size > 0 && rows[row as usize] >= known.chunks
                }
                None => false,
            };
            if !covered {
                left.push(*id);
            }
        }
        Ok(left)
    }

    /// Reads what packs say of themselves; those that say nothing are bad.
    pub(super) async fn read_footers(
        &mut self,
        ctx: &Ctx,
        repository: &Repository,
        ids: Vec<PackId>,
    ) -> Result<Vec<AdoptedPack>> {
        if !ids.is_empty() {
            ctx.monitor.on(&Event::Phase("reading what packs hold"));
        }
        let sized: Vec<_> = ids.into_iter().filter_map(|id| Some((id, *self.packs.get(&id)?))).collect();
        let mut reads = stream::iter(sized)
            .map(|(id, size)| async move {
                let from = SessionName { epoch: 0, member: id.member, session: id.session };
                (id, read_pack(repository, from, id, size).await)
            })
            .buffer_unordered(READS_AT_ONCE);
        let mut found = Vec::new();
        while let Some((id, pack)) = reads.next().await {
            if ctx.cancel.is_raised() {
                return Err(Error::interrupted());
            }
            match pack {
                // Who may not repack has no chunks of others: it makes them up.
                Ok(pack) if !are_of(&pack.tables, id.member) && !may_repack(repository, &id) => {
                    drop(
                        self.bad.insert(
                            id,
                            "holds chunks of other members, which its author may not copy".into(),
                        ),
                    );
                }
                Ok(pack) => found.push(pack),
                Err(error) if error.kind == ErrorKind::Damaged => drop(self.bad.insert(id, chain(&error))),
                Err(error) => return Err(error),
            }
        }
        found.sort_by_key(|pack| pack.row.id);
        Ok(found)
    }

    /// Reads packs whole that are not given up.
    pub(super) async fn read_whole(&mut self, ctx: &Ctx, reader: &Reader) -> Result<()> {
        let mut all = Vec::new();
        for (id, size) in &self.packs {
            if reader.index.pack_of(id)?.is_none_or(|known| known.state != PackState::Dead) {
                all.push((*id, *size));
            }
        }
        ctx.monitor.on(&Event::Phase("reading packs"));
        let bytes = all.iter().map(|(_, size)| size).sum();
        ctx.monitor.on(&Event::Expected { files: all.len() as u64, bytes });
        let mut reads = stream::iter(all)
            .map(|(id, size)| async move { (id, size, read_through(ctx, reader, id, size).await) })
            .buffer_unordered(ctx.workers.threads() + 1);
        while let Some((id, size, read)) = reads.next().await {
            ctx.monitor.on(&Event::Done { files: 1, bytes: size });
            match read {
                // It is not what the index takes it for.
                Ok(None) if self.bad.contains_key(&id) => {}
                Ok(None) => drop(self.whole.insert(id)),
                Ok(Some((what, chunks))) => {
                    self.bad.insert(id, what);
                    self.broken.extend(chunks.into_iter().map(|key| (key, id)));
                }
                // What lies in it may still be where the index says.
                Err(error) if error.kind == ErrorKind::Damaged => drop(self.bad.insert(id, chain(&error))),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Packs that are to be quarantined: those that were and are not known to be whole, and those
    /// that are bad. One that nothing names any more is left out.
    pub(super) fn quarantined(&self, index: &Index, before: &BTreeSet<PackId>) -> Result<BTreeSet<PackId>> {
        let mut quarantined: BTreeSet<PackId> = self.bad.keys().copied().collect();
        for id in before {
            let named = self.packs.contains_key(id) || index.row_of(id)?.is_some();
            if named && !self.whole.contains(id) {
                quarantined.insert(*id);
            }
        }
        Ok(quarantined)
    }

    /// A page that is where the index says does not open: its packs are damaged.
    pub(super) fn note_unreadable(&mut self, index: &Index, page: &ChunkId, what: &str) -> Result<()> {
        let key = ChunkKey::from(page);
        for id in self.places(index, &key)? {
            self.bad.entry(id).or_insert_with(|| what.to_owned());
            self.broken.insert((key, id));
        }
        Ok(())
    }

    /// Packs that are there and should have a chunk.
    fn places(&self, index: &Index, key: &ChunkKey) -> Result<Vec<PackId>> {
        let mut packs = Vec::new();
        for place in index.places_of(key)? {
            let row = index.pack(place.pack)?.row;
            if self.packs.get(&row.id) == Some(&row.size) {
                packs.push(row.id);
            }
        }
        Ok(packs)
    }

    /// Whether a chunk can be had.
    pub(super) fn have(&self, index: &Index, quarantined: &BTreeSet<PackId>, id: &ChunkId) -> Result<Have> {
        let key = ChunkKey::from(id);
        let have = |pack: PackId| {
            if self.broken.contains(&(key, pack)) {
                Have::No
            } else if !quarantined.contains(&pack) && !self.bad.contains_key(&pack) {
                Have::Yes
            } else {
                Have::Perhaps
            }
        };
        Ok(self.places(index, &key)?.into_iter().map(have).max().unwrap_or(Have::No))
    }
}

/// Whether the author of a pack may copy what others sealed, or could.
fn may_repack(repository: &Repository, pack: &PackId) -> bool {
    repository.maintainer_key_of(pack.member).is_some()
}

/// Whether the index names a pack for a chunk at all.
pub(super) fn is_indexed(index: &Index, id: &ChunkId) -> Result<bool> {
    Ok(index.place(id)?.is_some())
}

/// Takes into an index what packs say of themselves.
pub(super) fn absorb_packs(index: &mut Index, packs: &[AdoptedPack]) -> Result<()> {
    packs.iter().try_for_each(|pack| index.absorb(&pack.tables))?;
    index.settle();
    Ok(())
}
