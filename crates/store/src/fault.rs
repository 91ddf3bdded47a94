//! A store that fails on demand, for tests of what is built on stores.
//!
//! On purpose not here: chance. The plan decides, from the number and nature of each call, so a
//! failing test fails again.

use crate::{ByteRange, ErrorKind, Key, ObjectMeta, ObjectStore, Put, StoreError, Traffic, Upload};
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What a call to a store does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`ObjectStore::put_new`].
    PutNew,
    /// [`ObjectStore::begin`].
    Begin,
    /// [`Upload::write`].
    Write,
    /// [`Upload::commit`].
    Commit,
    /// [`ObjectStore::get`].
    Get,
    /// [`ObjectStore::head`].
    Head,
    /// [`ObjectStore::list`].
    List,
    /// [`ObjectStore::delete`].
    Delete,
    /// [`ObjectStore::foreign`].
    Foreign,
}

impl Operation {
    fn verb(self) -> &'static str {
        match self {
            Self::PutNew | Self::Begin | Self::Write | Self::Commit => "write",
            Self::Get => "read",
            Self::Head => "look up",
            Self::List | Self::Foreign => "list",
            Self::Delete => "delete",
        }
    }
}

/// A call that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// How many calls came before it; the first has number 0.
    pub number: u64,
    /// What it does.
    pub operation: Operation,
    /// The name of the object; for a listing, the prefix.
    pub key: String,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is performed.
    None,
    /// It is not performed and reports an error.
    FailBefore(ErrorKind),
    /// It is performed and still reports an error: the acknowledgement was lost.
    FailAfter(ErrorKind),
    /// It is not performed, and neither is any call after it: the process has died. A crash
    /// right after a call is `FailAfter` for this one and `Crash` for the next.
    Crash,
}

/// Decides what becomes of each call.
type Plan = dyn Fn(&Call) -> Fault + Send + Sync;

/// A store whose calls fail as a plan says. Clones share the count of calls.
#[derive(Clone)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    state: Arc<State>,
}

struct State {
    plan: Box<Plan>,
    calls: AtomicU64,
    crashed: AtomicBool,
}

impl FaultStore {
    /// Wraps a store. The plan may be asked from several threads at once.
    pub fn new<P>(inner: Arc<dyn ObjectStore>, plan: P) -> Self
    where
        P: Fn(&Call) -> Fault + Send + Sync + 'static,
    {
        let state = State { plan: Box::new(plan), calls: 0.into(), crashed: false.into() };
        Self { inner, state: Arc::new(state) }
    }

    /// Returns how many calls were made, those that failed included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state.calls.load(Ordering::SeqCst)
    }

    /// Tells whether a call met [`Fault::Crash`].
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.state.crashed.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultStore")
            .field("inner", &self.inner)
            .field("calls", &self.calls())
            .field("crashed", &self.crashed())
            .finish_non_exhaustive()
    }
}

impl State {
    /// Counts a call and performs it, or not.
    async fn run<T>(
        &self,
        operation: Operation,
        key: &str,
        perform: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let call = Call { number, operation, key: key.to_owned() };
        if self.crashed.load(Ordering::SeqCst) {
            return Err(error(call, ErrorKind::Io, "the process has crashed"));
        }
        match (self.plan)(&call) {
            Fault::None => perform.await,
            Fault::FailBefore(kind) => Err(error(call, kind, "planned fault before the call")),
            Fault::FailAfter(kind) => {
                perform.await?;
                Err(error(call, kind, "planned fault after the call"))
            }
            Fault::Crash => {
                self.crashed.store(true, Ordering::SeqCst);
                Err(error(call, ErrorKind::Io, "planned crash"))
            }
        }
    }
}

fn error(call: Call, kind: ErrorKind, text: &str) -> StoreError {
    let source = io::Error::other(format!("{text} (number {})", call.number));
    StoreError { kind, operation: call.operation.verb(), subject: call.key, source }
}

#[async_trait]
impl ObjectStore for FaultStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<Put, StoreError> {
        self.state.run(Operation::PutNew, key.as_str(), self.inner.put_new(key, body)).await
    }

    async fn begin(&self, key: &Key) -> Result<Box<dyn Upload>, StoreError> {
        let inner = self.state.run(Operation::Begin, key.as_str(), self.inner.begin(key)).await?;
        Ok(Box::new(FaultUpload { inner, key: key.clone(), state: Arc::clone(&self.state) }))
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Bytes, StoreError> {
        self.state.run(Operation::Get, key.as_str(), self.inner.get(key, range)).await
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        self.state.run(Operation::Head, key.as_str(), self.inner.head(key)).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, StoreError> {
        self.state.run(Operation::List, prefix, self.inner.list(prefix, after, limit)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.state.run(Operation::Delete, key.as_str(), self.inner.delete(key)).await
    }

    async fn clear_unfinished(&self, age: Duration) -> Result<u64, StoreError> {
        self.state.run(Operation::Delete, "", self.inner.clear_unfinished(age)).await
    }

    fn traffic(&self) -> Option<Traffic> {
        self.inner.traffic()
    }

    async fn archived(&self, prefix: &str) -> Result<Vec<(Key, String)>, StoreError> {
        self.inner.archived(prefix).await
    }

    async fn foreign(&self) -> Result<Vec<String>, StoreError> {
        self.state.run(Operation::Foreign, "", self.inner.foreign()).await
    }
}

struct FaultUpload {
    inner: Box<dyn Upload>,
    key: Key,
    state: Arc<State>,
}

#[async_trait]
impl Upload for FaultUpload {
    async fn write(&mut self, part: Bytes) -> Result<(), StoreError> {
        self.state.run(Operation::Write, self.key.as_str(), self.inner.write(part)).await
    }

    async fn commit(self: Box<Self>) -> Result<Put, StoreError> {
        let Self { inner, key, state } = *self;
        state.run(Operation::Commit, key.as_str(), inner.commit()).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use crate::{MemoryStore, contract};

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_faults_keeps_the_contract() {
        let store = FaultStore::new(Arc::new(MemoryStore::new()), |_| Fault::None);
        contract::check(Arc::new(store.clone())).await;
        assert!(store.calls() > 100);
        assert!(!store.crashed());
    }

    #[tokio::test]
    async fn a_lost_acknowledgement_leaves_the_object() {
        let memory = MemoryStore::new();
        let store = FaultStore::new(Arc::new(memory.clone()), |call| match call.number {
            0 => Fault::FailBefore(ErrorKind::Full),
            1 => Fault::FailAfter(ErrorKind::Retry),
            _ => Fault::None,
        });
        let full = store.put_new(&key("a"), Bytes::from_static(b"1")).await.unwrap_err();
        assert_eq!((full.kind, full.to_string()), (ErrorKind::Full, "write a".to_owned()));
        assert!(memory.objects().is_empty());
        let lost = store.put_new(&key("a"), Bytes::from_static(b"2")).await.unwrap_err();
        assert_eq!(lost.kind, ErrorKind::Retry);
        assert_eq!(store.put_new(&key("a"), Bytes::from_static(b"3")).await.unwrap(), Put::Exists);
        assert_eq!(memory.objects()[&key("a")], "2");
    }

    #[tokio::test]
    async fn after_a_crash_nothing_works_any_more() {
        let memory = MemoryStore::new();
        let plan = |call: &Call| match call.operation {
            Operation::Commit => Fault::Crash,
            _ => Fault::None,
        };
        let store = FaultStore::new(Arc::new(memory.clone()), plan);
        let mut upload = store.begin(&key("a")).await.unwrap();
        let mut other = store.begin(&key("b")).await.unwrap();
        upload.write(Bytes::from_static(b"1")).await.unwrap();
        upload.commit().await.unwrap_err();
        assert!(store.crashed());
        other.write(Bytes::from_static(b"1")).await.unwrap_err();
        store.put_new(&key("c"), Bytes::new()).await.unwrap_err();
        store.list("", None, 1).await.unwrap_err();
        assert!(memory.objects().is_empty());
        assert_eq!(store.calls(), 7);
    }
}
