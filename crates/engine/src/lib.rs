//! Moves data between a source, a repository and a target, and proves that it arrived.
//!
//! On purpose not here: any kind of source or target by name, the command line, policies, and
//! the wall clock, which comes in through the context.

// The harness of the integration tests serves the unit tests too, and knows the crate by name.
#[cfg(test)]
extern crate self as holdfast_engine;

mod adopt;
#[cfg(test)]
mod adversary_tests;
mod backup;
mod block_map;
mod cache;
mod check;
mod civil;
mod claims;
mod copy;
pub mod ctx;
mod cutoffs;
mod diff;
mod domain;
mod dump;
pub mod error;
pub mod event;
pub mod evidence;
#[cfg(test)]
mod evidence_tests;
mod find;
mod gaps;
mod index;
mod inherit;
mod key_slots;
mod lists;
pub mod maintain;
mod members;
pub mod outcome;
mod packer;
mod paths;
mod private_files;
pub mod proof;
#[cfg(test)]
mod protocol_tests;
mod reader;
mod remember;
#[cfg(test)]
mod removed_tests;
mod repository;
mod restore;
mod rights;
#[cfg(test)]
mod rollback_tests;
mod roots;
mod session;
mod shred;
mod signed;
mod snapshots;
pub mod source;
mod standing;
mod stats;
mod tag;
pub mod target;
mod tree;
mod trust;
#[cfg(test)]
mod trust_tests;
mod view;
pub mod wal;
pub mod workers;

pub use backup::{BackupOptions, BackupReport, backup};
#[doc(hidden)]
pub use cache::cached_record_comes_back;
pub use check::{CheckReport, Finding, ReadData, check};
pub use copy::{Copied, CopyOptions, CopyReport, Fate, copy};
pub use diff::{
    Change, DiffCounts, DiffOptions, DiffReport, DiffStored, LeftOut, Live, LiveOptions, Modified,
    TakeChange, diff, diff_live,
};
pub use domain::{Granted, domains, grant, is_domain, is_erased};
pub use dump::{ArchiveFormat, DumpOptions, DumpReport, Lacking, Outlet, dump};
pub use find::{FindReport, Matches, TakeFound, find};
#[doc(hidden)]
pub use index::{SyntheticIndex, index_copy_is_read};
pub use inherit::{Inherited, PastAccess, inherited};
pub use key_slots::{
    ChangedKey, KeyInfo, NewKey, RemovedKey, SealedSlot, add_key, change_key, keys, last_slot_of, remove_key,
    slots_sealed_by,
};
pub use members::{MemberInfo, RemovedMember, RotatedKeys, admit, members, remove_member, rotate};
pub use paths::Scope;
pub use remember::RollBack;
pub use repository::{Identifying, InitOptions, Repository, Secret};
pub use restore::{
    Carry, OpenRestored, RestoreOptions, RestoreReport, Selection, Selector, VersionChoice, archived_packs,
    restore, verify,
};
pub use rights::Right;
pub use shred::{ShredReport, shred};
pub use snapshots::{
    AHEAD_SECONDS_MAX, Resolved, Snapshot, SnapshotFilter, details, list, resolve, snapshots,
};
pub use stats::{SnapshotStats, StatsMode, StatsReport, StoredStats, stats};
pub use tag::{TagChange, Tagged, tag};

/// The mistake that this build makes on purpose, so that the simulator can be seen to find it;
/// `None` in everything that people run.
pub const MUTANT: Option<&str> = if cfg!(feature = "mutant-no-recheck") {
    Some("a writer commits without looking at the newest root again")
} else if cfg!(feature = "mutant-condemn-is-dead") {
    Some("packs are condemned and given up in one step")
} else if cfg!(feature = "mutant-merge-drops") {
    Some("a merge of the index drops a row, and its proof looks away")
} else if cfg!(feature = "mutant-dead-list-early") {
    Some("the name of a dead pack leaves the list before the fence and the index have let go of it")
} else {
    None
};
