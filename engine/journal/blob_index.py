"""The blob index as rows, whole or damaged: what a check counts, and a repair compares.

Who wants to know where a blob is asks a `Reader`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from engine.journal.holdings import Holdings
from engine.journal.records import is_intact


class IndexRow(NamedTuple):
    """Where the index says that a blob is."""

    digest: bytes
    value: bytes
    """The row as it is, with its checksum."""

    @property
    def location(self) -> bytes:
        """The location as `engine.blobs` encodes it; anything, where the row is damaged."""
        return self.value[:-4]

    @property
    def pack(self) -> int:
        """The pack that it leads to; anything, where it is damaged."""
        return _pack(self.value)

    @property
    def intact(self) -> bool:
        """Whether it is what was written."""
        return is_intact(self.digest, self.value)


def rows(holdings: Holdings) -> Iterator[IndexRow]:
    """All rows of the index, by digest."""
    for digest, value in holdings.txn.cursor(holdings.tables.blobs):
        yield IndexRow(digest, value)


def row(holdings: Holdings, digest: bytes) -> IndexRow | None:
    """The row of a blob, be it damaged or not."""
    value = holdings.txn.get(digest, db=holdings.tables.blobs)
    return None if value is None else IndexRow(digest, value)


def digests(holdings: Holdings) -> Iterator[bytes]:
    """The digests in the index, in order."""
    return iter(holdings.txn.cursor(holdings.tables.blobs).iternext(values=False))


def count_by_pack(holdings: Holdings, *, damaged: bool) -> Counter[int]:
    """Pack -> how many rows of the index lead there; those that are `damaged`, too, or not."""
    count: Counter[int] = Counter()
    for digest, value in holdings.txn.cursor(holdings.tables.blobs):
        if damaged or is_intact(digest, value):
            count[_pack(value)] += 1
    return count


def _pack(value: bytes) -> int:
    return int.from_bytes(value[:8], "big")
