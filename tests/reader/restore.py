"""Writes what a snapshot holds into a new folder, from FORMAT.md's words alone."""

import os
import stat
import struct

import chunks
from notation import need
from pages import (ATTRIBUTES, CHARACTER, DEVICE, FIFO, FILE, FOLDER, LINK_GROUP, PATHS, SOCKET, SYMLINK, TARGET,
                   attributes)


class Restore:
    """`told` gets a line for each thing that could not be set: rights that this user lacks."""

    def __init__(self, repository, target, told):
        self.repository, self.target, self.told = repository, os.fsencode(target), told
        self.links, self.folders = {}, []

    def run(self, snapshot):
        os.makedirs(self.target, exist_ok=True)
        need(not os.listdir(self.target), "the folder to restore into is not empty")
        if snapshot.commit.summary.space == PATHS:
            for key, entry in self.repository.entries(snapshot):
                self._entry(key, entry)
            # Last: what is written into a folder changes its times.
            for path, entry in reversed(self.folders):
                self._metadata(path, entry)
        else:
            self._objects(snapshot)

    def _objects(self, snapshot):
        """Keys of objects are no paths: files get numbers, and a list says which is which."""
        with open(os.path.join(self.target, b"keys.txt"), "wb") as listed:
            for number, (key, entry) in enumerate(self.repository.entries(snapshot)):
                name = b"%08d" % number
                listed.write(name + b" " + key.replace(b"\\", b"\\\\").replace(b"\n", b"\\n") + b"\n")
                self._file(os.path.join(self.target, name), entry)

    def _entry(self, key, entry):
        path = self._place(key)
        if entry.kind == FOLDER:
            os.makedirs(path, exist_ok=True)
            self.folders.append((path, entry))
        elif not self._link(path, entry):
            MAKERS[entry.kind](self, path, entry)
            if os.path.lexists(path):
                self._metadata(path, entry)

    def _place(self, key):
        """The path of a key; nothing is written through a link."""
        path, parts = self.target, key.split(b"\0") if key else []
        for number, part in enumerate(parts, 1):
            path = os.path.join(path, part)
            if number < len(parts):
                if not os.path.lexists(path):
                    os.mkdir(path)
                need(stat.S_ISDIR(os.lstat(path).st_mode), f"{key!r}: lies in what is no folder")
        return path

    def _link(self, path, entry):
        """Links of a group are linked again where they are equal."""
        group = entry.tags.get(LINK_GROUP)
        if group is None:
            return False
        first = self.links.setdefault(group, (path, entry))
        same = first[1]._replace(inline=b"", tree=None) == entry._replace(inline=b"", tree=None)
        if first[0] == path or not same:
            return False
        os.link(first[0], path, follow_symlinks=False)
        return True

    def _file(self, path, entry):
        with open(path, "xb") as file:
            for length, data in self.repository.content(entry):
                if data is None:
                    file.seek(length, os.SEEK_CUR)
                else:
                    file.write(data)
            file.truncate(entry.size)

    def _symlink(self, path, entry):
        os.symlink(entry.tags[TARGET], path)

    def _special(self, path, entry):
        form = {FIFO: stat.S_IFIFO, SOCKET: stat.S_IFSOCK, CHARACTER: stat.S_IFCHR}.get(entry.kind, stat.S_IFBLK)
        device = os.makedev(*struct.unpack("<II", entry.tags[DEVICE])) if DEVICE in entry.tags else 0
        self._try(path, lambda: os.mknod(path, form | 0o600, device))

    def _metadata(self, path, entry):
        if os.geteuid() == 0:
            self._try(path, lambda: os.chown(path, entry.owner.uid, entry.owner.gid, follow_symlinks=False))
        for name, value in self._attributes(entry):
            self._try(path, lambda: os.setxattr(path, name, value, follow_symlinks=False))
        if entry.kind != SYMLINK:
            self._try(path, lambda: os.chmod(path, entry.mode))
        mtime = entry.mtime[0] * 1_000_000_000 + entry.mtime[1]
        self._try(path, lambda: os.utime(path, ns=(mtime, mtime), follow_symlinks=False))

    def _attributes(self, entry):
        if entry.attributes_chunk:
            text = self.repository.open(entry.attributes_chunk, chunks.DATA)[1]
        else:
            text = entry.tags.get(ATTRIBUTES, bytes(4))
        return attributes(text, "an entry")

    def _try(self, path, act):
        try:
            act()
        except OSError as error:
            self.told(f"{os.fsdecode(path)}: {error}")


MAKERS = {FILE: Restore._file, SYMLINK: Restore._symlink}
MAKERS.update({kind: Restore._special for kind in (4, 5, 6, 7)})
