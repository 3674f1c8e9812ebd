"""A purge: what is due goes, then what only that needed, then the space is given back."""

from __future__ import annotations

from engine.backup import Backup
from engine.domain.errors import RecordDamaged
from engine.domain.model import item_id
from engine.journal.reader import Reader
from engine.journal.removal import Removed
from engine.purge.due import DueItems, find_due, still_due
from engine.purge.erasing import finish, unfinished
from engine.purge.items import remove_account, remove_items, restore_keyframes
from engine.purge.outcome import PurgeOutcome, give_back
from engine.purge.purge_lock import alone
from engine.purge.traces import words_of
from engine.query.succession import awaits
from engine.system.progress import Progress
from engine.system.stop import Stop


def purge(backup: Backup, stop: Stop, progress: Progress | None = None) -> PurgeOutcome:
    """Removes what is past its retention. Blocks; scans and mounts go on meanwhile.

    Also goes on with whatever a purge has left that was killed. Raises EngineError where another
    purge is under way, RecordDamaged, StorageFull (some room is needed to give some back),
    Interrupted; what was removed by then stays removed.
    """
    outcome = PurgeOutcome()
    watcher = progress or Progress()
    with alone(backup):
        due = find_due(backup, backup.clock.now())
        outcome.due, outcome.held, outcome.awaiting = len(due), due.held, due.awaiting
        watcher.progress("items", 0, len(due))
        outcome.removed.add(remove_items(backup, due, stop, watcher))
        outcome.removed.problems += due.problems
        for account in due.accounts:
            try:
                removed = _remove_account(backup, account, due, stop)
            except RecordDamaged as error:
                outcome.removed.problems.append(f"account {item_id(account)}: {error}")
                continue
            outcome.accounts += bool(removed.items)
            outcome.removed.add(removed)
            watcher.advance("items")
        words: set[str] = set()
        for account in unfinished(backup):
            with backup.reader() as reader:
                words |= words_of(reader, account)
            outcome.removed.add(finish(backup, account, stop))
        restore_keyframes(backup, stop)
        give_back(backup, outcome, stop, words)
    return outcome


def nothing_to_do(backup: Backup) -> bool:
    """Whether nothing can be due, for everything is kept for ever; and nothing is left to do of a
    purge or an erasure that was killed."""
    settings = backup.settings
    if settings.retention_data_days or settings.retention_accounts_days:
        return False
    with backup.reader() as reader:
        if reader.waste():
            return False
    return not unfinished(backup)


def _remove_account(backup: Backup, account: int, due: DueItems, stop: Stop) -> Removed:
    def when(reader: Reader) -> int | None:
        if awaits(reader, account, due.accounts_before):
            return None
        return still_due(reader, account, due)

    return remove_account(backup, account, when, stop)
