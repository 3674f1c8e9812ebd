"""Saves what a damaged journal's file still tells, in a backup path whose packs say which it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from engine.blobs import DirectoryVolume
from engine.blobs.pack import HEADER_SIZE, decode_header
from engine.domain.errors import BackupUnusable, Damaged
from engine.journal.repair.salvage import Salvaged, salvage_journal
from engine.system.clock import Clock


def salvage(path: Path, clock: Clock) -> Salvaged:
    """Puts a new journal in place of the damaged one. Raises as `salvage_journal`."""
    return salvage_journal(path, clock, lambda: _pack_owner(path))


def _pack_owner(path: Path) -> bytes:
    """The ID of the backup path that most packs are of."""
    volume = DirectoryVolume(path / "packs")
    owners: Counter[bytes] = Counter()
    for stored in volume.list():
        try:
            owners[decode_header(volume.load(stored.id, 0, HEADER_SIZE)).backup] += 1
        except Damaged:
            continue
    volume.close()
    if not owners:
        raise BackupUnusable(
            f"{path}: nothing of the journal can be read, and there are no packs: begin "
            "anew with 'engine init' in another directory"
        )
    return owners.most_common(1)[0][0]
