//! Why the catalog is of no use, and what to do about it.
//!
//! On purpose not here: whether that stops anything. It does not stop a backup.

use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the catalog is of no use.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// The file is no database, or a broken one.
    #[error(
        "the catalog {} is damaged ({why}): move it away; a new one is made, and no backup depends on it",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the database says.
        why: String,
    },
    /// The file is a database of something else.
    #[error("{} is a database of another program: give HOLDFAST_CATALOG another place", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// A later version of the program made it.
    #[error(
        "the catalog {} is of version {version}, and this program knows versions up to {known}: use a newer \
         version of holdfast, or give HOLDFAST_CATALOG another place",
        path.display()
    )]
    Later {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
        /// The latest that is known.
        known: i64,
    },
    /// There is no room for it.
    #[error("there is no room for the catalog {}: make room where it lies", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Another process kept it for too long.
    #[error("another process keeps the catalog {}: see who has it open", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be opened or written.
    #[error("the catalog {} cannot be used ({why}): check its place and its permissions", path.display())]
    OutOfReach {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It would lie in a database that is not supported.
    #[error(
        "a catalog in `{scheme}://` is not supported by this version: give HOLDFAST_CATALOG a path, or \
         sqlite:// and a path"
    )]
    NotSupported {
        /// What stands before `://`.
        scheme: String,
    },
    /// What was to be remembered as a drill is no record of one.
    #[error("this is no record of a drill: {why}")]
    NoRecord {
        /// Why.
        why: String,
    },
}

impl CatalogError {
    /// What follows from an error of the database.
    pub(super) fn of(path: &Path, error: sqlx::Error) -> Self {
        let path = path.to_owned();
        let why = error.to_string();
        let code = error.as_database_error().and_then(|error| error.code());
        // The lower byte is the kind, the rest says more.
        let kind = code.and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff);
        match (kind, error) {
            (Some(5 | 6), _) | (_, sqlx::Error::PoolTimedOut) => Self::Busy { path },
            (Some(11 | 26), _) | (_, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => {
                Self::Damaged { path, why }
            }
            (Some(13), _) => Self::Full { path },
            _ => Self::OutOfReach { path, why },
        }
    }

    /// Whether another try might do.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }
}
