//! Which object is to be read, or which version of one.
//!
//! A version has one content for ever. Only the one without an id, which buckets have that keep no
//! versions or no longer do, can be overwritten: it is held to the entity tag that was listed. On
//! purpose not here: reading.

use crate::attributes::{DELETE_MARKER, VERSION};
use crate::listing::Listed;
use crate::listing_versions::NO_ID;
use crate::object::{Pin, stat_of};
use holdfast_core::version::{Version, version_key};
use holdfast_engine::source::{Details, Examined, ReadStatus};

/// What is to be read.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub key: String,
    /// None if it is what the object is when it is read.
    pub pin: Option<Pin>,
    /// What takes its place is as good.
    is_newest: bool,
}

impl Wanted {
    pub(crate) fn of(listed: &Listed) -> Self {
        let etag = || Some(format!("\"{}\"", listed.etag)).filter(|_| !listed.etag.is_empty());
        let pin = listed.version.as_ref().map(|version| match version.id.as_str() {
            // Servers that never heard of versions know this one without its name.
            NO_ID if version.is_newest => Pin::new(etag(), None),
            NO_ID => Pin::new(etag(), Some(NO_ID.to_owned())),
            id => Pin::new(None, Some(id.to_owned())),
        });
        let is_newest = listed.version.as_ref().is_none_or(|version| version.is_newest);
        Self { key: listed.key.clone(), pin, is_newest }
    }

    /// It is not any more what was listed. Whether what is there now can be read in its place: an
    /// older version is gone for ever.
    pub(crate) fn let_go(&mut self) -> bool {
        self.pin = None;
        self.is_newest
    }
}

/// The key that an object, or a version of one, has in the tree.
pub(crate) fn tree_key(listed: &Listed) -> Vec<u8> {
    let object = listed.key.as_bytes();
    listed.version.as_ref().map_or_else(
        || object.to_vec(),
        |version| {
            let (time, place, is_marker) = (version.time, version.place, version.is_marker);
            version_key(object, &Version { time, place, is_marker, id: &version.id })
        },
    )
}

/// What there is to know of a delete marker; nothing has to be asked.
pub(crate) fn marker(listed: &Listed) -> Option<Examined> {
    let version = listed.version.as_ref().filter(|version| version.is_marker)?;
    let mut xattrs = vec![(DELETE_MARKER.as_bytes().to_vec(), Vec::new())];
    if version.id != NO_ID {
        xattrs.push((VERSION.as_bytes().to_vec(), version.id.clone().into_bytes()));
    }
    Some(Examined {
        stat: stat_of("", 0, listed.modified),
        details: Details { xattrs, ..Details::default() },
        status: ReadStatus::Stable,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use crate::listing::ListedVersion;
    use crate::object::proof_of;
    use holdfast_core::entry::{Attributes, Content, Entry, Kind, Time};
    use holdfast_core::version::split_version;
    use holdfast_engine::source::Proof;

    fn listed(id: &str, is_newest: bool, is_marker: bool) -> Listed {
        let time = Time { seconds: 9, nanos: 5 };
        let version = ListedVersion { id: id.to_owned(), time, place: 1, is_marker, is_newest };
        let modified = Time { seconds: 9, nanos: 0 };
        Listed { key: "k".to_owned(), size: 3, modified, etag: "e".to_owned(), version: Some(version) }
    }

    #[test]
    fn only_what_has_no_id_can_change() {
        let pin = |id: &str, is_newest| Wanted::of(&listed(id, is_newest, false)).pin.unwrap();
        assert_eq!(pin("v1", true), Pin::new(None, Some("v1".to_owned())));
        assert_eq!(pin("null", false), Pin::new(Some("\"e\"".to_owned()), Some("null".to_owned())));
        assert_eq!(pin("null", true), Pin::new(Some("\"e\"".to_owned()), None));
        assert!(Wanted::of(&listed("null", true, false)).let_go());
        assert!(!Wanted::of(&listed("null", false, false)).let_go());
        assert!(Wanted::of(&Listed { version: None, ..listed("x", false, false) }).pin.is_none());
    }

    #[test]
    fn a_marker_is_known_without_asking() {
        assert!(marker(&listed("v1", true, false)).is_none());
        let gone = listed("v1", true, true);
        let (examined, key) = (marker(&gone).unwrap(), tree_key(&gone));
        let version = split_version(&key).unwrap().1;
        assert!(version.is_marker && version.id == "v1" && version.place == 1);
        assert!(examined.details.xattrs.is_sorted());
        let entry = Entry {
            key,
            kind: Kind::File,
            mode: 0o644,
            owner: std::sync::Arc::default(),
            mtime: gone.modified,
            size: 0,
            content: Content::None,
            digest: None,
            attributes: Attributes::default(),
        };
        // Without a stat cache its entry proves that it is as it was.
        assert_eq!(
            proof_of(&entry, &examined.details.xattrs),
            Some(Proof::from(&stat_of("", 0, gone.modified)))
        );
    }
}
