"""`engine show`: an item's whole journal, or its content."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from engine.api import show as api
from engine.backup import Backup
from engine.cli import output
from engine.cli.arguments import backup_path, opened, time, zone
from engine.cli.parser import CommandParser
from engine.domain.errors import EngineError, UsageError
from engine.domain.model import Kind, item_id, parse_item_id
from engine.query.damage import is_damaged
from engine.query.history import VersionSpan, spells, word
from engine.system.mounts import item_at

DESCRIPTION = """\
Shows the whole life of one item, a message, a folder or an account, as a JSON array of its
versions, the oldest first, each with the time from which ('start') to which ('end', null while it
holds) it was so. 'deleted' is that end where it was a deletion, 'damaged' whether the content
can't be read.

ITEM is an ID, such as search and log print it and as messages have it at the end of their file
names ('..._k3f9q2.eml'), or a path under a mounted backup, which then need not be named with -b.
Where something in the current directory, under a mount, has an ID for its name, that is meant.

With --blob the content is written to standard output, byte for byte as the source had it: that of
the version at --at, else the one that the mount shows at the path, else the last one."""

EXAMPLES = """\
    engine show k3f9q2
    engine show /mnt/backup-at/latest/alice@example.com/INBOX/2024-*_k3f9q2.eml
    engine show k3f9q2 --at 2024-05-01 | jq '.[].flags'
    engine show k3f9q2 --blob >message.eml"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("item", metavar="ITEM", help="an ID, or a path under a mount")
    parser.add_argument("--at", metavar="TIME", help="only the version of that time")
    parser.add_argument(
        "--blob", action="store_true", help="write the content instead of the versions"
    )


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    if args.blob and args.json:
        raise UsageError("--blob writes the content, not JSON: give one of them")
    at = time("--at", args.at)
    path, item, shows = _resolve(args)
    with opened(path) as backup:
        versions = spells(backup, item)
        lost = {d for s in versions if (d := s.version.digest) and is_damaged(backup, d)}
        if at is not None:
            versions = [s for s in versions if s.start <= at and (s.end is None or at < s.end)]
            if not versions:
                raise EngineError(f"{item_id(item)} was not there at {args.at}")
        if args.blob:
            if at is None and shows is not None:
                versions = [s for s in versions if s.start <= shows] or versions
            _write_content(backup, versions)
        else:
            where = zone()
            output.array(api.document(version, where, lost) for version in versions)
    return 0


def _resolve(args: argparse.Namespace) -> tuple[Path, int, int | None]:
    """The backup path and the item that are meant, and of which instant that is shown. Raises
    UsageError."""
    found = item_at(args.item)
    if found is None:
        if "/" in args.item:
            raise UsageError(f"{args.item}: is not there, or not under a mounted backup")
        return backup_path(args), parse_item_id(args.item), None
    if args.backup and os.path.realpath(args.backup) != os.path.realpath(found.backup):
        raise UsageError(f"{args.item}: is of the backup {found.backup}, not of {args.backup}")
    return Path(found.backup), found.item, None if found.latest else found.time


def _write_content(backup: Backup, versions: list[VersionSpan]) -> None:
    last = next((s.version for s in reversed(versions) if s.version.digest), None)
    if last is None:
        what = word(Kind, versions[-1].version.kind)
        raise EngineError(f"{item_id(versions[-1].item)} has no content: it is of kind {what}")
    output.content(backup.store.chunks(last.digest, backup.location(last.digest)))
