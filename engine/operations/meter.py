"""Counts and rates. Pure: times are given, in seconds of a clock that never steps."""

from __future__ import annotations

from collections import deque

from engine.operations.record import Count

_WINDOW = 10.0
"""Seconds that *lately* means."""
_LEAST = 0.1
"""Seconds below which a rate says nothing."""


class _Unit:
    def __init__(self, since: float) -> None:
        self.since = since
        self.done = 0
        self.total: int | None = None
        self.last = since
        """When it last went on."""
        self.samples: deque[tuple[float, int]] = deque()


class Meter:
    """How far something is, in each of its units."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._units: dict[str, _Unit] = {}

    def set(self, unit: str, done: int, total: int | None, now: float) -> None:
        """So many of `unit` are done now, of so many."""
        found = self._units.get(unit)
        if found is None or done < found.done:  # it begins anew, as a second pass of a check does
            self._units[unit] = found = _Unit(now)
        found.done, found.total, found.last = done, total, now

    def advance(self, unit: str, count: int, now: float) -> None:
        """So many more are done."""
        found = self._units.setdefault(unit, _Unit(self._start))
        found.done += count
        found.last = now

    def lately(self, now: float) -> tuple[Count, ...]:
        """How far it is, with the rates of the last seconds. To be asked about once a second."""
        counts = []
        for name, unit in self._units.items():
            samples = unit.samples
            samples.append((now, unit.done))
            while len(samples) > 1 and samples[1][0] <= now - _WINDOW:
                samples.popleft()
            then, done = samples[0] if now - samples[0][0] >= 1 else (unit.since, 0)
            counts.append(_count(name, unit, unit.done - done, now - then))
        return tuple(counts)

    def all_in_all(self) -> tuple[Count, ...]:
        """How far it came, with the rates up to when each unit last went on."""
        return tuple(
            _count(name, unit, unit.done, unit.last - unit.since)
            for name, unit in self._units.items()
        )


def _count(name: str, unit: _Unit, done: int, seconds: float) -> Count:
    return Count(
        name, unit.done, unit.total, round(done / seconds, 1) if seconds >= _LEAST else 0.0
    )
