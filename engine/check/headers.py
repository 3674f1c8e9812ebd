"""Makes the table `headers` again where it lacks something, from the messages themselves."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from engine.backup import Backup
from engine.domain.description import HEAD, headers_of
from engine.domain.errors import Damaged, RecordDamaged
from engine.domain.kinds import DESCRIBED
from engine.journal import rows
from engine.journal.reader import Reader
from engine.journal.repair.header_blocks import Found, add_headers, drop_damaged
from engine.journal.repair.quarantine import Quarantine

BATCH = 2_000
"""Messages that are read before what was found is written."""
_Missing = tuple[int, int, bytes, int]
"""Edition, item and digest of a message that has no header."""


def rebuild_headers(backup: Backup, aside: Quarantine) -> int:
    """Puts blocks aside that can't be read, and reads the headers that are missing from the
    messages; returns how many were found. A message that can't be read stays without."""
    drop_damaged(backup.journal, aside)
    found = 0
    last = 0
    while True:
        with backup.reader() as reader:
            batch = list(islice(_missing(reader, last), BATCH))
        if not batch:
            return found
        last = batch[-1][1]
        headers: list[Found] = []
        for edition, item, digest, kind in batch:
            try:
                head = backup.read_blob(digest, 0, HEAD)
            except Damaged:
                continue  # reported as such
            headers.append((edition, item, headers_of(kind, head)))
        add_headers(backup.journal, headers)
        found += len(headers)


def _missing(reader: Reader, last: int) -> Iterator[_Missing]:
    """The contents of messages that have no header, by item, of the items after `last`;
    those of one item are never parted."""
    known: tuple[int, int] | None = None
    for item, _, version in rows.versions(reader, rows.ignore, after=last):
        if version is None or version.kind not in DESCRIBED or known == (item, version.edition):
            continue
        known = (item, version.edition)
        try:
            if reader.headers(*known) is not None:
                continue
        except RecordDamaged:
            continue  # it was damaged since, and waits for the next repair
        yield version.edition, item, version.digest, version.kind
