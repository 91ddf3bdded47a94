//! Buckets as something to back up, and to restore to.
//!
//! On purpose not here: a repository in a bucket, which is `store-s3`.

pub mod attributes;
pub mod encoding;
pub mod target;
pub mod unfold;
