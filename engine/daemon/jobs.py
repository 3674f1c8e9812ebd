"""What the daemon does at set times. A new job is one line in JOBS.

A job is a piece of work that raises what goes wrong. It is an operation, so that everybody sees it,
and can be stopped like any other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.backup import Backup
from engine.daemon.figures import Figures
from engine.daemon.losses import Losses
from engine.daemon.notification_queue import Teller
from engine.daemon.parts import Pulse
from engine.daemon.schedule import When
from engine.domain.errors import Interrupted
from engine.notifications import catalogue
from engine.purge import nothing_to_do
from engine.scan.loss import Turnover
from engine.scan.smart import NamedSource, Options, Result, SourcesMissing
from engine.services.backup_journal import backup_journal
from engine.services.caller import Caller
from engine.services.purge import purge
from engine.services.scan import scan as services_scan
from engine.settings.table import Settings
from engine.settings.types import WEEKDAYS
from engine.system.logs import Log
from engine.system.stop import Interrupt, Stop

_log = Log("jobs")


@dataclass(frozen=True, slots=True)
class Context:
    """What jobs work with."""

    backup: Backup
    figures: Figures
    teller: Teller
    losses: Losses = field(default_factory=Losses)

    def caller(self, stop: Stop, pulse: Pulse) -> Caller:
        """The daemon as one who asks for a service; that goes on beats the pulse."""
        return Caller(stop=Alive(stop, pulse), warn=_warn, queue=self.teller.ask)

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


class Job(NamedTuple):
    """A piece of work, and when it is due."""

    when: Callable[[Settings], When | None]
    """None: never."""
    run: Callable[[Context, Pulse, Stop], None]
    """Blocks. Raises Interrupted where its Stop is set, and whatever goes wrong. It beats the pulse
    as it goes on, see `Alive`."""
    adds: bool
    """Whether it takes room on the disk: then it isn't begun where that is scarce."""


def _daily_scan(settings: Settings) -> When | None:
    return When(settings.daily) if settings.daily else None


def _weekly_purge(settings: Settings) -> When | None:
    if settings.purge_day not in WEEKDAYS:
        return None
    return When(settings.purge_time, WEEKDAYS.index(settings.purge_day))


class Alive(Stop):
    """Another Stop, which takes every look at it for a sign of life."""

    def __init__(self, stop: Stop, pulse: Pulse) -> None:
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


class Scanning:
    """Smart scans of these sources, or of the backup's: each is logged, counted and told."""

    def __init__(
        self,
        context: Context,
        sources: Sequence[NamedSource] | None,
        pulse: Pulse,
        *,
        detail: str,
    ) -> None:
        self._context = context
        self._sources = sources
        self._pulse = pulse
        self._detail = detail

    def scan(self, options: Options, stop: Stop) -> Result:
        """Makes one. Raises as `engine.scan.smart.scan`."""
        backup, figures = self._context.backup, self._context.figures
        began = time.monotonic()
        try:
            result = services_scan(
                backup,
                self._context.caller(stop, self._pulse),
                options,
                sources=self._sources,
                detail=self._detail,
                losses=self._context.lost,
            )
        except Interrupted:
            figures.ended("stopped")
            raise
        except Exception as error:
            figures.ended("failed")
            if isinstance(error, SourcesMissing):
                figures.followed(error.result.tally)
                self._report(error.result, time.monotonic() - began)
            raise
        seconds = time.monotonic() - began
        self._report(result, seconds)
        if options.accounts:
            figures.followed(result.tally)
        else:
            figures.scanned(result.tally, seconds, result.end / 1_000_000)
        return result

    def _report(self, result: Result, seconds: float) -> None:
        tally = result.tally
        for problem in tally.problems:
            _log.warning(
                "scan-problem", account=problem.account, where=problem.where, what=problem.what
            )
        _log.info(
            "scan-done",
            accounts=result.accounts,
            created=tally.created,
            changed=tally.changed,
            deleted=tally.deleted,
            problems=len(tally.problems),
            seconds=seconds,
        )


def _smart_scan(context: Context, pulse: Pulse, stop: Stop) -> None:
    Scanning(context, None, pulse, detail="scheduled").scan(Options(), stop)


def _purge(context: Context, pulse: Pulse, stop: Stop) -> None:
    backup = context.backup
    if nothing_to_do(backup):
        return
    began = time.monotonic()
    outcome = purge(backup, context.caller(stop, pulse), detail="scheduled")
    for problem in outcome.problems:
        _log.warning("purge-problem", what=problem)
    _log.info(
        "purge-done",
        due=outcome.due,
        held=outcome.held,
        blobs=outcome.blobs,
        problems=len(outcome.problems),
        seconds=time.monotonic() - began,
    )


def _daily_copy(settings: Settings) -> When | None:
    return When(settings.journal_copy_time) if settings.journal_copy_time else None


def _copy_journal(context: Context, pulse: Pulse, stop: Stop) -> None:
    backup = context.backup
    began = time.monotonic()
    caller = context.caller(stop, pulse)
    made, removed = backup_journal(backup, caller, detail="scheduled")
    _log.info(
        "journal-copied",
        file=made.path,
        bytes=made.size,
        removed=removed,
        seconds=time.monotonic() - began,
    )


JOBS = {
    "scan": Job(_daily_scan, _smart_scan, adds=True),
    "purge": Job(_weekly_purge, _purge, adds=False),
    "backup-journal": Job(_daily_copy, _copy_journal, adds=True),
}
"""By name. When several are due at once, in this order."""
