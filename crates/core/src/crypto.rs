//! The only place where cipher crates are named: keyed hash, key derivation, AEAD, key
//! encapsulation, signatures and password hashing, each as one named construction.
//!
//! On purpose not here: what is sealed under which key ([`crate::keys`]), and randomness, which
//! the caller hands in. The two calls of ML-KEM that draw their own are behind [`KemCalls`].

use crate::error::FormatError;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};
use aws_lc_rs::digest::{self, SHA3_256};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey as VerifyKey};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Length of an authentication tag in bytes.
pub const TAG_BYTES: usize = 16;
/// Length of a signature in bytes.
pub const SIGNATURE_BYTES: usize = 64;
/// Length of an ML-KEM-768 encapsulation key in bytes.
pub const MLKEM_PUBLIC_BYTES: usize = 1184;
/// Length of an ML-KEM-768 decapsulation key in bytes.
pub const MLKEM_SECRET_BYTES: usize = 2400;
/// Length of an ML-KEM-768 ciphertext in bytes.
pub const MLKEM_CIPHERTEXT_BYTES: usize = 1088;
/// Length of a hybrid public key in bytes: ML-KEM-768, then X25519.
pub const KEM_PUBLIC_BYTES: usize = MLKEM_PUBLIC_BYTES + 32;
/// Length of a hybrid ciphertext in bytes: ML-KEM-768, then X25519.
pub const KEM_CIPHERTEXT_BYTES: usize = MLKEM_CIPHERTEXT_BYTES + 32;

/// 32 secret bytes; wiped when dropped, never printed. They stay where they are when it moves: a list or a map
/// that grows would leave a copy behind.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Box<[u8; 32]>);

impl Secret {
    /// Takes the bytes in.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Box::new(bytes))
    }

    /// Shows the bytes, to those who derive from them or wrap them.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// BLAKE3-256 under a key.
#[must_use]
pub fn keyed_hash(key: &Secret, bytes: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(key.expose(), bytes).as_bytes()
}

/// Plain BLAKE3-256.
#[must_use]
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// Plain BLAKE3-256 over bytes that come one after the other.
#[derive(Debug, Clone, Default)]
pub struct RunningHash(blake3::Hasher);

impl RunningHash {
    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all bytes so far.
    #[must_use]
    pub fn value(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// BLAKE3 in key-derivation mode over the parts, each preceded by its length (4 bytes).
#[must_use]
pub fn derive(context: &str, parts: &[&[u8]]) -> Secret {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(&(part.len() as u32).to_le_bytes());
        hasher.update(part);
    }
    Secret::new(*hasher.finalize().as_bytes())
}

/// AES-256-GCM under one key.
pub struct Aead(LessSafeKey);

impl fmt::Debug for Aead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Aead([redacted])")
    }
}

impl Aead {
    /// Prepares the key.
    ///
    /// # Panics
    /// Never: every 32 bytes are a key.
    #[must_use]
    pub fn new(key: &Secret) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.expose()).expect("32 bytes are a key")))
    }

    /// Appends plaintext sealed to `out`: ciphertext, then the tag.
    ///
    /// # Panics
    /// The plaintext is longer than 64 GiB: limits are far below.
    pub fn seal_append(&self, nonce: [u8; 12], aad: &[u8], plaintext: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(plaintext);
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad),
                &mut out[start..],
            )
            .expect("a plaintext below the limit of the cipher");
        out.extend_from_slice(tag.as_ref());
    }

    /// Opens `sealed` (ciphertext and tag) in place and returns the plaintext.
    ///
    /// # Errors
    /// It was damaged, or sealed otherwise.
    pub fn open_in_place<'a>(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], FormatError> {
        self.0
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), sealed)
            .map_err(|_| FormatError::Sealed)
    }
}

/// Public half of the hybrid key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KemPublic(pub Vec<u8>);

impl KemPublic {
    /// Takes the bytes in.
    ///
    /// # Errors
    /// They have another length than [`KEM_PUBLIC_BYTES`].
    pub fn new(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() == KEM_PUBLIC_BYTES {
            Ok(Self(bytes.to_vec()))
        } else {
            Err(FormatError::Malformed("a public key"))
        }
    }

    /// Short name of the key: the first 8 bytes of its BLAKE3 hash.
    #[must_use]
    pub fn short_id(&self) -> [u8; 8] {
        let mut id = [0; 8];
        id.copy_from_slice(&hash(&self.0)[..8]);
        id
    }
}

/// Secret half of the hybrid key, with the public half beside it, since ML-KEM's decapsulation
/// key does not give it back.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KemSecret {
    mlkem: Vec<u8>,
    x25519: Secret,
    #[zeroize(skip)]
    public: KemPublic,
}

impl fmt::Debug for KemSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KemSecret([redacted])")
    }
}

impl KemSecret {
    /// Makes a key from 32 random bytes and an ML-KEM pair.
    ///
    /// # Errors
    /// The ML-KEM halves have wrong lengths.
    pub fn new(x25519: [u8; 32], mlkem: &MlKemPair) -> Result<Self, FormatError> {
        if mlkem.secret.len() != MLKEM_SECRET_BYTES || mlkem.public.len() != MLKEM_PUBLIC_BYTES {
            return Err(FormatError::Malformed("an ML-KEM key"));
        }
        let mut public = mlkem.public.clone();
        public.extend_from_slice(&x25519_public(&x25519)?);
        Ok(Self { mlkem: mlkem.secret.clone(), x25519: Secret::new(x25519), public: KemPublic(public) })
    }

    /// Returns the public half.
    #[must_use]
    pub const fn public(&self) -> &KemPublic {
        &self.public
    }

    /// Returns ML-KEM secret key ‖ X25519 secret key ‖ public half, to be wrapped. It is wiped when it is dropped.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([self.mlkem.as_slice(), self.x25519.expose(), &self.public.0].concat())
    }

    /// Takes in what [`KemSecret::expose`] gave.
    ///
    /// # Errors
    /// The length is wrong.
    pub fn from_exposed(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() != MLKEM_SECRET_BYTES + 32 + KEM_PUBLIC_BYTES {
            return Err(FormatError::Malformed("a secret key"));
        }
        let (mlkem, rest) = bytes.split_at(MLKEM_SECRET_BYTES);
        let (x25519, public) = rest.split_at(32);
        Ok(Self {
            mlkem: mlkem.to_vec(),
            x25519: x25519.try_into().map(Secret::new).map_err(|_| FormatError::Malformed("a secret key"))?,
            public: KemPublic::new(public)?,
        })
    }

    /// Recovers the shared secret from a ciphertext.
    ///
    /// # Errors
    /// The ciphertext has a wrong length or holds an unusable point. A wrong ciphertext of the
    /// right shape gives another secret, as the construction wants it.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Secret, FormatError> {
        if ciphertext.len() != KEM_CIPHERTEXT_BYTES {
            return Err(FormatError::Malformed("a key encapsulation"));
        }
        let (ct_m, ct_x) = ciphertext.split_at(MLKEM_CIPHERTEXT_BYTES);
        let key = DecapsulationKey::new(&ML_KEM_768, &self.mlkem)
            .map_err(|_| FormatError::Malformed("an ML-KEM key"))?;
        let ss_m = key.decapsulate(Ciphertext::from(ct_m)).map_err(|_| FormatError::Sealed)?;
        let ss_x = x25519_agree(self.x25519.expose(), ct_x)?;
        Ok(combine(ss_m.as_ref(), &*ss_x, ct_x, &self.public.0[MLKEM_PUBLIC_BYTES..]))
    }
}

/// An ML-KEM-768 key pair as raw bytes.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MlKemPair {
    /// Decapsulation key.
    pub secret: Vec<u8>,
    /// Encapsulation key.
    pub public: Vec<u8>,
}

/// Ciphertext and shared secret of one ML-KEM-768 encapsulation.
pub struct MlKemEncapsulated {
    /// What the holder of the key opens.
    pub ciphertext: Vec<u8>,
    /// What both then know.
    pub secret: Secret,
}

/// The calls of ML-KEM that draw randomness of their own, handed in so that a caller can fix them.
#[derive(Clone, Copy)]
pub struct KemCalls {
    /// Makes a key pair.
    pub generate: fn() -> Result<MlKemPair, FormatError>,
    /// Encapsulates to an encapsulation key.
    pub encapsulate: fn(&[u8]) -> Result<MlKemEncapsulated, FormatError>,
}

impl fmt::Debug for KemCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KemCalls")
    }
}

impl KemCalls {
    /// The library's own, with the operating system's randomness.
    #[must_use]
    pub fn system() -> Self {
        Self { generate: mlkem_generate, encapsulate: mlkem_encapsulate }
    }
}

fn mlkem_generate() -> Result<MlKemPair, FormatError> {
    let failed = |_| FormatError::Malformed("an ML-KEM key");
    let secret = DecapsulationKey::generate(&ML_KEM_768).map_err(failed)?;
    let public = secret.encapsulation_key().map_err(failed)?;
    let secret_bytes = secret.key_bytes().map_err(failed)?.as_ref().to_vec();
    Ok(MlKemPair { secret: secret_bytes, public: public.key_bytes().map_err(failed)?.as_ref().to_vec() })
}

fn mlkem_encapsulate(public: &[u8]) -> Result<MlKemEncapsulated, FormatError> {
    let key =
        EncapsulationKey::new(&ML_KEM_768, public).map_err(|_| FormatError::Malformed("an ML-KEM key"))?;
    let (ciphertext, shared) = key.encapsulate().map_err(|_| FormatError::Malformed("an ML-KEM key"))?;
    let mut secret = Secret::new([0; 32]);
    secret.0.copy_from_slice(shared.as_ref());
    Ok(MlKemEncapsulated { ciphertext: ciphertext.as_ref().to_vec(), secret })
}

/// Encapsulates to a hybrid public key with 32 random bytes; returns the ciphertext and the
/// shared secret. The combiner is that of X-Wing (draft-connolly-cfrg-xwing-kem).
///
/// # Errors
/// The public key is not usable.
pub fn encapsulate(
    public: &KemPublic,
    ephemeral: &[u8; 32],
    calls: &KemCalls,
) -> Result<(Vec<u8>, Secret), FormatError> {
    let (pk_m, pk_x) = public.0.split_at(MLKEM_PUBLIC_BYTES);
    let inner = (calls.encapsulate)(pk_m)?;
    let ct_x = x25519_public(ephemeral)?;
    let ss_x = x25519_agree(ephemeral, pk_x)?;
    let secret = combine(inner.secret.expose(), &ss_x, &ct_x, pk_x);
    let mut ciphertext = inner.ciphertext;
    ciphertext.extend_from_slice(&ct_x);
    Ok((ciphertext, secret))
}

/// SHA3-256(ss_M ‖ ss_X ‖ ct_X ‖ pk_X ‖ label), X-Wing's combiner.
fn combine(ss_m: &[u8], ss_x: &[u8; 32], ct_x: &[u8], pk_x: &[u8]) -> Secret {
    let mut context = digest::Context::new(&SHA3_256);
    for part in [ss_m, ss_x, ct_x, pk_x, b"\\.//^\\"] {
        context.update(part);
    }
    let mut secret = Secret::new([0; 32]);
    secret.0.copy_from_slice(context.finish().as_ref());
    secret
}

fn x25519_key(secret: &[u8; 32]) -> Result<agreement::PrivateKey, FormatError> {
    agreement::PrivateKey::from_private_key(&X25519, secret)
        .map_err(|_| FormatError::Malformed("an X25519 key"))
}

fn x25519_public(secret: &[u8; 32]) -> Result<[u8; 32], FormatError> {
    let public =
        x25519_key(secret)?.compute_public_key().map_err(|_| FormatError::Malformed("an X25519 key"))?;
    public.as_ref().try_into().map_err(|_| FormatError::Malformed("an X25519 key"))
}

fn x25519_agree(secret: &[u8; 32], peer: &[u8]) -> Result<Zeroizing<[u8; 32]>, FormatError> {
    let key = x25519_key(secret)?;
    agreement::agree(
        &key,
        UnparsedPublicKey::new(&X25519, peer),
        FormatError::Malformed("an X25519 key"),
        |shared| {
            let shared = <[u8; 32]>::try_from(shared).map(Zeroizing::new);
            shared.map_err(|_| FormatError::Malformed("an X25519 key"))
        },
    )
}

/// Signs as one member.
pub struct Signer {
    pair: Ed25519KeyPair,
    seed: Secret,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer([redacted])")
    }
}

impl Signer {
    /// Makes the key from its 32-byte seed.
    ///
    /// # Panics
    /// Never: every 32 bytes are a seed.
    #[must_use]
    pub fn from_seed(seed: Secret) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("32 bytes are a seed");
        Self { pair, seed }
    }

    /// Returns the seed, to be wrapped.
    #[must_use]
    pub const fn seed(&self) -> &Secret {
        &self.seed
    }

    /// Returns the public key.
    #[must_use]
    pub fn public(&self) -> SignPublic {
        let mut public = [0; 32];
        public.copy_from_slice(self.pair.public_key().as_ref());
        SignPublic(public)
    }

    /// Signs a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut bytes = [0; SIGNATURE_BYTES];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        bytes
    }
}

/// Ed25519 public key of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignPublic(pub [u8; 32]);

impl SignPublic {
    /// Checks a signature.
    ///
    /// # Errors
    /// It was not made with the secret half over this message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), FormatError> {
        VerifyKey::new(&ED25519, self.0).verify(message, signature).map_err(|_| FormatError::Signature)
    }
}

/// Cost of turning a password into a key with Argon2id (RFC 9106).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KdfCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes, each a thread.
    pub lanes: u32,
}

impl KdfCost {
    /// RFC 9106, second recommendation: 64 MiB, 3 passes, 4 lanes.
    pub const DEFAULT: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 4 };
    /// Readers refuse more than 4 GiB, so that a forged slot cannot exhaust a machine.
    pub const MEMORY_KIB_MAX: u32 = 4 << 20;

    /// Checks the cost against the limits of the format.
    ///
    /// # Errors
    /// A value is out of bounds.
    pub fn checked(self) -> Result<Self, FormatError> {
        let lanes_ok = (1..=64).contains(&self.lanes);
        let memory_ok = lanes_ok && (8 * self.lanes..=Self::MEMORY_KIB_MAX).contains(&self.memory_kib);
        if memory_ok && (1..=64).contains(&self.passes) {
            Ok(self)
        } else {
            Err(FormatError::Malformed("the cost of the password hash"))
        }
    }
}

/// Argon2id over a password; returns 32 bytes.
///
/// # Errors
/// The cost is out of bounds.
pub fn password_key(password: &[u8], salt: &[u8; 32], cost: KdfCost) -> Result<Secret, FormatError> {
    let cost = cost.checked()?;
    let config = argon2::Config {
        ad: &[],
        hash_length: 32,
        lanes: cost.lanes,
        mem_cost: cost.memory_kib,
        secret: &[],
        thread_mode: argon2::ThreadMode::Parallel,
        time_cost: cost.passes,
        variant: argon2::Variant::Argon2id,
        version: argon2::Version::Version13,
    };
    let raw = argon2::hash_raw(password, salt, &config)
        .map_err(|_| FormatError::Malformed("the cost of the password hash"))?;
    let raw = Zeroizing::new(raw);
    let mut key = Secret::new([0; 32]);
    key.0.copy_from_slice(&raw);
    Ok(key)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn both_sides_of_the_encapsulation_agree_and_a_changed_ciphertext_does_not() {
        let calls = KemCalls::system();
        let secret = KemSecret::new([7; 32], &(calls.generate)().unwrap()).unwrap();
        let (mut ciphertext, shared) = encapsulate(secret.public(), &[9; 32], &calls).unwrap();
        assert_eq!(secret.decapsulate(&ciphertext).unwrap(), shared);
        let again = KemSecret::from_exposed(&secret.expose()).unwrap();
        assert_eq!(again.decapsulate(&ciphertext).unwrap(), shared);
        // Either part, by one bit or as that of another encapsulation.
        let (other, _) = encapsulate(secret.public(), &[10; 32], &calls).unwrap();
        for part in [0..MLKEM_CIPHERTEXT_BYTES, MLKEM_CIPHERTEXT_BYTES..KEM_CIPHERTEXT_BYTES] {
            for at in [part.start, part.start + 3, part.end - 2] {
                ciphertext[at] ^= 1;
                assert_ne!(secret.decapsulate(&ciphertext).unwrap(), shared, "byte {at}");
                ciphertext[at] ^= 1;
            }
            let mut mixed = ciphertext.clone();
            mixed[part.clone()].copy_from_slice(&other[part.clone()]);
            assert_ne!(secret.decapsulate(&mixed).unwrap(), shared, "{part:?}");
        }
        assert_eq!(secret.decapsulate(&ciphertext).unwrap(), shared);
        assert!(secret.decapsulate(&ciphertext[1..]).is_err());
    }

    #[test]
    fn who_has_the_secret_of_one_kem_alone_has_nothing() {
        let calls = KemCalls::system();
        let new = |byte| KemSecret::new([byte; 32], &(calls.generate)().unwrap()).unwrap();
        let (secret, thief) = (new(7), new(8));
        let (ciphertext, shared) = encapsulate(secret.public(), &[9; 32], &calls).unwrap();
        let (whole, wrong) = (secret.expose(), thief.expose());
        for missing in [0..MLKEM_SECRET_BYTES, MLKEM_SECRET_BYTES..MLKEM_SECRET_BYTES + 32] {
            let mut half = whole.clone();
            half[missing.clone()].copy_from_slice(&wrong[missing.clone()]);
            // Its public half, which both sides put into the secret, is still the true one.
            let half = KemSecret::from_exposed(&half).unwrap();
            assert_eq!(half.public(), secret.public());
            let got = half.decapsulate(&ciphertext);
            assert!(got.is_err() || got.unwrap() != shared, "without the bytes {missing:?}");
        }
    }

    #[test]
    fn sealed_bytes_open_only_with_the_same_context() {
        let aead = Aead::new(&Secret::new([1; 32]));
        let mut sealed = Vec::new();
        aead.seal_append([2; 12], b"context", b"plaintext", &mut sealed);
        assert_eq!(sealed.len(), 9 + TAG_BYTES);
        assert_eq!(aead.open_in_place([2; 12], b"context", &mut sealed.clone()).unwrap(), b"plaintext");
        assert_eq!(aead.open_in_place([2; 12], b"other", &mut sealed).unwrap_err(), FormatError::Sealed);
    }

    #[test]
    fn the_password_hash_is_argon2id_of_rfc_9106() {
        // Computed with the reference implementation: argon2 -id -t 3 -k 64 -p 4 -l 32.
        let cost = KdfCost { memory_kib: 64, passes: 3, lanes: 4 };
        let key = password_key(b"password", b"0123456789abcdef0123456789abcdef", cost).unwrap();
        assert_eq!(crate::id::hex(key.expose()), include_str!("../vectors/argon2id.hex").trim());
    }

    #[test]
    fn a_forged_cost_is_refused() {
        let (least, most) = (8, KdfCost::MEMORY_KIB_MAX);
        let taken = [(least, 1, 1), (16, 1, 2), (most, 1, 1), (least, 64, 1), (512, 1, 64)];
        let refused = [
            (u32::MAX, 1, 1),
            (most + 1, 1, 1),
            (least - 1, 1, 1),
            (0, 1, 1),
            (15, 1, 2),
            (least, 0, 1),
            (least, 65, 1),
            (least, u32::MAX, 1),
            (least, 1, 0),
            (1 << 20, 1, 65),
            (most, 1, u32::MAX),
        ];
        let cost = |(memory_kib, passes, lanes)| KdfCost { memory_kib, passes, lanes };
        for taken in taken {
            assert_eq!(cost(taken).checked(), Ok(cost(taken)));
        }
        for refused in refused {
            let error = password_key(b"", &[0; 32], cost(refused)).map(drop).unwrap_err();
            assert_eq!(error, FormatError::Malformed("the cost of the password hash"), "{refused:?}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret::new([65; 32])), "[redacted]");
    }
}
