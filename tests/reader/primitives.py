"""Primitives (FORMAT.md 3): hashes, keys, seals, frames, signatures, the hybrid KEM."""

import hashlib
import struct

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from kyber_py.ml_kem import ML_KEM_768

from notation import Refused, need

ZERO_NONCE = bytes(12)
KEM_PUBLIC, KEM_SECRET, KEM_CIPHERTEXT = 1216, 3648, 1120


def hash(data):
    return blake3(data).digest()


def hash16(data):
    """H(x): the first 16 bytes of the hash (2)."""
    return hash(data)[:16]


def hasher():
    """A hash that takes its data piece by piece."""
    return blake3()


def keyed(key, data):
    return blake3(data, key=key).digest()


def derive(context, *parts):
    framed = b"".join(struct.pack("<I", len(part)) + part for part in parts)
    return blake3(framed, derive_key_context=context).digest()


def seal(key, nonce, aad, plain):
    return AESGCM(key).encrypt(nonce, plain, aad)


def unseal(key, nonce, aad, sealed, what):
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except (InvalidTag, ValueError):
        raise Refused(f"{what}: does not open") from None


def unzstd(frame, limit, what):
    """One frame that states its content size; never takes more memory than `limit`."""
    try:
        stated = zstandard.get_frame_parameters(frame).content_size
        need(stated <= limit, f"{what}: a frame of {stated} bytes is too long")
        # The most that a frame's blocks can give.
        need(stated <= len(frame) // 3 * (128 << 10), f"{what}: a frame states more than it can hold")
        unpacker = zstandard.ZstdDecompressor().decompressobj()
        plain = unpacker.decompress(frame)
    except zstandard.ZstdError as error:
        raise Refused(f"{what}: {error}") from None
    need(unpacker.eof and not unpacker.unused_data and len(plain) == stated, f"{what}: is not one whole frame")
    return plain


def verify(public, signature, message, what):
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Refused(f"{what}: the signature is not its member's") from None


def sign(seed, message):
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def signing_public(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def argon2id(password, salt, memory, passes, lanes):
    return Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory).derive(password)


def combine(mlkem_shared, x25519_shared, x25519_ciphertext, x25519_public):
    """The combiner of X-Wing."""
    label = bytes.fromhex("5c2e2f2f5e5c")
    parts = (mlkem_shared, x25519_shared, x25519_ciphertext, x25519_public, label)
    return hashlib.sha3_256(b"".join(parts)).digest()


def decapsulate(secret, ciphertext, what):
    """The shared secret of a ciphertext of the hybrid KEM; ML-KEM comes first in all byte strings."""
    need(len(secret) == KEM_SECRET and len(ciphertext) == KEM_CIPHERTEXT, f"{what}: length of a KEM text")
    mlkem, x25519, public = secret[:2400], secret[2400:2432], secret[2432:]
    try:
        mlkem_shared = ML_KEM_768.decaps(mlkem, ciphertext[:1088])
        ephemeral = X25519PublicKey.from_public_bytes(ciphertext[1088:])
        # All zeros are refused by the library too.
        x25519_shared = X25519PrivateKey.from_private_bytes(x25519).exchange(ephemeral)
    except ValueError as error:
        raise Refused(f"{what}: {error}") from None
    need(any(x25519_shared), f"{what}: X25519 gives zeros")
    return combine(mlkem_shared, x25519_shared, ciphertext[1088:], public[1184:])


def short_id(public):
    return hash(public)[:8]


def chance(hashed, part, whole):
    """Chance (3.2)."""
    return int.from_bytes(hashed[:8], "little") < (part << 64) // whole
