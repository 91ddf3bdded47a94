"""Sessions and snapshots (FORMAT.md 12)."""

import struct
from typing import NamedTuple

from keys import session_row
from notation import need, one_of

COMMIT, ABORT = 1, 2


class Begin(NamedTuple):
    stream: bytes
    machine: bytes
    boot: bytes
    process: int
    process_start: int
    started: tuple


def begin(found, k_ref):
    cursor = found.section(k_ref, "begin")
    record = Begin(cursor.raw(16), cursor.raw(16), cursor.raw(16), cursor.u32(), cursor.u64(), cursor.time())
    cursor.tags()
    cursor.end()
    found.finish()
    return record


def pins(found, k_ref):
    """Snapshots and packs that a session relies on."""
    cursor = found.section(k_ref, "pins")
    snapshots = cursor.list(lambda: cursor.raw(16))
    packs = cursor.list(lambda: cursor.raw(37))
    cursor.tags()
    cursor.end()
    found.finish()
    order = lambda pack: (pack[:33], int.from_bytes(pack[33:], "little"))
    need(snapshots == sorted(set(snapshots)), f"{found.what}: snapshots are out of order")
    need(packs == sorted(set(packs), key=order), f"{found.what}: packs are out of order")
    return snapshots, packs


class NeededLog(NamedTuple):
    """Which segments of a database's log a snapshot needs."""
    system: int
    timeline: int
    first: int
    last: int
    segment_bytes: int


class SaidBy(NamedTuple):
    """Whose words a summary is that an owner passed on."""
    member: bytes
    received: tuple


class Summary(NamedTuple):
    stream: bytes
    host: str
    kind: str
    label: str
    paths: list
    tags: list
    started: tuple
    ended: tuple
    counts: tuple
    is_incomplete: bool
    problems: int
    root: bytes
    space: int
    superseded: list
    log: object
    said_by: object


def summary(cursor):
    stream, host, kind, label = cursor.raw(16), cursor.text32(), cursor.text32(), cursor.text32()
    paths = cursor.list(lambda: cursor.bytes32(16 << 20))
    tags = cursor.list(cursor.text32)
    need(tags == sorted(tags, key=str.encode), f"{cursor.what}: tags are out of order")
    times, counts = (cursor.time(), cursor.time()), struct.unpack("<11Q", cursor.raw(88))
    is_incomplete, problems = cursor.flag(), cursor.u64()
    root, space = cursor.raw(32), one_of(cursor.u8(), (0, 1), f"{cursor.what}: key space")
    superseded = cursor.list(lambda: cursor.raw(16))
    known = cursor.tags()
    need(len(known.get(1, bytes(16))) == 16 and len(known.get(2, bytes(32))) == 32, f"{cursor.what}: tags")
    need(len(known.get(3, bytes(36))) == 36, f"{cursor.what}: the log that it needs")
    log = NeededLog(*struct.unpack("<QIQQQ", known[3])) if 3 in known else None
    need(len(known.get(4, bytes(28))) == 28, f"{cursor.what}: whose words it is")
    said_by = SaidBy(known[4][:16], struct.unpack("<qI", known[4][16:])) if 4 in known else None
    need(said_by is None or said_by.received[1] < 10**9, f"{cursor.what}: when its words were first seen")
    cursor.end()
    return Summary(stream, host, kind, label, paths, tags, *times, counts, is_incomplete, problems, root, space,
                   superseded, log, said_by)


class Commit(NamedTuple):
    """An end that commits; `details` is sealed with the session's meta secret."""
    repository_hash: bytes
    deltas: int
    pins: int
    summary: Summary
    row: object
    details: object


def end(found, k_ref, meta_secret):
    """A commit, or the reason of an abort. `meta_secret` gives that of a session row; None without a key for it."""
    if one_of(found.body.u8(), (COMMIT, ABORT), f"{found.what}: outcome") == ABORT:
        reason = found.section(k_ref, "abort").data.decode("utf-8", "replace")
        found.finish()
        return reason
    hash, deltas, pinned = found.body.raw(32), found.body.u32(), found.body.u32()
    stated = summary(found.section(k_ref, "summary"))
    row = session_row(found.body)
    need(set(row.secrets) == {1, 2}, f"{found.what}: a commit has both secrets")
    secret = meta_secret(row)
    opened = details(found.section(secret, "details")) if secret else found.body.bytes32() and None
    found.finish()
    return Commit(hash, deltas, pinned, stated, row, opened)


class Details(NamedTuple):
    version: str
    command: str
    problems: list
    source: bytes
    facts: list


def details(cursor):
    version, command = cursor.text32(), cursor.text32()
    problems = cursor.list(lambda: (cursor.bytes32(16 << 20), cursor.text32()))
    source = cursor.bytes32(16 << 20)
    facts = cursor.list(lambda: (cursor.text32(), cursor.text32()))
    cursor.tags()
    cursor.end()
    return Details(version, command, problems, source, facts)
