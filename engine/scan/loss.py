"""Whether an account lost so much at once that somebody should hear of it while what is lost is
still kept: a pure decision. Telling is the caller's business."""

from __future__ import annotations

from typing import NamedTuple


class Turnover(NamedTuple):
    """What a scan took from an account."""

    account: str
    had: int
    """Its messages before."""
    removed: int
    """So many of them are gone now."""

    def sudden(self, share_percent: int, least: int) -> bool:
        """Whether at least this share of the messages is gone, and at least so many of them."""
        return self.removed >= max(least, 1) and self.removed * 100 >= self.had * share_percent
