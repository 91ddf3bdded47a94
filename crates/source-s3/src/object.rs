//! One object: asking for its content, and all that is kept of it beside.
//!
//! On purpose not here: when to ask, and how many at once.

use crate::attributes::{
    DELETE_MARKER, ETAG, HEADERS, LEGAL_HOLD, LOCK_MODE, LOCK_UNTIL, META, PARTS, STORAGE_CLASS, TAG, VERSION,
};
use crate::listing::{plain_etag, time_of};
use crate::listing_versions::NO_ID;
use crate::source::Shared;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTimeFormat};
use bytes::Bytes;
use holdfast_core::entry::{Entry, Kind, Owner, Time};
use holdfast_engine::source::{Details, ItemError, Proof, Stat};
use holdfast_store_s3::{About, Answer, whole};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// So often the body of an answer is asked for when it breaks off.
pub(crate) const BODIES: u32 = 5;
/// What stands for a sign that a server could not write into its listing.
const UNTOLD: char = '\u{fffd}';

/// Keeps further requests to the version that the first one gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pin {
    etag: Option<String>,
    version: Option<String>,
}

impl Pin {
    /// To an entity tag, with its quotes, to a version, or to both.
    pub(crate) const fn new(etag: Option<String>, version: Option<String>) -> Self {
        Self { etag, version }
    }

    /// What has no id of its own can be overwritten.
    fn may_change(&self) -> bool {
        self.version.as_ref().is_none_or(|version| version == NO_ID)
    }
}

/// An object whose content can be read.
pub(crate) struct Opened {
    pub stat: Stat,
    pub details: Details,
    pub pin: Pin,
    pub body: ByteStream,
    /// Length of the body, which is a part if a part was asked for.
    pub length: u64,
}

/// Why there is no content.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is another version now.
    Changed,
    /// A part was asked for, and the object ends before.
    Beyond,
    /// It breaks off; another attempt may succeed.
    Broken(io::Error),
    /// Nothing can be done here.
    Item(ItemError),
}

impl Refused {
    /// What to tell of the item when nothing is tried any more.
    pub(crate) fn into_item(self) -> ItemError {
        let text = match self {
            Self::Item(error) => return error,
            Self::Broken(error) => return unreadable("read", error),
            Self::Changed => "it is overwritten faster than it can be read",
            Self::Beyond => "its length is not what the server stated",
        };
        unreadable("read", io::Error::other(text))
    }
}

pub(crate) fn unreadable(operation: &'static str, source: io::Error) -> ItemError {
    ItemError::Unreadable { operation, source }
}

/// Asks for an object, or for a part of it; of a version if one is pinned.
pub(crate) async fn get(
    shared: &Shared,
    key: &str,
    pin: Option<&Pin>,
    range: Option<(u64, u64)>,
) -> Result<Opened, Refused> {
    let mut request = shared.client.get_object().bucket(&shared.address.bucket).key(key);
    if let Some(pin) = pin {
        request = request.set_version_id(pin.version.clone());
        if pin.may_change() {
            request = request.set_if_match(pin.etag.clone());
        }
    }
    if let Some((first, last)) = range {
        request = request.range(format!("bytes={first}-{last}"));
    }
    let mut object = match request.send().await {
        Ok(object) => object,
        Err(error) => {
            let cold = error.code() == Some("InvalidObjectState");
            let answer = Answer::of(error);
            if answer.is_taken() {
                return Err(Refused::Changed);
            }
            if answer.is_beyond() {
                return Err(Refused::Beyond);
            }
            let right = pin.is_some_and(|pin| pin.version.is_some()) && answer.is_denied();
            let error = refused(key, cold, answer);
            return Err(Refused::Item(if right { needs(error, "s3:GetObjectVersion") } else { error }));
        }
    };
    let broken = |what: &str| Refused::Broken(io::Error::other(what.to_owned()));
    let length = object.content_length.and_then(|length| u64::try_from(length).ok());
    let length = length.ok_or_else(|| broken("the server does not say how long it is"))?;
    let size = match (range, object.content_range.as_deref()) {
        (Some(_), Some(stated)) => {
            total(stated).ok_or_else(|| broken("the server does not say how long the whole is"))?
        }
        // Without that header it is the whole, unless the header was forgotten.
        (Some((first, last)), None) if length == last - first + 1 => {
            return Err(broken("the server does not say how long the whole is"));
        }
        _ => length,
    };
    let plain = |etag: &Option<String>| etag.as_deref().map(plain_etag);
    if pin.is_some_and(|pin| pin.etag.is_some() && plain(&pin.etag) != plain(&object.e_tag)) {
        return Err(Refused::Changed);
    }
    let body = std::mem::take(&mut object.body);
    let has_id = |version: &String| version != NO_ID && !version.is_empty();
    let version = object.version_id.clone().filter(has_id);
    let version = version.or_else(|| pin.and_then(|pin| pin.version.clone()));
    let etag = object.e_tag.as_deref().map(plain_etag).unwrap_or_default();
    Ok(Opened {
        stat: stat_of(&etag, size, time_of(object.last_modified.as_ref())),
        details: details_of(&object, &etag, version.clone().filter(has_id).as_deref()),
        pin: Pin { etag: object.e_tag, version },
        body,
        length,
    })
}

/// What a refusal means for the item.
fn refused(key: &str, cold: bool, answer: Answer) -> ItemError {
    if answer.is_absent() && !key.contains(UNTOLD) {
        return ItemError::Vanished;
    }
    if answer.is_absent() {
        let text = "its key has signs that the server's listing cannot tell; nothing can read it by that";
        return unreadable("read", io::Error::other(text));
    }
    let mut source = answer.into_error(&About { operation: "read", subject: "" }).source;
    if cold {
        let text = "it lies in an archive: restore it to a class that can be read at once, or exclude it";
        source = io::Error::other(format!("{text} ({source})"));
    }
    unreadable("read", source)
}

/// Says which right was lacking.
fn needs(error: ItemError, right: &str) -> ItemError {
    match error {
        ItemError::Unreadable { operation, source } => {
            unreadable(operation, io::Error::other(format!("{source}; the right to is {right}")))
        }
        error @ ItemError::Vanished => error,
    }
}

/// The length of the whole, of `bytes 0-9/100`.
fn total(content_range: &str) -> Option<u64> {
    content_range.rsplit_once('/')?.1.parse().ok()
}

/// Reads a body to its end, which has to be where the server said.
pub(crate) async fn body(stream: ByteStream, length: u64) -> Result<Bytes, Refused> {
    whole(stream, Some(length)).await.map_err(|text| Refused::Broken(io::Error::other(text)))
}

/// What decides whether an object is unchanged. The place of an inode takes a hash of the entity
/// tag, which a listing states too.
pub(crate) fn stat_of(etag: &str, size: u64, modified: Time) -> Stat {
    Stat {
        kind: Kind::File,
        mode: 0o644,
        owner: Arc::new(Owner::default()),
        size,
        mtime: modified,
        ctime: modified,
        inode: inode_of(etag.as_bytes()),
        device_of: 0,
        links: 1,
        device: None,
        sparse: false,
    }
}

fn inode_of(etag: &[u8]) -> u64 {
    let mut front = [0; 8];
    front.copy_from_slice(&blake3::hash(etag).as_bytes()[..8]);
    u64::from_le_bytes(front)
}

/// What the listing says of the object of an entry while it is unchanged.
pub(crate) fn proof_of(entry: &Entry, attributes: &[(Vec<u8>, Vec<u8>)]) -> Option<Proof> {
    let find = |wanted: &str| attributes.iter().find(|(name, _)| name == wanted.as_bytes());
    // A delete marker has no content that a tag could be of.
    let (_, etag) = find(ETAG).or_else(|| find(DELETE_MARKER))?;
    let (size, mtime) = (entry.size, entry.mtime);
    (entry.kind == Kind::File).then(|| Proof { size, mtime, ctime: mtime, inode: inode_of(etag) })
}

fn details_of(object: &GetObjectOutput, etag: &str, version: Option<&str>) -> Details {
    let mut kept = Kept::default();
    kept.keep(ETAG, Some(etag).filter(|etag| !etag.is_empty()));
    kept.keep(VERSION, version);
    kept.keep(
        STORAGE_CLASS,
        object.storage_class.as_ref().map(|class| class.as_str()).filter(|class| *class != "STANDARD"),
    );
    let headers = [
        &object.cache_control,
        &object.content_disposition,
        &object.content_encoding,
        &object.content_language,
        &object.content_type,
        &object.expires_string,
        &object.website_redirect_location,
    ];
    for (name, value) in HEADERS.into_iter().zip(headers) {
        kept.keep(name, value.as_deref());
    }
    for (name, value) in object.metadata.iter().flatten() {
        kept.keep(&format!("{META}{name}"), Some(value));
    }
    kept.keep(LOCK_MODE, object.object_lock_mode.as_ref().map(|mode| mode.as_str()));
    let until = object.object_lock_retain_until_date;
    kept.keep(LOCK_UNTIL, until.and_then(|until| until.fmt(DateTimeFormat::DateTime).ok()).as_deref());
    let hold = object.object_lock_legal_hold_status.as_ref().map(|hold| hold.as_str());
    kept.keep(LEGAL_HOLD, hold.filter(|hold| *hold == "ON"));
    let mut details = Details { xattrs: kept.0, ..Details::default() };
    if let Some(missing) = object.missing_meta.filter(|missing| *missing > 0) {
        details.unreadable.push(format!("{missing} of its user metadata cannot be told by the server"));
    }
    details
}

#[derive(Default)]
struct Kept(Vec<(Vec<u8>, Vec<u8>)>);

impl Kept {
    fn keep(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.0.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        }
    }
}

/// Adds what only further requests tell: tags, and the parts of an upload in parts.
pub(crate) async fn complete(shared: &Shared, key: &str, opened: &mut Opened) {
    let etag = opened.pin.etag.as_deref().map(plain_etag).unwrap_or_default();
    if let Some(parts) = parts(shared, key, &etag, opened).await {
        opened.details.xattrs.push((PARTS.as_bytes().to_vec(), parts.into_bytes()));
    }
    match tags(shared, key, &opened.pin).await {
        Ok(tags) => opened.details.xattrs.extend(tags),
        Err(what) => opened.details.unreadable.push(what),
    }
    if !opened.details.unreadable.is_empty() {
        // Once the right is there nothing of the object itself will have changed: it must neither
        // be taken as unchanged by the stat cache, nor be proven by its entry.
        opened.stat.inode = !opened.stat.inode;
        opened.details.xattrs.retain(|(name, _)| name != ETAG.as_bytes());
    }
    opened.details.xattrs.sort_unstable();
    opened.details.xattrs.dedup_by(|one, other| one.0 == other.0);
}

/// Without the right a server says of an object with tags what it says of one without: only
/// asking tells.
async fn tags(shared: &Shared, key: &str, pin: &Pin) -> Result<Vec<(Vec<u8>, Vec<u8>)>, String> {
    if shared.no_tags.load(Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let request = shared.client.get_object_tagging().bucket(&shared.address.bucket).key(key);
    let error = match request.set_version_id(pin.version.clone()).send().await {
        Ok(answer) => {
            let kept = |tag: aws_sdk_s3::types::Tag| {
                (format!("{TAG}{}", tag.key).into_bytes(), tag.value.into_bytes())
            };
            return Ok(answer.tag_set.into_iter().map(kept).collect());
        }
        Err(error) => error,
    };
    let unknown =
        error.raw_response().is_some_and(|response| matches!(response.status().as_u16(), 405 | 501))
            || matches!(error.code(), Some("NotImplemented" | "MethodNotAllowed"));
    let answer = Answer::of(error);
    if unknown {
        // A server without tags.
        shared.no_tags.store(true, Ordering::Relaxed);
        return Ok(Vec::new());
    }
    if answer.is_absent() {
        // It is gone by now: what was read of it is what there was.
        return Ok(Vec::new());
    }
    let source = answer.into_error(&About { operation: "read", subject: "" }).source;
    let right = if pin.may_change() { "s3:GetObjectTagging" } else { "s3:GetObjectVersionTagging" };
    Err(format!("cannot read its tags: {source}; the right to is {right}"))
}

/// Lengths of the parts of an upload, where all but the last are of one length, as nearly always.
async fn parts(shared: &Shared, key: &str, etag: &str, opened: &Opened) -> Option<String> {
    let count: u64 = etag.rsplit_once('-')?.1.parse().ok().filter(|count| *count > 0)?;
    let request = shared.client.head_object().bucket(&shared.address.bucket).key(key).part_number(1);
    let request = request.set_version_id(opened.pin.version.clone());
    let first = u64::try_from(request.send().await.ok()?.content_length?).ok()?;
    layout(opened.stat.size, first, count)
}

fn layout(size: u64, first: u64, count: u64) -> Option<String> {
    let before = count.checked_sub(1)?.checked_mul(first)?;
    let last = size.checked_sub(before).filter(|last| *last <= first && (*last > 0 || size == 0))?;
    Some(match count {
        1 => format!("{last}"),
        2 => format!("{first},{last}"),
        _ => format!("{first}x{},{last}", count - 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_by_the_first() {
        assert_eq!(layout(20, 8, 3).as_deref(), Some("8x2,4"));
        assert_eq!(layout(16, 8, 2).as_deref(), Some("8,8"));
        assert_eq!(layout(5, 5, 1).as_deref(), Some("5"));
        // The server took no notice of the part, or the parts are of several lengths.
        assert_eq!(layout(20, 20, 3), None);
        assert_eq!(layout(20, 4, 3), None);
    }

    #[test]
    fn an_entry_proves_what_a_listing_says() {
        let stat = stat_of("abc", 7, Time { seconds: 9, nanos: 0 });
        let entry = Entry {
            key: b"k".to_vec(),
            kind: Kind::File,
            mode: 0o644,
            owner: Arc::default(),
            mtime: stat.mtime,
            size: 7,
            content: holdfast_core::entry::Content::None,
            digest: None,
            attributes: holdfast_core::entry::Attributes::default(),
        };
        let etag = (ETAG.as_bytes().to_vec(), b"abc".to_vec());
        assert_eq!(proof_of(&entry, &[etag]), Some(Proof::from(&stat)));
        assert_eq!(proof_of(&entry, &[]), None);
        assert_eq!(total("bytes 0-9/100"), Some(100));
        assert_eq!(total("bytes 0-9/*"), None);
    }
}
