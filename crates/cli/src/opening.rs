//! Opens a repository in a store; a domain by way of the repository above it, whose slots hold the
//! keys.
//!
//! On purpose not here: which repository is meant, and where secrets come from.

use crate::engine::{Ctx, Repository, RollBack, Secret, is_domain, slots_sealed_by};
use crate::fault::Fault;
use crate::secrets::vault;
use crate::settings::RepositoryPlace;
use crate::wire_up::{Keys, Reach, TransitKey, open_store_with};
use holdfast_core::id::MemberId;
use holdfast_store::ObjectStore;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

/// The store of the repository above, if a domain lies in `store`.
async fn above(
    place: &RepositoryPlace,
    store: &Arc<dyn ObjectStore>,
    keys: Option<Keys>,
    reach: &Reach,
) -> Result<Option<Arc<dyn ObjectStore>>, Fault> {
    let is_domain = match place.above() {
        Some(_) => is_domain(&**store).await?,
        None => false,
    };
    let Some((above, _)) = place.above().filter(|_| is_domain) else { return Ok(None) };
    let outer = open_store_with(&above, keys, reach).await?;
    outer.map(Some).ok_or_else(|| {
        let what = format!("{place} is a domain, and there is no repository at {above}");
        Fault::failed(what, "a domain opens only where it was made: below its repository")
    })
}

/// What opens the repository in `store` by a key of the transit engine of Vault alone: the key file that
/// it sealed lies in a slot. What others sealed, and put there, opens nothing and is passed over.
pub(crate) async fn sealed(
    place: &RepositoryPlace,
    store: &Arc<dyn ObjectStore>,
    keys: Option<Keys>,
    key: &TransitKey,
    (reach, variable): (&Reach, impl Fn(&str) -> Option<OsString>),
) -> Result<Secret, Fault> {
    let store = above(place, store, keys, reach).await?.unwrap_or_else(|| Arc::clone(store));
    let mut opened: BTreeMap<MemberId, Secret> = BTreeMap::new();
    let mut refused = None;
    for slot in slots_sealed_by(&*store, &key.to_string()).await? {
        let what = format!("the key file in slot {}", &slot.id.to_string()[..8]);
        match vault::open(key, slot.sealed.as_bytes(), &what, reach, &variable) {
            Ok(mut bytes) => {
                let secret = Secret::KeyFile(std::mem::take(&mut *bytes));
                opened.extend(slot.opened_by(&secret).map(|member| (member, secret)));
            }
            Err(fault) => refused = Some(fault),
        }
    }
    let mut members = opened.into_values();
    match (members.next(), members.next(), refused) {
        (Some(secret), None, _) => Ok(secret),
        (Some(_), Some(_), _) => Err(Fault::usage(
            format!("{key} opens slots of several members of {place}"),
            "name the sealed key file too (--key-file), and give each member a key of the transit engine of its own",
        )),
        (None, _, Some(fault)) => Err(fault),
        (None, _, None) => Err(Fault::usage(
            format!("no slot of {place} has a key file that {key} opens"),
            "make one with a key that opens it: holdfast key add --new-key-transit MOUNT/KEY; or name the sealed key \
             file too: --key-file, --key-credential or HOLDFAST_KEY_FILE",
        )),
    }
}

/// The same for who is not async, on a thread of its own.
pub(crate) fn sealed_apart(
    place: &RepositoryPlace,
    keys: Option<&Keys>,
    key: &TransitKey,
    (reach, variable): (&Reach, impl Fn(&str) -> Option<OsString> + Sync),
) -> Result<Secret, Fault> {
    let failed = |why: &str| Fault::failed(format!("the slots of {place} cannot be looked at: {why}"), "");
    let work = async || {
        let store = open_store_with(place, keys.cloned(), reach).await?;
        let store = store.ok_or_else(|| failed("there is no repository"))?;
        sealed(place, &store, keys.cloned(), key, (reach, &variable)).await
    };
    let run = || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work()),
        Err(error) => Err(failed(&error.to_string())),
    };
    std::thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|_| Err(failed("it ended unexpectedly")))
}

/// Opens what lies in `store`, which is that of `place`. The store of a repository above is opened
/// with the same keys of a bucket, and goes through `guard`.
pub(crate) async fn open(
    ctx: &Ctx,
    place: &RepositoryPlace,
    store: Arc<dyn ObjectStore>,
    (secret, keys, roll_back): (&Secret, Option<Keys>, RollBack),
    reach: &Reach,
    guard: impl Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>,
) -> Result<Repository, Fault> {
    let Some(outer) = above(place, &store, keys, reach).await? else {
        return Ok(Repository::open_or_accept(ctx, store, secret, roll_back).await?);
    };
    let above = Repository::open_or_accept(ctx, guard(outer), secret, roll_back).await?;
    Ok(Repository::open_domain_or_accept(ctx, store, &above, roll_back).await?)
}
