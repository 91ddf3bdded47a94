//! Keys: who holds which, how they are wrapped, and what each allows.
//!
//! A member's private keys lie in slots under its password or key file. What the repository
//! gives to a member lies in its entry, sealed to the member's public key. Capability is the
//! type: [`Sealer`] can write, [`Opener`] can read what was sealed.
//!
//! On purpose not here: where passwords come from, and randomness.

use crate::chunker::{BundleRule, GearTable};
use crate::crypto::{
    Aead, KEM_CIPHERTEXT_BYTES, KEM_PUBLIC_BYTES, KdfCost, KemCalls, KemPublic, KemSecret, Secret,
    SignPublic, Signer, derive, encapsulate, hash, keyed_hash, password_key,
};
use crate::error::FormatError;
use crate::id::{ChunkId, MemberId, ObjectId, RepositoryId, SessionId, StreamId};
use crate::name::PackClass;
use crate::object::{Header, Object, ObjectType, encode_object};
use crate::wire::{Reader, TAG_CRITICAL, Tag, Writer, take_tag};

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// Everything; admits and removes others.
    Owner = 1,
    /// Backs up, reads nothing.
    Writer = 2,
    /// Forgets, prunes, repairs and checks without data keys.
    Maintainer = 3,
    /// Restores and drills, writes nothing but evidence.
    Reader = 4,
}

impl Role {
    fn from_byte(byte: u8) -> Result<Self, FormatError> {
        [Self::Owner, Self::Writer, Self::Maintainer, Self::Reader]
            .into_iter()
            .find(|role| *role as u8 == byte)
            .ok_or_else(|| FormatError::Newer(format!("role {byte}")))
    }

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Writer => "writer",
            Self::Maintainer => "maintainer",
            Self::Reader => "reader",
        }
    }
}

/// Kinds of chunks; each has its own identifier key, so that no file can look like a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ChunkKind {
    /// Contents of files.
    Data = 1,
    /// A page of a tree.
    Page = 2,
}

impl ChunkKind {
    /// The class of pack that holds chunks of this kind.
    #[must_use]
    pub const fn class(self) -> PackClass {
        match self {
            Self::Data => PackClass::Data,
            Self::Page => PackClass::Tree,
        }
    }

    /// The kind of chunk that a class of pack holds.
    #[must_use]
    pub const fn of(class: PackClass) -> Self {
        match class {
            PackClass::Data => Self::Data,
            PackClass::Tree => Self::Page,
        }
    }
}

/// The keys of a repository that members share according to their roles.
#[derive(Debug, Clone)]
pub struct KeyBundle {
    /// Generation; sealed parts name the one they use.
    pub key_epoch: u32,
    /// Identifies chunks and streams.
    pub k_id: Option<Secret>,
    /// Decides where chunks, bundles and pages are cut.
    pub k_cdc: Option<Secret>,
    /// Seals pack footers and the index.
    pub k_idx: Option<Secret>,
    /// Seals references of pages, summaries of snapshots, begins and pins.
    pub k_ref: Option<Secret>,
    /// Contents are sealed to it.
    pub pk_data: Option<KemPublic>,
    /// Bodies of pages and details of snapshots are sealed to it.
    pub pk_meta: Option<KemPublic>,
    /// Opens contents.
    pub sk_data: Option<KemSecret>,
    /// Opens bodies of pages and details of snapshots.
    pub sk_meta: Option<KemSecret>,
}

const BUNDLE_TAGS: [u16; 8] = [0x8001, 0x8002, 0x8003, 0x8004, 0x8005, 0x8006, 0x8007, 0x8008];

impl KeyBundle {
    /// Encodes as tags 1 to 8, all critical.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let secret = |key: &Option<Secret>| key.as_ref().map(|key| key.expose().to_vec());
        let values = [
            secret(&self.k_id),
            secret(&self.k_cdc),
            secret(&self.k_idx),
            secret(&self.k_ref),
            self.pk_data.as_ref().map(|key| key.0.clone()),
            self.pk_meta.as_ref().map(|key| key.0.clone()),
            self.sk_data.as_ref().map(KemSecret::expose),
            self.sk_meta.as_ref().map(KemSecret::expose),
        ];
        let tags: Vec<_> = BUNDLE_TAGS
            .into_iter()
            .zip(values)
            .filter_map(|(id, value)| Some(Tag { id, bytes: value? }))
            .collect();
        let mut writer = Writer::new();
        writer.u32(self.key_epoch);
        writer.tags(&tags);
        writer.into_vec()
    }

    /// Reads what [`KeyBundle::encode`] wrote.
    ///
    /// # Errors
    /// A key is malformed or of an unknown kind.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let key_epoch = reader.u32()?;
        let mut tags = reader.tags("a key bundle", &BUNDLE_TAGS)?;
        reader.end()?;
        let mut secret = |id| {
            take_tag(&mut tags, id)
                .map(|bytes| bytes.try_into().map(Secret::new).map_err(|_| FormatError::Malformed("a key")))
                .transpose()
        };
        let (k_id, k_cdc, k_idx, k_ref) =
            (secret(0x8001)?, secret(0x8002)?, secret(0x8003)?, secret(0x8004)?);
        let mut public = |id| take_tag(&mut tags, id).map(|bytes| KemPublic::new(&bytes)).transpose();
        let (pk_data, pk_meta) = (public(0x8005)?, public(0x8006)?);
        let mut private =
            |id| take_tag(&mut tags, id).map(|bytes| KemSecret::from_exposed(&bytes)).transpose();
        let (sk_data, sk_meta) = (private(0x8007)?, private(0x8008)?);
        Ok(Self { key_epoch, k_id, k_cdc, k_idx, k_ref, pk_data, pk_meta, sk_data, sk_meta })
    }
}

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
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(self.member.bytes());
        writer.raw(self.signer.seed().expose());
        writer.raw(&self.owner.0);
        writer.bytes32(&self.kem.expose());
        writer.tags(&[]);
        writer.into_vec()
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
}

impl KeySlot {
    /// Wraps a member's keys.
    ///
    /// # Errors
    /// The credential does not fit the method or is too weak, or the cost is out of bounds.
    pub fn wrap(
        keys: &MemberKeys,
        role: Role,
        label: &str,
        kdf: SlotKdf,
        salt: [u8; 32],
        credential: Credential<'_>,
    ) -> Result<Self, FormatError> {
        let key = slot_key(kdf, &salt, credential)?;
        let mut sealed = Vec::new();
        let aad = slot_aad(kdf, &salt, role, label);
        Aead::new(&derive("holdfast 1 slot seal", &[key.expose()])).seal_append(
            [0; 12],
            &aad,
            &keys.encode(),
            &mut sealed,
        );
        Ok(Self { kdf, salt, role, label: label.to_owned(), sealed, commitment: slot_commitment(&key) })
    }

    /// Unwraps the keys.
    ///
    /// # Errors
    /// [`FormatError::WrongKey`] if the credential is another one.
    pub fn unwrap(&self, credential: Credential<'_>) -> Result<MemberKeys, FormatError> {
        let key = slot_key(self.kdf, &self.salt, credential)?;
        if slot_commitment(&key) != self.commitment {
            return Err(FormatError::WrongKey);
        }
        let aad = slot_aad(self.kdf, &self.salt, self.role, &self.label);
        let mut sealed = self.sealed.clone();
        let aead = Aead::new(&derive("holdfast 1 slot seal", &[key.expose()]));
        MemberKeys::decode(aead.open_in_place([0; 12], &aad, &mut sealed)?)
    }

    /// Encodes the slot as an object.
    #[must_use]
    pub fn encode(&self, header: &Header) -> Vec<u8> {
        let mut writer = Writer::from_vec(slot_aad(self.kdf, &self.salt, self.role, &self.label));
        writer.bytes32(&self.sealed);
        writer.raw(&self.commitment);
        writer.tags(&[]);
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
            2 => SlotKdf::KeyFile,
            _ => return Err(FormatError::Newer(format!("slot method {method}"))),
        };
        let salt = reader.array()?;
        let role = Role::from_byte(reader.u8()?)?;
        let label = reader.text16("a label")?;
        let sealed = reader.bytes32("a slot", 65_536)?.to_vec();
        let commitment = reader.array()?;
        reader.tags("a key slot", &[])?;
        reader.end()?;
        Ok(Self { kdf, salt, role, label, sealed, commitment })
    }
}

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

fn slot_aad(kdf: SlotKdf, salt: &[u8; 32], role: Role, label: &str) -> Vec<u8> {
    let (method, cost) = match kdf {
        SlotKdf::Password(cost) => (1, cost),
        SlotKdf::KeyFile => (2, KdfCost { memory_kib: 0, passes: 0, lanes: 0 }),
    };
    let mut writer = Writer::new();
    writer.u8(method);
    writer.u32(cost.memory_kib);
    writer.u32(cost.passes);
    writer.u32(cost.lanes);
    writer.raw(salt);
    writer.u8(role as u8);
    writer.bytes16(label.as_bytes());
    writer.into_vec()
}

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

/// Seals a bundle to a member.
///
/// # Errors
/// The member's key is not usable.
pub fn seal_bundle(
    bundle: &KeyBundle,
    repository: RepositoryId,
    to: &KemPublic,
    ephemeral: &[u8; 32],
    calls: &KemCalls,
) -> Result<Vec<u8>, FormatError> {
    let (mut sealed, shared) = encapsulate(to, ephemeral, calls)?;
    let aead = Aead::new(&derive("holdfast 1 bundle", &[shared.expose(), repository.bytes()]));
    aead.seal_append([0; 12], &[], &bundle.encode(), &mut sealed);
    Ok(sealed)
}

/// Opens a bundle that was sealed to a member.
///
/// # Errors
/// It was sealed to another, or damaged.
pub fn open_bundle(
    sealed: &[u8],
    repository: RepositoryId,
    kem: &KemSecret,
) -> Result<KeyBundle, FormatError> {
    let (ciphertext, rest) = sealed.split_at_checked(KEM_CIPHERTEXT_BYTES).ok_or(FormatError::Truncated)?;
    let shared = kem.decapsulate(ciphertext)?;
    let aead = Aead::new(&derive("holdfast 1 bundle", &[shared.expose(), repository.bytes()]));
    KeyBundle::decode(aead.open_in_place([0; 12], &[], &mut rest.to_vec())?)
}

/// Makes the identifiers of chunks and streams, and the rules where things are cut.
#[derive(Debug, Clone)]
pub struct Identifier {
    data: Secret,
    page: Secret,
    wal: Secret,
    stream: Secret,
    link: Secret,
    cache: Secret,
    block: Secret,
    /// Where large files are cut.
    pub gear: GearTable,
    /// Where bundles close.
    pub bundle_rule: BundleRule,
    page_cut: Secret,
}

impl Identifier {
    /// Derives everything from the two keys.
    #[must_use]
    pub fn new(k_id: &Secret, k_cdc: &Secret) -> Self {
        let id = |label: &str| derive(label, &[k_id.expose()]);
        Self {
            data: id("holdfast 1 id data"),
            page: id("holdfast 1 id page"),
            wal: id("holdfast 1 id wal"),
            stream: id("holdfast 1 id stream"),
            link: id("holdfast 1 id link group"),
            cache: id("holdfast 1 id cache"),
            block: id("holdfast 1 id block"),
            gear: GearTable::new(k_cdc),
            bundle_rule: BundleRule::new(k_cdc),
            page_cut: derive("holdfast 1 page cut", &[k_cdc.expose()]),
        }
    }

    /// Identifies a chunk by its plaintext.
    #[must_use]
    pub fn chunk(&self, kind: ChunkKind, plaintext: &[u8]) -> ChunkId {
        let key = match kind {
            ChunkKind::Data => &self.data,
            ChunkKind::Page => &self.page,
        };
        ChunkId(keyed_hash(key, plaintext))
    }

    /// Identifies a log segment by its plaintext.
    #[must_use]
    pub fn wal(&self, plaintext: &[u8]) -> [u8; 32] {
        keyed_hash(&self.wal, plaintext)
    }

    /// Names the stream of one source on one host.
    #[must_use]
    pub fn stream(&self, host: &str, kind: &str, canonical: &str) -> StreamId {
        let mut writer = Writer::new();
        for part in [host, kind, canonical] {
            writer.bytes32(part.as_bytes());
        }
        StreamId(first_16(&keyed_hash(&self.stream, writer.as_slice())))
    }

    /// Names a group of hard links by the key of its first link.
    #[must_use]
    pub fn link_group(&self, first_key: &[u8]) -> [u8; 16] {
        first_16(&keyed_hash(&self.link, first_key))
    }

    /// Hashes one block of a database file.
    #[must_use]
    pub fn block(&self, block: &[u8]) -> u64 {
        let hash = keyed_hash(&self.block, block);
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash[..8]);
        u64::from_le_bytes(bytes)
    }

    /// The key under which local caches are authenticated.
    #[must_use]
    pub const fn cache_key(&self) -> &Secret {
        &self.cache
    }

    /// The hash of a key by which pages are cut.
    #[must_use]
    pub fn page_cut(&self, key: &[u8]) -> [u8; 32] {
        keyed_hash(&self.page_cut, key)
    }
}

fn first_16(hash: &[u8; 32]) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    id
}

/// The two secrets of a session: contents, and bodies of pages.
#[derive(Debug, Clone)]
pub struct SessionSecrets {
    /// Keys of data packs come from it.
    pub data: Secret,
    /// Keys of tree packs and of the snapshot's details come from it.
    pub meta: Secret,
}

impl SessionSecrets {
    /// The secret from which keys of packs of a class come.
    #[must_use]
    pub const fn of(&self, class: PackClass) -> &Secret {
        match class {
            PackClass::Data => &self.data,
            PackClass::Tree => &self.meta,
        }
    }
}

/// One secret of a session, wrapped to a public key of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedSecret {
    /// Binds the secret: what unwraps to another one is refused.
    pub commitment: [u8; 32],
    /// Short name of the public key.
    pub recipient: [u8; 8],
    /// Hybrid ciphertext.
    pub ciphertext: Vec<u8>,
    /// The secret under the encapsulated key, with its tag.
    pub sealed: [u8; 48],
}

impl WrappedSecret {
    /// Length of the encoding in bytes.
    pub const SIZE: usize = 32 + 8 + 2 + 2 + KEM_CIPHERTEXT_BYTES + 48;
    /// X25519 with ML-KEM-768 under X-Wing's combiner.
    const KEM: u16 = 2;

    /// Encodes: commitment 32, recipient 8, method 2, length 2, ciphertext, sealed 48.
    pub fn encode(&self, writer: &mut Writer) {
        writer.raw(&self.commitment);
        writer.raw(&self.recipient);
        writer.u16(Self::KEM);
        writer.bytes16(&self.ciphertext);
        writer.raw(&self.sealed);
    }

    /// Reads what [`WrappedSecret::encode`] wrote.
    ///
    /// # Errors
    /// It is malformed or of a later version.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let (commitment, recipient) = (reader.array()?, reader.array()?);
        let method = reader.u16()?;
        if method != Self::KEM {
            return Err(FormatError::Newer(format!("key encapsulation {method}")));
        }
        Ok(Self { commitment, recipient, ciphertext: reader.bytes16()?.to_vec(), sealed: reader.array()? })
    }
}

/// A row of the session tables in packs, deltas and segments: all that is needed to open what a
/// session sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Whose session.
    pub member: MemberId,
    /// Which session.
    pub session: SessionId,
    /// Generation of the repository's keys.
    pub key_epoch: u32,
    /// Its secret for contents; absent where only a tree pack of it was ever found.
    pub data: Option<WrappedSecret>,
    /// Its secret for page bodies; absent where only a data pack of it was ever found.
    pub meta: Option<WrappedSecret>,
}

impl SessionRow {
    /// Length of the shortest encoding in bytes.
    pub const SIZE_MIN: usize = 16 + 16 + 4 + 1;

    /// Encodes: member 16, session 16, key epoch 4, which secrets follow 1 (bit 0 contents, bit 1
    /// page bodies), the wrapped secrets.
    pub fn encode(&self, writer: &mut Writer) {
        writer.raw(self.member.bytes());
        writer.raw(self.session.bytes());
        writer.u32(self.key_epoch);
        writer.u8(u8::from(self.data.is_some()) | u8::from(self.meta.is_some()) << 1);
        self.data.iter().chain(&self.meta).for_each(|wrapped| wrapped.encode(writer));
    }

    /// Reads what [`SessionRow::encode`] wrote.
    ///
    /// # Errors
    /// It is malformed or of a later version.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let (member, session) = (MemberId(reader.array()?), SessionId(reader.array()?));
        let (key_epoch, which) = (reader.u32()?, reader.u8()?);
        if which & !3 != 0 {
            return Err(FormatError::Malformed("the secrets of a session"));
        }
        let mut wrapped = |bit: u8| (which & bit != 0).then(|| WrappedSecret::decode(reader)).transpose();
        Ok(Self { member, session, key_epoch, data: wrapped(1)?, meta: wrapped(2)? })
    }

    /// The wrapped secret for a class of packs.
    #[must_use]
    pub const fn wrapped(&self, class: PackClass) -> Option<&WrappedSecret> {
        match class {
            PackClass::Data => self.data.as_ref(),
            PackClass::Tree => self.meta.as_ref(),
        }
    }

    /// Takes in what another row of the same session has and this one lacks.
    pub fn complete(&mut self, other: &Self) {
        self.data = self.data.take().or_else(|| other.data.clone());
        self.meta = self.meta.take().or_else(|| other.meta.clone());
    }
}

/// Writes: knows how to name and seal, and cannot open what was sealed.
#[derive(Debug, Clone)]
pub struct Sealer {
    /// The repository that it writes to.
    pub repository: RepositoryId,
    /// As whom it writes.
    pub member: MemberId,
    /// Generation of the keys.
    pub key_epoch: u32,
    /// Names chunks.
    pub identifier: Identifier,
    /// Seals footers and the index.
    pub k_idx: Secret,
    /// Seals references, summaries, begins and pins.
    pub k_ref: Secret,
    /// Contents are sealed to it.
    pub pk_data: KemPublic,
    /// Page bodies are sealed to it.
    pub pk_meta: KemPublic,
}

impl Sealer {
    /// Takes from a bundle what writing needs.
    ///
    /// # Errors
    /// The role does not include writing.
    pub fn new(repository: RepositoryId, member: MemberId, bundle: &KeyBundle) -> Result<Self, FormatError> {
        let refused = || FormatError::NotAllowed("it cannot write");
        let (k_id, k_cdc) =
            (bundle.k_id.as_ref().ok_or_else(refused)?, bundle.k_cdc.as_ref().ok_or_else(refused)?);
        Ok(Self {
            repository,
            member,
            key_epoch: bundle.key_epoch,
            identifier: Identifier::new(k_id, k_cdc),
            k_idx: bundle.k_idx.clone().ok_or_else(refused)?,
            k_ref: bundle.k_ref.clone().ok_or_else(refused)?,
            pk_data: bundle.pk_data.clone().ok_or_else(refused)?,
            pk_meta: bundle.pk_meta.clone().ok_or_else(refused)?,
        })
    }

    /// Wraps the secrets of a new session; `ephemeral` are random bytes for the two wraps.
    ///
    /// # Errors
    /// A public key is not usable.
    pub fn begin_session(
        &self,
        session: SessionId,
        secrets: &SessionSecrets,
        ephemeral: &[[u8; 32]; 2],
        calls: &KemCalls,
    ) -> Result<SessionRow, FormatError> {
        let wrap = |class, to: &KemPublic, random: &[u8; 32]| -> Result<WrappedSecret, FormatError> {
            let secret = secrets.of(class);
            let (ciphertext, shared) = encapsulate(to, random, calls)?;
            let mut sealed = Vec::new();
            wrap_cipher(&shared, self.repository, self.member, session, class).seal_append(
                [0; 12],
                &[],
                secret.expose(),
                &mut sealed,
            );
            let sealed = sealed.try_into().map_err(|_| FormatError::Malformed("a wrapped secret"))?;
            Ok(WrappedSecret {
                commitment: session_commitment(secret),
                recipient: to.short_id(),
                ciphertext,
                sealed,
            })
        };
        Ok(SessionRow {
            member: self.member,
            session,
            key_epoch: self.key_epoch,
            data: Some(wrap(PackClass::Data, &self.pk_data, &ephemeral[0])?),
            meta: Some(wrap(PackClass::Tree, &self.pk_meta, &ephemeral[1])?),
        })
    }
}

/// Reads: recovers the secrets of sessions.
#[derive(Debug, Clone)]
pub struct Opener {
    repository: RepositoryId,
    sk_data: Option<KemSecret>,
    sk_meta: Option<KemSecret>,
}

impl Opener {
    /// Takes from a bundle what reading needs.
    #[must_use]
    pub fn new(repository: RepositoryId, bundle: &KeyBundle) -> Self {
        Self { repository, sk_data: bundle.sk_data.clone(), sk_meta: bundle.sk_meta.clone() }
    }

    /// Recovers a session's secret for a class of packs.
    ///
    /// # Errors
    /// The key does not allow it, or what unwraps is not what the commitment binds.
    pub fn session_secret(&self, row: &SessionRow, class: PackClass) -> Result<Secret, FormatError> {
        let wrapped = row.wrapped(class).ok_or(FormatError::Malformed("the secrets of a session"))?;
        self.unwrap_secret(row.member, row.session, class, wrapped)
    }

    /// Recovers a secret from a wrap that stands alone, as in the header of a pack.
    ///
    /// # Errors
    /// As for [`Opener::session_secret`].
    pub fn unwrap_secret(
        &self,
        member: MemberId,
        session: SessionId,
        class: PackClass,
        wrapped: &WrappedSecret,
    ) -> Result<Secret, FormatError> {
        let key = match class {
            PackClass::Data => &self.sk_data,
            PackClass::Tree => &self.sk_meta,
        };
        let key = key.as_ref().ok_or(FormatError::NotAllowed("it cannot read"))?;
        let shared = key.decapsulate(&wrapped.ciphertext)?;
        let mut sealed = wrapped.sealed;
        let plain = wrap_cipher(&shared, self.repository, member, session, class).open_in_place(
            [0; 12],
            &[],
            &mut sealed,
        )?;
        let secret =
            Secret::new((&*plain).try_into().map_err(|_| FormatError::Malformed("a wrapped secret"))?);
        if session_commitment(&secret) == wrapped.commitment { Ok(secret) } else { Err(FormatError::Sealed) }
    }
}

fn wrap_cipher(
    shared: &Secret,
    repository: RepositoryId,
    member: MemberId,
    session: SessionId,
    class: PackClass,
) -> Aead {
    let parts: [&[u8]; 5] =
        [shared.expose(), repository.bytes(), member.bytes(), session.bytes(), &[class as u8]];
    Aead::new(&derive("holdfast 1 session wrap", &parts))
}

fn session_commitment(secret: &Secret) -> [u8; 32] {
    *derive("holdfast 1 session commitment", &[secret.expose()]).expose()
}

/// A chain of member entries, verified.
#[derive(Debug, Clone, Default)]
pub struct Members {
    entries: Vec<MemberEntry>,
    last_hash: [u8; 32],
}

impl Members {
    /// Appends the next entry, given as the bytes of its object.
    ///
    /// # Errors
    /// It does not follow the entry before, or no owner signed it. The first must be signed by `owner`.
    pub fn append(&mut self, bytes: &[u8], owner: &SignPublic) -> Result<(), FormatError> {
        let object = Object::parse(bytes)?;
        if object.header.object_type != ObjectType::Member {
            return Err(FormatError::Misplaced("its type"));
        }
        let entry = MemberEntry::decode(object.body)?;
        if (entry.number, entry.previous) != (self.entries.len() as u64, self.last_hash) {
            return Err(FormatError::Misplaced("its place in the chain of members"));
        }
        let signer = if self.entries.is_empty() {
            *owner
        } else {
            self.active(object.header.member)
                .filter(|member| member.role == Role::Owner)
                .ok_or(FormatError::Signature)?
                .sign
        };
        object.verify(&signer)?;
        self.last_hash = hash(bytes);
        self.entries.push(entry);
        Ok(())
    }

    /// Finds what is in force for a member; `None` if it was removed or never admitted.
    #[must_use]
    pub fn active(&self, member: MemberId) -> Option<&MemberEntry> {
        let last = self.entries.iter().rev().find(|entry| entry.member == member)?;
        (last.action == MemberAction::Admit).then_some(last)
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

    /// Hash of the last entry.
    #[must_use]
    pub const fn last_hash(&self) -> [u8; 32] {
        self.last_hash
    }
}

/// Random bytes for a new repository's keys.
#[derive(Debug)]
pub struct FoundingRandom {
    /// X25519 keys of the owner, of contents and of page bodies.
    pub x25519: [[u8; 32]; 3],
    /// Seed of the owner's signing key.
    pub sign: [u8; 32],
    /// `K_id`, `K_cdc`, `K_idx`, `K_ref`.
    pub keys: [[u8; 32]; 4],
    /// For sealing the owner's bundle.
    pub ephemeral: [u8; 32],
}

/// The keys of a new repository and its first member entry.
#[derive(Debug)]
pub struct Founding {
    /// The owner's private keys.
    pub owner: MemberKeys,
    /// All keys.
    pub bundle: KeyBundle,
    /// The owner's own entry.
    pub entry: MemberEntry,
}

/// Makes the keys of a new repository.
///
/// # Errors
/// The library could not make a key.
pub fn found(
    repository: RepositoryId,
    member: MemberId,
    label: &str,
    random: &FoundingRandom,
    calls: &KemCalls,
) -> Result<Founding, FormatError> {
    let kem =
        |x25519: [u8; 32]| -> Result<KemSecret, FormatError> { KemSecret::new(x25519, &(calls.generate)()?) };
    let [own, data, meta] = random.x25519;
    let (own, data, meta) = (kem(own)?, kem(data)?, kem(meta)?);
    let [k_id, k_cdc, k_idx, k_ref] = random.keys.map(Secret::new);
    let bundle = KeyBundle {
        key_epoch: 0,
        k_id: Some(k_id),
        k_cdc: Some(k_cdc),
        k_idx: Some(k_idx),
        k_ref: Some(k_ref),
        pk_data: Some(data.public().clone()),
        pk_meta: Some(meta.public().clone()),
        sk_data: Some(data),
        sk_meta: Some(meta),
    };
    let signer = Signer::from_seed(Secret::new(random.sign));
    let entry = MemberEntry {
        number: 0,
        previous: [0; 32],
        action: MemberAction::Admit,
        member,
        role: Role::Owner,
        label: label.to_owned(),
        sign: signer.public(),
        kem: own.public().clone(),
        bundles: vec![(0, seal_bundle(&bundle, repository, own.public(), &random.ephemeral, calls)?)],
    };
    let owner = MemberKeys { member, owner: signer.public(), signer, kem: own };
    Ok(Founding { owner, bundle, entry })
}

/// Header of an object written while a repository is founded or its members change.
#[must_use]
pub const fn member_header(
    object_type: ObjectType,
    repository: RepositoryId,
    object: ObjectId,
    member: MemberId,
    nonce: [u8; 16],
) -> Header {
    Header {
        object_type,
        incompat: 0,
        ro_compat: 0,
        key_epoch: 0,
        repository,
        object,
        epoch: 0,
        member,
        nonce,
    }
}

const _: () = assert!(TAG_CRITICAL == 0x8000);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    const COST: KdfCost = KdfCost { memory_kib: 64, passes: 1, lanes: 1 };

    fn founding() -> Founding {
        let random = FoundingRandom {
            x25519: [[1; 32], [2; 32], [3; 32]],
            sign: [4; 32],
            keys: [[5; 32]; 4],
            ephemeral: [6; 32],
        };
        found(RepositoryId([7; 16]), MemberId([8; 16]), "owner", &random, &KemCalls::system()).unwrap()
    }

    #[test]
    fn a_slot_opens_with_its_own_password_only() {
        let owner = founding().owner;
        let kdf = SlotKdf::Password(COST);
        let slot =
            KeySlot::wrap(&owner, Role::Owner, "me", kdf, [1; 32], Credential::Password(b"right")).unwrap();
        let header = member_header(
            ObjectType::KeySlot,
            RepositoryId([7; 16]),
            ObjectId([1; 16]),
            owner.member,
            [0; 16],
        );
        let bytes = slot.encode(&header);
        let slot = KeySlot::decode(Object::parse(&bytes).unwrap().body).unwrap();
        let again = slot.unwrap(Credential::Password(b"right")).unwrap();
        assert_eq!((again.member, again.owner), (owner.member, owner.signer.public()));
        assert_eq!(slot.unwrap(Credential::Password(b"wrong")).unwrap_err(), FormatError::WrongKey);
        assert_eq!(slot.unwrap(Credential::KeyFile(&[0; 32])).unwrap_err(), FormatError::WrongKey);
    }

    #[test]
    fn the_owner_finds_every_key_again_in_its_entry() {
        let founding = founding();
        let header = member_header(
            ObjectType::Member,
            RepositoryId([7; 16]),
            ObjectId([1; 16]),
            founding.owner.member,
            [0; 16],
        );
        let bytes = founding.entry.encode(&header, &founding.owner.signer);
        let mut members = Members::default();
        members.append(&bytes, &founding.owner.owner).unwrap();
        let entry = members.active(founding.owner.member).unwrap();
        let bundle = open_bundle(&entry.bundles[0].1, RepositoryId([7; 16]), &founding.owner.kem).unwrap();
        assert_eq!(bundle.encode(), founding.bundle.encode());
        assert!(members.append(&bytes, &founding.owner.owner).is_err(), "the same entry twice");
        let stranger = Signer::from_seed(Secret::new([9; 32]));
        let forged = founding.entry.encode(&header, &stranger);
        assert_eq!(Members::default().append(&forged, &founding.owner.owner), Err(FormatError::Signature));
    }

    #[test]
    fn a_session_opens_for_readers_and_its_commitment_binds_it() {
        let founding = founding();
        let repository = RepositoryId([7; 16]);
        let sealer = Sealer::new(repository, founding.owner.member, &founding.bundle).unwrap();
        let secrets = SessionSecrets { data: Secret::new([1; 32]), meta: Secret::new([2; 32]) };
        let row = sealer
            .begin_session(SessionId([3; 16]), &secrets, &[[4; 32], [5; 32]], &KemCalls::system())
            .unwrap();
        let mut writer = Writer::new();
        row.encode(&mut writer);
        assert_eq!(writer.len(), SessionRow::SIZE_MIN + 2 * WrappedSecret::SIZE);
        let row = SessionRow::decode(&mut Reader::new(writer.as_slice())).unwrap();
        let opener = Opener::new(repository, &founding.bundle);
        assert_eq!(opener.session_secret(&row, PackClass::Data).unwrap(), secrets.data);
        assert_eq!(opener.session_secret(&row, PackClass::Tree).unwrap(), secrets.meta);
        let mut forged = row.clone();
        forged.data.as_mut().unwrap().commitment[0] ^= 1;
        assert!(opener.session_secret(&forged, PackClass::Data).is_err());
        let writer_only = KeyBundle { sk_data: None, sk_meta: None, ..founding.bundle };
        let refused = Opener::new(repository, &writer_only).session_secret(&row, PackClass::Data);
        assert_eq!(refused, Err(FormatError::NotAllowed("it cannot read")));
    }
}
