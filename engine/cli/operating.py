"""What verbs that work for long have in common: they can be stopped, others see them, and what goes
wrong is told to the administrator.

    with failures_told(path, "scan"), opened(path) as backup, operating(backup, "scan") as work:
        ...
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from engine import operations
from engine.backup import Backup
from engine.cli import output
from engine.domain.errors import AlreadyRunning, EngineError, Interrupted, UsageError
from engine.notifications import Notifier, catalogue
from engine.settings import config
from engine.system.clock import SystemClock
from engine.system.progress import Progress
from engine.system.stop import Stop


class Work(NamedTuple):
    """What a verb that works has at hand."""

    stop: Stop
    operation: operations.Operation
    notifier: Notifier


@contextmanager
def operating(
    backup: Backup,
    kind: str,
    *,
    accounts: Sequence[str] = (),
    detail: str = "",
    recorded: bool = True,
    progress: Progress | None = None,
    interrupted: str = "what was recorded stays, the next {kind} goes on from there",
) -> Iterator[Work]:
    """An operation (see `operations.running`) that SIGINT, SIGTERM and 'engine operations stop'
    stop. `recorded` is False for a dry run; `interrupted` is what to say when it is stopped. Tells
    of others that died; and of the end of what failed before, unless this is a scan of single
    accounts."""
    notifier = Notifier(backup.path, backup.settings, backup.clock, output.complain)
    with stoppable(f"interrupted: {interrupted.format(kind=kind)}") as stop:
        unrecorded = ""
        try:
            with operations.running(
                backup,
                kind,
                accounts=accounts,
                detail=detail,
                stop=stop,
                recorded=recorded,
                also=progress,
            ) as operation:
                if unrecorded := operation.unrecorded:
                    output.complain(f"this {kind} {unrecorded}; it goes on")
                catalogue.died(notifier, operation.died)
                yield Work(stop, operation, notifier)
                if recorded and not (kind == "scan" and accounts):
                    catalogue.succeeded(notifier, kind)
        finally:
            if operation.unrecorded != unrecorded:
                output.complain(f"operation {operation.id} {operation.unrecorded}")


@contextmanager
def failures_told(path: Path, kind: str, *, quiet: bool = False) -> Iterator[None]:
    """Tells the administrator of an error that ends the block, and passes it on. Not of wrong
    usage, a second start or an interruption, not with `quiet`, and not where somebody else's backup
    path is meant."""
    try:
        yield
    except (UsageError, AlreadyRunning, Interrupted, BrokenPipeError):
        raise
    except Exception as error:
        if not quiet and _own(path):
            try:
                settings = config.load(path / "config.toml")
            except EngineError as unreadable:
                output.complain(f"no notification can be sent: {unreadable}")
            else:
                notifier = Notifier(path, settings, SystemClock(), output.complain)
                catalogue.failed(notifier, kind, error)
        raise


def _own(path: Path) -> bool:
    try:
        return os.geteuid() in (0, path.stat().st_uid) and (path / "config.toml").exists()
    except OSError:
        return False


@contextmanager
def stoppable(told: str) -> Iterator[Stop]:
    """A Stop that SIGINT and SIGTERM set. A second signal ends the process on the spot, which loses
    nothing that was recorded."""
    stop = Stop(told)

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, ask) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
