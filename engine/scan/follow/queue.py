"""The agenda for several threads: they wait here until an account is due."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from engine.domain.paths import FolderPath
from engine.scan.follow.agenda import Agenda, DueScan, Job


class Queue:
    """See `Agenda`. Any thread may call anything."""

    def __init__(
        self, quiet: float, patience: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._agenda = Agenda(quiet, patience)
        self._clock = clock
        self._changed = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        with self._changed:
            return len(self._agenda)

    def put(self, job: Job, folder: FolderPath | None, *, written: bool = False) -> None:
        """Adds a hint."""
        with self._changed:
            before = self._agenda.next()
            self._agenda.put(job, folder, self._clock(), written=written)
            after = self._agenda.next()
            if after is not None and (before is None or after < before):
                self._changed.notify()  # else somebody wakes up for what waits already

    def take(self, seconds: float) -> DueScan | None:
        """Waits for a look, so long at most. `done` or `failed` must follow. None where there is
        none, or once it is closed."""
        end = self._clock() + seconds
        with self._changed:
            while not self._closed:
                now = self._clock()
                look = self._agenda.take(now)
                if look is not None:
                    following = self._agenda.next()
                    if following is not None:
                        self._changed.notify()
                    return look
                following = self._agenda.next()
                wake = end if following is None else min(end, following)
                if now >= end:
                    return None
                self._changed.wait(wake - now)
            return None

    def done(self, look: DueScan) -> None:
        """The look came to its end."""
        with self._changed:
            self._agenda.done(look)
            self._changed.notify()

    def failed(self, look: DueScan, *, alone: bool) -> None:
        """The look must be made again, after a while; see `Agenda`."""
        with self._changed:
            self._agenda.failed(look, self._clock(), alone=alone)
            self._changed.notify()

    def close(self) -> None:
        """Nobody gets anything any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether it is."""
        return self._closed

    def lag(self) -> float:
        """Seconds since the oldest hint came that nothing has come of yet; 0 where there is
        none."""
        with self._changed:
            oldest = self._agenda.oldest()
            return 0.0 if oldest is None else max(self._clock() - oldest, 0.0)
