//! Maintenance: forgets snapshots, holds them, and frees what nothing needs any more, beside any
//! number of running backups (protocol steps G1 to G6 of FORMAT.md).
//!
//! On purpose not here: locks, and clocks that anything safe hangs on.

mod absorb;
mod account;
mod foresee;
mod forget;
mod hold;
mod keep;
mod mark;
mod plan;
mod prune;
mod publish;
mod repack;
mod retention;
mod scan;
mod segments;
mod settle;
mod sweep;
mod whole;

pub(crate) use absorb::absorb_many;

pub use forget::{ForgetOptions, ForgetReport, ForgetWhat, forget, forgotten, unforget};
pub use hold::{Hold, HoldScope, hold, holds, release};
pub use keep::{
    Flaw, GroupBy, GroupKey, KeepCount, KeepLimit, KeepPolicy, KeepRule, KeepSpan, Period, Reason,
};
pub use prune::{MaxUnused, PruneOptions, PruneReport, prune};
pub use retention::{Candidate, LocalOffset, Retention, Verdict, decide, guarded_among};
pub use whole::SIZE_ACCEPTED_TAG;
