"""What a folder held at a sequence: keyframes and the events since.

A folder's *timeline* has an event for every transaction that changed its list of entries. Replaying
it from the start would cost its whole history, so from time to time a *keyframe* holds the full
list. A keyframe is due when the events since the last one outnumber both the entries and `FLOOR`;
so a listing replays at most about as many events as the folder then has entries, and each change
pays for O(1) entries in keyframes.
"""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

import lmdb

from engine.errors import RecordDamaged
from engine.journal.environment import Environment, Txn
from engine.journal.keys import MAX_SEQUENCE, item_key, pair_key, split_pair
from engine.journal.records import (
    CHANGE,
    ENTER,
    LEAVE,
    FolderStats,
    pack,
    pack_keyframe,
    seal,
    unpack_event,
    unpack_keyframe,
    unseal,
)

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
    if operation == LEAVE:
        if entries.pop(item, None) is None:
            raise RecordDamaged(f"timeline: item {item} leaves at {sequence}, but was not there")
    elif (operation == ENTER) == (item in entries) or operation not in (ENTER, CHANGE):
        raise RecordDamaged(f"timeline: event {operation} of item {item} at {sequence} is damaged")
    else:
        entries[item] = sequence


def replay(environment: Environment, txn: Txn, folder: int, sequence: int) -> Entries:
    """The folder's entries at `sequence`."""
    tables = environment.tables
    entries: Entries = {}
    start = 0
    with txn.cursor(tables.keyframes) as cursor:
        if seek_before(cursor, pair_key(folder, sequence + 1)):
            key, value = cursor.item()
            owner, found = split_pair(key)
            if owner == folder:
                start = found
                entries = unpack_keyframe(unseal("keyframes", key, value))
    end = pair_key(folder, sequence)
    with txn.cursor(tables.timeline) as cursor:
        if not cursor.set_range(pair_key(folder, start + 1)):
            return entries
        for key, value in cursor:
            if key > end:
                break
            payload = value[:6]
            if crc32(payload, crc32(key)).to_bytes(4, "big") != value[6:]:
                unseal("timeline", key, value)
            number = int.from_bytes(payload, "big")
            apply(
                entries,
                int.from_bytes(key[5:], "big"),
                number >> 40,
                number & 0xFF_FFFF_FFFF,
            )
    return entries


def write_keyframe(environment: Environment, txn: Txn, folder: int, sequence: int) -> FolderStats:
    """Writes the folder's keyframe at `sequence`, its last event; returns its new stats."""
    entries = replay(environment, txn, folder, sequence)
    key = pair_key(folder, sequence)
    txn.put(key, seal(key, pack_keyframe(entries)), db=environment.tables.keyframes)
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
                frames.append((key, seal(key, pack_keyframe(entries))))
                events = 0
    for key, value in frames:
        txn.put(key, value, db=tables.keyframes)
    key = item_key(folder)
    stats = FolderStats(entries=len(entries), events=events)
    txn.put(key, seal(key, pack(stats)), db=tables.folders)


def keyframe_due(stats: FolderStats) -> bool:
    """Whether a folder with these stats should get a keyframe now."""
    return stats.events > max(stats.entries, FLOOR)


def latest_entries(environment: Environment, txn: Txn, folder: int) -> Entries:
    """The folder's entries after the last transaction."""
    return replay(environment, txn, folder, MAX_SEQUENCE)
