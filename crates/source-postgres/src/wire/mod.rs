//! A small client of the wire format: what replication and plain questions need of it, and no more.
//!
//! On purpose not here: what is asked of a server, prepared statements, and data going to it.

mod auth;
mod connection;
mod message;
mod tls;

pub(crate) use connection::{Connection, Purpose, Table, refused, unexpected};
pub(crate) use message::{Cursor, Message, take};
