"""Legal holds: accounts of which no purge and no erasure may take anything.

A hold is on the account itself, not on its name: it outlasts a change of the name and the account's
deletion, and ends only when it is taken away by hand.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.backup import Backup
from engine.domain.errors import UsageError
from engine.journal.reader import Reader
from engine.journal.records import Hold
from engine.query.accounts import Account, accounts, named


class HeldAccount(NamedTuple):
    """An account on hold."""

    account: Account
    hold: Hold


def holds(reader: Reader) -> list[HeldAccount]:
    """All holds, by the accounts' names."""
    found = ((account, reader.hold(account.item)) for account in accounts(reader))
    return [HeldAccount(account, hold) for account, hold in found if hold]


def hold(backup: Backup, names: list[str], reason: str) -> list[HeldAccount]:
    """Puts every account of these names on hold, deleted ones of the same name, too; returns them.
    One that is on hold keeps the hold it has. Raises UsageError for a name that nobody has."""
    made = []
    with backup.journal.edit() as edit:
        for account in named(edit, names):
            known = edit.hold(account.item)
            if known is None:
                known = Hold(backup.clock.now(), reason)
                edit.put_hold(account.item, known)
            made.append(HeldAccount(account, known))
    return made


def release(backup: Backup, names: list[str]) -> list[HeldAccount]:
    """Ends the holds on every account of these names; returns which these were. Raises UsageError
    for a name that nobody has, or without a hold."""
    ended = []
    with backup.journal.edit() as edit:
        for name in names:
            found = [
                HeldAccount(account, known)
                for account in named(edit, [name])
                if (known := edit.hold(account.item))
            ]
            if not found:
                raise UsageError(f"account {name!r} is not on hold")
            for held in found:
                edit.end_hold(held.account.item)
            ended += found
    return ended
