"""`engine restore`: brings back a message, a folder or an account as it was at an instant."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import NamedTuple

from engine.backup import Backup
from engine.cli import output, restoring
from engine.cli.arguments import backup_path, brief, opened, time, zone
from engine.cli.operating import Work, operating
from engine.cli.parser import CommandParser
from engine.cli.progress import bars
from engine.connectors.targets import open_target
from engine.domain.errors import SourceUnavailable, UsageError
from engine.domain.model import item_id
from engine.domain.paths import FolderPath
from engine.journal.reader import Reader
from engine.query.accounts import Account
from engine.restore.destination import open_destination
from engine.restore.resolve import find, owners, shown
from engine.restore.safety import scan_first
from engine.restore.selection import Selection, Unreadable, changed_content, subtree
from engine.system.clock import SystemClock
from engine.system.mounts import LATEST, MountedItem, item_at

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


class _Wanted(NamedTuple):
    """A thing to be brought back, and of when."""

    text: str
    """As `find` takes it."""
    instant: int | None
    latest: bool
    """Whether the newest state is meant; where there is no instant either, that which what is
    deleted had last."""
    shown: MountedItem | None
    """Where a path under a mount says of when."""

    @property
    def dated(self) -> bool:
        """Whether it is told of when."""
        return self.latest or self.instant is not None


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
        help="restore there: maildir:/path of one mailbox, or a location as sources have it",
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
    with opened(path) as backup, backup.reader() as reader:
        whose = [(one, account) for one in wanted for account in owners(reader, one.text)]
        found = {account.item: account for _, account in whose}
        _question_target(args, backup, list(found.values()))
    living = [account for account in found.values() if account.deleted is None]
    where = args.to_original or args.into or args.account or args.target or args.contents
    if living and not where:
        raise UsageError(
            "where to? say --to-original, --into FOLDER, --account NAME or --target KIND:LOCATION"
        )
    newest = {account.item for one, account in whose if one.latest}
    undated = {account.item for one, account in whose if one.instant is None}
    if not args.contents:
        _question_latest(args, [account for account in living if account.item in newest])
    scans = [account for account in living if account.item in undated]
    if args.no_scan or args.contents:
        scans = []
    names = list(dict.fromkeys(account.name for account in found.values()))
    makes = not (args.dry_run or args.target or args.account) and len(living) < len(found)
    with (
        restoring.opened_to_scan(path, scan=bool(scans) or makes, dry_run=args.dry_run) as (
            backup,
            may,
        ),
        bars("comparing", quiet=args.json) as progress,
        operating(
            backup,
            "restore",
            accounts=names,
            recorded=not args.dry_run,
            progress=progress,
        ) as work,
    ):
        _scan_first(backup, work, scans if may else [])
        tasks = [_task(args, backup, one, into) for one in wanted]
        return restoring.run(args, backup, work, tasks)


def _instant(args: argparse.Namespace) -> int | None:
    """The time of --at; None for the last state, be it asked for or not. Raises UsageError."""
    if args.at == LATEST:
        return None
    instant = time("--at", args.at)
    if instant is not None and instant > SystemClock().now():
        raise UsageError(f"--at: {args.at} is in the future")
    return instant


def _resolve(args: argparse.Namespace) -> tuple[Path, list[_Wanted]]:
    """The backup path that is meant, and what is wanted of it, with IDs for paths under a mount.
    Raises UsageError."""
    path, given, wanted = backup_path(args), args.backup, []
    instant, latest = _instant(args), args.at == LATEST
    for text in args.what:
        found = item_at(text)
        if found is None:
            wanted.append(_Wanted(text, instant, latest, None))
            continue
        if given and os.path.realpath(given) != os.path.realpath(found.backup):
            raise UsageError(f"{text}: is of the backup {found.backup}, not of {given}")
        path, given = Path(found.backup), found.backup
        item = item_id(found.item)
        if args.at or found.time is None or (found.latest and found.partly):
            wanted.append(_Wanted(item, instant, latest, None))
        else:
            shows = None if found.latest else found.time
            wanted.append(_Wanted(item, shows, found.latest, found))
    return path, wanted


def _question_latest(args: argparse.Namespace, living: list[Account]) -> None:
    """Raises UsageError where the state of now is to be restored into the mailbox that has it."""
    for account in living:
        own = not args.target and args.account in (None, account.name, account.source_name)
        if own and not args.yes:
            raise UsageError(
                f"latest is the state of {account.name} that is to be repaired: give an instant "
                "before the damage, or add --yes if that is meant"
            )


def _question_target(args: argparse.Namespace, backup: Backup, accounts: list[Account]) -> None:
    """Raises UsageError for a target that can't be one, or that is one mailbox, where several
    accounts would come into it."""
    if not args.target:
        return
    target = open_target(args.target, backup.clock, backup.settings)
    names = {account.source_name for account in accounts}
    if target.single and len(names) > 1 and not args.account:
        raise UsageError(
            f"--target {args.target} is one mailbox, and these are {len(names)} accounts: restore "
            "one at a time, write {account} where its name belongs, or say with --account NAME "
            "that all are to come into one"
        )


def _scan_first(backup: Backup, work: Work, accounts: list[Account]) -> None:
    """Scans what is alive. That its source can't be reached is told; it may be just why the restore
    goes elsewhere."""
    for account in accounts:
        try:
            result = scan_first(backup, account, work.stop)
        except SourceUnavailable as error:
            output.complain(f"{account.name} can't be scanned first: {error}")
        else:
            for problem in result.tally.problems:
                output.complain(f"the scan before: {problem}")


def _task(
    args: argparse.Namespace, backup: Backup, wanted: _Wanted, into: FolderPath
) -> restoring.Task:
    text, instant = wanted.text, wanted.instant
    with backup.reader() as reader:
        newest = wanted.latest or (args.contents and not wanted.dated and _alive(reader, text))
        sequence = reader.last_sequence() if newest else None
        if instant is not None:
            sequence = reader.sequence_at(instant)
        if wanted.shown and sequence is not None:
            meant = shown(reader, wanted.shown.item, sequence, partly=wanted.shown.partly)
        else:
            meant = find(reader, text, sequence)
        account, item, at = meant
        scanned = reader.account_state(account.item).scanned
        selection = subtree(reader, account, item, at)
        if args.contents and not wanted.dated:
            _tell_of_others(reader, selection)
    if instant is not None and scanned < instant and account.deleted is None:
        output.complain(
            f"the last scan of {account.name} ended at {brief(scanned, zone())}: what changed "
            f"from then to {'the time of --at' if args.at else brief(instant, zone())} is not known"
        )
    opening = partial(
        open_destination, backup, account, other=args.account or "", target=args.target or ""
    )
    return restoring.Task(selection, opening, into, contents=args.contents)


def _alive(reader: Reader, text: str) -> bool:
    """Whether what is wanted is alive, and not only its account."""
    try:
        _, item, at = find(reader, text, reader.last_sequence())
    except UsageError:
        return False
    return reader.version(item, at) is not None


def _tell_of_others(reader: Reader, selection: Selection) -> None:
    """Adds to what is wrong that messages got another content lately, where nobody said as of when
    they are wanted: then what was recorded last may be just the damage."""
    count = 0
    first = 0
    for message in selection.messages:
        changed = changed_content(reader, message.item)
        if changed:
            count += 1
            first = min(first or changed, changed)
    if count:
        since = brief(reader.time_of(first), zone())
        what = (
            f"{output.counted(count, 'message')} got another content since they came, the first of "
            f"them at {since}: if that was the damage, say --at with a time before"
        )
        selection.unreadable.append(Unreadable((), what))
