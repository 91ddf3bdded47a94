//! What an answer tells of an object: what decides whether it is unchanged, and what is kept of it.
//!
//! GET and HEAD tell the same. On purpose not here: what only further requests tell.

use crate::attributes::{
    COLD, DELETE_MARKER, ETAG, HEADERS, LEGAL_HOLD, LOCK_MODE, LOCK_UNTIL, META, STORAGE_CLASS, VERSION,
};
use crate::keep::Keep;
use crate::listing::{plain_etag, time_of};
use crate::listing_versions::NO_ID;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use holdfast_core::entry::{Entry, Kind, Owner, Time};
use holdfast_engine::source::{Details, Proof, Stat};
use std::collections::HashMap;
use std::sync::Arc;

/// The class that is not stated.
const STANDARD: &str = "STANDARD";

/// Keeps further requests to the version that the first one gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pin {
    /// With its quotes.
    pub etag: Option<String>,
    pub version: Option<String>,
}

impl Pin {
    /// What has no id of its own can be overwritten.
    pub(crate) fn may_change(&self) -> bool {
        self.version.as_ref().is_none_or(|version| version == NO_ID)
    }
}

/// What an answer told of an object.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub stat: Stat,
    pub details: Details,
    pub pin: Pin,
    /// How many tags were stated with the content; none where it was not asked for.
    pub tag_count: Option<u32>,
}

/// The parts of an answer that are kept.
pub(crate) struct Stated<'a> {
    pub etag: Option<&'a str>,
    pub version: Option<&'a str>,
    pub modified: Option<&'a DateTime>,
    pub class: Option<&'a str>,
    /// In the order of [`HEADERS`].
    pub headers: [Option<&'a str>; HEADERS.len()],
    pub metadata: Option<&'a HashMap<String, String>>,
    pub lock_mode: Option<&'a str>,
    pub lock_until: Option<&'a DateTime>,
    pub legal_hold: Option<&'a str>,
    /// User metadata that no header can state.
    pub missing: Option<i32>,
}

/// Takes the parts out of the answer to a GET or a HEAD.
macro_rules! stated {
    ($answer:expr) => {
        $crate::told::Stated {
            etag: $answer.e_tag(),
            version: $answer.version_id(),
            modified: $answer.last_modified(),
            class: $answer.storage_class().map(|class| class.as_str()),
            headers: [
                $answer.cache_control(),
                $answer.content_disposition(),
                $answer.content_encoding(),
                $answer.content_language(),
                $answer.content_type(),
                $answer.expires_string(),
                $answer.website_redirect_location(),
            ],
            metadata: $answer.metadata(),
            lock_mode: $answer.object_lock_mode().map(|mode| mode.as_str()),
            lock_until: $answer.object_lock_retain_until_date(),
            legal_hold: $answer.object_lock_legal_hold_status().map(|hold| hold.as_str()),
            missing: $answer.missing_meta(),
        }
    };
}
pub(crate) use stated;

impl Told {
    /// What was asked for by a version is that version, whether the answer says so or not.
    pub(crate) fn of(stated: &Stated<'_>, size: u64, keep: Keep, pin: Option<&Pin>) -> Self {
        let version = stated.version.filter(|version| *version != NO_ID && !version.is_empty());
        let version = version.or_else(|| pin.and_then(|pin| pin.version.as_deref()));
        let etag = stated.etag.map(plain_etag).unwrap_or_default();
        Self {
            stat: stat_of(&etag, size, time_of(stated.modified)),
            details: details_of(stated, &etag, version.filter(|version| *version != NO_ID), keep),
            pin: Pin { etag: stated.etag.map(str::to_owned), version: version.map(str::to_owned) },
            tag_count: None,
        }
    }

    /// The entity tag without its quotes.
    pub(crate) fn etag(&self) -> String {
        self.pin.etag.as_deref().map(plain_etag).unwrap_or_default()
    }

    /// The class of storage, if it is stated.
    pub(crate) fn class(&self) -> Option<String> {
        let class = self.details.xattrs.iter().find(|(name, _)| name == STORAGE_CLASS.as_bytes());
        class.map(|(_, class)| String::from_utf8_lossy(class).into_owned())
    }

    /// Sees to it that an object of which not everything could be read is read again: once the
    /// right is there nothing of the object itself will have changed. It must neither be taken as
    /// unchanged by the stat cache, nor be proven by its entry.
    pub(crate) fn doubt(&mut self) {
        self.stat.inode = !self.stat.inode;
        self.details.xattrs.retain(|(name, _)| name != ETAG.as_bytes());
    }
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
        inode: hashed(etag.as_bytes()),
        device_of: 0,
        links: 1,
        device: None,
        sparse: false,
    }
}

/// Stands for a class of storage: nothing for the one that is not stated.
pub(crate) fn mark_of(class: &str) -> u64 {
    if class.is_empty() || class == STANDARD { 0 } else { hashed(class.as_bytes()) }
}

fn hashed(bytes: &[u8]) -> u64 {
    let mut front = [0; 8];
    front.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    u64::from_le_bytes(front)
}

/// What the listing says of the object of an entry while it is unchanged. One whose content was
/// not kept is never unchanged.
pub(crate) fn proof_of(entry: &Entry, attributes: &[(Vec<u8>, Vec<u8>)]) -> Option<Proof> {
    let find = |wanted: &str| {
        attributes.iter().find(|(name, _)| name == wanted.as_bytes()).map(|(_, value)| value.as_slice())
    };
    // A delete marker has no content that a tag could be of.
    let etag = find(ETAG)
        .or_else(|| find(DELETE_MARKER))
        .filter(|_| entry.kind == Kind::File && find(COLD).is_none())?;
    let mark = find(STORAGE_CLASS).map_or(0, |class| mark_of(&String::from_utf8_lossy(class)));
    let (size, mtime) = (entry.size, entry.mtime);
    Some(Proof { size, mtime, ctime: mtime, inode: hashed(etag), mark })
}

fn details_of(stated: &Stated<'_>, etag: &str, version: Option<&str>, keep: Keep) -> Details {
    let mut kept = Kept::default();
    kept.keep(ETAG, Some(etag).filter(|etag| !etag.is_empty()));
    kept.keep(VERSION, version);
    kept.keep(STORAGE_CLASS, stated.class.filter(|class| *class != STANDARD));
    for (name, value) in HEADERS.into_iter().zip(stated.headers) {
        kept.keep(name, value);
    }
    for (name, value) in stated.metadata.into_iter().flatten() {
        kept.keep(&format!("{META}{name}"), Some(value));
    }
    if keep.lock {
        kept.keep(LOCK_MODE, stated.lock_mode);
        let until = stated.lock_until.and_then(|until| until.fmt(DateTimeFormat::DateTime).ok());
        kept.keep(LOCK_UNTIL, until.as_deref());
        kept.keep(LEGAL_HOLD, stated.legal_hold.filter(|hold| *hold == "ON"));
    }
    let mut details = Details { xattrs: kept.0, ..Details::default() };
    if let Some(missing) = stated.missing.filter(|missing| *missing > 0) {
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let etag = pair(ETAG, "abc");
        assert_eq!(proof_of(&entry, std::slice::from_ref(&etag)), Some(Proof::from(&stat)));
        assert_eq!(proof_of(&entry, &[]), None);
        let class = pair(STORAGE_CLASS, "GLACIER");
        let proof = proof_of(&entry, &[etag.clone(), class]);
        assert_eq!(proof, Some(Proof { mark: mark_of("GLACIER"), ..Proof::from(&stat) }));
        assert_eq!(proof_of(&entry, &[pair(COLD, "GLACIER"), etag]), None);
        assert_eq!((mark_of(""), mark_of("STANDARD")), (0, 0));
    }
}
