//! Finds out whether a server keeps its word: that of several writers of one name one wins.
//!
//! Servers are known that ignore `If-None-Match`, that answer it but let several win, and that
//! honour it for plain puts only. On such a server two hosts would overwrite each other's commits,
//! so nothing is ever written to it. On purpose not here: the whole contract, which
//! [`holdfast_store::contract`] tests.

use crate::bucket::S3Store;
use crate::error::{About, failed};
use crate::upload::S3Upload;
use bytes::Bytes;
use holdfast_store::{ByteRange, ErrorKind, Key, ObjectStore, Put, StoreError};
use std::sync::Arc;
use tokio::task::JoinSet;

/// So many race for one name.
const RACERS: usize = 8;
/// So many names are raced for.
const ROUNDS: usize = 3;

/// What a probe of names has proved when it ends well, for the description of a repository.
pub const PROVED_PUT: &str = "probed-atomic-put";
/// What a probe of a bucket has proved.
pub const PROVED: [&str; 2] = ["probed-atomic-multipart", PROVED_PUT];

/// Probes a bucket with a handful of small objects below `probe/`, which are deleted again; `nonce`
/// keeps two probes apart.
///
/// # Errors
/// The server breaks a promise ([`ErrorKind::Unusable`]; the message says which), or cannot be asked.
pub async fn probe(store: &S3Store, nonce: u64) -> Result<(), StoreError> {
    let key = name(nonce, "parts");
    let uploaded = race_uploads(store, &key).await;
    let deleted = store.delete(&key).await;
    uploaded.and(deleted)?;
    probe_puts(Arc::new(store.clone()), nonce).await
}

/// Probes any store: races for names, and whether a listing holds what was stored.
///
/// # Errors
/// As for [`probe()`].
pub async fn probe_puts(store: Arc<dyn ObjectStore>, nonce: u64) -> Result<(), StoreError> {
    let mut keys = Vec::new();
    let mut probed = Ok(());
    for round in 0..ROUNDS {
        let key = name(nonce, &format!("put-{round}"));
        if probed.is_ok() {
            probed = race_puts(&store, &key).await;
        }
        keys.push(key);
    }
    if probed.is_ok() {
        probed = listing_holds(&*store, &keys, nonce).await;
    }
    for key in &keys {
        let deleted = store.delete(key).await;
        probed = probed.and(deleted);
    }
    probed
}

fn name(nonce: u64, word: &str) -> Key {
    Key::new(format!("probe/{nonce:016x}/{word}")).expect("a plain name")
}

fn broken(store: &dyn ObjectStore, promise: &str) -> StoreError {
    let about = About { operation: "rely on", subject: &store.location() };
    failed(&about, ErrorKind::Unusable, format!("this server cannot keep a repository: {promise}"))
}

async fn race_puts(store: &Arc<dyn ObjectStore>, key: &Key) -> Result<(), StoreError> {
    let mut racers = JoinSet::new();
    for number in 0..RACERS {
        let (store, key) = (Arc::clone(store), key.clone());
        let body = Bytes::from(format!("racer {number}"));
        racers.spawn(async move { Ok::<_, StoreError>((store.put_new(&key, body.clone()).await?, body)) });
    }
    let mut winners = Vec::new();
    while let Some(ended) = racers.join_next().await {
        let Ok(ended) = ended else { continue };
        let (put, body) = ended?;
        winners.extend(Some(body).filter(|_| put == Put::Created));
    }
    let held = store.get(key, ByteRange::All).await?;
    match &winners[..] {
        // Nobody, if an acknowledgement was lost: the name is taken all the same.
        [] => {}
        [winner] if *winner == held => {}
        [_] => {
            return Err(broken(&**store, "another writer's object replaced the one that it said it keeps"));
        }
        _ => {
            let what = "several writers of one name were told that they won (If-None-Match is not atomic)";
            return Err(broken(&**store, what));
        }
    }
    let again = store.put_new(key, Bytes::from_static(b"late")).await?;
    if again == Put::Exists && store.get(key, ByteRange::All).await? == held {
        return Ok(());
    }
    Err(broken(&**store, "an object can be overwritten (If-None-Match is ignored)"))
}

async fn race_uploads(store: &S3Store, key: &Key) -> Result<(), StoreError> {
    let mut uploads = Vec::new();
    for body in ["one", "two"] {
        let mut upload = S3Upload::new(Arc::clone(store.bucket()), key);
        upload.send_part(Bytes::from_static(body.as_bytes())).await?;
        uploads.push((upload, body));
    }
    let mut winners = Vec::new();
    for (mut upload, body) in uploads {
        if upload.complete().await? == Put::Created {
            winners.push(body);
        }
    }
    let held = store.get(key, ByteRange::All).await?;
    match &winners[..] {
        [] => Ok(()),
        [winner] if held == winner.as_bytes() => Ok(()),
        _ => Err(broken(
            store,
            "objects that are uploaded in parts overwrite each other (If-None-Match of \
             CompleteMultipartUpload is ignored)",
        )),
    }
}

async fn listing_holds(store: &dyn ObjectStore, keys: &[Key], nonce: u64) -> Result<(), StoreError> {
    let listed = store.list(&format!("probe/{nonce:016x}/"), None, usize::MAX).await?;
    if !keys.iter().all(|key| listed.iter().any(|meta| meta.key == *key)) {
        return Err(broken(store, "a listing leaves out what was just stored"));
    }
    // What lies in a folder sorts after its name: new sessions are found this way.
    let folder = Key::new(format!("probe/{nonce:016x}")).expect("a plain name");
    let after = store.list("probe/", Some(&folder), usize::MAX).await?;
    if keys.iter().all(|key| after.iter().any(|meta| meta.key == *key)) {
        return Ok(());
    }
    Err(broken(store, "a listing that begins at a folder leaves out what lies in it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use holdfast_store::{MemoryStore, ObjectMeta, Upload};

    /// A server that overwrites, and says that it made something new.
    #[derive(Debug)]
    struct Liar {
        inner: MemoryStore,
        forgets: bool,
    }

    #[async_trait]
    impl ObjectStore for Liar {
        fn location(&self) -> String {
            "a liar".into()
        }

        async fn put_new(&self, key: &Key, body: Bytes) -> Result<Put, StoreError> {
            if !self.forgets {
                self.inner.delete(key).await?;
            }
            self.inner.put_new(key, body).await
        }

        async fn begin(&self, key: &Key) -> Result<Box<dyn Upload>, StoreError> {
            self.inner.begin(key).await
        }

        async fn get(&self, key: &Key, range: ByteRange) -> Result<Bytes, StoreError> {
            self.inner.get(key, range).await
        }

        async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
            self.inner.head(key).await
        }

        async fn list(
            &self,
            prefix: &str,
            after: Option<&Key>,
            limit: usize,
        ) -> Result<Vec<ObjectMeta>, StoreError> {
            let listed = self.inner.list(prefix, after, limit).await?;
            // As a server that takes the name of a folder for the end of what lies in it.
            let hidden = |meta: &ObjectMeta| {
                after.is_some_and(|after| meta.key.as_str().starts_with(&format!("{after}/")))
            };
            Ok(listed.into_iter().filter(|meta| !hidden(meta)).collect())
        }

        async fn delete(&self, key: &Key) -> Result<(), StoreError> {
            self.inner.delete(key).await
        }
    }

    async fn refused(store: Arc<dyn ObjectStore>) -> String {
        let error = probe_puts(Arc::clone(&store), 7).await.expect_err("a liar");
        assert_eq!(error.kind, ErrorKind::Unusable, "{error:?}");
        let left = store.list("", None, usize::MAX).await.expect("a listing");
        assert_eq!(left, [], "nothing is left of the probe");
        error.source.to_string()
    }

    #[tokio::test]
    async fn servers_that_lie_are_refused_by_what_they_do() {
        probe_puts(Arc::new(MemoryStore::new()), 7).await.expect("this one keeps its word");
        let overwrites = refused(Arc::new(Liar { inner: MemoryStore::new(), forgets: false })).await;
        assert!(overwrites.contains("If-None-Match"), "{overwrites}");
        let hides = refused(Arc::new(Liar { inner: MemoryStore::new(), forgets: true })).await;
        assert!(hides.contains("begins at a folder"), "{hides}");
    }
}
