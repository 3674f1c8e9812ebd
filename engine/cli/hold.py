"""`engine hold`: accounts of which nothing may be removed."""

from __future__ import annotations

import argparse

from engine.api import hold as api
from engine.cli import output
from engine.cli.arguments import backup_path, opened, zone
from engine.cli.parser import CommandParser
from engine.domain.errors import UsageError
from engine.domain.model import item_id
from engine.domain.timestamps import brief
from engine.purge import HeldAccount, hold, holds, release

DESCRIPTION = """\
Puts accounts on hold, as courts and auditors may ask for: as long as a hold lasts, no purge and no
erasure takes anything of the account, be it alive or deleted. A hold is on the account itself: it
outlasts a change of the name, and the account's deletion. It ends only with 'engine hold remove'.

    engine hold add ACCOUNT...     puts these on hold
    engine hold remove ACCOUNT...  ends their holds
    engine hold list               lists all holds

Where a deleted account has the same name as a living one, both are meant."""

EXAMPLES = """\
    engine hold add alice@example.com --reason 'case 4711'
    engine hold list
    engine hold remove alice@example.com"""

_DEEDS = ("add", "remove", "list")


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("deed", metavar="add|remove|list", help="what to do")
    parser.add_argument("account", metavar="ACCOUNT", nargs="*", help="an account's name")
    parser.add_argument("--reason", metavar="TEXT", default="", help="why; kept with the hold")


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    if args.deed not in _DEEDS:
        raise UsageError(f"hold: {args.deed!r} is none of {', '.join(_DEEDS)}")
    if bool(args.account) != (args.deed != "list"):
        raise UsageError(
            "hold list takes no accounts" if args.account else f"hold {args.deed}: which account?"
        )
    if args.reason and args.deed != "add":
        raise UsageError("--reason goes with 'hold add'")
    with opened(backup_path(args), write=args.deed != "list") as backup:
        if args.deed == "add":
            found = hold(backup, args.account, args.reason)
        elif args.deed == "remove":
            found = release(backup, args.account)
        else:
            with backup.reader() as reader:
                found = holds(reader)
    if args.json:
        output.document([api.document(held, zone()) for held in found])
        return 0
    for held in found:
        output.line(_line(held, args.deed))
    if not found:
        output.line("No account is on hold.")
    return 0


def _line(held: HeldAccount, deed: str) -> str:
    name = f"{held.account.name} ({item_id(held.account.item)})"
    if deed == "remove":
        return f"{name} is no longer on hold"
    deleted = ", deleted" if held.account.deleted else ""
    reason = f": {held.hold.reason}" if held.hold.reason else ""
    return f"{name}{deleted} is on hold since {brief(held.hold.time, zone())}{reason}"
