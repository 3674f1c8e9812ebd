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
from engine.connectors.sources import open_sources
from engine.daemon.figures import Figures
from engine.daemon.losses import Losses
from engine.daemon.notification_queue import Teller
from engine.daemon.parts import Pulse
from engine.daemon.schedule import When
from engine.domain.errors import Interrupted
from engine.journal import copies
from engine.notifications import catalogue
from engine.operations import Outcome, running
from engine.purge import nothing_to_do, purge, waiting
from engine.scan.loss import Turnover
from engine.scan.smart import NamedSource, Options, Result, SourcesMissing, scan
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

    def lost(self, turnover: Turnover) -> None:
        """A scan took this from an account: tells, if that is alarming."""
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


class Scanning:
    """Smart scans of these sources: each is an operation, is logged, counted and told."""

    def __init__(
        self,
        context: Context,
        sources: Sequence[NamedSource],
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
        backup, figures, teller = self._context.backup, self._context.figures, self._context.teller
        began = time.monotonic()
        try:
            with running(
                backup, "scan", accounts=options.accounts, detail=self._detail, stop=stop
            ) as operation:
                died = operation.died
                teller.ask(lambda notifier: catalogue.died(notifier, died))
                alive = Alive(stop, self._pulse)
                result = scan(backup, self._sources, options, alive, operation)
                if result.tally.problems:
                    operation.ends(Outcome.PROBLEMS, catalogue.counted(len(result.tally.problems)))
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
            problems = tuple(result.tally.problems)
            teller.ask(lambda notifier: catalogue.succeeded(notifier, "scan"))
            teller.ask(lambda notifier: catalogue.scanned(notifier, problems))
        return result

    def _report(self, result: Result, seconds: float) -> None:
        tally = result.tally
        for turnover in result.turnover:
            self._context.lost(turnover)
        if result.handed_on:
            names = waiting(self._context.backup)
            self._context.teller.ask(lambda notifier: catalogue.succession(notifier, names))
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
    backup = context.backup
    specs = backup.settings.sources
    found = open_sources(specs, backup.path, backup.clock, backup.settings)
    named = [NamedSource(*pair) for pair in zip(specs, found, strict=True)]
    Scanning(context, named, pulse, detail="scheduled").scan(Options(), stop)


def _purge(context: Context, pulse: Pulse, stop: Stop) -> None:
    backup = context.backup
    if nothing_to_do(backup):
        return
    backup.journal.require_clock()  # by a clock that is far ahead, all would be past its retention
    began = time.monotonic()
    with running(backup, "purge", detail="scheduled", stop=stop) as operation:
        died = operation.died
        context.teller.ask(lambda notifier: catalogue.died(notifier, died))
        outcome = purge(backup, Alive(stop, pulse), operation)
        if outcome.problems:
            operation.ends(Outcome.PROBLEMS, catalogue.counted(len(outcome.problems)))
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
    with running(backup, "backup-journal", detail="scheduled", stop=stop):
        made, removed = copies.rotate(
            backup.journal.environment,
            backup.path,
            backup.clock.now(),
            backup.settings.journal_copy_days,
            Alive(stop, pulse).check,
        )
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
