//! Empties a place that was made to be emptied: scratch of a drill.
//!
//! All versions go too, since a version holds what an object held. On purpose not here: judging whether it
//! may be emptied; whoever calls made it.

use super::place::BucketPlace;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use holdfast_store::{ErrorKind, StoreError};
use holdfast_store_s3::{About, Answer};

impl BucketPlace {
    /// Deletes every object, version and delete marker there; how many they were.
    ///
    /// # Errors
    /// It cannot be listed, or something cannot be deleted.
    pub async fn empty(&self) -> Result<u64, StoreError> {
        let mut count = 0;
        // A listing may have gaps where names begin alike: it is asked for until it has nothing.
        loop {
            let found = self.something().await?;
            if found.is_empty() {
                return Ok(count);
            }
            count += found.len() as u64;
            self.delete_all(found).await?;
        }
    }

    /// Some of what is there: name and version.
    async fn something(&self) -> Result<Vec<(String, Option<String>)>, StoreError> {
        let list = self.client.list_object_versions().bucket(self.bucket()).prefix(self.prefix());
        let page =
            self.ask(self.prefix(), list.send()).await.map_err(|answer| self.failed("list", answer))?;
        let versions = page.versions.unwrap_or_default().into_iter().map(|one| (one.key, one.version_id));
        let markers =
            page.delete_markers.unwrap_or_default().into_iter().map(|one| (one.key, one.version_id));
        let found: Vec<_> =
            versions.chain(markers).filter_map(|(key, version)| Some((key?, version))).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let list = self.client.list_objects_v2().bucket(self.bucket()).prefix(self.prefix());
        let page =
            self.ask(self.prefix(), list.send()).await.map_err(|answer| self.failed("list", answer))?;
        Ok(page.contents.unwrap_or_default().into_iter().filter_map(|one| Some((one.key?, None))).collect())
    }

    async fn delete_all(&self, found: Vec<(String, Option<String>)>) -> Result<(), StoreError> {
        let object = |(key, version): (String, Option<String>)| {
            ObjectIdentifier::builder().key(key).set_version_id(version).build().ok()
        };
        let objects = found.into_iter().filter_map(object).collect();
        let Ok(delete) = Delete::builder().set_objects(Some(objects)).quiet(true).build() else {
            return Ok(());
        };
        let request = self.client.delete_objects().bucket(self.bucket()).delete(delete);
        let done =
            self.ask(self.prefix(), request.send()).await.map_err(|answer| self.failed("delete", answer))?;
        match done.errors.unwrap_or_default().first() {
            None => Ok(()),
            Some(error) => {
                let why = error.message().or(error.code()).unwrap_or("the server does not say why");
                let subject = self.subject(error.key().unwrap_or_default());
                let source = std::io::Error::other(why.to_owned());
                Err(StoreError { kind: ErrorKind::Denied, operation: "delete", subject, source })
            }
        }
    }

    fn failed(&self, operation: &'static str, answer: Answer) -> StoreError {
        answer.into_error(&About { operation, subject: &self.subject(self.prefix()) })
    }
}
