"""`engine export`: accounts, of any time or with their whole history, as files."""

from __future__ import annotations

import argparse
import io
import os
import sys
import time as clock
from pathlib import Path
from typing import BinaryIO, cast

from engine.api import export as api
from engine.cli import output
from engine.cli.arguments import backup_path, opened, time, zone
from engine.cli.calling import calling
from engine.cli.parser import CommandParser
from engine.domain.errors import UsageError
from engine.domain.timestamps import brief
from engine.exchange.export.choice import AccountChoice
from engine.exchange.export.export import Exported, WantedExport
from engine.services.export import export, is_archive, refuse
from engine.system.clock import SystemClock

DESCRIPTION = """\
Writes accounts to files that other tools can read: each as a Maildir++ tree with flags, with its
metadata and a list of all items as JSON beside it. 'engine import' takes them in again.

TARGET is a directory, which must be new or empty; or a file that ends in .tar.zst; or - for such an
archive on standard output.

Without --at it is the newest state. With --history it is also every earlier one: all versions, and
the content of what was deleted.

It runs beside scans, and all of it is of one instant. A directory whose export was interrupted says
so; the same command goes on with it. Content that is damaged in the backup is named, and left out
(status 1)."""

EXAMPLES = """\
    engine export /srv/export
    engine export --domain example.com --history example.com.tar.zst
    engine export --account alice@example.com --at 2024-05-01T10:00 alice
    mutt -f alice/accounts/alice@example.com/Maildir
    engine export --history - | ssh other 'cat > export.tar.zst'"""

_NAMED = 20
"""Missing contents that are told in lines; `--json` has them all."""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("target", metavar="TARGET", help="a directory, NAME.tar.zst, or -")
    choice_arguments(parser)
    parser.add_argument("--at", metavar="TIME", help="the state at this instant")
    parser.add_argument("--history", action="store_true", help="all that ever happened")


def choice_arguments(parser: CommandParser) -> None:
    """The options that say which accounts."""
    parser.add_argument(
        "--account",
        action="append",
        metavar="NAME",
        default=[],
        help="only this account; may be given several times",
    )
    parser.add_argument(
        "--domain",
        action="append",
        metavar="NAME",
        default=[],
        help="only accounts NAME@DOMAIN of this domain; may be given several times",
    )


def choice(args: argparse.Namespace) -> AccountChoice:
    """What these options say."""
    return AccountChoice(tuple(sorted(set(args.account))), tuple(sorted(set(args.domain))))


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    if args.at is not None and args.history:
        raise UsageError("--at is one instant and --history is all of them: give one of both")
    instant = time("--at", args.at)
    if instant is not None and instant > SystemClock().now():
        raise UsageError(f"--at: {args.at} is in the future")
    piped = args.target == "-"
    if piped and args.json:
        raise UsageError("with --json standard output is for that: give the target a name")
    if piped and sys.stdout.isatty():
        raise UsageError("standard output is a terminal: give the target a name, or use a pipe")
    if not piped:
        refuse(args.target)
    wanted = WantedExport(choice(args), instant, args.history)
    began = clock.monotonic()
    target = cast(BinaryIO, _Output()) if piped else Path(args.target)
    with (
        opened(backup_path(args)) as backup,
        calling(
            "export",
            until=None if args.json or piped else "records",
            interrupted=_interrupted(args.target),
        ) as caller,
    ):
        done = export(backup, caller, wanted, target)
    seconds = clock.monotonic() - began
    if args.json:
        output.document(api.document(os.path.abspath(args.target), done, seconds, zone()))
    else:
        _print(done, seconds, quiet=piped)
    return 1 if done.missing else 0


def _interrupted(target: str) -> str:
    if target == "-" or is_archive(Path(target)):
        return "nothing was left behind; the next export begins anew"
    return "the same command goes on from there"


class _Output(io.RawIOBase):
    """Standard output, past the text layer."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raw = bytes(data)  # type: ignore[call-overload]
        output.content([raw])
        return len(raw)


def _print(done: Exported, seconds: float, *, quiet: bool) -> None:
    for one in done.missing[:_NAMED]:
        output.complain(f"{one.item}: {one.file}: {one.what}")
    if len(done.missing) > _NAMED:
        output.complain(f"and {len(done.missing) - _NAMED:,} more; --json names all")
    if not quiet:
        history = f" and {done.head.transactions:,} transactions" if done.head.history else ""
        output.line(
            f"{output.counted(done.contents, 'content')} ({output.size(done.size)}){history}, "
            f"as of {brief(done.head.instant, zone())}, in {seconds:.1f} s"
        )
