"""Which mailbox a restore writes to: the account's own, another account's, or one somewhere
else."""

from __future__ import annotations

from typing import NamedTuple

from engine.accounts import Account, accounts
from engine.backup import Backup
from engine.errors import UsageError
from engine.model import item_id
from engine.sources import open_source
from engine.targets import open_target
from engine.targets.target import TargetMailbox


class Destination(NamedTuple):
    """An open mailbox to restore to. Whoever opened it closes it."""

    name: str
    """The account, as the target names it."""
    item: int | None
    """The account's item, where it is one that this backup has, and alive."""
    mailbox: TargetMailbox
    own: bool = False
    """Whether it is the mailbox that the account had."""


def open_destination(
    backup: Backup, account: Account, *, other: str = "", target: str = ""
) -> Destination:
    """The mailbox for what was in `account`: with `other`, that of this account; with `target`, a
    `KIND:LOCATION`, one there, which is made if it is missing. Else it is at the source that the
    account comes from, and is made only where the backup has no such account alive: one that is
    missing though it should be there is more likely not mounted.

    Raises SourceUnavailable where it can't be opened, UsageError where there is no such place, or
    where the name of a deleted account is another's by now, unless that one is `other`.
    """
    name = other or account.source_name
    if target:
        opened = open_target(target, backup.clock, backup.settings).mailbox(name, make=True)
        return Destination(name, None, opened)
    with backup.reader() as reader:
        alive = [a for a in accounts(reader) if a.deleted is None]
        known = next((a for a in alive if name in (a.source_name, a.name)), None)
        origin = reader.account_state((known or account).item).origin
    if origin not in backup.settings.sources:
        raise UsageError(
            f"{name}: {origin or 'its source'} is not among the sources any more: "
            "say where to restore to with --target KIND:LOCATION"
        )
    if known:
        own = known.item == account.item
        if not own and not other:
            raise UsageError(
                f"the name {known.name} belongs to another account now ({item_id(known.item)}), "
                f"whose mailbox this isn't: put it beside with --account or --target; --account "
                f"{known.name} if the present owner shall have it"
            )
        opened = open_target(origin, backup.clock, backup.settings).mailbox(known.source_name)
        return Destination(known.source_name, known.item, opened, own)
    open_source(
        origin, backup.clock, backup.settings
    ).accounts()  # raises where it shows none: not mounted
    opened = open_target(origin, backup.clock, backup.settings).mailbox(name, make=True)
    return Destination(name, None, opened, own=name == account.source_name)
