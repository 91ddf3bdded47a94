//! Decides what is due, runs it, drills it, remembers it, and says when a promise is broken.
//!
//! It acts through [`hands::Hands`]: verbs of the program, each in a process of its own, and what
//! they say with `--json`. On purpose not here: any crate of a source or a store, the clock, the
//! environment, printing.

pub mod alert;
pub mod catalog;
pub mod drill;
pub mod evidence;
mod former;
pub mod hands;
mod lacking;
pub mod outlook;
pub mod policy;
pub mod run;
pub mod schedule;
pub mod serve;
pub mod status;
pub mod trace;
