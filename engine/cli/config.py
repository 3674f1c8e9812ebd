"""`engine config`: reads and changes settings."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from engine.cli import output
from engine.cli.arguments import backup_path
from engine.cli.parser import CommandParser
from engine.connectors.sources import open_sources
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
        for row in config.describe()
    )


DESCRIPTION = f"""\
Without arguments, shows all settings of the backup path. 'get' shows one, 'set' changes it. They
are in config.toml in the backup path, which may as well be edited by hand: a change by this command
leaves all other lines of it as they are. What isn't allowed is refused, with the line.

Settings:

{_settings()}

Changes hold from the next command on."""

EXAMPLES = """\
    engine config
    engine config get compression.level
    engine config set compression.level 9
    engine config set sources '["maildir:/var/vmail/{user}", "maildir:/srv/vmail/{user}"]'"""


def add_arguments(parser: CommandParser) -> None:
    """The verb's own arguments."""
    parser.usage = "engine config [-b PATH] [--json] [get KEY | set KEY VALUE]"
    parser.add_argument("action", nargs="?", metavar="get|set", help="what to do")
    parser.add_argument("key", nargs="?", metavar="KEY", help="the setting's name")
    parser.add_argument("value", nargs="?", metavar="VALUE", help="its new value")


def run(args: argparse.Namespace) -> int:
    """See DESCRIPTION."""
    path = backup_path(args)
    file = path / "config.toml"
    match (args.action, args.key, args.value):
        case (None, None, None):
            settings = config.load(file)
            keys = [row.key for row in config.describe()]
        case ("get", str(key), None):
            settings, keys = config.load(file), [key]
        case ("set", str(key), str(value)):
            if key == "sources":
                _look_at_sources(path, value, config.load(file))
            settings, keys = config.set_value(file, key, value), [key]
        case _:
            raise UsageError("write 'config', 'config get KEY' or 'config set KEY VALUE'")
    values = {key: config.get(settings, key) for key in keys}
    if args.json:
        output.document(values)
    elif args.action == "get":
        for key in keys:
            for text in _texts(values[key]):
                output.line(text)
    else:
        for key in keys:
            for text in _texts(values[key]):
                output.line(f"{key} = {text}")
    return 0


def _look_at_sources(path: Path, text: str, settings: Settings) -> None:
    """Raises UsageError for sources of an unknown kind, and such as hold the backup path itself.
    What isn't even a list of sources is for `settings.config.set_value` to refuse."""
    allowed = Sources()
    specs = allowed.check(allowed.parse(text))
    for spec in specs or ():
        try:
            open_sources([spec], path, SystemClock(), settings)
        except SettingMissing as error:
            output.complain(f"warning: {error}")


def _texts(value: Value) -> list[str]:
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, tuple):
        return list(value) or ["[]"]
    return [str(value)]
