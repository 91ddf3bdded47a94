//! Immutable named objects, kept atomically and durably.
//!
//! On purpose not here: what the objects mean. A store knows no packs, no keys, no snapshots.

mod blocking;
pub mod contract;
mod error;
pub mod fault;
mod key;
mod local;
mod memory;
mod object_store;

pub use error::{ErrorKind, StoreError};
pub use fault::FaultStore;
pub use key::{InvalidKey, Key};
pub use local::LocalStore;
pub use memory::MemoryStore;
pub use object_store::{ByteRange, ObjectMeta, ObjectStore, Put, Traffic, Upload};
