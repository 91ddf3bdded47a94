//! The catalog, with the cases that its unit tests have too.
//!
//! On purpose not here: anything of its own.

pub(crate) use holdfast_scheduler::catalog::*;

#[path = "../../../crates/scheduler/src/catalog/common_tests.rs"]
pub(crate) mod common_tests;
