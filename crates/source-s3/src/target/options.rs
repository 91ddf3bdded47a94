//! How to restore into a bucket.
//!
//! On purpose not here: which bucket.

use holdfast_core::entry::Time;
use holdfast_engine::Selector;
use std::fmt;
use std::path::PathBuf;

/// What is done with an object that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// It becomes what was recorded; what has the recorded size and entity tag holds it already, and
    /// anything else of that size is read and compared.
    Always,
    /// The same: an object has no time that a restore could set and trust.
    IfChanged,
    /// It becomes what was recorded if that is newer.
    IfNewer,
    /// It stays as it is.
    Never,
}

/// How to restore.
#[derive(Clone)]
pub struct BucketTargetOptions {
    /// What is done with what is there; none if nothing may be there.
    pub overwrite: Option<Overwrite>,
    /// Deletes what the snapshot does not have, where this says so of a path relative to the target
    /// (with a leading slash).
    pub delete: Option<Selector>,
    /// Objects larger than so many bytes are not deleted: the backup left them out.
    pub keep_larger_than: Option<u64>,
    /// Entries are versions of objects, oldest first, with at most one of an object in a batch; the
    /// place is empty and keeps versions.
    pub replay: bool,
    /// Set access rights that were recorded.
    pub with_acl: bool,
    /// Change nothing, only count.
    pub rehearse: bool,
    /// Look at nothing but what would be deleted; nothing is changed either.
    pub survey: bool,
    /// Keys are those of objects, and not the components of a path.
    pub opaque: bool,
    /// When the snapshot was made: objects that are newer are counted.
    pub made: Time,
    /// A folder in which parts of large objects are gathered until they are sent.
    pub spool: PathBuf,
}

impl fmt::Debug for BucketTargetOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketTargetOptions")
            .field("overwrite", &self.overwrite)
            .field("deletes", &self.delete.is_some())
            .field("rehearse", &self.rehearse)
            .field("survey", &self.survey)
            .finish_non_exhaustive()
    }
}
