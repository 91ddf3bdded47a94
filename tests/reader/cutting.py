"""Where things are cut (FORMAT.md 8) and how pages are written (11): the writer's half, for the vectors.

Who reads a repository needs nothing of this.
"""

import struct

from chunks import page_id
from notation import u32, u64
from pages import ATTRIBUTES_CHUNK, NOTHING, EXTENTS, INLINE, OFFSETS, STRETCH, TREE
from primitives import chance, derive, keyed

KIB, MIB = 1 << 10, 1 << 20
MASK64 = (1 << 64) - 1


def u16(number):
    return struct.pack("<H", number)


def bytes16(data):
    return u16(len(data)) + data


def bytes32(data):
    return u32(len(data)) + data


def tags(known):
    return u16(len(known)) + b"".join(u16(tag) + bytes32(known[tag]) for tag in sorted(known))


def time(moment):
    return struct.pack("<qI", *moment)


# Large files (8.1).

def gear_table(k_cdc):
    key = derive("holdfast 1 gear table", k_cdc)
    return [int.from_bytes(keyed(key, bytes([byte]))[:8], "little") for byte in range(256)]


def chunk_lengths(k_cdc, run):
    """The lengths of the chunks of a run of data."""
    gear, lengths = gear_table(k_cdc), []
    while run:
        lengths.append(_cut(gear, run))
        run = run[lengths[-1]:]
    return lengths


def _cut(gear, run):
    top = lambda bits: MASK64 ^ (MASK64 >> bits)
    hashed, near, far = 0, top(22), top(18)
    for at in range(262_144 - 64, min(len(run), 4_194_304)):
        hashed = (hashed << 1) + gear[run[at]] & MASK64
        if at >= 262_144 and not hashed & (near if at < 1_048_576 else far):
            return at + 1
    return min(len(run), 4_194_304)


# Bundles (8.2).

def closes_bundle(k_cdc, length, digest, file_length):
    hashed = keyed(derive("holdfast 1 bundle close", k_cdc), digest)
    return length >= 2 * MIB or length >= 256 * KIB and chance(hashed, file_length, 512 * KIB)


# Pages (8.4, 11).

class Table:
    """Ids of references, each once, in the order of their first use."""

    def __init__(self):
        self.rows = {}

    def row(self, id):
        return u32(self.rows.setdefault(id, len(self.rows)))

    def encode(self):
        return u32(len(self.rows)) + b"".join(self.rows)


class Draft:
    """A page while it is written."""

    def __init__(self, level, space):
        self.level, self.space, self.first = level, space, None
        self.pages, self.chunks, self.owners, self.rows = Table(), Table(), {}, []
        self.bytes = self.keys = self.entries = self.size = 0
        self.before = b""

    def keyed(self, key, rest):
        """Adds a row; returns its length."""
        shared = 0
        while shared < min(len(key), len(self.before)) and key[shared] == self.before[shared]:
            shared += 1
        row = u16(shared) + bytes16(key[shared:]) + rest
        self.first = key if self.first is None else self.first
        self.before, self.keys = key, self.keys + len(key)
        self.rows.append(row)
        self.bytes += len(row)
        return len(row)

    def text(self):
        references = self.pages.encode() + self.chunks.encode() + tags({})
        front = bytes([self.level, self.space])
        if self.level == 0 and self.space != OFFSETS:
            front += owners(self.owners)
        return references, front + u32(len(self.rows)) + b"".join(self.rows) + tags({})


def owners(known):
    one = lambda owner: u32(owner.uid) + u32(owner.gid) + bytes16(owner.user.encode()) + bytes16(owner.group.encode())
    return u16(len(known)) + b"".join(one(owner) + tags({}) for owner in known)


def encode_extent(extent, chunks):
    if extent.chunk is None:
        return b"\x01" + u64(extent.length)
    return b"\x00" + chunks.row(extent.chunk) + u32(extent.offset) + u32(extent.length)


def encode_entry(entry, draft):
    """An entry; what it refers to is put into the tables of its page."""
    owner = draft.owners.setdefault(entry.owner, len(draft.owners))
    front = bytes([entry.kind]) + u16(entry.mode) + u16(owner) + time(entry.mtime) + u64(entry.size)
    front += bytes([entry.flags]) + (entry.digest or b"")
    known = dict(entry.tags)
    if entry.inline:
        content = bytes([INLINE]) + bytes16(entry.inline)
    elif entry.extents:
        rows = b"".join(encode_extent(extent, draft.chunks) for extent in entry.extents)
        content = bytes([EXTENTS, len(entry.extents)]) + rows
    elif entry.tree:
        content = bytes([TREE]) + draft.pages.row(entry.tree)
    else:
        content = bytes([NOTHING])
    if entry.attributes_chunk:
        known[ATTRIBUTES_CHUNK] = draft.chunks.row(entry.attributes_chunk)
    return front + content + tags(known)


class Builder:
    """Builds a tree from its leaves up; `emitted` has (level, rows, references, body, id) of each page."""

    def __init__(self, k_id, k_cdc, space):
        self.k_id, self.space, self.emitted, self.levels = k_id, space, [], []
        self.cut_key = derive("holdfast 1 page cut", k_cdc)
        self.leaf, self.start, self.at = Draft(0, space), 0, 0

    def entry(self, key, entry):
        length = self.leaf.keyed(key, encode_entry(entry, self.leaf))
        self.leaf.entries, self.leaf.size = self.leaf.entries + 1, self.leaf.size + entry.size
        if self._ends(self.leaf, key, length):
            self._end_leaf()

    def extent(self, extent):
        if self.at // STRETCH != self.start // STRETCH and self.leaf.rows:
            self._end_leaf()
            self.start = self.at
        if not self.leaf.rows:
            self.start = self.at
        self.leaf.rows.append(encode_extent(extent, self.leaf.chunks))
        self.leaf.entries, self.leaf.size = self.leaf.entries + 1, self.leaf.size + extent.length
        self.at += extent.length

    def _ends(self, draft, key, length):
        by_chance = draft.bytes >= 8 * KIB and chance(keyed(self.cut_key, key), length, 24 * KIB)
        is_full = draft.bytes >= 128 * KIB or by_chance or draft.keys >= 4 * MIB
        return is_full and (draft.level == 0 or len(draft.rows) >= 16)

    def _end_leaf(self):
        draft, self.leaf = self.leaf, Draft(0, self.space)
        first = self.start.to_bytes(8, "big") if self.space == OFFSETS else draft.first
        references, body = draft.text()
        if self.space == OFFSETS:
            body = body[:2] + u64(self.start) + body[2:]
        self._up(0, first, self._emit(draft, references, body), draft)

    def _emit(self, draft, references, body):
        id = page_id(self.k_id, references, body)
        self.emitted.append((draft.level, len(draft.rows), references, body, id))
        return id

    def _up(self, level, first, id, draft):
        """A finished page becomes a row of the level above."""
        if len(self.levels) <= level:
            self.levels.append(Draft(level + 1, self.space))
        above = self.levels[level]
        length = above.keyed(first, above.pages.row(id) + u64(draft.entries) + u64(draft.size))
        above.entries, above.size = above.entries + draft.entries, above.size + draft.size
        if self._ends(above, first, length):
            self._end_inner(level)

    def _end_inner(self, level):
        draft, self.levels[level] = self.levels[level], Draft(level + 1, self.space)
        self._up(level + 1, draft.first, self._emit(draft, *draft.text()), draft)

    def finish(self):
        """Ends every level; returns the id of the root page."""
        if not self.levels and not self.leaf.rows:
            return self._emit(self.leaf, *self.leaf.text())
        if self.leaf.rows:
            self._end_leaf()
        level = 0
        while len(self.levels[level].rows) > 1 or level + 1 < len(self.levels):
            if self.levels[level].rows:
                self._end_inner(level)
            level += 1
        # The one row that is left names the root.
        return next(iter(self.levels[level].pages.rows))
