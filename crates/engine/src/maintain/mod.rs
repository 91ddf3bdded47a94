//! Maintenance: forgets snapshots, holds them, and frees what nothing needs any more, beside any
//! number of running backups (protocol steps G1 to G6 of FORMAT.md).
//!
//! On purpose not here: locks, and clocks that anything safe hangs on.

mod forget;
mod hold;
mod prune;

pub use forget::{ForgetOptions, ForgetReport, ForgetWhat, forget, forgotten, unforget};
pub use hold::{Hold, HoldScope, hold, holds, release};
pub use prune::{MaxUnused, PruneOptions, PruneReport, prune};

pub(crate) async fn absorb_many(_ctx: &crate::ctx::Ctx, _repository: &crate::Repository, _deltas: u64) {}
