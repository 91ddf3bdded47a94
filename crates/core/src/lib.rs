//! Every byte that outlives the process, as pure functions.
//!
//! On purpose not here: input and output, async, clocks, and randomness that was not handed in.

pub mod entry;
pub mod id;
