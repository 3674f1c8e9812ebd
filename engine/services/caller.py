"""Who asks for a service, and the operation that it becomes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from pathlib import Path

from engine import operations
from engine.backup import Backup
from engine.connectors.registry import KINDS
from engine.domain.errors import AlreadyRunning, EngineError, Interrupted, UsageError
from engine.notifications import Notifier, catalogue
from engine.settings import config
from engine.system.clock import SystemClock
from engine.system.progress import Progress
from engine.system.stop import Stop

Notification = Callable[[Notifier], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever asks for a service: how he stops it, and how he is told."""

    warn: Callable[[str], None]
    """Is told, in a line, what is wrong and doesn't end the work."""
    stop: Stop = field(default_factory=Stop)
    progress: Progress = field(default_factory=Progress)
    zone: tzinfo = UTC
    """Of times in what he is told."""
    queue: Callable[[Notification], None] | None = None
    """Sends notifications in its own time; None: they are sent at once."""

    def notify(self, backup: Backup, notification: Notification) -> None:
        """Notifies the administrator."""
        if self.queue:
            self.queue(notification)
        else:
            notification(Notifier(backup.path, backup.settings, backup.clock, self.warn))


@contextmanager
def operating(
    backup: Backup,
    caller: Caller,
    kind: str,
    *,
    accounts: Sequence[str] = (),
    detail: str = "",
    recorded: bool = True,
) -> Iterator[operations.Operation]:
    """An operation of the caller (see `operations.running`). `recorded` is False for a dry run.
    Notifies of others that died; and of the end of what failed before, unless this is a scan of
    single accounts."""
    unrecorded = ""
    operation = None
    try:
        with operations.running(
            backup,
            kind,
            accounts=accounts,
            detail=detail,
            stop=caller.stop,
            recorded=recorded,
            also=caller.progress,
        ) as operation:
            if unrecorded := operation.unrecorded:
                caller.warn(f"this {kind} {unrecorded}; it goes on")
            died = operation.died
            caller.notify(backup, lambda notifier: catalogue.died(notifier, died))
            yield operation
            if recorded and not (kind == "scan" and accounts):
                caller.notify(backup, lambda notifier: catalogue.succeeded(notifier, kind))
    finally:
        if operation and operation.unrecorded != unrecorded:
            caller.warn(f"operation {operation.id} {operation.unrecorded}")


@contextmanager
def failures_notified(
    path: Path, kind: str, warn: Callable[[str], None], *, quiet: bool = False
) -> Iterator[None]:
    """Notifies the administrator of an error that ends the block, and passes it on. Not of wrong
    usage, a second start or an interruption, not with `quiet`, and not where somebody else's backup
    path is meant."""
    try:
        yield
    except (UsageError, AlreadyRunning, Interrupted, BrokenPipeError):
        raise
    except Exception as error:
        if not quiet and _own(path):
            try:
                settings = config.load(path / "config.toml", KINDS)
            except EngineError as unreadable:
                warn(f"no notification can be sent: {unreadable}")
            else:
                catalogue.failed(Notifier(path, settings, SystemClock(), warn), kind, error)
        raise


def _own(path: Path) -> bool:
    try:
        return os.geteuid() in (0, path.stat().st_uid) and (path / "config.toml").exists()
    except OSError:
        return False
