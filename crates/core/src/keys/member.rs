//! The chain of members: who is admitted, who is removed, and who says so.
//!
//! On purpose not here: what the bundles of keys hold.

use super::Role;
use crate::crypto::{KEM_PUBLIC_BYTES, KemPublic, SignPublic, Signer, hash};
use crate::error::FormatError;
use crate::id::{MemberId, ObjectId, RepositoryId, SessionId};
use crate::name::member_object;
use crate::object::{Header, Object, ObjectType, check_place, encode_object};
use crate::wire::{Reader, Writer};
use std::collections::BTreeSet;

/// What an entry of the member chain does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MemberAction {
    /// The member belongs, with these keys, from here on.
    Admit = 1,
    /// The member is shut out; what it commits later does not count.
    Remove = 2,
}

/// One entry of the chain of members, signed by an owner; the first is the owner's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberEntry {
    /// Its number in the chain, from 0.
    pub number: u64,
    /// Hash of the whole entry before, zeros for the first.
    pub previous: [u8; 32],
    /// What it does.
    pub action: MemberAction,
    /// Whom it is about.
    pub member: MemberId,
    /// What the member may do.
    pub role: Role,
    /// What people call it.
    pub label: String,
    /// Verifies what the member signs.
    pub sign: SignPublic,
    /// What is for the member is sealed to it.
    pub kem: KemPublic,
    /// Key bundles by generation, sealed to `kem`.
    pub bundles: Vec<(u32, Vec<u8>)>,
}

impl MemberEntry {
    /// Encodes and signs the entry.
    #[must_use]
    pub fn encode(&self, header: &Header, owner: &Signer) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u64(self.number);
        writer.raw(&self.previous);
        writer.u8(self.action as u8);
        writer.raw(self.member.bytes());
        writer.u8(self.role as u8);
        writer.bytes16(self.label.as_bytes());
        writer.raw(&self.sign.0);
        writer.raw(&self.kem.0);
        writer.count(self.bundles.len());
        for (epoch, sealed) in &self.bundles {
            writer.u32(*epoch);
            writer.bytes32(sealed);
        }
        writer.tags(&[]);
        encode_object(header, writer.as_slice(), Some(owner))
    }

    /// Reads the body of a member entry; the caller verifies the signature.
    ///
    /// # Errors
    /// It is malformed or of a later version.
    pub fn decode(body: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(body);
        let number = reader.u64()?;
        let previous = reader.array()?;
        let action = match reader.u8()? {
            1 => MemberAction::Admit,
            2 => MemberAction::Remove,
            other => return Err(FormatError::Newer(format!("member action {other}"))),
        };
        let member = MemberId(reader.array()?);
        let role = Role::from_byte(reader.u8()?)?;
        let label = reader.text16("a label")?;
        let sign = SignPublic(reader.array()?);
        let kem = KemPublic::new(reader.raw(KEM_PUBLIC_BYTES)?)?;
        let mut bundles = Vec::new();
        for _ in 0..reader.count(8)? {
            bundles.push((reader.u32()?, reader.bytes32("a key bundle", 65_536)?.to_vec()));
        }
        reader.tags("a member entry", &[])?;
        reader.end()?;
        Ok(Self { number, previous, action, member, role, label, sign, kem, bundles })
    }
}

/// A chain of member entries, verified.
#[derive(Debug, Clone, Default)]
pub struct Members {
    entries: Vec<MemberEntry>,
    /// Hash of each entry's whole object.
    hashes: Vec<[u8; 32]>,
}

impl Members {
    /// The identifier that the next entry must have; `None` for the first, which `holdfast.json` names.
    #[must_use]
    pub fn next_object(&self) -> Option<ObjectId> {
        let number = self.entries.len() as u64;
        (number > 0).then(|| member_object(&self.last_hash(), number))
    }

    /// Appends the next entry, given as the bytes of its object.
    ///
    /// The first is the founder's own: it admits an owner with the key `owner`, who signs it.
    /// Later ones are signed by a member that is an owner at that point.
    ///
    /// # Errors
    /// [`FormatError::Signature`] for whatever no owner signed for this place, be it no object at all: anybody
    /// who may write can put that. Otherwise it does not follow the entry before, is of a later version, or
    /// would leave the repository without an owner.
    pub fn append(
        &mut self,
        bytes: &[u8],
        repository: RepositoryId,
        owner: &SignPublic,
    ) -> Result<(), FormatError> {
        let object = match self.next_object() {
            None => Object::parse(bytes)?,
            Some(id) => self.signed_for(bytes, repository, id).ok_or(FormatError::Signature)?,
        };
        check_place(&object.header, ObjectType::Member, repository, object.header.object)?;
        let entry = MemberEntry::decode(object.body)?;
        if (entry.number, entry.previous) != (self.entries.len() as u64, self.last_hash()) {
            return Err(FormatError::Misplaced("its place in the chain of members"));
        }
        if self.entries.is_empty() {
            let admits_owner = entry.action == MemberAction::Admit && entry.role == Role::Owner;
            if !admits_owner || entry.sign != *owner || entry.member != object.header.member {
                return Err(FormatError::Malformed("the first of the members"));
            }
            object.verify(owner)?;
        }
        let same = self.known(entry.member).is_none_or(|known| known.sign == entry.sign);
        self.entries.push(entry);
        let wrong = match (self.has_owner(), same) {
            (false, _) => Some("the removal of the last owner"),
            // Otherwise what it signed before would not verify any more.
            (_, false) => Some("the signing key of a member"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            self.entries.pop();
            return Err(FormatError::Malformed(wrong));
        }
        self.hashes.push(hash(bytes));
        Ok(())
    }

    /// An object that an owner who belongs signed for a place in the chain. Nothing else of it is looked at before.
    fn signed_for<'a>(&self, bytes: &'a [u8], repository: RepositoryId, id: ObjectId) -> Option<Object<'a>> {
        let object = Object::parse(bytes).ok()?;
        check_place(&object.header, ObjectType::Member, repository, id).ok()?;
        let author = self.active(object.header.member).filter(|member| member.role == Role::Owner)?;
        object.verify(&author.sign).ok()?;
        Some(object)
    }

    fn has_owner(&self) -> bool {
        let owner =
            |entry: &MemberEntry| self.active(entry.member).is_some_and(|active| active.role == Role::Owner);
        self.entries.iter().any(owner)
    }

    /// Finds what is in force for a member; `None` if it was removed or never admitted.
    #[must_use]
    pub fn active(&self, member: MemberId) -> Option<&MemberEntry> {
        self.last_of(member).filter(|last| last.action == MemberAction::Admit)
    }

    /// The last entry about a member, one that removes it included.
    #[must_use]
    pub fn last_of(&self, member: MemberId) -> Option<&MemberEntry> {
        self.entries.iter().rev().find(|entry| entry.member == member)
    }

    /// Whether a member may maintain, or once might: its packs may hold what others sealed.
    #[must_use]
    pub fn has_maintained(&self, member: MemberId) -> bool {
        let may = |entry: &&MemberEntry| {
            entry.action == MemberAction::Admit && matches!(entry.role, Role::Owner | Role::Maintainer)
        };
        self.entries.iter().filter(may).any(|entry| entry.member == member)
    }

    /// What was last said of a member while it belonged; `None` if it never did. What it signed
    /// verifies by it for ever; whether that counts is another question.
    #[must_use]
    pub fn known(&self, member: MemberId) -> Option<&MemberEntry> {
        let admits = |entry: &&MemberEntry| entry.member == member && entry.action == MemberAction::Admit;
        self.entries.iter().rev().find(admits)
    }

    /// Whether an id says that it is of somebody else who belongs or belonged.
    #[must_use]
    pub fn is_of_another(&self, session: SessionId, member: MemberId) -> bool {
        let others = self.entries.iter().map(|entry| entry.member).filter(|other| *other != member);
        !session.says_it_is_of(member) && others.into_iter().any(|other| session.says_it_is_of(other))
    }

    /// The number of the entry that removed a member; `None` if it belongs, or never did.
    #[must_use]
    pub fn removed(&self, member: MemberId) -> Option<u64> {
        let last = self.entries.iter().rev().find(|entry| entry.member == member)?;
        (last.action == MemberAction::Remove).then_some(last.number)
    }

    /// Members that belong, in the order in which they were first admitted.
    #[must_use]
    pub fn all_active(&self) -> Vec<&MemberEntry> {
        let mut seen = BTreeSet::new();
        let firsts = self.entries.iter().filter(|entry| seen.insert(entry.member));
        firsts.filter_map(|entry| self.active(entry.member)).collect()
    }

    /// Members that were removed, and the numbers of the entries that did it.
    #[must_use]
    pub fn all_removed(&self) -> Vec<(MemberId, u64)> {
        let mut seen = BTreeSet::new();
        let firsts = self.entries.iter().filter(|entry| seen.insert(entry.member));
        firsts.filter_map(|entry| Some((entry.member, self.removed(entry.member)?))).collect()
    }

    /// The newest generation of keys of which all members hold a bundle: what is written is sealed
    /// under it. So a rotation that was cut off changes nothing for anybody. Members without any
    /// bundle open nothing anyway.
    #[must_use]
    pub fn agreed_epoch(&self) -> Option<u32> {
        let epochs =
            |entry: &MemberEntry| entry.bundles.iter().map(|(epoch, _)| *epoch).collect::<BTreeSet<_>>();
        let held: Vec<_> =
            self.all_active().into_iter().map(epochs).filter(|held| !held.is_empty()).collect();
        let (first, others) = held.split_first()?;
        first.iter().rev().find(|epoch| others.iter().all(|held| held.contains(epoch))).copied()
    }

    /// The highest generation of keys that any entry ever named.
    #[must_use]
    pub fn highest_epoch(&self) -> u32 {
        self.entries.iter().flat_map(|entry| &entry.bundles).map(|(epoch, _)| *epoch).max().unwrap_or(0)
    }

    /// Whether a member was an owner at some time, with this key.
    #[must_use]
    pub fn was_owner(&self, member: MemberId, sign: &SignPublic) -> bool {
        let admitted =
            |entry: &&MemberEntry| entry.action == MemberAction::Admit && entry.role == Role::Owner;
        self.entries.iter().filter(admitted).any(|entry| entry.member == member && entry.sign == *sign)
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Hash of the last of the first `count` entries, zeros of none; `None` if there are fewer.
    #[must_use]
    pub fn hash_after(&self, count: u64) -> Option<[u8; 32]> {
        match count.checked_sub(1) {
            None => Some([0; 32]),
            Some(last) => self.hashes.get(usize::try_from(last).ok()?).copied(),
        }
    }

    /// Hash of the last entry.
    #[must_use]
    pub fn last_hash(&self) -> [u8; 32] {
        self.hashes.last().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::super::tests::founding;
    use super::*;
    use crate::crypto::Secret;
    use crate::keys::{member_header, open_bundle};

    const REPOSITORY: RepositoryId = RepositoryId([7; 16]);

    fn encoded(entry: &MemberEntry, object: ObjectId, author: MemberId, signer: &Signer) -> Vec<u8> {
        entry.encode(&member_header(ObjectType::Member, REPOSITORY, object, author, [0; 16]), signer)
    }

    #[test]
    fn the_owner_finds_every_key_again_in_its_entry() {
        let founding = founding();
        let (member, signer) = (founding.owner.member, &founding.owner.signer);
        let bytes = encoded(&founding.entry, ObjectId([1; 16]), member, signer);
        let mut members = Members::default();
        members.append(&bytes, REPOSITORY, &founding.owner.owner).unwrap();
        let entry = members.active(member).unwrap();
        let bundle = open_bundle(&entry.bundles[0].1, REPOSITORY, &founding.owner.kem).unwrap();
        assert_eq!(bundle.encode(), founding.bundle.encode());
        assert!(members.append(&bytes, REPOSITORY, &founding.owner.owner).is_err(), "the same entry twice");
    }

    #[test]
    fn the_first_entry_is_the_owner_s_own() {
        let founding = founding();
        let (member, signer, entry) = (founding.owner.member, &founding.owner.signer, &founding.entry);
        let stranger = Signer::from_seed(Secret::new([9; 32]));
        let first = |entry: &MemberEntry, repository, author, signer| {
            let bytes = encoded(entry, ObjectId([1; 16]), author, signer);
            Members::default().append(&bytes, repository, &founding.owner.owner)
        };
        assert_eq!(first(entry, REPOSITORY, member, signer), Ok(()));
        assert_eq!(first(entry, REPOSITORY, member, &stranger), Err(FormatError::Signature));
        let misplaced = Err(FormatError::Misplaced("its repository"));
        assert_eq!(first(entry, RepositoryId([8; 16]), member, signer), misplaced);
        let malformed = Err(FormatError::Malformed("the first of the members"));
        assert_eq!(first(entry, REPOSITORY, MemberId([9; 16]), signer), malformed);
        for entry in [
            MemberEntry { action: MemberAction::Remove, ..entry.clone() },
            MemberEntry { role: Role::Writer, ..entry.clone() },
            MemberEntry { sign: stranger.public(), ..entry.clone() },
        ] {
            assert_eq!(first(&entry, REPOSITORY, member, signer), malformed);
        }
    }

    #[test]
    fn later_entries_follow_under_their_own_name_signed_by_an_owner() {
        let founding = founding();
        let (owner, signer) = (founding.owner.member, &founding.owner.signer);
        let mut members = Members::default();
        let bytes = encoded(&founding.entry, ObjectId([1; 16]), owner, signer);
        members.append(&bytes, REPOSITORY, &founding.owner.owner).unwrap();
        let writer = Signer::from_seed(Secret::new([9; 32]));
        let second = MemberEntry {
            number: 1,
            previous: members.last_hash(),
            member: MemberId([9; 16]),
            role: Role::Writer,
            sign: writer.public(),
            ..founding.entry.clone()
        };
        let id = member_object(&members.last_hash(), 1);
        assert_eq!(members.next_object(), Some(id));
        let mut append = |entry: &MemberEntry, id, author, signer: &Signer| {
            members.append(&encoded(entry, id, author, signer), REPOSITORY, &founding.owner.owner)
        };
        let elsewhere = append(&second, ObjectId([1; 16]), owner, signer);
        assert_eq!(elsewhere, Err(FormatError::Signature));
        let by_itself = append(&second, id, second.member, &writer);
        assert_eq!(by_itself, Err(FormatError::Signature));
        let last_owner = Err(FormatError::Malformed("the removal of the last owner"));
        for (action, role) in [(MemberAction::Remove, Role::Owner), (MemberAction::Admit, Role::Reader)] {
            let entry = MemberEntry { action, role, member: owner, ..second.clone() };
            assert_eq!(append(&entry, id, owner, signer), last_owner);
        }
        assert_eq!(append(&second, id, owner, signer), Ok(()));
        assert_eq!((members.hash_after(0), members.hash_after(3)), (Some([0; 32]), None));
        assert_eq!(members.hash_after(1), Some(second.previous));
        assert_eq!(members.hash_after(2), Some(members.last_hash()));
        let third = MemberEntry { number: 2, previous: members.last_hash(), ..second.clone() };
        let bytes = encoded(&third, members.next_object().unwrap(), second.member, &writer);
        let by_a_writer = members.append(&bytes, REPOSITORY, &founding.owner.owner);
        assert_eq!(by_a_writer, Err(FormatError::Signature));
    }

    /// A chain in which the founder admits and removes as told: action, member, its key epochs.
    fn chain(told: &[(MemberAction, u8, &[u32])]) -> Result<Members, FormatError> {
        let founding = founding();
        let (owner, signer) = (founding.owner.member, &founding.owner.signer);
        let mut members = Members::default();
        members.append(
            &encoded(&founding.entry, ObjectId([1; 16]), owner, signer),
            REPOSITORY,
            &signer.public(),
        )?;
        for (action, member, epochs) in told {
            let member = if *member == 0 { owner } else { MemberId([*member; 16]) };
            let known = if member == owner { signer.public() } else { key_of(member).public() };
            let entry = MemberEntry {
                number: members.len() as u64,
                previous: members.last_hash(),
                action: *action,
                member,
                role: if member == owner { Role::Owner } else { Role::Writer },
                sign: known,
                bundles: epochs.iter().map(|epoch| (*epoch, vec![1])).collect(),
                ..founding.entry.clone()
            };
            let id = members.next_object().unwrap();
            members.append(&encoded(&entry, id, owner, signer), REPOSITORY, &signer.public())?;
        }
        Ok(members)
    }

    fn key_of(member: MemberId) -> Signer {
        Signer::from_seed(Secret::new([member.0[0]; 32]))
    }

    #[test]
    fn what_is_written_takes_the_newest_keys_that_all_members_hold() {
        let admit = MemberAction::Admit;
        for (told, agreed) in [
            (&[][..], 0),
            (&[(admit, 9, &[0][..])][..], 0),
            (&[(admit, 9, &[0]), (admit, 0, &[0, 1])], 0),
            (&[(admit, 9, &[0]), (admit, 0, &[0, 1]), (admit, 9, &[0, 1])], 1),
            // Another owner began anew where the first was cut off.
            (&[(admit, 0, &[0, 1]), (admit, 9, &[0, 2]), (admit, 0, &[0, 1, 2])], 2),
            // Who opens nothing, and who was removed, hinders nobody.
            (&[(admit, 0, &[0, 1]), (admit, 9, &[])], 1),
            (&[(admit, 9, &[0]), (admit, 0, &[0, 1]), (MemberAction::Remove, 9, &[])], 1),
        ] {
            assert_eq!(chain(told).unwrap().agreed_epoch(), Some(agreed), "{told:?}");
        }
        assert_eq!(chain(&[(admit, 9, &[0, 4])]).unwrap().highest_epoch(), 4);
    }

    #[test]
    fn who_was_removed_is_known_and_does_not_belong() {
        let told = [(MemberAction::Admit, 9, &[0][..]), (MemberAction::Remove, 9, &[])];
        let members = chain(&told).unwrap();
        let gone = MemberId([9; 16]);
        assert!(members.active(gone).is_none());
        assert_eq!(members.known(gone).unwrap().sign, key_of(gone).public());
        assert_eq!((members.removed(gone), members.all_removed()), (Some(2), vec![(gone, 2)]));
        assert_eq!(members.all_active().len(), 1);
        let stranger = MemberId([7; 16]);
        assert!(members.known(stranger).is_none() && members.removed(stranger).is_none());
    }
}
