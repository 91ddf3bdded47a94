//! Every byte that outlives the process, as pure functions.
//!
//! On purpose not here: input and output, async, clocks, and randomness that was not handed in.

pub mod chunk;
pub mod chunker;
pub mod compress;
pub mod configuration;
pub mod crypto;
pub mod cutoff;
pub mod dated;
pub mod entry;
pub mod entry_code;
pub mod error;
pub mod hold;
pub mod id;
pub mod index;
pub mod keys;
pub mod name;
pub mod object;
pub mod pack;
pub mod page;
pub mod record;
pub mod repository;
pub mod root;
pub mod segment;
pub mod session;
pub mod version;
pub mod wire;

pub use error::FormatError;
