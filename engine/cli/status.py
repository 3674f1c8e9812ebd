"""`engine status`: what is backed up, how large, how old."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import tzinfo
from pathlib import Path

from engine.api import status as api
from engine.cli import output
from engine.cli.arguments import backup_path, duration, opened, zone
from engine.cli.parser import CommandParser
from engine.domain.timestamps import format_listed, listed_second
from engine.query.status import BackupFigures, status, upkeep
from engine.scan.forms import told_forms
from engine.scan.problems import Problems

DESCRIPTION = """\
Says what is backed up, how large it is, when it was last scanned, who keeps it up to date, and
since when history is complete: from then on any moment can be looked at, with all that there was.
That is the end of the first scan, until a purge removes what is older. Where nobody makes a backup,
that is said in red.

The exit status is 1 if nothing can be recorded, for this machine's clock or that of an earlier scan
is wrong. For monitoring, --max-age sets it as well: 1 if the last scan of all accounts ended longer
ago than that, or if there was none. Scans of single accounts don't count. Where the daemon's
real-time scan had recorded all that there was at a later time, that time counts.

What the last scans couldn't back up is listed, and makes the exit status 1 as it did theirs: the
next scan that finds it in order takes it from the list."""

_SHOWN = 10
"""Problems that are listed as text."""

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
        output.document(
            api.document(
                os.path.abspath(path), figures, zone(), lambda time: _moment(time, figures.now)
            )
        )
    else:
        for name, text in _lines(path, figures, zone()):
            output.line(f"{name:15}{text}")
        _print_upkeep(figures)
        for line in told_forms(figures.forms):
            output.line(f"{'note':15}{line}")
        _print_problems(figures.problems)
    fresh = figures.freshness
    if limit is not None and (fresh is None or fresh > limit or figures.ahead):
        old = "there was none" if fresh is None else _age(fresh, figures, "old")
        output.complain(f"the last scan: {old}; --max-age is {args.max_age}")
        return 1
    if figures.refused:
        output.complain(f"nothing can be recorded: {figures.refused}")
    return 1 if figures.refused or figures.problems.count else 0


def _print_upkeep(figures: BackupFigures) -> None:
    """Who keeps the backup up to date; what is wrong with that, in red on a terminal."""
    kept = upkeep(figures, lambda time: _moment(time, figures.now))
    line = f"{'scans':15}{output.shown(kept.text)}"
    if kept.alarm and sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        line = f"\x1b[1;31m{line}\x1b[0m"
    output.text_as_it_is(f"{line}\n")


def _print_problems(problems: Problems) -> None:
    """What isn't backed up, some of it by name."""
    if not problems.count:
        return
    shown = [problems.failed] if problems.failed else []
    shown += [str(problem) for problem in problems.listed[:_SHOWN]]
    more = problems.count - len(shown)
    output.line(f"{'problems':15}{output.counted(problems.count, 'problem')} in the last scans:")
    for text in shown:
        output.line(f"{'':15}{text}")
    if more:
        output.line(f"{'':15}... and {more:,} more ('engine status --json' lists them)")


def _moment(time: int, now: int) -> str:
    """A time near the present."""
    seconds = (time - now) / 1_000_000
    return f"in {output.age(seconds)}" if seconds > 0 else f"{output.age(-seconds)} ago"


def _copies(figures: BackupFigures) -> str:
    """The copies of the journal."""
    if not figures.journal_copies:
        return "no copy of it"
    newest, size = figures.journal_copies[0], sum(copy.size for copy in figures.journal_copies)
    count = output.counted(len(figures.journal_copies), "copy", "copies")
    return f"{count} of {output.size(size)}, the newest from {_moment(newest.time, figures.now)}"


def _listed(end: int | None, where: tzinfo) -> str:
    """The end of a scan, by the name under which the mount lists it."""
    return "never" if end is None else format_listed(listed_second(end), where)


def _age(seconds: float, figures: BackupFigures, word: str) -> str:
    """How old the last scan is."""
    if figures.ahead:
        return "ahead of this machine's clock"
    return f"{output.age(seconds)} {word}"


def _lines(path: Path, figures: BackupFigures, where: tzinfo) -> list[tuple[str, str]]:
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
        ("journal", f"{output.size(figures.journal_bytes)}; {_copies(figures)}"),
    ]
    if figures.age is None:
        return [*lines, ("last scan", "none yet: 'engine scan' makes the first")]
    erased = ""
    if figures.erased:
        erased = f", but for what {output.counted(figures.erased, 'erasure')} took"
    return [
        *lines,
        ("last scan", f"{_listed(figures.last_scan, where)} ({_age(figures.age, figures, 'ago')})"),
        ("complete since", _listed(figures.complete_since, where) + erased),
    ]
