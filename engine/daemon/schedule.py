"""When the jobs of the daemon are due: daily and weekly, by the clock on the wall.

Pure. A due time is a local time of day. On the day on which clocks skip it, it is due as much later
as they were put forward; where they show it twice, the first time. What was missed because nothing
ran, or the machine slept, is not made up for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from engine.settings.types import WEEKDAYS

GRACE = 300_000_000
"""Microseconds after which what was due counts as missed."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class When(NamedTuple):
    """A time of each day, or of one day of each week."""

    time: str
    """`HH:MM`."""
    weekday: int | None = None
    """Of `WEEKDAYS`; None for every day."""

    def __str__(self) -> str:
        day = "daily" if self.weekday is None else WEEKDAYS[self.weekday]
        return f"{day} {self.time}"


def next_due(when: When, after: int, zone: tzinfo) -> int:
    """The first due time later than `after`. Both in microseconds since the epoch."""
    local = (_EPOCH + timedelta(microseconds=after)).astimezone(zone)
    at = time.fromisoformat(when.time)
    day = local.date() - timedelta(days=1)  # what was due yesterday, late, may fall on today
    while True:
        if when.weekday is None or day.weekday() == when.weekday:
            due = (datetime.combine(day, at, zone).astimezone(UTC) - _EPOCH) // _MICROSECOND
            if due > after:
                return due
        day += timedelta(days=1)


class DueJob(NamedTuple):
    """What a look at the clock gave."""

    jobs: tuple[str, ...]
    """To be started now."""
    missed: tuple[str, ...]
    """Due while nobody looked, longer than GRACE ago."""


class Timetable:
    """The next due time of each job. Whoever keeps it looks at it every few seconds.

    A clock that is put back lets a job be due again; one that is put forward lets what lies between
    be missed, unless it is within GRACE.
    """

    def __init__(self, jobs: Mapping[str, When], now: int, zone: tzinfo) -> None:
        self._jobs = dict(jobs)
        self._zone = zone
        self._looked = now
        self._next = {name: next_due(when, now, zone) for name, when in self._jobs.items()}

    def next(self, job: str) -> int | None:
        """When a job is due next; None for one that is never."""
        return self._next.get(job)

    def due(self, now: int) -> DueJob:
        """What became due since the last look, each job once."""
        if now < self._looked - GRACE:
            self._next = {job: next_due(when, now, self._zone) for job, when in self._jobs.items()}
        self._looked = now
        passed = [job for job, due in self._next.items() if due <= now]
        late = {job for job in passed if now - self._next[job] > GRACE}
        for job in passed:
            self._next[job] = next_due(self._jobs[job], now, self._zone)
        return DueJob(tuple(job for job in passed if job not in late), tuple(sorted(late)))
