//! The secrets of a session, wrapped to the repository's public keys; who writes and who reads.
//!
//! On purpose not here: what is sealed under the secrets.

use super::{Identifier, KeyBundle, Keyring};
use crate::crypto::{
    Aead, KEM_CIPHERTEXT_BYTES, KemCalls, KemPublic, KemSecret, Secret, derive, encapsulate,
};
use crate::error::FormatError;
use crate::id::{MemberId, ObjectId, RepositoryId, SessionId};
use crate::name::PackClass;
use crate::wire::{Reader, Writer};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

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

    /// What stands in its place in a pack that holds no chunk of its own session: zeros, which
    /// unwrap to nothing. Whoever repacks may have no key to wrap a secret to.
    #[must_use]
    pub fn none() -> Self {
        Self {
            commitment: [0; 32],
            recipient: [0; 8],
            ciphertext: vec![0; KEM_CIPHERTEXT_BYTES],
            sealed: [0; 48],
        }
    }

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
        let ciphertext = reader.bytes16()?.to_vec();
        if ciphertext.len() != KEM_CIPHERTEXT_BYTES {
            return Err(FormatError::Malformed("a wrapped secret"));
        }
        Ok(Self { commitment, recipient, ciphertext, sealed: reader.array()? })
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
    /// Length of the longest encoding in bytes.
    pub const SIZE_MAX: usize = Self::SIZE_MIN + 2 * WrappedSecret::SIZE;

    /// Length of the encoding in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        Self::SIZE_MIN + self.data.iter().chain(&self.meta).count() * WrappedSecret::SIZE
    }

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
    /// Logs are sealed to it; without it, to `pk_data`.
    pub pk_wal: Option<KemPublic>,
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
            pk_wal: bundle.pk_wal.clone(),
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
        let wrap = |class, to: &KemPublic, random: &[u8; 32]| {
            self.wrap(session, class, to, secrets.of(class), random, calls)
        };
        Ok(SessionRow {
            member: self.member,
            session,
            key_epoch: self.key_epoch,
            data: Some(wrap(PackClass::Data, &self.pk_data, &ephemeral[0])?),
            meta: Some(wrap(PackClass::Tree, &self.pk_meta, &ephemeral[1])?),
        })
    }

    /// Wraps the secret of an object that stands alone: a log segment. It is wrapped as the secret of
    /// the contents of a session would be whose id is the object's, but to the key of logs, so that
    /// who holds that one alone opens logs alone.
    ///
    /// # Errors
    /// The public key is not usable.
    pub fn wrap_alone(
        &self,
        object: ObjectId,
        secret: &Secret,
        ephemeral: &[u8; 32],
        calls: &KemCalls,
    ) -> Result<WrappedSecret, FormatError> {
        let to = self.pk_wal.as_ref().unwrap_or(&self.pk_data);
        self.wrap(SessionId(object.0), PackClass::Data, to, secret, ephemeral, calls)
    }

    fn wrap(
        &self,
        session: SessionId,
        class: PackClass,
        to: &KemPublic,
        secret: &Secret,
        ephemeral: &[u8; 32],
        calls: &KemCalls,
    ) -> Result<WrappedSecret, FormatError> {
        let (ciphertext, shared) = encapsulate(to, ephemeral, calls)?;
        let mut sealed = Vec::new();
        wrap_cipher(&shared, self.repository, self.member, session, class).seal_append(
            [0; 12],
            &[],
            secret.expose(),
            &mut sealed,
        );
        let sealed = sealed.try_into().map_err(|_| FormatError::Malformed("a wrapped secret"))?;
        let (commitment, recipient) = (session_commitment(secret), to.short_id());
        Ok(WrappedSecret { commitment, recipient, ciphertext, sealed })
    }
}

/// Reads: recovers the secrets of sessions.
#[derive(Debug, Clone)]
pub struct Opener {
    repository: RepositoryId,
    /// What opens things, by generation.
    keys: BTreeMap<u32, Private>,
}

/// The private keys of a bundle.
#[derive(Debug, Clone)]
struct Private {
    data: Option<KemSecret>,
    meta: Option<KemSecret>,
    wal: Option<KemSecret>,
}

impl Private {
    fn of(bundle: &KeyBundle) -> (u32, Self) {
        let KeyBundle { sk_data: data, sk_meta: meta, sk_wal: wal, .. } = bundle.clone();
        (bundle.key_epoch, Self { data, meta, wal })
    }

    const fn of_class(&self, class: PackClass) -> Option<&KemSecret> {
        match class {
            PackClass::Data => self.data.as_ref(),
            PackClass::Tree => self.meta.as_ref(),
        }
    }
}

impl Opener {
    /// Takes from a bundle what reading needs.
    #[must_use]
    pub fn new(repository: RepositoryId, bundle: &KeyBundle) -> Self {
        Self { repository, keys: [Private::of(bundle)].into() }
    }

    /// Takes from all bundles what reading needs.
    #[must_use]
    pub fn of_ring(repository: RepositoryId, ring: &Keyring) -> Self {
        Self { repository, keys: ring.all().map(Private::of).collect() }
    }

    /// Recovers a session's secret for a class of packs.
    ///
    /// # Errors
    /// The key does not allow it, or what unwraps is not what the commitment binds.
    pub fn session_secret(&self, row: &SessionRow, class: PackClass) -> Result<Secret, FormatError> {
        let wrapped = row.wrapped(class).ok_or(FormatError::Malformed("the secrets of a session"))?;
        self.unwrap_secret(row.key_epoch, row.member, row.session, class, wrapped)
    }

    /// Recovers what [`Sealer::wrap_alone`] wrapped.
    ///
    /// # Errors
    /// As for [`Opener::session_secret`].
    pub fn unwrap_alone(
        &self,
        key_epoch: u32,
        member: MemberId,
        object: ObjectId,
        wrapped: &WrappedSecret,
    ) -> Result<Secret, FormatError> {
        let keys = self.keys_of(key_epoch)?;
        let is_wal = |key: &&KemSecret| key.public().short_id() == wrapped.recipient;
        let key = keys.wal.as_ref().filter(is_wal).or(keys.data.as_ref());
        let key = key.ok_or(FormatError::NotAllowed(NO_LOG_KEY))?;
        self.unwrap(key, member, SessionId(object.0), PackClass::Data, wrapped)
    }

    fn keys_of(&self, epoch: u32) -> Result<&Private, FormatError> {
        self.keys.get(&epoch).ok_or(FormatError::KeyEpoch(epoch))
    }

    /// Recovers a secret from a wrap that stands alone, as in the header of a pack.
    ///
    /// # Errors
    /// As for [`Opener::session_secret`].
    pub fn unwrap_secret(
        &self,
        key_epoch: u32,
        member: MemberId,
        session: SessionId,
        class: PackClass,
        wrapped: &WrappedSecret,
    ) -> Result<Secret, FormatError> {
        let key = self.keys_of(key_epoch)?.of_class(class);
        let key = key.ok_or(FormatError::NotAllowed("it cannot read"))?;
        self.unwrap(key, member, session, class, wrapped)
    }

    fn unwrap(
        &self,
        key: &KemSecret,
        member: MemberId,
        session: SessionId,
        class: PackClass,
        wrapped: &WrappedSecret,
    ) -> Result<Secret, FormatError> {
        let shared = key.decapsulate(&wrapped.ciphertext)?;
        let mut sealed = Zeroizing::new(wrapped.sealed);
        let plain = wrap_cipher(&shared, self.repository, member, session, class).open_in_place(
            [0; 12],
            &[],
            &mut *sealed,
        )?;
        let secret =
            Secret::new((&*plain).try_into().map_err(|_| FormatError::Malformed("a wrapped secret"))?);
        if session_commitment(&secret) == wrapped.commitment { Ok(secret) } else { Err(FormatError::Sealed) }
    }
}

/// Log that was sealed as contents are, before logs had a key of their own, is not for who has that one.
const NO_LOG_KEY: &str = "it holds no key for this part of the log; what was stored before logs had a key of their own \
                          opens with a reader's or an owner's key";

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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::super::tests::founding;
    use super::*;
    use crate::keys::Role;

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

    #[test]
    fn a_log_opens_with_its_own_key_alone_and_an_older_one_with_that_of_contents() {
        let founding = founding();
        let (repository, member, object) = (RepositoryId([7; 16]), founding.owner.member, ObjectId([3; 16]));
        let secret = Secret::new([1; 32]);
        let wrapped = |bundle: &KeyBundle| {
            let sealer = Sealer::new(repository, member, bundle).unwrap();
            sealer.wrap_alone(object, &secret, &[4; 32], &KemCalls::system()).unwrap()
        };
        let earlier = KeyBundle { pk_wal: None, sk_wal: None, ..founding.bundle.clone() };
        let (new, old) = (wrapped(&founding.bundle), wrapped(&earlier));
        let opened = |bundle: &KeyBundle, role: Role, wrapped: &WrappedSecret| {
            let opener = Opener::new(repository, &bundle.of_role(role));
            opener.unwrap_alone(0, member, object, wrapped).map(|opened| assert_eq!(opened, secret))
        };
        for role in [Role::Owner, Role::Reader] {
            assert_eq!(opened(&founding.bundle, role, &new), Ok(()));
            assert_eq!(opened(&founding.bundle, role, &old), Ok(()));
        }
        assert_eq!(opened(&founding.bundle, Role::LogReader, &new), Ok(()));
        let refused = || Err(FormatError::NotAllowed(NO_LOG_KEY));
        assert_eq!(opened(&founding.bundle, Role::LogReader, &old), refused());
        for role in [Role::Writer, Role::Maintainer] {
            assert_eq!(opened(&founding.bundle, role, &new), refused());
        }
        // The keys of contents alone do not open it.
        assert_eq!(opened(&earlier, Role::Reader, &new), Err(FormatError::Sealed));
        let alone = founding.bundle.of_role(Role::LogReader);
        let nothing = KeyBundle { sk_wal: None, ..alone.clone() };
        assert!(alone.sk_wal.is_some() && nothing.encode().len() == 4 + 2, "it holds nothing else");
    }

    #[test]
    fn a_wrapped_secret_of_another_length_is_refused() {
        for length in [0, KEM_CIPHERTEXT_BYTES - 1, KEM_CIPHERTEXT_BYTES + 1] {
            let ciphertext = vec![3; length];
            let wrapped =
                WrappedSecret { commitment: [1; 32], recipient: [2; 8], ciphertext, sealed: [4; 48] };
            let mut writer = Writer::new();
            wrapped.encode(&mut writer);
            let refused = WrappedSecret::decode(&mut Reader::new(writer.as_slice()));
            assert_eq!(refused, Err(FormatError::Malformed("a wrapped secret")));
        }
    }
}
