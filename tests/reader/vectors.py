"""Computes the vectors of the format anew, each from its inputs as FORMAT.md 21 states them."""

import hashlib
import json
import os

import chunks
import clear
import cutting
import keys
import records
import roots
import sessions
from audit import block_hashes
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from frame import SIGNED, Object, open_section, seal_section, signature_of
from index import Delta, Segment
from kyber_py.ml_kem import ML_KEM_768
from notation import Cursor, Refused, need, u32, u64
from packs import Pack
from pages import (ATTRIBUTES, BIRTH, DEVICE, FILE, INODE_FLAGS, LINK_GROUP, OFFSETS, OPAQUE, PATHS, TARGET, Entry,
                   Extent, Owner, Page, attributes)
from places import PACK, pack_id, pack_name, parse
from primitives import (KEM_CIPHERTEXT, ZERO_NONCE, argon2id, combine, decapsulate, derive, hash, hash16, keyed, seal,
                        short_id, signing_public, unseal)

REPOSITORY, MEMBER, SESSION, OBJECT = (bytes([byte]) * 16 for byte in (0x11, 0x22, 0x33, 0x44))
K_ID, K_CDC, K_IDX, K_REF, SEED, DATA_SECRET, META_SECRET = (
    bytes([byte]) * 32 for byte in (0xA1, 0xA2, 0xA3, 0xA4, 0xB1, 0xC1, 0xC2))
DATA_PACK = pack_id(MEMBER, SESSION, 1, 0x01020304)
TREE_PACK = pack_id(MEMBER, SESSION, 2, 1)
KEM_OWNER, KEM_DATA, KEM_META = range(3)


def noise(seed, length):
    """The extended output of BLAKE3."""
    return blake3(seed.encode()).digest(length=length)


class Book:
    """A file of vectors; each is taken once, and none is left."""

    def __init__(self, folder, name):
        with open(os.path.join(folder, f"{name}.json"), "rb") as file:
            self.name, self.values = name, json.load(file)
        self.count = len(self.values)

    def text(self, key):
        need(key in self.values, f"{self.name}: {key} is missing")
        return self.values.pop(key)

    def bytes(self, key):
        return bytes.fromhex(self.text(key))

    def same(self, key, computed):
        need(self.bytes(key) == computed, f"{self.name}: {key} is another")

    def same_text(self, key, computed):
        need(self.text(key) == computed, f"{self.name}: {key} is another")

    def close(self):
        need(not self.values, f"{self.name}: nothing computes {list(self.values)}")
        return self.count


class Kems:
    """The key pairs of `xwing.json`, as secret keys of the format."""

    def __init__(self, folder):
        with open(os.path.join(folder, "xwing.json"), "rb") as file:
            self.rows = json.load(file)
        for row in self.rows:
            row.update((name, bytes.fromhex(value)) for name, value in row.items() if name != "origin")

    def secret(self, at):
        row = self.rows[at]
        return row["mlkem_secret"] + row["x25519_secret"] + row["public"]

    def check(self):
        for at, row in enumerate(self.rows):
            self._row(row, self.secret(at))
        return len(self.rows)

    @staticmethod
    def _row(row, secret):
        origin = row["origin"]
        expanded = hashlib.shake_256(row["seed"]).digest(96)
        public, mlkem = ML_KEM_768._keygen_internal(expanded[:32], expanded[32:64])
        x25519 = expanded[64:]
        need((mlkem, x25519) == (row["mlkem_secret"], row["x25519_secret"]), f"{origin}: secret keys")
        x25519_public = X25519PrivateKey.from_private_bytes(x25519).public_key().public_bytes_raw()
        need(public + x25519_public == row["public"], f"{origin}: public key")
        # The randomness of the sender: 32 bytes for ML-KEM, 32 for the ephemeral X25519 key.
        message, ephemeral = row["eseed"][:32], X25519PrivateKey.from_private_bytes(row["eseed"][32:])
        need(row["ephemeral"] == row["eseed"][32:], f"{origin}: ephemeral key")
        shared, ciphertext = ML_KEM_768._encaps_internal(public, message)
        x25519_ciphertext = ephemeral.public_key().public_bytes_raw()
        x25519_shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(x25519_public))
        need(ciphertext + x25519_ciphertext == row["ciphertext"], f"{origin}: ciphertext")
        need(shared == row["mlkem_shared"], f"{origin}: secret of ML-KEM")
        joined = combine(shared, x25519_shared, x25519_ciphertext, x25519_public)
        need(joined == row["shared"] == decapsulate(secret, row["ciphertext"], origin), f"{origin}: shared secret")


# Keys and identifiers.

def check_keys(book, kems):
    book.same("derive, no part", derive("holdfast 1 section"))
    book.same("derive, parts ab and c", derive("holdfast 1 section", b"ab", b"c"))
    book.same("keyed hash of abc under a1", keyed(K_ID, b"abc"))
    by_id = lambda what, text: keyed(derive(f"holdfast 1 id {what}", K_ID), text)
    book.same("chunk id of abc, data", chunks.data_id(K_ID, b"abc"))
    # Of the page's text as a whole: here it is the three letters.
    book.same("chunk id of abc, page", by_id("page", b"abc"))
    book.same("log content hash of abc", by_id("wal", b"abc"))
    framed = b"".join(u32(len(text)) + text for text in (b"host", b"files", b"/srv"))
    book.same("stream id of host, files, /srv", by_id("stream", framed)[:16])
    book.same("link group of a/b", by_id("link group", b"a\0b")[:16])
    book.same("block hash of 8 KiB of zeros", block_hashes(K_ID, bytes(8192))[0])
    book.same("page cut hash of a/b", keyed(derive("holdfast 1 page cut", K_CDC), b"a\0b"))
    book.same("object id of the data pack", hash16(DATA_PACK))
    book.same_text("name of the data pack", pack_name(DATA_PACK))
    book.same_text("name of the tree pack", pack_name(TREE_PACK))
    book.same("session id of member 0102..10, random 66", keys.session_id(bytes(range(1, 17)), bytes([0x66]) * 8))
    check_bundle(book, kems)
    row = check_session_row(book.bytes("session row"), kems)
    need(row.owner == MEMBER + SESSION and row.key_epoch == 0, "session row: whose it is")


def plain_bundle(kems):
    values = [K_ID, K_CDC, K_IDX, K_REF, *(kems.rows[at]["public"] for at in (KEM_DATA, KEM_META)),
              *(kems.secret(at) for at in (KEM_DATA, KEM_META))]
    return u32(0) + cutting.tags({0x8001 + at: value for at, value in enumerate(values)})


def check_bundle(book, kems):
    plain = plain_bundle(kems)
    book.same("key bundle, plain", plain)
    sealed = book.bytes("key bundle, sealed to the owner")
    identity = keys.Identity(MEMBER, SEED, signing_public(SEED), kems.secret(KEM_OWNER))
    opened = keys.open_bundle(identity, REPOSITORY, 0, sealed, "key bundle")
    need((opened.k_id, opened.k_ref) == (K_ID, K_REF), "key bundle: other keys")
    shared = decapsulate(identity.kem, sealed[:KEM_CIPHERTEXT], "key bundle")
    key = derive("holdfast 1 bundle", shared, REPOSITORY)
    need(sealed[KEM_CIPHERTEXT:] == seal(key, ZERO_NONCE, b"", plain), "key bundle: sealed otherwise")


def check_session_row(data, kems):
    cursor = Cursor(data, "session row")
    row = keys.session_row(cursor)
    cursor.end()
    for klass, kem, secret in ((1, KEM_DATA, DATA_SECRET), (2, KEM_META, META_SECRET)):
        check_wrapped(row.secrets[klass], kems.secret(kem), klass, secret)
    return row


def check_wrapped(wrap, kem_secret, klass, secret, session=SESSION):
    opened = keys.unwrap(wrap, kem_secret, REPOSITORY, MEMBER, session, klass, "wrapped secret")
    shared = decapsulate(kem_secret, wrap.ciphertext, "wrapped secret")
    key = derive("holdfast 1 session wrap", shared, REPOSITORY, MEMBER, session, bytes([klass]))
    again = keys.Wrapped(derive("holdfast 1 session commitment", secret), short_id(kem_secret[2432:]),
                         wrap.ciphertext, seal(key, ZERO_NONCE, b"", secret))
    need(opened == secret and again == wrap, "wrapped secret: is another")


# Frames and sections.

def header(kind):
    fields = bytes.fromhex("894846440D0A1A0A") + bytes([kind, 0, 1, 1]) + u32(0) + u32(0) + u32(100) + u32(0)
    return fields + REPOSITORY + OBJECT + u64(7) + MEMBER + bytes([0x55]) * 16


def check_sections(book):
    head = header(5)
    book.same("header", head)
    # A plaintext is a flag, then the payload; frames are taken as they are stored.
    for name, payload in (("empty", b""), ("raw", b"abc"), ("compressed", bytes([7]) * 5000)):
        sealed = Cursor(book.bytes(name), name).bytes32()
        need(open_section(K_REF, head, "begin", sealed, name, len(sealed)) == payload, f"section {name}")
        need(reseal(K_REF, head, "begin", sealed) == sealed, f"section {name}: sealed otherwise")
        need(payload == bytes([7]) * 5000 or seal_section(K_REF, head, "begin", b"\0" + payload) == sealed, name)
    book.same("public key of the signer", signing_public(SEED))
    covered = header(7) + b"body"
    signed = covered + signature_of(SEED, covered)
    book.same("signed object", signed + hash(signed))
    unsigned = header(8) + b"body"
    book.same("unsigned object", unsigned + hash(unsigned))
    book.same("tagged list", cutting.tags({0x0102: b"ab", 0x8003: b""}))


def reseal(key, head, label, sealed):
    opener = derive("holdfast 1 section", key, head, label.encode())
    return seal_section(key, head, label, unseal(opener, sealed[:12], head, sealed[12:], label))


def opened(data, kind):
    """An object of the vectors; its signature and the sections at this place of its body are made anew."""
    found = Object(data, "a vector")
    need(found.header.bytes == header(kind), "a vector: its header")
    if kind in SIGNED:
        need(found.signature == signature_of(SEED, found.covered), "a vector: its signature")
    return found


def section_again(found, key, label):
    """Seals the section anew that comes next, and leaves it for its reader."""
    at = found.body.at
    sealed = found.body.bytes32()
    need(reseal(key, found.header.bytes, label, sealed) == sealed, f"section {label}: sealed otherwise")
    found.body.at = at
    return found


# Chunks.

def check_chunks(book):
    data_keys = chunks.PackKeys(REPOSITORY, DATA_PACK, DATA_SECRET, K_REF)
    tree_keys = chunks.PackKeys(REPOSITORY, TREE_PACK, META_SECRET, K_REF)
    for name, made in (("raw", noise("raw", 100)), ("compressed", b"abcdefgh" * 200)):
        front = f"data, {name}, "
        book.same(front + "plaintext", made)
        id = chunks.data_id(K_ID, made)
        book.same(front + "id", id)
        check_chunk(book, front, data_keys, id, chunks.DATA, b"", made)
    references, body = noise("refs", 72), b"a body of a page " * 30
    book.same("page, refs", references)
    book.same("page, body", body)
    id = chunks.page_id(K_ID, references, body)
    book.same("page, id", id)
    check_chunk(book, "page, ", tree_keys, id, chunks.PAGE, references, body)


def check_chunk(book, front, pack_keys, id, kind, references, plain):
    stored = int.from_bytes(book.bytes(front + "stored length"), "little")
    sealed = book.bytes(front + "sealed")
    found = chunks.open_checked(pack_keys, K_ID, id, kind, stored, sealed, front)
    need(found == (references, plain), f"{front}: holds something else")
    inner = sealed[4 + len(references) + 16:] if kind == chunks.PAGE else sealed
    payload = plain
    if stored & chunks.IS_FRAME:
        nonce = keyed(pack_keys.nonce_key, id + u32(stored))[:12]
        payload = unseal(pack_keys.key, nonce, REPOSITORY + pack_keys.pack + bytes([kind]) + id, inner, front)
    need(pack_keys.seal(id, kind, stored, references, payload) == sealed, f"{front}: sealed otherwise")


# Cuts.

def check_cuts(book):
    seed = book.text("the stream: 8 MiB of the extended BLAKE3 output for")
    stream = noise(seed, 8 << 20)
    book.same("digest of the stream", hash(stream))
    gear = cutting.gear_table(K_CDC)
    book.same("gear entry 0, little-endian", u64(gear[0]))
    book.same("gear entry 255, little-endian", u64(gear[255]))
    lengths = " ".join(map(str, cutting.chunk_lengths(K_CDC, stream)))
    book.same_text("chunk lengths of the stream", lengths)
    closed, bundle = [], 0
    for number in range(2000):
        size = 500 + number * 7919 % 20_000
        bundle += size
        if cutting.closes_bundle(K_CDC, bundle, hash(u32(number)), size):
            closed.append(str(number))
            bundle = 0
    book.same_text("files after which bundles close, of 2000; file n has 500 + 7919 n mod 20000 bytes and the digest "
                   "of n (u32)", " ".join(closed))


# Entries and pages.

OWNER = Owner(1000, 100, "ann", "users")


def plain_file(key, size=0, **other):
    made = Entry(FILE, 0o640, OWNER, (1_700_000_000, 123_456_789), size, 4, hash(key), b"", [], None, {}, None)
    return made._replace(**other)


def special(kind, known=None, mode=0o640):
    return plain_file(b"")._replace(kind=kind, mode=mode, flags=0, digest=None, tags=known or {})


def slice_of(byte, offset, length):
    return Extent(bytes([byte]) * 32, offset, length)


def shapes():
    """One entry for each shape that an entry can have, with its key."""
    key, pair = b"a\0b", [(b"user.a", b"1"), (b"user.b", b"\x00\xff")]
    every = {BIRTH: cutting.time((-1, 999_999_999)), INODE_FLAGS: u32(0x10), LINK_GROUP: b"\x77" * 16,
             0x0777: b"later", ATTRIBUTES: encode_attributes(pair)}
    hole = Extent(None, 0, 1 << 40)
    return [
        ("empty file", key, plain_file(key)),
        ("inline file", b"a\0b\xff", plain_file(b"a\0b\xff", 3, inline=b"abc")),
        ("bundle slice", key, plain_file(key, 900, extents=[slice_of(1, 5, 900)])),
        ("extents with a hole", key, plain_file(
            key, (1 << 40) + 4101, extents=[slice_of(1, 0, 4096), hole, slice_of(1, 4096, 5)])),
        ("extent tree", key, plain_file(key, 1 << 33, tree=b"\x09" * 32)),
        ("every attribute", key, plain_file(key, 3, flags=7, inline=b"abc", tags=every)),
        ("extended attributes in a chunk", key, plain_file(key, attributes_chunk=b"\x08" * 32)),
        ("directory", key, special(2, mode=0o1777)),
        ("symbolic link", key, special(3, {TARGET: b"../\xfe"})),
        ("fifo", key, special(4)),
        ("socket", key, special(5)),
        ("character device", key, special(6, {DEVICE: u32(1) + u32(3)})),
        ("block device", key, special(7, {DEVICE: u32(259) + u32(70_000)})),
    ]


def encode_attributes(pairs):
    return u32(len(pairs)) + b"".join(cutting.bytes16(name) + cutting.bytes32(value) for name, value in pairs)


def alone(key, entry):
    """An entry alone: references, owners, key, entry."""
    draft = cutting.Draft(0, PATHS)
    row = cutting.encode_entry(entry, draft)
    references = draft.pages.encode() + draft.chunks.encode() + cutting.tags({})
    return cutting.bytes32(references) + cutting.owners(draft.owners) + cutting.bytes16(key) + row


def check_entries(book):
    for name, key, entry in shapes():
        book.same(name, alone(key, entry))
    pairs = [(b"user.a", b"1"), (b"user.b", b"\x02" * 5)]
    stored = book.bytes("extended attributes")
    need(stored == encode_attributes(pairs) and attributes(stored, "a vector") == pairs, "extended attributes")


def page_lines(pages):
    lines = []
    for level, rows, references, body, id in pages:
        Page(references, body, "a vector")
        lines.append(f"{level}:{rows}:{len(references)}+{len(body)}:{id[:8].hex()}")
    return " ".join(lines)


def check_pages(book):
    check_many_files(book)
    empty = cutting.Builder(K_ID, K_CDC, OPAQUE)
    book.same("empty tree of opaque keys, root", empty.finish())
    book.same("empty tree of opaque keys, refs", empty.emitted[0][2])
    book.same("empty tree of opaque keys, body", empty.emitted[0][3])
    check_many_extents(book)
    leaf = cutting.Builder(K_ID, K_CDC, PATHS)
    for number, (_, _, entry) in enumerate(shapes()):
        leaf.entry(f"folder\0{number:02}".encode(), entry)
    leaf.finish()
    book.same("leaf with every shape, refs", leaf.emitted[0][2])
    book.same("leaf with every shape, body", leaf.emitted[0][3])
    check_leaves_with_blocks(book)


def check_many_files(book):
    builder = cutting.Builder(K_ID, K_CDC, PATHS)
    for number in range(5000):
        key, size = f"folder {number // 100:02}\0file {number:06}".encode(), 600 + number
        builder.entry(key, plain_file(key, size, extents=[slice_of(number % 256, number, size)]))
    book.same("5000 files, root", builder.finish())
    book.same_text("5000 files, pages as level:rows:refs+body bytes:front of id", page_lines(builder.emitted))


def check_many_extents(book):
    builder = cutting.Builder(K_ID, K_CDC, OFFSETS)
    for number in range(3000):
        hole = Extent(None, 0, 200 << 20)
        builder.extent(hole if number % 5 == 4 else slice_of(number % 256, 0, 1 << 20))
    book.same("3000 extents, root", builder.finish())
    book.same_text("3000 extents, last pages", page_lines(builder.emitted[-9:]))


def leaf_of_extents(start, extents, known):
    draft = cutting.Draft(0, OFFSETS)
    rows = b"".join(cutting.encode_extent(extent, draft.chunks) for extent in extents)
    references = draft.pages.encode() + draft.chunks.encode() + cutting.tags({})
    return references, bytes([0, OFFSETS]) + u64(start) + u32(len(extents)) + rows + cutting.tags(known)


def check_leaves_with_blocks(book):
    extents = [slice_of(1, 0, 16_384), Extent(None, 0, 8192)]
    references, body = leaf_of_extents(64 << 20, extents, {1: u64(1) + u64(2) + u64(3)})
    book.same("leaf of extents with blocks, refs", references)
    book.same("leaf of extents with blocks, body", body)
    content = noise("a database file", 40_000)
    changed = chunks.data_id(K_ID, content[16_384:24_576])
    extents = [slice_of(1, 0, 16_384), Extent(changed, 0, 8192), slice_of(1, 24_576, 15_424)]
    known = {1: b"".join(block_hashes(K_ID, content)), 2: u32(40_000) + u32(8192)}
    references, body = leaf_of_extents(0, extents, known)
    book.same("leaf of a database file, refs", references)
    book.same("leaf of a database file, body", body)
    [leaf] = Page(references, body, "a vector").rows
    need(leaf.extents == extents and leaf.hashes and not leaf.is_odd, "leaf of a database file")


# Objects.

def check_session_objects(book):
    begin = sessions.begin(section_again(opened(book.bytes("5 begin"), 5), K_REF, "begin"), K_REF)
    need(begin == (b"\x71" * 16, b"\x81" * 16, b"\x82" * 16, 4711, 99, (1_700_000_000, 5)), "begin")
    pins = sessions.pins(section_again(opened(book.bytes("6 pins"), 6), K_REF, "pins"), K_REF)
    need(pins == ([b"\x73" * 16], [DATA_PACK, TREE_PACK]), "pins")
    found = opened(book.bytes("7 end, commit"), 7)
    commit = sessions.end(found, K_REF, lambda row: META_SECRET)
    need((commit.repository_hash, commit.deltas, commit.pins) == (b"\x75" * 32, 3, 2), "commit")
    check_summary(commit.summary)
    expected = ("0.1.0", "backup /srv /etc", [(b"/srv/\xff", "denied")], b"\x01\x02\x03", [("rows", "7")])
    need(commit.details == expected, "details")
    commit = sessions.end(opened(book.bytes("7 end, commit that needs a log"), 7), K_REF, lambda row: META_SECRET)
    need(commit.summary.log == sessions.NeededLog(9, 1, 5, 6, 16 << 20), "log that is needed")
    need(commit.summary.kind == "postgres", "kind of a summary with a log")
    commit = sessions.end(opened(book.bytes("7 end, commit of another's words"), 7), K_REF, lambda row: META_SECRET)
    need(commit.summary.said_by == sessions.SaidBy(b"\x66" * 16, (1_700_000_100, 6)), "whose words it is")
    reason = sessions.end(opened(book.bytes("7 end, abort"), 7), K_REF, None)
    need(reason == "its process is gone", "abort")


def check_summary(summary):
    expected = sessions.Summary(
        b"\x71" * 16, "host", "files", "shop/tree", [b"/srv/\xff", b"/etc"], ["a", "b"], (1_700_000_000, 1),
        (1_700_000_060, 2), tuple(range(1, 12)), True, 1, b"\x72" * 32, 0, [b"\x74" * 16], None, None)
    need(summary == expected, "summary")


def check_index_objects(book):
    data, place = book.bytes("1 pack"), parse(pack_name(DATA_PACK))
    found = Object(data, "pack").in_place(REPOSITORY, place)
    need(place.kind == PACK, "pack: its place")
    pack = Pack(data, found, place, lambda epoch: K_IDX)
    pack_keys = chunks.PackKeys(REPOSITORY, DATA_PACK, DATA_SECRET, K_REF)
    plains = [chunks.open_checked(pack_keys, K_ID, row.id, 1, row.stored, pack.sealed(row), "pack")[1]
              for row in pack.rows]
    need(plains == [b"one", b"", bytes([7]) * 3000], "pack: its chunks")
    delta = Delta(section_at(opened(book.bytes("2 index delta"), 2), 4, K_IDX, "index delta"), K_IDX)
    need(delta.number == 3, "index delta")
    segment = Segment(opened(book.bytes("3 index segment"), 3), K_IDX)
    need((segment.bits, segment.value, segment.level) == (4, 0, 2), "index segment")
    total = book.bytes("sum of the tables")
    need(total == segment.sum == delta.tables.sum, "sum of the tables")
    keys_found = [row.key[0] for row in segment.tables.chunks]
    need(keys_found == [3, 3, 9] and segment.tables.chunks == delta.tables.chunks, "rows of the index")


def section_at(found, at, key, label):
    """The same as `section_again` for a section that lies so many bytes into the body."""
    found.body.at = at
    section_again(found, key, label)
    found.body.at = 0
    return found


def check_maintenance_objects(book):
    root = roots.Root(section_again(opened(book.bytes("4 root"), 4), K_REF, "root"), K_REF)
    need((root.number, root.fence_pending, root.fence, root.members) == (12, 9, 8, 4), "root")
    need([row.kind for row in root.lists] == list(range(1, 7)), "root: lists")
    scopes = [(hold[1], hold[2]) for hold in root.holds]
    need(scopes == [(1, b""), (2, b"shop/db"), (3, SESSION)], "root: holds")
    need(root.watched == [(SESSION, 3, (0, 0))], "root: watched sessions")
    need(root.cut_offs == roots.CutOffs({}, None), "root: cut-offs")
    members = {b"\x23" * 16: (0, bytes(32)), b"\x24" * 16: (7, b"\x91" * 32)}
    log = [roots.KnownLog("0000000000000009/00000001-0404040404040404",
                          [("000000010000000000000001", "000000010000000000000002")],
                          [("00000002.history", 0), ("000000010000000000000003", 2)])]
    for name, known in (("evidence", None), ("evidence and log", log)):
        found = section_again(opened(book.bytes(f"4 root, {name} cut off"), 4), K_REF, "root")
        need(roots.Root(found, K_REF).cut_offs == roots.CutOffs(members, known), f"root, {name} cut off")
    root = roots.Root(section_again(opened(book.bytes("4 root, logs dated"), 4), K_REF, "root"), K_REF)
    seen = (1_700_000_200, 7)
    parts = [roots.DatedPart(1, 4, 0, True, seen), roots.DatedPart(5, 5, 2, False, seen)]
    need(root.log_sources == {9: ["shop/db"]}, "root: sources of logs")
    need(root.dated_logs == {"0000000000000009/00000001-0404040404040404": parts}, "root: dated logs")
    need(root.erased == [bytes([0x31]) * 16], "root: erased domains")
    segment = opened(book.bytes("10 snapshot segment"), 10)
    rows = roots.snapshot_rows(section_again(segment, K_REF, "snapshots"), K_REF)
    need([row.session for row in rows] == [b"\x01" * 16, b"\x02" * 16], "snapshot segment")
    for row in rows:
        check_summary(row.summary)
    for kind, name in enumerate(("condemned", "dead", "lost", "quarantined", "absorbed", "forgotten"), 1):
        found = section_again(opened(book.bytes(f"11 list, {name}"), 11), K_IDX, "list")
        width = roots.WIDTHS[kind]
        ids = sorted((DATA_PACK, TREE_PACK)) if width == 37 else [b"\x01" * width, b"\x02" * width]
        need(roots.list_items(found, K_IDX) == (kind, ids), f"list, {name}")


def check_record_objects(book, kems):
    key_file = noise("key file", 64)
    book.same("key file", key_file)
    for name, secret in (("8 key slot, password `golden`", b"golden"), ("8 key slot, key file", key_file)):
        slot = keys.Slot(opened(book.bytes(name), 8))
        identity = slot.open(secret)
        need(identity == (MEMBER, SEED, signing_public(SEED), kems.secret(KEM_OWNER)), name)
        need(slot.salt == b"\x91" * 32 and slot.open(secret + b"x") is None, name)
    member = opened(book.bytes("9 member"), 9)
    entry = keys.Entry(member)
    need((entry.number, entry.action, entry.member, entry.role, entry.signing) ==
         (0, keys.ADMIT, MEMBER, keys.OWNER, signing_public(SEED)), "member entry")
    book.same("object id of entry 1", bytes.fromhex(keys.name_of_entry(1, member.hash).split("-")[1]))
    check_log(opened(book.bytes("12 wal"), 12), kems.secret(KEM_DATA))
    record = records.evidence(section_at(opened(book.bytes("13 evidence"), 13), 40, K_REF, "evidence"), K_REF)
    need(record == (1, b"\x03" * 32, (1_700_000_000, 5), "drill", b'{"verdict":"pass"}'), "evidence")
    recover = book.bytes("digest of RECOVER.txt")
    stated = clear.read(book.bytes("holdfast.json"), recover)
    need(stated.repository == REPOSITORY and stated.slot == "92" * 16, "holdfast.json")


def check_log(found, kem, session=SESSION):
    """Its secret is that of the session: in a repository each log segment has its own."""
    record, plain = records.log(found), b"a segment of a log " * 50
    need(records.log_content(found, record, DATA_SECRET, K_ID) == plain, "wal")
    check_wrapped(record.secret, kem, 1, DATA_SECRET, session)
    key = derive("holdfast 1 wal", DATA_SECRET, found.header.bytes)
    payload = unseal(key, record.content[:12], record.content, record.sealed, "wal")
    need(seal(key, record.content[:12], record.content, payload) == record.sealed, "wal: sealed otherwise")


# Members, after a rotation and a removal.

NEXT_K_IDX, NEXT_K_REF = bytes([0xA5]) * 32, bytes([0xA6]) * 32
WRITER, LOG_READER = b"\x66" * 16, b"\x77" * 16
ENTRIES = ("the owner", "a writer", "who fetches logs", "the owner, rotated", "the writer, rotated",
           "who fetches logs, rotated", "the writer is removed")
BROKEN = ("the writer gives itself keys", "it follows another entry", "the writer has another signing key",
          "the last owner is removed")


def chain(objects):
    """The chain that follows from these objects, each under the name that it has to have."""
    found = [Object(data, f"entry {at}") for at, data in enumerate(objects)]
    first = found[0].header.id.hex()
    named = {f"members/{at:016x}-{one.header.id.hex()}": one for at, one in enumerate(found)}
    need(len(named) == len(found), "entries of one name")
    members = keys.Members(named.__getitem__, named.__contains__, first, signing_public(SEED))
    need(members.count == len(found), "an entry is under another name")
    return members


def check_members(book, kems):
    entries = [book.bytes(f"9 member, entry {at}: {name}") for at, name in enumerate(ENTRIES)]
    members = [chain(entries[:count]) for count in range(1, len(entries) + 1)]
    book.same_text("agreed key epochs after each entry", " ".join(str(one.agreed_epoch()) for one in members))
    need(members[-1].role(WRITER) is None and members[-2].role(WRITER) == keys.WRITER, "the writer")
    for name in BROKEN:
        refused(name, lambda: chain(entries[:6] + [book.bytes(f"broken: {name}")]))
    epochs = [(K_IDX, K_REF, None), (NEXT_K_IDX, NEXT_K_REF, 1)]
    secrets = [(1, 2), (3, 4)]
    for name, member, kem in (("owner", MEMBER, 0), ("who fetches logs", LOG_READER, 4)):
        identity = keys.Identity(member, None, None, kems.secret(kem))
        held = members[-1].bundles(identity, REPOSITORY)
        need(sorted(held) == [0, 1], f"{name}: epochs")
        for epoch, (k_idx, k_ref, logs) in enumerate(epochs):
            own = {0x800A: kems.secret(logs)} if logs else {}
            if member == MEMBER:
                pairs = [kems.secret(at) for at in secrets[epoch]]
                values = (K_ID, K_CDC, k_idx, k_ref, *(pair[2432:] for pair in pairs), *pairs)
                own.update({0x8001 + at: value for at, value in enumerate(values)})
                own.update({0x8009: kems.secret(logs)[2432:]} if logs else {})
            plain = u32(epoch) + cutting.tags(dict(sorted(own.items())))
            book.same(f"key bundle {epoch}, plain, {name}", plain)
            need(keys.bundle(plain, epoch, name) == held[epoch], f"{name}: bundle {epoch}")
    moved = book.bytes("broken: bundle 1 of who fetches logs, as 2")
    refused("a bundle of another epoch", lambda: keys.open_bundle(identity, REPOSITORY, 2, moved, "key bundle"))
    check_log_of_members(Object(book.bytes("12 wal, for who fetches logs"), "wal"), held[1].secret)
    check_sealed_slot(book, kems)


def check_log_of_members(found, secret_keys):
    """Who holds the key of logs alone opens it."""
    need(found.header.key_epoch == 1 and list(secret_keys) == [keys.LOGS], "wal: its keys")
    found.verify(signing_public(SEED))
    record = records.log(found)
    need(keys.log_key(record.secret, secret_keys) == secret_keys[keys.LOGS], "wal: sealed to another key")
    found.body.at = 0
    check_log(found, secret_keys[keys.LOGS], OBJECT)


def check_sealed_slot(book, kems):
    data = book.bytes("8 key slot, key file sealed by a server")
    slot = keys.Slot(opened(data, 8))
    need(slot.transit == ("transit/holdfast", "vault:v1:c2VhbGVk"), "slot: what the server sealed")
    need(slot.open(noise("key file", 64)).kem == kems.secret(KEM_OWNER), "slot: its keys")
    body = book.bytes("broken: body of the key slot with another text of the server")
    covered = header(8) + body
    other = keys.Slot(opened(covered + hash(covered), 8))
    need(other.transit == ("transit/holdfast", "vault:v1:d2VhbGVk"), "slot: what another sealed")
    refused("a slot with another text", lambda: other.open(noise("key file", 64)))


def refused(name, work):
    """Whatever is broken must not pass."""
    try:
        work()
    except Refused:
        return
    need(False, f"not refused: {name}")


def check_argon2id(folder):
    with open(os.path.join(folder, "argon2id.hex"), encoding="ascii") as file:
        stated = bytes.fromhex(file.read().strip())
    computed = argon2id(b"password", b"0123456789abcdef0123456789abcdef", 64, 3, 4)
    need(computed == stated, "argon2id")
    return 1


def run(folder):
    """Computes all; returns how many there are."""
    kems = Kems(folder)
    count = kems.check() + check_argon2id(folder)
    for name, check in (
            ("keys", lambda book: check_keys(book, kems)), ("sections", check_sections), ("chunks", check_chunks),
            ("cuts", check_cuts), ("entries", check_entries), ("pages", check_pages),
            ("objects-session", check_session_objects), ("objects-index", check_index_objects),
            ("objects-maintenance", check_maintenance_objects),
            ("objects-record", lambda book: check_record_objects(book, kems)),
            ("objects-member", lambda book: check_members(book, kems))):
        book = Book(folder, name)
        check(book)
        count += book.close()
    return count
