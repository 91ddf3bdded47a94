//! What a store has and its listings leave out: whatever a prune frees is told from listings, so it asks for the
//! owners of what it is about to condemn by their names.
//!
//! On purpose not here: sessions of which a delta is listed ([`crate::gaps`]).

use super::scan::Scan;
use crate::error::{Error, ErrorKind, Result};
use crate::repository::{Repository, get_optional, object_key};
use futures::stream::{self, StreamExt, TryStreamExt};
use holdfast_core::name::{PackId, SessionName};
use holdfast_core::object::{HEADER_BYTES, Header};
use holdfast_core::session::End;
use holdfast_core::wire::Reader;
use holdfast_store::{ByteRange, ErrorKind as StoreErrorKind, Key};
use std::collections::{BTreeMap, BTreeSet};

/// Sessions that are asked for at once.
const READS_AT_ONCE: usize = 16;

/// Refuses where a pack is there and no listing shows it, not even now: what else is hidden nobody knows.
pub(super) async fn refuse_hidden(repository: &Repository, key: &Key) -> Result<()> {
    if is_listed(repository, key).await? || repository.store().head(key).await?.is_none() {
        return Ok(());
    }
    Err(hidden(repository, key.as_str()))
}

async fn is_listed(repository: &Repository, key: &Key) -> Result<bool> {
    let listed = repository.store().list(key.as_str(), None, 1).await?;
    Ok(listed.iter().any(|meta| meta.key == *key))
}

/// Refuses to condemn packs of a session that no listing showed and that is there all the same.
pub(super) async fn refuse_hidden_sessions(
    repository: &Repository,
    scan: &Scan,
    condemned: &BTreeSet<PackId>,
) -> Result<()> {
    let view = &scan.view;
    let known: BTreeSet<_> = (view.sessions.keys().map(|name| (name.member, name.session)))
        .chain(view.catalogued.iter().map(|row| (row.member, row.session)))
        .chain(view.lists.absorbed.iter().copied())
        .collect();
    let mut unknown: BTreeMap<_, PackId> = BTreeMap::new();
    for pack in condemned.iter().filter(|pack| !known.contains(&(pack.member, pack.session))) {
        unknown.entry((pack.member, pack.session)).or_insert(*pack);
    }
    stream::iter(unknown.into_values())
        .map(|pack| refuse_session_of(repository, scan, pack))
        .buffer_unordered(READS_AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

async fn refuse_session_of(repository: &Repository, scan: &Scan, pack: PackId) -> Result<()> {
    let Some(epoch) = epoch_of(repository, &pack).await? else { return Ok(()) };
    let name = SessionName { epoch: epoch as u32, member: pack.member, session: pack.session };
    let root = &scan.view.root;
    let counts = !repository.is_shut_out(name.member, root) && !repository.has_anothers_id(&name);
    if !counts || scan.view.lists.forgotten.contains(&name.session) {
        return Ok(());
    }
    // Below the fence only a commit says anything: what was decided otherwise is swept up one by one.
    let begun = epoch >= root.fence && has(repository, name.begin()).await?;
    if begun && !is_listed(repository, &object_key(name.begin())).await? {
        return Err(hidden(repository, &name.begin()));
    }
    let Some(bytes) = get_optional(&**repository.store(), &name.end()).await? else { return Ok(()) };
    let committed = matches!(repository.decode_end(&name, &bytes), Ok((_, End::Commit(_))));
    if committed && !is_listed(repository, &object_key(name.end())).await? {
        return Err(hidden(repository, &name.end()));
    }
    Ok(())
}

async fn has(repository: &Repository, name: String) -> Result<bool> {
    Ok(repository.store().head(&object_key(name)).await?.is_some())
}

/// The root that a pack's session began with, as its header says; `None` where it cannot be read.
async fn epoch_of(repository: &Repository, pack: &PackId) -> Result<Option<u64>> {
    let range = ByteRange::From { offset: 0, length: HEADER_BYTES as u64 };
    match repository.store().get(&object_key(pack.name()), range).await {
        Ok(bytes) => Ok(Header::decode(&mut Reader::new(&bytes)).ok().map(|header| header.epoch)),
        Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn hidden(repository: &Repository, object: &str) -> Error {
    let what = format!(
        "the listing of {} leaves out {object}, which is there: a store whose listings are not complete cannot keep a \
         repository. Nothing was changed",
        repository.location()
    );
    Error::new(ErrorKind::Conflict, what)
}
