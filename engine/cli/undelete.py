"""`engine undelete`: puts what was deleted back into the mailbox."""

from __future__ import annotations

import argparse
from functools import partial

from engine.backup import Backup
from engine.cli import output, restoring
from engine.cli.arguments import backup_path, brief, time, zone
from engine.cli.operating import Work, operating
from engine.cli.parser import CommandParser
from engine.cli.progress import bars
from engine.domain.errors import UsageError
from engine.query.accounts import Account, meant
from engine.restore.destination import open_destination
from engine.restore.safety import scan_first
from engine.restore.selection import deleted

DESCRIPTION = """\
Puts what was deleted from an account in a window of time back into its live mailbox, with flags and
dates. It only adds: nothing in the mailbox is changed, moved or removed.

It goes below a new folder, 'Undeleted ' and the day of today, in the folders that it was in; so the
user finds it in one place, and can move or delete it. --into names another folder, and
--to-original puts it back where it was.

What the mailbox still has, or has again, is skipped: with --to-original that is what is in the
folder it was deleted from, else what is in any folder. So a second run adds nothing, and one that
was interrupted is simply run again. Messages are compared by their content, to the last byte.

The account is scanned first, so that what was deleted a minute ago is known to be. A deletion has
the time at which it was recorded, as the mount's ranges show it: where only scans look, that may be
hours after it happened, and before the next scan it is not known at all. So leave --until out, or
say it generously.

A restored message is a new item for the next scan; the deleted one stays in the backup as it
was."""

EXAMPLES = """\
    engine undelete alice@example.com --since 2h-ago --dry-run
    engine undelete alice@example.com --since 2h-ago
    engine undelete alice@example.com --since 2024-05-01T08:00 --until 2024-05-01T10:00 \\
        --folder Work/Apollo --to-original
    engine undelete alice@example.com --since yesterday --json | jq '.accounts[].restored |
    length'"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "account", metavar="ACCOUNT", help="the account, as 'engine accounts' lists"
    )
    parser.add_argument(
        "--since", metavar="TIME", required=True, help="what was deleted after this time"
    )
    parser.add_argument(
        "--until",
        metavar="TIME",
        help="what was deleted at or before this time; default is now, with what the scan finds",
    )
    parser.add_argument(
        "--folder", metavar="FOLDER", help="only what was in this folder, or in one below it"
    )
    restoring.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    path, where = backup_path(args), zone()
    folder = restoring.folder_path("--folder", args.folder) if args.folder else ()
    into = restoring.folder_path("--into", args.into) if args.into else ()
    since, until = time("--since", args.since), time("--until", args.until)
    assert since is not None
    if until is not None and until <= since:
        raise UsageError("--until is not after --since: nothing can have been deleted in between")
    with (
        restoring.opened_to_scan(path, scan=not args.no_scan, dry_run=args.dry_run) as (
            backup,
            scan,
        ),
        bars("comparing", quiet=args.json) as progress,
        operating(
            backup,
            "undelete",
            accounts=[args.account],
            recorded=not args.dry_run,
            progress=progress,
        ) as work,
    ):
        now = backup.clock.now()
        if since >= now:
            raise UsageError(f"--since: {args.since} is in the future")
        if not into and not args.to_original:
            into = (f"Undeleted {brief(now, where)[:10]}",)
        account = _living(backup, args.account)
        if scan:
            _scan_first(backup, work, account, until)
            account = _living(backup, args.account)  # the name may have come to somebody else
        with backup.reader() as reader:
            last = reader.last_sequence() if until is None else reader.sequence_at(until)
            selection = deleted(reader, account, reader.sequence_at(since), last, folder)
        if not args.json:
            end = "now" if until is None else brief(until, where)
            output.line(f"{account.name}, what was deleted from {brief(since, where)} to {end}:")
        if into:
            selection.folders.clear()  # empty ones are of no use there
        task = restoring.Task(
            selection, partial(open_destination, backup, account), into, anywhere=bool(into)
        )
        return restoring.run(args, backup, work, [task])


def _living(backup: Backup, name: str) -> Account:
    """The account of that name. Raises UsageError."""
    with backup.reader() as reader:
        found = meant(reader, [name])
    for account in found:
        if account.deleted is None:
            return account
    raise UsageError(
        f"{name} is deleted as a whole: 'engine restore {name} --to-original' brings it back"
    )


def _scan_first(backup: Backup, work: Work, account: Account, until: int | None) -> None:
    """Scans the account. What the scan finds may have happened before the end of a window, and is
    recorded after it: then that is said."""
    with backup.reader() as reader:
        before = reader.account_state(account.item).scanned
    result = scan_first(backup, account, work.stop)
    for problem in result.tally.problems:
        output.complain(f"the scan before: {problem}")
    if until is not None and before < until < result.end and result.tally.deleted:
        output.complain(
            f"what was deleted since the last scan, at {brief(before, zone())}, has been recorded "
            "just now, after --until, and is left out: leave --until out to have it, too"
        )
