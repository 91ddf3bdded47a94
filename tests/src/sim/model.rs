//! The source, the target and the trees of the engine's own tests, taken as they are.
//!
//! On purpose not here: anything of the simulator.

#![allow(dead_code, reason = "the simulator takes a part of it")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../../../crates/engine/tests/harness/source.rs"]
mod source;
#[path = "../../../crates/engine/tests/harness/target.rs"]
mod target;
#[path = "../../../crates/engine/tests/harness/tree.rs"]
mod tree;

pub(super) use source::ModelSource;
pub(super) use target::{ModelTarget, Restored};
pub(super) use tree::{Node, Rng, Tree, compressible, noise};

/// What the clock says at first.
pub(super) const START_SECONDS: i64 = 1_800_000_000;

/// What the simulator asks of chance.
impl Rng {
    /// True once in so many times; never for 0.
    pub(super) fn one_in(&mut self, times: u64) -> bool {
        times > 0 && self.below(times) == 0
    }

    /// One of several.
    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// A number from `low` to `high`, small ones as often as large ones.
    pub(super) fn spread(&mut self, low: u64, high: u64) -> u64 {
        let doublings = u64::from((high / low.max(1)).max(1).ilog2());
        let top = low.max(1) << self.below(doublings + 1);
        low + self.below(top)
    }
}
