"""What a folder held at a sequence: keyframes and the events since.

A folder's *timeline* has an event for every transaction that changed its list of entries. Replaying
it from the start would cost its whole history, so from time to time a *keyframe* holds the full
list. A keyframe is due when the events since the last one outnumber both the entries and `FLOOR`;
so a listing replays at most about as many events as the folder then has entries, and each change
pays for O(1) entries in keyframes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import takewhile
from zlib import crc32

import lmdb

from engine.domain.errors import RecordDamaged
from engine.journal.environment import Environment, Txn
from engine.journal.keys import MAX_SEQUENCE, item_key, pair_key, split_pair
from engine.journal.records import (
    CHANGE,
    ENTER,
    LEAVE,
    FolderStats,
    keyframe_events,
    keyframe_keys,
    pack,
    pack_keyframe,
    seal,
    unpack,
    unpack_event,
    unseal,
)

EVENT = struct.Struct(">B5sI")
"""A row of the timeline: the operation, the item, and the checksum."""

FLOOR = 256
"""Fewer events than this are always replayed."""

Entries = dict[int, int]
"""Item -> sequence of its version, for every entry of a folder at some sequence."""


def seek_before(cursor: lmdb.Cursor[bytes], limit: bytes) -> bool:
    """Moves to the last key below `limit`; False where there is none."""
    return cursor.prev() if cursor.set_range(limit) else cursor.last()


def owned(
    cursor: lmdb.Cursor[bytes], owner: int, first: int = 0
) -> Iterator[tuple[int, bytes, bytes]]:
    """The rows of an item or a folder, in a table with `pair_key`, from sequence `first` on: their
    sequences, keys and values."""
    found = cursor.set_range(pair_key(owner, first))
    while found:
        key, value = cursor.item()
        number, sequence = split_pair(key)
        if number != owner:
            return
        yield sequence, key, value
        found = cursor.next()


def last_event(cursor: lmdb.Cursor[bytes], folder: int, sequence: int) -> int:
    """Sequence of the last event in the folder at or before `sequence`; 0 where there is none.

    The folder's state is the same at all sequences that give the same answer.
    """
    if seek_before(cursor, pair_key(folder, sequence + 1)):
        owner, found = split_pair(cursor.key())
        if owner == folder:
            return found
    return 0


def apply(entries: Entries, sequence: int, operation: int, item: int) -> None:
    """What one event does to a list of entries. Raises RecordDamaged where it makes no sense."""
    if operation == (CHANGE if item in entries else ENTER):
        entries[item] = sequence
    elif operation == LEAVE and item in entries:
        del entries[item]
    else:
        raise _damage(sequence, operation, item)


def _damage(sequence: int, operation: int, item: int) -> RecordDamaged:
    """What to raise of an event that makes no sense."""
    if operation == LEAVE:
        return RecordDamaged(f"timeline: item {item} leaves at {sequence}, but was not there")
    return RecordDamaged(f"timeline: event {operation} of item {item} at {sequence} is damaged")


def replay(environment: Environment, txn: Txn, folder: int, sequence: int) -> Entries:
    """The folder's entries at `sequence`."""
    return dict(map(split_pair, version_keys(environment, txn, folder, sequence)))


def version_keys(
    environment: Environment, txn: Txn, folder: int, sequence: int, *, whole: bool = False
) -> list[bytes]:
    """The keys in `versions` of the folder's entries at `sequence`, by item. With `whole` raises
    RecordDamaged where events are missing: see `_refuse_lost`.

    Every listing begins here, so the bytes of items and sequences are moved about as they are: as
    `replay` with `apply`, but 0.4 us an event instead of 0.7.
    """
    tables = environment.tables
    found: dict[bytes, bytes] = {}  # item -> key
    start = 0
    with txn.cursor(tables.keyframes) as cursor:
        if seek_before(cursor, pair_key(folder, sequence + 1)):
            key, value = cursor.item()
            owner, last = split_pair(key)
            if owner == folder:
                start = last
                found = {
                    known[:5]: known for known in keyframe_keys(unseal("keyframes", key, value))
                }
    end = pair_key(folder, sequence)
    with txn.cursor(tables.timeline) as cursor:
        events, more = 0, False
        for key, value in cursor if cursor.set_range(pair_key(folder, start + 1)) else ():
            if key > end:
                more = key[:5] == end[:5]
                break
            events += 1
            try:
                operation, item, checksum = EVENT.unpack(value)
            except struct.error:
                operation, item, checksum = 0, bytes(5), -1  # it has another length
            if crc32(value[:6], crc32(key)) != checksum:
                unseal("timeline", key, value)
            if operation == (CHANGE if item in found else ENTER):
                found[item] = item + key[5:]
            elif operation == LEAVE and item in found:
                del found[item]
            else:
                raise _damage(split_pair(key)[1], operation, int.from_bytes(item, "big"))
        if whole:
            later = cursor if more else None
            _refuse_lost(environment, txn, folder, start, events, len(found), later)
    return sorted(found.values())


def _refuse_lost(
    environment: Environment,
    txn: Txn,
    folder: int,
    start: int,
    events: int,
    entries: int,
    later: lmdb.Cursor[bytes] | None,
) -> None:
    """Raises RecordDamaged where a folder has fewer events than were recorded.

    A disk may lose a write. Then a page is what it was before, and LMDB, which has no checksums,
    finds fewer rows and nothing wrong with them. `events` were found since the keyframe at `start`,
    which leave so many `entries`; `later` is at the next event of the folder, if there is one. How
    many there should be is said elsewhere: up to the next keyframe, or to the last event.
    """
    tables = environment.tables
    wanted = None
    if later is not None:
        limit = pair_key(folder, MAX_SEQUENCE)
        with txn.cursor(tables.keyframes) as frames:
            if frames.set_range(pair_key(folder, start + 1)) and frames.key() < limit:
                limit = frames.key()
                if environment.is_sound(txn, limit):
                    return
                wanted = keyframe_events(unseal("keyframes", *frames.item()))
                if wanted is None:
                    return
        events += len(list(takewhile(limit.__ge__, later.iternext(values=False))))
        if wanted is not None and events >= wanted:
            environment.note_sound(txn, limit)
    key = item_key(folder)
    value = txn.get(key, db=tables.folders) if wanted is None else None
    stats = FolderStats() if value is None else unpack(FolderStats, "folders", key, value)
    if events < (stats.events if wanted is None else wanted) or (
        later is None and entries != stats.entries
    ):
        raise RecordDamaged(
            f"timeline: folder {folder} lacks events: the disk has lost some: run 'engine check'"
        )


def write_keyframe(
    environment: Environment, txn: Txn, folder: int, sequence: int, events: int
) -> FolderStats:
    """Writes the folder's keyframe at `sequence`, its last event, the last of so many since the
    keyframe before; returns its new stats."""
    entries = replay(environment, txn, folder, sequence)
    key = pair_key(folder, sequence)
    value = seal(key, pack_keyframe(entries, events))
    txn.put(key, value, db=environment.tables.keyframes)
    return FolderStats(entries=len(entries), events=0)


def rebuild(environment: Environment, txn: Txn, folder: int) -> None:
    """Drops the folder's keyframes and stats, and makes them anew from its events."""
    tables = environment.tables
    with txn.cursor(tables.keyframes) as cursor:
        while cursor.set_range(pair_key(folder, 0)) and split_pair(cursor.key())[0] == folder:
            cursor.delete()
    entries: Entries = {}
    events = 0
    frames: list[tuple[bytes, bytes]] = []
    with txn.cursor(tables.timeline) as cursor:
        for sequence, key, value in owned(cursor, folder):
            apply(entries, sequence, *unpack_event(unseal("timeline", key, value)))
            events += 1
            if keyframe_due(FolderStats(entries=len(entries), events=events)):
                frames.append((key, seal(key, pack_keyframe(entries, events))))
                events = 0
    for key, value in frames:
        txn.put(key, value, db=tables.keyframes)
    key = item_key(folder)
    stats = FolderStats(entries=len(entries), events=events)
    txn.put(key, seal(key, pack(stats)), db=tables.folders)


def keyframe_due(stats: FolderStats) -> bool:
    """Whether a folder with these stats should get a keyframe now."""
    return stats.events > max(stats.entries, FLOOR)
