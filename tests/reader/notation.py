"""Notation (FORMAT.md 1): how numbers, texts, lists and tags lie in bytes.

Whatever is not as the page says is refused, by `need`; nothing is guessed or repaired.
"""

import struct


class Refused(Exception):
    """Bytes that are not what FORMAT.md allows; says which and why."""


def need(holds, what):
    """Refuses if something does not hold."""
    if not holds:
        raise Refused(what)


class Cursor:
    """Goes through the bytes of a record, front to back."""

    def __init__(self, data, what):
        self.data, self.at, self.what = bytes(data), 0, what

    def left(self):
        return len(self.data) - self.at

    def raw(self, count):
        need(count <= self.left(), f"{self.what}: cut off")
        self.at += count
        return self.data[self.at - count:self.at]

    def _number(self, form, width):
        return struct.unpack("<" + form, self.raw(width))[0]

    def u8(self):
        return self._number("B", 1)

    def u16(self):
        return self._number("H", 2)

    def u32(self):
        return self._number("I", 4)

    def u64(self):
        return self._number("Q", 8)

    def i64(self):
        return self._number("q", 8)

    def bytes16(self):
        return self.raw(self.u16())

    def bytes32(self, limit=1 << 32):
        count = self.u32()
        need(count <= limit, f"{self.what}: {count} bytes are more than {limit}")
        return self.raw(count)

    def _text(self, data):
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(f"{self.what}: a text is not UTF-8") from None

    def text16(self):
        return self._text(self.bytes16())

    def text32(self, limit=16 << 20):
        return self._text(self.bytes32(limit))

    def flag(self):
        value = self.u8()
        need(value in (0, 1), f"{self.what}: a flag is {value}")
        return bool(value)

    def time(self):
        """Seconds since 1970 and nanoseconds."""
        seconds, nanoseconds = self.i64(), self.u32()
        need(nanoseconds < 1_000_000_000, f"{self.what}: {nanoseconds} nanoseconds")
        return seconds, nanoseconds

    def list(self, item):
        count = self.u32()
        need(count <= self.left(), f"{self.what}: a list of {count} items in {self.left()} bytes")
        return [item() for _ in range(count)]

    def tags(self, critical=()):
        """A tagged list; a critical tag that is not among those known here is refused (17)."""
        found, last = {}, -1
        for _ in range(self.u16()):
            tag = self.u16()
            need(tag > last, f"{self.what}: tags are out of order")
            need(tag < 0x8000 or tag in critical, f"{self.what}: critical tag {tag:04x} is not known")
            found[tag], last = self.bytes32(16 << 20), tag
        return found

    def end(self):
        need(self.left() == 0, f"{self.what}: {self.left()} bytes are left over")


def one_of(value, known, what):
    """An enumeration (17): values that are not known belong to a newer version."""
    need(value in known, f"{what} {value} belongs to a newer version")
    return value


def u32(number):
    return struct.pack("<I", number)


def u64(number):
    return struct.pack("<Q", number)


def escape(path):
    """Bytes as the listing of the golden repository shows them (21)."""
    short = {9: "\\t", 10: "\\n", 13: "\\r", 34: '\\"', 39: "\\'", 92: "\\\\"}
    return "".join(short.get(b) or (chr(b) if 32 <= b < 127 else f"\\x{b:02x}") for b in path)
