//! Maintenance: forgets snapshots, holds them, and frees what nothing needs any more, beside any
//! number of running backups (protocol steps G1 to G6 of FORMAT.md).
//!
//! On purpose not here: locks, and clocks that anything safe hangs on.

mod absorb;
mod account;
mod base;
mod clock;
mod deadline;
mod erased;
mod follow;
mod foresee;
mod forget;
mod heal;
mod hidden;
mod hold;
mod keep;
mod listed;
mod log_age;
mod logs;
mod mark;
mod plan;
mod prune;
mod publish;
mod recover;
mod repack;
mod repair;
mod repair_log;
mod repair_snapshots;
mod retention;
mod scan;
mod segments;
mod settle;
mod shut_out;
mod stock;
mod sweep;
mod whole;

pub(crate) use absorb::absorb_many;
pub(crate) use erased::note_shredded;
pub(crate) use shut_out::shut_out_removed;

pub use base::LostRoot;
pub use deadline::{DEADLINE_WARNING_DAYS, Expiring, expiring};
pub use follow::LostFile;
pub use forget::{ForgetOptions, ForgetReport, ForgetWhat, forget, forgotten, unforget};
pub use hold::{Hold, HoldScope, hold, holds, release};
pub use keep::{
    Flaw, GroupBy, GroupKey, KeepCount, KeepLimit, KeepPolicy, KeepRule, KeepSpan, Period, Reason,
};
pub use listed::{Listed, kept_of_listed};
pub use log_age::{LogDeadline, LogExpiring};
pub use logs::{LogNeed, LogOptions, LogReport, LogUsers, prune_logs};
pub use prune::{MaxUnused, PruneOptions, PruneReport, prune};
pub use recover::{FoundTree, RECOVERED, RecoverOptions, RecoverReport, recover};
pub use repair::{LostObject, RepairIndexOptions, RepairIndexReport, repair_index};
pub use repair_log::{RepairLogOptions, RepairLogReport, repair_log};
pub use repair_snapshots::{
    DamagedSnapshot, REPAIRED_TAG, RepairSnapshotsOptions, RepairSnapshotsReport, repair_snapshots,
};
pub use retention::{Candidate, LocalOffset, Retention, Verdict, decide, guarded_among};
pub use stock::BadPack;
pub use whole::SIZE_ACCEPTED_TAG;

/// How many pins a scan keeps in memory.
#[cfg(test)]
pub(crate) async fn pins_kept(
    ctx: &crate::ctx::Ctx,
    repository: &crate::Repository,
) -> crate::error::Result<usize> {
    Ok(scan::scan(ctx, repository).await?.pinned_packs.len())
}
