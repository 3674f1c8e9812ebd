"""`engine undelete`: puts what was deleted back into the mailbox."""

from __future__ import annotations

import argparse

from engine.cli import restoring
from engine.cli.arguments import backup_path, time, zone
from engine.cli.parser import CommandParser
from engine.domain.errors import UsageError
from engine.domain.timestamps import brief
from engine.services.undelete import Undelete, undelete
from engine.system.clock import SystemClock

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
    now = SystemClock().now()
    if since >= now:
        raise UsageError(f"--since: {args.since} is in the future")
    if not into and not args.to_original:
        into = (f"Undeleted {brief(now, where)[:10]}",)
    end = "now" if until is None else brief(until, where)
    wanted = Undelete(
        account=args.account,
        since=since,
        until=until,
        folder=folder,
        into=into,
        scan=not args.no_scan,
        dry_run=args.dry_run,
    )
    head = f"what was deleted from {brief(since, where)} to {end}:"
    with restoring.calling_restore("undelete", args) as caller:
        done = undelete(path, caller, wanted, restoring.RestoreReport(args, head))
    return 0 if done.ok else 1
