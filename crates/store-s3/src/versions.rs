//! Old versions of what was deleted: where a bucket keeps them, a key that was destroyed is still
//! there for who may read versions.
//!
//! On purpose not here: versions of packs. They are bytes without meaning once their keys are gone.

use crate::bucket::S3Store;
use crate::error::Answer;
use aws_sdk_s3::types::ObjectVersion;

/// What became of old versions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Versions that are gone.
    pub deleted: u64,
    /// Versions that are still there: locked, or not ours to delete.
    pub left: u64,
}

/// Deletes all versions below a name of the store, where the bucket keeps any.
///
/// # Errors
/// They cannot be listed; what the server said.
pub async fn erase_versions(store: &S3Store, below: &str) -> Result<Erased, String> {
    let bucket = store.bucket();
    let prefix = format!("{}{below}", bucket.prefix());
    let mut erased = Erased::default();
    let (mut key, mut version) = (None, None);
    loop {
        let list = bucket.client().list_object_versions().bucket(bucket.bucket()).prefix(&prefix);
        let page = list.set_key_marker(key.take()).set_version_id_marker(version.take()).send().await;
        let page = page.map_err(|error| Answer::of(error).text().to_owned())?;
        let versions = page.versions().iter().map(|one: &ObjectVersion| (one.key(), one.version_id()));
        let markers = page.delete_markers().iter().map(|one| (one.key(), one.version_id()));
        for (key, version) in versions.chain(markers) {
            let (Some(key), Some(version)) = (key, version) else { continue };
            let delete = bucket.client().delete_object().bucket(bucket.bucket()).key(key).version_id(version);
            match delete.send().await {
                Ok(_) => erased.deleted += 1,
                Err(_) => erased.left += 1,
            }
        }
        if !page.is_truncated().unwrap_or_default() {
            return Ok(erased);
        }
        (key, version) = (page.next_key_marker, page.next_version_id_marker);
    }
}
