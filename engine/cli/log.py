"""`engine log`: the transactions in order."""

from __future__ import annotations

import argparse
from collections.abc import Container
from datetime import tzinfo

from engine.api import log as api
from engine.cli import output
from engine.cli.arguments import backup_path, opened, time, zone
from engine.cli.parser import CommandParser
from engine.domain.model import item_id
from engine.domain.timestamps import when
from engine.query.damage import KnownDamage
from engine.query.history import LoggedChange, log

DESCRIPTION = """\
Lists the transactions, the oldest first: every change of an item that scans have recorded, with the
time at which it was recorded, which is never before it happened. What a transaction does is one of

    create    a new item
    change    other flags, or other metadata
    content   other content
    move      another folder or another name; shown with both
    delete    gone from the source
    return    a deleted item is there again

Where a check found that the item's content can't be read, and it still can't, that is marked.

Both --since and --until include the time that is given."""

EXAMPLES = """\
    engine log --since yesterday
    engine log --account alice@example.com --since 2024-05-01T08:00 --until 2024-05-01T10:00
    engine log --json | jq '.[] | select(.action == "delete")'"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "--account",
        action="append",
        metavar="NAME",
        help="only of this account; may be given several times",
    )
    parser.add_argument("--since", metavar="TIME", help="recorded at that time or later")
    parser.add_argument("--until", metavar="TIME", help="recorded at that time or earlier")


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    since, until = time("--since", args.since), time("--until", args.until)
    where = zone()
    with opened(backup_path(args)) as backup:
        lost = KnownDamage(backup)
        rows = log(backup, accounts=args.account or (), since=since, until=until)
        if args.json:
            output.array(api.document(row, where, lost) for row in rows)
        else:
            for row in rows:
                show(row, where, lost)
    return 0


def show(row: LoggedChange, where: tzinfo, lost: Container[bytes]) -> None:
    """Prints a transaction in a line."""
    place = _place(row.folder, row.name)
    former = _place(row.former_folder, row.former_name)
    moved = f"{former} -> " if former != place else ""
    account = "" if row.kind == "account" else f"{row.account}: "
    output.line(
        f"{row.sequence:8}  {when(row.time, where)}  {row.action:7}  {item_id(row.item)}  "
        f"{account}{moved}{place}{' (damaged)' if row.digest in lost else ''}"
    )


def _place(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
