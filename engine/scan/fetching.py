"""Reads items from a source, small ones ahead of their use.

A first scan reads every item there is. While one thread digests and records, two others open and
read what comes next, for a disk is slow to answer and quick with several questions at once.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple, cast

from engine.connectors.source import Mailbox, SourceItem
from engine.domain.errors import ItemUnreadable, ItemVanished
from engine.domain.kinds import Kind
from engine.system.stop import Stop
from engine.system.text import reason

THREADS = 2
BATCH = 32
"""Items that a thread reads at a time, and so at least that many for threads to be worth it."""
BATCHES = 4
"""Batches that are read, or being read, and not yet used."""
SMALL = 256 << 10
"""Larger items are not read ahead: what waits in memory is bounded by all of these numbers."""


class Download(NamedTuple):
    """An item, or why there is none."""

    source: SourceItem
    content: bytes | None
    """None where there is an error, and of an item longer than was asked for: see `streamed`."""
    date: int
    error: ItemUnreadable | ItemVanished | None
    kind: Kind = Kind.MESSAGE
    """What the source takes it for, where there is no error."""


def take(mailbox: Mailbox, source: SourceItem, limit: int) -> Download:
    """Reads an item of up to `limit` bytes. Blocks."""
    try:
        with mailbox.fetch(source) as fetched:
            if fetched.size > limit:
                return Download(source, None, fetched.date, None, fetched.kind)
            return Download(source, fetched.file.read(), fetched.date, None, fetched.kind)
    except (ItemUnreadable, ItemVanished) as error:
        return Download(source, None, 0, error)
    except OSError as error:
        return Download(source, None, 0, ItemUnreadable(f"{source.locator}: {reason(error)}"))


def take_ahead(mailbox: Mailbox, sources: Sequence[SourceItem], stop: Stop) -> Iterator[Download]:
    """Reads the items in their order, those of up to `SMALL` bytes ahead. Raises Interrupted."""
    if len(sources) < BATCH:
        for source in sources:
            stop.check()
            yield take(mailbox, source, SMALL)
        return

    def read(batch: Sequence[SourceItem]) -> list[Download]:
        taken = []
        for source in batch:
            stop.check()
            taken.append(take(mailbox, source, SMALL))
        return taken

    starts = iter(range(0, len(sources), BATCH))
    with ThreadPoolExecutor(THREADS, "fetch") as pool:
        waiting: deque[Future[list[Download]]] = deque()
        try:
            for start in starts:
                waiting.append(pool.submit(read, sources[start : start + BATCH]))
                if len(waiting) == BATCHES:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def streamed(mailbox: Mailbox, source: SourceItem, check: Callable[[], None]) -> Iterator[BinaryIO]:
    """The content of an item of any size, for reading. Raises ItemUnreadable, also while it is
    read, and ItemVanished; and before each piece whatever `check` raises."""
    with mailbox.fetch(source) as fetched:
        yield cast(BinaryIO, _Readable(fetched.file, source, check))


class _Readable(io.RawIOBase):
    """A file whose errors are the source's, and not taken for those of the place written to."""

    def __init__(self, file: BinaryIO, source: SourceItem, check: Callable[[], None]) -> None:
        self._file = file
        self._source = source
        self._check = check

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        self._check()
        try:
            return self._file.read(size)
        except OSError as error:
            raise ItemUnreadable(f"{self._source.locator}: {reason(error)}") from error

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)
