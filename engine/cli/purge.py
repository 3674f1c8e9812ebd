"""`engine purge`: removes what is past its retention."""

from __future__ import annotations

import argparse
import time

from engine.api import purge as api
from engine.backup import Backup
from engine.cli import output
from engine.cli.arguments import backup_path, opened, zone
from engine.cli.calling import calling, failures_told
from engine.cli.parser import CommandParser
from engine.domain.timestamps import brief
from engine.purge import DueItems, find_due
from engine.purge import PurgeOutcome as Purged
from engine.services.purge import purge
from engine.system.clock import SystemClock

DESCRIPTION = """\
Removes what was deleted longer ago than the retention says, for good: messages and folders after
'retention.data_days', deleted accounts with all they held after 'retention.accounts_days' (30 days
each; 0 is for ever, and if both are 0 this does nothing). What counts is when the backup found that
something was deleted, never a date in a message.

What is alive is left alone, with its whole history; so is what came back after it was deleted. What
a deleted account held goes with the account, not before it. Accounts on hold lose nothing (see
'engine hold'); and of one whose name has come to somebody else the retention begins once that has
been acknowledged (see 'engine accounts').

A message that was removed is gone from every view of the past, and its content is gone from the
disk, unless another message has the same. A folder goes once nothing that stays was ever in it.
With what is removed go the copies of the journal, of which a new one is made, and what repairs have
put aside. Lists of operations and notifications may name it until they end by themselves.

Scans and mounts may go on meanwhile, and a file that is open can be read to its end. A purge may be
killed at any time: the next one goes on. Some free space is needed while packs are written anew,
about 128 MiB. A pack that is being written to is left for the next purge."""

EXAMPLES = """\
    engine purge --dry-run
    engine purge
    engine config set retention.data_days 90"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "--dry-run", action="store_true", help="only tell what would be removed, and change nothing"
    )
    parser.add_argument(
        "--accept-clock",
        action="store_true",
        help="believe this machine's clock, though nothing keeps it right and it is more than "
        "40 days past all that was recorded",
    )


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    path = backup_path(args)
    began = time.monotonic()
    if args.dry_run:
        with opened(path) as backup:
            _foretell(backup, as_json=args.json)
        return 0
    clock = SystemClock(trusted=args.accept_clock)
    with failures_told(path, "purge"), opened(path, write=True, clock=clock) as backup:
        with calling("purge") as caller:
            outcome = purge(backup, caller)
        with backup.reader() as reader:
            since = reader.complete_since()
        forever = not (
            backup.settings.retention_data_days or backup.settings.retention_accounts_days
        )
    seconds = time.monotonic() - began
    if args.json:
        output.document(api.document(outcome, since, seconds, zone()))
    else:
        _print(outcome, since, seconds, forever=forever)
    return 1 if outcome.problems else 0


def _foretell(backup: Backup, *, as_json: bool) -> None:
    """The dry run."""
    due = find_due(backup, backup.clock.now())
    messages = sum(map(len, due.messages.values()))
    if as_json:
        output.document(api.foretold(due, _names(backup, due)))
        return
    for name in _names(backup, due):
        output.line(f"account   {name}, with all it held")
    output.line(
        f"Nothing was removed. Due: {output.counted(messages, 'message')}, "
        f"{output.counted(len(due.folders), 'folder')}, "
        f"{output.counted(len(due.accounts), 'account')}; {due.held:,} kept by holds"
    )
    _tell_awaiting(due.awaiting)


def _tell_awaiting(count: int) -> None:
    if count:
        output.line(
            f"{output.counted(count, 'account')} kept until 'engine accounts acknowledge': others "
            "have the names"
        )


def _names(backup: Backup, due: DueItems) -> list[str]:
    with backup.reader() as reader:
        return [
            reader.path(account, due.accounts_until)[0].version.name for account in due.accounts
        ]


def _print(outcome: Purged, since: int | None, seconds: float, *, forever: bool) -> None:
    for problem in outcome.problems:
        output.complain(problem)
    removed, shrunk = outcome.removed, outcome.shrunk
    if forever and not (removed.items or outcome.blobs or shrunk.packs):
        output.line("Nothing to do: everything is kept for ever.")
        return
    output.line(
        f"{output.counted(removed.items, 'item')} removed with "
        f"{output.counted(removed.versions, 'version')}, {output.counted(outcome.blobs, 'blob')}; "
        f"{output.counted(shrunk.packs, 'pack')} written anew: {output.size(shrunk.before)} are "
        f"{output.size(shrunk.after)} now, in {seconds:.1f} s"
    )
    if outcome.held:
        output.line(f"{output.counted(outcome.held, 'item')} kept by holds")
    _tell_awaiting(outcome.awaiting)
    if shrunk.busy:
        output.line(
            f"{output.counted(shrunk.busy, 'pack')} being written to: left for the next purge"
        )
    if since is not None:
        output.line(f"history is complete since {brief(since, zone())}")
