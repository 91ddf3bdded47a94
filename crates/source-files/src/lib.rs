//! Captures and restores file trees: everything that `cp -a` keeps, and what people need told.
//!
//! [`FileSource`] walks directories by their handles, never by long paths, and gives entries in
//! key order. [`FileTarget`] makes them again and trusts nothing in them. On purpose not here:
//! repositories, policies, progress, and what is to be done about a problem.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on should panic"))]

mod directory;
mod excludes;
pub mod owners;
mod read;
mod record;
mod source;
mod stat;
mod target;
mod verify;
mod walk;

pub use excludes::{Excludes, parse_exclude_file};
pub use record::LeftOut;
pub use source::{FileSource, FileSourceOptions, Whereabouts};
pub use target::restored_file;
pub use target::{FileTarget, FileTargetOptions, Overwrite};
pub use verify::open_beneath;

#[cfg(test)]
mod tests;
