//! A store whose calls are watched and whose bytes are let through at a stated rate.
//!
//! On purpose not here: what is stored, and trying again.

use crate::stuck::{Going, Watchdog};
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_store::{ByteRange, ErrorKind, Key, ObjectMeta, ObjectStore, Put, StoreError, Traffic, Upload};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What was saved up while nothing was moved may be used at once, for so long.
const BURST: Duration = Duration::from_millis(250);

/// Lets bytes through at a rate.
#[derive(Debug)]
pub(crate) struct Valve {
    bytes_per_second: f64,
    /// When everything that was let through so far will have gone through.
    free_at: Mutex<Instant>,
}

impl Valve {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1) as f64, free_at: Mutex::new(Instant::now()) }
    }

    /// Waits for the turn of so many bytes.
    async fn pass(&self, bytes: usize) {
        let until = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let earliest = now.checked_sub(BURST).unwrap_or(now);
            *free_at =
                (*free_at).max(earliest) + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
            *free_at
        };
        tokio::time::sleep_until(until).await;
    }
}

/// The store, and what stands before it.
pub(crate) struct Guarded {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) watchdog: Arc<Watchdog>,
    /// What it is called, if it is not the repository that the run is about.
    pub(crate) name: Option<Arc<Vec<u8>>>,
    pub(crate) up: Option<Arc<Valve>>,
    pub(crate) down: Option<Arc<Valve>>,
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guarded").field(&self.store).finish()
    }
}

impl Guarded {
    fn going(&self) -> Going<'_> {
        match &self.name {
            None => self.watchdog.repository(),
            Some(name) => self.watchdog.other_repository(name),
        }
    }
}

async fn pass(valve: Option<&Arc<Valve>>, bytes: usize) {
    if let Some(valve) = valve {
        valve.pass(bytes).await;
    }
}

#[async_trait]
impl ObjectStore for Guarded {
    fn location(&self) -> String {
        self.store.location()
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<Put, StoreError> {
        pass(self.up.as_ref(), body.len()).await;
        let _going = self.going();
        self.store.put_new(key, body).await
    }

    async fn begin(&self, key: &Key) -> Result<Box<dyn Upload>, StoreError> {
        let _going = self.going();
        let upload = self.store.begin(key).await?;
        let (watchdog, up) = (Arc::clone(&self.watchdog), self.up.clone());
        Ok(Box::new(GuardedUpload { upload, subject: key.as_str().to_owned(), watchdog, up, intact: true }))
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Bytes, StoreError> {
        let bytes = {
            let _going = self.going();
            self.store.get(key, range).await?
        };
        pass(self.down.as_ref(), bytes.len()).await;
        Ok(bytes)
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        let _going = self.going();
        self.store.head(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, StoreError> {
        let _going = self.going();
        self.store.list(prefix, after, limit).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let _going = self.going();
        self.store.delete(key).await
    }

    async fn clear_unfinished(&self, age: Duration) -> Result<u64, StoreError> {
        let _going = self.watchdog.repository();
        self.store.clear_unfinished(age).await
    }

    fn traffic(&self) -> Option<Traffic> {
        self.store.traffic()
    }

    async fn archived(&self, prefix: &str) -> Result<Vec<(Key, String)>, StoreError> {
        let _going = self.going();
        self.store.archived(prefix).await
    }

    async fn foreign(&self) -> Result<Vec<String>, StoreError> {
        let _going = self.going();
        self.store.foreign().await
    }
}

struct GuardedUpload {
    upload: Box<dyn Upload>,
    /// The object, for messages.
    subject: String,
    watchdog: Arc<Watchdog>,
    up: Option<Arc<Valve>>,
    /// Whether every write ended: one that was given up while it waited for its turn is missing, and what
    /// is behind never heard of it.
    intact: bool,
}

#[async_trait]
impl Upload for GuardedUpload {
    async fn write(&mut self, part: Bytes) -> Result<(), StoreError> {
        let was_intact = std::mem::replace(&mut self.intact, false);
        pass(self.up.as_ref(), part.len()).await;
        let _going = self.watchdog.repository();
        self.upload.write(part).await?;
        self.intact = was_intact;
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<Put, StoreError> {
        let Self { upload, subject, watchdog, intact, .. } = *self;
        if !intact {
            let source = std::io::Error::other("an earlier write of this object failed or was cancelled");
            return Err(StoreError { kind: ErrorKind::Io, operation: "write", subject, source });
        }
        let _going = watchdog.repository();
        upload.commit().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<F: Future>(body: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(body)
    }

    #[test]
    fn bytes_take_their_time() {
        run(async {
            let begun = Instant::now();
            let valve = Valve::new(1_000);
            for _ in 0..10 {
                valve.pass(1_000).await;
            }
            // The clock of the test stands still but for what is waited for.
            assert!((9_900..=10_100).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
            // Time in which nothing is moved is not saved up for long.
            tokio::time::sleep(Duration::from_secs(100)).await;
            let begun = Instant::now();
            valve.pass(2_000).await;
            assert!((1_700..=2_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
        });
    }

    #[test]
    fn the_store_behind_keeps_its_contract() {
        let guarded = |rate| {
            let store: Arc<dyn ObjectStore> = Arc::new(holdfast_store::MemoryStore::new());
            let valve = || Some(Arc::new(Valve::new(rate)));
            let watchdog = Watchdog::new(Some(Duration::from_secs(600)));
            Arc::new(Guarded { store, watchdog, name: None, up: valve(), down: valve() })
        };
        run(holdfast_store::contract::check(guarded(1 << 40)));
        // Slow enough that a write waits for its turn, and may be given up while it does.
        run(holdfast_store::contract::check(guarded(1 << 20)));
    }
}
