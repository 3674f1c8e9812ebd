"""Erasure on demand as a service."""

from __future__ import annotations

from engine import purge
from engine.backup import Backup
from engine.domain.errors import UsageError
from engine.domain.model import item_id, parse_item_id
from engine.purge import Erased
from engine.purge.erasing import judge
from engine.query.accounts import accounts
from engine.services.caller import Caller, operating


def find(backup: Backup, what: str) -> tuple[int, str]:
    """The item that is meant by an ID or an account's name, and what to call it. Raises UsageError
    for what isn't there, and as `engine.purge.erase` for what can't be erased."""
    with backup.reader() as reader:
        found = [a for a in accounts(reader) if what in (a.name, a.source_name)]
        dead = [account for account in found if account.deleted]
        if len(dead) > 1:
            ids = ", ".join(item_id(account.item) for account in dead)
            raise UsageError(f"several deleted accounts had the name {what}: name one by ID: {ids}")
        item = (dead or found)[0].item if found else _number(what)
        version = judge(reader, item)
        return item, f"account {version.name}" if version.container else version.name


def _number(text: str) -> int:
    """An item's number. Raises UsageError."""
    try:
        return parse_item_id(text)
    except UsageError:
        raise UsageError(
            f"{text!r} is no account of this backup and no item ID: 'engine accounts' and "
            "'engine search --deleted' list them"
        ) from None


def erase(backup: Backup, caller: Caller, item: int) -> Erased:
    """Forgets a deleted message or account at once. Blocks. Raises as `engine.purge.erase`."""
    with operating(backup, caller, "erase", detail=item_id(item)):
        return purge.erase(backup, item, caller.stop)
