//! Why a run failed, sorted by what the operator does next.
//!
//! On purpose not here: hints and exit codes; the command line adds them.

use crate::source::SourceError;
use crate::target::TargetError;
use holdfast_core::FormatError;
use holdfast_store::StoreError;

/// What the operator does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no repository at that place.
    NoRepository,
    /// There is one already.
    RepositoryExists,
    /// The password or key file opens no slot.
    WrongKey,
    /// The repository needs a newer version of the program.
    Newer,
    /// The key does not allow it.
    NotAllowed,
    /// What was asked for does not exist: a snapshot, a path in it.
    NotFound,
    /// What was asked for could mean several things.
    Ambiguous,
    /// The repository's place is full.
    Full,
    /// Bytes in the repository are damaged or missing.
    Damaged,
    /// Someone maintained the repository meanwhile, or a local copy was damaged and is gone; the
    /// same command will do.
    Conflict,
    /// The run was asked to stop.
    Interrupted,
    /// The source failed as a whole.
    Source,
    /// The target failed as a whole.
    Target,
    /// The store failed otherwise.
    Store,
    /// A value that was asked for cannot be.
    Usage,
    /// A hold stands against it.
    Held,
    /// This host's clock is too far from the repository's last date to delete anything for its age.
    Clock,
    /// The repository is in an older state than this host has seen, or has another history.
    RolledBack,
}

/// A run failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    /// What the operator does next.
    pub kind: ErrorKind,
    /// What failed, on what.
    pub what: String,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Makes an error without a cause below it.
    #[must_use]
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), source: None }
    }

    /// Makes an error about an object that does not follow the format.
    #[must_use]
    pub fn format(object: &str, source: FormatError) -> Self {
        let kind = match source {
            FormatError::Newer(_) => ErrorKind::Newer,
            FormatError::WrongKey => ErrorKind::WrongKey,
            FormatError::NotAllowed(_) | FormatError::KeyEpoch(_) => ErrorKind::NotAllowed,
            _ => ErrorKind::Damaged,
        };
        Self { kind, what: format!("cannot use {object}"), source: Some(Box::new(source)) }
    }

    /// Whether it is that an object lies in an archive.
    pub(crate) fn is_archived(&self) -> bool {
        let cause = self.source.as_deref().and_then(|cause| cause.downcast_ref::<StoreError>());
        cause.is_some_and(|error| error.kind == holdfast_store::ErrorKind::Archived)
    }

    /// The error of a run that was asked to stop.
    #[must_use]
    pub fn interrupted() -> Self {
        Self::new(ErrorKind::Interrupted, "interrupted")
    }
}

impl From<StoreError> for Error {
    fn from(source: StoreError) -> Self {
        use holdfast_store::ErrorKind as Store;
        let kind = match source.kind {
            Store::Full => ErrorKind::Full,
            Store::NotFound => ErrorKind::Damaged,
            Store::Denied | Store::Unusable | Store::Archived | Store::Retry | Store::Io => ErrorKind::Store,
        };
        Self { kind, what: "the repository could not be used".into(), source: Some(Box::new(source)) }
    }
}

impl From<SourceError> for Error {
    fn from(source: SourceError) -> Self {
        Self { kind: ErrorKind::Source, what: "the source failed".into(), source: Some(Box::new(source)) }
    }
}

impl From<TargetError> for Error {
    fn from(source: TargetError) -> Self {
        Self { kind: ErrorKind::Target, what: "the target failed".into(), source: Some(Box::new(source)) }
    }
}

/// What most functions of the engine return.
pub type Result<T> = std::result::Result<T, Error>;
