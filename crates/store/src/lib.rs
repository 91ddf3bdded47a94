//! Immutable named objects, kept atomically and durably.
//!
//! On purpose not here: what the objects mean. A store knows no packs, no keys, no snapshots.

mod error;
mod key;
mod object_store;

pub use error::{ErrorKind, StoreError};
pub use key::{InvalidKey, Key};
pub use object_store::{ByteRange, ObjectMeta, ObjectStore, Put, Upload};
