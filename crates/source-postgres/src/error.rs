//! What can go wrong with a server, in words that a person can act on. Never with a password.
//!
//! On purpose not here: exit codes.

use holdfast_engine::source::SourceError;
use std::fmt;
use std::io;

/// What a server says of something that it did not do, or not well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    /// ERROR, FATAL, PANIC, WARNING; in English whatever the server speaks.
    pub severity: String,
    /// The five letters that say what it is.
    pub code: String,
    /// What happened.
    pub message: String,
    /// More of it; may be empty.
    pub detail: String,
    /// What can be done; may be empty.
    pub hint: String,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        for more in [&self.detail, &self.hint].into_iter().filter(|more| !more.is_empty()) {
            write!(f, "; {more}")?;
        }
        write!(f, " (SQLSTATE {})", self.code)
    }
}

impl std::error::Error for ServerError {}

/// Why a server could not be talked to, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PgError {
    /// The connection failed.
    #[error("{what}")]
    Io {
        /// What was tried, with whom.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server refused.
    #[error("{what}: {error}")]
    Server {
        /// What was asked of it.
        what: String,
        /// What it answered.
        error: Box<ServerError>,
    },
    /// The server sent what no server sends.
    #[error("the server does not keep to the protocol: {0}")]
    Protocol(String),
    /// We do not go on, for a reason of our own.
    #[error("{0}")]
    Refused(String),
}

impl PgError {
    /// What the server answered, if it did.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Server { error, .. } => Some(&error.code),
            _ => None,
        }
    }

    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol(what.into())
    }

    /// What can be done about it, as far as that is known.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        // Such is what is said of a certificate.
        if matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::InvalidData) {
            return Some(
                "state whom to believe about the server with sslrootcert=FILE or sslrootcert=system, and its name as \
                 its certificate has it",
            );
        }
        match self.code()? {
            "28P01" => {
                Some("check the password: PGPASSWORD, or the line for this host in PGPASSFILE or ~/.pgpass")
            }
            "28000" => Some(
                "the server lets this user not in for replication: see what `holdfast preflight URL` says of \
                 pg_hba.conf and the role",
            ),
            "42501" => Some("the role lacks a right: `holdfast preflight URL` prints what to grant"),
            "53300" => {
                Some("all places for senders are taken: raise max_wal_senders, or end what holds them")
            }
            _ => None,
        }
    }
}

impl From<PgError> for SourceError {
    fn from(error: PgError) -> Self {
        match error {
            PgError::Io { what, source } => Self { what, source: Some(source) },
            other => Self { what: other.to_string(), source: None },
        }
    }
}
