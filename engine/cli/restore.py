"""`engine restore`: brings back a message, a folder or an account as it was at an instant."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from engine.cli import restoring
from engine.cli.arguments import backup_path, time
from engine.cli.parser import CommandParser
from engine.domain.errors import UsageError
from engine.domain.model import item_id
from engine.services.restore import Restore, WantedItem, restore
from engine.system.clock import SystemClock
from engine.system.mounts import LATEST, item_at

DESCRIPTION = """\
Brings back messages with flags and dates, folders, and accounts as they were at an instant. It only
adds: nothing at the destination is changed, moved or removed, unless --contents says so. A copy out
of a mount has no flags; this has.

WHAT is an account, a folder of one (ACCOUNT/FOLDER, with what is below it), or the ID of an item,
such as search and log print it; or the path of any of these under a mounted backup,
as it is shown there.

It goes to the mailbox that it comes from: with --to-original into the folders that it was in, with
--into below a folder of another name. --account puts it into another account, and --target
anywhere else: into a Maildir on disk, or another server; then folders keep their names unless
--into says otherwise. What was deleted as a whole account goes where it was if nothing else is
said, unless its name belongs to another account by now. Among Maildirs the mailbox of an account
that is deleted, or never was, is made; let the mail server know of the account yourself. Of its
settings the subscriptions are restored; filters and rights are told by 'engine show', with the
account's ID.

Another server than the sources' gets none of the settings imap.*: those that it needs stand behind
a question mark in its location. An IMAP server gets messages without the flags that it refuses,
and nothing that is compressed or encrypted as another server kept it (see restore.unpack).

A path under a mount is wanted as it is shown there; of what a range shows as it is at its end, or
was last. Else of what is deleted, an account or a message, the last state is meant where no --at is
given. Of what is alive an instant must be given; and 'latest' only with --yes where it is to repair
the mailbox that it comes from, for latest is what needs the repair.

A message is skipped where the folder that it is to come to has it: the same content, to the last
byte, as it is there now. So a second run adds nothing, and one that was interrupted is simply run
again. What can't be read or written is named, and the rest is restored (status 1).

After ransomware, or a disk that lost files, --contents puts messages back that are missing, or that
contain something else, under the names that they had: so the mail server knows them as it did. The
damaged files are kept in the mailbox, in timefs-damaged, which servers don't show; remove them once
all is well. Without --at the last state that was recorded is meant; the account isn't scanned
first. Over IMAP messages can't be replaced: good copies are added.

Where the last state counts, the account is scanned first. Restored messages are new items for the
next scan; in the backup nothing changes."""

EXAMPLES = """\
    engine restore k3f9q2 --to-original
    engine restore alice@example.com/Work --at 2024-05-01T10:00 --into 'Work as of May'
    engine restore alice@example.com --at yesterday --to-original --dry-run
    engine restore alice@example.com --contents --at 2024-05-01T10:00
    engine restore bob@example.com
    engine restore bob@example.com --account bob-restored@example.com
    engine restore bob@example.com --at 2024-05-01 --target maildir:/tmp/bob
    engine restore bob@example.com --at yesterday --account bob2 \\
        --target 'imaps:new.example.com?login=root&password_file=/root/new'
    engine restore /mnt/backup-at/2d-ago/alice@example.com/Sent --to-original"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "what", metavar="WHAT", nargs="+", help="ACCOUNT, ACCOUNT/FOLDER, an ID, or a mounted path"
    )
    parser.add_argument("--at", metavar="TIME", help="the instant, or 'latest'")
    parser.add_argument("--account", metavar="NAME", help="restore into this account")
    parser.add_argument(
        "--target",
        metavar="KIND:LOCATION",
        help="restore there: maildir:/path of one mailbox, a location as sources have "
        "it, or a source's name",
    )
    restoring.add_arguments(parser)
    parser.add_argument(
        "--contents",
        action="store_true",
        help="put missing and damaged messages back under their own names",
    )
    parser.add_argument(
        "--yes", action="store_true", help="with '--at latest': that is really what is meant"
    )


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    if args.contents and (args.into or args.account or args.target):
        raise UsageError(
            "--contents puts messages back where they were: not with --into, --account or --target"
        )
    into = restoring.folder_path("--into", args.into) if args.into else ()
    path, wanted = _resolve(args)
    asked = Restore(
        wanted=wanted,
        to_original=args.to_original,
        into=into,
        account=args.account or "",
        target=args.target or "",
        contents=args.contents,
        scan=not args.no_scan,
        confirmed=args.yes,
        dry_run=args.dry_run,
    )
    with restoring.calling_restore("restore", args) as caller:
        done = restore(path, caller, asked, restoring.RestoreReport(args))
    return 0 if done.ok else 1


def _instant(args: argparse.Namespace) -> int | None:
    """The time of --at; None for the last state, be it asked for or not. Raises UsageError."""
    if args.at == LATEST:
        return None
    instant = time("--at", args.at)
    if instant is not None and instant > SystemClock().now():
        raise UsageError(f"--at: {args.at} is in the future")
    return instant


def _resolve(args: argparse.Namespace) -> tuple[Path, list[WantedItem]]:
    """The backup path that is meant, and what is wanted of it, with IDs for paths under a mount.
    Raises UsageError."""
    path, given, wanted = backup_path(args), args.backup, []
    instant, latest = _instant(args), args.at == LATEST
    for text in args.what:
        found = item_at(text)
        if found is None:
            wanted.append(WantedItem(text, instant, latest, None))
            continue
        if given and os.path.realpath(given) != os.path.realpath(found.backup):
            raise UsageError(f"{text}: is of the backup {found.backup}, not of {given}")
        path, given = Path(found.backup), found.backup
        item = item_id(found.item)
        if args.at or found.time is None or (found.latest and found.partly):
            wanted.append(WantedItem(item, instant, latest, None))
        else:
            shows = None if found.latest else found.time
            wanted.append(WantedItem(item, shows, found.latest, found))
    return path, wanted
