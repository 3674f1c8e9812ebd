"""Keeps a restore from taking all of a disk or a line: so many bytes in a second, no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator


class Throttle:
    """Lets `rate` bytes a second through, in all threads together; 0: any number.

    `wait(seconds)` must wait so long, or raise what ends the work. `now()` is in seconds, of any
    origin, and never goes back.
    """

    def __init__(
        self,
        rate: int,
        wait: Callable[[float], object],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._wait = wait
        self._now = now
        self._free = 0.0
        """When all that was let through so far has had its time."""
        self._lock = threading.Lock()

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks, each when there is room for it."""
        for chunk in chunks:
            if self._rate:
                with self._lock:
                    now = self._now()
                    begin = max(self._free, now)
                    self._free = begin + len(chunk) / self._rate
                if begin > now:
                    self._wait(begin - now)
            yield chunk
