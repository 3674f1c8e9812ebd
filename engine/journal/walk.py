"""Walks over whole tables in many moments of the journal, so that none is held for long: writers
can't use pages again as long as somebody reads an old moment.

A row that is written meanwhile may be met, and may not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from engine.journal.environment import Environment, Table
from engine.journal.records import unpack, unseal

_SLICE = 20_000
"""Rows that are read in one moment."""


class _Named(msgspec.Struct, array_like=True, gc=False):
    """As much of a Version as tells which blob it names."""

    kind: int
    folder: int
    name: msgspec.Raw
    edition: int
    since: int
    date: int
    digest: bytes


def named_digests(environment: Environment, tick: Callable[[], None]) -> Iterator[bytes]:
    """The digest that each version names; empty where it names none. `tick` is called before each
    moment, and may raise to stop it. Raises RecordDamaged."""
    for key, value in _rows(environment, environment.tables.versions, tick):
        if len(value) > 5:  # a deletion has no more
            yield unpack(_Named, "versions", key, value).digest


def blobs(environment: Environment, tick: Callable[[], None]) -> Iterator[tuple[bytes, bytes]]:
    """As `Holdings.blobs`, and `tick` as in `named_digests`."""
    for digest, value in _rows(environment, environment.tables.blobs, tick):
        yield digest, unseal("blobs", digest, value)


def _rows(
    environment: Environment, table: Table, tick: Callable[[], None]
) -> Iterator[tuple[bytes, bytes]]:
    position = b""
    while True:
        tick()
        with environment.read() as txn:
            cursor = txn.cursor(table)
            rows = list(islice(cursor, _SLICE)) if cursor.set_range(position) else []
        yield from rows
        if len(rows) < _SLICE:
            return
        position = rows[-1][0] + b"\0"
