"""Tells an administrator, by whatever is set, and remembers what was told."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from engine.notifications.conditions import Conditions
from engine.notifications.event import (
    Condition,
    NotificationEvent,
    Reason,
    Severity,
    acknowledged,
    current,
    reason,
    told,
)
from engine.notifications.ways import ways_set
from engine.settings.table import Settings
from engine.system.clock import Clock

if TYPE_CHECKING:  # mail and TLS take longer to import than most scans to run
    from engine.notifications.message import Notice


class Notifier:
    """The notifications of one backup path. May be used from any thread.

    A call may block for up to a minute when there is something to send, and while another process
    sends. It raises nothing: what can't be sent is told to `complain` in a line, and tried again
    with the next event of that condition.
    """

    def __init__(
        self, backup: Path, settings: Settings, clock: Clock, complain: Callable[[str], None]
    ) -> None:
        self._backup = backup
        self._settings = settings
        self._clock = clock
        self._complain = complain
        self._memory = Conditions(backup)
        self._on = bool(ways_set(settings))

    def tell(self, event: NotificationEvent) -> None:
        """Sends an event, unless its level is below `notify.level` or it was told already."""
        if not self._on or event.level < Severity[self._settings.notify_level.upper()]:
            return
        now = self._clock.now()
        with self._memory.locked():
            conditions = self._memory.conditions()
            known = conditions.get(event.key) if event.lasting else None
            why = reason(known, event, now)
            if why and self._send(why, event, known):
                self._keep(conditions | {event.key: told(known, event, now)})

    def well(self, key: str, text: str = "") -> None:
        """The condition `key` is over: that is sent, once, if it had been told. `text` says
        more. Where no way is set any more, it is only taken from the list."""
        if key not in self._memory.conditions():
            return
        with self._memory.locked():
            conditions = self._memory.conditions()
            known = conditions.pop(key, None)
            if known is None:
                return
            event = NotificationEvent(known.level, key, known.subject, text or "This is over.")
            if not self._on or self._send(Reason.WELL, event, known):
                self._keep(conditions)

    def conditions(self) -> dict[str, Condition]:
        """What was told and isn't over, by key; what just happened, for 30 days."""
        return current(self._memory.conditions(), self._clock.now())

    def acknowledge(self, keys: Collection[str]) -> None:
        """Somebody has taken note of these: what just happened isn't listed any more, and of what
        lasts nobody is reminded, unless it changes. Others are passed over. Raises OSError."""
        with self._memory.locked():
            conditions = self._memory.conditions()
            self._memory.keep(acknowledged(conditions, keys, self._clock.now()))

    def test(self) -> list[tuple[str, str]]:
        """Sends a notification by every way that is set, whatever the level. Returns for each its
        name and what went wrong, or nothing. Raises nothing; empty where no way is set."""
        text = "This is a test: notifications of this backup arrive here."
        return self._sent(
            self._notice(
                Reason.NEW, NotificationEvent(Severity.INFORMATION, "test", "a test", text), None
            )
        )

    def _send(self, why: Reason, event: NotificationEvent, known: Condition | None) -> bool:
        """Whether at least one way took it."""
        done = self._sent(self._notice(why, event, known))
        for way, failure in done:
            if failure:
                self._complain(f"a notification wasn't sent by {way}: {failure}")
        return any(not failure for _, failure in done)

    def _sent(self, notice: Notice) -> list[tuple[str, str]]:
        from engine.notifications.channels import NotSent, ways

        done = []
        host = os.uname().nodename
        for name, send in ways(self._settings, self._backup, host, self._clock.now()):
            try:
                send(notice)
            except NotSent as error:
                done.append((name, str(error)))
            except Exception as error:  # whatever it is, a backup goes on
                done.append((name, f"{type(error).__name__}: {error} (a defect)"))
            else:
                done.append((name, ""))
        return done

    def _notice(self, why: Reason, event: NotificationEvent, known: Condition | None) -> Notice:
        from engine.notifications.message import notice

        subject = event.subject
        if why in (Reason.REMINDER, Reason.WELL):
            subject = f"{why.value}: {subject}"
        parts = [event.text]
        if event.details:
            parts.append(event.details)
        if known:
            parts.append(f"It was first told {_when(known.since)}.")
        parts.append(f"-- \nThe backup {self._backup.absolute()} on {os.uname().nodename}.")
        return notice(event.level, event.key, subject, "\n\n".join(parts))

    def _keep(self, conditions: dict[str, Condition]) -> None:
        try:
            self._memory.keep(current(conditions, self._clock.now()))
        except OSError as error:
            self._complain(f"can't remember what was told: {error.strerror or error}")


def _when(time: int) -> str:
    return datetime.fromtimestamp(time // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
