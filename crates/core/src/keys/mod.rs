//! Keys: who holds which, how they are wrapped, and what each allows.
//!
//! A member's private keys lie in slots under its password or key file. What the repository
//! gives to a member lies in its entry, sealed to the member's public key. Capability is the
//! type: [`Sealer`] can write, [`Opener`] can read what was sealed.
//!
//! On purpose not here: where passwords come from, and randomness.

mod member;
mod ring;
mod session;
mod slot;

pub use member::{MemberAction, MemberEntry, Members};
pub use ring::Keyring;
pub use session::{Opener, Sealer, SessionRow, SessionSecrets, WrappedSecret};
pub use slot::{
    Credential, KEY_FILE_BYTES_MIN, KeySlot, LABEL_BYTES_MAX, MemberKeys, SlotKdf, SlotTerms, Transit,
};

use crate::chunker::{BundleRule, GearTable};
use crate::crypto::{
    Aead, KEM_CIPHERTEXT_BYTES, KemCalls, KemPublic, KemSecret, Secret, Signer, derive, encapsulate,
    keyed_hash,
};
use crate::error::FormatError;
use crate::id::{ChunkId, MemberId, ObjectId, RepositoryId, StreamId};
use crate::name::PackClass;
use crate::object::{Header, ObjectType};
use crate::wire::{Reader, Writer};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

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
    /// Fetches the log of databases and nothing else: for a server that recovers or stands by.
    LogReader = 5,
}

impl Role {
    /// The role that a word means.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }

    /// Whether it may publish roots, and what they name.
    #[must_use]
    pub const fn maintains(self) -> bool {
        matches!(self, Self::Owner | Self::Maintainer)
    }

    /// Whether it may back up.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Owner | Self::Writer)
    }

    /// Whether it may sign objects of a type; whether the object is its own to sign is for who
    /// reads it. Ends are of two kinds: a commit is for who writes.
    #[must_use]
    pub const fn may_sign(self, object_type: ObjectType) -> bool {
        match object_type {
            ObjectType::Root | ObjectType::IndexSegment | ObjectType::SnapshotSegment | ObjectType::List => {
                self.maintains()
            }
            ObjectType::Pins | ObjectType::IndexDelta | ObjectType::Wal => self.writes(),
            ObjectType::Begin | ObjectType::End => self.writes() || self.maintains(),
            ObjectType::Member => matches!(self, Self::Owner),
            ObjectType::Evidence => !matches!(self, Self::LogReader),
            ObjectType::Pack | ObjectType::KeySlot => true,
        }
    }

    /// All of them.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Writer, Self::Maintainer, Self::Reader, Self::LogReader];

    fn from_byte(byte: u8) -> Result<Self, FormatError> {
        Self::ALL
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
            Self::LogReader => "reader:wal",
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
    /// Logs of databases are sealed to it; absent in generations that were made before it was
    /// thought of, whose logs are sealed as contents are.
    pub pk_wal: Option<KemPublic>,
    /// Opens logs of databases.
    pub sk_wal: Option<KemSecret>,
}

const BUNDLE_TAGS: [u16; 10] =
    [0x8001, 0x8002, 0x8003, 0x8004, 0x8005, 0x8006, 0x8007, 0x8008, 0x8009, 0x800A];

impl KeyBundle {
    /// The part of it that a role holds. A reader's public halves lie in the private ones.
    #[must_use]
    pub fn of_role(&self, role: Role) -> Self {
        let writes = role.writes();
        let reads = matches!(role, Role::Owner | Role::Reader);
        let names = writes || reads;
        let sees = role != Role::LogReader;
        Self {
            key_epoch: self.key_epoch,
            k_id: self.k_id.clone().filter(|_| names),
            k_cdc: self.k_cdc.clone().filter(|_| names),
            k_idx: self.k_idx.clone().filter(|_| sees),
            k_ref: self.k_ref.clone().filter(|_| sees),
            pk_data: self.pk_data.clone().filter(|_| writes),
            pk_meta: self.pk_meta.clone().filter(|_| writes),
            sk_data: self.sk_data.clone().filter(|_| reads),
            sk_meta: self.sk_meta.clone().filter(|_| reads),
            pk_wal: self.pk_wal.clone().filter(|_| writes),
            sk_wal: self.sk_wal.clone().filter(|_| reads || role == Role::LogReader),
        }
    }

    /// The keys of the next generation: what identifies and cuts stays, since all that is stored
    /// would have other ids; what seals is new.
    #[must_use]
    pub fn renewed(&self, key_epoch: u32, keys: [[u8; 32]; 2], pairs: [KemSecret; 3]) -> Self {
        let [k_idx, k_ref] = keys.map(Secret::new);
        let [data, meta, wal] = pairs;
        Self {
            key_epoch,
            k_id: self.k_id.clone(),
            k_cdc: self.k_cdc.clone(),
            k_idx: Some(k_idx),
            k_ref: Some(k_ref),
            pk_data: Some(data.public().clone()),
            pk_meta: Some(meta.public().clone()),
            sk_data: Some(data),
            sk_meta: Some(meta),
            pk_wal: Some(wal.public().clone()),
            sk_wal: Some(wal),
        }
    }

    /// Encodes as tags 1 to 10, all critical. It is wiped when it is dropped.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let secrets = [&self.k_id, &self.k_cdc, &self.k_idx, &self.k_ref];
        let [k_id, k_cdc, k_idx, k_ref] = secrets.map(|key| key.as_ref().map(|key| key.expose().as_slice()));
        let public = [&self.pk_data, &self.pk_meta, &self.pk_wal];
        let [pk_data, pk_meta, pk_wal] = public.map(|key| key.as_ref().map(|key| key.0.as_slice()));
        let private = [&self.sk_data, &self.sk_meta, &self.sk_wal];
        let private = private.map(|key| key.as_ref().map(KemSecret::expose));
        let [sk_data, sk_meta, sk_wal] = private.each_ref().map(|key| key.as_ref().map(|key| key.as_slice()));
        let values = [k_id, k_cdc, k_idx, k_ref, pk_data, pk_meta, sk_data, sk_meta, pk_wal, sk_wal];
        let tags: Vec<_> =
            BUNDLE_TAGS.into_iter().zip(values).filter_map(|(id, value)| Some((id, value?))).collect();
        let bytes = tags.iter().map(|(_, value)| 2 + 4 + value.len()).sum::<usize>();
        let mut writer = Writer::with_capacity(4 + 2 + bytes);
        writer.u32(self.key_epoch);
        writer.tags_of(tags.into_iter());
        Zeroizing::new(writer.into_vec())
    }

    /// Reads what [`KeyBundle::encode`] wrote. Its keys are copied to where they are wiped.
    ///
    /// # Errors
    /// A key is malformed or of an unknown kind.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        let key_epoch = reader.u32()?;
        let tags = reader.tags_in_place("a key bundle", &BUNDLE_TAGS)?;
        reader.end()?;
        let value = |id| tags.iter().find(|(known, _)| *known == id).map(|(_, bytes)| *bytes);
        let malformed = |_| FormatError::Malformed("a key");
        let secret =
            |id| value(id).map(|bytes| bytes.try_into().map(Secret::new).map_err(malformed)).transpose();
        let public = |id| value(id).map(KemPublic::new).transpose();
        let private = |id| value(id).map(KemSecret::from_exposed).transpose();
        Ok(Self {
            key_epoch,
            k_id: secret(0x8001)?,
            k_cdc: secret(0x8002)?,
            k_idx: secret(0x8003)?,
            k_ref: secret(0x8004)?,
            pk_data: public(0x8005)?,
            pk_meta: public(0x8006)?,
            sk_data: private(0x8007)?,
            sk_meta: private(0x8008)?,
            pk_wal: public(0x8009)?,
            sk_wal: private(0x800A)?,
        })
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
    let mut sealed = Zeroizing::new(rest.to_vec());
    KeyBundle::decode(aead.open_in_place([0; 12], &[], &mut sealed)?)
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

/// Random bytes for a new repository's keys; wiped when dropped, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct FoundingRandom {
    /// X25519 keys of the owner, of contents and of page bodies.
    pub x25519: [[u8; 32]; 3],
    /// X25519 key of logs; without it the keys are those that were made before there was one.
    pub wal: Option<[u8; 32]>,
    /// Seed of the owner's signing key.
    pub sign: [u8; 32],
    /// `K_id`, `K_cdc`, `K_idx`, `K_ref`.
    pub keys: [[u8; 32]; 4],
    /// For sealing the owner's bundle.
    pub ephemeral: [u8; 32],
}

impl fmt::Debug for FoundingRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FoundingRandom([redacted])")
    }
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
    let kem = fresh_kem(random.x25519[0], calls)?;
    let signer = Signer::from_seed(Secret::new(random.sign));
    let owner = MemberKeys { member, owner: signer.public(), signer, kem };
    let (bundle, entry) = found_domain(repository, &owner, label, random, calls)?;
    Ok(Founding { owner, bundle, entry })
}

/// Makes the keys of a new domain and its first member entry, for an owner of the repository above:
/// its own keys open both. Of the randomness, what is for an owner's keys is not used.
///
/// # Errors
/// The library could not make a key.
pub fn found_domain(
    repository: RepositoryId,
    owner: &MemberKeys,
    label: &str,
    random: &FoundingRandom,
    calls: &KemCalls,
) -> Result<(KeyBundle, MemberEntry), FormatError> {
    let [_, data, meta] = random.x25519;
    let (data, meta) = (fresh_kem(data, calls)?, fresh_kem(meta, calls)?);
    let wal = random.wal.map(|x25519| fresh_kem(x25519, calls)).transpose()?;
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
        pk_wal: wal.as_ref().map(|wal| wal.public().clone()),
        sk_wal: wal,
    };
    let sealed = seal_bundle(&bundle, repository, owner.kem.public(), &random.ephemeral, calls)?;
    let entry = MemberEntry {
        number: 0,
        previous: [0; 32],
        action: MemberAction::Admit,
        member: owner.member,
        role: Role::Owner,
        label: label.to_owned(),
        sign: owner.signer.public(),
        kem: owner.kem.public().clone(),
        bundles: vec![(0, sealed)],
    };
    Ok((bundle, entry))
}

fn fresh_kem(x25519: [u8; 32], calls: &KemCalls) -> Result<KemSecret, FormatError> {
    KemSecret::new(x25519, &(calls.generate)()?)
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

#[cfg(test)]
pub(crate) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn nothing_that_holds_keys_prints_them() {
        let random = FoundingRandom {
            x25519: [[201; 32], [202; 32], [203; 32]],
            wal: Some([204; 32]),
            sign: [205; 32],
            keys: [[206; 32], [207; 32], [208; 32], [209; 32]],
            ephemeral: [210; 32],
        };
        let repository = RepositoryId([7; 16]);
        let founding = found(repository, MemberId([8; 16]), "owner", &random, &KemCalls::system()).unwrap();
        let Founding { owner, bundle, entry } = &founding;
        let ring = Keyring::open(entry, repository, &owner.kem, None).unwrap();
        let secrets = SessionSecrets { data: Secret::new([211; 32]), meta: Secret::new([212; 32]) };
        let printed = [
            format!("{random:?}"),
            format!("{owner:?}{bundle:?}"),
            format!("{ring:?}"),
            format!("{:?}", Opener::of_ring(repository, &ring)),
            format!("{:?}", Sealer::new(repository, owner.member, bundle).unwrap()),
            format!("{:?}", Identifier::new(&Secret::new([213; 32]), &Secret::new([214; 32]))),
            format!("{secrets:?}{:?}", owner.signer),
        ];
        // As a list of numbers, or in hex.
        let shows = |printed: &str, byte: u8| {
            printed.contains(&format!("{byte}, {byte}, {byte}"))
                || printed.to_lowercase().contains(&format!("{byte:02x}").repeat(3))
        };
        let mlkem = bundle.sk_data.as_ref().unwrap().expose();
        let mlkem = format!("{}, {}, {}, {}, {}", mlkem[0], mlkem[1], mlkem[2], mlkem[3], mlkem[4]);
        for printed in &printed {
            assert!(printed.contains("[redacted]") && !printed.contains(&mlkem), "{printed}");
            assert!((201..=214).all(|byte| !shows(printed, byte)), "{printed}");
        }
    }

    pub(crate) fn founding() -> Founding {
        let random = FoundingRandom {
            x25519: [[1; 32], [2; 32], [3; 32]],
            wal: Some([9; 32]),
            sign: [4; 32],
            keys: [[5; 32]; 4],
            ephemeral: [6; 32],
        };
        found(RepositoryId([7; 16]), MemberId([8; 16]), "owner", &random, &KemCalls::system()).unwrap()
    }
}
