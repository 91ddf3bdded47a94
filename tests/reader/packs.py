"""Packs (FORMAT.md 9): each opens alone, by its own footer."""

import struct
from typing import NamedTuple

from chunks import LENGTH
from frame import CHECKSUM, HEADER, open_section
from keys import WRAPPED, wrapped
from notation import Cursor, need

FRONT, TRAILER = HEADER + 16 + 1 + 4 + WRAPPED + 2, 56
ROWS_MAX, ORIGINS_MAX = 1 << 20, 1024


class Origin(NamedTuple):
    """A pack that chunks were sealed for."""
    pack: bytes
    key_epoch: int
    secret: object


class Row(NamedTuple):
    """Where a chunk lies in its pack; `origin` is a row of the pack's origins, 0 the pack itself."""
    id: bytes
    offset: int
    stored: int
    plain: int
    origin: int


class Pack:
    """A pack that was read whole, its checksum and place compared."""

    def __init__(self, data, found, place, key_of):
        what, body = found.what, found.body
        need(len(data) >= FRONT + TRAILER, f"{what}: is too short for a pack")
        own = (found.header.member, body.raw(16), body.u8(), body.u32())
        need(own == (place.member, place.session, place.pack[32], place.number), f"{what}: is another pack")
        self.data, self.what, self.pack, self.size = data, what, place.pack, len(data)
        self.checksum = data[-CHECKSUM:]
        self.origins = [Origin(place.pack, found.header.key_epoch, wrapped(body))]
        body.tags()
        need(body.at + HEADER == FRONT, f"{what}: has tags in its front")
        offset, length, count = struct.unpack("<QII", data[-TRAILER:-TRAILER + 16])
        need(data[-TRAILER + 16:-CHECKSUM] == b"HFDpack\n", f"{what}: has no trailer")
        need(offset >= FRONT and offset + length == len(data) - TRAILER, f"{what}: place of the footer")
        footer = Cursor(data[offset:offset + length], what)
        header = found.header
        key = key_of(header.key_epoch)
        plain = open_section(key, header.bytes, "pack footer", footer.bytes32(), what, length)
        footer.end()
        self._footer(Cursor(plain, f"{what}, footer"), offset, count)

    def _footer(self, cursor, end, count):
        self.origins += cursor.list(lambda: Origin(cursor.raw(37), cursor.u32(), wrapped(cursor)))
        self.rows = cursor.list(
            lambda: Row(cursor.raw(32), cursor.u32(), cursor.u32(), cursor.u32(), cursor.u16()))
        cursor.tags()
        cursor.end()
        need(len(self.rows) == count <= ROWS_MAX, f"{self.what}: number of chunks")
        need(len(self.origins) <= ORIGINS_MAX + 1, f"{self.what}: too many origins")
        at = FRONT
        for row in self.rows:
            need(row.offset >= at, f"{self.what}: chunks overlap")
            need(row.origin < len(self.origins), f"{self.what}: an origin that is not there")
            at = row.offset + (row.stored & LENGTH)
        need(at <= end, f"{self.what}: a chunk reaches into the footer")
        is_repacked = self.origins[0].secret.is_placeholder()
        need(not is_repacked or all(row.origin for row in self.rows), f"{self.what}: has no secret of its own")

    def sealed(self, row):
        return self.data[row.offset:row.offset + (row.stored & LENGTH)]
