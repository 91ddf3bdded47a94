"""Roots, lists and snapshot segments (FORMAT.md 13)."""

import re
from typing import NamedTuple

from notation import Cursor, need, one_of
from sessions import summary

CONDEMNED, DEAD, LOST, QUARANTINED, ABSORBED, FORGOTTEN = range(1, 7)
WIDTHS = {CONDEMNED: 37, DEAD: 37, LOST: 32, QUARANTINED: 37, ABSORBED: 32, FORGOTTEN: 16}
EVERYTHING, SOURCE, SNAPSHOT = 1, 2, 3
HOLDS, WATCHED, CUT_OFFS, DATED, ERASED = 0x8001, 0x0002, 0x0003, 0x0004, 0x0005


class SegmentRow(NamedTuple):
    bits: int
    value: int
    level: int
    id: bytes
    rows: int
    hash: bytes
    sum: bytes


class NamedRow(NamedTuple):
    kind: int
    id: bytes
    items: int
    hash: bytes
    floor: int


class KnownLog(NamedTuple):
    timeline: str
    ranges: list
    others: list


class DatedPart(NamedTuple):
    """Segments that a maintainer saw at one time, by their places."""
    first: int
    last: int
    pieces: int
    given_up: bool
    seen: tuple


WHOLE, PIECE = re.compile("[0-9A-F]{24}"), re.compile(r"(.+)\.(0|[1-9][0-9]*)")


class CutOffs(NamedTuple):
    """How far evidence and logs of removed members count: {member: (records, hash of the last)}; a known log or None."""
    members: dict
    log: object

    def knows_log(self, timeline, file):
        """Whether a log object that such a member wrote counts: `file` with its piece, as in the name."""
        if self.log is None:
            return True
        known = [known for known in self.log if known.timeline == timeline]
        return any(self._has(one, file) for one in known)

    @staticmethod
    def _has(known, file):
        if WHOLE.fullmatch(file) and any(first <= file <= last for first, last in known.ranges):
            return True
        piece = PIECE.fullmatch(file)
        return (file, 0) in known.others or piece is not None and any(
            name == piece[1] and int(piece[2]) < pieces for name, pieces in known.others)


class Root:
    """A numbered state of the repository."""

    def __init__(self, found, k_ref):
        cursor, what = found.section(k_ref, "root"), found.what
        found.finish()
        self.number, self.previous, self.repository_hash = cursor.u64(), cursor.raw(32), cursor.raw(32)
        need(self.number >= 1 and (self.number > 1 or not any(self.previous)), f"{what}: what it follows")
        self.members, self.last_member = cursor.u64(), cursor.raw(32)
        self.fence_pending, self.fence, self.time = cursor.u64(), cursor.u64(), cursor.time()
        self.segments = cursor.list(lambda: self._segment(cursor))
        self.snapshots = cursor.list(lambda: self._named(cursor, (0,)))
        self.lists = cursor.list(lambda: self._named(cursor, WIDTHS))
        self.merges = cursor.list(lambda: [int.from_bytes(cursor.raw(32), "little") for _ in range(3)])
        self.logs = cursor.list(lambda: self._log(cursor))
        tags = cursor.tags((HOLDS,))
        cursor.end()
        self.holds = self._tag(tags, HOLDS, what, self._hold)
        self.watched = self._tag(tags, WATCHED, what, lambda c: (c.raw(16), c.u32(), c.time()))
        self.cut_offs = self._cut_offs(tags, what)
        self.log_sources, self.dated_logs = self._dated(tags, what)
        self.erased = self._erased(tags, what)

    @staticmethod
    def _segment(cursor):
        row = SegmentRow(cursor.u8(), cursor.u16(), cursor.u8(), cursor.raw(16), cursor.u64(), cursor.raw(32),
                         cursor.raw(32))
        cursor.tags()
        return row

    @staticmethod
    def _named(cursor, kinds):
        kind = one_of(cursor.u8(), kinds, f"{cursor.what}: kind of a list")
        row = NamedRow(kind, cursor.raw(16), cursor.u64(), cursor.raw(32), cursor.u64())
        cursor.tags()
        return row

    @staticmethod
    def _log(cursor):
        log = cursor.text16(), cursor.text16(), cursor.list(lambda: (cursor.text16(), cursor.text16()))
        cursor.tags()
        return log

    @staticmethod
    def _hold(cursor):
        id, scope = cursor.raw(16), one_of(cursor.u8(), (EVERYTHING, SOURCE, SNAPSHOT), "scope of a hold")
        name, reason, since = cursor.bytes32(64 << 10), cursor.text32(64 << 10), cursor.time()
        ends, until = cursor.flag(), cursor.time()
        need(ends or until == (0, 0), f"{cursor.what}: a hold without an end has one")
        need(scope != EVERYTHING or not name, f"{cursor.what}: a hold on everything has a name")
        return id, scope, name, reason, since, until if ends else None

    @staticmethod
    def _tag(tags, tag, what, item):
        if tag not in tags:
            return []
        cursor = Cursor(tags[tag], f"{what}, tag {tag:04x}")
        items = cursor.list(lambda: item(cursor))
        cursor.end()
        return items

    @staticmethod
    def _cut_offs(tags, what):
        if CUT_OFFS not in tags:
            return CutOffs({}, None)
        cursor = Cursor(tags[CUT_OFFS], f"{what}, cut-offs")
        members = cursor.list(lambda: (cursor.raw(16), (cursor.u64(), cursor.raw(32))))
        known = lambda: KnownLog(cursor.text16(),
                                 cursor.list(lambda: (cursor.text16(), cursor.text16())),
                                 cursor.list(lambda: (cursor.text16(), cursor.u32())))
        log = cursor.list(known) if cursor.flag() else None
        cursor.end()
        return CutOffs(dict(members), log)


    @staticmethod
    def _dated(tags, what):
        """As which sources databases were backed up, and when their logs were seen: two dictionaries."""
        if DATED not in tags:
            return {}, {}
        cursor = Cursor(tags[DATED], f"{what}, dated logs")
        sources = cursor.list(lambda: (cursor.u64(), cursor.list(cursor.text16)))
        part = lambda: DatedPart(cursor.u64(), cursor.u64(), cursor.u32(), cursor.flag(), cursor.time())
        timelines = cursor.list(lambda: (cursor.text16(), cursor.list(part)))
        cursor.end()
        return dict(sources), dict(timelines)

    @staticmethod
    def _erased(tags, what):
        data = tags.get(ERASED, b"")
        need(len(data) % 16 == 0, f"{what}: erased domains are cut off")
        ids = [data[at:at + 16] for at in range(0, len(data), 16)]
        need(ids == sorted(set(ids)), f"{what}: erased domains are out of order")
        return ids


def list_items(found, k_idx):
    """Kind and items of a list."""
    cursor = found.section(k_idx, "list")
    kind, data = one_of(cursor.u8(), WIDTHS, f"{found.what}: kind of a list"), cursor.bytes32()
    cursor.tags()
    cursor.end()
    found.finish()
    width = WIDTHS[kind]
    need(len(data) % width == 0, f"{found.what}: items are cut off")
    items = [data[at:at + width] for at in range(0, len(data), width)]
    need(items == sorted(set(items)), f"{found.what}: items are out of order")
    return kind, items


class Catalogued(NamedTuple):
    session: bytes
    member: bytes
    epoch: int
    received: tuple
    hash: bytes
    summary: object


def snapshot_rows(found, k_ref):
    """The snapshots of a snapshot segment."""
    cursor = found.section(k_ref, "snapshots")
    rows = cursor.list(lambda: _catalogued(cursor))
    cursor.tags()
    cursor.end()
    found.finish()
    sessions = [row.session for row in rows]
    need(sessions == sorted(set(sessions)), f"{found.what}: snapshots are out of order")
    return rows


def _catalogued(cursor):
    front = cursor.raw(16), cursor.raw(16), cursor.u64(), cursor.time(), cursor.raw(32)
    stated = summary(Cursor(cursor.bytes32(64 << 20), f"{cursor.what}, summary"))
    cursor.tags()
    return Catalogued(*front, stated)
