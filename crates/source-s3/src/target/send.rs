//! Sending an object, whole or in parts, with all that was recorded of it.
//!
//! An object takes its name at once, or not at all: nothing half is ever to be seen. What is there is
//! only replaced if it still is what was looked at. On purpose not here: where bytes come from.

use super::recorded::{Recorded, dress};
use super::shared::{Shared, lock, one_more};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, MetadataDirective, Tag, Tagging, TaggingDirective,
};
use bytes::Bytes;
use holdfast_engine::outcome::ProblemKind;
use holdfast_store_s3::Answer;
use std::sync::atomic::Ordering;

/// What becomes of an object's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Nothing is done.
    Nothing,
    /// It is written.
    Write,
    /// It is compared with what is there.
    Compare,
    /// What is there is right.
    Keep,
}

/// An object that is there.
#[derive(Debug, Clone)]
pub(super) struct There {
    /// With its quotes.
    pub(super) etag: Option<String>,
    pub(super) size: u64,
    /// It has other headers, metadata or another class than was recorded.
    pub(super) differs: bool,
    /// It has other tags.
    pub(super) tags_differ: bool,
}

/// An entry on its way to be an object.
#[derive(Debug)]
pub(super) struct Slot {
    /// The object's whole name.
    pub(super) name: String,
    /// What it is called in problems.
    pub(super) path: Vec<u8>,
    pub(super) recorded: Recorded,
    /// Of its content, if that can be told by it.
    pub(super) digest: Option<[u8; 32]>,
    pub(super) plan: Plan,
    pub(super) there: Option<There>,
}

/// What a server was spared, because it would not do it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ease {
    tags: bool,
    class: bool,
    condition: bool,
}

impl Ease {
    /// Whether to ask again for less.
    fn again(&mut self, recorded: &Recorded, answer: &Answer) -> bool {
        let less = if answer.is_unknown() {
            &mut self.condition
        } else if answer.is_denied() && !recorded.tags.is_empty() {
            &mut self.tags
        } else if answer.code() == "InvalidStorageClass" && recorded.has_class() {
            &mut self.class
        } else {
            return false;
        };
        !std::mem::replace(less, true)
    }

    fn dressed(self, recorded: &Recorded) -> Recorded {
        let recorded = if self.tags { recorded.untagged() } else { recorded.clone() };
        if self.class { recorded.unclassed() } else { recorded }
    }
}

/// An upload in parts that the server knows of.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    id: String,
    ease: Ease,
}

impl Shared {
    /// Sends an object in one request.
    pub(super) async fn send_whole(&self, slot: &Slot, bytes: Bytes) -> bool {
        let length = bytes.len() as u64;
        let mut ease = Ease::default();
        let answer = loop {
            let put = self.place.client.put_object().bucket(self.place.bucket()).key(&slot.name);
            let mut put = dress!(put.body(ByteStream::from(bytes.clone())), &ease.dressed(&slot.recorded));
            if !ease.condition {
                put = put.set_if_none_match(self.if_none_match(slot)).set_if_match(self.if_match(slot));
            }
            let answer = self.place.ask(&slot.name, put.send()).await;
            if self.means_a_folder(slot, ease, answer.as_ref().err()).await {
                ease.condition = true;
                continue;
            }
            match answer {
                Ok(sent) => {
                    self.wrote(slot, sent.e_tag);
                    break None;
                }
                Err(answer) if ease.again(&slot.recorded, &answer) => {}
                Err(answer) => break Some(answer),
            }
        };
        let digest = || *blake3::hash(&bytes).as_bytes();
        match answer {
            None => self.sent(slot, length, ease),
            // The answer to an earlier try may have been lost.
            Some(answer) if answer.is_taken() && self.holds(slot, digest()).await => {
                self.sent(slot, length, ease);
            }
            Some(answer) => return self.unsent(slot, answer),
        }
        self.set_rights(slot).await;
        true
    }

    /// Sends an object that is at hand in the parts that were recorded.
    pub(super) async fn send_in_parts(&self, slot: &Slot, bytes: Bytes) -> bool {
        let layout = slot.recorded.layout(bytes.len() as u64, u64::MAX, u64::MAX);
        let Some(begun) = self.begin(slot).await else { return false };
        let mut parts = Vec::with_capacity(layout.count());
        for part in 0..layout.count() {
            let (start, end) = layout.range(part);
            let Some(sent) =
                self.send_part(slot, &begun, part, bytes.slice(start as usize..end as usize)).await
            else {
                self.abort(&begun, &slot.name).await;
                return false;
            };
            parts.push(sent);
        }
        self.finish_parts(slot, &begun, parts, bytes.len() as u64).await
    }

    /// Begins an upload in parts.
    pub(super) async fn begin(&self, slot: &Slot) -> Option<Begun> {
        let mut ease = Ease::default();
        loop {
            let begin =
                self.place.client.create_multipart_upload().bucket(self.place.bucket()).key(&slot.name);
            let begin = dress!(begin, &ease.dressed(&slot.recorded));
            match self.place.ask(&slot.name, begin.send()).await {
                Ok(begun) => {
                    let Some(id) = begun.upload_id else {
                        let what = "the server begins an upload and does not name it";
                        self.problem(&slot.path, ProblemKind::Unwritable, what);
                        return None;
                    };
                    lock(&self.uploads).insert(id.clone(), slot.name.clone());
                    return Some(Begun { id, ease });
                }
                Err(answer) if ease.again(&slot.recorded, &answer) => {}
                Err(answer) => {
                    self.unsent(slot, answer);
                    return None;
                }
            }
        }
    }

    /// Sends a part; the first is number 0.
    pub(super) async fn send_part(
        &self,
        slot: &Slot,
        begun: &Begun,
        part: usize,
        bytes: Bytes,
    ) -> Option<CompletedPart> {
        let number = i32::try_from(part + 1).unwrap_or(i32::MAX);
        let send = self.place.client.upload_part().bucket(self.place.bucket()).key(&slot.name);
        let send = send.upload_id(&begun.id).part_number(number).body(ByteStream::from(bytes));
        match self.place.ask(&slot.name, send.send()).await {
            Ok(sent) => {
                let completed = CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag);
                let completed = completed.set_checksum_crc32(sent.checksum_crc32);
                Some(completed.set_checksum_crc64_nvme(sent.checksum_crc64_nvme).build())
            }
            Err(answer) => {
                self.unsent(slot, answer);
                None
            }
        }
    }

    /// Makes an object of the parts that were sent.
    pub(super) async fn finish_parts(
        &self,
        slot: &Slot,
        begun: &Begun,
        parts: Vec<CompletedPart>,
        length: u64,
    ) -> bool {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let mut ease = begun.ease;
        let answer = loop {
            let complete = self.place.client.complete_multipart_upload().bucket(self.place.bucket());
            let mut complete = complete.key(&slot.name).upload_id(&begun.id).multipart_upload(parts.clone());
            if !ease.condition {
                complete =
                    complete.set_if_none_match(self.if_none_match(slot)).set_if_match(self.if_match(slot));
            }
            let answer = self.place.ask(&slot.name, complete.send()).await;
            if self.means_a_folder(slot, ease, answer.as_ref().err()).await {
                ease.condition = true;
                continue;
            }
            match answer {
                Ok(made) => {
                    self.wrote(slot, made.e_tag);
                    break None;
                }
                Err(answer) if answer.is_unknown() && !ease.condition => ease.condition = true,
                Err(answer) => break Some(answer),
            }
        };
        let Some(answer) = answer else {
            lock(&self.uploads).remove(&begun.id);
            self.sent(slot, length, ease);
            self.set_rights(slot).await;
            return true;
        };
        // Of an upload that was completed, and the answer lost, nothing is known afterwards.
        if let (true, Some(digest)) = (answer.is_taken() || answer.is_absent(), slot.digest)
            && self.holds(slot, digest).await
        {
            self.abort(begun, &slot.name).await;
            self.sent(slot, length, ease);
            self.set_rights(slot).await;
            return true;
        }
        self.abort(begun, &slot.name).await;
        self.unsent(slot, answer)
    }

    /// Gives up an upload in parts.
    pub(super) async fn abort(&self, begun: &Begun, name: &str) {
        self.abort_upload(&begun.id, name).await;
    }

    pub(super) async fn abort_upload(&self, id: &str, name: &str) {
        let abort = self.place.client.abort_multipart_upload().bucket(self.place.bucket()).key(name);
        match self.place.ask(name, abort.upload_id(id).send()).await {
            Ok(_) => {}
            Err(answer) if answer.is_absent() => {}
            Err(answer) => {
                if let Ok(what) = self.judged("give up an upload of", name, answer) {
                    self.notice(name.as_bytes(), format!("parts of an upload stay in the bucket: {what}"));
                }
            }
        }
        lock(&self.uploads).remove(id);
    }

    /// Whether a server calls a name taken of which it has no object: some take the folder that other
    /// names lie in for one.
    async fn means_a_folder(&self, slot: &Slot, ease: Ease, answer: Option<&Answer>) -> bool {
        let is_taken = answer.is_some_and(Answer::is_taken);
        if !is_taken || ease.condition || self.if_none_match(slot).is_none() {
            return false;
        }
        let head = self.place.client.head_object().bucket(self.place.bucket()).key(&slot.name);
        self.place.ask(&slot.name, head.send()).await.is_err_and(|answer| answer.is_absent())
    }

    /// Reads an object back: whether it is what was sent.
    async fn holds(&self, slot: &Slot, digest: [u8; 32]) -> bool {
        let get = self.place.client.get_object().bucket(self.place.bucket()).key(&slot.name);
        let Ok(mut answer) = self.place.ask(&slot.name, get.send()).await else { return false };
        let _waiting = self.place.waiting(&slot.name);
        let etag = answer.e_tag.take();
        let mut hasher = blake3::Hasher::new();
        while let Some(bytes) = answer.body.next().await {
            let Ok(bytes) = bytes else { return false };
            hasher.update(&bytes);
        }
        let is_it = *hasher.finalize().as_bytes() == digest;
        if is_it {
            self.wrote(slot, etag);
        }
        is_it
    }

    fn sent(&self, slot: &Slot, length: u64, ease: Ease) {
        one_more(if slot.there.is_some() { &self.count.rewritten } else { &self.count.created });
        self.count.bytes_written.fetch_add(length, Ordering::Relaxed);
        self.lacks(slot, ease);
    }

    /// Names what was recorded and could not be set.
    fn lacks(&self, slot: &Slot, ease: Ease) {
        let lacks = [
            (ease.tags, "its tags are not set: that is not allowed (s3:PutObjectTagging)"),
            (ease.class, "its class of storage is not set: the bucket does not have it"),
            (slot.recorded.has_odd_expires(), "its header Expires is no time, and not set"),
        ];
        for (_, what) in lacks.into_iter().filter(|(lacks, _)| *lacks) {
            self.problem(&slot.path, ProblemKind::Attribute, what);
        }
    }

    fn unsent(&self, slot: &Slot, answer: Answer) -> bool {
        if answer.is_taken() {
            let what =
                "somebody else made or changed it meanwhile; theirs was left: restore again to decide anew";
            self.problem(&slot.path, ProblemKind::Refused, what);
        } else {
            self.refused(&slot.path, ProblemKind::Unwritable, "write", &slot.name, answer);
        }
        false
    }

    /// Sets what differs beside the content of an object that is there.
    pub(super) async fn set_attributes(&self, slot: &Slot, there: &There) {
        let mut ease = Ease::default();
        let result = loop {
            let result = if there.differs {
                self.copy_onto_itself(slot, there, ease).await
            } else {
                self.set_tags(slot).await
            };
            match result {
                Err(answer) if there.differs && ease.again(&slot.recorded, &answer) => {}
                result => break result,
            }
        };
        match result {
            Ok(()) => {
                one_more(&self.count.attributes_only);
                self.lacks(slot, ease);
            }
            Err(answer) => {
                let operation = "set headers, metadata or tags of";
                self.refused(&slot.path, ProblemKind::Attribute, operation, &slot.name, answer);
            }
        }
    }

    async fn copy_onto_itself(&self, slot: &Slot, there: &There, ease: Ease) -> Result<(), Answer> {
        let words: Vec<_> = slot.name.split('/').map(super::recorded::escaped).collect();
        let copy = self.place.client.copy_object().bucket(self.place.bucket()).key(&slot.name);
        let copy = copy
            .copy_source(format!("{}/{}", self.place.bucket(), words.join("/")))
            .metadata_directive(MetadataDirective::Replace)
            .tagging_directive(TaggingDirective::Replace)
            .set_copy_source_if_match(there.etag.clone());
        let copy = dress!(copy, &ease.dressed(&slot.recorded));
        self.place.ask(&slot.name, copy.send()).await.map(drop)
    }

    async fn set_tags(&self, slot: &Slot) -> Result<(), Answer> {
        let tags = slot.recorded.tags.iter();
        let tags = tags.filter_map(|(key, value)| Tag::builder().key(key).value(value).build().ok());
        let tags: Vec<_> = tags.collect();
        let client = &self.place.client;
        if tags.is_empty() {
            let delete = client.delete_object_tagging().bucket(self.place.bucket()).key(&slot.name);
            return self.place.ask(&slot.name, delete.send()).await.map(drop);
        }
        let set = client.put_object_tagging().bucket(self.place.bucket()).key(&slot.name);
        let Ok(tagging) = Tagging::builder().set_tag_set(Some(tags)).build() else { return Ok(()) };
        self.place.ask(&slot.name, set.tagging(tagging).send()).await.map(drop)
    }
}
