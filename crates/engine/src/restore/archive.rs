//! Packs that lie in an archive, where nothing can be read before somebody brings it back.
//!
//! A listing says of a pack in which class of storage it lies, and costs one request for a thousand.
//! What was brought back is listed as before, so those that matter are asked for a byte. On purpose
//! not here: which packs a restore needs.

use crate::error::Result;
use crate::repository::{Repository, object_key};
use futures::stream::{self, StreamExt};
use holdfast_store::{ByteRange, ErrorKind};
use std::collections::BTreeMap;

/// What the names of packs with contents begin with. Without the others nothing can be listed at all.
const CONTENTS: &str = "packs/data/";
/// Packs that are asked for a byte at the same time.
const ASKED_AT_ONCE: usize = 16;

/// Packs with contents that lie in an archive, by what a listing says: their names, and the classes of
/// storage that they lie in. None where there are no such classes.
///
/// # Errors
/// The store cannot be listed.
pub async fn archived_packs(repository: &Repository) -> Result<BTreeMap<String, String>> {
    let archived = repository.store().archived(CONTENTS).await?;
    Ok(archived.into_iter().map(|(key, class)| (key.to_string(), class)).collect())
}

/// Those of some packs that cannot be read now.
pub(super) async fn still_archived(repository: &Repository, packs: Vec<String>) -> Vec<String> {
    let ask = |pack: String| async move {
        let byte = ByteRange::From { offset: 0, length: 1 };
        let answer = repository.store().get(&object_key(pack.clone()), byte).await;
        answer.is_err_and(|error| error.kind == ErrorKind::Archived).then_some(pack)
    };
    let asked: Vec<_> = stream::iter(packs).map(ask).buffered(ASKED_AT_ONCE).collect().await;
    asked.into_iter().flatten().collect()
}
