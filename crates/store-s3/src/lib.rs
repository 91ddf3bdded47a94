//! A store of immutable named objects in an S3 bucket.
//!
//! It is a crate of its own so that nothing but the program itself is built with the client
//! library, which is larger than all the rest together. On purpose not here: buckets as something
//! to back up.

mod address;
mod bucket;
mod client;
mod error;
mod probe;
mod upload;

pub use address::{Address, BadAddress};
pub use bucket::S3Store;
pub use client::{Keys, connect};
pub use error::{About, Answer, chain};
pub use probe::probe;
