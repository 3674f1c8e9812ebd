"""How work that takes long is asked to stop: a scan, a check, a purge, a restore; and how what it
waits for is ended, for it must stop within a second."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from engine.domain.errors import Interrupted

_INTERRUPTED = "interrupted: what was recorded stays, the next scan goes on from there"


class Interrupt:
    """Ends what waits for others, in whatever thread. May be set from any thread, and from a
    signal's handler; as often as it was set it must be cleared until nothing is ended any more."""

    def __init__(self) -> None:
        self._count = 0
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
        weakref.finalize(self, os.close, self._fd)

    def fileno(self) -> int:
        """A descriptor that can be read from while it is set, for poll(2)."""
        return self._fd

    def set(self) -> None:
        """Ends all that waits now, and all that is going to."""
        self._count += 1
        os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        """Takes back one `set`."""
        self._count -= 1
        os.eventfd_read(self._fd)

    def check(self) -> None:
        """Raises Interrupted while it is set."""
        if self._count:
            raise Interrupted(_INTERRUPTED)


class Stop:
    """Asks the threads of some work to stop at the next item. May be set from any thread."""

    def __init__(self, told: str = _INTERRUPTED) -> None:
        """`told` is the message of the error that it raises."""
        self._told = told
        self._event = threading.Event()
        self._reached: list[_Reached] = []

    def set(self) -> None:
        """Asks for it. May be called again."""
        self._event.set()
        for reached in tuple(self._reached):
            reached.set()

    def wait(self, seconds: float) -> bool:
        """Waits until it is asked for, so long at most; returns whether it has been."""
        return self._event.wait(seconds)

    def check(self) -> None:
        """Raises Interrupted once it has been asked for."""
        if self._event.is_set():
            raise Interrupted(self._told)

    def reaching(self, interrupts: Iterable[Interrupt]) -> AbstractContextManager[None]:
        """For as long as the block lasts, what waits under these is ended, too, once it is asked
        for. That raises Interrupted there."""
        return self._reaching(interrupts)

    @contextmanager
    def _reaching(self, interrupts: Iterable[Interrupt]) -> Iterator[None]:
        reached = _Reached(tuple(interrupts))
        self._reached.append(reached)
        if self._event.is_set():
            reached.set()
        try:
            yield
        except Interrupted:
            self.check()
            raise
        finally:
            self._reached.remove(reached)
            reached.clear()


class _Reached:
    """Some interrupts that are set together, once. Without a lock, for a signal's handler may come
    in between."""

    def __init__(self, interrupts: tuple[Interrupt, ...]) -> None:
        self._waiting = list(interrupts)
        self._set: list[Interrupt] = []
        self._over = False

    def set(self) -> None:
        while self._waiting:
            try:
                interrupt = self._waiting.pop()
            except IndexError:
                return
            interrupt.set()
            self._set.append(interrupt)
            if self._over:  # what was just ended has come to `clear` before it was noted here
                self._take_back()

    def clear(self) -> None:
        self._over = True
        self._waiting.clear()
        self._take_back()

    def _take_back(self) -> None:
        while self._set:
            try:
                interrupt = self._set.pop()
            except IndexError:
                return
            interrupt.clear()
