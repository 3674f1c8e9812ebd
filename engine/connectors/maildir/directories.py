"""The directories of a Maildir's folders, `new` and `cur`: what is in them, and whether it changed.

Others deliver, rename and delete while they are read. Everything is opened through `beneath`.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from engine.connectors.maildir import courier, names
from engine.connectors.maildir.folders import FolderPlace
from engine.connectors.source import SourceError
from engine.system.beneath import BeneathTree
from engine.system.stop import Interrupt
from engine.system.text import reason, shown

SETTLING = 2_000_000
"""Microseconds after which a change of a directory has surely got a later time stamp than the one
before: some file systems count in whole or even double seconds."""

STRIDE = 4096
"""Files of a directory after which is asked whether to go on."""

KEYWORDS = "dovecot-keywords"
_LOOKED_AT = ("cur", "new", KEYWORDS)
STAMPS = struct.Struct("<Qqq")
"""Of a file or directory: inode, time of modification, time of change."""
GONE = (errno.ENOENT, errno.ESTALE)


class Stamps(NamedTuple):
    """What a few stat calls say of a folder."""

    cursor: bytes
    newest: int
    """The latest of the times in it, nanoseconds since the epoch."""

    def settled(self, now: int) -> bool:
        """Whether any further change, at `now` or later, must show in the stamps."""
        return self.newest < (now - SETTLING) * 1000


class Directories:
    """Those of one mailbox. `interrupt` ends the reading of long ones."""

    def __init__(self, path: str, tree: BeneathTree, interrupt: Interrupt) -> None:
        self._path = path
        self._tree = tree
        self._interrupt = interrupt

    def shown(self, *parts: str) -> str:
        """The path of a file or directory, as errors name it."""
        return shown("/".join((self._path, *parts)))

    def read(
        self, parts: tuple[str, ...], errors: list[SourceError], twins: list[tuple[str, str]]
    ) -> tuple[dict[str, str], bool]:
        """Unique parts and locators (`cur/NAME`), from one reading of both directories, and whether
        both could be read.

        `new` comes first: what is moved to `cur` meanwhile is seen twice and not missed. What can't
        be read, or can't be a message, is added to `errors`.
        """
        found: dict[str, str] = {}
        whole = True
        for directory in ("new", "cur"):
            try:
                self._read_directory(parts, directory, found, errors, twins)
            except OSError as error:
                if error.errno in GONE:
                    raise
                errors.append(SourceError(self.shown(*parts, directory), reason(error)))
                whole = False
        return found, whole

    def _read_directory(
        self,
        parts: tuple[str, ...],
        directory: str,
        found: dict[str, str],
        errors: list[SourceError],
        twins: list[tuple[str, str]],
    ) -> None:
        """Adds what is in `new` or `cur`. Of two names with one unique part the one in `cur`, or
        the greater, is taken, and both are added to `twins`, the taken one first. Raises OSError.
        """
        unique_part = names.unique_part
        try:
            fd = self._tree.open_listing((*parts, directory))
        except FileNotFoundError:
            return
        prefix = directory + "/"
        try:
            with os.scandir(fd) as entries:
                for number, entry in enumerate(entries):
                    if not number % STRIDE:
                        self._interrupt.check()
                    name = entry.name
                    if name[0] == ".":
                        continue
                    if not (entry.is_file(follow_symlinks=False) or entry.is_symlink()):
                        if not _exists(name, fd):
                            continue
                        where = self.shown(*parts, directory, name)
                        errors.append(SourceError(where, "is not a file, so not a message"))
                        continue
                    locator = prefix + name
                    unique = unique_part(name)
                    other = found.get(unique)
                    if other is not None:
                        if other.startswith(prefix) and other > locator:
                            twins.append((other, locator))
                            continue
                        twins.append((locator, other))
                    found[unique] = locator
        finally:
            os.close(fd)

    def look(self, place: FolderPlace) -> Stamps | None:
        """A look at the three things that a listing is made from; None if there is no directory."""
        prefix = "".join(part + "/" for part in place.parts)
        cursor, newest, directories = b"", 0, 0
        for name in _LOOKED_AT:
            try:
                status = self._status(prefix + name)
            except FileNotFoundError:
                cursor += bytes(STAMPS.size)
                continue
            directories += name != KEYWORDS
            changed, modified = status.st_ctime_ns, status.st_mtime_ns
            cursor += STAMPS.pack(status.st_ino, modified, changed)
            newest = max(newest, modified, changed)
        if place.courier:
            status = os.stat(prefix + courier.KEYWORDS, dir_fd=self._tree.root)
            cursor += STAMPS.pack(status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
            newest = max(newest, status.st_mtime_ns, status.st_ctime_ns)
        return Stamps(cursor, newest) if directories else None

    def _status(self, path: str) -> os.stat_result:
        """Of a symbolic link that leads nowhere its own: it is there, and can't be read."""
        try:
            return os.stat(path, dir_fd=self._tree.root)
        except OSError:
            return os.stat(path, dir_fd=self._tree.root, follow_symlinks=False)

    def look_for_real(self, place: FolderPlace) -> Stamps:
        """A look where a directory must be. Raises OSError where there is none."""
        stamps = self.look(place)
        if stamps is None:
            os.close(self._tree.open_directory(place.parts))
            raise OSError(errno.ENOTDIR, "has neither cur nor new, so it is not a Maildir folder")
        return stamps

    def changed(self, parts: tuple[str, ...], directory: str, since: int, found: set[str]) -> int:
        """Adds the unique parts of the files in a directory that changed since; returns when the
        last one of all did. What a symbolic link leads to is always added."""
        newest = 0
        try:
            fd = self._tree.open_listing((*parts, directory))
        except FileNotFoundError:
            return 0
        try:
            with os.scandir(fd) as entries:
                for number, entry in enumerate(entries):
                    if not number % STRIDE:
                        self._interrupt.check()
                    try:
                        changed = entry.stat(follow_symlinks=False).st_ctime_ns
                    except FileNotFoundError:
                        continue
                    if changed > newest:
                        newest = changed
                    if changed > since or entry.is_symlink():
                        found.add(names.unique_part(entry.name))
        finally:
            os.close(fd)
        return newest

    def differing(
        self, parts: tuple[str, ...], twins: list[tuple[str, str]]
    ) -> Iterator[SourceError]:
        """An error for each pair of names with one unique part that are two files."""
        for taken, other in twins:
            inodes = set()
            for name in (taken, other):
                path = "/".join((*parts, name))
                with suppress(FileNotFoundError):
                    status = os.stat(path, dir_fd=self._tree.root, follow_symlinks=False)
                    inodes.add((status.st_dev, status.st_ino))
            if len(inodes) == 2:
                what = f"is not read: {shown(taken)} has the same unique name"
                yield SourceError(self.shown(*parts, other), what)


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
