"""Notation and primitives of the format (FORMAT.md, sections 1 and 3), for reader.py."""

import hashlib
import struct

import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from kyber_py.ml_kem import ML_KEM_768

ZERO = bytes(12)

# Section 3: primitives.

def h(x): return blake3(x).digest()
def keyed(key, x): return blake3(x, key=key).digest()
def unseal(key, nonce, aad, sealed): return AESGCM(key).decrypt(nonce, sealed, aad)

def derive(context, *parts):
    framed = b"".join(struct.pack("<I", len(part)) + part for part in parts)
    return blake3(framed, derive_key_context=context).digest()

def decompress(frame, limit=8 << 20):
    assert zstandard.get_frame_parameters(frame).content_size <= limit
    return zstandard.ZstdDecompressor().decompress(frame)

def decapsulate(secret, ciphertext):
    assert len(secret) == 3648 and len(ciphertext) == 1120
    dk, x, public = secret[:2400], secret[2400:2432], secret[2432:]
    ct_m, ct_x = ciphertext[:1088], ciphertext[1088:]
    ss_m = ML_KEM_768.decaps(dk, ct_m)
    ss_x = X25519PrivateKey.from_private_bytes(x).exchange(X25519PublicKey.from_public_bytes(ct_x))
    return hashlib.sha3_256(ss_m + ss_x + ct_x + public[1184:] + bytes.fromhex("5c2e2f2f5e5c")).digest()

class Reader:
    """Section 1: notation."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def raw(self, n):
        assert self.at + n <= len(self.data), "cut off"
        self.at += n
        return self.data[self.at - n:self.at]

    def int(self, form): return struct.unpack("<" + form, self.raw(struct.calcsize("<" + form)))[0]
    def u8(self): return self.int("B")
    def u16(self): return self.int("H")
    def u32(self): return self.int("I")
    def u64(self): return self.int("Q")
    def bytes16(self): return self.raw(self.u16())
    def bytes32(self): return self.raw(self.u32())
    def text16(self): return self.bytes16().decode()
    def text32(self): return self.bytes32().decode()
    def time(self): return (self.int("q"), self.u32())
    def list(self, item): return [item() for _ in range(self.u32())]

    def tags(self, critical=()):
        found, last = {}, -1
        for _ in range(self.u16()):
            tag = self.u16()
            assert tag > last and (tag < 0x8000 or tag in critical), f"tag {tag:04x}"
            found[tag] = self.bytes32()
            last = tag
        return found

    def end(self): assert self.at == len(self.data), "bytes are left over"
