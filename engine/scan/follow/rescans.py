"""Accounts that came, went or were renamed, and everything where events were lost: left to the
smart scan, which knows the rules for that.

One thread asks it, for the accounts that were named or for all of them, and again, ever later, for
as long as it fails: a source that suddenly shows nothing is never taken for deletions here, either.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress

from engine.backup import Backup
from engine.domain.errors import (
    BackupUnusable,
    EngineError,
    Interrupted,
    SourceUnavailable,
    UsageError,
)
from engine.scan import guard
from engine.scan.follow.agenda import FIRST_PAUSE, LONGEST_PAUSE
from engine.scan.follow.listener import Listener
from engine.scan.smart import NamedSource, Result, ScanOptions, known_accounts
from engine.system.pauses import pause
from engine.system.stop import Stop

QUIET = 0.05
"""Seconds that the names of one moment are gathered: a rename has two."""

Scan = Callable[[ScanOptions, Stop], Result]
"""A smart scan of all sources."""


class RescanRequests:
    """Asks for smart scans. `ask` and `stop` from any thread, `run` in one of its own."""

    def __init__(
        self,
        backup: Backup,
        sources: Sequence[NamedSource],
        scan: Scan,
        listener: Listener,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backup = backup
        self._sources = sources
        self._scan = scan
        self._listener = listener
        self._clock = clock
        self._changed = threading.Condition()
        self._names: dict[str, float] = {}
        """Accounts to be asked for, and since when."""
        self._everything: float | None = None
        """Since when all are to be asked for."""
        self._again: set[str] = set()
        """What was asked for since the scan began that runs: accounts, or "" for all."""
        self._written = False
        """Whether contents may have changed anywhere."""
        self._not_before = 0.0
        self._failures: dict[str, int] = {}
        """How often an account failed in a row, or (without a name) a whole scan."""
        self._troubled: set[str] = set()
        """Accounts with which something was wrong when they were looked at here."""
        self._stopped = False
        self._current: Stop | None = None
        self.ready = False
        """Whether all accounts were looked at once."""

    def ask(self, name: str, told: float | None = None) -> None:
        """Has an account looked at, of which a hint came at `told`."""
        with self._changed:
            told = self._clock() if told is None else told
            self._names[name] = min(self._names.get(name, told), told)
            self._again.add(name)
            self._changed.notify()

    def ask_all(self, *, written: bool = False) -> None:
        """Has everything looked at; `written` as in `Hint`."""
        with self._changed:
            self._written = self._written or written
            if self._everything is None:
                self._everything = self._clock()
            self._again.add("")
            self._changed.notify()

    def stop(self) -> None:
        """Ends `run`, and the scan that it is in."""
        with self._changed:
            self._stopped = True
            if self._current:
                self._current.set()
            self._changed.notify()

    def lag(self) -> float:
        """Seconds since the oldest thing was asked for that isn't done yet; 0 for none."""
        with self._changed:
            times = [*self._names.values()]
            if self._everything is not None:
                times.append(self._everything)
            return max(self._clock() - min(times), 0.0) if times else 0.0

    def __len__(self) -> int:
        """How many accounts wait; all of them count as one."""
        with self._changed:
            return len(self._names) + (self._everything is not None)

    def run(self) -> None:
        """Asks until `stop`. Raises BackupUnusable."""
        while True:
            with self._changed:
                if not self._wait():
                    return
                now = self._clock()
                names = [name for name, told in self._names.items() if told <= now]
                everything = self._everything is not None
                self._again.clear()
                self._current = stop = Stop()
            try:
                troubled = self._ask(names, stop, everything=everything)
            except BackupUnusable:
                raise
            except Exception as error:  # Interrupted, too: if not by us, it is asked again
                failed = "" if isinstance(error, Interrupted) else guard.named(error, "")
                with self._changed:
                    self._not_before = self._clock() + self._pause("")
                    told = "" if self._stopped else failed
                if told:
                    self._listener.trouble("", told)
                continue
            finally:
                self._current = None
            with self._changed:
                self._done(now, names, troubled, everything=everything)
            self._listener.trouble("", "")

    def _wait(self) -> bool:
        """Waits until there is something to ask for; False once it is stopped."""
        while not self._stopped:
            seconds: float | None = None
            if self._names or self._everything is not None:
                times = [t for t in (*self._names.values(), self._everything) if t is not None]
                seconds = max(min(times) + QUIET, self._not_before) - self._clock()
                if seconds <= 0:
                    return True
            self._changed.wait(seconds)
        return False

    def _ask(self, names: Sequence[str], stop: Stop, *, everything: bool) -> set[str]:
        """One smart scan. Returns the accounts that must be asked for again."""
        if everything:
            written, self._written = self._written, False
            try:
                result = self._scan(ScanOptions(listed=not self.ready, written=written), stop)
            except EngineError:
                self._written = self._written or written
                raise
            self.ready = True
            self._heard("", result)
            return set()
        known = {account.name for account in known_accounts(self._backup) if not account.deleted}
        wanted = tuple(name for name in names if name in known or self._shows(name))
        for name in set(names) - set(wanted):
            self._listener.trouble(name, "")  # it is nowhere any more
        try:
            self._ask_for(wanted, stop)
        except UsageError:  # one of them isn't a mailbox yet: then more events will come of it
            for name in wanted:
                with suppress(UsageError):
                    self._ask_for((name,), stop)
        return {name for name in wanted if name in self._troubled}

    def _ask_for(self, names: tuple[str, ...], stop: Stop) -> None:
        if names:
            result = self._scan(ScanOptions(accounts=names), stop)
            self._heard(names[0] if len(names) == 1 else "", result, names)

    def _heard(self, account: str, result: Result, names: Sequence[str] = ()) -> None:
        """Passes on what a scan did, and what is wrong with which account."""
        self._listener.recorded(account, result.tally)
        told: dict[str, str] = {}
        for problem in result.tally.problems:
            told.setdefault(problem.account, str(problem))
        for name in {*names, *self._troubled} if names else {*self._troubled, *told}:
            if not names or name in names or name in told:
                self._listener.trouble(name, told.get(name, ""))
        self._troubled = (self._troubled - set(names) if names else set()) | told.keys()

    def _shows(self, name: str) -> bool:
        """Whether a source has an account of this name, as far as one can see from here."""
        for source in self._sources:
            try:
                with closing(source.source.mailbox(name)):
                    return True
            except SourceUnavailable:
                continue
            except Exception as error:
                guard.told(error, name)
                return True  # its scan will say so
        return False

    def _done(
        self, began: float, names: Sequence[str], troubled: set[str], *, everything: bool
    ) -> None:
        self._not_before = 0.0
        kept = troubled | (set(self._failures) - {"", *names})
        self._failures = {name: self._failures[name] for name in kept & self._failures.keys()}
        if everything:
            self._everything = began if "" in self._again else None
        for name in names:
            if name in self._again:
                self._names[name] = began
                continue
            self._names.pop(name, None)
            if name in troubled:  # later, and not what one waits for
                self._names[name] = self._clock() + self._pause(name)

    def _pause(self, name: str) -> float:
        failures = self._failures.get(name, 0)
        self._failures[name] = failures + 1
        return pause(failures, FIRST_PAUSE, LONGEST_PAUSE)
