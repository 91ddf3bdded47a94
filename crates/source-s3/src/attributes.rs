//! What an entry keeps of an object beyond its key, size, content and time: extended attributes
//! with these names.
//!
//! FORMAT.md has the table; names are never given another meaning. Values are UTF-8 as the server
//! stated them, unless told otherwise. On purpose not here: asking for them, setting them.

/// All names that are meant for buckets begin with this.
pub const PREFIX: &str = "s3.";

/// The entity tag, without its quotes. With size, version and time it decides whether an object is
/// unchanged.
pub const ETAG: &str = "s3.etag";
/// The version's id, in a bucket that has versions.
pub const VERSION: &str = "s3.version-id";
/// The class of storage, if it is not STANDARD.
pub const STORAGE_CLASS: &str = "s3.storage-class";
/// Headers that a reader of the object gets. `expires` is the text of the header.
pub const HEADERS: [&str; 7] = [
    "s3.cache-control",
    "s3.content-disposition",
    "s3.content-encoding",
    "s3.content-language",
    "s3.content-type",
    "s3.expires",
    "s3.website-redirect-location",
];
/// Before the name of user metadata, as in `s3.meta.author`.
pub const META: &str = "s3.meta.";
/// Before the key of a tag, as in `s3.tag.project`.
pub const TAG: &str = "s3.tag.";
/// Lengths in bytes of the parts that it was uploaded in, in decimal, with commas between; runs of
/// the same length as `LENGTHxCOUNT`. With them the same entity tag can be made again.
pub const PARTS: &str = "s3.parts";
/// Access control list, where it was asked for: JSON, `{"grants": [{"grantee": {"id": …}, "permission":
/// "READ"}], "owner": ID}`. A grantee has an `id`, a `uri` or an `email`; grants are sorted by their
/// text, names of keys too, so that equal rights are equal bytes.
pub const ACL: &str = "s3.acl";
/// Mode of the object's lock.
pub const LOCK_MODE: &str = "s3.lock-mode";
/// Until when the object is locked: RFC 3339.
pub const LOCK_UNTIL: &str = "s3.lock-retain-until";
/// `ON` if a legal hold keeps the object.
pub const LEGAL_HOLD: &str = "s3.legal-hold";
/// Present, with no value, on a version that is a delete marker; it has no content.
pub const DELETE_MARKER: &str = "s3.delete-marker";
/// Present on an object whose content was not kept, because it lies in an archive; names the class.
/// Its entry has the length zero.
pub const COLD: &str = "s3.cold";
/// The length in bytes, in decimal, of an object whose content was not kept.
pub const SIZE: &str = "s3.size";

/// Why an entry has no content, if it lacks what the object had; by its attributes.
#[must_use]
pub fn lacking(attributes: &[(Vec<u8>, Vec<u8>)]) -> Option<String> {
    let (_, class) = attributes.iter().find(|(name, _)| name == COLD.as_bytes())?;
    let class = String::from_utf8_lossy(class);
    Some(format!("its content was not kept: it lay in {class} when it was backed up"))
}
