"""The pages of an LMDB 0.9 data file, read without LMDB.

For what LMDB doesn't do: tell which bytes of a file nothing leads to, and read what is left of one
that is damaged. Whatever a page says is judged before it is used; `PageDamaged` is all that can
come of it. Numbers are in the machine's own order, as LMDB writes them; the layout is that of a
64-bit machine. Writes nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from struct import Struct
from typing import NamedTuple

from engine.domain.errors import Damaged

BRANCH, LEAF, OVERFLOW, META = 0x01, 0x02, 0x04, 0x08
"""What kind of page it is, in its flags."""
FIRST = 2
"""The first page that isn't a meta page."""
NONE = (1 << 64) - 1
"""The root of a tree that is empty."""

_KINDS = BRANCH | LEAF | OVERFLOW | META | 0x10 | 0x20 | 0x40
_BIG, _TREE, _DUPLICATES = 0x01, 0x02, 0x04
_PAGE = Struct("=QHHHH")
_NODE = Struct("=HHHH")
_TREE_FLAGS, _TREE_COUNTS = Struct("=IH"), Struct("=HQQQQQ")
_TREE_RECORD = Struct("=IHHQQQQQ")
_META = Struct("=IIQQ")
_ENDS = Struct("=QQ")
_COUNT = Struct("=I")
_NUMBER = Struct("=Q")
_MAGIC = 0xBEEFC0DE
_VERSION = 1
_DEEPEST = 32
_LONGEST = 1 << 15
_USUAL = 1 << 12
"""Bytes of a page."""

HEADER = _PAGE.size


class PageDamaged(Damaged):
    """A page that can't be what it should."""


class Root(NamedTuple):
    """A tree of pages: a table."""

    page: int
    """NONE: it is empty."""
    depth: int
    entries: int


class MetaPage(NamedTuple):
    """What a meta page says: one moment of the file."""

    page_size: int
    free: Root
    main: Root
    last_page: int
    txn: int
    """The number of the write transaction that made it."""
    raw: bytes
    """The whole page."""

    def patched(self, page: int, root: int, last: int) -> bytes:
        """The meta page `page` of a file that has no free pages: with another root and another
        last page; `root` NONE: of an empty file, before any transaction."""
        data = bytearray(self.raw)
        _NUMBER.pack_into(data, 0, page)
        at = HEADER + _META.size
        _TREE_COUNTS.pack_into(data, at + _TREE_FLAGS.size, 0, 0, 0, 0, 0, NONE)
        at += _TREE_RECORD.size
        if root == NONE:
            _TREE_COUNTS.pack_into(data, at + _TREE_FLAGS.size, 0, 0, 0, 0, 0, NONE)
        else:
            _NUMBER.pack_into(data, at + _TREE_RECORD.size - _NUMBER.size, root)
        _ENDS.pack_into(data, at + _TREE_RECORD.size, last, 0 if root == NONE else self.txn)
        return bytes(data)


class PageHeader(NamedTuple):
    """The beginning of a page."""

    number: int
    kind: int
    lower: int
    """Where the room begins that nothing uses,"""
    upper: int
    """and where it ends."""


class Child(NamedTuple):
    """An entry of a branch page."""

    key: bytes
    """The first that may be there; of the first entry nothing."""
    page: int
    start: int
    """Where in the page the entry is."""


class PageNode(NamedTuple):
    """An entry of a leaf page."""

    key: bytes
    value: bytes | None
    """None where it is on pages of its own."""
    page: int
    """The first of those,"""
    size: int
    """and the length of the value."""
    tree: Root | None
    """Of an entry that is a table."""
    start: int
    """Where in the page the value is, or what says where it is."""


def parse_meta(data: bytes) -> MetaPage | None:
    """What a meta page says; None if it is none."""
    if len(data) < HEADER + _META.size + 2 * _TREE_RECORD.size + _ENDS.size:
        return None
    magic, version, _, _ = _META.unpack_from(data, HEADER)
    if magic != _MAGIC or version != _VERSION or not _PAGE.unpack_from(data)[2] & META:
        return None
    at = HEADER + _META.size
    last, txn = _ENDS.unpack_from(data, at + 2 * _TREE_RECORD.size)
    size = _TREE_RECORD.unpack_from(data, at)[0]
    if size < 512 or size > _LONGEST or size & (size - 1):
        return None
    tables = _root(data, at), _root(data, at + _TREE_RECORD.size)
    return MetaPage(size, *tables, last, txn, data[:size])


def header(data: bytes) -> PageHeader:
    """What a page says of itself. Raises PageDamaged where that can't be."""
    number, _, flags, lower, upper = _PAGE.unpack_from(data)
    kind = flags & _KINDS
    if kind not in (BRANCH, LEAF, OVERFLOW):
        raise PageDamaged(f"a page has the flags {flags:#x}")
    if kind != OVERFLOW and not HEADER <= lower <= upper <= len(data):
        raise PageDamaged(f"page {number} has its bounds at {lower} and {upper}")
    return PageHeader(number, kind, lower, upper)


def overflow_pages(data: bytes) -> int:
    """How many pages an overflow page says that it and those after it are."""
    count: int = _COUNT.unpack_from(data, HEADER - _COUNT.size)[0]
    return count


def pages_for(size: int, page_size: int) -> int:
    """How many pages a value of that length takes."""
    return (HEADER - 1 + size) // page_size + 1


def children(data: bytes, found: PageHeader) -> Iterator[Child]:
    """What a branch page leads to. Raises PageDamaged."""
    for at, low, high, flags, width in _nodes(data, found):
        yield Child(data[at : at + width], low | high << 16 | flags << 32, at - _NODE.size)


def entries(data: bytes, found: PageHeader) -> Iterator[PageNode]:
    """What is in a leaf page. Raises PageDamaged at the first entry that can't be."""
    for place in _nodes(data, found):
        yield _entry(data, found, *place)


def readable(data: bytes, found: PageHeader) -> Iterator[PageNode]:
    """What can be read of a leaf page, entry by entry."""
    for at in range(HEADER, found.lower - 1, 2):
        with suppress(PageDamaged):
            yield _entry(data, found, *_node(data, found, at))


def _entry(
    data: bytes, found: PageHeader, start: int, low: int, high: int, flags: int, width: int
) -> PageNode:
    size = low | high << 16
    key = data[start : start + width]
    start += width
    if flags & _DUPLICATES:
        raise PageDamaged(f"page {found.number} has an entry of another kind")
    if flags & _BIG:
        if start + _NUMBER.size > len(data):
            raise PageDamaged(f"page {found.number} has an entry that is cut off")
        return PageNode(key, None, _NUMBER.unpack_from(data, start)[0], size, None, start)
    if start + size > len(data):
        raise PageDamaged(f"page {found.number} has an entry that is cut off")
    tree = None
    if flags & _TREE:
        if size != _TREE_RECORD.size:
            raise PageDamaged(f"page {found.number} has a table of {size} bytes")
        tree = _root(data, start)
    return PageNode(key, data[start : start + size], 0, size, tree, start)


def _nodes(data: bytes, found: PageHeader) -> Iterator[tuple[int, int, int, int, int]]:
    for at in range(HEADER, found.lower - 1, 2):
        yield _node(data, found, at)


def _node(data: bytes, found: PageHeader, at: int) -> tuple[int, int, int, int, int]:
    start = int.from_bytes(data[at : at + 2], sys.byteorder)
    if start < found.upper or start + _NODE.size > len(data):
        raise PageDamaged(f"page {found.number} has an entry at {start}")
    low, high, flags, width = _NODE.unpack_from(data, start)
    start += _NODE.size
    if start + width > len(data):
        raise PageDamaged(f"page {found.number} has a key that is cut off")
    return start, low, high, flags, width


def _root(data: bytes, at: int) -> Root:
    _, _, depth, _, _, _, count, page = _TREE_RECORD.unpack_from(data, at)
    return Root(page, depth, count)


class PageFile:
    """A data file that is open, for reading pages. Does without LMDB, and beside it."""

    def __init__(self, descriptor: int, *, damaged: bool = False) -> None:
        """`descriptor` stays the caller's. Raises PageDamaged where neither of the meta pages says
        anything, unless `damaged`: then the pages are of the usual size. Raises OSError."""
        self.descriptor = descriptor
        self.length = os.fstat(descriptor).st_size
        metas = [parse_meta(os.pread(descriptor, _LONGEST, 0))]
        sizes = [metas[0].page_size] if metas[0] else [1 << bits for bits in range(9, 16)]
        for size in sizes:
            found = parse_meta(os.pread(descriptor, _LONGEST, size))
            if found and found.page_size == size:
                metas.append(found)
                break
        self.metas = sorted((meta for meta in metas if meta), key=lambda m: m.txn, reverse=True)
        """Those that can be read, the newest first."""
        if not self.metas and not damaged:
            raise PageDamaged("neither of the first two pages says what the file is")
        self.page_size = self.metas[0].page_size if self.metas else _USUAL
        self.count = self.length // self.page_size
        """Whole pages that the file has."""

    def moment(self, txn: int) -> MetaPage:
        """What the file says of the moment that this transaction made. Raises PageDamaged."""
        for meta in self.metas:
            if meta.txn == txn:
                return meta
        raise PageDamaged(f"the first pages don't tell of transaction {txn}")

    def read(self, page: int, count: int = 1) -> bytes:
        """These pages. Raises PageDamaged where the file has them not, or the disk can't read
        them."""
        if page < FIRST or page + count > self.count:
            raise PageDamaged(f"page {page} is beyond the end of the file")
        size = count * self.page_size
        try:
            data = os.pread(self.descriptor, size, page * self.page_size)
        except OSError as error:
            raise PageDamaged(f"page {page}: {error.strerror}") from None
        if len(data) != size:
            raise PageDamaged(f"page {page} is cut off")
        return data

    def walk(self, root: Root, damaged: list[str]) -> Iterator[tuple[PageHeader, bytes]]:
        """The branch and leaf pages of a tree, each once. Where one can't be read, or isn't where
        it says, that is added to `damaged`, and what it led to is left out."""
        if root.page == NONE:
            return
        waiting = [(root.page, 1)]
        seen: set[int] = set()
        while waiting:
            page, depth = waiting.pop()
            try:
                if page in seen or depth > _DEEPEST:
                    raise PageDamaged(f"page {page} is led to twice")
                seen.add(page)
                data = self.read(page)
                found = header(data)
                if found.number != page or found.kind == OVERFLOW:
                    raise PageDamaged(f"page {page} is another one")
                if found.kind == BRANCH:
                    below = [(child.page, depth + 1) for child in children(data, found)]
                    waiting += reversed(below)
            except PageDamaged as error:
                damaged.append(str(error))
                continue
            yield found, data

    def value(self, node: PageNode) -> bytes:
        """The value of an entry, wherever it is. Raises PageDamaged."""
        if node.value is not None:
            return node.value
        count = pages_for(node.size, self.page_size)
        data = self.read(node.page, count)
        if header(data).number != node.page or header(data).kind != OVERFLOW:
            raise PageDamaged(f"page {node.page} is another one")
        return data[HEADER : HEADER + node.size]
