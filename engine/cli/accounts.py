"""`engine accounts`: the accounts that the backup knows."""

from __future__ import annotations

import argparse

from engine.accounts import Account, AccountFigures, accounts, figures
from engine.cli import output
from engine.cli.arguments import backup_path, brief, opened, when, zone
from engine.cli.parser import CommandParser
from engine.model import item_id

DESCRIPTION = """\
Lists the accounts that the backup knows, by name, with the number of their messages and folders and
the time of the last change. An account that is gone from its source stays in the backup: it is
listed with the time at which it was found to be gone, and with what it held then."""

EXAMPLES = """\
    engine accounts
    engine accounts --json | jq -r '.[] | select(.deleted) | .name'"""


def add_arguments(parser: CommandParser) -> None:
    """None but the common ones."""


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    with opened(backup_path(args)) as backup, backup.reader() as reader:
        found = [(account, figures(reader, account)) for account in accounts(reader)]
    if args.json:
        output.document([_row(account, counted) for account, counted in found])
        return 0
    where = zone()
    output.line(f"{'ID':8}{'ITEMS':>9}  {'LAST CHANGE':25}  ACCOUNT")
    for account, counted in found:
        deleted = f"  (deleted {brief(account.deleted, where)})" if account.deleted else ""
        output.line(
            f"{item_id(account.item):8}{counted.items:9,}  {brief(counted.changed, where):25}  "
            f"{account.name}{deleted}"
        )
    return 0


def _row(account: Account, counted: AccountFigures) -> dict[str, object]:
    where = zone()
    return {
        "name": account.name,
        "id": item_id(account.item),
        "items": counted.items,
        "changed": when(counted.changed, where),
        "scanned": when(counted.scanned, where),
        "deleted": when(account.deleted, where),
        "source": counted.origin,
        "source_name": account.source_name,
    }
