//! What files of a log say of themselves, and what a cluster's folder says of its log.
//!
//! On purpose not here: where a log is kept, and the records in it.

mod control;
mod header;
mod history;

pub use control::system_of;
pub use header::{BadSegment, PageHeader};
pub use history::{History, Switch};
