//! The one entry of a bucket's snapshot that is no object: the configuration of the bucket.
//!
//! A key of an object holds no zero byte, so its key begins with one: nothing else can have it, and
//! it comes before everything else. On purpose not here: what stands in it.

/// The key of the entry.
pub const CONFIGURATION_KEY: &[u8] = b"\0bucket-configuration.json";
/// How people see it. What else a tree of a bucket holds is shown with a slash in front.
pub const CONFIGURATION_SHOWN: &str = "(bucket configuration)";
