"""An operation while it runs: `running` begins one, tells everybody how it is, and files its end.

A thread writes the progress, at most once a second, and looks for a request to stop. None of it is
worth a failure: where nothing can or should be written, the work is done without being seen.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from msgspec.structs import replace

from engine.backup import Backup
from engine.domain.errors import BackupUnusable, EngineError, Interrupted
from engine.operations.directory import OperationDirectory, OperationPlace
from engine.operations.meter import Meter
from engine.operations.record import MAX_TEXT, OperationRecord, Outcome
from engine.system import filesystem
from engine.system.progress import Progress
from engine.system.stop import Stop

_LOOK = 0.2
"""Seconds between two looks for a request to stop."""
_WRITE = 1.0
"""Seconds between two writes of the progress."""
_DAY = 86_400_000_000


class Operation(Progress):
    """What its own work tells of an operation. All methods may be called from any thread, and cost
    no more than a microsecond or two: nothing is written by them."""

    def __init__(self, record: OperationRecord, also: Progress) -> None:
        self._record = record
        self._also = also
        self._meter = Meter(time.monotonic())
        self._lock = threading.Lock()
        self.died: tuple[OperationRecord, ...] = ()
        """Others that were found to have died when this one began: to be told to somebody."""
        self.unrecorded = ""
        """Why it can't be seen by others, or its end couldn't be filed; for a message. Empty where
        all is well, and where it isn't meant to be seen."""

    @property
    def id(self) -> str:
        """Its ID; empty where it isn't recorded."""
        return self._record.id

    def progress(self, unit: str, done: int, total: int | None = None) -> None:
        with self._lock:
            self._meter.set(unit, done, total, time.monotonic())
        self._also.progress(unit, done, total)

    def advance(self, unit: str, count: int = 1) -> None:
        with self._lock:
            self._meter.advance(unit, count, time.monotonic())
        self._also.advance(unit, count)

    def detail(self, text: str) -> None:
        """What else is to be known of it, for people, in a few words."""
        with self._lock:
            self._record = replace(self._record, detail=text[:MAX_TEXT])

    def ends(self, outcome: Outcome, message: str = "") -> None:
        """How it will have ended if the block ends without an exception: else that is DONE."""
        with self._lock:
            self._record = replace(self._record, outcome=outcome, message=message[:MAX_TEXT])

    def record(self) -> OperationRecord:
        """How it stands."""
        with self._lock:
            return replace(
                self._record,
                outcome=Outcome.RUNNING,
                message="",
                counts=self._meter.lately(time.monotonic()),
            )

    def _end(self, outcome: Outcome, message: str, end: int) -> OperationRecord:
        with self._lock:
            if outcome is Outcome.DONE and self._record.outcome is not Outcome.RUNNING:
                outcome, message = self._record.outcome, self._record.message
            return replace(
                self._record,
                end=max(end, self._record.start),
                outcome=outcome,
                message=message[:MAX_TEXT],
                counts=self._meter.all_in_all(),
            )


@contextmanager
def running(
    backup: Backup,
    kind: str,
    *,
    accounts: Sequence[str] = (),
    detail: str = "",
    stop: Stop | None = None,
    recorded: bool = True,
    also: Progress | None = None,
) -> Iterator[Operation]:
    """An operation for as long as the block lasts.

    `kind` is the verb. `accounts` are those that it is about, empty for all. `stop` is set when
    somebody asks it to stop; the block should then end soon, with Interrupted or by itself.
    `recorded` is False for what changes nothing, such as a dry run. `also` is told the progress,
    too.

    An exception that ends the block is passed on: Interrupted and KeyboardInterrupt mean that it
    was stopped, any other that it failed, with that message. Raises nothing of its own: where
    nothing can be written, nobody sees it. It isn't seen either where the backup path is another
    machine's, or not on a local disk.

    Begins within a millisecond or two; the end is written durably.
    """
    operation = Operation(
        OperationRecord(
            id="",
            kind=kind,
            accounts=tuple(accounts),
            detail=detail[:MAX_TEXT],
            start=backup.clock.now(),
            pid=os.getpid(),
            host=os.uname().nodename,
            stoppable=stop is not None,
        ),
        also or Progress(),
    )
    directory = OperationDirectory(backup.path)
    found = _begin(backup, directory, operation) if recorded and _ours(backup) else None
    ticker = _Ticker(operation, found, stop) if found else None
    outcome, message = Outcome.DONE, ""
    try:
        yield operation
    except (Interrupted, KeyboardInterrupt):
        outcome = Outcome.STOPPED
        raise
    except BaseException as error:
        outcome, message = Outcome.FAILED, _told(error)
        raise
    finally:
        if found and ticker:
            ticker.end()
            now = backup.clock.now()
            try:
                directory.file(operation._end(outcome, message, now), now)
            except OSError as error:
                operation.unrecorded = f"can't file its end: {error.strerror}"
            with suppress(OSError):  # then whoever begins the next one removes it
                found.leave()


def _ours(backup: Backup) -> bool:
    """Whether this machine may write beside the journal: as `Backup` demands it for writing."""
    if backup.identity.server != filesystem.server_id():
        return False
    try:
        filesystem.refuse_remote(backup.path, BackupUnusable)
    except BackupUnusable:
        return False
    return True


def _begin(
    backup: Backup, directory: OperationDirectory, operation: Operation
) -> OperationPlace | None:
    record = operation._record
    try:
        operation.died = tuple(directory.bury(record.start))
        if days := backup.settings.operation_days:
            directory.forget(record.start - days * _DAY)
        found = directory.enter(record.start)
    except OSError as error:
        if os.access(backup.path, os.W_OK):  # else it is only for reading
            where = f"{error.filename}: " if error.filename else ""
            operation.unrecorded = f"can't be seen by others: {where}{error.strerror}"
        return None
    try:
        operation._record = replace(record, id=found.id)
        found.write(operation.record())
        found.open_to_others()
    except OSError as error:
        operation._record = record
        operation.unrecorded = f"can't be seen by others: {error.strerror}"
        with suppress(OSError):  # then whoever begins the next one removes it
            found.leave()
        return None
    return found


class _Ticker:
    """The thread beside the work."""

    def __init__(self, operation: Operation, found: OperationPlace, stop: Stop | None) -> None:
        self._operation = operation
        self._place = found
        self._stop = stop
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="operation", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Ends it; nothing is written any more afterwards."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        written, last = time.monotonic(), self._operation.record()
        while not self._ended.wait(_LOOK):
            if self._stop and self._place.asked_to_stop():
                self._stop.set()
            now = time.monotonic()
            if now - written < _WRITE:
                continue
            written = now
            record = self._operation.record()
            if record != last:
                with suppress(OSError):  # the next one tells; what counts is the end
                    self._place.write(record)
                last = record


def _told(error: BaseException) -> str:
    if isinstance(error, EngineError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}"
