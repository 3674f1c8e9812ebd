"""`engine erase`: forgets a deleted message or account at once."""

from __future__ import annotations

import argparse
import sys

from engine.api import erase as api
from engine.cli import output
from engine.cli.arguments import backup_path, opened, zone
from engine.cli.calling import calling
from engine.cli.parser import CommandParser
from engine.domain.errors import Interrupted, UsageError
from engine.services.erase import erase, find
from engine.system.clock import SystemClock

DESCRIPTION = """\
Forgets a message, or an account with all it ever held, at once and for good, as a person's right to
be forgotten demands. It is gone from every view of the past, and its content is gone from the disk,
unless another message has the same.

Only what was deleted at its source can be erased, for the next scan would record it again: delete
it there, run 'engine scan', then erase it. What is on hold can't be erased.

The erasure is recorded in a ledger, without anything of what was erased: an import or a restore
from an older copy of the backup finds it there, and doesn't bring it back.

It goes from every file of the backup path: also from the free space of the journal, from the
journal's copies, which are made anew as one, from what repairs have put aside and an import has
left, both of which are removed, and from the lists of operations and notifications. What can't be
reached is named, and the exit status is 1. Outside of the backup path nothing is reached: copies of
it or of the journal that were made elsewhere, logs, and mail that told of it. A daemon that runs
may write a little of what it has in memory into free space of the journal once more, which the next
purge overwrites.

ITEM is an ID as 'engine search --deleted' prints it, ACCOUNT the name of a deleted account, or its
ID where several had that name."""

EXAMPLES = """\
    engine erase k3f9q2
    engine erase carol@example.com --yes"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("what", metavar="ITEM|ACCOUNT", help="what to forget")
    parser.add_argument("--yes", action="store_true", help="don't ask whether it is meant")


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    path = backup_path(args)
    with opened(path, write=True) as backup:
        item, name = find(backup, args.what)
        if not args.yes:
            _ask(name)
        with calling("erase") as caller:
            erased = erase(backup, caller, item)
    outcome = erased.outcome
    if args.json:
        output.document(api.document(item, erased, SystemClock().now(), zone()))
    else:
        for problem in outcome.problems:
            output.complain(problem)
        output.line(
            f"{name} is erased: {output.counted(outcome.removed.items, 'item')} with "
            f"{output.counted(outcome.removed.versions, 'version')}, "
            f"{output.counted(outcome.blobs, 'blob')}"
        )
        if erased.shared:
            output.line(
                "Its content stays, for other messages have the same: "
                "'engine search' finds them by subject or sender"
            )
        if outcome.shrunk.busy:
            output.line(
                "Its content is in a pack that is being written to: "
                "run 'engine purge' when no scan runs"
            )
    return 1 if outcome.problems else 0


def _ask(name: str) -> None:
    """Makes sure that it is meant. Raises UsageError where nobody can answer."""
    if not sys.stdin.isatty():
        raise UsageError("this can't be undone: say --yes if it is meant")
    print(f"engine: erase {output.shown(name)} for good? [y/N] ", end="", file=sys.stderr)
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Interrupted("nothing was erased")
