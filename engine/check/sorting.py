"""Rows of one width, sorted on disk: what would be too much for memory.

Chunks are sorted in memory and appended to a file that has no name, so that nothing is left over
when the process is killed; then they are merged.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

CHUNK = 200_000
"""Rows that are sorted at once: some 30 MB of those that a blob index has."""
_READ = 1_000
"""Rows of each chunk that are read at once."""


class SortedRows:
    """Takes rows in any order, gives them in order. A context manager, which removes them."""

    def __init__(self, directory: Path, width: int) -> None:
        """`width` is the length of each row in bytes."""
        self._width = width
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed by __exit__
        self._chunks: list[tuple[int, int]] = []
        """Where each chunk begins and ends."""
        self._rows: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, row: bytes) -> None:
        """Takes a row. Raises OSError, for want of space, too."""
        self._rows.append(row)
        if len(self._rows) == CHUNK:
            self._write()

    def __iter__(self) -> Iterator[bytes]:
        """All rows in order; the same one as often as it was added. No more may be added then."""
        self._write()
        return heapq.merge(*(self._read(start, end) for start, end in self._chunks))

    def _write(self) -> None:
        self._rows.sort()
        start = self._file.seek(0, 2)
        for begin in range(0, len(self._rows), _READ):
            self._file.write(b"".join(self._rows[begin : begin + _READ]))
        if self._rows:
            self._chunks.append((start, self._file.tell()))
        self._rows = []

    def _read(self, start: int, end: int) -> Iterator[bytes]:
        width = self._width
        while start < end:
            self._file.seek(start)
            data = self._file.read(min(width * _READ, end - start))
            start += len(data)
            yield from (data[at : at + width] for at in range(0, len(data), width))
