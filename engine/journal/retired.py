"""The table `retired`: packs that hold nothing any more, and whether their files may be there.

A retired pack stays on record for ever: a writer that was asleep must never bring it back.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.journal.environment import Environment, Txn
from engine.journal.holdings import Holdings
from engine.journal.keys import time_key
from engine.journal.records import seal

THERE = b"\1"
"""The payload of a pack whose file may be there,"""
GONE = b"\0"
"""and of one whose file was removed."""


def retire(environment: Environment, txn: Txn, pack: int, *, there: bool) -> None:
    """Gives a pack up: nothing in it may be used any more. `there`: its file may be there still."""
    key = time_key(pack)
    txn.delete(key, db=environment.tables.packs)
    txn.delete(key, db=environment.tables.wasted)
    txn.put(key, seal(key, THERE if there else GONE), db=environment.tables.retired)


def note_removed(environment: Environment, txn: Txn, pack: int) -> None:
    """The file of a pack that was given up is gone."""
    key = time_key(pack)
    txn.put(key, seal(key, GONE), db=environment.tables.retired)


def left_behind(holdings: Holdings) -> Iterator[int]:
    """The packs that were given up and whose files may be there."""
    if "retired" not in holdings.environment.missing:
        for key, value in holdings.txn.cursor(holdings.tables.retired):
            if value == seal(key, THERE):
                yield int.from_bytes(key, "big")
