//! Members: who belongs to the repository, with which keys, and since when.
//!
//! A member's private keys are made where it is admitted and lie in a slot under its own password
//! or key file; what the repository gives to it lies in the chain of members, sealed to it. The
//! chain grows by put-if-absent: of two owners that change it at once one looks again.
//!
//! *Which keys a member gets*: those of every generation that its role holds. Who reads or
//! maintains must open what was sealed before; who writes must see the old index too, or it would
//! store again what is there. What an old generation has beside is of no use to anybody.
//!
//! *A removal* has two steps, and is safe wherever it is cut off. The entry says that the member is
//! removed; from then on it commits nothing any more, for it looks before it commits. Then a root
//! takes in what it had committed until then and names the entry: only that root shuts it out.
//!
//! *A rotation* gives each member the new keys beside the old ones. Nobody seals with them before
//! all have them ([`holdfast_core::keys::Members::agreed_epoch`]), so one that is cut off changes
//! nothing for anybody. Of two at once, the one whose number the other took starts over. What a
//! member holds that is removed meanwhile is not ended but left behind. On purpose not here: the
//! slots themselves ([`crate::key_slots`]).

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::key_slots::{
    KeyInfo, NewKey, check_label, delete_slot, delete_slots_of, refuse_known, refuse_shared, terms,
    write_slot,
};
use crate::maintain::shut_out_removed;
use crate::repository::{Repository, put_or_mine};
use crate::standing::{Standing, removed};
use holdfast_core::crypto::{KdfCost, KemSecret, Secret, Signer};
use holdfast_core::id::{MemberId, ObjectId, SessionId};
use holdfast_core::keys::{
    KeyBundle, MemberAction, MemberEntry, MemberKeys, Role, member_header, seal_bundle,
};
use holdfast_core::name;
use holdfast_core::object::ObjectType;
use holdfast_store::Put;

/// So often a change of members is tried again when others change them meanwhile.
pub(crate) const TRIES_MAX: u32 = 8;

/// A member, by the chain of members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberInfo {
    /// Names it.
    pub id: MemberId,
    /// What people called it when it was admitted.
    pub label: String,
    /// What it may do.
    pub role: Role,
    /// Whether it was removed.
    pub is_removed: bool,
    /// Whether it is the one that opened the repository.
    pub is_own: bool,
    /// Generations of keys that it was given, ascending.
    pub key_epochs: Vec<u32>,
}

/// What a removal of a member did.
#[derive(Debug, Clone)]
pub struct RemovedMember {
    /// The member that is shut out.
    pub member: MemberInfo,
    /// Its slots; they are gone.
    pub slots: Vec<ObjectId>,
    /// Sessions of it that had not committed and never will.
    pub aborted: Vec<SessionId>,
    /// Whether an earlier run had begun it.
    pub was_begun: bool,
}

/// What a rotation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotatedKeys {
    /// The generation that everything is sealed under from now on.
    pub key_epoch: u32,
    /// Members that were given its keys in this run.
    pub members: u32,
    /// Whether an earlier run had begun it.
    pub was_begun: bool,
}

/// Lists the members, those that were removed too, in the order in which they were admitted.
#[must_use]
pub fn members(repository: &Repository) -> Vec<MemberInfo> {
    let standing = repository.standing();
    let chain = &standing.members;
    let active = chain.all_active().into_iter();
    let gone = chain.all_removed().into_iter().filter_map(|(member, _)| chain.known(member));
    active.chain(gone).map(|entry| info(repository, entry)).collect()
}

fn info(repository: &Repository, entry: &MemberEntry) -> MemberInfo {
    MemberInfo {
        id: entry.member,
        label: entry.label.clone(),
        role: entry.role,
        is_removed: repository.is_removed(entry.member),
        is_own: entry.member == repository.member(),
        key_epochs: entry.bundles.iter().map(|(epoch, _)| *epoch).collect(),
    }
}

/// Admits a new member with a role, and writes the slot that opens it. The slot is written and
/// proved first: cut off in between, it opens nothing, for its member is not in the chain.
///
/// # Errors
/// We are no owner, what is to open the slot opens another already, or the store failed.
pub async fn admit(ctx: &Ctx, repository: &Repository, role: Role, new: &NewKey) -> Result<KeyInfo> {
    require_owner(repository, "admit members")?;
    if role == Role::LogReader {
        require_log_key(repository).await?;
    }
    check_label(new.label.as_deref())?;
    refuse_known(repository, &new.secret).await?;
    refuse_shared(repository, &new.secret, None).await?;
    let failed = |error| Error::format("the new keys", error);
    let kem = KemSecret::new(ctx.random(), &(ctx.kem.generate)().map_err(failed)?).map_err(failed)?;
    let keys = MemberKeys {
        member: MemberId(ctx.random()),
        signer: Signer::from_seed(Secret::new(ctx.random())),
        kem,
        owner: repository.member_keys().owner,
    };
    let terms = terms(ctx, new, "", KdfCost::DEFAULT, role);
    let label = terms.label.clone();
    let slot = write_slot(ctx, repository, &new.secret, terms, &keys).await?;
    let admitted = append(ctx, repository, |standing| {
        let sealed =
            standing.ring.all().map(|bundle| seal_to(ctx, repository, bundle, role, keys.kem.public()));
        Ok(Some(MemberEntry {
            number: 0,
            previous: [0; 32],
            action: MemberAction::Admit,
            member: keys.member,
            role,
            label: label.clone(),
            sign: keys.signer.public(),
            kem: keys.kem.public().clone(),
            bundles: sealed.collect::<Result<_>>()?,
        }))
    });
    match admitted.await {
        Ok(_) => Ok(KeyInfo { role, ..slot }),
        Err(error) => {
            let _ = delete_slot(repository, slot.id).await;
            Err(error)
        }
    }
}

/// Refuses where logs are sealed as contents are: who could open them could open everything.
async fn require_log_key(repository: &Repository) -> Result<()> {
    repository.refresh_members().await?;
    if repository.bundle().sk_wal.is_some() {
        return Ok(());
    }
    let what = "the keys of this repository are from before logs had one of their own, so no key could open logs \
                alone: rotate them first (holdfast key rotate). Log that is stored from then on opens with such a key, \
                so back the database up anew for a server that is to use one";
    Err(Error::new(ErrorKind::Usage, what))
}

/// Shuts a member out: its later commits do not count. What it committed before stays. Cut off
/// anywhere, the same call goes on, and so does the next prune.
///
/// # Errors
/// We are no owner, it is ourselves, there is no such member, or the store failed.
pub async fn remove_member(ctx: &Ctx, repository: &Repository, member: MemberId) -> Result<RemovedMember> {
    require_owner(repository, "remove members")?;
    if member == repository.member() {
        let what = "this is the member whose key is in use; open the repository with another owner's key to \
                    remove it";
        return Err(Error::new(ErrorKind::Usage, what));
    }
    let appended = append(ctx, repository, |standing| match standing.members.active(member) {
        Some(entry) => Ok(Some(removal(entry))),
        None if standing.members.removed(member).is_some() => Ok(None),
        None => Err(Error::new(ErrorKind::NotFound, format!("there is no member {member}"))),
    });
    let was_begun = !appended.await?;
    let aborted = shut_out_removed(ctx, repository).await.map_err(|error| Error {
        what: format!(
            "member {member} is removed, but what it had committed could not be taken in yet ({}); run the same \
             command again",
            error.what
        ),
        ..error
    })?;
    let slots = delete_slots_of(repository, member).await?;
    let standing = repository.standing();
    let entry = standing.members.known(member).ok_or_else(removed)?;
    Ok(RemovedMember { member: info(repository, entry), slots, aborted, was_begun })
}

/// The entry that removes who has this one.
pub(crate) fn removal(entry: &MemberEntry) -> MemberEntry {
    MemberEntry { action: MemberAction::Remove, bundles: Vec::new(), ..entry.clone() }
}

/// Starts a new generation of keys for all members, or ends what an earlier run had begun. Nothing
/// is uploaded again; what was sealed before stays readable for who could read it.
///
/// # Errors
/// We are no owner, others changed the members at every attempt, or the store failed. Then the old
/// keys go on, and the same call ends it.
pub async fn rotate(ctx: &Ctx, repository: &Repository) -> Result<RotatedKeys> {
    require_owner(repository, "rotate keys")?;
    for _ in 0..TRIES_MAX {
        repository.refresh_members().await?;
        let begun = pending(&repository.standing());
        let was_begun = begun.is_some();
        let bundle = match begun {
            Some(bundle) => bundle,
            None => next_bundle(ctx, repository)?,
        };
        let members = give_to_all(ctx, repository, &bundle).await?;
        if has(&repository.standing(), repository.member(), &bundle) {
            return Ok(RotatedKeys { key_epoch: bundle.key_epoch, members, was_begun });
        }
    }
    Err(changed_at_every_attempt())
}

/// Gives a bundle to all that lack it, until another rotation turns out to have taken its number: one
/// number never stands for two sets of keys.
async fn give_to_all(ctx: &Ctx, repository: &Repository, bundle: &KeyBundle) -> Result<u32> {
    let own = repository.member();
    let give = |standing: &Standing| {
        let is_free = standing.members.highest_epoch() < bundle.key_epoch;
        if !is_free && !has(standing, own, bundle) {
            return Ok(None);
        }
        let Some(entry) = next_without(standing, own, bundle.key_epoch) else { return Ok(None) };
        let mut entry = entry.clone();
        entry.bundles.push(seal_to(ctx, repository, bundle, entry.role, &entry.kem)?);
        Ok(Some(entry))
    };
    let mut members = 0;
    while append(ctx, repository, give).await? {
        members += 1;
        if ctx.cancel.is_raised() {
            return Err(Error::interrupted());
        }
    }
    Ok(members)
}

/// Whether our own entry has this very bundle, and not another one of its number.
fn has(standing: &Standing, own: MemberId, bundle: &KeyBundle) -> bool {
    let is_given = standing.members.active(own).is_some_and(|entry| holds(entry, bundle.key_epoch));
    let is_same = |held: &KeyBundle| held.k_idx == bundle.k_idx && held.pk_data == bundle.pk_data;
    is_given && standing.ring.of(bundle.key_epoch).is_ok_and(is_same)
}

fn holds(entry: &MemberEntry, epoch: u32) -> bool {
    entry.bundles.iter().any(|(held, _)| *held == epoch)
}

/// Keys that we hold and others do not yet: the newest such. Those that somebody was given who was
/// removed since are not ended, nor any before them, for others may be about to end those.
fn pending(standing: &Standing) -> Option<KeyBundle> {
    let members = &standing.members;
    let gone = members.all_removed().into_iter().filter_map(|(member, _)| members.known(member));
    let known = gone.flat_map(|entry| &entry.bundles).map(|(epoch, _)| *epoch).max();
    let passed = members.agreed_epoch().max(known);
    standing.ring.all().filter(|bundle| Some(bundle.key_epoch) > passed).last().cloned()
}

fn next_bundle(ctx: &Ctx, repository: &Repository) -> Result<KeyBundle> {
    let failed = |error| Error::format("the new keys", error);
    let kem = || KemSecret::new(ctx.random(), &(ctx.kem.generate)()?);
    let epoch = repository.standing().members.highest_epoch().checked_add(1);
    let epoch = epoch.ok_or_else(|| Error::new(ErrorKind::Usage, "there are no more numbers for keys"))?;
    let pairs = [kem().map_err(failed)?, kem().map_err(failed)?, kem().map_err(failed)?];
    Ok(repository.bundle().renewed(epoch, [ctx.random(), ctx.random()], pairs))
}

/// Who is to get new keys next: we ourselves, so that we can go on if this is cut off; then other
/// owners, who could end it as well; then all others.
fn next_without(standing: &Standing, own: MemberId, epoch: u32) -> Option<&MemberEntry> {
    let lacks = |entry: &&MemberEntry| !entry.bundles.is_empty() && !holds(entry, epoch);
    let lacking = standing.members.all_active().into_iter().filter(lacks);
    lacking.min_by_key(|entry| (entry.member != own, entry.role != Role::Owner))
}

/// Seals the part of a bundle that a role holds.
pub(crate) fn seal_to(
    ctx: &Ctx,
    repository: &Repository,
    bundle: &KeyBundle,
    role: Role,
    to: &holdfast_core::crypto::KemPublic,
) -> Result<(u32, Vec<u8>)> {
    let sealed = seal_bundle(&bundle.of_role(role), repository.id(), to, &ctx.random(), &ctx.kem);
    Ok((bundle.key_epoch, sealed.map_err(|error| Error::format("the new keys", error))?))
}

pub(crate) fn require_owner(repository: &Repository, what: &str) -> Result<()> {
    if repository.role() == Role::Owner {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NotAllowed, format!("this key does not allow to {what}: it is no owner's")))
}

/// Puts an entry at the end of the chain, in our name; `entry` says what, by the chain as it is, and
/// false comes back if it says that there is nothing to do.
async fn append(
    ctx: &Ctx,
    repository: &Repository,
    entry: impl Fn(&Standing) -> Result<Option<MemberEntry>>,
) -> Result<bool> {
    append_by(ctx, repository, None, entry).await
}

/// The same, where the chain of a repository above decides too: it is read after the one that grows, so
/// that whoever is in that is in this, or was removed.
pub(crate) async fn append_by(
    ctx: &Ctx,
    repository: &Repository,
    above: Option<&Repository>,
    entry: impl Fn(&Standing) -> Result<Option<MemberEntry>>,
) -> Result<bool> {
    for _ in 0..TRIES_MAX {
        for chain in [Some(repository), above].into_iter().flatten() {
            chain.refresh_members().await?;
            require_owning(chain)?;
        }
        let standing = repository.standing();
        let Some(entry) = entry(&standing)? else { return Ok(false) };
        let (number, previous) = (standing.members.len() as u64, standing.members.last_hash());
        let entry = MemberEntry { number, previous, ..entry };
        let id = name::member_object(&previous, number);
        let header =
            member_header(ObjectType::Member, repository.id(), id, repository.member(), ctx.random());
        let bytes = entry.encode(&header, repository.signer());
        if put_or_mine(&**repository.store(), &name::member(number, id), bytes).await? == Put::Created {
            repository.refresh_members().await?;
            return Ok(true);
        }
    }
    Err(changed_at_every_attempt())
}

/// Refuses if we are no owner any more, by what is known now.
fn require_owning(repository: &Repository) -> Result<()> {
    let standing = repository.standing();
    let is_owner = standing.members.active(repository.member()).is_some_and(|own| own.role == Role::Owner);
    if is_owner { Ok(()) } else { Err(removed()) }
}

pub(crate) fn changed_at_every_attempt() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "the members of the repository were changed by other processes at every attempt; try again",
    )
}
