"""Which account is to be looked at, and when: hints of one moment make one look. Pure.

An account is looked at once no hint for it has come for a short while, or the first one has waited
long enough; never twice at once; and again, ever later, for as long as that fails.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.domain.paths import FolderPath
from engine.system.pauses import pause

FIRST_PAUSE = 1.0
"""Seconds from the first failure to the next try. Each further failure doubles it."""
LONGEST_PAUSE = 300.0


class Job(NamedTuple):
    """An account of a source."""

    source: int
    """Which one, by its place among those that are followed."""
    account: str


class DueScan(NamedTuple):
    """A job that is due."""

    job: Job
    folders: frozenset[FolderPath] | None
    """Where to look; None: in all of the account."""
    told: float
    """When its oldest hint came."""
    written: frozenset[FolderPath | None] = frozenset()
    """Where messages may have got another content: in these folders; None among them: in all."""


@dataclass(slots=True)
class _Waiting:
    first: float
    """When the oldest hint came."""
    began: float
    """When the hints that wait began to come; after a failure, later than `first`."""
    last: float
    not_before: float = 0.0
    folders: set[FolderPath] | None = field(default_factory=set)
    written: set[FolderPath | None] = field(default_factory=set)


class Agenda:
    """What is to be done. All times are seconds of one monotonic clock. Not for several threads."""

    def __init__(self, quiet: float, patience: float) -> None:
        """A look is due `quiet` seconds after the last hint, `patience` after the first at most."""
        self._quiet = quiet
        self._patience = max(patience, quiet)
        self._waiting: dict[Job, _Waiting] = {}
        self._busy: dict[Job, DueScan] = {}
        self._failures: dict[Job, int] = {}
        self._heap: list[tuple[float, int, Job]] = []
        """Every waiting job that isn't busy, at a time that isn't later than when it is due. It may
        hold more than that."""
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """How many accounts wait, or are being looked at."""
        return len(self._waiting.keys() | self._busy.keys())

    def put(
        self, job: Job, folder: FolderPath | None, now: float, *, written: bool = False
    ) -> None:
        """Adds a hint: for one folder, or None for the account. `written` as in `Hint`."""
        waiting = self._waiting.get(job)
        if waiting is None:
            waiting = self._waiting[job] = _Waiting(now, now, now)
            if job not in self._busy:
                self._push(job, waiting)
        waiting.last = now
        if waiting.not_before > now + FIRST_PAUSE:  # what was in the way may be gone
            waiting.not_before = now + FIRST_PAUSE
            if job not in self._busy:
                self._push(job, waiting)
        if written:
            waiting.written.add(folder)
        if folder is None:
            waiting.folders = None
        elif waiting.folders is not None:
            waiting.folders.add(folder)

    def take(self, now: float) -> DueScan | None:
        """The look that is due longest; `done` or `failed` must follow. None where none is."""
        while self._heap and self._heap[0][0] <= now:
            _, _, job = heapq.heappop(self._heap)
            waiting = self._waiting.get(job)
            if waiting is None or job in self._busy:
                continue  # it was brought forward, and is done or at work since
            if self._due(waiting) > now:
                self._push(job, waiting)
                continue
            del self._waiting[job]
            folders = None if waiting.folders is None else frozenset(waiting.folders)
            written = frozenset(waiting.written)
            look = self._busy[job] = DueScan(job, folders, waiting.first, written)
            return look
        return None

    def next(self) -> float | None:
        """When to ask again; None: not before something was put or has ended."""
        return self._heap[0][0] if self._heap else None

    def done(self, look: DueScan) -> None:
        """The look came to its end."""
        self._failures.pop(look.job, None)
        self._end(look)

    def failed(self, look: DueScan, now: float, *, alone: bool) -> None:
        """The look must be made again, after a while. `alone`: it is the account that can't be
        looked at, and nobody waits for that: it counts among the oldest no longer."""
        failures = self._failures.get(look.job, 0)
        self._failures[look.job] = failures + 1
        wait = pause(failures, FIRST_PAUSE, LONGEST_PAUSE)
        waiting = self._waiting.get(look.job)
        if waiting is None:
            waiting = self._waiting[look.job] = _Waiting(look.told, now, now)
        waiting.first = now + wait if alone else look.told
        waiting.not_before = now + wait
        waiting.written |= look.written
        if look.folders is None:
            waiting.folders = None
        elif waiting.folders is not None:
            waiting.folders |= look.folders
        self._end(look)

    def oldest(self) -> float | None:
        """When the oldest hint came that nothing has come of yet."""
        times = [waiting.first for waiting in self._waiting.values()]
        times += [look.told for look in self._busy.values()]
        return min(times, default=None)

    def _end(self, look: DueScan) -> None:
        del self._busy[look.job]
        waiting = self._waiting.get(look.job)
        if waiting is not None:
            self._push(look.job, waiting)

    def _due(self, waiting: _Waiting) -> float:
        quiet = min(waiting.last + self._quiet, waiting.began + self._patience)
        return max(quiet, waiting.not_before)

    def _push(self, job: Job, waiting: _Waiting) -> None:
        heapq.heappush(self._heap, (self._due(waiting), next(self._numbers), job))
