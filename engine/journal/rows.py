"""All rows of a table as values, in order: for whoever wants to know what is damaged, and goes on
without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from engine.domain.errors import RecordDamaged
from engine.domain.model import Recorded
from engine.journal.keys import pair_key, split_pair
from engine.journal.reader import Reader
from engine.journal.records import unpack_version


def versions(
    reader: Reader, damaged: Callable[[RecordDamaged], None], *, after: int = 0
) -> Iterator[Recorded]:
    """All versions and deletions by item and sequence, of the items after one. `damaged` is told of
    those that can't be read, and may raise."""
    cursor = reader.txn.cursor(reader.tables.versions)
    if not cursor.set_range(pair_key(after + 1, 0) if after else b""):
        return
    for key, value in cursor:
        try:
            version = unpack_version(key, value)
        except RecordDamaged as error:
            damaged(error)
            continue
        yield Recorded(*split_pair(key), version)


def ignore(error: RecordDamaged) -> None:
    """Goes on without a row that is damaged."""


def refuse(error: RecordDamaged) -> None:
    """Raises what is the matter with a row."""
    raise error
