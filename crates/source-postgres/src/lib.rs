//! Clusters of PostgreSQL as something to back up: all of their files by the protocol of
//! replication, and beside them the log that makes them consistent.
//!
//! On purpose not here: restoring files; where the log is kept between backups; dumps of
//! single databases; and the environment: passwords are handed in.

pub mod adopted;
mod backup;
mod batch;
mod capture;
mod error;
mod facts;
mod flow;
#[doc(hidden)]
pub mod fuzzed;
mod gather;
pub mod log;
mod lsn;
mod manifest;
mod passfile;
pub mod point;
mod preflight;
pub mod records;
pub mod recovering;
pub mod restored;
mod source;
pub mod stream;
mod tar;
mod url;
mod wal;
mod wire;

pub use error::{PgError, ServerError};
pub use facts::{Record, Space};
pub use lsn::Lsn;
pub use passfile::Secrets;
pub use preflight::{Finding, Preflight, preflight};
pub use source::{PostgresOptions, PostgresSource};
pub use url::{Host, Server, UrlError, parse};
