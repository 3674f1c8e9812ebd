"""`engine scan`: the smart scan."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from engine.backup import Backup
from engine.cli import output
from engine.cli.arguments import backup_path, opened, zone
from engine.cli.calling import calling, failures_told
from engine.cli.parser import CommandParser
from engine.connectors.sources import configured
from engine.domain.errors import UsageError
from engine.domain.timestamps import format_listed, listed_second
from engine.scan.smart import Result, ScanOptions, SourcesMissing
from engine.services.scan import scan
from engine.system.clock import SystemClock

DESCRIPTION = """\
Compares the accounts that changed since the last scan with what is recorded of them, and records
what is new, changed or gone. The first scan reads everything; later ones list only the folders that
changed, and read only new messages, and those that were written to since: in the folders that
changed and, in turn, in some of the others. A mounted backup shows the result at once.

Scans may be run as often as one likes, and several at the same time. One that is interrupted, or
killed, leaves nothing half done: the next one goes on from there.

A message or an account that can't be read is named, and the rest is backed up (status 1). A source
that can't be reached, or that suddenly shows none of what it had, is refused (status 4): it is more
likely not mounted than emptied, and nothing is recorded as deleted. Where there are several
sources, the others are scanned nevertheless.

An account is known by its mailbox, not by its name: one that was renamed keeps its history, and
where somebody else has got a name, he is a new account and the former one is recorded as deleted.
Where most accounts of a source, five at least, have another mailbox all at once, the scan is
refused (status 4) until --accept-rebuilt says that they are the same.

A clock that can't be right is refused, too (status 3), for what is recorded by it could not be
followed by anything until its time has come: one that is far behind what was recorded last, or one
that is 40 days past it while the kernel says that nothing keeps it right."""

EXAMPLES = """\
    engine scan
    engine scan --account alice@example.com
    engine scan --dry-run
    engine scan --json | jq .created

Every ten minutes by cron, which mails what is wrong: a line in /etc/cron.d/timefs. Its PATH is
short, so it wants the full path of the command:

    */10 * * * *  root  {engine} scan >/dev/null"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "--account",
        action="append",
        metavar="NAME",
        help="scan just this account; may be given several times",
    )
    parser.add_argument(
        "--source",
        action="append",
        metavar="NAME",
        help="only what this source has; may be given several times",
    )
    parser.add_argument(
        "--deep",
        action="store_true",
        help="read every message again and compare it, not only what looks changed",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what would be recorded, and record nothing",
    )
    parser.add_argument(
        "--accept-empty",
        action="store_true",
        help="believe a source that suddenly shows nothing: record all of it as deleted",
    )
    parser.add_argument(
        "--accept-clock",
        action="store_true",
        help="believe this machine's clock, though nothing keeps it right and it is more than "
        "40 days past all that was recorded",
    )
    parser.add_argument(
        "--accept-rebuilt",
        action="store_true",
        help="a mail server was made anew: same names are the same accounts, whatever their "
        "mailboxes are known by now",
    )


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    path = backup_path(args)
    options = ScanOptions(
        accounts=tuple(dict.fromkeys(args.account or ())),
        sources=tuple(args.source or ()),
        deep=args.deep,
        dry_run=args.dry_run,
        accept_empty=args.accept_empty,
        accept_rebuilt=args.accept_rebuilt,
    )
    began = time.monotonic()
    try:
        with (
            failures_told(path, "scan", quiet=options.dry_run),
            opened(
                path, write=not options.dry_run, clock=SystemClock(trusted=args.accept_clock)
            ) as backup,
            calling("scan", until=None if args.json else "looking for accounts") as caller,
        ):
            _require_sources(backup, options.sources)
            result = scan(backup, caller, options)
    except SourcesMissing as error:
        if args.json:
            _document(error.result, options, time.monotonic() - began, view=None)
        for problem in error.result.tally.problems:
            output.complain(str(problem))
        raise
    seconds = time.monotonic() - began
    if args.json:
        _document(result, options, seconds, view=_view(result, options))
    else:
        _print(result, options, seconds)
    return 1 if result.tally.problems else 0


def _require_sources(backup: Backup, names: Sequence[str]) -> None:
    """Raises UsageError for a source that the settings don't have."""
    known = [table.name for table in configured(backup.settings)] if names else []
    for name in names:
        if name not in known:
            raise UsageError(f"there is no source {name}; there are {', '.join(known)}")


def _view(result: Result, options: ScanOptions) -> str | None:
    """The name under which the mount lists the state after this scan."""
    if options.dry_run or options.accounts or options.sources:
        return None
    return format_listed(listed_second(result.end), zone())


def _document(result: Result, options: ScanOptions, seconds: float, *, view: str | None) -> None:
    from engine.api import scan as api  # most scans are asked for no document

    output.document(api.document(result, seconds, zone(), dry_run=options.dry_run, view=view))


def _print(result: Result, options: ScanOptions, seconds: float) -> None:
    for name, event, former in result.account_events:
        output.line(f"{event:8}  {f'{former} -> ' if former else ''}{name}")
    for problem in result.tally.problems:
        output.complain(str(problem))
    for note in result.tally.notes:
        output.line(f"note: {note}")
    tally = result.tally
    counts = (
        f"{output.counted(result.accounts, 'account')}: {tally.created:,} created, "
        f"{tally.changed:,} changed, {tally.deleted:,} deleted, "
        f"{output.counted(len(tally.problems), 'problem')}, in {seconds:.1f} s"
    )
    output.line(f"Nothing was recorded. {counts}" if options.dry_run else counts)
    view = _view(result, options)
    if view:
        output.line(f"The mount shows it as {view}")
