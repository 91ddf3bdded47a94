//! What can go wrong in a store, sorted by what the caller does about it.
//!
//! On purpose not here: advice to the operator; the command line adds it.

/// What the caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such object.
    NotFound,
    /// The credentials or permissions do not suffice.
    Denied,
    /// The store has no room left (disk or quota).
    Full,
    /// The store is a kind that cannot keep the contract, or its place is unusable.
    Unusable,
    /// It lies in an archive, and can be read only hours after somebody asked for it.
    Archived,
    /// The same call may succeed later.
    Retry,
    /// Anything else that the medium reports.
    Io,
}

/// An operation on a store failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {subject}")]
pub struct StoreError {
    /// What the caller can do about it.
    pub kind: ErrorKind,
    /// What was tried, as a verb: "read", "write", "list".
    pub operation: &'static str,
    /// The object or place it was tried on, as a person would find it.
    pub subject: String,
    /// What the medium said.
    #[source]
    pub source: std::io::Error,
}
