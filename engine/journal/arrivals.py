"""When an item came to where it is: what numbers messages for good. Only a way of reading."""

from __future__ import annotations

from engine.journal import timeline
from engine.journal.keys import pair_key, split_pair
from engine.journal.reader import Reader
from engine.journal.records import unpack_outline


def arrival(reader: Reader, item: int, sequence: int) -> int:
    """The transaction by which an item that is alive at `sequence` came into the folder that holds
    it then: its creation, its last move from another folder, or its last return. Costs its changes
    since then, mostly none."""
    cursor = reader.txn.cursor(reader.tables.versions)
    found = timeline.seek_before(cursor, pair_key(item, sequence + 1))
    folder, arrived = -1, sequence
    while found:
        key, value = cursor.item()
        owner, at = split_pair(key)
        outline = unpack_outline(key, value) if owner == item else None
        if outline is None or (folder >= 0 and outline.folder != folder):
            break
        folder, arrived = outline.folder, at
        found = cursor.prev()
    return arrived
