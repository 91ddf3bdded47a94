//! Opens a repository in a store; a domain by way of the repository above it, whose slots hold the
//! keys.
//!
//! On purpose not here: which repository is meant, and where secrets come from.

use crate::engine::{Ctx, Repository, RollBack, Secret};
use crate::fault::Fault;
use crate::settings::RepositoryPlace;
use crate::wire_up::{Keys, Reach, open_store_with};
use holdfast_engine::is_domain;
use holdfast_store::ObjectStore;
use std::sync::Arc;

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
    let is_domain = match place.above() {
        Some(_) => is_domain(&*store).await?,
        None => false,
    };
    let Some((above, _)) = place.above().filter(|_| is_domain) else {
        return Ok(Repository::open_or_accept(ctx, store, secret, roll_back).await?);
    };
    let Some(outer) = open_store_with(&above, keys, reach).await? else {
        let what = format!("{place} is a domain, and there is no repository at {above}");
        return Err(Fault::failed(what, "a domain opens only where it was made: below its repository"));
    };
    let above = Repository::open_or_accept(ctx, guard(outer), secret, roll_back).await?;
    Ok(Repository::open_domain_or_accept(ctx, store, &above, roll_back).await?)
}
