"""Places (FORMAT.md 2): what the name of an object says."""

import re
from typing import NamedTuple, Optional

from notation import need, u32
from primitives import hash, hash16

PACK, DELTA, SEGMENT, ROOT, BEGIN, PINS, END, SLOT, MEMBER, SNAPSHOTS, LIST, WAL, EVIDENCE = range(1, 14)
SIGNED = {DELTA, SEGMENT, ROOT, BEGIN, PINS, END, MEMBER, SNAPSHOTS, LIST, WAL, EVIDENCE}
CLASSES = {"data": 1, "tree": 2}

ID, NUMBER, SHORT, DECIMAL = "([0-9a-f]{32})", "([0-9a-f]{16})", "([0-9a-f]{8})", "(0|[1-9][0-9]*)"
PATTERNS = [(kind, re.compile(pattern)) for kind, pattern in (
    (SLOT, f"keys/{ID}"),
    (MEMBER, f"members/{NUMBER}-{ID}"),
    (ROOT, f"roots/{NUMBER}"),
    (BEGIN, f"sessions/{SHORT}/{ID}-{ID}/begin"),
    (PINS, f"sessions/{SHORT}/{ID}-{ID}/pins-{DECIMAL}"),
    (END, f"sessions/{SHORT}/{ID}-{ID}/end"),
    (PACK, f"packs/(data|tree)/([0-9a-f]{{2}})/{ID}-{ID}-{SHORT}"),
    (DELTA, f"index/delta/{SHORT}/{ID}-{ID}-{DECIMAL}"),
    (SEGMENT, f"index/segment/{ID}"),
    (SNAPSHOTS, f"snapshots/{ID}"),
    (LIST, f"lists/{ID}"),
    (WAL, f"wal/{NUMBER}/{SHORT}-{NUMBER}/([0-9A-Za-z_][0-9A-Za-z._]{{0,63}})"),
    (EVIDENCE, f"evidence/{ID}/{NUMBER}"),
)]
DOMAIN = re.compile("domains/([a-z0-9][a-z0-9._-]{0,62})/")


class Place(NamedTuple):
    """What a name says; fields that a kind does not have are absent."""
    kind: int
    name: str
    id: bytes
    number: Optional[int] = None
    epoch: Optional[int] = None
    member: Optional[bytes] = None
    session: Optional[bytes] = None
    pack: Optional[bytes] = None
    timeline: Optional[str] = None
    file: Optional[str] = None

    @property
    def owner(self):
        """Member and session, which begin a pack id too."""
        return self.member + self.session


def pack_id(member, session, klass, ordinal):
    return member + session + bytes([klass]) + u32(ordinal)


def pack_name(pack):
    ordinal = int.from_bytes(pack[33:], "little")
    last = f"{pack[:16].hex()}-{pack[16:32].hex()}-{ordinal:08x}"
    return f"packs/{'data' if pack[32] == 1 else 'tree'}/{hash(last.encode())[:1].hex()}/{last}"


def domain_of(name):
    """The domain that a name lies in, or None (6.5)."""
    match = DOMAIN.match(name)
    return match and match[1]


def parse(name):
    """The place of a name, or None: it is the name of nothing."""
    for kind, pattern in PATTERNS:
        match = pattern.fullmatch(name)
        if match:
            return BY_KIND[kind](kind, name, match.groups())
    return None


def _by_id(kind, name, parts):
    return Place(kind, name, bytes.fromhex(parts[0]))


def _member(kind, name, parts):
    return Place(kind, name, bytes.fromhex(parts[1]), int(parts[0], 16))


def _root(kind, name, parts):
    number = (1 << 64) - 1 - int(parts[0], 16)
    return Place(kind, name, bytes(8) + number.to_bytes(8, "big"), number)


def _of_session(kind, name, parts):
    epoch, member, session = int(parts[0], 16), bytes.fromhex(parts[1]), bytes.fromhex(parts[2])
    number = int(parts[3]) if len(parts) > 3 else None
    return Place(kind, name, hash16(name.encode()), number, epoch, member, session)


def _pack(kind, name, parts):
    member, session = bytes.fromhex(parts[2]), bytes.fromhex(parts[3])
    pack = pack_id(member, session, CLASSES[parts[0]], int(parts[4], 16))
    need(pack_name(pack) == name, f"{name}: lies in the wrong folder")
    return Place(kind, name, hash16(pack), int(parts[4], 16), None, member, session, pack)


def _wal(kind, name, parts):
    system, timeline, history, file = parts
    return Place(kind, name, hash16(name.encode()), timeline=f"{system}/{timeline}-{history}", file=file)


def _evidence(kind, name, parts):
    return Place(kind, name, hash16(name.encode()), int(parts[1], 16), None, bytes.fromhex(parts[0]))


BY_KIND = {
    SLOT: _by_id, SEGMENT: _by_id, SNAPSHOTS: _by_id, LIST: _by_id, MEMBER: _member, ROOT: _root,
    BEGIN: _of_session, PINS: _of_session, END: _of_session, DELTA: _of_session, PACK: _pack,
    WAL: _wal, EVIDENCE: _evidence,
}
