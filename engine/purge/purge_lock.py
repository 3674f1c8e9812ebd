"""One purge or erasure at a time for a backup path, whatever process it is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engine.backup import Backup
from engine.domain.errors import EngineError


@contextmanager
def alone(backup: Backup) -> Iterator[None]:
    """Holds the lock for as long as the block lasts: it ends with the
    process. Raises EngineError where another one has it."""
    busy = EngineError(f"{backup.path}: a purge or an erasure is under way: wait until it is done")
    with backup.volume.alone(busy):
        yield
