//! Which packs go, and which are written anew without what nobody needs.
//!
//! On purpose not here: doing it.

use super::account::{Account, PackUse};
use super::prune::{MaxUnused, PruneOptions};
use holdfast_core::name::{PackClass, PackId};
use std::collections::{BTreeMap, BTreeSet};

/// Packs below this length are small, in bytes: an eighth of what they are closed at.
const SMALL_DATA_BYTES: u64 = 4 << 20;
/// The same for packs of trees.
const SMALL_TREE_BYTES: u64 = 1 << 20;
/// So many small packs of about one length are joined.
const SMALL_PACKS_MIN: usize = 8;

/// A pack that lies in the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub id: PackId,
    pub size: u64,
    pub usage: PackUse,
    /// Whether an undecided session protects it, or it cannot be read whole.
    pub stays: bool,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Packs that nothing needs.
    pub unneeded: BTreeSet<PackId>,
    /// Packs whose needed part is written anew.
    pub repack: BTreeSet<PackId>,
    /// Bytes that nobody needs, in packs that stay.
    pub unused_bytes_left: u64,
}

/// Plans. Whatever is not planned stays as it is.
pub(super) fn plan(candidates: &[Candidate], account: &Account, options: &PruneOptions) -> Plan {
    let mut plan = Plan::default();
    let mut partly = Vec::new();
    for candidate in candidates.iter().filter(|candidate| !candidate.stays) {
        if candidate.usage.used_bytes == 0 {
            plan.unneeded.insert(candidate.id);
        } else {
            partly.push(*candidate);
        }
    }
    let unused =
        |candidate: &Candidate| candidate.usage.chunk_bytes.saturating_sub(candidate.usage.used_bytes);
    plan.unused_bytes_left = partly.iter().map(unused).sum();
    let Some(allowed) = allowed(options.max_unused, account.used_bytes()) else { return plan };
    let mut room = options.max_repack_bytes.unwrap_or(u64::MAX);
    // The emptiest first: they cost least for what they free.
    partly.sort_by_key(|candidate| {
        let share = u128::from(unused(candidate)) * 1_000_000 / u128::from(candidate.size.max(1));
        (std::cmp::Reverse(share), candidate.id)
    });
    for candidate in &partly {
        if plan.unused_bytes_left <= allowed || unused(candidate) == 0 {
            break;
        }
        if candidate.size <= room {
            room -= candidate.size;
            plan.unused_bytes_left -= unused(candidate);
            plan.repack.insert(candidate.id);
        }
    }
    for group in small_packs(&partly, &plan.repack).into_values() {
        let bytes: u64 = group.iter().map(|candidate| candidate.size).sum();
        if group.len() >= SMALL_PACKS_MIN && bytes <= room {
            room -= bytes;
            plan.unused_bytes_left -= group.iter().map(unused).sum::<u64>();
            plan.repack.extend(group.iter().map(|candidate| candidate.id));
        }
    }
    plan
}

/// How many unused bytes may stay; `None` if all may.
fn allowed(max: MaxUnused, used: u64) -> Option<u64> {
    match max {
        MaxUnused::Unlimited => None,
        MaxUnused::Bytes(bytes) => Some(bytes),
        // Of all bytes that there will be: used / (1 - share) - used.
        MaxUnused::Percent(percent) if percent >= 100.0 => None,
        MaxUnused::Percent(percent) => {
            let share = percent.max(0.0) / 100.0;
            Some((used as f64 * share / (1.0 - share)) as u64)
        }
    }
}

/// Small packs in groups of one class and about one length, so that joining them again and again
/// writes each byte a few times only.
fn small_packs(partly: &[Candidate], taken: &BTreeSet<PackId>) -> BTreeMap<(PackClass, u32), Vec<Candidate>> {
    let mut groups: BTreeMap<_, Vec<Candidate>> = BTreeMap::new();
    for candidate in partly.iter().filter(|candidate| !taken.contains(&candidate.id)) {
        let small = match candidate.id.class {
            PackClass::Data => SMALL_DATA_BYTES,
            PackClass::Tree => SMALL_TREE_BYTES,
        };
        if candidate.size < small {
            // Lengths from 8^n to 8^(n+1).
            let tier = (64 - candidate.size.leading_zeros()) / 3;
            groups.entry((candidate.id.class, tier)).or_default().push(*candidate);
        }
    }
    groups
}
