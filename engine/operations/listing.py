"""What anybody may ask: which operations run, which ended, and that one of them stop."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from engine.domain.errors import EngineError, UsageError
from engine.operations.directory import OperationDirectory
from engine.operations.record import OperationRecord, Outcome, by_start, is_id


def under_way(backup: Path) -> list[OperationRecord]:
    """The operations of a backup path that run now, in order of their start. None where they can't
    be seen, or never were any."""
    return [record for record in _under_way(backup) if record.outcome is Outcome.RUNNING]


def ended(backup: Path, limit: int | None = None) -> list[OperationRecord]:
    """The last `limit` operations that ended, all without one, in order of their start."""
    directory = OperationDirectory(backup)
    dead = [record for record in _under_way(backup) if record.outcome is not Outcome.RUNNING]
    return by_start([*dead, *islice(directory.ended(), limit)])


def find(backup: Path, operation: str) -> OperationRecord:
    """The operation of this ID, in any case. Raises UsageError where there is none."""
    wanted = operation.lower()
    if is_id(wanted):
        for record in _under_way(backup):
            if record.id == wanted:
                return record
        if filed := OperationDirectory(backup).filed(wanted):
            return filed
    raise UsageError(f"{operation}: no such operation ('engine operations' lists them)")


def stop(backup: Path, operation: str) -> OperationRecord:
    """Asks an operation to stop, and returns how it stood before. Doesn't wait; one that has ended
    already is left alone.

    Raises UsageError where there is none of that ID, and EngineError where this one can't be
    stopped, or not by this user.
    """
    record = find(backup, operation)
    if record.outcome is not Outcome.RUNNING:
        return record
    if not record.stoppable:
        raise EngineError(f"{record.id}: this {record.kind} can't be stopped: wait for its end")
    try:
        OperationDirectory(backup).ask(record.id)
    except FileNotFoundError:  # it ended meanwhile
        return find(backup, operation)
    except OSError as error:
        raise EngineError(
            f"{record.id}: can't be asked to stop ({os.strerror(error.errno or 0)}): run it as the "
            "backup's owner"
        ) from None
    return record


def _under_way(backup: Path) -> list[OperationRecord]:
    """Those that run, and those that died and are not filed yet."""
    return list(OperationDirectory(backup).under_way())
