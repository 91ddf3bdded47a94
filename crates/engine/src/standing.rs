//! Who belongs to a repository and which keys we hold, and how both change while it is open.
//!
//! Members come and go, and keys are rotated, beside any run. A run goes on with what it knew; it
//! reads the chain of members again where it meets something that came later: an object of a
//! member or under keys that it does not know, or a root that names more entries. On purpose not
//! here: changing any of it ([`crate::members`]).

use crate::error::{Error, ErrorKind, Result};
use crate::repository::{Repository, WHOLE, get_optional, list_all, object_key};
use crate::rights::Right;
use holdfast_core::FormatError;
use holdfast_core::crypto::{Secret as Key, SignPublic};
use holdfast_core::id::{MemberId, ObjectId, RepositoryId};
use holdfast_core::keys::{KeyBundle, Keyring, MemberKeys, Members, Opener, Role, Sealer};
use holdfast_core::name::SessionName;
use holdfast_core::name::{self, Place};
use holdfast_core::object::{HEADER_BYTES, Header, Object, ObjectType, check_place};
use holdfast_core::repository::Repository as Description;
use holdfast_core::root::Root;
use holdfast_core::wire::Reader;
use holdfast_store::ObjectStore;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

/// What the chain of members says, as far as it was read.
#[derive(Debug)]
pub(crate) struct Standing {
    pub members: Members,
    pub ring: Keyring,
    pub role: Role,
}

impl Standing {
    /// What a chain says of us.
    pub(crate) fn new(members: Members, keys: &MemberKeys, repository: RepositoryId) -> Result<Self> {
        let entry = members.active(keys.member).ok_or_else(removed)?;
        let ring = Keyring::open(entry, repository, &keys.kem, members.agreed_epoch())
            .map_err(|error| Error::format("the key bundle", error))?;
        Ok(Self { role: entry.role, ring, members })
    }
}

/// We do not belong any more.
pub(crate) fn removed() -> Error {
    Error::new(
        ErrorKind::NotAllowed,
        "this key was removed from the repository: nothing that it writes counts any more; ask an owner for a new one",
    )
}

fn not_allowed(what: &str) -> Error {
    Error::new(ErrorKind::NotAllowed, format!("this key does not allow to {what}"))
}

/// A key of a bundle, if the role holds it.
fn held(key: Option<&Key>, refused: &'static str) -> std::result::Result<Key, FormatError> {
    key.cloned().ok_or(FormatError::NotAllowed(refused))
}

impl Repository {
    /// What is known now.
    pub(crate) fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.held_standing().read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What we may do.
    #[must_use]
    pub fn role(&self) -> Role {
        self.standing().role
    }

    /// The keys that what we write is sealed with.
    pub(crate) fn bundle(&self) -> KeyBundle {
        self.standing().ring.sealing().clone()
    }

    /// The generation of keys that what we write is sealed with.
    pub(crate) fn key_epoch(&self) -> u32 {
        self.standing().ring.sealing().key_epoch
    }

    /// Seals the index now.
    #[cfg(test)]
    pub(crate) fn k_idx(&self) -> Result<Key> {
        self.bundle().k_idx.ok_or_else(|| not_allowed("see the index"))
    }

    /// What local copies of the index are hashed under: the oldest key, which stays the same
    /// whatever is rotated.
    pub(crate) fn copy_key(&self) -> Result<Key> {
        let oldest = self.index_keys().into_values().next();
        oldest.ok_or_else(|| not_allowed("see the index"))
    }

    /// Seals references and summaries now.
    #[cfg(test)]
    pub(crate) fn k_ref(&self) -> Result<Key> {
        self.bundle().k_ref.ok_or_else(|| not_allowed("see snapshots"))
    }

    /// Seals an object of the index that has this header.
    pub(crate) fn k_idx_for(&self, header: &Header) -> Result<Key> {
        self.k_idx_of(header.key_epoch).map_err(|error| Error::format("the keys of the index", error))
    }

    /// Seals an object that every member may open and that has this header.
    pub(crate) fn k_ref_for(&self, header: &Header) -> Result<Key> {
        self.k_ref_of(header.key_epoch).map_err(|error| Error::format("the keys of snapshots", error))
    }

    /// Opens objects of the index of a generation of keys.
    pub(crate) fn k_idx_of(&self, epoch: u32) -> std::result::Result<Key, FormatError> {
        held(self.standing().ring.of(epoch)?.k_idx.as_ref(), "it cannot see the index")
    }

    /// Opens what every member may see, of a generation of keys.
    pub(crate) fn k_ref_of(&self, epoch: u32) -> std::result::Result<Key, FormatError> {
        held(self.standing().ring.of(epoch)?.k_ref.as_ref(), "it cannot see snapshots")
    }

    /// What opens the index, for all generations of keys.
    pub(crate) fn index_keys(&self) -> BTreeMap<u32, Key> {
        let standing = self.standing();
        let keys = standing.ring.all().filter_map(|bundle| Some((bundle.key_epoch, bundle.k_idx.clone()?)));
        keys.collect()
    }

    pub(crate) fn sealer(&self) -> Result<Sealer> {
        self.require(Right::BackUp)?;
        Sealer::new(self.id(), self.member(), &self.bundle()).map_err(|_| not_allowed("write"))
    }

    pub(crate) fn opener(&self) -> Opener {
        Opener::of_ring(self.id(), &self.standing().ring)
    }

    /// The key that verifies what a member signed, also after it was removed.
    pub(crate) fn key_of(&self, member: MemberId) -> Option<SignPublic> {
        self.standing().members.known(member).map(|entry| entry.sign)
    }

    /// The key that verifies what an owner or maintainer published.
    pub(crate) fn maintainer_key_of(&self, member: MemberId) -> Option<SignPublic> {
        self.key_of(member).filter(|_| self.ever(member, Role::maintains))
    }

    /// Whether a member ever had a role. That of one that was removed still holds for what it had
    /// published: whatever counts was there before.
    fn ever(&self, member: MemberId, is_such: impl Fn(Role) -> bool) -> bool {
        self.standing().members.known(member).is_some_and(|entry| is_such(entry.role))
    }

    /// Whether a member is an owner, or was one.
    pub(crate) fn is_owner(&self, member: MemberId) -> bool {
        self.ever(member, |role| role == Role::Owner)
    }

    /// Whether a member may back up, or could.
    pub(crate) fn may_write(&self, member: MemberId) -> bool {
        self.ever(member, Role::writes)
    }

    /// How our member is called, for people.
    #[must_use]
    pub fn member_label(&self) -> String {
        self.label_of(self.member()).unwrap_or_default()
    }

    /// What an owner called a member, removed ones included.
    pub(crate) fn label_of(&self, member: MemberId) -> Option<String> {
        self.standing().members.known(member).map(|entry| entry.label.clone())
    }

    /// Whether a member holds what opens contents: only its word on a restore is worth anything.
    #[must_use]
    pub fn may_restore(&self, member: MemberId) -> bool {
        self.ever(member, |role| matches!(role, Role::Owner | Role::Reader))
    }

    /// Whether a member may maintain, or once might: its packs may hold what others sealed.
    pub(crate) fn has_maintained(&self, member: MemberId) -> bool {
        self.standing().members.has_maintained(member)
    }

    /// Whether a session has an id that says it is another member's: it does not count.
    pub(crate) fn has_anothers_id(&self, name: &SessionName) -> bool {
        self.standing().members.is_of_another(name.session, name.member)
    }

    /// What people call a member that was removed; `None` for one that belongs, or never did.
    pub(crate) fn removed_label(&self, member: MemberId) -> Option<String> {
        let standing = self.standing();
        standing.members.removed(member)?;
        standing.members.known(member).map(|entry| entry.label.clone())
    }

    /// Whether the chain says that a member was removed. Until a root says so too, what it had
    /// committed counts.
    pub(crate) fn is_removed(&self, member: MemberId) -> bool {
        self.standing().members.removed(member).is_some()
    }

    /// Whether a member is shut out under a root: of what it committed only that counts which the
    /// roots have taken in.
    pub(crate) fn is_shut_out(&self, member: MemberId, root: &Root) -> bool {
        self.standing().members.removed(member).is_some_and(|number| root.members.0 > number)
    }

    /// Takes an object apart: checksum, place, and the signature of a member whose role may sign it.
    /// Whether what a removed member signed counts is for the caller to see.
    pub(crate) fn parse<'a>(
        &self,
        bytes: &'a [u8],
        object_type: ObjectType,
        id: ObjectId,
    ) -> std::result::Result<Object<'a>, FormatError> {
        let object = Object::parse(bytes)?;
        check_place(&object.header, object_type, self.id(), id)?;
        if object_type.is_signed() {
            let author = object.header.member;
            object.verify(&self.key_of(author).ok_or(FormatError::Signature)?)?;
            if !self.ever(author, |role| role.may_sign(object_type)) {
                return Err(FormatError::Misplaced("its author"));
            }
        }
        Ok(object)
    }

    /// Number of member entries, and the hash of the last.
    pub(crate) fn members_head(&self) -> (u64, [u8; 32]) {
        let standing = self.standing();
        (standing.members.len() as u64, standing.members.last_hash())
    }

    /// The entries that the next root may name without looking at sessions: those after what the
    /// newest one names, up to the first removal. To name a removal is to shut the member out.
    pub(crate) fn members_to_name(&self, newest: &Root) -> (u64, [u8; 32]) {
        let standing = self.standing();
        let members = &standing.members;
        let pending = members.all_removed().into_iter().map(|(_, number)| number);
        let first = pending.filter(|number| *number >= newest.members.0).min();
        let number = first.unwrap_or(members.len() as u64);
        members.hash_after(number).map_or(newest.members, |hash| (number, hash))
    }

    /// Reads what came to the chain of members since; tells whether anything did.
    ///
    /// # Errors
    /// The store failed, or an entry is damaged.
    pub(crate) async fn refresh_members(&self) -> Result<bool> {
        let before = self.standing();
        let mut members = before.members.clone();
        while let Some(object) = members.next_object() {
            let name = name::member(members.len() as u64, object);
            let Some(bytes) = get_optional(&**self.store(), &name).await? else { break };
            match members.append(&bytes, self.id(), &self.member_keys().owner) {
                // Who is no owner may not say who belongs; `check` names it.
                Err(FormatError::Signature) => break,
                other => other.map_err(|error| Error::format(&name, error))?,
            }
        }
        if members.len() == before.members.len() {
            return Ok(false);
        }
        let next = match members.active(self.member()) {
            Some(_) => Standing::new(members, self.member_keys(), self.id())?,
            // We go on knowing what we knew; what we write does not count.
            None => Standing { members, ring: before.ring.clone(), role: before.role },
        };
        let mut held = self.held_standing().write().unwrap_or_else(PoisonError::into_inner);
        // Another task may have come farther.
        if held.members.len() < next.members.len() {
            *held = Arc::new(next);
        }
        Ok(true)
    }

    /// Reads the chain again if an object names a member, or keys, that came later than what we know.
    pub(crate) async fn know_author(&self, bytes: &[u8]) -> Result<()> {
        let Some(Ok(header)) = bytes.get(..HEADER_BYTES).map(|front| Header::decode(&mut Reader::new(front)))
        else {
            return Ok(());
        };
        let standing = self.standing();
        let signed = header.object_type.is_signed();
        let known = !signed || standing.members.known(header.member).is_some();
        if !known || !standing.ring.has(header.key_epoch) {
            self.refresh_members().await?;
        }
        Ok(())
    }

    /// Reads the chain again if a root names more of it than we know; what it names must be there.
    pub(crate) async fn know_members(&self, root: &Root) -> Result<()> {
        let number = root.members.0;
        if number > self.standing().members.len() as u64 {
            self.refresh_members().await?;
        }
        match self.standing().members.hash_after(number) {
            Some(hash) if hash == root.members.1 || number == 0 => Ok(()),
            Some(_) => Err(Error::new(
                ErrorKind::Damaged,
                format!(
                    "root {} names other members than there are: an entry in members/ was replaced",
                    root.number
                ),
            )),
            None => Err(Error::new(
                ErrorKind::Damaged,
                format!(
                    "root {} names {number} entries of members and there are fewer: put back what is missing in members/",
                    root.number
                ),
            )),
        }
    }

    /// Refuses if we were removed meanwhile, or all is gone.
    pub(crate) async fn require_belonging(&self) -> Result<()> {
        self.refresh_members().await?;
        let belongs = self.standing().members.active(self.member()).is_some();
        if belongs { self.require_keys().await } else { Err(removed()) }
    }

    /// Refuses if the keys are gone: nobody will read what we wrote. An erasure deletes the founder's entry
    /// before anything else, so that no mark has to be looked for.
    pub(crate) async fn require_keys(&self) -> Result<()> {
        let name = name::member(0, self.description().member);
        if self.store().head(&object_key(&*name)).await?.is_some() {
            return Ok(());
        }
        let what = match self.is_domain() {
            true => format!("{} was erased meanwhile: nothing of this is kept", self.location()),
            false => format!("{name} is gone: nobody reads what is stored here; put it back"),
        };
        Err(Error::new(ErrorKind::Damaged, what))
    }
}

/// Reads the chain of members from the entry that `holdfast.json` names.
pub(crate) async fn read_members(
    store: &dyn ObjectStore,
    description: &Description,
    owner: &SignPublic,
) -> Result<Members> {
    let mut members = Members::default();
    for meta in list_all(store, "members/").await? {
        let Some(Place::Member(number, id)) = name::parse(meta.key.as_str()) else { continue };
        let expected = members.next_object().unwrap_or(description.member);
        if number != members.len() as u64 || id != expected {
            continue;
        }
        let bytes = store.get(&meta.key, WHOLE).await?;
        let placed = match number {
            0 => Object::parse(&bytes)
                .and_then(|object| check_place(&object.header, ObjectType::Member, description.id, id)),
            _ => Ok(()),
        };
        match placed.and_then(|()| members.append(&bytes, description.id, owner)) {
            // Who is no owner may not say who belongs; `check` names it.
            Err(FormatError::Signature) if number > 0 => {}
            other => other.map_err(|error| Error::format(meta.key.as_str(), error))?,
        }
    }
    if members.is_empty() {
        let name = name::member(0, description.member);
        return Err(Error::new(
            ErrorKind::Damaged,
            format!("{name} is missing: nobody's rights can be told"),
        ));
    }
    Ok(members)
}
