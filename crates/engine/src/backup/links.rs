//! Which names are one file.
//!
//! On purpose not here: what becomes of them ([`super::driver`]).

use super::emit::Draft;
use crate::cache::Stamp;
use crate::source::Stat;
use holdfast_core::entry::Kind;

/// What says that two names are one file: device, and what the listing told. An inode number
/// alone may be given to another file while the source is walked.
pub(super) type Inode = (u64, Stamp);

/// The inode of a file that has several names.
pub(super) fn linked(stat: &Stat) -> Option<Inode> {
    (stat.links > 1 && stat.kind != Kind::Directory).then(|| (stat.device_of, Stamp::from(stat)))
}

/// Hard links met so far.
pub(super) struct LinkGroup {
    pub left: u32,
    /// The first name's draft, once it is known; still `None` if it failed.
    pub first: Option<Draft>,
}
