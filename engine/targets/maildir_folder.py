"""Delivers messages to one Maildir folder.

As the format wants it: a message is written to `tmp`, synced, and renamed to `cur`, where it is
seen whole or not at all. What a crash leaves in `tmp` no program reads, and servers clear away.
"""

from __future__ import annotations

import errno
import itertools
import os
import secrets
import socket
from collections.abc import Collection
from contextlib import suppress

from blake3 import blake3

from engine.clock import Clock
from engine.errors import BlobDamaged, DeliveryFailed, TargetFull
from engine.sources.beneath import Tree
from engine.sources.maildir_names import flag_letters
from engine.sources.source import reason, shown
from engine.targets import maildir_keywords
from engine.targets.maildir_files import LineCounter, size_fields, unique_name
from engine.targets.owned import make_directory, make_file, owner_of, write_all
from engine.targets.target import Letter

_NUMBERS = itertools.count(1)
_HEAD = 16
_FULL = (errno.ENOSPC, errno.EDQUOT)


def failure(where: str, error: OSError) -> DeliveryFailed | TargetFull:
    """What went wrong at a place, as an exception of ours."""
    kind = TargetFull if error.errno in _FULL else DeliveryFailed
    return kind(f"{shown(where)}: {reason(error)}")


class MaildirFolder:
    """See `engine.targets.target.TargetFolder`."""

    def __init__(
        self, path: str, tree: Tree, parts: tuple[str, ...], flags: Collection[str], clock: Clock
    ) -> None:
        """Opens the folder at `parts` in the tree; `path` is its path, for messages. Raises
        OSError."""
        self._path = path
        self._clock = clock
        self._tmp = self._cur = -1
        folder = tree.open_directory(parts)
        try:
            for name in ("tmp", "cur"):
                make_directory(folder, name, owner_of(folder))
            self._cur = tree.open_listing((*parts, "cur"))
            self._tmp = tree.open_directory((*parts, "tmp"))
            self._owner = owner_of(self._cur)
            self._letters = maildir_keywords.prepare(folder, self._cur, flags, self._owner)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(folder)

    @property
    def lost(self) -> frozenset[str]:
        return self._letters.lost

    def deliver(self, letter: Letter) -> str:
        try:
            return self._deliver(letter)
        except OSError as error:
            raise failure(self._path, error) from error

    def _deliver(self, letter: Letter) -> str:
        unique = unique_name(
            letter.date,
            self._clock.now(),
            os.getpid(),
            next(_NUMBERS),
            secrets.token_bytes(8),
            socket.gethostname(),
        )
        fd = make_file(self._tmp, unique, self._owner)
        try:
            try:
                sizes = _write(fd, letter)
                os.utime(fd, ns=(letter.date * 1000, letter.date * 1000))
                os.fsync(fd)
            finally:
                os.close(fd)
            name = f"{unique}{sizes}:2,{flag_letters(letter.flags, self._letters.keywords)}"
            os.rename(unique, name, src_dir_fd=self._tmp, dst_dir_fd=self._cur)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(unique, dir_fd=self._tmp)
            raise
        return f"{unique}{sizes}"

    def sync(self) -> None:
        try:
            os.fsync(self._cur)
        except OSError as error:
            raise failure(self._path, error) from error

    def close(self) -> None:
        for fd in (self._cur, self._tmp):
            if fd >= 0:
                os.close(fd)
        self._tmp = self._cur = -1


def _write(fd: int, letter: Letter) -> str:
    """Writes the content; the fields of the message's name that tell its size. Raises Damaged."""
    hasher, lines, size, head = blake3(), LineCounter(), 0, b""
    for chunk in letter.chunks:
        hasher.update(chunk)
        lines.add(chunk)
        size += len(chunk)
        head = head or chunk[:_HEAD]
        write_all(fd, chunk)
    if hasher.digest() != letter.digest:
        raise BlobDamaged(f"blob {letter.digest.hex()}: what was read is something else")
    return size_fields(head, size, lines.bare, letter.identity)
