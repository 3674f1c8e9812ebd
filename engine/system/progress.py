"""How work that takes long tells how far it is: a scan, a check, a purge, a restore. Pure."""

from __future__ import annotations

from collections.abc import Callable

from engine.system.stop import Stop


class Progress:
    """Is told how far some work is. This one tells nobody; `engine.operations.Operation` is one
    that everybody sees. The methods may be called from any thread. A unit is in the plural, such
    as `accounts`, and may be new."""

    def progress(self, unit: str, done: int, total: int | None = None) -> None:
        """So many of a unit are done, of so many; fewer than before where it begins anew."""

    def advance(self, unit: str, count: int = 1) -> None:
        """So many more are done."""


def counting(progress: Progress, unit: str, stop: Stop) -> Callable[[int], None]:
    """A function that is called with how many more are done; it raises Interrupted where the work
    is to stop."""

    def count(more: int) -> None:
        stop.check()
        progress.advance(unit, more)

    return count
