"""`engine init`: makes a backup path, or takes over one that another machine made."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import NamedTuple

from engine import DEFAULT_PATH, backup
from engine.api.init import NewBackup, NewSource, TakenOver
from engine.cli import output
from engine.cli.arguments import backup_path, opened
from engine.cli.parser import CommandParser
from engine.connectors.registry import KINDS
from engine.connectors.sources import open_sources
from engine.domain.errors import SettingMissing, SourceUnavailable, UsageError
from engine.scan.forms import sampled_forms, told_forms
from engine.settings.sources import SourceTable
from engine.system.clock import Clock, SystemClock

DESCRIPTION = """\
Makes a backup path: the directory that holds the backup of one mail server. It must not exist yet
(or be empty), and must be on a local file system that tells 'a' from 'A', for the database in it.

A source says where mail is read from. It is never written to.

    maildir:/var/vmail/{domain}/{user}/Maildir      accounts USER@DOMAIN
    maildir:/home/{user}/Maildir                    accounts USER
    maildir:/var/vmail/{account}                    the directory has the account's name
    maildir:/home/alice/Maildir?account=alice@example.com       a single mailbox
    maildir:/var/vmail/*/{domain}/{user}/Maildir    * and ? as the shell has them
    imaps:mail.example.com?login=backup&password_file=/etc/timefs/password&accounts_file=/etc/...

A user's directory is also found in hashed directories, as j/o/h/john, jo/john or, as iRedMail has
it, j/o/h/john-2024.05.01.10.00.00: such a location is written like the first one.

Each source gets a table of settings, [sources.NAME]. Its name is the source: location, host and
credentials may change under it later. NAME=KIND:LOCATION gives one; else it is mail, mail2 and so
on. What stands behind the question mark of imaps: (or imap:, with STARTTLS) are settings of that
table: how to log in, where the password is, which accounts there are. 'engine config' shows and
config.toml explains them.

A source that can't be reached now, or of which settings are missing, is only warned about: it can
be scanned once it is there, and they are.

The settings are in the file config.toml of the backup path, each with an explanation.

A backup path belongs to the machine that made it; on any other one it can be read and mounted, but
not written. To go on with it on another machine, for good, run init --take-over there, after making
sure that the first one no longer writes to it. A machine is known by its machine-id(5). Where that
changes with each start, as in containers, let TIMEFS_SERVER_ID in the environment say which machine
it is: any text, or the 32 digits that 'engine status --json' has as "server"."""

EXAMPLES = """\
    engine init --source 'maildir:/var/vmail/{domain}/{user}/Maildir'
    engine init -b /backup --source maildir:/home/{user}/Maildir --source old=maildir:/srv/{account}
    engine init -b /backup --take-over"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "--source",
        action="append",
        metavar="[NAME=]KIND:LOCATION",
        help="where mail is read from; may be given several times",
    )
    parser.add_argument(
        "--take-over",
        action="store_true",
        help="make this machine the owner of an existing backup path",
    )


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    path = backup_path(args)
    if args.take_over:
        if args.source:
            raise UsageError("--take-over keeps the sources: change them with 'engine config set'")
        return _take_over(path, as_json=args.json)
    if not args.source:
        raise UsageError("--source is missing: say where mail is, as KIND:LOCATION")
    clock = SystemClock()
    tables = backup.named_tables(args.source)
    found = [_look(table, path, clock) for table in tables]
    backup.create(path, tables, clock)
    if args.json:
        output.document(
            NewBackup(
                backup=os.path.abspath(path),
                id=_id(path),
                sources=[
                    NewSource(
                        name=table.name,
                        source=table.spec,
                        accounts=source.accounts,
                        what=source.problem or None,
                        notes=list(source.notes),
                    )
                    for table, source in zip(tables, found, strict=True)
                ],
            )
        )
        return 0
    output.line(f"{path} is made, for the mail in")
    for table, source in zip(tables, found, strict=True):
        count = source.accounts
        accounts = "" if count is None else f"  ({output.counted(count, 'account')} now)"
        output.line(f"    {table.name}: {table.spec}{accounts}")
        if source.problem:
            output.complain(f"warning: {source.problem}")
        for note in source.notes:
            output.line(f"    among the first that were looked at, {note}")
    first = ""
    if any(source.lacking for source in found):
        first = (
            f"engine config set{_option(path)} KEY VALUE, for each setting that is missing; then "
        )
    output.line(f"Next: {first}engine scan{_option(path)}")
    return 0


def _take_over(path: Path, *, as_json: bool) -> int:
    with opened(path):  # it is one, and this version can read it
        pass
    backup.take_over(path)
    if as_json:
        output.document(TakenOver(backup=os.path.abspath(path), id=_id(path)))
    else:
        output.line(f"{path} belongs to this machine now. Next: engine scan{_option(path)}")
    return 0


class _Found(NamedTuple):
    """What a source is now."""

    accounts: int | None
    """How many it shows; None where there is a problem."""
    problem: str = ""
    lacking: bool = False
    """Whether the problem is that settings are missing, for which there was no place before."""
    notes: tuple[str, ...] = ()
    """What a look at a few messages says of how the server keeps them."""


def _look(table: SourceTable, path: Path, clock: Clock) -> _Found:
    try:
        (source,) = open_sources([table], path, clock)
        names = source.accounts().names
        verbatim = KINDS[table.kind].verbatim  # else messages come as they were sent
        notes = told_forms(sampled_forms(source, names)) if verbatim else ()
        return _Found(len(names), notes=tuple(notes))
    except (SourceUnavailable, SettingMissing) as error:
        return _Found(None, str(error), isinstance(error, SettingMissing))


def _id(path: Path) -> str:
    with opened(path) as made:
        return made.identity.backup.hex()


def _option(path: Path) -> str:
    """How the next command is told of the backup path."""
    default = path == DEFAULT_PATH or os.environ.get("TIMEFS_BACKUP") == os.fspath(path)
    return "" if default else f" -b {shlex.quote(os.fspath(path))}"
