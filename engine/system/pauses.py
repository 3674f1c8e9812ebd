"""How long to wait before what failed is tried again."""

from __future__ import annotations


def pause(failures: int, first: float, longest: float) -> float:
    """Seconds to wait after another failure, with so many before it: twice as long each time."""
    return min(first * 2.0 ** min(failures, 20), max(first, longest))
