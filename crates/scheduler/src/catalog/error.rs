//! Why the catalog is of no use, and what to do about it. Never with a password.
//!
//! On purpose not here: whether that stops anything. It does not stop a backup.

use sqlx::postgres::PgDatabaseError;
use thiserror::Error;

/// Why the catalog is of no use. `place` is where it lies, as a person would write it.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// The file is no database, or a broken one; or tables of it are gone.
    #[error("the catalog {place} is damaged ({why}): {way}; a new one is made, and no backup depends on it")]
    Damaged {
        /// Where it lies.
        place: String,
        /// What the database says.
        why: String,
        /// How it is moved away.
        way: &'static str,
    },
    /// It is a database of something else.
    #[error("{place} is a database of another program: give HOLDFAST_CATALOG another place")]
    NotOurs {
        /// Where it lies.
        place: String,
    },
    /// A later version of the program made it.
    #[error(
        "the catalog {place} is of version {version}, and this program knows versions up to {known}: use a newer \
         version of holdfast, or give HOLDFAST_CATALOG another place"
    )]
    Later {
        /// Where it lies.
        place: String,
        /// Its version.
        version: i64,
        /// The latest that is known.
        known: i64,
    },
    /// There is no room for it.
    #[error("there is no room for the catalog {place}: make room where it lies")]
    Full {
        /// Where it lies.
        place: String,
    },
    /// Another process kept it for too long.
    #[error("another process keeps the catalog {place}: see who has it open")]
    Busy {
        /// Where it lies.
        place: String,
    },
    /// It cannot be opened or written.
    #[error("the catalog {place} cannot be used ({why}): check its place and its permissions")]
    OutOfReach {
        /// Where it lies.
        place: String,
        /// Why.
        why: String,
    },
    /// Its server does not answer.
    #[error(
        "the server of the catalog {place} cannot be reached ({why}): see that it runs and takes connections; \
         no backup depends on it"
    )]
    Away {
        /// Where it lies.
        place: String,
        /// Why.
        why: String,
    },
    /// Its server does not prove that it is the one that was meant.
    #[error(
        "the server of the catalog {place} does not prove who it is ({why}): write the name that its certificate is for \
         (sslmode=verify-ca asks for that too), and sslrootcert=FILE with the authority that vouches for it"
    )]
    Unproved {
        /// Where it lies.
        place: String,
        /// Why.
        why: String,
    },
    /// Its server does not let us in.
    #[error(
        "the server of the catalog {place} does not let us in ({why}): check user, database and sslmode in the URL, \
         and the password: PGPASSFILE, ~/.pgpass or PGPASSWORD"
    )]
    NotLetIn {
        /// Where it lies.
        place: String,
        /// Why.
        why: String,
    },
    /// The user may not do there what is needed.
    #[error(
        "the user of the catalog {place} lacks a right ({why}): have the database's owner say: CREATE SCHEMA \
         holdfast AUTHORIZATION that user"
    )]
    NoRight {
        /// Where it lies.
        place: String,
        /// Why.
        why: String,
    },
    /// It would lie in a database that is not supported.
    #[error(
        "a catalog in `{scheme}://` is not supported: give HOLDFAST_CATALOG a path, sqlite:// and a path, or \
         postgres://USER@HOST/DATABASE"
    )]
    NotSupported {
        /// What stands before `://`.
        scheme: String,
    },
    /// There is a password in its URL.
    #[error(
        "there is a password in the URL of the catalog, where everybody can see it: leave it out; set PGPASSFILE \
         or PGPASSWORD, or write it into ~/.pgpass"
    )]
    Password,
    /// Its URL cannot be understood.
    #[error("the URL of the catalog cannot be used: {why}")]
    Malformed {
        /// Why.
        why: String,
    },
    /// What was to be remembered as a drill is no record of one.
    #[error("this is no record of a drill: {why}")]
    NoRecord {
        /// Why.
        why: String,
    },
}

/// Which database it is, and what it is called.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) place: String,
    pub(super) is_server: bool,
}

impl Named {
    /// What follows from an error of the database.
    pub(super) fn error(&self, error: &sqlx::Error) -> CatalogError {
        let (place, why) = (self.place.clone(), words(error));
        match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => {
                self.damaged(why)
            }
            sqlx::Error::Database(told) if self.is_server => {
                let pg = told.try_downcast_ref::<PgDatabaseError>();
                self.of_server(pg.map_or("", PgDatabaseError::code), why)
            }
            sqlx::Error::Database(told) => {
                // The lower byte is the kind, the rest says more.
                let kind = told.code().and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff);
                match kind {
                    Some(5 | 6) => CatalogError::Busy { place },
                    Some(11 | 26) => self.damaged(why),
                    Some(13) => CatalogError::Full { place },
                    _ => CatalogError::OutOfReach { place, why },
                }
            }
            sqlx::Error::Tls(_) if self.is_server => CatalogError::NotLetIn { place, why },
            // What is wrong with a certificate comes as data that are none.
            sqlx::Error::Io(error) if self.is_server && error.kind() == std::io::ErrorKind::InvalidData => {
                CatalogError::Unproved { place, why }
            }
            _ if self.is_server => CatalogError::Away { place, why },
            sqlx::Error::PoolTimedOut => CatalogError::Busy { place },
            _ => CatalogError::OutOfReach { place, why },
        }
    }

    fn of_server(&self, code: &str, why: String) -> CatalogError {
        let place = self.place.clone();
        match code {
            "28000" | "28P01" | "3D000" => CatalogError::NotLetIn { place, why },
            "42501" => CatalogError::NoRight { place, why },
            "53100" => CatalogError::Full { place },
            "55P03" | "57014" | "40001" | "40P01" => CatalogError::Busy { place },
            "42P01" | "42703" | "3F000" => self.damaged(why),
            // A standby takes nothing; what is full or shuts down will take it later.
            "25006" | "53300" => CatalogError::Away { place, why },
            code if code.starts_with("57P") || code.starts_with("08") => CatalogError::Away { place, why },
            _ => CatalogError::OutOfReach { place, why },
        }
    }

    pub(super) fn damaged(&self, why: String) -> CatalogError {
        let way = match self.is_server {
            true => "rename its schema (ALTER SCHEMA holdfast RENAME TO holdfast_old)",
            false => "move it away",
        };
        CatalogError::Damaged { place: self.place.clone(), why, way }
    }

    pub(super) fn not_ours(&self) -> CatalogError {
        let place = match self.is_server {
            true => format!("the schema holdfast of {}", self.place),
            false => self.place.clone(),
        };
        CatalogError::NotOurs { place }
    }
}

/// What the database says, without the library's own words.
fn words(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(told) => told.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::PoolTimedOut => "no connection in time".to_owned(),
        other => other.to_string(),
    }
}

impl CatalogError {
    /// Whether another try might do.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }
}
