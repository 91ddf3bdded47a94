"""Keys and members (FORMAT.md 6): slots, the chain of members, key bundles, secrets of sessions."""

from typing import NamedTuple, Optional

from notation import Cursor, Refused, need, one_of, u64
from primitives import (KEM_CIPHERTEXT, KEM_PUBLIC, KEM_SECRET, ZERO_NONCE, argon2id, decapsulate, derive,
                        hash16, short_id, unseal)

OWNER, WRITER, MAINTAINER, READER, LOG_READER = 1, 2, 3, 4, 5
ROLES = (OWNER, WRITER, MAINTAINER, READER, LOG_READER)
ADMIT, REMOVE = 1, 2
DATA, META = 1, 2
# The key pair of logs; what is sealed to it is of class 1 all the same.
LOGS = "logs"
TRANSIT = 0x0002
WRAPPED = 1212


class Slot:
    """A key slot (6.2)."""

    def __init__(self, found):
        body = found.body
        self.what, self.header = found.what, found.header.bytes
        self.method = one_of(body.u8(), (1, 2), f"{found.what}: method")
        self.memory, self.passes, self.lanes = body.u32(), body.u32(), body.u32()
        self.salt, self.role, self.label = body.raw(32), one_of(body.u8(), ROLES, "role"), body.text16()
        fields = body.data[:body.at]
        self.sealed, self.commitment = body.bytes32(64 << 10), body.raw(32)
        tags = body.data[body.at:]
        self.tags = found.finish()
        self.transit = self.method == 2 and self._transit(self.tags.get(TRANSIT))
        self.aad = self.header + fields + tags
        self._check_cost()

    def _transit(self, tag):
        """The key of a server and what it gave for the key file; None if it does not lie in the slot, or malformed."""
        if tag is None:
            return None
        cursor = Cursor(tag, f"{self.what}, sealed key file")
        try:
            told = cursor.text16(), cursor.text16()
            cursor.end()
        except Refused:
            return None
        return told

    def _check_cost(self):
        cost = (self.memory, self.passes, self.lanes)
        if self.method == 2:
            need(cost == (0, 0, 0), f"{self.what}: a key file has no cost")
            return
        need(1 <= self.lanes <= 64 and 1 <= self.passes <= 64, f"{self.what}: cost {cost}")
        need(8 * self.lanes <= self.memory <= 4 << 20, f"{self.what}: cost {cost}")

    def key(self, secret):
        if self.method == 2:
            return derive("holdfast 1 key file", secret, self.salt)
        return argon2id(secret, self.salt, self.memory, self.passes, self.lanes)

    def open(self, secret):
        """The identity inside, or None: the slot is for another password or key file."""
        if self.method == 2 and len(secret) < 32:
            return None
        key = self.key(secret)
        if derive("holdfast 1 slot commitment", key) != self.commitment:
            return None
        plain = unseal(derive("holdfast 1 slot seal", key), ZERO_NONCE, self.aad, self.sealed, self.what)
        cursor = Cursor(plain, f"{self.what}, keys")
        identity = Identity(cursor.raw(16), cursor.raw(32), cursor.raw(32), cursor.bytes32(8 << 10))
        cursor.tags()
        cursor.end()
        need(len(identity.kem) == KEM_SECRET, f"{self.what}: length of the KEM key")
        return identity


class Identity(NamedTuple):
    """What a slot holds."""
    member: bytes
    seed: bytes
    owner: bytes
    kem: bytes


class Bundle(NamedTuple):
    """The keys of one generation (6.1); those that the role does not hold are None."""
    k_id: Optional[bytes]
    k_cdc: Optional[bytes]
    k_idx: Optional[bytes]
    k_ref: Optional[bytes]
    public: dict
    secret: dict


WIDTHS = {0x8001: 32, 0x8002: 32, 0x8003: 32, 0x8004: 32, 0x8005: KEM_PUBLIC, 0x8006: KEM_PUBLIC,
          0x8007: KEM_SECRET, 0x8008: KEM_SECRET, 0x8009: KEM_PUBLIC, 0x800A: KEM_SECRET}


def bundle(plain, epoch, what):
    cursor = Cursor(plain, what)
    need(cursor.u32() == epoch, f"{what}: is of another key epoch")
    tags = cursor.tags(WIDTHS)
    cursor.end()
    for tag, width in WIDTHS.items():
        need(tag not in tags or len(tags[tag]) == width, f"{what}: length of key {tag:04x}")
    halves = lambda *ids: {klass: tags[tag] for klass, tag in zip((DATA, META, LOGS), ids) if tag in tags}
    return Bundle(*(tags.get(0x8001 + at) for at in range(4)),
                  halves(0x8005, 0x8006, 0x8009), halves(0x8007, 0x8008, 0x800A))


def open_bundle(identity, repository, epoch, sealed, what):
    shared = decapsulate(identity.kem, sealed[:KEM_CIPHERTEXT], what)
    key = derive("holdfast 1 bundle", shared, repository)
    return bundle(unseal(key, ZERO_NONCE, b"", sealed[KEM_CIPHERTEXT:], what), epoch, what)


class Entry:
    """A member entry (6.3)."""

    def __init__(self, found):
        body = found.body
        self.number, self.previous = body.u64(), body.raw(32)
        self.action = one_of(body.u8(), (ADMIT, REMOVE), f"{found.what}: action")
        self.member, self.role = body.raw(16), one_of(body.u8(), ROLES, f"{found.what}: role")
        self.label, self.signing, self.kem = body.text16(), body.raw(32), body.raw(KEM_PUBLIC)
        self.bundles = body.list(lambda: (body.u32(), body.bytes32(64 << 10)))
        found.finish()


def name_of_entry(number, before):
    """The one name that can follow the entry with this hash."""
    return f"members/{number:016x}-{hash16(before + u64(number)).hex()}"


class Members:
    """The chain of members from its first entry on: who is in force, with which role and keys, and who was."""

    def __init__(self, open_object, has, first, owner):
        self.in_force, self.admitted, self.removed, self.roles = {}, {}, {}, {}
        # Names and hashes of the entries, in their order; and what lies in the place of the next one (6.3).
        self.names, self.hashes, self.stray = [], [], None
        name = f"members/{0:016x}-{first}"
        need(has(name), f"{name}: is missing")
        self._take(name, self._first(open_object(name), owner))
        while has(self.next_name()):
            name = self.next_name()
            found = self._by_an_owner(name, open_object)
            if found is None:
                return
            self._take(name, found)

    @property
    def count(self):
        return len(self.hashes)

    @property
    def last(self):
        return self.hashes[-1] if self.hashes else bytes(32)

    def next_name(self):
        return name_of_entry(self.count, self.last)

    def _by_an_owner(self, name, open_object):
        """The object under the name of the next entry, or None: what no owner signed is no entry."""
        try:
            found = open_object(name)
            signer = found.header.member
            need(self.role(signer) == OWNER, f"{name}: was not signed by an owner")
            return found.verify(self.in_force[signer].signing)
        except Refused as error:
            self.stray = f"{error}; it is no entry, and none can follow while it lies there"
            return None

    @staticmethod
    def _first(found, owner):
        entry = Entry(found)
        found.body.at = 0
        founder = (entry.action, entry.role, entry.signing, entry.member)
        need(founder == (ADMIT, OWNER, owner, found.header.member), f"{found.what}: is not the founder's")
        return found.verify(owner)

    def _take(self, name, found):
        what, entry = found.what, Entry(found)
        need((entry.number, entry.previous) == (self.count, self.last), f"{what}: does not follow the one before")
        known = self.admitted.get(entry.member, entry)
        need(known.signing == entry.signing, f"{what}: another signing key of its member")
        if entry.action == ADMIT:
            self.in_force[entry.member] = self.admitted[entry.member] = entry
            self.roles.setdefault(entry.member, set()).add(entry.role)
            self.removed.pop(entry.member, None)
        else:
            self.in_force.pop(entry.member, None)
            self.removed[entry.member] = entry.number
        owners = [entry for entry in self.in_force.values() if entry.role == OWNER]
        need(owners, f"{what}: leaves no owner")
        self.names.append(name)
        self.hashes.append(found.hash)

    def is_of_another(self, session, member):
        """Whether a session's id says that it is of somebody else who belongs or belonged (2)."""
        says = session[8:]
        return says != member[:8] and any(says == other[:8] for other in self.admitted)

    def was_owner(self, member, signing):
        """Whether the chain has, at some place, admitted this member as an owner with this key (6.5)."""
        return OWNER in self.roles.get(member, ()) and self.admitted[member].signing == signing

    def agreed_epoch(self):
        """The highest key epoch of which every member in force has a bundle; those without any do not count."""
        held = [{epoch for epoch, _ in entry.bundles} for entry in self.in_force.values() if entry.bundles]
        return max(set.intersection(*held))

    def role(self, member):
        entry = self.in_force.get(member)
        return entry and entry.role

    def last_role(self, member):
        """The role in force; of who was removed that of the last admit, by which what counts is judged."""
        entry = self.admitted.get(member)
        return entry and entry.role

    def bundles(self, identity, repository):
        """The own keys, by key epoch."""
        entry = self.in_force.get(identity.member)
        need(entry is not None, "this key's member was removed")
        need(entry.kem == identity.kem[2432:], "the slot's KEM key is not the one of its member entry")
        opened = {}
        for epoch, sealed in entry.bundles:
            need(epoch not in opened, "two key bundles of one epoch")
            opened[epoch] = open_bundle(identity, repository, epoch, sealed, f"key bundle {epoch}")
        need(opened, "the member entry has no key bundle")
        return opened


class Wrapped(NamedTuple):
    """A wrapped secret of a session (6.4)."""
    commitment: bytes
    recipient: bytes
    ciphertext: bytes
    sealed: bytes

    def is_placeholder(self):
        """As a pack of a repack has it, whose session has no secret (9)."""
        return not any(self.commitment + self.recipient + self.ciphertext + self.sealed)


def wrapped(cursor):
    commitment, recipient = cursor.raw(32), cursor.raw(8)
    one_of(cursor.u16(), (2,), f"{cursor.what}: KEM method")
    need(cursor.u16() == KEM_CIPHERTEXT, f"{cursor.what}: length of a KEM ciphertext")
    return Wrapped(commitment, recipient, cursor.raw(KEM_CIPHERTEXT), cursor.raw(48))


def log_key(wrap, secret_keys):
    """The key that opens a log segment: that of logs, if it is sealed to that one."""
    own = secret_keys.get(LOGS)
    return own if own and wrap.recipient == short_id(own[2432:]) else secret_keys.get(DATA)


def unwrap(wrap, secret_key, repository, member, session, klass, what):
    need(wrap.recipient == short_id(secret_key[2432:]), f"{what}: a secret is wrapped to another key")
    shared = decapsulate(secret_key, wrap.ciphertext, what)
    key = derive("holdfast 1 session wrap", shared, repository, member, session, bytes([klass]))
    secret = unseal(key, ZERO_NONCE, b"", wrap.sealed, f"{what}: wrapped secret")
    need(derive("holdfast 1 session commitment", secret) == wrap.commitment, f"{what}: another secret was wrapped")
    return secret


class SessionRow(NamedTuple):
    """A session's wrapped secrets, by class."""
    member: bytes
    session: bytes
    key_epoch: int
    secrets: dict

    @property
    def owner(self):
        return self.member + self.session


def session_id(member, random):
    """The id of a session of a member (2)."""
    return random + member[:8]


def session_row(cursor):
    member, session, key_epoch, which = cursor.raw(16), cursor.raw(16), cursor.u32(), cursor.u8()
    need(which < 4, f"{cursor.what}: session row {which}")
    secrets = {klass: wrapped(cursor) for klass in (DATA, META) if which & klass}
    return SessionRow(member, session, key_epoch, secrets)
