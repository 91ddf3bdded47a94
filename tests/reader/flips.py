"""Breaks a repository in many ways, one at a time and in memory alone, and expects each to be refused.

    flips.py REPOSITORY

Of each object one bit, with and without a checksum that was made anew; and other objects in its place.
"""

import os
import sys

from audit import Audit
from notation import Refused
from places import parse
from primitives import hash
from repository import Folder, Repository


class Broken(Folder):
    """A folder of which one object has other bytes."""

    def __init__(self, path, name, data):
        super().__init__(path)
        self.broken, self.data = name, data

    def read(self, name, offset=0, length=-1):
        if name != self.broken:
            return super().read(name, offset, length)
        return self.data[offset:] if length < 0 else self.data[offset:offset + length]


def is_refused(path, name, data):
    try:
        Audit(Repository(Broken(path, name, data), os.environb[b"HOLDFAST_PASSWORD"])).run()
    except Refused:
        return True
    return False


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def breaks(folder, name):
    """(what, bytes) of the ways in which an object is broken."""
    data = folder.read(name)
    yield "a bit", flipped(data, len(data) * 2 // 3)
    if parse(name) is None:
        return
    middle = flipped(data[:-32], len(data) * 2 // 3)
    yield "a bit and the checksum", middle + hash(middle)
    header = flipped(data[:-32], 90)
    yield "the nonce of the header and the checksum", header + hash(header)


def others(folder, kinds):
    """Objects in the place of another of their kind."""
    for names in kinds.values():
        if len(names) > 1:
            yield names[0], "the bytes of another", folder.read(names[-1])


def chosen(folder):
    """One object of each kind; packs by their class."""
    kinds = {}
    for name in folder.names:
        place = parse(name)
        kind = (name,) if place is None else (place.kind, place.pack[32] if place.pack else 0)
        kinds.setdefault(kind, []).append(name)
    return kinds


def main(path):
    folder, count = Folder(path), 0
    kinds = chosen(folder)
    cases = [(names[0], what, data) for names in kinds.values() for what, data in breaks(folder, names[0])]
    cases += others(folder, kinds)
    for name, what, data in cases:
        if not is_refused(path, name, data):
            sys.exit(f"{name}: {what} is not noticed")
        count += 1
    print(f"{count} ways to break {len(kinds)} kinds of objects: all refused")


if __name__ == "__main__":
    main(sys.argv[1])
