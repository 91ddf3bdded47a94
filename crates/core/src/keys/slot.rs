//! Slots: a member's private keys under a password or key file.
//!
//! On purpose not here: what the keys are for.

use super::Role;
use crate::crypto::{Aead, KdfCost, KemSecret, Secret, SignPublic, Signer, derive, password_key};
use crate::entry::Time;
use crate::error::FormatError;
use crate::id::MemberId;
use crate::object::{Header, encode_object};
use crate::session::{decode_time, encode_time};
use crate::wire::{Reader, Tag, Writer};
use zeroize::Zeroizing;

/// A member's private keys, and whom it trusts as owner.
#[derive(Debug)]
pub struct MemberKeys {
    /// Which member.
    pub member: MemberId,
    /// Signs as it.
    pub signer: Signer,
    /// Opens what is sealed to it.
    pub kem: KemSecret,
    /// The owner's key when the slot was made: where trust in member entries begins.
    pub owner: SignPublic,
}

impl MemberKeys {
    /// The same keys, with trust in another founder: those of a domain of the repository.
    #[must_use]
    pub fn trusting(&self, owner: SignPublic) -> Self {
        let signer = Signer::from_seed(self.signer.seed().clone());
        Self { member: self.member, signer, kem: self.kem.clone(), owner }
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let kem = self.kem.expose();
        let mut writer = Writer::with_capacity(16 + 32 + 32 + 4 + kem.len() + 2);
        writer.raw(self.member.bytes());
        writer.raw(self.signer.seed().expose());
        writer.raw(&self.owner.0);
        writer.bytes32(&kem);
        writer.tags(&[]);
        Zeroizing::new(writer.into_vec())
    }

    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let member = MemberId(reader.array()?);
        let signer = Signer::from_seed(Secret::new(reader.array()?));
        let owner = SignPublic(reader.array()?);
        let kem = KemSecret::from_exposed(reader.bytes32("a secret key", 8192)?)?;
        reader.tags("a member's keys", &[])?;
        reader.end()?;
        Ok(Self { member, signer, kem, owner })
    }
}

/// How the key of a slot is made from what a person holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKdf {
    /// Argon2id over a password.
    Password(KdfCost),
    /// A derivation from the bytes of a key file; they are random, so it costs nothing.
    KeyFile,
}

/// What a person holds.
#[derive(Debug, Clone, Copy)]
pub enum Credential<'a> {
    /// A password.
    Password(&'a [u8]),
    /// The content of a key file, at least [`KEY_FILE_BYTES_MIN`].
    KeyFile(&'a [u8]),
}

/// A key file has at least this many bytes.
pub const KEY_FILE_BYTES_MIN: usize = 32;

/// Longest label of a slot or member, in bytes.
pub const LABEL_BYTES_MAX: usize = u16::MAX as usize;

/// When the slot was made, for people.
const TAG_CREATED: u16 = 0x0001;
/// The slot's own key file, sealed by a server.
const TAG_TRANSIT: u16 = 0x0002;

/// A key file that a key of a transit engine of Vault or OpenBao sealed. Where the server is does not
/// stand here: whoever can write the store must not say to whom a token is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transit {
    /// The key of the engine: `MOUNT/KEY`.
    pub key: String,
    /// What the engine gave for the key file.
    pub sealed: String,
}

impl Transit {
    fn tag(&self) -> Tag {
        let mut writer = Writer::new();
        writer.bytes16(self.key.as_bytes());
        writer.bytes16(self.sealed.as_bytes());
        Tag { id: TAG_TRANSIT, bytes: writer.into_vec() }
    }

    fn of_tag(tag: &Tag) -> Result<Self, FormatError> {
        let mut reader = Reader::new(&tag.bytes);
        let transit =
            Self { key: reader.text16("a key of transit")?, sealed: reader.text16("a sealed key file")? };
        reader.end()?;
        Ok(transit)
    }
}

/// What a new slot says of itself.
#[derive(Debug, Clone)]
pub struct SlotTerms {
    /// Role of the member, for people.
    pub role: Role,
    /// What people call the slot.
    pub label: String,
    /// How its key is made.
    pub kdf: SlotKdf,
    /// Random, never used before.
    pub salt: [u8; 32],
    /// When it is made, for people.
    pub created: Option<Time>,
    /// The key file that opens it, sealed by a server.
    pub transit: Option<Transit>,
}

/// A slot: a member's private keys under one password or key file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySlot {
    /// How its key is made.
    pub kdf: SlotKdf,
    /// Random, per slot.
    pub salt: [u8; 32],
    /// Role of the member, for people; the member entry decides.
    pub role: Role,
    /// What people call it.
    pub label: String,
    sealed: Vec<u8>,
    commitment: [u8; 32],
    /// Tags, of later versions too if they are not critical: bound to the seal, so kept as they are.
    tags: Vec<Tag>,
}

impl KeySlot {
    /// Wraps a member's keys for the object with this header.
    ///
    /// # Errors
    /// The credential does not fit the method or is too weak, the label or what a server sealed is too
    /// long, or the cost is out of bounds.
    pub fn wrap(
        keys: &MemberKeys,
        terms: SlotTerms,
        credential: Credential<'_>,
        header: &Header,
    ) -> Result<Self, FormatError> {
        let SlotTerms { role, label, kdf, salt, created, transit } = terms;
        if label.len() > LABEL_BYTES_MAX {
            return Err(FormatError::TooLong("a label"));
        }
        let long = |transit: &Transit| transit.key.len().max(transit.sealed.len()) > LABEL_BYTES_MAX;
        if transit.as_ref().is_some_and(long) {
            return Err(FormatError::TooLong("a sealed key file"));
        }
        let key = slot_key(kdf, &salt, credential)?;
        let tags = created.map(created_tag).into_iter().chain(transit.map(|transit| transit.tag())).collect();
        let commitment = slot_commitment(&key);
        let mut slot = Self { kdf, salt, role, label, sealed: Vec::new(), commitment, tags };
        Aead::new(&derive("holdfast 1 slot seal", &[key.expose()])).seal_append(
            [0; 12],
            &slot.aad(header),
            &keys.encode(),
            &mut slot.sealed,
        );
        Ok(slot)
    }

    /// When it was made, if it says so: a claim for people, that only its own credential proves.
    #[must_use]
    pub fn created(&self) -> Option<Time> {
        let tag = self.tags.iter().find(|tag| tag.id == TAG_CREATED)?;
        let mut reader = Reader::new(&tag.bytes);
        let time = decode_time(&mut reader).ok()?;
        reader.end().ok().map(|()| time)
    }

    /// The key file that opens it, as a server sealed it; none where it has to be had from elsewhere.
    #[must_use]
    pub fn transit(&self) -> Option<Transit> {
        let tag = self.tags.iter().find(|tag| tag.id == TAG_TRANSIT)?;
        Transit::of_tag(tag).ok().filter(|_| self.kdf == SlotKdf::KeyFile)
    }

    /// Unwraps the keys; the header is that of the object.
    ///
    /// # Errors
    /// [`FormatError::WrongKey`] if the credential is another one.
    pub fn unwrap(&self, header: &Header, credential: Credential<'_>) -> Result<MemberKeys, FormatError> {
        let key = slot_key(self.kdf, &self.salt, credential)?;
        if slot_commitment(&key) != self.commitment {
            return Err(FormatError::WrongKey);
        }
        let aad = self.aad(header);
        let mut sealed = Zeroizing::new(self.sealed.clone());
        let aead = Aead::new(&derive("holdfast 1 slot seal", &[key.expose()]));
        MemberKeys::decode(aead.open_in_place([0; 12], &aad, &mut sealed)?)
    }

    /// Encodes the slot as an object, with the header that it was wrapped for.
    #[must_use]
    pub fn encode(&self, header: &Header) -> Vec<u8> {
        let mut writer = Writer::new();
        self.encode_fields(&mut writer);
        writer.bytes32(&self.sealed);
        writer.raw(&self.commitment);
        writer.tags(&self.tags);
        encode_object(header, writer.as_slice(), None)
    }

    /// Reads the body of a slot object.
    ///
    /// # Errors
    /// It is malformed or of a later version.
    pub fn decode(body: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(body);
        let method = reader.u8()?;
        let cost = KdfCost { memory_kib: reader.u32()?, passes: reader.u32()?, lanes: reader.u32()? };
        let kdf = match method {
            1 => SlotKdf::Password(cost.checked()?),
            2 if cost == NO_COST => SlotKdf::KeyFile,
            2 => return Err(FormatError::Malformed("the cost of a key file")),
            _ => return Err(FormatError::Newer(format!("slot method {method}"))),
        };
        let salt = reader.array()?;
        let role = Role::from_byte(reader.u8()?)?;
        let label = reader.text16("a label")?;
        let sealed = reader.bytes32("a slot", 65_536)?.to_vec();
        let commitment = reader.array()?;
        let tags = reader.tags("a key slot", &[])?;
        reader.end()?;
        Ok(Self { kdf, salt, role, label, sealed, commitment, tags })
    }

    /// What people and the derivation need: method 1, cost 12, salt 32, role 1, label.
    fn encode_fields(&self, writer: &mut Writer) {
        let (method, cost) = match self.kdf {
            SlotKdf::Password(cost) => (1, cost),
            SlotKdf::KeyFile => (2, NO_COST),
        };
        writer.u8(method);
        writer.u32(cost.memory_kib);
        writer.u32(cost.passes);
        writer.u32(cost.lanes);
        writer.raw(&self.salt);
        writer.u8(self.role as u8);
        writer.bytes16(self.label.as_bytes());
    }

    /// What is bound to the seal: header, fields, tagged list.
    fn aad(&self, header: &Header) -> Vec<u8> {
        let mut writer = Writer::from_vec(header.encode().to_vec());
        self.encode_fields(&mut writer);
        writer.tags(&self.tags);
        writer.into_vec()
    }
}

fn created_tag(created: Time) -> Tag {
    let mut writer = Writer::new();
    encode_time(&mut writer, created);
    Tag { id: TAG_CREATED, bytes: writer.into_vec() }
}

/// A key file is random already, so its slot states no cost.
const NO_COST: KdfCost = KdfCost { memory_kib: 0, passes: 0, lanes: 0 };

fn slot_key(kdf: SlotKdf, salt: &[u8; 32], credential: Credential<'_>) -> Result<Secret, FormatError> {
    match (kdf, credential) {
        (SlotKdf::Password(cost), Credential::Password(password)) => password_key(password, salt, cost),
        (SlotKdf::KeyFile, Credential::KeyFile(bytes)) if bytes.len() >= KEY_FILE_BYTES_MIN => {
            Ok(derive("holdfast 1 key file", &[bytes, salt]))
        }
        (SlotKdf::KeyFile, Credential::KeyFile(_)) => {
            Err(FormatError::Malformed("a key file (32 bytes at least)"))
        }
        _ => Err(FormatError::WrongKey),
    }
}

fn slot_commitment(key: &Secret) -> [u8; 32] {
    *derive("holdfast 1 slot commitment", &[key.expose()]).expose()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::super::tests::founding;
    use super::*;
    use crate::id::{ObjectId, RepositoryId};
    use crate::keys::member_header;
    use crate::object::{Object, ObjectType};

    const COST: KdfCost = KdfCost { memory_kib: 64, passes: 1, lanes: 1 };

    fn header(member: MemberId, nonce: u8) -> Header {
        let (repository, object) = (RepositoryId([7; 16]), ObjectId([1; 16]));
        member_header(ObjectType::KeySlot, repository, object, member, [nonce; 16])
    }

    fn terms(kdf: SlotKdf) -> SlotTerms {
        let created = Some(Time { seconds: 5, nanos: 6 });
        SlotTerms { role: Role::Owner, label: "me".into(), kdf, salt: [1; 32], created, transit: None }
    }

    #[test]
    fn a_slot_holds_its_key_file_as_a_server_sealed_it() {
        let owner = founding().owner;
        let (head, file) = (header(owner.member, 0), Credential::KeyFile(&[9; 32]));
        let transit = Transit { key: "transit/holdfast".into(), sealed: "vault:v1:abc".into() };
        let with =
            |transit: &Transit| SlotTerms { transit: Some(transit.clone()), ..terms(SlotKdf::KeyFile) };
        let slot = KeySlot::wrap(&owner, with(&transit), file, &head).unwrap();
        let bytes = slot.encode(&head);
        let again = KeySlot::decode(Object::parse(&bytes).unwrap().body).unwrap();
        assert_eq!((again.transit(), again.created()), (Some(transit.clone()), slot.created()));
        // To who has the key file it is a slot like any other.
        assert!(again.unwrap(&head, file).is_ok());
        let mut other = again.clone();
        other.tags[1] = Transit { key: "transit/other".into(), ..transit.clone() }.tag();
        assert_eq!(other.unwrap(&head, file).unwrap_err(), FormatError::Sealed);
        other.tags[1].bytes.push(0);
        assert_eq!(
            (other.transit(), KeySlot { kdf: SlotKdf::Password(COST), ..again }.transit()),
            (None, None)
        );
        let long = Transit { sealed: "x".repeat(LABEL_BYTES_MAX + 1), ..transit };
        let refused = KeySlot::wrap(&owner, with(&long), file, &head).unwrap_err();
        assert_eq!(refused, FormatError::TooLong("a sealed key file"));
    }

    #[test]
    fn a_slot_says_when_it_was_made_and_takes_no_endless_label() {
        let owner = founding().owner;
        let (head, file) = (header(owner.member, 0), Credential::KeyFile(&[9; 32]));
        let wrap = |terms| KeySlot::wrap(&owner, terms, file, &head);
        let again = |slot: KeySlot| {
            KeySlot::decode(Object::parse(&slot.encode(&head)).unwrap().body).unwrap().created()
        };
        let terms = terms(SlotKdf::KeyFile);
        assert_eq!(again(wrap(terms.clone()).unwrap()), terms.created);
        assert_eq!(again(wrap(SlotTerms { created: None, ..terms.clone() }).unwrap()), None);
        let mut odd = wrap(terms.clone()).unwrap();
        odd.tags[0].bytes.push(0);
        assert_eq!(odd.created(), None);
        let long = |bytes: usize| wrap(SlotTerms { label: "x".repeat(bytes), ..terms.clone() });
        assert!(long(LABEL_BYTES_MAX).is_ok());
        assert_eq!(long(LABEL_BYTES_MAX + 1), Err(FormatError::TooLong("a label")));
    }

    /// Whoever changes what a slot says of its cost makes it a slot that the right password does not open, so that
    /// nobody can be made to try one, or to prove that he knows it, for less than its owner wanted.
    #[test]
    fn a_slot_whose_cost_was_changed_opens_for_nobody() {
        let owner = founding().owner;
        let cost = KdfCost { memory_kib: 64, passes: 2, lanes: 2 };
        let (head, right) = (header(owner.member, 0), Credential::Password(b"right"));
        let slot = KeySlot::wrap(&owner, terms(SlotKdf::Password(cost)), right, &head).unwrap();
        assert!(slot.unwrap(&head, right).is_ok());
        let changed = [
            KdfCost { memory_kib: 16, ..cost },
            KdfCost { memory_kib: 63, ..cost },
            KdfCost { memory_kib: 128, ..cost },
            KdfCost { passes: 1, ..cost },
            KdfCost { passes: 3, ..cost },
            KdfCost { lanes: 1, ..cost },
            KdfCost { memory_kib: 16, passes: 1, lanes: 1 },
        ];
        for kdf in changed.map(SlotKdf::Password).into_iter().chain([SlotKdf::KeyFile]) {
            let forged = KeySlot { kdf, ..slot.clone() };
            let bytes = forged.encode(&head);
            let forged = KeySlot::decode(Object::parse(&bytes).unwrap().body).unwrap();
            for credential in [right, Credential::KeyFile(b"right")] {
                assert!(forged.unwrap(&head, credential).is_err(), "{:?}", forged.kdf);
            }
        }
        for kdf in [KdfCost { memory_kib: u32::MAX, ..cost }, KdfCost { passes: 0, ..cost }] {
            let bytes = KeySlot { kdf: SlotKdf::Password(kdf), ..slot.clone() }.encode(&head);
            let forged = KeySlot::decode(Object::parse(&bytes).unwrap().body);
            assert!(forged.is_err() || forged.unwrap().unwrap(&head, right).is_err(), "{kdf:?}");
        }
    }

    #[test]
    fn a_slot_opens_with_its_own_password_and_under_its_own_header_only() {
        let owner = founding().owner;
        let kdf = SlotKdf::Password(COST);
        let (head, right) = (header(owner.member, 0), Credential::Password(b"right"));
        let slot = KeySlot::wrap(&owner, terms(kdf), right, &head).unwrap();
        let bytes = slot.encode(&head);
        let object = Object::parse(&bytes).unwrap();
        let slot = KeySlot::decode(object.body).unwrap();
        let again = slot.unwrap(&object.header, right).unwrap();
        assert_eq!((again.member, again.owner), (owner.member, owner.signer.public()));
        let refused = |credential| slot.unwrap(&head, credential).unwrap_err();
        assert_eq!(refused(Credential::Password(b"wrong")), FormatError::WrongKey);
        assert_eq!(refused(Credential::KeyFile(&[0; 32])), FormatError::WrongKey);
        assert_eq!(slot.unwrap(&header(owner.member, 1), right).unwrap_err(), FormatError::Sealed);
        let mut tagged = slot.clone();
        tagged.tags = vec![Tag { id: 2, bytes: vec![] }];
        assert_eq!(tagged.unwrap(&head, right).unwrap_err(), FormatError::Sealed);
        let relabelled = KeySlot { label: "you".into(), ..slot };
        assert_eq!(relabelled.unwrap(&head, right).unwrap_err(), FormatError::Sealed);
    }

    #[test]
    fn a_slot_for_a_key_file_states_no_cost() {
        let owner = founding().owner;
        let (head, file) = (header(owner.member, 0), Credential::KeyFile(&[9; 32]));
        let slot = KeySlot::wrap(&owner, terms(SlotKdf::KeyFile), file, &head).unwrap();
        let bytes = slot.encode(&head);
        let mut body = Object::parse(&bytes).unwrap().body.to_vec();
        assert!(KeySlot::decode(&body).unwrap().unwrap(&head, file).is_ok());
        body[5] = 1;
        assert_eq!(KeySlot::decode(&body), Err(FormatError::Malformed("the cost of a key file")));
    }
}
