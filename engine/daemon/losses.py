"""What accounts lost lately, and what was written to. A mailbox that is emptied or encrypted in
real time goes message by message, and no single look shows what is the matter. Pure, but for a
lock."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from engine.scan.loss import Turnover

WINDOW = 3600.0
"""Seconds that count as at once."""


@dataclass(slots=True)
class _Lately:
    since: float
    had: int
    removed: int = 0
    rewritten: int = 0


class Losses:
    """Adds up what was removed or written to. From any thread; times are seconds of one monotonic
    clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accounts: dict[str, _Lately] = {}

    def add(
        self, turnover: Turnover, now: float, *, share_percent: int, least: int
    ) -> Turnover | None:
        """A look found this. Returns what the account lost within WINDOW if that is alarming now
        (see `Turnover.sudden`), and begins anew then: it is told once."""
        if not turnover.removed and not turnover.rewritten:
            return None
        with self._lock:
            known = self._accounts.get(turnover.account)
            if known is None or now - known.since > WINDOW:
                self._drop_old(now)
                known = self._accounts[turnover.account] = _Lately(now, turnover.had)
            known.removed += turnover.removed
            known.rewritten += turnover.rewritten
            known.had = max(known.had, turnover.had)
            lately = Turnover(
                turnover.account,
                known.had,
                min(known.removed, known.had),
                min(known.rewritten, known.had),
            )
            if not lately.sudden(share_percent, least):
                return None
            del self._accounts[turnover.account]
            return lately

    def _drop_old(self, now: float) -> None:
        for account in [a for a, known in self._accounts.items() if now - known.since > WINDOW]:
            del self._accounts[account]
