"""Copies one moment of a journal to a file of its own, page by page, and judges each row.

What `mdb_copy -c` does, without LMDB: that ends the process where a page is damaged, and copies
what it has no checksums for. The copy has no free pages, and nothing of what was removed. Others
may read and write the journal meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from struct import Struct
from typing import BinaryIO

from engine.journal.environment import Environment
from engine.journal.pages import (
    BRANCH,
    FIRST,
    HEADER,
    NONE,
    MetaPage,
    PageDamaged,
    PageFile,
    PageHeader,
    Root,
    children,
    entries,
    header,
    pages_for,
)
from engine.journal.records import is_intact
from engine.system import plainfile

_NUMBER = Struct("=Q")
_CHILD = Struct("=HHH")
_LAST = b"\xff" * 512
"""No key is beyond it."""


def copy_journal(
    environment: Environment, target: BinaryIO, tick: Callable[[], None] = lambda: None
) -> int:
    """Writes the newest moment of an open journal to an empty file; returns its bytes. The file
    isn't synced. `tick` is called for each page, and may raise to stop it. Raises PageDamaged where
    anything of the journal is, OSError."""
    descriptor = plainfile.open_plain(environment.path / "data.mdb")
    try:
        with environment.read() as txn:
            file = PageFile(descriptor)
            return Copying(file, file.moment(txn.id()), tick, target).run()
    finally:
        os.close(descriptor)


def judge_journal(path: os.PathLike[str], tick: Callable[[], None] = lambda: None) -> MetaPage:
    """Reads a file that nobody writes to as if it were to be copied; returns its newest moment.
    Raises PageDamaged where anything of it is damaged, OSError."""
    descriptor = plainfile.open_plain(os.fspath(path))
    try:
        file = PageFile(descriptor)
        meta = file.metas[0]
        if len(file.metas) != FIRST or meta.last_page >= file.count:
            raise PageDamaged("the file is cut off, or one of its first pages is damaged")
        Copying(file, meta, tick, None).run()
        return meta
    finally:
        os.close(descriptor)


class Copying:
    """One copy. With no target, all is judged and nothing is written."""

    def __init__(
        self, file: PageFile, meta: MetaPage, tick: Callable[[], None], target: BinaryIO | None
    ) -> None:
        self._file = file
        self._meta = meta
        self._tick = tick
        self._target = target
        self._next = FIRST
        self._entries = 0

    def run(self) -> int:
        """Copies; returns how many bytes the copy has."""
        size = self._file.page_size
        self._write(bytes(FIRST * size))
        root = self._tree(self._meta.main, rows=False)
        self._tree(self._meta.free, rows=None)
        if self._target:
            self._write_metas(self._target, root)
        return self._next * size

    def _write(self, data: bytes) -> None:
        if self._target:
            self._target.write(data)

    def _tree(self, root: Root, *, rows: bool | None) -> int:
        """Copies a tree; returns where its root is now. `rows`: whether what it has are rows, and
        not tables; None: it is the list of free pages, which isn't copied."""
        if root.page == NONE:
            if root.entries:
                raise PageDamaged("a table that should have rows has no pages")
            return NONE
        before, self._entries = self._entries, 0
        copied = self._page(root.page, 1, root.depth, b"", _LAST, rows)
        if self._entries != root.entries:
            raise PageDamaged(f"a table has {self._entries} of {root.entries} rows")
        self._entries = before
        return copied

    def _page(
        self, number: int, depth: int, depths: int, low: bytes, high: bytes, rows: bool | None
    ) -> int:
        """Copies a page, and before it what it leads to. Its keys must be from `low` to before
        `high`; but the list of free pages has its own order."""
        self._tick()
        data = bytearray(self._file.read(number))
        found = header(bytes(data))
        if found.number != number:
            raise PageDamaged(f"page {number} is another one")
        if (found.kind == BRANCH) != (depth < depths) or depth > depths:
            raise PageDamaged(f"page {number} isn't what should be there")
        if found.kind == BRANCH:
            below = list(children(bytes(data), found))
            limits = [low, *(child.key for child in below[1:]), high]
            if rows is not None and any(a >= b for a, b in pairwise(limits)):
                raise PageDamaged(f"page {number} has keys out of order")
            for at, child in enumerate(below):
                new = self._page(child.page, depth + 1, depths, limits[at], limits[at + 1], rows)
                _CHILD.pack_into(
                    data, child.start, new & 0xFFFF, new >> 16 & 0xFFFF, new >> 32 & 0xFFFF
                )
        else:
            self._leaf(data, found, low, high, rows)
        if rows is None:
            return 0
        data[found.lower : found.upper] = bytes(found.upper - found.lower)
        return self._put(data)

    def _leaf(
        self, data: bytearray, found: PageHeader, low: bytes, high: bytes, rows: bool | None
    ) -> None:
        last = low
        first = True
        for node in entries(bytes(data), found):
            self._entries += 1
            if rows is None:
                self._file.value(node)
                continue
            if not (last <= node.key if first else last < node.key) or node.key >= high:
                raise PageDamaged(f"page {found.number} has keys out of order")
            first, last = False, node.key
            if rows != (node.tree is None):
                raise PageDamaged(f"page {found.number} has an entry of another kind")
            if node.tree is not None:
                inner = self._tree(node.tree, rows=True)
                _NUMBER.pack_into(data, node.start + node.size - _NUMBER.size, inner)
                continue
            value = self._file.value(node)
            if not is_intact(node.key, value):
                raise PageDamaged(f"page {found.number} has a row with a wrong checksum")
            if node.value is None:
                count = pages_for(node.size, self._file.page_size)
                pages = bytearray(self._file.read(node.page, count))
                end = HEADER + node.size
                pages[end:] = bytes(len(pages) - end)
                _NUMBER.pack_into(data, node.start, self._put(pages))

    def _put(self, data: bytearray) -> int:
        """Writes pages with the next numbers; returns the first."""
        number = self._next
        _NUMBER.pack_into(data, 0, number)
        self._write(bytes(data))
        self._next += len(data) // self._file.page_size
        return number

    def _write_metas(self, target: BinaryIO, root: int) -> None:
        """Two meta pages: one of the moment, where its number has it, and one of an empty file."""
        slot = self._meta.txn & 1
        for page in (0, 1):
            mine = page == slot
            last = self._next - 1 if mine else FIRST - 1
            target.seek(page * self._file.page_size)
            target.write(self._meta.patched(page, root if mine else NONE, last))
        target.seek(0, os.SEEK_END)
