//! Restoring to a point in time, before anything is written: which snapshot, along which timelines,
//! with which segments, and where the recovery will stop.
//!
//! On purpose not here: writing anything, and the words in which a plan is told.

mod commits;
mod plan;
mod search;
mod shelf;
mod tree;
mod wish;

pub use commits::{Edge, commits};
pub use plan::{Base, Goal, Plan, plan};
pub use search::Seen;
pub use shelf::{Archived, Shelf};
pub use tree::{Leg, Line, Tree};
pub use wish::{Choice, PlanError, Rival, Target, Wish};
