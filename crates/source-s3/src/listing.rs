//! The listing: page after page, fetched ahead of whoever takes them, and believed only as far as
//! it goes forward.
//!
//! Some servers list in the order of bytes, some folder by folder; either is followed. One that
//! goes back or repeats itself would have no end, or gaps. On purpose not here: what becomes of
//! the keys.

use crate::source::Shared;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::Object;
use holdfast_core::entry::Time;
use holdfast_engine::source::SourceError;
use holdfast_store::{ErrorKind, StoreError};
use holdfast_store_s3::{About, Answer};
use std::cmp::Ordering;
use std::sync::Arc;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Pages that may wait to be taken; a page has a thousand keys.
const PAGES_AHEAD: usize = 4;
/// So often a page is asked for that breaks off, beyond what the client library tries by itself.
const ATTEMPTS: u32 = 3;

/// An object as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub key: String,
    pub size: u64,
    pub modified: Time,
    /// Without its quotes.
    pub etag: String,
    /// The class of storage; empty if it is not stated.
    pub class: String,
}

/// A page of the listing.
pub(crate) type Page = Vec<Listed>;

/// Starts to list in the background.
pub(crate) fn start(shared: &Arc<Shared>) -> Receiver<Result<Page, SourceError>> {
    let (sender, receiver) = channel(PAGES_AHEAD);
    let lister = Arc::clone(shared);
    shared.handle.spawn(async move {
        if let Err(error) = list(&lister, &sender).await {
            // Nobody takes it any more: the run has ended.
            let _ = sender.send(Err(error)).await;
        }
    });
    receiver
}

async fn list(shared: &Shared, sender: &Sender<Result<Page, SourceError>>) -> Result<(), SourceError> {
    let (mut token, mut ascent): (Option<String>, _) = (None, Ascent::default());
    loop {
        let answer = page(shared, token.as_deref()).await?;
        let mut listed = Page::with_capacity(answer.contents.as_ref().map_or(0, Vec::len));
        for object in answer.contents.unwrap_or_default() {
            let object =
                read(&object).ok_or_else(|| shared.failed("lists an object without its key or length"))?;
            if !object.key.starts_with(&shared.address.prefix) {
                return Err(shared.failed(&format!("lists {}, which was not asked for", object.key)));
            }
            if !ascent.follows(&object.key) {
                let what = format!("goes back in its listing, or repeats itself, at {}", object.key);
                return Err(shared.failed(&what));
            }
            listed.push(object);
        }
        let more = answer.is_truncated.unwrap_or(false);
        if more && listed.is_empty() && answer.next_continuation_token == token {
            return Err(shared.failed("gives the same page of its listing again and again"));
        }
        if !listed.is_empty() && sender.send(Ok(listed)).await.is_err() {
            return Ok(());
        }
        token = match (more, answer.next_continuation_token) {
            (false, _) => return Ok(()),
            (true, Some(next)) if token.as_ref() != Some(&next) => Some(next),
            (true, Some(_)) => return Err(shared.failed("gives the same page of its listing again")),
            (true, None) => {
                return Err(shared.failed("says that there is more to list, and not how to get it"));
            }
        };
    }
}

type Answered = aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;

async fn page(shared: &Shared, token: Option<&str>) -> Result<Answered, SourceError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let request = shared
            .client
            .list_objects_v2()
            .bucket(&shared.address.bucket)
            .set_prefix(Some(shared.address.prefix.clone()).filter(|prefix| !prefix.is_empty()))
            .set_continuation_token(token.map(str::to_owned));
        match request.send().await {
            Ok(page) => return Ok(page),
            Err(error) => {
                let subject = shared.subject();
                let error = Answer::of(error).into_error(&About { operation: "list", subject: &subject });
                if error.kind != ErrorKind::Retry || attempt == ATTEMPTS {
                    return Err(explained(&subject, error));
                }
            }
        }
    }
}

fn explained(subject: &str, error: StoreError) -> SourceError {
    let hint = match error.kind {
        ErrorKind::Denied => {
            "check the credentials (AWS_ACCESS_KEY_ID, HOLDFAST_SOURCE_AWS_ACCESS_KEY_ID, or profile= in the \
             URL) and that they may list the bucket (s3:ListBucket)"
        }
        ErrorKind::Unusable | ErrorKind::NotFound => {
            "check the bucket, the region and the endpoint in the URL"
        }
        _ => "check that the server can be reached, and back up again",
    };
    SourceError { what: format!("cannot list {subject}: {hint}"), source: Some(error.source) }
}

fn read(object: &Object) -> Option<Listed> {
    Some(Listed {
        key: object.key.clone()?,
        size: u64::try_from(object.size?).ok()?,
        modified: time_of(object.last_modified.as_ref()),
        etag: object.e_tag.as_deref().map(plain_etag).unwrap_or_default(),
        class: object.storage_class.as_ref().map(|class| class.as_str().to_owned()).unwrap_or_default(),
    })
}

/// Whole seconds: the header that comes with the object says no more.
pub(crate) fn time_of(time: Option<&DateTime>) -> Time {
    Time { seconds: time.map_or(0, DateTime::secs), nanos: 0 }
}

/// An entity tag without its quotes.
pub(crate) fn plain_etag(etag: &str) -> String {
    etag.trim_matches('"').to_owned()
}

/// Follows keys that ascend, by bytes or folder by folder.
#[derive(Debug, Default)]
struct Ascent {
    last: Option<String>,
    not_by_bytes: bool,
    not_by_words: bool,
}

impl Ascent {
    /// Whether a key comes after the one before.
    fn follows(&mut self, key: &str) -> bool {
        if let Some(last) = &self.last {
            self.not_by_bytes |= last.as_str() >= key;
            self.not_by_words |= by_words(last, key) != Ordering::Less;
            if self.not_by_bytes && self.not_by_words {
                return false;
            }
        }
        self.last = Some(key.to_owned());
        true
    }
}

/// As if a slash were before all else.
fn by_words(one: &str, other: &str) -> Ordering {
    let word = |byte: u8| if byte == b'/' { 0 } else { byte };
    one.bytes().map(word).cmp(other.bytes().map(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follows(keys: &[&str]) -> bool {
        let mut ascent = Ascent::default();
        keys.iter().all(|key| ascent.follows(key))
    }

    #[test]
    fn both_orders_are_followed_and_nothing_else() {
        assert!(follows(&["a", "a-b", "a/", "a/b", "b"]));
        assert!(follows(&["a", "a/", "a/b", "a-b", "b"]));
        assert!(!follows(&["a", "b", "a"]));
        assert!(!follows(&["a", "a"]));
        // Once it was by folders it stays so.
        assert!(!follows(&["a/b", "a-b", "b-c", "b/c"]));
    }
}
