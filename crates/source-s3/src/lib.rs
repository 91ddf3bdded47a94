//! Buckets as something to back up, and to restore to.
//!
//! On purpose not here: a repository in a bucket, which is `store-s3`.

pub mod attributes;
mod beside;
pub mod configuration;
pub mod encoding;
mod keep;
mod listing;
mod listing_gaps;
mod listing_versions;
mod object;
mod place;
mod ranges;
mod reader;
mod source;
mod stream;
pub mod target;
mod told;
pub mod unfold;
mod untagged;
mod wanted;

pub use keep::{Keep, KeepConfiguration, Sweep, parse_metadata};
pub use place::{Overlap, at_one_server, overlap, parse_source};
pub use source::{BucketOptions, BucketSource, COUNTED, LeftOut, Versions};
