//! Records of a log: where each is, and when transactions ended. Pure functions over bytes that
//! never trust them.
//!
//! On purpose not here: where the bytes come from, and what a restore makes of them.

mod crc;
mod event;
mod reader;

pub use event::{Event, EventKind, PgTime};
pub use reader::{End, LogReader, Verdict};

#[cfg(test)]
pub(crate) mod forge;
