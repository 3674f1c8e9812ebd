"""The blocks of headers that are damaged, or lack something: takes them out, and adds to them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from engine.domain.errors import RecordDamaged
from engine.domain.model import Headers
from engine.journal import timeline
from engine.journal.environment import Environment, Txn
from engine.journal.headers import blocks, unpack_block
from engine.journal.journal import Journal
from engine.journal.keys import edition_key
from engine.journal.records import seal, unseal
from engine.journal.repair.quarantine import Quarantine

Found = tuple[int, int, Headers]
"""Edition and item of a content, and its header."""


def drop_damaged(journal: Journal, aside: Quarantine) -> None:
    """Puts blocks aside that can't be read."""
    environment = journal.environment
    with journal.reader() as reader:
        damaged = [
            (key, value)
            for key, value in reader.txn.cursor(reader.tables.headers)
            if not _readable(key, value)
        ]
    for key, value in damaged:
        aside.row("headers", key, value)
    aside.sync()
    with environment.write() as txn:
        for key, value in damaged:
            if txn.get(key, db=environment.tables.headers) == value:
                txn.delete(key, db=environment.tables.headers)


def _readable(key: bytes, value: bytes) -> bool:
    try:
        unpack_block(unseal("headers", key, value))
    except RecordDamaged:
        return False
    return len(key) == 8


def add_headers(journal: Journal, found: Iterable[Found]) -> None:
    """Adds headers to the blocks where they belong, in one write transaction. Raises
    StorageFull."""
    environment = journal.environment
    with environment.write() as txn:
        for edition, group in groupby(sorted(found, key=_place), lambda row: row[0]):
            _insert(environment, txn, edition, [(item, header) for _, item, header in group])


def _place(row: Found) -> tuple[int, int]:
    return row[0], row[1]


def _insert(
    environment: Environment, txn: Txn, edition: int, headers: list[tuple[int, Headers]]
) -> None:
    """Adds headers, in order of items, to the blocks where they belong."""
    table = environment.tables.headers

    def block_of(row: tuple[int, Headers]) -> bytes:
        with txn.cursor(table) as cursor:
            if timeline.seek_before(cursor, edition_key(edition, row[0] + 1)):
                key = cursor.key()
                if int.from_bytes(key[:3], "big") == edition:
                    return key
        return b""

    for key, group in groupby([(block_of(row), row) for row in headers], lambda pair: pair[0]):
        merged = dict(row for _, row in group)
        if key:
            value = txn.get(key, db=table) or b""
            merged = unpack_block(unseal("headers", key, value)) | merged
            txn.delete(key, db=table)
        for new, payload in blocks(edition, sorted(merged.items())):
            txn.put(new, seal(new, payload), db=table)
