"""What a backup knows: its accounts with all their items, and what views of it show."""

from __future__ import annotations

import os
from collections import Counter
from typing import NamedTuple

from blake3 import blake3

from engine.backup import Backup
from engine.domain.model import ROOT, Entry, Kind, Recorded, Version
from engine.domain.naming import account_name, folder_name
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from tests.history.server import AccountShown, FolderPath, Message, Shown


class Account(NamedTuple):
    """What the journal knows of an account, dead or alive."""

    name: str
    alive: bool
    guid: str
    living: dict[int, Version]
    """Its items, as they are or were when it was deleted."""
    dead: dict[int, Recorded]
    """Its items that were deleted one by one."""
    folders: dict[FolderPath, int]
    """Its living folders, by the source's own names."""
    directory: str = ""
    """Where its mailbox was, in numbers."""

    @property
    def messages(self) -> dict[int, Version]:
        """Its living messages."""
        return {i: version for i, version in self.living.items() if version.kind == Kind.MESSAGE}


NOTHING = Account("", True, "", {}, {}, {})
"""What is known of an account that is new."""

Known = dict[int, Account]
"""All accounts, by item."""


def known(backup: Backup) -> Known:
    """Every account as the journal has it now."""
    with backup.reader() as reader:
        return {recorded.item: _account(reader, recorded) for recorded in reader.accounts()}


def _account(reader: Reader, recorded: Recorded) -> Account:
    item, sequence, version = recorded
    last = version or reader.version_before(item, sequence)
    state = reader.store(item)
    name, alive = os.fsdecode(last.identity), version is not None
    account = Account(name, alive, state.guid, {}, {}, {}, state.directory)

    def descend(folder: int, path: FolderPath) -> None:
        for entry in reader.listing(folder, MAX_SEQUENCE):
            assert entry.item not in account.living
            account.living[entry.item] = entry.version
            if entry.version.container:
                below = (*path, os.fsdecode(entry.version.identity))
                account.folders[below] = entry.item
                descend(entry.item, below)
        bury(folder)

    def bury(folder: int) -> None:
        for deletion in reader.deletions(folder, MAX_SEQUENCE):
            assert deletion.item not in account.dead
            account.dead[deletion.item] = deletion
            if deletion.version and deletion.version.container:
                bury(deletion.item)

    descend(item, ())
    return account


def view(backup: Backup, sequence: int = MAX_SEQUENCE, *, exact: bool = True) -> Shown:
    """What a view shows. With `exact`, paths are the source's own, and whatever is under a name
    must have it by rule; else paths are made of the names."""
    with backup.reader() as reader:
        return {
            os.fsdecode(account.version.identity): _shown(backup, reader, account, sequence, exact)
            for account in reader.listing(ROOT, sequence)
        }


def account_view(backup: Backup, name: str) -> AccountShown:
    """What the latest view shows of an account, exactly."""
    with backup.reader() as reader:
        account = reader.lookup(ROOT, account_name(name), MAX_SEQUENCE)
        assert account is not None
        return _shown(backup, reader, account, MAX_SEQUENCE, True)


def _shown(
    backup: Backup, reader: Reader, account: Entry, sequence: int, exact: bool
) -> AccountShown:
    assert not exact or account.version.name == account_name(os.fsdecode(account.version.identity))
    folders: dict[FolderPath, dict[bytes, Message]] = {}

    def descend(folder: int, path: FolderPath) -> None:
        assert path not in folders, path
        messages = folders[path] = {}
        for item, _, version in reader.listing(folder, sequence):
            if version.kind == Kind.FOLDER:
                own = os.fsdecode(version.identity)
                assert not exact or version.name == folder_name(own)
                descend(item, (*path, own if exact else version.name))
                continue
            assert version.identity not in messages, version.identity
            raw = backup.read_blob(version.digest)
            assert (blake3(raw).digest(), len(raw)) == (version.digest, version.size)
            messages[version.identity] = Message(raw, version.date, version.flags)

    descend(account.item, ())
    assert folders.pop(()) == {}
    return AccountShown(folders, account.version.meta)


def actions(backup: Backup, seen: int) -> Counter[int]:
    """How often what was done, in the transactions beyond the first `seen`."""
    with backup.reader() as reader:
        return Counter(row.transaction.action for row in reader.log(seen + 1, MAX_SEQUENCE))
