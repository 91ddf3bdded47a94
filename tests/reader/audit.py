"""Checks everything that a repository holds, object by object: what `check` of this reader does.

With a key that reads, every byte. A writer's or a maintainer's opens no contents: then packs are checked as far as
their footers, and snapshots as far as the references of pages say. A log reader's checks logs alone.
"""

import chunks
import keys
import records
import roots
import sessions
from index import Segment
from keys import LOGS, Slot
from notation import Refused, need
from packs import Pack
from pages import BLOCK_BYTES, Page, attributes, references_of
from places import (BEGIN, DELTA, END, EVIDENCE, LIST, MEMBER, PACK, PINS, ROOT, SEGMENT, SLOT, SNAPSHOTS, WAL,
                    domain_of, pack_name, parse)
from primitives import derive, keyed
from repository import BEGINNERS, MAINTAINERS, WRITERS, Uncounted, count

CLEAR = ("holdfast.json", "RECOVER.txt")


class Audit:
    """Goes through all objects of a repository that is open."""

    def __init__(self, repository):
        self.repository, self.counts, self.footers = repository, {}, {}
        self.pages = set()

    def run(self):
        repository = self.repository
        sees = repository.newest_bundle.k_ref is not None
        checks = CHECKS if sees else {WAL: Audit.log, SLOT: Audit.slot, MEMBER: Audit.member}
        for name in repository.store.names:
            place = parse(name)
            if place is None:
                self._no_object(name)
            elif place.kind in checks:
                self._object(checks[place.kind], place)
        if sees:
            self._roots()
            self._evidence()
            self._sessions()
            self._index()
            for snapshot in repository.snapshots:
                (self._snapshot if repository.reads else self._reachable)(snapshot)

    def _object(self, check, place):
        try:
            check(self, place)
        except Uncounted as error:
            self.repository.note(error)
        self.counts[place.kind] = self.counts.get(place.kind, 0) + 1

    def _no_object(self, name):
        """Domains are passed over (6.5): each is a repository of its own."""
        is_clear = name in CLEAR or (self.repository.above and name == "shredded")
        if not is_clear and domain_of(name) is None:
            self.repository.note(f"{name}: is the name of nothing")

    # One object each.

    def slot(self, place):
        Slot(self.repository.object(place))

    def member(self, place):
        """Those of the chain were checked when it was opened; others are left from races, or no entries at all."""
        members = self.repository.members
        is_told = place.name == members.next_name()
        count(is_told or place.name in members.names, f"{place.name}: is not of the chain")

    def in_chain(self, place):
        """Roots and evidence follow each other, and are read so."""

    def begin(self, place):
        found = self.repository.signed(place, BEGINNERS)
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
        log = counting_log(self.repository, place)
        secrets = self.repository.newest_bundle.secret
        if LOGS in secrets or self.repository.reads:
            log_content(self.repository, place, log)

    def pack(self, place):
        """A pack whole: its footer, and every chunk that this role opens, with what the pack itself says."""
        repository = self.repository
        count(place.member in repository.members.admitted, f"{place.name}: its author never was a member")
        if place.pack in repository.pack_rows and place.pack not in repository.lists[roots.DEAD]:
            self._pack(place)
            return
        # Packs carry no signature: one that the index does not name need not be what it says.
        repository.need_session(place)
        try:
            self._pack(place)
        except Refused as error:
            repository.note(f"{error}; the index does not name this pack")

    def _pack(self, place):
        repository, found = self.repository, self.repository.object(place)
        pack = Pack(repository.store.read(place.name), found, place, lambda epoch: repository.bundle(epoch).k_idx)
        openers = {}
        for row in self._own_rows(pack, place):
            if row.origin not in openers:
                openers[row.origin] = self._opener(pack, row.origin)
            self._chunk(pack, row, *openers[row.origin], place)
        self.footers[place.pack] = pack

    def _own_rows(self, pack, place):
        """Rows of a footer. Only who maintains or did packs what others sealed; such rows of others are ignored (10)."""
        repository = self.repository
        if repository.members.roles[place.member] & set(MAINTAINERS):
            return pack.rows
        own = [row for row in pack.rows if pack.origins[row.origin].pack[:16] == place.member]
        if len(own) != len(pack.rows):
            repository.note(f"{place.name}: has rows that are not its author's to write")
        return own

    def _chunk(self, pack, row, opener, k_id, place):
        kind, what = place.pack[32], f"chunk {row.id.hex()[:16]} in {place.name}"
        need(pack.origins[row.origin].pack[32] == kind, f"{what}: is of another kind")
        if not self.repository.reads:
            if kind == chunks.PAGE:
                references_of(opener.references(row.id, row.stored, pack.sealed(row), what)[0], what)
            return
        references, plain = chunks.open_checked(opener, k_id, row.id, kind, row.stored, pack.sealed(row), what)
        front = 4 + len(references) if kind == chunks.PAGE else 0
        need(row.plain == front + len(plain), f"{what}: plain length")
        if kind == chunks.PAGE:
            Page(references, plain, what)

    def _opener(self, pack, at):
        repository, origin = self.repository, pack.origins[at]
        member, session, klass = origin.pack[:16], origin.pack[16:32], origin.pack[32]
        secret = None
        if repository.reads:
            secret = repository.unwrap(origin.secret, origin.key_epoch, member, session, klass, pack.what)
        held = repository.bundle(origin.key_epoch)
        return chunks.PackKeys(repository.id, origin.pack, secret, held.k_ref), held.k_id

    # What objects say of each other.

    def _roots(self):
        """From the oldest on: each that counts follows the one before."""
        repository, before, hash_before = self.repository, None, None
        for place in reversed(repository.of_kind(ROOT)):
            try:
                found, root = repository.read_root(place)
                counts = repository.root_counts(found.header.member, root, before)
                count(counts, f"{place.name}: its author was removed before")
            except Uncounted as error:
                repository.note(error)
                continue
            for taken, dropped, given in root.merges:
                need(taken == (dropped + given) % (1 << 256), f"{place.name}: a merge lost rows")
            if before and root.number == before.number + 1:
                need(root.previous == hash_before, f"{place.name}: does not follow root {before.number}")
                need(root.members >= before.members, f"{place.name}: names fewer members than the one before")
            before, hash_before = root, found.hash

    def _evidence(self):
        """Every record; one that cannot be read ends no chain, so what follows it is looked at first."""
        unread = []
        for _, _, error in self.repository.evidence():
            if isinstance(error, Uncounted):
                self.repository.note(error)
            elif error:
                unread.append(str(error))
        need(not unread, "; ".join(unread))

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

    def _reachable(self, snapshot):
        """That all pages and data chunks below a snapshot are stored, by the references alone."""
        repository, waiting = self.repository, [snapshot.commit.summary.root]
        while waiting:
            page = waiting.pop()
            if page in self.pages:
                continue
            self.pages.add(page)
            pages, data = repository.references(page, repository.author(snapshot))
            waiting += pages
            for id in data:
                need(id[:24] in repository.rows, f"chunk {id.hex()}: is in no pack")

    def _blocks(self, key, entry):
        repository = self.repository
        k_id = repository.newest_bundle.k_id
        for leaf in repository.leaves(entry):
            if leaf.is_odd:
                repository.note(f"{key!r}: a leaf has hashes or lengths of other blocks")
            if leaf.hashes is None:
                continue
            parts = [repository.slice(extent) or bytes(extent.length) for extent in leaf.extents]
            need(block_hashes(k_id, b"".join(parts)) == leaf.hashes, f"{key!r}: hashes of blocks")


def block_hashes(k_id, data):
    key = derive("holdfast 1 id block", k_id)
    blocks = (data[at:at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES))
    return [keyed(key, block)[:8] for block in blocks]


def counting_log(repository, place):
    """A log segment; one of a removed member counts as far as the root's cut-offs say (13)."""
    found = repository.signed(place, WRITERS)
    cut_offs, signer = repository.root and repository.root.cut_offs, found.header.member
    is_cut = repository.is_shut_out(signer) and signer in cut_offs.members
    known = not is_cut or cut_offs.knows_log(place.timeline, place.file)
    count(known, f"{place.name}: its member was removed, and no root knows it")
    return found


def log_content(repository, place, found):
    """The bytes of a log segment."""
    record, header = records.log(found), found.header
    secret = repository.unwrap_log(record.secret, header, place.name)
    return records.log_content(found, record, secret, repository.bundle(header.key_epoch).k_id)


CHECKS = {
    SLOT: Audit.slot, MEMBER: Audit.member, ROOT: Audit.in_chain, BEGIN: Audit.begin, PINS: Audit.pins, END: Audit.end,
    DELTA: Audit.delta, SEGMENT: Audit.segment, LIST: Audit.list, SNAPSHOTS: Audit.snapshots, WAL: Audit.log,
    EVIDENCE: Audit.in_chain, PACK: Audit.pack,
}
