"""Reads blobs without keeping other requests waiting.

Reading a blob may wait for a disk, and a large one takes long to decompress: that is for threads.
But a hop to a thread and back costs more than a small message that is at hand, and whoever reads a
folder in order wants the next one out of the same record of a pack. So what lies in a record that
was read lately is read at once.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from engine.backup import Backup
from engine.blobs.store import CACHE_SIZE
from timefs.tree import Blob
from timefs.workers import Workers


class Contents:
    """The blobs of a backup. For one trio task after another."""

    def __init__(self, backup: Backup, workers: Workers) -> None:
        self._backup = backup
        self._workers = workers
        self._warm: OrderedDict[tuple[int, int], None] = OrderedDict()
        # Some less than the cache holds. If a record is gone nevertheless, a request waits for the
        # disk, and nothing else is wrong.
        self._most = CACHE_SIZE * 3 // 4 // (backup.settings.frame_kib << 10)

    async def whole(self, blob: Blob) -> bytes:
        """All of a blob. Doesn't pause where it is at hand. Raises BlobDamaged, OSError."""
        digest, location = blob
        record = (location.pack, location.record)
        read = partial(self._backup.store.read, digest, location)
        if record in self._warm and not location.in_parts:
            self._warm.move_to_end(record)
            return read()
        content = await self._workers.run(read)
        self._warm[record] = None
        if len(self._warm) > self._most:
            self._warm.popitem(last=False)
        return content

    def now(self, blob: Blob) -> bytes:
        """All of a blob, in the thread that asks. Raises BlobDamaged, OSError."""
        return self._backup.store.read(*blob)

    async def part(self, digest: bytes, offset: int, size: int) -> bytes:
        """`size` bytes of a blob from `offset` on, fewer where it ends. Looks up anew where the
        blob is: it may be elsewhere since it was opened. Raises BlobMissing, BlobDamaged, OSError.
        """
        return await self._workers.run(partial(self._backup.read_blob, digest, offset, size))
