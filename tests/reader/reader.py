"""Reads a holdfast repository (format 0, draft 1), written from crates/core/FORMAT.md alone.

    reader.py snapshots REPOSITORY                 what counts and was not superseded
    reader.py list REPOSITORY                      every entry of all that counts, each file read and compared
    reader.py check REPOSITORY                     every object, every chunk, every chain
    reader.py restore REPOSITORY SNAPSHOT FOLDER   a snapshot into a new folder
    reader.py log REPOSITORY NAME                  a log segment, to the output
    reader.py evidence REPOSITORY                  the records of drills and of who read
    reader.py vectors FOLDER                       computes the vectors of the format anew

REPOSITORY is a folder, or that of a domain in one (REPOSITORY/domains/NAME). `check` works with every role's key, and
says how far: a writer's or a maintainer's opens no contents, a log reader's logs alone. The password is in HOLDFAST_PASSWORD, or HOLDFAST_KEY_FILE names a key file.
With requirements.txt installed nothing else is needed: no holdfast, and no source but these files.
It is slow, keeps to the letter, and writes nothing but what it restores.
"""

import os
import sys

from audit import Audit, counting_log, log_content
from notation import Refused, escape, need
from pages import KINDS
from places import WAL, parse
from repository import Folder, Repository
from restore import Restore


def opened(path):
    key_file = os.environ.get("HOLDFAST_KEY_FILE")
    if key_file:
        with open(key_file, "rb") as file:
            return Repository(Folder(path), file.read())
    need("HOLDFAST_PASSWORD" in os.environ, "HOLDFAST_PASSWORD is not set")
    return Repository(Folder(path), os.environb[b"HOLDFAST_PASSWORD"])


def seen(path):
    repository = opened(path)
    need(repository.newest_bundle.k_ref, "this key fetches logs and sees nothing else")
    return repository


def snapshots(path):
    repository = seen(path)
    for found in repository.snapshots:
        if found.id not in repository.hidden:
            stated = found.commit.summary
            names = " ".join(escape(name) for name in stated.paths)
            print(f"{found.id.hex()} {stated.started[0]} {stated.host} {stated.kind} {names}")


def list_all(path):
    """Snapshot, kind, size, digest and path: as the golden repository's list has them (21)."""
    repository, lines = seen(path), []
    for snapshot in repository.snapshots:
        for key, entry in repository.entries(snapshot):
            for _ in repository.content(entry) if entry.digest else ():
                pass
            digest = entry.digest.hex() if entry.digest else "-"
            name = escape(key.replace(b"\0", b"/"))
            lines.append(f"{snapshot.id.hex()} {KINDS[entry.kind]} {entry.size} {digest} {name}")
    print("\n".join(sorted(lines)))


def check(path):
    repository = opened(path)
    audit = Audit(repository)
    audit.run()
    for note in repository.notes:
        print(f"note: {note}")
    if not repository.reads:
        print("this key opens no contents: checked is what it sees")
    print(f"{sum(audit.counts.values())} objects, {len(repository.snapshots)} snapshots: as FORMAT.md says")


def restore(path, id, target):
    repository = seen(path)
    found = [snapshot for snapshot in repository.snapshots if snapshot.id.hex().startswith(id)]
    need(len(found) == 1, f"{len(found)} snapshots have this id")
    Restore(repository, target, lambda line: print(line, file=sys.stderr)).run(found[0])


def log(path, name):
    place = parse(name)
    need(place is not None and place.kind == WAL, f"{name}: is the name of no log segment")
    repository = opened(path)
    sys.stdout.buffer.write(log_content(repository, place, counting_log(repository, place)))


def list_evidence(path):
    repository = seen(path)
    for place, record, error in repository.evidence():
        said = f"{record.kind} {record.text.decode('utf-8', 'replace')}" if record else f"cannot be read: {error}"
        since = " (its member was removed since)" if place.member in repository.members.removed else ""
        print(f"{place.name} {said}{since}")


def vectors(folder):
    # Only the vectors need the writer's half.
    import vectors as computed
    print(f"{computed.run(folder)} vectors: as FORMAT.md says")


VERBS = {"snapshots": (snapshots, 1), "list": (list_all, 1), "check": (check, 1), "restore": (restore, 3), "log": (log, 2),
         "evidence": (list_evidence, 1), "vectors": (vectors, 1)}


def main(arguments):
    verb, count = VERBS.get(arguments[0] if arguments else "", (None, 0))
    if verb is None or len(arguments) != count + 1:
        sys.exit(__doc__)
    try:
        verb(*arguments[1:])
    except Refused as error:
        sys.exit(f"refused: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
