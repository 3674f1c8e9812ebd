"""`engine accounts`: the accounts that the backup knows."""

from __future__ import annotations

import argparse

from engine.api import accounts as api
from engine.cli import output
from engine.cli.arguments import backup_path, opened, zone
from engine.cli.parser import CommandParser
from engine.domain.errors import UsageError
from engine.domain.model import item_id
from engine.domain.timestamps import brief
from engine.query.accounts import (
    Account,
    AccountFigures,
    NameHolder,
    accounts,
    figures,
    owners_of_names,
)
from engine.services.accounts import acknowledge
from engine.services.caller import Caller

DESCRIPTION = """\
Lists the accounts that the backup knows, by name, with the number of their messages and folders and
the time of the last change. An account that is gone from its source stays in the backup: it is
listed with the time at which it was found to be gone, and with what it held then.

A name that has had several owners is shown with the others: those that had it before, by ID. By its
name an account is meant that has it now; the others are by ID. What a former owner had is kept
until 'acknowledge', with the name or the ID, says that this is as it should be: from then on the
retention of deleted accounts counts. Where a mailbox was only made anew, don't: see 'engine
scan --accept-rebuilt'."""

EXAMPLES = """\
    engine accounts
    engine accounts acknowledge alice@example.com
    engine accounts --json | jq -r '.[] | select(.deleted) | .account'"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.usage = "engine accounts [-b PATH] [--json] [list | acknowledge NAME|ID...]"
    parser.add_argument("deed", nargs="?", metavar="list|acknowledge", help="what to do")
    parser.add_argument("account", nargs="*", metavar="NAME|ID", help="whose name another one has")


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    if args.deed not in (None, "list", "acknowledge"):
        raise UsageError("write 'accounts', 'accounts list' or 'accounts acknowledge NAME'")
    if args.account and args.deed != "acknowledge":
        raise UsageError("accounts list takes no names")
    if args.deed == "acknowledge" and not args.account:
        raise UsageError("accounts acknowledge: which account?")
    return _acknowledge(args) if args.deed == "acknowledge" else _list(args)


def _acknowledge(args: argparse.Namespace) -> int:
    with opened(backup_path(args), write=True) as backup:
        done = acknowledge(backup, Caller(warn=output.complain), args.account)
        days = backup.settings.retention_accounts_days
    if args.json:
        output.document([api.acknowledged(one) for one in done])
        return 0
    until = f"{output.counted(days, 'day')} from now" if days else "for ever"
    for one in done:
        output.line(f"{one.name} ({item_id(one.item)}) is acknowledged: kept {until}")
    if not done:
        output.line("That was acknowledged already.")
    return 0


def _list(args: argparse.Namespace) -> int:
    with opened(backup_path(args)) as backup, backup.reader() as reader:
        found = [(account, figures(reader, account)) for account in accounts(reader)]
        owners = owners_of_names(reader)
    if args.json:
        where = zone()
        output.document(
            [
                api.document(account, counted, owners[account.source_name], where)
                for account, counted in found
            ]
        )
        return 0
    where = zone()
    output.line(f"{'ID':8}{'ITEMS':>9}  {'LAST CHANGE':25}  ACCOUNT")
    for account, counted in found:
        output.line(
            f"{item_id(account.item):8}{counted.items:9,}  {brief(counted.changed, where):25}  "
            f"{account.name}{_remark(account, counted, owners)}"
        )
    return 0


def _remark(account: Account, counted: AccountFigures, owners: dict[str, list[NameHolder]]) -> str:
    """What else there is to say of an account, behind its name."""
    where = zone()
    if account.deleted:
        deleted = f"deleted {brief(account.deleted, where)}"
        if counted.succeeded:
            deleted += "; another one has its name"
            deleted += "" if counted.acknowledged else ": 'engine accounts acknowledge'"
        return f"  ({deleted})"
    before = [owner for owner in owners[account.source_name] if owner.item != account.item]
    if not before:
        return ""
    told = ", ".join(f"{item_id(o.item)} until {brief(o.until, where)}" for o in before if o.until)
    return f"  (the name was before that of {told})"
