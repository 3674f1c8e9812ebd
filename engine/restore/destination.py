"""Which mailbox a restore writes to: the account's own, another account's, or one somewhere
else."""

from __future__ import annotations

from typing import NamedTuple

from engine.backup import Backup
from engine.connectors.lazy import UnmadeMailbox
from engine.connectors.source import interrupts
from engine.connectors.sources import configured, open_source
from engine.connectors.target import TargetMailbox
from engine.connectors.targets import open_target
from engine.domain.errors import SourceUnavailable, UsageError
from engine.domain.model import item_id
from engine.journal.keys import MAX_SEQUENCE
from engine.query.accounts import Account, accounts
from engine.scan.known import known_account
from engine.scan.lifecycle import note_made
from engine.scan.recognition import KnownAccount, recognised
from engine.settings.sources import SourceTable, table_filling
from engine.system.stop import Stop


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
    backup: Backup,
    account: Account,
    stop: Stop | None = None,
    *,
    other: str = "",
    target: str = "",
) -> Destination:
    """The mailbox for what was in `account`: with `other`, that of this account; with `target`, a
    `KIND:LOCATION`, one there, which is made if it is missing. Else it is at the source that the
    account comes from, and is made only where the backup has no such account alive: one that is
    missing though it should be there is more likely not mounted.

    `stop` ends what is waited for.

    Raises SourceUnavailable where it can't be opened, or is another mailbox than the account had at
    the last scan, UsageError where there is no such place, or where the account's name is another's
    by now; both unless that one is `other`.
    """
    name = other or account.source_name
    stop = stop or Stop()
    if target:
        return Destination(name, None, _opened(backup, target, name, stop, make=True))
    with backup.reader() as reader:
        alive = [a for a in accounts(reader) if a.deleted is None]
        alive.sort(key=lambda living: living.source_name != name)
        known = next((a for a in alive if name in (a.source_name, a.name)), None)
        recorded = reader.recorded((known or account).item, MAX_SEQUENCE)
        assert recorded is not None
        owner = known_account(reader, recorded)
    table = table_filling(configured(backup.settings), owner.origin)
    if table is None:
        raise UsageError(
            f"{name}: {owner.origin or 'its source'} is not among the sources any more: "
            "say where to restore to with --target KIND:LOCATION"
        )
    own = not known or known.item == account.item
    if known and not own and not other:
        raise UsageError(
            f"the name {known.name} belongs to another account now ({item_id(known.item)}), "
            f"whose mailbox this isn't: put it beside with --account or --target; --account "
            f"{known.name} if the present owner shall have it"
        )
    if not known:  # raises where it shows none: not mounted
        source = open_source(table, backup.clock, backup.settings)
        with stop.reaching(interrupts([source])):
            source.accounts()
    if known:
        name = known.source_name
    opened = _opened(backup, table, name, stop, make=not known)
    own = own and name == account.source_name
    if not other:
        with stop.reaching(interrupts([opened])):
            _refuse_another(opened, owner)
    if not known and own and isinstance(opened, UnmadeMailbox):
        opened.when_made(lambda mailbox: note_made(backup, owner.item, mailbox.identity()))
    return Destination(name, known and known.item, opened, own)


def _refuse_another(mailbox: TargetMailbox, account: KnownAccount) -> None:
    """Closes a mailbox, and raises SourceUnavailable, where it isn't the one that the account
    had, nor one that was made for it."""
    if isinstance(mailbox, UnmadeMailbox):
        return
    try:
        found = mailbox.identity()
    except BaseException:
        mailbox.close()
        raise
    if recognised(account, found) or set(found.marks) & set(account.made):
        return
    mailbox.close()
    raise SourceUnavailable(
        f"{mailbox.where}: isn't the mailbox that {account.name} had at the last scan, and may be "
        "somebody else's: 'engine scan' tells; to restore into it all the same, say --account"
    )


def _opened(
    backup: Backup, place: str | SourceTable, name: str, stop: Stop, *, make: bool = False
) -> TargetMailbox:
    target = open_target(place, backup.clock, backup.settings)
    with stop.reaching(interrupts([target])):
        return target.mailbox(name, make=make)
