"""The frame of an object and its sealed sections (FORMAT.md 4)."""

from notation import Cursor, need, one_of
from places import BEGIN, SIGNED
from primitives import derive, hash, keyed, seal, sign, unseal, unzstd, verify

MAGIC = bytes.fromhex("894846440D0A1A0A")
HEADER, CHECKSUM, SIGNATURE = 100, 32, 64
MIB, GIB = 1 << 20, 1 << 30
# So many times the body that it stands in a section's payload may have, and 256 KiB more; of a footer, times the
# section with its length (4.1).
TIMES, FREE = {"index delta": 16, "pack footer": 16, "summary": 64, "evidence": 64}, 256 << 10
# The longest payload of a section, by its label (4.1).
LIMITS = {
    "begin": 16 * MIB, "pins": 16 * MIB, "abort": 16 * MIB, "summary": 64 * MIB, "details": 64 * MIB,
    "evidence": 256 * MIB, "root": GIB, "snapshots": GIB, "pack footer": 256 * MIB, "index delta": GIB,
    "list": GIB, "index segment": MIB,
}


class Header:
    """The first 100 bytes."""

    def __init__(self, data, what):
        cursor = Cursor(data, what)
        need(cursor.raw(8) == MAGIC, f"{what}: is no object of a repository")
        self.bytes, self.type, self.format, self.draft = data, cursor.u8(), cursor.u8(), cursor.u8()
        need((self.format, self.draft) == (0, 1), f"{what}: format {self.format}, draft {self.draft}")
        one_of(cursor.u8(), (1,), f"{what}: cipher suite")
        need(cursor.u32() == 0, f"{what}: has features that are not known here")
        self.ro_compat = cursor.u32()
        need(cursor.u32() == HEADER, f"{what}: length of the header")
        self.key_epoch, self.repository, self.id = cursor.u32(), cursor.raw(16), cursor.raw(16)
        self.epoch, self.member, self.nonce = cursor.u64(), cursor.raw(16), cursor.raw(16)
        cursor.end()


class Object:
    """An object whose checksum holds. Whether it lies in its place, and who signed it, is asked apart."""

    def __init__(self, data, what):
        need(len(data) >= HEADER + CHECKSUM, f"{what}: {len(data)} bytes are no object")
        need(hash(data[:-CHECKSUM]) == data[-CHECKSUM:], f"{what}: the checksum differs")
        self.what, self.hash, self.header = what, hash(data), Header(data[:HEADER], what)
        tail = CHECKSUM + (SIGNATURE if self.header.type in SIGNED else 0)
        need(len(data) >= HEADER + tail, f"{what}: {len(data)} bytes have no room for a signature")
        self.covered, self.signature = data[:-tail], data[-tail:-CHECKSUM]
        self.body = Cursor(data[HEADER:-tail], what)

    def in_place(self, repository, place):
        """Whether the header is the one that the name promises (2)."""
        header, what = self.header, self.what
        need(header.repository == repository, f"{what}: is of another repository")
        need(header.type == place.kind, f"{what}: its type is {header.type}")
        need(header.id == place.id, f"{what}: is another object")
        need(place.kind != BEGIN or header.epoch & 0xFFFFFFFF == place.epoch, f"{what}: began in another epoch")
        return self

    def verify(self, public):
        verify(public, self.signature, signed_text(self.covered), self.what)
        return self

    def section(self, key, label):
        sealed = self.body.bytes32()
        payload = open_section(key, self.header.bytes, label, sealed, self.what, len(self.body.data))
        return Cursor(payload, f"{self.what}, {label}")

    def finish(self, critical=()):
        """The tags at the end of a body, and nothing after them."""
        tags = self.body.tags(critical)
        self.body.end()
        return tags


def signed_text(covered):
    return b"holdfast 1 signature" + hash(covered)


def signature_of(seed, covered):
    return sign(seed, signed_text(covered))


def limit_of(label, body):
    """The longest payload of a section in a body of so many bytes."""
    paid = FREE + TIMES[label] * body if label in TIMES else GIB
    return min(LIMITS[label], paid)


def open_section(key, header, label, sealed, what, body):
    """The payload of a section; `body` is the length of the body that it stands in."""
    parts, what, limit = (key, header, label.encode()), f"{what}: section {label}", limit_of(label, body)
    need(len(sealed) >= 12 + 16 + 1, f"{what}: is too short")
    plain = unseal(derive("holdfast 1 section", *parts), sealed[:12], header, sealed[12:], what)
    need(plain[0] in (0, 1), f"{what}: flag {plain[0]}")
    payload = unzstd(plain[1:], limit, what) if plain[0] else plain[1:]
    need(len(payload) <= limit, f"{what}: is too long")
    return payload


def seal_section(key, header, label, plain):
    """A section's bytes, its flag and payload given: for the vectors."""
    parts = (key, header, label.encode())
    nonce = keyed(derive("holdfast 1 section nonce", *parts), plain)[:12]
    return nonce + seal(derive("holdfast 1 section", *parts), nonce, header, plain)
