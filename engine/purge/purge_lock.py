"""One purge or erasure at a time for a backup path, whatever process it is in."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from engine.backup import Backup
from engine.domain.errors import EngineError


@contextmanager
def alone(backup: Backup) -> Iterator[None]:
    """Holds the lock for as long as the block lasts: a flock on the directory `packs`, which ends
    with the process. Raises EngineError where another one has it."""
    descriptor = os.open(backup.path / "packs", os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EngineError(
                f"{backup.path}: a purge or an erasure is under way: wait until it is done"
            ) from None
        yield
    finally:
        os.close(descriptor)
