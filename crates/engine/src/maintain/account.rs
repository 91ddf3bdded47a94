//! Which copy of each needed chunk stays, and how much of each pack that needs.
//!
//! On purpose not here: which packs go.

use super::mark::Marks;
use super::scan::Scan;
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Index, PackState, Place};
use crate::repository::Repository;
use holdfast_core::id::MemberId;
use holdfast_core::index::ChunkKey;
use holdfast_core::name::PackId;
use std::collections::{BTreeSet, HashMap, HashSet};

/// How much of a pack is needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PackUse {
    /// Bytes of chunks in it, as far as the index knows them.
    pub chunk_bytes: u64,
    /// Bytes of those whose chosen copy lies here.
    pub used_bytes: u64,
}

/// The chosen copies.
#[derive(Default)]
pub(super) struct Account {
    packs: HashMap<PackId, PackUse>,
    /// Chosen packs of needed chunks that lie in several; the only one is chosen without a row.
    chosen: HashMap<ChunkKey, Vec<PackId>>,
    marks: Marks,
}

impl Account {
    /// How much of a pack is needed.
    pub(super) fn of(&self, pack: &PackId) -> PackUse {
        self.packs.get(pack).copied().unwrap_or_default()
    }

    /// Whether the copy of a chunk in a pack is needed, and the chosen one.
    pub(super) fn keeps(&self, index: &Index, key: &ChunkKey, pack: &PackId) -> Result<bool> {
        let needed = index.ordinal(key)?.is_some_and(|ordinal| self.marks.has(ordinal));
        Ok(needed && self.chosen.get(key).is_none_or(|packs| packs.contains(pack)))
    }

    /// Whether something needs a chunk, wherever it lies.
    pub(super) fn needs(&self, index: &Index, key: &ChunkKey) -> Result<bool> {
        let marked = index.ordinal(key)?.is_some_and(|ordinal| self.marks.has(ordinal));
        Ok(marked || self.marks.unknown.contains(key))
    }

    /// Bytes that are needed, in all packs.
    pub(super) fn used_bytes(&self) -> u64 {
        self.packs.values().map(|pack| pack.used_bytes).sum()
    }
}

/// A copy that is there.
#[derive(Clone, Copy)]
struct Copied {
    bytes: u64,
    pack: PackId,
    state: PackState,
    /// Who sealed it, wherever it lies today.
    author: MemberId,
}

/// What is known of packs, by their rows in the index.
struct Rows {
    /// Those that are there and not given up.
    there: Vec<Option<(PackId, PackState)>>,
    /// Who sealed them, those included that are known as origins alone.
    authors: Vec<MemberId>,
}

/// Chunks whose numbers are looked up at once.
const CHUNKS_AT_ONCE: usize = 1 << 16;

/// Chooses copies of all that is marked.
///
/// # Errors
/// A needed chunk lies nowhere, and nobody has stated it as lost: a listing may have been cut off,
/// so nothing is told from it.
pub(super) fn choose(repository: &Repository, scan: &Scan, marks: Marks) -> Result<Account> {
    let index = &scan.view.index;
    let rows = rows_of(scan)?;
    let lost: HashSet<ChunkKey> = scan.view.lists.lost.iter().map(ChunkKey::from).collect();
    let mut missing = marks.unknown.iter().filter(|key| !lost.contains(*key)).count();
    let (mut account, mut several) = (Account::default(), Vec::new());
    let mut chunks = index.chunks()?;
    loop {
        let mut batch: Vec<(ChunkKey, Vec<Copied>)> = Vec::new();
        while batch.len() < CHUNKS_AT_ONCE
            && let Some((key, places)) = chunks.next()?
        {
            batch.push((key, copies(&rows, places)));
        }
        if batch.is_empty() {
            break;
        }
        let keys: Vec<_> = batch.iter().map(|(key, _)| *key).collect();
        for ((key, copies), ordinal) in batch.into_iter().zip(index.ordinals_sorted(&keys)?) {
            for copy in &copies {
                account.packs.entry(copy.pack).or_default().chunk_bytes += copy.bytes;
            }
            match (&copies[..], ordinal.is_some_and(|ordinal| marks.has(ordinal))) {
                (_, false) => {}
                ([], true) => missing += usize::from(!lost.contains(&key)),
                ([copy], true) => add(&mut account, copy),
                (_, true) => several.push((key, copies)),
            }
        }
    }
    let choice = Choice { scan, is_owner: &|member| repository.is_owner(member) };
    for (key, copies) in several {
        let chosen = choice.among(&account, &copies);
        copies.iter().filter(|copy| chosen.contains(&copy.pack)).for_each(|copy| add(&mut account, copy));
        account.chosen.insert(key, chosen);
    }
    account.marks = marks;
    if missing == 0 { Ok(account) } else { Err(nowhere(missing)) }
}

fn add(account: &mut Account, copy: &Copied) {
    account.packs.entry(copy.pack).or_default().used_bytes += copy.bytes;
}

fn rows_of(scan: &Scan) -> Result<Rows> {
    let count = scan.view.index.pack_rows() as usize;
    let mut rows = Rows { there: vec![None; count], authors: vec![MemberId([0; 16]); count] };
    let mut packs = scan.view.index.packs();
    while let Some((row, known)) = packs.next()? {
        rows.authors[row as usize] = known.row.id.member;
        if known.state != PackState::Dead && scan.has(&known.row.id, known.row.size) {
            rows.there[row as usize] = Some((known.row.id, known.state));
        }
    }
    Ok(rows)
}

/// The copies of a chunk that are there. A pack may have several: of one chunk by several members, once
/// they were repacked together.
fn copies(rows: &Rows, places: &[Place]) -> Vec<Copied> {
    let there = |place: &Place| {
        let (pack, state) = (*rows.there.get(place.pack as usize)?)?;
        let author = *rows.authors.get(place.origin as usize)?;
        Some((place.offset, Copied { bytes: place.length.bytes().into(), pack, state, author }))
    };
    let mut copies: Vec<_> = places.iter().filter_map(there).collect();
    copies.sort_by_key(|(offset, copy)| (copy.pack, *offset));
    // Two that say they lie at one place of a pack are copied once.
    copies.dedup_by_key(|(offset, copy)| (copy.pack, *offset));
    copies.into_iter().map(|(_, copy)| copy).collect()
}

/// Chooses among several copies.
struct Choice<'a> {
    scan: &'a Scan,
    is_owner: &'a dyn Fn(MemberId) -> bool,
}

impl Choice<'_> {
    /// The packs of one copy; of one of each member that sealed any if none of them is an owner:
    /// nobody's copy is dropped in favour of what somebody else says is the same. One in a pack that
    /// is damaged drops no other, and is dropped only in favour of one by the same member or an owner.
    fn among(&self, account: &Account, copies: &[Copied]) -> Vec<PackId> {
        let damaged = |copy: &&Copied| self.scan.view.lists.quarantined.contains(&copy.pack);
        let (doubtful, sound): (Vec<_>, Vec<_>) = copies.iter().partition(damaged);
        let mut chosen = self.one_of_each(account, if sound.is_empty() { &doubtful } else { &sound });
        if !sound.is_empty() && !chosen.iter().any(|copy| (self.is_owner)(copy.author)) {
            let authors: BTreeSet<MemberId> = chosen.iter().map(|copy| copy.author).collect();
            let others: Vec<_> =
                doubtful.into_iter().filter(|copy| !authors.contains(&copy.author)).collect();
            chosen.extend(self.one_of_each(account, &others));
        }
        chosen.into_iter().map(|copy| copy.pack).collect()
    }

    fn one_of_each(&self, account: &Account, copies: &[&Copied]) -> Vec<Copied> {
        let owned: Vec<_> = copies.iter().copied().filter(|copy| (self.is_owner)(copy.author)).collect();
        if !owned.is_empty() {
            return self.best(account, &owned).into_iter().collect();
        }
        let authors: BTreeSet<MemberId> = copies.iter().map(|copy| copy.author).collect();
        let of = |author| copies.iter().copied().filter(|copy| copy.author == author).collect::<Vec<_>>();
        authors.into_iter().filter_map(|author| self.best(account, &of(author))).collect()
    }

    /// The copy in the pack that stays anyway: what is not condemned before what is, what is needed
    /// most before what is needed least.
    fn best(&self, account: &Account, copies: &[&Copied]) -> Option<Copied> {
        let worth = |copy: &&&Copied| {
            let protected = self.scan.protects(&copy.pack);
            (copy.state == PackState::Live, protected, account.of(&copy.pack).used_bytes, copy.pack)
        };
        copies.iter().max_by_key(worth).map(|copy| **copy)
    }
}

fn nowhere(missing: usize) -> Error {
    let what = format!(
        "{missing} chunks that snapshots need lie in no pack that is there; nothing was condemned. \
         Run `holdfast check` to see which files that costs, then `holdfast repair index`"
    );
    Error::new(ErrorKind::Damaged, what)
}
