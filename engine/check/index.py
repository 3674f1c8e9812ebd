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
from engine.check.sorting import SortedRows
from engine.domain.errors import BlobDamaged, RecordDamaged
from engine.journal import blob_index
from engine.journal.blob_index import IndexRow
from engine.journal.reader import Reader
from engine.journal.repair.quarantine import Quarantine
from engine.purge.purge_lock import alone
from engine.system.batched import batches

BATCH = 10_000
"""Rows that one write transaction changes, at most."""
_DIGEST, _LOCATION = 32, 24


class _Change(NamedTuple):
    """A row of the index that isn't as the packs are."""

    digest: bytes
    before: IndexRow | None
    """The row as it was."""
    after: bytes | None
    """The location that it should have; None: the row is worth nothing."""
    doubtful: bool
    """Whether perhaps nothing names the blob."""


def rebuild_index(backup: Backup, aside: Quarantine) -> int:
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
            intact = row is not None and row.intact
            before = row.location if row is not None and intact else None
            after = before
            if places and after not in places:
                after = places[0]
            for place in places:
                if place != after:
                    wasted.add(place)
            if after is None or after != before:
                doubtful = not intact and any(map(self._doubtful, places))
                yield _Change(digest, row, after, doubtful)

    def _doubtful(self, place: bytes) -> bool:
        """Whether a purge may have taken it out of the index, or nothing ever named it."""
        pack, record = int.from_bytes(place[:8], "big"), int.from_bytes(place[8:16], "big")
        return pack in self._wasted or record >= self._committed.get(pack, 0)

    def settle(self, wasted: SortedRows) -> int:
        """Records lengths of packs, and which of them hold what isn't used; returns how many of
        the lengths were wrong."""
        changed = 0
        packs = [pack for pack, _ in groupby(wasted, lambda place: place[:8])]
        with self._backup.journal.edit() as edit:
            for pack in packs:
                edit.put_wasted(int.from_bytes(pack, "big"))
            for number, length in self._lengths.items():
                if _length(edit, number) < length:  # it may have grown since
                    edit.put_pack_length(number, length)
                    changed += 1
        return changed


def _length(reader: Reader, pack: int) -> int:
    """The committed length of a pack; -1 where it isn't known."""
    try:
        length = reader.pack_length(pack)
    except RecordDamaged:
        return -1
    return -1 if length is None else length


def _rows(backup: Backup) -> Iterator[IndexRow]:
    """The index as it is now, by digest."""
    with backup.reader() as reader:
        yield from blob_index.rows(reader)


def _join(
    rows: Iterator[IndexRow], found: SortedRows
) -> Iterator[tuple[bytes, IndexRow | None, list[bytes]]]:
    """For each digest its row, or None, and the places that packs have it at."""
    row = next(rows, None)
    for digest, group in groupby(found, lambda place: place[:_DIGEST]):
        while row is not None and row.digest < digest:
            yield row.digest, row, []
            row = next(rows, None)
        places = [place[_DIGEST:] for place in group]
        if row is not None and row.digest == digest:
            yield digest, row, places
            row = next(rows, None)
        else:
            yield digest, None, places
    while row is not None:
        yield row.digest, row, []
        row = next(rows, None)


def _write(backup: Backup, changes: list[_Change], aside: Quarantine) -> int:
    """Changes rows of the index, but for those that others have changed meanwhile."""
    for change in changes:
        if change.before is not None and change.after is None:
            aside.row("blobs", *change.before)
    aside.sync()
    changed = 0
    with backup.journal.edit() as edit:
        for digest, before, after, doubtful in changes:
            if blob_index.row(edit, digest) != before:
                continue
            changed += 1
            if after is None:
                edit.drop_blob(digest)
                continue
            edit.lead(digest, after)
            if doubtful:
                edit.doubt(digest)
    return changed
