//! Members: who belongs to the repository, with which keys, and since when.
//!
//! A member's private keys are made where it is admitted and lie in a slot under its own password
//! or key file; what the repository gives to it lies in the chain of members, sealed to it.
//! On purpose not here: the slots themselves ([`crate::key_slots`]).

use crate::ctx::Ctx;
use crate::error::{Error, ErrorKind, Result};
use crate::key_slots::{KeyInfo, NewKey, check_label, delete_slot, refuse_known, terms, write_slot};
use crate::repository::{Repository, put_or_mine};
use holdfast_core::crypto::{KdfCost, KemSecret, Secret, Signer};
use holdfast_core::id::MemberId;
use holdfast_core::keys::{MemberAction, MemberEntry, MemberKeys, Role, member_header, seal_bundle};
use holdfast_core::name;
use holdfast_core::object::ObjectType;
use holdfast_store::Put;

/// Admits a new member with a role, and writes the slot that opens it. The slot is written and
/// proved first: cut off in between, it opens nothing, for its member is not in the chain.
///
/// # Errors
/// We are no owner, what is to open the slot opens another already, or the store failed.
pub async fn admit(ctx: &Ctx, repository: &Repository, role: Role, new: &NewKey) -> Result<KeyInfo> {
    if repository.role() != Role::Owner {
        return Err(Error::new(ErrorKind::NotAllowed, "this key does not allow to admit members"));
    }
    check_label(new.label.as_deref())?;
    refuse_known(repository, &new.secret).await?;
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
    let info = write_slot(ctx, repository, &new.secret, terms, &keys).await?;
    let bundle = repository.bundle().of_role(role);
    let ephemeral = ctx.random();
    let sealed =
        seal_bundle(&bundle, repository.id(), keys.kem.public(), &ephemeral, &ctx.kem).map_err(failed)?;
    let (number, previous) = repository.members_head();
    let entry = MemberEntry {
        number,
        previous,
        action: MemberAction::Admit,
        member: keys.member,
        role,
        label,
        sign: keys.signer.public(),
        kem: keys.kem.public().clone(),
        bundles: vec![(bundle.key_epoch, sealed)],
    };
    match append(ctx, repository, &entry).await {
        Ok(()) => Ok(info),
        Err(error) => {
            let _ = delete_slot(repository, info.id).await;
            Err(error)
        }
    }
}

/// Puts an entry at the end of the chain, in our name.
async fn append(ctx: &Ctx, repository: &Repository, entry: &MemberEntry) -> Result<()> {
    let id = name::member_object(&entry.previous, entry.number);
    let header = member_header(ObjectType::Member, repository.id(), id, repository.member(), ctx.random());
    let bytes = entry.encode(&header, repository.signer());
    match put_or_mine(&**repository.store(), &name::member(entry.number, id), bytes).await? {
        Put::Created => Ok(()),
        Put::Exists => Err(Error::new(
            ErrorKind::Conflict,
            "the members of the repository were changed by another process meanwhile; try again",
        )),
    }
}
