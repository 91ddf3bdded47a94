"""Chunks: their identifiers, keys and stored forms (FORMAT.md 7)."""

import struct

from notation import need, u32
from primitives import derive, keyed, seal, unseal, unzstd

DATA, PAGE = 1, 2
PLAIN_MAX, STORED_MAX = 8 << 20, 32 << 20
IS_FRAME, LENGTH = 1 << 31, (1 << 31) - 1


def data_id(k_id, plain):
    return keyed(derive("holdfast 1 id data", k_id), plain)


def page_text(references, body):
    return u32(len(references)) + references + body


def page_id(k_id, references, body):
    return keyed(derive("holdfast 1 id page", k_id), page_text(references, body))


class PackKeys:
    """The keys of what was sealed for a pack; `k_ref` is for the references of pages."""

    def __init__(self, repository, pack, secret, k_ref):
        self.repository, self.pack = repository, pack
        parts = (repository, pack)
        # Without the secret only references open.
        self.key, self.nonce_key = self._pair("holdfast 1 pack", secret, parts) if secret else (None, None)
        self.refs_key, self.refs_nonce_key = self._pair("holdfast 1 pack refs", k_ref, parts)

    @staticmethod
    def _pair(context, secret, parts):
        return derive(context, secret, *parts), derive(context + " nonce", secret, *parts)

    def _aad(self, kind, id):
        return self.repository + self.pack + bytes([kind]) + id

    @staticmethod
    def _nonce(key, id, stored):
        return keyed(key, id + u32(stored))[:12]

    def references(self, id, stored, sealed, what):
        """The references of a page alone, for who has K_ref and nothing else: (opened, where the body begins)."""
        need(len(sealed) == stored & LENGTH <= STORED_MAX, f"{what}: its stored length")
        need(len(sealed) >= 4, f"{what}: is too short for a page")
        end = 4 + struct.unpack("<I", sealed[:4])[0]
        need(end <= len(sealed), f"{what}: references beyond its end")
        nonce, aad = self._nonce(self.refs_nonce_key, id, stored), self._aad(PAGE, id)
        return unseal(self.refs_key, nonce, aad, sealed[4:end], f"{what}: references"), end

    def open(self, id, kind, stored, sealed, what):
        """(references, plaintext) of a chunk; its id is not compared here."""
        need(len(sealed) == stored & LENGTH <= STORED_MAX, f"{what}: its stored length")
        aad, references = self._aad(kind, id), b""
        if kind == PAGE:
            references, end = self.references(id, stored, sealed, what)
            sealed = sealed[end:]
        plain = unseal(self.key, self._nonce(self.nonce_key, id, stored), aad, sealed, what)
        if stored & IS_FRAME:
            plain = unzstd(plain, PLAIN_MAX, what)
        need(len(plain) <= PLAIN_MAX, f"{what}: is too long")
        return references, plain

    def seal(self, id, kind, stored, references, payload):
        """The stored form, the payload (frame or plaintext) given: for the vectors."""
        aad, front = self._aad(kind, id), b""
        if kind == PAGE:
            sealed = seal(self.refs_key, self._nonce(self.refs_nonce_key, id, stored), aad, references)
            front = u32(len(sealed)) + sealed
        return front + seal(self.key, self._nonce(self.nonce_key, id, stored), aad, payload)


def open_checked(keys, k_id, id, kind, stored, sealed, what):
    """Opens a chunk, and compares all 32 bytes of its id."""
    references, plain = keys.open(id, kind, stored, sealed, what)
    found = page_id(k_id, references, plain) if kind == PAGE else data_id(k_id, plain)
    need(found == id, f"{what}: its id is another")
    return references, plain
