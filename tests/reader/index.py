"""The index (FORMAT.md 10): tables of sessions, packs and chunks, in deltas and segments."""

from typing import NamedTuple

from chunks import LENGTH
from keys import SessionRow, session_row
from notation import Cursor, need, u32
from places import pack_id
from primitives import hash

ROWS_MAX, TAGS_MAX, BITS_MAX = 1 << 26, 64 << 10, 12


class PackRow(NamedTuple):
    pack: bytes
    session: SessionRow
    size: int
    checksum: bytes
    chunks: int


class ChunkRow(NamedTuple):
    key: bytes
    pack: PackRow
    offset: int
    stored: int
    origin: PackRow


class Tables:
    """What a delta or a segment holds."""

    def __init__(self, cursor, is_segment=False):
        what = cursor.what
        self.sessions = cursor.list(lambda: session_row(cursor))
        self.packs = cursor.list(lambda: self._pack(cursor))
        raw = cursor.list(lambda: (cursor.raw(24), cursor.u32(), cursor.u32(), cursor.u32(), cursor.u32()))
        cursor.tags()
        cursor.end()
        need(max(map(len, (self.sessions, self.packs, raw))) <= ROWS_MAX, f"{what}: too many rows")
        ids = [row.pack for row in self.packs]
        need(len(set(ids)) == len(ids), f"{what}: a pack has two rows")
        if is_segment:
            owners = [row.owner for row in self.sessions]
            need(owners == sorted(set(owners)) and ids == sorted(ids), f"{what}: is out of order")
        self.chunks, self.sum = self._chunks(raw, what)

    def _pack(self, cursor):
        session, klass, ordinal = cursor.u32(), cursor.u8(), cursor.u32()
        need(session < len(self.sessions), f"{cursor.what}: a session that is not there")
        need(klass in (1, 2), f"{cursor.what}: class {klass}")
        row = self.sessions[session]
        pack = pack_id(row.member, row.session, klass, ordinal)
        return PackRow(pack, row, cursor.u64(), cursor.raw(32), cursor.u32())

    def _chunks(self, raw, what):
        rows, total, before = [], 0, None
        tags = [hash(row.pack)[:8] for row in self.packs]
        for row in raw:
            key, pack, offset, stored, origin = row
            need(before is None or row > before, f"{what}: chunks are out of order")
            need(max(pack, origin) < len(self.packs), f"{what}: a pack that is not there")
            need(offset + (stored & LENGTH) <= self.packs[pack].size, f"{what}: a chunk beyond its pack")
            summed = hash(key + tags[pack] + tags[origin] + u32(offset) + u32(stored))
            total, before = total + int.from_bytes(summed, "little"), row
            rows.append(ChunkRow(key, self.packs[pack], offset, stored, self.packs[origin]))
        return rows, (total % (1 << 256)).to_bytes(32, "little")


class Delta:
    """An index delta; its tables are opened where it counts."""

    def __init__(self, found, k_idx):
        self.number = found.body.u32()
        self.tables = Tables(found.section(k_idx, "index delta"))
        found.finish()


class Segment:
    """An index segment. What its sections hold, joined, is the tables."""

    def __init__(self, found, k_idx):
        body, what = found.body, found.what
        self.bits, self.value, self.level, self.rows = body.u8(), body.u16(), body.u8(), body.u64()
        self.sum, blocks = body.raw(32), body.u32()
        need(self.bits <= BITS_MAX, f"{what}: {self.bits} bits")
        joined = b"".join(found.section(k_idx, "index segment").data for _ in range(blocks))
        self.tables = Tables(Cursor(joined, what), is_segment=True)
        found.finish()
        need((self.rows, self.sum) == (len(self.tables.chunks), self.tables.sum), f"{what}: its sum differs")
        for row in self.tables.chunks:
            front = int.from_bytes(row.key[:2], "big") >> (16 - self.bits)
            need(front == self.value, f"{what}: a chunk of another partition")
