"""What the daemon counts since it began, for the metrics and for one line of `systemctl status`."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from engine.scan.report import Tally


@dataclass(slots=True)
class Figures:
    """Counters. Threads change them through the methods, which hold a lock."""

    scans: Counter[str] = field(default_factory=Counter)
    """Smart scans by outcome: `done`, `problems`, `failed`, `stopped`."""
    scan_seconds: float = 0.0
    """What the last complete one took."""
    scan_success: float = 0.0
    """When it ended, in seconds since the epoch."""
    changes: Counter[str] = field(default_factory=Counter)
    """Items by what was recorded of them in smart scans: `created`, `changed`, `deleted`."""
    followed_changes: Counter[str] = field(default_factory=Counter)
    """The same in the real-time scan."""
    errors: Counter[str] = field(default_factory=Counter)
    """By the part that met them: `scan`, `realtime`, `settings`, ..."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def scanned(self, tally: Tally, seconds: float, end: float) -> None:
        """A smart scan came to its end."""
        with self._lock:
            self.scans["problems" if tally.problems else "done"] += 1
            self.scan_seconds, self.scan_success = seconds, end
            self.changes.update(created=tally.created, changed=tally.changed, deleted=tally.deleted)
            self.errors["scan"] += len(tally.problems)

    def followed(self, tally: Tally) -> None:
        """The real-time scan recorded this."""
        with self._lock:
            self.followed_changes.update(
                created=tally.created, changed=tally.changed, deleted=tally.deleted
            )
            self.errors["realtime"] += len(tally.problems)

    def ended(self, outcome: str) -> None:
        """A smart scan did not come to its end: `failed`, `stopped`."""
        with self._lock:
            self.scans[outcome] += 1

    def error(self, part: str) -> None:
        """One more error."""
        with self._lock:
            self.errors[part] += 1
