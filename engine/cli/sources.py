"""`engine sources`: lists the sources, asks what they can do, and forgets former ones."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from engine.api import sources as api
from engine.cli import output
from engine.cli.arguments import backup_path, opened, zone
from engine.cli.calling import calling
from engine.cli.parser import CommandParser
from engine.domain.errors import Interrupted, SourceUnavailable, UsageError
from engine.domain.timestamps import brief
from engine.services.sources import SourceRow, forget, forgettable, listed

DESCRIPTION = """\
Lists the sources: where they are, how many accounts of them the backup has, and when one was last
scanned. Passwords are never shown. With --probe each is asked whether it can be reached, how many
accounts it has now, and what it can do. What was taken out of the settings and still has accounts
in the backup is listed as removed.

A source that was removed, or is down, deletes nothing. 'forget NAME' says that a removed one is
gone for good: its accounts are recorded as deleted now, and stay for as long as
retention.accounts_days says."""

EXAMPLES = """\
    engine sources --probe
    engine sources forget old --dry-run"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.usage = "engine sources [-b PATH] [--json] [--probe | forget NAME [--dry-run]]"
    parser.add_argument("action", nargs="?", metavar="forget", help="forget a removed source")
    parser.add_argument("name", nargs="?", metavar="NAME", help="its name")
    parser.add_argument("--probe", action="store_true", help="ask each what it is and can do")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be forgotten, and record nothing"
    )
    parser.add_argument("--yes", action="store_true", help="don't ask whether it is meant")


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    match (args.action, args.name):
        case (None, None):
            return _list(args)
        case ("forget", str(name)) if not args.probe:
            return _forget(args, name)
    raise UsageError("write 'sources', 'sources --probe' or 'sources forget NAME'")


def _list(args: argparse.Namespace) -> int:
    with opened(backup_path(args)) as backup, calling("sources") as caller:
        rows = listed(backup, caller, probe=args.probe)
    if args.json:
        output.document([api.document(row, zone()) for row in rows])
    else:
        for row in rows:
            _print(row)
    failed = [row for row in rows if row.probe and row.probe.error]
    if not failed:
        return 0
    for row in failed:
        assert row.probe
        output.complain(f"{row.name}: {row.probe.error}")
    return SourceUnavailable.status


def _print(row: SourceRow) -> None:
    place = f"{row.kind}:{row.location}" if row.configured else "removed from the settings"
    scanned = f"last scanned {brief(row.scanned, zone())}" if row.scanned else "never scanned"
    accounts = output.counted(row.accounts, "account")
    output.line(f"{row.name}  {place}")
    output.line(f"    {accounts} in the backup, {scanned}")
    if not row.configured:
        output.line(f"    'engine sources forget {row.name}' if it is gone for good")
    if row.probe and not row.probe.error:
        output.line(f"    reachable, with {output.counted(row.probe.accounts or 0, 'account')}")
        for line in _abilities(row.probe.abilities):
            output.line(f"    {line}")
    elif row.probe:
        output.line("    can't be reached")


def _abilities(abilities: Mapping[str, object]) -> list[str]:
    words = {True: "yes", False: "no"}
    return [
        f"{name}: {words[value] if isinstance(value, bool) else value}"
        for name, value in abilities.items()
    ]


def _forget(args: argparse.Namespace, name: str) -> int:
    with opened(backup_path(args), write=not args.dry_run) as backup:
        names = forgettable(backup, name)
        if not args.dry_run:
            if not args.yes:
                _ask(name, len(names))
            with calling("sources") as caller:
                names = forget(backup, caller, name)
    if args.json:
        output.document(api.forgotten(name, names, dry_run=args.dry_run))
        return 0
    for account in names:
        output.line(account)
    count = output.counted(len(names), "account")
    if args.dry_run:
        output.line(f"Nothing was recorded. {count} would be recorded as deleted")
    else:
        output.line(f"{name} is forgotten: {count} recorded as deleted now")
    return 0


def _ask(name: str, accounts: int) -> None:
    """Makes sure that it is meant. Raises UsageError where nobody can answer."""
    if not sys.stdin.isatty():
        raise UsageError("a purge will remove these accounts later: say --yes if it is meant")
    count = output.counted(accounts, "account")
    print(
        f"engine: forget {output.shown(name)}, and with it {count}? [y/N] ", end="", file=sys.stderr
    )
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Interrupted("nothing was forgotten")
