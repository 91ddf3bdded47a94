"""Reading a repository, step by step (FORMAT.md 15): from the clear files to the contents of files."""

import json
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
from keys import LOG_READER, MAINTAINER, OWNER, ROLES, WRITER
from notation import Refused, need
from pages import OFFSETS, Digest, Tree, references_of
from places import BEGIN, DELTA, END, EVIDENCE, ROOT, SLOT, pack_name, parse
from primitives import hash
from records import NUMBER_MAX, check_text, evidence

MAINTAINERS, WRITERS, BEGINNERS = (OWNER, MAINTAINER), (OWNER, WRITER), (OWNER, WRITER, MAINTAINER)
WITNESSES = tuple(role for role in ROLES if role != LOG_READER)
CHUNKS_KEPT = 64


class Uncounted(Refused):
    """What does not count: it is as if it were not there, and is told."""


def count(holds, what):
    """Passes over what does not count."""
    if not holds:
        raise Uncounted(what)


class Folder:
    """The objects of a repository that lies in a folder."""

    def __init__(self, path):
        self.path = path
        found = (os.path.join(at, name) for at, _, names in os.walk(path) for name in names)
        self.names = sorted(os.path.relpath(name, path) for name in found)
        self.set = set(self.names)

    def above(self):
        """The repository in which this one is a domain (6.5)."""
        at, name = os.path.split(os.path.dirname(os.path.abspath(self.path)))
        need(name == "domains", "a domain that lies in no repository")
        return Folder(at)

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
        self.above = Repository(self.store.above(), secret) if self.clear.is_domain else None
        self.identity = self._identity_of_domain() if self.above else self._unlock(secret)
        self.members = keys.Members(
            lambda name: self.object(parse(name)), self.store.has, self.clear.first_member, self.identity.owner)
        self.bundles = self.members.bundles(self.identity, self.id)
        self.snapshots, self.hidden = [], set()
        self.root, self.lists, self.catalogue = None, {kind: set() for kind in roots.WIDTHS}, {}
        # A log reader sees nothing of what follows.
        if self.newest_bundle.k_ref:
            self._read()

    def _read(self):
        self.note(self.members.stray)
        self.root = self._newest_root()
        self._read_lists()
        self._read_begins()
        self._read_ends()
        self._read_index()
        self._is_shredded()

    def note(self, told):
        """What is told and passed over, once each."""
        if told and str(told) not in self.notes:
            self.notes.append(str(told))

    # Objects.

    def of_kind(self, kind):
        return [place for place in self.places if place.kind == kind]

    def object(self, place):
        """An object whose checksum holds and that is what its name says."""
        return Object(self.store.read(place.name), place.name).in_place(self.id, place)

    def signed(self, place, roles, own=True):
        """The same, signed by a member that may, or might when it was removed; where the name has a member, by
        that one. What a session left that does not count is passed over (6.3)."""
        found = self.object(place)
        signer = found.header.member
        entry = self.members.admitted.get(signer)
        count(entry, f"{place.name}: its author {signer.hex()} never was a member")
        found.verify(entry.signing)
        count(entry.role in roles, f"{place.name}: its author's role may not write it")
        count(not own or place.member in (None, signer), f"{place.name}: is in the name of another member")
        if place.session:
            self.need_session(place)
        return found

    # Who counts (2, 6.3).

    def is_shut_out(self, member):
        """Whether a member was removed, and the newest root names the entry that did it."""
        return self.root is not None and self.root.members > self.members.removed.get(member, self.root.members)

    def is_taken_in(self, owner):
        """Whether the root has absorbed or catalogued a session."""
        row = self.catalogue.get(owner[16:])
        return owner in self.lists[roots.ABSORBED] or (row is not None and row.member == owner[:16])

    def need_session(self, place):
        of_another = self.members.is_of_another(place.session, place.member)
        count(not of_another, f"{place.name}: the session's id says that it is of another member")
        shut_out = self.is_shut_out(place.member) and not self.is_taken_in(place.owner)
        count(not shut_out, f"{place.name}: its member was removed, and no root has taken it in")

    # Keys.

    def _unlock(self, secret):
        for place in self.of_kind(SLOT):
            identity = keys.Slot(self.object(place)).open(secret)
            if identity:
                return identity
        raise Refused("no key slot opens with this password or key file")

    def _identity_of_domain(self):
        """That of the repository above, whose chain has to have had the domain's founder as an owner (6.5)."""
        name = f"members/{0:016x}-{self.clear.first_member}"
        founder = keys.Entry(self.object(parse(name)))
        known = self.above.members.was_owner(founder.member, founder.signing)
        need(known, f"{name}: its member never was an owner of the repository above")
        return self.above.identity._replace(owner=founder.signing)

    def _is_shredded(self):
        if not self.above:
            return
        marked, noted = self.store.has("shredded"), self.above.root and self.id in self.above.root.erased
        if marked or noted:
            need(not self.above.has_shredded(self.id), "this domain was shredded")
        if marked:
            self.note("shredded: no owner left a record of it")

    @property
    def newest_bundle(self):
        return self.bundles[max(self.bundles)]

    @property
    def reads(self):
        """Whether the role opens contents: a writer or a maintainer sees no more than what refers to what."""
        return {keys.DATA, keys.META} <= set(self.newest_bundle.secret)

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

    def root_counts(self, signer, root, before):
        """Of the roots of who was removed only those before the first that names the removal (6.3)."""
        named = max(root.members, before.members if before else 0)
        return named <= self.members.removed.get(signer, named)

    def _newest_root(self):
        """The newest root that counts; names run downwards, so it is the first one that a listing gives."""
        newest, of_removed = None, []
        for place in self.of_kind(ROOT):
            try:
                found, root = self.read_root(place)
            except Uncounted as error:
                self.note(error)
                continue
            if found.header.member not in self.members.removed:
                newest = root
                break
            of_removed.append((place, found.header.member, root))
        for place, signer, root in reversed(of_removed):
            if self.root_counts(signer, root, newest):
                newest = root
            else:
                self.note(f"{place.name}: its author was removed before")
        if newest:
            self._compare_members(newest)
        return newest

    def _compare_members(self, root):
        need(1 <= root.members <= self.members.count, "the newest root knows more members than there are")
        known = self.members.hashes[root.members - 1]
        need(known == root.last_member, "the newest root knows another last member")

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

    def _read_begins(self):
        """Whose epoch is above the newest root has seen a root that is gone (19.3)."""
        newest = self.root.number if self.root else 0
        for place in self.of_kind(BEGIN):
            if place.epoch <= newest & 0xFFFFFFFF:
                continue
            try:
                signer = self.signed(place, BEGINNERS).header.member
            except Uncounted as error:
                self.note(error)
                continue
            trusted = self.members.last_role(signer) in MAINTAINERS or signer == self.identity.member
            told = f"{place.name}: has seen root {place.epoch}, and the newest one here is {newest}"
            need(not trusted, told)
            self.note(told)

    def _read_ends(self):
        self.commits, self.aborted = {}, set()
        for place in self.of_kind(END):
            try:
                self._read_end(place)
            except Uncounted as error:
                self.note(error)
        for session, row in self.catalogue.items():
            if self.members.is_of_another(session, row.member):
                continue
            found = self.commits.get(row.member + session)
            need(found, f"snapshot {session.hex()}: its end is missing")
            stated = (row.hash, row.epoch & 0xFFFFFFFF, row.summary)
            need(stated == (found.hash, found.epoch, found.commit.summary), f"snapshot {session.hex()}: is another")
        counting = [found for found in self.commits.values() if self.counts(found)]
        self.snapshots = sorted(counting, key=lambda found: (found.commit.summary.started, found.id))
        # What is superseded is there, and not shown.
        self.hidden = self._superseded()

    def _read_end(self, place):
        found = self.signed(place, BEGINNERS, own=False)
        signer, role = found.header.member, self.members.last_role(found.header.member)
        meta = lambda row: self.secret(row, keys.META) if self.reads else None
        outcome = sessions.end(found, self.k_ref(found), meta)
        if isinstance(outcome, str):
            may = signer == place.member or role in MAINTAINERS
            count(may, f"{place.name}: this member may not abort it")
            self.aborted.add(place.owner)
            return
        count(signer == place.member, f"{place.name}: another member commits it")
        owner = (outcome.row.member, outcome.row.session)
        need(owner == (place.member, place.session), f"{place.name}: is another session's")
        count(role in WRITERS, f"{place.name}: its author's role may not commit")
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
                if is_same and (other.member == found.member or self.members.last_role(found.member) == OWNER):
                    hidden.add(other.id)
        return hidden

    def author(self, found):
        """The member whose words a snapshot is: of one that an owner passed on, the one it names, if it is one here."""
        said_by, signed = found.commit.summary.said_by, self.members.last_role(found.member)
        is_passed_on = signed == OWNER and said_by and said_by.member in self.members.admitted
        return said_by.member if is_passed_on else found.member

    # The index (10, 19.2).

    def _read_index(self):
        self.rows, self.session_rows, self.pack_rows = {}, {}, {}
        for row in self.root.segments if self.root else []:
            found = self.named(f"index/segment/{row.id.hex()}", row)
            segment = Segment(found, self.k_idx(found))
            stated = (row.bits, row.value, row.level, row.rows, row.sum)
            read = (segment.bits, segment.value, segment.level, segment.rows, segment.sum)
            need(read == stated, f"{found.what}: is another segment")
            self._take(segment.tables.sessions, segment.tables.packs, segment.tables.chunks)
        for place in self.of_kind(DELTA):
            if self.delta_counts(place):
                self._take(*self._own_rows(self.read_delta(place).tables, place))

    def delta_counts(self, place):
        is_committed = place.owner in self.commits and place.epoch >= self.fence
        return is_committed and place.owner not in self.lists[roots.ABSORBED]

    def read_delta(self, place):
        found = self.signed(place, WRITERS)
        delta = Delta(found, self.k_idx(found))
        need(delta.number == place.number, f"{place.name}: is delta {delta.number}")
        return delta

    def _own_rows(self, tables, place):
        """Rows of a delta; those of sessions and packs of others are ignored (10)."""
        is_own = lambda owner: owner[:16] == place.member and not self.members.is_of_another(owner[16:32], place.member)
        of_sessions = [row for row in tables.sessions if is_own(row.owner)]
        of_packs = [row for row in tables.packs if is_own(row.pack)]
        of_chunks = [row for row in tables.chunks if is_own(row.pack.pack) and is_own(row.origin.pack)]
        own = of_sessions, of_packs, of_chunks
        if [*map(len, own)] != [*map(len, (tables.sessions, tables.packs, tables.chunks))]:
            self.note(f"{place.name}: has rows that are not its author's to write")
        return own

    def _take(self, of_sessions, of_packs, of_chunks):
        for row in of_sessions:
            known = self.session_rows.get(row.owner)
            # One that was made anew from packs may lack a secret that another has.
            merged = {**(known.secrets if known else {}), **row.secrets}
            self.session_rows[row.owner] = row._replace(secrets=merged)
        for row in of_packs:
            if row.size:
                self.pack_rows[row.pack] = row
        for row in of_chunks:
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

    def references(self, id, member):
        """Pages and data chunks that a page names, for who holds K_ref alone; those are believed that the
        snapshot's member or an owner sealed, where one of them has a copy (19.4, G2)."""
        rows, failed = self.rows.get(id[:24], []), Refused(f"page {id.hex()}: is in no pack")
        is_believed = lambda by: by == member or self.members.last_role(by) == OWNER
        for row in [row for row in rows if is_believed(row.origin.pack[:16])] or rows:
            try:
                return self._references_at(id, row)
            except Refused as error:
                failed = error
        raise failed

    def _references_at(self, id, row):
        what = f"page {id.hex()[:16]} in {pack_name(row.pack.pack)}"
        need(row.pack.pack not in self.lists[roots.DEAD], f"{what}: the pack is dead")
        sealed = self.store.read(pack_name(row.pack.pack), row.offset, row.stored & chunks.LENGTH)
        k_ref = self.bundle(self.session_rows[row.origin.session.owner].key_epoch).k_ref
        opener = chunks.PackKeys(self.id, row.origin.pack, None, k_ref)
        return references_of(opener.references(id, row.stored, sealed, what)[0], what)

    # Evidence (14).

    def evidence(self):
        """(place, record or None, why it cannot be read) of each record that counts, chain by chain."""
        ends = {}
        for place in filter(self._evidence_counts, self.of_kind(EVIDENCE)):
            number, last = ends.get(place.member, (0, bytes(32)))
            need(place.number == number, f"{place.name}: records before it are missing")
            try:
                record, error = self._record(place, last), None
            except Refused as refused:
                # The next one follows it all the same, as the bytes that lie there.
                record, error = None, refused
            yield place, record, error
            ends[place.member] = number + 1, hash(self.store.read(place.name))
        for member, cut in self._cut_offs().items():
            need(ends.get(member, (0, bytes(32))) == cut, f"evidence of {member.hex()}: ends before its cut-off")

    def _cut_offs(self):
        stated = self.root.cut_offs.members if self.root else {}
        return {member: cut for member, cut in stated.items() if self.is_shut_out(member)}

    def _evidence_counts(self, place):
        """Whether a record counts by its name alone: whose it is, and how far the root says that those count."""
        until = self._cut_offs().get(place.member, (NUMBER_MAX, None))[0]
        counts = place.member in self.members.admitted and place.number < min(until, NUMBER_MAX)
        if not counts:
            self.note(f"{place.name}: does not count")
        return counts

    def _record(self, place, last):
        found = self.signed(place, WITNESSES)
        record = evidence(found, self.k_ref(found))
        need(record.number == place.number, f"{place.name}: is record {record.number}")
        need(record.previous == last, f"{place.name}: does not follow the record before")
        check_text(record, place.name)
        return record

    def has_shredded(self, repository):
        """Whether an owner left a record of the erasure of a domain (6.5)."""
        shreds = [(place, record) for place, record, _ in self.evidence() if record and record.kind == "shred"]
        return any(self.members.last_role(place.member) == OWNER
                   and json.loads(record.text).get("repository") == repository.hex() for place, record in shreds)

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
