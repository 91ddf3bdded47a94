//! The contract that every store keeps.
//!
//! On purpose not here: any store. [`crate::contract`] tests whether one keeps it.

use crate::{Key, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// How a put-if-absent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Put {
    /// The object is stored, durably, with exactly these bytes.
    Created,
    /// The name was taken; what lies there is as it was. After a lost acknowledgement it may be
    /// the caller's own object: the caller compares.
    Exists,
}

/// What a listing tells of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its name.
    pub key: Key,
    /// Its length in bytes.
    pub size: u64,
}

/// Which bytes of an object to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// The whole object.
    All,
    /// `length` bytes from `offset` on; fewer when the object ends before.
    From {
        /// First byte.
        offset: u64,
        /// How many bytes at most.
        length: u64,
    },
}

/// What was asked of a server, and what it moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests by kind, those that were tried again too; no kind without any.
    pub requests: BTreeMap<&'static str, u64>,
    /// Bytes of the bodies that were sent.
    pub sent_bytes: u64,
    /// Bytes of the bodies that came.
    pub received_bytes: u64,
}

/// Keeps immutable named objects.
///
/// # Contract
/// - An object is visible whole or not at all, and never changes: there is no overwrite.
/// - Of several puts to one name exactly one is `Created`; it is linearizable per name.
/// - What a put, delete or listing answered holds after a crash of the process or the machine.
/// - A listing holds every object whose put ended before it began, none whose delete did, and
///   ends only when it is complete: an error is an error, never a short list.
/// - Every call may be cancelled by dropping its future; a cancelled put leaves nothing or the
///   whole object.
#[async_trait]
pub trait ObjectStore: std::fmt::Debug + Send + Sync + 'static {
    /// Where the store lies, for people; no secrets.
    fn location(&self) -> String;

    /// Stores `body` under `key` if the name is free.
    async fn put_new(&self, key: &Key, body: Bytes) -> Result<Put, StoreError>;

    /// Begins an object that is written in parts; nothing is visible before [`Upload::commit`].
    async fn begin(&self, key: &Key) -> Result<Box<dyn Upload>, StoreError>;

    /// Reads an object or a range of it.
    async fn get(&self, key: &Key, range: ByteRange) -> Result<Bytes, StoreError>;

    /// Tells of one object; `None` when there is no such object.
    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError>;

    /// Lists, in byte order of their names, the objects whose names start with `prefix` (any
    /// text, empty for all) and are greater than `after`; at most `limit`. Fewer than `limit`
    /// means that there are no more.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, StoreError>;

    /// Deletes an object; one that is not there is no error.
    async fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// Frees what interrupted uploads left that was begun longer ago than `age`, by the store's own
    /// clock; tells how many. An upload that is still going on then fails as a whole.
    async fn clear_unfinished(&self, _age: Duration) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// Objects whose names start with `prefix` that lie in an archive, where they cannot be read before
    /// somebody brings them back, by what a listing says: with the class of storage of each. Some of
    /// them may be brought back. None where there are no such classes.
    async fn archived(&self, _prefix: &str) -> Result<Vec<(Key, String)>, StoreError> {
        Ok(Vec::new())
    }

    /// What was asked of a server so far; none where there is no server.
    fn traffic(&self) -> Option<Traffic> {
        None
    }

    /// Names what lies in the store and can be no object, so that no listing will ever show it:
    /// odd names and odd kinds of files that somebody put there. In byte order; for people.
    async fn foreign(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
}

/// An object on its way into a store. Dropping it without `commit` leaves nothing behind.
#[async_trait]
pub trait Upload: Send {
    /// Appends bytes.
    async fn write(&mut self, part: Bytes) -> Result<(), StoreError>;

    /// Makes the object durable and visible if its name is still free.
    async fn commit(self: Box<Self>) -> Result<Put, StoreError>;
}
