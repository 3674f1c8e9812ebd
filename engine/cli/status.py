"""`engine status`: what is backed up, how large, how old."""

from __future__ import annotations

import argparse
import os
from datetime import tzinfo
from pathlib import Path

from engine.cli import output
from engine.cli.arguments import backup_path, duration, opened, when, zone
from engine.cli.parser import CommandParser
from engine.status import Status, status
from engine.timestamps import format_listed, listed_second

DESCRIPTION = """\
Says what is backed up, how large it is, when it was last scanned, and since when history is
complete: since the end of the first scan, any moment can be looked at.

For monitoring, --max-age sets the exit status: 1 if the last scan of all accounts ended longer ago
than that, if there was none, or if it is so far ahead of the clock that no other one can be made.
Scans of single accounts don't count."""

EXAMPLES = """\
    engine status
    engine status --max-age 2h
    engine status --json | jq .blobs.stored_bytes"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "--max-age",
        metavar="LENGTH",
        help="exit with status 1 if the last scan is older: 90s, 30m, 2h, 3d or 1w",
    )


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    limit = None if args.max_age is None else duration("--max-age", args.max_age)
    path = backup_path(args)
    with opened(path) as backup:
        figures = status(backup)
    if args.json:
        output.document(_document(path, figures, zone()))
    else:
        for name, text in _lines(path, figures, zone()):
            output.line(f"{name:15}{text}")
    if limit is None or (figures.age is not None and figures.age <= limit and not figures.ahead):
        return 0
    old = "there was none" if figures.age is None else _age(figures.age, figures, "old")
    output.complain(f"the last scan: {old}; --max-age is {args.max_age}")
    return 1


def _document(path: Path, figures: Status, where: tzinfo) -> dict[str, object]:
    return {
        "backup": os.path.abspath(path),
        "id": figures.id,
        "format": figures.format,
        "created": when(figures.created, where),
        "server": figures.server,
        "own": figures.own,
        "accounts": figures.accounts,
        "deleted_accounts": figures.deleted_accounts,
        "items": figures.items,
        "transactions": figures.transactions,
        "blobs": {
            "count": figures.blobs,
            "raw_bytes": figures.raw_bytes,
            "stored_bytes": figures.stored_bytes,
        },
        "journal_bytes": figures.journal_bytes,
        "scans": figures.scans,
        "first_scan": when(figures.first_scan, where),
        "last_scan": when(figures.last_scan, where),
        "age_seconds": figures.age,
        "complete_since": when(figures.first_scan, where),
    }


def _listed(end: int | None, where: tzinfo) -> str:
    """The end of a scan, by the name under which the mount lists it."""
    return "never" if end is None else format_listed(listed_second(end), where)


def _age(seconds: float, figures: Status, word: str) -> str:
    """How old the last scan is."""
    if figures.ahead:
        return "ahead of this machine's clock"
    return f"{output.age(seconds)} {word}"


def _lines(path: Path, figures: Status, where: tzinfo) -> list[tuple[str, str]]:
    owner = "" if figures.own else ", of another machine: only to be read here"
    deleted = f", and {figures.deleted_accounts:,} deleted" if figures.deleted_accounts else ""
    lines = [
        ("backup", f"{path} (format {figures.format}{owner})"),
        ("accounts", f"{figures.accounts:,}{deleted}"),
        ("items", f"{figures.items:,}"),
        ("transactions", f"{figures.transactions:,}"),
        (
            "content",
            f"{output.counted(figures.blobs, 'blob')}, {output.size(figures.raw_bytes)}; "
            f"stored in {output.size(figures.stored_bytes)}",
        ),
        ("journal", output.size(figures.journal_bytes)),
    ]
    if figures.age is None:
        return [*lines, ("last scan", "none yet: 'engine scan' makes the first")]
    return [
        *lines,
        ("last scan", f"{_listed(figures.last_scan, where)} ({_age(figures.age, figures, 'ago')})"),
        ("complete since", _listed(figures.first_scan, where)),
    ]
