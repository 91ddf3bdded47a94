"""Reads a holdfast repository (format 0, draft 1), written from FORMAT.md alone.

    pip install blake3 cryptography zstandard argon2-cffi kyber-py
    python reader.py REPOSITORY PASSWORD | diff - tests/golden/draft-1.txt

Prints one line for each entry of each snapshot: snapshot, kind, size, digest, path. Every
signature, checksum, chain, identifier and digest on the way is checked. Slow, and not a tool.
"""

import json
import os
import struct
import sys

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from wire import ZERO, Reader, decapsulate, decompress, derive, h, keyed, unseal

KINDS = ["", "File", "Directory", "Symlink", "Fifo", "Socket", "CharDevice", "BlockDevice"]
TYPES = {"keys/": 8, "members/": 9, "roots/": 4, "index/delta/": 2, "index/segment/": 3, "snapshots/": 10,
         "lists/": 11, "wal/": 12, "evidence/": 13}
LIMITS = {"begin": 16 << 20, "pins": 16 << 20, "abort": 16 << 20, "summary": 64 << 20, "details": 64 << 20,
          "pack footer": 256 << 20, "index segment": 1 << 20, "evidence": 256 << 20}
SIGNED = {2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13}

# Section 4: the frame.

class Object:
    def __init__(self, repo, name):
        data = repo.read(name)
        self.hash = h(data)
        assert h(data[:-32]) == data[-32:], f"checksum of {name}"
        self.header = data[:100]
        r = Reader(self.header)
        assert r.raw(8) == bytes.fromhex("894846440D0A1A0A")
        self.type, form, draft, suite = r.raw(4)
        assert (form, draft, suite, r.u32()) == (0, 1, 1, 0)
        assert (r.u32(), r.u32(), r.u32()) == (0, 100, 0) and r.raw(16) == repo.id
        self.id, self.epoch, self.member, self.nonce = r.raw(16), r.u64(), r.raw(16), r.raw(16)
        ends = {"begin": 5, "end": 7}.get(name.split("/")[-1], 6) if name.startswith("sessions/") else 0
        assert self.type == (ends or next(kind for folder, kind in TYPES.items() if name.startswith(folder)))
        assert self.type == 4 or self.id == h(name.encode())[:16] or name.endswith(self.id.hex())
        self.signed = data[:-96] if self.type in SIGNED else data[:-32]
        self.signature = data[len(self.signed):-32]
        self.body = Reader(self.signed[100:])

    def verify(self, key):
        Ed25519PublicKey.from_public_bytes(key).verify(self.signature, b"holdfast 1 signature" + h(self.signed))
        return self

    def section(self, key, label):
        parts, sealed, limit = (key, self.header, label.encode()), self.body.bytes32(), LIMITS.get(label, 1 << 30)
        plain = unseal(derive("holdfast 1 section", *parts), sealed[:12], self.header, sealed[12:])
        assert keyed(derive("holdfast 1 section nonce", *parts), plain)[:12] == sealed[:12]
        assert plain[0] in (0, 1)
        payload = decompress(plain[1:], limit) if plain[0] else plain[1:]
        assert len(payload) <= limit
        return Reader(payload)

    def finish(self): self.body.tags(), self.body.end()

class Refs:
    """Section 11.1: each row is used, the first time in the order of the table."""

    def __init__(self, ids):
        assert len(set(ids)) == len(ids)
        self.ids, self.used = ids, 0

    def __getitem__(self, row):
        assert row <= self.used
        self.used = max(self.used, row + 1)
        return self.ids[row]

    def end(self): assert self.used == len(self.ids)

def pack_name(pack):
    last = f"{pack[:16].hex()}-{pack[16:32].hex()}-{struct.unpack('<I', pack[33:])[0]:08x}"
    return f"packs/{['', 'data', 'tree'][pack[32]]}/{h(last.encode())[:1].hex()}/{last}"

def wrapped(r):
    commitment, recipient = r.raw(32), r.raw(8)
    assert (r.u16(), r.u16()) == (2, 1120)
    return commitment, recipient, r.raw(1120), r.raw(48)

def session_row(r):
    member, session, key_epoch, which = r.raw(16), r.raw(16), r.u32(), r.u8()
    assert which < 4
    return member, session, key_epoch, *(wrapped(r) if which & bit else None for bit in (1, 2))

class Repository:
    def __init__(self, path, password):
        self.path = path
        walk = ((folder, file) for folder, _, files in os.walk(path) for file in files)
        self.names = sorted(os.path.relpath(os.path.join(*pair), path) for pair in walk)
        self.clear_files(), self.unlock(password), self.read_members(), self.read_root(), self.read_index()
        self.read_records()

    def read(self, name):
        with open(os.path.join(self.path, name), "rb") as file:
            return file.read()

    def under(self, prefix): return [name for name in self.names if name.startswith(prefix)]

    # Section 5.
    def clear_files(self):
        text = self.read("holdfast.json")
        stated = json.loads(text)
        assert (stated["format"], stated["draft"]) == (0, 1)
        features = stated["features"]
        assert list(features) == ["incompat", "ro_compat", "compat"]
        assert not features["incompat"] and not features["ro_compat"]
        checksum = stated["checksum"].encode()
        assert h(text.replace(checksum, b"0" * 64)).hex().encode() == checksum
        assert json.dumps(stated, indent=2, ensure_ascii=False).encode() + b"\n" == text
        assert h(self.read("RECOVER.txt")).hex() == stated["recover_blake3"]
        self.id, self.hash = bytes.fromhex(stated["repository_id"]), h(text)
        self.slot, self.first = stated["key_slot"], stated["member"]

    # Section 6.
    def unlock(self, password):
        slot = Object(self, "keys/" + self.slot)
        r = slot.body
        method, memory, passes, lanes, salt, role, label = (
            r.u8(), r.u32(), r.u32(), r.u32(), r.raw(32), r.u8(), r.text16())
        fields = r.data[:r.at]
        sealed, commitment = r.bytes32(), r.raw(32)
        aad = slot.header + fields + r.data[r.at:]
        slot.finish()
        assert method == 1 and memory <= 4 << 20
        key = hash_secret_raw(password, salt, passes, memory, lanes, 32, Type.ID, 0x13)
        assert derive("holdfast 1 slot commitment", key) == commitment, "wrong password"
        r = Reader(unseal(derive("holdfast 1 slot seal", key), ZERO, aad, sealed))
        self.member, seed, self.owner, self.kem = r.raw(16), r.raw(32), r.raw(32), r.bytes32()
        r.tags(), r.end()

    def read_members(self):
        self.members, self.last_member, signer, bundles = {}, bytes(32), self.owner, []
        number, name = 0, f"members/{0:016x}-{self.first}"
        while number == 0 or name in self.names:
            entry = Object(self, name)
            if number:
                assert self.members[entry.member][0] == 1
                signer = self.members[entry.member][1]
            entry.verify(signer)
            r = entry.body
            assert (r.u64(), r.raw(32)) == (number, self.last_member)
            action, member, role, label, sign, kem = r.u8(), r.raw(16), r.u8(), r.text16(), r.raw(32), r.raw(1216)
            sealed = r.list(lambda: (r.u32(), r.bytes32()))
            entry.finish()
            assert number or (action, role, sign, member) == (1, 1, self.owner, entry.member)
            self.last_member = entry.hash
            self.members[member] = (role, sign)
            if action == 2:
                del self.members[member]
            if member == self.member:
                bundles, own_kem = sealed, kem
            assert 1 in [role for role, _ in self.members.values()], "the last owner is removed"
            number += 1
            name = f"members/{number:016x}-{h(entry.hash + struct.pack('<Q', number))[:16].hex()}"
        assert own_kem == self.kem[2432:]
        self.count = number
        [(key_epoch, sealed)] = bundles
        shared = decapsulate(self.kem, sealed[:1120])
        r = Reader(unseal(derive("holdfast 1 bundle", shared, self.id), ZERO, b"", sealed[1120:]))
        assert r.u32() == key_epoch
        keys = r.tags(range(0x8001, 0x8009))
        r.end()
        self.k_id, self.k_cdc, self.k_idx, self.k_ref = (keys[0x8001 + n] for n in range(4))
        self.sk = {1: keys[0x8007], 2: keys[0x8008]}

    def signed(self, name, roles):
        found = Object(self, name)
        role, key = self.members[found.member]
        assert role in roles, name
        return found.verify(key)

    def unwrap(self, member, session, cls, wrap):
        commitment, recipient, ciphertext, sealed = wrap
        assert recipient == h(self.sk[cls][2432:])[:8]
        shared = decapsulate(self.sk[cls], ciphertext)
        key = derive("holdfast 1 session wrap", shared, self.id, member, session, bytes([cls]))
        secret = unseal(key, ZERO, b"", sealed)
        assert derive("holdfast 1 session commitment", secret) == commitment
        return secret

    # Section 13.
    def read_root(self):
        self.fence, self.segments, self.catalogue, self.lists = 0, [], {}, {n: set() for n in range(1, 7)}
        if not self.under("roots/"):
            return
        root = self.signed(self.under("roots/")[0], (1, 3))
        r = root.section(self.k_ref, "root")
        root.finish()
        number, previous = r.u64(), r.raw(32)
        assert number > 1 or previous == bytes(32)
        assert (r.raw(32), r.u64(), r.raw(32)) == (self.hash, self.count, self.last_member)
        pending, self.fence, time = r.u64(), r.u64(), r.time()
        self.segments = r.list(
            lambda: (r.u8(), r.u16(), r.u8(), r.raw(16), r.u64(), r.raw(32), r.raw(32), r.tags())[:-1])
        named = lambda: (r.u8(), r.raw(16), r.u64(), r.raw(32), r.u64(), r.tags())[:-1]
        snapshots, lists = r.list(named), r.list(named)
        assert all(row[0] == 0 for row in snapshots) and all(1 <= row[0] <= 6 for row in lists)
        r.list(lambda: r.raw(96))
        r.list(lambda: (r.text16(), r.text16(), r.list(lambda: (r.text16(), r.text16())), r.tags()))
        r.tags((0x8001,)), r.end()
        for kind, id, items, digest, _ in lists:
            section = self.named("lists/" + id.hex(), digest, self.k_idx, "list")
            width = {1: 37, 2: 37, 3: 32, 4: 37, 5: 32, 6: 16}[kind]
            assert section.u8() == kind
            data = section.bytes32()
            section.tags(), section.end()
            rows = [data[at:at + width] for at in range(0, len(data), width)]
            assert len(rows) == items and rows == sorted(set(rows))
            self.lists[kind] = set(rows)
        for _, id, items, digest, _ in snapshots:
            s = self.named("snapshots/" + id.hex(), digest, self.k_ref, "snapshots")
            rows = s.list(lambda: (s.raw(16), s.raw(16), s.u64(), s.time(), s.raw(32), s.bytes32(), s.tags()))
            s.tags(), s.end()
            assert len(rows) == items
            self.catalogue.update({row[0]: row[4] for row in rows})

    def named(self, name, digest, key, label):
        """Opens an object that a root names by its hash."""
        found = self.signed(name, (1, 3))
        section = found.section(key, label)
        found.finish()
        assert found.hash == digest
        return section

    # Section 12.
    def ends(self):
        for name in self.under("sessions/"):
            if not name.endswith("/end"):
                continue
            _, epoch, ids, _ = name.split("/")
            member, session = (bytes.fromhex(part) for part in ids.split("-"))
            for other in self.under(f"sessions/{epoch}/{ids}/"):
                if other != name:
                    assert self.signed(other, (1, 2)).member == member
            end = self.signed(name, (1, 2, 3))
            if end.body.u8() == 2:
                yield member + session, int(epoch, 16), None
                continue
            assert end.member == member and end.body.raw(32) == self.hash
            deltas, pins = end.body.u32(), end.body.u32()
            assert deltas == len(self.under(f"index/delta/{epoch}/{ids}-"))
            assert pins == len(self.under(f"sessions/{epoch}/{ids}/pins-"))
            summary = end.section(self.k_ref, "summary")
            row = session_row(end.body)
            assert row[:2] == (member, session)
            end.section(self.unwrap(member, session, 2, row[4]), "details")
            end.finish()
            assert self.catalogue.get(session, end.hash) == end.hash
            yield member + session, int(epoch, 16), self.summary(summary)

    @staticmethod
    def summary(r):
        r.raw(16), r.text32(), r.text32(), r.text32(), r.list(r.bytes32), r.list(r.text32)
        r.time(), r.time(), r.raw(11 * 8), r.u8(), r.u64()
        root, space = r.raw(32), r.u8()
        r.list(lambda: r.raw(16)), r.tags(), r.end()
        return root, space

    # Section 10.
    def read_index(self):
        self.chunks, self.secrets = {}, {}
        self.snapshots, committed = [], set()
        for id, epoch, commit in self.ends():
            if commit is None:
                continue
            committed.add(id)
            if (epoch >= self.fence or id[16:] in self.catalogue) and id[16:] not in self.lists[6]:
                self.snapshots.append((id[16:], commit))
        for bits, value, level, id, rows, digest, total in self.segments:
            segment = self.signed("index/segment/" + id.hex(), (1, 3))
            r = segment.body
            assert (r.u8(), r.u16(), r.u8(), r.u64(), r.raw(32)) == (bits, value, level, rows, total)
            blocks = [segment.section(self.k_idx, "index segment") for _ in range(r.u32())]
            segment.finish()
            tables = Reader(b"".join(block.data for block in blocks))
            assert segment.hash == digest and self.tables(tables, bits, value, True) == (rows, total)
        for name in self.under("index/delta/"):
            _, _, epoch, last = name.split("/")
            member, session, number = last.split("-")
            id = bytes.fromhex(member + session)
            delta = self.signed(name, (1, 2))
            assert delta.member.hex() == member and delta.body.u32() == int(number)
            counts = int(epoch, 16) >= self.fence and id in committed
            if counts and id not in self.lists[5]:
                tables = delta.section(self.k_idx, "index delta")
                delta.finish()
                self.tables(tables, 0, 0, False)

    def tables(self, r, bits, value, arranged):
        sessions = r.list(lambda: session_row(r))
        for member, session, _, data, meta in sessions:
            for cls, wrap in ((1, data), (2, meta)):
                if wrap:
                    self.secrets[member + session + bytes([cls])] = self.unwrap(member, session, cls, wrap)
        packs = []
        for row, cls, ordinal, size, checksum, count in r.list(
                lambda: (r.u32(), r.u8(), r.raw(4), r.u64(), r.raw(32), r.u32())):
            packs.append(b"".join(sessions[row][:2]) + bytes([cls]) + ordinal)
            data = self.read(pack_name(packs[-1]))
            assert (len(data), data[-32:]) == (size, checksum)
        assert len(set(packs)) == len(packs)
        assert not arranged or [row[:2] for row in sessions] == sorted({row[:2] for row in sessions})
        assert not arranged or packs == sorted(packs)
        tags = [h(pack)[:8] for pack in packs]
        total, last, rows = 0, (b"",), r.list(lambda: (r.raw(24), r.u32(), r.u32(), r.u32(), r.u32()))
        for row in rows:
            key, pack, offset, length, origin = row
            assert row > last and int.from_bytes(key[:2], "big") >> (16 - bits) == value
            last = row
            total += int.from_bytes(h(key + tags[pack] + tags[origin] + struct.pack("<II", offset, length)), "little")
            self.chunks[key] = (packs[pack], offset, length, packs[origin])
        r.tags(), r.end()
        return len(rows), (total % 2**256).to_bytes(32, "little")

    # Section 14.
    def read_records(self):
        for name in self.under("wal/"):
            wal = self.signed(name, (1, 2))
            r = wal.body
            content, size, wrap, packed, sealed = r.raw(32), r.u64(), wrapped(r), r.u8(), r.bytes32()
            wal.finish()
            key = derive("holdfast 1 wal", self.unwrap(wal.member, wal.id, 1, wrap), wal.header)
            plain = unseal(key, content[:12], content, sealed)
            plain = decompress(plain, 1 << 30) if packed else plain
            assert len(plain) == size and keyed(derive("holdfast 1 id wal", self.k_id), plain) == content
        last = {}
        for name in self.under("evidence/"):
            record = self.signed(name, (1, 2, 3, 4))
            number, previous = record.body.u64(), record.body.raw(32)
            s = record.section(self.k_ref, "evidence")
            record.finish()
            s.time(), s.text16(), s.bytes32(), s.tags(), s.end()
            assert name.split("/")[1:] == [record.member.hex(), f"{number:016x}"]
            assert (number, previous) == last.get(record.member, (0, bytes(32)))
            last[record.member] = (number + 1, record.hash)

    # Section 7.
    def open(self, id, kind):
        pack, offset, stored, origin = self.chunks[id[:24]]
        assert pack[32] == kind
        sealed = self.read(pack_name(pack))[offset:offset + (stored & 0x7FFFFFFF)]
        aad = self.id + origin + bytes([kind]) + id

        def part(context, secret, data):
            nonce = keyed(derive(context + " nonce", secret, self.id, origin), id + struct.pack("<I", stored))[:12]
            return unseal(derive(context, secret, self.id, origin), nonce, aad, data)

        refs = b""
        if kind == 2:
            (size,) = struct.unpack("<I", sealed[:4])
            refs, sealed = part("holdfast 1 pack refs", self.k_ref, sealed[4:4 + size]), sealed[4 + size:]
        plain = part("holdfast 1 pack", self.secrets[origin[:33]], sealed)
        plain = decompress(plain) if stored >> 31 else plain
        text = struct.pack("<I", len(refs)) + refs + plain if kind == 2 else plain
        assert keyed(derive("holdfast 1 id " + ("data", "page")[kind - 1], self.k_id), text) == id
        return (refs, plain) if kind == 2 else plain

    # Section 11.
    def page(self, id, space, level=None):
        """Yields the rows of all leaves below a page."""
        refs, body = self.open(id, 2)
        r = Reader(refs)
        pages, chunks = Refs(r.list(lambda: r.raw(32))), Refs(r.list(lambda: r.raw(32)))
        r.tags(), r.end()
        r = Reader(body)
        own, stated = r.u8(), r.u8()
        assert own <= 12 and stated == space and level in (None, own)
        if own == 0 and space == 2:
            start, extents = r.u64(), r.list(lambda: self.extent(r, chunks))
            r.tags()
            yield start, extents
        elif own == 0:
            owners = [(r.u32(), r.u32(), r.text16(), r.text16(), r.tags()) for _ in range(r.u16())]
            key = b""
            for _ in range(r.u32()):
                key = self.key(r, key)
                self.check_path(key, space)
                yield key, self.entry(r, owners, pages, chunks)
            r.tags()
        else:
            key, rows = b"", []
            for _ in range(r.u32()):
                key = self.key(r, key)
                rows.append((key, pages[r.u32()], r.u64(), r.u64()))
            r.tags()
            assert rows
            for key, child, entries, size in rows:
                found = list(self.page(child, space, own - 1))
                first = found[0][0].to_bytes(8, "big") if space == 2 else found[0][0]
                count = sum(len(leaf[1]) for leaf in found) if space == 2 else len(found)
                assert (first, count) == (key, entries)
                yield from found
        r.end(), pages.end(), chunks.end()

    @staticmethod
    def key(r, before):
        shared = r.u16()
        key = before[:shared] + r.bytes16()
        assert shared <= len(before) and (key > before or not before)
        return key

    @staticmethod
    def check_path(key, space):
        parts = key.split(b"\0") if key and space == 0 else []
        assert not any(part in (b"", b".", b"..") or b"/" in part for part in parts)

    @staticmethod
    def extent(r, chunks):
        form = r.u8()
        assert form in (0, 1)
        return (chunks[r.u32()], r.u32(), r.u32()) if form == 0 else (None, 0, r.u64())

    def entry(self, r, owners, pages, chunks):
        kind, mode, owner, mtime, size, flags = r.u8(), r.u16(), owners[r.u16()], r.time(), r.u64(), r.u8()
        digest = r.raw(32) if flags & 4 else None
        form, extents, inline = r.u8(), [], b""
        if form == 1:
            inline = r.bytes16()
        elif form == 2:
            extents = [self.extent(r, chunks) for _ in range(r.u8())]
        elif form == 3:
            for start, found in self.page(pages[r.u32()], 2):
                assert start == sum(length for _, _, length in extents)
                extents += found
        tags = r.tags((0x8010, 0x8011, 0x8012, 0x8013))
        if 0x8013 in tags:
            self.open(chunks[struct.unpack("<I", tags[0x8013])[0]], 1)
        assert not (0x8012 in tags and 0x8013 in tags) and len(tags.get(0x8012, b"")) <= 1024
        assert (kind == 3) == bool(tags.get(0x8010)) and tags.get(0x8010) != b""
        assert (kind in (6, 7)) == (0x8011 in tags)
        if kind == 1:
            runs = [(0, inline)] if inline else self.runs(extents)
            assert sum(len(data) if hole == 0 else data for hole, data in runs) == size
            assert self.digest(runs) == digest
        return kind, size, digest

    def runs(self, extents):
        """Maximal runs: (0, bytes) or (1, length)."""
        runs = []
        for id, offset, length in extents:
            run = (1, length)
            if id is not None:
                run = (0, self.open(id, 1)[offset:offset + length])
                assert len(run[1]) == length
            if runs and runs[-1][0] == run[0]:
                run = (run[0], runs.pop()[1] + run[1])
            runs.append(run)
        return runs

    @staticmethod
    def digest(runs):
        data = h(b"".join(part for hole, part in runs if hole == 0))
        if all(hole == 0 for hole, _ in runs):
            return data
        shape = b"".join(struct.pack("<BQ", hole, part if hole else len(part)) for hole, part in runs)
        return h(b"holdfast 1 holes" + data + shape)

def escape(path):
    special = {9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 39: "\\'", 92: "\\\\"}
    return "".join(special.get(b) or (chr(b) if 32 <= b < 127 else f"\\x{b:02x}") for b in path)

def main():
    repo = Repository(sys.argv[1], sys.argv[2].encode())
    lines = []
    for session, (root, space) in repo.snapshots:
        for key, (kind, size, digest) in repo.page(root, space):
            path = escape(key.replace(b"\0", b"/"))
            lines.append(f"{session.hex()} {KINDS[kind]} {size} {digest.hex() if digest else '-'} {path}")
    print("\n".join(sorted(lines)))

main()
