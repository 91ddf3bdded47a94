//! Clusters of PostgreSQL as something to back up: all of their files by the protocol of
//! replication, and beside them the log that makes them consistent; or dumps of single databases by
//! the server's own programs, and their way back.
//!
//! On purpose not here: restoring files; where the log is kept between backups; and the environment:
//! passwords are handed in.

pub mod adopted;
mod backup;
mod batch;
mod binaries;
mod capture;
mod child;
mod databases;
pub mod drill;
mod dumped;
mod error;
mod facts;
mod flow;
#[doc(hidden)]
pub mod fuzzed;
mod gather;
mod load;
pub mod log;
mod logical;
mod logical_record;
mod look;
mod lsn;
mod manifest;
mod passfile;
pub mod point;
mod preflight;
mod preflight_sql;
pub mod records;
pub mod recovering;
pub mod restored;
mod rows;
mod source;
mod sql;
pub mod stream;
mod tar;
mod tools;
mod url;
mod wal;
mod wire;

pub use binaries::{Binaries, binaries};
pub use error::{PgError, ServerError};
pub use facts::{Record, Space};
pub use load::{Feeding, LoadOptions, Loader, RestoreTool, There, without_creation};
pub use logical::{KIND as LOGICAL_KIND, LogicalOptions, LogicalSource};
pub use logical_record::{Dumped, GLOBALS, LogicalRecord};
pub use look::KEPT_CONFIG;
pub use lsn::Lsn;
pub use passfile::Secrets;
pub use preflight::{Finding, Preflight, preflight};
pub use rows::RowsOf;
pub use source::{PostgresOptions, PostgresSource};
pub use tools::ToolPlaces;
pub use url::{Host, Server, UrlError, parse, parse_with_database};
