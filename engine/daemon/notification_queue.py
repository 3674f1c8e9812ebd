"""Notifications from the daemon: sent one after another by a thread of its own, for a mail server
that doesn't answer must not keep a scan waiting."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from engine.backup import Backup
from engine.notifications import NotificationEvent, Notifier
from engine.notifications import Severity as Weight
from engine.settings.table import Settings
from engine.system.logs import Log
from engine.system.space import SpaceLevel

_LAST = 5.0
"""Seconds that what is still to be sent may take at the end."""

_log = Log("notifications")


class NotificationQueue:
    """See `engine.notifications.Notifier`. All methods return at once, from any thread."""

    def __init__(self, backup: Backup) -> None:
        self._backup = backup
        self._queue: queue.SimpleQueue[Callable[[Notifier], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="teller", daemon=True)
        self._thread.start()

    def tell(self, event: NotificationEvent) -> None:
        """Sends an event, unless it was told already."""
        self._queue.put(lambda notifier: notifier.tell(event))

    def well(self, key: str, text: str = "") -> None:
        """The condition `key` is over."""
        self._queue.put(lambda notifier: notifier.well(key, text))

    def space(self, level: SpaceLevel, settings: Settings) -> None:
        """How much room there is on the disk, whenever that is another level than before."""
        if level is SpaceLevel.ENOUGH:
            self.well("space", "There is room again.")
        elif level is SpaceLevel.SCARCE:
            text = (
                f"Less than {settings.space_warn} (space.warn) is free where the backup is. Below "
                f"{settings.space_stop} (space.stop) no scan is made."
            )
            self.tell(
                NotificationEvent(Weight.WARNING, "space", "the backup's disk is filling up", text)
            )
        else:
            text = (
                f"Less than {settings.space_stop} (space.stop) is free where the backup is: scans "
                "have stopped, and go on when there is room."
            )
            self.tell(NotificationEvent(Weight.CRITICAL, "space", "no room for the backup", text))

    def ask(self, work: Callable[[Notifier], None]) -> None:
        """Whatever else is to be told."""
        self._queue.put(work)

    def close(self) -> None:
        """Sends what is left, for a few seconds at most."""
        self._queue.put(None)
        self._thread.join(_LAST)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            backup = self._backup
            notifier = Notifier(backup.path, backup.settings, backup.clock, _complain)
            try:
                work(notifier)
            except Exception as error:
                _log.defect("notification-failed", error)


def _complain(text: str) -> None:
    _log.error("notification-not-sent", text=text)
