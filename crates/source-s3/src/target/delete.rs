//! Deleting objects that a snapshot does not have.
//!
//! All that was met is remembered as eight bytes; should two names share them, one object more stays
//! than had to. On purpose not here: what may be deleted.

use super::shared::{Shared, one_more};
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use holdfast_engine::outcome::ProblemKind;
use holdfast_engine::target::TargetError;
use holdfast_engine::{Selection, Selector};
use std::hash::{BuildHasher, RandomState};

/// Names that the snapshot has.
#[derive(Debug, Default)]
pub(super) struct Seen {
    hasher: RandomState,
    hashes: Vec<u64>,
    sorted: bool,
}

impl Seen {
    pub(super) fn add(&mut self, name: &str) {
        self.hashes.push(self.hasher.hash_one(name));
        self.sorted = false;
    }

    fn has(&mut self, name: &str) -> bool {
        if !std::mem::replace(&mut self.sorted, true) {
            self.hashes.sort_unstable();
        }
        self.hashes.binary_search(&self.hasher.hash_one(name)).is_ok()
    }
}

impl Shared {
    /// Goes through all that lies at the target, and deletes what may be.
    pub(super) async fn delete_others(&self, seen: &mut Seen, select: &Selector) -> Result<(), TargetError> {
        let prefix = self.place.prefix();
        let mut token = None;
        loop {
            let list = self.place.client.list_objects_v2().bucket(self.place.bucket()).prefix(prefix);
            let page = self.place.ask(prefix, list.set_continuation_token(token).send()).await;
            let page = match page {
                Ok(page) => page,
                Err(answer) => {
                    let what = self.judged("list", prefix, answer)?;
                    self.problem(b"", ProblemKind::Refused, format!("nothing more is deleted: {what}"));
                    return Ok(());
                }
            };
            let mut others = Vec::new();
            for object in page.contents.unwrap_or_default() {
                let size = object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
                let is_kept = self.options.keep_larger_than.is_some_and(|most| size > most);
                let Some(name) = object.key else { continue };
                let Some(path) = name.strip_prefix(prefix) else { continue };
                if seen.has(&name) {
                    one_more(&self.count.existing);
                } else if !is_kept && may_go(select, path) {
                    one_more(&self.count.existing);
                    others.push(name);
                }
            }
            self.delete(others).await?;
            token = page.next_continuation_token;
            if page.is_truncated != Some(true) {
                return Ok(());
            }
            if token.is_none() {
                let what = "not all is deleted: the server says that there is more, and not how to list it";
                self.problem(b"", ProblemKind::Refused, what);
                return Ok(());
            }
        }
    }

    /// Deletes what one page named.
    async fn delete(&self, names: Vec<String>) -> Result<(), TargetError> {
        let path = |name: &str| name.strip_prefix(self.place.prefix()).unwrap_or(name).as_bytes().to_vec();
        if self.options.rehearse || self.options.survey || names.is_empty() {
            names.iter().for_each(|name| self.deleted(&path(name)));
            return Ok(());
        }
        let objects = names.iter().filter_map(|name| ObjectIdentifier::builder().key(name).build().ok());
        let Ok(delete) = Delete::builder().set_objects(Some(objects.collect())).quiet(true).build() else {
            return Ok(());
        };
        let deleted = self.place.client.delete_objects().bucket(self.place.bucket()).delete(delete);
        let errors = match self.place.ask(&names[0], deleted.send()).await {
            Ok(deleted) => deleted.errors.unwrap_or_default(),
            Err(answer) => {
                let what = self.judged("delete", &names[0], answer)?;
                let what = format!("{} objects were not deleted, this the first: {what}", names.len());
                self.problem(&path(&names[0]), ProblemKind::Unwritable, what);
                return Ok(());
            }
        };
        for error in &errors {
            let (name, text) = (error.key().unwrap_or_default(), error.message().or(error.code()));
            let what = format!("not deleted: {}", text.unwrap_or("the server does not say why"));
            self.problem(&path(name), ProblemKind::Unwritable, what);
        }
        let failed = |name: &&String| errors.iter().any(|error| error.key() == Some(name.as_str()));
        names.iter().filter(|name| !failed(name)).for_each(|name| self.deleted(&path(name)));
        Ok(())
    }
}

/// Asks for an object as for a file: for all folders above it first.
fn may_go(select: &Selector, path: &str) -> bool {
    let full = format!("/{path}").into_bytes();
    let ends = full.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let mut folders = ends.filter(|end| *end + 1 < full.len());
    folders.all(|end| select(&full[..end], true) != Selection::Skip)
        && select(&full, false) == Selection::Take
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn an_object_goes_if_its_folders_may_be_looked_into() {
        let select: Selector = Arc::new(|path: &[u8], is_folder: bool| match path {
            b"/kept" => Selection::Skip,
            b"/way" if is_folder => Selection::Descend,
            _ => Selection::Take,
        });
        for (path, goes) in
            [("kept/x", false), ("way/x", true), ("way", true), ("other//x", true), ("kept", false)]
        {
            assert_eq!(may_go(&select, path), goes, "{path}");
        }
    }

    #[test]
    fn what_was_seen_is_known() {
        let mut seen = Seen::default();
        seen.add("a");
        assert!(seen.has("a") && !seen.has("b"));
        seen.add("b");
        assert!(seen.has("b"));
    }
}
