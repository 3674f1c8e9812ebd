"""Makes the table `headers` again where it lacks something, from the messages themselves."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice

from engine.backup import Backup
from engine.check.quarantine import Aside
from engine.domain.description import HEAD, headers_of
from engine.domain.errors import Damaged, RecordDamaged
from engine.domain.kinds import DESCRIBED
from engine.domain.model import Headers
from engine.journal import timeline
from engine.journal.environment import Txn
from engine.journal.headers import blocks, unpack_block
from engine.journal.keys import edition_key, split_pair
from engine.journal.reader import Reader
from engine.journal.records import seal, unpack_version, unseal

BATCH = 2_000
"""Messages that are read before what was found is written."""
_Missing = tuple[int, int, bytes, int]
"""Edition, item and digest of a message that has no header."""


def rebuild_headers(backup: Backup, aside: Aside) -> int:
    """Puts blocks aside that can't be read, and reads the headers that are missing from the
    messages; returns how many were found. A message that can't be read stays without."""
    _drop_damaged(backup, aside)
    found = 0
    position = b""
    while True:
        with backup.reader() as reader:
            batch = list(islice(_missing(reader, position), BATCH))
        if not batch:
            return found
        position = batch[-1][1].to_bytes(5, "big") + b"\xff" * 6
        headers: list[tuple[int, int, Headers]] = []
        for edition, item, digest, kind in batch:
            try:
                head = backup.read_blob(digest, 0, HEAD)
            except Damaged:
                continue  # reported as such
            headers.append((edition, item, headers_of(kind, head)))
        with backup.journal.environment.write() as txn:
            for edition, group in groupby(sorted(headers, key=_place), lambda row: row[0]):
                _insert(backup, txn, edition, [(item, header) for _, item, header in group])
        found += len(headers)


def _place(row: tuple[int, int, Headers]) -> tuple[int, int]:
    return row[0], row[1]


def _drop_damaged(backup: Backup, aside: Aside) -> None:
    with backup.reader() as reader:
        damaged = [
            (key, value)
            for key, value in reader.txn.cursor(reader.tables.headers)
            if not _readable(key, value)
        ]
    for key, value in damaged:
        aside.row("headers", key, value)
    aside.sync()
    with backup.journal.environment.write() as txn:
        for key, value in damaged:
            if txn.get(key, db=backup.journal.environment.tables.headers) == value:
                txn.delete(key, db=backup.journal.environment.tables.headers)


def _readable(key: bytes, value: bytes) -> bool:
    try:
        unpack_block(unseal("headers", key, value))
    except RecordDamaged:
        return False
    return len(key) == 8


def _missing(reader: Reader, position: bytes) -> Iterator[_Missing]:
    """The contents of messages that have no header, by item, from a key of `versions` on; those of
    one item are never parted."""
    cursor = reader.txn.cursor(reader.tables.versions)
    if not cursor.set_range(position):
        return
    known: tuple[int, int] | None = None
    for key, value in cursor:
        try:
            version = unpack_version(key, value)
        except RecordDamaged:
            continue
        item = split_pair(key)[0]
        if version is None or version.kind not in DESCRIBED or known == (item, version.edition):
            continue
        known = (item, version.edition)
        try:
            if reader.headers(*known) is not None:
                continue
        except RecordDamaged:
            continue  # it was damaged since, and waits for the next repair
        yield version.edition, item, version.digest, version.kind


def _insert(backup: Backup, txn: Txn, edition: int, headers: list[tuple[int, Headers]]) -> None:
    """Adds headers, in order of items, to the blocks where they belong."""
    table = backup.journal.environment.tables.headers

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
