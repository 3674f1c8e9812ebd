"""`engine config`: reads and changes settings."""

from __future__ import annotations

import argparse
import os
import re
import textwrap
from pathlib import Path

from engine.api import config as api
from engine.backup import refuse_other
from engine.cli import output
from engine.cli.arguments import backup_path, note_earlier
from engine.cli.parser import CommandParser
from engine.connectors.registry import KINDS
from engine.connectors.sources import configured, open_sources, parse_source
from engine.domain.errors import SettingMissing, UsageError
from engine.settings import config
from engine.settings.table import Settings
from engine.settings.types import Sources, Value
from engine.system.clock import SystemClock


def _settings() -> str:
    """What the settings are, for the help."""
    return "\n".join(
        f"    {row.key}\n"
        + textwrap.fill(
            f"{row.comment} It takes {row.allowed}"
            + (f"; default {row.default}." if row.default else "."),
            92,
            initial_indent=" " * 8,
            subsequent_indent=" " * 8,
            break_long_words=False,
        )
        for row in (*config.describe_sources(KINDS), *config.describe())
    )


DESCRIPTION = f"""\
Without arguments, shows all settings of the backup path. 'get' shows one, 'set' changes it. They
are in config.toml in the backup path, which may as well be edited by hand: a change by this command
leaves all other lines of it as they are. What isn't allowed is refused, with the line.

Each source has a table of its own, whose keys are sources.NAME.kind, sources.NAME.location and what
its kind takes; sources.NAME alone is set to KIND:LOCATION?KEY=VALUE to add one. In the earlier form
the sources were a list, and imap.* held for all IMAP servers of it: that is still read, and
'upgrade' makes tables of it.

Settings:

{_settings()}

Changes hold from the next command on."""

EXAMPLES = """\
    engine config
    engine config get compression.level
    engine config set compression.level 9
    engine config set sources.mail.location mail2.example.com
    engine config set sources.old maildir:/srv/vmail/{user}
    engine config upgrade"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.usage = "engine config [-b PATH] [--json] [get KEY | set KEY VALUE | upgrade]"
    parser.add_argument("action", nargs="?", metavar="get|set|upgrade", help="what to do")
    parser.add_argument("key", nargs="?", metavar="KEY", help="the setting's name")
    parser.add_argument("value", nargs="?", metavar="VALUE", help="its new value")


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    path = backup_path(args)
    file = path / "config.toml"
    if not os.path.lexists(file):
        refuse_other(path)
    match (args.action, args.key, args.value):
        case (None, None, None):
            settings = config.load(file, KINDS)
            keys = config.keys(settings, KINDS)
        case ("get", str(key), None):
            settings, keys = config.load(file, KINDS), [key]
        case ("set", str(key), str(value)):
            settings = config.load(file, KINDS)
            key = config.of_its_source(settings, key, KINDS)
            _look_at_sources(path, key, value, settings)
            settings, keys = config.set_value(file, key, value, KINDS), [key]
            if re.fullmatch(r"sources\.[^.]+", key):
                keys = [each for each in config.keys(settings, KINDS) if each.startswith(f"{key}.")]
        case ("upgrade", None, None):
            return _upgrade(file, as_json=args.json)
        case _:
            raise UsageError(
                "write 'config', 'config get KEY', 'config set KEY VALUE' or 'config upgrade'"
            )
    note_earlier(settings)
    values = {key: config.get(settings, key, KINDS) for key in keys}
    if args.json:
        output.document(api.document(values))
    elif args.action == "get":
        for key in keys:
            for text in _texts(values[key]):
                output.line(text)
    else:
        for key in keys:
            for text in _texts(values[key]):
                output.line(f"{key} = {text}")
    return 0


def _look_at_sources(path: Path, key: str, text: str, settings: Settings) -> None:
    """Raises UsageError for new sources of an unknown kind, and such as hold the backup path
    itself. What isn't even a list of sources is for `settings.config.set_value` to refuse."""
    if not re.fullmatch(r"sources(\.[^.]+)?", key):
        return
    allowed = Sources()
    specs = allowed.check(allowed.parse(text))
    known = {table.spec: table for table in configured(settings)}
    for spec in specs or ():
        table = parse_source(spec)
        try:
            open_sources([known.get(table.spec, table)], path, SystemClock(), settings)
        except SettingMissing as error:
            output.complain(f"warning: {error}")


def _upgrade(file: Path, *, as_json: bool) -> int:
    tables = config.upgrade(file, KINDS)
    if as_json:
        output.document(api.upgraded(tables))
    for table in () if as_json else tables:
        output.line(f"{table.spec} is [{table.where}] now")
    if not tables and not as_json:
        output.line("The sources are tables already")
    return 0


def _texts(value: Value) -> list[str]:
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, tuple):
        return list(value) or ["[]"]
    return [str(value)]
