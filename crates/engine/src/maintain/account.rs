//! Which copy of each needed chunk stays, and how much of each pack that needs.
//!
//! On purpose not here: which packs go.

use super::mark::Marks;
use super::scan::Scan;
use crate::error::{Error, ErrorKind, Result};
use crate::index::{Index, PackState, Place};
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
    /// Who sealed it: a repack moves it into another's pack, and vouches for nothing.
    author: MemberId,
    state: PackState,
}

/// Chunks whose numbers are looked up at once.
const CHUNKS_AT_ONCE: usize = 1 << 16;

/// Chooses copies of all that is marked.
///
/// # Errors
/// A needed chunk lies nowhere, and nobody has stated it as lost: a listing may have been cut off,
/// so nothing is told from it.
pub(super) fn choose(scan: &Scan, marks: Marks) -> Result<Account> {
    let index = &scan.view.index;
    let (rows, authors) = rows_that_are_there(scan)?;
    let lost: HashSet<ChunkKey> = scan.view.lists.lost.iter().map(ChunkKey::from).collect();
    let mut missing = marks.unknown.iter().filter(|key| !lost.contains(*key)).count();
    let (mut account, mut several) = (Account::default(), Vec::new());
    let mut chunks = index.chunks()?;
    loop {
        let mut batch: Vec<(ChunkKey, Vec<Copied>)> = Vec::new();
        while batch.len() < CHUNKS_AT_ONCE
            && let Some((key, places)) = chunks.next()?
        {
            batch.push((key, copies(&rows, &authors, places)));
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
    for (key, copies) in several {
        let chosen = choose_among(scan, &account, &copies);
        copies.iter().filter(|copy| chosen.contains(&copy.pack)).for_each(|copy| add(&mut account, copy));
        account.chosen.insert(key, chosen);
    }
    account.marks = marks;
    if missing == 0 { Ok(account) } else { Err(nowhere(missing)) }
}

fn add(account: &mut Account, copy: &Copied) {
    account.packs.entry(copy.pack).or_default().used_bytes += copy.bytes;
}

/// Packs by their rows in the index, those that are there and not given up; and who wrote each, gone
/// ones included.
type Rows = (Vec<Option<(PackId, PackState)>>, Vec<MemberId>);

fn rows_that_are_there(scan: &Scan) -> Result<Rows> {
    let mut rows = vec![None; scan.view.index.pack_rows() as usize];
    let mut authors = vec![MemberId([0; 16]); rows.len()];
    let mut packs = scan.view.index.packs();
    while let Some((row, known)) = packs.next()? {
        authors[row as usize] = known.row.id.member;
        if known.state != PackState::Dead && scan.has(&known.row.id, known.row.size) {
            rows[row as usize] = Some((known.row.id, known.state));
        }
    }
    Ok((rows, authors))
}

/// The copies of a chunk in such packs; one for each pack, however often it lies there.
fn copies(rows: &[Option<(PackId, PackState)>], authors: &[MemberId], places: &[Place]) -> Vec<Copied> {
    let there = |place: &Place| {
        let (pack, state) = (*rows.get(place.pack as usize)?)?;
        let author = authors.get(place.origin as usize).copied().unwrap_or(pack.member);
        Some(Copied { bytes: place.length.bytes().into(), pack, author, state })
    };
    let mut copies: Vec<_> = places.iter().filter_map(there).collect();
    copies.sort_by_key(|copy| (copy.pack, copy.author));
    copies.dedup_by_key(|copy| (copy.pack, copy.author));
    copies
}

/// One copy; one of each member that wrote any if none of them is an owner's: nobody's copy is
/// dropped in favour of what somebody else says is the same. One in a pack that is damaged drops no
/// other, and is dropped only in favour of one by the same member or an owner.
fn choose_among(scan: &Scan, account: &Account, copies: &[Copied]) -> Vec<PackId> {
    let damaged = |copy: &&Copied| scan.view.lists.quarantined.contains(&copy.pack);
    let (doubtful, sound): (Vec<_>, Vec<_>) = copies.iter().partition(damaged);
    if sound.is_empty() {
        return one_of_each(scan, account, &doubtful);
    }
    let mut chosen = one_of_each(scan, account, &sound);
    let members: BTreeSet<MemberId> = sound.iter().map(|copy| copy.author).collect();
    if members.is_disjoint(&scan.view.owners.iter().copied().collect()) {
        let others: Vec<_> = doubtful.into_iter().filter(|copy| !members.contains(&copy.author)).collect();
        chosen.extend(one_of_each(scan, account, &others));
    }
    chosen
}

fn one_of_each(scan: &Scan, account: &Account, copies: &[&Copied]) -> Vec<PackId> {
    let owned: Vec<_> =
        copies.iter().copied().filter(|copy| scan.view.owners.contains(&copy.author)).collect();
    if !owned.is_empty() {
        return best(scan, account, &owned).into_iter().collect();
    }
    let members: BTreeSet<MemberId> = copies.iter().map(|copy| copy.author).collect();
    let of = |member| copies.iter().copied().filter(|copy| copy.author == member).collect::<Vec<_>>();
    members.into_iter().filter_map(|member| best(scan, account, &of(member))).collect()
}

/// The copy in the pack that stays anyway: what is not condemned before what is, what is needed
/// most before what is needed least.
fn best(scan: &Scan, account: &Account, copies: &[&Copied]) -> Option<PackId> {
    let worth = |copy: &&&Copied| {
        let protected = scan.protects(&copy.pack);
        (copy.state == PackState::Live, protected, account.of(&copy.pack).used_bytes, copy.pack)
    };
    copies.iter().max_by_key(worth).map(|copy| copy.pack)
}

fn nowhere(missing: usize) -> Error {
    let what = format!(
        "{missing} chunks that snapshots need lie in no pack that is there; nothing was condemned. \
         Run `holdfast check` to see which files that costs, then `holdfast repair index`"
    );
    Error::new(ErrorKind::Damaged, what)
}
