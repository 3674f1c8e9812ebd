"""The threads of the daemon: what a part's failure means to it, and how its life is watched.

A part that fails never ends the daemon. It is told, and started again after a while that doubles
with each failure. A part that hangs is noticed by its pulse, and then by systemd's watchdog.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from engine.domain.errors import Interrupted
from engine.system.pauses import pause
from engine.system.stop import Stop

FIRST_WAIT = 1.0
LONGEST_WAIT = 300.0
"""Seconds before a part that failed is started again, at first and at most."""
STEADY = 600.0
"""Seconds of life after which a failure counts as the first."""


class PartListener(Protocol):
    """Is told what becomes of a part. Called from the part's thread."""

    def failed(self, name: str, error: Exception, wait: float | None) -> None:
        """It raised this; it is started again in so many seconds, or not (None)."""

    def stopped(self, name: str) -> None:
        """It was interrupted by someone else than the daemon, and isn't started again."""


class LifeSign:
    """A sign of life. Between `begin` and `end`, silence of more than `limit` seconds is a
    fault."""

    def __init__(self, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._last: float | None = None

    def begin(self) -> None:
        """From now on it must beat."""
        self._last = self._clock()

    def beat(self) -> None:
        """It lives. Nothing, if it hasn't begun."""
        if self._last is not None:
            self._last = self._clock()

    def end(self) -> None:
        """It needs no longer."""
        self._last = None

    @property
    def healthy(self) -> bool:
        """Whether it isn't overdue."""
        last = self._last
        return last is None or self._clock() - last <= self._limit


class Part:
    """One thread, which may be started again after it has ended."""

    def __init__(
        self,
        name: str,
        run: Callable[[Stop], None],
        listener: PartListener,
        *,
        lasting: bool,
        first_wait: float = FIRST_WAIT,
    ) -> None:
        """`run` blocks until it is done or its Stop is set. `lasting`: it is started again when it
        fails; or it is one piece of work, which is not."""
        self.name = name
        self._run = run
        self._listener = listener
        self._lasting = lasting
        self._first_wait = first_wait
        self._thread: threading.Thread | None = None
        self._stop = Stop()
        self._asked = threading.Event()

    @property
    def alive(self) -> bool:
        """Whether it runs, or waits to be started again."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def ending(self) -> bool:
        """Whether it was asked to stop, and hasn't been started since."""
        return self._asked.is_set()

    def start(self) -> None:
        """Starts the thread, if none runs."""
        if self.alive:
            return
        self._stop, self._asked = Stop(), threading.Event()
        self._thread = threading.Thread(target=self._live, name=self.name)
        self._thread.start()

    def ask(self) -> None:
        """Asks it to stop. It may be asked again."""
        self._asked.set()
        self._stop.set()

    def join(self, timeout: float | None = None) -> bool:
        """Waits for its end, and tells whether it came."""
        if self._thread is not None:
            self._thread.join(timeout)
        return not self.alive

    def _live(self) -> None:
        failures = 0
        while not self._asked.is_set():
            began = time.monotonic()
            try:
                self._run(self._stop)
                return
            except Interrupted:
                if not self._asked.is_set():
                    self._listener.stopped(self.name)
                return
            except Exception as error:
                if time.monotonic() - began > STEADY:
                    failures = 0
                wait = pause(failures, self._first_wait, LONGEST_WAIT)
                self._listener.failed(self.name, error, wait if self._lasting else None)
            if not self._lasting or self._asked.wait(wait):
                return
            failures += 1
