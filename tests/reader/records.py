"""Log segments and evidence (FORMAT.md 14)."""

import json
from typing import NamedTuple

from keys import wrapped
from notation import need
from primitives import derive, keyed, unseal, unzstd

SEALED_MAX = 1 << 30


class Log(NamedTuple):
    """A log segment, still sealed."""
    content: bytes
    length: int
    secret: object
    is_frame: bool
    sealed: bytes


def log(found):
    body = found.body
    record = Log(body.raw(32), body.u64(), wrapped(body), body.flag(), body.bytes32(SEALED_MAX))
    found.finish()
    return record


def log_content(found, record, secret, k_id):
    """The segment's bytes; `secret` is unwrapped with class 1 and the object's id as session.

    A log reader has no `k_id`, and cannot compute the content's identifier.
    """
    key = derive("holdfast 1 wal", secret, found.header.bytes)
    plain = unseal(key, record.content[:12], record.content, record.sealed, found.what)
    if record.is_frame:
        plain = unzstd(plain, SEALED_MAX, found.what)
    need(len(plain) == record.length, f"{found.what}: its length")
    is_it = k_id is None or keyed(derive("holdfast 1 id wal", k_id), plain) == record.content
    need(is_it, f"{found.what}: its content")
    return plain


KINDS = ("drill", "missed", "note", "access", "shred", "inherited")
NUMBER_MAX = 1 << 31


class Evidence(NamedTuple):
    number: int
    previous: bytes
    time: tuple
    kind: str
    text: bytes


def evidence(found, k_ref):
    number, previous = found.body.u64(), found.body.raw(32)
    cursor = found.section(k_ref, "evidence")
    record = Evidence(number, previous, cursor.time(), cursor.text16(), cursor.bytes32(64 << 20))
    cursor.tags()
    cursor.end()
    found.finish()
    return record


def check_text(record, what):
    """The text of each kind that this page names is a JSON object."""
    if record.kind not in KINDS:
        return
    try:
        text = json.loads(record.text)
    except ValueError:
        text = None
    need(isinstance(text, dict), f"{what}: its text is no JSON object")
