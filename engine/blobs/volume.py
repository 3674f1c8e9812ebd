"""Where packs live: the contracts. `engine.blobs.directory` is a place of this kind.

`Volume` is what reading needs of a place, `WritableVolume` what writing needs besides. What they
promise is tested by `tests/test_volume_contract.py`, in which another place only has to be listed.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol


class StoredPack(NamedTuple):
    """A pack as a volume lists it."""

    id: int
    length: int
    modified: int
    """In nanoseconds since the epoch."""


class Volume(Protocol):
    """A place of packs. Any thread may call its verbs, which may block."""

    def load(self, pack: int, offset: int, size: int) -> bytes:
        """`size` bytes of a pack from `offset` on; fewer only where it ends.

        Raises BlobDamaged if the pack is missing or can't be read, OSError for any other reason.
        """
        ...

    def length(self, pack: int) -> int:
        """The pack's length in bytes. Raises as `load` does."""
        ...

    def list(self) -> Iterator[StoredPack]:
        """All packs, in no order. Raises BackupUnusable if the place itself is missing."""
        ...

    def held(self, packs: Collection[int]) -> Volume:
        """These packs alone, which can be read as long as the result lives, even if they are
        removed meanwhile. Raises as `load` does."""
        ...


class OpenPack(Protocol):
    """A pack that this process has locked, to change it. For one thread."""

    id: int
    length: int
    """Bytes that were written."""
    kept: int | None
    """Bytes that stay when it is closed; None: all there are."""

    @property
    def closed(self) -> bool:
        """Whether the lock was given up."""
        ...

    def load(self, offset: int, size: int) -> bytes:
        """As `Volume.load`, of this pack."""
        ...

    def append(self, data: bytes) -> int:
        """Writes `data` at the end and returns its offset. Raises OSError; then some of it may be
        in the pack, but not in `length`."""
        ...

    def cut(self, length: int) -> None:
        """Forgets what is beyond `length`. Raises OSError."""
        ...

    def sync(self) -> None:
        """Makes all that was written durable, and keeps it. Raises OSError."""
        ...

    def amend(self, changes: Iterable[tuple[int, bytes]]) -> None:
        """Puts other bytes at these offsets, durably, all or none of them, and gives up the lock.
        The pack counts as modified when it was before. Who has it open reads on what was there.
        Raises OSError."""
        ...

    def remove(self) -> None:
        """Removes the pack, durably, and gives up the lock. Who has it open can read on. Raises
        OSError."""
        ...

    def close(self) -> None:
        """Cuts off what isn't kept, removes the pack if that is all of it, and gives up the lock.

        Does nothing if it is closed. Raises OSError; it is closed all the same.
        """
        ...


class WritableVolume(Volume, Protocol):
    """A place where packs are made, too. Any number of processes may write to it at once: each
    pack has one writer, who has locked it."""

    @property
    def where(self) -> str:
        """Where it is, for messages."""
        ...

    def require(self) -> None:
        """Raises BackupUnusable if the place isn't there or can't be read."""
        ...

    def create(self, pack: int) -> OpenPack | None:
        """A new, empty, locked pack; None if there is one of this ID, or another process was
        quicker to lock it. It is gone when it is closed, but for what `sync` has kept. Raises
        OSError, and FileNotFoundError if the place itself is missing."""
        ...

    def lock(self, pack: int) -> OpenPack | None:
        """A pack to go on with; None if another writer has its lock, or it is gone, or can't be
        written, or isn't one. Raises OSError."""
        ...

    def has(self, pack: int) -> bool:
        """Whether there is a pack of this ID, be it readable or not."""
        ...

    def absence(self, pack: int) -> str:
        """Why `list` doesn't give a pack, in words."""
        ...

    def copy(self, pack: int, directory: Path) -> bool:
        """Copies a pack as it is into a directory of this machine, durably, as `ID.pack`; False
        where that is there already. Raises OSError."""
        ...

    def alone(self, busy: Exception) -> AbstractContextManager[None]:
        """Keeps all others out that ask for this, for as long as the block lasts or the process
        lives: who removes packs must be alone. Raises `busy` where another one is."""
        ...

    def close(self) -> None:
        """Closes what is open for reading. The volume can still be used."""
        ...


def pack_name(pack: int) -> str:
    """A pack's ID as its file, messages and users name it: 16 hex digits."""
    return f"{pack:016x}"


def new_number() -> int:
    """A number for a new pack that no other has: 63 random bits."""
    return int.from_bytes(os.urandom(8)) >> 1
