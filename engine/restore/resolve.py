"""What users mean by the thing that they want back, and by the time of it."""

from __future__ import annotations

from typing import NamedTuple

from engine.domain.errors import UsageError
from engine.domain.model import ROOT, item_id, parse_item_id
from engine.journal.keys import MAX_SEQUENCE
from engine.journal.reader import Reader
from engine.query.accounts import Account, accounts


class ResolvedItem(NamedTuple):
    """Something of the backup at an instant."""

    account: Account
    item: int
    sequence: int


def find(reader: Reader, text: str, sequence: int | None) -> ResolvedItem:
    """What `text` means at `sequence`: an account, `ACCOUNT/FOLDER` with names as views have them,
    or the ID of an item. None: as it last was, which only what is deleted has.

    Raises UsageError where there is nothing of the kind, or where it needs an instant.
    """
    named = owners(reader, text)
    name, _, rest = text.partition("/")
    if name not in (named[0].name, named[0].source_name):
        return _item(reader, named[0], _number(text), sequence)
    account, at = _account(reader, named, sequence)
    item = account.item
    for part in filter(None, rest.split("/")):
        entry = reader.lookup(item, part, at)
        if entry is None or not entry.version.container:
            raise UsageError(f"{text}: there was no such folder then")
        item = entry.item
    return ResolvedItem(account, item, at)


def shown(reader: Reader, item: int, sequence: int, *, partly: bool) -> ResolvedItem:
    """An item as a view shows it: as it is at `sequence`, or where it is dead then as it last was.
    `partly`: at a place where it isn't shown with all that it holds.

    Raises UsageError where that isn't all of what it was, and needs an instant.
    """
    (account,) = owners(reader, item_id(item))
    top = reader.recorded(account.item, sequence)
    if top and top.version is None:
        sequence = top.sequence - 1
        partly = partly and item != account.item
    recorded = reader.recorded(item, sequence)
    if recorded is None:
        raise UsageError(f"{item_id(item)} was not there then")
    version = recorded.version or reader.version_before(item, recorded.sequence)
    if version.container and (partly or recorded.version is None):
        raise UsageError(
            f"{item_id(item)} is a folder, and only some of what it held is shown there: "
            "say of which time, with --at TIME"
        )
    return ResolvedItem(account, item, sequence if recorded.version else recorded.sequence - 1)


def owners(reader: Reader, text: str) -> list[Account]:
    """The accounts that `text` may be about, whenever: all that bear the name, or that of the item.
    Raises UsageError where there is nothing of the kind."""
    known = accounts(reader)
    name = text.partition("/")[0]
    named = [account for account in known if name in (account.name, account.source_name)]
    if named:
        return named
    item = _number(text)
    if item == ROOT or reader.recorded(item, MAX_SEQUENCE) is None:
        raise UsageError(f"there is no item {item_id(item)} in this backup")
    top = reader.path(item, MAX_SEQUENCE)[0].item
    return [account for account in known if account.item == top]


def _number(text: str) -> int:
    """An item's number. Raises UsageError."""
    try:
        return parse_item_id(text)
    except UsageError:
        raise UsageError(
            f"{text!r} is no account of this backup, no folder of one (ACCOUNT/FOLDER), "
            "and no item ID"
        ) from None


def _account(reader: Reader, named: list[Account], sequence: int | None) -> tuple[Account, int]:
    """Which of the accounts that bear a name, one after the other, is meant, and when."""
    if sequence is None:
        if any(account.deleted is None for account in named):
            raise UsageError(
                f"{named[0].name} is alive: say of which time, with --at TIME; "
                "'engine log' and 'engine status' tell what there is"
            )
        last = max(named, key=lambda account: account.ended)
        return last, last.ended - 1
    # Who has the name now is meant, whatever it was called then; else who had the name then.
    there = [account for account in named if reader.version(account.item, sequence)]
    there.sort(key=lambda account: account.deleted is not None)
    if there:
        return there[0], sequence
    raise UsageError(f"{named[0].name} was not there then")


def _item(reader: Reader, account: Account, item: int, sequence: int | None) -> ResolvedItem:
    if sequence is not None:
        return ResolvedItem(account, item, sequence)
    recorded = reader.recorded(item, MAX_SEQUENCE)
    if recorded and recorded.version is None:
        before = reader.version_before(item, recorded.sequence)
        if before.container and item != account.item:
            raise UsageError(
                f"{item_id(item)} is a folder, and what it held was deleted before it: "
                "say of which time, with --at TIME"
            )
        return ResolvedItem(account, item, recorded.sequence - 1)
    if account.ended:
        return ResolvedItem(account, item, account.ended - 1)
    raise UsageError(
        f"{item_id(item)} is alive: say of which time, with --at TIME ('--at latest' for now)"
    )
