//! Uploads in parts that nobody ended: they cost like objects and no listing shows them.
//!
//! Age is reckoned by the server's clock alone. On purpose not here: which age is old enough.

use crate::bucket::Bucket;
use crate::error::{About, Answer};
use aws_sdk_s3::types::MultipartUpload;
use holdfast_store::StoreError;
use std::time::Duration;

/// Aborts all below the bucket's prefix that were begun longer ago than `age`; tells how many.
pub(crate) async fn clear(bucket: &Bucket, age: Duration) -> Result<u64, StoreError> {
    let subject = format!("the unfinished uploads in s3://{}/{}", bucket.bucket(), bucket.prefix());
    let about = About { operation: "list", subject: &subject };
    let (mut key, mut id) = (None, None);
    let mut cleared = 0;
    loop {
        let list = bucket.client().list_multipart_uploads().bucket(bucket.bucket());
        let list = list.prefix(bucket.prefix()).set_key_marker(key.take()).set_upload_id_marker(id.take());
        let turn = bucket.turn().await;
        let page = match list.send().await.map_err(Answer::of) {
            Ok(page) => page,
            Err(answer) if answer.is_unknown() => return Ok(cleared),
            Err(answer) => return Err(answer.into_error(&about)),
        };
        drop(turn);
        let now = bucket.meter().server_time();
        for upload in page.uploads.unwrap_or_default() {
            if is_old(&upload, now, age) && upload.key().is_some_and(|key| key.starts_with(bucket.prefix())) {
                cleared += u64::from(abort(bucket, &upload).await?);
            }
        }
        (key, id) = (page.next_key_marker, page.next_upload_id_marker);
        if page.is_truncated != Some(true) || key.is_none() {
            return Ok(cleared);
        }
    }
}

fn is_old(upload: &MultipartUpload, now: Option<i64>, age: Duration) -> bool {
    let (Some(begun), Some(now)) = (upload.initiated(), now) else {
        // Nobody says how old it is: only whoever takes any age takes this one.
        return age.is_zero();
    };
    now.saturating_sub(begun.secs()) >= i64::try_from(age.as_secs()).unwrap_or(i64::MAX)
}

/// True if it was there to be aborted.
async fn abort(bucket: &Bucket, upload: &MultipartUpload) -> Result<bool, StoreError> {
    let name = upload.key().unwrap_or_default();
    let subject = format!("s3://{}/{name}", bucket.bucket());
    let about = About { operation: "abort the upload of", subject: &subject };
    let abort = bucket.client().abort_multipart_upload().bucket(bucket.bucket()).key(name);
    let _turn = bucket.turn().await;
    match abort.set_upload_id(upload.upload_id.clone()).send().await.map_err(Answer::of) {
        Ok(_) => Ok(true),
        Err(answer) if answer.is_absent() => Ok(false),
        Err(answer) => Err(answer.into_error(&about)),
    }
}
