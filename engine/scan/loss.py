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
    rewritten: int = 0
    """So many others have another content now."""

    def sudden(self, share_percent: int, least: int) -> bool:
        """Whether at least this share of the messages is gone or has another content, and at least
        so many of them."""
        lost = self.removed + self.rewritten
        return lost >= max(least, 1) and lost * 100 >= self.had * share_percent
