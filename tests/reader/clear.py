"""The two clear files (FORMAT.md 5)."""

import json
from typing import NamedTuple

from notation import Refused, need
from primitives import hash

NAMES = ("holdfast", "format", "draft", "repository_id", "features", "key_slot", "member", "recover_blake3",
         "checksum")
SETS = ("incompat", "ro_compat", "compat")
DOMAIN = "domain"


class Clear(NamedTuple):
    """What `holdfast.json` states; `hash` is that of the whole text."""
    repository: bytes
    slot: str
    first_member: str
    compat: list
    hash: bytes
    is_domain: bool


def read(text, recover_hash):
    """The first of the two is taken in one spelling alone; of the second only the hash is asked."""
    what = "holdfast.json"
    try:
        stated = json.loads(text)
    except ValueError as error:
        raise Refused(f"{what}: {error}") from None
    need(isinstance(stated, dict), f"{what}: is no object")
    numbers = stated.get("format"), stated.get("draft")
    need(numbers == (0, 1), f"{what}: format and draft {numbers} are not read here")
    need(tuple(stated) == NAMES and stated["holdfast"] == "repository", f"{what}: has other names")
    features = stated["features"]
    need(isinstance(features, dict) and tuple(features) == SETS, f"{what}: features")
    known = features["incompat"] in ([], [DOMAIN]) and not features["ro_compat"]
    need(known, f"{what}: features that are not known: {features}")
    is_domain = features["incompat"] == [DOMAIN]
    for name, width in (("repository_id", 32), ("key_slot", 32), ("member", 32), ("checksum", 64)):
        value = stated[name]
        is_hex = isinstance(value, str) and len(value) == width and set(value) <= set("0123456789abcdef")
        need(is_hex, f"{what}: {name}")
    need(json.dumps(stated, indent=2, ensure_ascii=False).encode() + b"\n" == text, f"{what}: is spelt otherwise")
    checksum = stated["checksum"].encode()
    blank = b'"checksum": "' + b"0" * 64
    need(hash(text.replace(b'"checksum": "' + checksum, blank)).hex().encode() == checksum, f"{what}: checksum")
    need(not is_domain or stated["key_slot"] == "0" * 32, f"{what}: a domain has no key slot")
    need(recover_hash.hex() == stated["recover_blake3"], "RECOVER.txt: is not the one that init wrote")
    return Clear(bytes.fromhex(stated["repository_id"]), stated["key_slot"], stated["member"], features["compat"],
                 hash(text), is_domain)
