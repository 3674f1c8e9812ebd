"""What a scan tells: what it did, what it could not do, and how it is asked to stop."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.errors import Interrupted

_INTERRUPTED = "interrupted: what was recorded stays, the next scan goes on from there"


class Problem(NamedTuple):
    """One thing that could not be backed up. The scan goes on without it."""

    account: str
    where: str
    what: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.account, self.where, self.what) if part)


@dataclass(slots=True)
class Tally:
    """What a scan did, or with `--dry-run` would do, in items: messages, folders and accounts."""

    created: int = 0
    """New, or there again."""
    changed: int = 0
    """Other flags, content, name or place."""
    deleted: int = 0
    had: int = 0
    """How many messages the accounts had before; and of these"""
    removed: int = 0
    """so many are gone now."""
    problems: list[Problem] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Adds what another one counted."""
        self.created += other.created
        self.changed += other.changed
        self.deleted += other.deleted
        self.had += other.had
        self.removed += other.removed
        self.problems += other.problems


class Stop:
    """Asks the threads of a scan to stop at the next item. May be set from any thread."""

    def __init__(self, told: str = _INTERRUPTED) -> None:
        """`told` is the message of the error that it raises."""
        self._told = told
        self._event = threading.Event()

    def set(self) -> None:
        """Asks for it. May be called again."""
        self._event.set()

    def wait(self, seconds: float) -> bool:
        """Waits until it is asked for, so long at most; returns whether it has been."""
        return self._event.wait(seconds)

    def check(self) -> None:
        """Raises Interrupted once it has been asked for."""
        if self._event.is_set():
            raise Interrupted(self._told)
