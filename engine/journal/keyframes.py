"""Keyframes that are missing, for a removal has dropped them: finds the folders, and makes them.

Without them folders take longer to list, and nothing else is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.journal import timeline
from engine.journal.environment import Environment, Table, Txn
from engine.journal.keys import MAX_SEQUENCE, item_key, pair_key
from engine.journal.reader import Reader
from engine.journal.records import (
    FolderStats,
    pack,
    pack_keyframe,
    seal,
    unpack,
    unpack_event,
    unseal,
)


def lacking_keyframes(reader: Reader) -> Iterator[int]:
    """The folders that should have more keyframes than they have."""
    for key, value in reader.txn.cursor(reader.tables.folders):
        if timeline.keyframe_due(unpack(FolderStats, "folders", key, value)):
            yield int.from_bytes(key, "big")


def write_missing_keyframes(environment: Environment, folder: int, *, room: int = 8 << 20) -> int:
    """Gives a folder the keyframes that it should have after its last one; returns how many were
    written. Others may record meanwhile: each write transaction is short, and what has happened up
    to a keyframe doesn't change. `room` is how many bytes of them are held and written at once."""
    written = 0
    while True:
        with environment.read() as txn:
            frames = list(_bounded(_missing(environment, txn, folder), room))
        if not frames:
            return written
        with environment.write() as txn:
            for key, payload in frames:
                txn.put(key, seal(key, payload), db=environment.tables.keyframes)
            _count_events(environment, txn, folder)
        written += len(frames)


def _bounded(frames: Iterator[tuple[bytes, bytes]], room: int) -> Iterator[tuple[bytes, bytes]]:
    for key, payload in frames:
        yield key, payload
        room -= len(payload)
        if room <= 0:
            return


def _missing(environment: Environment, txn: Txn, folder: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and payloads of the keyframes that are due after the folder's last one."""
    last = last_row(txn, environment.tables.keyframes, folder)
    entries = timeline.replay(environment, txn, folder, last)
    events = 0
    with txn.cursor(environment.tables.timeline) as cursor:
        for sequence, key, value in timeline.owned(cursor, folder, last + 1):
            timeline.apply(entries, sequence, *unpack_event(unseal("timeline", key, value)))
            events += 1
            if timeline.keyframe_due(FolderStats(entries=len(entries), events=events)):
                yield key, pack_keyframe(entries, events)
                events = 0


def _count_events(environment: Environment, txn: Txn, folder: int) -> None:
    """Puts right how many events there were since the folder's last keyframe."""
    tables = environment.tables
    last = last_row(txn, tables.keyframes, folder)
    stats = FolderStats(
        entries=Reader(environment, txn).folder_stats(folder).entries,
        events=count_rows(txn, tables.timeline, folder, last + 1, MAX_SEQUENCE),
    )
    key = item_key(folder)
    txn.put(key, seal(key, pack(stats)), db=tables.folders)


def last_row(txn: Txn, table: Table, folder: int) -> int:
    """The sequence of the folder's last row in a table with keys of pairs; 0 where it has none."""
    with txn.cursor(table) as cursor:
        return timeline.last_event(cursor, folder, MAX_SEQUENCE)


def count_rows(txn: Txn, table: Table, folder: int, first: int, last: int) -> int:
    """How many of the folder's rows are from `first` to `last`."""
    end = pair_key(folder, last)
    with txn.cursor(table) as cursor:
        if not cursor.set_range(pair_key(folder, first)):
            return 0
        count = 0
        for key in cursor.iternext(values=False):
            if key > end:
                break
            count += 1
        return count
