//! G6: deletes what the newest root has given up, and what nothing names any more.
//!
//! Each rule here stays true whatever is published later, so that a sweep that was cut off, or
//! sleeps in the middle, harms nothing. On purpose not here: deciding what is given up.

use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::repository::{Repository, get_optional, list_all, object_key};
use crate::view::View;
use futures::stream::{self, StreamExt, TryStreamExt};
use holdfast_core::id::{ObjectId, SessionId};
use holdfast_core::name::{self, PackId, Place};
use holdfast_core::object::{HEADER_BYTES, Header};
use holdfast_core::root::Root;
use holdfast_core::wire::Reader;
use holdfast_store::{ByteRange, ErrorKind as StoreErrorKind, Key};
use std::collections::BTreeSet;

/// Objects that are deleted at the same time.
const DELETES_AT_ONCE: usize = 16;
/// After so many the newest root is read again: a hold stops what goes on.
const DELETES_A_ROOT: usize = 256;
/// So many earlier roots are looked at for what their readers may still want.
const EARLIER_ROOTS_MAX: u64 = 64;

/// What was deleted.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// Objects that are no packs.
    pub objects: u64,
}

impl Swept {
    /// Deletes packs that a root has given up.
    pub(super) async fn packs(&mut self, ctx: &Ctx, repository: &Repository, packs: &[PackId]) -> Result<()> {
        if !packs.is_empty() {
            ctx.monitor.on(&Event::Phase("deleting packs"));
        }
        delete(ctx, repository, packs.iter().map(|pack| object_key(pack.name())).collect()).await
    }

    /// Deletes what nothing names any more: what sessions below the fence left, merged deltas, and
    /// lists and segments of earlier roots. Those of roots younger than `age_seconds` stay for
    /// their readers.
    pub(super) async fn leftovers(
        &mut self,
        ctx: &Ctx,
        repository: &Repository,
        view: &View,
        age_seconds: u64,
    ) -> Result<()> {
        let mut doomed = Vec::new();
        let catalogued: BTreeSet<SessionId> = view.catalogued.iter().map(|row| row.session).collect();
        for meta in below_fence(repository, "sessions/", &view.root).await? {
            match name::parse(meta.as_str()) {
                // The snapshot itself.
                Some(Place::End(session)) if catalogued.contains(&session.session) => {}
                Some(Place::Begin(_) | Place::Pins(..) | Place::End(_)) => doomed.push(meta),
                _ => {}
            }
        }
        for meta in list_all(&**repository.store(), "index/delta/").await? {
            if let Some(Place::Delta(session, _)) = name::parse(meta.key.as_str())
                && (u64::from(session.epoch) < view.root.fence || view.is_absorbed(&session))
            {
                doomed.push(meta.key);
            }
        }
        doomed.extend(unnamed(ctx, repository, &view.root, age_seconds).await?);
        self.objects += doomed.len() as u64;
        delete(ctx, repository, doomed).await
    }
}

/// Names with an epoch below the fence.
async fn below_fence(repository: &Repository, prefix: &str, root: &Root) -> Result<Vec<Key>> {
    const PAGE: usize = 10_000;
    let mut all: Vec<Key> = Vec::new();
    let end = format!("{prefix}{:08x}", root.fence as u32);
    loop {
        let page = repository.store().list(prefix, all.last(), PAGE).await?;
        let whole = page.len();
        let below = page.into_iter().map(|meta| meta.key).take_while(|key| key.as_str() < end.as_str());
        let before = all.len();
        all.extend(below);
        if whole < PAGE || all.len() - before < whole {
            return Ok(all);
        }
    }
}

/// Lists and segments that no root names or will: what was written for a root whose number is
/// taken can only be named by that one and those right after it.
async fn unnamed(ctx: &Ctx, repository: &Repository, newest: &Root, age_seconds: u64) -> Result<Vec<Key>> {
    let mut named = names_of(newest);
    let now = ctx.clock.now().seconds;
    let mut number = newest.number;
    // Readers of earlier roots are spared for a while.
    while age_seconds > 0 && number > 1 && newest.number - number < EARLIER_ROOTS_MAX {
        number -= 1;
        let Some(bytes) = get_optional(&**repository.store(), &name::root(number)).await? else { break };
        let Ok(root) = repository.decode_root(number, &bytes) else { break };
        named.extend(names_of(&root));
        if now.saturating_sub(root.time.seconds) > age_seconds.cast_signed() {
            break;
        }
    }
    let mut doomed = Vec::new();
    for prefix in ["lists/", "index/segment/", "snapshots/"] {
        for meta in list_all(&**repository.store(), prefix).await? {
            let place = name::parse(meta.key.as_str());
            let Some(Place::List(id) | Place::IndexSegment(id) | Place::SnapshotSegment(id)) = place else {
                continue;
            };
            if !named.contains(&id) && written_before(repository, &meta.key, newest.number).await? {
                doomed.push(meta.key);
            }
        }
    }
    Ok(doomed)
}

fn names_of(root: &Root) -> BTreeSet<ObjectId> {
    let segments = root.segments.iter().map(|row| row.id);
    segments.chain(root.snapshots.iter().chain(&root.lists).map(|row| row.id)).collect()
}

/// Whether an object was written for a root whose number is taken.
async fn written_before(repository: &Repository, key: &Key, newest: u64) -> Result<bool> {
    let range = ByteRange::From { offset: 0, length: HEADER_BYTES as u64 };
    let bytes = match repository.store().get(key, range).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    // What is not even an object is for `check` to name.
    Ok(Header::decode(&mut Reader::new(&bytes)).is_ok_and(|header| header.epoch < newest))
}

/// Deletes objects, unless a hold comes up meanwhile.
pub(super) async fn delete(ctx: &Ctx, repository: &Repository, keys: Vec<Key>) -> Result<()> {
    for batch in keys.chunks(DELETES_A_ROOT) {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        super::hold::refuse_if_held(ctx, &repository.newest_root().await?)?;
        repository.require_known_features()?;
        stream::iter(batch.to_vec())
            .map(|key| async move { repository.store().delete(&key).await })
            .buffer_unordered(DELETES_AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
    }
    Ok(())
}
