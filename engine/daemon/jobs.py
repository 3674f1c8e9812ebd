"""What the daemon does at set times. A new job is one line in JOBS.

A job is a piece of work that raises what goes wrong. It is an operation, so that everybody sees it,
and can be stopped like any other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from engine.daemon.context import Context
from engine.daemon.parts import LifeSign
from engine.daemon.scanning import Scanning
from engine.daemon.schedule import When
from engine.purge import nothing_to_do
from engine.scan.smart import ScanOptions
from engine.services.backup_journal import backup_journal
from engine.services.purge import purge
from engine.settings.table import Settings
from engine.settings.types import WEEKDAYS
from engine.system.logs import Log
from engine.system.stop import Stop

_log = Log("jobs")


class ScheduledJob(NamedTuple):
    """A piece of work, and when it is due."""

    when: Callable[[Settings], When | None]
    """None: never."""
    run: Callable[[Context, LifeSign, Stop], None]
    """Blocks. Raises Interrupted where its Stop is set, and whatever goes wrong. It beats the pulse
    as it goes on, see `engine.daemon.context.HeartbeatStop`."""
    adds: bool
    """Whether it takes room on the disk: then it isn't begun where that is scarce."""


def _daily_scan(settings: Settings) -> When | None:
    return When(settings.daily) if settings.daily else None


def _weekly_purge(settings: Settings) -> When | None:
    if settings.purge_day not in WEEKDAYS:
        return None
    return When(settings.purge_time, WEEKDAYS.index(settings.purge_day))


def _smart_scan(context: Context, pulse: LifeSign, stop: Stop) -> None:
    Scanning(context, None, pulse, detail="scheduled").scan(ScanOptions(), stop)


def _purge(context: Context, pulse: LifeSign, stop: Stop) -> None:
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


def _copy_journal(context: Context, pulse: LifeSign, stop: Stop) -> None:
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
    "scan": ScheduledJob(_daily_scan, _smart_scan, adds=True),
    "purge": ScheduledJob(_weekly_purge, _purge, adds=False),
    "backup-journal": ScheduledJob(_daily_copy, _copy_journal, adds=True),
}
"""By name. When several are due at once, in this order."""
