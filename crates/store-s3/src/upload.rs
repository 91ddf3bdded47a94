//! An object that is written in parts.
//!
//! Up to one part is held in memory. What is no longer than that is put in one request. On purpose
//! not here: parts at the same time; several objects are written at once instead.

use crate::bucket::Bucket;
use crate::error::{About, Answer, failed};
use async_trait::async_trait;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use holdfast_store::{ErrorKind, Key, Put, StoreError, Upload};
use std::sync::Arc;
use tokio::runtime::Handle;

/// Length of a part in bytes. Ten thousand of them, which is the most, are 80 GiB.
const PART_BYTES: usize = 8 << 20;

/// An object on its way into a bucket.
pub(crate) struct S3Upload {
    bucket: Arc<Bucket>,
    key: Key,
    name: String,
    subject: String,
    held: BytesMut,
    /// The upload that the server knows of, once there is one.
    id: Option<String>,
    parts: Vec<CompletedPart>,
    /// A write was cancelled or failed: what is there is not what was written.
    torn: bool,
}

impl S3Upload {
    pub(crate) fn new(bucket: Arc<Bucket>, key: &Key) -> Self {
        let (name, subject) = (bucket.name(key), bucket.subject(key));
        let held = BytesMut::new();
        Self { bucket, key: key.clone(), name, subject, held, id: None, parts: Vec::new(), torn: false }
    }

    pub(crate) async fn send_part(&mut self, body: Bytes) -> Result<(), StoreError> {
        let about = About { operation: "write", subject: &self.subject };
        let client = self.bucket.client();
        let _turn = self.bucket.turn().await;
        if self.id.is_none() {
            let begun = client.create_multipart_upload().bucket(self.bucket.bucket()).key(&self.name);
            let begun = begun.set_storage_class(self.bucket.class(&self.key));
            let begun = begun.send().await.map_err(|error| Answer::of(error).into_error(&about))?;
            self.id = begun.upload_id;
        }
        let number = self.parts.len() as i32 + 1;
        let part = client
            .upload_part()
            .bucket(self.bucket.bucket())
            .key(&self.name)
            .set_upload_id(self.id.clone())
            .part_number(number)
            .body(ByteStream::from(body));
        let sent = part.send().await.map_err(|error| Answer::of(error).into_error(&about))?;
        let completed = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc32(sent.checksum_crc32)
            .set_checksum_crc64_nvme(sent.checksum_crc64_nvme);
        self.parts.push(completed.build());
        Ok(())
    }

    pub(crate) async fn complete(&mut self) -> Result<Put, StoreError> {
        let about = About { operation: "write", subject: &self.subject };
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.parts.clone())).build();
        let completed = self
            .bucket
            .client()
            .complete_multipart_upload()
            .bucket(self.bucket.bucket())
            .key(&self.name)
            .set_upload_id(self.id.clone())
            .multipart_upload(parts)
            .if_none_match("*");
        let turn = self.bucket.turn().await;
        let answer = match completed.send().await {
            Ok(_) => {
                self.id = None;
                return Ok(Put::Created);
            }
            Err(error) => Answer::of(error),
        };
        drop(turn);
        // Gone is an upload whose completion was carried out and its acknowledgement lost; a
        // conflict is somebody else's object on its way under the same name.
        let decided = answer.is_taken() || answer.is_absent() || answer.is_conflict();
        if decided && (answer.is_taken() || self.bucket.head(&self.key).await?.is_some()) {
            return Ok(Put::Exists);
        }
        Err(answer.into_error(&about))
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn write(&mut self, part: Bytes) -> Result<(), StoreError> {
        if std::mem::replace(&mut self.torn, true) {
            let about = About { operation: "write", subject: &self.subject };
            return Err(failed(&about, ErrorKind::Io, "an earlier write did not come to its end".into()));
        }
        self.held.extend_from_slice(&part);
        while self.held.len() > PART_BYTES {
            let body = self.held.split_to(PART_BYTES).freeze();
            self.send_part(body).await?;
        }
        self.torn = false;
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<Put, StoreError> {
        if self.torn {
            let about = About { operation: "write", subject: &self.subject };
            return Err(failed(&about, ErrorKind::Io, "a write did not come to its end".into()));
        }
        let body = self.held.split().freeze();
        if self.id.is_none() {
            return self.bucket.put_new(&self.key, body).await;
        }
        self.send_part(body).await?;
        self.complete().await
    }
}

impl Drop for S3Upload {
    /// The parts go too, if the server can be told; else they are an abandoned upload.
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), Handle::try_current()) else { return };
        let (bucket, name) = (Arc::clone(&self.bucket), self.name.clone());
        runtime.spawn(async move {
            let abort = bucket.client().abort_multipart_upload().bucket(bucket.bucket()).key(name);
            // Nobody is left to be told of a failure.
            let _ = abort.upload_id(id).send().await;
        });
    }
}
