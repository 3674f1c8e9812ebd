"""What the parts of the daemon that do work have in common: the backup, figures, who tells, and the
alarm over sudden losses."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from engine.backup import Backup
from engine.daemon.figures import Figures
from engine.daemon.losses import Losses
from engine.daemon.notification_queue import NotificationQueue
from engine.daemon.parts import LifeSign
from engine.notifications import catalogue
from engine.scan.loss import Turnover
from engine.services.caller import Caller
from engine.system.logs import Log
from engine.system.stop import Interrupt, Stop

_log = Log("jobs")


@dataclass(frozen=True, slots=True)
class Context:
    """What jobs work with."""

    backup: Backup
    figures: Figures
    teller: NotificationQueue
    losses: Losses = field(default_factory=Losses)

    def caller(self, stop: Stop, pulse: LifeSign) -> Caller:
        """The daemon as one who asks for a service; that goes on beats the pulse."""
        return Caller(stop=HeartbeatStop(stop, pulse), warn=_warn, queue=self.teller.ask)

    def lost(self, turnover: Iterable[Turnover]) -> None:
        """A scan took this from accounts: tells of what is alarming."""
        for each in turnover:
            self._lost(each)

    def _lost(self, turnover: Turnover) -> None:
        settings = self.backup.settings
        share, least = settings.alert_share, settings.alert_least
        alarm = self.losses.add(turnover, time.monotonic(), share_percent=share, least=least)
        if alarm is None:
            return
        _log.warning("sudden-loss", account=alarm.account, had=alarm.had, removed=alarm.removed)
        self.teller.ask(lambda notifier: catalogue.lost(notifier, settings, [alarm]))


class HeartbeatStop(Stop):
    """Another Stop, which takes every look at it for a sign of life."""

    def __init__(self, stop: Stop, pulse: LifeSign) -> None:
        super().__init__()
        self._stop = stop
        self._pulse = pulse

    def set(self) -> None:
        self._stop.set()

    def wait(self, seconds: float) -> bool:
        return self._stop.wait(seconds)

    def check(self) -> None:
        self._pulse.beat()
        self._stop.check()

    def reaching(self, interrupts: Iterable[Interrupt]) -> AbstractContextManager[None]:
        return self._stop.reaching(interrupts)


def _warn(text: str) -> None:
    _log.warning("warning", text=text)
