"""`engine backup-journal`: a copy of the journal."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.api import backup_journal as api
from engine.cli import output
from engine.cli.arguments import backup_path, opened, zone
from engine.cli.calling import calling
from engine.cli.parser import CommandParser
from engine.services.backup_journal import backup_journal

DESCRIPTION = """\
Copies the journal, which says what there was and where its content is, to a file of its own, as it
is at one moment. Every row of it is checked on the way, and the file is read again before it gets
its name; a journal that is damaged isn't copied. Scans and mounts may go on meanwhile.

Without DIRECTORY the copy is put into 'journal-copies' of the backup path, and those that are older
than 'journal.copy_days' (7) are removed there, as 'engine run' does daily at 'journal.copy_time'.
'engine check --repair' uses the newest of them where the journal's own file is damaged. In another
DIRECTORY, be it on another disk, nothing is ever removed, and an erasure doesn't reach it.

A copy isn't a backup by itself: the content is in the packs."""

EXAMPLES = """\
    engine backup-journal
    engine backup-journal /mnt/other-disk/timefs"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "directory", metavar="DIRECTORY", nargs="?", help="where to put it, if not beside the rest"
    )


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    path = backup_path(args)
    with (
        opened(path, write=not args.directory) as backup,
        calling("backup-journal", interrupted="no copy was made") as caller,
    ):
        directory = Path(args.directory) if args.directory else None
        made, removed = backup_journal(backup, caller, directory)
    if args.json:
        output.document(api.document(made, removed, zone()))
        return 0
    output.line(f"{made.path}: {output.size(made.size)}")
    if removed:
        output.line(f"{output.counted(removed, 'older copy', 'older copies')} removed")
    return 0
