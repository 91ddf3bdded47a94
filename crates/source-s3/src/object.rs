//! One object: asking for its content, or only for what is kept of it beside.
//!
//! On purpose not here: when to ask, and how many at once.

use crate::attributes::{COLD, SIZE};
use crate::beside::complete;
use crate::listing::{self, Listed, plain_etag};
use crate::listing_versions;
use crate::source::Shared;
use crate::told::{Pin, Told, stated};
use crate::wanted::Wanted;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use holdfast_engine::source::{Details, ItemError, Lack};
use holdfast_store_s3::{About, Answer, whole};
use std::io;

/// So often the body of an answer is asked for when it breaks off.
pub(crate) const BODIES: u32 = 5;
/// So often an object is asked for that a server lists, and says that there is none.
const ASKS: u32 = 2;
/// What stands for a sign that a server could not write into its listing.
const UNTOLD: char = '\u{fffd}';
/// What a server calls an object in an archive, when its content is asked for.
const ARCHIVED: &str = "InvalidObjectState";

/// An object whose content can be read.
pub(crate) struct Opened {
    pub told: Told,
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
    /// It lies in an archive; what the server says.
    Cold(io::Error),
    /// Nothing can be done here.
    Item(ItemError),
}

impl Refused {
    /// What to tell of the item when nothing is tried any more.
    pub(crate) fn into_item(self) -> ItemError {
        let text = match self {
            Self::Item(error) => return error,
            Self::Broken(error) | Self::Cold(error) => return unreadable("read", error),
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
    let mut answered = request.clone().send().await.map_err(Answer::of);
    let mut asks = 1;
    while answered.as_ref().err().is_some_and(Answer::is_absent) {
        let error = absent(shared, key, pin, "read").await;
        if asks == ASKS || matches!(error, ItemError::Vanished) {
            return Err(Refused::Item(error));
        }
        // It may have been made anew meanwhile.
        asks += 1;
        answered = request.clone().send().await.map_err(Answer::of);
    }
    let object = match answered {
        Ok(object) => object,
        Err(answer) if answer.is_taken() => return Err(Refused::Changed),
        Err(answer) if answer.is_beyond() => return Err(Refused::Beyond),
        Err(answer) if answer.code() == ARCHIVED => {
            let source = answer.into_error(&About { operation: "read", subject: "" }).source;
            return Err(Refused::Cold(source));
        }
        Err(answer) => {
            let right = pin.is_some_and(|pin| pin.version.is_some()) && answer.is_denied();
            let error = refused("read", answer);
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
    let mut told = Told::of(&stated!(object), size, shared.keep, pin);
    told.tag_count = Some(object.tag_count().and_then(|count| u32::try_from(count).ok()).unwrap_or(0));
    Ok(Opened { told, body: object.body, length })
}

/// Adds what only further requests tell of an object whose content is read.
pub(crate) async fn complete_read(shared: &Shared, key: &str, told: &mut Told) {
    complete(shared, key, told).await;
    if !told.details.unreadable.is_empty() {
        told.doubt();
    }
}

/// What it means that there is no such object: it is gone, unless the server lists it all the same.
async fn absent(shared: &Shared, key: &str, pin: Option<&Pin>, operation: &'static str) -> ItemError {
    if key.contains(UNTOLD) {
        let text = "its key has signs that the server's listing cannot tell; nothing can read it by that";
        return unreadable(operation, io::Error::other(text));
    }
    let listed = match pin.and_then(|pin| pin.version.as_deref()) {
        Some(version) => listing_versions::is_listed(shared, key, version).await,
        None => listing::is_listed(shared, key).await,
    };
    match listed {
        Ok(false) => ItemError::Vanished,
        Ok(true) => {
            let text = "the server lists it, and says that there is no such object: it keeps it back, or has lost it";
            unreadable(operation, io::Error::other(text))
        }
        Err(error) => {
            let text = format!(
                "the server says that there is no such object, and cannot be asked whether it lists it: {}",
                error.what
            );
            unreadable(operation, io::Error::other(text))
        }
    }
}

/// What a refusal means for the item.
fn refused(operation: &'static str, answer: Answer) -> ItemError {
    unreadable(operation, answer.into_error(&About { operation, subject: "" }).source)
}

/// Asks for all that is known of an object but its content.
async fn head(shared: &Shared, key: &str, pin: Option<&Pin>) -> Result<Told, ItemError> {
    let request = shared.client.head_object().bucket(&shared.address.bucket).key(key);
    let request = request.set_version_id(pin.and_then(|pin| pin.version.clone()));
    let head = match request.send().await.map_err(Answer::of) {
        Ok(head) => head,
        Err(answer) if answer.is_absent() => return Err(absent(shared, key, pin, "look at").await),
        Err(answer) => return Err(refused("look at", answer)),
    };
    let size = head.content_length().and_then(|length| u64::try_from(length).ok());
    let silent = || unreadable("look at", io::Error::other("the server does not say how long it is"));
    Ok(Told::of(&stated!(head), size.ok_or_else(silent)?, shared.keep, pin))
}

/// Reads what is kept of an object beside its content; none if it is not what was listed any more.
pub(crate) async fn look(shared: &Shared, listed: &Listed) -> Result<Option<Details>, ItemError> {
    let wanted = Wanted::of(listed);
    let mut told = head(shared, &listed.key, wanted.pin.as_ref()).await?;
    let same =
        (told.etag(), told.stat.size, told.stat.mtime) == (listed.etag.clone(), listed.size, listed.modified);
    if !same {
        return Ok(None);
    }
    complete(shared, &listed.key, &mut told).await;
    Ok(Some(told.details))
}

/// Reads all but the content of an object that lies in an archive.
pub(crate) async fn cold(shared: &Shared, wanted: &Wanted, why: &io::Error) -> Result<Told, ItemError> {
    let mut told = head(shared, &wanted.key, wanted.pin.as_ref()).await?;
    complete(shared, &wanted.key, &mut told).await;
    let class = told.class().unwrap_or_else(|| "an archive".to_owned());
    let what = if shared.accept_cold {
        format!("it lies in {class}: its content is not kept")
    } else {
        format!(
            "its content is not kept: it lies in {class} ({why}); restore it to a class that can be read, exclude \
             it, or say --cold accept"
        )
    };
    let pair = |name: &str, value: String| (name.as_bytes().to_vec(), value.into_bytes());
    let xattrs = vec![pair(COLD, class), pair(SIZE, told.stat.size.to_string())];
    told.details.lack = Some(Lack { what, accepted: shared.accept_cold, xattrs });
    Ok(told)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_the_whole_stands_behind_the_slash() {
        assert_eq!(total("bytes 0-9/100"), Some(100));
        assert_eq!(total("bytes 0-9/*"), None);
    }
}
