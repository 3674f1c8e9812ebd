"""The wall clock, as a value that can be replaced.

All times in the project are integers: microseconds since 1970-01-01T00:00:00 UTC, without leap
seconds. The journal makes them strictly increasing; a clock need not be.
"""

from __future__ import annotations

import ctypes
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> int:
        """The time in microseconds since the epoch. May step backwards."""
        ...

    def doubtful(self) -> bool:
        """Whether the machine itself says that nothing keeps this clock right."""
        ...


class SystemClock:
    """The system's wall clock."""

    def __init__(self, *, trusted: bool = False) -> None:
        """`trusted`: somebody has looked, and it is right."""
        self._trusted = trusted

    def now(self) -> int:
        return time.time_ns() // 1000

    def doubtful(self) -> bool:
        return not self._trusted and unsynchronised()


class ManualClock:
    """A clock that stands still until told otherwise, for tests and for generated backups."""

    def __init__(self, now: int) -> None:
        self.time = now
        self.doubted = False

    def now(self) -> int:
        return self.time

    def advance(self, microseconds: int) -> int:
        """Moves the clock (backwards, if negative) and returns the new time."""
        self.time += microseconds
        return self.time

    def doubtful(self) -> bool:
        return self.doubted


class _Timex(ctypes.Structure):
    """The first fields of `struct timex`, which adjtimex(2) fills in."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 512),
    )


_TIME_ERROR = 5
_STA_UNSYNC = 0x40


def unsynchronised() -> bool:
    """Whether the kernel says that nothing keeps its clock right, as NTP or a host does. False
    where it says nothing. Needs no rights."""
    asked = _Timex()  # with no modes, it only asks
    state: int = ctypes.CDLL(None).adjtimex(ctypes.byref(asked))
    return state == _TIME_ERROR or (state >= 0 and bool(asked.status & _STA_UNSYNC))
