//! A store that waits before each call, so that a test decides which of several runs goes on, call
//! by call, and which one never does again.

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::LocalBoxFuture;
use futures::task::noop_waker_ref;
use holdfast_store::{ByteRange, Key, MemoryStore, ObjectMeta, ObjectStore, Put, StoreError, Upload};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A store in memory whose calls each take a turn.
#[derive(Debug, Clone)]
pub(crate) struct SteppedStore(pub(crate) MemoryStore);

/// Waits once. It wakes whoever polls it, as several calls may wait in one run.
async fn turn() {
    let mut waited = false;
    let wait = |context: &mut Context<'_>| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
    };
    std::future::poll_fn(wait).await;
}

#[async_trait]
impl ObjectStore for SteppedStore {
    fn location(&self) -> String {
        self.0.location()
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<Put, StoreError> {
        turn().await;
        self.0.put_new(key, body).await
    }

    async fn begin(&self, key: &Key) -> Result<Box<dyn Upload>, StoreError> {
        turn().await;
        self.0.begin(key).await
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Bytes, StoreError> {
        turn().await;
        self.0.get(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        turn().await;
        self.0.head(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        max: usize,
    ) -> Result<Vec<ObjectMeta>, StoreError> {
        turn().await;
        self.0.list(prefix, after, max).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        turn().await;
        self.0.delete(key).await
    }
}

/// A run that goes on only when it is told to.
pub(crate) struct Stepped<T> {
    future: LocalBoxFuture<'static, T>,
    pub(crate) result: Option<T>,
}

impl<T> Stepped<T> {
    pub(crate) fn new(future: impl Future<Output = T> + 'static) -> Self {
        Self { future: Box::pin(future), result: None }
    }

    /// Lets it make so many calls; all that are left for `usize::MAX`.
    pub(crate) fn go(&mut self, calls: usize) {
        for _ in 0..calls {
            if self.result.is_some() {
                return;
            }
            let mut context = Context::from_waker(noop_waker_ref());
            if let Poll::Ready(result) = Pin::new(&mut self.future).poll(&mut context) {
                self.result = Some(result);
            }
        }
    }
}
