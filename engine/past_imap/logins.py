"""Who signs in as whom, and how failures are slowed: pure.

A login is `NAME@TIME`, parted at the last `@`. NAME is an account as it is called now, TIME any
form that the mount knows and that has no colon: `alice@example.com@20240501T1000`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from datetime import tzinfo
from typing import NamedTuple

from engine.domain.errors import EngineError
from engine.domain.timestamps import parse
from engine.system.pauses import pause

LATEST = "latest"

_TIME = re.compile(r"[0-9A-Za-z.,+-]{2,40}")
_NAME = re.compile(r"[^\0-\x20\x7f*%/\\:\"(){}]{1,200}")
"""Without what means something to a mail server: separators of master users and of paths, variables
of configurations, quotes."""

_FIRST, _LONGEST = 1.0, 30.0
"""Seconds that the next attempt waits after one failure, and at most."""
_FORGOTTEN = 900.0
_KEPT = 10_000
"""Names and addresses that are remembered."""


class LoginRefused(EngineError):
    """Nobody can sign in like this. What is said may be shown to whoever tries."""


class Login(NamedTuple):
    """What a login asks for."""

    name: str
    """The account, as it is called now."""
    time: str
    """The view."""


def split(login: str, zone: tzinfo, now: int) -> Login:
    """What a login means at the time `now`, in microseconds. Raises Refused."""
    name, at, time = login.rpartition("@")
    if not at or not name:
        raise LoginRefused("sign in as NAME@TIME, as in alice@example.com@20240501T1000")
    if not _NAME.fullmatch(name):
        raise LoginRefused("no such account")
    instant = parse(time, zone, now) if _TIME.fullmatch(time) else None
    if time != LATEST and instant is None:
        raise LoginRefused(
            "the time behind the last @ must be like 20240501T1000, yesterday or 2h-ago"
        )
    if instant is not None and instant.time > now:
        raise LoginRefused("that time is in the future")
    return Login(name, time)


class LoginThrottle:
    """Slows attempts by account, or by client address. Not for several threads at once."""

    def __init__(self, free: int = 0) -> None:
        """So many failures in a row slow nothing: behind one address there may be many people."""
        self._free = free
        self._known: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Failures in a row, and when the next attempt may be made."""

    def turn(self, key: str, now: float) -> float:
        """Seconds that an attempt has to wait. It takes its place in the row, so that many at once
        are as slow as one after another."""
        failures, free = self._known.get(key, (0, 0.0))
        if not failures or free + _FORGOTTEN < now:
            return 0.0
        when = max(now, free)
        self._known[key] = failures, when + self._pause(failures)
        return when - now

    def failed(self, key: str, now: float) -> None:
        """An attempt was refused."""
        failures, free = self._known.pop(key, (0, 0.0))
        if free + _FORGOTTEN < now:
            failures = 0
        self._known[key] = failures + 1, max(free, now + self._pause(failures + 1))
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """An attempt was right."""
        self._known.pop(key, None)

    def _pause(self, failures: int) -> float:
        beyond = failures - self._free
        return pause(beyond - 1, _FIRST, _LONGEST) if beyond > 0 else 0.0
