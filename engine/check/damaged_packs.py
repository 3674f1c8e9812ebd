"""Replaces damaged packs once all that is needed of them is elsewhere, or intact in them.

The old file is kept aside. A pack in which something is damaged that isn't anywhere else stays
where it is: a copy of it may still be found, or the disk may be read again.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from engine.backup import Backup
from engine.blobs import encode_location
from engine.blobs.verification import verify
from engine.domain.errors import BlobDamaged, RecordDamaged
from engine.journal import blob_index
from engine.journal.reader import Reader
from engine.journal.repair.quarantine import Quarantine
from engine.purge.purge_lock import alone
from engine.purge.shrinking import replace_damaged


def put_aside(backup: Backup, packs: Collection[int], aside: Quarantine) -> int:
    """Replaces what can be replaced of these packs, and returns how many. Raises EngineError during
    a purge, StorageFull, OSError."""
    replaced = 0
    with alone(backup):
        with backup.reader() as reader:
            needed = blob_index.count_by_pack(reader, damaged=True)
        for pack in sorted(packs):
            with backup.reader() as reader:
                length = reader.pack_length(pack)
            if length is None:
                continue
            if not backup.volume.has(pack):
                replaced += not needed[pack] and _give_up(backup, pack)
            elif _intact(backup, pack, length) == needed[pack]:
                aside.pack(partial(backup.volume.copy, pack))
                replaced += replace_damaged(backup, pack)
    return replaced


def _intact(backup: Backup, pack: int, length: int) -> int:
    """How many rows of the index lead to what is intact in a pack."""
    found = 0
    try:
        end = min(length, backup.volume.length(pack))
        for verdict in verify(backup.volume, pack, end=end, deep=True):
            if not verdict.reason:
                with backup.reader() as reader:
                    found += sum(
                        _row(reader, digest) == encode_location(place)
                        for digest, place in verdict.blobs
                    )
    except (BlobDamaged, OSError):
        return -1  # it can't be read to its end: nothing is done to it
    return found


def _row(reader: Reader, digest: bytes) -> bytes | None:
    try:
        return reader.blob(digest)
    except RecordDamaged:
        return None


def _give_up(backup: Backup, pack: int) -> bool:
    """Forgets a pack that is missing and that nothing leads to."""
    with backup.journal.edit() as edit:
        edit.retire(pack, there=False)
    return True
