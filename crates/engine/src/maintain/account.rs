//! Which copy of each needed chunk stays, and how much of each pack that needs.
//!
//! On purpose not here: which packs go.

use super::mark::Marks;
use super::scan::Scan;
use crate::error::{Error, ErrorKind, Result};
use crate::index::{PackState, Place};
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

    /// Whether something needs a chunk.
    pub(super) fn needs(&self, key: &ChunkKey) -> bool {
        self.marks.has(key)
    }

    /// Whether the copy of a needed chunk in a pack is a chosen one.
    pub(super) fn is_chosen(&self, key: &ChunkKey, pack: &PackId) -> bool {
        self.chosen.get(key).is_none_or(|packs| packs.contains(pack))
    }

    /// Bytes that are needed, in all packs.
    pub(super) fn used_bytes(&self) -> u64 {
        self.packs.values().map(|pack| pack.used_bytes).sum()
    }
}

/// A copy that is there.
struct Copy {
    place: Place,
    pack: PackId,
    state: PackState,
}

/// Chooses copies of all that is marked.
///
/// # Errors
/// A needed chunk lies nowhere, and nobody has stated it as lost: a listing may have been cut off,
/// so nothing is told from it.
pub(super) fn choose(scan: &Scan, marks: Marks) -> Result<Account> {
    let index = &scan.view.index;
    let (mut account, mut several, mut found) = (Account::default(), Vec::new(), HashSet::new());
    for key in index.keys() {
        let copies = copies(scan, key);
        for copy in &copies {
            account.packs.entry(copy.pack).or_default().chunk_bytes += u64::from(copy.place.length.bytes());
        }
        if !marks.has(key) {
            continue;
        }
        match &copies[..] {
            [] => continue,
            [copy] => add(&mut account, copy),
            _ => several.push(*key),
        }
        found.insert(*key);
    }
    several.sort_unstable();
    for key in several {
        let copies = copies(scan, &key);
        let chosen = choose_among(scan, &account, &copies);
        for copy in copies.iter().filter(|copy| chosen.contains(&copy.pack)) {
            add(&mut account, copy);
        }
        account.chosen.insert(key, chosen);
    }
    let lost: HashSet<ChunkKey> = scan.view.lists.lost.iter().map(ChunkKey::from).collect();
    let missing = marks.keys().filter(|key| !found.contains(*key) && !lost.contains(*key)).count();
    account.marks = marks;
    if missing == 0 { Ok(account) } else { Err(nowhere(missing)) }
}

fn add(account: &mut Account, copy: &Copy) {
    account.packs.entry(copy.pack).or_default().used_bytes += u64::from(copy.place.length.bytes());
}

/// The copies of a chunk in packs that are there and not given up.
fn copies(scan: &Scan, key: &ChunkKey) -> Vec<Copy> {
    let places = scan.view.index.places_of(*key).map(|place| {
        let known = scan.view.index.pack(place.pack);
        (place, known.row.id, known.row.size, known.state)
    });
    places
        .filter(|(_, pack, size, _)| scan.has(pack, *size))
        .map(|(place, pack, _, state)| Copy { place, pack, state })
        .collect()
}

/// One copy; one of each member that wrote any if none of them is an owner's: nobody's copy is
/// dropped in favour of what somebody else says is the same.
fn choose_among(scan: &Scan, account: &Account, copies: &[Copy]) -> Vec<PackId> {
    let owned: Vec<_> = copies.iter().filter(|copy| scan.view.owners.contains(&copy.pack.member)).collect();
    if !owned.is_empty() {
        return best(scan, account, &owned).into_iter().collect();
    }
    let members: BTreeSet<MemberId> = copies.iter().map(|copy| copy.pack.member).collect();
    let of = |member| copies.iter().filter(move |copy| copy.pack.member == member).collect::<Vec<_>>();
    members.into_iter().filter_map(|member| best(scan, account, &of(member))).collect()
}

/// The copy in the pack that stays anyway: what is not condemned before what is, what is needed
/// most before what is needed least.
fn best(scan: &Scan, account: &Account, copies: &[&Copy]) -> Option<PackId> {
    let worth = |copy: &&&Copy| {
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
