//! The listing: page after page, fetched ahead of whoever takes them, and believed only as far as
//! it goes forward.
//!
//! Some servers list in the order of bytes, some folder by folder; either is followed. One that
//! goes back or repeats itself would have no end, or gaps. On purpose not here: listing several
//! stretches at once, which `ranges` does, and what becomes of the keys.

use crate::ranges::{self, Plan};
use crate::source::Shared;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::Object;
use holdfast_core::entry::Time;
use holdfast_engine::source::SourceError;
use holdfast_store::{ErrorKind, StoreError};
use holdfast_store_s3::{About, Answer};
use std::cmp::Ordering;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
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
    /// Which version it is, where all are listed.
    pub version: Option<ListedVersion>,
}

/// What a listing of versions says of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedVersion {
    pub id: String,
    /// With its place, its order among the versions of the object.
    pub time: Time,
    pub place: u32,
    /// It says that the object was deleted, and has no content.
    pub is_marker: bool,
    /// It is what the object is now.
    pub is_newest: bool,
}

/// A page of the listing.
pub(crate) type Page = Vec<Listed>;

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the first key.
    Start,
    /// After this key, whether it is there or not.
    After(String),
    /// Where the server said that the page before ends.
    Token(String),
}

/// A page as the server gave it.
#[derive(Debug)]
pub(crate) struct Sheet {
    pub objects: Page,
    /// How to go on; `None` at the end.
    pub next: Option<String>,
}

/// Whoever lists: a server, or what stands for one.
pub(crate) trait Lister: Send + Sync + 'static {
    /// Asks for a page.
    fn page(&self, place: &Place) -> impl Future<Output = Result<Sheet, SourceError>> + Send;

    /// Asks whether an object is there, whatever a listing says.
    fn is_there(&self, key: &str) -> impl Future<Output = Result<bool, SourceError>> + Send;

    /// What all keys begin with.
    fn prefix(&self) -> &str;

    /// Whether the order of its listings is that of bytes, whatever was seen of them before.
    fn is_ordered(&self) -> bool;

    /// It does what no listing can be made of.
    fn failed(&self, what: &str) -> SourceError;
}

/// A listing that goes on in the background.
#[derive(Debug)]
pub(crate) struct Listing {
    pub pages: Receiver<Result<Page, SourceError>>,
    /// Set once all was listed, in the order of bytes and not folder by folder.
    pub by_bytes: Arc<AtomicBool>,
}

/// Starts to list in the background.
pub(crate) fn start(shared: &Arc<Shared>, plan: Plan) -> Listing {
    let (sender, pages) = channel(PAGES_AHEAD);
    let by_bytes = Arc::new(AtomicBool::new(false));
    let (lister, proved) = (Arc::clone(shared), Arc::clone(&by_bytes));
    shared.handle.spawn(async move {
        match list(&lister, plan, &sender).await {
            Ok(ordered) => proved.store(ordered, std::sync::atomic::Ordering::Release),
            // Nobody takes it any more: the run has ended.
            Err(error) => drop(sender.send(Err(error)).await),
        }
    });
    Listing { pages, by_bytes }
}

/// Lists everything in order; tells whether that was seen to be the order of bytes.
pub(crate) async fn list<L: Lister>(
    lister: &Arc<L>,
    plan: Plan,
    sender: &Sender<Result<Page, SourceError>>,
) -> Result<bool, SourceError> {
    let first = lister.page(&Place::Start).await?;
    // Who the server is shows when it has answered.
    if plan.is_divided() && (plan.by_bytes || lister.is_ordered()) {
        return ranges::list(lister, plan, first, sender).await;
    }
    Ok(walk(&**lister, &Stretch::default(), Some(first), sender).await?.by_bytes)
}

/// A part of the keys: after one, up to and with another. Without either it has no such end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub after: Option<String>,
    pub upto: Option<String>,
}

impl Stretch {
    pub(crate) fn place(&self) -> Place {
        self.after.clone().map_or(Place::Start, Place::After)
    }

    fn is_whole(&self) -> bool {
        self.after.is_none() && self.upto.is_none()
    }

    fn ends_before(&self, key: &str) -> bool {
        self.upto.as_ref().is_some_and(|upto| key > upto.as_str())
    }
}

/// What was seen of a stretch.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// Keys that the server listed after the end of the stretch.
    pub beyond: Vec<String>,
    /// The last key that was listed of the stretch.
    pub last: Option<String>,
    /// The server says that nothing follows.
    pub is_end: bool,
    /// Keys ascended by bytes, and not folder by folder.
    pub by_bytes: bool,
}

/// Lists a stretch, page after page, in whatever order it has as a whole, and in that of bytes if it
/// is a part: what lies where is known in no other order.
pub(crate) async fn walk<L: Lister>(
    lister: &L,
    stretch: &Stretch,
    mut first: Option<Sheet>,
    sender: &Sender<Result<Page, SourceError>>,
) -> Result<Walked, SourceError> {
    let mut ascent =
        Ascent { last: stretch.after.clone(), only_bytes: !stretch.is_whole(), ..Ascent::default() };
    let (mut place, mut walked) = (stretch.place(), Walked::default());
    loop {
        let sheet = match first.take() {
            Some(sheet) => sheet,
            None => lister.page(&place).await?,
        };
        let mut page = Page::with_capacity(sheet.objects.len());
        for object in sheet.objects {
            if !object.key.starts_with(lister.prefix()) {
                return Err(lister.failed(&format!("lists {}, which was not asked for", object.key)));
            }
            if !ascent.follows(&object.key) {
                let what = format!("goes back in its listing, or repeats itself, at {}", object.key);
                return Err(lister.failed(&what));
            }
            if stretch.ends_before(&object.key) {
                walked.beyond.push(object.key);
            } else {
                page.push(object);
            }
        }
        let empty = page.is_empty() && walked.beyond.is_empty();
        if let Some(last) = page.last() {
            walked.last = Some(last.key.clone());
            if sender.send(Ok(page)).await.is_err() {
                return Ok(walked);
            }
        }
        let next = sheet.next.map(Place::Token);
        if next.is_none() || !walked.beyond.is_empty() {
            walked.is_end = next.is_none();
            walked.by_bytes = ascent.is_by_bytes();
            return Ok(walked);
        }
        place = match next {
            Some(next) if next != place => next,
            _ if empty => {
                return Err(lister.failed("gives the same page of its listing again and again"));
            }
            _ => return Err(lister.failed("gives the same page of its listing again")),
        };
    }
}

impl Lister for Shared {
    async fn page(&self, place: &Place) -> Result<Sheet, SourceError> {
        let answer = page(self, place).await?;
        let mut objects = Page::with_capacity(answer.contents.as_ref().map_or(0, Vec::len));
        for object in answer.contents.unwrap_or_default() {
            objects
                .push(read(&object).ok_or_else(|| self.failed("lists an object without its key or length"))?);
        }
        let next = match (answer.is_truncated.unwrap_or(false), answer.next_continuation_token) {
            (false, _) => None,
            (true, Some(next)) => Some(next),
            (true, None) => {
                return Err(self.failed("says that there is more to list, and not how to get it"));
            }
        };
        Ok(Sheet { objects, next })
    }

    async fn is_there(&self, key: &str) -> Result<bool, SourceError> {
        let turn = self.meter.gate().enter().await;
        match self.client.head_object().bucket(&self.address.bucket).key(key).send().await {
            Ok(_) => {
                turn.went_well();
                Ok(true)
            }
            Err(error) => {
                let answer = Answer::of(error);
                // What may not be looked at is there.
                if answer.is_absent() || answer.is_denied() {
                    return Ok(!answer.is_absent());
                }
                let subject = format!("s3://{}/{key}", self.address.bucket);
                let about = About { operation: "look at", subject: &subject };
                Err(explained(&self.subject(), answer.into_error(&about)))
            }
        }
    }

    fn prefix(&self) -> &str {
        &self.address.prefix
    }

    /// Amazon lists by bytes; but for buckets of the kind that its name ends so for.
    fn is_ordered(&self) -> bool {
        self.meter.is_amazon() && !self.address.bucket.ends_with("--x-s3")
    }

    fn failed(&self, what: &str) -> SourceError {
        Self::failed(self, what)
    }
}

/// Asks whether an object is listed. It takes no turn: whoever asks has one.
pub(crate) async fn is_listed(shared: &Shared, key: &str) -> Result<bool, SourceError> {
    // Whatever else begins so comes after it, in either order.
    let request = shared.client.list_objects_v2().bucket(&shared.address.bucket).prefix(key).max_keys(10);
    let page = request.send().await.map_err(|error| {
        let subject = shared.subject();
        explained(&subject, Answer::of(error).into_error(&About { operation: "list", subject: &subject }))
    })?;
    Ok(page.contents().iter().any(|object| object.key() == Some(key)))
}

async fn page(shared: &Shared, place: &Place) -> Result<ListObjectsV2Output, SourceError> {
    let (after, token) = match place {
        Place::Start => (None, None),
        Place::After(key) => (Some(key.clone()), None),
        Place::Token(token) => (None, Some(token.clone())),
    };
    let mut attempt = 0;
    loop {
        attempt += 1;
        let request = shared
            .client
            .list_objects_v2()
            .bucket(&shared.address.bucket)
            .set_prefix(Some(shared.address.prefix.clone()).filter(|prefix| !prefix.is_empty()))
            .set_start_after(after.clone())
            .set_continuation_token(token.clone());
        let turn = shared.meter.gate().enter().await;
        match request.send().await {
            Ok(page) => {
                turn.went_well();
                return Ok(page);
            }
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
        version: None,
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
pub(crate) struct Ascent {
    last: Option<String>,
    not_by_bytes: bool,
    not_by_words: bool,
    /// Folder by folder will not do.
    only_bytes: bool,
}

impl Ascent {
    /// Whether a key comes after the one before.
    pub(crate) fn follows(&mut self, key: &str) -> bool {
        if let Some(last) = &self.last {
            self.not_by_bytes |= last.as_str() >= key;
            self.not_by_words |= by_words(last, key) != Ordering::Less;
            if self.not_by_bytes && (self.not_by_words || self.only_bytes) {
                return false;
            }
        }
        self.last = Some(key.to_owned());
        true
    }

    /// Whether the order can only have been that of bytes.
    const fn is_by_bytes(&self) -> bool {
        self.not_by_words && !self.not_by_bytes
    }
}

/// As if a slash were before all else.
pub(crate) fn by_words(one: &str, other: &str) -> Ordering {
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

    #[test]
    fn neighbours_tell_which_of_both_it_is() {
        let is_by_bytes = |keys: &[&str]| {
            let mut ascent = Ascent::default();
            keys.iter().all(|key| ascent.follows(key)) && ascent.is_by_bytes()
        };
        assert!(is_by_bytes(&["a", "a-b", "a/b", "b"]));
        assert!(!is_by_bytes(&["a", "a/b", "a-b", "b"]));
        assert!(!is_by_bytes(&["a", "b", "c/d"]));
    }
}
