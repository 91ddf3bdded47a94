//! What an entry says of an object beside its content, and how a request says it.
//!
//! On purpose not here: sending requests.

use super::rights::Rights;
use crate::attributes::{
    ACL, COLD, DELETE_MARKER, ETAG, HEADERS, LEGAL_HOLD, LOCK_MODE, META, PARTS, PREFIX, STORAGE_CLASS, TAG,
};
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use aws_sdk_s3::types::{StorageClass, Tag};
use holdfast_core::entry::{Entry, Xattrs};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// A part is held in memory while it is sent: longer ones than this are not made to match.
const PART_BYTES_MAX: u64 = 64 << 20;
/// What servers ask of all parts but the last.
const PART_BYTES_MIN: u64 = 5 << 20;
/// And how many there may be.
pub(super) const PARTS_MAX: u64 = 10_000;
/// What servers state of an object for which nobody stated a type.
const NO_TYPE: [&str; 2] = ["binary/octet-stream", "application/octet-stream"];

/// Puts everything that was recorded into a request.
macro_rules! dress {
    ($request:expr, $recorded:expr) => {{
        let recorded: &Recorded = $recorded;
        $request
            .set_cache_control(recorded.header("s3.cache-control"))
            .set_content_disposition(recorded.header("s3.content-disposition"))
            .set_content_encoding(recorded.header("s3.content-encoding"))
            .set_content_language(recorded.header("s3.content-language"))
            .set_content_type(recorded.header("s3.content-type"))
            .set_website_redirect_location(recorded.header("s3.website-redirect-location"))
            .set_expires(recorded.expires())
            .set_metadata(recorded.metadata())
            .set_storage_class(recorded.storage_class())
            .set_tagging(recorded.tagging())
    }};
}
pub(super) use dress;

/// What was recorded of an object; nothing of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Recorded {
    /// It was an object of a bucket.
    pub(super) is_object: bool,
    pub(super) etag: Option<String>,
    /// Lengths of its parts, if it is to be uploaded in the same.
    pub(super) parts: Option<Vec<u64>>,
    pub(super) tags: BTreeMap<String, String>,
    /// The class of storage, if its content was not kept because of it.
    pub(super) cold: Option<String>,
    pub(super) is_delete_marker: bool,
    /// It has a lock, which is not set.
    pub(super) has_lock: bool,
    /// Its access rights, which are set where that is asked for.
    pub(super) rights: Option<Rights>,
    class: Option<String>,
    headers: BTreeMap<&'static str, String>,
    meta: BTreeMap<String, String>,
}

impl Recorded {
    /// Reads an entry; the error says what cannot be understood.
    pub(super) fn of(entry: &Entry) -> Result<Self, String> {
        let mut recorded = Self::default();
        let Xattrs::Inline(pairs) = &entry.attributes.xattrs else { return Ok(recorded) };
        for (name, value) in pairs {
            let Ok(name) = std::str::from_utf8(name) else { continue };
            if name.starts_with(PREFIX) {
                recorded.is_object = true;
                let value = std::str::from_utf8(value).map_err(|_| format!("{name} is no text"))?;
                recorded.take(name, value, entry.size);
            }
        }
        Ok(recorded)
    }

    fn take(&mut self, name: &str, value: &str, size: u64) {
        let text = || Some(value.to_owned());
        match name {
            ETAG => self.etag = text(),
            STORAGE_CLASS => self.class = text(),
            PARTS => self.parts = parse_parts(value, size),
            COLD => self.cold = text(),
            DELETE_MARKER => self.is_delete_marker = true,
            ACL => self.rights = Rights::parse(value),
            LOCK_MODE | LEGAL_HOLD => self.has_lock = true,
            _ => {
                if let Some(header) = HEADERS.iter().find(|header| **header == name) {
                    self.headers.insert(header, value.to_owned());
                } else if let Some(key) = name.strip_prefix(META) {
                    self.meta.insert(key.to_owned(), value.to_owned());
                } else if let Some(key) = name.strip_prefix(TAG) {
                    self.tags.insert(key.to_owned(), value.to_owned());
                }
            }
        }
    }

    /// Whether it has rights or a lock that will not be set.
    pub(super) fn has_unset(&self, with_acl: bool) -> bool {
        self.has_lock || !with_acl && self.rights.as_ref().is_some_and(|rights| !rights.are_plain())
    }

    /// The same without tags.
    pub(super) fn untagged(&self) -> Self {
        Self { tags: BTreeMap::new(), ..self.clone() }
    }

    /// The same in the class that the bucket gives by itself.
    pub(super) fn unclassed(&self) -> Self {
        Self { class: None, ..self.clone() }
    }

    pub(super) fn has_class(&self) -> bool {
        self.class.is_some()
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).cloned()
    }

    /// The header as the client library wants it; `Expires` may be any text, and not all can be set.
    pub(super) fn expires(&self) -> Option<DateTime> {
        let text = self.headers.get("s3.expires")?;
        DateTime::from_str(text, DateTimeFormat::HttpDate).ok()
    }

    /// Whether a header was recorded that cannot be set.
    pub(super) fn has_odd_expires(&self) -> bool {
        self.headers.contains_key("s3.expires") && self.expires().is_none()
    }

    pub(super) fn metadata(&self) -> Option<HashMap<String, String>> {
        let pairs = self.meta.iter().map(|(key, value)| (key.clone(), value.clone()));
        (!self.meta.is_empty()).then(|| pairs.collect())
    }

    pub(super) fn storage_class(&self) -> Option<StorageClass> {
        self.class.as_deref().map(StorageClass::from)
    }

    /// Tags as a header says them.
    pub(super) fn tagging(&self) -> Option<String> {
        let mut text = String::new();
        for (key, value) in &self.tags {
            let separator = if text.is_empty() { "" } else { "&" };
            let _ = write!(text, "{separator}{}={}", escaped(key), escaped(value));
        }
        (!text.is_empty()).then_some(text)
    }

    /// Whether an object that is there has other headers, metadata or another class.
    pub(super) fn differs(&self, there: &HeadObjectOutput) -> bool {
        let text = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
        let type_of = |value: Option<String>| value.filter(|value| !NO_TYPE.contains(&value.as_str()));
        let headers = [
            ("s3.cache-control", there.cache_control()),
            ("s3.content-disposition", there.content_disposition()),
            ("s3.content-encoding", there.content_encoding()),
            ("s3.content-language", there.content_language()),
            ("s3.website-redirect-location", there.website_redirect_location()),
        ];
        let differing = headers.into_iter().any(|(name, value)| self.header(name) != text(value));
        let differing_type = type_of(self.header("s3.content-type")) != type_of(text(there.content_type()));
        let expires = if self.has_odd_expires() { None } else { self.header("s3.expires") };
        let differing_end = expires != text(there.expires_string()) && !self.has_odd_expires();
        let class = there.storage_class().map(StorageClass::as_str).filter(|class| *class != "STANDARD");
        let meta = there.metadata().cloned().unwrap_or_default();
        let differing_meta = meta.into_iter().collect::<BTreeMap<_, _>>() != self.meta;
        differing || differing_type || differing_end || differing_meta || class != self.class.as_deref()
    }

    /// Whether an object that is there has other tags.
    pub(super) fn tags_differ(&self, there: &[Tag]) -> bool {
        let there: BTreeMap<_, _> = there.iter().map(|tag| (tag.key(), tag.value())).collect();
        self.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect::<BTreeMap<_, _>>()
            != there
    }

    /// How an object of so many bytes is divided; one length if it is sent whole.
    pub(super) fn layout(&self, size: u64, whole_max: u64, part: u64) -> Layout {
        if let Some(parts) = &self.parts {
            let ends = parts.iter().scan(0, |at, length| {
                *at += length;
                Some(*at)
            });
            let starts = std::iter::once(0).chain(ends).take(parts.len()).collect();
            return Layout { starts, size, in_parts: true };
        }
        if size <= whole_max {
            return Layout { starts: vec![0], size, in_parts: false };
        }
        // So many parts at most, whatever the size.
        let part = part.max(size.div_ceil(PARTS_MAX).next_multiple_of(1 << 20));
        Layout {
            starts: (0..size).step_by(usize::try_from(part).unwrap_or(usize::MAX)).collect(),
            size,
            in_parts: true,
        }
    }
}

/// Where the parts of an object begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    starts: Vec<u64>,
    size: u64,
    /// It is uploaded in parts, even if it is a single one.
    pub(super) in_parts: bool,
}

impl Layout {
    pub(super) fn count(&self) -> usize {
        self.starts.len()
    }

    /// First byte and the one behind the last.
    pub(super) fn range(&self, part: usize) -> (u64, u64) {
        let start = self.starts.get(part).copied().unwrap_or(self.size);
        (start, self.starts.get(part + 1).copied().unwrap_or(self.size))
    }

    /// The part that a byte lies in.
    pub(super) fn part_of(&self, offset: u64) -> usize {
        self.starts.partition_point(|start| *start <= offset).saturating_sub(1)
    }
}

/// Reads lengths of parts: `8388608x3,100`. None if they are not those of this object, or cannot be
/// made again.
fn parse_parts(text: &str, size: u64) -> Option<Vec<u64>> {
    let mut parts = Vec::new();
    for run in text.split(',') {
        let (length, count) = run.split_once('x').unwrap_or((run, "1"));
        let (length, count): (u64, u64) = (length.parse().ok()?, count.parse().ok()?);
        if length == 0 || count == 0 || parts.len() as u64 + count > PARTS_MAX {
            return None;
        }
        parts.extend(std::iter::repeat_n(length, usize::try_from(count).ok()?));
    }
    let sum = parts.iter().try_fold(0_u64, |sum, length| sum.checked_add(*length))?;
    let (_, before) = parts.split_last()?;
    let fit = before.iter().all(|length| *length >= PART_BYTES_MIN)
        && parts.iter().all(|length| *length <= PART_BYTES_MAX);
    (fit && sum == size).then_some(parts)
}

/// Writes a text so that a query can hold it.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_the_object_or_none() {
        assert_eq!(parse_parts("8388608x2,100", (16 << 20) + 100), Some(vec![8 << 20, 8 << 20, 100]));
        assert_eq!(parse_parts("5", 5), Some(vec![5]));
        for (text, size) in [
            ("", 0),
            ("x", 1),
            ("8388608x2", 8 << 20),
            ("4,4", 8),
            ("8388608x99999999", 1),
            ("0x5,5", 5),
            ("134217728x2", 256 << 20),
            ("18446744073709551615,18446744073709551615", 5),
        ] {
            assert_eq!(parse_parts(text, size), None, "{text}");
        }
    }

    #[test]
    fn a_layout_covers_the_object() {
        let plain = Recorded::default();
        let small = plain.layout(100, 1000, 10);
        assert_eq!((small.count(), small.range(0), small.in_parts), (1, (0, 100), false));
        let large = plain.layout((20 << 20) + 1, 16 << 20, 8 << 20);
        assert_eq!((large.count(), large.range(2)), (3, (16 << 20, (20 << 20) + 1)));
        assert_eq!([0, (8 << 20) - 1, 8 << 20, 20 << 20].map(|at| large.part_of(at)), [0, 0, 1, 2]);
        let huge = plain.layout(5 << 40, 16 << 20, 8 << 20);
        assert!(huge.count() as u64 <= PARTS_MAX);
        let stated = Recorded { parts: Some(vec![6 << 20, 10]), ..Recorded::default() };
        let stated = stated.layout((6 << 20) + 10, 16 << 20, 8 << 20);
        assert_eq!((stated.count(), stated.range(1), stated.in_parts), (2, (6 << 20, (6 << 20) + 10), true));
    }

    #[test]
    fn tags_are_written_as_a_query() {
        let tags = [("a b", "c&d=é"), ("x", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let recorded = Recorded { tags: tags.into_iter().collect(), ..Recorded::default() };
        assert_eq!(recorded.tagging().unwrap(), "a%20b=c%26d%3D%C3%A9&x=");
    }
}
