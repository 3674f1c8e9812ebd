"""The files that are open, and those whose content the kernel was given. Numbers only: no I/O."""

from __future__ import annotations

from dataclasses import dataclass

from engine.blobs import OpenBlob
from timefs.view.tree import Blob

REMEMBERED = 50_000
"""How many pushed files are remembered at least."""


@dataclass(slots=True)
class OpenFile:
    """A file that is open, once or more often."""

    content: bytes | Blob | OpenBlob | None = None
    """None: nobody has asked for it yet."""
    opens: int = 0


class PushedFiles:
    """Files whose content was given to the kernel, so that it need not be given again.

    Some are forgotten when there are too many: then they are given again, which costs time, and
    nothing else is wrong.
    """

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._young: set[int] = set()
        self._old: set[int] = set()

    def __contains__(self, inode: int) -> bool:
        return inode in self._young or inode in self._old

    def add(self, inode: int) -> None:
        """The kernel has the content now."""
        if len(self._young) >= self._limit:
            self._old, self._young = self._young, set()
        self._young.add(inode)

    def clear(self) -> None:
        """The kernel has lost something, and nobody knows what else."""
        self._young.clear()
        self._old.clear()

    def discard(self, inode: int) -> None:
        """The kernel has forgotten the file, and its content."""
        self._young.discard(inode)
        self._old.discard(inode)
