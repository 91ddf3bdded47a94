"""Reading a repository, step by step (FORMAT.md 15): from the clear files to the contents of files."""

import os
from collections import OrderedDict
from typing import NamedTuple

import chunks
import clear
import keys
import roots
import sessions
from frame import Object
from index import Delta, Segment
from keys import MAINTAINER, OWNER, WRITER
from notation import Refused, need
from pages import OFFSETS, Digest, Tree
from places import DELTA, END, ROOT, SLOT, pack_name, parse
from primitives import hash

MAINTAINERS, WRITERS = (OWNER, MAINTAINER), (OWNER, WRITER)
CHUNKS_KEPT = 64


class Stranger(Refused):
    """Signed by who is no member any more, or never was: it does not count."""


class Folder:
    """The objects of a repository that lies in a folder."""

    def __init__(self, path):
        self.path = path
        found = (os.path.join(at, name) for at, _, names in os.walk(path) for name in names)
        self.names = sorted(os.path.relpath(name, path) for name in found)
        self.set = set(self.names)

    def has(self, name):
        return name in self.set

    def read(self, name, offset=0, length=-1):
        if not self.has(name):
            raise Refused(f"{name}: is missing")
        with open(os.path.join(self.path, name), "rb") as file:
            file.seek(offset)
            return file.read(length)


class Snapshot(NamedTuple):
    id: bytes
    member: bytes
    epoch: int
    hash: bytes
    commit: sessions.Commit


class Repository:
    """A repository that was opened with a password, or with the bytes of a key file."""

    def __init__(self, store, secret):
        self.store, self.notes, self.cache = store, [], OrderedDict()
        self.clear = clear.read(self.store.read("holdfast.json"), hash(self.store.read("RECOVER.txt")))
        self.id = self.clear.repository
        self.places = [place for place in map(parse, self.store.names) if place]
        self.identity = self._unlock(secret)
        self.members = keys.Members(
            lambda name: self.object(parse(name)), self.store.has, self.clear.first_member, self.identity.owner)
        self.bundles = self.members.bundles(self.identity, self.id)
        self.root = self._newest_root()
        self.lists, self.catalogue = {kind: set() for kind in roots.WIDTHS}, {}
        self._read_lists()
        self._read_ends()
        self._read_index()

    # Objects.

    def of_kind(self, kind):
        return [place for place in self.places if place.kind == kind]

    def object(self, place):
        """An object whose checksum holds and that is what its name says."""
        return Object(self.store.read(place.name), place.name).in_place(self.id, place)

    def signed(self, place, roles, own=True):
        """The same, signed by a member that may; where the name has a member, by that one."""
        found = self.object(place)
        signer = found.header.member
        entry = self.members.in_force.get(signer)
        if entry is None:
            raise Stranger(f"{place.name}: its author {signer.hex()} is no member")
        need(entry.role in roles, f"{place.name}: its author's role may not write it")
        need(not own or place.member in (None, signer), f"{place.name}: is in the name of another member")
        return found.verify(entry.signing)

    # Keys.

    def _unlock(self, secret):
        for place in self.of_kind(SLOT):
            identity = keys.Slot(self.object(place)).open(secret)
            if identity:
                return identity
        raise Refused("no key slot opens with this password or key file")

    def bundle(self, epoch):
        need(epoch in self.bundles, f"this key has no keys of epoch {epoch}")
        return self.bundles[epoch]

    def k_ref(self, found):
        return self.bundle(found.header.key_epoch).k_ref

    def k_idx(self, found):
        return self.bundle(found.header.key_epoch).k_idx

    def unwrap(self, wrap, epoch, member, session, klass, what):
        secret_keys = self.bundle(epoch).secret
        need(klass in secret_keys, f"{what}: this key's role cannot read it")
        return keys.unwrap(wrap, secret_keys[klass], self.id, member, session, klass, what)

    def unwrap_log(self, wrap, header, what):
        """The secret of a log segment, with its object's id in the place of a session."""
        key = keys.log_key(wrap, self.bundle(header.key_epoch).secret)
        need(key, f"{what}: this key's role cannot read it")
        return keys.unwrap(wrap, key, self.id, header.member, header.id, keys.DATA, what)

    def secret(self, row, klass):
        """A session's secret; each is unwrapped once."""
        known = self.cache.setdefault("secrets", {})
        at = (row.owner, klass)
        if at not in known:
            what = f"session {row.session.hex()}"
            need(klass in row.secrets, f"{what}: has no secret of class {klass}")
            known[at] = self.unwrap(row.secrets[klass], row.key_epoch, row.member, row.session, klass, what)
        return known[at]

    # Roots and lists.

    def read_root(self, place):
        found = self.signed(place, MAINTAINERS)
        root = roots.Root(found, self.k_ref(found))
        need(root.number == place.number, f"{place.name}: is root {root.number}")
        need(root.repository_hash == self.clear.hash, f"{place.name}: is of another holdfast.json")
        return found, root

    def _newest_root(self):
        places = self.of_kind(ROOT)
        if not places:
            return None
        # Names run downwards: the first one of a listing is the newest.
        _, root = self.read_root(places[0])
        members = (root.members, root.last_member)
        need(root.members <= self.members.count, "the newest root knows more members than there are")
        is_last = members == (self.members.count, self.members.last)
        need(is_last or root.members < self.members.count, "the newest root knows another last member")
        return root

    @property
    def fence(self):
        return self.root.fence if self.root else 0

    def named(self, name, row):
        """An object that the root names by its hash."""
        found = self.signed(parse(name), MAINTAINERS)
        need(found.hash == row.hash, f"{name}: is not the one that the root names")
        return found

    def _read_lists(self):
        if not self.root:
            return
        for row in self.root.lists:
            found = self.named(f"lists/{row.id.hex()}", row)
            kind, items = roots.list_items(found, self.k_idx(found))
            need((kind, len(items)) == (row.kind, row.items), f"{found.what}: is another list")
            self.lists[kind].update(items)
        for row in self.root.snapshots:
            found = self.named(f"snapshots/{row.id.hex()}", row)
            rows = roots.snapshot_rows(found, self.k_ref(found))
            need(len(rows) == row.items, f"{found.what}: number of snapshots")
            self.catalogue.update((catalogued.session, catalogued) for catalogued in rows)
        need(not self.lists[roots.DEAD] & self.lists[roots.CONDEMNED], "a pack is dead and condemned")

    # Sessions and snapshots.

    def _read_ends(self):
        self.commits, self.aborted = {}, set()
        for place in self.of_kind(END):
            try:
                self._read_end(place)
            except Stranger as error:
                self.notes.append(str(error))
        for session, row in self.catalogue.items():
            found = self.commits.get(row.member + session)
            need(found, f"snapshot {session.hex()}: its end is missing")
            stated = (row.hash, row.epoch & 0xFFFFFFFF, row.summary)
            need(stated == (found.hash, found.epoch, found.commit.summary), f"snapshot {session.hex()}: is another")
        counting = [found for found in self.commits.values() if self.counts(found)]
        self.snapshots = sorted(counting, key=lambda found: (found.commit.summary.started, found.id))
        # What is superseded is there, and not shown.
        self.hidden = self._superseded()

    def _read_end(self, place):
        found = self.object(place)
        catalogued = self.catalogue.get(place.session)
        if not (catalogued and catalogued.hash == found.hash):
            found = self.signed(place, (OWNER, WRITER, MAINTAINER), own=False)
        signer, role = found.header.member, self.members.role(found.header.member)
        outcome = sessions.end(found, self.k_ref(found), lambda row: self.secret(row, keys.META))
        if isinstance(outcome, str):
            may = signer == place.member or role in MAINTAINERS
            need(may, f"{place.name}: this member may not abort it")
            self.aborted.add(place.owner)
            return
        owner = (outcome.row.member, outcome.row.session)
        need(signer == place.member and owner == (place.member, place.session), f"{place.name}: is another session's")
        need(catalogued or role in WRITERS, f"{place.name}: its author's role may not commit")
        need(outcome.repository_hash == self.clear.hash, f"{place.name}: is of another holdfast.json")
        self.commits[place.owner] = Snapshot(place.session, place.member, place.epoch, found.hash, outcome)

    def is_in(self, found):
        return found.epoch >= self.fence or found.id in self.catalogue

    def counts(self, found):
        return self.is_in(found) and found.id not in self.lists[roots.FORGOTTEN]

    def _superseded(self):
        """What others took the place of: of their own stream, by its own member or an owner; forgotten ones too."""
        by_id = {found.id: found for found in self.commits.values()}
        claiming = [found for found in self.commits.values() if self.is_in(found)]
        hidden = set()
        for found in claiming:
            for other in map(by_id.get, found.commit.summary.superseded):
                is_other = other and other.id != found.id
                is_same = is_other and other.commit.summary.stream == found.commit.summary.stream
                if is_same and (other.member == found.member or self.members.role(found.member) == OWNER):
                    hidden.add(other.id)
        return hidden

    # The index (10, 19.2).

    def _read_index(self):
        self.rows, self.session_rows, self.pack_rows = {}, {}, {}
        for row in self.root.segments if self.root else []:
            found = self.named(f"index/segment/{row.id.hex()}", row)
            segment = Segment(found, self.k_idx(found))
            stated = (row.bits, row.value, row.level, row.rows, row.sum)
            read = (segment.bits, segment.value, segment.level, segment.rows, segment.sum)
            need(read == stated, f"{found.what}: is another segment")
            self._take(segment.tables)
        for place in self.of_kind(DELTA):
            if self.delta_counts(place):
                self._take(self.read_delta(place).tables)

    def delta_counts(self, place):
        is_committed = place.owner in self.commits and place.epoch >= self.fence
        return is_committed and place.owner not in self.lists[roots.ABSORBED]

    def read_delta(self, place):
        found = self.signed(place, WRITERS)
        delta = Delta(found, self.k_idx(found))
        need(delta.number == place.number, f"{place.name}: is delta {delta.number}")
        return delta

    def _take(self, tables):
        for row in tables.sessions:
            known = self.session_rows.get(row.owner)
            # One that was made anew from packs may lack a secret that another has.
            merged = {**(known.secrets if known else {}), **row.secrets}
            self.session_rows[row.owner] = row._replace(secrets=merged)
        for row in tables.packs:
            if row.size:
                self.pack_rows[row.pack] = row
        for row in tables.chunks:
            self.rows.setdefault(row.key, []).append(row)

    # Chunks.

    def open(self, id, kind):
        """(references, plaintext) of a chunk, from whichever of its places gives it."""
        if (id, kind) in self.cache:
            self.cache.move_to_end((id, kind))
            return self.cache[id, kind]
        failed = Refused(f"chunk {id.hex()}: is in no pack")
        for row in self.rows.get(id[:24], []):
            try:
                opened = self._open_at(id, kind, row)
            except Refused as error:
                failed = error
                continue
            self.cache[id, kind] = opened
            if len(self.cache) > CHUNKS_KEPT:
                oldest = next(at for at in self.cache if at != "secrets")
                del self.cache[oldest]
            return opened
        raise failed

    def _open_at(self, id, kind, row):
        what = f"chunk {id.hex()[:16]} in {pack_name(row.pack.pack)}"
        need(row.pack.pack not in self.lists[roots.DEAD], f"{what}: the pack is dead")
        sealed = self.store.read(pack_name(row.pack.pack), row.offset, row.stored & chunks.LENGTH)
        origin, session = row.origin.pack, self.session_rows[row.origin.session.owner]
        need(origin[32] == kind, f"{what}: is of another kind")
        held = self.bundle(session.key_epoch)
        opener = chunks.PackKeys(self.id, origin, self.secret(session, origin[32]), held.k_ref)
        return chunks.open_checked(opener, held.k_id, id, kind, row.stored, sealed, what)

    # Trees and files (11).

    def entries(self, snapshot):
        """(key, entry) of everything that a snapshot holds, in the tree's order."""
        summary = snapshot.commit.summary
        return self._tree().rows(summary.root, summary.space)

    def _tree(self):
        return Tree(lambda id: self.open(id, chunks.PAGE))

    def leaves(self, entry):
        """The leaves of an entry's tree of extents; they follow each other without gaps."""
        at = 0
        for leaf in self._tree().rows(entry.tree, OFFSETS):
            need(leaf.start == at and (leaf.extents or entry.size == 0), "a gap between leaves of extents")
            at += sum(extent.length for extent in leaf.extents)
            yield leaf
        need(at == entry.size, "the tree of extents is not as long as its file")

    def extents(self, entry):
        if entry.tree is None:
            yield from entry.extents
        else:
            for leaf in self.leaves(entry):
                yield from leaf.extents

    def slice(self, extent):
        if extent.chunk is None:
            return None
        data = self.open(extent.chunk, chunks.DATA)[1]
        need(extent.offset + extent.length <= len(data), "an extent reaches beyond its chunk")
        return data[extent.offset:extent.offset + extent.length]

    def content(self, entry):
        """(length, bytes) of a file, piece by piece; bytes are None for a hole. The digest is compared last."""
        digest = Digest()
        if entry.inline:
            digest.add(False, len(entry.inline), entry.inline)
            yield len(entry.inline), entry.inline
        for extent in self.extents(entry):
            data = self.slice(extent)
            digest.add(data is None, extent.length, data or b"")
            yield extent.length, data
        need(digest.value() == entry.digest, "the digest of a file differs")
