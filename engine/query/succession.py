"""Accounts whose names have come to somebody else: what they held is kept until an administrator
has acknowledged that, and for the usual time from then on."""

from __future__ import annotations

import msgspec

from engine.backup import Backup
from engine.domain.errors import UsageError
from engine.domain.model import item_id
from engine.journal.reader import Reader
from engine.query.accounts import Account, accounts


def awaits(reader: Reader, account: int, before: int) -> bool:
    """Whether an account is kept, for that it was succeeded wasn't acknowledged before a time."""
    state = reader.account_state(account)
    return bool(state.succeeded) and not 0 < state.acknowledged <= before


def _open(reader: Reader, account: int) -> bool:
    """Whether an account was succeeded, and nobody has acknowledged that."""
    state = reader.account_state(account)
    return bool(state.succeeded) and not state.acknowledged


def waiting(backup: Backup) -> list[str]:
    """The names at the source of deleted accounts that are kept until it is acknowledged that
    somebody else has them; each once."""
    with backup.reader() as reader:
        found = {
            account.source_name
            for account in accounts(reader)
            if account.deleted and _open(reader, account.item)
        }
    return sorted(found)


def acknowledge(backup: Backup, names: list[str]) -> list[Account]:
    """Acknowledges that accounts of these names or IDs have been succeeded; returns those of which
    it hadn't been. Raises UsageError for a name that no account had, and where none was."""
    with backup.reader() as reader:
        known = accounts(reader)
        waiting = [a for a in known if a.deleted and reader.account_state(a.item).succeeded]
        done = {a.item for a in waiting if reader.account_state(a.item).acknowledged}
    chosen: dict[int, Account] = {}
    for name in names:
        found = [a for a in waiting if name in (a.name, a.source_name, item_id(a.item))]
        if not found:
            raise UsageError(
                f"{name}: no deleted account whose name has come to somebody else "
                "('engine accounts' lists them)"
            )
        chosen |= {account.item: account for account in found if account.item not in done}
    for account in chosen.values():
        with backup.journal.commit(account.item) as commit:
            state = commit.account_state()
            now = backup.clock.now()
            commit.set_account_state(msgspec.structs.replace(state, acknowledged=now))
    return list(chosen.values())
