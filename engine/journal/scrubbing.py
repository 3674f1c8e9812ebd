"""Overwrites what is left in a journal's file of rows that were removed.

LMDB only forgets where they were: their bytes stay in pages that are free, and in the unused middle
of pages that aren't. Nobody ever reads them there, so they are overwritten in the file itself,
beside LMDB, while others read and write. Killed anywhere, it has overwritten a part.

A page that the newest moment of the journal leads to isn't changed by anybody as long as a reader
holds that moment; one that is free isn't taken as long as we have the only write transaction.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator

from engine.domain.errors import BackupUnusable
from engine.journal.environment import Environment
from engine.journal.pages import (
    HEADER,
    LEAF,
    MetaPage,
    PageDamaged,
    PageFile,
    PageHeader,
    PageNode,
    entries,
    header,
    pages_for,
)
from engine.system import plainfile

_ATTEMPTS = 3


def scrub(environment: Environment, tick: Callable[[], None] = lambda: None) -> int:
    """Overwrites what is free; returns how many free pages could not be, for somebody still reads a
    moment of the journal at which they weren't. Reads the whole file. Raises OSError, StorageFull,
    BackupUnusable where the journal is damaged. `tick` is called for each page, and may raise."""
    kept = 0
    for _ in range(_ATTEMPTS):
        for _ in range(2):  # what a transaction sets free, the one after the next may overwrite
            with environment.write() as txn:
                state = txn.get(b"state", db=environment.tables.meta)
                if state is not None:
                    txn.put(b"state", state, db=environment.tables.meta)
        descriptor = plainfile.open_plain(environment.path / "data.mdb", os.O_RDWR)
        try:
            kept = _Scrubbing(environment, descriptor, tick).run()
            os.fsync(descriptor)
        except PageDamaged as error:
            raise BackupUnusable(
                f"{environment.path}: damaged: {error}: run 'engine check'"
            ) from None
        finally:
            os.close(descriptor)
        if not kept:
            break
    return kept


class _Scrubbing:
    def __init__(self, environment: Environment, descriptor: int, tick: Callable[[], None]) -> None:
        self._environment = environment
        self._descriptor = descriptor
        self._tick = tick

    def run(self) -> int:
        with self._environment.read() as txn:
            file = PageFile(self._descriptor)
            self._used(file, file.moment(txn.id()))
        with self._environment.write() as txn:
            file = PageFile(self._descriptor)
            return self._free(file, file.moment(txn.id() - 1))

    def _used(self, file: PageFile, meta: MetaPage) -> None:
        """Overwrites the unused bytes of the pages of one moment."""
        damaged: list[str] = []
        trees = [meta.free, meta.main]
        for tree in trees:
            for found, data in file.walk(tree, damaged):
                self._hole(file, found, data)
                for node in entries(data, found) if found.kind == LEAF else ():
                    if node.tree:
                        trees.append(node.tree)
                    elif node.value is None:
                        self._tail(file, node)
        if damaged:
            raise PageDamaged(damaged[0])

    def _hole(self, file: PageFile, found: PageHeader, data: bytes) -> None:
        self._clear(file, found.number, found.lower, data[found.lower : found.upper])

    def _tail(self, file: PageFile, node: PageNode) -> None:
        """What follows a value in the last of its pages."""
        count = pages_for(node.size, file.page_size)
        end = HEADER + node.size - (count - 1) * file.page_size
        last = node.page + count - 1
        self._clear(file, last, end, file.read(last)[end:])

    def _clear(self, file: PageFile, page: int, start: int, data: bytes) -> None:
        self._tick()
        if data.strip(b"\0"):
            os.pwrite(self._descriptor, bytes(len(data)), page * file.page_size + start)

    def _free(self, file: PageFile, meta: MetaPage) -> int:
        """Overwrites the pages that are free, and those that were never used. To be called within
        a write transaction that has changed nothing."""
        oldest = min(_readers(self._environment), default=meta.txn)
        kept = 0
        for txn, pages in _free_pages(file, meta):
            for page in pages:
                if page >= file.count:
                    continue
                if txn < oldest:
                    self._clear(file, page, 0, file.read(page))
                elif txn < meta.txn:
                    kept += 1
                else:  # the moment before, which is kept in case this one's pages are lost
                    self._half_free(file, page)
        for page in range(meta.last_page + 1, file.count):
            self._clear(file, page, 0, file.read(page))
        return kept

    def _half_free(self, file: PageFile, page: int) -> None:
        data = file.read(page)
        try:
            found = header(data)
        except PageDamaged:
            return  # it goes on from another one: a value's own pages
        if found.number == page and found.lower <= found.upper <= len(data):
            self._hole(file, found, data)


def _readers(environment: Environment) -> Iterator[int]:
    """The moments that somebody reads."""
    for line in environment.readers().splitlines():
        if found := re.fullmatch(r"\s*\d+\s+\S+\s+(\d+)\s*", line):
            yield int(found[1])


def _free_pages(file: PageFile, meta: MetaPage) -> Iterator[tuple[int, list[int]]]:
    """Which transaction set which pages free."""
    damaged: list[str] = []
    for found, data in file.walk(meta.free, damaged):
        for node in entries(data, found) if found.kind == LEAF else ():
            value = file.value(node)
            numbers = [
                int.from_bytes(value[at : at + 8], sys.byteorder) for at in range(8, len(value), 8)
            ]
            yield int.from_bytes(node.key, sys.byteorder), numbers
    if damaged:
        raise PageDamaged(damaged[0])
