"""Tests of `timefs.cache.contents`: what is read at once, and what in a thread."""

from __future__ import annotations

import errno
import random
import threading
import time
from datetime import UTC

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from engine.domain.errors import BlobDamaged
from tests.backups import SmallBackup, letter
from timefs.cache.contents import CHUNK, CHUNKS, HELD_SECONDS, Contents
from timefs.fuse.workers import THREADS, Workers
from timefs.view.inodes import Tag, constant_inode
from timefs.view.tree import Blob, Tree


def blobs(small: SmallBackup, *contents: bytes) -> list[Blob]:
    account = small.account("alice@example.com")
    items = small.messages(account, small.folder(account, "INBOX"), list(contents))
    tree = Tree(small.backup, UTC)
    found = [tree.content(constant_inode(Tag.ITEM, item, 0)) for item in items]
    assert all(isinstance(blob, Blob) for blob in found)
    return [blob for blob in found if isinstance(blob, Blob)]


def test_what_lies_together_is_read_in_one_hop(small: SmallBackup) -> None:
    letters = [letter(number) for number in range(20)]
    found = blobs(small, *letters)

    async def main() -> list[bool]:
        contents = Contents(small.backup, Workers())
        paused = []
        for blob, raw in zip(found, letters, strict=True):
            turns: list[None] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(note_turn, turns)
                assert await contents.whole(blob) == raw
                paused.append(bool(turns))
        return paused

    assert trio.run(main) == [True] + [False] * 19


async def note_turn(turns: list[None]) -> None:
    turns.append(None)


def test_parts_of_a_long_blob(small: SmallBackup) -> None:
    raw = bytes(range(256)) * 40_000
    (blob,) = blobs(small, raw)
    assert blob.location.in_parts

    async def main() -> None:
        contents = Contents(small.backup, Workers())
        opened = await contents.hold(7, blob)
        assert contents.held(7) is opened
        for offset, size in ((0, 10), (4_194_300, 10), (len(raw) - 5, 10), (len(raw), 10)):
            part = await contents.part(opened, offset, size)
            assert part == raw[offset : offset + size]
        contents.expire(time.monotonic())
        assert contents.held(7) is opened
        contents.expire(time.monotonic() + HELD_SECONDS + 1)
        assert contents.held(7) is None

    trio.run(main)


def test_failures_come_out_of_threads(small: SmallBackup) -> None:
    (blob,) = blobs(small, letter(1))
    pack = next((small.path / "packs").rglob("*.pack"))
    pack.write_bytes(pack.read_bytes()[:-50])

    async def main() -> None:
        contents = Contents(small.backup, Workers())
        with pytest.raises(BlobDamaged):
            await contents.whole(blob)
        opened = await contents.hold(7, Blob(bytes(32), blob.location))
        with pytest.raises(BlobDamaged):
            await contents.part(opened, 0, 10)
        with pytest.raises(BlobDamaged):
            await contents.hold(8, Blob(bytes(32), replace(blob.location, pack=1)))
        assert contents.held(8) is None

    trio.run(main)


def test_parts_of_a_large_file_are_its_bytes_wherever_they_begin(small: SmallBackup) -> None:
    raw = letter(1) + random.Random(1).randbytes(2 * CHUNK + 1000)
    (blob,) = blobs(small, raw)
    edges = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, len(raw) - 1, len(raw), len(raw) + 9]

    async def main() -> None:
        contents = Contents(small.backup, Workers())
        opened = await contents.hold(7, blob)
        for offset in edges:
            for size in (0, 1, 4096, CHUNK, CHUNK + 1, len(raw)):
                assert await contents.part(opened, offset, size) == raw[offset : offset + size]

    trio.run(main)


def test_a_chunk_is_read_once_for_all_who_ask_for_it(
    small: SmallBackup, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = letter(1) + random.Random(2).randbytes(CHUNK)
    (blob,) = blobs(small, raw)
    reads: list[int] = []

    async def main() -> None:
        contents = Contents(small.backup, Workers())
        opened = await contents.hold(7, blob)
        read = opened.read

        def counted(offset: int, size: int) -> bytes:
            reads.append(offset)
            return read(offset, size)

        monkeypatch.setattr(opened, "read", counted)
        got: dict[int, bytes] = {}

        async def ask(offset: int) -> None:
            got[offset] = await contents.part(opened, offset, 1000)

        async with trio.open_nursery() as nursery:
            for offset in range(0, CHUNK, 50_000):
                nursery.start_soon(ask, offset)
        assert got == {offset: raw[offset : offset + 1000] for offset in got}
        assert reads == [0]
        for number in range(1, CHUNKS + 1):  # others push it out
            contents._chunks.put((bytes(32), number), b"")
        await ask(CHUNK)
        await ask(0)
        assert reads == [0, CHUNK, 0]

    trio.run(main)


def test_a_chunk_that_cannot_be_read_is_read_again(
    small: SmallBackup, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = letter(1) + random.Random(3).randbytes(CHUNK)
    (blob,) = blobs(small, raw)

    async def main() -> None:
        contents = Contents(small.backup, Workers())
        opened = await contents.hold(7, blob)

        def failing(offset: int, size: int) -> bytes:
            raise OSError(errno.EIO, "the disk")

        with monkeypatch.context() as patch:
            patch.setattr(opened, "read", failing)
            with pytest.raises(OSError, match="the disk"):
                await contents.part(opened, 0, 10)
        assert await contents.part(opened, 0, 10) == raw[:10]

    trio.run(main)


def test_workers_know_how_many_are_waited_for() -> None:
    async def main() -> None:
        workers = Workers()
        go = threading.Event()
        async with trio.open_nursery() as nursery:
            for _ in range(THREADS + 2):
                nursery.start_soon(workers.run, go.wait)
            await trio.testing.wait_all_tasks_blocked()
            assert workers.running == THREADS + 2
            go.set()
        assert workers.running == 0
        with pytest.raises(ZeroDivisionError):
            await workers.run(lambda: 1 // 0)
        assert workers.running == 0

    trio.run(main)
