"""Finds the contents that no version names any more: what a purge may take, once it has looked.

A repair that puts versions aside which can't be read doesn't know what they named; without this,
nothing would ever remove that.
"""

from __future__ import annotations

from collections.abc import Iterator

from engine.backup import Backup
from engine.check.sorting import SortedRows
from engine.domain.errors import RecordDamaged
from engine.journal import blob_index, rows
from engine.system.batched import batches

BATCH = 10_000
"""Rows that one write transaction adds, at most."""


def doubt_unnamed(backup: Backup) -> int:
    """Puts all contents of the index that no version names into `unneeded`; returns how many.
    Whether a recipe names them, a purge finds out. Raises OSError, StorageFull."""
    with SortedRows(backup.path, 32) as named:
        try:
            with backup.reader() as reader:
                for _, _, version in rows.versions(reader, rows.refuse):
                    if version and len(version.digest) == 32:
                        named.add(version.digest)
        except RecordDamaged:
            return 0  # who knows what it names
        doubted = 0
        for digests in batches(_unnamed(backup, named), BATCH):
            with backup.journal.edit() as edit:
                for digest in digests:
                    edit.doubt(digest)
            doubted += len(digests)
        return doubted


def _unnamed(backup: Backup, named: SortedRows) -> Iterator[bytes]:
    """The digests of the index that aren't among these."""
    known = iter(named)
    last = next(known, None)
    with backup.reader() as reader:
        for digest in blob_index.digests(reader):
            while last is not None and last < digest:
                last = next(known, None)
            if digest != last:
                yield digest
