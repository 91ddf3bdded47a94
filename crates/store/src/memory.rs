//! A store in memory, for tests and simulations.
//!
//! On purpose not here: faults and delays; [`crate::FaultStore`] adds those to any store.

use crate::{ByteRange, ErrorKind, Key, ObjectMeta, ObjectStore, Put, StoreError, Upload};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store in memory. Clones share the content. Nothing in it ever waits.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    objects: Arc<Mutex<BTreeMap<Key, Bytes>>>,
}

impl MemoryStore {
    /// Makes an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a store with this content, such as another one's [`MemoryStore::objects`].
    #[must_use]
    pub fn with_objects(objects: BTreeMap<Key, Bytes>) -> Self {
        Self { objects: Arc::new(Mutex::new(objects)) }
    }

    /// Returns a copy of all that it holds; the bytes are shared, not copied.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<Key, Bytes> {
        self.lock().clone()
    }

    /// Puts an object in place, replacing what is there: damage that a store itself never does.
    pub fn insert_raw(&self, key: Key, body: impl Into<Bytes>) {
        self.lock().insert(key, body.into());
    }

    /// Takes an object away and returns what it held.
    pub fn remove_raw(&self, key: &Key) -> Option<Bytes> {
        self.lock().remove(key)
    }

    fn put(&self, key: &Key, body: Bytes) -> Put {
        match self.lock().entry(key.clone()) {
            Entry::Vacant(free) => {
                free.insert(body);
                Put::Created
            }
            Entry::Occupied(_) => Put::Exists,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Bytes>> {
        // Each change is a single step, so a panic elsewhere cannot have left it half done.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<Put, StoreError> {
        Ok(self.put(key, body))
    }

    async fn begin(&self, key: &Key) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(MemoryUpload { store: self.clone(), key: key.clone(), body: BytesMut::new() }))
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Bytes, StoreError> {
        let body = self.lock().get(key).cloned().ok_or_else(|| StoreError {
            kind: ErrorKind::NotFound,
            operation: "read",
            subject: key.to_string(),
            source: io::ErrorKind::NotFound.into(),
        })?;
        Ok(cut(&body, range))
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        Ok(self.lock().get(key).map(|body| meta(key, body)))
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, StoreError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let objects = self.lock();
        let later = objects.range::<Key, _>((from, Bound::Unbounded));
        let found = later
            .skip_while(|(key, _)| key.as_str() < prefix)
            .take_while(|(key, _)| key.as_str().starts_with(prefix))
            .take(limit)
            .map(|(key, body)| meta(key, body))
            .collect();
        Ok(found)
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.lock().remove(key);
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryUpload {
    store: MemoryStore,
    key: Key,
    body: BytesMut,
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn write(&mut self, part: Bytes) -> Result<(), StoreError> {
        self.body.extend_from_slice(&part);
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<Put, StoreError> {
        let Self { store, key, body } = *self;
        Ok(store.put(&key, body.freeze()))
    }
}

fn meta(key: &Key, body: &Bytes) -> ObjectMeta {
    ObjectMeta { key: key.clone(), size: body.len() as u64 }
}

fn cut(body: &Bytes, range: ByteRange) -> Bytes {
    let ByteRange::From { offset, length } = range else { return body.clone() };
    // What does not fit the machine's size is beyond the end of anything in memory.
    let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(body.len());
    body.slice(clamp(offset)..clamp(offset.saturating_add(length)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use crate::contract;

    #[tokio::test(flavor = "multi_thread")]
    async fn keeps_the_contract() {
        contract::check(Arc::new(MemoryStore::new())).await;
    }

    #[tokio::test]
    async fn clones_share_and_copies_do_not() {
        let store = MemoryStore::new();
        let key = Key::new("a/b").unwrap();
        store.clone().insert_raw(key.clone(), "before");
        let copy = MemoryStore::with_objects(store.objects());
        store.insert_raw(key.clone(), "after");
        assert_eq!(copy.get(&key, ByteRange::All).await.unwrap(), "before");
        assert_eq!(store.remove_raw(&key).unwrap(), "after");
        assert!(store.objects().is_empty());
        assert_eq!(copy.objects().len(), 1);
    }
}
