"""What purges and erasures have in common: the end of both, and what they tell."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from engine.backup import Backup
from engine.domain.errors import RecordDamaged
from engine.journal.removal import Removed
from engine.purge import traces
from engine.purge.blobs import remove_unneeded
from engine.purge.shrinking import Shrunk, shrink
from engine.system.stop import Stop


@dataclass(slots=True)
class PurgeOutcome:
    """What a purge did."""

    due: int = 0
    """Items and accounts that were past their retention."""
    held: int = 0
    """Others that would have been, but for holds."""
    awaiting: int = 0
    """And accounts, but that others have their names wasn't acknowledged."""
    accounts: int = 0
    removed: Removed = field(default_factory=Removed)
    blobs: int = 0
    """Blobs that nothing names any more, and that are gone from the index."""
    shrunk: Shrunk = field(default_factory=Shrunk)
    problems: list[str] = field(default_factory=list)
    """What is damaged and stays until that is mended."""


def give_back(
    backup: Backup, outcome: PurgeOutcome, stop: Stop, words: Collection[str] = ()
) -> None:
    """Removes the content that nothing names any more, and all that tells of what was removed;
    `words` are how it may be named elsewhere. To be called `alone`."""
    problems: list[str] = []
    try:
        outcome.blobs = remove_unneeded(backup, stop, problems)
    except RecordDamaged as error:  # who knows what it names: so all that may be unneeded stays
        problems.append(str(error))
    outcome.shrunk = shrink(backup, stop)
    outcome.problems = [*outcome.removed.problems, *problems, *outcome.shrunk.problems]
    if words or outcome.removed.items or outcome.blobs or outcome.shrunk.packs:
        outcome.problems += traces.remove(backup, words, stop)
