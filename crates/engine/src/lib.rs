//! Moves data between a source, a repository and a target, and proves that it arrived.
//!
//! On purpose not here: any kind of source or target by name, the command line, policies, and
//! the wall clock, which comes in through the context.

pub mod api_stub;
pub mod ctx;
pub mod error;
pub mod event;
pub mod outcome;
pub mod source;
pub mod target;
pub mod workers;
