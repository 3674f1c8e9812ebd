"""Makes the blob index anew from packs alone.

What packs hold is sorted on disk and compared with the index row by row: memory doesn't grow with
it. Only rows that are wrong are written, each right by itself, so it may be interrupted anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from typing import NamedTuple

from engine.backup import Backup
from engine.blobs import encode_location
from engine.blobs.verification import verify
from engine.check.quarantine import Aside
from engine.check.sorting import SortedRows
from engine.domain.errors import BlobDamaged
from engine.journal.keys import time_key
from engine.journal.records import seal
from engine.purge.purge_lock import alone
from engine.system.batched import batches

BATCH = 10_000
"""Rows that one write transaction changes, at most."""
_DIGEST, _LOCATION = 32, 24


class _Change(NamedTuple):
    """A row of the index that isn't as the packs are."""

    digest: bytes
    before: bytes | None
    """The row as it was, with its checksum."""
    after: bytes | None
    """The location that it should have; None: the row is worth nothing."""
    doubtful: bool
    """Whether perhaps nothing names the blob."""


def rebuild_index(backup: Backup, aside: Aside) -> int:
    """Makes index and lengths fit what is in the packs; returns how many rows were wrong. Where a
    digest is stored twice, the place that the index had stays, if it is intact. A row that leads to
    nothing intact stays, too: the blob may be found again. What may be needed by nothing, the next
    purge looks at. Raises EngineError during a purge."""
    with (
        alone(backup),
        SortedRows(backup.path, _DIGEST + _LOCATION) as found,
        SortedRows(backup.path, _LOCATION) as wasted,
    ):
        index = _Index(backup)
        index.read_packs(found)
        changed = 0
        for changes in batches(index.compare(found, wasted), BATCH):
            changed += _write(backup, changes, aside)
        return changed + index.settle(wasted)


class _Index:
    def __init__(self, backup: Backup) -> None:
        self._backup = backup
        with backup.reader() as reader:
            present = [stored.id for stored in backup.volume.list()]
            self._present = [pack for pack in present if not reader.retired(pack)]
            self._committed = reader.pack_lengths()
            self._wasted = {pack for pack in self._present if reader.wasted(pack)}
        self._lengths = dict(self._committed)

    def read_packs(self, found: SortedRows) -> None:
        """Sorts what is intact in packs by digest."""
        for pack in self._present:
            with suppress(BlobDamaged):  # it can't be opened, which the check tells
                for verdict in verify(self._backup.volume, pack):
                    if verdict.reason:
                        continue
                    end = verdict.offset + verdict.length
                    self._lengths[pack] = max(self._lengths.get(pack, 0), end)
                    for digest, location in verdict.blobs:
                        found.add(digest + encode_location(location))

    def compare(self, found: SortedRows, wasted: SortedRows) -> Iterator[_Change]:
        """The rows that are wrong, by digest. Puts places that aren't used into `wasted`."""
        for digest, row, places in _join(_rows(self._backup), found):
            intact = row is not None and row == seal(digest, row[:-4])
            after = row[:-4] if row is not None and intact else None
            if places and after not in places:
                after = places[0]
            for place in places:
                if place != after:
                    wasted.add(place)
            if row is None or after is None or row != seal(digest, after):
                doubtful = not intact and any(map(self._doubtful, places))
                yield _Change(digest, row, after, doubtful)

    def _doubtful(self, place: bytes) -> bool:
        """Whether a purge may have taken it out of the index, or nothing ever named it."""
        pack, record = int.from_bytes(place[:8], "big"), int.from_bytes(place[8:16], "big")
        return pack in self._wasted or record >= self._committed.get(pack, 0)

    def settle(self, wasted: SortedRows) -> int:
        """Records lengths of packs, and which of them hold what isn't used; returns how many of
        the lengths were wrong."""
        environment = self._backup.journal.environment
        tables = environment.tables
        changed = 0
        packs = [place[:8] for place, _ in groupby(wasted, lambda place: place[:8])]
        with environment.write() as txn:
            for key in packs:
                txn.put(key, seal(key, b""), db=tables.wasted)
            for pack, length in self._lengths.items():
                key = time_key(pack)
                value = seal(key, length.to_bytes(8, "big"))
                now = txn.get(key, db=tables.packs)
                if now is not None and now == seal(key, now[:-4]):
                    longer = int.from_bytes(now[:-4], "big") >= length
                    if longer:  # it may have grown since
                        continue
                txn.put(key, value, db=tables.packs)
                changed += 1
        return changed


def _rows(backup: Backup) -> Iterator[tuple[bytes, bytes]]:
    """The index as it is now, by digest."""
    with backup.reader() as reader:
        yield from reader.txn.cursor(reader.tables.blobs)


def _join(
    rows: Iterator[tuple[bytes, bytes]], found: SortedRows
) -> Iterator[tuple[bytes, bytes | None, list[bytes]]]:
    """For each digest its row, or None, and the places that packs have it at."""
    row = next(rows, None)
    for digest, group in groupby(found, lambda place: place[:_DIGEST]):
        while row is not None and row[0] < digest:
            yield row[0], row[1], []
            row = next(rows, None)
        places = [place[_DIGEST:] for place in group]
        if row is not None and row[0] == digest:
            yield digest, row[1], places
            row = next(rows, None)
        else:
            yield digest, None, places
    while row is not None:
        yield row[0], row[1], []
        row = next(rows, None)


def _write(backup: Backup, changes: list[_Change], aside: Aside) -> int:
    """Changes rows of the index, but for those that others have changed meanwhile."""
    environment = backup.journal.environment
    tables = environment.tables
    for change in changes:
        if change.before is not None and change.after is None:
            aside.row("blobs", change.digest, change.before)
    aside.sync()
    changed = 0
    with environment.write() as txn:
        for digest, before, after, doubtful in changes:
            if txn.get(digest, db=tables.blobs) != before:
                continue
            changed += 1
            if after is None:
                txn.delete(digest, db=tables.blobs)
                continue
            txn.put(digest, seal(digest, after), db=tables.blobs)
            if doubtful:
                txn.put(digest, seal(digest, b""), db=tables.unneeded)
    return changed
