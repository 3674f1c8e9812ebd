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

from engine.connectors.mail import kept_flags
from engine.connectors.maildir import keywords, quota
from engine.connectors.maildir.delivery_names import (
    LineCounter,
    counted_size,
    size_fields,
    unique_name,
)
from engine.connectors.maildir.dotlock import NotOurs, Patience
from engine.connectors.maildir.keywords import Letters
from engine.connectors.maildir.names import flag_letters
from engine.connectors.ownership import make_directory, make_file, owner_beside, owner_of, write_all
from engine.connectors.target import Delivery
from engine.domain.errors import BlobDamaged, DeliveryFailed, TargetFull
from engine.system.beneath import BeneathTree
from engine.system.text import reason, shown

_NUMBERS = itertools.count(1)
_HEAD = 16
_FULL = (errno.ENOSPC, errno.EDQUOT)


def failure(where: str, error: OSError) -> DeliveryFailed | TargetFull:
    """What went wrong at a place, as an exception of ours."""
    kind = TargetFull if error.errno in _FULL else DeliveryFailed
    return kind(f"{shown(where)}: {reason(error)}")


class MaildirFolder:
    """See `engine.connectors.target.TargetFolder`."""

    numbered = False
    """Servers number them by their names, which begin with their dates."""

    def __init__(
        self,
        path: str,
        tree: BeneathTree,
        parts: tuple[str, ...],
        flags: Collection[str],
        patience: Patience,
    ) -> None:
        """Opens the folder at `parts` in the tree; `path` is its path, for messages. Raises
        OSError."""
        self._path = path
        self._tree = tree
        self._sizes: list[int] = []
        """Of what was delivered, and isn't in the mailbox's count yet."""
        self.problems: list[str] = []
        self._held = ""
        """Why no keyword gets a letter that has none yet."""
        self._tmp = self._cur = -1
        folder = tree.open_directory(parts)
        try:
            for name in ("tmp", "cur"):
                make_directory(folder, name, owner_of(folder))
            self._cur = tree.open_listing((*parts, "cur"))
            self._tmp = tree.open_directory((*parts, "tmp"))
            self._owner = owner_beside(self._cur, directories=False)
            self._letters = self._prepared(folder, flags, patience)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(folder)

    def _prepared(self, folder: int, flags: Collection[str], patience: Patience) -> Letters:
        """The letters of keywords. A user who has put something else into their place loses them,
        and not the messages; one who keeps the lock has only those wait that need it."""
        try:
            return keywords.prepare(folder, self._cur, flags, owner_of(self._cur), patience)
        except NotOurs as error:
            self.problems.append(f"{shown(self._path)}: {reason(error)}: keywords are left out")
            return Letters((), frozenset(keywords.keywords_among(flags)))
        except TimeoutError as error:
            self._held = reason(error)
            return keywords.present(folder)

    @property
    def lost(self) -> frozenset[str]:
        return self._letters.lost

    def deliver(self, delivery: Delivery) -> str:
        try:
            return self._deliver(delivery)
        except OSError as error:
            raise failure(self._path, error) from error

    def _deliver(self, delivery: Delivery) -> str:
        if self._held:
            wanted = keywords.keywords_among(delivery.flags)
            if not wanted.issubset(self._letters.keywords):
                raise TimeoutError(self._held)
        unique = unique_name(
            delivery.date,
            os.getpid(),
            next(_NUMBERS),
            secrets.token_bytes(8),
            socket.gethostname(),
        )
        fd = make_file(self._tmp, unique, self._owner)
        try:
            try:
                sizes = _write(fd, delivery)
                size = counted_size(sizes) or os.fstat(fd).st_size
                os.utime(fd, ns=(delivery.date * 1000, delivery.date * 1000))
                os.fsync(fd)
            finally:
                os.close(fd)
            return self._publish(unique, sizes, size, delivery)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(unique, dir_fd=self._tmp)
            raise

    def _publish(self, temporary: str, sizes: str, size: int, delivery: Delivery) -> str:
        """Gives what was written its name; returns the unique part of that. Raises OSError."""
        unique = f"{temporary}{sizes}"
        name = f"{unique}:2,{flag_letters(kept_flags(delivery.flags), self._letters.keywords)}"
        os.rename(temporary, name, src_dir_fd=self._tmp, dst_dir_fd=self._cur)
        self._sizes.append(size)
        return unique

    def sync(self) -> None:
        self._count()
        try:
            os.fsync(self._cur)
        except OSError as error:
            raise failure(self._path, error) from error

    def _count(self) -> None:
        """Tells the mailbox's quota of what came."""
        sizes, self._sizes = self._sizes, []
        if sizes:
            try:
                quota.add(self._tree.root, sum(sizes), len(sizes))
            except OSError as error:
                what = f"{reason(error)}: what was restored isn't counted"
                self.problems.append(f"{quota.FILE}: {what}")

    def close(self) -> None:
        for fd in (self._cur, self._tmp):
            if fd >= 0:
                os.close(fd)
        self._tmp = self._cur = -1


def _write(fd: int, delivery: Delivery) -> str:
    """Writes the content; the fields of the message's name that tell its size. Raises Damaged."""
    hasher, lines, size, head = blake3(), LineCounter(), 0, b""
    for chunk in delivery.chunks:
        hasher.update(chunk)
        lines.add(chunk)
        size += len(chunk)
        head = head or chunk[:_HEAD]
        write_all(fd, chunk)
    if hasher.digest() != delivery.digest:
        raise BlobDamaged(f"blob {delivery.digest.hex()}: what was read is something else")
    return size_fields(head, size, lines.bare, delivery.identity)
