//! A store of immutable named objects in an S3 bucket.
//!
//! It is a crate of its own so that nothing but the program itself is built with the client
//! library, which is larger than all the rest together. On purpose not here: buckets as something
//! to back up.

mod account;
mod address;
mod body;
mod bucket;
mod client;
mod error;
mod gate;
mod inspect;
mod meter;
mod network;
mod plain;
mod policy;
mod probe;
mod unfinished;
mod upload;
mod versions;

pub use account::buckets;
pub use address::{Address, BadAddress};
pub use body::whole;
pub use bucket::S3Store;
pub use client::{Keys, connect};
pub use error::{About, Answer, Told, chain};
pub use gate::{Gate, Turn};
pub use inspect::{Finding, inspect};
pub use meter::Meter;
pub use network::{BadNetwork, NO_PROXY, Network, PROXIES, are_secret_proxies, is_here};
pub use plain::{Answered, NoAnswer, Plain};
pub use policy::{PolicyRole, policy};
pub use probe::{PROVED, PROVED_PUT, probe, probe_puts};
pub use versions::erase_versions;
