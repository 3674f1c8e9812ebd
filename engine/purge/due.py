"""What is past its retention, by the times that the engine itself gave to deletions.

Decides nothing for good: whoever removes something looks again in the transaction that does it
(`still_due`), for items and accounts may return meanwhile.

An item is due with all its versions, once it has been deleted for longer than the retention. One
that was deleted and returned is alive, and nothing of it is due. What an account holds that is
deleted itself is due with the account only, and what is on hold never is.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from itertools import islice

from engine.backup import Backup
from engine.domain.errors import RecordDamaged
from engine.domain.model import ROOT, item_id
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from engine.query.succession import awaits

DAY = 86_400_000_000
_SLICE = 20_000
"""Rows that are read in one moment of the journal."""


@dataclass(slots=True)
class DueItems:
    """What a purge would remove."""

    messages: dict[int, array[int]] = field(default_factory=dict)
    """By the folder that they were deleted from; ascending."""
    folders: array[int] = field(default_factory=lambda: array("Q"))
    """Deleted folders. Each goes once nothing that stays was ever in it."""
    accounts: list[int] = field(default_factory=list)
    """Deleted accounts, with all they hold."""
    held: int = 0
    """Items and accounts that would be due, but are on hold."""
    awaiting: int = 0
    """Accounts that would be due, but nobody has acknowledged that others have their names."""
    problems: list[str] = field(default_factory=list)
    """Items that can't be judged, for they are damaged."""
    items_until: int = 0
    """The last sequence of deletions that are long enough ago for items,"""
    accounts_until: int = 0
    """and for accounts. 0: none is."""
    accounts_before: int = 0
    """The time before which that must have been acknowledged."""

    def until(self, *, account: bool) -> int:
        """The last sequence of deletions that are long enough ago, for an account or an item. What
        is found due, and what is still due when it is removed, go by this alone."""
        return self.accounts_until if account else self.items_until

    def __len__(self) -> int:
        return sum(map(len, self.messages.values())) + len(self.folders) + len(self.accounts)


def find_due(backup: Backup, now: int) -> DueItems:
    """What is due at the time `now`. Costs the deletions that the journal knows, and 8 bytes of
    memory for each item that is due."""
    settings = backup.settings
    due = DueItems()
    with backup.reader() as reader:
        due.items_until = _before(reader, now, settings.retention_data_days)
        due.accounts_until = _before(reader, now, settings.retention_accounts_days)
        due.accounts_before = now - settings.retention_accounts_days * DAY
    judge = _Judge()
    last = (0, 0)
    while True:
        with backup.reader() as reader:
            rows = list(islice(reader.deletions_after(*last), _SLICE))
            for folder, sequence, item in rows:
                try:
                    judge.look(reader, due, folder, sequence, item)
                except RecordDamaged as error:
                    due.problems.append(f"item {item_id(item)}: {error}")
        if not rows:
            break
        last = rows[-1][:2]
    for folder, found in due.messages.items():
        due.messages[folder] = array("Q", sorted(found))
    return due


def _before(reader: Reader, now: int, days: int) -> int:
    """The last sequence that is as long ago as that; 0 where nothing is, or shall be."""
    return reader.sequence_at(now - days * DAY) if days else 0


class _Judge:
    """Says of deletions what is due, and remembers what it knows of accounts for one run."""

    def __init__(self) -> None:
        self._dead: dict[int, bool] = {}
        self._held: dict[int, bool] = {}

    def look(self, reader: Reader, due: DueItems, folder: int, sequence: int, item: int) -> None:
        """Adds the item to what is due, if it is."""
        if sequence > due.until(account=folder == ROOT):
            return
        recorded = reader.recorded(item, MAX_SEQUENCE)
        if recorded is None or recorded.version is not None or recorded.sequence != sequence:
            return
        account = item if folder == ROOT else reader.transaction(sequence).account
        if folder != ROOT and self._is_dead(reader, account):
            return
        if self._is_held(reader, account):
            due.held += 1
        elif folder == ROOT and awaits(reader, item, due.accounts_before):
            due.awaiting += 1
        elif folder == ROOT:
            due.accounts.append(item)
        elif reader.version_before(item, sequence).container:
            due.folders.append(item)
        else:
            due.messages.setdefault(folder, array("Q")).append(item)

    def _is_dead(self, reader: Reader, account: int) -> bool:
        if account not in self._dead:
            self._dead[account] = reader.version(account, MAX_SEQUENCE) is None
        return self._dead[account]

    def _is_held(self, reader: Reader, account: int) -> bool:
        if account not in self._held:
            self._held[account] = reader.hold(account) is not None
        return self._held[account]


def still_due(reader: Reader, item: int, due: DueItems) -> int | None:
    """The time of the deletion of an item or account, if that is long enough ago,
    is the last that happened to it, and nothing else keeps it; else None."""
    recorded = reader.recorded(item, MAX_SEQUENCE)
    if recorded is None or recorded.version is not None:
        return None
    account = reader.transaction(recorded.sequence).account
    if recorded.sequence > due.until(account=account == item):
        return None
    if account != item and reader.version(account, MAX_SEQUENCE) is None:
        return None
    return None if reader.hold(account) else reader.time_of(recorded.sequence)


def empty(reader: Reader, folder: int) -> bool:
    """Whether nothing that is in the journal was ever in the folder."""
    return not reader.folder_state(folder, MAX_SEQUENCE)
