"""What a scan tells: what it did, and what it could not do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class ScanProblem(NamedTuple):
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
    """so many are gone now, and"""
    rewritten: int = 0
    """so many have another content."""
    problems: list[ScanProblem] = field(default_factory=list)
    notes: list[ScanProblem] = field(default_factory=list)
    """What is worth knowing, and no problem: nothing is missing in the backup for it."""

    def add(self, other: Tally) -> None:
        """Adds what another one counted."""
        self.created += other.created
        self.changed += other.changed
        self.deleted += other.deleted
        self.had += other.had
        self.removed += other.removed
        self.rewritten += other.rewritten
        self.problems += other.problems
        self.notes += other.notes
