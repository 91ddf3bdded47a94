"""Checks everything that a repository holds, object by object: what `check` of this reader does."""

import chunks
import keys
import records
import roots
import sessions
from index import Segment
from keys import LOG_READER, MAINTAINER, OWNER, ROLES, WRITER, Slot
from notation import need
from packs import Pack
from pages import BLOCK_BYTES, Page, attributes
from places import (BEGIN, DELTA, END, EVIDENCE, LIST, MEMBER, PACK, PINS, ROOT, SEGMENT, SLOT, SNAPSHOTS, WAL,
                    pack_name, parse)
from primitives import derive, keyed
from repository import MAINTAINERS, WRITERS, Stranger

CLEAR = ("holdfast.json", "RECOVER.txt")


class Audit:
    """Goes through all objects of a repository that is open."""

    def __init__(self, repository):
        self.repository, self.counts, self.footers = repository, {}, {}
        self.chains, self.hash_before = {}, None

    def run(self):
        repository = self.repository
        for name in repository.store.names:
            place = parse(name)
            if place is None:
                if name not in CLEAR:
                    repository.notes.append(f"{name}: is the name of nothing")
                continue
            try:
                CHECKS[place.kind](self, place)
            except Stranger as error:
                repository.notes.append(str(error))
            self.counts[place.kind] = self.counts.get(place.kind, 0) + 1
        self._sessions()
        self._index()
        for snapshot in repository.snapshots:
            self._snapshot(snapshot)

    # One object each.

    def slot(self, place):
        Slot(self.repository.object(place))

    def member(self, place):
        """Those of the chain were checked when it was opened; others are left from races."""
        keys.Entry(self.repository.object(place))

    def root(self, place):
        found, root = self.repository.read_root(place)
        for taken, dropped, given in root.merges:
            need(taken == (dropped + given) % (1 << 256), f"{place.name}: a merge lost rows")
        # Names run downwards, so the one before was the one that follows this.
        newer, self.hash_before = self.hash_before, (root.number, root.previous)
        if newer and newer[0] == root.number + 1:
            need(newer[1] == found.hash, f"{place.name}: is not the one that root {newer[0]} follows")

    def begin(self, place):
        found = self.repository.signed(place, (OWNER, WRITER, MAINTAINER))
        sessions.begin(found, self.repository.k_ref(found))

    def pins(self, place):
        found = self.repository.signed(place, WRITERS)
        sessions.pins(found, self.repository.k_ref(found))

    def end(self, place):
        """Read when the repository was opened."""
        self.repository.object(place)

    def delta(self, place):
        self.repository.read_delta(place)

    def segment(self, place):
        found = self.repository.signed(place, MAINTAINERS)
        Segment(found, self.repository.k_idx(found))

    def list(self, place):
        found = self.repository.signed(place, MAINTAINERS)
        roots.list_items(found, self.repository.k_idx(found))

    def snapshots(self, place):
        found = self.repository.signed(place, MAINTAINERS)
        roots.snapshot_rows(found, self.repository.k_ref(found))

    def log(self, place):
        log_content(self.repository, place)

    def evidence(self, place):
        repository = self.repository
        found = repository.signed(place, tuple(role for role in ROLES if role != LOG_READER))
        record = records.evidence(found, repository.k_ref(found))
        need(record.number == place.number, f"{place.name}: is record {record.number}")
        expected = self.chains.get(place.member, (0, bytes(32)))
        need((record.number, record.previous) == expected, f"{place.name}: does not follow the record before")
        records.check_text(record, place.name)
        self.chains[place.member] = (record.number + 1, found.hash)

    def pack(self, place):
        """A pack whole: its footer, and every chunk, opened with what the pack itself says."""
        repository, found = self.repository, self.repository.object(place)
        pack = Pack(repository.store.read(place.name), found, place, lambda epoch: repository.bundle(epoch).k_idx)
        openers, kind = {}, place.pack[32]
        for row in pack.rows:
            if row.origin not in openers:
                openers[row.origin] = self._opener(pack, row.origin)
            opener, k_id = openers[row.origin]
            what = f"chunk {row.id.hex()[:16]} in {place.name}"
            need(pack.origins[row.origin].pack[32] == kind, f"{what}: is of another kind")
            references, plain = chunks.open_checked(opener, k_id, row.id, kind, row.stored, pack.sealed(row), what)
            front = 4 + len(references) if kind == chunks.PAGE else 0
            need(row.plain == front + len(plain), f"{what}: plain length")
            if kind == chunks.PAGE:
                Page(references, plain, what)
        self.footers[place.pack] = pack

    def _opener(self, pack, at):
        repository, origin = self.repository, pack.origins[at]
        member, session, klass = origin.pack[:16], origin.pack[16:32], origin.pack[32]
        secret = repository.unwrap(origin.secret, origin.key_epoch, member, session, klass, pack.what)
        held = repository.bundle(origin.key_epoch)
        return chunks.PackKeys(repository.id, origin.pack, secret, held.k_ref), held.k_id

    # What objects say of each other.

    def _sessions(self):
        """A commit says how many deltas and pins there are."""
        repository = self.repository
        for owner, found in repository.commits.items():
            if found.epoch < repository.fence or not repository.counts(found):
                continue
            pinned = [place for place in repository.of_kind(PINS) if place.owner == owner]
            need(len(pinned) == found.commit.pins, f"session {found.id.hex()}: pins are missing")
            if owner not in repository.lists[roots.ABSORBED]:
                deltas = [place for place in repository.of_kind(DELTA) if place.owner == owner]
                need(len(deltas) == found.commit.deltas, f"session {found.id.hex()}: deltas are missing")

    def _index(self):
        """The index says of packs what they say of themselves."""
        repository = self.repository
        dead = repository.lists[roots.DEAD]
        for pack, row in repository.pack_rows.items():
            if pack in dead:
                continue
            found = self.footers.get(pack)
            need(found, f"{pack_name(pack)}: is in the index and missing")
            stated, read = (row.size, row.checksum, row.chunks), (found.size, found.checksum, len(found.rows))
            need(stated == read, f"{found.what}: is not the one that the index names")
        places = {(row.id[:24], row.offset, row.stored, found.origins[row.origin].pack, pack)
                  for pack, found in self.footers.items() for row in found.rows}
        for key, rows in repository.rows.items():
            for row in rows:
                is_there = (key, row.offset, row.stored, row.origin.pack, row.pack.pack) in places
                need(is_there or row.pack.pack in dead, f"{pack_name(row.pack.pack)}: lacks chunk {key.hex()}")

    def _snapshot(self, snapshot):
        """Every file: digest, attributes, hashes of blocks. The counts of the summary."""
        repository = self.repository
        for key, entry in repository.entries(snapshot):
            for _ in repository.content(entry) if entry.digest else ():
                pass
            if entry.attributes_chunk:
                attributes(repository.open(entry.attributes_chunk, chunks.DATA)[1], f"{key!r}")
            if entry.tree:
                self._blocks(key, entry)

    def _blocks(self, key, entry):
        repository = self.repository
        k_id = repository.bundles[max(repository.bundles)].k_id
        for leaf in repository.leaves(entry):
            if leaf.is_odd:
                repository.notes.append(f"{key!r}: a leaf has hashes or lengths of other blocks")
            if leaf.hashes is None:
                continue
            parts = [repository.slice(extent) or bytes(extent.length) for extent in leaf.extents]
            need(block_hashes(k_id, b"".join(parts)) == leaf.hashes, f"{key!r}: hashes of blocks")


def block_hashes(k_id, data):
    key = derive("holdfast 1 id block", k_id)
    blocks = (data[at:at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES))
    return [keyed(key, block)[:8] for block in blocks]


def log_content(repository, place):
    """The bytes of a log segment."""
    found = repository.signed(place, WRITERS)
    record, header = records.log(found), found.header
    secret = repository.unwrap_log(record.secret, header, place.name)
    return records.log_content(found, record, secret, repository.bundle(header.key_epoch).k_id)


CHECKS = {
    SLOT: Audit.slot, MEMBER: Audit.member, ROOT: Audit.root, BEGIN: Audit.begin, PINS: Audit.pins, END: Audit.end,
    DELTA: Audit.delta, SEGMENT: Audit.segment, LIST: Audit.list, SNAPSHOTS: Audit.snapshots, WAL: Audit.log,
    EVIDENCE: Audit.evidence, PACK: Audit.pack,
}
