"""Finds the contents that no version names any more: what a purge may take, once it has looked.

A repair that puts versions aside which can't be read doesn't know what they named; without this,
nothing would ever remove that.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.backup import Backup
from engine.check.sorting import SortedRows
from engine.domain.errors import RecordDamaged
from engine.journal.records import seal, unpack_version
from engine.system.batched import batches

BATCH = 10_000
"""Rows that one write transaction adds, at most."""


def doubt_unnamed(backup: Backup) -> int:
    """Puts all contents of the index that no version names into `unneeded`; returns how many.
    Whether a recipe names them, a purge finds out. Raises OSError, StorageFull."""
    environment = backup.journal.environment
    with SortedRows(backup.path, 32) as named:
        with backup.reader() as reader:
            for key, value in reader.txn.cursor(reader.tables.versions):
                try:
                    version = unpack_version(key, value)
                except RecordDamaged:
                    return 0  # who knows what it names
                if version and len(version.digest) == 32:
                    named.add(version.digest)
        doubted = 0
        for digests in batches(_unnamed(backup, named), BATCH):
            with environment.write() as txn:
                for digest in digests:
                    txn.put(digest, seal(digest, b""), db=environment.tables.unneeded)
            doubted += len(digests)
        return doubted


def _unnamed(backup: Backup, named: SortedRows) -> Iterator[bytes]:
    """The digests of the index that aren't among these."""
    rows = iter(named)
    last = next(rows, None)
    with backup.reader() as reader:
        for digest in reader.txn.cursor(reader.tables.blobs).iternext(values=False):
            while last is not None and last < digest:
                last = next(rows, None)
            if digest != last:
                yield digest
