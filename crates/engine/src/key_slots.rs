//! The keys of a repository: lists, adds, removes and changes the slots that open it.
//!
//! Nothing here may ever leave a repository without a key, wherever a run is cut off and however
//! many run at once. There are no locks; one rule does it: **whoever is going to delete a slot
//! first writes a slot for its own keys under a fresh name, and proves that it opens.** Of all runs
//! that delete something, look at the one that wrote its fresh slot last. Who deletes that slot was
//! asked for it by its name, so it began after the slot was written, and writes its own fresh slot
//! later still: there is none. A put is durable before a delete begins, so a crash changes nothing
//! of this.
//!
//! So `remove` gives the key in use a new slot and takes the old one away last. The rejected
//! alternative, to look after the delete whether one's own slot is still there, loses the last key
//! when two runs that remove each other's slot both die between the delete and the look.
//!
//! On purpose not here: members that come and go ([`crate::members`]; a removed slot's keys are still
//! valid to who copied it), and what opens the repository in the first place ([`crate::repository`]).

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::outcome::{Outcome, Problem, ProblemKind, Problems};
use crate::repository::{
    Repository, Secret, get_optional, list_all, no_repository, object_key, put_or_mine, read_slot,
};
use holdfast_core::FormatError;
use holdfast_core::crypto::KdfCost;
use holdfast_core::entry::Time;
use holdfast_core::id::{MemberId, ObjectId, RepositoryId};
use holdfast_core::keys::{
    KeySlot, LABEL_BYTES_MAX, MemberKeys, Role, SlotKdf, SlotTerms, Transit, member_header,
};
use holdfast_core::name::{self, Place};
use holdfast_core::object::{Header, ObjectType};
use holdfast_core::repository::Repository as Description;
use holdfast_store::{ObjectStore, Put};

/// A key slot, by what it says of itself. Only the credential that opens it proves that.
#[derive(Debug, Clone)]
pub struct KeyInfo {
    /// Names it.
    pub id: ObjectId,
    /// What people call it.
    pub label: String,
    /// Whose keys lie in it.
    pub member: MemberId,
    /// What that member may do.
    pub role: Role,
    /// Cost of trying one password; `None` for a key file.
    pub password_cost: Option<KdfCost>,
    /// When it was made.
    pub created: Option<Time>,
    /// The key of a transit engine that sealed the key file in it.
    pub transit: Option<String>,
    /// Whether it opened the repository now.
    pub in_use: bool,
    /// Whether its member was removed: it opens nothing any more.
    pub is_removed: bool,
}

/// A key that is to be.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What will open it.
    pub secret: Secret,
    /// What people call it; `None` for the label of the key that is replaced.
    pub label: Option<String>,
    /// Cost of trying one password; `None` for that of the key that is replaced, or the usual one.
    pub cost: Option<KdfCost>,
}

/// What a removal did.
#[derive(Debug, Clone)]
pub struct RemovedKey {
    /// The slot that is gone.
    pub removed: ObjectId,
    /// The fresh slot of the key in use.
    pub in_use: KeyInfo,
    /// The slot that it takes the place of.
    pub replaced: ObjectId,
    /// Another process removed that one meanwhile.
    pub was_removed: bool,
    /// It could not be taken away: it stays beside the fresh one.
    pub stays: bool,
}

/// What a change of a key did.
#[derive(Debug, Clone)]
pub struct ChangedKey {
    /// The new key.
    pub key: KeyInfo,
    /// Slots that the old secret opened; they are gone.
    pub removed: Vec<ObjectId>,
    /// Slots that cannot be read, so that nobody knows what opens them.
    pub unreadable: Vec<ObjectId>,
}

/// Lists the keys, oldest first. One that cannot be read is a problem.
///
/// # Errors
/// The repository cannot be listed.
pub async fn keys(_ctx: &Ctx, repository: &Repository) -> Result<Outcome<Vec<KeyInfo>>> {
    let (mut found, mut problems) = (Vec::new(), Problems::default());
    for id in slot_ids(repository).await? {
        match read(repository, id).await? {
            Some(Ok((header, slot))) => found.push(info(repository, id, &header, &slot)),
            // Left by an `init` that lost a race: it opens nothing here.
            Some(Err(FormatError::Misplaced(_))) | None => {}
            Some(Err(error)) => problems.problem(Problem {
                path: name::key_slot(id).into_bytes(),
                kind: ProblemKind::Damaged,
                what: error.to_string(),
            }),
        }
    }
    found.sort_by_key(|key: &KeyInfo| (key.created, key.id.0));
    Ok(Outcome { value: found, problems })
}

/// Adds a key for the same member, and proves by reading it back that it opens.
///
/// # Errors
/// What is to open it opens another already, or the store failed; then no key was added.
pub async fn add_key(ctx: &Ctx, repository: &Repository, new: &NewKey) -> Result<KeyInfo> {
    check_label(new.label.as_deref())?;
    refuse_known(repository, &new.secret).await?;
    refuse_shared(repository, &new.secret, Some(repository.member())).await?;
    let terms = terms(ctx, new, "", KdfCost::DEFAULT, repository.role());
    write_slot(ctx, repository, &new.secret, terms, repository.member_keys()).await
}

/// Refuses what opens a slot already.
pub(crate) async fn refuse_known(repository: &Repository, secret: &Secret) -> Result<()> {
    refuse_opener(repository, secret, |_| true).await
}

/// Refuses what opens a slot already of one of these members.
async fn refuse_opener(
    repository: &Repository,
    secret: &Secret,
    whose: impl Fn(MemberId) -> bool,
) -> Result<()> {
    for id in slot_ids(repository).await? {
        if let Some(Ok((header, slot))) = read(repository, id).await?
            && whose(header.member)
            && slot.unwrap(&header, secret.credential()).is_ok()
        {
            let what = format!("the new password or key file opens key {} already", short(id));
            return Err(Error::new(ErrorKind::Usage, what));
        }
    }
    Ok(())
}

/// Refuses a key of a transit engine that seals the slots of another member: who may use it would be both.
pub(crate) async fn refuse_shared(
    repository: &Repository,
    secret: &Secret,
    member: Option<MemberId>,
) -> Result<()> {
    let Some(Transit { key, .. }) = secret.transit() else { return Ok(()) };
    for slot in sealed_slots(repository.store().as_ref(), repository.id(), &key).await? {
        if Some(slot.member()) != member && !repository.is_removed(slot.member()) {
            let what = format!(
                "{key} seals key {} of another member already: who may use it could open both; make a key of \
                 the transit engine for each member",
                short(slot.id)
            );
            return Err(Error::new(ErrorKind::Usage, what));
        }
    }
    Ok(())
}

/// A slot with a key file in it that a server sealed.
#[derive(Debug)]
pub struct SealedSlot {
    /// Names it.
    pub id: ObjectId,
    /// What the server gave for the key file.
    pub sealed: String,
    header: Header,
    slot: KeySlot,
}

impl SealedSlot {
    /// Whose it says it is.
    const fn member(&self) -> MemberId {
        self.header.member
    }

    /// Whose it is, if a secret opens it.
    #[must_use]
    pub fn opened_by(&self, secret: &Secret) -> Option<MemberId> {
        self.slot.unwrap(&self.header, secret.credential()).ok().map(|keys| keys.member)
    }
}

/// The slots of a repository whose key file a key of a transit engine sealed, by what they say. Needs
/// no key: they are looked at before there is one.
///
/// # Errors
/// There is no repository, or the store failed.
pub async fn slots_sealed_by(store: &dyn ObjectStore, key: &str) -> Result<Vec<SealedSlot>> {
    let text = get_optional(store, name::REPOSITORY).await?.ok_or_else(|| no_repository(store))?;
    let description = Description::decode(&text).map_err(|error| Error::format(name::REPOSITORY, error))?;
    sealed_slots(store, description.id, key).await
}

async fn sealed_slots(
    store: &dyn ObjectStore,
    repository: RepositoryId,
    key: &str,
) -> Result<Vec<SealedSlot>> {
    let mut found = Vec::new();
    for meta in list_all(store, "keys/").await? {
        let Some(Place::KeySlot(id)) = name::parse(meta.key.as_str()) else { continue };
        let Some(bytes) = get_optional(store, meta.key.as_str()).await? else { continue };
        // One that cannot be read is told of where keys are listed.
        let Ok((header, slot)) = read_slot(&bytes, repository, id) else { continue };
        let transit = slot.transit().filter(|transit| transit.key == key);
        found.extend(transit.map(|transit| SealedSlot { id, sealed: transit.sealed, header, slot }));
    }
    Ok(found)
}

/// Removes a key, given by its id or the beginning of one. `secret` is what opened the repository.
///
/// # Errors
/// There is no such key, it is the one in use, or the store failed. Then the key may still be
/// there, and the one in use may lie there twice; both open as before.
pub async fn remove_key(
    ctx: &Ctx,
    repository: &Repository,
    secret: &Secret,
    text: &str,
) -> Result<RemovedKey> {
    let ids = slot_ids(repository).await?;
    let target = find(&ids, text)?;
    let own = repository.slot();
    refuse_own(&ids, target, own)?;
    let member = refuse_foreign(repository, target).await?;
    if let Some(member) = only_slot_of(repository, &ids, target, member).await? {
        let what = format!("key {} is the last one of member {member}: remove the member", short(target));
        return Err(Error::new(ErrorKind::Usage, what));
    }
    let (header, slot) = own_slot(repository).await?;
    let was = info(repository, own, &header, &slot);
    let fresh = write_slot(ctx, repository, secret, again(ctx, &slot), repository.member_keys()).await?;
    delete_slot(repository, target).await.map_err(|error| Error {
        what: format!(
            "key {} could not be removed; the key in use lies there twice now, as {} and {}",
            short(target),
            short(own),
            short(fresh.id)
        ),
        ..error
    })?;
    let was_removed = slot_ids(repository).await.is_ok_and(|ids| !ids.contains(&own));
    let stays = delete_slot(repository, own).await.is_err();
    let in_use = KeyInfo { in_use: true, ..fresh };
    Ok(RemovedKey { removed: target, in_use, replaced: was.id, was_removed, stays })
}

/// Whose last key it is that a person means, if another member's: with it the member is to go. Any key of
/// one that was removed is such: what is left of it says that its removal was cut off.
///
/// # Errors
/// There is no such key, there are several, or the store failed.
pub async fn last_slot_of(repository: &Repository, text: &str) -> Result<Option<MemberId>> {
    let ids = slot_ids(repository).await?;
    let target = find(&ids, text)?;
    let member = member_of(repository, target).await?;
    match member.filter(|member| repository.is_removed(*member)) {
        Some(removed) => Ok(Some(removed)),
        None => only_slot_of(repository, &ids, target, member).await,
    }
}

/// Whose a slot says it is, if it can be read.
async fn member_of(repository: &Repository, id: ObjectId) -> Result<Option<MemberId>> {
    let slot = read(repository, id).await?;
    Ok(slot.and_then(std::result::Result::ok).map(|(header, _)| header.member))
}

/// The member that a slot says it is of, if that is another one that belongs and has no other slot.
async fn only_slot_of(
    repository: &Repository,
    ids: &[ObjectId],
    target: ObjectId,
    member: Option<MemberId>,
) -> Result<Option<MemberId>> {
    let Some(member) = member else { return Ok(None) };
    if member == repository.member() || repository.standing().members.active(member).is_none() {
        return Ok(None);
    }
    for id in ids.iter().filter(|id| **id != target) {
        if member_of(repository, *id).await? == Some(member) {
            return Ok(None);
        }
    }
    Ok(Some(member))
}

/// Deletes all slots that say they are of a member that was removed; tells which.
pub(crate) async fn delete_slots_of(repository: &Repository, member: MemberId) -> Result<Vec<ObjectId>> {
    let mut deleted = Vec::new();
    for id in slot_ids(repository).await? {
        if let Some(Ok((header, _))) = read(repository, id).await?
            && header.member == member
        {
            delete_slot(repository, id).await?;
            deleted.push(id);
        }
    }
    Ok(deleted)
}

/// Puts another key in the place of the one in use: the new one is written and proved first, then
/// every slot that the old secret opens is removed.
///
/// # Errors
/// Nothing would change, or the store failed; then the old key, and perhaps the new one, opens.
pub async fn change_key(
    ctx: &Ctx,
    repository: &Repository,
    secret: &Secret,
    new: &NewKey,
) -> Result<ChangedKey> {
    check_label(new.label.as_deref())?;
    let (_, slot) = own_slot(repository).await?;
    let cost = match slot.kdf {
        SlotKdf::Password(cost) => cost,
        SlotKdf::KeyFile => KdfCost::DEFAULT,
    };
    let terms = terms(ctx, new, &slot.label, cost, repository.role());
    if new.secret == *secret && terms.kdf == slot.kdf {
        return Err(Error::new(ErrorKind::Usage, "the new password or key file is the old one"));
    }
    // Of its own it may open one: a change that was cut off is made again.
    refuse_opener(repository, &new.secret, |member| member != repository.member()).await?;
    refuse_shared(repository, &new.secret, Some(repository.member())).await?;
    let key = write_slot(ctx, repository, &new.secret, terms, repository.member_keys()).await?;
    let mut changed = ChangedKey { key, removed: Vec::new(), unreadable: Vec::new() };
    for id in slot_ids(repository).await?.into_iter().filter(|id| *id != changed.key.id) {
        match read(repository, id).await? {
            Some(Ok((header, slot))) if slot.unwrap(&header, secret.credential()).is_ok() => {
                delete_slot(repository, id).await.map_err(|error| Error {
                    what: format!(
                        "the new key {} was added, but the old one {} could not be removed and still opens",
                        short(changed.key.id),
                        short(id)
                    ),
                    ..error
                })?;
                changed.removed.push(id);
            }
            Some(Err(error)) if !matches!(error, FormatError::Misplaced(_)) => changed.unreadable.push(id),
            _ => {}
        }
    }
    changed.key.in_use = true;
    Ok(changed)
}

/// The beginning of an id that people are shown.
fn short(id: ObjectId) -> String {
    id.to_string()[..8].to_owned()
}

async fn slot_ids(repository: &Repository) -> Result<Vec<ObjectId>> {
    let listed = list_all(&**repository.store(), "keys/").await?;
    let ids = listed.iter().filter_map(|meta| match name::parse(meta.key.as_str()) {
        Some(Place::KeySlot(id)) => Some(id),
        _ => None,
    });
    Ok(ids.collect())
}

type ReadSlot = std::result::Result<(Header, KeySlot), FormatError>;

/// Reads a slot; `None` if it is gone.
async fn read(repository: &Repository, id: ObjectId) -> Result<Option<ReadSlot>> {
    let bytes = get_optional(&**repository.store(), &name::key_slot(id)).await?;
    Ok(bytes.map(|bytes| read_slot(&bytes, repository.id(), id)))
}

/// Reads the slot that opened the repository.
async fn own_slot(repository: &Repository) -> Result<(Header, KeySlot)> {
    let id = repository.slot();
    let slot = read(repository, id).await?.ok_or_else(|| gone(id))?;
    slot.map_err(|error| Error::format(&name::key_slot(id), error))
}

fn gone(id: ObjectId) -> Error {
    let what = format!("key {}, which opened the repository, was removed by another process", short(id));
    Error::new(ErrorKind::Conflict, what)
}

fn info(repository: &Repository, id: ObjectId, header: &Header, slot: &KeySlot) -> KeyInfo {
    KeyInfo {
        id,
        label: slot.label.clone(),
        member: header.member,
        // The chain of members decides; a slot only claims.
        role: repository.standing().members.known(header.member).map_or(slot.role, |entry| entry.role),
        password_cost: match slot.kdf {
            SlotKdf::Password(cost) => Some(cost),
            SlotKdf::KeyFile => None,
        },
        created: slot.created(),
        transit: slot.transit().map(|transit| transit.key),
        in_use: id == repository.slot(),
        is_removed: repository.is_removed(header.member),
    }
}

fn find(ids: &[ObjectId], text: &str) -> Result<ObjectId> {
    let matching: Vec<_> = ids.iter().filter(|id| id.to_string().starts_with(text)).collect();
    match matching[..] {
        [id] if !text.is_empty() => Ok(*id),
        [] => Err(Error::new(ErrorKind::NotFound, format!("there is no key {text}"))),
        _ => {
            let shown: Vec<_> = matching.iter().map(|id| id.to_string()).collect();
            let what = format!("`{text}` could mean several keys:\n  {}", shown.join("\n  "));
            Err(Error::new(ErrorKind::Ambiguous, what))
        }
    }
}

fn refuse_own(ids: &[ObjectId], target: ObjectId, own: ObjectId) -> Result<()> {
    let refuse = |what: String| Err(Error::new(ErrorKind::Usage, what));
    if !ids.contains(&own) {
        return Err(gone(own));
    }
    match target == own {
        true if ids.len() == 1 => {
            refuse(format!("key {} is the only one: without it nobody can read the backups", short(own)))
        }
        true => refuse(format!(
            "key {} is the one in use; open the repository with another key to remove it",
            short(own)
        )),
        false => Ok(()),
    }
}

/// Only an owner removes what is not its own, or what nobody can read; tells whose it is.
async fn refuse_foreign(repository: &Repository, target: ObjectId) -> Result<Option<MemberId>> {
    let member = member_of(repository, target).await?;
    if member == Some(repository.member()) || repository.role() == Role::Owner {
        return Ok(member);
    }
    let what = format!("this key does not allow to remove key {}", short(target));
    Err(Error::new(ErrorKind::NotAllowed, what))
}

pub(crate) fn check_label(label: Option<&str>) -> Result<()> {
    match label.map_or(0, str::len) {
        0..=LABEL_BYTES_MAX => Ok(()),
        bytes => Err(Error::new(
            ErrorKind::Usage,
            format!("a label of {bytes} bytes is too long; the longest has {LABEL_BYTES_MAX}"),
        )),
    }
}

pub(crate) fn terms(ctx: &Ctx, new: &NewKey, label: &str, cost: KdfCost, role: Role) -> SlotTerms {
    SlotTerms {
        role,
        label: new.label.clone().unwrap_or_else(|| label.to_owned()),
        kdf: new.secret.kdf(new.cost.unwrap_or(cost)),
        salt: ctx.random(),
        created: Some(ctx.clock.now()),
        transit: new.secret.transit(),
    }
}

/// What a slot says of itself, for another one with the same.
fn again(ctx: &Ctx, slot: &KeySlot) -> SlotTerms {
    SlotTerms {
        role: slot.role,
        label: slot.label.clone(),
        kdf: slot.kdf,
        salt: ctx.random(),
        created: slot.created(),
        transit: slot.transit(),
    }
}

/// Writes a slot for a member's keys, and proves that it opens.
pub(crate) async fn write_slot(
    ctx: &Ctx,
    repository: &Repository,
    secret: &Secret,
    terms: SlotTerms,
    keys: &MemberKeys,
) -> Result<KeyInfo> {
    let id = ObjectId(ctx.random());
    let header = member_header(ObjectType::KeySlot, repository.id(), id, keys.member, ctx.random());
    let slot = KeySlot::wrap(keys, terms, secret.credential(), &header)
        .map_err(|error| Error::format("the new key", error))?;
    let (store, object) = (&**repository.store(), name::key_slot(id));
    if put_or_mine(store, &object, slot.encode(&header)).await? == Put::Exists {
        let what = "a random name was taken: the source of randomness is broken";
        return Err(Error::new(ErrorKind::Store, what));
    }
    if let Err(error) = prove(repository, secret, id, keys).await {
        // If it cannot be taken away either, it is listed, and may be removed later.
        let _ = delete_slot(repository, id).await;
        return Err(Error { what: format!("the new key was not added: {}", error.what), ..error });
    }
    Ok(info(repository, id, &header, &slot))
}

/// Reads a slot back and opens it: what comes out are the keys that went in.
async fn prove(repository: &Repository, secret: &Secret, id: ObjectId, keys: &MemberKeys) -> Result<()> {
    let failed = |what: &str| Error::new(ErrorKind::Damaged, what);
    let slot = read(repository, id).await?.ok_or_else(|| failed("it was written and is not there"))?;
    let (header, slot) = slot.map_err(|error| Error::format(&name::key_slot(id), error))?;
    let opened = slot.unwrap(&header, secret.credential());
    let opened = opened.map_err(|error| Error {
        kind: ErrorKind::Damaged,
        what: "it was written and does not open".into(),
        source: Some(Box::new(error)),
    })?;
    let identity =
        |keys: &MemberKeys| (keys.member, keys.owner, keys.signer.public(), keys.kem.public().0.clone());
    let same = identity(&opened) == identity(keys);
    if same { Ok(()) } else { Err(failed("it was written and holds other keys")) }
}

pub(crate) async fn delete_slot(repository: &Repository, id: ObjectId) -> Result<()> {
    Ok(repository.store().delete(&object_key(name::key_slot(id))).await?)
}
