"""The file `config.toml` of a backup path, in which the settings stand (`engine.settings.table`).

The file is written by people, so what is wrong in it is told with file, line and what is allowed,
and a change by command leaves every other line as it is.
"""

from __future__ import annotations

import json
import os
import re
import stat
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import NODEFAULT
from msgspec.structs import fields, replace

from engine.domain.errors import BackupUnusable, UsageError
from engine.settings import positions
from engine.settings.table import Setting, Settings
from engine.settings.types import Texts, Value
from engine.system import plainfile
from engine.system.files import locked_directory, replace_file

MODE = 0o640
"""Of a new file: the backup's group reads it, so that its members can mount."""
LARGEST = 1 << 20
"""Bytes that a file of settings may have."""

_TABLE: dict[str, tuple[str, Setting, Value | None]] = {
    setting.key: (field.name, setting, None if field.default is NODEFAULT else field.default)
    for field in fields(Settings)
    for setting in field.type.__metadata__
}
"""By key: the field's name, the setting, and its default, or None if it must be given."""

_HEAD = """\
# The settings of this backup path. Edit them here, or with: engine config set KEY VALUE
# What is missing has its default.
"""


class Row(NamedTuple):
    """A setting, for help texts."""

    key: str
    allowed: str
    default: str
    """As one would write it; empty if the setting must be given."""
    comment: str


def describe() -> list[Row]:
    """All settings, in the order of the file."""
    return [
        Row(
            key,
            setting.type.allowed,
            "" if default is None else setting.type.write(default),
            setting.comment,
        )
        for key, (_, setting, default) in _TABLE.items()
    ]


def template(sources: Sequence[str]) -> str:
    """The text of a new `config.toml`: every setting, with a comment that explains it.

    Raises UsageError if a source isn't KIND:LOCATION in UTF-8, or is given twice.
    """
    given: dict[str, Any] = {"sources": _checked(_TABLE["sources"][1], list(sources))}
    settings = Settings(**given)
    lines, table = [_HEAD], ""
    for key in _TABLE:
        above, _, name = key.rpartition(".")
        if above != table:
            lines.append(f"[{above}]")
            table = above
        lines.append(_explained(key, name, get(settings, key)))
    return "\n".join(lines)


def load(path: Path) -> Settings:
    """The settings in the file at `path`.

    Raises BackupUnusable if it can't be read, and UsageError if what it says isn't allowed.
    """
    return _settings(path, _read(path))


def get(settings: Settings, key: str) -> Value:
    """The value of the setting `key`. Raises UsageError if there is none of that name."""
    value: Value = getattr(settings, _known(key)[0])
    return value


def replaced(settings: Settings, table: str, values: Mapping[str, str], where: str) -> Settings:
    """The settings with others for some of a table, given as text by their names in it.

    `where` is what gives them, for messages. A list may be given with commas. Raises UsageError if
    there is no such setting, or for a value that isn't allowed.
    """
    changes: dict[str, Any] = {}
    for name, text in values.items():
        field, setting, _ = _known(f"{table}.{name}", f"{where}: ")
        value = setting.type.parse(text)
        if isinstance(setting.type, Texts) and not text.startswith("["):
            value = text.split(",")
        changes[field] = _checked(setting, value, f"{where}: ")
    return replace(settings, **changes)


def set_value(path: Path, key: str, value: str) -> Settings:
    """Changes one setting in the file at `path`, durably, and returns what holds from now on.

    `value` is a number, a source, or a list of sources as TOML. All else in the file stays. Raises
    UsageError if key or value isn't allowed, or if anything else in the file isn't, and
    BackupUnusable if the file can't be read or written.
    """
    setting = _known(key)[1]
    new = _checked(setting, setting.type.parse(value))
    text = _read(path)
    _document(path, text)
    text = _changed(path, text, key, new)
    settings = _settings(path, text)
    write(path, text)
    return settings


def write(path: Path, text: str) -> None:
    """Makes `text` the content of the file at `path`: wholly or, after a crash, not at all.

    A file that was there keeps its owner and mode. Raises BackupUnusable if it can't be written.
    """
    path = Path(os.path.realpath(path))
    try:
        with locked_directory(path.parent):
            replace_file(
                path, text.encode(), durable=True, mode=0o600, prepare=partial(_take_over, path)
            )
    except OSError as error:
        raise BackupUnusable(f"can't write {path}: {error.strerror}") from error


def _take_over(path: Path, descriptor: int) -> None:
    """Gives a new file the owner and mode of the one that it is to replace, if there is one."""
    try:
        old = os.stat(path)
    except FileNotFoundError:
        os.fchmod(descriptor, MODE)
        return
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _read(path: Path) -> str:
    try:
        data = plainfile.read(path, LARGEST + 1)
    except FileNotFoundError as error:
        raise BackupUnusable(
            f"{path} is missing: put it back, or make it anew with 'sources = [\"KIND:LOCATION\"]'"
        ) from error
    except OSError as error:
        raise BackupUnusable(f"can't read {path}: {error.strerror}") from error
    if len(data) > LARGEST:
        raise UsageError(f"{path}: larger than {LARGEST >> 10:,} KiB, which no settings are")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}, line {line}: not UTF-8, which a TOML file must be") from error


def _document(path: Path, text: str) -> dict[str, Any]:
    """`text` as TOML, or a UsageError that says in which line it isn't."""
    if line := positions.too_deep(text):
        raise UsageError(f"{path}, line {line}: nested more than {positions.DEPTH} deep")
    try:
        return tomllib.loads(text)
    except ValueError as error:
        seen: dict[positions.Path, int] = {}
        for statement in positions.statements(text):
            first = seen.setdefault(statement.path, statement.line)
            if first != statement.line:
                raise UsageError(
                    f"{path}, line {statement.line}: {positions.dotted(statement.path)} stands in"
                    f" line {first} already: keep one of them"
                ) from error
        what = re.fullmatch(r"(.*) \(at line (\d+), column \d+\)", str(error), re.DOTALL)
        if what is None:
            raise UsageError(f"{path}: not valid TOML: {error}") from error
        raise UsageError(f"{path}, line {what[2]}: not valid TOML: {what[1]}") from error


def _settings(path: Path, text: str) -> Settings:
    values: dict[str, Any] = {}
    for keys, value in _leaves(_document(path, text)):
        try:
            name, setting, default = _known(positions.dotted(keys))
            same = type(value) is type(default) and value == default  # as in most of a file
            values[name] = value if same else _checked(setting, value)
        except UsageError as error:
            raise UsageError(f"{path}, line {_line(text, keys)}: {error}") from error
    for key, (name, setting, default) in _TABLE.items():
        if default is None and name not in values:
            raise UsageError(f"{path}: {key} is missing; it takes {setting.type.allowed}")
    return Settings(**values)


def _leaves(
    document: dict[str, Any], above: positions.Path = ()
) -> Iterator[tuple[positions.Path, object]]:
    """The paths of all that isn't a table of settings, with the values."""
    tables = {key.rpartition(".")[0] for key in _TABLE}
    for name, value in document.items():
        path = (*above, name)
        if isinstance(value, dict) and positions.dotted(path) in tables:
            yield from _leaves(value, path)
        else:
            yield path, value


def _line(text: str, path: positions.Path) -> int:
    """The line of the key at `path`, or of the table in one line that holds it."""
    for length in range(len(path), 0, -1):
        for statement in positions.statements(text):
            if statement.path == path[:length]:
                return statement.line
    return 1


def _known(key: str, where: str = "") -> tuple[str, Setting, Value | None]:
    if key not in _TABLE:
        raise UsageError(f"{where}there is no setting {key}; there are {', '.join(_TABLE)}")
    return _TABLE[key]


def _checked(setting: Setting, value: object, where: str = "") -> Value:
    checked = setting.type.check(value)
    if checked is None:
        shown = textwrap.shorten(json.dumps(value, default=str), 80, placeholder=" ...")
        raise UsageError(f"{where}{setting.key} can't be {shown}; it takes {setting.type.allowed}")
    return checked


def _explained(key: str, name: str, value: Value) -> str:
    """The line `name = value` for the setting `key`, with the comment above that explains it."""
    _, setting, default = _TABLE[key]
    allowed = setting.type.allowed
    comment = f"{setting.comment} {allowed[:1].upper()}{allowed[1:]}"
    comment += "." if default is None else f"; default {setting.type.write(default)}."
    lines = textwrap.wrap(comment, 96, initial_indent="# ", subsequent_indent="# ")
    return "\n".join(lines) + f"\n{name} = {setting.type.write(value)}\n"


def _changed(path: Path, text: str, key: str, value: Value) -> str:
    """`text`, which is valid TOML, with `key` set to `value` and all else as it is."""
    keys = tuple(key.split("."))
    table, place = keys[:-1], None
    for statement in positions.statements(text):
        where = f"{path}, line {statement.line}"
        if statement.path == keys and not statement.header:
            if statement.comments:
                raise UsageError(f"{where}: there are comments in the value: edit it by hand")
            return (
                text[: statement.start] + _TABLE[key][1].type.write(value) + text[statement.end :]
            )
        if statement.path == table and not statement.header:
            raise UsageError(f"{where}: the table is written in one line: edit it by hand")
        if statement.path[: len(table)] == table and statement.table in ((), table):
            place = statement
    name = keys[-1] if place is None else ".".join(keys[len(place.table) :])
    lines = f"\n{_explained(key, name, value)}"
    end = len(text)
    if place is not None:
        end = text.find("\n", place.end) + 1 or len(text)
    elif table:
        lines = f"\n[{'.'.join(table)}]{lines}"
    else:
        lines, end = lines[1:] + "\n", 0
    if not text[:end].endswith("\n"):
        lines = lines if end == 0 else f"\n{lines}"
    return text[:end] + lines + text[end:]
