"""The wall clock, as a value that can be replaced.

All times in the project are integers: microseconds since 1970-01-01T00:00:00 UTC, without leap
seconds. The journal makes them strictly increasing; a clock need not be.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> int:
        """The time in microseconds since the epoch. May step backwards."""
        ...


class SystemClock:
    """The system's wall clock."""

    def now(self) -> int:
        return time.time_ns() // 1000


class ManualClock:
    """A clock that stands still until told otherwise, for tests and for generated backups."""

    def __init__(self, now: int) -> None:
        self.time = now

    def now(self) -> int:
        return self.time

    def advance(self, microseconds: int) -> int:
        """Moves the clock (backwards, if negative) and returns the new time."""
        self.time += microseconds
        return self.time
