"""Pages and entries (FORMAT.md 11)."""

import struct
from typing import NamedTuple, Optional

from notation import Cursor, need, one_of
from primitives import hash, hasher

PATHS, OPAQUE, OFFSETS = 0, 1, 2
FILE, FOLDER, SYMLINK, FIFO, SOCKET, CHARACTER, BLOCK = range(1, 8)
KINDS = {FILE: "File", FOLDER: "Directory", SYMLINK: "Symlink", FIFO: "Fifo", SOCKET: "Socket",
         CHARACTER: "CharDevice", BLOCK: "BlockDevice"}
NOTHING, INLINE, EXTENTS, TREE = range(4)
BIRTH, INODE_FLAGS, LINK_GROUP, TARGET, DEVICE, ATTRIBUTES, ATTRIBUTES_CHUNK = (
    0x0001, 0x0002, 0x0003, 0x8010, 0x8011, 0x8012, 0x8013)
BLOCK_HASHES, CHUNK_LENGTHS = 0x0001, 0x0002
LEVEL_MAX, KEYS_MAX, STRETCH, BLOCK_BYTES = 12, 8 << 20, 64 << 20, 8 << 10
U64_MAX = (1 << 64) - 1


class References:
    """Half of a page's references (11.1): each is used, the first time in the order of the list."""

    def __init__(self, ids, what):
        need(len(set(ids)) == len(ids), f"{what}: names something twice")
        self.ids, self.used, self.what = ids, 0, what

    def __getitem__(self, row):
        need(row <= self.used and row < len(self.ids), f"{self.what}: are not what the body names, in its order")
        self.used = max(self.used, row + 1)
        return self.ids[row]

    def end(self):
        need(self.used == len(self.ids), f"{self.what}: name what the body does not")


def references_of(data, what):
    """Pages and data chunks that a page names."""
    cursor = Cursor(data, f"{what}, references")
    pages, chunks = (cursor.list(lambda: cursor.raw(32)) for _ in range(2))
    cursor.tags()
    cursor.end()
    return pages, chunks


class Owner(NamedTuple):
    uid: int
    gid: int
    user: str
    group: str


class Extent(NamedTuple):
    """A slice of a chunk, or, without one, a hole."""
    chunk: Optional[bytes]
    offset: int
    length: int


class Entry(NamedTuple):
    kind: int
    mode: int
    owner: Owner
    mtime: tuple
    size: int
    flags: int
    digest: Optional[bytes]
    inline: bytes
    extents: list
    tree: Optional[bytes]
    tags: dict
    attributes_chunk: Optional[bytes]


class Child(NamedTuple):
    key: bytes
    page: bytes
    entries: int
    bytes: int


class Leaf(NamedTuple):
    """A leaf of extents; `is_odd`: a tag has another number of items than there are, and is passed over."""
    start: int
    extents: list
    hashes: Optional[list]
    is_odd: bool


class Page:
    """A page that was taken apart: `rows` are children, (key, entry) pairs, or one leaf of extents."""

    def __init__(self, references, body, what):
        pages, chunks = references_of(references, what)
        named = f"{what}, references"
        self.pages, self.chunks = References(pages, named), References(chunks, named)
        self.what, cursor = what, Cursor(body, what)
        self.level, self.space = cursor.u8(), one_of(cursor.u8(), (PATHS, OPAQUE, OFFSETS), "key space")
        need(self.level <= LEVEL_MAX, f"{what}: level {self.level}")
        read = self._children if self.level else self._extents if self.space == OFFSETS else self._entries
        self.rows = read(cursor)
        cursor.end()
        self.pages.end()
        self.chunks.end()

    def _keyed(self, cursor, row):
        """A list of rows, each with its key written out."""
        rows, before, written = [], None, 0
        count = cursor.u32()
        need(count <= cursor.left(), f"{self.what}: {count} rows")
        for _ in range(count):
            shared = cursor.u16()
            need(shared <= len(before or b""), f"{self.what}: a key shares more than there is")
            key = (before or b"")[:shared] + cursor.bytes16()
            need(before is None or key > before, f"{self.what}: keys are out of order")
            written += len(key)
            need(len(key) <= 65_535 and written <= KEYS_MAX, f"{self.what}: keys are too long")
            check_key(key, self.space, before is None, self.what)
            rows.append(row(key))
            before = key
        return rows

    def _children(self, cursor):
        rows = self._keyed(cursor, lambda key: Child(key, self.pages[cursor.u32()], cursor.u64(), cursor.u64()))
        cursor.tags()
        need(rows, f"{self.what}: an inner page without children")
        ids = [row.page for row in rows]
        need(len(set(ids)) == len(ids), f"{self.what}: a child stands in it twice")
        return rows

    def _entries(self, cursor):
        self.owners = [self._owner(cursor) for _ in range(cursor.u16())]
        rows = self._keyed(cursor, lambda key: (key, self._entry(cursor, key)))
        cursor.tags()
        return rows

    @staticmethod
    def _owner(cursor):
        owner = Owner(cursor.u32(), cursor.u32(), cursor.text16(), cursor.text16())
        cursor.tags()
        return owner

    def _entry(self, cursor, key):
        what = f"{self.what}, {key!r}"
        kind, mode, owner = one_of(cursor.u8(), KINDS, "kind of an entry"), cursor.u16(), cursor.u16()
        need(mode <= 0o7777 and owner < len(self.owners), f"{what}: mode or owner")
        mtime, size, flags = cursor.time(), cursor.u64(), cursor.u8()
        need(flags < 8, f"{what}: flags {flags}")
        digest = cursor.raw(32) if flags & 4 else None
        need((digest is not None) == (kind == FILE), f"{what}: exactly files have a digest")
        inline, extents, tree = self._content(cursor, what, kind, size)
        tags = cursor.tags((TARGET, DEVICE, ATTRIBUTES, ATTRIBUTES_CHUNK))
        chunk = self._check_tags(tags, kind, what)
        return Entry(kind, mode, self.owners[owner], mtime, size, flags, digest, inline, extents, tree, tags, chunk)

    def _content(self, cursor, what, kind, size):
        form = one_of(cursor.u8(), (NOTHING, INLINE, EXTENTS, TREE), "form of content")
        need(form == NOTHING or kind == FILE, f"{what}: has content")
        if form == INLINE:
            inline = cursor.bytes16()
            need(1 <= len(inline) <= 512 and len(inline) == size, f"{what}: inline content")
            return inline, [], None
        if form == EXTENTS:
            count = cursor.u8()
            need(1 <= count <= 16, f"{what}: {count} extents")
            extents = [self._extent(cursor) for _ in range(count)]
            need(sum(extent.length for extent in extents) == size, f"{what}: its extents are not its size")
            return b"", extents, None
        if form == TREE:
            return b"", [], self.pages[cursor.u32()]
        need(size == 0, f"{what}: has a size and no content")
        return b"", [], None

    def _extent(self, cursor):
        form = one_of(cursor.u8(), (0, 1), "form of an extent")
        extent = Extent(None, 0, cursor.u64()) if form else Extent(
            self.chunks[cursor.u32()], cursor.u32(), cursor.u32())
        need(extent.length > 0, f"{self.what}: an empty extent")
        return extent

    def _check_tags(self, tags, kind, what):
        """The tags that readers know (11.4); returns the chunk of long attributes."""
        for tag, width in ((BIRTH, 12), (INODE_FLAGS, 4), (LINK_GROUP, 16), (DEVICE, 8), (ATTRIBUTES_CHUNK, 4)):
            need(tag not in tags or len(tags[tag]) == width, f"{what}: length of tag {tag:04x}")
        need(bool(tags.get(TARGET)) == (TARGET in tags) == (kind == SYMLINK), f"{what}: target of a link")
        need((DEVICE in tags) == (kind in (CHARACTER, BLOCK)), f"{what}: device")
        need(not (ATTRIBUTES in tags and ATTRIBUTES_CHUNK in tags), f"{what}: two lists of attributes")
        if ATTRIBUTES in tags:
            need(len(tags[ATTRIBUTES]) <= 1 << 10, f"{what}: attributes are too long")
            attributes(tags[ATTRIBUTES], what)
        if ATTRIBUTES_CHUNK in tags:
            return self.chunks[struct.unpack("<I", tags[ATTRIBUTES_CHUNK])[0]]
        return None

    def _extents(self, cursor):
        start, extents = cursor.u64(), cursor.list(lambda: self._extent(cursor))
        tags, at = cursor.tags(), start
        for extent in extents:
            need(at // STRETCH == start // STRETCH, f"{self.what}: an extent of another stretch")
            at += extent.length
        hashes, lengths = tags.get(BLOCK_HASHES), tags.get(CHUNK_LENGTHS)
        blocks, chunks = -(-(at - start) // BLOCK_BYTES), len(self.chunks.ids)
        is_odd = len(hashes or b"") not in (0, 8 * blocks) or len(lengths or b"") not in (0, 4 * chunks)
        if hashes is not None:
            hashes = None if is_odd else [hashes[row:row + 8] for row in range(0, len(hashes), 8)]
        return [Leaf(start, extents, hashes, is_odd)]


def check_key(key, space, is_first, what):
    """The keys of a tree of files are paths, and lead nowhere else (11.2)."""
    need(space != OFFSETS or len(key) == 8, f"{what}: the key of an offset")
    if space != PATHS:
        return
    need(key or is_first, f"{what}: an empty key")
    parts = key.split(b"\0") if key else []
    need(not any(part in (b"", b".", b"..") or b"/" in part for part in parts), f"{what}: {key!r} is no path")


def attributes(data, what):
    """Extended attributes, names ascending."""
    cursor = Cursor(data, f"{what}, attributes")
    found = cursor.list(lambda: (cursor.bytes16(), cursor.bytes32(4 << 20)))
    cursor.end()
    names = [name for name, _ in found]
    need(names == sorted(set(names)), f"{what}: attributes are out of order")
    return found


class Digest:
    """The digest of a file (11.6), of its runs in order; holes are not written out."""

    def __init__(self):
        self.data, self.runs = hasher(), []

    def add(self, is_hole, length, data=b""):
        self.data.update(data)
        if self.runs and self.runs[-1][0] == is_hole:
            length += self.runs.pop()[1]
        self.runs.append((is_hole, length))

    def value(self):
        digest = self.data.digest()
        if not any(is_hole for is_hole, _ in self.runs):
            return digest
        shape = b"".join(struct.pack("<BQ", is_hole, length) for is_hole, length in self.runs)
        return hash(b"holdfast 1 holes" + digest + shape)


class Tree:
    """Goes through a tree, page by page, and checks what pages say of those below them."""

    def __init__(self, open_page):
        self.open_page = open_page

    def rows(self, root, space):
        """The rows of all leaves, in their order."""
        page = self._page(root, space)
        yield from self._below(page, None)

    def _page(self, id, space):
        page = Page(*self.open_page(id), f"page {id.hex()[:16]}")
        need(page.space == space, f"{page.what}: key space {page.space}")
        return page

    def _below(self, page, limit):
        """`limit`: the key that all keys below stay under."""
        if page.level == 0:
            keys = [first_key(row) for row in page.rows]
            need(limit is None or not keys or keys[-1] < limit, f"{page.what}: reaches the next page's keys")
            yield from page.rows
            return
        for row, after in zip(page.rows, page.rows[1:] + [None]):
            child = self._page(row.page, page.space)
            need(child.level == page.level - 1, f"{child.what}: level {child.level}")
            need(child.rows and first_key(child.rows[0]) == row.key, f"{child.what}: its first key")
            entries = size = 0
            for found in self._below(child, after.key if after else limit):
                entries, size = entries + weight(found)[0], size + weight(found)[1]
                yield found
            stated = (row.entries, row.bytes)
            need(stated == (entries, min(size, U64_MAX)), f"{child.what}: holds other counts")


def first_key(row):
    return row.start.to_bytes(8, "big") if isinstance(row, Leaf) else row[0]


def weight(row):
    """Entries (or extents) and bytes of a row of a leaf."""
    if isinstance(row, Leaf):
        return len(row.extents), sum(extent.length for extent in row.extents)
    return 1, row[1].size
