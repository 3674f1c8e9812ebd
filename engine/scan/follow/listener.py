"""What the real-time scan tells, and how it stands."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from engine.scan.report import Tally


class Listener:
    """Is told what the real-time scan does; this one does nothing about it. Called from its
    threads, several at once; whatever it does, it must do soon, and it must raise nothing."""

    def recorded(self, account: str, tally: Tally) -> None:
        """An account was looked at, and so much of it is recorded now, durably; or several
        accounts, without a name. Also where nothing had changed."""

    def trouble(self, account: str, what: str) -> None:
        """Something is wrong with an account, or (without a name) with all of them. It is tried
        again by itself. With empty `what`: nothing is wrong any more. May be told repeatedly."""

    def note(self, what: str) -> None:
        """What can't be followed, why, and what the administrator can do."""


@dataclass(frozen=True, slots=True)
class Following:
    """How the real-time scan stands."""

    ready: bool
    """Whether all that happened before it began is recorded."""
    queue: int
    """Accounts that wait to be looked at, or are being looked at."""
    lag: float
    """Seconds since the oldest change that it knows of, and that isn't recorded; 0 for none. An
    account that fails by itself doesn't count: that is a trouble."""
    blind: float
    """For how many seconds a change may go unnoticed: 0 where events tell of everything."""
    caught_up: int | None
    """All that the sources held at that time is recorded, but for what `troubles` names; None where
    there is no such time yet. In microseconds since the epoch."""
    last_event: int | None
    """When a source last told something, likewise."""
    looks: int
    """How often an account was looked at, or all of them."""
    recorded: Tally
    """All that was recorded since the start, without problems."""
    troubles: dict[str, str]
    """What is wrong now, by account; of all accounts under no name."""


class Ledger(Listener):
    """A listener that keeps count, and passes on what it is told; troubles only when they change.
    For any thread."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._lock = threading.Lock()
        self._recorded = Tally()
        self._troubles: dict[str, str] = {}
        self._looks = 0

    def recorded(self, account: str, tally: Tally) -> None:
        with self._lock:
            self._recorded.add(tally)
            self._recorded.problems.clear()
            self._looks += 1
        self._listener.recorded(account, tally)

    def trouble(self, account: str, what: str) -> None:
        with self._lock:
            if self._troubles.get(account, "") == what:
                return
            if what:
                self._troubles[account] = what
            else:
                del self._troubles[account]
        self._listener.trouble(account, what)

    def note(self, what: str) -> None:
        self._listener.note(what)

    def looks(self) -> int:
        """How often an account was looked at, or all of them."""
        return self._looks

    def total(self) -> Tally:
        """All that was recorded."""
        with self._lock:
            total = Tally()
            total.add(self._recorded)
            return total

    def troubles(self) -> dict[str, str]:
        """What is wrong now, by account."""
        with self._lock:
            return dict(self._troubles)
