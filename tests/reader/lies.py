"""What a stolen writer's host can store in its own name and must change nothing: in memory alone.

    lies.py REPOSITORY KEY_FILE     the password opens the repository as its owner, the key file as the writer

The writer needs a snapshot whose delta was not merged yet. Each lie is to be told of, or refused by name.
"""

import os
import sys

import zstandard

from audit import Audit
from frame import MAGIC, seal_section, signature_of
from keys import OWNER, session_row
from notation import Cursor, Refused, u32, u64
from places import BEGIN, DELTA, EVIDENCE, MEMBER, parse
from primitives import hash
from repository import Folder, Repository

NO_TAGS = bytes(2)


class Added(Folder):
    """A folder with one object more, or another in the place of one."""

    def __init__(self, path, name, data):
        super().__init__(path)
        self.added, self.data = name, data
        self.set.add(name)
        self.names = sorted(self.set)

    def read(self, name, offset=0, length=-1):
        if name != self.added:
            return super().read(name, offset, length)
        return self.data[offset:] if length < 0 else self.data[offset:offset + length]


class Liar:
    """Makes objects with the writer's keys."""

    def __init__(self, repository):
        self.repository, self.member = repository, repository.identity.member
        self.key_epoch = repository.members.agreed_epoch()
        self.keys = repository.bundles[self.key_epoch]
        self.owner = next(entry.member for entry in repository.members.in_force.values() if entry.role == OWNER)

    def header(self, name, kind, epoch=0):
        numbers = bytes([kind, 0, 1, 1]) + u32(0) + u32(0) + u32(100) + u32(self.key_epoch)
        ids = self.repository.id + parse(name).id + u64(epoch) + self.member + os.urandom(16)
        return MAGIC + numbers + ids

    def signed(self, header, body):
        covered = header + body
        covered += signature_of(self.repository.identity.seed, covered)
        return covered + hash(covered)

    @staticmethod
    def section(key, header, label, payload, is_frame=False):
        plain = b"\1" + zstandard.compress(payload) if is_frame else b"\0" + payload
        sealed = seal_section(key, header, label, plain)
        return u32(len(sealed)) + sealed

    def session(self, of):
        return os.urandom(8) + of[:8]

    def begin(self, session, epoch):
        name = f"sessions/{epoch:08x}/{self.member.hex()}-{session.hex()}/begin"
        header = self.header(name, BEGIN, epoch)
        return name, self.signed(header, self.section(self.keys.k_ref, header, "begin", bytes(74)) + NO_TAGS)

    def entry(self):
        """Makes itself an owner."""
        members = self.repository.members
        name, own = members.next_name(), members.in_force[self.member]
        body = u64(members.count) + members.last + b"\1" + self.member + bytes([OWNER]) + bytes(2)
        return name, self.signed(self.header(name, MEMBER), body + own.signing + own.kem + u32(0) + NO_TAGS)

    def record(self, number, text, is_frame):
        name = f"evidence/{self.member.hex()}/{number:016x}"
        header, payload = self.header(name, EVIDENCE), bytes(12) + b"\4\0note" + u32(len(text)) + text + NO_TAGS
        section = self.section(self.keys.k_ref, header, "evidence", payload, is_frame)
        return name, self.signed(header, u64(number) + bytes(32) + section + NO_TAGS)

    def delta(self):
        """Says of an owner's pack that it is another."""
        repository = self.repository
        place = next(place for place in repository.of_kind(DELTA)
                     if place.member == self.member and repository.delta_counts(place))
        victim = next(pack for pack in repository.pack_rows if pack[:16] == self.owner)
        found = repository.signed(place, (2,))
        number = found.body.u32()
        truth = found.section(repository.k_idx(found), "index delta").data
        header = self.header(place.name, DELTA, found.header.epoch)
        section = self.section(self.keys.k_idx, header, "index delta", with_row(truth, victim))
        return place.name, self.signed(header, u32(number) + section + NO_TAGS)


def with_row(tables, pack):
    """Tables with one session and one pack more."""
    cursor = Cursor(tables, "tables")
    sessions = cursor.u32()
    for _ in range(sessions):
        session_row(cursor)
    front, packs = tables[4:cursor.at], cursor.u32()
    rows, rest = cursor.raw(53 * packs), tables[cursor.at:]
    row = u32(sessions) + pack[32:37] + u64(1 << 40) + bytes(32) + u32(1)
    return u32(sessions + 1) + front + pack[:32] + u32(0) + b"\0" + u32(packs + 1) + rows + row + rest


def heard(path, secret, name, data):
    """What is said of a repository with such an object, and the snapshots that count."""
    try:
        repository = Repository(Added(path, name, data), secret)
        Audit(repository).run()
    except Refused as error:
        return f"refused: {error}", None
    return "\n".join(repository.notes), [found.id for found in repository.snapshots]


def lies(liar):
    """(whose eyes, what is told, the object)."""
    above = (liar.repository.root.number if liar.repository.root else 0) + 7
    later = liar.begin(liar.session(liar.member), above)
    yield "owner", "it is no entry", liar.entry()
    yield "owner", "says that it is of another member", liar.begin(liar.session(liar.owner), 0)
    yield "owner", "has seen root", later
    yield "writer", "refused: " + later[0], later
    yield "owner", "not its author's to write", liar.delta()
    yield "owner", "does not count", liar.record(1 << 31, b"{}", False)
    yield "owner", "is too long", liar.record(0, b'{"a":"' + bytes(4 << 20) + b'"}', True)


def main(path, key_file):
    with open(key_file, "rb") as file:
        secrets = {"owner": os.environb[b"HOLDFAST_PASSWORD"], "writer": file.read()}
    liar, count = Liar(Repository(Folder(path), secrets["writer"])), 0
    known = [found.id for found in liar.repository.snapshots]
    for eyes, told, (name, data) in lies(liar):
        said, snapshots = heard(path, secrets[eyes], name, data)
        if told not in said or snapshots not in (None, known):
            sys.exit(f"{name}: {told!r} is not said: {said}")
        count += 1
    print(f"{count} lies of a writer: all told")


if __name__ == "__main__":
    main(*sys.argv[1:])
