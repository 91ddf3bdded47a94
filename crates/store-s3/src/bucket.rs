//! The store: one bucket, one prefix, one client.
//!
//! Puts are atomic by `If-None-Match: *`; a server that does not honour it is found out by
//! [`crate::probe`]. Every request has an end: the client library tries again what may succeed,
//! and gives up. On purpose not here: objects written in parts, and what servers' errors mean.

use crate::address::{ARCHIVES, Address};
use crate::body::whole;
use crate::client::{ATTEMPTS, Keys, connect};
use crate::error::{About, Answer, failed};
use crate::gate::Turn;
use crate::meter::Meter;
use crate::network::Network;
use crate::unfinished;
use crate::upload::S3Upload;
use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{Object, ObjectStorageClass, StorageClass};
use bytes::Bytes;
use holdfast_store::{ByteRange, ErrorKind, Key, ObjectMeta, ObjectStore, Put, StoreError, Traffic, Upload};
use std::sync::Arc;
use std::time::Duration;

/// So often the body of an answer is asked for when it breaks off.
const BODIES: u32 = 5;
/// What the names of packs with contents of files begin with.
const CONTENTS: &str = "packs/data/";
/// Names in one page of a listing at most.
const PAGE: usize = 1000;
/// What all calls share.
#[derive(Debug)]
pub(crate) struct Bucket {
    client: Client,
    meter: Meter,
    address: Address,
}

/// Keeps objects in a bucket.
#[derive(Debug, Clone)]
pub struct S3Store(Arc<Bucket>);

impl S3Store {
    /// Gets a client ready; nothing is asked of the server yet. Without `keys` the client library
    /// finds them: in the environment, a profile, or what the machine is given.
    pub async fn new(address: &Address, keys: Option<Keys>, network: &Network) -> Self {
        let meter = Meter::default();
        let client = connect(address, keys, network, &meter).await;
        Self(Arc::new(Bucket { client, meter, address: address.clone() }))
    }
}

impl S3Store {
    pub(crate) fn bucket(&self) -> &Arc<Bucket> {
        &self.0
    }
}

impl Bucket {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Waits until one more request may go.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        self.meter.gate().enter().await
    }

    /// The class of storage that an object is to have, if one is asked for: contents of files are
    /// by far the most, and all else is read at every run.
    pub(crate) fn class(&self, key: &Key) -> Option<StorageClass> {
        let class = self.address.storage_class.as_deref().filter(|_| key.as_str().starts_with(CONTENTS));
        class.map(StorageClass::from)
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.address.prefix
    }

    pub(crate) fn bucket(&self) -> &str {
        &self.address.bucket
    }

    /// The object's whole name in the bucket.
    pub(crate) fn name(&self, key: &Key) -> String {
        format!("{}{key}", self.address.prefix)
    }

    /// A text that sorts before an object's whole name, with next to nothing in between, and that
    /// is not the name of a folder: servers that keep names as folders begin a listing after the
    /// folder's end when they are told to begin after its name.
    fn name_before(&self, key: &Key) -> String {
        let mut name = self.name(key);
        match name.pop() {
            // `~` sorts after whatever a name may hold, `!` before.
            Some('a' | 'A') => name.push_str("9~"),
            Some(last) if last.is_ascii_alphanumeric() && last != '0' => {
                name.push((last as u8 - 1) as char);
                name.push('~');
            }
            Some(_) => name.push('!'),
            None => {}
        }
        name
    }

    /// The object as a person would find it.
    pub(crate) fn subject(&self, key: &Key) -> String {
        format!("s3://{}/{}", self.address.bucket, self.name(key))
    }

    pub(crate) async fn put_new(&self, key: &Key, body: Bytes) -> Result<Put, StoreError> {
        let subject = self.subject(key);
        let about = About { operation: "write", subject: &subject };
        let mut last = None;
        for attempt in 0..ATTEMPTS {
            let turn = self.turn().await;
            let put = self
                .client
                .put_object()
                .bucket(self.bucket())
                .key(self.name(key))
                .if_none_match("*")
                .set_storage_class(self.class(key))
                .body(ByteStream::from(body.clone()));
            let answer = match put.send().await {
                Ok(_) => return Ok(Put::Created),
                Err(error) => Answer::of(error),
            };
            if answer.is_taken() {
                return Ok(Put::Exists);
            }
            if !answer.is_conflict() {
                return Err(answer.into_error(&about));
            }
            // Somebody else writes this name right now: it will be decided in a moment.
            drop(turn);
            tokio::time::sleep(Duration::from_millis(50 << attempt)).await;
            last = Some(answer);
        }
        let answer = last.ok_or_else(|| failed(&about, ErrorKind::Io, "it was never tried".into()))?;
        Err(answer.into_error(&about))
    }

    pub(crate) async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        let subject = self.subject(key);
        let turn = self.turn().await;
        match self.client.head_object().bucket(self.bucket()).key(self.name(key)).send().await {
            Ok(head) => {
                turn.went_well();
                let size = u64::try_from(head.content_length.unwrap_or_default()).unwrap_or_default();
                Ok(Some(ObjectMeta { key: key.clone(), size }))
            }
            Err(error) => {
                let mut answer = Answer::of(error);
                if answer.is_absent() {
                    return Ok(None);
                }
                drop(turn);
                if answer.is_unexplained() {
                    answer = self.reason(key).await.unwrap_or(answer);
                }
                Err(answer.into_error(&About { operation: "look at", subject: &subject }))
            }
        }
    }

    /// Why an object is refused: the answer to HEAD has no place for that.
    async fn reason(&self, key: &Key) -> Option<Answer> {
        let get = self.client.get_object().bucket(self.bucket()).key(self.name(key)).range("bytes=0-0");
        let _turn = self.turn().await;
        get.send().await.map_err(Answer::of).err().filter(Answer::is_denied_or_bad)
    }

    /// One request for a range, whole or an error.
    async fn get_once(&self, key: &Key, range: Option<String>) -> Result<Bytes, (StoreError, bool)> {
        let subject = self.subject(key);
        let about = About { operation: "read", subject: &subject };
        let get = self.client.get_object().bucket(self.bucket()).key(self.name(key)).set_range(range);
        let turn = self.turn().await;
        let object = match get.send().await {
            Ok(object) => {
                turn.went_well();
                object
            }
            Err(error) => {
                let answer = Answer::of(error);
                if answer.is_beyond() {
                    return Ok(Bytes::new());
                }
                return Err((answer.into_error(&about), false));
            }
        };
        let stated = object.content_length.and_then(|length| u64::try_from(length).ok());
        let broken = |text: String| (failed(&about, ErrorKind::Retry, text), true);
        whole(object.body, stated).await.map_err(broken)
    }

    /// Calls `take` with each page of the names that begin with `prefix`, until it has enough.
    async fn pages(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
        mut take: impl FnMut(&str, &Object) -> usize,
    ) -> Result<(), StoreError> {
        let is_after = |name: &str| after.is_none_or(|after| name > after.as_str());
        let subject = format!("s3://{}/{}{prefix}", self.address.bucket, self.address.prefix);
        let about = About { operation: "list", subject: &subject };
        let mut taken = 0;
        let (mut token, mut start) = (None, after.map(|key| self.name_before(key)));
        while taken < limit {
            let page = self
                .client
                .list_objects_v2()
                .bucket(self.bucket())
                .prefix(format!("{}{prefix}", self.address.prefix))
                .set_start_after(start.take())
                .set_continuation_token(token)
                // One more than is wanted: the name to begin after may be among them.
                .max_keys((limit - taken).saturating_add(1).min(PAGE) as i32);
            let turn = self.turn().await;
            let page = page.send().await.map_err(|error| Answer::of(error).into_error(&about))?;
            drop(turn);
            for object in page.contents.unwrap_or_default() {
                let name = object.key().unwrap_or_default();
                let Some(name) = name.strip_prefix(&self.address.prefix) else {
                    let text = format!("the server listed {name}, which was not asked for");
                    return Err(failed(&about, ErrorKind::Unusable, text));
                };
                // There are servers that see two slashes as one.
                if !name.starts_with(prefix) || !is_after(name) || taken >= limit {
                    continue;
                }
                taken += take(name, &object);
            }
            token = page.next_continuation_token;
            match (page.is_truncated, &token) {
                (Some(true), Some(_)) => {}
                (Some(true), None) => {
                    let text = "the server says that there is more, and not how to get it".to_owned();
                    return Err(failed(&about, ErrorKind::Io, text));
                }
                _ => break,
            }
        }
        Ok(())
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    fn location(&self) -> String {
        self.0.address.to_string()
    }

    async fn put_new(&self, key: &Key, body: Bytes) -> Result<Put, StoreError> {
        self.0.put_new(key, body).await
    }

    async fn begin(&self, key: &Key) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(S3Upload::new(Arc::clone(&self.0), key)))
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Bytes, StoreError> {
        let range = match range {
            ByteRange::All => None,
            ByteRange::From { length: 0, .. } => return Ok(Bytes::new()),
            ByteRange::From { offset, length } => {
                let last = offset.saturating_add(length - 1).min(i64::MAX as u64);
                if offset > last {
                    return Ok(Bytes::new());
                }
                Some(format!("bytes={offset}-{last}"))
            }
        };
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.0.get_once(key, range.clone()).await {
                Err((_, true)) if attempt < BODIES => {}
                result => return result.map_err(|(error, _)| error),
            }
        }
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        self.0.head(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<ObjectMeta>, StoreError> {
        let mut found: Vec<ObjectMeta> = Vec::new();
        let take = |name: &str, object: &Object| match Key::new(name) {
            Ok(key) => {
                let size = u64::try_from(object.size.unwrap_or_default()).unwrap_or_default();
                found.push(ObjectMeta { key, size });
                1
            }
            Err(_) => 0,
        };
        self.0.pages(prefix, after, limit, take).await?;
        // Some servers list folder by folder, which is the same order for all names of a
        // repository. Who goes through a listing relies on it; better none than one with gaps.
        if !found.is_sorted_by(|one, next| one.key < next.key) {
            let about = About { operation: "list", subject: &self.location() };
            let text = "the server does not list names in their order".to_owned();
            return Err(failed(&about, ErrorKind::Unusable, text));
        }
        Ok(found)
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let subject = self.0.subject(key);
        let delete = self.0.client.delete_object().bucket(self.0.bucket()).key(self.0.name(key));
        let _turn = self.0.turn().await;
        match delete.send().await.map_err(Answer::of) {
            Ok(_) => Ok(()),
            Err(answer) if answer.is_absent() => Ok(()),
            Err(answer) => Err(answer.into_error(&About { operation: "delete", subject: &subject })),
        }
    }

    async fn clear_unfinished(&self, age: Duration) -> Result<u64, StoreError> {
        unfinished::clear(&self.0, age).await
    }

    async fn archived(&self, prefix: &str) -> Result<Vec<(Key, String)>, StoreError> {
        let mut archived = Vec::new();
        let take = |name: &str, object: &Object| {
            let class = object.storage_class.as_ref().map(ObjectStorageClass::as_str);
            let class = class.filter(|class| ARCHIVES.contains(class));
            archived.extend(class.and_then(|class| Some((Key::new(name).ok()?, class.to_owned()))));
            0
        };
        self.0.pages(prefix, None, usize::MAX, take).await?;
        Ok(archived)
    }

    fn traffic(&self) -> Option<Traffic> {
        Some(self.0.meter.traffic())
    }

    async fn foreign(&self) -> Result<Vec<String>, StoreError> {
        let mut foreign = Vec::new();
        let take = |name: &str, _: &Object| {
            if Key::new(name).is_err() {
                foreign.push(name.to_owned());
            }
            0
        };
        self.0.pages("", None, usize::MAX, take).await?;
        Ok(foreign)
    }
}
