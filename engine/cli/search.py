"""`engine search`: finds messages, and says where they can be copied from."""

from __future__ import annotations

import argparse
import os
from collections.abc import Container
from datetime import tzinfo

from engine.api import search as api
from engine.cli import output
from engine.cli.arguments import backup_path, opened, time, zone
from engine.cli.parser import CommandParser
from engine.domain.errors import RecordDamaged
from engine.domain.model import item_id
from engine.domain.timestamps import brief, format_time
from engine.query.damage import KnownDamage
from engine.query.search import Hit, HitPlace, Query, search
from engine.system.mounts import mount_of

DESCRIPTION = """\
Finds messages and other items by what is recorded of them: those that are there, and those that
are deleted. TEXT is looked for in subject, sender, recipients and file name. All that is given must
fit; upper and lower case are the same.

Each item is shown with the paths under the mount that show it, ready for 'cp': while the backup is
mounted, from the root, else below any mount point. Of a deleted one the first is in a view of a
time at which it was still there, another one, in .deleted, is where it stays visible. Where a check
found that the content can't be read, and it still can't, that is said.

An item is judged by what it is now, or was last. --since and --until are about the item's own
date: its delivery, or when an event takes place. What happened when is for 'engine log'."""

EXAMPLES = """\
    engine search 'quarterly numbers'
    engine search --account alice@example.com --deleted --from bob
    engine search --folder Work/Apollo --since 2024-04 --until 2024-05
    cp "$(engine search --json invoice | jq -r '.[0].paths[0]')" ."""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("text", nargs="?", default="", metavar="TEXT", help="what to look for")
    parser.add_argument(
        "--account",
        action="append",
        metavar="NAME",
        help="only in this account; may be given several times",
    )
    parser.add_argument("--folder", metavar="PATH", default="", help="only in or below this folder")
    parser.add_argument("--from", dest="sender", metavar="TEXT", default="", help="in the sender")
    parser.add_argument("--subject", metavar="TEXT", default="", help="in the subject")
    parser.add_argument("--since", metavar="TIME", help="delivered at that time or later")
    parser.add_argument("--until", metavar="TIME", help="delivered at that time or earlier")
    parser.add_argument("--deleted", action="store_true", help="only what is deleted")


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    query = Query(
        text=args.text,
        accounts=tuple(args.account or ()),
        folder=args.folder,
        sender=args.sender,
        subject=args.subject,
        since=time("--since", args.since),
        until=time("--until", args.until),
        deleted=args.deleted,
    )
    path = backup_path(args)
    where = zone()
    failures = 0

    def damaged(error: RecordDamaged) -> None:
        nonlocal failures
        failures += 1
        output.complain(str(error))

    with opened(path) as backup:
        root = mount_of(path) or ""
        lost = KnownDamage(backup)
        hits = search(backup, query, damaged)
        if args.json:
            output.array(
                api.document(hit, [_path(p, root, where) for p in hit.places], where, lost)
                for hit in hits
            )
        else:
            for hit in hits:
                _print(hit, root, where, lost)
    return 1 if failures else 0


def _print(hit: Hit, root: str, where: tzinfo, lost: Container[bytes]) -> None:
    headers = hit.headers
    date = brief(hit.version.date, where)
    about = ": ".join(filter(None, (headers.sender, headers.subject)))
    output.line(f"{item_id(hit.item)}  {date}  {about or hit.version.name}")
    if hit.deleted is not None:
        output.line(f"        deleted {brief(hit.deleted, where)}")
    if hit.version.digest in lost:
        output.line("        damaged: its content can't be read")
    for place in hit.places:
        output.line(f"        {_path(place, root, where)}")


def _path(place: HitPlace, root: str, where: tzinfo) -> str:
    """The place below a mount point. The view's time has an offset, and so means the same in a
    mount of another zone."""
    view = "latest"
    if place.time is not None:
        view = format_time(place.time, where).replace(".000000", "")
    return os.path.join(root, view, place.path)
