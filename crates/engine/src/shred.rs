//! Erasure by key: destroys the keys of a domain, so that nobody reads it any more, and then deletes
//! what lies there.
//!
//! The keys lie in the domain's member entries and nowhere else in the repository; they go first.
//! Everything behind them is bytes without meaning from then on, also where the store deletes
//! nothing yet. Who read there before is told in the evidence above first ([`crate::inherit`]). On
//! purpose not here: copies that were made elsewhere, and how old versions that a store keeps are
//! erased; the caller brings that.

use crate::ctx::Ctx;
use crate::domain::is_recorded;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::evidence;
use crate::inherit::{Doomed, inherit};
use crate::maintain::{Hold, holds, note_shredded};
use crate::members::require_owner;
use crate::outcome::{Outcome, Problem, ProblemKind, Problems};
use crate::remember::RollBack;
use crate::repository::{Repository, get_optional, list_all, object_key, put_or_mine};
use futures::stream::{self, StreamExt};
use holdfast_core::id::RepositoryId;
use holdfast_core::name;
use holdfast_core::repository::Repository as Description;
use holdfast_store::ObjectStore;
use serde_json::json;
use std::sync::Arc;

/// The kind of record that says that a domain is erased.
pub(crate) const SHRED: &str = "shred";

const DELETES_AT_ONCE: usize = 16;

/// What was destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShredReport {
    /// Which repository the domain was; unknown where its `holdfast.json` was lost. Then it is not known either
    /// whether a hold stood in it.
    pub id: Option<RepositoryId>,
    /// So many snapshots can be read no more; unknown where an earlier run destroyed the keys.
    pub snapshots: Option<u64>,
    /// So many accesses and drills of its evidence are told in that of the repository above now, by this run.
    pub accesses: u64,
    /// Objects that are deleted, keys included.
    pub deleted: u64,
    /// Objects that could not be deleted yet; nobody can read them.
    pub left: u64,
    /// Old versions of the keys that the store still has, or why that is not known. While there are any the
    /// domain stays marked, so that the next run goes on.
    pub versions: std::result::Result<u64, String>,
    /// The record of it in the evidence of the repository above.
    pub evidence: String,
}

/// Destroys the keys of a domain and deletes it. Cut off anywhere, it is finished by the next run.
///
/// A store that keeps versions keeps the keys too: `erase_versions` erases what it has of `members/` beside what it
/// lists, and says how many versions are left. It is asked once the keys are deleted, at every run.
///
/// One whose `holdfast.json` was lost is destroyed as far as it is there: what it was is not known then.
///
/// What could not be deleted is a problem of the outcome: the keys are gone, the bytes are not.
///
/// # Errors
/// We are no owner, a hold stands, or the keys could not be destroyed: then the domain is as it was
/// or is marked, and nothing that says so counts as erased.
pub async fn shred<V>(
    ctx: &Ctx,
    above: &Repository,
    store: Arc<dyn ObjectStore>,
    (domain, reason): (&str, &str),
    erase_versions: impl FnOnce() -> V,
) -> Result<Outcome<ShredReport>>
where
    V: Future<Output = std::result::Result<u64, String>>,
{
    require_owner(above, "destroy the keys of a domain")?;
    let id = described(&*store).await?;
    // Whatever became of the keys: what is meant for everything above is meant for what is left here.
    let above_all = holds(ctx, above).await?.into_iter().filter(of_all).collect::<Vec<_>>();
    refuse_held(domain, &above_all)?;
    let marked = get_optional(&*store, name::SHREDDED).await?.is_some();
    let begun = marked && is_recorded(ctx, &*store, above).await?;
    let (opened, snapshots) = match weigh(ctx, &store, above, domain).await {
        Ok((opened, snapshots)) => (Some(opened), Some(snapshots)),
        Err(_) if id.is_none() => (None, None),
        // An earlier run destroyed keys. While none is gone, holds count; whoever put a mark alone lifts none.
        Err(error) if begun && error.kind == ErrorKind::Damaged => (None, None),
        Err(error) => return Err(error),
    };
    let doomed = Doomed { name: domain, id, store: &*store, opened: opened.as_ref() };
    let mut accesses = inherit(ctx, above, doomed).await?;
    let record = |step: &str, more: serde_json::Value| {
        let text = json!({
            "record": "shred", "domain": domain, "repository": id.map(|id| id.to_string()), "reason": reason,
            "step": step, "more": more,
        });
        text.to_string()
    };
    evidence::append(ctx, above, SHRED, record("begin", json!({ "snapshots": snapshots })).as_bytes())
        .await?;
    if let Some(id) = id {
        note_shredded(ctx, above, id).await?;
    }
    let text = format!("by an owner, at {} seconds since 1970: {reason}\n", ctx.clock.now().seconds);
    // Whoever wrote one before meant the same.
    let _ = put_or_mine(&*store, name::SHREDDED, text.into_bytes()).await?;
    // Nobody opens it any more: what was recorded meanwhile is the last of it.
    accesses += inherit(ctx, above, doomed).await?;
    ctx.monitor.on(&Event::Phase("destroying keys"));
    let mut deleted = destroy(&*store, "members/").await? + destroy(&*store, "keys/").await?;
    let versions = erase_versions().await;
    ctx.monitor.on(&Event::Phase("deleting"));
    let mut problems = Problems::default();
    let left = delete_rest(ctx, &store, &mut deleted, &mut problems).await?;
    if left == 0 && versions == Ok(0) {
        delete_last(&*store, &mut deleted).await?;
    }
    let more = json!({
        "deleted": deleted, "left": left, "key_versions_left": versions.as_ref().ok(),
        "key_versions_unknown": versions.as_ref().err(),
    });
    let evidence = evidence::append(ctx, above, SHRED, record("end", more).as_bytes()).await?;
    Ok(Outcome {
        value: ShredReport { id, snapshots, accesses, deleted, left, versions, evidence },
        problems,
    })
}

/// Which repository lies there, if it is a domain; `None` if what says so is gone, and something of it is not.
async fn described(store: &dyn ObjectStore) -> Result<Option<RepositoryId>> {
    let Some(text) = get_optional(store, name::REPOSITORY).await? else {
        require_rest(store).await?;
        return Ok(None);
    };
    let description = Description::decode(&text).map_err(|error| Error::format(name::REPOSITORY, error))?;
    if description.is_domain() {
        return Ok(Some(description.id));
    }
    let what = format!("{} is a repository of its own and no domain", store.location());
    Err(Error::new(ErrorKind::Usage, what))
}

/// Refuses a place where no keys of a domain lie, and none whose erasure was begun. What the objects there say of
/// themselves is no help: anybody may have put one that names another domain.
async fn require_rest(store: &dyn ObjectStore) -> Result<()> {
    let has = async |prefix: &str| Ok::<_, Error>(!store.list(prefix, None, 1).await?.is_empty());
    if has("keys/").await? {
        let what = format!(
            "at {} lie key slots, which no domain has, and no {} says what it is",
            store.location(),
            name::REPOSITORY
        );
        return Err(Error::new(ErrorKind::Usage, what));
    }
    if has("members/").await? || has(name::SHREDDED).await? {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NoRepository, format!("there is no domain at {}", store.location())))
}

/// Opens it and counts what will be lost, and refuses while a hold stands on any of it.
async fn weigh(
    ctx: &Ctx,
    store: &Arc<dyn ObjectStore>,
    above: &Repository,
    name: &str,
) -> Result<(Repository, u64)> {
    let domain = Repository::open_marked(ctx, Arc::clone(store), above, RollBack::Refuse).await?;
    refuse_held(name, &holds(ctx, &domain).await?)?;
    let snapshots = domain.view().await?.snapshots().len() as u64;
    Ok((domain, snapshots))
}

fn refuse_held(name: &str, standing: &[Hold]) -> Result<()> {
    let Some(hold) = standing.first() else { return Ok(()) };
    let what = format!("domain {name} is held: {}; release the hold first", hold.reason.escape_debug());
    Err(Error::new(ErrorKind::NotAllowed, what))
}

/// Whether a hold of the repository above is on everything: that is meant for its domains too.
fn of_all(hold: &Hold) -> bool {
    hold.scope == crate::maintain::HoldScope::All
}

/// Deletes all objects below a prefix; none may be left.
async fn destroy(store: &dyn ObjectStore, prefix: &str) -> Result<u64> {
    let mut deleted = 0;
    loop {
        // Somebody may have been admitted meanwhile.
        let listed = list_all(store, prefix).await?;
        if listed.is_empty() {
            return Ok(deleted);
        }
        for meta in listed {
            store.delete(&meta.key).await.map_err(|error| {
                let error = Error::from(error);
                let what = format!("the key in {} could not be destroyed: {}", meta.key, error.what);
                Error { what, ..error }
            })?;
            deleted += 1;
        }
    }
}

/// Deletes what is left but for what says that something was here; returns how much stays.
async fn delete_rest(
    ctx: &Ctx,
    store: &Arc<dyn ObjectStore>,
    deleted: &mut u64,
    problems: &mut Problems,
) -> Result<u64> {
    let is_last = |key: &str| key == name::REPOSITORY || key == name::SHREDDED;
    let listed = list_all(&**store, "").await?;
    let rest = listed.into_iter().filter(|meta| !is_last(meta.key.as_str()));
    let mut deletes = stream::iter(rest)
        .map(|meta| async move { (store.delete(&meta.key).await, meta) })
        .buffer_unordered(DELETES_AT_ONCE);
    let mut left = 0;
    while let Some((result, meta)) = deletes.next().await {
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
        match result {
            Ok(()) => *deleted += 1,
            Err(error) => {
                left += 1;
                problems.problem(Problem {
                    path: meta.key.as_str().as_bytes().to_vec(),
                    kind: ProblemKind::Unreadable,
                    what: format!("cannot be deleted yet, and cannot be read any more: {error}"),
                });
            }
        }
    }
    Ok(left)
}

/// Deletes what says that something was here.
async fn delete_last(store: &dyn ObjectStore, deleted: &mut u64) -> Result<()> {
    for last in [name::REPOSITORY, name::SHREDDED] {
        store.delete(&object_key(last)).await?;
        *deleted += 1;
    }
    Ok(())
}
