"""Reads blobs without keeping other requests waiting.

Reading a blob may wait for a disk, and a large one takes long to decompress: that is for threads.
But a hop to a thread and back costs more than a small message that is at hand, and whoever reads a
folder in order wants the next one out of the same record of a pack. So what lies in a record that
was read lately is read at once. A large file is read a chunk at a time, and the kernel asks for a
chunk in pieces.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from functools import partial
from typing import NamedTuple

import trio

from engine.backup import Backup
from engine.blobs import OpenBlob
from engine.blobs.store import CACHE_SIZE
from engine.system.lru import Lru
from timefs.fuse.workers import Workers
from timefs.view.tree import Blob

HELD = 64
"""Large files whose packs are held open after they were read."""

CHUNK = 256 << 10
"""Bytes of a large file that are read at once. Larger ones would be allocated by themselves, and
cost a page fault each 4 KiB (`timefs.fuse.malloc`)."""

CHUNKS = 16
"""Chunks that are kept."""

HELD_SECONDS = 600.0
"""For so long after the last reading at most: a pack that was purged takes space until then."""


class Contents:
    """The blobs of a backup. For one trio task after another."""

    def __init__(self, backup: Backup, workers: Workers) -> None:
        self._backup = backup
        self._workers = workers
        self._held: OrderedDict[int, _Held] = OrderedDict()
        """By inode, the one that was read last at the end."""
        self._chunks = Lru[tuple[bytes, int], bytes](CHUNKS)
        """By digest and number."""
        self._reading: dict[tuple[bytes, int], trio.Event] = {}
        """The chunks that a thread is at."""
        # Some less than the cache holds. If a record is gone nevertheless, a request waits for the
        # disk, and nothing else is wrong.
        most = CACHE_SIZE * 3 // 4 // (backup.settings.frame_kib << 10)
        self._warm = Lru[tuple[int, int], bool](most)

    async def whole(self, blob: Blob) -> bytes:
        """All of a blob. Doesn't pause where it is at hand. Raises BlobDamaged, OSError."""
        digest, location = blob
        record = (location.pack, location.record)
        read = partial(self._backup.store.read, digest, location)
        if not location.in_parts and self._warm.get(record):
            return read()
        content = await self._workers.run(read)
        self._warm.put(record, True)
        return content

    def now(self, blob: Blob) -> bytes:
        """All of a blob, in the thread that asks. Raises BlobDamaged, OSError."""
        return self._backup.store.read(*blob)

    async def hold(self, inode: int, blob: Blob) -> OpenBlob:
        """The content of a large file, with its packs held open: so it can be read to its end even
        if it is purged meanwhile. Raises BlobDamaged, OSError."""
        opened = await self._workers.run(partial(self._backup.store.opened, *blob))
        self._held[inode] = _Held(opened, time.monotonic())
        if len(self._held) > HELD:
            self._held.popitem(last=False)
        return opened

    def held(self, inode: int) -> OpenBlob | None:
        """The content of a file that was read lately."""
        held = self._held.get(inode)
        if held is None:
            return None
        self._held[inode] = _Held(held.content, time.monotonic())
        self._held.move_to_end(inode)
        return held.content

    def forgotten(self, inode: int) -> None:
        """The kernel has forgotten a file: nobody has it open."""
        self._held.pop(inode, None)

    def expire(self, now: float) -> None:
        """Lets go of what hasn't been read for long. `now` is by the monotonic clock."""
        while self._held and next(iter(self._held.values())).read < now - HELD_SECONDS:
            self._held.popitem(last=False)

    async def part(self, content: OpenBlob, offset: int, size: int) -> bytes:
        """`size` bytes of a large file from `offset` on, fewer where it ends. Doesn't pause where
        they are at hand. Raises BlobDamaged, OSError."""
        end = min(offset + size, content.size)
        pieces = []
        for number in range(offset // CHUNK, -(-end // CHUNK)):
            start = number * CHUNK
            chunk = await self._chunk(content, number)
            pieces.append(chunk[max(offset - start, 0) : end - start])
        return b"".join(pieces)

    async def _chunk(self, content: OpenBlob, number: int) -> bytes:
        key = (content.digest, number)
        while key in self._reading:
            await self._reading[key].wait()
        chunk = self._chunks.get(key)
        if chunk is not None:
            return chunk
        done = self._reading[key] = trio.Event()
        try:
            chunk = await self._workers.run(partial(content.read, number * CHUNK, CHUNK))
        finally:
            del self._reading[key]
            done.set()
        self._chunks.put(key, chunk)
        return chunk


class _Held(NamedTuple):
    content: OpenBlob
    read: float
    """When that was last, by the monotonic clock."""
