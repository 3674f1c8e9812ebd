"""What a damaged journal's file still tells: its rows, by how far they are to be believed.

Where the trees of pages are whole, they say which rows there are. Beneath a page that can't be read
there are pages that nothing leads to any more, but that aren't free: their rows are as good. What
is in other pages was true once, and may have been removed since. Each row's checksum says that it
is one, whatever page it is found in; its form says of which table.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from engine.domain.errors import RecordDamaged
from engine.journal.environment import Tables
from engine.journal.forms import examine, key_width
from engine.journal.pages import (
    BRANCH,
    FIRST,
    LEAF,
    OVERFLOW,
    MetaPage,
    PageDamaged,
    PageFile,
    PageNode,
    Root,
    header,
    overflow_pages,
    pages_for,
    readable,
)
from engine.journal.records import JournalState, PurgeState, is_intact, unpack

_META = (b"identity", b"state", b"purge", b"deep", b"import")


class RemainingRow(NamedTuple):
    """A row that was found."""

    table: str
    key: bytes
    value: bytes


class FormerMoment(NamedTuple):
    """Where a file's tables are, at one of its moments."""

    tables: dict[str, Root]
    state: JournalState | None
    purge: PurgeState | None
    """None: that can't be read. Where nothing was removed, an empty one."""

    @property
    def rank(self) -> tuple[int, int, int]:
        """The later one has the higher."""
        state = self.state or JournalState(0, 0, 0)
        return state.last_time, state.next_sequence, self.purge.count if self.purge else 0


class Remains:
    """What a file still tells. It must not change meanwhile."""

    def __init__(self, descriptor: int) -> None:
        """Raises OSError."""
        self._file = PageFile(descriptor, damaged=True)
        self._live = bytearray(self._file.count)
        """Pages that something leads to,"""
        self._free = bytearray(self._file.count)
        """and those that are free, if `_whole`."""
        self.newest = True
        """Whether it is told of the newest moment that left anything."""
        self.hurt: set[str] = set()
        """Tables of which something can't be read."""
        self._known_free = True
        self.moment = self._choose()
        self._whole = self._walk_free() if self._known_free else False

    # The moment

    def _choose(self) -> FormerMoment:
        """The newest moment that is whole, or the newest that there is. Where the first pages don't
        lead to any, another page may."""
        file = self._file
        found = [self._moment(meta.main) for meta in file.metas]
        if len(file.metas) == FIRST and found[0].tables.keys() >= _NEEDED:
            return found[0]
        lost = not all(moment.tables for moment in found)
        self._known_free = False
        found = [moment for moment in (*found, *self._stale_moments()) if moment.tables]
        found.sort(key=lambda moment: moment.rank, reverse=True)
        for moment in found:
            if self._is_whole(moment):
                self.newest = moment.rank == found[0].rank and not lost
                return moment
        self.newest = False
        return found[0] if found else FormerMoment({}, None, None)

    def _is_whole(self, moment: FormerMoment) -> bool:
        for table, root in moment.tables.items():
            damaged: list[str] = []
            if sum(1 for _ in self._rows(table, root, damaged)) != root.entries or damaged:
                self._live = bytearray(self._file.count)
                return False
        return moment.tables.keys() >= _NEEDED

    def _moment(self, main: Root) -> FormerMoment:
        tables: dict[str, Root] = {}
        for found, data in self._file.walk(main, []):
            tables |= _tables(self._file, found.kind, data)
        return self._told(tables)

    def _told(self, tables: dict[str, Root]) -> FormerMoment:
        state, purge = None, PurgeState()
        damaged: list[str] = []
        if "meta" not in tables:
            return FormerMoment(tables, None, None)
        for row in self._rows("meta", tables["meta"], damaged):
            with suppress(RecordDamaged):
                if row.key == b"state":
                    state = unpack(JournalState, "meta", row.key, row.value)
                elif row.key == b"purge":
                    purge = unpack(PurgeState, "meta", row.key, row.value)
        return FormerMoment(tables, state, None if damaged else purge)

    def _stale_moments(self) -> Iterator[FormerMoment]:
        """Those of which only the page that leads to the tables is left."""
        for page in range(FIRST, self._file.count):
            with suppress(PageDamaged):
                data = self._file.read(page)
                if header(data).number == page:
                    tables = _tables(self._file, header(data).kind, data)
                    if tables.keys() >= _NEEDED:
                        yield self._told(tables)

    def _walk_free(self) -> bool:
        """Notes the pages that are free; returns whether all that are could be."""
        damaged: list[str] = []
        meta: MetaPage = self._file.metas[0]
        for found, data in self._file.walk(meta.free, damaged):
            self._mark(found.number, 1)
            for node in readable(data, found) if found.kind == LEAF else ():
                try:
                    value = self._file.value(node)
                except PageDamaged as error:
                    damaged.append(str(error))
                    continue
                if node.value is None:
                    self._mark(node.page, pages_for(node.size, self._file.page_size))
                for at in range(8, len(value) - 7, 8):
                    page = int.from_bytes(value[at : at + 8], sys.byteorder)
                    if page < self._file.count:
                        self._free[page] = 1
        for found, _ in self._file.walk(meta.main, []):
            self._mark(found.number, 1)
        return not damaged

    def _mark(self, page: int, count: int) -> None:
        for number in range(page, min(page + count, self._file.count)):
            self._live[number] = 1

    # Rows

    def current(self) -> Iterator[RemainingRow]:
        """The rows of the moment that can be read, of all tables. `hurt` is right afterwards, and
        not before."""
        for table in Tables._fields:
            root = self.moment.tables.get(table)
            if root is None:
                continue
            damaged: list[str] = []
            count = 0
            for row in self._rows(table, root, damaged):
                count += 1
                yield row
            if damaged or count != root.entries:
                self.hurt.add(table)
        if not self.newest:
            self.hurt |= set(Tables._fields)
        if self._whole:
            for page in range(FIRST, self._file.count):
                if not self._live[page] and not self._free[page]:
                    yield from self._loose(page)

    def older(self) -> Iterator[RemainingRow]:
        """Those of all other pages, for `hurt` tables, after `current`."""
        for page in range(FIRST, self._file.count):
            if not self._live[page] and (self._free[page] or not self._whole):
                for row in self._loose(page):
                    if row.table in self.hurt:
                        yield row

    def _rows(self, table: str, root: Root, damaged: list[str]) -> Iterator[RemainingRow]:
        for found, data in self._file.walk(root, damaged):
            self._mark(found.number, 1)
            for node in readable(data, found) if found.kind == LEAF else ():
                value = self._value(node, damaged)
                if value is None:
                    continue
                if node.value is None:
                    self._mark(node.page, pages_for(node.size, self._file.page_size))
                try:
                    examine(table, node.key, value)
                except RecordDamaged as error:
                    if len(node.key) != key_width(table, node.key):
                        damaged.append(str(error))
                        continue
                yield RemainingRow(table, node.key, value)

    def _value(self, node: PageNode, damaged: list[str]) -> bytes | None:
        try:
            return self._file.value(node)
        except PageDamaged as error:
            damaged.append(str(error))
            return None

    def _loose(self, page: int) -> Iterator[RemainingRow]:
        """The rows of a page that nothing leads to."""
        try:
            data = self._file.read(page)
            found = header(data)
        except PageDamaged:
            return
        if found.kind == OVERFLOW and found.number == page:
            self._mark(page, overflow_pages(data))  # what follows is no page by itself
        if found.kind != LEAF or found.number != page:
            return
        for node in readable(data, found):
            value = self._value(node, [])
            if value is not None and (table := table_of(node.key, value)):
                yield RemainingRow(table, node.key, value)


_NEEDED = frozenset({"meta", "versions", "transactions", "times"})
"""Tables that every moment has."""


def _tables(file: PageFile, kind: int, data: bytes) -> dict[str, Root]:
    """The tables that a page leads to."""
    if kind in (BRANCH, OVERFLOW):
        return {}
    return {
        node.key.decode("ascii", "replace"): node.tree
        for node in readable(data, header(data))
        if node.tree is not None
    }


def table_of(key: bytes, value: bytes) -> str:
    """Which table a row is of; empty where it is no row, or could be of several."""
    if not is_intact(key, value):
        return ""
    if key in _META:
        return "meta" if _fits("meta", key, value) else ""
    candidates = [table for table in _BY_WIDTH.get(len(key), ()) if _fits(table, key, value)]
    most = max((_fields_of(table) for table in candidates), default=0)
    best = [table for table in candidates if _fields_of(table) == most]
    return best[0] if len(best) == 1 else ""


def _fields_of(table: str) -> int:
    """How many fields its records have at least: a longer one isn't of a table with fewer."""
    return len(_FIELDS.get(table, ()))


_BY_WIDTH = {
    5: ("folders", "accounts", "holds"),
    6: ("transactions", "commits"),
    7: ("chain",),
    8: ("times", "headers", "packs", "scans", "wasted", "retired", "verified"),
    10: ("stores", "cursors", "revisions"),
    11: ("versions", "timeline", "deleted", "keyframes"),
    13: ("ledger",),
    32: ("blobs", "erasures", "unneeded"),
}
_LENGTHS = {
    "commits": (8,),
    "times": (10,),
    "packs": (8,),
    "wasted": (0,),
    "retired": (1,),
    "timeline": (6,),
    "deleted": (5,),
    "blobs": (24,),
    "unneeded": (0,),
}
"""Bytes of payloads that aren't MessagePack."""
_FIELDS = {
    "folders": (int, int),
    "accounts": (int, int, int),
    "stores": (int, int, str, str, str),
    "revisions": (bytes,),
    "chain": (bytes, bytes, int, int, int, int, bytes),
    "ledger": (bytes, bytes),
    "holds": (int, str),
    "transactions": (int, int, int),
    "scans": (int, int, bool, int, int, int, int, int),
    "verified": (int, int),
    "erasures": (int, int, int),
}
"""Of what kind the first fields are, of those that are; all of them are always written."""
_FORMER_ACCOUNT = (int, int, str, str, str)
"""Of those that format 1 wrote."""


def _fits(table: str, key: bytes, value: bytes) -> bool:
    payload = value[:-4]
    if table in _LENGTHS and len(payload) not in _LENGTHS[table]:
        return False
    if table == "keyframes" and (len(payload) % 11 not in (0, 4) or payload[:1] >= b" "):
        return False  # a version; items are below 2^37
    if table == "times" and payload[:2] != bytes(2):
        return False  # a block of headers; sequences are below 2^32
    try:
        examine(table, key, value)
        if table in _FIELDS:
            fields = msgspec.msgpack.decode(payload)
            former = table == "accounts" and _are(fields, _FORMER_ACCOUNT)
            return former or _are(fields, _FIELDS[table])
    except (RecordDamaged, msgspec.DecodeError, UnicodeDecodeError, TypeError):
        return False
    return True


def _are(fields: Sequence[object], kinds: tuple[type, ...]) -> bool:
    enough = len(fields) >= len(kinds)
    return enough and all(type(f) is kind for f, kind in zip(fields, kinds, strict=False))
