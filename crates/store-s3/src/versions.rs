//! Old versions of what was deleted: where a bucket keeps them, a key that was destroyed is still
//! there for who may read versions.
//!
//! On purpose not here: versions of packs. They are bytes without meaning once their keys are gone.

use crate::bucket::S3Store;
use crate::error::Answer;
use aws_sdk_s3::types::ObjectVersion;

/// Deletes all versions below a name of the store, where the bucket keeps any; returns how many are still there:
/// locked, or not ours to delete.
///
/// # Errors
/// They cannot be listed; what the server said.
pub async fn erase_versions(store: &S3Store, below: &str) -> Result<u64, String> {
    let bucket = store.bucket();
    let prefix = format!("{}{below}", bucket.prefix());
    let mut left = 0;
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
            left += u64::from(delete.send().await.is_err());
        }
        if !page.is_truncated().unwrap_or_default() {
            return Ok(left);
        }
        (key, version) = (page.next_key_marker, page.next_version_id_marker);
    }
}
