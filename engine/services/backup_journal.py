"""A copy of the journal as a service."""

from __future__ import annotations

from pathlib import Path

from engine.backup import Backup
from engine.journal import copies
from engine.journal.copies import JournalCopy
from engine.services.caller import Caller, operating


def backup_journal(
    backup: Backup, caller: Caller, directory: Path | None = None, *, detail: str = ""
) -> tuple[JournalCopy, int]:
    """Copies the journal to a directory; without one to its place in the backup path, where older
    copies are removed: returns the copy, and how many these are. Blocks. Raises as
    `engine.journal.copies.make`."""
    environment, now = backup.journal.environment, backup.clock.now()
    with operating(backup, caller, "backup-journal", detail=detail):
        if directory:
            return copies.make(environment, directory, now, caller.stop.check), 0
        days = backup.settings.journal_copy_days
        return copies.rotate(environment, backup.path, now, days, caller.stop.check)
