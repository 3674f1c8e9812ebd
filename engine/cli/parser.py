"""Command lines: a parser whose errors are one line, and whose help keeps its paragraphs."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import textwrap
from pathlib import Path
from typing import NoReturn

from engine.cli import output
from engine.domain.errors import UsageError

STATUS = """\
Exit status:

    0    done
    1    done, but something in it failed or was found wrong (each is named)
    2    wrong usage
    3    the backup path can't be used: missing, not a backup, another machine's, damaged
    4    a source can't be reached
    130  interrupted; what had been recorded stays, and nothing is half done"""

_WIDTH = 96


def own_command() -> Path:
    """The full path of the command that runs, for where the PATH is another one. One in `.venvs/N`
    is named by `.venv`, which leads to the newest of these: older ones don't stay."""
    command = Path(os.path.abspath(shutil.which(sys.argv[0]) or sys.argv[0]))
    places = command.parents
    if len(places) > 3 and places[2].name == ".venvs":
        lasting = places[3] / ".venv" / "bin" / command.name
        if lasting.exists():
            return lasting
    return command


class CommandParser(argparse.ArgumentParser):
    """A parser of one verb's command line. Raises UsageError where that is wrong."""

    def __init__(self, prog: str, description: str, epilog: str, usage: str | None = None) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            epilog=epilog,
            formatter_class=_Paragraphs,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see '{self.prog} --help')")

    def _print_message(self, message: str, file: object = None) -> None:
        """As the base class, which doesn't tell when the output can't be written."""
        output.text_as_it_is(message)


def common_options(parser: CommandParser) -> None:
    """The options that every verb has. They may stand before the verb or after it."""
    parser.add_argument(
        "-b",
        "--backup",
        metavar="PATH",
        default=argparse.SUPPRESS,
        help="the backup path; default $TIMEFS_BACKUP, else /var/lib/timefs",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print one JSON document, and nothing else, to standard output",
    )
    parser.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,
        help="show where in the program an error came from",
    )


def unit_option(parser: CommandParser) -> None:
    """The option of what can run as a service."""
    parser.add_argument(
        "--systemd-unit",
        action="store_true",
        help="print a unit for systemd, and do nothing else",
    )


class _Paragraphs(argparse.HelpFormatter):
    """Wraps paragraphs, and leaves alone what is indented."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)
        self._width = min(self._width, _WIDTH)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = re.split(r"\n\s*\n", text.strip("\n"))
        return "\n\n".join(
            paragraph if paragraph.startswith("    ") else textwrap.fill(paragraph, width)
            for paragraph in paragraphs
        )
